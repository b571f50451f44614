"""One mouse, opened: tables, arrays, trials, statistics."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..store import OptionError, Problem, StoreIndex, UnknownNameError, layout
from ..store.arguments import check_type
from ..store.paths import Address
from ..store.variables import frame_rate_of
from .recording import Trial, recording_of
from .rows import dask_array, read_trial
from .selection import POSITION, Choice, Tier, as_names, choose, is_several
from .tables import as_table, html_table, neuron_columns, trial_columns
from .texts import parsed
from .trial_statistics import Statistics, read_statistics

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    import zarr

    from .normalization import Normalize
    from .repeats import Repeats

_FEW = 8


class Mouse:
    """One mouse, opened by `open_mouse`.

    Attributes
    ----------
    index
        What is known of the store without reading its data; read-only.
    recording
        The recorded variables, and what is known of each trial; read-only.
    """

    def __init__(self, index: StoreIndex) -> None:
        self.index, self.recording = index, recording_of(index)

    @property
    def name(self) -> str:
        """Name of the recording, as published."""
        return self.index.attributes[layout.A_MOUSE]

    @property
    def letter(self) -> str | None:
        """The letter that the field calls it by; None for a mouse that is not one of the published seventeen."""
        return self.index.attributes[layout.A_LETTER]

    @property
    def kind(self) -> layout.Kind:
        """Whether there are frames (dynamic) or one value a trial (static)."""
        return self.recording.kind

    @property
    def path(self) -> Path | Address:
        """Folder of the store, from the root of the file system; or its address."""
        return self.index.place.where

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the recorded variables."""
        return tuple(self.recording.arrays)

    @property
    def frame_rate(self) -> float | None:
        """Frames a second (Hz); None without frames, where it is not known, or where variables have different ones."""
        return frame_rate_of(self.recording.variables)

    @property
    def n_neurons(self) -> int:
        """How many neurons were recorded."""
        array = self.recording.arrays[layout.RESPONSES]
        return array.shape[array.dimensions.index(layout.NEURON)]

    @property
    def n_trials(self) -> int:
        """How many trials there are; so is ``len(mouse)``."""
        return len(self.recording.trial_ids)

    @property
    def trials(self) -> pd.DataFrame:
        """Table of trials, one row each, indexed by trial_id: tier, n_frames, withheld, every array of meta/trials.

        Columns whose texts all are numbers, times or truth values hold these; ``mouse["trials/<name>"]`` has the text.

        A copy: to change it changes no selection, and not what is shown next time.
        """
        return self._trial_table.copy()

    @property
    def neurons(self) -> pd.DataFrame:
        """Table of neurons, one row each, indexed by position on the neuron axis: every array of meta/neurons.

        A copy, as `trials` is.
        """
        return self._neuron_table.copy()

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the train tier, as the conversion stored them, read-only; see `train_statistics`.

        Raises
        ------
        OptionError
            The store has none.
        CorruptStoreError
            They are damaged.
        """
        return read_statistics(self.index)

    def __getitem__(self, name: str) -> zarr.Array[Any]:
        """Return an array of the store, such as ``responses`` or ``trials/tier``, as zarr-python opens it.

        A recorded variable has an axis of trials, then the dimensions, dtype and units of its `Variable` in
        ``recording.variables``: for one, responses (n_trials, n_neurons, n_frames), deconvolved activity in a.u., and
        videos (n_trials, n_frames, height, width), grey level 0 to 255, of the published mice, which are float32 or
        float64. Trials are padded to the length of the longest, and trials without an optional variable are filled:
        with NaN where values are floats, else with False, 0 or the value that was declared for what is missing.
        ``trials/trial_id``, ``trials/tier``, ``trials/n_frames`` and ``trials/withheld`` are (n_trials,), as is
        ``trials/has_<variable>`` of an optional variable; the other ``trials/…`` have one entry for each number that a
        file could have, and ``neurons/…`` one for each neuron, as published. Statistics have the shapes that
        `Statistics` says.

        Raises
        ------
        UnknownNameError
            There is no such array.

        Notes
        -----
        Reading raises `CorruptStoreError` where a file is missing or the store was replaced since it was opened; of a
        damaged chunk, zarr-python's own `ValueError`.
        """
        check_type("name", name, str, "the name of an array")
        if name not in self.index.arrays:
            known = ", ".join(path for path in self.index.arrays if not path.startswith(layout.STATISTICS))
            advice = f"there are {known}, and statistics"
            raise UnknownNameError(Problem(self.recording.label, f"no array {name!r}", advice))
        from .zarr_arrays import open_array

        return open_array(self.index, name)

    def __contains__(self, name: object) -> bool:
        """Return whether the store has an array of this name."""
        return name in self.index.arrays

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of all arrays."""
        return iter(self.index.arrays)

    def __len__(self) -> int:
        """Return the number of trials."""
        return self.n_trials

    def __getattr__(self, name: str) -> zarr.Array[Any]:
        """Return a recorded variable: ``mouse.responses`` is ``mouse["responses"]``."""
        recording = self.__dict__.get("recording")
        if recording is not None and name in recording.arrays:
            return self[name]
        raise AttributeError(
            f"a mouse has no {name!r}: its variables are {', '.join(recording.arrays) if recording else ''}"
        )

    def __dir__(self) -> list[str]:
        """Return all attributes, recorded variables among them."""
        return sorted({*super().__dir__(), *self.recording.arrays})

    def rows(self, *, tier: Tier = None, trials: Choice | None = None) -> NDArray[np.int64]:
        """Return the rows of the store that hold some trials.

        Parameters
        ----------
        tier
            Tier, or tiers, of the trials.
        trials
            Choice of trials: a mapping from columns of `trials` to a value or values, all of which have to fit
            (``{"frame_image_id": [3, 5]}``); or trial_ids; or a mask, one value for each row of `trials`; or some of
            its rows, or their index. Of those chosen, the ones of the tier.

        Returns
        -------
        ndarray
            (n,) int64. Of trial_ids in the order given, as often as each is given; else in the order of the store,
            which is that of trial_id.

        Raises
        ------
        OptionError
            There is no such tier, column, value or trial, or nothing is chosen.
        """
        label = self.recording.label
        found = choose(label, self._trial_columns, trials, by=layout.TRIAL_ID)
        if tier is None:
            return found
        tiers = as_names(tier, "tier")
        both = found[np.isin(found, [row for one in tiers for row in self.recording.rows_of_tier(one).tolist()])]
        if not both.size:
            what = f"none of the chosen trials is of tier {' or '.join(map(repr, tiers))}"
            raise OptionError(Problem(label, what, "choose others, or give tier=None"))
        return both

    def positions(self, neurons: Choice | None = None) -> NDArray[np.int64]:
        """Return positions along the neuron axis.

        Parameters
        ----------
        neurons
            A mapping from columns of `neurons` to a value or values, all of which have to fit
            (``{"area": "V1", "layer": ["L2/3", "L4"]}``, ``{"unit_ids": [17]}``); or positions, of which negative ones
            count from the end; or a slice of them; or a mask, one value for each row of `neurons`; or some of its rows,
            or their index.

        Returns
        -------
        ndarray
            (n,) int64, from zero on. Of positions in the order given, as often as each is given; else ascending.

        Raises
        ------
        OptionError
            There is no such column, value or position, or nothing is chosen.
        """
        return choose(self.recording.label, self._neuron_columns, neurons, by=POSITION)

    def dask(self, name: str, *, tier: Tier = None, trials: Choice | None = None, neurons: Choice | None = None) -> Any:
        """Return a recorded variable as a lazy array.

        Parameters
        ----------
        name
            Such as ``responses``.
        tier, trials
            As in `rows`; everything by default.
        neurons
            As in `positions`; of variables with a dimension ``neuron``.

        Returns
        -------
        dask.array.Array
            Axes, dtype and units of ``mouse[name]``, padded with NaN: use `dask.array.nanmean` and the like; withheld
            responses are zeros: leave them out with ``trials={"withheld": False}``. A block is
            some whole trials, about 32 MiB of whole stored chunks. Computing raises `CorruptStoreError` where the store
            is damaged, or was replaced since it was opened.

        Raises
        ------
        OptionError
            There is no such variable, tier, trial or neuron.
        """
        from dask.base import tokenize

        array, rows, taken = self.recording.array(name), self.rows(tier=tier, trials=trials), None
        if neurons is not None:
            positions = self._positions_of(name, neurons)
            taken = (array.dimensions.index(layout.NEURON), positions)
        token = tokenize(str(self.path), self.index.manifest.store_id, rows, taken)
        return dask_array(self.index.place, array, rows, taken, token)

    def array(
        self, name: str, *, tier: Tier = None, trials: Choice | None = None, neurons: Choice | None = None
    ) -> NDArray[Any]:
        """Read a recorded variable of some trials at once, on all cores.

        Parameters
        ----------
        name, tier, trials, neurons
            As in `dask`.

        Returns
        -------
        ndarray
            What ``mouse.dask(…).compute()`` gives: axes, dtype and units of ``mouse[name]``, padded with NaN. Its axes
            lie in memory as in the store's chunks: `numpy.ascontiguousarray` copies them into their order.

        Raises
        ------
        OptionError
            There is no such variable, tier, trial or neuron.
        ResourceError
            It takes more memory than is available.
        CorruptStoreError
            The store is damaged, or was replaced since it was opened.
        """
        from .arrays import read_array

        self.recording.array(name)
        positions = None if neurons is None else self._positions_of(name, neurons)
        return read_array(self.index, self.recording, name, self.rows(tier=tier, trials=trials), positions)

    def repeats(
        self, tier: Tier = None, *, trials: Choice | None = None, max_difference: float | None = None
    ) -> Repeats:
        """Return the stimuli that several trials show, such as those of the tier ``oracle``.

        Parameters
        ----------
        tier, trials
            As in `rows`; a set, of which order and repeats do not matter.
        max_difference
            How far values of repeats may be from one another, in the unit of the stimulus: those of the published
            videos differ by rounding. Compares values, which takes as long as reading them. By default trials show the
            same if their ``stimulus_id`` is the same: if stimuli are equal to the bit, or images have the same number.

        Returns
        -------
        Repeats
            Mapping from stimulus_id to trial_ids, with means and the reliability of each neuron.

        Raises
        ------
        OptionError
            There is no such tier or trial, or no stimulus is shown twice.

        Notes
        -----
        Two stimuli are the same if in more than 85 % of the frames of the longer one no value is off by more than
        `max_difference`; a trial is compared with the first one of each stimulus. Padding is left out. Trials without a
        stimulus, and those whose stimulus is zeros in place of a withheld one, repeat nothing.
        """
        from .repeats import repeats_of
        from .stimuli import same_stimuli

        rows = self.rows(tier=tier, trials=trials)
        return repeats_of(self, rows, same_stimuli([self.index], max_difference, rows.tolist()))

    def leaks(self, other_mice: Mouse | Sequence[Mouse] = (), *, max_difference: float | None = None) -> pd.DataFrame:
        """Return the stimuli of this mouse that are shown both in tier train and in another one.

        Parameters
        ----------
        other_mice
            Mice whose trials count, too, as where one model is trained on several mice.
        max_difference
            As in `repeats`. Between mice it is needed wherever they differ in dtype or padding, since equal values have
            other digests then; 0 compares values for equality.

        Returns
        -------
        pandas.DataFrame
            One row for each trial that shows such a stimulus: ``stimulus``, a number from zero on; ``mouse``;
            ``trial_id``; ``tier``. Empty if there are none.

        Raises
        ------
        OptionError
            These are no mice, or no such difference.

        Warns
        -----
        UserWarning
            Stimuli of another mouse could be the same, but digests cannot show it.
        """
        from .leaks import leak_table

        several = is_several(other_mice) and not isinstance(other_mice, Mouse)
        others: list[Any] = list(other_mice) if several else [other_mice]
        for other in others:
            check_type("other_mice", other, Mouse, "a Mouse, as open_mouse returns it, or several")
        return leak_table(self, others, max_difference)

    def trial(self, trial_id: int, *, neurons: Choice | None = None, normalize: Normalize = None) -> Trial:
        """Read one trial, cut at its valid length.

        Parameters
        ----------
        neurons
            As in `positions`.
        normalize
            As in `TrialLoader`; what it changes becomes float32. By default everything is as it was recorded.

        Returns
        -------
        Trial
            Mapping from the names of the variables to arrays; see there for shapes, dtypes and units.

        Raises
        ------
        OptionError
            There is no such trial or neuron, or no such normalization of it.
        CorruptStoreError
            It is damaged.
        """
        label = self.recording.label
        try:
            number = operator.index(trial_id)
        except TypeError:
            raise OptionError(Problem(label, f"{trial_id!r} is no trial_id", "give one whole number")) from None
        row = int(choose(label, self._trial_columns, [number], by=layout.TRIAL_ID)[0])
        recording = self.recording
        n_frames = None if recording.n_frames is None else int(recording.n_frames[row])
        arrays = {name: read_trial(recording, name, row) for name in self.variables}
        if normalize is not None:
            from .normalization import normalized

            arrays = normalized(self.index, recording, normalize, arrays, n_frames or 0)
        if neurons is not None:
            positions = self.positions(neurons)
            for name in filter(self._has_neurons, self.variables):
                axis = recording.variable(name).dimensions.index(layout.NEURON)
                arrays[name] = np.take(arrays[name], positions, axis)
        tier, withheld = str(recording.tiers[row]), bool(recording.withheld[row])
        return Trial(int(recording.trial_ids[row]), tier, n_frames, withheld, arrays)

    def to_xarray(
        self, *, tier: Tier = None, trials: Choice | None = None, neurons: Choice | None = None
    ) -> xr.Dataset:
        """Return the recorded variables as a lazy, labelled data set.

        Parameters
        ----------
        tier, trials, neurons
            As in `rows` and `positions`.

        Returns
        -------
        xarray.Dataset
            The variables as in `dask`, with units and long names; coordinates are the columns of `trials` along the
            dimension ``trial`` (``data_set.sel(trial_id=12)``) and those of `neurons` along ``neuron``; names and units
            of channels along theirs (``data_set.sel(behavior_channel="running speed")``), and where the frame rate is
            known ``time``, in seconds from a trial's first frame, along ``frame``.
        """
        from .tables import data_set

        rows, positions = self.rows(tier=tier, trials=trials), self.positions(neurons)
        chosen = None if neurons is None else positions
        lazy = {
            name: self.dask(name, tier=tier, trials=trials, neurons=chosen if self._has_neurons(name) else None)
            for name in self.variables
        }
        coordinates = {
            layout.TRIAL: {name: parsed(values)[rows] for name, values in self._trial_columns.items()},
            layout.NEURON: {name: parsed(values)[positions] for name, values in self._neuron_columns.items()},
        }
        return data_set(self.index, lazy, coordinates)

    def __repr__(self) -> str:
        """Return a one-line summary."""
        tiers = ", ".join(f"{count} {tier}" for tier, count in self.recording.trials_by_tier.items())
        letter = f"{self.letter}: " if self.letter else ""
        withheld = int(self.recording.withheld.sum())
        hidden = f"; responses of {withheld} withheld" if withheld else ""
        trials = f"{self.n_trials} trial{'s' if self.n_trials > 1 else ''} ({tiers}{hidden})"
        neurons = f"{self.n_neurons} neuron{'s' if self.n_neurons > 1 else ''}"
        return f"<Mouse {letter}{self.name}, {self.kind}, {trials}, {neurons}: {_listed(self.variables)}>"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        variables = self.recording.variables
        arrays = [self.recording.arrays[variable.name] for variable in variables]
        rows = [
            [
                variable.name,
                variable.role,
                ", ".join(array.dimensions),
                " × ".join(map(str, array.shape)),
                array.dtype,
                ", ".join(f"{one.name} ({one.units})" for one in variable.channels) or variable.units,
                "" if variable.frame_rate is None else f"{variable.frame_rate:g} Hz",
                self._recorded_in(variable.name),
            ]
            for variable, array in zip(variables, arrays, strict=True)
        ]
        headings = ["variable", "role", "dimensions", "shape", "dtype", "unit", "frame rate", "trials"]
        return html_table(repr(self)[1:-1], headings, rows)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is read again when it is asked for: pickled arrays could be written to."""
        return {"index": self.index, "recording": self.recording}

    @cached_property
    def _trial_table(self) -> pd.DataFrame:
        return as_table(dict(self._trial_columns), layout.TRIAL_ID)

    @cached_property
    def _neuron_table(self) -> pd.DataFrame:
        return as_table(dict(self._neuron_columns), POSITION)

    @cached_property
    def _trial_columns(self) -> Mapping[str, NDArray[Any]]:
        return trial_columns(self.index, self.recording)

    @cached_property
    def _neuron_columns(self) -> Mapping[str, NDArray[Any]]:
        return neuron_columns(self.index, self.n_neurons)

    def _recorded_in(self, name: str) -> str:
        every = np.arange(len(self.recording.trial_ids))
        return f"{len(self.recording.given(name, every))} of {len(every)}"

    def _positions_of(self, name: str, neurons: Choice) -> NDArray[np.int64]:
        """Return the positions of chosen neurons, of a variable that has neurons."""
        if not self._has_neurons(name):
            advice = f"choose neurons of {', '.join(filter(self._has_neurons, self.variables))}"
            raise OptionError(Problem(self.recording.label, f"{name} has no neurons", advice))
        return self.positions(neurons)

    def _has_neurons(self, name: str) -> bool:
        return layout.NEURON in self.recording.array(name).dimensions


def _listed(names: Sequence[str]) -> str:
    """Return names for one line: a few, then how many more."""
    more = f", … ({len(names)} variables)" if len(names) > _FEW else ""
    return f"{', '.join(names[:_FEW])}{more}"


class Mice(list[Mouse]):
    """A list of mice, which notebooks show as one table."""

    def _repr_html_(self) -> str:
        """Return a table with a line a mouse."""
        headings = ["mouse", "kind", "trials", "neurons", "variables"]
        rows = [[one.name, one.kind, one.n_trials, one.n_neurons, _listed(one.variables)] for one in self]
        return html_table(f"{len(self)} mice", headings, rows)

"""The recorded variables of a mouse: where they are, what is known of each trial, and one trial in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store import OptionError, Problem, StoreIndex, layout
from ..store.arguments import check_type
from ..store.errors import lookup
from ..store.layout import ArrayLayout, Variable
from ..store.place import StorePlace
from ..store.read_only import read_only
from ..store.schema import is_unpadded
from ..store.variables import kind_of, stimulus_of


@dataclass(frozen=True)
class Recording:
    """The recorded variables of a mouse, and one value a trial of what has to be known to read them; read-only.

    Attributes
    ----------
    place
        Where the store is, in the version that was opened: by this it is read.
    variables
        The recorded variables, stimulus first.
    arrays
        Name of a variable -> its layout.
    trial_ids
        (n_trials,) int64, ascending: numbers of the files in the source.
    tiers
        (n_trials,) str.
    n_frames
        (n_trials,) int32, valid frames; None for static mice.
    withheld
        (n_trials,) bool, zeros stand in place of the responses.
    lacking
        Name of an optional variable -> (n_trials,) bool, the trials that lack it.
    n_file_frames
        (n_trials,) int32, frames of the trials' files; None where all have as many.
    """

    place: StorePlace
    variables: tuple[Variable, ...]
    arrays: Mapping[str, ArrayLayout]
    trial_ids: NDArray[np.int64]
    tiers: NDArray[Any]
    n_frames: NDArray[np.int32] | None
    withheld: NDArray[np.bool_]
    lacking: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict[str, NDArray[np.bool_]])
    n_file_frames: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        """Make all of it read-only."""
        self.__setstate__(dict(vars(self)))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take it over from another process: pickled arrays can be written to."""
        self.__dict__.update(read_only(state))

    @property
    def label(self) -> str:
        """The store, for messages."""
        return str(self.place.root)

    @property
    def kind(self) -> layout.Kind:
        """Whether there are frames (dynamic) or not (static)."""
        return kind_of(self.variables)

    @property
    def stimulus(self) -> Variable | None:
        """The stimulus; None of a recording without one."""
        return stimulus_of(self.variables)

    @property
    def rows_per_shard(self) -> int:
        """Trials in a shard, of every variable."""
        return next(array.shard[0] for array in self.arrays.values() if array.shard is not None)

    def variable(self, name: str) -> Variable:
        """Return a recorded variable; errors as in `array`."""
        path = self.array(name).path
        return next(variable for variable in self.variables if variable.name == path)

    def given(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some rows in which a variable was recorded: not withheld, and not lacking."""
        if name == layout.RESPONSES:
            return rows[~self.withheld[rows]]
        return rows[~self.lacking[name][rows]] if name in self.lacking else rows

    def file_part(self, variable: Variable, row: int) -> tuple[slice, ...]:
        """Return which part of a trial in the store is in its file: all but the frames that the store added."""
        sizes = list(self.arrays[variable.name].shape[1:])
        if self.n_file_frames is not None and variable.frame_axis is not None:
            sizes[variable.frame_axis] = int(self.n_file_frames[row])
        return tuple(map(slice, sizes))

    @property
    def trials_by_tier(self) -> dict[str, int]:
        """How many trials each tier has."""
        return dict(sorted(Counter(self.tiers.tolist()).items()))

    def array(self, name: str) -> ArrayLayout:
        """Return the layout of a recorded variable.

        Raises
        ------
        OptionError
            There is no such variable.
        """
        check_type("variable", name, str, "the name of a variable")
        if name not in self.arrays:
            raise OptionError(Problem(self.label, f"no variable {name!r}", f"there are {', '.join(self.arrays)}"))
        return self.arrays[name]

    def rows_of_tier(self, tier: str) -> NDArray[np.int64]:
        """Return the rows of a tier's trials.

        Raises
        ------
        OptionError
            No trial is of this tier.
        """
        rows = np.flatnonzero(self.tiers == tier)
        if not rows.size:
            known = ", ".join(f"{name} ({count})" for name, count in self.trials_by_tier.items())
            raise OptionError(Problem(self.label, f"no trials of tier {tier!r}", f"there are {known}"))
        return rows


def recording_of(index: StoreIndex) -> Recording:
    """Return the recorded variables of a store.

    Raises
    ------
    CorruptStoreError
        What is known of the trials is damaged.
    """
    variables, optional = index.variables, [one.name for one in index.variables if one.optional]
    # A static mouse may have come with an array of its own that is called n_frames.
    names = [layout.TRIAL_ID, layout.TIER, layout.WITHHELD, *(f"{layout.HAS}{name}" for name in optional)]
    names += [layout.N_FRAMES] if kind_of(variables) == "dynamic" else []
    names += [layout.N_FILE_FRAMES] if is_unpadded(index.arrays) else []
    paths = [f"{layout.TRIALS}/{name}" for name in names]
    known = dict(zip(names, index.smalls(paths).values(), strict=True))
    return Recording(
        place=index.place,
        variables=variables,
        arrays={array.path: array for array in index.recorded},
        trial_ids=known[layout.TRIAL_ID],
        tiers=known[layout.TIER],
        n_frames=known.get(layout.N_FRAMES),
        withheld=known[layout.WITHHELD],
        n_file_frames=known.get(layout.N_FILE_FRAMES),
        lacking={name: ~known[f"{layout.HAS}{name}"] for name in optional},
    )


@dataclass(frozen=True, eq=False)
class Trial(Mapping[str, NDArray[Any]]):
    """One trial: a mapping from the names of its variables to arrays, cut at its valid length.

    Attributes
    ----------
    trial_id
        Number of its files in the source.
    tier
        The part of the data set that it belongs to.
    n_frames
        Number of valid frames; None for static mice.
    withheld
        Zeros stand in place of the responses.
    arrays
        Name of each variable of the mouse -> array with the dimensions, dtype and units of its `Variable` in
        ``mouse.recording.variables``, frames cut at `n_frames`: for one, responses (n_neurons, n_frames) and videos
        (n_frames, height, width) of the published dynamic mice, responses (n_neurons,) and images (image_channel,
        height, width) of the static ones. Of an optional variable that the trial lacks, NaN where values are floats,
        else the value that was declared for what is missing.
    """

    trial_id: int
    tier: str
    n_frames: int | None
    withheld: bool
    arrays: Mapping[str, NDArray[Any]]

    def __getitem__(self, variable: str) -> NDArray[Any]:
        """Return the array of a variable.

        Raises
        ------
        UnknownNameError
            There is no such variable.
        """
        return lookup(self.arrays, variable, f"trial {self.trial_id}")

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the variables."""
        return iter(self.arrays)

    def __len__(self) -> int:
        """Return the number of variables."""
        return len(self.arrays)

    def __getattr__(self, name: str) -> NDArray[Any]:
        """Return the array of a variable: ``trial.responses`` is ``trial["responses"]``."""
        known = self.__dict__.get("arrays", {})
        if name in known:
            return known[name]
        raise AttributeError(f"a trial has no {name!r}: there are {', '.join(known)}")

    def __dir__(self) -> list[str]:
        """Return all attributes, variables among them."""
        return sorted({*super().__dir__(), *self.arrays})

    __eq__ = object.__eq__

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        from .tables import arrays_html

        return arrays_html(f"Trial {self.trial_id}, {self.tier}{self._hidden}", self)

    @property
    def _hidden(self) -> str:
        return ", responses withheld" if self.withheld else ""

    def __repr__(self) -> str:
        """Return a one-line summary."""
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self.items())
        return f"<Trial {self.trial_id}, {self.tier}{self._hidden}: {shapes}>"

"""Trials by number, and what is known of them and of neurons, under the names of public projects."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store import OptionError, Problem, StoreIndex, layout
from ..mouse import Mouse
from ..selection import as_names
from ..streaming import Batch, TrialLoader
from ..tables import source_array, source_paths
from .styles import Style

_RANDOM_ACCESS = {"batch_size": 1, "cache": "none", "drop_last": False, "rank": 0, "world_size": 1}


@dataclass(frozen=True)
class FieldMouse:
    """One mouse, and how a project reads it.

    Attributes
    ----------
    key
        What the project calls it.
    number
        Its place among the mice.
    window
        Frames of a sample; None for whole trials.
    options
        Further arguments of its `TrialLoader`.
    """

    mouse: Mouse
    style: Style
    key: str
    number: int
    window: int | None
    options: Mapping[str, Any]

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of a batch, in their order."""
        return as_names(self.options["variables"], "variables")

    @property
    def neurons(self) -> NDArray[np.int64]:
        """(n_neurons,) positions of the neurons that are read."""
        return self.mouse.positions(self.options["neurons"])

    def rows(self, tier: str | None) -> NDArray[np.int64]:
        """Return the rows of a tier's trials, of which there may be none; of all without a tier."""
        tiers = self.mouse.recording.tiers
        return np.arange(len(tiers)) if tier is None else np.flatnonzero(tiers == tier)

    def is_whole(self, tier: str | None) -> bool:
        """Return whether the trials of a tier are read whole, whatever the window is."""
        return self.style.by_tier and tier != layout.TRAIN_TIER

    def loader(self, tier: str | None, **options: Any) -> TrialLoader:
        """Return batches of a tier's trials."""
        window = None if self.is_whole(tier) else self.window
        choice = None if window is None else "random"
        given = {**self.options, **options}
        return TrialLoader(self.mouse, tier=tier, window=window, windows=choice, withheld="zeros", **given)

    def entry(self, batch: Batch) -> Any:
        """Return a batch as the project has it: a namedtuple or a dictionary."""
        if not self.style.by_tier:
            return batch.point(*self.variables)
        trial_id, tiers = batch["trial_id"].int(), batch.tier or ()
        return {
            **{self.style.names.get(name, name): batch[name] for name in self.variables},
            "mouse_id": [self.key] * len(trial_id),
            "trial_id": trial_id,
            "tier": [self.style.labels.get(tier, tier) for tier in tiers],
            "mouse_class": trial_id.new_full((len(trial_id),), self.number).long(),
        }


class Arrays(Mapping[str, NDArray[Any]]):
    """Arrays of a group of the published files, such as ``meta/neurons``, as attributes or by name.

    Parameters
    ----------
    group, dimension
        Group of the store, and what the first axis of its arrays is.
    taken
        (n,) positions along the first axis; None for all.

    Notes
    -----
    They are read anew each time, with shape and dtype of the published file, and may be changed.
    """

    def __init__(self, index: StoreIndex, group: str, dimension: str, taken: NDArray[np.int64] | None = None) -> None:
        self._index, self._paths, self._taken = index, source_paths(index, group, dimension), taken

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return an array; `KeyError` if there is none of this name."""
        values = np.array(source_array(self._index, self._paths[name]))
        values = values.astype(str) if values.dtype == object else values
        return values if self._taken is None else values[self._taken]

    def __getattr__(self, name: str) -> NDArray[Any]:
        """Return an array."""
        if name.startswith("_") or name not in self._paths:
            raise AttributeError(f"no array {name!r}", name=name, obj=self)
        return self[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._paths)

    def __len__(self) -> int:
        """Return the number of arrays."""
        return len(self._paths)

    def __dir__(self) -> list[str]:
        """Return the names of all attributes."""
        return [*super().__dir__(), *self._paths]


class Samples(Sequence[Any]):
    """Samples of the trials of a mouse, or of one of its tiers, each read when it is asked for.

    Notes
    -----
    The same arguments give the same samples: of windows at random places, a trial's first one, its second and so on.
    """

    def __init__(self, one: FieldMouse, tier: str | None) -> None:
        self._one, self._tier, self._rows, self._asked = one, tier, one.rows(tier), Counter[int]()

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self._rows)

    def __getitem__(self, place: Any) -> Any:
        """Return a sample; `IndexError` if there are fewer."""
        place = range(len(self))[place]
        self._asked[place] += 1
        return next(self._read([place], self._asked[place] - 1))

    def __iter__(self) -> Iterator[Any]:
        """Read all, one after another, ahead of who asks for them."""
        return self._read(range(len(self)), 0)

    def _read(self, places: Sequence[int], epoch: int) -> Iterator[Any]:
        return map(_only, map(self._one.entry, self._loader.take(places, epoch)))

    @cached_property
    def _loader(self) -> TrialLoader:
        return self._one.loader(self._tier, **_RANDOM_ACCESS)


def _only(entry: Any) -> Any:
    """Return the only sample of a batch."""
    if isinstance(entry, dict):
        return {name: values[0] for name, values in entry.items()}
    return type(entry)(*(values[0] for values in entry))


class MouseDataset:
    """All trials of a mouse by their numbers, as neuralpredictors' `FileTreeDataset` has them.

    Attributes
    ----------
    data_keys
        Names of the variables of a sample.
    trial_info
        Arrays of ``meta/trials``, one value for each number that a file could have.
    neurons
        Arrays of ``meta/neurons``, of the neurons that are read.
    """

    def __init__(self, one: FieldMouse) -> None:
        index, recording = one.mouse.index, one.mouse.recording
        self._one, self._samples = one, Samples(one, None)
        self._rows = {trial: row for row, trial in enumerate(recording.trial_ids.tolist())}
        self.data_keys = one.variables
        self.trial_info = Arrays(index, layout.TRIALS, layout.FILE_NUMBER)
        self.neurons = Arrays(index, layout.NEURONS, layout.NEURON, one.neurons)

    @property
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The class that its users ask for with `isinstance`, once they have imported it."""
        module = sys.modules.get("neuralpredictors.data.datasets")
        return getattr(module, str(self._one.style.dataset_class), MouseDataset)

    @property
    def tiers(self) -> NDArray[Any]:
        """Tier of each number that a file could have; ``none`` without a file."""
        return self.trial_info.tiers

    @property
    def n_neurons(self) -> int:
        """How many neurons are read."""
        return len(self._one.neurons)

    def __len__(self) -> int:
        """Return the number of trials of all tiers."""
        return len(self._rows)

    def __getitem__(self, trial_id: int) -> Any:
        """Return a trial, or a window of it, by the number of its files.

        Raises
        ------
        OptionError
            There is no such trial.
        """
        self._check(trial_id)
        return self._samples[self._rows[trial_id]]

    def __iter__(self) -> Iterator[Any]:
        """Return the trials from number 0 on, so that `enumerate` counts files.

        Raises
        ------
        OptionError
            There are gaps in the numbers.
        """
        for trial_id in range(len(self)):
            self._check(trial_id)
        return iter(self._samples)

    def _check(self, trial_id: int) -> None:
        if trial_id not in self._rows:
            advice = "take those whose trial_info.tiers is not 'none'"
            raise OptionError(Problem(str(self._one.mouse.path), f"no trial {trial_id!r}", advice))


class TierDataset:
    """Trials of one tier of a mouse by their place in it, as ViV1T's `MovieDataset` has them.

    Attributes
    ----------
    mouse_id, mouse_class
        What the mouse is called, and its place among the mice.
    tier
        The tier's name.
    crop_frame, max_frame
        Frames of a sample, -1 for whole trials; and frames of a trial that are read at most.
    hidden_response
        Whether responses are withheld.
    """

    def __init__(self, one: FieldMouse, tier: str) -> None:
        self._one, self._samples, self._rows = one, Samples(one, tier), one.rows(tier)
        self.mouse_id, self.mouse_class = one.key, one.number
        self.tier = one.style.labels.get(tier, tier)
        self.crop_frame = -1 if one.window is None or one.is_whole(tier) else one.window
        self.max_frame = one.style.max_frames
        self.hidden_response = bool(one.mouse.recording.withheld[self._rows[:1]].any())
        self._neurons = Arrays(one.mouse.index, layout.NEURONS, layout.NEURON, one.neurons)

    @property
    def trial_ids(self) -> Any:
        """(n,) int32 tensor: numbers of the trials' files."""
        return _tensor(self._one.mouse.recording.trial_ids[self._rows], np.int32)

    @property
    def neuron_ids(self) -> Any:
        """(n_neurons,) int16 tensor."""
        return _tensor(self._neurons.unit_ids, np.int16)

    @property
    def neuron_coordinates(self) -> Any:
        """(n_neurons, 3) float32 tensor, in µm."""
        return _tensor(self._neurons.cell_motor_coordinates, np.float32)

    @property
    def num_neurons(self) -> int:
        """How many neurons are read."""
        return len(self._one.neurons)

    @property
    def num_channels(self) -> int:
        """Channels of the stimulus."""
        return self._stimulus[0]

    @property
    def video_shape(self) -> tuple[int, ...]:
        """Height and width of the stimulus, in pixels."""
        return self._stimulus[-2:]

    def __len__(self) -> int:
        """Return the number of trials of the tier."""
        return len(self._samples)

    def __getitem__(self, place: Any, to_tensor: bool = True) -> Any:
        """Return a trial, or a window of it, as a dictionary of tensors; `IndexError` if there are fewer."""
        return self._samples[int(place)]

    @cached_property
    def _stimulus(self) -> tuple[int, ...]:
        return tuple(next(iter(self._samples[0].values())).shape)


def _tensor(values: NDArray[Any], dtype: Any) -> Any:
    from ..streaming.tensors import as_tensor

    return as_tensor(values.astype(dtype))

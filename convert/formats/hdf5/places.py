"""Places of the contents of a file: plain data made of a file by its layout, by which files of all layouts are read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ....store.layout import Precision, Variable
from ..source import SmallArray, TrialSpec


@dataclass(frozen=True, slots=True)
class TrialPlace:
    """One variable of one trial.

    Attributes
    ----------
    dataset, row
        Where it is; row None for a dataset of its own.
    frames
        How many there are, of a trial that may be shorter than others; None where all trials have the same shape.
    descr, fortran_order
        As in `SourceTrial`.
    nbytes
        Bytes of its values in the file.
    digest
        Digest of its values; None if the file has none.
    """

    dataset: str
    row: int | None
    frames: int | None
    descr: str
    fortran_order: bool
    nbytes: int
    digest: str | None = None

    @property
    def member(self) -> str:
        """Its name in messages."""
        return self.dataset if self.row is None else f"{self.dataset}[{self.row}]"


@dataclass(frozen=True)
class VariablePlace:
    """All trials of a variable, or those of a part.

    Attributes
    ----------
    shape
        Shape of one trial as it is read; frames first where trials may be shorter than others.
    dtype
        As in `TrialSpec`.
    axes
        Axis of `shape` for each axis of the published array.
    unpacking
        Bytes that the library takes while it reads.
    together
        Rows of a dataset that are read at once, and kept until others are.
    trials
        Place of each trial, by trial_id.
    frame_axis
        The axis of `shape` along which trials may be shorter; None where all have the same shape.
    """

    shape: tuple[int, ...]
    dtype: str
    axes: tuple[int, ...]
    unpacking: int
    together: int
    trials: Mapping[int, TrialPlace]
    frame_axis: int | None = None

    @property
    def published_shape(self) -> tuple[int, ...]:
        """Shape of one trial as a published tree has it."""
        return tuple(self.shape[axis] for axis in self.axes)

    @property
    def kept(self) -> int:
        """Bytes of what is read at once."""
        return self.together * math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def part(self, trial_ids: Sequence[int]) -> VariablePlace:
        """Return it with some of the trials only."""
        return replace(self, trials={trial: self.trials[trial] for trial in trial_ids if trial in self.trials})


@dataclass(frozen=True)
class SmallPlace:
    """An array or file beside the trials.

    Attributes
    ----------
    array
        Array as a published tree has it.
    digest
        Digest of the dataset's values; None if the file has none.
    """

    dataset: str
    array: SmallArray
    digest: str | None = None


@dataclass(frozen=True)
class Contents:
    """Contents of a file, and their places.

    Attributes
    ----------
    variables
        The variables, in the order of a store.
    places
        Name of a variable -> where its trials are.
    small, verbatim
        Arrays beside the trials, and files that are kept byte by byte, by the names that a published tree has.
    mouse
        Its name; None where the file does not say.
    config, schema, precision, warnings, n_file_frames
        As in `Survey`.
    """

    trial_ids: tuple[int, ...]
    tiers: tuple[str, ...]
    variables: tuple[Variable, ...]
    places: Mapping[str, VariablePlace]
    small: Mapping[str, SmallPlace]
    warnings: tuple[str, ...]
    verbatim: Mapping[str, SmallPlace] = field(default_factory=dict[str, SmallPlace])
    mouse: str | None = None
    config: str | None = None
    schema: str | None = None
    precision: Precision = "source"
    n_file_frames: tuple[int, ...] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, unpacked."""
        trials = (trial.nbytes for place in self.places.values() for trial in place.trials.values())
        return sum(trials) + sum(place.array.nbytes for place in (*self.small.values(), *self.verbatim.values()))


def specs(variables: Mapping[str, VariablePlace], ids: Sequence[int]) -> dict[str, TrialSpec]:
    """Return what all trials of each variable have in common, as a published tree has it.

    Parameters
    ----------
    ids
        Numbers of all trials of the mouse.

    Notes
    -----
    One thread reads all variables of a trial in turn, and keeps rows of each.
    """
    reading = max((place.unpacking for place in variables.values()), default=0)
    reading += sum(place.kept for place in variables.values())
    return {
        name: TrialSpec(place.published_shape, place.dtype, reading, frozenset(ids) - place.trials.keys())
        for name, place in variables.items()
    }

"""How much each neuron or channel varies in the train trials: a pass over the source, before anything is written."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..readers.reductions.moments import Moments, concatenate, moments_of, no_moments
from ..store import Problem, SourceError, layout
from ..store.layout import Variable
from ..store.progress import Progress, Silent
from .formats.source import SourcePart
from .validity import is_withheld

_BLOCK = 1 << 14
"""Values that are worked on at once."""


def trial_moments(variable: Variable, values: NDArray[Any]) -> Moments:
    """Return the moments of one trial.

    Parameters
    ----------
    values
        Any dtype, axes, byte and memory order of the source. NaN does not count, nor do withheld responses.

    Returns
    -------
    Moments
        (n_channels,), or (1,) of a stimulus.
    """
    if variable.name == layout.RESPONSES and is_withheld(values):
        return no_moments(values.shape[_separate_axis(variable)])
    if not variable.separate:
        flat = values.ravel("K")
        known = no_moments(1)
        for start in range(0, flat.size, _BLOCK):
            known = known.merge(_row_moments(flat[None, start : start + _BLOCK]))
        return known
    separate = np.moveaxis(values, _separate_axis(variable), 0)
    rows = separate.reshape(len(separate), -1)
    step = max(1, _BLOCK // rows.shape[1])
    return concatenate([_row_moments(rows[start : start + step]) for start in range(0, len(rows), step)])


def _separate_axis(variable: Variable) -> int:
    """Return the axis of a published file along which values are of different things."""
    return variable.axes[variable.dimensions.index(variable.separate[0])]


def add_trial(found: dict[str, Moments], variable: Variable, values: NDArray[Any]) -> None:
    """Add a trial to the moments of its variable; see `trial_moments`."""
    moments = trial_moments(variable, values)
    found[variable.name] = found[variable.name].merge(moments) if variable.name in found else moments


def _row_moments(rows: NDArray[Any]) -> Moments:
    """Return the moments of each row of (n_rows, n_values)."""
    numbers = np.array(rows, np.float64, order="C")
    missing = np.isnan(numbers)
    count = rows.shape[1] - np.count_nonzero(missing, axis=1)
    numbers[missing] = 0
    with np.errstate(over="ignore", invalid="ignore"):
        # Distances from the first number: where none varies they are zero, and so is all that follows, in any order.
        first = np.take_along_axis(numbers, missing.argmin(axis=1)[:, None], axis=1)
        numbers -= first
        found = moments_of(numbers, missing, count)
        return Moments(found.count, first[:, 0] + found.mean, found.variance)


@dataclass(frozen=True)
class StdTask:
    """The work of finding out how much some train trials vary. Small and picklable.

    Attributes
    ----------
    number
        Which unit's trials.
    files
        The variables that are to be read, and the bytes of a trial's file of each.
    missing
        Variable -> numbers of the trials that lack it.
    """

    part: SourcePart
    number: int
    trial_ids: tuple[int, ...]
    files: tuple[tuple[Variable, int], ...]
    missing: Mapping[str, frozenset[int]]

    @property
    def extent(self) -> tuple[int, int]:
        """Bytes and files to be read."""
        return len(self.trial_ids) * sum(nbytes for _, nbytes in self.files), len(self.trial_ids) * len(self.files)


def measure(work: StdTask, progress: Progress | None = None) -> dict[str, Moments]:
    """Return the moments of each variable over the trials of a task.

    Parameters
    ----------
    progress
        Listener to bytes and files of the source that were read.

    Raises
    ------
    SourceError
        With every trial that cannot be read.
    """
    found, problems, listener = dict[str, Moments](), list[Problem](), progress or Silent()
    with work.part.open() as reader:
        for trial_id, (variable, nbytes) in itertools.product(work.trial_ids, work.files):
            if trial_id in work.missing.get(variable.name, ()):
                continue
            try:
                values = reader.read(variable.name, trial_id).values
            except SourceError as error:
                problems += error.problems
                continue
            add_trial(found, variable, values)
            listener.advance(nbytes, 1)
    if problems:
        raise SourceError(problems)
    return found


def std_of(parts: Sequence[Mapping[str, Moments]], variable: Variable, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the standard deviation of each channel, from the moments of parts of the trials, in their order.

    Parameters
    ----------
    shape
        Shape of the result: (n_channels,), or () of a variable without neurons and channels.

    Returns
    -------
    ndarray
        float64; 0 where it is not known: no numbers, or infinite ones.
    """
    known = no_moments(math.prod(shape))
    for part in parts:
        if variable.name in part:
            known = known.merge(part[variable.name])
    return np.nan_to_num(known.std, nan=0.0, posinf=0.0).reshape(shape)

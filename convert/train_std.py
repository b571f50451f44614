"""How much each neuron or channel varies in the train trials: a pass over the source, before anything is written."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store import Problem, SourceError, layout
from ..store.layout import Variable
from ..store.progress import Progress, Silent
from .sources.source import SourcePart
from .trial import is_withheld

_BLOCK = 1 << 14
"""Values that are worked on at once."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of some numbers, for each channel.

    Attributes
    ----------
    count
        (n_channels,) int64, number of values that are not NaN.
    mean, m2
        (n_channels,) float64: their mean, and the sum of squares of their distances from it.
    """

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]

    @property
    def std(self) -> NDArray[np.float64]:
        """(n_channels,) float64, with ddof 0; NaN of no numbers."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(self.m2 / self.count)

    def merge(self, other: Moments) -> Moments:
        """Return what is known of these and other numbers: Chan, Golub and LeVeque (1983), equation 2.1."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            distance = other.mean - self.mean
            mean = self.mean + distance * share
            m2 = self.m2 + other.m2 + distance**2 * self.count * share
        return Moments(count, mean, m2)


def no_moments(channels: int) -> Moments:
    """Return what is known of no numbers."""
    return Moments(np.zeros(channels, np.int64), np.zeros(channels), np.zeros(channels))


def moments_of(variable: Variable, values: NDArray[Any]) -> Moments:
    """Return what is known of the numbers of one trial.

    Parameters
    ----------
    values
        float32 or float64, axes, byte and memory order of the source. Withheld responses are none.
    """
    if variable.name == layout.RESPONSES and is_withheld(values):
        return no_moments(len(values))
    if not variable.channels:
        flat = values.ravel("K")
        known = no_moments(1)
        for start in range(0, flat.size, _BLOCK):
            known = known.merge(_moments(flat[None, start : start + _BLOCK]))
        return known
    rows = values.reshape(len(values), -1)
    step = max(1, _BLOCK // rows.shape[1])
    parts = [_moments(rows[start : start + step]) for start in range(0, len(rows), step)]
    return Moments(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("count", "mean", "m2")))


def _moments(rows: NDArray[Any]) -> Moments:
    numbers = np.array(rows, np.float64, order="C")
    missing = np.isnan(numbers)
    count = rows.shape[1] - np.count_nonzero(missing, axis=1)
    numbers[missing] = 0
    with np.errstate(over="ignore", invalid="ignore"):
        # Distances from the first number: where none varies they are zero, and so is all that follows, in any order.
        first = np.take_along_axis(numbers, missing.argmin(axis=1)[:, None], axis=1)
        numbers -= first
        numbers[missing] = 0
        mean = numbers.sum(axis=1) / np.maximum(count, 1)
        numbers -= mean[:, None]
        numbers[missing] = 0
        return Moments(count, first[:, 0] + mean, np.square(numbers, out=numbers).sum(axis=1))


@dataclass(frozen=True)
class StdTask:
    """The work of finding out how much some train trials vary. Small and picklable.

    Attributes
    ----------
    number
        Which unit's trials.
    files
        The variables that are to be read, and the bytes of a trial's file of each.
    """

    part: SourcePart
    number: int
    trial_ids: tuple[int, ...]
    files: tuple[tuple[Variable, int], ...]

    @property
    def extent(self) -> tuple[int, int]:
        """Bytes and files to be read."""
        return len(self.trial_ids) * sum(nbytes for _, nbytes in self.files), len(self.trial_ids) * len(self.files)


def measure(work: StdTask, progress: Progress | None = None) -> dict[str, Moments]:
    """Return what is known of the numbers of each variable.

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
            try:
                moments = moments_of(variable, reader.read(variable.name, trial_id).values)
            except SourceError as error:
                problems += error.problems
                continue
            found[variable.name] = found[variable.name].merge(moments) if variable.name in found else moments
            listener.advance(nbytes, 1)
    if problems:
        raise SourceError(problems)
    return found


def std_of(parts: Sequence[Mapping[str, Moments]], variable: Variable, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return how much each channel varies, from what is known of parts of the trials, in their order.

    Parameters
    ----------
    shape
        Of the result: (n_channels,), or () of a stimulus.

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

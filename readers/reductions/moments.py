"""Count, mean and variance of numbers, and how those of parts are pooled: one formula for all that are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.01
"""Share of the mean standard deviation below which neurons hardly vary: scales and bounds are not taken from them."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and variance of sets of numbers, one set at each place; all arrays have one shape.

    Attributes
    ----------
    count
        int64, how many numbers there are.
    mean, variance
        float64, ddof 0; zero where there are no numbers.
    """

    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation, float64, ddof 0; NaN of no numbers."""
        return or_nan(self.count, np.sqrt(self.variance))

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both sets at each place.

        Notes
        -----
        Means are pooled as distances from the first: where no number differs they are zero, and so is the variance.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            origin = np.where(self.count > 0, self.mean, other.mean)
            parts = [Moments(one.count, one.mean - origin, one.variance) for one in (self, other)]
            found = pool(*(np.stack(arrays, axis=-1) for arrays in _columns(parts)))
            return Moments(found.count, origin + found.mean, found.variance)


def no_moments(shape: int | tuple[int, ...]) -> Moments:
    """Return the moments of no numbers."""
    return Moments(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape))


def concatenate(parts: Sequence[Moments]) -> Moments:
    """Return the moments of places one behind another, along the first axis."""
    return Moments(*(np.concatenate(arrays) for arrays in _columns(parts)))


def moments_of(values: NDArray[np.float64], holes: NDArray[np.bool_] | None, count: NDArray[np.int64]) -> Moments:
    """Return the moments along the last axis, by two passes.

    Parameters
    ----------
    values
        (…, n) float64; overwritten.
    holes
        (…, n), where there is no number; None for nowhere.
    count
        (…) int64, how many numbers there are.
    """
    some = np.maximum(count, 1)
    mean = _sum(values, holes) / some
    values -= mean[..., None]
    return Moments(count, mean, _sum(np.square(values, out=values), holes) / some)


def pool(counts: NDArray[np.int64], means: NDArray[np.float64], variances: NDArray[np.float64]) -> Moments:
    """Return the moments of the union of parts.

    Parameters
    ----------
    counts, means, variances
        (…, n_parts) of disjoint sets of numbers; a part without numbers weighs nothing, whatever its other two are.

    Returns
    -------
    Moments
        Moments of shape (…).

    Notes
    -----
    Chan, Golub and LeVeque (1983), equation 2.1, for any number of parts.
    """
    count = counts.sum(axis=-1)
    some = np.maximum(count, 1)
    means, variances = np.where(counts > 0, means, 0.0), np.where(counts > 0, variances, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = (counts * means).sum(axis=-1) / some
        distance = means - mean[..., None]
        return Moments(count, mean, (counts * (variances + distance**2)).sum(axis=-1) / some)


def or_nan(count: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values, NaN where they are of no number."""
    return np.where(count > 0, values, np.nan)


def _sum(values: NDArray[np.float64], holes: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Add up the last axis; holes are made zero for it.

    Not by einsum or dot: the order in which those add depends on the processor.
    """
    if holes is not None:
        np.putmask(values, holes, 0.0)
    return values.sum(axis=-1)


def _columns(parts: Sequence[Moments]) -> list[list[NDArray[Any]]]:
    """Return the counts, the means and the variances of parts."""
    return [[one.count for one in parts], [one.mean for one in parts], [one.variance for one in parts]]

"""What a set of numbers comes to, and what parts of it say of the whole."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store.layout import STATISTIC_NAMES, statistic_dtype


@dataclass(frozen=True, eq=False, repr=False)
class Summary:
    """What a set of numbers comes to; all arrays have one shape.

    Attributes
    ----------
    count
        int64, number of values that are not NaN.
    min, max, median
        Of the data's dtype; NaN where there is no number. The median of an even count is the mean of the middle two.
    mean, std
        float64; the standard deviation divides by the count (ddof 0).
    """

    count: NDArray[np.int64]
    min: NDArray[Any]
    max: NDArray[Any]
    mean: NDArray[np.float64]
    median: NDArray[Any]
    std: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of each array."""
        return self.count.shape

    def __repr__(self) -> str:
        """Return a one-line summary."""
        return f"<Summary {self.shape}: {', '.join(STATISTIC_NAMES)}>"

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return the lowest and the highest value of each statistic, for people to look at; NaN where there is none."""
        return {name: _ends(getattr(self, name)) for name in STATISTIC_NAMES}


def pool_parts(parts: Summary, axes: tuple[int, ...], median: NDArray[Any]) -> Summary:
    """Join what is known of parts into what is known of the whole.

    Parameters
    ----------
    parts
        Of disjoint sets of numbers, along `axes`.
    median
        Of the whole: the one thing that cannot be had from the parts.

    Notes
    -----
    Means and variances are joined as of Chan, Golub and LeVeque (1983), equation 2.1, for any number of parts.
    """
    counts, means, stds = (_to_end(values, axes) for values in (parts.count, parts.mean, parts.std))
    count = counts.sum(axis=-1)
    some = np.maximum(count, 1)
    # Parts without numbers are NaN; they weigh nothing.
    means, stds = np.where(counts > 0, means, 0.0), np.where(counts > 0, stds, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = (counts * means).sum(axis=-1) / some
        apart = means - mean[..., None]
        variance = (counts * (stds**2 + apart**2)).sum(axis=-1) / some
    return Summary(
        count=np.asarray(count),
        min=np.asarray(np.fmin.reduce(parts.min, axis=axes)),
        max=np.asarray(np.fmax.reduce(parts.max, axis=axes)),
        mean=or_nan(count, mean),
        median=median,
        std=or_nan(count, np.sqrt(variance)),
    )


def _to_end(values: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    """Make one axis of several, the last, in memory too: the order of a sum depends on how numbers lie there."""
    moved = np.moveaxis(values, axes, range(-len(axes), 0))
    return np.ascontiguousarray(moved).reshape(*moved.shape[: -len(axes)], -1)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Summary:
    """Return what no numbers at all come to."""
    empty = {name: np.full(shape, np.nan, kind) for name, kind in dtypes(dtype).items() if name != "count"}
    return Summary(count=np.zeros(shape, np.int64), **empty)


def result_nbytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return the bytes of a `Summary` of a shape."""
    return math.prod(shape) * sum(kind.itemsize for kind in dtypes(dtype).values())


def dtypes(dtype: np.dtype[Any]) -> dict[str, np.dtype[Any]]:
    """Return the dtype of each statistic of numbers of a dtype."""
    return {name: np.dtype(statistic_dtype(name, dtype.name)) for name in STATISTIC_NAMES}


def _ends(values: NDArray[Any]) -> tuple[float, float]:
    return float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None))


def or_nan(count: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values, NaN where they are of no number."""
    return np.where(count > 0, values, np.nan)

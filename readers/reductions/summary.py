"""Summary statistics, and how to pool them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store.layout import STATISTIC_NAMES, statistic_dtype
from .moments import or_nan, pool


def marks_gaps(dtype: np.dtype[Any]) -> bool:
    """Return whether NaN stands where there is no number; integers and bool have no such value."""
    return dtype.kind == "f"


def padding(dtype: np.dtype[Any]) -> Any:
    """Return what stands beyond the valid frames of a trial: NaN, or the largest value. It sorts behind all numbers."""
    if marks_gaps(dtype):
        return dtype.type(math.nan)
    return dtype.type(True) if dtype.kind == "b" else np.iinfo(dtype).max


def absent(dtype: np.dtype[Any]) -> Any:
    """Return the minimum and maximum of no numbers: NaN, or zero where there is no NaN."""
    return dtype.type(math.nan if marks_gaps(dtype) else 0)


def statistic_dtypes(dtype: np.dtype[Any]) -> dict[str, np.dtype[Any]]:
    """Return the dtype of each statistic of numbers of a dtype."""
    return {name: np.dtype(statistic_dtype(name, dtype.name)) for name in STATISTIC_NAMES}


def as_median(value: Any) -> Any:
    """Return the middle one of an odd count of numbers, in the dtype of their median."""
    return value if marks_gaps(value.dtype) else _mean_of_integers(value, value)


def middle(lower: Any, upper: Any) -> Any:
    """Return the mean of two numbers, in the dtype of their median.

    Notes
    -----
    Of float32 and float64 in their own dtype, as `numpy.median` does; of others what is closest to the exact mean.
    """
    dtype = lower.dtype
    if not marks_gaps(dtype):
        return _mean_of_integers(lower, upper)
    if dtype.itemsize == 2:
        # Their sum may be too large for a float16, and is exact as float64.
        return middle(lower.astype(np.float64), upper.astype(np.float64)).astype(dtype)
    return (lower + upper) / dtype.type(2)


def _mean_of_integers(lower: Any, upper: Any) -> Any:
    if lower.dtype.itemsize < 8:
        return (lower.astype(np.float64) + upper.astype(np.float64)) / 2
    # The halves of 64 bits are exact in float64, and so are their sums: only the last sum is rounded, and only once.
    half = lower.dtype.type(32)
    high = (lower >> half).astype(np.float64) + (upper >> half).astype(np.float64)
    low = _low_half(lower) + _low_half(upper)
    return (high * 2.0**32 + low) / 2


def _low_half(values: Any) -> NDArray[np.float64]:
    return (values & values.dtype.type(2**32 - 1)).astype(np.float64)


def plain(values: Any) -> Any:
    """Return values with one zero and one NaN: equal numbers then have equal bytes, in whatever order they were."""
    if not marks_gaps(values.dtype):
        return values
    return np.where(np.isnan(values), values.dtype.type(math.nan), values + values.dtype.type(0))


@dataclass(frozen=True, eq=False, repr=False)
class Summary:
    """Summary statistics of sets of numbers, one set at each place; all arrays have one shape.

    Attributes
    ----------
    count
        int64, number of values that are not NaN.
    min, max
        Extremes, of the data's dtype; of no number NaN, or zero where the dtype has no NaN.
    median
        Median, of the data's dtype if that is a float, else float64; NaN where there is no number. The median of an
        even count is the mean of the middle two.
    mean, std
        float64; NaN where there is no number. The standard deviation divides by the count (ddof 0).
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

    @property
    def unbiased_std(self) -> NDArray[np.float64]:
        """Standard deviation, float64, which divides by one less than the count (ddof 1); NaN of fewer than two."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.count > 1, self.std * np.sqrt(self.count / (self.count - 1)), np.nan)

    def __repr__(self) -> str:
        """Return a one-line summary."""
        return f"<Summary {self.shape}: {', '.join(STATISTIC_NAMES)}>"

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return the lowest and the highest value of each statistic, for people to look at; NaN where there is none."""
        return {name: _ends(getattr(self, name)) for name in STATISTIC_NAMES}


def pool_parts(parts: Summary, axes: tuple[int, ...], median: NDArray[Any]) -> Summary:
    """Join summaries of parts into one of the whole.

    Parameters
    ----------
    parts
        Summaries of disjoint sets of numbers, along `axes`.
    median
        Median of the whole: the one statistic that does not follow from the parts.
    """
    counts, means, stds = (_to_end(values, axes) for values in (parts.count, parts.mean, parts.std))
    with np.errstate(over="ignore", invalid="ignore"):
        moments = pool(counts, means, stds**2)
    return Summary(
        count=np.asarray(moments.count),
        min=_extreme(np.fmin, parts.min, counts, axes),
        max=_extreme(np.fmax, parts.max, counts, axes),
        mean=or_nan(moments.count, moments.mean),
        median=median,
        std=moments.std,
    )


def _extreme(pick: np.ufunc, values: NDArray[Any], counts: NDArray[np.int64], axes: tuple[int, ...]) -> NDArray[Any]:
    """Return the least or the largest of those values that are of a number."""
    if marks_gaps(values.dtype):
        return np.asarray(pick.reduce(values, axis=axes))
    given, absent_value = counts > 0, absent(values.dtype)
    # What is of no number gives way to the first value that is of one.
    flat = _to_end(values, axes)
    first = np.take_along_axis(flat, given.argmax(axis=-1)[..., None], axis=-1)
    found = pick.reduce(np.where(given, flat, first), axis=-1)
    return np.asarray(np.where(given.any(axis=-1), found, absent_value), values.dtype)


def _to_end(values: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    """Make one axis of several, the last, in memory too: the order of a sum depends on how numbers lie there."""
    moved = np.moveaxis(values, axes, range(-len(axes), 0))
    return np.ascontiguousarray(moved).reshape(*moved.shape[: moved.ndim - len(axes)], -1)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Summary:
    """Return the summary of no numbers at all."""
    values = {"min": absent(dtype), "max": absent(dtype), "count": 0}
    return Summary(
        **{name: np.full(shape, values.get(name, np.nan), kind) for name, kind in statistic_dtypes(dtype).items()}
    )


def result_nbytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return the bytes of a `Summary` of a shape."""
    return math.prod(shape) * sum(kind.itemsize for kind in statistic_dtypes(dtype).values())


def _ends(values: NDArray[Any]) -> tuple[float, float]:
    return float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None))

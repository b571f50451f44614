"""What statistics depend on of the dtype of the numbers: gaps, padding, the mean of two."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store.layout import STATISTIC_NAMES, statistic_dtype


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

"""The exact median of more numbers than fit in memory: a search through their bits, sixteen at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .summary import as_median, marks_gaps, middle, statistic_dtypes

_DIGIT = 16  # bits looked at in one pass
_BLOCK = 1 << 17  # numbers counted at once
Histogram = Callable[[int, int], NDArray[np.int64]]


def median_by_bits(dtype: np.dtype[Any], count: int, histogram: Histogram) -> Any:
    """Return the median of `count` numbers that are only ever counted.

    Parameters
    ----------
    dtype
        Dtype of the numbers: bool, integer or float.
    histogram
        Called with a depth and a prefix; returns `count_digits` of all numbers.

    Returns
    -------
    scalar
        Median, of the dtype if that is a float, else float64; NaN if there is no number. As `numpy.median`: the mean of
        the middle two of an even count.

    Notes
    -----
    Takes one pass over the numbers for every sixteen bits: two for float32, four for float64; up to twice that if
    the middle two have other leading bits. A radix selection; what one pass returns has 65536 counts.
    """
    if count == 0:
        return statistic_dtypes(dtype)["median"].type(np.nan)
    counts = cache(histogram)
    lower, upper = (_select(dtype, rank, counts) for rank in ((count - 1) // 2, count // 2))
    with np.errstate(over="ignore", invalid="ignore"):
        return as_median(lower) if count % 2 else middle(lower, upper)


def count_digits(values: NDArray[Any], depth: int, prefix: int) -> NDArray[np.int64]:
    """Count, among the numbers whose first digits are the prefix, how often each next digit occurs.

    Parameters
    ----------
    values
        (…) bool, integer or float, C-contiguous; NaN is left out, padding of integers is not.
    depth
        How many digits the prefix has; a digit is sixteen bits.

    Returns
    -------
    ndarray
        (65536,) int64.
    """
    counts = np.zeros(2**_DIGIT, np.int64)
    flat = values.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        counts += _count_block(flat[start : start + _BLOCK], depth, prefix)
    return counts


def n_digits(dtype: np.dtype[Any]) -> int:
    """Return how many digits a number has: how often all numbers are passed over."""
    return _key_bits(dtype) // _DIGIT


def _key_bits(dtype: np.dtype[Any]) -> int:
    """Return how many bits a number's key has: those of the number, but one digit at least."""
    return max(_DIGIT, 8 * dtype.itemsize)


def _count_block(values: NDArray[Any], depth: int, prefix: int) -> NDArray[np.int64]:
    rest = _key_bits(values.dtype) - _DIGIT * depth
    if depth:
        low, high = (_number(values.dtype, key) for key in (prefix << rest, ((prefix + 1) << rest) - 1))
        # Beyond the infinities the bits are those of NaN.
        values = values[(values >= _or(low, -np.inf)) & (values <= _or(high, np.inf))]
    elif marks_gaps(values.dtype) and (gaps := np.isnan(values)).any():
        values = values[~gaps]
    keys = _keys(values)
    if depth:
        # Comparing numbers takes both zeros for one, and bits do not.
        keys = keys[keys >> rest == prefix]
    digits = (keys >> (rest - _DIGIT)).astype(np.uint16)
    return np.bincount(digits, minlength=2**_DIGIT)


def _or(value: Any, instead: float) -> Any:
    return instead if marks_gaps(value.dtype) and np.isnan(value) else value


def _select(dtype: np.dtype[Any], rank: int, counts: Histogram) -> Any:
    """Return the number of this rank, from zero."""
    prefix = 0
    for depth in range(n_digits(dtype)):
        ends = np.cumsum(counts(depth, prefix))
        digit = int(np.searchsorted(ends, rank, side="right"))
        rank -= int(ends[digit - 1]) if digit else 0
        prefix = prefix << _DIGIT | digit
    return _number(dtype, prefix)


def _keys(values: NDArray[Any]) -> NDArray[Any]:
    """Return unsigned integers in the order of the numbers.

    Of integers, counted from the smallest one; of floats the bits, with those of negative numbers turned around.
    """
    n_bits = _key_bits(values.dtype)
    if values.dtype.kind in "bu":
        return values.astype(f"u{n_bits // 8}")
    sign = 1 << (n_bits - 1)
    if values.dtype.kind == "i":
        return values.astype(f"i{n_bits // 8}").view(f"u{n_bits // 8}") ^ np.dtype(f"u{n_bits // 8}").type(sign)
    bits = (values + values.dtype.type(0)).view(f"i{values.dtype.itemsize}")
    # All ones below a set sign; the sign itself is turned around always.
    turned = (bits >> (n_bits - 1)) | bits.dtype.type(-sign)
    return (bits ^ turned).view(f"u{bits.itemsize}")


def _number(dtype: np.dtype[Any], key: int) -> Any:
    """Return the number of a key."""
    n_bits = _key_bits(dtype)
    if not marks_gaps(dtype):
        return dtype.type(key - (1 << (n_bits - 1)) if dtype.kind == "i" else key)
    bits = key ^ (1 << (n_bits - 1)) if key >> (n_bits - 1) else key ^ ((1 << n_bits) - 1)
    return np.array(bits, f"u{dtype.itemsize}").view(dtype)[()]

"""Round values to float32 within a bound, prove it for each of them, and check it again.

Values become multiples of a power of two, so that most of their bits are never set and codecs leave them out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..readers.reductions.moments import THRESHOLD

Floats = NDArray[np.float64]

LARGEST = float(np.finfo(np.float32).max)
"""The largest number that float32 holds."""
SCRATCH_BYTES = 3 << 18
"""Bytes that rounding and checking hold at most, beside values of which one row is larger than a block."""
_BLOCK = 1 << 14
"""Values that are worked on at once: all that is made of them stays in the processor's cache."""
_FINEST_STEP, _COARSEST_STEP = -149, 127
"""Powers of two, of float32 itself: multiples of less, and of more, it does not hold."""
_TO_INTEGERS = 1.5 * 2.0**52
"""Added to a float64 of the size of its step, it leaves no bits behind the point: the processor rounds to even."""
_NEGATIVE_ZERO = np.iinfo(np.int64).min


@dataclass(frozen=True, eq=False)
class Limits:
    """How far the stored values of a trial may be from those of the source; both shapes broadcast to the trial's.

    Attributes
    ----------
    bound
        float64, at least 0.
    allowed
        float64, not below `bound`: how far they may be where float32 holds nothing within the bound.
    """

    bound: Floats
    allowed: Floats

    @property
    def fingerprint(self) -> str:
        """Changes with any of the numbers."""
        return hashlib.sha256(self.bound.tobytes() + self.allowed.tobytes()).hexdigest()


class Excess(NamedTuple):
    """The value that is furthest from its source among those that are further than they may be."""

    error: float
    allowed: float


def absolute(bound: float, ndim: int) -> Limits:
    """Return the limits of one bound for all values of trials with `ndim` axes."""
    everywhere = np.full((1,) * ndim, bound)
    return Limits(everywhere, everywhere)


def by_channel(bounds: Floats, ndim: int) -> Limits:
    """Return the limits of a bound for each channel.

    Parameters
    ----------
    bounds
        (n,) along the first axis of a trial; or (), for all its values.
    ndim
        Axes of a trial.

    Notes
    -----
    A neuron that hardly varies in the train trials may do so in others. Its bound is then next to nothing, and float32
    cannot hold its values within it. Such values are the nearest float32, and may be as far from the source as those of
    a neuron that varies by one hundredth of the mean of all: public models divide no neuron's responses by less.
    """
    column = bounds.reshape(*bounds.shape, *(1,) * (ndim - bounds.ndim))
    return Limits(column, np.maximum(column, THRESHOLD * bounds.mean()))


def step_of(bound: Floats) -> Floats:
    """Return the largest power of two of which half is within a bound, as far as it is of use to float32.

    Examples
    --------
    >>> step_of(np.array([0.5, 0.001, 0.0])).tolist()
    [1.0, 0.001953125, 1.401298464324817e-45]
    """
    # Frexp is exact: m * 2 ** e with m from 0.5 on. Half of 2 ** e is then the largest power that is not above.
    exponents = np.clip(np.frexp(bound)[1], _FINEST_STEP, _COARSEST_STEP)
    return np.ldexp(1.0, np.where(bound > 0, exponents, _FINEST_STEP))


def round_within(values: NDArray[Any], limits: Limits, out: NDArray[np.float32]) -> Excess | None:
    """Round values, and prove that none is further from its source than it may be.

    Parameters
    ----------
    values
        float32 or float64, any byte order and strides.
    out
        Array of the same shape, any strides; overwritten.

    Returns
    -------
    Excess or None
        The value that float32 cannot hold; None if there is none.

    Notes
    -----
    A value becomes the nearest multiple of `step_of` its bound, or the nearest float32 where that multiple is further
    away than the bound. The error of each is computed in float64 from the float32 that is stored. NaN and infinities
    stay what they are, and zeros keep their sign; other values that become zero become positive zero, so that zeros are
    one run of equal bits. Values beyond the bound keep their sign. Rounding what was rounded changes nothing.
    """
    shift = _TO_INTEGERS * step_of(limits.bound)
    order = _memory_order(values)
    source, stored = values.transpose(order), out.transpose(order)
    others = [np.broadcast_to(one, values.shape).transpose(order) for one in (shift, limits.bound, limits.allowed)]
    worst = None
    with np.errstate(over="ignore", invalid="ignore"):
        for block in _blocks(source.shape):
            rounded, found = _round_block(_as_float64(source[block]), *(other[block] for other in others))
            stored[block] = rounded
            worst = _worse(worst, found)
    return worst


def find_excess(values: NDArray[Any], stored: NDArray[np.float32], limits: Limits) -> Excess | None:
    """Check values that were rounded against their source.

    Returns
    -------
    Excess or None
        A value that is further away than it may be, or is no NaN, infinity or zero of this sign where the source has
        one (the error is then NaN); None if there is none.
    """
    order, worst = _memory_order(values), None
    source, found = values.transpose(order), stored.transpose(order)
    others = [np.broadcast_to(one, values.shape).transpose(order) for one in (limits.bound, limits.allowed)]
    with np.errstate(over="ignore", invalid="ignore"):
        for block in _blocks(source.shape):
            excess = _check_block(_as_float64(source[block]), found[block], *(other[block] for other in others))
            worst = _worse(worst, excess)
    return worst


def _round_block(
    source: Floats, shift: Floats, bound: Floats, allowed: Floats
) -> tuple[NDArray[np.float32], Excess | None]:
    work = np.add(source, shift)
    np.subtract(work, shift, out=work)
    stored = work.astype(np.float32)
    negative = source.view(np.int64) == _NEGATIVE_ZERO
    if negative.any():
        stored[negative] = -0.0
    beyond = _error(source, stored, work) > bound
    if not beyond.any():
        return stored, None
    stored[beyond] = _nearest(source[beyond]) + np.float32(0)  # which makes zeros positive
    return stored, _furthest(_error(source, stored, work), allowed, work > allowed)


def _check_block(source: Floats, found: NDArray[np.float32], bound: Floats, allowed: Floats) -> Excess | None:
    error = _error(source, found, np.empty_like(source))
    wrong = error > bound
    if wrong.any():
        wrong &= (found != _nearest(source)) | (error > allowed)
    same = (found == source) & (np.signbit(found) == np.signbit(source)) | (np.isnan(found) & np.isnan(source))
    other = ~same & (~np.isfinite(source) | (source == 0) | np.isnan(found))
    error[other] = np.nan
    return _furthest(error, allowed, wrong | other)


def _error(source: Floats, stored: NDArray[np.float32], out: Floats) -> Floats:
    """Return how far values are from their source; NaN of those that are not finite."""
    np.copyto(out, stored)
    np.subtract(out, source, out=out)
    return np.abs(out, out=out)


def _nearest(source: Floats) -> NDArray[np.float32]:
    """Return the finite float32 that are nearest to values; infinities as they are."""
    return np.where(np.isinf(source), source, np.clip(source, -LARGEST, LARGEST)).astype(np.float32)


def _furthest(error: Floats, allowed: Floats, wrong: NDArray[np.bool_]) -> Excess | None:
    if not wrong.any():
        return None
    place = np.argmax(np.where(wrong, np.nan_to_num(error, nan=np.inf), -1.0))
    return Excess(float(error.flat[place]), float(np.broadcast_to(allowed, error.shape).flat[place]))


def _worse(known: Excess | None, found: Excess | None) -> Excess | None:
    if known is None or found is None:
        return known or found
    return found if found.error > known.error else known


def _as_float64(block: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(block, dtype=np.float64)


def _memory_order(values: NDArray[Any]) -> list[int]:
    """Return the axes in the order in which they lie in memory."""
    return sorted(range(values.ndim), key=lambda axis: -abs(values.strides[axis]))


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Cut an array into blocks of so few values that they stay in the processor's cache."""
    axis = next(n for n in range(len(shape)) if math.prod(shape[n + 1 :]) <= _BLOCK)
    step = max(1, _BLOCK // max(1, math.prod(shape[axis + 1 :])))
    for outer in np.ndindex(shape[:axis]):
        for start in range(0, shape[axis], step):
            yield (*(slice(one, one + 1) for one in outer), slice(start, start + step))

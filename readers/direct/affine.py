"""Values shifted and scaled, to one rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store import layout
from .copying import FLOAT32, FLOAT64, assign_rounded, copied_blocks, copy_values, cut

Array = NDArray[Any]
_HALF_UNIT = 2.0**-24
"""What rounding to float32 changes at most, as a part of the number."""


@dataclass(frozen=True)
class Affine:
    """``(x - shift) / divisor``, and not below `least`.

    Attributes
    ----------
    shift, divisor
        Floats that broadcast to a trial with the axes of the store. No shift means zero. Where the divisor is infinite,
        as of what does not vary, all becomes zero.
    least
        Lower values become this one; None for any.

    Notes
    -----
    Results are those of float64, rounded once, or the float32 beside them. Two float32 operations come as near, each of
    numbers that float32 holds: the first changes its result by half a unit in the last place, which is less than one of
    the quotient. So does a divisor rounded to float32, where nothing is subtracted. Everything else is computed in
    float64, in blocks that stay in the cache. Floats of 16 bits are what that float32 is rounded to.
    """

    shift: Array | None
    divisor: Array
    least: float | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of both arrays."""
        return self.divisor.nbytes + (0 if self.shift is None else self.shift.nbytes)

    def arranged(self, given: Sequence[str], wanted: Sequence[str], neurons: NDArray[np.int64] | None) -> Affine:
        """Return it for other axes, and for chosen neurons, as float32 where that suffices.

        Parameters
        ----------
        given, wanted
            Names of the axes as they are, and as they are to be.
        neurons
            Positions; all by default.
        """
        dtype = FLOAT32 if self._fits_float32() else FLOAT64

        def arrange(values: Array) -> Array:
            full = values.reshape((1,) * (len(given) - values.ndim) + values.shape)
            moved = full.transpose([given.index(name) for name in wanted])
            if neurons is not None and layout.NEURON in wanted:
                axis = wanted.index(layout.NEURON)
                moved = moved.take(neurons, axis) if moved.shape[axis] > 1 else moved
            return np.array(moved, dtype, order="C")

        return self.mapped(arrange)

    def mapped(self, change: Callable[[Array], Array]) -> Affine:
        """Return it with both arrays changed."""
        return Affine(None if self.shift is None else change(self.shift), change(self.divisor), self.least)

    def cut(self, axis: int | None, part: slice) -> Affine:
        """Return it for a part of an axis, such as some frames of the recording."""
        return self.mapped(lambda v: v if axis is None or v.shape[axis] == 1 else cut(v, axis, part))

    @property
    def single(self) -> bool:
        """Whether float32 suffices for values that it holds, once it is `arranged`."""
        return self.divisor.dtype == FLOAT32

    def write(self, source: Array, out: Array, neurons: NDArray[np.int64] | None, axes: Sequence[str]) -> None:
        """Write changed values; parameters as in `copy_values`, for an affine that is `arranged`.

        Source and `out` may be the same. Memory that is not in the cache yet is filled fastest by a copy.
        """
        single = self.single and np.can_cast(source.dtype, FLOAT32) and out.dtype != FLOAT64
        if single and out.dtype == FLOAT32:
            if source is not out:
                copy_values(source, out, neurons, axes)
            self.apply(out)
            return
        for block, values in copied_blocks(source, out.shape, neurons, axes, FLOAT32 if single else FLOAT64):
            part = self
            for axis, one in enumerate(block):
                part = part.cut(axis, one)
            part.apply(values)
            assign_rounded(out[(*block, ...)], values)

    def apply(self, values: Array) -> None:
        """Change values in place, in their precision."""
        # Of what is infinite or not a number, NaN: as in the public loaders, without a warning.
        with np.errstate(invalid="ignore", over="ignore"):
            if self.shift is not None:
                np.subtract(values, self.shift, out=values)
            np.divide(values, self.divisor, out=values)
            if self.least is not None:
                np.maximum(values, self.least, out=values)

    def _fits_float32(self) -> bool:
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = self.divisor.astype(FLOAT32)
            if self.shift is not None:
                same = np.array_equal(self.shift.astype(FLOAT32), self.shift, equal_nan=True)
                return same and np.array_equal(rounded, self.divisor, equal_nan=True)
            change = np.abs(rounded / self.divisor.astype(np.float64) - 1)[np.isfinite(self.divisor)]
            return bool((change <= _HALF_UNIT).all())

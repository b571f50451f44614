"""Values on their way into a batch: copied as fast as numpy does it, shifted and scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store import layout
from ...store.chunks import Scratch

Array = NDArray[Any]
_CACHED = 1 << 18
"""Bytes that stay in a processor's cache while they are reordered."""
_APART = 16
"""Values between rows there: at a distance of a power of two they would displace one another."""
_MATRIX = 2
BFLOAT16 = np.dtype([("bfloat16", np.uint16)])
"""The upper half of a float32, which numpy has no dtype for: arrays of it hold the bits."""
_PIECE = 1 << 15
"""Values that are rounded at once: few enough to stay in a core's cache."""


def is_narrow(dtype: np.dtype[Any]) -> bool:
    """Return whether a dtype is a float of 16 bits."""
    return dtype in (BFLOAT16, np.float16)


def rounding_nbytes(samples: Sequence[int]) -> int:
    """Return the bytes that `copy_rounded` takes for samples of a shape: float32 and, as integers, twice."""
    return 3 * 4 * max(_PIECE, math.prod(samples[1:]))


def cut(array: Array, axis: int | None, part: slice) -> Array:
    """Return a part of an array along an axis; all of it without one."""
    if axis == 0:  # as nearly always: the shortest way
        return array[part]
    return array if axis is None else array[(*(slice(None),) * axis, part)]


def copy_values(source: Array, out: Array, neurons: NDArray[np.int64] | None, axes: Sequence[str]) -> None:
    """Copy values, of all neurons or chosen ones, and cast them where dtypes differ.

    Parameters
    ----------
    source
        Any dtype and strides.
    out
        Shape of `source`, but with the chosen neurons; any dtype and strides.
    neurons
        (n,) positions; None for all.
    axes
        Dimensions of both.

    Notes
    -----
    Where frames are the last axis, and each row of them contiguous, rows are copied as one item each: numpy then calls
    memcpy once for each, a third faster than its loop over the values of short rows.
    """
    if source.dtype == out.dtype and axes and axes[-1] == layout.FRAME and _has_rows(source) and _has_rows(out):
        row = np.dtype((np.void, source.shape[-1] * source.itemsize))
        source, out = source.view(row)[..., 0], out.view(row)[..., 0]
    if neurons is None:
        assign(out, source)
        return
    axis = axes.index(layout.NEURON)
    if source.dtype == out.dtype and out.flags.c_contiguous:
        np.take(source, neurons, axis=axis, out=out, mode="clip")
    else:
        assign(out, source[(*(slice(None),) * axis, neurons)])


def copy_reordered(source: Array, out: Array, scratch: Scratch) -> None:
    """Copy values in another order of axes, block by block.

    Parameters
    ----------
    source
        Dtype and shape of `out`, of a C-contiguous array whose axes were reordered.
    scratch
        Memory of the thread; that of a chunk is used.

    Notes
    -----
    Frames of many neurons become neurons of many frames in the processor's cache: all frames of some neurons are copied
    next to one another, and transposed from there. For 300 frames that is twice as fast as at once.
    """
    if out.dtype == BFLOAT16:
        source, out = source.view(np.uint16), out.view(np.uint16)
    step = _CACHED // max(1, out.shape[-1] * out.itemsize) - _APART if out.ndim == _MATRIX else 0
    if step < _APART:
        out[...] = source
        return
    block = scratch.chunk((out.shape[-1], step + _APART), out.dtype)
    for first in range(0, len(out), step):
        rows = source[first : first + step]
        near = block[:, : len(rows)].T
        near[...] = rows
        out[first : first + step] = near


def copy_rounded(
    source: Array, out: Array, neurons: NDArray[np.int64] | None, axes: Sequence[str], affine: Affine | None
) -> None:
    """Copy values as `copy_values` does, shifted and scaled in float32 before they are rounded; axes of a sample."""
    if not axes:
        source, out, axes, affine = source[None], out[None], ("",), affine and affine.expanded()
    step = max(1, _PIECE // max(1, math.prod(out.shape[1:])))
    for first in range(0, len(out), step):
        part = slice(first, first + step)
        wide = np.empty(out[part].shape, np.float32)
        if neurons is not None and axes[0] == layout.NEURON:
            copy_values(source, wide, neurons[part], axes)
        else:
            copy_values(source[part], wide, neurons, axes)
        if affine is not None:
            affine.cut(0, part).apply(wide)
        assign(out[part], wide)


def assign(out: Array, source: Array) -> None:
    """Put values into an array, cast where dtypes differ."""
    if source.dtype == out.dtype:
        out[...] = source
        return
    if source.dtype == BFLOAT16:
        source = (source.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    # What a smaller dtype cannot hold becomes infinite, as it does in a tensor.
    with np.errstate(over="ignore"):
        if out.dtype == BFLOAT16:
            out.view(np.uint16)[...] = _upper_half(source.astype(np.float32, copy=False))
        else:
            out[...] = source


def _upper_half(values: NDArray[np.float32]) -> Array:
    """Return the bits of the nearest bfloat16, of two that are as near the even one, as torch does it."""
    bits = values.view(np.uint32)
    found = bits >> 16
    found &= 1
    found += 0x7FFF
    found += bits
    found >>= 16
    missing = np.isnan(values)
    if missing.any():
        found[missing] = 0x7FC0
    return found


def _has_rows(array: Array) -> bool:
    """Return whether values along the last of several axes are contiguous, and more than one."""
    return array.ndim > 1 and array.strides[-1] == array.itemsize and array.shape[-1] > 1


@dataclass(frozen=True)
class Affine:
    """``(x - shift) * scale``.

    Attributes
    ----------
    shift, scale
        float32, the axes of a trial in the store; an axis of length one applies to all. No shift means zero.
    """

    shift: NDArray[np.float32] | None
    scale: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.scale.nbytes + (0 if self.shift is None else self.shift.nbytes)

    def arranged(self, given: Sequence[str], wanted: Sequence[str], neurons: NDArray[np.int64] | None) -> Affine:
        """Return it for other axes, and for chosen neurons.

        Parameters
        ----------
        given, wanted
            Names of the axes as they are, and as they are to be.
        neurons
            Positions; all by default.
        """

        def arrange(values: NDArray[np.float32]) -> NDArray[np.float32]:
            moved = values.transpose([given.index(name) for name in wanted])
            if neurons is not None and layout.NEURON in wanted:
                axis = wanted.index(layout.NEURON)
                moved = moved.take(neurons, axis) if moved.shape[axis] > 1 else moved
            return np.array(moved, order="C")

        return Affine(None if self.shift is None else arrange(self.shift), arrange(self.scale))

    def cut(self, axis: int | None, frames: slice) -> Affine:
        """Return the part for some frames of the recording, given which axis frames are."""

        def part(values: NDArray[np.float32]) -> NDArray[np.float32]:
            return values if axis is None or values.shape[axis] == 1 else cut(values, axis, frames)

        return Affine(None if self.shift is None else part(self.shift), part(self.scale))

    def expanded(self) -> Affine:
        """Return it with another axis, of length one, in front of the others."""
        return Affine(None if self.shift is None else self.shift[None], self.scale[None])

    def apply(self, values: NDArray[Any]) -> None:
        """Change values in place."""
        # Without variation the scale is infinite, and what is made of it NaN or infinite, as in the public loaders.
        with np.errstate(invalid="ignore", over="ignore"):
            if self.shift is not None:
                np.subtract(values, self.shift, out=values)
            np.multiply(values, self.scale, out=values)

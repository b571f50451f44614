"""Values on their way into a batch, copied as fast as numpy does it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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
FLOAT32: np.dtype[Any] = np.dtype(np.float32)
FLOAT64: np.dtype[Any] = np.dtype(np.float64)
BFLOAT16 = np.dtype([("bfloat16", np.uint16)])
"""The upper half of a float32, which numpy has no dtype for: arrays of it hold the bits."""
BLOCK = 1 << 15
"""Values that are changed at once: 256 KiB of float64, which stay in a processor's cache."""


def block_nbytes(values: int = BLOCK) -> int:
    """Return the bytes that it takes to change so many values at once: those of float64, three times."""
    return 3 * FLOAT64.itemsize * values


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
    if out.dtype == BFLOAT16 and source.dtype != BFLOAT16:
        for block, values in copied_blocks(source, out.shape, neurons, axes, FLOAT32):
            assign(out[(*block, ...)], values)
        return
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


def copied_blocks(
    source: Array, shape: Sequence[int], neurons: NDArray[np.int64] | None, axes: Sequence[str], dtype: np.dtype[Any]
) -> Iterator[tuple[tuple[slice, ...], Array]]:
    """Yield copies of `BLOCK` values or fewer, as another dtype, and which part of an array of a shape they are.

    Other parameters are as in `copy_values`.
    """
    chosen = axes.index(layout.NEURON) if neurons is not None else None
    for block in _blocks(shape):
        some, inside = neurons, list(block)
        if chosen is not None and neurons is not None and chosen < len(block):
            some, inside[chosen] = neurons[block[chosen]], slice(None)
        sizes = [part.stop - part.start for part in block]
        values = np.empty((*sizes, *shape[len(block) :]), dtype)
        copy_values(source[tuple(inside)], values, some, axes)
        yield block, values


def _blocks(shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield parts of an array that are small, all axes kept, such as some rows of a matrix."""
    if not shape:
        yield ()
        return
    row = max(1, math.prod(shape[1:]))
    step = max(1, BLOCK // row)
    for first in range(0, shape[0], step):
        rows = slice(first, min(first + step, shape[0]))
        if row <= BLOCK:
            yield (rows,)
        else:
            yield from ((rows, *rest) for rest in _blocks(shape[1:]))


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


def assign_rounded(out: Array, values: Array) -> None:
    """Put computed values into an array; those of 16 bits are what the batch of float32 is rounded to."""
    with np.errstate(over="ignore"):
        assign(out, values.astype(FLOAT32, copy=False) if out.dtype.itemsize < FLOAT32.itemsize else values)


def _upper_half(values: NDArray[np.float32]) -> Array:
    """Return the bits of the nearest bfloat16, of two that are as near the even one, as torch does it."""
    bits = values.view(np.uint32)
    found = np.asarray(bits >> 16)  # of one number, too
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

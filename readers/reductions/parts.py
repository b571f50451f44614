"""Work on a recorded variable cut into parts: some places each, through all trials, sized to fit in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store.layout import ArrayLayout, Variable
from ..recording import Recording
from ..rows import read_rows
from .in_memory import reduce_memory

WORTH_BYTES = 8 << 20
"""Below this, a part is not worth a task of its own."""


@dataclass(frozen=True)
class Part:
    """Some places of a variable, through some trials: what one task reads.

    Attributes
    ----------
    rows
        In the store, ascending.
    n_frames
        Valid frames of each row; None where there are no frames.
    places
        Of each axis of a trial, with start and stop.
    """

    root: Path
    array: ArrayLayout
    variable: Variable
    rows: tuple[int, ...]
    n_frames: tuple[int, ...] | None
    places: tuple[slice, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many places there are along each axis of a trial."""
        return tuple(one.stop - one.start for one in self.places)

    @property
    def nbytes(self) -> int:
        """Bytes of the part, decoded."""
        return len(self.rows) * math.prod(self.sizes) * self.array.numpy_dtype.itemsize

    def read(self) -> NDArray[Any]:
        """Return (n_rows, …) of the array's dtype, frames moved to the end; NaN beyond each trial's valid length."""
        axis, sizes = self.variable.frame_axis, list(self.sizes)
        if axis is not None:
            sizes.append(sizes.pop(axis))
        values = np.empty((len(self.rows), *sizes), self.array.numpy_dtype)
        out = values if axis is None else np.moveaxis(values, -1, axis + 1)
        read_rows(self.root, self.array, self.rows, out, self.places)
        for trial, n in zip(values, self.n_frames or (), strict=False):
            trial[..., n:] = np.nan
        return values


def cut(
    recording: Recording, variable: Variable, rows: NDArray[np.int64], *, share: int, threads: int
) -> tuple[list[Part], int]:
    """Cut the work on a variable into parts; return them and the axis of a trial along which they lie.

    Parameters
    ----------
    rows
        At least one.
    share
        Bytes that one task holds at most; no less than `least_memory`.
    threads
        That run at the same time: no fewer parts, if each is worth it.

    Notes
    -----
    A part holds all trials, so the more trials there are the fewer places it has; each part decodes the chunks that
    hold its places anew.
    """
    whole = _whole(recording, variable, rows)
    axis, size = _cut_axis(whole)
    fit = (share - _overhead(whole)) // (whole.nbytes // size)
    count = max(math.ceil(size / fit), min(threads, math.ceil(whole.nbytes / WORTH_BYTES)))
    step = math.ceil(size / (math.ceil(count / threads) * threads if count > 1 else 1))
    return [_along(whole, axis, slice(start, min(start + step, size))) for start in range(0, size, step)], axis


def least_memory(recording: Recording, variable: Variable, rows: NDArray[np.int64]) -> int:
    """Return the bytes that the smallest part takes."""
    whole = _whole(recording, variable, rows)
    return _overhead(whole) + whole.nbytes // _cut_axis(whole)[1]


def _whole(recording: Recording, variable: Variable, rows: NDArray[np.int64]) -> Part:
    """Return all places, frames up to the longest trial."""
    array = recording.arrays[variable.name]
    places, n_frames = [slice(0, size) for size in array.shape[1:]], None
    if variable.frame_axis is not None and recording.n_frames is not None:
        n_frames = tuple(recording.n_frames[rows].tolist())
        places[variable.frame_axis] = slice(0, max(n_frames))
    return Part(recording.root, array, variable, tuple(rows.tolist()), n_frames, tuple(places))


def _cut_axis(part: Part) -> tuple[int, int]:
    """Return the axis along which to cut, and its size: the first of several places that is not frames."""
    axes = [axis for axis in range(len(part.sizes)) if axis != part.variable.frame_axis]
    axis = next((axis for axis in axes if part.sizes[axis] > 1), axes[0])
    return axis, part.sizes[axis]


def _along(part: Part, axis: int, places: slice) -> Part:
    cut_places = (*part.places[:axis], places, *part.places[axis + 1 :])
    return Part(part.root, part.array, part.variable, part.rows, part.n_frames, cut_places)


def _overhead(part: Part) -> int:
    """Return what a task holds beside its values: chunks on their way, and the numbers that are being sorted."""
    axis = part.variable.frame_axis
    n_frames = 1 if axis is None else part.sizes[axis]
    return 4 * part.array.chunk_nbytes + reduce_memory(len(part.rows), n_frames, part.array.numpy_dtype.itemsize)

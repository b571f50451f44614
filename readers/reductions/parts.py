"""Work on a recorded variable cut into parts, each of which fits in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store.layout import ArrayLayout, Variable
from ...store.place import StorePlace
from ...store.tasks import HERE, Threads
from ..recording import Recording
from ..rows import read_rows
from .in_memory import reduce_memory
from .summary import padding, result_nbytes

_POOLING_BYTES = 48
"""Bytes that pooling holds for each value of the results: six float64."""


@dataclass(frozen=True)
class Part:
    """Some places of a variable, through some trials.

    Attributes
    ----------
    rows
        Positions in the store, ascending.
    n_frames
        Valid frames of each row; None where there are no frames.
    places
        Slice of each axis of a trial, with start and stop.
    """

    place: StorePlace
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
        return self.size * self.array.numpy_dtype.itemsize

    @property
    def scratch_nbytes(self) -> int:
        """Bytes that a thread holds beside: chunks on their way, and the numbers that are being sorted.

        Twice: the system's allocator keeps for each thread about as much again of what it has freed.
        """
        axis = self.variable.frame_axis
        n_frames = 1 if axis is None else self.sizes[axis]
        sorting = reduce_memory(len(self.rows), n_frames, self.array.numpy_dtype.itemsize)
        return 2 * (4 * self.array.chunk_nbytes + sorting)

    @property
    def size(self) -> int:
        """How many values it has."""
        return len(self.rows) * math.prod(self.sizes)

    def read(self, threads: Threads = HERE, memory: NDArray[Any] | None = None) -> NDArray[Any]:
        """Decode the part.

        Parameters
        ----------
        threads
            Threads that decode rows.
        memory
            (at least `size`,) of the array's dtype: where to; fresh memory by default.

        Returns
        -------
        ndarray
            (n_rows, …) of the array's dtype, frames moved to the end; `padding` beyond each trial's valid length.
        """
        axis, sizes = self.variable.frame_axis, list(self.sizes)
        if axis is not None:
            sizes.append(sizes.pop(axis))
        memory = np.empty(self.size, self.array.numpy_dtype) if memory is None else memory
        values = memory[: self.size].reshape(len(self.rows), *sizes)
        threads.run(partial(self._read_rows, values, some) for some in self._runs(threads.parts))
        return values

    def by_rows(self, n: int) -> list[Part]:
        """Cut into at most `n` parts of all places and some rows."""
        return [
            replace(self, rows=self.rows[some], n_frames=self.n_frames and self.n_frames[some])
            for some in self._runs(n)
        ]

    def _read_rows(self, values: NDArray[Any], some: slice) -> None:
        axis = self.variable.frame_axis
        out = values[some] if axis is None else np.moveaxis(values[some], -1, axis + 1)
        read_rows(self.place, self.array, self.rows[some], out, self.places)
        for trial, n in zip(values[some], self.n_frames[some] if self.n_frames else (), strict=False):
            trial[..., n:] = padding(values.dtype)

    def _runs(self, n: int) -> list[slice]:
        """Cut the rows into runs, at most `n`, between rows that share no chunk."""
        groups = np.array(self.rows) // self.array.chunk[0]
        begins = np.flatnonzero(np.diff(groups, prepend=-1))
        chosen = begins[np.unique(np.arange(n) * len(begins) // n)]
        return [slice(int(a), int(b)) for a, b in zip(chosen, [*chosen[1:], len(groups)], strict=True)]


def whole(recording: Recording, variable: Variable, rows: NDArray[np.int64]) -> Part:
    """Return a variable as one part: all places, frames up to the longest of the trials, of which there is one."""
    array = recording.arrays[variable.name]
    places, n_frames = [slice(0, size) for size in array.shape[1:]], None
    if variable.frame_axis is not None and recording.n_frames is not None:
        n_frames = tuple(recording.n_frames[rows].tolist())
        places[variable.frame_axis] = slice(0, max(n_frames))
    return Part(recording.place, array, variable, tuple(rows.tolist()), n_frames, tuple(places))


def cut(part: Part, limit: int, threads: int, least: int = 1) -> list[Part]:
    """Cut a part into parts of all its rows.

    Parameters
    ----------
    limit
        Bytes that reading and reducing one part holds at most; no less than `least_memory`.
    threads
        Number of threads that work on a part.
    least
        Number of parts to cut it into, or more, if it has as many places.

    Notes
    -----
    A part has all trials, so the more trials there are the fewer places it has; each part decodes the chunks that hold
    its places anew.
    """
    axis = _cut_axis(part)
    if axis is None:
        return [part]
    size = part.sizes[axis]
    fit = min(math.ceil(size / least), (limit - threads * part.scratch_nbytes) // _each(part))
    step = math.ceil(size / math.ceil(size / fit))
    return [_along(part, axis, start, min(start + step, size)) for start in range(0, size, step)]


def least_memory(part: Part) -> int:
    """Return the bytes that the smallest part takes, with one thread."""
    return part.scratch_nbytes + _each(part)


def _each(part: Part) -> int:
    """Return the bytes of one place along the axis to cut: its values, their statistics, and what pooling holds."""
    results = result_nbytes(part.sizes, part.array.numpy_dtype) + _POOLING_BYTES * math.prod(part.sizes)
    axis = _cut_axis(part)
    return (part.nbytes + results) // (1 if axis is None else part.sizes[axis])


def _cut_axis(part: Part) -> int | None:
    """Return the axis along which to cut, the first of several places that is not frames; None for no axis."""
    axes = [axis for axis in range(len(part.sizes)) if axis != part.variable.frame_axis]
    return next((axis for axis in axes if part.sizes[axis] > 1), axes[0] if axes else None)


def _along(part: Part, axis: int, start: int, stop: int) -> Part:
    begin = part.places[axis].start
    some = slice(begin + start, begin + stop)
    return replace(part, places=(*part.places[:axis], some, *part.places[axis + 1 :]))

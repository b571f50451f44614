"""A recorded variable that stays in memory once it was read."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store import layout
from ...store.ahead import Span
from ...store.chunks import Scratch
from .copying import copy_values
from .variable import Frames, StreamedVariable

Array = NDArray[Any]
_LOCKS = 64


class CachedVariable:
    """A recorded variable whose chunks are decoded once, when they are first needed, and kept.

    Parameters
    ----------
    source
        Reader of the variable.
    rows
        (n,) int64, ascending: rows that may be asked for.
    frames
        Number of frames of a trial that are kept: the most that may be asked for.

    Attributes
    ----------
    values
        (n, …) of `dtype`, samples of `shape` in the order of `rows`; undefined where nothing was read yet.

    Notes
    -----
    Holds `cached_nbytes`; the system gives the memory as it is first written.
    """

    def __init__(self, source: StreamedVariable, rows: NDArray[np.int64], frames: int) -> None:
        self._source, self._rows, self._frames = source, rows, frames
        self.axes, self.dtype = source.axes, source.dtype
        self.values: Array = np.empty((len(rows), *source.shape(frames)), source.dtype)
        self._place = np.full(source.array.shape[0], -1)
        self._place[rows] = np.arange(len(rows))
        self._step = source.chunk_frames
        self._ready = np.zeros((len(rows), max(1, -(-frames // self._step))), bool)
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._complete = False

    def shape(self, frames: int) -> tuple[int, ...]:
        """Return the shape of a sample with so many frames, in the order of `axes`."""
        return self._source.shape(frames)

    def read(self, rows: Sequence[int], frames: Sequence[Frames], out: Array, scratch: Scratch) -> None:
        """Read samples; see `VariableReader`."""
        places = self._place[list(rows)]
        if not self._complete:
            for row, wanted in zip(rows, frames, strict=True):
                self._fill(row, wanted, scratch)
            self._complete = bool(self._ready.all())
        begun = time.perf_counter()
        if all(wanted.start == 0 and wanted.number == self._frames and wanted.stride == 1 for wanted in frames):
            np.take(self.values, places, axis=0, out=out, mode="clip")
        else:
            for number, (place, wanted) in enumerate(zip(places.tolist(), frames, strict=True)):
                part = self._source.part(self.values[place, ...], slice(wanted.start, wanted.stop, wanted.stride))
                copy_values(part, out[number, ...], None, self.axes)
        scratch.tally.copy_seconds += time.perf_counter() - begun

    def chunks(self, row: int, frames: Frames) -> Iterator[Span]:
        """Yield the chunks that have to be read for a sample: those that are not there yet."""
        for block in () if self._complete else self._blocks(frames):
            if not self._ready[self._place[row], block]:
                yield from self._source.chunks(row, self._frames_of(block))

    def _fill(self, row: int, wanted: Frames, scratch: Scratch) -> None:
        """Read the chunks that a sample needs, unless they are there."""
        place = self._place[row]
        for block in self._blocks(wanted):
            if not self._ready[place, block]:
                group = self._group(row)
                # One thread decodes a chunk; another that needs it waits.
                with self._locks[int(group[0]) % _LOCKS]:
                    if not self._ready[place, block]:
                        self._read_block(group, block, scratch)

    def _read_block(self, rows: NDArray[np.int64], block: int, scratch: Scratch) -> None:
        frames, places = self._frames_of(block), self._place[rows]
        outs = [self._source.part(self.values[place, ...], slice(frames.start, frames.stop)) for place in places]
        self._source.read_group(rows.tolist(), frames, outs, scratch)
        self._ready[places, block] = True

    def _frames_of(self, block: int) -> Frames:
        first = block * self._step
        return Frames(first, min(self._step, self._frames - first))

    def _group(self, row: int) -> NDArray[np.int64]:
        """Return the kept rows that share chunks with a row."""
        first = row - row % self._source.rows_per_chunk
        ends = np.searchsorted(self._rows, [first, first + self._source.rows_per_chunk])
        return self._rows[ends[0] : ends[1]]

    def _blocks(self, wanted: Frames) -> range:
        if layout.FRAME not in self.axes:
            return range(1)
        return range(wanted.start // self._step, (wanted.stop - 1) // self._step + 1)


def cached_nbytes(source: StreamedVariable, rows: int, frames: int) -> int:
    """Return the bytes that a `CachedVariable` of so many rows and frames holds."""
    return rows * math.prod(source.shape(frames)) * source.dtype.itemsize

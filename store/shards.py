"""Shard files: chunks one behind another, then an index of where each one is.

The bytes are those of Zarr v3's ``sharding_indexed`` codec with the index at the end, chunks in lexicographic order.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import files
from .chunk_codecs import flat_bytes, seal
from .chunks import EMPTY, ChunkReader, Scratch, chunk_spans, read_exactly
from .errors import naming
from .layout import ArrayLayout
from .place import StoreVersion

READ_AHEAD = 1 << 20
"""Bytes that are read at once of a shard that is read whole: its chunks may be small."""
WRITE_BEHIND = 1 << 22
"""Bytes of a shard after which the disk is asked to begin with them, while the next rows are read and compressed."""

Listen = Callable[[memoryview], object]


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and SHA-256 (hex) of a file."""

    size: int
    sha256: str


class ShardWriter:
    """Writes the chunks of one shard in order, a group of rows at a time.

    Parameters
    ----------
    root
        The store, or the folder that is to become it.
    number
        Which shard of the array.
    folder
        Folder on the same file system where the file is until it is complete; by default the one of the array.

    Notes
    -----
    Whoever writes the same shard at the same time has a file of their own: one of them gets the name, complete.
    Holds one chunk, not the shard: memory is `layout.chunk_nbytes`, twice that while compressing.
    """

    def __init__(self, root: Path, layout: ArrayLayout, number: int, folder: Path | None = None) -> None:
        self.name = layout.shard_path(number)
        self._layout, self._codec = layout, layout.codec
        self._path = root / self.name
        self._temporary = files.temporary(self._path, folder)
        self._descriptor = files.create(self._temporary)
        self._digest, self._spans = hashlib.sha256(), list[tuple[int, int]]()
        self._end = self._begun = 0
        self._stored = np.empty(self._codec.stored_shape(layout.chunk), layout.numpy_dtype)

    def append(self, rows: NDArray[Any]) -> None:
        """Write all chunks of a group of rows.

        Parameters
        ----------
        rows
            (n, …) of the array's dtype; n is the rows in a chunk, or fewer for the last group of the array.
        """
        for block in self._layout.blocks():
            self._put(self._codec.encode(self._fill(rows[:, *block])))
        if self._end - self._begun >= WRITE_BEHIND:
            files.start_sync(self._descriptor, self._begun, self._end - self._begun)
            self._begun = self._end

    def finish(self) -> FileRecord:
        """Write the index, make the file durable, close it, and give it its name."""
        self._put([memoryview(seal(self._index().tobytes()))])
        with naming(self._path):
            files.sync(self._descriptor)
        self.close()
        files.rename(self._temporary, self._path)
        return FileRecord(self._end, self._digest.hexdigest())

    def close(self) -> None:
        """Close the file, finished or not."""
        # close(2) frees the descriptor even when it fails: never close one twice.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with naming(self._path):
                files.close(descriptor)

    def _fill(self, part: NDArray[Any]) -> NDArray[Any]:
        """Return the part as a stored chunk; Zarr pads a chunk at the array's edge with the fill value."""
        if part.shape == self._layout.chunk and not self._codec.order and part.flags.c_contiguous:
            return part
        chunk = self._codec.logical_view(self._stored)
        if part.shape != chunk.shape:
            chunk[...] = self._layout.fill_value
        chunk[tuple(slice(size) for size in part.shape)] = part
        return self._stored

    def _put(self, parts: list[memoryview]) -> None:
        with naming(self._path):
            size = files.append(self._descriptor, parts)
        for part in parts:
            self._digest.update(part)
        self._spans.append((self._end, size))
        self._end += size

    def _index(self) -> NDArray[np.uint64]:
        index = np.full((math.prod(self._layout.chunks_per_shard), 2), EMPTY, np.uint64)
        index[: len(self._spans)] = np.array(self._spans, np.uint64)
        return index


class ShardReader:
    """Reads one shard: its index once, then any chunk.

    Parameters
    ----------
    files
        Files of the store.
    number
        Which shard of the array.
    listen
        Function that is called with the bytes of the file, one part behind another, while `groups` yields.

    Raises
    ------
    ChunkError
        The index is damaged, a chunk lies outside of the file, or one that must exist is marked as not written.
    """

    def __init__(self, files: StoreVersion, layout: ArrayLayout, number: int, listen: Listen | None = None) -> None:
        self.layout, self._listen = layout, listen
        self.rows = layout.rows_of_shard(number)
        self._file = files.open(layout.shard_path(number))
        try:
            self._spans: list[list[int]] = chunk_spans(self._file, layout, number).tolist()
        except BaseException:
            self.close()
            raise
        # Shards are opened for a few chunks, too: no more memory than those take.
        self._chunks, self._scratch = ChunkReader(layout), Scratch(least=0)
        self._size, self._ahead = self._file.size, 0
        # The part of the file that is in memory.
        self._buffer, self._begin, self._end = np.empty(0, np.uint8), 0, 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def groups(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield, for each group of rows that share chunks, the first row and the decoded rows.

        Yields
        ------
        int, ndarray
            (n, …) of the array's dtype, cut at the array's shape. The memory is used again for the next group.
        """
        step, blocks = self.layout.chunk[0], list(self.layout.blocks())
        out = np.empty((step, *self.layout.shape[1:]), self.layout.numpy_dtype)
        self._ahead = max(READ_AHEAD, self._file.together)
        for first, start in enumerate(range(self.rows.start, self.rows.stop, step)):
            rows = out[: min(step, self.rows.stop - start)]
            for place, block in enumerate(blocks, first * len(blocks)):
                self._decode(place, rows[:, *block], [slice(one.stop - one.start) for one in block])
            yield start, rows
        if self._listen is not None:
            self._fill_window(self._end, self._size - self._end)

    def read_group(self, start: int, out: NDArray[Any], part: Sequence[slice]) -> None:
        """Decode a part of the rows that share chunks.

        Parameters
        ----------
        start
            The first row of the group.
        out
            (n, …) of the array's dtype; the first n rows of the group, and of each only the part.
        part
            Slices of the axes after the first, with start and stop. Chunks outside of it are not read.
        """
        blocks = list(self.layout.blocks())
        first = (start - self.rows.start) // self.layout.chunk[0] * len(blocks)
        needed = [(place, block, _common(part, block)) for place, block in enumerate(blocks, first)]
        needed = [one for one in needed if all(along.start < along.stop for along in one[2])]
        # Bytes from the first chunk to the last one: they are neighbours.
        self._ahead = min(self._file.together, self._extent([place for place, _, _ in needed]))
        for place, block, common in needed:
            target = out[:, *(_shifted(one, whole.start) for one, whole in zip(common, part, strict=True))]
            self._decode(place, target, [_shifted(one, b.start) for one, b in zip(common, block, strict=True)])

    def _extent(self, places: Sequence[int]) -> int:
        return sum(self._spans[places[-1]]) - self._spans[places[0]][0] if places else 0

    def _decode(self, number: int, out: NDArray[Any], inside: Sequence[slice]) -> None:
        data = self._read(*self._spans[number])
        if out.shape == self.layout.chunk and not self.layout.codec.order and out.flags.c_contiguous:
            self._chunks.decode_into(data, out, self._scratch)
        else:
            chunk = self.layout.codec.logical_view(self._chunks.decode(data, self._scratch))
            out[...] = chunk[: len(out), *inside]

    def _read(self, offset: int, size: int) -> memoryview:
        """Return bytes of the file; they are valid until the next call."""
        if offset < self._begin or offset + size > self._end:
            self._fill_window(offset, min(max(size, self._ahead), self._size - offset))
        return flat_bytes(self._buffer)[offset - self._begin : offset - self._begin + size]

    def _fill_window(self, offset: int, size: int) -> None:
        """Read a part of the file into memory."""
        if self._buffer.nbytes < size:
            self._buffer = np.empty(size, np.uint8)
        window, heard = flat_bytes(self._buffer)[:size], self._end
        self._begin = self._end = 0
        read_exactly(self._file, window, offset)
        self._begin, self._end = offset, offset + size
        if self._listen is not None:
            self._listen(window[heard - offset :])


def _common(part: Sequence[slice], block: Sequence[slice]) -> list[slice]:
    return [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(part, block, strict=True)]


def _shifted(one: slice, by: int) -> slice:
    return slice(one.start - by, one.stop - by)

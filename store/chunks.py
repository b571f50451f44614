"""The chunks of an array: where they are in a file, and their values, read, checked and decoded."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .batched_reads import MOST, read_batch
from .chunk_codecs import CHECKSUM_BYTES, ChunkError, check, check_joint
from .compressors import expect
from .errors import CorruptStoreError, Problem, ResourceError
from .layout import ArrayLayout
from .memory import allocate
from .place import StoreFile

JOINED = 1 << 21
"""Bytes of chunks that are read at once: they are still in a processor's cache when they are checked."""
_LEAST = 1 << 22
"""Bytes that are worth a mapping, and twice a huge page."""

Step = Literal["read_seconds", "decode_seconds", "copy_seconds"]


@dataclass
class Tally:
    """What reading took.

    Attributes
    ----------
    bytes_read
        Bytes read from files.
    bytes_decoded
        Bytes that chunks were decoded to.
    read_seconds, decode_seconds, copy_seconds
        In reads; in checksums and decoders; in copying to the batch, conversion and normalization. Of all threads.
    """

    bytes_read: int = 0
    bytes_decoded: int = 0
    read_seconds: float = 0.0
    decode_seconds: float = 0.0
    copy_seconds: float = 0.0

    def add(self, other: Tally) -> None:
        """Add what another one counted."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @contextmanager
    def timed(self, step: Step) -> Generator[None]:
        """Count the seconds of a block of code."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, step, getattr(self, step) + time.perf_counter() - begun)


def scratch_nbytes(*largest: int) -> int:
    """Return the bytes that a `Scratch` takes, given the most that each of its parts is asked for."""
    return sum(max(nbytes, _LEAST) for nbytes in largest)


class Scratch:
    """Memory of one thread: for the bytes of a chunk, for its values, and for a sample whose axes are reordered.

    Parameters
    ----------
    least
        Bytes that are asked of the system at once: many for reading all day long, none for reading a few chunks.

    Attributes
    ----------
    tally
        What was done with it.
    """

    def __init__(self, least: int = _LEAST) -> None:
        self.tally, self._least = Tally(), least
        self._checksums, self._stored = memoryview(bytearray(CHECKSUM_BYTES)), memoryview(b"")
        self._chunk = self._sample = np.empty(0, np.uint8)

    def stored(self, nbytes: int) -> memoryview:
        """Return memory for bytes as they are stored; its content lasts until the next call."""
        if self._stored.nbytes < nbytes:
            self._stored = self._allocated(nbytes).data
        return self._stored[:nbytes]

    def checksums(self, count: int) -> memoryview:
        """Return memory for so many checksums; its content lasts until the next call."""
        if self._checksums.nbytes < count * CHECKSUM_BYTES:
            self._checksums = memoryview(bytearray(count * CHECKSUM_BYTES))
        return self._checksums[: count * CHECKSUM_BYTES]

    def chunk(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return memory for a decoded chunk; its content lasts until the next call."""
        if dtype.hasobject:
            return np.empty(shape, dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        self._chunk = self._grown(self._chunk, nbytes)
        return self._chunk[:nbytes].view(dtype).reshape(shape)

    def sample(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return memory for a sample, axes as they are stored; its content lasts until the next call."""
        nbytes = math.prod(shape) * dtype.itemsize
        self._sample = self._grown(self._sample, nbytes)
        return self._sample[:nbytes].view(dtype).reshape(shape)

    def _grown(self, memory: NDArray[np.uint8], nbytes: int) -> NDArray[np.uint8]:
        return memory if memory.nbytes >= nbytes else self._allocated(nbytes)

    def _allocated(self, nbytes: int) -> NDArray[np.uint8]:
        return allocate(max(nbytes, self._least)) if self._least else np.empty(nbytes, np.uint8)


Array = NDArray[Any]
INDEX_ENTRY_BYTES = 16
"""Offset and size of a chunk in the index of its shard."""
EMPTY = 2**64 - 1
"""Marks, in the index, a chunk that was not written: allowed only beyond the last trial."""


class ChunkReader:
    """Reads chunks of one array, those that are neighbours at once, and never without comparing their checksums.

    Parameters
    ----------
    layout
        Layout of the array.

    Notes
    -----
    Any number of threads may use it at once, each with a scratch of its own. Reads, checksums and decoders release the
    GIL.
    """

    def __init__(self, layout: ArrayLayout) -> None:
        # Looked up once, not for each chunk.
        self._decode = layout.codec.codec.decode
        self._dtype, self._nbytes = layout.numpy_dtype, layout.chunk_nbytes
        self.uncompressed = layout.codec.uncompressed
        self.stored_shape = layout.codec.stored_shape(layout.chunk)

    def read(self, file: StoreFile, span: Sequence[int], scratch: Scratch) -> Array:
        """Return a chunk.

        Parameters
        ----------
        file
            File of the chunk.
        span
            Offset and size in bytes: of a shard from `chunk_spans`; a small array is one chunk, all of its file.

        Returns
        -------
        ndarray
            The array's dtype, axes as they are stored. It lies in the scratch: valid until that is used again.

        Raises
        ------
        ChunkError
            The file ends early, the checksum differs, or the bytes are not exactly such a chunk.
        """
        return self.decode(self._fetch(file, span[0], span[1], scratch), scratch)

    def read_parts(
        self, file: StoreFile, spans: Sequence[Sequence[int]], parts: Sequence[memoryview], scratch: Scratch
    ) -> None:
        """Read uncompressed chunks that are neighbours in a file, each part of their values where it belongs.

        Other parameters and errors as in `read`.

        Parameters
        ----------
        spans
            Offset and size of each, in order. More than one only of a file that is `LocalFile`.
        parts
            Memory for the values of all chunks, each C-contiguous, one behind another; a few.
        """
        begun, count = time.perf_counter(), len(spans)
        for _, size in spans:
            expect(size - CHECKSUM_BYTES, self._nbytes)
        offset, checksums = spans[0][0], scratch.checksums(count)
        # Values and the checksums that stand behind them are read in one call.
        buffers = [*parts, checksums] if count == 1 else _with_checksums(parts, self._nbytes, checksums)
        nbytes = count * (self._nbytes + CHECKSUM_BYTES)
        if file.fill(buffers, offset) < nbytes:
            for buffer in (one for one in buffers if one.nbytes):
                read_exactly(file, buffer.cast("B"), offset)
                offset += buffer.nbytes
        read = time.perf_counter()
        check_joint(parts, self._nbytes, checksums)
        tally = scratch.tally
        tally.read_seconds += read - begun
        tally.bytes_read += nbytes
        _count_decoded(scratch, read, count * self._nbytes)

    def read_batch(
        self, descriptors: Sequence[int], offsets: NDArray[np.int64], out: NDArray[np.uint8], scratch: Scratch
    ) -> bool:
        """Read uncompressed chunks from anywhere into memory, by few calls.

        Parameters
        ----------
        descriptors, offsets
            (n,) file and place of each.
        out
            Memory for all values, one behind another.

        Returns
        -------
        bool
            Whether that was done; if not, some may be damaged, or it is not offered here: read them one by one.
        """
        most = max(1, min(JOINED // max(1, self._nbytes), MOST))
        for first in range(0, len(offsets), most):
            some = slice(first, first + most)
            begun, part = time.perf_counter(), out[first * self._nbytes : (first + most) * self._nbytes]
            checksums = read_batch(descriptors[some], offsets[some], part)
            if checksums is None:
                return False
            read = time.perf_counter()
            try:
                check_joint((part.data,), self._nbytes, memoryview(checksums))
            except ChunkError:
                return False
            scratch.tally.read_seconds += read - begun
            scratch.tally.bytes_read += part.nbytes + len(checksums)
            _count_decoded(scratch, read, part.nbytes)
        return True

    def read_joined(self, file: StoreFile, spans: Sequence[Sequence[int]], scratch: Scratch) -> Array:
        """Return chunks that are neighbours in a file as one, joined along the second axis; see `read`.

        Parameters
        ----------
        spans
            As in `read_parts`; of chunks of one trial.
        """
        if len(spans) == 1:
            return self.read(file, spans[0], scratch)
        trials, length, *rest = self.stored_shape
        values = scratch.chunk((trials, len(spans) * length, *rest), self._dtype)
        if self.uncompressed:
            self.read_parts(file, spans, (values.data,), scratch)
        else:
            for place, data in enumerate(self.stored(file, spans, scratch)):
                self.decode_into(data, values[:, place * length : (place + 1) * length], scratch)
        return values

    def stored(self, file: StoreFile, spans: Sequence[Sequence[int]], scratch: Scratch) -> list[memoryview]:
        """Return chunks that are neighbours in a file, read at once but not decoded yet; parameters as in `read_parts`.

        They lie in the scratch: valid until that is used again to read.
        """
        first = spans[0][0]
        data = self._fetch(file, first, spans[-1][0] + spans[-1][1] - first, scratch)
        return [data[offset - first : offset - first + size] for offset, size in spans]

    def decode(self, data: memoryview, scratch: Scratch) -> Array:
        """Return the chunk that bytes stand for: where they are if they are uncompressed, else in the scratch."""
        if not self.uncompressed:
            chunk = scratch.chunk(self.stored_shape, self._dtype)
            self.decode_into(data, chunk, scratch)
            return chunk
        begun = time.perf_counter()
        payload = check(data)
        expect(payload.nbytes, self._nbytes)
        _count_decoded(scratch, begun, payload.nbytes)
        return np.frombuffer(payload, self._dtype).reshape(self.stored_shape)

    def decode_into(self, data: memoryview, out: Array, scratch: Scratch) -> None:
        """Decode the bytes of a chunk, with its checksum, into memory; errors as in `read`.

        Parameters
        ----------
        out
            Array with as many values as a chunk has, of the array's dtype, C-contiguous, axes as they are stored.
        """
        begun = time.perf_counter()
        self._decode(check(data), out.reshape(self.stored_shape))
        _count_decoded(scratch, begun, out.nbytes)

    def _fetch(self, file: StoreFile, offset: int, size: int, scratch: Scratch) -> memoryview:
        """Return bytes of a file."""
        begun = time.perf_counter()
        data = file.part(offset, size, scratch.stored)
        scratch.tally.read_seconds += time.perf_counter() - begun
        scratch.tally.bytes_read += size
        return data


def _with_checksums(parts: Sequence[memoryview], nbytes: int, checksums: memoryview) -> list[memoryview]:
    """Return memory for chunks, each of so many bytes of values and then a checksum, in the order of a file."""
    buffers, room, place = list[memoryview](), nbytes, 0
    for part in (one for one in parts if one.nbytes):
        rest = part.cast("B")
        while rest.nbytes:
            buffers.append(rest[:room])
            rest, room = rest[room:], room - buffers[-1].nbytes
            if not room:
                buffers.append(checksums[place : place + CHECKSUM_BYTES])
                room, place = nbytes, place + CHECKSUM_BYTES
    return buffers


def _count_decoded(scratch: Scratch, begun: float, nbytes: int) -> None:
    scratch.tally.decode_seconds += time.perf_counter() - begun
    scratch.tally.bytes_decoded += nbytes


def index_nbytes(layout: ArrayLayout) -> int:
    """Return the bytes of the index at the end of a shard.

    It has offset and size of each chunk, 8 bytes each, then its own checksum.
    """
    return INDEX_ENTRY_BYTES * math.prod(layout.chunks_per_shard) + CHECKSUM_BYTES


def chunk_spans(file: StoreFile, layout: ArrayLayout, number: int) -> NDArray[np.int64]:
    """Read where the chunks of a shard are, from its index.

    Parameters
    ----------
    file
        File of the shard.
    number
        Which shard of the array.

    Returns
    -------
    ndarray
        (n_chunks, 2) offset and size in bytes of every chunk that must exist, in the order of the file, which they
        fill without a gap.

    Raises
    ------
    ChunkError
        The index is damaged, a chunk lies outside of the file, or one that must exist is marked as not written.
    """
    # It has a place for every chunk of a full shard; those of rows beyond the last trial are marked as empty.
    size, length = file.size, index_nbytes(layout)
    if size < length:
        raise ChunkError(f"the file is shorter than its index (expected {length} bytes or more, found {size})")
    data = memoryview(bytearray(length))
    read_exactly(file, data, size - length)
    spans = np.frombuffer(check(data), "<u8").reshape(-1, 2)
    groups = math.ceil(len(layout.rows_of_shard(number)) / layout.chunk[0])
    return _check_spans(spans, groups * math.prod(layout.chunks_per_shard[1:]), size - length)


def _check_spans(spans: NDArray[np.uint64], needed: int, end: int) -> NDArray[np.int64]:
    """Return the spans of the chunks that must exist, after checking that they fill the file without a gap."""
    found = spans[:needed]
    missing = np.count_nonzero((found == EMPTY).all(axis=1))
    if missing:
        raise ChunkError(f"{missing} of {needed} chunks were never written")
    # Before numbers become signed and are added up: none of them can wrap around then.
    if (found > end).any():
        raise ChunkError(f"a chunk is not in the file (expected {end} bytes of chunks)")
    sound = found.astype(np.int64)
    places = np.concatenate([[0], np.cumsum(sound[:, 1])])
    if wrong := np.flatnonzero(sound[:, 0] != places[:-1]).tolist():
        expected, offset = places[wrong[0]], sound[wrong[0], 0]
        raise ChunkError(f"a chunk is not where it must be (expected at {expected}, found at {offset})")
    if places[-1] != end or not (spans[needed:] == EMPTY).all():
        raise ChunkError(f"there is more in the file than its chunks (expected {places[-1]} bytes, found {end})")
    return sound


def read_exactly(file: StoreFile, out: memoryview, offset: int) -> None:
    """Fill a buffer from a place in a file.

    Raises
    ------
    ChunkError
        The file ends before the buffer is full.
    """
    done = 0
    while done < out.nbytes:
        count = file.fill([out[done:]], offset + done)
        if count == 0:
            raise ChunkError(f"the file ends early (expected {out.nbytes} bytes at {offset}, found {done})")
        done += count


def damaged(root: object, name: str, error: Exception, trial: int | None = None) -> CorruptStoreError | ResourceError:
    """Return the error that names the file of a store, and the trial, where chunks could not be read.

    That is one of a damaged store, unless the system refused what may be intact, or the error says all of it already.

    Parameters
    ----------
    error
        `ChunkError`, or what the system said of the file.
    trial
        The trial_id that was asked for.
    """
    if isinstance(error, (ResourceError, CorruptStoreError)):
        return error
    what = "missing (the manifest lists it)" if isinstance(error, FileNotFoundError) else str(error)
    what = what if trial is None else f"trial {trial}: {what}"
    return CorruptStoreError(Problem(str(root), what, "copy or convert the mouse again", name, trial))

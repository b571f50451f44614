"""One recorded variable of a store, read from its shards."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...store import CorruptStoreError, Problem, StoreFormatError, layout
from ...store.chunk_codecs import CHECKSUM_BYTES, ChunkError, check, check_apart, flat_bytes
from ...store.shards import read_exactly, read_index
from ..recording import Recording
from .affine import Affine
from .copying import copy_columns, copy_frames
from .scratch import Scratch, scratch_nbytes
from .store_files import StoreFiles

Array = NDArray[Any]
_SPAN_NBYTES = 144
"""Of a list of two numbers."""


class Frames(NamedTuple):
    """So many frames of a trial, every `stride` of them from `start` on; of variables without frames, anything."""

    start: int
    number: int
    stride: int = 1

    @property
    def stop(self) -> int:
        """The frame behind the last one."""
        return self.start + (self.number - 1) * self.stride + 1


class VariableReader(Protocol):
    """Puts samples of one variable into memory."""

    axes: tuple[str, ...]
    """Dimensions of a sample as they lie in memory."""

    def shape(self, frames: int) -> tuple[int, ...]:
        """Return the shape of a sample with so many frames, in the order of `axes`."""
        ...

    def read(self, rows: Sequence[int], frames: Sequence[Frames], out: Array, scratch: Scratch) -> None:
        """Read samples.

        Parameters
        ----------
        rows, frames
            Row of the store and frames of each sample.
        out
            (n, …) float32, C-contiguous, each sample of `shape`.
        """
        ...


class _Block(NamedTuple):
    """The part of a chunk that a sample needs."""

    number: int  # of the chunk, counted from the trial's first
    inside: slice  # frames, counted from the chunk's first
    place: slice  # frames, counted from the sample's first
    frames: slice  # frames of the recording
    whole: bool  # every frame of the chunk


class StreamedVariable:
    """A recorded variable, read anew each time.

    Parameters
    ----------
    recording
        Of the mouse.
    name
        Of the variable.
    files
        Of the store.
    neurons
        (n,) int64 positions, in any order; all by default. Of responses only.
    affine
        Applied to all values.

    Raises
    ------
    CorruptStoreError
        A shard is missing, or its index damaged.
    """

    def __init__(
        self,
        recording: Recording,
        name: str,
        files: StoreFiles,
        neurons: NDArray[np.int64] | None = None,
        affine: Affine | None = None,
    ) -> None:
        self._recording, self._files, self.array = recording, files, recording.arrays[name]
        order = self.array.codec.order or tuple(range(len(self.array.shape)))
        self.axes = tuple(self.array.dimensions[axis] for axis in order)[1:]
        self._neurons = neurons if layout.NEURON in self.axes else None
        self._affine = affine and affine.arranged(self.array.dimensions[1:], self.axes, self._neurons)
        self._stored_shape = self.array.codec.stored_shape(self.array.chunk)
        self._frame_axis = self.axes.index(layout.FRAME) if layout.FRAME in self.axes else None
        self._check_layout(order)
        self._names = [self.array.shard_path(number) for number in range(self.array.files)]
        self._spans: list[list[int]] = np.concatenate([self._read_index(n) for n in range(len(self._names))]).tolist()
        self._per_group = math.prod(self.array.chunks_per_shard[1:])
        # Chunks of one trial, in the order of the batch's memory, need no copy.
        plain = self.rows_per_chunk == 1 and self._neurons is None and self.array.dtype == "float32"
        self._in_place = plain and self._frame_axis in (None, 0)
        # Of a function that knows nothing of this object: a cache of a method would keep it, and its files, alive.
        length = None if self._frame_axis is None else self.chunk_frames
        self._blocks = lru_cache(maxsize=1024)(partial(_needed, length))

    def _check_layout(self, order: Sequence[int]) -> None:
        """Check that trials come first in a chunk, frames first or last of a trial, and that nothing else is cut."""
        array, frames = self.array, self._frame_axis
        cut = {name for name, step, size in zip(array.dimensions, array.chunk, array.shape, strict=True) if step < size}
        if order[0] or frames not in (None, 0, len(self.axes) - 1) or cut - {layout.TRIAL, layout.FRAME}:
            what = f"{array.path} is cut into chunks in a way that cannot be streamed"
            raise StoreFormatError(Problem(self._recording.label, what, "convert the mouse again"))

    @property
    def rows_per_chunk(self) -> int:
        """How many trials share a chunk."""
        return self.array.chunk[0]

    @property
    def chunk_frames(self) -> int:
        """How many frames a chunk holds; one without frames."""
        return 1 if self._frame_axis is None else self._stored_shape[self._frame_axis + 1]

    @property
    def scratch_nbytes(self) -> int:
        """Bytes of scratch that a thread needs at most."""
        largest = max((size for _, size in self._spans), default=0)
        return scratch_nbytes(largest, self.array.chunk_nbytes)

    @property
    def held_nbytes(self) -> int:
        """Bytes that are held in any case: where the chunks are, and what values are normalized by."""
        return len(self._spans) * _SPAN_NBYTES + (0 if self._affine is None else self._affine.nbytes)

    def shape(self, frames: int) -> tuple[int, ...]:
        """Return the shape of a sample with so many frames, in the order of `axes`."""
        sizes = dict(zip(self.array.dimensions, self.array.shape, strict=True)) | {layout.FRAME: frames}
        if self._neurons is not None:
            sizes[layout.NEURON] = len(self._neurons)
        return tuple(sizes[axis] for axis in self.axes)

    def read(self, rows: Sequence[int], frames: Sequence[Frames], out: Array, scratch: Scratch) -> None:
        """Read samples; see `VariableReader`."""
        for row, wanted, sample in zip(rows, frames, out, strict=True):
            self.read_group([row], wanted, [sample], scratch)

    def read_group(self, rows: Sequence[int], frames: Frames, outs: Sequence[Array], scratch: Scratch) -> None:
        """Read the same frames of trials that share chunks.

        Parameters
        ----------
        outs
            For each row an array of `shape`, of any strides.

        Raises
        ------
        CorruptStoreError
            What is needed is damaged; shard and trial are named.
        """
        assert self.array.shard is not None
        name = self._names[rows[0] // self.array.shard[0]]
        try:
            kept = self._files.kept.get(name)
            if kept is not None:
                self._read_blocks(kept, rows, frames, outs, scratch)
            else:
                with self._files.opened(name) as descriptor:
                    self._read_blocks(descriptor, rows, frames, outs, scratch)
        except (ChunkError, FileNotFoundError) as error:
            trial = int(self._recording.trial_ids[rows[0]])
            raise CorruptStoreError(self._problem(name, f"trial {trial}: {error}", trial)) from None
        except OSError as error:
            error.add_note(f"while reading {name} of {self._recording.label}")
            raise

    def _read_blocks(
        self, descriptor: int, rows: Sequence[int], frames: Frames, outs: Sequence[Array], scratch: Scratch
    ) -> None:
        group = rows[0] // self.rows_per_chunk
        read_in_place = self._read_in_place if self.array.codec.compressor == "none" else self._decode_in_place
        for block in self._blocks(frames):
            span = self._spans[group * self._per_group + block.number]
            target = self._part(outs[0], block)
            if self._in_place and block.whole and target.flags.c_contiguous:
                read_in_place(descriptor, span, target, scratch)
            else:
                chunk = self._decode(self._read(descriptor, span, scratch), scratch)
                self._copy(chunk, [row - group * self.rows_per_chunk for row in rows], block, outs, scratch)
            if self._affine is not None:
                self._normalize(self._affine, block, outs, scratch)

    def _read(self, descriptor: int, span: Sequence[int], scratch: Scratch) -> memoryview:
        """Return the bytes of a chunk."""
        begun = time.perf_counter()
        data = scratch.stored(span[1])
        read_exactly(descriptor, data, span[0])
        scratch.tally.read_seconds += time.perf_counter() - begun
        scratch.tally.bytes_read += span[1]
        return data

    def _decode_in_place(self, descriptor: int, span: Sequence[int], target: Array, scratch: Scratch) -> None:
        """Decode a chunk straight into the batch."""
        data, begun = self._read(descriptor, span, scratch), time.perf_counter()
        self.array.codec.decode(data, target.reshape(self._stored_shape))
        scratch.tally.decode_seconds += time.perf_counter() - begun
        scratch.tally.bytes_decoded += target.nbytes

    def _read_in_place(self, descriptor: int, span: Sequence[int], target: Array, scratch: Scratch) -> None:
        """Read an uncompressed chunk straight into the batch, and its checksum beside it."""
        begun, tally = time.perf_counter(), scratch.tally
        (offset, size), buffer, checksum = span, flat_bytes(target), scratch.checksum
        if size != buffer.nbytes + CHECKSUM_BYTES:
            wanted = buffer.nbytes + CHECKSUM_BYTES
            raise ChunkError(f"holds another number of bytes (expected {wanted}, found {size})")
        if os.preadv(descriptor, [buffer, checksum], offset) < size:
            read_exactly(descriptor, buffer, offset)
            read_exactly(descriptor, checksum, offset + size - CHECKSUM_BYTES)
        read = time.perf_counter()
        check_apart(buffer, checksum)
        tally.read_seconds += read - begun
        tally.decode_seconds += time.perf_counter() - read
        tally.bytes_read += size
        tally.bytes_decoded += buffer.nbytes

    def _decode(self, data: memoryview, scratch: Scratch) -> Array:
        """Return a chunk as it is stored: decoded into scratch, or where it was read if it is uncompressed."""
        begun, dtype = time.perf_counter(), self.array.numpy_dtype
        if self.array.codec.compressor == "none":
            payload = check(data)
            if payload.nbytes != self.array.chunk_nbytes:
                expected = self.array.chunk_nbytes
                raise ChunkError(f"holds another number of bytes (expected {expected}, found {payload.nbytes})")
            chunk = np.frombuffer(payload, dtype).reshape(self._stored_shape)
        else:
            chunk = scratch.chunk(self._stored_shape, dtype)
            self.array.codec.decode(data, chunk)
        scratch.tally.decode_seconds += time.perf_counter() - begun
        scratch.tally.bytes_decoded += chunk.nbytes
        return chunk

    def _copy(
        self, chunk: Array, inside: Sequence[int], block: _Block, outs: Sequence[Array], scratch: Scratch
    ) -> None:
        """Copy the needed frames of trials of a chunk to their places in samples."""
        begun = time.perf_counter()
        for row, out in zip(inside, outs, strict=True):
            trial, place = chunk[row], self._part(out, block)
            if self._frame_axis is None:
                place[...] = trial if self._neurons is None else trial[self._neurons]
            elif self._frame_axis == 0:
                copy_frames(trial[block.inside], place, self._neurons)
            else:
                copy_columns(trial[:, block.inside], place, self._neurons)
        scratch.tally.copy_seconds += time.perf_counter() - begun

    def _normalize(self, affine: Affine, block: _Block, outs: Sequence[Array], scratch: Scratch) -> None:
        """Shift and scale what was put into samples."""
        begun, part = time.perf_counter(), affine.cut(self._frame_axis, block.frames)
        for out in outs:
            part.apply(self._part(out, block))
        scratch.tally.copy_seconds += time.perf_counter() - begun

    def _part(self, out: Array, block: _Block) -> Array:
        if self._frame_axis is None:
            return out
        return out[block.place] if self._frame_axis == 0 else out[:, block.place]

    def _read_index(self, number: int) -> NDArray[np.int64]:
        name = self._names[number]
        try:
            with self._files.opened(name) as descriptor:
                return read_index(descriptor, self.array, number)
        except (ChunkError, OSError) as error:
            raise CorruptStoreError(self._problem(name, str(error))) from None

    def _problem(self, name: str, what: str, trial: int | None = None) -> Problem:
        return Problem(self._recording.label, what, "copy or convert the mouse again", name, trial)


def _needed(length: int | None, frames: Frames) -> tuple[_Block, ...]:
    """Return what is needed of each chunk of a trial, given the frames in a chunk; None without frames."""
    if length is None:
        return (_Block(0, slice(None), slice(None), slice(None), True),)
    found, start, stride = list[_Block](), frames.start, frames.stride
    for block in range(start // length, (frames.stop - 1) // length + 1):
        first, end = block * length, min(frames.stop, (block + 1) * length)
        at = max(0, -((start - first) // stride))
        low = start + at * stride
        count = -(-(end - low) // stride)
        if count > 0:
            inside, place = slice(low - first, end - first, stride), slice(at, at + count)
            found.append(_Block(block, inside, place, slice(low, end, stride), count == length))
    return tuple(found)

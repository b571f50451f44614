"""One recorded variable of a store, read from its shards."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...store import CorruptStoreError, Problem, layout
from ...store.chunk_codecs import CHECKSUM_BYTES, ChunkError, check, check_apart, flat_bytes
from ...store.shards import read_exactly, read_index
from ..recording import Recording
from .affine import Affine
from .copying import copy_columns, copy_frames
from .scratch import Scratch
from .store_files import StoreFiles

Array = NDArray[Any]
_RUN = 1 << 20
"""Chunks behind one another are read at once up to so many bytes: what is decoded next is then still in the cache."""


@dataclass(frozen=True)
class Frames:
    """Frames of a trial: every `stride` of them from `start` on; of variables without frames, anything."""

    start: int
    count: int
    stride: int = 1

    @property
    def stop(self) -> int:
        """The frame behind the last one."""
        return self.start + (self.count - 1) * self.stride + 1


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


@dataclass(frozen=True)
class _Block:
    """The part of a chunk that a sample needs."""

    number: int
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
        order = self.array.codec.order or range(len(self.array.shape))
        self.axes = tuple(self.array.dimensions[axis] for axis in order)[1:]
        self._neurons = neurons if layout.NEURON in self.axes else None
        self._affine = affine and affine.arranged(self.array.dimensions[1:], self.axes, self._neurons)
        self._stored_shape = self.array.codec.stored_shape(self.array.chunk)
        self._frame_axis = self.axes.index(layout.FRAME) if layout.FRAME in self.axes else None
        self._names = [self.array.shard_path(number) for number in range(self.array.files)]
        self._spans: list[list[int]] = np.concatenate([self._read_index(n) for n in range(len(self._names))]).tolist()

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
        return max(_RUN, largest) + self.array.chunk_nbytes

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
        group, name = rows[0] // self.rows_per_chunk, self._names[rows[0] // self.array.shard[0]]
        inside = [row - group * self.rows_per_chunk for row in rows]
        try:
            with self._files.opened(name) as descriptor:
                for run in self._runs(self._blocks(group, frames)):
                    self._read_run(descriptor, run, inside, outs, scratch)
        except (ChunkError, OSError) as error:
            raise CorruptStoreError(self._problem(name, f"trial {self._trial_id(rows[0])}: {error}")) from None

    def _blocks(self, group: int, frames: Frames) -> list[_Block]:
        """Return what is needed of each chunk of a group of rows."""
        if self._frame_axis is None:
            return [_Block(group, slice(None), slice(None), slice(None), True)]
        length, total = self.chunk_frames, self.array.shape[self.array.dimensions.index(layout.FRAME)]
        per_group, found = -(-total // length), list[_Block]()
        start, stride = frames.start, frames.stride
        for block in range(start // length, (frames.stop - 1) // length + 1):
            first, end = block * length, min(frames.stop, (block + 1) * length)
            at = max(0, -((start - first) // stride))
            low = start + at * stride
            count = -(-(end - low) // stride)
            if count > 0:
                inside, place = slice(low - first, end - first, stride), slice(at, at + count)
                found.append(_Block(group * per_group + block, inside, place, slice(low, end, stride), count == length))
        return found

    def _runs(self, blocks: Sequence[_Block]) -> Iterator[Sequence[_Block]]:
        """Yield chunks behind one another that are read at once."""
        first, total = 0, 0
        for place, block in enumerate(blocks):
            size = self._spans[block.number][1]
            follows = place > 0 and block.number == blocks[place - 1].number + 1
            if place > first and (total + size > _RUN or not follows):
                yield blocks[first:place]
                first, total = place, 0
            total += size
        yield blocks[first:]

    def _read_run(
        self, descriptor: int, run: Sequence[_Block], inside: Sequence[int], outs: Sequence[Array], scratch: Scratch
    ) -> None:
        targets = [self._target(block, outs) for block in run]
        in_place = [target for target in targets if target is not None]
        if self.array.codec.compressor == "none" and len(in_place) == len(run):
            self._read_in_place(descriptor, run, in_place, scratch)
            for block in run:
                self._finish(block, outs, scratch)
            return
        for block, target, data in zip(run, targets, self._read(descriptor, run, scratch), strict=True):
            chunk = self._decode(data, target, scratch)
            if target is None:
                self._copy(chunk, inside, block, outs, scratch)
            self._finish(block, outs, scratch)

    def _target(self, block: _Block, outs: Sequence[Array]) -> Array | None:
        """Return the memory of the batch that the chunk can be decoded into; None if it has to be copied there."""
        out = outs[0]
        if not block.whole or self.rows_per_chunk > 1 or self._neurons is not None:
            return None
        if out.dtype != self.array.numpy_dtype or self._frame_axis not in (None, 0):
            return None
        part = out if self._frame_axis is None else out[block.place]
        return part if part.flags.c_contiguous and part.nbytes == self.array.chunk_nbytes else None

    def _read(self, descriptor: int, run: Sequence[_Block], scratch: Scratch) -> list[memoryview]:
        """Read chunks that lie behind one another; return the bytes of each."""
        begun = time.perf_counter()
        spans = [self._spans[block.number] for block in run]
        first, size = spans[0][0], sum(size for _, size in spans)
        data = scratch.stored(size)
        read_exactly(descriptor, data, first)
        scratch.tally.read_seconds += time.perf_counter() - begun
        scratch.tally.bytes_read += size
        return [data[offset - first : offset - first + size] for offset, size in spans]

    def _read_in_place(
        self, descriptor: int, run: Sequence[_Block], targets: Sequence[Array], scratch: Scratch
    ) -> None:
        """Read uncompressed chunks straight into the batch, their checksums beside it."""
        begun = time.perf_counter()
        sums = np.empty((len(run), CHECKSUM_BYTES), np.uint8)
        spans = [self._spans[block.number] for block in run]
        buffers = [flat_bytes(target) for target in targets]
        for (_, size), buffer in zip(spans, buffers, strict=True):
            if size != buffer.nbytes + CHECKSUM_BYTES:
                wanted = buffer.nbytes + CHECKSUM_BYTES
                raise ChunkError(f"holds another number of bytes (expected {wanted}, found {size})")
        parts = [part for buffer, one in zip(buffers, sums, strict=True) for part in (buffer, one.data)]
        total = sum(size for _, size in spans)
        if os.preadv(descriptor, parts, spans[0][0]) < total:
            for (offset, size), buffer, one in zip(spans, buffers, sums, strict=True):
                read_exactly(descriptor, buffer, offset)
                read_exactly(descriptor, one.data, offset + size - CHECKSUM_BYTES)
        read = time.perf_counter()
        for buffer, one in zip(buffers, sums, strict=True):
            check_apart(buffer, one.data)
        tally = scratch.tally
        tally.read_seconds += read - begun
        tally.decode_seconds += time.perf_counter() - read
        tally.bytes_read += total
        tally.bytes_decoded += total - len(run) * CHECKSUM_BYTES

    def _decode(self, data: memoryview, target: Array | None, scratch: Scratch) -> Array:
        """Return a chunk, decoded into `target` or into scratch."""
        begun, dtype = time.perf_counter(), self.array.numpy_dtype
        if self.array.codec.compressor == "none" and target is None:
            payload = check(data)
            if payload.nbytes != self.array.chunk_nbytes:
                expected = self.array.chunk_nbytes
                raise ChunkError(f"holds another number of bytes (expected {expected}, found {payload.nbytes})")
            chunk = np.frombuffer(payload, dtype).reshape(self._stored_shape)
        else:
            chunk = scratch.chunk(self._stored_shape, dtype) if target is None else target
            self.array.codec.decode(data, chunk)
        scratch.tally.decode_seconds += time.perf_counter() - begun
        scratch.tally.bytes_decoded += self.array.chunk_nbytes
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

    def _finish(self, block: _Block, outs: Sequence[Array], scratch: Scratch) -> None:
        """Shift and scale what was put into samples."""
        if self._affine is not None:
            begun = time.perf_counter()
            affine = self._affine.cut(self._frame_axis, block.frames)
            for out in outs:
                affine.apply(self._part(out, block))
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

    def _trial_id(self, row: int) -> int:
        return int(self._recording.trial_ids[row])

    def _problem(self, name: str, what: str) -> Problem:
        return Problem(self._recording.label, what, "copy or convert the mouse again", name)

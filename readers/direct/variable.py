"""One recorded variable of a store, read from its shards."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...store import Problem, StoreFormatError, layout
from ...store.ahead import Span
from ...store.chunk_codecs import CHECKSUM_BYTES, ChunkError
from ...store.chunks import JOINED, ChunkReader, Scratch, chunk_spans, damaged, scratch_nbytes
from ...store.folder import LocalFile
from ...store.place import StoreFile
from ..recording import Recording
from .affine import Affine
from .copying import BFLOAT16, FLOAT32, copy_reordered, copy_values, cut
from .pictures import Change, Pictures
from .store_files import StoreFiles

Array = NDArray[Any]
_MOST_JOINED = 256
"""Neighbouring chunks that are read at once: the system takes a thousand places of memory."""
MAX_THREADS = 16
"""More that read do not help: what they share is the memory's speed."""


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
    dtype: np.dtype[Any]
    """Data type of samples."""

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
            (n, …) of `dtype`, C-contiguous, each sample of `shape`.
        scratch
            Memory of the thread that reads.
        """
        ...

    def chunks(self, row: int, frames: Frames) -> Iterator[Span]:
        """Yield the chunks that have to be read for a sample: file, and offset and size in it."""
        ...


class _Run(NamedTuple):
    """The part of neighbouring chunks that a sample needs."""

    number: int  # of the first chunk, counted from the trial's first
    chunks: int  # how many
    inside: slice  # frames, counted from the first chunk's first
    place: slice  # frames, counted from the sample's first
    frames: slice  # frames of the recording
    whole: bool  # every frame of the chunks
    each: tuple[_Run, ...] = ()  # of several chunks, one by one


class StreamedVariable:
    """A recorded variable, read anew each time.

    Parameters
    ----------
    recording
        Recording of the mouse.
    name
        Name of the variable.
    files
        Files of the store.
    neurons
        (n,) int64 positions, in any order; all by default. Variables without neurons are read whole.
    affine
        Shift and divisor of all values.
    dtype
        Data type of samples: any float, `BFLOAT16`, or the one that is stored; with `affine` or downscaling a float.
    axes
        Dimensions of a sample as they are to lie in memory; by default as they lie in a chunk.
    pictures
        How pictures are cropped and downscaled; as they were recorded by default.

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
        dtype: np.dtype[Any] = FLOAT32,
        axes: Sequence[str] | None = None,
        pictures: Pictures | None = None,
    ) -> None:
        self._recording, self._files, self.array = recording, files, recording.arrays[name]
        self.dtype = dtype
        order = self.array.codec.order or tuple(range(len(self.array.shape)))
        self._stored_axes = tuple(self.array.dimensions[axis] for axis in order)[1:]
        self.axes = self._stored_axes if axes is None else tuple(axes)
        # For each axis in a chunk, which axis it is in a sample, and the other way round; None where they are the same.
        self._moved = None if axes is None else _moved(self._stored_axes, self.axes)
        self._back = _moved(self.axes, self._stored_axes)
        self._neurons = neurons if layout.NEURON in self.axes else None
        self._pictures = pictures
        self._chunks = ChunkReader(self.array)
        self._frame_axis = _frame_axis(self._stored_axes)
        self._change = self._made_of(affine)
        self._check_layout(order)
        assert self.array.shard is not None
        self._rows_per_shard = self.array.shard[0]
        self._names = [self.array.shard_path(number) for number in range(self.array.files)]
        # An array: lists of numbers would take nine times the memory, of hundreds of mice more than batches.
        self._spans = np.concatenate([self._read_spans(n) for n in range(len(self._names))])
        self._per_group = math.prod(self.array.chunks_per_shard[1:])
        # A chunk of one trial, if its values are those of the batch, needs no copy where it fills contiguous memory.
        plain = self._neurons is None and pictures is None
        self._in_place = self.rows_per_chunk == 1 and plain and self.array.numpy_dtype == dtype
        # Such as images, of which a batch has many from anywhere.
        single = self._in_place and self._change is None and self._frame_axis is None and self._chunks.uncompressed
        self._in_batches = single and bool((self._spans[:, 1] == self.array.chunk_nbytes + CHECKSUM_BYTES).all())
        # Of a function that knows nothing of this object: a cache of a method would keep it, and its files, alive.
        length = None if self._frame_axis is None else self.chunk_frames
        self._blocks = lru_cache(maxsize=1024)(partial(_needed, length, 1))
        self._runs = lru_cache(maxsize=1024)(partial(_needed, length, self._most_joined))

    def _made_of(self, affine: Affine | None) -> Change | None:
        """Return what becomes of values; None if they are copied, and cast as numpy does it."""
        if affine is None and self._pictures is None and self.dtype != BFLOAT16:
            return None
        affine = affine and affine.arranged(self.array.dimensions[1:], self._stored_axes, self._neurons)
        return Change(affine, self._pictures, self._neurons, self._stored_axes, self._frame_axis)

    def _check_layout(self, order: Sequence[int]) -> None:
        """Check that trials come first in a chunk, and that nothing but trials and frames is cut."""
        array = self.array
        cut = {name for name, step, size in zip(array.dimensions, array.chunk, array.shape, strict=True) if step < size}
        if order[0] or cut - {layout.TRIAL, layout.FRAME}:
            what = f"{array.path} is cut into chunks in a way that cannot be streamed"
            raise StoreFormatError(Problem(self._recording.label, what, "convert the mouse again"))

    @property
    def rows_per_chunk(self) -> int:
        """How many trials share a chunk."""
        return self.array.chunk[0]

    @property
    def chunk_frames(self) -> int:
        """How many frames a chunk holds; one without frames."""
        return 1 if self._frame_axis is None else self._chunks.stored_shape[self._frame_axis + 1]

    @property
    def _most_joined(self) -> int:
        """How many neighbouring chunks of a trial are read at once at most."""
        if self.rows_per_chunk > 1 or self._frame_axis != 0:
            return 1
        return min(max(1, JOINED // max(1, self.array.chunk_nbytes)), _MOST_JOINED, self._per_group)

    def scratch_nbytes(self, frames: int) -> int:
        """Return the bytes of scratch that a thread needs at most for samples of so many frames."""
        stored, chunk = int(self._spans[:, 1].max(initial=0)), self.array.chunk_nbytes
        sample = [] if self._moved is None else [math.prod(self.shape(frames)) * self.dtype.itemsize]
        block = self._shape(self._stored_axes, self.chunk_frames)
        changing = 0 if self._change is None else self._change.scratch_nbytes(block)
        return scratch_nbytes(self._most_joined * stored, self._most_joined * chunk, *sample) + changing

    def stored_nbytes(self, covered: int) -> int:
        """Return the most bytes that the chunks of one sample take in a file, given how many frames it covers."""
        blocks = 1 if self._frame_axis is None else 1 + -(-(covered - 1) // self.chunk_frames)
        return min(blocks, self._per_group) * int(self._spans[:, 1].max(initial=0))

    @property
    def shard_nbytes(self) -> int:
        """The most bytes that all chunks of a shard take."""
        shards = range(0, len(self._spans), math.prod(self.array.chunks_per_shard))
        return int(np.add.reduceat(self._spans[:, 1], shards).max())

    @property
    def held_nbytes(self) -> int:
        """Bytes that are held in any case: where the chunks are, and what values are normalized by."""
        return self._spans.nbytes + (0 if self._change is None else self._change.nbytes)

    def shape(self, frames: int) -> tuple[int, ...]:
        """Return the shape of a sample with so many frames, in the order of `axes`."""
        return self._shape(self.axes, frames)

    def _shape(self, axes: Sequence[str], frames: int) -> tuple[int, ...]:
        sizes = dict(zip(self.array.dimensions, self.array.shape, strict=True)) | {layout.FRAME: frames}
        if self._neurons is not None:
            sizes[layout.NEURON] = len(self._neurons)
        if self._pictures is not None:
            sizes |= self._pictures.sizes
        return tuple(sizes[axis] for axis in axes)

    def part(self, sample: Array, frames: slice) -> Array:
        """Return a view of some frames of a sample (…) of `shape`; all of it without frames."""
        return cut(sample, _frame_axis(self.axes), frames)

    def read(self, rows: Sequence[int], frames: Sequence[Frames], out: Array, scratch: Scratch) -> None:
        """Read samples; see `VariableReader`."""
        if self._in_batches and self._read_batch(rows, out, scratch):
            return
        for place, (row, wanted) in enumerate(zip(rows, frames, strict=True)):
            # An array also where a sample is one number.
            self.read_group([row], wanted, [out[place, ...]], scratch)

    def _read_batch(self, rows: Sequence[int], out: Array, scratch: Scratch) -> bool:
        """Read samples that are one uncompressed chunk each by few calls; return whether that was done."""
        files = [self._files.kept.get(self._names[row // self._rows_per_shard]) for row in rows]
        descriptors = [file.descriptor for file in files if isinstance(file, LocalFile)]
        if len(descriptors) < len(rows) or not out.flags.c_contiguous:
            return False
        return self._chunks.read_batch(descriptors, self._spans[rows, 0], out.reshape(-1).view(np.uint8), scratch)

    def chunks(self, row: int, frames: Frames) -> Iterator[Span]:
        """Yield the chunks that have to be read for a sample; see `VariableReader`."""
        name, first = self._names[row // self._rows_per_shard], row // self.rows_per_chunk * self._per_group
        for block in self._blocks(frames):
            offset, size = self._spans[first + block.number]
            yield name, offset, size

    def read_group(self, rows: Sequence[int], frames: Frames, outs: Sequence[Array], scratch: Scratch) -> None:
        """Read the same frames of trials that share chunks.

        Parameters
        ----------
        rows
            Rows of the store, all in one chunk.
        frames
            Frames of each trial.
        outs
            Array of `shape` and `dtype` for each row, of any strides.
        scratch
            Memory of the thread that reads.

        Raises
        ------
        CorruptStoreError
            What is needed is damaged; shard and trial are named.
        """
        name = self._names[rows[0] // self._rows_per_shard]
        try:
            kept = self._files.kept.get(name)
            read = self._read_reordered if self._moved else self._read_blocks
            if kept is not None:
                read(kept, rows, frames, outs, scratch)
            else:
                with self._files.opened(name) as file:
                    read(file, rows, frames, outs, scratch)
        except (ChunkError, FileNotFoundError) as error:
            trial = int(self._recording.trial_ids[rows[0]])
            raise damaged(self._recording.label, name, error, trial) from None
        except OSError as error:
            error.add_note(f"while reading {name} of {self._recording.label}")
            raise

    def _read_reordered(
        self, file: StoreFile, rows: Sequence[int], frames: Frames, outs: Sequence[Array], scratch: Scratch
    ) -> None:
        """Read samples as chunks are, then reorder their axes; those that share chunks, being small, directly."""
        assert self._moved is not None
        arranged = [out.transpose(self._moved) for out in outs]
        if self.rows_per_chunk > 1:
            self._read_blocks(file, rows, frames, arranged, scratch)
            return
        sample = scratch.sample(arranged[0].shape, self.dtype)
        self._read_blocks(file, rows, frames, [sample], scratch)
        with scratch.tally.timed("copy_seconds"):
            copy_reordered(sample.transpose(self._back), outs[0], scratch)

    def _read_blocks(
        self, file: StoreFile, rows: Sequence[int], frames: Frames, outs: Sequence[Array], scratch: Scratch
    ) -> None:
        if isinstance(file, LocalFile):
            # One by one, should that fail: it says which is damaged.
            with contextlib.suppress(ChunkError):
                for run in self._runs(frames):
                    self._read_run(file, rows, run, outs, scratch)
                return
        for block in self._blocks(frames):
            self._read_run(file, rows, block, outs, scratch)

    def _read_run(
        self, file: StoreFile, rows: Sequence[int], run: _Run, outs: Sequence[Array], scratch: Scratch
    ) -> None:
        """Read the needed frames of neighbouring chunks: straight into a sample, where its values are those stored."""
        group = rows[0] // self.rows_per_chunk
        first = group * self._per_group + run.number
        spans: list[list[int]] = self._spans[first : first + run.chunks].tolist()
        target = cut(outs[0], self._frame_axis, run.place)
        every = run.whole or (self._frame_axis == 0 and run.inside.step == 1)
        if not (self._in_place and every and target.flags.c_contiguous):
            chunk = self._chunks.read_joined(file, spans, scratch)
            self._copy(chunk, [row - group * self.rows_per_chunk for row in rows], run, outs, scratch)
        elif self._chunks.uncompressed:
            self._chunks.read_parts(file, spans, self._parts(run, target, scratch), scratch)
            self._change_in_place(target, run.frames, scratch)
        else:
            for block, data in zip(run.each or (run,), self._chunks.stored(file, spans, scratch), strict=True):
                part = cut(outs[0], self._frame_axis, block.place)
                if block.whole:
                    self._chunks.decode_into(data, part, scratch)
                    self._change_in_place(part, block.frames, scratch)
                else:
                    self._copy(self._chunks.decode(data, scratch), [0], block, outs, scratch)

    def _parts(self, run: _Run, target: Array, scratch: Scratch) -> tuple[memoryview, ...]:
        """Return where the frames of chunks belong, in their order: wanted ones in a sample, the others aside."""
        if run.whole:
            return (target.data,)
        before, after = run.inside.start, run.chunks * self.chunk_frames - run.inside.stop
        aside = scratch.chunk((before + after, *self._chunks.stored_shape[2:]), self.dtype)
        return aside[:before].data, target.data, aside[before:].data

    def _change_in_place(self, target: Array, frames: slice, scratch: Scratch) -> None:
        if self._change is not None:
            with scratch.tally.timed("copy_seconds"):
                self._change.write(target, target, frames)

    def _copy(self, chunk: Array, inside: Sequence[int], run: _Run, outs: Sequence[Array], scratch: Scratch) -> None:
        """Put the needed frames of trials of a chunk into their places in samples, changed if they are to be."""
        begun = time.perf_counter()
        for row, out in zip(inside, outs, strict=True):
            trial = cut(chunk[row, ...], self._frame_axis, run.inside)
            target = cut(out, self._frame_axis, run.place)
            if self._change is None:
                copy_values(trial, target, self._neurons, self._stored_axes)
            else:
                self._change.write(trial, target, run.frames)
        scratch.tally.copy_seconds += time.perf_counter() - begun

    def _read_spans(self, number: int) -> NDArray[np.int64]:
        name = self._names[number]
        try:
            with self._files.opened(name) as file:
                return chunk_spans(file, self.array, number)
        except (ChunkError, OSError) as error:
            raise damaged(self._recording.label, name, error) from None


def _frame_axis(axes: Sequence[str]) -> int | None:
    return axes.index(layout.FRAME) if layout.FRAME in axes else None


def _moved(given: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...] | None:
    """Return, for each axis as given, which it is of those wanted; None where they are the same."""
    return None if given == wanted else tuple(wanted.index(name) for name in given)


def _needed(length: int | None, most: int, frames: Frames) -> tuple[_Run, ...]:
    """Return what is needed of the chunks of a trial, up to so many neighbours together.

    Parameters
    ----------
    length
        Frames of a chunk; None without frames.
    """
    if length is None:
        return (_Run(0, 1, slice(None), slice(None), slice(None), True),)
    found, start, stride = list[_Run](), frames.start, frames.stride
    for block in range(start // length, (frames.stop - 1) // length + 1):
        # The chunk holds the frames from `first` up to `end`; behind `frames.stop` none is wanted.
        first, end = block * length, min(frames.stop, (block + 1) * length)
        # Frame `start + at * stride` is the first wanted one that is not before the chunk: (first - start) / stride,
        # rounded up. A window that begins within the chunk begins with its own first frame.
        at = max(0, -((start - first) // stride))
        low = start + at * stride
        # How many are wanted from there on: (end - low) / stride, rounded up; none where a stride jumps over the chunk.
        count = -(-(end - low) // stride)
        if count <= 0:
            continue
        inside, place, needed = slice(low - first, end - first, stride), slice(at, at + count), slice(low, end, stride)
        run = _Run(block, 1, inside, place, needed, count == length)
        if found and found[-1].chunks < most and found[-1].number + found[-1].chunks == block:
            run = _merged(found.pop(), run, length)
        found.append(run)
    return tuple(found)


def _merged(run: _Run, block: _Run, length: int) -> _Run:
    """Return a run and the chunk behind it as one."""
    stride, stop = run.inside.step, block.inside.stop + run.chunks * length
    return _Run(
        run.number,
        run.chunks + 1,
        slice(run.inside.start, stop, stride),
        slice(run.place.start, block.place.stop),
        slice(run.frames.start, block.frames.stop, stride),
        run.whole and block.whole,
        (*(run.each or (run,)), block),
    )

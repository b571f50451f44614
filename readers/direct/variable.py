"""One recorded variable of a store, read from its shards."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...store import Problem, StoreFormatError, layout
from ...store.ahead import Span
from ...store.chunk_codecs import ChunkError
from ...store.chunks import ChunkReader, Scratch, chunk_spans, damaged, scratch_nbytes
from ...store.place import StoreFile
from ..recording import Recording
from .affine import Affine
from .copying import BFLOAT16, FLOAT32, copy_reordered, copy_values, cut
from .pictures import Change, Pictures
from .store_files import StoreFiles

Array = NDArray[Any]
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
        unchanged = self._in_place and self._change is None
        self._whole = unchanged and self._frame_axis is None
        self._in_parts = unchanged and self._frame_axis == 0 and self._chunks.uncompressed
        # Of a function that knows nothing of this object: a cache of a method would keep it, and its files, alive.
        length = None if self._frame_axis is None else self.chunk_frames
        self._blocks = lru_cache(maxsize=1024)(partial(_needed, length))

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

    def scratch_nbytes(self, frames: int) -> int:
        """Return the bytes of scratch that a thread needs at most for samples of so many frames."""
        largest = int(self._spans[:, 1].max(initial=0))
        sample = [] if self._moved is None else [math.prod(self.shape(frames)) * self.dtype.itemsize]
        block = self._shape(self._stored_axes, self.chunk_frames)
        changing = 0 if self._change is None else self._change.scratch_nbytes(block)
        return scratch_nbytes(largest, self.array.chunk_nbytes, *sample) + changing

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
        for place, (row, wanted) in enumerate(zip(rows, frames, strict=True)):
            # An array also where a sample is one number.
            self.read_group([row], wanted, [out[place, ...]], scratch)

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
            read = self._read_reordered if self._moved else self._read_whole if self._whole else self._read_blocks
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

    def _read_whole(
        self, file: StoreFile, rows: Sequence[int], frames: Frames, outs: Sequence[Array], scratch: Scratch
    ) -> None:
        """Read a sample that is one chunk straight into memory: an image or its responses, and quickly many of them."""
        if outs[0].flags.c_contiguous:
            self._chunks.read_into(file, self._spans[rows[0]].tolist(), outs[0], scratch)
        else:
            self._read_blocks(file, rows, frames, outs, scratch)

    def _read_blocks(
        self, file: StoreFile, rows: Sequence[int], frames: Frames, outs: Sequence[Array], scratch: Scratch
    ) -> None:
        group = rows[0] // self.rows_per_chunk
        for block in self._blocks(frames):
            span: list[int] = self._spans[group * self._per_group + block.number].tolist()
            target = cut(outs[0], self._frame_axis, block.place)
            if self._in_place and block.whole and target.flags.c_contiguous:
                self._chunks.read_into(file, span, target, scratch)
                if self._change is not None:
                    with scratch.tally.timed("copy_seconds"):
                        self._change.write(target, target, block.frames)
            elif self._in_parts and frames.stride == 1 and target.flags.c_contiguous:
                self._chunks.read_parts(file, span, self._parts(block, target, scratch), scratch)
            else:
                chunk = self._chunks.read(file, span, scratch)
                self._copy(chunk, [row - group * self.rows_per_chunk for row in rows], block, outs, scratch)

    def _parts(self, block: _Block, target: Array, scratch: Scratch) -> tuple[memoryview, ...]:
        """Return where the frames of a chunk belong, in their order: wanted ones in a sample, the others aside."""
        aside = scratch.chunk(self._chunks.stored_shape[1:], self.dtype)
        return aside[: block.inside.start].data, target.data, aside[block.inside.stop :].data

    def _copy(
        self, chunk: Array, inside: Sequence[int], block: _Block, outs: Sequence[Array], scratch: Scratch
    ) -> None:
        """Put the needed frames of trials of a chunk into their places in samples, changed if they are to be."""
        begun = time.perf_counter()
        for row, out in zip(inside, outs, strict=True):
            trial = cut(chunk[row, ...], self._frame_axis, block.inside)
            target = cut(out, self._frame_axis, block.place)
            if self._change is None:
                copy_values(trial, target, self._neurons, self._stored_axes)
            else:
                self._change.write(trial, target, block.frames)
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


def _needed(length: int | None, frames: Frames) -> tuple[_Block, ...]:
    """Return what is needed of each chunk of a trial, given the frames in a chunk; None without frames."""
    if length is None:
        return (_Block(0, slice(None), slice(None), slice(None), True),)
    found, start, stride = list[_Block](), frames.start, frames.stride
    for block in range(start // length, (frames.stop - 1) // length + 1):
        # The chunk holds the frames from `first` up to `end`; behind `frames.stop` none is wanted.
        first, end = block * length, min(frames.stop, (block + 1) * length)
        # Frame `start + at * stride` is the first wanted one that is not before the chunk: (first - start) / stride,
        # rounded up. A window that begins within the chunk begins with its own first frame.
        at = max(0, -((start - first) // stride))
        low = start + at * stride
        # How many are wanted from there on: (end - low) / stride, rounded up; none where a stride jumps over the chunk.
        count = -(-(end - low) // stride)
        if count > 0:
            inside, place = slice(low - first, end - first, stride), slice(at, at + count)
            found.append(_Block(block, inside, place, slice(low, end, stride), count == length))
    return tuple(found)

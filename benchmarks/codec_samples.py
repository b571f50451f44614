"""What is measured of one coding on a dynamic and on a static recording."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trialpack import plan_mouse
from trialpack.convert.rounding import absolute, round_within
from trialpack.store.layout import CHUNK_FRAMES, CODECS, RESPONSES, Variable
from trialpack.store.variables import VIDEOS

from .codings import ChunkFile, Chunks, Coding, decode_seconds, encode_all
from .decoding import Reading, Rows, Slots, Traces, Work

Array = NDArray[Any]
Figures = dict[str, Any]
VALID = 300
"""Frames that samples are drawn from; trials with fewer are left out."""
WORKS = (Work("whole", VALID, 1, 8, 1), Work("windows", 80, 1, 8, 3), Work("stride", 31, 2, 32, 1))
STATIC_WORK = Work("random", 1, 1, 128, 1)
_COPIED = 64_000_000  # raw bytes


@dataclass(frozen=True)
class Effort:
    """How much is measured: threads that read, seconds for each figure in each round, where chunks are written."""

    threads: int
    seconds: float
    folder: Path


@dataclass(frozen=True)
class Candidate:
    """One way of storing a sample, encoded, and what was found of it; the best of what was found more than once."""

    coding: Coding
    chunks: dict[str, Chunks]
    length: int | None = None
    frame_major: bool = False
    figures: Figures = field(default_factory=Figures)

    def improve(self, found: Mapping[str, float]) -> None:
        """Keep the larger of what is known and what was found."""
        for name, value in found.items():
            self.figures[name] = max(value, self.figures.get(name, 0.0))

    @property
    def chosen(self) -> str | None:
        """The names in `CODECS` that may stand for it; for static recordings whatever their length and order."""
        if self.length not in (None, CHUNK_FRAMES):
            return None
        orders = {True, False} if self.length is None else {self.frame_major}
        stored = {(self.coding.of_format, order) for order in orders}
        found = [
            name for name, choices in CODECS.items() if stored & {(one.compressor, one.frame_major) for one in choices}
        ]
        return ", ".join(found) or None

    def row(self, arrays: Mapping[str, Array]) -> Figures:
        """Return a row of the table, with sizes relative to the arrays."""
        stored, nbytes = sum(chunks.stored for chunks in self.chunks.values()), sum(a.nbytes for a in arrays.values())
        return {
            "length": self.length,
            "order": "frame-major" if self.frame_major else "neuron-major",
            "compressor": self.coding.label,
            "chosen": self.chosen,
            "format": (self.coding.of_format, self.frame_major),
            "size": stored / nbytes,
            **{name: chunks.stored / arrays[name].nbytes for name, chunks in self.chunks.items()},
            "encode": self.raw / sum(chunks.seconds for chunks in self.chunks.values()) / 1e9,
            **self.figures,
        }

    @property
    def raw(self) -> int:
        """Decoded bytes of all chunks."""
        return sum(chunks.raw for chunks in self.chunks.values())

    def decode_rate(self, least: float) -> float:
        """Return how many GB a second one core decodes."""
        return self.raw / decode_seconds(self.coding, self.chunks.values(), least) / 1e9


class DynamicSample:
    """One trial of a dynamic recording: traces and video; within bounds on their errors, if these are given."""

    def __init__(self, tree: Path, effort: Effort, bounds: Mapping[str, float] | None = None) -> None:
        plan = plan_mouse(tree, effort.folder)
        self._effort, self.arrays = effort, _load(tree, plan.variables, _long_trials(tree)[:1])
        for name, bound in (bounds or {}).items():
            self.arrays[name] = _rounded(self.arrays[name], bound)
        self.dtype, self.frames = self.arrays[RESPONSES].dtype, self.arrays[VIDEOS].shape[1]
        self._copies = _copies(self.arrays)
        self._slots = Slots(max(_nbytes(self._batch(work, True), self.dtype) for work in WORKS))

    def encode(self, length: int, coding: Coding) -> Iterator[Candidate]:
        """Yield both byte orders of the traces; videos have their frames outermost in either."""
        videos = encode_all(coding, self._chunks(VIDEOS, length, True))
        for frame_major in (False, True):
            traces = encode_all(coding, self._chunks(RESPONSES, length, frame_major))
            yield Candidate(coding, {VIDEOS: videos, RESPONSES: traces}, length, frame_major)

    def measure(self, candidate: Candidate) -> None:
        """Note how fast it is decoded and read."""
        effort, length = self._effort, candidate.length or self.frames
        found = {"decode": candidate.decode_rate(effort.seconds)}
        with ChunkFile(candidate.coding, candidate.chunks, copies=self._copies, folder=effort.folder) as file:
            traces = Traces(file, length, math.ceil(self.frames / length), candidate.frame_major)
            for work in WORKS:
                batches = self._slots.batches(self._batch(work, candidate.frame_major), self.dtype)
                self._check(traces, work, batches[0])
                reading = Reading(partial(traces.read, work), work, self._copies, VALID, effort.threads, effort.seconds)
                found[work.name] = reading.rate(batches)
        candidate.improve(found)

    def _chunks(self, name: str, length: int, frame_major: bool) -> list[Array]:
        """Return the chunks of all trials as they are stored, the last one of each trial padded with NaN."""
        found = list[Array]()
        for trial in self.arrays[name]:
            time_first = trial if name == VIDEOS else trial.T
            for start in range(0, self.frames, length):
                chunk = np.full((length, *time_first.shape[1:]), np.nan, self.dtype)
                part = time_first[start : start + length]
                chunk[: len(part)] = part
                found.append(chunk if frame_major else np.ascontiguousarray(chunk.T))
        return found

    def _check(self, traces: Traces, work: Work, batch: dict[str, Array]) -> None:
        """Read one sample, of the second copy, and compare it with the source bit by bit."""
        start = min(33, VALID - work.window)
        traces.read(work, 1, start, batch, 0)
        frames = [start + frame for frame in work.frames]
        for name, array in self.arrays.items():
            found = batch[name][0]
            if name == VIDEOS:
                expected = array[0, frames]
            else:
                expected = array[0][:, frames].T if traces.frame_major else array[0][:, frames]
            if expected.tobytes() != found.tobytes():
                raise RuntimeError(f"{name}: what was read is not what was written")

    def _batch(self, work: Work, frame_major: bool) -> dict[str, tuple[int, ...]]:
        """Return the shapes of a batch, traces in the order of the chunks."""
        frames, neurons = len(work.frames), self.arrays[RESPONSES].shape[1]
        traces = (frames, neurons) if frame_major else (neurons, frames)
        return {VIDEOS: (work.batch, frames, *self.arrays[VIDEOS].shape[2:]), RESPONSES: (work.batch, *traces)}


class StaticSample:
    """Some trials of a static recording: images and responses, as many to a chunk as the format puts there."""

    def __init__(self, tree: Path, effort: Effort) -> None:
        plan = plan_mouse(tree, effort.folder)
        self._effort, self.arrays = effort, _load(tree, plan.variables, list(plan.survey.trial_ids))
        self.per_chunk = {array.path: array.chunk[0] for array in plan.recorded if array.path in self.arrays}
        self.dtype, self._copies = self.arrays[RESPONSES].dtype, _copies(self.arrays)
        shapes = {name: (STATIC_WORK.batch, *array.shape[1:]) for name, array in self.arrays.items()}
        self._batches = Slots(_nbytes(shapes, self.dtype)).batches(shapes, self.dtype)

    def encode(self, coding: Coding) -> Candidate:
        """Encode all trials."""
        parts = {name: np.split(array, len(array) // self.per_chunk[name]) for name, array in self.arrays.items()}
        return Candidate(coding, {name: encode_all(coding, chunks) for name, chunks in parts.items()})

    def measure(self, candidate: Candidate) -> None:
        """Note how fast it is decoded and read."""
        effort, trials = self._effort, len(self.arrays[RESPONSES]) * self._copies
        with ChunkFile(candidate.coding, candidate.chunks, copies=self._copies, folder=effort.folder) as file:
            read = Rows(file, self.per_chunk).read
            rate = Reading(read, STATIC_WORK, trials, 1, effort.threads, effort.seconds).rate(self._batches)
        candidate.improve({STATIC_WORK.name: rate, "decode": candidate.decode_rate(effort.seconds)})


def _load(tree: Path, variables: Sequence[Variable], trials: list[int]) -> dict[str, Array]:
    """Return stimulus and responses of trials as the store has them, ``(trial, …)``."""
    found = dict[str, Array]()
    for variable in variables:
        if variable.role in ("stimulus", "target"):
            rows = [np.load(tree / f"data/{variable.name}/{n}.npy").transpose(variable.axes) for n in trials]
            found[variable.name] = np.ascontiguousarray(np.stack(rows))
    return found


def _rounded(values: Array, bound: float) -> NDArray[np.float32]:
    """Return values as a store within a bound has them."""
    out = np.empty(values.shape, np.float32)
    if round_within(values, absolute(bound, values.ndim), out) is not None:
        raise RuntimeError(f"float32 does not hold all values within {bound}")
    return out


def _long_trials(tree: Path) -> list[int]:
    """Return the trials that have as many valid frames as whole trials are read with."""
    folder = tree / "data/behavior"
    numbers = sorted(int(path.stem) for path in folder.iterdir())
    return [number for number in numbers if not np.isnan(np.load(folder / f"{number}.npy")[:, VALID - 1]).any()]


def _copies(arrays: Mapping[str, Array]) -> int:
    """Return how often to write a sample, so that it is read as a recording is: not from the processor's cache."""
    return math.ceil(_COPIED / sum(array.nbytes for array in arrays.values()))


def _nbytes(shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype[Any]) -> int:
    return sum(math.prod(shape) for shape in shapes.values()) * dtype.itemsize

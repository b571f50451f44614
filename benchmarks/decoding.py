"""Read samples out of a file of chunks into batches that are used again, in the manner of a data loader."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .codings import ChunkFile

Array = NDArray[Any]
Read = Callable[[int, int, dict[str, Array], int], None]
"""Put a sample into a batch: (trial, first frame, batch, row)."""
_IN_FLIGHT = 4  # batches


@dataclass(frozen=True)
class Work:
    """What one sample is: how many frames of a trial and every how many of them, and how many samples a batch has."""

    name: str
    window: int
    stride: int
    batch: int
    batches: int

    @property
    def frames(self) -> range:
        """The frames of a sample, counted from its first."""
        return range(0, self.window, self.stride)


@dataclass(frozen=True)
class Traces:
    """How the trials of a dynamic recording lie in a file of chunks."""

    file: ChunkFile
    length: int
    chunks_per_trial: int
    frame_major: bool

    def time_first(self, name: str) -> bool:
        """Whether the frames are outermost in a chunk of a variable."""
        return self.frame_major or name == "videos"

    def read(self, work: Work, trial: int, start: int, batch: dict[str, Array], row: int) -> None:
        """Put the frames of one sample, of all variables, into a row of a batch."""
        stop = start + work.window
        for block in range(start // self.length, (stop - 1) // self.length + 1):
            low, high = max(start, block * self.length), min(stop, (block + 1) * self.length)
            low += -(low - start) % work.stride
            frames = slice(low - block * self.length, high - block * self.length, work.stride)
            count = len(range(low, high, work.stride))
            at = (low - start) // work.stride
            for name, slots in batch.items() if count else ():
                self._put(name, trial * self.chunks_per_trial + block, frames, slots[row], slice(at, at + count))

    def _put(self, name: str, number: int, frames: slice, slot: Array, place: slice) -> None:
        if not self.time_first(name):
            slot[:, place] = self.file.decoded(name, number)[:, frames]
        elif frames == slice(0, self.length, 1):
            self.file.read(name, number, slot[place])
        else:
            slot[place] = self.file.decoded(name, number)[frames]


@dataclass(frozen=True)
class Rows:
    """How the trials of a static recording, several to a chunk, lie in a file of chunks."""

    file: ChunkFile
    rows_per_chunk: dict[str, int]

    def read(self, trial: int, _: int, batch: dict[str, Array], row: int) -> None:
        """Put one trial, of all variables, into a row of a batch."""
        for name, slots in batch.items():
            number, inside = divmod(trial, self.rows_per_chunk[name])
            slots[row] = self.file.decoded(name, number)[inside]


class Slots:
    """Memory for batches, made once and used by every measurement, so that none pays for fresh pages."""

    def __init__(self, nbytes: int) -> None:
        self._memory = np.zeros(nbytes * _IN_FLIGHT, np.uint8)

    def batches(self, shapes: dict[str, tuple[int, ...]], dtype: np.dtype[Any]) -> list[dict[str, Array]]:
        """Return batches of the shapes given."""
        start, found = 0, list[dict[str, Array]]()
        for _ in range(_IN_FLIGHT):
            found.append({})
            for name, shape in shapes.items():
                found[-1][name] = np.ndarray(shape, dtype, self._memory.data, start)
                start += found[-1][name].nbytes
        return found


@dataclass(frozen=True)
class Reading:
    """How samples are drawn and read.

    Attributes
    ----------
    trials, frames
        Samples are of one of so many trials, and end before this frame.
    least
        Seconds to measure for; no epoch is cut short.
    """

    read: Read
    work: Work
    trials: int
    frames: int
    threads: int
    least: float

    def rate(self, batches: list[dict[str, Array]]) -> float:
        """Return samples a second, of the best epoch."""
        best, end = float("inf"), time.perf_counter() + self.least
        with ThreadPoolExecutor(self.threads) as pool:
            while time.perf_counter() < end:
                begun = time.perf_counter()
                self._epoch(pool, batches)
                best = min(best, time.perf_counter() - begun)
        return self.work.batch * self.work.batches / best

    def _epoch(self, pool: ThreadPoolExecutor, batches: list[dict[str, Array]]) -> None:
        rng, waiting = np.random.default_rng(0), list[list[Future[None]]]()
        limits = self.trials, self.frames - self.work.window + 1
        for number in range(self.work.batches):
            drawn = [(int(trial), int(start)) for trial, start in rng.integers(limits, size=(self.work.batch, 2))]
            batch = batches[number % _IN_FLIGHT]
            waiting.append(
                [pool.submit(self.read, trial, start, batch, row) for row, (trial, start) in enumerate(drawn)]
            )
            if len(waiting) == _IN_FLIGHT:
                _finish(waiting.pop(0))
        for futures in waiting:
            _finish(futures)


def _finish(futures: list[Future[None]]) -> None:
    for future in futures:
        future.result()

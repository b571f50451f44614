"""Statistics of a recording that does not fit in memory: tasks that read a part each, and what joins their results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...store import Argument, OptionError, Problem
from ...store.arguments import check_bytes
from ...store.cluster import Cluster
from ...store.layout import (
    OVER_FRAMES,
    OVER_PIXELS,
    OVER_TRIALS,
    STATISTIC_NAMES,
    ArrayLayout,
    Reduction,
    Variable,
)
from ...store.tasks import HERE, PROCESS_BYTES, Progress, Silent, Task, Threads, available_cores
from ..recording import Recording
from .exact_median import count_digits, median_by_bits, n_digits
from .in_memory import reduce_trials
from .parts import Part, cut, least_memory, whole
from .summary import Summary, empty, pool_parts, result_nbytes

DEFAULT_MAX_MEMORY = "1GiB"
_COUNTED_BYTES = 8 << 20
"""Bytes that a counting thread reads at once."""
_Found = tuple[Summary, Summary | None]
_T = TypeVar("_T")


def reduce_recording(
    recording: Recording,
    rows: NDArray[np.int64],
    *,
    variables: Sequence[str] | None = None,
    max_memory: int | str = DEFAULT_MAX_MEMORY,
    threads: int | None = None,
    cluster: Cluster | None = None,
    progress: Progress | None = None,
) -> dict[str, dict[Reduction, Summary]]:
    """Return the statistics of some rows, at least one; see `train_statistics`."""
    names = {recording.array(name).path for name in (recording.arrays if variables is None else variables)}
    if not names:
        raise OptionError(Problem(recording.label, "no variable is chosen", "choose at least one"))
    jobs = [job for job in _jobs(recording, rows) if job.variable.name in names]
    limit = check_bytes("max_memory", max_memory) - _fixed(jobs)
    workers = _OnCluster(cluster, limit) if cluster else _OnThreads(threads or available_cores(), limit)
    missing = max(job.least_memory for job in jobs) * workers.at_once - limit
    if missing > 0:
        what = f"the bound on memory is too low for statistics (at least {math.ceil(missing / 1e6)} MB are missing)"
        raise OptionError(Problem(recording.label, what, ("give more with ", Argument("max_memory"))))
    hears = progress or Silent()
    hears.start("statistics of", sum(job.nbytes for job in jobs), 0)
    return {job.variable.name: job.reduce(workers, hears) for job in jobs}


def needed_memory(recording: Recording, rows: NDArray[np.int64], at_once: int = 1) -> int:
    """Return the bytes below which the statistics of some rows cannot be computed, so many parts of them at once."""
    jobs = _jobs(recording, rows)
    return _fixed(jobs) + at_once * max(job.least_memory for job in jobs)


def _jobs(recording: Recording, rows: NDArray[np.int64]) -> list[_Job]:
    # Zeros that stand in place of responses are no responses, and trials may lack an optional variable.
    return [_Job(recording, one, recording.given(one.name, rows)) for one in recording.variables]


def _fixed(jobs: Sequence[_Job]) -> int:
    """Return the bytes of Python itself and of all results."""
    return PROCESS_BYTES + sum(result_nbytes(job.array.shape[1:], job.array.numpy_dtype) for job in jobs)


class _Reducer(Protocol):
    """How the work on a part is divided, within a bound on memory."""

    @property
    def at_once(self) -> int:
        """How many pieces are in the memory of a process at the same time, at least."""
        ...

    def reduce(self, part: Part) -> Iterator[tuple[Part, _Found]]:
        """Cut the part along its places, and yield each piece with its statistics."""
        ...

    def count(self, part: Part, depth: int, prefix: int) -> NDArray[np.int64]:
        """Count digits of all numbers; see `count_digits`."""
        ...


class _OnThreads:
    """Threads of this process: all work on one piece after another, which may take all the memory there is."""

    def __init__(self, threads: int, limit: int) -> None:
        self._threads, self._limit, self.at_once = threads, limit, 1

    def reduce(self, part: Part) -> Iterator[tuple[Part, _Found]]:
        # What threads hold for themselves is half of the memory at most, and leaves enough for one place.
        scratch = part.scratch_nbytes
        spare = (self._limit - least_memory(part)) // scratch
        threads = _threads(min(self._threads, self._limit // 2 // scratch, 1 + spare))
        pieces = cut(part, self._limit, max(1, threads.count))
        # One piece after another in the same memory: to touch fresh memory takes as long as to decode into it.
        memory = np.empty(max(piece.size for piece in pieces), part.array.numpy_dtype)
        with threads.started() as started:
            for piece in pieces:
                yield piece, _reduce_part(piece, started, memory)

    def count(self, part: Part, depth: int, prefix: int) -> NDArray[np.int64]:
        threads = _threads(min(self._threads, self._limit // (2 * _COUNTED_BYTES)))
        return np.sum(threads.run(_counting(part, threads.parts, depth, prefix)), axis=0)


class _OnCluster:
    """A dask.distributed cluster: each thread of its workers takes pieces of its own."""

    def __init__(self, cluster: Cluster, limit: int) -> None:
        self._cluster, self._threads = cluster, max(1, sum(cluster.nthreads().values()))
        self.at_once = cluster.most_threads
        self._share = limit // self.at_once

    def reduce(self, part: Part) -> Iterator[tuple[Part, _Found]]:
        pieces = cut(part, self._share, 1, self._threads)
        return zip(pieces, self._run(part, [partial(_reduce_part, piece) for piece in pieces]), strict=True)

    def count(self, part: Part, depth: int, prefix: int) -> NDArray[np.int64]:
        return np.sum(self._run(part, _counting(part, self._threads, depth, prefix)), axis=0)

    def _run(self, part: Part, tasks: Sequence[Task[_T]]) -> list[_T]:
        name = f"{part.place.root}: statistics of {part.variable.name}"
        return self._cluster.run(tasks, names=[name] * len(tasks))


@dataclass(frozen=True)
class _Job:
    """The statistics of one variable, over some rows."""

    recording: Recording
    variable: Variable
    rows: NDArray[np.int64]

    @property
    def array(self) -> ArrayLayout:
        return self.recording.arrays[self.variable.name]

    @property
    def nbytes(self) -> int:
        """Bytes to be decoded, in all passes."""
        passes = 1 + (n_digits(self.array.numpy_dtype) if OVER_PIXELS in self.variable.reductions else 0)
        return passes * self._whole.nbytes if self.rows.size else 0

    @property
    def least_memory(self) -> int:
        """Bytes that reducing a part takes at least."""
        return least_memory(self._whole) if self.rows.size else 0

    def reduce(self, workers: _Reducer, progress: Progress) -> dict[Reduction, Summary]:
        """Compute the statistics, part by part."""
        results: dict[Reduction, Summary] = {
            name: empty(self._shape(kept), self.array.numpy_dtype) for name, kept in self._reductions()
        }
        if self.rows.size:
            for part, found in workers.reduce(self._whole):
                _place(part, found, results)
                progress.advance(part.nbytes, 0)
            if OVER_PIXELS in results:
                results[OVER_PIXELS] = self._over_pixels(results[OVER_TRIALS], workers, progress)
        return results

    def _over_pixels(self, over_trials: Summary, workers: _Reducer, progress: Progress) -> Summary:
        # Mostly there is one pass for each digit; further passes are not foreseen.
        steps = iter([self._whole.nbytes] * n_digits(self.array.numpy_dtype))

        def histogram(depth: int, prefix: int) -> NDArray[np.int64]:
            counts = workers.count(self._whole, depth, prefix)
            progress.advance(next(steps, 0), 0)
            return counts

        median = median_by_bits(self.array.numpy_dtype, int(over_trials.count.sum()), histogram)
        progress.advance(sum(steps), 0)
        return pool_parts(over_trials, tuple(range(over_trials.count.ndim)), np.array(median))

    @property
    def _whole(self) -> Part:
        return whole(self.recording, self.variable, self.rows)

    def _reductions(self) -> Iterable[tuple[Reduction, tuple[str, ...]]]:
        return self.variable.reductions.items()

    def _shape(self, kept: tuple[str, ...]) -> tuple[int, ...]:
        sizes = dict(zip(self.variable.dimensions, self.array.shape[1:], strict=True))
        return tuple(sizes[name] for name in kept)


def _threads(count: int) -> Threads:
    """Return so many threads; instead of one, or where memory allows none, the calling thread."""
    return Threads(count, "trialpack-statistics") if count > 1 else HERE


def _reduce_part(part: Part, threads: Threads = HERE, memory: NDArray[Any] | None = None) -> _Found:
    frames = part.variable.frame_axis is not None
    return reduce_trials(part.read(threads, memory), frames=frames, lengths=part.n_frames, threads=threads)


def _place(part: Part, found: _Found, results: dict[Reduction, Summary]) -> None:
    """Put the statistics of a part where they belong among the results."""
    (over_trials, over_frames), axis = found, part.variable.frame_axis
    for name in STATISTIC_NAMES:
        values = getattr(over_trials, name)
        getattr(results[OVER_TRIALS], name)[part.places] = values if axis is None else np.moveaxis(values, -1, axis)
        if over_frames is not None and axis is not None:
            places = part.places[:axis] + part.places[axis + 1 :]
            getattr(results[OVER_FRAMES], name)[places] = getattr(over_frames, name)


def _counting(part: Part, tasks: int, depth: int, prefix: int) -> list[partial[NDArray[np.int64]]]:
    return [partial(_count_part, one, depth, prefix) for one in part.by_rows(tasks)]


def _count_part(part: Part, depth: int, prefix: int) -> NDArray[np.int64]:
    pieces = part.by_rows(math.ceil(part.nbytes / _COUNTED_BYTES))
    counts = count_digits(pieces[0].read(), depth, prefix)
    for piece in pieces[1:]:
        counts += count_digits(piece.read(), depth, prefix)
    return counts

"""Run tasks, in bounded memory: in the calling thread, or on threads of this process; see `cluster` for others.

Threads are enough on one machine: reading, compression, checksums and digests release the GIL, memory is shared, and
nothing has to be started. They end with the run: a process that is forked later inherits no pool without threads.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar, cast, runtime_checkable

from .errors import TrialpackError

_TASKS_PER_THREAD = 4
"""Tasks for each thread, so that no thread waits long for the others at the end."""
_T = TypeVar("_T")
Task = Callable[[], _T]
"""Call without arguments; picklable where it is to run on a cluster."""


def available_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not of every system, nor in every container
        return os.cpu_count() or 1


def _ignore(place: int) -> None:
    """Do nothing about a task that returned."""


def available_memory() -> int | None:
    """Return the bytes of memory that the system can give, its caches included; None where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            facts = dict(line.split(":") for line in file)
        return int(facts["MemAvailable"].removesuffix("kB\n")) * 1024
    except (OSError, ValueError, KeyError):  # of Linux only
        return None


class Workers(ABC):
    """A place where tasks run."""

    @abstractmethod
    def completed(self, tasks: Iterable[Task[_T]], names: Sequence[str] = ()) -> Generator[tuple[int, Task[_T]]]:
        """Yield the place of each task among all, with a call that returns its result or raises its error.

        Parameters
        ----------
        names
            What each task is about, for the error that it was lost.

        Notes
        -----
        Tasks come as they complete. Closing the generator cancels those that have not started.
        """
        ...

    def run(
        self, tasks: Iterable[Task[_T]], finished: Callable[[int], object] = _ignore, names: Sequence[str] = ()
    ) -> list[_T]:
        """Run tasks and return their results in order.

        Parameters
        ----------
        finished
            Called, in the calling thread, with the place of each task that returned.
        names
            As in `completed`.

        Raises
        ------
        Exception
            The first error of any task; tasks that have not started are cancelled.
        """
        found, result = dict[int, _T](), None
        try:
            with closing(self.completed(tasks, names)) as completed:
                for place, result in completed:
                    found[place] = result()
                    finished(place)
        finally:
            # An error holds this frame; if the frame held the error, both would live until the next garbage collection.
            result = None
        return [found[place] for place in sorted(found)]

    def run_all(
        self,
        tasks: Iterable[Task[_T]],
        kind: type[TrialpackError],
        finished: Callable[[int], object] = _ignore,
        names: Sequence[str] = (),
    ) -> list[_T]:
        """Run tasks to the last, whatever problems some of them find, and return their results in order.

        Parameters
        ----------
        kind
            Type of the errors whose problems are collected.
        finished
            Called, in the calling thread, with the place of each task that returned or found problems.
        names
            As in `completed`.

        Raises
        ------
        TrialpackError
            Of that type, with the problems of all tasks, ordered by trial and file.
        Exception
            The first other error of any task; tasks that have not started are cancelled.
        """
        found = self.run((partial(_caught, task, kind) for task in tasks), finished, names)
        problems = [problem for one in found if isinstance(one, kind) for problem in one.problems]
        if problems:
            raise kind(sorted(problems, key=lambda problem: (problem.trial or 0, problem.member or "")))
        return cast("list[_T]", found)


@dataclass(frozen=True)
class Threads(Workers):
    """Threads of this process, which work on the same memory.

    Attributes
    ----------
    count
        Number of threads; 0 for the calling thread.
    name
        Start of the names of the threads.
    """

    count: int
    name: str = "trialpack"

    def completed(self, tasks: Iterable[Task[_T]], names: Sequence[str] = ()) -> Generator[tuple[int, Task[_T]]]:
        """Yield the place of each task with what returns its result; in the calling thread, that is the task itself."""
        if self.count == 0:
            yield from enumerate(tasks)
            return
        with self.executor() as executor:
            yield from _completed(executor, tasks)

    @contextmanager
    def executor(self) -> Generator[Executor]:
        """Start the threads; when left, drop what has not started and wait for the rest."""
        executor, process = ThreadPoolExecutor(self.count, self.name), os.getpid()
        try:
            yield executor
        finally:
            # In a fork there are no threads to wait for.
            if os.getpid() == process:
                executor.shutdown(cancel_futures=True)

    @contextmanager
    def started(self) -> Generator[Threads]:
        """Yield the same threads, started once for several runs: what one run has freed, the next one uses again."""
        if self.count == 0:
            yield self
            return
        with self.executor() as executor:
            yield _StartedThreads(self.count, self.name, running=executor)

    @property
    def parts(self) -> int:
        """Number of tasks into which work is best divided."""
        return 1 if self.count < 2 else _TASKS_PER_THREAD * self.count

    def split(self, n: int) -> list[slice]:
        """Cut a range into parts of about equal size, one for each task."""
        parts = min(n, self.parts)
        return [slice(n * i // parts, n * (i + 1) // parts) for i in range(parts)]


@dataclass(frozen=True)
class _StartedThreads(Threads):
    """Threads that are running already."""

    running: Executor = field(kw_only=True)

    def completed(self, tasks: Iterable[Task[_T]], names: Sequence[str] = ()) -> Generator[tuple[int, Task[_T]]]:
        return _completed(self.running, tasks)


HERE = Threads(0)
"""The calling thread."""


def _completed(executor: Executor, tasks: Iterable[Task[_T]]) -> Generator[tuple[int, Task[_T]]]:
    futures = {executor.submit(task): place for place, task in enumerate(tasks)}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result
    finally:
        for future in futures:
            future.cancel()


def _caught(task: Task[_T], kind: type[TrialpackError]) -> _T | TrialpackError:
    """Return the result of a task, or the problems that it found."""
    try:
        return task()
    except kind as error:
        return error


@runtime_checkable
class Progress(Protocol):
    """Listener to long work; `advance` is called from any thread."""

    def start(self, phase: str, nbytes: int, files: int) -> None:
        """Begin a phase, which is to advance by this many bytes and files."""
        ...

    def advance(self, nbytes: int, files: int) -> None:
        """Count further bytes and files as done."""
        ...


class Silent:
    """Progress without a listener."""

    def start(self, phase: str, nbytes: int, files: int) -> None:
        """Do nothing."""

    def advance(self, nbytes: int, files: int) -> None:
        """Do nothing."""


PROCESS_BYTES = 160_000_000
"""What Python and its modules take before any data: part of every bound on memory."""

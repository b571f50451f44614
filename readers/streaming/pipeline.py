"""Batches, read ahead by threads, in order."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from numpy.typing import NDArray

from ...store import Problem, TrialpackError
from ...store.ahead import Range
from ...store.objects import Requests
from ...store.tasks import Threads
from ..direct import Scratch, Tally
from ..sampling import BatchPlan
from .budget import Budget
from .buffers import BufferPool
from .coming import Coming
from .mouse_stream import MouseStream

_IDLE = 0.05
"""A consumer that waits for less than this share of the time is what limits."""


@dataclass
class StreamStats:
    """What an epoch took so far.

    Attributes
    ----------
    batches, samples
        Number of batches, and of samples, that the consumer got.
    seconds
        Since the epoch began, until its last batch was handed out.
    waited
        Seconds in which the consumer waited for a batch.
    tally
        What reading took, in all threads: bytes read from files and decoded, seconds in reads, in checksums and
        decoders, and in copies (conversion and normalization too). Batches that are read ahead count as they are
        handed out.
    requests
        What requests to an object store took: how many there were (`made`), how many of those because one had failed
        (`again`), and the bytes that came (`nbytes`). They count with the last batch that needed them.
    threads
        Number of threads that read.
    transform_seconds
        In the loader's `transform`, where a thread calls it.
    """

    threads: int = 1
    batches: int = 0
    samples: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    tally: Tally = field(default_factory=Tally)
    transform_seconds: float = 0.0
    requests: Requests = field(default_factory=Requests)

    @property
    def samples_per_second(self) -> float:
        """Samples that the consumer got in a second."""
        return self.samples / self.seconds if self.seconds else 0.0

    @property
    def bottleneck(self) -> str:
        """What limits: ``consumer``, or what is `slowest`."""
        return "consumer" if self.waited <= _IDLE * self.seconds else self.slowest

    @property
    def slowest(self) -> str:
        """What threads do the longest: ``disk``, ``decoding``, ``copying`` or ``transform``.

        In place of the disk it is ``store``, where threads wait for what was asked of an object store.
        """
        steps = {
            "store" if self.requests.made else "disk": self.tally.read_seconds,
            "decoding": self.tally.decode_seconds,
            "copying": self.tally.copy_seconds,
            # By one thread.
            "transform": self.transform_seconds * self.threads,
        }
        return max(steps, key=lambda name: steps[name])

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        from ..tables import html_table

        facts = {
            "batches": self.batches,
            "samples": self.samples,
            "samples a second": f"{self.samples_per_second:.1f}",
            "seconds": f"{self.seconds:.2f}",
            "seconds waited": f"{self.waited:.2f}",
            "MB read": f"{self.tally.bytes_read / 1e6:.1f}",
            "MB decoded": f"{self.tally.bytes_decoded / 1e6:.1f}",
            "limited by": self.bottleneck,
        }
        return html_table("Stream", ["what", "how much"], facts.items())

    def __str__(self) -> str:
        """Return a one-line summary."""
        read, decoded = (nbytes / 1e6 for nbytes in (self.tally.bytes_read, self.tally.bytes_decoded))
        return (
            f"{self.samples} samples in {self.seconds:.2f} s, {self.samples_per_second:.0f} a second; {read:.0f} MB "
            f"read, {decoded:.0f} MB decoded; waited {self.waited:.2f} s; {self._asked}{LIMITS[self.bottleneck]}"
        )

    @property
    def _asked(self) -> str:
        again = f" ({self.requests.again} made again)" if self.requests.again else ""
        return f"{self.requests.made} requests{again}; " if self.requests.made else ""


LIMITS = {
    "consumer": "limited by the consumer",
    "disk": "limited by the reading of files",
    "store": "waiting for the store",
    "decoding": "limited by the decoding of chunks",
    "copying": "limited by the copying into batches",
    "transform": "limited by the transform",
}


_ADVICE = (
    "a TrialLoader has threads of its own: make it in the process that uses it; with torch's DataLoader, "
    "num_workers=0 and batch_size=None"
)


class ForkedError(TrialpackError, RuntimeError):
    """A loader is used in a process that was forked since it was made."""


class Process:
    """Remembers in which process it was made."""

    def __init__(self) -> None:
        self._number = os.getpid()

    def check(self) -> None:
        """Check that this is still the same process.

        Raises
        ------
        ForkedError
            It is a fork of it.
        """
        if os.getpid() != self._number:
            what = f"made in process {self._number}, used in its fork {os.getpid()}"
            raise ForkedError(Problem("TrialLoader", what, _ADVICE))


Array = NDArray[Any]
_TASKS_PER_THREAD = 4
"""Tasks of one batch for each thread, so that no thread waits long for the others at the end of an epoch."""


@dataclass(frozen=True)
class Filled:
    """A batch that was read: its plan, and its arrays with the axes as they lie in memory."""

    plan: BatchPlan
    stream: MouseStream
    arrays: dict[str, Array]


@dataclass(frozen=True)
class Pipeline:
    """Threads that fill slots.

    Attributes
    ----------
    streams
        One for each mouse.
    ring
        Where slots come from.
    threads
        How many read.
    budget
        What memory is spent on, such as how many batches are read before they are asked for.
    in_flight
        How many requests to an object store are made at the same time.
    """

    streams: Sequence[MouseStream]
    ring: BufferPool
    threads: int
    budget: Budget
    in_flight: int

    def run(self, plans: Iterator[BatchPlan], stats: StreamStats) -> Generator[Filled]:
        """Yield batches in the order of their plans.

        Raises
        ------
        CorruptStoreError
            What a batch needs is damaged.
        ForkedError
            The process was forked since.

        Notes
        -----
        Closing the generator, or an error, ends all threads before it returns. Whoever takes a batch owns it: nothing
        here refers to it any more.
        """
        process, pending = Process(), deque[_Pending]()
        with (
            closing(Coming(self.streams, plans, self.budget.shards_nbytes)) as coming,
            self._counted(pending),
            Threads(self.threads).executor() as executor,
            Threads(self.in_flight).executor() as requests,
        ):
            submit = _Submit(executor)
            while True:
                while len(pending) < self.budget.ahead and (one := coming.take(requests, ahead=bool(pending))):
                    pending.append(self._start(submit, *one))
                if not pending:
                    return
                begun = time.perf_counter()
                for future in pending[0].tasks:
                    stats.tally.add(future.result())
                stats.waited += time.perf_counter() - begun
                filled = [self._let_go(pending.popleft(), stats)]
                self.ring.hand_out()
                if one := coming.take(requests, ahead=bool(pending)):
                    pending.append(self._start(submit, *one))
                yield filled.pop()
                process.check()

    @contextmanager
    def _counted(self, pending: deque[Any]) -> Generator[None]:
        """Let go, at the end, of the slots that nobody will get."""
        try:
            yield
        finally:
            self.ring.hand_out(len(pending))
            for one in pending:
                one.filled.stream.release(one.ranges)
            pending.clear()

    def _start(self, submit: _Submit, plan: BatchPlan, ranges: list[Range]) -> _Pending:
        stream = self.streams[plan.mouse]
        arrays = stream.carve(self.ring.take(), plan)
        parts = stream.tasks(plan, _TASKS_PER_THREAD * self.threads)
        tasks = [submit(partial(stream.read, plan, part, arrays)) for part in parts]
        return _Pending(Filled(plan, stream, arrays), tasks, ranges)

    def _let_go(self, one: _Pending, stats: StreamStats) -> Filled:
        """Return the batch, and let go of the bytes that it was made of."""
        stats.requests.add(one.filled.stream.release(one.ranges))
        return one.filled


@dataclass(frozen=True)
class _Pending:
    """A batch that is being read: the tasks that read it, and what they need that was asked for."""

    filled: Filled
    tasks: list[Future[Tally]]
    ranges: list[Range]


class _Submit:
    """Runs tasks in threads, each with the scratch of its thread."""

    def __init__(self, executor: Executor) -> None:
        self._executor, self._local = executor, threading.local()

    def __call__(self, task: Any) -> Future[Tally]:
        return self._executor.submit(self._run, task)

    def _run(self, task: Any) -> Tally:
        if not hasattr(self._local, "scratch"):
            self._local.scratch = Scratch()
        return task(self._local.scratch)

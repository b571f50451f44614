"""Where tasks run: threads of this process, or a dask.distributed cluster; both through dask."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import dask
from dask.callbacks import Callback


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Workers:
    """Threads that run tasks.

    Attributes
    ----------
    threads
        In all.
    per_process
        Of one process, which share its memory.
    client
        Of a dask.distributed cluster; None for this process.
    """

    threads: int
    per_process: int
    client: Any = None

    def run(self, tasks: Sequence[partial[Any]], done: Callable[[], object]) -> list[Any]:
        """Run tasks and return their results in order; the first error ends the run.

        Parameters
        ----------
        done
            Called after each task.
        """
        # A call without arguments: dask looks into arguments, and would take dataclasses apart.
        calls = [cast(Any, dask).delayed(task, pure=False)() for task in tasks]
        if self.client is None:
            with cast(Any, Callback)(posttask=partial(_call, done)):
                return list(cast(Any, dask).compute(*calls, scheduler="threads", num_workers=self.threads))
        futures = self.client.compute(calls)
        for future in futures:
            future.add_done_callback(partial(_call, done))
        return list(self.client.gather(futures))


def _call(done: Callable[[], object], *_: object) -> None:
    done()


def workers(client: Any, threads: int | None) -> Workers:
    """Return the threads of a cluster, or of this process: one a core unless told."""
    if client is None:
        count = threads or available_cores()
        return Workers(count, count)
    counts = list(client.nthreads().values()) or [1]
    return Workers(sum(counts), max(counts), client)

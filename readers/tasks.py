"""Where tasks run: threads of this process, or a dask.distributed cluster; both through dask."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import dask

Task = Callable[[], Any]
_TASKS_PER_THREAD = 4
"""So that no thread waits long for the others at the end."""


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Team:
    """Threads of this process that work on the same memory."""

    threads: int = 1

    def run(self, tasks: Sequence[Task]) -> list[Any]:
        """Run tasks and return their results in order; the first error ends the run."""
        if self.threads == 1:
            return [task() for task in tasks]
        return list(cast(Any, dask).compute(*_delayed(tasks), scheduler="threads", num_workers=self.threads))

    def split(self, n: int) -> list[slice]:
        """Cut a range into as many parts of about equal size as make good tasks."""
        parts = min(n, self.tasks)
        return [slice(n * i // parts, n * (i + 1) // parts) for i in range(parts)]

    @property
    def tasks(self) -> int:
        """How many tasks make good use of the threads."""
        return 1 if self.threads == 1 else _TASKS_PER_THREAD * self.threads


ALONE = Team()
"""The calling thread."""


def run_on_cluster(client: Any, tasks: Sequence[Task]) -> list[Any]:
    """Run tasks on a dask.distributed cluster and return their results in order."""
    return list(client.gather(client.compute(_delayed(tasks))))


def _delayed(tasks: Sequence[Task]) -> list[Any]:
    # A call without arguments: dask looks into arguments, and would take dataclasses apart.
    return [cast(Any, dask).delayed(task, pure=False)() for task in tasks]

"""What bounds any stream: copying out of memory that holds all trials, for ``python -m benchmarks stream``."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from .workloads import DYNAMIC, IDS, START, VALID, Array, Batch, Reader, Task, Workload, published

SLOTS = 3
"""Batches that are written in turn, so that they are not in the processor's cache when they are written again."""


class Copying(Reader):
    """Copy from one numpy array a variable into reused batches, with ``threads`` threads."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.arrays: dict[str, Array] = {}
        self.slots = itertools.cycle(list[dict[str, Array]]())
        self.threads: int = task.options["threads"]
        self.pool = ThreadPoolExecutor(self.threads)

    def make(self) -> None:
        """Load everything."""
        self.arrays = loaded(self.task)
        shapes = {name: _sample_shape(name, values, self.workload) for name, values in self.arrays.items()}
        made = [
            {name: np.zeros((self.workload.batch, *shape), np.float32) for name, shape in shapes.items()}
            for _ in range(SLOTS)
        ]
        self.slots = itertools.cycle(made)

    def epoch(self) -> Iterator[Batch]:
        """Copy row by row; a thread takes every second, or so, of a batch."""
        for (rows, starts), slot in zip(self.batches(), self.slots, strict=False):
            samples = list(zip(range(len(rows)), rows, starts, strict=True))
            if self.threads == 1:
                self._copy(samples, slot)
            else:
                parts = [samples[first :: self.threads] for first in range(self.threads)]
                list(self.pool.map(self._copy, parts, itertools.repeat(slot)))
            yield {**{name: values[: len(rows)] for name, values in slot.items()}, IDS: self.ids(rows), START: starts}

    def _copy(self, samples: list[tuple[int, int, int]], slot: dict[str, Array]) -> None:
        for name, values in self.arrays.items():
            target = slot[name]
            for place, row, start in samples:
                target[place] = _cut(name, values[row], self.workload, start)


class Selecting(Reader):
    """`index_select` from one torch tensor a variable: what users do with a data set that fits into memory."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.torch: Any = importlib.import_module("torch")
        self.tensors: dict[str, Any] = {}

    def make(self) -> None:
        """Load everything."""
        self.tensors = {name: self.torch.from_numpy(values) for name, values in loaded(self.task).items()}

    def epoch(self) -> Iterator[Batch]:
        """Select each batch's rows."""
        for rows, _ in self.batches():
            index = self.torch.tensor(rows)
            batch = {name: values.index_select(0, index) for name, values in self.tensors.items()}
            yield {**batch, IDS: self.ids(rows)}


def loaded(task: Task) -> dict[str, Array]:
    """Return all trials, cut at their valid length, as one array a variable."""
    whole = Workload(1, VALID if task.workload.names == DYNAMIC else None)
    arrays: dict[str, Array] = {}
    for row, trial in enumerate(task.trial_ids):
        for name, values in published(Path(task.tree), whole, trial, 0).items():
            if name not in arrays:
                arrays[name] = np.empty((len(task.trial_ids), *values.shape), np.float32)
            arrays[name][row] = values
    return arrays


def _cut(name: str, trial: Array, workload: Workload, start: int) -> Array:
    if workload.whole:
        return trial
    return trial[workload.cut(start)] if name == "videos" else trial[:, workload.cut(start)]


def _sample_shape(name: str, values: Array, workload: Workload) -> tuple[int, ...]:
    return _cut(name, values[0], workload, 0).shape

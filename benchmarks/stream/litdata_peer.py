"""litData, for ``python -m benchmarks stream``: its own chunks, in the best setting found."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .workloads import IDS, START, VALID, VIDEOS, Batch, Reader, Task, Workload, published

CHUNK = "64MB"


class LitData(Reader):
    """A StreamingDataset of torch tensors, float32, time first in videos, the valid frames only.

    Nothing is compressed or checked; chunks are mapped into memory, and a sample is a view of them until the batch is
    put together. ``batch_decode=0`` and ``item_shuffle_window=0`` are faster here than the default, and shuffle better.
    Windows are cut by its ``transform``, as views.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.library: Any = importlib.import_module("litdata")
        self.loading: Any = importlib.import_module("torch.utils.data")
        self.loader: Any = None

    def build(self) -> None:
        """Write its chunks."""
        load = partial(_load, self.task.tree, self.workload)
        ids = list(self.task.trial_ids)
        self.library.optimize(load, ids, self.task.path, chunk_bytes=CHUNK, num_workers=1, verbose=False)

    def make(self) -> None:
        """Make data set and DataLoader."""
        made = self.library.StreamingDataset(
            self.task.path, shuffle=True, drop_last=False, batch_decode=0, item_shuffle_window=0,
            transform=None if self.workload.whole else self._window,
        )  # fmt: skip
        workers: int = self.task.options.get("workers", 0)
        self.loader = self.loading.DataLoader(
            made, batch_size=self.workload.batch, num_workers=workers, persistent_workers=workers > 0
        )

    def epoch(self) -> Iterator[Batch]:
        """Give the DataLoader's own batches."""
        return iter(self.loader)

    def _window(self, sample: dict[str, Any]) -> dict[str, Any]:
        start = self.workload.draw(self.random, 1)[0]
        frames = self.workload.cut(start)
        cut = {name: sample[name][:, frames] for name in self.workload.names if name != VIDEOS}
        return {VIDEOS: sample[VIDEOS][frames], **cut, IDS: sample[IDS], START: start}


def _load(tree: str, workload: Workload, trial: int) -> dict[str, Any]:
    """Return one trial as it is stored; runs in the processes of litData."""
    torch: Any = importlib.import_module("torch")
    whole = Workload(1, None if workload.frames is None else VALID)
    sample = published(Path(tree), whole, trial, 0)
    return {**{name: torch.from_numpy(np.ascontiguousarray(found)) for name, found in sample.items()}, IDS: trial}

"""trialpack's own stream, for ``python -m benchmarks stream``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from .workloads import Batch, Reader, Task


class Ours(Reader):
    """`TrialLoader`, with ``options`` passed on; the mouse is open beforehand, or all mice of a folder."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        options = dict(task.options)
        if options.get("output") != "numpy":
            importlib.import_module("torch")
        trialpack: Any = importlib.import_module("trialpack")
        several = options.pop("several", False)
        self.kind, self.mice = (
            trialpack.TrialLoader,
            (trialpack.open_mice if several else trialpack.open_mouse)(task.path),
        )
        self.options = {"tier": "train", "batch_size": self.workload.batch, "shuffle": True, **options}
        if not self.workload.whole:
            self.options |= {"window": self.workload.frames, "stride": self.workload.stride}
        self.loader: Any = None

    def make(self) -> None:
        """Make the loader."""
        self.loader = self.kind(self.mice, **self.options)

    def epoch(self) -> Iterator[Batch]:
        """Give the loader's own batches."""
        return iter(self.loader)

    def released(self) -> float:
        """Return the seconds that it counts itself."""
        tally = self.loader.stats.tally
        return tally.read_seconds + tally.decode_seconds + tally.copy_seconds

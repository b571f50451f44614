"""What a loader will do, told before it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..sampling import BatchPlan, ShuffleQuality, shuffle_quality
from .budget import Budget
from .pipeline import LIMITS, Pipeline, StreamStats

_MB = 1e6


@dataclass(frozen=True)
class Description:
    """What `TrialLoader.describe` returns; printed, some lines of text.

    Attributes
    ----------
    mice
        How many.
    batches, samples
        Of the next epoch, of this process.
    nbytes
        Bytes of all these batches.
    budget
        What memory is spent on.
    whole
        Whether everything is kept, so that later epochs read no files.
    probe
        What the first batches of the epoch took, asked for as fast as they came; None if none were read.
    quality
        How well the samples of shards are mixed.
    """

    mice: int
    batches: int
    samples: int
    nbytes: int
    budget: Budget
    whole: bool
    probe: StreamStats | None
    quality: ShuffleQuality

    @property
    def samples_per_second(self) -> float | None:
        """Samples a second that a consumer can get until all that is kept was read; None without a probe."""
        return self.probe and self.probe.samples_per_second

    @property
    def limit(self) -> str | None:
        """What limits that: disk, decoding or copying, or transform; None without a probe."""
        return self.probe and self.probe.slowest

    def __str__(self) -> str:
        """Return a summary of some lines."""
        budget = self.budget
        each = (self.nbytes, budget.held_nbytes, budget.kept_nbytes, budget.shards_nbytes, budget.slot_nbytes)
        every, held, kept, shards, slot = (nbytes / _MB for nbytes in each)
        kept_text = f"{kept:.0f} MB kept" + (f", {shards:.0f} MB of shards" if shards else "")
        lines = [
            f"epoch: {self.samples} samples of {self.mice} mice in {self.batches} batches, {every:.0f} MB",
            f"memory: {held:.0f} MB in any case, {kept_text}, {budget.ahead} batches ahead of {slot:.1f} MB",
            f"kept: {self._kept()}",
            f"order: {self.quality}",
        ]
        if self.probe is not None and self.limit is not None:
            rate = f"{self.samples_per_second:.0f} samples a second in the first {self.probe.batches} batches"
            lines.append(f"expected: {rate}, {LIMITS[self.limit]}")
        return "\n".join(lines)

    def _kept(self) -> str:
        if self.whole:
            return "everything, so that later epochs read no files"
        counts = {name: sum(name in kept for kept in self.budget.kept) for kept in self.budget.kept for name in kept}
        return ", ".join(f"{name} of {count} mice" for name, count in sorted(counts.items())) or "nothing"


def describe(pipeline: Pipeline, plans: Sequence[BatchPlan], probe: StreamStats | None) -> Description:
    """Return what the batches of an epoch take."""
    streams, budget = pipeline.streams, pipeline.budget
    nbytes = sum(streams[plan.mouse].slot_nbytes(len(plan), plan.frames) for plan in plans)
    whole = all(set(kept) == set(stream.names) for kept, stream in zip(budget.kept, streams, strict=True))
    shards = [list[NDArray[np.int64]]() for _ in streams]
    for plan in plans:
        shards[plan.mouse].append(streams[plan.mouse].shards(plan))
    quality = shuffle_quality(shards)
    return Description(len(streams), len(plans), sum(map(len, plans)), nbytes, budget, whole, probe, quality)

"""Which samples of one mouse form a batch, in what order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import random_numbers
from .windows import Samples, Trials, Windows

_ORDER, _STARTS = 0, 1  # what random numbers are for


@dataclass(frozen=True)
class BatchPlan:
    """One batch before it is read.

    Attributes
    ----------
    mouse
        Which of the mice.
    rows
        (B,) int64, rows of its store.
    starts
        (B,) int64, the first frame of each sample.
    frames
        Frames of every sample; zero without frames.
    stride
        Every how many frames of the recording one is taken.
    """

    mouse: int
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    frames: int
    stride: int

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.rows)


@dataclass(frozen=True)
class MouseBatches:
    """The batches of one mouse, one pass after another.

    Attributes
    ----------
    mouse
        Which of the mice.
    shuffle
        Whether the order is random; ascending rows otherwise.
    drop_last
        Leave out batches with fewer samples.
    """

    mouse: int
    trials: Trials
    windows: Windows
    batch_size: int
    shuffle: bool
    drop_last: bool

    def __len__(self) -> int:
        """Return the number of batches of a pass."""
        _, counts = np.unique(self.windows.lengths(self.trials), return_counts=True)
        return int(
            sum(count // self.batch_size if self.drop_last else -(-count // self.batch_size) for count in counts)
        )

    def one_pass(self, *key: int) -> list[BatchPlan]:
        """Return the batches of a pass through all samples.

        Parameters
        ----------
        *key
            What the order and random starts depend on, besides the mouse.

        Notes
        -----
        All samples of a batch have the same number of frames. Where trials differ in length, each length has batches
        of its own, which stand where the first of their samples stands in the order of all.
        """
        key = (*key, self.mouse)
        samples = self.windows.samples(self.trials, _STARTS, *key)
        order = random_numbers.permutation(len(samples), _ORDER, *key) if self.shuffle else np.arange(len(samples))
        frames = samples.frames[order]
        found = list[NDArray[np.int64]]()
        for length in np.unique(frames):
            places = np.flatnonzero(frames == length)
            found += [places[first : first + self.batch_size] for first in range(0, len(places), self.batch_size)]
        kept = [places for places in found if len(places) == self.batch_size or not self.drop_last]
        return [self._plan(samples, order[places]) for places in sorted(kept, key=lambda places: int(places[0]))]

    def _plan(self, samples: Samples, chosen: NDArray[np.int64]) -> BatchPlan:
        frames = int(samples.frames[chosen[0]])
        return BatchPlan(self.mouse, samples.rows[chosen], samples.starts[chosen], frames, self.windows.stride)

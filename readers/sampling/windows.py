"""What a sample is: a whole trial, or a window of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...store import OptionError, Problem


def raw(n: int, *key: int) -> NDArray[np.uint64]:
    """Return (n,) uniform 64-bit numbers that depend on the key only."""
    return np.random.PCG64(np.random.SeedSequence(key)).random_raw(n)


def permutation(n: int, *key: int) -> NDArray[np.int64]:
    """Return (n,) the numbers below n in a random order that depends on the key only."""
    return np.argsort(raw(n, *key), kind="stable")


def uniform(n: int, *key: int) -> NDArray[np.float64]:
    """Return (n,) numbers in [0, 1) that depend on the key only."""
    return np.ldexp(raw(n, *key) >> np.uint64(11), -53)


def below(limits: NDArray[np.int64], *key: int) -> NDArray[np.int64]:
    """Return, for each limit, a whole number at least zero and less than it."""
    return (uniform(len(limits), *key) * limits).astype(np.int64)


WindowChoice = Literal["random", "every", "phases"]


@dataclass(frozen=True)
class Trials:
    """The trials of one mouse that samples are drawn from.

    Attributes
    ----------
    label
        The store, for messages.
    rows
        (n,) int64, each once, in the order of a pass that is not shuffled.
    trial_ids
        (n,) int64, for messages.
    n_frames
        (n,) int64, valid frames of each; None without frames.
    """

    label: str
    rows: NDArray[np.int64]
    trial_ids: NDArray[np.int64]
    n_frames: NDArray[np.int64] | None

    def places(self, trial_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where trials are among these; -1 for those that are not."""
        order = np.argsort(self.trial_ids)
        found = order[np.searchsorted(self.trial_ids[order], trial_ids).clip(max=len(order) - 1)]
        return np.where(self.trial_ids[found] == trial_ids, found, -1)


@dataclass(frozen=True)
class Samples:
    """Samples of one mouse, each some frames of a trial.

    Attributes
    ----------
    rows
        (n,) int64.
    starts
        (n,) int64, the first frame.
    frames
        (n,) int64, how many frames; zero without frames.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    frames: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.rows)


@dataclass(frozen=True)
class Windows:
    """Which frames of a trial a sample has.

    Attributes
    ----------
    frames
        How many; None for all valid frames.
    stride
        Every how many frames of the recording one is taken.
    choice
        ``random``: windows anywhere in a trial. ``every``: windows one behind another from the first frame; the last
        one ends with the trial, and overlaps the one before where the length is no multiple. ``phases``: the same for
        each of the first `stride` frames, so that every frame is in a sample.
    skip
        Frame of the trial that samples begin at, or behind.
    most
        Frames of a trial before which samples end, those that are skipped among them; None for all valid ones.
    hop
        Frames of the recording from one window to the next; None for those that the window covers, or with phases, that
        all phases of it cover together.
    per_trial
        How many random windows a trial has.
    """

    frames: int | None
    stride: int
    choice: WindowChoice
    skip: int = 0
    most: int | None = None
    hop: int | None = None
    per_trial: int = 1

    @property
    def span(self) -> int:
        """How many frames of the recording a window covers.

        Examples
        --------
        >>> Windows(16, 2, "random").span
        31
        """
        return 1 if self.frames is None else (self.frames - 1) * self.stride + 1

    @property
    def _phases(self) -> int:
        return self.stride if self.choice == "phases" else 1

    def check(self, trials: Trials) -> None:
        """Check that the window fits.

        Raises
        ------
        OptionError
            A trial is shorter than a window, or trials have no frames.
        """
        if trials.n_frames is None:
            if self != Windows(None, 1, self.choice):
                advice = "leave out window, stride, samples_per_trial, skip_frames and max_frames"
                raise OptionError(Problem(trials.label, "static trials have no frames", advice))
            return
        covered = self.span + self._phases - 1
        short = np.flatnonzero(self._ends(trials.n_frames) - self.skip < covered)
        if short.size:
            first = f"trial {trials.trial_ids[short[0]]} has {trials.n_frames[short[0]]}"
            what = f"{short.size} of {len(trials.rows)} trials are shorter than a window of {covered} frames ({first})"
            if self.skip or self.most is not None:
                what += f" from frame {self.skip}" + ("" if self.most is None else f" to {self.most}")
            raise OptionError(Problem(trials.label, what, "choose a shorter window, or other trials"))

    def samples(self, trials: Trials, *key: int) -> Samples:
        """Return the samples of one pass through some trials, trial by trial.

        Parameters
        ----------
        *key
            What random starts depend on.
        """
        if trials.n_frames is None:
            none = np.zeros(len(trials.rows), np.int64)
            return Samples(trials.rows, none, none)
        n_frames = self._ends(trials.n_frames) - self.skip
        if self.frames is not None and self.choice == "random":
            limits = np.repeat(n_frames, self.per_trial) - self.span + 1
            starts = self.skip + below(limits, *key)
            return Samples(np.repeat(trials.rows, self.per_trial), starts, np.full(len(starts), self.frames))
        rows, n_frames = np.repeat(trials.rows, self._phases), np.repeat(n_frames, self._phases)
        first = np.tile(np.arange(self._phases), len(trials.rows))
        if self.frames is None:
            # With a stride, as many frames as there are from the first on.
            return Samples(rows, self.skip + first, -(-(n_frames - first) // self.stride))
        last = first + (n_frames - self.span - first) // self._phases * self._phases
        step = self.span + self._phases - 1 if self.hop is None else self.hop
        counts = -(-(last - first) // step) + 1
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = self.skip + np.minimum(np.repeat(first, counts) + within * step, np.repeat(last, counts))
        return Samples(np.repeat(rows, counts), starts, np.full(len(starts), self.frames))

    def lengths(self, trials: Trials) -> NDArray[np.int64]:
        """Return how many frames each sample of a pass has; as `samples` does, but without random numbers."""
        if trials.n_frames is None or self.frames is None or self.choice != "random":
            return self.samples(trials).frames
        return np.full(len(trials.rows) * self.per_trial, self.frames)

    def room(self, trials: Trials, places: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many frames a sample from each start on has; below 1 where there is none.

        Parameters
        ----------
        places
            (n,) int64, of the trials.
        starts
            (n,) int64, the first frame.
        """
        if trials.n_frames is None:
            return 1 - np.abs(starts)
        left = self._ends(trials.n_frames[places]) - starts
        enough = (starts >= self.skip) & (left >= self.span)
        return np.where(enough, -(-left // self.stride) if self.frames is None else self.frames, 0)

    def used(self, n_frames: int) -> range:
        """Return the frames that samples may have, of trials of so many frames at most."""
        end = int(self._ends(np.array(n_frames)))
        return range(self.skip, end, self.stride if self.frames is None and self.choice == "every" else 1)

    def _ends(self, n_frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the frame before which the samples of each trial end."""
        return n_frames if self.most is None else np.minimum(n_frames, self.most)

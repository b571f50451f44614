"""Which samples of one mouse form a batch, in what order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...store import OptionError, Problem
from .shards import Shards
from .windows import Samples, Trials, Windows, permutation, uniform

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
    number
        How often the mouse was gone through before, where some of its shards are mixed at a time; None elsewhere.
    """

    mouse: int
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    frames: int
    stride: int
    number: int | None = None

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
    batch_size
        Samples of a batch at most.
    shuffle
        Whether the order is random; that of the trials otherwise.
    drop_last
        Leave out batches with fewer samples.
    groups
        Rows of the trials that form a batch together, at the same frames; `trials` has one for each group then, whose
        row is the number of the group. None for batches of any trials.
    shards
        Which of them are mixed at a time, where the order is random; None for all.
    """

    mouse: int
    trials: Trials
    windows: Windows
    batch_size: int
    shuffle: bool
    drop_last: bool
    groups: tuple[NDArray[np.int64], ...] | None = None
    shards: Shards | None = None

    def __len__(self) -> int:
        """Return the number of batches of a pass."""
        if self.groups is not None:
            return len(self.windows.lengths(self.trials))
        _, counts = np.unique(self.windows.lengths(self.trials), return_counts=True)
        return int(
            sum(count // self.batch_size if self.drop_last else -(-count // self.batch_size) for count in counts)
        )

    @property
    def facts(self) -> list[Any]:
        """All that the batches depend on, but for the number of the pass."""
        windows, trials = self.windows, self.trials
        n_frames = None if trials.n_frames is None else trials.n_frames.tolist()
        groups = None if self.groups is None else [rows.tolist() for rows in self.groups]
        return [
            self.batch_size,
            self.shuffle if self.shards is None else astuple(self.shards),
            self.drop_last,
            *astuple(windows),
            trials.rows.tolist(),
            n_frames,
            groups,
        ]

    def one_pass(self, *key: int) -> list[BatchPlan]:
        """Return the batches of a pass through all samples.

        Parameters
        ----------
        *key
            What the order and random starts depend on, besides the mouse; the last is how often it was gone through.

        Notes
        -----
        All samples of a batch have the same number of frames. Where trials differ in length, each length has batches
        of its own, which stand where the first of their samples stands in the order of all.
        """
        number = None if self.shards is None else key[-1]
        key = (*key, self.mouse)
        samples = self.windows.samples(self.trials, _STARTS, *key)
        order = self._order(samples, *key)
        if self.groups is not None:
            return [self._plan_of_group(samples, place, self.groups) for place in order.tolist()]
        frames = samples.frames[order]
        found = list[NDArray[np.int64]]()
        for length in np.unique(frames):
            places = np.flatnonzero(frames == length)
            found += [places[first : first + self.batch_size] for first in range(0, len(places), self.batch_size)]
        kept = [places for places in found if len(places) == self.batch_size or not self.drop_last]
        return [self._plan(samples, order[one], number) for one in sorted(kept, key=lambda places: int(places[0]))]

    def _order(self, samples: Samples, *key: int) -> NDArray[np.int64]:
        if not self.shuffle:
            return np.arange(len(samples))
        if self.shards is not None:
            return self.shards.order(samples.rows, *key)
        return permutation(len(samples), _ORDER, *key)

    def _plan(self, samples: Samples, chosen: NDArray[np.int64], number: int | None) -> BatchPlan:
        frames = int(samples.frames[chosen[0]])
        return BatchPlan(self.mouse, samples.rows[chosen], samples.starts[chosen], frames, self.windows.stride, number)

    def _plan_of_group(self, samples: Samples, place: int, groups: Sequence[NDArray[np.int64]]) -> BatchPlan:
        rows = groups[samples.rows[place]]
        starts = np.full(len(rows), samples.starts[place])
        return BatchPlan(self.mouse, rows, starts, int(samples.frames[place]), self.windows.stride)


MixingName = Literal["cycle", "sequential", "shuffled"]
Mixing = MixingName | Mapping[str, float] | Sequence[float]
"""How mice take turns, or the weight of each mouse, by its name or letter or in the order of the mice."""
_MICE = 2  # what random numbers are for; others are in `batches`
_ADVICE = f"choose {', '.join(get_args(MixingName))}, or a weight for each mouse"


def turns(mixing: MixingName | NDArray[np.float64], sizes: Sequence[int], *key: int) -> list[int]:
    """Return which mouse each batch of an epoch is of.

    Parameters
    ----------
    mixing
        As in `parse`.
    sizes
        Batches of a pass of each mouse.
    *key
        What the draws depend on.

    Examples
    --------
    >>> turns("cycle", [1, 3])
    [0, 1, 0, 1, 0, 1]
    >>> turns("sequential", [1, 3])
    [0, 1, 1, 1]
    """
    if isinstance(mixing, str):
        if mixing == "cycle":
            return list(range(len(sizes))) * max(sizes)
        each = np.repeat(np.arange(len(sizes)), sizes)
        return (each if mixing == "sequential" else each[permutation(len(each), _MICE, *key)]).tolist()
    ends = np.cumsum(mixing / mixing.sum())
    drawn = np.searchsorted(ends, uniform(sum(sizes), _MICE, *key), side="right")
    # Rounding may leave the last end just below one.
    return np.minimum(drawn, np.flatnonzero(mixing)[-1]).tolist()


def passes(turns: Sequence[int], sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield, for each turn, the mouse, how often it was gone through before, and which batch of the pass it is.

    Examples
    --------
    >>> list(passes([0, 1, 0, 1], [1, 2]))
    [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 0, 1)]
    """
    counters = [itertools.count() for _ in sizes]
    for mouse in turns:
        yield mouse, *divmod(next(counters[mouse]), sizes[mouse])


def parse(mixing: Mixing, names: Sequence[set[str]]) -> MixingName | NDArray[np.float64]:
    """Return how mice are mixed, weights as an array in the order of the mice.

    Parameters
    ----------
    names
        What each mouse may be called.

    Raises
    ------
    OptionError
        It is no way of mixing, or does not have just one sound weight for each mouse.
    """
    if isinstance(mixing, str):
        if mixing not in get_args(MixingName):
            raise OptionError(Problem("mixing", f"no way of mixing mice is called {mixing!r}", _ADVICE))
        return mixing
    try:
        given = _by_name(mixing, names) if isinstance(mixing, Mapping) else list(mixing)
        weights = np.array(given, np.float64)
    except OptionError:
        raise
    except (TypeError, ValueError):
        raise OptionError(Problem("mixing", f"{mixing!r} is no way of mixing mice", _ADVICE)) from None
    if weights.shape != (len(names),) or not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        what = f"weights {given} do not fit (expected {len(names)} numbers, none below zero and not all zero)"
        raise OptionError(Problem("mixing", what, _ADVICE))
    return weights


def _by_name(mixing: Mapping[str, float], names: Sequence[set[str]]) -> list[float]:
    if unknown := mixing.keys() - set[str]().union(*names):
        raise OptionError(Problem("mixing", f"no mouse is called {sorted(unknown)[0]!r}", _ADVICE))
    found = [[weight for name, weight in mixing.items() if name in known] for known in names]
    if wrong := [sorted(known)[0] for known, weights in zip(names, found, strict=True) if len(weights) != 1]:
        raise OptionError(Problem("mixing", f"mouse {wrong[0]} does not have just one weight", _ADVICE))
    return [weights[0] for weights in found]

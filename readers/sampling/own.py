"""Epochs of a sampler of one's own: anything that gives plans of batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...store import OptionError, Problem
from ...store.arguments import refuse
from .batches import BatchPlan, MouseBatches
from .sampler import digest_of

_LABEL = "sampler"


class Plan(NamedTuple):
    """A batch that a sampler of one's own asks for.

    Attributes
    ----------
    trials
        (B,) trial_ids of its samples, of those that the loader chooses among; any of them several times, too.
    starts
        (B,) the first frame of each sample, or one for all; None for the first that the loader does not skip.
    mouse
        Name or letter of the mouse, or its place among the mice of the loader.
    """

    trials: Sequence[int]
    starts: Sequence[int] | int | None = None
    mouse: str | int = 0


class OwnPlans:
    """Epochs that a sampler gives.

    Parameters
    ----------
    sampler
        Gives the plans of an epoch at each `iter`; its `set_epoch`, if it has one, is called before.
    mice
        What batches may be made of.
    names
        What each mouse may be called.

    Raises
    ------
    OptionError
        It cannot be iterated again and again.

    Notes
    -----
    The plans of an epoch are listed, and checked, before its first batch is read; those of the last epochs are kept.
    """

    def __init__(self, sampler: Any, mice: Sequence[MouseBatches], names: Sequence[set[str]]) -> None:
        if not isinstance(sampler, Iterable) or isinstance(sampler, (Iterator, str)):
            refuse("sampler", "something that gives Plans at each iter, such as a list of them", sampler)
        self.mice, self._listed = mice, lru_cache(maxsize=4)(partial(_list, sampler, mice, names))

    def order(self, epoch: int) -> Sequence[int]:
        """Return which mouse each batch of an epoch is of.

        Raises
        ------
        OptionError
            The sampler gives something else than plans of samples that there are.
        """
        return [plan.mouse for plan in self._listed(epoch)]

    def plans(self, epoch: int, places: Iterable[int]) -> Iterator[BatchPlan]:
        """Yield batches of an epoch by their places in it."""
        plans = self._listed(epoch)
        return (plans[place] for place in places)

    def digest(self, epoch: int | None) -> str:
        """Return a digest of the mice, and of all plans of an epoch that has begun."""
        plans = [] if epoch is None else self._listed(epoch)
        facts = [(one.mouse, one.frames, one.rows.tolist(), one.starts.tolist()) for one in plans]
        return digest_of([_LABEL, [mouse.facts for mouse in self.mice], facts])

    def largest(self, mouse: int) -> tuple[int, int]:
        """Return the most samples that a batch of a mouse may have, and the most frames of a sample."""
        one = self.mice[mouse]
        return one.batch_size, int(one.windows.lengths(one.trials).max())


def _list(sampler: Any, mice: Sequence[MouseBatches], names: Sequence[set[str]], epoch: int) -> list[BatchPlan]:
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
    found = [_checked(plan, f"plan {number} of epoch {epoch}", mice, names) for number, plan in enumerate(sampler)]
    if not found:
        raise OptionError(Problem(_LABEL, f"no plans of epoch {epoch}", "give at least one in each epoch"))
    return found


def _checked(plan: Any, where: str, mice: Sequence[MouseBatches], names: Sequence[set[str]]) -> BatchPlan:
    """Return a plan of rows, if there are such samples."""

    def refused(what: str, advice: str) -> OptionError:
        return OptionError(Problem(_LABEL, f"{where}: {what}", advice))

    if not isinstance(plan, Plan):
        raise refused(f"expected a Plan, found {type(plan).__name__}", "give Plan(trials, starts, mouse)")
    mouse = _numbered(plan.mouse, names)
    if mouse is None:
        raise refused(f"no mouse {plan.mouse!r}", f"there are {', '.join(max(known, key=len) for known in names)}")
    own = mice[mouse]
    ids, starts = _whole(plan.trials), _whole(own.windows.skip if plan.starts is None else plan.starts)
    if ids is None or ids.ndim != 1 or not 1 <= len(ids) <= own.batch_size:
        raise refused(f"trials={plan.trials!r}", f"give 1 to {own.batch_size} trial_ids (batch_size)")
    if starts is None or starts.shape not in ((), ids.shape):
        raise refused(f"starts={plan.starts!r}", f"give a frame, or one for each of {len(ids)} trials")
    places = own.trials.places(ids)
    if (places < 0).any():
        what = f"no trial {ids[places < 0][0]} among the {len(own.trials.rows)} that are chosen of {own.trials.label}"
        raise refused(what, "choose more trials, or plan others")
    starts = np.broadcast_to(starts, ids.shape).copy()
    frames = own.windows.room(own.trials, places, starts)
    if (frames < 1).any():
        one = int(np.flatnonzero(frames < 1)[0])
        what = f"no sample of trial {ids[one]} begins at frame {starts[one]}"
        raise refused(what, "plan a start from which on the trial has all frames of a window")
    number = 0 if own.trials.n_frames is None else int(frames.min())
    return BatchPlan(mouse, own.trials.rows[places], starts, number, own.windows.stride)


def _numbered(mouse: Any, names: Sequence[set[str]]) -> int | None:
    if isinstance(mouse, str):
        known = [number for number, called in enumerate(names) if mouse in called]
        return known[0] if len(known) == 1 else None
    number = _whole(mouse)
    return int(number) if number is not None and number.ndim == 0 and 0 <= number < len(names) else None


def _whole(given: Any) -> NDArray[np.int64] | None:
    """Return whole numbers; None if they are not."""
    try:
        found = np.asarray(given)
    except ValueError:  # of different lengths
        return None
    return found.astype(np.int64) if found.dtype.kind in "iu" else None

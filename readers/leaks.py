"""Stimuli that are shown both in train and in another tier: what a model is tested on, it was trained on."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..store import StoreIndex, layout
from .recording import recording_of
from .stimuli import differ_in_digests, same_stimuli

if TYPE_CHECKING:
    import pandas as pd

    from .mouse import Mouse

_SHOWN = 4


class LeakedTrial(NamedTuple):
    """A trial that shows a leaked stimulus."""

    mouse: str
    trial_id: int
    tier: str


Leak = tuple[LeakedTrial, ...]
"""All trials that show one stimulus, of tier train and of others, in the order of the mice and trials."""


def find_leaks(indexes: Sequence[StoreIndex], max_difference: float | None = None) -> list[Leak]:
    """Return the stimuli that train and another tier share, within a mouse or between mice.

    Parameters
    ----------
    indexes
        The stores.
    max_difference
        As in `same_stimuli`, where errors are, too.
    """
    trials = [trial for index in indexes for trial in _trials(index)]
    found = dict[int, list[LeakedTrial]]()
    for trial, first in zip(trials, same_stimuli(indexes, max_difference).tolist(), strict=True):
        found.setdefault(first, []).append(trial)
    return [tuple(shown) for shown in found.values() if any(_pairs(shown))]


def _trials(index: StoreIndex) -> Iterator[LeakedTrial]:
    recording = recording_of(index)
    for trial_id, tier in zip(recording.trial_ids.tolist(), recording.tiers.tolist(), strict=True):
        yield LeakedTrial(index.attributes[layout.A_MOUSE], trial_id, tier)


def _pairs(trials: Sequence[LeakedTrial]) -> Iterator[tuple[LeakedTrial, LeakedTrial]]:
    """Yield each pair of a trial of train and one of another tier."""
    train = [trial for trial in trials if trial.tier == layout.TRAIN_TIER]
    yield from itertools.product(train, (trial for trial in trials if trial.tier != layout.TRAIN_TIER))


def leak_table(mouse: Mouse, others: Sequence[Mouse], max_difference: float | None) -> pd.DataFrame:
    """Return the leaks that concern a mouse, one row a trial; see `Mouse.leaks`."""
    import pandas as pd

    for other in others if max_difference is None else ():
        if differ_in_digests(mouse.recording, other.recording):
            what = f"{mouse.name} and {other.name} differ in dtype or padding"
            warnings.warn(f"{what}: give max_difference to compare their stimuli", stacklevel=3)
    found = find_leaks([one.index for one in (mouse, *others)], max_difference)
    concerned = [leak for leak in found if any(trial.mouse == mouse.name for trial in leak)]
    rows = [(number, *trial) for number, leak in enumerate(concerned) for trial in leak]
    return pd.DataFrame(rows, columns=["stimulus", *LeakedTrial._fields])


def between_mice(leaks: Sequence[Leak]) -> list[Leak]:
    """Return the leaks from train of one mouse into another tier of another one."""
    return [leak for leak in leaks if any(train.mouse != other.mouse for train, other in _pairs(leak))]


def describe_leaks(leaks: Sequence[Leak]) -> list[list[dict[str, str | int]]]:
    """Return leaks as a JSON document: of each the trials, with mouse, trial_id and tier."""
    return [[trial._asdict() for trial in leak] for leak in leaks]


def leak_text(leaks: Sequence[Leak]) -> str:
    """Return what a person should know of leaks, of which there is at least one.

    Examples
    --------
    >>> leak_text([(LeakedTrial("lab7", 3, "train"), LeakedTrial("lab7", 9, "oracle"))])
    '1 stimulus is shown in train and in another tier, too: trial 9 (oracle) shows that of 3'
    """
    examples = [_example(leak) for leak in leaks[:_SHOWN]] + ["…"] * (len(leaks) > _SHOWN)
    stimuli = "1 stimulus is" if len(leaks) == 1 else f"{len(leaks)} stimuli are"
    return f"{stimuli} shown in train and in another tier, too: {', '.join(examples)}"


def _example(leak: Leak) -> str:
    """Name one pair of trials; of two mice, if there is one."""
    pairs = list(_pairs(leak))
    train, other = next((pair for pair in pairs if pair[0].mouse != pair[1].mouse), pairs[0])
    if train.mouse == other.mouse:
        return f"trial {other.trial_id} ({other.tier}) shows that of {train.trial_id}"
    names = layout.short_name(other.mouse), layout.short_name(train.mouse)
    return f"trial {other.trial_id} of {names[0]} ({other.tier}) shows that of {train.trial_id} of {names[1]}"

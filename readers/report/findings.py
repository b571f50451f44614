"""What is wrong with a store, or has to be known of it: judged from the numbers of its trials and neurons."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...store import Problem
from ...store.errors import one_a_cause
from ...store.layout import RESPONSES
from ..leaks import Leak, leak_text
from ..recording import Recording
from ..reductions.moments import THRESHOLD
from ..shown import readable
from ..statistics_files import Difference
from .scan import NeuronScan, VariableScan

FindingKind = Literal[
    "damage",
    "dead-neurons",
    "constant-neurons",
    "never-firing-neurons",
    "nan",
    "saturated-pixels",
    "lost-pupils",
    "broken-trials",
    "short-trials",
    "withheld-trials",
    "leaked-stimuli",
    "statistics",
]
FINDING_KINDS: Mapping[FindingKind, str] = {
    "damage": "files or chunks that are missing, or are not what the manifest says",
    "dead-neurons": "neurons that are zero or NaN in every trial",
    "constant-neurons": "neurons that have one value, other than zero, in every trial",
    "never-firing-neurons": "neurons that hardly vary: by less than 1 % of the mean standard deviation of all",
    "nan": "values among the valid frames that are NaN or infinite",
    "saturated-pixels": "trials in which more than a quarter of the pixels of pictures are black or white",
    "lost-pupils": "frames without a pupil: NaN or zero, or a trial in which it does not move at all",
    "broken-trials": "trials in which a variable is NaN, or one value, throughout",
    "short-trials": "trials that are shorter than most",
    "withheld-trials": "trials whose responses the publisher withheld",
    "leaked-stimuli": "stimuli that are shown both in train and in another tier",
    "statistics": "published statistics that differ from those of the train trials by more than 1 %",
}
"""Kind of a finding -> what it is."""
_SATURATED, _DIFFERENT = 0.25, 0.01
_LISTED = 8


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a store, or has to be known of it.

    Attributes
    ----------
    kind
        One of `FINDING_KINDS`.
    text
        What was found, in one line or a few.
    variable
        Name of the variable concerned, where it is one.
    trials
        The trial_ids concerned.
    neurons
        Positions of the neurons concerned, along the neuron axis.
    """

    kind: FindingKind
    text: str
    variable: str | None = None
    trials: tuple[int, ...] = ()
    neurons: tuple[int, ...] = ()


def judge_damage(problems: Iterable[Problem]) -> Iterator[Finding]:
    """Yield what could not be read, one finding a cause."""
    found = list(problems)
    for one in one_a_cause(found):
        trials = sorted({other.trial for other in found if other.trial is not None and other.what == one.what})
        yield Finding("damage", str(one), trials=tuple(trials) if one.trial is not None else ())


def judge_neurons(found: NeuronScan) -> Iterator[Finding]:
    """Yield neurons that are dead, constant, or hardly vary."""
    std, n = found.moments.std, len(found.low)
    if not found.moments.count.any():
        return
    dead = ~((found.low < 0) | (found.high > 0))
    constant = ~dead & (found.low == found.high)
    alive = std[~dead & ~constant]
    still = ~dead & ~constant & (std < THRESHOLD * (alive.mean() if alive.size else 0))
    texts: Mapping[FindingKind, tuple[NDArray[np.bool_], str]] = {
        "dead-neurons": (dead, "dead: zero or NaN in every trial"),
        "constant-neurons": (constant, "constant: one value in every trial"),
        "never-firing-neurons": (still, "never firing: with a standard deviation below 1 % of the mean of all"),
    }
    for kind, (chosen, text) in texts.items():
        if positions := tuple(np.flatnonzero(chosen).tolist()):
            verb = "is" if len(positions) == 1 else "are"
            yield Finding(
                kind,
                f"{_of(positions, n, 'neuron')} {verb} {text} ({_listed(positions)})",
                RESPONSES,
                neurons=positions,
            )


def judge_trials(recording: Recording, found: VariableScan) -> Iterator[Finding]:
    """Yield trials of a variable with NaN, saturated pixels, lost pupils, or nothing but one value."""
    name = readable(found.variable.name)
    read, size = int(found.read.sum()), np.maximum(found.size, 1)
    frames = np.ones(len(size), np.int64)
    if found.variable.frame_axis is not None and recording.n_frames is not None:
        frames = recording.n_frames.astype(np.int64)
    missing, total = int(found.missing.sum()), int(found.size.sum())
    parts: list[tuple[FindingKind, NDArray[np.bool_], str]] = [
        ("nan", found.missing > 0, f"{missing} of {total} values are NaN or infinite"),
        (
            "saturated-pixels",
            found.saturated > _SATURATED * size,
            "more than a quarter of the pixels are black or white",
        ),
        ("lost-pupils", found.lost > 0, f"the pupil is lost{_frames_text(found, frames)}"),
        ("broken-trials", _is_broken(found), "NaN, or one value, throughout"),
    ]
    for kind, chosen, text in parts:
        if trials := tuple(recording.trial_ids[chosen].tolist()):
            where = f"in {_of(trials, read, 'trial')} ({_listed(trials)})"
            yield Finding(kind, f"{name}: {text} {where}", found.variable.name, trials)


def _frames_text(found: VariableScan, frames: NDArray[np.int64]) -> str:
    lost, total = int(found.lost.sum()), int(frames[found.read].sum())
    return f" in {lost} of {total} frames ({lost / total:.1%})," if total > len(frames) else ""


def _is_broken(found: VariableScan) -> NDArray[np.bool_]:
    """Return the trials without any difference among many values."""
    flat = np.isnan(found.low) | (found.low == found.high)
    # A pupil that is lost throughout has a name of its own, and a single value cannot vary.
    return found.read & flat & (found.size > 1) & (found.lost == 0)


def judge_lengths(recording: Recording) -> Iterator[Finding]:
    """Yield trials that are shorter than the length that most have, or else than half of the median."""
    if recording.n_frames is None:
        return
    usual, count = Counter(recording.n_frames.tolist()).most_common(1)[0]
    most = count > len(recording.n_frames) / 2
    least = usual if most else math.ceil(float(np.median(recording.n_frames)) / 2)
    short = recording.n_frames < least
    if trials := tuple(recording.trial_ids[short].tolist()):
        lengths = sorted(set(recording.n_frames[short].tolist()))
        than = f"the {usual} frames of most" if most else f"{least} frames, half of the median"
        text = f"{_of(trials, len(short), 'trial')} shorter than {than}: {_listed(lengths)} ({_listed(trials)})"
        yield Finding("short-trials", text, trials=trials)


def judge_withheld(recording: Recording) -> Iterator[Finding]:
    """Yield trials whose responses were withheld."""
    if trials := tuple(recording.trial_ids[recording.withheld].tolist()):
        tiers = Counter(recording.tiers[recording.withheld].tolist())
        by_tier = ", ".join(f"{count} {tier}" for tier, count in sorted(tiers.items()))
        text = f"responses of {_of(trials, len(recording.withheld), 'trial')} are withheld: {by_tier}"
        yield Finding("withheld-trials", text, RESPONSES, trials)


def judge_leaks(mouse: str, leaks: Sequence[Leak]) -> Iterator[Finding]:
    """Yield the leaks that concern a mouse."""
    concerned = [leak for leak in leaks if any(trial.mouse == mouse for trial in leak)]
    if concerned:
        trials = sorted({trial.trial_id for leak in concerned for trial in leak if trial.mouse == mouse})
        yield Finding("leaked-stimuli", leak_text(concerned), trials=tuple(trials))


def judge_statistics(differences: Sequence[Difference]) -> Iterator[Finding]:
    """Yield published statistics that are not those of the train trials."""
    for group in dict.fromkeys(one.group for one in differences):
        wrong = [one for one in differences if one.group == group and not _agrees(one)]
        if wrong:
            texts = [f"{one.statistic} by {100 * one.relative:.3g}%" if one.reduction else one.remark for one in wrong]
            yield Finding("statistics", f"published {group} differs: {', '.join(texts)}", group.split("/")[0])


def _agrees(one: Difference) -> bool:
    return one.reduction is not None and not one.relative > _DIFFERENT


def _of(chosen: Sequence[Any], total: int, noun: str) -> str:
    return f"{len(chosen)} of {total} {noun}{'s' if total != 1 else ''}"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:_LISTED])) + (", …" if len(numbers) > _LISTED else "")

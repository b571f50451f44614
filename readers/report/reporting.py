"""What is in stores, and what is wrong with them: gathered for programs and for the page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...store import CorruptStoreError, OptionError, Problem, StoreFormatError, StoreIndex, layout
from ...store.arguments import check_progress, check_threads, check_type
from ...store.integrity import inspect_quick
from ...store.paths import read_path
from ...store.publish import is_store
from ...store.tasks import Progress
from ..leaks import Leak, find_leaks
from ..mouse import Mouse
from ..opening import describe_store
from ..repeats import Repeats
from ..statistics_files import Difference, compare_with_published
from ..stimuli import same_stimuli
from ..trial_statistics import Statistics, has_statistics
from . import findings as judging
from .findings import FINDING_KINDS, Finding
from .scan import VariableScan, scan_recording

_REPEATS_BYTES = 128 << 20
"""Bytes of the responses to one stimulus that reliability is computed from, at most; always of two trials."""
_Value = TypeVar("_Value")


@dataclass(frozen=True, eq=False)
class StoreReport:
    """What is in one store, and what is wrong with it.

    Attributes
    ----------
    store
        The store, as it was given.
    findings
        What is wrong with it, or has to be known.
    summary
        What `summarize` returns; None where the store is too damaged to say.
    mouse
        The mouse; likewise.
    scans
        Name of a variable -> numbers of each trial and neuron.
    oracle
        (n_neurons,) float64, reliability of each neuron as in `Repeats.reliability`; None without repeats.
    repeats
        (number of stimuli, number of trials) that reliability comes from.
    statistics
        Of the train trials, as the store has them; None without.
    differences
        Those beside the published ones.
    """

    store: str
    findings: tuple[Finding, ...]
    summary: Mapping[str, Any] | None = None
    mouse: Mouse | None = None
    scans: Mapping[str, VariableScan] = field(default_factory=dict[str, VariableScan])
    oracle: NDArray[np.float64] | None = None
    repeats: tuple[int, int] = (0, 0)
    statistics: Statistics | None = None
    differences: Sequence[Difference] = ()

    @property
    def name(self) -> str:
        """Name of the mouse, or of the store's folder."""
        return self.mouse.name if self.mouse else Path(self.store).name

    @property
    def document(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return {
            "store": self.store,
            "summary": None if self.summary is None else dict(self.summary),
            "findings": [asdict(one) for one in self.findings],
            "variables": {name: _scan_document(scan) for name, scan in self.scans.items()},
            "neurons": self._neurons,
            "differences": [
                {**asdict(one), "largest": _plain(one.largest), "relative": _plain(one.relative)}
                for one in self.differences
            ],
        }

    @property
    def _neurons(self) -> dict[str, Any] | None:
        found = self.scans[layout.RESPONSES].neurons if layout.RESPONSES in self.scans else None
        if found is None or not found.moments.count.any():
            return None
        oracle = None if self.oracle is None else _spread(self.oracle)
        return {
            "count": len(found.low),
            "mean": _spread(np.where(found.moments.count > 0, found.moments.mean, np.nan)),
            "std": _spread(found.moments.std),
            "oracle": oracle,
            "repeated_stimuli": self.repeats[0],
            "repeated_trials": self.repeats[1],
        }


@dataclass(frozen=True, eq=False)
class Report:
    """What is in some stores, and what is wrong with them.

    Attributes
    ----------
    stores
        One each, in the order given.
    shared
        How many stimuli each two stores both show, by their places.
    """

    stores: tuple[StoreReport, ...]
    shared: Mapping[tuple[int, int], int]

    @property
    def kinds(self) -> list[str]:
        """The kinds of what was found, each once."""
        found = {one.kind for store in self.stores for one in store.findings}
        return [kind for kind in FINDING_KINDS if kind in found]

    @property
    def document(self) -> dict[str, Any]:
        """The report as a JSON document."""
        names = [one.store for one in self.stores]
        shared = [{"stores": [names[a], names[b]], "stimuli": count} for (a, b), count in self.shared.items()]
        return {"stores": [one.document for one in self.stores], "kinds": self.kinds, "shared_stimuli": shared}

    def page(self) -> str:
        """Return the report as one HTML page, which needs nothing else to be shown.

        Raises
        ------
        OptionError
            There is no matplotlib, or no jinja2.
        """
        from .page import render

        return render(self)


def report_stores(
    stores: Path | str | Sequence[Path | str], *, threads: int | None = None, progress: Progress | None = None
) -> Report:
    """Look at stores: what is in them, and what is wrong with their trials, neurons and stimuli.

    Parameters
    ----------
    stores
        Folders of the stores, or of one.
    threads
        How many read; one a core by default.
    progress
        Listener to the one pass over each store.

    Returns
    -------
    Report
        Of what is damaged, the rest is looked at, and a finding says what is missing.

    Raises
    ------
    StoreFormatError
        One is not a store.
    ResourceError
        The system does not let one be read.
    OptionError
        None is given.

    Notes
    -----
    Reads every trial once, and those that repeat a stimulus once more for the reliability of neurons. Memory does not
    grow with the number of trials: for each thread a group of trials that share a chunk, beside 128 MiB of repeats.
    """
    check_progress(progress)
    check_type("stores", stores, (str, os.PathLike, Sequence), "stores")
    given = [stores] if isinstance(stores, (str, os.PathLike)) else list(stores)
    if not given:
        raise OptionError(Problem("report_stores", "no stores are given", "give at least one"))
    count = check_threads("threads", threads)
    opened = [_Opened(read_path(one, "stores")) for one in given]
    whole = [one for one in opened if one.mouse is not None]
    indexes = [one.mouse.index for one in whole if one.mouse]
    leaks = find_leaks(indexes)
    made = tuple(_report(one, leaks, count, progress) for one in opened)
    return Report(made, _shared(indexes, [opened.index(one) for one in whole]))


class _Opened:
    """A store as far as it can be opened, and the problems met so far."""

    def __init__(self, root: Path) -> None:
        self.root, self.problems, self.mouse = root, list[Problem](), None
        index: StoreIndex | None = None
        try:
            index, self.problems = inspect_quick(root)
        except CorruptStoreError as error:
            self.problems = list(error.problems)
        except StoreFormatError as error:
            if not is_store(root):
                raise
            self.problems = list(error.problems)
        self.mouse = None if index is None else self.attempt(lambda: Mouse(index))

    def attempt(self, read: Callable[[], _Value]) -> _Value | None:
        """Return what is read; None of what is damaged, which is noted."""
        try:
            return read()
        except CorruptStoreError as error:
            self.problems += error.problems
            return None


def _report(opened: _Opened, leaks: Sequence[Leak], threads: int, progress: Progress | None) -> StoreReport:
    mouse = opened.mouse
    if mouse is None:
        return StoreReport(str(opened.root), tuple(judging.judge_damage(opened.problems)))
    index = mouse.index
    for read in (lambda: mouse.trials, lambda: mouse.neurons):
        opened.attempt(read)
    summary = opened.attempt(lambda: describe_store(index))
    scans = scan_recording(mouse.recording, threads=threads, progress=progress)
    unread = [problem for scan in scans.values() for problem in scan.problems]
    # What was met while reading says which trials are lost, of a file that may be known to be missing.
    members = {problem.member for problem in unread}
    opened.problems = [one for one in opened.problems if one.member not in members] + unread
    statistics = opened.attempt(lambda: mouse.statistics) if has_statistics(index) else None
    differences = opened.attempt(lambda: compare_with_published(index, statistics)) if statistics else None
    repeats = opened.attempt(lambda: _repeats(mouse, scans[layout.RESPONSES].read))
    oracle = None if repeats is None else opened.attempt(lambda: _oracle(repeats))
    found = (*judging.judge_damage(opened.problems), *_judged(mouse, scans, leaks, differences or ()))
    counts = (0, 0) if repeats is None else (len(repeats), sum(map(len, repeats.values())))
    return StoreReport(str(opened.root), found, summary, mouse, scans, oracle, counts, statistics, differences or ())


def _judged(
    mouse: Mouse, scans: Mapping[str, VariableScan], leaks: Sequence[Leak], differences: Sequence[Difference]
) -> Iterator[Finding]:
    """Yield what is found, in the order of `FINDING_KINDS`."""
    neurons = scans[layout.RESPONSES].neurons
    found = [
        *(judging.judge_neurons(neurons) if neurons is not None else ()),
        *(one for scan in scans.values() for one in judging.judge_trials(mouse.recording, scan)),
        *judging.judge_lengths(mouse.recording),
        *judging.judge_withheld(mouse.recording),
        *judging.judge_leaks(mouse.name, leaks),
        *judging.judge_statistics(differences),
    ]
    kinds = list(FINDING_KINDS)
    yield from sorted(found, key=lambda one: kinds.index(one.kind))


def _repeats(mouse: Mouse, read: NDArray[np.bool_]) -> Repeats | None:
    """Return the stimuli that several trials show, and as many of those that were read as fit into memory."""
    try:
        found = mouse.repeats()
    except OptionError:
        return None
    most = max(2, _REPEATS_BYTES // max(mouse.recording.arrays[layout.RESPONSES].trial_nbytes, 1))
    known = mouse.recording.trial_ids[read]
    given = {stimulus: trials[np.isin(trials, known)][:most] for stimulus, trials in found.items()}
    several = {stimulus: trials for stimulus, trials in given.items() if len(trials) > 1}
    return Repeats(mouse, several) if several else None


def _oracle(repeats: Repeats) -> NDArray[np.float64]:
    return repeats.reliability()["oracle"].to_numpy()


def _shared(indexes: Sequence[StoreIndex], places: Sequence[int]) -> dict[tuple[int, int], int]:
    """Return how many stimuli each two stores both show."""
    if len(indexes) < 2:
        return {}
    counts = [len(index.small(f"{layout.TRIALS}/{layout.TRIAL_ID}")) for index in indexes]
    parts = [set(part.tolist()) for part in np.split(same_stimuli(indexes), np.cumsum(counts)[:-1])]
    return {
        (places[a], places[b]): len(parts[a] & parts[b]) for a in range(len(parts)) for b in range(a + 1, len(parts))
    }


def _scan_document(scan: VariableScan) -> dict[str, Any]:
    means = {
        f"{name} ({unit})" if unit else name: scan.means[:, place] for place, (name, unit) in enumerate(scan.series)
    }
    return {
        "trials_read": int(scan.read.sum()),
        "values": int(scan.size.sum()),
        "missing": int(scan.missing.sum()),
        "saturated": int(scan.saturated.sum()),
        "frames_without_pupil": int(scan.lost.sum()),
        "min": _plain(np.fmin.reduce(scan.low)),
        "max": _plain(np.fmax.reduce(scan.high)),
        "mean_of_trials": {name: _spread(values) for name, values in means.items()},
    }


def _spread(values: Iterable[Any]) -> dict[str, float | None]:
    """Return the ends, the quartiles and the middle of values."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    ends = np.percentile(known, [0, 25, 50, 75, 100]) if known.size else np.full(5, np.nan)
    return dict(zip(("min", "lower_quartile", "median", "upper_quartile", "max"), map(_plain, ends), strict=True))


def _plain(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return float(value) if np.isfinite(value) else None

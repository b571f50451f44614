"""What a bound on errors costs and saves: size, speed and error by bound, to choose one from.

A made-up float64 recording is converted with each bound in turn, and each store is read whole against its source: the
errors of all values, and what becomes of them when models are trained on values normalized as the field does it. Speed
is that of `TrialLoader` by time of the processor, of all stores in turn, from the page cache.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from trialpack import Mouse, TrialLoader, convert_mouse, open_mouse
from trialpack.readers import ScaleByStd, Standardize
from trialpack.readers.normalization import Used, affines
from trialpack.store.layout import RESPONSES, CodecName, Variable
from trialpack.store.variables import VIDEOS

from . import data, traces
from .report import Column, Table, console

Bound = float | str
BOUNDS: Mapping[str, tuple[Bound, ...]] = {
    RESPONSES: (1e-3, 1e-2, 0.1, "0.01%std", "0.1%std", "1%std", "5%std"),
    VIDEOS: (0.01, 0.1, 0.5, 2.0, "0.1%std", "1%std", "5%std"),
}
WHOLE_MICE: tuple[dict[str, Bound], ...] = (
    {RESPONSES: 0.001, VIDEOS: 0.5},
    {RESPONSES: "0.1%std", VIDEOS: 0.5},
    {RESPONSES: "1%std", VIDEOS: 2.0},
)
QUICK_BOUNDS: Mapping[str, tuple[Bound, ...]] = {RESPONSES: (1e-3, "0.1%std"), VIDEOS: (0.5,)}
TRIALS, QUICK_TRIALS, QUICK_NEURONS = 8, 6, 300
WINDOW = 80
CODECS: tuple[CodecName, ...] = ("fast", "small")

_SIZES = (
    Column("MB", "mb", ".1f"),
    Column("smaller than .npy", "npy", ".1f"),
    Column("than float32", "float32", ".1f"),
)
_SPEEDS = (
    Column("trials/s", "whole", ".0f"),
    Column("to float32", "whole_ratio", ".2f"),
    Column(f"{WINDOW} frames/s", "windows", ".0f"),
    Column("to float32", "windows_ratio", ".2f"),
)
_ERRORS = (
    Column("largest error", "largest", ".2g"),
    Column("mean error", "mean", ".2g"),
    Column("largest, normalized", "normalized", ".2g"),
    Column("RMS, normalized", "rms", ".2g"),
)
_CORRELATIONS = (Column("worst 1 - r", "worst", ".1g"), Column("mean 1 - r", "correlation", ".1g"))
NOTES = (
    "smaller: bytes of the .npy files, and of the float32 store of the same codec, over those of the variable. "
    "Speeds: samples a second of one core's time, nothing kept in memory; and over those of the float32 store.",
    "normalized: in the units that models see (responses over their standard deviation, videos standardized; both over "
    "trials and frames). 1 - r: r is the correlation over time of a neuron with its source.",
)
_NORMALIZE = {RESPONSES: ScaleByStd(over="trials_and_frames"), VIDEOS: Standardize(over="trials_and_frames")}
"""As the field does it, but over frames too: of few trials, the standard deviation of one frame says little."""


@dataclass
class Case:
    """One store: what it was made with, and what was found of it."""

    codec: CodecName
    bounds: Mapping[str, Bound]
    mouse: Mouse
    figures: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def label(self) -> str:
        """The bounds, as on the command line."""
        return ", ".join(f"{name}={bound}" for name, bound in self.bounds.items()) or "float32"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="turns; the best counts (%(default)s)")
    parser.add_argument("--traces", type=Path, metavar="NPZ", help="measure what bounds do to real traces instead")
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw size against error")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return a table a variable and one of whole mice; or those of real traces."""
    if options.traces:
        return traces.tables(options.traces, options.data)
    neurons = QUICK_NEURONS if options.quick else data.NEURONS
    source = data.recording(options.data, "F", QUICK_TRIALS if options.quick else TRIALS, neurons, train=True)
    bounds = QUICK_BOUNDS if options.quick else BOUNDS
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory(dir=options.data) as scratch:
        made = _Stores(source, Path(scratch))
        exact = made.case("fast", {}, statistics=True)
        variables = [exact.mouse.recording.variable(name) for name in sorted(BOUNDS)]
        tables = [_variable(made, exact, variable, bounds, rounds) for variable in variables]
        tables.append(_whole_mice(made, WHOLE_MICE[: 1 if options.quick else None], rounds))
    if options.figure:
        _draw(tables[:2]).savefig(options.figure)
    return tables


class _Stores:
    """Makes stores of one recording."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source, self._folder, self._made = source, folder, 0

    def case(self, codec: CodecName, bounds: Mapping[str, Bound], *, statistics: bool = False) -> Case:
        self._made += 1
        to = self._folder / str(self._made)
        store = convert_mouse(
            self.source, to, precision="float32", max_error=bounds, codec=codec, statistics=statistics, verify=False
        ).store
        case = Case(codec, bounds, open_mouse(store))
        console.print(f"  converted: {codec}, {case.label}", style="dim")
        return case

    def npy_bytes(self, variable: str = "") -> int:
        """Bytes of the trials' files."""
        return sum(path.stat().st_size for path in (self.source / "data" / variable).rglob("*.npy"))


def _variable(
    made: _Stores, exact: Case, variable: Variable, bounds: Mapping[str, tuple[Bound, ...]], rounds: int
) -> Table:
    name = variable.name
    cases = [Case(exact.codec, {}, exact.mouse), *(made.case("fast", {name: bound}) for bound in bounds[name])]
    for case in cases:
        nbytes = case.mouse.index.stored_nbytes(name)
        sizes = {"mb": nbytes / 1e6, "npy": made.npy_bytes(name) / nbytes}
        case.figures |= sizes | {"float32": exact.mouse.index.stored_nbytes(name) / nbytes}
        case.figures |= _errors(case.mouse, exact.mouse, made.source, variable)
    _measure(cases, [name], rounds)
    rows = [{"bound": case.bounds.get(name, "float32"), **case.figures} for case in cases]
    columns = (Column("bound", "bound"), *_SIZES, *_SPEEDS, *_ERRORS)
    columns += _CORRELATIONS if name == RESPONSES else ()
    return Table(f"{name.capitalize()}, codec fast", columns, rows, NOTES, name)


def _whole_mice(made: _Stores, wanted: tuple[dict[str, Bound], ...], rounds: int) -> Table:
    rows = list[dict[str, Any]]()
    for codec in CODECS:
        cases = [made.case(codec, bounds) for bounds in ({}, *wanted)]
        nbytes = [case.mouse.index.nbytes for case in cases]
        _measure(cases, list(cases[0].mouse.variables), rounds)
        for case, size in zip(cases, nbytes, strict=True):
            sizes = {"mb": size / 1e6, "npy": made.npy_bytes() / size, "float32": nbytes[0] / size}
            rows.append({"codec": codec, "bound": case.label, **sizes, **case.figures})
    columns = (Column("codec", "codec"), Column("bounds", "bound"), *_SIZES, *_SPEEDS)
    return Table("Whole mice, other variables float32, without statistics", columns, rows, NOTES[:1], "mice")


def _measure(cases: list[Case], variables: list[str], rounds: int) -> None:
    """Stream all stores in turn, so that what disturbs the machine for a while disturbs none alone."""
    for what, window, epochs in (("whole", None, 1), ("windows", WINDOW, 3)):
        for turn in range(rounds + 1):
            for case in cases if turn % 2 else cases[::-1]:
                speed = _speed(case.mouse, variables, window, epochs)
                if turn:
                    case.figures[what] = max(speed, case.figures.get(what, 0.0))
        for case in cases:
            case.figures[f"{what}_ratio"] = case.figures[what] / cases[0].figures[what]


def _speed(mouse: Mouse, variables: list[str], window: int | None, epochs: int) -> float:
    loader = TrialLoader(
        mouse,
        tier="train",
        batch_size=8,
        window=window,
        variables=variables,
        shuffle=True,
        output="numpy",
        threads=2,
        cache="none",
    )
    begun, samples = time.process_time(), 0
    for _ in range(epochs):
        samples += sum(len(batch["trial_id"]) for batch in loader)
    return samples / (time.process_time() - begun)


def _errors(mouse: Mouse, exact: Mouse, source: Path, variable: Variable) -> dict[str, float]:
    """Compare all valid values with the source; `exact` has the statistics by which they are normalized."""
    assert exact.recording.n_frames is not None
    frames = Used(range(int(exact.recording.n_frames.max())))
    divisor = affines(exact.index, exact.recording, _NORMALIZE, [variable.name], frames)[variable.name].divisor
    largest, total, normalized, squares, count, known = 0.0, 0.0, 0.0, 0.0, 0, _Correlation()
    for found, wanted in _pairs(mouse, source, variable):
        error = np.abs(found - wanted)
        changed = error / divisor
        largest, total = max(largest, float(error.max())), total + float(error.sum())
        normalized, squares = max(normalized, float(changed.max())), squares + float(np.square(changed).sum())
        count += error.size
        if variable.name == RESPONSES:
            known.add(found, wanted)
    figures = {"largest": largest, "mean": total / count, "normalized": normalized, "rms": (squares / count) ** 0.5}
    if variable.name == RESPONSES:
        apart = known.apart
        figures |= {"worst": float(apart.max()), "correlation": float(apart.mean())}
    return figures


def _pairs(mouse: Mouse, source: Path, variable: Variable) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield the valid values of each trial as the store and as the source has them, axes of the store."""
    for trial_id in mouse.recording.trial_ids.tolist():
        found = np.asarray(mouse.trial(trial_id)[variable.name], np.float64)
        wanted = np.load(source / "data" / variable.name / f"{trial_id}.npy").transpose(variable.axes)
        yield found, wanted.take(range(found.shape[variable.frame_axis or 0]), variable.frame_axis)


class _Correlation:
    """Correlation over time of each neuron with its source."""

    def __init__(self) -> None:
        self._sums: Any = 0

    def add(self, one: NDArray[np.float64], other: NDArray[np.float64]) -> None:
        """Add (neuron, frame) values."""
        products = [one, other, one * one, other * other, one * other, np.ones_like(one)]
        self._sums = self._sums + np.stack([values.sum(axis=1) for values in products])

    @property
    def apart(self) -> NDArray[np.float64]:
        """One less the correlation, of the neurons that vary in both."""
        one, other, ones, others, both, n = self._sums
        spread = (ones - one**2 / n) * (others - other**2 / n)
        vary = (ones - one**2 / n > 0) & (others - other**2 / n > 0)
        return 1 - ((both - one * other / n)[vary] / np.sqrt(spread[vary]))


def _draw(tables: list[Table]) -> Figure:
    figure = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    panels: list[Axes] = list(figure.subplots(1, len(tables)))
    for axes, table in zip(panels, tables, strict=True):
        for marker, label, percents in (("o", "in the variable's unit", False), ("s", "%std", True)):
            rows = [row for row in table.rows if row["bound"] != "float32" and ("%" in str(row["bound"])) == percents]
            axes.plot([row["npy"] for row in rows], [row["rms"] for row in rows], marker=marker, label=label, lw=1)
            for row in rows:
                place = (row["npy"], row["rms"])
                ends = {"xytext": (5, -8), "ha": "left"} if percents else {"xytext": (-5, 4), "ha": "right"}
                axes.annotate(str(row["bound"]), place, textcoords="offset points", fontsize=7, **ends)
        axes.axvline(table.rows[0]["npy"], color="0.6", lw=1, ls=":", label="float32")
        axes.set(title=table.title, xlabel="times smaller than the .npy files", yscale="log")
        axes.margins(x=0.12)
        axes.set_ylabel("RMS error of normalized values")
        axes.legend(fontsize=7, loc="upper left")
        axes.spines[["top", "right"]].set_visible(False)
    return figure

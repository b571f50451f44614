"""The pictures of a report, each with a text and a table that say the same; matplotlib is imported to draw them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...store import CorruptStoreError, layout
from .. import panels
from ..drawn_neurons import places_of
from ..figure import ORDER, figure_class, trial_figure
from ..mouse import Mouse
from ..recording import Recording
from .reporting import StoreReport
from .scan import VariableScan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 8.0
_MOST_LENGTHS = 6
_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_COLOURS = {
    panels.GREY: "grey",
    panels.PALE: "pale",
    panels.MISSING: "missing",
    panels.BLUE: "blue",
    panels.ORANGE: "orange",
}
"""Colour in a figure -> what a page calls it, which has another one in the dark."""


@dataclass(frozen=True)
class Table:
    """Headings and rows of texts and numbers."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Picture:
    """A drawing, what it shows in words, and its numbers.

    Attributes
    ----------
    svg
        Markup to be put into a page as it is: it has no text of the store but as outlines.
    """

    title: str
    svg: str
    text: str
    table: Table


def as_svg(figure: Figure, salt: str) -> str:
    """Return a figure as a part of a page, with the page's colours.

    Parameters
    ----------
    salt
        What makes its names differ from those of the other figures of the page.
    """
    from matplotlib import rc_context

    drawn = io.StringIO()
    figure.patch.set_alpha(0)
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "path"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    # Comments repeat texts of the store; names of groups are the same in every figure.
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(<svg\b[^>]*?) (?:height|width)="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg\b[^>]*?) (?:height|width)="[^"]*"', r"\1", text)
    for colour, name in _COLOURS.items():
        text = text.replace(colour.lower(), f"var(--{name})")
    text = text.replace(panels.INK, "currentColor").replace("#ffffff", "none")
    return re.sub(r"\n\s*", "\n", text)


def _figure(height: float) -> Figure:
    return figure_class()(figsize=(_WIDTH, height), dpi=150, layout="constrained")


def trials_by_tier(recording: Recording) -> tuple[Figure, str, Table]:
    """Draw how many trials each tier has, of which length."""
    tiers = list(recording.trials_by_tier)
    lengths = np.zeros(len(recording.tiers), int) if recording.n_frames is None else recording.n_frames
    shown = np.unique(lengths).tolist()
    # Of many lengths, bars could not be told apart.
    shown = shown if len(shown) <= _MOST_LENGTHS else []
    figure = _figure(0.9 + 0.3 * len(tiers))
    axes = figure.add_subplot()
    panels.plain(axes, "", "trials")
    left = np.zeros(len(tiers))
    for place, length in enumerate(shown or [None]):
        fit = np.ones(len(lengths), bool) if length is None else lengths == length
        counts = np.array([int((fit & (recording.tiers == tier)).sum()) for tier in tiers])
        label = f"{length} frames" if length else None
        axes.barh(range(len(tiers)), counts, left=left, color=_PALETTE[place], label=label, edgecolor="none")
        left += counts
    axes.set_yticks(range(len(tiers)), tiers)
    axes.invert_yaxis()
    axes.locator_params(axis="x", integer=True)
    if shown and recording.n_frames is not None:
        figure.legend(loc="outside upper left", ncols=3, fontsize=panels.SMALL, frameon=False, labelcolor=panels.INK)
    rows = [_tier_row(recording, tier) for tier in tiers]
    text = f"{len(recording.tiers)} trials: {', '.join(f'{row[1]} {row[0]}' for row in rows)}."
    return figure, text, Table("Trials by tier", ["tier", "trials", "frames", "responses withheld"], rows)


def _tier_row(recording: Recording, tier: str) -> list[object]:
    own = recording.tiers == tier
    if recording.n_frames is None:
        return [tier, int(own.sum()), "–", int(recording.withheld[own].sum())]
    lengths, counts = np.unique(recording.n_frames[own], return_counts=True)
    pairs = sorted(zip(counts.tolist(), lengths.tolist(), strict=True), reverse=True)
    texts = [f"{length} in {count}" for count, length in pairs[:_MOST_LENGTHS]] + ["…"] * (len(pairs) > _MOST_LENGTHS)
    return [tier, int(own.sum()), ", ".join(texts), int(recording.withheld[own].sum())]


def recording_in_time(store: StoreReport, mouse: Mouse) -> tuple[Figure, str, Table]:
    """Draw the mean of each variable in each trial, in the order in which trials were shown, and their tiers."""
    recording = mouse.recording
    order, label = _order(mouse)
    series = [(scan, place) for scan in store.scans.values() for place in range(len(scan.series))]
    series = [(scan, place) for scan, place in series if scan.read.any()][:10]
    tiers = list(recording.trials_by_tier)
    heights = [*[0.75] * len(series), 0.3 + 0.16 * len(tiers)]
    figure = _figure(sum(heights) + 0.5)
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    stack: list[Axes] = []
    for number, (scan, place) in enumerate(series):
        axes = figure.add_subplot(grid[number], sharex=stack[0] if stack else None)
        panels.plain(axes, _wrapped(*scan.series[place]))
        axes.tick_params(labelbottom=False)
        _dots(axes, order, scan.means[:, place])
        axes.margins(x=0.01, y=0.12)
        stack.append(axes)
    axes = figure.add_subplot(grid[-1], sharex=stack[0] if stack else None)
    panels.plain(axes, "tier", label)
    _dots(axes, order, np.searchsorted(tiers, recording.tiers))
    axes.set_yticks(range(len(tiers)), tiers)
    axes.set_ylim(len(tiers) - 0.5, -0.5)
    figure.align_ylabels([*stack, axes])
    rows = [[*_series_text(scan, place), *_ends(scan.means[:, place])] for scan, place in series]
    text = f"Mean of each trial, {'a dot each' if len(order) > 1 else 'one dot'}, over {label}."
    return figure, text, Table("Means of trials", ["variable", "unit", "least", "median", "largest"], rows)


def _order(mouse: Mouse) -> tuple[NDArray[Any], str]:
    """Return when each trial was shown, as far as that is known."""
    columns = mouse.trials
    if ORDER in columns and columns[ORDER].dtype.kind in "iu" and columns[ORDER].is_unique:
        return columns[ORDER].to_numpy(), f"order of the trials ({ORDER})"
    return mouse.recording.trial_ids, "trial_id"


def _dots(axes: Axes, x: NDArray[Any], y: NDArray[Any]) -> None:
    size = 3.0 if len(x) <= 500 else 1.5
    style: dict[str, Any] = {"rasterized": len(x) > panels.MOST_VECTORS, "markeredgewidth": 0}
    axes.plot(x, y, linestyle="none", marker="o", markersize=size, color=panels.BLUE, **style)


def _wrapped(name: str, unit: str) -> str:
    return "\n".join([*wrap(name, 14), *([f"({unit})"] if unit else [])])


def _series_text(scan: VariableScan, place: int) -> list[str]:
    name, unit = scan.series[place]
    return [name, unit or "–"]


def _ends(values: NDArray[Any]) -> list[str]:
    known = values[np.isfinite(values)]
    return [f"{one:.4g}" for one in (known.min(), np.median(known), known.max())] if known.size else ["–"] * 3


_SCALES = {"mean response": "viridis", "reliability": "cividis"}


def neurons_in_cortex(store: StoreReport, mouse: Mouse) -> tuple[Figure, str, Table] | None:
    """Draw neurons where they are, coloured by mean response and reliability; None where that is not known."""
    places, values = places_of(mouse), _by_neuron(store)
    if places is None or not values:
        return None
    views = {"y (µm)": 1, "depth (µm)": 2} if places.shape[1] > 2 else {"y (µm)": 1}
    # One measure: its views side by side; two: one below the other, as high as they are wide.
    spans = np.ptp(places, axis=0) + 1.0
    heights = [float(np.clip(spans[axis] / spans[0], 0.25, 1.5)) for axis in views.values()]
    figure = _figure(3.2 * (sum(heights) if len(values) > 1 else max(heights)) + 1.0)
    grid = (
        figure.subplots(len(views), len(values), squeeze=False, height_ratios=heights)
        if len(values) > 1
        else [figure.subplots(1, 2)]
    )
    for place, (name, (unit, found)) in enumerate(values.items()):
        stack = [line[place] for line in grid] if len(values) > 1 else list(grid[0])
        images = list[Any]()
        for axes, (label, axis) in zip(stack, views.items(), strict=False):
            panels.plain(axes, label, "x (µm)")
            images.append(panels.scatter(axes, places[:, 0], places[:, axis], found, _SCALES[name]))
            if axis == 2:
                axes.invert_yaxis()
        bar = figure.colorbar(images[0], ax=stack[0], location="top", shrink=0.8, aspect=30, extend="both")
        panels.plain(bar.ax, "", f"{name} ({unit})" if unit else name)
        bar.ax.xaxis.set_label_position("top")
    rows = [[name, unit or "–", *_ends(found)] for name, (unit, found) in values.items()]
    seen = "from above and from the side" if len(views) > 1 else "from above"
    text = f"{len(places)} neurons where they lie in the cortex, seen {seen}."
    return figure, text, Table("Neurons", ["of each neuron", "unit", "least", "median", "largest"], rows)


def _by_neuron(store: StoreReport) -> dict[str, tuple[str, NDArray[np.float64]]]:
    scan = store.scans[layout.RESPONSES]
    found: dict[str, tuple[str, NDArray[np.float64]]] = {}
    if scan.neurons is not None and scan.neurons.moments.count.any():
        known = scan.neurons.moments.count > 0
        found["mean response"] = scan.series[0][1], np.where(known, scan.neurons.moments.mean, np.nan)
    if store.oracle is not None and np.isfinite(store.oracle).any():
        found["reliability"] = "oracle score", store.oracle
    return found


def distributions(store: StoreReport) -> tuple[Figure, str, Table] | None:
    """Draw histograms of the neurons' activity and reliability, and of the values of the other variables."""
    drawn = list(_histograms(store))
    if not drawn:
        return None
    columns = 3
    lines = -(-len(drawn) // columns)
    figure = _figure(1.8 * lines)
    for place, (name, unit, values, of) in enumerate(drawn):
        axes = figure.add_subplot(lines, columns, place + 1)
        label = f"{name} ({unit})" if unit else name
        panels.plain(axes, of if place % columns == 0 or of != drawn[place - 1][3] else "", label)
        axes.yaxis.label.set(rotation=90, ha="center", va="bottom")
        _histogram(axes, values)
    rows = [[name, unit or "–", f"{len(values)} {of}", *_ends(values)] for name, unit, values, of in drawn]
    text = "Of neurons each is counted; of variables, values evenly spaced in each trial. The middle 99 % are drawn."
    headings = ["what", "unit", "of", "least", "median", "largest"]
    return figure, text, Table("Distributions", headings, rows)


def _histograms(store: StoreReport) -> Iterator[tuple[str, str, NDArray[Any], str]]:
    """Yield name, unit, finite values, and what each of them is of."""
    for name, (unit, values) in _by_neuron(store).items():
        yield name, unit, values[np.isfinite(values)], "neurons"
    if layout.RESPONSES in store.scans and (neurons := store.scans[layout.RESPONSES].neurons) is not None:
        std = neurons.moments.std
        if np.isfinite(std).any():
            yield "std of responses", store.scans[layout.RESPONSES].series[0][1], std[np.isfinite(std)], "neurons"
    for name, scan in store.scans.items():
        for place, (label, unit) in enumerate(scan.series if name != layout.RESPONSES else ()):
            values = scan.sample[:, place]
            if np.isfinite(values).any():
                yield label, unit, values[np.isfinite(values)], "values"


def _histogram(axes: Axes, values: NDArray[Any]) -> None:
    low, high = np.percentile(values, [0.5, 99.5])
    axes.hist(values[(values >= low) & (values <= high)], bins=40, color=panels.BLUE, histtype="stepfilled")
    axes.locator_params(axis="both", nbins=4)
    axes.ticklabel_format(axis="y", scilimits=(-3, 4))


def example_trials(store: StoreReport, mouse: Mouse, most: int) -> Iterator[tuple[Figure, str, Table]]:
    """Yield figures of a train trial, and of trials that something is found of."""
    for trial_id in _examples(store, mouse, most):
        try:
            figure, trial = trial_figure(mouse, trial_id), mouse.trial(trial_id)
        except CorruptStoreError:
            continue
        rows = [
            [name, " × ".join(map(str, values.shape)), *_ends(np.asarray(values, np.float64))]
            for name, values in trial.items()
        ]
        kinds = [one.kind for one in store.findings if trial_id in one.trials]
        found = f" Found of it: {', '.join(kinds)}." if kinds else ""
        text = f"Trial {trial_id} of tier {trial.tier}.{found}"
        yield figure, text, Table(f"Trial {trial_id}", ["variable", "shape", "least", "median", "largest"], rows)


def _examples(store: StoreReport, mouse: Mouse, most: int) -> list[int]:
    recording = mouse.recording
    whole = np.logical_and.reduce([scan.read | ~_given(recording, name) for name, scan in store.scans.items()])
    first = np.flatnonzero(whole & ~recording.withheld)
    train = first[recording.tiers[first] == layout.TRAIN_TIER]
    chosen = (train if train.size else first if first.size else np.flatnonzero(whole))[:1]
    found = recording.trial_ids[chosen].tolist()
    readable = set(recording.trial_ids[whole].tolist())
    # Rare faults are shown, one each; not what nearly every trial has.
    rare = sorted((one for one in store.findings if 0 < len(one.trials) < len(whole) / 4), key=lambda o: len(o.trials))
    for one in rare:
        if one.kind != "withheld-trials" and one.trials[0] in readable and one.trials[0] not in found:
            found.append(one.trials[0])
    return found[:most]


def _given(recording: Recording, name: str) -> NDArray[np.bool_]:
    given = np.zeros(len(recording.trial_ids), bool)
    given[recording.given(name, np.arange(len(given)))] = True
    return given

"""The pictures of docs/benchmarks.md, drawn of results: legible on a white page and on a dark one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from .report import Result

Results = Mapping[str, Result]
INK, OURS, C_ORDER, BARE, PUBLIC, PEER = "#7d8590", "#2f81f7", "#2da44e", "#a371f7", "#d9730d", "#9aa4af"
"""Grey of text and axes, between white and black; trialpack, in C order, uncompressed; the public way; all others."""
STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "trialpack", "font.family": "DejaVu Sans",
    "font.size": 9, "axes.titlesize": 10, "legend.fontsize": 8, "legend.frameon": False,
    "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "axes.titlecolor": INK,
    "xtick.color": INK, "ytick.color": INK, "grid.color": INK, "grid.alpha": 0.25, "axes.grid": True,
    "axes.facecolor": "none", "axes.spines.top": False, "axes.spines.right": False,
    "lines.linewidth": 1.8, "lines.markersize": 4.5,
}  # fmt: skip
COLOURS = {
    "trialpack": OURS, "trialpack, C order": C_ORDER, "trialpack, uncompressed": BARE,
    "torch Dataset of .npy files": PUBLIC, "public pipeline": PUBLIC, "zarr-python loop": PUBLIC,
}  # fmt: skip
_PLAIN = FuncFormatter(lambda value, _: f"{value:g}" if value < 10_000 else f"{value / 1000:g}k")


def save(figure: Figure, path: Path, digest: str) -> None:
    """Write a picture that says which results it was drawn from."""
    with rc_context(STYLE):
        metadata = {"Date": None, "Creator": None, "Description": f"results {digest}"}
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata=metadata)
    path.write_text(drawn.getvalue().replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif"), encoding="utf-8")


def stream(results: Results) -> Figure:
    """Draw who is how fast on each workload, in C order and as delivered."""
    with rc_context(STYLE):
        names = ("whole", "windows", "strides", "images")
        figure = Figure(figsize=(9.5, 7.5), layout="constrained")
        for axes, name in zip(figure.subplots(2, 2).flat, names, strict=True):
            table = results["stream"][name]
            rows = [row for row in table.rows if row["role"] != "roof"][::-1]
            places = range(len(rows))
            colours = [OURS if row["role"] == "ours" else PEER for row in rows]
            axes.barh(places, [row["best"] for row in rows], 0.72, color=colours, alpha=0.35)
            axes.barh(places, [row["c_best"] for row in rows], 0.4, color=colours)
            axes.set_yticks(places, [row["what"] for row in rows])
            axes.set(title=table.title.rpartition(", batches")[0], xlabel="samples a second")
            axes.xaxis.set_major_formatter(_PLAIN)
            axes.grid(False, axis="y")
        figure.supxlabel("narrow: in C order as shaped · wide and pale: as delivered", color=INK, fontsize=9)
        return figure


def growth(results: Results) -> Figure:
    """Draw rates against threads, batch size, window, neurons, mice, and part of the files in the page cache."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9.5, 5.6), layout="constrained")
        names = ("threads", "batch size", "window", "neurons", "mice", "cache")
        labels = ("threads, or workers", "batch size", "frames of a window", "neurons", "mice", "page cache / files")
        panels = list(figure.subplots(2, 3).flat)
        for axes, name, label in zip(panels, names, labels, strict=True):
            rows = results["growth"].rows(name)
            _lines(axes, rows, "best")
            axes.set(xlabel=label, ylabel="samples a second")
            _double(axes, {row["x"] for row in rows})
        _legend(figure, panels[0], panels[-1])
        return figure


def trials(results: Results) -> Figure:
    """Draw memory and time of conversion and statistics against the number of trials."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9.5, 5.2), layout="constrained")
        panels = figure.subplots(2, 2)
        for column, (name, verb) in enumerate((("conversion", "converting"), ("statistics", "statistics"))):
            table = results["growth"][name]
            for axes, key, label in zip(
                panels[:, column], ("peak_mb", "seconds"), ("peak memory, MB", "s"), strict=True
            ):
                _lines(axes, table.rows, key)
                if key == "peak_mb":
                    axes.axhline(table.sizes["max_memory_mb"], color=INK, ls=":", lw=1.2)
                axes.set(xlabel="trials", ylabel=f"{verb}: {label}")
                axes.set_xticks(sorted({row["x"] for row in table.rows}))
                axes.legend()
        return figure


def interpreter(results: Results) -> Figure:
    """Draw how many samples a second there can be at most with more cores."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9.5, 3.4), layout="constrained")
        table = results["growth"]["interpreter"]
        cores = (
            [int(key.removeprefix("cores_")) for key in table.rows[0] if key.startswith("cores_")] if table.rows else []
        )
        for axes, bare in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
            rows = [row for row in table.rows if row["what"].endswith("uncompressed") == bare]
            for row, marker in zip(rows, "osv^", strict=False):
                rates = [row[f"cores_{count}"] for count in cores]
                axes.plot(cores, rates, marker=marker, label=row["what"].removesuffix(", uncompressed"))
            axes.set(title="uncompressed store" if bare else "default store", xlabel="cores", yscale="log")
            axes.set_ylabel("samples a second, at most")
            _double(axes, cores)
            axes.yaxis.set_major_formatter(_PLAIN)
        _legend(figure, axes)
        return figure


def training(results: Results) -> Figure:
    """Draw the losses of both trainings on top of each other, and what a step took."""
    with rc_context(STYLE):
        figure = Figure(figsize=(9.5, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        losses = results["training"]["losses"].row
        for name, width, style in (("torch Dataset of .npy files", 5.0, "-"), ("trialpack", 1.4, "-")):
            alpha = 0.45 if width > 2 else 1.0
            left.plot(losses[name]["losses"], style, color=COLOURS[name], lw=width, alpha=alpha, label=f"fed by {name}")
        left.set(xlabel="step", ylabel="loss")
        left.legend()
        rows = results["training"]["training"].rows[::-1]
        steps = [1000 / row["best"] for row in rows]
        waited = [step * row["waiting"] for step, row in zip(steps, rows, strict=True)]
        colours = [COLOURS[row["what"]] for row in rows]
        right.barh(range(len(rows)), [a - b for a, b in zip(steps, waited, strict=True)], 0.5, color=colours, alpha=0.4)
        right.barh(range(len(rows)), waited, 0.5, [a - b for a, b in zip(steps, waited, strict=True)], color=colours)
        right.set_yticks(range(len(rows)), [row["what"].replace(" of ", "\nof ") for row in rows])
        right.set(xlabel="ms a step; full colour: waiting for the batch")
        right.grid(False, axis="y")
        return figure


def _lines(axes: Axes, rows: Sequence[Mapping[str, Any]], key: str) -> None:
    """Draw a line for each thing that was measured, one point a value of ``x``."""
    for name in dict.fromkeys(row["what"] for row in rows):
        points = [(row["x"], row[key]) for row in rows if row["what"] == name]
        axes.plot(*zip(*points, strict=True), "o-", color=COLOURS.get(name, PEER), label=name)
    axes.set_ylim(0, 1.08 * max((row[key] for row in rows), default=1.0))


def _double(axes: Axes, values: Iterable[float]) -> None:
    """Have an axis on which doubling is a step, with a tick at each value."""
    if ticks := sorted(values):
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks)
        axes.xaxis.set_major_formatter(_PLAIN)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(_PLAIN)


def _legend(figure: Figure, *panels: Axes) -> None:
    """Put one legend for all panels above them."""
    known = dict[str, Any]()
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        known |= dict(zip(labels, handles, strict=True))
    figure.legend(known.values(), known.keys(), loc="outside upper center", ncols=len(known))


PICTURES: dict[str, Callable[[Results], Figure]] = {
    "stream": stream, "growth": growth, "trials": trials, "interpreter": interpreter, "training": training
}  # fmt: skip

"""One trial at a glance, as a matplotlib figure; matplotlib is imported when a figure is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from ..store import OptionError, Problem, layout
from ..store.arguments import check_type
from . import panels
from .drawn_neurons import DrawnNeurons, NeuronOrder, draw_neurons
from .figure_blocks import Block, Row, blocks_of, rows_of
from .mouse import Mouse
from .recording import Trial
from .selection import Choice, Tier
from .shown import Shown, readable, show_repeats, show_variable, usual_ranges
from .tables import STIMULUS_ID, trial_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

_WIDTH, _DPI = 9.0, 150
_MOST_INCHES = 20.0
"""Height of the rows of a figure, at most: what does not fit is named."""
_CHARACTERS, _LINE = 120, 0.16
_NAMES, _LISTED = 40, 8
ORDER = "trial_idx"
"""The column of published mice that says when trials were shown; of static ones it is a text."""
_NOT_PICTURES = ("pgf", "raw", "rgba")  # pgf needs LaTeX; the others are bare bytes


def trial_figure(
    mouse: Mouse, trial_id: int, *, neurons: Choice | None = None, sort: NeuronOrder = "activity"
) -> Figure:
    """Draw one trial at a glance.

    Parameters
    ----------
    mouse
        Opened by `open_mouse`; only this trial is read.
    trial_id
        Number of its files in the source.
    neurons
        Which neurons are drawn, as in `Mouse.positions`; all by default.
    sort
        What orders the rows of rasters: ``activity`` in the trial, ``position`` (or the order in which neurons were
        given), ``area``, ``depth``, or ``reliability`` of the responses to repeated stimuli, which reads them.

    Returns
    -------
    matplotlib.figure.Figure
        It belongs to no window: a notebook shows it, and ``figure.savefig("trial.png")`` saves it. Variables with
        frames share one time axis in frames and seconds, which covers the longest trial of the store, with padding
        shaded: of videos some frames, of neurons a raster, of the responses single neurons, too, and channels as lines
        (of more than six, shades), with a bar on the right where they are in most train trials (mean ± standard
        deviation). Below them, or alone in a static mouse, what has one value a trial: pictures, numbers, and neurons
        one by one and where they lie.

    Raises
    ------
    OptionError
        There is no such trial or neuron, neurons cannot be sorted so, or there is no matplotlib.
    CorruptStoreError
        The trial is damaged.

    Notes
    -----
    Where there are more than 400 neurons, rows of a raster are means of groups of equal size in their order (the last
    may be smaller). The largest 0.5 % of what is drawn share one shade. Variables that do not fit into 20 inches, or
    whose axes no panel has a form for, are named at the foot.
    """
    check_type("mouse", mouse, Mouse, "a Mouse, as open_mouse returns it")
    figure_class()
    trial = mouse.trial(trial_id)
    chosen = draw_neurons(mouse, neurons, sort)
    shown = _of_neurons([show_variable(mouse.recording, trial, one) for one in mouse.recording.variables], chosen)
    span = _span(mouse, trial.n_frames or 0, int(np.searchsorted(mouse.recording.trial_ids, trial.trial_id)))
    return _drawn(mouse, shown, span, chosen, _title(mouse, trial, shown, span, chosen))


def repeats_figure(
    mouse: Mouse, stimulus_id: int, *, tier: Tier = None, neurons: Choice | None = None, sort: NeuronOrder = "activity"
) -> Figure:
    """Draw what several trials that show the same stimulus have in common: means, and standard deviations around them.

    Parameters
    ----------
    mouse
        Opened by `open_mouse`; only these trials are read.
    stimulus_id
        The number of the first trial that shows it, as in ``mouse.trials.stimulus_id``.
    tier
        Tier, or tiers, of the trials; all by default.
    neurons, sort
        As in `trial_figure`.

    Returns
    -------
    matplotlib.figure.Figure
        As of `trial_figure`, up to the length of the shortest of the trials.

    Raises
    ------
    OptionError
        No two trials show it; or as `trial_figure`.
    CorruptStoreError
        One of the trials is damaged.
    """
    check_type("mouse", mouse, Mouse, "a Mouse, as open_mouse returns it")
    figure_class()
    recording, repeats = mouse.recording, mouse.repeats(tier)
    rows = np.searchsorted(recording.trial_ids, repeats[stimulus_id])
    n_frames = None if recording.n_frames is None else int(recording.n_frames[rows].min())
    chosen = draw_neurons(mouse, neurons, sort)
    shown = _of_neurons([show_repeats(recording, rows, one, n_frames) for one in recording.variables], chosen)
    trials = [str(trial_id) for trial_id in repeats[stimulus_id].tolist()]
    listed = ", ".join(trials[:_LISTED]) + ", …" * (len(trials) > _LISTED)
    tiers = ", ".join(sorted(set(recording.tiers[rows].tolist())))
    withheld = int(recording.withheld[rows].sum())
    parts = [
        f"tier {tiers}",
        _neurons_text(mouse, chosen),
        *([f"responses of {withheld} withheld"] if withheld else []),
    ]
    title = f"{_name(mouse)}, stimulus {stimulus_id}\nmean of {len(rows)} repeats (trials {listed}), {', '.join(parts)}"
    return _drawn(mouse, shown, _span(mouse, n_frames or 0, int(rows[0])), chosen, title)


@dataclass(frozen=True)
class _Span:
    """Frames that are drawn, that the files of the trial have, and that the store has."""

    drawn: int
    in_file: int
    padded: int


def _span(mouse: Mouse, n_frames: int, row: int) -> _Span:
    padded, lengths = _padded(mouse), mouse.recording.n_file_frames
    return _Span(n_frames, padded if lengths is None else int(lengths[row]), padded)


def _of_neurons(shown: Sequence[Shown], neurons: DrawnNeurons) -> list[Shown]:
    """Return what is shown of variables with neurons of those that are drawn, in their order."""
    at = neurons.positions
    return [
        replace(one, values=one.values[at], spread=None if one.spread is None else one.spread[at])
        if one.form in ("raster", "bars")
        else one
        for one in shown
    ]


def _drawn(mouse: Mouse, shown: Sequence[Shown], span: _Span, neurons: DrawnNeurons, title: str) -> Figure:
    from matplotlib import rc_context

    shown = [replace(one, usual=usual_ranges(mouse.index, one.variable)) for one in shown]
    rows, blocks, left_out = _chosen(shown, span.padded, neurons)
    heights = [one.inches for one in (*rows, *blocks)]
    foot = _foot(left_out)
    # Names are texts, whatever is in them.
    with rc_context({"text.parse_math": False}):
        figure = figure_class()(dpi=_DPI, layout="constrained")
        seconds = 0.25 if rows and mouse.frame_rate else 0.0
        figure.set_size_inches(_WIDTH, sum(heights) + (0.9 if rows else 0.8) + seconds + _LINE * foot.count("\n"))
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        _draw_rows(figure, grid, rows, mouse, span)
        for place, block in enumerate(blocks, len(rows)):
            block.draw(figure, grid[place])
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=panels.INK)
        if foot:
            figure.supxlabel(foot, x=0.01, ha="left", fontsize=panels.SMALL, color=panels.ORANGE)
    return figure


def picture_formats() -> list[str]:
    """Return the suffixes that a figure can be saved under, without dots.

    Raises
    ------
    OptionError
        There is no matplotlib.
    """
    figure_class()
    from matplotlib.backend_bases import FigureCanvasBase

    return sorted(set(FigureCanvasBase.get_supported_filetypes()) - set(_NOT_PICTURES))


def figure_class() -> type[Figure]:
    """Return matplotlib's figure, which belongs to no window; raises `OptionError` without matplotlib."""
    try:
        import_module("matplotlib.figure")
    except ModuleNotFoundError:
        raise OptionError(Problem("figure", "needs the package matplotlib", "pip install matplotlib")) from None
    from .notebook_figure import NotebookFigure

    return NotebookFigure


def _chosen(shown: Sequence[Shown], padded: int, neurons: DrawnNeurons) -> tuple[list[Row], list[Block], list[str]]:
    """Return the rows and blocks that fit into the figure, and the names of the variables that are left out."""
    rows, blocks, left_out = list[Row](), list[Block](), [one.variable.name for one in shown if one.form is None]
    # What has one number a trial takes little room, and is drawn in any case.
    listed = {one.variable.name for one in shown if one.form == "values"}
    found_blocks = list(blocks_of(shown, neurons))
    height = sum(block.inches for block in found_blocks if listed.issuperset(block.names))
    for one in shown:
        found = rows_of(one, padded, neurons)
        if height + (more := sum(row.inches for row in found)) > _MOST_INCHES:
            left_out.append(one.variable.name)
        else:
            rows, height = rows + found, height + more
    for block in found_blocks:
        more = 0.0 if listed.issuperset(block.names) else block.inches
        if height + more > _MOST_INCHES:
            left_out += block.names
        else:
            blocks, height = [*blocks, block], height + more
    return rows, blocks, left_out


def _foot(left_out: Sequence[str]) -> str:
    if not left_out:
        return ""
    more = f" and {len(left_out) - _NAMES} more" if len(left_out) > _NAMES else ""
    return fill(f"not drawn: {', '.join(left_out[:_NAMES])}{more}", _CHARACTERS)


def _name(mouse: Mouse) -> str:
    name = layout.short_name(mouse.name)
    return f"mouse {mouse.letter}, {name}" if mouse.letter else readable(name)


def _neurons_text(mouse: Mouse, neurons: DrawnNeurons) -> str:
    drawn, n = len(neurons.positions), mouse.n_neurons
    return f"{f'{drawn} of ' if drawn != n else ''}{n} neuron{'s' if n > 1 else ''}"


def _title(mouse: Mouse, trial: Trial, shown: Sequence[Shown], span: _Span, neurons: DrawnNeurons) -> str:
    first, columns = [_name(mouse), f"trial {trial.trial_id}"], trial_columns(mouse.index, mouse.recording)
    row = int(np.searchsorted(mouse.recording.trial_ids, trial.trial_id))
    if STIMULUS_ID in columns:
        first.append(f"stimulus {columns[STIMULUS_ID][row]}")
    if ORDER in columns and columns[ORDER].dtype.kind in "iu":
        first.append(f"shown as number {columns[ORDER][row]}")
    second = [f"tier {trial.tier}", _neurons_text(mouse, neurons)]
    if trial.n_frames is not None:
        seconds = f" ({trial.n_frames / mouse.frame_rate:.3g} s)" if mouse.frame_rate else ""
        second.append(f"valid length {trial.n_frames} of {span.in_file} frames{seconds}")
    if trial.withheld:
        second.append("responses withheld")
    return f"{', '.join(first)}\n{', '.join([*second, *_zero(shown)])}"


def _zero(shown: Sequence[Shown]) -> list[str]:
    """Return a remark if all inputs of a trial are zero, which means that they were not recorded."""
    inputs = [one for one in shown if one.variable.role == "input" and not one.absent]
    if not inputs or any(one.values.any() for one in inputs):
        return []
    return [f"{' and '.join(one.name for one in inputs)} all zero" if len(inputs) <= 2 else "all inputs zero"]


def _padded(mouse: Mouse) -> int:
    """Return the number of frames that the store has of each trial; 0 of a static mouse."""
    for variable in mouse.recording.variables:
        if variable.frame_axis is not None:
            return mouse.recording.arrays[variable.name].shape[1 + variable.frame_axis]
    return 0


def _draw_rows(figure: Figure, grid: GridSpec, rows: Sequence[Row], mouse: Mouse, span: _Span) -> None:
    if not rows:
        return
    stack: list[Axes] = []
    for place, row in enumerate(rows):
        axes = figure.add_subplot(grid[place], sharex=stack[0] if stack else None)
        axes.tick_params(labelbottom=False)
        panels.plain(axes, row.label)
        row.draw(axes)
        panels.pad(axes, span.drawn, span.padded)
        panels.remark(axes, row.values)
        stack.append(axes)
    if span.drawn < span.padded:
        panels.beside(stack[0], _beyond(span), 0.5, of="axes fraction")
    stack[-1].tick_params(labelbottom=True)
    panels.plain(stack[-1], rows[-1].label, "frame")
    if mouse.frame_rate:
        _add_seconds(stack[-1], mouse.frame_rate)
    figure.align_ylabels(stack)


def _beyond(span: _Span) -> str:
    """Describe what is shaded: padding of the file, or frames that only longer trials have."""
    if span.drawn < span.in_file:
        return f"padding,\n{span.in_file - span.drawn} frames"
    return f"longest trial:\n{span.padded} frames"


def _add_seconds(axes: Axes, rate: float) -> None:
    """Draw a second time axis below the one in frames."""
    axes.xaxis.labelpad = 1
    scale: Any = (lambda x: x / rate, lambda x: x * rate)  # pyright: ignore[reportUnknownLambdaType]
    below: Any = axes.secondary_xaxis(-30 / (72 * 0.75), functions=scale)
    panels.plain(below, "", f"seconds ({rate:g} Hz)")

"""One trial at a glance, as a matplotlib figure; matplotlib is imported when a figure is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from ..store import OptionError, Problem, layout
from ..store.arguments import check_type
from . import panels
from .figure_blocks import Block, Row, blocks_of, rows_of
from .mouse import Mouse
from .recording import Trial
from .shown import Shown, readable, show_variable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

_WIDTH, _DPI = 9.0, 150
_MOST_INCHES = 20.0
"""Height of the rows of a figure, at most: what does not fit is named."""
_CHARACTERS, _LINE = 120, 0.16
_NAMES = 40
_NOT_PICTURES = ("pgf", "raw", "rgba")  # pgf needs LaTeX; the others are bare bytes


def trial_figure(mouse: Mouse, trial_id: int) -> Figure:
    """Draw one trial at a glance.

    Parameters
    ----------
    mouse
        Opened by `open_mouse`; only this trial is read.
    trial_id
        Number of its files in the source.

    Returns
    -------
    matplotlib.figure.Figure
        It belongs to no window: save it with ``figure.savefig("trial.png")``. Variables with frames share one time
        axis in frames, which covers the longest trial of the store, with padding shaded: of videos some frames, of
        neurons a raster, of the responses single neurons, too, and channels as lines (of more than six, shades). Below
        them, or alone in a static mouse, what has one value a trial: pictures, numbers, and neurons one by one.

    Raises
    ------
    OptionError
        There is no such trial, or no matplotlib.
    CorruptStoreError
        The trial is damaged.

    Notes
    -----
    Rows of a raster are neurons in the order of their mean activity; where there are more than 400 neurons, means of
    groups of equal size in that order (the last may be smaller). The largest 0.5 % of what is drawn share one shade.
    Variables that do not fit into 20 inches, or whose axes no panel has a form for, are named at the foot.
    """
    check_type("mouse", mouse, Mouse, "a Mouse, as open_mouse returns it")
    figure = figure_class()(dpi=_DPI, layout="constrained")
    trial = mouse.trial(trial_id)
    shown = [show_variable(mouse.recording, trial, variable) for variable in mouse.recording.variables]
    rows, blocks, left_out = _chosen(shown, _padded(mouse))
    heights = [one.inches for one in (*rows, *blocks)]
    foot = _foot(left_out)
    figure.set_size_inches(_WIDTH, sum(heights) + (0.9 if rows else 0.8) + _LINE * foot.count("\n"))
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    _draw_rows(figure, grid, rows, mouse, trial)
    for place, block in enumerate(blocks, len(rows)):
        block.draw(figure, grid[place])
    figure.suptitle(_title(mouse, trial, shown), x=0.01, ha="left", fontsize=10, color=panels.INK)
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
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise OptionError(Problem("figure", "needs the package matplotlib", "pip install matplotlib")) from None
    return Figure


def _chosen(shown: Sequence[Shown], padded: int) -> tuple[list[Row], list[Block], list[str]]:
    """Return the rows and blocks that fit into the figure, and the names of the variables that are left out."""
    rows, blocks, left_out = list[Row](), list[Block](), [one.variable.name for one in shown if one.form is None]
    # What has one number a trial takes little room, and is drawn in any case.
    listed = {one.variable.name for one in shown if one.form == "values"}
    found_blocks = list(blocks_of(shown))
    height = sum(block.inches for block in found_blocks if listed.issuperset(block.names))
    for one in shown:
        found = rows_of(one, padded)
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


def _title(mouse: Mouse, trial: Trial, shown: Sequence[Shown]) -> str:
    first = [
        *([f"mouse {mouse.letter}"] if mouse.letter else []),
        readable(layout.short_name(mouse.name)) if not mouse.letter else layout.short_name(mouse.name),
        f"trial {trial.trial_id}",
    ]
    second = [f"tier {trial.tier}", f"{mouse.n_neurons} neuron{'s' if mouse.n_neurons > 1 else ''}"]
    if trial.n_frames is not None:
        second.append(f"valid length {trial.n_frames} of {_file_frames(mouse, trial)} frames")
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


def _file_frames(mouse: Mouse, trial: Trial) -> int:
    """Return the number of frames in the files of a trial."""
    lengths = mouse.recording.n_file_frames
    return _padded(mouse) if lengths is None else int(lengths[mouse.recording.trial_ids == trial.trial_id][0])


def _draw_rows(figure: Figure, grid: GridSpec, rows: Sequence[Row], mouse: Mouse, trial: Trial) -> None:
    if not rows:
        return
    n_frames, padded = trial.n_frames or 0, _padded(mouse)
    stack: list[Axes] = []
    for place, row in enumerate(rows):
        axes = figure.add_subplot(grid[place], sharex=stack[0] if stack else None)
        axes.tick_params(labelbottom=False)
        panels.plain(axes, row.label)
        row.draw(axes)
        panels.pad(axes, n_frames, padded)
        panels.remark(axes, row.values)
        stack.append(axes)
    if n_frames < padded:
        panels.beside(stack[0], _beyond(_file_frames(mouse, trial), n_frames, padded), 0.5, of="axes fraction")
    stack[-1].tick_params(labelbottom=True)
    panels.plain(stack[-1], rows[-1].label, f"frame{_rate(mouse)}")
    figure.align_ylabels(stack)


def _beyond(in_file: int, n_frames: int, padded: int) -> str:
    """Describe what is shaded: padding of the file, or frames that only longer trials have."""
    return f"padding,\n{in_file - n_frames} frames" if n_frames < in_file else f"longest trial:\n{padded} frames"


def _rate(mouse: Mouse) -> str:
    return f" ({mouse.frame_rate:g} Hz)" if mouse.frame_rate else ""

"""One trial at a glance, as a matplotlib figure; matplotlib is imported when a figure is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..store import OptionError, Problem, layout
from ..store.variables import BEHAVIOR, IMAGES, KNOWN, PUPIL_CENTER, VIDEOS
from . import panels
from .mouse import Mouse
from .trial import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

_WIDTH, _DPI = 9.0, 150
_CHANNELS = {len(channels): [(one.name, one.units) for one in channels] for channels in KNOWN[BEHAVIOR].channels}
_BEHAVIOR, _PUPIL = BEHAVIOR, PUPIL_CENTER
_WITHHELD, _ALL_ZERO = "responses withheld by the publisher (zeros)", "behavior and pupil all zero"
_FEW_CHARACTERS = 12
_NOT_PICTURES = ("pgf", "raw", "rgba")  # pgf needs LaTeX; the others are bare bytes


@dataclass(frozen=True)
class _Row:
    """One panel of a figure along time; `values` are looked at for what is odd about them."""

    inches: float
    label: str
    draw: Callable[[Axes], None]
    values: NDArray[Any] | None = None


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
        It belongs to no window: save it with ``figure.savefig("trial.png")``. Dynamic: some video frames, all
        responses, single neurons, behavior and pupil position, over one time axis in frames, which covers the padded
        length of the store; padding is shaded. Static: image, responses, behavior and pupil position.

    Raises
    ------
    OptionError
        There is no such trial, or no matplotlib.
    CorruptStoreError
        The trial is damaged.

    Notes
    -----
    Rows of the raster are neurons in the order of their mean activity; where there are more than 400 neurons, means of
    groups of equal size in that order (the last may be smaller). The largest 0.5 % of what is drawn share one shade.
    """
    figure = _figure_class()(dpi=_DPI, layout="constrained")
    trial = mouse.trial(trial_id)
    (_draw_static if trial.n_frames is None else _draw_dynamic)(figure, mouse, trial)
    figure.suptitle(_title(mouse, trial), x=0.01, ha="left", fontsize=10, color=panels.INK)
    return figure


def picture_formats() -> list[str]:
    """Return the suffixes that a figure can be saved under, without dots.

    Raises
    ------
    OptionError
        There is no matplotlib.
    """
    _figure_class()
    from matplotlib.backend_bases import FigureCanvasBase

    return sorted(set(FigureCanvasBase.get_supported_filetypes()) - set(_NOT_PICTURES))


def _figure_class() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise OptionError(Problem("figure", "needs the package matplotlib", "pip install matplotlib")) from None
    return Figure


def _title(mouse: Mouse, trial: Trial) -> str:
    first = [
        *([f"mouse {mouse.letter}"] if mouse.letter else []),
        layout.short_name(mouse.name),
        f"trial {trial.trial_id}",
    ]
    second = [f"tier {trial.tier}", f"{mouse.n_neurons} neuron{'s' if mouse.n_neurons > 1 else ''}"]
    if trial.n_frames is not None:
        second.append(f"valid length {trial.n_frames} of {_padded(mouse)} frames")
    if trial.withheld:
        second.append("responses withheld")
    if _is_zero(trial):
        second.append(_ALL_ZERO)
    return f"{', '.join(first)}\n{', '.join(second)}"


def _is_zero(trial: Trial) -> bool:
    return not (trial[_BEHAVIOR].any() or trial[_PUPIL].any())


def _padded(mouse: Mouse) -> int:
    array = mouse.recording.arrays[layout.RESPONSES]
    return array.shape[array.dimensions.index(layout.FRAME)]


def _units(mouse: Mouse) -> dict[str, str]:
    return {variable.name: variable.units for variable in mouse.recording.variables}


def _draw_dynamic(figure: Figure, mouse: Mouse, trial: Trial) -> None:
    n_frames, padded = trial.n_frames or 0, _padded(mouse)
    rows = _rows(trial, _units(mouse), padded)
    heights = [row.inches for row in rows]
    figure.set_size_inches(_WIDTH, sum(heights) + 0.9)
    grid = figure.subplots(len(rows), 1, sharex=True, squeeze=False, height_ratios=heights)
    stack: list[Axes] = grid.ravel().tolist()
    for axes, row in zip(stack, rows, strict=True):
        panels.plain(axes, row.label)
        row.draw(axes)
        panels.pad(axes, n_frames, padded)
        panels.remark(axes, row.values)
    if n_frames < padded:
        panels.beside(stack[0], f"padding,\n{padded - n_frames} frames", 0.5, of="axes fraction")
    panels.plain(stack[-1], rows[-1].label, "frame")
    figure.align_ylabels(stack)


def _rows(trial: Trial, units: Mapping[str, str], padded: int) -> list[_Row]:
    videos, behavior = trial[VIDEOS], trial[_BEHAVIOR]
    height, _ = panels.strip_inches(videos)
    strip = partial(panels.video_strip, videos=videos, padded=padded)
    named = zip(behavior, _channels(behavior), strict=True)
    return [
        _Row(height, "video,\ngrey level\n0 to 255", strip, videos),
        *_response_rows(trial, units[layout.RESPONSES]),
        *(_channel_row(values[None], name, unit, [""]) for values, (name, unit) in named),
        _channel_row(trial[_PUPIL], "pupil position", units[_PUPIL], ["x", "y"]),
    ]


def _response_rows(trial: Trial, unit: str) -> list[_Row]:
    if trial.withheld:
        return [_Row(1.0, "responses", partial(panels.notice, text=_WITHHELD))]
    responses = trial[layout.RESPONSES]
    group = panels.neurons_in_a_row(len(responses))
    averaged = f"\n\na row is the\nmean of {group}" if group > 1 else ""
    raster = partial(panels.raster, responses=responses, unit=unit)
    traces = partial(panels.traces, responses=responses, unit=unit)
    return [
        _Row(2.6, f"neurons,\nmost active\non top{averaged}", raster, responses),
        _Row(1.6, "neurons of\nlargest\nvariance,\nby position", traces),
    ]


def _channel_row(values: NDArray[Any], name: str, unit: str, names: Sequence[str]) -> _Row:
    label = "\n".join([*wrap(name, _FEW_CHARACTERS), *([f"({unit})"] if unit else [])])
    return _Row(0.75, label, partial(panels.channels, values=values, names=names), values)


def _draw_static(figure: Figure, mouse: Mouse, trial: Trial) -> None:
    images, units = trial[IMAGES], _units(mouse)
    heights = [2.7 if len(images) == 1 else 1.9, 0.7 if trial.withheld else 2.0]
    figure.set_size_inches(_WIDTH, sum(heights) + 0.8)
    above, below = figure.add_gridspec(2, 1, height_ratios=heights)
    places = above.subgridspec(1, len(images) + 1, width_ratios=[*[2.0] * len(images), 1.2])
    for channel, image in enumerate(images):
        which = f"image {channel}" if len(images) > 1 else "image"
        panels.still(figure.add_subplot(places[channel]), image, f"{which}, grey level 0 to 255")
    panels.listing(figure.add_subplot(places[-1]), _values(trial, units[_PUPIL]))
    if trial.withheld:
        axes = figure.add_subplot(below, xticks=[])
        panels.plain(axes, "responses")
        panels.notice(axes, _WITHHELD)
    else:
        _draw_responses(figure, below, trial[layout.RESPONSES], units[layout.RESPONSES])


def _draw_responses(figure: Figure, place: SubplotSpec, responses: NDArray[Any], unit: str) -> None:
    left, right = place.subgridspec(1, 2, width_ratios=[3, 1])
    each = figure.add_subplot(left)
    panels.plain(each, f"response\n({unit})", "neuron, by position")
    panels.each_neuron(each, responses)
    panels.remark(each, responses)
    ranked = figure.add_subplot(right, sharey=each)
    panels.plain(ranked, xlabel="rank of the neuron")
    panels.ranked_neurons(ranked, responses)


def _channels(behavior: NDArray[Any]) -> list[tuple[str, str]]:
    """Return name and unit of each channel; numbers where so many channels are not known."""
    return _CHANNELS.get(len(behavior)) or [(f"channel {number}", "") for number in range(len(behavior))]


def _values(trial: Trial, pupil_unit: str) -> list[tuple[str, str]]:
    """Return what is listed of behavior and pupil: name, and value with its unit."""
    behavior, pupil = trial[_BEHAVIOR], trial[_PUPIL]
    named = [*_channels(behavior), *((f"pupil position {axis}", pupil_unit) for axis in "xy")]
    values = [*behavior.tolist(), *pupil.tolist()]
    found = [(name, f"{value:.3g} {unit}".rstrip()) for (name, unit), value in zip(named, values, strict=True)]
    return [*found, *([(_ALL_ZERO, "")] if _is_zero(trial) else [])]

"""The blocks of a figure without a time axis: what is drawn of each variable with one entry a trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..store.variables import RESPONSES
from . import panels
from .drawn_neurons import DrawnNeurons
from .shown import Shown, grey_limits, readable, value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

Lines = list[tuple[str, str]]
_PICTURES_IN_A_ROW = 4
_COLUMNS, _LINE = 3, 0.19
_MOST_LINES = 60
_MOST_OF_ONE = 8


@dataclass(frozen=True)
class Block:
    """One part of a figure, as wide as the page.

    Attributes
    ----------
    names
        Variables that it shows.
    draw
        Draws it into a place of a figure.
    """

    inches: float
    names: list[str]
    draw: Callable[[Figure, SubplotSpec], None]


def blocks_of(shown: Sequence[Shown], neurons: DrawnNeurons) -> Iterator[Block]:
    """Yield the blocks of the variables without frames: pictures and values, then neurons, and where they lie."""
    yield from _still_blocks(
        [one for one in shown if one.form == "still"], [one for one in shown if one.form == "values"]
    )
    for one in shown:
        if one.form == "bars":
            order = f"neuron, {'by position' if neurons.by_activity else neurons.text}".replace("\n", " ")
            yield Block(0.7 if one.absent else 2.0, [one.variable.name], partial(_bars, shown=one, order=order))
            if not one.absent and (neurons.places is not None or neurons.parts):
                yield Block(3.0, [one.variable.name], partial(_cortex, shown=one, neurons=neurons))


def _still_blocks(pictures: Sequence[Shown], values: Sequence[Shown]) -> Iterator[Block]:
    """Yield rows of pictures; a few values stand beside the last, more below."""
    stills = [(one, name, pixels) for one in pictures for name, pixels in panels.pictures_of(one)]
    rows = [stills[start : start + _PICTURES_IN_A_ROW] for start in range(0, len(stills), _PICTURES_IN_A_ROW)]
    lines, names = _lines(values), [one.variable.name for one in values]
    beside = bool(rows) and len(rows[-1]) < _PICTURES_IN_A_ROW and len(lines) <= panels.LISTED
    for place, row in enumerate(rows):
        listed = lines if beside and place == len(rows) - 1 else []
        drawn = list(dict.fromkeys(one.variable.name for one, _, _ in row)) + (names if listed else [])
        yield Block(2.7 if len(row) == 1 else 1.9, drawn, partial(_stills, row=row, lines=listed))
    if lines and not beside:
        height = -(-len(lines) // _COLUMNS)
        yield Block(_LINE * height + 0.1, names, partial(_columns, lines=lines, height=height))


def _lines(values: Sequence[Shown]) -> Lines:
    """Return the lines of a list of values: names, and values with their units."""
    found = [line for one in values for line in _lines_of(one)]
    hidden = len(found) - _MOST_LINES
    return found if hidden <= 0 else [*found[: _MOST_LINES - 1], (f"and {hidden + 1} more", "")]


def _lines_of(shown: Shown) -> Lines:
    if shown.absent:
        return [(shown.name, value_text(shown, 0, ""))]
    values = shown.values
    if len(values) > _MOST_OF_ONE:
        ends = " to ".join(value_text(shown, float(end), "") for end in (values.min(), values.max()))
        return [(f"{shown.name}, {len(values)} values", f"{ends} {shown.unit}".rstrip())]
    named = zip(shown.channels, values.tolist(), strict=True)
    return [(name, value_text(shown, value, unit)) for (name, unit), value in named]


def _stills(figure: Figure, place: SubplotSpec, row: Sequence[tuple[Shown, str, NDArray[Any]]], lines: Lines) -> None:
    ratios = [*[2.0] * len(row), *([1.2] if lines else [])]
    places = place.subgridspec(1, len(ratios), width_ratios=ratios)
    for number, (shown, name, pixels) in enumerate(row):
        axes = figure.add_subplot(places[number])
        if shown.absent:
            axes.set_axis_off()
            panels.notice(axes, f"{name}: {shown.absent}")
        else:
            panels.still(axes, pixels[0], grey_limits(shown), f"{name}, {_size(pixels)}, {panels.scale_text(shown)}")
    if lines:
        panels.listing(figure.add_subplot(places[len(row)]), lines)


def _size(pictures: NDArray[Any]) -> str:
    return f"{pictures.shape[1]} × {pictures.shape[2]} px"


def _columns(figure: Figure, place: SubplotSpec, lines: Lines, height: int) -> None:
    """Write values in columns, each from top to bottom."""
    places = place.subgridspec(1, _COLUMNS, wspace=0.15)
    for number in range(_COLUMNS):
        chosen = lines[number * height : (number + 1) * height]
        panels.listing(figure.add_subplot(places[number]), chosen, height)


def _cortex(figure: Figure, place: SubplotSpec, shown: Shown, neurons: DrawnNeurons) -> None:
    """Draw neurons where they lie, and the mean of each area and layer."""
    left, right = place.subgridspec(1, 2, width_ratios=[1, 1])
    if neurons.places is not None:
        axes = figure.add_subplot(left)
        panels.plain(axes, "y (µm)", "x (µm)")
        drawn = panels.scatter(axes, neurons.places[:, 0], neurons.places[:, 1], shown.values)
        bar = figure.colorbar(drawn, ax=axes, extend="both", shrink=0.8)
        panels.describe_bar(bar, _what(shown))
    if neurons.parts:
        axes = figure.add_subplot(right)
        panels.plain(axes, "", f"mean of {_what(shown)}, ± standard error")
        panels.means_of_parts(axes, neurons.parts, shown.values)


def _bars(figure: Figure, place: SubplotSpec, shown: Shown, order: str) -> None:
    if shown.absent:
        axes = figure.add_subplot(place, xticks=[])
        panels.plain(axes, shown.name)
        panels.notice(axes, shown.absent)
        return
    left, right = place.subgridspec(1, 2, width_ratios=[3, 1])
    each = figure.add_subplot(left)
    name = f"{shown.name}\n({shown.unit})" if shown.unit else shown.name
    panels.plain(each, name, order)
    panels.each_neuron(each, shown.values)
    panels.remark(each, shown.values)
    ranked = figure.add_subplot(right, sharey=each)
    panels.plain(ranked, xlabel="rank of the neuron")
    panels.ranked_neurons(ranked, shown.values)


DECONVOLVED = "deconvolved"
"""What the values of responses are, where their description says so."""
_FEW_CHARACTERS = 12
_LINES_OF_CHANNELS = 6
"""More channels than this are shades, not lines."""


@dataclass(frozen=True)
class Row:
    """One panel of a figure along time; `values` are looked at for what is odd about them."""

    inches: float
    label: str
    draw: Callable[[Axes], None]
    values: NDArray[Any] | None = None


def rows_of(shown: Shown, padded: int, neurons: DrawnNeurons) -> list[Row]:
    """Return the rows of a variable; none without frames.

    Parameters
    ----------
    neurons
        Which neurons the values are of.
    padded
        Number of frames of the time axis.
    """
    if shown.form not in ("strip", "raster", "channels"):
        return []
    if shown.absent:
        return [Row(0.75 if shown.form == "channels" else 1.0, _label(shown.name), _notice(shown.absent))]
    if shown.form == "strip":
        return list(_strips(shown, padded))
    return _rasters(shown, neurons) if shown.form == "raster" else list(_channels(shown))


def _notice(text: str) -> Callable[[Axes], None]:
    return partial(panels.notice, text=text)


def _label(name: str, unit: str = "") -> str:
    return "\n".join([*wrap(name, _FEW_CHARACTERS), *([f"({unit})"] if unit else [])])


def _what(shown: Shown) -> str:
    name = shown.name
    if DECONVOLVED in shown.variable.long_name and DECONVOLVED not in name:
        name = f"{DECONVOLVED} {name}"
    return f"{name} ({shown.unit})" if shown.unit else name


def _strips(shown: Shown, padded: int) -> Iterator[Row]:
    limits, scale = grey_limits(shown), panels.scale_text(shown).replace("level ", "level\n")
    for name, pictures in panels.pictures_of(shown):
        height, _ = panels.strip_inches(pictures)
        draw = partial(panels.strip, pictures=pictures, limits=limits, padded=padded)
        label = ",\n".join([_label(name), _size(pictures), scale])
        yield Row(max(height, 0.15 * (label.count("\n") + 1)), label, draw, pictures)


def _rasters(shown: Shown, neurons: DrawnNeurons) -> list[Row]:
    values = shown.values
    ordered = values[panels.by_activity(values)] if neurons.by_activity else values
    group = panels.neurons_in_a_row(len(values))
    averaged = f"\n\na row is the\nmean of {group}" if group > 1 else ""
    draw = partial(panels.raster, responses=ordered, what=_what(shown), groups=neurons.groups)
    if shown.variable.name != RESPONSES:
        return [Row(1.6, f"{_label(shown.name)},\nneurons\n{neurons.text}{averaged}", draw, values)]
    spread, names = shown.spread, neurons.names
    traces = partial(panels.traces, responses=values, spread=spread, unit=shown.unit, names=names)
    labels = "\n".join(wrap(f"neurons of largest variance, {neurons.labelled}", _FEW_CHARACTERS))
    around = "\n\nshaded:\n± std over\nrepeats" if spread is not None else ""
    return [
        Row(2.6, f"neurons,\n{neurons.text}{averaged}", draw, values),
        Row(1.6, f"{labels}{around}", traces),
    ]


def _channels(shown: Shown) -> Iterator[Row]:
    """Yield a row for each channel; one for two of one unit, as of a position; and one for many."""
    values, channels = shown.values, shown.channels
    if len(values) > _LINES_OF_CHANNELS:
        draw = partial(panels.many_channels, values=values, what=_what(shown))
        yield Row(1.6, _label(f"{shown.name}, {len(values)} channels"), draw, values)
        return
    units = {unit for _, unit in channels}
    if len(values) == 2 and len(units) == 1:
        declared = [readable(one.name) for one in shown.variable.channels] or ["0", "1"]
        draw = partial(panels.channels, values=values, spread=shown.spread, names=declared, usual=shown.usual)
        yield Row(0.75, _label(shown.name, *units), draw, values)
        return
    for place, (name, unit) in enumerate(channels):
        channel, one = values[place], slice(place, place + 1)
        spread = None if shown.spread is None else shown.spread[one]
        draw = partial(panels.channels, values=values[one], spread=spread, names=[""], usual=shown.usual[one])
        label = _label(name, unit)
        yield Row(max(0.75, 0.15 * (label.count("\n") + 1)), label, draw, channel[None])

"""The rows of a figure along time: what is drawn of each variable with frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..store.variables import RESPONSES
from . import panels, picture_panels
from .shown import Shown, grey_limits, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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


def rows_of(shown: Shown, padded: int) -> list[Row]:
    """Return the rows of a variable; none without frames.

    Parameters
    ----------
    padded
        Number of frames of the time axis.
    """
    if shown.form not in ("strip", "raster", "channels"):
        return []
    if shown.absent:
        return [Row(0.75 if shown.form == "channels" else 1.0, _label(shown.name), _notice(shown.absent))]
    if shown.form == "strip":
        return list(_strips(shown, padded))
    return _rasters(shown) if shown.form == "raster" else list(_channels(shown))


def _notice(text: str) -> Callable[[Axes], None]:
    return partial(panels.notice, text=text)


def _label(name: str, unit: str = "") -> str:
    return "\n".join([*wrap(name, _FEW_CHARACTERS), *([f"({unit})"] if unit else [])])


def _what(shown: Shown) -> str:
    return f"{shown.name} ({shown.unit})" if shown.unit else shown.name


def _strips(shown: Shown, padded: int) -> Iterator[Row]:
    limits, scale = grey_limits(shown), picture_panels.scale_text(shown).replace("level ", "level\n")
    for name, pictures in picture_panels.pictures_of(shown):
        height, _ = picture_panels.strip_inches(pictures)
        draw = partial(picture_panels.strip, pictures=pictures, limits=limits, padded=padded)
        label = ",\n".join([_label(name), scale])
        yield Row(max(height, 0.15 * (label.count("\n") + 1)), label, draw, pictures)


def _rasters(shown: Shown) -> list[Row]:
    values = shown.values
    group = panels.neurons_in_a_row(len(values))
    averaged = f"\n\na row is the\nmean of {group}" if group > 1 else ""
    draw = partial(panels.raster, responses=values, what=_what(shown))
    if shown.variable.name != RESPONSES:
        return [Row(1.6, f"{_label(shown.name)},\nmost active\nneurons\non top{averaged}", draw, values)]
    traces = partial(panels.traces, responses=values, unit=shown.unit)
    return [
        Row(2.6, f"neurons,\nmost active\non top{averaged}", draw, values),
        Row(1.6, "neurons of\nlargest\nvariance,\nby position", traces),
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
        draw = partial(panels.channels, values=values, names=declared)
        yield Row(0.75, _label(shown.name, *units), draw, values)
        return
    for channel, (name, unit) in zip(values, channels, strict=True):
        draw = partial(panels.channels, values=channel[None], names=[""])
        label = _label(name, unit)
        yield Row(max(0.75, 0.15 * (label.count("\n") + 1)), label, draw, channel[None])

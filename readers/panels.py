"""The panels of a figure of one trial that are no pictures: each function draws one variable into given axes.

Frame i of a trial spans i to i + 1 on the time axis of every panel. Importing this module does not import matplotlib.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import panels
from .shown import Shown, coloured, grey_limits, is_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, INK, GREY, PALE, MISSING = "#0072B2", "#D55E00", "#222222", "#777777", "#E3EAF2", "#F7CFAE"
"""Colours of Okabe and Ito, distinct for any colour vision; greys; padding; NaN. All opaque, for any format."""
SMALL, TINY = 8.0, 7.0

RASTER_ROWS = 400
"""More rows than this a picture cannot show: neurons are averaged until there are no more."""
TRACES = 5
LISTED = 8
"""As many lines of values fit beside a picture."""
_FEW = 50
_BRIGHTEST = 99.5
_NOISE = 0.1


def plain(axes: Axes, ylabel: str = "", xlabel: str = "") -> None:
    """Give axes the common look: two spines, small ticks, small labels."""
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set(linewidth=0.6, color=INK)
    axes.tick_params(labelsize=TINY, width=0.6, length=2.5, color=INK, labelcolor=INK)
    axes.set_ylabel(ylabel, fontsize=SMALL, color=INK, rotation=0, ha="right", va="center")
    axes.yaxis.get_offset_text().set_fontsize(TINY)
    axes.set_xlabel(xlabel, fontsize=SMALL, color=INK)


def notice(axes: Axes, text: str) -> None:
    """Write in the middle of empty axes why they are empty."""
    axes.set_yticks([])
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 10, "color": ORANGE}
    axes.text(0.5, 0.5, text, transform=axes.transAxes, **style)


def pad(axes: Axes, n_frames: int, padded: int) -> None:
    """Give axes the time axis of the store, and shade what lies beyond a trial's valid length."""
    if n_frames < padded:
        axes.axvspan(n_frames, padded, facecolor=PALE, edgecolor="none", zorder=0)
        axes.axvline(n_frames, color=GREY, linewidth=0.6, zorder=1)
    axes.set_xlim(0, padded)


def raster(axes: Axes, responses: NDArray[Any], what: str, groups: Mapping[str, int]) -> None:
    """Draw (n_neurons, n_frames) in shades of grey, the first neuron on top.

    Parameters
    ----------
    what
        Name and unit of the values.
    groups
        Name of a group -> how many neurons are of it, one below the other; empty without groups.
    """
    from matplotlib.colors import PowerNorm

    shown, group = binned(responses)
    known = shown.compressed()
    if _is_signed(known):
        _shades(axes, shown, len(responses), group, what, _linear(known))
    else:
        # Activity is many small values and few large ones: a square root shows both.
        norm = PowerNorm(0.5, 0, _bright(known))
        _shades(axes, shown, len(responses), group, f"{what}, square-root scale", {"norm": norm}, "max")
    if groups:
        ends = np.cumsum([0, *groups.values()])
        axes.set_yticks((ends[1:] + ends[:-1]) / 2, list(groups))
        for end in ends[1:-1]:
            axes.axhline(end, color=ORANGE, linewidth=0.8)


def many_channels(axes: Axes, values: NDArray[Any], what: str) -> None:
    """Draw (n_channels, n_frames) in shades of grey, the first channel on top; parameters as in `raster`."""
    shown = np.ma.masked_invalid(values)
    _shades(axes, shown, len(values), 1, what, _linear(shown.compressed()))


def _is_signed(known: NDArray[Any]) -> bool:
    """Return whether values below zero are more than a little noise around it."""
    if not known.size:
        return False
    low, high = np.percentile(known, [100 - _BRIGHTEST, _BRIGHTEST])
    return bool(-low > _NOISE * max(high, 0))


def _linear(known: NDArray[Any]) -> dict[str, Any]:
    """Return limits of shades, robust against the few smallest and largest values."""
    low, high = np.percentile(known, [100 - _BRIGHTEST, _BRIGHTEST]).tolist() if known.size else (0.0, 1.0)
    return {"vmin": low, "vmax": high if high > low else low + 1}


def _shades(
    axes: Axes,
    shown: np.ma.MaskedArray[Any, Any],
    count: int,
    group: int,
    what: str,
    style: dict[str, Any],
    extend: str = "both",
) -> None:
    """Draw (n_rows, n_frames), each row for a group of `count` neurons or channels, with a bar of shades beside it."""
    extent = (0, shown.shape[1], len(shown) * group, 0)
    image = axes.imshow(shown, aspect="auto", interpolation="nearest", extent=extent, cmap="gray_r", **style)
    axes.set(ylim=(count, 0), facecolor=MISSING)
    axes.locator_params(axis="y", integer=True, min_n_ticks=1)
    describe_bar(axes.figure.colorbar(image, cax=axes.inset_axes((1.01, 0, 0.012, 1)), extend=extend), what)


def describe_bar(bar: Any, what: str) -> None:
    """Give a bar of colours the common look, and say what they stand for."""
    bar.set_label(what, fontsize=TINY, color=INK)
    bar.ax.tick_params(which="both", labelsize=TINY, width=0.6, length=2.5, color=INK, labelcolor=INK)
    bar.ax.yaxis.get_offset_text().set_fontsize(TINY)
    bar.outline.set(linewidth=0.6, edgecolor=INK)


def _bright(values: NDArray[Any]) -> float:
    """Return the value to draw darkest: robust, yet above zero where anything is."""
    if not values.size:
        return 1.0
    robust, largest = float(np.percentile(values, _BRIGHTEST)), float(values.max())
    return robust if robust > 0 else largest if largest > 0 else 1.0


def traces(axes: Axes, responses: NDArray[Any], spread: NDArray[Any] | None, unit: str, names: Sequence[str]) -> None:
    """Draw the neurons of (n_neurons, n_frames) that vary most, one above the other, each on a scale of its own."""
    chosen = most_variable(responses)
    offsets = 1.25 * np.arange(len(chosen))[::-1]
    for neuron, offset in zip(chosen, offsets, strict=True):
        peak = np.ma.masked_invalid(np.abs(responses[neuron])).max()
        scale = float(peak) if peak is not np.ma.masked and peak > 0 else 1.0
        line(axes, responses[neuron] / scale + offset, BLUE)
        if spread is not None:
            around(axes, responses[neuron] / scale + offset, spread[neuron] / scale, BLUE)
        beside(axes, f"peak {scale:.3g} {unit}".rstrip(), offset + 0.4)
    axes.set_yticks(offsets, [names[neuron] for neuron in chosen])


def channels(
    axes: Axes,
    values: NDArray[Any],
    spread: NDArray[Any] | None,
    names: Sequence[str],
    usual: Sequence[tuple[float, float]],
) -> None:
    """Draw one or two channels (n_channels, n_frames) that share a unit, their names, and where they usually are."""
    styles = ((BLUE, 0.7), (ORANGE, 0.3))[: len(values)]
    for place, (channel, name, (colour, height)) in enumerate(zip(values, names, styles, strict=True)):
        line(axes, channel, colour)
        if spread is not None:
            around(axes, channel, spread[place], colour)
        text = name or ("usual\n(mean ± std)" if usual else "")
        beside(axes, text, height if name else 0.5, of="axes fraction", colour=colour if name else GREY, points=12)
    axes.margins(y=0.12)
    for place, (low, high) in enumerate(usual[: len(styles)]):
        # Bars behind the end of the time axis: a band across it would look like padding.
        style: dict[str, Any] = {"linewidth": 2.5, "solid_capstyle": "butt", "clip_on": False}
        x = [1.006 + 0.007 * place] * 2
        axes.plot(x, [low, high], transform=axes.get_yaxis_transform(), color=styles[place][0], **style)


def around(axes: Axes, middle: NDArray[Any], spread: NDArray[Any], colour: str) -> None:
    """Shade what lies within a spread of (n_frames,) values."""
    x = np.arange(len(middle)) + 0.5
    axes.fill_between(x, middle - spread, middle + spread, color=colour, alpha=0.25, linewidth=0)


def line(axes: Axes, values: NDArray[Any], colour: str) -> None:
    """Draw one value a frame, at its middle; one between two NaN is a dot, as it would not be seen otherwise."""
    known = np.pad(np.isfinite(values), 1)
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    dots: dict[str, Any] = {"marker": "o", "markersize": 2, "markevery": np.flatnonzero(alone).tolist()}
    axes.plot(np.arange(len(values)) + 0.5, values, color=colour, linewidth=1, **dots)


def beside(
    axes: Axes,
    text: str,
    y: float,
    *,
    of: Literal["data", "axes fraction"] = "data",
    colour: str = GREY,
    points: int = 5,
) -> None:
    """Write on the right of axes."""
    place: dict[str, Any] = {"xycoords": ("axes fraction", of), "xytext": (points, 0), "textcoords": "offset points"}
    axes.annotate(text, (1, y), va="center", fontsize=TINY, color=colour, **place)


def remark(axes: Axes, values: NDArray[Any] | None) -> None:
    """Write above axes what is odd about the values drawn in them, if anything is."""
    if values is None:
        return
    missing = int(np.isnan(values).sum())
    text = f"{missing} of {values.size} values are missing (NaN)" if missing else ""
    if not values.any():
        text = "zero throughout"
    axes.set_title(text, loc="right", fontsize=TINY, color=ORANGE, pad=2)


def each_neuron(axes: Axes, responses: NDArray[Any]) -> None:
    """Draw (n_neurons,) as a line for each neuron, in the order of the store."""
    count = len(responses)
    axes.vlines(np.arange(count), 0, responses, color=BLUE, linewidth=min(max(200 / count, 0.5), 12))
    axes.set_xlim(-0.5, count - 0.5)
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)


def ranked_neurons(axes: Axes, responses: NDArray[Any]) -> None:
    """Draw (n_neurons,) from the largest to the smallest; over a logarithmic axis, if there are many."""
    ordered = np.sort(responses[np.isfinite(responses)])[::-1]
    many = len(responses) > _FEW
    style: dict[str, Any] = {} if many else {"marker": "o", "markersize": 3}
    axes.plot(np.arange(len(ordered)) + 1, ordered, color=BLUE, linewidth=1.2, **style)
    if many:
        axes.set(xscale="log", xlim=(0.8, 1.25 * len(responses)))
        axes.xaxis.set_major_formatter("{x:.0f}")
    else:
        axes.set_xlim(0, len(responses) + 1)
        axes.locator_params(axis="x", integer=True, min_n_ticks=1)
    axes.tick_params(labelleft=False)


MOST_VECTORS = 2000
"""More dots than this are drawn as pixels, whatever the format."""


def scatter(axes: Axes, x: NDArray[Any], y: NDArray[Any], values: NDArray[Any], colours: str = "viridis") -> Any:
    """Draw neurons where they lie, coloured by (n_neurons,) values, of which the middle 93 % are told apart."""
    finite = np.isfinite(values)
    low, high = np.percentile(values[finite], [2, 95]).tolist() if finite.any() else (0.0, 1.0)
    size = float(np.clip(4000 / len(x), 1.5, 30))
    axes.scatter(x[~finite], y[~finite], s=size, color=ORANGE, marker="x", linewidths=0.5)
    style: dict[str, Any] = {"vmin": low, "vmax": high if high > low else low + 1, "cmap": colours}
    drawn = axes.scatter(x, y, s=size, c=values, linewidths=0, rasterized=len(x) > MOST_VECTORS, **style)
    axes.set_aspect("equal")
    axes.yaxis.label.set(rotation=90, ha="center", va="bottom")
    return drawn


def means_of_parts(axes: Axes, parts: Sequence[str], values: NDArray[Any]) -> None:
    """Draw the mean of the neurons of each part of the cortex, and the standard error of it."""
    names = np.asarray(parts)
    known = list(dict.fromkeys(sorted(parts)))[:LISTED]
    for place, name in enumerate(known):
        own = values[(names == name) & np.isfinite(values)]
        error = own.std(ddof=1) / np.sqrt(len(own)) if len(own) > 1 else 0.0
        axes.barh(place, own.mean() if len(own) else 0.0, xerr=error, color=BLUE, ecolor=INK, error_kw={"linewidth": 1})
    counts = [int((names == name).sum()) for name in known]
    axes.set_yticks(range(len(known)), [f"{name} ({n})" for name, n in zip(known, counts, strict=True)])
    axes.set_ylim(max(len(known), 3) - 0.5, -0.5)


def listing(axes: Axes, lines: Sequence[tuple[str, str]], height: int = LISTED) -> None:
    """Write names and values, one pair a line, at a height of so many lines; a line without value is a remark."""
    axes.set_axis_off()
    for place, (name, value) in enumerate(lines):
        y = 1 - (place + 0.5) / height
        axes.text(0, y, name, transform=axes.transAxes, fontsize=SMALL, color=GREY if value else ORANGE, va="center")
        axes.text(1, y, value, transform=axes.transAxes, fontsize=SMALL, color=INK, va="center", ha="right")


def neurons_in_a_row(count: int) -> int:
    """Return how many neurons are averaged for one row of a raster.

    Examples
    --------
    >>> neurons_in_a_row(400), neurons_in_a_row(8000)
    (1, 20)
    """
    return -(-count // RASTER_ROWS)


def by_activity(responses: NDArray[Any]) -> NDArray[np.int64]:
    """Return the places of the neurons of (n_neurons, n_frames), the most active first.

    Examples
    --------
    >>> by_activity(np.array([[1.0, 2.0], [5.0, np.nan]])).tolist()
    [1, 0]
    """
    known = np.ma.masked_invalid(responses)
    return np.argsort(-known.mean(axis=1, dtype=np.float64).filled(-np.inf), kind="stable")


def binned(responses: NDArray[Any]) -> tuple[np.ma.MaskedArray[Any, Any], int]:
    """Average groups of neurons until a picture can show all groups.

    Parameters
    ----------
    responses
        (n_neurons, n_frames).

    Returns
    -------
    tuple
        (n_groups, n_frames), masked where no neuron of a group has a number; and the number of neurons in a group.

    Examples
    --------
    >>> binned(np.array([[5.0, np.nan], [1.0, 2.0]]))[0].tolist()
    [[5.0, None], [1.0, 2.0]]
    """
    known, group = np.ma.masked_invalid(responses), neurons_in_a_row(len(responses))
    if group == 1:
        return known, group
    groups = [known[start : start + group].mean(axis=0) for start in range(0, len(known), group)]
    return np.ma.stack(groups), group


def most_variable(responses: NDArray[Any]) -> list[int]:
    """Return the positions of the neurons with the largest variance, ascending."""
    variance = np.ma.masked_invalid(responses).var(axis=1, dtype=np.float64).filled(-np.inf)
    return sorted(np.argsort(-variance, kind="stable")[:TRACES].tolist())


PICTURES = 9
"""As many frames of a video as fit side by side above the time axis."""
MOST_CHANNELS = 4
"""As many channels of pictures without colour are drawn."""
_PICTURE_WIDTH, _LEADER, _CAPTION = 0.85, 0.14, 0.18  # inches


def pictures_of(shown: Shown) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield what is drawn of pictures: name, and pixels (n, height, width), or in colour (n, height, width, 3)."""
    if is_colour(shown):
        from matplotlib.colors import to_rgb

        yield shown.name, coloured(shown.values, grey_limits(shown), to_rgb(panels.MISSING))
        return
    names = [name for name, _ in shown.channels]
    count = len(names)
    for channel, name in enumerate(names[:MOST_CHANNELS]):
        more = f" of {count}" if channel + 1 == MOST_CHANNELS < count else ""
        yield f"{name}{more}", shown.values[:, channel]


def scale_text(shown: Shown) -> str:
    """Return what black and white stand for.

    Examples
    --------
    >>> import numpy as np
    >>> from trialpack.store.variables import Variable
    >>> eye = Variable("eye", "input", ("height", "width"), (0, 1), "uint8", "1", "")
    >>> scale_text(Shown(eye, "still", np.zeros((1, 1, 3, 4)), ""))
    'grey level 0 to 255'
    """
    low, high = grey_limits(shown)
    return f"{'colour' if is_colour(shown) else 'grey'} level {low:.4g} to {high:.4g}"


def strip_inches(pictures: NDArray[Any]) -> tuple[float, float]:
    """Return the height of a strip of frames of (n_frames, height, width), and of the pictures in it."""
    picture = min(_PICTURE_WIDTH * pictures.shape[1] / pictures.shape[2], _PICTURE_WIDTH * 1.5)
    return picture + _LEADER + _CAPTION, picture


def strip(axes: Axes, pictures: NDArray[Any], limits: tuple[float, float], padded: int) -> None:
    """Draw some frames of (n_frames, height, width) or with colours, each above its place on the time axis."""
    inches, height = strip_inches(pictures)
    width = 0.92 * padded / PICTURES
    frames = evenly_spaced(len(pictures), max(PICTURES * len(pictures) // padded, 1))
    for number, frame in enumerate(frames):
        # Pictures are evenly apart, and begin with the axis: a line leads from each to its frame.
        middle = max((2 * number + 1) * len(pictures) / (2 * len(frames)), width / 2)
        place = (middle - width / 2, _LEADER / inches, width, height / inches)
        picture = axes.inset_axes(place, transform=axes.transData)
        picture.set_anchor("S")
        still(picture, pictures[frame], limits, f"frame {frame}")
        axes.plot([middle, frame + 0.5], [_LEADER / inches, 0], color=panels.GREY, linewidth=0.8)
    axes.set(ylim=(0, 1), yticks=[])
    axes.spines["left"].set_visible(False)


def still(axes: Axes, pixels: NDArray[Any], limits: tuple[float, float], title: str) -> None:
    """Draw one picture: (height, width) in grey levels, or (height, width, 3) in colours from 0 to 1."""
    axes.imshow(pixels, cmap="gray", vmin=limits[0], vmax=limits[1])
    axes.set(xticks=[], yticks=[], facecolor=panels.MISSING)
    axes.set_title(title, fontsize=panels.TINY, color=panels.INK, pad=2)
    axes.spines[:].set_visible(False)


def evenly_spaced(n: int, most: int) -> list[int]:
    """Return the middles of equal parts of a range, at most so many.

    Examples
    --------
    >>> evenly_spaced(300, 4), evenly_spaced(2, 4)
    ([37, 112, 187, 262], [0, 1])
    """
    parts = min(n, most)
    return [(2 * part + 1) * n // (2 * parts) for part in range(parts)]

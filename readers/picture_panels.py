"""The panels of a figure of one trial that are pictures: strips of frames along time, and stills."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from . import panels
from .shown import Shown, coloured, grey_limits, is_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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

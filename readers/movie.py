"""A trial as a short clip: its pictures, and responses up to each of them. Drawn with what matplotlib brings along."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..store import OptionError, Problem, files
from ..store.arguments import check_type
from ..store.layout import RESPONSES
from ..store.paths import read_path
from ..store.publish import check_place
from . import panels
from .drawn_neurons import NeuronOrder, draw_neurons
from .figure import figure_class
from .mouse import Mouse
from .selection import Choice
from .shown import Shown, coloured, grey_limits, is_colour, show_variable

if TYPE_CHECKING:
    from PIL import Image

_INCHES, _DPI = (6.4, 4.8), 100
_USUAL_RATE = 30.0
_FORMATS = {".gif": "GIF", ".webp": "WEBP"}
_MOST_FRAMES_A_SECOND = 25.0
"""Programs show a GIF no faster: of more, some frames are left out."""


def save_movie(
    mouse: Mouse, trial_id: int, path: Path | str, *, neurons: Choice | None = None, sort: NeuronOrder = "activity"
) -> None:
    """Write the pictures of a trial and the responses to them as a clip, in the speed in which they were shown.

    Parameters
    ----------
    mouse, trial_id, neurons, sort
        As in `trial_figure`.
    path
        ``.gif`` or ``.webp``; an existing file is replaced.

    Raises
    ------
    OptionError
        There is no such trial or neuron; the mouse has no videos; the name ends in something else; or there is no
        matplotlib.
    CorruptStoreError
        The trial is damaged.
    """
    check_type("mouse", mouse, Mouse, "a Mouse, as open_mouse returns it")
    path = read_path(path)
    check_place(path)
    check_movie(mouse, path)
    trial, chosen = mouse.trial(trial_id), draw_neurons(mouse, neurons, sort)
    variables = {one.name: one for one in mouse.recording.variables}
    stimulus = show_variable(mouse.recording, trial, _moving(mouse))
    responses = show_variable(mouse.recording, trial, variables[RESPONSES]).values[chosen.positions]
    ordered = responses[panels.by_activity(responses)] if chosen.by_activity else responses
    rate = mouse.frame_rate or _USUAL_RATE
    step = math.ceil(rate / _MOST_FRAMES_A_SECOND)
    frames = list(_frames(stimulus, ordered, f"trial {trial_id}, tier {trial.tier}", mouse.frame_rate, step))
    # A GIF counts hundredths of a second: ends are rounded, so that no error grows.
    ends = [10 * round(100 * step * count / rate) for count in range(len(frames) + 1)]
    clip, durations = io.BytesIO(), np.diff(ends).tolist()
    style: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": durations, "loop": 0}
    frames[0].save(clip, format=_FORMATS[path.suffix.lower()], **style)
    files.save(path, clip.getbuffer())


def check_movie(mouse: Mouse, path: Path) -> None:
    """Check that a clip can be made of a mouse, under such a name; errors as in `save_movie`."""
    figure_class()
    if path.suffix.lower() not in _FORMATS:
        raise OptionError(Problem(str(path), "no format of clips", f"let it end in {' or '.join(_FORMATS)}"))
    _moving(mouse)


def _moving(mouse: Mouse) -> Any:
    stimulus = mouse.recording.stimulus
    if stimulus is None or not stimulus.has_pictures or stimulus.frame_axis is None:
        raise OptionError(Problem(mouse.recording.label, "no videos, of which a clip could be made", "draw a picture"))
    return stimulus


def _frames(
    stimulus: Shown, responses: NDArray[Any], title: str, rate: float | None, step: int
) -> Iterator[Image.Image]:
    """Yield the pictures of the clip: a drawing that is made once, with each video frame and a line in it."""
    from PIL import Image, ImageDraw

    pictures = _pixels(stimulus)
    drawn, video, raster = _background(pictures[0], responses, title, rate)
    for frame in range(0, len(pictures), step):
        image = drawn.copy()
        left, top, right, bottom = video
        image.paste(
            Image.fromarray(pictures[frame]).resize((right - left, bottom - top), 0).convert("RGB"), (left, top)
        )
        x = round(raster[0] + (raster[2] - raster[0]) * (frame + 0.5) / responses.shape[1])
        ImageDraw.Draw(image).line((x, raster[1], x, raster[3]), fill=panels.ORANGE, width=2)
        # Greys, and the colour of a line or of a video.
        yield image.quantize(128)


def _pixels(stimulus: Shown) -> NDArray[np.uint8]:
    """Return (n_frames, height, width), or with three colours at the end."""
    limits = grey_limits(stimulus)
    if is_colour(stimulus):
        scaled = coloured(stimulus.values, limits, (0.5, 0.5, 0.5))
    else:
        scaled = (stimulus.values[:, 0] - limits[0]) / ((limits[1] - limits[0]) or 1)
    return (255 * np.clip(np.nan_to_num(scaled), 0, 1)).astype(np.uint8)


_Box = tuple[int, int, int, int]


def _background(
    picture: NDArray[np.uint8], responses: NDArray[Any], title: str, rate: float | None
) -> tuple[Image.Image, _Box, _Box]:
    """Return the background of all frames, and where in it video and responses lie, in pixels."""
    from matplotlib import rc_context
    from PIL import Image

    with rc_context({"text.parse_math": False}):
        figure = figure_class()(figsize=_INCHES, dpi=_DPI, layout="constrained")
        above, below = figure.subplots(2, 1, height_ratios=[1.2, 1])
        panels.still(above, picture, (0, 255), title)
        panels.plain(below, "", f"frame ({rate:g} Hz)" if rate else "frame")
        panels.raster(below, responses, "responses", {})
        below.set_ylabel("neuron", fontsize=panels.SMALL, rotation=90)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
    boxes = [axes.get_window_extent() for axes in (above, below)]
    height = round(_INCHES[1] * _DPI)
    found = [(round(box.x0), round(height - box.y1), round(box.x1), round(height - box.y0)) for box in boxes]
    return Image.open(drawn).convert("RGB"), found[0], found[1]

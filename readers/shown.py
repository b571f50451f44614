"""What a figure shows of each variable of a trial: in which form, under which names, which values."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import shorten
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..store import StoreIndex, layout
from ..store.variables import FRAME, NEURON, OVER_FRAMES, RESPONSES, Variable
from .recording import Recording, Trial
from .rows import read_trial
from .trial_statistics import has_statistics

Form = Literal["strip", "raster", "channels", "still", "bars", "values"]
WITHHELD, NOT_RECORDED = "responses withheld by the publisher (zeros)", "not recorded in this trial"
_GREY_LEVELS = (0.0, 255.0)
_PICTURE_AXES = 2
_LONGEST = 36


@dataclass(frozen=True)
class Shown:
    """One variable of one trial, ready to be drawn.

    Attributes
    ----------
    variable
        What it is.
    form
        How it is drawn; None for axes that no panel has a form for.
    values
        Floats: of a raster or of channels (n, n_frames), of bars or values (n,), of a strip or a still (n_frames or 1,
        n_channels, height, width).
    absent
        Why there are no values of this trial; empty where there are.
    spread
        Of means over repeats of a stimulus, their standard deviation (ddof 1), shaped as `values`; else None.
    usual
        For each channel, mean less and mean plus standard deviation of the train trials; empty where not known.
    """

    variable: Variable
    form: Form | None
    values: NDArray[Any]
    absent: str
    spread: NDArray[Any] | None = None
    usual: tuple[tuple[float, float], ...] = ()

    @property
    def name(self) -> str:
        """Name of the variable, as a person reads it."""
        return readable(self.variable.name)

    @property
    def unit(self) -> str:
        """Unit of the values; empty where they have none."""
        return unit_text(self.variable.units)

    @property
    def channels(self) -> list[tuple[str, str]]:
        """Name and unit of each channel; a name of one word stands behind the variable's, which says what it is of."""
        count = self.values.shape[1 if self.form in ("strip", "still") else 0]
        if len(self.variable.channels) == count:
            return [(self._channel_name(one.name), unit_text(one.units)) for one in self.variable.channels]
        return [(self.name if count == 1 else f"{self.name} {place}", self.unit) for place in range(count)]

    def _channel_name(self, channel: str) -> str:
        return readable(channel) if " " in channel else f"{self.name} {readable(channel)}"


def show_variable(recording: Recording, trial: Trial, variable: Variable) -> Shown:
    """Return what a figure shows of a variable of a trial."""
    row = int(np.searchsorted(recording.trial_ids, trial.trial_id))
    absent = "" if recording.given(variable.name, np.array([row])).size else _absent(variable)
    form = form_of(variable)
    values = trial[variable.name]
    return Shown(variable, form, values if form is None else _arranged(variable, form, values), absent)


def show_repeats(recording: Recording, rows: NDArray[np.int64], variable: Variable, n_frames: int | None) -> Shown:
    """Return the mean of a variable over some trials, up to a frame; of pictures, what the first of them has.

    Notes
    -----
    Holds one trial, its mean and its variance (Welford 1962).
    """
    form, given = form_of(variable), recording.given(variable.name, rows)
    mean: Any = None
    squares: Any = 0.0
    # Where nothing was recorded, what stands in its place has the shape that is needed.
    for count, row in enumerate((given if given.size else rows[:1]).tolist(), 1):
        values = read_trial(recording, variable.name, row)
        if variable.frame_axis is not None:
            values = values[(slice(None),) * variable.frame_axis + (slice(n_frames),)]
        if form is None or form in ("strip", "still"):
            return Shown(variable, form, values if form is None else _arranged(variable, form, values), "")
        one = _arranged(variable, form, values).astype(np.float64)
        off = one - (one if mean is None else mean)
        mean = one if mean is None else mean + off / count
        squares = squares + off * (one - mean)
    spread = np.sqrt(squares / (len(given) - 1)) if len(given) > 1 else None
    return Shown(variable, form, mean, "" if given.size else _absent(variable), spread)


def usual_ranges(index: StoreIndex, variable: Variable) -> tuple[tuple[float, float], ...]:
    """Return where each channel is in most train trials: mean less and mean plus standard deviation, within its ends.

    Nothing where the store has no statistics, or the variable is not drawn as channels.
    """
    if form_of(variable) != "channels" or not has_statistics(index):
        return ()
    names = ("mean", "std", "min", "max")
    paths = [layout.statistic_path(variable.name, OVER_FRAMES, name) for name in names]
    mean, std, least, most = (np.atleast_1d(index.small(path)) for path in paths)
    low, high = np.maximum(mean - std, least), np.minimum(mean + std, most)
    return tuple(zip(low.tolist(), high.tolist(), strict=True))


def _absent(variable: Variable) -> str:
    return WITHHELD if variable.name == RESPONSES else NOT_RECORDED


def form_of(variable: Variable) -> Form | None:
    """Return how a variable is drawn; None for axes that no panel has a form for, such as neurons by channels."""
    own = [name for name in variable.dimensions if name not in (FRAME, NEURON)]
    with_frames, with_neurons = variable.frame_axis is not None, NEURON in variable.dimensions
    if variable.has_pictures and not with_neurons and len(own) <= _PICTURE_AXES + 1:
        return "strip" if with_frames else "still"
    if len(own) + with_neurons > 1:
        return None
    if with_neurons:
        return "raster" if with_frames else "bars"
    return "channels" if with_frames else "values"


def _arranged(variable: Variable, form: Form, values: NDArray[Any]) -> NDArray[Any]:
    """Return the values of a trial as floats, with the axes that their form has."""
    wide = np.result_type(values.dtype, np.float32)
    values = values.astype(wide, copy=False)
    if form in ("raster", "channels"):
        moved = values if variable.frame_axis is None else np.moveaxis(values, variable.frame_axis, -1)
        return moved[None] if moved.ndim == 1 else moved
    if form in ("bars", "values"):
        return values.reshape(-1)
    framed = values[None] if variable.frame_axis is None else np.moveaxis(values, variable.frame_axis, 0)
    return framed[:, None] if framed.ndim == _PICTURE_AXES + 1 else framed


def is_colour(shown: Shown) -> bool:
    """Return whether pictures have the three channels red, green and blue, as far as the channels have names."""
    names = [one.name[:1].lower() for one in shown.variable.channels]
    return shown.values.shape[1] == len("rgb") and (not names or names == list("rgb"))


def grey_limits(shown: Shown) -> tuple[float, float]:
    """Return the values that are drawn black and white: 0 and 255, 0 and 1, or the least and the largest.

    Notes
    -----
    The range of the dtype or of what is usual, where the values fit into it, so that trials can be compared.
    """
    if shown.variable.dtype == "bool":
        return 0.0, 1.0
    known = shown.values[np.isfinite(shown.values)]
    low, high = (float(known.min()), float(known.max())) if known.size else _GREY_LEVELS
    if shown.variable.dtype != "uint8" and low >= 0 and 0 < high <= 1:
        return 0.0, 1.0
    inside = low >= _GREY_LEVELS[0] and high <= _GREY_LEVELS[1]
    return _GREY_LEVELS if inside or low == high else (low, high)


def coloured(values: NDArray[Any], limits: tuple[float, float], missing: tuple[float, float, float]) -> NDArray[Any]:
    """Return colour pictures (…, 3, height, width) as (…, height, width, 3) from 0 to 1; NaN in a colour of its own."""
    pixels = np.moveaxis(values, -3, -1)
    scaled = np.clip((pixels - limits[0]) / (limits[1] - limits[0]), 0, 1)
    return np.where(np.isnan(scaled).any(axis=-1, keepdims=True), np.asarray(missing, scaled.dtype), scaled)


def readable(name: str) -> str:
    """Return a name as a person reads it.

    Examples
    --------
    >>> readable("pupil_center")
    'pupil center'
    """
    text = name.replace("_", " ").strip()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def unit_text(unit: str) -> str:
    """Return a unit; empty where values have none, which is written as 1."""
    return "" if unit == "1" else shorten(unit, _LONGEST, placeholder="…")


def value_text(shown: Shown, value: float, unit: str) -> str:
    """Return one value of a trial as a person reads it, with its unit."""
    if shown.absent:
        return "not recorded"
    kind = np.dtype(shown.variable.dtype).kind
    text = str(bool(value)) if kind == "b" else f"{int(value)}" if kind in "iu" else f"{value:.3g}"
    return f"{text} {unit}".rstrip()

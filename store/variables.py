"""What a variable of a recording is: role, dimensions, dtype, units. Every store lists its own in its root metadata.

What is known by name (`KNOWN`) is only a default for the variables of the published mice; nothing here reads or writes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np

TRIAL, FRAME, NEURON, FILE_NUMBER, TRAIN_TRIAL = "trial", "frame", "neuron", "file_number", "train_trial"
HEIGHT, WIDTH = "height", "width"

Role = Literal["stimulus", "target", "input"]
Kind = Literal["static", "dynamic"]
Reduction = Literal["over_trials", "over_trials_and_frames", "over_trials_and_pixels"]
OVER_TRIALS: Reduction = "over_trials"
OVER_FRAMES: Reduction = "over_trials_and_frames"
OVER_PIXELS: Reduction = "over_trials_and_pixels"

DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64",
)  # fmt: skip
"""What values of trials may be: as numpy and Zarr call it, without the byte order."""
VIDEOS, IMAGES, RESPONSES, BEHAVIOR, PUPIL_CENTER = "videos", "images", "responses", "behavior", "pupil_center"

# Names become folders of the store: letters that every file system takes, and that mean nothing else to Zarr.
_SAFE_NAME = re.compile(r"(?!__)[A-Za-z0-9_][A-Za-z0-9_ .+=@-]{0,120}")
ZARRS_OWN = frozenset({"zarr.json", "c"})


def is_safe_name(name: str) -> bool:
    """Return whether a store can have an array or a group of this name.

    Examples
    --------
    >>> is_safe_name("eye_video"), is_safe_name("../x"), is_safe_name("__a")
    (True, False, False)
    """
    return name not in ZARRS_OWN and _SAFE_NAME.fullmatch(name) is not None


def is_variable_name(name: str) -> bool:
    """Return whether a variable can have this name: a safe one, which nothing else in a store or a batch has."""
    return is_safe_name(name) and name not in RESERVED


@dataclass(frozen=True)
class Channel:
    """One channel of a variable: its name and the unit of its values."""

    name: str
    units: str


@dataclass(frozen=True)
class Variable:
    """One variable of a recording: an array with one entry a trial.

    Attributes
    ----------
    name
        Its folder under ``data/`` in the published tree, and its array in the store.
    role
        ``stimulus`` (one at most), ``target``, or ``input``.
    dimensions
        Names of the axes of one trial, in the order of the store.
    axes
        Axis in the published file of each dimension; videos are published with frames last.
    dtype
        Data type of the values in the store; one of `DTYPES`.
    units, long_name
        Unit of the values, and a description.
    channels
        Name and unit of each channel, along `channel_dimension`; empty where they are not known.
    frame_rate
        Frames a second (Hz); None without frames, or where it is not known.
    optional
        Whether some trials may lack it.
    missing
        Value that stands for a trial that lacks it; None for floats, for which it is NaN.
    """

    name: str
    role: Role
    dimensions: tuple[str, ...]
    axes: tuple[int, ...]
    dtype: str
    units: str
    long_name: str
    channels: tuple[Channel, ...] = ()
    frame_rate: float | None = None
    optional: bool = False
    missing: int | None = None

    @property
    def frame_axis(self) -> int | None:
        """Position of the frames among the dimensions of a trial; None without frames."""
        return self.dimensions.index(FRAME) if FRAME in self.dimensions else None

    @property
    def published_dimensions(self) -> tuple[str, ...]:
        """Names of the axes of a published file, in its order."""
        return tuple(self.dimensions[self.axes.index(axis)] for axis in range(len(self.axes)))

    @property
    def fill_value(self) -> Any:
        """Value where a store has no value of the source: padding, and trials that lack an optional variable."""
        return fill_value(self.dtype) if self.missing is None else self.missing

    @property
    def channel_dimension(self) -> str | None:
        """The dimension of channels, of which each has a unit of its own; None of pictures without colours."""
        return channel_dimension(self.dimensions)

    @property
    def has_pictures(self) -> bool:
        """Whether each frame, or each trial, is a picture: two axes or more beside frames and neurons."""
        return len([name for name in self.dimensions if name not in (FRAME, NEURON)]) >= _PICTURE_AXES

    @property
    def picture_dimensions(self) -> tuple[str, ...]:
        """The dimensions of height and width of pictures; none of others."""
        own = tuple(name for name in self.dimensions if name not in (FRAME, NEURON))
        return own[-_PICTURE_AXES:] if self.has_pictures else ()

    @property
    def batch_dimensions(self) -> tuple[str, ...]:
        """Names of the axes of a trial as a batch shows it: of pictures channels first, then frames."""
        if not self.has_pictures:
            return self.dimensions
        first = [name for name in (self.channel_dimension, FRAME) if name in self.dimensions]
        return (*first, *(name for name in self.dimensions if name not in first))

    @property
    def separate(self) -> tuple[str, ...]:
        """The dimension along which values are of different things: neurons or channels; none of pictures."""
        if NEURON in self.dimensions:
            return (NEURON,)
        own = [name for name in self.dimensions if name != FRAME]
        return tuple(own) if len(own) == 1 and self.role != "stimulus" else ()

    @property
    def reductions(self) -> dict[Reduction, tuple[str, ...]]:
        """What statistics are taken over -> the dimensions that remain."""
        found: dict[Reduction, tuple[str, ...]] = {OVER_TRIALS: self.dimensions}
        if self.frame_axis is not None:
            found[OVER_FRAMES] = tuple(name for name in self.dimensions if name != FRAME)
        elif self.role == "stimulus":
            found[OVER_PIXELS] = ()
        return found

    @property
    def document(self) -> dict[str, Any]:
        """The variable as the root metadata of a store has it."""
        return {
            "name": self.name,
            "role": self.role,
            "dimensions": list(self.dimensions),
            "source_axes": list(self.axes),
            "dtype": self.dtype,
            "units": self.units,
            "long_name": self.long_name,
            "channels": [{"name": one.name, "units": one.units} for one in self.channels],
            "frame_rate": self.frame_rate,
            "optional": self.optional,
            "missing": self.missing,
        }


def parse_variable(document: Any) -> Variable | None:
    """Return the variable that a document of a root's metadata describes; None unless it is one that can be stored."""
    try:
        found = dict(cast("dict[str, Any]", document))
        axes = tuple(found.pop("source_axes"))
        channels = tuple(Channel(one["name"], one["units"]) for one in found.pop("channels"))
        found["dimensions"] = tuple(found["dimensions"])
        variable = Variable(**found, axes=axes, channels=channels)
        sound = variable.document == document and not list(variable_problems(variable)) and _has_types(variable)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return variable if sound else None


def _has_types(variable: Variable) -> bool:
    """Return whether no number is a truth value in disguise: to Python, True is equal to 1."""
    numbers = (*variable.axes, *([] if variable.missing is None else [variable.missing]))
    rate = variable.frame_rate
    return (
        all(type(one) is int for one in numbers)
        and type(variable.optional) is bool
        and type(rate) in (float, type(None))
    )


def variable_problems(variable: Variable) -> list[str]:
    """Return what is wrong with a variable in itself, one sentence a problem."""
    problems = list[str]()
    texts = (variable.name, variable.units, variable.long_name, *variable.dimensions)
    texts += tuple(text for one in variable.channels for text in (one.name, one.units))
    if not all(isinstance(text, str) for text in texts):  # pyright: ignore[reportUnnecessaryIsInstance]
        return ["expected texts as name, units, long_name, dimensions and channels"]
    if not is_variable_name(variable.name):
        return [f"a variable cannot be called {variable.name!r}"]
    if variable.role not in get_args(Role):
        problems.append(f"expected the role {', '.join(get_args(Role))}, found {variable.role!r}")
    if variable.dtype not in DTYPES:
        problems.append(f"expected a dtype of {', '.join(DTYPES)}, found {variable.dtype!r}")
        return problems
    problems += dimension_problems(variable.dimensions)
    if sorted(variable.axes) != list(range(len(variable.dimensions))):
        problems.append(f"expected the axes 0 to {len(variable.dimensions) - 1}, found {variable.axes}")
    if variable.channels and variable.channel_dimension is None:
        problems.append("channels are given, but no dimension is one of channels")
    problems += _frame_rate_problems(variable)
    problems += _missing_problems(variable)
    return problems


def dimension_problems(dimensions: Sequence[str]) -> list[str]:
    """Return what is wrong with the names of a trial's dimensions."""
    taken = (TRIAL, FILE_NUMBER, TRAIN_TRIAL)
    wrong = [name for name in dimensions if name in taken or _SAFE_NAME.fullmatch(name) is None]
    problems = [f"a dimension cannot be called {name!r}" for name in wrong]
    if len(set(dimensions)) < len(dimensions):
        problems.append(f"a dimension is named more than once in {', '.join(dimensions)}")
    return problems


def _frame_rate_problems(variable: Variable) -> list[str]:
    rate = variable.frame_rate
    if rate is None:
        return []
    if variable.frame_axis is None:
        return ["a frame rate is given, but there are no frames"]
    return [] if 0 < rate < math.inf else [f"expected a frame rate above 0 Hz, found {rate}"]


def _missing_problems(variable: Variable) -> list[str]:
    """Return what is wrong with the value for missing trials: integers need one, floats have NaN."""
    kind, value = np.dtype(variable.dtype).kind, variable.missing
    if value is None:
        needs = variable.optional and kind != "f"
        return [f"optional {variable.dtype} values need a value for missing trials"] if needs else []
    if kind == "f":
        return [f"a value for missing trials is of integers and bool only, and these are {variable.dtype}"]
    limits = (0, 1) if kind == "b" else (np.iinfo(variable.dtype).min, np.iinfo(variable.dtype).max)
    if not limits[0] <= value <= limits[1]:
        return [f"expected a value for missing trials from {limits[0]} to {limits[1]}, found {value}"]
    return []


@dataclass(frozen=True)
class VariableProblem:
    """What is wrong with a variable, and which key of its declaration says so."""

    variable: str
    key: str
    what: str


def recording_problems(variables: Sequence[Variable]) -> list[VariableProblem]:
    """Return what is wrong with the variables of a recording, taken together; given in the order of a store."""
    problems = list[VariableProblem]()
    names = [variable.name for variable in variables]
    # To xarray, what has the name of a dimension is its coordinate, and no variable any more.
    dimensions = {TRIAL, *(name for variable in variables for name in variable.dimensions)}
    for place, name in enumerate(names):
        if name in names[:place]:
            problems.append(VariableProblem(name, "", "two variables have this name"))
        if name in dimensions:
            problems.append(VariableProblem(name, "", f"a dimension is called {name!r}, too"))
    stimuli = [variable.name for variable in variables if variable.role == "stimulus"]
    for name in stimuli[1:]:
        what = f"a second stimulus beside {stimuli[0]} (expected one at most)"
        problems.append(VariableProblem(name, "role", what))
    responses = next((variable for variable in variables if variable.name == RESPONSES), None)
    if responses is None or NEURON not in responses.dimensions or responses.optional:
        key = "optional" if responses is not None and responses.optional else "dimensions"
        what = f"expected {RESPONSES} of all trials, with a dimension {NEURON!r}"
        problems.append(VariableProblem(RESPONSES, key, what))
    return problems


def fill_value(dtype: str) -> Any:
    """Return what stands where nothing was written: NaN for floats, so that missing never looks like zero."""
    kinds: Mapping[str, Any] = {"f": np.nan, "b": False, "O": ""}
    return kinds.get(np.dtype(object if dtype == "string" else dtype).kind, 0)


def channel_dimension(dimensions: Sequence[str]) -> str | None:
    """Return which of the dimensions of a trial is one of channels.

    Examples
    --------
    >>> channel_dimension(("behavior_channel", "frame")), channel_dimension(("frame", "height", "width"))
    ('behavior_channel', None)
    """
    own = [name for name in dimensions if name not in (FRAME, NEURON)]
    pictures = len(own) == _PICTURE_AXES + 1
    return own[0] if (len(own) == 1 and NEURON not in dimensions) or pictures else None


_PICTURE_AXES = 2


def stored_dimensions(published: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the dimensions of a trial in the order of the store, and for each its axis in the published file.

    Frames come first where there are more than two dimensions, as the frames of videos are read one by one.

    Examples
    --------
    >>> stored_dimensions(("height", "width", "frame"))
    (('frame', 'height', 'width'), (2, 0, 1))
    """
    axes = list(range(len(published)))
    if FRAME in published and len(published) > _PICTURE_AXES:
        axes.insert(0, axes.pop(published.index(FRAME)))
    return tuple(published[axis] for axis in axes), tuple(axes)


def kind_of(variables: Sequence[Variable]) -> Kind:
    """Return whether a recording has frames (dynamic) or one value a trial (static)."""
    return "dynamic" if any(variable.frame_axis is not None for variable in variables) else "static"


def stimulus_of(variables: Sequence[Variable]) -> Variable | None:
    """Return the stimulus of a recording, if it has one."""
    return next((variable for variable in variables if variable.role == "stimulus"), None)


def frame_rate_of(variables: Sequence[Variable]) -> float | None:
    """Return the frames a second of a recording; None where they are not known, or not the same for all variables."""
    rates = {variable.frame_rate for variable in variables if variable.frame_rate is not None}
    return rates.pop() if len(rates) == 1 else None


def in_order(variables: Sequence[Variable]) -> tuple[Variable, ...]:
    """Return variables in the order of a store: stimulus, targets, inputs; known ones first, then by name."""
    known, roles = list(KNOWN), get_args(Role)

    def place(variable: Variable) -> tuple[int, int, str]:
        number = known.index(variable.name) if variable.name in known else len(known)
        return roles.index(variable.role), number, variable.name

    return tuple(sorted(variables, key=place))


@dataclass(frozen=True)
class KnownVariable:
    """What is known of a variable by its name.

    Attributes
    ----------
    kinds
        The kinds of published mice that have it.
    forms
        Number of axes of a published file -> their names.
    channels
        Names and units of the channels, for each number of channels that is known.
    """

    role: Role
    kinds: tuple[Kind, ...]
    forms: Mapping[int, tuple[str, ...]]
    units: str
    long_name: str
    channels: tuple[tuple[Channel, ...], ...] = ()


_PIXELS = (HEIGHT, WIDTH)
_DILATION, _DERIVATIVE = Channel("pupil dilation", "px"), Channel("derivative of pupil dilation", "")
_SPEED = Channel("running speed", "cm/s")
KNOWN: Mapping[str, KnownVariable] = {
    VIDEOS: KnownVariable(
        "stimulus",
        ("dynamic",),
        {3: (*_PIXELS, FRAME), 4: ("video_channel", *_PIXELS, FRAME)},
        "1",
        "stimulus video, grey level 0 to 255",
    ),
    IMAGES: KnownVariable(
        "stimulus",
        ("static",),
        {2: _PIXELS, 3: ("image_channel", *_PIXELS)},
        "1",
        "stimulus image, grey level 0 to 255",
    ),
    RESPONSES: KnownVariable(
        "target",
        ("static", "dynamic"),
        {1: (NEURON,), 2: (NEURON, FRAME)},
        "a.u.",
        "deconvolved calcium activity of each neuron",
    ),
    BEHAVIOR: KnownVariable(
        "input",
        ("static", "dynamic"),
        {1: ("behavior_channel",), 2: ("behavior_channel", FRAME)},
        "1",
        "pupil dilation (px), its derivative (three-channel recordings only), running speed (cm/s)",
        ((_DILATION, _SPEED), (_DILATION, _DERIVATIVE, _SPEED)),
    ),
    PUPIL_CENTER: KnownVariable(
        "input",
        ("static", "dynamic"),
        {1: ("pupil_axis",), 2: ("pupil_axis", FRAME)},
        "px",
        "pupil position, x and y",
        ((Channel("x", "px"), Channel("y", "px")),),
    ),
}
"""The variables of the published mice."""
RESERVED = frozenset(
    {
        *("data", "trials", "neurons", "statistics", "meta", "files", "max_error", "manifest.json", "software.json"),
        *("trial_id", "tier", "mouse", "start", "n_frames"),
        *(TRIAL, FRAME, NEURON, FILE_NUMBER, TRAIN_TRIAL),
    }
)
"""Names of the groups and files of a store, of what a batch says of its samples, and of dimensions of every store."""

"""What a loader is asked for: its arguments, checked and put together by what they are about."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args

import numpy as np

from ...store import OptionError, Problem
from ...store.arguments import check_bytes, check_choice, check_count, check_type, refuse
from ...store.tasks import available_cores
from ..direct import BFLOAT16, MAX_THREADS
from ..mouse import Mouse
from ..sampling import Mixing, WindowChoice, Windows
from ..selection import Choice, Tier
from .budget import Cache
from .mouse_stream import MemoryOrder, Selection
from .normalization import Normalize

LABEL = "TrialLoader"
Output = Literal["torch", "numpy"]
DtypeName = Literal["float16", "bfloat16", "float32", "float64", "native"]
Dtype = DtypeName | Mapping[str, DtypeName]
"""Data type of the values in a batch: of all variables, or of each that is named; float32 of those that are not."""
DEFAULT_DTYPE: DtypeName = "float32"
Withheld = Literal["refuse", "zeros"]
DEFAULT_IN_FLIGHT = 16


@dataclass(frozen=True)
class Content:
    """What of each mouse a batch has.

    Attributes
    ----------
    tier, trials, neurons, normalize, dtype, order
        As in `TrialLoader`.
    variables, channels
        Names; None for all variables.
    hidden
        Whether responses may be withheld.
    """

    tier: Tier
    trials: Choice | Sequence[Choice | None] | None
    neurons: Choice | Sequence[Choice | None] | None
    variables: tuple[str, ...] | None
    channels: tuple[str, ...]
    normalize: Normalize
    dtype: Dtype = DEFAULT_DTYPE
    order: MemoryOrder = "frames"
    hidden: bool = False


@dataclass(frozen=True)
class Turns:
    """How mice, and processes, take turns; attributes as in `TrialLoader`."""

    mixing: Mixing
    drop_last: bool


@dataclass(frozen=True)
class Order:
    """Which samples form a batch, in what order; attributes as in `TrialLoader`, windows of each mouse."""

    windows: Sequence[Windows]
    turns: Turns
    batch_size: int
    seed: int
    shuffle: bool


@dataclass(frozen=True)
class Resources:
    """What reading may take.

    Attributes
    ----------
    threads
        Number of threads that read and decode.
    memory
        Bytes beside the batches in the consumer's hands.
    in_flight
        Number of requests to an object store at the same time.
    """

    threads: int
    memory: int
    cache: Cache
    in_flight: int


def checked_report(report: Callable[[str], object] | None) -> Callable[[str], object] | None:
    """Return what is called with a line at the end of each epoch.

    Raises
    ------
    OptionError
        It cannot be called.
    """
    check_type("report", report, (Callable, NoneType), "a function of one text")
    return report


def checked_withheld(withheld: Withheld) -> bool:
    """Return whether responses may be withheld.

    Raises
    ------
    OptionError
        It is no such word.
    """
    check_choice("withheld", withheld, get_args(Withheld))
    return withheld == "zeros"


def checked_windows(
    mice: Sequence[Mouse], window: int | str | None, stride: int, choice: WindowChoice | None, *, shuffle: bool
) -> tuple[Windows, ...]:
    """Return which frames of a trial become samples, for each mouse.

    Raises
    ------
    OptionError
        An argument does not fit; or a duration is no whole number of frames of a mouse.
    """
    stride = check_count("stride", stride, 1)
    choice = ("random" if shuffle else "every") if choice is None else choice
    check_choice("windows", choice, get_args(WindowChoice))
    if isinstance(window, str):
        return tuple(Windows(_frames(mouse, window, stride), stride, choice) for mouse in mice)
    window = None if window is None else check_count("window", window, 1)
    return (Windows(window, stride, choice),) * len(mice)


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s)")
_ROUNDED = 0.05
"""The part of a frame that a duration may be off: 16 frames of 30 Hz are written as 533ms."""


def _frames(mouse: Mouse, window: str, stride: int) -> int:
    """Return how many frames, every `stride` of which are taken, last as long as a text says."""
    found = _DURATION.fullmatch(window)
    if found is None:
        refuse("window", "a number of frames, or a duration such as '2s' or '500ms'", window)
    seconds, rate = float(found[1]) / (1000 if found[2] == "ms" else 1), mouse.frame_rate
    if rate is None:
        unknown = "static trials have no frames" if mouse.kind == "static" else "no one frame rate is known"
        advice = "leave window out" if mouse.kind == "static" else "give a number of frames"
        raise OptionError(Problem(str(mouse.path), f"window={window!r}: {unknown}", advice))
    exact = seconds * rate / stride
    number = max(1, round(exact))
    if abs(number - exact) > _ROUNDED:
        taken = "" if stride == 1 else f" with stride={stride}"
        what = f"window={window!r}{taken} is no whole number of frames ({exact:.6g} at {rate:g} Hz)"
        raise OptionError(Problem(str(mouse.path), what, f"give window={number} ({number * stride / rate:.4g} s)"))
    return number


def checked_order(
    windows: Sequence[Windows], turns: Turns, batch_size: int, seed: int | None, *, shuffle: bool
) -> Order:
    """Return which samples form a batch, in what order.

    Raises
    ------
    OptionError
        A number does not fit, or there is no torch to take the seed from.
    """
    batch_size = check_count("batch_size", batch_size, 1)
    seed = _torch_seed() if seed is None else check_count("seed", seed, 0)
    return Order(windows, turns, batch_size, seed, shuffle)


def _torch_seed() -> int:
    try:
        from .tensors import initial_seed
    except ModuleNotFoundError as error:
        raise OptionError(Problem(LABEL, f"seed=None takes the seed of torch ({error})", "give a number")) from None
    return initial_seed()


def checked_resources(
    threads: int | None, memory: int | str, cache: Cache, in_flight: int = DEFAULT_IN_FLIGHT
) -> Resources:
    """Return what reading may take.

    Raises
    ------
    OptionError
        An argument does not fit.
    """
    count = min(MAX_THREADS, available_cores()) if threads is None else check_count("threads", threads, 1)
    check_choice("cache", cache, get_args(Cache))
    return Resources(count, check_bytes("memory", memory), cache, check_count("in_flight", in_flight))


_NATIVE: DtypeName = "native"
_ADVICE = "give one of " + ", ".join(map(repr, get_args(DtypeName))) + ", or a mapping from variables to these"


def dtypes_of(mouse: Mouse, names: tuple[str, ...], dtype: Dtype) -> dict[str, np.dtype[Any]]:
    """Return the data types of variables in a batch.

    Parameters
    ----------
    names
        Names of the variables that are read.
    dtype
        As in `TrialLoader`.

    Raises
    ------
    OptionError
        A name is no variable, or a word no data type that a batch can have.
    """
    wanted = dtype if isinstance(dtype, Mapping) else dict.fromkeys(names, dtype)
    for name, word in wanted.items():
        mouse.recording.array(name)
        if word not in get_args(DtypeName):
            raise OptionError(Problem(LABEL, f"dtype of {name} is {word!r}", _ADVICE))
    chosen = {name: wanted.get(name, DEFAULT_DTYPE) for name in names}
    return {name: _dtype(mouse, name, word) for name, word in chosen.items()}


def _dtype(mouse: Mouse, name: str, word: str) -> np.dtype[Any]:
    if word == _NATIVE:
        return mouse.recording.array(name).numpy_dtype
    return BFLOAT16 if word == "bfloat16" else np.dtype(word)


def check_dtypes(mouse: Mouse, selection: Selection) -> None:
    """Check that what is not a float is neither normalized nor has to do with channels.

    Raises
    ------
    OptionError
        It is, or does.
    """
    problems = [
        Problem(str(mouse.path), f"{name} cannot {what} as {selection.dtypes[name]}", f"choose {advice}")
        for name, what, advice in _uses(mouse, selection)
        if selection.dtypes[name].kind != "f" and selection.dtypes[name] != BFLOAT16
    ]
    if problems:
        raise OptionError(problems)


def _uses(mouse: Mouse, selection: Selection) -> Iterator[tuple[str, str, str]]:
    """Yield the variables that have to be floats, what is done with them, and the choices that there are."""
    yield from ((name, "be normalized", _other("no normalization of it")) for name in selection.read_normalized)
    yield from ((name, "become channels", _other("other channels")) for name in selection.channels)
    if selection.channels and mouse.recording.stimulus is not None:
        yield mouse.recording.stimulus.name, "get channels", _other("no channels")


def _other(instead: str) -> str:
    return f"a float dtype for it, or {instead}"

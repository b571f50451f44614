"""What a loader is asked for: its arguments, checked and put together by what they are about."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, cast, get_args

import numpy as np

from ...store import OptionError, Problem
from ...store.arguments import check_bytes, check_choice, check_count, check_type, refuse
from ...store.tasks import available_cores
from ..direct import BFLOAT16, MAX_THREADS, Size
from ..mouse import Mouse
from ..normalization import Normalize
from ..sampling import Mixing, Plan, WindowChoice, Windows
from ..selection import Choice, Tier
from .budget import Cache
from .mouse_stream import MemoryOrder, Selection

LABEL = "TrialLoader"
Output = Literal["torch", "numpy"]
DtypeName = Literal["float16", "bfloat16", "float32", "float64", "native"]
Dtype = DtypeName | Mapping[str, DtypeName]
"""Data type of the values in a batch: of all variables, or of each that is named; float32 of those that are not."""
DEFAULT_DTYPE: DtypeName = "float32"
Withheld = Literal["refuse", "zeros"]
Ranks = Literal["any", "same"]
DEFAULT_IN_FLIGHT = 16


@dataclass(frozen=True)
class Content:
    """What of each mouse a batch has.

    Attributes
    ----------
    tier, trials, neurons, normalize, dtype, order, stimulus_size, crop
        As in `TrialLoader`, and `repeats` too.
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
    stimulus_size: Size | None = None
    crop: Size | None = None
    repeats: bool = False


@dataclass(frozen=True)
class Turns:
    """How mice, and processes, take turns; attributes as in `TrialLoader`."""

    mixing: Mixing
    drop_last: bool
    same_mouse: bool


@dataclass(frozen=True)
class Order:
    """Which samples form a batch, in what order; attributes as in `TrialLoader`, windows of each mouse.

    Without a batch size, all repeats of a stimulus are a batch.
    """

    windows: Sequence[Windows]
    turns: Turns
    batch_size: int | None
    seed: int
    shuffle: bool
    sampler: Iterable[Plan] | None = None
    shuffle_shards: int | None = None


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
    """Return the function that is called with a line at the end of each epoch.

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


@dataclass(frozen=True)
class Cutting:
    """How samples are cut out of trials, as it was asked for; attributes as in `TrialLoader`."""

    window: int | str | None
    stride: int
    windows: WindowChoice | None
    hop: int | str | None
    samples_per_trial: int
    skip_frames: int
    max_frames: int | None


def checked_windows(mice: Sequence[Mouse], asked: Cutting, *, shuffle: bool, planned: bool) -> tuple[Windows, ...]:
    """Return which frames of a trial become samples, for each mouse.

    Parameters
    ----------
    planned
        Whether a sampler of one's own says where they begin.

    Raises
    ------
    OptionError
        An argument does not fit; or a duration is no whole number of frames of a mouse.
    """
    stride, per_trial = check_count("stride", asked.stride), check_count("samples_per_trial", asked.samples_per_trial)
    random = asked.hop is None and (shuffle or per_trial > 1)
    choice = ("random" if random or planned else "every") if asked.windows is None else asked.windows
    check_choice("windows", choice, get_args(WindowChoice))
    skip, most = check_count("skip_frames", asked.skip_frames, 0), asked.max_frames
    most = None if most is None else check_count("max_frames", most)
    given = choice
    if asked.window is None and choice == "random" and not planned:
        choice = "every"  # the same of whole trials
    found = list[Windows]()
    for mouse in mice:
        window = _frames(mouse, "window", asked.window, stride)
        hop = _frames(mouse, "hop", asked.hop)
        if choice == "phases" and hop is not None and hop % stride:
            what = f"hop={hop} is no multiple of stride={stride}: phases would not stay apart"
            raise OptionError(Problem(LABEL, what, f"choose hop={-(-hop // stride) * stride}, or windows='every'"))
        found.append(Windows(window, stride, choice, skip, most, hop, per_trial))
    _check_several(asked, given, planned=planned)
    return tuple(found)


def _check_several(asked: Cutting, choice: WindowChoice, *, planned: bool) -> None:
    """Check that what says how many windows a trial has goes with the other arguments."""
    hop, many = asked.hop is not None, asked.samples_per_trial > 1
    if planned and (hop or many or asked.windows is not None):
        name = "hop" if hop else "samples_per_trial" if many else "windows"
        raise OptionError(Problem(LABEL, f"{name} and sampler do not go together", "leave one of them out"))
    if asked.window is None and (hop or many):
        what = f"{'hop' if hop else 'samples_per_trial'} needs a window"
        raise OptionError(Problem(LABEL, what, "give one, such as window=80, or leave it out"))
    if hop and choice == "random":
        what = f"hop={asked.hop!r} does not go with random windows"
        raise OptionError(Problem(LABEL, what, "choose windows='every' or 'phases', or samples_per_trial"))
    if many and choice != "random":
        what = f"samples_per_trial={asked.samples_per_trial} needs random windows"
        raise OptionError(Problem(LABEL, what, "choose windows='random', or leave it out; hop makes windows overlap"))


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s)")
_ROUNDED = 0.05
"""The part of a frame that a duration may be off: 16 frames of 30 Hz are written as 533ms."""


def _frames(mouse: Mouse, name: str, given: int | str | None, stride: int = 1) -> int | None:
    """Return a number of frames, or how many, every `stride` of which are taken, last as long as a text says."""
    if given is None:
        return None
    if not isinstance(given, str):
        return check_count(name, given)
    found = _DURATION.fullmatch(given)
    if found is None:
        refuse(name, "a number of frames, or a duration such as '2s' or '500ms'", given)
    seconds, rate = float(found[1]) / (1000 if found[2] == "ms" else 1), mouse.frame_rate
    if rate is None:
        unknown = "static trials have no frames" if mouse.kind == "static" else "no one frame rate is known"
        advice = f"leave {name} out" if mouse.kind == "static" else "give a number of frames"
        raise OptionError(Problem(str(mouse.path), f"{name}={given!r}: {unknown}", advice))
    exact = seconds * rate / stride
    number = max(1, round(exact))
    if abs(number - exact) > _ROUNDED:
        taken = "" if stride == 1 else f" with stride={stride}"
        what = f"{name}={given!r}{taken} is no whole number of frames ({exact:.6g} at {rate:g} Hz)"
        raise OptionError(Problem(str(mouse.path), what, f"give {name}={number} ({number * stride / rate:.4g} s)"))
    return number


def checked_turns(mixing: Mixing, ranks: Ranks, *, drop_last: bool) -> Turns:
    """Return how mice, and processes, take turns.

    Raises
    ------
    OptionError
        There is no such way for ranks; those of mixing are checked with the mice.
    """
    check_choice("ranks", ranks, get_args(Ranks))
    return Turns(mixing, drop_last, ranks == "same")


def checked_order(
    windows: Sequence[Windows],
    turns: Turns,
    batch_size: int | None,
    seed: int | None,
    sampler: Iterable[Plan] | None,
    *,
    shuffle: bool,
    shuffle_shards: int | None,
    repeats: bool,
) -> Order:
    """Return which samples form a batch, in what order.

    Raises
    ------
    OptionError
        An argument does not fit the others, or there is no torch to take the seed from.
    """
    if repeats and batch_size is not None:
        what = f"batch_size={batch_size!r} and repeats do not go together: all repeats of a stimulus are a batch"
        raise OptionError(Problem(LABEL, what, "leave one of them out"))
    cycle = isinstance(turns.mixing, str) and turns.mixing == "cycle"
    by_shards = shuffle_shards is not None
    wrong = {"repeats": repeats, "shuffle": shuffle, "shuffle_shards": by_shards, "mixing": not cycle}
    if sampler is not None and any(wrong.values()):
        name = next(name for name, given in wrong.items() if given)
        raise OptionError(Problem(LABEL, f"{name} and sampler do not go together", "leave one of them out"))
    shards = None if shuffle_shards is None else check_count("shuffle_shards", shuffle_shards)
    if shards is not None and (repeats or not shuffle):
        what = f"shuffle_shards={shards} " + ("and repeats do not go together" if repeats else "needs shuffle=True")
        raise OptionError(Problem(LABEL, what, "leave it out, to mix all samples" if repeats else "give it, too"))
    size = None if repeats else check_count("batch_size", batch_size)
    seed = _torch_seed() if seed is None else check_count("seed", seed, 0)
    return Order(windows, turns, size, seed, shuffle, sampler, shards)


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


def checked_size(name: str, size: Any) -> Size | None:
    """Return a height and a width, in pixels; None if there is none.

    Raises
    ------
    OptionError
        It is not two whole numbers above zero.
    """
    if size is None:
        return None
    if not isinstance(size, (tuple, list)) or len(cast("Sequence[Any]", size)) != len(("height", "width")):
        refuse(name, "a height and a width, such as (36, 64)", size)
    height, width = (check_count(name, one) for one in cast("Sequence[Any]", size))
    return height, width


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
    """Check that what is not a float is not normalized, not downscaled, and has nothing to do with channels.

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
    """Yield the variables that have to be floats, why, and the data types to choose from."""
    yield from ((name, "be normalized", _other("no normalization of it")) for name in selection.read_normalized)
    if (pictures := selection.pictures) is not None and pictures.scaled and mouse.recording.stimulus is not None:
        yield mouse.recording.stimulus.name, "be downscaled", _other("no stimulus_size")
    yield from ((name, "become channels", _other("other channels")) for name in selection.channels)
    if selection.channels and mouse.recording.stimulus is not None:
        yield mouse.recording.stimulus.name, "get channels", _other("no channels")


def _other(instead: str) -> str:
    return f"a float dtype for it, or {instead}"

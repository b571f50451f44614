"""The data type of each variable in a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import numpy as np

from ...store import OptionError, Problem
from ..mouse import Mouse
from .mouse_stream import Selection
from .options import DEFAULT_DTYPE, LABEL, Dtype, DtypeName

STORED: DtypeName = "stored"
_ADVICE = "give one of " + ", ".join(map(repr, get_args(DtypeName))) + ", or a mapping from variables to these"


def dtypes_of(mouse: Mouse, names: tuple[str, ...], dtype: Dtype) -> dict[str, np.dtype[Any]]:
    """Return the data types of variables in a batch.

    Parameters
    ----------
    names
        Names of the variables that are read.
    dtype
        As of `TrialLoader`.

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
    return {
        name: mouse.recording.array(name).numpy_dtype if word == STORED else np.dtype(word)
        for name, word in chosen.items()
    }


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
        if selection.dtypes[name].kind != "f"
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

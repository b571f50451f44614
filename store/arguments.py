"""Check the arguments of public functions, before anything is read or written: errors name argument and value."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from types import NoneType
from typing import Any, NoReturn

import numpy as np

from .errors import Argument, OptionError, Problem
from .tasks import Progress, available_cores

_SHOWN = 80


def check_type(name: str, value: object, kinds: Any, expected: str) -> None:
    """Check that a value is of one of some types.

    Parameters
    ----------
    name
        Name of the argument, for the error.
    kinds
        As in `isinstance`.
    expected
        What is expected, for the error.

    Raises
    ------
    OptionError
        It is not.
    """
    if not isinstance(value, kinds):
        refuse(name, expected, value)


def check_progress(value: object) -> None:
    """Check that a value is a listener to long work, or None; errors as in `check_type`."""
    check_type("progress", value, (Progress, NoneType), "a listener with the methods start and advance")


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Check that a value is one of some words; parameters and errors as in `check_type`."""
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        refuse(name, " or ".join(map(repr, known)), value)


def check_flag(name: str, value: object) -> bool:
    """Return a truth value, numpy's too; texts such as "no" are none. Parameters and errors as in `check_type`."""
    check_type(name, value, (bool, np.bool_), "True or False")
    return bool(value)


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number, numpy's too, that is not below the least; parameters and errors as in `check_type`.

    Examples
    --------
    >>> check_count("workers", 0)
    Traceback (most recent call last):
        ...
    trialpack.store.errors.OptionError: workers: expected a whole number of at least 1, found 0
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, (bool, np.bool_)) or number < least:
        refuse(name, f"a whole number of at least {least}", value)
    return number


def check_threads(name: str, value: Any) -> int:
    """Return a number of threads, by default one a core; parameters and errors as in `check_type`."""
    return available_cores() if value is None else check_count(name, value)


def check_bytes(name: str, value: Any) -> int:
    """Return a number of bytes, such as ``"2GiB"``; parameters and errors as in `check_type`.

    Examples
    --------
    >>> check_bytes("max_memory", "2GiB")
    2147483648
    """
    from dask.utils import parse_bytes

    try:
        number = int(parse_bytes(value) if isinstance(value, (str, float)) else operator.index(value))
    except (ValueError, TypeError, OverflowError):
        number = -1
    if isinstance(value, (bool, np.bool_)) or number < 0:
        refuse(name, "a number of bytes such as '2GiB' or 400_000_000", value)
    return number


def refuse(name: str, expected: str, found: object) -> NoReturn:
    """Raise that another value was expected; parameters and errors as in `check_type`."""
    text = repr(found)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    raise OptionError(Problem("", f"expected {expected}, found {shown}", argument=Argument(name)))

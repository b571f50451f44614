"""What has a name, or the names that there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ..store import Problem, UnknownNameError

_Value = TypeVar("_Value")


def lookup(values: Mapping[str, _Value], name: str, label: str) -> _Value:
    """Return what has a name.

    Parameters
    ----------
    label
        Name of the whole, for the error.

    Raises
    ------
    UnknownNameError
        Nothing has; says which names there are.
    """
    if name not in values:
        raise UnknownNameError(Problem(label, f"no {name!r}", f"there are {', '.join(values)}"))
    return values[name]

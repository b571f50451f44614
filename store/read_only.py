"""What is handed out and cannot be changed: what is known of a store stays what the store says."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np


def _refuse(self: Any, *_: Any, **__: Any) -> NoReturn:
    """Refuse to change it."""
    kind = "dict" if isinstance(self, dict) else "list"
    raise TypeError(f"this is a part of what is known of a store: change a copy of it, {kind}(…)")


class ReadOnlyDict(dict[Any, Any]):
    """A dictionary that cannot be changed; to JSON and to ``==`` it is one like others."""

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> Any:
        """Return how it is made again, in another process too."""
        return type(self), (dict(self),)


class ReadOnlyList(list[Any]):
    """A list that cannot be changed."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> Any:
        """Return how it is made again, in another process too."""
        return type(self), (list(self),)


def read_only(value: Any) -> Any:
    """Return a value that cannot be changed: an array itself, a copy of dictionaries and lists with all in them."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    elif isinstance(value, dict):
        return ReadOnlyDict({key: read_only(one) for key, one in value.items()})  # pyright: ignore[reportUnknownVariableType]
    elif isinstance(value, list):
        return ReadOnlyList(map(read_only, value))  # pyright: ignore[reportUnknownArgumentType]
    return value

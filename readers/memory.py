"""Bounds on memory."""

from __future__ import annotations

from dask.utils import parse_bytes

from ..store import OptionError, Problem

PROCESS_BYTES = 160_000_000
"""What Python and its modules take before any data: part of every bound on memory."""


def parse_memory(label: str, value: int | str, name: str = "max_memory") -> int:
    """Return a number of bytes, such as of ``"2GiB"``.

    Parameters
    ----------
    label
        The store or source, for messages.
    name
        Name of the argument, for messages.

    Raises
    ------
    OptionError
        It is no number of bytes.

    Examples
    --------
    >>> parse_memory("mouse.zarr", "2GiB")
    2147483648
    """
    try:
        return int(parse_bytes(value))
    except (ValueError, KeyError, TypeError, OverflowError):
        what = f"{name} {value!r} is not a number of bytes"
        raise OptionError(Problem(label, what, "give one such as 2GiB or 400MB")) from None

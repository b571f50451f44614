"""What operating systems leave in folders that somebody looked into or copied: part of no mouse, and of no store."""

from __future__ import annotations

JUNK_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX"})


def is_junk(name: str) -> bool:
    """Return whether a path is something that operating systems leave behind.

    Examples
    --------
    >>> is_junk("responses/.DS_Store"), is_junk("responses/._c.0.0.0"), is_junk("responses/c.0.0.0")
    (True, True, False)
    """
    return any(part in JUNK_NAMES or part.startswith("._") for part in name.split("/"))

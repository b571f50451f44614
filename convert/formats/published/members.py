"""What archives of a published tree have in common: where the mouse begins, and which names are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from ....store import Problem, SourceError
from .names import TIERS

MAKE_AGAIN = "make the {} again from the published files"


def is_unsafe(name: str) -> bool:
    """Return whether a member's name could leave the folder that an archive is unpacked to, on any system."""
    parts = name.split("/")
    return name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in parts[0]


def find_root(label: str, kind: str, names: Iterable[str]) -> str:
    """Return what stands before ``data`` and ``meta`` in the names of the mouse's members.

    Parameters
    ----------
    label
        The archive as the person knows it.
    kind
        "zip" or "tar".

    Raises
    ------
    SourceError
        There is no mouse in the archive, or more than one.
    """
    found = {name for name in names if f"/{name}".endswith(f"/{TIERS}")}
    if len(found) != 1:
        what = f"expected one member {TIERS}, found {len(found)}"
        advice = (
            f"give the {kind} of one mouse" if found else f"download the {kind} again, or give the {kind} of a mouse"
        )
        raise SourceError(Problem(label, what, advice))
    return found.pop().removesuffix(TIERS)


def mouse_name(root: str, otherwise: str) -> str:
    """Return the name of the folder in an archive that holds the mouse, or another if it lies at the top."""
    return PurePosixPath(root).name or otherwise


def duplicates(label: str, kind: str, names: Iterable[str]) -> list[Problem]:
    """Return a problem for each name that an archive has more than once."""
    return [
        Problem(label, f"stands {count} times in the {kind} (expected once)", f"download the {kind} again", name)
        for name, count in Counter(names).items()
        if count > 1
    ]

"""What conversions, exports and pulls leave in a folder when they end in their middle."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import layout, locks
from .errors import OptionError, Problem
from .publish import Stage, give_up

_NAME = re.compile(r"\.(.+)\.(?:partial|journal|old|lock)")


@dataclass(frozen=True)
class Leftover:
    """What there is beside a destination that is not finished.

    Attributes
    ----------
    destination
        What was to be made.
    paths
        All that there is.
    files, nbytes
        Number and bytes of the files in it.
    holder
        The process that is at work there; None if there is none, so that it can be removed.
    """

    destination: Path
    paths: tuple[Path, ...]
    files: int
    nbytes: int
    holder: str | None

    def remove(self) -> bool:
        """Remove it, unless a process is at work there by now; put back a store that was being replaced.

        Raises
        ------
        StoreBusyError
            The lock is another user's.
        OSError
            Something cannot be removed.
        """
        return give_up(self.destination)


def find_leftovers(folder: Path) -> list[Leftover]:
    """Return the unfinished stores of a folder, by destination; nothing is written.

    Raises
    ------
    OptionError
        There is no such folder.
    """
    if not folder.is_dir():
        raise OptionError(Problem(str(folder), "no such folder", "check the path"))
    names = {match[1] for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    found = (_leftover(folder / name) for name in sorted(names))
    return [one for one in found if one is not None]


def _leftover(destination: Path) -> Leftover | None:
    """Return the leftovers beside a destination; None if another program may have made them."""
    stage = Stage(destination)
    paths = tuple(destination.parent / path.name for path in stage.left if path.exists())
    holder = locks.holder(stage.lock)
    if not paths or (destination.suffix != layout.SUFFIX and holder is None):
        return None
    files = [one for path in paths for one in (path, *path.rglob("*")) if one.is_file() and not one.is_symlink()]
    nbytes = sum(one.stat().st_size for one in files)
    return Leftover(destination, paths, len(files), nbytes, holder if locks.is_held(stage.lock) else None)

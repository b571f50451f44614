"""Space on disk: what something takes, beside what is free where it is to be made."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Problem, ResourceError


@dataclass(frozen=True)
class Space:
    """What something takes, and what is free.

    Attributes
    ----------
    folder
        Where it is to be made, for messages; it need not exist.
    needed, files
        Bytes and files that it takes at most.
    least
        Bytes that it takes in any case; those of values that are compressed are not known before they are.
    free, free_files
        None where the file system does not say.
    """

    folder: Path
    needed: int
    files: int
    least: int
    free: int | None
    free_files: int | None

    @property
    def shortage(self) -> str | None:
        """That the free space may not do; None if it does, or nobody knows."""
        short = self._too_many or (self.free is not None and self.needed > self.free)
        return f"the disk may become full ({self.text})" if short else None

    def check(self, path: Path) -> None:
        """Check that the free space can do.

        What is compressed may come out at a tenth: no work that could have ended well is refused for a guess, which
        `shortage` tells. If it comes true, the same call goes on when there is space.

        Raises
        ------
        ResourceError
            More is needed in any case than is free.
        """
        if self.free is not None and self.least > self.free:
            advice = "make space, or choose a folder on another disk"
            raise ResourceError(Problem(str(path), f"too little space ({self._text(self.least)})", advice))

    @property
    def document(self) -> dict[str, Any]:
        """Needed and free bytes, as JSON."""
        return {"bytes_needed_at_most": self.needed, "bytes_free": self.free}

    @property
    def text(self) -> str:
        """Needed and free space, for a person."""
        return self._text(self.needed)

    @property
    def _too_many(self) -> bool:
        return self.free_files is not None and self.files > self.free_files

    def _text(self, nbytes: int) -> str:
        free = "an unknown number of bytes" if self.free is None else bytes_text(self.free)
        count, more = (f" in {self.files} files", f" and {self.free_files} files") if self._too_many else ("", "")
        bound = "up to " if nbytes > self.least else ""
        return f"{bound}{bytes_text(nbytes)}{count} are needed; {free}{more} free in {self.folder}"


def measure_space(path: Path, nbytes: int, files: int, least: int) -> Space:
    """Find out what is free where something of so many bytes and files at most is to be made.

    Parameters
    ----------
    nbytes
        Bytes of the content of the files, at most; each file takes a block of the file system more.
    least
        Bytes that it takes in any case.
    """
    folder = path.parent
    try:
        status = os.statvfs(next(parent for parent in path.absolute().parents if parent.exists()))
    except OSError:
        return Space(folder, nbytes, files, least, None, None)
    # Some file systems in memory and on networks have no size, and some no table of files.
    free = status.f_bavail * status.f_frsize if status.f_blocks else None
    free_files = status.f_favail if status.f_files else None
    return Space(folder, nbytes + files * status.f_frsize, files, least, free, free_files)


def bytes_text(nbytes: int) -> str:
    """Return a number of bytes as a person reads it."""
    if nbytes < 1000:
        return f"{nbytes} bytes"
    power = min(4, (len(str(nbytes)) - 1) // 3)
    return f"{nbytes / 1000**power:.1f} {' kMGT'[power]}B"

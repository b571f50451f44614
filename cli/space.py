"""What is said when a disk is full."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from ..store import TrialpackError
from .display import size

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def with_space(error: BaseException, to: Path, need: Callable[[], tuple[int, int]], advice: str) -> BaseException:
    """Return, for an error of the system, which file it is about; of a full disk, how much space is needed and free.

    Parameters
    ----------
    to
        The folder that was written to.
    need
        Returns the bytes and files that are written at most.
    advice
        What to do when there is space.
    """
    if isinstance(error, TrialpackError) or not isinstance(error, OSError):
        return error
    if error.errno not in _FULL:
        return OSError(f"{error.filename or to}: {error.strerror}")
    folder = next(path for path in (to, *to.resolve().parents) if path.exists())
    (nbytes, files), status = need(), os.statvfs(folder)
    # Each file takes a block more than its bytes, and metadata.
    needed, free = size(nbytes + files * status.f_frsize), size(status.f_bavail * status.f_frsize)
    if status.f_files and status.f_favail < files:
        needed, free = f"{needed} in {files} files", f"{free} and {status.f_favail} files"
    space = f"up to {needed} are needed; {free} free in {folder}"
    return OSError(f"{error.filename or to}: {error.strerror} ({space}); {advice}")

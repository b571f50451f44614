"""What Git LFS, git-annex and DataLad put in place of a file that was not fetched."""

from __future__ import annotations

import os
from pathlib import Path

POINTER_BYTES = 200
"""The first bytes of a file, which show if it is a pointer."""
_LFS, _ANNEX = b"version https://git-lfs.github.com/spec/", b"/annex/objects/"
_LINKED = "annex/objects/"


def pointer_problem(start: bytes) -> tuple[str, str] | None:
    """Return what is wrong with a file that begins so, and what to do; None if it is no pointer.

    Examples
    --------
    >>> pointer_problem(b"version https://git-lfs.github.com/spec/v1 oid sha256:4d7a")
    ('a Git LFS pointer, not the file itself', 'fetch it with git lfs pull')
    """
    if start.startswith(_LFS):
        return "a Git LFS pointer, not the file itself", "fetch it with git lfs pull"
    if start.startswith(_ANNEX):
        return "a git-annex pointer, not the file itself", "fetch it with datalad get, or git annex get"
    return None


def find_pointer(path: Path) -> tuple[str, str] | None:
    """Return the same for a path that must be a file itself, not a link to one."""
    if path.is_symlink():
        if _LINKED not in os.readlink(path):
            return None
        if path.exists():
            return "a link of git-annex, not the file itself", "put it there with datalad unlock, or git annex unlock"
        advice = "fetch it with datalad get and datalad unlock, or git annex get and git annex unlock"
        return "a link of git-annex to a file that was not fetched", advice
    if not path.is_file():
        return None
    try:
        with open(path, "rb", buffering=0) as file:
            return pointer_problem(file.read(POINTER_BYTES))
    except OSError:  # which whoever reads it reports
        return None

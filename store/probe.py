"""Find out what a worker of a cluster lacks: versions, files that it does not see, the right to write.

Sent to workers by value, for they may have another trialpack, or none: the standard library only.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

SAME_VERSIONS = "install the same versions there"


def find_faults(
    versions: Mapping[str, str], files: Sequence[tuple[str, int]], folder: str | None
) -> list[tuple[str, str]]:
    """Return what is wrong with the process in which this runs, each with advice.

    Parameters
    ----------
    versions
        Name of a package -> the version that is expected.
    files
        Paths, each with the bytes that the file there is to have.
    folder
        A folder with a random name, just made, to write in; None where nothing is to be written.
    """
    faults = list[tuple[str, str]]()
    found = {name: _version(name) for name in versions}
    differing = [name for name in versions if found[name] != versions[name]]
    if differing:
        expected = ", ".join(f"{name} {versions[name]}" for name in differing)
        faults.append(
            (f"expected {expected}, found {', '.join(found[name] or 'none' for name in differing)}", SAME_VERSIONS)
        )
    unseen = [(path, size, there) for path, size in files if (there := _size(path)) != size]
    for path, size, there in unseen[:1]:
        more = f" (and {len(unseen) - 1} more files)" if unseen[1:] else ""
        what = f"{path}: expected {size} bytes, found {'nothing' if there is None else there}{more}"
        faults.append((what, "mount there what is read, under the same path"))
    if folder is not None and not os.path.isdir(folder):
        faults.append(
            (f"{folder}: expected a folder, found nothing", "mount there what is written, under the same path")
        )
    elif folder is not None and (refused := _try_to_write(folder)):
        faults.append((f"{folder}: expected to write in it, found {refused}", "let it write there"))
    return faults


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _try_to_write(folder: str) -> str | None:
    """Return why no file can be made in a folder; None if one can."""
    path = os.path.join(folder, secrets.token_hex(8))
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.unlink(path)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None

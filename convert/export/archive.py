"""A published tree as a zip."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from ...store import files
from ...store.errors import naming
from ...store.progress import Progress
from .published_tree import PublishedFile, PublishedTree

_LEVEL = 1
"""Floating point numbers hardly get smaller by more."""
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16


def write_zip(tree: PublishedTree, path: Path, workers: int, progress: Progress) -> None:
    """Write all files of a tree to a zip, in the mouse's folder, deflated as the published ones are.

    Notes
    -----
    One thread, however many workers there may be. Equal stores give equal bytes: members have the order of the store
    and no time.
    """
    with naming(path), os.fdopen(files.create(path), "wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            for member in tree.small():
                _write(archive, tree.mouse, member, progress)
            for array, number in tree.shards:
                for member in tree.trials(array, number):
                    _write(archive, tree.mouse, member, progress)


def _write(archive: zipfile.ZipFile, mouse: str, file: PublishedFile, progress: Progress) -> None:
    info = zipfile.ZipInfo(f"{mouse}/{file.name}", _DATE)
    info.external_attr = _MODE
    archive.writestr(info, b"".join(file.parts), zipfile.ZIP_DEFLATED, _LEVEL)
    progress.advance(file.nbytes, 1)

"""Where an export appears: complete under its name, or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path

from ..store import Problem, StoreBusyError, StoreExistsError, files
from ..store.publish import check_place


@contextlib.contextmanager
def atomic_destination(destination: Path) -> Generator[Path]:
    """Give a hidden path beside a destination, to make a file or folder there; once it is on disk, it gets its name.

    Raises
    ------
    StoreExistsError
        Something has the name.
    StoreBusyError
        Another export to the destination is under way.
    OptionError
        The destination lies inside a store.

    Notes
    -----
    After any error the hidden path is removed. What a killed process left there is removed by the next export to the
    same destination.
    """
    check_place(destination)
    files.make_folder_durably(destination.parent)
    hidden = hidden_beside(destination)
    with files.locked(destination.with_name(f".{destination.name}.lock")) as held:
        if not held:
            what = "is being written by another export"
            raise StoreBusyError(Problem(str(destination), what, "wait for it, or choose another folder"))
        if destination.exists() or destination.is_symlink():
            raise StoreExistsError(_taken(destination))
        files.remove(hidden)
        try:
            yield hidden
            files.sync_file_system(hidden)
            files.rename_new(hidden, destination)
            files.sync_folder(destination.parent)
        except FileExistsError:
            raise StoreExistsError(_taken(destination)) from None
        finally:
            files.remove(hidden)


def hidden_beside(destination: Path) -> Path:
    """Return where an export is made."""
    return destination.with_name(f".{destination.name}.partial")


def _taken(destination: Path) -> Problem:
    return Problem(str(destination), "exists already", "move it away, or choose another folder")

"""Open stores."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..store import (
    CorruptStoreError,
    OptionError,
    Problem,
    StoreFormatError,
    TrialpackError,
    check_full,
    check_quick,
    layout,
)
from ..store.folder import stores_in
from ..store.tasks import available_cores
from .mouse import Mouse

Check = Literal["quick", "full"]


def open_mouse(path: Path | str, check: Check = "quick") -> Mouse:
    """Open a store.

    Parameters
    ----------
    path
        Folder of the store, ``<mouse>.zarr``.
    check
        ``quick``: names and sizes of all files, and the content of all metadata; milliseconds. ``full``: every byte
        and every value.

    Raises
    ------
    StoreFormatError
        Not a trialpack store, an unfinished one, or one of an unknown format version.
    CorruptStoreError
        Its files are not what its manifest says; every problem is named.

    Warns
    -----
    UserWarning
        Codecs are none that the format names; zarr-python decodes them, slowly.

    Examples
    --------
    >>> from trialpack import open_mouse
    >>> open_mouse("no/such.zarr")
    Traceback (most recent call last):
        ...
    trialpack.store.errors.StoreFormatError: no/such.zarr: no such store; check the path
    """
    if check not in ("quick", "full"):
        raise OptionError(Problem(str(path), f"no check {check!r}", "choose quick or full"))
    root = Path(path)
    index = check_quick(root) if check == "quick" else check_full(root, workers=available_cores())
    if slow := [array.path for array in index.recorded if array.codec.compressor == "other"]:
        what = "has codecs that trialpack leaves to zarr-python: right, but slow"
        warnings.warn(f"{path}: {', '.join(slow)} {what}", stacklevel=2)
    return Mouse(index)


def open_mice(paths: Path | str | Sequence[Path | str], check: Check = "quick") -> list[Mouse]:
    """Open several stores.

    Parameters
    ----------
    paths
        Stores, or one folder that holds them.
    check
        As of `open_mouse`.

    Returns
    -------
    list of Mouse
        In the order given; of a folder, by name.

    Raises
    ------
    OptionError
        The folder holds no store.
    StoreFormatError, CorruptStoreError
        As `open_mouse`, with the problems of all stores; of the type of the first.
    """
    stores = _stores(Path(paths)) if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    if not stores:
        raise OptionError(Problem("open_mice", "no stores are given", "give at least one, or a folder of them"))
    mice, errors = list[Mouse](), list[TrialpackError]()
    for store in stores:
        try:
            mice.append(open_mouse(store, check))
        except (StoreFormatError, CorruptStoreError) as error:
            errors.append(error)
    if errors:
        raise type(errors[0])(problem for error in errors for problem in error.problems)
    return mice


def _stores(folder: Path) -> list[Path]:
    if folder.suffix == layout.SUFFIX:
        return [folder]
    if not folder.is_dir():
        raise OptionError(Problem(str(folder), "no such folder", "check the path"))
    found = stores_in(folder)
    if not found:
        problem = Problem(str(folder), f"no stores (expected folders named *{layout.SUFFIX})", "check the path")
        raise OptionError(problem)
    return found

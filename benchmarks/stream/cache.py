"""Drop files from the page cache, and check that they are gone."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

_PAGE = mmap.PAGESIZE
_READ = 8 << 20


def files(path: Path) -> list[Path]:
    """Return all files of a folder."""
    return [found for found in path.rglob("*") if found.is_file()]


def nbytes(path: Path) -> int:
    """Return the bytes of all files of a folder."""
    return sum(file.stat().st_size for file in files(path))


def evict(paths: Iterable[Path]) -> float:
    """Drop files from the page cache.

    Returns
    -------
    float
        Which part of their pages is still there: pages that a process has mapped and touched stay.
    """
    os.sync()
    pages = left = 0
    for path in paths:
        size = path.stat().st_size
        if size:
            pages += -(-size // _PAGE)
            left += _evict(path, size)
    return left / pages if pages else 0.0


def warm(paths: Sequence[Path]) -> None:
    """Bring files into the page cache from scratch, each from its beginning to its end.

    Notes
    -----
    How files came into the cache decides how fast they are read from it, for whoever reads them: files read through in
    one go stand in large pages, and were read three times as fast as those that were read here and there.
    """
    evict(paths)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.read(_READ):
                pass


def _evict(path: Path, size: int) -> int:
    """Drop one file, and return how many pages of it are left."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
            return _resident(mapped, size)


def _resident(mapped: mmap.mmap, size: int) -> int:
    flags = (ctypes.c_ubyte * -(-size // _PAGE))()
    first = ctypes.c_char.from_buffer(mapped)
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size), flags)
    del first  # or the mapping cannot be closed
    if failed:
        raise OSError(ctypes.get_errno(), "mincore")
    return sum(flag & 1 for flag in flags)

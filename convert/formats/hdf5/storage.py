"""The file object through which the HDF5 library reads and writes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from ....store import OptionError, Problem, files
from ....store.errors import naming
from ..source import ReadError

# How a collection of texts begins in a file: signature, version 1, zeros, its size in bytes. It is read by itself, or
# with a little else before it.
_HEAP, _HEAP_HEAD, _SEARCHED = re.compile(rb"GCOL\x01\0\0\0"), 16, 1 << 16
# HDF5 1.8 of 2008 and all since, MATLAB's too, can read it; attributes may be larger than 64 KiB.
_VERSIONS = ("v108", "v108")


@contextlib.contextmanager
def reading(h5py: Any, descriptor: int) -> Generator[Any]:
    """Open a file to read from it.

    Parameters
    ----------
    descriptor
        Descriptor of the file; the caller closes it.

    Yields
    ------
    h5py.File
        The file.

    Raises
    ------
    ReadError
        A program writes it, or did not close it: the library itself would say so of a path, not of a file object.
    """
    _check_closed(descriptor)
    with h5py.File(_CheckedStorage(descriptor), "r") as file:
        yield file


def _check_closed(descriptor: int) -> None:
    """Take the lock of readers, which the library's writers heed, and look for the marks that they leave in a file."""
    # Many file systems have no locks, and read-only ones no writers: what cannot be tried is no reason to refuse.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ReadError("another program has it open for writing", "close it there first") from None
    except OSError:
        pass
    start = _superblock(descriptor)
    if start is not None:
        head = os.pread(descriptor, _FLAGS + 1, start)
        if len(head) > _FLAGS and head[len(_SIGNATURE)] >= _VERSION_WITH_FLAGS and head[_FLAGS] & _WRITING:
            raise ReadError("a program writes it, or ended before it had closed it", _NOT_CLOSED)


@contextlib.contextmanager
def writing(h5py: Any, path: Path) -> Generator[tuple[Any, Callable[[], None]]]:
    """Create a file to write to it, and return when its bytes are on disk.

    Yields
    ------
    h5py.File, function
        The file; and a function to call now and then, which raises the first error of the system if there was one.

    Raises
    ------
    OSError
        From the system, with the path.
    """
    with naming(path):
        descriptor = files.create(path, os.O_RDWR)
        storage = _Storage(descriptor)
        try:
            with h5py.File(storage, "w", libver=_VERSIONS) as file:
                yield file, storage.raise_error
            storage.raise_error()
            files.sync(descriptor)
        finally:
            files.close(descriptor)


class _Storage:
    """The file object that the library reads from and writes to.

    It hides errors of writing from the library, which after one could not close the file any more, and would end the
    process with a crash: the first one is kept, and nothing is written from then on.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._place = descriptor, 0
        self._error: OSError | None = None

    def raise_error(self) -> None:
        """Raise the first error, if there was one."""
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: os.fstat(self._descriptor).st_size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def read(self, size: int) -> bytes:
        """Return the next bytes; h5py knows a file object by this."""
        buffer = bytearray(size)
        self.readinto(buffer)
        return bytes(buffer)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, with zeros behind the end of the file as the library's own drivers do."""
        view, done = memoryview(buffer).cast("B"), 0
        there = max(0, min(view.nbytes, os.fstat(self._descriptor).st_size - self._place))
        while done < there and (count := os.preadv(self._descriptor, [view[done:there]], self._place + done)):
            done += count
        np.frombuffer(view, np.uint8)[done:] = 0
        self._place += view.nbytes
        return view.nbytes

    def write(self, data: Any) -> int:
        """Write at the place."""
        view = memoryview(data).cast("B")
        self._unless_failed(lambda: files.write_at(self._descriptor, view, self._place))
        self._place += view.nbytes
        return view.nbytes

    def truncate(self, size: int) -> int:
        """Cut or lengthen the file."""
        self._unless_failed(lambda: files.truncate(self._descriptor, size))
        return size

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def _unless_failed(self, operation: Callable[[], None]) -> None:
        if self._error is None:
            try:
                operation()
            except OSError as error:
                self._error = error


class _CheckedStorage(_Storage):
    """The same, of a file that may be damaged: of a collection of texts that holds zeros, the library never returns."""

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; see `_Storage.readinto`.

        Raises
        ------
        OSError
            A collection of texts begins here in which the library would not get further.
        """
        start = self._place
        count = super().readinto(buffer)
        for found in _HEAP.finditer(buffer, 0, _SEARCHED):
            self._check_heap(start + found.start())
        return count

    def _check_heap(self, start: int) -> None:
        """Go from text to text, each 16 bytes (number, size) and its letters; what has the number 0 is free space."""
        place, end = start + _HEAP_HEAD, start + self._number(start + 8, 8)
        while place + _HEAP_HEAD <= end:
            number, size = self._number(place, 2), self._number(place + 8, 8)
            step = _HEAP_HEAD + -(-size // 8) * 8 if number else size
            if step < _HEAP_HEAD:
                raise OSError("a collection of texts is damaged")
            place += step

    def _number(self, place: int, size: int) -> int:
        return int.from_bytes(os.pread(self._descriptor, size, place), "little")


SUFFIXES = (".h5", ".hdf5", ".hdf")
READ_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, NotImplementedError)
"""Errors that h5py raises for a damaged file: it makes one of these of an error of the C library."""

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_VERSION_WITH_FLAGS, _FLAGS, _WRITING = 2, 11, 0x01 | 0x04
"""From which version on, and at which byte, a superblock says that the file is open for writing, or for SWMR."""
_NOT_CLOSED = (
    "close it in that program; if that is gone, write the file again, or clear the mark with h5clear -s and see "
    "what it holds"
)
_INSTALL = "pip install h5py hdf5plugin"


def import_h5py(label: str) -> Any:
    """Import h5py, which is an extra.

    Parameters
    ----------
    label
        What needs it, for the message.

    Raises
    ------
    OptionError
        It is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise OptionError(Problem(label, "needs the package h5py", _INSTALL)) from None
    return h5py


def import_plugins(label: str) -> Any:
    """Import hdf5plugin, which is an extra, and gives h5py more filters; see `import_h5py`."""
    try:
        import hdf5plugin
    except ImportError:
        raise OptionError(Problem(label, "needs the package hdf5plugin", _INSTALL)) from None
    return hdf5plugin


def is_hdf5(path: Path) -> bool:
    """Return whether a file begins as HDF5 files do: at its first byte, or behind 512 of them, 1024 and so on."""
    if not path.is_file():
        return False
    with open(path, "rb", buffering=0) as file:
        return _superblock(file.fileno()) is not None


def _superblock(descriptor: int) -> int | None:
    """Return where a file begins as HDF5 files do; None if it does not."""
    size, place = os.fstat(descriptor).st_size, 0
    while place < size:
        if os.pread(descriptor, len(_SIGNATURE), place) == _SIGNATURE:
            return place
        place = max(512, 2 * place)
    return None


def first_line(error: Exception) -> str:
    """Return the first line of an error's text; those of the C library go on with addresses and times."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__

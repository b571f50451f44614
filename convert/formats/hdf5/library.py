"""What writing and reading HDF5 files have in common: libraries, the names in an exported file, access, digests."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import xxhash
from numpy.typing import NDArray

from ....store import OptionError, Problem, files
from ....store.errors import naming
from ....store.manifest import values_digest
from ....store.metadata import to_json

SUFFIXES = (".h5", ".hdf5", ".hdf")
LAYOUT_VERSION = 1
A_LAYOUT, A_DIGEST, A_ATTRIBUTES_DIGEST = "trialpack_hdf5", "xxh3_128", "xxh3_128_of_attributes"
"""Attributes that an exported file has beside those of the store: of the root; of each array; of both."""
DIMENSIONS = "dimensions"
"""The group of the dimension scales of an exported file."""
READ_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, NotImplementedError)
"""What h5py raises of a file that is not as it should be: it makes one of these of an error of the C library."""

# How a collection of texts begins in a file: signature, version 1, zeros, its size in bytes. It is read by itself, or
# with a little else before it.
_HEAP, _HEAP_HEAD, _SEARCHED = re.compile(rb"GCOL\x01\0\0\0"), 16, 1 << 16
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_INSTALL = "pip install h5py hdf5plugin"
# HDF5 1.8 of 2008 and all since, MATLAB's too, can read it; attributes may be larger than 64 KiB.
_VERSIONS = ("v108", "v108")


def library(label: str) -> Any:
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


def plugins(label: str) -> Any:
    """Import hdf5plugin, which is an extra, and gives h5py more filters; see `library`."""
    try:
        import hdf5plugin
    except ImportError:
        raise OptionError(Problem(label, "needs the package hdf5plugin", _INSTALL)) from None
    return hdf5plugin


def is_hdf5(path: Path) -> bool:
    """Return whether a file begins as HDF5 files do: at its first byte, or behind 512 of them, 1024 and so on."""
    size, place = path.stat().st_size, 0
    with open(path, "rb", buffering=0) as file:
        while place < size:
            file.seek(place)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return True
            place = max(512, 2 * place)
    return False


@contextlib.contextmanager
def reading(h5py: Any, descriptor: int) -> Generator[Any]:
    """Open a file to read from it.

    Parameters
    ----------
    descriptor
        Of the file; the caller closes it.

    Yields
    ------
    h5py.File
        The file.
    """
    with h5py.File(_CheckedStorage(descriptor), "r") as file:
        yield file


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


class Rows:
    """Reads the rows of a dataset, or the whole of it, into memory of the caller.

    Parameters
    ----------
    dataset
        Of h5py's low-level interface, which for a small row takes a tenth of the time of the other one.
    """

    def __init__(self, h5py: Any, dataset: Any) -> None:
        self._dataset, self._spaces = dataset, h5py.h5s
        self._shape: tuple[int, ...] = tuple(dataset.shape)
        self._file, self._memory = dataset.get_space(), h5py.h5s.create_simple(self._shape[1:] or (1,))

    def read(self, start: int, out: NDArray[Any]) -> None:
        """Read rows that follow one another.

        Parameters
        ----------
        out
            As many rows as are wanted, C-contiguous, of the dataset's dtype; overwritten.
        """
        self._expect((len(out), *self._shape[1:]), out)
        self._file.select_hyperslab((start, *[0] * (len(self._shape) - 1)), out.shape)
        # Memory of a row's own shape: with an axis of one before it, the library copies value by value.
        memory = self._memory if len(out) == 1 else self._spaces.create_simple(out.shape)
        self._dataset.read(memory, self._file, out)

    def read_all(self, out: NDArray[Any], kind: Any = None) -> None:
        """Read the whole dataset; `out` as for `read`, with all axes that are longer than one.

        Parameters
        ----------
        kind
            The type of `out` as h5py has it, where its dtype does not tell: of text.
        """
        self._expect(self._shape, out)
        self._dataset.read(self._spaces.ALL, self._spaces.ALL, out, kind)

    def _expect(self, wanted: tuple[int, ...], out: NDArray[Any]) -> None:
        if out.size != math.prod(wanted) or not out.flags.c_contiguous:
            raise ValueError(f"expected memory for shape {wanted}, found {out.shape}")


def text_type(h5py: Any, texts: list[bytes]) -> Any:
    """Return the dtype for UTF-8 texts: of variable length, unless one holds NUL, at which those would end."""
    longest = max(map(len, texts)) if any(b"\0" in text for text in texts) else None
    return h5py.string_dtype("utf-8", longest)


def text_values(found: Any) -> Any:
    """Return texts as h5py gives them, bytes or not, as Python strings; anything else as it is.

    Examples
    --------
    >>> text_values(np.array([b"train", b"oracle"], object))
    ['train', 'oracle']
    """
    if isinstance(found, np.ndarray) and found.dtype.kind in "OS":
        return text_values(found.tolist())
    if isinstance(found, list):
        return [text_values(item) for item in cast("list[Any]", found)]
    return found.decode() if isinstance(found, bytes) else found


def plain_attribute(value: Any) -> Any:
    """Return what stands for an attribute of a store: a number, a text or a list of integers as it is, else JSON.

    Examples
    --------
    >>> plain_attribute([1, 2]), plain_attribute([["<f4", True]])
    ([1, 2], '[["<f4",true]]')
    """
    numbers = isinstance(value, list) and all(type(item) is int for item in cast("list[Any]", value))
    as_json = isinstance(value, dict) or (isinstance(value, list) and not (value and numbers))
    return to_json(value).decode().rstrip("\n") if as_json else value


def attributes_digest(plain: Mapping[str, Any]) -> str:
    """Return the digest of attributes, each as `plain_attribute` returns it."""
    return xxhash.xxh3_128_hexdigest(to_json(dict(plain)))


def digest(values: NDArray[Any]) -> str:
    """Return the digest of an array: of its bytes, or of its texts as a list in JSON."""
    return xxhash.xxh3_128_hexdigest(to_json(values.tolist())) if values.dtype == object else values_digest(values)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text; those of the C library go on with addresses and times."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__

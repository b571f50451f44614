"""One dataset of an HDF5 file: its properties, and whether its values can be read."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from ....store import OptionError
from ...npy import MAX_AXES, MAX_SIZE
from ..source import ReadError
from .storage import import_plugins
from .values import Rows

_SAVE_AGAIN = "save it again as numbers or text"
_WRITE_AGAIN = "write the file again, with all of its values"
_SAVE_INSIDE = "save a copy of the file that holds them"
_MAX_CHUNK = 1 << 30
_MAX_SPARE = 1 << 26
"""How much larger than the dataset a chunk may be: one that is to grow has room."""
_MAX_BLOCK = 1 << 26
_MAX_WORDS, _MAX_LETTERS = 1 << 22, 1 << 28
"""Limits for an array of text, which is read before anything is known of it: each word takes a hundred bytes more."""
_REFERENCE = np.dtype([("size", "<u4"), ("heap", "<u8"), ("number", "<u4")])
"""The reference that the file has in place of a text of variable length."""
_TOO_MUCH = f"too much text (expected {_MAX_WORDS} words and {_MAX_LETTERS} bytes at most)", "remove it from the file"


@dataclass(frozen=True)
class Dataset:
    """One dataset whose values can be read.

    Attributes
    ----------
    path
        Path in the file.
    dtype
        Byte order as in the file; object for text.
    itemsize
        Bytes of one value; of text of variable length, those of the reference to it.
    chunk
        Its chunks; None if it is not cut into any.
    identity
        h5py's low-level object.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    itemsize: int
    chunk: tuple[int, ...] | None
    identity: Any

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.itemsize

    @property
    def row_nbytes(self) -> int:
        """Bytes of a row's values."""
        return math.prod(self.shape[1:]) * self.itemsize

    @property
    def rows_together(self) -> int:
        """Rows that are to be read at once, for they share chunks: less if they are very large."""
        return max(1, min(self.chunk[0], self.shape[0], _MAX_BLOCK // self.row_nbytes)) if self.chunk else 1

    @property
    def chunk_nbytes(self) -> int:
        """Bytes of a chunk; 0 without."""
        return math.prod(self.chunk) * self.itemsize if self.chunk else 0

    @property
    def unpacking(self) -> int:
        """Bytes that the library takes while it reads: a chunk, and a chunk as it is packed."""
        return 2 * self.chunk_nbytes


def examine(h5py: Any, path: str, identity: Any) -> Dataset:
    """Find out what a dataset is, in an order in which no other file is opened and nothing large is made.

    Raises
    ------
    ReadError
        Its values lie in other files, cannot be unpacked, or are neither numbers nor text.
    """
    h5d, settings = h5py.h5d, identity.get_create_plist()
    if settings.get_layout() == h5d.VIRTUAL:
        raise ReadError("a virtual dataset: its values lie in other files, which are not opened", _SAVE_INSIDE)
    if settings.get_external_count():
        raise ReadError("its values lie in other files, which are not opened", _SAVE_INSIDE)
    _check_filters(h5py, settings)
    kind = identity.get_type()
    dtype = _dtype(h5py, kind)
    space = identity.get_space()
    if space.get_simple_extent_type() == h5py.h5s.NULL:
        raise ReadError("holds nothing (expected an array)", _SAVE_AGAIN)
    shape = tuple(space.get_simple_extent_dims())
    if len(shape) > MAX_AXES or math.prod(shape) > MAX_SIZE:
        raise ReadError(f"shape {shape} is not believed", _WRITE_AGAIN)
    chunk = tuple(settings.get_chunk()) if settings.get_layout() == h5d.CHUNKED else None
    found = Dataset(path, shape, dtype, kind.get_size(), chunk, identity)
    limit = min(_MAX_CHUNK, found.nbytes + _MAX_SPARE)
    if found.chunk_nbytes > limit:
        what = f"its chunks are too large (expected {limit} bytes at most, found {found.chunk_nbytes})"
        raise ReadError(what, "save it again in smaller chunks")
    return found


def _check_filters(h5py: Any, settings: Any) -> None:
    codes = [settings.get_filter(place) for place in range(settings.get_nfilters())]
    for code, _, _, name in codes:
        if h5py.h5z.filter_avail(code):
            continue
        with contextlib.suppress(OptionError):
            import_plugins("")
        if not h5py.h5z.filter_avail(code):
            what = f"is packed by the HDF5 filter {code} ({name.decode('utf-8', 'replace')}), which is not installed"
            raise ReadError(what, "pip install hdf5plugin, or install the plugin of that filter")


def _dtype(h5py: Any, kind: Any) -> np.dtype[Any]:
    h5t = h5py.h5t
    if kind.get_class() == h5t.STRING:
        return np.dtype(object)
    if not is_number(h5py, kind):
        raise ReadError(f"holds {_name_of_class(h5t, kind.get_class())} (expected numbers or text)", _SAVE_AGAIN)
    return np.dtype(kind.dtype.str)


def check_written(h5py: Any, dataset: Dataset) -> None:
    """Check that there is what is declared: of what was never written, the library makes up values."""
    identity, h5d = dataset.identity, h5py.h5d
    if dataset.chunk is not None:
        expected, found, parts = _chunk_count(dataset.shape, dataset.chunk), identity.get_num_chunks(), "chunks"
    elif identity.get_create_plist().get_layout() == h5d.CONTIGUOUS:
        expected, found, parts = dataset.nbytes, identity.get_storage_size(), "bytes"
    else:
        return
    if found < expected:
        what = f"declares shape {dataset.shape}, but {found} of its {expected} {parts} were ever written"
        raise ReadError(what, _WRITE_AGAIN)


def read_texts(h5py: Any, dataset: Dataset, descriptor: int) -> list[str]:
    """Read texts, after seeing that they are not too much: many small references could stand for one large text.

    Parameters
    ----------
    descriptor
        Descriptor of the open file.
    """
    kind = dataset.identity.get_type()
    letters = _letters(dataset, descriptor) if kind.is_variable_str() else dataset.nbytes
    if math.prod(dataset.shape) > _MAX_WORDS or (letters or 0) > _MAX_LETTERS:
        raise ReadError(*_TOO_MUCH)
    if letters is None:
        return _read_one_by_one(h5py, dataset)
    words = np.empty(dataset.shape, kind.dtype)
    if words.size:
        Rows(h5py, dataset.identity).read_all(words, h5py.h5t.py_create(kind.dtype))
    return [text_of(word) for word in cast("list[bytes]", words.reshape(-1).tolist())]


def _letters(dataset: Dataset, descriptor: int) -> int | None:
    """Return the bytes of texts of variable length, by the references to them; None if those are not simply there."""
    identity, size = dataset.identity, math.prod(dataset.shape) * _REFERENCE.itemsize
    offset = identity.get_offset()
    if offset is None or identity.get_storage_size() != size or size > _MAX_WORDS * _REFERENCE.itemsize:
        return None
    references = np.frombuffer(os.pread(descriptor, size, offset), _REFERENCE)
    return int(references["size"].sum(dtype=np.int64))


def _read_one_by_one(h5py: Any, dataset: Dataset) -> list[str]:
    kind = dataset.identity.get_type()
    found, total, kept = list[str](), 0, h5py.h5t.py_create(kind.dtype)
    space, memory, word = dataset.identity.get_space(), h5py.h5s.create_simple((1,)), np.empty(1, object)
    for place in np.ndindex(dataset.shape):
        if place:
            space.select_hyperslab(place, (1,) * len(place))
        dataset.identity.read(memory, space, word, kept)
        found.append(text_of(word[0]))
        total += len(found[-1])
        if total > _MAX_LETTERS:
            raise ReadError(*_TOO_MUCH)
    return found


def text_of(word: bytes | str) -> str:
    """Return a text as h5py gives it, after seeing that it is one."""
    try:
        return word.decode() if isinstance(word, bytes) else word.encode().decode()
    except UnicodeError:
        raise ReadError("holds text that is not UTF-8", "save it as such") from None


def is_number(h5py: Any, kind: Any) -> bool:
    """Return whether a type is an integer, a float or a truth value that numpy has, bit for bit."""
    h5t = h5py.h5t
    if kind.get_class() not in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM):
        return False
    try:
        dtype = np.dtype(kind.dtype.str)
    except TypeError:
        return False
    if dtype.itemsize > 8 or (kind.get_class() == h5t.ENUM and dtype.kind != "b"):
        return False
    return h5t.py_create(dtype, logical=True).equal(kind)


def _name_of_class(h5t: Any, found: int) -> str:
    known = {
        h5t.COMPOUND: "records with named fields",
        h5t.REFERENCE: "references",
        h5t.VLEN: "lists of varying lengths",
        h5t.ARRAY: "arrays in place of values",
        h5t.ENUM: "an enumeration",
        h5t.OPAQUE: "opaque bytes",
        h5t.BITFIELD: "bit fields",
    }
    return known.get(found, "numbers of a kind that numpy does not have")


def _chunk_count(shape: tuple[int, ...], chunk: tuple[int, ...]) -> int:
    return math.prod(-(-size // step) for size, step in zip(shape, chunk, strict=True))

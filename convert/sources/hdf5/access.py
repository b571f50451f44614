"""Read an HDF5 file that nobody vouches for: only what lies in the file itself, and nothing that it merely declares."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ....store import OptionError, Problem, SourceError, TrialpackError
from ... import hdf5
from ...hdf5 import READ_ERRORS, Rows, first_line
from ...npy import COPY_AGAIN, MAX_AXES, MAX_SIZE
from ..findings import MAX_SMALL_FILE
from ..tree import ReadError

Kind = Literal["dataset", "group", "link", "other"]
Stamp = tuple[int, int]
EXPORT_AGAIN = "export the mouse again"
_OF_SCALES = ("DIMENSION_LIST", "DIMENSION_LABELS", "REFERENCE_LIST", "CLASS", "NAME")
"""Attributes by which HDF5 itself connects arrays with the scales of their dimensions."""
_SAVE_AGAIN = "save it again as numbers or text"
_SAVE_INSIDE = "save a copy of the file that holds them"
_MAX_CHUNK = 1 << 30
_MAX_ATTRIBUTE = 1 << 24
_MAX_SPARE = 1 << 26
"""How much larger than the dataset a chunk may be: one that is to grow has room."""
_MAX_CACHE = 1 << 26
_SLOTS = 100
"""Places in the hash table of a cache for each chunk that is to stay in it, as HDF5 advises."""
_CHANGED = "the file changed while it was read"


@dataclass(frozen=True)
class Dataset:
    """One dataset whose values can be read.

    Attributes
    ----------
    path
        In the file.
    dtype
        Byte order as in the file; object for text.
    chunk
        Its chunks; None if it is not cut into any.
    identity
        h5py's low-level object.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, ...] | None
    identity: Any

    @property
    def nbytes(self) -> int:
        """Bytes of its values; text counts as eight bytes a word."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def row_cache(self) -> int:
        """Bytes of unpacked chunks to keep while rows are read in turn, so that none is unpacked again."""
        if self.chunk is None or self.chunk[0] == 1:
            return 0
        return min(_MAX_CACHE, self.chunk_nbytes * self._chunks_of_row)

    @property
    def chunk_nbytes(self) -> int:
        """Bytes of a chunk; 0 without."""
        return math.prod(self.chunk) * self.dtype.itemsize if self.chunk else 0

    @property
    def row_memory(self) -> int:
        """Bytes that reading a row takes beside the cache: the row, a chunk, and a chunk as it is packed."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize + 2 * self.chunk_nbytes

    @property
    def cache_slots(self) -> int:
        """Places in the hash table of the cache."""
        return _SLOTS * self._chunks_of_row

    @property
    def _chunks_of_row(self) -> int:
        return _chunk_count(self.shape[1:], self.chunk[1:]) if self.chunk else 1


@dataclass(frozen=True)
class Hdf5Path:
    """Where a file is, and by what a change of it is noticed: its size and modification time."""

    path: Path
    stamp: Stamp | None = None

    @property
    def label(self) -> str:
        """The file as the person knows it."""
        return str(self.path)

    @contextlib.contextmanager
    def open(self) -> Generator[Hdf5Reader]:
        """Open the file to read from it.

        Raises
        ------
        SourceError
            It is not an HDF5 file, a damaged one, or not the one that was looked at before.
        OptionError
            h5py is not installed.
        """
        h5py = hdf5.library(self.label)
        with contextlib.ExitStack() as stack:
            with named_errors(self.label):
                # Never waits, should a pipe have taken the place of the file.
                descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                stamp = _stamp(descriptor)
                if self.stamp not in (None, stamp):
                    raise ReadError(_CHANGED, "convert again")
                file = stack.enter_context(hdf5.reading(h5py, descriptor))
            yield Hdf5Reader(h5py, file, Hdf5Path(self.path, stamp), descriptor)


class Hdf5Reader:
    """An open file. Only hard links are followed, which cannot leave the file."""

    def __init__(self, h5py: Any, file: Any, path: Hdf5Path, descriptor: int) -> None:
        self.path = path
        self._h5py, self._descriptor = h5py, descriptor
        self._groups: dict[str, Any] = {"": file.id}

    def check_unchanged(self) -> None:
        """See that the file is still as it was when it was opened."""
        if _stamp(self._descriptor) != self.path.stamp:
            raise ReadError(_CHANGED, "convert again")

    def kinds(self, group: str = "") -> dict[str, Kind]:
        """Return what a group holds: name -> what it is; nothing is followed to find out."""
        identity = self._group(group)
        return {name: self._kind(identity, name) for name in self._h5py.Group(identity)}

    def datasets(self, group: str) -> Iterator[str]:
        """Yield the paths of all datasets below a group.

        Raises
        ------
        ReadError
            There is something else, such as a link, or a group that contains itself.
        """
        seen, groups = set[Any](), [group]
        while groups:
            parent = groups.pop()
            info = self._h5py.h5o.get_info(self._group(parent))
            if info.addr in seen:
                raise ReadError("a group that stands in the file more than once", "remove all but one")
            seen.add(info.addr)
            for name, kind in self.kinds(parent).items():
                path = f"{parent}/{name}".lstrip("/")
                if kind == "group":
                    groups.append(path)
                elif kind == "dataset":
                    yield path
                else:
                    self._refuse(path, kind)

    def dataset(self, path: str) -> Dataset:
        """Examine a dataset; none of its values are read, and memory for them is not asked for.

        Raises
        ------
        ReadError
            Its values lie in other files, cannot be unpacked, are not numbers or text, or were never written.
        """
        found = self._examine(path, self._open(path))
        self._check_written(found)
        return found

    def rows(self, path: str, cache: tuple[int, int]) -> tuple[Dataset, Rows]:
        """Open a dataset to read its rows in turn.

        Parameters
        ----------
        cache
            Of unpacked chunks: bytes, and places in its hash table.
        """
        settings = self._h5py.h5p.create(self._h5py.h5p.DATASET_ACCESS)
        nbytes, slots = cache
        settings.set_chunk_cache(max(1, slots), nbytes, 0.75)
        found = self._examine(path, self._open(path, settings))
        return found, Rows(self._h5py, found.identity)

    def values(self, dataset: Dataset) -> NDArray[Any]:
        """Read a small dataset whole; text as Python strings.

        Raises
        ------
        ReadError
            It is too large, or holds text that is not UTF-8.
        """
        if dataset.nbytes > MAX_SMALL_FILE:
            raise ReadError(f"too large (expected {MAX_SMALL_FILE} bytes at most)", "remove it from the file")
        if dataset.dtype == object:
            return np.array(self._texts(dataset), object).reshape(dataset.shape)
        out = np.empty(dataset.shape, dataset.dtype)
        if out.size:
            Rows(self._h5py, dataset.identity).read(None, out)
        return out

    def attributes(self, path: str = "") -> dict[str, Any]:
        """Return the attributes of a dataset, or of the root: texts, numbers, lists of either, or None.

        Raises
        ------
        ReadError
            One is of another type.
        """
        node = self._open(path) if path else self._groups[""]
        opened = (self._h5py.Dataset(node) if path else self._h5py.Group(node)).attrs
        return {name: self._attribute(node, opened, name) for name in opened if name not in _OF_SCALES}

    def _attribute(self, node: Any, opened: Any, name: str) -> Any:
        found = self._h5py.h5a.open(node, _encoded(name))
        kind, shape = found.get_type(), found.shape
        text = kind.get_class() == self._h5py.h5t.STRING
        # Texts of variable length lie elsewhere in the file; many small references could stand for one large text.
        single = not shape or not (text and kind.is_variable_str())
        if not single or not (text or _is_number(self._h5py, kind)) or math.prod(shape or ()) > _MAX_ATTRIBUTE:
            raise ReadError(f"the attribute {name} is neither text nor numbers", EXPORT_AGAIN)
        value: Any = hdf5.text_values(opened[name])
        if isinstance(value, self._h5py.Empty):
            return None
        return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else _valid(value)

    def has_attribute(self, name: str) -> bool:
        """Tell whether the root has an attribute."""
        return self._h5py.h5a.exists(self._groups[""], name.encode())

    def _group(self, path: str) -> Any:
        """Open a group, one step after another: each has to be in the file itself."""
        if path not in self._groups:
            parent, _, name = path.rpartition("/")
            identity = self._group(parent)
            self._expect(identity, path, name, "group")
            self._groups[path] = self._h5py.h5g.open(identity, _encoded(name))
        return self._groups[path]

    def _open(self, path: str, settings: Any = None) -> Any:
        """Open a dataset, in so far as that opens no other file."""
        parent, _, name = path.rpartition("/")
        identity = self._group(parent)
        self._expect(identity, path, name, "dataset")
        return self._h5py.h5d.open(identity, _encoded(name), settings)

    def _expect(self, parent: Any, path: str, name: str, wanted: Kind) -> None:
        if not parent.links.exists(_encoded(name)):
            raise ReadError("missing", COPY_AGAIN)
        kind = self._kind(parent, name)
        if kind != wanted:
            self._refuse(path, kind, wanted)

    def _kind(self, parent: Any, name: str) -> Kind:
        h5o = self._h5py.h5o
        if parent.links.get_info(_encoded(name)).type != self._h5py.h5l.TYPE_HARD:
            return "link"
        known: dict[int, Kind] = {h5o.TYPE_DATASET: "dataset", h5o.TYPE_GROUP: "group"}
        return known.get(h5o.get_info(parent, _encoded(name)).type, "other")

    def _refuse(self, path: str, kind: Kind, wanted: Kind = "dataset") -> None:
        what = {"link": "a link, which is not followed", "other": "a data type"}.get(kind, f"a {kind}")
        raise ReadError(f"{path} is {what} (expected a {wanted})", f"put the {wanted} itself there")

    def _examine(self, path: str, identity: Any) -> Dataset:
        """Find out what a dataset is, in an order in which no other file is opened and nothing large is made."""
        h5d, settings = self._h5py.h5d, identity.get_create_plist()
        if settings.get_layout() == h5d.VIRTUAL:
            raise ReadError("a virtual dataset: its values lie in other files, which are not opened", _SAVE_INSIDE)
        if settings.get_external_count():
            raise ReadError("its values lie in other files, which are not opened", _SAVE_INSIDE)
        self._check_filters(settings)
        dtype = self._dtype(identity.get_type())
        space = identity.get_space()
        if space.get_simple_extent_type() == self._h5py.h5s.NULL:
            raise ReadError("holds nothing (expected an array)", COPY_AGAIN)
        shape = tuple(space.get_simple_extent_dims())
        if len(shape) > MAX_AXES or math.prod(shape) > MAX_SIZE:
            raise ReadError(f"shape {shape} is not believed", COPY_AGAIN)
        chunk = tuple(settings.get_chunk()) if settings.get_layout() == h5d.CHUNKED else None
        found = Dataset(path, shape, dtype, chunk, identity)
        limit = min(_MAX_CHUNK, found.nbytes + _MAX_SPARE)
        if found.chunk_nbytes > limit:
            what = f"its chunks are too large (expected {limit} bytes at most, found {found.chunk_nbytes})"
            raise ReadError(what, "save it again in smaller chunks")
        return found

    def _check_filters(self, settings: Any) -> None:
        codes = [settings.get_filter(place) for place in range(settings.get_nfilters())]
        for code, _, _, name in codes:
            if self._h5py.h5z.filter_avail(code):
                continue
            with contextlib.suppress(OptionError):
                hdf5.plugins(self.path.label)
            if not self._h5py.h5z.filter_avail(code):
                what = (
                    f"is packed by the HDF5 filter {code} ({name.decode('utf-8', 'replace')}), which is not installed"
                )
                raise ReadError(what, "pip install hdf5plugin, or install the plugin of that filter")

    def _dtype(self, kind: Any) -> np.dtype[Any]:
        h5t = self._h5py.h5t
        if kind.get_class() == h5t.STRING:
            return np.dtype(object)
        if not _is_number(self._h5py, kind):
            raise ReadError(f"holds {_name_of_class(h5t, kind.get_class())} (expected numbers or text)", _SAVE_AGAIN)
        return np.dtype(kind.dtype.str)

    def _check_written(self, dataset: Dataset) -> None:
        """See that there is what is declared: of what was never written, the library makes up values."""
        identity, h5d = dataset.identity, self._h5py.h5d
        if dataset.chunk is not None:
            expected, found, parts = _chunk_count(dataset.shape, dataset.chunk), identity.get_num_chunks(), "chunks"
        elif identity.get_create_plist().get_layout() == h5d.CONTIGUOUS:
            size = math.prod(dataset.shape) * identity.get_type().get_size()
            expected, found, parts = size, identity.get_storage_size(), "bytes"
        else:
            return
        if found < expected:
            what = f"declares shape {dataset.shape}, but {found} of its {expected} {parts} were ever written"
            raise ReadError(what, COPY_AGAIN)

    def _texts(self, dataset: Dataset) -> list[str]:
        """Read texts, of variable length one at a time: many small references could stand for one large text."""
        kind = dataset.identity.get_type()
        if not kind.is_variable_str():
            if math.prod(dataset.shape) * kind.get_size() > MAX_SMALL_FILE:
                raise ReadError(f"too large (expected {MAX_SMALL_FILE} bytes at most)", "remove it from the file")
            words = np.empty(dataset.shape, kind.dtype)
            if words.size:
                Rows(self._h5py, dataset.identity).read(None, words)
            return [_text(word) for word in words.reshape(-1).tolist()]
        found, total, kept = list[str](), 0, self._h5py.h5t.py_create(kind.dtype)
        space, memory, word = dataset.identity.get_space(), self._h5py.h5s.create_simple((1,)), np.empty(1, object)
        for place in np.ndindex(dataset.shape):
            if place:
                space.select_hyperslab(place, (1,) * len(place))
            dataset.identity.read(memory, space, word, kept)
            found.append(_text(word[0]))
            total += len(found[-1])
            if total > MAX_SMALL_FILE:
                raise ReadError(f"too large (expected {MAX_SMALL_FILE} bytes at most)", "remove it from the file")
        return found


@contextlib.contextmanager
def named_errors(label: str, member: str | None = None, trial: int | None = None) -> Generator[None]:
    """Turn what goes wrong with a file, or a part of it, into an error that names it."""
    try:
        yield
    except TrialpackError:
        raise
    except ReadError as error:
        raise SourceError(Problem(label, error.what, error.advice, member, trial)) from error
    except READ_ERRORS as error:
        system = error.strerror if isinstance(error, OSError) and error.filename else None
        what = f"cannot be read ({system or first_line(error)})"
        raise SourceError(Problem(label, what, COPY_AGAIN, member, trial)) from error


def _stamp(descriptor: int) -> Stamp:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(word: bytes | str) -> str:
    try:
        return word.decode() if isinstance(word, bytes) else word.encode().decode()
    except UnicodeError:
        raise ReadError("holds text that is not UTF-8", "save it again") from None


def _valid(value: Any) -> Any:
    """Return an attribute, after seeing that its text is text."""
    return _text(value) if isinstance(value, str) else value


def _is_number(h5py: Any, kind: Any) -> bool:
    """Tell whether a type is an integer, a float or a truth value that numpy has, bit for bit."""
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

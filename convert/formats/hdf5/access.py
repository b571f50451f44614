"""Read an HDF5 file that nobody vouches for: only what lies in the file itself, and nothing that it merely declares."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ....store import Problem, SourceError, TrialpackError
from ....store.errors import refusal
from ....store.paths import Located
from ...npy import COPY_AGAIN
from ..findings import MAX_SMALL_FILE
from ..source import FileVersion, ReadError
from .dataset import Dataset, check_written, examine, is_number, read_texts, text_of
from .storage import READ_ERRORS, first_line, import_h5py, reading
from .values import Rows, text_values

Kind = Literal["dataset", "group", "link", "other"]
EXPORT_AGAIN = "export the mouse again"
DIFFERS = "holds other values than were exported"
_OF_SCALES = ("DIMENSION_LIST", "DIMENSION_LABELS", "REFERENCE_LIST", "CLASS", "NAME")
"""Attributes by which HDF5 itself connects arrays with the scales of their dimensions."""
_MAX_ATTRIBUTE = 1 << 24
_CHANGED = "the file changed while it was read"


@dataclass(frozen=True)
class Hdf5Path(Located):
    """Path of a file, and the facts by which a change of it is noticed."""

    stamp: FileVersion | None = None

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
        h5py = import_h5py(self.label)
        with contextlib.ExitStack() as stack:
            with named_errors(self.label):
                descriptor = stack.enter_context(self.opened())
                stamp = _stamp(descriptor)
                if self.stamp not in (None, stamp):
                    raise ReadError(_CHANGED, "convert again")
                file = stack.enter_context(reading(h5py, descriptor))
            yield Hdf5Reader(h5py, file, replace(self, stamp=stamp), descriptor)


class Hdf5Reader:
    """An open file. Only hard links are followed, which cannot leave the file."""

    def __init__(self, h5py: Any, file: Any, path: Hdf5Path, descriptor: int) -> None:
        self.path = path
        self._h5py, self._descriptor = h5py, descriptor
        self._groups: dict[str, Any] = {"": file.id}

    def check_unchanged(self) -> None:
        """Check that the file is still as it was when it was opened."""
        if _stamp(self._descriptor) != self.path.stamp:
            raise ReadError(_CHANGED, "convert again")

    def kinds(self, group: str = "") -> dict[str, Kind]:
        """Return what a group holds: name -> what it is; nothing is followed to find out."""
        identity = self._group(group)
        names = map(_decoded, self._h5py.Group(identity))
        return {name: self._kind(identity, name) for name in names}

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
        found = examine(self._h5py, path, self._open(path))
        check_written(self._h5py, found)
        return found

    def rows(self, path: str) -> tuple[Dataset, Rows]:
        """Open a dataset to read its rows; the library keeps none of its chunks."""
        settings = self._h5py.h5p.create(self._h5py.h5p.DATASET_ACCESS)
        settings.set_chunk_cache(1, 0, 0.75)
        found = examine(self._h5py, path, self._open(path, settings))
        return found, Rows(self._h5py, found.identity)

    def values(self, dataset: Dataset) -> NDArray[Any]:
        """Read a small dataset whole; text as Python strings.

        Raises
        ------
        ReadError
            It is too large, or holds text that is not UTF-8.
        """
        if dataset.dtype == object:
            return np.array(read_texts(self._h5py, dataset, self._descriptor), object).reshape(dataset.shape)
        if dataset.nbytes > MAX_SMALL_FILE:
            raise ReadError(f"too large (expected {MAX_SMALL_FILE} bytes at most)", "remove it from the file")
        out = np.empty(dataset.shape, dataset.dtype)
        if out.size:
            Rows(self._h5py, dataset.identity).read_all(out)
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
        names = (name for name in map(_decoded, opened) if name not in _OF_SCALES)
        return {name: self._attribute(node, opened, name) for name in names}

    def _attribute(self, node: Any, opened: Any, name: str) -> Any:
        found = self._h5py.h5a.open(node, _encoded(name))
        kind, shape = found.get_type(), found.shape
        text = kind.get_class() == self._h5py.h5t.STRING
        # Texts of variable length lie elsewhere in the file; many small references could stand for one large text.
        single = not shape or not (text and kind.is_variable_str())
        if not single or not (text or is_number(self._h5py, kind)) or math.prod(shape or ()) > _MAX_ATTRIBUTE:
            raise ReadError(f"the attribute {name} is neither text nor numbers", EXPORT_AGAIN)
        value = text_values(opened[_encoded(name)])
        if isinstance(value, self._h5py.Empty):
            return None
        if isinstance(value, str):
            return text_of(value)
        return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value

    def has_attribute(self, name: str) -> bool:
        """Return whether the root has an attribute."""
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
            raise ReadError("missing", "add it, or give another file of the mouse")
        kind = self._kind(parent, name)
        if kind != wanted:
            self._refuse(path, kind, wanted)

    def _kind(self, parent: Any, name: str) -> Kind:
        h5g = self._h5py.h5g
        if parent.links.get_info(_encoded(name)).type != self._h5py.h5l.TYPE_HARD:
            return "link"
        known: dict[int, Kind] = {h5g.DATASET: "dataset", h5g.GROUP: "group"}
        # Not `h5o.get_info`, which walks the index of all chunks to measure it, and keeps that in memory.
        return known.get(h5g.get_objinfo(parent, _encoded(name)).type, "other")

    def _refuse(self, path: str, kind: Kind, wanted: Kind = "dataset") -> None:
        what = {"link": "a link, which is not followed", "other": "a data type"}.get(kind, f"a {kind}")
        raise ReadError(f"{path} is {what} (expected a {wanted})", f"put the {wanted} itself there")


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
        if isinstance(error, OSError) and (refused := refusal(error, label, member, trial)):
            raise (SourceError(refused.problems) if isinstance(error, PermissionError) else refused) from error
        system = error.strerror if isinstance(error, OSError) and error.filename else None
        what = f"cannot be read ({system or first_line(error)})"
        advice = "make it readable" if isinstance(error, PermissionError) else COPY_AGAIN
        raise SourceError(Problem(label, what, advice, member, trial)) from error


def _stamp(descriptor: int) -> FileVersion:
    return FileVersion.of(os.fstat(descriptor))


def _decoded(name: str | bytes) -> str:
    """Return a name as h5py gives it: one that is not UTF-8 as bytes."""
    return name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")

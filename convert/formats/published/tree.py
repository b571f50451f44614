"""A tree of files to read from: what a folder, a zip and a tar have in common, and the arrays in its files."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ....store import Problem, ResourceError, SourceError
from ....store.errors import refusal
from ....store.variables import DTYPES
from ... import npy
from ...npy import COPY_AGAIN, Header, NpyError
from ..findings import OF_ANOTHER_SHAPE
from ..source import ReadError
from .names import TIERS


@dataclass(frozen=True)
class Entry:
    """One regular file of a tree.

    Attributes
    ----------
    name
        Path inside the mouse, with slashes.
    size
        Bytes, uncompressed.
    stamp
        Changes when the file does: digest of a file's version, CRC-32 of a zip member, digest of a tar's version and
        a member's place and time in it.
    """

    name: str
    size: int
    stamp: int


@dataclass
class Listing:
    """All files of a mouse, junk left out; what is wrong with the tree itself; what lies beside the mouse.

    Attributes
    ----------
    mouse
        Name of the mouse: that of its folder, or else of the archive.
    refused
        What is there, but cannot be read, for reasons that are among the problems: names inside the mouse.
    """

    mouse: str
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    problems: list[Problem] = field(default_factory=list[Problem])
    left_out: list[str] = field(default_factory=list[str])
    refused: set[str] = field(default_factory=set[str])

    def refuse(self, problem: Problem, name: str) -> None:
        """Note what is wrong with a file or folder of the mouse."""
        self.problems.append(problem)
        self.refused.add(name)


class TreeReader(Protocol):
    """Reads files of a tree into memory of its own; for one thread."""

    def read(self, entry: Entry) -> memoryview:
        """Return a whole file, checked as far as its container can; valid until the next call.

        Raises
        ------
        ReadError
            The file is not what the listing said, or its container says that it is damaged.
        OSError
            From the system.
        """
        ...

    def read_start(self, entry: Entry, size: int) -> memoryview:
        """Return the first bytes of a file, `size` or all of it; valid until the next call."""
        ...


class Tree(Protocol):
    """A mouse's files, in a folder or an archive. Small and picklable: workers in other processes use it too."""

    @property
    def label(self) -> str:
        """The folder or archive as the person knows it."""
        ...

    @property
    def overhead(self) -> int:
        """How many bytes of memory reading one byte of a file takes, at most."""
        ...

    def list(self) -> Listing:
        """Return all files; reads no file's content."""
        ...

    def open(self) -> AbstractContextManager[TreeReader]:
        """Return a context in which files are read."""
        ...


MAKE_AGAIN = "make the {} again from the published files"


def is_unsafe(name: str) -> bool:
    """Return whether a member's name could leave the folder that an archive is unpacked to, on any system."""
    parts = name.split("/")
    return name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in parts[0]


def find_root(label: str, kind: str, names: Iterable[str]) -> str:
    """Return what stands before ``data`` and ``meta`` in the names of the mouse's members.

    Parameters
    ----------
    label
        The archive as the person knows it.
    kind
        "zip" or "tar".

    Raises
    ------
    SourceError
        There is no mouse in the archive, or more than one.
    """
    names = set(names)
    found = {name for name in names if f"/{name}".endswith(f"/{TIERS}")}
    if len(found) == 1:
        return found.pop().removesuffix(TIERS)
    what, advice = f"expected one member {TIERS}, found {len(found)}", f"give the {kind} of one mouse"
    if not found:
        advice = f"give the {kind} of a mouse, which is its folder with data and meta"
        if spelt := min((name for name in names if name.replace("\\", "/").endswith(TIERS)), default=None):
            what, advice = f"{what}, but {spelt}", f"make the {kind} again with / between folders, as zip -r does"
    raise SourceError(Problem(label, what, advice))


def mouse_name(root: str, otherwise: str) -> str:
    """Return the name of the folder in an archive that holds the mouse, or another if it lies at the top."""
    return PurePosixPath(root).name or otherwise


def duplicates(label: str, kind: str, names: Iterable[str]) -> list[Problem]:
    """Return a problem for each name that an archive has more than once."""
    return [
        Problem(label, f"stands {count} times in the {kind} (expected once)", MAKE_AGAIN.format(kind), name)
        for name, count in Counter(names).items()
        if count > 1
    ]


def dtype_problem(header: Header) -> tuple[str, str] | None:
    """Return what is wrong with the dtype of a trial, and what to do; None if a store can hold such trials."""
    if header.dtype.name in DTYPES:
        return None
    return f"expected bool, integers or floats of at most 64 bits, found {header.descr}", "save it as one of them"


@functools.lru_cache(maxsize=256)
def trial_problem(header: Header, shape: tuple[int, ...], dtype: str) -> tuple[str, str] | None:
    """Return what is wrong with a trial of this header, and what to do; None if it is one of this shape and dtype.

    Cached, since all trials of a variable have the same header, and numpy takes long to name a dtype.

    Parameters
    ----------
    dtype
        The dtype that holds all trials of the variable exactly.
    """
    if problem := dtype_problem(header):
        return problem
    floats = header.dtype.kind == np.dtype(dtype).kind == "f" and header.dtype.itemsize <= np.dtype(dtype).itemsize
    if header.dtype.name != dtype and not floats:
        return f"expected {dtype} as in the other trials, found {header.descr}", f"save it as {dtype}"
    if header.shape != shape:
        return f"expected shape {shape} as in the other trials, found {header.shape}", OF_ANOTHER_SHAPE
    return None


def read_array(tree: Tree, reader: TreeReader, entry: Entry, trial: int | None = None) -> tuple[NDArray[Any], Header]:
    """Read a whole file as an array, a view that is valid until the reader's next call.

    Raises
    ------
    SourceError
        With the file, and the trial.
    """
    try:
        data = reader.read(entry)
        header = npy.read_header(data)
        return npy.as_array(data, header), header
    except _FILE_ERRORS as error:
        raise _named_error(tree, entry.name, trial, error) from error


_FILE_ERRORS = (NpyError, ReadError, UnicodeDecodeError, OSError)


@contextlib.contextmanager
def named_errors(tree: Tree, name: str, trial: int | None = None) -> Generator[None]:
    """Turn what goes wrong with a file into an error that names it."""
    try:
        yield
    except _FILE_ERRORS as error:
        raise _named_error(tree, name, trial, error) from error


def _named_error(tree: Tree, name: str, trial: int | None, error: Exception) -> SourceError | ResourceError:
    if isinstance(error, OSError) and (isinstance(error, ResourceError) or not isinstance(error, PermissionError)):
        if refused := refusal(error, tree.label, name, trial):
            return refused
    match error:
        case NpyError() | ReadError():
            what, advice = error.what, error.advice
        case UnicodeDecodeError():
            what, advice = f"not UTF-8 text ({error.reason})", "save it as such"
        case PermissionError():
            what, advice = "cannot be read (permission denied)", "make it readable"
        case OSError():
            what, advice = f"cannot be read ({error.strerror})", COPY_AGAIN
        case _:
            what, advice = str(error), COPY_AGAIN
    return SourceError(Problem(tree.label, what, advice, name, trial))

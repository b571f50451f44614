"""The folder of a store, read in one version; and what systems leave in folders, or people give in its place."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from . import layout
from .errors import Code, CorruptStoreError, Problem, ResourceError, refusal

_FLAGS = os.O_RDONLY | os.O_CLOEXEC


@dataclass(frozen=True)
class StoreFolder:
    """Path and version of a store. Only a path and a digest: workers in other processes use it too.

    Attributes
    ----------
    root
        The store's path as a person gave it, for messages.
    place
        The same, from the root of the file system: by this it is opened, whatever becomes the working folder.
    version
        SHA-256 (hex) of the metadata of its root group, which has the digest of all its content in it; empty of a
        store that is being made.
    """

    root: Path
    version: str = ""
    place: Path = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find the place."""
        object.__setattr__(self, "place", self.root.absolute())

    @contextlib.contextmanager
    def opened(self) -> Generator[int]:
        """Give a descriptor of the folder; see `open`."""
        descriptor = self.open()
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def open(self) -> int:
        """Return a descriptor of the folder: files that are found from it are all of this version, or missing.

        Raises
        ------
        CorruptStoreError
            The store was replaced, changed or removed since it was opened.
        ResourceError
            It may not be read, or too many files are open.
        """
        try:
            descriptor = os.open(self.place, _FLAGS | os.O_DIRECTORY)
        except OSError as error:
            raise self._error(error) from None
        try:
            self._check_version(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _check_version(self, descriptor: int) -> None:
        if not self.version:
            return
        try:
            found = hashlib.sha256(read_file(self.root, layout.METADATA, descriptor)).hexdigest()
        except OSError as error:
            raise self._error(error, layout.METADATA) from None
        if found != self.version:
            raise CorruptStoreError(self._problem("the store was replaced since it was opened", layout.METADATA))

    def _error(self, error: OSError, name: str = "") -> ResourceError | CorruptStoreError:
        refused = refusal(error, str(self.root), name)
        return refused or CorruptStoreError(self._problem(os.strerror(error.errno or 0), name))

    def _problem(self, what: str, name: str = "") -> Problem:
        return Problem(str(self.root), what, "open it again", name)


def open_file(root: Path, name: str, folder: int | None = None) -> int:
    """Return a descriptor of a file of a store, for reading.

    Parameters
    ----------
    folder
        A descriptor of the store's folder, from which to find the file; by default that is done by the path.

    Raises
    ------
    ResourceError
        The file may not be read, or too many files are open.
    """
    try:
        return os.open(f"{root}/{name}", _FLAGS) if folder is None else os.open(name, _FLAGS, dir_fd=folder)
    except OSError as error:
        if refused := refusal(error, str(root), name):
            raise refused from None
        raise


def read_file(root: Path, name: str, folder: int | None = None) -> bytes:
    """Return all bytes of a file of a store; parameters as in `open_file`."""
    with open(open_file(root, name, folder), "rb", buffering=0) as file:
        return file.read()


def stores_in(folder: Path) -> list[Path]:
    """Return the stores in a folder, by name."""
    return sorted(path for path in folder.glob(f"*{layout.SUFFIX}") if not path.name.startswith("."))


JUNK_NAMES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX", "@eaDir", ".snapshot", ".AppleDouble"})
_JUNK_STARTS = ("._", ".nfs", ".fuse_hidden", ".smbdelete", ".__afs")
"""Of what macOS knows beside a file; and what network file systems keep of one that was removed while it was open."""


def is_junk(name: str) -> bool:
    """Return whether a path is something that operating and file systems leave behind.

    Examples
    --------
    >>> is_junk("responses/.DS_Store"), is_junk("responses/._c.0.0.0"), is_junk("responses/c.0.0.0")
    (True, True, False)
    """
    return any(part in JUNK_NAMES or part.startswith(_JUNK_STARTS) for part in name.split("/"))


_NAMED = 3
_Advice = str | tuple[str | Code, ...]


def explain_not_a_store(path: Path) -> Problem:
    """Return what a path without a manifest seems to be, and what to do with it."""
    what, advice = _file(path) if not path.is_dir() else _folder(path)
    return Problem(str(path), what, advice)


def _file(path: Path) -> tuple[str, _Advice]:
    if not path.exists():
        return "no such store", "check the path"
    return "not a folder", "give the folder of a .zarr store"


def _folder(path: Path) -> tuple[str, _Advice]:
    if stores := stores_in(path):
        more = ", …" if len(stores) > _NAMED else ""
        return f"a folder of {len(stores)} stores", f"give one of: {', '.join(map(str, stores[:_NAMED]))}{more}"
    unfinished = f"no {layout.MANIFEST}: unfinished, or not a trialpack store"
    if (path / layout.METADATA).exists():
        return unfinished, "give a trialpack store, or convert the mouse again"
    return unfinished, "give the folder of a .zarr store"

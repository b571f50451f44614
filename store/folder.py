"""The folder of a store, read in one version; and what systems leave in folders, or people give in its place."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from . import layout
from .chunks import read_exactly
from .errors import Code, CorruptStoreError, Problem, ResourceError, refusal
from .place import StorePlace, StoreVersion
from .pointers import find_pointer
from .tasks import Threads

if TYPE_CHECKING:
    from .shards import FileRecord

_T = TypeVar("_T")
_FLAGS = os.O_RDONLY | os.O_CLOEXEC


@dataclass(frozen=True)
class StoreFolder:
    """A store in a folder. Only a path and a digest.

    Attributes
    ----------
    root
        The path as a person gave it, for messages.
    version
        SHA-256 (hex) of the metadata of its root group, which has the digest of all its content in it; empty of a
        store that is being made, or whose version is not known yet.
    where
        The path from the root of the file system: by this it is opened, whatever becomes the working folder.
    """

    root: Path
    version: str = ""
    where: Path = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find the place."""
        object.__setattr__(self, "where", self.root.absolute())

    def at(self, records: Mapping[str, FileRecord]) -> StoreFolder:
        """Return the same folder in a version; see `StorePlace`."""
        return StoreFolder(self.root, records[layout.METADATA].sha256)

    def open(self) -> StoreVersion:
        """Return the files: those that are found from a descriptor of the folder are of one version; see `StorePlace`.

        Every file of a store that takes the place of this one is in another folder, of the same name.
        """
        try:
            descriptor = os.open(self.where, _FLAGS | os.O_DIRECTORY)
        except OSError as error:
            raise self._error(error) from None
        files = _OpenFolder(self.root, descriptor)
        try:
            self._check_version(files)
        except BaseException:
            files.close()
            raise
        return files

    def find(self, name: str) -> bytes | None:
        """Return all bytes of a file that no manifest lists; None if it is not there, or not a file."""
        path = self.root / name
        # A store lies in its folder; and opening a pipe would wait for whoever writes to it.
        return None if path.is_symlink() or not path.is_file() else path.read_bytes()

    def sizes(self, listed: Iterable[str]) -> dict[str, int | None]:
        """Return the size of every file, by one walk; see `StorePlace`."""
        found, prefixes, begun = dict[str, int | None](), [""], time.perf_counter()
        while prefixes:
            scans = _run(
                [partial(scan, self.root, prefix) for prefix in prefixes], time.perf_counter() - begun, len(found)
            )
            prefixes = [prefix for below, _ in scans for prefix in below]
            for _, files in scans:
                found |= files
        return found

    def find_pointer(self, name: str) -> tuple[str, str] | None:
        """Return what is wrong, and what to do, if something stands in place of a file that was not fetched."""
        return find_pointer(self.root / name)

    def explain(self) -> Problem:
        """Return what the path seems to be, and what to do with it."""
        what, advice = _folder(self.root) if self.root.is_dir() else _file(self.root)
        return Problem(str(self.root), what, advice)

    def _check_version(self, files: StoreVersion) -> None:
        if not self.version:
            return
        try:
            found = hashlib.sha256(files.read(layout.METADATA)).hexdigest()
        except OSError as error:
            raise self._error(error, layout.METADATA) from None
        if found != self.version:
            raise CorruptStoreError(self._problem("the store was replaced since it was opened", layout.METADATA))

    def _error(self, error: OSError, name: str = "") -> ResourceError | CorruptStoreError:
        refused = refusal(error, str(self.root), name)
        return refused or CorruptStoreError(self._problem(os.strerror(error.errno or 0), name))

    def _problem(self, what: str, name: str = "") -> Problem:
        return Problem(str(self.root), what, "open it again", name)


def as_place(root: Path | StorePlace) -> StorePlace:
    """Return where a store is, given its folder or that."""
    return StoreFolder(root) if isinstance(root, Path) else root


class LocalFile:
    """A file on disk, of which each read is one call of the system, straight into the reader's memory.

    Parameters
    ----------
    descriptor
        Closed with the file.

    Attributes
    ----------
    descriptor
        The same.
    """

    together = 0

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.fill = partial(os.preadv, descriptor)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self.descriptor).st_size

    def part(self, offset: int, size: int, memory: Callable[[int], memoryview]) -> memoryview:
        """Read bytes of the file; see `StoreFile`."""
        data = memory(size)
        if self.fill([data], offset) < size:
            read_exactly(self, data, offset)
        return data

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


class _OpenFolder:
    """The files that are found from an open folder."""

    ahead = None

    def __init__(self, root: Path, descriptor: int) -> None:
        self.root, self._folder = root, descriptor

    def open(self, name: str) -> LocalFile:
        return LocalFile(self._descriptor_of(name))

    def read(self, name: str) -> bytes:
        with open(self._descriptor_of(name), "rb", buffering=0) as file:
            return file.read()

    def read_all(self, names: Sequence[str]) -> dict[str, bytes]:
        begun, first = time.perf_counter(), {name: self.read(name) for name in names[:_TRIED]}
        rest = [partial(self.read, name) for name in names[_TRIED:]]
        return first | dict(zip(names[_TRIED:], _run(rest, time.perf_counter() - begun, len(first)), strict=True))

    def close(self) -> None:
        descriptor, self._folder = self._folder, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _descriptor_of(self, name: str) -> int:
        try:
            return os.open(name, _FLAGS, dir_fd=self._folder)
        except OSError as error:
            if refused := refusal(error, str(self.root), name):
                raise refused from None
            raise


_TRIED, _SLOW, _AT_ONCE = 4, 0.0008, 64
"""Files are tried one by one; where each takes so many seconds, as on a network, so many are asked for at once."""


def _run(looks: Sequence[Callable[[], _T]], seconds: float, number: int) -> list[_T]:
    """Look at files, given how long that took for some: at once, or one by one where threads would take longer."""
    slow = seconds > _SLOW * max(1, number)
    return Threads(_AT_ONCE).run(looks) if slow else [look() for look in looks]


def scan(root: Path, prefix: str) -> tuple[list[str], dict[str, int | None]]:
    """Return the folders in a folder, and the size of everything else by path; None for anything but a regular file."""
    folders, found = list[str](), dict[str, int | None]()
    with os.scandir(f"{root}/{prefix}") as entries:
        for entry in entries:
            path = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{path}/")
            else:
                found[path] = entry.stat().st_size if entry.is_file(follow_symlinks=False) else None
    return folders, found


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

"""The published files in a folder: read, and written again."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import xxhash

from ....store import Problem, StoreIndex, files
from ....store.cluster import Cluster
from ....store.errors import naming, refusal
from ....store.folder import is_junk
from ....store.layout import ArrayLayout
from ....store.paths import Located
from ....store.pointers import find_pointer
from ....store.tasks import Progress, Workers
from ..source import ReadError
from .names import DATA, TRIALS
from .published_files import PublishedFile, PublishedTree
from .tree import Entry, Listing

# Never waits, should a pipe have taken the place of a file.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHANGED = "the file changed while it was read"


def is_mouse(path: Path) -> bool:
    """Return whether a folder is a mouse's: either half of one is enough, what the other lacks is then named."""
    return (path / DATA).is_dir() or (path / TRIALS).is_dir()


@dataclass(frozen=True)
class FolderTree(Located):
    """The files below a folder. Links are not followed: a mouse is what lies in its folder.

    Attributes
    ----------
    path, place
        The folder that holds ``data`` and ``meta``.
    """

    overhead = 1

    def list(self) -> Listing:
        """Walk the folder."""
        listing, folders = Listing(self.place.resolve().name), [""]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(self.place / folder) as entries:
                    for entry in entries:
                        self._add(entry, f"{folder}{entry.name}", listing, folders)
            except OSError as error:
                if not isinstance(error, PermissionError) and (refused := refusal(error, self.label, folder)):
                    raise refused from None
                what = f"cannot be read ({error.strerror})"
                listing.refuse(Problem(self.label, what, "make it readable", folder.rstrip("/")), folder.rstrip("/"))
        return listing

    @contextlib.contextmanager
    def open(self) -> Generator[FolderReader]:
        """Return a reader with memory of its own."""
        yield FolderReader(self.place)

    def _add(self, entry: os.DirEntry[str], name: str, listing: Listing, folders: list[str]) -> None:
        if is_junk(entry.name):
            return
        if entry.is_dir(follow_symlinks=False):
            folders.append(f"{name}/")
        elif entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            stamp = xxhash.xxh3_64_intdigest(b"%d %d" % (status.st_mtime_ns, status.st_ctime_ns))
            listing.entries[name] = Entry(name, status.st_size, stamp)
        else:
            what = f"{'a link' if entry.is_symlink() else 'not a regular file'} (expected a file)"
            problem = find_pointer(Path(entry.path)) or (what, "put a copy of the file there")
            listing.refuse(Problem(self.label, *problem, name), name)


class FolderReader:
    """Reads files of a folder, with three system calls each, into one buffer."""

    def __init__(self, path: Path) -> None:
        self._root = os.fspath(path)
        self._buffer = np.empty(0, np.uint8).data

    def read(self, entry: Entry) -> memoryview:
        """Read a whole file; see `TreeReader`."""
        data = self._read(entry, entry.size + 1)
        if data.nbytes != entry.size:
            raise ReadError(f"{_CHANGED} (expected {entry.size} bytes, found {data.nbytes})", "convert again")
        return data

    def read_start(self, entry: Entry, size: int) -> memoryview:
        """Read the first bytes of a file; see `TreeReader`."""
        return self._read(entry, min(size, entry.size))

    def _read(self, entry: Entry, size: int) -> memoryview:
        if self._buffer.nbytes < size:
            # numpy asks for huge pages, which are much faster to touch for the first time.
            self._buffer = np.empty(size, np.uint8).data
        descriptor = os.open(f"{self._root}/{entry.name}", _READ)
        try:
            return self._buffer[: _fill(descriptor, self._buffer[:size], entry.size)]
        finally:
            os.close(descriptor)


def _fill(descriptor: int, out: memoryview, expected: int) -> int:
    """Read until there are as many bytes as expected, or the file ends; return their number."""
    done = 0
    while done < min(expected, out.nbytes):
        count = os.readv(descriptor, [out[done:]])
        if count == 0:
            break
        done += count
    return done


def write_folder(tree: PublishedTree, path: Path, workers: Workers, progress: Progress) -> None:
    """Write all files of a tree, below a folder that is made for it."""
    writing = path / f"{secrets.token_hex(8)}{files.TEMPORARY}"
    files.make_folder(writing)
    for file in tree.small():
        _write(path, file, writing)
        progress.advance(file.nbytes, 1)
    for array, _ in tree.shards:
        files.make_folder(path / DATA / array.path)
    heard = None if isinstance(workers, Cluster) else progress
    tasks = [partial(_write_shard, tree.index, path, array, number, writing, heard) for array, number in tree.shards]
    with contextlib.closing(
        workers.completed(tasks, [f"{tree.index.root}: {array.path}" for array, _ in tree.shards])
    ) as written:
        for _, result in written:
            sizes = result()
            if heard is None:
                for name, nbytes in sizes.items():
                    files.wait_for(path / name, nbytes)
                progress.advance(sum(sizes.values()), len(sizes))
    files.end_folder(writing, path.with_name(f"{path.name}{files.TEMPORARY}"))


def _write_shard(
    index: StoreIndex, root: Path, array: ArrayLayout, number: int, writing: Path, progress: Progress | None
) -> dict[str, int]:
    """Write the files of the trials of a shard; return their names and sizes."""
    written = dict[str, int]()
    for file in PublishedTree(index).trials(array, number):
        _write(root, file, writing)
        written[file.name] = file.nbytes
        if progress is not None:
            progress.advance(file.nbytes, 1)
    return written


def _write(root: Path, file: PublishedFile, writing: Path) -> None:
    path, temporary = root / file.name, files.temporary(root / file.name, writing)
    if not file.name.startswith(DATA):
        files.make_folder(path.parent)
    with naming(path):
        descriptor = files.create(temporary)
        try:
            files.append(descriptor, file.parts)
        finally:
            files.close(descriptor)
    files.rename(temporary, path)

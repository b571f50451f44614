"""The published files in an uncompressed tar: read in place, nothing is extracted and no name in it becomes a path.

A tar has a checksum for each header and none for what the members hold: damage of values is found only as far as their
``.npy`` headers tell. What is noticed is every change of the tar's size or modification time while it is read.
"""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from ....store import Problem, SourceError, files
from ....store.errors import naming
from ....store.folder import is_junk
from ....store.paths import Located
from ....store.pointers import find_pointer
from ....store.tasks import Progress, Workers
from ..source import FileVersion, ReadError
from .published_files import PublishedFile, PublishedTree
from .tree import MAKE_AGAIN, Entry, Listing, duplicates, find_root, is_unsafe, mouse_name

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
"""Compressed ones are recognised, too, and refused with what to do."""
_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""How a file of each begins -> the program that unpacks it."""
_BLOCK = tarfile.BLOCKSIZE
_LONGEST_HEADER = 1 << 20
_FILES, _FOLDER = (tarfile.REGTYPE, tarfile.AREGTYPE), tarfile.DIRTYPE
_KINDS = {
    tarfile.LNKTYPE: "a link",
    tarfile.SYMTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a file with holes",
}
_DOWNLOAD_AGAIN, _MAKE_AGAIN = "download the tar again", MAKE_AGAIN.format("tar")
_CHANGED = "the tar changed while it was read"


@dataclass(frozen=True)
class TarEntry(Entry):
    """One member of a tar: where its bytes begin, and the version of the tar that has it there."""

    offset: int
    version: FileVersion


@dataclass(frozen=True)
class TarTree(Located):
    """The files of a tar, below the folder in it that holds ``data`` and ``meta``.

    Attributes
    ----------
    path, place
        The tar.
    """

    overhead = 1

    def list(self) -> Listing:
        """Read all headers, from the first to the last.

        Raises
        ------
        SourceError
            Not a tar, a compressed, damaged or truncated one, or one without a mouse.
        """
        self._check_uncompressed()
        with self.opened() as descriptor:
            version = _version(descriptor)
            members = [member for member in self._members(descriptor, version.size) if not is_junk(member.name)]
        names = [_plain_name(member) for member in members if not member.isdir()]
        root = find_root(self.label, "tar", names)
        listing = Listing(mouse_name(root, self.path.stem), problems=duplicates(self.label, "tar", names))
        for member in members:
            problem, name = _refusal(member), _plain_name(member)
            if problem:
                listing.refuse(Problem(self.label, *problem, member.name), name.removeprefix(root))
            elif not member.isdir() and name.startswith(root):
                entry = _entry(name.removeprefix(root), member, version)
                listing.entries[entry.name] = entry
            elif not member.isdir():
                listing.left_out.append(name)
        return listing

    @contextlib.contextmanager
    def open(self) -> Generator[TarReader]:
        """Return a reader with its own file descriptor."""
        with self.opened() as descriptor:
            yield TarReader(descriptor)

    def _check_uncompressed(self) -> None:
        with self.opened() as descriptor:
            program = _compression(os.pread(descriptor, _BLOCK, 0))
        if program is not None:
            what = f"compressed by {program} (expected an uncompressed tar, which is read in place)"
            raise SourceError(Problem(self.label, what, f"unpack it: {program} -d {self.path.name}"))

    def _members(self, descriptor: int, size: int) -> Iterator[tarfile.TarInfo]:
        """Yield all members; each has to begin where the one before ends, and an empty block is to follow the last."""
        headers, end = _Headers(descriptor), 0
        try:
            with tarfile.open(fileobj=headers, mode="r:") as archive:
                while (member := archive.next()) is not None:
                    longest = size - member.offset_data if member.type in _FILES else size
                    if member.offset < end or not 0 <= member.size <= longest:
                        raise tarfile.ReadError(f"{member.name[:80]!r} is of {member.size} bytes, which it cannot have")
                    end = archive.offset
                    yield member
                    headers.begin()
            # For tarfile, a damaged header is the end, too.
            if os.pread(descriptor, _BLOCK, end) != bytes(_BLOCK):
                raise tarfile.ReadError(f"no member and no end at byte {end}")
        # What tarfile raises of numbers that no tar has, and of headers of headers without end.
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            problem = find_pointer(self.place) or (f"not a readable tar ({error})", _DOWNLOAD_AGAIN)
            raise SourceError(Problem(self.label, *problem)) from None


class TarReader:
    """Reads members with positional reads into one buffer."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = np.empty(0, np.uint8).data

    def read(self, entry: Entry) -> memoryview:
        """Read a whole member; see `TreeReader`."""
        return self.read_start(entry, entry.size)

    def read_start(self, entry: Entry, size: int) -> memoryview:
        """Read the first bytes of a member; see `TreeReader`."""
        assert isinstance(entry, TarEntry)
        size, done = min(size, entry.size), 0
        if self._buffer.nbytes < size:
            self._buffer = np.empty(size, np.uint8).data
        view = self._buffer[:size]
        while done < size and (count := os.preadv(self._descriptor, [view[done:]], entry.offset + done)):
            done += count
        if done < size or _version(self._descriptor) != entry.version:
            raise ReadError(_CHANGED, "convert again")
        return view


class _Headers(io.RawIOBase):
    """File object for tarfile, which is to read headers: nothing large, and nothing behind the end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._place = descriptor, 0
        self.begin()

    def begin(self) -> None:
        """Begin with the headers of the next member."""
        self._left = _LONGEST_HEADER

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if offset < 0 or whence != os.SEEK_SET:
            raise tarfile.ReadError(f"a member that ends at byte {offset}")
        self._place = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._left:
            raise tarfile.ReadError(f"too long a header at byte {self._place}")
        self._left -= size
        data = os.pread(self._descriptor, size, self._place)
        if len(data) < size:
            raise tarfile.ReadError(f"it ends early, at byte {self._place + len(data)}")
        self._place += size
        return data


def is_tar(path: Path) -> bool:
    """Return whether a file begins with the header of a tar's member, or is compressed as tars are."""
    if not path.is_file():
        return False
    with open(path, "rb", buffering=0) as file:
        start = file.read(_BLOCK)
    try:
        tarfile.TarInfo.frombuf(start, tarfile.ENCODING, "surrogateescape")
    except tarfile.TarError:
        return _compression(start) is not None
    return True


def _compression(start: bytes) -> str | None:
    return next((program for magic, program in _COMPRESSIONS.items() if start.startswith(magic)), None)


def _version(descriptor: int) -> FileVersion:
    return FileVersion.of(os.fstat(descriptor))


def _plain_name(member: tarfile.TarInfo) -> str:
    """Return a member's name without the ``./`` that ``tar -C mouse -c .`` puts before it."""
    return member.name.removeprefix("./")


def _refusal(member: tarfile.TarInfo) -> tuple[str, str] | None:
    """Return why a member cannot be part of a mouse, and what to do; None if it can."""
    if is_unsafe(member.name):
        return f"has an unsafe name {member.name!r}", _MAKE_AGAIN
    kind = tarfile.GNUTYPE_SPARSE if member.issparse() else member.type
    if kind not in (*_FILES, _FOLDER):
        return f"is {_KINDS.get(kind, f'of an unknown type {kind!r}')} (expected a file)", _MAKE_AGAIN
    return None


def _entry(name: str, member: tarfile.TarInfo, version: FileVersion) -> TarEntry:
    stamp = xxhash.xxh3_64_intdigest(repr((version, member.offset_data, member.mtime)).encode())
    return TarEntry(name=name, size=member.size, stamp=stamp, offset=member.offset_data, version=version)


def write_tar(tree: PublishedTree, path: Path, workers: Workers, progress: Progress) -> None:
    """Write all files of a tree to an uncompressed tar, in the mouse's folder.

    Notes
    -----
    One thread, however many workers there may be. Equal stores give equal bytes: members have the order of the store,
    no time and no owner.
    """
    with naming(path):
        descriptor = files.create(path)
        try:
            for file in tree.files():
                _append(descriptor, f"{tree.mouse}/{file.name}", file)
                progress.advance(file.nbytes, 1)
            # The end of a tar: two empty blocks.
            files.append(descriptor, [memoryview(bytes(2 * _BLOCK))])
        finally:
            files.close(descriptor)


def _append(descriptor: int, name: str, file: PublishedFile) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = file.nbytes, 0o644
    # In the oldest form that all programs read, with a header more only where a name or size does not fit it.
    header = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    files.append(descriptor, [memoryview(header), *file.parts, memoryview(bytes(-file.nbytes % _BLOCK))])

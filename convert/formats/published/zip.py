"""The published files in a zip: read in place, nothing is extracted and no name in it becomes a path; and written."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import deflate
import numpy as np

from ....store import CorruptStoreError, Problem, SourceError, files
from ....store.chunk_codecs import ChunkError
from ....store.errors import naming
from ....store.folder import LocalFile, is_junk
from ....store.paths import Located
from ....store.place import StoreFile
from ....store.pointers import find_pointer
from ....store.tasks import Progress, Workers
from ..source import ReadError
from .published_files import PublishedFile, PublishedTree
from .tree import MAKE_AGAIN, Entry, Listing, duplicates, find_root, is_unsafe, mouse_name

_LOCAL_HEADER, _LOCAL_MAGIC = 30, b"PK\x03\x04"
_IS_UTF8, _MS_DOS = 0x800, 0
_UNICODE_PATH, _UNICODE_PATH_1 = struct.Struct("<HHBL"), (0x7075, 1)
"""Info-ZIP's field of a member: what it is, its length, version, and CRC-32 of the name that it replaces."""
_BUFFER = 1 << 16
_EXTRA = 64
"""Bytes of extra fields before a member that are read with it; more take a second read."""
_RAW_DEFLATE, _LARGEST_OFFSET = -15, 2**63 - 1
_DOWNLOAD_AGAIN = "download the zip again"
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
_LEVEL = 1
"""Floating point numbers hardly get smaller by more."""
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16


def is_zip(path: Path) -> bool:
    """Return whether a file ends as zips do."""
    if not path.is_file():
        return False
    with open(path, "rb") as file, _for_zipfile(LocalFile(file.fileno())) as readable:
        return zipfile.is_zipfile(readable)


@dataclass(frozen=True)
class ZipEntry(Entry):
    """One member of a zip: where its local header is, and how it is packed."""

    raw_name: bytes
    offset: int
    packed: int
    deflated: bool


class ZipFile(Protocol):
    """A zip, wherever it is. Small and picklable."""

    @property
    def label(self) -> str:
        """The zip as the person knows it."""
        ...

    def file(self) -> AbstractContextManager[StoreFile]:
        """Return a context in which it is read."""
        ...


@dataclass(frozen=True)
class LocalZip(Located):
    """A zip on this machine."""

    @contextlib.contextmanager
    def file(self) -> Generator[LocalFile]:
        """Yield the file; see `ZipFile`."""
        with self.opened() as descriptor:
            yield LocalFile(descriptor)


@dataclass(frozen=True)
class ZipTree:
    """The files of a zip, below the folder in it that holds ``data`` and ``meta``."""

    zip: ZipFile
    overhead = 3  # the packed member, the unpacked one, and what inflating holds on to

    @property
    def label(self) -> str:
        """The zip as the person knows it."""
        return self.zip.label

    def list(self) -> Listing:
        """Read the zip's directory.

        Raises
        ------
        SourceError
            Not a zip, or a truncated one.
        """
        members, size = self._members()
        names = [name for name, _ in members]
        root = find_root(self.label, "zip", names)
        listing = Listing(mouse_name(root, Path(self.label).stem))
        listing.problems += [*duplicates(self.label, "zip", names), *self._overlaps(members, size)]
        for name, member in members:
            problem = _refusal(name, member)
            if problem:
                listing.refuse(Problem(self.label, *problem, name), name.removeprefix(root))
            elif not name.endswith("/") and name.startswith(root):
                inside = name.removeprefix(root)
                listing.entries[inside] = _entry(inside, member)
            elif not name.endswith("/"):
                listing.left_out.append(name)
        return listing

    @contextlib.contextmanager
    def open(self) -> Generator[ZipReader]:
        """Return a reader with its own file descriptor."""
        with self.zip.file() as file:
            yield ZipReader(file)

    def _members(self) -> tuple[list[tuple[str, zipfile.ZipInfo]], int]:
        """Return all members with their names, junk left out, and the size of the zip."""
        try:
            with self.zip.file() as file, _for_zipfile(file) as readable:
                members, size = zipfile.ZipFile(readable).infolist(), file.size
            named = list(zip(_names(members), members, strict=True))
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            pointer = find_pointer(self.zip.place) if isinstance(self.zip, LocalZip) else None
            raise SourceError(
                Problem(self.label, *(pointer or (f"not a readable zip ({error})", _DOWNLOAD_AGAIN)))
            ) from None
        return [(name, member) for name, member in named if not is_junk(name)], size

    def _overlaps(self, members: list[tuple[str, zipfile.ZipInfo]], size: int) -> list[Problem]:
        """Find members that share bytes: the sign of a zip made to unpack into far more than it holds."""
        ordered = sorted(members, key=lambda named: named[1].header_offset)
        ends = [*(member.header_offset for _, member in ordered[1:]), size]
        return [
            Problem(self.label, "overlaps another member, or the end of the zip", _DOWNLOAD_AGAIN, name)
            for (name, member), end in zip(ordered, ends, strict=True)
            if member.header_offset + _LOCAL_HEADER + member.compress_size > end
        ]


@contextlib.contextmanager
def _for_zipfile(file: StoreFile) -> Generator[io.BufferedReader]:
    """Give a file as zipfile reads it; an error of reading is raised, which zipfile takes for the end of no zip."""
    stream = _Stream(file)
    try:
        yield io.BufferedReader(stream, _BUFFER)
    finally:
        if stream.error:
            raise stream.error from None


class _Stream(io.RawIOBase):
    """A file read from its place on, and the error that reading it met."""

    def __init__(self, file: StoreFile) -> None:
        self._file, self._place, self._size = file, 0, file.size
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        if self._place < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return self._place

    def readinto(self, buffer: Any) -> int:
        try:
            count = self._file.fill([memoryview(buffer)], self._place) if self._place < self._size else 0
        except OSError as error:
            self.error = error
            raise
        self._place += count
        return count


def _names(members: list[zipfile.ZipInfo]) -> list[str]:
    r"""Return the names of members, with slashes: some programs on Windows write ``data\responses\0.npy``.

    In a name that has slashes, too, or in a zip of another system that has some, a backslash may be meant as such.
    """
    names = [_unicode_name(member) for member in members]
    no_slashes = not any("/" in name for name in names)
    return [
        name.replace("\\", "/") if "/" not in name and (no_slashes or member.create_system == _MS_DOS) else name
        for name, member in zip(names, members, strict=True)
    ]


def _unicode_name(member: zipfile.ZipInfo) -> str:
    """Return the name that Info-ZIP's field has, if it is of this name; zipfile heeds the field from Python 3.12 on."""
    name, extra = member.orig_filename, member.extra
    while len(extra) >= _UNICODE_PATH.size:
        kind, size, version, crc = _UNICODE_PATH.unpack_from(extra)
        if (kind, version) == _UNICODE_PATH_1 and crc == zlib.crc32(_raw_name(member)):
            return extra[_UNICODE_PATH.size : 4 + size].decode("utf-8") or name
        extra = extra[4 + size :]
    return name


def _raw_name(member: zipfile.ZipInfo) -> bytes:
    return member.orig_filename.encode("utf-8" if member.flag_bits & _IS_UTF8 else "cp437")


def _refusal(name: str, member: zipfile.ZipInfo) -> tuple[str, str] | None:
    """Return why a member cannot be part of a mouse, and what to do; None if it can."""
    advice = MAKE_AGAIN.format("zip")
    if is_unsafe(name):
        return f"has an unsafe name {name!r}", advice
    if member.flag_bits & 0x1:
        return "is encrypted", "make the zip again without a password"
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device (expected a file)", advice
    if member.compress_type not in _METHODS:
        what = f"is packed by method {member.compress_type} (expected {' or '.join(_METHODS.values())})"
        return what, "make the zip again with such members, as zip -r does"
    if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
        return f"has two sizes ({member.compress_size} and {member.file_size} bytes, stored)", _DOWNLOAD_AGAIN
    return None


class ZipReader:
    """Reads members with positional reads and inflates them with libdeflate; the CRC-32 of each is checked."""

    def __init__(self, file: StoreFile) -> None:
        self._file, self._size = file, file.size
        self._buffer = np.empty(0, np.uint8).data

    def read(self, entry: Entry) -> memoryview:
        """Read a whole member; see `TreeReader`."""
        assert isinstance(entry, ZipEntry)
        packed = self._packed(entry, entry.packed)
        data = _inflate(packed, entry.size) if entry.deflated else packed
        if data.nbytes != entry.size:
            raise ReadError(f"damaged in the zip (expected {entry.size} bytes, found {data.nbytes})", _DOWNLOAD_AGAIN)
        crc = deflate.crc32(data)
        if crc != entry.stamp:
            raise ReadError(f"damaged in the zip (expected CRC-32 {entry.stamp:08x}, found {crc:08x})", _DOWNLOAD_AGAIN)
        return data

    def read_start(self, entry: Entry, size: int) -> memoryview:
        """Read the first bytes of a member; see `TreeReader`."""
        assert isinstance(entry, ZipEntry)
        size = min(size, entry.size)
        if not entry.deflated:
            return self._packed(entry, size)
        # Deflate grows data it cannot pack by less than this.
        packed = self._packed(entry, min(entry.packed, size + size // 8 + 1024))
        try:
            return memoryview(zlib.decompressobj(_RAW_DEFLATE).decompress(packed, size))
        except zlib.error as error:
            raise ReadError(f"damaged in the zip ({error})", _DOWNLOAD_AGAIN) from None

    def _packed(self, entry: ZipEntry, size: int) -> memoryview:
        """Return the first bytes of a member as they are packed."""
        # Header, name and bytes at once: where the zip is elsewhere, each read takes a round trip.
        likely = _LOCAL_HEADER + len(entry.raw_name) + _EXTRA + size
        data = self._pread(max(_LOCAL_HEADER, min(likely, self._size - entry.offset)), entry.offset)
        if bytes(data[:4]) != _LOCAL_MAGIC:
            raise ReadError("damaged in the zip (no member where its directory says)", _DOWNLOAD_AGAIN)
        lengths = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
        start = _LOCAL_HEADER + sum(lengths)
        if data.nbytes < start + size:
            data = self._pread(start + size, entry.offset)
        name = bytes(data[_LOCAL_HEADER : _LOCAL_HEADER + lengths[0]])
        if name != entry.raw_name:
            raise ReadError(f"damaged in the zip (the member there is called {name[:80]!r})", _DOWNLOAD_AGAIN)
        return data[start : start + size]

    def _pread(self, size: int, offset: int) -> memoryview:
        if offset + size > _LARGEST_OFFSET:
            raise ReadError(f"damaged in the zip (expected at byte {offset})", _DOWNLOAD_AGAIN)
        if self._buffer.nbytes < size:
            self._buffer = np.empty(size, np.uint8).data
        view, done = self._buffer[:size], 0
        while done < size:
            count = self._fill(view[done:], offset + done)
            if count == 0:
                raise ReadError(f"the zip ends early (expected {size} bytes, found {done})", _DOWNLOAD_AGAIN)
            done += count
        return view

    def _fill(self, view: memoryview, offset: int) -> int:
        try:
            return self._file.fill([view], offset)
        except CorruptStoreError:
            raise ReadError("the zip was replaced while it was read", "give the same command again") from None
        except ChunkError as error:
            raise ReadError(f"the zip cannot be read in parts ({error})", "download it, and give its path") from None


def _entry(name: str, member: zipfile.ZipInfo) -> ZipEntry:
    return ZipEntry(
        name=name,
        size=member.file_size,
        stamp=member.CRC,
        raw_name=_raw_name(member),
        offset=member.header_offset,
        packed=member.compress_size,
        deflated=member.compress_type == zipfile.ZIP_DEFLATED,
    )


def _inflate(packed: memoryview, size: int) -> memoryview:
    """Inflate into memory of that size: a member that is longer than it says is noticed, not unpacked."""
    try:
        return memoryview(deflate.deflate_decompress(packed, size))
    except deflate.DeflateError as error:
        raise ReadError(f"damaged in the zip ({error})", _DOWNLOAD_AGAIN) from None


def write_zip(tree: PublishedTree, path: Path, workers: Workers, progress: Progress) -> None:
    """Write all files of a tree to a zip, in the mouse's folder, deflated as the published ones are.

    Notes
    -----
    One thread, however many workers there may be. Equal stores give equal bytes: members have the order of the store
    and no time.
    """
    with naming(path), os.fdopen(files.create(path), "wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            for member in tree.files():
                _write(archive, tree.mouse, member, progress)


def _write(archive: zipfile.ZipFile, mouse: str, file: PublishedFile, progress: Progress) -> None:
    info = zipfile.ZipInfo(f"{mouse}/{file.name}", _DATE)
    info.external_attr = _MODE
    archive.writestr(info, b"".join(file.parts), zipfile.ZIP_DEFLATED, _LEVEL)
    progress.advance(file.nbytes, 1)

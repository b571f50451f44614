"""The published files in a zip: read in place, nothing is extracted and no name in it becomes a path; and written."""

from __future__ import annotations

import contextlib
import os
import stat
import zipfile
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import deflate
import numpy as np

from ....store import Problem, SourceError, files
from ....store.errors import naming
from ....store.folder import is_junk
from ....store.paths import Located
from ....store.tasks import Progress
from ..source import ReadError
from .published_files import PublishedFile, PublishedTree
from .tree import MAKE_AGAIN, Entry, Listing, duplicates, find_root, is_unsafe, mouse_name

_LOCAL_HEADER, _LOCAL_MAGIC = 30, b"PK\x03\x04"
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
    with open(path, "rb") as file:  # by its path, zipfile would take one that cannot be read for none
        return zipfile.is_zipfile(file)


@dataclass(frozen=True)
class ZipEntry(Entry):
    """One member of a zip: where its local header is, and how it is packed."""

    member: str
    offset: int
    packed: int
    deflated: bool


@dataclass(frozen=True)
class ZipTree(Located):
    """The files of a zip, below the folder in it that holds ``data`` and ``meta``.

    Attributes
    ----------
    path, place
        The zip.
    """

    overhead = 3  # the packed member, the unpacked one, and what inflating holds on to

    def list(self) -> Listing:
        """Read the zip's directory.

        Raises
        ------
        SourceError
            Not a zip, or a truncated one.
        """
        members = self._members()
        names = [member.filename for member in members]
        root = find_root(self.label, "zip", names)
        listing = Listing(mouse_name(root, self.path.stem))
        listing.problems += [*duplicates(self.label, "zip", names), *self._overlaps(members)]
        for member in members:
            problem = self._refusal(member)
            if problem:
                listing.problems.append(Problem(self.label, *problem, member.filename))
            elif not member.is_dir() and member.filename.startswith(root):
                name = member.filename.removeprefix(root)
                listing.entries[name] = _entry(name, member)
            elif not member.is_dir():
                listing.left_out.append(member.filename)
        return listing

    @contextlib.contextmanager
    def open(self) -> Generator[ZipReader]:
        """Return a reader with its own file descriptor."""
        with self.opened() as descriptor:
            yield ZipReader(descriptor)

    def _members(self) -> list[zipfile.ZipInfo]:
        try:
            with self.opened() as descriptor, open(descriptor, "rb", closefd=False) as file:
                archive = zipfile.ZipFile(file)
                return [member for member in archive.infolist() if not is_junk(member.filename)]
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise SourceError(Problem(self.label, f"not a readable zip ({error})", _DOWNLOAD_AGAIN)) from None

    def _overlaps(self, members: list[zipfile.ZipInfo]) -> list[Problem]:
        """Find members that share bytes: the sign of a zip made to unpack into far more than it holds."""
        ordered = sorted(members, key=lambda member: member.header_offset)
        ends = [*(member.header_offset for member in ordered[1:]), self.place.stat().st_size]
        return [
            Problem(self.label, "overlaps another member, or the end of the zip", _DOWNLOAD_AGAIN, member.filename)
            for member, end in zip(ordered, ends, strict=True)
            if member.header_offset + _LOCAL_HEADER + member.compress_size > end
        ]

    def _refusal(self, member: zipfile.ZipInfo) -> tuple[str, str] | None:
        """Return why a member cannot be part of a mouse, and what to do; None if it can."""
        name, advice = member.orig_filename, MAKE_AGAIN.format("zip")
        if is_unsafe(name):
            return f"has an unsafe name {name!r}", advice
        if member.flag_bits & 0x1:
            return "is encrypted", "make the zip again without a password"
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            return "is a link or a device (expected a file)", advice
        if member.compress_type not in _METHODS:
            return f"is packed by method {member.compress_type} (expected {' or '.join(_METHODS.values())})", advice
        if member.compress_type == zipfile.ZIP_STORED and member.compress_size != member.file_size:
            return f"has two sizes ({member.compress_size} and {member.file_size} bytes, stored)", _DOWNLOAD_AGAIN
        return None


class ZipReader:
    """Reads members with positional reads and inflates them with libdeflate; the CRC-32 of each is checked."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
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
        header = self._pread(_LOCAL_HEADER, entry.offset)
        if bytes(header[:4]) != _LOCAL_MAGIC:
            raise ReadError("damaged in the zip (no member where its directory says)", _DOWNLOAD_AGAIN)
        lengths = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
        data = self._pread(lengths[0] + size + lengths[1], entry.offset + _LOCAL_HEADER)
        name = bytes(data[: lengths[0]])
        if name not in (entry.member.encode(), entry.member.encode("cp437", "replace")):
            raise ReadError(f"damaged in the zip (the member there is called {name[:80]!r})", _DOWNLOAD_AGAIN)
        return data[sum(lengths) :]

    def _pread(self, size: int, offset: int) -> memoryview:
        if offset + size > _LARGEST_OFFSET:
            raise ReadError(f"damaged in the zip (expected at byte {offset})", _DOWNLOAD_AGAIN)
        if self._buffer.nbytes < size:
            self._buffer = np.empty(size, np.uint8).data
        view, done = self._buffer[:size], 0
        while done < size:
            count = os.preadv(self._descriptor, [view[done:]], offset + done)
            if count == 0:
                raise ReadError(f"the zip ends early (expected {size} bytes, found {done})", _DOWNLOAD_AGAIN)
            done += count
        return view


def _entry(name: str, member: zipfile.ZipInfo) -> ZipEntry:
    return ZipEntry(
        name=name,
        size=member.file_size,
        stamp=member.CRC,
        member=member.filename,
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


def write_zip(tree: PublishedTree, path: Path, workers: int, progress: Progress) -> None:
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

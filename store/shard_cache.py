"""Shards of object stores, kept on a local disk: whole, under the name of their digest, for all processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

from . import files, locks
from .chunk_codecs import ChunkError
from .errors import OptionError, Problem, ResourceError
from .errors import naming as naming_file
from .folder import LocalFile
from .shards import FileRecord
from .space import bytes_text

_PART = 1 << 20
"""Bytes of one request for a part of a shard."""
_LOCK, _WAITS, _WAIT = ".lock", 100, 0.02
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Fetch = Callable[[int, int], memoryview]
"""Returns bytes of a shard, given offset and size."""


@dataclass(frozen=True)
class ShardCache:
    """A folder of shards, which are never more bytes than a limit; those that were used least lately make room.

    Attributes
    ----------
    folder
        On a local disk; made if it is missing.
    limit
        Bytes of all files in it.

    Notes
    -----
    What is open in any process is locked (flock), and stays. Of a shard for which there is no room nothing is kept.
    """

    folder: Path
    limit: int

    def check(self, largest: int) -> None:
        """Check that there can be shards.

        Raises
        ------
        OptionError
            The limit is below the bytes of one.
        ResourceError
            Nothing can be written there.
        """
        if self.limit < largest:
            what = f"a cache_limit of {bytes_text(self.limit)} is less than one shard, {bytes_text(largest)}"
            raise OptionError(Problem(str(self.folder), what, "give more"))
        with self.naming():
            files.make_folder(self.folder)
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self.folder))

    def find(self, record: FileRecord, fetch: Fetch) -> CachedShard | None:
        """Return a shard that is cached, or for which there is room; None if there is no room.

        Parameters
        ----------
        record
            Size and digest of the shard.
        """
        path = self.folder / record.sha256
        with self.naming():
            descriptor = _open(path, record.size)
            if descriptor is None:
                descriptor = self._reserve(path, record.size)
                return None if descriptor is None else CachedShard(self, record, descriptor, fetch)
        return CachedShard(self, record, descriptor, None)

    def _reserve(self, path: Path, size: int) -> int | None:
        """Return a descriptor of a file of the size, in which a shard can be written; None if there is no room."""
        hidden = unfinished(path)
        with self.locked() as held:
            if not held or (hidden.exists() and not _free(hidden)) or not self._make_room(size):
                return None
            descriptor = files.create(hidden, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                files.truncate(descriptor, size)
            except BaseException:
                os.close(descriptor)
                files.remove(hidden)
                raise
            return descriptor

    def _make_room(self, size: int) -> bool:
        """Remove what was used least lately and is not open, as long as there is too much; return whether it fits."""
        found = list[tuple[os.stat_result, Path]]()
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # removed by whoever had it open and was not through
                found += [(path.stat(), path)] if path.name != _LOCK else []
        excess = sum(status.st_size for status, _ in found) + size - self.limit
        for status, path in sorted(found, key=lambda one: one[0].st_mtime_ns):
            if excess <= 0:
                break
            if _free(path):
                excess -= status.st_size
        return excess <= 0

    @contextlib.contextmanager
    def locked(self) -> Generator[bool]:
        """Hold the lock of the folder; give False if that takes too long."""
        for _ in range(_WAITS):
            with locks.locked(self.folder / _LOCK) as held:
                if held:
                    yield True
                    return
            time.sleep(_WAIT)
        yield False

    @contextlib.contextmanager
    def naming(self) -> Generator[None]:
        """Add to errors of the system what they are about, and what can be done."""
        try:
            with naming_file(self.folder):
                yield
        except OSError as error:
            if isinstance(error, ResourceError):
                raise
            full = error.errno in _NO_SPACE
            advice = "give a smaller cache_limit" if full else "give another cache_dir"
            what = f"shards cannot be kept here ({os.strerror(error.errno or 0)})"
            raise ResourceError(Problem(str(self.folder), what, advice)) from None


class CachedShard:
    """A shard on disk, or on its way there.

    Parameters
    ----------
    descriptor
        File of the shard.
    fetch
        Returns its bytes; None if all are there.
    """

    def __init__(self, cache: ShardCache, record: FileRecord, descriptor: int, fetch: Fetch | None) -> None:
        self._cache, self._record, self._descriptor, self._fetch = cache, record, descriptor, fetch
        self._parts = dict[int, Future[None] | None]() if fetch is None else dict.fromkeys(range(0, record.size, _PART))
        self._lock, self._file = threading.Lock(), LocalFile(descriptor) if fetch is None else None

    def request(self, executor: Executor) -> None:
        """Ask for what is neither there nor on its way."""
        with self._lock:
            for offset, part in self._parts.items():
                if part is None or part.cancelled() or (part.done() and part.exception() is not None):
                    self._parts[offset] = executor.submit(self._bring, offset)

    def file(self) -> LocalFile:
        """Return the file, as soon as all of it is there and has its digest.

        Raises
        ------
        ChunkError
            It has another digest.
        """
        if self._file is None:
            for part in self._parts.values():
                if part is not None:
                    part.result()
            with self._lock:
                self._file = self._file or self._finish()
        return self._file

    def close(self) -> None:
        """Close the file, and remove it if it is not all there."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            if self._file is None:
                # While it is locked: afterwards another process may begin one of the same name.
                files.remove(unfinished(self._path))
            os.close(descriptor)

    @property
    def _path(self) -> Path:
        return self._cache.folder / self._record.sha256

    def _bring(self, offset: int) -> None:
        assert self._fetch is not None
        data = self._fetch(offset, min(_PART, self._record.size - offset))
        with self._cache.naming():
            files.write_at(self._descriptor, data, offset)

    def _finish(self) -> LocalFile:
        digest, file = hashlib.sha256(), LocalFile(self._descriptor)
        for offset in range(0, self._record.size, _PART):
            size = min(_PART, self._record.size - offset)
            digest.update(file.part(offset, size, lambda nbytes: memoryview(bytearray(nbytes))))
        if digest.hexdigest() != self._record.sha256:
            self._parts = dict.fromkeys(self._parts)
            raise ChunkError("other bytes came than the manifest has the digest of")
        with self._cache.naming():
            # What a power cut leaves under the name is whole.
            files.sync(self._descriptor)
            # Not while the files are counted.
            with self._cache.locked():
                files.rename(unfinished(self._path), self._path)
        return file

    def __del__(self) -> None:
        """Close the file."""
        if hasattr(self, "_descriptor"):
            self.close()


def unfinished(path: Path) -> Path:
    """Return where a shard is while it is being written."""
    return path.with_name(f".{path.name}.writing")


def _open(path: Path, size: int) -> int | None:
    """Return a descriptor of a cached shard, which nobody removes as long as it is open; else None."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        status = os.fstat(descriptor)
        if status.st_size == size and status.st_nlink:
            with contextlib.suppress(OSError):  # of another user
                os.utime(path)
            return descriptor
    except BlockingIOError:  # being removed
        pass
    os.close(descriptor)
    return None


def _free(path: Path) -> bool:
    """Remove a file unless it is open somewhere; return whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        files.remove(path)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True

"""The files of one store, opened once."""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Generator, Iterable, Iterator

from ...store import StoreIndex
from ...store.ahead import Ahead, Range, Span
from ...store.bucket import IN_FLIGHT
from ...store.chunks import index_nbytes
from ...store.place import StoreFile
from ...store.tasks import Threads

_IN_FLIGHT = 16
"""Requests for chunks at the same time, of one thread that reads."""
_SHARE = 4
"""Of the descriptors that the process may have, stores keep one in so many open between them, and as many folders."""
_most = max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE)
_open, _folders = threading.Semaphore(_most), threading.Semaphore(_most)


class StoreFiles:
    """The files of one store.

    Parameters
    ----------
    index
        Index of the store.

    Attributes
    ----------
    kept
        Name -> file, of those that are open.

    Raises
    ------
    CorruptStoreError
        The store was replaced or removed after it was opened.

    Notes
    -----
    When a store is replaced, what is read goes on to be of the store that was opened, or fails; it is never of both.
    Files stay open up to a quarter of the descriptors that the process may have, in all stores together; those beyond
    are opened for each use. So are folders: a store whose folder is not kept open fails once it is replaced.
    """

    def __init__(self, index: StoreIndex) -> None:
        self._index, self._files = index, index.place.open()
        self._of_folders = self._files.ahead is None and _folders.acquire(blocking=False)
        self._open = self._of_folders or self._files.ahead is not None
        if not self._open:
            self._files.close()
        self.kept, self._lock = dict[str, StoreFile](), threading.Lock()

    @property
    def ahead(self) -> Ahead | None:
        """Takes requests for chunks before they are read; None where they are on disk."""
        return self._files.ahead

    @contextlib.contextmanager
    def asking_for(self, spans: Iterable[Span]) -> Generator[None]:
        """Have some chunks on their way while in the block, where they are not on disk."""
        if self.ahead is None:
            yield
            return
        with Threads(_IN_FLIGHT).executor() as executor, self._released(self.ahead.request(spans, executor)):
            yield

    @contextlib.contextmanager
    def asking_for_indexes(self, names: Iterable[str]) -> Generator[None]:
        """Have the indexes of the shards of some variables on their way while in the block, likewise."""
        if self.ahead is None:
            yield
            return
        spans = (span for name in names for span in _indexes(self._index, name))
        with Threads(IN_FLIGHT).executor() as executor, self._released(self.ahead.request_ranges(spans, executor)):
            yield

    @contextlib.contextmanager
    def _released(self, ranges: list[Range]) -> Generator[None]:
        try:
            yield
        finally:
            if self.ahead is not None:
                self.ahead.release(ranges)

    def close(self) -> None:
        """Close all files."""
        for file in self.kept.values():
            file.close()
            _open.release()
        self.kept.clear()
        if self._open:
            self._files.close()
            self._open = False
        if self._of_folders:
            _folders.release()
            self._of_folders = False

    def __del__(self) -> None:
        """Close all files."""
        if hasattr(self, "kept"):
            self.close()

    @contextlib.contextmanager
    def opened(self, name: str) -> Generator[StoreFile]:
        """Yield a file.

        Raises
        ------
        OSError
            It cannot be opened.
        """
        file = self.kept.get(name)
        if file is not None:
            yield file
            return
        file = self._opened_file(name)
        kept = False
        try:
            kept = self._keep(name, file)
            yield file
        finally:
            if not kept:
                file.close()

    def _opened_file(self, name: str) -> StoreFile:
        if self._open:
            return self._files.open(name)
        with contextlib.closing(self._index.place.open()) as files:
            return files.open(name)

    def _keep(self, name: str, file: StoreFile) -> bool:
        with self._lock:
            if name in self.kept or not _open.acquire(blocking=False):
                return False
            self.kept[name] = file
            return True


def _indexes(index: StoreIndex, name: str) -> Iterator[Span]:
    """Yield where the indexes of the shards of a variable are."""
    array = index.arrays[name]
    for path in map(array.shard_path, range(array.files)):
        nbytes = index_nbytes(array)
        yield path, index.manifest.files[path].size - nbytes, nbytes

"""The files of one store, opened once."""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Generator, Iterable

from ...store import StoreIndex
from ...store.ahead import Ahead, Span
from ...store.bucket import IN_FLIGHT
from ...store.place import StoreFile
from ...store.tasks import Threads

_SHARE = 4
"""Of the descriptors that the process may have, stores keep one in so many open between them."""
_open = threading.Semaphore(max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE))


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
    are opened for each use.
    """

    def __init__(self, index: StoreIndex) -> None:
        self._files = index.place.open()
        self.kept, self._lock = dict[str, StoreFile](), threading.Lock()

    @property
    def ahead(self) -> Ahead | None:
        """Takes requests for chunks before they are read; None where they are on disk."""
        return self._files.ahead

    @contextlib.contextmanager
    def asking_for(self, spans: Iterable[Span], in_flight: int = IN_FLIGHT) -> Generator[None]:
        """Have some chunks on their way while in the block, where they are not on disk."""
        if self.ahead is None:
            yield
            return
        with Threads(in_flight).executor() as executor:
            ranges = self.ahead.request(spans, executor)
            try:
                yield
            finally:
                self.ahead.release(ranges)

    def close(self) -> None:
        """Close all files."""
        for file in self.kept.values():
            file.close()
            _open.release()
        self.kept.clear()
        self._files.close()

    def __del__(self) -> None:
        """Close all files."""
        if hasattr(self, "kept"):
            self.close()

    @contextlib.contextmanager
    def opened(self, name: str) -> Generator[StoreFile]:
        """Give a file.

        Raises
        ------
        OSError
            It cannot be opened.
        """
        file = self.kept.get(name)
        if file is not None:
            yield file
            return
        file = self._files.open(name)
        kept = False
        try:
            kept = self._keep(name, file)
            yield file
        finally:
            if not kept:
                file.close()

    def _keep(self, name: str, file: StoreFile) -> bool:
        with self._lock:
            if name in self.kept or not _open.acquire(blocking=False):
                return False
            self.kept[name] = file
            return True

"""The files of one store, opened once."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from collections.abc import Generator

from ...store import StoreIndex
from ...store.folder import open_file

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
        Name -> descriptor of the files that are open.

    Raises
    ------
    CorruptStoreError
        The store was replaced or removed after it was opened.

    Notes
    -----
    Files are found from the open folder, not by the store's path: when a store is replaced, what is read goes on to be
    of the store that was opened, or fails; it is never of both. Files stay open up to a quarter of the descriptors
    that the process may have, in all stores together; those beyond are opened for each use. So are folders: a store
    whose folder is not kept open fails once it is replaced.
    """

    def __init__(self, index: StoreIndex) -> None:
        self._root, self._found, self._folder = index.root, index.folder, index.folder.open()
        if not _folders.acquire(blocking=False):
            os.close(self._folder)
            self._folder = -1
        self.kept, self._lock = dict[str, int](), threading.Lock()

    def close(self) -> None:
        """Close all files."""
        for descriptor in self.kept.values():
            os.close(descriptor)
            _open.release()
        self.kept.clear()
        if self._folder >= 0:
            os.close(self._folder)
            _folders.release()
            self._folder = -1

    def __del__(self) -> None:
        """Close all files."""
        if hasattr(self, "kept"):
            self.close()

    @contextlib.contextmanager
    def opened(self, name: str) -> Generator[int]:
        """Give the descriptor of a file.

        Raises
        ------
        OSError
            It cannot be opened.
        """
        descriptor = self.kept.get(name)
        if descriptor is not None:
            yield descriptor
            return
        if self._folder >= 0:
            descriptor = open_file(self._root, name, self._folder)
        else:
            with self._found.opened() as folder:
                descriptor = open_file(self._root, name, folder)
        kept = False
        try:
            kept = self._keep(name, descriptor)
            yield descriptor
        finally:
            if not kept:
                os.close(descriptor)

    def _keep(self, name: str, descriptor: int) -> bool:
        with self._lock:
            if name in self.kept or not _open.acquire(blocking=False):
                return False
            self.kept[name] = descriptor
            return True

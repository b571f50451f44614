"""The files of one store, opened once."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from collections.abc import Generator

from ...store import CorruptStoreError, Problem, StoreIndex, layout

_SHARE = 4
"""Of the descriptors that the process may have, stores keep one in so many open between them."""
_open = threading.Semaphore(max(16, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE))


class StoreFiles:
    """The files of one store.

    Parameters
    ----------
    index
        Of the store.

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
    that the process may have, in all stores together; those beyond are opened for each use.
    """

    def __init__(self, index: StoreIndex) -> None:
        self._root = index.root
        try:
            self._folder = os.open(index.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CorruptStoreError(self._problem(os.strerror(error.errno or 0))) from None
        self.kept, self._lock = dict[str, int](), threading.Lock()
        try:
            self._check_version(index)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all files."""
        for descriptor in self.kept.values():
            os.close(descriptor)
            _open.release()
        self.kept.clear()
        if self._folder >= 0:
            os.close(self._folder)
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
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
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

    def _check_version(self, index: StoreIndex) -> None:
        expected = index.manifest.to_bytes()
        try:
            descriptor = os.open(layout.MANIFEST, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
            with open(descriptor, "rb") as file:
                found = file.read(len(expected) + 1)
        except OSError as error:
            raise CorruptStoreError(self._problem(os.strerror(error.errno or 0), layout.MANIFEST)) from None
        if found != expected:
            raise CorruptStoreError(self._problem("the store was replaced since it was opened", layout.MANIFEST))

    def _problem(self, what: str, name: str | None = None) -> Problem:
        return Problem(str(self._root), what, "open it again", name or "")

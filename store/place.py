"""Where the bytes of a store come from: whatever reads one takes them from here.

A store is a folder (`trialpack.store.folder`) or lies in an object store (`trialpack.store.bucket`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .ahead import Ahead
from .errors import Problem
from .paths import Address

if TYPE_CHECKING:
    from .shards import FileRecord


class StoreFile(Protocol):
    """A file of a store, opened. Any number of threads may read it at once."""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        ...

    @property
    def together(self) -> int:
        """Bytes that are best read at once of what is needed anyway; 0 where each read may be as small as it is."""
        ...

    def fill(self, buffers: Sequence[memoryview], offset: int, /) -> int:
        """Fill buffers, one behind another, from a place in the file; return how many bytes that were, as `preadv`."""
        ...

    def part(self, offset: int, size: int, memory: Callable[[int], memoryview], /) -> memoryview:
        """Return bytes of the file: where they are, or in memory that is asked for.

        Raises
        ------
        ChunkError
            The file ends early.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class StoreVersion(Protocol):
    """The files of a store: all of one version of it, or missing."""

    @property
    def root(self) -> Path | Address:
        """Where the store is, as a person gave it, for messages."""
        ...

    @property
    def ahead(self) -> Ahead | None:
        """Takes requests for chunks before they are read; None where reads take no time worth waiting for."""
        ...

    def open(self, name: str) -> StoreFile:
        """Open a file for reading.

        Raises
        ------
        FileNotFoundError
            It is missing.
        CorruptStoreError
            It was replaced since the store was opened.
        ResourceError
            It may not be read, or cannot be reached.
        """
        ...

    def read(self, name: str) -> bytes:
        """Return all bytes of a file; errors as in `open`."""
        ...

    def read_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """Return all bytes of some files, read at the same time; errors as in `open`."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class StorePlace(Protocol):
    """Where a store is, and in which version. Small and picklable: workers in other processes open it, too."""

    @property
    def root(self) -> Path | Address:
        """Where the store is, as a person gave it, for messages."""
        ...

    @property
    def where(self) -> Path | Address:
        """The same, whatever becomes the working folder."""
        ...

    def at(self, records: Mapping[str, FileRecord]) -> StorePlace:
        """Return the same place in the version that has some files.

        Parameters
        ----------
        records
            Name -> size and digest, of every file that the manifest lists.
        """
        ...

    def open(self) -> StoreVersion:
        """Return the files.

        Raises
        ------
        CorruptStoreError
            The store was replaced, changed or removed since it was opened.
        ResourceError
            It may not be read, or too many files are open.
        """
        ...

    def find(self, name: str) -> bytes | None:
        """Return all bytes of a file that no manifest lists; None if it is not there, or not a file."""
        ...

    def sizes(self, listed: Iterable[str]) -> Mapping[str, int | None]:
        """Return the size of every file of the store, without reading any; None for anything but a file.

        Parameters
        ----------
        listed
            Names of the files that there should be: where nothing lists files, these are looked for.
        """
        ...

    def find_pointer(self, name: str) -> tuple[str, str] | None:
        """Return what is wrong, and what to do, if something stands in place of a file that was not fetched."""
        ...

    def explain(self) -> Problem:
        """Return what a place without a manifest seems to be, and what to do with it."""
        ...

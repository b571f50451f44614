"""A tree of files to read from: what a folder and archives have in common."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from ....store import Problem


@dataclass(frozen=True)
class Entry:
    """One regular file of a tree.

    Attributes
    ----------
    name
        Path inside the mouse, with slashes.
    size
        Bytes, uncompressed.
    stamp
        Changes when the file does: modification time in ns of a file, CRC-32 of a zip member, digest of both of a tar.
    """

    name: str
    size: int
    stamp: int


@dataclass
class Listing:
    """All files of a mouse, junk left out; what is wrong with the tree itself; what lies beside the mouse.

    Attributes
    ----------
    mouse
        Name of the mouse: that of its folder, or else of the archive.
    """

    mouse: str
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    problems: list[Problem] = field(default_factory=list[Problem])
    left_out: list[str] = field(default_factory=list[str])


class TreeReader(Protocol):
    """Reads files of a tree into memory of its own; for one thread."""

    def read(self, entry: Entry) -> memoryview:
        """Return a whole file, checked as far as its container can; valid until the next call.

        Raises
        ------
        ReadError
            The file is not what the listing said, or its container says that it is damaged.
        OSError
            From the system.
        """
        ...

    def read_start(self, entry: Entry, size: int) -> memoryview:
        """Return the first bytes of a file, `size` or all of it; valid until the next call."""
        ...


class Tree(Protocol):
    """A mouse's files, in a folder or an archive. Small and picklable: workers in other processes use it too."""

    @property
    def label(self) -> str:
        """The folder or archive as the person knows it."""
        ...

    @property
    def overhead(self) -> int:
        """How many bytes of memory reading one byte of a file takes, at most."""
        ...

    def list(self) -> Listing:
        """Return all files; reads no file's content."""
        ...

    def open(self) -> AbstractContextManager[TreeReader]:
        """Return a context in which files are read."""
        ...

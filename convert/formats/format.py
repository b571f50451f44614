"""A format of mice: how it is recognised, opened and written. One row of `registry` each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...readers import Mouse
from ...store.cluster import Cluster
from ...store.tasks import Progress
from .source import Source

EXPORTING = "exporting"
"""The phase of `Progress` whose bytes and files are those of the export; others, such as verifying, are extra."""


@dataclass(frozen=True)
class Option:
    """An option of writing that one format has.

    Attributes
    ----------
    name
        Parameter of `export_mouse`; on the command line an option, with dashes, such as that of ``hdf5_filter``.
    help
        One sentence for the command line.
    choices
        Values that it may have, the default first; empty for a flag, which is False by default.
    """

    name: str
    help: str
    choices: tuple[str, ...] = ()

    @property
    def default(self) -> str | bool:
        """Value where none is given."""
        return self.choices[0] if self.choices else False

    @property
    def flag(self) -> str:
        """Name on the command line."""
        return f"--{self.name.replace('_', '-')}"


@dataclass(frozen=True)
class WriteSettings:
    """How a mouse is to be written.

    Attributes
    ----------
    options
        Value of each `Option` of the format, by its name.
    workers
        Number of threads, at most.
    cluster
        Where parts of it are written, if the format can have that; None for threads.
    progress
        Listener; the phase `EXPORTING` counts the bytes and files that are written.
    """

    options: Mapping[str, Any]
    workers: int
    progress: Progress
    cluster: Cluster | None = None


Writer = Callable[[Mouse, Path, WriteSettings], object]
"""Writes a mouse to a path that does not exist, with `store.files`; raises what `export_mouse` raises."""


def _accept(mouse: Mouse, options: Mapping[str, Any]) -> None:
    """Accept any mouse with any options."""


@dataclass(frozen=True)
class Format:
    """One format of mice.

    Attributes
    ----------
    name
        Name by which `export_mouse` and the command line know it.
    noun
        What a mouse of the format is, such as "a zip of that folder"; for messages and help.
    suffixes
        Ends of the names of its files; an export has the first one. Empty for a folder.
    matches
        Returns whether the file or folder at a path begins as one of this format, whatever its name.
    open
        Opens the mouse at a path; problems are raised by the source's `survey`.
    write
        Writes a mouse; None for a format that is only read.
    check
        Raises OptionError for a mouse that cannot be written with these options, before anything is made.
    options
        Options of writing.
    help
        One sentence on what `write` makes.
    packed
        Whether the arrays take more bytes in memory than on disk.
    shared
        Whether the workers of a cluster can write parts of it at the same time.
    """

    name: str
    noun: str
    suffixes: tuple[str, ...]
    matches: Callable[[Path], bool]
    open: Callable[[Path], Source]
    write: Writer | None = None
    check: Callable[[Mouse, Mapping[str, Any]], object] = _accept
    options: tuple[Option, ...] = ()
    help: str = ""
    packed: bool = False
    shared: bool = False

    @property
    def suffix(self) -> str:
        """End of the name of an export."""
        return self.suffixes[0] if self.suffixes else ""

    def is_called(self, path: Path) -> bool:
        """Return whether a file's name ends as those of this format do."""
        return path.is_file() and path.name.endswith(self.suffixes)

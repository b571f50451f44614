"""Give a mouse back: the files that it was published as, or one HDF5 file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from ...readers import Mouse, open_mouse, train_statistics
from ...readers.progress import Progress, Silent
from ...readers.statistics_files import check_format, public_pickle
from ...readers.stored_statistics import has_statistics
from ...readers.tasks import available_cores
from ...store import Argument, OptionError, Problem, StoreIndex, layout
from ...store.metadata import to_json
from .. import hdf5
from .archive import write_zip
from .destination import atomic_destination
from .folder import write_folder
from .hdf5_file import HDF5_FILTERS, Hdf5File, Hdf5Filter
from .published_tree import PublishedFile, PublishedTree

ExportFormat = Literal["npy", "zip", "hdf5"]
EXPORT_FORMATS: Mapping[ExportFormat, str] = {"npy": "", "zip": ".zip", "hdf5": hdf5.SUFFIXES[0]}
"""Format -> what follows the mouse in the name."""
STATISTICS_FILE = "statistics.pkl"
ROUNDED_FILE = "rounded.json"
"""Beside ``data`` and ``meta``: which variables are not the published ones, and how far they may be from them."""


@dataclass(frozen=True)
class Exported:
    """What an export made.

    Attributes
    ----------
    path
        Where it is.
    nbytes
        On disk.
    unpacked_nbytes, files
        Of the mouse's files before a zip makes them smaller, or of the arrays in an HDF5 file before it packs them.
    max_error
        Variable -> how far its values may be from those that the store was made from; of those that were rounded.
    seconds
        From opening the store to the name.
    """

    path: Path
    nbytes: int
    unpacked_nbytes: int
    files: int
    seconds: float
    max_error: Mapping[str, float | str]

    def describe(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "path": str(self.path),
            "bytes": self.nbytes,
            "bytes_unpacked": self.unpacked_nbytes,
            "files": self.files,
            "seconds": round(self.seconds, 3),
            layout.A_MAX_ERROR: dict(self.max_error),
        }


class _Output(Protocol):
    """What is written of a mouse."""

    @property
    def extent(self) -> tuple[int, int]:
        """Bytes and files, about."""
        ...

    def write(self, path: Path, progress: Progress) -> None:
        """Write all of it."""
        ...

    def check(self, path: Path, progress: Progress) -> None:
        """Read back what can only be compared once it is written."""
        ...


@dataclass(frozen=True)
class _PublishedFiles:
    """The files that a mouse was published as, in a folder or a zip."""

    tree: PublishedTree
    writer: Callable[[PublishedTree, Path, int, Progress], None]
    workers: int

    @property
    def extent(self) -> tuple[int, int]:
        return self.tree.extent

    def write(self, path: Path, progress: Progress) -> None:
        self.writer(self.tree, path, self.workers, progress)

    def check(self, path: Path, progress: Progress) -> None:
        pass


def export_mouse(
    store: Path | str,
    to: Path | str,
    *,
    format: ExportFormat = "npy",  # noqa: A002
    statistics: bool = False,
    hdf5_filter: Hdf5Filter | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Make again the files that a store was made from, or one HDF5 file; they appear complete, or not at all.

    Parameters
    ----------
    store
        The store.
    to
        The folder that is to hold ``<mouse>``, ``<mouse>.zip`` or ``<mouse>.h5``; made if it is not there.
    format
        ``npy``: a folder as published. ``zip``: the same in a zip. ``hdf5``: the arrays of the store in one file, which
        is read back and compared before it gets its name; see ``docs/hdf5.md``.
    statistics
        Add ``statistics.pkl`` with the statistics of the train trials, as the public pipeline of the 2023 mice reads
        it.
    hdf5_filter
        How an HDF5 file is packed: ``gzip`` (the default; every reader has it), ``lz4`` or ``zstd`` (faster; readers
        need their plugin), or ``none``.
    workers
        Threads; one a core by default. A zip or an HDF5 file is written by one.
    progress
        Hears how far the export is.

    Raises
    ------
    StoreFormatError, CorruptStoreError
        Not a store, or a damaged one; every value is compared with its digest before it is written.
    StoreExistsError, StoreBusyError
        The destination is taken, or being written.
    OptionError
        There is no such format, or no ``statistics.pkl`` of such a mouse; an option is of another format; a package is
        missing; or `to` lies inside a store.
    OSError
        From the system, such as a full disk; nothing is left.

    Notes
    -----
    Of a store of precision ``source`` every file is equal to that of the source: dtype and byte order, shape, memory
    order, every bit of every value, text, ``config.json``; of others, and of variables that were rounded, trials are
    float32. The bounds of the latter stand in ``rounded.json`` beside them, or in the attributes of the HDF5 file.
    Memory: of each worker `PublishedTree.worker_memory`, whatever the number of trials; for HDF5 see `Hdf5File`.
    """
    begun = time.perf_counter()
    _check_options(format, statistics=statistics, hdf5_filter=hdf5_filter)
    mouse, heard = open_mouse(store), _Counting(progress or Silent())
    bounds = {name: bound.document for name, bound in mouse.index.bounds.items()}
    if format == "hdf5":
        output: _Output = Hdf5File(mouse.index, hdf5_filter or HDF5_FILTERS[0])
    else:
        extra = [_statistics_file(mouse, heard.listener)] if statistics else []
        extra += [PublishedFile(ROUNDED_FILE, (memoryview(to_json({layout.A_MAX_ERROR: bounds})),))] if bounds else []
        writer = {"npy": write_folder, "zip": write_zip}[format]
        output = _PublishedFiles(PublishedTree(mouse.index, extra), writer, workers or available_cores())
    destination = exported_path(mouse.index, Path(to), format)
    with atomic_destination(destination) as path:
        heard.start("exporting", *output.extent)
        output.write(path, heard)
        output.check(path, heard.listener)
    return Exported(
        path=destination,
        nbytes=destination.stat().st_size if destination.is_file() else heard.nbytes,
        unpacked_nbytes=heard.nbytes,
        files=heard.files,
        seconds=time.perf_counter() - begun,
        max_error=bounds,
    )


def exported_path(index: StoreIndex, to: Path, form: ExportFormat) -> Path:
    """Return where a mouse is exported to."""
    return to / f"{index.attributes[layout.A_MOUSE]}{EXPORT_FORMATS[form]}"


def _check_options(format: str, *, statistics: bool, hdf5_filter: str | None) -> None:  # noqa: A002
    problems = list[Problem]()
    if format not in EXPORT_FORMATS:
        problems.append(Problem("export_mouse", f"there is no format {format!r}", _choose(EXPORT_FORMATS)))
    if hdf5_filter is not None and hdf5_filter not in HDF5_FILTERS:
        problems.append(Problem("export_mouse", f"there is no HDF5 filter {hdf5_filter!r}", _choose(HDF5_FILTERS)))
    if hdf5_filter is not None and format != "hdf5":
        what = f"an HDF5 filter is for HDF5 files only (expected the format hdf5, found {format})"
        problems.append(Problem("", what, "leave it out, or export as hdf5", argument=Argument("hdf5_filter")))
    if statistics and format == "hdf5":
        what = "statistics.pkl is a file of a published tree; an HDF5 file has the statistics of the store"
        problems.append(
            Problem("", what, "leave it out, or export as npy or zip", argument=Argument("statistics", True))
        )
    if problems:
        raise OptionError(problems)


def _choose(names: Iterable[str]) -> str:
    return f"choose one of {', '.join(names)}"


class _Counting:
    """Counts what it hears, and passes it on."""

    def __init__(self, listener: Progress) -> None:
        self.listener, self.nbytes, self.files = listener, 0, 0
        self._lock = threading.Lock()

    def start(self, phase: str, nbytes: int, files: int) -> None:
        """Pass on that a phase begins."""
        self.listener.start(phase, nbytes, files)

    def advance(self, nbytes: int, files: int) -> None:
        """Count bytes and files."""
        with self._lock:
            self.nbytes, self.files = self.nbytes + nbytes, self.files + files
        self.listener.advance(nbytes, files)


def _statistics_file(mouse: Mouse, progress: Progress) -> PublishedFile:
    check_format(mouse.kind, Path(STATISTICS_FILE))
    found = mouse.statistics if has_statistics(mouse.index) else train_statistics(mouse, progress=progress)
    return PublishedFile(STATISTICS_FILE, (memoryview(public_pickle(found)),))

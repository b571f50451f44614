"""Give a mouse back: the files that it was published as."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...readers import Mouse, open_mouse, train_statistics
from ...readers.progress import Progress, Silent
from ...readers.statistics_files import check_format, public_pickle
from ...readers.stored_statistics import has_statistics
from ...readers.tasks import available_cores
from ...store import OptionError, Problem
from .archive import write_zip
from .destination import appearing
from .folder import write_folder
from .published_tree import PublishedFile, PublishedTree

ExportFormat = Literal["npy", "zip"]
STATISTICS_FILE = "statistics.pkl"


@dataclass(frozen=True)
class Exported:
    """What an export made.

    Attributes
    ----------
    path
        Where it is.
    nbytes, files
        Of the mouse's files, before a zip makes them smaller.
    seconds
        From opening the store to the name.
    """

    path: Path
    nbytes: int
    files: int
    seconds: float

    def describe(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {"path": str(self.path), "bytes": self.nbytes, "files": self.files, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class _Form:
    """One form of export: what its name ends in, and what writes it with so many threads."""

    suffix: str
    write: Callable[[PublishedTree, Path, int, Progress], None]


_FORMS: Mapping[ExportFormat, _Form] = {"npy": _Form("", write_folder), "zip": _Form(".zip", write_zip)}
EXPORT_FORMATS = tuple(_FORMS)


def export_mouse(
    store: Path | str,
    to: Path | str,
    *,
    format: ExportFormat = "npy",  # noqa: A002
    statistics: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Make again the files that a store was made from, which appear complete, or not at all.

    Parameters
    ----------
    store
        The store.
    to
        The folder that is to hold ``<mouse>`` or ``<mouse>.zip``; made if it is not there.
    format
        ``npy``: a folder as published. ``zip``: the same in a zip.
    statistics
        Add ``statistics.pkl`` with the statistics of the train trials, as the public pipeline of the 2023 mice reads
        it.
    workers
        Threads; one a core by default. A zip is written by one.
    progress
        Hears how far the export is.

    Raises
    ------
    StoreFormatError, CorruptStoreError
        Not a store, or a damaged one; every value is compared with its digest before it is written.
    StoreExistsError, StoreBusyError
        The destination is taken, or being written.
    OptionError
        There is no such format, or no ``statistics.pkl`` of such a mouse.
    OSError
        From the system, such as a full disk; nothing is left.

    Notes
    -----
    Of a store of precision ``source`` every file is equal to that of the source: dtype and byte order, shape, memory
    order, every bit of every value, text, ``config.json``; of others, and of variables that were rounded, trials are
    float32. Memory: of each worker
    `PublishedTree.worker_memory`, whatever the number of trials.
    """
    begun = time.perf_counter()
    if format not in _FORMS:
        problem = Problem("export_mouse", f"there is no format {format!r}", f"choose {' or '.join(_FORMS)}")
        raise OptionError(problem)
    mouse, heard = open_mouse(store), _Counting(progress or Silent())
    extra = (_statistics_file(mouse, heard.listener),) if statistics else ()
    tree = PublishedTree(mouse.index, extra)
    destination = Path(to) / f"{tree.mouse}{_FORMS[format].suffix}"
    with appearing(destination) as path:
        heard.start("exporting", *tree.extent)
        _FORMS[format].write(tree, path, workers or available_cores(), heard)
    return Exported(destination, heard.nbytes, heard.files, time.perf_counter() - begun)


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

"""Give a mouse back, in any format that can be written: the files that it was published as, or others."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..readers import open_mouse
from ..readers.recording import recording_of
from ..store import Argument, OptionError, Problem, StoreBusyError, StoreExistsError, StoreIndex, files, layout, locks
from ..store.arguments import check_choice, check_flag, check_progress, check_threads, check_type
from ..store.cluster import Cluster, check_scheduler, connected
from ..store.integrity import reading
from ..store.locate import Given, locate
from ..store.paths import read_path
from ..store.publish import Stage, check_place
from ..store.space import Space, measure_space
from ..store.tasks import Progress, Silent
from .formats.format import EXPORTING, Format, Writer, WriteSettings
from .formats.registry import formats, writable
from .npy import narrowed

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def atomic_destination(destination: Path) -> Generator[Path]:
    """Yield a hidden path beside a destination, to make a file or folder there; once it is on disk, it gets its name.

    Raises
    ------
    StoreExistsError
        Something has the name.
    StoreBusyError
        Another export to the destination is under way.
    OptionError
        The destination lies inside a store.

    Notes
    -----
    After any error the hidden path is removed. What a killed process left there is removed by the next export to the
    same destination.
    """
    check_place(destination)
    files.make_folder_durably(destination.parent)
    hidden, lock = hidden_beside(destination)
    with locks.locked(lock) as held:
        if not held:
            what = "is being written by another export"
            raise StoreBusyError(Problem(str(destination), what, "wait for it, or choose another folder"))
        if destination.exists() or destination.is_symlink():
            raise StoreExistsError(_taken(destination))
        files.remove(hidden)
        try:
            yield hidden
            files.sync_file_system(hidden)
            files.rename_new(hidden, destination)
        except BaseException as error:
            files.remove(hidden)
            if isinstance(error, FileExistsError):
                raise StoreExistsError(_taken(destination)) from None
            raise
        files.sync_folder(destination.parent)


def hidden_beside(destination: Path) -> tuple[Path, Path]:
    """Return where an export is made, and its lock."""
    stage = Stage(destination)
    return stage.root, stage.lock


def _taken(destination: Path) -> Problem:
    return Problem(str(destination), "exists already", "move it away, or choose another folder")


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
        Bytes and number of the mouse's files before a zip makes them smaller, or of the arrays in an HDF5 file before
        it packs them.
    max_error
        Variable -> how far its values may be from those that the store was made from; of those that were rounded.
    seconds
        Time from opening the store to giving the export its name.
    warnings
        What the file system did not offer, so that it was made without.
    """

    path: Path
    nbytes: int
    unpacked_nbytes: int
    files: int
    seconds: float
    max_error: Mapping[str, float | str]
    warnings: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "path": str(self.path),
            "bytes": self.nbytes,
            "bytes_unpacked": self.unpacked_nbytes,
            "files": self.files,
            "seconds": round(self.seconds, 3),
            layout.A_MAX_ERROR: dict(self.max_error),
            "warnings": list(self.warnings),
        }


def export_mouse(
    store: Given,
    to: Path | str,
    *,
    format: str = "npy",  # noqa: A002
    workers: int | None = None,
    scheduler: Any = None,
    progress: Progress | None = None,
    **options: str | bool,
) -> Exported:
    """Make again the files that a store was made from, or a file of another format: complete, or not at all.

    Parameters
    ----------
    store
        As the path of `open_mouse`.
    to
        The folder that is to hold ``<mouse>``, ``<mouse>.zip``, ``<mouse>.tar`` or ``<mouse>.h5``; made if missing.
    format
        ``npy``: a folder as published. ``zip``, ``tar``: the same in an archive. ``hdf5``: the arrays of the store in
        one file, which is read back and compared before it gets its name; see ``docs/hdf5.md``. Or a format of another
        package; see `trialpack.convert.formats`.
    workers
        Number of threads; one a core by default. An archive or an HDF5 file is written by one.
    scheduler
        Address of a dask.distributed scheduler, or a `distributed.Client`; a folder is then written there.
    progress
        Listener for how far the export is.
    **options
        Options that the format has. Of ``npy``, ``zip`` and ``tar``: `statistics_pkl`, True to add ``statistics.pkl``
        with the statistics of the train trials, as the public pipeline of the 2023 mice reads it. Of ``hdf5``:
        `hdf5_filter`, how it is packed: ``gzip`` (the default; every reader has it), ``lz4`` or ``zstd`` (faster;
        readers need their plugin), or ``none``.

    Raises
    ------
    StoreFormatError, CorruptStoreError
        Not a store, or a damaged one; every value is compared with its digest before it is written.
    StoreExistsError, StoreBusyError
        The destination is taken, or being written.
    OptionError
        There is no such format, or it has no such option; no ``statistics.pkl`` of such a mouse; a package is missing;
        an archive or an HDF5 file on a cluster; or `to` lies inside a store, or is an address.
    ResourceError
        There is less space than the files take; the size of what is packed is known only in the end.
    ClusterError
        The cluster has no worker, or workers lack what is needed, or they or their scheduler were lost.
    OSError
        From the system, such as a full disk; nothing is left.

    Notes
    -----
    Of a store of precision ``source`` every file is equal to that of the source: dtype and byte order, shape, memory
    order, every bit of every value, text, ``config.json``; of others, and of variables that were rounded, trials are
    float32. The bounds of the latter stand in ``rounded.json`` beside them, or in the attributes of the HDF5 file.
    Memory: of each worker `PublishedTree.worker_memory`, whatever the number of trials; for HDF5 see `Hdf5File`.
    """
    begun, place, to = time.perf_counter(), locate(store, name="store"), read_path(to, "to")
    threads = check_threads("workers", workers)
    check_type("format", format, str, "the name of a format")
    check_scheduler(scheduler)
    check_progress(progress)
    form, write = _writer(format)
    given = _checked_options(form, options)
    mouse, heard = open_mouse(place), _Counting(progress or Silent())
    form.check(mouse, given)
    if scheduler is not None and not form.shared:
        what = f"the format {form.name} is written by one process"
        raise OptionError(Problem("", what, "leave it out, or export as npy", argument=Argument("scheduler")))
    destination = exported_path(mouse.index, to, format).absolute()
    space = export_space(mouse.index, to, format)
    if not os.path.lexists(destination):
        space.check(destination)
    _log.info("%s: exporting as %s to %s", place.root, format, destination)
    with files.Shortfalls() as shortfalls, atomic_destination(destination) as path:
        with contextlib.nullcontext() if scheduler is None else _writers(scheduler, mouse.index, path) as cluster:
            write(mouse, path, WriteSettings(given, threads, heard, cluster))
    _log.info("%s: complete, %d bytes in %d files", destination, heard.nbytes, heard.files)
    return Exported(
        path=destination,
        nbytes=destination.stat().st_size if destination.is_file() else heard.nbytes,
        unpacked_nbytes=heard.nbytes,
        files=heard.files,
        seconds=time.perf_counter() - begun,
        max_error={name: bound.document for name, bound in mouse.index.bounds.items()},
        warnings=shortfalls.warnings(destination.parent),
    )


@contextlib.contextmanager
def _writers(scheduler: Any, index: StoreIndex, path: Path) -> Generator[Cluster]:
    files.make_folder(path)
    demands = replace(reading(index), folder=path)
    with connected(scheduler) as found, found.checked(demands) as cluster:
        yield cluster


def exported_path(index: StoreIndex, to: Path, form: str) -> Path:
    """Return where a mouse is exported to.

    Raises
    ------
    OptionError
        There is no such format, or it is only read.
    """
    return to / f"{index.attributes[layout.A_MOUSE]}{_writer(form)[0].suffix}"


def export_space(index: StoreIndex, to: Path, form: str) -> Space:
    """Return the bytes that an export of a mouse takes, and those that are free; errors as in `exported_path`."""
    destination, made, arrays = exported_path(index, to, form), _writer(form)[0], index.arrays.values()
    count = 1 if made.suffix else sum(array.shape[0] if array.shard else 1 for array in arrays)
    return measure_space(destination, sum(array.nbytes for array in arrays), count, 0 if made.packed else _least(index))


def _least(index: StoreIndex) -> int:
    """Return the bytes that the values of all trials take in files of their own."""
    recording, total = recording_of(index), 0
    for variable, array in zip(index.variables, index.recorded, strict=True):
        itemsize = min(
            np.dtype(narrowed(descr, array.numpy_dtype)).itemsize for descr, _ in array.attributes[layout.A_HEADERS]
        )
        lacking = recording.lacking.get(variable.name)
        for row in range(array.shape[0]):
            if lacking is None or not lacking[row]:
                total += math.prod(part.stop for part in recording.file_part(variable, row)) * itemsize
    return total


def _writer(name: str) -> tuple[Format, Writer]:
    form = formats().get(name)
    if form is None or form.write is None:
        what = f"there is no format {name!r}" if form is None else f"the format {name!r} is only read"
        raise OptionError(Problem("export_mouse", what, f"choose one of {', '.join(writable())}"))
    return form, form.write


def _checked_options(form: Format, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each option of a format: as given, or its default."""
    known, problems = {option.name: option for option in form.options}, list[Problem]()
    for name, value in given.items():
        if name not in known:
            owners = [other.name for other in writable().values() if name in {option.name for option in other.options}]
            what = f"is not an option of the format {form.name} (its options: {', '.join(known) or 'none'})"
            advice = f"leave it out, or export as {' or '.join(owners)}" if owners else "leave it out"
            problems.append(Problem(name, what, advice))
        elif choices := known[name].choices:
            check_choice(name, value, choices)
        else:
            check_flag(name, value)
    if problems:
        raise OptionError(problems)
    return {name: given.get(name, option.default) for name, option in known.items()}


class _Counting:
    """Counts what is exported, and passes all progress on."""

    def __init__(self, listener: Progress) -> None:
        self._listener, self.nbytes, self.files, self._counts = listener, 0, 0, False
        self._lock = threading.Lock()

    def start(self, phase: str, nbytes: int, files: int) -> None:
        """Pass on that a phase begins."""
        self._counts = phase == EXPORTING
        self._listener.start(phase, nbytes, files)

    def advance(self, nbytes: int, files: int) -> None:
        """Count bytes and files of the export, not of what comes before or after it."""
        if self._counts:
            with self._lock:
                self.nbytes, self.files = self.nbytes + nbytes, self.files + files
        self._listener.advance(nbytes, files)

"""Fetch a store from where it was published: it appears in its folder complete and verified, or not at all."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import files, layout
from .arguments import check_count, check_progress
from .bucket import Bucket, is_below
from .chunk_codecs import ChunkError
from .chunks import damaged
from .errors import CorruptStoreError, OptionError, Problem, StoreExistsError, naming
from .index import StoreIndex
from .integrity import check_quick, file_digest
from .locate import Given, Options, locate
from .paths import read_path
from .place import StorePlace, StoreVersion
from .publish import Stage, finish, publish, remove_leftovers, staged
from .shards import FileRecord
from .space import Space, measure_space
from .tasks import Progress, Silent, Threads

_log = logging.getLogger(__name__)
PART = 1 << 23
"""Bytes of one request."""


@dataclass(frozen=True)
class Pulled:
    """What a pull has fetched.

    Attributes
    ----------
    store
        Where the store is, from the root of the file system.
    files, nbytes
        Number of its files, and their bytes.
    received
        Bytes that this pull received; the others were left by one that was interrupted.
    seconds
        Duration of the pull.
    warnings
        What the file system did not offer, so that it was made without.
    """

    store: Path
    files: int
    nbytes: int
    received: int
    seconds: float
    warnings: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "store": str(self.store),
            "files": self.files,
            "bytes": self.nbytes,
            "bytes_received": self.received,
            "seconds": round(self.seconds, 3),
            "warnings": list(self.warnings),
        }


def pull_store(
    url: Given,
    to: Path | str,
    *,
    storage_options: Options = None,
    in_flight: int = 16,
    progress: Progress | None = None,
) -> Pulled:
    """Fetch a published store into a folder, where it appears complete and verified, or not at all.

    Parameters
    ----------
    url
        As the path of `trialpack.open_mouse`.
    to
        The folder that is to hold the store, under the name that it has at the address; made if it is not there.
    storage_options
        As in `trialpack.open_mouse`.
    in_flight
        Files that are fetched at the same time, in parts of 8 MiB: so much memory each takes.
    progress
        Listener for the phase ``pulling``.

    Returns
    -------
    Pulled
        Summary of what was fetched.

    Raises
    ------
    StoreFormatError, CorruptStoreError
        There is no store, or an unfinished or damaged one; or it was replaced while it was fetched.
    StoreExistsError, StoreBusyError
        The destination is taken, or held by another process.
    OptionError
        An argument does not fit; or `to` is an address, or a place where nothing can be made.
    AccessError, ResourceError
        Access is refused; the store cannot be reached; or there is less space than it takes. What has come stays beside
        the destination, hidden, and the same call goes on from there.

    Notes
    -----
    The SHA-256 of each file is compared before the store gets its name.
    """
    begun = time.perf_counter()
    check_progress(progress)
    to, in_flight = read_path(to, "to"), check_count("in_flight", in_flight)
    place = locate(url, storage_options, "url")
    destination = pulled_path(place, to)
    if os.path.lexists(destination):
        advice = "move it away, or choose another folder"
        raise StoreExistsError(Problem(str(destination), "exists already", advice))
    index, listener = check_quick(place), progress or Silent()
    _check_names(index)
    pull_space(index, destination).check(destination)
    with files.Shortfalls() as shortfalls, staged(destination, replace=False) as stage:
        received = _fetch_all(index, stage, in_flight, listener)
        remove_leftovers(stage, index.manifest)
        finish(stage, index.manifest, index.software)
        check_quick(stage.root)
        publish(stage, replace=False)
    seconds, warnings = time.perf_counter() - begun, shortfalls.warnings(stage.destination.parent)
    _log.info("%s: fetched to %s, %d bytes received", place.root, stage.destination, received)
    return Pulled(stage.destination, index.n_files, index.nbytes, received, seconds, warnings)


def pull_space(index: StoreIndex, destination: Path) -> Space:
    """Return the bytes that a pull still takes, and those that are free."""
    there = [path for name in index.manifest.files if (path := Stage(destination).root / name).is_file()]
    needed = max(0, index.manifest.nbytes - sum(path.stat().st_size for path in there))
    return measure_space(destination, needed, index.n_files - len(there), needed)


def pulled_path(place: StorePlace, to: Path) -> Path:
    """Return where a store is to appear.

    Raises
    ------
    OptionError
        It is in a folder, or its address ends in no name.
    """
    if not isinstance(place, Bucket):
        raise OptionError(Problem(str(place.root), "a folder of this machine, not an address", "copy it"))
    name = place.root.name.removesuffix(layout.SUFFIX)
    if name.strip(".") == "" or "\\" in name:
        what = f"ends in no name of a store (expected one such as mouse{layout.SUFFIX})"
        raise OptionError(Problem(str(place.root), what, "check the address"))
    return to / f"{name}{layout.SUFFIX}"


def _check_names(index: StoreIndex) -> None:
    """Check that all names are of files below a folder: a manifest may name anything."""
    problems = [
        Problem(str(index.root), "no name of a file of a store", "do not use this store", name)
        for name in index.manifest.files
        if not is_below(name) or "\\" in name
    ]
    if problems:
        raise CorruptStoreError(problems)


def _fetch_all(index: StoreIndex, stage: Stage, in_flight: int, progress: Progress) -> int:
    """Fetch all files that are not there yet; return how many bytes came."""
    records = index.manifest.files
    for folder in {(stage.root / name).parent for name in records}:
        files.make_folder(folder)
    progress.start("pulling", index.manifest.nbytes, len(records))
    with closing(index.place.open()) as opened:
        tasks = [partial(_fetch, opened, stage.root, name, record, progress) for name, record in records.items()]
        return sum(Threads(in_flight, "trialpack-pull").run(tasks))


def _fetch(opened: StoreVersion, root: Path, name: str, record: FileRecord, progress: Progress) -> int:
    """Fetch a file, unless it is there; return how many bytes came."""
    path = root / name
    there = path.is_file() and path.stat().st_size == record.size and file_digest(path) == record.sha256
    if not there:
        _write(path, opened, name, record)
    progress.advance(record.size, 1)
    return 0 if there else record.size


def _write(path: Path, opened: StoreVersion, name: str, record: FileRecord) -> None:
    """Write a file as it comes, and compare its digest; return when it is on disk."""
    digest, descriptor = hashlib.sha256(), files.create(path)
    try:
        with naming(path):
            for part in _parts(opened, name, record.size):
                digest.update(part)
                files.append(descriptor, [part])
            files.sync(descriptor)
    except (ChunkError, FileNotFoundError) as error:
        raise damaged(opened.root, name, error) from None
    finally:
        files.close(descriptor)
    if digest.hexdigest() != record.sha256:
        what = f"came otherwise (expected SHA-256 {record.sha256[:16]}…, found {digest.hexdigest()[:16]}…)"
        advice = "give the same command again; if it stays so, the store is damaged there"
        raise CorruptStoreError(Problem(str(opened.root), what, advice, name))


def _parts(opened: StoreVersion, name: str, size: int) -> Iterator[memoryview]:
    """Yield the bytes of a file, in order."""
    with closing(opened.open(name)) as file:
        for offset in range(0, size, PART):
            yield file.part(offset, min(PART, size - offset), _memory)


def _memory(nbytes: int) -> memoryview:
    return memoryview(bytearray(nbytes))

"""Publish a store in an object store: it can be opened there once all of it is there, or not at all.

One object decides, whose name is that of the manifest, and every change of it is conditional::

    nothing -> claim     names the store that is being pushed, and is unlike any other claim
    claim   -> manifest  when all else is there: this publishes the store
    claim   -> claim     of nobody, while a place is cleaned: whoever had claimed it cannot publish any more

All other objects are written where nothing is, too: no push replaces what another one has written, and whoever finds an
object already there compares its digest.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

from . import layout, objects
from .arguments import check_bytes, check_count, check_flag, check_progress, check_threads, check_type
from .bucket import Bucket
from .errors import Argument, CorruptStoreError, OptionError, Problem, StoreBusyError, StoreExistsError
from .folder import StoreFolder
from .index import StoreIndex
from .integrity import check_full, check_quick
from .locate import Given, Options, locate, read_store
from .manifest import UNLISTED, claim, claim_in, parse_manifest
from .objects import Condition, Connection, Pin
from .paths import Address, read_path
from .place import StoreVersion
from .tasks import Progress, Silent, Threads

MARK = "sha256"
"""Attribute of every object of a store: the digest of its bytes."""
_SECONDS = "600s"
"""A shard is one request, which may take so long."""
_CHECKSUM = {"checksum_algorithm": "sha256"}
"""S3 compares what came with the digest."""
_NO_VERSION = Pin(0, '"00000000000000000000000000000000"', version="1")
_CLEAN = ("choose another address, or remove it with ", Argument("clean", True))

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pushed:
    """What a push has published.

    Attributes
    ----------
    address
        Where the store is.
    files, nbytes
        Number of its files, and their bytes.
    sent
        Bytes that this push sent; 0 where the store was there already.
    seconds
        Duration of the push.
    """

    address: Address
    files: int
    nbytes: int
    sent: int
    seconds: float

    def describe(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "address": str(self.address),
            "files": self.files,
            "bytes": self.nbytes,
            "bytes_sent": self.sent,
            "seconds": round(self.seconds, 3),
        }


def push_store(
    store: Path | str,
    url: Given,
    *,
    storage_options: Options = None,
    clean: bool = False,
    race_check: bool = True,
    in_flight: int = 16,
    workers: int | None = None,
    max_memory: int | str = "1GiB",
    progress: Progress | None = None,
) -> Pushed:
    """Publish a store at an address, where it can be opened once all of it is there, or not at all.

    Parameters
    ----------
    store
        Folder of the store, which is verified before: every byte and every value.
    url
        Its address to be, such as ``s3://bucket/stores/<mouse>.zarr``; or a store of obstore whose prefix it is.
    storage_options
        As in `trialpack.open_mouse`.
    clean
        First remove all that is at the address and belongs to no published store, such as what pushes of other stores
        have left. Only while no such push, and nobody else who cleans, is at work there.
    race_check
        Make sure that the service honours conditional writes, by which of several pushes at once only one wins; else
        write without any, which is safe only while there is no other push to the address.
    in_flight
        Requests at the same time.
    workers
        Number of threads that verify the store; one a core by default.
    max_memory
        Bytes of files that are in memory at most. Each file is one request: as many are in flight as there is memory
        for, but always one.
    progress
        Listener for the phases ``verifying`` and ``pushing``.

    Returns
    -------
    Pushed
        Summary; also where an equal store had been published there before.

    Raises
    ------
    StoreFormatError, CorruptStoreError
        The folder is no store, or a damaged one; or the one that was published there is damaged.
    StoreExistsError
        Another store is published at the address, or objects that are not of this one; nothing is replaced.
    StoreBusyError
        A push of another store has claimed the address.
    OptionError
        An argument does not fit; or the service does not honour conditional writes.
    AccessError, ResourceError
        Access is refused; or the service cannot be reached. The same call goes on from there.

    Notes
    -----
    Publishing a converted recording publishes the recording: a store holds every value of its source, or all within
    its bounds. Who can read the address can export it.
    """
    begun = time.perf_counter()
    clean, race_check = check_flag("clean", clean), check_flag("race_check", race_check)
    in_flight, threads = check_count("in_flight", in_flight), check_threads("workers", workers)
    limit = check_bytes("max_memory", max_memory)
    check_progress(progress)
    folder, listener = StoreFolder(read_path(store, "store")), progress or Silent()
    target = _target(url, storage_options, folder.root.name)
    index = check_quick(folder)
    largest = max(record.size for record in index.manifest.files.values())
    push = _Push(index, target, Threads(max(1, min(in_flight, limit // largest)), "trialpack-push"), race_check)
    if clean:
        push.clean()
    sent = 0
    if not push.is_done():
        there = push.there()
        check_full(index.place, workers=threads, memory=limit, progress=listener)
        sent = push.send(there, listener)
    _log.info("%s: published at %s, %d bytes sent", index.root, target.address, sent)
    return Pushed(target.address, index.n_files, index.nbytes, sent, time.perf_counter() - begun)


def _target(url: Given, given: Options, name: str) -> Connection:
    """Return how to reach the address; errors as in `push_store`."""
    place = read_store(url, "url") if isinstance(url, (str, os.PathLike)) else url
    if isinstance(place, Address):
        check_type("storage_options", given, (Mapping, NoneType), "a mapping from names to values")
        client = {"timeout": _SECONDS, **(given or {}).get("client_options", {})}
        given = {**(_CHECKSUM if place.url.startswith("s3") else {}), **(given or {}), "client_options": client}
    place = locate(place, given, "url")
    if not isinstance(place, Bucket):
        raise OptionError(Problem(str(place.root), "a folder of this machine, not an address", "copy the store there"))
    target = place.connection
    label = str(target.address)
    if not objects.can_list(target):
        raise OptionError(Problem(label, "web servers take no stores", "push to an object store"))
    if not label.endswith(layout.SUFFIX) and isinstance(url, (str, Address)):
        what = f"not an address for a store (expected a name that ends in {layout.SUFFIX})"
        raise OptionError(Problem(label, what, f"give {label}/{name}"))
    return target


class _Push:
    """A push of one store to one address."""

    def __init__(self, index: StoreIndex, target: Connection, threads: Threads, race_check: bool) -> None:
        self._index, self._target, self._threads, self._race_check = index, target, threads, race_check
        self._manifest, self._digest = index.manifest.to_bytes(), index.manifest.digest
        # Of equal stores, the records of software may differ: the first one stays.
        self._marks = {name: record.sha256 for name, record in index.manifest.files.items()}
        self._marks[layout.SOFTWARE] = self._digest
        self._label = str(target.address)
        self._claim: tuple[bytes, Pin] | None = None

    def is_done(self) -> bool:
        """Return whether the store is published; errors as in `push_store`."""
        found = self._decisive()
        claimed = None if found is None else claim_in(found[0])
        self._claim = found if claimed == self._digest else None
        if found is None or self._claim:
            return False
        if claimed is not None:
            what = "is being cleaned" if not claimed else f"is claimed by a push of another store ({claimed[:16]}…)"
            advice = ("wait for it; if it was given up, use ", Argument("clean", True))
            raise StoreBusyError(Problem(self._label, f"{what}, which is under way or was interrupted", advice))
        if found[0] != self._manifest:
            what = "another store is there already, and no published store is replaced"
            raise StoreExistsError(Problem(self._label, what, "choose another address"))
        check_quick(Bucket(self._target))
        return True

    def clean(self) -> None:
        """Remove what belongs to no published store; afterwards the address is claimed, unless there is one."""
        found = self._decisive()
        if found is not None and claim_in(found[0]) is None:
            kept = {*parse_manifest(self._label, found[0]).files, *UNLISTED}
            objects.remove(self._target, sorted(objects.names(self._target).keys() - kept))
            return
        # From now on, no push that is under way can publish.
        held = self._replace(found, claim(""))
        objects.remove(self._target, sorted(objects.names(self._target).keys() - {layout.MANIFEST}))
        self._replace(held, claim(self._digest))

    def send(self, there: set[str], progress: Progress) -> int:
        """Write all that is not there, then the manifest; return how many bytes that were, 0 if nothing was to do."""
        claimed = self._take(there)
        if claimed is None:
            return 0
        missing = {name: self._size(name) for name in self._marks if name not in there}
        progress.start("pushing", sum(missing.values()), len(missing))
        # Without the root's metadata, Zarr opens nothing either.
        last = missing.keys() & {layout.METADATA}
        with closing(self._index.place.open()) as files:
            for names in (sorted(missing.keys() - last, key=lambda name: -missing[name]), last):
                self._threads.run(partial(self._put, files, name, progress) for name in names)
        self._publish(claimed)
        return sum(missing.values()) + len(self._manifest)

    def _size(self, name: str) -> int:
        record = self._index.manifest.files.get(name)
        return record.size if record else 0

    def _decisive(self) -> tuple[bytes, Pin] | None:
        """Return the object that decides which store is at the address, and its version; None if there is none."""
        try:
            data, pin = objects.read(self._target, layout.MANIFEST, None)
        except FileNotFoundError:
            return None
        return bytes(data), pin

    def there(self) -> set[str]:
        """Return the files that the address has already; errors as in `push_store`."""
        listed = {name for name in objects.names(self._target) if not name.endswith("/")} - {layout.MANIFEST}
        known = sorted(listed & self._marks.keys())
        marks = self._threads.run(partial(self._mark, name) for name in known)
        foreign = (listed - self._marks.keys()) | {
            name for name, mark in zip(known, marks, strict=True) if mark != self._marks[name]
        }
        if foreign:
            what = "is there already, and is not of this store"
            raise StoreExistsError(Problem(self._label, what, _CLEAN, name) for name in sorted(foreign))
        return set(known)

    def _mark(self, name: str) -> str | None:
        return objects.attributes(self._target, name).get(MARK)

    def _take(self, there: set[str]) -> Pin | None:
        """Claim the address, or go on with a push that has, and return the claim; None if the store is published."""
        for _ in range(objects.TRIES):
            if self.is_done():
                return None
            if self._claim is not None:
                data, claimed = self._claim
                self._check_conditions(data, there)
                return claimed
            self._write(layout.MANIFEST, claim(self._digest), "create")
        raise StoreBusyError(Problem(self._label, "others push here, too", "wait for them"))

    def _check_conditions(self, data: bytes, there: set[str]) -> None:
        """Check that the service honours conditions: by writing the claim again, on two that do not hold."""
        if not self._race_check:
            return
        write = partial(self._write, layout.MANIFEST, data)
        if write("create") or write(_NO_VERSION):
            if not there:
                objects.remove(self._target, [layout.MANIFEST])
            what = "the service ignores conditions of writes (If-None-Match, If-Match): two pushes at once could mix"
            advice = ("use another one; or make sure that there is no other push, and give ", _UNCHECKED)
            raise OptionError(Problem(self._label, what, advice))

    def _put(self, files: StoreVersion, name: str, progress: Progress) -> None:
        data, record = files.read(name), self._index.manifest.files.get(name)
        if record is not None and hashlib.sha256(data).hexdigest() != record.sha256:
            what = "was changed while it was pushed"
            raise CorruptStoreError(Problem(str(self._index.root), what, "verify it", name))
        mark = self._marks[name]
        if not self._write(name, data, "create") and self._mark(name) != mark:
            raise StoreBusyError(Problem(self._label, "another push writes here, too", _CLEAN, name))
        progress.advance(self._size(name), 1)

    def _publish(self, claimed: Pin) -> None:
        """Put the manifest in the place of the claim."""
        gone = self._marks.keys() - objects.names(self._target).keys()
        if not gone and self._write(layout.MANIFEST, self._manifest, claimed):
            return
        if gone or not self.is_done():
            what = "was cleaned, or taken by another push, while this one was under way"
            raise StoreBusyError(Problem(self._label, what, "give the same command again"))

    def _replace(self, found: tuple[bytes, Pin] | None, new: bytes) -> tuple[bytes, Pin] | None:
        """Write a claim in the place of one, and return it as it is there."""
        self._write(layout.MANIFEST, new, found[1] if found else "create")
        held = self._decisive()
        if held is None or held[0] != new:
            raise StoreBusyError(Problem(self._label, "others push or clean here, too", "wait for them"))
        return held

    def _write(self, name: str, data: bytes, condition: Condition) -> bool:
        """Write an object with its digest; see `objects.write`."""
        marks = {MARK: self._marks.get(name, self._digest)}
        return objects.write(self._target, name, data, condition if self._race_check else "overwrite", marks)


_UNCHECKED = Argument("race_check", False)

"""A store in an object store: opened in one version, and read by requests of which many are in flight."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from . import layout, objects
from .ahead import Ahead
from .chunk_codecs import ChunkError
from .errors import CorruptStoreError, Problem
from .folder import LocalFile
from .manifest import UNLISTED
from .objects import Connection, Pin, Requests
from .paths import Address
from .shard_cache import CachedShard, Fetch, ShardCache
from .shards import FileRecord
from .tasks import Threads

IN_FLIGHT = 64
"""Requests for small files at the same time."""
_CHUNK = re.compile(r"(^|/)c(\.\d+)*$")
"""Names of files that hold chunks."""
TOGETHER = 1 << 23
"""Bytes that are asked for at once of a shard that is read whole, or of a trial."""


class Bucket:
    """A store in an object store. Only addresses and marks of versions are pickled, and no secrets.

    Parameters
    ----------
    connection
        How to reach it.
    cache
        Where its shards are kept on disk.

    Attributes
    ----------
    pins
        Name -> what each object was when the store was opened. Objects that are others by now are errors.
    """

    def __init__(self, connection: Connection, cache: ShardCache | None = None) -> None:
        self.connection, self.pins, self._cache = connection, dict[str, Pin](), cache
        self._shards: Mapping[str, FileRecord] = {}
        self._listed, self._unlisted = False, dict[str, bytes | None]()

    @property
    def root(self) -> Address:
        """The address, for messages."""
        return self.connection.address

    where = root

    @property
    def keeps_shards(self) -> bool:
        """Whether shards are kept on disk."""
        return self._cache is not None

    def at(self, records: Mapping[str, FileRecord]) -> Bucket:
        """Return the same place: its version is known by the pins."""
        if self._cache is not None:
            self._shards = {name: one for name, one in records.items() if _CHUNK.search(name)}
            self._cache.check(max(one.size for one in self._shards.values()))
        return self

    def open(self) -> _Objects:
        """Return the files; see `StorePlace`."""
        return _Objects(self)

    def cached(self, name: str, fetch: Fetch) -> CachedShard | None:
        """Return a shard on disk, or on its way there; None of a file that is not kept."""
        record = self._shards.get(name)
        return None if self._cache is None or record is None else self._cache.find(record, fetch)

    def find(self, name: str) -> bytes | None:
        """Return all bytes of a file that no manifest lists; None if it is not there."""
        if name not in self._unlisted:
            known = self._listed
            self._list()
            try:
                self._read_unlisted()
            except CorruptStoreError:
                if known:
                    raise
                # It was published just now, after the list was made.
                self._listed = False
                self._list()
                self._read_unlisted()
        return self._unlisted.pop(name)

    def _read_unlisted(self) -> None:
        found = Threads(len(UNLISTED)).run(partial(self._find, one) for one in UNLISTED)
        self._unlisted |= dict(zip(UNLISTED, found, strict=True))

    def sizes(self, listed: Iterable[str]) -> Mapping[str, int | None]:
        """Return the size of every file, by one list; web servers, which have none, are asked for each file."""
        if self._list():
            wanted = [name for name in listed if name not in self.pins and is_below(name)]
            found = Threads(IN_FLIGHT).run(partial(self._look, name) for name in wanted)
            self.pins |= {name: pin for name, pin in zip(wanted, found, strict=True) if pin is not None}
        return {name: pin.size for name, pin in self.pins.items()}

    def find_pointer(self, name: str) -> None:
        """Return None: an object store has no pointers."""

    def explain(self) -> Problem:
        """Return what an address without a manifest seems to be, and what to do with it."""
        what = f"no {layout.MANIFEST}: unfinished, not a trialpack store, or not there"
        return Problem(str(self.root), what, f"check the address of the {layout.SUFFIX} store")

    def _list(self) -> bool:
        """List all objects, the first time; return whether they cannot be listed."""
        if not objects.can_list(self.connection):
            return True
        if not self._listed:
            # A folder of a console in the browser is an object without bytes.
            self.pins = {name: pin for name, pin in objects.names(self.connection).items() if not name.endswith("/")}
            self._listed = True
        return False

    def _find(self, name: str) -> bytes | None:
        try:
            data, self.pins[name] = objects.read(self.connection, name, self.pins.get(name))
        except FileNotFoundError:
            return None
        return bytes(data)

    def _look(self, name: str) -> Pin | None:
        try:
            return objects.look(self.connection, name)
        except FileNotFoundError:
            return None


def is_below(name: str) -> bool:
    """Return whether a name can be that of a file of a store: a manifest may name anything."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


class _Objects:
    """The objects of a store, all of the version that was opened."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket, self.ahead = bucket, Ahead(self._fetch, self._comes, to_disk=bucket.keeps_shards)
        self._shards, self._lock = dict[str, CachedShard | None](), threading.Lock()

    @property
    def root(self) -> Address:
        return self._bucket.root

    def open(self, name: str) -> ObjectFile:
        pin = self._bucket.pins.get(name)
        if pin is None:
            raise FileNotFoundError(2, "no such object", name)
        return ObjectFile(self, name, pin.size)

    def read(self, name: str) -> bytes:
        data, _ = objects.read(self._bucket.connection, name, self._bucket.pins.get(name))
        return bytes(data)

    def read_all(self, names: Sequence[str]) -> dict[str, bytes]:
        # Not more threads than files, which may be none.
        found = Threads(min(IN_FLIGHT, len(names))).run(partial(self.read, name) for name in names)
        return dict(zip(names, found, strict=True))

    def cached(self, name: str) -> CachedShard | None:
        """Return a shard on disk, or on its way there; None of a file that is not kept."""
        with self._lock:
            if name not in self._shards:
                self._shards[name] = self._bucket.cached(name, partial(self._fetch_counted, name))
            return self._shards[name]

    def close(self) -> None:
        """Close the shards on disk; connections are the client's."""
        with self._lock:
            for one in self._shards.values():
                if one is not None:
                    one.close()
            self._shards.clear()

    def _comes(self, name: str, executor: Executor) -> bool:
        """Return whether a file is on disk or comes there, and ask for it."""
        shard = self.cached(name)
        if shard is not None:
            shard.request(executor)
        return shard is not None

    def fetch(self, name: str, offset: int, size: int) -> memoryview:
        """Return a part of an object."""
        return self._fetch(name, (offset, size), Requests())

    def _fetch_counted(self, name: str, offset: int, size: int) -> memoryview:
        count = Requests()
        try:
            return self._fetch(name, (offset, size), count)
        finally:
            self.ahead.count(count)

    def _fetch(self, name: str, span: tuple[int, int], count: Requests) -> memoryview:
        return objects.read(self._bucket.connection, name, self._bucket.pins.get(name), span, count)[0]


class ObjectFile:
    """An object as a file."""

    together = TOGETHER

    def __init__(self, files: _Objects, name: str, size: int) -> None:
        self._files, self._name, self.size = files, name, size
        self.fill, self.part = self._fill, self._part

    def _on_disk(self) -> LocalFile | None:
        """Return the same file on disk, if it is kept there: from now on it is read as any other."""
        shard = self._files.cached(self._name)
        if shard is None:
            return None
        with Threads(IN_FLIGHT).executor() as executor:
            shard.request(executor)
            file = shard.file()
        self.fill, self.part = file.fill, file.part  # pyright: ignore[reportAttributeAccessIssue]
        return file

    def _fill(self, buffers: Sequence[memoryview], offset: int) -> int:
        """Fill buffers from a place in the object; see `StoreFile`."""
        wanted, done = sum(buffer.nbytes for buffer in buffers), 0
        size = max(0, min(wanted, self.size - offset))
        data = self._files.ahead.find(self._name, offset, size)
        if data is None:
            if file := self._on_disk():
                return file.fill(buffers, offset)
            data = self._files.fetch(self._name, offset, size) if size else memoryview(b"")
        # Those without bytes, as of no frames before the wanted ones, cannot be cast.
        for buffer in (one for one in buffers if one.nbytes):
            part = np.frombuffer(data[done : done + buffer.nbytes], np.uint8)
            # Other threads go on meanwhile.
            np.copyto(np.frombuffer(buffer.cast("B"), np.uint8)[: len(part)], part)
            done += len(part)
        return size

    def _part(self, offset: int, size: int, memory: Callable[[int], memoryview]) -> memoryview:
        """Return bytes of the object: where they came; see `StoreFile`."""
        if offset + size > self.size:
            raise ChunkError(f"the file ends early (expected {size} bytes at {offset}, found {self.size - offset})")
        data = self._files.ahead.find(self._name, offset, size)
        if data is None:
            if file := self._on_disk():
                return file.part(offset, size, memory)
            data = self._files.fetch(self._name, offset, size) if size else memoryview(b"")
        return data

    def close(self) -> None:
        """Close nothing."""

"""A store in an object store: opened in one version, and read by requests of which many are in flight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from . import layout, objects
from .ahead import Ahead
from .chunk_codecs import ChunkError
from .errors import Problem
from .manifest import UNLISTED
from .objects import Connection, Pin, Requests
from .paths import Address
from .tasks import Threads

IN_FLIGHT = 64
"""Requests for small files at the same time."""
TOGETHER = 1 << 23
"""Bytes that are asked for at once of a shard that is read whole, or of a trial."""


class Bucket:
    """A store in an object store. Only addresses and marks of versions are pickled, and no secrets.

    Parameters
    ----------
    connection
        How to reach it.

    Attributes
    ----------
    pins
        Name -> what each object was when the store was opened. Objects that are others by now are errors.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection, self.pins = connection, dict[str, Pin]()
        self._listed, self._unlisted = False, dict[str, bytes | None]()

    @property
    def root(self) -> Address:
        """The address, for messages."""
        return self.connection.address

    where = root

    def at(self, version: str) -> Bucket:
        """Return the same place: its version is known by the pins."""
        return self

    def open(self) -> _Objects:
        """Return the files; see `StorePlace`."""
        return _Objects(self)

    def find(self, name: str) -> bytes | None:
        """Return all bytes of a file that no manifest lists; None if it is not there."""
        if name not in self._unlisted:
            self._list()
            found = Threads(len(UNLISTED)).run(partial(self._find, one) for one in UNLISTED)
            self._unlisted |= dict(zip(UNLISTED, found, strict=True))
        return self._unlisted.pop(name)

    def sizes(self, listed: Iterable[str]) -> Mapping[str, int | None]:
        """Return the size of every file, by one list; web servers, which have none, are asked for each file."""
        if self._list():
            wanted = [name for name in listed if name not in self.pins and _is_below(name)]
            found = Threads(IN_FLIGHT).run(partial(self._look, name) for name in wanted)
            self.pins |= {name: pin for name, pin in zip(wanted, found, strict=True) if pin is not None}
        return {name: pin.size for name, pin in self.pins.items()}

    def find_pointer(self, name: str) -> None:
        """Return nothing: what is not an object is not there."""

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


def _is_below(name: str) -> bool:
    """Return whether a name can be that of a file of a store: a manifest may name anything."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


class _Objects:
    """The objects of a store, all of the version that was opened."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket, self.ahead = bucket, Ahead(self._fetch)

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
        found = Threads(min(IN_FLIGHT, len(names))).run(partial(self.read, name) for name in names)
        return dict(zip(names, found, strict=True))

    def part(self, name: str, offset: int, size: int) -> memoryview:
        """Return a part of an object: one that was asked for before, or by a request."""
        found = self.ahead.find(name, offset, size)
        return self._fetch(name, (offset, size), Requests()) if found is None else found

    def close(self) -> None:
        """Close nothing: connections are the client's."""

    def _fetch(self, name: str, span: tuple[int, int], count: Requests) -> memoryview:
        return objects.read(self._bucket.connection, name, self._bucket.pins.get(name), span, count)[0]


class ObjectFile:
    """An object as a file."""

    together = TOGETHER

    def __init__(self, files: _Objects, name: str, size: int) -> None:
        self._files, self._name, self.size = files, name, size

    def fill(self, buffers: Sequence[memoryview], offset: int) -> int:
        """Fill buffers from a place in the object; see `StoreFile`."""
        wanted = sum(buffer.nbytes for buffer in buffers)
        size = max(0, min(wanted, self.size - offset))
        data, done = self._files.part(self._name, offset, size) if size else memoryview(b""), 0
        for buffer in buffers:
            part = np.frombuffer(data[done : done + buffer.nbytes], np.uint8)
            # Other threads go on meanwhile.
            np.copyto(np.frombuffer(buffer.cast("B"), np.uint8)[: len(part)], part)
            done += len(part)
        return size

    def part(self, offset: int, size: int, memory: Callable[[int], Any]) -> memoryview:
        """Return bytes of the object: where they came; see `StoreFile`."""
        if offset + size > self.size:
            raise ChunkError(f"the file ends early (expected {size} bytes at {offset}, found {self.size - offset})")
        return self._files.part(self._name, offset, size) if size else memoryview(b"")

    def close(self) -> None:
        """Close nothing."""

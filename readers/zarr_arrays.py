"""The arrays of a store as zarr-python opens them."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any, cast

import zarr
import zarr.core.sync
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore, MemoryStore

from ..store import CorruptStoreError, Problem, ResourceError, StoreIndex
from ..store.folder import StoreFolder
from ..store.place import StorePlace, StoreVersion


class _Listed:
    """Files of a store in one version. One that the manifest lists and that is not there is an error.

    By itself zarr-python reads what is missing as the fill value, and looks for each file by the store's path: what it
    reads of a store that is being replaced is of both.
    """

    _place: StorePlace
    _listed: frozenset[str]

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        return await asyncio.to_thread(self._find, key, prototype, byte_range)

    def get_sync(self, key: str, *, prototype: Any = None, byte_range: Any = None) -> Any:
        return self._find(key, prototype, byte_range)

    async def get_ranges(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        """Read parts of a file, as zarr-python does it since 3.4; but raise one error, not a group of them."""
        try:
            async for found in cast(Any, super()).get_ranges(*arguments, **options):
                yield found
        except BaseExceptionGroup as group:
            for kind in (ResourceError, CorruptStoreError):
                if found := group.subgroup(kind):
                    raise kind(dict.fromkeys(_problems(found))) from None
            raise

    def _find(self, key: str, prototype: Any, byte_range: Any) -> Any:
        try:
            with closing(self._place.open()) as files:
                data = _read_part(files, key, byte_range)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            if key in self._listed:
                what = "missing (the manifest lists it)"
                label, advice = str(self._place.root), "copy or convert the mouse again"
                raise CorruptStoreError(Problem(label, what, advice, key)) from None
            return None
        return (prototype or default_buffer_prototype()).buffer.from_bytes(data)


class _ListedFiles(_Listed, LocalStore):
    """Those of a folder, which other pipelines of codecs find by its path."""

    def __init__(self, folder: StoreFolder, listed: frozenset[str]) -> None:
        super().__init__(folder.where, read_only=True)
        self._place, self._listed = folder, listed


class _ListedObjects(_Listed, MemoryStore):
    """Those of an object store; nothing is in memory."""

    def __init__(self, place: StorePlace, listed: frozenset[str]) -> None:
        super().__init__(read_only=True)
        self._place, self._listed = place, listed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ListedObjects) and other._place.where == self._place.where

    def __str__(self) -> str:
        return str(self._place.root)


def open_array(index: StoreIndex, path: str) -> zarr.Array[Any]:
    """Open an array of a store for reading."""
    place, listed = index.place, frozenset(index.manifest.files)
    files = _ListedFiles(place, listed) if isinstance(place, StoreFolder) else _ListedObjects(place, listed)
    return zarr.open_array(files, path=path, mode="r")


@atexit.register
def _cancel_reads() -> None:
    """End what zarr-python still reads, after an error: it stops its loop at the end, and complains of each read."""
    loop = zarr.core.sync.loop[0]
    if loop is not None and loop.is_running():
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result(timeout=1)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _read_part(files: StoreVersion, key: str, part: Any) -> memoryview:
    """Return the part of a file that zarr-python asks for."""
    file = files.open(key)
    try:
        start, stop = 0, file.size
        if isinstance(part, RangeByteRequest):
            start, stop = part.start, min(part.end, stop)
        elif isinstance(part, OffsetByteRequest):
            start = part.offset
        elif isinstance(part, SuffixByteRequest):
            start = max(0, stop - part.suffix)
        return file.part(start, max(0, stop - start), lambda nbytes: memoryview(bytearray(nbytes)))
    finally:
        file.close()


def _problems(group: BaseExceptionGroup[Any]) -> Iterator[Problem]:
    """Yield the problems of all errors of a group."""
    for error in group.exceptions:
        yield from _problems(error) if isinstance(error, BaseExceptionGroup) else error.problems

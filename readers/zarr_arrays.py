"""The arrays of a store as zarr-python opens them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore

from ..store import CorruptStoreError, Problem, StoreIndex


class _ListedFiles(LocalStore):
    """Files of a store. One that the manifest lists and that is not there is an error.

    By itself zarr-python reads what is missing as the fill value, and 3.1 cannot be told otherwise.
    """

    def __init__(self, root: Path, listed: frozenset[str]) -> None:
        super().__init__(root, read_only=True)
        self._listed = listed

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        found = await super().get(key, prototype, byte_range)
        if found is None and key in self._listed:
            what = "missing (the manifest lists it)"
            raise CorruptStoreError(Problem(str(self.root), what, "copy or convert the mouse again", key))
        return found


def open_array(index: StoreIndex, path: str) -> zarr.Array[Any]:
    """Open an array of a store for reading."""
    return zarr.open_array(_ListedFiles(index.root, frozenset(index.manifest.files)), path=path, mode="r")

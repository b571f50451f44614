"""Targets of a sample: a folder, or a zip as macOS makes it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_ZIP_LEVEL = 1
_JUNK_EVERY = 16  # trials per AppleDouble companion in a zip
_APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ".ljust(163, b"\x00")
_DS_STORE = b"\x00\x00\x00\x01Bud1".ljust(64, b"\x00")


class FolderTarget:
    """A new mouse folder."""

    def __init__(self, parent: Path, name: str) -> None:
        self.path = parent / name
        self.path.mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def text(self, member: str, text: str) -> None:
        """Write a text file."""
        (self.path / member).write_text(text, encoding="utf-8")

    def array(self, member: str, array: Array) -> None:
        """Write an array as ``<member>.npy``."""
        path = self.path / f"{member}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array, allow_pickle=False)


class ZipTarget:
    """A new zip of a mouse folder, with directory entries and the leftovers of macOS."""

    def __init__(self, parent: Path, name: str) -> None:
        self.path = parent / f"{name}.zip"
        self._root = name
        self._zip = zipfile.ZipFile(self.path, "x", zipfile.ZIP_DEFLATED, compresslevel=_ZIP_LEVEL)
        self._folders: set[str] = set()
        self._bytes(f"{name}/.DS_Store", _DS_STORE)
        self._bytes(f"__MACOSX/{name}/._.DS_Store", _APPLE_DOUBLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._zip.close()

    def text(self, member: str, text: str) -> None:
        """Write a text file."""
        self._bytes(f"{self._root}/{member}", text.encode())

    def array(self, member: str, array: Array) -> None:
        """Write an array as ``<member>.npy``."""
        name = f"{self._root}/{member}.npy"
        self._make_folders(name)
        with self._zip.open(name, "w") as file:
            np.lib.format.write_array(file, array, allow_pickle=False)
        folder, _, stem = member.rpartition("/")
        if stem.isdigit() and int(stem) % _JUNK_EVERY == 0:
            self._bytes(f"__MACOSX/{self._root}/{folder}/._{stem}.npy", _APPLE_DOUBLE)

    def _bytes(self, name: str, content: bytes) -> None:
        self._make_folders(name)
        # A ZipInfo carries no time, so that equal seeds give equal bytes.
        self._zip.writestr(zipfile.ZipInfo(name), content)

    def _make_folders(self, name: str) -> None:
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth]) + "/"
            if folder not in self._folders:
                self._folders.add(folder)
                self._zip.writestr(zipfile.ZipInfo(folder), b"")


Target = FolderTarget | ZipTarget

"""Small arrays, one chunk in one file: written and read whole."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import files, layout
from .chunk_codecs import ChunkError
from .chunks import ChunkReader, Scratch, damaged
from .folder import open_file
from .layout import ArrayLayout
from .metadata import array_document, group_document, to_json
from .shards import FileRecord

Records = dict[str, FileRecord]


def write_array(root: Path, array: ArrayLayout, values: NDArray[Any]) -> Records:
    """Write metadata and the one chunk of a small array; return its files.

    Parameters
    ----------
    values
        Values of the array, of its shape and dtype, in any memory and byte order.
    """
    records = write_metadata(root, array)
    if array.files:
        stored = np.ascontiguousarray(values.reshape(array.chunk), dtype=array.numpy_dtype)
        data = b"".join(array.codec.encode(stored))
        records[array.shard_path(0)] = write_file(root, array.shard_path(0), data)
    return records


def read_array(root: Path, array: ArrayLayout, folder: int | None = None) -> NDArray[Any]:
    """Read a small array whole: its dtype in native order, text as Python strings.

    Parameters
    ----------
    folder
        A descriptor of the store's folder, from which to find the file.

    Raises
    ------
    CorruptStoreError
        The chunk is missing or damaged.
    """
    out = np.empty(array.shape, array.numpy_dtype)
    if math.prod(array.shape):
        try:
            _read_chunk(root, array, folder, out)
        except (OSError, ChunkError) as error:
            raise damaged(root, array.shard_path(0), error) from None
    return out


def _read_chunk(root: Path, array: ArrayLayout, folder: int | None, out: NDArray[Any]) -> None:
    descriptor = open_file(root, array.shard_path(0), folder)
    try:
        span = 0, os.fstat(descriptor).st_size
        ChunkReader(array).read_into(descriptor, span, out, Scratch(least=0))
    finally:
        os.close(descriptor)


def write_metadata(root: Path, array: ArrayLayout) -> Records:
    """Write the metadata of an array, in a folder made for it; return its file."""
    path = f"{array.path}/{layout.METADATA}"
    files.make_folder(root / array.path)
    return {path: write_file(root, path, to_json(array_document(array)))}


def write_group(root: Path, path: str, attributes: Mapping[str, Any]) -> Records:
    """Write the metadata of a group ("" for the root), in a folder made for it; return its file."""
    name = f"{path}/{layout.METADATA}" if path else layout.METADATA
    files.make_folder(root / path)
    return {name: write_file(root, name, to_json(group_document(attributes)))}


def write_file(root: Path, name: str, data: bytes) -> FileRecord:
    """Write a whole file of the store durably; return its record."""
    files.write(root / name, data)
    return FileRecord(len(data), hashlib.sha256(data).hexdigest())

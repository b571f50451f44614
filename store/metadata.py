"""Zarr v3 metadata documents, made from layouts and read back strictly; and small arrays, one chunk in one file."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import files, layout
from .chunk_codecs import ChunkError, parse_configuration
from .chunks import ChunkReader, Scratch, damaged
from .layout import ArrayLayout
from .place import StoreVersion
from .read_only import read_only
from .schema import are_array_attributes
from .shards import FileRecord

_JSON = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
MAX_DECODED_BYTES = 1 << 31
"""A chunk, and the rows that share chunks, are smaller: metadata that says more is not believed."""
_INDEX_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
# All shards of an array lie in one folder: fewer folders to make durable, and to copy.
_KEYS = {"name": "default", "configuration": {"separator": "."}}


def to_json(document: Any) -> bytes:
    """Return the one way in which this format writes a JSON document: compact, sorted keys, a newline at the end."""
    return f"{_JSON.encode(document)}\n".encode()


def group_document(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a Zarr v3 group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}


def array_document(layout: ArrayLayout) -> dict[str, Any]:
    """Return the Zarr v3 metadata of an array."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(layout.shape),
        "data_type": layout.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(layout.shard or layout.chunk)}},
        "chunk_key_encoding": _KEYS,
        "fill_value": _fill(layout.fill_value),
        "codecs": _codecs(layout),
        "dimension_names": list(layout.dimensions),
        "storage_transformers": [],
        "attributes": dict(layout.attributes),
    }


def parse_array(path: str, document: Any, data: bytes = b"") -> ArrayLayout | None:
    """Return the layout that an array's metadata describes; None unless this format would write just that document.

    Parameters
    ----------
    data
        What the document was read from.
    """
    try:
        layout = _read_array(path, document)
        return layout if layout is not None and _is_same(array_document(layout), document, data) else None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None


def is_group(document: Any, data: bytes = b"") -> bool:
    """Return whether a document is just what this format would write of a group with its attributes; as above."""
    try:
        return _is_same(group_document(document["attributes"]), document, data)
    except (KeyError, TypeError, ValueError):
        return False


def _is_same(expected: dict[str, Any], document: Any, data: bytes) -> bool:
    """Compare documents as bytes: to Python, True and 1.0 are equal to 1."""
    written = to_json(expected)
    return written == data or written == to_json(document)


def _read_array(path: str, document: Any) -> ArrayLayout | None:
    outer = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
    codecs, chunk, shard = document["codecs"], outer, None
    if codecs[0]["name"] == "sharding_indexed":
        inner = codecs[0]["configuration"]
        codecs, chunk, shard = inner["codecs"], tuple(inner["chunk_shape"]), outer
    shape, dtype = tuple(document["shape"]), document["data_type"]
    draft = ArrayLayout(path, shape, dtype, (), chunk, shard, None)  # pyright: ignore[reportArgumentType]
    codec = parse_configuration(codecs, draft.numpy_dtype.itemsize)
    names = tuple(document["dimension_names"])
    if codec is None or (codec.compressor == "other" and shard is None) or not _fits(draft, names, codec.order):
        return None
    if not are_array_attributes(document["attributes"], draft):
        return None
    return ArrayLayout(path, shape, dtype, names, chunk, shard, codec, read_only(document["attributes"]))


def _fits(draft: ArrayLayout, names: tuple[Any, ...], order: tuple[int, ...]) -> bool:
    """Return whether a layout is sound, and one that this format makes."""
    sound = _is_sound(draft, names) and sorted(order) in ([], list(range(len(draft.shape))))
    return sound and draft.chunk_nbytes <= MAX_DECODED_BYTES and _is_cut_as_ours(draft)


def _is_sound(draft: ArrayLayout, names: tuple[Any, ...]) -> bool:
    steps = (*draft.chunk, *(draft.shard or ()))
    numbers = all(type(size) is int for size in (*draft.shape, *steps))
    axes = {len(draft.shape), len(draft.chunk), len(draft.shard or draft.chunk), len(names)}
    named = all(isinstance(name, str) for name in names) and draft.dtype in ("string", draft.numpy_dtype.name)
    return numbers and named and len(axes) == 1 and min(draft.shape, default=0) >= 0 and min(steps, default=1) >= 1


def _is_cut_as_ours(draft: ArrayLayout) -> bool:
    """Return whether small arrays are one chunk, and shards whole chunks of whole trials."""
    shape, chunk, shard = draft.shape, draft.chunk, draft.shard
    if shard is None:
        return chunk == tuple(max(1, size) for size in shape)
    whole = tuple(math.ceil(size / step) * step for size, step in zip(shape[1:], chunk[1:], strict=True))
    rows_fit = shard[0] % chunk[0] == 0 and draft.trial_nbytes * chunk[0] <= MAX_DECODED_BYTES
    return rows_fit and shard[1:] == whole


def _codecs(layout: ArrayLayout) -> list[dict[str, Any]]:
    chain = layout.codec.configuration(layout.numpy_dtype.itemsize)
    if layout.shard is None:
        return chain
    settings = {
        "chunk_shape": list(layout.chunk),
        "codecs": chain,
        "index_codecs": _INDEX_CODECS,
        "index_location": "end",
    }
    return [{"name": "sharding_indexed", "configuration": settings}]


def _fill(value: Any) -> Any:
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


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


def read_array(files: StoreVersion, array: ArrayLayout) -> NDArray[Any]:
    """Read a small array whole: its dtype in native order, text as Python strings.

    Raises
    ------
    CorruptStoreError
        The chunk is missing or damaged.
    """
    return read_arrays(files, [array])[0]


def read_arrays(files: StoreVersion, arrays: Sequence[ArrayLayout]) -> list[NDArray[Any]]:
    """Read small arrays, their files at the same time where that is quicker; errors as in `read_array`."""
    try:
        data = files.read_all([array.shard_path(0) for array in arrays if math.prod(array.shape)])
    except OSError as error:
        raise damaged(files.root, str(error.filename), error) from None
    return [_decoded(files.root, array, data.get(array.shard_path(0))) for array in arrays]


def _decoded(root: object, array: ArrayLayout, data: bytes | None) -> NDArray[Any]:
    out = np.empty(array.shape, array.numpy_dtype)
    if data is not None:
        try:
            ChunkReader(array).decode_into(memoryview(data), out, Scratch(least=0))
        except ChunkError as error:
            raise damaged(root, array.shard_path(0), error) from None
    return out


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

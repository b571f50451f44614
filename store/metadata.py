"""Zarr v3 metadata documents: made from layouts, and read back strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from .chunk_codecs import parse_configuration
from .layout import ArrayLayout

MAX_DECODED_BYTES = 1 << 31
"""A chunk, and the rows that share chunks, are smaller: metadata that says more is not believed."""
_INDEX_CODECS = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
# All shards of an array lie in one folder: fewer folders to make durable, and to copy.
_KEYS = {"name": "default", "configuration": {"separator": "."}}


def to_json(document: Any) -> bytes:
    """Return the one way in which this format writes a JSON document: compact, sorted keys, a newline at the end."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return (text + "\n").encode()


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


def parse_array(path: str, document: Any) -> ArrayLayout | None:
    """Return the layout that an array's metadata describes; None unless this format would write just that document."""
    try:
        layout = _read_array(path, document)
        return layout if layout is not None and array_document(layout) == document else None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None


def _read_array(path: str, document: Any) -> ArrayLayout | None:
    outer = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
    codecs, chunk, shard = document["codecs"], outer, None
    if codecs[0]["name"] == "sharding_indexed":
        inner = codecs[0]["configuration"]
        codecs, chunk, shard = inner["codecs"], tuple(inner["chunk_shape"]), outer
    shape, dtype = tuple(document["shape"]), document["data_type"]
    draft = ArrayLayout(path, shape, dtype, (), chunk, shard, None)  # pyright: ignore[reportArgumentType]
    codec = parse_configuration(codecs, draft.numpy_dtype.itemsize)
    if codec is None or len({len(shape), len(chunk), len(outer)}) != 1:
        return None
    if max(draft.chunk_nbytes, draft.trial_nbytes * chunk[0] if shard else 0) > MAX_DECODED_BYTES:
        return None
    return ArrayLayout(
        path, shape, dtype, tuple(document["dimension_names"]), chunk, shard, codec, document["attributes"]
    )


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

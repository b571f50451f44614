"""Chunks of codecs that this format does not name, decoded by zarr-python: any that it knows, slowly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# They make room for as many texts as a chunk says that it holds; and no recorded variable is text.
_OF_TEXTS = {"vlen-utf8", "vlen-bytes"}


def is_known(chain: Sequence[dict[str, Any]]) -> bool:
    """Return whether zarr-python knows all codecs of a chain, and they can be those of numbers."""
    from zarr.registry import get_codec_class

    try:
        found = [codec["name"] for codec in chain]
        named = bool(found) and all(isinstance(name, str) for name in found)
        return named and _OF_TEXTS.isdisjoint(found) and all(map(get_codec_class, found))
    except (KeyError, TypeError, ValueError):  # as zarr-python's version says it
        return False


def decode(chain: str, data: memoryview, out: NDArray[Any]) -> None:
    """Decode a chunk.

    Parameters
    ----------
    chain
        Zarr's metadata of the codecs, as JSON.
    data
        The bytes of the chunk.
    out
        Array of the chunk's shape, axes in the array's order; overwritten.

    Raises
    ------
    ValueError
        zarr-python cannot decode it.
    """
    import zarr
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    shape = list(out.shape)
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": out.dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": json.loads(chain),
        "attributes": {},
    }
    make = default_buffer_prototype().buffer.from_bytes
    key = ".".join(["c", *("0" for _ in shape)])
    store = MemoryStore({"zarr.json": make(json.dumps(document).encode()), key: make(bytes(data))})
    try:
        values: Any = zarr.open_array(store, mode="r")[...]
    except Exception as error:  # a codec may raise anything
        raise ValueError(f"zarr-python cannot decode it ({type(error).__name__}: {error})") from None
    out[...] = np.asarray(values)

"""Recorded variables as dask arrays: each block is decoded from its chunks when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..store.folder import StoreFolder
from ..store.layout import ArrayLayout
from .rows import read_rows

BLOCK_BYTES = 32 << 20
"""Decoded bytes that a block aims at: calls of dask then weigh little, and some blocks a core fit in any memory."""


def dask_array(
    folder: StoreFolder,
    array: ArrayLayout,
    rows: NDArray[np.int64],
    taken: tuple[int, NDArray[np.int64]] | None,
    token: str,
) -> Any:
    """Return some rows of a variable as a `dask.array.Array`.

    Parameters
    ----------
    rows
        Ascending, each once.
    taken
        An axis of the array and the positions to take along it; None for everything.
    token
        Names the result: dask computes equal names once.

    Notes
    -----
    A block is some whole trials; no stored chunk is split between two blocks.
    """
    import dask.array as da

    name, shape = f"{array.path}-{token}", list(array.shape[1:])
    if taken is not None:
        shape[taken[0] - 1] = len(taken[1])
    blocks = list(_blocks(array, rows.tolist()))
    origin = (0,) * len(shape)
    graph = {
        (name, number, *origin): (partial(_read_block, folder, array, block, taken),)
        for number, block in enumerate(blocks)
    }
    chunks = (tuple(len(block) for block in blocks), *((size,) for size in shape))
    return cast(Any, da.Array)(graph, name, chunks, dtype=array.numpy_dtype)


def _blocks(array: ArrayLayout, rows: list[int]) -> Iterator[list[int]]:
    """Cut rows into blocks, between rows that share no chunk."""
    block = list[int]()
    for place, row in enumerate(rows):
        shares = place > 0 and row // array.chunk[0] == rows[place - 1] // array.chunk[0]
        if block and not shares and (len(block) + 1) * array.trial_nbytes > BLOCK_BYTES:
            yield block
            block = []
        block.append(row)
    yield block


def _read_block(
    folder: StoreFolder, array: ArrayLayout, rows: list[int], taken: tuple[int, NDArray[np.int64]] | None
) -> NDArray[Any]:
    out = np.empty((len(rows), *array.shape[1:]), array.numpy_dtype)
    read_rows(folder, array, rows, out)
    return out if taken is None else np.take(out, taken[1], axis=taken[0])

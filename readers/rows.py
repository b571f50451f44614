"""Rows of a recorded variable, decoded from its shards: at once, or as blocks of dask arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import groupby
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..store.chunk_codecs import ChunkError
from ..store.chunks import damaged
from ..store.layout import ArrayLayout
from ..store.place import StorePlace
from ..store.shards import ShardReader
from .recording import Recording


def read_rows(
    place: StorePlace, array: ArrayLayout, rows: Sequence[int], out: NDArray[Any], part: Sequence[slice] | None = None
) -> None:
    """Decode some rows of a recorded variable.

    Parameters
    ----------
    place
        Where the store is.
    array
        Layout of the variable.
    rows
        Ascending, each once.
    out
        (len(rows), …) of the array's dtype, any memory order: the rows, or the part of each.
    part
        Slices of the axes after the first, with start and stop; everything by default. Chunks outside of it are not
        read.

    Raises
    ------
    CorruptStoreError
        The store was replaced since it was opened; or a shard is missing or damaged: it is named. Damage never reads
        as numbers: every chunk has a checksum.

    Notes
    -----
    Holds one chunk, and one group of rows where trials share a chunk.
    """
    part = part or [slice(0, size) for size in array.shape[1:]]
    assert array.shard is not None
    with closing(place.open()) as files:
        for number, places in _grouped(rows, array.shard[0]):
            try:
                with ShardReader(files, array, number) as shard:
                    _read_shard(shard, [rows[place] for place in places], out[places.start : places.stop], part)
            except (ChunkError, OSError) as error:
                raise damaged(place.root, array.shard_path(number), error) from None


def read_trial(recording: Recording, name: str, row: int) -> NDArray[Any]:
    """Read one trial of a variable, cut at its valid length; errors as in `read_rows`."""
    array, axis = recording.arrays[name], recording.variable(name).frame_axis
    sizes = list(array.shape[1:])
    if axis is not None and recording.n_frames is not None:
        sizes[axis] = int(recording.n_frames[row])
    out = np.empty((1, *sizes), array.numpy_dtype)
    read_rows(recording.place, array, [row], out, [slice(0, size) for size in sizes])
    return out[0]


def _read_shard(shard: ShardReader, rows: Sequence[int], out: NDArray[Any], part: Sequence[slice]) -> None:
    step = shard.layout.chunk[0]
    for group, places in _grouped(rows, step):
        first, chosen = group * step, [rows[place] for place in places]
        target = out[places.start : places.stop]
        count = chosen[-1] - first + 1
        if count == len(chosen):
            shard.read_group(first, target, part)
        else:
            whole = np.empty((count, *target.shape[1:]), target.dtype)
            shard.read_group(first, whole, part)
            target[...] = whole[[row - first for row in chosen]]


def _grouped(rows: Sequence[int], step: int) -> Iterator[tuple[int, range]]:
    """Yield, for each run of rows with equal row // step, that number and the places of the run."""
    for number, run in groupby(range(len(rows)), key=lambda place: rows[place] // step):
        places = list(run)
        yield number, range(places[0], places[-1] + 1)


BLOCK_BYTES = 32 << 20
"""Decoded bytes that a block aims at: calls of dask then weigh little, and some blocks a core fit in any memory."""


def dask_array(
    place: StorePlace,
    array: ArrayLayout,
    rows: NDArray[np.int64],
    taken: tuple[int, NDArray[np.int64]] | None,
    token: str,
) -> Any:
    """Return some rows of a variable as a `dask.array.Array`.

    Parameters
    ----------
    rows
        In any order; each as often as it is wanted.
    taken
        An axis of the array and the positions to take along it; None for everything.
    token
        Names the result: dask computes equal names once.

    Notes
    -----
    A block is some whole trials; of ascending rows, no stored chunk is split between two blocks.
    """
    import dask.array as da

    from .dask_pools import survive_forks

    survive_forks()
    name, shape = f"{array.path}-{token}", list(array.shape[1:])
    if taken is not None:
        shape[taken[0] - 1] = len(taken[1])
    blocks = list(_blocks(array, rows.tolist()))
    origin = (0,) * len(shape)
    graph = {
        (name, number, *origin): (partial(_read_block, place, array, block, taken),)
        for number, block in enumerate(blocks)
    }
    chunks = (tuple(len(block) for block in blocks), *((size,) for size in shape))
    return cast(Any, da.Array)(graph, name, chunks, dtype=array.numpy_dtype)


def _blocks(array: ArrayLayout, rows: list[int]) -> Iterator[list[int]]:
    """Cut rows into blocks; not between ascending rows that share a chunk, of which there is an end."""
    block = list[int]()
    for place, row in enumerate(rows):
        before = rows[place - 1] if place else row
        shares = before < row and row // array.chunk[0] == before // array.chunk[0]
        if block and not shares and (len(block) + 1) * array.trial_nbytes > BLOCK_BYTES:
            yield block
            block = []
        block.append(row)
    yield block


def _read_block(
    place: StorePlace, array: ArrayLayout, rows: list[int], taken: tuple[int, NDArray[np.int64]] | None
) -> NDArray[Any]:
    ascending, places = np.unique(rows, return_inverse=True)
    out = np.empty((len(ascending), *array.shape[1:]), array.numpy_dtype)
    read_rows(place, array, ascending.tolist(), out)
    found = out if taken is None else np.take(out, taken[1], axis=taken[0])
    return found if np.array_equal(ascending, rows) else found[places]

"""Rows of a recorded variable, decoded from its shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store.chunk_codecs import ChunkError
from ..store.chunks import damaged
from ..store.folder import StoreFolder
from ..store.layout import ArrayLayout
from ..store.shards import ShardReader


def read_rows(
    folder: StoreFolder, array: ArrayLayout, rows: Sequence[int], out: NDArray[Any], part: Sequence[slice] | None = None
) -> None:
    """Decode some rows of a recorded variable.

    Parameters
    ----------
    folder
        Folder of the store.
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
    with folder.opened() as descriptor:
        for number, places in _grouped(rows, array.shard[0]):
            try:
                with ShardReader(folder.root, array, number, descriptor) as shard:
                    _read_shard(shard, [rows[place] for place in places], out[places.start : places.stop], part)
            except (ChunkError, OSError) as error:
                raise damaged(folder.root, array.shard_path(number), error) from None


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

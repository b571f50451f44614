"""Some trials of a variable at once, as a numpy array, by the direct path and on all cores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store import Problem, ResourceError, StoreIndex, layout
from ..store.space import bytes_text
from ..store.tasks import Threads, available_cores, available_memory
from .direct import MAX_THREADS, Frames, Scratch, StoreFiles, StreamedVariable
from .recording import Recording


def read_array(
    index: StoreIndex, recording: Recording, name: str, rows: NDArray[np.int64], neurons: NDArray[np.int64] | None
) -> NDArray[Any]:
    """Read some trials of a recorded variable, padding included.

    Parameters
    ----------
    rows
        (n,) in any order, each as often as it is wanted.
    neurons
        Positions, likewise; None for all, and for variables without neurons.

    Returns
    -------
    ndarray
        (n, …) with the axes and dtype of the array. In memory the axes lie as in the store's chunks.

    Raises
    ------
    ResourceError
        The system does not have the memory for it.
    CorruptStoreError
        What is needed is damaged or missing, or the store was replaced since it was opened.
    """
    array = recording.arrays[name]
    files = StoreFiles(index)
    with files.asking_for_indexes([name]):
        source = StreamedVariable(recording, name, files, neurons, dtype=array.numpy_dtype)
    sizes = dict(zip(array.dimensions, array.shape, strict=True))
    frames = Frames(0, sizes.get(layout.FRAME, 1))
    out = _allocate(recording, name, (len(rows), *source.shape(frames.number)), array.numpy_dtype)
    threads, groups = Threads(min(MAX_THREADS, available_cores())), _groups(rows, source.rows_per_chunk)
    threads.run(partial(_read, files, source, rows, groups[part], frames, out) for part in threads.split(len(groups)))
    return out.transpose(0, *(1 + source.axes.index(axis) for axis in array.dimensions[1:]))


def _groups(rows: NDArray[np.int64], step: int) -> list[list[int]]:
    """Return the places of rows that are read together: those that share a chunk, whatever their order."""
    if step == 1:
        return [[place] for place in range(len(rows))]
    groups = dict[int, list[int]]()
    for place, row in enumerate(rows.tolist()):
        groups.setdefault(row // step, []).append(place)
    return list(groups.values())


def _read(
    files: StoreFiles,
    source: StreamedVariable,
    rows: NDArray[np.int64],
    groups: Sequence[list[int]],
    frames: Frames,
    out: NDArray[Any],
) -> None:
    scratch = Scratch()
    wanted = (span for places in groups for span in source.chunks(int(rows[places[0]]), frames))
    with files.asking_for(wanted):
        for places in groups:
            source.read_group(rows[places].tolist(), frames, [out[place, ...] for place in places], scratch)


def _allocate(recording: Recording, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return memory; before it is filled, the system kills who asks for more than there is, or gives an error."""
    nbytes, available = math.prod(shape) * dtype.itemsize, available_memory()
    if available is not None and nbytes > available:
        what = f"{name} of {shape[0]} trials take {bytes_text(nbytes)} of memory; {bytes_text(available)} are available"
        raise ResourceError(Problem(recording.label, what, "choose fewer trials or neurons, or a lazy array of dask"))
    return np.empty(shape, dtype)

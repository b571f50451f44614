"""The files that a mouse was published as, made again from its store, and written in any container of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....readers import Mouse, train_statistics
from ....readers.recording import recording_of
from ....readers.statistics_files import check_format, in_published_axes, public_pickle
from ....readers.trial_statistics import has_statistics
from ....store import StoreIndex, layout
from ....store.chunk_codecs import flat_bytes
from ....store.integrity import intact_rows
from ....store.layout import ArrayLayout
from ....store.metadata import to_json
from ....store.tasks import Progress, Threads, Workers
from ...npy import as_published, header_bytes, narrowed
from ...schema import SCHEMA_FILE
from ..format import EXPORTING, Option, WriteSettings
from .names import CONFIG, ROUNDED, STATISTICS_PICKLE, trial_file

STATISTICS_PICKLE_OPTION = Option(
    "statistics_pkl", f"Add {STATISTICS_PICKLE}: the train statistics as the public pipeline reads them."
)


@dataclass(frozen=True)
class PublishedFile:
    """One file of the tree.

    Attributes
    ----------
    name
        Below the mouse's folder, such as ``data/responses/17.npy``.
    parts
        Its bytes, one part behind another; valid until the next file is asked for.
    """

    name: str
    parts: tuple[memoryview, ...]

    @property
    def nbytes(self) -> int:
        """Its size."""
        return sum(part.nbytes for part in self.parts)


class PublishedTree:
    """The files that a mouse was published as.

    Parameters
    ----------
    index
        Index of the mouse's store.
    extra
        Further files.

    Attributes
    ----------
    index
        As given.

    Notes
    -----
    Arrays of a store of precision ``source`` are those of the source: dtype and byte order, shape, memory order, every
    bit of every value. The trials of other stores, and of variables that were rounded, have the values that the store
    holds, as float32.
    """

    def __init__(self, index: StoreIndex, extra: Sequence[PublishedFile] = ()) -> None:
        self.index, self._extra = index, extra
        self._recording = recording_of(index)

    @property
    def mouse(self) -> str:
        """Name of the mouse, and of its folder."""
        return self.index.attributes[layout.A_MOUSE]

    @property
    def extent(self) -> tuple[int, int]:
        """Bytes of all arrays, about, and how many files there are."""
        recorded = self.index.recorded
        small = [array for array in self.index.arrays.values() if layout.A_SOURCE_NAME in array.attributes]
        others = len(small) + len(self._extra) + len(self._texts)
        trials = len(recorded) * len(self._recording.trial_ids)
        lacking = sum(int(rows.sum()) for rows in self._recording.lacking.values())
        return sum(array.nbytes for array in (*recorded, *small)), trials - lacking + others

    @property
    def worker_memory(self) -> int:
        """Bytes that making the trials of one shard holds at most: a group of rows, one trial, and a chunk."""
        arrays = self.index.recorded
        return max(array.trial_nbytes * (array.chunk[0] + 1) + 2 * array.chunk_nbytes for array in arrays)

    @property
    def shards(self) -> list[tuple[ArrayLayout, int]]:
        """All shards: each is the trials of one variable that are read together."""
        return [(array, number) for array in self.index.recorded for number in range(array.files)]

    def small(self) -> Iterator[PublishedFile]:
        """Yield all files but those of trials."""
        yield from self._extra
        for name, text in self._texts.items():
            yield PublishedFile(name, (memoryview(text.encode()),))
        for array in self.index.arrays.values():
            name = array.attributes.get(layout.A_SOURCE_NAME)
            if name is None:
                continue
            values = self.index.small(array.path)
            if array.path.startswith(f"{layout.FILES}/"):
                yield PublishedFile(name, (flat_bytes(values),))
            else:
                descr, fortran = array.attributes[layout.A_SOURCE_DTYPE], array.attributes[layout.A_SOURCE_FORTRAN]
                yield _npy(name, as_published(values, descr), descr, fortran=fortran)

    def files(self) -> Iterator[PublishedFile]:
        """Yield all files, in the order of the store."""
        yield from self.small()
        for array, number in self.shards:
            yield from self.trials(array, number)

    def trials(self, array: ArrayLayout, number: int) -> Iterator[PublishedFile]:
        """Yield the files of the trials of a shard.

        Raises
        ------
        CorruptStoreError
            The shard is damaged, or holds other values than were packed.
        """
        recording, buffer = self._recording, _Buffer()
        variable, lacking = recording.variable(array.path), recording.lacking.get(array.path)
        for row, values in intact_rows(self.index, array, number):
            if lacking is not None and lacking[row]:
                continue
            descr, fortran = _header(array, row)
            name = trial_file(variable.name, int(recording.trial_ids[row]))
            if recording.n_file_frames is not None:
                values = values[recording.file_part(variable, row)]
            yield _npy(name, in_published_axes(variable, values), descr, fortran=fortran, buffer=buffer)

    @property
    def _texts(self) -> dict[str, str]:
        """Name -> content of the files beside ``data`` and ``meta``."""
        texts = {CONFIG: self.index.attributes[layout.A_CONFIG], SCHEMA_FILE: self.index.attributes[layout.A_SCHEMA]}
        return {name: text for name, text in texts.items() if text is not None}


class _Buffer:
    """Memory for one trial in the order of its file, used again and again."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        nbytes = int(np.prod(shape)) * dtype.itemsize
        if self._memory.nbytes < nbytes:
            self._memory = np.empty(nbytes, np.uint8)
        return self._memory[:nbytes].view(dtype).reshape(shape)


def _header(array: ArrayLayout, row: int) -> tuple[str, bool]:
    """Return dtype and memory order of a trial's file; values that were rounded to float32 stay such."""
    of_row = array.attributes.get(layout.A_HEADER_OF_ROW)
    descr, fortran = array.attributes[layout.A_HEADERS][of_row[row] if of_row else 0]
    return narrowed(descr, array.numpy_dtype), fortran


def _npy(name: str, values: NDArray[Any], descr: str, *, fortran: bool, buffer: _Buffer | None = None) -> PublishedFile:
    header = header_bytes(descr, values.shape, fortran_order=fortran)
    # In the order of the file, first axis slowest.
    laid = values.T if fortran else values
    if not laid.flags.c_contiguous or laid.dtype != np.dtype(descr):
        out = (buffer or _Buffer()).array(laid.shape, np.dtype(descr))
        np.copyto(out, laid, casting="same_kind")
        laid = out
    return PublishedFile(name, (memoryview(header), flat_bytes(laid)))


Container = Callable[[PublishedTree, Path, Workers, Progress], None]
"""Writes all files of a tree to a path, with the help of workers where it can."""


def write_published(container: Container, mouse: Mouse, path: Path, settings: WriteSettings) -> None:
    """Write the published files of a mouse, and those that an export adds; see `Format.write`."""
    extra = list[PublishedFile]()
    if settings.options[STATISTICS_PICKLE_OPTION.name]:
        extra.append(_statistics_file(mouse, settings.progress))
    bounds = {name: bound.document for name, bound in mouse.index.bounds.items()}
    if bounds:
        extra.append(PublishedFile(ROUNDED, (memoryview(to_json({layout.A_MAX_ERROR: bounds})),)))
    tree = PublishedTree(mouse.index, extra)
    settings.progress.start(EXPORTING, *tree.extent)
    workers = settings.cluster or Threads(settings.workers, "trialpack-export")
    container(tree, path, workers, settings.progress)


def check_published(mouse: Mouse, options: Mapping[str, Any]) -> None:
    """Check that the public pipeline has statistics of such a mouse, if they are wanted; see `Format.check`."""
    if options[STATISTICS_PICKLE_OPTION.name]:
        check_format(mouse.recording.variables, Path(STATISTICS_PICKLE), f"export without {STATISTICS_PICKLE}")


def _statistics_file(mouse: Mouse, progress: Progress) -> PublishedFile:
    found = mouse.statistics if has_statistics(mouse.index) else train_statistics(mouse, progress=progress)
    return PublishedFile(STATISTICS_PICKLE, (memoryview(public_pickle(found)),))

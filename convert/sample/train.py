"""Statistics of the train trials, as published beside a recording."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...readers.reductions import Summary
from ...readers.reductions.exact_median import count_digits, median_by_bits
from ...readers.reductions.in_memory import reduce_trials
from ...readers.reductions.moments import moments_of, no_moments
from ...readers.reductions.summary import empty

Array = NDArray[Any]
_SPOOL_BYTES = 64 << 20
_BLOCK_BYTES = 16 << 20
_DTYPE = np.dtype(np.float32)


class TrainTrials:
    """The train trials of one variable as float32, one after the other in a spooled temporary file."""

    def __init__(self, shape: tuple[int, ...], folder: Path) -> None:
        self._shape = shape
        self._size = math.prod(shape)
        self._count = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=str(folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def append(self, array: Array) -> None:
        """Add a trial."""
        self._file.write(array.astype(np.float32).tobytes())
        self._count += 1

    def per_value(self) -> dict[str, Array]:
        """Return the statistics over trials, each of the shape of a trial."""
        if self._count == 0:
            return _published(empty(self._shape, _DTYPE))
        step = max(_BLOCK_BYTES // (4 * self._count), 1)
        blocks = (self._block(start, step) for start in range(0, self._size, step))
        parts = [_published(reduce_trials(block, frames=False)[0]) for block in blocks]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return {name: values.reshape(self._shape) for name, values in joined.items()}

    def overall(self) -> dict[str, Array]:
        """Return the statistics over trials and pixels, each 0-d."""
        if self._count == 0:
            return _published(empty((), _DTYPE))
        known, ends = no_moments(()), list[Array]()
        for values in self._pieces():
            known = known.merge(moments_of(values.astype(np.float64), None, np.array(values.size)))
            ends += [values.min(), values.max()]
        median = np.asarray(median_by_bits(_DTYPE, int(known.count), self._count_digits))
        low, high = np.asarray(min(ends)), np.asarray(max(ends))
        return _published(Summary(known.count, low, high, known.mean, median, known.std))

    def _count_digits(self, depth: int, prefix: int) -> NDArray[np.int64]:
        return np.sum([count_digits(values, depth, prefix) for values in self._pieces()], axis=0)

    def _block(self, start: int, step: int) -> Array:
        """One range of values of every trial, ``(n_trials, n_values)``."""
        block = np.empty((self._count, min(step, self._size - start)), np.float32)
        for row in range(self._count):
            self._file.seek(4 * (row * self._size + start))
            block[row] = np.frombuffer(self._file.read(block[row].nbytes), np.float32)
        return block

    def _pieces(self) -> Iterator[Array]:
        self._file.seek(0)
        while data := self._file.read(_BLOCK_BYTES):
            yield np.frombuffer(data, np.float32)


def _published(found: Summary) -> dict[str, Array]:
    """Return statistics as they are published: float32, standard deviations with ddof 1."""
    values = {"mean": found.mean, "std": found.unbiased_std, "min": found.min, "max": found.max, "median": found.median}
    return {name: np.asarray(one, _DTYPE) for name, one in values.items()}

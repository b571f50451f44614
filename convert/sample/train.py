"""Statistics of the train trials, as published beside a recording."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_SPOOL_BYTES = 64 << 20
_BLOCK_BYTES = 16 << 20
_BINS = 1 << 16  # of the values 0 to 256, to find a median of many values in two passes


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
        """Statistics over trials, each of the shape of a trial."""
        step = max(_BLOCK_BYTES // (4 * max(self._count, 1)), 1)
        parts = [_over_trials(self._block(start, step)) for start in range(0, self._size, step)]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return {name: values.reshape(self._shape) for name, values in joined.items()}

    def overall(self) -> dict[str, Array]:
        """Statistics over trials and pixels, each 0-d; values lie in 0 to 256."""
        n = self._count * self._size
        if n == 0:
            return dict.fromkeys(("mean", "std", "min", "max", "median"), np.array(np.nan, np.float32))
        total, squares, low, high = 0.0, 0.0, math.inf, -math.inf
        histogram = np.zeros(_BINS, np.int64)
        for values in self._pieces():
            histogram += np.bincount(_bin(values), minlength=_BINS)
            total += float(values.sum(dtype=np.float64))
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        for values in self._pieces():
            squares += float(np.square(values - total / n, dtype=np.float64).sum())
        std = math.sqrt(squares / max(n - 1, 1))
        found = {"mean": total / n, "std": std, "min": low, "max": high, "median": self._median(histogram)}
        return {name: np.array(value, np.float32) for name, value in found.items()}

    def _median(self, histogram: Array) -> float:
        upto = np.cumsum(histogram)
        ranks = np.array([(upto[-1] - 1) // 2, upto[-1] // 2])
        first, last = np.searchsorted(upto, ranks, side="right")
        middle = [values[(_bin(values) >= first) & (_bin(values) <= last)] for values in self._pieces()]
        return float(np.sort(np.concatenate(middle))[ranks - (upto[first] - histogram[first])].mean(dtype=np.float64))

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


def _bin(values: Array) -> NDArray[np.intp]:
    return (values * np.float32(_BINS / 256)).astype(np.intp)


def _over_trials(block: Array) -> dict[str, Array]:
    """Statistics of ``(n_trials, n_values)`` over trials, without NaN; NaN where nothing is left."""
    if block.shape[0] == 0:
        block = np.full((1, block.shape[1]), np.nan, np.float32)
    ordered = np.sort(block, axis=0)  # NaN last
    n = np.count_nonzero(~np.isnan(ordered), axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(block, axis=0, dtype=np.float64) / n
        squares = np.nansum(np.square(block - mean, dtype=np.float64), axis=0)
        std = np.sqrt(squares / np.maximum(n - 1, 0))
    ranks = np.maximum([np.zeros_like(n), (n - 1) // 2, n // 2, n - 1], 0)
    low, left, right, high = np.take_along_axis(ordered, ranks, axis=0)
    found = {"mean": mean, "std": std, "min": low, "max": high, "median": left / 2 + right / 2}
    return {name: values.astype(np.float32) for name, values in found.items()}

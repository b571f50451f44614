"""What one thread reads chunks with: memory that is used again for every chunk, and a count of what was done."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .chunk_codecs import CHECKSUM_BYTES

_LEAST = 1 << 22
"""Bytes from which on numpy asks the system for huge pages."""

Step = Literal["read_seconds", "decode_seconds", "copy_seconds"]


@dataclass
class Tally:
    """What reading took.

    Attributes
    ----------
    bytes_read
        Bytes read from files.
    bytes_decoded
        Bytes that chunks were decoded to.
    read_seconds, decode_seconds, copy_seconds
        In reads; in checksums and decoders; in copying to the batch, conversion and normalization. Of all threads.
    """

    bytes_read: int = 0
    bytes_decoded: int = 0
    read_seconds: float = 0.0
    decode_seconds: float = 0.0
    copy_seconds: float = 0.0

    def add(self, other: Tally) -> None:
        """Add what another one counted."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @contextmanager
    def timed(self, step: Step) -> Generator[None]:
        """Count the seconds of a block of code."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, step, getattr(self, step) + time.perf_counter() - begun)


def scratch_nbytes(stored: int, chunk: int) -> int:
    """Return the bytes that a `Scratch` takes, given those of the largest chunk, stored and decoded."""
    return max(stored, _LEAST) + max(chunk, _LEAST)


class Scratch:
    """Memory of one thread, for the bytes of a chunk and for its values.

    Parameters
    ----------
    least
        Bytes that are asked of the system at once: many for reading all day long, none for reading a few chunks.

    Attributes
    ----------
    tally
        What was done with it.
    checksum
        4-byte buffer for a checksum.
    """

    def __init__(self, least: int = _LEAST) -> None:
        self.tally, self._least = Tally(), least
        self.checksum = memoryview(bytearray(CHECKSUM_BYTES))
        self._stored = np.empty(0, np.uint8)
        self._chunk = np.empty(0, np.uint8)

    def stored(self, nbytes: int) -> memoryview:
        """Return memory for bytes as they are stored; its content lasts until the next call."""
        if self._stored.nbytes < nbytes:
            self._stored = np.empty(max(nbytes, self._least), np.uint8)
        return self._stored.data[:nbytes]

    def chunk(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return memory for a decoded chunk; its content lasts until the next call."""
        if dtype.hasobject:
            return np.empty(shape, dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        if self._chunk.nbytes < nbytes:
            self._chunk = np.empty(max(nbytes, self._least), np.uint8)
        return self._chunk[:nbytes].view(dtype).reshape(shape)

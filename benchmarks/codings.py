"""Ways to turn chunks into bytes, those of the format and others, and a file of chunks to read them back from."""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numcodecs import blosc, zstd
from numpy.typing import NDArray
from trialpack.store.chunk_codecs import ChunkCodec, Compressor, check, seal
from trialpack.store.chunks import read_exactly
from trialpack.store.compressors import COMPRESSORS, PCODEC_LEVEL, Blosc
from trialpack.store.folder import LocalFile

Array = NDArray[Any]
Shuffle = Literal["", "byte", "bit"]
_SHUFFLES: Mapping[str, Shuffle] = {"noshuffle": "", "shuffle": "byte", "bitshuffle": "bit"}


@dataclass(frozen=True)
class Coding:
    """A compressor and its settings; every chunk has a checksum behind it, as in the format.

    Attributes
    ----------
    name
        ``none``, ``lz4`` and ``zstd`` (within blosc), ``plain zstd``, ``pcodec``.
    """

    name: Literal["none", "lz4", "zstd", "plain zstd", "pcodec"]
    level: int = 0
    shuffle: Shuffle = ""

    @property
    def label(self) -> str:
        """As it stands in the tables."""
        level = f"{self.name}-{self.level}" if self.level else self.name
        return level + {"": "", "byte": " shuffle", "bit": " bitshuffle"}[self.shuffle]

    @property
    def of_format(self) -> Compressor | None:
        """The format's name of exactly this; None where the format does not have it."""
        known: dict[Coding, Compressor] = {Coding("none"): "none", Coding("pcodec", PCODEC_LEVEL): "pcodec"}
        known |= {
            Coding(one.name, one.level, _SHUFFLES[one.shuffle]): name
            for name, one in COMPRESSORS.items()
            if isinstance(one, Blosc)
        }
        return known.get(self)

    def encode(self, stored: Array) -> bytes:
        """Return the bytes of a C-contiguous chunk, checksum last."""
        if self.of_format:
            return b"".join(ChunkCodec(self.of_format).encode(stored))
        if self.name == "plain zstd":
            return seal(zstd.compress(stored, self.level))
        shuffle = {"": blosc.NOSHUFFLE, "byte": blosc.SHUFFLE, "bit": blosc.BITSHUFFLE}[self.shuffle]
        return seal(blosc.compress(stored, self.name.encode(), self.level, shuffle, 0))

    def decode(self, chunk: memoryview, out: Array) -> None:
        """Check the bytes of a chunk and decode them into a C-contiguous array."""
        if self.name == "plain zstd":
            zstd.decompress(check(chunk), out)
        else:  # a blosc buffer says itself how it was made
            ChunkCodec(self.name).decode(chunk, out)


@dataclass(frozen=True)
class Chunks:
    """All chunks of a variable, encoded.

    Attributes
    ----------
    shape, dtype
        Of a chunk as it is stored, decoded.
    seconds
        Of one core, for encoding all.
    """

    encoded: list[bytes]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    seconds: float

    @property
    def stored(self) -> int:
        """Encoded bytes."""
        return sum(map(len, self.encoded))

    @property
    def raw(self) -> int:
        """Decoded bytes."""
        return len(self.encoded) * math.prod(self.shape) * self.dtype.itemsize


def encode_all(coding: Coding, chunks: Sequence[Array]) -> Chunks:
    """Encode chunks of one shape, outside of the main thread: there blosc uses threads of its own."""

    def work() -> Chunks:
        begun = time.thread_time()
        encoded = [coding.encode(chunk) for chunk in chunks]
        return Chunks(encoded, chunks[0].shape, chunks[0].dtype, time.thread_time() - begun)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def decode_seconds(coding: Coding, variables: Collection[Chunks], least: float) -> float:
    """Return the seconds in which one core decodes all chunks, the best of as many turns as fit into `least`."""
    parts = [(chunks.encoded, np.zeros(chunks.shape, chunks.dtype)) for chunks in variables]

    def work() -> float:
        best, end = float("inf"), time.perf_counter() + least
        while time.perf_counter() < end:
            begun = time.perf_counter()
            for encoded, out in parts:
                for chunk in encoded:
                    coding.decode(memoryview(chunk), out)
            best = min(best, time.perf_counter() - begun)
        return best

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


class ChunkFile:
    """Chunks of several variables in one file, in the place of shards.

    Parameters
    ----------
    copies
        How often everything is written, so that a small sample is read as a large recording is: not from the cache
        of the processor.
    """

    def __init__(self, coding: Coding, variables: Mapping[str, Chunks], *, copies: int, folder: Path) -> None:
        self._coding, self._variables, self._local = coding, variables, threading.local()
        self._longest = max(len(chunk) for chunks in variables.values() for chunk in chunks.encoded)
        self._file = cast(IO[bytes], tempfile.TemporaryFile(dir=folder))
        self._spans: dict[str, list[tuple[int, int]]] = {name: [] for name in variables}
        for name, chunks in [*variables.items()] * copies:
            for chunk in chunks.encoded:
                self._spans[name].append((self._file.tell(), len(chunk)))
                self._file.write(chunk)
        self._file.flush()
        self._opened = LocalFile(self._file.fileno())

    def __enter__(self) -> ChunkFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, name: str, number: int, out: Array) -> None:
        """Read, check and decode one chunk into a C-contiguous array."""
        self._coding.decode(self._bytes(name, number), out)

    def decoded(self, name: str, number: int) -> Array:
        """Read, check and decode one chunk into memory of this thread, which its next call overwrites."""
        chunk, kind = self._bytes(name, number), self._variables[name]
        if self._coding.name == "none":
            return np.frombuffer(check(chunk), kind.dtype).reshape(kind.shape)
        out = self._scratch(name, kind.shape, kind.dtype)
        self._coding.decode(chunk, out)
        return out

    def _bytes(self, name: str, number: int) -> memoryview:
        offset, size = self._spans[name][number]
        chunk = self._scratch("bytes", (self._longest,), np.dtype(np.uint8)).data[:size]
        read_exactly(self._opened, chunk, offset)
        return chunk

    def _scratch(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        kept = vars(self._local)
        if name not in kept:
            kept[name] = np.zeros(shape, dtype)
        return kept[name]

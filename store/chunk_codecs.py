"""From an array's chunk to bytes and back: axis order, codec, checksum.

A chunk is stored as Zarr v3 stores it: ``transpose`` (if the axes are reordered), ``bytes``, a compressor (if any),
``crc32c``. This module makes and reads exactly those bytes without zarr-python's array layer, straight from and into
memory that the caller owns. Compression and checksums release the GIL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from awscrt import checksums
from numpy.typing import NDArray

from .compressors import COMPRESSORS, Chain, ChunkError, Codec, flat_bytes, parse_chain

__all__ = [
    "CHECKSUM_BYTES",
    "ChunkCodec",
    "ChunkError",
    "Compressor",
    "check",
    "check_joint",
    "flat_bytes",
    "parse_configuration",
    "seal",
]

Compressor = str
"""A name in `COMPRESSORS`."""

CHECKSUM_BYTES = 4
# Of any buffer, whatever its types say; of a chunk in cache three times as fast as the package `crc32c`.
_crc32c = cast("Callable[[memoryview, int], int]", checksums.crc32c)
_CHECKSUM: dict[str, Any] = {"name": "crc32c"}


@dataclass(frozen=True)
class ChunkCodec:
    """How one array turns a chunk into bytes.

    Attributes
    ----------
    compressor
        Name of the codec in `COMPRESSORS`.
    order
        The chunk's axes in the order in which they are stored, as in Zarr's ``transpose``; empty for C order.
    chain
        Settings of the codec; only ``other`` has any: Zarr's metadata of its codecs, as JSON.
    """

    compressor: Compressor
    order: tuple[int, ...] = ()
    chain: str = ""

    @property
    def codec(self) -> Codec:
        """The codec between axis order and checksum."""
        return COMPRESSORS[self.compressor].with_settings(self.chain)

    @property
    def uncompressed(self) -> bool:
        """Whether the bytes of a chunk, checksum aside, are those of its values."""
        return COMPRESSORS[self.compressor].uncompressed

    def supports(self, dtype: np.dtype[Any]) -> bool:
        """Return whether values of a dtype can be encoded."""
        return self.codec.supports(dtype)

    def stored_shape(self, chunk: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a chunk with its axes as they are stored."""
        return tuple(chunk[axis] for axis in self.order) if self.order else chunk

    def stored_view(self, chunk: NDArray[Any]) -> NDArray[Any]:
        """Return a view of a chunk with its axes as they are stored."""
        return chunk.transpose(self.order) if self.order else chunk

    def logical_view(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return a view of a stored chunk with its axes in the array's order."""
        return stored.transpose(np.argsort(self.order)) if self.order else stored

    def encode(self, stored: NDArray[Any]) -> list[memoryview]:
        """Return the bytes of a chunk, checksum last.

        Parameters
        ----------
        stored
            The chunk, C-contiguous and little-endian, its axes as they are stored (see `stored_view`).

        Notes
        -----
        Run it outside the main thread: there blosc compresses with threads of its own, and bytes differ from run to
        run.
        """
        data = self.codec.encode(stored)
        return [data, memoryview(_crc32c(data, 0).to_bytes(CHECKSUM_BYTES, "little"))]

    def decode(self, data: memoryview, out: NDArray[Any]) -> None:
        """Check the bytes of a chunk and decode them.

        Parameters
        ----------
        data
            All bytes of the chunk, with the checksum.
        out
            C-contiguous, axes as they are stored; overwritten.

        Raises
        ------
        ChunkError
            The checksum differs, or the bytes do not hold exactly one such chunk.
        """
        self.codec.decode(check(data), out)

    def configuration(self, itemsize: int) -> Chain:
        """Return Zarr's metadata of the codec chain.

        Parameters
        ----------
        itemsize
            Bytes of one value.
        """
        transpose = [_transpose(self.order)] if self.order else []
        return [*transpose, *self.codec.configuration(itemsize), _CHECKSUM]


def check(data: memoryview) -> memoryview:
    """Return the bytes before the trailing checksum.

    Raises
    ------
    ChunkError
        The checksum differs.
    """
    end = data.nbytes - CHECKSUM_BYTES
    if end < 0:
        raise ChunkError(f"expected at least {CHECKSUM_BYTES} bytes, found {data.nbytes}")
    payload = data[:end]
    _compare((payload,), int.from_bytes(data[end:], "little"))
    return payload


def _compare(parts: Iterable[memoryview], stored: int) -> None:
    found = 0
    for part in parts:
        found = _crc32c(part, found)
    if found != stored:
        raise ChunkError(f"checksum differs (expected {stored:08x}, found {found:08x})")


def check_joint(parts: Iterable[memoryview], nbytes: int, checksums: memoryview) -> None:
    """Compare the values of chunks of one size, one behind another, with the checksums that stood behind each.

    Parameters
    ----------
    parts
        The values, which may lie in several places.
    nbytes
        Bytes of the values of a chunk.

    Raises
    ------
    ChunkError
        One differs.

    Notes
    -----
    One call then does what several would. A CRC is linear: when n bytes follow, it becomes the exclusive or of what
    becomes of each of its bits, and of the CRC of those bytes (Mark Adler's ``crc32_combine`` in zlib). A damaged chunk
    is found exactly as by its own checksum; of several, errors cancel one another in one case of 2**32.
    """
    stored = 0
    if checksums.nbytes > CHECKSUM_BYTES:
        first, second, third, fourth = _combine_tables(nbytes)
        for one in checksums.cast("I"):
            stored = first[stored & 255] ^ second[stored >> 8 & 255] ^ third[stored >> 16 & 255] ^ fourth[stored >> 24]
            stored ^= one
    else:
        stored = int.from_bytes(checksums, "little")
    _compare(parts, stored)


@lru_cache(maxsize=256)
def _combine_tables(nbytes: int) -> tuple[tuple[int, ...], ...]:
    """Return what becomes of a checksum when so many bytes follow: for each of its bytes, lowest first, 256 numbers."""
    zeros = memoryview(bytes(nbytes))
    nothing = _crc32c(zeros, 0)
    tables = list[tuple[int, ...]]()
    for byte in range(CHECKSUM_BYTES):
        table = [0]
        for bit in range(8 * byte, 8 * byte + 8):
            changed = _crc32c(zeros, 1 << bit) ^ nothing
            table += [changed ^ one for one in table]
        tables.append(tuple(table))
    return tuple(tables)


def seal(data: bytes) -> bytes:
    """Return bytes with their checksum behind them."""
    return data + _crc32c(memoryview(data), 0).to_bytes(CHECKSUM_BYTES, "little")


def parse_configuration(document: Chain, itemsize: int) -> ChunkCodec | None:
    """Return the codec that a chain of Zarr metadata stands for; None without a checksum, or if no codec has it."""
    if document[-1:] != [_CHECKSUM]:
        return None
    order, chain = _split(document[:-1])
    found = parse_chain(chain, itemsize)
    return None if found is None else ChunkCodec(found[0], order, found[1])


def _transpose(order: tuple[int, ...]) -> dict[str, Any]:
    return {"name": "transpose", "configuration": {"order": list(order)}}


def _split(chain: Chain) -> tuple[tuple[int, ...], Chain]:
    """Return the axis order that a chain begins with, and the codecs behind it."""
    if not chain or chain[0].get("name") != "transpose":
        return (), chain
    order = tuple(chain[0].get("configuration", {}).get("order", ()))
    written = bool(order) and all(type(axis) is int for axis in order) and chain[0] == _transpose(order)
    # What this format does not write is left to zarr-python with the rest.
    return (order, chain[1:]) if written else ((), chain)

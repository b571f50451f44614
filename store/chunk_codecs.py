"""From an array's chunk to bytes and back: axis order, compressor, checksum.

A chunk is stored as Zarr v3 stores it: ``transpose`` (if the axes are reordered), ``bytes``, a compressor (if any),
``crc32c``. This module makes and reads exactly those bytes without zarr-python's array layer, straight from and into
memory that the caller owns. Compression and checksums release the GIL.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from crc32c import crc32c
from numcodecs import blosc  # pyright: ignore[reportAttributeAccessIssue]
from numcodecs.vlen import VLenUTF8
from numpy.typing import NDArray

from . import other_codecs

Compressor = Literal["none", "lz4", "lz4 plain", "lz4 bits", "zstd", "pcodec", "utf8", "other"]

CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class Blosc:
    """Settings of blosc: its own names of compressor and shuffle, and the level."""

    name: Literal["lz4", "zstd"]
    level: int
    shuffle: Literal["noshuffle", "shuffle", "bitshuffle"]


BLOSC: Mapping[str, Blosc] = {
    "lz4": Blosc("lz4", 9, "shuffle"),
    "lz4 plain": Blosc("lz4", 9, "noshuffle"),
    "lz4 bits": Blosc("lz4", 9, "bitshuffle"),
    "zstd": Blosc("zstd", 6, "shuffle"),
}
"""Levels and shuffles are the outcome of ``python -m benchmarks codecs`` and ``precision``."""
_SHUFFLES = {"noshuffle": blosc.NOSHUFFLE, "shuffle": blosc.SHUFFLE, "bitshuffle": blosc.BITSHUFFLE}
PCODEC_LEVEL = 8
_CHECKSUM: dict[str, Any] = {"name": "crc32c"}
_HEADER = struct.Struct("<4xI4xI")  # blosc's own: bytes decoded, and bytes of all that is stored


class ChunkError(ValueError):
    """The bytes of a chunk are not what a writer put there; says what differs, not where."""


@dataclass(frozen=True)
class ChunkCodec:
    """How one array turns a chunk into bytes.

    Attributes
    ----------
    compressor
        ``none``; those of `BLOSC`; ``pcodec``; ``utf8`` for text (Zarr's ``vlen-utf8``);
        ``other``: whatever zarr-python makes of `chain`.
    order
        The chunk's axes in the order in which they are stored, as of Zarr's ``transpose``; empty for C order.
    chain
        Of ``other``: Zarr's metadata of all codecs before the checksum, as JSON.
    """

    compressor: Compressor
    order: tuple[int, ...] = ()
    chain: str = ""

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
        data = self._compress(stored)
        return [data, memoryview(crc32c(data).to_bytes(CHECKSUM_BYTES, "little"))]

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
        payload = check(data)
        if self.compressor == "utf8":
            out[...] = _decode_text(payload, out.shape)
        elif self.compressor == "none":
            _expect(payload.nbytes, out.nbytes)
            np.copyto(out.reshape(-1).view(np.uint8), np.frombuffer(payload, np.uint8))
        elif self.compressor == "pcodec":
            _decode_pcodec(payload, out)
        elif self.compressor == "other":
            _decode_other(self.chain, payload, out)
        else:
            _expect(_blosc_size(payload), out.nbytes)
            _decode_blosc(payload, out)

    def configuration(self, itemsize: int) -> list[dict[str, Any]]:
        """Return Zarr's metadata of the codec chain.

        Parameters
        ----------
        itemsize
            Bytes of one value.
        """
        if self.compressor == "other":
            return [*json.loads(self.chain), _CHECKSUM]
        transpose = [{"name": "transpose", "configuration": {"order": list(self.order)}}] if self.order else []
        return [*transpose, *_core(self.compressor, itemsize), _CHECKSUM]

    def _compress(self, stored: NDArray[Any]) -> memoryview:
        if self.compressor == "none":
            return flat_bytes(stored)
        if self.compressor == "utf8":
            return memoryview(VLenUTF8().encode(stored.astype(object).reshape(-1)))
        if self.compressor == "pcodec":
            return memoryview(_pcodec().encode(stored))
        chosen = BLOSC[self.compressor]
        shuffle = _SHUFFLES[chosen.shuffle]
        return memoryview(blosc.compress(stored, chosen.name.encode(), chosen.level, shuffle, 0))


def flat_bytes(array: NDArray[Any]) -> memoryview:
    """Return the memory of a C-contiguous array as bytes, without a copy."""
    return array.reshape(-1).view(np.uint8).data


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
    check_apart(payload, data[end:])
    return payload


def check_apart(payload: memoryview, checksum: memoryview) -> None:
    """Compare bytes with the checksum that stood behind them.

    Raises
    ------
    ChunkError
        It differs.
    """
    stored, found = int.from_bytes(checksum, "little"), crc32c(payload)
    if found != stored:
        raise ChunkError(f"checksum differs (expected {stored:08x}, found {found:08x})")


def seal(data: bytes) -> bytes:
    """Return bytes with their checksum behind them."""
    return data + crc32c(data).to_bytes(CHECKSUM_BYTES, "little")


def parse_configuration(document: list[dict[str, Any]], itemsize: int) -> ChunkCodec | None:
    """Return the codec that a chain of Zarr metadata stands for; None without a checksum, or if nobody knows it."""
    order: tuple[int, ...] = ()
    if document and document[0].get("name") == "transpose":
        order = tuple(document[0].get("configuration", {}).get("order", ()))
    for compressor in ("none", *BLOSC, "pcodec", "utf8"):
        codec = ChunkCodec(cast(Compressor, compressor), order)
        if codec.configuration(itemsize) == document:
            return codec
    if document[-1:] == [_CHECKSUM] and other_codecs.is_known(document[:-1]):
        return ChunkCodec("other", chain=json.dumps(document[:-1]))
    return None


def _core(compressor: Compressor, itemsize: int) -> list[dict[str, Any]]:
    if compressor == "utf8":
        return [{"name": "vlen-utf8"}]
    if compressor == "pcodec":
        return [{"name": "numcodecs.pcodec", "configuration": _pcodec_settings()}]
    plain = {"name": "bytes", "configuration": {"endian": "little"}} if itemsize > 1 else {"name": "bytes"}
    if compressor == "none":
        return [plain]
    chosen = BLOSC[compressor]
    settings = {
        "typesize": itemsize,
        "cname": chosen.name,
        "clevel": chosen.level,
        "shuffle": chosen.shuffle,
        "blocksize": 0,
    }
    return [plain, {"name": "blosc", "configuration": settings}]


def _pcodec_settings() -> dict[str, Any]:
    return {"level": PCODEC_LEVEL, "mode_spec": "auto", "delta_spec": "auto", "paging_spec": "equal_pages_up_to",
            "delta_encoding_order": None, "equal_pages_up_to": 262144}  # fmt: skip


def _pcodec() -> Any:
    """Import on use: pcodec is an extra, needed for stores that use it only."""
    from numcodecs.pcodec import PCodec

    return PCodec(**_pcodec_settings())


def _decode_pcodec(payload: memoryview, out: NDArray[Any]) -> None:
    from pcodec import standalone  # pyright: ignore[reportAttributeAccessIssue]

    try:
        progress = standalone.simple_decompress_into(bytes(payload), out.reshape(-1))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ChunkError(f"cannot be decoded ({error})") from None
    if progress.n_processed != out.size or not progress.finished:
        raise ChunkError(f"holds another number of values (expected {out.size}, found {progress.n_processed})")


def _decode_other(chain: str, payload: memoryview, out: NDArray[Any]) -> None:
    try:
        other_codecs.decode(chain, payload, out)
    except ValueError as error:
        raise ChunkError(str(error)) from None


def _decode_blosc(payload: memoryview, out: NDArray[Any]) -> None:
    try:
        blosc.decompress(payload, out)
    except (RuntimeError, ValueError, SystemError) as error:
        raise ChunkError(f"cannot be decoded ({error})") from None


def _blosc_size(payload: memoryview) -> int:
    """Return how many bytes the header of a blosc buffer says it holds, after checking that it is of this buffer."""
    if payload.nbytes < _HEADER.size:
        raise ChunkError(f"expected a compressed chunk, found {payload.nbytes} bytes")
    size, compressed = _HEADER.unpack_from(payload)
    _expect(compressed, payload.nbytes)
    return size


def _expect(found: int, expected: int) -> None:
    if found != expected:
        raise ChunkError(f"holds another number of bytes (expected {expected}, found {found})")


def _decode_text(payload: memoryview, shape: tuple[int, ...]) -> NDArray[np.object_]:
    # Before anything is made for them: a number may say anything.
    _expect(int.from_bytes(payload[:4], "little"), math.prod(shape))
    try:
        words = cast("NDArray[np.object_]", VLenUTF8().decode(bytes(payload)))
    except (ValueError, UnicodeDecodeError, RuntimeError, MemoryError) as error:
        raise ChunkError(f"not a list of texts ({error})") from None
    _expect(len(words), math.prod(shape))
    return words.reshape(shape)

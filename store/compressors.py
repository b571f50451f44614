"""Codecs: how the values of a chunk become bytes. A codec is one class and one row of `COMPRESSORS`."""

from __future__ import annotations

import json
import math
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numcodecs import blosc  # pyright: ignore[reportAttributeAccessIssue]
from numcodecs.vlen import VLenUTF8
from numpy.typing import NDArray

from . import other_codecs

Array = NDArray[Any]
Chain = list[dict[str, Any]]
"""Zarr's metadata of codecs, one behind another."""
_HEADER = struct.Struct("<4xI4xI")  # blosc's own: bytes decoded, and bytes of all that is stored
_SHUFFLES = {"noshuffle": blosc.NOSHUFFLE, "shuffle": blosc.SHUFFLE, "bitshuffle": blosc.BITSHUFFLE}
PCODEC_LEVEL = 8


class ChunkError(ValueError):
    """The bytes of a chunk are not what a writer put there; says what differs, not where."""


def expect(found: int, expected: int) -> None:
    """Compare the bytes (or texts) that a chunk holds with those that it must hold.

    Raises
    ------
    ChunkError
        They differ.
    """
    if found != expected:
        raise ChunkError(f"holds another number of bytes (expected {expected}, found {found})")


def flat_bytes(array: Array) -> memoryview:
    """Return the memory of a C-contiguous array as bytes, without a copy."""
    return array.reshape(-1).view(np.uint8).data


class Codec(ABC):
    """How values become bytes: all of Zarr's codecs of a chunk but ``transpose`` and the checksum.

    Attributes
    ----------
    uncompressed
        The bytes of a chunk are those of its values, little-endian: they can be read straight into an array.
    """

    uncompressed = False

    @abstractmethod
    def encode(self, stored: Array) -> memoryview:
        """Return the bytes of a C-contiguous, little-endian chunk, without the GIL where that is possible."""

    @abstractmethod
    def decode(self, payload: memoryview, out: Array) -> None:
        """Decode the bytes of a chunk into C-contiguous memory.

        Raises
        ------
        ChunkError
            The bytes do not hold exactly as many values; whatever they are, no other error comes of them.
        """

    @abstractmethod
    def configuration(self, itemsize: int) -> Chain:
        """Return Zarr's metadata, given the bytes of one value."""

    def supports(self, dtype: np.dtype[Any]) -> bool:
        """Return whether values of a dtype can be encoded: by default bool and all numbers."""
        return dtype.kind in "biuf"

    def parse(self, chain: Chain, itemsize: int) -> str | None:
        """Return the settings of this codec for which it has just this metadata: "", or None if it is another's."""
        return "" if self.configuration(itemsize) == chain else None

    def with_settings(self, settings: str) -> Codec:
        """Return the codec with the settings that `parse` found."""
        return self


class Uncompressed(Codec):
    """Values as they are in memory."""

    uncompressed = True

    def encode(self, stored: Array) -> memoryview:
        """Return the memory of a chunk; see `Codec`."""
        return flat_bytes(stored)

    def decode(self, payload: memoryview, out: Array) -> None:
        """Copy the bytes of a chunk; see `Codec`."""
        expect(payload.nbytes, out.nbytes)
        np.copyto(out.reshape(-1).view(np.uint8), np.frombuffer(payload, np.uint8))

    def configuration(self, itemsize: int) -> Chain:
        """Return Zarr's ``bytes``; see `Codec`."""
        return [{"name": "bytes", "configuration": {"endian": "little"}} if itemsize > 1 else {"name": "bytes"}]


@dataclass(frozen=True)
class Blosc(Codec):
    """A compressor within blosc.

    Attributes
    ----------
    name, level, shuffle
        Blosc's own names of compressor and shuffle, and the level. Bytes of single-byte values are never shuffled.
    """

    name: Literal["lz4", "zstd"]
    level: int
    shuffle: Literal["noshuffle", "shuffle", "bitshuffle"]

    def encode(self, stored: Array) -> memoryview:
        """Compress a chunk; see `Codec`."""
        shuffle = _SHUFFLES[self._shuffle(stored.itemsize)]
        return memoryview(blosc.compress(stored, self.name.encode(), self.level, shuffle, 0))

    def decode(self, payload: memoryview, out: Array) -> None:
        """Decompress a chunk; see `Codec`."""
        expect(_blosc_size(payload), out.nbytes)
        try:
            blosc.decompress(payload, out)
        except (RuntimeError, ValueError, SystemError) as error:
            raise ChunkError(f"cannot be decoded ({error})") from None

    def configuration(self, itemsize: int) -> Chain:
        """Return Zarr's ``bytes`` and ``blosc``; see `Codec`."""
        settings = {
            "typesize": itemsize,
            "cname": self.name,
            "clevel": self.level,
            "shuffle": self._shuffle(itemsize),
            "blocksize": 0,
        }
        return [*Uncompressed().configuration(itemsize), {"name": "blosc", "configuration": settings}]

    def _shuffle(self, itemsize: int) -> str:
        # A byte shuffle of single bytes does nothing; the metadata must not say that there is one.
        return "noshuffle" if itemsize == 1 and self.shuffle == "shuffle" else self.shuffle


class Pcodec(Codec):
    """The extension ``numcodecs.pcodec``; the package is an extra, imported when a chunk needs it."""

    _SETTINGS: dict[str, Any] = {
        "level": PCODEC_LEVEL, "mode_spec": "auto", "delta_spec": "auto", "paging_spec": "equal_pages_up_to",
        "delta_encoding_order": None, "equal_pages_up_to": 262144,
    }  # fmt: skip

    def encode(self, stored: Array) -> memoryview:
        """Compress a chunk; see `Codec`."""
        from numcodecs.pcodec import PCodec

        return memoryview(PCodec(**self._SETTINGS).encode(stored))

    def decode(self, payload: memoryview, out: Array) -> None:
        """Decompress a chunk; see `Codec`."""
        from pcodec import standalone  # pyright: ignore[reportAttributeAccessIssue]

        try:
            progress = standalone.simple_decompress_into(bytes(payload), out.reshape(-1))
        except (RuntimeError, TypeError, ValueError) as error:
            raise ChunkError(f"cannot be decoded ({error})") from None
        if progress.n_processed != out.size or not progress.finished:
            raise ChunkError(f"holds another number of values (expected {out.size}, found {progress.n_processed})")

    def configuration(self, itemsize: int) -> Chain:
        """Return Zarr's metadata of the extension; see `Codec`."""
        return [{"name": "numcodecs.pcodec", "configuration": dict(self._SETTINGS)}]

    def supports(self, dtype: np.dtype[Any]) -> bool:
        """Return whether values are numbers of two bytes or more: pcodec takes no others."""
        return dtype.kind in "iuf" and dtype.itemsize > 1


class Text(Codec):
    """Text, as Zarr's ``vlen-utf8``."""

    def encode(self, stored: Array) -> memoryview:
        """Return the bytes of texts; see `Codec`."""
        return memoryview(VLenUTF8().encode(stored.astype(object).reshape(-1)))

    def decode(self, payload: memoryview, out: Array) -> None:
        """Read texts; see `Codec`."""
        # Before anything is made for them: a number may say anything.
        expect(int.from_bytes(payload[:4], "little"), math.prod(out.shape))
        try:
            words = cast("NDArray[np.object_]", VLenUTF8().decode(bytes(payload)))
        except (ValueError, UnicodeDecodeError, RuntimeError, MemoryError) as error:
            raise ChunkError(f"not a list of texts ({error})") from None
        expect(len(words), math.prod(out.shape))
        out[...] = words.reshape(out.shape)

    def configuration(self, itemsize: int) -> Chain:
        """Return Zarr's ``vlen-utf8``; see `Codec`."""
        return [{"name": "vlen-utf8"}]

    def supports(self, dtype: np.dtype[Any]) -> bool:
        """Return whether values are texts."""
        return dtype.kind == "O"


@dataclass(frozen=True)
class Other(Codec):
    """Any codecs of numbers that zarr-python knows, read through it; trialpack writes none.

    Attributes
    ----------
    chain
        Zarr's metadata of them, as JSON.
    """

    chain: str = "[]"

    def encode(self, stored: Array) -> memoryview:
        """Refuse: chunks are written with the codecs of the format only."""
        raise NotImplementedError(f"trialpack writes no chunks with the codecs {self.chain}")

    def decode(self, payload: memoryview, out: Array) -> None:
        """Have zarr-python decode a chunk; see `Codec`."""
        try:
            other_codecs.decode(self.chain, payload, out)
        except ValueError as error:
            raise ChunkError(str(error)) from None

    def configuration(self, itemsize: int) -> Chain:
        """Return Zarr's metadata as it was found; see `Codec`."""
        return json.loads(self.chain)

    def parse(self, chain: Chain, itemsize: int) -> str | None:
        """Return the metadata as JSON, if zarr-python knows all codecs; see `Codec`."""
        return json.dumps(chain) if other_codecs.is_known(chain) else None

    def with_settings(self, settings: str) -> Codec:
        """Return these codecs with the metadata that `parse` found."""
        return Other(settings)


# Levels and shuffles are the outcome of `python -m benchmarks codecs` and `precision`.
COMPRESSORS: dict[str, Codec] = {
    "none": Uncompressed(),
    "lz4": Blosc("lz4", 9, "shuffle"),
    "lz4 plain": Blosc("lz4", 9, "noshuffle"),
    "lz4 bits": Blosc("lz4", 9, "bitshuffle"),
    "zstd": Blosc("zstd", 6, "shuffle"),
    "zstd plain": Blosc("zstd", 6, "noshuffle"),
    "zstd bits": Blosc("zstd", 6, "bitshuffle"),
    "pcodec": Pcodec(),
    "utf8": Text(),
    "other": Other(),
}
"""Name -> codec. Metadata belongs to the first that knows it: `other` knows nearly all, so it stays last."""


def parse_chain(chain: Chain, itemsize: int) -> tuple[str, str] | None:
    """Return name and settings of the codec that has just this metadata; None if there is no such codec."""
    for name, codec in COMPRESSORS.items():
        settings = codec.parse(chain, itemsize)
        if settings is not None:
            return name, settings
    return None


def _blosc_size(payload: memoryview) -> int:
    """Return how many bytes the header of a blosc buffer says it holds, after checking that it is of this buffer."""
    if payload.nbytes < _HEADER.size:
        raise ChunkError(f"expected a compressed chunk, found {payload.nbytes} bytes")
    size, compressed = _HEADER.unpack_from(payload)
    expect(compressed, payload.nbytes)
    return size

"""Every codec with every dtype: the same bits come back, from zarr-python too; and how a codec is added."""

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from trialpack.store.chunk_codecs import ChunkCodec, ChunkError, check_joint, parse_configuration, seal
from trialpack.store.compressors import COMPRESSORS, Chain, Codec, Uncompressed, expect, flat_bytes
from trialpack.store.folder import StoreFolder
from trialpack.store.layout import ArrayLayout
from trialpack.store.metadata import array_document, parse_array, read_array, write_array, write_metadata
from trialpack.store.shards import ShardWriter

from .test_shards import random_bits, read_shards, same_bits

Array = NDArray[Any]
NUMBERS = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)] + ["float16", "float32", "float64"]
DTYPES = ["bool", *NUMBERS]
OF_NUMBERS = [name for name in COMPRESSORS if name not in ("utf8", "other")]

# numcodecs' classes warn that they are outside of the Zarr specification; docs/format.md says so of `pcodec` too.
pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")


def sharded(codec: ChunkCodec, dtype: str) -> ArrayLayout:
    """Two shards; chunks of two trials, of which the last is not full; frames cut in two, of which neither divides."""
    names = ("trial", "neuron", "frame")
    return ArrayLayout("a", (5, 3, 70), dtype, names, (2, 3, 40), (4, 3, 80), codec)


def write(root: Path, array: ArrayLayout, values: Array) -> None:
    assert array.shard is not None
    write_metadata(root, array)
    for number in range(array.files):
        writer, rows = ShardWriter(root, array, number), array.rows_of_shard(number)
        for first in range(rows.start, rows.stop, array.chunk[0]):
            writer.append(values[first : min(first + array.chunk[0], rows.stop)])
        writer.finish()


def needs(name: str) -> None:
    if name == "pcodec":
        pytest.importorskip("pcodec", reason="the package pcodec is not installed")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OF_NUMBERS)
@pytest.mark.parametrize("order", [(), (0, 2, 1)], ids=["c-order", "frame-major"])
def test_zarr_python_reads_every_dtype(tmp_path: Path, name: str, dtype: str, order: tuple[int, ...]) -> None:
    needs(name)
    array = sharded(ChunkCodec(name, order), dtype)
    if not array.codec.supports(array.numpy_dtype):
        assert name == "pcodec" and array.numpy_dtype.itemsize == 1
        return
    values = random_bits(array.shape, dtype, 3)
    write(tmp_path, array, values)
    assert same_bits(read_shards(tmp_path, array), values)
    assert same_bits(np.asarray(zarr.open_array(tmp_path / "a", mode="r")[...]), values)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OF_NUMBERS)
def test_metadata_gives_the_codec_back(name: str, dtype: str) -> None:
    array = sharded(ChunkCodec(name, (0, 2, 1)), dtype)
    found = parse_array("a", array_document(array))
    assert found is not None
    # Of single bytes, those with and without byte shuffle are one codec.
    expected = name.removesuffix(" plain") if array.numpy_dtype.itemsize == 1 else name
    assert found.codec == ChunkCodec(expected, (0, 2, 1))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_chunks_that_are_checked_together_are_as_if_each_were(data: st.DataObject) -> None:
    """One bit that differs is found, wherever it is, and however the values are spread."""
    nbytes, count = data.draw(st.sampled_from([1, 3, 4, 60, 4096])), data.draw(st.integers(1, 5))
    values = bytearray(np.random.default_rng(data.draw(st.integers(0, 99))).bytes(nbytes * count))
    chunks = [bytes(values[first : first + nbytes]) for first in range(0, len(values), nbytes)]
    checksums = bytearray(b"".join(seal(chunk)[nbytes:] for chunk in chunks))
    cut = data.draw(st.integers(0, len(values)))
    parts, stored = (memoryview(values)[:cut], memoryview(values)[cut:]), memoryview(checksums)
    check_joint(parts, nbytes, stored)
    for bits in (values, checksums):
        place = data.draw(st.integers(0, 8 * len(bits) - 1))
        bits[place // 8] ^= 1 << place % 8
        with pytest.raises(ChunkError, match="checksum differs"):
            check_joint(parts, nbytes, stored)
        bits[place // 8] ^= 1 << place % 8


@pytest.mark.parametrize(("dtype", "shuffle"), [("bool", "noshuffle"), ("uint8", "noshuffle"), ("int16", "shuffle")])
def test_single_bytes_are_not_shuffled(dtype: str, shuffle: str) -> None:
    """The metadata say so, and the bytes, whose third has the flags of blosc."""
    for name in ("lz4", "zstd"):
        codec = ChunkCodec(name)
        assert codec.configuration(np.dtype(dtype).itemsize)[-2]["configuration"]["shuffle"] == shuffle
        data = b"".join(codec.encode(np.zeros(2000, dtype)))
        assert bool(data[2] & 1) == (shuffle == "shuffle")


@pytest.mark.parametrize("dtype", DTYPES)
def test_pcodec_supports_what_it_can_encode(dtype: str) -> None:
    needs("pcodec")
    codec, values = ChunkCodec("pcodec"), np.zeros(10, dtype)
    if codec.supports(values.dtype):
        codec.encode(values)
    else:
        with pytest.raises((TypeError, RuntimeError)):
            codec.encode(values)


def test_numbers_and_texts_are_told_apart() -> None:
    for name, codec in COMPRESSORS.items():
        assert codec.supports(np.dtype(object)) == (name == "utf8")
        assert codec.supports(np.dtype("float64")) == (name != "utf8")


def test_codecs_are_equal_and_travel_to_other_processes() -> None:
    chain = '[{"name": "bytes", "configuration": {"endian": "big"}}]'
    for codec in [*(ChunkCodec(name, (1, 0)) for name in COMPRESSORS), ChunkCodec("other", chain=chain)]:
        assert pickle.loads(pickle.dumps(codec)) == codec and hash(codec) == hash(pickle.loads(pickle.dumps(codec)))
    assert ChunkCodec("lz4") != ChunkCodec("lz4", (1, 0)) != ChunkCodec("zstd", (1, 0))


def test_other_codecs_keep_an_axis_order() -> None:
    chain: Chain = [
        {"name": "transpose", "configuration": {"order": [0, 2, 1]}},
        {"name": "bytes", "configuration": {"endian": "big"}},
        {"name": "crc32c"},
    ]
    codec = parse_configuration(chain, 4)
    assert codec is not None and (codec.compressor, codec.order) == ("other", (0, 2, 1))
    assert codec.configuration(4) == chain
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    out = np.empty((2, 4, 3), np.float32)
    codec.decode(memoryview(seal(np.ascontiguousarray(codec.stored_view(values)).astype(">f4").tobytes())), out)
    assert same_bits(codec.logical_view(out).copy(), values)
    with pytest.raises(NotImplementedError, match="writes no chunks with the codecs"):
        codec.encode(values)


# What docs/extending.md describes


class Gzip(Codec):
    """Zarr's ``gzip``."""

    def encode(self, stored: Array) -> memoryview:
        return memoryview(gzip.compress(flat_bytes(stored), mtime=0))

    def decode(self, payload: memoryview, out: Array) -> None:
        try:
            data = gzip.decompress(payload)
        except (OSError, EOFError) as error:
            raise ChunkError(f"cannot be decoded ({error})") from None
        expect(len(data), out.nbytes)
        flat_bytes(out)[:] = data

    def configuration(self, itemsize: int) -> Chain:
        return [*Uncompressed().configuration(itemsize), {"name": "gzip", "configuration": {"level": 9}}]


@pytest.fixture
def with_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    other = COMPRESSORS["other"]
    monkeypatch.delitem(COMPRESSORS, "other")
    monkeypatch.setitem(COMPRESSORS, "gzip", Gzip())
    monkeypatch.setitem(COMPRESSORS, "other", other)


@pytest.mark.usefixtures("with_gzip")
@pytest.mark.parametrize("dtype", ["bool", "int16", "float64"])
def test_a_codec_is_a_class_and_a_row(tmp_path: Path, dtype: str) -> None:
    """Written, known by its metadata, read by zarr-python, and damage of it found."""
    array = sharded(ChunkCodec("gzip", (0, 2, 1)), dtype)
    values = random_bits(array.shape, dtype, 3)
    write(tmp_path, array, values)
    assert parse_array("a", array_document(array)) == array
    assert same_bits(read_shards(tmp_path, array), values)
    assert same_bits(np.asarray(zarr.open_array(tmp_path / "a", mode="r")[...]), values)
    small = ArrayLayout("b", (7,), dtype, ("x",), (7,), None, ChunkCodec("gzip"))
    write_array(tmp_path, small, values[0, 0, :7])
    assert same_bits(read_array(StoreFolder(tmp_path).open(), small), values[0, 0, :7])
    with pytest.raises(ChunkError, match="cannot be decoded"):
        array.codec.decode(memoryview(seal(b"no gzip")), np.empty((2, 40, 3), dtype))


def test_the_row_is_gone_behind_the_test() -> None:
    assert "gzip" not in COMPRESSORS and list(COMPRESSORS)[-1] == "other"

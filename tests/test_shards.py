"""Shard files: every bit comes back, and no damage does."""

import hashlib
import itertools
import math
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from trialpack.store import layout
from trialpack.store.chunk_codecs import CHECKSUM_BYTES, ChunkCodec, ChunkError, check, seal
from trialpack.store.chunks import EMPTY
from trialpack.store.folder import StoreFolder
from trialpack.store.layout import ArrayLayout
from trialpack.store.shards import FileRecord, ShardReader, ShardWriter

Array = NDArray[Any]

COMPRESSORS = sorted({choice.compressor for choices in layout.CODECS.values() for choice in choices})
# pcodec takes numbers of two bytes or more; the recorded variables are float32 and float64.
DTYPES = {"pcodec": ["float32", "float64", "int16", "uint32", "int64"]}
ALL_DTYPES = ["float16", "float32", "float64", "int8", "int16", "int64", "uint8", "uint32", "bool"]


def write_shards(root: Path, array: ArrayLayout, values: Array) -> list[FileRecord]:
    assert array.shard is not None
    (root / array.path).mkdir(parents=True, exist_ok=True)
    return [_write_shard(root, array, number, values) for number in range(array.files)]


def _write_shard(root: Path, array: ArrayLayout, number: int, values: Array) -> FileRecord:
    assert array.shard is not None
    writer = ShardWriter(root, array, number)
    end = min((number + 1) * array.shard[0], array.shape[0])
    for start in range(number * array.shard[0], end, array.chunk[0]):
        writer.append(values[start : min(start + array.chunk[0], end)])
    return writer.finish()


def read_shards(root: Path, array: ArrayLayout) -> Array:
    out = np.empty(array.shape, array.numpy_dtype)
    for number in range(array.files):
        with closing(StoreFolder(root).open()) as files, ShardReader(files, array, number) as shard:
            for start, rows in shard.groups():
                out[start : start + len(rows)] = rows
    return out


def same_bits(one: Array, other: Array) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def random_bits(shape: tuple[int, ...], dtype: str, seed: int) -> Array:
    """Any bits: for floats all kinds of NaN, infinities, subnormal numbers, both zeros."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    size = math.prod(shape) * np.dtype(dtype).itemsize
    values = np.frombuffer(rng.bytes(size), dtype).reshape(shape).copy()
    if np.dtype(dtype).kind == "f":
        bits = values.view(f"u{values.itemsize}")
        quiet, signalling = _nan_bits(values.dtype)
        bits.flat[::3] = quiet
        bits.flat[1::7] = signalling
    return values


def _nan_bits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return a NaN with sign and payload, and a signalling one."""
    mantissa, bits = np.finfo(dtype).nmant, dtype.itemsize * 8
    exponent = ((1 << (bits - 1 - mantissa)) - 1) << mantissa
    return (1 << (bits - 1)) | exponent | (1 << (mantissa - 1)) | 0x155, exponent | 0x2A


@st.composite
def shard_layouts(draw: st.DrawFn) -> ArrayLayout:
    """Any shape, chunks that do and do not divide it, any order of axes, any compressor."""
    trial = draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))
    chunk = [draw(st.integers(1, size + 1)) for size in trial]
    shared, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rows = draw(st.integers(1, 2 * shared * groups + 1))
    compressor = draw(st.sampled_from(COMPRESSORS))
    order = draw(st.one_of(st.just(()), st.permutations(range(len(trial) + 1)).map(tuple)))
    shard = [shared * groups, *(math.ceil(size / step) * step for size, step in zip(trial, chunk, strict=True))]
    return ArrayLayout(
        path="a",
        shape=(rows, *trial),
        dtype=draw(st.sampled_from(DTYPES.get(compressor, ALL_DTYPES))),
        dimensions=(),
        chunk=(shared, *chunk),
        shard=tuple(shard),
        codec=ChunkCodec(compressor, order),
    )


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shard_layouts(), st.integers(0, 2**32))
def test_every_bit_comes_back(array: ArrayLayout, seed: int) -> None:
    values = random_bits(array.shape, array.dtype, seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        records = write_shards(root, array, values)
        assert same_bits(read_shards(root, array), values)
        for number, record in enumerate(records):
            data = (root / array.shard_path(number)).read_bytes()
            assert record == FileRecord(len(data), hashlib.sha256(data).hexdigest())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(shard_layouts(), st.integers(0, 2**32))
def test_a_shard_is_chunks_without_gaps_and_an_index(array: ArrayLayout, seed: int) -> None:
    values = random_bits(array.shape, array.dtype, seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_shards(root, array, values)
        for number in range(array.files):
            data = (root / array.shard_path(number)).read_bytes()
            index = read_index(data, array)
            written = [(int(offset), int(size)) for offset, size in index if (offset, size) != (EMPTY, EMPTY)]
            ends = list(itertools.accumulate(size for _, size in written))
            assert [offset for offset, _ in written] == [0, *ends[:-1]]
            assert ends[-1] == len(data) - index_bytes(array)
            rows = min(array.shard[0], array.shape[0] - number * array.shard[0]) if array.shard else 0
            assert len(written) == math.ceil(rows / array.chunk[0]) * math.prod(array.chunks_per_shard[1:])
            assert (index[len(written) :] == EMPTY).all()


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_writing_twice_gives_the_same_bytes(tmp_path: Path, compressor: str) -> None:
    array = small_shard(compressor)
    values = random_bits(array.shape, array.dtype, 5)
    assert write_shards(tmp_path / "one", array, values) == write_shards(tmp_path / "two", array, values)


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_parts_in_any_memory_order_are_written_alike(tmp_path: Path, compressor: str) -> None:
    array = small_shard(compressor)
    values = random_bits(array.shape, array.dtype, 6)
    fortran = np.asfortranarray(values)
    assert not fortran.flags.c_contiguous
    strided = np.repeat(values, 2, axis=2)[:, :, ::2]
    expected = write_shards(tmp_path / "c", array, values)
    assert write_shards(tmp_path / "fortran", array, fortran) == expected
    assert write_shards(tmp_path / "strided", array, strided) == expected


# Damage


def small_shard(compressor: str) -> ArrayLayout:
    """Two groups of two rows and one of one, four chunks to a group; the last group of the shard is not needed."""
    return ArrayLayout(
        path="a",
        shape=(5, 3, 7),
        dtype="float32",
        dimensions=(),
        chunk=(2, 2, 4),
        shard=(8, 4, 8),
        codec=ChunkCodec(compressor, (0, 2, 1)),  # type: ignore[arg-type]
    )


def index_bytes(array: ArrayLayout) -> int:
    return 16 * math.prod(array.chunks_per_shard) + CHECKSUM_BYTES


def read_index(data: bytes, array: ArrayLayout) -> Array:
    return np.frombuffer(check(memoryview(data[-index_bytes(array) :])), "<u8").reshape(-1, 2).copy()


def with_index(data: bytes, array: ArrayLayout, index: Array) -> bytes:
    """Put another index, with its right checksum, into the bytes of a shard."""
    changed = data[: -index_bytes(array)] + seal(index.tobytes())
    assert changed != data and len(changed) == len(data)
    return changed


class Shard:
    """One small shard on disk, its values, and its bytes as written."""

    def __init__(self, root: Path, compressor: str) -> None:
        self.root, self.array = root, small_shard(compressor)
        # Noise does not compress, smooth values do: both kinds of chunk.
        smooth = np.arange(math.prod(self.array.shape), dtype=np.float32).reshape(self.array.shape)
        self.values = np.where(np.arange(5)[:, None, None] % 2, smooth, random_bits(self.array.shape, "float32", 1))
        write_shards(root, self.array, self.values)
        self.path = root / self.array.shard_path(0)
        self.data = self.path.read_bytes()
        assert same_bits(self.read(self.data), self.values)

    def read(self, data: bytes) -> Array:
        self.path.write_bytes(data)
        return read_shards(self.root, self.array)

    def refuses(self, data: bytes) -> str:
        """Check that damaged bytes are refused; return what the error says."""
        assert data != self.data
        with pytest.raises(ChunkError) as raised:
            self.read(data)
        return str(raised.value)


@pytest.fixture(params=COMPRESSORS)
def shard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shard]:
    yield Shard(tmp_path, request.param)


@pytest.mark.parametrize("bits", [0x01, 0x80, 0xFF], ids=hex)
def test_every_flipped_byte_is_noticed(shard: Shard, bits: int) -> None:
    data = bytearray(shard.data)
    for place in range(len(data)):
        data[place] ^= bits
        shard.refuses(bytes(data))
        data[place] ^= bits
    assert data == shard.data


def test_every_truncation_is_noticed(shard: Shard) -> None:
    for length in range(len(shard.data)):
        shard.refuses(shard.data[:length])


def test_every_missing_start_is_noticed(shard: Shard) -> None:
    for length in range(1, len(shard.data)):
        shard.refuses(shard.data[length:])


@pytest.mark.parametrize("tail", [b"\0", b"\xff", b"\0" * 4096], ids=["zero", "ones", "block"])
def test_appended_bytes_are_noticed(shard: Shard, tail: bytes) -> None:
    shard.refuses(shard.data + tail)


def test_the_file_twice_is_noticed(shard: Shard) -> None:
    shard.refuses(shard.data * 2)


def test_every_inserted_and_every_dropped_byte_is_noticed(shard: Shard) -> None:
    for place in range(len(shard.data)):
        shard.refuses(shard.data[:place] + b"\x5a" + shard.data[place:])
        shard.refuses(shard.data[:place] + shard.data[place + 1 :])


def test_every_zeroed_tail_is_noticed(shard: Shard) -> None:
    for place in range(len(shard.data) - 1):
        shard.refuses(shard.data[:place].ljust(len(shard.data), b"\0"))


def test_swapped_places_of_chunks_are_noticed(shard: Shard) -> None:
    index = read_index(shard.data, shard.array)
    needed = 3 * 4
    for one, other in itertools.combinations(range(needed), 2):
        swapped = index.copy()
        swapped[[one, other]] = index[[other, one]]
        assert "not where it must be" in shard.refuses(with_index(shard.data, shard.array, swapped))


def test_a_chunk_in_the_place_of_one_not_needed_is_noticed(shard: Shard) -> None:
    index = read_index(shard.data, shard.array)
    moved = index.copy()
    moved[[11, 12]] = index[[12, 11]]
    assert "never written" in shard.refuses(with_index(shard.data, shard.array, moved))


def test_every_needed_chunk_marked_as_not_written_is_noticed(shard: Shard) -> None:
    index = read_index(shard.data, shard.array)
    for number in range(12):
        changed = index.copy()
        changed[number] = EMPTY
        assert "1 of 12 chunks were never written" in shard.refuses(with_index(shard.data, shard.array, changed))
    changed = np.full_like(index, EMPTY)
    assert "12 of 12" in shard.refuses(with_index(shard.data, shard.array, changed))


@pytest.mark.parametrize("column", [0, 1], ids=["offset", "size"])
def test_wrong_places_and_sizes_are_noticed(shard: Shard, column: int) -> None:
    index = read_index(shard.data, shard.array)
    for number in range(len(index)):
        right = int(index[number, column])
        wrongs = {0, 1, right + 1, right - 1, 2**31, 2**32 + right, 2**63, EMPTY - 1, EMPTY}
        for wrong in {number % 2**64 for number in wrongs} - {right}:
            changed = index.copy()
            changed[number, column] = wrong
            shard.refuses(with_index(shard.data, shard.array, changed))


def with_first_chunk(shard: Shard, content: bytes) -> bytes:
    """Put another first chunk into the bytes of a shard, in an index that is right for it."""
    index, end = read_index(shard.data, shard.array), len(shard.data) - index_bytes(shard.array)
    first = int(index[0, 1])
    index[0, 1] = len(content)
    index[1:12, 0] = [int(offset) - first + len(content) for offset in index[1:12, 0]]
    return content + shard.data[first:end] + seal(index.tobytes())


def test_another_first_chunk_can_be_put_in_place(shard: Shard) -> None:
    """What the tests below change is noticed for what they say, not for a wrong index."""
    other = np.zeros_like(shard.values)
    codec = shard.array.codec
    stored = np.ascontiguousarray(codec.stored_view(other[:2, :2, :4]))
    found = shard.read(with_first_chunk(shard, b"".join(codec.encode(stored))))
    assert same_bits(found[:2, :2, :4], other[:2, :2, :4])
    found[:2, :2, :4] = shard.values[:2, :2, :4]
    assert same_bits(found, shard.values)


@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 4, 1), (0,)], ids=["more", "fewer", "none"])
def test_another_number_of_values_with_a_right_checksum_is_noticed(shard: Shard, shape: tuple[int, ...]) -> None:
    other = b"".join(shard.array.codec.encode(np.zeros(shape, np.float32)))
    shard.refuses(with_first_chunk(shard, other))


def test_no_bytes_at_all_for_a_chunk_are_noticed(shard: Shard) -> None:
    shard.refuses(with_first_chunk(shard, b""))
    shard.refuses(with_first_chunk(shard, b"\0" * (CHECKSUM_BYTES - 1)))


@pytest.mark.parametrize("keep", [0, 16], ids=["no header", "right header"])
def test_rubbish_with_a_right_checksum_is_noticed(shard: Shard, keep: int) -> None:
    compressor = shard.array.codec.compressor
    if compressor == "none":
        pytest.skip("any bytes are an uncompressed chunk")
    for size in (keep, keep + 1, 60):
        content = shard.data[:keep] + b"\x5a" * (size - keep)
        shard.refuses(with_first_chunk(shard, seal(content)))


@pytest.mark.parametrize(
    "compressor",
    [name for name in COMPRESSORS if name != "none"],
)
def test_damage_under_a_right_checksum_raises_nothing_but_chunk_errors(compressor: str) -> None:
    """Other values may come out of such bytes (digests of the values find them); no other error may."""
    codec = ChunkCodec(compressor)  # type: ignore[arg-type]
    values = np.sin(np.arange(600, dtype=np.float32))
    data, out, refused = bytearray(b"".join(codec.encode(values))[:-CHECKSUM_BYTES]), np.empty_like(values), 0
    for place in range(len(data)):
        data[place] ^= 0xFF
        try:
            codec.decode(memoryview(seal(bytes(data))), out)
        except ChunkError:
            refused += 1
        data[place] ^= 0xFF
    assert refused


def test_a_shard_of_another_codec_is_refused_or_read_right(shard: Shard) -> None:
    """The file is whole, the codec that reads it is not its own. Blosc's bytes name their compressor themselves."""
    for other in COMPRESSORS:
        try:
            found = read_shards(shard.root, small_shard(other))
        except ChunkError:
            assert other != shard.array.codec.compressor
        else:
            assert same_bits(found, shard.values)


def test_a_missing_shard_is_no_values(shard: Shard) -> None:
    shard.path.unlink()
    with pytest.raises(FileNotFoundError):
        read_shards(shard.root, shard.array)


def test_a_file_that_shrinks_while_it_is_read_is_noticed(shard: Shard) -> None:
    with closing(StoreFolder(shard.root).open()) as files, ShardReader(files, shard.array, 0) as reader:
        shard.path.write_bytes(shard.data[:8])
        with pytest.raises(ChunkError, match="ends early"):
            list(reader.groups())


def test_an_unfinished_shard_has_no_name(tmp_path: Path) -> None:
    array = small_shard("lz4")
    (tmp_path / "a").mkdir()
    writer = ShardWriter(tmp_path, array, 0)
    writer.append(np.zeros((2, 3, 7), np.float32))
    writer.close()
    writer.close()
    assert not (tmp_path / array.shard_path(0)).exists()


def test_of_two_writers_of_a_shard_each_has_a_file_until_it_is_complete(tmp_path: Path) -> None:
    """A unit that was thought lost may still run when another worker has finished it."""
    array, rows = small_shard("lz4"), np.zeros((2, 3, 7), np.float32)
    (tmp_path / "a").mkdir()
    late, early = ShardWriter(tmp_path, array, 0), ShardWriter(tmp_path, array, 0)
    for writer in (early, early, early, late):
        writer.append(rows)
    early.finish()
    complete = (tmp_path / array.shard_path(0)).read_bytes()
    late.append(rows)
    assert (tmp_path / array.shard_path(0)).read_bytes() == complete
    late.append(rows)
    late.finish()
    assert (tmp_path / array.shard_path(0)).read_bytes() == complete
    assert [path.name for path in (tmp_path / "a").iterdir()] == [Path(array.shard_path(0)).name]


def test_a_shard_that_lacks_its_last_group_is_refused(tmp_path: Path) -> None:
    array = small_shard("lz4")
    (tmp_path / "a").mkdir()
    writer = ShardWriter(tmp_path, array, 0)
    for _ in range(2):
        writer.append(np.zeros((2, 3, 7), np.float32))
    writer.finish()
    with pytest.raises(ChunkError, match="4 of 12 chunks were never written"):
        read_shards(tmp_path, array)

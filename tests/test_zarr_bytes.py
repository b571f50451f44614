"""The shards are what zarr-python itself would write, and what others read."""

import importlib.util
import inspect
import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.store import StoreIndex, check_quick, layout
from trialpack.store.chunks import EMPTY
from trialpack.store.folder import StoreFolder
from trialpack.store.layout import ArrayLayout
from trialpack.store.shards import ShardReader
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec, TransposeCodec, VLenUTF8Codec

from .mice import published_variables

Array = NDArray[Any]

# numcodecs' classes warn that they are outside of the Zarr specification; docs/format.md says so of `pcodec` too.
pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")

# Bytes to a shard and a chunk, so that a tiny mouse has shards of which the last is not full, chunks that are shared
# by trials and of which the last is not full, and blocks of frames of which the last is not full.
MICE: dict[str, tuple[dict[str, Any], int, int]] = {
    "dynamic": ({"mouse": "A", "trials": 11, "neurons": 20, "image_shape": (9, 16)}, 800_000, 8_000),
    "float64": ({"mouse": "F", "trials": 5, "neurons": 7, "image_shape": (3, 5)}, 100_000, 12_000),
    "static": ({"mouse": "S0", "trials": 11, "neurons": 20, "image_shape": (9, 16)}, 2_500, 1_200),
}
CODEC_NAMES = tuple(layout.CODECS)
SOURCE_NAME = "source_name"


class Packed:
    """A converted mouse, and what each of its arrays must hold, from the files of the source."""

    def __init__(self, source: Path, store: Path) -> None:
        self.source, self.store = source, store
        self.index: StoreIndex = check_quick(store)
        self.kind: layout.Kind = self.index.attributes[layout.A_KIND]
        self.expected = {path: self._values(array) for path, array in self.index.arrays.items()}

    @property
    def trial_ids(self) -> list[int]:
        return sorted(int(path.stem) for path in (self.source / "data" / "responses").glob("*.npy"))

    def trials(self, array: ArrayLayout) -> Array:
        variable = next(v for v in published_variables(self.kind) if v.name == array.path)
        folder = self.source / "data" / variable.name
        rows = [np.load(folder / f"{trial}.npy").transpose(variable.axes) for trial in self.trial_ids]
        return np.stack(rows)

    def _values(self, array: ArrayLayout) -> Array:
        if array.shard is not None:
            return self.trials(array)
        if SOURCE_NAME in array.attributes:
            values = np.load(self.source / array.attributes[SOURCE_NAME])
            return values.astype(object) if values.dtype.kind == "U" else values
        return self._coordinate(array.path)

    def _coordinate(self, path: str) -> Array:
        ids = self.trial_ids
        if path == "trials/trial_id":
            return np.array(ids, np.int64)
        if path == "trials/tier":
            return np.load(self.source / "meta/trials/tiers.npy")[ids].astype(object)
        if path == "trials/withheld":
            rows = [np.load(self.source / "data/responses" / f"{trial}.npy") for trial in ids]
            return np.array([not np.nan_to_num(row).any() for row in rows])
        assert path == "trials/n_frames" and self.kind == "dynamic"
        rows = [np.load(self.source / "data/videos" / f"{trial}.npy") for trial in ids]
        return np.array([np.count_nonzero(~np.isnan(row).all(axis=(0, 1))) for row in rows], np.int32)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Packed]]:
    """Return ``packed(mouse, codec)``; each is made once."""
    place, sources, made = tmp_path_factory.mktemp("packed"), dict[str, Path](), dict[tuple[str, str], Packed]()

    def pack(mouse: str, codec: str) -> Packed:
        sample, shard_bytes, chunk_bytes = MICE[mouse]
        if mouse not in sources:
            sources[mouse] = write_sample(place / mouse, **sample)
        if (mouse, codec) not in made:
            assert not (place / codec / f"{sources[mouse].name}.zarr").exists(), "an earlier test could not read it"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(layout, "SHARD_BYTES", shard_bytes)
                patch.setattr(layout, "CHUNK_BYTES", chunk_bytes)
                patch.setattr(layout, "JOINT_CHUNKS", 1)
                # Statistics are not of the source; tests of their own compare them.
                summary = convert_mouse(sources[mouse], place / codec, codec=codec, statistics=False, workers=2)  # type: ignore[arg-type]
            made[mouse, codec] = Packed(sources[mouse], summary.store)
        return made[mouse, codec]

    yield pack


@pytest.fixture(params=[f"{mouse}-{codec}" for mouse in MICE for codec in CODEC_NAMES])
def mouse(request: pytest.FixtureRequest, packed: Callable[[str, str], Packed]) -> Packed:
    name, codec = request.param.split("-")
    if codec == "pcodec":
        pytest.importorskip("pcodec", reason="the package pcodec is not installed")
    return packed(name, codec)


# Zarr's own codecs, from a layout


def transpose_of(array: ArrayLayout) -> list[TransposeCodec]:
    return [TransposeCodec(order=array.codec.order)] if array.codec.order else []


def serializer_of(array: ArrayLayout) -> Any:
    if array.dtype == "string":
        return VLenUTF8Codec()
    if array.codec.compressor == "pcodec":
        from zarr.codecs.numcodecs import PCodec

        return PCodec(
            level=8,
            mode_spec="auto",
            delta_spec="auto",
            paging_spec="equal_pages_up_to",
            delta_encoding_order=None,
            equal_pages_up_to=262144,
        )
    return BytesCodec(endian="little" if array.numpy_dtype.itemsize > 1 else None)


def compressors_of(array: ArrayLayout) -> list[Any]:
    levels = {"lz4": 9, "zstd": 6}
    name, _, how = array.codec.compressor.partition(" ")
    if name not in levels:
        return [Crc32cCodec()]
    size, cname = array.numpy_dtype.itemsize, cast(Any, name)
    shuffles: dict[str, Any] = {"": "shuffle" if size > 1 else "noshuffle", "plain": "noshuffle", "bits": "bitshuffle"}
    shuffle = shuffles[how]
    return [BloscCodec(typesize=size, cname=cname, clevel=levels[cname], shuffle=shuffle, blocksize=0), Crc32cCodec()]


def write_with_zarr(to: Path, array: ArrayLayout, values: Array) -> Path:
    """Create the array as a user of zarr-python would, and write all values at once."""
    made = zarr.create_array(
        to / array.path,
        shape=array.shape,
        dtype=str if array.dtype == "string" else array.dtype,
        chunks=array.chunk,
        shards=array.shard,
        filters=transpose_of(array),
        serializer=serializer_of(array),
        compressors=compressors_of(array),
        fill_value=array.fill_value,
        chunk_key_encoding={"name": "default", "configuration": {"separator": "."}},
        dimension_names=array.dimensions,
        attributes=dict(array.attributes),
        config={"write_empty_chunks": True},
        zarr_format=3,
    )
    made[...] = values
    return to / array.path


def write_in_our_order(to: Path, array: ArrayLayout, values: Array) -> Path:
    """Create the array with a sharding codec that writes the chunks of a shard in lexicographic order."""
    sharding = ShardingCodec(
        chunk_shape=array.chunk,
        codecs=[*transpose_of(array), serializer_of(array), *compressors_of(array)],
        subchunk_write_order="lexicographic",  # pyright: ignore[reportCallIssue]
    )
    made = zarr.create_array(
        to / array.path,
        shape=array.shape,
        dtype=array.dtype,
        chunks=array.shard or array.chunk,
        filters=None,
        serializer=sharding,
        compressors=None,
        fill_value=array.fill_value,
        chunk_key_encoding={"name": "default", "configuration": {"separator": "."}},
        dimension_names=array.dimensions,
        config={"write_empty_chunks": True},
        zarr_format=3,
    )
    made[...] = values
    return to / array.path


def chunk_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != layout.METADATA and path.is_file())


def chunks_in_shard(data: bytes, array: ArrayLayout) -> list[bytes | None]:
    """Return the encoded bytes of every chunk in the order of the index; None for one that was not written."""
    count = math.prod(array.chunks_per_shard)
    index = np.frombuffer(data[-16 * count - 4 : -4], "<u8").reshape(count, 2).tolist()
    return [None if EMPTY in entry else data[entry[0] : entry[0] + entry[1]] for entry in index]


def bits(values: Array) -> Array:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def assert_same(found: Array, expected: Array, path: str) -> None:
    """Compare every bit; text as Python strings."""
    assert found.shape == expected.shape, path
    if expected.dtype.kind == "O":
        assert [str(word) for word in found.flat] == list(expected.flat), path
    else:
        assert found.dtype == expected.dtype, path
        assert np.array_equal(bits(found), bits(expected)), path


# What the tests rest on


def test_the_mice_have_shards_and_chunks_of_every_kind(packed: Callable[[str, str], Packed]) -> None:
    arrays = [array for name in MICE for array in packed(name, "fast").index.recorded]
    assert all(array.files >= 2 for array in arrays)
    assert any(array.shape[0] % array.shard[0] for array in arrays if array.shard)
    assert any(1 < array.chunk[0] < array.shard[0] for array in arrays if array.shard)
    assert any(array.shape[0] % array.shard[0] % array.chunk[0] for array in arrays if array.shard)
    assert any(math.prod(array.chunks_per_shard[1:]) > 1 for array in arrays)
    assert any(array.shape[-1] % array.chunk[-1] for array in arrays)
    assert any(array.codec.order for array in packed("dynamic", "none").index.recorded)
    kinds = {array.numpy_dtype.kind for array in packed("static", "fast").index.arrays.values()}
    assert kinds >= set("fiubO")


def test_the_expected_values_hold_nan_padding_and_withheld_trials(packed: Callable[[str, str], Packed]) -> None:
    assert np.isnan(packed("dynamic", "fast").expected["videos"]).any()
    # Mouse A's early trials are all its own; F and S0 withhold some.
    assert any(packed(name, "fast").expected["trials/withheld"].any() for name in ("float64", "static"))


# What zarr-python writes


def test_zarr_python_writes_the_same_metadata(mouse: Packed, tmp_path: Path) -> None:
    """Equal, attributes and all, but for an empty ``configuration`` of ``vlen-utf8``, and empty ``dimension_names``.

    zarr-python writes the first and leaves out the second; the specification allows both.
    """
    for path, array in mouse.index.arrays.items():
        folder = write_with_zarr(tmp_path, array, mouse.expected[path])
        ours = json.loads((mouse.store / path / layout.METADATA).read_bytes())
        theirs = json.loads((folder / layout.METADATA).read_bytes())
        if array.dtype == "string":
            assert theirs["codecs"][0] == {"name": "vlen-utf8", "configuration": {}}
            del theirs["codecs"][0]["configuration"]
        if not array.shape:
            assert "dimension_names" not in theirs
            assert ours.pop("dimension_names") == []
        assert ours == theirs, path


def test_zarr_python_writes_the_same_chunks(mouse: Packed, tmp_path: Path) -> None:
    """In a shard: every chunk has the same bytes, and the same ones are left out. Else: the same file."""
    for path, array in mouse.index.arrays.items():
        folder = write_with_zarr(tmp_path, array, mouse.expected[path])
        names = chunk_files(folder)
        assert names == chunk_files(mouse.store / path), path
        for name in names:
            ours, theirs = (mouse.store / path / name).read_bytes(), (folder / name).read_bytes()
            if array.shard is None:
                assert ours == theirs, path
            else:
                assert len(ours) == len(theirs), path
                assert chunks_in_shard(ours, array) == chunks_in_shard(theirs, array), path


@pytest.mark.skipif(
    "subchunk_write_order" not in inspect.signature(ShardingCodec.__init__).parameters,
    reason=f"zarr {zarr.__version__} writes the chunks of a shard in Morton order only",
)
def test_zarr_python_writes_the_same_shards(mouse: Packed, tmp_path: Path) -> None:
    for array in mouse.index.recorded:
        folder = write_in_our_order(tmp_path, array, mouse.expected[array.path])
        names = chunk_files(folder)
        assert names == chunk_files(mouse.store / array.path)
        for name in names:
            assert (mouse.store / array.path / name).read_bytes() == (folder / name).read_bytes(), array.path


def test_this_reads_what_zarr_python_wrote(mouse: Packed, tmp_path: Path) -> None:
    """Chunks in Morton order are refused as a whole where they differ from ours, never read as other values."""
    for array in mouse.index.recorded:
        write_with_zarr(tmp_path, array, mouse.expected[array.path])
        for number in range(array.files):
            ours = (mouse.store / array.shard_path(number)).read_bytes()
            if (tmp_path / array.shard_path(number)).read_bytes() != ours:
                continue
            with closing(StoreFolder(tmp_path).open()) as files, ShardReader(files, array, number) as shard:
                for start, rows in shard.groups():
                    assert_same(rows, mouse.expected[array.path][start : start + len(rows)], array.path)


# What others read


def test_zarr_python_reads_every_bit(mouse: Packed) -> None:
    group = zarr.open_group(mouse.store, mode="r", use_consolidated=False)
    assert len(mouse.index.arrays) >= 25
    for path, expected in mouse.expected.items():
        found = group[path]
        assert isinstance(found, zarr.Array)
        assert_same(np.asarray(found[...]), expected, path)


def test_zarr_python_reads_single_trials_and_windows(mouse: Packed) -> None:
    group = zarr.open_group(mouse.store, mode="r", use_consolidated=False)
    rng = np.random.default_rng(1)
    for array in mouse.index.recorded:
        for _ in range(4):
            starts = [int(rng.integers(size)) for size in array.shape]
            part = tuple(slice(start, start + 1 + int(rng.integers(70))) for start in starts)
            expected = mouse.expected[array.path][part]
            assert_same(np.asarray(group[array.path][part]), expected, array.path)  # type: ignore[index]


def test_zarrs_reads_every_bit_of_the_numbers(mouse: Packed) -> None:
    """The Rust implementation, through zarr-python. Text is outside of what it decodes."""
    if importlib.util.find_spec("zarrs") is None:
        pytest.skip("the package zarrs is not installed")
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        group = zarr.open_group(mouse.store, mode="r", use_consolidated=False)
        for path, array in mouse.index.arrays.items():
            if array.dtype != "string":
                found = group[path]
                assert isinstance(found, zarr.Array)
                assert type(found._async_array.codec_pipeline).__name__ == "ZarrsCodecPipeline"
                assert_same(np.asarray(found[...]), mouse.expected[path], path)


def test_zarr_python_reads_attributes_and_names(mouse: Packed) -> None:
    group = zarr.open_group(mouse.store, mode="r", use_consolidated=False)
    assert dict(group.attrs) == mouse.index.attributes
    for path, array in mouse.index.arrays.items():
        found = group[path]
        assert isinstance(found, zarr.Array)
        assert dict(found.attrs) == array.attributes
        assert found.metadata.dimension_names == array.dimensions  # type: ignore[union-attr]
        assert (found.chunks, found.shards) == (array.chunk, array.shard)


def test_a_missing_shard_never_reads_as_zeros(packed: Callable[[str, str], Packed], tmp_path: Path) -> None:
    """Zarr reads what is missing as the fill value: that is why it is NaN."""
    mouse = packed("dynamic", "fast")
    store = shutil.copytree(mouse.store, tmp_path / "damaged.zarr")
    (store / mouse.index.arrays["responses"].shard_path(0)).unlink()
    group = zarr.open_group(store, mode="r", use_consolidated=False)
    rows = mouse.index.arrays["responses"].shard or (0,)
    assert np.isnan(np.asarray(group["responses"][: rows[0]])).all()  # type: ignore[index]
    assert_same(np.asarray(group["responses"][rows[0] :]), mouse.expected["responses"][rows[0] :], "")  # type: ignore[index]


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_zarr_python_notices_every_flipped_byte_of_a_shard(
    packed: Callable[[str, str], Packed], tmp_path: Path, codec: str
) -> None:
    """The checksums are Zarr's own, so that readers other than trialpack are warned too."""
    if codec == "pcodec":
        pytest.importorskip("pcodec", reason="the package pcodec is not installed")
    mouse = packed("static", codec)
    array = mouse.index.arrays["behavior"]
    shutil.copytree(mouse.store / "behavior", tmp_path / "behavior")
    shard = tmp_path / array.shard_path(0)
    shard.chmod(0o644)
    intact = shard.read_bytes()
    damaged = bytearray(intact)
    found = zarr.open_array(tmp_path / "behavior", mode="r")
    for place in range(len(damaged)):
        damaged[place] ^= 0x10
        shard.write_bytes(damaged)
        with pytest.raises((ValueError, RuntimeError, OSError)):
            found[...]
        damaged[place] ^= 0x10
    shard.write_bytes(damaged)
    assert bytes(damaged) == intact
    assert_same(np.asarray(found[...]), mouse.expected["behavior"], "behavior")

"""From shards into memory: every bit as zarr-python reads it, never a number that is damaged or of another store."""

import gc
import hashlib
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import Mouse, TrialLoader, open_mouse
from trialpack.readers.direct import (
    Affine,
    CachedVariable,
    Frames,
    Scratch,
    StoreFiles,
    StreamedVariable,
    cached_nbytes,
)
from trialpack.readers.sampling import BatchPlan
from trialpack.readers.streaming.mouse_stream import MouseStream, Selection
from trialpack.store import CorruptStoreError, batched_reads, layout
from trialpack.store.batched_reads import read_batch
from trialpack.store.chunk_codecs import seal
from trialpack.store.layout import ArrayLayout

from .mice import Array, assert_same_bits, edit, open_store, trial_path
from .streams import CUTS, Recorded, assert_batch, flip, open_files, pack, quickly

SOURCES: dict[str, dict[str, Any]] = {
    "dynamic": {"mouse": "A", "trials": 8, "neurons": 20, "image_shape": (4, 6)},
    "float64": {"mouse": "F", "trials": 6, "neurons": 9, "image_shape": (4, 6)},
    "static": {"mouse": "P1", "trials": 40, "neurons": 30, "image_shape": (9, 16)},
}
CODECS = sorted(layout.CODECS)
Stores = Callable[[str, str, str], tuple[Mouse, Recorded]]

# numcodecs' classes warn that they are outside of the Zarr specification; docs/format.md says so of `pcodec` too.
pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("sources")
    found = {kind: write_sample(place, **arguments) for kind, arguments in SOURCES.items()}
    for kind in ("dynamic", "float64"):
        edit(trial_path(found[kind], "responses", 0), with_rare_numbers)
    return found


def with_rare_numbers(values: Array) -> Array:
    """Numbers whose bits a careless copy would change."""
    values[0, :6] = [-0.0, 0.0, 1e-40, -3e-42, 3e38, -1e-38]
    return values


@pytest.fixture(scope="module")
def stores(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Stores:
    """Convert a mouse, once a run, and read it whole: not to be written to."""
    place = tmp_path_factory.mktemp("stores")

    @cache
    def store(kind: str, codec: str, cut: str) -> tuple[Mouse, Recorded]:
        mouse = pack(folders[kind], place / kind / codec / cut, cut, codec=codec)
        return mouse, Recorded(mouse)

    return store


def test_the_stores_are_what_these_tests_need(stores: Stores) -> None:
    """Several shards; chunks of one trial and of several; chunks that do not divide the frames."""
    arrays = {cut: stores("dynamic", "fast", cut)[0].recording.arrays for cut in CUTS}
    assert all(array.files == 1 for array in arrays["as released"].values())
    assert all(array.files > 1 for cut in CUTS if cut != "as released" for array in arrays[cut].values())
    assert {array.chunk[0] for array in arrays["odd chunks"].values()} == {1}
    assert arrays["odd chunks"]["behavior"].chunk == (1, 2, 7)
    shared = arrays["shared chunks"]
    assert (
        shared["responses"].chunk == (1, 20, 15) and 1 < shared["behavior"].chunk[0] < len(shared["behavior"].shape) * 8
    )
    static = stores("static", "fast", "small shards")[0].recording.arrays
    assert static["images"].files > 2 and static["images"].chunk[0] == 2 and static["images"].shard[0] > 2
    assert stores("float64", "fast", "odd chunks")[0].recording.arrays["videos"].dtype == "float64"
    assert {
        array.codec.compressor for codec in CODECS for array in stores("static", codec, "as released")[0].index.recorded
    } == {
        "none",
        "lz4",
        "zstd",
        "pcodec",
    }


# Every bit


cases = st.tuples(st.sampled_from(sorted(SOURCES)), st.sampled_from(CODECS), st.sampled_from(sorted(CUTS)))


def frames_in(draw: st.DrawFn, total: int) -> tuple[int, int]:
    """Return how many frames, and every how many of the recording, so that they fit."""
    stride = draw(st.sampled_from([1, 1, 1, 2, 3, 11]))
    most = (total - 1) // stride + 1
    return draw(st.one_of(st.integers(1, most), st.just(most), st.integers(1, min(most, 40)))), stride


@st.composite
def readings(draw: st.DrawFn, total: int | None, rows: Sequence[int]) -> tuple[list[int], list[Frames]]:
    """Return rows in any order, some of them twice, and frames that begin anywhere."""
    chosen = draw(st.lists(st.sampled_from(rows), min_size=1, max_size=5))
    if total is None:
        return chosen, [Frames(0, 0)] * len(chosen)
    count, stride = frames_in(draw, total)
    room = total - ((count - 1) * stride + 1)
    starts = draw(st.lists(st.integers(0, room), min_size=len(chosen), max_size=len(chosen)))
    return chosen, [Frames(start, count, stride) for start in starts]


def choices_of_neurons(many: int) -> st.SearchStrategy[Any]:
    """All, or some in any order."""
    numbers = st.lists(st.integers(0, many - 1), min_size=1, max_size=many, unique=True)
    return st.none() | numbers.map(lambda chosen: np.array(chosen, np.int64))


def in_store_order(reader: Any, array: ArrayLayout, out: Array) -> Array:
    """Return samples with the axes that the store has."""
    return out.transpose(0, *(1 + reader.axes.index(axis) for axis in array.dimensions[1:]))


def assert_reads(
    reader: Any, recorded: Recorded, array: ArrayLayout, reading: Any, neurons: Any, scratch: Scratch, apart: bool
) -> None:
    """Read samples, one behind another or with something between them, and compare every bit."""
    rows, frames = reading
    shape = reader.shape(frames[0].number)
    whole = np.full((len(rows), 2, *shape), np.pi, np.float32)
    out = whole[:, 0] if apart else np.full((len(rows), *shape), np.pi, np.float32)
    reader.read(rows, frames, out, scratch)
    found = in_store_order(reader, array, out)
    one = zip(rows, frames, strict=True)
    expected = [recorded.sample(array.path, row, f.start, f.number, f.stride, neurons) for row, f in one]
    assert_same_bits(np.ascontiguousarray(found), np.stack(expected), f"{array.path} {rows} {frames}")
    assert (whole[:, 1] == np.float32(np.pi)).all()


def draw_variable(data: st.DataObject, mouse: Mouse) -> tuple[ArrayLayout, int | None, Any]:
    """Return a variable, its frames, and neurons."""
    array = mouse.recording.arrays[data.draw(st.sampled_from(mouse.variables))]
    total = array.shape[array.dimensions.index("frame")] if "frame" in array.dimensions else None
    neurons = data.draw(choices_of_neurons(mouse.n_neurons)) if array.path == "responses" else None
    return array, total, neurons


@settings(max_examples=100)
@given(cases, st.data())
def test_reads_what_zarr_reads(stores: Stores, case: tuple[str, str, str], data: st.DataObject) -> None:
    mouse, recorded = stores(*case)
    array, total, neurons = draw_variable(data, mouse)
    reader, scratch = StreamedVariable(mouse.recording, array.path, StoreFiles(mouse.index), neurons), Scratch()
    for _ in range(2):
        reading = data.draw(readings(total, range(array.shape[0])))
        assert_reads(reader, recorded, array, reading, neurons, scratch, data.draw(st.booleans()))
    assert scratch.tally.bytes_read > 0 < scratch.tally.bytes_decoded


@settings(max_examples=50)
@given(cases, st.data())
def test_what_is_kept_is_what_zarr_reads(stores: Stores, case: tuple[str, str, str], data: st.DataObject) -> None:
    """The first time and later, of chosen rows, and of as many frames as may be asked for."""
    mouse, recorded = stores(*case)
    array, total, neurons = draw_variable(data, mouse)
    source = StreamedVariable(mouse.recording, array.path, StoreFiles(mouse.index), neurons)
    rows = sorted(data.draw(st.sets(st.integers(0, array.shape[0] - 1), min_size=1)))
    most = None if total is None else data.draw(st.integers(1, total))
    reader, scratch = CachedVariable(source, np.array(rows), most or 0), Scratch()
    for _ in range(4):
        reading = data.draw(readings(most, rows))
        for apart in (False, True):
            assert_reads(reader, recorded, array, reading, neurons, scratch, apart)
            scratch.tally.bytes_read = 0
            assert_reads(reader, recorded, array, reading, neurons, scratch, apart)
            assert scratch.tally.bytes_read == 0
    assert reader.values.nbytes == cached_nbytes(source, len(rows), most or 0)


@settings(max_examples=60)
@given(cases, st.booleans(), st.data())
@np.errstate(over="ignore", under="ignore")
def test_shift_and_scale(stores: Stores, case: tuple[str, str, str], kept: bool, data: st.DataObject) -> None:
    """Numbers for each value of a trial, or the same along any axis; as float64 makes it, or the float32 beside."""
    mouse, _ = stores(*case)
    array, total, neurons = draw_variable(data, mouse)
    values = np.asarray(open_store(mouse.path)[array.path][:]).astype(np.float64)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))

    def numbers() -> Array:
        sizes = [size if data.draw(st.booleans()) else 1 for size in array.shape[1:]]
        return rng.normal(size=sizes).astype(dtype)

    dtype, least = data.draw(st.sampled_from([np.float32, np.float64])), data.draw(st.sampled_from([None, 0.0]))
    affine = Affine(data.draw(st.sampled_from([None, numbers()])), numbers(), least)
    reader: Any = StreamedVariable(mouse.recording, array.path, StoreFiles(mouse.index), neurons, affine)
    if kept:
        reader = CachedVariable(reader, np.arange(array.shape[0]), total or 0)
    rows, frames = data.draw(readings(total, range(array.shape[0])))
    out = np.empty((len(rows), *reader.shape(frames[0].number)), np.float32)
    reader.read(rows, frames, out, Scratch())
    shift = 0 if affine.shift is None else affine.shift.astype(np.float64)
    for found, row, one in zip(in_store_order(reader, array, out), rows, frames, strict=True):
        expected = ((values[row] - shift) / affine.divisor).astype(np.float32)
        expected = expected if least is None else np.maximum(expected, 0)
        expected = expected if neurons is None else expected[neurons]
        if total is not None:
            numbers_of_frames = np.arange(one.number) * one.stride + one.start
            expected = expected.take(numbers_of_frames, array.dimensions.index("frame") - 1)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        assert not (np.abs(found - expected) > np.spacing(np.abs(expected))).any()


def test_samples_of_any_strides(stores: Stores) -> None:
    """`read_group` reads into any memory, chunks that could be decoded in place included."""
    for codec, kind in itertools.product(CODECS, SOURCES):
        mouse, recorded = stores(kind, codec, "odd chunks")
        for name in mouse.variables:
            array = mouse.recording.arrays[name]
            reader = StreamedVariable(mouse.recording, name, StoreFiles(mouse.index))
            frames = Frames(3, 40) if kind != "static" else Frames(0, 0)
            out = np.full((*reader.shape(frames.number), 2), np.pi, np.float32)[..., 0]
            reader.read_group([2], frames, [out], Scratch())
            found = in_store_order(reader, array, out[None])[0]
            np.testing.assert_array_equal(
                found, recorded.sample(name, 2, frames.start, frames.number), f"{codec} {name}"
            )


@pytest.mark.parametrize("kept", [False, True])
def test_a_batch_has_the_dtypes_that_were_chosen(stores: Stores, kept: bool) -> None:
    """Each variable its own: cast from what is stored, or with all its bits; float32 unless told otherwise."""
    mouse, _ = stores("float64", "fast", "odd chunks")
    dtypes = {"videos": np.dtype(np.float16), "responses": np.dtype(np.float64)}
    rows, names = np.arange(3), ("videos", "responses", "behavior")
    stream = MouseStream(mouse, Selection(rows, None, names, (), {}, dtypes))
    if kept:
        stream.keep(names)
    plan = BatchPlan(0, rows, np.array([0, 5, 11]), 40, 1)
    arrays = stream.carve(np.zeros(stream.slot_nbytes(3, 40), np.uint8), plan)
    stream.read(plan, slice(0, 3), arrays, Scratch())
    for name in names:
        dtype, group = dtypes.get(name, np.dtype(np.float32)), open_store(mouse.path)
        axis = mouse.recording.arrays[name].dimensions.index("frame") - 1
        whole = [
            group[name][row].take(np.arange(40) + start, axis) for row, start in zip(rows, plan.starts, strict=True)
        ]  # type: ignore[index]
        found = arrays[name].transpose(stream.permutation(name))
        with np.errstate(over="ignore", under="ignore"):
            assert_same_bits(np.ascontiguousarray(found), np.stack(whole).astype(dtype), name)
    plain = MouseStream(mouse, Selection(rows, None, names, (), {}))
    assert stream.kept_nbytes(["responses"]) == 2 * plain.kept_nbytes(["responses"])
    assert 2 * stream.kept_nbytes(["videos"]) == plain.kept_nbytes(["videos"])


@pytest.mark.parametrize("cut", ["odd chunks", "shared chunks"])
def test_threads_decode_each_chunk_once(stores: Stores, cut: str) -> None:
    """Eight of them, which ask for the same trials at the same time, in different orders."""
    mouse, recorded = stores("dynamic", "fast", cut)
    many = len(recorded.ids)
    for name in mouse.variables:
        array = mouse.recording.arrays[name]
        source = StreamedVariable(mouse.recording, name, StoreFiles(mouse.index))
        reader = CachedVariable(source, np.arange(many), 300)
        scratches = [Scratch() for _ in range(8)]
        begin = threading.Barrier(8)

        def read(
            number: int,
            reader: CachedVariable = reader,
            scratches: list[Scratch] = scratches,
            begin: threading.Barrier = begin,
        ) -> Array:
            begin.wait()
            rows = np.random.default_rng(number).permutation(many).tolist()
            out = np.empty((many, *reader.shape(300)), np.float32)
            for row in rows:
                reader.read([row], [Frames(0, 300)], out[row : row + 1], scratches[number])
            return out

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(read, range(8)))
        for out in found:
            for row, one in enumerate(in_store_order(reader, array, out)):
                np.testing.assert_array_equal(one, recorded.sample(name, row, 0, 300))
        frames = 1 if array.chunk[0] > 1 else math.ceil(300 / source.chunk_frames)
        expected = math.ceil(many / array.chunk[0]) * frames * array.chunk_nbytes
        assert sum(scratch.tally.bytes_decoded for scratch in scratches) == expected, name


def test_a_trial_of_many_chunks(tmp_path: Path) -> None:
    """A recording of nine minutes in one trial: more chunks, one behind another, than one call of the system reads."""
    frames, folder = 16_000, write_sample(tmp_path / "source", mouse="A", trials=2, neurons=2, image_shape=(2, 2))
    shutil.rmtree(folder / "meta/statistics")
    for name, path in [(path.parent.name, path) for path in (folder / "data").glob("*/*.npy")]:
        shape = (*np.load(path).shape[:-1], frames)
        values = np.random.default_rng(len(name)).random(shape, np.float32)
        np.save(path, values)
    for codec in ("none", "fast"):
        mouse = pack(folder, tmp_path / codec, codec=codec)
        recorded = Recorded(mouse)
        assert mouse.recording.arrays["behavior"].chunk == (1, 2, 15)
        for batch in TrialLoader(mouse, tier=None, batch_size=2, output="numpy", cache="none"):
            assert_batch(batch, recorded)


# Damage


def spans_of(path: Path, array: ArrayLayout) -> list[tuple[int, int]]:
    """Return offset and size of each chunk that the index of a shard lists."""
    count = math.prod(array.chunks_per_shard)
    index = np.frombuffer(path.read_bytes()[-16 * count - 4 : -4], "<u8").reshape(count, 2)
    return [(int(offset), int(size)) for offset, size in index if size != 2**64 - 1]


def write_index(path: Path, array: ArrayLayout, change: Callable[[Array], object]) -> None:
    """Change the index of a shard; its checksum is right."""
    data, length = path.read_bytes(), 16 * math.prod(array.chunks_per_shard)
    index = np.frombuffer(data[-length - 4 : -4], "<u8").reshape(-1, 2).copy()
    change(index)
    path.write_bytes(data[: -length - 4] + seal(index.tobytes()))


class Damaged:
    """A copy of a store, opened and then damaged."""

    def __init__(self, mouse: Mouse, recorded: Recorded, to: Path) -> None:
        self.path, self.recorded = shutil.copytree(mouse.path, to / mouse.path.name), recorded
        self.mouse = open_mouse(self.path)

    def array(self, name: str) -> ArrayLayout:
        return self.mouse.recording.arrays[name]

    def chunk_of(self, name: str, row: int, frame: int = 0) -> tuple[str, int, int]:
        """Return the shard that holds a trial's frame, and offset and size of the chunk."""
        array = self.array(name)
        assert array.shard is not None
        shard = array.shard_path(row // array.shard[0])
        blocks = math.prod(array.chunks_per_shard[1:])
        inside = row % array.shard[0] // array.chunk[0] * blocks
        if array.chunk[0] == 1 and "frame" in array.dimensions:
            inside += frame // array.chunk[array.dimensions.index("frame")]
        return shard, *spans_of(self.path / shard, array)[inside]

    def loader(self, **options: Any) -> TrialLoader:
        chosen = {"tier": None, "batch_size": 1, "output": "numpy", "threads": 2} | options
        return TrialLoader(self.mouse, **chosen)

    def epoch(self, loader: TrialLoader, **options: Any) -> list[int]:
        """Return the trials that came, each of them right, before an error, which is of the store."""
        came = list[int]()
        with pytest.raises(CorruptStoreError) as raised:
            for batch in loader:
                assert_batch(batch, self.recorded, **options)
                came += batch["trial_id"].tolist()
        self.error = raised.value
        assert self.error.path == str(self.path) and str(self.error).startswith(f"{self.path}: ")
        assert "\n" not in str(self.error)
        return came


@pytest.fixture
def damaged(stores: Stores, tmp_path: Path) -> Callable[..., Damaged]:
    def copy(kind: str = "dynamic", codec: str = "fast", cut: str = "odd chunks") -> Damaged:
        return Damaged(*stores(kind, codec, cut), tmp_path)

    return copy


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("cache_", ["auto", "none"])
@pytest.mark.parametrize("name", ["videos", "responses", "behavior"])
def test_a_flipped_bit_is_never_a_number(damaged: Any, codec: str, cache_: Any, name: str) -> None:
    """The trials before are right, this one is an error in every epoch, and without it the others are right."""
    store = damaged(codec=codec)
    loader, bad = store.loader(cache=cache_), store.recorded.ids[5]
    shard, offset, size = store.chunk_of(name, 5, frame=100)
    flip(store.path / shard, offset + size // 2)
    for _ in range(2):
        assert store.epoch(loader) == store.recorded.ids[:5]
        assert store.error.member == shard and f"trial {bad}: " in str(store.error)
        assert "checksum differs" in str(store.error)
    for batch in store.loader(trials=[one for one in store.recorded.ids if one != bad], cache=cache_):
        assert_batch(batch, store.recorded)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_a_flipped_bit_in_a_shared_chunk(damaged: Any, kind: str) -> None:
    """The trial that is named is one of the chunk."""
    store = damaged(kind, cut="small shards" if kind == "static" else "shared chunks")
    shard, offset, size = store.chunk_of("pupil_center", 3)
    flip(store.path / shard, offset + size - 1)
    step = store.array("pupil_center").chunk[0]
    assert step > 1
    for cache_ in ("auto", "none"):
        store.epoch(store.loader(cache=cache_, shuffle=True))
        assert store.error.member == shard
        named = int(re.search(r"trial (\d+): ", str(store.error))[1])
        assert store.recorded.ids.index(named) // step == 3 // step


def test_the_error_knows_the_trial(damaged: Any) -> None:
    """Not in its text only."""
    store = damaged()
    shard, offset, _ = store.chunk_of("responses", 2)
    flip(store.path / shard, offset)
    store.epoch(store.loader())
    assert store.error.trial == store.recorded.ids[2]


def test_frames_that_are_not_needed_are_not_read(damaged: Any) -> None:
    """A damaged chunk does not disturb who does not want it."""
    store = damaged()
    shard, offset, _ = store.chunk_of("responses", 2, frame=290)
    flip(store.path / shard, offset)
    for batch in store.loader(window=140, windows="every", trials={"n_frames": 300}):
        if batch["start"][0] == 160 and batch["trial_id"][0] == store.recorded.ids[2]:
            pytest.fail("read a damaged chunk")
        assert_batch(batch, store.recorded)
        if batch["trial_id"][0] == store.recorded.ids[2]:
            break
    names = ["videos", "behavior"]
    for batch in store.loader(variables=names):
        assert_batch(batch, store.recorded, variables=names)


def test_one_neuron_needs_the_whole_chunk(damaged: Any) -> None:
    """What is not wanted of a damaged chunk is an error, too: nobody knows which of its bytes are wrong."""
    store = damaged(codec="none")
    shard, offset, size = store.chunk_of("responses", 2)
    flip(store.path / shard, offset + size - 8)
    store.epoch(store.loader(neurons=[0]), neurons=[0])
    assert store.error.member == shard


DAMAGE: dict[str, tuple[Callable[[Path, ArrayLayout], object], str]] = {
    "missing": (lambda path, array: path.unlink(), "missing .the manifest lists it."),
    "empty": (lambda path, array: path.write_bytes(b""), "shorter than its index"),
    "shorter than its index": (lambda path, array: path.write_bytes(path.read_bytes()[-9:]), "shorter than its index"),
    "cut": (lambda path, array: path.write_bytes(path.read_bytes()[:-1]), "checksum differs"),
    "longer": (lambda path, array: path.write_bytes(path.read_bytes() + b"\0"), "checksum differs"),
    "its first byte gone": (lambda path, array: path.write_bytes(path.read_bytes()[1:]), "in the file"),
    "a byte before its index": (
        lambda path, array: path.write_bytes(insert(path.read_bytes(), 16 * math.prod(array.chunks_per_shard) + 4)),
        "there is more in the file than its chunks",
    ),
    "index flipped": (lambda path, array: flip(path, -20), "checksum differs"),
    "checksum of the index flipped": (lambda path, array: flip(path, -1), "checksum differs"),
    "a chunk marked as empty": (
        lambda path, array: write_index(path, array, lambda index: index.__setitem__(1, 2**64 - 1)),
        "1 of [0-9]+ chunks were never written",
    ),
    "all chunks marked as empty": (
        lambda path, array: write_index(path, array, lambda index: index.fill(2**64 - 1)),
        "chunks were never written",
    ),
    "two chunks exchanged": (
        lambda path, array: write_index(path, array, lambda index: index.__setitem__([0, 1], index[[1, 0]])),
        "not where it must be",
    ),
    "a chunk beyond the end": (
        lambda path, array: write_index(path, array, lambda index: index.__setitem__((0, 1), 10**9)),
        "not in the file",
    ),
    "a folder": (lambda path, array: (path.unlink(), path.mkdir()), "."),
}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("bad", [8, 23])
def test_a_window_needs_the_whole_of_its_chunks(damaged: Any, codec: str, bad: int) -> None:
    """Frames before and behind it are checked, too, wherever they are read to."""
    store = damaged(codec=codec)
    array = store.array("responses")
    shard, offset, size = store.chunk_of("responses", 2, frame=bad)
    reader = StreamedVariable(store.mouse.recording, "responses", StoreFiles(store.mouse.index))
    length = reader.chunk_frames
    flip(store.path / shard, offset + (size - 5) * (bad % length) // length)
    for start, number in ((10, 11), (14, length), (0, 7)):
        out, frames = np.zeros((1, *reader.shape(number)), np.float32), [Frames(start, number)]
        if start // length <= bad // length <= (start + number - 1) // length:
            with pytest.raises(CorruptStoreError, match="checksum differs"):
                reader.read([2], frames, out, Scratch())
        else:
            reader.read([2], frames, out, Scratch())
            expected = store.recorded.sample("responses", 2, start, number)
            np.testing.assert_array_equal(in_store_order(reader, array, out)[0], expected)


@pytest.mark.parametrize("codec", ["none", "fast"])
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_reads_that_stop_early_go_on(stores: Stores, codec: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may give less than it was asked for, in the middle of a value."""
    mouse, recorded = stores(kind, codec, "odd chunks")
    window = {"window": 40, "windows": "every"} if kind == "dynamic" else {}
    loader = TrialLoader(mouse, tier=None, batch_size=3, output="numpy", cache="none", **window)
    whole = os.preadv

    def few(descriptor: int, buffers: Sequence[Any], offset: int) -> int:
        first = next(part for part in map(memoryview, buffers) if part.nbytes).cast("B")
        return whole(descriptor, [first[: len(first) // 2 + 1]], offset)

    monkeypatch.setattr(os, "preadv", few)
    for batch in loader:
        assert_batch(batch, recorded)


@pytest.mark.parametrize("codec", ["none", "fast"])
@pytest.mark.parametrize("stride", [1, 2])
def test_neighbouring_chunks_are_read_at_once(
    stores: Stores, codec: str, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, read = list[int](), os.preadv
    monkeypatch.setattr(os, "preadv", lambda descriptor, *rest: reads.append(descriptor) or read(descriptor, *rest))
    mouse, recorded = stores("dynamic", codec, "odd chunks")
    reader = StreamedVariable(mouse.recording, "responses", StoreFiles(mouse.index))
    length = reader.chunk_frames
    wanted = Frames(length // 2, 2 * length // stride, stride)
    assert len(list(reader.chunks(2, wanted))) == 3
    out = np.zeros((1, *reader.shape(wanted.number)), np.float32)
    reads.clear()
    reader.read([2], [wanted], out, Scratch())
    assert len(reads) == 1
    expected = recorded.sample("responses", 2, wanted.start, wanted.number, stride)
    np.testing.assert_array_equal(in_store_order(reader, mouse.index.arrays["responses"], out)[0], expected)


@pytest.mark.parametrize("offered", [True, False])
def test_images_are_read_by_few_calls(tmp_path: Path, offered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system offers that; where it does not, by one each."""
    reads, one = list[int](), os.preadv
    monkeypatch.setattr(os, "preadv", lambda descriptor, *rest: reads.append(descriptor) or one(descriptor, *rest))
    if not offered:
        monkeypatch.setattr(batched_reads, "_idle", [])
        monkeypatch.setattr(batched_reads, "_refused", True)
    elif read_batch([os.open(__file__, os.O_RDONLY)], np.zeros(1, np.int64), np.zeros(8, np.uint8)) is None:
        pytest.skip("the system has no io_submit, or does not allow it")
    source = write_sample(tmp_path, mouse="S0", trials=12, neurons=3)
    mouse = open_mouse(convert_mouse(source, tmp_path / "stores", precision="float32", codec="none").store)
    loader = TrialLoader(mouse, tier=None, batch_size=5, output="numpy", cache="none", variables=["images"])
    reads.clear()
    ids = list[int]()
    for batch in loader:
        for trial, image in zip(batch.trial_id.tolist(), batch.images, strict=True):
            np.testing.assert_array_equal(image, np.load(source / f"data/images/{trial}.npy").astype(np.float32))
            ids.append(trial)
    assert len(set(ids)) == len(mouse.recording.trial_ids)
    assert len(reads) == (0 if offered else len(ids))


@pytest.mark.parametrize("name", ["images", "responses"])
def test_a_damaged_image_among_many_is_named(tmp_path: Path, name: str) -> None:
    """They are checked together where they are read by one call."""
    source = write_sample(tmp_path, mouse="S0", trials=12, neurons=8000)
    mouse = open_mouse(convert_mouse(source, tmp_path / "stores", precision="float32", codec="none").store)
    row = int(mouse.recording.rows_of_tier("train")[2])
    ((shard, offset, size),) = StreamedVariable(mouse.recording, name, StoreFiles(mouse.index)).chunks(
        row, Frames(0, 1)
    )
    (mouse.path / shard).chmod(0o644)
    for place in (offset, offset + size // 2, offset + size - 1):
        flip(mouse.path / shard, place)
        with pytest.raises(CorruptStoreError, match="checksum differs") as raised:
            list(TrialLoader(mouse, tier="train", batch_size=12, output="numpy", cache="none", variables=[name]))
        assert (raised.value.member, raised.value.trial) == (shard, mouse.recording.trial_ids[row])
        flip(mouse.path / shard, place)
    assert len(list(TrialLoader(mouse, tier="train", batch_size=12, output="numpy", cache="none"))) == 1


def insert(data: bytes, before_end: int) -> bytes:
    return data[:-before_end] + b"\0" + data[-before_end:]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(("kind", "cut"), [("dynamic", "odd chunks"), ("static", "small shards")])
def test_a_damaged_shard_is_refused_before_anything_is_read(damaged: Any, damage: str, kind: str, cut: str) -> None:
    store = damaged(kind, cut=cut)
    change, text = DAMAGE[damage]
    name = store.array("responses").shard_path(1)
    change(store.path / name, store.array("responses"))
    with pytest.raises(CorruptStoreError, match=text) as raised:
        store.loader()
    assert (raised.value.path, raised.value.member) == (str(store.path), name)
    assert name in str(raised.value) and "\n" not in str(raised.value)


@needs_proc
def test_a_refused_store_leaves_no_file_open(damaged: Any) -> None:
    store = damaged()
    before = open_files(store.path)
    flip(store.path / store.array("behavior").shard_path(2), -1)
    for _ in range(3):
        with pytest.raises(CorruptStoreError):
            store.loader()
    assert open_files(store.path) == before


@pytest.mark.parametrize("codec", CODECS)
def test_a_shard_that_is_cut_while_it_is_read(damaged: Any, codec: str) -> None:
    store = damaged(codec=codec)
    loader = store.loader(cache="none")
    shard, offset, size = store.chunk_of("videos", 2, frame=60)
    with open(store.path / shard, "r+b") as file:
        file.truncate(offset + size - 1)
    assert store.epoch(loader) == store.recorded.ids[:2]
    assert store.error.member == shard and f"trial {store.recorded.ids[2]}: " in str(store.error)
    assert "ends early" in str(store.error)


@settings(max_examples=40)
@given(st.data())
def test_no_flip_anywhere_changes_a_number(
    stores: Stores, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any bit of any shard: an error that names the shard, or the numbers as they were, where it was not needed."""
    kind, codec, cut = data.draw(cases.filter(lambda one: one[0] != "float64"))
    mouse, recorded = stores(kind, codec, cut)
    name = data.draw(st.sampled_from(mouse.variables))
    shard = data.draw(
        st.sampled_from([mouse.recording.arrays[name].shard_path(n) for n in range(mouse.recording.arrays[name].files)])
    )
    size = (mouse.path / shard).stat().st_size
    place, bit = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 7))
    store = Damaged(mouse, recorded, tmp_path_factory.mktemp("flip"))
    flip(store.path / shard, place, 1 << bit)
    try:
        for batch in store.loader(batch_size=4, cache=data.draw(st.sampled_from(["auto", "none"]))):
            assert_batch(batch, recorded)
    except CorruptStoreError as error:
        assert error.member == shard
    else:
        assert "frame" in mouse.recording.arrays[name].dimensions
    finally:
        shutil.rmtree(store.path)


# Stores that are replaced


@pytest.fixture
def replaceable(folders: dict[str, Path], tmp_path: Path) -> tuple[Mouse, Recorded, Callable[[], Mouse]]:
    """A mouse, what it holds, and what puts a store with other numbers in its place."""
    other = write_sample(tmp_path / "other", **SOURCES["dynamic"], seed=1)
    mouse = pack(folders["dynamic"], tmp_path / "stores", "odd chunks")
    return mouse, Recorded(mouse), lambda: pack(other, tmp_path / "stores", "odd chunks", replace=True)


def test_a_store_that_was_replaced_is_refused(replaceable: Any) -> None:
    mouse, recorded, replace = replaceable
    fresh = replace()
    with pytest.raises(CorruptStoreError, match="the store was replaced since it was opened; open it again") as raised:
        TrialLoader(mouse, tier=None, batch_size=2, output="numpy")
    assert raised.value.path == str(mouse.path)
    found = Recorded(fresh)
    assert not np.array_equal(found.values["responses"], recorded.values["responses"], equal_nan=True)
    for batch in TrialLoader(fresh, tier=None, batch_size=2, output="numpy"):
        assert_batch(batch, found)


def test_a_store_that_was_removed_is_refused(replaceable: Any) -> None:
    mouse, _, _ = replaceable
    assert len(mouse.trials)
    shutil.rmtree(mouse.path)
    with pytest.raises(CorruptStoreError, match="missing|No such file or directory") as raised:
        TrialLoader(mouse, tier=None, batch_size=2, output="numpy")
    assert raised.value.path == str(mouse.path)


# Files that are open


@needs_proc
@pytest.mark.parametrize(("may", "folder"), [(0, 1), (3, 1), (1000, 1), (0, 0), (3, 0)])
def test_no_more_files_stay_open_than_may(
    stores: Stores, may: int, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are opened for each use; all is read right, and nothing stays open behind the loader."""
    mouse, recorded = stores("dynamic", "fast", "small shards")
    gc.collect()  # loaders of other tests that have this store open
    monkeypatch.setattr("trialpack.readers.direct.store_files._open", threading.Semaphore(may))
    monkeypatch.setattr("trialpack.readers.direct.store_files._folders", threading.Semaphore(folder))
    shards, before, most = sum(array.files for array in mouse.recording.arrays.values()), open_files(mouse.path), 0
    assert shards > 20
    loader = TrialLoader(mouse, tier=None, batch_size=3, output="numpy", cache="none", threads=2, shuffle=True)
    for _ in range(2):
        for batch in loader:
            assert_batch(batch, recorded)
            most = max(most, open_files(mouse.path) - before)
    threads, manifest = 2 if folder else 4, 1
    assert most <= min(may, shards + manifest) + folder + threads
    del loader, batch
    assert open_files(mouse.path) == before
    for _ in range(may):
        assert sys.modules["trialpack.readers.direct.store_files"]._open.acquire(blocking=False)
    assert sys.modules["trialpack.readers.direct.store_files"]._folders.acquire(blocking=False) == bool(folder)


FEW_FILES = """
import hashlib, json, os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
from trialpack.readers import TrialLoader, open_mouse
mice = [open_mouse(path) for path in sys.argv[1:]]
before = len(os.listdir("/proc/self/fd"))
loaders = [TrialLoader(mouse, tier=None, batch_size=2, output="numpy", threads=3, cache="none") for mouse in mice]
digest, most = hashlib.sha256(), 0
for loader in loaders * 2:
    for batch in loader:
        digest.update(batch["responses"].tobytes())
        most = max(most, len(os.listdir("/proc/self/fd")))
del loader, loaders, batch
print(json.dumps([digest.hexdigest(), before, most, len(os.listdir("/proc/self/fd"))]))
"""


@needs_proc
def test_more_shards_than_files_may_be_open(stores: Stores, tmp_path: Path) -> None:
    """Two stores of 32 shards each, in a process that may have 48 files."""
    mouse, recorded = stores("dynamic", "fast", "small shards")
    paths = [str(shutil.copytree(mouse.path, tmp_path / number / mouse.path.name)) for number in ("1", "2")]
    assert 2 * sum(array.files for array in mouse.recording.arrays.values()) > 48
    done = subprocess.run([sys.executable, "-c", FEW_FILES, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found, before, most, after = json.loads(done.stdout)
    expected = hashlib.sha256()
    for batch in itertools.chain(*[TrialLoader(mouse, tier=None, batch_size=2, output="numpy") for _ in range(4)]):
        assert_batch(batch, recorded)
        expected.update(batch["responses"].tobytes())
    assert found == expected.hexdigest()
    assert after == before and most < 48


def test_the_journal_of_bytes(stores: Stores) -> None:
    """An epoch reads each byte of the chunks that it needs once, and decodes them all."""
    mouse, _ = stores("static", "none", "odd chunks")
    loader = TrialLoader(mouse, tier=None, batch_size=7, output="numpy", cache="none")
    list(loader)
    arrays = mouse.recording.arrays.values()
    assert loader.stats.tally.bytes_decoded == sum(array.nbytes for array in arrays)
    chunks = sum(array.shape[0] for array in arrays)
    assert loader.stats.tally.bytes_read == loader.stats.tally.bytes_decoded + 4 * chunks


def test_conversion_constants_are_back(stores: Stores) -> None:
    """What `quickly` changes is changed for the time of a conversion only."""
    stores("dynamic", "fast", "odd chunks")
    assert layout.CHUNK_FRAMES == 15
    with quickly(CHUNK_FRAMES=5):
        assert layout.CHUNK_FRAMES == 5
    assert layout.CHUNK_FRAMES == 15

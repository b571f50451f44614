"""The direct path reads variables of any dtype and any axes, whole and in part, streamed and from memory."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from trialpack.readers.direct import (
    FLOAT32,
    Affine,
    CachedVariable,
    Frames,
    Scratch,
    StoreFiles,
    StreamedVariable,
    cached_nbytes,
)
from trialpack.readers.direct.copying import copy_reordered
from trialpack.store import CorruptStoreError, StoreFormatError
from trialpack.store.chunk_codecs import ChunkCodec
from trialpack.store.compressors import COMPRESSORS
from trialpack.store.folder import StoreFolder
from trialpack.store.layout import ArrayLayout

from .test_codecs import DTYPES, OF_NUMBERS, needs, write
from .test_shards import same_bits

Array = NDArray[Any]
SIZES = {"neuron": 5, "frame": 23, "height": 3, "width": 4}
TRIALS, FRAMES_IN_CHUNK = 6, 7
FLOATS = ["float16", "float32", "float64"]

# numcodecs' classes warn that they are outside of the Zarr specification; docs/format.md says so of `pcodec` too.
pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")


class Written:
    """A variable on disk, and its values."""

    def __init__(self, root: Path, axes: tuple[str, ...], dtype: str, codec: ChunkCodec, shared: int = 1) -> None:
        shape = tuple(SIZES[axis] for axis in axes)
        chunk = tuple(FRAMES_IN_CHUNK if axis == "frame" and shared == 1 else SIZES[axis] for axis in axes)
        whole = tuple(math.ceil(size / step) * step for size, step in zip(shape, chunk, strict=True))
        self.array = ArrayLayout(
            "v", (TRIALS, *shape), dtype, ("trial", *axes), (shared, *chunk), (4 * shared, *whole), codec
        )
        # Whole numbers that every dtype holds.
        self.values = np.random.default_rng(len(axes)).integers(0, 2 if dtype == "bool" else 100, (TRIALS, *shape))
        self.values = self.values.astype(dtype)
        write(root, self.array, self.values)
        self.root, ids = root, np.arange(10, 10 + TRIALS)
        self._recording: Any = SimpleNamespace(arrays={"v": self.array}, root=root, label=str(root), trial_ids=ids)
        self._index: Any = SimpleNamespace(place=StoreFolder(root))

    def reader(
        self, dtype: Any = FLOAT32, neurons: Any = None, affine: Affine | None = None, axes: Any = None
    ) -> StreamedVariable:
        files = StoreFiles(self._index)
        return StreamedVariable(self._recording, "v", files, neurons, affine, np.dtype(dtype), axes)

    def sample(self, row: int, frames: Frames, neurons: Any) -> Array:
        """Return a sample, axes as of the array."""
        axes, values = self.array.dimensions[1:], self.values[row, ...]
        if "frame" in axes:
            values = values.take(frames.start + frames.stride * np.arange(frames.number), axes.index("frame"))
        if neurons is not None and "neuron" in axes:
            values = values.take(neurons, axes.index("neuron"))
        return values

    def assert_read(self, reader: Any, rows: list[int], frames: list[Frames], neurons: Any) -> None:
        out = np.full((len(rows), *reader.shape(frames[0].number)), 1, reader.dtype)
        reader.read(rows, frames, out, Scratch())
        given = [reader.axes.index(axis) for axis in self.array.dimensions[1:]]
        found = out.transpose(0, *(1 + axis for axis in given))
        expected = [self.sample(row, one, neurons) for row, one in zip(rows, frames, strict=True)]
        assert same_bits(np.ascontiguousarray(found), np.stack(expected).astype(reader.dtype))


ALL_AXES = [axes for number in range(4) for axes in itertools.permutations(SIZES, number)]


@st.composite
def codecs(draw: st.DrawFn, axes: tuple[str, ...], dtype: str) -> ChunkCodec:
    known = [name for name in OF_NUMBERS if COMPRESSORS[name].supports(np.dtype(dtype))]
    order = draw(st.permutations(range(1, len(axes) + 1)))
    return ChunkCodec(draw(st.sampled_from(known)), draw(st.sampled_from([(), (0, *order)])) if axes else ())


@settings(max_examples=250, deadline=None)
@given(st.data())
def test_any_axes_any_dtype(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    needs("pcodec")
    axes, stored = data.draw(st.sampled_from(ALL_AXES)), data.draw(st.sampled_from(DTYPES))
    codec, shared = data.draw(codecs(axes, stored)), data.draw(st.sampled_from([1, 1, 3]))
    written = Written(tmp_path_factory.mktemp("any"), axes, stored, codec, shared)
    neurons = data.draw(st.none() | st.permutations(range(SIZES["neuron"])).map(lambda some: np.array(some[:3])))
    wanted = data.draw(st.sampled_from([*FLOATS, stored]))
    source = written.reader(wanted, neurons, axes=data.draw(st.none() | st.permutations(axes)))
    most = SIZES["frame"] if "frame" in axes else 0
    reader: Any = CachedVariable(source, np.arange(TRIALS), most) if data.draw(st.booleans()) else source
    if reader is not source:
        assert reader.values.nbytes == cached_nbytes(source, TRIALS, most)
        assert reader.values.dtype == reader.dtype == wanted
    for _ in range(3):
        rows = data.draw(st.lists(st.integers(0, TRIALS - 1), min_size=1, max_size=3))
        stride = data.draw(st.integers(1, 3))
        number = data.draw(st.integers(1, (SIZES["frame"] - 1) // stride + 1))
        room = SIZES["frame"] - (number - 1) * stride - 1
        starts = [data.draw(st.integers(0, room)) for _ in rows]
        frames = [Frames(start, number, stride) if most else Frames(0, 0) for start in starts]
        written.assert_read(reader, rows, frames, neurons)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("wanted", FLOATS)
@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("axes", [(), ("frame",), ("height", "frame", "neuron")], ids=" ".join)
def test_shift_and_scale_of_any_axes(
    tmp_path: Path, axes: tuple[str, ...], wanted: str, cached: bool, moved: bool
) -> None:
    written = Written(tmp_path, axes, "int16", ChunkCodec("lz4"))
    shape = tuple(SIZES[axis] for axis in axes)
    shift = np.arange(math.prod(shape), dtype=np.float32).reshape(shape) % 8
    reader: Any = written.reader(
        wanted, affine=Affine(shift, np.full(shape, 2, np.float32)), axes=axes[::-1] if moved else None
    )
    total = SIZES["frame"] if axes else 0
    reader = CachedVariable(reader, np.arange(TRIALS), total) if cached else reader
    out = np.empty((TRIALS, *reader.shape(total)), wanted)
    reader.read(range(TRIALS), [Frames(0, total)] * TRIALS, out, Scratch())
    found = out.transpose(0, *(1 + reader.axes.index(axis) for axis in axes))
    assert same_bits(np.ascontiguousarray(found), ((written.values - shift) / 2).astype(wanted))


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize(("frames", "neurons"), [(300, 1000), (80, 2500), (1, 20_000), (20_000, 3), (300, 1), (0, 5)])
def test_frames_of_neurons_become_neurons_of_frames(dtype: str, frames: int, neurons: int) -> None:
    """In blocks, the last of which is smaller, and of so many frames that no block of neurons fits the cache."""
    stored = (np.arange(frames * neurons) % 251).astype(dtype).reshape(frames, neurons)
    out, scratch = np.ones((neurons, frames), dtype), Scratch()
    copy_reordered(stored.T, out, scratch)
    assert same_bits(out, np.ascontiguousarray(stored.T))


@pytest.mark.parametrize("axes", [("frame", "neuron"), ("height", "frame", "width")], ids=" ".join)
@pytest.mark.parametrize("name", ["none", "lz4"])
def test_only_equal_dtypes_are_decoded_in_place(
    tmp_path: Path, axes: tuple[str, ...], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole chunk that fills contiguous memory needs no scratch for its values."""
    written = Written(tmp_path, axes, "int16", ChunkCodec(name, (0, 2, 1, 3) if len(axes) == 3 else ()))
    used = list[tuple[int, ...]]()
    chunk = Scratch.chunk
    monkeypatch.setattr(Scratch, "chunk", lambda self, *of: used.append(of[0]) or chunk(self, *of))
    frames = Frames(FRAMES_IN_CHUNK, 2 * FRAMES_IN_CHUNK)
    written.assert_read(written.reader("int16"), [1], [frames], None)
    assert used == []
    written.assert_read(written.reader("float32"), [1], [frames], None)
    # Neighbours lie there one behind another, to be copied at once.
    assert used == [(1, 2 * FRAMES_IN_CHUNK, *(SIZES[axis] for axis in axes if axis != "frame"))]


def test_a_cut_that_cannot_be_streamed_is_refused(tmp_path: Path) -> None:
    written = Written(tmp_path, ("neuron", "frame"), "float32", ChunkCodec("lz4"))
    cut = ArrayLayout(
        "v", (TRIALS, 5, 23), "float32", written.array.dimensions, (1, 2, 23), (4, 6, 23), ChunkCodec("lz4")
    )
    written.array = cut
    written._recording.arrays["v"] = cut
    with pytest.raises(StoreFormatError, match="cut into chunks in a way that cannot be streamed"):
        written.reader()


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    written = Written(tmp_path, (), "uint8", ChunkCodec("none"), shared=3)
    (tmp_path / "v" / "c.0").unlink()
    with pytest.raises(CorruptStoreError, match=r"v/c\.0: missing \(the manifest lists it\)"):
        written.reader("uint8")

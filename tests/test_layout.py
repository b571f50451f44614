"""Layout: arithmetic that must hold for every mouse, and metadata that is read back strictly."""

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trialpack.convert.published_mice import PublishedMouse, published_mice
from trialpack.store import layout
from trialpack.store.chunk_codecs import ChunkCodec
from trialpack.store.layout import ArrayLayout, CodecName, Variable
from trialpack.store.metadata import array_document, parse_array, to_json
from trialpack.store.variables import DTYPES

from .mice import published_variables

SMALL_DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
SMALL_DTYPES += ("float16", "float32", "float64", "string")
LETTERS = tuple(published_mice())
CODEC_NAMES = tuple(layout.CODECS)
MB = 1_000_000
# A busy machine is no failure.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

trial_sizes = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.one_of(st.integers(1, 400), st.integers(1, 40_000), st.integers(1, 40 * MB)),
    min_size=1,
)


def trial_shapes(mouse: PublishedMouse) -> dict[str, tuple[int, ...]]:
    """Shapes of one trial in the store, at the published sizes."""
    frames, neurons = mouse.n_frames, mouse.n_neurons
    if mouse.kind == "static":
        return {"images": (1, 144, 256), "responses": (neurons,), "behavior": (3,), "pupil_center": (2,)}
    return {
        "videos": (frames, 36, 64),
        "responses": (neurons, frames),
        "behavior": (2, frames),
        "pupil_center": (2, frames),
    }


def recorded(mouse: PublishedMouse, codec: CodecName, dtype: str) -> list[ArrayLayout]:
    shapes, n_trials = trial_shapes(mouse), len(mouse.trial_ids)
    sizes = {name: math.prod(shape) * np.dtype(dtype).itemsize for name, shape in shapes.items()}
    rows = layout.rows_per_shard(n_trials, sizes)
    return [
        layout.variable_layout(v, shapes[v.name], n_trials=n_trials, rows=rows, codec=codec)
        for v in published_variables(mouse.kind, dtype)
    ]


@st.composite
def variable_layouts(draw: st.DrawFn) -> ArrayLayout:
    """The array of any variable of any size."""
    kind = draw(st.sampled_from(["static", "dynamic"]))
    dtype = draw(st.sampled_from(DTYPES))
    variable: Variable = draw(st.sampled_from(published_variables(kind, dtype)))
    shape = tuple(draw(st.integers(1, 500)) for _ in variable.dimensions)
    n_trials = draw(st.integers(1, 3000))
    rows = layout.rows_per_shard(n_trials, {variable.name: math.prod(shape) * np.dtype(dtype).itemsize})
    codec = draw(st.sampled_from(CODEC_NAMES))
    return layout.variable_layout(variable, shape, n_trials=n_trials, rows=rows, codec=codec)


@st.composite
def small_layouts(draw: st.DrawFn) -> ArrayLayout:
    """Any array beside the trials."""
    shape = tuple(draw(st.lists(st.integers(0, 60), max_size=4)))
    names = st.text("abcdefghij/_.", min_size=1, max_size=9)
    dimensions = tuple(draw(st.lists(names, min_size=len(shape), max_size=len(shape))))
    attributes = draw(st.dictionaries(st.text(max_size=5), st.one_of(st.text(), st.integers(), st.booleans())))
    return layout.small_layout("trials/some", shape, draw(st.sampled_from(SMALL_DTYPES)), dimensions, attributes)


# Rows, chunks, shards


@patiently
@given(st.integers(1, 8000), trial_sizes)
def test_a_shard_holds_whole_chunks_of_every_variable(n_trials: int, sizes: Mapping[str, int]) -> None:
    rows = layout.rows_per_shard(n_trials, sizes)
    for size in sizes.values():
        shared = layout.rows_per_chunk(rows, size)
        assert 1 <= shared <= rows and rows % shared == 0
        joint = shared == rows and shared * size <= layout.CHUNK_BYTES * layout.JOINT_CHUNKS
        assert shared == 1 or shared * size <= layout.CHUNK_BYTES or joint


@patiently
@given(st.integers(1, 8000), trial_sizes)
def test_every_row_is_in_exactly_one_shard(n_trials: int, sizes: Mapping[str, int]) -> None:
    rows = layout.rows_per_shard(n_trials, sizes)
    shards = [range(start, min(start + rows, n_trials)) for start in range(0, n_trials, rows)]
    assert layout.n_shards(n_trials, rows) == len(shards)
    assert [row for shard in shards for row in shard] == list(range(n_trials))
    assert all(shards)


@patiently
@given(st.integers(1, 8000), trial_sizes)
def test_shards_stay_near_the_size_they_aim_at(n_trials: int, sizes: Mapping[str, int]) -> None:
    rows, largest = layout.rows_per_shard(n_trials, sizes), max(sizes.values())
    # Less than a trial more than aimed at, before rounding up to whole chunks less than doubles it.
    assert rows * largest < 2 * (layout.SHARD_BYTES + largest)
    enough = rows * largest >= layout.SHARD_BYTES // 2 - largest
    assert enough or layout.n_shards(n_trials, rows) == 1


@patiently
@given(st.integers(1, 200), st.integers(1, 4000), st.integers(10, 5000), st.integers(10, 5000))
def test_other_constants_keep_the_rules(n_trials: int, size: int, shard_bytes: int, chunk_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "SHARD_BYTES", shard_bytes)
        patch.setattr(layout, "CHUNK_BYTES", chunk_bytes)
        rows = layout.rows_per_shard(n_trials, {"a": size, "b": 3})
        assert rows % layout.rows_per_chunk(rows, size) == 0
        assert rows % layout.rows_per_chunk(rows, 3) == 0


@patiently
@given(variable_layouts())
def test_a_shard_is_whole_chunks_along_every_axis(array: ArrayLayout) -> None:
    assert array.shard is not None
    assert all(outer % inner == 0 for outer, inner in zip(array.shard, array.chunk, strict=True))
    assert array.chunks_per_shard == tuple(s // c for s, c in zip(array.shard, array.chunk, strict=True))
    # One shard spans the whole trial, and no more chunks of it than needed.
    assert array.chunks_per_shard[1:] == tuple(
        math.ceil(size / step) for size, step in zip(array.shape[1:], array.chunk[1:], strict=True)
    )
    assert array.files == layout.n_shards(array.shape[0], array.shard[0])
    names = [array.shard_path(number) for number in range(array.files)]
    assert len(set(names)) == array.files
    assert names[-1] == f"{array.path}/c.{array.files - 1}" + ".0" * (len(array.shape) - 1)


@settings(patiently, max_examples=60)
@given(variable_layouts(), st.data())
def test_blocks_cover_a_trial_exactly_in_the_order_of_the_file(array: ArrayLayout, data: st.DataObject) -> None:
    shape = tuple(data.draw(st.integers(1, 40)) for _ in array.shape[1:])
    chunk = tuple(data.draw(st.integers(1, 40)) for _ in array.shape[1:])
    array = dataclasses.replace(array, shape=(5, *shape), chunk=(2, *chunk), shard=None)
    blocks = list(array.blocks())
    seen = np.zeros(shape, int)
    for block in blocks:
        seen[block] += 1
    assert (seen == 1).all()
    starts = [tuple(part.start for part in block) for block in blocks]
    assert starts == list(itertools.product(*(range(0, n, c) for n, c in zip(shape, chunk, strict=True))))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("codec", CODEC_NAMES)
@pytest.mark.parametrize("letter", LETTERS)
def test_published_mice_get_shards_and_chunks_of_sensible_size(letter: str, codec: CodecName, dtype: str) -> None:
    mouse = published_mice()[letter]
    arrays = recorded(mouse, codec, dtype)
    sizes = {array.path: math.prod(array.shard or ()) * array.numpy_dtype.itemsize for array in arrays}
    largest = max(arrays, key=lambda array: array.trial_nbytes)
    # Padding of the last frames to a whole chunk is within the bound.
    assert 100 * MB <= sizes[largest.path] <= 400 * MB
    assert len({array.files for array in arrays}) == 1
    assert 5 <= largest.files <= 130
    for array in arrays:
        joint = layout.CHUNK_BYTES * layout.JOINT_CHUNKS
        assert array.chunk_nbytes <= max(joint, math.prod(array.chunk[1:]) * array.numpy_dtype.itemsize)
        assert array.chunk_nbytes <= 6 * MB
        rows = [row for n in range(array.files) for row in _rows(array, n)]
        assert rows == list(range(len(mouse.trial_ids)))


def _rows(array: ArrayLayout, number: int) -> range:
    assert array.shard is not None
    return range(number * array.shard[0], min((number + 1) * array.shard[0], array.shape[0]))


# Metadata


@patiently
@given(st.one_of(variable_layouts(), small_layouts()))
def test_metadata_reads_back_as_the_layout(array: ArrayLayout) -> None:
    document = json.loads(to_json(array_document(array)))
    assert parse_array(array.path, document) == array


@pytest.mark.parametrize("codec", CODEC_NAMES)
@pytest.mark.parametrize("letter", LETTERS)
def test_metadata_of_published_mice_reads_back(letter: str, codec: CodecName) -> None:
    for array in recorded(published_mice()[letter], codec, "float32"):
        assert parse_array(array.path, json.loads(to_json(array_document(array)))) == array


def _leaves(node: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document, inner ones too."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, child in children for found in [(*place, key), *_leaves(child, (*place, key))]]


json_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(["NaN", "float32", "float64", "int64", "string", "bytes", "zstd", "big", "start", "/"]),
    st.lists(st.integers(-3, 70), max_size=4),
    st.dictionaries(st.sampled_from(["name", "configuration", "endian"]), st.text(max_size=4), max_size=2),
)


@settings(patiently, max_examples=400)
@given(st.one_of(variable_layouts(), small_layouts()), st.data())
def test_a_changed_document_is_refused_or_describes_another_array(array: ArrayLayout, data: st.DataObject) -> None:
    document = json.loads(to_json(array_document(array)))
    places = [place for place in _leaves(document) if place[0] != "attributes"]
    place = data.draw(st.sampled_from(places))
    node = document
    for key in place[:-1]:
        node = node[key]
    change = data.draw(st.sampled_from(["set", "remove", "add"]))
    if change == "set":
        value = data.draw(json_values)
        if node[place[-1]] == value:
            return
        node[place[-1]] = value
    elif change == "remove":
        del node[place[-1]]
    elif isinstance(node, dict):
        node["unknown"] = data.draw(json_values)
    else:
        node.insert(place[-1], data.draw(json_values))
    found = parse_array(array.path, document)
    assert found != array
    assert found is None or array_document(found) == document


FRAMES = layout.variable_layout(published_variables("dynamic")[1], (7000, 324), n_trials=700, rows=17, codec="none")
LZ4 = layout.variable_layout(published_variables("dynamic")[1], (7000, 324), n_trials=700, rows=17, codec="fast")
TABLE = layout.small_layout("trials/trial_id", (12,), "int64", ("trial",), {})
_INNER = ("codecs", 0, "configuration")
REMOVED = object()

CHANGES: dict[str, tuple[ArrayLayout, tuple[Any, ...], Any]] = {
    "zarr format 2": (LZ4, ("zarr_format",), 2),
    "a group": (LZ4, ("node_type",), "group"),
    "fill value zero": (LZ4, ("fill_value",), 0),
    "fill value as bits": (LZ4, ("fill_value",), "0x7fc00000"),
    "fill value one": (TABLE, ("fill_value",), 1),
    "slashes in names": (LZ4, ("chunk_key_encoding", "configuration", "separator"), "/"),
    "names of version 2": (LZ4, ("chunk_key_encoding", "name"), "v2"),
    "other grid": (LZ4, ("chunk_grid", "name"), "rectilinear"),
    "index first": (LZ4, (*_INNER, "index_location"), "start"),
    "index without checksum": (LZ4, (*_INNER, "index_codecs", 1), REMOVED),
    "chunks without checksum": (LZ4, (*_INNER, "codecs", -1), REMOVED),
    "no checksum of a table": (TABLE, ("codecs", -1), REMOVED),
    "a pickle": (TABLE, ("codecs", 0), {"name": "numcodecs.pickle", "configuration": {"protocol": 5}}),
    "a pickle of chunks": (LZ4, (*_INNER, "codecs", 1), {"name": "numcodecs.pickle", "configuration": {"protocol": 5}}),
    "checksum of the shard": (LZ4, ("codecs",), [*array_document(LZ4)["codecs"], {"name": "crc32c"}]),
    "storage transformer": (LZ4, ("storage_transformers",), [{"name": "any"}]),
    "unknown key": (LZ4, ("extra",), {"name": "any", "must_understand": False}),
    "no dimension names": (LZ4, ("dimension_names",), None),
    "unknown dtype": (LZ4, ("data_type",), "float7"),
    "complex": (LZ4, ("data_type",), "complex64"),
    "attributes that are a list": (LZ4, ("attributes",), [["a", 1]]),
    "shape of fewer axes": (LZ4, ("shape",), [700, 7000]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_metadata_is_refused(name: str) -> None:
    array, place, value = CHANGES[name]
    assert parse_array(array.path, _changed(array, place, value)) is None


# Codecs that zarr-python knows are left to it; none that could run code is among them.
OTHER_CODECS: dict[str, tuple[ArrayLayout, tuple[Any, ...], Any]] = {
    "big-endian": (LZ4, (*_INNER, "codecs", 0, "configuration", "endian"), "big"),
    "other level": (LZ4, (*_INNER, "codecs", 1, "configuration", "clevel"), 9),
    "bit shuffle": (LZ4, (*_INNER, "codecs", 1, "configuration", "shuffle"), "bitshuffle"),
    "other type size": (LZ4, (*_INNER, "codecs", 1, "configuration", "typesize"), 8),
    "gzip": (LZ4, (*_INNER, "codecs", 1), {"name": "gzip", "configuration": {"level": 1}}),
    "float64 with the codecs of float32": (LZ4, ("data_type",), "float64"),
}


@pytest.mark.parametrize("name", OTHER_CODECS)
def test_other_codecs_are_told_from_those_of_the_format(name: str) -> None:
    array, place, value = OTHER_CODECS[name]
    document = _changed(array, place, value)
    found = parse_array(array.path, document)
    assert found is not None and found != array
    assert found.codec.compressor == "other" and array_document(found) == document


# Python takes some of these for equal to what it writes; others are documents of layouts that
# `variable_layout` and `small_layout` never make.
NEVER_WRITTEN: dict[str, tuple[ArrayLayout, tuple[Any, ...], Any]] = {
    "zarr format as a fraction": (LZ4, ("zarr_format",), 3.0),
    "a truth value in the shape": (TABLE, ("shape",), [True]),
    "a truth value as fill value": (TABLE, ("fill_value",), False),
    "shape as a fraction": (TABLE, ("shape",), [12.0]),
    "negative shape": (TABLE, ("shape",), [-12]),
    "empty chunks": (TABLE, ("chunk_grid", "configuration", "chunk_shape"), [0]),
    "a small array in many files": (TABLE, ("chunk_grid", "configuration", "chunk_shape"), [5]),
    "broken chunks in a shard": (LZ4, (*_INNER, "chunk_shape"), [2, 7000, 60]),
    "a shard of part of a trial": (LZ4, (*_INNER, "chunk_shape"), [1, 7000, 20]),
    "an axis twice": (FRAMES, (*_INNER, "codecs", 0, "configuration", "order"), [0, 1, 1]),
    "an axis that is not there": (FRAMES, (*_INNER, "codecs", 0, "configuration", "order"), [0, 2, 7]),
    "numpy's name of the dtype": (LZ4, ("data_type",), "f4"),
    "other byte order in the dtype": (LZ4, ("data_type",), ">f4"),
    "names for fewer axes": (LZ4, ("dimension_names",), ["trial"]),
    "numbers as names": (TABLE, ("dimension_names",), [1]),
}


@pytest.mark.parametrize("name", NEVER_WRITTEN)
def test_changed_metadata_that_python_takes_for_equal_is_refused(name: str) -> None:
    array, place, value = NEVER_WRITTEN[name]
    assert parse_array(array.path, _changed(array, place, value)) is None


@pytest.mark.parametrize("document", [None, [], {}, 3, "", {"node_type": "array"}], ids=repr)
def test_what_is_no_document_is_refused(document: Any) -> None:
    assert parse_array("a", document) is None


def _changed(array: ArrayLayout, place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    document = json.loads(to_json(array_document(array)))
    assert parse_array(array.path, document) == array
    before = json.dumps(document)
    node = document
    for key in place[:-1]:
        node = node[key]
    if value is REMOVED:
        del node[place[-1]]
    else:
        node[place[-1]] = value
    assert json.dumps(document) != before
    return document


# Facts of a layout


@pytest.mark.parametrize(("dtype", "fill"), [("int32", 0), ("bool", False), ("string", ""), ("uint8", 0)])
def test_fill_values(dtype: str, fill: object) -> None:
    array = layout.small_layout("a", (3,), dtype, ("x",), {})
    assert array.fill_value == fill and type(array.fill_value) is type(fill)
    assert array_document(array)["fill_value"] == fill


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_missing_floats_are_nan(dtype: str) -> None:
    array = layout.small_layout("a", (3,), dtype, ("x",), {})
    assert math.isnan(array.fill_value)
    assert array_document(array)["fill_value"] == "NaN"


@patiently
@given(variable_layouts())
def test_sizes_in_bytes(array: ArrayLayout) -> None:
    itemsize = array.numpy_dtype.itemsize
    assert array.nbytes == math.prod(array.shape) * itemsize
    assert array.trial_nbytes * array.shape[0] == array.nbytes
    assert array.chunk_nbytes == math.prod(array.chunk) * itemsize


@pytest.mark.parametrize("codec", CODEC_NAMES)
@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_frames_come_first_only_where_the_codec_says_so(kind: layout.Kind, codec: CodecName) -> None:
    for variable in published_variables(kind):
        shape = tuple(range(5, 5 + len(variable.dimensions)))
        array = layout.variable_layout(variable, shape, n_trials=9, rows=9, codec=codec)
        axis = variable.frame_axis
        if layout.CODECS[codec][0].frame_major and axis is not None:
            stored = array.codec.stored_shape(array.chunk)
            assert stored[:2] == (array.chunk[0], array.chunk[axis + 1])
            assert sorted(array.codec.order) in ([], list(range(len(array.shape))))
        else:
            assert array.codec == ChunkCodec(layout.CODECS[codec][0].compressor)

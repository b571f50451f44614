"""What is missing of a store is an error, or NaN: never zeros, nor any other number."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from trialpack.readers import Mouse, Statistics, open_mouse, train_statistics
from trialpack.store import CorruptStoreError, check_quick, layout
from trialpack.store.layout import ArrayLayout

from ..mice import Array
from .damages import (
    CODECS,
    KINDS,
    Damage,
    TinyStores,
    copy_store,
    full,
    is_found,
    mark_empty,
    plain_copy,
    remove,
    replace_by_folder,
    reseal,
    set_aside,
    spans,
)
from .promises import Tally
from .reading import Way, attempt, is_padding, plain_ways, way, ways_to_shard, ways_to_small

Size = Callable[[int, int], int]

# numcodecs' classes warn that they are outside of the Zarr specification; docs/format.md says so of `pcodec` too.
pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification"),
]


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=CODECS)
def store(request: pytest.FixtureRequest, stores: TinyStores, kind: str, tmp_path: Path) -> Path:
    """A writable copy of a store of any kind and codec."""
    return copy_store(stores(kind, request.param), tmp_path / "copy.zarr")


@pytest.fixture
def with_statistics(stores: TinyStores, kind: str, tmp_path: Path) -> Path:
    """A writable copy of a store with train statistics."""
    return copy_store(stores(kind, statistics=True), tmp_path / "copy.zarr")


def all_ways(mouse: Mouse, array: ArrayLayout, number: int) -> list[Way]:
    rows, pcodec = array.rows_of_shard(number), array.codec.compressor == "pcodec"
    others = plain_ways(mouse.path / array.path, slice(rows.start, rows.stop), pcodec=pcodec)
    return [*ways_to_shard(mouse, array, number), *others]


def assert_absent(ways: Iterable[Way], names: list[str], *, padding: bool = False) -> None:
    """Of trialpack an error that names one of the files; of others an error or NaN, which is right of padding."""
    for one in ways:
        outcome, error = attempt(one)
        assert outcome in ("error", *([] if one.ours else ["absent"]), *(["right"] if padding else [])), (
            f"{names}: {one.name}: {outcome}"
        )
        if one.ours:
            assert isinstance(error, CorruptStoreError) and error.member in names, f"{one.name}: {error!r}"


# Files


@pytest.mark.promise(11)
@pytest.mark.parametrize("damage", [remove, replace_by_folder], ids=lambda function: function.__name__)
def test_a_missing_shard_is_no_number(store: Path, tmp_path: Path, tally: Tally, size: Size, damage: Damage) -> None:
    """Refused when the store is opened; when it was opened before, all that reads the shard says so.

    Short: one shard of each variable.
    """
    mouse, rng = open_mouse(store), np.random.default_rng(10)
    for array in mouse.index.recorded:
        for number in range(array.files) if size(0, 1) else [int(rng.integers(array.files))]:
            name, ways = array.shard_path(number), all_ways(mouse, array, number)
            tally.inject()
            with set_aside(store / name, tmp_path):
                damage(store / name)
                assert is_found(store, open_mouse, [name])
                assert_absent(ways, [name])
            assert [attempt(one)[0] for one in ways] == ["right"] * len(ways)
            tally.survive()


@pytest.mark.promise(11)
def test_a_variable_without_any_shard_is_no_number(store: Path, tally: Tally) -> None:
    mouse = open_mouse(store)
    for array in mouse.index.recorded:
        names = [array.shard_path(number) for number in range(array.files)]
        ways = [one for number in range(array.files) for one in all_ways(mouse, array, number)]
        tally.inject()
        kept = {name: (store / name).read_bytes() for name in names}
        for name in names:
            (store / name).unlink()
        assert is_found(store, open_mouse, names)
        assert_absent(ways, names)
        for name, data in kept.items():
            (store / name).write_bytes(data)
        tally.survive()
    check_quick(store)


@pytest.mark.promise(11)
def test_a_missing_small_array_is_no_number(with_statistics: Path, tmp_path: Path, tally: Tally) -> None:
    """Stored statistics as a whole, too. Plain Zarr reads integers that are missing as zeros: NaN is for floats."""
    mouse = open_mouse(with_statistics)
    statistics = way("statistics", lambda: numbers_of(Mouse(mouse.index).statistics), ours=True)
    small = [array for array in mouse.index.arrays.values() if array.shard is None]
    for array in small:
        name, ways = array.shard_path(0), ways_to_small(mouse, array.path)
        if array.numpy_dtype.kind == "f" and array.shape:
            ways += plain_ways(with_statistics / array.path, slice(None))
        if array.path.startswith(layout.TRAIN_STATISTICS):
            ways.append(statistics)
        tally.inject()
        with set_aside(with_statistics / name, tmp_path):
            remove(with_statistics / name)
            assert is_found(with_statistics, open_mouse, [name])
            assert_absent(ways, [name])
        tally.survive()
    assert attempt(statistics)[0] == "right"


def numbers_of(statistics: Statistics) -> list[Array]:
    reduced = [one for by_reduction in statistics.by_variable.values() for one in by_reduction.values()]
    return [np.asarray(getattr(one, name)) for one in reduced for name in layout.STATISTIC_NAMES]


@pytest.mark.promise(11)
def test_statistics_of_a_missing_shard_are_no_numbers(with_statistics: Path, tmp_path: Path, tally: Tally) -> None:
    mouse = open_mouse(with_statistics)
    computed = way("train_statistics", lambda: numbers_of(train_statistics(mouse)), ours=True)
    train = set(mouse.rows(tier=layout.TRAIN_TIER).tolist())
    for array in mouse.index.recorded:
        for number in range(array.files):
            assert train & set(array.rows_of_shard(number))
            name = array.shard_path(number)
            tally.inject()
            with set_aside(with_statistics / name, tmp_path):
                remove(with_statistics / name)
                assert_absent([computed], [name])
            tally.survive()
    assert attempt(computed)[0] == "right"


# Chunks


@pytest.mark.promise(11)
def test_a_chunk_marked_as_never_written_is_no_number(store: Path, tmp_path: Path, tally: Tally, size: Size) -> None:
    """The checksum of the index and the manifest are right: only that every chunk must be there is left to notice it.

    Short: one chunk of each variable.
    """
    mouse, rng = open_mouse(store), np.random.default_rng(11)
    for array in mouse.index.recorded:
        for number in range(array.files) if size(0, 1) else [int(rng.integers(array.files))]:
            name, ways = array.shard_path(number), all_ways(mouse, array, number)
            chunks = range(len(spans(store / name, array)))
            for chunk in chunks if size(0, 1) else [int(rng.choice(chunks))]:
                tally.inject()
                with set_aside(store / name, tmp_path), set_aside(store / layout.MANIFEST, tmp_path):
                    mark_empty(store / name, chunk, chunks=math.prod(array.chunks_per_shard))
                    reseal(store, name)
                    check_quick(store)
                    assert is_found(store, full, [name])
                    assert_absent(ways, [name], padding=is_padding(mouse, array, number, chunk))
                tally.survive()


# Without protection


@pytest.mark.promise(11)
def test_plain_zarr_reads_what_is_missing_as_zeros(stores: TinyStores, tmp_path: Path, tally: Tally) -> None:
    """A shard, and a chunk in one: by the same readers and the same comparison."""
    names = ["videos", "responses"]
    plain = plain_copy(stores("dynamic"), names, tmp_path / "plain.zarr")
    for name in names:
        ways = plain_ways(plain / name, slice(0, 4))
        shard = next(path for path in (plain / name / "c" / "0").rglob("*") if path.is_file())
        with set_aside(shard, tmp_path):
            remove(shard)
            assert [attempt(one) for one in ways] == [("wrong", None)] * len(ways)
            tally.notice()
        with set_aside(shard, tmp_path):
            mark_empty(shard, 0, chunks=2)
            assert [attempt(one) for one in ways] == [("wrong", None)] * len(ways)
            tally.notice()

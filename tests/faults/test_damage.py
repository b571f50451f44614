"""Flipped bytes are never read as numbers, and no change of any file goes unnoticed."""

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, pairwise, product
from pathlib import Path

import numpy as np
import pytest
import zarr
from trialpack.readers import Mouse, open_mouse
from trialpack.store import CorruptStoreError, StoreFormatError, check_full, check_quick, layout
from trialpack.store.layout import ArrayLayout
from trialpack.store.manifest import UNLISTED, read_manifest

from .damages import (
    CODECS,
    DAMAGE,
    KINDS,
    Check,
    TinyStores,
    all_files,
    complaints,
    copy_store,
    flip,
    flipped,
    full,
    index_nbytes,
    is_found,
    is_silent,
    listed_files,
    names_of,
    plain_copy,
    remove,
    set_aside,
    spans,
    swap,
    verify,
)
from .promises import Tally
from .reading import Way, attempt, is_padding, plain_ways, ways_to_shard, ways_to_small

Size = Callable[[int, int], int]
ALL = 1 << 30

# numcodecs' classes warn that they are outside of the Zarr specification; docs/format.md says so of `pcodec` too.
pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification"),
]


# Reading


@pytest.mark.promise(9)
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in names_of(kind)])
def test_no_flipped_byte_of_a_shard_is_read_as_a_number(
    stores: TinyStores, tmp_path: Path, tally: Tally, size: Size, kind: str, name: str, codec: str
) -> None:
    """Whatever reads it fails, and trialpack names the shard; short: the whole index of one shard, bytes of all."""
    mouse = open_mouse(copy_store(stores(kind, codec), tmp_path / "copy.zarr"))
    array, rng = mouse.recording.arrays[name], np.random.default_rng(len(codec))
    assert array.files >= 3
    for number in range(array.files):
        nbytes, begin = sizes_of(mouse, array, number)
        places = range(nbytes) if size(0, 1) else [*rng.integers(nbytes, size=3), begin, nbytes - 1]
        index = range(begin, nbytes) if size(codec == "fast" and number == 1, True) else ()
        bits = [1 << bit for bit in range(8)] if size(0, 1) else [int(rng.integers(1, 256))]
        some = rng.integers(begin, size=10 * size(0, 1))
        chosen = [(int(place), int(rng.integers(1, 256))) for place in places]
        chosen += [(int(place), one) for place in (*index, *some) for one in bits]
        flip_and_read(mouse, array, number, chosen, tally)


def sizes_of(mouse: Mouse, array: ArrayLayout, number: int) -> tuple[int, int]:
    """Return the bytes of a shard, and of its chunks."""
    nbytes = (mouse.path / array.shard_path(number)).stat().st_size
    return nbytes, nbytes - index_nbytes(array)


def flip_and_read(mouse: Mouse, array: ArrayLayout, number: int, chosen: list[tuple[int, int]], tally: Tally) -> None:
    """Flip bits of each of some bytes of a shard, and read it in all ways."""
    name = array.shard_path(number)
    path, rows = mouse.path / name, array.rows_of_shard(number)
    others = plain_ways(path.parent, slice(rows.start, rows.stop), pcodec=array.codec.compressor == "pcodec")
    # zarrs compares the checksums of chunks only where it reads a shard to its last chunk.
    readers = [one for one in others if "zarrs" not in one.name or array.shard == (len(rows), *array.shape[1:])]
    ways = [*ways_to_shard(mouse, array, number), *readers]
    unread = [span for chunk, span in enumerate(spans(path, array)) if is_padding(mouse, array, number, chunk)]
    for place, bits in chosen:
        tally.inject()
        harmless = any(begin <= place < end for begin, end in unread)
        with flipped(path, place, bits):
            for one in ways:
                expected = "right" if harmless and one.cut else "error"
                assert_outcome(one, expected, name, f"{name}: byte {place} ^ {bits:#04x}")
        tally.survive()
    assert [attempt(one)[0] for one in ways] == ["right"] * len(ways)


def assert_outcome(one: Way, expected: str, name: str, what: str) -> None:
    outcome, error = attempt(one)
    assert outcome == expected, f"{what}: {one.name}: {outcome} ({error!r})"
    if one.ours and error is not None:
        assert isinstance(error, CorruptStoreError) and error.member == name, f"{what}: {one.name}: {error!r}"


@pytest.mark.promise(9)
def test_no_flipped_byte_of_a_small_array_is_read_as_a_number(static_store: Path, tally: Tally, size: Size) -> None:
    mouse, rng = open_mouse(static_store), np.random.default_rng(8)
    small = [array for array in mouse.index.arrays.values() if array.shard is None]
    assert {array.numpy_dtype.kind for array in small} >= set("ibO")
    for array in small:
        name, ways = array.shard_path(0), ways_to_small(mouse, array.path)
        path = static_store / name
        nbytes = path.stat().st_size
        for place in range(nbytes) if size(0, 1) else {*rng.integers(nbytes, size=3).tolist(), nbytes - 1}:
            tally.inject()
            with flipped(path, place, int(rng.integers(1, 256))):
                for one in ways:
                    assert_outcome(one, "error", name, f"{name}: byte {place}")
            tally.survive()


@pytest.mark.promise(9)
def test_plain_zarr_reads_flipped_bytes_as_numbers(
    stores: TinyStores, tmp_path: Path, tally: Tally, size: Size
) -> None:
    """zarr-python's default codecs have no checksums; every reader returns wrong numbers of many damaged shards.

    Of four in five of the responses; of half of the videos, which are so small that most of a shard is its codec's.
    """
    names, rng, tried = ["videos", "responses"], np.random.default_rng(9), size(20, 200)
    plain = plain_copy(stores("dynamic"), names, tmp_path / "plain.zarr")
    for name in names:
        shard = next(path for path in (plain / name / "c" / "0").rglob("*") if path.is_file())
        for one in plain_ways(plain / name, slice(0, 4)):
            wrong = 0
            for _ in range(tried):
                with flipped(shard, int(rng.integers(shard.stat().st_size)), int(rng.integers(1, 256))):
                    wrong += attempt(one)[0] == "wrong"
            assert wrong > tried // 5, f"{name}: {one.name}"
            tally.notice(wrong)


# Names and sizes


@pytest.mark.promise(10)
def test_quick_and_opening_find_every_file_of_another_name_or_size(
    store: Path, tmp_path: Path, tally: Tally, size: Size
) -> None:
    """Each file in turn: short, one kind of damage; long, all kinds."""
    kinds = list(DAMAGE.items())
    for number, name in enumerate(listed_files(store)):
        for kind, damage in kinds if size(0, 1) else [kinds[number % len(kinds)]]:
            tally.inject()
            with set_aside(store / name, tmp_path):
                damage(store / name)
                for check in (check_quick, open_mouse):
                    assert is_found(store, check, [name]), f"{kind} {name}: {complaints(store, check)}"
            tally.survive()
    check_quick(store)


@pytest.mark.promise(10)
def test_every_damage_of_the_manifest_is_found(store: Path, tmp_path: Path, tally: Tally) -> None:
    path = store / layout.MANIFEST
    for damage in DAMAGE.values():
        tally.inject()
        with set_aside(path, tmp_path):
            damage(path)
            for check in (check_quick, open_mouse):
                with pytest.raises((CorruptStoreError, StoreFormatError), match=f"^{store}: .*{layout.MANIFEST}"):
                    check(store)
        tally.survive()
    check_quick(store)


@pytest.mark.promise(10)
@pytest.mark.parametrize("damage", DAMAGE)
def test_quick_reports_all_damage_at_once(store: Path, tally: Tally, damage: str) -> None:
    names = list(listed_files(store))
    tally.inject(len(names))
    for name in names:
        DAMAGE[damage](store / name)
    assert is_found(store, check_quick, names)
    tally.survive(len(names))


@pytest.mark.promise(10)
def test_quick_finds_a_link_to_the_very_file(static_store: Path, tmp_path: Path, tally: Tally) -> None:
    for number, name in enumerate(listed_files(static_store)):
        path, target = static_store / name, tmp_path / f"moved{number}"
        tally.inject()
        path.rename(target)
        path.symlink_to(target)
        assert path.read_bytes() == target.read_bytes()
        assert is_found(static_store, check_quick, [name])
        path.unlink()
        target.rename(path)
        tally.survive()
    check_quick(static_store)


@pytest.mark.promise(10)
@pytest.mark.parametrize("data", [b"", b"x"], ids=["empty", "not empty"])
def test_quick_finds_every_file_that_does_not_belong(store: Path, tally: Tally, size: Size, data: bytes) -> None:
    """In every folder of the store, and in a new one."""
    folders = sorted({Path(name).parent.as_posix() for name in all_files(store)})
    names = ["extra", "zarr.json.partial", ".hidden", "c.9", "c.99.0", "manifest.json.old", "new/zarr.json"]
    names += ["software.json.old", "new/software.json"]
    for number, folder in enumerate(folders):
        for name in names if size(folder == ".", True) else [names[number % len(names)]]:
            extra = store / folder / name
            tally.inject()
            extra.parent.mkdir(exist_ok=True)
            extra.write_bytes(data)
            found = complaints(store, check_quick)
            member = extra.relative_to(store).as_posix()
            assert set(found) == {member} and "remove it" in found[member]
            extra.unlink()
            tally.survive()
    assert (store / "trials" / layout.METADATA).exists() and len(folders) >= 20


@pytest.mark.promise(10)
def test_quick_finds_an_extra_link_and_pipe(store: Path, tally: Tally) -> None:
    tally.inject(3)
    (store / "link").symlink_to(store)
    (store / "broken").symlink_to("nowhere")
    os.mkfifo(store / "pipe")
    assert is_found(store, check_quick, ["link", "broken", "pipe"])
    tally.survive(3)


# Files exchanged for one another


@pytest.mark.promise(10)
def test_every_pair_of_swapped_files_is_found(static_store: Path, tally: Tally, size: Size) -> None:
    """Short: neighbours in the order of size, so that pairs of one size are among them; only digests tell those."""
    sizes, quiet = listed_files(static_store), 0
    names = sorted(sizes, key=lambda name: sizes[name])
    for one, other in combinations(names, 2) if size(0, 1) else pairwise(names):
        if (static_store / one).read_bytes() == (static_store / other).read_bytes():
            continue
        same = sizes[one] == sizes[other]
        metadata = {name for name in (one, other) if is_metadata(name)}
        tally.inject()
        swap(static_store / one, static_store / other)
        # What the quick check finds is reported without reading the data.
        assert is_found(static_store, full, metadata if same and metadata else {one, other}), f"{one}, {other}"
        if same and not metadata:
            check_quick(static_store)
            quiet += 1
        else:
            assert complaints(static_store, check_quick)
        swap(static_store / one, static_store / other)
        tally.survive()
    assert quiet >= 5
    check_full(static_store, workers=2)


@pytest.mark.promise(10)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_conversion_is_found(stores: TinyStores, tmp_path: Path, tally: Tally, kind: str) -> None:
    """Right in itself, of the same name, and uncompressed so also of the same size."""
    mine, other = copy_store(stores(kind, "none"), tmp_path / "copy.zarr"), stores(kind, "none", seed=9)
    assert all_files(mine) == all_files(other)
    differ = [name for name in read_manifest(mine).files if (mine / name).read_bytes() != (other / name).read_bytes()]
    assert len(differ) >= 12
    for name in differ:
        tally.inject()
        ours = (mine / name).read_bytes()
        (mine / name).write_bytes((other / name).read_bytes())
        assert is_found(mine, full, [name])
        (mine / name).write_bytes(ours)
        tally.survive()


# Flipped bytes


def sweep(store: Path, places: Mapping[str, list[int]], check: Check, tally: Tally, seed: int) -> None:
    """Flip the n-th place of every file at once, for every n; each flipped file must be reported, and no other."""
    rng = np.random.default_rng(seed)
    for number in range(max(map(len, places.values()))):
        flips = {
            name: (where[number], int(rng.integers(1, 256))) for name, where in places.items() if number < len(where)
        }
        tally.inject(len(flips))
        for name, one in flips.items():
            flip(store / name, *one)
        assert is_found(store, check, flips), f"seed {seed}, number {number}"
        for name, one in flips.items():
            flip(store / name, *one)
        tally.survive(len(flips))
    check_full(store, workers=2)


def places(store: Path, many: int, *, metadata: bool) -> Iterator[tuple[str, list[int]]]:
    """Yield so many places of every file that is metadata, or of those that are not; the first and the last too."""
    rng = np.random.default_rng(many)
    for name, nbytes in listed_files(store).items():
        if is_metadata(name) == metadata:
            some = {0, nbytes - 1, *rng.integers(nbytes, size=min(many, 64)).tolist()}
            yield name, sorted(range(nbytes) if many >= nbytes else some)


def is_metadata(name: str) -> bool:
    """Return whether opening a store reads a file of it."""
    return name == layout.SOFTWARE or name.endswith(layout.METADATA)


@pytest.mark.promise(10)
def test_quick_finds_every_flipped_byte_of_metadata(store: Path, tally: Tally, size: Size) -> None:
    sweep(store, dict(places(store, size(50, ALL), metadata=True)), check_quick, tally, 1)
    assert tally.survived >= size(500, 10_000)


@pytest.mark.promise(10)
def test_full_finds_every_flipped_byte_of_data(store: Path, tally: Tally, size: Size) -> None:
    sweep(store, dict(places(store, size(25, ALL), metadata=False)), full, tally, 2)
    assert tally.survived >= size(300, 2_000)


@pytest.mark.promise(10)
def test_every_flipped_byte_of_the_manifest_is_found(store: Path, tally: Tally, size: Size) -> None:
    path, rng = store / layout.MANIFEST, np.random.default_rng(3)
    nbytes = path.stat().st_size
    for place in range(0, nbytes, size(13, 1)):
        for bits in {int(rng.integers(1, 256)), 0x20, 0x01}:
            tally.inject()
            with flipped(path, place, bits):
                assert is_found(store, check_quick, [layout.MANIFEST]), f"byte {place} ^ {bits:#04x}"
            tally.survive()
    check_quick(store)


@pytest.mark.promise(10)
@pytest.mark.parametrize("name", UNLISTED)
def test_every_truncation_of_a_file_with_a_digest_of_its_own_is_found(
    static_store: Path, tally: Tally, size: Size, name: str
) -> None:
    path = static_store / name
    intact = path.read_bytes()
    for length in {*range(min(200, len(intact))), *range(0, len(intact), size(61, 1)), len(intact) - 1}:
        tally.inject()
        path.write_bytes(intact[:length])
        assert is_found(static_store, check_quick, [name]), f"{length} bytes"
        tally.survive()


@pytest.mark.promise(10)
@pytest.mark.parametrize("check", [check_quick, full, open_mouse])
@pytest.mark.parametrize("data", [b"{}\n", b"[]\n", b"null\n", b"\xff", b"{" * 9999, b'{"numpy":1}\n', b"\0" * 300])
def test_other_records_of_versions_are_found(static_store: Path, tally: Tally, data: bytes, check: Check) -> None:
    tally.inject()
    (static_store / layout.SOFTWARE).write_bytes(data)
    assert complaints(static_store, check) == {
        layout.SOFTWARE: f"{static_store}: software.json: was changed (its own digest differs); "
        "copy or convert the mouse again"
    }
    tally.survive()


@pytest.mark.promise(10)
def test_the_command_finds_what_it_is_to_find(store: Path, tmp_path: Path, tally: Tally, size: Size) -> None:
    """A sample of all of the above through ``trialpack verify``: quick and in full."""
    rng, names = np.random.default_rng(4), list(listed_files(store))
    for number in range(size(1, 10)):
        name = str(rng.choice(names))
        tally.inject(2)
        with set_aside(store / name, tmp_path):
            DAMAGE[list(DAMAGE)[number]](store / name)
            code, lines = verify(store, "--quick")
            assert code == 1 and any(f"{store}: {name}: " in line for line in lines), f"{name}: {lines}"
        with flipped(store / name, int(rng.integers((store / name).stat().st_size)), 0x10):
            code, lines = verify(store)
            assert code == 1 and lines[0].startswith(f"trialpack: {store}: {name}: "), f"{name}: {lines}"
        tally.survive(2)
    assert verify(store)[0] == 0


@pytest.mark.promise(10)
def test_plain_zarr_says_nothing_of_changed_files(stores: TinyStores, tmp_path: Path, tally: Tally) -> None:
    """Opening a plain store and reading all of it goes well whatever was done to its shards."""
    names = names_of("static")
    plain, other = (plain_copy(stores("static", seed=seed), names, tmp_path / f"{seed}.zarr") for seed in (0, 9))
    shards = [name for name in all_files(plain) if not name.endswith(layout.METADATA)]
    changes: dict[str, Callable[[str], object]] = {
        "flipped": lambda name: flip(plain / name, (plain / name).stat().st_size // 3, 0x10),
        "removed": lambda name: remove(plain / name),
        "of another place": lambda name: (plain / name).write_bytes((plain / another_shard(name)).read_bytes()),
        "of another conversion": lambda name: (plain / name).write_bytes((other / name).read_bytes()),
    }

    def read_all(store: Path) -> None:
        for name in names:
            zarr.open_array(store / name, mode="r")[...]

    for name, change in product(shards, changes.values()):
        with set_aside(plain / name, tmp_path):
            change(name)
            tally.notice(is_silent(plain, read_all, name))
    assert tally.noticed > 0.8 * len(shards) * len(changes)


def another_shard(name: str) -> str:
    return (
        name.replace("/c/0/", "/c/1/") if "/c/0/" in name else name.replace("/c/1/", "/c/0/").replace("/c/2/", "/c/0/")
    )

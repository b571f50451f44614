"""Nothing that happens to a published store goes unnoticed, and nothing else is complained of."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.store import CorruptStoreError, StoreFormatError, TrialpackError, check_full, check_quick, layout
from trialpack.store.chunk_codecs import seal
from trialpack.store.manifest import Manifest, read_manifest
from trialpack.store.metadata import to_json
from trialpack.store.shards import FileRecord

FLIP = 0x04
SMALL = 260
"""Bytes: every byte of files up to this size is flipped; of larger ones, bytes spread over the file."""
MICE: dict[str, dict[str, Any]] = {
    "dynamic": {"mouse": "A", "trials": 12, "neurons": 20, "image_shape": (9, 16)},
    "static": {"mouse": "S0", "trials": 12, "neurons": 20, "image_shape": (9, 16)},
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """One store of each kind: not to be written to. Two shards an array; a file kept as it is."""
    place, stores = tmp_path_factory.mktemp("published"), dict[str, Path]()
    with pytest.MonkeyPatch.context() as patch:
        for kind, sample in MICE.items():
            source = write_sample(place, **sample)
            (source / "meta" / "notes.txt").write_text("as it is")
            if kind == "static":
                shutil.rmtree(source / "meta" / "statistics")
            patch.setattr(layout, "SHARD_BYTES", 1_500_000 if kind == "dynamic" else 4_000)
            patch.setattr(layout, "CHUNK_BYTES", 30_000 if kind == "dynamic" else 1_200)
            with_statistics = kind == "dynamic"
            stores[kind] = convert_mouse(source, place / "stores", statistics=with_statistics, workers=2).store
    yield stores


@pytest.fixture(params=list(MICE))
def store(request: pytest.FixtureRequest, published: dict[str, Path], tmp_path: Path) -> Path:
    """A writable copy of a store."""
    return copy_store(published[request.param], tmp_path / "copy.zarr")


@pytest.fixture
def static_store(published: dict[str, Path], tmp_path: Path) -> Path:
    return copy_store(published["static"], tmp_path / "copy.zarr")


def copy_store(store: Path, to: Path) -> Path:
    shutil.copytree(store, to)
    for path in to.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return to


def all_files(store: Path) -> list[str]:
    return sorted(path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file())


def problems_of(store: Path, check: Callable[[Path], object]) -> dict[str, str]:
    """Return what a check complains of: file -> the line about it; one line a problem, each naming its file."""
    with pytest.raises(CorruptStoreError) as raised:
        check(store)
    return lines_of(raised.value, store)


def lines_of(error: TrialpackError, store: Path) -> dict[str, str]:
    lines = str(error).splitlines()
    assert len(lines) == len(error.problems)
    for line, problem in zip(lines, error.problems, strict=True):
        assert line == str(problem)
        assert problem.path == str(store) and problem.advice
        assert problem.member is not None and line.startswith(f"{store}: {problem.member}: ")
    return {str(problem.member): line for problem, line in zip(error.problems, lines, strict=True)}


def full(store: Path) -> object:
    return check_full(store, workers=2)


CHECKS = {"quick": check_quick, "full": full}


# No false alarm


@pytest.mark.parametrize("depth", CHECKS)
def test_an_intact_store_passes(published: dict[str, Path], depth: str) -> None:
    for store in published.values():
        index = CHECKS[depth](store)
        assert set(index.manifest.files) | {layout.MANIFEST} == set(all_files(store))  # type: ignore[attr-defined]


@pytest.mark.parametrize("depth", CHECKS)
def test_a_copy_passes_wherever_it_lies_and_whenever_it_was_made(store: Path, tmp_path: Path, depth: str) -> None:
    moved = tmp_path / "another place" / "renamed – ünïcode.zarr"
    moved.parent.mkdir()
    store.rename(moved)
    for number, path in enumerate(moved.rglob("*")):
        os.utime(path, (number, number * 2))
    CHECKS[depth](moved)
    CHECKS[depth](Path(os.path.relpath(moved)))
    link = tmp_path / "link.zarr"
    link.symlink_to(moved)
    CHECKS[depth](link)


def test_a_full_check_reports_every_byte_and_file(published: dict[str, Path]) -> None:
    for store in published.values():
        reported = list[int]()
        index = check_full(store, workers=3, report=reported.append)
        assert sorted(reported) == sorted(record.size for record in index.manifest.files.values())
        assert sum(reported) == index.manifest.nbytes


def test_results_do_not_depend_on_the_number_of_threads(static_store: Path) -> None:
    for path in static_store.glob("*/c.*"):
        flip(path, 3)
    found = [problems_of(static_store, lambda root, n=n: check_full(root, workers=n)) for n in (1, 2, 7)]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) >= 8


# Names and sizes


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def double(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


def append_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_full_folder(path: Path) -> None:
    data = path.read_bytes()
    replace_by_folder(path)
    (path / path.name).write_bytes(data)


def replace_by_broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE = [
    remove,
    empty,
    truncate,
    halve,
    double,
    append_byte,
    replace_by_folder,
    replace_by_full_folder,
    replace_by_broken_link,
    replace_by_pipe,
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda function: function.__name__)
def test_quick_finds_every_file_of_another_name_or_size(
    store: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    manifest = read_manifest(store)
    for name in manifest.files:
        path, kept = store / name, tmp_path / "kept"
        shutil.copy(path, kept)
        damage(path)
        assert not path.is_file() or path.is_symlink() or path.stat().st_size != kept.stat().st_size
        found = problems_of(store, check_quick)
        assert name in found and all(member == name or member.startswith(f"{name}/") for member in found)
        put_back(kept, path)
    check_quick(store)


def put_back(kept: Path, path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    shutil.copy(kept, path)


def test_quick_finds_a_link_to_the_very_file(static_store: Path, tmp_path: Path) -> None:
    for number, name in enumerate(read_manifest(static_store).files):
        path, target = static_store / name, tmp_path / f"moved{number}"
        path.rename(target)
        path.symlink_to(target)
        assert path.read_bytes() == target.read_bytes()
        assert set(problems_of(static_store, check_quick)) == {name}
        path.unlink()
        target.rename(path)
    check_quick(static_store)


def test_quick_reports_all_damage_at_once(store: Path) -> None:
    names = list(read_manifest(store).files)
    for number, name in enumerate(names):
        DAMAGE[number % 7](store / name)
    assert set(problems_of(store, check_quick)) == set(names)


@pytest.mark.parametrize(
    "name",
    [
        "extra",
        "zarr.json.partial",
        ".hidden",
        "trials/c.9",
        "responses/c.99.0",
        "trials/manifest.json",
        "new/zarr.json",
    ],
)
@pytest.mark.parametrize("data", [b"", b"x"], ids=["empty", "not empty"])
def test_quick_finds_every_file_that_does_not_belong(store: Path, name: str, data: bytes) -> None:
    (store / name).parent.mkdir(exist_ok=True)
    assert not (store / name).exists()
    (store / name).write_bytes(data)
    found = problems_of(store, check_quick)
    assert set(found) == {name} and "remove it" in found[name]


def test_quick_finds_an_extra_link_and_pipe(store: Path) -> None:
    (store / "link").symlink_to(store)
    (store / "broken").symlink_to("nowhere")
    os.mkfifo(store / "pipe")
    assert set(problems_of(store, check_quick)) == {"link", "broken", "pipe"}


def test_quick_says_sizes(static_store: Path) -> None:
    shard = static_store / "responses" / "c.0.0"
    size = shard.stat().st_size
    truncate(shard)
    assert f"(expected {size} bytes, found {size - 1})" in problems_of(static_store, check_quick)["responses/c.0.0"]
    remove(shard)
    assert f"(expected {size} bytes, found none)" in problems_of(static_store, check_quick)["responses/c.0.0"]


# Files exchanged for one another


def test_every_pair_of_swapped_files_is_found(static_store: Path) -> None:
    """Neighbours in the order of size, so that pairs of one size are among them: only digests tell those apart."""
    records = read_manifest(static_store).files
    names = sorted(records, key=lambda name: records[name].size)
    same_size, quiet = 0, 0
    for one, other in zip(names, names[1:], strict=False):
        if records[one].sha256 == records[other].sha256:
            continue
        same = records[one].size == records[other].size
        metadata = {name for name in (one, other) if name.endswith(layout.METADATA)}
        swap(static_store / one, static_store / other)
        # What the quick check finds is reported without reading the data.
        assert set(problems_of(static_store, full)) == (metadata if same and metadata else {one, other})
        if same and not metadata:
            check_quick(static_store)
            quiet += 1
        same_size += same
        swap(static_store / one, static_store / other)
    assert same_size >= 10 and quiet >= 5
    check_full(static_store, workers=2)


def test_swapped_metadata_of_one_size_is_found_by_quick(store: Path) -> None:
    records, tried = read_manifest(store).files, 0
    names = sorted((name for name in records if name.endswith(layout.METADATA)), key=lambda name: records[name].size)
    for one, other in zip(names, names[1:], strict=False):
        same = records[one].size == records[other].size and records[one].sha256 != records[other].sha256
        if same:
            swap(store / one, store / other)
            assert set(problems_of(store, check_quick)) == {one, other}
            swap(store / one, store / other)
            tried += 1
    assert tried >= 3


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    assert first != second
    one.write_bytes(second)
    other.write_bytes(first)


def test_a_file_of_another_conversion_is_found(static_store: Path, tmp_path: Path) -> None:
    """Right in itself, of the same name, and uncompressed so also of the same size."""
    source = write_sample(tmp_path / "other", **MICE["static"], seed=9)
    (source / "meta" / "notes.txt").write_text("as it is")
    shutil.rmtree(source / "meta" / "statistics")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "SHARD_BYTES", 4_000)
        patch.setattr(layout, "CHUNK_BYTES", 1_200)
        other = convert_mouse(source, tmp_path / "other" / "stores", workers=1).store
    tried = 0
    for name in read_manifest(static_store).files:
        ours, theirs = (static_store / name).read_bytes(), (other / name).read_bytes()
        if ours != theirs:
            (static_store / name).write_bytes(theirs)
            assert set(problems_of(static_store, full)) == {name}
            (static_store / name).write_bytes(ours)
            tried += 1
    assert tried >= 10


# Flipped bytes


def flip(path: Path, place: int, bits: int = FLIP) -> None:
    """Change one byte of a file, in place."""
    with open(path, "r+b", buffering=0) as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ bits]))
        file.seek(place)
        assert file.read(1) != byte


def sweep(store: Path, places: Mapping[str, list[int]], check: Callable[[Path], object]) -> int:
    """Flip the n-th place of every file at once, for every n; each flipped file must be reported, and no other."""
    for number in range(max(map(len, places.values()))):
        flipped = {name: where[number] for name, where in places.items() if number < len(where)}
        for name, place in flipped.items():
            flip(store / name, place)
        assert set(problems_of(store, check)) == set(flipped)
        for name, place in flipped.items():
            flip(store / name, place)
    check_full(store, workers=2)
    return sum(map(len, places.values()))


def test_quick_finds_every_flipped_byte_of_metadata(store: Path) -> None:
    records = read_manifest(store).files
    places = {name: list(range(record.size)) for name, record in records.items() if name.endswith(layout.METADATA)}
    assert sweep(store, places, check_quick) > 8_000


def test_full_finds_every_flipped_byte_of_small_files(store: Path) -> None:
    records = read_manifest(store).files
    places = {
        name: list(range(record.size))
        for name, record in records.items()
        if not name.endswith(layout.METADATA) and record.size <= SMALL
    }
    assert len(places) >= 6 and sweep(store, places, full) > 500


def test_full_finds_flipped_bytes_all_over_large_files(store: Path) -> None:
    rng = np.random.default_rng(2)
    places = {
        name: sorted({0, 1, record.size - 1, record.size - 5, *rng.integers(record.size, size=60).tolist()})
        for name, record in read_manifest(store).files.items()
        if not name.endswith(layout.METADATA) and record.size > SMALL
    }
    assert len(places) >= 4 and sweep(store, places, full) > 200


@pytest.mark.parametrize(("bits", "step"), [(0x01, 1), (0x20, 9), (0x80, 9)])
def test_every_flipped_byte_of_the_manifest_is_found(static_store: Path, bits: int, step: int) -> None:
    path = static_store / layout.MANIFEST
    intact = path.read_bytes()
    for place in range(0, len(intact), step):
        flip(path, place, bits)
        with pytest.raises((CorruptStoreError, StoreFormatError)) as raised:
            check_quick(static_store)
        assert list(lines_of(raised.value, static_store)) == [layout.MANIFEST]
        flip(path, place, bits)
    assert path.read_bytes() == intact and len(intact) > 5_000
    check_quick(static_store)


def test_every_truncation_of_the_manifest_is_found(static_store: Path) -> None:
    path = static_store / layout.MANIFEST
    intact = path.read_bytes()
    for length in [*range(0, 300), *range(300, len(intact), 37), len(intact) - 1]:
        path.write_bytes(intact[:length])
        with pytest.raises(CorruptStoreError) as raised:
            check_quick(static_store)
        assert list(lines_of(raised.value, static_store)) == [layout.MANIFEST]


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 500, b"[]", b"null", b"1", b'"x"', b"[" * 100_000, b"\xff\xfe", b'{"trialpack_format":1}\n'],
    ids=lambda data: str(data[:12]),
)
def test_what_is_no_manifest_is_damage(static_store: Path, data: bytes) -> None:
    (static_store / layout.MANIFEST).write_bytes(data)
    assert list(problems_of(static_store, check_quick)) == [layout.MANIFEST]


def test_a_manifest_written_otherwise_is_damage(static_store: Path) -> None:
    """The same JSON, with spaces, or keys in another order, or one twice, is not what was written."""
    path = static_store / layout.MANIFEST
    document = json.loads(path.read_bytes())
    text = path.read_text()
    for changed in (
        json.dumps(document, indent=1),
        json.dumps(dict(reversed(document.items())), separators=(",", ":")) + "\n",
        text.rstrip("\n"),
        "\ufeff" + text,
        text.replace("{", '{"files":{},', 1),
    ):
        path.write_text(changed)
        assert list(problems_of(static_store, check_quick)) == [layout.MANIFEST]


# Damage under a manifest that was made to fit: checksums and digests of values are what is left


def reseal(store: Path, *names: str, **changes: Any) -> Manifest:
    """Write a manifest, its own digest right, in which the digests of some files are those of what they now hold."""
    manifest = read_manifest(store)
    records = {name: FileRecord(len(data), hashlib.sha256(data).hexdigest()) for name, data in _read(store, names)}
    manifest = dataclasses.replace(manifest, files={**manifest.files, **records}, **changes)
    (store / layout.MANIFEST).write_bytes(manifest.to_bytes())
    assert read_manifest(store) == manifest
    return manifest


def _read(store: Path, names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    return [(name, (store / name).read_bytes()) for name in names]


def test_flipped_bytes_of_chunks_are_found_without_digests_of_files(store: Path) -> None:
    records, rng = read_manifest(store).files, np.random.default_rng(4)
    names = [name for name in records if name.rpartition("/")[2][:2] in ("c", "c.")]
    assert set(names) == {name for name in records if not name.endswith(layout.METADATA)}
    for _ in range(12):
        places = {name: int(rng.integers(records[name].size)) for name in names}
        for name, place in places.items():
            flip(store / name, place)
        reseal(store, *names)
        assert set(problems_of(store, full)) == set(names)
        for name, place in places.items():
            flip(store / name, place)
    reseal(store, *names)
    check_full(store, workers=2)


def test_swapped_shards_are_found_without_digests_of_files(static_store: Path) -> None:
    one, other = "images/c.0.0.0.0", "images/c.1.0.0.0"
    swap(static_store / one, static_store / other)
    reseal(static_store, one, other)
    found = problems_by_file(static_store)
    assert set(found) == {one, other}
    assert all("holds other values than were packed" in line for lines in found.values() for line in lines)
    assert sum(map(len, found.values())) == 12


def problems_by_file(store: Path) -> dict[str, list[str]]:
    with pytest.raises(CorruptStoreError) as raised:
        check_full(store, workers=2)
    found = dict[str, list[str]]()
    for problem in raised.value.problems:
        found.setdefault(str(problem.member), []).append(str(problem))
    return found


def test_one_changed_value_is_found_with_its_row(static_store: Path) -> None:
    """Right checksums throughout: chunk, index, file."""
    index = check_quick(static_store)
    array, name = index.arrays["responses"], "responses/c.1.0"
    shard = bytearray((static_store / name).read_bytes())
    chunks = array.chunks_per_shard[0]
    ends = np.frombuffer(shard[-16 * chunks - 4 : -4], "<u8").reshape(-1, 2)[: array.files]
    offset, size = map(int, ends[0])
    rows = np.empty(array.chunk, np.float32)
    array.codec.decode(memoryview(shard)[offset : offset + size], rows)
    rows[-1, 3] = np.nextafter(rows[-1, 3], np.float32(np.inf))
    changed = b"".join(array.codec.encode(rows))
    if len(changed) != size:
        index_now = np.frombuffer(shard[-16 * chunks - 4 : -4], "<u8").reshape(-1, 2).copy()
        index_now[0, 1] = len(changed)
        written = (index_now[:, 0] != 2**64 - 1) & (index_now[:, 0] > 0)
        index_now[written, 0] = [int(start) + len(changed) - size for start in index_now[written, 0]]
        end = len(shard) - 16 * chunks - 4
        (static_store / name).write_bytes(changed + shard[size:end] + seal(index_now.tobytes()))
    else:
        (static_store / name).write_bytes(changed + shard[size:])
    assert (static_store / name).read_bytes() != shard
    reseal(static_store, name)
    row = (array.shard or (0,))[0] + array.chunk[0] - 1
    assert [line for lines in problems_by_file(static_store).values() for line in lines] == [
        f"{static_store}: {name}: row {row} holds other values than were packed; copy or convert the mouse again"
    ]


def test_a_changed_digest_of_a_value_is_found(static_store: Path) -> None:
    values = dict(read_manifest(static_store).values)
    values["behavior"] = ("0" * 32, *values["behavior"][1:])
    reseal(static_store, values=values)
    check_quick(static_store)
    assert list(problems_by_file(static_store)) == ["behavior/c.0.0"]


@pytest.mark.parametrize("change", ["fewer rows", "no variable", "more rows"])
def test_digests_of_values_for_other_rows_are_found(static_store: Path, change: str) -> None:
    values = dict(read_manifest(static_store).values)
    if change == "fewer rows":
        values["behavior"] = values["behavior"][:-1]
    elif change == "more rows":
        values["behavior"] = (*values["behavior"], "0" * 32)
    else:
        del values["behavior"]
    reseal(static_store, values=values)
    with pytest.raises(TrialpackError):
        check_full(static_store, workers=2)


@pytest.mark.parametrize("change", [-1, 1])
def test_an_array_of_another_shape_is_found(static_store: Path, change: int) -> None:
    """One row more or fewer, in the metadata and in the manifest's digest of it."""
    name = "responses/zarr.json"
    document = json.loads((static_store / name).read_bytes())
    document["shape"][0] += change
    (static_store / name).write_bytes(to_json(document))
    reseal(static_store, name)
    with pytest.raises(TrialpackError):
        check_full(static_store, workers=2)


def test_an_array_that_this_format_does_not_have_is_refused_by_name(static_store: Path) -> None:
    name = "responses/zarr.json"
    document = json.loads((static_store / name).read_bytes())
    document["codecs"][0]["configuration"]["codecs"][-1] = {"name": "numcodecs.pickle"}
    (static_store / name).write_bytes(to_json(document))
    reseal(static_store, name)
    with pytest.raises(StoreFormatError, match="describes an array that format version 1 does not have") as raised:
        check_quick(static_store)
    assert list(lines_of(raised.value, static_store)) == [name]


@pytest.mark.parametrize("data", [b"not json", b"[]", b"{}", b'{"node_type":"group"}', b'{"node_type":"other"}'])
@pytest.mark.parametrize("name", ["zarr.json", "responses/zarr.json"])
def test_metadata_that_is_none_is_refused_by_name(static_store: Path, name: str, data: bytes) -> None:
    (static_store / name).write_bytes(data)
    reseal(static_store, name)
    with pytest.raises(TrialpackError) as raised:
        check_full(static_store, workers=1)
    assert any(name.startswith(member) for member in lines_of(raised.value, static_store))


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "trials/../../outside"])
def test_a_manifest_that_names_files_outside_opens_none_of_them(
    static_store: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    data = (static_store.parent / "outside").write_bytes(b"secret") and b"secret"
    manifest = read_manifest(static_store)
    record = FileRecord(len(data), hashlib.sha256(data).hexdigest())
    changed = dataclasses.replace(manifest, files={**manifest.files, name: record})
    (static_store / layout.MANIFEST).write_bytes(changed.to_bytes())
    opened = list[Path]()
    monkeypatch.setattr("trialpack.store.integrity.file_digest", lambda path: opened.append(path) or "")
    assert name in problems_of(static_store, check_quick)
    assert opened and all(static_store in path.parents and ".." not in path.parts for path in opened)


# What is no store of ours


@pytest.mark.parametrize("version", [0, 2, 17, None, "1", 1.5, [1]], ids=repr)
def test_an_unknown_version_names_both(static_store: Path, version: object) -> None:
    path = static_store / layout.MANIFEST
    body = json.loads(path.read_bytes())
    del body["sha256_of_manifest"]
    assert body[layout.A_FORMAT] == 1
    body[layout.A_FORMAT] = version
    path.write_bytes(to_json({**body, "sha256_of_manifest": hashlib.sha256(to_json(body)).hexdigest()}))
    for check in CHECKS.values():
        with pytest.raises(StoreFormatError) as raised:
            check(static_store)
        (line,) = lines_of(raised.value, static_store).values()
        assert f"format version {version!r}" in line and "reads 1)" in line and "install" in line


def test_a_store_of_somebody_else_is_refused(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "foreign.zarr", mode="w")
    group.create_array("responses", shape=(4, 5), dtype="float32")
    assert_no_store(tmp_path / "foreign.zarr", "unfinished, or not a trialpack store")


def test_a_store_without_its_manifest_is_refused(store: Path) -> None:
    (store / layout.MANIFEST).unlink()
    assert_no_store(store, "unfinished, or not a trialpack store; give a trialpack store, or convert the mouse again")


def test_a_folder_in_place_of_the_manifest_is_refused(store: Path) -> None:
    replace_by_folder(store / layout.MANIFEST)
    assert_no_store(store, "unfinished, or not a trialpack store")


def test_a_link_in_place_of_the_manifest(store: Path) -> None:
    replace_by_broken_link(store / layout.MANIFEST)
    assert_no_store(store, "unfinished, or not a trialpack store")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_no_store(tmp_path / "empty", "unfinished, or not a trialpack store; give the folder of a .zarr store")


def test_nothing_is_refused(tmp_path: Path) -> None:
    assert_no_store(tmp_path / "absent.zarr", "no such store; check the path")


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert_no_store(tmp_path / "file", "not a folder")


def test_a_part_of_a_store_is_refused(store: Path) -> None:
    assert_no_store(store / "responses", "unfinished, or not a trialpack store")


def assert_no_store(path: Path, what: str) -> None:
    for check in CHECKS.values():
        with pytest.raises(StoreFormatError) as raised:
            check(path)
        assert len(str(raised.value).splitlines()) == 1
        assert str(raised.value).startswith(f"{path}: ") and what in str(raised.value)

"""What the checks of a store say, and what they find where a manifest was made to fit; tests/faults counts the rest."""

import dataclasses
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from trialpack.store import CorruptStoreError, StoreFormatError, TrialpackError, check_full, check_quick, layout
from trialpack.store.chunk_codecs import seal
from trialpack.store.folder import _OpenFolder
from trialpack.store.manifest import UNLISTED, read_manifest
from trialpack.store.metadata import to_json
from trialpack.store.shards import FileRecord

from .damages import (
    Check,
    all_files,
    complaints,
    flip,
    full,
    lines_of,
    remove,
    replace_by_broken_link,
    replace_by_folder,
    reseal,
    swap,
    truncate,
)


def problems_of(store: Path, check: Check) -> dict[str, str]:
    found = complaints(store, check)
    assert found
    return found


CHECKS = {"quick": check_quick, "full": full}


# No false alarm


@pytest.mark.parametrize("depth", CHECKS)
def test_an_intact_store_passes(store: Path, depth: str) -> None:
    index = CHECKS[depth](store)
    assert {*index.manifest.files, *UNLISTED} == set(all_files(store))  # type: ignore[attr-defined]
    sizes = [(store / name).stat().st_size for name in all_files(store)]
    assert (index.n_files, index.nbytes) == (len(sizes), sum(sizes))  # type: ignore[attr-defined]


def test_a_full_check_reports_every_byte_and_file(store: Path) -> None:
    started, advanced = list[tuple[str, int, int]](), list[tuple[int, int]]()
    listener = SimpleNamespace(start=lambda *phase: started.append(phase), advance=lambda *n: advanced.append(n))
    index = check_full(store, workers=3, progress=listener)
    assert started == [("verifying", index.manifest.nbytes, len(index.manifest.files))]
    assert tuple(map(sum, zip(*advanced, strict=True))) == (index.manifest.nbytes, len(index.manifest.files))


def test_results_do_not_depend_on_the_number_of_threads(static_store: Path) -> None:
    for path in static_store.glob("*/c.*"):
        flip(path, 3, 0x04)
    found = [problems_of(static_store, lambda root, n=n: check_full(root, workers=n)) for n in (1, 2, 7)]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) >= 8


def test_quick_says_sizes(static_store: Path) -> None:
    shard = static_store / "responses" / "c.0.0"
    size = shard.stat().st_size
    truncate(shard)
    assert f"(expected {size} bytes, found {size - 1})" in problems_of(static_store, check_quick)["responses/c.0.0"]
    remove(shard)
    assert f"(expected {size} bytes, found none)" in problems_of(static_store, check_quick)["responses/c.0.0"]


# A manifest that is none


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


def test_flipped_bytes_of_chunks_are_found_without_digests_of_files(store: Path) -> None:
    records, rng = read_manifest(store).files, np.random.default_rng(4)
    names = [name for name in records if name.rpartition("/")[2][:2] in ("c", "c.")]
    assert set(names) == {name for name in records if not name.endswith(layout.METADATA)}
    for _ in range(12):
        places = {name: int(rng.integers(records[name].size)) for name in names}
        for name, place in places.items():
            flip(store / name, place, 0x04)
        reseal(store, *names)
        assert set(problems_of(store, full)) == set(names)
        for name, place in places.items():
            flip(store / name, place, 0x04)
    reseal(store, *names)
    check_full(store, workers=2)


def test_swapped_shards_are_found_without_digests_of_files(static_store: Path) -> None:
    one, other = "images/c.0.0.0.0", "images/c.1.0.0.0"
    swap(static_store / one, static_store / other)
    reseal(static_store, one, other)
    found = problems_by_file(static_store)
    assert set(found) == {one, other}
    assert all("holds other values than were packed" in line for lines in found.values() for line in lines)
    assert sum(map(len, found.values())) == 8


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
    opened, read = list[Path](), _OpenFolder.read
    monkeypatch.setattr(_OpenFolder, "read", lambda files, name: opened.append(files.root / name) or read(files, name))
    assert name in problems_of(static_store, check_quick)
    assert opened and all(static_store in path.parents and ".." not in path.parts for path in opened)


# What is no store of ours


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

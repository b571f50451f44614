"""Out of the store again: the published files, complete or not at all. What they hold is compared in test_traps."""

import collections.abc
import errno
import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trialpack.convert import convert_mouse, export_mouse
from trialpack.convert.formats import formats as known_formats
from trialpack.convert.sample import write_sample
from trialpack.readers import open_mouse
from trialpack.store import CorruptStoreError, OptionError, StoreBusyError, StoreExistsError, check_quick, files
from trialpack.store.manifest import read_manifest

from .command_line import run
from .mice import assert_same_tree, edit, published_files, trial_path, variables, zip_mouse

FORMATS = ("npy", "zip", "tar")


@pytest.fixture(scope="session")
def packed(sample_mice: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stores: not to be written to."""
    place = tmp_path_factory.mktemp("packed")
    return {
        kind: convert_mouse(sample_mice[f"{kind}_folder"], place).store for kind in ("dynamic", "float64", "static")
    }


@pytest.fixture
def store(packed: dict[str, Path], tmp_path: Path) -> Path:
    """A store that may be damaged."""
    made = shutil.copytree(packed["dynamic"], tmp_path / "stores" / packed["dynamic"].name)
    for path in made.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return made


def unpacked(path: Path, to: Path) -> Path:
    """Unpack a zip or a tar and return its one folder."""
    if path.suffix == ".tar":
        with tarfile.open(path, "r:") as archive:
            archive.extractall(to, filter="data")
    else:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(to)
    (folder,) = to.iterdir()
    return folder


# There and back


@pytest.mark.parametrize("kind", ["dynamic", "float64", "static"])
@pytest.mark.parametrize("container", ["folder", "zip"])
def test_there_and_back(kind: str, container: str, sample_mice: dict[str, Path], tmp_path: Path) -> None:
    """Folder or zip, store, folder and archives: the same files; packed again, the same content as before."""
    source = sample_mice[f"{kind}_{container}"]
    folder = sample_mice[f"{kind}_folder"]
    store = convert_mouse(source, tmp_path / "stores").store
    as_folder, *archives = (export_mouse(store, tmp_path / "out", format=form).path for form in FORMATS)
    assert as_folder == tmp_path / "out" / folder.name
    assert_same_tree(as_folder, folder)
    for archive in archives:
        assert_same_tree(unpacked(archive, tmp_path / f"unpacked {archive.suffix}"), folder)
    again = [convert_mouse(one, tmp_path / f"again {one.suffix}").store for one in (as_folder, *archives)]
    for one in again:
        assert read_manifest(one).values == read_manifest(store).values
        digests = [
            {name: r.sha256 for name, r in read_manifest(s).files.items() if name != "zarr.json"} for s in (one, store)
        ]
        assert digests[0] == digests[1]


@st.composite
def mice(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "mouse": draw(st.sampled_from(["A", "F", "S0", "S1"])),
        "trials": draw(st.integers(1, 9)),
        "neurons": draw(st.integers(1, 7)),
        "image_shape": draw(st.sampled_from([(1, 1), (2, 3), (5, 4)])),
        "seed": draw(st.integers(0, 2**20)),
    }


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mice(), st.sampled_from(["C", "F"]), st.sampled_from("<>"), st.sampled_from(["fast", "none", "small"]))
def test_any_mouse_comes_back(
    tmp_path_factory: pytest.TempPathFactory, sample: dict[str, Any], order: Any, byte_order: str, codec: Any
) -> None:
    place = tmp_path_factory.mktemp("any")
    folder = write_sample(place / "source", **sample)
    for variable in variables(folder)[:2]:
        for path in (folder / "data" / variable).iterdir():
            edit(path, lambda a: np.asarray(a, a.dtype.newbyteorder(byte_order), order=order))
    store = convert_mouse(folder, place / "stores", codec=codec).store
    assert_same_tree(export_mouse(store, place / "out").path, folder)
    for form in ("zip", "tar"):
        assert_same_tree(unpacked(export_mouse(store, place / "out", format=form).path, place / form), folder)
    shutil.rmtree(place)


def test_float32_stores_give_float32_files(float64_folder: Path, tmp_path: Path) -> None:
    """Byte and memory order stay those of the source."""
    edit(trial_path(float64_folder, "responses", 0), lambda a: np.asfortranarray(a.astype(">f8")))
    store = convert_mouse(float64_folder, tmp_path / "stores", precision="float32").store
    folder = export_mouse(store, tmp_path / "out").path
    assert published_files(folder) == published_files(float64_folder)
    for path in (float64_folder / "data").rglob("*.npy"):
        found, expected = np.load(folder / path.relative_to(float64_folder)), np.load(path)
        assert found.dtype == np.dtype("f4").newbyteorder(expected.dtype.byteorder)
        assert found.flags.f_contiguous == expected.flags.f_contiguous
        assert found.tobytes() == expected.astype(found.dtype).tobytes()


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_equal_stores_give_equal_archives(packed: dict[str, Path], tmp_path: Path, form: str) -> None:
    made = [export_mouse(packed["static"], tmp_path / name, format=form, workers=n) for name, n in (("a", 1), ("b", 4))]
    digests = {hashlib.sha256(one.path.read_bytes()).hexdigest() for one in made}
    assert len(digests) == 1


@pytest.mark.parametrize("form", FORMATS)
def test_counts(packed: dict[str, Path], sample_mice: dict[str, Path], tmp_path: Path, form: Any) -> None:
    made = export_mouse(packed["dynamic"], tmp_path, format=form)
    sizes = [path.stat().st_size for path in sample_mice["dynamic_folder"].rglob("*") if path.is_file()]
    assert (made.files, made.unpacked_nbytes) == (len(sizes), sum(sizes))
    on_disk = sum(path.stat().st_size for path in (made.path, *made.path.rglob("*")) if path.is_file())
    assert made.nbytes == on_disk
    assert made.path.suffix == known_formats()[form].suffix
    assert made.describe() == {
        "path": str(made.path),
        "bytes": on_disk,
        "bytes_unpacked": sum(sizes),
        "files": len(sizes),
        "seconds": round(made.seconds, 3),
        "max_error": {},
        "warnings": [],
    }


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("stored", [True, False])
def test_statistics_for_the_public_pipeline(
    sample_mice: dict[str, Path], tmp_path: Path, form: Any, stored: bool
) -> None:
    """As stored, or computed; equal to what ``trialpack stats -o statistics.pkl`` writes."""
    store = convert_mouse(sample_mice["dynamic_folder"], tmp_path / "stores", statistics=stored).store
    made = export_mouse(store, tmp_path, format=form, statistics_pkl=True).path
    folder = made if form == "npy" else unpacked(made, tmp_path / "unpacked")
    found = pickle.loads((folder / "statistics.pkl").read_bytes())
    assert set(found) == {"trial", "time"}
    train = [i for i, tier in enumerate(np.load(folder / "meta/trials/tiers.npy")) if tier == "train"]
    responses = np.stack([np.load(trial_path(folder, "responses", trial)) for trial in train], -1)
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
        expected = np.nanmean(responses.astype(float), -1)
    np.testing.assert_allclose(found["trial"]["response"]["mean"], expected, rtol=1e-6)


def test_no_such_statistics_of_static_mice(packed: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="dynamic mice only"):
        export_mouse(packed["static"], tmp_path / "out", statistics_pkl=True)
    assert not (tmp_path / "out").exists()


# The loaders that people use


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_the_public_loader_gives_the_same_samples(
    packed: dict[str, Path], sample_mice: dict[str, Path], tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """neuralpredictors' data sets of file trees: of the exported tree as of the published one."""
    # Its release is older than Python 3.10, which took these names away.
    for name in ("Iterable", "Mapping"):
        monkeypatch.setattr(collections, name, getattr(collections.abc, name), raising=False)
    datasets = pytest.importorskip("neuralpredictors.data.datasets", reason="neuralpredictors is not installed")
    published = shutil.copytree(sample_mice[f"{kind}_folder"], tmp_path / "published" / packed[kind].stem)
    exported = export_mouse(packed[kind], tmp_path / "out").path
    stimulus = "videos" if kind == "dynamic" else "images"
    names = (stimulus, "responses", "behavior", "pupil_center")
    make = datasets.MovieFileTreeDataset if kind == "dynamic" else datasets.FileTreeDataset
    one, other = (make(f"{folder}/", *names) for folder in (published, exported))
    ids = [int(path.stem) for path in (published / "data/responses").iterdir()]
    assert len(ids) >= 8
    for trial in ids:
        for name in names:
            np.testing.assert_array_equal(getattr(one[trial], name), getattr(other[trial], name))
    assert list(one.trial_info.tiers) == list(other.trial_info.tiers)


# Complete, or not at all


def taken_by_a_file(path: Path) -> None:
    path.write_bytes(b"mine")


def taken_by_a_folder(path: Path) -> None:
    path.mkdir()


def taken_by_a_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("take", [taken_by_a_file, taken_by_a_folder, taken_by_a_link])
def test_what_is_there_is_not_replaced(
    packed: dict[str, Path], tmp_path: Path, form: Any, take: Callable[[Path], None]
) -> None:
    place = tmp_path / "out" / (packed["dynamic"].stem + known_formats()[form].suffix)
    place.parent.mkdir()
    take(place)
    before = os.lstat(place)
    with pytest.raises(StoreExistsError, match="exists already; move it away, or choose another folder"):
        export_mouse(packed["dynamic"], place.parent, format=form)
    assert os.lstat(place).st_ino == before.st_ino and os.listdir(place.parent) == [place.name]


@pytest.mark.parametrize("form", list(known_formats()))
@pytest.mark.parametrize("inside", ["", "responses", "new/folder"])
def test_nothing_is_made_inside_a_store(store: Path, form: Any, inside: str) -> None:
    with pytest.raises(OptionError, match="lies inside the store .*"):
        export_mouse(store, store / inside, format=form)
    check_quick(store)


@pytest.mark.parametrize("form", FORMATS)
def test_a_name_that_is_taken_meanwhile(
    packed: dict[str, Path], tmp_path: Path, form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / (packed["dynamic"].stem + known_formats()[form].suffix)
    rename_new = files.rename_new
    monkeypatch.setattr(files, "rename_new", lambda old, new: (place.mkdir(), rename_new(old, new)))
    with pytest.raises(StoreExistsError):
        export_mouse(packed["dynamic"], tmp_path, format=form)
    assert os.listdir(tmp_path) == [place.name] and not any(place.iterdir())


def test_two_exports_to_one_place(packed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, append = threading.Event(), threading.Event(), files.append

    def waiting(*arguments: Any) -> int:
        begun.set()
        assert go_on.wait(60)
        return append(*arguments)

    monkeypatch.setattr(files, "append", waiting)
    thread = threading.Thread(target=export_mouse, args=(packed["static"], tmp_path))
    thread.start()
    try:
        assert begun.wait(60)
        with pytest.raises(StoreBusyError, match="is being written by another export"):
            export_mouse(packed["static"], tmp_path)
    finally:
        go_on.set()
        thread.join()
    assert os.listdir(tmp_path) == [packed["static"].stem]


@pytest.mark.parametrize(
    ("operation", "number"),
    [("create", 0), ("create", 40), ("append", 0), ("append", 40), ("make_folder", 0), ("make_folder", 5)]
    + [("sync_file_system", 0), ("rename_new", 0)],
)
def test_a_disk_that_fills_up_leaves_nothing(
    packed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, number: int
) -> None:
    real, calls = getattr(files, operation), list[Any]()

    def failing(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "injected")
        return real(*arguments)

    monkeypatch.setattr(files, operation, failing)
    with pytest.raises(OSError, match="No space left"):
        export_mouse(packed["dynamic"], tmp_path / "out")
    assert not (tmp_path / "out").exists() or not os.listdir(tmp_path / "out")
    monkeypatch.undo()
    export_mouse(packed["dynamic"], tmp_path / "out")


@pytest.mark.parametrize("form", list(known_formats()))
def test_an_export_gets_its_name_when_it_is_on_disk(
    packed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Any
) -> None:
    """What a power cut leaves under the name is complete."""
    calls = list[tuple[str, Path]]()
    for name in ("sync_file_system", "rename_new", "sync_folder"):
        real = getattr(files, name)
        monkeypatch.setattr(files, name, lambda *paths, n=name, f=real: (calls.append((n, paths[-1])), f(*paths)))
    made = export_mouse(packed["static"], tmp_path, format=form).path
    hidden = made.with_name(f".{made.name}.partial")
    assert calls == [("sync_file_system", hidden), ("rename_new", made), ("sync_folder", tmp_path)]


def test_a_full_disk_in_the_middle_of_a_zip(
    packed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writestr, members = zipfile.ZipFile.writestr, list[str]()

    def failing(archive: zipfile.ZipFile, info: zipfile.ZipInfo, *arguments: Any) -> None:
        members.append(info.filename)
        if len(members) > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        writestr(archive, info, *arguments)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", failing)
    with pytest.raises(OSError, match="No space left") as raised:
        export_mouse(packed["dynamic"], tmp_path, format="zip")
    assert str(raised.value.filename).endswith(".zip.partial")
    assert os.listdir(tmp_path) == []


def test_what_a_killed_export_left_is_removed(
    packed: dict[str, Path], sample_mice: dict[str, Path], tmp_path: Path
) -> None:
    left = tmp_path / f".{packed['dynamic'].stem}.partial"
    (left / "data" / "responses").mkdir(parents=True)
    (left / "data" / "responses" / "999.npy").write_bytes(b"half")
    assert_same_tree(export_mouse(packed["dynamic"], tmp_path).path, sample_mice["dynamic_folder"])
    assert os.listdir(tmp_path) == [packed["dynamic"].stem]


# Damaged stores


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("variable", ["responses", "videos", "behavior"])
def test_a_damaged_shard_is_named_and_nothing_is_made(store: Path, tmp_path: Path, form: Any, variable: str) -> None:
    shard = next((store / variable).glob("c.*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptStoreError, match=shard.name.replace(".", r"\.")):
        export_mouse(store, tmp_path / "out", format=form)
    assert os.listdir(tmp_path / "out") == []


def test_other_values_than_were_packed(store: Path, tmp_path: Path) -> None:
    """With right checksums: a shard of another store."""
    other = write_sample(tmp_path / "other", mouse="A", trials=12, neurons=20, image_shape=(6, 8), seed=9)
    swapped = convert_mouse(other, tmp_path / "other stores", codec="none").store
    mine = convert_mouse(export_mouse(store, tmp_path / "mine").path, tmp_path / "my stores", codec="none").store
    shard = next((mine / "responses").glob("c.*"))
    shard.chmod(0o644)
    shard.write_bytes((swapped / "responses" / shard.name).read_bytes())
    with pytest.raises(CorruptStoreError, match="holds other values than were packed"):
        export_mouse(mine, tmp_path / "out")


def test_no_such_format(packed: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="there is no format 'rar'; choose one of npy, zip, tar, hdf5"):
        export_mouse(packed["dynamic"], tmp_path, format="rar")
    assert os.listdir(tmp_path) == []


# The command


def test_the_command(packed: dict[str, Path], sample_mice: dict[str, Path], tmp_path: Path) -> None:
    done = run("export", packed["dynamic"], "--to", tmp_path / "out", "--as", "npy", "--statistics-pkl", "--json")
    folder = tmp_path / "out" / packed["dynamic"].stem
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout)["path"] == str(folder) and (folder / "statistics.pkl").exists()
    assert_same_tree(folder, sample_mice["dynamic_folder"])
    done = run("export", packed["dynamic"], "--to", tmp_path / "out", "--as", "npy")
    assert done.returncode == 1
    assert done.stderr == f"trialpack: {folder}: exists already; move it away, or choose another folder\n"
    done = run("export", packed["dynamic"], "--to", tmp_path / "out", "--as", "zip")
    assert done.returncode == 0 and f"trialpack convert {folder}.zip --to DIR" in done.stdout
    assert run("export", packed["dynamic"], "--to", tmp_path / "out").returncode == 2


def test_an_exported_tree_is_a_mouse_again(packed: dict[str, Path], tmp_path: Path) -> None:
    folder = export_mouse(packed["float64"], tmp_path).path
    store = convert_mouse(zip_mouse(folder), tmp_path / "stores").store
    assert open_mouse(store).name == folder.name


def test_a_full_disk_is_said_in_one_line(packed: dict[str, Path], tmp_path: Path) -> None:
    """A limit on the size of files stands for it: what is needed, what is free, and nothing is left."""
    limit = "import resource, signal, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    limit += "; sys.dont_write_bytecode = True"  # it would be cut
    code = f"{limit}; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from trialpack.cli import main; main()"
    command = [sys.executable, "-c", code, "export", str(packed["dynamic"]), "--to", str(tmp_path), "--as", "npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    space = r"\(up to [\d.]+ [kM]B are needed; [\d.]+ [GMT]B free in .*\)"
    assert re.search(rf"File too large {space}; the same command begins anew", line)
    assert os.listdir(tmp_path) == []

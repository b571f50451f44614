"""A store is under its name complete, or not at all: whatever fails, and whenever."""

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.convert import conversion, convert_mouse
from trialpack.convert.formats.published.mouse_tree import TreeTrialReader
from trialpack.convert.sample import write_sample
from trialpack.store import (
    CorruptStoreError,
    SourceError,
    StoreExistsError,
    files,
    layout,
    locks,
)
from trialpack.store.publish import Stage

from .conversions import (
    SHARD_BYTES,
    VARIABLES,
    CrashError,
    Digests,
    Faults,
    beside,
    broken_disk,
    close_as_the_system_does,
    convert,
    descriptors,
    digests,
    interrupt,
    no_space,
    shards_written,
)
from .promises import Tally

pytestmark = pytest.mark.usefixtures("small_shards")


# Resuming


@pytest.mark.promise(2)
@pytest.mark.parametrize("unit", [0, 1, 2])
def test_finished_units_are_not_done_again(
    recording: Path, destination: Path, reference: Digests, faults: Faults, unit: int, tally: Tally
) -> None:
    tally.inject()
    interrupt(faults, recording, destination, unit=unit)
    faults.arm(-1, CrashError)
    convert(recording, destination)
    names = [name for name in reference if name.split("/")[0] in VARIABLES]
    wanted = sorted(name for name in names if any(f"/c.{number}." in name for number in range(unit, 3)))
    assert len(wanted) == 4 * (3 - unit)
    assert shards_written(faults) == wanted
    assert digests(destination) == reference
    tally.survive()


def test_trials_of_finished_units_are_not_read_again_yet_counted_as_done(
    recording: Path, destination: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(faults, recording, destination)
    reads, read, progress = list[str](), TreeTrialReader.read, _Progress()
    monkeypatch.setattr(
        TreeTrialReader, "read", lambda reader, *arguments: reads.append(progress.phase) or read(reader, *arguments)
    )
    convert(recording, destination, progress=progress)
    # Four trials of four variables, in the last of three units; before that, those that tell the codecs.
    assert reads.count("converting") == 16 and set(reads) == {"sampling", "converting"}
    assert progress.read == sum(path.is_file() for path in recording.rglob("*"))


class _Progress:
    def __init__(self) -> None:
        self.read, self.phase = 0, ""

    def start(self, phase: str, nbytes: int, files: int) -> None:
        self.phase = phase

    def advance(self, nbytes: int, files: int) -> None:
        if self.phase == "converting":
            self.read += files


@pytest.mark.parametrize("options", [{"codec": "none"}, {"codec": "small"}, {"codec": "fast"}], ids=str)
def test_what_other_options_left_is_not_mixed_in(
    recording: Path, destination: Path, references: Callable[..., Digests], faults: Faults, options: dict[str, Any]
) -> None:
    interrupt(faults, recording, destination, codec="fast" if options["codec"] != "fast" else "none")
    (Stage(destination).root / "videos" / "c.7.0.0.0").write_bytes(b"of a larger mouse")
    (Stage(destination).root / "meta" / "deeper").mkdir(parents=True)
    (Stage(destination).root / "meta" / "deeper" / "zarr.json").write_bytes(b"{}")
    faults.arm(-1, CrashError)
    convert(recording, destination, **options)
    assert len(shards_written(faults)) == 12
    assert digests(destination) == references(**options)
    assert beside(destination) == [destination.name]


def test_another_precision_is_not_mixed_in(tmp_path: Path, faults: Faults) -> None:
    source = write_sample(tmp_path, mouse="F", trials=6, neurons=3, image_shape=(3, 4))
    destination = tmp_path / "stores" / f"{source.name}.zarr"
    expected = digests(convert(source, tmp_path / "fresh" / destination.name, precision="float32"))
    interrupt(faults, source, destination, unit=1)
    convert(source, destination, precision="float32")
    assert digests(destination) == expected


def test_a_source_that_changed_is_read_again(recording: Path, tmp_path: Path, faults: Faults) -> None:
    """The same names, sizes and shapes; one trial has other values."""
    source = shutil.copytree(recording, tmp_path / recording.name)
    destination = tmp_path / "stores" / f"{source.name}.zarr"
    interrupt(faults, source, destination)
    trial = source / "data" / "responses" / "0.npy"
    size = trial.stat().st_size
    np.save(trial, np.load(trial) + 1)
    assert trial.stat().st_size == size
    faults.arm(-1, CrashError)
    convert(source, destination)
    assert shards_written(faults) == sorted(
        f"{name}/c.{unit}" + ".0" * n_dimensions for name, n_dimensions in VARIABLES.items() for unit in (0, 2)
    )
    assert digests(destination) == digests(convert(source, tmp_path / "fresh" / destination.name))


@pytest.mark.promise(2)
@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "swapped"])
def test_a_finished_shard_that_was_damaged_is_written_again(
    recording: Path, destination: Path, reference: Digests, faults: Faults, damage: str, tally: Tally
) -> None:
    tally.inject()
    interrupt(faults, recording, destination)
    shard, other = (Stage(destination).root / "videos" / f"c.{number}.0.0.0" for number in (0, 1))
    data = shard.read_bytes()
    if damage == "flipped":
        shard.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    elif damage == "cut":
        shard.write_bytes(data[:-1])
    elif damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(other.read_bytes())
    assert not shard.exists() or shard.read_bytes() != data
    convert(recording, destination)
    assert digests(destination) == reference
    tally.survive()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b'{"files": {"a": [1]}}',
        b'{"files": 3}',
    ],
    ids=repr,
)
def test_a_damaged_journal_is_not_believed(
    recording: Path, destination: Path, reference: Digests, faults: Faults, data: bytes
) -> None:
    interrupt(faults, recording, destination)
    for entry in Stage(destination).journal.glob("*.json"):
        entry.write_bytes(data)
    convert(recording, destination)
    assert digests(destination) == reference


@pytest.mark.promise(2)
def test_a_journal_with_a_flipped_bit_is_not_believed(
    recording: Path,
    destination: Path,
    reference: Digests,
    faults: Faults,
    size: Callable[[int, int], int],
    tally: Tally,
) -> None:
    rng = np.random.default_rng(0)
    for number in range(size(10, 200)):
        interrupt(faults, recording, destination)
        entry = sorted(Stage(destination).journal.glob("*.json"))[0]
        data = bytearray(entry.read_bytes())
        place, bit = int(rng.integers(len(data))), 1 << int(rng.integers(8))
        tally.inject()
        data[place] ^= bit
        entry.write_bytes(data)
        convert(recording, destination)
        assert digests(destination) == reference, f"flip {number}: bit {bit} of byte {place}"
        tally.survive()
        shutil.rmtree(destination)


def test_what_was_written_is_read_back_before_it_is_published(
    recording: Path, destination: Path, reference: Digests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that keeps other bytes than it was given."""
    finish = conversion.finish

    def damage(stage: Stage, manifest: Any, software: Any) -> None:
        finish(stage, manifest, software)
        shard = stage.root / "videos" / "c.1.0.0.0"
        shard.chmod(0o644)
        data = shard.read_bytes()
        shard.write_bytes(data[:50] + bytes([data[50] ^ 8]) + data[51:])

    monkeypatch.setattr(conversion, "finish", damage)
    with pytest.raises(CorruptStoreError, match=r"videos/c\.1\.0\.0\.0: checksum differs"):
        convert(recording, destination)
    assert not destination.exists()
    monkeypatch.undo()
    monkeypatch.setattr(layout, "SHARD_BYTES", SHARD_BYTES)
    convert(recording, destination)
    assert digests(destination) == reference


def test_resuming_after_the_stage_became_read_only(
    recording: Path, destination: Path, reference: Digests, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while verifying. The superuser may write to read-only files; everybody else gets what is raised here."""
    before = descriptors()
    faults.arm(lambda _, name, arguments: name == "sync_folder" and ".partial" in str(arguments), CrashError)
    with pytest.raises(CrashError):
        convert(recording, destination)
    faults.disarm()
    close_as_the_system_does(before)
    assert not any(path.stat().st_mode & 0o222 for path in Stage(destination).root.rglob("*") if path.is_file())
    open_file = os.open

    def open_as_a_person(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_WRONLY and os.path.exists(path) and not os.stat(path).st_mode & 0o200:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open_file(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", open_as_a_person)
    with pytest.raises(PermissionError):
        os.open(Stage(destination).root / layout.METADATA, os.O_WRONLY)
    convert(recording, destination)
    assert digests(destination) == reference


def test_a_wrong_source_leaves_nothing_behind(recording: Path, tmp_path: Path) -> None:
    source = shutil.copytree(recording, tmp_path / recording.name)
    destination = tmp_path / "stores" / f"{source.name}.zarr"
    video = source / "data" / "videos" / "9.npy"
    values = np.load(video)
    np.save(video, np.full_like(values, np.nan))
    with pytest.raises(SourceError, match="no valid frame"):
        convert(source, destination)
    assert beside(destination) == []


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    """Threads that take, hold, and give back the same lock, whose file comes and goes."""
    inside, most, taken, refused = [0], [0], [0], [0]

    def work() -> None:
        for _ in range(300):
            with locks.locked(tmp_path / "lock") as held:
                if held:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    taken[0] += 1
                    time.sleep(0)
                    inside[0] -= 1
                else:
                    refused[0] += 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert taken[0] >= 20 and taken[0] + refused[0] == 2400
    assert not (tmp_path / "lock").exists()


def test_a_lock_that_cannot_be_removed_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that is said, but no error: what was done under it is done."""
    monkeypatch.setattr(files, "remove", lambda path: _raise(broken_disk(())))
    before = descriptors()
    with files.Shortfalls() as shortfalls, locks.locked(tmp_path / "lock") as held:
        assert held
    (line,) = shortfalls.warnings(tmp_path)
    assert (
        line == f"{tmp_path / 'lock'}: the lock could not be given back (Input/output error); delete it if it is there"
    )
    assert not close_as_the_system_does(before)


def _raise(error: BaseException) -> None:
    raise error


# A destination that is taken


def test_an_existing_store_is_not_replaced_unasked(recording: Path, destination: Path, reference: Digests) -> None:
    convert(recording, destination)
    with pytest.raises(StoreExistsError, match="exists already; .* or replace it with replace=True") as raised:
        convert(recording, destination, codec="none")
    assert raised.value.path == str(destination)
    assert digests(destination) == reference
    assert beside(destination) == [destination.name]


def test_a_store_is_replaced(recording: Path, destination: Path, references: Callable[..., Digests]) -> None:
    convert(recording, destination)
    convert(recording, destination, codec="none", replace=True)
    assert digests(destination) == references(codec="none")
    assert beside(destination) == [destination.name]


def test_a_damaged_store_is_replaced(recording: Path, destination: Path, reference: Digests) -> None:
    """That is what one would replace it for."""
    convert(recording, destination)
    shutil.rmtree(destination / "videos")
    (destination / "extra").write_bytes(b"")
    convert(recording, destination, replace=True)
    assert digests(destination) == reference


def test_nothing_to_replace_is_fine(recording: Path, destination: Path, reference: Digests) -> None:
    convert(recording, destination, replace=True)
    assert digests(destination) == reference


def make_file(path: Path) -> None:
    path.write_text("mine")


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "mine").write_text("mine")


def make_empty_folder(path: Path) -> None:
    path.mkdir()


def make_foreign_store(path: Path) -> None:
    path.mkdir()
    (path / layout.METADATA).write_text('{"zarr_format":3,"node_type":"group","attributes":{}}')


def make_folder_with_manifest_folder(path: Path) -> None:
    (path / layout.MANIFEST).mkdir(parents=True)


def make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def make_link_to_folder(path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    (path.parent / "elsewhere" / layout.MANIFEST).write_text("{}")
    path.symlink_to("elsewhere")


def make_foreign_manifest(path: Path) -> None:
    path.mkdir()
    (path / layout.MANIFEST).write_text('{"name": "a web page", "icons": []}')


FOREIGN = [
    make_file,
    make_folder,
    make_empty_folder,
    make_foreign_store,
    make_folder_with_manifest_folder,
    make_dangling_link,
    make_link_to_folder,
    make_foreign_manifest,
]


@pytest.mark.parametrize("make", FOREIGN, ids=lambda function: function.__name__)
def test_what_is_no_store_is_never_replaced(recording: Path, destination: Path, make: Callable[[Path], None]) -> None:
    destination.parent.mkdir()
    make(destination)
    before = _snapshot(destination.parent)
    with pytest.raises(StoreExistsError, match="exists and is not a trialpack store, so it is not replaced"):
        convert(recording, destination, replace=True)
    with pytest.raises(StoreExistsError, match="exists already"):
        convert(recording, destination)
    assert _snapshot(destination.parent) == before


def _snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        path.relative_to(folder).as_posix(): (
            path.lstat().st_mode,
            os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("empty", [False, True], ids=["folder", "empty folder"])
def test_a_name_that_is_taken_meanwhile_is_not_replaced(
    recording: Path, destination: Path, monkeypatch: pytest.MonkeyPatch, empty: bool
) -> None:
    """By something that takes no lock, after the destination was looked at."""
    rename_new = files.rename_new

    def taken(old: Path, new: Path) -> None:
        make_empty_folder(new) if empty else make_folder(new)
        rename_new(old, new)

    monkeypatch.setattr(files, "rename_new", taken)
    with pytest.raises(StoreExistsError, match="exists already"):
        convert(recording, destination)
    assert digests(destination).keys() == (set() if empty else {"mine"})
    assert Stage(destination).root.exists()


# Where the system cannot rename without replacing, or swap


@pytest.fixture
def plain_renames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_renameat2", lambda old, new, flags: False)


@pytest.mark.usefixtures("plain_renames")
def test_plain_renames_publish_and_replace(
    recording: Path, destination: Path, references: Callable[..., Digests]
) -> None:
    convert(recording, destination)
    assert digests(destination) == references()
    convert(recording, destination, codec="none", replace=True)
    assert digests(destination) == references(codec="none")
    assert beside(destination) == [destination.name]


@pytest.mark.usefixtures("plain_renames")
def test_plain_renames_do_not_replace_what_took_the_name(
    recording: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_a_name_that_is_taken_meanwhile_is_not_replaced(recording, destination, monkeypatch, False)


@pytest.mark.promise(3)
@pytest.mark.usefixtures("plain_renames")
def test_a_crash_between_plain_renames_is_mended(
    recording: Path, destination: Path, references: Callable[..., Digests], faults: Faults, tally: Tally
) -> None:
    """For a moment nothing has the name; the old store is then beside it, and the next run puts it back."""
    restored = 0
    for number in range(2):
        convert(recording, destination, codec="none", replace=True)
        before, renames = descriptors(), list[object]()

        def is_rename_of_a_store(_: int, name: str, arguments: tuple[Any, ...], n: int = number) -> bool:
            if name == "rename" and arguments[0].is_dir() and arguments[0].parent == destination.parent:
                renames.append(arguments)  # noqa: B023
            return len(renames) > n  # noqa: B023

        tally.inject()
        faults.arm(is_rename_of_a_store, CrashError, for_good=True)
        with pytest.raises(CrashError):
            convert(recording, destination, replace=True)
        faults.disarm()
        close_as_the_system_does(before)
        if not destination.exists():
            with pytest.raises(StoreExistsError):
                convert(recording, destination)
            restored += 1
        assert digests(destination) == references(codec="none")
        convert(recording, destination, replace=True)
        assert digests(destination) == references()
        assert beside(destination) == [destination.name]
        tally.survive()
    assert restored == 1


# What is published


def test_files_of_a_store_are_read_only(recording: Path, destination: Path) -> None:
    store = convert(recording, destination)
    modes = {path.stat().st_mode & 0o777 for path in store.rglob("*") if path.is_file()}
    assert modes == {0o444}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_nothing_is_left_beside_a_store_and_workers_do_not_matter(
    recording: Path, destination: Path, reference: Digests, workers: int
) -> None:
    summary = convert_mouse(recording, destination.parent, workers=workers)
    assert beside(destination) == [destination.name]
    assert digests(destination) == reference
    assert summary.files == len(reference) == len(list(path for path in destination.rglob("*") if path.is_file()))
    assert summary.nbytes == sum(path.stat().st_size for path in destination.rglob("*") if path.is_file())


def test_the_lock_is_gone_after_an_error(recording: Path, destination: Path, faults: Faults) -> None:
    faults.arm(lambda _, name, arguments: name == "append", no_space)
    with pytest.raises(OSError, match="No space left"):
        convert(recording, destination)
    assert not Stage(destination).lock.exists()
    assert beside(destination) == sorted([Stage(destination).root.name, Stage(destination).journal.name])


def test_a_store_can_be_deleted_by_its_owner(recording: Path, destination: Path) -> None:
    """Files are read-only, folders are not."""
    store = convert(recording, destination)
    assert all(path.stat().st_mode & 0o700 == 0o700 for path in [store, *store.rglob("*")] if path.is_dir())
    shutil.rmtree(store)
    assert not store.exists()

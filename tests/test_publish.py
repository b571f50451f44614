"""A store is under its name complete, or not at all: whatever fails, and whenever."""

import contextlib
import errno
import functools
import hashlib
import inspect
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.convert import conversion, convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.convert.sources.mouse_tree import TreeTrialReader
from trialpack.store import (
    CorruptStoreError,
    SourceError,
    StoreBusyError,
    StoreExistsError,
    check_full,
    files,
    layout,
)
from trialpack.store.manifest import read_manifest
from trialpack.store.publish import Stage

SHARD_BYTES = 65_000  # three units of four trials
PREFIX = """
import sys, time
from trialpack.convert import convert_mouse
from trialpack.store import files, layout
layout.SHARD_BYTES = {shard_bytes}
sync = files.sync
"""

Digests = dict[str, str]


class CrashError(BaseException):
    """Stands for the death of the process."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mouse of few files, so that all operations of its conversion can be made to fail in turn.

    Without train trials, for their statistics are many files; `with_train` has them.
    """
    mouse = write_sample(tmp_path_factory.mktemp("recording"), mouse="A", trials=12, neurons=3, image_shape=(3, 4))
    shutil.rmtree(mouse / "meta" / "statistics")
    shutil.rmtree(mouse / "meta" / "neurons")
    (mouse / "meta" / "trials" / "trial_idx.npy").unlink()
    tiers = np.load(mouse / "meta" / "trials" / "tiers.npy")
    np.save(mouse / "meta" / "trials" / "tiers.npy", np.where(tiers == "train", "oracle", tiers))
    return mouse


@pytest.fixture
def with_train(recording: Path, tmp_path: Path) -> Path:
    """The same mouse with train trials."""
    mouse = shutil.copytree(recording, tmp_path / "with_train" / recording.name)
    tiers = np.load(mouse / "meta" / "trials" / "tiers.npy")
    np.save(mouse / "meta" / "trials" / "tiers.npy", np.where(tiers == "oracle", "train", tiers))
    return mouse


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "SHARD_BYTES", SHARD_BYTES)


@pytest.fixture(scope="module")
def references(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Digests]]:
    """Return the digests of the store that an uninterrupted conversion makes."""

    @functools.cache
    def make(**options: Any) -> Digests:
        summary = convert_mouse(recording, tmp_path_factory.mktemp("reference"), workers=1, **options)
        assert len(summary.plan.units) == 3
        return digests(summary.store)

    yield make


@pytest.fixture
def reference(references: Callable[..., Digests]) -> Digests:
    return references()


@pytest.fixture
def destination(recording: Path, tmp_path: Path) -> Path:
    return tmp_path / "stores" / f"{recording.name}.zarr"


def digests(store: Path) -> Digests:
    found = (path for path in store.rglob("*") if path.is_file())
    return {path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def convert(recording: Path, destination: Path, **options: Any) -> Path:
    return convert_mouse(recording, destination.parent, workers=1, **options).store


def beside(destination: Path) -> list[str]:
    """Names of all that is in the folder of the store."""
    return sorted(path.name for path in destination.parent.iterdir())


# Faults


class Faults:
    """Counts the calls of all functions of `files`, and lets chosen ones fail."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls = list[tuple[str, tuple[Any, ...]]]()
        self.failed: str | None = None
        self._error: Callable[[], BaseException] | None = None
        self._when: Callable[[int, str, tuple[Any, ...]], bool] = lambda *_: False
        self._for_good = frozenset[str]()
        self._lock = threading.Lock()
        for name, function in OPERATIONS.items():
            patch.setattr(files, name, self._wrap(name, function))

    def arm(
        self,
        when: int | Callable[[int, str, tuple[Any, ...]], bool],
        error: Callable[[], BaseException],
        *,
        for_good: bool = False,
    ) -> None:
        """Fail at the n-th call from now on, or at the first of which a function says so.

        Parameters
        ----------
        for_good
            Whether all later calls fail too, but those that a full disk, or a dead process's system, still does.
        """
        self.calls.clear()
        self.failed, self._error = None, error
        self._when = (lambda number, *_: number == when) if isinstance(when, int) else when
        self._for_good = frozenset(OPERATIONS) - {"close"} if for_good else frozenset()
        if for_good and not isinstance(error(), CrashError):
            self._for_good -= {"remove"}

    def disarm(self) -> None:
        self._error, self._when = None, lambda *_: False

    def _wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*arguments: Any) -> Any:
            with self._lock:
                number = len(self.calls)
                self.calls.append((name, arguments))
                begins = self.failed is None and self._when(number, name, arguments)
                if begins:
                    self.failed = name
                fails = self._error is not None and (begins or (self.failed is not None and name in self._for_good))
            if fails:
                assert self._error is not None
                _do_in_part(name, arguments)
                raise self._error()
            return function(*arguments)

        return wrapped


def _operations() -> dict[str, Callable[..., Any]]:
    found = inspect.getmembers(files, inspect.isfunction)
    return {name: f for name, f in found if f.__module__ == files.__name__ and not name.startswith("_")}


OPERATIONS = _operations()


def _do_in_part(name: str, arguments: tuple[Any, ...]) -> None:
    """Leave behind what an operation that fails may leave: half of the bytes; a closed descriptor."""
    if name == "append":
        descriptor, parts = arguments
        data = b"".join(parts)
        os.write(descriptor, data[: len(data) // 2])
    if name == "close":
        OPERATIONS["close"](*arguments)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    # Nothing here can see whether bytes reach the disk; waiting for it would take most of the time.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return Faults(monkeypatch)


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "injected")


def broken_disk() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO), "injected")


MODES: dict[str, tuple[Callable[[], BaseException], bool]] = {
    "full disk": (no_space, True),
    "one error": (broken_disk, False),
    "crash": (CrashError, True),
}


def descriptors() -> set[int]:
    with contextlib.suppress(OSError):
        return {int(name) for name in os.listdir("/dev/fd") if os.path.lexists(f"/dev/fd/{name}")}
    return set()


def close_as_the_system_does(before: set[int]) -> int:
    """Close what a process that died had open; return how many those were."""
    leaked = descriptors() - before
    for descriptor in leaked:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    return len(leaked)


def fails(faults: Faults, function: Callable[[], object]) -> bool:
    """Run a conversion that may be made to fail; tell whether it failed, and see that it failed of nothing else."""
    try:
        function()
    except (OSError, CrashError) as error:
        assert faults.failed is not None
        assert isinstance(error, CrashError) or error.filename == "injected"
        return True
    assert faults.failed is None
    return False


def test_all_operations_are_known() -> None:
    """Those of which the text of a conversion speaks; a new one takes part in the tests below by itself."""
    assert set(OPERATIONS) >= {"create", "append", "sync", "close", "write", "write_atomically", "make_folder"}
    assert set(OPERATIONS) >= {"sync_folder", "make_read_only", "rename", "rename_new", "exchange", "remove", "locked"}


@pytest.mark.parametrize("mode", MODES)
def test_a_failure_of_any_operation_publishes_nothing_unfinished(
    recording: Path, destination: Path, reference: Digests, faults: Faults, mode: str
) -> None:
    """For every N: fail at the N-th operation, look, convert again, compare with an uninterrupted conversion."""
    error, for_good = MODES[mode]
    failed_at, number = list[str](), -1
    while True:
        number += 1
        before = descriptors()
        faults.arm(number, error, for_good=for_good)
        failed = fails(faults, lambda: convert(recording, destination))
        faults.disarm()
        leaked = close_as_the_system_does(before)
        if not failed:
            break
        assert mode == "crash" or not leaked or faults.failed == "remove"
        failed_at.append(str(faults.failed))
        published = destination.exists()
        assert published == os.path.lexists(destination)
        if published:
            assert digests(destination) == reference
            with pytest.raises(StoreExistsError):
                convert(recording, destination)
        # After errors what is left is much the same as after a crash: going on from each third will do.
        if mode == "crash" or published or number % 3 == 0:
            convert(recording, destination, replace=published)
            assert digests(destination) == reference
            assert beside(destination) == [destination.name]
        shutil.rmtree(destination.parent, ignore_errors=True)
    assert digests(destination) == reference
    assert number == len(faults.calls) > 150
    assert {"create", "append", "sync", "write", "rename", "rename_new", "sync_folder", "remove"} <= set(failed_at)


def test_a_crash_amid_the_statistics_publishes_nothing_and_the_same_call_goes_on(
    with_train: Path, destination: Path, tmp_path: Path, faults: Faults
) -> None:
    """Every twelfth operation on a file of the statistics; those after them are tried above."""
    reference = digests(convert(with_train, tmp_path / "reference" / destination.name))
    faults.arm(-1, CrashError)
    convert(with_train, tmp_path / "counted" / destination.name)
    amid = [n for n, (_, arguments) in enumerate(faults.calls) if "statistics/train" in str(arguments[0])]
    assert len(amid) > 150
    for number in amid[::12]:
        before = descriptors()
        faults.arm(number, CrashError, for_good=True)
        assert fails(faults, lambda: convert(with_train, destination))
        faults.disarm()
        close_as_the_system_does(before)
        assert not destination.exists()
        convert(with_train, destination)
        assert digests(destination) == reference
        assert beside(destination) == [destination.name]
        shutil.rmtree(destination.parent)


def test_replacing_leaves_a_complete_store_at_every_moment(
    recording: Path, destination: Path, references: Callable[..., Digests], faults: Faults
) -> None:
    """Crash at every operation from the manifest on: the old store or the new one is there, then the new one."""
    old, new = references(codec="none"), references()
    assert old != new
    seen = {"old": 0, "new": 0}

    def convert_again() -> Path:
        return convert(recording, destination, replace=True)

    convert(recording, destination, codec="none")
    original = shutil.copytree(destination, destination.parent.with_name("original"))
    faults.arm(-1, CrashError)
    convert_again()
    total = len(faults.calls)
    manifest = next(n for n, (_, arguments) in enumerate(faults.calls) if _is(arguments, layout.MANIFEST))
    for number in range(manifest, total):
        shutil.rmtree(destination)
        shutil.copytree(original, destination)
        before = descriptors()
        faults.arm(number, CrashError, for_good=True)
        assert fails(faults, convert_again)
        faults.disarm()
        close_as_the_system_does(before)
        found = digests(destination)
        assert found in (old, new)
        seen["old" if found == old else "new"] += 1
        check_full(destination, workers=1)
        convert_again()
        assert digests(destination) == new
        assert beside(destination) == [destination.name]
    assert seen["old"] > 20 and seen["new"] >= 4


def _is(arguments: tuple[Any, ...], name: str) -> bool:
    return bool(arguments) and isinstance(arguments[0], Path) and arguments[0].name == name


def test_the_name_means_a_store_while_it_is_replaced(
    recording: Path, destination: Path, references: Callable[..., Digests]
) -> None:
    """Somebody opens the store all the while: there is always one, the old or the new."""
    convert(recording, destination, codec="none")
    seen, failures, done = set[str](), list[Exception](), threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                seen.add(read_manifest(destination).store_id)
            except Exception as error:
                failures.append(error)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        ids = {read_manifest(destination).store_id}
        for codec in ("fast", "none", "fast"):
            convert(recording, destination, codec=codec, replace=True)
            ids.add(read_manifest(destination).store_id)
            time.sleep(0.02)
    finally:
        done.set()
        watcher.join()
    assert not failures
    assert seen == ids and len(ids) == 2
    assert digests(destination) == references(codec="fast")


# Durable before it is named


def test_everything_is_on_disk_before_it_is_named(
    recording: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut keeps what was synced: each file after its last byte, each folder after its last name."""
    recorder = _Durability(monkeypatch)
    convert(recording, destination)
    assert recorder.named == [destination]
    assert recorder.journalled == 3
    # The new name itself, and the removal of the journal.
    assert destination.parent not in recorder.folders


def test_a_folder_made_for_the_store_is_on_disk_too(
    recording: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = _Durability(monkeypatch)
    assert not destination.parent.exists()
    convert(recording, destination)
    assert destination.parent.parent not in recorder.folders


def test_a_shard_that_cannot_be_closed_is_closed_once(recording: Path, destination: Path, faults: Faults) -> None:
    """close(2) frees the descriptor even when it fails; another thread may have opened a file under its number."""
    shards = set[int]()

    def is_close_of_a_shard(_: int, name: str, arguments: tuple[Any, ...]) -> bool:
        if name == "append" and len(arguments[1]) == 2:
            shards.add(arguments[0])
        return name == "close" and arguments[0] in shards

    faults.arm(is_close_of_a_shard, broken_disk)
    with pytest.raises(OSError, match="injected"):
        convert(recording, destination)
    assert faults.failed == "close"


class _Durability:
    """Follows which files and folders were changed and not synced since."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.files, self.folders, self.open = set[Path](), set[Path](), dict[int, Path]()
        self.named, self.journalled = list[Path](), 0
        for name in OPERATIONS:
            if hasattr(self, name):
                patch.setattr(files, name, self._wrap(name))

    def _wrap(self, name: str) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            result = OPERATIONS[name](*arguments)
            getattr(self, name)(result, *arguments)
            return result

        return wrapped

    def create(self, descriptor: int, path: Path) -> None:
        self.open[descriptor] = path
        self.files.add(path)
        self.folders.add(path.parent)

    def append(self, _: int, descriptor: int, parts: object) -> None:
        self.files.add(self.open[descriptor])

    def sync(self, _: None, descriptor: int) -> None:
        self.files.discard(self.open.get(descriptor, Path()))

    def close(self, _: None, descriptor: int) -> None:
        self.open.pop(descriptor, None)

    def sync_folder(self, _: None, path: Path) -> None:
        self.folders.discard(path)

    def make_folder(self, _: None, path: Path) -> None:
        self.folders |= {path, path.parent}

    def remove(self, _: None, path: Path) -> None:
        if not path.name.endswith(".lock"):
            self.folders.add(path.parent)
        self.folders = {folder for folder in self.folders if folder != path and path not in folder.parents}

    def rename(self, _: None, old: Path, new: Path) -> None:
        if old.name.endswith(files.TEMPORARY):
            # What the journal claims is on disk: nothing of the stage is open or unsynced, but for metadata to come.
            assert not [path for path in self.files if path.name.startswith("c.")]
            assert old not in self.files
            self.journalled += 1
        self.folders |= {old.parent, new.parent}

    def rename_new(self, _: None, old: Path, new: Path) -> None:
        assert not {path for path in self.files if old in path.parents}
        assert not {path for path in self.folders if path == old or old in path.parents}
        self.named.append(new)
        self.folders |= {old.parent, new.parent}


# Resuming


def is_shard_of_unit(number: int) -> Callable[[int, str, tuple[Any, ...]], bool]:
    name = f"c.{number}.0.0"
    return lambda _, operation, arguments: operation == "create" and _is(arguments, name)


def interrupt(faults: Faults, recording: Path, destination: Path, *, unit: int = 2, **options: Any) -> None:
    """Convert and crash in a unit, when those before it are finished."""
    before = descriptors()
    faults.arm(is_shard_of_unit(unit), CrashError, for_good=True)
    with pytest.raises(CrashError):
        convert(recording, destination, **options)
    faults.disarm()
    close_as_the_system_does(before)
    assert not destination.exists()
    assert len(list(Stage(destination).journal.iterdir())) == unit


def shards_written(faults: Faults) -> list[str]:
    """Return ``<variable>/<file>`` of the shards created since the faults were armed."""
    paths = [arguments[0] for name, arguments in faults.calls if name == "create" and arguments[0].name[:2] == "c."]
    variables = {variable.name for variable in layout.VARIABLES["dynamic"]}
    return sorted(f"{path.parent.name}/{path.name}" for path in paths if path.parent.name in variables)


@pytest.mark.parametrize("unit", [0, 1, 2])
def test_finished_units_are_not_done_again(
    recording: Path, destination: Path, reference: Digests, faults: Faults, unit: int
) -> None:
    interrupt(faults, recording, destination, unit=unit)
    faults.arm(-1, CrashError)
    convert(recording, destination)
    names = [name for name in reference if name.split("/")[0] in {v.name for v in layout.VARIABLES["dynamic"]}]
    wanted = sorted(name for name in names if any(f"/c.{number}." in name for number in range(unit, 3)))
    assert len(wanted) == 4 * (3 - unit)
    assert shards_written(faults) == wanted
    assert digests(destination) == reference


def test_trials_of_finished_units_are_not_read_again_yet_counted_as_done(
    recording: Path, destination: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(faults, recording, destination)
    reads, read = list[str](), TreeTrialReader.read
    monkeypatch.setattr(
        TreeTrialReader, "read", lambda reader, *arguments: reads.append(arguments[0]) or read(reader, *arguments)
    )
    progress = _Progress()
    convert(recording, destination, progress=progress)
    # Four trials of four variables, in the last of three units.
    assert len(reads) == 16
    assert progress.read == sum(path.is_file() for path in recording.rglob("*"))


class _Progress:
    def __init__(self) -> None:
        self.read, self._phase = 0, ""

    def start(self, phase: str, nbytes: int, files: int) -> None:
        self._phase = phase

    def advance(self, nbytes: int, files: int) -> None:
        if self._phase == "converting":
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
        f"{variable.name}/c.{unit}" + ".0" * len(variable.dimensions)
        for variable in layout.VARIABLES["dynamic"]
        for unit in (0, 2)
    )
    assert digests(destination) == digests(convert(source, tmp_path / "fresh" / destination.name))


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "swapped"])
def test_a_finished_shard_that_was_damaged_is_written_again(
    recording: Path, destination: Path, reference: Digests, faults: Faults, damage: str
) -> None:
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
    for entry in Stage(destination).journal.iterdir():
        entry.write_bytes(data)
    convert(recording, destination)
    assert digests(destination) == reference


def test_what_was_written_is_read_back_before_it_is_published(
    recording: Path, destination: Path, reference: Digests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that keeps other bytes than it was given."""
    finish = conversion.finish

    def damage(stage: Stage, manifest: Any) -> None:
        finish(stage, manifest)
        shard = stage.root / "videos" / "c.1.0.0.0"
        shard.chmod(0o644)
        data = shard.read_bytes()
        shard.write_bytes(data[:50] + bytes([data[50] ^ 8]) + data[51:])

    monkeypatch.setattr(conversion, "finish", damage)
    with pytest.raises(CorruptStoreError, match=r"videos/c\.1\.0\.0\.0: was changed"):
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


# Killed


Child = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def child() -> Iterator[Child]:
    """Return a function that starts a Python process that has `convert_mouse` and small shards."""
    with contextlib.ExitStack() as stack:

        def start(body: str, *arguments: object) -> subprocess.Popen[str]:
            code = PREFIX.format(shard_bytes=SHARD_BYTES) + body
            command, pipe = [sys.executable, "-c", code, *map(str, arguments)], subprocess.PIPE
            process = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
            stack.callback(process.kill)
            return process

        yield start


SLOW = """
def slow(descriptor):
    time.sleep(0.006)
    sync(descriptor)
files.sync = slow
print("ready", flush=True)
convert_mouse(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]))
"""


def start_slow(child: Child, recording: Path, destination: Path, workers: int) -> subprocess.Popen[str]:
    process = child(SLOW, recording, destination.parent, workers)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish_child(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_conversion_leaves_nothing_or_a_complete_store(
    child: Child, recording: Path, tmp_path: Path, reference: Digests, workers: int
) -> None:
    name, rng, kills = f"{recording.name}.zarr", np.random.default_rng(workers), 6
    process, begun = start_slow(child, recording, tmp_path / "whole" / name, workers), time.perf_counter()
    code, stderr = finish_child(process)
    assert code == 0, stderr
    duration, landed, resumed = time.perf_counter() - begun, 0, 0
    assert digests(tmp_path / "whole" / name) == reference
    for number in range(4 * kills):
        destination = tmp_path / str(number) / name
        process, begun = start_slow(child, recording, destination, workers), time.perf_counter()
        time.sleep(duration * (number % kills + float(rng.random())) / kills)
        process.send_signal(signal.SIGKILL)
        code, stderr = finish_child(process)
        assert code in (0, -signal.SIGKILL), stderr
        if destination.exists():
            assert digests(destination) == reference
            # The machine got faster since the run that was timed: spread the kills over less.
            duration = min(duration, time.perf_counter() - begun)
            continue
        assert code == -signal.SIGKILL
        landed += 1
        journal = Stage(destination).journal
        resumed += journal.exists() and any(journal.iterdir())
        convert(recording, destination)
        assert digests(destination) == reference
        assert beside(destination) == [destination.name]
        if landed == kills:
            break
    assert landed == kills
    assert resumed >= 1


def test_killed_again_and_again(child: Child, recording: Path, destination: Path, reference: Digests) -> None:
    """Each run goes on from where the last one was killed, and is killed a little later."""
    for number in range(4):
        process = start_slow(child, recording, destination, 2)
        time.sleep(0.05 + 0.05 * number)
        process.kill()
        finish_child(process)
        assert not destination.exists() or digests(destination) == reference
    if not destination.exists():
        convert(recording, destination)
    assert digests(destination) == reference


# Two at once

HOLD = """
append = files.append
def hold(descriptor, parts):
    print("holding", flush=True)
    sys.stdin.readline()
    files.append = append
    return append(descriptor, parts)
files.append = hold
convert_mouse(sys.argv[1], sys.argv[2], workers=1)
"""

RACE = """
from trialpack.store import StoreBusyError, StoreExistsError
print("ready", flush=True)
sys.stdin.readline()
try:
    convert_mouse(sys.argv[1], sys.argv[2], workers=1)
except (StoreBusyError, StoreExistsError) as error:
    print(type(error).__name__)
else:
    print("won")
"""


def test_the_holder_of_a_destination_is_named(
    child: Child, recording: Path, destination: Path, reference: Digests
) -> None:
    process = child(HOLD, recording, destination.parent)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    for replace in (False, True):
        with pytest.raises(StoreBusyError) as raised:
            convert(recording, destination, replace=replace)
        (line,) = str(raised.value).splitlines()
        assert f"is being converted by process {process.pid} on {os.uname().nodename}" in line
    assert not destination.exists()
    process.stdin.write("\n")
    code, stderr = finish_child(process)
    assert code == 0, stderr
    assert digests(destination) == reference
    assert beside(destination) == [destination.name]


def test_the_lock_of_a_killed_process_is_no_lock(
    child: Child, recording: Path, destination: Path, reference: Digests
) -> None:
    process = child(HOLD, recording, destination.parent)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    finish_child(process)
    assert Stage(destination).lock.exists()
    convert(recording, destination)
    assert digests(destination) == reference
    assert beside(destination) == [destination.name]


def test_of_two_conversions_one_wins(child: Child, recording: Path, tmp_path: Path, reference: Digests) -> None:
    outcomes = list[str]()
    for number in range(3):
        destination = tmp_path / str(number) / f"{recording.name}.zarr"
        processes = [child(RACE, recording, destination.parent) for _ in range(2)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        found = [process.communicate(timeout=60)[0].strip() for process in processes]
        assert sorted(found)[1] == "won" and sorted(found)[0] in ("StoreBusyError", "StoreExistsError")
        outcomes += found
        assert digests(destination) == reference
        assert beside(destination) == [destination.name]
    assert outcomes.count("won") == 3


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    """Threads that take, hold, and give back the same lock, whose file comes and goes."""
    inside, most, taken, refused = [0], [0], [0], [0]

    def work() -> None:
        for _ in range(300):
            with files.locked(tmp_path / "lock") as held:
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
    monkeypatch.setattr(files, "remove", lambda path: _raise(broken_disk()))
    before = descriptors()
    with pytest.raises(OSError, match="injected"), files.locked(tmp_path / "lock") as held:
        assert held
    assert not close_as_the_system_does(before)


def _raise(error: BaseException) -> None:
    raise error


# A destination that is taken


def test_an_existing_store_is_not_replaced_unasked(recording: Path, destination: Path, reference: Digests) -> None:
    convert(recording, destination)
    with pytest.raises(StoreExistsError, match="exists already; give --replace") as raised:
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


@pytest.mark.usefixtures("plain_renames")
def test_a_crash_between_plain_renames_is_mended(
    recording: Path, destination: Path, references: Callable[..., Digests], faults: Faults
) -> None:
    """For a moment nothing has the name; the old store is then beside it, and the next run puts it back."""
    restored = 0
    for number in range(2):
        convert(recording, destination, codec="none", replace=True)
        before, renames = descriptors(), list[object]()

        def is_rename_of_a_store(_: int, name: str, arguments: tuple[Any, ...], n: int = number) -> bool:
            if name == "rename" and arguments[0].is_dir():
                renames.append(arguments)  # noqa: B023
            return len(renames) > n  # noqa: B023

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

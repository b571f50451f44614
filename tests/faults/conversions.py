"""Conversions that are made to fail, and what is left of them."""

import contextlib
import errno
import functools
import hashlib
import inspect
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trialpack.convert import convert_mouse
from trialpack.store import (
    files,
    layout,
)
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


def digests(store: Path) -> Digests:
    found = (path for path in store.rglob("*") if path.is_file())
    return {path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def convert(recording: Path, destination: Path, **options: Any) -> Path:
    return convert_mouse(recording, destination.parent, workers=1, **options).store


def beside(destination: Path) -> list[str]:
    """Names of all that is in the folder of the store."""
    return sorted(path.name for path in destination.parent.iterdir())


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


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "injected")


def broken_disk() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO), "injected")


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


def is_(arguments: tuple[Any, ...], name: str) -> bool:
    return bool(arguments) and isinstance(arguments[0], Path) and arguments[0].name == name


class Durability:
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


def is_shard_of_unit(number: int) -> Callable[[int, str, tuple[Any, ...]], bool]:
    name = f"c.{number}.0.0"
    return lambda _, operation, arguments: operation == "create" and is_(arguments, name)


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


Child = Callable[..., subprocess.Popen[str]]


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

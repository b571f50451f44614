"""Conversions that are made to fail, and what is left of them."""

import contextlib
import errno
import functools
import hashlib
import inspect
import json
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trialpack.convert import conversion, convert_mouse
from trialpack.store import files, locks
from trialpack.store.integrity import file_digest
from trialpack.store.publish import Stage

SHARD_BYTES = 65_000  # three units of four trials
PREFIX = """
import os, sys, time
from trialpack.convert import convert_mouse
from trialpack.store import files, layout, locks
layout.SHARD_BYTES = {shard_bytes}
sync = files.sync
"""

VARIABLES = {"videos": 3, "responses": 2, "behavior": 2, "pupil_center": 2}
"""Those of `recording`, and how many dimensions a trial has."""
Digests = dict[str, str]


class CrashError(BaseException):
    """Stands for the death of the process."""


Error = Callable[[tuple[Any, ...]], BaseException]
"""Makes what an operation raises, of its arguments."""


def system_error(code: int) -> Error:
    """Fail as the system does: with the file's name, if the call is by name."""

    def error(arguments: tuple[Any, ...]) -> OSError:
        named = [str(argument) for argument in arguments[:1] if isinstance(argument, Path)]
        return OSError(code, os.strerror(code), *named)

    return error


no_space, broken_disk, no_access = map(system_error, (errno.ENOSPC, errno.EIO, errno.EACCES))


When = int | Callable[[int, str, tuple[Any, ...]], bool]
"""Which operation fails: the n-th, or the first of which a function says so, by number, name and arguments."""


@dataclass(frozen=True)
class Mode:
    """A way to fail.

    Attributes
    ----------
    for_good
        Whether all that is tried afterwards fails too.
    """

    error: Error
    for_good: bool

    @property
    def code(self) -> int | None:
        """The errno; None for a crash."""
        return getattr(self.error(()), "errno", None)


CRASH = Mode(CrashError, for_good=True)
ERRORS = {
    f"{name}, {'for good' if for_good else 'once'}": Mode(error, for_good)
    for name, error in {"ENOSPC": no_space, "EIO": broken_disk, "EACCES": no_access}.items()
    for for_good in (False, True)
}
MODES = {"crash": CRASH, **ERRORS}


def digests(store: Path) -> Digests:
    found = (path for path in store.rglob("*") if path.is_file())
    return {path.relative_to(store).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def convert(recording: Path, destination: Path, **options: Any) -> Path:
    return convert_mouse(recording, destination.parent, **{"workers": 1, **options}).store


def beside(destination: Path) -> list[str]:
    """Names of all that is in the folder of the store."""
    return sorted(path.name for path in destination.parent.iterdir())


@contextlib.contextmanager
def noting(fault: str) -> Generator[None]:
    """Say, should a test fail, which of its faults it was."""
    try:
        yield
    except Exception as error:
        error.add_note(fault)
        raise


class Faults:
    """Counts the calls of all operations of `files` and `locks`, and lets chosen ones fail."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls = list[tuple[str, tuple[Any, ...]]]()
        self.failed: str | None = None
        self._error: Error | None = None
        self._when: Callable[[int, str, tuple[Any, ...]], bool] = lambda *_: False
        self._for_good = self._sure = frozenset[str]()
        self._lock = threading.Lock()
        for name, function in OPERATIONS.items():
            patch.setattr(inspect.getmodule(function), name, self._wrap(name, function))

    def arm(self, when: When, error: Error, *, for_good: bool = False) -> None:
        """Fail at the n-th call from now on, or at the first of which a function says so.

        Parameters
        ----------
        for_good
            Whether all later calls fail too, but those that a full disk, or a dead process's system, still does.

        Notes
        -----
        A hint to the system cannot fail: where errors are injected it is not counted.
        """
        of_system = isinstance(error(()), OSError)
        self.calls.clear()
        self.failed, self._error = None, error
        self._when = (lambda number, *_: number == when) if isinstance(when, int) else when
        self._for_good = frozenset(OPERATIONS) - {"close"} if for_good else frozenset()
        if error is no_space:
            self._for_good -= {"remove"}
        self._sure = frozenset({"start_sync"}) if of_system else frozenset()

    def disarm(self) -> None:
        self._error, self._when = None, lambda *_: False

    def _wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*arguments: Any) -> Any:
            if name in self._sure:
                return function(*arguments)
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
                raise self._error(arguments)
            return function(*arguments)

        return wrapped


def _operations() -> dict[str, Callable[..., Any]]:
    found = inspect.getmembers(files, inspect.isfunction)
    own = {name: f for name, f in found if f.__module__ == files.__name__ and not name.startswith("_")}
    del own["if_offered"]
    return own | {"locked": locks.locked}


OPERATIONS = _operations()


def _do_in_part(name: str, arguments: tuple[Any, ...]) -> None:
    """Leave behind what an operation that fails may leave: half of the bytes; a closed descriptor."""
    if name == "append":
        descriptor, parts = arguments
        data = b"".join(parts)
        os.write(descriptor, data[: len(data) // 2])
    if name == "close":
        OPERATIONS["close"](*arguments)


def descriptors() -> set[tuple[int, int, int]]:
    """Number, device and inode of each open file and folder.

    The number alone does not tell them: threads of earlier tests close sockets meanwhile, whose numbers are given anew.
    """
    found = set[tuple[int, int, int]]()
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself
            status = os.fstat(int(name))
            if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
                found.add((int(name), status.st_dev, status.st_ino))
    return found


def publish_unchecked(patch: pytest.MonkeyPatch) -> None:
    """Let conversions publish without a look at names, sizes and metadata, which also unverified ones take."""
    patch.setattr(conversion, "check_quick", lambda _: SimpleNamespace(nbytes=0, n_files=0))
    patch.setattr(conversion, "find_leaks", lambda _: [])


def close_as_the_system_does(before: set[tuple[int, int, int]]) -> int:
    """Close what a process that died had open; return how many those were."""
    leaked = descriptors() - before
    for descriptor, *_ in leaked:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    return len(leaked)


def failure(faults: Faults, function: Callable[[], object], when: When, mode: Mode) -> BaseException | None:
    """Run a conversion of which an operation fails; return its error, after seeing that it is the injected one.

    None if all that failed was to tidy up, when the store had been published: that is noted.
    """
    before = descriptors()
    faults.arm(when, mode.error, for_good=mode.for_good)
    error, shortfalls = None, files.Shortfalls()
    try:
        with shortfalls:
            function()
    except (OSError, CrashError) as raised:
        error = raised
    finally:
        faults.disarm()
        leaked = close_as_the_system_does(before)
    noted = [line for line in shortfalls.warnings(Path()) if "does not offer" not in line]
    told = error is not None or any(os.strerror(mode.code or 0) in line for line in noted)
    assert told == (faults.failed is not None), f"{faults.failed} failed, and {error!r} was raised"
    if isinstance(error, OSError):
        assert error.errno == mode.code
        assert not leaked
    return error


def count_operations(faults: Faults, function: Callable[[], object], mode: Mode) -> int:
    """Return how many operations of a conversion can fail in this way."""
    faults.arm(-1, mode.error)
    function()
    return len(faults.calls)


SCENES = ("new", "two workers", "statistics", "replace", "replace by two renames")


@dataclass(frozen=True)
class Scene:
    """A conversion that is made to fail, and what is promised of it.

    Attributes
    ----------
    original
        The store that it replaces; None where the name is free.
    allowed
        What may have the name, whenever it failed; None is nothing.
    final
        What has the name when the same call went on to its end.
    """

    source: Path
    destination: Path
    options: dict[str, Any]
    original: Path | None
    allowed: tuple[Digests | None, ...]
    final: Digests

    def prepare(self) -> None:
        """Bring about what there was before the conversion."""
        shutil.rmtree(self.destination.parent, ignore_errors=True)
        if self.original is not None:
            shutil.copytree(self.original, self.destination)

    def convert(self) -> None:
        convert(self.source, self.destination, **self.options)

    def check(self) -> None:
        """Check that nothing unfinished has the name."""
        assert self.found() in self.allowed, "something unfinished has the name of the store"

    def resume(self) -> None:
        """Convert again, and check that all is as if nothing had failed."""
        replace = self.original is not None or self.found() is not None
        convert(self.source, self.destination, **{**self.options, "replace": replace})
        assert self.found() == self.final, "the store is another than that of a conversion that did not fail"
        assert beside(self.destination) == [self.destination.name]

    def found(self) -> Digests | None:
        return digests(self.destination) if os.path.lexists(self.destination) else None


def is_shard_of_unit(number: int) -> Callable[[int, str, tuple[Any, ...]], bool]:
    start = f"c.{number}.0.0"
    return lambda _, operation, arguments: operation == "create" and arguments[0].name.startswith(start)


def interrupt(faults: Faults, recording: Path, destination: Path, *, unit: int = 2, **options: Any) -> None:
    """Convert and crash in a unit, when those before it are finished."""
    before = descriptors()
    faults.arm(is_shard_of_unit(unit), CrashError, for_good=True)
    with pytest.raises(CrashError):
        convert(recording, destination, **options)
    faults.disarm()
    close_as_the_system_does(before)
    assert not destination.exists()
    assert len(list(Stage(destination).journal.glob("*.json"))) == unit


def shards_written(faults: Faults) -> list[str]:
    """Return ``<variable>/<file>`` of the shards completed since the faults were armed."""
    paths = [arguments[1] for name, arguments in faults.calls if name == "rename" and arguments[1].name[:2] == "c."]
    return sorted(f"{path.parent.name}/{path.name}" for path in paths if path.parent.name in VARIABLES)


Child = Callable[..., subprocess.Popen[str]]


SLOW = """
def slow(descriptor):
    time.sleep(0.006)
    sync(descriptor)
files.sync = slow
print("ready", flush=True)
convert_mouse(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]), replace=sys.argv[4] == "replace")
"""


def start_slow(
    child: Child, recording: Path, destination: Path, workers: int, *, replace: bool = False
) -> subprocess.Popen[str]:
    """Start a conversion that takes long enough to be killed at a chosen moment, and return when it begins."""
    process = child(SLOW, recording, destination.parent, workers, "replace" if replace else "")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish_child(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr


Shards = dict[str, tuple[int, int]]
"""Path in the store -> what a file that is written again does not keep: number, and time of the last change."""


def finished_shards(destination: Path) -> Shards:
    """Return the shards that an interrupted conversion had finished: in the journal, and on disk as it says."""
    stage, found = Stage(destination), Shards()
    for entry in stage.journal.glob("*.json"):
        for path, record in json.loads(entry.read_bytes())["files"].items():
            shard = stage.root / path
            if shard.exists() and [shard.stat().st_size, file_digest(shard)] == record:
                found[path] = _same_while_untouched(shard)
    return found


def kept_shards(destination: Path, finished: Shards) -> int:
    """Return how many finished shards the published store has as they were, and not written again."""
    return sum(_same_while_untouched(destination / path) == before for path, before in finished.items())


def _same_while_untouched(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns

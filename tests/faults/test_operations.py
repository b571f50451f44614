"""Each operation on files fails in turn: nothing unfinished is under the name of a store, and errors are told."""

import errno
import itertools
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trialpack.cli.main import commands
from trialpack.convert import conversion, convert_mouse
from trialpack.store import SourceError, check_quick, files
from trialpack.store.publish import Stage

from .conversions import (
    CRASH,
    ERRORS,
    MODES,
    OPERATIONS,
    SCENES,
    Child,
    Faults,
    Mode,
    Scene,
    broken_disk,
    convert,
    count_operations,
    failure,
    noting,
    publish_unchecked,
)
from .promises import Tally

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("small_shards")]

Scenes = Callable[[str], Scene]
Size = Callable[[int, int], int]

# Of the operations of each scene: in the quick form each n-th, another one in each mode; in the long form all of them,
# but for the statistics, which are files by the hundred.
STEPS = {
    "new": (len(MODES), 1),
    "two workers": (12 * len(MODES), 4),
    "statistics": (80 * len(MODES), len(MODES)),
    "replace": (6 * len(MODES), 1),
    "replace by two renames": (8 * len(MODES), 2),
}


AFTERWARDS = ("remove", "sync_folder", "close")
"""What is done when the store has its name, to tidy up: it ends no conversion, and is noted."""


def test_all_operations_are_known() -> None:
    """Those of which the text of a conversion speaks; a new one takes part in the tests below by itself."""
    assert set(OPERATIONS) >= {"create", "append", "sync", "close", "write", "write_atomically", "make_folder"}
    assert set(OPERATIONS) >= {"sync_folder", "make_read_only", "rename", "rename_new", "exchange", "remove", "locked"}


def chosen(scene: Scene, name: str, faults: Faults, mode: Mode, size: Size) -> Iterable[int]:
    """Return the numbers of the operations that are to fail, of all that a conversion does."""
    scene.prepare()
    total = count_operations(faults, scene.convert, mode)
    assert total > 200
    step = size(*STEPS[name])
    return range(list(MODES.values()).index(mode) % step, total, step)


def fail_and_go_on(scene: Scene, faults: Faults, number: int, mode: Mode) -> None:
    """Fail at the n-th operation, look, convert again, and compare with a conversion that did not fail."""
    scene.prepare()
    with noting(f"operation {number}"):
        error = failure(faults, scene.convert, number, mode)
        assert error is not None or (faults.failed in AFTERWARDS and scene.found() == scene.final)
        if isinstance(error, OSError):
            assert str(error.filename).startswith(str(scene.destination.parent.parent)), f"{error!r} names no file"
        scene.check()
        scene.resume()


@pytest.mark.promise(3)
@pytest.mark.parametrize("name", SCENES)
def test_a_crash_at_any_operation_leaves_nothing_unfinished(
    scenes: Scenes, name: str, faults: Faults, size: Size, tally: Tally
) -> None:
    scene = scenes(name)
    for number in chosen(scene, name, faults, CRASH, size):
        tally.inject()
        fail_and_go_on(scene, faults, number, CRASH)
        tally.survive()


@pytest.mark.promise(4)
@pytest.mark.parametrize("mode", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("name", SCENES)
def test_an_error_of_any_operation_is_told_and_leaves_nothing_unfinished(
    scenes: Scenes, name: str, mode: Mode, faults: Faults, size: Size, tally: Tally
) -> None:
    scene = scenes(name)
    for number in chosen(scene, name, faults, mode, size):
        tally.inject()
        fail_and_go_on(scene, faults, number, mode)
        tally.survive()


@pytest.mark.promise(4)
@pytest.mark.parametrize("mode", ERRORS.values(), ids=ERRORS.keys())
def test_the_command_tells_an_error_in_one_line_with_the_file(
    scenes: Scenes, mode: Mode, faults: Faults, size: Size, tally: Tally, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = scenes("new")
    command = ["convert", str(scene.source), "--to", str(scene.destination.parent), "--workers", "1"]
    scene.prepare()
    total = count_operations(faults, scene.convert, mode)
    for number in range(0, total, size(40, 3)):
        scene.prepare()
        faults.arm(number, mode.error, for_good=mode.for_good)
        capsys.readouterr()
        tally.inject()
        status = commands(command, standalone_mode=False)
        faults.disarm()
        said = capsys.readouterr().err.splitlines()
        if status is None:
            assert faults.failed in AFTERWARDS and scene.found() == scene.final
            assert any(f"({os.strerror(mode.code or 0)})" in line for line in said)
            tally.survive()
            continue
        (line,) = said
        assert faults.failed is not None and status == 1
        assert line.startswith(f"trialpack: {scene.destination.parent.parent}")
        assert f": {os.strerror(mode.code or 0)}" in line
        assert ("the same command goes on from here" in line) == (mode.code == errno.ENOSPC)
        scene.check()
        tally.survive()


def unprotected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make stores under their names, as a plain writer does."""
    monkeypatch.setattr(Stage, "root", property(lambda stage: stage.destination))
    monkeypatch.setattr(conversion, "publish", lambda stage, replace: files.remove(stage.journal))


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(CRASH, marks=pytest.mark.promise(3), id="crash"),
        pytest.param(ERRORS["EIO, for good"], marks=pytest.mark.promise(4), id="EIO"),
    ],
)
def test_a_store_that_is_made_under_its_name_is_noticed(
    scenes: Scenes, mode: Mode, faults: Faults, size: Size, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, noticed = scenes("new"), 0
    unprotected(monkeypatch)
    numbers = range(0, 200, size(10, 1))
    for number in numbers:
        scene.prepare()
        failure(faults, scene.convert, number, mode)
        try:
            scene.check()
        except AssertionError:
            tally.notice()
            noticed += 1
    assert noticed > 0.9 * len(numbers)


@pytest.mark.promise(3)
def test_a_store_that_is_replaced_by_removing_the_old_one_is_noticed(
    scenes: Scenes, faults: Faults, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scenes("replace")

    def publish(stage: Stage, *, replace: bool) -> None:
        files.remove(stage.destination)
        files.rename(stage.root, stage.destination)

    monkeypatch.setattr(conversion, "publish", publish)
    scene.prepare()
    total = count_operations(faults, scene.convert, CRASH)
    renames = [number for number, (name, _) in enumerate(faults.calls) if name == "rename"]
    assert renames[-1] > total - 5
    scene.prepare()
    failure(faults, scene.convert, renames[-1], CRASH)
    with pytest.raises(AssertionError, match="unfinished"):
        scene.check()
    tally.notice()


@pytest.mark.promise(4)
def test_an_error_that_is_not_told_is_noticed(
    scenes: Scenes, faults: Faults, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that goes on after a write that failed."""
    scene, append = scenes("new"), files.append

    def careless(descriptor: int, parts: Any) -> int:
        try:
            return append(descriptor, parts)
        except OSError:
            return sum(part.nbytes for part in parts)

    monkeypatch.setattr(files, "append", careless)
    publish_unchecked(monkeypatch)
    noticed = 0
    for number in range(0, 40, 4):
        appends = itertools.count()

        def is_nth(_: int, name: str, __: object, number: int = number, appends: Iterator[int] = appends) -> bool:
            return name == "append" and next(appends) == number

        scene.prepare()
        with pytest.raises(AssertionError, match="append failed, and None was raised"):
            failure(faults, lambda: convert(scene.source, scene.destination, verify=False), is_nth, ERRORS["EIO, once"])
        try:
            scene.check()
        except AssertionError:
            tally.notice()
            noticed += 1
    # All but what was not written into the journal, which is not believed then.
    assert noticed >= 7


# Reading the source


@pytest.mark.promise(4)
@pytest.mark.parametrize("container", ["folder", "zip"])
def test_an_error_of_reading_the_source_names_its_file(
    fresh: Callable[[str], Path],
    container: str,
    tmp_path: Path,
    size: Size,
    tally: Tally,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that fails in the middle of a file: half of it is read, the rest cannot be.

    Uncompressed: trials that are read to choose a codec are read again.
    """
    source, reads, read = fresh(f"static_{container}"), itertools.count(), getattr(os, READS[container])
    failing = [-1]

    def failing_read(descriptor: int, buffers: list[memoryview], *place: int) -> int:
        if next(reads) != failing[0]:
            return read(descriptor, buffers, *place)
        read(descriptor, [buffer[: len(buffer) // 2] for buffer in buffers], *place)
        raise broken_disk(())

    names = source_names(source)
    monkeypatch.setattr(os, READS[container], failing_read)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "check_full", lambda root, **_: check_quick(root))
        convert_mouse(source, tmp_path / "counted", workers=1, statistics=False, codec="none")
    for number in range(0, next(reads), size(25, 1)):
        failing[0], reads = number, itertools.count()
        tally.inject()
        with pytest.raises(SourceError, match="Input/output error") as raised:
            convert_mouse(source, tmp_path / "stores", workers=1, statistics=False, codec="none")
        assert raised.value.path == str(source)
        assert all(problem.member in names | {None} for problem in raised.value.problems)  # none: what lists them
        assert not any((tmp_path / "stores").glob("*"))
        tally.survive()


READS = {"folder": "readv", "zip": "preadv"}


def source_names(source: Path) -> set[str]:
    if source.is_dir():
        return {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    with zipfile.ZipFile(source) as archive:
        return {name.removeprefix(f"{source.stem}/") for name in archive.namelist()}


# Nothing goes around the shim


AUDIT = """
import os, threading

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.link", "os.symlink",
    "os.truncate", "os.utime", "os.setxattr", "os.removexattr", "shutil.move", "shutil.copyfile", "tempfile.mkstemp"}
within, around = [], []

def through_files():
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename in (files.__file__, locks.__file__):
            return True
        frame = frame.f_back
    return False

def heed(event, arguments):
    if event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITES):
        (within if through_files() else around).append(f"{event} {arguments[0]}")

sys.addaudithook(heed)
"""
REPORT = """
print(len(within))
print(*around, sep="\\n")
"""
STRAIGHT = """
import numpy
numpy.save(sys.argv[2] + "/straight.npy", numpy.zeros(3))
"""


def test_nothing_is_written_around_the_operations_that_are_made_to_fail(
    child: Child, with_train: Path, tmp_path: Path
) -> None:
    """All that a conversion opens to write, makes, renames, removes: in ``store/files.py`` and ``store/locks.py``."""
    (tmp_path / "stores").mkdir()
    run = 'for replace in (False, True): convert_mouse(sys.argv[1], sys.argv[2] + "/s", workers=2, replace=replace)\n'
    for body, expected in ((run, []), (run + STRAIGHT, [f"open {tmp_path / 'stores' / 'straight.npy'}"])):
        process = child(AUDIT + body + REPORT, with_train, tmp_path / "stores")
        output, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
        within, *around = output.splitlines()
        assert int(within) > 1000
        assert [line for line in around if line] == expected
        shutil.rmtree(tmp_path / "stores" / "s")


def test_a_shard_that_cannot_be_closed_is_closed_once(recording: Path, destination: Path, faults: Faults) -> None:
    """close(2) frees the descriptor even when it fails; another thread may have opened a file under its number."""
    shards = set[int]()

    def is_close_of_a_shard(_: int, name: str, arguments: tuple[Any, ...]) -> bool:
        if name == "append" and len(arguments[1]) == 2:
            shards.add(arguments[0])
        return name == "close" and arguments[0] in shards

    faults.arm(is_close_of_a_shard, broken_disk)
    with pytest.raises(OSError, match="Input/output error: .*/c.0"):
        convert(recording, destination)
    assert faults.failed == "close"

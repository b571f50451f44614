"""Calls that only add safety fail as they do where a file system does not have them: it is said, and costs no work."""

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trialpack.convert import convert_mouse, export_mouse
from trialpack.store import files, locks

from .conversions import Digests, beside, digests
from .promises import Tally

pytestmark = [pytest.mark.usefixtures("small_shards"), pytest.mark.promise(21)]

ABSENT = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
OF_FOLDERS = (*ABSENT, errno.EBADF, errno.EACCES, errno.EISDIR, errno.EPERM)
Break = Callable[[pytest.MonkeyPatch, int], None]


def always(code: int) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return call


def flock(patch: pytest.MonkeyPatch, code: int) -> None:
    patch.setattr(locks.fcntl, "flock", always(code))


def chmod(patch: pytest.MonkeyPatch, code: int) -> None:
    patch.setattr(os, "chmod", always(code))


def fsync_of_folders(patch: pytest.MonkeyPatch, code: int) -> None:
    patch.setattr(os, "fsync", lambda one: always(code)() if os.path.isdir(f"/dev/fd/{one}") else None)


class _Calls:
    """The module `os` for one other module, where folders cannot be opened."""

    def __init__(self, code: int) -> None:
        self._code = code

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, *arguments: Any) -> int:
        return always(self._code)() if flags & os.O_DIRECTORY else os.open(path, flags, *arguments)


def opening_folders(patch: pytest.MonkeyPatch, code: int) -> None:
    patch.setattr(files, "os", _Calls(code))


def fsync(patch: pytest.MonkeyPatch, code: int) -> None:
    patch.setattr(os, "fsync", always(code))


def syncfs(patch: pytest.MonkeyPatch, code: int) -> None:
    def call(_: int) -> int:
        ctypes.set_errno(code)
        return -1

    patch.setattr(files, "_syncfs", call)


def rename_flags(patch: pytest.MonkeyPatch, code: int) -> None:
    patch.setattr(files, "_renameat2", lambda *_: False)


FAULTS: dict[str, tuple[Break, tuple[int, ...], str]] = {
    "flock": (flock, (*ABSENT, errno.ENOLCK), "locks (flock"),
    "chmod": (chmod, (*ABSENT, errno.EPERM, errno.EACCES), "read-only files (chmod)"),
    "fsync of folders": (fsync_of_folders, OF_FOLDERS, "to wait until names are on disk"),
    "opening folders": (opening_folders, OF_FOLDERS, "to wait until names are on disk"),
    "fsync": (fsync, ABSENT, "to wait until files are on disk"),
    "syncfs": (syncfs, OF_FOLDERS, "word of late errors of writing"),
    "rename flags": (rename_flags, (errno.EINVAL,), "to exchange folders in one step"),
}
CASES = [pytest.param(*fault, id=name) for name, fault in FAULTS.items()]
REAL = (errno.EIO, errno.ENOSPC, errno.EDQUOT)


@pytest.mark.parametrize("breaks, codes, said", CASES)
def test_what_is_not_offered_is_said_and_costs_no_work(
    recording: Path,
    destination: Path,
    reference: Digests,
    tmp_path: Path,
    tally: Tally,
    breaks: Break,
    codes: tuple[int, ...],
    said: str,
) -> None:
    for code in set(codes):  # on Linux two of them are one
        tally.inject()
        with pytest.MonkeyPatch.context() as patch:
            breaks(patch, code)
            first = convert_mouse(recording, destination.parent, workers=1)
            again = convert_mouse(recording, destination.parent, workers=2, replace=True)
            made = export_mouse(destination, tmp_path / "made")
        assert digests(destination) == reference and beside(destination) == [destination.name]
        for one in (first, again, made):
            assert len([line for line in one.warnings if "does not offer" in line]) <= 1
        assert any(said in line for one in (first, again, made) for line in one.warnings), (said, code)
        assert beside(made.path) == [made.path.name]
        files.remove(destination)
        files.remove(made.path)
        tally.survive()


@pytest.mark.parametrize("breaks", [flock, chmod, fsync_of_folders, fsync, syncfs])
def test_control_an_error_of_the_disk_is_one(
    recording: Path, destination: Path, tmp_path: Path, tally: Tally, breaks: Break
) -> None:
    """And without protection, what is not offered is an error, too: all of the work is lost."""
    for code in REAL:
        with pytest.MonkeyPatch.context() as patch:
            breaks(patch, code)
            with pytest.raises(OSError, match=os.strerror(code).replace("(", ".").replace(")", ".")):
                made = convert_mouse(recording, destination.parent, workers=1)
                export_mouse(made.store, tmp_path / "made")
        assert not (tmp_path / "made" / recording.name).exists()
        if destination.exists():
            files.remove(destination)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "if_offered", lambda *_: files.contextlib.nullcontext())
        breaks(patch, errno.EOPNOTSUPP)
        with pytest.raises((OSError, UnboundLocalError)):
            made = convert_mouse(recording, destination.parent, workers=1)
            export_mouse(made.store, tmp_path / "made")
    tally.notice()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EBUSY, errno.ENOTEMPTY])
def test_what_cannot_be_removed_after_publishing_is_noted(
    recording: Path, destination: Path, reference: Digests, tally: Tally, code: int
) -> None:
    """A lock, a journal, and the store that was replaced."""
    convert_mouse(recording, destination.parent, workers=1)
    for name in (".lock", ".journal", ".old"):
        tally.inject()
        remove = files.remove

        def failing(path: Path, name: str = name, remove: Callable[[Path], None] = remove) -> None:
            # Before the store was published there is nothing of the name, or what has to go.
            if path.name.endswith(name) and os.path.lexists(path):
                raise OSError(code, os.strerror(code), str(path))
            remove(path)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "remove", failing)
            summary = convert_mouse(recording, destination.parent, workers=1, replace=True)
        (line,) = [line for line in summary.warnings if os.strerror(code) in line]
        assert name in line and "delete it" in line
        assert digests(destination) == reference
        # The next conversion tidies up.
        convert_mouse(recording, destination.parent, workers=1, replace=True)
        assert beside(destination) == [destination.name]
        tally.survive()


def test_read_only_files_that_cannot_be_removed_are_made_writable_first(
    recording: Path,
    destination: Path,
    references: Callable[..., Digests],
    tally: Tally,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on shares of Windows: removing a file that is read-only is not allowed."""
    tally.inject()
    unlink, path_unlink = os.unlink, Path.unlink

    def check(path: Any, dir_fd: int | None = None) -> None:
        if not os.stat(path, dir_fd=dir_fd, follow_symlinks=False).st_mode & 0o200:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def strict(path: Any, *, dir_fd: int | None = None) -> None:
        check(path, dir_fd)
        unlink(path, dir_fd=dir_fd)

    def strict_path(path: Path, missing_ok: bool = False) -> None:
        if path.exists():
            check(path)
        path_unlink(path, missing_ok=missing_ok)

    convert_mouse(recording, destination.parent, workers=1)
    monkeypatch.setattr(os, "unlink", strict)
    monkeypatch.setattr(Path, "unlink", strict_path)
    summary = convert_mouse(recording, destination.parent, workers=1, replace=True, codec="none")
    assert digests(destination) == references(codec="none") and beside(destination) == [destination.name]
    assert not any("removed" in line for line in summary.warnings)
    tally.survive()

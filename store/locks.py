"""A lock on a folder: a file beside it, held by one process at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Generator
from pathlib import Path

from . import files
from .errors import Problem, StoreBusyError, naming

_TRIES = 100
_NO_FLOCK = files.ABSENT | {errno.ENOLCK}
STANDS_IN = "made where there is no flock"
"""In the text of a lock that is one as long as its file is there."""
_HOLDER = re.compile(r"process (\d+) on (.+)")
_held = set[Path]()
"""Locks that this process holds, or has tried to."""


@contextlib.contextmanager
def locked(path: Path) -> Generator[bool]:
    """Hold an exclusive lock on a file while in the block; yields False if somebody else holds it.

    Raises
    ------
    StoreBusyError
        Another user's process left the lock, and it cannot be taken.

    Notes
    -----
    The lock is flock(2): the system frees it when the process ends in any way. The file is removed by the holder at
    the end; a waiter that had opened the removed file notices that the name now means another one, and opens again.
    Where there is no flock, whoever made the file holds the lock, as the file says. What a process of this machine left
    is taken over; of processes elsewhere nobody knows whether they have ended, so theirs is a lock until it is deleted.
    """
    descriptor = _take(path)
    if descriptor is None:
        yield False
        return
    try:
        yield True
    finally:
        _held.discard(path)
        for give_back in (lambda: files.remove(path), lambda: files.close(descriptor)):
            try:
                give_back()
            except OSError as error:
                files.Shortfalls.undone(
                    f"{path}: the lock could not be given back ({error.strerror}); delete it if it is there"
                )


def holder(path: Path) -> str | None:
    """Return which process a lock says to be held by, or to have been; None if it is no lock of ours."""
    try:
        found = _HOLDER.match(path.read_text(errors="replace"))
    except OSError:
        return None
    return None if found is None else found[0]


def is_held(path: Path) -> bool:
    """Return whether somebody holds a lock, as far as that can be told without taking it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        text = os.pread(descriptor, 1 << 10, 0).decode(errors="replace")
        if STANDS_IN in text:
            return not _has_ended(text, path)
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _take(path: Path) -> int | None:
    """Return a descriptor of the lock, which is now held; None if somebody else holds it."""
    for attempt in range(_TRIES):
        descriptor, made = _open_lock(path)
        try:
            stands_in = not _flock(descriptor, path)
            text = os.pread(descriptor, 1 << 10, 0).decode(errors="replace")
            if not made and (stands_in or STANDS_IN in text):
                if not _has_ended(text, path):
                    files.close(descriptor)
                    return None
                _set_aside(path, text)
            elif _sign(descriptor, path, stands_in=stands_in):
                return descriptor
            elif attempt == _TRIES - 1:
                files.Shortfalls.lacking("to read at once what was written (so that a lock is certain)")
                return descriptor
        except BlockingIOError:
            files.close(descriptor)
            return None
        except BaseException:
            files.close(descriptor)
            raise
        files.close(descriptor)
    return None


def _open_lock(path: Path) -> tuple[int, bool]:
    """Return a descriptor of the lock file, and whether it was made just now."""
    flags = os.O_RDWR | os.O_CLOEXEC
    for _ in range(_TRIES):
        with contextlib.suppress(FileExistsError):
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644), True
        try:
            return os.open(path, flags), False
        except PermissionError:
            _free(path)
        except FileNotFoundError:  # removed meanwhile
            continue
    return os.open(path, flags), False


def _free(path: Path) -> None:
    """Remove the lock of another user, if nobody holds it.

    Raises
    ------
    StoreBusyError
        It may not be removed.
    """
    holder = "another user"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.pread(descriptor, 1 << 10, 0).decode(errors="replace")
            holder = f"{text.splitlines()[0]}, another user's" if text else holder
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        finally:
            files.close(descriptor)
    except FileNotFoundError:
        return
    except OSError:
        advice = "wait for it; if it has ended, have its owner delete the file, or choose another folder"
        raise StoreBusyError(Problem(str(path), f"the lock of {holder}", advice)) from None


def _flock(descriptor: int, path: Path) -> bool:
    """Lock a file; return False where there are no locks."""
    with files.if_offered("locks (flock; a file with host and process stands in)", _NO_FLOCK), naming(path):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _sign(descriptor: int, path: Path, *, stands_in: bool) -> bool:
    """Write into a lock who holds it; return whether that stands under its name, which may mean another file by now.

    Numbers of files would not tell: those of some network file systems differ from call to call.
    """
    text = f"process {os.getpid()} on {os.uname().nodename}\n{STANDS_IN if stands_in else ''}\n{secrets.token_hex(16)}"
    _held.add(path)
    with naming(path):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
    try:
        return path.read_text(errors="replace") == text
    except FileNotFoundError:
        return False


def _has_ended(text: str, path: Path) -> bool:
    """Return whether the process that says to hold a lock is one of this machine that has ended."""
    holder = _HOLDER.match(text)
    if holder is None or holder[2] != os.uname().nodename:
        return False
    if int(holder[1]) == os.getpid():
        return path not in _held
    try:
        os.kill(int(holder[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _set_aside(path: Path, text: str) -> None:
    """Remove a lock that was left; if another took it over meanwhile, give it back its name."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, aside)
        if aside.read_text(errors="replace") == text:
            aside.unlink()
        else:
            os.rename(aside, path)

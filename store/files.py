"""Every operation on files that writes a store, so that a test can make each of them fail.

Callers write ``files.append(...)``, never a bare imported name: replacing an attribute of this module replaces
the operation everywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Generator, Sequence
from pathlib import Path

from .errors import naming

READ_ONLY = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
TEMPORARY = ".writing"
_being_saved = set[Path]()

# renameat2(2), Linux: fail instead of replacing an empty folder; swap two folders in one step.
_AT_FDCWD, _NO_REPLACE, _EXCHANGE = -100, 1, 2
_SYSTEM = ctypes.CDLL(None, use_errno=True)
_sync_file_range, _WRITE = getattr(_SYSTEM, "sync_file_range", None), 2
_syncfs = getattr(_SYSTEM, "syncfs", None)
_NOT_OFFERED = (errno.ENOSYS, errno.EINVAL)
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


def create(path: Path, access: int = os.O_WRONLY) -> int:
    """Create a file, in place of one that is there, and return its descriptor."""
    # What an interrupted run left may be read-only, and whatever it is, it is not written into.
    path.unlink(missing_ok=True)
    return os.open(path, access | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)


def append(descriptor: int, parts: Sequence[memoryview]) -> int:
    """Write all parts behind one another; return how many bytes that were."""
    wanted = sum(part.nbytes for part in parts)
    written = os.writev(descriptor, parts)
    if written < wanted:
        rest = memoryview(b"".join(parts))
        while written < wanted:
            written += os.write(descriptor, rest[written:])
    return wanted


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all bytes to a place in a file."""
    done = 0
    while done < data.nbytes:
        done += os.pwrite(descriptor, data[done:], offset + done)


def truncate(descriptor: int, size: int) -> None:
    """Cut a file to a size, or lengthen it."""
    os.ftruncate(descriptor, size)


def start_sync(descriptor: int, offset: int, size: int) -> None:
    """Ask the system to begin to write a part of a file to disk, so that `sync` has less to wait for later.

    A hint, without promise or error: sync_file_range(2) where there is one, else nothing.
    """
    if _sync_file_range is not None:
        _sync_file_range(descriptor, ctypes.c_int64(offset), ctypes.c_int64(size), _WRITE)


def sync(descriptor: int) -> None:
    """Return when the file is on disk."""
    os.fsync(descriptor)


def sync_file_system(path: Path) -> None:
    """Return when all files are on disk that were written to where a path is: one wait for thousands of files."""
    if _syncfs is None:
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with naming(path):
        try:
            if _syncfs(descriptor) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))
        finally:
            close(descriptor)


def close(descriptor: int) -> None:
    """Close a file."""
    os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Return when the names in a folder are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with naming(path):
        try:
            sync(descriptor)
        except OSError as error:
            # Some network file systems cannot sync a folder and say so with EINVAL; no more could be done.
            if error.errno != errno.EINVAL:
                raise
        finally:
            close(descriptor)


def write(path: Path, data: bytes | memoryview) -> None:
    """Write a whole file and return when its bytes are on disk; its name in the folder may not be yet."""
    descriptor = create(path)
    with naming(path):
        try:
            append(descriptor, [memoryview(data)])
            sync(descriptor)
        finally:
            close(descriptor)


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write a file that appears complete under its name, or not at all, whatever happens."""
    temporary = path.with_name(path.name + TEMPORARY)
    write(temporary, data)
    rename(temporary, path)
    sync_folder(path.parent)


def save(path: Path, data: bytes | memoryview) -> None:
    """Write a file that a person asked for: complete under its name, or else nothing is left."""
    temporary = path.with_name(path.name + TEMPORARY)
    _being_saved.add(temporary)
    try:
        write_atomically(path, data)
    except OSError:
        remove(temporary)
        raise
    finally:
        _being_saved.discard(temporary)


def drop_unsaved() -> None:
    """Remove what `save` has not finished, before the process ends in its middle."""
    for temporary in _being_saved:
        with contextlib.suppress(OSError):
            temporary.unlink()


def make_folder(path: Path) -> None:
    """Make a folder and its parents, unless they are there."""
    path.mkdir(parents=True, exist_ok=True)


def make_folder_durably(path: Path) -> None:
    """Make a folder and its parents, unless they are there, and return when their names are on disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    make_folder(path)
    for folder in missing:
        sync_folder(folder.parent)


def make_read_only(path: Path) -> None:
    """Take the permission to write from a file."""
    os.chmod(path, READ_ONLY)


def rename(old: Path, new: Path) -> None:
    """Rename a file or folder in one step, as rename(2) does."""
    os.rename(old, new)


def rename_new(old: Path, new: Path) -> None:
    """Rename in one step, and fail if the new name is taken.

    Raises
    ------
    FileExistsError
        Something has the new name. Where the system cannot promise it, an empty folder is replaced instead.
    """
    if _renameat2(old, new, _NO_REPLACE):
        return
    try:
        rename(old, new)
    except OSError as error:
        if error.errno in _TAKEN:
            raise FileExistsError(error.errno, error.strerror, str(new)) from error
        raise


def exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step; return False, and do nothing, where the system cannot."""
    return _renameat2(one, other, _EXCHANGE)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Generator[bool]:
    """Hold an exclusive lock on a file while in the block; yields False if somebody else holds it.

    Notes
    -----
    The lock is flock(2): the system frees it when the process ends in any way. The file is removed by the holder at
    the end; a waiter that had opened the removed file notices that the name now means another one, and opens again.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            with naming(path):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            close(descriptor)
            yield False
            return
        except OSError:
            close(descriptor)
            raise
        if _same_file(descriptor, path):
            break
        close(descriptor)
    try:
        with naming(path):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {os.uname().nodename}".encode())
        yield True
    finally:
        with naming(path):
            try:
                remove(path)
            finally:
                close(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _renameat2(old: Path, new: Path, flags: int) -> bool:
    """Call renameat2(2); False where system or file system does not offer it."""
    function = getattr(_SYSTEM, "renameat2", None)
    if function is None:
        return False
    if function(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in _NOT_OFFERED:
        return False
    raise OSError(code, os.strerror(code), str(new))

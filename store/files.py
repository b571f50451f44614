"""Every operation on files that writes a store, so that a test can make each of them fail.

Callers write ``files.append(...)``, never a bare imported name: replacing an attribute of this module replaces
the operation everywhere.

Calls that only add safety end no work where a file system does not have them: it goes on without, and `Shortfalls`
collects what has to be said.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Container, Generator, Sequence
from pathlib import Path
from typing import ClassVar

from .errors import Problem, ResourceError, naming

READ_ONLY = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
TEMPORARY = ".writing"
VISIBLE_SECONDS = 60.0
"""How long a name that another machine made may take to be seen."""
_being_saved = set[Path]()

# renameat2(2), Linux: fail instead of replacing an empty folder; swap two folders in one step.
_AT_FDCWD, _NO_REPLACE, _EXCHANGE = -100, 1, 2
_SYSTEM = ctypes.CDLL(None, use_errno=True)
_sync_file_range, _WRITE = getattr(_SYSTEM, "sync_file_range", None), 2
_syncfs = getattr(_SYSTEM, "syncfs", None)
ABSENT = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP})
"""Error numbers of a call that the file system, or the system, does not have."""
_DENIED = frozenset({errno.EPERM, errno.EACCES})
_NO_FOLDERS = ABSENT | _DENIED | {errno.EBADF, errno.EISDIR}
"""Error numbers of opening or syncing a folder where that is only possible for files."""
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


class Shortfalls:
    """Collects what file systems did not offer, and what was left undone of tidying up, while it is entered.

    It hears of what any thread of this process does; only of what is entered at that moment.
    """

    _entered: ClassVar[list[Shortfalls]] = []

    def __init__(self) -> None:
        self._lacking, self._undone = dict[str, None](), dict[str, None]()

    def __enter__(self) -> Shortfalls:
        self._entered.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._entered.remove(self)

    @classmethod
    def lacking(cls, what: str) -> None:
        """Note what a file system does not offer."""
        for one in cls._entered:
            one._lacking[what] = None

    @classmethod
    def undone(cls, text: str) -> None:
        """Note what was left undone, in one line."""
        for one in cls._entered:
            one._undone[text] = None

    def warnings(self, folder: Path) -> tuple[str, ...]:
        """Return one line on what the file system of a folder does not offer, and one for each thing undone."""
        lacking = f"{folder}: the file system does not offer {', '.join(self._lacking)}"
        return (*([lacking] if self._lacking else []), *self._undone)


@contextlib.contextmanager
def if_offered(what: str, codes: Container[int | None] = ABSENT) -> Generator[None]:
    """Go on without what only adds safety, if the error says that the file system does not have it."""
    try:
        yield
    except OSError as error:
        if error.errno not in codes:
            raise
        Shortfalls.lacking(what)


def create(path: Path, access: int = os.O_WRONLY) -> int:
    """Create a file, replacing an existing one, and return its descriptor."""
    # What an interrupted run left may be read-only, and whatever it is, it is not written into.
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        if path.is_dir():
            raise
        remove(path)
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
    with if_offered("to wait until files are on disk (fsync)"):
        os.fsync(descriptor)


def sync_file_system(path: Path) -> None:
    """Return when all files are on disk that were written to where a path is: one wait for thousands of files."""
    if _syncfs is not None:
        with if_offered("word of late errors of writing (syncfs; sync stands in)", _NO_FOLDERS), naming(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _syncfs(descriptor) != 0:
                    code = ctypes.get_errno()
                    raise OSError(code, os.strerror(code))
                return
            finally:
                os.close(descriptor)
    os.sync()


def close(descriptor: int) -> None:
    """Close a file."""
    os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Return when the names in a folder are on disk."""
    with if_offered("to wait until names are on disk (fsync of folders)", _NO_FOLDERS), naming(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write(path: Path, data: bytes | memoryview) -> None:
    """Write a whole file and return when its bytes are on disk; its name in the folder may not be yet."""
    descriptor = create(path)
    with naming(path):
        try:
            append(descriptor, [memoryview(data)])
            sync(descriptor)
        finally:
            close(descriptor)


def write_atomically(path: Path, data: bytes | memoryview, temporary: Path | None = None) -> None:
    """Write a file that appears complete under its name, or not at all, whatever happens.

    Parameters
    ----------
    temporary
        Where it is meanwhile; by default beside it.
    """
    temporary = temporary or path.with_name(path.name + TEMPORARY)
    write(temporary, data)
    rename(temporary, path)
    sync_folder(path.parent)


def save(path: Path, data: bytes | memoryview) -> None:
    """Write a file that a person asked for: complete under its name, or else nothing is left."""
    temporary = path.with_name(path.name + TEMPORARY)
    _being_saved.add(temporary)
    try:
        write_atomically(path, data)
    except OSError as error:
        with contextlib.suppress(OSError):
            remove(temporary)
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        _being_saved.discard(temporary)


def drop_unsaved() -> None:
    """Remove what `save` has not finished, before the process ends in its middle."""
    for temporary in _being_saved:
        with contextlib.suppress(OSError):
            temporary.unlink()


def temporary(path: Path, folder: Path | None = None) -> Path:
    """Return where a file is while it is written, which nobody else does there; by default beside its place."""
    return (folder or path.parent) / f"{path.name}.{secrets.token_hex(8)}{TEMPORARY}"


def make_folder(path: Path) -> None:
    """Make a folder and its parents, unless they are there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:
        # Of what the system itself shows as files, such as /proc.
        raise OSError(errno.EPERM, "no folder can be made here", str(path)) from None


def make_folder_durably(path: Path) -> None:
    """Make a folder and its parents, unless they are there, and return when their names are on disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    make_folder(path)
    for folder in missing:
        sync_folder(folder.parent)


def make_read_only(path: Path) -> None:
    """Take the permission to write from a file."""
    with if_offered("read-only files (chmod)", ABSENT | _DENIED):
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


def wait_for(path: Path, size: int) -> None:
    """Return when a file that another machine wrote is seen here: network file systems may take a while.

    Raises
    ------
    ResourceError
        It is not, within a minute.
    """
    deadline = time.monotonic() + VISIBLE_SECONDS
    while (found := path.stat().st_size if path.exists() else None) != size:
        if time.monotonic() > deadline:
            there = "nothing" if found is None else f"{found} bytes"
            what = f"expected {size} bytes, which a worker wrote, found {there} after {VISIBLE_SECONDS:.0f} seconds"
            raise ResourceError(Problem(str(path), what, "mount it with a shorter life of cached names"))
        time.sleep(VISIBLE_SECONDS / 600)


def exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step; return False, and do nothing, where the system cannot."""
    if _renameat2(one, other, _EXCHANGE):
        return True
    Shortfalls.lacking("to exchange folders in one step (renameat2; two renames stand in)")
    return False


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, read-only or not; nothing there is fine."""
    try:
        _remove(path)
    except PermissionError:
        for found in (path, *path.rglob("*")):
            if not found.is_symlink():
                with contextlib.suppress(OSError):
                    os.chmod(found, stat.S_IMODE(found.stat().st_mode) | stat.S_IWUSR)
        _remove(path)


def end_folder(path: Path, ended: Path) -> None:
    """Remove a folder in which others may still write: they find it gone, however late they come.

    Parameters
    ----------
    ended
        The name that it has until it is removed. Files that are made by the old name fail.
    """
    rename(path, ended)
    discard(ended)


def discard(path: Path) -> None:
    """Remove what nobody needs any more, or else note that it is left."""
    try:
        remove(path)
    except OSError as error:
        Shortfalls.undone(f"{path}: could not be removed ({error.strerror}); delete it")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _renameat2(old: Path, new: Path, flags: int) -> bool:
    """Call renameat2(2); False where system or file system does not offer it."""
    function = getattr(_SYSTEM, "renameat2", None)
    if function is None:
        return False
    if function(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags) == 0:
        return True
    code = ctypes.get_errno()
    # Where it is not allowed, the plain call may be.
    if code in ABSENT | {errno.EPERM}:
        return False
    raise OSError(code, os.strerror(code), str(new))

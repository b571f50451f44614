"""How a store comes to be under its name: complete and durable, or not at all.

::

    lock     <parent>/.<name>.lock       one converter a destination; freed by the system when its process ends
    stage    <parent>/.<name>.partial/   the store while it is made; on the same file system, so that a rename is enough
    journal  <parent>/.<name>.journal/   one small file for each finished unit of work, for a later run to go on from
    run      …/<token>/                  in the folder of the journal, one run's: what is in it nobody goes on from
    writing  …/<token>/writing/          what units of this run have not finished
    old      <parent>/.<name>.old/       the store that is being replaced, for the moment of the exchange

A unit is journalled after its shards are durable. The stage gets its name after every file, then every folder, is
durable and the manifest is written; the parent folder is made durable after the rename.

Files of units get their names in the stage and in the journal by a rename from ``writing``. That folder is of one run,
and goes before the manifest is written: a unit that runs late, on a worker that was given up, cannot add to the stage.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import files, layout, locks
from .errors import Argument, OptionError, Problem, ResourceError, StoreBusyError, StoreExistsError
from .folder import is_junk
from .integrity import file_digest
from .manifest import UNLISTED, Manifest, software_record
from .metadata import to_json
from .shards import FileRecord

_SEAL, _ENTRY = "sha256_of_entry", ".json"
_TAKEN_ADVICE = ("choose another folder, or replace it with ", Argument("replace", True))


@dataclass(frozen=True)
class Stage:
    """Where a store is made. Only paths: workers in other processes use it too.

    Attributes
    ----------
    destination
        The store's path, from the root of the file system.
    token
        Random name of the run that makes it.
    """

    destination: Path
    token: str = ""

    def __post_init__(self) -> None:
        """Find the destination, whatever becomes the working folder."""
        object.__setattr__(self, "destination", self.destination.absolute())

    @property
    def root(self) -> Path:
        """The store while it is made."""
        return self._beside("partial")

    @property
    def journal(self) -> Path:
        """The folder of the journal."""
        return self._beside("journal")

    @property
    def writing(self) -> Path:
        """The folder of what units have not finished."""
        return self.run / "writing"

    @property
    def run(self) -> Path:
        """The folder of this run, by which workers tell that they see the same."""
        return self.journal / self.token

    @property
    def old(self) -> Path:
        """The replaced store, until it is removed."""
        return self._beside("old")

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self._beside("lock")

    @property
    def left(self) -> tuple[Path, ...]:
        """All that there may be beside the destination when a run ends in its middle."""
        return self.root, self.journal, self.old, self.lock

    def entry(self, fingerprint: str) -> Path:
        """Return the journal file of the unit with this fingerprint."""
        return self.journal / f"{fingerprint}{_ENTRY}"

    def _beside(self, role: str) -> Path:
        return self.destination.with_name(f".{self.destination.name}.{role}")


@contextlib.contextmanager
def staged(destination: Path, *, replace: bool) -> Generator[Stage]:
    """Hold a destination while a store for it is made.

    Parameters
    ----------
    replace
        Whether a store that has the name already may be replaced.

    Yields
    ------
    Stage
        Its folders exist; what an interrupted run left in them is still there.

    Raises
    ------
    StoreExistsError
        The destination is taken, and is not a store that may be replaced.
    StoreBusyError
        Another converter holds the destination.
    OptionError
        The destination lies inside a store, or nothing can be made where it would be.
    ResourceError
        Something that belongs to another user could not be replaced.
    """
    check_place(destination)
    stage = Stage(destination, secrets.token_hex(8))
    files.make_folder_durably(stage.destination.parent)
    with contextlib.ExitStack() as stack:
        while not stack.enter_context(locks.locked(stage.lock)):
            if holder := _holder(stage.lock):
                raise StoreBusyError(Problem(str(destination), f"is being converted by {holder[0]}", holder[1]))
        _check_owner(stage.root, stage.journal, stage.old)
        _tidy(stage)
        _check_free(destination, replace=replace)
        files.make_folder(stage.root)
        files.make_folder(stage.journal)
        for left in filter(Path.is_dir, list(stage.journal.iterdir())):
            files.end_folder(left, left.with_suffix(".ended"))
        files.make_folder(stage.writing)
        yield stage


def check_place(destination: Path) -> None:
    """Check that a file or folder can be made at a place, and is not inside a store, however far below.

    Raises
    ------
    OptionError
        A file is where its folder would be, or a folder that nothing can be made in; or it is inside a store, which
        would no longer be what its manifest says.
    ResourceError
        What is there belongs to another user, and could not be replaced.
    """
    parents, advice = destination.resolve().parents, "choose another folder"
    for parent in parents:
        if parent.exists() and not parent.is_dir():
            raise OptionError(Problem(str(parent), "is a file, not a folder", advice))
        if is_store(parent):
            raise OptionError(Problem(str(destination), f"lies inside the store {parent}", advice))
    nearest = next(parent for parent in parents if parent.exists())
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OptionError(Problem(str(nearest), "nothing can be made here (read-only, or no permission)", advice))
    _check_owner(destination)


def _check_owner(*paths: Path) -> None:
    """Check that what stands in the way can be renamed in the end: in a sticky folder only its owner may do that."""
    user = os.geteuid()
    for path in filter(os.path.lexists, paths):
        folder = path.parent.stat()
        if folder.st_mode & stat.S_ISVTX and user not in (0, folder.st_uid, path.lstat().st_uid):
            what = "belongs to another user, and in this folder only its owner may rename or remove it (sticky bit)"
            raise ResourceError(Problem(str(path), what, "have its owner remove it, or choose another folder"))


def record_unit(stage: Stage, fingerprint: str, entry: dict[str, Any]) -> None:
    """Note in the journal that a unit's files are durable, and what is to be known of them."""
    path = stage.entry(fingerprint)
    document = to_json({**entry, _SEAL: _digest(entry)})
    files.write_atomically(path, document, files.temporary(path, stage.writing))


def recorded_unit(stage: Stage, fingerprint: str, paths: set[str]) -> dict[str, Any] | None:
    """Return the journal's entry of a unit, if it has just these files and they are what it says; None otherwise."""
    try:
        entry = json.loads(stage.entry(fingerprint).read_bytes())
        if entry.pop(_SEAL) != _digest(entry):
            return None
        records = {path: FileRecord(*record) for path, record in entry["files"].items()}
        intact = all(_matches(stage.root / path, record) for path, record in records.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return entry if intact and records.keys() == paths else None


def finished_units(stage: Stage) -> dict[str, int]:
    """Return the fingerprint of each unit that the journal knows, and when its entry was written."""
    return {path.stem: path.stat().st_mtime_ns for path in stage.journal.iterdir() if path.suffix == _ENTRY}


def _digest(entry: dict[str, Any]) -> str:
    return hashlib.sha256(to_json(entry)).hexdigest()


def end_writing(stage: Stage) -> None:
    """Let no unit add to the stage any more, wherever it still runs."""
    files.end_folder(stage.writing, stage.run / "ended")


def remove_leftovers(stage: Stage, manifest: Manifest) -> None:
    """Remove from the stage what an interrupted run left there and the manifest does not name."""
    wanted = {stage.root / path for path in manifest.files}
    folders = {parent for path in wanted for parent in path.parents}
    for path in sorted(stage.root.rglob("*")):
        if path not in wanted and path not in folders and os.path.lexists(path):
            # What the system keeps of a file that is open, it does not let go, and it is no part of a store.
            (files.discard if is_junk(path.name) else files.remove)(path)


def finish(stage: Stage, manifest: Manifest, software: Mapping[str, str]) -> None:
    """Write the manifest and make the whole stage durable and read-only; only its name is missing then.

    Parameters
    ----------
    software
        Name of a package -> its version.
    """
    files.write(stage.root / layout.SOFTWARE, software_record(software))
    files.write(stage.root / layout.MANIFEST, manifest.to_bytes())
    for path in (*manifest.files, *UNLISTED):
        files.make_read_only(stage.root / path)
    folders = {stage.root / parent for path in manifest.files for parent in Path(path).parents}
    for folder in sorted(folders, key=lambda path: -len(path.parts)):
        files.sync_folder(folder)


def publish(stage: Stage, *, replace: bool) -> None:
    """Give the finished store its name, durably; a store that had it, and may be replaced, is removed afterwards.

    What cannot be removed then is left, and noted: the store is there.
    """
    parent = stage.destination.parent
    if replace and stage.destination.exists():
        if files.exchange(stage.root, stage.destination):
            files.rename(stage.root, stage.old)
        else:
            files.rename(stage.destination, stage.old)
            files.rename(stage.root, stage.destination)
    else:
        _name(stage)
    files.sync_folder(parent)
    files.discard(stage.old)
    files.discard(stage.journal)
    try:
        files.sync_folder(parent)
    except OSError as error:
        files.Shortfalls.undone(f"{parent}: what was removed may be there again after a power cut ({error.strerror})")


def abandon(stage: Stage) -> None:
    """Remove all that was made: the stage and its journal."""
    if stage.writing.exists():
        end_writing(stage)
    files.remove(stage.root)
    files.remove(stage.journal)


def give_up(destination: Path) -> bool:
    """Remove all that an interrupted run left beside a destination; return whether nobody is at work there.

    A store that was being replaced is put back.

    Raises
    ------
    StoreBusyError
        The lock is another user's.
    """
    stage = Stage(destination)
    with locks.locked(stage.lock) as held:
        if held:
            _tidy(stage)
            abandon(stage)
    return held


def _tidy(stage: Stage) -> None:
    """Put back a store that was being replaced by plain renames when its converter ended; drop what is of no use."""
    if stage.old.exists() and not stage.destination.exists():
        files.rename(stage.old, stage.destination)
    files.remove(stage.old)
    if not stage.root.exists():
        files.remove(stage.journal)


def _name(stage: Stage) -> None:
    try:
        files.rename_new(stage.root, stage.destination)
    except FileExistsError:
        raise StoreExistsError(_taken(stage.destination)) from None


def _matches(path: Path, record: FileRecord) -> bool:
    return path.stat().st_size == record.size and file_digest(path) == record.sha256


def _check_free(destination: Path, *, replace: bool) -> None:
    if not destination.exists() and not destination.is_symlink():
        return
    if not replace:
        raise StoreExistsError(_taken(destination))
    if destination.is_symlink() or not is_store(destination):
        what = "exists and is not a trialpack store, so it is not replaced"
        raise StoreExistsError(Problem(str(destination), what, "move it away, or choose another folder"))


def is_store(folder: Path) -> bool:
    """Return whether a folder is a trialpack store, perhaps a damaged one."""
    for name in (layout.MANIFEST, layout.METADATA):
        try:
            document = json.loads((folder / name).read_bytes())
            if layout.A_FORMAT in document or layout.A_FORMAT in document["attributes"]:
                return True
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return False


def _taken(destination: Path) -> Problem:
    return Problem(str(destination), "exists already", _TAKEN_ADVICE)


def _holder(lock: Path) -> tuple[str, str] | None:
    """Return the holder of a lock, and advice; None if it is free."""
    # The process that takes a lock writes its name into it a moment later.
    for _ in range(100):
        try:
            if text := lock.read_text(errors="replace"):
                left = f"; if it has ended, delete {lock}" if locks.STANDS_IN in text else ""
                return text.splitlines()[0], f"wait for it, or stop it{left}"
        except FileNotFoundError:
            return None
        time.sleep(0.01)
    return "another process", f"wait for it; if there is none, delete {lock}"

"""A power cut keeps what was synced, and of the rest anything: published stores are complete, and conversions go on."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from trialpack.store import CorruptStoreError, TrialpackError, check_full, files, publish

from .conversions import Faults, Scene, interrupt, noting
from .promises import Tally

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("small_shards"), pytest.mark.promise(5)]

Scenes = Callable[[str], Scene]
Size = Callable[[int, int], int]

Event = tuple[Any, ...]
"""What an operation did to the disk: its name, then what it did it to."""


# What a conversion does


class Recorder:
    """Notes all that a conversion does to the disk, in order."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.events, self._paths = list[Event](), dict[int, Path]()
        for name in ("create", "append", "sync", "close", "sync_folder", "make_folder", "rename", "rename_new"):
            patch.setattr(files, name, self._wrap(getattr(self, f"_{name}"), getattr(files, name)))
        for name in ("exchange", "remove"):
            patch.setattr(files, name, self._wrap(getattr(self, f"_{name}"), getattr(files, name)))

    def _wrap(self, note: Callable[..., None], function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            # The system gives the number of a closed file to another thread at once.
            if function.__name__ == "close":
                note(None, *arguments)
                return function(*arguments)
            result = function(*arguments)
            note(result, *arguments)
            return result

        return wrapped

    def _create(self, descriptor: int, path: Path) -> None:
        self._paths[descriptor] = path
        self.events.append(("create", path, descriptor))

    def _append(self, _: int, descriptor: int, parts: Any) -> None:
        self.events.append(("append", descriptor, b"".join(parts)))

    def _sync(self, _: None, descriptor: int) -> None:
        if descriptor in self._paths:  # and not of a folder
            self.events.append(("sync", self._paths[descriptor], descriptor))

    def _close(self, _: None, descriptor: int) -> None:
        if self._paths.pop(descriptor, None):
            self.events.append(("close", descriptor))

    def _sync_folder(self, _: None, path: Path) -> None:
        self.events.append(("sync_folder", path))

    def _make_folder(self, _: None, path: Path) -> None:
        self.events.append(("make_folder", path))

    def _rename(self, _: None, old: Path, new: Path) -> None:
        self.events.append(("rename", old, new))

    def _rename_new(self, _: None, old: Path, new: Path) -> None:
        if self.events[-1] != ("rename", old, new):  # where the system cannot do it, a plain rename did
            self._rename(_, old, new)

    def _exchange(self, done: bool, one: Path, other: Path) -> None:
        if done:
            self.events.append(("exchange", one, other))

    def _remove(self, _: None, path: Path) -> None:
        self.events.append(("remove", path))


# What is left of it


@dataclass(eq=False)
class File:
    """Its bytes, and how many of them are on disk for certain."""

    data: bytes = b""
    synced: int = 0


@dataclass(eq=False)
class Folder:
    """What is in it; what of that is on disk for certain; and what was done to its names since."""

    names: dict[str, Node] = field(default_factory=dict["str", "Node"])
    synced: dict[str, Node] = field(default_factory=dict["str", "Node"])
    pending: list[Event] = field(default_factory=list[Event])

    def change(self, *change: Any) -> None:
        self.pending.append(change)
        _change(self.names, change)

    def sync(self) -> None:
        self.synced = dict(self.names)
        self.pending.clear()


Node = File | Folder


def _change(names: dict[str, Node], change: Event) -> None:
    """Change the names in a folder, unless an earlier change that this one needs was lost."""
    match change:
        case "add", str(name), node:
            names[name] = node
        case "drop", str(name):
            names.pop(name, None)
        case "move", str(old), str(new) if old in names and not isinstance(names.get(new), Folder):
            names[new] = names.pop(old)
        case "swap", str(one), str(other) if one in names and other in names:
            names[one], names[other] = names[other], names[one]
        case _:
            pass


class Disk:
    """A disk that did what a conversion did, up to a moment.

    Parameters
    ----------
    base
        A folder that is there from the beginning; all happens below it.
    before
        What is in it, on disk for certain.
    """

    def __init__(self, base: Path, before: Folder, events: list[Event]) -> None:
        self._base, self.root, self._open = base, _copied(before), dict[int, File]()
        for name, *arguments in events:
            getattr(self, f"_{name}")(*arguments)

    def _folder(self, path: Path) -> Folder:
        folder = self.root
        for part in path.relative_to(self._base).parts:
            found = folder.names[part]
            assert isinstance(found, Folder)
            folder = found
        return folder

    def _create(self, path: Path, descriptor: int) -> None:
        self._open[descriptor] = File()
        self._folder(path.parent).change("add", path.name, self._open[descriptor])

    def _append(self, descriptor: int, data: bytes) -> None:
        self._open[descriptor].data += data

    def _sync(self, _: Path, descriptor: int) -> None:
        self._open[descriptor].synced = len(self._open[descriptor].data)

    def _close(self, descriptor: int) -> None:
        del self._open[descriptor]

    def _make_folder(self, path: Path) -> None:
        if path != self._base:
            self._make_folder(path.parent)
            if path.name not in self._folder(path.parent).names:
                self._folder(path.parent).change("add", path.name, Folder())

    def _sync_folder(self, path: Path) -> None:
        self._folder(path).sync()

    def _rename(self, old: Path, new: Path) -> None:
        if old.parent == new.parent:
            self._folder(old.parent).change("move", old.name, new.name)
            return
        # Of two folders, either of which may come to the disk without the other.
        self._folder(new.parent).change("add", new.name, self._folder(old.parent).names[old.name])
        self._folder(old.parent).change("drop", old.name)

    def _exchange(self, one: Path, other: Path) -> None:
        assert one.parent == other.parent
        self._folder(one.parent).change("swap", one.name, other.name)

    def _remove(self, path: Path) -> None:
        folder = self._folder(path.parent)
        if isinstance(found := folder.names.get(path.name), Folder):
            for name in list(found.names):
                self._remove(path / name)
        if path.name in folder.names:  # and not the lock, which is none of the operations
            folder.change("drop", path.name)


def _copied(folder: Folder) -> Folder:
    """Return a folder that is on disk for certain, with all that is in it."""
    names = {name: _copied(node) if isinstance(node, Folder) else node for name, node in folder.names.items()}
    return Folder(names, dict(names))


def on_disk(path: Path) -> Folder:
    """Return a folder as it is on the disk of this machine."""
    names: dict[str, Node] = {}
    for one in path.iterdir():
        names[one.name] = on_disk(one) if one.is_dir() else File(one.read_bytes(), one.stat().st_size)
    return Folder(names, dict(names))


@dataclass(frozen=True)
class PowerCut:
    """What becomes of all that was not synced.

    Attributes
    ----------
    names
        Changes of names: ``lost``, ``kept``, or ``some`` of them, in any combination that is possible.
    data
        Bytes of files: ``lost``, ``kept``, ``zeros`` in their place, ``cut`` in half, or ``any`` of these.
    """

    names: str
    data: str

    def leave(self, folder: Folder, path: Path, chance: random.Random) -> None:
        """Make, under a new name, the folder that is found when the power is back."""
        path.mkdir()
        for name, node in self._names(folder, chance).items():
            if isinstance(node, Folder):
                self.leave(node, path / name, chance)
            else:
                (path / name).write_bytes(self._data(node, chance))

    def _names(self, folder: Folder, chance: random.Random) -> dict[str, Node]:
        if self.names == "kept":
            return folder.names
        names = dict(folder.synced)
        for change in folder.pending if self.names == "some" else ():
            if chance.random() < 0.5:
                _change(names, change)
        return names

    def _data(self, file: File, chance: random.Random) -> bytes:
        sure, rest = file.data[: file.synced], file.data[file.synced :]
        match chance.choice(["lost", "kept", "zeros", "cut"]) if self.data == "any" else self.data:
            case "kept":
                return sure + rest
            case "zeros":
                return sure + bytes(len(rest))
            case "cut":
                return sure + rest[: len(rest) // 2]
            case _:
                return sure


CUTS = [
    PowerCut("lost", "lost"),
    PowerCut("some", "any"),
    PowerCut("kept", "zeros"),
    PowerCut("some", "kept"),
    PowerCut("kept", "cut"),
    PowerCut("some", "lost"),
    PowerCut("kept", "lost"),
]
Cut = tuple[int, PowerCut, Scene]


class Course:
    """The course of a conversion, and of power cuts in it.

    Parameters
    ----------
    scene
        What is converted.
    begin
        What happens before the power may be cut, and is noted too.
    """

    def __init__(self, scene: Scene, begin: Callable[[], object] = lambda: None) -> None:
        self._scene, self._base = scene, scene.destination.parent.parent
        scene.prepare()
        self._before = Folder()
        if scene.original is not None:
            self._before.names[scene.destination.parent.name] = on_disk(scene.destination.parent)
        with pytest.MonkeyPatch.context() as patch:
            recorder = Recorder(patch)
            begin()
            self.begun = len(recorder.events)
            scene.convert()
        self.events = recorder.events
        assert self.begun < self.journalled() < self.named() < len(self.events)

    def journalled(self) -> int:
        """When the first unit since the beginning was noted in the journal."""
        return self._renamed(lambda old: ".json." in old.name)[0]

    def named(self) -> int:
        """When the store got its name."""
        return self._renamed(lambda old: old.name.endswith(".partial"))[0]

    def _renamed(self, is_it: Callable[[Path], bool]) -> list[int]:
        renames = [(n, event) for n, event in enumerate(self.events) if event[0] in ("rename", "exchange")]
        return [n for n, event in renames if n >= self.begun and is_it(event[1])]

    def cut(
        self, number: int, cut: PowerCut, place: Path, ignored: Callable[[Event], bool] = lambda event: False
    ) -> Scene:
        """Cut the power after so many events; return the scene in which somebody then goes on.

        Parameters
        ----------
        ignored
            Events that did nothing: of a disk, or a writer, that does not sync.
        """
        disk = Disk(self._base, self._before, [event for event in self.events[:number] if not ignored(event)])
        cut.leave(disk.root, place, random.Random(number))
        stores = place / self._scene.destination.parent.name
        stores.mkdir(exist_ok=True)
        allowed = self._scene.allowed if number < len(self.events) else (self._scene.final,)
        return dataclasses.replace(self._scene, destination=stores / self._scene.destination.name, allowed=allowed)


def is_intact(scene: Scene) -> None:
    """Check that nothing, or a complete store, has the name; that checks agree; that the same command goes on."""
    scene.check()
    if scene.destination.exists():
        check_full(scene.destination, workers=1)
    scene.resume()


def moments(course: Course, size: Size, step: int) -> Iterator[tuple[int, PowerCut]]:
    """Yield when the power is cut, and how: in the long form at every moment in all ways.

    In the short form at each n-th moment in one of the ways, and in three at every moment of publishing.
    """
    first, last = size(course.journalled(), course.begun), len(course.events)
    before = range(first, course.named(), size(step, 1))
    for place, number in enumerate([*before, *range(course.named(), last + 1)]):
        ways = size(1 if number < course.named() else 3, len(CUTS))
        for way in range(ways):
            yield number, CUTS[(place + way) % len(CUTS)]


def survive(course: Course, size: Size, step: int, tally: Tally, tmp_path: Path) -> None:
    for number, cut in moments(course, size, step):
        tally.inject()
        what = f"{number}, names {cut.names}, data {cut.data}"
        with noting(what):
            is_intact(course.cut(number, cut, place := tmp_path / what))
        tally.survive()
        shutil.rmtree(place)


@pytest.mark.parametrize("name", ["new", "replace", "replace by two renames"])
def test_a_power_cut_leaves_nothing_or_a_complete_store_and_the_same_call_goes_on(
    scenes: Scenes, name: str, tmp_path: Path, size: Size, tally: Tally
) -> None:
    survive(Course(scenes(name)), size, 10, tally, tmp_path)


def test_a_power_cut_after_a_crash(scenes: Scenes, faults: Faults, tmp_path: Path, size: Size, tally: Tally) -> None:
    """What the second run finds in the journal of the first may never have reached the disk."""
    scene = scenes("new")
    course = Course(scene, begin=lambda: interrupt(faults, scene.source, scene.destination))
    survive(course, size, 10, tally, tmp_path)


def is_sync_of_a_shard(event: Event) -> bool:
    return event[0] == "sync" and event[1].name.startswith("c.")


def is_sync_within_the_store(event: Event) -> bool:
    return event[0] == "sync_folder" and ".partial" in str(event[1])


def test_a_shard_that_the_disk_lost_is_written_again(
    scenes: Scenes, tmp_path: Path, size: Size, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal has it, and zeros are in its place: of a disk that says too early that it is done."""
    course = Course(scenes("new"))
    for number in range(course.journalled() + 2, course.named(), size(20, 1)):
        for believing in (False, True):
            place = tmp_path / f"{number} {believing}"
            scene = course.cut(number, PowerCut("kept", "zeros"), place, ignored=is_sync_of_a_shard)
            if not believing:
                tally.inject()
                is_intact(scene)
                tally.survive()
            else:
                with monkeypatch.context() as patch, pytest.raises(CorruptStoreError):
                    patch.setattr(publish, "_matches", lambda path, record: True)
                    is_intact(scene)
                tally.notice()


@pytest.mark.parametrize("ignored", [is_sync_of_a_shard, is_sync_within_the_store])
def test_a_store_that_is_not_synced_is_noticed(
    scenes: Scenes, ignored: Callable[[Event], bool], tmp_path: Path, size: Size, tally: Tally
) -> None:
    """The same power cuts, of a writer that does not wait for the disk before it gives the store its name."""
    course, noticed, tried = Course(scenes("new")), 0, 0
    for number in range(course.named() + 2, len(course.events) + 1, size(3, 1)):
        for cut in CUTS:
            tried += 1
            place = tmp_path / f"{number}, names {cut.names}, data {cut.data}"
            try:
                is_intact(course.cut(number, cut, place, ignored))
            except (AssertionError, TrialpackError):
                tally.notice()
                noticed += 1
    assert noticed >= tried * 3 / 7

"""A store is verified wherever it was copied to, by whatever means: damage is found, and nothing else complained of."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import zarr
from trialpack.readers import open_mouse
from trialpack.store import check_full, check_quick, layout

from .damages import (
    KINDS,
    TinyStores,
    all_files,
    complaints,
    flip,
    full,
    is_found,
    is_silent,
    names_of,
    plain_copy,
    truncate,
    verify,
)
from .promises import Tally

Size = Callable[[int, int], int]
Copier = Callable[[Path, Path], object]


# Copying


def run(*command: object, cwd: Path | None = None) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True, cwd=cwd)


def by_tar(store: Path, to: Path) -> None:
    archive = to.with_suffix(".tar")
    run("tar", "-cf", archive, "-C", store.parent, store.name)
    to.mkdir()
    run("tar", "-xf", archive, "-C", to, "--strip-components=1")


def by_zip(store: Path, to: Path) -> None:
    archive = to.with_suffix(".zip")
    run("zip", "-qr", archive, ".", cwd=store)
    run("unzip", "-q", archive, "-d", to)


COPIERS: dict[str, Copier] = {
    "copytree": lambda store, to: shutil.copytree(store, to),
    "cp": lambda store, to: run("cp", "-r", store, to),
    "rsync": lambda store, to: run("rsync", "-a", f"{store}/", to),
    "tar": by_tar,
    "zip": by_zip,
}
HERE = [name for name in COPIERS if name == "copytree" or shutil.which(name)]


@pytest.mark.promise(20)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copier", HERE)
def test_a_clean_copy_passes_wherever_it_lies_and_whenever_it_was_made(
    stores: TinyStores, tmp_path: Path, tally: Tally, copier: str, kind: str
) -> None:
    """Under another name, with other times and permissions, by a relative path, and through a link."""
    original, to = stores(kind), tmp_path / "another place" / "renamed – ünïcode.zarr"
    to.parent.mkdir()
    tally.inject()
    COPIERS[copier](original, to)
    for number, path in enumerate(to.rglob("*")):
        os.utime(path, (number, number * 2))
        path.chmod(0o755 if path.is_dir() else 0o600)
    link = tmp_path / "link.zarr"
    link.symlink_to(to)
    for place in (to, Path(os.path.relpath(to)), link):
        for check in (check_quick, full, open_mouse):
            assert complaints(place, check) == {}
    if copier == "zip":
        assert verify(to)[0] == 0
    assert read_all(to) == read_all(original)
    tally.survive()


def read_all(store: Path) -> dict[str, bytes]:
    mouse = open_mouse(store)
    return {array.path: np.asarray(mouse[array.path][...]).tobytes() for array in mouse.index.recorded}


# Damage on the way


@dataclass(frozen=True)
class Copied:
    """A copy, and what may happen to it.

    Attributes
    ----------
    other
        A store of other recordings, which has files of the same names and sizes.
    differ
        The files that differ between both.
    path
        One of those in the copy.
    """

    to: Path
    other: Path
    differ: list[str]
    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(self.to).as_posix()

    def take(self, name: str) -> None:
        """Take a file from the other store."""
        (self.to / name).write_bytes((self.other / name).read_bytes())

    def add(self, name: str) -> list[str]:
        """Add a file beside the chosen one."""
        path = self.path.with_name(name)
        path.write_bytes(b"\0\0\0\1Bud1")
        return [path.relative_to(self.to).as_posix()]


def left_out(copied: Copied) -> list[str]:
    copied.path.unlink()
    return [copied.name]


def cut(copied: Copied) -> list[str]:
    truncate(copied.path)
    return [copied.name]


def zeroed(copied: Copied) -> list[str]:
    """What a power cut may leave of a file: its size, and no content."""
    copied.path.write_bytes(bytes(copied.path.stat().st_size))
    return [copied.name]


def flipped(copied: Copied) -> list[str]:
    flip(copied.path, copied.path.stat().st_size // 2, 0x10)
    return [copied.name]


def of_another_version(copied: Copied) -> list[str]:
    copied.take(copied.name)
    return [copied.name]


def in_capitals(copied: Copied) -> list[str]:
    """As file systems without small letters give it back."""
    path = copied.path.rename(copied.path.with_name(copied.path.name.upper()))
    return [copied.name, path.relative_to(copied.to).as_posix()]


def with_ds_store(copied: Copied) -> list[str]:
    """What the Finder of macOS leaves in folders that somebody looked into."""
    return copied.add(".DS_Store")


def with_apple_double(copied: Copied) -> list[str]:
    """What macOS leaves on file systems that keep no extended attributes."""
    return copied.add(f"._{copied.path.name}")


def with_conflict(copied: Copied) -> list[str]:
    """What synchronization leaves when it does not know which of two files is right."""
    return copied.add(f"{copied.path.name} (1)")


def mixed(copied: Copied) -> list[str]:
    """Every other file from another store, its manifest or the other one's."""
    taken = copied.differ[copied.differ.index(copied.name) % 2 :: 2]
    for name in taken:
        copied.take(name)
    stayed = [name for name in copied.differ if name not in taken]
    return stayed if layout.MANIFEST in taken else taken


Fault = Callable[[Copied], list[str]]
FAULTS: list[Fault] = [
    left_out,
    cut,
    zeroed,
    flipped,
    of_another_version,
    in_capitals,
    with_conflict,
    mixed,
]
"""Each returns the names of the files that are no longer what they were."""
HARMLESS: list[Fault] = [with_ds_store, with_apple_double]
"""What operating systems leave in a copy is no damage."""
SAME_SIZE = (zeroed, flipped, of_another_version, mixed)


def copied_by(copy: Copier, store: Path, other: Path, to: Path, rng: np.random.Generator) -> Copied:
    """Copy a store and choose one of its files, which is another one in the other store."""
    copy(store, to)
    assert all_files(to) == all_files(store) == all_files(other)
    differ = [name for name in all_files(to) if (to / name).read_bytes() != (other / name).read_bytes()]
    return Copied(to, other, differ, to / str(rng.choice([name for name in differ if name != layout.MANIFEST])))


@pytest.mark.promise(20)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_every_fault_of_a_copy_is_found(
    stores: TinyStores, tmp_path: Path, tally: Tally, size: Size, fault: Fault
) -> None:
    for number in range(size(4, 100)):
        rng, kind = np.random.default_rng(number), list(KINDS)[number % 2]
        copy = COPIERS[HERE[(number + FAULTS.index(fault)) % len(HERE)]]
        copied = copied_by(copy, stores(kind, "none"), stores(kind, "none", seed=9), tmp_path / f"{number}.zarr", rng)
        check_full(copied.to, workers=2)
        tally.inject()
        names = fault(copied)
        # What the quick check finds is reported without reading the data.
        metadata = [name for name in names if name.endswith(layout.METADATA)] if fault in SAME_SIZE else []
        assert is_found(copied.to, full, metadata or names), f"seed {number}: {names}, {complaints(copied.to, full)}"
        assert metadata or fault in SAME_SIZE or is_found(copied.to, open_mouse, names), f"seed {number}: {names}"
        tally.survive()
        shutil.rmtree(copied.to)


@pytest.mark.promise(20)
@pytest.mark.parametrize(
    "fault", [left_out, cut, zeroed, flipped, in_capitals, with_conflict], ids=lambda f: f.__name__
)
def test_every_fault_of_the_record_of_versions_is_found(
    stores: TinyStores, tmp_path: Path, tally: Tally, fault: Fault
) -> None:
    """By opening, too: it is not in the manifest, and has a digest of its own."""
    store, to = stores("static"), tmp_path / "copy.zarr"
    shutil.copytree(store, to)
    tally.inject()
    names = fault(Copied(to, store, [], to / layout.SOFTWARE))
    assert all(is_found(to, check, names) for check in (check_quick, full, open_mouse)), complaints(to, full)
    tally.survive()


@pytest.mark.promise(20)
@pytest.mark.parametrize("harmless", HARMLESS, ids=lambda fault: fault.__name__)
def test_what_systems_leave_in_a_copy_is_no_damage(
    stores: TinyStores, tmp_path: Path, tally: Tally, size: Size, harmless: Fault
) -> None:
    for number in range(size(4, 100)):
        rng, kind = np.random.default_rng(number), list(KINDS)[number % 2]
        store, to = stores(kind, "none"), tmp_path / f"{number}.zarr"
        copied = copied_by(shutil.copytree, store, stores(kind, "none", seed=9), to, rng)
        tally.inject()
        harmless(copied)
        for check in (check_quick, full, open_mouse):
            assert complaints(to, check) == {}
        assert read_all(to) == read_all(store)
        tally.survive()
        shutil.rmtree(to)


@pytest.mark.promise(20)
@pytest.mark.parametrize("fault", [left_out, of_another_version, mixed], ids=lambda fault: fault.__name__)
def test_copies_of_plain_zarr_are_read_without_a_word(
    stores: TinyStores, tmp_path: Path, tally: Tally, fault: Fault
) -> None:
    names = names_of("static")
    plain, other = (plain_copy(stores("static", seed=seed), names, tmp_path / f"{seed}.zarr") for seed in (0, 9))

    def read_all(store: Path) -> None:
        for name in names:
            zarr.open_array(store / name, mode="r")[...]

    for number in range(5):
        copied = copied_by(shutil.copytree, plain, other, tmp_path / "copy.zarr", np.random.default_rng(number))
        assert all(is_silent(copied.to, read_all, name) for name in fault(copied))
        tally.notice()
        shutil.rmtree(copied.to)

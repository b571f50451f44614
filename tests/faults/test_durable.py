"""What conversions and exports of users ask of the system: the other tests leave out that it waits for the disk."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from trialpack.convert import convert_mouse, export_mouse
from trialpack.store import files


@pytest.fixture
def asked(durable: None, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Numbers of the files and folders that the system was asked to bring to disk."""
    asked, fsync = set[int](), os.fsync

    def recording(descriptor: int) -> None:
        fsync(descriptor)
        asked.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", recording)
    return asked


def test_tests_do_not_wait_unless_they_ask_to(request: pytest.FixtureRequest) -> None:
    left_out = os.fsync
    request.getfixturevalue("durable")
    assert left_out.__module__ != os.fsync.__module__ == "posix"


def test_every_file_and_folder_of_a_store(fresh: Callable[[str], Path], tmp_path: Path, asked: set[int]) -> None:
    store = convert_mouse(fresh("static_folder"), tmp_path / "stores").store
    paths = [store.parent, store, *store.rglob("*")]
    assert len(paths) > 50
    assert [path for path in paths if path.stat().st_ino not in asked] == []


def test_an_export_waits_once_for_the_whole_file_system(
    fresh: Callable[[str], Path], tmp_path: Path, asked: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = convert_mouse(fresh("static_folder"), tmp_path / "stores").store
    waits, syncfs = list[int](), files._syncfs
    if syncfs is None:
        pytest.skip("this system has no syncfs(2)")

    def recording(descriptor: int) -> int:
        waits.append(os.fstat(descriptor).st_dev)
        return syncfs(descriptor)

    monkeypatch.setattr(files, "_syncfs", recording)
    exported = export_mouse(store, tmp_path / "out").path
    assert waits == [exported.stat().st_dev]
    assert exported.parent.stat().st_ino in asked

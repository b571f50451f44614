"""Stores on network file systems, where each look at a file takes a round trip: few one after another, none later."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trialpack.convert import convert_mouse
from trialpack.readers import TrialLoader, open_mouse
from trialpack.store import CorruptStoreError, folder

ROUND_TRIP = 0.002


class Network:
    """Makes looks at files take round trips, and counts those during which nothing else was looked at."""

    def __init__(self) -> None:
        self.looks, self.alone, self._now, self._lock = 0, 0.0, 0, threading.Lock()

    def look(self, trips: int) -> None:
        """Take some round trips."""
        with self._lock:
            self.looks, self._now, crowd = self.looks + trips, self._now + 1, self._now + 1
        time.sleep(trips * ROUND_TRIP)
        with self._lock:
            self._now -= 1
            self.alone += trips / crowd


@pytest.fixture(scope="module")
def store(sample_mice: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert_mouse(sample_mice["dynamic_folder"], tmp_path_factory.mktemp("stores")).store


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    found, read, scan = Network(), folder._OpenFolder.read, folder.scan

    def slow_read(files: Any, name: str) -> bytes:
        found.look(2)  # to open, and to read
        return read(files, name)

    def slow_scan(root: Path, prefix: str) -> Any:
        scanned = scan(root, prefix)
        found.look(1 + len(scanned[1]))
        return scanned

    monkeypatch.setattr(folder._OpenFolder, "read", slow_read)
    monkeypatch.setattr(folder, "scan", slow_scan)
    yield found


def test_opening_takes_few_round_trips_one_after_another(network: Network, store: Path) -> None:
    mouse = open_mouse(store)
    assert network.looks > 2 * len(mouse.index.arrays) > 100
    assert network.alone < network.looks / 3


def test_what_another_process_checked_is_not_looked_at(network: Network, store: Path) -> None:
    first = open_mouse(store)
    walked, network.looks = network.looks, 0
    again = open_mouse(store, digest=first.index.manifest.digest)
    assert again.index.manifest == first.index.manifest
    assert network.looks < walked - len(first.index.manifest.files)
    with pytest.raises(CorruptStoreError, match="manifest.json: is of another version"):
        open_mouse(store, digest="0" * 64)


def test_metadata_that_is_missing_is_named_without_a_walk_too(store: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(store, tmp_path / "copied"))
    digest = open_mouse(copied).index.manifest.digest
    (copied / "responses").chmod(0o700)
    (copied / "responses/zarr.json").unlink()
    with pytest.raises(CorruptStoreError, match=r"responses/zarr.json: missing \(the manifest lists it\)"):
        open_mouse(copied, digest=digest)


def test_local_stores_need_no_threads(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_SLOW", 1.0)
    started = list[threading.Thread]()
    monkeypatch.setattr(threading.Thread, "start", started.append)
    assert len(open_mouse(store).trials) and not started


@pytest.mark.parametrize("cache", ["auto", "none"])
def test_epochs_look_at_no_file(store: Path, cache: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = TrialLoader(open_mouse(store), tier=None, batch_size=2, output="numpy", cache=cache)
    looks = list[str]()

    def counting(name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def counted(path: Any, *arguments: Any, **options: Any) -> Any:
            # Not what the end of another test's things looks at elsewhere.
            if isinstance(path, int) or not os.path.isabs(path) or Path(os.fsdecode(path)).is_relative_to(store):
                looks.append(name)
            return call(path, *arguments, **options)

        return counted

    for name in ("open", "stat", "lstat", "fstat", "scandir", "listdir", "access", "readlink"):
        monkeypatch.setattr(os, name, counting(name))
    for _ in range(2):
        assert list(loader)
    assert not looks
    os.stat(store)
    assert looks == ["stat"]

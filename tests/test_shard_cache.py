"""Shards of object stores that are kept on disk: read from there, never more than the limit, and right."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.readers import Mouse, TrialLoader, open_mouse, train_statistics
from trialpack.store import AccessError, CorruptStoreError, OptionError, ResourceError, files, objects, shard_cache
from trialpack.store.shards import FileRecord

from .object_server import ObjectServer
from .streams import pack
from .test_remote import assert_equal_batches, batches

pytest.importorskip("obstore", reason="obstore is not installed")


@pytest.fixture(scope="module")
def store(sample_mice: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(pack(sample_mice["dynamic_folder"], tmp_path_factory.mktemp("stores"), "shared chunks").path)


@pytest.fixture
def server(store: Path, tmp_path: Path) -> Iterator[ObjectServer]:
    shutil.copytree(store, tmp_path / "served" / store.name, copy_function=shutil.copyfile)
    with ObjectServer(tmp_path / "served") as server:
        yield server


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several requests for each shard, and no pauses."""
    monkeypatch.setattr(shard_cache, "_PART", 1 << 14)
    monkeypatch.setattr(objects, "_FIRST_PAUSE", 0.001)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def opened(server: ObjectServer, store: Path, cache: Path, **options: Any) -> Mouse:
    return open_mouse(f"s3://mice/{store.name}", storage_options=server.options, cache_dir=cache, **options)


def shard_gets(server: ObjectServer) -> list[str]:
    return [key for key, part in server.gets() if part]


def shard_sizes(mouse: Mouse) -> list[int]:
    names = [array.shard_path(number) for array in mouse.index.recorded for number in range(array.files)]
    return [mouse.index.manifest.files[name].size for name in names]


def kept(cache: Path) -> dict[str, int]:
    found = dict[str, int]()
    for path in cache.iterdir():
        with contextlib.suppress(FileNotFoundError):  # made room meanwhile
            found |= {path.name: path.stat().st_size} if path.name != ".lock" else {}
    return found


@pytest.mark.parametrize("options", [{}, {"cache": "none", "window": 40, "shuffle": True}], ids=str)
def test_what_was_read_once_comes_from_the_disk(options: Any, server: ObjectServer, store: Path, cache: Path) -> None:
    local, mouse = open_mouse(store), opened(server, store, cache)
    assert_equal_batches(batches(mouse, **options), batches(local, **options))
    assert sum(kept(cache).values()) == sum(shard_sizes(mouse))
    assert not [name for name in kept(cache) if name.startswith(".")]
    server.asked.clear()
    again = opened(server, store, cache)
    assert not shard_gets(server)
    loader = TrialLoader(again, tier=None, batch_size=4, output="numpy", threads=2, **options)
    indexes = len(shard_gets(server))  # one small request for each
    assert indexes == len(shard_sizes(mouse))
    found = [{name: np.array(values) for name, values in batch.items()} for batch in loader]
    assert_equal_batches(found, batches(local, **options))
    assert len(shard_gets(server)) == indexes and loader.stats.requests.made == 0
    assert "store" not in str(loader.stats)


def test_all_readers_use_it(server: ObjectServer, store: Path, cache: Path) -> None:
    local, mouse = open_mouse(store), opened(server, store, cache)
    for name in local.variables:
        assert np.array_equal(mouse.dask(name).compute(), local.dask(name).compute(), equal_nan=True)
    server.asked.clear()
    for name in local.variables:
        assert np.array_equal(mouse.array(name), local.array(name), equal_nan=True)
        assert np.array_equal(mouse[name][...], local[name][...], equal_nan=True)
    trial = int(local.trials.index[0])
    assert np.array_equal(mouse.trial(trial)["videos"], local.trial(trial)["videos"])
    found, expected = train_statistics(mouse), train_statistics(local)
    assert np.array_equal(found["videos"]["over_trials"].mean, expected["videos"]["over_trials"].mean, equal_nan=True)
    assert all(
        int(part.partition("-")[2]) - int(part.partition("=")[2].partition("-")[0]) < 1 << 12
        for _, part in server.gets()
        if part
    )


def test_processes_share_it(server: ObjectServer, store: Path, cache: Path) -> None:
    code = f"""
from pathlib import Path
from trialpack import TrialLoader, open_mouse
mouse = open_mouse("s3://mice/{store.name}", storage_options={server.options!r}, cache_dir={str(cache)!r})
print(sum(len(batch["trial_id"]) for batch in TrialLoader(mouse, tier=None, batch_size=4, output="numpy")))
"""
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [one.communicate()[0].strip() for one in running] == ["12", "12"]
    assert sum(kept(cache).values()) == sum(shard_sizes(open_mouse(store)))
    server.asked.clear()
    batches(opened(server, store, cache))
    assert len(shard_gets(server)) == len(shard_sizes(open_mouse(store)))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_never_above_the_limit(
    share: float, server: ObjectServer, store: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = open_mouse(store)
    limit, highest, write = max(max(shard_sizes(local)), int(share * sum(shard_sizes(local)))), [0], files.write_at

    def watching(*arguments: Any) -> None:
        highest.append(sum(kept(cache).values()))
        write(*arguments)

    monkeypatch.setattr(files, "write_at", watching)
    mouse = opened(server, store, cache, cache_limit=limit)
    for shuffle in (False, True):
        options: Any = {"cache": "none", "shuffle": shuffle}
        assert_equal_batches(batches(mouse, **options), batches(local, **options))
    assert 0 < max(highest) <= limit


def test_what_was_used_least_lately_makes_room(server: ObjectServer, store: Path, cache: Path) -> None:
    sizes = shard_sizes(open_mouse(store))
    cache.mkdir()
    for number, name in enumerate(("old", "older", "open")):
        (cache / name).write_bytes(bytes(max(sizes)))
        os.utime(cache / name, (1000 - number, 1000 - number))
    with open(cache / "open", "rb") as held:
        shard_cache.fcntl.flock(held, shard_cache.fcntl.LOCK_SH)
        mouse = opened(server, store, cache, cache_limit=3 * max(sizes))
        mouse.array("behavior")
    assert "older" not in kept(cache) and {"old", "open"} <= kept(cache).keys()


def test_what_an_ended_process_left_is_written_anew(server: ObjectServer, store: Path, cache: Path) -> None:
    local = open_mouse(store)
    cache.mkdir()
    for record in local.index.manifest.files.values():
        (cache / f".{record.sha256}.writing").write_bytes(bytes(record.size))
    assert_equal_batches(batches(opened(server, store, cache)), batches(local))
    digests = {record.sha256 for record in local.index.manifest.files.values()}
    assert sum(name.startswith(".") for name in kept(cache)) == len(digests) - len(shard_sizes(local))


def test_an_epoch_goes_on_after_one_that_was_left(server: ObjectServer, store: Path, cache: Path) -> None:
    loader = TrialLoader(opened(server, store, cache), tier=None, batch_size=1, output="numpy", cache="none")
    server.delay = 0.01
    for _ in loader:
        break
    server.delay = 0
    assert len(list(loader)) == 12


@pytest.mark.parametrize("kind", ["flip", "swap"])
def test_other_bytes_are_not_kept(kind: str, server: ObjectServer, store: Path, cache: Path) -> None:
    mouse = opened(server, store, cache)
    loader = TrialLoader(mouse, tier=None, batch_size=4, output="numpy", variables=["responses"])
    server.fault = lambda key, number: kind if "responses/c." in key else None
    with pytest.raises(CorruptStoreError, match=r"responses/c[.0-9]+: trial \d+: other bytes came than the manifest"):
        list(loader)
    assert not [name for name in kept(cache) if not name.startswith(".")]
    server.fault = lambda key, number: None
    assert_equal_batches(batches(mouse), batches(open_mouse(store)))


def test_errors_say_what_is_wrong(
    server: ObjectServer, store: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError, match="cache: a cache_limit of 1.0 kB is less than one shard, "):
        opened(server, store, cache, cache_limit="1kB")
    with pytest.raises(OptionError, match="cache_limit: expected a number of bytes"):
        opened(server, store, cache, cache_limit=-1)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ResourceError, match="file: shards cannot be kept here .*; give another cache_dir"):
        opened(server, store, tmp_path / "file")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ResourceError, match="shards cannot be kept here .*Permission denied"):
        opened(server, store, cache)


def test_a_full_disk_is_said(server: ObjectServer, store: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_at", full)
    with pytest.raises(ResourceError, match="No space left on device.*; give a smaller cache_limit") as raised:
        batches(opened(server, store, cache))
    assert not isinstance(raised.value, AccessError)


def test_what_is_not_all_there_goes_while_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its lock is free, a file of that name may be another process's."""
    record = FileRecord(1000, "0" * 64)
    shard = shard_cache.ShardCache(tmp_path, 5000).find(record, lambda offset, size: memoryview(bytes(size)))
    assert shard is not None
    hidden, seen, close = shard_cache.unfinished(tmp_path / record.sha256), list[bool](), os.close
    assert hidden.exists()

    def watching(descriptor: int) -> None:
        seen.append(hidden.exists())
        close(descriptor)

    monkeypatch.setattr(os, "close", watching)
    shard.close()
    assert seen and not any(seen)

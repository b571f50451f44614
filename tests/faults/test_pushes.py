"""Pushes that are killed at any request, or to one address at once: nothing is published, or all of one store."""

import contextlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack import open_mouse, push_store, verify_mouse
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.store import CorruptStoreError, StoreBusyError, StoreExistsError, StoreFormatError, layout, objects, push
from trialpack.store.manifest import read_manifest
from trialpack.store.objects import connect
from trialpack.store.paths import Address

from ..s3_proxy import BUCKET, CONDITIONS, S3Proxy, s3_proxy
from .forks import Fork, ForkServer, fork_server
from .promises import Tally

obstore = pytest.importorskip("obstore", reason="obstore is not installed")
pytestmark = pytest.mark.once

Size = Callable[[int, int], int]
_numbers = count()

PUSH = """
import json, os, sys, time
from trialpack.store import StoreBusyError, StoreExistsError, objects, push_store
store, url, options, in_flight, begin = sys.argv[1:]
objects._FIRST_PAUSE = 0.001
open(f"{begin}.{os.getpid()}", "w").close()
while not os.path.exists(begin):
    time.sleep(0.0002)
try:
    push_store(store, url, storage_options=json.loads(options), in_flight=int(in_flight), workers=1)
except (StoreBusyError, StoreExistsError) as error:
    print(type(error).__name__, error)
else:
    print("published")
"""
"""Push when there is a file that says so."""


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with fork_server(tmp_path_factory.mktemp("forks")) as server:
        yield server


@pytest.fixture(scope="module")
def started() -> Iterator[S3Proxy]:
    with s3_proxy() as proxy:
        yield proxy


@pytest.fixture
def proxy(started: S3Proxy, monkeypatch: pytest.MonkeyPatch) -> S3Proxy:
    monkeypatch.setattr(objects, "_FIRST_PAUSE", 0.001)
    started.forget()
    return started


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two stores of few files, whose names and sizes are equal, and whose values are not."""
    made = list[Path]()
    for seed in (0, 1):
        place = tmp_path_factory.mktemp("pair")
        mouse = write_sample(place, mouse="A", trials=6, neurons=3, image_shape=(3, 4), seed=seed)
        shutil.rmtree(mouse / "meta" / "statistics")
        shutil.rmtree(mouse / "meta" / "neurons")
        (mouse / "meta" / "trials" / "trial_idx.npy").unlink()
        made.append(convert_mouse(mouse, place / "stores", codec="none", statistics=False, workers=1).store)
    first, second = (read_manifest(store) for store in made)
    shards = {name: one.size for name, one in first.files.items() if name.startswith(("videos/c", "responses/c"))}
    assert shards and shards == {name: second.files[name].size for name in shards}
    return made[0], made[1]


def new_url() -> str:
    return f"s3://{BUCKET}/faults-{next(_numbers)}/mouse.zarr"


def state(url: str, options: dict[str, Any], *allowed: Path) -> str:
    """Return whether ``nothing`` can be opened at an address, ``all`` of a store that may be there, or ``half``."""
    try:
        found = open_mouse(url, storage_options=options)
        verify_mouse(found.index.place, workers=1)
    except StoreFormatError:
        # Zarr needs no manifest, but the metadata of the root.
        names = objects.names(connect(Address(url), options)).keys()
        return "half" if layout.METADATA in names and not names >= read_manifest(allowed[0]).files.keys() else "nothing"
    except CorruptStoreError:
        return "half"
    digests = [read_manifest(store).digest for store in allowed]
    return "all" if found.index.manifest.digest in digests else "half"


def start(forks: ForkServer, store: Path, url: str, proxy: S3Proxy, begin: Path, in_flight: int = 1) -> Fork:
    return forks.start(PUSH, store, url, json.dumps(proxy.options), in_flight, begin)


def killed_at(number: int, how: str, forks: ForkServer, begin: Path, *push: Any) -> bool:
    """Kill a push at one of its requests, which arrives or does not; return whether it came to that."""
    store, url, proxy, in_flight = push
    fork, killed = start(forks, store, url, proxy, begin, in_flight), threading.Event()

    def fault(method: str, key: str, asked: int) -> str | None:
        if asked < number:
            return None
        os.kill(fork.process, signal.SIGKILL)
        killed.set()
        return how if asked == number else "drop"

    proxy.forget()
    proxy.fault = fault
    begin.touch()
    status, said = fork.finish()
    assert status == (-signal.SIGKILL if killed.is_set() else 0), said
    # What has arrived may still be under way behind the proxy.
    time.sleep(0.02)
    with proxy.one_at_a_time:
        proxy.forget()
    return killed.is_set()


@pytest.mark.promise(24)
@pytest.mark.parametrize("how", ["drop", "lose"])
def test_killed_at_a_request(
    tally: Tally, proxy: S3Proxy, forks: ForkServer, pair: tuple[Path, Path], how: str, size: Size, tmp_path: Path
) -> None:
    store, files, seen = pair[0], len(read_manifest(pair[0]).files) + 2, set[str]()
    push_store(store, new_url(), storage_options=proxy.options, in_flight=1)
    requests = len(proxy.asked)
    assert requests < 3 * files
    for number in range(1, requests + 1) if size(0, 1) else (1, 5, requests // 2, requests):
        url = new_url()
        tally.inject()
        assert killed_at(number, how, forks, tmp_path / f"begin-{number}", store, url, proxy, 1)
        found = state(url, proxy.options, store)
        # Only the last request publishes.
        assert found == ("all" if how == "lose" and number == requests else "nothing"), (number, found)
        seen.add(found)
        goes_on(proxy, store, url, number, requests)
        tally.survive()
    assert seen == ({"nothing", "all"} if how == "lose" else {"nothing"})


def goes_on(proxy: S3Proxy, store: Path, url: str, number: int, requests: int) -> None:
    """Push again, and check that no object is written twice, but for what decides."""
    before = {meta["path"] for batch in obstore.list(bucket(proxy), prefix_of(url)) for meta in batch}
    proxy.forget()
    push_store(store, url, storage_options=proxy.options, in_flight=4, workers=1)
    again = {key for key in proxy.written() if not key.endswith(layout.MANIFEST)}
    assert not before & again, (number, requests)
    assert state(url, proxy.options, store) == "all"


def bucket(proxy: S3Proxy) -> Any:
    return obstore.store.S3Store(BUCKET, **proxy.options, client_options={"allow_http": True})


def prefix_of(url: str) -> str:
    return url.removeprefix(f"s3://{BUCKET}/")


@pytest.mark.promise(24)
def test_killed_with_many_requests_under_way(
    tally: Tally, proxy: S3Proxy, forks: ForkServer, pair: tuple[Path, Path], size: Size, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for turn in range(size(2, 60)):
        url, number = new_url(), int(rng.integers(5, 2 * len(read_manifest(pair[0]).files)))
        tally.inject()
        killed_at(number, "lose", forks, tmp_path / f"begin-{turn}", pair[0], url, proxy, 8)
        assert state(url, proxy.options, pair[0]) in ("nothing", "all")
        push_store(pair[0], url, storage_options=proxy.options, workers=1)
        assert state(url, proxy.options, pair[0]) == "all"
        tally.survive()


@pytest.mark.promise(24)
def test_control_a_copy_in_the_order_of_names_opens_half(tally: Tally, proxy: S3Proxy, pair: tuple[Path, Path]) -> None:
    names = sorted(path for path in pair[0].rglob("*") if path.is_file())
    for number in range(2, len(names), 8):
        url, noticed = new_url(), bucket(proxy)
        for path in names[-number:]:
            obstore.put(noticed, f"{prefix_of(url)}/{path.relative_to(pair[0])}", path.read_bytes())
        assert state(url, proxy.options, pair[0]) == "half"
        tally.notice()


# Races


@pytest.mark.promise(25)
def test_pushes_to_one_address(
    tally: Tally, proxy: S3Proxy, forks: ForkServer, pair: tuple[Path, Path], size: Size, tmp_path: Path
) -> None:
    digests = {read_manifest(store).digest: store for store in pair}
    for turn in range(size(2, 50)):
        url, begin = new_url(), tmp_path / f"begin-{turn}"
        proxy.forget()
        racing = [(store, start(forks, store, url, proxy, begin, 4)) for store in pair * size(3, 8)]
        while len(list(tmp_path.glob(f"{begin.name}.*"))) < len(racing):
            time.sleep(0.01)
        tally.inject(len(racing))
        begin.touch()
        seen = watch(url, proxy, [fork for _, fork in racing], pair)
        said = [(store, fork.finish()) for store, fork in racing]
        assert all(status == 0 for _, (status, _) in said), said
        winner = digests[open_mouse(url, storage_options=proxy.options).index.manifest.digest]
        assert state(url, proxy.options, winner) == "all"
        for store, (_, text) in said:
            assert text.startswith("published" if store == winner else ("StoreBusyError", "StoreExistsError")), text
        assert seen <= {"nothing", "all"}
        tally.survive(len(racing))


def watch(url: str, proxy: S3Proxy, forks: list[Fork], pair: tuple[Path, Path]) -> set[str]:
    """Look at an address as long as processes push to it; return what was found: all of a store, or nothing."""
    seen = set[str]()
    while any(fork.wait(0) is None for fork in forks):
        try:
            verify_mouse(open_mouse(url, storage_options=proxy.options).index.place, workers=1)
            seen.add("all")
        except StoreFormatError:
            seen.add("nothing")
        except CorruptStoreError as error:
            seen.add(str(error))
    return seen


def crossed(proxy: S3Proxy, pair: tuple[Path, Path], number: int, **options: Any) -> tuple[str, bool]:
    """Push one store, and the other one to the same address at a request of that; return what is there then.

    Returns
    -------
    str, bool
        As `state`, and whether it came to that request.
    """
    url, came = new_url(), threading.Event()

    def push(store: Path) -> None:
        with contextlib.suppress(StoreBusyError, StoreExistsError):
            push_store(store, url, storage_options=proxy.options, in_flight=1, workers=1, **options)

    def fault(method: str, key: str, asked: int) -> None:
        if asked == number and not came.is_set():
            came.set()
            push(pair[1])

    proxy.fault = fault
    push(pair[0])
    proxy.forget()
    return state(url, proxy.options, *pair), came.is_set()


@pytest.mark.promise(25)
def test_a_push_in_the_middle_of_another_one(tally: Tally, proxy: S3Proxy, pair: tuple[Path, Path], size: Size) -> None:
    push_store(pair[0], new_url(), storage_options=proxy.options, in_flight=1)
    requests = len(proxy.asked)
    for number in range(1, requests + 1, size(12, 1)):
        proxy.forget()
        tally.inject()
        assert crossed(proxy, pair, number) == ("all", True)
        tally.survive()


@pytest.mark.promise(25)
def test_control_without_conditions_stores_are_mixed(
    tally: Tally, proxy: S3Proxy, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    unclaimed = b"", objects.Pin(0)
    monkeypatch.setattr(push._Push, "is_done", lambda push: bool(setattr(push, "_claim", unclaimed)))
    monkeypatch.setattr(push._Push, "there", lambda push: set())
    for number in (10, 15, 20):
        proxy.forget()
        proxy.ignored = CONDITIONS
        assert crossed(proxy, pair, number, race_check=False) == ("half", True)
        tally.notice()

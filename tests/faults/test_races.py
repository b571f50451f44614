"""Two at once: converters to one destination, readers of a store that is replaced."""

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from trialpack.store import StoreBusyError, StoreExistsError
from trialpack.store.manifest import read_manifest
from trialpack.store.publish import Stage

from .conversions import (
    Child,
    Digests,
    beside,
    convert,
    digests,
    finish_child,
)
from .forks import QUICKLY, Fork, ForkServer, fork_server
from .promises import Tally

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("small_shards")]

Size = Callable[[int, int], int]

HOLD = """
append = files.append
def hold(descriptor, parts):
    os.write(1, b"holding\\n")  # two threads may: not in parts
    sys.stdin.readline()
    files.append = append
    return append(descriptor, parts)
files.append = hold
convert_mouse(sys.argv[1], sys.argv[2], workers=1)
"""


RACE = (
    QUICKLY
    + """
from trialpack.store import StoreBusyError, StoreExistsError
source, to, begin, number = sys.argv[1:]
open(f"{begin}.{number}", "w").close()
while not os.path.exists(begin):
    time.sleep(0.0002)
try:
    convert_mouse(source, to, workers=1)
except (StoreBusyError, StoreExistsError) as error:
    print(type(error).__name__, error)
else:
    print("won")
"""
)
"""Convert when there is a file that says so."""

NAIVE = """
import contextlib
locks.locked = lambda path: contextlib.nullcontext(True)
files.rename_new = lambda old, new: os.rename(old, new) if not os.path.exists(new) else None
"""
"""Every lock is granted."""

CONVERTERS = 8


def test_the_holder_of_a_destination_is_named(
    child: Child, recording: Path, destination: Path, reference: Digests
) -> None:
    process = child(HOLD, recording, destination.parent)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    for replace in (False, True):
        with pytest.raises(StoreBusyError) as raised:
            convert(recording, destination, replace=replace)
        (line,) = str(raised.value).splitlines()
        assert f"is being converted by process {process.pid} on {os.uname().nodename}" in line
    assert not destination.exists()
    process.stdin.write("\n")
    code, stderr = finish_child(process)
    assert code == 0, stderr
    assert digests(destination) == reference
    assert beside(destination) == [destination.name]


def test_the_lock_of_a_killed_process_is_no_lock(
    child: Child, recording: Path, destination: Path, reference: Digests
) -> None:
    process = child(HOLD, recording, destination.parent)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    finish_child(process)
    assert Stage(destination).lock.exists()
    convert(recording, destination)
    assert digests(destination) == reference
    assert beside(destination) == [destination.name]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with fork_server(tmp_path_factory.mktemp("forks")) as server:
        yield server


def race(server: ForkServer, recording: Path, folder: Path, code: str = RACE) -> list[Fork]:
    """Start all converters at the same moment, to ``folder/stores``."""
    folder.mkdir()
    begin = folder / "begin"
    forks = [server.start(code, recording, folder / "stores", begin, number) for number in range(CONVERTERS)]
    while len(list(folder.iterdir())) < CONVERTERS:
        time.sleep(0.001)
    begin.touch()
    return forks


def harm(forks: list[Fork], destination: Path, reference: Digests) -> str:
    """Say what is wrong after a race of which nobody was killed; nothing if one won, and the others know."""
    processes = {fork.process for fork in forks}
    outcomes = [(fork.wait(), fork.said.strip()) for fork in forks]
    losers = [(status, said) for status, said in outcomes if said != "won"]
    if len(losers) != len(forks) - 1:
        return f"{len(forks) - len(losers)} have won"
    for status, said in losers:
        if status != 0 or not knows_why(said, processes):
            return f"status {status}: {said}"
    return wrong_with(destination, reference)


def knows_why(said: str, processes: set[int]) -> bool:
    """Return whether a converter that lost says who holds the destination, or that it exists."""
    if said.startswith("StoreExistsError"):
        return "exists already" in said
    found = re.search(r"^StoreBusyError .* is being converted by process (\d+) on (\S+); ", said)
    return found is not None and int(found[1]) in processes and found[2] == os.uname().nodename


def wrong_with(destination: Path, reference: Digests) -> str:
    if not destination.exists() or digests(destination) != reference:
        return "no store, or another one"
    left = beside(destination)
    return "" if left == [destination.name] else f"left beside it: {left}"


@pytest.mark.promise(12)
@pytest.mark.parametrize("part", [0, 1])
def test_of_eight_converters_one_wins(
    tally: Tally, size: Size, server: ForkServer, recording: Path, tmp_path: Path, reference: Digests, part: int
) -> None:
    for number in range(size(1, 35)):
        tally.inject()
        forks = race(server, recording, tmp_path / str(number))
        assert not harm(forks, tmp_path / str(number) / "stores" / f"{recording.name}.zarr", reference)
        tally.survive()


@pytest.mark.promise(12)
@pytest.mark.parametrize("part", [0, 1])
def test_of_eight_converters_one_is_killed_and_the_same_command_goes_on(
    tally: Tally, size: Size, server: ForkServer, recording: Path, tmp_path: Path, reference: Digests, part: int
) -> None:
    """Whoever it is: the store is there, or the same command makes it."""
    rng = np.random.default_rng(part)
    for number in range(size(1, 15)):
        destination = tmp_path / str(number) / "stores" / f"{recording.name}.zarr"
        tally.inject()
        forks = race(server, recording, tmp_path / str(number))
        time.sleep(delay := float(rng.uniform(0, 0.3)))
        # Half of the time the one that holds the destination, if there is one.
        killed = holder(forks, destination) if number % 2 == part else forks[int(rng.integers(CONVERTERS))]
        killed.signal(signal.SIGKILL)
        processes = {fork.process for fork in forks}
        for fork in set(forks) - {killed}:
            assert fork.wait() == 0, (number, delay, fork.said)
            assert fork.said == "won\n" or knows_why(fork.said, processes), (number, delay, fork.said)
        # It may have come to its end before.
        assert killed.wait() in (0, -signal.SIGKILL), (number, delay, killed.said)
        # A store that has its name stays; its lock, if it was left, goes.
        with pytest.raises(StoreExistsError) if destination.exists() else contextlib.nullcontext():
            convert(recording, destination)
        assert not wrong_with(destination, reference), (number, delay)
        tally.survive()


def holder(forks: list[Fork], destination: Path) -> Fork:
    """Return the converter that says that it holds the destination; the first, if none says so."""
    try:
        text = Stage(destination).lock.read_text()
    except FileNotFoundError:
        text = ""
    return next((fork for fork in forks if f"process {fork.process} " in text), forks[0])


@pytest.mark.promise(12)
def test_control_converters_without_a_lock_do_harm(
    tally: Tally, size: Size, server: ForkServer, recording: Path, tmp_path: Path, reference: Digests
) -> None:
    for number in range(size(1, 10)):
        forks = race(server, recording, tmp_path / str(number), RACE.replace("\nsource,", NAIVE + "\nsource,", 1))
        assert harm(forks, tmp_path / str(number) / "stores" / f"{recording.name}.zarr", reference)
        tally.notice()


def test_the_name_means_a_store_while_it_is_replaced(
    recording: Path, destination: Path, references: Callable[..., Digests]
) -> None:
    """Somebody opens the store all the while: there is always one, the old or the new."""
    convert(recording, destination, codec="none")
    seen, failures, done = set[str](), list[Exception](), threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                seen.add(read_manifest(destination).store_id)
            except Exception as error:
                failures.append(error)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        ids = {read_manifest(destination).store_id}
        for codec in ("fast", "none", "fast"):
            convert(recording, destination, codec=codec, replace=True)
            ids.add(read_manifest(destination).store_id)
            time.sleep(0.02)
    finally:
        done.set()
        watcher.join()
    assert not failures
    assert seen == ids and len(ids) == 2
    assert digests(destination) == references(codec="fast")

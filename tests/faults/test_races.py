"""Two at once: converters to one destination, readers of a store that is replaced."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from trialpack.store import (
    StoreBusyError,
)
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

pytestmark = pytest.mark.usefixtures("small_shards")

HOLD = """
append = files.append
def hold(descriptor, parts):
    print("holding", flush=True)
    sys.stdin.readline()
    files.append = append
    return append(descriptor, parts)
files.append = hold
convert_mouse(sys.argv[1], sys.argv[2], workers=1)
"""


RACE = """
from trialpack.store import StoreBusyError, StoreExistsError
print("ready", flush=True)
sys.stdin.readline()
try:
    convert_mouse(sys.argv[1], sys.argv[2], workers=1)
except (StoreBusyError, StoreExistsError) as error:
    print(type(error).__name__)
else:
    print("won")
"""


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


def test_of_two_conversions_one_wins(child: Child, recording: Path, tmp_path: Path, reference: Digests) -> None:
    outcomes = list[str]()
    for number in range(3):
        destination = tmp_path / str(number) / f"{recording.name}.zarr"
        processes = [child(RACE, recording, destination.parent) for _ in range(2)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        found = [process.communicate(timeout=60)[0].strip() for process in processes]
        assert sorted(found)[1] == "won" and sorted(found)[0] in ("StoreBusyError", "StoreExistsError")
        outcomes += found
        assert digests(destination) == reference
        assert beside(destination) == [destination.name]
    assert outcomes.count("won") == 3


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

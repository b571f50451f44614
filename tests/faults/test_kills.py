"""Killed conversions leave nothing, or a complete store; the same command goes on from there."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from trialpack.convert import unit
from trialpack.store import publish
from trialpack.store.publish import Stage

from .conversions import (
    Child,
    Faults,
    Scene,
    finish_child,
    finished_shards,
    interrupt,
    kept_shards,
    noting,
    publish_unchecked,
    start_slow,
)
from .promises import Tally

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("small_shards")]

Scenes = Callable[[str], Scene]
Size = Callable[[int, int], int]

WORKERS = (1, 2, 4)


# Somebody who looks all the while


WATCH = """
import hashlib, json, os, queue, threading
import numpy as np, zarr
from trialpack.readers import open_mouse

OPEN = {"trialpack": open_mouse, "plain zarr": lambda path: zarr.open_group(path, mode="r")}
VARIABLES = ("videos", "responses", "behavior", "pupil_center")

def read(path, writer):
    store, digest = OPEN[writer](path), hashlib.sha256()
    for name in VARIABLES:
        digest.update(np.ascontiguousarray(store[name][...]).tobytes())
    return digest.hexdigest()

def look(path, writer):
    try:
        before = os.stat(path).st_ino
    except FileNotFoundError:
        return "nothing"
    try:
        return read(path, writer)
    except Exception as error:
        # What was opened may be replaced meanwhile; that is told, and looking again finds the new one.
        replaced = os.stat(path).st_ino != before
        return look(path, writer) if replaced else f"{type(error).__name__}: {error}"

def watch(path, writer):
    seen, last = {look(path, writer)}, False
    print("watching", flush=True)
    while not last:
        last = not commands.empty()
        seen.add(found := look(path, writer))
        time.sleep(0.001 if found == "nothing" else 0.01)
    commands.get()
    print(json.dumps(sorted(seen)), flush=True)

commands = queue.SimpleQueue()
threading.Thread(target=lambda: [commands.put(line.strip()) for line in sys.stdin], daemon=True).start()
while command := commands.get():
    watch(*json.loads(command))
"""


@dataclass
class Watcher:
    """A process that opens and reads what has a name, again and again.

    It sees ``nothing``, an error, or the digest of all values.
    """

    process: subprocess.Popen[str]

    def begin(self, path: Path, writer: str = "trialpack") -> None:
        """Return when it has looked for the first time."""
        self._say(json.dumps([str(path), writer]))
        assert self._hear() == "watching"

    def end(self) -> set[str]:
        """Look once more, and return all that was seen since the beginning."""
        self._say("end")
        return set(json.loads(self._hear()))

    def look(self, path: Path, writer: str = "trialpack") -> str:
        self.begin(path, writer)
        (seen,) = self.end()
        return seen

    def _hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()


@pytest.fixture
def watcher(child: Child) -> Watcher:
    return Watcher(child(WATCH))


# Kills


def kill(process: subprocess.Popen[str], delay: float = 0) -> bool:
    """Kill a process, with all that it started, after a while; tell whether that was before its end."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    code, stderr = finish_child(process)
    assert code in (0, -signal.SIGKILL), stderr
    return code != 0


class Delays:
    """Moments at which to kill, spread evenly over a run that was timed."""

    def __init__(self, seconds: float, kills: int, seed: int) -> None:
        self._seconds, self._kills, self._rng = seconds, kills, np.random.default_rng(seed)

    def __iter__(self) -> Iterator[float]:
        for number in range(self._kills):
            yield self._seconds * (number + float(self._rng.random())) / self._kills

    def heed(self, seconds: float) -> None:
        """Spread the rest over less, if the machine got faster since."""
        self._seconds = min(self._seconds, seconds)


@pytest.mark.promise(1)
@pytest.mark.promise(2)
@pytest.mark.parametrize(("seed", "name"), [(0, "new"), (1, "new"), (2, "replace")])
def test_a_killed_conversion_leaves_nothing_or_a_complete_store_and_the_same_command_goes_on(
    child: Child, scenes: Scenes, watcher: Watcher, tallies: tuple[Tally, Tally], size: Size, seed: int, name: str
) -> None:
    visible, resumed = tallies
    scene, kills = scenes(name), size(*{"new": (7, 70), "replace": (6, 60)}[name])

    def start(workers: int) -> subprocess.Popen[str]:
        return start_slow(child, scene.source, scene.destination, workers, replace=scene.original is not None)

    scene.prepare()
    process, begun = start(WORKERS[0]), time.perf_counter()
    code, stderr = finish_child(process)
    assert code == 0, stderr
    delays = Delays(time.perf_counter() - begun, kills, seed)
    complete = watcher.look(scene.destination)
    expected = {complete} if scene.original else {"nothing", complete}
    landed = finished = kept = 0
    for number, delay in enumerate(itertools.chain(delays, delays, delays)):
        # Once more, where a busy machine let no kill come after a shard was finished.
        if number >= kills and finished:
            break
        scene.prepare()
        watcher.begin(scene.destination)
        process, begun = start(WORKERS[number % len(WORKERS)]), time.perf_counter()
        visible.inject()
        if kill(process, delay):
            landed += 1
        else:
            delays.heed(time.perf_counter() - begun)
        with noting(f"kill {number} after {delay:.3f} s"):
            scene.check()
            if scene.found() != scene.final:
                resumed.inject()
                before = finished_shards(scene.destination)
                scene.resume()
                finished, kept = finished + len(before), kept + kept_shards(scene.destination, before)
                resumed.survive()
            seen = watcher.end()
            assert complete in seen and seen <= expected, seen
            visible.survive()
    assert landed >= kills / 2
    assert finished > 0 and kept >= 0.9 * finished


@pytest.mark.promise(1)
@pytest.mark.promise(2)
def test_killed_again_and_again(
    child: Child, scenes: Scenes, watcher: Watcher, tallies: tuple[Tally, Tally], size: Size
) -> None:
    """Each run goes on from where the last one was killed, and is killed a little later."""
    visible, resumed = tallies
    scene = scenes("new")
    for _ in range(size(1, 8)):
        scene.prepare()
        watcher.begin(scene.destination)
        before = dict[str, tuple[int, int]]()
        for number in range(4):
            process = start_slow(child, scene.source, scene.destination, 2)
            visible.inject()
            kill(process, 0.05 + 0.05 * number)
            scene.check()
            visible.survive()
            if scene.destination.exists():
                break
            resumed.inject()
            after = finished_shards(scene.destination)
            # What the runs before finished is still there, untouched.
            assert before.items() <= after.items()
            before = after
            resumed.survive()
        scene.resume()
        assert "nothing" in (seen := watcher.end()) and len(seen) == 2, seen


# Controls


PLAIN = """
import numpy as np, zarr
store = zarr.open_group(sys.argv[2], mode="w")
source = zarr.open_group(sys.argv[1], mode="r")
arrays = {name: source[name][...] for name in ("videos", "responses", "behavior", "pupil_center")}
for name, array in arrays.items():
    store.create_array(name, shape=array.shape, chunks=(1, *array.shape[1:]), dtype=array.dtype, fill_value=0)
for trial in range(12):
    for name, array in arrays.items():
        store[name][trial] = array[trial]
    print(trial, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.promise(1)
def test_kills_of_a_plain_writer_are_noticed(
    child: Child, scenes: Scenes, watcher: Watcher, tally: Tally, size: Size
) -> None:
    """A loop over trials that writes with zarr-python: its store opens, and lacks the rest of its trials."""
    scene, rng = scenes("replace"), np.random.default_rng(3)
    assert scene.original is not None
    complete = watcher.look(scene.original)
    plain = scene.destination
    for trials in (12, *rng.integers(1, 12, size(3, 20)).tolist()):
        shutil.rmtree(plain.parent, ignore_errors=True)
        process = child(PLAIN, scene.original, plain)
        assert process.stdin is not None and process.stdout is not None
        for trial in range(trials):
            assert process.stdout.readline() == f"{trial}\n"
            if trial + 1 < trials:
                process.stdin.write("\n")
                process.stdin.flush()
        kill(process)
        found = watcher.look(plain, "plain zarr")
        assert (found == complete) == (trials == 12), f"killed after {trials} trials"
        if found != complete:
            tally.notice()


@pytest.mark.promise(2)
def test_work_that_is_done_again_is_noticed(
    scenes: Scenes, faults: Faults, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a conversion that looks at no journal."""
    scene = scenes("new")
    scene.prepare()
    interrupt(faults, scene.source, scene.destination)
    finished = finished_shards(scene.destination)
    assert len(finished) == 8
    monkeypatch.setattr(unit, "recorded_unit", lambda *_: None)
    scene.resume()
    assert kept_shards(scene.destination, finished) == 0
    tally.notice()


@pytest.mark.promise(2)
def test_a_half_written_shard_that_is_believed_is_noticed(
    scenes: Scenes, faults: Faults, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a conversion that goes by the names of files, and verifies nothing."""
    scene = scenes("new")
    scene = Scene(**{**vars(scene), "options": {"verify": False}})
    monkeypatch.setattr(publish, "_matches", lambda path, record: path.exists())
    publish_unchecked(monkeypatch)
    for cut in (1, 100, 1000):
        scene.prepare()
        interrupt(faults, scene.source, scene.destination)
        shard = Stage(scene.destination).root / "videos" / "c.1.0.0.0"
        os.truncate(shard, shard.stat().st_size - cut)
        with pytest.raises(AssertionError, match="another"):
            scene.resume()
        tally.notice()

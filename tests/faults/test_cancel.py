"""An interrupt ends everything within five seconds, at any moment: processes, threads, shared memory, half a file."""

import contextlib
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.store import StoreExistsError
from trialpack.store.publish import Stage

from .conversions import Digests, convert, digests
from .forks import COMMAND, PRIVATE, QUICKLY, Fork, ForkServer, fork_server, is_private
from .promises import Tally

pytestmark = [pytest.mark.once, pytest.mark.usefixtures("small_shards"), pytest.mark.promise(17)]

SECONDS = 5.0
SHARED = Path("/dev/shm")
Size = Callable[[int, int], int]

READY = """
main = sys.modules["trialpack.cli.main"]
commands, ready = main.commands, sys.argv.pop(1)
def begin(**options):
    open(ready, "w").close()
    try:
        return commands(**options)
    finally:
        open(f"{ready}.ended", "w").close()
main.commands = begin
"""
"""Say when the command begins, which is when handlers of signals are there, and when it has ended."""

SLOW_WRITES = """
def slow(descriptor):
    time.sleep(0.002)
files.sync = slow
"""

SLOW_READS = """
rows = sys.modules["trialpack.readers.rows"]
reader = rows.ShardReader
def slow(*arguments):
    time.sleep(0.01)
    return reader(*arguments)
rows.ShardReader = slow
def slow_sync(descriptor):
    time.sleep(0.05)
files.sync = slow_sync
"""

STREAM = """
import sys
from trialpack.readers import TrialLoader, open_mouse
ready, store = sys.argv[1:]
loader = TrialLoader(open_mouse(store), tier=None, batch_size=2, output="numpy", threads=2, shuffle=True, cache="none")
open(ready, "w").close()
for _ in range(30):
    for batch in loader:
        pass
"""
"""Training, as anybody writes it."""

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: None)
signal.signal(signal.SIGTERM, lambda *_: None)
open(sys.argv[1], "w").close()
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen(["sleep", "60"])
open(sys.argv[1], "w").close()
time.sleep(60)
"""
SHARING = """
import os, signal, sys, time
signal.signal(signal.SIGINT, lambda *_: os._exit(130))
signal.signal(signal.SIGTERM, lambda *_: os._exit(130))
os.close(os.open(f"/dev/shm/left-by-{os.getpid()}", os.O_CREAT))
open(sys.argv[1], "w").close()
time.sleep(60)
"""
TALKING = """
import sys, time
open(sys.argv[1], "w").close()
time.sleep(60)
"""


@dataclass(frozen=True)
class Case:
    """Something that runs and is interrupted.

    Attributes
    ----------
    code, arguments
        What it runs.
    statuses
        Of the process, by signal, when it was interrupted.
    is_command
        Whether it is the command line, which says so in one line.
    """

    code: str
    arguments: tuple[object, ...]
    statuses: dict[int, int] = field(default_factory=lambda: {signal.SIGINT: 130, signal.SIGTERM: 130})
    is_command: bool = True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[ForkServer]:
    """Where it may be, with shared memory that no other process of this machine uses."""
    private = is_private()
    assert private or not request.config.getoption("--torture"), "shared memory of its own is refused here"
    with fork_server(tmp_path_factory.mktemp("forks"), *(PRIVATE if private else ())) as server:
        if private:
            server.ask("run", "mount", "-t", "tmpfs", "tmpfs", str(SHARED))
        yield server


class Cancelled:
    """Interrupts a case at moments of its time, which is measured by default."""

    def __init__(
        self, server: ForkServer, case: Case, folder: Path, *, duration: float = 0, seconds: float = SECONDS
    ) -> None:
        self._server, self._case, self._folder, self._seconds = server, case, folder, seconds
        self._private = not server.ask("listing", str(SHARED))
        self.duration = duration or self._measured()

    def _measured(self) -> float:
        fork, begun = self.start()
        assert fork.wait() == 0, fork.said
        return time.monotonic() - begun

    def start(self) -> tuple[Fork, float]:
        """Start it and return when it has begun."""
        ready = self._folder / "ready"
        ready.unlink(missing_ok=True)
        self._ended.unlink(missing_ok=True)
        fork = self._server.start(self._case.code, ready, *self._case.arguments)
        while not ready.exists():
            assert fork.wait(0.001) is None, fork.said
        return fork, time.monotonic()

    def interrupt(self, number: int, share: float) -> tuple[bool, str]:
        """Interrupt it after a share of its time; return whether that came before its end, and what is wrong."""
        fork, begun = self.start()
        self._last = fork
        time.sleep(max(0, begun + share * self.duration - time.monotonic()))
        fork.signal(number)
        sent = time.monotonic()
        status = fork.wait(self._seconds)
        if status is None:
            fork.signal(signal.SIGKILL)
            fork.wait()
            return True, f"still there {self._seconds} seconds after the signal"
        took = time.monotonic() - sent
        if status == 0 or self._ended.exists():
            # Those to come come earlier: the machine is faster than it was.
            self.duration = min(self.duration, sent - begun)
            # While Python shuts down there are no handlers any more.
            return False, "" if status in (0, self._case.statuses[number], -number) else f"exit status {status}"
        return True, self._wrong(fork, number, status, took)

    @property
    def _ended(self) -> Path:
        return self._folder / "ready.ended"

    @property
    def said(self) -> str:
        """All that the last one said."""
        return self._last.said

    def _wrong(self, fork: Fork, number: int, status: int, took: float) -> str:
        case = self._case
        if took >= self._seconds:
            return f"took {took} seconds"
        if status != case.statuses[number]:
            return f"exit status {status}: {fork.said}"
        if alive := fork.alive:
            return f"left processes {alive}"
        if self._private and (left := self._server.ask("listing", str(SHARED))):
            return f"left shared memory {left}"
        complaints = [line for line in fork.said.splitlines() if line.startswith(("trialpack", "Traceback"))]
        if case.is_command and (len(complaints) != 1 or not complaints[0].startswith("trialpack: interrupted")):
            return f"said {fork.said}"
        return ""


def shares(count: int, seed: int) -> list[float]:
    """Return moments, spread evenly over the time and a little more, in any order."""
    rng = np.random.default_rng(seed)
    return (rng.permutation(count) / count + rng.random(count) / count).tolist()


def interrupt_often(
    tally: Tally, cancelled: Cancelled, count: int, prepare: Callable[[], object], check: Callable[[], object]
) -> None:
    """Interrupt at so many moments before the end, by both signals in turn, and see each time what is left."""
    seed, landed = count, 0
    for number, share in enumerate(shares(4 * count, seed)):
        prepare()
        signal_number = (signal.SIGINT, signal.SIGTERM)[number % 2]
        tally.inject()
        before, wrong = cancelled.interrupt(signal_number, share)
        assert not wrong, (signal_number, share, wrong)
        check()
        tally.survive()
        landed += before
        if landed == count:
            return
    raise AssertionError(f"only {landed} interrupts came before the end")


@pytest.fixture
def store(recording: Path, tmp_path: Path) -> Path:
    return convert(recording, tmp_path / "read" / f"{recording.name}.zarr")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_conversion_ends_and_goes_on(
    tally: Tally, size: Size, server: ForkServer, recording: Path, destination: Path, reference: Digests, workers: int
) -> None:
    arguments = ("convert", recording, "--to", destination.parent, "--workers", workers)
    case = Case(QUICKLY + SLOW_WRITES + READY + COMMAND, arguments)
    stage, cancelled = Stage(destination), Cancelled(server, case, destination.parents[1])
    # A lock that nobody holds is no lock.
    allowed = {stage.root, stage.journal, stage.lock}

    def check() -> None:
        left = set(destination.parent.iterdir())
        assert left <= allowed | {destination}
        assert destination not in left or digests(destination) == reference
        # Interrupted when it had been published, it may have left some of that; the same command tidies up.
        with pytest.raises(StoreExistsError) if destination in left else contextlib.nullcontext():
            convert(recording, destination)
        assert digests(destination) == reference
        assert list(destination.parent.iterdir()) == [destination]

    def prepare() -> None:
        shutil.rmtree(destination.parent)
        destination.parent.mkdir()

    interrupt_often(tally, cancelled, size(2, 34), prepare, check)


def test_interrupted_statistics_end_and_the_same_command_makes_them(
    tally: Tally, size: Size, server: ForkServer, store: Path, tmp_path: Path
) -> None:
    output = tmp_path / "made" / "statistics.npz"
    output.parent.mkdir()
    case = Case(QUICKLY + SLOW_READS + READY + COMMAND, ("stats", store, "--tier", "oracle", "-o", output))
    cancelled = Cancelled(server, case, tmp_path)
    expected = dict(np.load(output))

    def check() -> None:
        assert set(output.parent.iterdir()) <= {output}
        if not output.exists():
            fork, _ = cancelled.start()
            assert fork.wait() == 0, fork.said
        assert_equal(dict(np.load(output)), expected)

    interrupt_often(tally, cancelled, size(2, 34), lambda: output.unlink(missing_ok=True), check)


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)


def test_an_interrupted_stream_ends(tally: Tally, size: Size, server: ForkServer, store: Path, tmp_path: Path) -> None:
    """As Python programs do: with one traceback, or without a word."""
    case = Case(STREAM, (store,), {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: -signal.SIGTERM}, is_command=False)
    cancelled = Cancelled(server, case, tmp_path)
    before = digests(store)

    def check() -> None:
        assert cancelled.said.count("Traceback") <= 1, cancelled.said
        assert not re.search("Exception ignored|cannot schedule", cancelled.said), cancelled.said
        assert digests(store) == before

    interrupt_often(tally, cancelled, size(2, 34), lambda: None, check)


CONTROLS = {
    "ignores it": (STUBBORN, "still there"),
    "leaves a process": (PARENT, "left processes"),
    "leaves shared memory": (SHARING, "left shared memory"),
    "is a plain script": (TALKING, "exit status"),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_control_what_is_not_ended_is_noticed(
    tally: Tally, size: Size, server: ForkServer, tmp_path: Path, name: str
) -> None:
    code, expected = CONTROLS[name]
    if name == "leaves shared memory" and not is_private():
        pytest.skip("the shared memory of other processes cannot be told from that of the tests")
    statuses = {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: -signal.SIGTERM}
    case = Case(code, (), statuses if name == "leaves a process" else {signal.SIGINT: 130, signal.SIGTERM: 130}, False)
    for number in (signal.SIGINT, signal.SIGTERM) * size(1, 3):
        cancelled = Cancelled(
            server, case, tmp_path, duration=0.1, seconds=SECONDS if expected != "still there" else 0.5
        )
        _, wrong = cancelled.interrupt(number, 0.5)
        assert wrong.startswith(expected), wrong
        tally.notice()
        server.end()
        server.ask("run", "find", str(SHARED), "-name", "left-by-*", "-delete")

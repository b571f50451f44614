"""Threads of a loader: none is left behind, none is waited for in a fork, and errors in them reach who iterates."""

import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from trialpack.convert.sample import write_sample
from trialpack.readers import Mouse, TrialLoader, open_mouse
from trialpack.readers.direct import StreamedVariable
from trialpack.readers.streaming.buffers import BufferPool
from trialpack.store import CorruptStoreError

from .streams import Recorded, assert_batch, flip, pack

TIMES = 50
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")


@pytest.fixture(scope="module")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> Mouse:
    place = tmp_path_factory.mktemp("mice")
    folder = write_sample(place / "source", mouse="A", trials=12, neurons=20, image_shape=(4, 6))
    return pack(folder, place / "stores", "shared chunks")


@pytest.fixture(scope="module")
def recorded(mouse: Mouse) -> Recorded:
    return Recorded(mouse)


@pytest.fixture(params=["numpy", "torch"])
def output(request: pytest.FixtureRequest) -> str:
    if request.param == "torch":
        pytest.importorskip("torch", reason="torch is not installed")
    return request.param


@pytest.fixture(autouse=True)
def before() -> Iterator[set[threading.Thread]]:
    """Threads that were there; after the test there are no others."""
    known = set(threading.enumerate())
    yield known
    assert not set(threading.enumerate()) - known


def load(mouse: Mouse, **options: Any) -> TrialLoader:
    chosen = {"tier": None, "batch_size": 2, "output": "numpy", "threads": 3, "window": 40, "cache": "none"} | options
    return TrialLoader(mouse, **chosen)


class LeaveError(Exception):
    pass


# Leaving early


def by_break(loader: TrialLoader) -> None:
    for _ in loader:
        break


def by_break_at_the_end(loader: TrialLoader) -> None:
    for number, _ in enumerate(loader, 1):
        if number == len(loader):
            break


def by_exception(loader: TrialLoader) -> None:
    try:
        for _ in loader:
            raise LeaveError
    except LeaveError:
        pass


def by_del(loader: TrialLoader) -> None:
    iterator = iter(loader)
    next(iterator)
    del iterator


def by_close(loader: TrialLoader) -> None:
    iterator: Any = iter(loader)
    next(iterator)
    iterator.close()
    assert list(iterator) == []


def by_not_beginning(loader: TrialLoader) -> None:
    iter(loader)


def by_return(loader: TrialLoader) -> None:
    def first() -> Any:
        for batch in loader:
            return batch["responses"][0]

    assert len(first()) == 20


def by_exhausting(loader: TrialLoader) -> None:
    iterator = iter(loader)
    assert sum(1 for _ in iterator) == len(loader)
    assert next(iterator, None) is None


@pytest.mark.parametrize(
    "leave",
    [by_break, by_break_at_the_end, by_exception, by_del, by_close, by_not_beginning, by_return, by_exhausting],
)
def test_leaving_leaves_no_thread(mouse: Mouse, output: Any, before: set[threading.Thread], leave: Any) -> None:
    """At once, whenever it is done, also while batches are being read."""
    loader = load(mouse, output=output, batch_size=1, windows="random", variables="responses")
    for _ in range(TIMES):
        leave(loader)
        assert set(threading.enumerate()) == before


@pytest.mark.parametrize("leave", [by_break, by_close, by_exception])
def test_after_leaving_the_next_epoch_is_right(mouse: Mouse, recorded: Recorded, leave: Any) -> None:
    for cache in ("auto", "none"):
        loader = load(mouse, cache=cache, shuffle=True)
        for _ in range(5):
            leave(loader)
            for batch in loader:
                assert_batch(batch, recorded)


def test_a_loader_that_is_gone_leaves_its_iterator_alive(mouse: Mouse, recorded: Recorded) -> None:
    iterator = iter(load(mouse))
    gc.collect()
    batches = list(iterator)
    assert batches
    for batch in batches:
        assert_batch(batch, recorded)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_no_more_threads_than_asked_for(mouse: Mouse, before: set[threading.Thread], threads: int) -> None:
    for _ in load(mouse, threads=threads):
        assert 1 <= len(set(threading.enumerate()) - before) <= threads


def test_no_thread_before_the_first_batch_is_asked_for(mouse: Mouse, before: set[threading.Thread]) -> None:
    """A loader that is not iterated, or whose iterator was not begun, costs nothing."""
    loader = load(mouse)
    iterator = iter(loader)
    assert set(threading.enumerate()) == before
    next(iterator)
    assert set(threading.enumerate()) > before


# Errors


@pytest.mark.parametrize("error", [RuntimeError("no"), MemoryError("none left"), OSError(5, "broken"), KeyError("x")])
def test_an_error_in_a_thread_reaches_who_iterates(
    mouse: Mouse, before: set[threading.Thread], monkeypatch: pytest.MonkeyPatch, error: Exception, output: Any
) -> None:
    """As it is, in the place of the batch that it was for; and it ends all threads."""
    read, bad = StreamedVariable.read, mouse.rows()[6]

    def fail(self: StreamedVariable, rows: Any, *arguments: Any) -> None:
        if bad in rows:
            raise error
        read(self, rows, *arguments)

    loader = load(mouse, variables="responses", output=output, batch_size=1, window=None)
    for _ in range(10):
        came = list[int]()
        with monkeypatch.context() as patch:
            patch.setattr(StreamedVariable, "read", fail)
            with pytest.raises(type(error)) as raised:
                for batch in loader:
                    came += batch["trial_id"].tolist()
        assert raised.value is error
        assert came == mouse.trials.index[:6].tolist()
        assert set(threading.enumerate()) == before
    # Once it works again, it works.
    assert len(list(loader)) == len(loader)


def test_damage_ends_all_threads(mouse: Mouse, before: set[threading.Thread], tmp_path: Path) -> None:
    store = shutil.copytree(mouse.path, tmp_path / mouse.path.name)
    loader = load(open_mouse(store))
    flip(store / "videos/c.1.0.0.0", 100)
    for _ in range(10):
        with pytest.raises(CorruptStoreError, match=r"videos/c\.1\.0\.0\.0: trial \d+: checksum differs"):
            list(loader)
        assert set(threading.enumerate()) == before


def test_an_iterator_is_over_after_an_error(mouse: Mouse, monkeypatch: pytest.MonkeyPatch) -> None:
    iterator = iter(load(mouse, batch_size=1))

    def fail(*_: Any) -> None:
        raise LeaveError

    with monkeypatch.context() as patch:
        patch.setattr(StreamedVariable, "read", fail)
        with pytest.raises(LeaveError):
            next(iterator)
    assert next(iterator, None) is None


def test_an_error_of_the_consumer_stays_what_it_is(mouse: Mouse, before: set[threading.Thread]) -> None:
    """Also while the threads have an error of their own to tell."""
    with pytest.raises(LeaveError) as raised:
        for _ in load(mouse):
            raise LeaveError
    assert raised.value.__cause__ is None and raised.value.__context__ is None
    assert set(threading.enumerate()) == before


def test_a_report_that_fails_leaves_no_thread(mouse: Mouse, before: set[threading.Thread]) -> None:
    def fail(_: str) -> None:
        raise LeaveError

    with pytest.raises(LeaveError):
        list(load(mouse, report=fail))
    assert set(threading.enumerate()) == before


# Several at once


@pytest.mark.parametrize("cache", ["auto", "none"])
def test_two_iterators_of_one_loader(mouse: Mouse, recorded: Recorded, cache: Any, output: Any) -> None:
    """Two epochs, in turns."""
    options: dict[str, Any] = {"cache": cache, "shuffle": True, "output": output}
    loader, other = load(mouse, **options), load(mouse, **options)
    expected = [[batch["trial_id"].tolist() for batch in other] for _ in range(2)]
    iterators, found = [iter(loader), iter(loader)], [list[Any](), list[Any]()]
    for pair in zip(*iterators, strict=True):
        for one, batch in zip(found, pair, strict=True):
            assert_batch(batch, recorded)
            one.append(batch["trial_id"].tolist())
    assert found == expected


@pytest.mark.parametrize("cache", ["auto", "none"])
def test_two_loaders_at_once(mouse: Mouse, recorded: Recorded, cache: Any) -> None:
    one, other = load(mouse, cache=cache, shuffle=True), load(mouse, cache=cache, neurons=[3, 4], window=None)
    for first, second in zip(one, other, strict=False):
        assert_batch(first, recorded)
        assert_batch(second, recorded, neurons=[3, 4])


@pytest.mark.parametrize("cache", ["auto", "none"])
def test_iterators_in_threads_of_the_consumer(mouse: Mouse, recorded: Recorded, cache: Any) -> None:
    """Four threads, each with epochs of its own of the same loader."""
    loader = load(mouse, cache=cache, shuffle=True)

    def consume(_: int) -> int:
        samples = 0
        for batch in loader:
            assert_batch(batch, recorded)
            samples += len(batch["trial_id"])
        return samples

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(consume, range(8)))
    assert counts == [len(recorded.ids)] * 8


def test_batches_that_die_in_other_threads(mouse: Mouse, recorded: Recorded) -> None:
    """Slots come back from any thread."""
    loader = load(mouse, batch_size=1, shuffle=True)
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            for done in [pool.submit(assert_batch, batch, recorded) for batch in loader]:
                done.result()


# Other processes


def run(code: str, *arguments: Any, timeout: int = 60) -> subprocess.CompletedProcess[str]:
    """Run a program; a hang is an error."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)


PRELUDE = """
import os, signal, sys, threading
from trialpack.readers import ForkedError, TrialLoader, open_mouse
mouse = open_mouse(sys.argv[1])
def make(**options):
    chosen = dict(tier=None, batch_size=1, output="numpy", threads=3, window=40, shuffle=True) | options
    return TrialLoader(mouse, **chosen)
def forked(task):
    "Run it in a fork, and return how that ended."
    pid = os.fork()
    if pid == 0:
        signal.alarm(15)
        try:
            task()
        except ForkedError as error:
            text = str(error)
            os._exit(7 if "num_workers=0" in text and "\\n" not in text and "used in its fork" in text else 8)
        except BaseException as error:
            print(type(error), error, file=sys.stderr, flush=True)
            os._exit(9)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
FORKS = {
    "a loader": ("loader = make()", "list(loader)", 7),
    "a loader that was used": ("loader = make(); list(loader)", "iter(loader)", 7),
    "a loader that is being used": ("loader = make(); iterator = iter(loader); next(iterator)", "list(loader)", 7),
    "an iterator that was begun": ("loader = make(); iterator = iter(loader); next(iterator)", "next(iterator)", 7),
    "an iterator that was not begun": ("iterator = iter(make())", "next(iterator)", 7),
    "an iterator whose epoch is read": (
        "loader = make(); iterator = iter(loader); [next(iterator) for _ in range(len(loader) - 1)]",
        "list(iterator)",
        7,
    ),
    "a loader of its own": ("loader = make(); iterator = iter(loader); next(iterator)", "assert len(list(make()))", 0),
    "one with other memory": (
        "iterator = iter(make(cache='none', memory='30MB')); next(iterator)",
        "list(iterator)",
        7,
    ),
    "what is left alone": ("loader = make(); iterator = iter(loader); next(iterator)", "pass", 0),
    "what is let go of": ("iterator = iter(make()); next(iterator)", "globals().pop('iterator')", 0),
}


@needs_fork
@pytest.mark.parametrize("case", FORKS)
def test_in_a_fork(mouse: Mouse, case: str) -> None:
    """Twenty times: the error says what to do, nothing hangs, and the process that was forked goes on."""
    setup, task, expected = FORKS[case]
    code = f"""
    {setup}
    def task():
        {task}
    found = [forked(task) for _ in range(20)]
    if "iterator" in globals():
        list(iterator)
    print(sorted(set(found)))
    """
    done = run(PRELUDE + textwrap.dedent(code), mouse.path)
    assert (done.returncode, done.stdout.strip()) == (0, f"[{expected}]"), done.stderr + done.stdout


@needs_fork
def test_a_fork_ends_as_usual(mouse: Mouse) -> None:
    """With all that Python does at the end of a process, while an iterator of its parent is half way through."""
    code = """
    import multiprocessing
    loader = make()
    iterator = iter(loader)
    next(iterator)
    def task():
        signal.alarm(20)
        try:
            next(iterator)
        except ForkedError:
            sys.exit(3)
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=task) for _ in range(10)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    print(sorted({child.exitcode for child in children}), len(list(iterator)) == len(loader) - 1)
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        sys.exit(4)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    done = run(PRELUDE + textwrap.dedent(code), mouse.path)
    assert (done.returncode, done.stdout.split("\n")[:2]) == (0, ["[3] True", "4"]), done.stderr + done.stdout


DATA_LOADER = """
import sys, warnings
from torch.utils.data import DataLoader
from trialpack.readers import TrialLoader, open_mouse
if __name__ == "__main__":
    loader = TrialLoader(open_mouse(sys.argv[1]), tier=None, batch_size=2, window=40, threads=2)
    for context in ("fork", "spawn"):
        options = dict(batch_size=None, num_workers=2, multiprocessing_context=context, timeout=100)
        wrapped = DataLoader(loader.dataset(), **options)
        try:
            batches = list(wrapped)
        except Exception as error:
            print("RAISED", context, type(error).__name__, str(error).replace("\\n", "|"))
        else:
            print("NOTHING RAISED", len(batches))
"""


@needs_fork
def test_workers_of_torch_fail_loudly(mouse: Mouse, tmp_path: Path) -> None:
    """With what to do instead, in words that can be read."""
    pytest.importorskip("torch", reason="torch is not installed")
    script = tmp_path / "script.py"
    script.write_text(DATA_LOADER)
    command = [sys.executable, str(script), str(mouse.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    lines = [line for line in done.stdout.splitlines() if "RAISED" in line]
    assert len(lines) == 2, done.stdout + done.stderr
    assert lines[0].startswith("RAISED fork ForkedError") or lines[0].startswith("RAISED fork RuntimeError"), lines[0]
    assert "with torch's DataLoader, num_workers=0 and batch_size=None" in lines[0], lines[0]
    assert lines[1].startswith("RAISED spawn OptionError") and "cannot be pickled" in lines[1], lines[1]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        pytest.param("iterator = iter(make()); next(iterator)", 0, id="half way through"),
        pytest.param("iterator = iter(make(memory='30MB')); batch = next(iterator)", 0, id="holding a batch"),
        pytest.param("kept = list(make())", 0, id="holding all batches"),
        pytest.param("iterator = iter(make()); next(iterator); sys.exit(5)", 5, id="by exit"),
        pytest.param("[1 / 0 for batch in make()]", 1, id="by an error"),
    ],
)
def test_a_process_ends_at_once(mouse: Mouse, code: str, status: int) -> None:
    """Whatever was left behind: nothing hangs, nothing is complained of."""
    done = run(PRELUDE + code, mouse.path)
    assert done.returncode == status
    if status == 1:
        assert done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
        assert "Exception ignored" not in done.stderr and done.stderr.count("Traceback") == 1
    else:
        assert done.stderr == ""


def test_an_interrupt_ends_it(mouse: Mouse) -> None:
    """Ctrl-C while batches are being read: one traceback, no hang."""
    code = """
    print("ready", flush=True)
    loader = make(cache="none")
    while True:
        for batch in loader:
            pass
    """
    command = [sys.executable, "-c", PRELUDE + textwrap.dedent(code), str(mouse.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        threading.Event().wait(0.4)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt"), errors
    assert not re.search("Exception ignored|cannot schedule", errors), errors


def test_a_slot_returns_without_running_python() -> None:
    """In a finalizer an interrupt would be printed and lost, and slots return all the time."""
    ring, called = BufferPool(64, 2), list[str]()
    slot = ring.take()
    ring.hand_out()
    view, address = slot[8:16], slot.ctypes.data

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            called.append(frame.f_code.co_name)

    sys.setprofile(note)
    del slot, view
    sys.setprofile(None)
    assert called == []
    assert ring.take().ctypes.data == address


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_slots_are_used_again_while_the_consumer_keeps_some(kept: int) -> None:
    """As one who compares each batch with the first: the memory of the others is not allocated for every batch."""
    made = list[int]()

    def allocate(nbytes: int) -> Any:
        made.append(nbytes)
        return np.zeros(nbytes, np.uint8)

    ring = BufferPool(64, 2, allocate)
    held, current, filling = list[Any](), None, ring.take()
    for step in range(100):
        following = filling
        ring.hand_out()
        filling = ring.take()
        current = following
        del following
        if step < kept:
            held.append(current)
    assert current is not None
    assert len(made) <= 2 * kept + 4


def test_no_more_slots_are_kept_than_the_ring_has() -> None:
    """Those in the consumer's hands are not counted; when they come back together, some are given to the system."""
    made = list[int]()

    def allocate(nbytes: int) -> Any:
        memory = np.zeros(nbytes, np.uint8)
        made.append(1)
        weakref.finalize(memory, made.pop)
        return memory

    ring = BufferPool(64, 3, allocate)
    held = [ring.take() for _ in range(8)]
    ring.hand_out(8)
    assert len(made) == 8
    held.clear()
    assert len(made) == 3
    held = [ring.take() for _ in range(5)]
    ring.hand_out(5)
    filling = [ring.take() for _ in range(2)]
    assert len(made) == 7
    held.clear()
    assert len(made) == 3
    filling.append(ring.take())
    assert len(made) == 3 == len(filling)

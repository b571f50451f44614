"""Running tasks: results in order, errors at once or all together, threads that end."""

import gc
import multiprocessing
import os
import threading
import time
import weakref
from functools import partial

import pytest
from trialpack.store import CorruptStoreError, Problem, SourceError
from trialpack.store.cluster import Cluster
from trialpack.store.tasks import HERE, Threads

EVERYWHERE = [HERE, Threads(1), Threads(3)]


def slow_square(number, delays=(0.05, 0.0, 0.02)):
    time.sleep(delays[number % len(delays)])
    return number * number


def fail(error):
    raise error


@pytest.mark.parametrize("workers", EVERYWHERE, ids=str)
def test_results_come_in_the_order_of_the_tasks(workers):
    finished = []
    assert workers.run([partial(slow_square, n) for n in range(7)], finished.append) == [n * n for n in range(7)]
    assert sorted(finished) == list(range(7))
    assert workers.run([]) == []


@pytest.mark.parametrize("workers", EVERYWHERE, ids=str)
def test_the_first_error_cancels_what_has_not_started(workers):
    started, ended = [], threading.Event()

    def work(number):
        started.append(number)
        ended.wait(5)
        time.sleep(0.02)  # by then the error is known, also on a busy machine

    def wrong():
        ended.set()
        raise KeyError("wrong")

    tasks = [wrong, *(partial(work, n) for n in range(100))]
    with pytest.raises(KeyError, match="wrong"):
        workers.run(tasks)
    assert len(started) < 100
    begun = len(started)
    time.sleep(0.05)
    assert len(started) == begun, "nothing runs any more"


@pytest.mark.parametrize("workers", EVERYWHERE, ids=str)
def test_problems_of_all_tasks_are_collected_in_order(workers):
    wrong = [
        SourceError([Problem("mouse", "late", trial=12), Problem("mouse", "early", trial=3)]),
        SourceError(Problem("mouse", "first", trial=1)),
    ]
    finished = []
    tasks = [partial(fail, wrong[0]), partial(slow_square, 4), partial(fail, wrong[1])]
    with pytest.raises(SourceError) as caught:
        workers.run_all(tasks, SourceError, finished.append)
    assert [problem.what for problem in caught.value.problems] == ["first", "early", "late"]
    assert sorted(finished) == [0, 1, 2]
    assert workers.run_all([partial(slow_square, n) for n in range(4)], SourceError) == [0, 1, 4, 9]


@pytest.mark.parametrize("workers", EVERYWHERE, ids=str)
def test_other_errors_are_not_collected(workers):
    tasks = [partial(fail, CorruptStoreError("damaged")), partial(slow_square, 1)]
    with pytest.raises(CorruptStoreError, match="damaged"):
        workers.run_all(tasks, SourceError)


def test_threads_have_the_name_and_end_with_the_run():
    def name():
        return threading.current_thread().name

    assert {one.rsplit("_", 1)[0] for one in Threads(2, "trialpack-try").run([name] * 9)} == {"trialpack-try"}
    assert HERE.run([name]) == [threading.current_thread().name]
    assert not [one for one in threading.enumerate() if one.name.startswith("trialpack-try")]


def test_an_error_does_not_keep_what_the_tasks_held():
    """Such as a gigabyte that is to be reduced: it is free as soon as nobody looks at the error."""

    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)
    gc.disable()
    try:
        with pytest.raises(ValueError, match="invalid literal"):
            Threads(2).run([partial(int, "wrong"), partial(id, held)])
        del held
        assert gone() is None
    finally:
        gc.enable()


def _run_in_child(queue):
    queue.put(Threads(2).run([partial(slow_square, n) for n in range(5)]))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_runs_tasks_after_its_parent_did():
    """A pool that stayed would have no threads in the child, which would wait for ever."""
    assert Threads(2).run([partial(slow_square, n) for n in range(5)]) == [0, 1, 4, 9, 16]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_run_in_child, args=(queue,))
    child.start()
    try:
        assert queue.get(timeout=30) == [0, 1, 4, 9, 16]
    finally:
        child.join(30)
    assert child.exitcode == 0


@pytest.mark.parametrize(("count", "parts"), [(0, 1), (1, 1), (2, 8), (3, 12)])
def test_a_range_is_split_into_parts_of_about_equal_size(count, parts):
    threads = Threads(count)
    assert threads.parts == parts
    for n in (1, 5, 100):
        found = threads.split(n)
        assert [place for some in found for place in range(n)[some]] == list(range(n))
        assert len(found) == min(n, parts)
        assert max(s.stop - s.start for s in found) - min(s.stop - s.start for s in found) <= 1


@pytest.mark.filterwarnings("default")
def test_a_cluster_runs_tasks_alike():
    distributed = pytest.importorskip("distributed")
    options = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(**options) as local, distributed.Client(local) as client:
        there = Cluster(client)
        assert there.most_threads == 2
        assert there.run([partial(slow_square, n) for n in range(5)]) == [0, 1, 4, 9, 16]
        with pytest.raises(SourceError, match="no trial 3"):
            there.run_all([partial(fail, SourceError("no trial 3")), partial(slow_square, 1)], SourceError)
        with pytest.raises(KeyError, match="wrong"):
            there.run([partial(fail, KeyError("wrong")), *[partial(slow_square, n) for n in range(9)]])


def test_started_threads_serve_several_runs_and_end_with_the_block() -> None:
    with Threads(2, "kept").started() as started:
        seen = {name for _ in range(3) for name in started.run([lambda: threading.current_thread().name] * 6)}
        assert len(seen) <= 2 and started.parts == Threads(2).parts
        with pytest.raises(ZeroDivisionError):
            started.run([lambda: 1 // 0])
        assert started.run([lambda: 5]) == [5]
    assert not [one for one in threading.enumerate() if one.name.startswith("kept")]
    with HERE.started() as here:
        assert here.run([threading.current_thread]) == [threading.current_thread()]

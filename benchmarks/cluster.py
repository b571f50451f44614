"""Two workers of a cluster against one, and what one takes of processor and disk for each gigabyte of source.

Two mice are converted in one queue, as the command does it; their stores are verified in one queue; the statistics
of one are computed. Workers are processes of one thread on this machine; the scheduler and the process that waits for
them have the same cores, so on two of them two workers cannot be twice as fast. A ratio above 1 is faster than one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from trialpack import convert_mouse, open_mouse, train_statistics, verify_mouse
from trialpack.store.tasks import Threads

from . import data
from .measure import Case, interleave
from .report import COMPARED, Column, Table, compared

MICE = ("A", "B")
WORKERS = {"one worker": 1, "two workers": 2}
_TAKEN = (
    Column("what", "what"),
    Column("core s a GB", "core_seconds", ".2f"),
    Column("bytes read a byte", "read", ".2f"),
    Column("bytes written a byte", "written", ".2f"),
)
_NOTE = "best s, median s: seconds of one call, os.sync included. ratio: seconds of one worker over seconds."
_TAKEN_NOTE = "The process of the one worker, for each byte of the source; what comes from the page cache is read, too."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="counted repetitions (%(default)s)")
    parser.add_argument("--trials", type=int, default=24, metavar="N", help="trials of each mouse (%(default)s)")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return a table for each of the three, and one of what a worker takes."""
    from distributed import Client, LocalCluster

    trials, neurons = (6, 500) if options.quick else (options.trials, data.NEURONS)
    repeats = 1 if options.quick else options.repeats
    trees = [data.recording(options.data, mouse, trials, neurons, train=True) for mouse in MICE]
    sizes = {"trials": trials, "neurons": neurons, "mb": sum(map(data.npy_bytes, trees)) / 1e6}
    with tempfile.TemporaryDirectory(dir=options.data) as folder, ExitStack() as stack:
        clients, processes = dict[str, Any](), dict[str, list[psutil.Process]]()
        for name, count in WORKERS.items():
            own = {"n_workers": count, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": ":0"}
            address = stack.enter_context(LocalCluster(**own)).scheduler_address
            client = stack.enter_context(Client(address, set_as_default=False))
            clients[name] = client
            processes[name] = [psutil.Process(pid) for pid in client.run(_pid).values()]
        stores = [convert_mouse(tree, Path(folder) / "stores").store for tree in trees]
        works: dict[str, Callable[[Any, Path], object]] = {
            "conversion of two mice": partial(_convert, trees),
            "verification of two stores": partial(_verify, stores),
            "statistics": partial(_summarize, stores[0]),
        }
        tables, taken = list[Table](), list[dict[str, Any]]()
        for what, work in works.items():
            cases = [Case(name, partial(work, client)) for name, client in clients.items()]
            rows = compared(interleave(cases, repeats, Path(folder)), "one worker")
            tables.append(Table(f"On a cluster: {what}", COMPARED, rows, (_NOTE,), what.split()[0], sizes))
            before = _used(processes["one worker"])
            work(clients["one worker"], Path(folder) / "counted")
            after = _used(processes["one worker"])
            nbytes = sizes["mb"] * 1e6 / (2 if what == "statistics" else 1)
            cores, read, written = ((late - early) / nbytes for late, early in zip(after, before, strict=True))
            taken.append({"what": what, "core_seconds": cores * 1e9, "read": read, "written": written})
    return [*tables, Table("What one worker takes", _TAKEN, taken, (_TAKEN_NOTE,), "taken", sizes)]


def _pid() -> int:
    import os

    return os.getpid()


def _used(processes: Sequence[psutil.Process]) -> tuple[float, float, float]:
    """Return the seconds of processor, and the bytes read and written, of some processes."""
    times, counts = [one.cpu_times() for one in processes], [one.io_counters() for one in processes]
    seconds = sum(one.user + one.system for one in times)
    return seconds, sum(one.read_chars for one in counts), sum(one.write_chars for one in counts)


def _convert(trees: Sequence[Path], client: Any, output: Path) -> None:
    Threads(len(trees)).run([partial(convert_mouse, tree, output, scheduler=client) for tree in trees])


def _verify(stores: Sequence[Path], client: Any, output: Path) -> None:
    Threads(len(stores)).run([partial(verify_mouse, store, scheduler=client) for store in stores])


def _summarize(store: Path, client: Any, output: Path) -> None:
    train_statistics(open_mouse(store), client=client)

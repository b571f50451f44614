"""How speed, memory and time grow: with threads, batches, windows, neurons, mice, trials, and with less page cache.

The stream is read as in `stream`, by trialpack as delivered and in C order, and by a plain torch Dataset over the .npy
files. Memory and time of conversion and statistics are of processes of their own, of 48 to 960 trials. The page cache
is limited by a control group, which takes the right to make one; without, that part is left out. The time that a thread
holds the interpreter is its time of the processor but for what it spends in calls that release it. What threads lose to
sharing one interpreter is what two processes of one thread are faster by.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import convert, data, reduction_peers
from .measure import peak_memory, remove
from .report import Column, Table, console
from .stream.cache import evict, files, nbytes
from .stream.control_group import ControlGroup
from .stream.entries import DEFAULT, IMAGES, NPY, OURS, OURS_BARE, STRIDES, VIV1T, WHOLE, WINDOWS, Entry
from .stream.processes import Worker
from .stream.sources import Source
from .stream.workloads import Task, Workload

OURS_NAME, C_NAME, PUBLIC_NAME = "trialpack", "trialpack, C order", "torch Dataset of .npy files"
MICE, MICE_NEURONS = "ABCDEFGH", 2000
PARTS = ("rates", "trials", "cache", "interpreter", "sharing")
CORES = (4, 16, 64)
MAX_MEMORY = 512 << 20
"""Bytes that a conversion or statistics may take: less than many trials."""
SPARE = 32 << 20
"""Bytes of a control group beside page cache and what a reader allocates."""

_RATES = (
    Column("what", "what"), Column("", "x", "d"), Column("best /s", "best", ".0f"), Column("median /s", "median", ".0f")
)  # fmt: skip
_TRIALS = (
    Column("what", "what"),
    Column("trials", "x", "d"),
    Column("s", "seconds", ".2f"),
    Column("peak MB", "peak_mb", ".0f"),
    Column("private MB", "private_mb", ".0f"),
)
_CACHE = (
    Column("what", "what"),
    Column("page cache, part of the files", "x", ".2f"),
    Column("best /s", "best", ".0f"),
    Column("median /s", "median", ".0f"),
)
_INTERPRETER = (
    Column("workload", "what"),
    Column("a thread, µs a sample", "thread_us", ".0f"),
    Column("of it holding the interpreter", "held_us", ".1f"),
    *(Column(f"at most /s, {cores} cores", f"cores_{cores}", ".0f") for cores in CORES),
    Column("GB/s, 64 cores", "rate", ".0f"),
)
_SHARING = (
    Column("workload", "what"),
    Column("1 thread, best /s", "one", ".0f"),
    Column("2 threads", "threads", ".0f"),
    Column("2 processes of 1 thread", "processes", ".0f"),
    Column("threads, of processes", "ratio", ".2f"),
)


@dataclass(frozen=True)
class Scale:
    """How much of everything is measured."""

    trials: int
    neurons: int
    static: int
    axes: Mapping[str, Sequence[int]]
    counts: Sequence[int]
    peer_counts: Sequence[int]
    shares: Sequence[float]
    least: float


FULL = Scale(
    48, data.NEURONS, 1536,
    {
        "threads": (1, 2, 4), "batch size": (2, 8, 32), "window": (10, 40, 160, 300), "neurons": (500, 2000, 8000),
        "mice": (1, 2, 4, 8),
    },
    (48, 240, 480, 960), (48, 240), (2.0, 0.5, 0.25), 0.15,
)  # fmt: skip
QUICK = Scale(
    16, 300, 300, {"threads": (1, 2), "neurons": (100, 300), "mice": (1, 2)}, (6, 12), (6,), (2.0, 0.5), 0.0
)  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="counted repetitions (%(default)s)")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be repeated")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return the tables of all parts."""
    scale, repeats = QUICK if options.quick else FULL, 1 if options.quick else options.repeats
    tables = list[Table]()
    with tempfile.TemporaryDirectory(dir=options.data) as folder, ExitStack() as stack:
        growth = Growth(options.data, Path(folder), scale, repeats, stack)
        for part in PARTS:
            if part in (options.only or PARTS):
                tables += getattr(growth, part)()
    return tables


@dataclass
class Growth:
    """Where readers run: one process a reader, which opens one recording after another."""

    folder: Path
    scratch: Path
    scale: Scale
    repeats: int
    stack: ExitStack
    sources: dict[tuple[str, int, int], Source] = field(default_factory=dict[tuple[str, int, int], Source])

    def rates(self) -> list[Table]:
        """Time the stream along every axis."""
        workers = {name: self.worker(entry) for name, entry, _ in _READERS}
        tables = list[Table]()
        for axis, values in self.scale.axes.items():
            if axis == "mice":  # another reader, and so another process
                workers[PUBLIC_NAME] = self.worker(replace(VIV1T, reader="public:ViV1TMice"))
            tables.append(self._axis(axis, values, workers))
        return tables

    def worker(self, entry: Entry) -> Worker:
        """Start the process of a reader."""
        task = self.source("A", self.scale.neurons).task(entry, WINDOWS)
        return self.stack.enter_context(Worker(entry, sys.executable, task))

    def source(self, mouse: str, neurons: int, trials: int | None = None) -> Source:
        """Return a recording, made once."""
        number = trials or (self.scale.static if mouse == "S0" else self.scale.trials)
        key = mouse, neurons, number
        if key not in self.sources:
            tree = data.recording(self.folder, mouse, number, neurons, train=True)
            place = self.scratch / f"{mouse}-{neurons}-{number}"
            place.mkdir()
            self.sources[key] = Source(tree, place)
        return self.sources[key]

    def _axis(self, axis: str, values: Sequence[int], workers: Mapping[str, Worker]) -> Table:
        rows = list[dict[str, Any]]()
        for value in values:
            for name, entry, contiguous in _READERS:
                task = self._task(axis, value, entry)
                workers[name].ask("open", task=task)
                rows.append({"what": name, "x": value, **self._rate(workers[name], contiguous)})
                console.print(f"  {axis} {value}: {name}  {rows[-1]['best']:.0f}/s", style="dim")
        neurons = min(MICE_NEURONS, self.scale.neurons) if axis == "mice" else self.scale.neurons
        sizes = {"batch": WINDOWS.batch, "window": WINDOWS.frames, "trials": self.scale.trials, "neurons": neurons}
        return Table(f"Rate against {axis}", _RATES, rows, (), axis, sizes)

    def _task(self, axis: str, value: int, entry: Entry) -> dict[str, Any]:
        """Return what a reader has to do at one point of an axis."""
        workload, options, neurons = WINDOWS, dict[str, Any](), self.scale.neurons
        if axis == "threads":
            options = {"workers": value} if entry.reads == NPY else {"threads": value}
        elif axis == "batch size":
            workload = replace(workload, batch=value)
        elif axis == "window":
            workload = replace(workload, frames=value)
        elif axis == "neurons":
            neurons = value
        elif axis == "mice":
            return self._mice(value, entry)
        return self.source("A", neurons).task(entry, workload, **options).as_json()

    def _mice(self, number: int, entry: Entry) -> dict[str, Any]:
        """Return the task of reading several mice: stores, or links to trees, in one folder."""
        neurons, trials = min(MICE_NEURONS, self.scale.neurons), self.scale.trials // 4
        chosen = [self.source(mouse, neurons, trials) for mouse in MICE[:number]]
        folder = self.scratch / f"{number}-{entry.reads}"
        if not folder.exists():
            folder.mkdir()
            for source in chosen:
                path = source.path(entry.reads)
                (folder / path.name).symlink_to(path)
        options = {"several": True} if entry.reads == DEFAULT else {}
        return replace(chosen[0].task(entry, WINDOWS, **options), path=str(folder)).as_json()

    def _rate(self, worker: Worker, contiguous: bool) -> dict[str, Any]:
        """Return samples a second, of one uncounted epoch and then as many repetitions as wanted."""
        worker.ask("make")
        return self._repeated(worker, contiguous)

    def _repeated(self, worker: Worker, contiguous: bool) -> dict[str, Any]:
        worker.ask("run", contiguous=contiguous)
        done = [worker.ask("run", least=self.scale.least, contiguous=contiguous) for _ in range(self.repeats)]
        return _rated([one["samples"] / one["seconds"] for one in done])

    def trials(self) -> list[Table]:
        """Watch conversion and statistics of more and more trials."""
        neurons = min(1000, self.scale.neurons)
        base = data.slim(self.folder, "A", min(48, max(self.scale.counts)), neurons=neurons, image_shape=(18, 32))
        conversion, reduced = list[dict[str, Any]](), list[dict[str, Any]]()
        for count in self.scale.counts:
            tree = data.linked(base, self.scratch / f"linked-{count}", count)
            made = self.scratch / "made"
            places = {"source": str(tree), "output": str(made)}
            if count in self.scale.peer_counts:
                conversion.append(_watched(convert, "watched_loop", convert.LOOP, count, **places))
                remove(made)
                reduced.append(_watched(reduction_peers, "public_pipeline", "public pipeline", count, tree=str(tree)))
            conversion.append(_watched(convert, "ours", OURS_NAME, count, **places, max_memory=MAX_MEMORY))
            (store,) = made.iterdir()
            reduced.append(_watched(reduction_peers, "ours", OURS_NAME, count, store=str(store), max_memory=MAX_MEMORY))
            remove(made)
            remove(tree)
        sizes = {
            "neurons": neurons,
            "least": min(self.scale.counts),
            "most": max(self.scale.counts),
            "max_memory_mb": MAX_MEMORY / 1e6,
            "mb_a_trial": data.npy_bytes(base / "data") / 1e6 / len(list((base / "data/videos").iterdir())),
        }
        notes = (
            "peak MB: resident bytes of the process tree at their peak, in a fresh process, imports included; private "
            "MB: files and shared memory left out. s: of the call alone, once.",
        )
        return [
            Table("Conversion against trials", _TRIALS, conversion, notes, "conversion", sizes),
            Table("Statistics against trials", _TRIALS, reduced, notes, "statistics", sizes),
        ]

    def cache(self) -> list[Table]:
        """Time the stream of whole trials while the page cache holds a part of the files."""
        rows, source = list[dict[str, Any]](), self.source("A", self.scale.neurons)
        entries = ((OURS_NAME, OURS), (f"{OURS_NAME}, uncompressed", OURS_BARE), (PUBLIC_NAME, VIV1T))
        for name, entry in entries if ControlGroup.possible() else ():
            options = {} if entry.reads == NPY else {"memory": "256MiB"}
            task = source.task(entry, WHOLE, **options)
            paths, total = files(Path(task.path)), nbytes(Path(task.path))
            for share in self.scale.shares:
                with Worker(entry, sys.executable, task) as worker:
                    need = _allocated(worker, task)
                    evict(paths)
                    with ControlGroup(need + int(share * total)) as group:
                        group.add(worker.process.pid)
                        found = self._repeated(worker, contiguous=False)
                rows.append({"what": name, "x": share, "mb": total / 1e6, "allocated_mb": need / 1e6, **found})
                console.print(f"  page cache of {share:g} of the files: {name}  {found['best']:.0f}/s", style="dim")
        sizes = {"trials": self.scale.trials, "neurons": self.scale.neurons}
        notes = () if rows else ("Not measured: there was no right to make a control group.",)
        return [Table("Rate against page cache", _CACHE, rows, notes, "cache", sizes)]

    def interpreter(self) -> list[Table]:
        """Take the time that one thread holds the interpreter, and what follows for many cores."""
        rows, worker = list[dict[str, Any]](), self.worker(OURS)
        for what, source, entry, workload in self._works():
            _open(worker, source.task(entry, workload, threads=1))
            done = [worker.ask("run", least=self.scale.least) for _ in range(self.repeats)]
            rows.append({"what": what, **_ceilings(done, source.sample_bytes(workload))})
        sizes = {"neurons": self.scale.neurons}
        return [Table("The interpreter", _INTERPRETER, rows, (), "interpreter", sizes)]

    def sharing(self) -> list[Table]:
        """Compare two threads with two processes, which share no interpreter, in turn."""
        groups = {"one": (1, [self.worker(OURS)]), "threads": (2, [self.worker(OURS)])}
        groups["processes"] = 1, [self.worker(OURS), self.worker(OURS)]
        rows = list[dict[str, Any]]()
        for what, source, entry, workload in self._works():
            rates = {name: list[float]() for name in groups}
            for threads, workers in groups.values():
                for worker in workers:
                    _open(worker, source.task(entry, workload, threads=threads))
            for _ in range(self.repeats):
                for name, (_, workers) in groups.items():
                    rates[name].append(_rate_together(workers, 2 * self.scale.least))
            best = {name: max(found) for name, found in rates.items()}
            console.print(f"  {what}: {', '.join(f'{name} {one:.0f}/s' for name, one in best.items())}", style="dim")
            rows.append({"what": what, **best, "ratio": best["threads"] / best["processes"], "rates": rates})
        sizes = {"trials": self.scale.trials, "neurons": self.scale.neurons}
        return [Table("Threads and processes", _SHARING, rows, (), "sharing", sizes)]

    def _works(self) -> Iterator[tuple[str, Source, Entry, Workload]]:
        for title, workload in _WORKS.items():
            source = self.source("S0" if workload is IMAGES else "A", self.scale.neurons)
            yield title, source, OURS, workload
            yield f"{title}, uncompressed", source, OURS_BARE, workload


_READERS: tuple[tuple[str, Entry, bool], ...] = (
    (OURS_NAME, OURS, False),
    (C_NAME, OURS.in_c_order(), not OURS.c_order),
    (PUBLIC_NAME, VIV1T, False),
)
"""Name, entry, and whether the consumer copies into C order."""


_WORKS = {
    "whole trials": WHOLE, "windows of 80 frames": WINDOWS, "16 frames, every second": STRIDES, "images": IMAGES
}  # fmt: skip


def _open(worker: Worker, task: Task) -> None:
    """Get a reader ready, and read an epoch that does not count."""
    worker.ask("open", task=task.as_json())
    worker.ask("make")
    worker.ask("run")


def _rate_together(workers: Sequence[Worker], least: float) -> float:
    """Return the samples a second of readers that run at the same time."""
    for worker in workers:
        worker.send("run", least=least)
    done = [worker.answer("run") for worker in workers]
    return sum(one["samples"] / one["seconds"] for one in done)


def _allocated(worker: Worker, task: Task) -> int:
    """Get a reader ready, and return the bytes that it allocates in an epoch beside what it holds already."""
    _open(worker, task)
    before = worker.private()
    return worker.watch("run")[0] - before + SPARE


def _rated(rates: Iterable[float]) -> dict[str, Any]:
    found = list(rates)
    return {"best": max(found), "median": statistics.median(found), "rates": found}


def _watched(module: Any, function: str, name: str, trials: int, **arguments: Any) -> dict[str, Any]:
    console.print(f"  {function}: {name}, {trials} trials", style="dim")
    memory = peak_memory(f"{module.__name__}:{function}", **arguments)
    private = memory.private and memory.private / 1e6
    return {
        "what": name,
        "x": trials,
        "seconds": memory.seconds,
        "peak_mb": memory.resident / 1e6,
        "private_mb": private,
    }


def _ceilings(done: Sequence[Mapping[str, float]], sample_bytes: int) -> dict[str, Any]:
    """Return what follows of the repetition with the longest hold.

    Notes
    -----
    Of one thread, a sample takes `thread` seconds of the processor, and `held` of them with the interpreter. On n cores
    there cannot be more than n / thread samples a second, nor more than 1 / held, for the interpreter is one.
    """
    worst = max(done, key=lambda one: (one["processor"] - one["released"]) / one["samples"])
    thread = worst["processor"] / worst["samples"]
    held = max(0.0, thread - worst["released"] / worst["samples"])  # calls took longer than their work: a busy machine
    at_most = {f"cores_{cores}": min(cores / thread, 1 / held if held else float("inf")) for cores in CORES}
    return {
        "thread_us": thread * 1e6, "held_us": held * 1e6, **at_most, "rate": at_most["cores_64"] * sample_bytes / 1e9,
        "repetitions": [{key: one[key] for key in ("processor", "released", "samples", "seconds")} for one in done],
    }  # fmt: skip

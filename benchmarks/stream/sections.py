"""The training stream against other ways to read the same trials: warm, cold, kept in memory; first batches; memory.

Every reader has a process of its own, delivers all four variables as float32 in batches, each trial once an epoch in
random order, and is compared with the published files before anything is timed. What is compared runs in turn, the
uncounted first round excepted. A ratio above 1 is faster than its base. Peers that another interpreter has take part
with --also. Takes half an hour, 9 GB of disk, and 20 GB of memory with the page cache.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import data
from ..report import Table, console
from . import tables
from .cache import evict, files, warm
from .entries import FIRST, OURS, OURS_BARE, SECTIONS, STRIDES, WHOLE, WINDOWS, Entry, Section
from .processes import Worker, interpreter_of
from .sources import Source
from .workloads import Workload

ALL = (*SECTIONS, "first", "memory")
EPOCHS = 10
"""Epochs during which memory is watched."""
LEFT = 0.01
"""The part of the files that may stay in the page cache and still be called cold."""
WATCHED = (
    ("whole trials", OURS, WHOLE, "1GiB", 1),
    ("whole trials", OURS, WHOLE, "512MiB", 1),
    ("whole trials", OURS_BARE, WHOLE, "512MiB", 1),
    ("whole trials, 4 batches held", OURS, WHOLE, "1GiB", 4),
    ("windows", OURS, WINDOWS, "512MiB", 1),
    ("strides", OURS, STRIDES, "512MiB", 1),
)
"""Workload, reader, `memory`, and how many batches the consumer holds."""


@dataclass(frozen=True)
class Scale:
    """How much of everything is measured.

    Attributes
    ----------
    least
        Seconds of one repetition, at least; and at least one epoch.
    firsts, watched
        Of how many workloads first batches are timed, and of how many cases memory is watched.
    """

    dynamic: int
    static: int
    neurons: int
    least: float
    firsts: int
    watched: int


FULL, QUICK = Scale(96, 3000, data.NEURONS, 1.0, len(FIRST), len(WATCHED)), Scale(24, 300, 500, 0.05, 1, 2)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="counted repetitions (%(default)s)")
    parser.add_argument("--only", choices=ALL, action="append", help="one section; may be given several times")
    parser.add_argument(
        "--also", action="append", default=[], metavar="PYTHON", help="another interpreter, for peers that only it has"
    )  # fmt: skip


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return a table a section."""
    scale, repeats = QUICK if options.quick else FULL, 1 if options.quick else options.repeats
    wanted = [name for name in ALL if not options.only or name in options.only]
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        stage = Stage(options.data, Path(folder), scale, repeats, (sys.executable, *options.also))
        found = [stage.section(SECTIONS[name]) for name in wanted if name in SECTIONS]
        found += [stage.first()] if "first" in wanted else []
        found += [stage.memory()] if "memory" in wanted else []
        found[-1] = replace(found[-1], notes=(*found[-1].notes, *tables.COMMON, stage.said()))
    return found


@dataclass
class Stage:
    """Where readers run: sources, interpreters, how much is measured.

    Attributes
    ----------
    versions
        Of packages, by the version of Python that has them; what has been seen so far.
    """

    folder: Path
    scratch: Path
    scale: Scale
    repeats: int
    interpreters: tuple[str, ...]
    sources: dict[bool, Source] = field(default_factory=dict[bool, Source])
    versions: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    def section(self, section: Section) -> Table:
        """Time everything that is compared on one workload."""
        console.print(section.title)
        source = self.source(section.workload)
        with ExitStack() as stack:
            workers, absent = self.start(section.entries, section.workload, stack)
            for worker in workers:
                self.prepare(worker)
            if not section.cold:
                warm(sorted({file for worker in workers for file in files(Path(worker.task.path))}))
            rates = self.rounds(workers, cold=section.cold)
        return tables.rates(section, rates, source, absent)

    def source(self, workload: Workload) -> Source:
        """Return the recording that a workload is of."""
        static = workload.frames is None
        if static not in self.sources:
            mouse, trials = ("S0", self.scale.static) if static else ("A", self.scale.dynamic)
            tree = data.recording(self.folder, mouse, trials, self.scale.neurons, train=True)
            scratch = self.scratch / mouse
            scratch.mkdir()
            self.sources[static] = Source(tree, scratch)
        return self.sources[static]

    def start(self, entries: tuple[Entry, ...], workload: Workload, stack: ExitStack) -> tuple[list[Worker], list[str]]:
        """Start a process for each entry that can run, and say which cannot."""
        workers, absent = list[Worker](), list[str]()
        for entry in entries:
            if interpreter := interpreter_of(entry, self.interpreters):
                task = self.source(workload).task(entry, workload)
                workers.append(stack.enter_context(Worker(entry, interpreter, task)))
            else:
                absent.append(entry.name)
        for worker in workers:
            worker.send("open", task=worker.task.as_json())
        return workers, [f"Not run, for no interpreter has what it needs: {'; '.join(absent)}."] if absent else []

    def prepare(self, worker: Worker) -> None:
        """Have a reader that is importing get ready, and prove that it delivers what it should."""
        self.opened(worker)
        worker.ask("make")
        self.source(worker.task.workload).check(worker.ask("sums")["sums"], worker.task)
        console.print(f"  checked: {worker.entry.name}", style="dim")

    def opened(self, worker: Worker) -> None:
        """Wait until a reader has imported, and have it write its files if they are its own."""
        said = worker.answer("open")
        self.versions.setdefault(said["python"], {}).update(said["versions"])
        if not Path(worker.task.path).exists():
            console.print(f"  {worker.entry.name}: writing {worker.entry.reads}", style="dim")
            worker.ask("build")

    def rounds(self, workers: list[Worker], *, cold: bool) -> dict[str, list[float]]:
        """Return samples a second of each repetition."""
        rates: dict[str, list[float]] = {worker.entry.name: [] for worker in workers}
        for turn in range(self.repeats + 1):
            first = turn % len(workers)
            for worker in [*workers[first:], *workers[:first]]:
                name = worker.entry.name
                if cold:
                    _cool(worker)
                done = worker.ask("run", least=0.0 if cold else self.scale.least)
                rate = done["samples"] / done["seconds"]
                console.print(f"  {turn or 'warm-up'}: {name}  {rate:.0f}/s", style="dim")
                if turn:
                    rates[name].append(rate)
        return rates

    def first(self) -> Table:
        """Time the first batch of a new process, and of later epochs."""
        found = list[dict[str, Any]]()
        for title, (workload, entries) in list(FIRST.items())[: self.scale.firsts]:
            for entry in entries:
                if interpreter := interpreter_of(entry, self.interpreters):
                    new, later = self._first(entry, interpreter, workload)
                    found.append(tables.first_row(title, entry, new, later))
        return tables.first(found)

    def _first(self, entry: Entry, interpreter: str, workload: Workload) -> tuple[list[float], list[float]]:
        console.print(f"  first batch: {entry.name}", style="dim")
        task, new, later = self.source(workload).task(entry, workload), list[float](), list[float]()
        uncounted = 1 if self.repeats > 1 else 0  # the first process fills the page cache
        for _ in range(self.repeats + uncounted):
            with Worker(entry, interpreter, task) as worker:
                worker.send("open", task=task.as_json())
                self.opened(worker)
                new.append(worker.ask("make")["seconds"] + worker.ask("first")["seconds"])
                later += [worker.ask("first")["seconds"] for _ in range(2)]
        return new[uncounted:], later[2 * uncounted :]

    def memory(self) -> Table:
        """Watch the memory of trialpack's loader over some epochs."""
        return tables.memory([self._watched(*case) for case in WATCHED[: self.scale.watched]], EPOCHS)

    def _watched(self, title: str, entry: Entry, workload: Workload, memory: str, held: int) -> dict[str, Any]:
        console.print(f"  memory: {title}, {memory}", style="dim")
        task = self.source(workload).task(entry, workload, memory=memory, cache="auto")
        with Worker(entry, sys.executable, task) as worker:
            worker.ask("open", task=task.as_json())
            before = worker.private()
            worker.ask("make")
            peak, said = worker.watch("hold", epochs=EPOCHS, held=held)
        return tables.memory_row(title, entry, memory, peak - before, said["bytes"])

    def said(self) -> str:
        """Return a note about the interpreters and packages that were used."""
        parts = [f"Python {python}: {_listed(packages)}" for python, packages in self.versions.items()]
        return f"{'; '.join(parts)}."


def _cool(worker: Worker) -> None:
    """Drop what a reader reads from the page cache; one that has mapped it starts again, for mapped pages stay."""
    paths = files(Path(worker.task.path))
    if evict(paths) > LEFT:
        worker.restart()
        worker.ask("open", task=worker.task.as_json())
        worker.ask("make")
        if (left := evict(paths)) > LEFT:
            raise RuntimeError(f"{worker.entry.name}: {left:.0%} of its files stay in the page cache")


def _listed(packages: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in packages.items())

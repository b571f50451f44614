"""The training stream against other ways to read the same trials: warm, cold, kept in memory.

Every reader has a process of its own, delivers all four variables as float32 in batches, each trial once an epoch in
random order, and is compared with the published files before anything is timed. The consumer reads one value of every
4 KiB of every variable, of batches as they are delivered and of batches in C order as shaped; the copies for that are
made by the reader where it can, by the consumer where it cannot. What is compared runs in turn, the uncounted first
round excepted. Peers have environments of their own, made on first use; with --quick only those that are there run.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import data
from ..report import Column, Table, console
from .cache import evict, files, warm
from .consumer import C
from .entries import SECTIONS, Entry, Section
from .environments import interpreters
from .processes import Worker, interpreter_of
from .sources import Source
from .workloads import Workload

LEFT = 0.01
"""The part of the files that may stay in the page cache and still be called cold."""
COLUMNS = (
    Column("what", "what"),
    Column("reads", "reads"),
    Column("order in memory", "order"),
    Column("as delivered, best /s", "best", ".0f"),
    Column("median /s", "median", ".0f"),
    Column("ratio", "ratio", ".2f"),
    Column("C order, best /s", "c_best", ".0f"),
    Column("median /s", "c_median", ".0f"),
    Column("ratio", "c_ratio", ".2f"),
    Column("copied by", "copied"),
    Column("first batch s", "new", ".3f"),
    Column("of later epochs", "later", ".3f"),
    Column("memory MB", "memory_mb", ".0f"),
    Column("on disk MB", "disk_mb", ".0f"),
)
NOTE = (
    "best, median: samples a second. ratio: to the fastest peer of the table in the same order, of the bests. order in "
    "memory: as delivered; C is that of the shape. copied by: who brings batches into C order. first batch s: from "
    "making the reader to its first batch, all modules imported, once; of later epochs: from iter() to the first, "
    "median. memory MB: private memory of the process tree at its peak, less what it was after importing."
)


@dataclass(frozen=True)
class Scale:
    """How much of everything is measured; `least` is seconds of one repetition, at least, and at least one epoch."""

    dynamic: int
    static: int
    neurons: int
    least: float


FULL, QUICK = Scale(48, 1536, data.NEURONS, 0.2), Scale(16, 300, 300, 0.0)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="counted repetitions (%(default)s)")
    parser.add_argument("--only", choices=list(SECTIONS), action="append", help="one section; may be repeated")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return a table a section, and one of the versions that took part."""
    scale, repeats = QUICK if options.quick else FULL, 1 if options.quick else options.repeats
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        pythons = interpreters(options.data / "environments", make=not options.quick)
        stage = Stage(options.data, Path(folder), scale, repeats, pythons)
        wanted = {name: one for name, one in SECTIONS.items() if name in (options.only or SECTIONS)}
        tables = [stage.section(name, one.quick() if options.quick else one) for name, one in wanted.items()]
    versions = [{"python": python, "packages": _listed(found)} for python, found in stage.versions.items()]
    return [
        *tables,
        Table("Versions", (Column("Python", "python"), Column("packages", "packages")), versions, (), "versions"),
    ]


@dataclass
class Run:
    """A reader in one order: what it found."""

    worker: Worker
    contiguous: bool
    rates: list[float] = field(default_factory=list[float])
    firsts: list[float] = field(default_factory=list[float])

    def measure(self, least: float) -> None:
        """Add one repetition."""
        done = self.worker.ask("run", least=least, contiguous=self.contiguous)
        self.rates.append(done["samples"] / done["seconds"])
        self.firsts += done["first"]


@dataclass
class Reading:
    """One row: a reader, as delivered and in C order, which are the same run where it delivers C order."""

    entry: Entry
    order: str
    delivered: Run
    c_order: Run
    new: float
    memory: int = 0

    def row(self, source: Source) -> dict[str, Any]:
        """Return a row but for its ratios."""
        if self.c_order is self.delivered:
            copied = None
        else:
            copied = "consumer" if self.c_order.contiguous else "reader"
        disk = source.on_disk(self.entry)
        return {
            "what": self.entry.name, "reads": self.entry.reads, "role": self.entry.role, "order": self.order,
            "best": max(self.delivered.rates), "median": statistics.median(self.delivered.rates),
            "c_best": max(self.c_order.rates), "c_median": statistics.median(self.c_order.rates),
            "copied": copied, "new": self.new, "later": statistics.median(self.delivered.firsts),
            "memory_mb": self.memory / 1e6, "disk_mb": disk and disk / 1e6,
            "rates": self.delivered.rates, "c_rates": self.c_order.rates,
        }  # fmt: skip


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
    interpreters: tuple[str, ...] = (sys.executable,)
    sources: dict[bool, Source] = field(default_factory=dict[bool, Source])
    versions: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    def section(self, name: str, section: Section) -> Table:
        """Time everything that is compared on one workload."""
        console.print(section.title)
        source = self.source(section.workload)
        with ExitStack() as stack:
            workers, absent = self.start(section, stack)
            for worker in workers:
                self.build(worker)
            if not section.cold:
                warm(sorted({file for worker in workers for file in files(Path(worker.task.path))}))
            readings = [self.prepare(worker, stack) for worker in workers]
            self.rounds(readings, cold=section.cold)
        rows = _with_ratios([reading.row(source) for reading in readings], section)
        sizes = {
            "trials": len(source.trial_ids), "neurons": self.scale.neurons, "absent": absent,
            "sample_mb": source.sample_bytes(section.workload) / 1e6,
        }  # fmt: skip
        notes = (NOTE, f"Not run, for no interpreter has what it needs: {', '.join(absent)}.") if absent else (NOTE,)
        return Table(section.title, COLUMNS, rows, notes, name, sizes)

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

    def start(self, section: Section, stack: ExitStack) -> tuple[list[Worker], list[str]]:
        """Start a process for each entry that can run, and say which cannot."""
        workers, absent = list[Worker](), list[str]()
        for entry in section.entries:
            if interpreter := interpreter_of(entry, self.interpreters):
                task = self.source(section.workload).task(entry, section.workload)
                workers.append(stack.enter_context(Worker(entry, interpreter, task)))
            else:
                absent.append(entry.name)
        for worker in workers:
            worker.send("open", task=worker.task.as_json())
        return workers, absent

    def build(self, worker: Worker) -> None:
        """Wait until a reader has imported, and have it write its files if they are its own."""
        said = worker.answer("open")
        self.versions.setdefault(said["python"], {}).update(said["versions"])
        if not Path(worker.task.path).exists():
            console.print(f"  {worker.entry.name}: writing {worker.entry.reads}", style="dim")
            path = Path(worker.task.path)
            part = path.with_name(f".{path.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            worker.ask("open", task=replace(worker.task, path=str(part)).as_json())
            worker.ask("build")
            part.rename(path)
            worker.restart()  # what writing took is not the reader's memory
            worker.ask("open", task=worker.task.as_json())

    def prepare(self, worker: Worker, stack: ExitStack) -> Reading:
        """Have a reader get ready, and prove that it delivers what it should, in either order."""
        before = worker.private()
        made, said = self._checked(worker)
        delivered = c_order = Run(worker, contiguous=False)
        if said["order"] != C and worker.entry.c_order:
            entry = worker.entry.in_c_order()
            task = self.source(worker.task.workload).task(entry, worker.task.workload)
            other = stack.enter_context(Worker(entry, worker.interpreter, task))
            other.ask("open", task=task.as_json())
            if self._checked(other)[1]["order"] != C:
                raise RuntimeError(f"{entry.name}: not in C order with {dict(entry.c_order)}")
            c_order = Run(other, contiguous=False)
        elif said["order"] != C:
            c_order = Run(worker, contiguous=True)
        reading = Reading(worker.entry, said["order"], delivered, c_order, made + said["first"])
        reading.memory = worker.watch("run")[0] - before
        console.print(f"  checked: {worker.entry.name}", style="dim")
        return reading

    def _checked(self, worker: Worker) -> tuple[float, dict[str, Any]]:
        made, said = worker.ask("make")["seconds"], worker.ask("sums")
        self.source(worker.task.workload).check(said["sums"], worker.task)
        return made, said

    def rounds(self, readings: list[Reading], *, cold: bool) -> None:
        """Measure all in turn; the first round does not count."""
        runs = [
            run for one in readings for run in ([one.delivered] + [one.c_order] * (one.c_order is not one.delivered))
        ]
        for turn in range(self.repeats + 1):
            first = turn % len(runs)
            for run in [*runs[first:], *runs[:first]]:
                if cold:
                    _cool(run.worker)
                run.measure(0.0 if cold else self.scale.least)
                order = " in C order" if run.contiguous else ""
                what = f"{turn or 'warm-up'}: {run.worker.entry.name}{order}"
                console.print(f"  {what}  {run.rates[-1]:.0f}/s", style="dim")
                if not turn:
                    run.rates.clear()
                    run.firsts.clear()


def _with_ratios(rows: list[dict[str, Any]], section: Section) -> list[dict[str, Any]]:
    """Return the rows, the fastest in C order first, what is no reader last, with ratios to the fastest peer."""
    peers = [row for row in rows if row["role"] == ("cache" if section.cached else "peer")]
    for key, ratio in (("best", "ratio"), ("c_best", "c_ratio")) if peers else ():
        base = max(row[key] for row in peers)
        for row in rows:
            row[ratio] = row[key] / base
    return sorted(rows, key=lambda row: (row["role"] == "roof", -row["c_best"]))


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

"""Conversion against copying, against a plain zarr-python loop, and against merely reading the zip.

All are run in turn, the uncounted first round excepted, and every time ends when the data are on the disk. The loop
writes the arrays of the trials with the shards, chunks and codecs that trialpack gives them, and checks nothing; it
writes no tables. A ratio above 1 is faster than its base. "unverified" is convert_mouse(verify=False); nothing computes
statistics unless it says so. How memory and time grow with the number of trials is in `growth`.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from trialpack import convert_mouse, plan_mouse
from trialpack.convert import Plan
from trialpack.store.metadata import write_metadata

from . import data
from .measure import Case, interleave, remove
from .report import COMPARED, Column, Table, compared

CP, TAR, LOOP, OPENED, READ = "cp -r", "tar", "zarr-python loop", "np.load(open(member))", "np.load(read(member))"
UNVERIFIED, VERIFIED, ALL = "trialpack, unverified", "trialpack, verified", "trialpack, verified, with statistics"
COLUMNS = (*COMPARED, Column("MB/s", "rate", ".0f"))
NOTE = (
    "best s, median s: seconds of one call, os.sync included. MB/s: .npy bytes of the source in best s. ratio: seconds "
    "of the base over seconds, bests and medians; the base has ratio 1."
)


@dataclass(frozen=True)
class Workload:
    """A recording to convert, and how."""

    name: str
    title: str
    mouse: str
    trials: int
    quick_trials: int
    zipped: bool = False


WORKLOADS = (
    Workload("dynamic", "Conversion, videos", "A", 24, 6),
    Workload("static", "Conversion, images", "S0", 800, 60),
    Workload("zip", "Conversion of a zip, videos", "A", 12, 6, zipped=True),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="counted repetitions (%(default)s)")
    parser.add_argument("--only", choices=[one.name for one in WORKLOADS], help="one workload")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return a table a workload."""
    neurons, repeats = (500, 1) if options.quick else (data.NEURONS, options.repeats)
    tables = list[Table]()
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        for workload in [one for one in WORKLOADS if options.only in (None, one.name)]:
            trials = workload.quick_trials if options.quick else workload.trials
            tree = data.recording(options.data, workload.mouse, trials, neurons)
            sizes = {
                "trials": trials,
                "neurons": neurons,
                "files": data.n_files(tree),
                "mb": data.npy_bytes(tree) / 1e6,
            }
            tables.append(_table(workload, tree, sizes, repeats, Path(folder)))
    return tables


def loop(plan: Plan, output: Path) -> None:
    """Write the arrays of the trials as anyone would with zarr-python: load a shard's trials, stack, assign."""
    source = Path(plan.survey.label)
    for variable, layout in zip(plan.variables, plan.recorded, strict=True):
        write_metadata(output, layout)
        with zarr.config.set({"array.write_empty_chunks": True}):  # as in the store; makes no difference in time
            array = zarr.open_array(output / layout.path, mode="r+")
        for rows in plan.units:
            names = (f"{trial_id}.npy" for trial_id in plan.survey.trial_ids[rows.start : rows.stop])
            block = np.stack([np.load(source / "data" / variable.name / name) for name in names])
            array[rows.start : rows.stop] = block.transpose(0, *(axis + 1 for axis in variable.axes))


def ours(source: Path | str, output: Path | str, **options: Any) -> None:
    """Convert with trialpack."""
    convert_mouse(source, output, **options)


def bare(source: Path | str, output: Path | str, **options: Any) -> None:
    """Convert with trialpack, without the statistics, which nothing that it is compared with computes."""
    convert_mouse(source, output, statistics=False, **options)


def watched_loop(source: str, output: str) -> None:
    """Run the loop, its plan included; for a process of its own."""
    loop(plan_mouse(source, output), Path(output))


def _read_zip(archive: Path, *, whole: bool) -> None:
    """Load every array of a zip, and drop it."""
    with zipfile.ZipFile(archive) as members:
        for name in members.namelist():
            if name.endswith(".npy"):
                with io.BytesIO(members.read(name)) if whole else members.open(name) as file:
                    np.load(file)


def _command(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True)


def _table(workload: Workload, tree: Path, sizes: dict[str, Any], repeats: int, scratch: Path) -> Table:
    """Time everything that is compared on one source."""
    if workload.zipped:
        source, bases = data.zipped(tree), [OPENED, READ]
        others = [Case(name, lambda _, whole=name == READ: _read_zip(source, whole=whole)) for name in bases]
    else:
        source, bases = tree, [LOOP]
        others = [
            Case(CP, lambda output: _command("cp", "-r", tree, output)),
            Case(TAR, lambda output: _command("tar", "-C", tree, "-cf", output, ".")),
            Case(LOOP, partial(loop, plan_mouse(tree, scratch))),
        ]
    converters = [
        Case(UNVERIFIED, partial(bare, source, verify=False)),
        Case(VERIFIED, partial(bare, source, verify=True)),
        Case(ALL, partial(ours, source)),
    ]
    times = interleave([*others, *converters], repeats, scratch)
    rows = compared(times, min(bases, key=lambda name: min(times[name])))
    for row in rows:
        row["rate"] = sizes["mb"] / row["best"]
    stored = convert_mouse(source, scratch / "output", statistics=False, verify=False).nbytes
    remove(scratch / "output")
    sizes = {**sizes, "stored_mb": stored / 1e6, "stored": stored / sizes["mb"] / 1e6}
    return Table(workload.title, COLUMNS, rows, (NOTE,), workload.name, sizes)

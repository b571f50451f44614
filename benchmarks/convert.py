"""Conversion against copying, against a plain zarr-python loop, and against merely reading the zip.

All are run in turn, the uncounted first round excepted, and every time ends when the data are on the disk. The loop
writes the arrays of the trials with the shards, chunks and codecs that trialpack gives them, and checks nothing; it
writes no tables. A ratio above 1 is faster than its base. "unverified" is convert_mouse(verify=False); nothing computes
statistics unless it says so.
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
from trialpack.convert.conversion import DEFAULT_MAX_MEMORY
from trialpack.store.metadata import write_metadata

from . import data
from .measure import Case, Times, interleave, peak_memory, remove
from .report import Column, Table

CP, TAR, LOOP, OPENED, READ = "cp -r", "tar", "zarr-python loop", "np.load(open(member))", "np.load(read(member))"
UNVERIFIED, VERIFIED, ALL = "trialpack, unverified", "trialpack, verified", "trialpack, verified, with statistics"
TARGETS = {
    "dynamic folder": {UNVERIFIED: 1.5, VERIFIED: 1.0},
    "static folder": {UNVERIFIED: 2.0, VERIFIED: 1.0},
    "dynamic zip": {UNVERIFIED: 1.6},
}
"""How many times as fast as the base: the loop, or the faster way of reading the zip."""
MAX_SIZE = 0.84
"""Bytes of the dynamic store over bytes of its .npy files."""
SPARE = 1.1
"""How far the resident memory may lie above max_memory."""
BOUNDS = (DEFAULT_MAX_MEMORY, 400_000_000)

COLUMNS = (
    Column("workload", "workload"),
    Column("what", "what"),
    Column("best s", "best", ".2f"),
    Column("median s", "median", ".2f"),
    Column("MB/s", "rate", ".0f"),
    Column("peak MB", "peak_mb", ".0f"),
    Column("private MB", "private_mb", ".0f"),
    Column("ratio", "ratio", ".2f"),
    Column("of medians", "ratio_median", ".2f"),
    Column("target", "target"),
    Column("reached", "reached"),
)
NOTES = (
    "best s, median s: seconds of one call, os.sync included. MB/s: .npy bytes of the source in best s.",
    "ratio: seconds of the base over seconds, bests and medians; the base has ratio 1. "
    "For size: bytes of the store over .npy bytes.",
    "For memory: resident bytes of the process tree at their peak over max_memory; private MB: files and shared "
    "memory left out. Each in a fresh process, its imports included; the seconds are of the call alone.",
)


@dataclass(frozen=True)
class Scale:
    """How much of everything is measured."""

    dynamic: int
    static: int
    many: int
    neurons: int


FULL, QUICK = Scale(48, 3000, 480, data.NEURONS), Scale(12, 200, 24, 1000)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="counted repetitions (%(default)s)")
    parser.add_argument("--only", choices=[*TARGETS, "memory"], help="one workload")
    parser.add_argument("--memory", action="store_true", help="peak memory too, up to 480 trials: 15 GB of disk")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return one table."""
    scale, rows = QUICK if options.quick else FULL, list[dict[str, Any]]()
    repeats = 1 if options.quick else options.repeats
    tree = data.recording(options.data, "A", scale.dynamic, scale.neurons)
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        for workload in [name for name in TARGETS if options.only in (None, name)]:
            source = data.recording(options.data, "S0", scale.static, scale.neurons) if "static" in workload else tree
            rows += _workload(workload, source, repeats, Path(folder))
        if options.memory or options.only == "memory":
            rows += _memory(options.data, scale, Path(folder))
    return [Table("Conversion", COLUMNS, rows, NOTES)]


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


def _workload(workload: str, tree: Path, repeats: int, scratch: Path) -> list[dict[str, Any]]:
    """Time everything that is compared on one source, and return the rows of the table."""
    if "zip" in workload:
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
    base = min((times[name] for name in bases), key=lambda found: found.best)
    nbytes = data.npy_bytes(tree)
    rows = [_row(workload, name, found, base, nbytes) for name, found in times.items()]
    return rows if "zip" in workload else [*rows, _size(workload, tree, nbytes, scratch)]


def _row(workload: str, name: str, times: Times, base: Times, nbytes: int) -> dict[str, Any]:
    ratio, target = base.best / times.best, TARGETS[workload].get(name)
    return {
        "workload": workload,
        "what": name,
        "best": times.best,
        "median": times.median,
        "seconds": times.seconds,
        "rate": nbytes / times.best / 1e6,
        "ratio": ratio,
        "ratio_median": base.median / times.median,
        "target": target and f"≥ {target:.1f}",
        "reached": None if target is None else ratio >= target,
    }


def _size(workload: str, tree: Path, nbytes: int, scratch: Path) -> dict[str, Any]:
    """Convert once more, for the bytes of the store."""
    ratio = convert_mouse(tree, scratch / "output", statistics=False, verify=False).nbytes / nbytes
    remove(scratch / "output")
    dynamic = "dynamic" in workload
    target = f"≤ {MAX_SIZE}" if dynamic else None
    reached = ratio <= MAX_SIZE if dynamic else None
    return {"workload": workload, "what": "size of the store", "ratio": ratio, "target": target, "reached": reached}


def _memory(folder: Path, scale: Scale, scratch: Path) -> list[dict[str, Any]]:
    """Watch the conversion of few and of many trials, under each bound on memory, and the loop."""
    rows = [_peaks(data.recording(folder, "A", scale.dynamic, scale.neurons), scale.dynamic, scratch)]
    with data.passing(folder, "A", scale.many, scale.neurons) as tree:
        rows.append(_peaks(tree, scale.many, scratch))
    return [row for pair in zip(*rows, strict=True) for row in pair]


def _peaks(tree: Path, trials: int, scratch: Path) -> list[dict[str, Any]]:
    nbytes, found = data.npy_bytes(tree), list[dict[str, Any]]()
    for bound in (*BOUNDS, None):
        arguments = {"source": str(tree), "output": str(scratch / "output")}
        if bound is None:
            memory = peak_memory(f"{__name__}:{watched_loop.__name__}", **arguments)
        else:
            memory = peak_memory(f"{__name__}:{ours.__name__}", **arguments, max_memory=bound)
        remove(scratch / "output")
        found.append(
            {
                "workload": f"memory, {trials} trials",
                "what": f"max_memory {bound / 1e6:.0f} MB" if bound else LOOP,
                "best": memory.seconds,
                "rate": nbytes / memory.seconds / 1e6,
                "peak_mb": memory.resident / 1e6,
                "private_mb": memory.private and memory.private / 1e6,
                "ratio": memory.resident / bound if bound else None,
                "target": f"≤ {SPARE}" if bound else None,
                "reached": memory.resident <= SPARE * bound if bound else None,
            }
        )
    return found

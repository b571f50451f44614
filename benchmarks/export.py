"""Export of the published files against copying them.

All are run in turn, the uncounted first round excepted; every time ends when the data are on the disk. Stores and trees
are in the page cache. Exporting decodes every chunk and compares every value with its digest before it is written;
`cp -r` copies the very tree that is made.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from trialpack import convert_mouse, export_mouse

from . import data
from .measure import Case, Times, interleave
from .report import Column, Table

COPY, EXPORT = "cp -r", "trialpack export --as npy"
TARGET = 0.5
"""Times as fast as copying."""
TRIALS = {"A": 96, "S0": 3000}
COLUMNS = (
    Column("mouse", "mouse"),
    Column("files", "files", "d"),
    Column("what", "what"),
    Column("best s", "best", ".2f"),
    Column("median s", "median", ".2f"),
    Column("GB/s", "rate", ".2f"),
    Column("to copying", "ratio", ".2f"),
    Column("of medians", "ratio_median", ".2f"),
    Column("target", "target"),
    Column("reached", "reached"),
)
NOTES = ("GB/s: .npy bytes of the mouse in best s, os.sync included. to copying: seconds of cp -r over these.",)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="counted repetitions (%(default)s)")
    parser.add_argument("--mouse", choices=list(TRIALS), help="only this one")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return one table."""
    rows = list[dict[str, Any]]()
    for mouse in [options.mouse] if options.mouse else TRIALS:
        trials, neurons = (12, 1000) if options.quick else (TRIALS[mouse], data.NEURONS)
        tree = data.recording(options.data, mouse, trials, neurons)
        with tempfile.TemporaryDirectory(dir=options.data) as folder:
            store = convert_mouse(tree, Path(folder) / "store", statistics=False, verify=False).store
            cases = [Case(COPY, partial(copy, tree)), Case(EXPORT, partial(export_mouse, store))]
            times = interleave(cases, 1 if options.quick else options.repeats, Path(folder))
        rows += _rows(mouse, tree, times)
    return [Table("Export against copying", COLUMNS, rows, NOTES)]


def copy(tree: Path, output: Path) -> None:
    """Copy a folder as anyone would."""
    subprocess.run(["cp", "-r", str(tree), str(output)], check=True)


def _rows(mouse: str, tree: Path, times: dict[str, Times]) -> list[dict[str, Any]]:
    nbytes, files = data.npy_bytes(tree), sum(path.is_file() for path in tree.rglob("*"))
    rows = list[dict[str, Any]]()
    for name, found in times.items():
        ratio = times[COPY].best / found.best
        target = TARGET if name == EXPORT else None
        rows.append(
            {
                "mouse": mouse,
                "files": files,
                "what": name,
                "best": found.best,
                "median": found.median,
                "seconds": found.seconds,
                "rate": nbytes / 1e9 / found.best,
                "ratio": ratio,
                "ratio_median": times[COPY].median / found.median,
                "target": None if target is None else f"{target}",
                "reached": None if target is None else ("yes" if ratio >= target else "no"),
            }
        )
    return rows

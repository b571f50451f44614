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

from trialpack import convert_mouse, export_mouse

from . import data
from .measure import Case, interleave
from .report import COMPARED, Column, Table, compared

COPY, EXPORT = "cp -r", "trialpack export --as npy"
TRIALS = {"A": 24, "S0": 800}
COLUMNS = (*COMPARED, Column("GB/s", "rate", ".2f"))
NOTES = ("GB/s: .npy bytes of the mouse in best s, os.sync included. ratio: seconds of cp -r over these.",)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="counted repetitions (%(default)s)")
    parser.add_argument("--mouse", choices=list(TRIALS), help="only this one")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return a table a mouse."""
    tables = list[Table]()
    for mouse in [options.mouse] if options.mouse else TRIALS:
        trials, neurons = (12, 500) if options.quick else (TRIALS[mouse], data.NEURONS)
        tree = data.recording(options.data, mouse, trials, neurons)
        with tempfile.TemporaryDirectory(dir=options.data) as folder:
            store = convert_mouse(tree, Path(folder) / "store", statistics=False, verify=False).store
            cases = [Case(COPY, partial(copy, tree)), Case(EXPORT, partial(export_mouse, store))]
            rows = compared(interleave(cases, 1 if options.quick else options.repeats, Path(folder)), COPY)
        for row in rows:
            row["rate"] = data.npy_bytes(tree) / 1e9 / row["best"]
        sizes = {"trials": trials, "neurons": neurons, "files": data.n_files(tree)}
        tables.append(Table(f"Export, mouse {mouse}", COLUMNS, rows, NOTES, mouse, sizes))
    return tables


def copy(tree: Path, output: Path) -> None:
    """Copy a folder as anyone would."""
    subprocess.run(["cp", "-r", str(tree), str(output)], check=True)

"""HDF5 both ways: with each filter, and beside a plain h5py loop.

All are run in turn, the uncounted first round excepted, and every time ends when the data are on the disk. One thread
does everything. The loops do the least that can be compared: out, `mouse[variable][row]` of every trial is written to a
dataset of the same chunks without any filter; in, every trial is read from the file that was exported without packing,
and a shard of them is assigned to a zarr array with zarr-python. They check nothing and leave the tables out. Exporting
compares every value with its digest, and reads the file back; "unverified" does not. Importing is a conversion without
statistics.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from trialpack import convert_mouse, export_mouse, open_mouse, plan_mouse
from trialpack.convert.formats.hdf5.hdf5_file import HDF5_FILTERS, Hdf5File
from trialpack.store.metadata import write_metadata
from trialpack.store.tasks import Silent

from . import data
from .measure import Case, interleave
from .report import COMPARED, Column, Table, compared

LOOP = "plain h5py loop"
TRIALS = {"A": 12, "S0": 400}
COLUMNS = (
    *COMPARED,
    Column("MB/s", "rate", ".0f"),
    Column("MB/s a core", "core_rate", ".0f"),
    Column("size", "size", ".3f"),
)
NOTES = (
    "MB/s: .npy bytes of the mouse in best s, os.sync included. MB/s a core: the same in the seconds that the process "
    "was computing, all threads added up. ratio: to the loop. size: bytes of the file over .npy bytes of the mouse.",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="counted repetitions (%(default)s)")
    parser.add_argument("--mouse", choices=list(TRIALS), help="only this one")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return a table for each mouse and way."""
    repeats, tables = 1 if options.quick else options.repeats, list[Table]()
    for mouse in [options.mouse] if options.mouse else TRIALS:
        trials, neurons = (6, 500) if options.quick else (TRIALS[mouse], data.NEURONS)
        tree = data.recording(options.data, mouse, trials, neurons)
        sizes = {"trials": trials, "neurons": neurons, "mb": data.npy_bytes(tree) / 1e6}
        with tempfile.TemporaryDirectory(dir=options.data) as folder:
            tables += _tables(mouse, tree, sizes, repeats, Path(folder))
    return tables


def _tables(mouse: str, tree: Path, sizes: dict[str, Any], repeats: int, scratch: Path) -> list[Table]:
    store = convert_mouse(tree, scratch / "store", statistics=False, verify=False).store
    files = {name: export_mouse(store, scratch / name, format="hdf5", hdf5_filter=name).path for name in HDF5_FILTERS}
    tables = list[Table]()
    for way, cases in (("out", _exports(store)), ("in", _imports(files))):
        timed = [_Timed(case) for case in cases]
        rows = compared(interleave([Case(one.case.name, one) for one in timed], repeats, scratch), LOOP)
        computing = {one.case.name: one.best for one in timed}
        for row in rows:
            row |= {"rate": sizes["mb"] / row["best"], "core_rate": sizes["mb"] / computing[row["what"]]}
            if row["what"] in files:
                row["size"] = os.path.getsize(files[row["what"]]) / sizes["mb"] / 1e6
        title = f"HDF5 {way}, mouse {mouse}"
        tables.append(Table(title, COLUMNS, rows, NOTES, f"{mouse}-{way}", sizes))
    return tables


class _Timed:
    """A case that notes how long the process was computing: not disturbed by other programs, as seconds are."""

    def __init__(self, case: Case) -> None:
        self.case, self.best = case, float("inf")

    def __call__(self, output: Path) -> None:
        begun = time.process_time()
        self.case.call(output)
        self.best = min(self.best, time.process_time() - begun)


def _exports(store: Path) -> list[Case]:
    def export(name: Any, output: Path) -> None:
        export_mouse(store, output, format="hdf5", hdf5_filter=name)

    def unverified(output: Path) -> None:
        Hdf5File(open_mouse(store).index, "none").write(output, Silent())

    named = [Case(name, partial(export, name)) for name in HDF5_FILTERS]
    return [Case(LOOP, partial(loop_out, store)), Case("none, unverified", unverified), *named]


def _imports(files: dict[Any, Path]) -> list[Case]:
    def convert(path: Path, output: Path) -> None:
        convert_mouse(path, output, statistics=False, verify=False, workers=1)

    return [Case(LOOP, partial(loop_in, files["none"])), *(Case(name, partial(convert, files[name])) for name in files)]


def loop_out(store: Path, output: Path) -> None:
    """Write the trials as anyone would with h5py."""
    import h5py

    mouse = open_mouse(store)
    with h5py.File(output, "w") as file:
        for array in mouse.index.recorded:
            chunk = tuple(map(min, array.chunk, array.shape))
            dataset, values = file.create_dataset(array.path, array.shape, array.dtype, chunks=chunk), mouse[array.path]
            for row in range(array.shape[0]):
                dataset[row] = values[row]


def loop_in(path: Path, output: Path) -> None:
    """Read the trials with h5py and write them with zarr-python, a shard at a time."""
    import h5py

    plan = plan_mouse(path, output)
    with h5py.File(path) as file:
        for layout in plan.recorded:
            write_metadata(output, layout)
            array = zarr.open_array(output / layout.path, mode="r+")
            for rows in plan.units:
                array[rows.start : rows.stop] = np.stack([file[layout.path][row] for row in rows])

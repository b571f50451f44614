"""Statistics of the train tier against the public pipeline, numpy and dask; means of dask arrays.

The statistics are minimum, maximum, mean, median and standard deviation, over trials and over trials and frames. What
is compared runs in turn, the uncounted first round excepted; sources and stores are in the page cache. A ratio above 1
is faster than its base. How memory and time grow with the number of trials is in `growth`.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import zarr
from trialpack import convert_mouse, open_mouse
from trialpack.store import layout

from . import data, reduction_peers
from .measure import Case, interleave
from .report import COMPARED, Table, compared, console

MOUSE = "A"
PUBLIC, MEMMAP, DASK, OURS = "public pipeline", "numpy on a memory map", "plain dask reductions", "trialpack"
FROM_ZARR, BY_TRIAL, LAZY = "dask.array.from_zarr", "from_zarr, chunks of a trial", "mouse.dask"
SECTIONS = ("times", "lazy")
_RATIO = "ratio: seconds of the base over seconds, bests and medians; above 1 is faster. "


@dataclass(frozen=True)
class Scale:
    """How much of everything is measured.

    Attributes
    ----------
    trials
        Train trials.
    lazy
        Trials, of all tiers, of the store whose train tier is averaged.
    """

    trials: int
    lazy: int
    neurons: int


FULL, QUICK = Scale(24, 48, data.NEURONS), Scale(6, 24, 500)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="counted repetitions (%(default)s)")
    parser.add_argument("--only", choices=SECTIONS, help="one table")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return the tables."""
    scale, repeats = QUICK if options.quick else FULL, 1 if options.quick else options.repeats
    wanted, tables = (options.only,) if options.only else SECTIONS, list[Table]()
    with tempfile.TemporaryDirectory(dir=options.data) as name:
        scratch = Path(name)
        if "times" in wanted:
            tree = data.recording(options.data, MOUSE, scale.trials, scale.neurons, train=True)
            tables.append(_times(tree, scale, repeats, scratch))
        if "lazy" in wanted:
            tree = data.recording(options.data, MOUSE, scale.lazy, scale.neurons)
            tables += _lazy(_converted(tree, scratch / "lazy"), repeats, scratch)
    return tables


def _converted(tree: Path, to: Path) -> Path:
    console.print(f"converting {tree}", style="dim", soft_wrap=True)
    return convert_mouse(tree, to, statistics=False, verify=False).store


def _times(tree: Path, scale: Scale, repeats: int, scratch: Path) -> Table:
    """Time all ways to compute the statistics; check that the results are the same first."""
    store, maps = _converted(tree, scratch / "store"), scratch / "maps"
    reduction_peers.check_equal(reduction_peers.ours(str(store)), reduction_peers.public_pipeline(str(tree)))
    reduction_peers.make_memmaps(tree, maps)
    cases = [
        Case(PUBLIC, lambda _: reduction_peers.public_pipeline(str(tree))),
        Case(MEMMAP, lambda _: reduction_peers.memory_map(maps)),
        Case(DASK, lambda _: reduction_peers.plain_dask(store)),
        Case(OURS, lambda _: reduction_peers.ours(str(store))),
    ]
    rows = compared(interleave(cases, repeats, scratch), PUBLIC)
    sizes = {"trials": scale.trials, "neurons": scale.neurons}
    return Table("Train statistics", COMPARED, rows, (_TIMES_NOTE, _PEERS_NOTE), "statistics", sizes)


_TIMES_NOTE = (
    f"{_RATIO}The base is the public pipeline. best s, median s: seconds of one call. All statistics of videos, "
    f"responses, behavior and pupil_center; {DASK}: of videos and responses only. {OURS}: open_mouse and "
    "train_statistics, default options. Before the first time is taken, its minima, maxima and medians are found equal "
    "to the public pipeline's, its means and standard deviations equal but for the rounding of float32."
)
_PEERS_NOTE = (
    f"{PUBLIC}: np.load of every .npy file of the train tier, all stacked as float32 with NaN behind the valid frames, "
    "then numpy's nanmin, nanmax, nanmedian, nanmean and nanstd over trials, and over trials and frames. "
    f"{MEMMAP}: the same functions on blocks of 2 MB of one file a variable, (trial, …), made beforehand. {DASK}: "
    "from_zarr of the same store, the rows of the tier, one rechunk to blocks of 32 MiB with all trials and frames, "
    "dask.array's functions of the same names, all in one compute."
)


def _lazy(store: Path, repeats: int, scratch: Path) -> list[Table]:
    """Time means of the responses of the train tier, through dask."""
    mouse, path = open_mouse(store), str(store / layout.RESPONSES)
    rows, shape = mouse.rows(tier=layout.TRAIN_TIER), mouse.recording.arrays[layout.RESPONSES].shape
    arrays = {
        FROM_ZARR: lambda: da.from_zarr(path)[rows],
        BY_TRIAL: lambda: da.from_zarr(path, chunks=(1, *shape[1:]))[rows],
        LAZY: lambda: mouse.dask(layout.RESPONSES, tier=layout.TRAIN_TIER),
    }
    chunks: Any = zarr.open_array(path, mode="r").chunks
    note = (
        f"{_RATIO}The base is from_zarr with its default chunks, the store's {chunks}. One number: the mean of the "
        f"responses of the train tier, {len(rows)} of {shape[0]} trials, {shape[1]} neurons; of mean it is NaN, for "
        "padding is. A call makes the dask array, selects the rows of the tier, and computes, with dask's default "
        f"scheduler, threads; which rows these are is known to from_zarr beforehand, and for {LAZY} the mouse is open."
    )
    sizes, tables = {"train": len(rows), "trials": shape[0], "neurons": shape[1]}, list[Table]()
    for function in (da.mean, da.nanmean):
        name = function.__name__
        results = {way: function(array()).compute() for way, array in arrays.items()}
        if not np.allclose(list(results.values()), results[FROM_ZARR], rtol=1e-5, equal_nan=True):
            raise RuntimeError(f"{name}: results differ: {results}")
        cases = [Case(way, partial(_compute, function, array)) for way, array in arrays.items()]
        found = compared(interleave(cases, repeats, scratch), FROM_ZARR)
        tables.append(Table(f"{name} of a dask array", COMPARED, found, (note,), name, sizes))
    return tables


def _compute(function: Any, array: Any, _: Path) -> None:
    function(array()).compute()

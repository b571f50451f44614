"""Statistics of the train tier against the public pipeline, numpy and dask; means of dask arrays.

The statistics are minimum, maximum, mean, median and standard deviation, over trials and over trials and frames. What
is compared runs in turn, the uncounted first round excepted; sources and stores are in the page cache. A ratio above 1
is faster than its base. Takes a quarter of an hour, 20 GB of disk, and 7 GB of memory for the public pipeline, with
more for the page cache.
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
from .measure import Case, Times, interleave, peak_memory, remove
from .report import Column, Table, console

MOUSE = "A"
PUBLIC, MEMMAP, DASK, OURS = "public pipeline", "numpy on a memory map", "plain dask reductions", "trialpack"
FROM_ZARR, BY_TRIAL, LAZY = "dask.array.from_zarr", "from_zarr, chunks of a trial", "mouse.dask"
TARGET, LAZY_TARGET = 6.0, 1.5
"""How many times as fast as the public pipeline, and as `dask.array.from_zarr`."""
MAX_MEMORY = 1 << 30
SECTIONS = ("times", "memory", "lazy")

_TIMES = (
    Column("workload", "workload"),
    Column("what", "what"),
    Column("best s", "best", ".2f"),
    Column("median s", "median", ".2f"),
    Column("ratio", "ratio", ".2f"),
    Column("of medians", "ratio_median", ".2f"),
    Column("target", "target"),
    Column("reached", "reached"),
)
_MEMORY = (
    Column("workload", "workload"),
    Column("what", "what"),
    Column("s", "best", ".2f"),
    Column("peak MB", "peak_mb", ".0f"),
    Column("private MB", "private_mb", ".0f"),
    Column("target", "target"),
    Column("reached", "reached"),
)
_RATIO = "ratio: seconds of the base over seconds, bests and medians; above 1 is faster. The target is for the bests. "


@dataclass(frozen=True)
class Scale:
    """How much of everything is measured.

    Attributes
    ----------
    trials
        Train trials of the two workloads.
    many
        Train trials, for memory only.
    lazy
        Trials, of all tiers, of the store whose train tier is averaged.
    """

    trials: tuple[int, int]
    many: int
    lazy: int
    neurons: int


FULL, QUICK = Scale((48, 96), 480, 96, data.NEURONS), Scale((6, 12), 24, 24, 500)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N",
        help="counted repetitions with 48 trials; three fifths as many with 96, twice as many of means (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--only", choices=SECTIONS, help="one table")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return a table a section."""
    scale, repeats = QUICK if options.quick else FULL, 1 if options.quick else options.repeats
    wanted, tables = (options.only,) if options.only else SECTIONS, list[Table]()
    with tempfile.TemporaryDirectory(dir=options.data) as name:
        folder, scratch = options.data, Path(name)
        if "times" in wanted or "memory" in wanted:
            sources = {n: data.recording(folder, MOUSE, n, scale.neurons, train=True) for n in scale.trials}
            stores = {n: _converted(tree, scratch / str(n)) for n, tree in sources.items()}
            if "times" in wanted:
                tables.append(_times(sources, stores, repeats, scratch))
            if "memory" in wanted:
                tables.append(_memory(sources, stores, folder, scale, scratch))
        if "lazy" in wanted:
            tree = data.recording(folder, MOUSE, scale.lazy, scale.neurons)
            tables.append(_lazy(_converted(tree, scratch / "lazy"), 2 * repeats, scratch))
    return tables


def _converted(tree: Path, to: Path, *, statistics: bool = False) -> Path:
    console.print(f"converting {tree}", style="dim", soft_wrap=True)
    return convert_mouse(tree, to, statistics=statistics, verify=False).store


def _times(sources: dict[int, Path], stores: dict[int, Path], repeats: int, scratch: Path) -> Table:
    """Time all ways to compute the statistics; check that the results are the same first."""
    rows = list[dict[str, Any]]()
    for turn, (trials, tree) in enumerate(sources.items()):
        store, maps = stores[trials], scratch / f"maps-{trials}"
        reduction_peers.check_equal(reduction_peers.ours(str(store)), reduction_peers.public_pipeline(str(tree)))
        reduction_peers.make_memmaps(tree, maps)
        cases = [
            Case(PUBLIC, lambda _, tree=tree: reduction_peers.public_pipeline(str(tree))),
            Case(MEMMAP, lambda _, maps=maps: reduction_peers.memory_map(maps)),
            Case(DASK, lambda _, store=store: reduction_peers.plain_dask(store)),
            Case(OURS, lambda _, store=store: reduction_peers.ours(str(store))),
        ]
        times = interleave(cases, max(1, repeats * 3 // 5) if turn else repeats, scratch)
        remove(maps)
        rows += [_row(f"{trials} trials", name, found, times[PUBLIC], {OURS: TARGET}) for name, found in times.items()]
    return Table("Train statistics", _TIMES, rows, (_TIMES_NOTE, _PEERS_NOTE))


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


def _row(workload: str, name: str, times: Times, base: Times, targets: dict[str, float]) -> dict[str, Any]:
    ratio, target = base.best / times.best, targets.get(name)
    return {
        "workload": workload,
        "what": name,
        "best": times.best,
        "median": times.median,
        "seconds": times.seconds,
        "ratio": ratio,
        "ratio_median": base.median / times.median,
        "target": target and f"≥ {target:.1f}",
        "reached": None if target is None else ratio >= target,
    }


def _memory(sources: dict[int, Path], stores: dict[int, Path], folder: Path, scale: Scale, scratch: Path) -> Table:
    """Watch the public pipeline, and trialpack up to many trials."""
    rows = [_peak(trials, PUBLIC, "public_pipeline", tree=str(tree)) for trials, tree in sources.items()]
    rows += [_peak(trials, OURS, "ours", store=str(store)) for trials, store in stores.items()]
    with data.passing(folder, MOUSE, scale.many, scale.neurons, train=True) as tree:
        store = _converted(tree, scratch / "many")
    rows.append(_peak(scale.many, OURS, "ours", store=str(store)))
    remove(store)
    note = (
        "peak MB: resident bytes of the process tree at their peak, in a fresh process, imports included; private MB: "
        "files and shared memory left out. s: of the call alone, run once. Where the mouse has too few train trials, "
        f"others were put into that tier. {OURS}: open_mouse and train_statistics with the default max_memory, 1 GiB."
    )
    return Table("Memory of train statistics", _MEMORY, rows, (note,))


def _peak(trials: int, name: str, function: str, **arguments: Any) -> dict[str, Any]:
    console.print(f"  memory: {name}, {trials} trials", style="dim")
    memory, bounded = peak_memory(f"{reduction_peers.__name__}:{function}", **arguments), name == OURS
    return {
        "workload": f"{trials} trials",
        "what": name,
        "best": memory.seconds,
        "peak_mb": memory.resident / 1e6,
        "private_mb": memory.private and memory.private / 1e6,
        "target": f"≤ {MAX_MEMORY / 1e6:.0f}" if bounded else None,
        "reached": memory.resident <= MAX_MEMORY if bounded else None,
    }


def _lazy(store: Path, repeats: int, scratch: Path) -> Table:
    """Time means of the responses of the train tier, through dask."""
    mouse, path = open_mouse(store), str(store / layout.RESPONSES)
    rows, shape = mouse.rows(tier=layout.TRAIN_TIER), mouse.recording.arrays[layout.RESPONSES].shape
    arrays = {
        FROM_ZARR: lambda: da.from_zarr(path)[rows],
        BY_TRIAL: lambda: da.from_zarr(path, chunks=(1, *shape[1:]))[rows],
        LAZY: lambda: mouse.dask(layout.RESPONSES, tier=layout.TRAIN_TIER),
    }
    found = list[dict[str, Any]]()
    for function in (da.mean, da.nanmean):
        workload = function.__name__
        results = {name: function(array()).compute() for name, array in arrays.items()}
        if not np.allclose(list(results.values()), results[FROM_ZARR], rtol=1e-5, equal_nan=True):
            raise RuntimeError(f"{workload}: results differ: {results}")
        cases = [Case(name, partial(_compute, function, array)) for name, array in arrays.items()]
        times = interleave(cases, repeats, scratch)
        found += [_row(workload, name, one, times[FROM_ZARR], {LAZY: LAZY_TARGET}) for name, one in times.items()]
    chunks: Any = zarr.open_array(path, mode="r").chunks
    note = (
        f"{_RATIO}The base is from_zarr with its default chunks, the store's {chunks}. One number: the mean of the "
        f"responses of the train tier, {len(rows)} of {shape[0]} trials, {shape[1]} neurons; of mean it is NaN, for "
        "padding is. A call makes the dask array, selects the rows of the tier, and computes, with dask's default "
        f"scheduler, threads; which rows these are is known to from_zarr beforehand, and for {LAZY} the mouse is open."
    )
    return Table("Means of dask arrays", _TIMES, found, (note,))


def _compute(function: Any, array: Any, _: Path) -> None:
    function(array()).compute()

"""Opening a store, and verifying one against reading and hashing its files.

Verifying is `check_full`: the SHA-256 of every file, every chunk decoded, the digest of every trial's values. It is
compared with the SHA-256 of the same files alone, with as many threads; both run in turn, the uncounted first round
excepted, files in the page cache. A ratio of 1 is as fast as hashing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from trialpack import convert_mouse, open_mouse
from trialpack.convert.published_mice import published_mice
from trialpack.store import check_full, layout
from trialpack.store.integrity import file_digest
from trialpack.store.manifest import read_manifest

from . import data
from .measure import Case, interleave
from .report import COMPARED, Column, Table, compared, console, machine

MOUSE = "A"
KINDS = {"dynamic": MOUSE, "static": "S0"}
HASHED, VERIFIED = "SHA-256 of all files", "full verification"

_OPENING = (
    Column("what", "what"),
    Column("trials", "trials", "d"),
    Column("files", "files", "d"),
    Column("best ms", "best_ms", ".1f"),
    Column("median ms", "median_ms", ".1f"),
)
_VERIFYING = (*COMPARED, Column("MB/s on disk", "rate", ".0f"))
_NOTE = "best s, median s: seconds of one call. ratio: seconds of hashing over seconds, bests and medians."


@dataclass(frozen=True)
class Scale:
    """How much of everything is measured.

    Attributes
    ----------
    opened, opens
        Trials of the store that is opened, and how often.
    dynamic, static
        Trials of the stores that are verified.
    """

    opened: int
    opens: int
    dynamic: int
    static: int
    neurons: int


FULL, QUICK = Scale(720, 50, 48, 1536, data.NEURONS), Scale(40, 5, 6, 40, 500)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="counted repetitions (%(default)s)")
    parser.add_argument("--only", choices=["opening", *KINDS], help="one part")
    parser.add_argument(
        "--store", type=Path, action="append", default=[], metavar="DIR", help="verify this store; no other is made"
    )


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return a table of openings and one a store that is verified."""
    scale, repeats = QUICK if options.quick else FULL, 1 if options.quick else options.repeats
    tables = list[Table]()
    with tempfile.TemporaryDirectory(dir=options.data) as name:
        scratch = Path(name)
        if options.only in (None, "opening"):
            tables.append(_opening(data.slim(options.data, MOUSE, scale.opened), scale, scratch))
        for store in options.store:
            tables.append(_verifying(store.name, store, {}, repeats, scratch))
        for kind in () if options.store else [kind for kind in KINDS if options.only in (None, kind)]:
            tree = data.recording(options.data, KINDS[kind], getattr(scale, kind), scale.neurons)
            console.print(f"converting {tree}", style="dim", soft_wrap=True)
            store = convert_mouse(tree, scratch / kind, statistics=False, verify=False).store
            sizes = {"trials": getattr(scale, kind), "neurons": scale.neurons}
            tables.append(_verifying(kind, store, sizes, repeats, scratch))
    return tables


def hash_all(store: Path, threads: int) -> None:
    """Read all files of a store and take their SHA-256, as the manifest has it."""
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(file_digest, [store / path for path in read_manifest(store).files]):
            pass


def _verifying(name: str, store: Path, sizes: dict[str, Any], repeats: int, scratch: Path) -> Table:
    threads, nbytes = machine()["cores"], read_manifest(store).nbytes
    cases = [
        Case(HASHED, lambda _: hash_all(store, threads)),
        Case(VERIFIED, lambda _: check_full(store, workers=threads)),
    ]
    rows = compared(interleave(cases, repeats, scratch), HASHED)
    for row in rows:
        row["rate"] = nbytes / row["best"] / 1e6
    sizes = {**sizes, "threads": threads, "stored_mb": nbytes / 1e6}
    return Table(f"Verifying a store, {name}", _VERIFYING, rows, (_NOTE,), name, sizes)


def _opening(tree: Path, scale: Scale, scratch: Path) -> Table:
    """Time opening a store that has as many files as one of the full number of neurons."""
    mouse = published_mice()[MOUSE]
    trace = mouse.n_frames * np.dtype(mouse.dtype).itemsize
    rows = layout.rows_per_shard(scale.opened, {layout.RESPONSES: data.NEURONS * trace})
    with mock.patch.object(layout, "SHARD_BYTES", layout.SHARD_BYTES * data.SLIM_NEURONS // data.NEURONS):
        store = convert_mouse(tree, scratch / "opening", verify=False).store
    opened, seconds = open_mouse(store), list[float]()
    for _ in range(scale.opens):
        begun = time.perf_counter()
        open_mouse(store)
        seconds.append(time.perf_counter() - begun)
    shards, median = layout.n_shards(scale.opened, rows), statistics.median(seconds)
    if any(array.files != shards for array in opened.index.recorded):
        raise RuntimeError(f"not the number of shards that there are with {data.NEURONS} neurons, {shards}")
    row = {
        "what": "open_mouse",
        "trials": len(opened.recording.trial_ids),
        "files": opened.index.manifest.n_files,
        "best_ms": min(seconds) * 1e3,
        "median_ms": median * 1e3,
        "seconds": seconds,
    }
    note = (
        f"Opened with the quick check {scale.opens} times in one process, after once that does not count; files in the "
        f"page cache. The store has {data.SLIM_NEURONS} neurons and small videos, but as "
        f"many files as with {data.NEURONS} neurons and full videos: {shards} shards a variable, of {rows} trials, and "
        "the statistics of the source and of the train tier."
    )
    sizes = {"trials": scale.opened, "shards": shards}
    return Table("Opening a store", _OPENING, [row], (note,), "opening", sizes)

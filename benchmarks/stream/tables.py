"""The tables of ``python -m benchmarks stream``."""

from __future__ import annotations

import statistics
from typing import Any

from ..report import Column, Table
from .entries import COPY, PEER, Entry, Section, Target
from .sources import Source

SPARE = 1.1
"""How far the memory may lie above `memory`."""
MAX_NEW, MAX_LATER = 0.1, 0.020
"""Seconds to the first batch of a new process, and of a later epoch."""
_UNITS = {"MiB": 1 << 20, "GiB": 1 << 30}

_RATES = (
    Column("what", "what"),
    Column("reads", "reads"),
    Column("best /s", "best", ".0f"),
    Column("median /s", "median", ".0f"),
    Column("GB/s", "rate", ".2f"),
    Column("ratio", "ratio", ".2f"),
    Column("of medians", "ratio_median", ".2f"),
    Column("to copying", "to_copying", ".2f"),
    Column("target", "target"),
    Column("reached", "reached"),
    Column("on disk MB", "disk_mb", ".0f"),
)
_FIRST = (
    Column("workload", "workload"),
    Column("what", "what"),
    Column("new process, best s", "new", ".3f"),
    Column("median s", "new_median", ".3f"),
    Column("later epoch, best s", "later", ".3f"),
    Column("median s", "later_median", ".3f"),
    Column("target", "target"),
    Column("reached", "reached"),
)
_MEMORY = (
    Column("workload", "workload"),
    Column("what", "what"),
    Column("memory", "memory"),
    Column("peak MB", "peak_mb", ".0f"),
    Column("batches held MB", "held_mb", ".0f"),
    Column("above them MB", "above_mb", ".0f"),
    Column("target", "target"),
    Column("reached", "reached"),
)


def rates(section: Section, found: dict[str, list[float]], source: Source, notes: list[str]) -> Table:
    """Return the table of one workload."""
    entries = [entry for entry in section.entries if entry.name in found]
    base = _base(section, found)
    nbytes = source.sample_bytes(section.workload)
    rows = [_row(section, entry, found, base, nbytes) for entry in entries]
    for row, entry in zip(rows, entries, strict=True):
        disk = source.on_disk(entry)
        row["disk_mb"] = disk and disk / 1e6
    rows.sort(key=lambda row: -row["best"])
    return Table(section.title, _RATES, rows, (*_said(section, base), *notes))


def _base(section: Section, found: dict[str, list[float]]) -> str | None:
    """Return the name of what the ratios are to; None if it did not run."""
    if section.base != PEER:
        return section.base if section.base in found else None
    peers = [entry.name for entry in section.entries if entry.role == "peer" and entry.name in found]
    return max(peers, key=lambda name: max(found[name]), default=None)


def _row(
    section: Section, entry: Entry, found: dict[str, list[float]], base: str | None, nbytes: int
) -> dict[str, Any]:
    times = found[entry.name]
    best, median = max(times), statistics.median(times)
    row: dict[str, Any] = {
        "what": entry.name,
        "reads": entry.reads,
        "role": entry.role,
        "best": best,
        "median": median,
        "rates": times,
        "rate": best * nbytes / 1e9,
    }
    if base:
        row |= {"ratio": best / max(found[base]), "ratio_median": median / statistics.median(found[base])}
    if COPY in found:
        row["to_copying"] = best / max(found[COPY])
    return row | _judged(section.targets.get(entry.name, ()), best, found, base)


def _judged(
    targets: tuple[Target, ...], best: float, found: dict[str, list[float]], base: str | None
) -> dict[str, Any]:
    """Return which targets there are, and whether all are reached; unknown if something did not run."""
    if not targets:
        return {}
    text = ", ".join(f"≥ {target.least:g} × {target.base}" for target in targets)
    names = [(base if target.base == PEER else target.base, target.least) for target in targets]
    if any(name not in found for name, _ in names):
        return {"target": text}
    return {"target": text, "reached": all(best >= least * max(found[name]) for name, least in names if name)}


def _said(section: Section, base: str | None) -> tuple[str, ...]:
    if section.base != PEER:
        return (f"Ratios are to: {section.base}{'' if base else ', which is not installed'}. {_CACHED}",)
    fastest = f"The fastest peer is {base}. " if base else ""
    return (f"{fastest}{_COLD if section.cold else _STREAMED}",)


_STREAMED = "Files in the page cache."
_COLD = (
    "Before each epoch, all files that the reader reads are dropped from the page cache; mincore sees to it. litData, "
    "which keeps its files mapped, is in a new process for each epoch; the others have read an epoch before."
)
_CACHED = (
    "All trials are in memory before the first time is taken. index_select: from one torch tensor a variable. "
    "use_cache: the raw arrays are kept, and transformed again each time."
)
COMMON = (
    "best, median: samples a second. GB/s: of the best, in delivered float32. ratio: to the fastest peer of the table, "
    "bests and medians; targets are for the bests. to copying: to copying the same batches out of arrays of all trials "
    "into reused ones, with one thread.",
    "All: the same trials, each once an epoch in random order, four variables as float32 without padding, without "
    "DataLoader workers, a batch alive until the next is there; checked against the published files first. Shuffled "
    "over all trials, but annbatch by runs of images, and insitubatch and litData by what they hold at once: some "
    "shards or files, chunks of 64 MB.",
    "Whoever reads the stores of trialpack verifies the checksum of every chunk; plain Zarr, litData's chunks and .npy "
    "files have none. plain Zarr: as zarr-python writes it, lz4, without shards, neuron-major, a chunk a trial or 60 "
    "frames, which is faster for those that read it than the frame-major chunks of the stores. All but .npy files are "
    "made beforehand, without the padding that np.load has to cut. litData stores whole trials, and cuts windows as "
    "views. Only litData's chunks, the uncompressed store and .npy files are not compressed, see on disk.",
    "Streamed: nothing is kept from one epoch to the next, but up to 64 MiB by tensorstore, for the indexes of shards; "
    "insitubatch has a new pool for each epoch, made before the time is taken, for its pool holds a large part of so "
    "few trials. batches kept: all batches of an epoch are held, so that trialpack cannot use memory again, as peers "
    "never do. trialpack, numpy: in the interpreter of insitubatch, without torch. huge pages: with "
    "THP_MEM_ALLOC_ENABLE=1, an option of torch that hardly anyone sets.",
)


def first_row(title: str, entry: Entry, new: list[float], later: list[float]) -> dict[str, Any]:
    """Return a row about first batches."""
    row: dict[str, Any] = {
        "workload": title,
        "what": entry.name,
        "new": min(new),
        "new_median": statistics.median(new),
        "later": min(later),
        "later_median": statistics.median(later),
        "seconds": {"new": new, "later": later},
    }
    if entry.role == "ours":
        row["target"] = f"≤ {MAX_NEW:g} s, ≤ {MAX_LATER:g} s"
        row["reached"] = row["new_median"] <= MAX_NEW and row["later_median"] <= MAX_LATER
    return row


def first(rows: list[dict[str, Any]]) -> Table:
    """Return the table of first batches."""
    text = (
        "new process: from making the reader to its first batch, all modules imported, for trialpack the mouse open; "
        "later epoch: from iter() to its first batch. Files in the page cache. Targets are for the medians."
    )
    return Table("First batch", _FIRST, rows, (text,))


def memory_row(title: str, entry: Entry, memory: str, peak: int, held: int) -> dict[str, Any]:
    """Return a row about memory.

    Parameters
    ----------
    peak, held
        Bytes: at the peak more than before the loader was made; of the batches that the consumer holds.
    """
    bound = SPARE * _bytes(memory)
    return {
        "workload": title,
        "what": entry.name,
        "memory": memory,
        "peak_mb": peak / 1e6,
        "held_mb": held / 1e6,
        "above_mb": (peak - held) / 1e6,
        "target": f"≤ {bound / 1e6:.0f}",
        "reached": peak - held <= bound,
    }


def memory(rows: list[dict[str, Any]], epochs: int) -> Table:
    """Return the table of memory."""
    text = (
        f"Private memory of the process tree at its peak over {epochs} epochs with cache='auto', less what it was "
        "before the loader was made, all modules imported; 'above them' also less the batches that the consumer holds. "
        "The target is memory and a tenth."
    )
    return Table("Memory of the stream", _MEMORY, rows, (text,))


def _bytes(memory: str) -> int:
    return int(memory[:-3]) * _UNITS[memory[-3:]]

"""Who takes part in ``python -m benchmarks stream``, on which workload, and what trialpack has to reach there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .workloads import VALID, Workload

DEFAULT, BARE, PLAIN, PLAIN_60 = "default store", "uncompressed store", "plain Zarr", "plain Zarr, 60 frames"
NPY, LITDATA, MEMORY = ".npy files", "litData chunks", "memory"
"""What a reader reads."""
CHUNK_FRAMES = {PLAIN: VALID, PLAIN_60: 60}
"""Frames in a chunk of Zarr that is written the plain way."""
Role = Literal["ours", "peer", "cache", "roof"]
"""A peer streams; a cache keeps all trials in memory, and is no peer of what streams; a roof is no reader at all."""
PEER, COPY = "best peer", "copying"
"""What targets refer to, besides the name of an entry: the fastest peer of the section, and copying with one thread."""
HUGE = {"THP_MEM_ALLOC_ENABLE": "1"}
"""Has torch ask for huge pages, as numpy does without being told."""
ROOMY = "4GiB"
"""Memory in which a loader can keep all trials."""


@dataclass(frozen=True)
class Entry:
    """A row of a table: a reader, and how it is set.

    Attributes
    ----------
    reader
        ``module:Class``, in this folder.
    reads
        One of the constants above.
    needs
        Modules that have to be there; it runs in the first interpreter that has all of them.
    """

    name: str
    reader: str
    reads: str
    role: Role
    needs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Target:
    """At least so many times as fast as `base`, in the best repetitions."""

    base: str
    least: float


@dataclass(frozen=True)
class Section:
    """What is compared with one another.

    Attributes
    ----------
    base
        What the ratios are to: `PEER`, or the name of an entry.
    cold
        Files are dropped from the page cache before each repetition, which is one epoch.
    """

    title: str
    workload: Workload
    entries: tuple[Entry, ...]
    targets: Mapping[str, tuple[Target, ...]]
    base: str = PEER
    cold: bool = False


def _ours(name: str, reads: str, *, kept: bool = False, needs: tuple[str, ...] = ("torch",), **options: Any) -> Entry:
    reader = "ours:OursKept" if kept else "ours:Ours"
    return Entry(name, reader, reads, "ours", needs, {"cache": "none", **options})


OURS, OURS_BARE = _ours("trialpack", DEFAULT), _ours("trialpack, uncompressed", BARE)
KEPT = _ours("trialpack, batches kept", DEFAULT, kept=True)
# Needs none of insitubatch: this is to run in the same interpreter, and without torch, as it does.
NUMPY = _ours("trialpack, numpy", DEFAULT, needs=("insitubatch",), output="numpy")
CACHED = _ours("trialpack, cached", DEFAULT, cache="auto", memory=ROOMY)
CACHED_NUMPY = _ours(
    "trialpack, cached, numpy", DEFAULT, needs=("insitubatch",), output="numpy", cache="auto", memory=ROOMY
)

TENSORSTORE, TENSORSTORE_BARE, TENSORSTORE_PLAIN = (
    Entry(name, "peers:Tensorstore", reads, "peer", ("tensorstore", "zarr"), {"threads": 2})
    for name, reads in (
        ("tensorstore", DEFAULT), ("tensorstore, uncompressed", BARE), ("tensorstore, plain Zarr", PLAIN_60)
    )
)  # fmt: skip
LIT, LIT_HUGE = (
    Entry(name, "litdata_peer:LitData", LITDATA, "peer", ("litdata", "torch"), {}, environment)
    for name, environment in (("litData", {}), ("litData, huge pages", HUGE))
)
ZARR = Entry("zarr-python", "peers:ZarrPython", DEFAULT, "peer", ("zarr",))
PIPELINE = {"pipeline": "zarrs.ZarrsCodecPipeline"}
ZARRS, ZARRS_PLAIN, ZARRS_PLAIN_60 = (
    Entry(name, "peers:ZarrPython", reads, "peer", ("zarrs",), PIPELINE)
    for name, reads in (("zarrs", DEFAULT), ("zarrs, plain Zarr", PLAIN), ("zarrs, plain Zarr", PLAIN_60))
)


def _annbatch(reads: str, run: int) -> Entry:
    options = {"run": run, "runs": 16, **PIPELINE}
    return Entry("annbatch", "peers:Annbatch", reads, "peer", ("annbatch", "zarrs"), options)


def _insitubatch(name: str, reads: str, role: Role = "peer", **options: Any) -> Entry:
    return Entry(name, "peers:Insitubatch", reads, role, ("insitubatch",), options)


ANNBATCH, ANNBATCH_IMAGES = _annbatch(PLAIN, 1), _annbatch(DEFAULT, 32)
INSITU, INSITU_PLAIN = (
    _insitubatch(name, reads, blocks=blocks)
    for name, reads, blocks in (("insitubatch", DEFAULT, 1), ("insitubatch, plain Zarr", PLAIN, 16))
)
RESIDENT, RESIDENT_PLAIN = (
    _insitubatch(f"{name}, resident", reads, "cache", blocks=blocks, resident=4 << 30)
    for name, reads, blocks in (("insitubatch", DEFAULT, 1), ("insitubatch, plain Zarr", PLAIN, 16))
)
VIV1T = Entry("ViV1T's way", "public:ViV1T", NPY, "peer", ("torch",))
STARTER = Entry("starter kit's way", "public:StarterKit", NPY, "peer", ("torch",))
STARTER_300 = Entry(
    "starter kit's way, max_frame=300", "public:StarterKit", NPY, "peer", ("torch",), {"max_frame": VALID}
)
STARTER_CACHE = Entry("starter kit's way, use_cache", "public:StarterKit", NPY, "cache", ("torch",), {"cache": True})
WINNER = Entry("winner's way", "public:Winner", NPY, "peer", ("torch",))
SELECT, SELECT_HUGE = (
    Entry(name, "roofs:Selecting", MEMORY, "cache", ("torch",), {}, environment)
    for name, environment in (("torch index_select", {}), ("torch index_select, huge pages", HUGE))
)
COPY_1, COPY_2 = (
    Entry(name, "roofs:Copying", MEMORY, "roof", (), {"threads": threads})
    for name, threads in ((COPY, 1), ("copying, two threads", 2))
)
_ROOFS = (COPY_1, COPY_2)
_STREAMED = (TENSORSTORE, TENSORSTORE_BARE, LIT, LIT_HUGE)
_CACHES = (RESIDENT, STARTER_CACHE, SELECT, SELECT_HUGE, *_ROOFS)

WHOLE, WINDOWS, STRIDES = Workload(8, VALID), Workload(8, 80), Workload(32, 16, 2)
IMAGES = Workload(128, None)
_TWO_AND_FIVE = {OURS.name: (Target(PEER, 2.5),), OURS_BARE.name: (Target(PEER, 5.0), Target(COPY, 0.8))}

SECTIONS = {
    "whole": Section(
        "Whole trials, batches of 8", WHOLE,
        (OURS, OURS_BARE, KEPT, NUMPY, *_STREAMED, TENSORSTORE_PLAIN, ANNBATCH, INSITU, INSITU_PLAIN, ZARRS_PLAIN, ZARR,
         VIV1T, STARTER_300, STARTER, *_ROOFS),
        _TWO_AND_FIVE,
    ),
    "windows": Section(
        "Windows of 80 frames, batches of 8", WINDOWS,
        (OURS, OURS_BARE, KEPT, *_STREAMED, TENSORSTORE_PLAIN, ZARRS_PLAIN_60, ZARR, VIV1T, STARTER_300, STARTER,
         *_ROOFS),
        {OURS.name: (Target(PEER, 2.5),), OURS_BARE.name: (Target(PEER, 5.0),)},
    ),
    "strides": Section(
        "16 frames, every second one, batches of 32", STRIDES,
        (OURS, OURS_BARE, KEPT, *_STREAMED, TENSORSTORE_PLAIN, ZARRS_PLAIN_60, ZARR, WINNER, VIV1T, STARTER, *_ROOFS),
        {OURS.name: (Target(PEER, 3.0), Target(WINNER.name, 8.0)), OURS_BARE.name: (Target(PEER, 6.0),)},
    ),
    "static": Section(
        "Images, batches of 128", IMAGES,
        (OURS, OURS_BARE, KEPT, NUMPY, *_STREAMED, ANNBATCH_IMAGES, INSITU, ZARRS, ZARR, VIV1T, STARTER, *_ROOFS),
        {OURS.name: (Target(PEER, 2.5),), OURS_BARE.name: (Target(PEER, 3.5),)},
    ),
    "cold": Section(
        "Whole trials, batches of 8, from a cold page cache", WHOLE,
        (OURS, OURS_BARE, TENSORSTORE, TENSORSTORE_BARE, TENSORSTORE_PLAIN, LIT, INSITU, INSITU_PLAIN, ZARRS_PLAIN,
         VIV1T, STARTER),
        {OURS.name: (Target(PEER, 0.95),), OURS_BARE.name: (Target(PEER, 0.95),)},
        cold=True,
    ),
    "cached": Section(
        "Whole trials, batches of 8, all kept in memory", WHOLE,
        (CACHED, CACHED_NUMPY, RESIDENT_PLAIN, *_CACHES),
        {CACHED.name: (Target(RESIDENT_PLAIN.name, 1.8),)}, base=RESIDENT_PLAIN.name,
    ),
    "static-cached": Section(
        "Images, batches of 128, all kept in memory", IMAGES, (CACHED, CACHED_NUMPY, *_CACHES),
        {CACHED.name: (Target(RESIDENT.name, 1.1),)}, base=RESIDENT.name,
    ),
}  # fmt: skip
ALL_NEEDS = sorted({need for section in SECTIONS.values() for entry in section.entries for need in entry.needs})
FIRST = {
    "whole trials": (WHOLE, (OURS, OURS_BARE, TENSORSTORE_PLAIN, LIT, ANNBATCH, INSITU_PLAIN, VIV1T, STARTER)),
    "images": (IMAGES, (OURS, OURS_BARE, TENSORSTORE, LIT, ANNBATCH_IMAGES, INSITU, VIV1T, STARTER)),
}
"""Whose first batches are timed."""

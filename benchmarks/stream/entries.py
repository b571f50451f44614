"""Who takes part in ``python -m benchmarks stream``, and on which workload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .workloads import VALID, Workload

DEFAULT, BARE, PLAIN, PLAIN_60 = "default store", "uncompressed store", "plain Zarr", "plain Zarr, 60 frames"
NPY, LITDATA, TORCH_BRAIN, EXPERANTO, MEMORY = ".npy files", "litData chunks", "HDF5", "experanto's files", "memory"
"""What a reader reads."""
CHUNK_FRAMES = {PLAIN: VALID, PLAIN_60: 60}
"""Frames in a chunk of Zarr that is written the plain way."""
Role = Literal["ours", "peer", "cache", "roof"]
"""A peer streams; a cache keeps all trials in memory, and is no peer of what streams; a roof is no reader at all."""
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
    c_order
        Options with which it delivers C order itself; without, the consumer copies.
    """

    name: str
    reader: str
    reads: str
    role: Role
    needs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    c_order: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def in_c_order(self) -> Entry:
        """Return the same reader with the options for C order."""
        return replace(self, options={**self.options, **self.c_order})


@dataclass(frozen=True)
class Section:
    """What is compared with one another.

    Attributes
    ----------
    cached
        All trials are in memory before any time is taken; else nothing is kept from one epoch to the next.
    cold
        Files are dropped from the page cache before each repetition, which is one epoch.
    """

    title: str
    workload: Workload
    entries: tuple[Entry, ...]
    cached: bool = False
    cold: bool = False

    def quick(self) -> Section:
        """Return the same with few entries."""
        return replace(self, entries=tuple(entry for entry in self.entries if entry in QUICK))


def _ours(name: str, reads: str, **options: Any) -> Entry:
    return Entry(name, "ours:Ours", reads, "ours", ("torch",), {"cache": "none", **options}, {"order": "neurons"})


OURS, OURS_BARE = _ours("trialpack", DEFAULT), _ours("trialpack, uncompressed", BARE)
CACHED = _ours("trialpack, cached", DEFAULT, cache="auto", memory=ROOMY)
TENSORSTORE, TENSORSTORE_BARE, TENSORSTORE_PLAIN = (
    Entry(name, "peers:Tensorstore", reads, "peer", ("tensorstore", "zarr"), {"threads": 2})
    for name, reads in (
        ("tensorstore", DEFAULT), ("tensorstore, uncompressed", BARE), ("tensorstore, plain Zarr", PLAIN_60)
    )
)  # fmt: skip
LIT = Entry("litData", "litdata_peer:LitData", LITDATA, "peer", ("litdata", "torch"))
LIT_2 = replace(LIT, name="litData, two workers", options={"workers": 2})
BRAIN = Entry("torch_brain", "recordings:TorchBrain", TORCH_BRAIN, "peer", ("torch_brain", "torch"))
EXPER = Entry("experanto", "recordings:Experanto", EXPERANTO, "peer", ("experanto", "torch"))
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
INSITU = _insitubatch("insitubatch", DEFAULT, blocks=1)
INSITU_PLAIN = _insitubatch("insitubatch, plain Zarr", PLAIN, blocks=16)
RESIDENT = _insitubatch("insitubatch, resident", DEFAULT, "cache", blocks=1, resident=4 << 30)
RESIDENT_PLAIN = _insitubatch("insitubatch, plain Zarr, resident", PLAIN, "cache", blocks=16, resident=4 << 30)
VIV1T = Entry("ViV1T's way", "public:ViV1T", NPY, "peer", ("torch",))
VIV1T_2 = replace(VIV1T, name="ViV1T's way, two workers", options={"workers": 2})
STARTER = Entry("starter kit's way", "public:StarterKit", NPY, "peer", ("torch",))
STARTER_300 = Entry(
    "starter kit's way, max_frame=300", "public:StarterKit", NPY, "peer", ("torch",), {"max_frame": VALID}
)
STARTER_CACHE = Entry("starter kit's way, use_cache", "public:StarterKit", NPY, "cache", ("torch",), {"cache": True})
WINNER = Entry("winner's way", "public:Winner", NPY, "peer", ("torch",))
SELECT = Entry("torch index_select", "roofs:Selecting", MEMORY, "cache", ("torch",))
COPY_1, COPY_2 = (
    Entry(name, "roofs:Copying", MEMORY, "roof", (), {"threads": threads})
    for name, threads in (("copying", 1), ("copying, two threads", 2))
)
_OURS, _ROOFS = (OURS, OURS_BARE), (COPY_1, COPY_2)
_VIDEOS = (TENSORSTORE, TENSORSTORE_PLAIN, LIT, BRAIN, EXPER)

WHOLE, WINDOWS, STRIDES = Workload(8, VALID), Workload(8, 80), Workload(32, 16, 2)
IMAGES = Workload(128, None)

SECTIONS = {
    "whole": Section(
        "Whole trials, batches of 8", WHOLE,
        (*_OURS, *_VIDEOS, ANNBATCH, INSITU_PLAIN, ZARRS_PLAIN, VIV1T, STARTER_300, STARTER, *_ROOFS),
    ),
    "windows": Section(
        "Windows of 80 frames, batches of 8", WINDOWS,
        (*_OURS, *_VIDEOS, TENSORSTORE_BARE, ZARRS_PLAIN_60, VIV1T, STARTER_300, *_ROOFS),
    ),
    "strides": Section(
        "16 frames, every second one, batches of 32", STRIDES,
        (*_OURS, *_VIDEOS, TENSORSTORE_BARE, ZARRS_PLAIN_60, LIT_2, WINNER, VIV1T, VIV1T_2, *_ROOFS),
    ),
    "images": Section(
        "Images, batches of 128", IMAGES,
        (*_OURS, TENSORSTORE, TENSORSTORE_BARE, LIT, LIT_2, ANNBATCH_IMAGES, INSITU, VIV1T, STARTER, *_ROOFS),
    ),
    "cold": Section(
        "Whole trials, batches of 8, from a cold page cache", WHOLE,
        (*_OURS, *_VIDEOS, INSITU_PLAIN, VIV1T),
        cold=True,
    ),
    "cached": Section(
        "Whole trials, batches of 8, all kept in memory", WHOLE,
        (CACHED, RESIDENT_PLAIN, STARTER_CACHE, SELECT, *_ROOFS),
        cached=True,
    ),
    "images-cached": Section(
        "Images, batches of 128, all kept in memory", IMAGES, (CACHED, RESIDENT, STARTER_CACHE, SELECT, *_ROOFS),
        cached=True,
    ),
}  # fmt: skip
QUICK = (OURS, CACHED, TENSORSTORE, VIV1T, SELECT, COPY_1)
"""Who takes part where only is checked that everything runs."""
ALL_NEEDS = sorted({need for section in SECTIONS.values() for entry in section.entries for need in entry.needs})

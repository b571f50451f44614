"""All ways to read what a store holds, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from trialpack.readers import Mouse, TrialLoader
from trialpack.store import layout
from trialpack.store.layout import ArrayLayout

from ..mice import Array

Outcome = Literal["error", "right", "absent", "wrong"]
"""An error; the right numbers; NaN in place of some of them; others."""


@dataclass(frozen=True)
class Way:
    """One way to read.

    Attributes
    ----------
    expected
        What it read of the intact store.
    ours
        Whether it has to say which file is damaged.
    cut
        Whether it reads valid frames only.
    """

    name: str
    read: Callable[[], list[Array]]
    expected: list[Array]
    ours: bool = False
    cut: bool = False


def way(name: str, read: Callable[[], Any], *, ours: bool = False, cut: bool = False) -> Way:
    """Return a way to read; the store is intact."""

    def arrays() -> list[Array]:
        found = read()
        return [np.array(one) for one in found] if isinstance(found, list) else [np.array(found)]

    return Way(name, arrays, arrays(), ours, cut)


def attempt(one: Way) -> tuple[Outcome, Exception | None]:
    """Read, and tell what came of it."""
    try:
        found = one.read()
    except Exception as error:  # zarr-python, zarrs and tensorstore raise errors of many kinds
        return "error", error
    return _compare(found, one.expected), None


def _compare(found: Sequence[Array], expected: Sequence[Array]) -> Outcome:
    if [one.shape for one in found] != [one.shape for one in expected]:
        return "wrong"
    parts = [_compare_one(*pair) for pair in zip(found, expected, strict=True)]
    return next((outcome for outcome in ("wrong", "absent") if outcome in parts), "right")


def _compare_one(found: Array, expected: Array) -> Outcome:
    if expected.dtype.kind not in "fiub":
        return "right" if found.tolist() == expected.tolist() else "wrong"
    if found.dtype != expected.dtype:
        return "wrong"
    if found.tobytes() == expected.tobytes():
        return "right"
    size = (found.size, found.itemsize)
    differs = (np.frombuffer(found.tobytes(), "u1") != np.frombuffer(expected.tobytes(), "u1")).reshape(size).any(1)
    return "absent" if found.dtype.kind == "f" and np.isnan(found.reshape(-1)[differs]).all() else "wrong"


# Recorded variables


def ways_to_shard(mouse: Mouse, array: ArrayLayout, number: int) -> list[Way]:
    """Return all ways in which trialpack reads the trials of a shard."""
    rows, name = array.rows_of_shard(number), array.path
    ids, part = mouse.recording.trial_ids[rows.start : rows.stop].tolist(), slice(rows.start, rows.stop)

    def stream() -> list[Array]:
        loader = TrialLoader(
            mouse, tier=None, trials=ids, variables=[name], batch_size=1, output="numpy", threads=1, cache="none"
        )
        return [np.array(batch[name]) for batch in loader]

    ways = [
        way("TrialLoader", stream, ours=True, cut=True),
        way("trial", lambda: [mouse.trial(one)[name] for one in ids], ours=True, cut=True),
        way("dask", lambda: mouse.dask(name, trials=ids).compute(scheduler="synchronous"), ours=True),
    ]
    for pipeline in pipelines():
        with zarr.config.set(pipeline):
            opened = mouse[name]
        ways.append(way(f"mouse[...] {pipeline}", lambda opened=opened: opened[part]))
    return ways


def plain_ways(path: Path, part: slice, *, pcodec: bool = False) -> list[Way]:
    """Return how others read a part of an array: both pipelines of zarr-python, and tensorstore where it is there."""
    ways = list[Way]()
    for pipeline in pipelines():
        with zarr.config.set(pipeline):
            opened = zarr.open_array(path, mode="r")
        ways.append(way(f"zarr {pipeline}", lambda opened=opened: opened[part]))
    if _is_there("tensorstore") and not pcodec:
        import tensorstore

        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
        ways.append(way("tensorstore", lambda: tensorstore.open(spec).result()[part].read().result()))
    return ways


def pipelines() -> list[dict[str, str]]:
    """Return the settings of zarr-python for its own codecs, and for those of zarrs where it is there."""
    return [{}, {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}] if _is_there("zarrs") else [{}]


def _is_there(package: str) -> bool:
    return find_spec(package) is not None


def is_padding(mouse: Mouse, array: ArrayLayout, shard: int, chunk: int) -> bool:
    """Return whether a chunk of a shard holds no valid frame of any trial."""
    n_frames, blocks, rows = mouse.recording.n_frames, list(array.blocks()), array.rows_of_shard(shard)
    if n_frames is None:
        return False
    first = rows.start + chunk // len(blocks) * array.chunk[0]
    frames = blocks[chunk % len(blocks)][array.dimensions.index(layout.FRAME) - 1]
    return frames.start >= n_frames[first : min(first + array.chunk[0], rows.stop)].max()


# Small arrays


def ways_to_small(mouse: Mouse, name: str) -> list[Way]:
    """Return the ways to read an array beside the trials, through a mouse."""
    return [
        way(f"small {name}", lambda: mouse.index.small(name), ours=True),
        way(f"mouse[{name!r}]", lambda: mouse[name][...]),
    ]

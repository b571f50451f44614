"""Make the golden stores of a format version: once, when it is released, by ``python -m tests.golden.make``.

Stores of a released version are never made again: that later versions read just these files is what they are for.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.store import layout

from ..mice import STIMULUS_AXES, Array, trial_ids, trial_path, variables
from ..streams import quickly

HERE = Path(__file__).parent
EXPECTED = "expected.json"
FRAMES = 36
"""Of dynamic mice: 12 or 27 of them are valid."""
KEPT = {"tiers", "unit_ids", "trial_idx"}
"""Of the arrays under ``meta/``: one of text, some of numbers."""
SOURCES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "dynamic": (
        {"mouse": "A", "trials": 6, "neurons": 2, "image_shape": (2, 2)},
        {"SHARD_BYTES": 1152, "CHUNK_BYTES": 300, "CHUNK_FRAMES": 15, "JOINT_CHUNKS": 1},
    ),
    "float64": (
        {"mouse": "F", "trials": 5, "neurons": 2, "image_shape": (2, 2)},
        {"SHARD_BYTES": 2500, "CHUNK_BYTES": 1000, "CHUNK_FRAMES": 15, "JOINT_CHUNKS": 1},
    ),
    "static": (
        {"mouse": "S0", "trials": 10, "neurons": 4, "image_shape": (3, 4)},
        {"SHARD_BYTES": 200, "CHUNK_BYTES": 100, "JOINT_CHUNKS": 1},
    ),
}
"""Sample, and constants of the layout: several shards an array, chunks of frames, and of several trials."""
STORES: dict[str, tuple[str, dict[str, Any]]] = {
    "dynamic-fast": ("dynamic", {"codec": "fast", "statistics": True}),
    "dynamic-none": ("dynamic", {"codec": "none", "statistics": False}),
    "dynamic-small": ("dynamic", {"codec": "small", "statistics": False}),
    "dynamic-pcodec": ("dynamic", {"codec": "pcodec", "statistics": False}),
    "float64-fast": ("float64", {"codec": "fast", "statistics": False}),
    "static-fast": ("static", {"codec": "fast", "statistics": True}),
    "static-none": ("static", {"codec": "none", "statistics": False}),
    "static-small": ("static", {"codec": "small", "statistics": False}),
    "static-pcodec": ("static", {"codec": "pcodec", "statistics": False}),
}
"""Name -> source, and options of the conversion."""


def make(to: Path) -> None:
    """Write a zip of each store, and what it must hold."""
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        sources = {kind: _source(Path(folder) / kind, kind) for kind in SOURCES}
        expected: dict[str, Any] = {"stores": {}, "sources": {kind: describe(path) for kind, path in sources.items()}}
        for name, (kind, options) in STORES.items():
            with quickly(**SOURCES[kind][1]):
                store = convert_mouse(sources[kind], Path(folder) / name, workers=1, **options).store
            data = _zip(store, to / f"{name}.zarr.zip")
            known = {"source": kind, "codec": options["codec"], "sha256": hashlib.sha256(data).hexdigest()}
            expected["stores"][name] = {**known, "statistics": _statistics(store)}
    (to / EXPECTED).write_text(json.dumps(expected, indent=1) + "\n")


def _source(place: Path, kind: str) -> Path:
    source = write_sample(place, **SOURCES[kind][0])
    shutil.rmtree(source / "meta" / "statistics")
    for path in (source / "meta").rglob("*.npy"):
        if path.stem not in KEPT:
            path.unlink()
    (source / "meta" / "notes.txt").write_text("as it is\n")
    if kind != "static":
        for path in (source / "data").rglob("*.npy"):
            np.save(path, np.load(path)[..., -FRAMES:])
    return source


def describe(source: Path) -> dict[str, Any]:
    """Return what a store of a mouse must hold, from its files: neither trialpack nor Zarr takes part."""
    ids, tiers = trial_ids(source), np.load(source / "meta" / "trials" / "tiers.npy")
    return {
        "mouse": source.name,
        "trials": {
            str(trial): {
                "tier": str(tiers[trial]),
                "withheld": not np.nan_to_num(np.load(trial_path(source, "responses", trial))).any(),
                "n_frames": _n_frames(source, trial),
                "values": {name: digest(trial_values(source, name, trial)) for name in variables(source)},
            }
            for trial in ids
        },
    }


def _n_frames(source: Path, trial: int) -> int | None:
    """Return how many frames of a trial's video hold a number; None of an image."""
    if "videos" not in variables(source):
        return None
    video = np.load(trial_path(source, "videos", trial))
    return int(np.count_nonzero(~np.isnan(video).all(axis=(0, 1))))


def trial_values(source: Path, variable: str, trial: int) -> Array:
    """Return one variable of a trial with the axes that stores have, padding included."""
    values = np.load(trial_path(source, variable, trial))
    return values.transpose(STIMULUS_AXES[variable]) if variable in STIMULUS_AXES else values


def digest(values: Array) -> str:
    """Return type, shape and SHA-256 of the bytes, in C order."""
    plain = np.ascontiguousarray(values)
    return f"{plain.dtype.str} {plain.shape} {hashlib.sha256(plain.tobytes()).hexdigest()}"


def _statistics(store: Path) -> dict[str, Any]:
    """Return the train statistics that a store holds, as zarr-python reads them."""
    paths = [
        path.parent.relative_to(store).as_posix() for path in store.glob(f"{layout.TRAIN_STATISTICS}/**/zarr.json")
    ]
    nodes = {path: zarr.open_group(store, mode="r")[path] for path in sorted(paths)}
    return {path: digest(np.asarray(node[...])) for path, node in nodes.items() if isinstance(node, zarr.Array)}


def _zip(store: Path, to: Path) -> bytes:
    """Pack a store and return the zip; equal stores give equal zips."""
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(path for path in store.rglob("*") if path.is_file()):
            info = zipfile.ZipInfo(path.relative_to(store).as_posix())
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, path.read_bytes())
    return to.read_bytes()


if __name__ == "__main__":
    make(HERE / f"version-{layout.FORMAT_VERSION}")

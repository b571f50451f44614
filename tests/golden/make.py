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

from ..mice import Array, trial_ids, trial_path, variables
from ..streams import quickly

HERE = Path(__file__).parent
EXPECTED = "expected.json"
FRAMES = 36
"""Of dynamic mice: 12 or 27 of them are valid."""
KEPT = {"tiers", "unit_ids", "trial_idx"}
"""Of the arrays under ``meta/``: one of text, some of numbers."""
LAB = "lab"
"""The source that is no sample: a mouse of a lab's own."""
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
    LAB: ({}, {"SHARD_BYTES": 1500, "CHUNK_BYTES": 300, "CHUNK_FRAMES": 10, "JOINT_CHUNKS": 1}),
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
    "lab-fast": (LAB, {"codec": "fast", "statistics": True}),
    "lab-none": (LAB, {"codec": "none", "statistics": False}),
}
"""Name -> source, and options of the conversion."""
PICTURES = {"videos": (2, 0, 1), "images": (0, 1, 2), "eye_video": (2, 0, 1)}
"""Axis in the file of each axis of a trial in the store; the other variables keep theirs."""
PIXELS, FRAME = ["height", "width"], "frame"
VARIABLES: dict[str, list[tuple[str, str, list[str], str]]] = {
    "dynamic": [
        ("videos", "stimulus", [FRAME, *PIXELS], "float32"),
        ("responses", "target", ["neuron", FRAME], "float32"),
        ("behavior", "input", ["behavior_channel", FRAME], "float32"),
        ("pupil_center", "input", ["pupil_axis", FRAME], "float32"),
    ],
    "static": [
        ("images", "stimulus", ["image_channel", *PIXELS], "float32"),
        ("responses", "target", ["neuron"], "float32"),
        ("behavior", "input", ["behavior_channel"], "float32"),
        ("pupil_center", "input", ["pupil_axis"], "float32"),
    ],
    LAB: [
        ("videos", "stimulus", [FRAME, *PIXELS], "uint8"),
        ("responses", "target", ["neuron", FRAME], "float32"),
        ("spikes", "target", ["neuron", FRAME], "int16"),
        ("eye_video", "input", [FRAME, "eye_video_axis_0", "eye_video_axis_1"], "uint8"),
        ("lever", "input", [], "bool"),
        ("treadmill", "input", ["side", FRAME], "float16"),
    ],
}
VARIABLES["float64"] = [(*one[:3], "float64") for one in VARIABLES["dynamic"]]
"""Name, role, dimensions and dtype of the variables of each source, in the order of a store."""
EYE_MISSING, EYE_LACKS = 255, 3
"""What stands where the lab's mouse has no video of the eye, and the trial that has none."""
LAB_SCHEMA = f"""\
frame_rate = 25

[variables.spikes]
role = "target"

[variables.treadmill]
dimensions = ["side", "frame"]
channels = [{{ name = "left", units = "cm/s" }}, {{ name = "right", units = "m/s" }}]

[variables.eye_video]
units = "grey"
long_name = "the eye"
optional = true
missing = {EYE_MISSING}
"""


def make(to: Path) -> None:
    """Write a zip of each store, and what it must hold."""
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        sources = {kind: _source(Path(folder) / kind, kind) for kind in SOURCES}
        expected: dict[str, Any] = {"stores": {}, "sources": {kind: describe(path) for kind, path in sources.items()}}
        for name, (kind, options) in STORES.items():
            store = convert_golden(sources[kind], name, Path(folder) / name)
            data = _zip(store, to / f"{name}.zarr.zip")
            known = {"source": kind, "codec": options["codec"], "sha256": hashlib.sha256(data).hexdigest()}
            expected["stores"][name] = {**known, "statistics": _statistics(store)}
    (to / EXPECTED).write_text(json.dumps(expected, indent=1) + "\n")


def convert_golden(source: Path, name: str, to: Path) -> Path:
    """Convert a mouse as the golden store of this name was."""
    kind, options = STORES[name]
    with quickly(**SOURCES[kind][1]):
        return convert_mouse(source, to, workers=1, **options).store


def _source(place: Path, kind: str) -> Path:
    if kind == LAB:
        return _lab_mouse(place / "lab7")
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


def _lab_mouse(source: Path) -> Path:
    """Write a mouse of dtypes and variables of its own, whose trials are of different lengths, without padding."""
    numbers = np.random.default_rng(7)
    for trial, n_frames in {0: 24, 2: 17, 3: 24, 4: 30, 7: 11}.items():
        values: dict[str, Array] = {
            "videos": numbers.integers(0, 256, (2, 3, n_frames)).astype(np.uint8),
            "responses": numbers.normal(size=(3, n_frames)).astype("<f4"),
            "spikes": numbers.integers(-300, 300, (3, n_frames)).astype(">i2"),
            "treadmill": numbers.normal(size=(2, n_frames)).astype("<f2"),
            "lever": np.array(trial % 2 == 0),
        }
        if trial != EYE_LACKS:
            values["eye_video"] = numbers.integers(0, 255, (4, 2, n_frames)).astype(np.uint8)
        for name, array in values.items():
            path = trial_path(source, name, trial)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, array)
    (source / "meta" / "trials").mkdir(parents=True)
    tiers = ["train", "none", "train", "train", "oracle", "none", "none", "test"]
    np.save(source / "meta" / "trials" / "tiers.npy", np.array(tiers))
    (source / "trialpack.toml").write_text(LAB_SCHEMA)
    return source


def describe(source: Path) -> dict[str, Any]:
    """Return what a store of a mouse must hold, from its files: neither trialpack nor Zarr takes part."""
    ids, tiers = trial_ids(source), np.load(source / "meta" / "trials" / "tiers.npy")
    schema = source / "trialpack.toml"
    return {
        "mouse": source.name,
        "trialpack_toml": schema.read_text() if schema.exists() else None,
        "trials": {
            str(trial): {
                "tier": str(tiers[trial]),
                "withheld": not np.nan_to_num(np.load(trial_path(source, "responses", trial))).any(),
                "n_frames": _n_frames(source, trial),
                "lacks": [name for name in variables(source) if not trial_path(source, name, trial).exists()],
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
    """Return one variable of a trial as stores have it: their axes, all frames of the mouse, native byte order."""
    path = trial_path(source, variable, trial)
    files = [np.load(trial_path(source, variable, one)) for one in trial_ids(source) if one != EYE_LACKS]
    longest = max((one.shape for one in files), key=lambda shape: shape[-1:])
    values = np.full(longest, _padding(variable, files[0].dtype), files[0].dtype.newbyteorder("="))
    if path.exists():
        found = np.load(path)
        values[tuple(map(slice, found.shape))] = found
    return values.transpose(PICTURES[variable]) if variable in PICTURES else values


def _padding(variable: str, dtype: Any) -> object:
    """Return what stands in frames, and trials, that a source does not have."""
    if variable == "eye_video":
        return EYE_MISSING
    return np.nan if dtype.kind == "f" else 0


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

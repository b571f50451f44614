"""HDF5 files of mice in the older layouts, written with h5py as the field's pipelines wrote them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .mice import Array, trial_ids, trial_path

MOVIE_GROUPS = {"inputs": "videos", "responses": "responses", "behavior": "behavior", "eye_position": "pupil_center"}


def as_bytes(values: Array) -> Array:
    """Return text as the exporters wrote it."""
    return np.char.encode(values, "utf-8") if values.dtype.kind == "U" else values


def write_images(folder: Path, path: Path, **chunked: Any) -> Path:
    """Write a static mouse: trials without a gap in their numbers, one dataset a variable."""
    ids = trial_ids(folder)
    assert ids == list(range(len(ids)))
    with h5py.File(path, "w") as file:
        for variable in ("images", "responses", "behavior", "pupil_center"):
            values = np.stack([np.load(trial_path(folder, variable, trial)) for trial in ids])
            file.create_dataset(variable, data=values, **chunked)
        write_tables(file, folder, "item_info", skip=("tiers",))
        file["tiers"] = as_bytes(np.load(folder / "meta/trials/tiers.npy"))
        for source in (folder / "meta/statistics").rglob("*.npy"):
            name = source.relative_to(folder / "meta/statistics").with_suffix("").as_posix()
            file[f"statistics/{name.replace('stimulus_frame', 'stimulus.Frame')}"] = np.load(source)
    return path


def write_movies(folder: Path, path: Path, lengths: dict[int, int], **chunked: Any) -> Path:
    """Write a dynamic mouse: one dataset a trial, frames first and without padding; `lengths` of each trial."""
    with h5py.File(path, "w") as file:
        for group, variable in MOVIE_GROUPS.items():
            for trial in trial_ids(folder):
                values = np.moveaxis(np.load(trial_path(folder, variable, trial)), -1, 0)[: lengths[trial]]
                data = values[None] if group == "inputs" else values
                file.create_dataset(f"{group}/{trial}", data=data, **chunked)
        tiers = np.load(folder / "meta/trials/tiers.npy")
        file["tiers"] = as_bytes(tiers)
        file["trial_idx"] = np.arange(len(tiers))
        file["movie_names"] = as_bytes(np.array([f"clip {number} é" for number in range(len(tiers))]))
        write_tables(file, folder, "neurons")
        neurons = len(np.load(folder / "meta/neurons/unit_ids.npy"))
        file["statistics/inputs/stimulus.Frame/mean"] = np.float64(117.5)
        file["statistics/responses/all/std"] = np.arange(neurons, dtype=np.float32)
        file["statistics/eye_position/all/mean"] = np.array([1.5, -2.5])
    return path


def write_tables(file: h5py.File, folder: Path, group: str, skip: tuple[str, ...] = ()) -> None:
    """Write the arrays of trials, as ``item_info``, and those of neurons."""
    groups = {"neurons": "neurons"} if group == "neurons" else {"item_info": "trials", "neurons": "neurons"}
    for name, source in groups.items():
        for path in (folder / "meta" / source).glob("*.npy"):
            if path.stem not in skip:
                file[f"{name}/{path.stem}"] = as_bytes(np.load(path))

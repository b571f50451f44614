"""The recorded variables of one trial: random, and about as hard to compress as real ones."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .recipe import Recipe

Array = NDArray[Any]
_FRAME_RATE = 30.0  # Hz
_SCAN_RATE = 7.5  # Hz
_FLOOR = 1e-9  # what deconvolution leaves between events
_NEGATIVE_SHARE = 0.15  # of the floor
_OVERSHOOT = 255.00000000000006  # the largest value of the float64 mice


def trial_arrays(recipe: Recipe, trial_id: int) -> dict[str, Array]:
    """Arrays of one trial as published: padded, and zeros where withheld."""
    arrays = (_dynamic_trial if recipe.mouse.kind == "dynamic" else _static_trial)(recipe, trial_id)
    if recipe.mouse.kind == "dynamic":
        for array in arrays.values():
            array[..., recipe.mouse.valid_frames[trial_id] :] = np.nan
    if recipe.mouse.withheld[trial_id]:
        arrays["responses"][...] = 0
    if recipe.mouse.behavior_withheld:
        arrays["behavior"][...] = 0
        arrays["pupil_center"][...] = 0
    return arrays


def _dynamic_trial(recipe: Recipe, trial_id: int) -> dict[str, Array]:
    n_frames = recipe.mouse.n_frames
    pupil = 40 + 8 * _drift(recipe, "pupil", trial_id, (1, n_frames))
    # Below zero the animal stands still, as it does for most of a recording.
    speed = np.maximum(12 * _drift(recipe, "speed", trial_id, (1, n_frames)) - 3, 0)
    center = recipe.rng("gaze").uniform(60, 120, (2, 1)).astype(recipe.dtype)
    return {
        "videos": _video(recipe, trial_id),
        "responses": _traces(recipe, trial_id, n_frames),
        "behavior": np.concatenate([pupil, speed]),
        "pupil_center": center + 5 * _drift(recipe, "gaze", trial_id, (2, n_frames)),
    }


def _static_trial(recipe: Recipe, trial_id: int) -> dict[str, Array]:
    behavior = recipe.rng("behavior", trial_id).standard_normal(3, dtype=recipe.dtype)
    gaze = recipe.rng("gaze", trial_id).standard_normal(2, dtype=recipe.dtype)
    return {
        "images": _image(recipe, trial_id),
        "responses": _knots(recipe, trial_id, 4).mean(axis=1),
        "behavior": np.abs(behavior * np.array([8, 0.5, 12], recipe.dtype) + np.array([40, 0, 0], recipe.dtype)),
        "pupil_center": gaze * 5 + 90,
    }


def _knots(recipe: Recipe, trial_id: int, n_knots: int) -> Array:
    """Activity at the scan times ``(n_neurons, n_knots)``: rare events above a tiny dense floor."""
    shape = (recipe.n_neurons, n_knots)
    rate, scale = recipe.neuron_activity
    chance = recipe.rng("responses/chance", trial_id).random(shape, dtype=recipe.dtype)
    size = recipe.rng("responses/size", trial_id).standard_exponential(shape, dtype=recipe.dtype)
    floor = np.where(chance < 1 - _NEGATIVE_SHARE, _FLOOR, -_FLOOR).astype(recipe.dtype)
    size *= np.where(chance < rate, scale, floor)
    return size


def _traces(recipe: Recipe, trial_id: int, n_frames: int) -> Array:
    knots = _knots(recipe, trial_id, math.ceil(n_frames * _SCAN_RATE / _FRAME_RATE) + 1)
    traces = np.empty((recipe.n_neurons, n_frames), recipe.dtype)
    for start in range(0, recipe.n_neurons, 512):  # what fits the cache, twice as fast as all at once
        traces[start : start + 512] = _stretch(knots[start : start + 512], n_frames, axis=1)
    return traces


def _video(recipe: Recipe, trial_id: int) -> Array:
    """Smooth random movie ``(height, width, n_frames)``, 0 to 255."""
    n_frames = recipe.mouse.n_frames
    coarse = _smooth(recipe.rng("videos/coarse", trial_id), (5, 8, n_frames // 30 + 2), recipe, n_frames)
    fine = _smooth(recipe.rng("videos/fine", trial_id), (12, 21, n_frames // 6 + 2), recipe, n_frames)
    noise = recipe.rng("videos/noise", trial_id).random(coarse.shape, dtype=recipe.dtype)
    return _to_pixels(coarse, fine, noise)


def _image(recipe: Recipe, trial_id: int) -> Array:
    """Smooth random image ``(1, height, width)``, 0 to 255."""
    coarse = _smooth(recipe.rng("images/coarse", trial_id), (6, 10, 1), recipe, 1)
    fine = _smooth(recipe.rng("images/fine", trial_id), (36, 64, 1), recipe, 1)
    noise = recipe.rng("images/noise", trial_id).random(coarse.shape, dtype=recipe.dtype)
    return np.ascontiguousarray(np.moveaxis(_to_pixels(coarse, fine, noise), 2, 0))


def _to_pixels(coarse: Array, fine: Array, noise: Array) -> Array:
    """Mix two scales and noise, in place; the float64 recordings overshoot 255 as the published ones do."""
    coarse *= 55
    coarse += 112
    fine *= 22
    coarse += fine
    noise *= 3
    coarse += noise
    return np.clip(coarse, 0, 255 if coarse.dtype == np.float32 else _OVERSHOOT, out=coarse)


def _smooth(rng: np.random.Generator, knots: tuple[int, int, int], recipe: Recipe, n_frames: int) -> Array:
    field = rng.standard_normal(knots, dtype=recipe.dtype)
    height, width = recipe.image_shape
    # Time first, while the field is small; the large steps then copy whole rows.
    return _stretch(_stretch(_stretch(field, n_frames, axis=2), width, axis=1), height, axis=0)


def _drift(recipe: Recipe, stream: str, trial_id: int, shape: tuple[int, int]) -> Array:
    """Slow random walk around zero ``(n_channels, n_frames)``."""
    rng = recipe.rng(f"drift/{stream}", trial_id)
    slow = _stretch(rng.standard_normal((shape[0], shape[1] // 40 + 2), dtype=recipe.dtype), shape[1], axis=1)
    jitter = rng.standard_normal(shape, dtype=recipe.dtype)
    return slow + jitter / 50


def _stretch(knots: Array, n: int, *, axis: int) -> Array:
    """Interpolate linearly to `n` values along an axis; elementwise, so the bits are the same everywhere."""
    last = knots.shape[axis] - 1
    if last == 0:
        return np.repeat(knots, n, axis=axis)
    position = np.arange(n) * (last / max(n - 1, 1))
    left = np.minimum(position.astype(np.intp), last - 1)
    shape = [1] * knots.ndim
    shape[axis] = n
    weight = (position - left).astype(knots.dtype).reshape(shape)
    low = np.take(knots, left, axis=axis)
    low *= 1 - weight
    high = np.take(knots, left + 1, axis=axis)
    high *= weight
    low += high
    return low


Array = NDArray[Any]
_ZIP_LEVEL = 1
_JUNK_EVERY = 16  # trials per AppleDouble companion in a zip
_APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ".ljust(163, b"\x00")
_DS_STORE = b"\x00\x00\x00\x01Bud1".ljust(64, b"\x00")


class FolderTarget:
    """A new mouse folder."""

    def __init__(self, parent: Path, name: str) -> None:
        self.path = parent / name
        self.path.mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def text(self, member: str, text: str) -> None:
        """Write a text file."""
        (self.path / member).write_text(text, encoding="utf-8")

    def array(self, member: str, array: Array) -> None:
        """Write an array as ``<member>.npy``."""
        path = self.path / f"{member}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array, allow_pickle=False)


class ZipTarget:
    """A new zip of a mouse folder, with directory entries and the leftovers of macOS."""

    def __init__(self, parent: Path, name: str) -> None:
        self.path = parent / f"{name}.zip"
        self._root = name
        self._zip = zipfile.ZipFile(self.path, "x", zipfile.ZIP_DEFLATED, compresslevel=_ZIP_LEVEL)
        self._folders: set[str] = set()
        self._bytes(f"{name}/.DS_Store", _DS_STORE)
        self._bytes(f"__MACOSX/{name}/._.DS_Store", _APPLE_DOUBLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._zip.close()

    def text(self, member: str, text: str) -> None:
        """Write a text file."""
        self._bytes(f"{self._root}/{member}", text.encode())

    def array(self, member: str, array: Array) -> None:
        """Write an array as ``<member>.npy``."""
        name = f"{self._root}/{member}.npy"
        self._make_folders(name)
        with self._zip.open(name, "w") as file:
            np.lib.format.write_array(file, array, allow_pickle=False)
        folder, _, stem = member.rpartition("/")
        if stem.isdigit() and int(stem) % _JUNK_EVERY == 0:
            self._bytes(f"__MACOSX/{self._root}/{folder}/._{stem}.npy", _APPLE_DOUBLE)

    def _bytes(self, name: str, content: bytes) -> None:
        self._make_folders(name)
        # A ZipInfo carries no time, so that equal seeds give equal bytes.
        self._zip.writestr(zipfile.ZipInfo(name), content)

    def _make_folders(self, name: str) -> None:
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth]) + "/"
            if folder not in self._folders:
                self._folders.add(folder)
                self._zip.writestr(zipfile.ZipInfo(folder), b"")


Target = FolderTarget | ZipTarget

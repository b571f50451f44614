"""Made-up recordings in the exact layout of the published ones, for trying out, testing and benchmarks.

File numbers, gaps, tiers, valid lengths and withheld trials are the true ones; all values are random.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .published import NO_TIER, PublishedMouse, find_published, published_mice

Array = NDArray[Any]

_VIDEO_SHAPE = (36, 64)
_IMAGE_SHAPE = (144, 256)
_FRAME_RATE = 30.0  # Hz
_SCAN_RATE = 7.5  # Hz
_EVENT_RATE = 0.05  # calcium events per neuron and scan
_FLOOR = 1e-9  # what deconvolution leaves between events
_NEGATIVE_SHARE = 0.15  # of the floor
_OVERSHOOT = 255.00000000000006  # the largest value of the float64 mice
_SPOOL_BYTES = 64 << 20
_BLOCK_BYTES = 16 << 20
_BINS = 1 << 16  # of the values 0 to 256, to find a median of many values in two passes
_ZIP_LEVEL = 1
_JUNK_EVERY = 16  # trials per AppleDouble companion in a zip
_APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ".ljust(163, b"\x00")
_DS_STORE = b"\x00\x00\x00\x01Bud1".ljust(64, b"\x00")


def write_sample(
    destination: str | os.PathLike[str],
    *,
    mouse: str = "A",
    trials: int | None = None,
    trial_ids: Sequence[int] | None = None,
    neurons: int | None = None,
    dtype: DTypeLike | None = None,
    container: Literal["folder", "zip"] = "folder",
    seed: int = 0,
    image_shape: tuple[int, int] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Path:
    """Write a random recording with the trial structure of a published mouse.

    Parameters
    ----------
    destination
        Folder that receives ``<mouse name>/`` or ``<mouse name>.zip``; made if missing.
    mouse
        Letter, full name, or start of the name of a published mouse.
    trials
        Write the first so many of the file numbers that exist; all by default.
    trial_ids
        Write these file numbers instead. The others keep their place in ``meta/trials``, with tier
        ``"none"``.
    neurons
        Number of neurons; that of the published mouse by default.
    dtype
        float32 or float64, for the arrays in ``data/``; that of the published mouse by default.
    container
        A folder, or a zip with the folder and what macOS leaves in an archive beside it.
    seed
        Equal seeds give equal files, and a trial does not depend on which others are written.
    image_shape
        Height and width of the videos or images, in pixels; (36, 64) or (144, 256) by default.
    progress
        Called with the number of trials written and their total after each trial.

    Returns
    -------
    Path
        The folder or zip.

    Raises
    ------
    ValueError
        If the mouse, a trial, the number of neurons or the dtype cannot be had.
    FileExistsError
        If the folder or zip exists; it is left alone. Delete what an interrupted call left behind.

    Notes
    -----
    Dynamic trials hold videos ``(height, width, n_frames)``, 0 to 255; responses ``(n_neurons, n_frames)``,
    deconvolved activity; behavior ``(2, n_frames)``, pupil dilation in pixels and running speed in cm/s;
    pupil_center ``(2, n_frames)``, in pixels. Short trials are padded with NaN. Static trials hold images
    ``(1, height, width)``, responses ``(n_neurons,)``, behavior ``(3,)`` and pupil_center ``(2,)``.

    ``meta/statistics`` holds true statistics of the train trials that were written, as float32 (for
    dynamic mice per frame over trials, NaN where no train trial has a frame; standard deviations with
    ddof 1). For medians the train trials are kept in an unnamed temporary file, as float32: in memory up
    to 64 MiB per variable, beyond that in `destination`. Blocks of 16 MiB are reduced at a time.
    """
    recipe = _recipe(mouse, trials, trial_ids, neurons, dtype, seed, image_shape)
    folder = Path(destination)
    folder.mkdir(parents=True, exist_ok=True)
    writer = _Folder if container == "folder" else _Zip
    with writer(folder, recipe.mouse.name) as target:
        _write(recipe, target, folder, progress)
    return target.path


@dataclass(frozen=True)
class _Recipe:
    """What to write; every array is a function of this and a file number."""

    mouse: PublishedMouse
    trial_ids: tuple[int, ...]
    n_neurons: int
    dtype: np.dtype[Any]
    seed: int
    image_shape: tuple[int, int]

    def rng(self, stream: str, trial_id: int = 0) -> np.random.Generator:
        """Return a stream's own generator, so that any subset of trials gets the same values."""
        return np.random.default_rng((self.seed, zlib.crc32(f"{self.mouse.name}/{stream}".encode()), trial_id))

    @cached_property
    def neuron_activity(self) -> tuple[Array, Array]:
        """Event probability per scan and event size, each ``(n_neurons, 1)``."""
        shape = (self.n_neurons, 1)
        rate = self.rng("neurons/rate").gamma(1.2, _EVENT_RATE / 1.2, shape)
        scale = self.rng("neurons/scale").lognormal(math.log(12), 0.9, shape)
        return np.minimum(rate, 0.5).astype(self.dtype), scale.astype(self.dtype)

    @property
    def n_numbers(self) -> int:
        """Length of the arrays in ``meta/trials``."""
        return self.trial_ids[-1] + 1


def _recipe(
    key: str,
    trials: int | None,
    trial_ids: Sequence[int] | None,
    neurons: int | None,
    dtype: DTypeLike | None,
    seed: int,
    image_shape: tuple[int, int] | None,
) -> _Recipe:
    mouse = find_published(key)
    if mouse is None:
        raise ValueError(f"{key}: no published mouse has this name; use one of {', '.join(published_mice())}")
    chosen = np.dtype(mouse.dtype if dtype is None else dtype)
    if chosen.str not in ("<f4", "<f8"):
        raise ValueError(f"dtype {chosen}: the published arrays are float32 or float64")
    n_neurons = mouse.n_neurons if neurons is None else neurons
    if n_neurons < 1:
        raise ValueError(f"{n_neurons} neurons: at least one is needed")
    shape = image_shape or (_VIDEO_SHAPE if mouse.kind == "dynamic" else _IMAGE_SHAPE)
    return _Recipe(mouse, _selection(mouse, trials, trial_ids), n_neurons, chosen, seed, shape)


def _selection(mouse: PublishedMouse, trials: int | None, trial_ids: Sequence[int] | None) -> tuple[int, ...]:
    if trial_ids is None:
        chosen = mouse.trial_ids[: len(mouse.trial_ids) if trials is None else max(trials, 0)]
    elif trials is None:
        chosen = tuple(sorted({int(trial_id) for trial_id in trial_ids}))
    else:
        raise ValueError("trials and trial_ids exclude each other; give one of them")
    if unknown := sorted(set(chosen) - set(mouse.trial_ids)):
        raise ValueError(f"{mouse.name}: no such trials {unknown}; see published_mice()[{mouse.letter!r}].trial_ids")
    if not chosen:
        raise ValueError(f"{mouse.name}: no trial to write; at least one is needed")
    return chosen


class _Folder:
    """A new mouse folder."""

    def __init__(self, parent: Path, name: str) -> None:
        self.path = parent / name
        self.path.mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def text(self, member: str, text: str) -> None:
        (self.path / member).write_text(text, encoding="utf-8")

    def array(self, member: str, array: Array) -> None:
        path = self.path / f"{member}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array, allow_pickle=False)


class _Zip:
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
        self._bytes(f"{self._root}/{member}", text.encode())

    def array(self, member: str, array: Array) -> None:
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


_Target = _Folder | _Zip


def _write(recipe: _Recipe, target: _Target, spool: Path, progress: Callable[[int, int], object] | None) -> None:
    target.text("config.json", json.dumps({"links": {}}))
    _write_group(target, "meta/neurons", _neurons(recipe))
    _write_group(target, "meta/trials", _trials(recipe))
    with ExitStack() as stack:
        train: dict[str, _TrainTrials] = {}
        for done, trial_id in enumerate(recipe.trial_ids, start=1):
            for variable, array in _trial(recipe, trial_id).items():
                target.array(f"data/{variable}/{trial_id}", array)
                if variable not in train:
                    train[variable] = stack.enter_context(_TrainTrials(array.shape, spool))
                if recipe.mouse.tiers[trial_id] == "train":
                    train[variable].append(array)
            if progress is not None:
                progress(done, len(recipe.trial_ids))
        _write_statistics(target, train, recipe.mouse.kind)


def _write_statistics(target: _Target, train: Mapping[str, _TrainTrials], kind: str) -> None:
    for variable, trials in train.items():
        statistics = trials.overall() if variable == "images" else trials.per_value()
        for group in ("all",) if kind == "dynamic" else ("all", "stimulus_Frame"):
            _write_group(target, f"meta/statistics/{variable}/{group}", statistics)


def _write_group(target: _Target, group: str, arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        target.array(f"{group}/{name}", array)


def _trial(recipe: _Recipe, trial_id: int) -> dict[str, Array]:
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


def _dynamic_trial(recipe: _Recipe, trial_id: int) -> dict[str, Array]:
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


def _static_trial(recipe: _Recipe, trial_id: int) -> dict[str, Array]:
    behavior = recipe.rng("behavior", trial_id).standard_normal(3, dtype=recipe.dtype)
    gaze = recipe.rng("gaze", trial_id).standard_normal(2, dtype=recipe.dtype)
    return {
        "images": _image(recipe, trial_id),
        "responses": _knots(recipe, trial_id, 4).mean(axis=1),
        "behavior": np.abs(behavior * np.array([8, 0.5, 12], recipe.dtype) + np.array([40, 0, 0], recipe.dtype)),
        "pupil_center": gaze * 5 + 90,
    }


def _knots(recipe: _Recipe, trial_id: int, n_knots: int) -> Array:
    """Activity at the scan times ``(n_neurons, n_knots)``: rare events above a tiny dense floor."""
    shape = (recipe.n_neurons, n_knots)
    rate, scale = recipe.neuron_activity
    chance = recipe.rng("responses/chance", trial_id).random(shape, dtype=recipe.dtype)
    size = recipe.rng("responses/size", trial_id).standard_exponential(shape, dtype=recipe.dtype)
    floor = np.where(chance < 1 - _NEGATIVE_SHARE, _FLOOR, -_FLOOR).astype(recipe.dtype)
    size *= np.where(chance < rate, scale, floor)
    return size


def _traces(recipe: _Recipe, trial_id: int, n_frames: int) -> Array:
    knots = _knots(recipe, trial_id, math.ceil(n_frames * _SCAN_RATE / _FRAME_RATE) + 1)
    traces = np.empty((recipe.n_neurons, n_frames), recipe.dtype)
    for start in range(0, recipe.n_neurons, 512):  # what fits the cache, twice as fast as all at once
        traces[start : start + 512] = _stretch(knots[start : start + 512], n_frames, axis=1)
    return traces


def _video(recipe: _Recipe, trial_id: int) -> Array:
    """Smooth random movie ``(height, width, n_frames)``, 0 to 255."""
    n_frames = recipe.mouse.n_frames
    coarse = _smooth(recipe.rng("videos/coarse", trial_id), (5, 8, n_frames // 30 + 2), recipe, n_frames)
    fine = _smooth(recipe.rng("videos/fine", trial_id), (12, 21, n_frames // 6 + 2), recipe, n_frames)
    noise = recipe.rng("videos/noise", trial_id).random(coarse.shape, dtype=recipe.dtype)
    return _to_pixels(coarse, fine, noise)


def _image(recipe: _Recipe, trial_id: int) -> Array:
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


def _smooth(rng: np.random.Generator, knots: tuple[int, int, int], recipe: _Recipe, n_frames: int) -> Array:
    field = rng.standard_normal(knots, dtype=recipe.dtype)
    height, width = recipe.image_shape
    # Time first, while the field is small; the large steps then copy whole rows.
    return _stretch(_stretch(_stretch(field, n_frames, axis=2), width, axis=1), height, axis=0)


def _drift(recipe: _Recipe, stream: str, trial_id: int, shape: tuple[int, int]) -> Array:
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


def _neurons(recipe: _Recipe) -> dict[str, Array]:
    n = recipe.n_neurons
    gaps = recipe.rng("neurons/units").random(n) < 0.05
    place = recipe.rng("neurons/place").uniform(size=(n, 3))
    unit_ids = np.cumsum(1 + gaps)
    coordinates = np.floor(place * (620, 620, 200) + (-310, -310, 150)).astype(np.int64)
    if recipe.mouse.kind == "dynamic":
        return {"cell_motor_coordinates": coordinates, "unit_ids": unit_ids}
    animal, session, scan = recipe.mouse.scan
    return {
        "cell_motor_coordinates": coordinates,
        "unit_ids": unit_ids.astype(np.uint16),
        "area": np.full(n, "V1"),
        "layer": np.full(n, "L2/3"),
        "animal_ids": np.full(n, animal, np.uint16),
        "sessions": np.full(n, session, np.uint8),
        "scan_idx": np.full(n, scan, np.uint8),
    }


def _trials(recipe: _Recipe) -> dict[str, Array]:
    """Arrays of ``meta/trials``, each indexed by file number."""
    written = set(recipe.trial_ids)
    tiers = [recipe.mouse.tiers[number] if number in written else NO_TIER for number in range(recipe.n_numbers)]
    if recipe.mouse.kind == "dynamic":
        return {"tiers": np.array(tiers, "<U16"), "trial_idx": _trial_idx(recipe)[: recipe.n_numbers]}
    frames = {name: array[: recipe.n_numbers] for name, array in _static_frames(recipe).items()}
    return {"tiers": np.array(tiers, "<U10"), **frames}


def _trial_idx(recipe: _Recipe) -> Array:
    """Order of showing: the file number where gaps were kept, else increasing with gaps."""
    n_files = len(recipe.mouse.tiers)
    if NO_TIER in recipe.mouse.tiers:
        return np.arange(n_files)
    gaps = recipe.rng("trials/gaps").random(n_files) < 0.03
    return np.cumsum(1 + gaps) - 1


def _static_frames(recipe: _Recipe) -> dict[str, Array]:
    """Presentation facts of all files of a static mouse; the exporter turned decimals and times into text."""
    n_files = len(recipe.mouse.tiers)
    order = recipe.rng("trials/order").permutation(n_files)
    image_id = _image_ids(recipe)
    shown = np.datetime64("2021-06-01T10:00:00") + order * np.timedelta64(3, "s")
    animal, session, scan = recipe.mouse.scan
    return {
        "trial_idx": _hashes("trial", order) if any(recipe.mouse.withheld) else order.astype(np.uint32),
        "frame_image_id": image_id,
        "frame_image_class": np.full(n_files, "imagenet"),
        "frame_trial_ts": np.array([f"Timestamp('{str(time).replace('T', ' ')}')" for time in shown]),
        "frame_pre_blank_period": np.full(n_files, "Decimal('0.400')"),
        "frame_presentation_time": np.full(n_files, "Decimal('0.500')"),
        "frame_last_flip": 60 + 57 * order,
        "condition_hash": _hashes("condition", image_id),
        "animal_id": np.full(n_files, animal),
        "session": np.full(n_files, session),
        "scan_idx": np.full(n_files, scan),
    }


def _hashes(kind: str, numbers: Array) -> Array:
    digests = [hashlib.blake2b(f"{kind} {number}".encode(), digest_size=16).hexdigest() for number in numbers]
    return np.array(digests)


def _image_ids(recipe: _Recipe) -> Array:
    """Image of each file: 100 per test tier, shown about ten times each; the others once."""
    tiers = np.array(recipe.mouse.tiers)
    images = recipe.rng("trials/images").permutation(len(tiers) + 200)
    ids = images[200:].copy()
    for first, tier in ((0, "test"), (100, "final_test")):
        rows = np.flatnonzero(tiers == tier)
        ids[rows] = images[first + np.arange(rows.size) % 100]
    return ids


class _TrainTrials:
    """The train trials of one variable as float32, one after the other in a spooled temporary file."""

    def __init__(self, shape: tuple[int, ...], folder: Path) -> None:
        self._shape = shape
        self._size = math.prod(shape)
        self._count = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=str(folder))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def append(self, array: Array) -> None:
        self._file.write(array.astype(np.float32).tobytes())
        self._count += 1

    def per_value(self) -> dict[str, Array]:
        """Statistics over trials, each of the shape of a trial."""
        step = max(_BLOCK_BYTES // (4 * max(self._count, 1)), 1)
        parts = [_over_trials(self._block(start, step)) for start in range(0, self._size, step)]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return {name: values.reshape(self._shape) for name, values in joined.items()}

    def overall(self) -> dict[str, Array]:
        """Statistics over trials and pixels, each 0-d; values lie in 0 to 256."""
        n = self._count * self._size
        if n == 0:
            return dict.fromkeys(("mean", "std", "min", "max", "median"), np.array(np.nan, np.float32))
        total, squares, low, high = 0.0, 0.0, math.inf, -math.inf
        histogram = np.zeros(_BINS, np.int64)
        for values in self._pieces():
            histogram += np.bincount(_bin(values), minlength=_BINS)
            total += float(values.sum(dtype=np.float64))
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        for values in self._pieces():
            squares += float(np.square(values - total / n, dtype=np.float64).sum())
        std = math.sqrt(squares / max(n - 1, 1))
        found = {"mean": total / n, "std": std, "min": low, "max": high, "median": self._median(histogram)}
        return {name: np.array(value, np.float32) for name, value in found.items()}

    def _median(self, histogram: Array) -> float:
        upto = np.cumsum(histogram)
        ranks = np.array([(upto[-1] - 1) // 2, upto[-1] // 2])
        first, last = np.searchsorted(upto, ranks, side="right")
        middle = [values[(_bin(values) >= first) & (_bin(values) <= last)] for values in self._pieces()]
        return float(np.sort(np.concatenate(middle))[ranks - (upto[first] - histogram[first])].mean(dtype=np.float64))

    def _block(self, start: int, step: int) -> Array:
        """One range of values of every trial, ``(n_trials, n_values)``."""
        block = np.empty((self._count, min(step, self._size - start)), np.float32)
        for row in range(self._count):
            self._file.seek(4 * (row * self._size + start))
            block[row] = np.frombuffer(self._file.read(block[row].nbytes), np.float32)
        return block

    def _pieces(self) -> Iterator[Array]:
        self._file.seek(0)
        while data := self._file.read(_BLOCK_BYTES):
            yield np.frombuffer(data, np.float32)


def _bin(values: Array) -> NDArray[np.intp]:
    return (values * np.float32(_BINS / 256)).astype(np.intp)


def _over_trials(block: Array) -> dict[str, Array]:
    """Statistics of ``(n_trials, n_values)`` over trials, without NaN; NaN where nothing is left."""
    if block.shape[0] == 0:
        block = np.full((1, block.shape[1]), np.nan, np.float32)
    ordered = np.sort(block, axis=0)  # NaN last
    n = np.count_nonzero(~np.isnan(ordered), axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(block, axis=0, dtype=np.float64) / n
        squares = np.nansum(np.square(block - mean, dtype=np.float64), axis=0)
        std = np.sqrt(squares / np.maximum(n - 1, 0))
    ranks = np.maximum([np.zeros_like(n), (n - 1) // 2, n // 2, n - 1], 0)
    low, left, right, high = np.take_along_axis(ordered, ranks, axis=0)
    found = {"mean": mean, "std": std, "min": low, "max": high, "median": left / 2 + right / 2}
    return {name: values.astype(np.float32) for name, values in found.items()}

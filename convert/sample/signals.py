"""The recorded variables of one trial: random, with the statistics of real ones, and about as hard to compress."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recipe import Recipe

Array = NDArray[Any]
_FRAME_RATE = 30.0  # Hz
_SCAN_RATE = 7.5  # Hz

_BURSTS = 0.18, 0.6  # chance of an event after an event: at least, and per rate
_MOST = 0.8  # chance of an event
_EXCITABILITY = 0.6  # deviation of the logarithm of a neuron's rate from trial to trial
_EVENT_SIZES = 1.6, -0.14  # logarithm of an event's size, from a normal value and its square
_FLOOR_DRIFT = 0.8 * math.log(10)  # deviation of the logarithm of the floor
_FLOOR_MEMORY = 0.91  # its correlation from scan to scan
_LOWEST = -1.95  # deviations of the floor, below which deconvolution leaves negative values

_VIDEO_LEVELS, _IMAGE_LEVELS = (65, 62), (107, 58)  # median and deviation before clipping
_SKEW = 0.12  # most is dark, some is bright
_FINER = 0.75  # amplitude of structures of half the size
_ROOM = 0.3  # of the frame, for the camera to move in
_SHOT = 100  # frames in which it moves on and rests
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
    wide = _drift(recipe, "pupil", trial_id, (1, n_frames))
    pupil = 50 + 40 * wide / np.sqrt(4 + wide * wide)  # within 10 and 90 pixels
    # The animal stands still for most of a recording, but for a little trembling.
    trembling = np.abs(recipe.rng("trembling", trial_id).standard_normal((1, n_frames), dtype=recipe.dtype))
    speed = 9 * np.maximum(_drift(recipe, "speed", trial_id, (1, n_frames)) - 0.7, 0) + trembling / 50
    center = recipe.rng("gaze").uniform(120, 180, (2, 1)).astype(recipe.dtype)
    return {
        "videos": _video(recipe, trial_id),
        "responses": _traces(recipe, trial_id, n_frames),
        "behavior": np.concatenate([pupil, speed]),
        "pupil_center": center + 6 * _drift(recipe, "gaze", trial_id, (2, n_frames)),
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


def _traces(recipe: Recipe, trial_id: int, n_frames: int) -> Array:
    knots = _knots(recipe, trial_id, math.ceil(n_frames * _SCAN_RATE / _FRAME_RATE) + 1)
    traces = np.empty((recipe.n_neurons, n_frames), recipe.dtype)
    for block in _blocks(recipe):
        traces[block] = _stretch(knots[block], n_frames, axis=1)
    return traces


def _knots(recipe: Recipe, trial_id: int, n_knots: int) -> Array:
    """Activity at the scan times ``(n_neurons, n_knots)``: events above a tiny floor that varies slowly."""
    knots = _floor(recipe, trial_id, n_knots)
    events = np.flatnonzero(_events(recipe, trial_id, n_knots))
    size = recipe.rng("responses/size", trial_id).standard_normal(events.size, dtype=recipe.dtype)
    size = _exp(size * (_EVENT_SIZES[0] + _EVENT_SIZES[1] * size))
    knots.reshape(-1)[events] = recipe.neurons.event_size[events // n_knots, 0] * size
    return knots


def _floor(recipe: Recipe, trial_id: int, n_knots: int) -> Array:
    """Return the floor between events; its lowest values are negative."""
    drift = recipe.rng("responses/drift", trial_id).random((recipe.n_neurons, n_knots), dtype=recipe.dtype)
    start = recipe.rng("responses/floor", trial_id).standard_normal(recipe.n_neurons, dtype=recipe.dtype)
    for block in _blocks(recipe):
        steps = 2 * np.ascontiguousarray(drift[block].T) - 1  # time first: a step is one of whole rows
        steps *= steps * steps  # most are small, some large
        steps *= math.sqrt(7 * (1 - _FLOOR_MEMORY**2))
        steps[0] = start[block]
        for before, now in itertools.pairwise(steps):
            now += _FLOOR_MEMORY * before
        size = _exp(_FLOOR_DRIFT * steps)
        np.negative(size, out=size, where=steps < _LOWEST)
        drift[block] = size.T * recipe.neurons.floor[block]
    return drift


def _events(recipe: Recipe, trial_id: int, n_knots: int) -> NDArray[np.bool_]:
    """Whether there is an event at each scan time: likelier after another one, and in some trials."""
    chance = recipe.rng("responses/chance", trial_id).random((recipe.n_neurons, n_knots), dtype=recipe.dtype)
    change = recipe.rng("responses/change", trial_id).standard_normal(recipe.n_neurons, dtype=recipe.dtype)
    rate = np.minimum(recipe.neurons.rate[:, 0] * _exp(_EXCITABILITY * change - _EXCITABILITY**2 / 2), _MOST)
    again = np.maximum(_BURSTS[0] + _BURSTS[1] * rate, rate)
    first = rate * (1 - again) / (1 - rate)
    events = np.empty(chance.shape, np.bool_)
    for block in _blocks(recipe):
        draws = np.ascontiguousarray(chance[block].T)
        alone, after = draws < first[block], draws < again[block]
        alone[0] = draws[0] < rate[block]
        for before, now, burst in zip(alone, alone[1:], after[1:], strict=False):
            now |= burst & before
        events[block] = alone.T
    return events


def _blocks(recipe: Recipe) -> Iterator[slice]:
    """Return slices of neurons that fit the cache together, twice as fast as all at once."""
    return (slice(start, start + 512) for start in range(0, recipe.n_neurons, 512))


def _exp(x: Array) -> Array:
    """Return the exponential within 0.3 %, by exact operations, so that the bits are the same everywhere."""
    x = x * (1 / math.log(2))
    whole = np.floor(x)
    part = x - whole
    return np.ldexp(1 + part * (0.6565 + 0.3435 * part), whole.astype(np.int32))


def _video(recipe: Recipe, trial_id: int) -> Array:
    """Movie ``(height, width, n_frames)``, 0 to 255: what a camera sees of a still scene."""
    clip, (height, width) = recipe.mouse.video_ids[trial_id], recipe.image_shape
    room = math.ceil(_ROOM * height), math.ceil(_ROOM * width)
    scene = _scene(recipe, "videos/scene", clip, (height + room[0] + 1, width + room[1] + 1))
    path = _camera(recipe, clip) * room
    corner = path.astype(np.intp)
    down, right = (path - corner).astype(recipe.dtype).T
    line = scene.shape[1]
    pixels = np.arange(width)[:, None] + corner @ (line, 1)
    seen = np.empty((height, width, recipe.mouse.n_frames), recipe.dtype)
    for row in range(height):
        seen[row] = np.take(scene, pixels) * ((1 - down) * (1 - right))
        seen[row] += np.take(scene, pixels + 1) * ((1 - down) * right)
        pixels += line
        seen[row] += np.take(scene, pixels) * (down * (1 - right))
        seen[row] += np.take(scene, pixels + 1) * (down * right)
    return _to_pixels(recipe, trial_id, seen, _VIDEO_LEVELS)


def _camera(recipe: Recipe, clip: int) -> Array:
    """Places ``(n_frames, 2)`` in a unit square: a slow move with a quick one in it, a rest, and again."""
    time = np.arange(recipe.mouse.n_frames) / _SHOT
    places = recipe.shared_rng("videos/camera", clip).random((math.ceil(time[-1]) + 2, 2))
    part = time % 1
    moved = 0.5 * np.minimum(part / 0.75, 1) + 0.5 * np.clip(15 * part - 7, 0, 1)
    return _interpolate(places, time - part + moved, axis=0)


def _image(recipe: Recipe, trial_id: int) -> Array:
    """Image ``(1, height, width)``, 0 to 255."""
    scene = _scene(recipe, "images/scene", recipe.image_ids[trial_id], recipe.image_shape)
    return _to_pixels(recipe, trial_id, scene[None], _IMAGE_LEVELS)


def _scene(recipe: Recipe, stream: str, clip: int, shape: tuple[int, int]) -> Array:
    """Still picture: tiles of all sizes, which have edges, and power at all of them, as natural pictures do."""
    rng = recipe.shared_rng(stream, clip)
    scene = np.zeros(shape, recipe.dtype)
    amplitude, size = math.sqrt(12 * (1 - _FINER**2)), max(recipe.image_shape) / 2
    while size >= 1:
        values = rng.random([math.ceil(n / size) + 1 for n in shape]).astype(recipe.dtype)
        rows, columns = (
            (np.arange(n) / size + shift).astype(np.intp) for n, shift in zip(shape, rng.random(2), strict=True)
        )
        scene += np.take(np.take(amplitude * (values - 0.5), columns, axis=1), rows, axis=0)
        amplitude, size = amplitude * _FINER, size / 2
    return scene + _SKEW * scene * scene


def _to_pixels(recipe: Recipe, trial_id: int, field: Array, levels: tuple[float, float]) -> Array:
    """Scale, in place. As published, repeats differ in the last bits, and the float64 recordings overshoot 255."""
    median, deviation = levels
    field *= deviation
    field += median
    ulps = int(recipe.rng("stimulus/rounding", trial_id).integers(-4, 5))
    field *= 1 + ulps * float(np.finfo(recipe.dtype).eps)
    return np.clip(field, 0, 255 if field.dtype == np.float32 else _OVERSHOOT, out=field)


def _drift(recipe: Recipe, stream: str, trial_id: int, shape: tuple[int, int]) -> Array:
    """Slow random walk around zero ``(n_channels, n_frames)``."""
    rng = recipe.rng(f"drift/{stream}", trial_id)
    slow = _stretch(rng.standard_normal((shape[0], shape[1] // 40 + 2), dtype=recipe.dtype), shape[1], axis=1)
    jitter = rng.standard_normal(shape, dtype=recipe.dtype)
    return slow + jitter / 50


def _stretch(knots: Array, n: int, *, axis: int) -> Array:
    """Interpolate linearly to `n` values along an axis, from the first knot to the last."""
    return _interpolate(knots, np.arange(n) * ((knots.shape[axis] - 1) / max(n - 1, 1)), axis=axis)


def _interpolate(knots: Array, position: Array, *, axis: int) -> Array:
    """Interpolate linearly along an axis; elementwise, so the bits are the same everywhere."""
    left = np.minimum(position.astype(np.intp), knots.shape[axis] - 2)
    shape = [1] * knots.ndim
    shape[axis] = position.size
    weight = (position - left).astype(knots.dtype).reshape(shape)
    low = np.take(knots, left, axis=axis)
    low *= 1 - weight
    high = np.take(knots, left + 1, axis=axis)
    high *= weight
    low += high
    return low

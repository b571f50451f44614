"""Recipe of a sample: everything in it is a function of this and a file number."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...store.arguments import check_count, check_type, refuse
from ..published_mice import NO_TIER, PublishedMouse, find_published, published_mice

Array = NDArray[Any]
_VIDEO_SHAPE = (36, 64)
_IMAGE_SHAPE = (144, 256)
_RATE = 0.128, 0.40  # calcium events a scan: median over neurons, and standard deviation of its logarithm
_RATES = 0.03, 0.6
_STD = 11.9, 0.86  # of a neuron's activity, likewise
_FLOOR = 10**-6.88, 0.55 * math.log(10)  # what deconvolution leaves between events, likewise


@dataclass(frozen=True)
class Neurons:
    """Events a scan, their median size and the floor between them, each ``(n_neurons, 1)``."""

    rate: Array
    event_size: Array
    floor: Array


@dataclass(frozen=True)
class Recipe:
    """Recipe of a sample; every array is a function of this and a file number."""

    mouse: PublishedMouse
    trial_ids: tuple[int, ...]
    n_neurons: int
    dtype: np.dtype[Any]
    seed: int
    image_shape: tuple[int, int]

    def rng(self, stream: str, trial_id: int = 0) -> np.random.Generator:
        """Return a stream's own generator, so that any subset of trials gets the same values."""
        return self.shared_rng(f"{self.mouse.name}/{stream}", trial_id)

    def shared_rng(self, stream: str, shown: int) -> np.random.Generator:
        """Return the generator of a clip or image, the same for all trials and mice that it was shown to."""
        return np.random.default_rng((self.seed, zlib.crc32(stream.encode()), shown))

    @cached_property
    def neurons(self) -> Neurons:
        """Properties that differ between neurons."""
        rate, std, floor = (self._lognormal(*of) for of in (("rate", *_RATE), ("std", *_STD), ("floor", *_FLOOR)))
        rate = np.clip(rate, *_RATES)
        # With the events of `signals`, activity of size 1 has about this standard deviation.
        return Neurons(rate, std / np.sqrt(14.7 * rate - 4 * rate * rate), floor)

    def _lognormal(self, name: str, median: float, sigma: float) -> Array:
        drawn = self.rng(f"neurons/{name}").lognormal(math.log(median), sigma, (self.n_neurons, 1))
        return drawn.astype(self.dtype)

    @cached_property
    def image_ids(self) -> Array:
        """Image of each file of a static mouse: 100 per test tier, shown about ten times each; the others once."""
        tiers = np.array(self.mouse.tiers)
        images = self.rng("trials/images").permutation(len(tiers) + 200)
        ids = images[200:].copy()
        for first, tier in ((0, "test"), (100, "final_test")):
            rows = np.flatnonzero(tiers == tier)
            ids[rows] = images[first + np.arange(rows.size) % 100]
        return ids

    @property
    def n_numbers(self) -> int:
        """Length of the arrays in ``meta/trials``."""
        return self.trial_ids[-1] + 1


def make_recipe(
    key: str,
    trials: int | None,
    trial_ids: Sequence[int] | None,
    neurons: int | None,
    dtype: DTypeLike | None,
    seed: int,
    image_shape: tuple[int, int] | None,
) -> Recipe:
    """Return what to write, after checking that it can be had; see `write_sample`."""
    check_type("mouse", key, str, "letter or name of a published mouse")
    seed = check_count("seed", seed, 0)
    trials = None if trials is None else check_count("trials", trials, 0)
    neurons = None if neurons is None else check_count("neurons", neurons, 0)
    mouse = find_published(key)
    if mouse is None:
        raise ValueError(f"{key}: no published mouse has this name; use one of {', '.join(published_mice())}")
    try:
        chosen = np.dtype(mouse.dtype if dtype is None else dtype)
    except TypeError:
        refuse("dtype", "float32 or float64", dtype)
    if chosen.str not in ("<f4", "<f8"):
        raise ValueError(f"dtype {chosen}: the published arrays are float32 or float64")
    n_neurons = mouse.n_neurons if neurons is None else neurons
    if n_neurons < 1:
        raise ValueError(f"{n_neurons} neurons: at least one is needed")
    shape = _checked_shape(image_shape) or (_VIDEO_SHAPE if mouse.kind == "dynamic" else _IMAGE_SHAPE)
    return Recipe(mouse, _selection(mouse, trials, trial_ids), n_neurons, chosen, seed, shape)


def _checked_shape(shape: Any) -> tuple[int, int] | None:
    match shape:
        case None:
            return None
        case [height, width]:
            return check_count("image_shape", height), check_count("image_shape", width)
        case _:
            refuse("image_shape", "height and width, in pixels", shape)


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


Array = NDArray[Any]


def neuron_arrays(recipe: Recipe) -> dict[str, Array]:
    """Return the arrays of ``meta/neurons``, one row a neuron."""
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


def trial_meta(recipe: Recipe) -> dict[str, Array]:
    """Arrays of ``meta/trials``, each indexed by file number."""
    written = set(recipe.trial_ids)
    tiers = [recipe.mouse.tiers[number] if number in written else NO_TIER for number in range(recipe.n_numbers)]
    if recipe.mouse.kind == "dynamic":
        return {"tiers": np.array(tiers, "<U16"), "trial_idx": _trial_idx(recipe)[: recipe.n_numbers]}
    frames = {name: array[: recipe.n_numbers] for name, array in _static_frames(recipe).items()}
    return {"tiers": np.array(tiers, "<U10"), **frames}


def _trial_idx(recipe: Recipe) -> Array:
    """Order of showing: the file number where gaps were kept, else increasing with gaps."""
    n_files = len(recipe.mouse.tiers)
    if NO_TIER in recipe.mouse.tiers:
        return np.arange(n_files)
    gaps = recipe.rng("trials/gaps").random(n_files) < 0.03
    return np.cumsum(1 + gaps) - 1


def _static_frames(recipe: Recipe) -> dict[str, Array]:
    """Presentation facts of all files of a static mouse; the exporter turned decimals and times into text."""
    n_files = len(recipe.mouse.tiers)
    order = recipe.rng("trials/order").permutation(n_files)
    image_id = recipe.image_ids
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

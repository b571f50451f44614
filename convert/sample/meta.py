"""What lies beside the trials: arrays a neuron, and a file number."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..published_mice import NO_TIER
from .recipe import Recipe

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


def _image_ids(recipe: Recipe) -> Array:
    """Image of each file: 100 per test tier, shown about ten times each; the others once."""
    tiers = np.array(recipe.mouse.tiers)
    images = recipe.rng("trials/images").permutation(len(tiers) + 200)
    ids = images[200:].copy()
    for first, tier in ((0, "test"), (100, "final_test")):
        rows = np.flatnonzero(tiers == tier)
        ids[rows] = images[first + np.arange(rows.size) % 100]
    return ids

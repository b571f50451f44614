"""What a sample consists of: everything in it is a function of this and a file number."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..published_mice import PublishedMouse, find_published, published_mice

Array = NDArray[Any]
_VIDEO_SHAPE = (36, 64)
_IMAGE_SHAPE = (144, 256)
_EVENT_RATE = 0.05  # calcium events per neuron and scan


@dataclass(frozen=True)
class Recipe:
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
    return Recipe(mouse, _selection(mouse, trials, trial_ids), n_neurons, chosen, seed, shape)


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

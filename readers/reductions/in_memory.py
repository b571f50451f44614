"""Statistics of decoded trials that are in memory: numpy only, no files."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tasks import ALONE, Team
from .reduced import Reduced, dtypes, or_nan, pool_parts

_CACHE_BYTES = 1 << 20
"""What is sorted at once: small enough for the processor's caches, large enough that threads seldom wait in Python."""


def reduce_trials(values: NDArray[Any], *, frames: bool, team: Team = ALONE) -> tuple[Reduced, Reduced | None]:
    """Reduce trials to what they come to at each place, and to what trials and frames come to.

    Parameters
    ----------
    values
        (n_trials, …) float, C-contiguous, the last axis being frames if `frames`; NaN where there is no number.
    frames
        Whether the second result is wanted.
    team
        Threads that do it.

    Returns
    -------
    Reduced, Reduced or None
        Shapes (…), and (…) without frames.

    Notes
    -----
    Holds, beside the results, `reduce_memory` a thread. Each place is computed from its own numbers alone: results do
    not depend on threads, nor on what else is in the array.
    """
    shape = values.shape[1:]
    flat = values.reshape(len(values), -1, shape[-1] if frames else 1)
    places, n_frames = flat.shape[1:]
    found = {name: np.empty((places, n_frames), kind) for name, kind in dtypes(values.dtype).items()}
    medians = np.empty(places, values.dtype)
    team.run([partial(_reduce_places, flat, some, found, medians if frames else None) for some in team.split(places)])
    over_trials = Reduced(**{name: part.reshape(shape) for name, part in found.items()})
    if not frames:
        return over_trials, None
    return over_trials, pool_parts(over_trials, (len(shape) - 1,), medians.reshape(shape[:-1]))


def reduce_memory(n_trials: int, n_frames: int, itemsize: int) -> int:
    """Return the bytes that a thread of `reduce_trials` holds: numbers in order, as float64, and masks."""
    return max(_CACHE_BYTES, n_trials * n_frames * itemsize) // itemsize * (itemsize + 2 * 8 + 1)


def _reduce_places(
    flat: NDArray[Any], places: slice, found: dict[str, NDArray[Any]], medians: NDArray[Any] | None
) -> None:
    """Reduce some of the places of (n_trials, n_places, n_frames), and write what they come to."""
    step = max(1, _CACHE_BYTES // max(len(flat) * flat.shape[2] * flat.itemsize, 1))
    for start in range(places.start, places.stop, step):
        block = slice(start, min(start + step, places.stop))
        ordered = np.ascontiguousarray(flat[:, block].transpose(1, 2, 0))
        ordered.sort(axis=-1)
        with np.errstate(over="ignore", invalid="ignore"):
            for name, part in _reduce_ordered(ordered).items():
                found[name][block] = part
            if medians is not None:
                counts = found["count"][block].sum(axis=1).tolist()
                medians[block] = [_median(place.reshape(-1), n) for place, n in zip(ordered, counts, strict=True)]


def _reduce_ordered(ordered: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Reduce the last axis, on which numbers ascend and NaN come last."""
    n = ordered.shape[-1]
    count = np.full(ordered.shape[:-1], n, np.int64)
    gaps = np.isnan(ordered[..., -1])
    holes = np.isnan(ordered[gaps])
    count[gaps] -= holes.sum(axis=-1)
    wide = ordered.astype(np.float64)
    wide[gaps] = np.where(holes, 0.0, wide[gaps])
    some = np.maximum(count, 1)
    mean = wide.sum(axis=-1) / some
    wide -= mean[..., None]
    wide[gaps] = np.where(holes, 0.0, wide[gaps])
    # Not einsum or dot: the order in which those add depends on the processor.
    variance = np.square(wide, out=wide).sum(axis=-1) / some
    lower, upper, last = (_taken(ordered, gaps, some, at) for at in (_lower, _upper, _last))
    return {
        "count": count,
        "min": _plain(ordered[..., 0]),
        "max": _plain(last),
        "mean": or_nan(count, mean),
        "median": _plain(np.where(some % 2 == 1, lower, _middle(lower, upper))),
        "std": or_nan(count, np.sqrt(variance)),
    }


def _lower(n: Any) -> Any:
    """Return the place of the lower one of the middle two of `n` numbers; of an odd count, both are the middle one."""
    return (n - 1) // 2


def _upper(n: Any) -> Any:
    return n // 2


def _last(n: Any) -> Any:
    return n - 1


def _taken(
    ordered: NDArray[Any], gaps: NDArray[np.bool_], some: NDArray[np.int64], at: Callable[[Any], Any]
) -> NDArray[Any]:
    """Return the number at a place that depends on how many there are; most often, as many as the axis is long."""
    found = ordered[..., at(ordered.shape[-1])].copy()
    found[gaps] = np.take_along_axis(ordered[gaps], at(some[gaps])[:, None], axis=-1)[:, 0]
    return found


def _median(values: NDArray[Any], count: int) -> Any:
    """Return the median of a flat array, which is reordered; all but `count` are NaN and left out."""
    if count == 0:
        return math.nan
    values.partition(_lower(count))
    lower = values[_lower(count)]
    if count % 2:
        return _plain(lower)
    return _plain(_middle(lower, np.fmin.reduce(values[_upper(count) :])))


def _middle(lower: Any, upper: Any) -> Any:
    """Return the mean of two numbers in their own dtype, as `numpy.median` does."""
    return (lower + upper) / lower.dtype.type(2)


def _plain(values: Any) -> Any:
    """Return values with one zero and one NaN: equal numbers then have equal bytes, in whatever order they were."""
    return np.where(np.isnan(values), values.dtype.type(math.nan), values + values.dtype.type(0))

"""Statistics of decoded trials that are in memory: numpy only, no files."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store.tasks import HERE, Threads
from .summary import Summary, dtypes, or_nan, pool_parts

_CACHE_BYTES = 1 << 20
"""What is sorted at once: small enough for the processor's caches, large enough that threads seldom wait in Python."""


_RESULT_BYTES = 128
"""What is known at a time of one place and frame: counts, sums, and the numbers from which results are made."""
_CALLS_BYTES = 1 << 18
"""What numpy's buffers take."""


def reduce_trials(values: NDArray[Any], *, frames: bool, threads: Threads = HERE) -> tuple[Summary, Summary | None]:
    """Reduce trials to what they come to at each place, and to what trials and frames come to.

    Parameters
    ----------
    values
        (n_trials, …) float, C-contiguous, the last axis being frames if `frames`; NaN where there is no number.
    frames
        Whether the second result is wanted.
    threads
        Threads that reduce places.

    Returns
    -------
    Summary, Summary or None
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
    parts = threads.split(places)
    threads.run(partial(_reduce_places, flat, some, found, medians if frames else None) for some in parts)
    over_trials = Summary(**{name: part.reshape(shape) for name, part in found.items()})
    if not frames:
        return over_trials, None
    return over_trials, pool_parts(over_trials, (len(shape) - 1,), medians.reshape(shape[:-1]))


def reduce_memory(n_trials: int, n_frames: int, itemsize: int) -> int:
    """Return the bytes that a thread of `reduce_trials` holds: a block in order and as float64, a mask, its results."""
    values = max(_CACHE_BYTES, n_trials * n_frames * itemsize) // itemsize
    return values * (itemsize + 8 + 1) + (values // n_trials + n_frames) * _RESULT_BYTES + _CALLS_BYTES


def _reduce_places(
    flat: NDArray[Any], places: slice, found: dict[str, NDArray[Any]], medians: NDArray[Any] | None
) -> None:
    """Reduce some of the places of (n_trials, n_places, n_frames), and write what they come to."""
    step = max(1, _CACHE_BYTES // max(len(flat) * flat.shape[2] * flat.itemsize, 1))
    for start in range(places.start, places.stop, step):
        block = slice(start, min(start + step, places.stop))
        ordered = np.array(flat[:, block].transpose(1, 2, 0), order="C")
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
    gaps, holes = bool(np.isnan(ordered[..., -1]).any()), None
    if gaps:
        holes = np.isnan(ordered)
        count -= holes.sum(axis=-1)
    some = np.maximum(count, 1)
    wide = ordered.astype(np.float64)
    mean = _sum(wide, holes) / some
    wide -= mean[..., None]
    variance = _sum(np.square(wide, out=wide), holes) / some
    lower, upper, last = (_taken(ordered, some, at, gaps=gaps) for at in (_lower, _upper, _last))
    return {
        "count": count,
        "min": _plain(ordered[..., 0]),
        "max": _plain(last),
        "mean": or_nan(count, mean),
        "median": _plain(np.where(some % 2 == 1, lower, _middle(lower, upper))),
        "std": or_nan(count, np.sqrt(variance)),
    }


def _sum(values: NDArray[np.float64], holes: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Add up the last axis; holes are made zero for it.

    Not by einsum or dot: the order in which those add depends on the processor.
    """
    if holes is not None:
        np.putmask(values, holes, 0.0)
    return values.sum(axis=-1)


def _lower(n: Any) -> Any:
    """Return the place of the lower one of the middle two of `n` numbers; of an odd count, both are the middle one."""
    return (n - 1) // 2


def _upper(n: Any) -> Any:
    return n // 2


def _last(n: Any) -> Any:
    return n - 1


def _taken(ordered: NDArray[Any], some: NDArray[np.int64], at: Callable[[Any], Any], *, gaps: bool) -> NDArray[Any]:
    """Return the number at a place that depends on how many there are; without gaps, as many as the axis is long."""
    if not gaps:
        return ordered[..., at(ordered.shape[-1])]
    return np.take_along_axis(ordered, at(some)[..., None], axis=-1)[..., 0]


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

"""Statistics of decoded trials that are in memory: numpy only, no files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store.tasks import HERE, Threads
from .moments import moments_of, or_nan
from .summary import Summary, as_median, empty, marks_gaps, middle, plain, pool_parts, statistic_dtypes

_CACHE_BYTES = 1 << 20
"""Bytes sorted at once: small enough for the processor's caches, large enough that threads seldom wait in Python."""


_RESULT_BYTES = 128
"""Bytes of the running results of one place and frame: counts, sums, and the numbers from which results are made."""
_CALLS_BYTES = 1 << 18
"""Bytes of numpy's buffers."""


def reduce_trials(
    values: NDArray[Any], *, frames: bool, lengths: Sequence[int] | None = None, threads: Threads = HERE
) -> tuple[Summary, Summary | None]:
    """Summarize trials at each place, and over trials and frames.

    Parameters
    ----------
    values
        (n_trials, …) bool, integer or float, C-contiguous, the last axis being frames if `frames`; NaN where there is
        no number.
    frames
        Whether the second result is wanted.
    lengths
        Valid frames of each trial, beyond which values are `padding`; all by default. Of floats, NaN tells.
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
    kinds = statistic_dtypes(values.dtype)
    found = {name: np.empty((places, n_frames), kind) for name, kind in kinds.items()}
    medians = np.empty(places, kinds["median"]) if frames else None
    counts = None if marks_gaps(values.dtype) else _counts(lengths, len(values), n_frames)
    threads.run(partial(_reduce_places, flat, some, counts, found, medians) for some in threads.split(places))
    over_trials = Summary(**{name: part.reshape(shape) for name, part in found.items()})
    if medians is None:
        return over_trials, None
    return over_trials, pool_parts(over_trials, (len(shape) - 1,), medians.reshape(shape[:-1]))


def _counts(lengths: Sequence[int] | None, n_trials: int, n_frames: int) -> NDArray[np.int64]:
    """Return (n_frames,) how many trials have each frame."""
    if lengths is None:
        return np.full(n_frames, n_trials)
    return np.count_nonzero(np.asarray(lengths)[:, None] > np.arange(n_frames), axis=0)


def reduce_memory(n_trials: int, n_frames: int, itemsize: int) -> int:
    """Return the bytes that a thread of `reduce_trials` holds: a block in order and as float64, a mask, its results."""
    values = max(_CACHE_BYTES, n_trials * n_frames * itemsize) // itemsize
    return values * (itemsize + 8 + 1) + (values // n_trials + n_frames) * _RESULT_BYTES + _CALLS_BYTES


def _reduce_places(
    flat: NDArray[Any],
    places: slice,
    counts: NDArray[np.int64] | None,
    found: dict[str, NDArray[Any]],
    medians: NDArray[Any] | None,
) -> None:
    """Reduce some of the places of (n_trials, n_places, n_frames), and write the statistics of each.

    Parameters
    ----------
    counts
        (n_frames,), how many values of a frame are numbers, where NaN does not tell.
    """
    step = max(1, _CACHE_BYTES // max(len(flat) * flat.shape[2] * flat.itemsize, 1))
    for start in range(places.start, places.stop, step):
        block = slice(start, min(start + step, places.stop))
        ordered = np.array(flat[:, block].transpose(1, 2, 0), order="C")
        ordered.sort(axis=-1)
        with np.errstate(over="ignore", invalid="ignore"):
            for name, part in _reduce_ordered(ordered, counts).items():
                found[name][block] = part
            if medians is not None:
                every = found["count"][block].sum(axis=1).tolist()
                medians[block] = [_median(place.reshape(-1), n) for place, n in zip(ordered, every, strict=True)]


def _reduce_ordered(ordered: NDArray[Any], counts: NDArray[np.int64] | None) -> dict[str, NDArray[Any]]:
    """Reduce the last axis, on which numbers ascend, and NaN or padding comes last."""
    holes = _holes(ordered, counts)
    count = np.full(ordered.shape[:-1], ordered.shape[-1], np.int64)
    if holes is not None:
        count -= holes.sum(axis=-1)
    moments = moments_of(ordered.astype(np.float64), holes, count)
    some = np.maximum(count, 1)
    lower, upper, last = (_taken(ordered, some, at, gaps=holes is not None) for at in (_lower, _upper, _last))
    found = {
        "count": count,
        "min": plain(ordered[..., 0]),
        "max": plain(last),
        "mean": or_nan(count, moments.mean),
        "median": plain(np.where(some % 2 == 1, as_median(lower), middle(lower, upper))),
        "std": moments.std,
    }
    if counts is not None and holes is not None:
        nothing = empty((), ordered.dtype)
        found |= {name: np.where(count > 0, found[name], getattr(nothing, name)) for name in ("min", "max", "median")}
    return found


def _holes(ordered: NDArray[Any], counts: NDArray[np.int64] | None) -> NDArray[np.bool_] | None:
    """Return where there is no number; None for nowhere."""
    if counts is None:
        return np.isnan(ordered) if np.isnan(ordered[..., -1]).any() else None
    n = ordered.shape[-1]
    return np.broadcast_to(np.arange(n) >= counts[:, None], ordered.shape) if (counts < n).any() else None


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
    """Return the median of a flat array, which is reordered; all but `count` are NaN or padding, and left out."""
    if count == 0:
        return math.nan
    values.partition(_lower(count))
    lower = values[_lower(count)]
    if count % 2:
        return plain(as_median(lower))
    return plain(middle(lower, np.fmin.reduce(values[_upper(count) :])))

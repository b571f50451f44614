"""Statistics of decoded trials that are in memory: numpy only, no files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .reduced import Reduced, dtypes, or_nan

_CACHE_BYTES = 1 << 20
"""What is sorted at once: small enough for the processor's caches, large enough that threads seldom wait in Python."""


def reduce_trials(values: NDArray[Any], *, frames: bool) -> tuple[Reduced, NDArray[Any] | None]:
    """Reduce trials to what they come to at each place, and find the medians over trials and frames.

    Parameters
    ----------
    values
        (n_trials, …) float, the last axis being frames if `frames`; NaN where there is no number.
    frames
        Whether the second result is wanted.

    Returns
    -------
    Reduced, ndarray or None
        Shapes (…) and (…) without frames.

    Notes
    -----
    Holds the results and three blocks of a MiB, or of one place's trials and frames if these are more.
    Each place is computed from its own numbers alone: results do not depend on what else is in the array.
    """
    shape = values.shape[1:]
    flat = values.reshape(len(values), -1, shape[-1] if frames else 1)
    places, n_frames = flat.shape[1:]
    found = {name: np.empty((places, n_frames), kind) for name, kind in dtypes(values.dtype).items()}
    medians = np.empty(places, values.dtype)
    for block in _blocks(places, len(values) * n_frames * values.dtype.itemsize):
        ordered = np.ascontiguousarray(flat[:, block].transpose(1, 2, 0))
        ordered.sort(axis=-1)
        with np.errstate(over="ignore", invalid="ignore"):
            for name, part in _reduce_ordered(ordered).items():
                found[name][block] = part
            if frames:
                counts = found["count"][block].sum(axis=1).tolist()
                medians[block] = [_median(place.reshape(-1), n) for place, n in zip(ordered, counts, strict=True)]
    over_trials = Reduced(**{name: part.reshape(shape) for name, part in found.items()})
    return over_trials, medians.reshape(shape[:-1]) if frames else None


def reduce_memory(n_trials: int, n_frames: int, itemsize: int) -> int:
    """Return the bytes that `reduce_trials` holds beside its results: values in order, as float64, and a mask."""
    return max(_CACHE_BYTES, n_trials * n_frames * itemsize) // itemsize * (itemsize + 2 * 8 + 1)


def _blocks(n: int, nbytes: int) -> Iterator[slice]:
    step = max(1, _CACHE_BYTES // max(nbytes, 1))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


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

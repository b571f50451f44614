"""Ways to compute the statistics of all train trials, and whether two of them agree.

All but `plain_dask` run in processes whose memory is watched, so nothing that only that one needs is imported above.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trialpack import open_mouse, train_statistics
from trialpack.readers import Statistics
from trialpack.store.layout import OVER_FRAMES, OVER_TRIALS, RESPONSES, TIER, TRAIN_TIER, TRIALS
from trialpack.store.variables import KNOWN, VIDEOS

Array = NDArray[Any]
Measured = dict[str, Array]
REDUCTIONS = {"min": np.nanmin, "max": np.nanmax, "median": np.nanmedian, "mean": np.nanmean, "std": np.nanstd}
EXACT = ("min", "max", "median")
NAMES = tuple(name for name, known in KNOWN.items() if "dynamic" in known.kinds)
VIDEO_AXES = (2, 0, 1)
"""Axes of a published video, frames first as in a store."""
TRIAL_AXES, TIME_AXES = "trial", "time"
"""What the public pipeline calls statistics over trials, and over trials and frames."""
_TOLERANCE = 1e-6  # of the largest in an array; of means and standard deviations that were added up as float32
_MEMMAP_BLOCK = 2_000_000  # bytes; the fastest of those tried
_DASK_BLOCK = 32 << 20  # bytes; as fast as larger ones, in less memory


def ours(store: str, **options: Any) -> Statistics:
    """Open a store and compute all statistics."""
    return train_statistics(open_mouse(store), **options)


def public_pipeline(tree: str) -> dict[str, dict[str, Measured]]:
    """Compute all statistics as the public pipelines do: stack every train trial in memory, then reduce the whole.

    Notes
    -----
    Written from the documented behaviour. Arrays are (…, n_frames, n_trials) float32 as published, NaN where a trial
    has no frame; a trial ends before the first NaN of its first pixel.
    """
    folder = Path(tree) / "data"
    trials = _train_trials(Path(tree))
    shapes = {name: np.load(folder / name / f"{trials[0]}.npy").shape for name in NAMES}
    stacked = {name: np.full((*shape, len(trials)), np.nan, np.float32) for name, shape in shapes.items()}
    for place, trial in enumerate(trials):
        found = {name: np.load(folder / name / f"{trial}.npy") for name in NAMES}
        gaps = np.flatnonzero(np.isnan(found[VIDEOS][0, 0]))
        n_frames = gaps[0] if gaps.size else found[VIDEOS].shape[-1]
        for name, values in found.items():
            stacked[name][..., :n_frames, place] = values[..., :n_frames]
    axes = {TRIAL_AXES: -1, TIME_AXES: (-2, -1)}
    return {key: {name: _measure(stacked[name], axis) for name in NAMES} for key, axis in axes.items()}


def make_memmaps(tree: Path, folder: Path) -> None:
    """Stack the train trials of each variable in a file, ``(n_trials, …)`` and otherwise as published."""
    trials = _train_trials(tree)
    folder.mkdir()
    for name in NAMES:
        first = np.load(tree / f"data/{name}/{trials[0]}.npy")
        stacked = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", first.dtype, (len(trials), *first.shape))
        for place, trial in enumerate(trials):
            stacked[place] = np.load(tree / f"data/{name}/{trial}.npy")


def memory_map(folder: Path) -> dict[str, dict[str, Measured]]:
    """Compute all statistics with numpy, of some neurons (rows of pixels) at a time, out of the stacked files."""
    found: dict[str, dict[str, Measured]] = {TRIAL_AXES: {}, TIME_AXES: {}}
    for name in NAMES:
        values: Array = np.load(folder / f"{name}.npy", mmap_mode="r")
        step = max(1, _MEMMAP_BLOCK // (values.nbytes // values.shape[1]))
        blocks = [values[:, start : start + step] for start in range(0, values.shape[1], step)]
        for key, axis in ((TRIAL_AXES, 0), (TIME_AXES, (0, values.ndim - 1))):
            parts = [_measure(block, axis) for block in blocks]
            found[key][name] = {one: np.concatenate([part[one] for part in parts]) for one in REDUCTIONS}
    return found


def plain_dask(store: Path) -> dict[str, dict[str, Measured]]:
    """Compute the statistics of videos and responses with the functions of dask.array, in one call of `compute`."""
    import dask
    import dask.array as da
    import zarr

    tiers: Any = zarr.open_array(store / TRIALS / TIER, mode="r")
    rows = np.flatnonzero(np.asarray(tiers[:]) == TRAIN_TIER)
    lazy = dict[tuple[str, str], dict[str, Any]]()
    for name, frames in ((VIDEOS, 1), (RESPONSES, 2)):
        chosen: Any = da.from_zarr(str(store / name))[rows]
        # A median needs all its numbers in one block; rechunking once for everything takes a third of the time.
        whole = tuple(-1 if axis in (0, frames) else "auto" for axis in range(chosen.ndim))
        values = chosen.rechunk(whole, block_size_limit=_DASK_BLOCK)
        for key, axes in ((TRIAL_AXES, (0,)), (TIME_AXES, (0, frames))):
            lazy[key, name] = {one: getattr(da, f"nan{one}")(values, axis=axes) for one in REDUCTIONS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        (computed,) = dask.compute(lazy)  # pyright: ignore[reportPrivateImportUsage]
    return {key: {name: computed[key, name] for name in (VIDEOS, RESPONSES)} for key in (TRIAL_AXES, TIME_AXES)}


def check_equal(found: Statistics, public: Mapping[str, Mapping[str, Measured]]) -> None:
    """Compare what trialpack computes with what the public pipeline does.

    Raises
    ------
    RuntimeError
        A minimum, maximum or median is another number, or a mean or standard deviation is further from the other's
        than float32 explains.
    """
    for name, one, expected, values in _pairs(found, public):
        if one in EXACT:
            equal = np.array_equal(values, expected, equal_nan=True)
        else:
            apart = _TOLERANCE * float(np.nanmax(np.abs(expected)))
            equal = np.allclose(values, expected, rtol=0, atol=apart, equal_nan=True)
        if not equal or values.shape != expected.shape:
            raise RuntimeError(f"{one} of {name}: trialpack and the public pipeline differ")


def _pairs(found: Statistics, public: Mapping[str, Mapping[str, Measured]]) -> Iterator[tuple[str, str, Array, Array]]:
    """Yield variable, statistic, what is expected, and what was found, in the axes of the store."""
    for name in NAMES:
        reduced = found[name]
        for one in REDUCTIONS:
            values = public[TRIAL_AXES][name][one]
            expected = values.transpose(VIDEO_AXES) if name == VIDEOS else values
            yield name, one, expected, getattr(reduced[OVER_TRIALS], one)
            yield name, one, public[TIME_AXES][name][one], getattr(reduced[OVER_FRAMES], one)


def _measure(values: Array, axis: int | tuple[int, ...]) -> Measured:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # frames that no trial has
        return {one: np.asarray(function(values, axis=axis)) for one, function in REDUCTIONS.items()}


def _train_trials(tree: Path) -> list[int]:
    return np.flatnonzero(np.load(tree / "meta/trials/tiers.npy") == TRAIN_TIER).tolist()

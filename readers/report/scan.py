"""One pass over the recorded variables of a store: numbers of each trial and of each neuron, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store import CorruptStoreError, Problem
from ...store.layout import NEURON, ArrayLayout, Variable
from ...store.tasks import Progress, Silent, Threads, available_cores
from ...store.variables import PUPIL_CENTER, RESPONSES
from ..recording import Recording
from ..reductions.moments import Moments, moments_of, no_moments
from ..rows import read_rows
from ..shown import readable, unit_text

_AT_ONCE = 8 << 20
"""Bytes of small trials that are read, and of float64 that are held, at once."""
_MEMORY = 512 << 20
_TASKS = 32
"""Parts of a variable that threads take: their number changes no result, and each holds numbers of every neuron."""
_SAMPLED = 50_000
_MOST_SERIES = 6


@dataclass(frozen=True, eq=False)
class NeuronScan:
    """The responses of each neuron over all trials that were read; arrays are (n_neurons,).

    Attributes
    ----------
    moments
        Count, mean and variance of the finite values, in the unit of the responses.
    low, high
        Least and largest finite value, float64; NaN where there is none.
    """

    moments: Moments
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def merge(self, other: NeuronScan) -> NeuronScan:
        """Return the scan of the trials of both."""
        low, high = np.fmin(self.low, other.low), np.fmax(self.high, other.high)
        return NeuronScan(self.moments.merge(other.moments), low, high)


@dataclass(frozen=True, eq=False)
class VariableScan:
    """What one pass found of a variable: arrays with one entry a trial, of its valid frames.

    Attributes
    ----------
    variable
        What it is.
    series
        Name and unit of what `means` and `sample` tell apart: the channels, or all values together.
    read
        (n_trials,) bool, trials that were recorded, and could be read.
    size, missing, saturated
        (n_trials,) int64, how many values there are; are NaN or infinite; are black or white, of pictures.
    lost
        (n_trials,) int64, frames without a pupil: NaN, zero, or all of a trial that does not change.
    low, high
        (n_trials,) float64, least and largest finite value; NaN where nothing was read.
    means
        (n_trials, n_series) float64, likewise.
    sample
        (n_trials, n_series, n) float32, evenly spaced values of each trial; NaN where there are fewer.
    problems
        What could not be read.
    neurons
        Of the responses; None of other variables.
    """

    variable: Variable
    series: tuple[tuple[str, str], ...]
    read: NDArray[np.bool_]
    size: NDArray[np.int64]
    missing: NDArray[np.int64]
    saturated: NDArray[np.int64]
    lost: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    means: NDArray[np.float64]
    sample: NDArray[np.float32]
    problems: list[Problem] = field(default_factory=list[Problem])
    neurons: NeuronScan | None = None


def scan_recording(
    recording: Recording, *, threads: int | None = None, progress: Progress | None = None
) -> dict[str, VariableScan]:
    """Read every trial of every variable once.

    Parameters
    ----------
    threads
        How many at most; one a core by default, fewer where trials are large.
    progress
        Listener to how far it is.

    Returns
    -------
    dict
        Name of a variable -> what was found. Trials that are damaged are left out, and named in its problems.

    Notes
    -----
    Every chunk's checksum is compared. Holds a group of trials that share a chunk for each thread, and some numbers of
    each trial and neuron. Results do not depend on the number of threads.
    """
    hears, largest = progress or Silent(), max(map(_group_nbytes, recording.arrays.values()))
    hears.start("looking at", sum(array.nbytes for array in recording.arrays.values()), 0)
    workers = Threads(max(1, min(threads or available_cores(), _MEMORY // (4 * largest))), "trialpack-report")
    return {variable.name: _scan_variable(recording, variable, workers, hears) for variable in recording.variables}


def _group_nbytes(array: ArrayLayout) -> int:
    return max(array.trial_nbytes * array.chunk[0], _AT_ONCE)


def series_of(variable: Variable) -> tuple[tuple[str, str], ...]:
    """Return name and unit of each channel that is looked at by itself, or of all values together."""
    several = variable.channels and variable.separate == (variable.channel_dimension,)
    if several and len(variable.channels) <= _MOST_SERIES:
        return tuple((_channel_name(variable, one.name), unit_text(one.units)) for one in variable.channels)
    return ((readable(variable.name), unit_text(variable.units)),)


def _channel_name(variable: Variable, channel: str) -> str:
    return readable(channel if " " in channel else f"{variable.name} {channel}")


def _scan_variable(recording: Recording, variable: Variable, workers: Threads, progress: Progress) -> VariableScan:
    array, n, series = recording.arrays[variable.name], len(recording.trial_ids), series_of(variable)
    size, missing, saturated, lost = np.zeros((4, n), np.int64)
    (low, high), means = np.full((2, n), np.nan), np.full((n, len(series)), np.nan)
    sample = np.full((n, len(series), -(-_SAMPLED // n)), np.nan, np.float32)
    read = np.zeros(n, bool)
    found = VariableScan(variable, series, read, size, missing, saturated, lost, low, high, means, sample)
    given = recording.given(variable.name, np.arange(n))
    groups = np.split(given, np.flatnonzero(np.diff(given // array.chunk[0])) + 1)
    runs = [groups[part] for part in _cut(len(groups), _TASKS)]
    parts = workers.run(
        (partial(_scan_groups, recording, found, run) for run in runs),
        lambda place: progress.advance(sum(map(len, runs[place])) * array.trial_nbytes, 0),
    )
    progress.advance((n - len(given)) * array.trial_nbytes, 0)
    neurons = None
    for part in parts:
        neurons = part if neurons is None or part is None else neurons.merge(part)
    return replace(found, neurons=neurons)


def _cut(n: int, parts: int) -> list[slice]:
    ends = [n * part // min(n, parts) for part in range(min(n, parts) + 1)]
    return [slice(*one) for one in zip(ends[:-1], ends[1:], strict=True)]


def _scan_groups(recording: Recording, found: VariableScan, groups: Sequence[NDArray[np.int64]]) -> NeuronScan | None:
    """Note what is found of each trial of some groups, and return what is found of the neurons."""
    variable = found.variable
    array, axis = recording.arrays[variable.name], variable.frame_axis
    neurons = _no_neurons(array) if variable.name == RESPONSES else None
    for row, values in _trials(recording, array, groups, found.problems):
        if axis is not None and recording.n_frames is not None:
            values = values[(slice(None),) * axis + (slice(int(recording.n_frames[row])),)]
        if values.size:
            _note(found, row, values)
            if neurons is not None:
                neurons = neurons.merge(_of_neurons(np.moveaxis(values, variable.dimensions.index(NEURON), 0)))
    return neurons


def _trials(
    recording: Recording, array: ArrayLayout, groups: Sequence[NDArray[np.int64]], problems: list[Problem]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield row and values of each trial that can be read; many small ones are read at once."""
    nbytes = max(array.trial_nbytes * max(map(len, groups)), 1)
    for part in _cut(len(groups), -(-len(groups) * nbytes // _AT_ONCE)):
        rows = np.concatenate(groups[part]).tolist()
        values = np.empty((len(rows), *array.shape[1:]), array.numpy_dtype)
        try:
            read_rows(recording.place, array, rows, values)
        except CorruptStoreError as error:
            several = groups[part]
            if len(several) == 1:
                trials = recording.trial_ids[rows].tolist()
                problems += [Problem(one.path, one.what, one.advice, one.member, trials[0]) for one in error.problems]
            for one in several if len(several) > 1 else []:
                yield from _trials(recording, array, [one], problems)
        else:
            yield from zip(rows, values, strict=True)


def _note(found: VariableScan, row: int, values: NDArray[Any]) -> None:
    """Note what is found of the valid frames of a trial."""
    variable, channels = found.variable, _by_channel(found.variable, values)
    series = channels if len(found.series) > 1 else channels.reshape(1, -1)
    found.read[row], found.size[row] = True, values.size
    known, low, high = None, float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        known = np.isfinite(series)
        some = series[known]
        low, high = (float(some.min()), float(some.max())) if some.size else (math.nan, math.nan)
        found.missing[row] = values.size - some.size
    found.low[row], found.high[row] = low, high
    found.means[row] = _means(series, known)
    taken = series[:, :: -(-series.shape[1] // found.sample.shape[2])]
    found.sample[row, :, : taken.shape[1]] = taken
    if variable.has_pictures and NEURON not in variable.dimensions:
        found.saturated[row] = _saturated(values, low, high)
    found.lost[row] = _lost(found, channels, series)


def _by_channel(variable: Variable, values: NDArray[Any]) -> NDArray[Any]:
    """Return values as (n_channels, n), or as (1, n) where there are no channels."""
    if not variable.separate or variable.separate[0] != variable.channel_dimension:
        return values.reshape(1, -1)
    axis = variable.dimensions.index(variable.separate[0])
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def _means(channels: NDArray[Any], known: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    if known is None:
        return channels.mean(axis=1, dtype=np.float64)
    count = known.sum(axis=1)
    total = np.where(known, channels, 0).sum(axis=1, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _saturated(values: NDArray[Any], low: float, high: float) -> int:
    """Return how many pixels are black or white: at 0, or at what the dtype (of floats, 1 or 255) holds at most."""
    if values.dtype.kind == "b" or not low >= 0:
        return 0
    white = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1 if high <= 1 else 255
    return int(np.count_nonzero(values <= 0) + np.count_nonzero(values >= white))


def _lost(found: VariableScan, channels: NDArray[Any], series: NDArray[Any]) -> int:
    """Return in how many frames a tracker has lost the pupil; zero of variables that are of no pupil."""
    if found.variable.name == PUPIL_CENTER:
        pupil = channels
        lost = np.asarray(~np.isfinite(channels).all(axis=0) | ~channels.any(axis=0))
    else:
        pupil = series[[place for place, (name, _) in enumerate(found.series) if name.startswith("pupil")]]
        lost = np.asarray(~(pupil > 0).all(axis=0)) if len(pupil) else np.zeros(1, bool)
    frozen = pupil.shape[1] > 1 and len(pupil) > 0 and bool((pupil == pupil[:, :1]).all())
    return len(lost) if frozen else int(lost.sum())


def _no_neurons(array: ArrayLayout) -> NeuronScan:
    n = array.shape[array.dimensions.index(NEURON)]
    return NeuronScan(no_moments(n), np.full(n, np.nan), np.full(n, np.nan))


def _of_neurons(values: NDArray[Any]) -> NeuronScan:
    """Return what is found of (n_neurons, …) values of one trial, some neurons after the others."""
    flat = values.reshape(len(values), -1)
    parts = [_of_some(flat[part]) for part in _cut(len(flat), -(-flat.size * 8 // _AT_ONCE))]
    moments = Moments(*(np.concatenate([getattr(one.moments, name) for one in parts]) for name in _MOMENTS))
    return NeuronScan(moments, np.concatenate([one.low for one in parts]), np.concatenate([one.high for one in parts]))


_MOMENTS = ("count", "mean", "variance")


def _of_some(flat: NDArray[Any]) -> NeuronScan:
    values = flat.astype(np.float64)
    low, high = values.min(axis=1), values.max(axis=1)
    holes, count = None, np.full(len(values), values.shape[1], np.int64)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        holes = ~np.isfinite(values)
        values[holes] = np.nan
        low, high = np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)
        count = count - holes.sum(axis=1)
    return NeuronScan(moments_of(values, holes, count), low, high)

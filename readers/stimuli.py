"""Which trials show the same stimulus: by digests, by the number of the image, or by a comparison of values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..store import StoreIndex, layout
from ..store.arguments import refuse
from ..store.layout import ArrayLayout, Variable
from ..store.manifest import values_digest
from .recording import Recording, recording_of
from .rows import read_trial

_IMAGE = ("frame_image_id", "frame_image_class")
"""Columns of the static mice's trials: numbers of images, within a class of them."""
_SHARE = 0.85
"""Of the longer of two clips more than this part has to be equal: repeats of one may begin a frame earlier or later."""
Key = tuple[object, ...]


def stimulus_ids(index: StoreIndex, recording: Recording) -> NDArray[np.int64] | None:
    """Return (n_trials,) the trial_id of the first trial that shows the same stimulus; None where it is unknown."""
    keys = _keys(index, recording)
    return recording.trial_ids[_first_alike(keys)] if recording.stimulus is not None or any(keys) else None


def same_stimuli(
    indexes: Sequence[StoreIndex], max_difference: float | None = None, rows: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """Return, for each trial of some stores one behind another, the first one that shows the same stimulus.

    Parameters
    ----------
    max_difference
        How far values may be from one another, in the unit of the stimulus; None to compare no values.
    rows
        Which trials' values are compared; all by default.

    Raises
    ------
    OptionError
        It is no such number.
    CorruptStoreError
        What is compared is damaged.

    Notes
    -----
    Bit-equal values, or equal numbers of images, are the same stimulus. Otherwise a trial is compared with the first
    trial of each stimulus so far. It shows the same if pictures have the same size, and if in more than 85 % of the
    frames of the longer clip no value is off by more than `max_difference`: so ViV1T-closed-loop finds the clips of
    Sensorium 2023, with 1 grey level. Holds the mean of each frame, by which most are told apart, and two trials.
    """
    if max_difference is not None:
        _check_difference(max_difference)
    recordings = list(map(recording_of, indexes))
    keys = [key for index, recording in zip(indexes, recordings, strict=True) for key in _keys(index, recording)]
    first = _first_alike(keys)
    if max_difference is None:
        return first
    trials = [_Trial(recording, row) for recording in recordings for row in range(len(recording.trial_ids))]
    compared = range(len(trials)) if rows is None else np.unique(first[list(rows)]).tolist()
    known = [number for number in compared if first[number] == number and trials[number].has_stimulus]
    return _first_alike(keys, _near_pairs(trials, known, float(max_difference)))


def _check_difference(value: Any) -> None:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not value >= 0:
        refuse("max_difference", "a number of at least 0, in the unit of the stimulus", value)


def differ_in_digests(one: Recording, other: Recording) -> bool:
    """Return whether equal stimuli have other digests, of other dtypes or padded to other lengths."""
    if one.stimulus is None or other.stimulus is None or _picture(one) != _picture(other):
        return False
    arrays = one.arrays[one.stimulus.name], other.arrays[other.stimulus.name]
    return arrays[0].dtype != arrays[1].dtype or arrays[0].shape[1:] != arrays[1].shape[1:]


def _picture(recording: Recording) -> Key:
    """Return what is equal for all stimuli that can be compared: names and sizes of all dimensions but frames."""
    array = recording.arrays[cast("Variable", recording.stimulus).name]
    sizes = zip(array.dimensions[1:], array.shape[1:], strict=True)
    return tuple((name, None if name == layout.FRAME else size) for name, size in sizes)


def _keys(index: StoreIndex, recording: Recording) -> list[list[Key]]:
    """Return, for each trial, what it has in common with all that show the same stimulus; nothing if it is unknown."""
    keys = [[key] for key in _image_keys(index, recording)] or [list[Key]() for _ in recording.trial_ids]
    stimulus = recording.stimulus
    if stimulus is None:
        return keys
    array, digests = recording.arrays[stimulus.name], index.manifest.values[stimulus.name]
    blank, often = dict[int, str](), Counter(digests)
    for row in recording.given(stimulus.name, np.arange(len(digests))).tolist():
        n_frames = 0 if recording.n_frames is None else int(recording.n_frames[row])
        # What a publisher withheld is zeros, and no stimulus that was shown again.
        if often[digests[row]] > 1 and n_frames not in blank:
            blank[n_frames] = _digest_of_zeros(array, stimulus, n_frames)
        if digests[row] != blank.get(n_frames):
            keys[row].append((array.dtype, array.dimensions, array.shape[1:], digests[row]))
    return keys


def _image_keys(index: StoreIndex, recording: Recording) -> list[Key]:
    """Return what image each trial shows, where a table says so."""
    paths = [f"{layout.TRIALS}/{name}" for name in _IMAGE]
    found = [index.small(path)[recording.trial_ids].tolist() for path in paths if _is_column(index.arrays.get(path))]
    return list(zip(*found, strict=True)) if _is_column(index.arrays.get(paths[0])) else []


def _is_column(array: ArrayLayout | None) -> bool:
    return array is not None and array.dimensions == (layout.FILE_NUMBER,)


def _digest_of_zeros(array: ArrayLayout, variable: Variable, n_frames: int) -> str:
    values = np.zeros(array.shape[1:], array.numpy_dtype)
    if variable.frame_axis is not None:
        np.moveaxis(values, variable.frame_axis, 0)[n_frames:] = variable.fill_value
    return values_digest(values)


def _first_alike(keys: Sequence[Sequence[Key]], pairs: Iterable[tuple[int, int]] = ()) -> NDArray[np.int64]:
    """Return, for each trial, the first one that it shares a key or a pair with, itself or through others."""
    first, seen = list(range(len(keys))), dict[Key, int]()

    def join(one: int, other: int) -> None:
        low, high = sorted((_root(first, one), _root(first, other)))
        first[high] = low

    for number, own in enumerate(keys):
        for key in own:
            join(number, seen.setdefault(key, number))
    for one, other in pairs:
        join(one, other)
    return np.array([_root(first, number) for number in range(len(keys))], np.int64)


def _root(first: list[int], number: int) -> int:
    while first[number] != number:
        number = first[number] = first[first[number]]
    return number


class _Trial(NamedTuple):
    """A trial whose stimulus is compared."""

    recording: Recording
    row: int

    @property
    def has_stimulus(self) -> bool:
        stimulus = self.recording.stimulus
        return stimulus is not None and self.recording.given(stimulus.name, np.array([self.row])).size > 0

    @property
    def n_frames(self) -> int:
        return 1 if self._stimulus.frame_axis is None else int(cast("Any", self.recording.n_frames)[self.row])

    def read(self) -> NDArray[Any]:
        """Return the stimulus, (n_frames, values of a frame)."""
        values, axis = read_trial(self.recording, self._stimulus.name, self.row), self._stimulus.frame_axis
        return values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)

    @property
    def _stimulus(self) -> Variable:
        return cast("Variable", self.recording.stimulus)


def _near_pairs(trials: Sequence[_Trial], numbers: Sequence[int], max_difference: float) -> Iterator[tuple[int, int]]:
    """Yield pairs of the first trial of a stimulus and another one with nearly the same."""
    groups = dict[Key, list[int]]()
    for number in numbers:
        groups.setdefault(_picture(trials[number].recording), []).append(number)
    for group in groups.values():
        kept = _Kept(len(group), max(trials[number].n_frames for number in group))
        for number in group:
            values = trials[number].read()
            if not values.any():  # zeros in place of what was withheld
                continue
            mean = values.mean(axis=1, dtype=np.float64)
            for one in kept.candidates(mean, max_difference):
                if _are_near(values, trials[one].read(), max_difference):
                    yield one, number
                    break
            else:
                kept.add(number, mean)


class _Kept:
    """The first trials of stimuli, and the mean of each of their frames."""

    def __init__(self, most: int, longest: int) -> None:
        self._numbers, self._lengths, self._means = list[int](), np.zeros(most), np.full((most, longest), np.nan)

    def add(self, number: int, mean: NDArray[np.float64]) -> None:
        self._lengths[len(self._numbers)] = len(mean)
        self._means[len(self._numbers), : len(mean)] = mean
        self._numbers.append(number)

    def candidates(self, mean: NDArray[np.float64], max_difference: float) -> list[int]:
        """Return those that can be near: where no value of a frame is further off, its mean is not."""
        count, n_frames = len(self._numbers), len(mean)
        off = np.abs(self._means[:count, :n_frames] - mean)
        equal = off <= max_difference + 1e-9 * (1 + np.abs(mean))  # sums are rounded
        enough = equal.sum(axis=1) > _SHARE * np.maximum(self._lengths[:count], n_frames)
        return [self._numbers[place] for place in np.flatnonzero(enough)]


def _are_near(one: NDArray[Any], other: NDArray[Any], max_difference: float) -> bool:
    n_frames = min(len(one), len(other))
    wide = np.result_type(one.dtype, other.dtype, np.float32)  # differences of integers wrap around
    off = np.abs(np.subtract(one[:n_frames], other[:n_frames], dtype=wide))
    equal = (off <= max_difference).all(axis=1)
    return int(equal.sum()) > _SHARE * max(len(one), len(other))

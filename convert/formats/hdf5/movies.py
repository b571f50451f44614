"""The older layouts: of static mice one dataset a variable; of dynamic mice one a trial, frames first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....store.variables import BEHAVIOR, FRAME, IMAGES, KNOWN, PUPIL_CENTER, RESPONSES, VIDEOS
from ..findings import OF_ANOTHER_SHAPE, REMOVE
from ..published.names import NEURONS, NPY, STATISTICS, TIERS, TRIALS
from ..source import ReadError
from .access import Hdf5Reader
from .dataset import Dataset
from .hdf5_surveyor import SAVE_WITH_AXES, Hdf5Surveyor, check_dtype, place_of_stack
from .places import Contents, TrialPlace, VariablePlace

_STATIC_AXES = {IMAGES: 3, RESPONSES: 1, BEHAVIOR: 1, PUPIL_CENTER: 1}
"""Variable -> number of axes of one trial."""
STATIC_DATASETS = (*_STATIC_AXES, "tiers")
_STATIC_GROUPS = {"item_info": TRIALS, "neurons": NEURONS, "statistics": STATISTICS}


def read_static(file: Hdf5Reader) -> Contents:
    """Find out what a file of this layout holds.

    Raises
    ------
    SourceError
        With every problem that can be seen without reading trials.
    """
    collecting = Hdf5Surveyor(file)
    found = {name: collecting.stack(name, KNOWN[name].forms[axes]) for name, axes in _STATIC_AXES.items()}
    stacks = {name: stack for name, stack in found.items() if stack is not None}
    stimulus = stacks.get(IMAGES)
    if stimulus is not None:
        collecting.check_rows(stacks, stimulus.shape[0], stimulus.path)
    collecting.add_small(TIERS, "tiers")
    for group, prefix in _STATIC_GROUPS.items():
        collecting.add_group(group, prefix, statistic_name if group == "statistics" else str)
    for name in file.kinds():
        if name not in (*STATIC_DATASETS, *_STATIC_GROUPS):
            collecting.found.leave_out(name)
    ids = range(stimulus.shape[0] if stimulus is not None else 0)
    places = {name: _static_place(stack, ids) for name, stack in stacks.items()}
    return collecting.finish(ids, collecting.known_variables(places), places)


def statistic_name(name: str) -> str:
    """Return what a published tree calls a statistic.

    Examples
    --------
    >>> statistic_name("images/stimulus.Frame/mean")
    'images/stimulus_frame/mean'
    """
    return name.replace(".", "_").lower()


def _static_place(stack: Dataset, ids: range) -> VariablePlace:
    descr, nbytes = stack.dtype.str, stack.row_nbytes
    trials = {trial: TrialPlace(stack.path, trial, None, descr, False, nbytes) for trial in ids}
    return place_of_stack(range(len(stack.shape) - 1), None, stack, trials)


NAMES = {VIDEOS: "inputs", RESPONSES: "responses", BEHAVIOR: "behavior", PUPIL_CENTER: "eye_position"}
"""Published name -> the group's; also of the statistics."""
MOVIE_GROUPS = tuple(NAMES.values())
MOVIE_DATASETS = ("tiers",)
_MOVIE_AXES = {
    VIDEOS: ("channel", "frame", "height", "width"),
    RESPONSES: ("frame", "neuron"),
    BEHAVIOR: ("frame", "channel"),
    PUPIL_CENTER: ("frame", "axis"),
}
_READ_AXES = {VIDEOS: (1, 2, 0)}
"""For each axis of the published array, the one in the file, the channel's left out; (1, 0) for the others."""
_OF_TRIALS = ("durations", "condition_hashes", "movie_names", "tiers", "trial_idx", "types")
_NUMBER = re.compile("0|[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class _Trial:
    """One dataset: its shape without the channel's axis, dtype, bytes, and the bytes that unpacking it takes."""

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int
    unpacking: int


def read_movies(file: Hdf5Reader) -> Contents:
    """Find out what a file of this layout holds; see `read_static`."""
    collecting = Hdf5Surveyor(file)
    there = {name: _numbers(collecting, name) for name in NAMES}
    trials = {name: _trials(collecting, name, there[name]) for name in NAMES}
    ids = sorted({trial for found in there.values() for trial in found})
    names = {name: f"{group}/{{}}" for name, group in NAMES.items()}
    collecting.found.check_complete(names, there, ids, set(), "add it, or leave the trial out of all groups")
    _check_lengths(collecting, trials)
    places = {name: _place(collecting, name, found) for name, found in trials.items() if found}
    top = file.kinds()
    for name in _OF_TRIALS:
        if name in top:
            collecting.add_small(f"{TRIALS}{name}{NPY}", name)
    collecting.add_group("neurons", NEURONS)
    collecting.add_group("statistics", STATISTICS, _statistic_name)
    for name in top:
        if name not in (*MOVIE_GROUPS, *_OF_TRIALS, "neurons", "statistics"):
            collecting.found.leave_out(name)
    return collecting.finish(ids, collecting.known_variables(places), places)


def _numbers(collecting: Hdf5Surveyor, variable: str) -> list[int]:
    """Return the numbers of a variable's trials, whatever these are."""
    group, found, known = NAMES[variable], list[int](), len(collecting.found.problems)
    with collecting.noting(group):
        for name in collecting.file.kinds(group):
            if _NUMBER.fullmatch(name):
                found.append(int(name))
            else:
                collecting.found.problem("not a trial (expected a number)", REMOVE, f"{group}/{name}")
    if not found and len(collecting.found.problems) == known:
        collecting.found.problem("empty (expected one dataset a trial)", "give the file of a mouse", group)
    return sorted(found)


def _trials(collecting: Hdf5Surveyor, variable: str, numbers: Iterable[int]) -> dict[int, _Trial]:
    """Examine every dataset of a variable."""
    found = dict[int, _Trial]()
    for number in numbers:
        path = f"{NAMES[variable]}/{number}"
        with collecting.noting(path, number):
            found[number] = _trial(variable, collecting.file.dataset(path))
    return found


def _trial(variable: str, dataset: Dataset) -> _Trial:
    axes, shape = _MOVIE_AXES[variable], dataset.shape
    if len(shape) != len(axes) or 0 in shape:
        raise ReadError(f"expected the axes ({', '.join(axes)}), found shape {shape}", SAVE_WITH_AXES)
    if axes[0] != FRAME and shape[0] != 1:
        raise ReadError(f"expected one channel, found shape {shape}", "save each channel as a mouse of its own")
    check_dtype(dataset)
    kept = shape if axes[0] == FRAME else shape[1:]
    return _Trial(dataset.path, kept, dataset.dtype, dataset.nbytes, dataset.unpacking)


def _check_lengths(collecting: Hdf5Surveyor, trials: Mapping[str, Mapping[int, _Trial]]) -> None:
    """Check that all variables of a trial have as many frames as its video."""
    stimulus = trials[VIDEOS]
    for found in trials.values():
        for trial_id, trial in found.items():
            video = stimulus.get(trial_id)
            if video is not None and trial.shape[0] != video.shape[0]:
                what = f"expected {video.shape[0]} frames as in {video.path}, found {trial.shape[0]}"
                collecting.found.problem(what, OF_ANOTHER_SHAPE, trial.path, trial_id)


def _place(collecting: Hdf5Surveyor, variable: str, trials: Mapping[int, _Trial]) -> VariablePlace:
    """Note where the trials of a variable are; all have the same shape, but for their frames."""
    usual = Counter(trial.shape[1:] for trial in trials.values()).most_common(1)[0][0]
    for trial_id, trial in trials.items():
        if trial.shape[1:] != usual:
            what = f"expected shape {usual} of each frame as in the other trials, found {trial.shape[1:]}"
            collecting.found.problem(what, OF_ANOTHER_SHAPE, trial.path, trial_id)
    shape = (max(trial.shape[0] for trial in trials.values()), *usual)
    # Float32 and float64 only: one of them holds all.
    dtype = collecting.found.widest(variable, (trial.dtype.name for trial in trials.values())) or "float64"
    return VariablePlace(
        shape=shape,
        dtype=dtype,
        axes=_READ_AXES.get(variable, (1, 0)),
        unpacking=max(trial.unpacking for trial in trials.values()),
        together=1,
        trials={
            trial_id: TrialPlace(trial.path, None, trial.shape[0], trial.dtype.str, False, trial.nbytes)
            for trial_id, trial in trials.items()
        },
    )


def _statistic_name(name: str) -> str:
    """Return what a published tree calls a statistic: by the published name of its variable."""
    group, slash, rest = statistic_name(name).partition("/")
    published = {old: new for new, old in NAMES.items()}
    return f"{published.get(group, group)}{slash}{rest}"

"""Bounds on errors: from what a person asks for to the limits of every value."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..readers.reductions.moments import Moments, concatenate, moments_of, no_moments
from ..store import Argument, OptionError, Problem, SourceError, layout
from ..store.bounds import Bound, parse_bound
from ..store.layout import Variable
from ..store.tasks import Progress, Silent
from .formats.source import Source, SourcePart
from .plan import Plan
from .rounding import LARGEST, Limits, absolute, by_channel
from .validity import is_withheld

_BLOCK = 1 << 14
"""Values that are worked on at once."""


def trial_moments(variable: Variable, values: NDArray[Any]) -> Moments:
    """Return the moments of one trial.

    Parameters
    ----------
    values
        Any dtype, axes, byte and memory order of the source. NaN does not count, nor do withheld responses.

    Returns
    -------
    Moments
        (n_channels,), or (1,) of a stimulus.
    """
    if variable.name == layout.RESPONSES and is_withheld(values):
        return no_moments(values.shape[_separate_axis(variable)])
    if not variable.separate:
        flat = values.ravel("K")
        known = no_moments(1)
        for start in range(0, flat.size, _BLOCK):
            known = known.merge(_row_moments(flat[None, start : start + _BLOCK]))
        return known
    separate = np.moveaxis(values, _separate_axis(variable), 0)
    rows = separate.reshape(len(separate), -1)
    step = max(1, _BLOCK // rows.shape[1])
    return concatenate([_row_moments(rows[start : start + step]) for start in range(0, len(rows), step)])


def _separate_axis(variable: Variable) -> int:
    """Return the axis of a published file along which values are of different things."""
    return variable.axes[variable.dimensions.index(variable.separate[0])]


def add_trial(found: dict[str, Moments], variable: Variable, values: NDArray[Any]) -> None:
    """Add a trial to the moments of its variable; see `trial_moments`."""
    moments = trial_moments(variable, values)
    found[variable.name] = found[variable.name].merge(moments) if variable.name in found else moments


def _row_moments(rows: NDArray[Any]) -> Moments:
    """Return the moments of each row of (n_rows, n_values)."""
    numbers = np.array(rows, np.float64, order="C")
    missing = np.isnan(numbers)
    count = rows.shape[1] - np.count_nonzero(missing, axis=1)
    numbers[missing] = 0
    with np.errstate(over="ignore", invalid="ignore"):
        # Distances from the first number: where none varies they are zero, and so is all that follows, in any order.
        first = np.take_along_axis(numbers, missing.argmin(axis=1)[:, None], axis=1)
        numbers -= first
        found = moments_of(numbers, missing, count)
        return Moments(found.count, first[:, 0] + found.mean, found.variance)


@dataclass(frozen=True)
class StdTask:
    """The work of finding out how much some train trials vary. Small and picklable.

    Attributes
    ----------
    number
        Which unit's trials.
    files
        The variables that are to be read, and the bytes of a trial's file of each.
    missing
        Variable -> numbers of the trials that lack it.
    """

    part: SourcePart
    number: int
    trial_ids: tuple[int, ...]
    files: tuple[tuple[Variable, int], ...]
    missing: Mapping[str, frozenset[int]]

    @property
    def extent(self) -> tuple[int, int]:
        """Bytes and files to be read."""
        return len(self.trial_ids) * sum(nbytes for _, nbytes in self.files), len(self.trial_ids) * len(self.files)


def measure(work: StdTask, progress: Progress | None = None) -> dict[str, Moments]:
    """Return the moments of each variable over the trials of a task.

    Parameters
    ----------
    progress
        Listener to bytes and files of the source that were read.

    Raises
    ------
    SourceError
        With every trial that cannot be read.
    """
    found, problems, listener = dict[str, Moments](), list[Problem](), progress or Silent()
    with work.part.open() as reader:
        for trial_id, (variable, nbytes) in itertools.product(work.trial_ids, work.files):
            if trial_id in work.missing.get(variable.name, ()):
                continue
            try:
                values = reader.read(variable.name, trial_id).values
            except SourceError as error:
                problems += error.problems
                continue
            add_trial(found, variable, values)
            listener.advance(nbytes, 1)
    if problems:
        raise SourceError(problems)
    return found


def std_of(parts: Sequence[Mapping[str, Moments]], variable: Variable, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the standard deviation of each channel, from the moments of parts of the trials, in their order.

    Parameters
    ----------
    shape
        Shape of the result: (n_channels,), or () of a variable without neurons and channels.

    Returns
    -------
    ndarray
        float64; 0 where it is not known: no numbers, or infinite ones.
    """
    known = no_moments(math.prod(shape))
    for part in parts:
        if variable.name in part:
            known = known.merge(part[variable.name])
    return np.nan_to_num(known.std, nan=0.0, posinf=0.0).reshape(shape)


MaxError = Mapping[str, float | str]
"""Variable -> a number in its unit, or a text such as ``0.1%std``."""
Largest = Mapping[str, NDArray[np.float64]]
"""Path in the store -> the largest errors of the channels of a variable."""
_ADVICE = "give one such as 0.001 or 0.1%std"


def read_bounds(given: Iterable[tuple[str, object]]) -> dict[str, Bound]:
    """Read what was asked for, as pairs of a variable and its bound.

    Raises
    ------
    OptionError
        With every pair that is no bound of a variable.
    """
    bounds, problems = dict[str, Bound](), list[Problem]()
    for name, text in given:
        argument = Argument("max_error", text, name)
        if name in bounds:
            what = f"{name} has a bound already ({bounds[name]})"
            problems.append(Problem("", what, "give one", argument=argument))
        else:
            try:
                bounds[name] = parse_bound(text)
            except ValueError as error:
                problems.append(Problem("", str(error), _ADVICE, argument=argument))
    if problems:
        raise OptionError(problems)
    return bounds


def std_tasks(plan: Plan, source: Source) -> list[StdTask]:
    """Return the work of finding out how much the train trials vary, as far as bounds depend on it."""
    survey, tasks = plan.survey, list[StdTask]()
    files = tuple(
        (variable, survey.specs[variable.name].nbytes)
        for variable in plan.variables
        if variable.name in plan.options.bounds and plan.options.bounds[variable.name].of_std
    )
    missing = {variable.name: survey.specs[variable.name].missing for variable, _ in files}
    for number, rows in enumerate(plan.units) if files else ():
        chosen = tuple(survey.trial_ids[row] for row in rows if survey.tiers[row] == layout.TRAIN_TIER)
        if chosen:
            tasks.append(StdTask(source.part(chosen), number, chosen, files, missing))
    return tasks


def largest_errors(plan: Plan, parts: Sequence[Mapping[str, Moments]]) -> Largest:
    """Return the largest errors of channels, from those of parts of the train trials, in their order."""
    variables = {layout.bound_path(variable.name): variable for variable in plan.variables}
    found = dict[str, NDArray[np.float64]]()
    for array in plan.largest_errors:
        variable = variables[array.path]
        with np.errstate(over="ignore"):
            errors = std_of(parts, variable, array.shape) * (plan.options.bounds[variable.name].value / 100)
        # An infinite bound would let finite values become infinite.
        found[array.path] = np.minimum(errors, LARGEST)
    return found


def limits_of(plan: Plan, largest: Largest) -> dict[str, Limits]:
    """Return the limits of the variables that have bounds."""
    limits = dict[str, Limits]()
    for array in plan.recorded:
        bound, ndim = plan.options.bounds.get(array.path), len(array.shape) - 1
        if bound is not None:
            of_channels = largest.get(layout.bound_path(array.path))
            limits[array.path] = absolute(bound.value, ndim) if of_channels is None else by_channel(of_channels, ndim)
    return limits

"""Bounds on errors: from what a person asks for to the limits of every value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..readers.reductions.moments import Moments
from ..store import Argument, OptionError, Problem, layout
from ..store.bounds import Bound, parse_bound
from .formats.source import Source
from .plan import Plan
from .rounding import LARGEST, Limits, absolute, by_channel
from .train_std import StdTask, std_of

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
    """Return the largest errors of channels, from what is known of parts of the train trials, in their order."""
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

"""What models are trained on: recorded values, scaled as the field does it, with constants, or in a way of one's own.

Every transform has the form ``max((x - shift) / divisor, least)``. Sources of the formulas: neuralpredictors a2055cda
``data/transforms.py`` (`NeuroNormalizer`), ViV1T 765cf778 ``src/viv1t/data/data.py``, and the winner of 2023,
lRomul/sensorium ``src/responses.py``; the competition's server expects responses divided per neuron and frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..store import OptionError, Problem
from ..store.arguments import check_choice, check_count, check_flag, refuse
from ..store.variables import BEHAVIOR, IMAGES, PUPIL_CENTER, RESPONSES, VIDEOS
from .direct import Affine
from .reductions.moments import THRESHOLD
from .selection import as_names

StatisticsOf = Literal["train", "source"]
Over = Literal["trials", "trials_and_frames", "trials_and_pixels"]
Statistic = Callable[[str], NDArray[Any]]
"""Takes ``count``, ``min``, ``max``, ``mean``, ``median`` or ``std``; returns floats with the axes of a trial in the
store, of length one where the statistics are taken over an axis."""


@dataclass(frozen=True, repr=False)
class Transform:
    """What becomes of one variable: the base of all transforms, and of one's own.

    A class of one's own derives from this one, or from `ByStatistics` to choose the statistics, and has `affine`.

    Examples
    --------
    >>> class Halve(Transform):
    ...     def affine(self, statistic):
    ...         return Affine(None, np.array(2.0))
    """

    def affine(self, statistic: Statistic) -> Affine:
        """Return shift and divisor, floats that broadcast to a trial with the axes of the store.

        Parameters
        ----------
        statistic
            Returns a statistic by its name; see `Statistic`.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        """Return how it is made, without what is by default."""
        given = {one.name: repr(getattr(self, one.name)) for one in fields(self)}
        told = [f"{one.name}={given[one.name]}" for one in fields(self) if given[one.name] != repr(one.default)]
        return f"{type(self).__name__}({', '.join(told)})"


@dataclass(frozen=True, repr=False)
class ByStatistics(Transform):
    """A transform of one variable by statistics of the train trials.

    Attributes
    ----------
    over
        What the statistics are taken over: ``trials`` (dynamic: for each frame), ``trials_and_frames``, or
        ``trials_and_pixels`` (of images). None for what the field uses: ``trials_and_pixels`` for images, else
        ``trials``.
    statistics
        ``train``: as the conversion stored them; ``source``: ``meta/statistics`` as published.
    ddof
        What standard deviations of ``train`` divide by: their count less this. Published ones are taken as they are;
        those of the published mice have ddof 1.

    Raises
    ------
    OptionError
        There are no statistics over that, or no such statistics.
    """

    over: Over | None = None
    statistics: StatisticsOf = "train"
    ddof: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        """Check that there are such statistics; whether a variable has them is seen when the mouse is known."""
        chosen = {"over": (self.over, (None, *get_args(Over))), "statistics": (self.statistics, get_args(StatisticsOf))}
        label = type(self).__name__
        problems = [
            Problem(label, f"there is no {name}={value!r}", f"choose one of {', '.join(map(repr, known))}")
            for name, (value, known) in chosen.items()
            if value not in known
        ]
        if problems:
            raise OptionError(problems)
        _check_ddof(self.statistics, self.ddof)


def _check_ddof(statistics: StatisticsOf, ddof: int) -> None:
    if check_count("ddof", ddof, 0) and statistics == "source":
        what = f"published standard deviations cannot have another ddof ({ddof})"
        raise OptionError(Problem("ddof", what, "choose statistics='train', or leave ddof out"))


@dataclass(frozen=True, repr=False)
class ScaleByStd(ByStatistics):
    """``x / std`` where ``std > 0.01 * nanmean(std)``, else ``x / (0.01 * nanmean(std))``.

    Responses, in every public loader: `NeuroNormalizer` (transforms.py:387) and ViV1T (data.py:264).
    """

    def affine(self, statistic: Statistic) -> Affine:
        """Return divisors."""
        std = statistic("std")
        threshold = THRESHOLD * (np.nan if np.isnan(std).all() else np.nanmean(std))
        return Affine(None, np.where(std > threshold, std, threshold))


@dataclass(frozen=True, repr=False)
class DivideByStd(ByStatistics):
    """``x / std``, without a threshold.

    Behavior: `NeuroNormalizer` with its default mean of zero (transforms.py:400), and ViV1T (data.py:302).
    """

    def affine(self, statistic: Statistic) -> Affine:
        """Return divisors."""
        return Affine(None, statistic("std"))


@dataclass(frozen=True, repr=False)
class Standardize(ByStatistics):
    """``(x - mean) / (std + eps)``. Videos, images and pupil_center.

    Attributes
    ----------
    eps
        Zero in `NeuroNormalizer`; ViV1T (data.py:281, 317) adds ``numpy.finfo("float32").eps``.
    """

    eps: float = 0.0

    def affine(self, statistic: Statistic) -> Affine:
        """Return mean and divisors."""
        return Affine(statistic("mean"), statistic("std") + self.eps)


@dataclass(frozen=True, repr=False)
class MinMax(ByStatistics):
    """``(x - min) / (max - min)``, as ViV1T's modes 2 and 4 (data.py:306)."""

    def affine(self, statistic: Statistic) -> Affine:
        """Return minimum and range."""
        least = statistic("min")
        return Affine(least, statistic("max") - least)


@dataclass(frozen=True, repr=False)
class Constants(Transform):
    """``(x - mean) / std`` with given numbers, or arrays that broadcast to a trial with the axes of the store.

    The `inputs_mean` and `inputs_std` of `NeuroNormalizer` (transforms.py:377).
    """

    mean: ArrayLike = 0.0
    std: ArrayLike = 1.0

    def __post_init__(self) -> None:
        """Check that they are numbers."""
        for name, value in (("mean", self.mean), ("std", self.std)):
            try:
                np.asarray(value, np.float64)
            except (TypeError, ValueError):
                refuse(name, "a number, or an array of numbers", value)

    def affine(self, statistic: Statistic) -> Affine:
        """Return the constants."""
        return Affine(np.asarray(self.mean, np.float64), np.asarray(self.std, np.float64))


@dataclass(frozen=True, repr=False)
class Relu(Transform):
    """``max(x, 0)``: what the winner of 2023 does to responses (responses.py:28)."""

    def affine(self, statistic: Statistic) -> Affine:
        """Return the bound."""
        return Affine(None, np.array(1.0), 0.0)


@dataclass(frozen=True, repr=False)
class _ByMeanAndStd(ByStatistics):
    """``(x - mean) / (std - mean)``: what ViV1T's mode 2 does to videos, by the names of its variables min-max."""

    def affine(self, statistic: Statistic) -> Affine:
        """Return mean and divisors."""
        mean = statistic("mean")
        return Affine(mean, statistic("std") - mean)


class Preset:
    """Transforms of all variables at once, by the names of the published mice."""

    def transforms(self) -> Mapping[str, Transform]:
        """Return the transform of each variable that has one; a mouse may lack the variable."""
        raise NotImplementedError


@dataclass(frozen=True)
class FieldNormalization(Preset):
    """What the field's `NeuroNormalizer` does, which the public loaders of 2022 and 2023 use; ``"field"`` by default.

    Attributes
    ----------
    exclude
        Names of variables that stay as they were recorded.
    inputs_mean, inputs_std
        Constants for the stimulus, instead of its statistics; both or none.
    subtract_behavior_mean
        Whether behavior is ``(x - mean) / std``, rather than ``x / std``.
    statistics, ddof
        As in `ByStatistics`; by default those that the mouse was published with.

    Raises
    ------
    OptionError
        An argument does not fit.
    """

    exclude: Sequence[str] | str = ()
    inputs_mean: ArrayLike | None = None
    inputs_std: ArrayLike | None = None
    subtract_behavior_mean: bool = False
    statistics: StatisticsOf = "source"
    ddof: int = 0

    def __post_init__(self) -> None:
        """Check the arguments; whether a mouse has the variables is seen when it is known."""
        known = (VIDEOS, IMAGES, RESPONSES, BEHAVIOR, PUPIL_CENTER)
        for name in as_names(self.exclude, "exclude"):
            check_choice("exclude", name, known)
        if (self.inputs_mean is None) != (self.inputs_std is None):
            what = "one of inputs_mean and inputs_std is given without the other"
            raise OptionError(Problem("FieldNormalization", what, "give both, or none"))
        check_flag("subtract_behavior_mean", self.subtract_behavior_mean)
        check_choice("statistics", self.statistics, get_args(StatisticsOf))
        _check_ddof(self.statistics, self.ddof)

    def transforms(self) -> Mapping[str, Transform]:
        """Return the transform of each variable."""
        how: dict[str, Any] = {"statistics": self.statistics, "ddof": self.ddof}
        inputs: Transform = Standardize(**how)
        if self.inputs_mean is not None and self.inputs_std is not None:
            inputs = Constants(self.inputs_mean, self.inputs_std)
        found = {
            VIDEOS: inputs,
            IMAGES: inputs,
            RESPONSES: ScaleByStd(**how),
            BEHAVIOR: Standardize(**how) if self.subtract_behavior_mean else DivideByStd(**how),
            PUPIL_CENTER: Standardize(**how),
        }
        return {name: one for name, one in found.items() if name not in as_names(self.exclude, "exclude")}


@dataclass(frozen=True)
class ViV1TNormalization(Preset):
    """What ViV1T does in one of its transform modes; its trials end at ``max_frames=300``.

    Attributes
    ----------
    mode
        1: videos and pupil_center ``(x - mean) / (std + eps)``, behavior ``x / std``, for each frame. 2: behavior and
        pupil_center ``(x - min) / (max - min)``, videos ``(x - mean) / (std - mean)``, as its code has it. 3: as 1, by
        statistics over trials and frames. 4: ``(x - min) / (max - min)`` by these, of all three. Responses are those of
        `ScaleByStd`, for each frame, in all modes.
    statistics
        ``train`` (its ``stat_mode`` 1, ddof 0) or, of modes 1 and 2, ``source`` (its ``stat_mode`` 0).

    Raises
    ------
    OptionError
        There is no such mode, or none with these statistics.
    """

    mode: int
    statistics: StatisticsOf = "train"

    def __post_init__(self) -> None:
        """Check that there is such a mode."""
        if check_count("mode", self.mode, 1) > len(_VIV1T):
            raise OptionError(Problem("ViV1TNormalization", f"there is no mode {self.mode}", "choose 1, 2, 3 or 4"))
        check_choice("statistics", self.statistics, get_args(StatisticsOf))
        if self.statistics == "source" and _VIV1T[self.mode - 1][0] is not None:
            what = f"there are no published statistics for mode {self.mode}"
            raise OptionError(Problem("ViV1TNormalization", what, "choose statistics='train', or mode 1 or 2"))

    def transforms(self) -> Mapping[str, Transform]:
        """Return the transform of each variable."""
        over, videos, behavior, pupil = _VIV1T[self.mode - 1]
        return {
            VIDEOS: videos(over, self.statistics),
            RESPONSES: ScaleByStd(None, self.statistics),
            BEHAVIOR: behavior(over, self.statistics),
            PUPIL_CENTER: pupil(over, self.statistics),
        }


def _standardize_with_eps(over: Over | None, statistics: StatisticsOf) -> Transform:
    return Standardize(over, statistics, eps=float(np.finfo(np.float32).eps))


_VIV1T: Sequence[tuple[Over | None, Any, Any, Any]] = (
    (None, _standardize_with_eps, DivideByStd, _standardize_with_eps),
    (None, _ByMeanAndStd, MinMax, MinMax),
    ("trials_and_frames", _standardize_with_eps, DivideByStd, _standardize_with_eps),
    ("trials_and_frames", MinMax, MinMax, MinMax),
)
"""Of each mode, what statistics are taken over, and the transforms of videos, behavior and pupil_center."""

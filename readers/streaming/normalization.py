"""What models are trained on: recorded values, scaled as the field does it.

Every transform has the form ``(x - shift) * scale``, with one number or array of each for a variable, float32. Sources
of the formulas: neuralpredictors a2055cda ``data/transforms.py`` (`NeuroNormalizer`) and ViV1T 765cf778
``src/viv1t/data/data.py``; the competition's server expects responses divided per neuron and frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...store import OptionError, Problem, layout
from ...store.layout import Reduction, Variable
from ...store.variables import BEHAVIOR, IMAGES, PUPIL_CENTER, RESPONSES, VIDEOS
from ..direct import Affine
from ..mouse import Mouse
from ..reductions.moments import THRESHOLD
from ..selection import listed
from ..trial_statistics import has_statistics

StatisticsOf = Literal["train", "source"]
Over = Literal["trials", "trials_and_frames", "trials_and_pixels"]
_REDUCTIONS: Mapping[Over, Reduction] = {
    "trials": layout.OVER_TRIALS,
    "trials_and_frames": layout.OVER_FRAMES,
    "trials_and_pixels": layout.OVER_PIXELS,
}
_GROUP = "all"  # of the source's statistics: of all stimuli
FIELD = "field"


@dataclass(frozen=True, repr=False)
class Transform:
    """A transform of one variable, by statistics of the train trials.

    Attributes
    ----------
    over
        What the statistics are taken over: ``trials`` (dynamic: for each frame), ``trials_and_frames``, or
        ``trials_and_pixels`` (of images). None for what the field uses: ``trials_and_pixels`` for images, else
        ``trials``.
    statistics
        ``train``: as the conversion stored them; ``source``: ``meta/statistics`` as published.

    Raises
    ------
    OptionError
        There are no statistics over that, or no such statistics.
    """

    over: Over | None = None
    statistics: StatisticsOf = "train"

    def __post_init__(self) -> None:
        """Check that there are such statistics; whether a variable has them is seen when the mouse is known."""
        chosen = {"over": (self.over, (None, *_REDUCTIONS)), "statistics": (self.statistics, get_args(StatisticsOf))}
        label = type(self).__name__
        problems = [
            Problem(label, f"there is no {name}={value!r}", f"choose one of {', '.join(map(repr, known))}")
            for name, (value, known) in chosen.items()
            if value not in known
        ]
        if problems:
            raise OptionError(problems)

    def affine(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> Affine:
        """Return the transform, given mean and standard deviation."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Return how it is made, without what is by default."""
        given = {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"


@dataclass(frozen=True, repr=False)
class ScaleByStd(Transform):
    """``x * p``; ``p = 1 / std`` where ``std > 0.01 * nanmean(std)``, else ``p = 1 / (0.01 * nanmean(std))``.

    Responses, in every public loader: `NeuroNormalizer` (transforms.py:387) and ViV1T (data.py:264).
    """

    def affine(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> Affine:
        """Return the transform, given mean and standard deviation."""
        threshold = THRESHOLD * (np.nan if np.isnan(std).all() else np.nanmean(std))
        return Affine(None, np.where(std > threshold, 1 / std, 1 / threshold).astype(np.float32))


@dataclass(frozen=True, repr=False)
class DivideByStd(Transform):
    """``x / std``, without a threshold.

    Behavior: `NeuroNormalizer` with its default mean of zero (transforms.py:400), and ViV1T (data.py:302).
    """

    def affine(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> Affine:
        """Return the transform, given mean and standard deviation."""
        return Affine(None, (1 / std).astype(np.float32))


@dataclass(frozen=True, repr=False)
class Standardize(Transform):
    """``(x - mean) / (std + eps)``. Videos, images and pupil_center.

    Attributes
    ----------
    eps
        Zero in `NeuroNormalizer`; ViV1T (data.py:281, 317) adds ``numpy.finfo("float32").eps``.
    """

    eps: float = 0.0

    def affine(self, mean: NDArray[np.float64], std: NDArray[np.float64]) -> Affine:
        """Return the transform, given mean and standard deviation."""
        return Affine(mean.astype(np.float32), (1 / (std + self.eps)).astype(np.float32))


Normalize = Literal["field"] | Mapping[str, Transform] | None
"""``field`` for `FIELD_TRANSFORMS`, or the transform of each variable that has one."""
FIELD_TRANSFORMS: Mapping[str, Transform] = {
    VIDEOS: Standardize(),
    IMAGES: Standardize(),
    RESPONSES: ScaleByStd(),
    BEHAVIOR: DivideByStd(),
    PUPIL_CENTER: Standardize(),
}
"""The transforms of `NeuroNormalizer` with its defaults; it takes the published statistics, with ddof 1."""


def affines(
    mouse: Mouse, normalize: Normalize, read: Sequence[str], n_frames: int, neurons: NDArray[np.int64] | None
) -> dict[str, Affine]:
    """Return the transforms of those of a mouse's variables that are read.

    Parameters
    ----------
    read
        Names of the variables that are read.
    n_frames
        Valid frames of the longest trial that is to be normalized; anything without frames.
    neurons
        (n,) positions of those that are read; None for all.

    Raises
    ------
    OptionError
        A name is no variable, a value no transform; or the store lacks the statistics, be it of some frames only; or
        something that is read does not vary, so that there is no number to divide it by.
    """
    if not isinstance(normalize, (str, Mapping, type(None))):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise OptionError(Problem("normalize", f"{normalize!r} is no normalization", _ADVICE))
    if isinstance(normalize, str):
        if normalize != FIELD:
            raise OptionError(Problem("normalize", f"no normalization is called {normalize!r}", _ADVICE))
        transforms = {name: one for name, one in FIELD_TRANSFORMS.items() if name in mouse.variables}
    else:
        transforms = dict(normalize or {})
    for name, one in transforms.items():
        mouse.recording.array(name)
        if not isinstance(one, Transform):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(Problem("normalize", f"{one!r} is no transform of {name}", _ADVICE))
    found = {name: _affine(mouse, name, one, n_frames) for name, one in transforms.items() if name in read}
    used = _Used(n_frames, neurons)
    wrong = {name: used.unscaled(mouse.recording.variable(name), one) for name, one in found.items()}
    if any(wrong.values()):
        kept = {
            name: _mended(mouse, name, transforms[name], used) if wrong[name] else transforms[name] for name in found
        }
        texts = ", ".join(f"{name} ({where})" for name, where in wrong.items() if where)
        reason = "the standard deviation is 0 (of what does not vary), none, or beyond float32"
        advice = f"choose normalize={ {name: one for name, one in kept.items() if one} or None }, or do not read it"
        raise OptionError(Problem(str(mouse.path), f"no normalization of {texts}: {reason}", advice))
    return found


_ADVICE = "give 'field', or a mapping such as {'responses': ScaleByStd()}"


def _affine(mouse: Mouse, name: str, transform: Transform, n_frames: int) -> Affine:
    variable = next(one for one in mouse.recording.variables if one.name == name)
    reduction = _reduction(mouse, variable, transform)
    read = _published if transform.statistics == "source" else _stored
    mean, std = (
        _broadcast(variable, reduction, read(mouse, variable, reduction, statistic)) for statistic in ("mean", "std")
    )
    _check_frames(mouse, variable, transform, std, n_frames)
    # What does not vary has no finite scale; `affines` refuses it where it is read.
    with np.errstate(all="ignore"):
        return transform.affine(mean, std)


@dataclass(frozen=True)
class _Used:
    """What is read of each variable: frames up to a number, and neurons; see `affines`."""

    n_frames: int
    neurons: NDArray[np.int64] | None

    def unscaled(self, variable: Variable, affine: Affine) -> str:
        """Return where there is no number to scale by: channels or neurons, and how many frames; empty if nowhere."""
        scaled = np.isfinite(affine.scale) & (affine.scale != 0)
        scaled &= True if affine.shift is None else np.isfinite(affine.shift)
        chosen = {layout.FRAME: np.arange(self.n_frames), layout.NEURON: self.neurons}
        for axis, name in enumerate(variable.dimensions):
            some = chosen.get(name)
            if some is not None and scaled.shape[axis] > 1:
                scaled = scaled.take(some, axis)
        if scaled.all():
            return ""
        if not variable.separate:
            return f"at {scaled.size - np.count_nonzero(scaled)} of {scaled.size} places"
        wrong, frames = _places(scaled, variable, variable.separate[0]), ""
        if layout.FRAME in variable.dimensions:
            some, count = _places(scaled, variable, layout.FRAME), scaled.shape[variable.dimensions.index(layout.FRAME)]
            frames = f", at {len(some)} of {count} frames" if len(some) < count else ""
        if variable.channels:
            return listed([variable.channels[place].name for place in wrong]) + frames
        numbers = wrong if self.neurons is None or layout.NEURON not in variable.dimensions else self.neurons[wrong]
        return f"{variable.separate[0]} {listed(numbers.tolist())}{frames}"


def _places(scaled: NDArray[np.bool_], variable: Variable, dimension: str) -> NDArray[np.int64]:
    """Return the places along a dimension where not everything is true."""
    along = np.moveaxis(scaled, variable.dimensions.index(dimension), 0)
    return np.flatnonzero(~along.reshape(len(along), -1).all(axis=1))


def _mended(mouse: Mouse, name: str, transform: Transform, used: _Used) -> Transform | None:
    """Return the transform over frames, too, if there is something to divide by then."""
    variable, other = mouse.recording.variable(name), replace(transform, over="trials_and_frames")
    if variable.frame_axis is None or transform.statistics != "train":
        return None
    return None if used.unscaled(variable, _affine(mouse, name, other, used.n_frames)) else other


def _check_frames(
    mouse: Mouse, variable: Variable, transform: Transform, std: NDArray[np.float64], n_frames: int
) -> None:
    """Check that all frames that trials have have statistics: some test trials are longer than all train ones."""
    axis = variable.frame_axis
    if axis is None or std.shape[axis] == 1:
        return
    by_frame = np.moveaxis(std, axis, 0)[:n_frames].reshape(-1, std.size // std.shape[axis])
    known = np.count_nonzero(np.isfinite(by_frame).any(axis=1))
    if known < n_frames:
        what = f"{variable.name} has statistics of {known} frames, but trials have up to {n_frames}"
        other = {variable.name: type(transform)(over="trials_and_frames")}
        advice = f"choose a mapping such as {other}, other trials, or no normalization of it"
        raise OptionError(Problem(str(mouse.path), what, advice))


def _reduction(mouse: Mouse, variable: Variable, transform: Transform) -> Reduction:
    default = "trials_and_pixels" if layout.OVER_PIXELS in variable.reductions else "trials"
    reduction = _REDUCTIONS.get(transform.over or default)
    if reduction not in variable.reductions:
        what = f"{variable.name} has no statistics over {transform.over}"
        known = ", ".join(over for over, one in _REDUCTIONS.items() if one in variable.reductions)
        raise OptionError(Problem(str(mouse.path), what, f"there are those over {known}"))
    return reduction


def _stored(mouse: Mouse, variable: Variable, reduction: Reduction, statistic: str) -> NDArray[np.float64]:
    if not has_statistics(mouse.index):
        what = "no train statistics in the store: converted without them, or the mouse has no train trials"
        raise OptionError(Problem(str(mouse.path), what, "convert it with statistics, or use statistics='source'"))
    # Of the dozens of arrays, only what is needed.
    return np.asarray(mouse.index.small(layout.statistic_path(variable.name, reduction, statistic)), np.float64)


def _published(mouse: Mouse, variable: Variable, reduction: Reduction, statistic: str) -> NDArray[np.float64]:
    path = f"{layout.SOURCE_STATISTICS}/{variable.name}/{_GROUP}/{statistic}"
    if path not in mouse.index.arrays:
        advice = "use statistics='train', or another mouse"
        raise OptionError(Problem(str(mouse.path), f"the source has no {path}", advice))
    values = mouse.index.small(path).astype(np.float64)
    kept = variable.reductions[reduction]
    if values.ndim != len(kept):
        what = f"{path} has {values.ndim} axes, statistics over {reduction.removeprefix('over_')} {len(kept)}"
        raise OptionError(Problem(str(mouse.path), what, "choose another over"))
    axes = [variable.axes[variable.dimensions.index(name)] for name in kept]
    values = values.transpose(np.argsort(np.argsort(axes))) if values.ndim else values
    array = mouse.recording.arrays[variable.name]
    sizes = dict(zip(array.dimensions, array.shape, strict=True))
    wrong = [
        name for name, size in zip(kept, values.shape, strict=True) if name != layout.FRAME and size != sizes[name]
    ]
    if wrong:
        what = f"{path} has another number of {wrong[0]} than the recording"
        raise OptionError(Problem(str(mouse.path), what, "use statistics='train'"))
    return values


def _broadcast(variable: Variable, reduction: Reduction, values: NDArray[Any]) -> NDArray[Any]:
    """Return statistics with the reduced axes as axes of length one."""
    kept = variable.reductions[reduction]
    missing = tuple(place for place, name in enumerate(variable.dimensions) if name not in kept)
    return np.expand_dims(values, missing)

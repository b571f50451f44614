"""The transforms of one mouse: statistics are looked up, and what they do not suffice for is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..store import OptionError, Problem, StoreIndex, layout
from ..store.layout import Reduction, Variable
from .direct import Affine
from .recording import Recording
from .selection import listed
from .transforms import ByStatistics, FieldNormalization, Over, Preset, Transform
from .trial_statistics import has_statistics

Array = NDArray[Any]
_REDUCTIONS: Mapping[Over, Reduction] = {
    "trials": layout.OVER_TRIALS,
    "trials_and_frames": layout.OVER_FRAMES,
    "trials_and_pixels": layout.OVER_PIXELS,
}
_GROUP = "all"  # of the source's statistics: of all stimuli
FIELD = "field"
Normalize = Literal["field"] | Preset | Mapping[str, Transform] | None
"""``field`` for ``FieldNormalization()``, or another preset, or the transform of each variable that has one."""
_ADVICE = "give 'field', or a mapping such as {'responses': ScaleByStd()}"


@dataclass(frozen=True)
class Used:
    """What is read of each variable.

    Attributes
    ----------
    frames
        Frames of the recording, of any trial; anything without frames.
    neurons
        (n,) positions; None for all.
    """

    frames: range
    neurons: NDArray[np.int64] | None = None

    def part(self, variable: Variable, values: Array) -> Array:
        """Return the part of an array, with the axes of a trial, that is used; axes of length one as they are."""
        chosen = {layout.FRAME: np.asarray(self.frames), layout.NEURON: self.neurons}
        for axis, name in enumerate(variable.dimensions):
            some = chosen.get(name)
            if some is not None and values.shape[axis] > 1:
                values = values.take(some, axis, mode="clip")
        return values


def affines(
    index: StoreIndex, recording: Recording, normalize: Normalize, read: Sequence[str], used: Used
) -> dict[str, Affine]:
    """Return what becomes of those of a mouse's variables that are read.

    Parameters
    ----------
    read
        Names of the variables that are read.

    Returns
    -------
    dict
        Variable -> `Affine`, arrays with all axes of a trial in the store. The divisor of elements without variation,
        such as constant pixels, is infinite, so that they become 0.

    Raises
    ------
    OptionError
        A name is no variable, a value no transform; or the store lacks the statistics, be it of frames that are used
        only; or a variable, or one of its channels, does not vary, so that there is no number to divide it by.
    """
    transforms = transforms_of(recording, normalize)
    found, wrong = dict[str, Affine](), dict[str, str]()
    for name, one in transforms.items():
        if name in read:
            found[name], wrong[name] = _Fit(index, recording, recording.variable(name), used).affine(one)
    if any(wrong.values()):
        kept = {name: transforms[name] for name in found if not wrong[name]} or None
        texts = ", ".join(f"{name} ({where})" if where != name else name for name, where in wrong.items() if where)
        reason = "the standard deviation is 0 (of what does not vary), none, or infinite"
        advice = f"choose normalize={kept}, or do not read it"
        raise OptionError(Problem(str(index.place.where), f"no normalization of {texts}: {reason}", advice))
    return found


def normalized(
    index: StoreIndex, recording: Recording, normalize: Normalize, arrays: Mapping[str, Array], n_frames: int
) -> dict[str, Array]:
    """Return the arrays of a trial, those that have a transform as float32; errors as in `affines`."""
    found, frames = dict(arrays), range(n_frames)
    for name, affine in affines(index, recording, normalize, tuple(arrays), Used(frames)).items():
        variable = recording.variable(name)
        dimensions, values = variable.dimensions, arrays[name]
        part = affine.arranged(dimensions, dimensions, None).cut(variable.frame_axis, slice(0, n_frames))
        found[name] = np.empty(values.shape, np.float32)
        part.write(values, found[name], None, dimensions)
    return found


def transforms_of(recording: Recording, normalize: Normalize) -> dict[str, Transform]:
    """Return the transform of each variable that has one; errors as in `affines`."""
    if isinstance(normalize, str):
        if normalize != FIELD:
            raise OptionError(Problem("normalize", f"no normalization is called {normalize!r}", _ADVICE))
        normalize = FieldNormalization()
    if isinstance(normalize, Preset):
        return {name: one for name, one in normalize.transforms().items() if name in recording.arrays}
    if not isinstance(normalize, (Mapping, type(None))):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise OptionError(Problem("normalize", f"{normalize!r} is no normalization", _ADVICE))
    for name, one in (normalize or {}).items():
        recording.array(name)
        if not isinstance(one, Transform):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(Problem("normalize", f"{one!r} is no transform of {name}", _ADVICE))
    return dict(normalize or {})


@dataclass(frozen=True)
class _Fit:
    """Finds what becomes of one variable."""

    index: StoreIndex
    recording: Recording
    variable: Variable
    used: Used

    @property
    def label(self) -> str:
        return str(self.index.place.where)

    def affine(self, transform: Transform) -> tuple[Affine, str]:
        """Return what becomes of the variable, and where there is no number to divide by; nothing if nowhere."""
        statistics = _Statistics(self, transform if isinstance(transform, ByStatistics) else ByStatistics())
        # What does not vary has a divisor of zero.
        with np.errstate(all="ignore"):
            found = transform.affine(statistics)
        if not isinstance(found, Affine) or not isinstance(found.least, (float, int, type(None))):  # pyright: ignore[reportUnnecessaryIsInstance]
            what = f"{transform!r} makes {found!r} of {self.variable.name} (expected an Affine)"
            raise OptionError(Problem(self.label, what, "return an Affine from its method affine"))
        for read in statistics.read:
            self._check_frames(transform, read)
        affine = found.mapped(lambda values: self._full(transform, np.asarray(values)))
        still = affine.divisor == 0
        whole = Affine(affine.shift, np.where(still, np.inf, affine.divisor), affine.least)
        return whole, self._unscaled(affine)

    def _full(self, transform: Transform, values: Array) -> Array:
        """Return numbers with all axes of a trial."""
        array = self.recording.arrays[self.variable.name]
        shape = array.shape[1:]
        full = values.reshape((1,) * (len(shape) - values.ndim) + values.shape) if values.ndim <= len(shape) else values
        fits = full.ndim == len(shape) and all(
            one in (1, size) or (name == layout.FRAME and one >= self.used.frames.stop)
            for one, size, name in zip(full.shape, shape, self.variable.dimensions, strict=True)
        )
        if not fits or full.dtype.kind not in "fiub":
            what = f"{transform!r} makes numbers of shape {values.shape} and {values.dtype} for {self.variable.name}"
            expected = f"give floats that broadcast to {dict(zip(self.variable.dimensions, shape, strict=True))}"
            raise OptionError(Problem(self.label, what, expected))
        return full if full.dtype == np.float32 else full.astype(np.float64)

    def _unscaled(self, affine: Affine) -> str:
        """Return where there is no number to divide by: the variable's name, or channels; nothing if nowhere."""
        known = np.isfinite(affine.divisor) & (True if affine.shift is None else np.isfinite(affine.shift))
        some = self.used.part(self.variable, known)
        varies = self.used.part(self.variable, known & (affine.divisor != 0))
        channel = self.variable.channel_dimension
        axes = () if channel is None or not self.variable.separate else (self.variable.dimensions.index(channel),)
        others = tuple(axis for axis in range(varies.ndim) if axis not in axes)
        fine: NDArray[np.bool_] = np.asarray(varies.any(axis=others) & some.all(axis=others)).reshape(-1)
        wrong = np.flatnonzero(~fine).tolist()
        if not wrong:
            return ""
        if not axes or len(fine) == 1:
            return self.variable.name
        return listed([self.variable.channels[place].name for place in wrong] if self.variable.channels else wrong)

    def _check_frames(self, transform: Transform, values: Array) -> None:
        """Check that all frames that are used have statistics: some test trials are longer than all train ones."""
        axis = self.variable.frame_axis
        if axis is None or values.shape[axis] == 1:
            return
        known_ones = np.isfinite(np.moveaxis(values, axis, 0)).reshape(values.shape[axis], -1)
        by_frame: NDArray[np.bool_] = np.asarray(known_ones.any(axis=1))
        frames = np.asarray(self.used.frames)
        if frames.size and (frames[-1] >= len(by_frame) or not by_frame[frames].all()):
            known, name = np.count_nonzero(by_frame), self.variable.name
            what = f"{name} has statistics of {known} frames, but trials have up to {frames[-1] + 1} that are used"
            other = {name: type(transform)(over="trials_and_frames")} if isinstance(transform, ByStatistics) else None
            mapping = f"a mapping such as {other}, " if other else ""
            advice = f"choose {mapping}max_frames={known}, other trials, or no normalization of it"
            raise OptionError(Problem(self.label, what, advice))


@dataclass(frozen=True)
class _Statistics:
    """Reads statistics of one variable, of dozens of arrays only those that are asked for; see `Statistic`."""

    fit: _Fit
    how: ByStatistics
    read: list[Array] = field(default_factory=list[Array])

    def __call__(self, name: str) -> Array:
        """Return a statistic with the axes of a trial; those that are reduced have length one."""
        if name not in layout.STATISTIC_NAMES:
            what, known = f"there is no statistic {name!r}", ", ".join(layout.STATISTIC_NAMES)
            raise OptionError(Problem(self.fit.label, what, f"there are {known}"))
        values = self._published(name) if self.how.statistics == "source" else self._stored(name)
        if name == "std" and self.how.ddof:
            count = replace(self, how=replace(self.how, ddof=0))("count")
            values = np.where(count > self.how.ddof, values * np.sqrt(count / (count - self.how.ddof)), 0 * values)
        kept = self.fit.variable.reductions[self._reduction]
        missing = tuple(place for place, one in enumerate(self.fit.variable.dimensions) if one not in kept)
        found = np.expand_dims(values, missing) if values.ndim < len(self.fit.variable.dimensions) else values
        self.read.append(found)
        return found

    @property
    def _reduction(self) -> Reduction:
        variable = self.fit.variable
        default = "trials_and_pixels" if layout.OVER_PIXELS in variable.reductions else "trials"
        reduction = _REDUCTIONS[self.how.over or default]
        if reduction not in variable.reductions:
            what = f"{variable.name} has no statistics over {self.how.over}"
            known = ", ".join(over for over, one in _REDUCTIONS.items() if one in variable.reductions)
            raise OptionError(Problem(self.fit.label, what, f"there are those over {known}"))
        return reduction

    def _stored(self, name: str) -> Array:
        index = self.fit.index
        if not has_statistics(index):
            what = "no train statistics in the store: converted without them, or the mouse has no train trials"
            raise OptionError(Problem(self.fit.label, what, "convert it with statistics, or use statistics='source'"))
        return index.small(layout.statistic_path(self.fit.variable.name, self._reduction, name)).astype(np.float64)

    def _published(self, name: str) -> Array:
        variable, index = self.fit.variable, self.fit.index
        path = f"{layout.SOURCE_STATISTICS}/{variable.name}/{_GROUP}/{name}"
        if path not in index.arrays:
            what, advice = f"the source has no {path}", "use statistics='train', or another mouse"
            raise OptionError(Problem(self.fit.label, what, advice))
        values, kept = index.small(path), variable.reductions[self._reduction]
        if values.ndim != len(kept):
            over = self._reduction.removeprefix("over_")
            what = f"{path} has {values.ndim} axes, statistics over {over} {len(kept)}"
            raise OptionError(Problem(self.fit.label, what, "choose another over"))
        axes = [variable.axes[variable.dimensions.index(one)] for one in kept]
        values = values.transpose(np.argsort(np.argsort(axes))) if values.ndim else values
        array = self.fit.recording.arrays[variable.name]
        sizes = dict(zip(array.dimensions, array.shape, strict=True))
        pairs = zip(kept, values.shape, strict=True)
        if wrong := [one for one, size in pairs if one != layout.FRAME and size != sizes[one]]:
            what = f"{path} has another number of {wrong[0]} than the recording"
            raise OptionError(Problem(self.fit.label, what, "use statistics='train'"))
        # In float32, if they are: the public loaders' results are rounded as these numbers are.
        return values if values.dtype == np.float32 else values.astype(np.float64)

"""The variables of a mouse: from what is declared, what is known by name, and what the shapes of its trials say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from ..store import Problem
from ..store.variables import (
    FRAME,
    KNOWN,
    NEURON,
    RESPONSES,
    Channel,
    Variable,
    channel_dimension,
    in_order,
    is_variable_name,
    recording_problems,
    stored_dimensions,
    variable_problems,
)
from .published_mice import find_published
from .schema import Declaration, Schema

PUBLISHED_FRAME_RATE = 30.0
"""Hz, of the videos of Sensorium 2023, to which all that was recorded beside them was resampled."""
_DECLARE = "declare it in trialpack.toml, or with a schema"
_RENAME = "rename it"
_OWN = "an axis of its own"


@dataclass(frozen=True)
class FoundTrials:
    """Facts about one variable, found without reading its values.

    Attributes
    ----------
    folder
        Place in the source, for messages.
    shapes
        Number of a trial -> its shape in the source; of the trials that were looked at.
    usual
        Shape of all other trials.
    trials
        Numbers of all trials that have the variable.
    dtype
        The smallest dtype that holds every trial exactly.
    """

    folder: str
    shapes: Mapping[int, tuple[int, ...]]
    usual: tuple[int, ...]
    dtype: str
    trials: Set[int]

    def shape(self, trial: int) -> tuple[int, ...]:
        """Return the shape of a trial."""
        return self.shapes.get(trial, self.usual)


@dataclass(frozen=True)
class _Lengths:
    """Sizes that the axes of a mouse are compared with.

    Attributes
    ----------
    n_neurons
        Number of neurons; None where it is not known.
    frames
        The variable that tells the number of frames of each trial, and which axis it is; None without frames.
    """

    n_neurons: int | None
    frames: tuple[FoundTrials, int] | None

    def is_frames(self, found: FoundTrials, axis: int) -> bool:
        """Return whether an axis has as many entries as the mouse has frames.

        In every trial; of an axis whose length varies in half of them, so that a file that is cut off is named as such.
        """
        if self.frames is None:
            return False
        told, place = self.frames
        common = found.trials & told.trials
        lengths = {trial: found.shape(trial)[axis] for trial in common}
        equal = sum(length == told.shape(trial)[place] for trial, length in lengths.items())
        return equal > 0 and equal * (2 if len(set(lengths.values())) > 1 else 1) >= len(common)


class VariableFinder:
    """Finds the variables of a mouse, and collects what is wrong with them.

    Parameters
    ----------
    label
        The folder or file as the person knows it.
    mouse
        Name of the mouse.
    found
        Name of a variable -> what was found of it; all shapes of one variable have as many axes.
    schema
        What is declared.
    ignore
        Names of variables that cannot be read, for reasons that are reported elsewhere.
    """

    def __init__(
        self, label: str, mouse: str, found: Mapping[str, FoundTrials], schema: Schema, ignore: Set[str] = frozenset()
    ) -> None:
        self._label, self._schema = label, schema
        self._found = {name: one for name, one in found.items() if is_variable_name(name)}
        self._ignore = ignore | (found.keys() - self._found)
        published = find_published(mouse)
        self._published = published if published is not None and published.name == mouse else None
        self.problems = [
            Problem(label, f"a variable cannot be called {name!r}", _RENAME, one.folder)
            for name, one in found.items()
            if name not in self._found
        ]

    def variables(self) -> tuple[Variable, ...]:
        """Return the variables, in the order of a store; those that are unclear are left out, with a problem each."""
        self.problems += [
            self._schema.problem("there is no such folder under data", name)
            for name in self._schema.variables
            if name not in self._found and name not in self._ignore
        ]
        clear = {name: self._named(name) for name in self._found}
        lengths = self._lengths({name: one for name, one in clear.items() if one is not None})
        for name, found in self._found.items():
            if clear[name] is None and not self._is_declared(name):
                clear[name] = self._inferred(name, found, lengths) if name not in KNOWN else None
        variables = [self._variable(name, one) for name, one in clear.items() if one is not None]
        sound = [variable for variable in variables if self._is_sound(variable)]
        self._check_sizes(sound)
        if not self.problems and not self._ignore:
            for one in recording_problems(in_order(sound)):
                self._complain(one.variable, one.what, one.key)
        return in_order(sound)

    def _is_declared(self, name: str) -> bool:
        return self._schema.declared(name).dimensions is not None

    def _named(self, name: str) -> tuple[str, ...] | None:
        """Return the names of the axes of a published trial, if they are declared or known by the variable's name."""
        declared, found, known = self._schema.declared(name).dimensions, self._found[name], KNOWN.get(name)
        if declared is not None:
            if len(declared) == len(found.usual):
                return declared
            what = f"{len(declared)} dimensions are declared, but trials have shape {found.usual}"
            self.problems.append(self._schema.problem(what, name, "dimensions"))
        elif known is not None:
            if len(found.usual) in known.forms:
                return known.forms[len(found.usual)]
            names = " or ".join(f"({', '.join(form)})" for form in known.forms.values())
            self._problem(found, f"expected the axes {names}, found shape {found.usual}")
        return None

    def _lengths(self, clear: Mapping[str, tuple[str, ...]]) -> _Lengths:
        """Return the numbers of neurons and frames: of the responses, else of whichever variable has frames."""
        neurons, frames = None, None
        for name in sorted(clear, key=lambda name: name != RESPONSES):
            names, found = clear[name], self._found[name]
            if neurons is None and NEURON in names:
                neurons = found.usual[names.index(NEURON)]
            if frames is None and FRAME in names:
                frames = found, names.index(FRAME)
        return _Lengths(neurons, frames)

    def _inferred(self, name: str, found: FoundTrials, lengths: _Lengths) -> tuple[str, ...] | None:
        """Name the axes by their lengths, unless one could be two things."""
        could = [self._could_be(found, lengths, axis) for axis in range(len(found.usual))]
        neurons = [axis for axis, names in enumerate(could) if names == [NEURON]]
        unclear = [axis for axis, names in enumerate(could) if len(names) > 1] + neurons[:-1]
        if unclear:
            names = could[unclear[0]] if len(could[unclear[0]]) > 1 else [NEURON, _OWN]
            self._problem(found, f"axis {unclear[0]} of shape {found.usual} could be {' or '.join(names)}")
            return None
        own = [axis for axis, names in enumerate(could) if names == [_OWN]]
        names = {axis: f"{name}_channel" if len(own) == 1 else f"{name}_axis_{axis}" for axis in own}
        return tuple(names.get(axis, one[0]) for axis, one in enumerate(could))

    def _could_be(self, found: FoundTrials, lengths: _Lengths, axis: int) -> list[str]:
        """Return what an axis could be: frames if it is last, neurons, else something of its own."""
        last = len(found.usual) - 1
        could = [NEURON] if found.usual[axis] == lengths.n_neurons else []
        if lengths.is_frames(found, axis) and axis == last:
            could.append(FRAME)
        elif lengths.is_frames(found, axis) and not lengths.is_frames(found, last):
            # Frames are last; whether an earlier axis of as many entries is frames, too, only a person knows.
            could += [FRAME, _OWN]
        return could or [_OWN]

    def _variable(self, name: str, published: tuple[str, ...]) -> Variable:
        declared, known = self._schema.declared(name), KNOWN.get(name)
        dimensions, axes = stored_dimensions(published)
        default = Declaration(known.role, units=known.units, long_name=known.long_name) if known else Declaration()
        units = declared.units if declared.units is not None else default.units
        long_name = declared.long_name if declared.long_name is not None else default.long_name
        return Variable(
            name=name,
            role=declared.role or default.role or "input",
            dimensions=dimensions,
            axes=axes,
            dtype=self._found[name].dtype,
            units=units or "",
            long_name=long_name or "",
            channels=self._channels(name, published, units or ""),
            frame_rate=self._frame_rate(declared) if FRAME in published or declared.frame_rate else None,
            optional=bool(declared.optional),
            missing=declared.missing,
        )

    def _channels(self, name: str, published: Sequence[str], units: str) -> tuple[Channel, ...]:
        """Return the channels that are declared or known; none where their number is another one."""
        declared, known, dimension = self._schema.declared(name).channels, KNOWN.get(name), channel_dimension(published)
        if dimension is None:
            return declared or ()
        count = self._found[name].usual[published.index(dimension)]
        if declared is not None:
            if len(declared) != count:
                what = f"{len(declared)} channels are declared, but trials have {count}"
                self.problems.append(self._schema.problem(what, name, "channels"))
            return declared
        return next((one for one in (known.channels if known else ()) if len(one) == count), ())

    def _frame_rate(self, declared: Declaration) -> float | None:
        published = PUBLISHED_FRAME_RATE if self._published else None
        return declared.frame_rate or self._schema.frame_rate or published

    def _is_sound(self, variable: Variable) -> bool:
        found = variable_problems(variable)
        for what in found:
            self._complain(variable.name, what)
        return not found

    def _complain(self, name: str, what: str, key: str = "") -> None:
        """Add a problem of a variable: of its declaration, or of its folder, or that it is missing."""
        if name in self._schema.variables:
            self.problems.append(self._schema.problem(what, name, key))
        elif name in self._found:
            self._problem(self._found[name], what, _DECLARE if key else _RENAME)
        else:
            self.problems.append(Problem(self._label, what, f"add {name}, of each trial"))

    def _check_sizes(self, variables: Sequence[Variable]) -> None:
        """Check that a dimension has one size in all variables; frames are compared trial by trial."""
        known = dict[str, tuple[int, str]]()
        for variable in in_order(variables):
            found = self._found[variable.name]
            for name, size in zip(variable.published_dimensions, found.usual, strict=True):
                expected, other = known.setdefault(name, (size, variable.name))
                if size != expected and name != FRAME:
                    what = f"expected {expected} along {name} as in {other}, found {size}"
                    self.problems.append(self._schema.problem_of_shape(self._label, what, variable.name, found.folder))

    def _problem(self, found: FoundTrials, what: str, advice: str = _DECLARE) -> None:
        self.problems.append(Problem(self._label, what, advice, found.folder))


@dataclass(frozen=True)
class FrameCounts:
    """Number of frames in the files of each trial.

    Attributes
    ----------
    longest
        The most frames of a trial; 0 without frames.
    of_trials
        Frames of each trial, in the order of their numbers; None where all have as many.
    """

    longest: int
    of_trials: tuple[int, ...] | None


def count_frames(
    variables: Sequence[Variable],
    found: Mapping[str, FoundTrials],
    ids: Sequence[int],
    report: Callable[[str, str, int | None], object],
) -> FrameCounts:
    """Compare the shapes of all variables with frames, trial by trial: those of one trial have as many frames.

    Parameters
    ----------
    report
        Called with what is wrong, the variable, and the trial; None for all trials.
    """
    axes = {one.name: one.published_dimensions.index(FRAME) for one in variables if one.frame_axis is not None}
    if not axes or not ids:
        return FrameCounts(0, None)
    counts = {name: {one: found[name].shape(one)[axis] for one in found[name].trials} for name, axis in axes.items()}
    told = _told(counts)
    # Where some variable is not optional, that it lacks a trial is reported already.
    for trial in ids if all(one.optional for one in variables if one.name in axes) else ():
        if trial not in told:
            report(f"lacks trial {trial}, as does every variable with frames", next(iter(axes)), trial)
    for name, frames in counts.items():
        one, place = found[name], axes[name]
        wrong = [trial for trial, count in frames.items() if count != told[trial]]
        if len(wrong) == len(frames) > 1:
            what = f"expected {told[wrong[0]]} frames as in {next(iter(counts))}, found {frames[wrong[0]]}"
            report(what, name, None)
            continue
        for trial in sorted(frames):
            shape, expected = one.shape(trial), (*one.usual[:place], told[trial], *one.usual[place + 1 :])
            if shape != expected:
                what = f"expected shape {expected} as in the other trials, found {shape}"
                report(what, name, trial)
    of_trials = tuple(told.get(trial, 0) for trial in ids)
    return FrameCounts(max(of_trials), of_trials if len(set(of_trials)) > 1 else None)


def _told(counts: Mapping[str, Mapping[int, int]]) -> dict[int, int]:
    """Return the frames of each trial: as many as most of its variables have, of two the first."""
    every = {trial for frames in counts.values() for trial in frames}
    found = {trial: [frames[trial] for frames in counts.values() if trial in frames] for trial in every}
    return {trial: Counter(numbers).most_common(1)[0][0] for trial, numbers in found.items()}

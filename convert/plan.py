"""What a conversion will make, as plain data, before anything is written."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..readers.recording import Recording
from ..readers.reductions import needed_memory
from ..store import OptionError, Problem, SourceError, layout
from ..store.bounds import Bound
from ..store.folder import StoreFolder
from ..store.layout import ArrayLayout, CodecName, Precision, Variable
from ..store.manifest import UNLISTED
from ..store.publish import Stage
from ..store.space import Space, measure_space
from ..store.variables import KNOWN
from . import rounding
from .formats.published.names import TIERS
from .formats.source import Survey
from .published_mice import PublishedMouse, find_published
from .schema import Schema
from .small_arrays import SmallPlan, plan_small_arrays, small_problems

_BESIDE = 0.5
"""Bytes of the arrays beside the recorded variables, most of them statistics, over those before compression: 0.4 to 0.7
in stores of samples."""


@dataclass(frozen=True)
class Options:
    """What a person asks of a store: one value on the way from the command line to the writer.

    Attributes
    ----------
    precision, codec, statistics
        As in `convert_mouse`.
    bounds
        Variable -> how far its values may be from the source; of those that are rounded.
    schema
        What is declared of the variables, in place of what the source declares; None for that.
    """

    precision: Precision = "source"
    bounds: Mapping[str, Bound] = field(default_factory=dict[str, Bound])
    codec: CodecName = "fast"
    statistics: bool = True
    schema: Schema | None = None


@dataclass(frozen=True)
class Plan:
    """What a conversion will make.

    Attributes
    ----------
    survey
        What was found in the source.
    destination
        The store's path.
    options
        What was asked for, with the precision that the source has already.
    variables
        The variables as the store has them: those that are rounded are float32.
    recorded
        Layouts of the recorded variables, in the order of `variables`.
    largest_errors
        Layouts of the largest errors of channels: of bounds that are a part of the standard deviation.
    coordinates
        Layouts of trial_id, tier and the like; see `layout.coordinate_layouts`.
    statistics
        Layouts of the train statistics; none without train trials.
    small
        Arrays beside the trials, and files kept byte by byte.
    rows_per_shard
        Trials in a unit of work: one shard of every recorded variable.
    expected
        Variable -> bytes that it will take, as a sample of its chunks predicts; see `predict_sizes`.
    space
        What the store takes, beside what is free where it is to be made.
    """

    survey: Survey
    destination: Path
    options: Options
    variables: tuple[Variable, ...]
    recorded: tuple[ArrayLayout, ...]
    largest_errors: tuple[ArrayLayout, ...]
    coordinates: tuple[ArrayLayout, ...]
    statistics: tuple[ArrayLayout, ...]
    small: tuple[SmallPlan, ...]
    rows_per_shard: int
    expected: Mapping[str, int] = field(default_factory=dict[str, int])
    space: Space = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Measure the space; what an interrupted conversion left of the store is there already."""
        uncompressed = sum(array.nbytes for array in self.recorded if array.codec.compressor == "none")
        left = sum(path.stat().st_size for path in Stage(self.destination).root.rglob("*") if path.is_file())
        needed, least = (max(0, nbytes - left) for nbytes in (self.nbytes, uncompressed))
        object.__setattr__(self, "space", measure_space(self.destination, needed, self.files, least))

    def __repr__(self) -> str:
        """Return a one-line summary."""
        size = f"{self.nbytes / 1e6:.1f} MB before compression in {self.files} files"
        return f"<Plan of {self.destination}: {len(self.survey.trial_ids)} trials, {size}>"

    @property
    def unit_memory(self) -> int:
        """Bytes that one worker holds at most: reading one file, writing all variables, and scratch for rounding."""
        survey = self.survey
        reading = survey.overhead * max(spec.nbytes for spec in survey.specs.values())
        writing = sum(_writing_memory(array) for array in self.recorded)
        if survey.n_file_frames is not None or any(spec.missing for spec in survey.specs.values()):
            # Trials are copied once more, into as many frames as the longest has, or are made up.
            writing += max(array.trial_nbytes for array in self.recorded)
        return reading + writing + bool(self.options.bounds) * rounding.SCRATCH_BYTES

    @property
    def small_memory(self) -> int:
        """Bytes that writing the largest array beside the trials holds."""
        return 3 * max((array.nbytes for array in self.survey.small), default=0)

    @property
    def kept_memory(self) -> int:
        """Bytes that a process holds at most of a mouse whose units run on a cluster."""
        return self.small_memory + 2 * sum(array.nbytes for array in self.statistics)

    @property
    def published(self) -> PublishedMouse | None:
        """What is known of the published mouse of this name; None for any other mouse."""
        known = find_published(self.survey.mouse)
        return known if known and known.name == self.survey.mouse else None

    def missing_of_published(self) -> str | None:
        """Return what the published mouse of this name has that the source has not; None if that is nothing."""
        if self.published is None:
            return None
        found = {"trials": len(self.survey.trial_ids), "neurons": self.survey.n_neurons}
        known = {"trials": len(self.published.trial_ids), "neurons": self.published.n_neurons}
        parts = [f"{found[name]} of {known[name]} {name}" for name in known if found[name] != known[name]]
        return ", ".join(parts) or None

    @property
    def arrays(self) -> tuple[ArrayLayout, ...]:
        """All arrays of the store."""
        beside = (one.layout for one in self.small)
        return (*self.recorded, *self.largest_errors, *self.coordinates, *self.statistics, *beside)

    @property
    def units(self) -> tuple[range, ...]:
        """The rows of each unit of work."""
        n, step = len(self.survey.trial_ids), self.rows_per_shard
        return tuple(range(start, min(start + step, n)) for start in range(0, n, step))

    @property
    def files(self) -> int:
        """How many files the store will consist of."""
        groups = {str(parent) for array in self.arrays for parent in Path(array.path).parents}
        return sum(array.files + 1 for array in self.arrays) + len(groups) + len(UNLISTED)

    @property
    def nbytes(self) -> int:
        """Raw bytes of all arrays, before compression."""
        return sum(array.nbytes for array in self.arrays)

    @property
    def expected_nbytes(self) -> int | None:
        """Bytes that the store will take, as a sample predicts; None without one."""
        beside = sum(array.nbytes for array in self.arrays if array.path not in self.expected)
        return round(sum(self.expected.values()) + beside * _BESIDE) if self.expected else None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unusual, but loses nothing; and that the disk may become full."""
        found, names = list(self.survey.warnings), {variable.name for variable in self.variables}
        if self.published is not None:
            known = (name for name, one in KNOWN.items() if self.published.kind in one.kinds)
            found += [f"lacks {name}, which the published mouse has" for name in known if name not in names]
        if layout.TRAIN_TIER not in self.survey.tiers:
            found.append("there are no train trials, so no train statistics")
        if shortage := self.space.shortage:
            found.append(shortage)
        return tuple(found)

    def statistics_memory(self, at_once: int = 1) -> int:
        """Return the bytes below which the train statistics cannot be computed; 0 without them.

        Parameters
        ----------
        at_once
            Threads of a worker of a cluster, which share its memory.
        """
        if not self.statistics:
            return 0
        n_trials = len(self.survey.trial_ids)
        sizes = [dict(zip(array.dimensions, array.shape, strict=True)) for array in self.recorded]
        n_frames = max(size.get(layout.FRAME, 0) for size in sizes)
        planned = self.recording(self.destination, [n_frames] * n_trials, [False] * n_trials)
        return needed_memory(planned, planned.rows_of_tier(layout.TRAIN_TIER), at_once)

    def recording(self, root: Path, n_frames: Sequence[int], withheld: Sequence[bool]) -> Recording:
        """Return the recorded variables as readers know them, once the trials were read."""
        survey = self.survey
        return Recording(
            place=StoreFolder(root),
            variables=self.variables,
            arrays={array.path: array for array in self.recorded},
            trial_ids=np.array(survey.trial_ids, np.int64),
            tiers=np.array(survey.tiers, object),
            n_frames=np.array(n_frames, np.int32) if survey.kind == "dynamic" else None,
            withheld=np.array(withheld, bool),
            lacking={
                name: np.isin(survey.trial_ids, list(spec.missing))
                for name, spec in survey.specs.items()
                if spec.missing
            },
        )

    def trials_by_tier(self) -> dict[str, int]:
        """Return how many trials each tier has."""
        return dict(sorted(Counter(self.survey.tiers).items()))


def make_plan(survey: Survey, to: Path, options: Options) -> Plan:
    """Lay out the store of a mouse.

    Parameters
    ----------
    survey
        What was found in the source, given the schema of the options.
    to
        The folder that is to hold the store.
    options
        What is asked of the store; of a source that was rounded before, the precision is the one of that.

    Raises
    ------
    SourceError
        Two arrays cannot both have the place or the dimensions in the store that they would have, or a name or the
        tiers cannot be stored.
    OptionError
        A bound is of what the mouse does not have, or the store would lie inside its source.
    """
    check_bounds(survey, options.bounds)
    _check_outside(survey, to)
    if survey.precision != "source":
        options = dataclasses.replace(options, precision=survey.precision)
    variables = tuple(_as_stored(variable, options) for variable in survey.variables)
    place = destination(survey.mouse, to)
    problems = [*_name_problems(survey), *_tier_problems(survey)]
    arrays = layout.lay_out_store(
        variables,
        [survey.stored_shape(variable) for variable in variables],
        n_trials=len(survey.trial_ids),
        n_train=survey.tiers.count(layout.TRAIN_TIER) if options.statistics else 0,
        unpadded=survey.n_file_frames is not None,
        codec=options.codec,
        bounds=options.bounds,
    )
    small = plan_small_arrays(survey, arrays)
    problems += small_problems(survey, arrays, small)
    if problems:
        raise SourceError(problems)
    return Plan(
        survey=survey,
        destination=place,
        options=options,
        variables=variables,
        recorded=arrays.recorded,
        largest_errors=arrays.largest_errors,
        coordinates=arrays.coordinates,
        statistics=arrays.statistics,
        small=small,
        rows_per_shard=arrays.rows_per_shard,
    )


def _as_stored(variable: Variable, options: Options) -> Variable:
    """Return a variable with the dtype that the store has: rounded ones, and float64 in float32 stores, are float32."""
    narrowed = options.precision == "float32" and variable.dtype == "float64"
    return dataclasses.replace(variable, dtype="float32") if narrowed or variable.name in options.bounds else variable


def destination(mouse: str, to: Path) -> Path:
    """Return where the store of a mouse is made."""
    return to / f"{mouse}{layout.SUFFIX}"


def check_bounds(survey: Survey, bounds: Mapping[str, Bound]) -> None:
    """Check that a mouse has what bounds are given for.

    Raises
    ------
    OptionError
        With every bound of a variable that there is not, or of the standard deviation of no train trials.
    """
    problems, known = list[Problem](), {variable.name: variable for variable in survey.variables}
    for name, bound in bounds.items():
        option = f"{layout.A_MAX_ERROR} of {name!r}"
        if name not in known:
            what, advice = "there is no such variable", f"choose of {', '.join(known)}"
            problems.append(Problem(survey.label, f"{option}: {what}", advice))
        elif np.dtype(known[name].dtype).kind != "f":
            what = f"only floats are rounded, and these are {known[name].dtype}"
            problems.append(Problem(survey.label, f"{option}: {what}", "leave it out"))
        elif bound.of_std and layout.TRAIN_TIER not in survey.tiers:
            what = f"{bound} needs the standard deviation of train trials, of which there are none"
            problems.append(Problem(survey.label, f"{option}: {what}", "give it in the variable's unit"))
    if problems:
        raise OptionError(problems)


def _check_outside(survey: Survey, to: Path) -> None:
    """Check that the store is not made inside its source, of which it would become a part."""
    if to.resolve().is_relative_to(Path(survey.label).resolve()):
        raise OptionError(Problem(str(to), f"lies inside the source {survey.label}", "choose another folder"))


def _name_problems(survey: Survey) -> Iterator[Problem]:
    """Yield whether the source is called what the metadata of a store cannot hold."""
    try:
        f"{survey.mouse} {Path(survey.label).name}".encode()
    except UnicodeEncodeError:
        yield Problem(survey.label, "has a name that is not UTF-8", "rename it")


def _tier_problems(survey: Survey) -> Iterator[Problem]:
    """Yield that the tiers among the tables of trials, whose length they tell, are missing or no list."""
    shapes = {array.name: array.shape for array in survey.small if array.name.startswith("meta/trials/")}
    if shapes and len(shapes.get(TIERS, ())) != 1:
        found = f"shape {shapes[TIERS]}" if TIERS in shapes else "none"
        what = f"expected one text for each file number, found {found}"
        yield Problem(survey.label, what, "give the source's tiers beside its other arrays", TIERS)


def _writing_memory(array: ArrayLayout) -> int:
    """Return what writing an array holds: a group of rows, one mask of it, a chunk as it is stored and encoded."""
    return array.trial_nbytes * array.chunk[0] * 5 // 4 + 3 * array.chunk_nbytes


def describe(plan: Plan) -> dict[str, Any]:
    """Return the plan as a JSON document."""
    return {
        "source": plan.survey.label,
        "store": str(plan.destination),
        layout.A_MOUSE: plan.survey.mouse,
        layout.A_LETTER: plan.published.letter if plan.published else None,
        layout.A_KIND: plan.survey.kind,
        layout.A_PRECISION: plan.options.precision,
        layout.A_MAX_ERROR: {name: bound.document for name, bound in plan.options.bounds.items()},
        layout.A_CODEC: plan.options.codec,
        layout.A_VARIABLES: [variable.document for variable in plan.variables],
        "trials": plan.trials_by_tier(),
        "arrays": [_describe_array(array) for array in plan.arrays],
        "bytes_before": plan.survey.nbytes,
        "bytes_raw": plan.nbytes,
        "bytes_expected": plan.expected_nbytes,
        "bytes_expected_of": dict(plan.expected),
        **plan.space.document,
        "files_before": plan.survey.files,
        "files_after": plan.files,
        "units": len(plan.units),
        "memory_per_worker": plan.unit_memory,
        "missing_of_published": plan.missing_of_published(),
        "warnings": list(plan.warnings),
    }


def _describe_array(array: ArrayLayout) -> dict[str, Any]:
    return {
        "path": array.path,
        "shape": list(array.shape),
        "dtype": array.dtype,
        "chunk": list(array.chunk),
        "shard": list(array.shard) if array.shard else None,
        "compressor": array.codec.compressor,
        "order": list(array.codec.order),
        "bytes_raw": array.nbytes,
        "files": array.files + 1,
    }

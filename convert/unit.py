"""The unit of work: read some trials, check them, write one shard of every variable, note in the journal that it is.

Units are independent of one another and may run anywhere that sees the source and the destination.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store import Argument, Problem, SourceError, layout
from ..store.cluster import this_worker
from ..store.layout import ArrayLayout, Precision, Variable
from ..store.manifest import values_digest
from ..store.metadata import array_document
from ..store.publish import Stage, record_unit, recorded_unit
from ..store.shards import ShardWriter
from ..store.tasks import Progress, Silent
from ..store.variables import stimulus_of
from .formats.source import SourcePart, SourceTrial, TrialReader
from .rounding import Limits, round_within
from .validity import holds_nan, is_withheld, valid_frames

_NO_FRAME = "save it with its values, or leave the trial out of all variables"
_SIGNALLING = ("save all trials as one dtype, or give ", Argument("precision", "float32"))


@dataclass(frozen=True)
class Unit:
    """One unit of work. Small and picklable.

    Attributes
    ----------
    number
        Which shard of every array.
    trial_ids
        Trial ids of its rows.
    variables, recorded
        The recorded variables as the store has them, and their layouts in the same order.
    limits
        Variable -> how far its values may be from the source; of those that are rounded.
    missing
        Variable -> which of the trials lack it.
    """

    stage: Stage
    source: str
    part: SourcePart
    variables: tuple[Variable, ...]
    precision: Precision
    limits: Mapping[str, Limits]
    number: int
    trial_ids: tuple[int, ...]
    missing: Mapping[str, frozenset[int]]
    recorded: tuple[ArrayLayout, ...]
    software: dict[str, str]

    @property
    def name(self) -> str:
        """The trials as the person knows them."""
        first, last = self.trial_ids[0], self.trial_ids[-1]
        return f"{self.source}: " + (f"trial {first}" if first == last else f"trials {first} to {last}")

    @property
    def extent(self) -> tuple[int, int]:
        """Bytes and files of the source to be read."""
        return self.part.extent

    @property
    def fingerprint(self) -> str:
        """Changes with anything that the unit's shards depend on: files, layouts, precision, bounds, versions."""
        facts = [
            layout.FORMAT_VERSION,
            self.number,
            self.trial_ids,
            self.precision,
            {name: limits.fingerprint for name, limits in self.limits.items()},
            self.software,
            [variable.document for variable in self.variables],
            {name: sorted(trials) for name, trials in sorted(self.missing.items())},
            [array_document(array) for array in self.recorded],
            self.part.fingerprint,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


@dataclass
class UnitRecord:
    """Facts about a finished unit; lists have one item a trial.

    Attributes
    ----------
    files
        Path in the store -> [size, SHA-256].
    values
        Variable -> digests of the trials' values.
    headers
        Variable -> [dtype, Fortran order] of the trials' files; None of trials that lack it.
    worker
        Address of the worker of a cluster that wrote them; empty without one.
    """

    files: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    values: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    headers: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    n_frames: list[int] = field(default_factory=list[int])
    withheld: list[bool] = field(default_factory=list[bool])
    warnings: list[str] = field(default_factory=list[str])
    worker: str = ""


def run_unit(unit: Unit, progress: Progress | None = None) -> UnitRecord:
    """Do a unit of work, unless the journal says that it is done.

    Parameters
    ----------
    progress
        Listener to bytes and files of the source that were read.

    Raises
    ------
    SourceError
        With every problem of every trial of the unit; its shards are then incomplete and not in the journal.
    OSError
        The disk is full, or the like.
    """
    fingerprint = unit.fingerprint
    known = recorded_unit(unit.stage, fingerprint, {array.shard_path(unit.number) for array in unit.recorded})
    if known is not None:
        if progress is not None:
            progress.advance(*unit.extent)
        return UnitRecord(**known)
    record = _UnitWriter(unit, progress or Silent()).run()
    record_unit(unit.stage, fingerprint, vars(record))
    return record


def stored_values(variable: Variable, values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """View a trial of the source with the axes of the store, as an array of the store's dtype.

    Parameters
    ----------
    values
        Axes, dtype, byte and memory order of the source.
    dtype
        Data type in the store.

    Returns
    -------
    ndarray
        C-contiguous, native byte order; `values` itself if it is that already.
    """
    view = values.transpose(variable.axes)
    if view.flags.c_contiguous and view.flags.aligned and view.dtype == dtype:
        return view
    out = np.empty(view.shape, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        np.copyto(out, view, casting="same_kind")
    return out


class _UnitWriter:
    """Writes one unit of work: reads and checks its trials, and writes one shard of every variable."""

    def __init__(self, unit: Unit, progress: Progress) -> None:
        self._unit, self._progress = unit, progress
        self._record, self._problems = UnitRecord(), list[Problem]()

    def run(self) -> UnitRecord:
        with ExitStack() as stack:
            reader = stack.enter_context(self._unit.part.open())
            writers = [
                stack.enter_context(_RowWriter(self._unit, variable, array))
                for variable, array in zip(self._unit.variables, self._unit.recorded, strict=True)
            ]
            for trial_id in self._unit.trial_ids:
                self._trial(reader, writers, trial_id)
            if self._problems:
                raise SourceError(self._problems)
            for writer in writers:
                self._finish(writer)
        self._record.worker = this_worker()
        return self._record

    def _trial(self, reader: TrialReader, writers: list[_RowWriter], trial_id: int) -> None:
        """Read and write one trial; after a problem go on reading, to report all that there are, but write no more."""
        known = _KnownTrial(trial_id)
        for writer in writers:
            variable = writer.variable
            if trial_id in self._unit.missing.get(variable.name, ()):
                writer.append_missing()
                continue
            try:
                trial = reader.read(variable.name, trial_id)
                self._progress.advance(trial.nbytes, trial.files)
                values = writer.convert(trial, trial_id)
                self._record.warnings += known.add(variable, trial, values)
            except SourceError as error:
                self._problems += error.problems
                continue
            if not self._problems:
                writer.append(values, trial)
        self._note(known)

    def _note(self, known: _KnownTrial) -> None:
        """Note the valid length of a trial, and whether its responses were withheld."""
        if known.withheld is not None:
            self._record.withheld.append(known.withheld)
        reference = known.reference(self._unit.variables)
        if reference is None:
            return
        n_frames = known.lengths[reference]
        self._record.n_frames.append(n_frames)
        self._record.warnings += known.other_lengths(reference)
        if n_frames == 0:
            what = f"no valid frame (the {reference} of trial {known.trial_id} are NaN throughout)"
            self._problems.append(Problem(self._unit.source, what, _NO_FRAME, known.members[reference], known.trial_id))

    def _finish(self, writer: _RowWriter) -> None:
        file = writer.finish()
        self._record.files[writer.name] = [file.size, file.sha256]
        self._record.values[writer.variable.name] = writer.digests
        self._record.headers[writer.variable.name] = writer.headers


class _KnownTrial:
    """Facts about a trial, once its variables were read one after another.

    Attributes
    ----------
    lengths
        Variable with frames -> frames up to the last one that holds a number; of integers, all of the file.
    members
        Variable -> what the source calls its file.
    floats
        Variables of floats, which are NaN where there is nothing.
    withheld
        Whether zeros stand in place of the responses; None before they were read.
    """

    def __init__(self, trial_id: int) -> None:
        self.trial_id, self.floats = trial_id, set[str]()
        self.lengths, self.members = dict[str, int](), dict[str, str]()
        self.withheld: bool | None = None

    def add(self, variable: Variable, trial: SourceTrial, values: NDArray[Any]) -> list[str]:
        """Look at a variable that was read; return what is unusual about it."""
        self.members[variable.name], axis = trial.member, variable.frame_axis
        floats, n_frames = values.dtype.kind == "f", 0
        if floats:
            self.floats.add(variable.name)
        if axis is not None:
            # Integers have no NaN: every frame of the file is one.
            n_frames = valid_frames(values, axis) if floats else trial.values.shape[variable.axes[axis]]
            self.lengths[variable.name] = n_frames
        if variable.name == layout.RESPONSES:
            # Of the source: what was rounded may be zeros throughout, and is no placeholder. Nor are counts of spikes.
            self.withheld = floats and is_withheld(trial.values)
        if floats and holds_nan(values, axis, n_frames):
            return [f"{variable.name} of trial {self.trial_id} hold NaN among their valid values"]
        return []

    def reference(self, variables: Sequence[Variable]) -> str | None:
        """Return the variable that tells the trial's valid length; None without frames.

        The stimulus, or else the responses, if they are of floats, whose padding is NaN; withheld responses are zeros
        to the end. Else the longest: what was recorded beside them, such as the position of a pupil that closes, may
        be NaN at the end, or throughout.
        """
        floats = self.floats & self.lengths.keys()
        stimulus = stimulus_of(variables)
        if stimulus is not None and stimulus.name in floats:
            return stimulus.name
        if layout.RESPONSES in floats and not self.withheld:
            return layout.RESPONSES
        told = floats - {layout.RESPONSES} or self.lengths.keys()
        return max(sorted(told), key=lambda name: self.lengths[name], default=None)

    def other_lengths(self, reference: str) -> list[str]:
        """Return which variables have another valid length than the one that tells it; integers show no padding."""
        n_frames, withheld = self.lengths[reference], {layout.RESPONSES} if self.withheld else set[str]()
        return [
            f"{name} of trial {self.trial_id} have {length} valid frames, its {reference} {n_frames}"
            for name, length in self.lengths.items()
            if length != n_frames and name in self.floats - withheld
        ]


class _RowWriter:
    """Collects the rows that share chunks, and writes them to one shard of one array."""

    def __init__(self, unit: Unit, variable: Variable, array: ArrayLayout) -> None:
        self.variable, self._array, self._exact = variable, array, unit.precision == "source"
        self._unit, self._limits = unit, unit.limits.get(variable.name)
        self._rounded = np.empty(array.shape[1:] if self._limits else 0, np.float32)
        self._shard = ShardWriter(unit.stage.root, array, unit.number, unit.stage.writing)
        self.name, self.digests, self.headers = self._shard.name, list[str](), list[Any]()
        self._shared = array.chunk[0]
        self._group = np.empty((self._shared, *array.shape[1:]), array.numpy_dtype) if self._shared > 1 else None
        self._filled = 0

    def __enter__(self) -> _RowWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._shard.close()

    def convert(self, trial: SourceTrial, trial_id: int) -> NDArray[Any]:
        """Return the trial's values as the store holds them, valid until the next call.

        Raises
        ------
        SourceError
            A trial of another dtype than the array's does not come back as it was; or the store does not hold its
            values within their bound.
        """
        if self._limits is not None:
            return self._padded(self._round(self._limits, trial, trial_id))
        values = stored_values(self.variable, trial.values, self._array.dtype)
        if self._exact and trial.values.dtype.itemsize != values.dtype.itemsize:
            back = stored_values(self.variable, trial.values, trial.values.dtype.newbyteorder("=").str)
            if values.astype(back.dtype).tobytes() != back.tobytes():
                what = f"{trial.descr} values that float64 does not hold exactly (a signalling NaN)"
                raise SourceError(Problem(self._unit.source, what, _SIGNALLING, trial.member, trial_id))
        return self._padded(values)

    def _padded(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values with as many frames as the longest trial has."""
        if values.shape == self._array.shape[1:]:
            return values
        out = self._filling()
        out[tuple(map(slice, values.shape))] = values
        return out

    def _filling(self) -> NDArray[Any]:
        return np.full(self._array.shape[1:], self.variable.fill_value, self._array.numpy_dtype)

    def _round(self, limits: Limits, trial: SourceTrial, trial_id: int) -> NDArray[np.float32]:
        view = trial.values.transpose(self.variable.axes)
        out = self._rounded if view.shape == self._rounded.shape else np.empty(view.shape, np.float32)
        excess = round_within(view, limits, out)
        if excess is None:
            return out
        what = (
            f"float32 does not hold all values within {excess.allowed:.6g} (largest error {excess.error:.6g}, "
            f"{layout.A_MAX_ERROR} {self._array.attributes[layout.A_MAX_ERROR]})"
        )
        advice = f"give a larger {layout.A_MAX_ERROR} for {self.variable.name}, one in its unit, or none"
        raise SourceError(Problem(self._unit.source, what, advice, trial.member, trial_id))

    def append(self, values: NDArray[Any], trial: SourceTrial) -> None:
        """Add one row; `values` is not kept."""
        self._append(values, [trial.descr, trial.fortran_order])

    def append_missing(self) -> None:
        """Add the row of a trial that lacks the variable."""
        self._append(self._filling(), None)

    def _append(self, values: NDArray[Any], header: list[Any] | None) -> None:
        self.digests.append(values_digest(values))
        self.headers.append(header)
        if self._group is None:
            self._shard.append(values[None])
            return
        self._group[self._filled] = values
        self._filled += 1
        if self._filled == self._shared:
            self._flush(self._group)

    def finish(self) -> Any:
        """Write what is left and the index; return the file's record."""
        if self._group is not None and self._filled:
            self._flush(self._group)
        return self._shard.finish()

    def _flush(self, group: NDArray[Any]) -> None:
        self._shard.append(group[: self._filled])
        self._filled = 0

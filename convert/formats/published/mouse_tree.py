"""The layout in which Sensorium mice are published: ``data/<variable>/<trial_id>.npy`` and ``meta/**/*.npy``."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from ....store import Problem, SourceError
from ....store.layout import Variable
from ...schema import Schema
from ..source import SourceTrial, Survey, TrialSpec, reading, with_frames
from .names import TRIAL_FILE
from .surveyor import Surveyor
from .tree import Entry, Listing, Tree, TreeReader, named_errors, read_array, trial_problem


class MouseTree:
    """A mouse published as a tree of files.

    Parameters
    ----------
    tree
        Where the files are: a folder or an archive.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._known: tuple[Schema | None, Survey] | None = None

    @property
    def label(self) -> str:
        """The folder or archive."""
        return self._tree.label

    @cached_property
    def _listing(self) -> Listing:
        with reading(self._tree.label):
            return self._tree.list()

    @cached_property
    def _trials(self) -> dict[str, dict[int, Entry]]:
        """Variable -> trial_id -> file."""
        found = dict[str, dict[int, Entry]]()
        for name, entry in self._listing.entries.items():
            match = TRIAL_FILE.fullmatch(name)
            if match:
                found.setdefault(match[1], {})[int(match[2])] = entry
        return found

    def survey(self, schema: Schema | None = None) -> Survey:
        """Look at all names and sizes and at a few headers; see `Source.survey`."""
        if self._known is None or self._known[0] != schema:
            with self._tree.open() as reader:
                self._known = schema, Surveyor(self._tree, self._listing, self._trials, reader).survey(schema)
        return self._known[1]

    def part(self, trial_ids: Sequence[int]) -> TreePart:
        """Return the part that holds these trials."""
        survey = self._known[1] if self._known else self.survey()
        wanted = {
            name: {trial: entries[trial] for trial in trial_ids if trial in entries}
            for name, entries in self._trials.items()
        }
        frames = dict(zip(survey.trial_ids, survey.n_file_frames or (), strict=False))
        outlines = {one.name: Outline.of(one, survey.specs[one.name]) for one in survey.variables}
        return TreePart(self._tree, wanted, outlines, {trial: frames[trial] for trial in trial_ids if trial in frames})

    def read_small(self, name: str) -> NDArray[Any]:
        """Read an array under ``meta``; a copy."""
        with self._tree.open() as reader:
            return read_array(self._tree, reader, self._listing.entries[name])[0].copy("K")

    def read_verbatim(self, name: str) -> bytes:
        """Read a file as it is."""
        with self._tree.open() as reader, named_errors(self._tree, name):
            return bytes(reader.read(self._listing.entries[name]))


@dataclass(frozen=True)
class Outline:
    """Expected properties of the file of a trial.

    Attributes
    ----------
    shape
        Shape of the longest trial.
    dtype
        The dtype that holds all trials.
    frame_axis
        Axis of the frames in the file; None without frames.
    """

    shape: tuple[int, ...]
    dtype: str
    frame_axis: int | None

    @classmethod
    def of(cls, variable: Variable, spec: TrialSpec) -> Outline:
        """Return the outline of a variable's files."""
        axis = variable.frame_axis
        return cls(spec.shape, spec.dtype, None if axis is None else variable.axes[axis])


@dataclass(frozen=True)
class TreePart:
    """Some trials of a mouse in a tree of files.

    Attributes
    ----------
    frames
        Number of a trial -> frames of its files; of mice whose trials differ in length.
    """

    tree: Tree
    entries: Mapping[str, Mapping[int, Entry]]
    outlines: Mapping[str, Outline]
    frames: Mapping[int, int]

    @property
    def fingerprint(self) -> object:
        """Name, size and stamp of every file."""
        return [
            [entry.name, entry.size, entry.stamp]
            for _, trials in sorted(self.entries.items())
            for _, entry in sorted(trials.items())
        ]

    @property
    def extent(self) -> tuple[int, int]:
        """Bytes and files of the part."""
        sizes = [entry.size for trials in self.entries.values() for entry in trials.values()]
        return sum(sizes), len(sizes)

    @contextlib.contextmanager
    def open(self) -> Generator[TreeTrialReader]:
        """Return a reader with memory of its own."""
        with self.tree.open() as reader:
            yield TreeTrialReader(self, reader)


class TreeTrialReader:
    """Reads trials out of a tree of files."""

    def __init__(self, part: TreePart, reader: TreeReader) -> None:
        self._part, self._reader = part, reader

    def read(self, variable: str, trial_id: int) -> SourceTrial:
        """Read one variable of one trial; see `TrialReader.read`."""
        entry = self._part.entries[variable][trial_id]
        values, header = read_array(self._part.tree, self._reader, entry, trial_id)
        outline, frames = self._part.outlines[variable], self._part.frames
        shape = with_frames(outline.shape, outline.frame_axis, frames[trial_id]) if frames else outline.shape
        problem = trial_problem(header, shape, outline.dtype)
        if problem:
            raise SourceError(Problem(self._part.tree.label, *problem, entry.name, trial_id))
        return SourceTrial(entry.name, values, header.descr, header.fortran_order, entry.size)

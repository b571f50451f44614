"""A mouse in an HDF5 file, of any of the known layouts."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....store import Problem, SourceError
from ....store.manifest import values_digest
from ....store.pointers import find_pointer
from ...npy import as_published
from ...schema import Schema
from ..source import ReadError, SourceTrial, Survey
from .access import DIFFERS, EXPORT_AGAIN, Hdf5Path, Hdf5Reader, Kind, named_errors
from .dataset import Dataset
from .exported import read_exported
from .movies import MOVIE_DATASETS, MOVIE_GROUPS, STATIC_DATASETS, read_movies, read_static
from .places import Contents, SmallPlace, TrialPlace, VariablePlace, specs
from .storage import is_hdf5
from .values import A_LAYOUT, Rows, digest


@dataclass(frozen=True)
class _Layout:
    """A layout, and what every file of it has at its top."""

    name: str
    datasets: tuple[str, ...]
    groups: tuple[str, ...]
    read: Callable[[Hdf5Reader], Contents]

    def lacks(self, top: dict[str, Kind]) -> list[str]:
        """Return what a file has not; a link counts, for it is to be refused by its own name."""
        groups = [f"the group {name}" for name in self.groups if top.get(name) not in ("group", "link")]
        return groups + [f"the dataset {name}" for name in self.datasets if top.get(name) not in ("dataset", "link")]

    @property
    def text(self) -> str:
        groups = f"the groups {', '.join(self.groups)} and " if self.groups else ""
        return f"{self.name} ({groups}the datasets {', '.join(self.datasets)})"


_OLDER = (
    _Layout("images", STATIC_DATASETS, (), read_static),
    _Layout("movies", MOVIE_DATASETS, MOVIE_GROUPS, read_movies),
)


def read_contents(file: Hdf5Reader) -> Contents:
    """Find out what a file holds.

    Raises
    ------
    SourceError
        It has none of the known layouts; or, with every problem that can be seen without reading trials, what is
        wrong.
    """
    if file.has_attribute(A_LAYOUT):
        return read_exported(file)
    top = file.kinds()
    nearest = min(_OLDER, key=lambda layout: len(layout.lacks(top)) / len(layout.lacks({})))
    missing = nearest.lacks(top)
    if missing:
        known = "; ".join(["a file that trialpack exported", *(layout.text for layout in _OLDER)])
        what = f"no mouse that is known (known: {known}); the nearest is {nearest.name}, without {', '.join(missing)}"
        raise SourceError(Problem(file.path.label, what, "give the file of a mouse"))
    return nearest.read(file)


class Hdf5Mouse:
    """A mouse in an HDF5 file.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = Hdf5Path(path)

    @property
    def label(self) -> str:
        """The file."""
        return self._path.label

    def survey(self, schema: Schema | None = None) -> Survey:
        """Look at the types and shapes of all datasets, and at the values of those beside the trials.

        Raises
        ------
        SourceError
            With every problem that can be seen without reading trials; or a schema is given, and is not the one that
            the file has already.
        """
        if schema is not None and schema.text != self._survey.schema:
            what = "an HDF5 file says itself what its variables are"
            raise SourceError(Problem(self.label, what, "leave the schema out, or convert the published files"))
        return self._survey

    def part(self, trial_ids: Sequence[int]) -> Hdf5Part:
        """Return the part that holds these trials."""
        path, contents = self._known
        return Hdf5Part(path, {name: place.part(trial_ids) for name, place in contents.places.items()})

    def read_small(self, name: str) -> NDArray[Any]:
        """Read an array beside the trials, as a published tree has it."""
        path, contents = self._known
        place = contents.small[name]
        values = _read_small(path, place)
        if values.dtype == object and max(map(len, values.reshape(-1).tolist()), default=0) > _letters(place):
            what = f"holds a text that is longer than its dtype {place.array.dtype}"
            raise SourceError(Problem(self.label, what, EXPORT_AGAIN, place.dataset))
        return as_published(values, place.array.dtype)

    def read_verbatim(self, name: str) -> bytes:
        """Read a file that is kept byte by byte."""
        path, contents = self._known
        return _read_small(path, contents.verbatim[name]).tobytes()

    @cached_property
    def _known(self) -> tuple[Hdf5Path, Contents]:
        with named_errors(self.label):
            self._path.place.stat()  # of a file that is gone, this says so
            if not is_hdf5(self._path.place):
                problem = "not an HDF5 file", "download or export it again, or give the file of a mouse"
                raise ReadError(*(find_pointer(self._path.place) or problem))
        with self._path.open() as file, named_errors(self.label):
            contents = read_contents(file)
            file.check_unchanged()
            return file.path, contents

    @cached_property
    def _survey(self) -> Survey:
        _, contents = self._known
        return Survey(
            mouse=contents.mouse or self._path.path.stem,
            label=self.label,
            trial_ids=contents.trial_ids,
            tiers=contents.tiers,
            variables=contents.variables,
            specs=specs(contents.places, contents.trial_ids),
            small=tuple(contents.small[name].array for name in sorted(contents.small)),
            verbatim=tuple(sorted(contents.verbatim)),
            config=contents.config,
            files=1,
            nbytes=contents.nbytes,
            warnings=contents.warnings,
            precision=contents.precision,
            schema=contents.schema,
            n_file_frames=contents.n_file_frames,
        )


@dataclass(frozen=True)
class Hdf5Part:
    """Some trials of a mouse in an HDF5 file."""

    path: Hdf5Path
    variables: Mapping[str, VariablePlace]

    @property
    def fingerprint(self) -> object:
        """Name, size and times of the file."""
        return [self.path.path.name, *(astuple(self.path.stamp) if self.path.stamp else ())]

    @property
    def extent(self) -> tuple[int, int]:
        """Bytes of the part; the one file counts when all of it is done."""
        trials = [trial for place in self.variables.values() for trial in place.trials.values()]
        return sum(trial.nbytes for trial in trials), 0

    @contextlib.contextmanager
    def open(self) -> Generator[Hdf5TrialReader]:
        """Open the file for one thread."""
        with self.path.open() as file:
            yield Hdf5TrialReader(file, self.variables)


class Hdf5TrialReader:
    """Reads trials out of an open file."""

    def __init__(self, file: Hdf5Reader, variables: Mapping[str, VariablePlace]) -> None:
        self._file, self._variables = file, variables
        self._blocks = {name: _Block(file, place) for name, place in variables.items()}

    def read(self, variable: str, trial_id: int) -> SourceTrial:
        """Read one variable of one trial; see `TrialReader.read`."""
        place = self._variables[variable]
        trial = place.trials[trial_id]
        with named_errors(self._file.path.label, trial.member, trial_id):
            values = self._blocks[variable].read(trial)
            self._file.check_unchanged()
            if trial.digest is not None and values_digest(values) != trial.digest:
                raise ReadError(DIFFERS)
        if place.frame_axis is not None and trial.row is not None and trial.frames is not None:
            values = values[(slice(None),) * place.frame_axis + (slice(trial.frames),)]
        published = values.transpose(place.axes)
        return SourceTrial(trial.member, published, trial.descr, trial.fortran_order, trial.nbytes, files=0)


class _Block:
    """A part of a variable that is read at once: rows that share chunks, none unpacked twice; or a dataset."""

    def __init__(self, file: Hdf5Reader, place: VariablePlace) -> None:
        self._file, self._place = file, place
        self._memory = np.empty(place.kept, np.uint8)
        self._stack: tuple[Dataset, Rows] | None = None
        self._rows = range(0)

    def read(self, trial: TrialPlace) -> NDArray[Any]:
        """Return the values of a trial, valid until the next call."""
        return self._movie(trial) if trial.row is None else self._row(trial.dataset, trial.row)

    def _movie(self, trial: TrialPlace) -> NDArray[Any]:
        """Read a dataset that is one trial, and fill up what it has less than the longest."""
        dataset, rows = self._file.rows(trial.dataset)
        out = self._array(1, dataset.dtype)[0]
        rows.read_all(out[: trial.frames])
        out[trial.frames :] = np.nan
        return out

    def _row(self, path: str, row: int) -> NDArray[Any]:
        """Return a row of the dataset of all trials; read it with those that share its chunks, unless it was."""
        if self._stack is None:
            self._stack = self._file.rows(path)
        dataset, rows = self._stack
        if row not in self._rows:
            start = row // self._place.together * self._place.together
            wanted = range(start, min(start + self._place.together, dataset.shape[0]))
            self._rows = range(0)
            rows.read(start, self._array(len(wanted), dataset.dtype))
            self._rows = wanted
        return self._array(len(self._rows), dataset.dtype)[row - self._rows.start]

    def _array(self, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the memory as so many trials."""
        shape = (count, *self._place.shape)
        return self._memory[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def _read_small(path: Hdf5Path, place: SmallPlace) -> NDArray[Any]:
    with path.open() as file, named_errors(path.label, place.dataset):
        values = file.values(file.dataset(place.dataset))
        file.check_unchanged()
        if place.digest is not None and digest(values) != place.digest:
            raise ReadError(DIFFERS)
        return values


def _letters(place: SmallPlace) -> int:
    """Return how many letters a text of an array may have."""
    return np.dtype(place.array.dtype).itemsize // np.dtype("U1").itemsize

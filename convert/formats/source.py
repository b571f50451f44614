"""The interface of a source of a mouse, for the plan and the writer. A new format is one more file that implements it.

A source knows nothing of Zarr; the writer knows nothing of folders, zips and files.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from ...store import Problem, SourceError
from ...store.errors import TrialpackError, refusal
from ...store.layout import NEURON, RESPONSES, Kind, Precision
from ...store.variables import Variable, kind_of
from ..npy import COPY_AGAIN
from ..schema import Schema

TIERS = "meta/trials/tiers.npy"
"""Path of the array that every source has: the tier of each number that a trial could have."""


@dataclass(frozen=True)
class TrialSpec:
    """Properties that all trials of a variable share.

    Attributes
    ----------
    shape
        Shape of one trial, axes in the source's order, as many frames as the longest trial has.
    dtype
        The smallest dtype that holds every trial exactly.
    nbytes
        Bytes that the largest of its files takes, or that reading the largest of its trials does.
    missing
        Numbers of the trials that lack an optional variable.
    """

    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    missing: frozenset[int] = frozenset()


@dataclass(frozen=True)
class SmallArray:
    """One array beside the trials.

    Attributes
    ----------
    name
        Where the source has it, such as ``meta/trials/tiers.npy``.
    shape, dtype
        Shape and dtype in the source; `dtype` with byte order, such as ``<U16``.
    fortran_order
        The memory order in the source.
    nbytes
        Bytes of its file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    fortran_order: bool
    nbytes: int


@dataclass(frozen=True)
class Survey:
    """Everything known of a mouse before its trials are read.

    Attributes
    ----------
    mouse
        Name of the mouse.
    label
        The folder or file as the person knows it.
    trial_ids
        The trials that exist, ascending.
    tiers
        One for each of `trial_ids`.
    variables
        The variables, in the order of a store; dtypes are those of the source.
    specs
        Name of a variable -> what its trials have in common.
    small
        Arrays beside the trials.
    verbatim
        Files that are kept byte by byte: those under ``meta`` that are not arrays.
    config, schema
        Texts of ``config.json`` and of ``trialpack.toml``, or of the schema that was given; None without.
    n_file_frames
        Frames of the files of each trial; None where all have as many.
    files, nbytes
        Number of files and bytes of the whole source.
    overhead
        How many bytes of memory reading one byte of it takes, at most.
    warnings
        What is unusual, but loses nothing.
    precision
        How exact the values are already: ``float32`` if the source comes from a store that rounded them.
    """

    mouse: str
    label: str
    trial_ids: tuple[int, ...]
    tiers: tuple[str, ...]
    variables: tuple[Variable, ...]
    specs: Mapping[str, TrialSpec]
    small: tuple[SmallArray, ...]
    verbatim: tuple[str, ...]
    config: str | None
    files: int
    nbytes: int
    overhead: int = 1
    warnings: tuple[str, ...] = ()
    precision: Precision = "source"
    schema: str | None = None
    n_file_frames: tuple[int, ...] | None = None

    @property
    def kind(self) -> Kind:
        """Whether the mouse has frames (dynamic) or not (static)."""
        return kind_of(self.variables)

    @property
    def paths(self) -> list[Path]:
        """The files of the source, as far as they lie at its label."""
        path = Path(self.label).absolute()
        return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return neuron_count(self.variables, self.specs) or 0

    def stored_shape(self, variable: Variable) -> tuple[int, ...]:
        """Return the shape of one trial of a variable with the axes of a store."""
        return tuple(self.specs[variable.name].shape[axis] for axis in variable.axes)


def with_frames(shape: tuple[int, ...], axis: int | None, frames: int) -> tuple[int, ...]:
    """Return a shape with another number of frames, given which axis they are; None without frames."""
    return shape if axis is None else (*shape[:axis], frames, *shape[axis + 1 :])


def neuron_count(variables: Sequence[Variable], specs: Mapping[str, TrialSpec]) -> int | None:
    """Return the number of neurons, which the responses tell; None where they could not be read."""
    for variable in variables:
        if variable.name == RESPONSES and NEURON in variable.dimensions:
            return specs[RESPONSES].shape[variable.published_dimensions.index(NEURON)]
    return None


@dataclass(frozen=True)
class SourceTrial:
    """One variable of one trial.

    Attributes
    ----------
    member
        Where the source has it, such as ``data/responses/17.npy``.
    values
        Axes, dtype, byte order and memory order of the source; valid until the next read.
    descr, fortran_order
        How the source wrote it.
    nbytes
        Bytes of its file.
    files
        How many files it took: none, if one holds many trials.
    """

    member: str
    values: NDArray[Any]
    descr: str
    fortran_order: bool
    nbytes: int
    files: int = 1


@dataclass(frozen=True)
class FileVersion:
    """By what a change of a file is noticed without reading it.

    Attributes
    ----------
    size
        Bytes.
    modified
        Time of the last change of its content in ns, which programs that copy files set as they like.
    changed
        Time in ns when the system noted the last change, which nobody can set. It changes with permissions and links,
        too, so files may differ in it while they are read, but not between a conversion and one that goes on from it.
    """

    size: int
    modified: int
    changed: int = field(compare=False)

    @classmethod
    def of(cls, status: os.stat_result) -> FileVersion:
        """Return the version of a file, given what the system knows of it."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class TrialReader(Protocol):
    """Reads trials, for one thread."""

    def read(self, variable: str, trial_id: int) -> SourceTrial:
        """Read one variable of one trial.

        Raises
        ------
        SourceError
            The trial is not what the survey said, with file, zip member and trial.
        """
        ...


class SourcePart(Protocol):
    """Some trials of a source. Small and picklable: a worker in another process reads its part with it."""

    @property
    def fingerprint(self) -> object:
        """A JSON value that changes whenever one of the files does, be it to another of equal size and time."""
        ...

    @property
    def extent(self) -> tuple[int, int]:
        """Bytes and files of the part."""
        ...

    def open(self) -> AbstractContextManager[TrialReader]:
        """Return a context in which the part's trials are read."""
        ...


@runtime_checkable
class Source(Protocol):
    """A mouse as somebody published it."""

    @property
    def label(self) -> str:
        """The folder or file as the person knows it."""
        ...

    def survey(self, schema: Schema | None = None) -> Survey:
        """Find out what the mouse consists of, without reading trials.

        Parameters
        ----------
        schema
            What is declared of the variables, in place of what the source itself declares.

        Raises
        ------
        SourceError
            With every problem that can be seen without reading trials.
        """
        ...

    def part(self, trial_ids: Sequence[int]) -> SourcePart:
        """Return the part that holds these trials; after `survey`."""
        ...

    def read_small(self, name: str) -> NDArray[Any]:
        """Read one of the arrays beside the trials; after `survey`."""
        ...

    def read_verbatim(self, name: str) -> bytes:
        """Read one of the files that are kept byte by byte; after `survey`."""
        ...


class ReadError(ValueError):
    """Part of a source is damaged. The caller knows which; this says what is wrong and what to do."""

    def __init__(self, what: str, advice: str = "copy the file again") -> None:
        super().__init__(what, advice)
        self.what, self.advice = what, advice


@contextlib.contextmanager
def reading(path: object) -> Generator[None]:
    """Turn an error of the system, met while a source is found or listed, into one that names the file."""
    try:
        yield
    except OSError as error:
        if isinstance(error, TrialpackError):
            raise
        name = str(error.filename or path)
        problem = Problem(name, f"cannot be read ({error.strerror})", COPY_AGAIN)
        raise refusal(error, name) or SourceError(problem) from None

"""What a source of a mouse offers to the plan and to the writer. A new format is one more file that offers it.

A source knows nothing of Zarr; the writer knows nothing of folders, zips and files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from ...store.layout import Kind, Precision

FLOATS = ("f4", "f8")
"""What trials may be, as numpy calls it without the byte order."""


@dataclass(frozen=True)
class TrialSpec:
    """What all trials of a variable have in common.

    Attributes
    ----------
    shape
        Of one trial, axes in the source's order.
    dtype
        The smallest of float32 and float64 that holds every trial exactly.
    nbytes
        Bytes that the largest of its files takes, or that reading the largest of its trials does.
    """

    shape: tuple[int, ...]
    dtype: str
    nbytes: int


@dataclass(frozen=True)
class SmallArray:
    """One array beside the trials.

    Attributes
    ----------
    name
        Where the source has it, such as ``meta/trials/tiers.npy``.
    shape, dtype
        As the source has them; `dtype` with byte order, such as ``<U16``.
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
    """All that is known of a mouse before its trials are read.

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
        Name -> what its trials have in common.
    small
        Arrays beside the trials.
    verbatim
        Files that are kept byte by byte: those under ``meta`` that are not arrays.
    config
        Text of ``config.json``; None without.
    files, nbytes
        Number of files and bytes of the whole source.
    warnings
        What is unusual, but loses nothing.
    precision
        How exact the values are already: ``float32`` if the source comes from a store that rounded them.
    """

    mouse: str
    label: str
    kind: Kind
    trial_ids: tuple[int, ...]
    tiers: tuple[str, ...]
    variables: Mapping[str, TrialSpec]
    small: tuple[SmallArray, ...]
    verbatim: tuple[str, ...]
    config: str | None
    files: int
    nbytes: int
    warnings: tuple[str, ...] = ()
    precision: Precision = "source"


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
        """A JSON value that changes whenever one of the files does."""
        ...

    @property
    def extent(self) -> tuple[int, int]:
        """Bytes and files of the part."""
        ...

    def open(self) -> AbstractContextManager[TrialReader]:
        """Return a context in which the part's trials are read."""
        ...


class Source(Protocol):
    """A mouse as somebody published it."""

    @property
    def label(self) -> str:
        """The folder or file as the person knows it."""
        ...

    @property
    def overhead(self) -> int:
        """How many bytes of memory reading one byte takes, at most."""
        ...

    def survey(self) -> Survey:
        """Find out what there is, without reading trials.

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

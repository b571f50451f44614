"""Look at the parts of a file that all layouts have, and note what is wrong with them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ....store import SourceError
from ....store.layout import Variable
from ...inference import FoundTrials, VariableFinder
from ...schema import Schema
from ..findings import SAVE_TIERS, Findings
from ..published.names import NEURONS, NPY, TIERS
from ..source import ReadError, SmallArray, neuron_count
from .access import Hdf5Reader, named_errors
from .dataset import Dataset
from .places import Contents, SmallPlace, TrialPlace, VariablePlace, specs

SAVE_WITH_AXES = "save it with these axes, none of them of length 0"
FLOATS = ("float32", "float64")
"""Data types that trials of the older layouts may have."""


class Hdf5Surveyor:
    """Collects where a file holds what.

    Parameters
    ----------
    file
        Open.
    """

    def __init__(self, file: Hdf5Reader) -> None:
        self.file, self.found = file, Findings(file.path.label)
        self.small = dict[str, SmallPlace]()

    @contextlib.contextmanager
    def noting(self, member: str, trial: int | None = None) -> Generator[None]:
        """Note what goes wrong with one part of the file, and go on with the next."""
        try:
            with named_errors(self.found.label, member, trial):
                yield
        except SourceError as error:
            self.found.problems += error.problems

    def stack(self, path: str, axes: Sequence[str], dtypes: Sequence[str] = FLOATS) -> Dataset | None:
        """Examine the dataset of a variable whose trials are its rows; None if it cannot be one.

        Parameters
        ----------
        axes
            What they are called in messages, the trials' left out.
        dtypes
            The dtypes that trials may have.
        """
        with self.noting(path):
            dataset = self.file.dataset(path)
            if len(dataset.shape) != 1 + len(axes) or 0 in dataset.shape:
                raise ReadError(
                    f"expected the axes (trial, {', '.join(axes)}), found shape {dataset.shape}", SAVE_WITH_AXES
                )
            check_dtype(dataset, dtypes)
            return dataset
        return None

    def check_rows(self, stacks: Mapping[str, Dataset], expected: int, of: str) -> None:
        """Check that all variables have the same number of trials."""
        for dataset in stacks.values():
            if dataset.shape[0] != expected:
                what = f"expected {expected} trials as in {of}, found {dataset.shape[0]}"
                self.found.problem(what, "give all variables the same trials", dataset.path)

    def add_small(self, name: str, path: str) -> None:
        """Look at an array beside the trials, to be kept under the name that a published tree has for it."""
        if not self.found.check_name(name, path):
            return
        if name in self.small:
            what = f"would be {name} as {self.small[name].dataset} is"
            self.found.problem(what, "rename or remove one of them", path)
            return
        with self.noting(path):
            dataset = self.file.dataset(path)
            if dataset.dtype == object:
                words: list[str] = self.file.values(dataset).reshape(-1).tolist()
                descr = f"<U{max(1, *map(len, words))}" if words else "<U1"
            else:
                descr = dataset.dtype.str
            array = small_array(name, dataset.shape, descr, fortran_order=False)
            if self.found.check_dtype(descr, path) and self.found.check_small(array.nbytes, path):
                self.small[name] = SmallPlace(path, array)

    def add_group(self, group: str, prefix: str, rename: Callable[[str], str] = str) -> None:
        """Look at all arrays below a group, if it is there."""
        if group not in self.file.kinds():
            return
        with self.noting(group):
            for path in self.file.datasets(group):
                self.add_small(f"{prefix}{rename(path.removeprefix(f'{group}/'))}{NPY}", path)

    def known_variables(self, places: Mapping[str, VariablePlace]) -> tuple[Variable, ...]:
        """Return what the variables of an older layout are, which have the names of published ones."""
        found = {
            name: FoundTrials(name, {}, place.published_shape, place.dtype, place.trials.keys())
            for name, place in places.items()
        }
        finder = VariableFinder(self.found.label, Path(self.found.label).stem, found, Schema())
        variables = finder.variables()
        if not self.found.problems:
            self.found.problems += finder.problems
        return variables

    def finish(
        self, ids: Sequence[int], variables: Sequence[Variable], places: Mapping[str, VariablePlace]
    ) -> Contents:
        """Check what depends on more than one array; return the contents, or raise all problems."""
        tiers = self._tiers(ids)
        complete = {name: place for name, place in places.items() if place.trials}
        of_neurons = {
            place.dataset: place.array.shape for name, place in self.small.items() if name.startswith(NEURONS)
        }
        clear = [variable for variable in variables if variable.name in complete]
        self.found.check_neurons(neuron_count(clear, specs(complete, ids)), of_neurons)
        self.found.raise_any()
        return Contents(
            trial_ids=tuple(ids),
            tiers=tuple(tiers[trial] for trial in ids),
            variables=tuple(variables),
            places=complete,
            small=self.small,
            warnings=tuple(self.found.warnings),
        )

    def _tiers(self, ids: Sequence[int]) -> dict[int, str]:
        place = self.small.get(TIERS)
        if place is not None:
            with self.noting(place.dataset):
                values = self.file.values(self.file.dataset(place.dataset))
                texts = values.astype("U") if values.dtype == object else values
                return self.found.tiers(texts, ids, place.dataset)
        elif not self.found.problems:
            self.found.problem("missing", SAVE_TIERS, TIERS)
        return dict.fromkeys(ids, "")


def place_of_stack(
    axes: Sequence[int], frame_axis: int | None, stack: Dataset, trials: Mapping[int, TrialPlace]
) -> VariablePlace:
    """Record where the trials of a variable are, which are rows of one dataset with the axes of a store.

    Parameters
    ----------
    axes
        Axis in a published file of each axis of a row.
    frame_axis
        Axis of a row along which trials may be shorter; None where all have the same shape.
    """
    return VariablePlace(
        shape=stack.shape[1:],
        dtype=stack.dtype.name,
        axes=tuple(np.argsort(axes).tolist()),
        unpacking=stack.unpacking,
        together=stack.rows_together,
        trials=trials,
        frame_axis=frame_axis,
    )


def small_array(name: str, shape: tuple[int, ...], descr: str, *, fortran_order: bool) -> SmallArray:
    """Describe an array beside the trials by what a published tree would have."""
    return SmallArray(name, shape, descr, fortran_order, math.prod(shape) * np.dtype(descr).itemsize)


def check_dtype(dataset: Dataset, dtypes: Sequence[str] = FLOATS) -> None:
    """Check that a dataset holds what trials may be."""
    if dataset.dtype.name not in dtypes:
        found = "text" if dataset.dtype == object else dataset.dtype.str
        raise ReadError(f"expected {' or '.join(dtypes)}, found {found}", "save it as one of them")

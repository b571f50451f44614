"""Statistics of some trials of a mouse: what computing and reading them returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store import OptionError, Problem, StoreIndex, UnknownNameError, layout
from ..store.errors import lookup
from ..store.layout import STATISTIC_NAMES, Kind, Reduction, Variable
from ..store.read_only import ReadOnlyDict, read_only
from ..store.variables import kind_of
from .reductions import Summary
from .tables import html_table


class Reductions(ReadOnlyDict):
    """Statistics of one variable, by what they were taken over."""

    def __init__(self, found: Mapping[Reduction, Summary], label: str) -> None:
        super().__init__(found)
        self._label = label

    def __reduce__(self) -> Any:
        """Return how it is made again, in another process too."""
        return type(self), (dict(self), self._label)

    def __missing__(self, reduction: str) -> Summary:
        """Raise an error that names those there are.

        Raises
        ------
        UnknownNameError
            Always.
        """
        raise UnknownNameError(Problem(self._label, f"no {reduction!r}", f"there are {', '.join(self)}"))


@dataclass(frozen=True, eq=False)
class Statistics(Mapping[str, Mapping[Reduction, Summary]]):
    """Statistics of some trials: ``statistics["responses"]["over_trials"].std``.

    Attributes
    ----------
    variables
        The variables that the statistics are of.
    tier
        The tier that the trials are of; None for trials of any tier.
    trial_ids
        (n_trials,) int64, ascending: the trials that the numbers come from. Withheld responses are left out.
    by_variable
        Variable -> reduction -> `Summary`. Axes are those of a trial in the store, without the reduced ones:
        ``over_trials`` responses (n_neurons, n_frames), videos (n_frames, height, width), images (image_channel,
        height, width), behavior (n_channels, n_frames), pupil_center (2, n_frames); the frames not there for static
        mice, and reduced too by ``over_trials_and_frames``. ``over_trials_and_pixels`` of images is a scalar. Units are
        those of the variable, dtypes those of `Summary`.
    """

    mouse: str
    variables: tuple[Variable, ...]
    tier: str | None
    trial_ids: NDArray[np.int64]
    by_variable: Mapping[str, Mapping[Reduction, Summary]]

    def __getitem__(self, variable: str) -> Mapping[Reduction, Summary]:
        """Return the statistics of a variable; an unknown reduction raises `UnknownNameError`, too.

        Raises
        ------
        UnknownNameError
            There are none of it.
        """
        found = lookup(self.by_variable, variable, f"statistics of {self.mouse}")
        return Reductions(found, f"statistics of {self.mouse}, {variable}")

    @property
    def kind(self) -> Kind:
        """Whether the mouse has frames (dynamic) or not (static)."""
        return kind_of(self.variables)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the variables."""
        return iter(self.by_variable)

    def __len__(self) -> int:
        """Return the number of variables."""
        return len(self.by_variable)

    __eq__ = object.__eq__

    def __repr__(self) -> str:
        """Return a one-line summary."""
        tier = f"{self.tier} " if self.tier else ""
        return f"<Statistics of {len(self.trial_ids)} {tier}trials of {self.mouse}: {', '.join(self)}>"

    def _repr_html_(self) -> str:
        """Return a table for notebooks: the lowest and the highest value of each array."""
        rows = [
            [variable, reduction, " × ".join(map(str, found.shape)), *map(_range, found.ranges().values())]
            for variable, reductions in self.items()
            for reduction, found in reductions.items()
        ]
        return html_table(repr(self)[1:-1], ["variable", "reduction", "shape", *STATISTIC_NAMES], rows)


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4g} … {ends[1]:.4g}"


def read_statistics(index: StoreIndex) -> Statistics:
    """Read the train statistics of a store, into arrays and mappings that are read-only.

    Raises
    ------
    OptionError
        It has none.
    CorruptStoreError
        They are damaged.
    """
    if not has_statistics(index):
        what = "no train statistics in the store: converted without them, or the mouse has no train trials"
        raise OptionError(Problem(str(index.root), what, "compute them with train_statistics(mouse)"))
    return Statistics(
        mouse=index.attributes[layout.A_MOUSE],
        variables=index.variables,
        tier=layout.TRAIN_TIER,
        trial_ids=read_only(index.small(layout.STATISTICS_TRIAL_ID)),
        by_variable=read_only({variable.name: dict(_read(index, variable)) for variable in index.variables}),
    )


def has_statistics(index: StoreIndex) -> bool:
    """Return whether a store has train statistics."""
    return layout.STATISTICS_TRIAL_ID in index.arrays


def _read(index: StoreIndex, variable: Variable) -> Iterator[tuple[Reduction, Summary]]:
    for reduction in variable.reductions:
        paths = [layout.statistic_path(variable.name, reduction, name) for name in STATISTIC_NAMES]
        found = index.smalls(paths).values()
        yield reduction, Summary(**dict(zip(STATISTIC_NAMES, map(read_only, found), strict=True)))

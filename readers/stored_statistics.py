"""Train statistics in a store: which arrays they are, and reading them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..store import OptionError, Problem, StoreIndex, layout
from ..store.layout import STATISTIC_NAMES, Reduction, Variable
from .reductions import Summary
from .trial_statistics import Statistics


def read_statistics(index: StoreIndex) -> Statistics:
    """Read the train statistics of a store.

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
        trial_ids=index.small(layout.STATISTICS_TRIAL_ID),
        by_variable={variable.name: dict(_read(index, variable)) for variable in index.variables},
    )


def has_statistics(index: StoreIndex) -> bool:
    """Return whether a store has train statistics."""
    return layout.STATISTICS_TRIAL_ID in index.arrays


def _read(index: StoreIndex, variable: Variable) -> Iterator[tuple[Reduction, Summary]]:
    for reduction in variable.reductions:
        paths = {name: layout.statistic_path(variable.name, reduction, name) for name in STATISTIC_NAMES}
        yield reduction, Summary(**{name: np.asarray(index.small(path)) for name, path in paths.items()})

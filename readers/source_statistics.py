"""How far the statistics that a mouse was published with are from those of its trials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store import StoreIndex
from ..store.layout import FRAME, SOURCE_STATISTICS, Reduction, Variable
from .reductions import Summary
from .statistics_files import in_published_axes
from .trial_statistics import Statistics

_NAMES = ("min", "max", "mean", "median", "std")


@dataclass(frozen=True)
class Difference:
    """One published array beside what was computed.

    Attributes
    ----------
    group
        Where it was published, such as ``responses/all``.
    statistic
        Which one: min, max, mean, median or std.
    reduction
        What it was compared with; None where nothing has its shape.
    largest
        The largest absolute difference, in the variable's unit.
    relative
        That, relative to the largest absolute published value; infinite if all of these are zero and it is not.
    remark
        What has to be known of it: another definition of the standard deviation, NaN in one of the two only.
    """

    group: str
    statistic: str
    reduction: Reduction | None
    largest: float
    relative: float
    remark: str


def compare_with_published(index: StoreIndex, statistics: Statistics) -> list[Difference]:
    """Compare the arrays of a store's ``statistics/source`` with computed statistics.

    Parameters
    ----------
    index
        Index of the store.
    statistics
        Statistics of its train trials.

    Returns
    -------
    list of Difference
        One for each published minimum, maximum, mean, median and standard deviation of a recorded variable.

    Notes
    -----
    Published arrays may have another number of frames; the frames that both have are compared. Publishers divide by
    the count or by one less: a standard deviation is compared with the closer of both, and a remark says so if one
    less was used.
    """
    return list(_differences(index, statistics))


def _differences(index: StoreIndex, statistics: Statistics) -> Iterator[Difference]:
    variables = {variable.name: variable for variable in statistics.variables}
    for path in sorted(path for path in index.arrays if path.startswith(f"{SOURCE_STATISTICS}/")):
        group, _, statistic = path.removeprefix(f"{SOURCE_STATISTICS}/").rpartition("/")
        name = group.split("/")[0]
        if name in variables and name in statistics and statistic in _NAMES:
            found = _difference(variables[name], statistic, index.small(path), statistics[name])
            yield Difference(group, statistic, *found)


def _difference(
    variable: Variable, statistic: str, published: NDArray[Any], computed: Mapping[Reduction, Summary]
) -> tuple[Reduction | None, float, float, str]:
    for reduction, found in computed.items():
        if _fits(variable, published.shape, in_published_axes(variable, found.count).shape):
            values, remark = getattr(found, statistic), ""
            if statistic == "std" and _is_unbiased(variable, published, found):
                values, remark = found.unbiased_std, "the source divides by n - 1; so did this comparison"
            largest, relative, lonely = _apart(published, in_published_axes(variable, values))
            remarks = [remark, f"NaN in only one of both at {lonely} places" if lonely else ""]
            return reduction, largest, relative, "; ".join(filter(None, remarks))
    return None, np.nan, np.nan, f"nothing was computed of shape {published.shape}"


def _fits(variable: Variable, published: tuple[int, ...], computed: tuple[int, ...]) -> bool:
    """Return whether shapes agree, but for the number of frames, which are last in published arrays."""
    if FRAME in variable.dimensions and len(computed) == len(variable.dimensions) == len(published):
        return published[:-1] == computed[:-1]
    return published == computed


def _is_unbiased(variable: Variable, published: NDArray[Any], found: Summary) -> bool:
    """Return whether published standard deviations are clearly closer to ddof 1 than to ddof 0."""
    biased, unbiased = (
        _apart(published, in_published_axes(variable, one))[0] for one in (found.std, found.unbiased_std)
    )
    return 2 * unbiased < biased


def _apart(published: NDArray[Any], computed: NDArray[Any]) -> tuple[float, float, int]:
    """Return the largest difference, that relative to the largest number, and where only one is a number."""
    if published.ndim:
        frames = min(published.shape[-1], computed.shape[-1])
        published, computed = published[..., :frames], computed[..., :frames]
    apart = np.abs(published.astype(np.float64) - computed)
    both = ~np.isnan(apart)
    lonely = int(np.count_nonzero(np.isnan(published) != np.isnan(computed)))
    if not both.any():
        return np.nan, np.nan, lonely
    largest, scale = float(apart[both].max()), float(np.abs(published[both]).max())
    return largest, largest / scale if scale else (np.inf if largest else 0.0), lonely

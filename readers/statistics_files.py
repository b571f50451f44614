"""Statistics as files that other programs read, and beside those that a mouse was published with."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import dumps
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..store import OptionError, Problem, StoreIndex, files
from ..store.arguments import check_type
from ..store.layout import (
    FRAME,
    OVER_FRAMES,
    OVER_TRIALS,
    SOURCE_STATISTICS,
    STATISTIC_NAMES,
    TIER,
    TRIAL_ID,
    Reduction,
    Variable,
)
from ..store.paths import read_path
from ..store.publish import check_place
from .reductions import Summary
from .trial_statistics import Statistics

# The names in the public pipeline's file.
_PUBLIC_VARIABLES = {"videos": "video", "responses": "response", "behavior": "behavior", "pupil_center": "pupil_center"}
_PUBLIC_AXES = {"videos": 3, "responses": 2, "behavior": 2, "pupil_center": 2}
_PUBLIC_REDUCTIONS: Mapping[str, Reduction] = {"trial": OVER_TRIALS, "time": OVER_FRAMES}
_PUBLIC_STATISTICS = ("min", "max", "median", "mean", "std")


def save_statistics(statistics: Statistics, path: Path | str) -> None:
    """Write statistics to a file, under its name complete or not at all; an existing file is replaced.

    Parameters
    ----------
    path
        ``.pkl``: what the public pipeline of the 2023 mice reads as ``statistics.pkl``, see `public_structure`.
        ``.npz``: every array, named ``<variable>/<reduction>/<statistic>``, axes as in the store; ``trial_id`` and
        ``tier`` beside them.

    Raises
    ------
    OptionError
        The name ends in something else; the file is a ``.pkl`` and the mouse lacks what the public pipeline expects;
        or the file would lie inside a store.
    ResourceError
        A file that belongs to another user could not be replaced.
    """
    check_type("statistics", statistics, Statistics, "statistics of a mouse, as train_statistics returns them")
    path = read_path(path)
    check_place(path)
    check_format(statistics.variables, path)
    files.save(path, _FORMATS[path.suffix.lower()](statistics))


def check_format(variables: Sequence[Variable], path: Path, advice: str = "use .npz") -> None:
    """Check that statistics of some variables can be written to a file of this name.

    Parameters
    ----------
    advice
        What to do where the public pipeline has no statistics of such variables.

    Raises
    ------
    OptionError
        They cannot.
    """
    if path.suffix.lower() not in _FORMATS:
        raise OptionError(Problem(str(path), f"no format {path.suffix or 'without a suffix'}", "use .pkl or .npz"))
    if path.suffix.lower() == ".pkl":
        _check_public(variables, path, advice)


def _check_public(variables: Sequence[Variable], path: Path, advice: str) -> None:
    """Check that all that the public pipeline expects is there, with frames, and without axes that it does not know."""
    axes = {one.name: len(one.dimensions) for one in variables if one.frame_axis is not None}
    if wrong := [name for name, count in _PUBLIC_AXES.items() if axes.get(name) != count]:
        what = (
            f"the public pipeline has statistics.pkl of dynamic mice only, with {', '.join(_PUBLIC_AXES)} as published"
        )
        raise OptionError(Problem(str(path), f"{what} (lacking or of other axes: {', '.join(wrong)})", advice))


def public_structure(statistics: Statistics) -> dict[str, dict[str, dict[str, NDArray[np.float32]]]]:
    """Return statistics in the structure of the public pipeline of the 2023 mice (ViV1T).

    Returns
    -------
    dict
        ``{"trial" | "time": {"video" | "response" | "behavior" | "pupil_center": {"min" | "max" | "median" | "mean" |
        "std": float32}}}``; ``trial`` is over trials: video (height, width, n_frames), response (n_neurons, n_frames),
        behavior and pupil_center (2, n_frames); ``time`` is over trials and frames.
    """
    return {
        public: {
            _PUBLIC_VARIABLES[variable.name]: _public(variable, statistics[variable.name][reduction])
            for variable in statistics.variables
            if variable.name in _PUBLIC_VARIABLES
        }
        for public, reduction in _PUBLIC_REDUCTIONS.items()
    }


def in_published_axes(variable: Variable, values: NDArray[Any]) -> NDArray[Any]:
    """Return values with the axes of a trial's published file, if they have all of a trial's axes."""
    return values.transpose(np.argsort(variable.axes)) if values.ndim == len(variable.axes) else values


def _public(variable: Variable, found: Summary) -> dict[str, NDArray[np.float32]]:
    return {
        name: np.ascontiguousarray(in_published_axes(variable, getattr(found, name)), np.float32)
        for name in _PUBLIC_STATISTICS
    }


def public_pickle(statistics: Statistics) -> bytes:
    """Return the content of the public pipeline's ``statistics.pkl``."""
    return dumps(public_structure(statistics))


def _npz(statistics: Statistics) -> memoryview:
    arrays: dict[str, Any] = {
        f"{variable}/{reduction}/{name}": getattr(found, name)
        for variable, reductions in statistics.items()
        for reduction, found in reductions.items()
        for name in STATISTIC_NAMES
    }
    data = io.BytesIO()
    cast(Any, np.savez)(data, **arrays, **{TRIAL_ID: statistics.trial_ids, TIER: np.array(statistics.tier or "")})
    return data.getbuffer()


_FORMATS = {".pkl": public_pickle, ".npz": _npz}


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

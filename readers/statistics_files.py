"""Statistics as files that other programs read."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import dumps
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..store import OptionError, Problem, files
from ..store.layout import OVER_FRAMES, OVER_TRIALS, STATISTIC_NAMES, TIER, TRIAL_ID, Reduction, Variable
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
    """
    path = Path(path)
    check_place(path)
    check_format(statistics.variables, path)
    files.save(path, _FORMATS[path.suffix.lower()](statistics))


def check_format(variables: Sequence[Variable], path: Path) -> None:
    """Check that statistics of some variables can be written to a file of this name.

    Raises
    ------
    OptionError
        They cannot.
    """
    if path.suffix.lower() not in _FORMATS:
        raise OptionError(Problem(str(path), f"no format {path.suffix or 'without a suffix'}", "use .pkl or .npz"))
    if path.suffix.lower() == ".pkl":
        _check_public(variables, path)


def _check_public(variables: Sequence[Variable], path: Path) -> None:
    """Check that all that the public pipeline expects is there, with frames, and without axes that it does not know."""
    axes = {one.name: len(one.dimensions) for one in variables if one.frame_axis is not None}
    if wrong := [name for name, count in _PUBLIC_AXES.items() if axes.get(name) != count]:
        what = (
            f"the public pipeline has statistics.pkl of dynamic mice only, with {', '.join(_PUBLIC_AXES)} as published"
        )
        raise OptionError(Problem(str(path), f"{what} (lacking or of other axes: {', '.join(wrong)})", "use .npz"))


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

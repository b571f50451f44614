"""Mice as a lab records them: any variables, dtypes, lengths. And what a store of one has to hold, from its files."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from trialpack.readers import Mouse

from .mice import Array

Make = Callable[[int], Any]
"""Makes the array of a trial, given its number."""


def write_own(
    folder: Path,
    variables: Mapping[str, Make],
    trials: Collection[int] = range(8),
    *,
    toml: str | None = None,
    lacking: Collection[tuple[str, int]] = (),
    tiers: Callable[[int], str] = lambda trial: "train" if trial % 4 else "test",
) -> Path:
    """Write a mouse; return its folder.

    Parameters
    ----------
    lacking
        (variable, trial) that has no file.
    """
    for name, make in variables.items():
        (folder / "data" / name).mkdir(parents=True)
        for trial in trials:
            if (name, trial) not in lacking:
                np.save(folder / "data" / name / f"{trial}.npy", make(trial))
    (folder / "meta/trials").mkdir(parents=True)
    kinds = [tiers(trial) if trial in trials else "none" for trial in range(max(trials) + 1)]
    np.save(folder / "meta/trials/tiers.npy", np.array(kinds))
    if toml is not None:
        (folder / "trialpack.toml").write_text(toml, encoding="utf-8")
    return folder


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


def integers(*shape: int, seed: int = 0, dtype: Any = np.uint8) -> Array:
    return np.random.default_rng((seed, *shape)).integers(0, 120, shape).astype(dtype)


def file_of(folder: Path, variable: str, trial: int) -> Path:
    return folder / "data" / variable / f"{trial}.npy"


def in_file(mouse: Mouse, folder: Path, variable: str, trial: int) -> Array:
    """Return a trial as its file has it, with the axes of the store, native byte order."""
    values = np.load(file_of(folder, variable, trial))
    return values.astype(values.dtype.newbyteorder("="), copy=False).transpose(mouse.recording.variable(variable).axes)


def valid(mouse: Mouse, folder: Path, variable: str, trial: int) -> Array:
    """Return what of a trial's file lies within its valid frames, with the axes of the store."""
    values, axis = in_file(mouse, folder, variable, trial), mouse.recording.variable(variable).frame_axis
    if axis is None:
        return values
    row = mouse.recording.trial_ids.tolist().index(trial)
    assert mouse.recording.n_frames is not None
    return values.take(range(mouse.recording.n_frames[row]), axis)

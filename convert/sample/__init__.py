"""Made-up recordings in the exact layout of the published ones, for trying out, testing and benchmarks.

File numbers, gaps, tiers, valid lengths, repeats and withheld trials are the true ones; all values are random, with the
statistics of real ones (``tests/test_sample.py`` has a table of them).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from numpy.typing import DTypeLike, NDArray

from ...store.arguments import check_choice, check_progress
from ...store.paths import read_path
from ...store.publish import check_place
from ...store.tasks import Progress, Silent
from .recipe import Recipe, make_recipe, neuron_arrays, trial_meta
from .signals import trial_arrays
from .targets import FolderTarget, Target, ZipTarget
from .train import TrainTrials

Array = NDArray[Any]


def write_sample(
    destination: str | os.PathLike[str],
    *,
    mouse: str = "A",
    trials: int | None = None,
    trial_ids: Sequence[int] | None = None,
    neurons: int | None = None,
    dtype: DTypeLike | None = None,
    container: Literal["folder", "zip"] = "folder",
    seed: int = 0,
    image_shape: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a random recording with the trial structure of a published mouse.

    Parameters
    ----------
    destination
        Folder that receives ``<mouse name>/`` or ``<mouse name>.zip``; made if missing.
    mouse
        Letter, full name, or start of the name of a published mouse.
    trials
        Write the first so many of the file numbers that exist; all by default.
    trial_ids
        Write these file numbers instead. The others keep their place in ``meta/trials``, with tier
        ``"none"``.
    neurons
        Number of neurons; that of the published mouse by default.
    dtype
        float32 or float64, for the arrays in ``data/``; that of the published mouse by default.
    container
        A folder, or a zip with the folder and what macOS leaves in an archive beside it.
    seed
        Equal seeds give equal files, and a trial does not depend on which others are written.
    image_shape
        Height and width of the videos or images, in pixels; (36, 64) or (144, 256) by default.
    progress
        Listener to the one phase, which advances by the bytes of each trial's arrays, and by one file a trial.

    Returns
    -------
    Path
        The folder or zip.

    Raises
    ------
    ValueError
        If the mouse, a trial, the number of neurons or the dtype cannot be had.
    OptionError
        If an argument is not what it can be, or the mouse would lie inside a store.
    FileExistsError
        If the folder or zip exists; it is left alone. Delete what an interrupted call left behind.

    Notes
    -----
    Trials that showed one clip (as published) or image (``frame_image_id``) show the same, up to rounding, in all mice.
    Dynamic trials hold videos ``(height, width, n_frames)``, 0 to 255; responses ``(n_neurons, n_frames)``,
    deconvolved activity; behavior ``(2, n_frames)``, pupil dilation in pixels and running speed in cm/s;
    pupil_center ``(2, n_frames)``, in pixels. Short trials are padded with NaN. Static trials hold images
    ``(1, height, width)``, responses ``(n_neurons,)``, behavior ``(3,)`` and pupil_center ``(2,)``.

    ``meta/statistics`` holds true statistics of the train trials that were written, as float32 (for
    dynamic mice per frame over trials, NaN where no train trial has a frame; standard deviations with
    ddof 1). For medians the train trials are kept in an unnamed temporary file, as float32: in memory up
    to 64 MiB per variable, beyond that in `destination`. Blocks of 16 MiB are reduced at a time.
    """
    check_choice("container", container, ("folder", "zip"))
    check_progress(progress)
    recipe = make_recipe(mouse, trials, trial_ids, neurons, dtype, seed, image_shape)
    folder = read_path(destination)
    check_place(folder / recipe.mouse.name)
    folder.mkdir(parents=True, exist_ok=True)
    writer = FolderTarget if container == "folder" else ZipTarget
    with writer(folder, recipe.mouse.name) as target:
        _write(recipe, target, folder, progress or Silent())
    return target.path


def _write(recipe: Recipe, target: Target, spool: Path, progress: Progress) -> None:
    target.text("config.json", json.dumps({"links": {}}))
    _write_group(target, "meta/neurons", neuron_arrays(recipe))
    _write_group(target, "meta/trials", trial_meta(recipe))
    with ExitStack() as stack:
        train: dict[str, TrainTrials] = {}
        for place, trial_id in enumerate(recipe.trial_ids):
            arrays = trial_arrays(recipe, trial_id)
            nbytes = sum(array.nbytes for array in arrays.values())
            if place == 0:
                # Trials are padded: all have as many bytes.
                progress.start("writing", nbytes * len(recipe.trial_ids), len(recipe.trial_ids))
            for variable, array in arrays.items():
                target.array(f"data/{variable}/{trial_id}", array)
                if variable not in train:
                    train[variable] = stack.enter_context(TrainTrials(array.shape, spool))
                if recipe.mouse.tiers[trial_id] == "train":
                    train[variable].append(array)
            progress.advance(nbytes, 1)
        _write_statistics(target, train, recipe.mouse.kind)


def _write_statistics(target: Target, train: Mapping[str, TrainTrials], kind: str) -> None:
    for variable, trials in train.items():
        statistics = trials.overall() if variable == "images" else trials.per_value()
        for group in ("all",) if kind == "dynamic" else ("all", "stimulus_Frame"):
            _write_group(target, f"meta/statistics/{variable}/{group}", statistics)


def _write_group(target: Target, group: str, arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        target.array(f"{group}/{name}", array)

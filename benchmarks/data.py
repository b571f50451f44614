"""Made-up recordings to measure on: made once, kept in a folder, found again by the next run."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from trialpack.convert.published_mice import published_mice
from trialpack.convert.sample import write_sample
from trialpack.store.layout import TRAIN_TIER

from .report import console

DEFAULT = Path(tempfile.gettempdir()) / "trialpack-benchmarks"
NEURONS = 8000
SLIM_NEURONS, SLIM_IMAGES = 200, (9, 16)
ZIP_LEVEL = 6  # what zip programs use unless told


def recording(folder: Path, mouse: str, trials: int, neurons: int = NEURONS, *, train: bool = False) -> Path:
    """Return a recording as a folder: the trials' files and the meta tables, without ``meta/statistics``.

    Parameters
    ----------
    folder
        Where recordings are kept; delete it to have them made anew.
    mouse
        Letter of the published mouse whose shapes, dtype and trial structure it has.
    train
        Only trials of the train tier; of a mouse with too few, others are put into that tier.
    """

    def make(part: Path) -> None:
        chosen = _train_first(mouse)[:trials] if train else published_mice()[mouse].trial_ids[:trials]
        tree = write_sample(part, mouse=mouse, trial_ids=chosen, neurons=neurons)
        shutil.rmtree(tree / "meta/statistics")
        if train:
            tiers = np.load(tree / "meta/trials/tiers.npy")
            tiers[list(chosen)] = TRAIN_TIER
            np.save(tree / "meta/trials/tiers.npy", tiers)

    return next(_once(_place(folder, mouse, trials, neurons, train), make).iterdir())


def slim(
    folder: Path, mouse: str, trials: int, *, neurons: int = SLIM_NEURONS, image_shape: tuple[int, int] = SLIM_IMAGES
) -> Path:
    """Return a dynamic recording with as many files as published, ``meta/statistics`` too, but with small arrays."""

    def make(part: Path) -> None:
        write_sample(part, mouse=mouse, trials=trials, neurons=neurons, image_shape=image_shape)

    return next(_once(folder / f"{mouse}-{trials}-{neurons}-slim", make).iterdir())


def linked(tree: Path, to: Path, trials: int) -> Path:
    """Make a recording of any number of train trials out of a small one, whose files are used again and again.

    Parameters
    ----------
    tree
        Recording with the files.
    to
        Folder that receives hard links to them.
    """
    for variable in (tree / "data").iterdir():
        files = sorted(variable.glob("*.npy"))
        (to / "data" / variable.name).mkdir(parents=True)
        for trial in range(trials):
            os.link(files[trial % len(files)], to / f"data/{variable.name}/{trial}.npy")
    (to / "meta/trials").mkdir(parents=True)
    np.save(to / "meta/trials/tiers.npy", np.full(trials, TRAIN_TIER))
    return to


def zipped(tree: Path) -> Path:
    """Return a recording as a deflated zip with the mouse's folder in it, kept beside the folder's own."""

    def make(part: Path) -> None:
        part.mkdir()
        with zipfile.ZipFile(part / f"{tree.name}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=ZIP_LEVEL) as archive:
            for path in sorted(tree.rglob("*")):
                archive.write(path, path.relative_to(tree.parent))

    return next(_once(tree.parent.with_name(f"{tree.parent.name}-zip"), make).iterdir())


def npy_bytes(tree: Path) -> int:
    """Return the bytes of all ``.npy`` files of a recording."""
    return sum(path.stat().st_size for path in tree.rglob("*.npy"))


def n_files(tree: Path) -> int:
    """Return how many files a recording has."""
    return sum(path.is_file() for path in tree.rglob("*"))


def _place(folder: Path, mouse: str, trials: int, neurons: int, train: bool) -> Path:
    return folder / f"{mouse}-{trials}-{neurons}{'-train' if train else ''}"


def _train_first(mouse: str) -> list[int]:
    """Return the file numbers of a mouse, those of the train tier first."""
    published = published_mice()[mouse]
    return sorted(published.trial_ids, key=lambda number: published.tiers[number] != TRAIN_TIER)


def _once(target: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder, made first if it is not there; an interrupted making leaves nothing under its name."""
    if not target.exists():
        console.print(f"making {target}", style="dim", soft_wrap=True)
        part = target.with_name(f".{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        make(part)
        part.rename(target)
    return target

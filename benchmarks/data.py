"""Made-up recordings to measure on: made once, kept in a folder, found again by the next run."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from trialpack.convert.sample import write_sample

from .report import console

DEFAULT = Path(tempfile.gettempdir()) / "trialpack-benchmarks"
NEURONS = 8000
ZIP_LEVEL = 6  # what zip programs use unless told


def recording(folder: Path, mouse: str, trials: int, neurons: int = NEURONS) -> Path:
    """Return a recording as a folder: the trials' files and the meta tables, without ``meta/statistics``.

    Parameters
    ----------
    folder
        Where recordings are kept; delete it to have them made anew.
    mouse
        Letter of the published mouse whose shapes, dtype and trial structure it has.
    """

    def make(part: Path) -> None:
        tree = write_sample(part, mouse=mouse, trials=trials, neurons=neurons)
        shutil.rmtree(tree / "meta/statistics")

    return next(_once(folder / f"{mouse}-{trials}-{neurons}", make).iterdir())


@contextlib.contextmanager
def passing(folder: Path, mouse: str, trials: int, neurons: int = NEURONS) -> Iterator[Path]:
    """Give a recording that is removed afterwards, for it is large."""
    try:
        yield recording(folder, mouse, trials, neurons)
    finally:
        shutil.rmtree(folder / f"{mouse}-{trials}-{neurons}", ignore_errors=True)


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


def _once(target: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder, made first if it is not there; an interrupted making leaves nothing under its name."""
    if not target.exists():
        console.print(f"making {target}", style="dim", soft_wrap=True)
        part = target.with_name(f".{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        make(part)
        part.rename(target)
    return target

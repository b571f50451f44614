"""``trialpack show``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ..readers import Mouse, open_mouse, trial_figure
from ..readers.figure import picture_formats
from ..store import OptionError, Problem, files, layout
from ..store.paths import Address
from . import options
from .display import noting_shortfalls
from .interrupts import cleaning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EPILOG = """
\b
Examples:
  trialpack show stores/mouse.zarr
  trialpack show stores/mouse.zarr --trial 12 -o trial.pdf
"""


@click.command(epilog=_EPILOG)
@options.existing_store
@click.option("--trial", type=int, metavar="ID", help="[default: the first train trial with responses]")
@click.option(
    "-o",
    "--output",
    type=options.GivenPath(dir_okay=False),
    metavar="PICTURE",
    help="Where to; the suffix says the format: png, pdf, svg, … Replaces PICTURE. "
    "[default: <mouse>-trial-<ID>.png in the current folder]",
)
def show(store: Path | Address, trial: int | None, output: Path | None) -> None:
    """Draw one trial of STORE: every variable, by what it is; those that do not fit are named.

    Needs matplotlib: pip install matplotlib.
    """
    if output is not None:
        _check_format(output)
    mouse = open_mouse(store)
    chosen = _first_known(mouse) if trial is None else trial
    path = output or Path(f"{layout.short_name(mouse.name)}-trial-{chosen}.png")
    options.check_output(path)
    picture = _drawn(trial_figure(mouse, chosen), path)
    with cleaning(files.drop_unsaved), noting_shortfalls(path.parent):
        files.save(path, picture)
    click.echo(path)


def _check_format(path: Path) -> None:
    """Check that there is such a picture, before the time is spent to draw it."""
    known = picture_formats()
    if _format(path) not in known:
        found = f"ends in {path.suffix}" if path.suffix else "has no suffix"
        raise OptionError(Problem(str(path), f"no picture format ({found})", f"choose one of {', '.join(known)}"))


def _format(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def _first_known(mouse: Mouse) -> int:
    """Return the first train trial with responses, or else the first trial."""
    recording = mouse.recording
    fit = np.flatnonzero((recording.tiers == layout.TRAIN_TIER) & ~recording.withheld)
    return int(recording.trial_ids[fit[0] if fit.size else 0])


def _drawn(figure: Figure, path: Path) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format=_format(path))
    return picture.getvalue()

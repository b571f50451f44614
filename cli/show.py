"""``trialpack show``."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from ..readers import Mouse, open_mouse, repeats_figure, save_movie, trial_figure
from ..readers.drawn_neurons import ORDERS, NeuronOrder
from ..readers.figure import picture_formats
from ..readers.movie import check_movie
from ..store import OptionError, Problem, files, layout
from ..store.paths import Address
from . import options
from .display import documents_of, end, noting_shortfalls
from .interrupts import cleaning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EPILOG = """
\b
Examples:
  trialpack show stores/mouse.zarr
  trialpack show stores
  trialpack show stores/mouse.zarr --trial 12 -o trial.pdf
  trialpack show stores/mouse.zarr --tier oracle --neurons area=V1 --sort depth --open
  trialpack show stores/mouse.zarr --repeats 9
  trialpack show stores/mouse.zarr --trial 12 --movie trial.gif
"""


@click.command(epilog=_EPILOG)
@options.existing_stores
@click.option("--trial", type=int, metavar="ID", help="[default: the first train trial with responses]")
@click.option(
    "--tier", metavar="T", help="The first trial of this tier with responses; of repeats, those of this tier."
)
@click.option(
    "--repeats",
    type=int,
    metavar="STIMULUS",
    help="The mean of all trials that show a stimulus, which is called by the first of them, and the spread around it.",
)
@click.option(
    "--neurons",
    multiple=True,
    metavar="CHOICE",
    help="Only these: positions (3,4,5), or a column and its values (area=V1,LM), which may be repeated.",
)
@click.option(
    "--sort",
    type=click.Choice(ORDERS),
    default="activity",
    show_default=True,
    help="The order of rasters, from the top.",
)
@click.option(
    "-o",
    "--output",
    type=options.GivenPath(dir_okay=False),
    metavar="PICTURE",
    help="Where to; the suffix says the format: png, pdf, svg, … Replaces PICTURE. "
    "[default: <mouse>-trial-<ID>.png in the current folder]",
)
@click.option(
    "--movie",
    type=options.GivenPath(dir_okay=False),
    metavar="FILE",
    help="Write the video with the responses as a clip instead: .gif or .webp. Replaces FILE.",
)
@click.option("--open", "opened", is_flag=True, help="Open it afterwards with the program that the system has for it.")
def show(
    stores: tuple[Path | Address, ...],
    trial: int | None,
    tier: str | None,
    repeats: int | None,
    neurons: tuple[str, ...],
    sort: NeuronOrder,
    output: Path | None,
    movie: Path | None,
    opened: bool,
) -> None:
    """Draw one trial of each STORE: every variable, by what it is; those that do not fit are named.

    Needs matplotlib: pip install matplotlib.
    """
    if trial is not None and (tier is not None or repeats is not None):
        raise click.UsageError("give --trial, or --tier or --repeats")
    if movie is not None and (output is not None or repeats is not None):
        raise click.UsageError("--movie is of one trial, and in place of --output")
    if (movie or output) is not None and len(stores) > 1:
        advice = "name one, or leave them out, for a picture of each"
        raise click.UsageError(f"--output and --movie are of one STORE, found {len(stores)}; {advice}")
    if output is not None:
        _check_format(output)

    def draw(store: Path | Address) -> dict[str, Any]:
        path = _draw(store, trial, tier, repeats, _choice(neurons), sort, output, movie)
        click.echo(path)
        if opened:
            click.launch(str(path.absolute()))
        return {"path": path}

    end(documents_of(stores, draw))


def _draw(
    store: Path | Address,
    trial: int | None,
    tier: str | None,
    repeats: int | None,
    choice: dict[str, list[Any]] | list[int] | None,
    sort: NeuronOrder,
    output: Path | None,
    movie: Path | None,
) -> Path:
    """Draw what was asked for of a store, and return where it is."""
    mouse = open_mouse(store)
    chosen = trial if trial is not None or repeats is not None else _first_known(mouse, tier)
    name = f"repeats-{repeats}" if chosen is None else f"trial-{chosen}"
    path = movie or output or Path(f"{layout.short_name(mouse.name)}-{name}.png")
    options.check_output(path)
    if movie is not None:
        check_movie(mouse, path)
    with cleaning(files.drop_unsaved), noting_shortfalls(path.parent):
        if repeats is not None:
            files.save(path, _drawn(repeats_figure(mouse, repeats, tier=tier, neurons=choice, sort=sort), path))
        elif chosen is not None and movie is not None:
            save_movie(mouse, chosen, path, neurons=choice, sort=sort)
        elif chosen is not None:
            files.save(path, _drawn(trial_figure(mouse, chosen, neurons=choice, sort=sort), path))
    return path


def _choice(texts: Sequence[str]) -> dict[str, list[Any]] | list[int] | None:
    """Return what `Mouse.positions` takes: columns with values, or positions."""
    if not texts:
        return None
    columns = dict[str, list[Any]]()
    if all("=" in text for text in texts):
        for text in texts:
            column, _, values = text.partition("=")
            columns.setdefault(column, []).extend(_value(one) for one in values.split(","))
        return columns
    try:
        return [int(one) for text in texts for one in text.split(",")]
    except ValueError:
        raise click.BadParameter("expected positions such as 3,4,5, or column=value", param_hint="--neurons") from None


def _value(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _check_format(path: Path) -> None:
    """Check that there is such a picture, before the time is spent to draw it."""
    known = picture_formats()
    if _format(path) not in known:
        found = f"ends in {path.suffix}" if path.suffix else "has no suffix"
        raise OptionError(Problem(str(path), f"no picture format ({found})", f"choose one of {', '.join(known)}"))


def _format(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def _first_known(mouse: Mouse, tier: str | None) -> int:
    """Return the first trial of a tier with responses, or else the first of the tier, or of all."""
    recording = mouse.recording
    own = recording.tiers == layout.TRAIN_TIER
    if tier is not None:
        own = np.isin(np.arange(len(own)), mouse.rows(tier=tier))
    fit = np.flatnonzero(own & ~recording.withheld)
    rest = np.flatnonzero(own) if tier is not None else np.zeros(1, int)
    return int(recording.trial_ids[fit[0] if fit.size else rest[0]])


def _drawn(figure: Figure, path: Path) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format=_format(path))
    return picture.getvalue()

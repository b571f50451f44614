"""``trialpack sample``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from ..convert.published_mice import find_published, published_mice
from ..convert.sample import write_sample
from ..store import Problem, StoreExistsError
from ..store.layout import short_name
from .display import progress_bar
from .interrupts import advising
from .options import GivenPath, log_every

_EPILOG = """
\b
Examples:
  trialpack sample data
  trialpack sample data --mouse F --trials 48 --neurons 8000 --dtype float64 --as zip
  trialpack sample data --mouse S0 --trials 500
"""


@click.command(epilog=_EPILOG)
@click.argument("folder", metavar="DIR", type=GivenPath(file_okay=False))
@click.option("--mouse", default="A", show_default=True, help=f"One of {', '.join(published_mice())}, or its name.")
@click.option("--trials", type=click.IntRange(min=1), default=24, show_default=True, help="The first so many trials.")
@click.option(
    "--neurons", type=click.IntRange(min=1), default=500, show_default=True, help="The first so many neurons."
)
@click.option("--full", is_flag=True, help="All trials and neurons of the mouse: 10 GB for a dynamic one.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="[default: as published]")
@click.option("--as", "container", type=click.Choice(["folder", "zip"]), default="folder", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Equal seeds give equal files.")
@log_every
def sample(
    folder: Path, mouse: str, trials: int, neurons: int, full: bool, dtype: str | None, container: str, seed: int
) -> None:
    """Write a made-up mouse in the published layout.

    DIR is where its folder or zip goes. Names, tiers, gaps in the numbers, lengths of trials and withheld responses
    are those of the mouse; traces, videos and images are random, and compress about like real ones.
    """
    known = find_published(mouse)
    if known is None:
        raise click.BadParameter(
            f"expected one of {', '.join(published_mice())}, found {mouse!r}", param_hint="--mouse"
        )
    if trials > len(known.trial_ids) and not full:
        note = f"mouse {known.letter} has {len(known.trial_ids)} trials, fewer than {trials}: all of them are written"
        click.echo(f"note: {note}", err=True)
    with advising("delete what it wrote before trying again"), progress_bar(short_name(known.name)) as bar:
        try:
            path = write_sample(
                folder,
                mouse=known.letter,
                trials=None if full else min(trials, len(known.trial_ids)),
                neurons=None if full else neurons,
                dtype=dtype,
                container="zip" if container == "zip" else "folder",
                seed=seed,
                progress=bar,
            )
        except FileExistsError as error:
            problem = Problem(
                str(error.filename or folder), "exists already, perhaps in part", "delete it, or choose another folder"
            )
            raise StoreExistsError(problem) from None
    click.echo(path)
    click.echo(f"Next: trialpack convert {shlex.quote(str(path))} --to stores", err=True)

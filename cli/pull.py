"""``trialpack pull``."""

from __future__ import annotations

from pathlib import Path

import click

from ..store import check_quick, pull_store
from ..store.layout import short_name
from ..store.locate import locate
from ..store.paths import Address
from ..store.publish import Stage
from ..store.pull import pull_space, pulled_path
from . import options
from .display import note, progress_bar, rate, show, show_json, size, with_space
from .interrupts import advising

_EPILOG = """
\b
Examples:
  trialpack pull s3://lab-bucket/stores/mouse.zarr --to stores
  trialpack pull https://data.example.org/stores/mouse.zarr --to stores
"""
_GOES_ON = "the same command goes on from here"


@click.command(epilog=_EPILOG)
@click.argument("url", type=options.GivenStore())
@click.option("--to", required=True, metavar="DIR", type=options.GivenPath(), help="Folder for the store.")
@options.in_flight
@options.json_output
def pull(url: Path | Address, to: Path, in_flight: int, as_json: bool) -> None:
    """Fetch the store at URL into DIR, where it appears complete and verified, or not at all.

    The SHA-256 of each file is compared with the manifest. A pull that was interrupted leaves nothing under the store's
    name; the same command goes on from there.
    """
    place = locate(url)
    destination = pulled_path(place, to)
    try:
        with advising(_GOES_ON, Stage(destination).root), progress_bar(short_name(destination.name)) as bar:
            pulled = pull_store(url, to, in_flight=in_flight, progress=bar)
    except OSError as error:
        raise with_space(error, to, lambda: pull_space(check_quick(place), destination), _GOES_ON) from None
    for text in pulled.warnings:
        note(text)
    if as_json:
        show_json(pulled.describe())
        return
    show(
        f"{to / destination.name}: {pulled.files} files, {size(pulled.nbytes)}, verified, "
        f"in {pulled.seconds:.1f} s ({rate(pulled.received, pulled.seconds)})",
        f"Next: trialpack info {destination}",
    )

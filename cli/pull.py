"""``trialpack pull``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..store import check_quick, pull_store
from ..store.layout import short_name
from ..store.locate import locate
from ..store.paths import Address
from ..store.publish import Stage
from ..store.pull import Pulled, pull_space, pulled_path
from . import options
from .display import documents_of, end, note, rate, show, show_documents, size, with_space
from .interrupts import advising
from .progress import Bars, progress_bars

_EPILOG = """
\b
Examples:
  trialpack pull s3://lab-bucket/stores/mouse.zarr --to stores
  trialpack pull s3://lab-bucket/stores --to stores
  trialpack pull https://data.example.org/stores/mouse.zarr --to stores
"""
_GOES_ON = "the same command goes on from here"


@click.command(epilog=_EPILOG)
@click.argument(
    "urls", nargs=-1, required=True, metavar="URL...", type=options.GivenStore(), callback=options.find_stores
)
@click.option("--to", required=True, metavar="DIR", type=options.GivenPath(), help="Folder for the store.")
@options.in_flight
@options.log_every
@options.json_output
def pull(urls: tuple[Path | Address, ...], to: Path, in_flight: int, as_json: bool) -> None:
    """Fetch the store at each URL into DIR, where it appears complete and verified, or not at all.

    The SHA-256 of each file is compared with the manifest. A pull that was interrupted leaves nothing under the store's
    name; the same command goes on from there.
    """

    def one(url: Path | Address) -> dict[str, Any]:
        pulled = _pull(url, to, in_flight, bars)
        for text in pulled.warnings:
            note(text)
        if not as_json:
            show(
                f"{to / pulled.store.name}: {pulled.files} files, {size(pulled.nbytes)}, verified, "
                f"in {pulled.seconds:.1f} s ({rate(pulled.received, pulled.seconds)})",
                f"Next: trialpack info {to / pulled.store.name}",
            )
        return pulled.describe()

    with progress_bars(len(urls)) as bars:
        documents = documents_of(urls, one)
    if as_json:
        show_documents(documents)
    end(documents)


def _pull(url: Path | Address, to: Path, in_flight: int, bars: Bars) -> Pulled:
    place = locate(url)
    destination = pulled_path(place, to)
    try:
        with advising(_GOES_ON, *Stage(destination).left), bars.of(short_name(destination.name)) as bar:
            return pull_store(url, to, in_flight=in_flight, progress=bar)
    except OSError as error:
        raise with_space(error, to, lambda: pull_space(check_quick(place), destination), _GOES_ON) from None

"""``trialpack push``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..store import push_store
from ..store.layout import short_name
from ..store.paths import Address
from ..store.push import Pushed
from . import options
from .display import documents_of, end, rate, show, show_documents, size
from .interrupts import advising
from .progress import progress_bars

_EPILOG = """
\b
Examples:
  trialpack push stores/mouse.zarr s3://lab-bucket/stores/mouse.zarr
  trialpack push stores/mouse.zarr gs://lab-bucket/stores/mouse.zarr --clean
  trialpack push stores s3://lab-bucket/stores

Of several stores, URL is the prefix below which each goes under its own name.
Publishing a converted recording publishes the recording: whoever can read URL can export it.
"""


@click.command(epilog=_EPILOG)
@click.argument(
    "stores", nargs=-1, required=True, metavar="STORE...", type=options.GivenPath(), callback=options.find_stores
)
@click.argument("url", type=options.GivenStore())
@click.option(
    "--clean",
    is_flag=True,
    help="First remove what belongs to no published store at URL, such as what pushes that were given up have left. "
    "Only while nobody else pushes or cleans there.",
)
@click.option(
    "--race-check/--no-race-check",
    default=True,
    help="Check that the service honours conditional writes, so that of several pushes at once only one wins. "
    "[default: race-check]",
)
@options.in_flight
@options.workers
@options.log_every
@options.json_output
def push(stores: tuple[Path, ...], url: Path | Address, as_json: bool, **settings: Any) -> None:
    """Publish each STORE at URL, where it can be opened once all of it is there, or not at all.

    STORE is verified first. Nothing is replaced at URL, such as s3://bucket/stores/mouse.zarr. A push that was
    interrupted leaves nothing that can be opened; the same command goes on from there.

    Publishing a converted recording publishes the recording.
    """

    def one(store: Path) -> dict[str, Any]:
        with bars.of(short_name(store.name)) as bar:
            to = Address(f"{url}/{store.name}") if len(stores) > 1 else url
            pushed = publish(store, to, progress=bar, **settings)
        if not as_json:
            show(describe(pushed), f"Next: trialpack info {pushed.address}")
        return pushed.describe()

    with progress_bars(len(stores)) as bars:
        documents = documents_of(stores, one)
    if as_json:
        show_documents(documents)
    end(documents)


def publish(
    store: Path, url: Path | Address, again: str = "the same command goes on from here", **settings: Any
) -> Pushed:
    """Push a store; when it is interrupted, say what to do to go on."""
    with advising(again):
        return push_store(store, url, **settings)


def describe(pushed: Pushed) -> str:
    """Return what a push has published, for a person."""
    what = f"{pushed.address}: {pushed.files} files, {size(pushed.nbytes)}"
    if not pushed.sent:
        return f"{what}, published already"
    return f"{what}, published in {pushed.seconds:.1f} s ({rate(pushed.sent, pushed.seconds)})"

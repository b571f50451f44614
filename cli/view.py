"""``trialpack view``."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import click

from ..readers.view.pages import ViewedStore, export_page, view_store
from ..readers.view.server import ViewServer
from ..store import files
from ..store.paths import Address
from . import options
from .display import complain_of, noting_shortfalls
from .interrupts import cleaning

_EPILOG = """
\b
Examples:
  trialpack view stores/*.zarr
  trialpack view stores/mouse.zarr --port 8080 --no-browser
  trialpack view stores/*.zarr --export stores
"""


@click.command(epilog=_EPILOG)
@options.existing_stores
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where to listen: by default, only to this machine."
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, metavar="N", help="[default: any that is free]")
@click.option("--no-browser", is_flag=True, help="Do not open the page in a browser.")
@click.option(
    "--export",
    "folder",
    type=options.GivenPath(file_okay=False),
    metavar="DIR",
    help="Write the page into DIR, which holds the STOREs, for any web server to serve, and end.",
)
@click.option("--replace", is_flag=True, help="Replace the page that is in DIR.")
def view(
    stores: tuple[Path | Address, ...], host: str, port: int, no_browser: bool, folder: Path | None, replace: bool
) -> None:
    """Go through STOREs in a browser: choose mice, trials and neurons, and play videos with the responses.

    Prints the address of a page, and serves it until it is interrupted. Who has the address can read the STOREs; by
    default, only programs on this machine. Of a store that is damaged the page shows what is whole.
    """
    opened = [view_store(store) for store in stores]
    for one in opened:
        complain_of(one.problems)
    if folder is None:
        _serve(opened, host, port, browser=not no_browser)
        return
    options.check_output(folder / "index.html")
    with cleaning(files.drop_unsaved), noting_shortfalls(folder):
        page = export_page(opened, folder, replace=replace)
    click.echo(page)


def _serve(stores: list[ViewedStore], host: str, port: int, *, browser: bool) -> None:
    with ViewServer(stores, host, port) as server, suppress(KeyboardInterrupt):
        # To be interrupted is how it ends: nothing has to be said.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        click.echo(server.url)
        if browser and _has_display():
            click.launch(server.url)
        server.serve_forever()


def _has_display() -> bool:
    """Return whether there is a screen: without one, a browser of text would take over the terminal."""
    return sys.platform != "linux" or any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY"))

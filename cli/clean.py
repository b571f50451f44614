"""``trialpack clean``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..store.leftovers import Leftover, find_leftovers
from . import options
from .display import documents_of, end, plural, show, show_documents, size

_EPILOG = """
\b
Examples:
  trialpack clean stores
  trialpack clean stores published --yes
"""


@click.command(epilog=_EPILOG)
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=options.GivenPath())
@click.option("--yes", is_flag=True, help="Remove it. What a process is at work on stays in any case.")
@options.json_output
def clean(folders: tuple[Path, ...], yes: bool, as_json: bool) -> None:
    """List what conversions, exports and pulls that ended in their middle have left in each DIR, or remove it.

    The same command as before goes on from what is left, so remove only what is given up. A store that was being
    replaced is put back.
    """

    def one(folder: Path) -> dict[str, Any]:
        found = [_clean(left, yes=yes) for left in find_leftovers(folder)]
        if not as_json:
            show(*map(_text, found) if found else [f"{folder}: nothing is left here"])
        return {"folder": str(folder), "leftovers": found}

    documents = documents_of(folders, one)
    if as_json:
        show_documents(documents)
    elif not yes and any(one["removable"] for document in documents for one in document.get("leftovers", ())):
        show("Nothing was removed: give --yes to remove it.")
    end(documents)


def _clean(left: Leftover, *, yes: bool) -> dict[str, Any]:
    removed = yes and left.holder is None and left.remove()
    return {
        "destination": str(left.destination),
        "paths": list(map(str, left.paths)),
        "files": left.files,
        "bytes": left.nbytes,
        "holder": left.holder,
        "removable": left.holder is None,
        "removed": removed,
    }


def _text(found: dict[str, Any]) -> str:
    what = f"{', '.join(found['paths'])} ({plural(found['files'], 'file')}, {size(found['bytes'])})"
    if found["holder"]:
        return f"at work: {what}, by {found['holder']}"
    return f"{'removed' if found['removed'] else 'left'}: {what}"

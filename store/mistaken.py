"""What was given in place of a store, and what to do with it."""

from __future__ import annotations

from pathlib import Path

from . import layout
from .errors import Code, Problem
from .folder import stores_in

_NAMED = 3
_Advice = str | tuple[str | Code, ...]


def explain_not_a_store(path: Path) -> Problem:
    """Return what a path without a manifest seems to be, and what to do with it."""
    what, advice = _file(path) if not path.is_dir() else _folder(path)
    return Problem(str(path), what, advice)


def _file(path: Path) -> tuple[str, _Advice]:
    if not path.exists():
        return "no such store", "check the path"
    return "not a folder", "give the folder of a .zarr store"


def _folder(path: Path) -> tuple[str, _Advice]:
    if stores := stores_in(path):
        more = ", …" if len(stores) > _NAMED else ""
        return f"a folder of {len(stores)} stores", f"give one of: {', '.join(map(str, stores[:_NAMED]))}{more}"
    unfinished = f"no {layout.MANIFEST}: unfinished, or not a trialpack store"
    if (path / layout.METADATA).exists():
        return unfinished, "give a trialpack store, or convert the mouse again"
    return unfinished, "give the folder of a .zarr store"

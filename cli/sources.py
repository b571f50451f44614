"""The mice that a person names, and what is named in their place."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..convert import find_sources
from ..convert.formats.source import Source
from ..store import Problem, SourceError
from ..store.folder import stores_in
from ..store.publish import is_store


def named_sources(path: Path) -> list[Source]:
    """Find the mice at a path; see `find_sources`.

    Raises
    ------
    SourceError
        No mouse is there; the message names what is there instead, where that is known.
    """
    if is_store(path):
        raise SourceError(Problem(str(path), "a trialpack store, not a mouse to make one of", _look(path)))
    try:
        return find_sources(path)
    except SourceError:
        stores = stores_in(path) if path.is_dir() else []
        if not stores:
            raise
        what = "a folder of trialpack stores, not of mice to make them of"
        raise SourceError(Problem(str(path), what, _look(stores[0]))) from None


def _look(store: Path) -> str:
    name = shlex.quote(str(store))
    return f"look at it: trialpack info {name}; or give it back: trialpack export {name} --to DIR --as npy"

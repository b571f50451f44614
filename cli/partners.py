"""Which source belongs to which store, by the name of the mouse."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from ..convert.formats.source import Source
from ..store import Problem, SourceError, TrialpackError, check_quick, layout
from ..store.locate import locate
from ..store.paths import Address
from .options import named_sources


class Partners:
    """The mice at a path, each for the store of its name; one mouse for one store, whatever both are called.

    Parameters
    ----------
    stores
        The stores that are to be compared.
    path
        Where their sources are; None if they are not to be compared.
    """

    def __init__(self, stores: Sequence[Path | Address], path: Path | Address | None) -> None:
        self.label = None if path is None else str(path)
        self._stores, self._sources = stores, list[Source]()
        self._error: TrialpackError | OSError | None = None
        if path is not None:
            try:
                self._sources = named_sources(path)
            except (TrialpackError, OSError) as error:
                self._error = error

    def of(self, store: Path | Address) -> Source | None:
        """Return the source of a store; None if there is nothing to compare with.

        Raises
        ------
        SourceError
            There is none of this name, or more than one; or there are no mice at all.
        """
        if self._error is not None:
            raise self._error
        if self.label is None or self._is_pair:
            return next(iter(self._sources), None)
        name = _mouse_of(store)
        found = [source for source, names in self._names if name in names]
        if len(found) > 1:
            twice = " and ".join(one.label for one in found)
            raise SourceError(Problem(self.label, f"the mouse {name} twice: {twice}", "give one of them"))
        if not found:
            raise SourceError(
                Problem(str(store), f"no mouse {name} in {self.label}", "give its source, or leave it out")
            )
        return found[0]

    def left(self) -> list[Problem]:
        """Return the sources that belong to no store, where several stores are compared."""
        if len(self._stores) == 1:
            return []
        given = set(map(_mouse_of, self._stores)) if self._sources else set[str]()
        left = [source for source, names in self._names if not names & given]
        return [Problem(one.label, "no store of this mouse is given", "convert it, or give its store") for one in left]

    @property
    def _is_pair(self) -> bool:
        return len(self._stores) == len(self._sources) == 1

    @cached_property
    def _names(self) -> list[tuple[Source, set[str]]]:
        return [(source, _names_of(source)) for source in self._sources]


def _mouse_of(store: Path | Address) -> str:
    """Return the mouse that is in a store, or else the one that it is called after."""
    with contextlib.suppress(TrialpackError, OSError):
        return check_quick(locate(store)).attributes[layout.A_MOUSE]
    return store.name.removesuffix(layout.SUFFIX)


def _names_of(source: Source) -> set[str]:
    """Return the name of a source's mouse, if it can be known without its store, and what the source is called."""
    names = {Path(source.label).name, Path(source.label).stem}
    with contextlib.suppress(TrialpackError, OSError):
        names.add(source.survey().mouse)
    return names

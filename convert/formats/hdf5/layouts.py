"""Which layout a file has, told by what is in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ....store import Problem, SourceError
from . import movies, static
from .access import Hdf5Reader, Kind
from .exported import read_exported
from .movies import read_movies
from .places import Contents
from .static import read_static
from .values import A_LAYOUT


@dataclass(frozen=True)
class _Layout:
    """A layout, and what every file of it has at its top."""

    name: str
    datasets: tuple[str, ...]
    groups: tuple[str, ...]
    read: Callable[[Hdf5Reader], Contents]

    def lacks(self, top: dict[str, Kind]) -> list[str]:
        """Return what a file has not; a link counts, for it is to be refused by its own name."""
        groups = [f"the group {name}" for name in self.groups if top.get(name) not in ("group", "link")]
        return groups + [f"the dataset {name}" for name in self.datasets if top.get(name) not in ("dataset", "link")]

    @property
    def text(self) -> str:
        groups = f"the groups {', '.join(self.groups)} and " if self.groups else ""
        return f"{self.name} ({groups}the datasets {', '.join(self.datasets)})"


_OLDER = (
    _Layout("images", static.DATASETS, (), read_static),
    _Layout("movies", movies.DATASETS, movies.GROUPS, read_movies),
)


def read_contents(file: Hdf5Reader) -> Contents:
    """Find out what a file holds.

    Raises
    ------
    SourceError
        It has none of the known layouts; or, with every problem that can be seen without reading trials, what is
        wrong.
    """
    if file.has_attribute(A_LAYOUT):
        return read_exported(file)
    top = file.kinds()
    nearest = min(_OLDER, key=lambda layout: len(layout.lacks(top)) / len(layout.lacks({})))
    missing = nearest.lacks(top)
    if missing:
        known = "; ".join(["a file that trialpack exported", *(layout.text for layout in _OLDER)])
        what = f"no mouse that is known (known: {known}); the nearest is {nearest.name}, without {', '.join(missing)}"
        raise SourceError(Problem(file.path.label, what, "give the file of a mouse"))
    return nearest.read(file)

"""Where mice come from: folders and zips of the published layout."""

from __future__ import annotations

from pathlib import Path

from ...store import Problem, SourceError
from .archive import ZipTree
from .folder import FolderTree
from .mouse_tree import MouseTree
from .source import Source, SourcePart, SourceTrial, Survey, TrialReader, TrialSpec

__all__ = ["Source", "SourcePart", "SourceTrial", "Survey", "TrialReader", "TrialSpec", "find_sources", "open_source"]


def open_source(path: Path | str) -> Source:
    """Open the one mouse at a path.

    Parameters
    ----------
    path
        The folder of a mouse, a folder with nothing but one in it, or a zip of one.

    Raises
    ------
    SourceError
        There is no mouse, or more than one.
    """
    found = find_sources(path)
    if len(found) != 1:
        names = ", ".join(Path(source.label).name for source in found)
        raise SourceError(Problem(str(path), f"expected one mouse, found {len(found)} ({names})", "give one of them"))
    return found[0]


def find_sources(path: Path | str) -> list[Source]:
    """Find the mice at a path.

    Parameters
    ----------
    path
        The folder of a mouse, a zip of one, or a folder of such folders and zips.

    Raises
    ------
    SourceError
        There is none.
    """
    path = Path(path)
    if path.is_file():
        return [MouseTree(ZipTree(path))]
    if not path.is_dir():
        raise SourceError(Problem(str(path), "no such file or folder", "check the path"))
    if _is_mouse(path):
        return [MouseTree(FolderTree(path))]
    children = sorted(child for child in path.iterdir() if not child.name.startswith((".", "__")))
    zips: list[Source] = [MouseTree(ZipTree(child)) for child in children if child.suffix == ".zip" and child.is_file()]
    folders: list[Source] = [MouseTree(FolderTree(child)) for child in children if _is_mouse(child)]
    if not zips and not folders:
        what = "no mouse here (expected folders data and meta, a zip of them, or a folder of such)"
        raise SourceError(Problem(str(path), what, "give the folder or zip of a mouse"))
    return sorted([*folders, *zips], key=lambda source: source.label)


def _is_mouse(path: Path) -> bool:
    """Either folder is enough: what the other one lacks is then said by name."""
    return (path / "data").is_dir() or (path / "meta" / "trials").is_dir()

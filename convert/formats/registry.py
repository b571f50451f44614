"""Where mice come from: folders and zips of the published layout, and HDF5 files."""

from __future__ import annotations

from pathlib import Path

from ...store import Problem, SourceError
from .hdf5 import Hdf5Mouse
from .hdf5.library import SUFFIXES, is_hdf5
from .published.mouse_tree import MouseTree
from .published.npy_folder import FolderTree
from .published.zip import ZipTree
from .source import Source, SourcePart, SourceTrial, Survey, TrialReader, TrialSpec

__all__ = ["Source", "SourcePart", "SourceTrial", "Survey", "TrialReader", "TrialSpec", "find_sources", "open_source"]


_SUFFIXES = (".zip", *SUFFIXES)


def open_source(path: Path | str | Source) -> Source:
    """Open the one mouse at a path.

    Parameters
    ----------
    path
        The folder of a mouse, a folder with nothing but one in it, or a zip or an HDF5 file of one; a source that is
        open is returned as it is.

    Raises
    ------
    SourceError
        There is no mouse, or more than one.
    """
    if not isinstance(path, (str, Path)):
        return path
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
        The folder of a mouse, a zip or an HDF5 file of one, or a folder of such folders and files.

    Raises
    ------
    SourceError
        There is none.
    """
    path = Path(path)
    if path.is_file():
        return [_in_file(path)]
    if not path.is_dir():
        raise SourceError(Problem(str(path), "no such file or folder", "check the path"))
    if _is_mouse(path):
        return [MouseTree(FolderTree(path))]
    children = sorted(child for child in path.iterdir() if not child.name.startswith((".", "__")))
    files: list[Source] = [_in_file(child) for child in children if child.suffix in _SUFFIXES and child.is_file()]
    folders: list[Source] = [MouseTree(FolderTree(child)) for child in children if _is_mouse(child)]
    if not files and not folders:
        what = "no mouse here (expected folders data and meta, a zip of them, an HDF5 file, or a folder of such)"
        raise SourceError(Problem(str(path), what, "give the folder, zip or HDF5 file of a mouse"))
    return sorted([*folders, *files], key=lambda source: source.label)


def _in_file(path: Path) -> Source:
    """Return the source of a file: a zip, unless it begins as an HDF5 file or is called one."""
    return Hdf5Mouse(path) if path.suffix in SUFFIXES or is_hdf5(path) else MouseTree(ZipTree(path))


def _is_mouse(path: Path) -> bool:
    """Either folder is enough: what the other one lacks is then said by name."""
    return (path / "data").is_dir() or (path / "meta" / "trials").is_dir()

"""What was given in place of a store, and what to do with it."""

from __future__ import annotations

from pathlib import Path

from . import layout
from .errors import Call, Code, Problem
from .folder import stores_in

_NAMED = 3
_PACKED = (".zip", ".h5", ".hdf5", ".hdf")
_Advice = str | tuple[str | Code, ...]


def explain_not_a_store(path: Path) -> Problem:
    """Return what a path without a manifest seems to be, and what to do with it."""
    what, advice = _file(path) if not path.is_dir() else _folder(path)
    return Problem(str(path), what, advice)


def _file(path: Path) -> tuple[str, _Advice]:
    if not path.exists():
        return "no such store", "check the path"
    if path.suffix in _PACKED:
        return "not a folder, but perhaps a mouse to make a store of", _convert(path)
    return "not a folder", "check the path"


def _folder(path: Path) -> tuple[str, _Advice]:
    if stores := stores_in(path):
        more = ", …" if len(stores) > _NAMED else ""
        return f"a folder of {len(stores)} stores", f"give one of: {', '.join(map(str, stores[:_NAMED]))}{more}"
    unfinished = f"no {layout.MANIFEST}: unfinished, or not a trialpack store"
    if (path / layout.METADATA).exists():
        return unfinished, "give a trialpack store, or convert the mouse again"
    if _is_mouse(path):
        return "the published files of a mouse, not a store of it", _convert(path)
    if any(_is_mouse(child) or child.suffix in _PACKED for child in path.iterdir()):
        return "a folder of mice to make stores of, not a store", _convert(path)
    return unfinished, "give the folder of a .zarr store"


def _is_mouse(path: Path) -> bool:
    return (path / "data").is_dir() or (path / "meta" / "trials").is_dir()


def _convert(path: Path) -> _Advice:
    return "pack it: ", Call("convert_mouse", str(path))

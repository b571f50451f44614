"""The record of the versions that made a store: beside its content, so that equal content has equal bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from . import layout
from .errors import Problem
from .folder import read_file
from .metadata import to_json

_SEAL = "sha256_of_record"


def software_record(versions: Mapping[str, str]) -> bytes:
    """Return the file: name of a package -> version, sealed with its own digest."""
    body = dict(versions)
    return to_json({**body, _SEAL: hashlib.sha256(to_json(body)).hexdigest()})


def read_software(root: Path) -> tuple[dict[str, str], list[Problem]]:
    """Return the versions that made a store, and what is wrong with their record."""
    path = root / layout.SOFTWARE
    # A store lies in its folder; and opening a pipe would wait for whoever writes to it.
    if path.is_symlink() or not path.is_file():
        return {}, [_problem(root, "missing or not a file")]
    data = read_file(root, layout.SOFTWARE)
    versions = _parse(data)
    return versions or {}, [] if versions is not None else [_problem(root, "was changed (its own digest differs)")]


def _parse(data: bytes) -> dict[str, str] | None:
    try:
        document = cast("dict[str, Any]", json.loads(data))
        versions = {name: value for name, value in document.items() if name != _SEAL}
        sound = all(type(value) is str for value in versions.values()) and software_record(versions) == data
    except (ValueError, RecursionError, AttributeError):
        return None
    return versions if sound else None


def _problem(root: Path, what: str) -> Problem:
    return Problem(str(root), what, "copy or convert the mouse again", layout.SOFTWARE)

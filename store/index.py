"""What is known of a store without reading its data: manifest, root attributes, the layout of every array."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from . import layout
from .errors import Problem, StoreFormatError
from .layout import ArrayLayout
from .manifest import Manifest
from .metadata import parse_array
from .small import read_array


@dataclass(frozen=True)
class StoreIndex:
    """What is known of a store without reading its data.

    Attributes
    ----------
    root
        The store's folder.
    attributes
        Of the root group; keys are the ``A_…`` of `layout`.
    arrays
        Path in the store -> layout.
    """

    root: Path
    manifest: Manifest
    attributes: dict[str, Any]
    arrays: dict[str, ArrayLayout]

    @property
    def recorded(self) -> list[ArrayLayout]:
        """The arrays of recorded variables, in the order of `layout.VARIABLES`."""
        kind: layout.Kind = self.attributes[layout.A_KIND]
        return [self.arrays[variable.name] for variable in layout.VARIABLES[kind]]

    def stored_nbytes(self, path: str) -> int:
        """Return the bytes on disk of an array or group, metadata included."""
        return sum(record.size for name, record in self.manifest.files.items() if name.startswith(f"{path}/"))

    def small(self, path: str) -> NDArray[Any]:
        """Read a small array whole; see `read_array`."""
        return read_array(self.root, self.arrays[path])


def read_index(root: Path, manifest: Manifest, documents: Sequence[str]) -> StoreIndex:
    """Read the metadata documents of a store, whose digests were checked.

    Raises
    ------
    StoreFormatError
        A document describes an array that this format version does not have.
    """
    attributes, arrays, problems = dict[str, Any](), dict[str, ArrayLayout](), list[Problem]()
    for name in documents:
        document, path = json.loads((root / name).read_bytes()), name.removesuffix(layout.METADATA).rstrip("/")
        if not path:
            attributes = document["attributes"]
        elif document["node_type"] == "array":
            array = parse_array(path, document)
            if array is None:
                what = f"describes an array that format version {layout.FORMAT_VERSION} does not have"
                problems.append(Problem(str(root), what, "install the trialpack that wrote it", name))
            else:
                arrays[path] = array
    if problems:
        raise StoreFormatError(problems)
    return StoreIndex(root, manifest, attributes, arrays)

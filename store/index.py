"""Everything known of a store without reading its data: manifest, root attributes, the layout of every array."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from numpy.typing import NDArray

from . import layout
from .bounds import Bound, parse_bound
from .errors import CorruptStoreError, Problem, StoreFormatError
from .layout import ArrayLayout
from .manifest import Manifest, software_record
from .metadata import is_group, parse_array, read_arrays
from .paths import Address
from .place import StorePlace
from .read_only import read_only
from .schema import are_root_attributes, parse_variables, schema_violations
from .variables import Variable


@dataclass(frozen=True)
class StoreIndex:
    """What is known of a store without reading its data.

    Attributes
    ----------
    place
        Where the store is, in the version that was opened: by this it is read.
    attributes
        Attributes of the root group; keys are the ``A_…`` of `layout`.
    arrays
        Path in the store -> layout.
    software
        Name of a package -> its version that made the store.
    """

    place: StorePlace
    manifest: Manifest
    attributes: Mapping[str, Any]
    arrays: Mapping[str, ArrayLayout]
    software: Mapping[str, str]

    @property
    def root(self) -> Path | Address:
        """Where the store is, as a person gave it, for messages."""
        return self.place.root

    def __repr__(self) -> str:
        """Return a one-line summary."""
        return f"<StoreIndex of {self.root}: {len(self.arrays)} arrays, {self.manifest.nbytes / 1e6:.1f} MB>"

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """The recorded variables, stimulus first."""
        return parse_variables(self.attributes[layout.A_VARIABLES])

    @property
    def recorded(self) -> list[ArrayLayout]:
        """The arrays of recorded variables, in the order of `variables`."""
        return [self.arrays[variable.name] for variable in self.variables]

    @property
    def bounds(self) -> dict[str, Bound]:
        """Variable -> how far its values may be from those of the source; of those that were rounded."""
        return {name: parse_bound(bound) for name, bound in self.attributes.get(layout.A_MAX_ERROR, {}).items()}

    @cached_property
    def nbytes(self) -> int:
        """Bytes on disk of all files."""
        return self.manifest.nbytes + len(self.manifest.to_bytes()) + len(software_record(self.software))

    @property
    def n_files(self) -> int:
        """How many files the store has."""
        return self.manifest.n_files

    def stored_nbytes(self, path: str) -> int:
        """Return the bytes on disk of an array or group, metadata included."""
        return sum(record.size for name, record in self.manifest.files.items() if name.startswith(f"{path}/"))

    def small(self, path: str) -> NDArray[Any]:
        """Read a small array whole; see `read_array`."""
        return self.smalls([path])[path]

    def smalls(self, paths: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Read small arrays, at the same time where that is quicker; see `read_array`."""
        paths = list(paths)
        arrays = [self.arrays[path] for path in paths]
        with closing(self.place.open()) as files:
            return dict(zip(paths, read_arrays(files, arrays), strict=True))


def read_index(
    place: StorePlace, manifest: Manifest, documents: Mapping[str, bytes], software: Mapping[str, str]
) -> StoreIndex:
    """Read what the metadata documents of a store say.

    Parameters
    ----------
    documents
        Path in the store -> content, whose digest was checked.
    software
        Name of a package -> its version that made the store.

    Raises
    ------
    StoreFormatError
        A document is not one that this format version writes.
    CorruptStoreError
        The documents and the manifest contradict one another.
    """
    found = {name: _parse(data) for name, data in documents.items()}
    root, attributes = place.root, _attributes(found.get(layout.METADATA))
    arrays, problems = dict[str, ArrayLayout](), list[Problem]()
    if attributes is None or attributes[layout.A_FORMAT] != manifest.version:
        problems.append(_unknown(root, layout.METADATA, "describes a store"))
    for name, document in found.items():
        path = name.removesuffix(layout.METADATA).rstrip("/")
        if (document or {}).get("node_type") == "group":
            if not is_group(document, documents[name]):
                problems.append(_unknown(root, name, "describes a group"))
            continue
        if not path:
            continue
        array = parse_array(path, document, documents[name])
        if array is None:
            problems.append(_unknown(root, name, "describes an array"))
        else:
            arrays[path] = array
    if problems or attributes is None:
        raise StoreFormatError(problems)
    index = StoreIndex(
        place.at(manifest.files), manifest, read_only(attributes), read_only(arrays), read_only(software)
    )
    contradictions = list(_contradictions(index))
    if contradictions:
        raise CorruptStoreError(contradictions)
    return index


def _parse(data: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", document) if isinstance(document, dict) else None


def _attributes(document: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the root's attributes, if they are those of a store."""
    attributes = (document or {}).get("attributes")
    if document is None or document.get("node_type") != "group" or not isinstance(attributes, dict):
        return None
    found = cast("dict[str, Any]", attributes)
    return found if are_root_attributes(found) else None


def _contradictions(index: StoreIndex) -> Iterator[Problem]:
    """Yield what cannot be true together: recorded variables, their rows and digests, and sizes of dimensions."""
    names = {variable.name for variable in index.variables}
    for name in sorted(names | index.manifest.values.keys()):
        array, digests = index.arrays.get(name), index.manifest.values.get(name)
        if array is None or digests is None or array.shape[0] != len(digests):
            counts = [0 if part is None else part for part in (array and array.shape[0], digests and len(digests))]
            what = f"has {counts[0]} rows in its metadata and {counts[1]} in {layout.MANIFEST}"
            yield Problem(str(index.root), what, "copy or convert the mouse again", f"{name}/{layout.METADATA}")
    for path in sorted(set(schema_violations(index.attributes, index.arrays))):
        what = "is not as every store of this format has it"
        yield Problem(str(index.root), what, "copy or convert the mouse again", f"{path}/{layout.METADATA}")
    yield from _unequal_bounds(index, names)
    yield from _sizes(index.root, index.arrays.values())


def _unequal_bounds(index: StoreIndex, names: set[str]) -> Iterator[Problem]:
    """Yield where the root, a variable, and the largest errors of its channels do not say the same."""
    bounds: dict[str, Any] = index.attributes.get(layout.A_MAX_ERROR, {})
    for name in sorted(names | bounds.keys()):
        array = index.arrays.get(name)
        found = None if array is None else array.attributes.get(layout.A_MAX_ERROR)
        if found != bounds.get(name):
            what = f"has the {layout.A_MAX_ERROR} {found}, the store {bounds.get(name)}"
            yield Problem(str(index.root), what, "copy or convert the mouse again", f"{name}/{layout.METADATA}")
        of_std = name in bounds and parse_bound(bounds[name]).of_std
        if of_std != (layout.bound_path(name) in index.arrays):
            what = "expected, for the bound is a part of the standard deviation" if of_std else "of no bound"
            yield Problem(str(index.root), what, "copy or convert the mouse again", layout.bound_path(name))


def _sizes(root: object, arrays: Iterable[ArrayLayout]) -> Iterator[Problem]:
    known = dict[str, int]()
    for array in arrays:
        for dimension, size in zip(array.dimensions, array.shape, strict=True):
            if known.setdefault(dimension, size) != size:
                what = f"has {size} along {dimension!r}, another array {known[dimension]}"
                yield Problem(str(root), what, "copy or convert the mouse again", array.path)


def _unknown(root: object, name: str, what: str) -> Problem:
    text = f"{what} that format version {layout.FORMAT_VERSION} does not have"
    return Problem(str(root), text, "install the trialpack that wrote it", name)

"""The manifest: every file of a store with its size and SHA-256, and a digest of every trial's values."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import platform
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import xxhash
from numpy.typing import NDArray

from . import layout
from .chunk_codecs import flat_bytes
from .distribution import DISTRIBUTION
from .errors import CorruptStoreError, Problem, StoreFormatError
from .folder import as_place, is_junk
from .metadata import to_json
from .place import StorePlace
from .pointers import pointer_problem
from .read_only import read_only
from .shards import FileRecord

VALUES_ALGORITHM = "xxh3_128"
UNLISTED = (layout.SOFTWARE, layout.MANIFEST)
"""Files that a manifest does not list: they have digests of their own."""
_SEAL = "sha256_of_manifest"
_COPY = "copy or convert the mouse again"


@dataclass(frozen=True)
class Manifest:
    """What a store consists of.

    Attributes
    ----------
    store_id
        Name of the content: equal for stores of equal values, names and options, whatever versions made them.
    files
        Path inside the store -> size and SHA-256; every file but the manifest itself and the record of software.
    values
        Variable -> one digest a row: XXH3-128 (hex) of the trial's values as the store holds them, padding included,
        in C order of the store's axes, little-endian. It does not depend on chunks and codecs.
    version
        Format version of the store.
    """

    store_id: str
    files: Mapping[str, FileRecord]
    values: Mapping[str, tuple[str, ...]]
    version: int = layout.FORMAT_VERSION

    def __repr__(self) -> str:
        """Return a one-line summary."""
        return f"<Manifest of store {self.store_id}: {len(self.files)} files, {self.nbytes / 1e6:.1f} MB>"

    def to_bytes(self) -> bytes:
        """Return the file: sealed with its own digest, so that no change of it goes unnoticed."""
        return to_json({**self._body, _SEAL: self.digest})

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of all that it says: names store and content, byte for byte."""
        return hashlib.sha256(to_json(self._body)).hexdigest()

    @property
    def _body(self) -> dict[str, Any]:
        return {
            layout.A_FORMAT: self.version,
            layout.A_STORE_ID: self.store_id,
            "files": {path: [record.size, record.sha256] for path, record in self.files.items()},
            "values": {"algorithm": VALUES_ALGORITHM, **{name: list(rows) for name, rows in self.values.items()}},
        }

    @property
    def nbytes(self) -> int:
        """Bytes of all files it lists."""
        return sum(record.size for record in self.files.values())

    @property
    def n_files(self) -> int:
        """How many files the store has: those that it lists, itself, and the record of software."""
        return len(self.files) + len(UNLISTED)


def values_digest(values: NDArray[Any]) -> str:
    """Return the digest of a trial's values, a C-contiguous array in native (little-endian) order."""
    return xxhash.xxh3_128_hexdigest(flat_bytes(values))


def read_manifest(root: Path | StorePlace) -> Manifest:
    """Read and check the manifest of a store.

    Raises
    ------
    StoreFormatError
        There is no manifest: unfinished, or not a trialpack store; or it is of an unknown format version.
    CorruptStoreError
        The manifest was changed after it was written.
    """
    place = as_place(root)
    data = place.find(layout.MANIFEST)
    if data is None:
        pointer = place.find_pointer(layout.MANIFEST)
        raise StoreFormatError(_problem(place.root, layout.MANIFEST, *pointer) if pointer else place.explain())
    return parse_manifest(place.root, data)


def parse_manifest(root: object, data: bytes) -> Manifest:
    """Return the manifest that a file is, given where the store is; errors as in `read_manifest`."""
    document = _parse(root, data)
    if _CLAIM in document:
        what = "unfinished: a push of it is under way, or was interrupted"
        raise StoreFormatError(_problem(root, layout.MANIFEST, what, "wait for it, or give the same command again"))
    _check_version(root, document.get(layout.A_FORMAT))
    manifest = _from_document(document)
    if manifest is None or not _is_written_as(manifest, data):
        raise _damaged(root, "was changed after it was written (its own digest differs)")
    return manifest


_CLAIM = "trialpack_claim"


def claim(digest: str) -> bytes:
    """Return what stands in place of a manifest until all else is there: whose place it is. No two are equal.

    Parameters
    ----------
    digest
        Of the manifest that is to take its place; empty of none, while a place is cleaned.
    """
    return to_json({_CLAIM: digest, "nonce": secrets.token_hex(16)})


def claim_in(data: bytes) -> str | None:
    """Return the digest of a claim; None if it is no claim."""
    try:
        found = json.loads(data)[_CLAIM]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return str(found)


def check_names_and_sizes(place: StorePlace, manifest: Manifest) -> list[Problem]:
    """Compare the files of a store with its manifest, without reading any; what `is_junk` is no problem."""
    found, root = dict(place.sizes(manifest.files)), place.root
    for name in UNLISTED:
        found.pop(name, None)
    problems = list[Problem]()
    for path, record in manifest.files.items():
        if found.get(path) != record.size:
            # Only what was found: a manifest may name anything.
            pointer = place.find_pointer(path) if path in found else None
            what, advice = pointer or (_size_text(record.size, found.get(path)), _COPY)
            problems.append(_problem(root, path, what, advice))
    extra = [
        _problem(root, path, "not part of the store (the manifest does not list it)", "remove it")
        for path in sorted(found.keys() - manifest.files.keys())
        if not is_junk(path)
    ]
    return problems + extra


def _parse(root: object, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        if pointer := pointer_problem(data):
            raise StoreFormatError(_problem(root, layout.MANIFEST, *pointer)) from None
        raise _damaged(root, f"not readable as JSON ({error})") from None
    if not isinstance(document, dict):
        raise _damaged(root, "not a manifest (expected a JSON object)")
    return document  # pyright: ignore[reportUnknownVariableType]


def _check_version(root: object, found: object) -> None:
    if type(found) is not int or not 1 <= found <= layout.FORMAT_VERSION:
        what = f"format version {found!r} is not known here (this trialpack reads 1 to {layout.FORMAT_VERSION})"
        raise StoreFormatError(Problem(str(root), what, "install the trialpack that wrote it", layout.MANIFEST))


def _from_document(document: dict[str, Any]) -> Manifest | None:
    try:
        values = {name: tuple(rows) for name, rows in document["values"].items() if name != "algorithm"}
        records = {path: FileRecord(size, digest) for path, (size, digest) in document["files"].items()}
        manifest = Manifest(
            document[layout.A_STORE_ID], read_only(records), read_only(values), document[layout.A_FORMAT]
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return manifest if _is_of_its_types(manifest) else None


def _is_of_its_types(manifest: Manifest) -> bool:
    """Return whether a manifest that was read from JSON holds texts and whole numbers where it must."""
    texts = [manifest.store_id, *(record.sha256 for record in manifest.files.values())]
    texts += itertools.chain.from_iterable(manifest.values.values())
    sizes = [record.size for record in manifest.files.values()]
    # There are as many digests as trials: no Python for each of them.
    return {*map(type, texts)} <= {str} and {*map(type, sizes)} <= {int} and min(sizes, default=0) >= 0


def _is_written_as(manifest: Manifest, data: bytes) -> bool:
    try:
        return manifest.to_bytes() == data
    except UnicodeEncodeError:  # half a character, which JSON can hold and a file of ours cannot
        return False


def _damaged(root: object, what: str) -> CorruptStoreError:
    return CorruptStoreError(_problem(root, layout.MANIFEST, what, _COPY))


def _size_text(expected: int, found: int | None) -> str:
    return f"missing or of another size (expected {expected} bytes, found {'none' if found is None else found})"


def _problem(root: object, member: str, what: str, advice: str) -> Problem:
    return Problem(str(root), what, advice, member)


_SOFTWARE_SEAL = "sha256_of_record"


@functools.cache
def software(codec: layout.CodecName) -> dict[str, str]:
    """Return the versions on which the bytes of a store with a codec depend."""
    names = (DISTRIBUTION, "numpy", "numcodecs", *(("pcodec",) if codec == "pcodec" else ()))
    return {name: version(name) for name in names} | {"python": platform.python_version()}


def software_record(versions: Mapping[str, str]) -> bytes:
    """Return the file: name of a package -> version, sealed with its own digest."""
    body = dict(versions)
    return to_json({**body, _SOFTWARE_SEAL: hashlib.sha256(to_json(body)).hexdigest()})


def read_software(place: StorePlace) -> tuple[dict[str, str], list[Problem]]:
    """Return the versions that made a store, and what is wrong with their record."""
    data = place.find(layout.SOFTWARE)
    if data is None:
        versions, wrong = None, "missing or not a file"
    else:
        versions, wrong = _parse_software(data), "was changed (its own digest differs)"
    if versions is not None:
        return versions, []
    return {}, [_problem(place.root, layout.SOFTWARE, *(place.find_pointer(layout.SOFTWARE) or (wrong, _COPY)))]


def _parse_software(data: bytes) -> dict[str, str] | None:
    try:
        document = cast("dict[str, Any]", json.loads(data))
        versions = {name: value for name, value in document.items() if name != _SOFTWARE_SEAL}
        sound = all(type(value) is str for value in versions.values()) and software_record(versions) == data
    except (ValueError, RecursionError, AttributeError):
        return None
    return versions if sound else None

"""The files of the page, and what it is told of stores: their names, where they are, and what is wrong with them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ...store import CorruptStoreError, OptionError, Problem, StoreExistsError, StoreFormatError, layout
from ...store import files as written
from ...store.errors import one_a_cause
from ...store.integrity import inspect_quick
from ...store.locate import locate
from ...store.manifest import UNLISTED, read_manifest
from ...store.paths import Address
from ...store.place import StorePlace
from ...store.publish import check_place, is_store
from ..recording import recording_of
from ..stimuli import stimulus_ids

STORES = "stores.json"
"""The file that tells the page which stores there are."""


@dataclass(frozen=True)
class ViewedStore:
    """A store as far as it can be opened.

    Attributes
    ----------
    place
        Where it is.
    files
        Files that the manifest lists, and that are there as files of the store -> SHA-256; those that it does not list,
        which have digests of their own, too.
    problems
        What is wrong with it.
    stimulus_ids
        As `trialpack.readers.stimuli.stimulus_ids`; None where they are not known.
    """

    place: StorePlace
    files: Mapping[str, str]
    problems: Sequence[Problem]
    stimulus_ids: Sequence[int] | None

    def describe(self, name: str, url: str) -> dict[str, Any]:
        """Return what the page is told, given what the store is called there and its address from the page."""
        texts = [str(problem) for problem in one_a_cause(self.problems)]
        return {"name": name, "url": url, "problems": texts, "stimulus_ids": self.stimulus_ids}


def view_store(root: Path | Address) -> ViewedStore:
    """Open a store, however damaged.

    Raises
    ------
    StoreFormatError
        It is no store.
    ResourceError
        The system does not let it be read.
    """
    place, ids = locate(root, name="stores"), None
    try:
        index, problems = inspect_quick(place)
        manifest = index.manifest if index else read_manifest(place)
    except CorruptStoreError as error:
        return ViewedStore(place, {}, error.problems, None)
    except StoreFormatError as error:
        if not (isinstance(root, Path) and is_store(root)):
            raise
        return ViewedStore(place, {}, error.problems, None)
    if index is not None:
        place = index.place
        try:
            found = stimulus_ids(index, recording_of(index))
            ids = None if found is None else found.tolist()
        except CorruptStoreError as error:
            problems = [*problems, *error.problems]
    sizes = place.sizes(manifest.files)
    listed = {name: record.sha256 for name, record in manifest.files.items()} | dict.fromkeys(UNLISTED, "")
    there = {name: digest for name, digest in listed.items() if sizes.get(name) is not None}
    return ViewedStore(place, there, problems, ids)


@cache
def page_files() -> Mapping[str, bytes]:
    """Return the files of the page by name, but for `STORES`; ``index.html`` is what is opened."""
    return {one.name: one.read_bytes() for one in files(__spec__.parent).joinpath("page").iterdir() if one.is_file()}


def list_stores(stores: Sequence[ViewedStore], urls: Sequence[str]) -> bytes:
    """Return `STORES`, given the address of each store from the page."""
    names = _names([str(store.place.root) for store in stores])
    described = [store.describe(name, url) for store, name, url in zip(stores, names, urls, strict=True)]
    return json.dumps(described, ensure_ascii=False).encode()


def _names(roots: Sequence[str]) -> Iterator[str]:
    """Yield what stores are called in addresses: the last part of where they are, with its number if others have it."""
    names = [os.path.basename(os.path.abspath(root)).removesuffix(layout.SUFFIX) for root in roots]
    counts, seen = Counter(names), Counter[str]()
    for name in names:
        seen[name] += 1
        yield f"{name} ({seen[name]})" if counts[name] > 1 else name


def export_page(stores: Sequence[ViewedStore], folder: Path, *, replace: bool = False) -> Path:
    """Write the page into a folder that holds the stores, for any web server; return what is to be opened.

    Raises
    ------
    OptionError
        A store is not in the folder, or the folder is in a store.
    StoreExistsError
        A file of the page is there already.
    """
    urls = [_relative(store.place.root, folder) for store in stores]
    made = {**page_files(), STORES: list_stores(stores, urls)}
    for name in made:
        check_place(folder / name)
        if (folder / name).exists() and not replace:
            raise StoreExistsError(
                Problem(str(folder / name), "exists already", "replace it, or choose another folder")
            )
    for name, data in made.items():
        written.save(folder / name, data)
    return folder / "index.html"


def _relative(root: Path | Address, folder: Path) -> str:
    """Return the address of a store from a page in a folder."""
    if isinstance(root, Address):
        raise OptionError(Problem(str(root), "an address: a page reads stores that lie beside it", "fetch it first"))
    path = os.path.relpath(os.path.abspath(root), os.path.abspath(folder))
    if path.split(os.sep)[0] in (os.pardir, os.curdir):
        what = f"is not in {folder}, which has to hold the stores that its page shows"
        parent = os.path.commonpath([os.path.abspath(folder), os.path.dirname(os.path.abspath(root))])
        raise OptionError(Problem(str(root), what, f"choose a folder that holds them, such as {parent}"))
    return f"{quote(path)}/"

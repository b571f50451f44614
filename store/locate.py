"""Where a store is that a person names: a folder, an address, or a store of obstore."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from glob import glob
from pathlib import Path
from types import NoneType
from typing import Any

from .arguments import check_type, refuse
from .bucket import Bucket
from .errors import OptionError, Problem, ResourceError
from .folder import StoreFolder, stores_in
from .layout import SUFFIX
from .objects import Connection, can_list, connect, connection_of, folders
from .paths import Address, address_in, read_path
from .place import StorePlace
from .shard_cache import ShardCache

_SCHEMES = re.compile(r"(s3a?|gs|az|azure|abfss?|https?):/", re.IGNORECASE)
Given = Path | Address | str | Any
"""A folder, an address, or a store of obstore."""
Options = Mapping[str, Any] | None
"""How an address is reached, in the names of obstore."""


def locate(given: Given, options: Options = None, name: str = "path", cache: ShardCache | None = None) -> StorePlace:
    """Return where a store is.

    Parameters
    ----------
    given
        Folder of a store, as `read_path` reads it; its address, such as ``s3://bucket/mouse.zarr``; or a store of
        obstore whose prefix it is.
    options
        How an address is reached, in the names of obstore.
    name
        Name of the argument, for the error.
    cache
        Where shards are kept on disk, of what is not there anyway.

    Raises
    ------
    OptionError
        Neither a store, a path nor an address; or an address with a secret in it.
    """
    if isinstance(given, (StoreFolder, Bucket)):
        return given
    found = _find(given, options, name)
    return StoreFolder(found) if isinstance(found, Path) else Bucket(found, cache)


def locate_all(
    given: Given, options: Options = None, name: str = "paths", cache: ShardCache | None = None
) -> list[StorePlace]:
    """Return the stores in a folder or below an address, or those that fit a pattern, by name; of a store, that alone.

    Parameters
    ----------
    given
        As in `locate`; or with wildcards, such as ``stores/dynamic*.zarr``: in the last part only, of an address.
    options, name, cache
        As in `locate`.

    Raises
    ------
    OptionError
        No store is there, or the address cannot be listed.
    """
    found = _find(given, options, name)
    if isinstance(found, Path):
        return [StoreFolder(path) for path in _stores_in(found)]
    label, pattern = str(found.address), f"*{SUFFIX}"
    if _has_wildcards(found.address.name):
        pattern, found = found.address.name, connect(found.address.parent, options)
    elif found.address.name.endswith(SUFFIX):
        return [Bucket(found, cache)]
    if not can_list(found):
        raise OptionError(Problem(label, "web servers do not say which stores there are", "give the address of each"))
    names = [one for one in folders(found) if one.endswith(SUFFIX) and fnmatchcase(one, pattern)]
    if not names:
        raise OptionError(Problem(label, f"no stores (expected names that end in {SUFFIX})", "check the address"))
    return [Bucket(found.below(one), cache) for one in names]


def named_stores(given: Path | Address) -> list[Path | Address]:
    """Return the stores that a person means, as `locate_all` does; of none, what was given: opening it says why.

    Examples
    --------
    >>> named_stores(Path("no/such*.zarr"))
    [PosixPath('no/such*.zarr')]
    """
    try:
        return [place.root for place in locate_all(given)]
    except (OptionError, ResourceError):
        return [given]


def read_store(given: str | os.PathLike[str], name: str = "store") -> Path | Address:
    """Return the folder or the address of a store that a person means; errors as in `locate`."""
    check_type(name, given, (str, os.PathLike), "a path")
    text = str(os.fspath(given))
    known = _SCHEMES.match(text) and address_in(text)
    return Address(_checked(text.rstrip("/"))) if known else read_path(given, name)


def _find(given: Given, options: Options, name: str) -> Path | Connection:
    check_type("storage_options", options, (Mapping, NoneType), "a mapping from names to values")
    if type(given).__module__.partition(".")[0] == "obstore" or type(given).__module__ == "builtins.obstore":
        return connection_of(given)
    place = given if isinstance(given, Address) else _read(given, name)
    if isinstance(place, Address):
        return connect(place, options)
    if options:
        raise OptionError(Problem(str(place), "storage_options are for addresses, and this is a folder"))
    return place


def _read(given: Any, name: str) -> Path | Address:
    check_type(name, given, (str, os.PathLike), "a path, an address, or a store of obstore")
    return read_store(given, name)


def _checked(url: str) -> str:
    """Return an address, unless a password or a signature is in it, which messages would show."""
    plain = re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", url)[0])
    if plain != url:
        what = "an address with a user, a query or a fragment in it, which would be shown"
        raise OptionError(Problem(plain, what, "give what is secret as storage_options"))
    if not re.match(r"[A-Za-z0-9+.-]+://[^/]", url):
        refuse("path", "an address such as 's3://bucket/mouse.zarr'", url)
    return url


def _has_wildcards(text: str) -> bool:
    return any(sign in text for sign in "*?[")


def _stores_in(folder: Path) -> list[Path]:
    if _has_wildcards(str(folder)) and not os.path.lexists(folder):
        fitting = [Path(one) for one in sorted(glob(str(folder)))]
        found = [store for one in fitting for store in ([one] if one.suffix == SUFFIX else stores_in(one))]
        if not found:
            raise OptionError(Problem(str(folder), "no store fits this pattern", "check it"))
        return found
    if folder.suffix == SUFFIX:
        return [folder]
    if not folder.is_dir():
        raise OptionError(Problem(str(folder), "no such folder", "check the path"))
    found = stores_in(folder)
    if not found:
        raise OptionError(Problem(str(folder), f"no stores (expected folders named *{SUFFIX})", "check the path"))
    return found

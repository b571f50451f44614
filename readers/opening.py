"""Open stores, and summarize what is in one."""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from types import NoneType
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ..store import (
    CorruptStoreError,
    OptionError,
    Problem,
    ResourceError,
    StoreFormatError,
    StoreIndex,
    TrialpackError,
    check_full,
    check_quick,
    layout,
)
from ..store.arguments import check_bytes, check_choice, check_type
from ..store.locate import Given, Options, locate, locate_all
from ..store.manifest import VALUES_ALGORITHM
from ..store.paths import read_path
from ..store.place import StorePlace
from ..store.shard_cache import ShardCache
from ..store.tasks import Threads, available_cores
from .leaks import describe_leaks, find_leaks
from .mouse import Mice, Mouse
from .recording import Recording, recording_of

Check = Literal["quick", "full"]
_AT_ONCE = 8
"""Stores that are opened at once: where files are far away, most of the time is waiting."""
DEFAULT_CACHE_LIMIT = "100GiB"


def open_mouse(
    path: Given,
    check: Check = "quick",
    *,
    storage_options: Options = None,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_limit: int | str = DEFAULT_CACHE_LIMIT,
    digest: str | None = None,
) -> Mouse:
    """Open a store.

    Parameters
    ----------
    path
        Folder of the store, ``<mouse>.zarr``; its address, such as ``s3://bucket/<mouse>.zarr`` (``gs://``, ``az://``,
        ``https://``); or a store of obstore whose prefix it is. See ``docs/remote.md``.
    check
        ``quick``: names and sizes of all files, and the content of all metadata; milliseconds. ``full``: every byte
        and every value.
    storage_options
        How an address is reached, as `obstore.store.from_url` takes it; what is not given comes from the environment.
        Secrets stay in this process.
    cache_dir
        Folder on a local disk in which shards of addresses are kept, whole, as they are first needed; processes share
        it.
    cache_limit
        Bytes of all files in it; those that were used least lately make room.
    digest
        ``mouse.index.manifest.digest`` of the same store, as another process opened it: it has to be of that version,
        whose names and sizes are then not checked again. Saves time on network file systems.

    Raises
    ------
    StoreFormatError
        Not a trialpack store, an unfinished one, or one of an unknown format version.
    CorruptStoreError
        Its files are not what its manifest says; every problem is named.
    ResourceError
        The system does not let it be read: no permission, or too many open files; or it cannot be reached.
    OptionError
        There is no such check; or no such address or option.

    Warns
    -----
    UserWarning
        Codecs are none that the format names; zarr-python decodes them, slowly.

    Examples
    --------
    >>> from trialpack import open_mouse
    >>> open_mouse("no/such.zarr")
    Traceback (most recent call last):
        ...
    trialpack.store.errors.StoreFormatError: no/such.zarr: no such store; check the path
    """
    check_choice("check", check, get_args(Check))
    check_type("digest", digest, (str, NoneType), "the digest of a manifest")
    return _open(locate(path, storage_options, cache=_cache(cache_dir, cache_limit)), check, digest)


def _cache(folder: str | os.PathLike[str] | None, limit: int | str) -> ShardCache | None:
    if folder is None and limit == DEFAULT_CACHE_LIMIT:
        return None
    nbytes = check_bytes("cache_limit", limit)
    return None if folder is None else ShardCache(read_path(folder, "cache_dir").absolute(), nbytes)


def _open(place: StorePlace, check: Check, digest: str | None = None) -> Mouse:
    index = check_quick(place, digest) if check == "quick" else check_full(place, workers=available_cores())
    if slow := [array.path for array in index.recorded if array.codec.compressor == "other"]:
        what = "has codecs that trialpack leaves to zarr-python: right, but slow"
        warnings.warn(f"{place.root}: {', '.join(slow)} {what}", stacklevel=3)
    return Mouse(index)


def open_mice(
    paths: Given | Sequence[Given],
    check: Check = "quick",
    *,
    storage_options: Options = None,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_limit: int | str = DEFAULT_CACHE_LIMIT,
) -> list[Mouse]:
    """Open several stores.

    Parameters
    ----------
    paths
        Stores, or one folder or address that holds them.
    check, storage_options, cache_dir, cache_limit
        As in `open_mouse`.

    Returns
    -------
    list of Mouse
        In the order given; of a folder, by name.

    Raises
    ------
    OptionError
        The folder holds no store.
    StoreFormatError, CorruptStoreError, ResourceError
        As `open_mouse`, with the problems of all stores; of the type of the first.
    """
    check_choice("check", check, get_args(Check))
    stores = _places(paths, storage_options, _cache(cache_dir, cache_limit))
    if not stores:
        raise OptionError(Problem("open_mice", "no stores are given", "give at least one, or a folder of them"))
    # To check one store in full takes all cores.
    threads = Threads(min(_AT_ONCE, len(stores)) if check == "quick" else 0)
    found = threads.run(partial(_opened, store, check) for store in stores)
    errors = [one for one in found if not isinstance(one, Mouse)]
    if errors:
        raise type(errors[0])(problem for error in errors for problem in error.problems)
    return Mice(one for one in found if isinstance(one, Mouse))


def _opened(store: StorePlace, check: Check) -> Mouse | TrialpackError:
    """Return a mouse, or what is wrong with its store."""
    try:
        return _open(store, check)
    except (StoreFormatError, CorruptStoreError, ResourceError) as error:
        return error


def _places(paths: Any, options: Options, cache: ShardCache | None) -> list[StorePlace]:
    if isinstance(paths, Iterable) and not isinstance(paths, str):
        return [locate(path, options, "paths", cache) for path in cast("Iterable[Given]", paths)]
    return locate_all(paths, options, cache=cache)


def summarize(store: Given) -> dict[str, Any]:
    """Return the summary of a store as a JSON document.

    Parameters
    ----------
    store
        As the path of `open_mouse`.

    Returns
    -------
    dict
        Mouse, kind, precision, bounds on errors, codec; software versions; variables, and how many trials have each;
        trials by tier, neurons, frames; for each array shape, dtype, chunk and bytes; which statistics there are;
        stimuli that are shown both in train and in another tier; digests.

    Raises
    ------
    StoreFormatError, CorruptStoreError
        It is not a store, or its files are not what its manifest says.
    """
    return describe_store(check_quick(locate(store, name="store")))


def describe_store(index: StoreIndex) -> dict[str, Any]:
    """Return the summary of an open store; see `summarize`."""
    return {
        **outline_store(index),
        "arrays": [_describe(index, path) for path in sorted(index.arrays)],
        "leaks": describe_leaks(find_leaks([index])),
    }


def outline_store(index: StoreIndex) -> dict[str, Any]:
    """Return what `describe_store` does, but for single arrays and leaks, which take most of the time."""
    facts, recording = index.attributes, recording_of(index)
    return {
        "store": str(index.root),
        **{key: facts[key] for key in _FACTS},
        "software": dict(index.software),
        layout.A_VARIABLES: facts[layout.A_VARIABLES],
        layout.A_MAX_ERROR: {name: bound.document for name, bound in index.bounds.items()},
        "trials": recording.trials_by_tier,
        "trials_with": _trials_with(recording),
        "frames_by_trial": _frames(recording.n_frames),
        "file_frames_by_trial": _frames(recording.n_file_frames),
        "withheld": int(recording.withheld.sum()),
        **_sizes(index),
        "bytes_source": facts[layout.A_SOURCE]["bytes"],
        "bytes_store": index.nbytes,
        "files_source": facts[layout.A_SOURCE]["files"],
        "files_store": index.n_files,
        "ratio": round(index.nbytes / facts[layout.A_SOURCE]["bytes"], 4),
        "statistics": _statistics(index),
        "check": "names, sizes and metadata agree with the manifest",
        "digests": {"files": "sha256", "values": VALUES_ALGORITHM, "manifest": index.manifest.digest},
    }


_FACTS = (
    layout.A_MOUSE,
    layout.A_LETTER,
    layout.A_KIND,
    layout.A_PRECISION,
    layout.A_CODEC,
    layout.A_FORMAT,
    layout.A_STORE_ID,
    layout.A_SOURCE,
    layout.A_WARNINGS,
)


def _trials_with(recording: Recording) -> dict[str, int]:
    """Return for each variable in how many trials it was recorded; withheld responses are left out."""
    rows = np.arange(len(recording.trial_ids))
    return {variable.name: len(recording.given(variable.name, rows)) for variable in recording.variables}


def _frames(lengths: NDArray[np.int32] | None) -> dict[str, int] | None:
    """Return how many trials have how many frames; None where there are no frames, or all files have as many."""
    if lengths is None:
        return None
    return {str(n): count for n, count in sorted(Counter(lengths.tolist()).items())}


def _statistics(index: StoreIndex) -> dict[str, Any]:
    """List the statistics: of how many train trials, and which groups came with the source."""
    source = f"{layout.SOURCE_STATISTICS}/"
    published = {path.removeprefix(source).rpartition("/")[0] for path in index.arrays if path.startswith(source)}
    trials = index.arrays.get(layout.STATISTICS_TRIAL_ID)
    return {"train_trials": trials.shape[0] if trials else None, "source": sorted(published)}


def _sizes(index: StoreIndex) -> dict[str, int]:
    """Return the size of every dimension that the recorded variables share."""
    sizes = dict[str, int]()
    for array in index.recorded:
        sizes |= dict(zip(array.dimensions, array.shape, strict=True))
    names = {layout.NEURON: "neurons", layout.FRAME: "frames"}
    return {label: sizes[name] for name, label in names.items() if name in sizes}


def _describe(index: StoreIndex, path: str) -> dict[str, Any]:
    array = index.arrays[path]
    return {
        "path": path,
        "shape": list(array.shape),
        "dtype": array.dtype,
        "chunk": list(array.chunk),
        "compressor": array.codec.compressor,
        "bytes_raw": math.prod(array.shape) * array.numpy_dtype.itemsize,
        "bytes_stored": index.stored_nbytes(path),
    }

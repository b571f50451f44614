"""Open stores, and summarize what is in one."""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

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
from ..store.arguments import check_choice, check_type
from ..store.folder import stores_in
from ..store.manifest import VALUES_ALGORITHM
from ..store.paths import read_path
from ..store.tasks import Threads, available_cores
from .leaks import describe_leaks, find_leaks
from .mouse import Mouse
from .recording import Recording, recording_of

Check = Literal["quick", "full"]
_AT_ONCE = 8
"""Stores that are opened at once: where files are far away, most of the time is waiting."""


def open_mouse(path: Path | str, check: Check = "quick") -> Mouse:
    """Open a store.

    Parameters
    ----------
    path
        Folder of the store, ``<mouse>.zarr``.
    check
        ``quick``: names and sizes of all files, and the content of all metadata; milliseconds. ``full``: every byte
        and every value.

    Raises
    ------
    StoreFormatError
        Not a trialpack store, an unfinished one, or one of an unknown format version.
    CorruptStoreError
        Its files are not what its manifest says; every problem is named.
    ResourceError
        The system does not let it be read: no permission, or too many open files.
    OptionError
        There is no such check; or the path is an address, such as of a bucket: stores are read as files.

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
    root = read_path(path)
    check_choice("check", check, get_args(Check))
    index = check_quick(root) if check == "quick" else check_full(root, workers=available_cores())
    if slow := [array.path for array in index.recorded if array.codec.compressor == "other"]:
        what = "has codecs that trialpack leaves to zarr-python: right, but slow"
        warnings.warn(f"{path}: {', '.join(slow)} {what}", stacklevel=2)
    return Mouse(index)


def open_mice(paths: Path | str | Sequence[Path | str], check: Check = "quick") -> list[Mouse]:
    """Open several stores.

    Parameters
    ----------
    paths
        Stores, or one folder that holds them.
    check
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
    check_type("paths", paths, (str, os.PathLike, Iterable), "stores, or a folder of them")
    stores = _stores(read_path(paths)) if isinstance(paths, (str, os.PathLike)) else list(map(read_path, paths))
    if not stores:
        raise OptionError(Problem("open_mice", "no stores are given", "give at least one, or a folder of them"))
    # To check one store in full takes all cores.
    threads = Threads(min(_AT_ONCE, len(stores)) if check == "quick" else 0)
    found = threads.run(partial(_opened, store, check) for store in stores)
    errors = [one for one in found if not isinstance(one, Mouse)]
    if errors:
        raise type(errors[0])(problem for error in errors for problem in error.problems)
    return [one for one in found if isinstance(one, Mouse)]


def _opened(store: Path, check: Check) -> Mouse | TrialpackError:
    """Return a mouse, or what is wrong with its store."""
    try:
        return open_mouse(store, check)
    except (StoreFormatError, CorruptStoreError, ResourceError) as error:
        return error


def _stores(folder: Path) -> list[Path]:
    if folder.suffix == layout.SUFFIX:
        return [folder]
    if not folder.is_dir():
        raise OptionError(Problem(str(folder), "no such folder", "check the path"))
    found = stores_in(folder)
    if not found:
        problem = Problem(str(folder), f"no stores (expected folders named *{layout.SUFFIX})", "check the path")
        raise OptionError(problem)
    return found


def summarize(store: Path | str) -> dict[str, Any]:
    """Return what is in a store as a JSON document.

    Parameters
    ----------
    store
        Folder of the store.

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
    return describe_store(check_quick(read_path(store, "store")))


def describe_store(index: StoreIndex) -> dict[str, Any]:
    """Return what is in a store that is open; see `summarize`."""
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
        "arrays": [_describe(index, path) for path in sorted(index.arrays)],
        "bytes_source": facts[layout.A_SOURCE]["bytes"],
        "bytes_store": index.nbytes,
        "files_source": facts[layout.A_SOURCE]["files"],
        "files_store": index.n_files,
        "ratio": round(index.nbytes / facts[layout.A_SOURCE]["bytes"], 4),
        "statistics": _statistics(index),
        "leaks": describe_leaks(find_leaks([index])),
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

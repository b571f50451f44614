"""What is in a store, at a glance: from metadata and the manifest, without reading data."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store import StoreIndex, check_quick, layout
from ..store.manifest import VALUES_ALGORITHM
from .recording import Recording, recording_of


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
        digests.

    Raises
    ------
    StoreFormatError, CorruptStoreError
        It is not a store, or its files are not what its manifest says.
    """
    index = check_quick(Path(store))
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

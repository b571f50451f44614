"""Tables of trials and of neurons: every array of the source's metadata as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..store import StoreIndex, layout
from .recording import Recording

if TYPE_CHECKING:
    import pandas as pd

POSITION = "position"


def trial_columns(index: StoreIndex, recording: Recording) -> dict[str, NDArray[Any]]:
    """Return the columns of the table of trials, each (n_trials,), in the order of the store's rows.

    Notes
    -----
    Arrays of ``meta/trials`` have one entry for each number that a file could have; the columns have only those of the
    trials that exist. Of an array with more axes, each component is a column: ``name_0``, ``name_1``, … A name that is
    taken gets ``meta_`` before it.
    """
    own = {
        layout.TRIAL_ID: recording.trial_ids,
        layout.TIER: recording.tiers,
        layout.N_FRAMES: recording.n_frames,
        layout.WITHHELD: recording.withheld,
        **{f"{layout.HAS}{name}": ~lacking for name, lacking in recording.lacking.items()},
    }
    columns = {name: values for name, values in own.items() if values is not None}
    for name, values in _source_arrays(index, layout.TRIALS, layout.FILE_NUMBER):
        _add(columns, name, values[recording.trial_ids])
    return columns


def neuron_columns(index: StoreIndex, n_neurons: int) -> dict[str, NDArray[Any]]:
    """Return the columns of the table of neurons, each (n_neurons,), in the order of the neuron axis."""
    columns: dict[str, NDArray[Any]] = {POSITION: np.arange(n_neurons)}
    for name, values in _source_arrays(index, layout.NEURONS, layout.NEURON):
        _add(columns, name, values)
    return columns


def as_table(columns: dict[str, NDArray[Any]], by: str) -> pd.DataFrame:
    """Return columns as a table, indexed by one of them."""
    import pandas as pd

    return pd.DataFrame(columns).set_index(by)


def _source_arrays(index: StoreIndex, group: str, dimension: str) -> list[tuple[str, NDArray[Any]]]:
    """Return name and values of the arrays of a group whose first axis is a dimension."""
    arrays = [array for path, array in sorted(index.arrays.items()) if path.startswith(f"{group}/")]
    return [
        (array.path.removeprefix(f"{group}/"), with_source_dtype(index.small(array.path), array.attributes))
        for array in arrays
        if array.dimensions[:1] == (dimension,)
    ]


def with_source_dtype(values: NDArray[Any], attributes: Any) -> NDArray[Any]:
    """Return values with the dtype of the source, where the store holds them as integers: dates and byte strings."""
    dtype = np.dtype(attributes[layout.A_SOURCE_DTYPE])
    if dtype.kind == "S":
        return np.ascontiguousarray(values).view(f"S{dtype.itemsize}")[..., 0]
    # Dates without a unit are numbers to anybody but numpy.
    dated = dtype.kind in "mM" and np.datetime_data(dtype)[0] != "generic"
    return values.view(dtype.newbyteorder("=")) if dated else values


def _add(columns: dict[str, NDArray[Any]], name: str, values: NDArray[Any]) -> None:
    """Add an array as columns, under names that are not taken yet."""
    flat = values.reshape(len(values), -1)
    for place in range(flat.shape[1]):
        free = name if values.ndim == 1 else f"{name}_{place}"
        while free in columns:
            free = f"meta_{free}"
        columns[free] = flat[:, place]

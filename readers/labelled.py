"""Recorded variables as an xarray data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..store import StoreIndex, layout

_FACTS = (layout.A_MOUSE, layout.A_LETTER, layout.A_KIND, layout.A_PRECISION, layout.A_STORE_ID)
_ATTRIBUTES = (layout.A_UNITS, layout.A_LONG_NAME)


def data_set(
    index: StoreIndex, variables: Mapping[str, Any], coordinates: Mapping[str, Mapping[str, NDArray[Any]]]
) -> xr.Dataset:
    """Return arrays with names, units and coordinates.

    Parameters
    ----------
    variables
        Name of a recorded variable -> array.
    coordinates
        Dimension -> name -> (n,) values along it. A name that means something else, too, gets the dimension before it.
    """
    data = {
        name: (index.arrays[name].dimensions, values, _attributes(index, name)) for name, values in variables.items()
    }
    taken = Counter(name for named in coordinates.values() for name in named)
    taken.update(data.keys() | {name for array in index.recorded for name in array.dimensions})
    indexes = {layout.TRIAL: {layout.TRIAL_ID}, layout.NEURON: set[str]()}
    labels = {
        (name if taken[name] == 1 or name in indexes[dimension] else f"{dimension}_{name}"): (dimension, values)
        for dimension, named in coordinates.items()
        for name, values in named.items()
    }
    labels[layout.TRIAL] = (layout.TRIAL, coordinates[layout.TRIAL][layout.TRIAL_ID])
    for variable in index.variables:
        if variable.channels and variable.channel_dimension is not None:
            channels = np.array([one.name for one in variable.channels])
            labels[variable.channel_dimension] = (variable.channel_dimension, channels)
    facts = {name: index.attributes[name] for name in _FACTS if index.attributes[name]}
    return xr.Dataset(data, labels, facts).set_xindex(layout.TRIAL_ID)


def _attributes(index: StoreIndex, name: str) -> dict[str, Any]:
    attributes = index.arrays[name].attributes
    return {key: attributes[key] for key in _ATTRIBUTES if key in attributes}

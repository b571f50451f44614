"""Recorded variables as an xarray data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..store import StoreIndex, layout
from ..store.variables import Channel, Variable

_FACTS = (layout.A_MOUSE, layout.A_LETTER, layout.A_KIND, layout.A_PRECISION, layout.A_STORE_ID)
_ATTRIBUTES = (layout.A_UNITS, layout.A_LONG_NAME)
TIME = "time"
_TIME_ATTRIBUTES = {layout.A_UNITS: "s", layout.A_LONG_NAME: "time from the first frame of the trial"}


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

    Notes
    -----
    Channels are labelled with their names, and have their units as the coordinate ``<dimension>_units``; frames have
    their ``time`` in seconds, where the frame rate is known.
    """
    coordinates = {**coordinates, **_channels(index.variables), **_times(index)}
    data = {
        name: (index.arrays[name].dimensions, values, _attributes(index, name)) for name, values in variables.items()
    }
    taken = Counter(name for named in coordinates.values() for name in named)
    taken.update(data.keys() | {name for array in index.recorded for name in array.dimensions})
    indexes = {layout.TRIAL: layout.TRIAL_ID}
    labels = {
        (name if taken[name] == 1 or name in (indexes.get(dimension), dimension) else f"{dimension}_{name}"): (
            dimension,
            values,
        )
        for dimension, named in coordinates.items()
        for name, values in named.items()
    }
    labels[layout.TRIAL] = (layout.TRIAL, coordinates[layout.TRIAL][layout.TRIAL_ID])
    facts = {name: index.attributes[name] for name in _FACTS if index.attributes[name]}
    found = xr.Dataset(data, labels, facts).set_xindex(layout.TRIAL_ID)
    for name, (dimension, _) in labels.items():
        if dimension == layout.FRAME:
            found[name].attrs.update(_TIME_ATTRIBUTES)
    return found


def _attributes(index: StoreIndex, name: str) -> dict[str, Any]:
    attributes = index.arrays[name].attributes
    return {key: attributes[key] for key in _ATTRIBUTES if key in attributes}


def _channels(variables: Sequence[Variable]) -> dict[str, dict[str, NDArray[Any]]]:
    """Return names and units along the dimensions of channels; none where two variables name them differently."""
    found = dict[str, set[tuple[Channel, ...]]]()
    for variable in variables:
        if variable.channels and variable.channel_dimension is not None:
            found.setdefault(variable.channel_dimension, set()).add(variable.channels)
    return {
        dimension: {
            dimension: np.array([one.name for one in channels]),
            f"{dimension}_units": np.array([one.units for one in channels]),
        }
        for dimension, (channels, *others) in ((name, tuple(one)) for name, one in found.items())
        if not others
    }


def _times(index: StoreIndex) -> dict[str, dict[str, Any]]:
    """Return the seconds from the first frame of a trial, where there are frames of one known rate."""
    rates = {one.frame_rate for one in index.variables if one.frame_rate is not None}
    sizes = {name: size for one in index.recorded for name, size in zip(one.dimensions, one.shape, strict=True)}
    if len(rates) != 1 or layout.FRAME not in sizes:
        return {}
    return {layout.FRAME: {TIME: np.arange(sizes[layout.FRAME]) / rates.pop()}}

"""Tables of trials and neurons, labelled data sets, and what notebooks show of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..store import StoreIndex, layout
from ..store.variables import Channel, Variable, frame_rate_of
from .recording import Recording
from .selection import POSITION
from .stimuli import stimulus_ids
from .texts import parsed

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

STIMULUS_ID = "stimulus_id"


def trial_columns(index: StoreIndex, recording: Recording) -> dict[str, NDArray[Any]]:
    """Return the columns of the table of trials, each (n_trials,), in the order of the store's rows.

    Notes
    -----
    Arrays of ``meta/trials`` have one entry for each number that a file could have; the columns have only those of the
    trials that exist. Of an array with more axes, each component is a column: ``name_0``, ``name_1``, … A name that is
    taken gets ``meta_`` before it; see `_as_column` for dates.
    """
    own = {
        layout.TRIAL_ID: recording.trial_ids,
        layout.TIER: recording.tiers,
        layout.N_FRAMES: recording.n_frames,
        layout.WITHHELD: recording.withheld,
        **{f"{layout.HAS}{name}": ~lacking for name, lacking in recording.lacking.items()},
        STIMULUS_ID: stimulus_ids(index, recording),
    }
    columns = {name: values for name, values in own.items() if values is not None}
    for name, values in _source_arrays(index, layout.TRIALS, layout.FILE_NUMBER).items():
        _add(columns, name, values[recording.trial_ids])
    return columns


def neuron_columns(index: StoreIndex, n_neurons: int) -> dict[str, NDArray[Any]]:
    """Return the columns of the table of neurons, each (n_neurons,), in the order of the neuron axis."""
    columns: dict[str, NDArray[Any]] = {POSITION: np.arange(n_neurons)}
    for name, values in _source_arrays(index, layout.NEURONS, layout.NEURON).items():
        _add(columns, name, values)
    return columns


def as_table(columns: dict[str, NDArray[Any]], by: str) -> pd.DataFrame:
    """Return columns as a table, indexed by one of them; texts as the numbers, times or truth values in them."""
    import pandas as pd

    return pd.DataFrame({name: parsed(values) for name, values in columns.items()}).set_index(by)


def source_paths(index: StoreIndex, group: str, dimension: str) -> dict[str, str]:
    """Return name and path of the source's arrays in a group whose first axis is a dimension, in alphabetical order."""
    own = [array for path, array in sorted(index.arrays.items()) if path.startswith(f"{group}/")]
    return {array.path.removeprefix(f"{group}/"): array.path for array in own if array.dimensions[:1] == (dimension,)}


def _source_arrays(index: StoreIndex, group: str, dimension: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of `source_paths`, with the dtype that they have in the source."""
    paths = source_paths(index, group, dimension)
    read = index.smalls(paths.values())
    return {name: with_source_dtype(read[path], index.arrays[path].attributes) for name, path in paths.items()}


def source_array(index: StoreIndex, path: str) -> NDArray[Any]:
    """Read one of the source's arrays, whole, with the dtype that it has there."""
    return with_source_dtype(index.small(path), index.arrays[path].attributes)


def with_source_dtype(values: NDArray[Any], attributes: Any) -> NDArray[Any]:
    """Return values with the dtype of the source, where the store holds them as integers: dates and byte strings."""
    dtype = np.dtype(attributes[layout.A_SOURCE_DTYPE])
    if dtype.kind == "S":
        return np.ascontiguousarray(values).view(f"S{dtype.itemsize}")[..., 0]
    # Dates without a unit are numbers to anybody but numpy.
    dated = dtype.kind in "mM" and np.datetime_data(dtype)[0] != "generic"
    return values.view(dtype.newbyteorder("=")) if dated else values


_COARSE = {"datetime64": {"Y", "M", "W", "D", "h", "m"}, "timedelta64": {"W", "D", "h", "m"}}
_EXACT = {"s", "ms", "us", "ns"}
"""Units of dates and durations: pandas and xarray have only the latter, and make seconds of the former."""


def _as_column(name: str, values: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return name and values of a column as pandas and xarray can have them without loss.

    Dates and durations for which they have no unit are integers, named after it: ``took_10ps``, ``at_ps_since_1970``.
    """
    if values.dtype.kind not in "mM":
        return name, values
    unit, count = np.datetime_data(values.dtype)
    if unit in _EXACT | _COARSE[values.dtype.type.__name__]:
        exact = _in_unit(values, unit if unit in _EXACT else "s")
        # Durations of more than 292 years cannot be shown by xarray, which makes nanoseconds of them.
        if exact is not None and (values.dtype.kind == "M" or _in_unit(values, "ns") is not None):
            return name, values if count == 1 else exact
    since = "_since_1970" if values.dtype.kind == "M" else ""
    return f"{name}_{'' if count == 1 else count}{unit}{since}", values.view(np.int64)


def _in_unit(values: NDArray[Any], unit: str) -> NDArray[Any] | None:
    """Return dates or durations in another unit; None where it does not hold them all."""
    # What is too large comes back as something else, or from numpy 2.5 on not at all.
    try:
        other = values.astype(f"{values.dtype.kind}8[{unit}]")
        back = other.astype(values.dtype)
    except OverflowError:
        return None
    return other if np.array_equal(back.view(np.int64), values.view(np.int64)) else None


def _add(columns: dict[str, NDArray[Any]], name: str, values: NDArray[Any]) -> None:
    """Add an array as columns, under names that are not taken yet."""
    name, values = _as_column(name, values)
    flat = values.reshape(len(values), -1)
    for place in range(flat.shape[1]):
        free = name if values.ndim == 1 else f"{name}_{place}"
        while free in columns:
            free = f"meta_{free}"
        columns[free] = flat[:, place]


def html_table(title: str, headings: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table as HTML; everything in it is text.

    Examples
    --------
    >>> html_table("A < B", ["n"], [[1]])
    '<div><b>A &lt; B</b><table><tr><th>n</th></tr><tr><td>1</td></tr></table></div>'
    """
    lines = [_row("th", headings), *(_row("td", row) for row in rows)]
    return f"<div><b>{escape(title)}</b><table>{''.join(lines)}</table></div>"


def arrays_html(title: str, arrays: Mapping[str, Any]) -> str:
    """Return names, shapes and dtypes of arrays or tensors as an HTML table."""
    rows = [
        [name, " × ".join(map(str, array.shape)), str(array.dtype).removeprefix("torch.")]
        for name, array in arrays.items()
        if hasattr(array, "shape")
    ]
    return html_table(title, ["name", "shape", "dtype"], rows)


def _row(cell: str, texts: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{cell}>{escape(str(text))}</{cell}>' for text in texts)}</tr>"


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
    import xarray as xr

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
    rate = frame_rate_of(index.variables)
    if rate is None:
        return {}
    sizes = {name: size for one in index.recorded for name, size in zip(one.dimensions, one.shape, strict=True)}
    return {layout.FRAME: {TIME: np.arange(sizes[layout.FRAME]) / rate}}

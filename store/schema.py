"""Checks of what the metadata of every store must say, so that readers can rely on it."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any, cast, get_args

import numpy as np

from . import layout
from .bounds import parse_bound
from .layout import ArrayLayout, Precision
from .variables import DTYPES, Role, Variable, kind_of, parse_variable, recording_problems

_ROOT: Mapping[str, type | tuple[type, ...]] = {
    layout.A_STORE_ID: str,
    layout.A_MOUSE: str,
    layout.A_LETTER: (str, type(None)),
    layout.A_KIND: str,
    layout.A_PRECISION: str,
    layout.A_CODEC: str,
    layout.A_CONFIG: (str, type(None)),
    layout.A_SOURCE: dict,
    layout.A_SCHEMA: (str, type(None)),
    layout.A_VARIABLES: list,
    layout.A_WARNINGS: list,
}
_SOURCE = {"name": str, "files": int, "bytes": int}


def are_root_attributes(found: Mapping[str, Any]) -> bool:
    """Return whether the attributes of a root group are all there, and of their types."""
    if not found.keys() >= layout.ROOT_ATTRIBUTES or not _are_of(found, _ROOT):
        return False
    variables = parse_variables(found[layout.A_VARIABLES])
    chosen = (
        (found[layout.A_KIND], {kind_of(variables)} if variables else ()),
        (found[layout.A_PRECISION], get_args(Precision)),
        (found[layout.A_CODEC], layout.CODECS),
    )
    return (
        all(value in values for value, values in chosen)
        and is_plain_name(found[layout.A_MOUSE])
        and _are_of(found[layout.A_SOURCE], _SOURCE)
        and _are_texts(found[layout.A_WARNINGS])
        and type(found[layout.A_ROWS_PER_SHARD]) is int
        and are_bounds(found.get(layout.A_MAX_ERROR))
    )


def parse_variables(documents: Any) -> tuple[Variable, ...]:
    """Return the variables that a root's metadata lists; none at all unless they are a recording's, by role."""
    return _parse_text(json.dumps(documents))


@functools.lru_cache(maxsize=32)
def _parse_text(text: str) -> tuple[Variable, ...]:
    """Parse variables; cached, since each opening asks more than once."""
    found = [parse_variable(document) for document in cast("list[Any]", json.loads(text))]
    variables = tuple(variable for variable in found if variable is not None)
    # Within a role any order will do: which variables are known by name is not the same in every version.
    roles = [get_args(Role).index(variable.role) for variable in variables]
    sound = len(variables) == len(found) and roles == sorted(roles) and not recording_problems(variables)
    return variables if sound else ()


def is_plain_name(text: str) -> bool:
    """Return whether a text names a file in a folder, and nothing elsewhere: an export makes files of such names.

    Examples
    --------
    >>> is_plain_name("mouse 1"), is_plain_name(".."), is_plain_name("a/b")
    (True, False, False)
    """
    return text not in ("", ".", "..") and "/" not in text and "\0" not in text


def are_bounds(found: Any) -> bool:
    """Return whether the root's bounds on errors are absent, or such as this format writes."""
    try:
        return found is None or bool(found) and all(parse_bound(one).document == one for one in found.values())
    except (ValueError, AttributeError):
        return False


def are_array_attributes(found: Any, array: ArrayLayout) -> bool:
    """Return whether the attributes of an array that mean something to readers can be those of such an array."""
    if not isinstance(found, dict):
        return False
    attributes = cast("dict[str, Any]", found)
    texts = (layout.A_UNITS, layout.A_LONG_NAME, layout.A_SOURCE_NAME)
    return (
        _are_texts(attributes[name] for name in texts if name in attributes)
        and (layout.A_SOURCE_NAME not in attributes or _is_below_meta(attributes[layout.A_SOURCE_NAME]))
        and isinstance(attributes.get(layout.A_SOURCE_FORTRAN, False), bool)
        and (layout.A_SOURCE_DTYPE not in attributes or _is_source_dtype(attributes[layout.A_SOURCE_DTYPE], array))
        and (layout.A_HEADERS not in attributes or _are_headers(attributes, array))
    )


def schema_violations(attributes: Mapping[str, Any], arrays: Mapping[str, ArrayLayout]) -> Iterator[str]:
    """Yield the paths of arrays that are not as every store of this format has them."""
    variables = {variable.name: variable for variable in parse_variables(attributes[layout.A_VARIABLES])}
    coordinates = {one.path for one in _coordinates(variables, arrays, 0)}
    for path, array in arrays.items():
        in_table = path.split("/")[0] in (layout.TRIALS, layout.NEURONS) and path not in coordinates
        if (array.shard is not None) != (path in variables) or (
            in_table and layout.A_SOURCE_DTYPE not in array.attributes
        ):
            yield path
    for name, variable in variables.items():
        dimensions = (layout.TRIAL, *variable.dimensions)
        array = arrays.get(name)
        if array is None or array.dimensions != dimensions or array.dtype != variable.dtype:
            yield name
        elif layout.A_HEADERS not in array.attributes or not _has_channels(variable, array):
            yield name
    yield from (one.path for one in _expected(variables, arrays) if not _is_like(arrays.get(one.path), one))


def _has_channels(variable: Variable, array: ArrayLayout) -> bool:
    """Return whether there are as many channels as names of them, if these are known."""
    if not variable.channels or variable.channel_dimension is None:
        return not variable.channels
    return array.shape[array.dimensions.index(variable.channel_dimension)] == len(variable.channels)


def _coordinates(
    variables: Mapping[str, Variable], arrays: Mapping[str, ArrayLayout], n_trials: int
) -> tuple[ArrayLayout, ...]:
    return layout.coordinate_layouts(tuple(variables.values()), n_trials, unpadded=is_unpadded(arrays))


def is_unpadded(arrays: Mapping[str, ArrayLayout]) -> bool:
    """Return whether the files of a store's source have different numbers of frames."""
    found = arrays.get(f"{layout.TRIALS}/{layout.N_FILE_FRAMES}")
    # A table of the source may have a column of this name; ours is not from a file of the source.
    return found is not None and layout.A_SOURCE_NAME not in found.attributes


def _expected(variables: Mapping[str, Variable], arrays: Mapping[str, ArrayLayout]) -> Iterator[ArrayLayout]:
    """Yield the layouts of the tables of trials and, if there are any, of the train statistics."""
    recorded = [arrays[name] for name in variables if name in arrays]
    if len(recorded) < len(variables):
        return
    yield from _coordinates(variables, arrays, recorded[0].shape[0])
    trials = arrays.get(layout.STATISTICS_TRIAL_ID)
    if trials is not None and all(array.dimensions for array in recorded):
        n_trials = trials.shape[0] if trials.shape else 0
        try:
            yield from layout.statistics_layouts(recorded, tuple(variables.values()), n_trials)
        except KeyError:  # of a variable without its dimensions, which is reported already
            return


def _is_like(found: ArrayLayout | None, expected: ArrayLayout) -> bool:
    return found is not None and (found.shape, found.dtype, found.dimensions) == (
        expected.shape,
        expected.dtype,
        expected.dimensions,
    )


def _is_below_meta(name: str) -> bool:
    """Return whether a file of the source is where all files beside the trials are."""
    first, *others = name.split("/")
    return first == layout.META and bool(others) and all(map(is_plain_name, others))


def _is_source_dtype(found: object, array: ArrayLayout) -> bool:
    """Return whether values of the array can stand for values of that dtype, viewed byte by byte if need be."""
    dtype = _parse_dtype(found)
    if dtype is None or dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None:
        return False
    if dtype.kind == "S":
        return array.dtype == "uint8" and array.shape[-1:] == (dtype.itemsize,) and dtype.itemsize > 0
    return dtype.kind not in "mM" or array.dtype == "int64"


def _parse_dtype(found: object) -> np.dtype[Any] | None:
    try:
        return np.dtype(found) if isinstance(found, str) else None
    except (TypeError, ValueError, SyntaxError, OverflowError):
        return None


def _are_headers(attributes: Mapping[str, Any], array: ArrayLayout) -> bool:
    headers, rows = attributes[layout.A_HEADERS], attributes.get(layout.A_HEADER_OF_ROW)
    if not isinstance(headers, list) or not headers:
        return False
    for header in cast("list[Any]", headers):
        if not isinstance(header, list) or [type(one) for one in cast("list[Any]", header)] != [str, bool]:
            return False
        if getattr(_parse_dtype(cast("list[Any]", header)[0]), "name", None) not in DTYPES:
            return False
    if rows is None:
        return True
    count = len(cast("list[Any]", headers))
    return (
        isinstance(rows, list)
        and len(cast("list[Any]", rows)) == array.shape[0]
        and all(type(row) is int and 0 <= row < count for row in cast("list[Any]", rows))
    )


def _are_of(found: Mapping[str, Any], types: Mapping[str, type | tuple[type, ...]]) -> bool:
    return all(name in found and isinstance(found[name], kind) for name, kind in types.items())


def _are_texts(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)

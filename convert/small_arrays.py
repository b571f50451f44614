"""Arrays and files beside the trials: where a store has them, and their values there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store import Problem, layout
from ..store.layout import ArrayLayout, StoreLayout, small_layout
from .formats.published.names import TIERS
from .formats.source import SmallArray, Source, Survey

_VIEWS = {"S": "uint8", "m": "int64", "M": "int64"}
_GROUPS = {"meta/trials/": "trials/", "meta/neurons/": "neurons/", "meta/statistics/": "statistics/source/"}


@dataclass(frozen=True)
class SmallPlan:
    """One array or file beside the trials, and where the store has it."""

    source: str
    layout: ArrayLayout
    verbatim: bool = False


def plan_small_arrays(survey: Survey, arrays: StoreLayout) -> tuple[SmallPlan, ...]:
    """Return where the store has all arrays and files beside the trials, given where it has the others."""
    taken = {array.path for array in arrays.coordinates}
    small = (_small(survey, array, taken) for array in survey.small)
    return (*small, *(_verbatim(name) for name in survey.verbatim))


def small_problems(survey: Survey, arrays: StoreLayout, small: Sequence[SmallPlan]) -> Iterator[Problem]:
    """Yield what cannot have a place and dimensions of its own in the store."""
    yield from _path_problems(survey, arrays.coordinates, small)
    yield from _dimension_problems(survey, [*arrays.recorded, *arrays.coordinates], small)


def _small(survey: Survey, array: SmallArray, taken: Set[str]) -> SmallPlan:
    kind = np.dtype(array.dtype).kind
    shape = (*array.shape, np.dtype(array.dtype).itemsize) if kind == "S" else array.shape
    dtype = "string" if kind == "U" else _VIEWS.get(kind, np.dtype(array.dtype).name)
    path = _path(array.name, taken)
    dimensions = _dimensions(survey, path, shape)
    attributes = {
        layout.A_SOURCE_NAME: array.name,
        layout.A_SOURCE_DTYPE: array.dtype,
        layout.A_SOURCE_FORTRAN: array.fortran_order,
    }
    return SmallPlan(array.name, small_layout(path, shape, dtype, dimensions, attributes))


def _verbatim(name: str) -> SmallPlan:
    path = f"{layout.FILES}/{name}"
    array = small_layout(path, (0,), "uint8", (f"{name} byte",), {layout.A_SOURCE_NAME: name})
    return SmallPlan(name, array, verbatim=True)


def _path(name: str, taken: Set[str]) -> str:
    """Return where the store has an array of the source: under its own name, in the group of its kind."""
    bare = name.removesuffix(".npy")
    for prefix, group in _GROUPS.items():
        path = bare.replace(prefix, group, 1)
        if bare.startswith(prefix) and path not in taken:
            return path
    return bare


def _dimensions(survey: Survey, path: str, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Name the dimensions: those of the group where sizes agree, else names of the array's own, as xarray needs it."""
    own = [f"{path.replace('/', '.')}.{axis}" for axis in range(len(shape))]
    shared = _shared_dimensions(survey, path)
    return tuple(shared.get((axis, size), name) for axis, (size, name) in enumerate(zip(shape, own, strict=True)))


def _shared_dimensions(survey: Survey, path: str) -> Mapping[tuple[int, int], str]:
    """Return (axis, size) -> dimension for the arrays of a group."""
    group = path.split("/")[0]
    if group == layout.TRIALS:
        shapes = [array.shape for array in survey.small if array.name == TIERS]
        return {(0, shape[0]): layout.FILE_NUMBER for shape in shapes if shape}
    if group == layout.NEURONS:
        return {(0, survey.n_neurons): layout.NEURON}
    return {}


def _path_problems(survey: Survey, coordinates: Sequence[ArrayLayout], small: Sequence[SmallPlan]) -> Iterator[Problem]:
    """Yield whose path would be below another array's: a Zarr node is an array or a group, not both."""
    owners = {one.layout.path: one.source for one in small}
    taken = {array.path for array in coordinates} | owners.keys()
    for path, source in owners.items():
        for parent in map(str, Path(path).parents):
            if parent in taken:
                what = f"lies below {parent}, which is an array in the store"
                yield Problem(survey.label, what, "rename one of them", source)


def _dimension_problems(survey: Survey, arrays: Sequence[ArrayLayout], small: Sequence[SmallPlan]) -> Iterator[Problem]:
    """Yield whose dimensions would have the names of others of another size, as those of a/b and a.b may."""
    known = {
        name: (size, array.path) for array in arrays for name, size in zip(array.dimensions, array.shape, strict=True)
    }
    for one in small:
        for name, size in zip(one.layout.dimensions, one.layout.shape, strict=True):
            expected, other = known.setdefault(name, (size, one.source))
            if size != expected:
                what = f"would have {size} along {name}, of which {other} has {expected}"
                yield Problem(survey.label, what, "rename one of them", one.source)


def small_values(source: Source, one: SmallPlan) -> tuple[ArrayLayout, NDArray[Any]]:
    """Read an array beside the trials; return its layout and its values as the store holds them."""
    if one.verbatim:
        data = np.frombuffer(source.read_verbatim(one.source), np.uint8)
        return _with_shape(one.layout, data.shape), data
    values = source.read_small(one.source)
    if values.dtype.kind == "S":
        plain = np.ascontiguousarray(values)
        return one.layout, plain.view(np.uint8).reshape(one.layout.shape)
    if values.dtype.kind in "mM":
        values = values.astype(values.dtype.newbyteorder("=")).view(np.int64)
    return one.layout, values


def _with_shape(array: ArrayLayout, shape: tuple[int, ...]) -> ArrayLayout:
    """Return the layout of a small array with its shape, once that is known."""
    return dataclasses.replace(array, shape=shape, chunk=tuple(max(1, size) for size in shape))

"""A store as one HDF5 file: its groups, arrays, chunks and attributes, and dimension scales."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ....readers import Mouse
from ....store import CorruptStoreError, Problem, StoreIndex, TrialpackError, layout
from ....store.integrity import intact_rows
from ....store.layout import ArrayLayout
from ....store.manifest import values_digest
from ....store.tasks import Progress
from ..format import EXPORTING, Option, WriteSettings
from .storage import READ_ERRORS, first_line, import_h5py, import_plugins, reading, writing
from .values import (
    A_ATTRIBUTES_DIGEST,
    A_DIGEST,
    A_LAYOUT,
    DIMENSIONS,
    LAYOUT_VERSION,
    Rows,
    attributes_digest,
    digest,
    plain_attribute,
    text_type,
    text_values,
)

Hdf5Filter = Literal["gzip", "lz4", "zstd", "none"]
HDF5_FILTERS: tuple[Hdf5Filter, ...] = ("gzip", "lz4", "zstd", "none")
_GZIP_LEVEL, _ZSTD_LEVEL = 1, 3
"""Of floating point numbers, higher ones take off little more; ``python -m benchmarks hdf5``."""
_COORDINATES = (
    f"{layout.TRIALS}/{layout.TRIAL_ID}",
    f"{layout.NEURONS}/unit_ids",
    layout.STATISTICS_TRIAL_ID,
)
"""Arrays whose values are the scale of their dimension, if they are numbers; other scales count from 0."""


class Hdf5File:
    """A store as one HDF5 file.

    Parameters
    ----------
    index
        Index of the store.
    packing
        How chunks are packed; all have a checksum.

    Raises
    ------
    OptionError
        h5py is not installed, or hdf5plugin for a filter that h5py does not have.

    Notes
    -----
    HDF5 has one lock for everything: one thread writes, and then reads. Memory: two groups of the rows that share
    chunks, and two chunks; and the largest array beside the trials, twice.
    """

    def __init__(self, index: StoreIndex, packing: Hdf5Filter) -> None:
        self._index, self._h5py = index, import_h5py("export to HDF5")
        self._packing = _packing(packing)

    @property
    def extent(self) -> tuple[int, int]:
        """Bytes of all arrays, and how many files there are."""
        return sum(array.nbytes for array in self._index.arrays.values()), 1

    def write(self, path: Path, progress: Progress) -> None:
        """Write the file durably; every value is compared with its digest before.

        Raises
        ------
        CorruptStoreError
            The store is damaged.
        OSError
            From the system, such as a full disk.
        """
        with writing(self._h5py, path) as (file, raise_error):
            self._put_attributes(file, self._root_attributes)
            scales = {name: self._write_scale(file, name, values) for name, values in self._scales().items()}
            for array, values in self._small():
                dataset = self._create(file, array, scales, text=values if array.dtype == "string" else None)
                _fill(dataset, values)
                self._put_attributes(dataset, _attributes(array, digest(values)))
                progress.advance(array.nbytes, 0)
            for array in self._index.recorded:
                dataset = self._create(file, array, scales)
                self._put_attributes(dataset, _attributes(array, self._index.manifest.values[array.path]))
                for rows, values in self._groups(array):
                    dataset[rows] = values
                    raise_error()
                    progress.advance(values.nbytes, 0)
        progress.advance(0, 1)

    def check(self, path: Path, progress: Progress) -> None:
        """Read the file back and compare it with the store, every trial with its digest in the manifest.

        Raises
        ------
        CorruptStoreError
            With everything that differs, or cannot be read.
        """
        progress.start("verifying", *self.extent)
        problems = list[Problem]()
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with _collecting(problems, path), reading(self._h5py, descriptor) as file:
                with _collecting(problems, path):
                    self._check_attributes(file, self._root_attributes)
                for name, values in self._scales().items():
                    with _collecting(problems, path, _scale_path(name)):
                        _check_values(file[_scale_path(name)], values)
                for array, values in self._small():
                    with _collecting(problems, path, array.path):
                        self._check_outline(file[array.path], array, digest(values))
                        _check_values(file[array.path], values)
                    progress.advance(array.nbytes, 0)
                for array in self._index.recorded:
                    with _collecting(problems, path, array.path):
                        self._check_outline(file[array.path], array, self._index.manifest.values[array.path])
                        self._check_rows(file[array.path], array, progress)
        finally:
            os.close(descriptor)
        if problems:
            raise CorruptStoreError(problems)

    @property
    def _root_attributes(self) -> dict[str, Any]:
        return {A_LAYOUT: LAYOUT_VERSION, **_with_digest(self._index.attributes)}

    def _small(self) -> Iterator[tuple[ArrayLayout, NDArray[Any]]]:
        """Yield the arrays beside the trials, one at a time."""
        recorded = {array.path for array in self._index.recorded}
        for path, array in self._index.arrays.items():
            if path not in recorded:
                yield array, self._index.small(path)

    def _scales(self) -> dict[str, NDArray[Any]]:
        """Return the values along each dimension of the store: trial ids, unit ids, else positions."""
        arrays = self._index.arrays.values()
        sizes = {name: size for array in arrays for name, size in zip(array.dimensions, array.shape, strict=True)}
        found: dict[str, NDArray[Any]] = {name: np.arange(size) for name, size in sizes.items()}
        for path in _COORDINATES:
            array = self._index.arrays.get(path)
            if array is not None and len(array.shape) == 1 and array.numpy_dtype.kind in "iuf":
                found[array.dimensions[0]] = self._index.small(path)
        return found

    def _groups(self, array: ArrayLayout) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield the rows that share chunks, each after its values were compared with their digest."""
        group = np.empty((array.chunk[0], *array.shape[1:]), array.numpy_dtype)
        for number in range(array.files):
            rows, count = array.rows_of_shard(number), 0
            for row, values in intact_rows(self._index, array, number):
                group[count] = values
                count += 1
                if count == len(group) or row == rows[-1]:
                    yield slice(row + 1 - count, row + 1), group[:count]
                    count = 0

    def _create(
        self, file: Any, array: ArrayLayout, scales: Mapping[str, Any], text: NDArray[Any] | None = None
    ) -> Any:
        """Make the dataset of an array, without its values; `text` are those of an array of text."""
        if text is not None:
            kind = text_type(self._h5py, [word.encode() for word in text.reshape(-1).tolist()])
            dataset = file.create_dataset(array.path, array.shape, kind)
        else:
            chunk = tuple(map(min, array.chunk, array.shape))
            chunked = {"chunks": chunk, **self._packing} if chunk and all(chunk) else {}
            fill = {"fillvalue": array.fill_value}
            dataset = file.create_dataset(array.path, array.shape, array.numpy_dtype, **chunked, **fill)
        for axis, name in enumerate(array.dimensions):
            dataset.dims[axis].label = name
            dataset.dims[axis].attach_scale(scales[name])
        return dataset

    def _write_scale(self, file: Any, name: str, values: NDArray[Any]) -> Any:
        chunked = {"chunks": values.shape, **self._packing} if values.size else {}
        scale = file.create_dataset(_scale_path(name), data=values, **chunked)
        scale.make_scale(name)
        return scale

    def _put_attributes(self, node: Any, attributes: Mapping[str, Any]) -> None:
        for name, value in attributes.items():
            data, kind = self._encoded(value)
            node.attrs.create(name, data, dtype=kind)

    def _encoded(self, value: Any) -> tuple[Any, Any]:
        """Return an attribute as h5py takes it, and its dtype; None is an attribute without a value."""
        if value is None:
            return self._h5py.Empty("S1"), None
        if isinstance(value, str):
            return value.encode(), text_type(self._h5py, [value.encode()])
        return (np.array(value, "S"), None) if isinstance(value, tuple) else (value, None)

    def _check_attributes(self, node: Any, attributes: Mapping[str, Any]) -> None:
        for name, value in attributes.items():
            found = text_values(node.attrs[name])
            found = found.tolist() if isinstance(found, (np.ndarray, np.generic)) else found
            found = None if isinstance(found, self._h5py.Empty) else found
            if found != (list(value) if isinstance(value, tuple) else value):
                raise _Differs(f"the attribute {name} is not what was written")

    def _check_outline(self, dataset: Any, array: ArrayLayout, digest: str | tuple[str, ...]) -> None:
        kind = self._h5py.check_string_dtype(dataset.dtype)
        dtype = np.dtype(object) if kind is not None else dataset.dtype
        if (dataset.shape, dtype) != (array.shape, array.numpy_dtype):
            raise _Differs(f"expected shape {array.shape} {array.dtype}, found {dataset.shape} {dataset.dtype}")
        labels = tuple(dimension.label for dimension in dataset.dims)
        if labels != array.dimensions:
            raise _Differs(f"expected the dimensions {array.dimensions}, found {labels}")
        self._check_attributes(dataset, _attributes(array, digest))

    def _check_rows(self, dataset: Any, array: ArrayLayout, progress: Progress) -> None:
        reader, expected = Rows(self._h5py, dataset.id), self._index.manifest.values[array.path]
        block = np.empty((array.chunk[0], *array.shape[1:]), array.numpy_dtype)
        for start in range(0, len(expected), len(block)):
            rows = block[: len(expected) - start]
            reader.read(start, rows)
            for row, values in enumerate(rows, start):
                if values_digest(values) != expected[row]:
                    raise _Differs(f"row {row} holds other values than were written")
            progress.advance(rows.nbytes, 0)


class _Differs(ValueError):
    """The values read back are not the values written."""


@contextlib.contextmanager
def _collecting(problems: list[Problem], path: Path, member: str | None = None) -> Generator[None]:
    """Note what goes wrong with one part of the file, and go on with the next."""
    try:
        yield
    except TrialpackError:
        raise
    except READ_ERRORS as error:
        what = str(error) if isinstance(error, _Differs) else f"does not read back ({first_line(error)})"
        problems.append(Problem(str(path), what, "export again; if it happens again, check disk and memory", member))


def _check_values(dataset: Any, values: NDArray[Any]) -> None:
    found = dataset[()]
    if values.dtype == object:
        same = text_values(found) == values.tolist()
    else:
        same = np.asarray(found, dataset.dtype).tobytes() == values.tobytes()
    if not same:
        raise _Differs("holds other values than were written")


def _fill(dataset: Any, values: NDArray[Any]) -> None:
    if not values.size:
        return
    if values.dtype == object:
        texts = [text.encode() for text in values.reshape(-1).tolist()]
        values = np.array(texts, dataset.dtype).reshape(values.shape)
    dataset[()] = values


def _attributes(array: ArrayLayout, digest: str | tuple[str, ...]) -> dict[str, Any]:
    """Return the attributes of an array in the file; `digest` is that of its values, or those of its rows."""
    return {**_with_digest(array.attributes), A_DIGEST: digest}


def _with_digest(attributes: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: plain_attribute(value) for name, value in attributes.items()}
    return {**plain, A_ATTRIBUTES_DIGEST: attributes_digest(plain)}


def _scale_path(dimension: str) -> str:
    # No name in a store has a colon.
    return f"{DIMENSIONS}/{dimension.replace('/', ':')}"


def _packing(packing: Hdf5Filter) -> dict[str, Any]:
    """Return what h5py is to do with chunks."""
    shuffled: dict[str, Any] = {"fletcher32": True, "shuffle": True}
    if packing == "none":
        return {"fletcher32": True}
    if packing == "gzip":
        return {**shuffled, "compression": "gzip", "compression_opts": _GZIP_LEVEL}
    plugin = import_plugins(f"the HDF5 filter {packing}")
    return {**shuffled, **(plugin.LZ4() if packing == "lz4" else plugin.Zstd(clevel=_ZSTD_LEVEL))}


FILTER_OPTION = Option(
    "hdf5_filter",
    "How an HDF5 file is packed. gzip: readable everywhere, slow to write. lz4, zstd: fast, but readers need a plugin "
    "(of Python: hdf5plugin). none: fastest, readable everywhere.",
    HDF5_FILTERS,
)


def write_hdf5(mouse: Mouse, path: Path, settings: WriteSettings) -> None:
    """Write a mouse, then read it back and compare; see `Format.write`."""
    file = Hdf5File(mouse.index, settings.options[FILTER_OPTION.name])
    settings.progress.start(EXPORTING, *file.extent)
    file.write(path, settings.progress)
    file.check(path, settings.progress)


def check_hdf5(mouse: Mouse, options: Mapping[str, Any]) -> None:
    """Check that the packages are there that writing needs; see `Format.check`."""
    Hdf5File(mouse.index, options[FILTER_OPTION.name])

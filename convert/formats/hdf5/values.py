"""Shared by reading and writing HDF5 files: rows, texts, attributes, digests, the names in an export."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import xxhash
from numpy.typing import NDArray

from ....store.manifest import values_digest
from ....store.metadata import to_json

LAYOUT_VERSION = 1
A_LAYOUT, A_DIGEST, A_ATTRIBUTES_DIGEST = "trialpack_hdf5", "xxh3_128", "xxh3_128_of_attributes"
"""Attributes that an exported file has beside those of the store: of the root; of each array; of both."""
DIMENSIONS = "dimensions"
"""The group of the dimension scales of an exported file."""


class Rows:
    """Reads the rows of a dataset, or the whole of it, into memory of the caller.

    Parameters
    ----------
    dataset
        Dataset of h5py's low-level interface, which for a small row takes a tenth of the time of the other one.
    """

    def __init__(self, h5py: Any, dataset: Any) -> None:
        self._dataset, self._spaces = dataset, h5py.h5s
        self._shape: tuple[int, ...] = tuple(dataset.shape)
        self._file, self._memory = dataset.get_space(), h5py.h5s.create_simple(self._shape[1:] or (1,))

    def read(self, start: int, out: NDArray[Any]) -> None:
        """Read rows that follow one another.

        Parameters
        ----------
        out
            Array of as many rows as are wanted, C-contiguous, of the dataset's dtype; overwritten.
        """
        self._expect((len(out), *self._shape[1:]), out)
        self._file.select_hyperslab((start, *[0] * (len(self._shape) - 1)), out.shape)
        # Memory of a row's own shape: with an axis of one before it, the library copies value by value.
        memory = self._memory if len(out) == 1 else self._spaces.create_simple(out.shape)
        self._dataset.read(memory, self._file, out)

    def read_all(self, out: NDArray[Any], kind: Any = None) -> None:
        """Read the whole dataset; `out` as for `read`, with all axes that are longer than one.

        Parameters
        ----------
        kind
            The type of `out` as h5py has it, where its dtype does not tell: of text.
        """
        self._expect(self._shape, out)
        self._dataset.read(self._spaces.ALL, self._spaces.ALL, out, kind)

    def _expect(self, wanted: tuple[int, ...], out: NDArray[Any]) -> None:
        if out.size != math.prod(wanted) or not out.flags.c_contiguous:
            raise ValueError(f"expected memory for shape {wanted}, found {out.shape}")


def text_type(h5py: Any, texts: list[bytes]) -> Any:
    """Return the dtype for UTF-8 texts: of variable length, unless one holds NUL, at which those would end."""
    longest = max(map(len, texts)) if any(b"\0" in text for text in texts) else None
    return h5py.string_dtype("utf-8", longest)


def text_values(found: Any) -> Any:
    """Return texts as h5py gives them, bytes or not, as Python strings; anything else as it is.

    Examples
    --------
    >>> text_values(np.array([b"train", b"oracle"], object))
    ['train', 'oracle']
    """
    if isinstance(found, np.ndarray) and found.dtype.kind in "OS":
        return text_values(found.tolist())
    if isinstance(found, list):
        return [text_values(item) for item in cast("list[Any]", found)]
    return found.decode() if isinstance(found, bytes) else found


def plain_attribute(value: Any) -> Any:
    """Return what stands for an attribute of a store: a number, a text or a list of integers as it is, else JSON.

    Examples
    --------
    >>> plain_attribute([1, 2]), plain_attribute([["<f4", True]])
    ([1, 2], '[["<f4",true]]')
    """
    numbers = isinstance(value, list) and all(type(item) is int for item in cast("list[Any]", value))
    as_json = isinstance(value, dict) or (isinstance(value, list) and not (value and numbers))
    return to_json(value).decode().rstrip("\n") if as_json else value


def attributes_digest(plain: Mapping[str, Any]) -> str:
    """Return the digest of attributes, each as `plain_attribute` returns it."""
    return xxhash.xxh3_128_hexdigest(to_json(dict(plain)))


def digest(values: NDArray[Any]) -> str:
    """Return the digest of an array: of its bytes, or of its texts as a list in JSON."""
    return xxhash.xxh3_128_hexdigest(to_json(values.tolist())) if values.dtype == object else values_digest(values)

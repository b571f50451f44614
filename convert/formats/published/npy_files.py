"""Read the ``.npy`` files of a tree, with errors that name the file."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....store import Problem, SourceError
from ....store.variables import DTYPES
from ... import npy
from ...npy import COPY_AGAIN, Header, NpyError
from ..source import ReadError
from .tree import Entry, Tree, TreeReader


def dtype_problem(header: Header) -> tuple[str, str] | None:
    """Return what is wrong with the dtype of a trial, and what to do; None if a store can hold such trials."""
    if header.dtype.name in DTYPES:
        return None
    return f"expected bool, integers or floats of at most 64 bits, found {header.descr}", "save it as one of them"


def trial_problem(header: Header, shape: tuple[int, ...], dtype: str) -> tuple[str, str] | None:
    """Return what is wrong with a trial of this header, and what to do; None if it is one of this shape and dtype.

    Parameters
    ----------
    dtype
        The dtype that holds all trials of the variable exactly.
    """
    if problem := dtype_problem(header):
        return problem
    floats = header.dtype.kind == np.dtype(dtype).kind == "f" and header.dtype.itemsize <= np.dtype(dtype).itemsize
    if header.dtype.name != dtype and not floats:
        return f"expected {dtype} as of the other trials, found {header.descr}", COPY_AGAIN
    if header.shape != shape:
        return f"expected shape {shape} as of the other trials, found {header.shape}", COPY_AGAIN
    return None


def read_array(tree: Tree, reader: TreeReader, entry: Entry, trial: int | None = None) -> tuple[NDArray[Any], Header]:
    """Read a whole file as an array, a view that is valid until the reader's next call.

    Raises
    ------
    SourceError
        With the file, and the trial.
    """
    try:
        data = reader.read(entry)
        header = npy.read_header(data)
        return npy.as_array(data, header), header
    except _FILE_ERRORS as error:
        raise _named_error(tree, entry.name, trial, error) from error


_FILE_ERRORS = (NpyError, ReadError, UnicodeDecodeError, OSError)


@contextlib.contextmanager
def named_errors(tree: Tree, name: str, trial: int | None = None) -> Generator[None]:
    """Turn what goes wrong with a file into an error that names it."""
    try:
        yield
    except _FILE_ERRORS as error:
        raise _named_error(tree, name, trial, error) from error


def _named_error(tree: Tree, name: str, trial: int | None, error: Exception) -> SourceError:
    match error:
        case NpyError() | ReadError():
            what, advice = error.what, error.advice
        case UnicodeDecodeError():
            what, advice = f"not UTF-8 text ({error.reason})", COPY_AGAIN
        case PermissionError():
            what, advice = "cannot be read (permission denied)", "make it readable"
        case OSError():
            what, advice = f"cannot be read ({error.strerror})", COPY_AGAIN
        case _:
            what, advice = str(error), COPY_AGAIN
    return SourceError(Problem(tree.label, what, advice, name, trial))

"""The ``.npy`` format, read strictly: nothing is unpickled, and nothing is allocated before sizes agree."""

from __future__ import annotations

import ast
import functools
import io
import math
import re
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..store.pointers import POINTER_BYTES, pointer_problem

MAGIC = b"\x93NUMPY"
MAX_HEADER = 10_000
"""Bytes of header text that are looked at; numpy's own limit for untrusted files."""
MAX_AXES, MAX_SIZE = 32, 2**48
"""No file that exists is larger; numpy's own limits are 64 axes and 2**63 values."""
_SURROGATES, _LAST_CODE_POINT = (0xD800, 0xDFFF), 0x10FFFF
LONGEST_START = 12 + MAX_HEADER
COPY_AGAIN = "copy the file again"
_SAVE_WITH_NUMPY = "copy the file again, or save it with numpy if that is how it was written"
_PYTHON_2 = re.compile(rb"(?<=\d)L(?=\s*[,)])")
"""The mark of a long integer of Python 2, which wrote shapes such as ``(3L, 40L)``."""
_KEYS = {"descr", "fortran_order", "shape"}


class NpyError(ValueError):
    """Not a ``.npy`` file that may be read. The caller knows which file; this says what is wrong and what to do."""

    def __init__(self, what: str, advice: str = COPY_AGAIN) -> None:
        super().__init__(what, advice)
        self.what, self.advice = what, advice


@dataclass(frozen=True)
class Header:
    """The header of a ``.npy`` file.

    Attributes
    ----------
    descr
        numpy's name of the dtype with its byte order, such as ``<f4``, however the file spells it.
    fortran_order
        Whether the first axis varies fastest in the file.
    shape
        Shape of the array.
    offset
        Where the values start, in bytes.
    """

    descr: str
    fortran_order: bool
    shape: tuple[int, ...]
    offset: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype, with the byte order of the file."""
        return np.dtype(self.descr)

    @property
    def file_size(self) -> int:
        """Bytes of a file with this header and all of its values."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def read_header(start: memoryview) -> Header:
    """Read the header of a file.

    Parameters
    ----------
    start
        The first bytes of the file, `LONGEST_START` of them or all.

    Raises
    ------
    NpyError
        Not a ``.npy`` file, or one whose header is damaged, too long, or asks for Python objects.
    """
    if start.nbytes == 0:
        raise NpyError("the file is empty (expected a .npy header)")
    if bytes(start[:6]) != MAGIC:
        what = f"not a .npy file (expected it to start with {MAGIC!r}, found {bytes(start[:6])!r})"
        raise NpyError(*(pointer_problem(bytes(start[:POINTER_BYTES])) or (what, COPY_AGAIN)))
    if start.nbytes < 12:
        raise NpyError(f"the header is cut off (expected 12 bytes or more, found {start.nbytes})")
    wide = start[6] >= 2
    if start[6] not in (1, 2, 3) or start[7] != 0:
        raise NpyError(
            f"unknown .npy version (expected 1.0, 2.0 or 3.0, found {start[6]}.{start[7]})", _SAVE_WITH_NUMPY
        )
    begin = 12 if wide else 10
    length = int.from_bytes(start[8:begin], "little")
    if length > MAX_HEADER:
        raise NpyError(f"the header is too long (expected {MAX_HEADER} bytes at most, found {length})")
    if start.nbytes < begin + length:
        raise NpyError(f"the header is cut off (expected {begin + length} bytes, found {start.nbytes})")
    return _parse(bytes(start[begin : begin + length]), begin + length)


@functools.lru_cache(maxsize=256)
def header_bytes(descr: str, shape: tuple[int, ...], *, fortran_order: bool) -> bytes:
    """Return the start of a file, up to its values, as numpy writes it; cached, since all trials have the same."""
    text, fields = io.BytesIO(), {"descr": descr, "fortran_order": fortran_order, "shape": shape}
    np.lib.format.write_array_header_1_0(text, fields)
    return text.getvalue()


def narrowed(descr: str, dtype: np.dtype[Any]) -> str:
    """Return the dtype of a file whose values were rounded to a smaller one: in its byte order.

    Examples
    --------
    >>> narrowed(">f8", np.dtype("float32")), narrowed("<f4", np.dtype("float64"))
    ('>f4', '<f4')
    """
    found = np.dtype(descr)
    return dtype.newbyteorder(found.byteorder).str if found.itemsize > dtype.itemsize else descr


def as_array(data: memoryview, header: Header) -> NDArray[Any]:
    """View the bytes of a whole file as its array.

    Parameters
    ----------
    data
        The whole file.

    Returns
    -------
    ndarray
        Array of the header's shape, dtype (and byte order) and memory order; a view of `data`.

    Raises
    ------
    NpyError
        The file is shorter or longer than its header promises, or holds bytes that are not text.
    """
    check_size(header, data.nbytes)
    flat = np.frombuffer(data, header.dtype, math.prod(header.shape), header.offset)
    if flat.dtype.kind == "U":
        _check_text(data[header.offset :], flat.dtype)
    return flat.reshape(header.shape, order="F" if header.fortran_order else "C")


def as_published(values: NDArray[Any], descr: str) -> NDArray[Any]:
    """Return a small array of a store with its dtype in the source: bytes and dates are kept as something else."""
    dtype = np.dtype(descr)
    if dtype.kind == "S":
        return np.ascontiguousarray(values).view(dtype).reshape(values.shape[:-1])
    if dtype.kind in "mM":
        return values.view(dtype.newbyteorder("=")).astype(dtype)
    return values.astype(dtype)


def check_size(header: Header, size: int) -> None:
    """Compare the size of a file with what its header promises.

    Raises
    ------
    NpyError
        They differ.
    """
    if size != header.file_size:
        kind = "truncated" if size < header.file_size else "longer than its header says"
        promised = f"{header.file_size} bytes for shape {header.shape} {header.descr}"
        raise NpyError(f"{kind} (expected {promised}, found {size})")


def _check_text(data: memoryview, dtype: np.dtype[Any]) -> None:
    """Check that each character exists: numpy keeps any number, which then cannot be written as UTF-8."""
    codes = np.frombuffer(data, np.dtype("u4").newbyteorder(dtype.byteorder))
    wrong = (codes > _LAST_CODE_POINT) | ((codes >= _SURROGATES[0]) & (codes <= _SURROGATES[1]))
    if wrong.any():
        raise NpyError(f"holds a character that does not exist (found number {codes[wrong][0]:#x})", "save it again")


@functools.lru_cache(maxsize=256)
def _parse(text: bytes, offset: int) -> Header:
    """Parse a header's text; cached, since all trials of a variable have the same."""
    try:
        fields = ast.literal_eval(_PYTHON_2.sub(b"", text).decode("latin1"))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise _damaged("a Python dictionary") from None
    if not isinstance(fields, dict) or set(cast("dict[object, object]", fields)) != _KEYS:
        raise _damaged(f"exactly the keys {', '.join(sorted(_KEYS))}")
    return Header(parse_descr(fields["descr"]), _order(fields["fortran_order"]), _shape(fields["shape"]), offset)


def _damaged(expected: str) -> NpyError:
    return NpyError(f"the header is damaged (expected {expected})", _SAVE_WITH_NUMPY)


def parse_descr(value: object) -> str:
    """Return numpy's name of a dtype with its byte order, such as ``<f4``, if that is what it is.

    Other programs write ``f4``, ``float32`` or ``=f4``, which numpy reads as the same.

    Raises
    ------
    NpyError
        Not a text, not a dtype, or one of Python objects or of several fields.
    """
    if not isinstance(value, str):
        raise NpyError("holds records with named fields (expected numbers or text)", "save each field as an array")
    try:
        # numpy takes control characters, too: the numbers of its types.
        dtype = np.dtype(value) if value.isprintable() else None
    except (TypeError, ValueError, SyntaxError):
        dtype = None
    if dtype is None:
        raise NpyError(f"unknown dtype (expected such as '<f4', found {_short(value)})", _SAVE_WITH_NUMPY)
    if dtype.hasobject:
        raise NpyError("holds pickled Python objects, which are never loaded", "save it again as numbers or text")
    if dtype.fields is not None or dtype.subdtype is not None or dtype.itemsize == 0:
        raise NpyError(
            f"dtype {_short(value)} is not supported (expected plain numbers or text)", "save it again as such"
        )
    return dtype.str


def _order(value: object) -> bool:
    if not isinstance(value, bool):
        raise _damaged(f"fortran_order True or False, found {_short(value)}")
    return value


def _shape(value: object) -> tuple[int, ...]:
    sizes = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (None,)
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise _damaged(f"a shape of non-negative integers, found {_short(value)}")
    if len(sizes) > MAX_AXES or any(cast(int, size) > MAX_SIZE for size in sizes):
        limits = f"{MAX_AXES} axes and {MAX_SIZE} along each at most"
        raise _damaged(f"{limits}, found shape {_short(value)}")
    return cast("tuple[int, ...]", sizes)


def _short(value: object) -> str:
    """Return a value as text, whatever it is: Python refuses to print very long numbers."""
    try:
        text = repr(value)
    except ValueError:
        return f"a {type(value).__name__} that is too long to print"
    return text if len(text) <= 80 else f"{text[:80]}…"

"""The HDF5 library, which is an extra: how it is imported, what it raises, and which files are its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....store import OptionError, Problem

SUFFIXES = (".h5", ".hdf5", ".hdf")
READ_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, NotImplementedError)
"""What h5py raises of a file that is not as it should be: it makes one of these of an error of the C library."""

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_INSTALL = "pip install h5py hdf5plugin"


def import_h5py(label: str) -> Any:
    """Import h5py, which is an extra.

    Parameters
    ----------
    label
        What needs it, for the message.

    Raises
    ------
    OptionError
        It is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise OptionError(Problem(label, "needs the package h5py", _INSTALL)) from None
    return h5py


def import_plugins(label: str) -> Any:
    """Import hdf5plugin, which is an extra, and gives h5py more filters; see `import_h5py`."""
    try:
        import hdf5plugin
    except ImportError:
        raise OptionError(Problem(label, "needs the package hdf5plugin", _INSTALL)) from None
    return hdf5plugin


def is_hdf5(path: Path) -> bool:
    """Return whether a file begins as HDF5 files do: at its first byte, or behind 512 of them, 1024 and so on."""
    if not path.is_file():
        return False
    size, place = path.stat().st_size, 0
    with open(path, "rb", buffering=0) as file:
        while place < size:
            file.seek(place)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return True
            place = max(512, 2 * place)
    return False


def first_line(error: Exception) -> str:
    """Return the first line of an error's text; those of the C library go on with addresses and times."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__

"""Write a mouse as an HDF5 file, and compare it with the store before it gets its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ....readers import Mouse
from ..format import EXPORTING, Option, WriteSettings
from .hdf5_file import HDF5_FILTERS, Hdf5File

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

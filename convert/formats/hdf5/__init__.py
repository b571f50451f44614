"""Mice in HDF5 files: as exported by trialpack, and as older pipelines of the field wrote them."""

from .hdf5_file import FILTER_OPTION, check_hdf5, write_hdf5
from .hdf5_mouse import Hdf5Mouse
from .storage import SUFFIXES, is_hdf5

__all__ = ["FILTER_OPTION", "SUFFIXES", "Hdf5Mouse", "check_hdf5", "is_hdf5", "write_hdf5"]

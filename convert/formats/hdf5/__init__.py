"""Mice in HDF5 files: as exported by trialpack, and as older pipelines of the field wrote them."""

from .hdf5_mouse import Hdf5Mouse

__all__ = ["Hdf5Mouse"]

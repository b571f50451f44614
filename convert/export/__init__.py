"""Out of a store again."""

from .exporting import EXPORT_FORMATS, Exported, ExportFormat, export_mouse
from .hdf5_file import HDF5_FILTERS, Hdf5Filter

__all__ = ["EXPORT_FORMATS", "HDF5_FILTERS", "ExportFormat", "Exported", "Hdf5Filter", "export_mouse"]

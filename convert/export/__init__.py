"""Out of a store again."""

from .exporting import EXPORT_FORMATS, Exported, ExportFormat, export_mouse

__all__ = ["EXPORT_FORMATS", "ExportFormat", "Exported", "export_mouse"]

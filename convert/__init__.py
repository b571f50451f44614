"""Into the store: sources, plan, writing, publishing; out of it again; samples to try it on."""

from .compare import compare_with_source
from .conversion import ConversionSummary, convert_mouse, plan_mouse
from .export import Exported, export_mouse
from .plan import Plan
from .sources import find_sources, open_source
from .verification import Verification, verify_mouse

__all__ = [
    "Exported",
    "Plan",
    "ConversionSummary",
    "Verification",
    "compare_with_source",
    "convert_mouse",
    "export_mouse",
    "find_sources",
    "open_source",
    "plan_mouse",
    "verify_mouse",
]

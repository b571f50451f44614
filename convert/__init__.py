"""Into the store: formats, plan, writing, publishing; out of it again; samples to try it on."""

from typing import TYPE_CHECKING

from ..store.lazy_names import lazy_names

__all__ = [
    "ConversionSummary",
    "Exported",
    "Plan",
    "Verification",
    "compare_with_source",
    "convert_mouse",
    "export_mouse",
    "find_sources",
    "open_source",
    "plan_mouse",
    "predict_sizes",
    "verify_mouse",
]

if TYPE_CHECKING:
    from .compare import compare_with_source
    from .conversion import ConversionSummary, convert_mouse, plan_mouse, predict_sizes
    from .export import Exported, export_mouse
    from .formats.registry import find_sources, open_source
    from .plan import Plan
    from .verification import Verification, verify_mouse
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "ConversionSummary": ".conversion",
            "Exported": ".export",
            "Plan": ".plan",
            "Verification": ".verification",
            "compare_with_source": ".compare",
            "convert_mouse": ".conversion",
            "export_mouse": ".export",
            "find_sources": ".formats.registry",
            "open_source": ".formats.registry",
            "plan_mouse": ".conversion",
            "predict_sizes": ".conversion",
            "verify_mouse": ".verification",
        },
    )

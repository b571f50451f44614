"""Out of the store: open, select, reduce."""

from typing import TYPE_CHECKING

from ..store.lazy_names import lazy_names

__all__ = [
    "Batch",
    "DivideByStd",
    "FieldLoader",
    "ForkedError",
    "Mouse",
    "Repeats",
    "ScaleByStd",
    "Standardize",
    "Statistics",
    "StreamStats",
    "Trial",
    "TrialLoader",
    "field_loaders",
    "open_mice",
    "open_mouse",
    "save_statistics",
    "summarize",
    "train_statistics",
    "trial_figure",
]

if TYPE_CHECKING:
    from .field import FieldLoader, field_loaders
    from .figure import trial_figure
    from .mouse import Mouse
    from .opening import open_mice, open_mouse, summarize
    from .recording import Trial
    from .repeats import Repeats
    from .statistics_files import save_statistics
    from .streaming import (
        Batch,
        DivideByStd,
        ForkedError,
        ScaleByStd,
        Standardize,
        StreamStats,
        TrialLoader,
    )
    from .tier_statistics import train_statistics
    from .trial_statistics import Statistics
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Batch": ".streaming",
            "DivideByStd": ".streaming",
            "FieldLoader": ".field",
            "ForkedError": ".streaming",
            "Mouse": ".mouse",
            "Repeats": ".repeats",
            "ScaleByStd": ".streaming",
            "Standardize": ".streaming",
            "Statistics": ".trial_statistics",
            "StreamStats": ".streaming",
            "Trial": ".recording",
            "TrialLoader": ".streaming",
            "field_loaders": ".field",
            "open_mice": ".opening",
            "open_mouse": ".opening",
            "save_statistics": ".statistics_files",
            "summarize": ".opening",
            "train_statistics": ".tier_statistics",
            "trial_figure": ".figure",
        },
    )

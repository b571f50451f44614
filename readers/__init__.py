"""Out of the store: open, select, reduce."""

from typing import TYPE_CHECKING

from ..store.lazy_names import lazy_names

__all__ = [
    "Affine",
    "Batch",
    "ByStatistics",
    "Constants",
    "Description",
    "DivideByStd",
    "FieldLoader",
    "FieldNormalization",
    "FittedTransform",
    "ForkedError",
    "MinMax",
    "Mouse",
    "Plan",
    "Relu",
    "Repeats",
    "ScaleByStd",
    "Standardize",
    "Statistics",
    "StreamStats",
    "Transform",
    "Trial",
    "TrialLoader",
    "ViV1TNormalization",
    "field_loaders",
    "open_mice",
    "open_mouse",
    "save_statistics",
    "stitch",
    "summarize",
    "train_statistics",
    "trial_figure",
]

if TYPE_CHECKING:
    from .direct import Affine
    from .field import FieldLoader, field_loaders
    from .figure import trial_figure
    from .mouse import Mouse
    from .opening import open_mice, open_mouse, summarize
    from .recording import Trial
    from .repeats import Repeats
    from .sampling import Plan
    from .statistics_files import save_statistics
    from .streaming import Batch, Description, FittedTransform, ForkedError, StreamStats, TrialLoader, stitch
    from .tier_statistics import train_statistics
    from .transforms import (
        ByStatistics,
        Constants,
        DivideByStd,
        FieldNormalization,
        MinMax,
        Relu,
        ScaleByStd,
        Standardize,
        Transform,
        ViV1TNormalization,
    )
    from .trial_statistics import Statistics
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Affine": ".direct",
            "Batch": ".streaming",
            "ByStatistics": ".transforms",
            "Constants": ".transforms",
            "Description": ".streaming",
            "DivideByStd": ".transforms",
            "FieldLoader": ".field",
            "FieldNormalization": ".transforms",
            "FittedTransform": ".streaming",
            "ForkedError": ".streaming",
            "MinMax": ".transforms",
            "Mouse": ".mouse",
            "Plan": ".sampling",
            "Relu": ".transforms",
            "Repeats": ".repeats",
            "ScaleByStd": ".transforms",
            "Standardize": ".transforms",
            "Statistics": ".trial_statistics",
            "StreamStats": ".streaming",
            "Transform": ".transforms",
            "Trial": ".recording",
            "TrialLoader": ".streaming",
            "ViV1TNormalization": ".transforms",
            "field_loaders": ".field",
            "open_mice": ".opening",
            "open_mouse": ".opening",
            "save_statistics": ".statistics_files",
            "stitch": ".streaming",
            "summarize": ".opening",
            "train_statistics": ".tier_statistics",
            "trial_figure": ".figure",
        },
    )

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
    "FINDING_KINDS",
    "FieldLoader",
    "FieldNormalization",
    "Finding",
    "FittedTransform",
    "ForkedError",
    "MinMax",
    "Mouse",
    "Plan",
    "Relu",
    "Repeats",
    "Report",
    "ScaleByStd",
    "Standardize",
    "Statistics",
    "StoreReport",
    "StreamStats",
    "Transform",
    "Trial",
    "TrialLoader",
    "ViV1TNormalization",
    "field_loaders",
    "open_mice",
    "open_mouse",
    "repeats_figure",
    "report_stores",
    "save_movie",
    "save_statistics",
    "stitch",
    "summarize",
    "train_statistics",
    "trial_figure",
]

if TYPE_CHECKING:
    from .direct import Affine
    from .field import FieldLoader, field_loaders
    from .figure import repeats_figure, trial_figure
    from .mouse import Mouse
    from .movie import save_movie
    from .opening import open_mice, open_mouse, summarize
    from .recording import Trial
    from .repeats import Repeats
    from .report import FINDING_KINDS, Finding, Report, StoreReport, report_stores
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
            "FINDING_KINDS": ".report",
            "FieldLoader": ".field",
            "FieldNormalization": ".transforms",
            "Finding": ".report",
            "FittedTransform": ".streaming",
            "ForkedError": ".streaming",
            "MinMax": ".transforms",
            "Mouse": ".mouse",
            "Plan": ".sampling",
            "Relu": ".transforms",
            "Repeats": ".repeats",
            "Report": ".report",
            "ScaleByStd": ".transforms",
            "Standardize": ".transforms",
            "Statistics": ".trial_statistics",
            "StoreReport": ".report",
            "StreamStats": ".streaming",
            "Transform": ".transforms",
            "Trial": ".recording",
            "TrialLoader": ".streaming",
            "ViV1TNormalization": ".transforms",
            "field_loaders": ".field",
            "open_mice": ".opening",
            "open_mouse": ".opening",
            "repeats_figure": ".figure",
            "report_stores": ".report",
            "save_movie": ".movie",
            "save_statistics": ".statistics_files",
            "stitch": ".streaming",
            "summarize": ".opening",
            "train_statistics": ".tier_statistics",
            "trial_figure": ".figure",
        },
    )

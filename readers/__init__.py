"""Out of the store: open, select, reduce."""

from .figure import trial_figure
from .mouse import Mouse
from .opening import open_mice, open_mouse
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
from .summary import summarize
from .train_statistics import train_statistics
from .trial import Trial
from .trial_statistics import Statistics

__all__ = [
    "Batch",
    "DivideByStd",
    "ForkedError",
    "Mouse",
    "ScaleByStd",
    "Standardize",
    "Statistics",
    "StreamStats",
    "Trial",
    "TrialLoader",
    "open_mice",
    "open_mouse",
    "save_statistics",
    "summarize",
    "train_statistics",
    "trial_figure",
]

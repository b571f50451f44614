"""Out of the store: open, select, reduce."""

from .figure import trial_figure
from .mouse import Mouse
from .opening import open_mice, open_mouse
from .statistics_files import save_statistics
from .summary import summarize
from .train_statistics import Statistics, train_statistics
from .trial import Trial

__all__ = [
    "Mouse",
    "Statistics",
    "Trial",
    "open_mice",
    "open_mouse",
    "save_statistics",
    "summarize",
    "train_statistics",
    "trial_figure",
]

"""Out of the store: open, select, reduce."""

from .mouse import Mouse, Trial, open_mice, open_mouse
from .summary import summarize
from .train_statistics import Statistics, train_statistics

__all__ = ["Mouse", "Statistics", "Trial", "open_mice", "open_mouse", "summarize", "train_statistics"]

"""Count, minimum, maximum, mean, median and standard deviation, exact and out of core."""

from .out_of_core import DEFAULT_MAX_MEMORY, needed_memory, reduce_recording
from .summary import Summary

__all__ = ["DEFAULT_MAX_MEMORY", "Summary", "needed_memory", "reduce_recording"]

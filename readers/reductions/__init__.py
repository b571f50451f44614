"""Count, minimum, maximum, mean, median and standard deviation, exact and out of core."""

from .out_of_core import DEFAULT_MAX_MEMORY, PROCESS_BYTES, needed_memory, reduce_recording
from .reduced import Reduced

__all__ = ["DEFAULT_MAX_MEMORY", "PROCESS_BYTES", "Reduced", "needed_memory", "reduce_recording"]

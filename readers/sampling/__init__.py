"""Which trials or windows, in what order, in which batches: arithmetic without any input or output.

`windows` says what a sample is, `batches` which of them form a batch, `mixing` which mouse is next, `sampler` puts them
together and knows the place in an epoch. Everything is a pure function of a seed and of the number of the epoch.
"""

from .batches import BatchPlan, Mixing, MouseBatches, parse
from .sampler import EpochPosition, Sampler
from .windows import Trials, WindowChoice, Windows

__all__ = [
    "BatchPlan",
    "Mixing",
    "MouseBatches",
    "EpochPosition",
    "Sampler",
    "Trials",
    "WindowChoice",
    "Windows",
    "parse",
]

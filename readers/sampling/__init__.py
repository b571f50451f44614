"""Which trials or windows, in what order, in which batches: arithmetic without any input or output.

`windows` says what a sample is, `batches` which of them form a batch and which mouse is next, `shards` mixes samples
among some shards at a time, `own` takes batches from a sampler of one's own, and `sampler` knows each process's share
and the place in an epoch. Everything else is a pure function of a seed and of the number of the epoch.
"""

from .batches import BatchPlan, Mixing, MouseBatches, parse
from .own import OwnPlans, Plan
from .sampler import EpochPosition, MixedMice, Sampler
from .shards import Shards, ShuffleQuality, shuffle_quality
from .windows import Trials, WindowChoice, Windows

__all__ = [
    "BatchPlan",
    "EpochPosition",
    "MixedMice",
    "Mixing",
    "MouseBatches",
    "OwnPlans",
    "Plan",
    "Sampler",
    "Shards",
    "ShuffleQuality",
    "Trials",
    "WindowChoice",
    "Windows",
    "parse",
    "shuffle_quality",
]

"""Batches of trials for training: read ahead by threads, in memory that is used again."""

from .batch import Batch
from .description import Description
from .fitted import FittedTransform
from .loader import TrialLoader
from .pipeline import ForkedError, StreamStats
from .stitching import stitch

__all__ = [
    "Batch",
    "Description",
    "FittedTransform",
    "ForkedError",
    "StreamStats",
    "TrialLoader",
    "stitch",
]

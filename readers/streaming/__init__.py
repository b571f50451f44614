"""Batches of trials for training: read ahead by threads, in memory that is used again."""

from .batch import Batch
from .forks import ForkedError
from .loader import TrialLoader
from .normalization import DivideByStd, ScaleByStd, Standardize, Transform
from .report import StreamStats

__all__ = [
    "Batch",
    "DivideByStd",
    "ForkedError",
    "ScaleByStd",
    "Standardize",
    "StreamStats",
    "Transform",
    "TrialLoader",
]

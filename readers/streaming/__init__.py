"""Batches of trials for training: read ahead by threads, in memory that is used again."""

from .batch import Batch
from .loader import TrialLoader
from .normalization import DivideByStd, ScaleByStd, Standardize, Transform
from .pipeline import ForkedError, StreamStats

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

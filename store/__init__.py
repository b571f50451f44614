"""The format: names, dtypes, chunks, manifest, integrity, publishing, errors.

The lowest layer; it imports nothing else of trialpack.
"""

from .errors import (
    Argument,
    Call,
    CorruptStoreError,
    OptionError,
    Problem,
    SourceError,
    StoreBusyError,
    StoreExistsError,
    StoreFormatError,
    TrialpackError,
    UnknownNameError,
)
from .index import StoreIndex
from .integrity import check_full, check_quick
from .layout import FORMAT_VERSION

__all__ = [
    "FORMAT_VERSION",
    "Argument",
    "Call",
    "CorruptStoreError",
    "OptionError",
    "Problem",
    "SourceError",
    "StoreBusyError",
    "StoreExistsError",
    "StoreFormatError",
    "StoreIndex",
    "TrialpackError",
    "UnknownNameError",
    "check_full",
    "check_quick",
]

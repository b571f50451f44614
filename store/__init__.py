"""The format: names, dtypes, chunks, manifest, integrity, publishing, errors.

The lowest layer; it imports nothing else of trialpack.
"""

from typing import TYPE_CHECKING

from .errors import (
    AccessError,
    Argument,
    Call,
    ClusterError,
    CorruptStoreError,
    OptionError,
    Problem,
    ResourceError,
    SourceError,
    StoreBusyError,
    StoreExistsError,
    StoreFormatError,
    TrialpackError,
    UnknownNameError,
)
from .lazy_names import lazy_names

__all__ = [
    "FORMAT_VERSION",
    "AccessError",
    "Argument",
    "Call",
    "ClusterError",
    "CorruptStoreError",
    "OptionError",
    "Problem",
    "ResourceError",
    "SourceError",
    "StoreBusyError",
    "StoreExistsError",
    "StoreFormatError",
    "StoreIndex",
    "TrialpackError",
    "UnknownNameError",
    "check_full",
    "check_quick",
    "pull_store",
    "push_store",
]

if TYPE_CHECKING:
    from .index import StoreIndex
    from .integrity import check_full, check_quick
    from .layout import FORMAT_VERSION
    from .pull import pull_store
    from .push import push_store
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "FORMAT_VERSION": ".layout",
            "StoreIndex": ".index",
            "check_full": ".integrity",
            "check_quick": ".integrity",
            "pull_store": ".pull",
            "push_store": ".push",
        },
    )

"""One verified Zarr v3 store for a mouse's thousands of trial files, and fast streams out of it.

>>> from trialpack import TrialLoader, convert_mouse, open_mouse

Importing `trialpack` loads neither numpy nor dask: what these functions and classes need is imported when they are
first asked for. `trialpack.readers`, `trialpack.convert` and `trialpack.store` offer more than stands here.
"""

# This folder is the package `trialpack` once it is installed; where it lies, type checkers do not find its siblings.
# pyright: reportMissingImports=false

from typing import TYPE_CHECKING

from .store.errors import (
    AccessError,
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
from .store.lazy_names import lazy_names

__all__ = [
    "AccessError",
    "ClusterError",
    "CorruptStoreError",
    "ForkedError",
    "Mouse",
    "OptionError",
    "Problem",
    "ResourceError",
    "SourceError",
    "StoreBusyError",
    "StoreExistsError",
    "StoreFormatError",
    "TrialLoader",
    "TrialpackError",
    "UnknownNameError",
    "__version__",
    "convert_mouse",
    "export_mouse",
    "field_loaders",
    "open_mice",
    "open_mouse",
    "plan_mouse",
    "predict_sizes",
    "pull_store",
    "push_store",
    "train_statistics",
    "verify_mouse",
]

if TYPE_CHECKING:
    from .convert import convert_mouse, export_mouse, plan_mouse, predict_sizes, verify_mouse
    from .readers import ForkedError, Mouse, TrialLoader, field_loaders, open_mice, open_mouse, train_statistics
    from .store import pull_store, push_store
    from .version import __version__
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "ForkedError": ".readers",
            "Mouse": ".readers",
            "TrialLoader": ".readers",
            "__version__": ".version",
            "convert_mouse": ".convert",
            "export_mouse": ".convert",
            "field_loaders": ".readers",
            "open_mice": ".readers",
            "open_mouse": ".readers",
            "plan_mouse": ".convert",
            "predict_sizes": ".convert",
            "pull_store": ".store",
            "push_store": ".store",
            "train_statistics": ".readers",
            "verify_mouse": ".convert",
        },
    )

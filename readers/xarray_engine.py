"""The engine ``trialpack`` of `xarray.open_dataset`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import xarray as xr
from xarray.backends import BackendEntrypoint

from .opening import open_mouse
from .selection import Choice, Tier


class TrialpackEngine(BackendEntrypoint):
    """Opens stores as `Mouse.to_xarray` shows them: ``xr.open_dataset(store, engine="trialpack")``."""

    description = "Open trialpack stores, with coordinates of trials, neurons, channels and time"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "tier", "trials", "neurons", "storage_options")

    def open_dataset(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        tier: Tier = None,
        trials: Choice | None = None,
        neurons: Choice | None = None,
        storage_options: Any = None,
    ) -> xr.Dataset:
        """Return the data set of a store.

        Parameters
        ----------
        filename_or_obj, storage_options
            As in `open_mouse`.
        drop_variables
            Names that the data set is to lack.
        tier, trials, neurons
            As in `Mouse.to_xarray`.

        Raises
        ------
        StoreFormatError, CorruptStoreError, OptionError
            As `open_mouse` and `Mouse.to_xarray`.
        """
        mouse = open_mouse(filename_or_obj, storage_options=storage_options)
        found = mouse.to_xarray(tier=tier, trials=trials, neurons=neurons)
        return found.drop_vars(drop_variables or [])

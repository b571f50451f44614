"""What is done with every batch: its values are looked at, as they are or made contiguous first. Imports numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAGE = 4096
"""Bytes of which one value is read."""
C, FRAMES_FIRST, OTHER = "C", "frames first", "other"
"""Orders in memory: of the shape; the frames of a sample outermost; neither."""


def consume(batch: Mapping[str, Any], names: tuple[str, ...], *, contiguous: bool) -> float:
    """Read one value of every `PAGE` bytes of each variable, and return their sum.

    Parameters
    ----------
    contiguous
        Copy what is not C-contiguous in its shape first, with the means of the batch's own library.
    """
    return sum(touch(np.asarray(_copied(batch[name]) if contiguous else batch[name])) for name in names)


def touch(values: NDArray[Any]) -> float:
    """Read one value of every `PAGE` bytes that an array takes, in the order of memory, and return their sum."""
    ordered = values.transpose(np.argsort([-abs(stride) for stride in values.strides], kind="stable"))
    if ordered.flags.c_contiguous:
        return float(ordered.reshape(-1)[:: PAGE // values.itemsize].sum())
    if ordered.ndim == 1:
        return float(ordered[:: max(1, PAGE // abs(ordered.strides[0]))].sum())
    return sum(touch(part) for part in ordered)


def order_of(batch: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the order in memory of the variables of a batch, the worst of them."""
    found = {_order(np.asarray(batch[name])) for name in names}
    return next(order for order in (OTHER, FRAMES_FIRST, C) if order in found)


def _order(values: NDArray[Any]) -> str:
    if values.flags.c_contiguous:
        return C
    strides = np.moveaxis(values, -1, 1).strides
    return FRAMES_FIRST if list(strides) == sorted(strides, reverse=True) else OTHER


def _copied(values: Any) -> Any:
    return values.contiguous() if hasattr(values, "contiguous") else np.ascontiguousarray(values)

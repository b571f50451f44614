"""Validity of one trial: its valid frames, whether its responses were withheld, what is unusual about it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def valid_frames(values: NDArray[Any], frame_axis: int) -> int:
    """Count the frames up to the last one that holds any number.

    Parameters
    ----------
    values
        One variable of one trial, float; shorter trials are padded with frames that are NaN throughout.
    frame_axis
        Which axis is frames.

    Examples
    --------
    >>> valid_frames(np.array([[1.0, np.nan, 2.0, np.nan, np.nan], [np.nan] * 5]), 1)
    3
    """
    frames = np.moveaxis(values, frame_axis, 0)
    # One neuron, or pixel, tells where the padding starts; that it is padding for all of them is then cheap to see.
    numbers = np.flatnonzero(~np.isnan(frames[(slice(None), *[0] * (frames.ndim - 1))]))
    guess = int(numbers[-1]) + 1 if numbers.size else 0
    if np.isnan(frames[guess:]).all():
        return guess
    held = ~np.isnan(frames).all(axis=tuple(range(1, frames.ndim)))
    return int(np.flatnonzero(held)[-1]) + 1


def is_withheld(responses: NDArray[Any]) -> bool:
    """Return whether responses are a placeholder: no value but zero (and NaN padding).

    Examples
    --------
    >>> is_withheld(np.array([0.0, 0.0, np.nan])), is_withheld(np.array([0.0, 1e-9]))
    (True, False)
    """
    # The first value decides for almost every real recording, so that the rest is not read.
    first = responses.flat[0]
    return not (first == first and first != 0) and not np.any(np.nan_to_num(responses))


def holds_nan(values: NDArray[Any], frame_axis: int | None, n_frames: int) -> bool:
    """Return whether there is a NaN among the valid frames."""
    valid = values if frame_axis is None else np.moveaxis(values, frame_axis, 0)[:n_frames]
    return bool(np.isnan(valid).any())

"""Pictures, cropped and downscaled; and all that changes values on their way into a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .affine import Affine
from .copying import BLOCK, assign_rounded, block_nbytes, copy_values, cut

Array = NDArray[Any]
Size = tuple[int, int]
_TAPS = 4
"""Recorded pixels that become one."""


class Pictures:
    """The middle of pictures, downscaled.

    Parameters
    ----------
    names
        Dimensions of height and width.
    recorded
        Height and width of the recorded pictures.
    crop
        Those of the part in the middle; where an odd number of pixels is cut off, one more at the bottom or right.
    size
        Those of that part, downscaled.

    Notes
    -----
    Interpolation is bilinear, between the four pixels around the middle of a new one, without smoothing: as `rescale`
    of scikit-image does without anti-aliasing, which the 2022 baselines use, and torch's ``interpolate`` with
    ``mode="bilinear"``. It is computed in float64 and rounded once.
    """

    def __init__(self, names: Sequence[str], recorded: Size, crop: Size, size: Size) -> None:
        self.size, self.sizes = size, dict(zip(names, size, strict=True))
        first = [(whole - part) // 2 for whole, part in zip(recorded, crop, strict=True)]
        self.scaled = tuple(size) != tuple(crop)
        self._middle = {name: slice(at, at + part) for name, at, part in zip(names, first, crop, strict=True)}
        self._taps = {name: _taps(*one) for name, *one in zip(names, crop, size, strict=True)}

    def crop(self, values: Array, axes: Sequence[str]) -> Array:
        """Return the middle, as a view; of statistics over pixels all."""
        for name, part in self._middle.items():
            axis = axes.index(name)
            values = values if values.shape[axis] == 1 else cut(values, axis, part)
        return values

    def gather(self, values: Array, axes: Sequence[str]) -> Array:
        """Return the pixels of a middle that become one, side by side; of statistics over pixels all."""
        for name, (places, _) in self._taps.items():
            axis = axes.index(name)
            values = values if values.shape[axis] == 1 else values.take(places, axis)
        return values

    def merge(self, values: Array, axes: Sequence[str]) -> Array:
        """Return the pixels that become of those that were gathered, float64."""
        for name, (_, weights) in self._taps.items():
            pairs = np.moveaxis(values, axes.index(name), -1)
            merged = pairs[..., 0::2] * (1 - weights) + pairs[..., 1::2] * weights
            values = np.moveaxis(merged, -1, axes.index(name))
        return values


def _taps(length: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (2 * wanted,) the pixels to the left and right of each new one, and (wanted,) the weight of the right one.

    Examples
    --------
    >>> _taps(8, 2)
    (array([1, 2, 5, 6]), array([0.5, 0.5]))
    """
    middles = np.arange(0.5, wanted) * (length / wanted) - 0.5
    left = np.floor(middles).astype(np.int64)
    return np.stack([left, np.minimum(left + 1, length - 1)], axis=1).reshape(-1), middles - left


class Change:
    """What becomes of the values of one variable.

    Parameters
    ----------
    affine
        As `Affine.arranged` returns it; None for values as they were recorded.
    pictures
        None for pictures as they were recorded.
    neurons
        (n,) positions; None for all.
    axes
        Dimensions of a trial as they lie in memory.
    frame_axis
        Which of them are frames.
    """

    def __init__(
        self,
        affine: Affine | None,
        pictures: Pictures | None,
        neurons: NDArray[np.int64] | None,
        axes: Sequence[str],
        frame_axis: int | None,
    ) -> None:
        self._pictures, self._neurons, self._axes, self._frame_axis = pictures, neurons, axes, frame_axis
        if affine is not None and pictures is not None:
            affine = affine.mapped(lambda values: pictures.crop(values, axes))
            affine = affine.mapped(lambda values: pictures.gather(values, axes)) if pictures.scaled else affine
        self._affine = affine

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return 0 if self._affine is None else self._affine.nbytes

    def write(self, source: Array, out: Array, frames: slice) -> None:
        """Write some frames of a trial, changed; `frames` are those of the recording."""
        affine = self._affine and self._affine.cut(self._frame_axis, frames)
        if self._pictures is not None:
            source = self._pictures.crop(source, self._axes)
        if self._pictures is not None and self._pictures.scaled:
            self._downscale(self._pictures, affine, source, out)
        elif affine is not None:
            affine.write(source, out, self._neurons, self._axes)
        else:
            copy_values(source, out, self._neurons, self._axes)

    def scratch_nbytes(self, sample: Sequence[int]) -> int:
        """Return the bytes that it takes at most to write samples of a shape."""
        if self._pictures is None or not self._pictures.scaled:
            return block_nbytes()
        return block_nbytes(max(BLOCK, _TAPS * self._step_pixels(self._pictures, sample)))

    def _downscale(self, pictures: Pictures, affine: Affine | None, source: Array, out: Array) -> None:
        # Frame by frame or so: by the first axis, unless that is one of pixels.
        many = self._axes[0] not in pictures.sizes
        step = max(1, BLOCK // max(1, _TAPS * self._step_pixels(pictures, out.shape))) if many else len(source)
        for first in range(0, len(source), step):
            part = slice(first, first + step)
            block = pictures.gather(source[part], self._axes).astype(np.float64)
            if affine is not None:
                affine.cut(0, part).apply(block)
            assign_rounded(out[part if many else slice(None)], pictures.merge(block, self._axes))

    def _step_pixels(self, pictures: Pictures, sample: Sequence[int]) -> int:
        """Return how many pixels of samples of a shape are made at once at least."""
        return math.prod(sample if self._axes[0] in pictures.sizes else sample[1:])

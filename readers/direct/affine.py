"""Shift and scale, applied where values are decoded: they are then in the processor's cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store import layout
from .copying import cut


@dataclass(frozen=True)
class Affine:
    """``(x - shift) * scale``.

    Attributes
    ----------
    shift, scale
        float32, the axes of a trial in the store; an axis of length one applies to all. No shift means zero.
    """

    shift: NDArray[np.float32] | None
    scale: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of both."""
        return self.scale.nbytes + (0 if self.shift is None else self.shift.nbytes)

    def arranged(self, given: Sequence[str], wanted: Sequence[str], neurons: NDArray[np.int64] | None) -> Affine:
        """Return it for other axes, and for chosen neurons.

        Parameters
        ----------
        given, wanted
            Names of the axes as they are, and as they are to be.
        neurons
            Positions; all by default.
        """

        def arrange(values: NDArray[np.float32]) -> NDArray[np.float32]:
            moved = values.transpose([given.index(name) for name in wanted])
            if neurons is not None and layout.NEURON in wanted:
                axis = wanted.index(layout.NEURON)
                moved = moved.take(neurons, axis) if moved.shape[axis] > 1 else moved
            return np.array(moved, order="C")

        return Affine(None if self.shift is None else arrange(self.shift), arrange(self.scale))

    def cut(self, axis: int | None, frames: slice) -> Affine:
        """Return the part for some frames of the recording, given which axis frames are."""

        def part(values: NDArray[np.float32]) -> NDArray[np.float32]:
            return values if axis is None or values.shape[axis] == 1 else cut(values, axis, frames)

        return Affine(None if self.shift is None else part(self.shift), part(self.scale))

    def apply(self, values: NDArray[Any]) -> None:
        """Change values in place."""
        # Without variation the scale is infinite, and what is made of it NaN or infinite, as in the public loaders.
        with np.errstate(invalid="ignore", over="ignore"):
            if self.shift is not None:
                np.subtract(values, self.shift, out=values)
            np.multiply(values, self.scale, out=values)

"""The transforms of a loader, for what a model predicts and for values of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store import OptionError, Problem, layout
from ...store.layout import Variable
from ..direct import Affine
from ..mouse import Mouse
from .mouse_stream import Selection

Array = NDArray[Any]


@dataclass(frozen=True)
class _OfMouse:
    """What becomes of one mouse's variable, axes as in a batch."""

    affine: Affine
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]


class FittedTransform:
    """What a loader makes of one variable: ``max((x - shift) / divisor, least)``.

    Arrays are those of a batch, (B, …), or of one trial, numpy's or torch's on any device; results have their dtype,
    or float32 for integers. Pictures are those before `crop` and `stimulus_size`; neurons those of the loader.
    """

    def __init__(self, variable: Variable, of_mice: Mapping[str, _OfMouse]) -> None:
        self._variable, self._of_mice = variable, of_mice

    def apply(self, x: Any, *, mouse: str | None = None, start: Any = 0, stride: int = 1) -> Any:
        """Return recorded values as the loader normalizes them.

        Parameters
        ----------
        x
            Array or tensor with the variable's axes in a batch; axes before them are samples.
        mouse
            Name of the recording, as ``batch.mouse``; needed where the loader has several.
        start
            First frame of all samples, or of each, as ``batch["start"]``.
        stride
            Every how many frames of the recording one is there.

        Raises
        ------
        OptionError
            The shape or the mouse does not fit, or there are no statistics of a frame.
        """
        affine, x = self._part(x, mouse, start, stride)
        wide, placed, narrow = _widened(x, affine.single and str(x.dtype).endswith("float32"))
        found = wide if affine.shift is None else wide - placed(affine.shift)
        found = found / placed(affine.divisor)
        return narrow(found if affine.least is None else found.clip(min=affine.least))

    def inverse(self, x: Any, *, mouse: str | None = None, start: Any = 0, stride: int = 1) -> Any:
        """Return recorded values, given normalized ones; parameters and errors as in `apply`.

        Of elements without variation it is what they are subtracted from: their mean, minimum, or zero. What is below
        `least` is not known any more.
        """
        affine, x = self._part(x, mouse, start, stride)
        wide, placed, narrow = _widened(x, False)
        found = wide * placed(np.where(np.isinf(affine.divisor), 0, affine.divisor))
        return narrow(found if affine.shift is None else found + placed(affine.shift))

    def __repr__(self) -> str:
        """Return a one-line summary."""
        return f"<FittedTransform of {self._variable.name} of {', '.join(self._of_mice)}>"

    def _part(self, x: Any, mouse: str | None, start: Any, stride: int) -> tuple[Affine, Any]:
        """Return the numbers for the frames of an array, with its axes."""
        of = self._of(mouse)
        x = np.asarray(x) if not hasattr(x, "shape") or isinstance(x, np.generic) else x
        extra, starts = x.ndim - len(of.dimensions), np.asarray(start, np.int64)
        axis = of.dimensions.index(layout.FRAME) if layout.FRAME in of.dimensions else None
        sizes = [size for place, size in enumerate(x.shape[max(0, extra) :]) if place != axis]
        if extra < 0 or sizes != [size for place, size in enumerate(of.shape) if place != axis]:
            expected = dict(zip(of.dimensions, of.shape, strict=True))
            what = f"an array of shape {tuple(x.shape)} is none of {self._variable.name} (expected … and {expected})"
            raise OptionError(Problem("x", what, "give values as the loader's batches have them, before stimulus_size"))
        if axis is None:
            return of.affine, x
        frames = starts[..., None] + np.arange(x.shape[extra + axis]) * stride
        return of.affine.mapped(lambda values: _take(values, frames, axis, extra)), x

    def _of(self, mouse: str | None) -> _OfMouse:
        known = [mouse] if mouse is not None else list(self._of_mice)
        if len(known) > 1 or known[0] not in self._of_mice:
            what = "the loader has several mice" if mouse is None else f"the loader has no {mouse!r}"
            raise OptionError(Problem("mouse", what, f"give one of {', '.join(self._of_mice)}"))
        return self._of_mice[known[0]]


def fitted(mice: Sequence[Mouse], selections: Sequence[Selection]) -> dict[str, FittedTransform]:
    """Return the transform of each variable that is normalized."""
    found = dict[str, dict[str, _OfMouse]]()
    variables = dict[str, Variable]()
    for mouse, selection in zip(mice, selections, strict=True):
        for name, affine in selection.affines.items():
            variable = variables[name] = mouse.recording.variable(name)
            sizes = dict(zip(variable.dimensions, mouse.recording.arrays[name].shape[1:], strict=True))
            if selection.neurons is not None and layout.NEURON in sizes:
                sizes[layout.NEURON] = len(selection.neurons)
            dimensions = variable.batch_dimensions
            arranged = affine.arranged(variable.dimensions, dimensions, selection.neurons)
            of = _OfMouse(arranged, dimensions, tuple(sizes[one] for one in dimensions))
            found.setdefault(name, {})[mouse.name] = of
    return {name: FittedTransform(variables[name], of_mice) for name, of_mice in found.items()}


def _take(values: Array, frames: Array, axis: int, extra: int) -> Array:
    """Return the numbers for (F,) or (B, F) frames; for those of each sample, an axis of samples comes first."""
    if values.shape[axis] == 1:
        return values
    if frames.size and not 0 <= frames.min() <= frames.max() < values.shape[axis]:
        what = f"there are statistics of {values.shape[axis]} frames, not of frames {frames.min()} to {frames.max()}"
        raise OptionError(Problem("start", what, "give the first frame of each sample, as batch['start']"))
    taken = values.take(frames, axis)
    if frames.ndim == 1:
        return taken
    by_sample = np.moveaxis(taken, axis, 0)
    return by_sample.reshape(len(by_sample), *(1,) * (extra - 1), *by_sample.shape[1:])


def _widened(x: Any, single: bool) -> tuple[Any, Callable[[Array], Any], Callable[[Any], Any]]:
    """Return an array in the precision to compute in, what makes numbers fit it, and what gives results its dtype."""
    if not isinstance(x, np.ndarray):
        from .tensors import widened

        return widened(x, single)
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    wide: Array = x if single else x.astype(np.float64)
    return wide, lambda numbers: numbers, lambda found: found.astype(dtype, copy=False)

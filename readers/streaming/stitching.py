"""Put predictions for samples back together to whole trials."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store import OptionError, Problem, layout
from ...store.arguments import check_type
from .batch import START, Batch

Array = NDArray[Any]
_LABEL = "stitch"


def stitch(
    batches: Iterable[Batch], predictions: Iterable[Any] | Callable[[Batch], Any]
) -> dict[str, dict[int, NDArray[Any]]]:
    """Return predictions for whole trials, of those for samples of them.

    Parameters
    ----------
    batches
        Batches of a `TrialLoader`, or the loader.
    predictions
        For each batch an array or a tensor (B, …, F) on any device, F frames of each sample; (B, …) of static mice. Or
        a function that makes it of a batch, so that no more than one batch is held.

    Returns
    -------
    dict
        Name of the mouse -> trial_id -> (…, n_frames) array of the data type of the predictions, float64 for integers:
        the mean of all predictions for each valid frame of the trial; NaN for frames that no sample has.

    Raises
    ------
    OptionError
        There are more batches than predictions, or the other way round; or a shape does not fit.

    Notes
    -----
    Sums have float32 at least. A model that leaves out the first frames of its samples, for it needs some before it can
    predict, gives fewer frames than a sample has: predictions are for its last ones.

    Examples
    --------
    >>> from trialpack.readers import stitch
    >>> loader = TrialLoader(mouse, tier="oracle", batch_size=4, window=80, hop=40)  # doctest: +SKIP
    >>> rates = stitch(loader, lambda batch: model(batch["videos"]))[mouse.name]  # doctest: +SKIP
    """
    check_type("batches", batches, Iterable, "batches of a TrialLoader")
    check_type("predictions", predictions, (Iterable, Callable), "an array for each batch, or a function of a batch")
    sums = dict[str, dict[int, _Mean]]()
    for batch, found in _pairs(batches, predictions):
        values, ids, starts = _checked(batch, found)
        own = sums.setdefault(str(batch.mouse), {})
        n_frames = batch.n_frames or (None,) * len(ids)
        for trial, start, most, value in zip(ids, starts, n_frames, values, strict=True):
            mean = own.setdefault(trial, _Mean(value, most))
            if mean.shape != (value.shape if most is None else value.shape[:-1]):
                raise _refused(f"predictions for trial {trial} of {batch.mouse} differ in shape: {value.shape}")
            mean.add(value, start, batch.stride)
    return {mouse: {trial: mean.values() for trial, mean in own.items()} for mouse, own in sums.items()}


class _Mean:
    """The mean of predictions for each frame of a trial; of the whole of it where it has no frames."""

    def __init__(self, like: Array, n_frames: int | None) -> None:
        floats = like.dtype if like.dtype.kind not in "biu" else np.dtype(np.float64)
        self.shape, self._dtype = like.shape if n_frames is None else like.shape[:-1], floats
        self._framed = n_frames is not None
        wide = np.float32 if floats.itemsize < np.dtype(np.float32).itemsize else floats
        self._sum = np.zeros((*self.shape, n_frames or 1), wide)
        self._count = np.zeros(n_frames or 1, np.int64)

    def add(self, values: Array, start: int, stride: int) -> None:
        frames = slice(start, start + (values.shape[-1] - 1) * stride + 1, stride) if self._framed else slice(None)
        self._sum[..., frames] += values if self._framed else values[..., None]
        self._count[frames] += 1

    def values(self) -> Array:
        with np.errstate(invalid="ignore"):
            found = (self._sum / np.where(self._count, self._count, np.nan).astype(self._sum.dtype)).astype(self._dtype)
        return found if self._framed else found[..., 0]


def _pairs(batches: Iterable[Batch], predictions: Any) -> Iterator[tuple[Batch, Any]]:
    """Yield each batch with the predictions for it."""
    if callable(predictions):
        yield from ((batch, predictions(batch)) for batch in batches)
        return
    rest, number = iter(predictions), 0
    for number, batch in enumerate(batches, 1):
        try:
            yield batch, next(rest)
        except StopIteration:
            raise _refused(f"more batches than predictions, which are {number - 1}") from None
    if next(rest, None) is not None:
        raise _refused(f"more predictions than batches, which are {number}")


def _checked(batch: Any, found: Any) -> tuple[Array, list[int], list[int]]:
    """Return predictions as an array, with the trials that they are for, and the first frame of each."""
    known = isinstance(batch, Batch) and batch.mouse is not None and batch.tier is not None
    if not known or not {layout.TRIAL_ID, START} <= set(batch):
        raise _refused("a batch does not say where its samples are from", "give batches as a TrialLoader gives them")
    values, ids, starts = _as_numpy(found), batch[layout.TRIAL_ID].tolist(), batch[START].tolist()
    if values.ndim < 1 + (batch.n_frames is not None) or len(values) != len(ids):
        what = f"predictions of shape {values.shape} for a batch of {len(ids)} samples"
        raise _refused(what, "give (B, …, F), or (B, …) of static mice")
    if batch.n_frames is None:
        return values, ids, starts
    left_out = batch.frames - values.shape[-1]
    if left_out < 0 or not values.shape[-1]:
        raise _refused(f"predictions for {values.shape[-1]} frames of samples that have {batch.frames}")
    return values, ids, [start + left_out * batch.stride for start in starts]


def _as_numpy(found: Any) -> Array:
    """Return an array of an array, or of a tensor on any device."""
    if hasattr(found, "detach"):
        found = found.detach().cpu()
        found = found if "bfloat16" not in str(found.dtype) else found.float()
    return np.asarray(found)


def _refused(
    what: str, advice: str = "give the predictions for each batch, in the order of the batches"
) -> OptionError:
    return OptionError(Problem(_LABEL, what, advice))

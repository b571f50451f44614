"""What becomes of slots that were filled: arrays, tensors, or tensors on a device."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, get_args

import numpy as np

from ...store import OptionError, Problem
from ...store.arguments import check_choice
from ...store.memory import allocate
from ..direct import BFLOAT16
from ..mouse import Mouse
from ..sampling import BatchPlan, MixedMice, MouseBatches, Sampler
from .augmentation import AHEAD
from .batch import Batch
from .budget import plan_memory
from .buffers import Allocate, BufferPool, mapped
from .mouse_stream import MouseStream, Selection
from .options import LABEL, Output, Resources
from .pipeline import Filled, Pipeline


@dataclass(frozen=True)
class Target:
    """Where batches go.

    Attributes
    ----------
    selections
        What is read of each mouse.
    to_batches
        What makes batches of slots.
    allocate
        What makes the memory of a slot.
    in_transfer
        How many slots a device copies from, or a transform works on, after they were read and before the consumer has
        the batch.
    in_threads
        Whether any thread may make the batches; not those of a device, where the order of its work depends on it.
    """

    selections: Sequence[Selection]
    to_batches: Callable[[Generator[Filled]], Generator[tuple[Batch, BatchPlan]]]
    allocate: Allocate = allocate
    in_transfer: int = 0
    in_threads: bool = True


def make_target(output: Output, device: Any, selections: Sequence[Selection], *, transformed: bool = False) -> Target:
    """Return the target of batches, for the selections of all mice, and whether they are transformed ahead.

    Raises
    ------
    OptionError
        There is no such device, or no torch, or tensors there cannot have the data types that are chosen.
    """
    check_choice("output", output, get_args(Output))
    if output == "numpy":
        if str(device) != "cpu":
            raise OptionError(Problem(LABEL, f"numpy arrays cannot be on {device}", "choose output='torch'"))
        if names := [name for one in selections for name, dtype in one.dtypes.items() if dtype == BFLOAT16]:
            what = f"numpy arrays cannot be bfloat16, as {names[0]} would be"
            raise OptionError(Problem(LABEL, what, "choose another dtype for it, or output='torch'"))
        return Target(selections, _to_numpy, in_transfer=AHEAD if transformed else 0)
    try:
        from .tensors import (
            SLOTS_IN_TRANSFER,
            check_tensors,
            checked_device,
            has_float64,
            pinned,
            to_device,
            to_tensors,
        )
    except ModuleNotFoundError as error:
        what = f"output='torch' needs torch ({error})"
        raise OptionError(Problem(LABEL, what, "install it, or choose output='numpy'")) from None
    place = checked_device(device)
    check_tensors(place, selections)
    if place.type == "cpu":
        return Target(selections, to_tensors, in_transfer=AHEAD if transformed else 0)
    # What a device does faster is left to it: normalization, and channels, which it need not be sent.
    given = selections if has_float64(place) else [replace(one, whole=frozenset()) for one in selections]
    recorded, finished = zip(*(one.shared() for one in given), strict=True)
    to_batches = to_device(place, finished)
    return (
        Target(recorded, to_batches, partial(pinned, place), SLOTS_IN_TRANSFER, in_threads=False)
        if place.type == "cuda"
        else Target(recorded, to_batches, in_threads=False)
    )


def _to_numpy(filled: Generator[Filled]) -> Generator[tuple[Batch, BatchPlan]]:
    for one in filled:
        values = one.stream.views(one.arrays) | one.stream.labels(one.plan)
        plan, batch = one.plan, Batch(values, **one.stream.attributes(one.plan))
        del one, values
        yield batch, plan
        del batch


def make_pipeline(sampler: Sampler, mice: Sequence[Mouse], target: Target, resources: Resources) -> Pipeline:
    """Return threads that fill slots with the batches of a sampler.

    Raises
    ------
    OptionError
        The memory does not suffice for reading one batch ahead, or for the shards that are mixed.
    CorruptStoreError
        A shard is missing or damaged, or the store was replaced since the mouse was opened.
    """
    streams = [MouseStream(mouse, one) for mouse, one in zip(mice, target.selections, strict=True)]
    largest = [sampler.epochs.largest(mouse) for mouse in range(len(streams))]
    slot = mapped(max(one.slot_nbytes(*sizes) for one, sizes in zip(streams, largest, strict=True)))
    strides = [one.windows.stride for one in sampler.epochs.mice]
    each = zip(streams, largest, strides, strict=True)
    ahead = max(_ahead_nbytes(stream, *sizes, stride) for stream, sizes, stride in each)
    threads, shards = resources.threads, _shards_nbytes(sampler, streams)
    budget = plan_memory(resources.memory, streams, slot, ahead, threads, resources.cache, target.in_transfer, shards)
    for stream, kept in zip(streams, budget.kept, strict=True):
        stream.keep(kept)
    # Slots that a device copies from come back, often together: to pin fresh ones instead would take long.
    limit = budget.ahead + 1 + (0 if target.in_threads else target.in_transfer)
    return Pipeline(streams, BufferPool(slot, limit, target.allocate), threads, budget, resources.in_flight)


def _ahead_nbytes(stream: MouseStream, samples: int, frames: int, stride: int) -> int:
    """Return the most bytes of a batch of a mouse that are on their way from an object store."""
    return stream.ahead_nbytes(samples, (frames - 1) * stride + 1)


def _shards_nbytes(sampler: Sampler, streams: Sequence[MouseStream]) -> int:
    """Return the most bytes that the shards that are mixed take, those of all mice that are under way together."""
    epochs = sampler.epochs
    each = [_mixed_nbytes(stream, mouse) for stream, mouse in zip(streams, epochs.mice, strict=True)]
    alone = isinstance(epochs, MixedMice) and isinstance(epochs.mixing, str) and epochs.mixing == "sequential"
    return max(each) if alone else sum(each)


def _mixed_nbytes(stream: MouseStream, mouse: MouseBatches) -> int:
    """Return the most bytes that the shards of a mouse that are mixed take, and the one that comes next."""
    if mouse.shards is None:
        return 0
    samples, windows = mouse.windows.samples(mouse.trials, 0), mouse.windows
    counts = np.unique(samples.rows // mouse.shards.rows, return_counts=True)[1]
    covered = (int(samples.frames.max()) - 1) * windows.stride + 1
    return min(mouse.shards.mixed + 1, len(counts)) * stream.shard_nbytes(int(counts.max()), covered)

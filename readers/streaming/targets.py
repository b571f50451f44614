"""What becomes of slots that were filled: arrays, tensors, or tensors on a device."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from ...store import OptionError, Problem
from ...store.arguments import check_choice
from ..direct import BFLOAT16, FLOAT32, is_narrow
from ..mouse import Mouse
from ..sampling import BatchPlan, MouseBatches, Sampler
from .batch import Batch
from .budget import plan_memory
from .buffers import Allocate, BufferPool, allocate, mapped
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
        How many slots a device copies from, after they were read and before the consumer has the batch.
    """

    selections: Sequence[Selection]
    to_batches: Callable[[Generator[Filled]], Generator[tuple[Batch, BatchPlan]]]
    allocate: Allocate = allocate
    in_transfer: int = 0


def make_target(output: Output, device: Any, selections: Sequence[Selection]) -> Target:
    """Return where batches go, given what they are to have of each mouse.

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
        return Target(selections, _to_numpy)
    try:
        from .tensors import SLOTS_IN_TRANSFER, check_tensors, checked_device, pinned, to_device, to_tensors
    except ModuleNotFoundError as error:
        what = f"output='torch' needs torch ({error})"
        raise OptionError(Problem(LABEL, what, "install it, or choose output='numpy'")) from None
    place = checked_device(device)
    check_tensors(place, selections)
    if place.type == "cpu":
        return Target(selections, to_tensors)
    # What a device does faster is left to it: normalization, and channels, which it need not be sent.
    recorded = [replace(one, variables=one.read, channels=(), affines={}, dtypes=_sent(one)) for one in selections]
    to_batches = to_device(place, selections)
    return (
        Target(recorded, to_batches, pinned, SLOTS_IN_TRANSFER)
        if place.type == "cuda"
        else Target(recorded, to_batches)
    )


def _sent(selection: Selection) -> dict[str, np.dtype[Any]]:
    """Return the data types of what a device normalizes, which rounds it then, and of the rest."""
    narrow = [name for name in selection.read_normalized if is_narrow(selection.dtypes[name])]
    return {**selection.dtypes, **dict.fromkeys(narrow, FLOAT32)}


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
        The memory does not suffice for reading one batch ahead.
    CorruptStoreError
        A shard is missing or damaged, or the store was replaced since the mouse was opened.
    """
    streams = [MouseStream(mouse, one) for mouse, one in zip(mice, target.selections, strict=True)]
    slot = mapped(max(_slot_nbytes(stream, one) for stream, one in zip(streams, sampler.mice, strict=True)))
    threads = resources.threads
    ahead = max(_ahead_nbytes(stream, one) for stream, one in zip(streams, sampler.mice, strict=True))
    budget = plan_memory(resources.memory, streams, slot, ahead, threads, resources.cache, target.in_transfer)
    for stream, kept in zip(streams, budget.kept, strict=True):
        stream.keep(kept)
    pool = BufferPool(slot, budget.ahead + 1, target.allocate)
    return Pipeline(streams, pool, threads, budget.ahead, resources.in_flight)


def _slot_nbytes(stream: MouseStream, batches: MouseBatches) -> int:
    """Return the bytes of the largest batch of a mouse."""
    lengths = batches.windows.lengths(batches.trials)
    return stream.slot_nbytes(min(batches.batch_size, len(lengths)), int(lengths.max()))


def _ahead_nbytes(stream: MouseStream, batches: MouseBatches) -> int:
    """Return the most bytes of a batch of a mouse that are on their way from an object store."""
    lengths, windows = batches.windows.lengths(batches.trials), batches.windows
    covered = (int(lengths.max()) - 1) * windows.stride + 1
    return stream.ahead_nbytes(min(batches.batch_size, len(lengths)), covered)

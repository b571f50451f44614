"""Make the threads that read batches, within what they may take."""

from __future__ import annotations

from collections.abc import Sequence

from ..mouse import Mouse
from ..sampling import MouseBatches, Sampler
from .budget import plan_memory
from .buffers import BufferPool, mapped
from .mouse_stream import MouseStream
from .options import Resources
from .pipeline import Pipeline
from .targets import Target


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
    budget = plan_memory(resources.memory, streams, slot, threads, resources.cache, target.in_transfer)
    for stream, kept in zip(streams, budget.kept, strict=True):
        stream.keep(kept)
    return Pipeline(streams, BufferPool(slot, budget.ahead + 1, target.allocate), threads, budget.ahead)


def _slot_nbytes(stream: MouseStream, batches: MouseBatches) -> int:
    """Return the bytes of the largest batch of a mouse."""
    lengths = batches.windows.lengths(batches.trials)
    return stream.slot_nbytes(min(batches.batch_size, len(lengths)), int(lengths.max()))

"""A function of one's own on each batch, called before the batch is asked for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from types import NoneType
from typing import Any

from ...store import OptionError, Problem
from ...store.arguments import check_type
from ...store.tasks import Threads
from ..sampling import BatchPlan
from .batch import Batch
from .pipeline import Process, StreamStats

BatchTransform = Callable[[Batch], Mapping[str, Any]]
Batches = Generator[tuple[Batch, BatchPlan]]
AHEAD = 2
"""Batches that are transformed before they are asked for, the one in work among them."""


def checked_transform(transform: BatchTransform | None) -> BatchTransform | None:
    """Return the function that is called with each batch.

    Raises
    ------
    OptionError
        It cannot be called.
    """
    check_type("transform", transform, (Callable, NoneType), "a function of a batch that returns a batch")
    return transform


def transformed(transform: BatchTransform, batches: Batches) -> Batches:
    """Yield batches transformed as they are asked for, as on a device, which works on while the consumer goes on."""
    with closing(batches):
        for batch, plan in batches:
            made = _apply(transform, batch, plan)
            del batch
            yield made, plan
            del made


def transformed_ahead(transform: BatchTransform, batches: Batches, stats: StreamStats) -> Batches:
    """Yield batches transformed in a thread of its own, in their order: random numbers come as without threads.

    Parameters
    ----------
    stats
        What the consumer waits for, and what the transform takes, is added.
    """

    def step() -> tuple[Batch, BatchPlan] | None:
        if (found := next(batches, None)) is None:
            return None
        begun, (batch, plan) = time.perf_counter(), found
        del found
        made = _apply(transform, batch, plan)
        stats.transform_seconds += time.perf_counter() - begun
        return made, plan

    process = Process()
    with closing(batches), Threads(1, "trialpack-transform").executor() as executor:
        pending = deque(executor.submit(step) for _ in range(AHEAD))
        while True:
            begun = time.perf_counter()
            made = pending.popleft().result()
            stats.waited += time.perf_counter() - begun
            if made is None:
                return
            pending.append(executor.submit(step))
            yield made
            del made
            process.check()


def _apply(transform: BatchTransform, batch: Batch, plan: BatchPlan) -> Batch:
    """Return what a transform makes of a batch: any mapping with as many samples."""
    ids = batch["trial_id"]
    try:
        found: Any = transform(batch)
    except Exception as error:
        error.add_note(f"while transforming trials {ids.tolist()} of {batch.mouse}")
        raise
    if not isinstance(found, Mapping):
        what = f"it returned {type(found).__name__} (expected a batch, or another mapping)"
        raise OptionError(Problem("transform", what, "return the batch, also when it was changed in place"))
    values = dict(found)
    sizes = {name: _samples(one) for name, one in values.items()}
    wrong = [name for name, size in sizes.items() if size not in (None, len(plan))]
    if wrong:
        what = f"{wrong[0]} has {sizes[wrong[0]]} samples (expected {len(plan)})"
        raise OptionError(Problem("transform", what, "leave the size of the batch as it is"))
    return batch.with_values(values)


def _samples(value: Any) -> int | None:
    """Return the samples of an array; None of anything else."""
    shape = getattr(value, "shape", None)
    return None if shape is None or isinstance(value, str) else (shape[0] if len(shape) else 0)

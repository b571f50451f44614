"""What becomes of slots that were filled: arrays, tensors, or tensors on a device."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...store import OptionError, Problem
from ..sampling import BatchPlan
from .batch import Batch
from .buffers import Allocate, allocate
from .mouse_stream import Selection
from .options import LABEL, Output, check_word
from .pipeline import Filled


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
    check_word("output", output, ("torch", "numpy"))
    if output == "numpy":
        if str(device) != "cpu":
            raise OptionError(Problem(LABEL, f"numpy arrays cannot be on {device}", "choose output='torch'"))
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
    recorded = [replace(one, variables=one.read, channels=(), affines={}) for one in selections]
    to_batches = to_device(place, selections)
    return (
        Target(recorded, to_batches, pinned, SLOTS_IN_TRANSFER)
        if place.type == "cuda"
        else Target(recorded, to_batches)
    )


def _to_numpy(filled: Generator[Filled]) -> Generator[tuple[Batch, BatchPlan]]:
    for one in filled:
        plan, batch = one.plan, Batch(one.stream.views(one.arrays) | one.stream.labels(one.plan))
        del one
        yield batch, plan
        del batch

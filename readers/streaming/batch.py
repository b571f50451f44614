"""One batch, and where batches go: arrays, tensors, or a device."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...store import OptionError, Problem
from ...store.errors import lookup
from ..sampling import BatchPlan
from .buffers import Allocate, allocate
from .mouse_stream import Selection
from .options import LABEL, Output, check_word
from .pipeline import Filled


class Batch(Mapping[str, Any]):
    """One batch of one mouse: a mapping from names to arrays.

    ``videos`` (B, 1, F, height, width), grey level 0 to 255; ``responses`` (B, N, F), a.u.; ``behavior`` (B,
    n_channels, F), px and cm/s; ``pupil_center`` (B, 2, F), px. Of static mice ``images`` (B, image_channel, height,
    width) and the others without F. Any other variable has its own name and (B, …) the dimensions that the store says;
    pictures are (B, C, F, height, width). All are float32, unless the loader's `dtype` says otherwise, of what
    `normalize` makes of these units. Padding is never among them; where a trial lacks an optional variable, floats are
    NaN and integers the value that was declared. ``videos`` or ``images`` have more channels where `channels` asks for
    them. Beside them ``trial_id`` (B,) int64, ``start`` (B,) int64, the first frame of each sample, ``tier``, B words,
    and ``mouse``, the name of the recording.

    Notes
    -----
    Arrays may be changed in place, and stay valid for as long as any of them, or anything made of their memory, lives.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        """Return what has this name.

        Raises
        ------
        UnknownNameError
            Nothing has.
        """
        return lookup(self._values, name, "batch")

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of names, not of samples."""
        return len(self._values)

    def __repr__(self) -> str:
        """Return a one-line summary."""
        arrays = {name: tuple(value.shape) for name, value in self.items() if hasattr(value, "shape")}
        shapes = ", ".join(f"{name} {shape}" for name, shape in arrays.items())
        return f"<Batch of {self._values.get('mouse')}: {shapes}>"


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

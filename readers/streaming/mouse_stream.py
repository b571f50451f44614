"""How samples of one mouse get into a slot, and what a batch shows of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store import layout
from ..direct import (
    FLOAT32,
    Affine,
    CachedVariable,
    Frames,
    Scratch,
    StoreFiles,
    StreamedVariable,
    Tally,
    VariableReader,
    cached_nbytes,
)
from ..mouse import Mouse
from ..sampling import BatchPlan
from .buffers import Carver, array_nbytes, padded

Array = NDArray[Any]
_TASK = 1 << 20
"""Bytes of a batch that make one task at least: with less, threads wait for the interpreter more than they work."""


@dataclass(frozen=True)
class Selection:
    """What of a mouse is streamed.

    Attributes
    ----------
    rows
        (n,) int64, ascending.
    neurons
        (n_neurons,) int64 positions; None for all.
    variables
        Names of the variables that a batch has.
    channels
        Names of variables that become further channels of the stimulus.
    affines
        Variable -> what is applied to its values.
    dtypes
        Variable -> data type of its values in a batch, as of `StreamedVariable`; float32 for those that are not in it.
    """

    rows: NDArray[np.int64]
    neurons: NDArray[np.int64] | None
    variables: tuple[str, ...]
    channels: tuple[str, ...]
    affines: Mapping[str, Affine]
    dtypes: Mapping[str, np.dtype[Any]] = field(default_factory=dict[str, np.dtype[Any]])

    @property
    def read(self) -> tuple[str, ...]:
        """Variables that have to be read, those that become channels behind the others."""
        return tuple(dict.fromkeys((*self.variables, *self.channels)))


class MouseStream:
    """Reads batches of one mouse.

    Parameters
    ----------
    mouse
        From `open_mouse`.
    selection
        What of it is streamed.

    Raises
    ------
    CorruptStoreError
        A shard is missing or its index damaged, or the store was replaced since it was opened.
    """

    def __init__(self, mouse: Mouse, selection: Selection) -> None:
        # Transforms live on in the readers, arranged as they need them.
        self.mouse, self._selection = mouse, replace(selection, affines={})
        files = StoreFiles(mouse.index)
        recording = mouse.recording
        self._stimulus = layout.STIMULUS[mouse.kind]
        self._streamed = {
            name: StreamedVariable(
                recording,
                name,
                files,
                selection.neurons,
                selection.affines.get(name),
                selection.dtypes.get(name, FLOAT32),
            )
            for name in selection.read
        }
        self._readers: dict[str, VariableReader] = dict(self._streamed)
        n_frames = recording.n_frames
        self._frames = 0 if n_frames is None else int(n_frames[selection.rows].max())

    @property
    def scratch_nbytes(self) -> int:
        """Bytes of scratch that a thread needs."""
        return max(one.scratch_nbytes for one in self._streamed.values())

    @property
    def held_nbytes(self) -> int:
        """Bytes that are held in any case."""
        return sum(one.held_nbytes for one in self._streamed.values())

    def kept_nbytes(self, names: Sequence[str]) -> int:
        """Return the bytes that variables take if they are kept."""
        rows = len(self._selection.rows)
        return sum(cached_nbytes(self._streamed[name], rows, self._frames) for name in names)

    @property
    def names(self) -> tuple[str, ...]:
        """The variables that are read."""
        return tuple(self._streamed)

    @property
    def sharing(self) -> tuple[str, ...]:
        """The variables of which several trials share a chunk."""
        return tuple(name for name, one in self._streamed.items() if one.rows_per_chunk > 1)

    def keep(self, names: Sequence[str]) -> None:
        """Keep variables in memory from now on."""
        for name in names:
            self._readers[name] = CachedVariable(self._streamed[name], self._selection.rows, self._frames)

    def slot_nbytes(self, samples: int, frames: int) -> int:
        """Return the bytes of a batch."""
        shapes = self._shapes(samples, frames)
        return sum(padded(array_nbytes(shape, self._streamed[name].dtype)) for name, shape in shapes.items())

    def carve(self, slot: NDArray[np.uint8], plan: BatchPlan) -> dict[str, Array]:
        """Return the arrays of a batch in a slot, axes as they lie in memory."""
        carver = Carver(slot)
        shapes = self._shapes(len(plan), plan.frames)
        return {name: carver.array(shape, self._streamed[name].dtype) for name, shape in shapes.items()}

    def tasks(self, plan: BatchPlan, most: int) -> Iterator[slice]:
        """Yield the samples of a batch in parts that make good tasks, not more of them than `most`."""
        nbytes = max(1, self.slot_nbytes(1, plan.frames))
        step = max(-(-_TASK // nbytes), -(-len(plan) // most))
        for first in range(0, len(plan), step):
            yield slice(first, min(first + step, len(plan)))

    def read(self, plan: BatchPlan, part: slice, arrays: Mapping[str, Array], scratch: Scratch) -> Tally:
        """Read some samples of a batch; return what that took."""
        try:
            self._read(plan, part, arrays, scratch)
        except Exception as error:
            ids = self.mouse.recording.trial_ids[plan.rows[part]].tolist()
            error.add_note(f"while reading trials {ids} of {self.mouse.path}")
            raise
        tally, scratch.tally = scratch.tally, Tally()
        return tally

    def _read(self, plan: BatchPlan, part: slice, arrays: Mapping[str, Array], scratch: Scratch) -> None:
        rows = plan.rows[part].tolist()
        frames = [Frames(start, plan.frames, plan.stride) for start in plan.starts[part].tolist()]
        for name, reader in self._readers.items():
            out = arrays[name][part]
            stimulus = name == self._stimulus and self._selection.channels
            reader.read(rows, frames, self._own_channels(out) if stimulus else out, scratch)
        if self._selection.channels:
            with scratch.tally.timed("copy_seconds"):
                self._add_channels({name: array[part] for name, array in arrays.items()})

    def views(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return the arrays of a batch with the axes that a batch shows, without a copy."""
        return {name: self._view(name, arrays[name]) for name in self._selection.variables}

    def labels(self, plan: BatchPlan) -> dict[str, Any]:
        """Return what a batch says of its samples."""
        recording = self.mouse.recording
        return {
            "trial_id": recording.trial_ids[plan.rows],
            "start": plan.starts.copy(),
            "tier": tuple(recording.tiers[plan.rows].tolist()),
            "mouse": self.mouse.name,
        }

    def _shapes(self, samples: int, frames: int) -> dict[str, tuple[int, ...]]:
        shapes = {name: (samples, *one.shape(frames)) for name, one in self._streamed.items()}
        if self._selection.channels:
            sizes = [self._channel_count(name) for name in self._selection.channels]
            own, shape = self._own_count, shapes[self._stimulus]
            rest = shape[1:] if self.mouse.kind == "dynamic" else shape[2:]
            shapes[self._stimulus] = (samples, own + sum(sizes), *rest)
        return shapes

    @property
    def _own_count(self) -> int:
        """How many channels the stimulus has of its own."""
        return 1 if self.mouse.kind == "dynamic" else self._streamed[self._stimulus].shape(0)[0]

    def _channel_count(self, name: str) -> int:
        one = self._streamed[name]
        return one.shape(1)[0 if one.axes[0] != layout.FRAME else 1]

    def _own_channels(self, stimulus: Array) -> Array:
        return stimulus[:, 0] if self.mouse.kind == "dynamic" else stimulus[:, : self._own_count]

    def _add_channels(self, arrays: Mapping[str, Array]) -> None:
        """Repeat other variables over all pixels, as further channels of the stimulus."""
        place, stimulus = self._own_count, arrays[self._stimulus]
        for name in self._selection.channels:
            values = arrays[name].transpose(self.permutation(name))
            stop = place + values.shape[1]
            stimulus[:, place:stop] = values[..., None, None]
            place = stop

    def axes(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the dimensions of a trial of a variable in the store, and as they lie in a slot."""
        return self._streamed[name].array.dimensions[1:], self._streamed[name].axes

    def permutation(self, name: str) -> tuple[int, ...]:
        """Return, for each axis of a variable in a batch, which axis it is in a slot."""
        shown, given = self.axes(name)
        return (0, *(1 + given.index(axis) for axis in shown))

    def _view(self, name: str, array: Array) -> Array:
        if name != self._stimulus:
            return array.transpose(self.permutation(name))
        # A video has one channel, which the store has no axis for.
        return array[:, None] if self.mouse.kind == "dynamic" and not self._selection.channels else array

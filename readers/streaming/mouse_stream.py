"""How samples of one mouse get into a slot, and what a batch shows of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...store import layout
from ...store.ahead import GAP, Ahead, Range, Span
from ...store.layout import Variable
from ...store.objects import Requests
from ..direct import (
    FLOAT32,
    Affine,
    CachedVariable,
    Frames,
    Pictures,
    Scratch,
    StoreFiles,
    StreamedVariable,
    Tally,
    VariableReader,
    assign,
    cached_nbytes,
)
from ..mouse import Mouse
from ..sampling import BatchPlan
from .batch import START
from .buffers import Carver, array_nbytes, padded

Array = NDArray[Any]
MemoryOrder = Literal["frames", "neurons"]
_TASK = 1 << 20
"""Bytes of a batch that make one task at least: with less, threads wait for the interpreter more than they work."""


@dataclass(frozen=True)
class Selection:
    """What of a mouse is streamed.

    Attributes
    ----------
    rows
        (n,) int64, each once, in any order.
    neurons
        (n_neurons,) int64 positions, each once, in any order; None for all.
    variables
        Names of the variables that a batch has.
    channels
        Names of variables that become further channels of the stimulus.
    affines
        Variable -> what is applied to its values.
    dtypes
        Variable -> data type of its values in a batch, as in `StreamedVariable`; float32 for those that are not in it.
    order
        As in `TrialLoader`.
    pictures
        How pictures of the stimulus are cropped and downscaled; None for as they were recorded.
    n_frames
        Frame of the recording before which all samples end; None for the end of the longest trial.
    whole
        Variables of which `dtypes` hold every value that is recorded, all pixels among them.
    """

    rows: NDArray[np.int64]
    neurons: NDArray[np.int64] | None
    variables: tuple[str, ...]
    channels: tuple[str, ...]
    affines: Mapping[str, Affine]
    dtypes: Mapping[str, np.dtype[Any]] = field(default_factory=dict[str, np.dtype[Any]])
    order: MemoryOrder = "frames"
    pictures: Pictures | None = None
    n_frames: int | None = None
    whole: frozenset[str] = frozenset()

    @property
    def read(self) -> tuple[str, ...]:
        """Variables that have to be read, those that become channels behind the others."""
        return tuple(dict.fromkeys((*self.variables, *self.channels)))

    @property
    def read_normalized(self) -> tuple[str, ...]:
        """Variables that are read and normalized."""
        return tuple(name for name in self.read if name in self.affines)

    def shared(self) -> tuple[Selection, Selection]:
        """Return what threads read for a device, and what the device makes of it: normalization and channels.

        Threads normalize what is not `whole`: once values are rounded, or pixels mixed, it would be too late.
        """
        there = {name: one for name, one in self.affines.items() if name in self.whole}
        here = {name: one for name, one in self.affines.items() if name not in there}
        return replace(self, variables=self.read, channels=(), affines=here), replace(self, affines=there)


class MouseStream:
    """Reads batches of one mouse.

    Parameters
    ----------
    mouse
        Mouse from `open_mouse`.
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
        self._files, recording = StoreFiles(mouse.index), mouse.recording
        self._stimulus = recording.stimulus
        with self._files.asking_for_indexes(selection.read):
            self._streamed = {
                name: StreamedVariable(
                    recording,
                    name,
                    self._files,
                    selection.neurons,
                    selection.affines.get(name),
                    selection.dtypes.get(name, FLOAT32),
                    recording.variable(name).batch_dimensions if selection.order == "neurons" else None,
                    selection.pictures if self._stimulus is not None and name == self._stimulus.name else None,
                )
                for name in selection.read
            }
        self._readers: dict[str, VariableReader] = dict(self._streamed)
        # What each batch asks for again.
        self._extended = self._stimulus.name if self._stimulus is not None and selection.channels else None
        self._channel_place, self._own_count = self._stimulus_channels()
        variables = {name: recording.variable(name) for name in self._streamed}
        self._one_channel = {n for n, one in variables.items() if one.has_pictures and one.channel_dimension is None}
        self._permutations = {name: self._permuted(one) for name, one in variables.items()}
        n_frames = recording.n_frames
        longest = 0 if n_frames is None else int(n_frames[selection.rows].max())
        self._frames = longest if selection.n_frames is None else selection.n_frames

    @property
    def scratch_nbytes(self) -> int:
        """Bytes of scratch that a thread needs."""
        return max(one.scratch_nbytes(self._frames) for one in self._streamed.values())

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
        rows = np.sort(self._selection.rows)
        for name in names:
            self._readers[name] = CachedVariable(self._streamed[name], rows, self._frames)

    def slot_nbytes(self, samples: int, frames: int) -> int:
        """Return the bytes of a batch."""
        shapes = self._shapes(samples, frames)
        return sum(padded(array_nbytes(shape, self._streamed[name].dtype)) for name, shape in shapes.items())

    def ahead_nbytes(self, samples: int, covered: int) -> int:
        """Return the most bytes that chunks of a batch take on their way, given how many frames a sample covers."""
        if self.ahead is None:
            return 0
        return math.ceil((1 + GAP) * samples * sum(one.stored_nbytes(covered) for one in self._streamed.values()))

    def shard_nbytes(self, samples: int, covered: int) -> int:
        """Return the most bytes that samples of a shard take on their way, as in `ahead_nbytes`; 0 if it is to disk."""
        if self.ahead is None or self.ahead.to_disk:
            return 0
        each = [min(samples * one.stored_nbytes(covered), one.shard_nbytes) for one in self._streamed.values()]
        return math.ceil((1 + GAP) * sum(each))

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

    def request(self, plan: BatchPlan, executor: Executor) -> list[Range]:
        """Ask for the chunks that a batch needs and that are not on disk; to be given back to `release`."""
        return [] if self.ahead is None else self.ahead.request(self.spans(plan), executor)

    @property
    def ahead(self) -> Ahead | None:
        """Takes requests for chunks before they are read; None where they are on disk."""
        return self._files.ahead

    def shards(self, plan: BatchPlan) -> NDArray[np.int64]:
        """Return (B,) which shard each sample of a batch is in: the same one of all variables."""
        return plan.rows // self.mouse.recording.rows_per_shard

    def spans(self, plan: BatchPlan, shard: int | None = None) -> list[Span]:
        """Return the chunks that have to be read for a batch, or for those of its samples that are in a shard."""
        inside = slice(None) if shard is None else self.shards(plan) == shard
        samples = [
            (row, Frames(start, plan.frames, plan.stride))
            for row, start in zip(plan.rows[inside].tolist(), plan.starts[inside].tolist(), strict=True)
        ]
        return [span for sample in samples for one in self._readers.values() for span in one.chunks(*sample)]

    def release(self, ranges: Sequence[Range]) -> Requests:
        """Let go of what was asked for; return what requests took."""
        return Requests() if self.ahead is None else self.ahead.release(ranges)

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
            reader.read(rows, frames, self._own_channels(out) if name == self._extended else out, scratch)
        if self._selection.channels:
            with scratch.tally.timed("copy_seconds"):
                self._add_channels({name: array[part] for name, array in arrays.items()})

    def views(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Return the arrays of a batch with the axes that a batch shows, without a copy."""
        return {name: self._view(name, arrays[name]) for name in self._selection.variables}

    def labels(self, plan: BatchPlan) -> dict[str, Array]:
        """Return the numbers that a batch has beside its variables: where its samples are from."""
        return {layout.TRIAL_ID: self.mouse.recording.trial_ids[plan.rows], START: plan.starts.copy()}

    def attributes(self, plan: BatchPlan) -> dict[str, Any]:
        """Return what a batch says of its samples in words."""
        recording = self.mouse.recording
        n_frames = None if recording.n_frames is None else tuple(recording.n_frames[plan.rows].tolist())
        tier = tuple(recording.tiers[plan.rows].tolist())
        known = {"mouse": self.mouse.name, "tier": tier, "n_frames": n_frames}
        return known | {"frames": plan.frames, "stride": plan.stride}

    def _shapes(self, samples: int, frames: int) -> dict[str, tuple[int, ...]]:
        shapes = {name: (samples, *one.shape(frames)) for name, one in self._streamed.items()}
        if self._extended is not None:
            place, shape = self._channel_place, shapes[self._extended]
            count = self._own_count + sum(self._channel_count(channel) for channel in self._selection.channels)
            rest = shape[place:] if self.adds_channel_axis(self._extended) else shape[place + 1 :]
            shapes[self._extended] = (samples, *shape[1:place], count, *rest)
        return shapes

    def _stimulus_channels(self) -> tuple[int, int]:
        """Return which axis of a slot's stimulus with further channels they are, and how many it has of its own.

        The axis is its own one, or the first of a sample.
        """
        own = None if self._stimulus is None else self._stimulus.channel_dimension
        if self._stimulus is None or self._stimulus.name not in self._streamed or own is None:
            return 1, 1
        one = self._streamed[self._stimulus.name]
        return 1 + one.axes.index(own), one.shape(1)[one.axes.index(own)]

    def _permuted(self, variable: Variable) -> tuple[int, ...]:
        """Return, for each axis of a variable in a batch, which axis it is in a slot."""
        given = self._streamed[variable.name].axes
        return (0, *(1 + given.index(axis) for axis in variable.batch_dimensions))

    def _channel_count(self, name: str) -> int:
        one = self._streamed[name]
        return next(size for axis, size in zip(one.axes, one.shape(1), strict=True) if axis != layout.FRAME)

    def _own_channels(self, stimulus: Array) -> Array:
        """Return the part of a slot's stimulus that is recorded, as the reader knows it."""
        if self._extended in self._one_channel:
            return stimulus[:, 0]
        return np.moveaxis(np.moveaxis(stimulus, self._channel_place, 0)[: self._own_count], 0, self._channel_place)

    def _add_channels(self, arrays: Mapping[str, Array]) -> None:
        """Repeat other variables over all pixels, as further channels of the stimulus."""
        assert self._extended is not None
        place, stimulus = self._own_count, np.moveaxis(arrays[self._extended], self._channel_place, 1)
        for name in self._selection.channels:
            values = arrays[name].transpose(self.permutation(name))
            # Values of a whole trial are those of all its frames.
            values = values.reshape(*values.shape, *(1,) * (stimulus.ndim - values.ndim))
            stop = place + values.shape[1]
            assign(stimulus[:, place:stop], values)
            place = stop

    def adds_channel_axis(self, name: str) -> bool:
        """Return whether a batch shows a variable with an axis of one channel, which the store does not have."""
        return name in self._one_channel

    def axes(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the dimensions of a trial of a variable in the store, and as they lie in a slot."""
        return self._streamed[name].array.dimensions[1:], self._streamed[name].axes

    def permutation(self, name: str) -> tuple[int, ...]:
        """Return, for each axis of a variable in a batch, which axis it is in a slot."""
        return self._permutations[name]

    def _view(self, name: str, array: Array) -> Array:
        if name == self._extended:
            return np.moveaxis(array, self._channel_place, 1)
        shown = array.transpose(self._permutations[name])
        return shown[:, None] if name in self._one_channel else shown

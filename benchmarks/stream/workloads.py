"""What a training stream has to deliver: workloads, what a reader is, and whether it delivers the published numbers.

This module and the readers run in processes of their own, under any interpreter: it imports numpy and no more.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Batch = Mapping[str, Any]
"""Arrays by the names of the variables, samples first; `IDS` and, of windows, `START`: a number for each sample."""
IDS, START = "trial_id", "start"
VIDEOS, RESPONSES = "videos", "responses"
DYNAMIC, STATIC = (VIDEOS, RESPONSES, "behavior", "pupil_center"), ("images", RESPONSES, "behavior", "pupil_center")
VALID = 300
"""Frames that every trial of the train tier has; the rest of the published arrays is padding."""
Sum = tuple[int, int, dict[str, int]]
"""Trial, first frame, and a checksum of each variable."""


@dataclass(frozen=True)
class Workload:
    """What one batch holds.

    Attributes
    ----------
    batch
        Samples.
    frames, stride
        Frames of a sample, and how far apart they are; `VALID` is the whole trial, None an image.
    """

    batch: int
    frames: int | None
    stride: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """The variables."""
        return STATIC if self.frames is None else DYNAMIC

    @property
    def span(self) -> int:
        """Frames from the first to the last of a sample; 0 of an image."""
        return 0 if self.frames is None else (self.frames - 1) * self.stride + 1

    @property
    def whole(self) -> bool:
        """Whether there is nothing to choose in a trial."""
        return self.span in (0, VALID)

    def draw(self, random: np.random.Generator, samples: int) -> list[int]:
        """Return first frames, each as likely as any other."""
        if self.whole:
            return [0] * samples
        return random.integers(0, VALID - self.span, samples, endpoint=True).tolist()

    def cut(self, start: int) -> slice:
        """Return the frames of a sample."""
        return slice(start, start + self.span, self.stride)


@dataclass(frozen=True)
class Task:
    """What a reader has to do.

    Attributes
    ----------
    tree
        Folder of the recording as published; all its trials are of the train tier.
    path
        What the reader reads.
    trial_ids
        The trials, in the order in which stores have them.
    options
        The reader's own.
    """

    workload: Workload
    tree: str
    path: str
    trial_ids: list[int]
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Task:
        """Return a task that came as JSON."""
        workload = Workload(**found.pop("workload"))
        return cls(workload, **found)


class Reader:
    """One way to read.

    The constructor imports what it needs and opens what users open beforehand. What takes part in the time to the first
    batch of a new process is in `make`.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.workload = task, task.workload
        self.random = np.random.default_rng(0)

    def build(self) -> None:
        """Write the files that it reads, where they are the reader's own."""

    def make(self) -> None:
        """Get ready to iterate."""

    def forget(self) -> None:
        """Drop decoded trials of earlier epochs, if it streams and has kept any; not timed."""

    def released(self) -> float:
        """Return seconds of all threads in calls that release the interpreter, in the last epoch, if it counts them."""
        return 0.0

    def epoch(self) -> Iterator[Batch]:
        """Yield each trial once, in an order that differs from epoch to epoch."""
        raise NotImplementedError

    def batches(self) -> Iterator[tuple[list[int], list[int]]]:
        """Yield rows and first frames of each batch of one epoch, for readers that leave the choice to others."""
        rows = self.random.permutation(len(self.task.trial_ids))
        for first in range(0, len(rows), self.workload.batch):
            chosen = rows[first : first + self.workload.batch].tolist()
            yield chosen, self.workload.draw(self.random, len(chosen))

    def ids(self, rows: Sequence[int]) -> list[int]:
        """Return the trials in some rows."""
        return [self.task.trial_ids[row] for row in rows]


def published(tree: Path, workload: Workload, trial: int, start: int) -> dict[str, Array]:
    """Return one sample as float32, straight out of the published files."""
    found = {name: np.load(tree / f"data/{name}/{trial}.npy") for name in workload.names}
    if workload.frames is not None:
        found = {name: values[..., workload.cut(start)] for name, values in found.items()}
        found[VIDEOS] = found[VIDEOS].transpose(2, 0, 1)
    return {name: values.astype(np.float32, copy=False) for name, values in found.items()}


def sums_of(sample: Mapping[str, Array]) -> dict[str, int]:
    """Return a checksum of each variable of a sample, whatever its order in memory."""
    contiguous: dict[str, Any] = {name: np.ascontiguousarray(values) for name, values in sample.items()}
    return {name: zlib.crc32(values) for name, values in contiguous.items()}


def delivered(batch: Batch, workload: Workload) -> Iterator[Sum]:
    """Yield what a batch holds; videos may have an axis of one channel."""
    arrays = {name: np.asarray(batch[name]) for name in workload.names}
    starts = batch[START] if START in batch else [0] * len(arrays[RESPONSES])
    for place, (trial, start) in enumerate(zip(batch[IDS], starts, strict=True)):
        sample = {name: values[place] for name, values in arrays.items()}
        if VIDEOS in sample:
            sample[VIDEOS] = sample[VIDEOS].reshape(sample[VIDEOS].shape[-3:])
        yield int(trial), int(start), sums_of(sample)


def check(found: Sequence[Sum], task: Task, known: dict[tuple[int, int], dict[str, int]]) -> None:
    """Compare one epoch of a reader with the published files.

    Parameters
    ----------
    known
        Checksums of samples that have been read before; more are added.

    Raises
    ------
    RuntimeError
        A trial is missing or comes twice, trials come in order, or a value differs.
    """
    trials = [trial for trial, _, _ in found]
    if sorted(trials) != task.trial_ids or trials == task.trial_ids:
        raise RuntimeError("not every trial once, in random order")
    for trial, start, sums in found:
        if (trial, start) not in known:
            known[trial, start] = sums_of(published(Path(task.tree), task.workload, trial, start))
        if sums != known[trial, start]:
            raise RuntimeError(f"trial {trial} from frame {start}: not the published values")

"""What the public pipelines of the field do with the published files, for ``python -m benchmarks stream``.

Written from the documented behaviour of sinzlab/neuralpredictors, bryanlimy/ViV1T and lRomul/sensorium, none of which
is installed; without normalization and augmentation, which are the model's business. All go through torch's DataLoader
with as many ``workers`` as the options say: none unless that was faster.
"""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .workloads import IDS, RESPONSES, START, VALID, VIDEOS, Array, Batch, Reader, Task


class FileReader(Reader):
    """A map data set that loads one .npy file a variable, in a DataLoader."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.torch: Any = importlib.import_module("torch")
        self.loading: Any = importlib.import_module("torch.utils.data")
        self.folder = Path(task.tree) / "data"
        self.loader: Any = None

    def make(self) -> None:
        """Make the DataLoader."""
        sampler = self.loading.SubsetRandomSampler(range(len(self.task.trial_ids)))
        workers: int = self.task.options.get("workers", 0)
        self.loader = self.loading.DataLoader(
            self, batch_size=self.workload.batch, sampler=sampler, num_workers=workers, persistent_workers=workers > 0
        )

    def epoch(self) -> Iterator[Batch]:
        """Give the DataLoader's own batches."""
        return iter(self.loader)

    def __len__(self) -> int:
        return len(self.task.trial_ids)

    @abstractmethod
    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return one sample."""

    def load(self, name: str, trial: int) -> Array:
        """Load a file."""
        return np.load(self.folder / name / f"{trial}.npy")

    def tensors(self, sample: dict[str, Array], trial: int, start: int) -> dict[str, Any]:
        """Return a sample as tensors that share its memory."""
        return {**{name: self.torch.from_numpy(values) for name, values in sample.items()}, IDS: trial, START: start}


class StarterKit(FileReader):
    """The file-tree data set of neuralpredictors with the transforms of the starter kit of 2023.

    CutVideos with ``max_frame=None`` (or as ``options`` say), time first, Subsequence, time last, a channel for videos,
    ToTensor. ``cache=True`` keeps the raw arrays, as its ``use_cache``.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.max_frame: int | None = task.options.get("max_frame")
        self.kept: dict[tuple[str, int], Array] = {}

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Load, or take what is kept, and transform."""
        trial, start = self.task.trial_ids[row], self.workload.draw(self.random, 1)[0]
        sample = {name: self._raw(name, trial) for name in self.workload.names}
        if self.workload.frames is not None:
            sample = self._cut_videos(sample)
            if not self.workload.whole:
                sample = {name: values[..., self.workload.cut(start)] for name, values in sample.items()}
            sample[VIDEOS] = sample[VIDEOS].transpose(2, 0, 1)[np.newaxis]
        return self.tensors({name: values.astype(np.float32) for name, values in sample.items()}, trial, start)

    def _raw(self, name: str, trial: int) -> Array:
        found = self.kept.get((name, trial))
        if found is None:
            found = self.load(name, trial)
            if self.task.options.get("cache"):
                self.kept[name, trial] = found
        return found

    def _cut_videos(self, sample: dict[str, Array]) -> dict[str, Array]:
        """Take the frames before the first NaN of any variable."""
        lengths = [self.max_frame] if self.max_frame else [_first_nan_of_all(values) for values in sample.values()]
        frames = np.arange(min(lengths))
        return {name: np.take(values, frames, -1) for name, values in sample.items()}


class ViV1T(FileReader):
    """The map data set of ViV1T: load as float32, find the first NaN in one pixel, take views, make tensors."""

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Load and cut."""
        trial, start = self.task.trial_ids[row], self.workload.draw(self.random, 1)[0]
        sample = {name: self.load(name, trial).astype(np.float32) for name in self.workload.names}
        if self.workload.frames is not None:
            gaps = np.flatnonzero(np.isnan(sample[VIDEOS][0, 0]))
            n_frames = gaps[0] if gaps.size else sample[VIDEOS].shape[-1]
            sample = {name: values[..., :n_frames] for name, values in sample.items()}
            if not self.workload.whole:
                sample = {name: values[..., self.workload.cut(start)] for name, values in sample.items()}
            sample[VIDEOS] = sample[VIDEOS].transpose(2, 0, 1)[np.newaxis]
        return self.tensors(sample, trial, start)


class ViV1TMice(Reader):
    """A loader a mouse, which take turns until all have ended; the trees are in a folder."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        trees = sorted(Path(task.path).iterdir())
        self.mice = [ViV1T(replace(task, tree=str(tree), trial_ids=_trial_ids(tree))) for tree in trees]

    def make(self) -> None:
        """Make all loaders."""
        for mouse in self.mice:
            mouse.make()

    def epoch(self) -> Iterator[Batch]:
        """Give a batch of each mouse in turn."""
        for batches in zip(*(mouse.epoch() for mouse in self.mice), strict=True):
            yield from batches


class Winner(FileReader):
    """The data set of the winner of 2023: load whole files, pick frames; without its other mice and its mixing."""

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Load and pick."""
        trial, start = self.task.trial_ids[row], self.workload.draw(self.random, 1)[0]
        indexes = list(range(VALID))[self.workload.cut(start)]
        sample = {name: self.load(name, trial)[..., indexes] for name in self.workload.names}
        sample[VIDEOS] = sample[VIDEOS].astype(np.float32).transpose(2, 0, 1)
        sample[RESPONSES] = sample[RESPONSES].astype(np.float32)
        return self.tensors(sample, trial, start)


def _trial_ids(tree: Path) -> list[int]:
    return sorted(int(path.stem) for path in (tree / "data" / RESPONSES).iterdir())


def _first_nan_of_all(values: Array) -> int:
    """Return the first frame, the last axis, in which anything is NaN, as CutVideos looks for it."""
    frames = np.argwhere(np.isnan(values))[:, -1]
    return int(frames.min()) if frames.size else values.shape[-1]

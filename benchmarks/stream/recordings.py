"""Libraries of neuroscience that read recordings by time, for ``python -m benchmarks stream``: torch_brain, experanto.

Both keep a recording as one series a variable, the frames of all trials one behind another, and are given the trials as
times. Both deliver frames first; the shape of the others is a view. Through torch's DataLoader, as both document.
"""

from __future__ import annotations

import importlib
import json
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .roofs import loaded
from .workloads import IDS, START, VALID, VIDEOS, Array, Batch, Reader, Task

RATE = 30.0
"""Frames a second."""


class ByTime(Reader):
    """A data set indexed with times, in a DataLoader."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.loading: Any = importlib.import_module("torch.utils.data")
        self.loader: Any = None
        self.drawn: list[tuple[list[int], list[int]]] = []

    def series(self) -> dict[str, Array]:
        """Return all trials as one array a variable, frames first."""
        arrays = {
            name: values if name == VIDEOS else values.swapaxes(1, 2) for name, values in loaded(self.task).items()
        }
        return {name: np.ascontiguousarray(values.reshape(-1, *values.shape[2:])) for name, values in arrays.items()}

    def make(self) -> None:
        """Make the DataLoader."""
        self.loader = self.loading.DataLoader(self.dataset(), batch_sampler=self, **self.settings())

    @abstractmethod
    def dataset(self) -> Any:
        """Return the map data set."""

    @abstractmethod
    def index(self, first: int) -> Any:
        """Return the index of the sample that begins with a frame of the series."""

    def settings(self) -> dict[str, Any]:
        """Return more arguments of the DataLoader."""
        return {}

    def __iter__(self) -> Iterator[list[Any]]:
        """Yield the indexes of each batch: the DataLoader's sampler."""
        for rows, starts in self.batches():
            self.drawn.append((rows, starts))
            yield [self.index(row * VALID + start) for row, start in zip(rows, starts, strict=True)]

    def epoch(self) -> Iterator[Batch]:
        """Give the DataLoader's own batches, time last but in videos."""
        self.drawn.clear()
        for place, batch in enumerate(self.loader):
            rows, starts = self.drawn[place]
            named = {
                name: batch[name] if name == VIDEOS else batch[name].movedim(1, -1) for name in self.workload.names
            }
            yield {**named, IDS: self.ids(rows), START: starts}


class TorchBrain(ByTime):
    """torch_brain: one HDF5 file of regular time series, read lazily, kept open."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.data: Any = importlib.import_module("torch_brain.data")
        self.datasets: Any = importlib.import_module("torch_brain.datasets.dataset")
        self.collate: Any = importlib.import_module("torch_brain.batching").collate

    def build(self) -> None:
        """Write its file."""
        Path(self.task.path).mkdir()
        series = {
            name: self.data.RegularTimeSeries(sampling_rate=RATE, values=values)
            for name, values in self.series().items()
        }
        with importlib.import_module("h5py").File(f"{self.task.path}/mouse.h5", "w") as file:
            self.data.Data(**series, domain="auto").to_hdf5(file)

    def dataset(self) -> Any:
        """Return its data set, whose transform takes the frames of the sample."""
        return self.datasets.Dataset(self.task.path, transform=self._values)

    def index(self, first: int) -> Any:
        """Return an interval."""
        return self.datasets.DatasetIndex("mouse", first / RATE, (first + self.workload.span) / RATE)

    def settings(self) -> dict[str, Any]:
        """Have its own collate function."""
        return {"collate_fn": self.collate}

    def _values(self, sample: Any) -> dict[str, Array]:
        return {name: getattr(sample, name).values[:: self.workload.stride] for name in self.workload.names}


class Experanto(ByTime):
    """experanto: memory maps of sequences, a .npy file for each video; the nearest frame, which is the sample's."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.kind: Any = importlib.import_module("experanto.experiment").Experiment
        self.experiment: Any = None

    def build(self) -> None:
        """Write its folders; JSON is YAML."""
        folder, frames = Path(self.task.path), VALID * len(self.task.trial_ids)
        for name, values in self.series().items():
            (folder / name / "meta").mkdir(parents=True)
            meta: dict[str, Any] = {"start_time": 0.0, "end_time": frames / RATE}
            if name == VIDEOS:
                meta |= {"modality": "screen", "frame_rate": RATE}
                np.save(folder / name / "timestamps.npy", np.arange(frames + 1) / RATE)
                self._write_videos(folder / name, values)
            else:
                meta |= {"modality": "sequence", "sampling_rate": RATE, "is_mem_mapped": True, "dtype": "float32"}
                meta |= {"n_timestamps": frames, "n_signals": values.shape[1]}
                values.tofile(folder / name / "data.mem")
            (folder / name / "meta.yml").write_text(json.dumps(meta), encoding="utf-8")

    def _write_videos(self, folder: Path, values: Array) -> None:
        (folder / "data").mkdir()
        for row in range(len(self.task.trial_ids)):
            first = row * VALID
            meta = {"first_frame_idx": first, "num_frames": VALID, "image_size": values.shape[1:], "modality": "video"}
            np.save(folder / f"data/{row:05d}.npy", values[first : first + VALID])
            (folder / f"meta/{row:05d}.yml").write_text(json.dumps(meta), encoding="utf-8")

    def dataset(self) -> Any:
        """Return this: a map data set that asks the experiment for the values at some times."""
        nearest = {"interpolation": {"interpolation_mode": "nearest_neighbor"}}
        config = {name: {"interpolation": {}} if name == VIDEOS else nearest for name in self.workload.names}
        self.experiment = self.kind(self.task.path, config)
        return self

    def index(self, first: int) -> Any:
        """Return the frame: the times follow from it."""
        return first

    def __getitem__(self, first: int) -> dict[str, Array]:
        """Return one sample; between frames times are safe from rounding."""
        return self.experiment.interpolate(
            (first + np.arange(self.workload.span)[:: self.workload.stride] + 0.5) / RATE
        )

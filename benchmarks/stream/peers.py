"""General libraries reading the stores of trialpack, for ``python -m benchmarks stream``, in the best setting found."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .workloads import IDS, RESPONSES, START, VALID, VIDEOS, Array, Batch, Reader, Task, Workload

POOL = 64 << 20
"""Bytes of tensorstore's cache: holds the index of every shard, but hardly a decoded chunk until it is needed again."""


class ZarrReader(Reader):
    """Any reader of Zarr; of a store of trialpack, or of one written the plain way."""

    def build(self) -> None:
        """Write the plain way: no shards, neuron-major as published, lz4, the valid frames, ``frames`` to a chunk."""
        zarr: Any = importlib.import_module("zarr")
        zarr.create_group(self.task.path)
        codec = zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=4)
        for name in self.workload.names:
            whole = zarr.open_array(f"{self.task.options['store']}/{name}", mode="r")
            shape = _valid(name, np.empty((1, *whole.shape[1:]), np.bool_)).shape
            frames = self.task.options["frames"] if name in (VIDEOS, RESPONSES) else VALID
            chunk = tuple(frames if size == VALID else size for size in shape)
            path, everything = f"{self.task.path}/{name}", (whole.shape[0], *shape[1:])
            made = zarr.create_array(path, shape=everything, chunks=chunk, dtype=whole.dtype, compressors=codec)
            for row in range(whole.shape[0]):
                made[row] = _valid(name, whole[row : row + 1])[0]


class Tensorstore(ZarrReader):
    """tensorstore: asynchronous reads straight into fresh batches, the next batch under way while one is used.

    As many copying threads as ``threads`` says. Windows of few frames are stacked by tensorstore, images are indexed
    with an array of rows: that was faster there.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.ts: Any = importlib.import_module("tensorstore")
        self.arrays: dict[str, Any] = {}
        self.context: Any = None
        self.issue: Callable[[list[int], list[int]], Callable[[], dict[str, Array]]] = self._into

    def make(self) -> None:
        """Open the arrays."""
        threads = {"limit": self.task.options["threads"]}
        self.context = self.ts.Context({"cache_pool": {"total_bytes_limit": POOL}, "data_copy_concurrency": threads})
        opened = {name: self.ts.open(self._spec(name), context=self.context) for name in self.workload.names}
        self.arrays = {name: future.result() for name, future in opened.items()}
        self.issue = self._into if self.workload.whole or self.workload.stride == 1 else self._stacked
        if self.workload.frames is None:
            self.issue = self._indexed

    def epoch(self) -> Iterator[Batch]:
        """Ask for a batch ahead."""
        ahead = deque[tuple[Callable[[], dict[str, Array]], list[int], list[int]]]()
        for rows, starts in self.batches():
            ahead.append((self.issue(rows, starts), rows, starts))
            if len(ahead) > 1:
                yield self._finish(*ahead.popleft())
        while ahead:
            yield self._finish(*ahead.popleft())

    def _finish(self, arrive: Callable[[], dict[str, Array]], rows: list[int], starts: list[int]) -> Batch:
        return {**arrive(), IDS: self.ids(rows), START: starts}

    def _spec(self, name: str) -> dict[str, Any]:
        place = {"driver": "file", "path": f"{self.task.path}/{name}/"}
        return {"driver": "zarr3", "kvstore": place, "recheck_cached_data": "open", "recheck_cached_metadata": "open"}

    def _into(self, rows: list[int], starts: list[int]) -> Callable[[], dict[str, Array]]:
        """Have every sample written into its place in a fresh numpy array."""
        batch, writes = dict[str, Array](), list[Any]()
        for name, parts in self._parts(rows, starts).items():
            batch[name] = np.empty((len(rows), *parts[0].shape), np.float32)
            for target, part in zip(batch[name], parts, strict=True):
                writes.append(self.ts.array(target, context=self.context, copy=False).write(part))

        def arrive() -> dict[str, Array]:
            for write in writes:
                write.result()
            return batch

        return arrive

    def _stacked(self, rows: list[int], starts: list[int]) -> Callable[[], dict[str, Array]]:
        parts = self._parts(rows, starts)
        return _all({name: self.ts.stack(samples).read() for name, samples in parts.items()})

    def _indexed(self, rows: list[int], _: list[int]) -> Callable[[], dict[str, Array]]:
        return _all({name: array[rows].read() for name, array in self.arrays.items()})

    def _parts(self, rows: list[int], starts: list[int]) -> dict[str, list[Any]]:
        """Return lazy samples, their frames counted from 0."""
        zero, places = self.ts.d[:].translate_to[0], list(zip(rows, starts, strict=True))
        return {
            name: [_sample(array, name, row, self.workload, start)[zero] for row, start in places]
            for name, array in self.arrays.items()
        }


class ZarrPython(ZarrReader):
    """zarr-python: one selection a sample and variable, stacked; with the codec pipeline that ``options`` name."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.zarr, self.arrays = _zarr(task), dict[str, Any]()

    def make(self) -> None:
        """Open the arrays."""
        self.arrays = {name: self.zarr.open_array(f"{self.task.path}/{name}", mode="r") for name in self.workload.names}

    def epoch(self) -> Iterator[Batch]:
        """Read sample by sample."""
        for rows, starts in self.batches():
            places = list(zip(rows, starts, strict=True))
            batch = {
                name: np.stack([_sample(array, name, row, self.workload, start) for row, start in places])
                for name, array in self.arrays.items()
            }
            yield {**batch, IDS: self.ids(rows), START: starts}


class Annbatch(ZarrReader):
    """annbatch: a loader a variable, since it yields one array, all with the same seed; zarrs decodes, as it advises.

    ``run`` trials of a chunk follow one another before they are shuffled within ``runs`` runs; whole trials only.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.zarr = _zarr(task)
        self.kind: Any = importlib.import_module("annbatch").Loader
        self.loaders: dict[str, Any] = {}

    def make(self) -> None:
        """Make the loaders."""
        self.loaders = {name: self._loader(name) for name in self.workload.names}

    def epoch(self) -> Iterator[Batch]:
        """Put the variables together again."""
        for parts in zip(*self.loaders.values(), strict=True):
            batch = {name: _valid(name, part["X"]) for name, part in zip(self.loaders, parts, strict=True)}
            yield {**batch, IDS: self.ids(parts[0]["index"])}

    def _loader(self, name: str) -> Any:
        options = self.task.options
        loader = self.kind(
            batch_size=self.workload.batch,
            chunk_size=options["run"],
            preload_nchunks=options["runs"],
            shuffle=True,
            preload_to_gpu=False,
            return_index=True,
            rng=np.random.default_rng(0),
        )
        loader.add_dataset(self.zarr.open_array(f"{self.task.path}/{name}", mode="r"))
        return loader


class Insitubatch(ZarrReader):
    """insitubatch: its pool holds the chunks (of a sharded array, the shards) of ``blocks`` blocks, and some ahead.

    Batches are drawn out of the pool. With ``resident`` bytes, the pool keeps all trials decoded. Whole trials only.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.library: Any = importlib.import_module("insitubatch")
        self.set: Any = None
        self.passes = 0

    def make(self) -> None:
        """Open the arrays and make the pool."""
        options, library = self.task.options, self.library
        store = library.obstore_store(f"file://{self.task.path}")
        arrays = library.open_geometries(store, variables=list(self.workload.names))
        finest = min(arrays.values(), key=lambda array: array.sample_chunk_size)
        everything = library.split_by_chunk(finest, fractions=(1.0, 0.0, 0.0))
        self.set = library.InSituDataset(
            store, everything, geometries=arrays, batch_size=self.workload.batch,
            block_chunks=options["blocks"], cache_budget_bytes=options.get("resident"),
        )  # fmt: skip

    def forget(self) -> None:
        """Make a new pool: the old one holds too large a part of so few trials to be called a stream."""
        if not self.task.options.get("resident"):
            self.set.close()
            self.make()

    def epoch(self) -> Iterator[Batch]:
        """Give its own batches; the padding is not shown, which costs nothing."""
        self.set.set_epoch(self.passes)
        self.passes += 1
        for batch in self.set.train:
            arrays = {name: _valid(name, values) for name, values in batch.arrays.items()}
            yield {**arrays, IDS: self.ids(batch.sample_indices)}


def _zarr(task: Task) -> Any:
    """Import zarr, and choose its codec pipeline if the task says which."""
    zarr: Any = importlib.import_module("zarr")
    if "pipeline" in task.options:
        importlib.import_module(task.options["pipeline"].partition(".")[0])
        zarr.config.set({"codec_pipeline.path": task.options["pipeline"]})
    return zarr


def _all(futures: dict[str, Any]) -> Callable[[], dict[str, Array]]:
    return lambda: {name: future.result() for name, future in futures.items()}


def _sample(array: Any, name: str, row: int, workload: Workload, start: int) -> Any:
    """Select one sample of an array of the store."""
    if workload.frames is None:
        return array[row]
    frames = workload.cut(start)
    return array[row, frames] if name == VIDEOS else array[row, :, frames]


def _valid(name: str, values: Any) -> Any:
    """Return a view of some trials without padding."""
    if name == VIDEOS:
        return values[:, :VALID]
    return values[..., :VALID] if values.ndim == 3 else values

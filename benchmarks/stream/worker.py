"""The process that one reader runs in: requests and answers are lines of JSON.

Started as ``PYTHON -m benchmarks.stream.worker CLASS`` or, to list which of some modules can be imported,
``PYTHON -m benchmarks.stream.worker --has MODULE...``. Between requests it waits on its standard input.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import sys
import time
import traceback
from collections import deque
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TextIO

from .workloads import RESPONSES, Reader, Task, delivered

PACKAGES = ("numpy", "zarr", "torch", "tensorstore", "litdata", "annbatch", "insitubatch", "zarrs")


class Service:
    """What the process does; each public method is a request."""

    def __init__(self, kind: str) -> None:
        module, _, name = kind.partition(":")
        self.kind: type[Reader] = getattr(importlib.import_module(module), name)
        self.reader: Any = None

    def open(self, task: dict[str, Any]) -> dict[str, Any]:
        """Import what the reader needs."""
        self.reader = self.kind(Task.from_json(task))
        return {"versions": _versions(), "python": sys.version.split()[0]}

    def build(self) -> dict[str, Any]:
        """Write the files that it reads."""
        self.reader.build()
        return {}

    def make(self) -> dict[str, Any]:
        """Make the reader ready."""
        begun = time.perf_counter()
        self.reader.make()
        return {"seconds": time.perf_counter() - begun}

    def sums(self) -> dict[str, Any]:
        """Read one epoch, and say what was delivered."""
        workload = self.reader.workload
        return {"sums": [one for batch in self.reader.epoch() for one in delivered(batch, workload)]}

    def first(self) -> dict[str, Any]:
        """Time the first batch of an epoch, then read the rest of it."""
        begun = time.perf_counter()
        batches = self.reader.epoch()
        next(batches)
        seconds = time.perf_counter() - begun
        deque(batches, maxlen=0)
        return {"seconds": seconds}

    def run(self, least: float = 0.0, epochs: int = 1) -> dict[str, Any]:
        """Read whole epochs until so many have been read, and have taken so many seconds."""
        samples = passes = 0
        seconds = 0.0
        while passes < epochs or seconds < least:
            self.reader.forget()
            begun = time.perf_counter()
            samples += _read(self.reader)
            seconds += time.perf_counter() - begun
            passes += 1
        gc.collect()
        return {"seconds": seconds, "samples": samples, "epochs": passes}

    def hold(self, epochs: int, held: int) -> dict[str, Any]:
        """Read some epochs while as many batches as said are held."""
        kept = deque[Any](maxlen=held)
        for _ in range(epochs):
            for batch in self.reader.epoch():
                kept.append(batch)
        return {"bytes": sum(_nbytes(batch, self.reader.workload.names) for batch in kept)}


def serve(kind: str, answers: TextIO) -> None:
    """Answer requests until there are no more."""
    service = Service(kind)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(service, request.pop("do"))(**request)
        except Exception as error:  # whatever a peer raises is for the other process to judge
            answer = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


def _read(reader: Reader) -> int:
    """Read an epoch, and return how many samples it had; as in training, a batch lives until the next one is there."""
    samples = 0
    for batch in reader.epoch():
        samples += len(batch[RESPONSES])
    return samples


def _nbytes(batch: Any, names: tuple[str, ...]) -> int:
    return sum(batch[name].nbytes for name in names)


def _versions() -> dict[str, str]:
    """Return the versions of the packages of interest that are imported."""
    found = dict[str, str]()
    for name in PACKAGES:
        if name in sys.modules:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
    return found


def _main(arguments: list[str]) -> None:
    if arguments[0] == "--has":
        print(json.dumps([name for name in arguments[1:] if importlib.util.find_spec(name)]))
        return
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is not an answer
    serve(arguments[0], answers)


if __name__ == "__main__":
    _main(sys.argv[1:])

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
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TextIO

from .consumer import consume, order_of
from .workloads import RESPONSES, Reader, Task, delivered

PACKAGES = (
    "numpy", "zarr", "torch", "tensorstore", "litdata", "annbatch", "insitubatch", "zarrs", "torch_brain", "experanto"
)  # fmt: skip


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
        """Read one epoch, and say what was delivered, and in which order in memory."""
        workload, order, sums, begun = self.reader.workload, "", list[Any](), time.perf_counter()
        first = 0.0
        for batch in self.reader.epoch():
            first = first or time.perf_counter() - begun
            order = order or order_of(batch, workload.names)
            sums += delivered(batch, workload)
        return {"sums": sums, "order": order, "first": first}

    def run(self, least: float = 0.0, contiguous: bool = False) -> dict[str, Any]:
        """Read whole epochs until they have taken so many seconds.

        Returns
        -------
        dict
            ``first``: seconds to the first batch of each epoch. ``processor``: seconds of the processor, without those
            of the consumer, and ``released``: those of them in which the interpreter was free, where the reader tells.
        """
        samples, seconds, released, firsts = 0, 0.0, 0.0, list[float]()
        processor = time.process_time()
        while not firsts or seconds < least:
            self.reader.forget()
            begun = time.perf_counter()
            count, first, consumed = _read(self.reader, contiguous)
            seconds += time.perf_counter() - begun
            samples, firsts, processor = samples + count, [*firsts, first], processor + consumed
            released += self.reader.released()
        processor = time.process_time() - processor
        gc.collect()
        return {
            "seconds": seconds, "samples": samples, "first": firsts, "processor": processor, "released": released
        }  # fmt: skip


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


def _read(reader: Reader, contiguous: bool) -> tuple[int, float, float]:
    """Read an epoch, each batch alive until the next.

    Returns
    -------
    tuple
        How many samples it had, seconds to the first batch, and seconds of the consumer.
    """
    samples, first, consumed, begun = 0, 0.0, 0.0, time.perf_counter()
    for batch in reader.epoch():
        came = time.perf_counter()
        first = first or came - begun
        consume(batch, reader.workload.names, contiguous=contiguous)
        consumed += time.perf_counter() - came
        samples += len(batch[RESPONSES])
    return samples, first, consumed


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

"""The tasks of ``python -m benchmarks against``, which any version of trialpack can run: a script of its own.

It is run by the interpreters of both versions, and uses only what both have.
"""

from __future__ import annotations

import importlib
import itertools
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Call = Callable[[], object]
DYNAMIC, STATIC = "A", "S0"


def _module(name: str) -> Any:
    return importlib.import_module(f"trialpack.{name}")


def _store(trees: Mapping[str, str], scratch: Path, mouse: str, **options: Any) -> Any:
    return _module("convert").convert_mouse(trees[mouse], scratch / "store", verify=False, **options).store


def _convert(mouse: str, **options: Any) -> Callable[[Mapping[str, str], Path], Call]:
    def prepare(trees: Mapping[str, str], scratch: Path) -> Call:
        def call() -> None:
            _module("convert").convert_mouse(trees[mouse], scratch / "made", **options)
            shutil.rmtree(scratch / "made")

        return call

    return prepare


def _verify(trees: Mapping[str, str], scratch: Path) -> Call:
    store = _store(trees, scratch, DYNAMIC, statistics=False)
    return lambda: _module("store").check_full(store, workers=2)


def _statistics(trees: Mapping[str, str], scratch: Path) -> Call:
    mouse = _module("readers").open_mouse(_store(trees, scratch, DYNAMIC, statistics=False))
    return lambda: _module("readers").train_statistics(mouse)


def _export(form: str, **options: Any) -> Callable[[Mapping[str, str], Path], Call]:
    def prepare(trees: Mapping[str, str], scratch: Path) -> Call:
        store = _store(trees, scratch, DYNAMIC, statistics=False)

        def call() -> None:
            _module("convert").export_mouse(store, scratch / "made", format=form, **options)
            shutil.rmtree(scratch / "made")

        return call

    return prepare


def _open(trees: Mapping[str, str], scratch: Path) -> Call:
    store = _store(trees, scratch, DYNAMIC)
    return lambda: [_module("readers").open_mouse(store) for _ in range(20)]


def _stream(mouse: str, *, codec: str = "fast", epochs: int = 1, **options: Any) -> Callable[..., Call]:
    def prepare(trees: Mapping[str, str], scratch: Path) -> Call:
        store = _store(trees, scratch, mouse, statistics=False, codec=codec)
        opened = _module("readers").open_mouse(store)
        loader = _module("readers").TrialLoader(
            opened, tier="train", output="numpy", shuffle=True, threads=2, **options
        )

        def call() -> None:
            for _ in itertools.chain.from_iterable(loader for _ in range(epochs)):
                pass

        return call

    return prepare


_WINDOWS = {"batch_size": 8, "window": 80, "cache": "none", "epochs": 6}
TASKS: Mapping[str, Callable[..., Call]] = {
    "convert dynamic": _convert(DYNAMIC),
    "convert static": _convert(STATIC),
    "convert without statistics": _convert(DYNAMIC, statistics=False, verify=False),
    "convert within bounds": _convert(DYNAMIC, statistics=False, max_error={"responses": "0.1%std", "videos": 0.5}),
    "open, quick check": _open,
    "verify": _verify,
    "statistics": _statistics,
    "export npy": _export("npy"),
    "export hdf5": _export("hdf5", hdf5_filter="none"),
    "whole trials": _stream(DYNAMIC, batch_size=4, cache="none", epochs=6),
    "whole trials, uncompressed": _stream(DYNAMIC, batch_size=4, cache="none", epochs=6, codec="none"),
    "whole trials, small": _stream(DYNAMIC, batch_size=4, cache="none", epochs=6, codec="small"),
    "windows": _stream(DYNAMIC, **_WINDOWS),
    "windows, uncompressed": _stream(DYNAMIC, codec="none", **_WINDOWS),
    "16 frames, stride 2": _stream(DYNAMIC, batch_size=32, window=16, stride=2, cache="none", epochs=20),
    "images": _stream(STATIC, batch_size=128, cache="none", epochs=3),
    "images, kept": _stream(STATIC, batch_size=128, epochs=6),
    "windows, kept": _stream(DYNAMIC, batch_size=8, window=80, epochs=20, memory="4GiB"),
}
"""Name -> what prepares a call, which is then timed again and again."""


def _peak_nbytes() -> int:
    """Return the peak of resident memory: on Linux that of this program alone, not of the one that started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main(task: str, trees: str, scratch: str) -> None:
    """Answer each line of standard input: ``time`` runs the task, ``memory`` tells the peak."""
    call = TASKS[task](json.loads(trees), Path(scratch))
    for line in sys.stdin:
        if line.strip() == "memory":
            print(_peak_nbytes(), flush=True)
            continue
        begun = time.perf_counter()
        call()
        print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

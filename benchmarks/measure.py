"""Time calls against one another, and watch the memory of one call in a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from .report import console

_EVERY = 0.002  # seconds between two looks at the memory of a process
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Case:
    """One of the calls to compare; it is given a path that does not exist, for its output."""

    name: str
    call: Callable[[Path], object]


@dataclass(frozen=True)
class Memory:
    """Peak bytes of a process and its children, and the seconds of the call.

    Attributes
    ----------
    resident
        Highest sum of resident memory; mapped files count.
    private
        Highest sum of resident memory that is neither a file nor shared; None where the system does not tell.
    """

    resident: int
    private: int | None
    seconds: float


def interleave(cases: Sequence[Case], repeats: int, scratch: Path) -> dict[str, list[float]]:
    """Return the seconds of all cases, timed in turn (A B C, B C A, …) after one round that does not count.

    Notes
    -----
    Each call ends with `os.sync`, inside its time: all that it wrote is then on the disk. Outputs are removed, and
    that is synced too, before the next call. Sources stay in the page cache.
    """
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    for turn in range(repeats + 1):
        first = turn % len(cases)
        for case in [*cases[first:], *cases[:first]]:
            taken = _timed(case, scratch / "output")
            console.print(f"  {'warm-up' if turn == 0 else turn}: {case.name}  {taken:.2f} s", style="dim")
            if turn:
                seconds[case.name].append(taken)
    return seconds


def _timed(case: Case, output: Path) -> float:
    os.sync()
    begun = time.perf_counter()
    case.call(output)
    os.sync()
    taken = time.perf_counter() - begun
    remove(output)
    return taken


def remove(output: Path) -> None:
    """Remove a file or folder, if it is there."""
    if output.is_dir():
        shutil.rmtree(output)
    else:
        output.unlink(missing_ok=True)


def peak_memory(function: str, **arguments: Any) -> Memory:
    """Call a function in a fresh process and watch its memory.

    Parameters
    ----------
    function
        ``module:name``.
    **arguments
        Its arguments, as JSON can hold them.

    Notes
    -----
    The time is taken inside that process, around the call: starting Python and importing do not count. Their memory
    does. A peak shorter than two milliseconds may be missed.
    """
    command = [sys.executable, "-m", "benchmarks.measure", function, json.dumps(arguments)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE) as child:
        resident, private = _watch(child)
        assert child.stdout is not None
        said = child.stdout.read()
    if child.returncode:
        raise RuntimeError(f"{function}: the process that was measured ended with status {child.returncode}")
    return Memory(resident, private, float(said))


def _watch(child: subprocess.Popen[bytes]) -> tuple[int, int | None]:
    process, peaks, looks = psutil.Process(child.pid), [0, 0], 0
    tree = [process]
    while child.poll() is None:
        if looks % 25 == 0:  # finding the children takes longer than all the rest
            tree = [process, *_children(process)]
        peaks = [max(pair) for pair in zip(peaks, held(tree), strict=True)]
        looks += 1
        time.sleep(_EVERY)
    return peaks[0], peaks[1] or None


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def held(processes: Iterable[psutil.Process]) -> tuple[int, int]:
    """Return the resident and the private bytes of some processes, those that have ended left out."""
    resident = private = 0
    for process in processes:
        try:
            info = process.memory_info()
        except psutil.Error:
            continue
        resident += info.rss
        private += info.rss - info.shared if hasattr(info, "shared") else 0
    return resident, private


def _main(function: str, arguments: str) -> None:
    """Call a function and print how many seconds it took; runs in the process that is watched."""
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    begun = time.perf_counter()
    call(**json.loads(arguments))
    print(time.perf_counter() - begun)


if __name__ == "__main__":
    _main(*sys.argv[1:])

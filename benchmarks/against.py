"""Speed and memory of this version against those of another one, task by task in turn.

Each task runs in one process of each version, which take turns: here, there, there, here, … The first round does not
count. Ratios are this version's over the other's, so 0.97 is three percent less time; peak memory is that of the whole
process. Make the other version's environment from its own checkout, with the same versions of all other packages.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from . import data
from .report import Column, Table, console
from .tasks import TASKS

WORKER = Path(__file__).with_name("tasks.py")
COLUMNS = (
    Column("task", "task"),
    Column("here best s", "best", ".3f"),
    Column("there best s", "other_best", ".3f"),
    Column("of bests", "ratio", ".3f"),
    Column("of medians", "ratio_median", ".3f"),
    Column("memory here MB", "memory", ".0f"),
    Column("there MB", "other_memory", ".0f"),
    Column("of memory", "ratio_memory", ".3f"),
)
TRIALS = {"A": 48, "S0": 3000}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument(
        "other", metavar="PYTHON", help="interpreter in whose environment the other version is installed"
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="counted repetitions (%(default)s)")
    parser.add_argument("--only", choices=list(TASKS), action="append", help="only this task; repeatable")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return one table."""
    size = {"trials": 12, "neurons": 500} if options.quick else {"neurons": data.NEURONS}
    trees = {
        mouse: str(data.recording(options.data, mouse, size.get("trials", trials), size["neurons"]))
        for mouse, trials in TRIALS.items()
    }
    rows = list[dict[str, Any]]()
    for name in options.only or TASKS:
        with ExitStack() as stack:
            sides = [
                stack.enter_context(_Side(python, name, trees, options.data))
                for python in (sys.executable, options.other)
            ]
            seconds = _take_turns(sides, 1 if options.quick else options.repeats)
            rows.append(_row(name, seconds, [side.memory() for side in sides]))
        console.print(f"  {name}: {rows[-1]['ratio']:.3f}", style="dim")
    return [Table("This version against another", COLUMNS, rows)]


def _take_turns(sides: Sequence[_Side], repeats: int) -> list[list[float]]:
    """Return the seconds of each side; which goes first changes from round to round."""
    seconds = [list[float]() for _ in sides]
    for turn in range(repeats + 1):
        for place in (0, 1) if turn % 2 else (1, 0):
            taken = sides[place].time()
            if turn:
                seconds[place].append(taken)
    return seconds


def _row(name: str, seconds: Sequence[Sequence[float]], memory: Sequence[float]) -> dict[str, Any]:
    best, median = [min(taken) for taken in seconds], [statistics.median(taken) for taken in seconds]
    return {
        "task": name,
        "best": best[0],
        "other_best": best[1],
        "ratio": best[0] / best[1],
        "ratio_median": median[0] / median[1],
        "memory": memory[0] / 1e6,
        "other_memory": memory[1] / 1e6,
        "ratio_memory": memory[0] / memory[1],
        "seconds": seconds,
    }


class _Side:
    """A process of one version that runs a task whenever it is asked."""

    def __init__(self, python: str, task: str, trees: dict[str, str], folder: Path) -> None:
        self._scratch = tempfile.mkdtemp(dir=folder)
        command = [python, "-P", str(WORKER), task, json.dumps(trees), self._scratch]
        # Neither in the checkout nor with its folder on the path: files would come before the installed ones.
        self._child = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate("")
        shutil.rmtree(self._scratch, ignore_errors=True)

    def time(self) -> float:
        """Return the seconds of one run."""
        return self._ask("time")

    def memory(self) -> float:
        """Return the peak bytes of the process so far."""
        return self._ask("memory")

    def _ask(self, what: str) -> float:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(f"{what}\n")
        self._child.stdin.flush()
        return float(self._child.stdout.readline())

"""Processes of readers as `benchmarks.stream` sees them: start, ask, watch, end."""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from ..measure import held
from .entries import ALL_NEEDS, Entry
from .workloads import Task

_ROOT = Path(__file__).parents[2]
_EVERY = 0.002  # seconds between two looks at the memory of a process


class Worker:
    """One reader in a process of its own."""

    def __init__(self, entry: Entry, interpreter: str, task: Task) -> None:
        self.entry, self.interpreter, self.task = entry, interpreter, task
        self.process = self._started()

    def restart(self) -> None:
        """End the process, and start another."""
        self.end()
        self.process = self._started()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send a request, and wait for the answer.

        Raises
        ------
        RuntimeError
            The reader failed.
        """
        self.send(do, **arguments)
        return self.answer(do)

    def watch(self, do: str, **arguments: Any) -> tuple[int, dict[str, Any]]:
        """Return the peak of the private memory of the process tree during a request, and the answer."""
        assert self.process.stdout is not None
        peak = self.private()
        self.send(do, **arguments)
        while not select.select([self.process.stdout], [], [], _EVERY)[0]:
            peak = max(peak, self.private())
        return peak, self.answer(do)

    def private(self) -> int:
        """Return the bytes of memory of the process and its children that are neither files nor shared."""
        process = psutil.Process(self.process.pid)
        return held([process, *process.children(recursive=True)])[1]

    def send(self, do: str, **arguments: Any) -> None:
        """Send a request."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
        self.process.stdin.flush()

    def answer(self, do: str) -> dict[str, Any]:
        """Wait for the answer to a request."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the process ended", "traceback": ""}
        if "error" in answer:
            raise RuntimeError(f"{self.entry.name}, {do}: {answer['error']}\n{answer['traceback']}")
        return answer

    def end(self) -> None:
        """Have the process end."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _started(self) -> subprocess.Popen[bytes]:
        worker, reader = "benchmarks.stream.worker", f"benchmarks.stream.{self.entry.reader}"
        return subprocess.Popen(
            [self.interpreter, "-W", "ignore", "-m", worker, reader],
            cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is not None:
            self.process.kill()
        self.end()


def interpreter_of(entry: Entry, interpreters: Sequence[str]) -> str | None:
    """Return the first interpreter that can import what an entry needs, if there is one."""
    return next((one for one in interpreters if set(entry.needs) <= _installed(one)), None)


@cache
def _installed(interpreter: str) -> frozenset[str]:
    """Return which of all modules that an entry may need an interpreter has."""
    command = [interpreter, "-m", "benchmarks.stream.worker", "--has", *ALL_NEEDS]
    said = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, check=True).stdout
    return frozenset(json.loads(said))

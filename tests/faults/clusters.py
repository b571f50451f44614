"""Real clusters of processes: a scheduler and workers that can be faulty, stopped and killed."""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from .cluster_worker import FAULT

WORKER = Path(__file__).with_name("cluster_worker.py")
_T = TypeVar("_T")


def hides(folder: Path) -> list[str]:
    """Return the start of a command that sees nothing in a folder; skips where mounts are not allowed."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("mount namespaces are not allowed here")
    return ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none {shlex.quote(str(folder))} && exec "$@"', "sh"]


def within(seconds: float, function: Callable[[], _T]) -> _T:
    """Return what a function returns or raise what it raises, and fail if it takes longer."""
    outcome = list[Any]()

    def run() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"still running after {seconds} s"
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


class Processes:
    """A scheduler and its workers, each a process."""

    def __init__(self, place: Path) -> None:
        self._place, self._all = place, list[subprocess.Popen[bytes]]()
        self.scheduler = self._start(
            "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1"
        )
        self.address = self._said(self.scheduler, r"Scheduler at:\s+(\S+)")

    def worker(
        self, fault: str = "", *, cwd: Path | None = None, command: Sequence[str] = (), nanny: bool = False
    ) -> str:
        """Start a worker and return its address; a nanny starts another one in the place of one that dies."""
        options = ("--no-dashboard", "--nthreads", "1", "--memory-limit", "0", "--nanny" if nanny else "--no-nanny")
        arguments = ("-m", "distributed.cli.dask_worker", self.address, "--preload", str(WORKER), *options)
        started = self._start(*arguments, cwd=cwd, command=command, fault=fault)
        return self._said(started, r"Start worker at:\s+(\S+)", r"Registered to:")

    def kill(self, address: str) -> None:
        """Kill the worker of an address."""
        for number, process in enumerate(self._all):
            if address in self._log(number).read_text():
                if process is not self.scheduler:
                    process.kill()
                    process.wait()

    def end_workers(self) -> None:
        """End all workers, and wait until the scheduler knows."""
        for process in self._all[1:]:
            process.terminate()
            process.wait()

    def end(self) -> None:
        for process in self._all:
            process.kill()
            process.wait()

    def _start(self, *arguments: str, cwd: Path | None = None, command: Sequence[str] = (), fault: str = "") -> Any:
        with self._log(len(self._all)).open("wb") as log:
            process = subprocess.Popen(
                [*command, sys.executable, *arguments],
                stdout=log,
                stderr=log,
                cwd=cwd or self._place,
                env={**os.environ, "OMP_NUM_THREADS": "1", FAULT: fault},
            )
        self._all.append(process)
        return process

    def _log(self, number: int) -> Path:
        return self._place / f"process-{number}.log"

    def _said(self, process: Any, *patterns: str) -> str:
        """Wait until a process has said something, and return the group of the first pattern."""
        log, deadline = self._log(self._all.index(process)), time.monotonic() + 60
        while time.monotonic() < deadline:
            found = [re.search(pattern, log.read_text()) for pattern in patterns]
            if all(found) and found[0] is not None:
                return found[0][1]
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        raise AssertionError(log.read_text())


@contextlib.contextmanager
def processes(place: Path) -> Iterator[Processes]:
    place.mkdir(exist_ok=True)
    made = Processes(place)
    try:
        yield made
    finally:
        made.end()

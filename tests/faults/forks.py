"""Processes that are started, cancelled and killed by the hundred."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .conversions import SHARD_BYTES

SERVER = Path(__file__).with_name("fork_server.py")
PRIVATE = ("unshare", "--map-root-user", "--mount")
"""Runs a command where it may mount file systems that nobody else sees."""

QUICKLY = f"""
import os, sys, time
from trialpack.convert import convert_mouse
from trialpack.store import files, layout, locks
layout.SHARD_BYTES = {SHARD_BYTES}
files.sync = lambda descriptor: None
"""
"""Small shards, and no waiting for the disk."""

COMMAND = """
main = sys.modules["trialpack.cli.main"]
main.main()
"""
"""The command line, with the arguments of the fork."""


@dataclass(eq=False)
class Fork:
    """A process."""

    server: "ForkServer"
    process: int
    output: Path
    status: int | None = None

    def signal(self, number: int) -> None:
        self.server.ask("kill", self.process, number)

    def wait(self, seconds: float = 60) -> int | None:
        """Return its exit status, negative for a signal; None if it is still there."""
        if self.status is None:
            self.status = self.server.ask("wait", self.process, seconds)
        return self.status

    def finish(self) -> tuple[int | None, str]:
        """Return its exit status and all that it said."""
        status = self.wait()
        return status, self.said

    @property
    def said(self) -> str:
        return self.output.read_text()

    @property
    def alive(self) -> list[int]:
        """Its processes that are alive."""
        return self.server.ask("session", self.process)


class ForkServer:
    """A process that forks; see `fork_server`."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder, self._forks = process, folder, list[Fork]()

    @property
    def process(self) -> int:
        """Its number."""
        return self._process.pid

    def ask(self, name: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, code: str, *arguments: object) -> Fork:
        """Run code in a new process."""
        output = self._folder / f"{len(self._forks)}.txt"
        process = self.ask("start", code, list(map(str, arguments)), str(output))
        self._forks.append(Fork(self, process, output))
        return self._forks[-1]

    def end(self) -> None:
        """End all that is alive."""
        for fork in self._forks:
            for process in fork.alive:
                self.ask("kill", process, signal.SIGKILL)


@contextmanager
def fork_server(folder: Path, *command: str) -> Iterator[ForkServer]:
    """Start a process that forks, perhaps by a command such as `PRIVATE`."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, sys.executable, str(SERVER)], stdin=pipe, stdout=pipe, text=True) as process:
        server = ForkServer(process, folder)
        try:
            yield server
        finally:
            if process.poll() is None:
                server.end()


def is_private() -> bool:
    """Return whether `PRIVATE` is allowed here."""
    try:
        return subprocess.run([*PRIVATE, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False

"""A process that has imported trialpack and forks: hundreds of processes in the time of one interpreter's start.

Run as a script. Reads requests, one JSON document a line, and answers each with one. What a fork runs is the end of the
script, so it ends as any Python process does.
"""

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

COMMANDS = [f"trialpack.cli.{name}" for name in ("main", "convert", "stats")]
for _name in (*COMMANDS, "trialpack.convert", "trialpack.readers", "trialpack.readers.streaming", "zarr"):
    importlib.import_module(_name)


class Work(Exception):
    """What is to be done by the fork."""


def start(code: str, arguments: list[str], output: str) -> int:
    """Run code in a fork, the leader of a session; its standard output and error go to a file."""
    if process := os.fork():
        return process
    os.setsid()
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for standard, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, descriptor), (2, descriptor)):
        os.dup2(source, standard)
    sys.argv[1:] = arguments
    raise Work(code)


def wait(process: int, seconds: float) -> int | None:
    """Return the exit status, negative for a signal; None if the process goes on."""
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.001)


def kill(process: int, number: int) -> None:
    os.kill(process, number)


def session(leader: int) -> list[int]:
    """Return the processes of a session that are alive."""
    found = list[int]()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                state, _, _, its_session = file.read().rpartition(")")[2].split()[:4]
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.ESRCH)
            continue
        if int(its_session) == leader and state != "Z":
            found.append(int(name))
    return found


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def listing(folder: str) -> list[str]:
    return sorted(os.listdir(folder))


REQUESTS: dict[str, Callable[..., Any]] = {one.__name__: one for one in (start, wait, kill, session, run, listing)}


def serve() -> None:
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        print(json.dumps(REQUESTS[name](*arguments)), flush=True)


code = ""
try:
    serve()
except Work as work:
    code = str(work)
signal.signal(signal.SIGINT, signal.default_int_handler)
exec(compile(code, "<fork>", "exec"), {"__name__": "__main__"})  # noqa: S102 - of the tests themselves

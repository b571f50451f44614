"""A control group of Linux that limits the memory, and with it the page cache, of some processes."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_NAME = f"trialpack-benchmarks-{os.getpid()}"


class ControlGroup:
    """Processes that are added may take no more memory than this, the files that they read included.

    Parameters
    ----------
    nbytes
        At most so much; what the processes held before they were added does not count.
    """

    def __init__(self, nbytes: int) -> None:
        self._folder, limit = _place()
        self._folder.mkdir(exist_ok=True)
        (self._folder / limit).write_text(str(nbytes), encoding="ascii")

    @classmethod
    def possible(cls) -> bool:
        """Return whether this process may make one."""
        try:
            with cls(1 << 30):
                return True
        except OSError:
            return False

    def add(self, process: int) -> None:
        """Put a process into it."""
        (self._folder / "cgroup.procs").write_text(str(process), encoding="ascii")

    def __enter__(self) -> ControlGroup:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._folder / "cgroup.procs").read_text(encoding="ascii").split():
            with contextlib.suppress(OSError):  # it has ended
                (self._folder.parent / "cgroup.procs").write_text(process, encoding="ascii")
        for _attempt in range(50):  # the group is busy for a moment after its last process left
            with contextlib.suppress(OSError):
                self._folder.rmdir()
                return
            time.sleep(0.02)


def _place() -> tuple[Path, str]:
    """Return the folder of the group, and the name of its limit: version 1 of control groups, or version 2."""
    if (_ROOT / "memory").is_dir():
        return _ROOT / "memory" / _NAME, "memory.limit_in_bytes"
    return _ROOT / _NAME, "memory.max"

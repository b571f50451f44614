"""An interrupt ends the process at once, in one line that says how to go on.

Imports nothing large: until the handlers are there, an interrupt is a traceback.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

_advice = list[tuple[str, tuple[Path, ...]]]()
_cleaning = list[Callable[[], object]]()


def end_when_interrupted() -> None:
    """Let SIGINT and SIGTERM end the process with status 130."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


@contextmanager
def advising(advice: str, *unfinished: Path) -> Generator[None]:
    """Have something to say if what is in the block is interrupted.

    Parameters
    ----------
    unfinished
        All that may have been left then, to be named if it was.
    """
    said = (advice, unfinished)
    _advice.append(said)
    try:
        yield
    finally:
        _advice.remove(said)


@contextmanager
def cleaning(clean: Callable[[], object]) -> Generator[None]:
    """Have something to do if what is in the block is interrupted."""
    _cleaning.append(clean)
    try:
        yield
    finally:
        _cleaning.pop()


def _end(number: int, frame: FrameType | None) -> None:
    """End at once: whatever was under way is not visible under a store's name, and a later run goes on from it."""
    for clean in reversed(_cleaning):
        clean()
    with suppress(OSError):
        os.write(2, f"\ntrialpack: {'; '.join(['interrupted', *_said()])}\n".encode())
    os._exit(130)


def _said() -> list[str]:
    """Return what to do, and what is left of the work: of several mice, too."""
    left = dict.fromkeys(path for _, unfinished in _advice for path in unfinished if path.exists())
    advice = list(dict.fromkeys(advice for advice, _ in _advice))
    folders = shlex.join(dict.fromkeys(str(path.parent) for path in left))
    what = f"left unfinished: {', '.join(map(str, left))}; to give it up: trialpack clean {folders} --yes"
    return [*advice, *([what] if left else [])]

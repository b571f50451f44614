"""An interrupt ends the process at once, in one line that says how to go on.

Imports nothing large: until the handlers are there, an interrupt is a traceback.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

_advice = list[tuple[str, Path | None]]()
_cleaning = list[Callable[[], object]]()


def end_when_interrupted() -> None:
    """Let SIGINT and SIGTERM end the process with status 130."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


@contextmanager
def advising(advice: str, unfinished: Path | None = None) -> Generator[None]:
    """Have something to say if what is in the block is interrupted.

    Parameters
    ----------
    unfinished
        What may have been left then, to be named if it was.
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
    left = [str(unfinished) for _, unfinished in _advice if unfinished is not None and unfinished.exists()]
    advice = list(dict.fromkeys(advice for advice, _ in _advice))
    return [*advice, *([f"unfinished work is in {', '.join(left)}: delete it to give up"] if left else [])]

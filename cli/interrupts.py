"""An interrupt ends the process at once, in one line that says how to go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from ..store import files
from .display import console

_advice = list[str]()


def end_when_interrupted() -> None:
    """Let SIGINT and SIGTERM end the process with status 130."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


@contextmanager
def advising(advice: str) -> Generator[None]:
    """Have something to say if what is in the block is interrupted; of blocks in blocks, the innermost says it."""
    _advice.append(advice)
    try:
        yield
    finally:
        _advice.pop()


def _end(number: int, frame: FrameType | None) -> None:
    """End at once: whatever was under way is not visible under a store's name, and a later run goes on from it."""
    console.show_cursor(True)
    files.drop_unsaved()
    os.write(2, f"\ntrialpack: {'; '.join(['interrupted', *_advice[-1:]])}\n".encode())
    os._exit(130)

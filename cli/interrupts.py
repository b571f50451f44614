"""An interrupt ends the process at once, in one line that says how to go on.

Imports nothing large: until the handlers are there, an interrupt is a traceback.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

_advice = list[str]()
_cleaning = list[Callable[[], object]]()


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
    os.write(2, f"\ntrialpack: {'; '.join(['interrupted', *_advice[-1:]])}\n".encode())
    os._exit(130)

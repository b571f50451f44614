"""Standard output and standard error, where the shell closed them or nothing can be written to them.

Imports nothing large: it is there before the commands are imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

_STANDARD = (0, 1, 2)


@contextmanager
def reliable_streams() -> Generator[None]:
    """Let closed streams lead nowhere, name standard output where it fails, and go on where standard error does.

    Raises
    ------
    OSError
        Standard output cannot be written; `BrokenPipeError` if nobody reads it any more.
    """
    _reserve_descriptors()
    with redirect_stdout(_opened(sys.stdout, _name_output)), redirect_stderr(_opened(sys.stderr, _go_on)):
        yield


def _reserve_descriptors() -> None:
    """Open closed standard streams to nowhere: else a file of a store would be opened as one, and be written into."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) in _STANDARD:
        pass
    os.close(descriptor)


def _opened(stream: TextIO | None, failed: Callable[[OSError], object]) -> TextIO:
    return cast(TextIO, _Stream(stream or open(os.devnull, "w"), failed))


def _name_output(error: OSError) -> None:
    if isinstance(error, BrokenPipeError):
        raise error
    what = f"standard output cannot be written ({error.strerror}); what was made is complete"
    raise OSError(what) from None


def _go_on(error: OSError) -> None:
    """Do nothing: there is nobody to be told."""


class _Stream:
    """A text stream, with something to do when it fails, and whenever it is written to afterwards."""

    def __init__(self, stream: TextIO, failed: Callable[[OSError], object]) -> None:
        self._stream, self._failed = stream, failed
        self._error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except OSError as error:
            self._error = error
            # Python writes what is left when the process ends: now to nowhere, lest it fails once more.
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
        if self._error is not None:
            self._failed(self._error)

"""How long work reports its progress; what draws it is up to the caller."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Listener to long work; `advance` is called from any thread."""

    def start(self, phase: str, nbytes: int, files: int) -> None:
        """Begin a phase, which is to advance by this many bytes and files."""
        ...

    def advance(self, nbytes: int, files: int) -> None:
        """Count further bytes and files as done."""
        ...


class Silent:
    """Progress without a listener."""

    def start(self, phase: str, nbytes: int, files: int) -> None:
        """Do nothing."""

    def advance(self, nbytes: int, files: int) -> None:
        """Do nothing."""

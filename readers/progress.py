"""How long work tells how far it is; what draws it is up to the caller."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Listens to work; `advance` is called from any thread."""

    def start(self, phase: str, nbytes: int, files: int) -> None:
        """Hear that a phase begins, which is to advance by so many bytes and files."""
        ...

    def advance(self, nbytes: int, files: int) -> None:
        """Hear that so many bytes and files more are done."""
        ...


class Silent:
    """Listens and says nothing."""

    def start(self, phase: str, nbytes: int, files: int) -> None:
        """Do nothing."""

    def advance(self, nbytes: int, files: int) -> None:
        """Do nothing."""

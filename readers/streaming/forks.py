"""Threads do not survive a fork: check that nothing waits for them."""

from __future__ import annotations

import os

from ...store import Problem, TrialpackError

_ADVICE = (
    "a TrialLoader has threads of its own: make it in the process that uses it; with torch's DataLoader, "
    "num_workers=0 and batch_size=None"
)


class ForkedError(TrialpackError, RuntimeError):
    """A loader is used in a process that was forked since it was made."""


class Process:
    """Remembers in which process it was made."""

    def __init__(self) -> None:
        self._number = os.getpid()

    def check(self) -> None:
        """Check that this is still the same process.

        Raises
        ------
        ForkedError
            It is a fork of it.
        """
        if os.getpid() != self._number:
            what = f"made in process {self._number}, used in its fork {os.getpid()}"
            raise ForkedError(Problem("TrialLoader", what, _ADVICE))

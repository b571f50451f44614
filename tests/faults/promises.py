"""What trialpack promises, and the count of faults that tests injected against each promise."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version

import trialpack

PROMISES = {
    1: "a killed conversion leaves nothing, or a complete store",
    2: "the same command goes on from there, and ends with the same bytes",
    3: "a crash at any file operation leaves nothing, or a complete store",
    4: "an error of any file operation is reported; nothing unfinished is published",
    5: "a power cut leaves a published store intact",
    6: "a full disk is reported in one line; the same command goes on when there is space",
    7: "bad input is refused by the name of its file",
    8: "arbitrary bytes are read, or refused with an error of trialpack",
    9: "reading never returns wrong numbers of a damaged shard",
    10: "every change of any file is found",
    11: "what is missing is never read as zeros",
    12: "of many converters to one destination one wins",
    13: "no batch mixes versions of a store that is replaced",
    14: "a store holds every bit of its source",
    15: "statistics are right",
    16: "stores of every released format are opened",
    17: "an interrupt ends everything within five seconds",
    18: "memory stays below the bound that was given",
    19: "hostile input runs no code and writes nothing elsewhere",
    20: "a copy of a store is verified where it lies",
    21: "what a file system does not offer is said, and costs no work",
    22: "a cluster that fails, or does not fit, is named in time; nothing unfinished is published",
    23: "no epoch from an object store has a wrong or a missing batch",
    24: "a push that was killed has published nothing, or all; the same command goes on",
    25: "of many pushes to one address one wins, and nothing is mixed",
}
"""By the numbers of the rows of docs/reliability.md."""


@dataclass
class Tally:
    """The faults of one test.

    Attributes
    ----------
    injected, survived
        Faults that were injected, and those after which the promise held.
    noticed
        Faults that were injected where nothing protects, and that the test noticed there: so it can fail.
    """

    promise: int
    injected: int = 0
    survived: int = 0
    noticed: int = 0

    def inject(self, number: int = 1) -> None:
        """Count faults, before they are injected."""
        self.injected += number

    def survive(self, number: int = 1) -> None:
        """Count faults, after all that is promised was checked."""
        self.survived += number

    def notice(self, number: int = 1) -> None:
        """Count faults that did harm where nothing protects, and were noticed."""
        self.noticed += number


def summed(tallies: Iterable[Tally]) -> list[Tally]:
    """Return one tally for each promise, by its number."""
    sums = {number: Tally(number) for number in PROMISES}
    for tally in tallies:
        sums[tally.promise].injected += tally.injected
        sums[tally.promise].survived += tally.survived
        sums[tally.promise].noticed += tally.noticed
    return list(sums.values())


def table(tallies: Iterable[Tally]) -> list[str]:
    """Return the lines of the table of docs/reliability.md."""
    rows = [
        f"| {t.promise} | {PROMISES[t.promise]} | {_thousands(t.injected)} | {_thousands(t.survived)}"
        f" | {_thousands(t.noticed)} |"
        for t in tallies
    ]
    return ["| | promise | faults injected | survived | noticed without protection |", "|--:|---|--:|--:|--:|", *rows]


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def versions() -> str:
    """Return what the counts were made with."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("zarr", "numcodecs", "numpy"))
    ours = f"Python {platform.python_version()}, trialpack {trialpack.__version__}"
    return f"{ours}, {packages}, {platform.system()} {platform.release()}"

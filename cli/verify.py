"""``trialpack verify``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..convert import Verification, verify_mouse
from ..convert.formats.registry import expected
from ..store import CorruptStoreError, TrialpackError
from ..store.layout import short_name
from ..store.paths import Address
from ..store.tasks import HERE, Threads
from . import options
from .display import (
    IN_JSON,
    bound_texts,
    complain,
    complain_of,
    counted,
    lines,
    problems_of,
    show,
    show_documents,
    size,
)
from .partners import Partners
from .progress import Bars, progress_bars

_EPILOG = """
\b
Examples:
  trialpack verify stores --quick
  trialpack verify stores/mouse.zarr --source downloads/mouse.zip
  trialpack verify stores --source downloads

With several stores, or a folder of mice as SOURCE, each store is compared with the mouse of its name.
"""
_AT_ONCE = 8
_SHARES = {"verifying": 1.0, "comparing": 1.5}


@click.command(epilog=_EPILOG)
@options.existing_stores
@click.option(
    "--source",
    type=options.GivenStore(),
    help=f"Compare every array, too, with a mouse: {expected()}; or a folder of such.",
)
@click.option("--quick", is_flag=True, help="Only names and sizes of all files, and the metadata.")
@options.workers
@options.scheduler
@options.log_every
@options.json_output
def verify(
    stores: tuple[Path | Address, ...],
    source: Path | Address | None,
    quick: bool,
    workers: int | None,
    scheduler: str | None,
    as_json: bool,
) -> None:
    """Check that each STORE is what its manifest says.

    In full: the SHA-256 of every file, every chunk decoded, every trial's values against the digest taken when they
    were packed. With --source, every array is also compared with the published one: bit for bit, or value by value
    within the bound that it was made with.
    """
    if quick and source:
        raise click.UsageError("--quick and --source exclude one another")
    partners = Partners(stores, source)
    outcomes = dict[int, _Outcome]()
    several = Threads(min(len(stores), _AT_ONCE), "trialpack-store") if scheduler and not quick else HERE
    shares = _SHARES if source else {}
    with options.cluster_at(None if quick else scheduler) as client, progress_bars(len(stores), shares) as bars:
        tasks = [
            partial(_verify, store, partners, bars, quick=quick, workers=workers, client=client) for store in stores
        ]
        for place, outcome in several.completed(tasks):
            outcomes[place] = one = outcome()
            if one.error:
                complain(one.error, IN_JSON)
            if one.found and not as_json:
                click.echo(_text(one, one.found))
    found, left = [outcomes[place] for place in range(len(stores))], partners.left()
    complain_of(left, IN_JSON)
    if as_json:
        alone = [{"store": None, "source": one.path, "problems": lines([one])} for one in left]
        show_documents([*(_document(one, quick=quick) for one in found), *alone])
    elif len(found) > 1:
        show(_summary(found))
    if left or any(one.error for one in found):
        raise click.exceptions.Exit(1)


@dataclass(frozen=True)
class _Outcome:
    """Outcome of a store.

    Attributes
    ----------
    found
        Summary of an intact store.
    error
        Why it is not intact, or not equal to the source, or why they could not be compared.
    """

    store: Path | Address
    source: str | None
    found: Verification | None = None
    error: TrialpackError | OSError | None = None

    @property
    def equal(self) -> bool | None:
        """Whether the store is equal to the source; None if they were not compared."""
        if self.source is None or self.found is None:
            return None
        if self.error is None:
            return True
        return False if isinstance(self.error, CorruptStoreError) else None


def _verify(
    store: Path | Address, partners: Partners, bars: Bars, *, quick: bool, workers: int | None, client: Any
) -> _Outcome:
    """Verify the store by itself first: that it is intact is worth knowing where the source differs."""
    found, label = None, partners.label
    try:
        with bars.of(short_name(store.name)) as bar:
            found = verify_mouse(store, quick=quick, workers=workers, scheduler=client, progress=bar)
            source = partners.of(store)
            if source is not None:
                label = source.label
                compared = verify_mouse(store, source, quick=True, workers=workers, scheduler=client, progress=bar)
                found = replace(found, seconds=found.seconds + compared.seconds)
    except (TrialpackError, OSError) as error:
        return _Outcome(store, label, found, error)
    return _Outcome(store, label, found)


def _document(one: _Outcome, *, quick: bool) -> dict[str, Any]:
    failed = {"store": str(one.store), "intact": False, "depth": "quick" if quick else "full"}
    found = one.found.describe() if one.found else failed
    problems = lines(problems_of(one.error)) if one.error else []
    return found | {"source": one.source, "equal_to_source": one.equal, "problems": problems}


def _summary(outcomes: Sequence[_Outcome]) -> str:
    """Return how many stores are intact, how many are not, and how they compare with their sources."""
    whole = [one for one in outcomes if one.found]
    damaged = sum(isinstance(one.error, CorruptStoreError) for one in outcomes if not one.found)
    counts = {"intact": len(whole), "damaged": damaged, "not verified": len(outcomes) - len(whole) - damaged}
    equal = Counter(one.equal for one in whole if one.source is not None)
    compared = {"equal to their sources": equal[True], "different": equal[False], "not compared": equal[None]}
    return "; ".join(text for text in map(counted, (counts, compared)) if text)


def _text(one: _Outcome, found: Verification) -> str:
    what = "every byte and every value" if found.every_value else "names, sizes and metadata"
    return f"{one.store}: intact ({found.files} files, {size(found.nbytes)}; {what}){_compared(one, found)}"


def _compared(one: _Outcome, found: Verification) -> str:
    """Describe how the store and the source compare, if they were to be compared."""
    if one.source is None:
        return ""
    if one.equal is None:
        return f"; not compared with {one.source}"
    if not one.equal:
        return f"; differs from {one.source}"
    return "".join([f"; equal to {one.source}, bit for bit", *(f", {text}" for text in bound_texts(found.max_error))])

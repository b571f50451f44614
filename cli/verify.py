"""``trialpack verify``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ..convert import compare_with_source
from ..convert.formats.registry import expected
from ..store import CorruptStoreError, StoreIndex, TrialpackError, check_full, check_quick
from ..store.layout import short_name
from . import options
from .display import IN_JSON, bound_texts, complain, lines, progress_bar, show_documents, size
from .sources import named_sources

_EPILOG = """
\b
Examples:
  trialpack verify stores/mouse.zarr --quick
  trialpack verify stores/*.zarr
  trialpack verify stores/mouse.zarr --source downloads/mouse.zip
"""


@click.command(epilog=_EPILOG)
@options.existing_stores
@click.option(
    "--source", type=click.Path(path_type=Path), help=f"Compare every array, too, with a mouse: {expected()}."
)
@click.option("--quick", is_flag=True, help="Only names and sizes of all files, and the metadata.")
@options.workers
@options.json_output
def verify(stores: tuple[Path, ...], source: Path | None, quick: bool, workers: int | None, as_json: bool) -> None:
    """Check that each STORE is what its manifest says.

    In full: the SHA-256 of every file, every chunk decoded, every trial's values against the digest taken when they
    were packed. With --source, every array is also compared with the published one: bit for bit, or value by value
    within the bound that it was made with.
    """
    if quick and source:
        raise click.UsageError("--quick and --source exclude one another")
    if source and len(stores) > 1:
        raise click.UsageError(f"--source is compared with one STORE, found {len(stores)}")
    verified = list[_Verified]()
    for store in stores:
        one = _verify(store, source, quick=quick, workers=options.cores(workers))
        verified.append(one)
        if one.error:
            complain(one.error, IN_JSON)
        if one.index and not as_json:
            click.echo(_text(one, one.index))
    if as_json:
        show_documents([_document(one) for one in verified])
    if any(one.error for one in verified):
        raise click.exceptions.Exit(1)


@dataclass(frozen=True)
class _Verified:
    """What is known of a store.

    Attributes
    ----------
    index
        Of an intact store.
    equal
        Whether it is equal to the source; None if they were not compared.
    error
        Why it is not intact, or not equal, or why they could not be compared.
    """

    store: Path
    source: Path | None
    quick: bool
    index: StoreIndex | None = None
    equal: bool | None = None
    error: TrialpackError | OSError | None = None


def _verify(store: Path, source: Path | None, *, quick: bool, workers: int) -> _Verified:
    found = _Verified(store, source, quick)
    try:
        found = replace(found, index=check_quick(store) if quick else _check_full(store, workers))
        if source:
            _compare(store, source, workers)
            found = replace(found, equal=True)
    except (TrialpackError, OSError) as error:
        differs = found.index is not None and isinstance(error, CorruptStoreError)
        return replace(found, equal=False if differs else None, error=error)
    return found


def _check_full(store: Path, workers: int) -> StoreIndex:
    with progress_bar(short_name(store.name)) as bar:
        return check_full(store, workers=workers, progress=bar)


def _compare(store: Path, source: Path, workers: int) -> None:
    named_sources(source)
    with progress_bar(short_name(store.name)) as bar:
        compare_with_source(store, source, workers=workers, progress=bar)


def _document(one: _Verified) -> dict[str, Any]:
    problems = lines(one.error) if one.error else []
    found = {"store": str(one.store), "intact": one.index is not None, "depth": "quick" if one.quick else "full"}
    if one.index:
        found |= {"files": len(one.index.manifest.files) + 1, "bytes": one.index.nbytes}
    source = str(one.source) if one.source else None
    return {**found, "source": source, "equal_to_source": one.equal, "problems": problems}


def _text(one: _Verified, index: StoreIndex) -> str:
    what = "names, sizes and metadata" if one.quick else "every byte and every value"
    files = f"{len(index.manifest.files) + 1} files"
    return f"{one.store}: intact ({files}, {size(index.nbytes)}; {what}){_compared(one, index)}"


def _compared(one: _Verified, index: StoreIndex) -> str:
    """Describe how the store and the source compare, if they were to be compared."""
    if one.source is None:
        return ""
    if one.equal is None:
        return f"; not compared with {one.source}"
    if not one.equal:
        return f"; differs from {one.source}"
    rounded = bound_texts({name: str(bound) for name, bound in index.bounds.items()})
    return "".join([f"; equal to {one.source}, bit for bit", *(f", {text}" for text in rounded)])

"""``trialpack verify``."""

from __future__ import annotations

from pathlib import Path

import click

from ..convert import compare_with_source, open_source
from ..store import CorruptStoreError, StoreFormatError, StoreIndex, TrialpackError, check_full, check_quick
from ..store.manifest import read_manifest
from . import options
from .display import IN_JSON, bound_texts, complain, lines, progress_bar, show_json, size

_EPILOG = """
\b
Examples:
  trialpack verify stores/mouse.zarr --quick
  trialpack verify stores/mouse.zarr
  trialpack verify stores/mouse.zarr --source downloads/mouse.zip
"""


@click.command(epilog=_EPILOG)
@options.existing_store
@click.option(
    "--source", type=click.Path(path_type=Path), help="Compare every array with this folder, zip or HDF5 file, too."
)
@click.option("--quick", is_flag=True, help="Only names and sizes of all files, and the metadata.")
@options.workers
@options.json_output
def verify(store: Path, source: Path | None, quick: bool, workers: int | None, as_json: bool) -> None:
    """Check that STORE is what its manifest says.

    In full: the SHA-256 of every file, every chunk decoded, every trial's values against the digest taken when they
    were packed. With --source, every array is also compared with the published one: bit for bit, or value by value
    within the bound that it was made with.
    """
    if quick and source:
        raise click.UsageError("--quick and --source exclude one another")
    try:
        index = check_quick(store) if quick else _check_full(store, options.cores(workers))
        if source:
            _compare(store, source, options.cores(workers))
    except TrialpackError as error:
        if as_json:
            damaged = isinstance(error, (CorruptStoreError, StoreFormatError))
            show_json({"store": str(store), "intact": not damaged, "problems": lines(error)})
        complain(error, IN_JSON)
        raise click.exceptions.Exit(1) from None
    _report(index, quick=quick, source=source, as_json=as_json)


def _check_full(store: Path, workers: int) -> StoreIndex:
    manifest = read_manifest(store)
    with progress_bar(store.name[:24]) as bar:
        bar.start("verifying", manifest.nbytes, len(manifest.files))
        return check_full(store, workers=workers, report=lambda nbytes: bar.advance(nbytes, 1))


def _compare(store: Path, source: Path, workers: int) -> None:
    survey = open_source(source).survey()
    with progress_bar(store.name[:24]) as bar:
        bar.start("comparing", survey.nbytes, survey.files)
        compare_with_source(store, source, workers=workers, report=bar.advance)


def _report(index: StoreIndex, *, quick: bool, source: Path | None, as_json: bool) -> None:
    files, nbytes = len(index.manifest.files) + 1, index.nbytes
    if as_json:
        depth = "quick" if quick else "full"
        found = {"store": str(index.root), "intact": True, "depth": depth, "files": files, "bytes": nbytes}
        show_json({**found, "source": str(source) if source else None, "problems": []})
        return
    what = "names, sizes and metadata" if quick else "every byte and every value"
    rounded = "".join(f", {text}" for text in bound_texts({name: str(bound) for name, bound in index.bounds.items()}))
    compared = f"; equal to {source}, bit for bit{rounded}" if source else ""
    click.echo(f"{index.root}: intact ({files} files, {size(nbytes)}; {what}){compared}")

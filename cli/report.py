"""``trialpack report``."""

from __future__ import annotations

from pathlib import Path

import click

from ..readers import FINDING_KINDS, Report, report_stores
from ..readers.report.page import check_packages
from ..store import OptionError, Problem, StoreExistsError, files
from . import options
from .display import noting_shortfalls, progress_bar, show_json
from .interrupts import cleaning

_EPILOG = """
\b
Examples:
  trialpack report stores/mouse.zarr
  trialpack report stores/*.zarr -o report.html --replace
  trialpack report stores/mouse.zarr --json --fail-on damage --fail-on leaked-stimuli

\b
What is looked for, and what --fail-on takes:
"""
_ANY = "any"


@click.command(epilog=_EPILOG + "\n".join(f"  {kind}: {text}" for kind, text in FINDING_KINDS.items()))
@options.existing_stores
@click.option(
    "-o",
    "--output",
    type=options.GivenPath(dir_okay=False),
    metavar="FILE",
    help="Where the page goes. [default: report.html in the current folder; with --json, no page]",
)
@click.option("--replace", is_flag=True, help="Replace FILE if it is there.")
@click.option(
    "--fail-on",
    multiple=True,
    type=click.Choice([*FINDING_KINDS, _ANY]),
    metavar="KIND",
    help="End with status 1 if something of this kind is found, or of any. May be repeated.",
)
@options.workers
@options.log_every
@options.json_output
def report(
    stores: tuple[Path, ...],
    output: Path | None,
    replace: bool,
    fail_on: tuple[str, ...],
    workers: int | None,
    as_json: bool,
) -> None:
    """Look for what is wrong with STOREs, and write one page that shows it, with what is in them.

    The page needs no network and nothing beside it. Of a store that is damaged it shows what is whole. The status is 0
    whatever is found, unless --fail-on says otherwise. Needs matplotlib and jinja2: pip install matplotlib jinja2.
    """
    path = output or (None if as_json else Path("report.html"))
    if path is not None:
        _check_output(path, replace=replace)
        check_packages()
    with progress_bar("stores") as bar:
        found = report_stores(stores, threads=workers, progress=bar)
    if path is not None:
        page = found.page().encode()
        with cleaning(files.drop_unsaved), noting_shortfalls(path.parent):
            files.save(path, page)
    if as_json:
        show_json({**found.document, "output": None if path is None else str(path)})
    else:
        _show(found)
        click.echo(f"Wrote {path}")
    if wanted := set(found.kinds) & set(FINDING_KINDS if _ANY in fail_on else fail_on):
        what = f"found {', '.join(kind for kind in found.kinds if kind in wanted)}"
        click.echo(f"trialpack: {what} (--fail-on)", err=True)
        raise click.exceptions.Exit(1)


def _check_output(path: Path, *, replace: bool) -> None:
    """Check that the page can be written, before the stores are read."""
    options.check_output(path)
    if path.is_dir():
        raise OptionError(Problem(str(path), "is a folder", "give the name of a file"))
    if path.exists() and not replace:
        raise StoreExistsError(Problem(str(path), "exists already", "give --replace, or choose another name"))


def _show(found: Report) -> None:
    for store in found.stores:
        click.echo(f"{store.store}: {'' if store.findings else 'nothing is wrong, as far as was looked'}".rstrip())
        for one in store.findings:
            click.echo(f"  {one.kind}: {one.text}")

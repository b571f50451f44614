"""``trialpack export``."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..convert import Exported, export_mouse
from ..convert.export import export_space, exported_path, hidden_beside
from ..convert.formats import Option
from ..convert.formats.registry import writable
from ..store import check_quick, layout
from ..store.locate import locate
from ..store.paths import Address
from . import options
from .display import (
    bound_texts,
    counted,
    documents_of,
    end,
    note,
    plural,
    rate,
    show,
    show_documents,
    size,
    with_space,
)
from .interrupts import advising
from .progress import Bars, progress_bars

_EPILOG = """
\b
Examples:
  trialpack export stores/mouse.zarr --to published --as npy
  trialpack export stores --to published --as npy --statistics-pkl
  trialpack export stores/mouse.zarr --to archives --as zip
  trialpack export stores/mouse.zarr --to archives --as tar
  trialpack export stores/mouse.zarr --to matlab --as hdf5
  trialpack export stores/mouse.zarr --to scratch --as hdf5 --hdf5-filter none
"""
_AGAIN = "the same command begins anew"
_SHARES = {"exporting": 2.0, "verifying": 1.0}
"""Of HDF5 files, which are read back."""
_Command = TypeVar("_Command", bound=Callable[..., Any])


def _options_of_formats(command: _Command) -> _Command:
    """Add the options that formats have; each is None unless it is given."""
    users = dict[Option, list[str]]()
    for form in writable().values():
        for option in form.options:
            users.setdefault(option, []).append(form.name)
    for option, names in reversed(users.items()):
        default = f" [default: {option.default}]" if option.choices else ""
        kind: dict[str, Any] = {"type": click.Choice(option.choices)} if option.choices else {"is_flag": True}
        text = f"For --as {', '.join(names)}. {option.help}{default}"
        command = click.option(option.flag, option.name, default=None, help=text, **kind)(command)
    return command


@click.command(epilog=_EPILOG)
@options.existing_stores
@click.option("--to", required=True, metavar="DIR", type=options.GivenPath(), help="Folder to make it in.")
@click.option(
    "--as",
    "form",
    required=True,
    type=click.Choice(list(writable())),
    help=" ".join(f"{form.name}: {form.help}." for form in writable().values()),
)
@_options_of_formats
@options.workers
@options.scheduler
@options.log_every
@options.json_output
def export(
    stores: tuple[Path | Address, ...],
    to: Path,
    form: str,
    workers: int | None,
    scheduler: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Make each STORE's published files again, or one HDF5 file.

    They have the content of those that the store was made from, bit for bit, unless the store was made with another
    precision or with bounds on errors; rounded.json, or the attributes of the HDF5 file, then have the bounds. Each
    value is checked before it is written; DIR/<mouse> is there complete, or not at all.
    """
    given = {name: value for name, value in settings.items() if value is not None} | {"workers": workers}
    with (
        options.cluster_at(scheduler) as client,
        progress_bars(len(stores), _SHARES if form == "hdf5" else {}) as bars,
    ):

        def make(store: Path | Address) -> dict[str, Any]:
            made = _export(store, to, form, bars, given | {"scheduler": client})
            _report(made, to, writable()[form].packed, as_json=as_json)
            return made.describe()

        documents = documents_of(stores, make)
    if as_json:
        show_documents(documents)
    elif len(stores) > 1:
        failed = sum("problems" in document for document in documents)
        show(counted({"exported": len(stores) - failed, "not exported": failed}))
    end(documents)


def _export(store: Path | Address, to: Path, form: str, bars: Bars, given: dict[str, Any]) -> Exported:
    index = check_quick(locate(store))
    space = export_space(index, to, form)
    if space.shortage:
        note(space.shortage)
    unfinished = hidden_beside(exported_path(index, to, form))
    try:
        with advising(_AGAIN, *unfinished), bars.of(layout.short_name(store.name)) as bar:
            return export_mouse(store, to, format=form, progress=bar, **given)
    except OSError as error:
        raise with_space(error, to, lambda: export_space(index, to, form), _AGAIN) from None


def _report(made: Exported, to: Path, packed: bool, *, as_json: bool) -> None:
    for text in made.warnings:
        note(text)
    if as_json:
        return
    nbytes, path = size(made.nbytes), to / made.path.name
    if packed:
        nbytes += f" ({size(made.unpacked_nbytes)} unpacked)"
    show(
        f"{path}: {plural(made.files, 'file')}, {nbytes}, "
        f"in {made.seconds:.1f} s ({rate(made.unpacked_nbytes, made.seconds)})",
        *(f"Rounded: {text} of the published values" for text in bound_texts(made.max_error)),
        f"To pack it again: trialpack convert {shlex.quote(str(path))} --to DIR",
    )

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
from .display import bound_texts, note, progress_bar, rate, show, show_json, size, with_space
from .interrupts import advising

_EPILOG = """
\b
Examples:
  trialpack export stores/mouse.zarr --to published --as npy
  trialpack export stores/mouse.zarr --to published --as npy --statistics-pkl
  trialpack export stores/mouse.zarr --to archives --as zip
  trialpack export stores/mouse.zarr --to archives --as tar
  trialpack export stores/mouse.zarr --to matlab --as hdf5
  trialpack export stores/mouse.zarr --to scratch --as hdf5 --hdf5-filter none
"""
_AGAIN = "the same command begins anew"
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
@options.existing_store
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
@options.json_output
def export(
    store: Path | Address,
    to: Path,
    form: str,
    workers: int | None,
    scheduler: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Make the published files of STORE's mouse again, or one HDF5 file.

    They have the content of those that the store was made from, bit for bit, unless the store was made with another
    precision or with bounds on errors; rounded.json, or the attributes of the HDF5 file, then have the bounds. Each
    value is checked before it is written; DIR/<mouse> is there complete, or not at all.
    """
    index = check_quick(locate(store))
    unfinished, space = hidden_beside(exported_path(index, to, form)), export_space(index, to, form)
    if space.shortage:
        note(space.shortage)
    try:
        with (
            options.cluster_at(scheduler) as client,
            advising(_AGAIN, unfinished),
            progress_bar(layout.short_name(store.name)) as bar,
        ):
            given = {name: value for name, value in settings.items() if value is not None}
            made = export_mouse(store, to, format=form, workers=workers, scheduler=client, progress=bar, **given)
    except OSError as error:
        raise with_space(error, to, lambda: export_space(index, to, form), _AGAIN) from None
    _report(made, to, writable()[form].packed, as_json=as_json)


def _report(made: Exported, to: Path, packed: bool, *, as_json: bool) -> None:
    for text in made.warnings:
        note(text)
    if as_json:
        show_json(made.describe())
        return
    files = "1 file" if made.files == 1 else f"{made.files} files"
    nbytes, path = size(made.nbytes), to / made.path.name
    if packed:
        nbytes += f" ({size(made.unpacked_nbytes)} unpacked)"
    show(
        f"{path}: {files}, {nbytes}, in {made.seconds:.1f} s ({rate(made.unpacked_nbytes, made.seconds)})",
        *(f"Rounded: {text} of the published values" for text in bound_texts(made.max_error)),
        f"To pack it again: trialpack convert {shlex.quote(str(path))} --to DIR",
    )

"""``trialpack export``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from ..convert import Exported, export_mouse
from ..convert.destination import hidden_beside
from ..convert.export import EXPORT_FORMATS, ExportFormat, exported_path
from ..convert.formats.hdf5.hdf5_file import HDF5_FILTERS, Hdf5Filter
from ..store import check_quick, layout
from . import options
from .display import bound_texts, progress_bar, rate, show, show_json, size
from .interrupts import advising
from .space import with_space

_EPILOG = """
\b
Examples:
  trialpack export stores/mouse.zarr --to published --as npy
  trialpack export stores/mouse.zarr --to published --as npy --statistics-pkl
  trialpack export stores/mouse.zarr --to archives --as zip
  trialpack export stores/mouse.zarr --to matlab --as hdf5
  trialpack export stores/mouse.zarr --to scratch --as hdf5 --hdf5-filter none
"""
_AGAIN = "the same command begins anew"


@click.command(epilog=_EPILOG)
@options.existing_store
@click.option("--to", required=True, metavar="DIR", type=click.Path(path_type=Path), help="Folder to make it in.")
@click.option(
    "--as",
    "form",
    required=True,
    type=click.Choice(list(EXPORT_FORMATS)),
    help="npy: the folder of files that the mouse was published as. zip: a zip of it. hdf5: one file for h5py, MATLAB "
    "and the like, with the arrays of the store.",
)
@click.option("--statistics-pkl", is_flag=True, help="Add the train statistics as the public pipeline reads them.")
@click.option(
    "--hdf5-filter",
    type=click.Choice(HDF5_FILTERS),
    help="How --as hdf5 packs. gzip: readable everywhere, slow to write. lz4, zstd: fast, but readers need a plugin "
    "(of Python: hdf5plugin). none: fastest, readable everywhere. [default: gzip]",
)
@options.workers
@options.json_output
def export(
    store: Path,
    to: Path,
    form: ExportFormat,
    statistics_pkl: bool,
    hdf5_filter: Hdf5Filter | None,
    workers: int | None,
    as_json: bool,
) -> None:
    """Make the published files of STORE's mouse again, or one HDF5 file.

    They have the content of those that the store was made from, bit for bit, unless the store was made with another
    precision or with bounds on errors; rounded.json, or the attributes of the HDF5 file, then have the bounds. Each
    value is checked before it is written; DIR/<mouse> is there complete, or not at all.
    """
    unfinished = hidden_beside(exported_path(check_quick(store), to, form))
    try:
        with advising(_AGAIN, unfinished), progress_bar(layout.short_name(store.name)) as bar:
            made = export_mouse(
                store,
                to,
                format=form,
                statistics=statistics_pkl,
                hdf5_filter=hdf5_filter,
                workers=workers,
                progress=bar,
            )
    except OSError as error:
        raise with_space(error, to, lambda: _need(store, form), _AGAIN) from None
    _report(made, as_json=as_json)


def _need(store: Path, form: ExportFormat) -> tuple[int, int]:
    """Return the bytes and files that an export takes at most."""
    arrays = check_quick(store).arrays.values()
    nbytes, files = sum(array.nbytes for array in arrays), sum(array.shape[0] if array.shard else 1 for array in arrays)
    return nbytes, files if form == "npy" else 1


def _report(made: Exported, *, as_json: bool) -> None:
    if as_json:
        show_json(made.describe())
        return
    files = "1 file" if made.files == 1 else f"{made.files} files"
    nbytes = size(made.nbytes)
    if made.nbytes != made.unpacked_nbytes:
        nbytes += f" ({size(made.unpacked_nbytes)} unpacked)"
    show(
        f"{made.path}: {files}, {nbytes}, in {made.seconds:.1f} s ({rate(made.unpacked_nbytes, made.seconds)})",
        *(f"Rounded: {text} of the published values" for text in bound_texts(made.max_error)),
        f"To pack it again: trialpack convert {shlex.quote(str(made.path))} --to DIR",
    )

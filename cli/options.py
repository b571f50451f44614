"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from dask.utils import parse_bytes

from ..store import OptionError, Problem
from ..store.publish import check_place
from ..store.tasks import available_cores


class ByteSize(click.ParamType):  # pyright: ignore[reportMissingTypeArgument, reportUnknownVariableType]
    """A number of bytes, such as ``2GiB`` or ``400MB``."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        try:
            return int(parse_bytes(value))
        except ValueError:
            self.fail(f"{value!r} is not a number of bytes such as 2GiB or 400MB", param, ctx)


existing_store = click.argument("store", type=click.Path(path_type=Path))
existing_stores = click.argument("stores", nargs=-1, required=True, metavar="STORE...", type=click.Path(path_type=Path))
json_output = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
workers = click.option(
    "--workers", type=click.IntRange(min=1), default=None, metavar="N", help="Threads. [default: one a core]"
)


def check_output(path: Path) -> None:
    """Check that a file can be written, before the time is spent to make what is to be in it."""
    check_place(path)
    if not path.parent.is_dir():
        raise OptionError(Problem(str(path.parent), "no such folder", "make it, or choose another"))


def cores(workers: int | None) -> int:
    """Return the number of threads that was asked for, or one a core."""
    return workers or available_cores()

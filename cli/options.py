"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from ..convert import find_sources
from ..convert.formats.source import Source
from ..store import Call, OptionError, Problem, SourceError
from ..store.arguments import check_bytes
from ..store.cluster import connected
from ..store.errors import Code
from ..store.folder import stores_in
from ..store.locate import named_stores, read_store
from ..store.paths import Address, read_path
from ..store.publish import check_place, is_store
from .progress import keep_interval

_OPTIONS: dict[tuple[str, object], str] = {
    ("replace", True): "--replace (--skip-existing leaves it as it is)",
    ("statistics", False): "--no-statistics",
    ("statistics", True): "--statistics-pkl",
    ("clean", True): "--clean",
    ("race_check", False): "--no-race-check",
}
"""Argument with a value -> option without one."""
_COMMANDS = {"convert_mouse": "trialpack convert {} --to DIR"}


class ByteSize(click.ParamType):  # pyright: ignore[reportMissingTypeArgument, reportUnknownVariableType]
    """A number of bytes, such as ``2GiB`` or ``400MB``."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        try:
            return check_bytes(self.name, value)
        except OptionError:
            self.fail(f"{value!r} is not a number of bytes such as 2GiB or 400MB", param, ctx)


class GivenPath(click.Path):  # pyright: ignore[reportMissingTypeArgument, reportUnknownVariableType]
    """A path as `read_path` reads it; what it refuses is named as it was typed."""

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, file_okay=file_okay, dir_okay=dir_okay, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if not value:
            self.fail("a path is expected, not nothing", param, ctx)
        return super().convert(read_path(value), param, ctx)


class GivenStore(click.ParamType):  # pyright: ignore[reportMissingTypeArgument, reportUnknownVariableType]
    """A path or an address as `read_store` reads it; what it refuses is named as it was typed."""

    name = "store"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | Address:
        """Return the folder or address."""
        if not value:
            self.fail("a path or an address is expected, not nothing", param, ctx)
        return read_store(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Have the shell complete names of files and folders."""
        return [CompletionItem(incomplete, type="file")]


def find_stores(ctx: click.Context, param: click.Parameter, given: tuple[Path | Address, ...]) -> Any:
    """Return the stores that are named, each once."""
    return tuple(dict.fromkeys(store for one in given for store in named_stores(one)))


existing_stores = click.argument(
    "stores", nargs=-1, required=True, metavar="STORE...", type=GivenStore(), callback=find_stores
)
"""Stores, folders of stores, and patterns, here or at addresses; commands get the stores."""
json_output = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
log_every = click.option(
    "--log-every",
    type=click.FloatRange(min=0),
    default=10,
    show_default=True,
    metavar="SECONDS",
    expose_value=False,
    callback=keep_interval,
    help="Where standard error is no terminal: how often it gets a line on the progress; 0 for never.",
)
workers = click.option(
    "--workers", type=click.IntRange(min=1), default=None, metavar="N", help="Threads. [default: one a core]"
)
in_flight = click.option(
    "--in-flight",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    metavar="N",
    help="Files under way at the same time.",
)
scheduler = click.option(
    "--scheduler", metavar="ADDRESS", help="Run on the dask.distributed cluster of this scheduler."
)


@contextmanager
def cluster_at(address: str | None) -> Generator[Any]:
    """Give a client of the cluster of a scheduler; None without an address.

    What distributed logs is not shown meanwhile: all that matters of it is an error of ours.
    """
    if address is None:
        yield None
        return
    logging.disable(logging.CRITICAL)
    try:
        with connected(address) as cluster:
            yield cluster.client
    finally:
        logging.disable(logging.NOTSET)


def spelled(code: Code) -> str:
    """Return the option of an argument, or the command of a call.

    Examples
    --------
    >>> from trialpack.store import Argument
    >>> print(spelled(Argument("max_memory", "191MB")), spelled(Argument("max_error", 0.5, "videos")))
    --max-memory 191MB --max-error videos=0.5
    >>> print(spelled(Argument("statistics", False)), spelled(Call("convert_mouse", "my mouse.zip")))
    --no-statistics trialpack convert 'my mouse.zip' --to DIR
    """
    if isinstance(code, Call):
        return _COMMANDS[code.function].format(shlex.quote(code.path))
    option = f"--{code.name.replace('_', '-')}"
    if code.key is not None:
        return f"{option} {code.key}={code.value}"
    if code.value is None:
        return option
    return _OPTIONS.get((code.name, code.value)) or f"{option} {code.value}"


def check_output(path: Path) -> None:
    """Check that a file can be written, before the time is spent to make what is to be in it."""
    check_place(path)
    if not path.parent.is_dir():
        raise OptionError(Problem(str(path.parent), "no such folder", "make it, or choose another"))


def named_sources(path: Path | Address) -> list[Source]:
    """Find the mice at a path; see `find_sources`.

    Raises
    ------
    SourceError
        No mouse is there; the message names what is there instead, where that is known.
    """
    if isinstance(path, Address):
        return find_sources(path)
    if is_store(path):
        raise SourceError(Problem(str(path), "a trialpack store, not a mouse to make one of", _look(path)))
    try:
        return find_sources(path)
    except SourceError:
        stores = stores_in(path) if path.is_dir() else []
        if not stores:
            raise
        what = "a folder of trialpack stores, not of mice to make them of"
        raise SourceError(Problem(str(path), what, _look(stores[0]))) from None


def _look(store: Path) -> str:
    name = shlex.quote(str(store))
    return f"look at it: trialpack info {name}; or give it back: trialpack export {name} --to DIR --as npy"

"""Output for people: tables, sizes, problems. Problems and progress are on standard error."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.filesize import decimal
from rich.table import Column, Table

from ..store import ClusterError, Problem, StoreFormatError, TrialpackError, files, layout
from ..store.errors import one_a_cause, printable
from ..store.paths import Address
from ..store.space import Space
from .options import spelled
from .progress import Bar, progress_bars

_PIPE_WIDTH = 140
_SHOWN_PROBLEMS = 20
IN_JSON = " (--json lists all)"
_BETWEEN = 3
"""What stands between two columns, and at one end; at the other is one more."""
_LEAST_MISSED = ("shard", "chunk", "codec", "dtype", "ratio", "over", "role", "Hz", "precision", "files")


@contextmanager
def progress_bar(name: str) -> Generator[Bar]:
    """Show the progress of one piece of work, with its speed and an estimate of the time left."""
    with progress_bars() as bars, bars.of(name) as bar:
        yield bar


def size(nbytes: int) -> str:
    """Return a number of bytes as a person reads it."""
    return decimal(nbytes)


def rate(nbytes: int, seconds: float) -> str:
    """Return bytes a second as a person reads it.

    Examples
    --------
    >>> rate(3_000_000_000, 2.0), rate(3_000_000, 2.0)
    ('1.5 GB/s', '1.5 MB/s')
    """
    return f"{size(round(nbytes / seconds))}/s"


def source_size(nbytes: int, name: str, files: int) -> str:
    """Return the bytes of a source as a person reads it: of one that is packed they are more than those on disk.

    Examples
    --------
    >>> source_size(3_000_000, "mouse", 800), source_size(3_000_000, "mouse.zip", 800)
    ('3.0 MB', '3.0 MB unpacked')
    """
    from ..convert.formats.registry import is_packed

    return f"{size(nbytes)} unpacked" if is_packed(name, files) else size(nbytes)


def table(title: str, *columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """Make a table; `numbers` are aligned to the right."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD)
    for column in columns:
        made.add_column(
            column, justify="right" if column in numbers else "left", no_wrap=column in (columns[0], *numbers)
        )
    return made


def grouped(paths: Sequence[str]) -> dict[str, list[int]]:
    """Group arrays into the rows of a table: each by itself, but all statistics of one kind together.

    Returns
    -------
    dict
        What to call the row -> places in `paths`.

    Examples
    --------
    >>> grouped(["responses", "statistics/source/videos/all/max", "statistics/source/videos/all/min"])
    {'responses': [0], 'statistics/source (2 arrays)': [1, 2]}
    """
    rows = dict[str, list[int]]()
    for place, path in enumerate(paths):
        parts = path.split("/")
        rows.setdefault(path if parts[0] != layout.STATISTICS else "/".join(parts[:2]), []).append(place)
    return {name if len(found) == 1 else f"{name} ({len(found)} arrays)": found for name, found in rows.items()}


def bound_texts(bounds: Mapping[str, float | str]) -> list[str]:
    """Describe how far rounded variables may be from the source.

    Examples
    --------
    >>> bound_texts({"responses": "0.1%std", "videos": 0.5})
    ['responses within 0.1%std', 'videos within 0.5']
    """
    return [f"{name} within {bound}" for name, bound in bounds.items()]


def plural(count: int, noun: str) -> str:
    """Return a number of things.

    Examples
    --------
    >>> plural(1, "file"), plural(3, "trial")
    ('1 file', '3 trials')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def counted(counts: Mapping[str, int]) -> str:
    """Describe how many are what.

    Examples
    --------
    >>> counted({"intact": 8, "damaged": 2, "not verified": 0})
    '8 intact, 2 damaged'
    """
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def tier_counts(trials: Mapping[str, int]) -> str:
    """Describe how many trials each tier has.

    Examples
    --------
    >>> tier_counts({"oracle": 2, "train": 9})
    '2 oracle, 9 train'
    """
    return ", ".join(f"{count} {tier}" for tier, count in trials.items())


def shape_text(shape: Sequence[int] | None) -> str:
    """Return a shape as a person reads it."""
    return "×".join(map(str, shape)) if shape else "–"


def show(*things: Any) -> None:
    """Print tables and text on standard output."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    # What is in a table may be called anything.
    output = Console(width=width, markup=False, emoji=False)
    for thing in things:
        if isinstance(thing, str):
            click.echo(thing)  # never wrapped: there may be a command in it to copy
        else:
            with output.capture() as drawn:
                output.print(_fitting(thing, output.width), highlight=False, crop=False)
            click.echo("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def _fitting(made: Table, width: int) -> Table:
    """Leave out the columns that are missed least, until the table fits, and keep words whole if it does not."""
    for name in _LEAST_MISSED:
        if sum(_width(column) + _BETWEEN for column in made.columns) >= width:
            made.columns[:] = [column for column in made.columns if column.header != name]
    for column in made.columns:
        column.min_width = _width(column) if column.no_wrap else _width(column, None)
    return made


def _width(column: Column, between: str | None = "\n") -> int:
    """Return how wide the lines of a column of texts are, or its words; rich takes long to find out of many rows."""
    texts = (part for cell in (column.header, *column.cells) for part in str(cell).split(between))
    return max(map(cell_len, texts), default=0)


def show_json(document: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(document, indent=1))


def show_documents(documents: Sequence[Any]) -> None:
    """Print the JSON documents of one or several stores: one stays by itself, several are a list."""
    show_json(documents[0] if len(documents) == 1 else list(documents))


def documents_of(stores: Iterable[Path | Address], look: Callable[[Any], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what is found out about each store; of one that cannot be read, its problems, which are printed, too."""
    documents = list[dict[str, Any]]()
    for store in stores:
        try:
            documents.append(look(store))
        except BrokenPipeError:  # nobody reads the output, as behind `| head`: that is no store's problem
            raise
        except (TrialpackError, OSError) as error:
            complain(error, IN_JSON)
            documents.append({"store": str(store), "problems": lines(problems_of(error))})
    return documents


def end(documents: Sequence[dict[str, Any]]) -> None:
    """End with status 1 if there are problems of a store in the documents."""
    if any("problems" in document for document in documents):
        raise click.exceptions.Exit(1)


def problems_of(error: BaseException) -> tuple[Problem, ...]:
    """Return the problems that an error reports; one of the system is one."""
    if isinstance(error, StoreFormatError):
        from ..convert.formats.registry import explain_mouse

        return tuple(map(explain_mouse, error.problems))
    if isinstance(error, TrialpackError):
        return error.problems
    if isinstance(error, OSError) and error.filename:
        return (Problem(printable(str(error.filename)), error.strerror or ""),)
    return (Problem("", str(error)),)


def lines(problems: Iterable[Problem]) -> list[str]:
    """Return problems as lines, one each."""
    return [problem.text(spelled) for problem in problems]


def complain(error: BaseException, elsewhere: str = "") -> None:
    """Print an error on standard error, one line a cause, but not hundreds.

    Parameters
    ----------
    elsewhere
        Where all problems are to be had, such as `IN_JSON`.
    """
    complain_of(problems_of(error), elsewhere)


def complain_of(problems: Iterable[Problem], elsewhere: str = "") -> None:
    """Print problems, one line a cause; parameters as in `complain`."""
    found = lines(one_a_cause(problems))
    for line in found[:_SHOWN_PROBLEMS]:
        click.echo(f"trialpack: {line}", err=True)
    if more := len(found[_SHOWN_PROBLEMS:]):
        click.echo(f"trialpack: … and {more} more{elsewhere}", err=True)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def with_space(error: BaseException, to: Path, space: Callable[[], Space], advice: str) -> BaseException:
    """Return, for an error of the system, which file it is about; of a full disk, how much space is needed and free.

    What was lost with a cluster is kept as far as it was finished, so what to do then is said, too.

    Parameters
    ----------
    to
        The folder that was written to.
    space
        Returns what is written at most, and what is free.
    advice
        What to do when there is space, or a cluster.
    """
    if isinstance(error, ClusterError):
        *others, last = error.problems
        return ClusterError([*others, replace(last, advice=f"{last.advice}; {advice}")])
    if isinstance(error, TrialpackError) or not isinstance(error, OSError):
        return error
    if error.errno not in _FULL:
        return OSError(f"{error.filename or to}: {error.strerror}")
    return OSError(f"{error.filename or to}: {error.strerror} ({space().text}); {advice}")


def note(text: str) -> None:
    """Print what is good to know on standard error."""
    click.echo(f"note: {printable(text)}", err=True)


@contextmanager
def noting_shortfalls(folder: Path) -> Generator[None]:
    """Note what the file system of a folder did not offer to what is in the block."""
    with files.Shortfalls() as shortfalls:
        yield
    for text in shortfalls.warnings(folder):
        note(text)

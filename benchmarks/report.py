"""Tables of results: on the terminal, as JSON, as Markdown; each result says on which machine it was measured."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import rich.table
import trialpack
from rich.console import Console

PACKAGES = ("zarr", "numcodecs", "numpy")
RESULTS = Path(__file__).with_name("results")
"""Where the results are that `docs/benchmarks.md` is made of."""
_ROW = "\n   "
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


@dataclass(frozen=True)
class Column:
    """Heading of a column, key of its values in a row, and their format: ``.2f`` and the like, or text."""

    heading: str
    key: str
    form: str = ""

    def cell(self, row: Mapping[str, Any]) -> str:
        """Return a row's value as text; a dash where there is none."""
        value = row.get(self.key)
        if value is None:
            return "–"
        return ("no", "yes")[value] if isinstance(value, bool) else format(value, self.form)


@dataclass(frozen=True)
class Table:
    """Results, and what a reader has to know about them.

    Attributes
    ----------
    name
        By which `docs/benchmarks.md` takes it up.
    sizes
        How much was measured: trials, neurons and the like.
    """

    title: str
    columns: tuple[Column, ...]
    rows: list[dict[str, Any]]
    notes: tuple[str, ...] = ()
    name: str = ""
    sizes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def cells(self) -> list[list[str]]:
        """Return all rows as text."""
        return [[column.cell(row) for column in self.columns] for row in self.rows]

    def __str__(self) -> str:
        """Return the table as Markdown."""
        ruler = ["--:" if column.form else "---" for column in self.columns]
        lines = [[column.heading for column in self.columns], ruler, *self.cells()]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    @property
    def row(self) -> Mapping[str, Mapping[str, Any]]:
        """The rows by what is in their first column; of one that is not there, every value is a dash."""
        return _Rows({str(row[self.columns[0].key]): row for row in self.rows})

    @property
    def where(self) -> Mapping[str, Table]:
        """The same with some of the rows, by ``key=value``."""
        return _Where(self)

    @property
    def times(self) -> Mapping[str, Any]:
        """How many times as fast one row is as another, by ``one over other``: seconds, or else C order's rates."""
        return _Times(self)


class _Dash:
    """What stands in the text for a figure that was not measured."""

    def __getitem__(self, _: object) -> _Dash:
        return self

    def __format__(self, _: str) -> str:
        return "–"


class _Rows(dict[str, Mapping[str, Any]]):
    def __missing__(self, _: str) -> Any:
        return _Dash()


class _Where(dict[str, Table]):
    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table

    def __missing__(self, wanted: str) -> Table:
        key, _, value = wanted.partition("=")
        return replace(self._table, rows=[row for row in self._table.rows if str(row.get(key)) == value])


class _Times(dict[str, Any]):
    def __init__(self, table: Table) -> None:
        super().__init__()
        self._rows = table.row

    def __missing__(self, names: str) -> Any:
        one, _, other = names.partition(" over ")
        if one not in self._rows or other not in self._rows:
            return _Dash()
        one, other = self._rows[one], self._rows[other]
        return one["c_best"] / other["c_best"] if "c_best" in one else other["best"] / one["best"]


@dataclass(frozen=True)
class Result:
    """What one benchmark found.

    Attributes
    ----------
    facts
        From `machine`.
    quick
        Measured with ``--quick``: its figures mean nothing.
    seconds
        That the whole benchmark took.
    """

    benchmark: str
    facts: Mapping[str, Any]
    quick: bool
    seconds: float
    tables: Sequence[Table]

    def __getitem__(self, name: str) -> Table:
        """Return the table of a name."""
        return next(table for table in self.tables if table.name == name)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of the table of a name; none where there is no such table."""
        return next((table.rows for table in self.tables if table.name == name), [])

    def text(self) -> str:
        """Return it as JSON: six digits of every number, a line for each row of a table."""
        head = {"machine": self.facts, "quick": self.quick, "seconds": round(self.seconds, 1)}
        parts = [f" {json.dumps(name)}: {_dumped(value)}" for name, value in head.items()]
        tables = ",\n".join(_table_text(table) for table in self.tables)
        return "{\n" + ",\n".join(parts) + ',\n "tables": [\n' + tables + "\n ]\n}\n"

    def save(self, folder: Path) -> Path:
        """Write it into a folder."""
        path = folder / f"{self.benchmark}.json"
        path.write_text(self.text(), encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read what `save` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        tables = [
            Table(one["title"], tuple(Column(*column) for column in one["columns"]), one["rows"], tuple(one["notes"]),
                  one["name"], one["sizes"])
            for one in found["tables"]
        ]  # fmt: skip
        return cls(path.stem, found["machine"], found["quick"], found["seconds"], tables)


def _table_text(table: Table) -> str:
    head = {"name": table.name, "title": table.title, "sizes": table.sizes, "notes": table.notes}
    parts = [f"   {json.dumps(name)}: {_dumped(value)}" for name, value in head.items()]
    parts.append(f'   "columns": {_dumped([[one.heading, one.key, one.form] for one in table.columns])}')
    rows = f",{_ROW}".join(_dumped(row) for row in table.rows)
    return "  {\n" + ",\n".join(parts) + f',\n   "rows": [{_ROW}{rows}]\n  }}'


def _dumped(value: Any) -> str:
    return json.dumps(_shortened(value), ensure_ascii=False)


def _shortened(value: Any) -> Any:
    """Return a value whose numbers have six digits: a clock has no more to say."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _shortened(one) for key, one in value.items()}
    return [_shortened(one) for one in value] if isinstance(value, list | tuple) else value


def compared(times: Mapping[str, Sequence[float]], base: str, **facts: Any) -> list[dict[str, Any]]:
    """Return rows of what was timed against one another, the fastest first.

    Parameters
    ----------
    times
        Seconds of each repetition, by what was timed.
    base
        What the ratios are to: its seconds over those of the others, so that above 1 is faster.
    **facts
        Added to each row.
    """
    best, median = min(times[base]), statistics.median(times[base])
    rows = [
        {
            "what": name,
            "best": min(seconds),
            "median": statistics.median(seconds),
            "ratio": best / min(seconds),
            "ratio_median": median / statistics.median(seconds),
            "seconds": list(seconds),
            **facts,
        }
        for name, seconds in times.items()
    ]
    return sorted(rows, key=lambda row: row["best"])


COMPARED = (
    Column("what", "what"),
    Column("best s", "best", ".2f"),
    Column("median s", "median", ".2f"),
    Column("ratio", "ratio", ".2f"),
    Column("of medians", "ratio_median", ".2f"),
)
"""Columns of the rows that `compared` returns."""


def machine() -> dict[str, Any]:
    """Return what the figures belong to: machine, versions, date."""
    return {
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "trialpack": trialpack.__version__,
        **{name: version(name) for name in PACKAGES},
    }


def header(facts: Mapping[str, Any]) -> str:
    """Return one line about machine and versions."""
    packages = ", ".join(f"{name} {facts[name]}" for name in PACKAGES)
    place = f"{facts['cores']} cores ({facts['processor']}), {facts['memory_gb']} GB, {facts['system']}"
    return f"{facts['date']}, {place}, Python {facts['python']}, {packages}"


def show(tables: Sequence[Table]) -> None:
    """Print tables on the terminal."""
    console.print(header(machine()), style="dim", soft_wrap=True)
    for table in tables:
        drawn = rich.table.Table(title=table.title, title_justify="left")
        for column in table.columns:
            drawn.add_column(column.heading, justify="right" if column.form else "left", overflow="fold")
        for row in table.cells():
            drawn.add_row(*row)
        console.print(drawn)
        for note in table.notes:
            console.print(note, style="dim")


def _processor() -> str:
    """Return the name of the processor; its architecture where the system does not tell."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()

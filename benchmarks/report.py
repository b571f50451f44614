"""Tables of results: on the terminal, as JSON, as Markdown; each says on which machine it was measured."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import rich.table
from rich.console import Console

PACKAGES = ("zarr", "numcodecs", "numpy")
console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


@dataclass(frozen=True)
class Column:
    """Heading of a column, key of its values in a row, and their format: ``.2f`` and the like, or text."""

    heading: str
    key: str
    form: str = ""

    def cell(self, row: dict[str, Any]) -> str:
        """Return a row's value as text; a dash where there is none."""
        value = row.get(self.key)
        if value is None:
            return "–"
        return ("no", "yes")[value] if isinstance(value, bool) else format(value, self.form)


@dataclass(frozen=True)
class Table:
    """Results, and what a reader has to know about them."""

    title: str
    columns: tuple[Column, ...]
    rows: list[dict[str, Any]]
    notes: tuple[str, ...] = ()

    def cells(self) -> list[list[str]]:
        """Return all rows as text."""
        return [[column.cell(row) for column in self.columns] for row in self.rows]


def machine() -> dict[str, Any]:
    """Return what the figures belong to: machine, versions, date."""
    return {
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("trialpack", *PACKAGES)},
    }


def header() -> str:
    """Return one line about machine and versions."""
    facts = machine()
    packages = ", ".join(f"{name} {facts[name]}" for name in PACKAGES)
    place = f"{facts['cores']} cores ({facts['processor']}), {facts['memory_gb']} GB, {facts['system']}"
    return f"{facts['date']}, {place}, Python {facts['python']}, {packages}"


def show(tables: Sequence[Table]) -> None:
    """Print tables on the terminal."""
    console.print(header(), style="dim", soft_wrap=True)
    for table in tables:
        drawn = rich.table.Table(title=table.title, title_justify="left")
        for column in table.columns:
            drawn.add_column(column.heading, justify="right" if column.form else "left", overflow="fold")
        for row in table.cells():
            drawn.add_row(*row)
        console.print(drawn)
        for note in table.notes:
            console.print(note, style="dim")


def to_json(tables: Sequence[Table]) -> str:
    """Return tables as a JSON document, values unrounded."""
    found = [{"title": table.title, "rows": table.rows, "notes": table.notes} for table in tables]
    return json.dumps({"machine": machine(), "tables": found}, indent=1, ensure_ascii=False) + "\n"


def to_markdown(tables: Sequence[Table]) -> str:
    """Return tables for the documentation."""
    parts = [header()]
    for table in tables:
        ruler = ["--:" if column.form else "---" for column in table.columns]
        lines = [[column.heading for column in table.columns], ruler, *table.cells()]
        parts += [f"### {table.title}", "\n".join(f"| {' | '.join(line)} |" for line in lines), *table.notes]
    return "\n\n".join(parts) + "\n"


def _processor() -> str:
    """Return the name of the processor; its architecture where the system does not tell."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()

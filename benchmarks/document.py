"""Make docs/benchmarks.md and its pictures of the results, and of nothing else.

The text is `page.md`, in which every table and every figure stands in braces, as `str.format` has them: {stream[whole]}
is a table, {stream[whole].row[litData][best]:.0f} a value, {stream[whole].times[trialpack over litData]:.1f} how many
times as fast one row is as another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import pictures
from .report import Result, header

DOCS = Path(__file__).parents[1] / "docs"
PAGE = Path(__file__).with_name("page.md")
_QUICK = "**Made with `--quick`, to see that everything runs: no figure on this page means anything.**\n\n"


def load(folder: Path) -> dict[str, Result]:
    """Return all results of a folder by their benchmarks."""
    return {path.stem: Result.load(path) for path in sorted(folder.glob("*.json"))}


def page(results: Mapping[str, Result]) -> str:
    """Return the text of docs/benchmarks.md."""
    machines = {header(result.facts): None for result in results.values()}
    minutes = sum(result.seconds for result in results.values()) / 60
    facts: dict[str, Any] = {"machine": "; ".join(machines), "minutes": minutes, **results}
    quick = _QUICK if any(result.quick for result in results.values()) else ""
    return PAGE.read_text(encoding="utf-8").format(quick=quick, **facts)


def digest(results: Mapping[str, Result]) -> str:
    """Return what the pictures carry to say which results they were drawn from."""
    text = "".join(result.text() for _, result in sorted(results.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def write(results: Path, docs: Path) -> None:
    """Write the page, and the pictures beside it."""
    found = load(results)
    (docs / "benchmarks").mkdir(parents=True, exist_ok=True)
    for name, draw in pictures.PICTURES.items():
        pictures.save(draw(found), docs / f"benchmarks/{name}.svg", digest(found))
    (docs / "benchmarks.md").write_text(page(found), encoding="utf-8")

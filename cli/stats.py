"""``trialpack stats``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.table import Table

from ..readers import Statistics, open_mouse, train_statistics
from ..readers.reductions import DEFAULT_MAX_MEMORY
from ..readers.statistics_files import Difference, check_format, compare_with_published, save_statistics
from ..readers.trial_statistics import has_statistics
from ..store import files
from ..store.layout import STATISTIC_NAMES, TRAIN_TIER, Reduction, short_name
from ..store.paths import Address
from . import options
from .display import documents_of, end, noting_shortfalls, shape_text, show, show_documents, table
from .interrupts import cleaning
from .options import check_output
from .progress import Bars, progress_bars

_EPILOG = """
\b
Examples:
  trialpack stats stores/mouse.zarr
  trialpack stats stores
  trialpack stats stores/mouse.zarr --tier oracle
  trialpack stats stores/mouse.zarr -o statistics.pkl
  trialpack stats stores/lab7.zarr -o statistics.npz
"""


@click.command(epilog=_EPILOG)
@options.existing_stores
@click.option("--tier", default=TRAIN_TIER, show_default=True, help="Statistics of this tier's trials.")
@click.option(
    "-o",
    "--output",
    type=options.GivenPath(dir_okay=False),
    metavar="FILE",
    help="Write those of one STORE: .npz, or .pkl as the public pipeline of the 2023 mice reads it, of such mice. "
    "Replaces FILE.",
)
@options.workers
@options.scheduler
@click.option(
    "--max-memory",
    type=options.ByteSize(),
    default=DEFAULT_MAX_MEMORY,
    show_default=True,
    metavar="BYTES",
    help="Memory of the whole process.",
)
@options.log_every
@options.json_output
def stats(
    stores: tuple[Path | Address, ...],
    tier: str,
    output: Path | None,
    workers: int | None,
    scheduler: str | None,
    max_memory: int,
    as_json: bool,
) -> None:
    """Show minimum, maximum, mean, median and standard deviation of each STORE's trials.

    Those of the train tier are in the store, unless it was converted with --no-statistics; all others are computed.
    Each cell of the table is the lowest and the highest of all neurons, frames or pixels. Where the source came with
    statistics, the table says how far they are apart.
    """
    if output and len(stores) > 1:
        raise click.UsageError(f"--output takes the statistics of one STORE, found {len(stores)}")
    with options.cluster_at(scheduler) as client, progress_bars(len(stores)) as bars:
        computing = {"max_memory": max_memory, "threads": workers, "client": client}
        documents = documents_of(stores, lambda store: _of_store(store, tier, output, bars, computing, as_json=as_json))
    if as_json:
        show_documents(documents)
    end(documents)


def _of_store(
    store: Path | Address, tier: str, output: Path | None, bars: Bars, computing: dict[str, Any], *, as_json: bool
) -> dict[str, Any]:
    """Show the statistics of one store, unless they are to be shown as the document that is returned."""
    mouse = open_mouse(store)
    if output:
        check_output(output)
        check_format(mouse.recording.variables, output)
    with bars.of(short_name(mouse.name)) as bar:
        known = tier == TRAIN_TIER and has_statistics(mouse.index)
        found = mouse.statistics if known else train_statistics(mouse, tier=tier, progress=bar, **computing)
    differences = compare_with_published(mouse.index, found) if tier == TRAIN_TIER else []
    if output:
        with cleaning(files.drop_unsaved), noting_shortfalls(output.parent):
            save_statistics(found, output)
    if not as_json:
        show(_ranges_table(found), *([_differences_table(differences), *_notes(differences)] if differences else []))
        if output:
            click.echo(f"Wrote {output}")
    return _document(store, found, differences, output)


def _ranges_table(found: Statistics) -> Table:
    names: list[Reduction] = list(dict.fromkeys(name for by_reduction in found.values() for name in by_reduction))
    headings = tuple(name.replace("_", " ") for name in names)
    title = f"Statistics of {len(found.trial_ids)} {found.tier or ''} trials of {short_name(found.mouse)}"
    made = table(title, "variable", "statistic", *headings, numbers=headings)
    for variable, by_reduction in found.items():
        there = [by_reduction.get(name) for name in names]
        made.add_row(variable, "places", *(shape_text(one.shape) if one else "" for one in there))
        ranges = [one.ranges() if one else None for one in there]
        for statistic in STATISTIC_NAMES:
            cells = [_range(one[statistic]) if one else "" for one in ranges]
            made.add_row("", statistic, *cells, end_section=statistic == STATISTIC_NAMES[-1])
    return made


def _range(ends: tuple[float, float]) -> str:
    texts = ["–" if math.isnan(end) else f"{end:.4g}" if abs(end) < 1e4 else f"{end:,.0f}" for end in ends]
    return texts[0] if texts[0] == texts[1] else " … ".join(texts)


def _differences_table(differences: list[Difference]) -> Table:
    names = tuple(dict.fromkeys(one.statistic for one in differences))
    title = "Largest difference from the source's statistics, relative to their largest value"
    made = table(title, "published", "over", *names, numbers=names)
    groups = dict[tuple[str, str], dict[str, Difference]]()
    for one in differences:
        over = one.reduction.removeprefix("over_").replace("_", " ") if one.reduction else "other shape"
        groups.setdefault((one.group, over), {})[one.statistic] = one
    for (group, over), found in groups.items():
        made.add_row(group, over, *(_number(found[name].relative) if name in found else "" for name in names))
    return made


def _notes(differences: list[Difference]) -> list[str]:
    remarks = dict[str, list[str]]()
    for one in differences:
        if one.remark:
            remarks.setdefault(one.remark, []).append(f"{one.group}/{one.statistic}")
    return [f"{remark}: {', '.join(paths)}" for remark, paths in remarks.items()]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2g}"


def _document(
    store: Path | Address, found: Statistics, differences: list[Difference], output: Path | None
) -> dict[str, Any]:
    statistics = {
        variable: {
            name: {"shape": list(one.shape), **{key: list(map(_plain, ends)) for key, ends in one.ranges().items()}}
            for name, one in by_reduction.items()
        }
        for variable, by_reduction in found.items()
    }
    return {
        "store": str(store),
        "tier": found.tier,
        "trial_ids": found.trial_ids.tolist(),
        "statistics": statistics,
        "differences": [
            {**vars(one), "largest": _plain(one.largest), "relative": _plain(one.relative)} for one in differences
        ],
        "output": str(output) if output else None,
    }


def _plain(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return float(value) if np.isfinite(value) else None

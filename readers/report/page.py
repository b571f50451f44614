"""The page of a report: one HTML file with everything in it, made of a template."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ...store import CorruptStoreError, OptionError, Problem, StoreIndex, layout
from ...store.layout import STATISTIC_NAMES
from ...store.space import bytes_text
from ..figure import figure_class
from . import charts
from .charts import Picture, Table
from .findings import FINDING_KINDS
from .reporting import Report, StoreReport

if TYPE_CHECKING:
    from jinja2 import Environment

_EXAMPLES = 12
"""Trials that are drawn, of all stores together; one of each at least."""


def render(report: Report) -> str:
    """Return the page of a report; see `Report.page`."""
    environment = check_packages()
    from matplotlib import rc_context

    template = environment.from_string(files(__spec__.parent).joinpath("page.html").read_text("utf-8"))
    # Whatever a store has as text stays text, in figures too.
    with rc_context({"text.parse_math": False}):
        most = min(3, max(1, _EXAMPLES // len(report.stores)))
        sections = [_section(store, place, most) for place, store in enumerate(report.stores)]
    return template.render(
        sections=sections,
        overview=_overview(report.stores) if len(report.stores) > 1 else None,
        kinds=_kinds(report),
        shared=_shared(report),
        explained=FINDING_KINDS,
    )


def check_packages() -> Environment:
    """Return what makes pages of templates, in which all values are text; errors as in `Report.page`."""
    figure_class()
    try:
        from jinja2 import Environment
    except ModuleNotFoundError:
        raise OptionError(Problem("report", "needs the package jinja2", "pip install jinja2")) from None
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)


def _section(store: StoreReport, place: int, most: int) -> dict[str, Any]:
    """Return what the template shows of one store."""
    return {
        "id": f"store-{place}",
        "name": _title(store),
        "facts": dict(_facts(store)),
        "findings": store.findings,
        "pictures": list(_pictures(store, f"store-{place}", most)),
        "tables": [table for table in _tables(store) if table.rows],
    }


def _title(store: StoreReport) -> str:
    name = layout.short_name(store.name)
    return f"{name} (mouse {store.mouse.letter})" if store.mouse and store.mouse.letter else name


def _facts(store: StoreReport) -> Iterator[tuple[str, str]]:
    """Yield what the store is."""
    yield "store", store.store
    found = store.summary
    if found is None or store.mouse is None:
        return
    trials = sum(found["trials"].values())
    yield "recording", f"{found['mouse']}, {found['kind']}"
    yield "trials", f"{trials}; responses withheld in {found['withheld']}"
    yield "neurons", str(found["neurons"])
    if "frames" in found:
        rate = store.mouse.frame_rate
        seconds = f", {found['frames'] / rate:.3g} s at {rate:g} Hz" if rate else ""
        yield "frames", f"{found['frames']} at most{seconds}"
    yield "precision", f"{found['precision']}, codec {found['codec']}"
    size, source = bytes_text(found["bytes_store"]), bytes_text(found["bytes_source"])
    ratio = f"{found['ratio']:.3f}"
    yield (
        "size",
        f"{size} in {found['files_store']} files; the source had {source} in {found['files_source']} ({ratio})",
    )
    yield "source", found["source"]["name"]
    if store.repeats[0]:
        yield "reliability", f"of {store.repeats[0]} stimuli that {store.repeats[1]} trials repeat"
    yield "made by", ", ".join(f"{name} {version}" for name, version in found["software"].items())
    for note in found["warnings"]:
        yield "note of the conversion", note


def _pictures(store: StoreReport, salt: str, most: int) -> Iterator[Picture]:
    mouse = store.mouse
    if mouse is None:
        return
    drawn = {
        "Trials by tier and length": lambda: charts.trials_by_tier(mouse.recording),
        "The recording in time": lambda: charts.recording_in_time(store, mouse),
        "Neurons in the cortex": lambda: charts.neurons_in_cortex(store, mouse),
        "Distributions": lambda: charts.distributions(store),
    }
    for title, draw in drawn.items():
        try:
            found = draw()
        except CorruptStoreError:  # a table of trials or neurons, which the findings name
            continue
        if found is not None:
            yield Picture(title, charts.as_svg(found[0], f"{salt}-{title}"), *found[1:])
    for place, (figure, text, table) in enumerate(charts.example_trials(store, mouse, most)):
        yield Picture("Example trials" if not place else "", charts.as_svg(figure, f"{salt}-{place}"), text, table)


def _overview(stores: Sequence[StoreReport]) -> Table:
    headings = ["mouse", "kind", "trials", "neurons", "frames", "size", "ratio", "findings"]
    return Table("Recordings side by side", headings, [_overview_row(store) for store in stores])


def _overview_row(store: StoreReport) -> list[object]:
    found = store.summary
    if found is None:
        return [_title(store), *["–"] * 6, len(store.findings)]
    facts = [found["kind"], sum(found["trials"].values()), found["neurons"], found.get("frames", "–")]
    return [_title(store), *facts, bytes_text(found["bytes_store"]), f"{found['ratio']:.3f}", len(store.findings)]


def _kinds(report: Report) -> Table:
    """Return for each kind of finding what each store has of it."""
    rows = [
        [kind, *(_amount([one for one in store.findings if one.kind == kind]) for store in report.stores)]
        for kind in FINDING_KINDS
    ]
    return Table("What was looked for", ["kind", *map(_title, report.stores)], rows)


def _amount(found: Sequence[Any]) -> str:
    if not found:
        return "none"
    neurons = sum(len(one.neurons) for one in found)
    trials = len({trial for one in found for trial in one.trials})
    counts = [f"{n} {noun}{'s' if n != 1 else ''}" for n, noun in ((neurons, "neuron"), (trials, "trial")) if n]
    return ", ".join(counts) or f"{len(found)}"


def _shared(report: Report) -> Table | None:
    if not report.shared:
        return None
    rows = [[_title(report.stores[a]), _title(report.stores[b]), count] for (a, b), count in report.shared.items()]
    return Table("Stimuli that two recordings share, equal to the bit", ["one", "other", "stimuli"], rows)


def _tables(store: StoreReport) -> Iterator[Table]:
    if store.mouse is None or store.summary is None:
        return
    yield _variables(store)
    yield _arrays(store.summary)
    try:
        yield _bounds(store.mouse.index)
    except CorruptStoreError:  # which the findings name
        pass
    yield _statistics(store)
    headings = ["published", "statistic", "compared over", "largest difference", "relative", "remark"]
    rows = [
        [one.group, one.statistic, _over(one.reduction), _number(one.largest), _number(one.relative), one.remark]
        for one in store.differences
    ]
    yield Table("Statistics of the train trials beside those published", headings, rows)
    digests = store.summary["digests"]
    rows = [["store_id", store.summary["store_id"]], ["SHA-256 of the manifest", digests["manifest"]]]
    yield Table("Digests", ["of", "value"], [*rows, ["format", f"version {store.summary[layout.A_FORMAT]}"]])


def _variables(store: StoreReport) -> Table:
    headings = [
        "variable",
        "role",
        "dimensions",
        "dtype",
        "unit",
        "trials",
        "values",
        "NaN or infinite",
        "least",
        "largest",
    ]
    rows = list[list[object]]()
    for scan in store.scans.values():
        one = scan.variable
        units = ", ".join(f"{channel.name} ({channel.units})" for channel in one.channels[:4]) or one.units
        low, high = (values[scan.read] for values in (scan.low, scan.high))
        ends = [_number(float(pick(values))) if values.size else "–" for pick, values in ((_least, low), (_most, high))]
        dimensions = " × ".join(one.dimensions) or "one value"
        counts = [int(scan.read.sum()), int(scan.size.sum()), int(scan.missing.sum())]
        rows.append([one.name, one.role, dimensions, one.dtype, units, *counts, *ends])
    return Table("Variables", headings, rows)


def _least(values: Any) -> Any:
    return min((one for one in values.tolist() if not math.isnan(one)), default=math.nan)


def _most(values: Any) -> Any:
    return max((one for one in values.tolist() if not math.isnan(one)), default=math.nan)


def _arrays(summary: Mapping[str, Any]) -> Table:
    """Return sizes and codecs: of each recorded variable, and of all other arrays together."""
    names = {one["name"] for one in summary["variables"]}
    rows = list[list[object]]()
    for one in sorted(summary["arrays"], key=lambda array: -array["bytes_stored"]):
        if one["path"] in names:
            shapes = [" × ".join(map(str, one[key])) for key in ("shape", "chunk")]
            rows.append([one["path"], *shapes, one["compressor"], *_sizes([one])])
    others = [one for one in summary["arrays"] if one["path"] not in names]
    rows.append([f"{len(others)} other arrays", "", "", "", *_sizes(others)])
    return Table("Sizes and codecs", ["array", "shape", "chunk", "codec", "raw", "stored", "ratio"], rows)


def _sizes(arrays: Sequence[Mapping[str, Any]]) -> list[str]:
    raw, stored = (sum(one[key] for one in arrays) for key in ("bytes_raw", "bytes_stored"))
    return [bytes_text(raw), bytes_text(stored), f"{stored / raw:.2f}" if raw else "–"]


def _bounds(index: StoreIndex) -> Table:
    """Return how far rounded values may be from the source, and what that saves."""
    rows = list[list[object]]()
    for name, bound in index.bounds.items():
        array, path = index.arrays[name], layout.bound_path(name)
        allowed = str(bound.document)
        if path in index.arrays:
            errors = index.small(path)
            allowed = f"{errors.min():.3g} to {errors.max():.3g}"
        bits = 8 * index.stored_nbytes(name) / max(math.prod(array.shape), 1)
        unit = array.attributes.get(layout.A_UNITS, "")
        rows.append([name, str(bound.document), f"{allowed} {unit}".rstrip(" 1"), f"{bits:.2f}"])
    return Table("Bounds on the error of rounded values", ["variable", "bound", "error at most", "bits a value"], rows)


def _statistics(store: StoreReport) -> Table:
    rows = [
        [variable, _over(reduction), *(_range(*found.ranges()[name]) for name in STATISTIC_NAMES)]
        for variable, reductions in (store.statistics or {}).items()
        for reduction, found in reductions.items()
    ]
    return Table("Statistics of the train trials", ["variable", "over", *STATISTIC_NAMES], rows)


def _range(low: float, high: float) -> str:
    return _number(low) if low == high else f"{_number(low)} … {_number(high)}"


def _over(reduction: str | None) -> str:
    return (reduction or "–").removeprefix("over_").replace("_", " ")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"

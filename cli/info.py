"""``trialpack info``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from ..readers.leaks import LeakedTrial, between_mice, describe_leaks, find_leaks, leak_text
from ..readers.opening import describe_store, outline_store
from ..store import StoreIndex, check_quick
from ..store.layout import short_name
from ..store.locate import locate
from ..store.paths import Address
from . import options
from .display import (
    bound_texts,
    counted,
    documents_of,
    end,
    grouped,
    plural,
    shape_text,
    show,
    show_documents,
    size,
    source_size,
    table,
)

_LENGTHS = 5
_CHANNELS = 4


_EPILOG = """
\b
Examples:
  trialpack info stores/mouse.zarr
  trialpack info stores
  trialpack info stores --json
"""


@click.command(epilog=_EPILOG)
@options.existing_stores
@options.json_output
def info(stores: tuple[Path | Address, ...], as_json: bool) -> None:
    """Show what is in each STORE: the mouse, its trials, variables, arrays and sizes, and what made it.

    Of several, one table with a line a mouse. Of each variable: its dimensions in the store, the unit of its values or
    of each channel, and how many trials have it; responses that were withheld are not counted. Leaks are stimuli that
    are shown both in tier train and in another one, of one mouse or, with several stores, of two.
    """
    indexes, describe = list[StoreIndex](), describe_store if as_json or len(stores) == 1 else outline_store

    def look(store: Path | Address) -> dict[str, Any]:
        index = check_quick(locate(store))
        document = describe(index)
        indexes.append(index)
        return document

    documents = documents_of(stores, look)
    if not as_json and len(stores) > 1:
        show(_mice(documents), counted({"read": len(indexes), "not read": len(stores) - len(indexes)}))
    elif not as_json and indexes:
        show(_facts(documents[0]), _variables(documents[0]), _arrays(documents[0]))
    leaks = find_leaks(indexes)
    if between := between_mice(leaks):
        for document in documents:
            concerned = [leak for leak in leaks if document.get("mouse") in {trial.mouse for trial in leak}]
            document |= {"leaks": describe_leaks(concerned)}
        if not as_json:
            show(f"Between mice: {leak_text(between)}")
    if as_json:
        show_documents(documents)
    end(documents)


def _mice(documents: list[dict[str, Any]]) -> Table:
    """Return a table with a line a mouse, and their totals."""
    numbers = ("trials", "neurons", "files", "stored", "source", "ratio")
    made = table("Mice", "mouse", "kind", "precision", "codec", *numbers, numbers=numbers)
    read = [one for one in documents if "problems" not in one]
    for one in documents:
        folder, _, name = one["store"].rpartition("/")
        label = short_name(one.get("mouse", name))
        if sum(label == short_name(other["mouse"]) for other in read) > 1:
            label = f"{folder.rpartition('/')[2]}/{label}"
        if "problems" in one:
            made.add_row(label, "not read")
            continue
        precision = f"{one['precision']}{', rounded' if one['max_error'] else ''}"
        made.add_row(label, one["kind"], precision, one["codec"], *_totals([one]))
    made.add_section()
    made.add_row("total", "", "", "", *_totals(read))
    return made


def _totals(read: list[dict[str, Any]]) -> list[str]:
    trials, neurons = sum(sum(one["trials"].values()) for one in read), sum(one["neurons"] for one in read)
    files, stored, source = (sum(one[key] for one in read) for key in ("files_store", "bytes_store", "bytes_source"))
    return [str(trials), str(neurons), str(files), size(stored), size(source), f"{stored / max(source, 1):.3f}"]


def _facts(found: dict[str, Any]) -> Table:
    made = Table(title=f"{found['mouse']}", title_justify="left", title_style="bold", show_header=False, box=None)
    letter = f"{found['letter']}, " if found["letter"] else ""
    trials = ", ".join(f"{count} {tier}" for tier, count in found["trials"].items())
    for name, value in {
        "mouse": f"{letter}{found['kind']}",
        "trials": f"{sum(found['trials'].values())}: {trials}; responses withheld in {found['withheld']}",
        "neurons": f"{found['neurons']}",
        **({"frames": _frames(found)} if "frames" in found else {}),
        "precision": ", ".join([found["precision"], *bound_texts(found["max_error"])]) + f" (codec {found['codec']})",
        "size": f"{size(found['bytes_store'])} in {plural(found['files_store'], 'file')}; "
        f"the source had {_source_size(found)} in {found['files_source']} "
        f"(ratio {found['bytes_store'] / found['bytes_source']:.3f})",
        "source": found["source"]["name"],
        "statistics": _statistics(found["statistics"]),
        "leaks": _leaks(found["leaks"]),
        "format": f"version {found['trialpack_format']}, store {found['store_id']}",
        "made by": ", ".join(f"{name} {version}" for name, version in found["software"].items()),
        "check": f"{found['check']} (SHA-256 {found['digests']['manifest'][:16]}…); "
        "every byte and value: trialpack verify",
        "notes": "\n".join(found["warnings"]) or "none",
    }.items():
        made.add_row(Text(name, style="bold"), value)
    return made


def _source_size(found: dict[str, Any]) -> str:
    return source_size(found["bytes_source"], found["source"]["name"], found["files_source"])


def _frames(found: dict[str, Any]) -> str:
    in_files = found["file_frames_by_trial"]
    files = f"at most; {_lengths(in_files)}" if in_files else "in each file"
    return f"{found['frames']} {files}; valid {_lengths(found['frames_by_trial'])}"


def _lengths(by_trial: dict[str, int]) -> str:
    lengths = sorted(by_trial.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{n} in {plural(count, 'trial')}" for n, count in lengths[:_LENGTHS])
    return f"{shown}{', …' if len(lengths) > _LENGTHS else ''}"


def _statistics(found: dict[str, Any]) -> str:
    computed = f"of {found['train_trials']} train trials" if found["train_trials"] else "none computed"
    return f"{computed}; from the source: {', '.join(found['source']) or 'none'}"


def _leaks(found: list[list[dict[str, Any]]]) -> str:
    return leak_text([tuple(LeakedTrial(**trial) for trial in leak) for leak in found]) if found else "none"


def _variables(found: dict[str, Any]) -> Table:
    made = table(
        "Variables", "variable", "role", "dimensions", "dtype", "unit", "Hz", "trials", numbers=("Hz", "trials")
    )
    trials = sum(found["trials"].values())
    for one in found["variables"]:
        rate, count = one["frame_rate"], found["trials_with"][one["name"]]
        with_optional = f"{count} of {trials}{' (optional)' if one['optional'] else ''}"
        dimensions = " × ".join(one["dimensions"]) or "one value"
        rate_text = "–" if rate is None else f"{rate:g}"
        made.add_row(one["name"], one["role"], dimensions, one["dtype"], _unit(one), rate_text, with_optional)
    return made


def _unit(variable: dict[str, Any]) -> str:
    """Return the unit of a variable, or of each of its channels; 1 is the unit of what has none."""
    channels = [f"{one['name']} ({one['units'] or '1'})" for one in variable["channels"]]
    more = ", …" if len(channels) > _CHANNELS else ""
    return f"{', '.join(channels[:_CHANNELS])}{more}" or variable["units"] or "–"


def _arrays(found: dict[str, Any]) -> Table:
    numbers = ("raw", "stored", "ratio")
    made = table("Arrays", "array", "shape", "dtype", "chunk", "codec", *numbers, numbers=numbers)
    for name, places in grouped([array["path"] for array in found["arrays"]]).items():
        arrays = [found["arrays"][place] for place in places]
        first, alone = arrays[0], len(arrays) == 1
        shape, chunk = shape_text(first["shape"] if alone else None), shape_text(first["chunk"] if alone else None)
        raw, stored = (sum(array[key] for array in arrays) for key in ("bytes_raw", "bytes_stored"))
        ratio = f"{stored / raw:.2f}" if raw else "–"
        codecs = ", ".join(sorted({array["compressor"] for array in arrays}))
        dtypes = {array["dtype"] for array in arrays}
        made.add_row(
            name,
            shape,
            first["dtype"] if len(dtypes) == 1 else "several",
            chunk,
            codecs,
            size(raw),
            size(stored),
            ratio,
        )
    return made

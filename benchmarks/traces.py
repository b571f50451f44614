"""What bounds on errors do to science: real traces within each bound, beside what a recording is unsure of itself.

The traces are no part of the project: a ``.npz`` with ``deconvolved`` and ``fluorescence``, (n_neurons, n_scans). Those
of docs/precision.md are from github.com/nicktz4/NeuronsXnets (MIT): ten neurons of a mouse's area LM at 6.3 Hz.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trialpack import convert_mouse, open_mouse
from trialpack.convert.rounding import by_channel, round_within
from trialpack.store.layout import CHUNK_FRAMES, RESPONSES

from .codings import Coding, Shuffle, encode_all
from .report import Column, Table

Floats = NDArray[np.float64]
PERCENTS = (0.01, 0.1, 1, 5, 10, 20)
"""Of each neuron's standard deviation."""
RATE, FRAME_RATE, DECAY = 6.3, 30, 1.0
"""Scans a second of the recording; frames a second of published mice; seconds in which its indicator decays, about."""
FRAMES, TRIALS, PIECES = 300, 4, 200
"""Traces are cut into trials of so many frames; stores have so many trials, and so many pieces of each as neurons."""
WAY_PERCENTS, WAY_PIECES = (0.1, 1), 160
"""Bounds, and pieces of each trace that are the neurons of a chunk."""
_RIDGE = 100.0
_MAD = 1.4826  # standard deviations of normal noise in one median of its distances from zero

DEVIATION_COLUMNS = (
    Column("bound", "bound"),
    Column("fast", "fast", ".3f"),
    Column("small", "small", ".3f"),
    Column("worst 1 - r", "correlation", ".1g"),
    Column("std", "std", "+.2%"),
    Column("events", "events", "+.2%"),
    Column("local maxima", "maxima", "+.2%"),
    Column("ridge r", "ridge", ".4f"),
    Column("constant trials", "constant", ".1%"),
)
NOTES = (
    f"Interpolated to {FRAME_RATE} frames a second, as published mice are. fast, small: bytes of a store of the traces "
    "over those of float32. r: correlation with the source, of the worst neuron. std, events (frames more than one "
    "standard deviation above the mean), local maxima (frames not below their neighbours, and above one of them): "
    "changes of their number or size in all; std of the neuron whose changes most. ridge r: mean correlation of each "
    "neuron, in the second half of the recording, with what a ridge model fitted to the first half predicts from the "
    f"other neurons. constant trials: of those of one neuron and {FRAMES} frames, how many vary in the source only.",
)
DOUBT_COLUMNS = (
    Column("what is changed", "what"),
    Column("least", "least", ".3f"),
    Column("most", "most", ".3f"),
    Column("least over 0.1%std", "tenth", ".0f"),
    Column("most over 0.1%std", "tenth_most", ".0f"),
)
DOUBT_NOTES = (
    "RMS change of deconvolved activity over its standard deviation, of the neuron where it is least and of that where "
    "it is most; and that over the bound. Fluorescence above its median is deconvolved by a decaying exponential, "
    "without negative activity (OASIS, Friedrich et al. 2017, AR(1)). Noise: from the median distance of neighbours.",
)
WAYS: tuple[tuple[bool, Shuffle], ...] = tuple(itertools.product((True, False), ("byte", "", "bit")))
"""Of `fast`: whether frames come first in a chunk, and how it is shuffled."""
WAY_COLUMNS = (
    Column("traces", "traces"),
    *(
        Column(f"{'frames' if first else 'neurons'} first, {shuffle or 'no'} shuffle", f"{first} {shuffle}", ".3f")
        for first, shuffle in WAYS
    ),
)
WAY_NOTES = (
    "lz4, level 9: encoded bytes over those of float32. Spikes: activity of fluorescence as above, at the scans of the "
    "recording, with exact zeros.",
)


def tables(path: Path, folder: Path) -> list[Table]:
    """Measure, and return a table of each kind of traces and one of what deconvolution is unsure of."""
    with np.load(path) as found:
        traces = {name: np.asarray(found[name], np.float64) for name in ("deconvolved", "fluorescence")}
    kinds = [
        Table(f"{name.capitalize()}, real traces", DEVIATION_COLUMNS, _rows(_as_published(one), folder), NOTES)
        for name, one in traces.items()
    ]
    spikes = np.stack([_deconvolve(one, DECAY) for one in traces["fluorescence"]])
    as_stored = {name: _as_published(one) for name, one in traces.items()} | {"spikes": spikes}
    ways = [_sizes_by_way(name, one, percent) for name, one in as_stored.items() for percent in (None, *WAY_PERCENTS)]
    return [
        *kinds,
        Table("What deconvolution is unsure of", DOUBT_COLUMNS, _doubts(traces["fluorescence"]), DOUBT_NOTES),
        Table("Ways of storing chunks", WAY_COLUMNS, ways, WAY_NOTES),
    ]


def _as_published(traces: Floats) -> Floats:
    """Return traces at the frame rate of published mice, by linear interpolation as theirs."""
    scans = np.arange(traces.shape[1])
    return np.stack([np.interp(np.arange(0, scans[-1], RATE / FRAME_RATE), scans, one) for one in traces])


def _rows(traces: Floats, folder: Path) -> list[dict[str, Any]]:
    known = _Known(traces)
    rows = [{"bound": "float32", **known.compare(traces), **_sizes(traces, None, folder)}]
    for percent in PERCENTS:
        bound, stored = f"{percent}%std", _rounded(traces, percent)
        rows.append({"bound": bound, **known.compare(stored.astype(np.float64)), **_sizes(traces, bound, folder)})
    return rows


def _rounded(traces: Floats, percent: float) -> NDArray[np.float32]:
    """Return traces within a part of each neuron's standard deviation."""
    stored = np.empty(traces.shape, np.float32)
    if round_within(traces, by_channel(traces.std(axis=1) * percent / 100, 2), stored) is not None:
        raise RuntimeError(f"float32 does not hold all values within {percent}%std")
    return stored


def _sizes_by_way(name: str, traces: Floats, percent: float | None) -> dict[str, Any]:
    """Return what chunks take in each of the ways that `fast` stands for."""
    values = traces.astype(np.float32) if percent is None else _rounded(traces, percent)
    pieces = _trials(values)[:, :WAY_PIECES].reshape(-1, FRAMES)
    row: dict[str, Any] = {"traces": name if percent is None else f"{name}, {percent}%std"}
    for first, shuffle in WAYS:
        cut = [pieces[:, start : start + CHUNK_FRAMES] for start in range(0, FRAMES, CHUNK_FRAMES)]
        chunks = encode_all(Coding("lz4", 9, shuffle), [np.ascontiguousarray(one.T if first else one) for one in cut])
        row[f"{first} {shuffle}"] = chunks.stored / chunks.raw
    return row


@dataclass(frozen=True)
class _Known:
    """Real traces, to compare with what became of them."""

    source: Floats

    def compare(self, traces: Floats) -> dict[str, float]:
        """Return how they differ."""
        source, change = self.source, traces.std(axis=1) / self.source.std(axis=1) - 1
        r = [np.corrcoef(one, other)[0, 1] for one, other in zip(source, traces, strict=True)]
        level = (source.mean(axis=1) + source.std(axis=1))[:, None]
        vary = np.ptp(_trials(source), axis=-1) > 0
        return {
            "correlation": 1 - min(r),
            "std": float(change[np.argmax(np.abs(change))]),
            "events": _change((traces > level).sum(), (source > level).sum()),
            "maxima": _change(_maxima(traces), _maxima(source)),
            "ridge": _ridge(traces),
            "constant": float((vary & (np.ptp(_trials(traces), axis=-1) == 0)).mean()),
        }


def _change(found: int, known: int) -> float:
    return int(found) / int(known) - 1


def _trials(traces: NDArray[Any]) -> NDArray[Any]:
    """Return ``(n_neurons, n_trials, FRAMES)``."""
    whole = traces.shape[1] // FRAMES
    return traces[:, : whole * FRAMES].reshape(len(traces), whole, FRAMES)


def _maxima(traces: Floats) -> int:
    """Count frames that are not below their neighbours, and above one of them: of a plateau, its ends."""
    before, here, behind = traces[:, :-2], traces[:, 1:-1], traces[:, 2:]
    return int(((here >= before) & (here >= behind) & ((here > before) | (here > behind))).sum())


def _ridge(traces: Floats) -> float:
    """Return how well each neuron is predicted from the others, in the half that the model was not fitted to."""
    scaled = (traces - traces.mean(axis=1, keepdims=True)) / traces.std(axis=1, keepdims=True)
    half, found = traces.shape[1] // 2, list[float]()
    for neuron in range(len(scaled)):
        others = np.delete(scaled, neuron, axis=0)
        fitted, held = others[:, :half], others[:, half:]
        weights = np.linalg.solve(fitted @ fitted.T + _RIDGE * np.eye(len(others)), fitted @ scaled[neuron, :half])
        found.append(float(np.corrcoef(weights @ held, scaled[neuron, half:])[0, 1]))
    return float(np.mean(found))


def _sizes(traces: Floats, bound: str | None, folder: Path) -> dict[str, float]:
    """Return the bytes of stores of a recording with pieces of the traces as its neurons, over those of float32."""
    bounds: Mapping[str, float | str] = {} if bound is None else {RESPONSES: bound}
    found = dict[str, float]()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        tree = Path(scratch) / "traces"
        (tree / "data" / RESPONSES).mkdir(parents=True)
        (tree / "meta/trials").mkdir(parents=True)
        pieces = _trials(traces)[:, : TRIALS * PIECES].reshape(-1, TRIALS, FRAMES)
        for trial in range(TRIALS):
            np.save(tree / "data" / RESPONSES / f"{trial}.npy", pieces[:, trial].astype(np.float32))
        np.save(tree / "meta/trials/tiers.npy", np.full(TRIALS, "train"))
        for codec in ("fast", "small"):
            store = convert_mouse(
                tree, Path(scratch) / codec, max_error=bounds, codec=codec, statistics=False, verify=False
            ).store
            found[codec] = open_mouse(store).index.stored_nbytes(RESPONSES) / (pieces.size * 4)
    return found


def _doubts(fluorescence: Floats) -> list[dict[str, Any]]:
    """Return how far deconvolved activity moves with what nobody knows exactly."""
    rng, changes = np.random.default_rng(0), dict[str, list[float]]()
    for trace in fluorescence:
        noise = _MAD * float(np.median(np.abs(np.diff(trace)))) / math.sqrt(2)
        drawn = rng.normal(0, noise, trace.size)
        known = _deconvolve(trace, DECAY)
        others = {
            "decay, by a twentieth": _deconvolve(trace, 1.05 * DECAY),
            "decay, by a fifth": _deconvolve(trace, 1.2 * DECAY),
            "noise, a tenth more": _deconvolve(trace + 0.1 * drawn, DECAY),
            "noise, drawn once more": _deconvolve(trace + drawn, DECAY),
        }
        for what, other in others.items():
            changes.setdefault(what, []).append(float(np.sqrt(np.mean((other - known) ** 2)) / known.std()))
    return [
        {
            "what": what,
            "least": min(found),
            "most": max(found),
            "tenth": min(found) / 0.001,
            "tenth_most": max(found) / 0.001,
        }
        for what, found in changes.items()
    ]


def _deconvolve(trace: Floats, decay: float) -> Floats:
    """Return the activity, nowhere negative, whose exponential decay comes nearest to a trace: OASIS."""
    keep = math.exp(-1 / (decay * RATE))
    pools = list[tuple[float, float, int]]()  # value at the start, weight, length
    for value in trace - np.median(trace):
        pool = (float(value), 1.0, 1)
        while pools and pool[0] < pools[-1][0] * keep ** pools[-1][2]:
            start, weight, length = pools.pop()
            factor = keep**length
            total = weight + factor**2 * pool[1]
            pool = (weight * start + factor * pool[1] * pool[0]) / total, total, length + pool[2]
        pools.append(pool)
    calcium = np.concatenate([max(start, 0.0) * keep ** np.arange(length) for start, _, length in pools])
    return np.maximum(calcium - keep * np.concatenate([[0.0], calcium[:-1]]), 0)

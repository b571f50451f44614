"""Choose the codec of each variable by what a sample of its chunks comes to, and predict what the store will take.

The sample depends on the source and the plan alone, and nothing is timed: equal data are stored in the same way, by any
number of workers, and by a conversion that goes on from an interrupted one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..store import SourceError, layout
from ..store.chunk_codecs import ChunkCodec
from ..store.chunks import INDEX_ENTRY_BYTES
from ..store.layout import ArrayLayout, Variable
from ..store.tasks import Progress, Silent
from .formats.source import Source, SourcePart, TrialReader
from .plan import Plan
from .rounding import Limits, round_within

TRIALS_PER_SAMPLE, LEAST_TRIALS, MOST_TRIALS = 16, 4, 24
"""One trial in so many is looked at, but at least and at most so many: a small part of the time of a conversion."""
MOST_ROWS = 8
"""Of the trials that share a chunk."""


@dataclass(frozen=True)
class Sampled:
    """A variable of which chunks are encoded.

    Attributes
    ----------
    codecs
        The codecs to try.
    limits
        How far its values may be from the source, if they are rounded.
    missing
        Numbers of the trials that lack it.
    nbytes
        Bytes of a trial's file.
    """

    variable: Variable
    array: ArrayLayout
    codecs: tuple[ChunkCodec, ...]
    limits: Limits | None
    missing: frozenset[int]
    nbytes: int

    def rows(self, row: int) -> range:
        """Return rows that share the chunks of a row: that one, or the first of all."""
        start = row - row % self.array.chunk[0]
        return range(start, min(start + min(self.array.chunk[0], MOST_ROWS), self.array.shape[0]))


class Encoded(NamedTuple):
    """Bytes of the chunks of a sample with each codec, and of the same values if they were not rounded."""

    rows: int
    sizes: NDArray[np.int64]
    unrounded: NDArray[np.int64]


Found = Mapping[str, Encoded]
"""Variable -> what its chunks came to."""


@dataclass(frozen=True)
class SampleTask:
    """The work of encoding chunks around one trial. Small and picklable.

    Attributes
    ----------
    row
        Row of the trial in the store.
    trial_ids
        Number of the trial in each row that is read.
    share
        Which part of the trial is looked at, from 0 to 1; None for all of it.
    """

    part: SourcePart
    row: int
    trial_ids: Mapping[int, int]
    variables: tuple[Sampled, ...]
    share: float | None

    @property
    def extent(self) -> tuple[int, int]:
        """Bytes and files to be read."""
        counts = [len(one.rows(self.row)) for one in self.variables]
        return sum(n * one.nbytes for n, one in zip(counts, self.variables, strict=True)), sum(counts)


def sample_tasks(plan: Plan, source: Source, limits: Mapping[str, Limits], *, whole: bool = False) -> list[SampleTask]:
    """Return the work of encoding a sample of the chunks.

    Parameters
    ----------
    limits
        Variable -> how far its values may be from the source; of those that are rounded.
    whole
        Encode all chunks of the sampled trials with the codecs of the plan, to predict sizes; otherwise one chunk of
        each with every codec that there is a choice of.

    Notes
    -----
    Trials are spread evenly over those of each tier, since tiers differ: responses of some are withheld.
    """
    survey, chosen = plan.survey, list[Sampled]()
    for variable, array in zip(plan.variables, plan.recorded, strict=True):
        codecs = (array.codec,) if whole else tuple(layout.codec_choices(variable, plan.options.codec))
        spec = survey.specs[variable.name]
        if whole or len(codecs) > 1:
            chosen.append(Sampled(variable, array, codecs, limits.get(variable.name), spec.missing, spec.nbytes))
    rows = sorted(range(len(survey.trial_ids)), key=lambda row: (survey.tiers[row], row))
    count = min(len(rows), max(LEAST_TRIALS, min(len(rows) // TRIALS_PER_SAMPLE, MOST_TRIALS)))
    tasks = list[SampleTask]()
    for number in range(count) if chosen else ():
        share = (number + 0.5) / count
        row = rows[int(share * len(rows))]
        ids = {other: survey.trial_ids[other] for one in chosen for other in one.rows(row)}
        part = source.part(sorted(set(ids.values())))
        tasks.append(SampleTask(part, row, ids, tuple(chosen), None if whole else share))
    return tasks


def encode_sample(work: SampleTask, progress: Progress | None = None) -> Found:
    """Return what the chunks of a task come to, of the variables that can be read: conversion reports the others.

    Parameters
    ----------
    progress
        Listener to bytes and files of the source that were read.

    Notes
    -----
    Run it outside the main thread: see `ChunkCodec.encode`.
    """
    found = dict[str, Encoded]()
    with work.part.open() as reader:
        for one in work.variables:
            try:
                found[one.variable.name] = _encode(work, one, reader)
            except SourceError:
                continue
    (progress or Silent()).advance(*work.extent)
    return found


def choose_codecs(plan: Plan, parts: Sequence[Found]) -> Plan:
    """Return the plan with the codecs that the sample is for.

    Notes
    -----
    The codec is the one with the least product of size squared and time to read (`layout.CodecChoice.cost`): size
    counts twice. Of values that are rounded, codecs are left out with which they would take more than without rounding.
    """
    recorded = list[ArrayLayout]()
    for variable, array in zip(plan.variables, plan.recorded, strict=True):
        costs = layout.codec_choices(variable, plan.options.codec)
        encoded = _total(parts, variable.name)
        codec = array.codec if encoded is None else list(costs)[_best(encoded, np.array([*costs.values()]))]
        recorded.append(dataclasses.replace(array, codec=codec))
    return dataclasses.replace(plan, recorded=tuple(recorded))


def predict_from(plan: Plan, parts: Sequence[Found]) -> Plan:
    """Return the plan with the bytes that its variables will take, as far as they could be read."""
    expected = dict[str, int]()
    for array in plan.recorded:
        encoded = _total(parts, array.path)
        if encoded is not None:
            chunks = array.files * math.prod(array.chunks_per_shard)
            index = INDEX_ENTRY_BYTES * chunks
            expected[array.path] = round(encoded.sizes[0] * array.shape[0] / encoded.rows) + index
    return dataclasses.replace(plan, expected=expected)


def _best(encoded: Encoded, costs: NDArray[np.float64]) -> int:
    """Return the place of the codec to choose."""
    weights, fits = np.sqrt(costs), np.ones(len(costs), bool)
    if encoded.unrounded.any():
        fits = encoded.sizes <= encoded.unrounded[np.argmin(encoded.unrounded * weights)]
    scores = np.where(fits, encoded.sizes * weights, np.inf) if fits.any() else encoded.sizes
    return int(np.argmin(scores))


def _total(parts: Sequence[Found], name: str) -> Encoded | None:
    """Return what all parts of the sample come to; None where none could be read."""
    found = [part[name] for part in parts if name in part]
    if not found:
        return None
    return Encoded(
        sum(one.rows for one in found),
        np.sum([one.sizes for one in found], axis=0),
        np.sum([one.unrounded for one in found], axis=0),
    )


def _encode(work: SampleTask, one: Sampled, reader: TrialReader) -> Encoded:
    """Encode chunks of a variable with each codec."""
    blocks, rows = list(one.array.blocks()), one.rows(work.row)
    if work.share is not None:
        blocks = [blocks[int(work.share * len(blocks))]]
    shape = len(rows), *one.array.chunk[1:]
    # What is rounded is compared with what it would be without, if there is a choice.
    ways = [one.limits, None] if one.limits is not None and len(one.codecs) > 1 else [one.limits]
    made = [[np.full(shape, one.variable.fill_value, one.array.numpy_dtype) for _ in blocks] for _ in ways]
    for place, row in enumerate(rows):
        trial_id = work.trial_ids[row]
        if trial_id in one.missing:
            continue
        view = reader.read(one.variable.name, trial_id).values.transpose(one.variable.axes)
        for limits, chunks in zip(ways, made, strict=True):
            for block, chunk in zip(blocks, chunks, strict=True):
                _store(view[*block, ...], limits, chunk[place, ...])
    sizes = [np.sum([_sizes(one.codecs, chunk) for chunk in chunks], axis=0) for chunks in made]
    return Encoded(len(rows), sizes[0], sizes[1] if len(sizes) > 1 else np.zeros_like(sizes[0]))


def _store(part: NDArray[Any], limits: Limits | None, chunk: NDArray[Any]) -> None:
    """Put a part of a trial into a row of a chunk, as the store holds it; behind short trials stays padding."""
    target = chunk[(*map(slice, part.shape), ...)]
    with np.errstate(over="ignore", invalid="ignore"):
        if limits is None:
            np.copyto(target, part, casting="same_kind")
        elif part.size:
            round_within(part, limits, target)


def _sizes(codecs: Sequence[ChunkCodec], chunk: NDArray[Any]) -> list[int]:
    """Return the bytes of a chunk with each codec."""
    stored = {
        order: np.ascontiguousarray(one.stored_view(chunk)) for order, one in {c.order: c for c in codecs}.items()
    }
    return [sum(part.nbytes for part in codec.encode(stored[codec.order])) for codec in codecs]

"""The measurement behind the codecs: size and speed by chunk length, byte order and compressor.

Chunks of made-up recordings are encoded as the format does, with a checksum each, and read back from the page cache
into batches that are used again: whole trials, random windows of 80 frames, 16 frames with stride 2; of static
recordings random trials. Takes four minutes and 4 GB of memory, for all that is compared is kept encoded.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
from collections.abc import Sequence

from trialpack.store.layout import CHUNK_FRAMES, CODECS, RESPONSES
from trialpack.store.variables import VIDEOS

from . import data
from .codec_samples import STATIC_WORK, WORKS, Candidate, DynamicSample, Effort, StaticSample
from .codings import Coding
from .report import Column, Table, console

LENGTHS: tuple[int | None, ...] = (15, 30, 60, None)
"""Frames in a chunk; None for all."""
CODINGS = (
    Coding("none"),
    *(Coding("lz4", level, "byte") for level in (1, 5, 9)),
    *(Coding("lz4", level, "bit") for level in (1, 5, 9)),
    Coding("lz4", 9),
    *(Coding("zstd", level, "byte") for level in (1, 3, 5, 6, 9)),
    Coding("zstd", 6, "bit"),
    Coding("zstd", 6),
    *(Coding("plain zstd", level) for level in (1, 3)),
    Coding("pcodec", 8),
)
QUICK_LENGTHS = (15, 60)
QUICK_CODINGS = (
    *(coding for coding in CODINGS if coding.of_format),
    Coding("lz4", 5, "bit"),
    Coding("zstd", 1, "byte"),
)
CHOICES = tuple(coding for coding in CODINGS if coding.name in ("lz4", "zstd") and coding.of_format)
"""What `fast` and `small` choose from."""
BOUNDS = {RESPONSES: 0.001, VIDEOS: 0.5}
"""Of values that are rounded, in their units."""
DYNAMIC_TRIALS, STATIC_TRIALS = 12, 128

_SPEEDS = (Column("encode GB/s", "encode", ".2f"), Column("decode GB/s", "decode", ".2f"))
DYNAMIC_COLUMNS = (
    Column("chunk", "length", "d"),
    Column("bytes", "order"),
    Column("compressor", "compressor"),
    Column("chosen", "chosen"),
    Column("size", "size", ".3f"),
    Column("traces", RESPONSES, ".3f"),
    Column("videos", "videos", ".3f"),
    *_SPEEDS,
    Column("whole/s", "whole", ".0f"),
    Column("80 frames/s", "windows", ".0f"),
    Column("16 by 2/s", "stride", ".0f"),
    Column("mean/s", "mean", ".0f"),
    Column("cost", "cost", ".2f"),
)
STATIC_COLUMNS = (
    Column("compressor", "compressor"),
    Column("chosen", "chosen"),
    Column("size", "size", ".3f"),
    Column("images", "images", ".3f"),
    Column(RESPONSES, RESPONSES, ".3f"),
    *_SPEEDS,
    Column("random trials/s", "random", ".0f"),
)
NOTES = (
    "size: encoded bytes, padding included, over .npy bytes. encode, decode GB/s: raw bytes, of one core. "
    "chosen: the name in store.layout.CODECS.",
    "whole/s, 80 frames/s, 16 by 2/s: samples a second, traces and video, checksums computed; "
    "mean/s: their geometric mean. cost: that of the first choice of the codec over it.",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="threads that read (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="turns; the best counts (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.05, metavar="S", help="for each figure, about (%(default)s)")
    parser.add_argument("--mice", default="A,S0", help="letters of published mice, for shapes and dtypes (%(default)s)")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return a table a mouse."""
    mice = options.mice.split(",")
    effort = Effort(options.threads, options.seconds, options.data)
    rounds = 1 if options.quick else options.rounds
    lengths, codings = (QUICK_LENGTHS, QUICK_CODINGS) if options.quick else (LENGTHS, CODINGS)
    tables = list[Table]()
    for mouse in mice:
        if mouse[0] in "SP":
            sample = StaticSample(data.recording(options.data, mouse, STATIC_TRIALS), effort)
            tables.append(_static(sample, mouse, codings, rounds))
        else:
            tree = data.recording(options.data, mouse, DYNAMIC_TRIALS)
            tables.append(_dynamic(DynamicSample(tree, effort), mouse, lengths, codings, rounds))
            rounded = DynamicSample(tree, effort, BOUNDS)
            tables.append(_dynamic(rounded, f"{mouse}, rounded", (CHUNK_FRAMES,), CHOICES, rounds))
    return tables


def _dynamic(
    sample: DynamicSample, mouse: str, lengths: Sequence[int | None], codings: Sequence[Coding], rounds: int
) -> Table:
    candidates = list[Candidate]()
    for length, coding in itertools.product(lengths, codings):
        console.print(f"  mouse {mouse}: encoding {length or 'all'} frames, {coding.label}", style="dim")
        candidates += sample.encode(length or sample.frames, coding)
    _measure(sample, mouse, candidates, rounds)
    rows = [candidate.row(sample.arrays) for candidate in candidates]
    for row in rows:
        row["mean"] = statistics.geometric_mean([row[work.name] for work in WORKS])
    for name, (first, *_) in CODECS.items():
        chosen = [row for row in rows if name in (row["chosen"] or "").split(", ")]
        base = next((row for row in chosen if row["format"] == (first.compressor, first.frame_major)), None)
        for row in chosen if base else ():
            row["cost"] = base["mean"] / row["mean"]
    rows.sort(key=lambda row: row["mean"], reverse=True)
    return Table(f"Codecs, mouse {mouse}, {sample.dtype}", DYNAMIC_COLUMNS, rows, NOTES, mouse)


def _static(sample: StaticSample, mouse: str, codings: Sequence[Coding], rounds: int) -> Table:
    candidates = [sample.encode(coding) for coding in codings]
    _measure(sample, mouse, candidates, rounds)
    rows = [candidate.row(sample.arrays) for candidate in candidates]
    rows.sort(key=lambda row: row[STATIC_WORK.name], reverse=True)
    chunks = " and ".join(f"{count} {name}" for name, count in sample.per_chunk.items())
    title = f"Codecs, mouse {mouse}, {sample.dtype}; {chunks} in a chunk"
    return Table(title, STATIC_COLUMNS, rows, NOTES[:1], mouse)


def _measure(sample: DynamicSample | StaticSample, mouse: str, candidates: list[Candidate], rounds: int) -> None:
    """Measure all in turn, in another order each time: what disturbs the machine for a while disturbs none alone."""
    for turn in range(rounds):
        console.print(f"  mouse {mouse}: decoding, round {turn + 1} of {rounds}", style="dim")
        for candidate in random.Random(turn).sample(candidates, len(candidates)):
            sample.measure(candidate)

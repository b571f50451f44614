"""How a bound on memory is spent: on what is kept, on scratch, and on batches that are read ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...store import OptionError, Problem
from .mouse_stream import MouseStream

Cache = Literal["auto", "none"]
_SHARE = 16
"""Variables of which several trials share a chunk are kept if they take no more than this part of the memory."""
_LEAST_AHEAD = 1
_MOST_AHEAD = 64
"""More than these even out nothing, and each takes a little memory that is not counted."""
_GOOD_AHEAD = 4
"""So many are read ahead before variables are kept, unless all can be: then reading takes no time."""
_SPARE = 1
"""Slots that are neither being filled nor in the consumer's hands."""


@dataclass(frozen=True)
class Budget:
    """What memory is spent on, in bytes.

    Attributes
    ----------
    held_nbytes
        What is held in any case: indexes of stores, what values are normalized by, scratch of threads.
    kept
        Names of the variables of each mouse that stay in memory.
    kept_nbytes
        What they take.
    slot_nbytes
        Bytes of one batch.
    ahead
        How many batches are read before they are asked for.
    shards_nbytes
        What shards that are mixed take on their way from an object store, until the last batch has its samples.
    """

    held_nbytes: int
    kept: tuple[tuple[str, ...], ...]
    kept_nbytes: int
    slot_nbytes: int
    ahead: int
    shards_nbytes: int = 0


def plan_memory(
    memory: int,
    streams: Sequence[MouseStream],
    slot_nbytes: int,
    ahead_nbytes: int,
    threads: int,
    cache: Cache,
    in_transfer: int,
    shards_nbytes: int = 0,
) -> Budget:
    """Divide memory.

    Parameters
    ----------
    memory
        Bytes, beside the batches that the consumer holds.
    slot_nbytes
        Bytes of the largest batch.
    ahead_nbytes
        Bytes of it that are on their way from an object store, while it is being read.
    in_transfer
        How many slots a device copies from, after they were read and before the consumer has the batch.
    shards_nbytes
        Bytes that are needed for the shards that are mixed; fewer will do where everything is kept.

    Raises
    ------
    OptionError
        It does not suffice for reading one batch ahead, or for these shards.
    """
    fixed = threads * max(stream.scratch_nbytes for stream in streams) + sum(stream.held_nbytes for stream in streams)
    fixed += in_transfer * slot_nbytes
    each = slot_nbytes + ahead_nbytes
    least = fixed + _LEAST_AHEAD * each + _SPARE * slot_nbytes
    if least > memory:
        what = f"memory of {memory:,} bytes does not suffice: {threads} threads and batches of {each:,} bytes"
        advice = "give more memory, or choose a smaller batch_size, a shorter window or fewer threads"
        raise OptionError(Problem("TrialLoader", f"{what} take {least:,}", advice))
    kept = _kept(memory, memory - least, streams, cache, (_GOOD_AHEAD - _LEAST_AHEAD) * each + shards_nbytes)
    kept_nbytes = _nbytes(streams, kept)
    free = memory - fixed - kept_nbytes - _SPARE * slot_nbytes
    shards = min(shards_nbytes, free - _LEAST_AHEAD * each)
    if shards < shards_nbytes and any(set(one) < set(stream.names) for one, stream in zip(kept, streams, strict=True)):
        what = f"memory of {memory:,} bytes does not suffice: {threads} threads, batches of {each:,} bytes, and shards"
        advice = "give more memory, or choose a smaller shuffle_shards"
        needed = memory + shards_nbytes - shards
        raise OptionError(Problem("TrialLoader", f"{what} of {shards_nbytes:,} take {needed:,}", advice))
    ahead = min((free - shards) // each, _MOST_AHEAD)
    return Budget(fixed, kept, kept_nbytes, slot_nbytes, ahead, shards)


def _kept(
    memory: int, free: int, streams: Sequence[MouseStream], cache: Cache, reserve: int
) -> tuple[tuple[str, ...], ...]:
    if cache == "auto":
        everything = tuple(stream.names for stream in streams)
        return everything if _nbytes(streams, everything) <= free else _smallest_first(streams, free - reserve)
    # To decode a chunk of many trials for each of them would take longer than all the rest.
    sharing = tuple(stream.sharing for stream in streams)
    return sharing if _nbytes(streams, sharing) <= min(free, memory // _SHARE) else tuple(() for _ in streams)


def _smallest_first(streams: Sequence[MouseStream], free: int) -> tuple[tuple[str, ...], ...]:
    """Return, for each mouse, the variables that fit, the smallest first."""
    sizes = [(stream.kept_nbytes([name]), mouse, name) for mouse, stream in enumerate(streams) for name in stream.names]
    kept = [set[str]() for _ in streams]
    for nbytes, mouse, name in sorted(sizes):
        if nbytes > free:
            break
        free -= nbytes
        kept[mouse].add(name)
    return tuple(tuple(sorted(names)) for names in kept)


def _nbytes(streams: Sequence[MouseStream], names: Sequence[tuple[str, ...]]) -> int:
    return sum(stream.kept_nbytes(chosen) for stream, chosen in zip(streams, names, strict=True))

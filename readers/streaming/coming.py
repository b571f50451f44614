"""The batches that were not started yet, and what is asked for of them in an object store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from itertools import chain

from ...store.ahead import GAP, Range, Span
from ..sampling import BatchPlan
from .mouse_stream import MouseStream

_Shard = tuple[int, int, int]
"""Mouse, how often it was gone through before, shard."""
_Spans = dict[int, list[Span]]
"""Place of a batch -> chunks that it needs."""


class Coming:
    """Batches that are to be started, in their order.

    Parameters
    ----------
    plans
        The batches.
    room
        Bytes of shards that may be on their way, or there.

    Notes
    -----
    Where some shards are mixed at a time, all that batches need of a shard is asked for at once, neighbours together:
    of each mouse of the shards that are in use and the next one, as far as there is room. Where there is none, batches
    are not started before it is their turn, and ask for what they need alone.
    """

    def __init__(self, streams: Sequence[MouseStream], plans: Iterator[BatchPlan], room: int) -> None:
        self._streams, self._room, self._place = streams, room, 0
        self._ranges, self._uses, self._newest = dict[int, list[Range]](), dict[_Shard, list[int]](), dict[int, int]()
        self._needed_next: tuple[_Spans, int] | None = None
        first = next(plans, None)
        self._plans = list[BatchPlan]()
        self._coming = iter(()) if first is None else chain([first], plans)
        if first is not None and first.number is not None:
            self._plans = list(self._coming)
            self._coming = iter(self._plans)
            self._note_uses()

    def take(self, executor: Executor, *, ahead: bool) -> tuple[BatchPlan, list[Range]] | None:
        """Return a batch, and what was asked for of it, to be given back to its stream.

        Parameters
        ----------
        ahead
            Whether others that were started are not there yet.

        Returns
        -------
        tuple or None
            None behind the last one, and if it is to be taken ahead while there is no room for its shards.
        """
        if self._uses:
            self._ask_for_shards(executor)
        if ahead and self._uses and next(iter(self._uses.values()))[0] <= self._place:
            return None
        plan = next(self._coming, None)
        if plan is None:
            return None
        found = self._ranges.pop(self._place, []) + self._streams[plan.mouse].request(plan, executor)
        self._place += 1
        return plan, found

    def close(self) -> None:
        """Let go of what was asked for of batches that were not started."""
        for place, ranges in self._ranges.items():
            self._streams[self._plans[place].mouse].release(ranges)
        self._ranges.clear()

    def _note_uses(self) -> None:
        """Note which batches need which shards that are not on disk."""
        for place, plan in enumerate(self._plans):
            if self._streams[plan.mouse].ahead is not None:
                for shard in set(self._streams[plan.mouse].shards(plan).tolist()):
                    self._uses.setdefault((plan.mouse, plan.number or 0, shard), []).append(place)

    def _ask_for_shards(self, executor: Executor) -> None:
        """Ask for those shards that are due, in the order in which batches need them."""
        due = dict[int, _Spans]()
        free = self._room - sum(stream.ahead.nbytes for stream in self._streams if stream.ahead is not None)
        while self._uses:
            shard, places = next(iter(self._uses.items()))
            # Of each mouse one that is not in use yet.
            if self._newest.get(shard[0], 0) > self._place:
                break
            spans, nbytes = self._needed(shard, places, executor)
            if free < nbytes <= self._room:
                break
            del self._uses[shard]
            self._needed_next, self._newest[shard[0]] = None, places[0]
            if nbytes <= self._room:
                free -= nbytes
                for place, some in spans.items():
                    due.setdefault(shard[0], {}).setdefault(place, []).extend(some)
        for mouse, spans in due.items():
            self._ask(mouse, {place: spans[place] for place in sorted(spans) if place >= self._place}, executor)

    def _needed(self, shard: _Shard, places: Sequence[int], executor: Executor) -> tuple[_Spans, int]:
        """Return what batches need of the next shard, and its bytes; nothing if it comes to the disk, now asked for."""
        if self._needed_next is None:
            stream = self._streams[shard[0]]
            assert stream.ahead is not None
            every = {place: stream.spans(self._plans[place], shard[2]) for place in places}
            spans = {place: stream.ahead.request_files(some, executor) for place, some in every.items()}
            nbytes = sum(size for _, _, size in set(chain.from_iterable(spans.values())))
            self._needed_next = spans, int((1 + GAP) * nbytes)
        return self._needed_next

    def _ask(self, mouse: int, spans: _Spans, executor: Executor) -> None:
        ahead = self._streams[mouse].ahead
        assert ahead is not None
        joint = ahead.request_ranges(chain.from_iterable(spans.values()), executor)
        for place, some in spans.items():
            self._ranges.setdefault(place, []).extend(ahead.request_ranges(some, executor))
        ahead.release(joint)

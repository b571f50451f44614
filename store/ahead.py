"""Chunks of a store that are asked for before they are needed, since each request takes a round trip."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future

from .objects import Requests

GAP = 0.05
"""Ranges are joined as long as what lies between them is no more than this part of what is wanted."""
_MOST_JOINED = 1 << 22
"""Bytes up to which ranges are joined: several requests that are not so large are quicker than one that is."""

Span = tuple[str, int, int]
"""Name of a file, offset and size of a chunk in it."""


class Range:
    """Bytes of an object that are on their way, or there.

    Attributes
    ----------
    spans
        The chunks in it, in order.
    nbytes
        How many bytes that are.
    count
        What the request takes.
    users
        How many batches wait for it or use it.
    data
        The bytes.
    """

    def __init__(self, spans: Sequence[Span], fetch: Fetch, executor: Executor) -> None:
        name, self.start, _ = spans[0]
        self.spans, self.count, self.users = spans, Requests(), 0
        self.nbytes = spans[-1][1] + spans[-1][2] - self.start
        self.data: Future[memoryview] = executor.submit(fetch, name, (self.start, self.nbytes), self.count)


Fetch = Callable[[str, tuple[int, int], Requests], memoryview]
"""Reads a part of an object, and counts what that took."""


class Ahead:
    """Chunks that are asked for before they are needed.

    Parameters
    ----------
    fetch
        Reads a part of an object, and counts what that took.
    comes
        Returns whether a file comes to the disk as a whole, and asks for it.
    to_disk
        Whether files come to the disk as long as there is room.

    Attributes
    ----------
    nbytes
        Bytes of all that is on its way, or there.
    """

    def __init__(self, fetch: Fetch, comes: Callable[[str, Executor], bool], *, to_disk: bool) -> None:
        self._fetch, self._comes, self._lock, self.to_disk = fetch, comes, threading.Lock(), to_disk
        self._ranges, self._whole, self.nbytes = dict[tuple[str, int], Range](), Requests(), 0

    def request(self, wanted: Iterable[Span], executor: Executor) -> list[Range]:
        """Ask for chunks as `request_ranges` does, but for whole files where these come to the disk."""
        return self.request_ranges(self.request_files(wanted, executor), executor)

    def request_files(self, wanted: Iterable[Span], executor: Executor) -> list[Span]:
        """Ask for the whole files of chunks, where these come to the disk; return the chunks of others."""
        spans = list(wanted)
        whole = {name for name in {span[0] for span in spans} if self._comes(name, executor)}
        return [span for span in spans if span[0] not in whole]

    def request_ranges(self, wanted: Iterable[Span], executor: Executor) -> list[Range]:
        """Ask for chunks, neighbours together, unless they are on their way already; what is wanted first comes first.

        Returns
        -------
        list of Range
            What has the chunks; to be given back to `release`.
        """
        used, new = dict[int, Range](), list[Span]()
        places = {span: place for place, span in enumerate(dict.fromkeys(wanted))}
        with self._lock:
            for span in sorted(places):
                known = self._ranges.get(span[:2])
                if known is None:
                    new.append(span)
                else:
                    used[id(known)] = known
            for near in sorted(joined(new), key=lambda near: min(places[span] for span in near)):
                one = Range(near, self._fetch, executor)
                used[id(one)] = one
                self.nbytes += one.nbytes
                self._ranges |= {span[:2]: one for span in near}
            for one in used.values():
                one.users += 1
        return list(used.values())

    def release(self, ranges: Sequence[Range]) -> Requests:
        """Let go of ranges, and return what those took that nobody uses any more, and whole files since then."""
        with self._lock:
            total, self._whole = self._whole, Requests()
            for one in ranges:
                one.users -= 1
                if not one.users:
                    one.data.cancel()
                    total.add(one.count)
                    self.nbytes -= one.nbytes
                    for span in one.spans:
                        del self._ranges[span[:2]]
        return total

    def count(self, requests: Requests) -> None:
        """Count what a part of a whole file took."""
        with self._lock:
            self._whole.add(requests)

    def find(self, name: str, offset: int, size: int) -> memoryview | None:
        """Return a chunk that was asked for, as soon as it is there; None of one that was not."""
        one = self._ranges.get((name, offset))
        if one is None:
            return None
        return one.data.result()[offset - one.start : offset - one.start + size]


def joined(spans: Sequence[Span]) -> list[list[Span]]:
    """Join neighbours among chunks that are in order, so that each list is one request.

    Examples
    --------
    >>> joined([("a", 0, 100), ("a", 100, 50), ("a", 200, 10), ("b", 0, 10)])
    [[('a', 0, 100), ('a', 100, 50)], [('a', 200, 10)], [('b', 0, 10)]]
    """
    found, stop, useful = list[list[Span]](), 0, 0
    for span in spans:
        name, offset, size = span
        last = found[-1] if found else None
        near = last is not None and name == last[0][0] and offset - stop <= GAP * (useful + size)
        if last is not None and near and offset + size - last[0][1] <= _MOST_JOINED:
            last.append(span)
            useful += size
        else:
            found.append([span])
            useful = size
        stop = offset + size
    return found

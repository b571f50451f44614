"""What torch's profiler says of copies to a device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def copies_of(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a profile says of the copies to a device.

    Parameters
    ----------
    events
        Of a trace as torch's profiler writes it: ``cat``, ``name``, ``ts`` and ``dur`` in microseconds, ``args``.

    Returns
    -------
    dict
        How many ``copies``; their ``ms``; their ``rate`` in GB/s; the part of that time whose copies are out of
        ``pinned`` memory; the ``overlap``, which is the part in which any kernel runs.
    """
    spans: dict[str, list[tuple[float, float]]] = {"kernel": [], "pinned": [], "all": []}
    nbytes = 0
    for event in events:
        span = (event.get("ts", 0.0), event.get("ts", 0.0) + event.get("dur", 0.0))
        if event.get("cat") == "kernel":
            spans["kernel"].append(span)
        elif event.get("cat") == "gpu_memcpy" and "HtoD" in event["name"]:
            spans["all"].append(span)
            nbytes += event.get("args", {}).get("bytes", 0)
            if "Pinned" in event["name"]:
                spans["pinned"].append(span)
    copying = _length(spans["all"])
    if not copying:
        return {"copies": 0}
    together = copying + _length(spans["kernel"]) - _length(spans["all"] + spans["kernel"])
    return {
        "copies": len(spans["all"]), "ms": copying / 1e3, "rate": nbytes / copying / 1e3,
        "pinned": _length(spans["pinned"]) / copying, "overlap": together / copying,
    }  # fmt: skip


def _length(spans: Sequence[tuple[float, float]]) -> float:
    """Return how long the union of some spans is."""
    length, until = 0.0, float("-inf")
    for begin, end in sorted(spans):
        length += max(0.0, end - max(begin, until))
        until = max(until, end)
    return length

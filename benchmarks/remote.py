"""Streaming from an object store against raw requests for the same ranges; shards mixed; opening; and shards on disk.

The store is served by a process on loopback that is as slow as a network: so many bytes a second for each connection,
or so many milliseconds before each answer, or neither. Raw requests are those that the stream made, of the same client,
as many in flight; their bytes are thrown away. Both run in turn, the uncounted first round excepted, and of both the
processor's seconds are taken, too, without those of the server.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from trialpack import TrialLoader, convert_mouse, open_mouse
from trialpack.store import objects
from trialpack.store.objects import Requests

from . import data
from .report import Column, Table

MOUSE, STATIC, IMAGES = "A", "S0", 3000
_ROOT = Path(__file__).parents[1]
_MB = 1_000_000


@dataclass(frozen=True)
class Network:
    """A network: seconds before each answer, bytes a second of a connection, requests in flight."""

    name: str
    delay: float
    rate: float
    in_flight: int


NETWORKS = (
    Network("8 MB/s a connection", 0.0, 8 * _MB, 8),
    Network("50 ms, 50 MB/s a connection", 0.05, 50 * _MB, 16),
    Network("limited by the processor", 0.0, 0.0, 8),
)
_STREAMS = (
    Column("network", "network"),
    Column("in flight", "in_flight", "d"),
    Column("requests", "requests", "d"),
    Column("stored MB", "mb", ".0f"),
    Column("raw: best s", "raw", ".2f"),
    Column("stream: best s", "stream", ".2f"),
    Column("share of raw", "share", ".2f"),
    Column("median", "median", ".2f"),
    Column("CPU s a stored GB, raw", "raw_cpu", ".2f"),
    Column("stream", "stream_cpu", ".2f"),
)
_MIXED = (
    Column("order", "order"),
    Column("requests", "requests", "d"),
    Column("stored MB", "mb", ".0f"),
    Column("best s", "best", ".2f"),
    Column("median s", "median", ".2f"),
    Column("first batch s", "first", ".2f"),
    Column("spread", "spread", ".2f"),
    Column("pairs of one shard", "same", ".2f"),
)
_OTHERS = (Column("what", "what"), Column("best", "best", ".3f"), Column("median", "median", ".3f"))
_SPENT = tuple[float, float]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="counted repetitions (%(default)s)")
    parser.add_argument("--network", type=int, choices=range(len(NETWORKS)), help="only this one")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return a table of streams, and one of opening and of the disk."""
    trials, neurons = (12, 500) if options.quick else (48, data.NEURONS)
    repeats = 1 if options.quick else options.repeats
    tree = data.recording(options.data, MOUSE, trials, neurons)
    chosen = NETWORKS if options.network is None else [NETWORKS[options.network]]
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        store = convert_mouse(tree, Path(folder) / "stores", verify=False).store
        rows = [_streams(store, network, repeats) for network in chosen]
        others = (
            [] if options.network is not None else [*_opening(store, repeats), *_kept(store, Path(folder), repeats)]
        )
    sizes = {"trials": trials, "neurons": neurons}
    tables = [Table("Streaming from an object store", _STREAMS, rows, (__doc__ or "",), "remote", sizes)]
    if options.network is None:
        images = 60 if options.quick else IMAGES
        tree = data.recording(options.data, STATIC, images, neurons)
        with tempfile.TemporaryDirectory(dir=options.data) as folder:
            rows = _mixed(convert_mouse(tree, Path(folder) / "stores", verify=False).store, repeats)
        sizes = {"trials": images, "neurons": neurons}
        tables.append(Table("Images in random order, 50 ms a round trip", _MIXED, rows, (), "mixed", sizes))
    return [
        *tables,
        *([Table("Opening, and shards kept on disk", _OTHERS, others, (), "opened", sizes)] if others else []),
    ]


@contextlib.contextmanager
def served(folder: Path, network: Network) -> Generator[dict[str, Any]]:
    """Serve the stores in a folder by a process; give the options to reach them."""
    command = [sys.executable, "-m", "tests.object_server", str(folder), str(network.delay), str(network.rate)]
    with subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdin is not None
        endpoint = server.stdout.readline().strip()
        try:
            yield {"endpoint": endpoint, "region": "us-east-1", "access_key_id": "a", "secret_access_key": "b"}
        finally:
            server.stdin.close()


def _loader(mouse: Any, network: Network, **options: Any) -> TrialLoader:
    chosen: dict[str, Any] = {"tier": None, "batch_size": 8, "withheld": "zeros", "output": "numpy", "cache": "none"}
    return TrialLoader(mouse, shuffle=True, in_flight=network.in_flight, **{**chosen, **options})


def _epoch(loader: TrialLoader) -> None:
    loader.set_epoch(0)
    for batch in loader:
        del batch


def _spent(call: Callable[[], object]) -> _SPENT:
    """Return the seconds that a call takes, and those of the processor."""
    begun, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - begun, time.process_time() - cpu


def _streams(store: Path, network: Network, repeats: int) -> dict[str, Any]:
    with served(store.parent, network) as reach:
        loader = _loader(open_mouse(f"s3://mice/{store.name}", storage_options=reach), network)
        asked, read = list[tuple[Any, ...]](), objects.read

        def noting(*arguments: Any) -> Any:
            asked.append(arguments[:4])
            return read(*arguments)

        with mock.patch.object(objects, "read", noting):
            _epoch(loader)

        def raw() -> None:
            with ThreadPoolExecutor(network.in_flight) as pool:
                for future in [pool.submit(read, *one, Requests()) for one in asked]:
                    future.result()

        calls = {"raw": raw, "stream": lambda: _epoch(loader)}
        found: dict[str, list[_SPENT]] = {name: [] for name in calls}
        for turn in range(repeats + 1):
            for name in list(calls) if turn % 2 else reversed(list(calls)):
                spent = _spent(calls[name])
                if turn:
                    found[name].append(spent)
    nbytes = sum(span[1] for *_, span in asked)
    best = {name: min(one[0] for one in spent) for name, spent in found.items()}
    cpu = {f"{name}_cpu": min(one[1] for one in spent) * 1e9 / nbytes for name, spent in found.items()}
    median = statistics.median(raw[0] / stream[0] for raw, stream in zip(found["raw"], found["stream"], strict=True))
    sizes = {"requests": len(asked), "mb": nbytes / _MB, "in_flight": network.in_flight}
    return {"network": network.name, **sizes, **best, "share": best["raw"] / best["stream"], "median": median, **cpu}


def _mixed(store: Path, repeats: int) -> list[dict[str, Any]]:
    network, rows = NETWORKS[1], list[dict[str, Any]]()
    with served(store.parent, network) as reach:
        mouse = open_mouse(f"s3://mice/{store.name}", storage_options=reach)
        orders = {"all mixed": None, "2 shards mixed": 2, "1 shard mixed": 1}
        loaders = {name: _loader(mouse, network, batch_size=64, shuffle_shards=n) for name, n in orders.items()}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders}
        for turn in range(repeats + 1):
            for name in list(loaders) if turn % 2 else reversed(list(loaders)):
                found[name].append(_first_and_whole(loaders[name]))
        for name, loader in loaders.items():
            times, requests, quality = found[name][1:], loader.stats.requests, loader.describe(probe=0).quality
            whole, first = [one[1] for one in times], min(one[0] for one in times)
            row = {"order": name, "requests": requests.made, "mb": requests.nbytes / _MB, "first": first}
            row |= {"best": min(whole), "median": statistics.median(whole)}
            rows.append(row | {"spread": quality.spread, "same": quality.same_shard})
    return rows


def _first_and_whole(loader: TrialLoader) -> tuple[float, float]:
    """Return after how many seconds the first batch of an epoch came, and the last."""
    loader.set_epoch(0)
    begun, first = time.perf_counter(), 0.0
    for batch in loader:
        first = first or time.perf_counter() - begun
        del batch
    return first, time.perf_counter() - begun


def _opening(store: Path, repeats: int) -> list[dict[str, Any]]:
    network, opens, batches = NETWORKS[1], list[float](), list[float]()
    with served(store.parent, network) as reach:
        for _ in range(repeats + 1):
            begun = time.perf_counter()
            mouse = open_mouse(f"s3://mice/{store.name}", storage_options=reach)
            opens.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            next(iter(_loader(mouse, network, batch_size=4, window=30)))
            batches.append(time.perf_counter() - begun)
    return [
        _row("opening, 50 ms a round trip (s)", opens),
        _row("its first batch, 4 windows of 30 frames (s)", batches),
    ]


def _kept(store: Path, folder: Path, repeats: int) -> list[dict[str, Any]]:
    network = NETWORKS[2]
    with served(store.parent, network) as reach:
        mouse = open_mouse(f"s3://mice/{store.name}", storage_options=reach, cache_dir=folder / "cache")
        loaders = [_loader(open_mouse(store), network), _loader(mouse, network)]
        rates = list[float]()
        for _ in range(2 * repeats + 1):
            local, kept = (_spent(lambda one=one: _epoch(one))[0] for one in loaders)
            rates.append(local / kept)
    return [_row("an epoch of shards kept on disk over one of the local store (rate)", rates, max)]


def _row(what: str, values: list[float], best: Callable[[list[float]], float] = min) -> dict[str, Any]:
    counted = list(itertools.islice(values, 1, None))
    return {"what": what, "best": best(counted), "median": statistics.median(counted)}

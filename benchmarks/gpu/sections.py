"""Feed a GPU: the share of time that it computes, copies, pinned memory, and work that is left to it.

Five minutes, on a machine with a CUDA device; anywhere else it says that there is none, and measures nothing. With
``--device cpu`` everything runs but what needs CUDA, to check it. The model is that of `training`, with more channels.
It is fed by trialpack and, in turn, by one batch that is on the device already: a step with that takes as long as it
computes. The part that this is of a step with trialpack is wanted to be 95 %.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from trialpack import Mouse, TrialLoader, convert_mouse, open_mouse
from trialpack.readers import ScaleByStd, Standardize

from .. import data
from ..report import Column, Table, console
from .kept import KeptTrials
from .steps import (
    COMPILED,
    EAGER,
    GRAPH,
    LOADER,
    MEASURED,
    RESIDENT,
    Batch,
    Place,
    attempted,
    compared,
    endless,
    make_step,
    needing_cuda,
    variables,
)
from .trace import copies_of

SMALL = (36, 64)
"""Height and width, in pixels, that images are downscaled to."""
STATE, APART = Column("", "state"), Column("apart", "apart", ".1e")
STEPS = (
    Column("of", "of"),
    Column("fed by", "what"),
    Column("best ms/step", "ms", ".2f"),
    Column("median ms", "ms_median", ".2f"),
    Column("best share computing", "share", ".1%"),
    Column("median", "share_median", ".1%"),
    STATE,
)
Workload = tuple[Mouse, dict[str, Any]]
"""A mouse, and arguments of its loader."""
Rows = list[dict[str, Any]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--device", default="cuda", help="torch's name of the device (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (%(default)s)")


def run(options: argparse.Namespace) -> list[Table]:
    """Measure, and return the tables of all sections; the first one says where, or why not."""
    device = _device(options.device)
    columns = (
        Column("device", "what"),
        Column("name", "name"),
        Column("torch", "torch"),
        Column("CUDA", "cuda"),
        STATE,
    )
    tables = [Table("Device", columns, [device], name="device")]
    if device["state"] != MEASURED:
        console.print(f"nothing is measured: {device['state']}")
        return tables
    torch: Any = importlib.import_module("torch")
    there = torch.empty(0, device=options.device).device  # with its number
    place = Place(torch, there, *((2, 0.02, 1) if options.quick else (32, options.seconds, 3)))
    if place.cuda:
        torch.cuda.set_device(there)
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        workloads = _workloads(options, Path(folder))
        for section in (_feeding, _copies, _pinned, _left, _kept, _compiled):
            begun = time.perf_counter()
            tables.append(section(place, workloads))
            console.print(f"{tables[-1].title}: {time.perf_counter() - begun:.0f} s", style="dim")
    return tables


def _device(name: str) -> dict[str, Any]:
    """Return the name of a device and its versions, or that it does not exist."""
    try:
        torch: Any = importlib.import_module("torch")
        torch.empty(0, device=name)
    except (ImportError, RuntimeError, AssertionError) as error:
        return {"what": name, "state": f"there is no device {name!r} ({str(error).partition(chr(10))[0]})"}
    cuda = torch.device(name).type == "cuda"
    found = torch.cuda.get_device_name(name) if cuda else None
    return {"what": name, "name": found, "torch": torch.__version__, "cuda": torch.version.cuda, "state": MEASURED}


def _workloads(options: argparse.Namespace, folder: Path) -> dict[str, Workload]:
    sizes = ((8, 16, 50), (32, 64, 50)) if options.quick else ((48, 240, data.NEURONS), (1500, 6000, data.NEURONS))
    whole, windows, images = (2, 4, 8) if options.quick else (4, 8, 128)
    dynamic, static = (_mouse(options.data, folder, *one) for one in zip(("A", "S0"), sizes, strict=True))
    over = "trials_and_frames"
    videos: dict[str, Any] = {"normalize": {"videos": Standardize(over=over), "responses": ScaleByStd(over=over)}}
    still: dict[str, Any] = {"normalize": {"images": Standardize(), "responses": ScaleByStd()}}
    common = {"tier": "train", "shuffle": True, "drop_last": True, "cache": "none", "device": options.device}
    return {
        "whole trials": (dynamic, videos | common | {"batch_size": whole}),
        "windows": (dynamic, videos | common | {"batch_size": windows, "window": 30, "windows": "every"}),
        "images": (static, still | common | {"batch_size": images}),
    }


def _mouse(samples: Path, folder: Path, mouse: str, size: tuple[int, int, int]) -> Mouse:
    """Return a mouse of many trials that has the files of fewer: its epochs are to be as long as real ones."""
    files, trials, neurons = size
    tree = data.linked(data.recording(samples, mouse, files, neurons, train=True), folder / mouse, trials)
    return open_mouse(convert_mouse(tree, folder, verify=False).store)


def _loader(workload: Workload, **options: Any) -> TrialLoader:
    mouse, common = workload
    return TrialLoader(mouse, **{"variables": variables(mouse)} | common | options)


def _feeds(first: Batch, loader: TrialLoader) -> dict[str, Callable[[], Iterator[Batch]]]:
    return {RESIDENT: lambda: itertools.repeat(first), LOADER: partial(endless, loader)}


def _feeding(place: Place, workloads: Mapping[str, Workload]) -> Table:
    """Feed whole trials, windows and images, and compare them with those on the processor."""

    def measure(workload: Workload) -> Rows:
        loader = _loader(workload)
        first, expected = loader.peek(), _loader(workload, device="cpu").peek()
        facts = {"mb": sum(value.nbytes for value in first.values()) / 1e6, "apart": _apart(first, expected)}
        rows = compared(place, make_step(place, workload[0], first), _feeds(first, loader))
        return [row | facts for row in rows]

    rows: Rows = []
    for name, workload in workloads.items():
        rows += attempted(partial(measure, workload), of=name)
    note = "apart: the largest difference from a value of a batch on the processor, over the largest value."
    columns = (*STEPS[:-1], Column("MB/step", "mb", ".1f"), APART, STATE)
    return Table("Feeding", columns, rows, (note,), "feeding", {"channels": place.channels, "turns": place.turns})


def _copies(place: Place, workloads: Mapping[str, Workload]) -> Table:
    """Profile how much of the time that batches are copied the device computes."""
    columns = (
        Column("of", "of"), Column("copies", "copies", "d"), Column("ms", "ms", ".2f"), Column("GB/s", "rate", ".1f"),
        Column("out of pinned memory", "pinned", ".1%"), Column("while computing", "overlap", ".1%"), STATE,
    )  # fmt: skip
    rows: Rows = []
    for name, workload in workloads.items():
        rows += needing_cuda(place, lambda workload=workload: [_profiled(place, workload)], of=name)
    return Table("Copies to the device, from a profile", columns, rows, name="copies")


def _profiled(place: Place, workload: Workload) -> dict[str, Any]:
    loader, profiler = _loader(workload), place.torch.profiler
    step, batches = make_step(place, workload[0], loader.peek()), endless(loader)
    for batch in itertools.islice(batches, 5):
        step(batch)
    place.wait()
    with profiler.profile(activities=[profiler.ProfilerActivity.CUDA]) as profile:
        for batch in itertools.islice(batches, 20):
            step(batch)
        place.wait()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(trace))
        return copies_of(json.loads(trace.read_text(encoding="utf-8"))["traceEvents"])


def _pinned(place: Place, workloads: Mapping[str, Workload]) -> Table:
    """Measure what the memory of a slot takes of the system, and how fast it is copied."""
    from trialpack.readers.streaming.tensors import pinned

    torch, nbytes = place.torch, _loader(workloads["whole trials"])._pipeline.ring.nbytes
    made: dict[str, Callable[[], Any]] = {
        "not pinned": lambda: torch.empty(nbytes, dtype=torch.uint8),
        "pinned by torch": lambda: torch.empty(nbytes, dtype=torch.uint8, pin_memory=True),
        "a slot": lambda: torch.from_numpy(pinned(place.device, nbytes)),
    }

    def measure(make: Callable[[], Any]) -> Rows:
        before = torch.cuda.host_memory_stats()["allocated_bytes.allocated"]
        source, there = make().fill_(1), torch.empty(nbytes, dtype=torch.uint8, device=place.device)
        # Where torch's own allocator took nothing, memory is as long as it was asked for.
        taken = (torch.cuda.host_memory_stats()["allocated_bytes.allocated"] - before) or nbytes
        seconds = list[float]()
        for _ in range(20):
            place.wait()
            begun = time.perf_counter()
            there.copy_(source, non_blocking=True)
            place.wait()
            seconds.append(time.perf_counter() - begun)
        return [{"taken": taken / 1e6, "pinned": source.is_pinned(), "best": nbytes / min(seconds) / 1e9}]

    rows: Rows = []
    for name, make in made.items():
        rows += needing_cuda(place, partial(measure, make), what=name, wanted=nbytes / 1e6)
    columns = (
        Column("memory", "what"), Column("MB wanted", "wanted", ".1f"), Column("MB taken", "taken", ".1f"),
        Column("is_pinned", "pinned"), Column("best GB/s", "best", ".1f"), STATE,
    )  # fmt: skip
    return Table("Pinned slots", columns, rows, name="pinned")


def _left(place: Place, workloads: Mapping[str, Workload]) -> Table:
    """Round to 16 bits, and downscale, by the threads that read and on the device; there is no model."""
    torch, images = place.torch, variables(workloads["images"][0])[0]

    def rounded(batch: Batch) -> Batch:
        return {name: value.to(torch.bfloat16) if value.is_floating_point() else value for name, value in batch.items()}

    def downscaled(batch: Batch) -> Batch:
        return {**batch, images: torch.nn.functional.interpolate(batch[images], SMALL, mode="bilinear")}

    def measure(workload: Workload, **ways: dict[str, Any]) -> Rows:
        loaders = {who: _loader(workload, **options) for who, options in ways.items()}
        apart = _apart(*(loader.peek() for loader in loaders.values()))
        rows = compared(place, lambda _: None, {who: partial(endless, loader) for who, loader in loaders.items()})
        return [row | {"apart": apart, "rate": 1 / row["best"]} for row in rows]

    windows = partial(measure, workloads["windows"], threads={"dtype": "bfloat16"}, device={"transform": rounded})
    small = partial(measure, workloads["images"], threads={"stimulus_size": SMALL}, device={"transform": downscaled})
    rows = attempted(windows, of="windows as bfloat16") + attempted(small, of="images downscaled")
    columns = (Column("of", "of"), Column("by", "what"), Column("best batches/s", "rate", ".1f"), APART, STATE)
    return Table("Left to the device", columns, rows, name="left")


def _kept(place: Place, workloads: Mapping[str, Workload]) -> Table:
    """Feed windows of decoded trials that stay on the device: of none, half and all."""
    mouse, common = workloads["windows"]
    options = {**common, "variables": variables(mouse), "windows": "random"}

    def measure() -> Rows:
        loader = TrialLoader(mouse, **options)
        everything = KeptTrials(place, mouse, 1 << 62, options)
        half, first = KeptTrials(place, mouse, everything.nbytes // 2, options), loader.peek()
        feeds = _feeds(first, loader)
        feeds |= {f"{one.nbytes / 1e6:.1f} MB kept": one.batches for one in (half, everything)}
        return compared(place, make_step(place, mouse, first), feeds)

    return Table("Decoded trials kept on the device", STEPS, attempted(measure, of="windows"), name="kept")


def _compiled(place: Place, workloads: Mapping[str, Workload]) -> Table:
    """Feed a model that is compiled, and a CUDA graph of a whole step."""
    workload = workloads["windows"]

    def measure(way: str) -> Rows:
        loader = _loader(workload)
        first = loader.peek()
        return compared(place, make_step(place, workload[0], first, way), _feeds(first, loader))

    rows = attempted(partial(measure, EAGER), of=EAGER) + attempted(partial(measure, COMPILED), of=COMPILED)
    rows += needing_cuda(place, partial(measure, GRAPH), of=GRAPH)
    return Table("torch.compile and CUDA graphs", STEPS, rows, name="compiled")


def _apart(found: Batch, expected: Batch) -> float:
    """Return the largest difference of a value of two batches, over the largest value of its variable."""
    pairs = [(found[name].double().cpu(), expected[name].double().cpu()) for name in expected]
    return max(float((one - other).abs().max() / other.abs().max().clamp_min(1)) for one, other in pairs)

"""A real training step, fed by trialpack and by the public way: steps a second, time spent waiting, and the losses.

The model is a small core of three-dimensional convolutions with a readout for each neuron, trained on the processor.
The public way is a plain torch Dataset over the .npy files, as public trainers have it, in a DataLoader with the number
of workers that was fastest in a short trial. Both get the same windows in the same order, begin with the same weights
and train in turn, each time in a process of its own. Losses are of every step.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trialpack import TrialLoader, convert_mouse, open_mouse

from . import data
from .report import Column, Table, console

_ROOT = Path(__file__).parents[1]
OURS, PUBLIC = "trialpack", "torch Dataset of .npy files"
BATCH, WINDOW, CHANNELS = 8, 30, 8
WORKERS = (0, 1, 2)
VARIABLES = ("videos", "responses")
COLUMNS = (
    Column("fed by", "what"),
    Column("workers", "workers", "d"),
    Column("best steps/s", "best", ".2f"),
    Column("median steps/s", "median", ".2f"),
    Column("ratio", "ratio", ".2f"),
    Column("waiting", "waiting", ".1%"),
    Column("CPU s a step", "processor", ".3f"),
    Column("last loss", "loss", ".5f"),
)
NOTES = (
    "waiting: part of the time from the first step to the last that the model waited for its batch. CPU s a step: of "
    "all processes and threads, the model's own work included. ratio: of the best steps a second.",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="trainings of each (%(default)s)")
    parser.add_argument("--steps", type=int, default=120, metavar="N", help="steps of a training (%(default)s)")


def run(options: argparse.Namespace) -> list[Table]:
    """Train, and return a table of how it was fed, and one of the losses."""
    trials, neurons, steps, trial_steps = (16, 100, 6, 2) if options.quick else (48, data.NEURONS, options.steps, 12)
    repeats, choices = (1, WORKERS[:2]) if options.quick else (options.repeats, WORKERS)
    tree = data.recording(options.data, "A", trials, neurons, train=True)
    with tempfile.TemporaryDirectory(dir=options.data) as folder:
        store = str(convert_mouse(tree, folder, statistics=False, verify=False).store)
        feeds: dict[str, dict[str, Any]] = {OURS: {"store": store}, PUBLIC: {"store": store, "tree": str(tree)}}
        tried = {n: _trained(trial_steps, workers=n, **feeds[PUBLIC])["seconds"] for n in choices}
        workers = min(tried, key=lambda number: tried[number])
        feeds[PUBLIC]["workers"] = workers
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in feeds}
        for turn in range(repeats):
            for name in list(feeds)[:: -1 if turn % 2 else 1]:
                found[name].append(_trained(steps, **feeds[name]))
                console.print(f"  {name}: {steps / found[name][-1]['seconds']:.2f} steps/s", style="dim")
    rows = [_row(name, one, steps, workers if name == PUBLIC else None) for name, one in found.items()]
    for row in rows:
        row["ratio"] = row["best"] / next(one["best"] for one in rows if one["what"] == PUBLIC)
    rows.sort(key=lambda row: -row["best"])
    sizes = {"trials": trials, "neurons": neurons, "steps": steps, "batch": BATCH, "window": WINDOW}
    sizes["trial_seconds"] = {str(number): seconds for number, seconds in tried.items()}
    losses = [{"what": name, "losses": one[0]["losses"]} for name, one in found.items()]
    sizes["apart"] = max(abs(a - b) for a, b in zip(*(one["losses"] for one in losses), strict=True))
    return [
        Table("Training", COLUMNS, rows, NOTES, "training", sizes),
        Table("Losses", COLUMNS[:1], losses, (), "losses"),
    ]


def _row(name: str, found: Sequence[Mapping[str, Any]], steps: int, workers: int | None) -> dict[str, Any]:
    rates = [steps / one["seconds"] for one in found]
    best = max(found, key=lambda one: steps / one["seconds"])
    return {
        "what": name, "workers": workers, "best": max(rates), "median": statistics.median(rates),
        "waiting": best["waited"] / best["seconds"], "processor": best["processor"] / steps, "loss": best["losses"][-1],
        "seconds": [one["seconds"] for one in found], "waited": [one["waited"] for one in found],
    }  # fmt: skip


def _trained(steps: int, **feed: Any) -> dict[str, Any]:
    """Train in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.training", json.dumps({"steps": steps, **feed})]
    return json.loads(subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, check=True).stdout)


def train(steps: int, store: str, tree: str | None = None, workers: int = 0) -> dict[str, Any]:
    """Train a fresh model; with a tree, fed by a torch Dataset of its files.

    Returns
    -------
    dict
        ``seconds`` from asking for the second batch on, which leaves out what starts up; ``waited`` of these;
        ``processor`` of all processes; ``losses``.
    """
    torch: Any = importlib.import_module("torch")
    torch.manual_seed(0)
    mouse = open_mouse(store)
    model = make_model(torch, mouse.n_neurons, CHANNELS)
    optimizer, poisson = torch.optim.Adam(model.parameters(), lr=1e-3), torch.nn.PoissonNLLLoss(log_input=False)
    order = _order(mouse, steps + 1)
    batches = _public(torch, tree, order, workers) if tree else _ours(mouse)
    losses, waited, begun, processor = list[float](), 0.0, 0.0, 0.0
    for step in range(steps + 1):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        loss = poisson(model(batch["videos"]), batch["responses"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
        if not step:
            begun, waited, processor = time.perf_counter(), 0.0, _processor()
    seconds = time.perf_counter() - begun
    del batches  # workers end, and what they took is known
    return {"seconds": seconds, "waited": waited, "processor": _processor() - processor, "losses": losses}


def make_model(torch: Any, n_neurons: int, channels: int) -> Any:
    """Return a core of two convolutions over time and space, and a readout for each neuron from 8 places."""
    nn = torch.nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = nn.Sequential(
                nn.BatchNorm3d(1),
                nn.Conv3d(1, channels, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2)), nn.ELU(),
                nn.Conv3d(channels, channels, 3, stride=(1, 2, 2), padding=1), nn.ELU(),
                nn.AdaptiveAvgPool3d((None, 2, 4)),
            )  # fmt: skip
            self.readout = nn.Linear(channels * 8, n_neurons)

        def forward(self, videos: Any) -> Any:  # (B, 1, F, height, width)
            features = self.core(videos).movedim(2, 1).flatten(2)
            return (nn.functional.elu(self.readout(features)) + 1).movedim(1, -1)  # (B, N, F)

    return Model()


def _loader(mouse: Any, variables: Sequence[str]) -> TrialLoader:
    options: dict[str, Any] = {"tier": "train", "batch_size": BATCH, "window": WINDOW, "shuffle": True}
    return TrialLoader(mouse, variables=variables, cache="none", drop_last=True, **options)


def _ours(mouse: Any) -> Iterator[Any]:
    loader = _loader(mouse, VARIABLES)
    while True:
        yield from loader


def _order(mouse: Any, batches: int) -> list[list[tuple[int, int]]]:
    """Return trials and first frames of the batches of trialpack, which do not depend on the variables."""
    loader, found = _loader(mouse, ["pupil_center"]), list[list[tuple[int, int]]]()
    while len(found) < batches:
        found += [list(zip(one["trial_id"].tolist(), one["start"].tolist(), strict=True)) for one in loader]
    return found[:batches]


def _public(torch: Any, tree: str, order: list[list[tuple[int, int]]], workers: int) -> Iterator[Any]:
    """Load and cut as ViV1T does; transposed as its batches are."""
    numpy: Any = importlib.import_module("numpy")

    class Windows(torch.utils.data.Dataset):
        def __getitem__(self, index: tuple[int, int]) -> dict[str, Any]:
            trial, start = index
            sample = {name: numpy.load(f"{tree}/data/{name}/{trial}.npy").astype(numpy.float32) for name in VARIABLES}
            cut = {name: values[..., start : start + WINDOW] for name, values in sample.items()}
            cut["videos"] = cut["videos"].transpose(2, 0, 1)[numpy.newaxis]
            return {name: torch.from_numpy(values) for name, values in cut.items()}

    loader: Callable[..., Any] = torch.utils.data.DataLoader
    return iter(loader(Windows(), batch_sampler=order, num_workers=workers))


def _processor() -> float:
    """Return the seconds of the processor of this process and its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    print(json.dumps(train(**json.loads(sys.argv[1]))))

"""Training steps on a device, and what feeds them, for ``python -m benchmarks gpu``."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trialpack import Mouse, TrialLoader

from .. import training
from ..report import console

Batch = Mapping[str, Any]
Step = Callable[[Batch], object]
Feed = Callable[[], Iterator[Batch]]
RESPONSES = "responses"
RESIDENT, LOADER = "a tensor already there", "trialpack"
EAGER, COMPILED, GRAPH = "step by step", "torch.compile", "CUDA graph"
NEEDS, MEASURED = "needs CUDA", "measured"
_BEFORE = 3
"""Steps that do not count, as the first ones of an epoch and of a program do more."""
_LEAST = 4


@dataclass(frozen=True)
class Place:
    """Where is trained, and for how long.

    Attributes
    ----------
    torch
        The module.
    device
        Its device.
    channels
        Of the model's core.
    seconds
        That each measurement is to take.
    turns
        How often each is repeated.
    """

    torch: Any
    device: Any
    channels: int
    seconds: float
    turns: int

    @property
    def cuda(self) -> bool:
        """Whether the device is CUDA's."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.cuda:
            self.torch.cuda.synchronize(self.device)


def attempted(measure: Callable[[], list[dict[str, Any]]], **facts: Any) -> list[dict[str, Any]]:
    """Return the rows that are measured; or one that says why they could not be, so that others are not lost."""
    try:
        return [{**facts, **row, "state": MEASURED} for row in measure()]
    except Exception as error:  # machines with such devices are lent for minutes
        console.print_exception()
        return [{**facts, "state": f"failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}"}]


def needing_cuda(place: Place, measure: Callable[[], list[dict[str, Any]]], **facts: Any) -> list[dict[str, Any]]:
    """Return the rows that are measured on a CUDA device; on another one that says so."""
    return attempted(measure, **facts) if place.cuda else [{**facts, "state": NEEDS}]


def variables(mouse: Mouse) -> list[str]:
    """Return the names of what a model is trained on: stimulus and responses."""
    stimulus = mouse.recording.stimulus
    assert stimulus is not None
    return [stimulus.name, RESPONSES]


def endless(loader: TrialLoader) -> Iterator[Batch]:
    """Yield the batches of one epoch after another."""
    while True:
        yield from loader


def make_step(place: Place, mouse: Mouse, first: Batch, way: str = EAGER) -> Step:
    """Return a step of training of a fresh model.

    Parameters
    ----------
    first
        A batch there, of the shapes of all others.
    way
        How the step is run: `EAGER`, `COMPILED` (the model alone) or `GRAPH` (all of it).
    """
    torch = place.torch
    torch.manual_seed(0)
    model = training.make_model(torch, mouse.n_neurons, place.channels).to(place.device)
    # A compiler of programs need not be there where the device is the processor: what is left is how batches suit it.
    forward = torch.compile(model, backend="inductor" if place.cuda else "eager") if way == COMPILED else model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, capturable=place.cuda)
    poisson = torch.nn.PoissonNLLLoss(log_input=False)

    def step(batch: Batch) -> Any:
        stimulus, responses = (batch[name] for name in variables(mouse))
        if mouse.kind == "static":  # one frame
            stimulus, responses = stimulus[:, :, None], responses[..., None]
        loss = poisson(forward(stimulus), responses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return _captured(torch, step, first) if way == GRAPH else step


def _captured(torch: Any, step: Step, first: Batch) -> Step:
    """Return a step as a CUDA graph, which reads the batch from a place of its own."""
    there = {name: value.clone() for name, value in first.items() if value.is_cuda}
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_BEFORE):
            step(there)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(there)

    def replay(batch: Batch) -> Any:
        for name, value in there.items():
            value.copy_(batch[name])
        graph.replay()
        return loss

    return replay


def timed(place: Place, step: Step, feed: Feed, steps: int) -> float:
    """Return the seconds of a step, of so many; those of them that do not count are more."""
    batches = feed()
    for batch in itertools.islice(batches, _BEFORE):
        step(batch)
    place.wait()
    begun = time.perf_counter()
    for batch in itertools.islice(batches, steps):
        step(batch)
    place.wait()
    return (time.perf_counter() - begun) / steps


def compared(place: Place, step: Step, feeds: Mapping[str, Feed]) -> list[dict[str, Any]]:
    """Return rows of how long a step takes with each feed, in turn.

    Returns
    -------
    list of dict
        ``what``, ``best``, ``median`` and all ``seconds`` of a step; ``share``, ``share_median``: the part of the time
        that it computes, which is how long it takes with the first feed in that turn.
    """
    first = next(iter(feeds))
    steps = max(_LEAST, int(place.seconds / timed(place, step, feeds[first], _LEAST)))
    seconds: dict[str, list[float]] = {name: [] for name in feeds}
    for turn in range(place.turns):
        for name in list(feeds)[:: -1 if turn % 2 else 1]:
            seconds[name].append(timed(place, step, feeds[name], steps))
    rows = list[dict[str, Any]]()
    for name, found in seconds.items():
        shares = [computing / all_of_it for computing, all_of_it in zip(seconds[first], found, strict=True)]
        row = {"what": name, "steps": steps, "best": min(found), "median": statistics.median(found), "seconds": found}
        row |= {"ms": 1e3 * row["best"], "ms_median": 1e3 * row["median"]}
        row |= {"share": max(shares), "share_median": statistics.median(shares)}
        console.print(f"  {name}: {row['ms']:.2f} ms a step", style="dim")
        rows.append(row)
    return rows

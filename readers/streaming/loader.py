"""Batches of one mouse or several, for training and evaluation."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np

from ...store import OptionError, Problem, layout
from ..memory import parse_memory
from ..mouse import Mouse
from ..sampling import BatchPlan, EpochPosition, Mixing, MouseBatches, Sampler, Trials, WindowChoice, Windows, parse
from ..selection import Choice, Tier
from ..tasks import available_cores
from .batch import Batch
from .budget import Cache, plan_memory
from .buffers import Allocate, BufferPool, allocate, mapped
from .forks import Process
from .mouse_stream import MouseStream, Selection
from .normalization import Normalize, affines
from .pipeline import Filled, Pipeline
from .report import StreamStats

if TYPE_CHECKING:
    import torch

Output = Literal["torch", "numpy"]
DEFAULT_MEMORY = "1GiB"
_LABEL = "TrialLoader"
_MAX_THREADS = 16
"""More do not help: what they share is the memory's speed."""


class TrialLoader:
    """Batches of trials or windows of one mouse or several, read ahead by threads.

    Parameters
    ----------
    mice
        From `open_mouse`, one or several. A batch is of one mouse.
    tier
        Trials of this tier, or of these; None for every tier.
    batch_size
        Samples in a batch. All samples of a batch have the same number of frames; where whole trials differ in length,
        each length has batches of its own.
    window
        Frames of a sample; None for all valid frames of a trial, or for static mice.
    stride
        Every how many frames of the recording one is taken: ``window=16, stride=2`` covers 31 frames.
    windows
        ``random``: one window a trial and epoch, anywhere in it. ``every``: windows one behind another, the last one
        ending with the trial. By default random with `shuffle`, every one without.
    variables
        Names of the variables in a batch; all by default.
    channels
        Names of variables, such as ``["behavior", "pupil_center"]``, that become further channels of the stimulus,
        repeated over all pixels, as the public baselines do it; normalized, if they are normalized.
    trials
        Only these of the tier; as of `Mouse.rows`.
    neurons
        Only these; as of `Mouse.positions`; for several mice a list with one choice for each.
    normalize
        ``field``: what the field's `NeuroNormalizer` does; or a mapping from variables to `ScaleByStd`,
        `Standardize` and `DivideByStd`. By default nothing.
    shuffle
        A new random order of all samples in each epoch; else trials ascend.
    seed
        Not negative. Order and random starts depend on it and on the number of the epoch only.
    device
        Where tensors are, such as ``cuda``.
    output
        ``torch`` or ``numpy``.
    threads
        That read and decode; one a core by default, 16 at most.
    memory
        Bytes that are held beside the batches in the consumer's hands: what is kept, scratch, and batches read ahead.
    cache
        ``auto``: decoded trials stay in memory, the smallest variables first, as far as they fit; where all do, later
        epochs run at the speed of memory. ``none``: they do not, but for variables of which many trials share a chunk.
    rank, world_size
        Which of how many processes this is: they take the batches of an epoch in turn, and get as many each.
    drop_last
        Leave out batches with fewer samples than `batch_size` (of whole trials those of each length), and those that do
        not suffice for all ranks. Otherwise the last ranks get the first batches of the epoch once more.
    mixing
        ``cycle``: the mice take turns, and shorter ones start again until the longest ends. ``sequential``: one after
        another. Or the weight of each, by name or letter or in their order: mice are drawn at random, as many batches
        as all have together.
    report
        Is given a line at the end of each epoch, such as `print`.

    Raises
    ------
    OptionError
        An argument does not fit; responses that are chosen are withheld.
    CorruptStoreError
        A shard is missing or damaged, or the store was replaced since the mouse was opened.

    Notes
    -----
    Each `iter` is the next epoch, unless `set_epoch` said which; also after a loop that was left early. Leaving a loop
    ends its threads. Each iterator that is open reads ahead for itself; `state_dict` speaks of the latest. A batch
    stays valid for as long as anything holds it: its memory is used again when the last view of it has died.

    Examples
    --------
    >>> from trialpack import TrialLoader
    >>> loader = TrialLoader(mouse, tier="train", batch_size=8, window=80, shuffle=True)  # doctest: +SKIP
    >>> for batch in loader:  # doctest: +SKIP
    ...     loss = criterion(model(batch["videos"]), batch["responses"])
    """

    def __init__(
        self,
        mice: Mouse | Sequence[Mouse],
        *,
        tier: Tier,
        batch_size: int,
        window: int | None = None,
        stride: int = 1,
        windows: WindowChoice | None = None,
        variables: Sequence[str] | str | None = None,
        channels: Sequence[str] | str = (),
        trials: Choice | None = None,
        neurons: Choice | Sequence[Choice | None] | None = None,
        normalize: Normalize = None,
        shuffle: bool = False,
        seed: int = 0,
        device: str | torch.device = "cpu",
        output: Output = "torch",
        threads: int | None = None,
        memory: int | str = DEFAULT_MEMORY,
        cache: Cache = "auto",
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        mixing: Mixing = "cycle",
        report: Callable[[str], object] | None = None,
    ) -> None:
        self.mice = _mice(mice)
        self._report, self._process = report, Process()
        self._place = self._next = EpochPosition()
        self._latest: object = None
        batch_size, stride = _number("batch_size", batch_size, 1), _number("stride", stride, 1)
        window = None if window is None else _number("window", window, 1)
        threads = min(_MAX_THREADS, available_cores()) if threads is None else _number("threads", threads, 1)
        seed = _number("seed", seed, 0)
        rank, world_size = _number("rank", rank, 0), _number("world_size", world_size, 1)
        _check_words({"output": (output, ("torch", "numpy")), "cache": (cache, ("auto", "none"))})
        chosen_windows = Windows(window, stride, windows or ("random" if shuffle else "every"))
        _check_words({"windows": (chosen_windows.choice, ("random", "every"))})
        names = None if variables is None else ((variables,) if isinstance(variables, str) else tuple(variables))
        added = (channels,) if isinstance(channels, str) else tuple(channels)
        selections = [
            _select(mouse, tier, trials, chosen, names, added, normalize)
            for mouse, chosen in zip(self.mice, _neurons_of_each(neurons, len(self.mice)), strict=True)
        ]
        batches = [
            MouseBatches(number, _trials(mouse, one), chosen_windows, batch_size, shuffle, drop_last)
            for number, (mouse, one) in enumerate(zip(self.mice, selections, strict=True))
        ]
        known = [{mouse.name, layout.short_name(mouse.name)} | {mouse.letter or mouse.name} for mouse in self.mice]
        self._sampler = Sampler(batches, parse(mixing, known), seed, rank, world_size, drop_last)
        self._sampler.check()

        target = _target(output, device, selections)
        streams = [MouseStream(mouse, one) for mouse, one in zip(self.mice, target.selections, strict=True)]
        self._to_batch = target.to_batches
        slot = mapped(
            max(
                stream.slot_nbytes(min(batch_size, len(one.windows.lengths(one.trials))), _most_frames(one))
                for stream, one in zip(streams, batches, strict=True)
            )
        )
        bound = parse_memory(_LABEL, memory, "memory")
        budget = plan_memory(bound, streams, slot, threads, cache, target.in_transfer)
        for stream, kept in zip(streams, budget.kept, strict=True):
            stream.keep(kept)
        ring = BufferPool(slot, budget.ahead + 1, target.allocate)
        self._pipeline = Pipeline(streams, ring, threads, budget.ahead)
        self._stats = StreamStats(threads)

    def __len__(self) -> int:
        """Return how many batches an epoch has, for this rank."""
        return self._sampler.steps_after(0)

    def __iter__(self) -> Iterator[Batch]:
        """Return the batches of the next epoch, or those that remain of one that was loaded.

        Raises
        ------
        ForkedError
            The process was forked since the loader was made.
        """
        self._process.check()
        place = self._place = self._next
        self._next, self._latest = EpochPosition(place.epoch + 1), object()
        return self._epoch(place, self._latest)

    def set_epoch(self, epoch: int) -> None:
        """Set which epoch the next `iter` is; of one that was loaded in its middle, what remained of it."""
        epoch, self._latest = _number("epoch", epoch, 0), None
        # Of an epoch that was loaded, those batches remain that remained.
        if epoch != self._next.epoch:
            self._next = EpochPosition(epoch)
        self._place = self._next

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader is, to be kept beside the model's state.

        Returns
        -------
        dict
            Small, of plain values; the same on every rank. Batches count that were handed out.
        """
        return self._place.to_state(self._fingerprint())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken: the next `iter` gives exactly the batches that remained.

        Raises
        ------
        OptionError
            It is of a loader with other arguments; only rank, world_size and what does not change the samples, such as
            memory or variables, may differ.
        """
        self._latest = None
        self._place = self._next = EpochPosition.from_state(state, self._fingerprint(), self._sampler.n_batches)

    @property
    def stats(self) -> StreamStats:
        """What the present epoch took so far, or the last one in all."""
        return self._stats

    def dataset(self) -> torch.utils.data.IterableDataset[Batch]:
        """Return the loader as torch's `IterableDataset`: ``DataLoader(loader.dataset(), batch_size=None)``."""
        from .tensors import LoaderDataset

        return LoaderDataset(self)

    def __repr__(self) -> str:
        """Return a one-line summary."""
        names = ", ".join(layout.short_name(mouse.name) for mouse in self.mice)
        return f"<TrialLoader of {names}: {len(self)} batches of {self._sampler.mice[0].batch_size}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, as into a worker process."""
        what, advice = "a loader cannot be pickled", "make it in the process that uses it; it needs no worker processes"
        raise OptionError(Problem(_LABEL, what, advice))

    def _epoch(self, place: EpochPosition, iteration: object) -> Generator[Batch]:
        self._process.check()
        stats = self._stats = StreamStats(self._pipeline.threads)
        world_size, n_batches = self._sampler.world_size, self._sampler.n_batches
        plans = self._sampler.batches(place.epoch, place.position)
        begun = time.perf_counter()
        for batch, plan in self._to_batch(self._pipeline.run(plans, stats)):
            place = EpochPosition(place.epoch, min(n_batches, place.position + world_size))
            self._stand_at(place, iteration)
            stats.batches, stats.samples = stats.batches + 1, stats.samples + len(plan)
            stats.seconds = time.perf_counter() - begun
            yield batch
            del batch
        self._stand_at(EpochPosition(place.epoch + 1), iteration)
        if self._report is not None:
            self._report(f"epoch {place.epoch}: {stats}")

    def _stand_at(self, place: EpochPosition, iteration: object) -> None:
        """Note where the loader is; of several iterators the latest says."""
        if self._latest is iteration:
            self._place = place

    def _fingerprint(self) -> str:
        return self._sampler.fingerprint([mouse.index.manifest.store_id for mouse in self.mice])


def _select(
    mouse: Mouse,
    tier: Tier,
    trials: Choice | None,
    neurons: Choice | None,
    variables: tuple[str, ...] | None,
    channels: tuple[str, ...],
    normalize: Normalize,
) -> Selection:
    """Return what of a mouse is streamed."""
    rows = mouse.rows(tier=tier, trials=trials)
    variables = mouse.variables if variables is None else variables
    if not variables:
        raise OptionError(Problem(_LABEL, "no variables are chosen", f"choose of {', '.join(mouse.variables)}"))
    for name in (*variables, *channels):
        mouse.recording.array(name)
    stimulus = layout.STIMULUS[mouse.kind]
    if channels and (stimulus not in variables or {stimulus, layout.RESPONSES} & {*channels}):
        advice = f"choose of {layout.BEHAVIOR} and {layout.PUPIL_CENTER}, with {stimulus} among the variables"
        raise OptionError(Problem(str(mouse.path), f"channels {list(channels)} do not fit", advice))
    withheld = int(mouse.recording.withheld[rows].sum())
    if withheld and layout.RESPONSES in variables:
        what = f"responses of {withheld} of {len(rows)} trials are withheld: zeros stand in their place"
        advice = "choose trials={'withheld': False}, or variables without responses"
        raise OptionError(Problem(str(mouse.path), what, advice))
    positions = None if neurons is None else mouse.positions(neurons)
    n_frames = 0 if mouse.recording.n_frames is None else int(mouse.recording.n_frames[rows].max())
    return Selection(rows, positions, variables, channels, affines(mouse, normalize, n_frames))


def _trials(mouse: Mouse, selection: Selection) -> Trials:
    recording, rows = mouse.recording, selection.rows
    n_frames = None if recording.n_frames is None else recording.n_frames[rows].astype(np.int64)
    return Trials(str(mouse.path), rows, recording.trial_ids[rows], n_frames)


def _most_frames(batches: MouseBatches) -> int:
    return int(batches.windows.lengths(batches.trials).max())


def _neurons_of_each(neurons: Any, mice: int) -> list[Choice | None]:
    """Return the choice of neurons of each mouse."""
    if neurons is None or isinstance(neurons, Mapping):
        return [neurons] * mice
    choices = list(neurons)
    each = all(one is None or isinstance(one, Mapping) or np.ndim(one) == 1 for one in choices)
    if mice == 1 and not (each and len(choices) == 1):
        return [neurons]
    if not each or len(choices) != mice:
        what = "several mice need one choice of neurons each"
        raise OptionError(Problem(_LABEL, what, f"give a list of {mice} choices, or columns with the values wanted"))
    return choices


@dataclass(frozen=True)
class _Target:
    """Where batches go: what is read, what makes batches of slots, how slots are allocated, how many it holds."""

    selections: Sequence[Selection]
    to_batches: Callable[[Generator[Filled]], Generator[tuple[Batch, BatchPlan]]]
    allocate: Allocate = allocate
    in_transfer: int = 0


def _target(output: Output, device: Any, selections: Sequence[Selection]) -> _Target:
    if output == "numpy":
        if str(device) != "cpu":
            raise OptionError(Problem(_LABEL, f"numpy arrays cannot be on {device}", "choose output='torch'"))
        return _Target(selections, _to_numpy)
    try:
        from .tensors import SLOTS_IN_TRANSFER, checked_device, pinned, to_device, to_tensors
    except ModuleNotFoundError as error:
        what = f"output='torch' needs torch ({error})"
        raise OptionError(Problem(_LABEL, what, "install it, or choose output='numpy'")) from None
    place = checked_device(device)
    if place.type == "cpu":
        return _Target(selections, to_tensors)
    # What a device does faster is left to it: normalization, and channels, which it need not be sent.
    recorded = [replace(one, variables=one.read, channels=(), affines={}) for one in selections]
    to_batches = to_device(place, selections)
    return (
        _Target(recorded, to_batches, pinned, SLOTS_IN_TRANSFER)
        if place.type == "cuda"
        else _Target(recorded, to_batches)
    )


def _to_numpy(filled: Generator[Filled]) -> Generator[tuple[Batch, BatchPlan]]:
    for one in filled:
        plan, batch = one.plan, Batch(one.stream.views(one.arrays) | one.stream.labels(one.plan))
        del one
        yield batch, plan
        del batch


def _mice(mice: Any) -> list[Mouse]:
    """Return mice as a list, after seeing that they are some."""
    found: list[Any] = [mice] if isinstance(mice, (Mouse, str, Path)) else list(mice)
    if wrong := [one for one in found if not isinstance(one, Mouse)]:
        raise OptionError(Problem(_LABEL, f"{str(wrong[0])!r} is no mouse", "open it with open_mouse"))
    if not found:
        raise OptionError(Problem(_LABEL, "no mice are given", "give at least one"))
    return found


def _number(name: str, value: Any, least: int) -> int:
    """Return a whole number, numpy's too, after seeing that it is one and large enough."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise OptionError(Problem(_LABEL, f"{name} is {value!r}", f"give a whole number of at least {least}"))
    return number


def _check_words(values: Mapping[str, tuple[object, Sequence[str]]]) -> None:
    for name, (value, known) in values.items():
        if value not in known:
            raise OptionError(Problem(_LABEL, f"{name} is {value!r}", f"choose {' or '.join(known)}"))

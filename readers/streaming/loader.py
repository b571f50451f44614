"""Batches of one mouse or several, for training and evaluation."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from ...store import OptionError, Problem, layout
from ...store.arguments import check_choice, check_count, check_flag, check_type
from ..mouse import Mouse
from ..sampling import BatchPlan, EpochPosition, Mixing, Sampler, WindowChoice
from ..selection import Choice, Tier, as_names
from .batch import Batch
from .budget import Cache
from .mouse_stream import MemoryOrder
from .normalization import Normalize
from .options import (
    DEFAULT_DTYPE,
    DEFAULT_IN_FLIGHT,
    LABEL,
    Content,
    Dtype,
    Output,
    Turns,
    Withheld,
    checked_order,
    checked_report,
    checked_resources,
    checked_windows,
    checked_withheld,
)
from .pipeline import Process, StreamStats
from .ranks import Share, check_whole, checked_share, present_share
from .selecting import checked_mice, make_sampler, select
from .targets import make_pipeline, make_target

if TYPE_CHECKING:
    import torch

DEFAULT_MEMORY = "1GiB"


class TrialLoader:
    """Batches of trials or windows of one mouse or several, read ahead by threads.

    Parameters
    ----------
    mice
        Mouse from `open_mouse`, or several. A batch is of one mouse.
    tier
        Trials of this tier, or of these; None for every tier.
    batch_size
        Samples in a batch. All samples of a batch have the same number of frames; where whole trials differ in length,
        each length has batches of its own.
    window
        Frames of a sample, or its duration, such as ``"2s"`` or ``"500ms"``: as many frames as each mouse has in that
        time; None for all valid frames of a trial, or for static mice.
    stride
        Every how many frames of the recording one is taken: ``window=16, stride=2`` covers 31 frames.
    windows
        ``random``: one window a trial and epoch, anywhere in it. ``every``: windows one behind another, the last one
        ending with the trial. By default random with `shuffle`, every one without.
    variables
        Names of the variables in a batch; by default all of each mouse.
    channels
        Names of variables, such as ``["behavior", "pupil_center"]``, that become further channels of the stimulus,
        repeated over all pixels, as the public baselines do it; normalized, if they are normalized.
    trials
        Choice among the trials of the tier, as in `Mouse.rows`, each once; for several mice one for all, or a list with
        one for each.
    neurons
        Choice of neurons, as in `Mouse.positions`, each once; for several mice columns with the values wanted, or a
        list with one choice for each.
    normalize
        ``field``: what the field's `NeuroNormalizer` does, by the train statistics of the store (ddof 0); or a mapping
        from variables to `ScaleByStd`, `Standardize` and `DivideByStd`. By default nothing.
    dtype
        Data type of the values of variables: ``float16``, ``bfloat16`` (of tensors only), ``float32`` or ``float64``;
        ``native`` for the one that each is stored with, so that uint8 videos stay uint8; or a mapping from variables to
        one of these, with float32 for the others. What is normalized, becomes channels or gets channels has to be a
        float; what has 16 bits in the end is normalized in float32.
    order
        How arrays lie in memory; their shapes are the same. ``frames``: as the store has them, which is faster; with
        the codecs ``fast`` and ``none`` frames come before neurons. ``neurons``: C-contiguous, so that the frames of a
        neuron are neighbours.
    shuffle
        A new random order of all samples in each epoch; else that of `Mouse.rows`, which is the one of trial_ids in
        `trials`.
    seed
        Not negative. Order and random starts depend on it and on the number of the epoch only. None for the seed that
        torch's generator was given last, as by `torch.manual_seed`; several processes have to be given a number.
    device
        Where tensors are, such as ``cuda``.
    output
        ``torch`` or ``numpy``.
    threads
        Number of threads that read and decode; one a core by default, 16 at most.
    memory
        Bytes that are held beside the batches in the consumer's hands: what is kept, scratch, and batches read ahead.
    cache
        ``auto``: decoded trials stay in memory, the smallest variables first, as far as they fit; where all do, later
        epochs run at the speed of memory. ``none``: they do not, but for variables of which many trials share a chunk.
    in_flight
        Requests at the same time, of mice in object stores; the bytes that they bring count as `memory`.
    rank, world_size
        Which of how many processes this is: they take the batches of an epoch in turn, and get as many each. By default
        what `torch.distributed` says at each `iter`, or the only one where that is not in use; ``rank=0, world_size=1``
        for all batches in each process.
    drop_last
        Leave out batches with fewer samples than `batch_size` (of whole trials those of each length), and those that do
        not suffice for all ranks. Otherwise the last ranks get the first batches of the epoch once more.
    mixing
        ``cycle``: the mice take turns, and shorter ones start again until the longest ends. ``sequential``: one after
        another. Or the weight of each, by name or letter or in their order: mice are drawn at random, as many batches
        as all have together.
    withheld
        What becomes of responses that are withheld: ``refuse``, or ``zeros``, which stand in their place.
    report
        Function, such as `print`, that is called with one line at the end of each epoch.

    Raises
    ------
    OptionError
        An argument does not fit; responses that are chosen are withheld.
    CorruptStoreError
        A shard is missing or damaged, or the store was replaced since the mouse was opened.

    Notes
    -----
    A duration has to be a whole number of frames, within a twentieth of one, since it is rounded: at 30 Hz, ``"533ms"``
    is 16 frames, and ``"0.55s"``, 16.5, is refused. With a stride, it is what the window covers: of ``window="2s",
    stride=2`` every second of 60 frames.

    Each `iter` is the next epoch, unless `set_epoch` said which; also after a loop that was left early, but not after
    one that asked for no batch. Leaving a loop ends its threads. Each iterator that is open reads ahead for itself;
    `state_dict` speaks of the latest. A batch stays valid for as long as anything holds it: its memory is used again
    when the last view of it has died.

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
        window: int | str | None = None,
        stride: int = 1,
        windows: WindowChoice | None = None,
        variables: Sequence[str] | str | None = None,
        channels: Sequence[str] | str = (),
        trials: Choice | Sequence[Choice | None] | None = None,
        neurons: Choice | Sequence[Choice | None] | None = None,
        normalize: Normalize = None,
        dtype: Dtype = DEFAULT_DTYPE,
        order: MemoryOrder = "frames",
        shuffle: bool = False,
        seed: int | None = 0,
        device: str | torch.device = "cpu",
        output: Output = "torch",
        threads: int | None = None,
        memory: int | str = DEFAULT_MEMORY,
        cache: Cache = "auto",
        in_flight: int = DEFAULT_IN_FLIGHT,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
        mixing: Mixing = "cycle",
        withheld: Withheld = "refuse",
        report: Callable[[str], object] | None = None,
    ) -> None:
        shuffle, drop_last = check_flag("shuffle", shuffle), check_flag("drop_last", drop_last)
        self.mice, self._report, self._process = checked_mice(mice), checked_report(report), Process()
        frames = checked_windows(self.mice, window, stride, windows, shuffle=shuffle)
        self._share, self._own_seed = checked_share(rank, world_size), seed is not None
        samples = checked_order(frames, Turns(mixing, drop_last), batch_size, seed, shuffle=shuffle)
        resources = checked_resources(threads, memory, cache, in_flight)
        chosen = None if variables is None else as_names(variables, "variables")
        added, hidden = as_names(channels, "channels"), checked_withheld(withheld)
        check_choice("order", order, get_args(MemoryOrder))
        selections = select(self.mice, Content(tier, trials, neurons, chosen, added, normalize, dtype, order, hidden))
        self._sampler = make_sampler(self.mice, selections, samples, self._share or Share())
        target = make_target(output, device, selections)
        self._to_batch, self._pipeline = target.to_batches, make_pipeline(self._sampler, self.mice, target, resources)
        self._place, self._latest, self._stats = EpochPosition(), None, StreamStats(resources.threads)
        self._next, self._loaded, self._known = self._place, False, None

    def __len__(self) -> int:
        """Return how many batches of an epoch this process gets; of one that was loaded, until `iter`, what remains."""
        return self._shared_sampler().steps_after(self._next.position if self._loaded else 0)

    def __iter__(self) -> Iterator[Batch]:
        """Return the batches of the next epoch, or those that remain of one that was loaded.

        Raises
        ------
        ForkedError
            The process was forked since the loader was made.
        """
        self._process.check()
        self._shared_sampler()
        self._loaded = False
        return self._epoch()

    def peek(self) -> Batch:
        """Return the first batch of what the next `iter` gives, which still gives it.

        Where nothing remains of an epoch that was loaded, it is the first one of the next epoch.
        """
        self._process.check()
        sampler, place = self._shared_sampler(), self._next
        if not sampler.steps_after(place.position):
            place = EpochPosition(place.epoch + 1)
        plans = itertools.islice(sampler.batches(place.epoch, place.position), 1)
        ((batch, _),) = self._to_batch(self._pipeline.run(plans, StreamStats()))
        return batch

    def set_epoch(self, epoch: int) -> None:
        """Set which epoch the next `iter` is; of one that was loaded in its middle, what remained of it."""
        epoch, self._latest = check_count("epoch", epoch, 0), None
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
        self._latest, self._loaded = None, True
        self._place = self._next = EpochPosition.from_state(state, self._fingerprint(), self._sampler.n_batches)

    def take(self, places: Iterable[int], epoch: int = 0) -> Iterator[Batch]:
        """Return some batches of an epoch, by their places in it; it is not gone through by that.

        Raises
        ------
        OptionError
            A number is negative or no whole number, or the epoch has fewer batches.
        ForkedError
            The process was forked since the loader was made.
        """
        self._process.check()
        check_type("places", places, Iterable, "whole numbers")
        chosen = [check_count("place", place, 0) for place in places]
        plans = self._plans(check_count("epoch", epoch, 0))
        if wrong := [place for place in chosen if place >= len(plans)]:
            raise OptionError(Problem(LABEL, f"an epoch has no batch {wrong[0]}", f"there are {len(plans)}, from 0 on"))
        run = self._pipeline.run((plans[place] for place in chosen), StreamStats(self._pipeline.threads))
        return map(itemgetter(0), self._to_batch(run))

    @property
    def sampler(self) -> TrialLoader:
        """The loader: what frameworks such as Lightning call `set_epoch` of, as of the sampler of a `DataLoader`."""
        return self

    @property
    def stats(self) -> StreamStats:
        """What the present epoch took so far, or the last one in all."""
        return self._stats

    def dataset(self) -> torch.utils.data.IterableDataset[Batch]:
        """Return the loader as torch's `IterableDataset`: ``DataLoader(loader.dataset(), batch_size=None)``.

        It has the loader's state, so that `torchdata`'s ``StatefulDataLoader`` goes on where it stopped. It has no
        length.
        """
        from .tensors import LoaderDataset

        return LoaderDataset(self, lambda: check_whole(present_share(self._share), len(self.mice)))

    def __repr__(self) -> str:
        """Return a one-line summary."""
        names = ", ".join(layout.short_name(mouse.name) for mouse in self.mice)
        return f"<TrialLoader of {names}: {self._sampler.steps_after(0)} batches of {self._sampler.mice[0].batch_size}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, as into a worker process."""
        what, advice = "a loader cannot be pickled", "make it in the process that uses it; it needs no worker processes"
        raise OptionError(Problem(LABEL, what, advice))

    def _plans(self, epoch: int) -> list[BatchPlan]:
        """Return the batches of an epoch before they are read; those that were asked for last are kept."""
        if self._known is None or self._known[0] != epoch:
            self._known = epoch, list(self._shared_sampler().batches(epoch))
        return self._known[1]

    def _shared_sampler(self) -> Sampler:
        """Return what gives the batches that are this process's share as of now."""
        share = present_share(self._share)
        if share != Share(self._sampler.rank, self._sampler.world_size):
            sampler = replace(self._sampler, rank=share.rank, world_size=share.world_size)
            sampler.check()
            self._sampler, self._known = sampler, None
        if share.world_size > 1 and not self._own_seed:
            what = "seed=None takes the seed of torch, which may be another one in each process"
            raise OptionError(Problem(LABEL, what, "give a number, the same to all"))
        return self._sampler

    def _epoch(self) -> Generator[Batch]:
        # From here on an iterator counts: frameworks make some that they do not use.
        self._process.check()
        sampler, place, iteration = self._shared_sampler(), self._next, object()
        self._place, self._next, self._latest = place, EpochPosition(place.epoch + 1), iteration
        stats = self._stats = StreamStats(self._pipeline.threads)
        world_size, n_batches = sampler.world_size, sampler.n_batches
        plans = sampler.batches(place.epoch, place.position)
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

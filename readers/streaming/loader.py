"""Batches of one mouse or several, for training and evaluation."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from ...store import OptionError, Problem, layout
from ...store.arguments import check_choice, check_count, check_flag, check_type
from ..direct import Size
from ..mouse import Mouse
from ..normalization import Normalize
from ..sampling import BatchPlan, EpochPosition, Mixing, Plan, Sampler, WindowChoice
from ..selection import Choice, Tier, as_names
from .augmentation import Batches, BatchTransform, checked_transform, transformed, transformed_ahead
from .batch import Batch
from .budget import Cache
from .description import Description, describe
from .fitted import FittedTransform, fitted
from .mouse_stream import MemoryOrder
from .options import (
    DEFAULT_DTYPE,
    DEFAULT_IN_FLIGHT,
    LABEL,
    Content,
    Cutting,
    Dtype,
    Output,
    Ranks,
    Withheld,
    checked_order,
    checked_report,
    checked_resources,
    checked_size,
    checked_turns,
    checked_windows,
    checked_withheld,
)
from .pipeline import Process, StreamStats
from .ranks import Share, check_agreement, check_whole, checked_share, present_share
from .selecting import check_kinds, checked_mice, make_sampler, select
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
    repeats
        A batch is all chosen trials that show one stimulus, at the same frames, instead of `batch_size` samples: those
        that `Mouse.repeats` finds, so that trials whose stimulus no other one shows are left out. Where they differ in
        length, it ends with the shortest.
    sampler
        Gives the batches of an epoch in place of `shuffle`, `windows` and `mixing`: at each `iter` of it `Plan` after
        `Plan`, of at most `batch_size` trials each. Its `set_epoch`, if it has one, is called with the number of the
        epoch before. Resuming needs the same plans again of an epoch that has begun.
    window
        Frames of a sample, or its duration, such as ``"2s"`` or ``"500ms"``: as many frames as each mouse has in that
        time; None for all valid frames of a trial, or for static mice.
    stride
        Every how many frames of the recording one is taken: ``window=16, stride=2`` covers 31 frames.
    windows
        ``random``: anywhere in each trial. ``every``: windows one behind another, the last one ending with the trial.
        ``phases``: the same from each of the first `stride` frames on, so that no frame is left out; also of whole
        trials. By default random with `shuffle`, every one without.
    hop
        Frames of the recording, or duration, from one window to the next, which overlap if it is shorter than they are;
        see `stitch`. Not of random windows: with it they are every one by default.
    samples_per_trial
        How many random windows of each trial an epoch has.
    skip_frames, max_frames
        Samples begin at this frame of a trial or behind it, and end before that one (of all frames, those skipped among
        them); by default they have all valid frames.
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
    stimulus_size
        Height and width, in pixels, that pictures of the stimulus are downscaled to, as the 2022 baselines do it;
        see `Pictures`. They are normalized before.
    crop
        Height and width, in pixels as recorded, of the middle of the pictures, which is all that is used of them.
    normalize
        ``field``: what the field's `NeuroNormalizer` does, with the statistics that the mouse was published with; or
        `FieldNormalization` or `ViV1TNormalization` with other arguments; or a mapping from variables to transforms:
        `ScaleByStd`, `DivideByStd`, `Standardize`, `MinMax`, `Constants`, `Relu`, or one's own. By default nothing.
    transform
        Function that is called with each `Batch`, normalized, and returns a batch or another mapping with as many
        samples, such as an augmented one; `mouse` and `tier` stay. A thread of its own calls it, batch by batch in
        order, before they are asked for; on a device other than the processor, and of `peek` and `take`, the consumer's
        thread does, as the batch is handed out.
    dtype
        Data type of the values of variables: ``float16``, ``bfloat16`` (of tensors only), ``float32`` or ``float64``;
        ``native`` for the one that each is stored with, so that uint8 videos stay uint8; or a mapping from variables to
        one of these, with float32 for the others. What is normalized, becomes channels or gets channels has to be a
        float; what has 16 bits in the end is normalized before it is rounded.
    order
        How arrays lie in memory; their shapes are the same. ``frames``: as the store has them, which is faster; with
        the codecs ``fast`` and ``none`` frames come before neurons. ``neurons``: C-contiguous, so that the frames of a
        neuron are neighbours.
    shuffle
        A new random order of all samples in each epoch; else that of `Mouse.rows`, which is the one of trial_ids in
        `trials`.
    shuffle_shards
        With `shuffle`, how many shards of a mouse are mixed at a time; they come in random order, and what an epoch
        needs of each is asked for at once. By default all are mixed. `describe` says how well.
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
    ranks
        ``any``: the batches of an epoch come in its order, so that ranks may have different mice at a step. ``same``:
        all ranks have the same mouse at each step, that of the first batch that is left.
    mixing
        ``cycle``: the mice take turns, and shorter ones start again until the longest ends. ``sequential``: one after
        another. ``shuffled``: in random order, each batch of each mouse once. Or the weight of each, by name or letter
        or in their order: mice are drawn at random, as many batches as all have together.
    mixed_kinds
        Whether there may be static and dynamic mice together.
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
        batch_size: int | None = None,
        repeats: bool = False,
        sampler: Iterable[Plan] | None = None,
        window: int | str | None = None,
        stride: int = 1,
        windows: WindowChoice | None = None,
        hop: int | str | None = None,
        samples_per_trial: int = 1,
        skip_frames: int = 0,
        max_frames: int | None = None,
        variables: Sequence[str] | str | None = None,
        channels: Sequence[str] | str = (),
        trials: Choice | Sequence[Choice | None] | None = None,
        neurons: Choice | Sequence[Choice | None] | None = None,
        stimulus_size: Size | None = None,
        crop: Size | None = None,
        transform: BatchTransform | None = None,
        normalize: Normalize = None,
        dtype: Dtype = DEFAULT_DTYPE,
        order: MemoryOrder = "frames",
        shuffle: bool = False,
        shuffle_shards: int | None = None,
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
        ranks: Ranks = "any",
        mixing: Mixing = "cycle",
        mixed_kinds: bool = False,
        withheld: Withheld = "refuse",
        report: Callable[[str], object] | None = None,
    ) -> None:
        shuffle, drop_last = check_flag("shuffle", shuffle), check_flag("drop_last", drop_last)
        repeats = check_flag("repeats", repeats)
        self.mice = checked_mice(mice)
        check_kinds(self.mice, mixed=check_flag("mixed_kinds", mixed_kinds))
        self._report, self._process = checked_report(report), Process()
        cutting = Cutting(window, stride, windows, hop, samples_per_trial, skip_frames, max_frames)
        frames = checked_windows(self.mice, cutting, shuffle=shuffle, planned=sampler is not None)
        self._share, self._own_seed = checked_share(rank, world_size), seed is not None
        turns = checked_turns(mixing, ranks, drop_last=drop_last)
        how: Any = {"shuffle": shuffle, "shuffle_shards": shuffle_shards, "repeats": repeats}
        samples = checked_order(frames, turns, batch_size, seed, sampler, **how)
        resources = checked_resources(threads, memory, cache, in_flight)
        chosen = None if variables is None else as_names(variables, "variables")
        added, hidden = as_names(channels, "channels"), checked_withheld(withheld)
        check_choice("order", order, get_args(MemoryOrder))
        sizes = checked_size("stimulus_size", stimulus_size), checked_size("crop", crop)
        content = Content(tier, trials, neurons, chosen, added, normalize, dtype, order, hidden, *sizes, repeats)
        self._chosen = content, frames, resources.memory
        selections = select(self.mice, *self._chosen)
        self._sampler = make_sampler(self.mice, selections, samples, self._share or Share())
        self._transform = checked_transform(transform)
        target = make_target(output, device, selections, transformed=transform is not None)
        self._in_threads = target.in_threads
        self._to_batch, self._pipeline = target.to_batches, make_pipeline(self._sampler, self.mice, target, resources)
        self._place, self._latest, self._stats = EpochPosition(), None, StreamStats(resources.threads)
        self._next, self._loaded, self._known = self._place, False, None

    def __len__(self) -> int:
        """Return how many batches of an epoch this process gets; of one that was loaded, until `iter`, what remains."""
        place = self._next if self._loaded else EpochPosition(self._next.epoch)
        return self._shared_sampler().steps_after(place)

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
        if not sampler.steps_after(place):
            place = EpochPosition(place.epoch + 1)
        plans = itertools.islice(sampler.batches(place), 1)
        ((batch, _),) = self._made(plans, StreamStats())
        return batch

    def describe(self, probe: int = 16) -> Description:
        """Return what the next epoch takes, or what remains of one that was loaded.

        Parameters
        ----------
        probe
            How many of its first batches are read to find out the rate, and handed to nobody; 0 for none.

        Notes
        -----
        `print` shows it. Files that were read or written lately may lie in the system's memory, and come faster than
        from disk.
        """
        self._process.check()
        plans, stats = list(self._shared_sampler().batches(self._next)), StreamStats(self._pipeline.threads)
        first = plans[: check_count("probe", probe, 0)]
        begun = time.perf_counter()
        for _, plan in self._made_ahead(iter(first), stats):
            stats.batches, stats.samples = stats.batches + 1, stats.samples + len(plan)
        stats.seconds = time.perf_counter() - begun
        return describe(self._pipeline, plans, stats if first else None)

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
        return self._sampler.to_state(self._place, self._names)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken: the next `iter` gives exactly the batches that remained.

        Raises
        ------
        OptionError
            It is of a loader with other arguments; only rank, world_size and what does not change the samples, such as
            memory or variables, may differ.
        """
        place = self._sampler.from_state(state, self._names)
        self._latest, self._loaded = None, True
        self._place = self._next = place

    @cached_property
    def transforms(self) -> Mapping[str, FittedTransform]:
        """Transform of each variable that is normalized, as in ``loader.transforms["responses"].inverse(x)``."""
        # Statistics of every pixel and frame are large: they are read again for those who ask.
        return fitted(self.mice, select(self.mice, *self._chosen))

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
        made = self._made((plans[place] for place in chosen), StreamStats(self._pipeline.threads))
        return map(itemgetter(0), made)

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
        steps = self._sampler.steps_after(EpochPosition(self._next.epoch))
        return f"<TrialLoader of {names}: {steps} batches of {self._sampler.epochs.mice[0].batch_size}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, as into a worker process."""
        what, advice = "a loader cannot be pickled", "make it in the process that uses it; it needs no worker processes"
        raise OptionError(Problem(LABEL, what, advice))

    def _plans(self, epoch: int) -> list[BatchPlan]:
        """Return the batches of an epoch before they are read; those that were asked for last are kept."""
        if self._known is None or self._known[0] != epoch:
            self._known = epoch, list(self._shared_sampler().batches(EpochPosition(epoch)))
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

    def _made(self, plans: Iterator[BatchPlan], stats: StreamStats) -> Batches:
        """Return batches, transformed as they are asked for."""
        batches = self._to_batch(self._pipeline.run(plans, stats))
        return batches if self._transform is None else transformed(self._transform, batches)

    def _made_ahead(self, plans: Iterator[BatchPlan], stats: StreamStats) -> Batches:
        """Return batches, transformed before they are asked for, where a thread may do that."""
        if self._transform is None or not self._in_threads:
            return self._made(plans, stats)
        # What the thread of a transform waits for, the consumer need not.
        batches = self._to_batch(self._pipeline.run(plans, replace(stats)))
        return transformed_ahead(self._transform, batches, stats)

    def _epoch(self) -> Generator[Batch]:
        # From here on an iterator counts: frameworks make some that they do not use.
        self._process.check()
        sampler, place, iteration = self._shared_sampler(), self._next, object()
        if self._share is None and sampler.world_size > 1:
            check_agreement(sampler.to_state(place, self._names))
        self._place, self._next, self._latest = place, EpochPosition(place.epoch + 1), iteration
        stats = self._stats = StreamStats(self._pipeline.threads)
        steps = sampler.steps(place)
        begun = time.perf_counter()
        for batch, plan in self._made_ahead(sampler.batches(place), stats):
            self._stand_at(next(steps)[1], iteration)
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

    @property
    def _names(self) -> list[str]:
        return [mouse.index.manifest.store_id for mouse in self.mice]

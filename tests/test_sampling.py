"""Which samples come, in what order: a pure function of seed and epoch, on any number of ranks, from any place on."""

import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trialpack.readers.sampling import (
    BatchPlan,
    EpochPosition,
    MixedMice,
    MouseBatches,
    Sampler,
    Trials,
    WindowChoice,
    Windows,
    parse,
)
from trialpack.readers.sampling.batches import passes, turns
from trialpack.readers.sampling.windows import below, permutation, raw, uniform
from trialpack.store import OptionError

EVERY, RANDOM, PHASES = "every", "random", "phases"


def trials_of(n_frames: Sequence[int] | None, rows: Sequence[int] | None = None, n: int = 0) -> Trials:
    """Return trials of a mouse whose trial_ids are ten times their rows."""
    places = np.array(range(n if n_frames is None else len(n_frames)) if rows is None else rows, np.int64)
    return Trials("mouse.zarr", places, places * 10, None if n_frames is None else np.array(n_frames, np.int64))


def mouse_of(
    n_frames: Sequence[int] | None,
    *,
    mouse: int = 0,
    rows: Sequence[int] | None = None,
    n: int = 0,
    window: int | None = None,
    stride: int = 1,
    choice: WindowChoice = RANDOM,
    batch_size: int = 3,
    shuffle: bool = True,
    drop_last: bool = False,
) -> MouseBatches:
    windows = Windows(window, stride, choice)
    return MouseBatches(mouse, trials_of(n_frames, rows, n), windows, batch_size, shuffle, drop_last)


def sampler_of(
    mice: Sequence[MouseBatches], mixing: Any = "cycle", *, seed: int = 0, rank: int = 0, world_size: int = 1
) -> Sampler:
    return Sampler(MixedMice(mice, mixing, seed), rank, world_size, mice[0].drop_last)


def key_of(plan: BatchPlan) -> tuple[Any, ...]:
    """All that a batch consists of, to be compared."""
    return plan.mouse, plan.rows.tolist(), plan.starts.tolist(), plan.frames, plan.stride


def keys(plans: Iterator[BatchPlan] | Sequence[BatchPlan]) -> list[tuple[Any, ...]]:
    return [key_of(plan) for plan in plans]


def samples_of(plans: Iterator[BatchPlan] | Sequence[BatchPlan]) -> list[tuple[int, int, int]]:
    return [
        (int(row), int(start), one.frames) for one in plans for row, start in zip(one.rows, one.starts, strict=True)
    ]


@st.composite
def mice_of(draw: st.DrawFn, drop_last: bool | None = None) -> list[MouseBatches]:
    """One to three mice, all static or all dynamic, of a loader: they share all but their trials."""
    dynamic, drop = draw(st.booleans()), draw(st.booleans()) if drop_last is None else drop_last
    window = draw(st.none() | st.integers(1, 6)) if dynamic else None
    stride = draw(st.integers(1, 3)) if dynamic else 1
    choice = draw(st.sampled_from([EVERY, RANDOM, PHASES]))
    hop = draw(st.none() | st.integers(1, 4)) if window is not None and choice != RANDOM else None
    per_trial = draw(st.integers(1, 3)) if window is not None and choice == RANDOM else 1
    hop = hop if hop is None or choice == EVERY else hop * stride
    windows = Windows(window, stride, choice, hop=hop, per_trial=per_trial)
    shuffle, batch_size = draw(st.booleans()), draw(st.integers(1, 4))
    found = list[MouseBatches]()
    for number in range(draw(st.integers(1, 3))):
        # With drop_last a mouse has to have a batch of one length.
        least = 3 * batch_size - 2 if drop else 1
        n = draw(st.integers(least, least + 9))
        rows = sorted(draw(st.sets(st.integers(0, 40), min_size=n, max_size=n)))
        lengths = st.sampled_from([windows.span + stride - 1 + extra for extra in (0, 1, draw(st.integers(2, 20)))])
        n_frames = draw(st.lists(lengths, min_size=n, max_size=n)) if dynamic else None
        found.append(MouseBatches(number, trials_of(n_frames, rows), windows, batch_size, shuffle, drop))
    return found


def mixings(mice: int) -> st.SearchStrategy[Any]:
    weights = st.lists(st.integers(0, 3), min_size=mice, max_size=mice).filter(any).map(lambda w: np.array(w, float))
    return st.sampled_from(["cycle", "sequential", "shuffled"]) | weights


@st.composite
def samplers(draw: st.DrawFn, drop_last: bool | None = None) -> Sampler:
    """Of one rank."""
    mice = draw(mice_of(drop_last))
    return sampler_of(mice, draw(mixings(len(mice))), seed=draw(st.integers(0, 2**70)))


def on(sampler: Sampler, world_size: int) -> list[Sampler]:
    """Return the same for each of several ranks."""
    return [replace(sampler, rank=rank, world_size=world_size) for rank in range(world_size)]


# For good: these numbers are those of the first release


def test_random_numbers_are_these() -> None:
    """From numpy's raw streams, which it promises not to change."""
    assert raw(3, 0, 1, 2).tolist() == [16264559523293538914, 5334366987962299574, 16067779506362230464]
    assert permutation(10, 5, 1).tolist() == [7, 6, 1, 8, 5, 4, 2, 0, 3, 9]
    assert uniform(3, 7).tolist() == [0.625095466604667, 0.8972138009695755, 0.7756856902451935]
    assert below(np.array([1, 2, 10, 1000, 10**12]), 3, 4).tolist() == [0, 0, 1, 103, 510848976511]


GOLDEN_WINDOWS = [
    [
        (0, [3, 7, 0], [3, 171, 208], 16, 2),
        (1, [8, 3, 5], [133, 26, 117], 16, 2),
        (0, [4, 9, 1], [87, 227, 257], 16, 2),
        (1, [2], [99], 16, 2),
        (0, [6], [0], 16, 2),
        (1, [2, 5, 8], [235, 13, 202], 16, 2),
    ],
    [
        (0, [7, 1, 0], [18, 230, 135], 16, 2),
        (1, [5, 3, 2], [245, 158, 212], 16, 2),
        (0, [6, 9, 3], [0, 253, 4], 16, 2),
        (1, [8], [0], 16, 2),
        (0, [4], [214], 16, 2),
        (1, [3, 2, 8], [220, 67, 185], 16, 2),
    ],
]
GOLDEN_TRIALS = {
    0: [([1, 3], 7), ([4, 5], 5), ([0, 2], 5), ([6], 6)],
    10**6: [([1, 3], 7), ([2, 0], 5), ([4, 5], 5), ([6], 6)],
}


def two_mice() -> list[MouseBatches]:
    first = mouse_of([300, 300, 40, 300, 31, 324, 300], rows=[0, 1, 3, 4, 6, 7, 9], window=16, stride=2)
    return [first, mouse_of([300] * 4, mouse=1, rows=[2, 3, 5, 8], window=16, stride=2)]


@pytest.mark.parametrize("epoch", [0, 1])
def test_windows_of_an_epoch_are_these(epoch: int) -> None:
    assert keys(sampler_of(two_mice(), seed=7).batches(EpochPosition(epoch))) == GOLDEN_WINDOWS[epoch]


@pytest.mark.parametrize("epoch", GOLDEN_TRIALS)
def test_trials_of_an_epoch_are_these(epoch: int) -> None:
    """With a seed of more than 64 bits, and an epoch far away."""
    plans = sampler_of([mouse_of([5, 7, 5, 7, 5, 5, 6], batch_size=2)], seed=2**70).batches(EpochPosition(epoch))
    assert [(plan.rows.tolist(), plan.frames) for plan in plans] == GOLDEN_TRIALS[epoch]


def test_draws_of_mice_are_these() -> None:
    sampler = sampler_of(two_mice(), np.array([1.0, 3.0]), seed=7)
    assert [[plan.mouse for plan in sampler.batches(EpochPosition(epoch))] for epoch in range(3)] == [
        [0, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
        [1, 0, 0, 1, 1],
    ]


# Pure


@given(samplers(), st.integers(0, 10**6), st.integers(0, 10**6))
def test_an_epoch_depends_on_seed_and_number_only(sampler: Sampler, epoch: int, other: int) -> None:
    """Not on epochs before, nor on other iterators that are half way through."""
    expected = keys(replace(sampler).batches(EpochPosition(epoch)))
    half = sampler.batches(EpochPosition(other))
    next(half)
    assert keys(sampler.batches(EpochPosition(epoch))) == expected
    list(half)
    assert keys(sampler.batches(EpochPosition(epoch))) == expected


@pytest.mark.parametrize(
    "batches", [{"window": 4}, {}, {"window": 4, "choice": EVERY}], ids=["random", "whole", "every"]
)
def test_epochs_and_seeds_differ(batches: dict[str, Any]) -> None:
    mouse = mouse_of([40] * 20, **batches)
    seen = [(seed, epoch) for seed in range(8) for epoch in range(8)]
    orders = {str(keys(sampler_of([mouse], seed=seed).batches(EpochPosition(epoch)))) for seed, epoch in seen}
    assert len(orders) == len(seen)


def test_mice_have_orders_of_their_own() -> None:
    """Two mice with the same trials."""
    mice = [mouse_of([40] * 20, mouse=mouse, window=4) for mouse in range(2)]
    first, second = (
        [plan for plan in sampler_of(mice).batches(EpochPosition(0)) if plan.mouse == mouse] for mouse in range(2)
    )
    assert [plan.rows.tolist() for plan in first] != [plan.rows.tolist() for plan in second]


@pytest.mark.parametrize("window", [4, None])
def test_without_shuffling_all_epochs_are_the_same(window: int | None) -> None:
    sampler = sampler_of([mouse_of([5, 9, 12], window=window, choice=EVERY, shuffle=False)])
    assert keys(sampler.batches(EpochPosition(0))) == keys(sampler.batches(EpochPosition(3)))


def test_random_windows_without_shuffling() -> None:
    """Trials ascend; where windows begin is new in every epoch."""
    sampler = sampler_of([mouse_of([100] * 10, window=4, shuffle=False)])
    for epoch in (0, 1):
        assert [row for row, _, _ in samples_of(sampler.batches(EpochPosition(epoch)))] == list(range(10))
    assert keys(sampler.batches(EpochPosition(0))) != keys(sampler.batches(EpochPosition(1)))


# What an epoch holds


def expected_samples(mouse: MouseBatches) -> list[tuple[int, int]]:
    """Return row and number of frames of every sample, by counting."""
    windows, trials = mouse.windows, mouse.trials
    if trials.n_frames is None:
        return [(int(row), 0) for row in trials.rows]
    found = list[tuple[int, int]]()
    phases = windows.stride if windows.choice == PHASES else 1
    hop = windows.hop or windows.span + phases - 1
    for row, length in zip(trials.rows.tolist(), trials.n_frames.tolist(), strict=True):
        if windows.frames is None:
            found += [(row, len(range(phase, length, windows.stride))) for phase in range(phases)]
        elif windows.choice == RANDOM:
            found += [(row, windows.frames)] * windows.per_trial
        else:
            ends = [range(phase, length - windows.span + 1, phases)[-1] for phase in range(phases)]
            many = sum(len({*range(phase, end, hop), end}) for phase, end in enumerate(ends))
            found += [(row, windows.frames)] * many
    return found


@given(mice_of(drop_last=False), st.integers(0, 9))
def test_every_sample_comes_once(mice: list[MouseBatches], number: int) -> None:
    for mouse in mice:
        found = samples_of(mouse.one_pass(3, number))
        assert Counter((row, frames) for row, _, frames in found) == Counter(expected_samples(mouse))
        if mouse.windows.choice != RANDOM or mouse.windows.frames is None:
            assert len(set(found)) == len(found)


@given(mice_of(), st.integers(0, 9))
def test_batches_are_as_large_as_promised(mice: list[MouseBatches], number: int) -> None:
    for mouse in mice:
        plans = mouse.one_pass(3, number)
        assert len(mouse) == len(plans)
        for frames in {plan.frames for plan in plans}:
            sizes = [len(plan) for plan in plans if plan.frames == frames]
            assert set(sizes[:-1]) <= {mouse.batch_size} and 0 < sizes[-1] <= mouse.batch_size
            assert sizes[-1] == mouse.batch_size or not mouse.drop_last


@given(mice_of(drop_last=True), st.integers(0, 9))
def test_drop_last_leaves_out_less_than_a_batch_of_each_length(mice: list[MouseBatches], number: int) -> None:
    for mouse in mice:
        found = Counter((row, frames) for row, _, frames in samples_of(mouse.one_pass(3, number)))
        missing = Counter(expected_samples(mouse)) - found
        assert not found - Counter(expected_samples(mouse))
        for frames in {frames for _, frames in expected_samples(mouse)}:
            assert sum(many for (_, one), many in missing.items() if one == frames) < mouse.batch_size


@given(mice_of(), st.integers(0, 9))
def test_windows_lie_inside_the_valid_frames(mice: list[MouseBatches], number: int) -> None:
    for mouse in mice:
        trials, stride = mouse.trials, mouse.windows.stride
        for plan in mouse.one_pass(3, number):
            assert (plan.starts.dtype, plan.rows.dtype, plan.stride) == (np.int64, np.int64, stride)
            if trials.n_frames is None:
                assert plan.frames == 0 and not plan.starts.any()
                continue
            lengths = trials.n_frames[np.searchsorted(trials.rows, plan.rows)]
            assert (plan.starts >= 0).all() and (plan.starts + (plan.frames - 1) * stride < lengths).all()
            if mouse.windows.frames is None:
                # Whole trials of different lengths never mix.
                assert set(-(-(lengths - plan.starts) // stride)) == {plan.frames}
                assert not plan.starts.any() or (mouse.windows.choice == PHASES and (plan.starts < stride).all())


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(1, 6), st.integers(1, 4))
def test_windows_one_behind_another_cover_every_frame(n_frames: list[int], window: int, stride: int) -> None:
    windows = Windows(window, stride, EVERY)
    n_frames = [windows.span + more - 1 for more in n_frames]
    samples = windows.samples(trials_of(n_frames))
    assert samples.rows.tolist() == sorted(samples.rows.tolist())
    for row, length in enumerate(n_frames):
        starts = samples.starts[samples.rows == row].tolist()
        assert starts[0] == 0 and starts[-1] == length - windows.span
        # No window is left out, and none is there without need.
        assert all(0 < after - before <= windows.span for before, after in itertools.pairwise(starts))
        assert len(starts) == math.ceil(length / windows.span)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(1, 6), st.integers(1, 4), st.data())
def test_phases_cover_every_frame(more: list[int], window: int, stride: int, data: st.DataObject) -> None:
    """Each phase in turn; once each but for the last windows, unless hops are shorter."""
    hop = data.draw(st.none() | st.integers(1, window).map(lambda one: one * stride))
    windows = Windows(window, stride, PHASES, hop=hop)
    n_frames = [windows.span + stride - 1 + one for one in more]
    samples = windows.samples(trials_of(n_frames))
    for row, length in enumerate(n_frames):
        starts = samples.starts[samples.rows == row]
        counts = np.bincount((starts[:, None] + np.arange(window) * stride).ravel(), minlength=length)
        assert len(counts) == length and counts.all()
        assert hop is not None or length % (window * stride) or (counts == 1).all()


@pytest.mark.parametrize(
    ("n_frames", "window", "stride", "hop", "choice", "starts"),
    [
        pytest.param(300, 80, 1, 40, EVERY, [0, 40, 80, 120, 160, 200, 220], id="half a window"),
        pytest.param(300, 80, 1, 110, EVERY, [0, 110, 220], id="gaps"),
        pytest.param(100, 80, 1, 200, EVERY, [0, 20], id="beyond the end"),
        pytest.param(12, 3, 2, None, PHASES, [0, 6, 1, 7], id="phases"),
        pytest.param(12, 3, 2, 4, PHASES, [0, 4, 6, 1, 5, 7], id="phases that overlap"),
        pytest.param(13, 3, 2, None, PHASES, [0, 6, 8, 1, 7], id="phases of other lengths"),
        pytest.param(7, None, 3, None, PHASES, [0, 1, 2], id="phases of whole trials"),
    ],
)
def test_windows_that_overlap(
    n_frames: int, window: int | None, stride: int, hop: int | None, choice: WindowChoice, starts: list[int]
) -> None:
    windows = Windows(window, stride, choice, hop=hop)
    assert windows.samples(trials_of([n_frames])).starts.tolist() == starts


def test_several_random_windows_of_a_trial() -> None:
    """Drawn one by one: of each trial as many, which begin anywhere."""
    samples = Windows(4, 1, RANDOM, per_trial=2000).samples(trials_of([13, 8]), 1, 2)
    assert samples.rows.tolist() == [0] * 2000 + [1] * 2000
    first, second = np.bincount(samples.starts[:2000]), np.bincount(samples.starts[2000:])
    assert (len(first), len(second)) == (10, 5) and first.min() > 140 and second.min() > 320


@pytest.mark.parametrize(
    ("n_frames", "window", "stride", "starts"),
    [
        pytest.param(300, 80, 1, [0, 80, 160, 220], id="the last one overlaps"),
        pytest.param(300, 60, 1, [0, 60, 120, 180, 240], id="a multiple"),
        pytest.param(300, 300, 1, [0], id="just one"),
        pytest.param(301, 300, 1, [0, 1], id="a frame more"),
        pytest.param(70, 16, 2, [0, 31, 39], id="stride"),
        pytest.param(4, 1, 1, [0, 1, 2, 3], id="single frames"),
        pytest.param(4, 1, 7, [0, 1, 2, 3], id="single frames, stride"),
    ],
)
def test_windows_one_behind_another(n_frames: int, window: int, stride: int, starts: list[int]) -> None:
    assert Windows(window, stride, EVERY).samples(trials_of([n_frames])).starts.tolist() == starts


@pytest.mark.parametrize(("window", "stride"), [(4, 1), (3, 2), (1, 1), (1, 5)])
def test_random_windows_begin_anywhere(window: int, stride: int) -> None:
    """As often at each frame that leaves room for a window, the first and the last included."""
    windows, many, places = Windows(window, stride, RANDOM), 20_000, 10
    trials = trials_of([windows.span + places - 1] * many)
    counts = np.bincount(windows.samples(trials, 1, 2).starts, minlength=places)
    assert len(counts) == places
    expected, sigma = many / places, math.sqrt(many / places * (1 - 1 / places))
    assert np.abs(counts - expected).max() < 5 * sigma, counts


def test_a_trial_as_long_as_the_window_has_one_start() -> None:
    assert set(Windows(7, 2, RANDOM).samples(trials_of([13] * 50), 1).starts.tolist()) == {0}


def test_shuffling_brings_every_trial_everywhere() -> None:
    """Each trial first as often as any other."""
    mouse, passes_made = mouse_of(None, n=5, batch_size=5), 2000
    first = Counter(mouse.one_pass(0, epoch)[0].rows[0] for epoch in range(passes_made))
    assert len(first) == 5 and all(abs(count - 400) < 5 * math.sqrt(400 * 0.8) for count in first.values()), first


def test_batches_of_each_length_stand_where_their_first_sample_does() -> None:
    mouse = mouse_of([5, 5, 7, 5, 7, 6], batch_size=2, shuffle=False)
    assert [(plan.rows.tolist(), plan.frames) for plan in mouse.one_pass(0)] == [
        ([0, 1], 5),
        ([2, 4], 7),
        ([3], 5),
        ([5], 6),
    ]


def test_rows_and_starts_stay_together() -> None:
    """Every window of a trial, in a shuffled order, is one that the trial has."""
    mouse = mouse_of([9, 20, 13], rows=[1, 5, 6], window=4, choice=EVERY, batch_size=2)
    assert sorted(samples_of(mouse.one_pass(3)))[:3] == [(1, 0, 4), (1, 4, 4), (1, 5, 4)]


# Mixing


@pytest.mark.parametrize(
    ("mixing", "sizes", "expected"),
    [
        pytest.param("cycle", [2, 2], [0, 1, 0, 1], id="cycle"),
        pytest.param("cycle", [1, 3, 2], [0, 1, 2] * 3, id="cycle until the longest ends"),
        pytest.param("cycle", [4], [0] * 4, id="cycle of one"),
        pytest.param("sequential", [2, 1, 3], [0, 0, 1, 2, 2, 2], id="sequential"),
    ],
)
def test_turns(mixing: Any, sizes: list[int], expected: list[int]) -> None:
    assert turns(mixing, sizes, 0) == expected


def test_shuffled_mice_come_each_batch_once_in_any_order() -> None:
    sizes, first = [2, 1, 3], Counter[int]()
    for epoch in range(600):
        drawn = turns("shuffled", sizes, 7, epoch)
        assert sorted(drawn) == [0, 0, 1, 2, 2, 2]
        first[drawn[0]] += 1
    assert turns("shuffled", sizes, 7, 3) == turns("shuffled", sizes, 7, 3) != turns("shuffled", sizes, 8, 3)
    assert all(abs(first[mouse] - 100 * size) < 60 for mouse, size in enumerate(sizes)), first


@pytest.mark.parametrize("weights", [[1, 1], [1, 3], [0.2, 0.3, 0.5], [1000, 1, 1], [1e-12, 2e-12], [3]])
def test_mice_are_drawn_by_weight(weights: list[float]) -> None:
    """As many batches as all have together, each mouse about as often as its weight says."""
    sizes = [5000 * (number + 1) for number in range(len(weights))]
    drawn, total = turns(np.array(weights), sizes, 11), sum(sizes)
    assert len(drawn) == total
    for mouse, weight in enumerate(weights):
        p = weight / sum(weights)
        assert abs(drawn.count(mouse) - total * p) <= 5 * math.sqrt(total * p * (1 - p)), weights


@pytest.mark.parametrize("weights", [[0, 1, 0], [0, 0, 2], [1, 0, 0], [0, 1, 1]])
def test_mice_without_weight_are_never_drawn(weights: list[float]) -> None:
    drawn = set(turns(np.array(weights, float), [3000] * 3, 1))
    assert drawn == {mouse for mouse, weight in enumerate(weights) if weight}


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_each_batch_of_a_pass_comes_before_the_next_pass(sizes: list[int], data: st.DataObject) -> None:
    drawn = turns(data.draw(mixings(len(sizes))), sizes, 5)
    for mouse, size in enumerate(sizes):
        mine = [(number, place) for one, number, place in passes(drawn, sizes) if one == mouse]
        assert mine == [divmod(place, size) for place in range(len(mine))]


@given(samplers())
def test_batches_are_of_one_mouse_and_come_in_the_promised_numbers(sampler: Sampler) -> None:
    counts = Counter(plan.mouse for plan in sampler.batches(EpochPosition(2)))
    sizes = [len(mouse) for mouse in sampler.epochs.mice]
    assert sum(counts.values()) == sampler.n_batches(0) == sampler.steps_after(EpochPosition())
    if isinstance(sampler.epochs.mixing, str):
        expected = [max(sizes)] * len(sizes) if sampler.epochs.mixing == "cycle" else sizes
        assert [counts[mouse] for mouse in range(len(sizes))] == expected
    else:
        assert sampler.n_batches(0) == sum(sizes)
    for plan in sampler.batches(EpochPosition(2)):
        assert set(plan.rows.tolist()) <= set(sampler.epochs.mice[plan.mouse].trials.rows.tolist())


def test_a_shorter_mouse_starts_again_in_another_order() -> None:
    """Each time it is gone through whole."""
    mice = [mouse_of([9] * 40, batch_size=4), mouse_of([9] * 12, mouse=1, batch_size=4)]
    plans = [plan for plan in sampler_of(mice).batches(EpochPosition(0)) if plan.mouse == 1]
    rounds = [[row for plan in plans[first : first + 3] for row in plan.rows.tolist()] for first in (0, 3, 6)]
    assert len(plans) == 10 and all(sorted(one) == list(range(12)) for one in rounds)
    assert len({str(one) for one in rounds}) == 3


NAMES = [{"dynamic1-2-3-Video-abc", "dynamic1-2-3", "A"}, {"dynamic4-5-6-Video-abc", "dynamic4-5-6", "B"}]


@pytest.mark.parametrize(
    ("mixing", "expected"),
    [
        pytest.param("cycle", "cycle", id="cycle"),
        pytest.param("sequential", "sequential", id="sequential"),
        pytest.param({"B": 3, "A": 1}, [1, 3], id="letters"),
        pytest.param({"dynamic4-5-6": 0.5, "dynamic1-2-3-Video-abc": 2}, [2, 0.5], id="names"),
        pytest.param({"A": 1, "dynamic4-5-6": 0}, [1, 0], id="both, one never"),
        pytest.param([1, 3], [1, 3], id="a list"),
        pytest.param((0.25, 0.75), [0.25, 0.75], id="a tuple"),
        pytest.param(np.array([1, 2], np.int8), [1, 2], id="an array"),
    ],
)
def test_ways_of_mixing(mixing: Any, expected: Any) -> None:
    found = parse(mixing, NAMES)
    if isinstance(expected, str):
        assert found == expected
    else:
        assert isinstance(found, np.ndarray) and found.dtype == np.float64 and found.tolist() == expected


@pytest.mark.parametrize(
    ("mixing", "text"),
    [
        pytest.param("random", "no way of mixing mice is called 'random'", id="unknown"),
        pytest.param({"A": 1}, "mouse B does not have just one weight", id="a mouse without"),
        pytest.param({"A": 1, "B": 1, "C": 1}, "no mouse is called 'C'", id="a mouse too many"),
        pytest.param({"A": 1, "dynamic1-2-3": 2, "B": 1}, "mouse A does not have just one weight", id="a mouse twice"),
        pytest.param([1], "expected 2 numbers", id="too few"),
        pytest.param([1, 2, 3], "expected 2 numbers", id="too many"),
        pytest.param([1, -1], "none below zero", id="negative"),
        pytest.param([0, 0], "not all zero", id="all zero"),
        pytest.param([1, math.nan], "do not fit", id="nan"),
        pytest.param([1, math.inf], "do not fit", id="infinite"),
        pytest.param([[1], [2]], "do not fit", id="nested"),
        pytest.param({}, "does not have just one weight", id="empty"),
        pytest.param(["1", "two"], "mixing", id="words"),
        pytest.param({"A": 1, "B": None}, "mixing", id="none for a mouse"),
        pytest.param(None, "mixing", id="none at all"),
        pytest.param(2, "mixing", id="one number"),
    ],
)
def test_no_ways_of_mixing(mixing: Any, text: str) -> None:
    with pytest.raises(OptionError, match=text) as raised:
        parse(mixing, NAMES)
    assert "choose cycle, sequential, shuffled, or a weight for each mouse" in str(raised.value)


# Ranks


def dealt(sampler: Sampler, world_size: int, epoch: int, position: int = 0) -> list[list[tuple[Any, ...]]]:
    """Return the batches of each step of all ranks."""
    each = [keys(one.batches(EpochPosition(epoch, position))) for one in on(sampler, world_size)]
    assert {len(one) for one in each} == {sampler_steps(sampler, world_size, position)}
    return [list(step) for step in zip(*each, strict=True)]


def sampler_steps(sampler: Sampler, world_size: int, position: int) -> int:
    return replace(sampler, world_size=world_size).steps_after(EpochPosition(0, position))


@given(samplers(drop_last=False), st.integers(1, 7), st.integers(0, 5))
def test_ranks_together_get_all_batches_in_order(sampler: Sampler, world_size: int, epoch: int) -> None:
    """The last step is filled up with the first batches of the epoch."""
    order = keys(sampler.batches(EpochPosition(epoch)))
    found = [one for step in dealt(sampler, world_size, epoch) for one in step]
    steps = math.ceil(len(order) / world_size)
    assert found == [order[place % len(order)] for place in range(steps * world_size)]


@given(samplers(drop_last=True), st.integers(1, 7), st.integers(0, 5))
def test_drop_last_leaves_out_an_unequal_end(sampler: Sampler, world_size: int, epoch: int) -> None:
    order = keys(sampler.batches(EpochPosition(epoch)))
    found = [one for step in dealt(sampler, world_size, epoch) for one in step]
    assert found == order[: len(order) // world_size * world_size]


def same(sampler: Sampler, world_size: int) -> list[Sampler]:
    """Return the same for each of several ranks, which all have one mouse at a step."""
    return [replace(one, same_mouse=True) for one in on(sampler, world_size)]


@given(samplers(drop_last=False), st.integers(1, 5))
def test_ranks_with_one_mouse_get_every_batch(sampler: Sampler, world_size: int) -> None:
    """Steps go by the first batch that is left; what does not suffice is filled up of the same mouse."""
    order, left = keys(sampler.batches(EpochPosition(3))), keys(sampler.batches(EpochPosition(3)))
    steps = list(zip(*(keys(one.batches(EpochPosition(3))) for one in same(sampler, world_size)), strict=True))
    assert len(steps) == same(sampler, world_size)[0].steps_after(EpochPosition(3))
    for step in steps:
        own = [one for one in left if one[0] == left[0][0]][:world_size]
        assert list(step[: len(own)]) == own and {one[0] for one in step} == {left[0][0]}
        first = [one for one in order if one[0] == left[0][0]]
        assert list(step[len(own) :]) == [first[extra % len(first)] for extra in range(world_size - len(own))]
        for one in own:
            left.remove(one)
    assert not left


@given(samplers(drop_last=True), st.integers(1, 4))
def test_ranks_with_one_mouse_leave_out_what_does_not_suffice(sampler: Sampler, world_size: int) -> None:
    order = keys(sampler.batches(EpochPosition(3)))
    steps = list(zip(*(keys(one.batches(EpochPosition(3))) for one in same(sampler, world_size)), strict=True))
    assert len(steps) == same(sampler, world_size)[0].steps_after(EpochPosition(3))
    for mouse in range(len(sampler.epochs.mice)):
        own = [one for one in order if one[0] == mouse]
        found = [one for step in steps for one in step if step[0][0] == mouse]
        assert found == own[: len(own) // world_size * world_size]


# Resuming


@given(samplers(drop_last=False), st.data())
def test_ranks_with_one_mouse_are_resumed_on_other_ranks(sampler: Sampler, data: st.DataObject) -> None:
    """However often the epoch is broken off, each batch comes once, those of each mouse in their order."""
    order, place, handed = keys(sampler.batches(EpochPosition(1))), EpochPosition(1), list[tuple[Any, ...]]()
    while place.position < len(order):
        world_size = data.draw(st.integers(1, 5))
        each = same(sampler, world_size)
        steps = list(zip(*(keys(one.batches(place)) for one in each), strict=True))
        stands = [stand for _, stand in each[0].steps(place)]
        assert len(steps) == each[0].steps_after(place)
        for step, stand in list(zip(steps, stands, strict=True))[: data.draw(st.integers(1, len(steps)))]:
            handed += step[: stand.position - place.position]
            place = resumed(each[-1], stand)
    for mouse in range(len(sampler.epochs.mice)):
        assert [one for one in handed if one[0] == mouse] == [one for one in order if one[0] == mouse]


@pytest.mark.parametrize(
    "change", [{"taken": [1]}, {"taken": [9, 0]}, {"taken": [0, 0]}, {"taken": "ab"}, {"taken": 2}]
)
def test_what_is_no_state_of_ranks_with_one_mouse_is_refused(change: dict[str, Any]) -> None:
    sampler = replace(base(), same_mouse=True)
    good = sampler.to_state(EpochPosition(0, 2, (1, 1)), ["a"])
    assert sampler.from_state(good, ["a"]) == EpochPosition(0, 2, (1, 1))
    with pytest.raises(OptionError, match="not a state"):
        sampler.from_state(good | change, ["a"])
    with pytest.raises(OptionError, match="only rank and world_size may differ"):
        base().from_state(good, ["a"])


def resumed(sampler: Sampler, place: EpochPosition) -> EpochPosition:
    """Return a place that went through a state, as a file of JSON keeps it."""
    return sampler.from_state(json.loads(json.dumps(sampler.to_state(place, ["a"]))), ["a"])


def advanced(sampler: Sampler, world_size: int, place: EpochPosition) -> EpochPosition:
    """Return the place one step later, as the loader counts it."""
    return EpochPosition(place.epoch, min(sampler.n_batches(0), place.position + world_size))


@given(samplers(), st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), min_size=1, max_size=6))
def test_resumed_on_other_ranks_the_rest_comes_in_order(sampler: Sampler, runs: list[tuple[int, int]]) -> None:
    """Whatever the number of ranks of each run, and however often it was broken off: nothing twice, nothing missing."""
    epoch, order = 4, keys(sampler.batches(EpochPosition(4)))
    place = EpochPosition(epoch)
    for world_size, steps in runs:
        place = resumed(sampler, place)
        left = order[place.position :]
        found = [one for step in dealt(sampler, world_size, epoch, place.position) for one in step]
        whole = len(left) // world_size * world_size
        if sampler.drop_last:
            assert found == left[:whole]
        else:
            filled = math.ceil(len(left) / world_size) * world_size - len(left)
            assert found == left + [order[extra % len(order)] for extra in range(filled)]
        for _ in range(min(steps, len(found) // world_size)):
            place = advanced(sampler, world_size, place)


@given(samplers(drop_last=False), st.data())
def test_one_run_after_another_hands_out_each_batch_once(sampler: Sampler, data: st.DataObject) -> None:
    order, place, handed = keys(sampler.batches(EpochPosition(1))), EpochPosition(1), list[tuple[Any, ...]]()
    while place.position < sampler.n_batches(0):
        world_size = data.draw(st.integers(1, 5))
        steps = dealt(sampler, world_size, 1, place.position)
        for step in steps[: data.draw(st.integers(1, len(steps)))]:
            handed += step[: sampler.n_batches(0) - place.position]
            place = resumed(sampler, advanced(sampler, world_size, place))
    assert handed == order


def base() -> Sampler:
    mice = [mouse_of([40, 30, 30, 40], window=4), mouse_of([40] * 6, mouse=1, rows=[0, 2, 3, 4, 6, 7], window=4)]
    return sampler_of(mice, seed=3)


def each(**changes: Any) -> Callable[[Sampler], Sampler]:
    """Return what changes all mice of a sampler."""
    return lambda sampler: of(sampler, mice=[replace(mouse, **changes) for mouse in sampler.epochs.mice])


def of(sampler: Sampler, **changes: Any) -> Sampler:
    """Return a sampler of other epochs."""
    return replace(sampler, epochs=replace(cast("MixedMice", sampler.epochs), **changes))


OTHERS: dict[str, Callable[[Sampler], Sampler]] = {
    "seed": lambda one: of(one, seed=4),
    "mixing": lambda one: of(one, mixing="sequential"),
    "weights": lambda one: of(one, mixing=np.array([1.0, 2.0])),
    "fewer mice": lambda one: of(one, mice=one.epochs.mice[:1]),
    "mice in another order": lambda one: of(one, mice=one.epochs.mice[::-1]),
    "batch size": each(batch_size=2),
    "no shuffling": each(shuffle=False),
    "drop_last": each(drop_last=True),
    "window": each(windows=Windows(5, 1, RANDOM)),
    "stride": each(windows=Windows(4, 2, RANDOM)),
    "every window": each(windows=Windows(4, 1, EVERY)),
    "hop": each(windows=Windows(4, 1, EVERY, hop=2)),
    "random windows": each(windows=Windows(4, 1, RANDOM, per_trial=2)),
    "repeats": each(groups=(np.array([0, 1]),)),
    "shuffled": lambda one: of(one, mixing="shuffled"),
    "whole trials": each(windows=Windows(None, 1, RANDOM)),
    "trials": lambda one: of(one, mice=[mouse_of([40, 30, 30, 40], rows=[0, 1, 2, 4], window=4), one.epochs.mice[1]]),
    "frames": lambda one: of(one, mice=[mouse_of([40, 30, 30, 41], window=4), one.epochs.mice[1]]),
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_state_of_another_sampler_is_refused(other: str) -> None:
    mine, theirs = base(), OTHERS[other](base())
    state = theirs.to_state(EpochPosition(2, 1), ["a", "b"])
    with pytest.raises(OptionError, match="only rank and world_size may differ"):
        mine.from_state(state, ["a", "b"])


def test_the_state_of_other_stores_is_refused() -> None:
    state = base().to_state(EpochPosition(2, 1), ["a", "c"])
    with pytest.raises(OptionError, match="other mice"):
        base().from_state(state, ["a", "b"])


def test_ranks_may_differ() -> None:
    fingerprints = {
        one.fingerprint(EpochPosition(1, 1), ["a", "b"]) for world_size in (1, 2, 5) for one in on(base(), world_size)
    }
    assert len(fingerprints) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": None},
        {"epoch": "1"},
        {"epoch": -1},
        {"epoch": 1.0},
        {"position": None},
        {"position": -1},
        {"position": 5},
        {"position": 0.5},
        {"position": "0"},
        {"sampling": None},
        {"sampling": ""},
    ],
    ids=str,
)
def test_what_is_no_state_is_refused(change: dict[str, Any]) -> None:
    sampler = base()
    assert sampler.n_batches(0) == 4
    good = sampler.to_state(EpochPosition(1, 4), ["a"])
    assert sampler.from_state(good, ["a"]) == EpochPosition(1, 4)
    for state in (good | change, {name: value for name, value in good.items() if name not in change}):
        with pytest.raises(OptionError, match="TrialLoader: "):
            sampler.from_state(state, ["a"])


# What is refused


@pytest.mark.parametrize(
    ("sampler", "texts"),
    [
        pytest.param(
            sampler_of([mouse_of([300, 80, 70, 300], window=81)]),
            ["2 of 4 trials are shorter than a window of 81 frames (trial 10 has 80)", "choose a shorter window"],
            id="a window longer than trials",
        ),
        pytest.param(
            sampler_of([mouse_of([30], window=16, stride=2)]),
            ["window of 31 frames (trial 0 has 30)"],
            id="a window with a stride",
        ),
        pytest.param(
            sampler_of([mouse_of([30], window=16, stride=2, choice=EVERY, shuffle=False)]),
            ["window of 31 frames (trial 0 has 30)"],
            id="windows one behind another",
        ),
        pytest.param(
            sampler_of([mouse_of([30]), mouse_of([20, 9], mouse=1, window=10)]),
            ["mouse.zarr: 1 of 2 trials are shorter"],
            id="the second mouse",
        ),
        pytest.param(
            sampler_of([mouse_of(None, n=4, window=10)]),
            ["static trials have no frames", "leave out window, stride, samples_per_trial, skip_frames and max_frames"],
            id="a window of static trials",
        ),
        pytest.param(sampler_of([mouse_of(None, n=4, stride=2)]), ["static trials have no frames"], id="static stride"),
        pytest.param(
            sampler_of([mouse_of([9, 9, 8, 8], drop_last=True)]),
            ["no batch of 3 samples in 4 trials", "choose a smaller batch_size, or drop_last=False"],
            id="no whole batch",
        ),
        pytest.param(
            sampler_of([mouse_of([9] * 9)], rank=2, world_size=2), ["rank 2 of world_size 2"], id="a rank too many"
        ),
        pytest.param(sampler_of([mouse_of([9] * 9)], rank=-1, world_size=2), ["rank -1"], id="a negative rank"),
        pytest.param(sampler_of([mouse_of([9] * 9)], world_size=0), ["rank 0 of world_size 0"], id="no ranks"),
        pytest.param(
            sampler_of([mouse_of([9] * 9, drop_last=True)], world_size=4),
            ["3 batches do not suffice for 4 ranks"],
            id="fewer batches than ranks",
        ),
    ],
)
def test_what_cannot_be_sampled_is_refused(sampler: Sampler, texts: list[str]) -> None:
    with pytest.raises(OptionError) as raised:
        sampler.check()
    for text in texts:
        assert text in str(raised.value)


@given(samplers(), st.integers(1, 4))
def test_what_is_not_refused_has_batches(sampler: Sampler, world_size: int) -> None:
    """For every rank, in every epoch."""
    if sampler.drop_last and sampler.n_batches(0) < world_size:
        return
    for one in on(sampler, world_size):
        one.check()
        assert len(list(one.batches(EpochPosition(0)))) == one.steps_after(EpochPosition()) >= 1

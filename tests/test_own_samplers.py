"""Batches of one's own choice: plans of a sampler, and all repeats of a stimulus."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.convert.sample import write_sample
from trialpack.readers import Mouse, Plan, TrialLoader
from trialpack.store import OptionError

from .streams import Recorded, assert_batch, pack
from .test_repeats import SHOWN, clip, opened, response, write

SOURCES: dict[str, dict[str, Any]] = {
    "A": {"trials": 12, "neurons": 4, "image_shape": (3, 4)},
    "B": {"trials": 12, "neurons": 6, "image_shape": (3, 4)},
    "P1": {"trials": 20, "neurons": 5, "image_shape": (3, 4)},
}


@pytest.fixture(scope="module")
def mice(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mouse]:
    place = tmp_path_factory.mktemp("mice")
    written = {name: write_sample(place / name, mouse=name, **options) for name, options in SOURCES.items()}
    return {name: pack(folder, place / "stores") for name, folder in written.items()}


@pytest.fixture(scope="module")
def mouse(mice: dict[str, Mouse]) -> Mouse:
    return mice["A"]


@pytest.fixture(scope="module")
def ids(mouse: Mouse) -> list[int]:
    """The trials of mouse A that have responses."""
    return mouse.recording.trial_ids[mouse.rows(trials={"withheld": False})].tolist()


def load(mice: Any, **options: Any) -> TrialLoader:
    chosen: dict[str, Any] = {"tier": None, "trials": {"withheld": False}, "output": "numpy", "threads": 2}
    return TrialLoader(mice, **chosen | options)


def places(batches: Any) -> list[tuple[str, list[int], list[int]]]:
    return [(one.mouse, one["trial_id"].tolist(), one["start"].tolist()) for one in batches]


class Shuffled:
    """Plans in an order that depends on the epoch, as a sampler of torch has it."""

    def __init__(self, trials: list[int]) -> None:
        self.trials, self.epochs, self._epoch = trials, list[int](), 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        self.epochs.append(epoch)

    def __iter__(self) -> Iterator[Plan]:
        random = np.random.default_rng(self._epoch)
        for trial in random.permutation(self.trials):
            yield Plan([int(trial)] * 2, random.integers(0, 200, 2))


# A sampler of one's own


def test_batches_are_as_planned(mice: dict[str, Mouse], ids: list[int]) -> None:
    """Trials of any mouse, in any order and number, from any frames on, several times, too."""
    other = mice["B"].recording.trial_ids[mice["B"].rows(trials={"withheld": False})].tolist()
    plans = [
        Plan([ids[2], ids[0], ids[2]], [5, 2, 100]),
        Plan(np.array([other[1]]), 7, mouse="B"),
        Plan((other[0],), mouse=1),
        Plan([ids[0]] * 4, mouse=mice["A"].name),
    ]
    expected = [
        (mice["A"].name, [ids[2], ids[0], ids[2]], [5, 2, 100]),
        (mice["B"].name, [other[1]], [7]),
        (mice["B"].name, [other[0]], [2]),
        (mice["A"].name, [ids[0]] * 4, [2] * 4),
    ]
    with pytest.raises(OptionError, match=f"plan 0 of epoch 0: no sample of trial {ids[0]} begins at frame 2; plan"):
        load(mice["A"], batch_size=4, window=16, sampler=plans[:1], skip_frames=3)
    loader = load([mice["A"], mice["B"]], batch_size=4, window=16, stride=3, sampler=plans, skip_frames=2)
    recorded = {mouse.name: Recorded(mouse) for mouse in (mice["A"], mice["B"])}
    assert len(loader) == 4
    for _ in range(2):
        found = list(loader)
        assert places(found) == expected
        for batch in found:
            assert_batch(batch, recorded[batch.mouse], stride=3)


def test_whole_trials_end_with_the_shortest(mouse: Mouse) -> None:
    lengths = mouse.trials.n_frames[mouse.trials.withheld == False]  # noqa: E712
    long, short = int(lengths.idxmax()), int(lengths.idxmin())
    assert lengths[long] > lengths[short]
    (batch,) = load(mouse, batch_size=2, sampler=[Plan([long, short], [10, 0])])
    assert_batch(batch, Recorded(mouse))
    assert batch.frames == min(lengths[long] - 10, lengths[short])


def test_static_mice_are_planned(mice: dict[str, Mouse]) -> None:
    ids = mice["P1"].recording.trial_ids[mice["P1"].rows(trials={"withheld": False})].tolist()
    found = list(load(mice["P1"], batch_size=3, sampler=[Plan(ids[3:0:-1]), Plan([ids[0]])]))
    assert places(found) == [(mice["P1"].name, ids[3:0:-1], [0] * 3), (mice["P1"].name, [ids[0]], [0])]
    for batch in found:
        assert_batch(batch, Recorded(mice["P1"]))


def test_an_epoch_of_its_own_for_each_iter(mouse: Mouse, ids: list[int]) -> None:
    sampler = Shuffled(ids)
    loader = load(mouse, batch_size=2, window=30, sampler=sampler)
    first, second = places(loader), places(loader)
    assert first != second and sampler.epochs == [0, 1]
    loader.set_epoch(1)
    assert places(loader) == second and places(load(mouse, batch_size=2, window=30, sampler=Shuffled(ids))) == first
    assert places(loader.take([3, 1], epoch=1)) == [second[3], second[1]]


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("ranks", ["any", "same"])
def test_an_own_sampler_goes_on(mice: dict[str, Mouse], ids: list[int], steps: int, ranks: Any) -> None:
    other = mice["B"].recording.trial_ids[mice["B"].rows(trials={"withheld": False})].tolist()

    class Both(Shuffled):
        def __iter__(self) -> Iterator[Plan]:
            for plan in super().__iter__():
                yield plan
                yield Plan(other[:1], plan.starts[0], mouse="B")

    def make(**options: Any) -> TrialLoader:
        both = [mice["A"], mice["B"]]
        return load(both, batch_size=2, window=30, sampler=Both(ids), ranks=ranks, **options)

    whole = make()
    expected = [places(whole) for _ in range(3)]
    loader = make()
    list(loader)
    iterator = iter(loader)
    came = places(itertools.islice(iterator, steps))
    again, several = make(), [make(rank=rank, world_size=3) for rank in range(3)]
    for one in (again, *several):
        one.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    assert len(again) == len(expected[1]) - steps
    assert came + places(again) == expected[1] and places(again) == expected[2]
    rest = list(zip(*map(places, several), strict=True))
    assert {str(one) for step in rest for one in step} >= {str(one) for one in expected[1][steps:]}
    assert ranks == "any" or all(len({mouse for mouse, _, _ in step}) == 1 for step in rest)


def test_a_sampler_that_gives_other_plans_is_not_resumed(mouse: Mouse, ids: list[int]) -> None:
    plans = [Plan([trial]) for trial in ids[:4]]
    loader = load(mouse, batch_size=1, window=30, sampler=plans)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    again = load(mouse, batch_size=1, window=30, sampler=plans[::-1])
    with pytest.raises(OptionError, match="whose sampler gave other plans; make the loader as it was"):
        again.load_state_dict(state)
    list(iterator)
    # Between epochs nothing was planned yet.
    again.load_state_dict(loader.state_dict())
    assert len(again) == 4


class Never:
    def __iter__(self) -> Iterator[Plan]:
        return iter(())


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a trial that is not there": (
        {"sampler": [Plan([0]), Plan([1])]},
        "plan 1 of epoch 0: no trial 1 among the .* that",
    ),
    "a trial that is not chosen": (
        {"sampler": [Plan([0])], "trials": [18]},
        "no trial 0 among the 1 that are chosen of .*; choose",
    ),
    "a start too late": ({"sampler": [Plan([0], 271)]}, "no sample of trial 0 begins at frame 271; plan a start"),
    "a negative start": ({"sampler": [Plan([0], -1)]}, "no sample of trial 0 begins at frame -1; plan a start"),
    "half a start": ({"sampler": [Plan([0], [0.5])]}, r"starts=\[0.5\]; give a frame, or one for each of 1 trials"),
    "starts of other trials": ({"sampler": [Plan([0], [1, 2])]}, r"starts=\[1, 2\]; give a frame, or one"),
    "no trials": ({"sampler": [Plan([])]}, r"trials=\[\]; give 1 to 3 trial_ids \(batch_size\)"),
    "more than a batch": ({"sampler": [Plan([0] * 4)]}, "; give 1 to 3 trial_ids"),
    "trials in words": ({"sampler": [Plan(["a"])]}, r"trials=\['a'\]; give 1 to 3 trial_ids"),
    "a mouse that is not there": ({"sampler": [Plan([0], mouse="B")]}, "no mouse 'B'; there are dynamic29156"),
    "a mouse beyond the last": ({"sampler": [Plan([0], mouse=1)]}, "no mouse 1; there are dynamic29156"),
    "a negative mouse": ({"sampler": [Plan([0], mouse=-1)]}, "no mouse -1; there are"),
    "no plan": ({"sampler": [[0, 2]]}, "expected a Plan, found list; give Plan"),
    "no plans": ({"sampler": Never()}, "no plans of epoch 0; give at least one"),
    "a generator": (
        {"sampler": (Plan([0]) for _ in range(3))},
        "^sampler: expected something that gives Plans at each",
    ),
    "a number": ({"sampler": 3}, "^sampler: expected something that gives Plans at each iter"),
    "a sampler and shuffle": (
        {"sampler": [Plan([0])], "shuffle": True},
        "shuffle and sampler do not go together; leave",
    ),
    "a sampler and repeats": (
        {"sampler": [Plan([0])], "repeats": True, "batch_size": None},
        "repeats and sampler do not go together; leave",
    ),
    "a sampler and mixing": ({"sampler": [Plan([0])], "mixing": "shuffled"}, "mixing and sampler do not go together"),
    "a sampler and hop": ({"sampler": [Plan([0])], "hop": 3}, "hop and sampler do not go together; leave"),
    "a sampler and windows": ({"sampler": [Plan([0])], "windows": "every"}, "windows and sampler do not go together"),
    "a sampler and several": (
        {"sampler": [Plan([0])], "samples_per_trial": 2},
        "samples_per_trial and sampler do not go together",
    ),
    "hop without window": ({"hop": 3, "window": None}, "hop needs a window; give one, such as window=80"),
    "no hop": ({"hop": 0}, "^hop: expected a whole number of at least 1, found 0$"),
    "hop as text": ({"hop": "3"}, "^hop: expected a number of frames, or a duration"),
    "hop that is no number of frames": (
        {"hop": "50ms"},
        "hop='50ms' is no whole number of frames .1.5 at 30 Hz.; give",
    ),
    "hop of random windows": (
        {"hop": 3, "windows": "random"},
        "hop=3 does not go with random windows; choose windows=",
    ),
    "hop of other phases": (
        {"hop": 5, "windows": "phases", "stride": 3},
        "hop=5 is no multiple of stride=3: .*; choose hop=6, or windows='every'",
    ),
    "no samples of a trial": ({"samples_per_trial": 0}, "^samples_per_trial: expected .* at least 1, found 0$"),
    "several whole trials": ({"samples_per_trial": 2, "window": None}, "samples_per_trial needs a window; give one"),
    "several of every window": ({"samples_per_trial": 2, "windows": "every"}, "needs random windows; choose"),
    "ranks of another kind": ({"ranks": "all"}, "^ranks: expected 'any' or 'same', found 'all'$"),
    "a phase too short": ({"window": 300, "stride": 1, "max_frames": 299}, "shorter than a window of 300 frames"),
    "phases beyond the end": (
        {"window": 101, "stride": 3, "windows": "phases"},
        "shorter than a window of 303 frames",
    ),
    "repeats of a size": ({"repeats": True}, "batch_size=3 and repeats do not go together: .*; leave one of them out"),
    "repeats that are none": (
        {"repeats": True, "batch_size": None, "trials": [0, 18]},
        "no two of the 2 chosen trials show the same stimulus; choose others, .* sampler of Plans",
    ),
    "repeats as text": ({"repeats": "yes"}, "^repeats: expected True or False, found 'yes'"),
    "kinds as text": ({"mixed_kinds": "yes"}, "^mixed_kinds: expected True or False, found 'yes'"),
}


@pytest.mark.parametrize("case", BAD)
def test_arguments_that_do_not_fit(mouse: Mouse, case: str) -> None:
    options, text = BAD[case]
    with pytest.raises(OptionError, match=text) as raised:
        load(mouse, **{"batch_size": 3, "window": 30} | options)
    assert "\n" not in str(raised.value)


# All repeats of a stimulus


def test_repeats_of_a_stimulus_are_a_batch(tmp_path: Path) -> None:
    """Trials 0, 2, 5, 7 show one clip, 1, 4, 8 another; 3 and 6 are shown once."""
    mouse = opened(write(tmp_path / "lab"))
    groups = [[0, 2, 5, 7], [1, 4, 8]]
    loader = load(mouse, trials=None, repeats=True)
    assert len(loader) == 2 and [batch.trial_id.tolist() for batch in loader] == groups
    for batch in loader:
        for trial, values in zip(batch.trial_id.tolist(), batch.responses, strict=True):
            np.testing.assert_array_equal(values, mouse.trial(trial)["responses"].astype(np.float32))
    chosen = load(mouse, trials=[8, 3, 2, 0, 6], repeats=True)
    assert [batch.trial_id.tolist() for batch in chosen] == [[0, 2]]
    every = load(mouse, trials=None, repeats=True, window=15, hop=20, shuffle=True)
    orders = [[(batch.trial_id.tolist(), batch.start.tolist()) for batch in every] for _ in range(2)]
    expected = [(group, [start] * len(group)) for group in groups for start in (0, 20, 25)]
    assert orders[0] != orders[1] and all(sorted(order) == sorted(expected) for order in orders)
    random = load(mouse, trials=None, repeats=True, window=15, shuffle=True, samples_per_trial=3)
    found = [batch for _ in range(4) for batch in random]
    assert len(random) == 6 and {len(set(batch.start.tolist())) for batch in found} == {1}
    assert len({int(batch.start[0]) for batch in found}) > 5


def test_repeats_of_several_mice_go_on(tmp_path: Path) -> None:
    mice = [opened(write(tmp_path / name)) for name in ("one", "two")]

    def make() -> TrialLoader:
        return load(mice, trials=None, repeats=True, shuffle=True, mixing="shuffled")

    whole, loader = make(), make()
    expected = [places(whole) for _ in range(2)]
    assert len(expected[0]) == 4 and {mouse for mouse, _, _ in expected[0]} == {mouse.name for mouse in mice}
    iterator = iter(loader)
    came, again = places([next(iterator)]), make()
    again.load_state_dict(loader.state_dict())
    assert came + places(again) == expected[0] and places(again) == expected[1]


def test_repeats_of_other_lengths_end_with_the_shortest(tmp_path: Path) -> None:
    """As plans have them: `Mouse.repeats` knows which they are, and equal stimuli have equal lengths."""

    def frames(trial: int) -> int:
        return 36 if trial == 2 else 40

    shorter = {"videos": lambda trial: clip(SHOWN[trial])[..., : frames(trial)]}
    shorter["responses"] = lambda trial: response(trial)[:, : frames(trial)]
    mouse = opened(write(tmp_path / "lab", **shorter))
    exact = load(mouse, trials=None, repeats=True)
    assert [batch.trial_id.tolist() for batch in exact] == [[0, 5, 7], [1, 4, 8]]
    plans = [Plan(trials) for trials in mouse.repeats(max_difference=0).values()]
    found = list(load(mouse, trials=None, batch_size=9, sampler=plans))
    assert [(batch.trial_id.tolist(), batch.frames) for batch in found] == [([0, 2, 5, 7], 36), ([1, 4, 8], 40)]

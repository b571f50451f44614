"""What a loader gives: batches as promised, right to the last bit, in an order that can be resumed, valid if held."""

import copy
import itertools
import json
import math
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trialpack.convert.sample import write_sample
from trialpack.readers import Batch, Mouse, ScaleByStd, Standardize, StreamStats, TrialLoader, open_mouse
from trialpack.readers.direct import CachedVariable
from trialpack.store import OptionError

from .mice import Array, assert_same_bits, edit, trial_ids, trial_path
from .streams import OTHERS, Recorded, as_numpy, assert_batch, frames_of, kept_bytes, least_memory, pack

SOURCES: dict[str, dict[str, Any]] = {
    "dynamic": {"mouse": "A", "trials": 12, "neurons": 20, "image_shape": (4, 6)},
    "float64": {"mouse": "F", "trials": 10, "neurons": 9, "image_shape": (4, 6)},
    "static": {"mouse": "P1", "trials": 40, "neurons": 30, "image_shape": (5, 7)},
}
CUT = {"dynamic": "shared chunks", "float64": "odd chunks", "static": "small shards"}
NOT_WITHHELD = {"withheld": False}
LIMITS = {"consumer", "disk", "decoding", "copying"}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mouse]:
    """The mice, opened: not to be written to. Of `float64` the responses of five of ten trials are withheld."""
    place = tmp_path_factory.mktemp("mice")
    folders = {kind: write_sample(place / "source", **arguments) for kind, arguments in SOURCES.items()}
    return {kind: pack(folder, place / "stores", CUT[kind]) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def recordings(packed: dict[str, Mouse]) -> dict[str, Recorded]:
    return {kind: Recorded(mouse) for kind, mouse in packed.items()}


@pytest.fixture(params=["numpy", "torch"])
def output(request: pytest.FixtureRequest) -> str:
    if request.param == "torch":
        pytest.importorskip("torch", reason="torch is not installed")
    return request.param


@pytest.fixture
def dynamic(packed: dict[str, Mouse]) -> Mouse:
    return packed["dynamic"]


@pytest.fixture
def static(packed: dict[str, Mouse]) -> Mouse:
    return packed["static"]


def load(mice: Any, **options: Any) -> TrialLoader:
    """Make a loader of numpy arrays of all trials that have responses, two a batch, unless told otherwise."""
    chosen = {"tier": None, "batch_size": 2, "output": "numpy", "threads": 2, "trials": NOT_WITHHELD} | options
    return TrialLoader(mice, **chosen)


def places(batches: Any) -> list[tuple[str, list[int], list[int]]]:
    """Return mouse, trials and first frames of batches."""
    return [(one.mouse, one["trial_id"].tolist(), one["start"].tolist()) for one in batches]


# What is in a batch


@pytest.mark.parametrize("window", [None, 80], ids=["whole", "windows"])
def test_a_batch_of_a_dynamic_mouse(dynamic: Mouse, output: Any, window: int | None) -> None:
    loader = load(dynamic, batch_size=3, window=window, output=output, tier="train")
    batch, frames = next(iter(loader)), window or 300
    assert isinstance(batch, Batch) and isinstance(batch, Mapping)
    expected = {
        "videos": (3, 1, frames, 4, 6),
        "responses": (3, 20, frames),
        "behavior": (3, 2, frames),
        "pupil_center": (3, 2, frames),
    }
    assert_names_and_types(batch, expected, output)


def test_a_batch_of_a_static_mouse(static: Mouse, output: Any) -> None:
    batch = next(iter(load(static, batch_size=4, output=output, tier="train")))
    expected = {"images": (4, 1, 5, 7), "responses": (4, 30), "behavior": (4, 3), "pupil_center": (4, 2)}
    assert_names_and_types(batch, expected, output)


def assert_names_and_types(batch: Batch, shapes: dict[str, tuple[int, ...]], output: str) -> None:
    samples = shapes["responses"][0]
    assert list(batch) == [*shapes, "trial_id", "start"] and len(batch) == len(shapes) + 2
    for name, shape in {**shapes, "trial_id": (samples,), "start": (samples,)}.items():
        value, dtype = batch[name], "int64" if name in ("trial_id", "start") else "float32"
        assert tuple(value.shape) == shape, name
        if output == "torch":
            import torch

            assert isinstance(value, torch.Tensor) and value.dtype == getattr(torch, dtype), name
            assert value.device == torch.device("cpu")
        else:
            assert isinstance(value, np.ndarray) and value.dtype == dtype, name
            assert value.flags.writeable, name
    assert isinstance(batch.mouse, str)
    assert batch.tier == ("train",) * samples
    assert f"responses {shapes['responses']}" in repr(batch) and "\n" not in repr(batch)
    with pytest.raises(KeyError):
        batch["video"]


def test_no_value_is_padding(packed: dict[str, Mouse], recordings: dict[str, Recorded]) -> None:
    """Whole trials end where they end."""
    for kind in ("dynamic", "float64"):
        recorded, lengths = recordings[kind], set[int]()
        for batch in load(packed[kind], batch_size=3):
            lengths.add(frames_of(batch))
            rows = [recorded.ids.index(trial) for trial in batch["trial_id"].tolist()]
            assert {recorded.n_frames[row] for row in rows} == {frames_of(batch)}
            assert not any(np.isnan(batch[name]).any() for name in ("videos", *OTHERS))
        assert len(lengths) > 1 or kind == "float64"


@st.composite
def arguments(draw: st.DrawFn) -> dict[str, Any]:
    """Any arguments that fit one of the mice."""
    kind = draw(st.sampled_from(sorted(SOURCES)))
    many, stimulus = SOURCES[kind]["neurons"], "images" if kind == "static" else "videos"
    channels = draw(st.lists(st.sampled_from(["behavior", "pupil_center"]), unique=True))
    names = draw(st.none() | st.lists(st.sampled_from([stimulus, *OTHERS]), min_size=1, unique=True))
    if channels and names is not None and stimulus not in names:
        names = [*names, stimulus]
    found: dict[str, Any] = {
        "kind": kind,
        "batch_size": draw(st.integers(1, 6)),
        "shuffle": draw(st.booleans()),
        "variables": names,
        "channels": tuple(channels),
        "neurons": draw(st.none() | st.sets(st.integers(0, many - 1), min_size=1).map(sorted)),
        "seed": draw(st.integers(0, 5)),
        "threads": draw(st.integers(1, 3)),
        "cache": draw(st.sampled_from(["auto", "none"])),
        "order": draw(st.sampled_from(["frames", "neurons"])),
    }
    if kind != "static":
        found |= {"window": draw(st.none() | st.integers(1, 120)), "stride": draw(st.sampled_from([1, 1, 2]))}
        found["windows"] = draw(st.sampled_from([None, "random", "every"]))
    return found


@settings(max_examples=60)
@given(arguments(), st.booleans())
def test_every_bit_is_that_of_the_store(
    packed: dict[str, Mouse], recordings: dict[str, Recorded], chosen: dict[str, Any], small: bool
) -> None:
    """With zarr-python's numbers, put together by hand; in the first epoch and in the next."""
    recorded, kind = recordings[chosen["kind"]], chosen.pop("kind")
    memory = {"memory": least_memory(packed[kind], tier=None, trials=NOT_WITHHELD, output="numpy", **chosen)}
    loader = load(packed[kind], **chosen, **(memory if small else {}))
    options = {name: chosen.get(name, default) for name, default in {"stride": 1, "channels": ()}.items()}
    for _ in range(2):
        came = 0
        for batch in loader:
            assert_batch(batch, recorded, variables=chosen["variables"], neurons=chosen["neurons"], **options)
            came += 1
        assert came == len(loader)


@pytest.mark.parametrize("kind", sorted(SOURCES))
@pytest.mark.parametrize("cache", ["auto", "none"])
@pytest.mark.parametrize("channels", [[], ["behavior"]], ids=["plain", "channels"])
def test_memory_has_the_order_that_was_chosen(
    packed: dict[str, Mouse], kind: str, cache: Any, channels: list[str], output: Any
) -> None:
    """Of either order shapes and values are the same; one of them is C order, the other that of the store."""
    options: dict[str, Any] = {"channels": channels, "cache": cache, "output": output, "shuffle": True}
    frames, neurons = (load(packed[kind], order=order, **options) for order in ("frames", "neurons"))
    for one, other in zip(frames, neurons, strict=True):
        for name in packed[kind].variables:
            given, ordered = as_numpy(one[name]), as_numpy(other[name])
            assert_same_bits(np.ascontiguousarray(given), np.ascontiguousarray(ordered), name)
            assert ordered.flags.c_contiguous, name
            if kind != "static" and name in OTHERS:
                assert given.swapaxes(1, 2).flags.c_contiguous, name


@pytest.mark.parametrize("kind", sorted(SOURCES))
@pytest.mark.parametrize("channels", [["behavior"], ["pupil_center", "behavior"]], ids=len)
@pytest.mark.parametrize("alone", [True, False], ids=["stimulus alone", "all variables"])
def test_channels_are_repeated_over_all_pixels(
    packed: dict[str, Mouse], recordings: dict[str, Recorded], kind: str, channels: list[str], alone: bool, output: Any
) -> None:
    mouse, recorded = packed[kind], recordings[kind]
    names = [recorded.stimulus] if alone else None
    batch = next(iter(load(mouse, channels=channels, variables=names, output=output)))
    own, sizes = 1, {"behavior": 3 if kind == "static" else 2, "pupil_center": 2}
    stimulus = as_numpy(batch[recorded.stimulus])
    assert stimulus.shape[:2] == (2, own + sum(sizes[name] for name in channels))
    place = own
    for name in channels:
        for channel in range(sizes[name]):
            rows = [recorded.ids.index(trial) for trial in batch["trial_id"].tolist()]
            for sample, row in enumerate(rows):
                expected = recorded.values[name][row, channel]
                one = stimulus[sample, place]
                if kind == "static":
                    assert (one == expected).all()
                else:
                    assert (one == expected[: one.shape[0], None, None]).all()
            place += 1
    assert ("behavior" in batch) == (not alone)


@pytest.fixture(scope="module")
def unusual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mouse]:
    """A dynamic mouse with three channels of behavior, and a static one with images in two colours."""
    place, found = tmp_path_factory.mktemp("unusual"), dict[str, Mouse]()
    for kind, variable, change in (
        ("dynamic", "behavior", lambda values: np.concatenate([values, values[:1] + 100])),
        ("static", "images", lambda values: np.concatenate([values, 255 - values])),
    ):
        folder = write_sample(place / kind, **SOURCES[kind])
        shutil.rmtree(folder / "meta/statistics")
        for trial in trial_ids(folder):
            edit(trial_path(folder, variable, trial), change)
        found[kind] = pack(folder, place, CUT[kind], statistics=True)
    return found


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize("cache", ["auto", "none"])
def test_other_numbers_of_channels(unusual: dict[str, Mouse], kind: str, cache: Any, output: Any) -> None:
    mouse = unusual[kind]
    recorded = Recorded(mouse)
    own, others = (2, 3) if kind == "static" else (1, 3)
    for channels in ([], ["pupil_center"], ["behavior", "pupil_center"]):
        expected = own + sum({"behavior": others, "pupil_center": 2}[name] for name in channels)
        for batch in load(mouse, channels=channels, cache=cache, output=output, batch_size=3):
            assert batch[recorded.stimulus].shape[1] == expected and batch["behavior"].shape[1] == 3
            assert_batch(batch, recorded, channels=channels)


def test_tiers(dynamic: Mouse, recordings: dict[str, Recorded]) -> None:
    recorded = recordings["dynamic"]
    for tier in ("train", ["train", "oracle"], None):
        wanted = {tier} if isinstance(tier, str) else set(tier or recorded.tiers)
        expected = [trial for trial, one in zip(recorded.ids, recorded.tiers, strict=True) if one in wanted]
        found = [trial for batch in load(dynamic, tier=tier) for trial in batch["trial_id"].tolist()]
        assert sorted(found) == expected


def test_chosen_trials_and_neurons(dynamic: Mouse, recordings: dict[str, Recorded]) -> None:
    """By columns of the tables, by number, or by a mask."""
    units = dynamic.neurons["unit_ids"].to_numpy()
    mask = np.isin(np.arange(20), [2, 5, 19])
    for neurons in ({"unit_ids": units[[19, 2, 5]].tolist()}, [2, 5, 19], mask):
        loader = load(dynamic, trials={"n_frames": 315}, neurons=neurons)
        batches = list(loader)
        assert [frames_of(batch) for batch in batches] == [315, 315]
        for batch in batches:
            assert_batch(batch, recordings["dynamic"], neurons=[2, 5, 19])


def test_several_mice(packed: dict[str, Mouse], recordings: dict[str, Recorded]) -> None:
    """Each batch is of one mouse; each mouse has neurons of its own."""
    mice, by_name = [packed["dynamic"], packed["float64"]], {one.name: one for one in recordings.values()}
    chosen = [[1, 2], None]
    expected = dict(zip([mouse.name for mouse in mice], chosen, strict=True))
    loader = load(mice, neurons=chosen, window=50, shuffle=True)
    names = list[str]()
    for batch in loader:
        assert_batch(batch, by_name[batch.mouse], neurons=expected[batch.mouse])
        names.append(batch.mouse)
    assert names == [mice[0].name, mice[1].name] * 6 and len(loader) == 12


def test_a_list_of_one_mouse_takes_a_list_of_one_choice(dynamic: Mouse, recordings: dict[str, Recorded]) -> None:
    for mice, neurons in (
        (dynamic, [2, 5]),
        ([dynamic], [2, 5]),
        ([dynamic], [[2, 5]]),
        ([dynamic], [np.array([2, 5])]),
    ):
        for batch in load(mice, neurons=neurons, window=50):
            assert_batch(batch, recordings["dynamic"], neurons=[2, 5])


def test_static_and_dynamic_mice_together(packed: dict[str, Mouse], recordings: dict[str, Recorded]) -> None:
    by_name = {one.name: one for one in recordings.values()}
    came, mice = set[str](), [packed["dynamic"], packed["static"]]
    with pytest.raises(OptionError, match=r"static, where .* is dynamic: .*; choose mice of one kind, or mixed_kinds"):
        load(mice)
    for batch in load(mice, mixed_kinds=True):
        assert_batch(batch, by_name[batch.mouse])
        came.add(batch.mouse)
    assert len(came) == 2


@pytest.mark.parametrize(
    ("mixing", "expected"),
    [
        ("sequential", [0] * 6 + [1] * 3),
        ("cycle", [0, 1] * 6),
        ({"A": 1, "F": 0}, [0] * 9),
        ({"dynamic29515-10-12": 1.0, "dynamic29156-11-10": 0}, [1] * 9),
        ([0, 3], [1] * 9),
    ],
    ids=str,
)
def test_mixing(packed: dict[str, Mouse], mixing: Any, expected: list[int]) -> None:
    mice = [packed["dynamic"], packed["float64"]]
    loader = load(mice, mixing=mixing, window=50)
    names = [batch.mouse for batch in load(mice, mixing=mixing, windows="random", window=50)]
    assert [[mouse.name for mouse in mice].index(name) for name in names] == expected
    assert [mouse.name for mouse in loader.mice] == [mouse.name for mouse in mice]


# Epochs, and places in them


def test_each_iter_is_the_next_epoch(dynamic: Mouse) -> None:
    loader, other = (load(dynamic, window=30, shuffle=True, seed=3) for _ in range(2))
    epochs = [places(loader) for _ in range(3)]
    assert len({str(one) for one in epochs}) == 3
    for epoch in (2, 0, 1):
        other.set_epoch(epoch)
        assert places(other) == epochs[epoch]
    # After an epoch that was set, the ones behind it.
    assert places(other) == epochs[2]


def test_an_iterator_that_was_not_begun_does_not_count(dynamic: Mouse) -> None:
    """Frameworks make some to see whether they can."""
    loader, other = (load(dynamic, window=30, shuffle=True) for _ in range(2))
    for _ in range(2):
        for _ in range(2):
            iter(loader)
        assert len(loader) == len(other) and loader.state_dict() == other.state_dict()
        assert places(loader) == places(other)


def test_an_epoch_that_was_left_counts(dynamic: Mouse) -> None:
    loader, other = (load(dynamic, window=30, shuffle=True) for _ in range(2))
    expected = [places(loader) for _ in range(2)][1]
    for _ in other:
        break
    assert places(other) == expected


@pytest.mark.parametrize("change", [{"threads": 1}, {"threads": 5}, {"memory": "40MB"}, {"cache": "none"}], ids=str)
def test_order_does_not_depend_on_how_it_is_read(dynamic: Mouse, change: dict[str, Any]) -> None:
    options: dict[str, Any] = {"window": 30, "shuffle": True, "seed": 9}
    one, other = load(dynamic, **options), load(dynamic, **options | change)
    for _ in range(2):
        assert places(one) == places(other)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"window": 60},
        {"window": 60, "windows": "random"},
        {"drop_last": True, "batch_size": 5},
        {"batch_size": 100},
    ],
    ids=str,
)
@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_len(dynamic: Mouse, options: dict[str, Any], world_size: int) -> None:
    """As many batches as come, and for each rank as many."""
    if options.get("drop_last") and world_size > 1:
        world_size = 1
    loaders = [load(dynamic, **options, rank=rank, world_size=world_size) for rank in range(world_size)]
    counts = {len(loader) for loader in loaders}
    assert len(counts) == 1
    for loader in loaders:
        assert counts == {len(list(loader))}
        assert f"{len(loader)} batches" in repr(loader) and "dynamic29156-11-10" in repr(loader)


def test_ranks_share_an_epoch(dynamic: Mouse) -> None:
    options: dict[str, Any] = {"shuffle": True, "window": 40, "batch_size": 1, "seed": 4}
    everything = places(load(dynamic, **options))
    parts = [places(load(dynamic, **options, rank=rank, world_size=5)) for rank in range(5)]
    found = [one for step in zip(*parts, strict=True) for one in step]
    assert found == everything + everything[:3]


@pytest.mark.parametrize("steps", range(7))
def test_state_in_the_middle_of_an_epoch(dynamic: Mouse, steps: int) -> None:
    """Left by break, kept as JSON, loaded into a fresh loader: the rest of the epoch, then the next one."""
    options: dict[str, Any] = {"shuffle": True, "window": 30, "seed": 1}
    whole = load(dynamic, **options)
    expected = [places(whole) for _ in range(3)]
    first, came = load(dynamic, **options), list[Any]()
    list(first)
    iterator = iter(first)
    for batch in itertools.islice(iterator, steps):
        came += places([batch])
    state = json.loads(json.dumps(first.state_dict()))
    del iterator
    second = load(dynamic, **options, threads=1, cache="none") if steps % 2 else load(dynamic, **options)
    second.load_state_dict(state)
    assert second.state_dict() == state
    assert came + places(second) == expected[1]
    assert places(second) == expected[2]


def test_state_after_a_break(dynamic: Mouse) -> None:
    options: dict[str, Any] = {"shuffle": True, "window": 30, "batch_size": 1}
    expected, loader, came = places(load(dynamic, **options)), load(dynamic, **options), list[Any]()
    for batch in loader:
        came += places([batch])
        if len(came) == 4:
            break
    state = loader.state_dict()
    assert state["position"] == 4 and state["epoch"] == 0
    # Into the same loader, too, whatever it did meanwhile.
    list(loader)
    loader.load_state_dict(state)
    assert came + places(loader) == expected


def test_state_between_epochs(dynamic: Mouse) -> None:
    options: dict[str, Any] = {"shuffle": True, "window": 30}
    loader, other = load(dynamic, **options), load(dynamic, **options)
    assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (0, 0)
    list(loader)
    other.load_state_dict(loader.state_dict())
    assert places(other) == places(loader)
    loader.set_epoch(7)
    assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (7, 0)


def test_state_when_the_last_batch_came(dynamic: Mouse) -> None:
    """Nothing remains of the epoch; then comes the next."""
    options: dict[str, Any] = {"shuffle": True, "window": 30}
    loader, other = load(dynamic, **options), load(dynamic, **options)
    iterator = iter(loader)
    for _ in range(len(loader)):
        next(iterator)
    other.load_state_dict(loader.state_dict())
    assert len(other) == 0 and places(other) == []
    assert len(other) == len(loader) and places(other) == places(loader)


def test_a_loaded_epoch_that_is_named_goes_on(dynamic: Mouse) -> None:
    """As loops do that say `set_epoch` each time; another epoch, or the same once more, begins at its beginning."""
    options: dict[str, Any] = {"shuffle": True, "window": 30}
    whole = load(dynamic, **options)
    expected = [places(whole) for _ in range(4)]
    loader = load(dynamic, **options)
    loader.set_epoch(2)
    iterator = iter(loader)
    came = places(itertools.islice(iterator, 2))
    state = loader.state_dict()
    again = load(dynamic, **options)
    again.load_state_dict(state)
    again.set_epoch(2)
    assert again.state_dict() == state
    assert came + places(again) == expected[2]
    for epoch in (3, 2, 2):
        again.set_epoch(epoch)
        assert places(again) == expected[epoch]
    again.load_state_dict(state)
    again.set_epoch(1)
    assert places(again) == expected[1]


def test_the_state_of_several_iterators_is_that_of_the_latest(dynamic: Mouse) -> None:
    loader = load(dynamic, shuffle=True, window=30)
    first = iter(loader)
    next(first)
    second = iter(loader)
    for iterator in (second, first, first):
        next(iterator)
    assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (1, 1)
    list(first)
    assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (1, 1)
    list(second)
    assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (2, 0)


def test_an_iterator_of_before_does_not_change_what_was_loaded(dynamic: Mouse) -> None:
    loader = load(dynamic, shuffle=True, window=30)
    iterator = iter(loader)
    next(iterator)
    state = loader.state_dict()
    next(iterator)
    loader.load_state_dict(state)
    list(iterator)
    assert loader.state_dict() == state


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 4), (4, 3)])
def test_state_on_another_number_of_ranks(dynamic: Mouse, before: int, after: int) -> None:
    options: dict[str, Any] = {"shuffle": True, "window": 30, "batch_size": 1}
    expected, loaders, came = places(load(dynamic, **options)), ranks(dynamic, before, options), list[Any]()
    first = [iter(loader) for loader in loaders]
    for _ in range(2):
        came += [one for iterator in first for one in places([next(iterator)])]
    states = [loader.state_dict() for loader in loaders]
    assert all(state == states[0] for state in states)
    rest = ranks(dynamic, after, options)
    for loader in rest:
        loader.load_state_dict(states[0])
    steps = zip(*[places(loader) for loader in rest], strict=True)
    came += [one for step in steps for one in step]
    assert came[: len(expected)] == expected
    assert came[len(expected) :] == expected[: len(came) - len(expected)] and len(came) - len(expected) < after


def ranks(mouse: Mouse, world_size: int, options: dict[str, Any]) -> list[TrialLoader]:
    return [load(mouse, **options, rank=rank, world_size=world_size) for rank in range(world_size)]


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"batch_size": 3},
        {"window": 31},
        {"stride": 2},
        {"windows": "every"},
        {"shuffle": False},
        {"tier": "train"},
        {"trials": {"n_frames": 300}},
        {"drop_last": True},
        {"mixing": "sequential"},
    ],
    ids=str,
)
def test_the_state_of_another_loader_is_refused(dynamic: Mouse, change: dict[str, Any]) -> None:
    options: dict[str, Any] = {"window": 30, "windows": "random", "shuffle": True}
    state = load(dynamic, **options | change).state_dict()
    with pytest.raises(OptionError, match="only rank and world_size may differ"):
        load(dynamic, **options).load_state_dict(state)


def test_the_state_of_another_mouse_is_refused(packed: dict[str, Mouse]) -> None:
    with pytest.raises(OptionError, match="the state is of a loader with other mice"):
        load(packed["dynamic"]).load_state_dict(load(packed["static"]).state_dict())


def test_what_does_not_change_the_samples_may_differ(dynamic: Mouse) -> None:
    state = load(dynamic, shuffle=True).state_dict()
    others = {"variables": "responses", "neurons": [3], "threads": 1, "memory": "50MB", "cache": "none"}
    load(dynamic, shuffle=True, **others).load_state_dict(state)


# What may be done with batches


def start_of(array: Array) -> int:
    return array.__array_interface__["data"][0]


def copied(batch: Mapping[str, Any]) -> dict[str, Array]:
    return {name: np.array(as_numpy(value)) for name, value in batch.items() if hasattr(value, "shape")}


def assert_unchanged(batch: Mapping[str, Any], before: dict[str, Array]) -> None:
    for name, values in before.items():
        np.testing.assert_array_equal(as_numpy(batch[name]), values, name)


def test_batches_stay_valid_while_they_are_held(dynamic: Mouse, recordings: dict[str, Recorded], output: Any) -> None:
    """With so little memory that slots would have to be used again: two epochs, all of whose batches are kept."""
    options: dict[str, Any] = {"tier": None, "batch_size": 2, "window": 50, "shuffle": True, "output": output}
    memory = least_memory(dynamic, **options, threads=2)
    loader = TrialLoader(dynamic, **options, threads=2, memory=memory, cache="none")
    kept = list(loader) + list(loader)
    assert len(kept) == 2 * len(loader)
    for batch in kept:
        assert_batch(batch, recordings["dynamic"])


def first_values(batch: Batch) -> Any:
    return batch["responses"][0, :3]


def last_frame(batch: Batch) -> Any:
    return batch["videos"][-1, ..., -1]


def numbers_of_torch(batch: Batch) -> Any:
    return batch["behavior"].numpy()[1] if hasattr(batch["behavior"], "numpy") else batch["behavior"][1]


def raw_memory(batch: Batch) -> Any:
    responses = batch["responses"]
    return memoryview(responses.numpy() if hasattr(responses, "numpy") else responses)


@pytest.mark.parametrize("view", [first_values, last_frame, numbers_of_torch, raw_memory])
def test_a_single_view_keeps_its_memory(dynamic: Mouse, output: Any, view: Callable[[Batch], Any]) -> None:
    """Of a batch that is gone otherwise: it does not change for two epochs that use slots again."""
    options: dict[str, Any] = {"tier": None, "batch_size": 2, "window": 50, "shuffle": True, "output": output}
    memory = least_memory(dynamic, **options, threads=2)
    loader = TrialLoader(dynamic, **options, threads=2, memory=memory, cache="none")
    held = [view(batch) for batch in loader]
    before = [np.asarray(one).copy() for one in held]
    for _ in range(2):
        for batch in loader:
            for array in (batch["videos"], batch["responses"], batch["behavior"]):
                array[...] = -5
    for one, values in zip(held, before, strict=True):
        np.testing.assert_array_equal(np.asarray(one), values)


def test_variables_are_kept_only_beside_some_batches(dynamic: Mouse) -> None:
    """Unless all are: then reading ahead gains nothing."""
    options: dict[str, Any] = {"tier": None, "batch_size": 2, "window": 200, "output": "numpy", "threads": 2}
    least, everything = least_memory(dynamic, **options), kept_bytes(Recorded(dynamic))
    kept_some = 0
    for memory in np.linspace(least, least + everything, 40).astype(int).tolist():
        pipeline = TrialLoader(dynamic, **options, memory=memory)._pipeline
        (stream,) = pipeline.streams
        kept = [name for name, reader in stream._readers.items() if isinstance(reader, CachedVariable)]
        assert pipeline.budget.ahead >= 4 or len(kept) in (0, len(stream.names))
        kept_some += 0 < len(kept) < len(stream.names)
    assert kept_some


@pytest.mark.parametrize("cache", ["auto", "none"])
def test_memory_is_used_again(dynamic: Mouse, output: Any, cache: Any) -> None:
    """Twenty epochs of batches that nobody holds lie in a few places."""
    options: dict[str, Any] = {"tier": None, "batch_size": 2, "window": 200, "output": output, "threads": 2}
    least = least_memory(dynamic, **options)
    kept = kept_bytes(Recorded(dynamic)) if cache == "auto" else 0
    loader, seen = TrialLoader(dynamic, **options, memory=least + kept, cache=cache), set[int]()
    for _ in range(20):
        seen |= {start_of(as_numpy(batch["videos"])) for batch in loader}
    # One in the hands of the consumer, one that is next, one that is being filled.
    assert len(seen) <= 4, len(seen)


def test_memory_is_given_back_with_the_last_view(dynamic: Mouse) -> None:
    """A view that was kept for an epoch keeps its slot out of use; once it is gone, the slot is used again."""
    options: dict[str, Any] = {"tier": None, "batch_size": 2, "window": 200, "output": "numpy", "threads": 1}
    loader = TrialLoader(dynamic, **options, memory=least_memory(dynamic, **options), cache="none")
    iterator = iter(loader)
    held = next(iterator)["responses"][0, 0, :1]
    del iterator
    place = start_of(held)
    others = {start_of(batch["responses"][0, 0]) for _ in range(3) for batch in loader}
    assert place not in others
    del held
    again = {start_of(batch["responses"][0, 0]) for _ in range(3) for batch in loader}
    # The three of an epoch, the one that was held, and those that were allocated before it was known to be kept.
    assert len(again) <= 3 and len(again | others) <= 5


@pytest.mark.parametrize("cache", ["auto", "none"])
@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_batches_may_be_changed_in_place(
    packed: dict[str, Mouse], recordings: dict[str, Recorded], kind: str, cache: Any, output: Any
) -> None:
    loader = load(packed[kind], cache=cache, output=output, channels=["behavior"], shuffle=True)
    for _ in range(3):
        for batch in loader:
            assert_batch(batch, recordings[kind], channels=["behavior"])
            for name, value in batch.items():
                if hasattr(value, "shape"):
                    value[...] = -1 if name in ("trial_id", "start") else -np.inf


def test_a_held_batch_is_not_changed_by_another(dynamic: Mouse, output: Any) -> None:
    """Two samples of the same trial, kept in memory, do not share it."""
    loader = load(dynamic, window=50, windows="every", cache="auto", output=output, batch_size=3)
    kept = [(batch, copied(batch)) for batch in loader]
    kept[0][0]["responses"][...] = -1
    for batch, before in kept[1:]:
        assert_unchanged(batch, before)


# What it says of itself


def test_report(dynamic: Mouse) -> None:
    """One line at the end of an epoch; none for one that was left."""
    lines = list[str]()
    loader = load(dynamic, report=lines.append)
    list(loader)
    pattern = (
        r"epoch 0: 12 samples in \d+\.\d\d s, \d+ a second; \d+ MB read, \d+ MB decoded; waited \d+\.\d\d s; "
        r"limited by the (consumer|reading of files|decoding of chunks|copying into batches)"
    )
    assert len(lines) == 1 and re.fullmatch(pattern, lines[0]), lines
    for _ in loader:
        break
    assert len(lines) == 1
    list(loader)
    assert len(lines) == 2 and lines[1].startswith("epoch 2: ")


@pytest.mark.parametrize("kind", sorted(SOURCES))
@pytest.mark.parametrize("cache", ["auto", "none"])
def test_stats_add_up(packed: dict[str, Mouse], kind: str, cache: Any) -> None:
    loader = load(packed[kind], batch_size=3, cache=cache, shuffle=True)
    assert isinstance(loader.stats, StreamStats)
    assert (loader.stats.samples, loader.stats.batches, loader.stats.samples_per_second) == (0, 0, 0)
    for epoch in range(2):
        samples = 0
        for number, batch in enumerate(loader, 1):
            samples += len(batch["trial_id"])
            assert (loader.stats.samples, loader.stats.batches) == (samples, number)
            assert 0 <= loader.stats.waited <= loader.stats.seconds
        stats, tally = loader.stats, loader.stats.tally
        assert stats.batches == len(loader) and stats.threads == 2
        assert samples == stats.samples == sum(not one for one in Recorded(packed[kind]).withheld)
        assert stats.samples_per_second == pytest.approx(samples / stats.seconds)
        assert stats.bottleneck in LIMITS and str(stats).startswith(f"{samples} samples in ")
        assert tally.copy_seconds > 0
        if epoch and (cache == "auto" or kind == "static"):
            # All was kept, as are small variables that share chunks: nothing is read, and nothing decoded.
            assert (tally.bytes_read, tally.bytes_decoded, tally.read_seconds, tally.decode_seconds) == (0, 0, 0, 0)
        else:
            assert tally.bytes_read > 0 and tally.bytes_decoded > 0
            assert tally.read_seconds > 0 and tally.decode_seconds > 0


def test_what_an_epoch_reads(packed: dict[str, Mouse], recordings: dict[str, Recorded]) -> None:
    """Without cache the same in every epoch; of a window only the chunks that it needs."""
    mouse, first = packed["float64"], recordings["float64"].ids[recordings["float64"].withheld.index(False)]
    assert {array.chunk[0] for array in mouse.recording.arrays.values()} == {1}
    whole, amounts = load(mouse, cache="none"), list[int]()
    for _ in range(2):
        list(whole)
        amounts.append(whole.stats.tally.bytes_decoded)
    assert amounts[0] == amounts[1] > 0
    one = load(mouse, cache="none", window=10, windows="random", trials=[first])
    list(one)
    # Ten frames lie in two chunks of seven, or in three.
    chunk = sum(array.chunk_nbytes for array in mouse.recording.arrays.values())
    assert one.stats.tally.bytes_decoded in (2 * chunk, 3 * chunk)


# torch


def test_as_dataset(dynamic: Mouse, recordings: dict[str, Recorded]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    loader = load(dynamic, output="torch", window=60, shuffle=True)
    expected = [places(loader) for _ in range(2)]
    loader.set_epoch(0)
    data_set = loader.dataset()
    assert isinstance(data_set, torch.utils.data.IterableDataset)
    wrapped = torch.utils.data.DataLoader(data_set, batch_size=None, num_workers=0)
    for sized in (data_set, wrapped):
        with pytest.raises(TypeError, match=r"take len\(loader\) for batches"):
            len(sized)
    for epoch in range(2):
        batches = list(wrapped)
        assert places(batches) == expected[epoch]
        for batch in batches:
            assert isinstance(batch["responses"], torch.Tensor)
            assert_batch(batch, recordings["dynamic"])


def test_tensors_share_the_memory_of_slots(dynamic: Mouse) -> None:
    """Nothing is copied on the way to torch, and tensors may be changed."""
    pytest.importorskip("torch", reason="torch is not installed")
    batch = next(iter(load(dynamic, output="torch")))
    spread = {name: batch[name].data_ptr() for name in ("videos", *OTHERS)}
    sizes = sum(batch[name].nelement() * 4 for name in spread)
    assert max(spread.values()) - min(spread.values()) < sizes + 4 * 64
    assert all(place % 64 == min(spread.values()) % 64 for place in spread.values())


def test_without_torch(dynamic: Mouse, recordings: dict[str, Recorded], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with what to do; numpy arrays need none."""
    for name in [name for name in sys.modules if name.endswith("streaming.tensors")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(OptionError, match=r"output='torch' needs torch .*; install it, or choose output='numpy'"):
        TrialLoader(dynamic, tier=None, batch_size=2)
    for batch in load(dynamic):
        assert_batch(batch, recordings["dynamic"])


WITHOUT = """
import sys
from trialpack.readers import TrialLoader, open_mouse
loader = TrialLoader(open_mouse(sys.argv[1]), tier=None, batch_size=2, output="numpy", window=20, channels=["behavior"])
assert len(list(loader)) == len(loader)
heavy = {"torch", "matplotlib", "distributed", "xarray"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


def test_numpy_arrays_come_without_importing_torch(dynamic: Mouse) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(dynamic.path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_one_module_imports_torch() -> None:
    folder = Path(__file__).resolve().parent.parent / "readers"
    importing = {
        path.name for path in folder.rglob("*.py") if re.search(r"^(import|from) torch", path.read_text(), re.M)
    }
    assert importing == {"tensors.py"}


def test_batches_can_be_taken_by_their_places(dynamic: Mouse, output: str) -> None:
    loader = load(dynamic, window=20, shuffle=True, output=output)
    epochs = [list(loader) for _ in range(2)]
    for epoch in (1, 0):
        taken = list(loader.take([3, 0, 3], epoch))
        for batch, place in zip(taken, (3, 0, 3), strict=True):
            for name, values in epochs[epoch][place].items():
                np.testing.assert_array_equal(as_numpy(batch[name]), as_numpy(values), name)
    assert next(iter(loader))["start"].tolist() == next(loader.take([0], 2))["start"].tolist()
    with pytest.raises(OptionError, match=f"an epoch has no batch 6; there are {len(loader)}, from 0 on"):
        loader.take([0, 6])


# What is refused


@pytest.mark.parametrize("dump", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_loader_is_not_pickled(dynamic: Mouse, dump: Callable[[Any], Any]) -> None:
    with pytest.raises(OptionError, match="cannot be pickled; make it in the process that uses it"):
        dump(load(dynamic))


def test_withheld_responses_are_refused(packed: dict[str, Mouse], recordings: dict[str, Recorded]) -> None:
    mouse = packed["float64"]
    text = (
        r"responses of 5 of 10 trials are withheld.*choose trials={'withheld': False}, variables without responses, or"
    )
    with pytest.raises(OptionError, match=text) as raised:
        load(mouse, trials=None)
    assert raised.value.path == str(mouse.path)
    names = ["videos", "behavior", "pupil_center"]
    assert sum(len(batch["trial_id"]) for batch in load(mouse, trials=None, variables=names)) == 10
    every = {one for batch in load(mouse, trials=None, withheld="zeros") for one in batch["trial_id"].tolist()}
    assert every == set(recordings["float64"].ids)
    for batch in load(mouse, trials=NOT_WITHHELD):
        assert not set(batch["trial_id"].tolist()) & {
            trial for trial, one in zip(recordings["float64"].ids, recordings["float64"].withheld, strict=True) if one
        }


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no batch size": ({"batch_size": 0}, "^batch_size: expected a whole number of at least 1, found 0$"),
    "a batch size of none": ({"batch_size": None}, "^batch_size: expected .*, found None$"),
    "half a batch": ({"batch_size": 2.5}, "^batch_size: expected .*, found 2.5$"),
    "batch size as text": ({"batch_size": "8"}, "^batch_size: expected .*, found '8'$"),
    "a true batch size": ({"batch_size": True}, "^batch_size: expected .*, found True$"),
    "no window": ({"window": 0}, "^window: expected .*, found 0$"),
    "window as text": ({"window": "80"}, "^window: expected .*, found '80'$"),
    "a window too long": ({"window": 400}, "12 of 12 trials are shorter than a window of 400 frames"),
    "a window too long for some": ({"window": 301}, r"9 of 12 trials are shorter .*\(trial 0 has 300\)"),
    "a negative window": ({"window": -1}, "^window: expected .*, found -1$"),
    "no stride": ({"stride": 0}, "^stride: expected .*, found 0$"),
    "a stride of none": ({"stride": None}, "^stride: expected .*, found None$"),
    "windows of another kind": ({"windows": "all"}, "windows: expected 'random' or 'every' or 'phases', found 'all'"),
    "no threads": ({"threads": 0}, "^threads: expected .*, found 0$"),
    "half a thread": ({"threads": 0.5}, "^threads: expected .*, found 0.5$"),
    "a negative seed": ({"seed": -1}, "^seed: expected a whole number of at least 0, found -1$"),
    "seed as text": ({"seed": "0"}, "^seed: expected .*, found '0'$"),
    "an unknown tier": ({"tier": "test"}, "no trials of tier 'test'"),
    "an unknown trial": ({"trials": [1]}, "no trial_id 1"),
    "no trials": ({"trials": []}, "nothing is selected"),
    "an unknown column": ({"trials": {"stimulus": 1}}, "no column 'stimulus'"),
    "an unknown neuron": ({"neurons": [20]}, "no position 20"),
    "no neurons": ({"neurons": []}, "nothing is selected"),
    "an unknown variable": ({"variables": ["video"]}, "no variable 'video'"),
    "an unknown variable alone": ({"variables": "images"}, "no variable 'images'"),
    "no variables": ({"variables": []}, "variables"),
    "an unknown channel": ({"channels": ["speed"]}, "no variable 'speed'"),
    "responses as a channel": ({"channels": ["responses"]}, r"channels \['responses'\] do not fit"),
    "the stimulus as a channel": ({"channels": ["videos"]}, r"channels \['videos'\] do not fit"),
    "channels of no stimulus": (
        {"channels": ["behavior"], "variables": ["responses"]},
        "with videos among the variables",
    ),
    "an unknown output": ({"output": "jax"}, "output: expected 'torch' or 'numpy', found 'jax'"),
    "numpy on a device": ({"device": "cuda"}, "numpy arrays cannot be on cuda; choose output='torch'"),
    "an unknown order": ({"order": "F"}, "^order: expected 'frames' or 'neurons', found 'F'"),
    "an order of none": ({"order": None}, "^order: expected .*, found None"),
    "an unknown cache": ({"cache": "all"}, "cache: expected 'auto' or 'none', found 'all'"),
    "a cache of true": ({"cache": True}, "^cache: expected .*, found True$"),
    "memory as text": ({"memory": "much"}, "^memory: expected a number of bytes .*found 'much'"),
    "too little memory": ({"memory": 1000}, "memory of 1,000 bytes does not suffice.* take [0-9,]+; give more memory"),
    "negative memory": ({"memory": -1}, "^memory: expected a number of bytes .*found -1"),
    "a rank too many": ({"rank": 1, "world_size": 1}, "rank 1 of world_size 1"),
    "a rank alone": ({"rank": 1}, "rank=1 and world_size=None do not go together; give both"),
    "a world size alone": ({"world_size": 2}, "rank=None and world_size=2 do not go together; give both"),
    "a negative rank": ({"rank": -1, "world_size": 2}, "^rank: expected .*, found -1$"),
    "no ranks": ({"rank": 0, "world_size": 0}, "^world_size: expected .*, found 0$"),
    "rank as text": ({"rank": "0", "world_size": 2}, "rank"),
    "half a world": ({"rank": 0, "world_size": 1.5}, "^world_size: expected .*, found 1.5$"),
    "no whole batch": ({"batch_size": 13, "drop_last": True}, "no batch of 13 samples in 12 trials"),
    "fewer batches than ranks": (
        {"drop_last": True, "batch_size": 9, "rank": 0, "world_size": 2},
        "do not suffice for 2 ranks",
    ),
    "an unknown mixing": ({"mixing": "random"}, "no way of mixing mice is called 'random'"),
    "weights for more mice": ({"mixing": [1, 2]}, "expected 1 numbers"),
    "weights for another mouse": ({"mixing": {"B": 1}}, "no mouse is called 'B'"),
    "an unknown normalization": ({"normalize": "zscore"}, "no normalization is called 'zscore'"),
    "a normalization of nothing": ({"normalize": {"video": ScaleByStd()}}, "no variable 'video'"),
    "a normalization that is a word": ({"normalize": {"responses": "std"}}, "'std' is no transform of responses"),
    "a normalization that is a class": ({"normalize": {"responses": ScaleByStd}}, "is no transform of responses"),
    "a normalization without statistics": (
        {"normalize": {"videos": Standardize()}},
        "no train statistics in the store",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_arguments_that_do_not_fit(dynamic: Mouse, case: str) -> None:
    """One line each that names the argument, what it is, and what to do."""
    options, text = BAD[case]
    with pytest.raises(OptionError, match=text) as raised:
        load(dynamic, **{"trials": None} | options)
    advised = "; " in str(raised.value) or ": expected " in str(raised.value)
    assert ("\n" not in str(raised.value) and advised) or case == "no variables"


STATIC_BAD = {
    "window": ({"window": 10}, "static trials have no frames; leave out window, stride, samples_per_trial"),
    "stride": ({"stride": 2}, "static trials have no frames"),
    "videos": ({"variables": ["videos"]}, "no variable 'videos'"),
    "channels": ({"channels": ["behavior"], "variables": ["responses"]}, "with images among the variables"),
}


@pytest.mark.parametrize("case", STATIC_BAD)
def test_arguments_that_do_not_fit_static_mice(static: Mouse, case: str) -> None:
    options, text = STATIC_BAD[case]
    with pytest.raises(OptionError, match=text):
        load(static, **options)


@pytest.mark.parametrize(
    ("neurons", "text"),
    [
        ([[1, 2]], "several mice need one choice of neurons each; give a list of 2 choices"),
        ([1, 2], "several mice need one choice of neurons each"),
        ([[1], [2], [3]], "several mice need one choice of neurons each"),
        ([[1], [9]], "no position 9"),
        (1, "several mice need one choice of neurons each"),
    ],
    ids=str,
)
def test_neurons_that_do_not_fit_several_mice(packed: dict[str, Mouse], neurons: Any, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        load([packed["dynamic"], packed["float64"]], neurons=neurons)


@pytest.mark.parametrize("mice", [[], ()], ids=str)
def test_no_mice(mice: Sequence[Mouse]) -> None:
    with pytest.raises(OptionError, match="no mice are given; give at least one"):
        load(mice)


@pytest.mark.parametrize("as_type", [str, lambda path: [path]])
def test_paths_are_no_mice(dynamic: Mouse, as_type: Callable[[Path], Any]) -> None:
    with pytest.raises(OptionError, match="open_mouse"):
        load(as_type(dynamic.path))


@pytest.mark.parametrize("device", ["cuda:77", "gpu", "nonsense", 3.5])
def test_a_device_that_is_not_there(dynamic: Mouse, device: Any) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(OptionError, match=r"device .* cannot be used .*; choose another device, or device='cpu'"):
        load(dynamic, output="torch", device=device)


@pytest.mark.parametrize("epoch", [-1, 1.5, "2", None, True])
def test_an_epoch_that_is_no_number(dynamic: Mouse, epoch: Any) -> None:
    loader = load(dynamic)
    with pytest.raises(OptionError, match="^epoch: expected .*, found "):
        loader.set_epoch(epoch)
    assert places(loader) == places(load(dynamic))


@pytest.mark.parametrize("number", [np.int64(2), np.int32(2)], ids=repr)
def test_numbers_of_numpy_are_numbers(dynamic: Mouse, number: Any) -> None:
    """As they come out of tables and shapes."""
    for name in ("batch_size", "window", "stride", "threads", "seed"):
        load(dynamic, **{name: number})


@pytest.mark.parametrize("state", [None, "", "state", 3, [], [1, 2, 3], {}, {"epoch": 0, "position": 0}], ids=repr)
def test_what_is_no_state_is_refused(dynamic: Mouse, state: Any) -> None:
    with pytest.raises(OptionError, match="state"):
        load(dynamic).load_state_dict(state)


def test_a_refused_state_changes_nothing(dynamic: Mouse) -> None:
    options: dict[str, Any] = {"shuffle": True, "window": 30}
    loader = load(dynamic, **options)
    expected = places(load(dynamic, **options))
    with pytest.raises(OptionError):
        loader.load_state_dict({"epoch": 5})
    assert places(loader) == expected


@pytest.mark.parametrize("order", ["frames", "neurons"])
def test_just_enough_memory_is_enough(dynamic: Mouse, recordings: dict[str, Recorded], order: str) -> None:
    """The bytes that the refusal names; one less is refused."""
    options: dict[str, Any] = {"tier": None, "batch_size": 3, "output": "numpy", "threads": 2, "order": order}
    least = least_memory(dynamic, **options)
    with pytest.raises(OptionError, match="does not suffice"):
        TrialLoader(dynamic, **options, memory=least - 1)
    for batch in TrialLoader(dynamic, **options, memory=least):
        assert_batch(batch, recordings["dynamic"])


def test_opening_again_gives_the_same(dynamic: Mouse) -> None:
    """Order depends on the store's content, not on the object that it was opened as."""
    options: dict[str, Any] = {"shuffle": True, "window": 30}
    state = load(dynamic, **options).state_dict()
    again = load(open_mouse(dynamic.path), **options)
    again.load_state_dict(state)
    assert places(again) == places(load(dynamic, **options))


def test_batches_are_at_most_as_large_as_asked(static: Mouse) -> None:
    assert math.ceil(40 / 7) == len(load(static, batch_size=7))
    assert [len(batch["trial_id"]) for batch in load(static, batch_size=7)] == [7] * 5 + [5]
    assert [len(batch["trial_id"]) for batch in load(static, batch_size=7, drop_last=True)] == [7] * 5


# What is told before


def test_a_description(packed: dict[str, Mouse]) -> None:
    """It uses up no batch, tells what an epoch is, and how fast it comes."""
    mice = [packed["dynamic"], packed["float64"]]
    loader = load(mice, window=50, shuffle=True, mixing="shuffled")
    expected = places(load(mice, window=50, shuffle=True, mixing="shuffled"))
    found = loader.describe(probe=3)
    assert (found.mice, found.batches, found.samples) == (2, len(expected), sum(len(ids) for _, ids, _ in expected))
    assert loader.state_dict()["position"] == 0 and places(loader) == expected
    assert found.nbytes > sum(batch.videos.nbytes + batch.responses.nbytes for batch in loader)
    assert found.probe is not None and found.probe.batches == 3 and found.samples_per_second > 0
    assert found.whole and found.limit in LIMITS - {"consumer"}
    text = str(found)
    assert f"{found.samples} samples of 2 mice in {found.batches} batches" in text and "kept: everything" in text
    assert re.search(r"expected: \d+ samples a second in the first 3 batches, limited by the \w+", text)


def test_a_description_of_what_is_not_kept(dynamic: Mouse) -> None:
    small = load(dynamic, batch_size=1, window=30, cache="none", threads=1)
    found = small.describe(probe=0)
    assert found.probe is found.samples_per_second is found.limit is None and "expected" not in str(found)
    assert not found.whole and "kept: behavior of 1 mice, pupil_center of 1 mice" in str(found)
    assert found.budget.held_nbytes + found.budget.ahead * found.budget.slot_nbytes < 2**30
    iterator = iter(small)
    next(iterator)
    again = load(dynamic, batch_size=1, window=30)
    again.load_state_dict(small.state_dict())
    assert again.describe().samples == len(again) == found.samples - 1
    with pytest.raises(OptionError, match="^probe: expected a whole number of at least 0, found -1"):
        small.describe(probe=-1)

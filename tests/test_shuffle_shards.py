"""Shards in random order, some of them mixed at a time: the order, how well it mixes, and what is asked for."""

import itertools
import re
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trialpack.convert.sample import write_sample
from trialpack.readers import Mouse, TrialLoader, open_mouse
from trialpack.readers.sampling import (
    EpochPosition,
    MixedMice,
    MouseBatches,
    Sampler,
    Shards,
    Trials,
    Windows,
    shuffle_quality,
)
from trialpack.store import CorruptStoreError, OptionError, objects, push_store

from .object_server import ObjectServer
from .streams import least_memory, pack
from .test_remote import assert_equal_batches, batches

# Order


@given(st.sets(st.integers(0, 99), min_size=1), st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**70))
def test_no_more_shards_than_said_are_mixed(chosen: set[int], rows: int, mixed: int, seed: int) -> None:
    samples = np.repeat(np.array(sorted(chosen)), 2)
    order = Shards(rows, mixed).order(samples, seed, 0)
    assert sorted(order.tolist()) == list(range(len(samples)))
    shards = (samples // rows)[order]
    known = np.unique(shards)
    spans = [np.flatnonzero(shards == one)[[0, -1]] for one in known]
    for place in range(len(shards)):
        assert sum(first <= place <= last for first, last in spans) <= mixed
    assert np.array_equal(order, Shards(rows, mixed).order(samples, seed, 0))


def test_all_shards_are_mixed_where_there_are_no_more() -> None:
    first = [Shards(10, 4).order(np.arange(40), 0, epoch)[0] for epoch in range(200)]
    assert len(set(first)) > 30


def mice_of(mixed: int | None, sizes: Sequence[int] = (60, 35)) -> list[MouseBatches]:
    found = list[MouseBatches]()
    for number, n in enumerate(sizes):
        trials = Trials("mouse.zarr", np.arange(n), np.arange(n) * 10, None)
        shards = None if mixed is None else Shards(5, mixed)
        found.append(MouseBatches(number, trials, Windows(None, 1, "random"), 4, True, False, shards=shards))
    return found


@pytest.mark.parametrize("mixing", ["cycle", "sequential", "shuffled"])
def test_epochs_are_whole_on_any_number_of_ranks_from_any_place_on(mixing: Any) -> None:
    whole = Sampler(MixedMice(mice_of(3), mixing, 7), 0, 1, False)
    epochs = [[(one.mouse, one.rows.tolist()) for one in whole.batches(EpochPosition(epoch))] for epoch in (0, 0, 1)]
    assert epochs[0] == epochs[1] != epochs[2]
    passes = 2 if mixing == "cycle" else 1
    counts = Counter((mouse, row) for mouse, rows in epochs[0] for row in rows)
    assert set(counts.values()) <= {1, passes} and len(counts) == 60 + 35
    for place in (1, 5, len(epochs[0]) - 2):
        ranks = [replace(whole, rank=rank, world_size=2) for rank in range(2)]
        parts = [[(one.mouse, one.rows.tolist()) for one in rank.batches(EpochPosition(0, place))] for rank in ranks]
        dealt = [batch for pair in zip(*parts, strict=True) for batch in pair]
        assert dealt[: len(epochs[0]) - place] == epochs[0][place:]


def test_states_know_how_shards_are_mixed() -> None:
    samplers = [Sampler(MixedMice(mice_of(mixed), "cycle", 7), 0, 1, False) for mixed in (2, 3, None)]
    states = [one.to_state(EpochPosition(0, 2), ["a", "b"]) for one in samplers]
    assert len({state["sampling"] for state in states}) == 3
    with pytest.raises(OptionError, match="other mice, trials"):
        samplers[0].from_state(states[1], ["a", "b"])


# Quality


def brute_force(batches: Sequence[Sequence[int]]) -> tuple[float, float, float]:
    """Return all three numbers of one mouse, pair by pair."""
    order = [shard for batch in batches for shard in batch]
    pairs = list(itertools.combinations(range(len(order)), 2))
    alike = [one for one in pairs if order[one[0]] == order[one[1]]]
    within = [pair for batch in batches for pair in itertools.combinations(batch, 2)]
    apart = float(np.mean([late - early for early, late in alike]))
    every = float(np.mean([late - early for early, late in pairs]))
    return apart / every, sum(a == b for a, b in within) / len(within), len(alike) / len(pairs)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=4, max_size=12))
def test_quality_is_that_of_all_pairs(given: list[list[int]]) -> None:
    given = [*given, [0, 0], [0]]
    found = shuffle_quality([[np.array(batch) for batch in given]])
    assert (found.spread, found.same_shard, found.perfect_same_shard) == pytest.approx(brute_force(given))


def test_what_a_perfect_shuffle_is_compared_with() -> None:
    random, shards = np.random.default_rng(0), np.repeat(np.arange(8), 30)
    found = [shuffle_quality([np.split(random.permutation(shards), 15)]) for _ in range(300)]
    assert np.mean([one.spread for one in found]) == pytest.approx(1, rel=0.01)
    assert np.mean([one.same_shard for one in found]) == pytest.approx(found[0].perfect_same_shard, rel=0.03)


@pytest.mark.parametrize("mixed", [2, 4, 8])
def test_quality_follows_from_how_many_are_mixed(mixed: int) -> None:
    rows, found = np.arange(64 * 40), list[Any]()
    for epoch in range(4):
        shards = rows[Shards(40, mixed).order(rows, 0, epoch)] // 40
        found.append(shuffle_quality([np.array_split(shards, 80)]))
    assert np.mean([one.spread for one in found]) == pytest.approx(mixed / 64, rel=0.1)
    assert np.mean([one.same_shard for one in found]) == pytest.approx(1 / mixed, rel=0.15)
    one_shard = shuffle_quality([np.array_split(rows // 40, 128)])
    assert one_shard.spread < 0.02 and one_shard.same_shard == 1
    nothing = shuffle_quality([[np.array([3])], []])
    assert (nothing.spread, nothing.same_shard, nothing.perfect_same_shard) == (1, 0, 0)


# What is read


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A static mouse of many shards of many trials, and a dynamic one of some shards of few."""
    place = tmp_path_factory.mktemp("mixed")
    found = dict[str, Path]()
    for mouse, trials, cut in (("S0", 300, "small shards"), ("A", 40, "odd chunks")):
        source = write_sample(place, mouse=mouse, trials=trials, neurons=20, image_shape=(6, 8))
        store = Path(pack(source, place / "stores", cut).path)
        found["dynamic" if mouse == "A" else "static"] = store
    return found


@dataclass
class Requests:
    """What was asked for of an object store, and how much of what came is still held."""

    spans: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])
    held: int = 0
    most: int = 0

    def read(self, original: Callable[..., Any], *arguments: Any) -> Any:
        data, pin = original(*arguments)
        if len(arguments) > 3:
            self.spans.append((arguments[1], *arguments[3]))
            owner = np.frombuffer(bytes(data), np.uint8)
            self.held += owner.nbytes
            self.most = max(self.most, self.held)
            weakref.finalize(owner, self._let_go, owner.nbytes)
            data = memoryview(owner)
        return data, pin

    def _let_go(self, nbytes: int) -> None:
        self.held -= nbytes

    def twice(self) -> float:
        """Return the share of the bytes that were asked for that had been asked for before."""
        seen, total, again = set[tuple[str, int]](), 0, 0
        for name, offset, size in self.spans:
            bytes_of = {(name, place) for place in range(offset, offset + size)}
            total, again = total + size, again + len(bytes_of & seen)
            seen |= bytes_of
        return again / total


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    found, original = Requests(), objects.read
    monkeypatch.setattr(objects, "read", lambda *arguments: found.read(original, *arguments))
    return found


@pytest.fixture(scope="module")
def buckets(stores: dict[str, Path]) -> dict[str, Any]:
    """The stores, in memory."""
    obstore = pytest.importorskip("obstore.store", reason="obstore is not installed")
    found = {kind: obstore.MemoryStore() for kind in stores}
    for kind, store in stores.items():
        push_store(store, found[kind])
    return found


CHOSEN: dict[str, Any] = {"tier": None, "output": "numpy", "withheld": "zeros", "threads": 1, "shuffle": True}


def load(mice: Any, **options: Any) -> TrialLoader:
    return TrialLoader(mice, **CHOSEN | {"batch_size": 8} | options)


def epoch_of(loader: TrialLoader, requests: Requests) -> int:
    """Go through an epoch, and return how many requests it took."""
    requests.spans.clear()
    for batch in loader:
        del batch
    assert loader.stats.requests.made == len(requests.spans)
    return len(requests.spans)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_shards_are_asked_for_once_and_by_few_requests(
    kind: str, buckets: dict[str, Any], requests: Requests, stores: dict[str, Path]
) -> None:
    """One for each shard of a variable, or two where the padding of a trial is more than a twentieth of it."""
    mouse, names = open_mouse(buckets[kind]), ["images" if kind == "static" else "videos", "responses"]
    options: Any = {"cache": "none", "batch_size": 8 if kind == "static" else 2, "variables": names}
    shards = 2 * mouse.index.recorded[0].files
    assert shards > 12
    whole, mixed = load(mouse, **options), load(mouse, shuffle_shards=3, **options)
    every, few = epoch_of(whole, requests), epoch_of(mixed, requests)
    assert shards <= few <= 1.1 * shards < every / 1.8
    assert requests.twice() == 0 == requests.held and requests.most > 0
    local = load(open_mouse(stores[kind]), shuffle_shards=3, **options)
    assert_equal_batches(values_of(mixed, 1), values_of(local, 1))


def values_of(loader: TrialLoader, epoch: int) -> list[dict[str, Any]]:
    loader.set_epoch(epoch)
    return [{name: np.array(values) for name, values in batch.items()} for batch in loader]


def test_memory_is_bounded_and_said(buckets: dict[str, Any], requests: Requests) -> None:
    mouse = open_mouse(buckets["static"])
    options: Any = {"cache": "none", "shuffle_shards": 3, "batch_size": 2, "variables": ["images"]}
    with pytest.raises(
        OptionError, match="and shards of .* take .*; give more memory, or choose a smaller shuff"
    ) as raised:
        load(mouse, **options, memory=least_memory(mouse, **CHOSEN | options))
    least = int(re.search(r"take ([\d,]+)", str(raised.value))[1].replace(",", ""))  # type: ignore[index]
    loader = load(mouse, **options, memory=least)
    budget, stream = loader._pipeline.budget, loader._pipeline.streams[0]
    epoch_of(loader, requests)
    largest = max(sum(sizes) for sizes in shard_sizes(mouse, ["images"]).values())
    assert 3 * largest < budget.shards_nbytes <= 4.3 * largest
    assert requests.most <= budget.shards_nbytes + budget.ahead * stream.ahead_nbytes(2, 1)
    assert requests.held == 0 and stream.ahead is not None and stream.ahead.nbytes == 0


def shard_sizes(mouse: Mouse, variables: Sequence[str]) -> dict[int, list[int]]:
    """Return the bytes of the files of each shard."""
    found, files = dict[int, list[int]](), mouse.index.manifest.files
    for array in mouse.index.recorded:
        for number in range(array.files if array.path in variables else 0):
            found.setdefault(number, []).append(files[array.shard_path(number)].size)
    return found


def test_leaving_early_lets_go_of_all_that_was_asked_for(buckets: dict[str, Any], requests: Requests) -> None:
    loader = load(open_mouse(buckets["static"]), cache="none", shuffle_shards=3)
    for _ in range(2):
        for batch in itertools.islice(loader, 3):
            del batch
        assert requests.held == 0 and loader._pipeline.streams[0].ahead.nbytes == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("mixing", ["shuffled", "cycle", "sequential"])
def test_epochs_go_on_where_they_stopped(mixing: str, buckets: dict[str, Any], stores: dict[str, Path]) -> None:
    """Also of mice of which one is gone through several times while the other is once."""
    far = [open_mouse(buckets[kind]) for kind in ("static", "dynamic")]
    near = [open_mouse(stores[kind]) for kind in ("static", "dynamic")]

    def make(mice: list[Mouse] = far) -> TrialLoader:
        options: Any = {"mixing": mixing, "mixed_kinds": True, "variables": ["responses"], "cache": "none"}
        return load(mice, shuffle_shards=2, **options)

    assert_equal_batches(values_of(make(), 0), values_of(make(near), 0))

    expected, loader = values_of(make(), 0), make()
    for _ in itertools.islice(loader, 5):
        state = loader.state_dict()
    again = make()
    again.load_state_dict(state)
    assert_equal_batches([{name: np.array(one) for name, one in batch.items()} for batch in again], expected[5:])
    with pytest.raises(OptionError, match="other mice, trials"):
        load(far, mixing=mixing, mixed_kinds=True, variables=["responses"]).load_state_dict(state)


def test_the_description_says_how_well_samples_are_mixed(buckets: dict[str, Any], stores: dict[str, Path]) -> None:
    loader = load(open_mouse(buckets["static"]), shuffle_shards=3)
    found = loader.describe(probe=0)
    rows = loader.mice[0].recording.rows_per_shard
    ids = loader.mice[0].recording.trial_ids
    each = [np.searchsorted(ids, np.array(batch["trial_id"])) // rows for batch in loader]
    assert found.quality == shuffle_quality([each])
    assert f"order: {found.quality}" in str(found) and "MB of shards" in str(found)
    perfect = load(open_mouse(stores["static"])).describe(probe=0)
    assert 2 * found.quality.spread < perfect.quality.spread == pytest.approx(1, abs=0.1)
    assert "MB of shards" not in str(perfect)


def test_shards_that_come_to_the_disk_come_in_their_order(stores: dict[str, Path], tmp_path: Path) -> None:
    """The first batch does not wait for all of them, as it does where all are mixed."""
    pytest.importorskip("obstore", reason="obstore is not installed")
    asked = dict[int | None, int]()
    for mixed in (2, None):
        with ObjectServer(stores["static"].parent) as server:
            address = f"s3://mice/{stores['static'].name}"
            mouse = open_mouse(address, storage_options=server.options, cache_dir=tmp_path / str(mixed))
            options: Any = {"shuffle_shards": mixed, "cache": "none", "variables": ["responses"], "batch_size": 4}
            loader = load(mouse, **options, in_flight=1)
            object.__setattr__(loader._pipeline.budget, "ahead", 1)
            server.asked.clear()
            found = iter(loader)
            next(found)
            asked[mixed] = len({key for key, part in server.gets() if part and "/responses/c" in key})
            found.close()  # type: ignore[attr-defined]
            expected = values_of(load(open_mouse(stores["static"]), **options), 3)
            assert_equal_batches(values_of(loader, 3), expected)
    assert mouse.index.arrays["responses"].files > 6
    assert asked[2] <= 4


def test_damage_is_named(stores: dict[str, Path], buckets: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    mouse, original = open_mouse(buckets["static"]), objects.read
    loader = load(mouse, shuffle_shards=2, cache="none")

    def flipped(*arguments: Any) -> Any:
        data, pin = original(*arguments)
        return (memoryview(bytes(one ^ 1 for one in data)), pin) if "responses/c" in arguments[1] else (data, pin)

    monkeypatch.setattr(objects, "read", flipped)
    with pytest.raises(CorruptStoreError, match=r"responses/c[.0-9]+: trial \d+: "):
        list(loader)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "without shuffle": ({"shuffle": False}, "shuffle_shards=2 needs shuffle=True"),
    "with repeats": ({"repeats": True, "batch_size": None}, "shuffle_shards=2 and repeats do not go together"),
    "with a sampler": ({"sampler": [], "shuffle": False}, "shuffle_shards and sampler do not go together"),
    "none": ({"shuffle_shards": 0}, "shuffle_shards: expected a whole number of at least 1"),
}


@pytest.mark.parametrize(("options", "text"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together(options: dict[str, Any], text: str, stores: dict[str, Path]) -> None:
    with pytest.raises(OptionError, match=text):
        load(open_mouse(stores["static"]), **{"shuffle_shards": 2} | options)


def test_batches_are_the_same_on_disk_and_elsewhere(stores: dict[str, Path]) -> None:
    with ObjectServer(stores["dynamic"].parent) as server:
        far = open_mouse(f"s3://mice/{stores['dynamic'].name}", storage_options=server.options)
        options: Any = {"shuffle": True, "shuffle_shards": 2, "window": 40, "samples_per_trial": 2}
        assert_equal_batches(batches(far, **options), batches(open_mouse(stores["dynamic"]), **options))


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(objects, "_FIRST_PAUSE", 0.001)
    yield

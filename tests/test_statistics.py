"""Train statistics: what numpy gives for the files of the source, and the same bits however they are computed."""

import contextlib
import itertools
import math
import pickle
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import Mouse, Statistics, open_mouse, train_statistics
from trialpack.readers.reductions import needed_memory
from trialpack.store import CorruptStoreError, OptionError, UnknownNameError
from trialpack.store.layout import STATISTIC_NAMES

from .mice import STIMULUS_AXES, Array, edit, published_variables, trial_ids, trial_path

KINDS = ("dynamic", "float64", "static")
CODECS = ("fast", "none", "small")


# What numpy gives for the files of the source


class Source:
    """The trials of a folder, loaded with numpy alone; axes as in the store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ids = trial_ids(folder)
        self.kind = "dynamic" if (folder / "data/videos").exists() else "static"
        self.frame_axes = {"videos": 0, "responses": 1, "behavior": 1, "pupil_center": 1} if self.is_dynamic else {}
        tiers = np.load(folder / "meta/trials/tiers.npy")
        self.tiers = {trial: str(tiers[trial]) for trial in self.ids}

    @property
    def is_dynamic(self) -> bool:
        return self.kind == "dynamic"

    def of_tier(self, tier: str | None) -> list[int]:
        return [trial for trial in self.ids if tier in (None, self.tiers[trial])]

    def n_frames(self, trial: int) -> int:
        """Frames up to the last one of the video that holds a number."""
        numbers = ~np.isnan(self.load("videos", trial))
        return int(np.flatnonzero(numbers.any(axis=(1, 2)))[-1]) + 1

    def is_withheld(self, trial: int) -> bool:
        return not np.nan_to_num(self.load("responses", trial)).any()

    def load(self, variable: str, trial: int) -> Array:
        values = np.load(trial_path(self.folder, variable, trial))
        return values.transpose(STIMULUS_AXES[variable]) if variable in STIMULUS_AXES else values

    def stacked(self, variable: str, ids: Sequence[int]) -> Array:
        """Return (n, …) the trials that have numbers, NaN behind their valid length."""
        if variable == "responses":
            ids = [trial for trial in ids if not self.is_withheld(trial)]
        some = self.load(variable, self.ids[0])
        values = np.empty((len(ids), *some.shape), some.dtype)
        for row, trial in zip(values, ids, strict=True):
            row[...] = self.load(variable, trial)
            if self.is_dynamic:
                np.moveaxis(row, self.frame_axes[variable], 0)[self.n_frames(trial) :] = np.nan
        return values

    def reductions(self, variable: str) -> dict[str, tuple[int, ...]]:
        """Return the axes of `stacked` that each reduction is over."""
        found: dict[str, tuple[int, ...]] = {"over_trials": (0,)}
        if self.is_dynamic:
            found["over_trials_and_frames"] = (0, 1 + self.frame_axes[variable])
        if variable == "images":
            found["over_trials_and_pixels"] = (0, 1, 2, 3)
        return found

    @property
    def variables(self) -> list[str]:
        return [path.name for path in (self.folder / "data").iterdir()]


def numpy_reduced(values: Array, axes: tuple[int, ...]) -> dict[str, Array]:
    kept = tuple(size for axis, size in enumerate(values.shape) if axis not in axes)
    if not len(values):
        empty = {name: np.full(kept, np.nan, values.dtype) for name in ("min", "max", "median")}
        return empty | {name: np.full(kept, np.nan) for name in ("mean", "std")} | {"count": np.zeros(kept, np.int64)}
    wide = values.astype(np.float64)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return {
            "count": np.asarray((~np.isnan(values)).sum(axis=axes)),
            "min": np.nanmin(values, axis=axes),
            "max": np.nanmax(values, axis=axes),
            "mean": np.nanmean(wide, axis=axes),
            "median": np.nanmedian(values, axis=axes),
            "std": np.nanstd(wide, axis=axes),
        }


def assert_as_source(found: Statistics, source: Source, ids: Sequence[int], variables: Sequence[str] = ()) -> None:
    """Compare all numbers with numpy's: exact ones exactly, mean and standard deviation to 1e-9."""
    assert found.trial_ids.tolist() == list(ids)
    assert set(found) == set(variables or source.variables)
    for variable in found:
        values = source.stacked(variable, ids)
        assert set(found[variable]) == set(source.reductions(variable)), variable
        for reduction, axes in source.reductions(variable).items():
            scale = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
            for name, expected in numpy_reduced(values, axes).items():
                what = f"{variable} {reduction} {name}"
                one = np.asarray(getattr(found[variable][reduction], name))  # type: ignore[index]
                assert (one.dtype, one.shape) == (expected.dtype, expected.shape), what
                if name in ("mean", "std"):
                    np.testing.assert_allclose(one, expected, rtol=1e-9, atol=1e-12 * scale, err_msg=what)
                else:
                    np.testing.assert_array_equal(one, expected, what)


def all_bits(statistics: Statistics) -> dict[tuple[str, str, str], tuple[str, tuple[int, ...], bytes]]:
    return {
        (variable, reduction, name): (values.dtype.str, values.shape, values.tobytes())
        for variable, reductions in statistics.items()
        for reduction, reduced in reductions.items()
        for name in STATISTIC_NAMES
        for values in [np.asarray(getattr(reduced, name))]
    }


def assert_same_bits(found: Statistics, expected: Statistics, what: object = "") -> None:
    one, other = all_bits(found), all_bits(expected)
    assert one.keys() == other.keys()
    assert [key for key in one if one[key] != other[key]] == [], what


@contextlib.contextmanager
def patched(**values: Any) -> Iterator[None]:
    """Change constants: how stores are cut into chunks and shards, what memory is set aside."""
    places = {
        "CHUNK_FRAMES": "trialpack.store.layout",
        "CHUNK_BYTES": "trialpack.store.layout",
        "JOINT_CHUNKS": "trialpack.store.layout",
        "SHARD_BYTES": "trialpack.store.layout",
        "PROCESS_BYTES": "trialpack.readers.reductions.out_of_core",
        "_COUNTED_BYTES": "trialpack.readers.reductions.out_of_core",
        "_CACHE_BYTES": "trialpack.readers.reductions.in_memory",
    }
    with contextlib.ExitStack() as stack:
        for name, value in values.items():
            stack.enter_context(mock.patch(f"{places[name]}.{name}", value))
        yield


# Sample mice


@pytest.fixture(scope="module")
def packed(sample_mice: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mouse]:
    """Each tiny mouse, opened; several chunks and several shards to an array."""
    place = tmp_path_factory.mktemp("packed")
    mice = dict[str, Mouse]()
    for kind in KINDS:
        cut = (
            {"SHARD_BYTES": 3000, "CHUNK_BYTES": 1200}
            if kind == "static"
            else {"SHARD_BYTES": 150_000, "CHUNK_BYTES": 20_000}
        )
        with patched(**cut, JOINT_CHUNKS=1):
            mice[kind] = pack(sample_mice[f"{kind}_folder"], place)
    return mice


def pack(source: Path, to: Path, **options: Any) -> Mouse:
    """Convert a mouse, without statistics in the store, and open it."""
    return open_mouse(convert_mouse(source, to, statistics=False, verify=False, **options).store)


@pytest.fixture(scope="module")
def sources(sample_mice: dict[str, Path]) -> dict[str, Source]:
    return {kind: Source(sample_mice[f"{kind}_folder"]) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def mouse(kind: str, packed: dict[str, Mouse]) -> Mouse:
    return packed[kind]


@pytest.fixture
def source(kind: str, sources: dict[str, Source]) -> Source:
    return sources[kind]


@pytest.mark.parametrize("codec", CODECS)
def test_train_statistics_are_those_of_the_source(source: Source, codec: str, tmp_path: Path) -> None:
    found = train_statistics(pack(source.folder, tmp_path, codec=codec))
    assert_as_source(found, source, source.of_tier("train"))


def test_several_shards_and_chunks(mouse: Mouse, source: Source) -> None:
    arrays = mouse.recording.arrays.values()
    assert all(array.files > 1 for array in arrays)
    assert any(math.prod(array.chunks_per_shard) > 1 for array in arrays)
    assert any(array.chunk[0] > 1 for array in arrays)
    assert_as_source(train_statistics(mouse), source, source.of_tier("train"))


def test_what_they_are_of(mouse: Mouse, source: Source) -> None:
    found = train_statistics(mouse)
    assert (found.mouse, found.kind, found.tier) == (source.folder.name, source.kind, "train")
    assert found.trial_ids.dtype == np.int64
    assert list(found) == [variable.name for variable in published_variables(mouse.kind)]
    assert len(found) == 4 and "responses" in found and "frames" not in found
    for reductions in found.values():
        for reduced in reductions.values():
            assert all(isinstance(getattr(reduced, name), np.ndarray) for name in STATISTIC_NAMES)
            assert {getattr(reduced, name).shape for name in STATISTIC_NAMES} == {reduced.shape}


def test_every_tier(mouse: Mouse, source: Source) -> None:
    for tier in sorted(set(source.tiers.values())):
        assert_as_source(train_statistics(mouse, tier=tier), source, source.of_tier(tier))


def test_trials_of_all_tiers(mouse: Mouse, source: Source) -> None:
    found = train_statistics(mouse, tier=None)
    assert found.tier is None
    assert_as_source(found, source, source.ids)


SELECTIONS: dict[str, tuple[Callable[[Mouse], Any], Callable[[Source], list[int]]]] = {
    "one trial": (lambda mouse: [0], lambda source: [0]),
    "some": (lambda mouse: mouse.trials.index[[1, 4, 6]], lambda source: [source.ids[row] for row in (1, 4, 6)]),
    "in any order, twice": (lambda mouse: [3, 0, 3], lambda source: [0, 3]),
    "an array": (lambda mouse: np.array([0, 3], np.uint16), lambda source: [0, 3]),
    "mask": (lambda mouse: mouse.trials["tier"] != "train", lambda source: not_train(source)),
    "by tier": (lambda mouse: {"tier": sorted(set(mouse.trials["tier"]))[:2]}, lambda source: first_tiers(source)),
    "two columns": (lambda mouse: {"withheld": False, "tier": "train"}, lambda source: source.of_tier("train")),
}


def not_train(source: Source) -> list[int]:
    return [trial for trial in source.ids if source.tiers[trial] != "train"]


def first_tiers(source: Source) -> list[int]:
    first = sorted(set(source.tiers.values()))[:2]
    return [trial for trial in source.ids if source.tiers[trial] in first]


@pytest.mark.parametrize("choice", SELECTIONS)
def test_chosen_trials(mouse: Mouse, source: Source, choice: str) -> None:
    trials, ids = SELECTIONS[choice]
    found = train_statistics(mouse, tier=None, trials=trials(mouse))
    assert_as_source(found, source, ids(source))


def test_chosen_trials_of_a_tier(mouse: Mouse, source: Source) -> None:
    train = source.of_tier("train")
    other = next(trial for trial in source.ids if trial not in train)
    assert_as_source(train_statistics(mouse, trials=[*train[1:3], other]), source, train[1:3])


@pytest.mark.parametrize(
    "chosen", [("responses",), ("behavior", "pupil_center"), ("pupil_center", "responses")], ids=str
)
def test_chosen_variables(mouse: Mouse, source: Source, chosen: tuple[str, ...]) -> None:
    found = train_statistics(mouse, variables=chosen)
    assert_as_source(found, source, source.of_tier("train"), chosen)
    whole = all_bits(train_statistics(mouse))
    assert all_bits(found) == {key: value for key, value in whole.items() if key[0] in chosen}


@pytest.mark.parametrize(("kind", "tier"), [("float64", "live_test_bonus"), ("static", "test")], indirect=["kind"])
def test_a_tier_whose_responses_are_withheld(mouse: Mouse, source: Source, tier: str) -> None:
    """There are no responses, and there is everything else."""
    ids = source.of_tier(tier)
    assert ids and all(source.is_withheld(trial) for trial in ids)
    found = train_statistics(mouse, tier=tier)
    assert_as_source(found, source, ids)
    for reduced in found["responses"].values():
        assert not np.any(reduced.count)
        assert all(np.isnan(getattr(reduced, name)).all() for name in STATISTIC_NAMES if name != "count")
    assert found["pupil_center"]["over_trials"].count.max() == len(ids)


@pytest.mark.parametrize("kind", ["float64", "static"], indirect=True)
def test_withheld_responses_do_not_count(mouse: Mouse, source: Source) -> None:
    """Zeros in place of responses would pull every mean towards zero."""
    given_responses = sum(not source.is_withheld(trial) for trial in source.ids)
    assert 0 < given_responses < len(source.ids)
    found = train_statistics(mouse, tier=None)["responses"]["over_trials"]
    assert found.count.max() == given_responses


# Gaps


@pytest.mark.parametrize("kind", ["dynamic", "float64"], indirect=True)
def test_padding_does_not_count(mouse: Mouse, source: Source) -> None:
    found = train_statistics(mouse, tier=None)["videos"]["over_trials"]
    lengths = np.array([source.n_frames(trial) for trial in source.ids])
    expected = (lengths[:, None] > np.arange(found.shape[0])).sum(axis=0)
    np.testing.assert_array_equal(found.count, np.broadcast_to(expected[:, None, None], found.shape))
    np.testing.assert_array_equal(np.isnan(found.mean), found.count == 0)
    assert expected[0] == len(source.ids) > expected[-1]


GAPS: dict[str, Callable[[Array], Array]] = {
    "one number": lambda values: with_value(values, (0,) * values.ndim, np.nan),
    "the first of each": lambda values: with_value(values, 0, np.nan),
    "most": lambda values: np.where(np.arange(values.size).reshape(values.shape) % 5, np.nan, values),
    "throughout": lambda values: np.full_like(values, np.nan),
    "NaN of other bits": lambda values: with_value(values, (0,) * values.ndim, -np.float32(np.nan)),
    "infinity": lambda values: with_value(values, (0,) * values.ndim, np.inf),
    "minus zero": lambda values: with_value(values, 0, -0.0),
}


def with_value(values: Array, place: Any, value: Any) -> Array:
    values = values.copy()
    values[place] = value
    return values


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize("variable", ["behavior", "responses"])
@pytest.mark.parametrize("name", ["dynamic_folder", "static_folder"])
def test_numbers_that_are_none(
    name: str, variable: str, gaps: str, fresh: Callable[[str], Path], tmp_path: Path
) -> None:
    """In every second trial, and in another variable of one more."""
    folder = fresh(name)
    for trial in trial_ids(folder)[::2]:
        edit(trial_path(folder, variable, trial), GAPS[gaps])
    edit(trial_path(folder, "pupil_center", trial_ids(folder)[1]), GAPS[gaps])
    source = Source(folder)
    assert_as_source(train_statistics(pack(folder, tmp_path)), source, source.of_tier("train"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, -7.5], ids=str)
def test_images_with_special_pixels(value: float, static_folder: Path, tmp_path: Path) -> None:
    """The median over pixels is counted, not sorted."""
    for trial in trial_ids(static_folder)[::2]:
        edit(trial_path(static_folder, "images", trial), lambda values: with_value(values, (0, slice(0, 5)), value))
    source = Source(static_folder)
    found = train_statistics(pack(static_folder, tmp_path))
    assert_as_source(found, source, source.of_tier("train"))


def test_frames_behind_the_valid_length_do_not_count(dynamic_folder: Path, tmp_path: Path) -> None:
    """A trial ends where its video does, whatever the other variables hold behind."""
    for trial in trial_ids(dynamic_folder):
        edit(trial_path(dynamic_folder, "behavior", trial), lambda values: np.nan_to_num(values, nan=1e6))
    source = Source(dynamic_folder)
    assert len({source.n_frames(trial) for trial in source.ids}) > 1
    found = train_statistics(pack(dynamic_folder, tmp_path), tier=None)
    assert_as_source(found, source, source.ids)
    assert found["behavior"]["over_trials_and_frames"].max.max() < 1e6


def test_a_large_mean_and_a_small_spread(dynamic_folder: Path, tmp_path: Path) -> None:
    """Sums of float32 would lose the spread."""
    rng = np.random.default_rng(0)
    for trial in trial_ids(dynamic_folder):
        spread = lambda values: (1e6 + 0.5 * rng.normal(size=values.shape)).astype("f4") + 0 * values  # noqa: E731
        edit(trial_path(dynamic_folder, "behavior", trial), spread)
    source = Source(dynamic_folder)
    found = train_statistics(pack(dynamic_folder, tmp_path))
    assert_as_source(found, source, source.of_tier("train"))
    assert (found["behavior"]["over_trials_and_frames"].std < 1).all()


def test_statistics_of_rounded_values(float64_folder: Path, tmp_path: Path) -> None:
    """A store of float32 has the statistics of its own values, medians as float32."""
    found = train_statistics(pack(float64_folder, tmp_path, precision="float32"))
    for variable in Source(float64_folder).variables:
        for trial in trial_ids(float64_folder):
            path = trial_path(float64_folder, variable, trial)
            np.save(path, np.load(path).astype(np.float32))
    source = Source(float64_folder)
    assert_as_source(found, source, source.of_tier("train"))


# Equal bits


@dataclass(frozen=True)
class AnyMouse:
    """What a random mouse is made of."""

    is_dynamic: bool
    dtype: str
    n_trials: int
    n_neurons: int
    n_frames: int
    height: int
    width: int
    digits: int
    gaps: float
    seed: int

    def write(self, folder: Path) -> Path:
        """Write it: gaps among numbers, tiers, padding, NaN inside, withheld responses, ties."""
        rng = np.random.default_rng(self.seed)
        numbers = sorted(rng.choice(2 * self.n_trials, self.n_trials, replace=False).tolist())
        tiers = np.full(2 * self.n_trials, "none", "<U8")
        tiers[numbers] = rng.choice(["train", "train", "oracle"], self.n_trials)
        tiers[numbers[0]] = "train"
        save(folder / "meta/trials/tiers.npy", tiers)
        for number in numbers:
            length = int(rng.integers(1, self.n_frames + 1))
            for name, shape in self.shapes.items():
                save(folder / f"data/{name}/{number}.npy", self._values(rng, name, shape, length))
        return folder

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"responses": (self.n_neurons,), "behavior": (3,), "pupil_center": (2,)}
        if self.is_dynamic:
            shapes["videos"] = (self.height, self.width)
            return {name: (*shape, self.n_frames) for name, shape in shapes.items()}
        return shapes | {"images": (1, self.height, self.width)}

    def _values(self, rng: np.random.Generator, name: str, shape: tuple[int, ...], length: int) -> Array:
        values = np.round(rng.normal(0, 2, shape), self.digits).astype(self.dtype)
        values[rng.random(shape) < self.gaps] = np.nan
        if name == "videos":
            values[0, 0] = 1.5  # of the valid frames, none is without a number
        if name == "responses" and rng.random() < 0.2:
            values[...] = 0
        if self.is_dynamic and (name == "videos" or rng.random() < 0.8):  # else numbers behind the valid length
            values[..., length:] = np.nan
        return values


def save(path: Path, values: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


any_mouse = st.builds(
    AnyMouse,
    is_dynamic=st.booleans(),
    dtype=st.sampled_from(["f4", "f8"]),
    n_trials=st.integers(1, 9),
    n_neurons=st.integers(1, 7),
    n_frames=st.integers(1, 24),
    height=st.integers(1, 5),
    width=st.integers(1, 4),
    digits=st.integers(0, 3),
    gaps=st.sampled_from([0, 0, 0.1, 0.6]),
    seed=st.integers(0, 2**32),
)
any_chunks = st.fixed_dictionaries(
    {
        "CHUNK_FRAMES": st.sampled_from([1, 2, 5, 30]),
        "CHUNK_BYTES": st.sampled_from([1, 100, 500, 2000, 1 << 20]),
        "SHARD_BYTES": st.sampled_from([1, 500, 3000, 10_000, 160_000_000]),
    }
)
any_run = st.tuples(
    st.integers(1, 4), st.sampled_from([0, 1, 1000, 5000, 100_000, 1 << 30]), st.sampled_from([1, 1000])
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(any_mouse, st.lists(any_chunks, min_size=3, max_size=3), st.lists(any_run, min_size=6, max_size=6))
def test_equal_bits_for_any_chunks_codec_threads_and_memory(
    kind: AnyMouse, chunks: list[dict[str, int]], runs: list[tuple[int, int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        source = Source(kind.write(Path(name) / "mouse"))
        expected = None
        for number, (codec, cut) in enumerate(zip(CODECS, chunks, strict=True)):
            with patched(**cut):
                mouse = pack(source.folder, Path(name) / codec, codec=codec)
            if expected is None:
                expected = train_statistics(mouse, threads=1)
                assert_as_source(expected, source, source.of_tier("train"))
            for threads, spare, cache in runs[2 * number : 2 * number + 2]:
                found = with_least_memory(mouse, spare=spare, cache=cache, threads=threads)
                assert_same_bits(found, expected, f"{codec}, {threads} threads, {spare} bytes more than needed")


def with_least_memory(mouse: Mouse, *, spare: int, cache: int, threads: int, client: Any = None) -> Statistics:
    """Compute with little more memory than has to be: many small parts."""
    with patched(PROCESS_BYTES=0, _COUNTED_BYTES=1000, _CACHE_BYTES=cache):
        bound = needed_memory(mouse.recording, mouse.rows(tier="train")) + spare
        return train_statistics(mouse, threads=threads, max_memory=bound, client=client)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads_and_memory_change_no_bit(mouse: Mouse, threads: int) -> None:
    expected = train_statistics(mouse, threads=1)
    assert_same_bits(train_statistics(mouse, threads=threads), expected)
    for spare in (0, 5000, 50_000, 1 << 30):
        assert_same_bits(with_least_memory(mouse, spare=spare, cache=1, threads=threads), expected, spare)


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_change_no_bit(kind: str, packed: dict[str, Mouse], source: Source, codec: str, tmp_path: Path) -> None:
    assert_same_bits(train_statistics(pack(source.folder, tmp_path, codec=codec)), train_statistics(packed[kind]))


def test_a_zip_and_a_folder_have_the_same_bits(
    kind: str, packed: dict[str, Mouse], sample_mice: dict[str, Path], tmp_path: Path
) -> None:
    assert_same_bits(train_statistics(pack(sample_mice[f"{kind}_zip"], tmp_path)), train_statistics(packed[kind]))


def test_a_misspelled_reduction_is_refused_with_those_there_are(mouse: Mouse) -> None:
    found = train_statistics(mouse)["responses"]
    with pytest.raises(UnknownNameError, match="responses: no 'over_trial'; there are over_trials"):
        found["over_trial"]  # type: ignore[index] # noqa: B018
    assert found.get("over_trial") is None  # type: ignore[call-overload]


def test_all_statistics_can_be_pickled(mouse: Mouse) -> None:
    found = train_statistics(mouse)
    assert_same_bits(pickle.loads(pickle.dumps(found)), found)


# On a cluster


@pytest.fixture(scope="module")
def client(cluster: Any) -> Iterator[Any]:
    with cluster.get_client() as client:
        yield client


def test_a_cluster_changes_no_bit(client: Any, packed: dict[str, Mouse]) -> None:
    for kind, mouse in packed.items():
        expected = train_statistics(mouse, threads=1)
        assert_same_bits(train_statistics(mouse, client=client), expected, kind)
        for spare in (20_000, 200_000):  # a worker's threads share it
            found = with_least_memory(mouse, spare=spare + 2_000_000, cache=1, threads=1, client=client)
            assert_same_bits(found, expected, f"{kind} in parts")


def test_a_cluster_names_a_damaged_shard(client: Any, packed: dict[str, Mouse], tmp_path: Path) -> None:
    store = shutil.copytree(packed["dynamic"].path, tmp_path / "copy.zarr")
    mouse = open_mouse(store)
    shard = next(store.glob("responses/c.1.*"))
    shard.unlink()
    with pytest.raises(CorruptStoreError) as raised:
        train_statistics(mouse, tier=None, client=client)
    assert raised.value.member == shard.relative_to(store).as_posix()


def test_a_cluster_computes_dask_arrays(client: Any, packed: dict[str, Mouse], sources: dict[str, Source]) -> None:
    for kind, mouse in packed.items():
        found = client.compute(mouse.dask("responses", neurons=[0, 2])).result()
        values = np.stack([sources[kind].load("responses", trial)[[0, 2]] for trial in sources[kind].ids])
        np.testing.assert_array_equal(found, values)


def test_too_little_memory_for_the_threads_of_a_worker(client: Any, packed: dict[str, Mouse]) -> None:
    """Fewer threads can be taken of this process, not of a worker."""
    mouse = packed["dynamic"]
    bound = needed_memory(mouse.recording, mouse.rows(tier="train")) + 3_000_000
    train_statistics(mouse, max_memory=bound)
    with pytest.raises(OptionError, match="max_memory") as raised:
        train_statistics(mouse, max_memory=bound, client=client)
    missing = re.search(r"at least ([-\d]+) MB are missing", str(raised.value))
    assert missing
    train_statistics(mouse, max_memory=bound + int(missing[1]) * 1_000_000, client=client)


# Refusals


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown tier": ({"tier": "nope"}, r"no trials of tier 'nope'; there are .*train \("),
    "tier none": ({"tier": "none"}, "no trials of tier 'none'"),
    "no trials": ({"trials": []}, "nothing is selected"),
    "a trial that is not there": ({"trials": [0, 999]}, "no trial_id 999"),
    "a trial of another tier": ({"trials": {"tier": "train"}, "tier": "OTHER"}, "none of the chosen trials"),
    "a mapping that fits none": ({"trials": {"trial_id": 0, "tier": "OTHER"}, "tier": None}, "nothing is selected"),
    "a value that is not there": ({"trials": {"tier": "nope"}}, "no tier is .nope."),
    "a column that is not there": ({"trials": {"colour": 1}}, "no column 'colour'"),
    "a mask of False": ({"trials": np.zeros(0, bool)}, "mask"),
    "a mask of another length": ({"trials": [True]}, "a mask of shape"),
    "unknown variable": ({"variables": ["responses", "smell"]}, "no variable 'smell'; there are .*responses"),
    "no variables": ({"variables": []}, "variable"),
    "too little memory": ({"max_memory": 100_000}, r"too low .*at least \d+ MB are missing"),
    "no memory": ({"max_memory": 0}, "too low"),
    "too little memory, as text": ({"max_memory": "1 MB"}, "too low"),
}


@pytest.mark.parametrize("kind", ["dynamic"], indirect=True)
@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line_that_names_the_store(mouse: Mouse, source: Source, case: str) -> None:
    options, text = REFUSED[case]
    other = sorted(set(source.tiers.values()) - {"train"})[0]
    with pytest.raises(OptionError, match=text) as raised:
        train_statistics(mouse, **with_other(options, other, len(source.ids)))
    assert str(raised.value).startswith(f"{mouse.path}: ")
    assert "\n" not in str(raised.value) and len(raised.value.problems) == 1


def with_other(options: Any, other: str, n_trials: int) -> Any:
    """Put the name of another tier, and a mask of the right length, in their places."""
    if isinstance(options, dict):
        return {key: with_other(value, other, n_trials) for key, value in options.items()}
    if isinstance(options, np.ndarray):
        return np.zeros(n_trials, bool)
    return other if isinstance(options, str) and options == "OTHER" else options


def test_a_mouse_without_train_trials(tmp_path: Path) -> None:
    folder = write_sample(tmp_path, mouse="A", trial_ids=[9, 13], neurons=3, image_shape=(2, 3))
    mouse = pack(folder, tmp_path / "stores")
    with pytest.raises(OptionError, match=r"no trials of tier 'train'; there are oracle \(2\)") as raised:
        train_statistics(mouse)
    assert str(raised.value).startswith(f"{mouse.path}: ")
    source = Source(folder)
    assert_as_source(train_statistics(mouse, tier="oracle"), source, [9, 13])


@pytest.mark.parametrize("max_memory", ["lots", "1 furlong", -1, math.nan], ids=str)
def test_no_amount_of_memory(packed: dict[str, Mouse], max_memory: Any) -> None:
    with pytest.raises(OptionError):
        train_statistics(packed["dynamic"], max_memory=max_memory)


def test_a_negative_number_of_threads(packed: dict[str, Mouse]) -> None:
    with pytest.raises(OptionError):
        train_statistics(packed["dynamic"], threads=-1)


@pytest.mark.parametrize("tier", ["train", None])
def test_memory_needed_is_enough_and_one_byte_less_is_not(mouse: Mouse, tier: str | None) -> None:
    needed = needed_memory(mouse.recording, mouse.rows(tier=tier))
    for threads in (1, 4):
        train_statistics(mouse, tier=tier, max_memory=needed, threads=threads)
        with pytest.raises(OptionError, match="too low"):
            train_statistics(mouse, tier=tier, max_memory=needed - 1, threads=threads)


def test_threads_leave_memory_for_one_place(tmp_path: Path) -> None:
    """A row of wide images, through all trials, takes more memory than threads take for themselves."""
    folder = write_sample(tmp_path, mouse="S0", trials=14, neurons=2, image_shape=(2, 200_000))
    mouse = pack(folder, tmp_path / "stores")
    needed, expected = needed_memory(mouse.recording, mouse.rows(tier="train")), None
    for threads, spare in itertools.product((1, 2, 4), (0, 2_000_000, 10_000_000)):
        found = train_statistics(mouse, variables=["images"], max_memory=needed + spare, threads=threads)
        expected = expected or found
        assert_same_bits(found, expected, (threads, spare))


@pytest.mark.parametrize("missing", [1, 400_000, 1_400_000, 80_000_000])
def test_the_advice_on_memory_can_be_followed(packed: dict[str, Mouse], missing: int) -> None:
    mouse = packed["dynamic"]
    bound = needed_memory(mouse.recording, mouse.rows(tier="train")) - missing
    with pytest.raises(OptionError) as raised:
        train_statistics(mouse, max_memory=bound)
    found = re.search(r"at least (\d+) MB are missing", str(raised.value))
    assert found
    train_statistics(mouse, max_memory=bound + int(found[1]) * 1_000_000)


# Damage


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda shard: shard.unlink(),
    "empty": lambda shard: shard.write_bytes(b""),
    "zeros": lambda shard: shard.write_bytes(bytes(shard.stat().st_size)),
    "truncated by a byte": lambda shard: shard.write_bytes(shard.read_bytes()[:-1]),
    "half": lambda shard: shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2]),
    "longer": lambda shard: shard.write_bytes(shard.read_bytes() + b"\0"),
    "a folder": lambda shard: (shard.unlink(), shard.mkdir()),
    "last byte": lambda shard: flip(shard, -1),
    "first byte": lambda shard: flip(shard, 0),
    "a byte of the first quarter": lambda shard: flip(shard, shard.stat().st_size // 4),
    "a byte in the middle": lambda shard: flip(shard, shard.stat().st_size // 2),
}
IN_A_CHUNK = ("first byte", "a byte of the first quarter", "a byte in the middle")


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named_and_gives_no_numbers(mouse: Mouse, tmp_path: Path, damage: str) -> None:
    """Each shard of each variable; the mouse was opened before. Responses that are withheld are not read."""
    opened = open_mouse(shutil.copytree(mouse.path, tmp_path / "copy.zarr"))
    for variable, array in opened.recording.arrays.items():
        for number in range(array.files):
            shard = opened.path / array.shard_path(number)
            assert array.shard is not None
            rows = slice(number * array.shard[0], (number + 1) * array.shard[0])
            if damage in IN_A_CHUNK and variable == "responses" and opened.recording.withheld[rows].any():
                continue
            whole = shard.read_bytes()
            DAMAGES[damage](shard)
            with pytest.raises(CorruptStoreError) as raised:
                train_statistics(opened, tier=None, variables=[variable])
            assert (raised.value.path, raised.value.member) == (str(opened.path), array.shard_path(number))
            assert "\n" not in str(raised.value) and "again" in str(raised.value)
            if shard.is_dir():
                shard.rmdir()
            shard.write_bytes(whole)
    assert_same_bits(train_statistics(opened), train_statistics(mouse))


def test_damage_of_what_is_not_read_does_no_harm(packed: dict[str, Mouse], tmp_path: Path) -> None:
    opened = open_mouse(shutil.copytree(packed["dynamic"].path, tmp_path / "copy.zarr"))
    for shard in opened.path.glob("videos/c.*"):
        shard.unlink()
    train_statistics(opened, variables=["responses"])
    with pytest.raises(CorruptStoreError, match=r"videos/c\.\d"):
        train_statistics(opened)


# What it tells while it works


class Heard:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.phases, self.total, self.done = list[str](), 0, 0

    def start(self, phase: str, nbytes: int, files: int) -> None:
        self.phases.append(phase)
        self.total += nbytes

    def advance(self, nbytes: int, files: int) -> None:
        assert nbytes >= 0 and files >= 0
        self.done += nbytes


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("variables", [None, ["responses"]], ids=["all", "responses"])
@pytest.mark.parametrize("tier", ["train", None], ids=str)
def test_progress_ends_where_it_was_to_end(
    mouse: Mouse, tier: str | None, variables: list[str] | None, threads: int
) -> None:
    heard = Heard()
    train_statistics(mouse, tier=tier, threads=threads, variables=variables, progress=heard)
    assert len(heard.phases) == 1 and heard.total > 0
    assert heard.done == heard.total


def test_memory_as_text_and_as_number(mouse: Mouse) -> None:
    assert_same_bits(train_statistics(mouse, max_memory="300 MB"), train_statistics(mouse, max_memory=300_000_000))


def test_what_is_shown_of_statistics(mouse: Mouse, source: Source) -> None:
    """Of withheld responses too, which are NaN throughout."""
    for tier in sorted(set(source.tiers.values())):
        found = train_statistics(mouse, tier=tier)
        n = len(source.of_tier(tier))
        assert repr(found).startswith(f"<Statistics of {n} {tier} trials of {mouse.name}") and "\n" not in repr(found)
        text = found._repr_html_()
        assert all(f"<td>{variable}</td><td>over_trials</td>" in text for variable in source.variables)


# In the store


@pytest.mark.parametrize("codec", CODECS)
def test_stored_statistics_are_the_computed_ones(source: Source, codec: str, tmp_path: Path) -> None:
    mouse = open_mouse(convert_mouse(source.folder, tmp_path, codec=codec).store)  # type: ignore[arg-type]
    stored, computed = mouse.statistics, train_statistics(mouse)
    assert_same_bits(stored, computed)
    assert stored.trial_ids.tolist() == computed.trial_ids.tolist()
    assert (stored.mouse, stored.kind, stored.tier) == (computed.mouse, computed.kind, computed.tier)
    assert_as_source(stored, source, source.of_tier("train"))


def test_a_store_without_statistics_says_how_to_have_them(mouse: Mouse) -> None:
    with pytest.raises(OptionError, match="train_statistics") as raised:
        mouse.statistics  # noqa: B018
    assert str(raised.value).startswith(f"{mouse.path}: ")


def test_damaged_stored_statistics_are_named(source: Source, tmp_path: Path) -> None:
    mouse = open_mouse(convert_mouse(source.folder, tmp_path).store)
    chunk = next((mouse.path / "statistics/train/responses/over_trials/median").glob("c.*"))
    flip(chunk, chunk.stat().st_size // 2)
    with pytest.raises(CorruptStoreError) as raised:
        mouse.statistics  # noqa: B018
    assert raised.value.member == chunk.relative_to(mouse.path).as_posix()

"""Reductions of numbers in memory: what numpy's nan-functions give, whatever the shape, the gaps and the blocks."""

import itertools
import math
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from trialpack.readers.recording import Recording
from trialpack.readers.reductions import Summary, in_memory
from trialpack.readers.reductions.exact_median import count_digits, median_by_bits, n_digits
from trialpack.readers.reductions.in_memory import reduce_memory, reduce_trials
from trialpack.readers.reductions.parts import cut, least_memory, whole
from trialpack.readers.reductions.summary import empty, pool_parts, result_nbytes
from trialpack.store import layout
from trialpack.store.folder import StoreFolder
from trialpack.store.layout import STATISTIC_NAMES
from trialpack.store.tasks import Threads
from trialpack.store.variables import DTYPES as ALL_DTYPES

from .mice import published_variables

Array = NDArray[Any]

DTYPES = [np.dtype("float32"), np.dtype("float64")]
EXACT = ("count", "min", "max", "median")
POOLING_BYTES = 48  # a value of the results, as parts.py reckons
pytestmark = pytest.mark.filterwarnings("error")


# What numpy gives


def numpy_reduced(values: Array, axis: int | tuple[int, ...]) -> dict[str, Array]:
    """Return the statistics over some axes, by numpy: exact ones in the dtype of the values, the others float64."""
    wide = values.astype(np.float64)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return {
            "count": np.asarray((~np.isnan(values)).sum(axis=axis)),
            "min": np.nanmin(values, axis=axis),
            "max": np.nanmax(values, axis=axis),
            "mean": np.nanmean(wide, axis=axis),
            "median": np.nanmedian(values, axis=axis),
            "std": np.nanstd(wide, axis=axis),
        }


def assert_as_numpy(found: Summary, values: Array, axis: int | tuple[int, ...]) -> None:
    """Minimum, maximum and median are equal, the others within 1e-9; where all numbers are equal std is about zero."""
    finite = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    for name, expected in numpy_reduced(values, axis).items():
        one = np.asarray(getattr(found, name))
        dtype = values.dtype if name in ("min", "max", "median") else np.int64 if name == "count" else np.float64
        assert (one.dtype, one.shape) == (dtype, expected.shape), name
        if name in EXACT:
            np.testing.assert_array_equal(one, expected, name)
        else:
            # Squares of what is smaller than 1e-150 are no float64 numbers any more.
            np.testing.assert_allclose(one, expected, rtol=1e-9, atol=1e-12 * float(finite) + 1e-150, err_msg=name)


def assert_same(one: Summary, other: Summary) -> None:
    for name in STATISTIC_NAMES:
        a, b = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
        assert (a.dtype, a.shape) == (b.dtype, b.shape), name
        assert a.tobytes() == b.tobytes(), name


def numbers(dtype: np.dtype[Any]) -> st.SearchStrategy[float]:
    """Any finite number whose square float64 holds; ties, both zeros, and the smallest numbers often."""
    tiny = np.finfo(dtype).smallest_subnormal
    few = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, float(tiny), -float(tiny), -3e-41, 1e-9, -1e-9])
    bound = float(np.float32(1e37)) if dtype.itemsize == 4 else 1e150
    return few | st.floats(-bound, bound, width=8 * dtype.itemsize)  # type: ignore[arg-type]


def with_gaps(elements: st.SearchStrategy[float]) -> st.SearchStrategy[float]:
    """NaN in about a third of the places; infinities in a few."""
    return st.one_of(elements, elements, st.just(math.nan), st.sampled_from([math.inf, -math.inf, math.nan]))


def trials(*, min_dims: int) -> st.SearchStrategy[Array]:
    """(n_trials, …) float32 or float64."""
    shapes = array_shapes(min_dims=min_dims, max_dims=4, max_side=6)
    dtypes = st.sampled_from(DTYPES)

    def fill(dtype: np.dtype[Any]) -> st.SearchStrategy[Array]:
        plain, gaps = (arrays(dtype, shapes, elements=one) for one in (numbers(dtype), with_gaps(numbers(dtype))))
        return plain | gaps

    return dtypes.flatmap(fill)


def padded(values: Array, lengths: list[int]) -> Array:
    """Return trials with NaN behind the valid length of each, frames being the last axis."""
    values = values.copy()
    for trial, length in zip(values, lengths, strict=True):
        trial[..., length:] = np.nan
    return values


@st.composite
def padded_trials(draw: st.DrawFn) -> Array:
    values = draw(trials(min_dims=2))
    lengths = draw(st.lists(st.integers(0, values.shape[-1]), min_size=len(values), max_size=len(values)))
    return padded(values, lengths)


def over_trials(values: Array, *, frames: bool = True, threads: int = 1) -> Summary:
    """Reduce a copy: what happens to the argument is a promise, and a test, of its own."""
    return reduce_trials(np.ascontiguousarray(values).copy(), frames=frames, threads=Threads(threads))[0]


def over_frames(values: Array, *, threads: int = 1) -> Summary:
    """Reduce trials over trials and frames, the last axis."""
    found = reduce_trials(np.ascontiguousarray(values).copy(), frames=True, threads=Threads(threads))[1]
    assert found is not None
    return found


# reduce_trials


@given(trials(min_dims=1))
def test_over_trials_without_frames(values: Array) -> None:
    found, none = reduce_trials(values, frames=False)
    assert none is None
    assert_as_numpy(found, values, 0)


@given(padded_trials())
def test_over_trials_with_frames(values: Array) -> None:
    assert_as_numpy(over_trials(values), values, 0)


@given(padded_trials())
def test_over_trials_and_frames(values: Array) -> None:
    assert_as_numpy(over_frames(values), values, (0, -1))


@settings(max_examples=100)
@given(padded_trials(), st.sampled_from([1, 64, 300]), st.integers(1, 4))
def test_blocks_and_threads_do_not_show(values: Array, cache: int, threads: int) -> None:
    """However few places are sorted at once, by however many threads, all bits are the same."""
    with mock.patch.object(in_memory, "_CACHE_BYTES", cache):
        assert_same(over_trials(values, threads=threads), over_trials(values))
        assert_same(over_frames(values, threads=threads), over_frames(values))


@given(padded_trials(), st.data())
def test_a_place_does_not_depend_on_its_neighbours(values: Array, data: st.DataObject) -> None:
    values = values.reshape(len(values), -1, values.shape[-1])
    place = data.draw(st.integers(0, values.shape[1] - 1))
    for reduce in (over_trials, over_frames):
        whole_array, alone = reduce(values), reduce(values[:, place : place + 1])
        for name in STATISTIC_NAMES:
            assert getattr(whole_array, name)[place].tobytes() == getattr(alone, name)[0].tobytes(), name


@given(padded_trials(), st.randoms(use_true_random=False))
def test_the_order_of_trials_changes_no_bit(values: Array, random: Any) -> None:
    order = list(range(len(values)))
    random.shuffle(order)
    assert_same(over_trials(values[order]), over_trials(values))
    assert_same(over_frames(values[order]), over_frames(values))


@given(padded_trials())
def test_values_are_left_as_they_are(values: Array) -> None:
    before = values.tobytes()
    reduce_trials(values, frames=True)
    assert values.tobytes() == before


def make_trials(dtype: str, change: Callable[[Array], object] = lambda values: None) -> Array:
    values = np.random.default_rng(1).normal(size=(9, 3, 4, 11)).astype(dtype)
    change(values)
    return values


def put(place: Any, value: Any) -> Callable[[Array], object]:
    return lambda values: values.__setitem__(place, value)


def put_some(*some: float) -> Callable[[Array], object]:
    """Put numbers all over the array, about every third place."""
    return lambda values: values.flat.__setitem__(slice(None, None, 3), np.resize(some, values.size // 3))


CASES: dict[str, Callable[[Array], object]] = {
    "plain": put(..., np.arange(9)[:, None, None, None]),
    "NaN everywhere": put(..., np.nan),
    "NaN at one place": put((slice(None), 1, 2), np.nan),
    "NaN in one trial": put(3, np.nan),
    "one number left": put(slice(1, None), np.nan),
    "two numbers left": put(slice(2, None), np.nan),
    "frames without numbers": put((..., slice(7, None)), np.nan),
    "NaN inside": put((slice(None, None, 2), slice(None), 1, 5), np.nan),
    "NaN of any bits": put_some(-np.nan, np.nan, -1.0),
    "one value": put(..., 0.1),
    "zeros": put(..., 0.0),
    "zeros of both signs": put_some(0.0, -0.0),
    "negative": put(..., -np.arange(11.0)),
    "one infinity": put((2, 1, 1, 4), np.inf),
    "infinities": put_some(np.inf, 1.0, 2.0),
    "infinities of both signs": put_some(np.inf, -np.inf, 0.0, np.nan),
    "only infinities": put(..., np.inf),
    "minus infinity and infinity": put(slice(None, None, 2), np.inf),
    "subnormal": put_some(-1e-42, -2e-42, 0.0, 1e-42),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_special_numbers(case: str, dtype: str) -> None:
    values = make_trials(dtype, CASES[case])
    assert_as_numpy(over_trials(values), values, 0)
    assert_as_numpy(over_frames(values), values, (0, -1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 1), (5, 1, 1), (1, 1), (2, 3, 1), (1, 2, 7)], ids=str)
def test_one_trial_and_one_frame(shape: tuple[int, ...], dtype: str) -> None:
    values = np.random.default_rng(2).normal(size=shape).astype(dtype)
    found = over_trials(values)
    assert_as_numpy(found, values, 0)
    assert_as_numpy(over_frames(values), values, (0, -1))
    if shape[0] == 1:
        np.testing.assert_array_equal(found.std, np.zeros(shape[1:]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_small_spread_around_a_large_mean(dtype: str) -> None:
    """Sums of float32, or of squares, would lose all digits of the spread."""
    values = (1e6 + 0.1 * np.random.default_rng(3).normal(size=(350, 2, 300))).astype(dtype)
    wide = values.astype(np.float64)
    all_frames = over_frames(values)
    np.testing.assert_allclose(over_trials(values).std, wide.std(axis=0), rtol=1e-9)
    np.testing.assert_allclose(all_frames.std, wide.std(axis=(0, 2)), rtol=1e-9)
    np.testing.assert_allclose(all_frames.mean, wide.mean(axis=(0, 2)), rtol=1e-14)


def test_zeros_and_gaps_have_one_pattern_of_bits() -> None:
    """Equal results are equal bytes: neither -0.0 nor the payload of a NaN comes through."""
    values = np.array([[-0.0, np.nan], [-0.0, np.nan]], np.float32)
    values.view(np.uint32)[:, 1] = 0xFFC00155
    found = reduce_trials(values, frames=False)[0]
    for name in ("min", "max", "median"):
        assert getattr(found, name).tobytes() == np.array([0.0, np.nan], np.float32).tobytes(), name


GAPS: dict[str, Callable[[Array], object]] = {
    "no gaps": lambda values: None,
    "padding": lambda values: values[::2, ..., -(values.shape[-1] // 12) or None :].fill(np.nan),
    "a trial of NaN": put(0, np.nan),
}


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize("shape", [(350, 12, 300), (24, 50, 300), (40, 3, 20_000), (3, 40_000, 1)], ids=str)
def test_memory_beside_the_results_is_as_announced(shape: tuple[int, ...], gaps: str) -> None:
    """Of padded trials, of trials that are NaN throughout (a lost pupil), of few trials."""
    values = np.random.default_rng(4).normal(size=shape).astype("float32")
    GAPS[gaps](values)
    tracemalloc.start()
    try:
        found, pooled = reduce_trials(values, frames=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert pooled is not None
    results = sum(getattr(one, name).nbytes for one in (found, pooled) for name in STATISTIC_NAMES)
    sorting = reduce_memory(shape[0], shape[-1], values.itemsize)
    assert peak - results <= max(sorting, POOLING_BYTES * found.count.size) + 100_000


# Pooling


@given(padded_trials(), st.data())
def test_pooled_parts_are_the_whole(values: Array, data: st.DataObject) -> None:
    """Over any axes; places without numbers weigh nothing."""
    parts = over_trials(values, frames=False)
    n_axes = values.ndim - 1
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, n_axes - 1), min_size=1))))
    over = (0, *(axis + 1 for axis in axes))
    median = numpy_reduced(values, over)["median"]
    found = pool_parts(parts, axes, median)
    assert_as_numpy(found, values, over)
    assert found.median is median


def test_pooling_nothing_is_nothing() -> None:
    found = pool_parts(empty((3, 5), np.dtype("float32")), (1,), np.full(3, np.nan, np.float32))
    assert_same(found, empty((3,), np.dtype("float32")))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (4,), (2, 0), (2, 3)], ids=str)
def test_nothing(shape: tuple[int, ...], dtype: str) -> None:
    found = empty(shape, np.dtype(dtype))
    assert found.shape == shape
    assert not found.count.any() and found.count.dtype == np.int64
    for name in ("min", "max", "mean", "median", "std"):
        values = getattr(found, name)
        assert values.dtype == (np.float64 if name in ("mean", "std") else dtype), name
        assert values.shape == shape and np.isnan(values).all(), name
    assert result_nbytes(shape, np.dtype(dtype)) == sum(getattr(found, name).nbytes for name in STATISTIC_NAMES)


@settings(max_examples=100)
@given(st.integers(1, 5), st.integers(1, 300), st.permutations(range(3)), st.integers(0, 99))
def test_pooling_does_not_depend_on_how_numbers_lie_in_memory(
    places: int, n_frames: int, order: list[int], seed: int
) -> None:
    """The same numbers, in another order of axes in memory: sums take them one after another, or in pairs."""
    values = np.random.default_rng(seed).normal(size=(3, places, 2, n_frames))
    parts, back, median = over_trials(values, frames=False), np.argsort(order), np.zeros((places, 2))
    other = Summary(**{n: getattr(parts, n).transpose(order).copy().transpose(back) for n in STATISTIC_NAMES})
    assert_same(pool_parts(other, (2,), median), pool_parts(parts, (2,), median))


def test_the_ranges_of_statistics() -> None:
    values = np.array([[1.0, -2.0, np.nan], [3.0, 4.0, np.nan]])
    found = over_trials(values, frames=False).ranges()
    assert found["min"] == (-2.0, 1.0) and found["max"] == (3.0, 4.0) and found["count"] == (0, 2)
    assert np.isnan(empty((2,), np.dtype("float32")).ranges()["mean"]).all()


# Exact medians by counting


def counted_median(values: Array) -> Any:
    count = int((~np.isnan(values)).sum())
    return median_by_bits(values.dtype, count, partial(count_digits, values))


def sorted_median(values: Array) -> Any:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.median(values[~np.isnan(values)])


def assert_median(values: Array) -> None:
    found = counted_median(values)
    assert np.asarray(found).dtype == values.dtype
    np.testing.assert_array_equal(found, sorted_median(values))


def bits(values: list[int], dtype: str) -> Array:
    return np.array(values, f"u{np.dtype(dtype).itemsize}").view(dtype)


@st.composite
def any_bits(draw: st.DrawFn) -> Array:
    """Any patterns of bits, many of which share their first digits."""
    dtype = draw(st.sampled_from(DTYPES))
    width = 8 * dtype.itemsize
    # Zeros and subnormal numbers of both signs; infinities, the largest numbers and NaN.
    special = st.sampled_from([0x0000, 0x8000, 0x7F7F, 0x7F80, 0xFF80, 0x7FEF, 0x7FF0, 0xFFF0])
    starts = draw(st.lists(special | st.integers(0, 2**16 - 1), min_size=1, max_size=3))
    near = st.builds(lambda start, rest: start << (width - 16) | rest, st.sampled_from(starts), st.integers(0, 3))
    anywhere = st.integers(0, 2**width - 1)
    return bits(draw(st.lists(near | anywhere, min_size=1, max_size=12)), dtype.name)


@given(any_bits())
def test_median_of_any_bits(values: Array) -> None:
    assert_median(values)


@given(st.sampled_from(DTYPES).flatmap(lambda dtype: arrays(dtype, st.integers(0, 30), elements=numbers(dtype))))
def test_median_of_any_numbers(values: Array) -> None:
    assert_median(values)


MEDIANS: dict[str, list[float]] = {
    "none": [],
    "one": [3.5],
    "two": [3.0, 4.0],
    "two far apart": [-1e30, 2e30],
    "ties": [1.0, 1.0, 1.0, 2.0],
    "NaN left out": [math.nan, 2.0, math.nan, 4.0, 3.0],
    "only NaN": [math.nan, -math.nan],
    "zeros of both signs": [-0.0, 0.0, -0.0, 0.0],
    "around zero": [-1.0, -0.0, 0.0, 1.0],
    "infinity": [math.inf, 1.0, math.inf],
    "minus infinity": [-math.inf, 1.0, -math.inf],
    "even, infinity": [math.inf, math.inf, 1.0, 2.0],
    "infinities of both signs": [math.inf, -math.inf],
    "infinities of both signs and a number": [math.inf, -math.inf, 0.5],
    "subnormal, negative": [-3e-42, -2e-42, -1e-42],
    "subnormal, negative, and zeros": [-3e-42, -2e-42, -1e-42, 0.0, 0.0],
    "subnormal, positive, and zeros": [3e-42, 2e-42, 1e-42, -0.0, -0.0],
    "smallest": [-1e-45, 0.0, 1e-45],
    "largest": [3.4028235e38, -3.4028235e38, 1.0],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", MEDIANS)
def test_median_of_special_numbers(case: str, dtype: str) -> None:
    values = np.array(MEDIANS[case], dtype)
    if np.isnan(values).all():
        assert np.isnan(counted_median(values)) and counted_median(values).dtype == values.dtype
    else:
        assert_median(values)


def test_subnormal_float64_beside_zeros() -> None:
    assert_median(np.array([-15e-324, -10e-324, -5e-324, 0.0, 0.0]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [300_000, 300_001])
def test_median_of_many_numbers(count: int, dtype: str) -> None:
    """More than are counted at once; deconvolved responses are mostly tiny, of both signs."""
    rng = np.random.default_rng(5)
    values = np.where(rng.random(count) < 0.1, rng.exponential(5, count), rng.normal(0, 1e-9, count)).astype(dtype)
    values[::17] = np.nan
    assert_median(values)


def ordered_keys(values: Array) -> list[int]:
    """Return the bits of the numbers that are not NaN, turned into integers of the same order."""
    width = 8 * values.itemsize
    found = (values[~np.isnan(values)] + values.dtype.type(0)).view(f"u{values.itemsize}").tolist()
    sign = 1 << (width - 1)
    return [2 * sign - 1 - one if one & sign else one | sign for one in found]


@given(any_bits(), st.data())
def test_each_number_counts_under_its_own_prefix_and_no_other(values: Array, data: st.DataObject) -> None:
    depth = data.draw(st.integers(0, n_digits(values.dtype) - 1))
    rest = 8 * values.itemsize - 16 * depth
    keys = ordered_keys(values)
    for prefix in {key >> rest for key in keys}:
        expected = np.zeros(2**16, np.int64)
        for key in keys:
            expected[key >> (rest - 16) & 0xFFFF] += key >> rest == prefix
        np.testing.assert_array_equal(count_digits(values, depth, prefix), expected, str((depth, prefix)))


# Cutting a recording into parts


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Recording, layout.Variable, NDArray[np.int64]]:
    """A recording that exists on no disk, one of its variables, and some rows."""
    kind: layout.Kind = draw(st.sampled_from(["dynamic", "static"]))
    dtype, n_trials = draw(st.sampled_from(ALL_DTYPES)), draw(st.integers(1, 400))
    variables = published_variables(kind, dtype)
    sizes = {"frame": draw(st.integers(1, 400)), "neuron": draw(st.sampled_from([1, 2, 7, 350, 8000]))}
    sizes |= {"height": draw(st.integers(1, 40)), "width": draw(st.integers(1, 70)), "image_channel": 1}
    rows = draw(st.integers(1, n_trials))
    arrays_of = {
        one.name: layout.variable_layout(
            one, tuple(sizes.get(name, 2) for name in one.dimensions), n_trials=n_trials, rows=rows, codec="fast"
        )
        for one in variables
    }
    n_frames = np.random.default_rng(draw(st.integers(0, 9))).integers(1, sizes["frame"] + 1, n_trials, np.int32)
    recording = Recording(
        place=StoreFolder(Path("nowhere")),
        variables=variables,
        arrays=arrays_of,
        trial_ids=np.arange(n_trials),
        tiers=np.full(n_trials, "train", object),
        n_frames=n_frames if kind == "dynamic" else None,
        withheld=np.zeros(n_trials, bool),
    )
    chosen = draw(st.sets(st.integers(0, n_trials - 1), min_size=1, max_size=60))
    return recording, draw(st.sampled_from(variables)), np.array(sorted(chosen), np.int64)


Case = tuple[Recording, layout.Variable, NDArray[np.int64]]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(recordings())
def test_the_whole_is_all_there_is_to_read(case: Case) -> None:
    recording, variable, rows = case
    found, shape = whole(recording, variable, rows), recording.arrays[variable.name].shape[1:]
    assert found.rows == tuple(rows.tolist())
    expected = [slice(0, size) for size in shape]
    if recording.n_frames is not None:
        assert variable.frame_axis is not None and found.n_frames == tuple(recording.n_frames[rows].tolist())
        expected[variable.frame_axis] = slice(0, max(found.n_frames))
    assert found.places == tuple(expected)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(recordings(), st.integers(0, 2**34), st.integers(1, 64))
def test_parts_cover_each_place_once_and_fit(case: Case, spare: int, threads: int) -> None:
    everything = whole(*case)
    least, scratch = least_memory(everything), everything.scratch_nbytes
    limit = least + (threads - 1) * scratch + spare
    parts = cut(everything, limit, threads)
    axis = next(
        (n for n, size in enumerate(everything.sizes) if size > 1 and n != everything.variable.frame_axis), None
    )
    axis = axis if axis is not None else int(everything.variable.frame_axis == 0)
    # One behind another along the axis, and whole along every other.
    ends = [0, *(part.places[axis].stop for part in parts)]
    assert [(part.places[axis].start, part.places[axis].stop) for part in parts] == list(itertools.pairwise(ends))
    assert ends[-1] == everything.sizes[axis] and all(a < b for a, b in itertools.pairwise(ends))
    for part in parts:
        assert (part.rows, part.n_frames) == (everything.rows, everything.n_frames)
        others = [(a, b) for n, (a, b) in enumerate(zip(part.places, everything.places, strict=True)) if n != axis]
        assert all(a == b for a, b in others)
        # The values, what they come to, and what each thread takes for itself.
        results = result_nbytes(part.sizes, part.array.numpy_dtype)
        assert part.nbytes + results + threads * scratch <= limit


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(recordings(), st.integers(1, 64))
def test_no_more_parts_than_memory_asks_for(case: Case, threads: int) -> None:
    """Each part decodes its chunks anew."""
    everything = whole(*case)
    one_place = least_memory(everything) - everything.scratch_nbytes
    for places in (1, 2, 5, 10**9):
        limit = threads * everything.scratch_nbytes + places * one_place
        parts = cut(everything, limit, threads)
        size = max(size for n, size in enumerate(everything.sizes) if n != everything.variable.frame_axis)
        assert len(parts) <= math.ceil(size / places)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(recordings(), st.integers(1, 100))
def test_by_rows_each_row_is_in_one_part_and_no_chunk_in_two(case: Case, n: int) -> None:
    everything = whole(*case)
    parts = everything.by_rows(n)
    assert 1 <= len(parts) <= n
    assert [row for part in parts for row in part.rows] == list(everything.rows)
    if everything.n_frames is not None:
        assert [length for part in parts for length in part.n_frames or ()] == list(everything.n_frames)
    assert all(part.places == everything.places and part.rows for part in parts)
    chunks = [{row // everything.array.chunk[0] for row in part.rows} for part in parts]
    assert sum(map(len, chunks)) == len(set().union(*chunks))


def test_parts_of_a_published_mouse() -> None:
    """Mouse D, the responses of its train trials: 356 times 7671 neurons times 300 frames, 3.3 GB."""
    sizes = {"videos": (403, 36, 64), "responses": (7671, 403), "behavior": (2, 403), "pupil_center": (2, 403)}
    variables = published_variables("dynamic")
    arrays_of = {
        one.name: layout.variable_layout(one, sizes[one.name], n_trials=714, rows=10, codec="fast") for one in variables
    }
    n_frames = np.full(714, 300, np.int32)
    recording = Recording(
        StoreFolder(Path("nowhere")),
        variables,
        arrays_of,
        np.arange(714),
        np.full(714, "train"),
        n_frames,
        np.zeros(714, bool),
    )
    everything = whole(recording, variables[1], np.arange(0, 712, 2))
    assert everything.nbytes == 356 * 7671 * 300 * 4
    parts = cut(everything, 1 << 30, 4)
    assert sum(part.nbytes for part in parts) == everything.nbytes
    assert 4 <= len(parts) <= 6 and max(part.nbytes for part in parts) > 0.6 * (1 << 30)

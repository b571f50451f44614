"""Statistics of every dtype that a store may hold, against exact sums of whole numbers and numpy's own functions."""

import math
import statistics
import warnings
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from trialpack.readers.reductions import Summary
from trialpack.readers.reductions.exact_median import count_digits, median_by_bits, n_digits
from trialpack.readers.reductions.in_memory import reduce_trials
from trialpack.readers.reductions.summary import empty, padding, pool_parts
from trialpack.store.layout import STATISTIC_NAMES
from trialpack.store.tasks import Threads

Array = NDArray[Any]
INTEGERS = [np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)]
WHOLE = [np.dtype(bool), *INTEGERS]
pytestmark = pytest.mark.filterwarnings("error")


def extremes(dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    """Any number, and often those at the ends of the dtype, around zero, and around what float64 holds exactly."""
    if dtype.kind == "b":
        return st.booleans()
    info = np.iinfo(dtype)
    edges = [info.min, info.max, 0, 1, -1, 2**53, 2**54, -(2**53), 2**62, 2**63]
    near = st.builds(int.__add__, st.sampled_from(edges), st.integers(-3, 3))
    return near.filter(lambda n: info.min <= n <= info.max) | st.integers(int(info.min), int(info.max))


def whole_trials(min_dims: int = 1) -> st.SearchStrategy[Array]:
    """(n_trials, …) bool or integers."""
    shapes = array_shapes(min_dims=min_dims, max_dims=3, max_side=5)
    return st.sampled_from(WHOLE).flatmap(lambda dtype: arrays(dtype, shapes, elements=extremes(dtype)))


def exact(values: list[int]) -> dict[str, Any]:
    """Return the statistics of whole numbers by arithmetic without rounding; those of no numbers."""
    if not values:
        return {"count": 0, "min": 0, "max": 0, "mean": math.nan, "median": math.nan, "std": math.nan}
    mean = Fraction(sum(values), len(values))
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    lower, upper = statistics.median_low(values), statistics.median_high(values)
    return {
        "count": len(values),
        "min": min(values),
        "max": max(values),
        "mean": float(mean),
        "median": float(Fraction(lower + upper, 2)),
        "std": math.sqrt(variance),
    }


def assert_exact(found: Summary, place: Any, values: Array) -> None:
    numbers = [int(value) for value in values.reshape(-1)]
    scale = max(map(abs, numbers), default=0)
    for name, expected in exact(numbers).items():
        one = getattr(found, name)
        kind = {"count": np.int64, "min": values.dtype, "max": values.dtype}.get(name, np.float64)
        assert one.dtype == kind, name
        if name in ("mean", "std"):
            np.testing.assert_allclose(one[place], expected, rtol=1e-9, atol=1e-9 * scale, err_msg=name)
        elif name in ("min", "max", "count"):
            assert int(one[place]) == expected, name
        else:
            np.testing.assert_array_equal(one[place], expected, name)


def assert_same(one: Summary, other: Summary) -> None:
    for name in STATISTIC_NAMES:
        a, b = getattr(one, name), getattr(other, name)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), name


@given(whole_trials())
def test_whole_numbers_over_trials(values: Array) -> None:
    found, none = reduce_trials(values, frames=False)
    assert none is None
    for place in np.ndindex(values.shape[1:]):
        assert_exact(found, place, values[(slice(None), *place)])


@given(whole_trials(min_dims=2), st.data())
def test_padding_of_whole_numbers_does_not_count(values: Array, data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(0, values.shape[-1]), min_size=len(values), max_size=len(values)))
    padded = values.copy()
    for trial, n in zip(padded, lengths, strict=True):
        trial[..., n:] = padding(values.dtype)
    found, over_frames = reduce_trials(padded, frames=True, lengths=lengths, threads=Threads(2))
    assert over_frames is not None
    for place in np.ndindex(values.shape[1:-1]):
        trials = values[(slice(None), *place)]
        for frame in range(values.shape[-1]):
            given_there = [trial[frame] for trial, n in zip(trials, lengths, strict=True) if n > frame]
            assert_exact(found, (*place, frame), np.array(given_there, values.dtype))
        every = [trial[:n] for trial, n in zip(trials, lengths, strict=True)]
        assert_exact(over_frames, place, np.concatenate(every))
    assert_same(reduce_trials(padded, frames=True, lengths=lengths)[0], found)


@given(whole_trials(min_dims=3), st.data())
def test_pooled_parts_of_whole_numbers_are_the_whole(values: Array, data: st.DataObject) -> None:
    """Where frames of some trials are missing, a part without numbers is neither a minimum nor a maximum."""
    lengths = [0] * (len(values) - 1) + [data.draw(st.integers(0, values.shape[-1]))]
    for trial, n in zip(values, lengths, strict=True):
        trial[..., n:] = padding(values.dtype)
    parts = reduce_trials(values, frames=True, lengths=lengths)[0]
    found = pool_parts(parts, (0, 1), np.array(exact(values[-1, ..., : lengths[-1]].reshape(-1).tolist())["median"]))
    assert_exact(found, (), values[-1, ..., : lengths[-1]])


@settings(max_examples=200)
@given(st.sampled_from(WHOLE).flatmap(lambda dtype: arrays(dtype, st.integers(0, 20), elements=extremes(dtype))))
def test_medians_of_whole_numbers_by_counting(values: Array) -> None:
    found = median_by_bits(values.dtype, values.size, partial(count_digits, values))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, exact([int(value) for value in values])["median"])


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_each_digit_of_whole_numbers_is_counted(dtype: np.dtype[Any]) -> None:
    values = np.random.default_rng(1).integers(0, 256, 200_000 * dtype.itemsize, np.uint8).view(np.uint8)
    values = (values > 127) if dtype.kind == "b" else values.view(dtype)
    assert count_digits(values, 0, 0).sum() == values.size
    assert n_digits(dtype) == max(1, dtype.itemsize // 2)
    found = median_by_bits(dtype, values.size, partial(count_digits, values))
    middle = np.sort(values)[(values.size - 1) // 2 : values.size // 2 + 1]
    assert found == float(Fraction(sum(int(n) for n in middle), len(middle)))


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_medians_beyond_what_float64_holds_are_rounded_once(dtype: str) -> None:
    pairs = [(2**53 + 1, 2**53 + 2), (2**62 + 1, 2**62 + 513), (2**63 - 1, 2**63 - 1), (2**62 + 256, 2**62 + 257)]
    values = np.array(pairs, dtype).T
    found = reduce_trials(np.ascontiguousarray(values), frames=False)[0]
    assert found.median.tolist() == [(a + b) / 2 for a, b in pairs]
    assert found.max.tolist() == [b for _, b in pairs]


half = st.floats(-65504, 65504, width=16) | st.sampled_from([0.0, -0.0, 65504.0, math.nan, math.inf, -math.inf, 6e-8])


def numpy_reduced(values: Array, axis: Any) -> dict[str, Any]:
    """Return the statistics over some axes by numpy, each from exact float64 copies."""
    wide = values.astype(np.float64)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        median = np.nanmedian(wide, axis=axis).astype(np.float16)
        low, high = np.nanmin(values, axis=axis), np.nanmax(values, axis=axis)
        mean, std = np.nanmean(wide, axis=axis), np.nanstd(wide, axis=axis)
    return {"min": low, "max": high, "median": median, "mean": mean, "std": std}


@given(arrays(np.float16, array_shapes(min_dims=2, max_dims=3, max_side=6), elements=half))
def test_float16_as_numpy(values: Array) -> None:
    found, over_frames = reduce_trials(values, frames=True)
    assert over_frames is not None
    for summary, axis in ((found, 0), (over_frames, (0, -1))):
        expected = numpy_reduced(values, axis)
        for name in ("min", "max", "median"):
            assert getattr(summary, name).dtype == np.float16
            np.testing.assert_array_equal(getattr(summary, name), expected[name], name)
        for name in ("mean", "std"):
            np.testing.assert_allclose(getattr(summary, name), expected[name], rtol=1e-9, atol=1e-6, err_msg=name)
    counted = median_by_bits(values.dtype, int((~np.isnan(values)).sum()), partial(count_digits, values))
    np.testing.assert_array_equal(counted, numpy_reduced(values, None)["median"])


@pytest.mark.parametrize("dtype", [*WHOLE, np.dtype("float16")], ids=str)
def test_no_numbers(dtype: np.dtype[Any]) -> None:
    found = empty((2,), dtype)
    nothing = math.nan if dtype.kind == "f" else 0
    assert found.count.tolist() == [0, 0]
    for name in ("min", "max"):
        assert getattr(found, name).dtype == dtype
        np.testing.assert_array_equal(getattr(found, name).astype(float), [nothing] * 2)
    assert all(np.isnan(getattr(found, name)).all() for name in ("mean", "median", "std"))
    assert_same(pool_parts(empty((2, 3), dtype), (1,), found.median), found)

"""Rounding: whatever the values and the bound, what comes out is within it, or is said not to be."""

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from trialpack.convert import rounding
from trialpack.convert.rounding import LARGEST, Limits, absolute, by_channel, find_excess, round_within, step_of

Array = np.ndarray[Any, Any]

bounds = st.floats(min_value=5e-324, max_value=1.7e308)
usual_bounds = st.floats(min_value=1e-12, max_value=1e6)
shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=9)
usual = st.floats(-1e5, 1e5)


def values(dtype: str, elements: st.SearchStrategy[float] | None = None) -> st.SearchStrategy[Array]:
    any_float = st.floats(width=32 if dtype == "float32" else 64)
    return hnp.arrays(dtype, shapes, elements=any_float if elements is None else elements)


anything = st.one_of(values("float64"), values("float32"), values("float64", usual))


def rounded(array: Array, limits: Limits) -> tuple[Array, rounding.Excess | None]:
    out = np.full(array.shape, 7, np.float32)
    return out, round_within(array, limits, out)


def errors(array: Array, out: Array) -> Array:
    """Distances of the finite values, computed in another way than the code does."""
    finite = np.isfinite(array)
    return np.array([abs(float(b) - float(a)) for a, b in zip(array[finite], out[finite], strict=True)])


def nearest(array: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.clip(array.astype(np.float64), -LARGEST, LARGEST).astype(np.float32)


@given(anything, bounds)
def test_all_values_are_within_the_bound_or_float32_holds_one_of_them_not(array: Array, bound: float) -> None:
    out, excess = rounded(array, absolute(bound, array.ndim))
    possible = errors(array, nearest(array))
    assert (excess is None) == bool((possible <= bound).all())
    if excess is None:
        assert (errors(array, out) <= bound).all()
    else:
        assert excess.error == possible.max() and excess.allowed == bound
    assert find_excess(array, out, absolute(bound, array.ndim)) == excess


@given(anything, bounds)
def test_nan_infinities_and_zeros_stay_what_they_are(array: Array, bound: float) -> None:
    out, _ = rounded(array, absolute(bound, array.ndim))
    assert np.array_equal(np.isnan(out), np.isnan(array))
    infinite = np.isinf(array)
    assert np.array_equal(out[infinite], array[infinite]) and np.isfinite(out[np.isfinite(array)]).all()
    zero = array == 0
    assert (out[zero] == 0).all() and np.array_equal(np.signbit(out[zero]), np.signbit(array[zero]))


@given(anything, bounds)
def test_signs_beyond_the_bound_stay_and_what_becomes_zero_is_positive(array: Array, bound: float) -> None:
    out, excess = rounded(array, absolute(bound, array.ndim))
    assume(excess is None)
    large = np.abs(array.astype(np.float64)) > bound
    assert np.array_equal(np.sign(out[large]), np.sign(array[large]))
    became = (out == 0) & (array != 0)
    assert not np.signbit(out[became]).any()


@given(anything, bounds)
def test_rounding_what_was_rounded_changes_nothing(array: Array, bound: float) -> None:
    limits = absolute(bound, array.ndim)
    out, _ = rounded(array, limits)
    again, excess = rounded(out, limits)
    assert excess is None
    assert again.view(np.uint32)[~np.isnan(out)].tolist() == out.view(np.uint32)[~np.isnan(out)].tolist()


@given(values("float64", usual), usual_bounds)
def test_values_are_multiples_of_the_step(array: Array, bound: float) -> None:
    step = float(step_of(np.array(bound)))
    out, _ = rounded(array, absolute(bound, array.ndim))
    held = np.abs(array) < 2.0**23 * step
    assert (np.remainder(out[held].astype(np.float64), step) == 0).all()


@given(bounds)
def test_the_step_is_the_largest_power_of_two_of_which_half_is_within_the_bound(bound: float) -> None:
    step = float(step_of(np.array(bound)))
    assert math.frexp(step)[0] == 0.5
    inside = 2.0**-149 < step < 2.0**127
    assert not inside or step / 2 <= bound < step


@pytest.mark.parametrize("descr", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F", "every second", "transposed"])
def test_byte_and_memory_order_make_no_difference(descr: str, order: str) -> None:
    plain = np.random.default_rng(1).normal(0, 10, (37, 41, 29)).astype(descr[1:])
    plain[:, -3:] = np.nan
    laid = plain.astype(descr)
    if order == "F":
        laid = np.asfortranarray(laid)
    elif order == "every second":
        wide = np.zeros((37, 41, 58), descr)
        wide[..., ::2] = laid
        laid = wide[..., ::2]
    elif order == "transposed":
        laid = np.ascontiguousarray(laid.transpose(1, 2, 0)).transpose(2, 0, 1)
    limits = absolute(0.01, 3)
    expected, found = rounded(plain, limits)[0], np.empty(plain.shape, np.float32)
    assert round_within(laid, limits, found) is None
    assert found.tobytes() == expected.tobytes()
    into = np.empty((29, 37, 41), np.float32).transpose(1, 2, 0)
    assert round_within(laid, limits, into) is None and into.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "shape", [(1,), (rounding._BLOCK,), (rounding._BLOCK + 1,), (3, rounding._BLOCK * 2 + 5), (0, 4)]
)
def test_blocks_cover_all_values(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(2).normal(0, 10, shape)
    out, excess = rounded(array, absolute(0.25, len(shape)))
    assert excess is None
    assert np.array_equal(out, np.rint(array * 2) / 2)


@pytest.mark.parametrize("value", [1.25, -0.0, 1e9 + 0.3], ids=["rounded", "zeros", "beyond the bound"])
@pytest.mark.parametrize("function", [rounded, lambda array, limits: find_excess(array, array.astype("f4"), limits)])
def test_scratch_is_as_large_as_is_said(function: Callable[[Array, Limits], object], value: float) -> None:
    array, limits = np.full((40, rounding._BLOCK), value), absolute(0.001, 2)
    function(array, limits)
    tracemalloc.start()
    try:
        function(array, limits)
        assert tracemalloc.get_traced_memory()[1] - array.size * 4 <= rounding.SCRATCH_BYTES
    finally:
        tracemalloc.stop()


@given(values("float64", usual), st.data())
def test_each_channel_has_its_own_bound(array: Array, data: st.DataObject) -> None:
    own = data.draw(hnp.arrays("float64", len(array), elements=usual_bounds))
    limits = by_channel(own, array.ndim)
    out, excess = rounded(array, limits)
    for channel, bound in enumerate(own):
        allowed = max(bound, 0.01 * own.mean())
        distance = np.abs(out[channel] - array[channel])
        beyond = distance > bound
        assert np.array_equal(out[channel][beyond], nearest(array[channel])[beyond])
        assert excess is not None or (distance <= allowed).all()
    assert find_excess(array, out, limits) == excess


def test_a_channel_without_variation_is_kept_as_exactly_as_float32_can() -> None:
    array = np.array([[0.1, -0.0, np.nan, 3.0], [5.0, 6.0, 7.0, 8.0]])
    out, excess = rounded(array, by_channel(np.array([0.0, 0.5]), 2))
    assert excess is None and out[0, :2].tobytes() == array[0, :2].astype(np.float32).tobytes()
    _, excess = rounded(array, by_channel(np.array([0.0, 0.0]), 2))
    assert excess is not None and excess.allowed == 0
    exact = array.astype(np.float32)
    out, excess = rounded(exact, by_channel(np.array([0.0, 0.0]), 2))
    assert excess is None and out.tobytes() == exact.tobytes()


CHANGES = {
    "beyond the bound": ((1, 1), 5.02),
    "a NaN that was a number": ((1, 1), np.nan),
    "a number that was NaN": ((0, 2), 0.0),
    "an infinity that was a number": ((1, 1), np.inf),
    "the other infinity": ((0, 3), -np.inf),
    "the other zero": ((0, 1), 0.0),
    "a number that was zero": ((1, 0), 0.005),
}


@pytest.mark.parametrize(("place", "value"), CHANGES.values(), ids=CHANGES)
def test_a_value_that_is_not_of_its_source_is_found(place: tuple[int, int], value: float) -> None:
    array = np.array([[1e-9, -0.0, np.nan, np.inf], [0.0, 5.0, -1e-9, 2.0]])
    limits = absolute(0.01, 2)
    out, _ = rounded(array, limits)
    assert find_excess(array, out, limits) is None
    out[place] = value
    assert find_excess(array, out, limits) is not None


def test_the_furthest_value_is_named() -> None:
    array = np.array([1.0, 1e9 + 1, 1e12 + 1000, 1e10 + 1])
    _, excess = rounded(array, absolute(0.5, 1))
    assert excess is not None
    assert excess == (np.abs(array.astype(np.float32) - array).max(), 0.5)

"""Comparing a store with its source finds every difference, down to the sign of a NaN."""

import shutil

import numpy as np
import pytest
from trialpack.convert import compare_with_source, convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.store import CorruptStoreError


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A mouse and its store: not to be written to."""
    place = tmp_path_factory.mktemp("compare")
    source = write_sample(place, mouse="F", trials=5, neurons=8, image_shape=(6, 8))
    return source, convert_mouse(source, place / "stores").store


@pytest.fixture
def mouse(original, tmp_path):
    """A mouse of its own for each test, and its store."""
    source, store = original
    return shutil.copytree(source, tmp_path / source.name), store


def rewrite(path, change):
    values = np.load(path)
    changed = change(values)
    np.save(path, values if changed is None else changed)


def flip_one_bit(values):
    values.view(np.uint64).reshape(-1)[123] ^= 1


def negate_a_nan(values):
    values[..., -1] = np.copysign(values[..., -1], -1.0)


def negate_a_zero(values):
    flat = values.reshape(-1)
    flat[np.flatnonzero(flat == 0)[0]] = -0.0


CHANGES = {
    "one bit": ("data/responses/3.npy", flip_one_bit),
    "sign of NaN": ("data/behavior/0.npy", negate_a_nan),
    "sign of zero": ("data/responses/2.npy", negate_a_zero),
    "memory order": ("data/videos/1.npy", np.asfortranarray),
    "byte order": ("data/videos/1.npy", lambda values: values.astype(">f8")),
    "tier": ("meta/trials/tiers.npy", lambda tiers: np.where(np.arange(len(tiers)) == 0, "oracle", tiers)),
    "trial meta": ("meta/trials/trial_idx.npy", lambda values: values + 1),
    "neuron meta": ("meta/neurons/unit_ids.npy", lambda values: values[::-1].copy()),
    "statistics": ("meta/statistics/responses/all/mean.npy", lambda values: values + 1),
}


def test_equal_is_no_problem(mouse):
    source, store = mouse
    compare_with_source(store, source, workers=2)


@pytest.mark.parametrize(("name", "change"), CHANGES.values(), ids=CHANGES)
def test_a_difference_is_found_and_named(mouse, name, change):
    source, store = mouse
    rewrite(source / name, change)
    with pytest.raises(CorruptStoreError) as caught:
        compare_with_source(store, source, workers=2)
    assert len(caught.value.problems) >= 1
    text = str(caught.value)
    parts = name.removesuffix(".npy").split("/")
    assert parts[1] in text and (parts[0] == "meta" or f"trial {parts[2]}" in text)


def test_all_differences_are_reported_together(mouse):
    source, store = mouse
    for trial in (0, 2, 4):
        rewrite(source / f"data/responses/{trial}.npy", flip_one_bit)
    with pytest.raises(CorruptStoreError) as caught:
        compare_with_source(store, source, workers=2)
    assert [problem.trial for problem in caught.value.problems] == [0, 2, 4]


def test_config_and_missing_files_are_compared(mouse):
    source, store = mouse
    (source / "config.json").write_text('{"links": {"targets": "responses"}}')
    with pytest.raises(CorruptStoreError, match="config_json"):
        compare_with_source(store, source, workers=1)
    (source / "config.json").unlink()
    (source / "meta/neurons/unit_ids.npy").unlink()
    with pytest.raises(CorruptStoreError, match="neurons/unit_ids"):
        compare_with_source(store, source, workers=1)


def test_float32_is_compared_with_what_float32_means(tmp_path):
    source = write_sample(tmp_path, mouse="F", trials=3, neurons=8, image_shape=(6, 8))
    store = convert_mouse(source, tmp_path / "stores", precision="float32").store
    compare_with_source(store, source, workers=1)
    rewrite(source / "data/responses/1.npy", lambda values: values * (1 + 1e-12))
    compare_with_source(store, source, workers=1)
    rewrite(source / "data/responses/1.npy", lambda values: values * 1.001)
    with pytest.raises(CorruptStoreError, match="trial 1"):
        compare_with_source(store, source, workers=1)

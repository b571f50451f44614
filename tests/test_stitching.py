"""Predictions for samples become predictions for whole trials: frame by frame, of every mouse, whatever made them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.convert.sample import write_sample
from trialpack.readers import Batch, Mouse, TrialLoader, stitch
from trialpack.store import OptionError

from .mice import Array
from .streams import Recorded, pack

SOURCES: dict[str, dict[str, Any]] = {
    "A": {"trials": 8, "neurons": 3, "image_shape": (2, 3)},
    "B": {"trials": 8, "neurons": 5, "image_shape": (2, 3)},
    "S0": {"trials": 30, "neurons": 4, "image_shape": (2, 3)},
}


@pytest.fixture(scope="module")
def mice(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mouse]:
    place = tmp_path_factory.mktemp("mice")
    written: dict[str, Path] = {
        name: write_sample(place / name, mouse=name, **options) for name, options in SOURCES.items()
    }
    return {name: pack(folder, place / "stores") for name, folder in written.items()}


@pytest.fixture(scope="module")
def mouse(mice: dict[str, Mouse]) -> Mouse:
    return mice["A"]


def load(mice: Any, **options: Any) -> TrialLoader:
    chosen: dict[str, Any] = {"tier": None, "trials": {"withheld": False}, "batch_size": 2, "output": "numpy"}
    return TrialLoader(mice, **chosen | options)


def responses(batch: Batch) -> Any:
    return batch["responses"]


def recorded(mouse: Mouse, trial: int) -> Array:
    return mouse.trial(trial)["responses"].astype(np.float32)


WHOLE: list[dict[str, Any]] = [
    {},
    {"window": 80},
    {"window": 80, "hop": 30},
    {"window": 80, "hop": "0.5s", "shuffle": True, "batch_size": 3},
    {"window": 16, "stride": 3, "windows": "phases"},
    {"window": 16, "stride": 3, "windows": "phases", "hop": 21},
    {"stride": 4, "windows": "phases"},
]


@pytest.mark.parametrize("options", WHOLE, ids=str)
@pytest.mark.parametrize("output", ["numpy", "torch"])
def test_predictions_come_back_as_whole_trials(mice: dict[str, Mouse], options: dict[str, Any], output: str) -> None:
    if output == "torch":
        pytest.importorskip("torch", reason="torch is not installed")
    both = [mice["A"], mice["B"]]
    found = stitch(load(both, **options, output=output), responses)
    assert list(found) == [mouse.name for mouse in both]
    for mouse in both:
        chosen = mouse.recording.trial_ids[mouse.rows(trials={"withheld": False})]
        assert sorted(found[mouse.name]) == chosen.tolist()
        for trial, values in found[mouse.name].items():
            assert values.dtype == np.float32
            np.testing.assert_allclose(values, recorded(mouse, trial), rtol=1e-6)


def test_frames_that_no_window_covers_are_nan(mouse: Mouse) -> None:
    found = stitch(load(mouse, window=16, stride=2), responses)[mouse.name]
    for trial, values in found.items():
        expected, covered = recorded(mouse, trial), np.zeros(values.shape[-1], bool)
        for start in [*range(0, len(covered) - 31, 31), len(covered) - 31]:
            covered[start : start + 31 : 2] = True
        assert covered.any() and not covered.all() and values.shape == expected.shape
        np.testing.assert_array_equal(np.isnan(values), ~np.broadcast_to(covered, values.shape))
        np.testing.assert_allclose(values[:, covered], expected[:, covered], rtol=1e-6)
    left_out = stitch(load(mouse, skip_frames=50, max_frames=200), responses)[mouse.name]
    for trial, values in left_out.items():
        assert values.shape == recorded(mouse, trial).shape and np.isnan(values[:, :50]).all()
        assert not np.isnan(values[:, 50:200]).any() and np.isnan(values[:, 200:]).all()


def test_overlaps_are_means(mouse: Mouse) -> None:
    """Of what is predicted from each window: here, where it begins."""
    loader = load(mouse, trials=[0], window=100, hop=80, batch_size=1)
    values = stitch(loader, lambda batch: np.broadcast_to(batch["start"][:, None, None], (1, 2, 100)))
    (found,) = values[mouse.name].values()
    assert found.dtype == np.float64 and found.shape == (2, 300)
    expected = np.repeat([0, 40, 80, 120, 160, 180, 200], [80, 20, 60, 20, 20, 60, 40])
    np.testing.assert_array_equal(found, [expected] * 2)


def test_a_model_may_leave_out_the_first_frames(mouse: Mouse) -> None:
    found = stitch(load(mouse, window=80, hop=60), lambda batch: batch["responses"][..., 20:])[mouse.name]
    for trial, values in found.items():
        assert np.isnan(values[:, :20]).all()
        np.testing.assert_allclose(values[:, 20:], recorded(mouse, trial)[:, 20:], rtol=1e-6)


def test_predictions_may_be_made_before(mouse: Mouse) -> None:
    batches = list(load(mouse, window=80, hop=40))
    found = stitch(batches, (batch["responses"].sum(1) for batch in batches))
    whole = stitch(batches, lambda batch: batch["responses"])
    for trial, values in found[mouse.name].items():
        assert values.shape == (mouse.trials.n_frames[trial],)
        np.testing.assert_allclose(values, whole[mouse.name][trial].sum(0), rtol=1e-5)


def test_static_mice(mice: dict[str, Mouse]) -> None:
    mouse = mice["S0"]
    found, values = stitch(load(mouse), responses)[mouse.name], Recorded(mouse).values["responses"]
    assert len(found) == len(mouse.rows(trials={"withheld": False}))
    for row in mouse.rows(trials={"withheld": False}).tolist():
        np.testing.assert_array_equal(found[int(mouse.recording.trial_ids[row])], values[row])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_tensors_of_any_precision(mouse: Mouse, dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    weight = torch.ones((), requires_grad=True)
    loader = load(mouse, output="torch", window=80, hop=79)
    found = stitch(
        loader, lambda batch: weight.to(getattr(torch, dtype)) * batch["responses"].to(getattr(torch, dtype))
    )
    for trial, values in found[mouse.name].items():
        assert values.dtype == (np.float32 if dtype == "bfloat16" else np.dtype(dtype))
        np.testing.assert_allclose(values, recorded(mouse, trial), rtol=1e-6 if dtype == "float64" else 5e-3, atol=1e-3)


def strip(batch: Batch) -> Batch:
    return Batch(batch.items())


def batches_and(mouse: Mouse, change: Any) -> tuple[Any, Any]:
    batches = list(load(mouse, window=80))
    return batches, [change(batch["responses"]) for batch in batches]


WRONG: dict[str, tuple[Any, str]] = {
    "fewer predictions": (lambda one, other: (one, other[:-1]), r"more batches than predictions, which are \d+; give"),
    "more predictions": (lambda one, other: (one[:-1], other), r"more predictions than batches, which are \d+; give"),
    "more frames": (
        lambda one, other: (one, [np.zeros((2, 3, 81))]),
        "predictions for 81 frames of samples that have 80",
    ),
    "no frames": (lambda one, other: (one, [np.zeros((2, 3, 0))]), "predictions for 0 frames of samples that have 80"),
    "fewer samples": (lambda one, other: (one, [np.zeros((1, 3, 80))]), r"\(1, 3, 80\) for a batch of 2 samples"),
    "no axes": (lambda one, other: (one, [np.zeros(2)]), r"shape \(2,\) for a batch of 2 samples"),
    "other neurons": (
        lambda one, other: (one[:2] * 2, [*other[:2], np.zeros((2, 4, 80)), other[1]]),
        r"predictions for trial \d+ of dynamic29156-\S+ differ in shape: \(4, 80\)",
    ),
    "no batches": (
        lambda one, other: (map(strip, one), other),
        "a batch does not say where its samples are from; give",
    ),
    "a number": (lambda one, other: (3, other), "^batches: expected batches of a TrialLoader, found 3"),
    "no predictions": (lambda one, other: (one, None), "^predictions: expected an array for each batch, or a function"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_stitched_is_refused(mouse: Mouse, case: str) -> None:
    change, text = WRONG[case]
    batches, predictions = batches_and(mouse, lambda values: values)
    with pytest.raises(OptionError, match=text) as raised:
        stitch(*change(batches, predictions))
    assert "\n" not in str(raised.value)

"""Trials that show the same stimulus, and how reliable responses to it are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack import CorruptStoreError, Mouse, OptionError, UnknownNameError, convert_mouse, open_mouse
from trialpack.convert.published_mice import published_mice
from trialpack.convert.sample import write_sample

from .mice import Array
from .own_mice import floats, write_own

N_NEURONS = 6
SHOWN = {0: "a", 1: "b", 2: "a", 3: "c", 4: "b", 5: "a", 6: "d", 7: "a", 8: "b"}
"""Trial -> clip."""


def clip(name: str, frames: int = 40) -> Array:
    """Return a video (height, width, frames), grey levels 0 to 255."""
    return np.random.default_rng(ord(name)).uniform(0, 255, (4, 5, frames)).astype(np.float32)


def response(trial: int, frames: int = 40, n_neurons: int = N_NEURONS) -> Array:
    """Return activity (neuron, frame) of a signal of the clip, the more the higher the neuron's number, and noise."""
    signal = np.random.default_rng(ord(SHOWN[trial])).normal(size=(n_neurons, frames))
    noise = np.random.default_rng(1000 + trial).normal(size=(n_neurons, frames))
    return 3 + np.arange(n_neurons)[:, None] / 3 * signal + noise


def write(place: Path, **changes: Any) -> Path:
    variables = {"videos": lambda trial: clip(SHOWN[trial]), "responses": response, **changes}
    return write_own(place, variables, SHOWN, tiers=lambda trial: "train" if trial == 6 else "oracle")


def opened(source: Path, **options: Any) -> Mouse:
    return open_mouse(convert_mouse(source, source.parent / "stores", statistics=False, **options).store)


@pytest.fixture
def mouse(tmp_path: Path) -> Mouse:
    return opened(write(tmp_path / "lab"))


def as_lists(found: Mapping[int, Array]) -> dict[int, list[int]]:
    return {stimulus: trials.tolist() for stimulus, trials in found.items()}


# Which trials


def test_trials_of_one_stimulus_have_the_number_of_the_first(mouse: Mouse) -> None:
    assert mouse.trials.stimulus_id.tolist() == [0, 1, 0, 3, 1, 0, 6, 0, 1]
    assert mouse.rows(trials={"stimulus_id": 1}).tolist() == [1, 4, 8]
    assert mouse.to_xarray().stimulus_id.dims == ("trial",)


def test_repeats_are_those_of_the_chosen_trials(mouse: Mouse) -> None:
    found = mouse.repeats("oracle")
    assert as_lists(found) == {0: [0, 2, 5, 7], 1: [1, 4, 8]}
    assert found[1].tolist() == [1, 4, 8] and len(found) == 2 and 3 not in found
    assert repr(found) == "<Repeats of lab: 2 stimuli in 7 trials>"
    # The number is that of the first trial of the mouse, also where another one is the first that was chosen.
    assert as_lists(mouse.repeats(trials=[8, 2, 4, 7, 2])) == {0: [2, 7], 1: [4, 8]}
    with pytest.raises(UnknownNameError, match="no repeats of a stimulus 3; there are 0, 1"):
        found[3]


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"tier": "train"}, "no two of the 1 chosen trials show the same stimulus; choose others, or give max_differ"),
        ({"tier": "test"}, "no trials of tier 'test'; there are oracle"),
        ({"trials": [0, 1, 3]}, "no two of the 3 chosen trials"),
        ({"trials": [2, 2]}, "no two of the 2 chosen trials"),
        (
            {"max_difference": -1},
            "^max_difference: expected a number of at least 0, in the unit of the stim.*, found -1",
        ),
        ({"max_difference": "1"}, "^max_difference: expected .* found '1'"),
        ({"max_difference": True}, "^max_difference: expected .* found True"),
        ({"max_difference": float("nan")}, "^max_difference: expected .* found nan"),
    ],
)
def test_what_has_no_repeats_is_refused(mouse: Mouse, choice: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        mouse.repeats(**choice)


def test_a_mouse_without_a_stimulus_has_no_repeats(tmp_path: Path) -> None:
    mouse = opened(write_own(tmp_path / "lab", {"responses": lambda trial: floats(3, 9, seed=trial)}))
    assert "stimulus_id" not in mouse.trials
    for options in ({}, {"max_difference": 0}):
        with pytest.raises(OptionError, match="no two of the 8 chosen trials"):
            mouse.repeats(**options)


def test_images_of_one_number_are_the_same(tmp_path: Path) -> None:
    """Those differ by rounding; a number counts within its class; and so do equal images of different numbers."""
    source = write_own(
        tmp_path / "lab", {"images": lambda trial: floats(4, 5, seed=trial), "responses": lambda _: floats(3)}
    )
    np.save(source / "data/images/7.npy", np.load(source / "data/images/0.npy"))
    np.save(source / "meta/trials/frame_image_id.npy", np.array([5, 9, 5, 7, 9, 5, 1, 2]))
    assert opened(source).trials.stimulus_id.tolist() == [0, 1, 0, 3, 1, 0, 6, 0]
    np.save(source / "meta/trials/frame_image_class.npy", np.array(["net", "net", "noise", *["net"] * 5]))
    assert opened(source, replace=True).trials.stimulus_id.tolist() == [0, 1, 2, 3, 1, 0, 6, 0]


def test_a_column_of_the_source_keeps_its_values(tmp_path: Path) -> None:
    source = write(tmp_path / "lab")
    np.save(source / "meta/trials/stimulus_id.npy", np.arange(9) * 10)
    trials = opened(source).trials
    assert trials.stimulus_id[2] == 0 and trials.meta_stimulus_id[2] == 20


def test_zeros_and_missing_stimuli_repeat_nothing(tmp_path: Path) -> None:
    """Zeros stand in place of withheld ones; whatever the valid length, and with or without values compared."""
    source = write_own(
        tmp_path / "lab",
        {
            "videos": lambda trial: np.zeros((4, 5, 20 + trial // 3), np.float32),
            "responses": lambda t: floats(3, 20 + t // 3),
        },
        range(9),
        toml="[variables.videos]\noptional = true\n",
        lacking=[("videos", 6), ("videos", 7)],
    )
    for trial in (0, 1):
        np.save(source / f"data/videos/{trial}.npy", clip("a", 20))
    mouse = opened(source)
    assert mouse.trials.stimulus_id.tolist() == [0, 0, 2, 3, 4, 5, 6, 7, 8]
    assert as_lists(mouse.repeats(max_difference=300)) == {0: [0, 1]}


# Comparing values


def shifted(trial: int) -> Array:
    """Return a clip whose values are off by up to 0.5, the more the higher the trial's number."""
    off = np.random.default_rng(trial).uniform(-0.5, 0.5, (4, 5, 40)) * trial / 8
    return (clip(SHOWN[trial]) + off).astype(np.float32)


def test_repeats_that_differ_are_found_by_their_values(tmp_path: Path) -> None:
    mouse = opened(write(tmp_path / "lab", videos=shifted))
    assert mouse.trials.stimulus_id.tolist() == list(range(9))
    with pytest.raises(OptionError, match="give max_difference"):
        mouse.repeats("oracle")
    assert as_lists(mouse.repeats("oracle", max_difference=0.6)) == {0: [0, 2, 5, 7], 1: [1, 4, 8]}
    assert as_lists(mouse.repeats(max_difference=0.14)) == {0: [0, 2]}
    # With trials 0 and 1 left out, others are the first.
    assert as_lists(mouse.repeats(trials=range(2, 9), max_difference=1)) == {2: [2, 5, 7], 4: [4, 8]}


@pytest.mark.parametrize(("bad", "same"), [(5, True), (6, False), (39, False)])
def test_most_frames_have_to_be_near(tmp_path: Path, bad: int, same: bool) -> None:
    """More than 85 % of the 40 frames of the longer clip, 34; of a frame, every value."""

    def other(trial: int) -> Array:
        values = clip("a") + np.float32(trial / 100)
        values[trial % 4, 0, : bad if trial else 0] += 2
        return values

    source = write_own(tmp_path / "lab", {"videos": other, "responses": lambda trial: floats(3, 40)}, range(2))
    if same:
        assert as_lists(opened(source).repeats(max_difference=1)) == {0: [0, 1]}
    else:
        with pytest.raises(OptionError, match="no two"):
            opened(source).repeats(max_difference=1)


@pytest.mark.parametrize(("frames", "same"), [(40, True), (35, True), (34, False)])
def test_clips_of_other_lengths_are_near_over_the_longer_one(tmp_path: Path, frames: int, same: bool) -> None:
    lengths = [40, frames]
    source = write_own(
        tmp_path / "lab",
        {"videos": lambda t: clip("a")[..., : lengths[t]], "responses": lambda t: floats(3, lengths[t])},
        range(2),
    )
    mouse = opened(source)
    assert mouse.trials.stimulus_id.tolist() == ([0, 0] if frames == 40 else [0, 1]), "padding is a part of the digest"
    if same:
        assert as_lists(mouse.repeats(max_difference=0)) == {0: [0, 1]}
    else:
        with pytest.raises(OptionError, match="no two"):
            mouse.repeats(max_difference=0)


def test_integers_do_not_wrap_around(tmp_path: Path) -> None:
    values = [np.full((2, 2, 3), level, np.uint8) for level in (255, 1, 0, 254)]
    source = write_own(tmp_path / "lab", {"videos": values.__getitem__, "responses": lambda _: floats(4, 3)}, range(4))
    assert as_lists(opened(source).repeats(max_difference=2)) == {0: [0, 3]}


def test_the_clips_of_a_published_mouse_are_found(tmp_path: Path) -> None:
    """Those of the sample are rounded as the published ones, and of several lengths."""
    known = published_mice()["A"]
    ids = [i for i in known.trial_ids if not known.tiers[i].startswith("train")][:60]
    mouse = opened(write_sample(tmp_path, mouse="A", trial_ids=ids, neurons=3, image_shape=(4, 6)))
    expected = dict[int, list[int]]()
    for trial in ids:
        expected.setdefault(known.video_ids[trial], []).append(trial)
    several = {trials[0]: trials for trials in expected.values() if len(trials) > 1}
    assert len(several) > 5
    assert as_lists(mouse.repeats(max_difference=1e-3)) == several


def test_damage_is_named(tmp_path: Path) -> None:
    mouse = opened(write(tmp_path / "lab", videos=shifted))
    shard = mouse.path / mouse.recording.array("videos").shard_path(0)
    data = bytearray(shard.read_bytes())
    data[300] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptStoreError, match="lab.zarr: videos/"):
        mouse.repeats(max_difference=1)


# Responses


def by_stimulus(skip: int = 0) -> list[Array]:
    """Return the responses of all trials that the fixture repeats, (repeat, neuron, frame) of each stimulus."""
    return [np.stack([response(trial)[:, skip:] for trial in trials]) for trials in ([0, 2, 5, 7], [1, 4, 8])]


def test_the_mean_over_repeats(mouse: Mouse) -> None:
    found = mouse.repeats("oracle").mean()
    assert list(found) == [0, 1]
    for mean, values in zip(found.values(), by_stimulus(), strict=True):
        np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-12)
    some = mouse.repeats("oracle").mean(neurons=[4, 0])
    np.testing.assert_array_equal(some[1], found[1][[4, 0]])
    np.testing.assert_allclose(mouse.repeats("oracle").mean("videos")[1], clip("b").transpose(2, 0, 1), rtol=1e-6)


def plain_oracle(stimuli: list[Array]) -> Array:
    """Correlate each single response with the mean of the others, neuron by neuron."""
    scores = list[float]()
    for neuron in range(stimuli[0].shape[1]):
        single, others = list[Any](), list[Any]()
        for values in stimuli:
            for repeat in range(len(values)):
                single.append(values[repeat, neuron].ravel())
                others.append(np.delete(values, repeat, axis=0)[:, neuron].mean(axis=0).ravel())
        scores.append(np.corrcoef(np.concatenate(single), np.concatenate(others))[0, 1])
    return np.array(scores)


def plain_explainable(stimuli: list[Array]) -> Array:
    total = np.concatenate([np.moveaxis(values, 1, -1).reshape(-1, values.shape[1]) for values in stimuli])
    noise = np.concatenate([values.var(axis=0, ddof=1) for values in stimuli], axis=1).mean(axis=1)
    return 1 - noise / total.var(axis=0, ddof=1)


def plain_snr(stimuli: list[Array]) -> Array:
    noise = np.concatenate([values.var(axis=0, ddof=1) for values in stimuli], axis=1).mean(axis=1)
    return np.concatenate([values.mean(axis=0) for values in stimuli], axis=1).var(axis=1) / noise


@pytest.mark.parametrize("skip", [0, 13])
def test_reliability_is_that_of_the_plain_formulas(mouse: Mouse, skip: int) -> None:
    found, stimuli = mouse.repeats("oracle").reliability(skip=skip), by_stimulus(skip)
    assert found.index.name == "position" and found.index.tolist() == list(range(N_NEURONS))
    np.testing.assert_allclose(found.oracle, plain_oracle(stimuli), rtol=1e-9)
    np.testing.assert_allclose(found.explainable_variance, plain_explainable(stimuli), rtol=1e-9)
    np.testing.assert_allclose(found.snr, plain_snr(stimuli), rtol=1e-9)
    # The signal was made to grow with the number of the neuron; the first has none.
    assert found.oracle[1:].is_monotonic_increasing and found.oracle[5] > 0.7 > 0.2 > abs(found.oracle[0])


def test_reliability_is_that_of_neuralpredictors(tmp_path: Path) -> None:
    """Its signal-to-noise ratio is of square roots of counts; so are the responses here. Each condition is an image."""
    theirs = pytest.importorskip("neuralpredictors.measures.np_functions", reason="neuralpredictors is not installed")
    utils = pytest.importorskip("neuralpredictors.utils")
    counts = [
        np.random.default_rng(trial).poisson(3 + 2 * np.arange(N_NEURONS) * (trial % 5 + 1)) for trial in range(40)
    ]
    source = write_own(
        tmp_path / "lab",
        {"images": lambda t: floats(3, 4, seed=t % 5), "responses": lambda t: np.float64(utils.anscombe(counts[t]))},
        range(40),
        tiers=lambda _: "test",
    )
    found = opened(source).repeats("test").reliability()
    repeated = np.array([[counts[image + 5 * repeat] for repeat in range(8)] for image in range(5)], float)
    values = utils.anscombe(repeated)
    np.testing.assert_allclose(found.oracle, theirs.oracle_corr_jackknife(values), rtol=1e-6)
    np.testing.assert_allclose(found.explainable_variance, theirs.explainable_var(values), rtol=1e-6)
    np.testing.assert_allclose(
        found.explainable_variance, theirs.fev(values, values, return_exp_var=True)[0], rtol=1e-6
    )
    np.testing.assert_allclose(found.snr, theirs.snr(repeated), rtol=1e-6)


def test_a_large_mean_loses_no_digits(mouse: Mouse, tmp_path: Path) -> None:
    far = opened(write(tmp_path / "far", responses=lambda trial: response(trial) + 1e8))
    found, wanted = (one.repeats("oracle").reliability() for one in (far, mouse))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_chosen_neurons_come_as_chosen(mouse: Mouse) -> None:
    every, found = mouse.repeats("oracle").reliability(), mouse.repeats("oracle").reliability(neurons=[4, 0, -1])
    assert found.index.tolist() == [4, 0, 5]
    np.testing.assert_array_equal(found, every.loc[[4, 0, 5]])
    joined = mouse.neurons.join(every)
    assert joined.oracle.tolist() == every.oracle.tolist()


def test_neurons_without_variance_and_nan(tmp_path: Path) -> None:
    def odd(trial: int) -> Array:
        values = response(trial)
        values[1], values[3, 7] = 0, np.nan if trial == 5 else 1
        return values

    found = opened(write(tmp_path / "lab", responses=odd)).repeats("oracle").reliability()
    assert found.loc[[1, 3]].isna().all(axis=None) and found.loc[[0, 4, 5]].notna().all(axis=None)


def test_frames_that_only_some_repeats_have_are_left_out(tmp_path: Path) -> None:
    """Clips of an equal number; responses of the shorter are padded with NaN in the store."""
    lengths = {trial: 40 - trial % 3 for trial in SHOWN}
    source = write(
        tmp_path / "lab",
        videos=lambda trial: clip(SHOWN[trial])[..., : lengths[trial]],
        responses=lambda trial: response(trial)[:, : lengths[trial]],
    )
    repeats = opened(source).repeats("oracle", max_difference=0)
    assert as_lists(repeats) == {0: [0, 2, 5, 7], 1: [1, 4, 8]}
    expected = [values[..., :38] for values in by_stimulus()]
    assert [mean.shape[1] for mean in repeats.mean().values()] == [38, 38]
    np.testing.assert_allclose(repeats.reliability().oracle, plain_oracle(expected), rtol=1e-9)


def test_withheld_responses_are_left_out(tmp_path: Path) -> None:
    """Of stimulus 0 two trials remain, of 1 only one."""
    withheld = {0, 5, 1, 4}
    source = write(tmp_path / "lab", responses=lambda trial: response(trial) * (trial not in withheld))
    mouse = opened(source)
    repeats = mouse.repeats("oracle")
    assert as_lists(repeats) == {0: [0, 2, 5, 7], 1: [1, 4, 8]}
    np.testing.assert_allclose(repeats.mean()[1], response(8), rtol=1e-12)
    remain = np.stack([response(2), response(7)])
    np.testing.assert_allclose(repeats.mean()[0], remain.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(repeats.reliability().oracle, plain_oracle([remain]), rtol=1e-9)
    with pytest.raises(OptionError, match="no stimulus has responses of two trials: they are withheld"):
        mouse.repeats(trials=[1, 4, 8]).reliability()
    with pytest.raises(OptionError, match="no stimulus has responses of a trial: they are withheld"):
        mouse.repeats(trials=[1, 4]).mean()


def test_what_cannot_be_reliable_is_refused(mouse: Mouse, tmp_path: Path) -> None:
    repeats = mouse.repeats("oracle")
    for call, text in (
        (lambda: repeats.reliability("videos"), "videos has no neurons"),
        (lambda: repeats.reliability("spikes"), "no variable 'spikes'"),
        (lambda: repeats.reliability(neurons=[9]), "no position 9"),
        (lambda: repeats.reliability(skip=40), "skip=40 leaves none of 40 frames; skip fewer"),
        (lambda: repeats.reliability(skip=-1), "^skip: expected a whole number of at least 0, found -1"),
        (lambda: repeats.mean("videos", neurons=[1]), "videos has no neurons; choose neurons of responses"),
    ):
        with pytest.raises(OptionError, match=text):
            call()
    source = write_own(
        tmp_path / "static", {"images": lambda _: floats(4, 5), "responses": lambda t: floats(3, seed=t)}
    )
    with pytest.raises(OptionError, match="responses has no frames; leave skip out"):
        opened(source).repeats().reliability(skip=1)

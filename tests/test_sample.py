"""The made-up recordings have the published structure, and do not depend on what else is written."""

import hashlib
import io
import itertools
import json
import zipfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from trialpack.convert.published_mice import find_published, published_mice
from trialpack.convert.sample import train, write_sample
from trialpack.convert.sample.recipe import make_recipe
from trialpack.convert.sample.signals import Array, trial_arrays
from trialpack.store.compressors import COMPRESSORS

# letter: neurons, len(tiers), none, n_frames, train, oracle, live main, live bonus, final main, final bonus, withheld
PUBLISHED = {
    "A": (7440, 740, 20, 324, 350, 59, 56, 59, 58, 138, 0),
    "B": (7928, 720, 16, 324, 352, 60, 58, 59, 57, 118, 0),
    "C": (8285, 740, 11, 325, 355, 58, 58, 80, 59, 119, 0),
    "D": (7671, 720, 6, 403, 356, 59, 60, 59, 60, 120, 0),
    "E": (7495, 739, 16, 315, 351, 60, 57, 58, 60, 137, 0),
    "F": (7863, 711, 0, 324, 348, 58, 56, 58, 57, 134, 305),
    "G": (7908, 682, 0, 325, 329, 56, 53, 57, 56, 131, 297),
    "H": (8202, 711, 0, 326, 354, 60, 60, 58, 59, 120, 297),
    "I": (7939, 739, 0, 315, 359, 60, 60, 80, 60, 120, 320),
    "J": (8122, 712, 0, 414, 354, 59, 60, 60, 60, 119, 299),
}
TIERS = ("train", "oracle", "live_test_main", "live_test_bonus", "final_test_main", "final_test_bonus")
GAPS = {
    "A": "1 2 4 5 7 8 15 109 142 227 252 290 291 308 647 678 682 691 708 713",
    "B": "11 12 15 16 17 55 408 494 544 582 585 586 591 599 603 710",
    "C": "49 50 51 52 53 107 111 199 357 401 438",
    "D": "24 25 265 639 645 711",
    "E": "109 199 205 426 431 438 442 450 451 499 521 593 675 691 714 728",
}
STATISTICS = {"mean", "std", "min", "max", "median"}

# What real recordings have, and how far a sample may be off.
# The 5th, 50th and 95th percentile over the 78 853 neurons of the ten mice of 2023, each over train trials and frames
# (github.com/bryanlimy/ViV1T-closed-loop, MIT); and a factor.
REAL_NEURONS = {
    "std": ((3.29, 11.3, 50.0), 1.3),
    "mean/std": ((0.146, 0.211, 0.325), 1.15),
    "max/std": ((21.9, 33.6, 53.5), 1.2),
    "median": ((2.0e-8, 1.68e-7, 1.31e-6), 4),
    "-min": ((5.76e-10, 5.40e-9, 3.45e-8), 2),
}
# Deconvolved traces of eight neurons, the usual ones of ten (github.com/nicktz4/NeuronsXnets, MIT), made four frames a
# scan, in trials of 300 frames; and a difference. Autocorrelations are about a neuron's mean.
REAL_TRACES = {
    "events": (0.24, 0.03),
    "events, correlation over 8 frames": (0.16, 0.03),
    "events, correlation over 64 frames": (0.08, 0.03),
    "negative": (0.017, 0.003),
    "floor, digits": (0.81, 0.08),
    "floor, correlation over 8 frames": (0.89, 0.08),
}
# Videos of the ten mice; slopes, on logarithmic axes, of the power of natural ones along a line.
REAL_VIDEOS = {
    "mean": (79.6, 4),
    "median": (68.5, 5),
    "std": (57.9, 4),
    "slope along a row": (-1.9, 0.2),
    "slope along a column": (-2.0, 0.2),
    "slope over time": (-2.3, 0.2),
}
# Behavior and pupil of the ten mice: least and most.
REAL_BEHAVIOR = {
    "pupil mean": (39.8, 60.6),
    "pupil std": (11.9, 17.3),
    "pupil min": (10.2, 24.1),
    "pupil max": (81.0, 92.2),
    "speed mean": (0.3, 5.6),
    "speed std": (1.2, 8.8),
    "speed median": (0, 0.04),
    "speed max": (18.8, 47.1),
    "gaze mean": (119, 181),
    "gaze std": (3.9, 7.7),
}
# Bytes of chunks over those of .npy files of float32, or of float64 if rounded (the last of each); within 10 %.
REAL_SIZES = {
    "responses": {"lz4": 0.843, "zstd": 0.741, "pcodec": 0.573, "lz4 plain": 1 / 8.9},
    "videos": {"lz4": 0.56, "zstd": 0.468, "pcodec": 0.608, "lz4 bits": 1 / 11.0},
}
STEPS = {"responses": 2**-9, "videos": 1.0}  # bounds of 0.001 and 0.5


def read_tree(folder: Path) -> dict[str, np.ndarray]:
    return {path.relative_to(folder).as_posix(): np.load(path) for path in sorted(folder.rglob("*.npy"))}


def read_zip(path: Path) -> dict[str, np.ndarray]:
    prefix = f"{path.stem}/"
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.startswith(prefix) and name.endswith(".npy")]
        return {name.removeprefix(prefix): np.load(io.BytesIO(archive.read(name))) for name in names}


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("letter", PUBLISHED)
def test_published_structure(letter: str) -> None:
    mouse = published_mice()[letter]
    neurons, length, none, n_frames, *counts, withheld = PUBLISHED[letter]
    assert (mouse.n_neurons, len(mouse.tiers), mouse.n_frames) == (neurons, length, n_frames)
    assert Counter(mouse.tiers) == Counter({"none": none, **dict(zip(TIERS, counts, strict=True))})
    assert len(mouse.trial_ids) == length - none == sum(counts)
    assert sum(mouse.withheld) == withheld
    assert max(mouse.valid_frames) == n_frames
    assert {mouse.valid_frames[number] for number in range(length) if mouse.tiers[number] == "train"} == {300}
    assert mouse.dtype == ("float32" if letter in "ABCDE" else "float64")


@pytest.mark.parametrize("letter", PUBLISHED)
def test_gaps_are_where_they_were_published(letter: str) -> None:
    mouse = published_mice()[letter]
    gaps = [number for number, tier in enumerate(mouse.tiers) if tier == "none"]
    assert gaps == [int(number) for number in GAPS.get(letter, "").split()]
    assert all((mouse.valid_frames[number], mouse.stimulus[number]) == (0, "") for number in gaps)


def test_totals() -> None:
    dynamic = [mouse for mouse in published_mice().values() if mouse.kind == "dynamic"]
    assert sum(len(mouse.trial_ids) for mouse in dynamic) == 7145
    assert sum(mouse.n_neurons for mouse in dynamic) == 78853


@pytest.mark.parametrize(("letter", "trial_id", "frames"), [("D", 668, 403), ("J", 156, 414)])
def test_broken_trials_set_the_padded_length(letter: str, trial_id: int, frames: int) -> None:
    mouse = published_mice()[letter]
    assert mouse.valid_frames[trial_id] == mouse.n_frames == frames
    assert sum(length > 326 for length in mouse.valid_frames) == 1
    assert (mouse.tiers[trial_id], mouse.stimulus[trial_id]) == ("live_test_bonus", "NaturalImages")


@pytest.mark.parametrize(("letter", "files"), [("S0", 6955), ("S1", 6959), ("P1", 5994), ("P5", 5983)])
def test_static_structure(letter: str, files: int) -> None:
    mouse = published_mice()[letter]
    counts = Counter(mouse.tiers)
    assert mouse.trial_ids == tuple(range(files))
    assert set(counts) == {"train", "validation", "test"} | ({"final_test"} if letter[0] == "S" else set())
    assert 4400 < counts["train"] < 4550 and 900 < counts["test"] <= 1000
    assert sum(mouse.withheld) == (counts["test"] + counts["final_test"] if letter[0] == "S" else 0)
    assert mouse.behavior_withheld == (letter == "S0")


def test_find_published() -> None:
    mouse = published_mice()["A"]
    assert find_published("A") is find_published(mouse.name) is find_published("dynamic29156-11-10") is mouse
    assert find_published("dynamic29156-11-10-Video") is mouse
    assert find_published("a") is mouse
    assert find_published("static26872-17-20") is published_mice()["S0"]
    assert all(find_published(key) is None for key in ("", "Z", "dynamic29156-11-1", "dynamic"))
    assert mouse.scan == (29156, 11, 10)


@pytest.fixture(scope="module")
def mouse_a(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("a"), mouse="A", trials=12, neurons=60, seed=3)


def test_dynamic_layout(mouse_a: Path) -> None:
    mouse = published_mice()["A"]
    arrays = read_tree(mouse_a)
    expected = {
        f"data/{v}/{i}.npy" for v in ("videos", "responses", "behavior", "pupil_center") for i in mouse.trial_ids[:12]
    }
    assert mouse_a.name == mouse.name
    assert json.loads((mouse_a / "config.json").read_text()) == {"links": {}}
    assert {name for name in arrays if name.startswith("data/")} == expected
    shapes = {"videos": (36, 64, 324), "responses": (60, 324), "behavior": (2, 324), "pupil_center": (2, 324)}
    for variable, shape in shapes.items():
        assert arrays[f"data/{variable}/0.npy"].shape == shape
        assert arrays[f"data/{variable}/0.npy"].dtype == np.float32
        found = {name.rpartition("/")[2][:-4] for name in arrays if name.startswith(f"meta/statistics/{variable}/all/")}
        assert found == STATISTICS
        for name in STATISTICS:
            array = arrays[f"meta/statistics/{variable}/all/{name}.npy"]
            assert (array.shape, array.dtype) == (shape, np.float32)


def test_dynamic_meta(mouse_a: Path) -> None:
    mouse = published_mice()["A"]
    tiers = np.load(mouse_a / "meta/trials/tiers.npy")
    assert tiers.dtype == "<U16"
    assert tuple(tiers) == mouse.tiers[: mouse.trial_ids[11] + 1]
    np.testing.assert_array_equal(np.load(mouse_a / "meta/trials/trial_idx.npy"), np.arange(tiers.size))
    coordinates = np.load(mouse_a / "meta/neurons/cell_motor_coordinates.npy")
    assert (coordinates.shape, coordinates.dtype) == ((60, 3), np.int64)
    assert np.all(np.diff(np.load(mouse_a / "meta/neurons/unit_ids.npy")) > 0)


def test_unit_ids_stay_within_the_published_range(tmp_path: Path) -> None:
    folder = write_sample(tmp_path, mouse="C", trials=1)
    unit_ids = np.load(folder / "meta/neurons/unit_ids.npy")
    assert unit_ids.size == 8285 and unit_ids[-1] > unit_ids.size and unit_ids[-1] < 8917


def test_trial_idx_skips_the_gaps_that_were_squeezed_out(tmp_path: Path) -> None:
    folder = write_sample(tmp_path, mouse="F", trial_ids=[710], neurons=2)
    trial_idx = np.load(folder / "meta/trials/trial_idx.npy")
    assert trial_idx.size == 711 and np.all(np.diff(trial_idx) >= 1) and trial_idx[-1] > 710


def test_unwritten_trials_are_none(tmp_path: Path) -> None:
    folder = write_sample(tmp_path, mouse="A", trial_ids=[9, 3], neurons=2)
    tiers = np.load(folder / "meta/trials/tiers.npy")
    assert {number: tier for number, tier in enumerate(tiers) if tier != "none"} == {3: "train", 9: "oracle"}
    assert tiers.size == 10
    assert sorted(path.name for path in (folder / "data/videos").iterdir()) == ["3.npy", "9.npy"]


def test_padding_and_broken_trial(tmp_path: Path) -> None:
    mouse = published_mice()["D"]
    folder = write_sample(tmp_path, mouse="D", trial_ids=[0, 2, 668, 719], neurons=4)
    for trial_id in (0, 2, 668, 719):
        for variable in ("videos", "responses", "behavior", "pupil_center"):
            array = np.load(folder / f"data/{variable}/{trial_id}.npy")
            valid = ~np.isnan(array)
            assert array.shape[-1] == 403
            assert np.all(valid == (np.arange(403) < mouse.valid_frames[trial_id]))
    assert not np.isnan(np.load(folder / "data/videos/668.npy")).any()


def test_withheld_responses_are_zeros_over_the_padding_too(tmp_path: Path) -> None:
    mouse = published_mice()["F"]
    folder = write_sample(tmp_path, mouse="F", trials=6, neurons=20)
    for trial_id in range(6):
        responses = np.load(folder / f"data/responses/{trial_id}.npy")
        video = np.load(folder / f"data/videos/{trial_id}.npy")
        assert responses.dtype == video.dtype == np.float64
        assert (not responses.any()) == mouse.withheld[trial_id]
        assert np.isnan(video[0, 0]).sum() == 324 - mouse.valid_frames[trial_id]
    assert sum(mouse.withheld[:6]) == 2


def test_equal_seeds_give_equal_bytes(mouse_a: Path, tmp_path: Path) -> None:
    again = write_sample(tmp_path / "again", mouse="A", trials=12, neurons=60, seed=3)
    other = write_sample(tmp_path / "other", mouse="A", trials=12, neurons=60, seed=4)
    expected = digests(mouse_a)
    assert digests(again) == expected
    different = digests(other)
    assert all(digest != expected[name] for name, digest in different.items() if name.startswith("data/"))


def test_a_trial_does_not_depend_on_the_others(mouse_a: Path, tmp_path: Path) -> None:
    few = write_sample(tmp_path, mouse="A", trial_ids=[3, 13], neurons=60, seed=3)
    data = {name: digest for name, digest in digests(few).items() if name.startswith(("data/", "meta/neurons/"))}
    assert data.items() <= digests(mouse_a).items()


def test_fewer_neurons_are_the_first_ones(mouse_a: Path, tmp_path: Path) -> None:
    few = write_sample(tmp_path, mouse="A", trials=2, neurons=7, seed=3)
    for name in ("data/responses/3.npy", "meta/neurons/unit_ids.npy", "meta/neurons/cell_motor_coordinates.npy"):
        np.testing.assert_array_equal(np.load(few / name), np.load(mouse_a / name)[:7])


def made_trials(
    letter: str, neurons: int, n_trials: int, image_shape: tuple[int, int] | None = None
) -> dict[str, Array]:
    """Return the first 300 frames of train trials, ``(n_trials, …, 300)``."""
    recipe = make_recipe(letter, None, None, neurons, None, 0, image_shape)
    ids = [number for number in recipe.trial_ids if recipe.mouse.tiers[number] == "train"][:n_trials]
    trials = [{name: array[..., :300] for name, array in trial_arrays(recipe, number).items()} for number in ids]
    return {name: np.stack([trial[name] for trial in trials]) for name in trials[0]}


@pytest.fixture(scope="module")
def whole_tier() -> dict[str, Array]:
    return made_trials("A", 200, 350, (2, 2))


@pytest.fixture(scope="module")
def clips() -> Array:
    return made_trials("A", 1, 24)["videos"]


def correlation(values: Array, frames: int) -> float:
    """Return the mean over neurons of the correlation of values some frames apart, of those that are numbers."""
    deviation = values - np.nanmean(values, axis=(0, 2), keepdims=True)
    products = np.nanmean(deviation[..., frames:] * deviation[..., :-frames], axis=(0, 2))
    return float(np.mean(products / np.nanmean(deviation**2, axis=(0, 2))))


def slope(values: Array, axis: int, first: int = 2, last: int | None = None) -> float:
    """Return the exponent of the mean power along an axis, without the edges' part, by frequency."""
    n = values.shape[axis]
    series = np.moveaxis(values.astype(np.float64), axis, -1)
    power = np.abs(np.fft.rfft((series - series.mean(axis=-1, keepdims=True)) * np.hanning(n))) ** 2
    mean = power.reshape(-1, n // 2 + 1).mean(axis=0)[first:last]
    return float(np.polyfit(np.log(np.arange(mean.size) + first), np.log(mean), 1)[0])


def chunk_bytes(trials: Array, codec: str, *, frame_major: bool) -> int:
    """Return how many bytes chunks of 30 frames take, frames outermost or innermost."""
    chunks = (chunk for trial in trials for chunk in np.split(trial.astype(np.float32), 10, axis=-1))
    ordered = (np.ascontiguousarray(np.moveaxis(chunk, -1, 0) if frame_major else chunk) for chunk in chunks)
    return sum(len(COMPRESSORS[codec].encode(chunk)) for chunk in ordered)


def test_neurons_are_as_active_as_real_ones(whole_tier: dict[str, Array]) -> None:
    responses = np.moveaxis(whole_tier["responses"], 1, 0).reshape(200, -1).astype(np.float64)
    std = responses.std(axis=1)
    found = {
        "std": std,
        "mean/std": responses.mean(axis=1) / std,
        "max/std": responses.max(axis=1) / std,
        "median": np.median(responses, axis=1),
        "-min": -responses.min(axis=1),
    }
    for name, (expected, factor) in REAL_NEURONS.items():
        off = np.quantile(found[name], (0.05, 0.5, 0.95)) / expected
        assert np.all((1 / factor < off) & (off < factor)), (name, off)


def test_activity_is_like_that_of_real_traces(whole_tier: dict[str, Array]) -> None:
    responses = whole_tier["responses"][:100]
    events = (responses > 0.001).astype(np.float64)
    floor = np.log10(np.abs(responses), out=np.full(responses.shape, np.nan, np.float32), where=responses < 1e-4)
    found = {
        "events": events.mean(),
        "events, correlation over 8 frames": correlation(events, 8),
        "events, correlation over 64 frames": correlation(events, 64),
        "negative": np.mean(responses < 0),
        "floor, digits": np.mean(np.nanstd(floor, axis=(0, 2))),
        "floor, correlation over 8 frames": correlation(floor, 8),
    }
    for name, (expected, off) in REAL_TRACES.items():
        assert abs(found[name] - expected) < off, (name, found[name])
    shares = np.quantile(events.mean(axis=(0, 2)), (0.05, 0.5, 0.95))
    np.testing.assert_allclose(shares, (0.14, 0.22, 0.36), rtol=0.25)
    assert np.all(responses[responses < 0] > -1e-6)


def test_videos_are_like_real_ones(clips: Array) -> None:
    found = {
        "mean": clips.mean(),
        "median": np.median(clips),
        "std": clips.std(),
        "slope along a row": slope(clips, 2),
        "slope along a column": slope(clips, 1),
        "slope over time": slope(clips, 3),
    }
    for name, (expected, off) in REAL_VIDEOS.items():
        assert abs(found[name] - expected) < off, (name, found[name])
    assert clips.min() == 0 and 254.9 < clips.max() <= 255
    change = np.abs(np.diff(clips, axis=3))
    assert 0.05 < np.median(change) < 1
    # White noise would have as much power at the highest frequencies as just below them.
    assert slope(clips, 2, 16) < -1.5 and slope(clips, 1, 9) < -1.5 and slope(clips, 3, 75) < -1.5


def test_behavior_and_pupil_are_like_real_ones(whole_tier: dict[str, Array]) -> None:
    pupil, speed = whole_tier["behavior"].swapaxes(0, 1)
    found = {
        "gaze mean": whole_tier["pupil_center"].mean(),
        "gaze std": whole_tier["pupil_center"].std(axis=(0, 2)).max(),
    }
    for name, values in (("pupil", pupil), ("speed", speed)):
        of = {"mean": np.mean, "std": np.std, "median": np.median, "min": np.min, "max": np.max}
        found |= {f"{name} {statistic}": reduce(values) for statistic, reduce in of.items()}
    for name, (least, most) in REAL_BEHAVIOR.items():
        assert least <= found[name] <= most, (name, found[name])


@pytest.mark.parametrize("variable", REAL_SIZES)
def test_samples_compress_like_real_recordings(variable: str) -> None:
    # Of fewer neurons, frames are too short for repetitions to be found.
    values = made_trials("A", 3300, 2)["responses"] if variable == "responses" else made_trials("A", 1, 24)["videos"]
    nbytes = values.nbytes * 324 / 300  # padding takes no space in a store
    *codecs, of_rounded = REAL_SIZES[variable]
    video = variable == "videos"
    found = {codec: chunk_bytes(values, codec, frame_major=video or codec == "lz4") / nbytes for codec in codecs}
    rounded = np.round(values / STEPS[variable]) * STEPS[variable] + 0
    found[of_rounded] = chunk_bytes(rounded, of_rounded, frame_major=video) / (2 * nbytes)
    for codec, expected in REAL_SIZES[variable].items():
        assert abs(found[codec] / expected - 1) < 0.1, (codec, found)


def test_repeats_of_a_clip_are_equal_up_to_rounding() -> None:
    mouse, repeated = published_mice()["A"], make_recipe("A", None, None, 1, None, 0, (9, 16))
    oracle = [number for number in mouse.trial_ids if mouse.tiers[number] == "oracle"]
    assert Counter(Counter(mouse.video_ids[number] for number in oracle).values()) == {10: 5, 9: 1}
    shown = {number: trial_arrays(repeated, number)["videos"] for number in oracle[:20]}
    different = 0
    for one, other in itertools.combinations(shown, 2):
        if mouse.video_ids[one] == mouse.video_ids[other]:
            np.testing.assert_allclose(shown[one], shown[other], rtol=2e-6)
            different += not np.array_equal(shown[one], shown[other], equal_nan=True)
        else:
            assert np.nanmax(np.abs(shown[one] - shown[other])) > 50
    assert different


def test_a_clip_is_the_same_for_every_mouse() -> None:
    a, f = (make_recipe(letter, None, None, 1, None, 0, (9, 16)) for letter in "AF")
    assert a.mouse.video_ids[0] == f.mouse.video_ids[0] == 668306
    of_a, of_f = (trial_arrays(recipe, 0)["videos"] for recipe in (a, f))
    np.testing.assert_allclose(of_a, of_f, atol=1e-3)


def test_static_trials_of_an_image_show_it() -> None:
    recipe = make_recipe("S0", None, None, 1, None, 0, None)
    first = published_test_trials("S0", 1)[0]
    one, *others = (int(number) for number in np.flatnonzero(recipe.image_ids == recipe.image_ids[first]))
    assert len(others) in (8, 9)
    shown = trial_arrays(recipe, one)["images"]
    for other in others:
        np.testing.assert_allclose(trial_arrays(recipe, other)["images"], shown, rtol=2e-6)
    assert np.abs(trial_arrays(recipe, published_test_trials("S0", 2)[1])["images"] - shown).max() > 50


def test_float64_uses_the_low_bits_and_overshoots(tmp_path: Path) -> None:
    folder = write_sample(tmp_path, mouse="F", trials=4, neurons=50)
    videos = np.load(folder / "data/videos/0.npy")[..., :300]
    responses = np.load(folder / "data/responses/0.npy")[..., :300]
    assert 255 < videos.max() <= 255.0000001
    for array in (videos, responses):
        assert np.mean(array.astype(np.float32) == array) < 0.1


def test_statistics_are_those_of_the_train_trials(mouse_a: Path) -> None:
    mouse = published_mice()["A"]
    train = [trial_id for trial_id in mouse.trial_ids[:12] if mouse.tiers[trial_id] == "train"]
    reductions = {"mean": np.mean, "min": np.min, "max": np.max, "median": np.median}
    for variable in ("videos", "responses", "behavior", "pupil_center"):
        stack = np.stack([np.load(mouse_a / f"data/{variable}/{trial_id}.npy") for trial_id in train]).astype(float)
        folder = mouse_a / f"meta/statistics/{variable}/all"
        for name, reduce in reductions.items():
            np.testing.assert_allclose(np.load(folder / f"{name}.npy"), reduce(stack, axis=0), rtol=1e-6)
        np.testing.assert_allclose(np.load(folder / "std.npy"), np.std(stack, axis=0, ddof=1), rtol=1e-5)
        assert np.isnan(np.load(folder / "mean.npy")[..., 300:]).all()


def test_statistics_do_not_depend_on_blocks_or_spooling(
    mouse_a: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "_SPOOL_BYTES", 1000)
    monkeypatch.setattr(train, "_BLOCK_BYTES", 100_000)
    again = write_sample(tmp_path, mouse="A", trials=12, neurons=60, seed=3)
    assert digests(again) == digests(mouse_a)
    assert list(tmp_path.iterdir()) == [again]


def test_no_train_trials_leave_nan_statistics(tmp_path: Path) -> None:
    dynamic = write_sample(tmp_path, mouse="A", trial_ids=[9], neurons=3)
    static = write_sample(tmp_path, mouse="S1", trial_ids=published_test_trials("S1", 2), neurons=3)
    for folder in (dynamic, static):
        for path in folder.glob("meta/statistics/**/*.npy"):
            assert np.isnan(np.load(path)).all()


def published_test_trials(letter: str, n: int) -> list[int]:
    return [number for number, tier in enumerate(published_mice()[letter].tiers) if tier == "test"][:n]


def test_zip_holds_the_same_arrays(mouse_a: Path, tmp_path: Path) -> None:
    path = write_sample(tmp_path, mouse="A", trials=12, neurons=60, seed=3, container="zip")
    assert path.name == f"{mouse_a.name}.zip"
    zipped, plain = read_zip(path), read_tree(mouse_a)
    assert zipped.keys() == plain.keys()
    for name, array in plain.items():
        np.testing.assert_array_equal(zipped[name], array, strict=True)


def test_zip_holds_what_macos_leaves(tmp_path: Path) -> None:
    first = write_sample(tmp_path / "1", mouse="A", trials=2, neurons=2, image_shape=(6, 8), container="zip")
    again = write_sample(tmp_path / "2", mouse="A", trials=2, neurons=2, image_shape=(6, 8), container="zip")
    assert first.read_bytes() == again.read_bytes()
    mouse = first.stem
    with zipfile.ZipFile(first) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
        assert archive.getinfo(f"{mouse}/data/responses/0.npy").compress_type == zipfile.ZIP_DEFLATED
        junk = archive.read(f"__MACOSX/{mouse}/data/responses/._0.npy")
    assert {f"{mouse}/", f"{mouse}/data/videos/", f"{mouse}/.DS_Store", f"{mouse}/config.json"} <= names
    assert junk.startswith(b"\x00\x05\x16\x07")
    assert len(names) == len(archive.namelist())


@pytest.fixture(scope="module")
def mouse_s0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("s0"), mouse="S0", trials=30, neurons=40)


def test_static_layout(mouse_s0: Path) -> None:
    arrays = read_tree(mouse_s0)
    shapes = {"images": (1, 144, 256), "responses": (40,), "behavior": (3,), "pupil_center": (2,)}
    for variable, shape in shapes.items():
        array = arrays[f"data/{variable}/29.npy"]
        assert (array.shape, array.dtype) == (shape, np.float32)
        for group in ("all", "stimulus_Frame"):
            for name in STATISTICS:
                statistic = arrays[f"meta/statistics/{variable}/{group}/{name}.npy"]
                assert (statistic.shape, statistic.dtype) == (() if variable == "images" else shape, np.float32)
    neurons = {
        name: arrays[f"meta/neurons/{name}.npy"] for name in ("animal_ids", "sessions", "scan_idx", "layer", "area")
    }
    assert (neurons["animal_ids"].dtype, neurons["animal_ids"][0]) == (np.uint16, 26872)
    assert (neurons["sessions"].dtype, neurons["scan_idx"][0]) == (np.uint8, 20)


def test_static_trials(mouse_s0: Path, tmp_path: Path) -> None:
    trials = {path.stem: np.load(path) for path in (mouse_s0 / "meta/trials").iterdir()}
    assert len(trials) == 12 and {array.shape for array in trials.values()} == {(30,)}
    assert trials["tiers"].dtype == "<U10" and trials["trial_idx"].dtype.kind == "U"
    assert len(set(trials["trial_idx"])) == 30
    assert trials["frame_trial_ts"][0].startswith("Timestamp('2021-06-01 ")
    pretrain = write_sample(tmp_path, mouse="P1", trials=3, neurons=2)
    assert np.load(pretrain / "meta/trials/trial_idx.npy").dtype == np.uint32


def test_static_images_are_shown_ten_times_in_test(tmp_path: Path) -> None:
    folder = write_sample(tmp_path, mouse="S0", trial_ids=[6954], neurons=1)
    images = np.load(folder / "meta/trials/frame_image_id.npy")
    tiers = np.array(published_mice()["S0"].tiers)
    counts = {tier: Counter(images[tiers == tier]) for tier in ("train", "test", "final_test")}
    assert len(counts["test"]) == len(counts["final_test"]) == 100 and not counts["test"] & counts["final_test"]
    assert set(counts["test"].values()) <= {9, 10} and set(counts["train"].values()) == {1}


def test_static_withheld(mouse_s0: Path, tmp_path: Path) -> None:
    mouse = published_mice()["S0"]
    for trial_id in range(30):
        loaded = {
            v: np.load(mouse_s0 / f"data/{v}/{trial_id}.npy")
            for v in ("images", "responses", "behavior", "pupil_center")
        }
        assert loaded["responses"].any() != mouse.withheld[trial_id]
        assert loaded["images"].any() and not loaded["behavior"].any() and not loaded["pupil_center"].any()
    assert 0 < sum(mouse.withheld[:30]) < 30
    trial_id = published_test_trials("S1", 1)[0]
    other = write_sample(tmp_path, mouse="S1", trial_ids=[trial_id], neurons=2)
    assert np.load(other / f"data/behavior/{trial_id}.npy").all()
    assert not np.load(other / f"data/responses/{trial_id}.npy").any()


def test_static_image_statistics_are_over_all_pixels(mouse_s0: Path) -> None:
    train = [number for number in range(30) if published_mice()["S0"].tiers[number] == "train"]
    values = np.stack([np.load(mouse_s0 / f"data/images/{number}.npy") for number in train]).astype(float)
    folder = mouse_s0 / "meta/statistics/images/all"
    assert 0 <= values.min() < values.max() <= 255
    expected = {"mean": values.mean(), "std": values.std(ddof=1), "min": values.min(), "max": values.max()}
    for name, value in {**expected, "median": np.median(values)}.items():
        np.testing.assert_allclose(np.load(folder / f"{name}.npy"), value, rtol=1e-6)


def test_image_shape_dtype_and_progress(tmp_path: Path) -> None:
    started, advanced = list[tuple[str, int, int]](), list[tuple[int, int]]()
    listener = SimpleNamespace(start=lambda *phase: started.append(phase), advance=lambda *n: advanced.append(n))
    folder = write_sample(
        tmp_path,
        mouse="A",
        trials=3,
        neurons=2,
        dtype="float64",
        image_shape=(4, 6),
        progress=listener,
    )
    videos = np.load(folder / "data/videos/0.npy")
    assert (videos.shape, videos.dtype) == ((4, 6, 324), np.float64)
    nbytes = 8 * 324 * (4 * 6 + 2 + 2 + 2)
    assert (started, advanced) == ([("writing", 3 * nbytes, 3)], [(nbytes, 1)] * 3)


@pytest.mark.parametrize("container", ["folder", "zip"])
def test_an_existing_recording_is_left_alone(tmp_path: Path, container: str) -> None:
    path = write_sample(tmp_path, trials=1, neurons=1, container=container)
    before = digests(tmp_path)
    with pytest.raises(FileExistsError):
        write_sample(tmp_path, trials=2, neurons=1, container=container)
    assert digests(tmp_path) == before and path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"mouse": "K"}, "no published mouse", id="mouse"),
        pytest.param({"trial_ids": [1]}, r"no such trials \[1\]", id="gap"),
        pytest.param({"trial_ids": [740]}, r"no such trials \[740\]", id="beyond"),
        pytest.param({"trial_ids": []}, "no trial to write", id="none"),
        pytest.param({"trials": 0}, "no trial to write", id="zero"),
        pytest.param({"trials": 1, "trial_ids": [0]}, "exclude each other", id="both"),
        pytest.param({"neurons": 0}, "at least one", id="neurons"),
        pytest.param({"dtype": "int16"}, "float32 or float64", id="dtype"),
        pytest.param({"dtype": "zz"}, "dtype: expected float32 or float64, found 'zz'", id="no dtype"),
        pytest.param({"mouse": 5}, "mouse: expected letter or name", id="a number for a mouse"),
        pytest.param({"container": "tar"}, "container: expected 'folder' or 'zip', found 'tar'", id="container"),
        pytest.param({"progress": 5}, "progress: expected a listener", id="progress"),
        pytest.param({"seed": 1.5}, "seed: expected a whole number of at least 0, found 1.5", id="seed"),
        pytest.param({"trials": "4"}, "trials: expected a whole number", id="trials"),
        pytest.param({"neurons": "4"}, "neurons: expected a whole number", id="no number of neurons"),
        pytest.param({"image_shape": 5}, "image_shape: expected height and width", id="one side"),
        pytest.param({"image_shape": (0, 4)}, "image_shape: expected a whole number of at least 1", id="no height"),
    ],
)
def test_refusals_write_nothing(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_sample(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()

"""Batches equal those of the field's own loaders, where their packages are installed, and their formulas."""

import collections
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from trialpack.convert.sample import write_sample
from trialpack.readers import (
    Affine,
    ByStatistics,
    Constants,
    DivideByStd,
    FieldNormalization,
    MinMax,
    Mouse,
    Relu,
    ScaleByStd,
    Standardize,
    Transform,
    TrialLoader,
    ViV1TNormalization,
)
from trialpack.store import OptionError

from .mice import Array, edit, trial_ids, trial_path
from .streams import pack

NOT_WITHHELD = {"withheld": False}
SOURCES: dict[str, dict[str, Any]] = {
    "dynamic": {"mouse": "A", "trials": 14, "neurons": 20, "image_shape": (8, 12)},
    "float64": {"mouse": "F", "trials": 30, "neurons": 9, "image_shape": (8, 12)},
    "static": {"mouse": "P1", "trials": 40, "neurons": 12, "image_shape": (16, 24)},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of one, a pixel is constant and the pupil far from zero; published statistics are made of other trials."""
    place = tmp_path_factory.mktemp("sources")
    found = {kind: write_sample(place, **arguments) for kind, arguments in SOURCES.items()}
    for trial in trial_ids(found["float64"]):
        edit(trial_path(found["float64"], "pupil_center", trial), lambda values: values + 262_448.75)
    means = found["float64"] / "meta/statistics/pupil_center/all/mean.npy"
    np.save(means, np.load(means).astype(np.float64) + 262_448.75)
    return found


@pytest.fixture(scope="module")
def mice(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mouse]:
    place = tmp_path_factory.mktemp("stores")
    return {kind: pack(folder, place, statistics=True) for kind, folder in folders.items()}


def load(mouse: Any, **options: Any) -> TrialLoader:
    chosen: dict[str, Any] = {"tier": "train", "batch_size": 4, "output": "numpy", "threads": 2}
    return TrialLoader(mouse, **(chosen | options))


def units_apart(found: Array, expected: Array) -> float:
    """Return how many units in the last place numbers differ at most; NaN where only one is NaN."""
    return float((np.abs(found.astype(np.float64) - expected) / np.spacing(np.abs(expected))).max())


# neuralpredictors


@pytest.fixture
def transforms(monkeypatch: pytest.MonkeyPatch) -> Any:
    # Its release is older than Python 3.10, which took these names away.
    for name in ("Iterable", "Mapping"):
        monkeypatch.setattr(collections, name, getattr(collections.abc, name), raising=False)
    return pytest.importorskip("neuralpredictors.data.transforms", reason="neuralpredictors is not installed")


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "2023": ("dynamic", {}),
    "2023, float64": ("float64", {}),
    "2022": ("static", {}),
    "2022, exclude": ("static", {"exclude": ["images", "behavior"]}),
    "2022, inputs": ("static", {"inputs_mean": 113.25, "inputs_std": 58.0}),
    "2023, inputs": ("dynamic", {"inputs_mean": 113.25, "inputs_std": 58.0, "exclude": ["pupil_center"]}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_field_s_own_normalizer(
    transforms: Any, folders: dict[str, Path], mice: dict[str, Mouse], case: str
) -> None:
    """Bit for bit but for responses and behavior: it multiplies these by a rounded quotient."""
    kind, options = CASES[case]
    stimulus = "images" if kind == "static" else "videos"
    others = ("responses", "behavior", "pupil_center")
    own = {"images": "images", "videos": "inputs"} | {name: name for name in others}

    def cut(values: Array) -> Array:
        return values if kind == "static" else values[..., :300]

    meta = folders[kind] / "meta/statistics"
    known = {
        own[name]: {"all": {one: cut(np.load(meta / name / f"all/{one}.npy")) for one in ("mean", "std")}}
        for name in (stimulus, *others)
    }
    std = known["responses"]["all"]["std"]
    active = std > 0.011 * std.mean()
    data = SimpleNamespace(statistics=known, data_keys=tuple(known), _len=1)
    theirs = transforms.NeuroNormalizer(data, **options)
    point = collections.namedtuple("point", tuple(known))  # noqa: PYI024
    worst = dict.fromkeys((stimulus, *others), 0.0)
    given = {name: one for name, one in options.items() if name != "exclude"}
    exclude = [stimulus if name == "inputs" else name for name in options.get("exclude", ())]
    for batch in load(mice[kind], normalize=FieldNormalization(exclude=exclude, **given)):
        for place, trial in enumerate(batch["trial_id"].tolist()):
            files = {name: cut(np.load(trial_path(folders[kind], name, trial))) for name in worst}
            expected = theirs(point(**{own[name]: values for name, values in files.items()}))
            for name in worst:
                wanted = np.asarray(getattr(expected, own[name])).astype(np.float32)
                wanted = np.moveaxis(wanted, -1, 0)[None] if name == "videos" else wanted
                found = batch[name][place]
                if name == "responses":
                    # The release sums float32 in another order for its threshold than its successor and we do.
                    np.testing.assert_allclose(found[~active], wanted[~active], rtol=1e-6)
                    found, wanted = found[active], wanted[active]
                worst[name] = max(worst[name], units_apart(found, wanted))
    assert max(worst.values()) <= 1 and worst[stimulus] == worst["pupil_center"] == 0, worst


def test_the_field_s_own_scale(transforms: Any, mice: dict[str, Mouse]) -> None:
    """Of 2022: ``scale=.25`` after the normalization; both in float64."""
    scale, mouse = transforms.ScaleInputs(scale=0.25), mice["static"]
    point = collections.namedtuple("point", ["images"])  # noqa: PYI024
    whole = np.concatenate([batch["images"] for batch in load(mouse, normalize="field", dtype="float64")])
    for options in ({"stimulus_size": (4, 6)}, {"stimulus_size": (3, 2), "crop": (12, 8)}):
        found = np.concatenate([batch["images"] for batch in load(mouse, normalize="field", **options)])
        for one, image in zip(found, whole, strict=True):
            part = image if "crop" not in options else image[:, 2:14, 8:16]
            np.testing.assert_allclose(one, scale(point(part)).images, rtol=0, atol=1e-6)
        assert found.shape[2:] == options["stimulus_size"]


# Formulas


def published(folder: Path, name: str, statistic: str) -> Array:
    values = np.load(folder / f"meta/statistics/{name}/all/{statistic}.npy")
    return values.transpose(2, 0, 1) if name == "videos" else values


def test_subtract_behavior_mean(folders: dict[str, Path], mice: dict[str, Mouse]) -> None:
    folder, mouse = folders["dynamic"], mice["dynamic"]
    mean, std = (published(folder, "behavior", one).astype(np.float64) for one in ("mean", "std"))
    for batch in load(mouse, normalize=FieldNormalization(subtract_behavior_mean=True)):
        for found, trial in zip(batch["behavior"], batch["trial_id"].tolist(), strict=True):
            expected = (mouse.trial(trial)["behavior"] - mean[:, :300]) / std[:, :300]
            assert units_apart(found, expected.astype(np.float32)) <= 1


def test_large_offsets_cost_no_digits(mice: dict[str, Mouse]) -> None:
    """A pupil at 262 448.75: in float32, its distance from the mean would be wrong by some percent."""
    mouse, statistics = mice["float64"], mice["float64"].statistics["pupil_center"]["over_trials"]
    for batch in load(mouse, normalize={"pupil_center": Standardize()}):
        for found, trial in zip(batch["pupil_center"], batch["trial_id"].tolist(), strict=True):
            values = mouse.trial(trial)["pupil_center"]
            assert values.dtype == np.float64 and values.min() > 262_000
            with np.errstate(invalid="ignore"):
                expected = (values - statistics.mean[:, :300]) / statistics.std[:, :300]
            assert units_apart(found, expected.astype(np.float32)) <= 1
            single = (values.astype(np.float32) - statistics.mean[:, :300].astype(np.float32)) / statistics.std[:, :300]
            assert np.abs(single - expected).max() > 1e-4


def test_ddof(mice: dict[str, Mouse]) -> None:
    """Train statistics have ddof 0 unless told; the published ones are of ddof 1."""
    mouse = mice["dynamic"]
    statistics = mouse.statistics["behavior"]["over_trials"]
    count = int(statistics.count.max())
    for ddof in (0, 1):
        batch = next(iter(load(mouse, normalize=FieldNormalization(statistics="train", ddof=ddof))))
        trial = mouse.trial(int(batch["trial_id"][0]))
        std = statistics.std[:, :300] * np.sqrt(count / (count - ddof))
        np.testing.assert_allclose(batch["behavior"][0], trial["behavior"] / std, rtol=1e-6)
    with pytest.raises(OptionError, match="published standard deviations cannot have another ddof"):
        FieldNormalization(ddof=1)


@pytest.mark.parametrize(
    ("mode", "of"), [(1, "source"), (1, "train"), (2, "source"), (2, "train"), (3, "train"), (4, "train")]
)
def test_viv1t(folders: dict[str, Path], mice: dict[str, Mouse], mode: int, of: str) -> None:
    """Written from its code; `max_frames` are its own."""
    mouse, folder, eps = mice["dynamic"], folders["dynamic"], np.finfo(np.float32).eps

    def statistic(name: str, what: str, over: str) -> Array:
        if of == "source":
            return published(folder, name, what).astype(np.float64)
        return np.asarray(getattr(mouse.statistics[name][over], what), np.float64)  # type: ignore[index]

    over = "over_trials" if mode in (1, 2) else "over_trials_and_frames"
    loader = load(mouse, normalize=ViV1TNormalization(mode, of), max_frames=300)  # type: ignore[arg-type]
    for batch in loader:
        for place, trial in enumerate(batch["trial_id"].tolist()):
            for name, values in mouse.trial(trial).items():
                low, high, mean, std = (statistic(name, one, over) for one in ("min", "max", "mean", "std"))
                if over != "over_trials" and name != "videos":
                    low, high, mean, std = (one[:, None] for one in (low, high, mean, std))
                elif over == "over_trials":
                    low, high, mean, std = (
                        one[:300] if name == "videos" else one[:, :300] for one in (low, high, mean, std)
                    )
                if name == "responses":
                    scale = statistic(name, "std", "over_trials")[:, :300]
                    expected = values / np.maximum(scale, 0.01 * np.nanmean(scale))
                elif mode == 2 and name == "videos":
                    expected = (values - mean) / (std - mean)
                elif mode in (2, 4):
                    expected = (values - low) / (high - low)
                else:
                    expected = values / std if name == "behavior" else (values - mean) / (std + eps)
                found = batch[name][place]
                np.testing.assert_allclose(found[0] if name == "videos" else found, expected, rtol=3e-7, atol=1e-37)


def test_the_winner_s_relu_constants_and_min_max(mice: dict[str, Mouse]) -> None:
    mouse = mice["float64"]
    constants = {"mean": np.array([[2.0], [3.0]]), "std": 4}
    normalize = {"responses": Relu(), "behavior": Constants(**constants), "pupil_center": MinMax()}
    low, high = np.inf, -np.inf
    for batch in load(mouse, normalize=normalize):
        for place, trial in enumerate(batch["trial_id"].tolist()):
            one = mouse.trial(trial)
            np.testing.assert_array_equal(batch["responses"][place], np.maximum(one["responses"], 0).astype(np.float32))
            expected = (one["behavior"] - constants["mean"]) / 4
            np.testing.assert_array_equal(batch["behavior"][place], expected.astype(np.float32))
            low, high = min(low, batch["pupil_center"][place].min()), max(high, batch["pupil_center"][place].max())
    assert (low, high) == (0, 1)


@dataclass(frozen=True, repr=False)
class Robust(ByStatistics):
    """A class of one's own: by the median, and rectified."""

    factor: float = 2.0

    def affine(self, statistic: Any) -> Affine:
        return Affine(statistic("median"), self.factor * statistic("std"), 0.0)


class Half(Transform):
    def affine(self, statistic: Any) -> Affine:
        return Affine(None, np.array(2.0))


@dataclass(frozen=True, repr=False)
class Nothing(Transform):
    name: str = "mean"

    def affine(self, statistic: Any) -> Any:
        statistic(self.name)


def test_classes_of_one_s_own(mice: dict[str, Mouse]) -> None:
    mouse, over = mice["dynamic"], "trials_and_frames"
    statistics = mouse.statistics["responses"]["over_trials_and_frames"]
    normalize = {"responses": Robust(over, factor=3.0), "behavior": Half()}
    again = pickle.loads(pickle.dumps(normalize))
    for batch, other in zip(load(mouse, normalize=normalize), load(mouse, normalize=again), strict=True):
        one = mouse.trial(int(batch["trial_id"][0]))
        expected = np.maximum((one["responses"] - statistics.median[:, None]) / (3 * statistics.std[:, None]), 0)
        assert units_apart(batch["responses"][0], expected.astype(np.float32)) <= 1
        np.testing.assert_array_equal(batch["behavior"][0], one["behavior"] / 2)
        np.testing.assert_array_equal(batch["responses"], other["responses"])
    assert repr(normalize["responses"]) == "Robust(over='trials_and_frames', factor=3.0)"


def test_presets_and_transforms_are_picklable() -> None:
    every: list[Any] = [
        ScaleByStd(),
        DivideByStd("trials"),
        Standardize(eps=1e-3),
        MinMax(ddof=1),
        Constants(1, 2),
        Relu(),
    ]
    every += [FieldNormalization(["images"], 1.0, 2.0, True), ViV1TNormalization(2)]
    for one in every:
        assert pickle.loads(pickle.dumps(one)) == one


# Back and forth


@pytest.mark.parametrize("kind", SOURCES)
def test_apply_and_inverse(mice: dict[str, Mouse], kind: str) -> None:
    """`apply` makes of recorded values what the batch has, at any first frame; `inverse` makes them again."""
    mouse = mice[kind]
    frames: dict[str, Any] = {} if kind == "static" else {"window": 40, "stride": 2, "shuffle": True}
    neurons = [4, 2, 7]
    normalized = load(mouse, normalize="field", neurons=neurons, **frames)
    recorded = load(mouse, neurons=neurons, dtype="native", **frames)
    for one, other in zip(normalized, recorded, strict=True):
        where: dict[str, Any] = {} if kind == "static" else {"start": one["start"], "stride": 2, "mouse": one.mouse}
        for name, transform in normalized.transforms.items():
            found = transform.apply(other[name].astype(mouse.recording.array(name).numpy_dtype), **where)
            np.testing.assert_array_equal(found.astype(np.float32), one[name], name)
            back = transform.inverse(one[name], **where)
            assert back.dtype == np.float32
            np.testing.assert_allclose(back, other[name], rtol=1e-6, atol=1e-3, err_msg=name)


def test_apply_and_inverse_of_tensors(mice: dict[str, Mouse]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    loader = load(mice["dynamic"], normalize=FieldNormalization(statistics="train"), output="torch", window=50)
    transform = loader.transforms["responses"]
    batch = next(iter(loader))
    predictions = batch["responses"].clone().requires_grad_()
    back = transform.inverse(predictions, start=batch["start"])
    back.sum().backward()
    assert back.dtype == torch.float32 and (predictions.grad > 0).all()
    expected = transform.inverse(batch["responses"].numpy(), start=batch["start"].numpy())
    np.testing.assert_array_equal(back.detach().numpy(), expected)
    assert units_apart(transform.apply(back, start=batch["start"]).detach().numpy(), batch["responses"].numpy()) <= 2
    half = transform.apply(back.detach().bfloat16(), start=batch["start"])
    assert half.dtype == torch.bfloat16 and torch.allclose(half.float(), batch["responses"], rtol=1e-2)


def test_transforms_of_several_mice(mice: dict[str, Mouse]) -> None:
    loader = load([mice["dynamic"], mice["float64"]], normalize="field", max_frames=300)
    one = loader.transforms["behavior"]
    with pytest.raises(OptionError, match="the loader has several mice; give one of"):
        one.apply(np.zeros((2, 300)))
    with pytest.raises(OptionError, match=r"an array of shape \(3, 300\) is none of behavior"):
        one.apply(np.zeros((3, 300)), mouse=mice["dynamic"].name)
    with pytest.raises(OptionError, match="statistics of .* frames, not of frames 290 to 589"):
        one.apply(np.zeros((2, 300)), mouse=mice["dynamic"].name, start=290)
    assert one.apply(np.ones((2, 300)), mouse=mice["float64"].name).shape == (2, 300)


@pytest.mark.parametrize("kind", SOURCES)
def test_a_normalized_trial(mice: dict[str, Mouse], kind: str) -> None:
    mouse = mice[kind]
    batch = next(iter(load(mouse, normalize="field")))
    trial = mouse.trial(int(batch["trial_id"][0]), normalize="field")
    for name, values in trial.items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, batch[name][0, 0] if name == "videos" else batch[name][0], name)
    one = mouse.trial(trial.trial_id, normalize={"behavior": Half()})
    np.testing.assert_array_equal(one["responses"], mouse.trial(trial.trial_id)["responses"])


# Pictures


@pytest.mark.parametrize("cache", ["auto", "none"])
@pytest.mark.parametrize("over", [None, "trials"])
@pytest.mark.parametrize("kind", SOURCES)
def test_sizes(mice: dict[str, Mouse], kind: str, over: Any, cache: Any) -> None:
    """Normalized first, also pixel by pixel; torch interpolates between the same pixels."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    stimulus, size, crop = ("images", (5, 7), (13, 20)) if kind == "static" else ("videos", (3, 5), (7, 10))
    frames: dict[str, Any] = {} if kind == "static" else {"window": 30, "shuffle": True, "channels": ["behavior"]}
    options: dict[str, Any] = {"normalize": {stimulus: Standardize(over)}, "cache": cache, **frames}
    whole, small = load(mice[kind], **options), load(mice[kind], crop=crop, stimulus_size=size, **options)
    cropped = load(mice[kind], crop=crop, **options)
    for _ in range(2):
        for one, other, middle in zip(whole, small, cropped, strict=True):
            pictures = one[stimulus]
            rows, columns = ((n - part) // 2 for n, part in zip(pictures.shape[-2:], crop, strict=True))
            part = np.ascontiguousarray(pictures[..., rows : rows + crop[0], columns : columns + crop[1]])
            np.testing.assert_array_equal(middle[stimulus], part)
            flat = torch.from_numpy(part.reshape(1, -1, *crop)).double()
            expected = torch.nn.functional.interpolate(flat, size=size, mode="bilinear").numpy()
            found = other[stimulus]
            assert found.shape == (*pictures.shape[:-2], *size)
            np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=1e-6)
            np.testing.assert_array_equal(other["responses"], one["responses"])


# Frames


FRAMES: list[tuple[dict[str, Any], set[int]]] = [
    ({}, {250}),
    ({"stride": 3}, {84}),
    ({"window": 40}, {40}),
    ({"window": 16, "stride": 2}, {16}),
]


def test_max_frames_and_skip_frames(mice: dict[str, Mouse]) -> None:
    mouse, trials = mice["dynamic"], NOT_WITHHELD
    for options, lengths in FRAMES:
        for shuffle in (False, True):
            given = options | {"max_frames": 300, "skip_frames": 50, "shuffle": shuffle}
            loader = load(mouse, tier=None, trials=trials, normalize="field", **given)
            plain = load(mouse, tier=None, trials=trials)
            known = dict[int, Array]()
            for batch in plain:
                known |= dict(zip(batch["trial_id"].tolist(), batch["responses"], strict=True))
            stride, starts = options.get("stride", 1), set[int]()
            batches = list(loader)
            assert {batch["responses"].shape[-1] for batch in batches} == lengths and len(batches) == len(loader)
            std = published_responses(mouse)
            for batch in batches:
                starts |= set(batch["start"].tolist())
                length = batch["responses"].shape[-1]
                for found, trial, start in zip(
                    batch["responses"], batch["trial_id"].tolist(), batch["start"], strict=True
                ):
                    frames = start + np.arange(length) * stride
                    assert frames[-1] < 300
                    assert units_apart(found, (known[trial][:, frames] / std[:, frames]).astype(np.float32)) <= 1
            assert min(starts) >= 50 and (50 in starts or shuffle)


def published_responses(mouse: Mouse) -> Array:
    std = np.asarray(mouse["statistics/source/responses/all/std"][:])
    return np.maximum(std, 0.01 * np.nanmean(std)).astype(np.float64)


def test_only_frames_that_are_used_need_statistics(mice: dict[str, Mouse]) -> None:
    mouse, options = mice["dynamic"], {"tier": "final_test_bonus", "trials": NOT_WITHHELD, "normalize": "field"}
    with pytest.raises(OptionError, match=r"statistics of 300 frames, but trials have up to 315 .*max_frames=300"):
        load(mouse, **options)
    assert load(mouse, **options, max_frames=300)
    state = load(mouse, **options, max_frames=300).state_dict()
    with pytest.raises(OptionError, match="the state is of a loader with other"):
        load(mouse, **options, max_frames=299).load_state_dict(state)


# A transform of batches


def test_a_transform_is_run_ahead_in_order(mice: dict[str, Mouse]) -> None:
    """One thread calls it, batch by batch: random numbers are the same for any number of threads."""
    mouse = mice["dynamic"]

    def augmented(threads: int) -> list[Array]:
        rng, seen = np.random.default_rng(0), list[int]()

        def augment(batch: Mapping[str, Any]) -> Mapping[str, Any]:
            seen.append(int(batch["start"][0]))
            return {**batch, "videos": batch["videos"] + rng.normal(size=batch["videos"].shape), "extra": seen[-1]}

        loader = load(mouse, window=30, batch_size=2, shuffle=True, threads=threads, transform=augment)
        batches = iter(loader)
        first = next(batches)
        assert first["extra"] == first["start"][0] and first.mouse == mouse.name and len(first.tier) == 2
        found = [first["videos"], *(batch["videos"] for batch in batches)]
        assert len(found) == len(loader) == len(seen) and loader.stats.transform_seconds > 0
        return found

    plain = [batch["videos"] for batch in load(mouse, window=30, batch_size=2, shuffle=True)]
    one, other = augmented(1), augmented(3)
    for found, again, before in zip(one, other, plain, strict=True):
        np.testing.assert_array_equal(found, again)
        assert found.shape == before.shape and not np.array_equal(found, before)


def test_a_transform_works_while_the_consumer_does(mice: dict[str, Mouse]) -> None:
    seen = list[int]()
    loader = load(mice["dynamic"], batch_size=1, transform=lambda batch: (seen.append(1), batch)[1])
    batches = iter(loader)
    next(batches)
    for _ in range(1000):
        if len(seen) >= 3:
            break
        __import__("time").sleep(0.01)
    assert len(seen) == 3
    batches.close()  # type: ignore[attr-defined]


def test_a_look_and_single_batches_are_transformed(mice: dict[str, Mouse]) -> None:
    loader = load(mice["dynamic"], window=30, transform=lambda batch: {"start": batch["start"] + 1})
    for batch in (loader.peek(), *loader.take([0])):
        assert list(batch) == ["start"] and batch.start.all() and batch.mouse == mice["dynamic"].name


BAD_TRANSFORMS: dict[str, tuple[Any, str]] = {
    "fewer samples": (
        lambda batch: {name: one[:-1] if name == "responses" else one for name, one in batch.items()},
        r"transform: responses has 3 samples \(expected 4\); leave the size of the batch as it is",
    ),
    "nothing": (lambda batch: None, r"transform: it returned NoneType \(expected a batch, or another mapping\)"),
}


@pytest.mark.parametrize("case", BAD_TRANSFORMS)
@pytest.mark.parametrize("output", ["numpy", "torch"])
def test_transforms_that_do_not_fit(mice: dict[str, Mouse], case: str, output: str) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    transform, text = BAD_TRANSFORMS[case]
    with pytest.raises(OptionError, match=text) as raised:
        list(load(mice["dynamic"], transform=transform, output=output))
    assert "\n" not in str(raised.value)


def test_an_error_of_a_transform_comes_through(mice: dict[str, Mouse]) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        list(load(mice["dynamic"], transform=lambda batch: 1 // 0))
    assert re.match(r"while transforming trials \[.*\] of dynamic", raised.value.__notes__[0])


# What is refused

BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "too large": (
        "dynamic",
        {"stimulus_size": (8, 13)},
        r"stimulus_size of 8 x 13 pixels is larger than the 8 x 12 that",
    ),
    "larger than the crop": (
        "static",
        {"stimulus_size": (9, 9), "crop": (8, 9)},
        "larger than the 8 x 9 that there are",
    ),
    "too large a crop": ("static", {"crop": (17, 1)}, r"crop of 17 x 1 pixels is larger than the 16 x 24"),
    "a number": (
        "static",
        {"stimulus_size": 0.25},
        r"stimulus_size: expected a height and a width, such as \(36, 64\)",
    ),
    "three numbers": ("static", {"crop": (1, 2, 3)}, "crop: expected a height and a width"),
    "no pixels": ("static", {"crop": (0, 2)}, "crop: expected a whole number of at least 1, found 0"),
    "no pictures": (
        "static",
        {"crop": (1, 2), "variables": ["responses"]},
        "no pictures to crop or downscale are read",
    ),
    "skipped": ("static", {"skip_frames": 50}, "static trials have no frames; leave out window, stride"),
    "all skipped": (
        "dynamic",
        {"skip_frames": 300, "normalize": "field"},
        "shorter than .* from frame 300",
    ),
    "no frames": ("dynamic", {"max_frames": 0}, "max_frames: expected a whole number of at least 1, found 0"),
    "a fraction": ("dynamic", {"skip_frames": 0.5}, "skip_frames: expected a whole number of at least 0, found 0.5"),
    "no window": (
        "dynamic",
        {"max_frames": 100, "skip_frames": 50, "window": 51},
        "shorter than a window of 51 .*from frame 50 to 100",
    ),
    "no function": ("dynamic", {"transform": "flip"}, "transform: expected a function of a batch"),
    "no affine": ("dynamic", {"normalize": {"behavior": Nothing()}}, "makes None of behavior .expected an Affine"),
    "a statistic": ("dynamic", {"normalize": {"behavior": Nothing("mode")}}, "there is no statistic 'mode'; there are"),
    "a shape": (
        "dynamic",
        {"normalize": {"behavior": Constants(np.ones((3, 1)))}},
        r"makes numbers of shape \(3, 1\)",
    ),
    "no statistic": ("dynamic", {"normalize": {"behavior": Constants(std=0)}}, "no normalization of behavior"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(mice: dict[str, Mouse], case: str) -> None:
    kind, options, text = BAD[case]
    with pytest.raises(OptionError, match=text) as raised:
        load(mice[kind], **options)
    assert "\n" not in str(raised.value)


def test_mice_of_different_sizes(mice: dict[str, Mouse], tmp_path: Path) -> None:
    folder = write_sample(tmp_path, mouse="B", trials=14, neurons=3, image_shape=(6, 12))
    two = [mice["dynamic"], pack(folder, tmp_path / "stores")]
    with pytest.raises(
        OptionError, match=r"8 x 12 pixels, those of .* 6 x 12; choose one size .*stimulus_size=\(6, 12\)"
    ):
        load(two)
    shapes = {batch["videos"].shape[-2:] for batch in load(two, stimulus_size=(6, 12))}
    assert shapes == {(6, 12)}
    assert load(two, variables=["responses"])


PRESETS: dict[str, tuple[Any, str]] = {
    "an unknown name": (
        lambda: FieldNormalization(exclude=["video"]),
        "exclude: expected 'videos' or .*, found 'video'",
    ),
    "half of the inputs": (
        lambda: FieldNormalization(inputs_mean=1.0),
        "one of inputs_mean and inputs_std is given without",
    ),
    "no flag": (
        lambda: FieldNormalization(subtract_behavior_mean="no"),
        "subtract_behavior_mean: expected True or False",
    ),
    "no mode": (lambda: ViV1TNormalization(5), "there is no mode 5; choose 1, 2, 3 or 4"),
    "no statistics of a mode": (lambda: ViV1TNormalization(3, "source"), "no published statistics for mode 3"),
    "no number": (lambda: Constants("x"), "mean: expected a number, or an array of numbers, found 'x'"),
    "a negative ddof": (lambda: Standardize(ddof=-1), "ddof: expected a whole number of at least 0, found -1"),
}


@pytest.mark.parametrize("case", PRESETS)
def test_presets_that_do_not_fit(case: str) -> None:
    make, text = PRESETS[case]
    with pytest.raises(OptionError, match=text):
        make()

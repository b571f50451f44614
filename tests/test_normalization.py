"""Batches are normalized as the field does it, on the host and on a device: compared with its formulas, in numpy."""

import contextlib
import ctypes
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from trialpack.convert.sample import write_sample
from trialpack.readers import (
    DivideByStd,
    FieldNormalization,
    Mouse,
    ScaleByStd,
    Standardize,
    TrialLoader,
)
from trialpack.readers.sampling import BatchPlan
from trialpack.readers.streaming.buffers import BufferPool
from trialpack.readers.streaming.pipeline import Filled
from trialpack.store import OptionError

from .mice import Array, edit, open_store, published_variables, trial_ids, trial_path
from .streams import OTHERS, Recorded, as_numpy, frames_of, least_memory, pack

SOURCES: dict[str, dict[str, Any]] = {
    "dynamic": {"mouse": "A", "trials": 14, "neurons": 20, "image_shape": (4, 6)},
    # So many trials that the mouse runs in one of them at every frame.
    "float64": {"mouse": "F", "trials": 30, "neurons": 9, "image_shape": (4, 6)},
    "static": {"mouse": "P1", "trials": 40, "neurons": 12, "image_shape": (5, 7)},
    "zeros": {"mouse": "S0", "trials": 14, "neurons": 6, "image_shape": (5, 7)},
}
CODEC = {"dynamic": "fast", "float64": "small", "static": "none", "zeros": "fast"}
CUT = {"dynamic": "shared chunks", "float64": "odd chunks", "static": "small shards", "zeros": "as released"}
KINDS = ("dynamic", "float64", "static")
NOT_WITHHELD = {"withheld": False}
EPS = float(np.finfo(np.float32).eps)
SILENT, QUIET = 3, 4
"""Positions of neurons that never fire, and that hardly do: below a hundredth of the mean standard deviation."""
# Of few trials some standard deviations are zero. Whether numpy warns of it is the matter of one test below.
few_trials = pytest.mark.filterwarnings("ignore:(invalid value|divide by zero) encountered:RuntimeWarning")
Change = Callable[[Array, Array], Array]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Their published statistics are of other numbers: they were taken before two neurons fell silent."""
    place = tmp_path_factory.mktemp("sources")
    found = {kind: write_sample(place, **arguments) for kind, arguments in SOURCES.items()}
    for kind in KINDS:
        for trial in trial_ids(found[kind]):
            edit(trial_path(found[kind], "responses", trial), silence)
    return found


def silence(values: Array) -> Array:
    values[SILENT] = np.where(np.isnan(values[SILENT]), np.nan, 0)
    values[QUIET] *= 1e-4
    return values


@pytest.fixture(scope="module")
def packed(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mouse]:
    place = tmp_path_factory.mktemp("stores")
    return {k: pack(folder, place, CUT[k], codec=CODEC[k], statistics=True) for k, folder in folders.items()}


@pytest.fixture(scope="module")
def by_hand(packed: dict[str, Mouse], folders: dict[str, Path]) -> dict[str, "ByHand"]:
    return {kind: ByHand(mouse, folders[kind]) for kind, mouse in packed.items()}


class ByHand(Recorded):
    """What a store holds, and the field's formulas with statistics of numpy."""

    def __init__(self, mouse: Mouse, folder: Path) -> None:
        super().__init__(mouse)
        self.folder, group, self.known = folder, open_store(mouse.path), dict[Any, tuple[Array, Array]]()
        self.values = {name: np.asarray(group[name][:]) for name in self.values}
        train = [row for row, tier in enumerate(self.tiers) if tier == "train"]
        self.train = {name: np.asarray(group[name][:])[train].astype(np.float64) for name in self.values}

    def statistics(self, name: str, over: str | None, of: str) -> tuple[Array, Array]:
        """Return mean and standard deviation with the axes of a trial; those they are taken over are 1.

        Of the train trials float64, ddof 0; of the source as published.
        """
        if (name, over, of) not in self.known:
            self.known[name, over, of] = self._statistics(name, over, of)
        return self.known[name, over, of]

    def _statistics(self, name: str, over: str | None, of: str) -> tuple[Array, Array]:
        over = over or ("trials_and_pixels" if name == "images" else "trials")
        if of == "source":
            found = [np.load(self.folder / f"meta/statistics/{name}/all/{one}.npy") for one in ("mean", "std")]
            if name == "videos":
                found = [one.transpose(2, 0, 1) for one in found]
            return found[0], found[1]
        values = self.train[name]
        axes: tuple[int, ...] = (0,)
        if over == "trials_and_frames":
            axes = (0, 1 if name == "videos" else 2)
        elif over == "trials_and_pixels":
            axes = (0, 1, 2, 3)
        some = ~np.isnan(values).all(axis=axes, keepdims=True)
        filled = np.where(some, values, 0.0)
        mean, std = (reduce(filled, axis=axes, keepdims=True)[0] for reduce in (np.nanmean, np.nanstd))
        return np.where(some[0], mean, np.nan), np.where(some[0], std, np.nan)

    def change(self, name: str, transform: Any, neurons: Any = None) -> Change:
        """Return what makes of a sample what the field's formula says, in float64, and 0 of what does not vary."""
        mean, std = self.statistics(name, transform.over, transform.statistics)
        frame_axis = next(one for one in published_variables(self.kind) if one.name == name).frame_axis

        def change(values: Array, frames: Array) -> Array:
            def part(one: Array) -> Array:
                if frame_axis is not None and one.ndim and one.shape[frame_axis] > 1:
                    one = one.take(frames, frame_axis)
                return one if name != "responses" or neurons is None else one[neurons]

            divisor = part(self.divisor(name, transform)).astype(np.float64)
            shift = part(mean).astype(np.float64) if isinstance(transform, Standardize) else 0
            with np.errstate(all="ignore"):
                changed = (values.astype(np.float64) - shift) / np.where(divisor == 0, np.inf, divisor)
                return changed.astype(np.float32)

        return change

    def divisor(self, name: str, transform: Any) -> Array:
        std = self.statistics(name, transform.over, transform.statistics)[1]
        if isinstance(transform, ScaleByStd):
            return np.maximum(std, 0.01 * np.nanmean(std))
        return std + getattr(transform, "eps", 0)

    def is_refused(self, transforms: Mapping[str, Any], neurons: Any = None) -> bool:
        """Return whether a variable, or a channel of one, does not vary, of the neurons, in the first 300 frames."""
        for name, transform in transforms.items():
            divisor = self.divisor(name, transform)
            axis = next(one for one in published_variables(self.kind) if one.name == name).frame_axis
            if axis is not None and divisor.ndim and divisor.shape[axis] > 1:
                divisor = divisor.take(range(300), axis)
            if name == "responses" and neurons is not None:
                divisor = divisor[neurons]
            separate = divisor if name in ("behavior", "pupil_center") else divisor.reshape(1, -1)
            if not separate.reshape(len(separate), -1).any(axis=1).all():
                return True
        return False

    def assert_normalized(
        self, batch: Mapping[str, Any], transforms: Mapping[str, Any], neurons: Any = None, **options: Any
    ) -> None:
        """Compare with the formulas to one unit in the last place; what has no transform, bit for bit."""
        normalized = {name: self.change(name, one, neurons) for name, one in transforms.items()}
        ids, starts = as_numpy(batch["trial_id"]).tolist(), as_numpy(batch["start"]).tolist()
        frames = frames_of(batch)
        expected = self.batch(ids, starts, frames, neurons=neurons, normalized=normalized, **options)
        for name, values in expected.items():
            found = as_numpy(batch[name])
            assert (found.dtype, found.shape) == (np.float32, values.shape), name
            values = values.astype(np.float32)
            exact = name not in transforms and not (name == self.stimulus and options.get("channels"))
            assert_near(found, values, 0 if exact else 1, name)


def assert_near(found: Array, expected: Array, units: int = 1, name: str = "") -> None:
    """Compare to some units in the last place; NaN are equal."""
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected), name)
    wrong = np.abs(found - expected) > units * np.spacing(np.abs(expected))
    assert not wrong.any(), f"{name}: {found[wrong][:5]} beside {expected[wrong][:5]}"


FIELD = {
    "videos": Standardize(statistics="source"),
    "images": Standardize(statistics="source"),
    "responses": ScaleByStd(statistics="source"),
    "behavior": DivideByStd(statistics="source"),
    "pupil_center": Standardize(statistics="source"),
}
BY_TRAIN = FieldNormalization(statistics="train")


def field_of(by_hand: ByHand) -> dict[str, Any]:
    return {name: one for name, one in FIELD.items() if name in by_hand.values}


def load(mice: Any, **options: Any) -> TrialLoader:
    """Make a loader of trials of any tier that have responses, and statistics of all their frames."""
    trials = NOT_WITHHELD if not isinstance(mice, Mouse) or mice.kind == "static" else NOT_WITHHELD | {"n_frames": 300}
    chosen = {"tier": None, "batch_size": 3, "output": "numpy", "threads": 2, "trials": trials} | options
    return TrialLoader(mice, **chosen)


# The formulas


def test_two_neurons_hardly_vary(by_hand: dict[str, ByHand]) -> None:
    """What these tests rely on: `ScaleByStd` has to use its threshold; the others are above it."""
    for kind in KINDS:
        std = by_hand[kind].statistics("responses", None, "train")[1]
        shown = std if kind == "static" else std[:, :300]
        below = (shown <= 0.01 * np.nanmean(std)).all(axis=tuple(range(1, shown.ndim)))
        assert {SILENT, QUIET} <= set(np.flatnonzero(below).tolist()) != set(range(len(std))), kind
        published = by_hand[kind].statistics("responses", None, "source")[1]
        assert not np.allclose(std, published, equal_nan=True), kind


@few_trials
@pytest.mark.parametrize("cache", ["auto", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_field(packed: dict[str, Mouse], by_hand: dict[str, ByHand], kind: str, cache: Any) -> None:
    """Whole trials; the second epoch is as the first: what is kept is normalized once."""
    loader = load(packed[kind], normalize="field", cache=cache, shuffle=True)
    for _ in range(2):
        for batch in loader:
            by_hand[kind].assert_normalized(batch, field_of(by_hand[kind]))


def test_field_makes_unit_variance(packed: dict[str, Mouse], by_hand: dict[str, ByHand]) -> None:
    """Of train trials together, for each neuron and frame; without a formula, so that none can be wrong twice."""
    for kind in ("dynamic", "static"):
        batches = list(load(packed[kind], normalize=BY_TRAIN, tier="train"))
        names = FIELD.keys() & batches[0].keys()
        stacked = {name: np.concatenate([batch[name] for batch in batches]) for name in names}
        stds = {name: values.std(axis=0) for name, values in stacked.items()}
        std = by_hand[kind].statistics("responses", None, "train")[1]
        active = std > 0.01 * np.nanmean(std)
        active = active if kind == "static" else active[:, :300]
        assert active.any() and not active.all()
        np.testing.assert_allclose(stds["responses"][active], 1, rtol=1e-3)
        assert stds["responses"][~active].max() <= 1 and not stacked["responses"][:, SILENT].any()
        np.testing.assert_allclose(stds["behavior"], 1, rtol=1e-3)
        np.testing.assert_allclose(stacked["pupil_center"].mean(axis=0), 0, atol=1e-4)
        stimulus = stacked["images" if kind == "static" else "videos"]
        assert abs(stimulus.mean()) < 1e-3 and abs(stimulus.std() - 1) < 1e-2


@few_trials
def test_other_tiers_are_normalized_by_the_train_trials(packed: dict[str, Mouse], by_hand: dict[str, ByHand]) -> None:
    one = by_hand["dynamic"]
    for tier in ("oracle", "live_test_main"):
        for batch in load(packed["dynamic"], normalize="field", tier=tier, batch_size=1):
            one.assert_normalized(batch, field_of(one))


def test_trials_that_go_on_longer_than_any_train_trial(packed: dict[str, Mouse], by_hand: dict[str, ByHand]) -> None:
    """There are no statistics of their last frames: refused, rather than NaN; those over frames are of all of them."""
    one, mouse = by_hand["dynamic"], packed["dynamic"]
    assert max(length for length, tier in zip(one.n_frames, one.tiers, strict=True) if tier == "train") == 300
    options: dict[str, Any] = {"tier": "final_test_bonus", "trials": NOT_WITHHELD, "batch_size": 1}
    cases: dict[str, Any] = {
        "{'videos': Standardize(over='trials_and_frames')}": "field",
        "{'behavior': DivideByStd(over='trials_and_frames')}": {"behavior": DivideByStd()},
        "{'responses': ScaleByStd(over='trials_and_frames')}": {"responses": ScaleByStd(statistics="source")},
    }
    for advised, transforms in cases.items():
        for window in (None, 50):
            what = "has statistics of 300 frames, but trials have up to 315 that are used"
            expected = f"{what}; choose a mapping such as {advised}, max_frames=300, "
            with pytest.raises(OptionError, match=re.escape(expected)):
                load(mouse, normalize=transforms, window=window, **options)
    over: Any = "trials_and_frames"
    transforms = {"videos": Standardize(over), "responses": ScaleByStd(over), "behavior": DivideByStd(over)}
    found = set[int]()
    for batch in load(mouse, normalize=transforms, **options):
        one.assert_normalized(batch, transforms)
        found.add(frames_of(batch))
        assert not any(np.isnan(batch[name]).any() for name in transforms)
    assert 315 in found


@few_trials
def test_what_the_field_names_viv1t(packed: dict[str, Mouse], by_hand: dict[str, ByHand]) -> None:
    """Its statistics over trials and frames, and its eps."""
    over: Any = "trials_and_frames"
    transforms = {
        "videos": Standardize(over=over, eps=EPS),
        "responses": ScaleByStd(over=over),
        "behavior": DivideByStd(over=over),
        "pupil_center": Standardize(over, "train", EPS),
    }
    for kind in ("dynamic", "float64"):
        for batch in load(packed[kind], normalize=transforms, window=64, shuffle=True):
            by_hand[kind].assert_normalized(batch, transforms)


def transforms_of(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """Any transforms of some variables, by any statistics that there are."""

    def one(name: str) -> st.SearchStrategy[Any]:
        overs: list[Any] = [None, "trials"] if kind == "static" else [None, "trials", "trials_and_frames"]
        if name == "images":
            overs.append("trials_and_pixels")
        # Published statistics are over trials, of images over pixels, too.
        source = st.just((None, "source"))
        chosen = st.tuples(st.sampled_from(overs), st.just("train")) | source
        classes = st.sampled_from([ScaleByStd, DivideByStd, Standardize, lambda *given: Standardize(*given, EPS)])
        return st.tuples(classes, chosen).map(lambda pair: pair[0](*pair[1]))

    names = ("images" if kind == "static" else "videos", *OTHERS)
    return st.fixed_dictionaries({}, optional={name: one(name) for name in names})


@st.composite
def arguments(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(KINDS))
    found: dict[str, Any] = {
        "kind": kind,
        "normalize": draw(transforms_of(kind)),
        "channels": tuple(draw(st.lists(st.sampled_from(["behavior", "pupil_center"]), unique=True))),
        "neurons": draw(st.none() | st.sets(st.integers(0, 8), min_size=1).map(sorted)),
        "cache": draw(st.sampled_from(["auto", "none"])),
        "order": draw(st.sampled_from(["frames", "neurons"])),
        "shuffle": draw(st.booleans()),
        "batch_size": draw(st.integers(1, 4)),
    }
    if kind != "static":
        found |= {"window": draw(st.none() | st.integers(1, 90)), "stride": draw(st.sampled_from([1, 2, 3]))}
        found["windows"] = "random"  # windows one behind another are thousands
    return found


def options_of(chosen: dict[str, Any]) -> dict[str, Any]:
    return {"neurons": chosen["neurons"], "channels": chosen["channels"], "stride": chosen.get("stride", 1)}


def assert_refused(mouse: Mouse, **options: Any) -> None:
    with pytest.raises(OptionError, match="no normalization of .*what does not vary") as raised:
        load(mouse, **options)
    assert str(raised.value).startswith(f"{mouse.path}: ") and "\n" not in str(raised.value)


@few_trials
@settings(max_examples=40)
@given(arguments())
def test_any_transforms_of_any_samples(
    packed: dict[str, Mouse], by_hand: dict[str, ByHand], chosen: dict[str, Any]
) -> None:
    """Refused just where the formula divides by zero, such as a silent neuron's."""
    kind = chosen.pop("kind")
    if by_hand[kind].is_refused(chosen["normalize"], chosen["neurons"]):
        assert_refused(packed[kind], **chosen)
        return
    loader = load(packed[kind], **chosen)
    for _ in range(2):
        for batch in loader:
            by_hand[kind].assert_normalized(batch, chosen["normalize"], **options_of(chosen))


@pytest.mark.parametrize("name", ["videos", "images"])
def test_one_transform_alone(packed: dict[str, Mouse], by_hand: dict[str, ByHand], name: str) -> None:
    """The other variables are left as they are."""
    kind = "static" if name == "images" else "dynamic"
    for batch in load(packed[kind], normalize={name: Standardize()}):
        by_hand[kind].assert_normalized(batch, {name: Standardize()})


@few_trials
def test_several_mice_have_statistics_of_their_own(packed: dict[str, Mouse], by_hand: dict[str, ByHand]) -> None:
    hands, came = {one.name: one for one in by_hand.values()}, set[str]()
    mice = [packed[kind] for kind in KINDS]
    for batch in load(mice, normalize="field", neurons=[[1, 3], [0], None], tier="train", mixed_kinds=True):
        one = hands[batch.mouse]
        neurons = {"dynamic": [1, 3], "float64": [0], "static": None}
        chosen = next(choice for kind, choice in neurons.items() if by_hand[kind] is one)
        one.assert_normalized(batch, field_of(one), chosen)
        came.add(batch.mouse)
    assert len(came) == 3


def test_more_normalization_than_memory_is_refused_early(packed: dict[str, Mouse]) -> None:
    """Of many mice, before the statistics of all are read."""
    with pytest.raises(
        OptionError, match=r"memory of 1,000 bytes does not suffice: normalization of 1 of 2 mice takes"
    ):
        load([packed["dynamic"]] * 2, tier="train", normalize="field", memory=1000)


def test_variables_that_are_zero_in_all_trials(packed: dict[str, Mouse], by_hand: dict[str, ByHand]) -> None:
    """Behavior and pupil of S0 were withheld: 0 / 0 is NaN in the public loaders. What is advised works."""
    one, mouse = by_hand["zeros"], packed["zeros"]
    assert not one.values["behavior"].any() and not one.values["pupil_center"].any()
    places = "behavior ('pupil dilation', 'derivative of pupil dilation', 'running speed'), pupil_center ('x', 'y')"
    others: dict[str, Any] = {name: FIELD[name] for name in ("images", "responses")}
    with pytest.raises(OptionError, match=re.escape(f"{mouse.path}: no normalization of {places}: ")) as raised:
        load(mouse, normalize="field")
    assert f"choose normalize={others}, " in str(raised.value) and "\n" not in str(raised.value)
    for options in ({"normalize": others}, {"normalize": "field", "variables": ["images", "responses"]}):
        for batch in load(mouse, **options):
            chosen = {name: one for name, one in others.items() if name in batch}
            one.assert_normalized(batch, chosen, variables=options.get("variables"))
    for channel in ("behavior", "pupil_center"):
        assert_refused(mouse, normalize="field", variables=["images"], channels=[channel])


def test_what_does_not_vary(tmp_path: Path) -> None:
    """A channel is refused by its name; neurons, pixels and frames become 0, and come back as what they were."""
    folder = write_sample(tmp_path, mouse="A", trials=14, neurons=6, image_shape=(4, 6))

    def still(name: str, where: Any, value: float) -> None:
        for trial in trial_ids(folder):
            values = np.load(trial_path(folder, name, trial))
            values[where] = np.where(np.isnan(values[where]), np.nan, value)
            np.save(trial_path(folder, name, trial), values)

    still("behavior", 0, 5.0)
    still("pupil_center", (0, 7), 50.0)
    still("videos", (1, 2, slice(0, 10)), 3.0)
    still("responses", 4, 2.0)
    mouse = pack(folder, tmp_path / "stores", statistics=True)
    with pytest.raises(OptionError, match=r"no normalization of behavior \('pupil dilation'\): .*normalize=None"):
        load(mouse, normalize={"behavior": DivideByStd()})
    chosen = {name: Standardize() for name in ("pupil_center", "videos", "responses")}
    loader = load(mouse, normalize=chosen, tier="train", batch_size=2)
    for batch in loader:
        places = {"pupil_center": (0, 7), "videos": (0, slice(0, 10), 1, 2), "responses": 4}
        for name, place in places.items():
            assert not batch[name][(slice(None), *np.index_exp[place])].any(), name
            assert np.isfinite(batch[name]).all() and batch[name].any()
            again = loader.transforms[name].inverse(batch[name])
            np.testing.assert_allclose(again, load_trials(mouse, batch, name), rtol=1e-5, atol=1e-4)
    with pytest.raises(OptionError, match=r"no normalization of responses: the standard deviation is 0"):
        load(mouse, normalize={"responses": Standardize()}, neurons=[4])


def load_trials(mouse: Mouse, batch: Mapping[str, Any], name: str) -> Array:
    """Return the recorded values of whole trials, axes as in a batch."""
    values = np.stack([mouse.trial(trial)[name] for trial in batch["trial_id"].tolist()])
    return values[:, None] if name == "videos" else values


def test_what_varies_beyond_all_numbers(tmp_path: Path) -> None:
    """It is not said to be still; what varies a little is divided by that little."""
    for value, refused in ((np.inf, True), (np.float32(1e-42), False)):
        folder = write_sample(tmp_path / str(value), mouse="P1", trials=6, neurons=3, image_shape=(2, 3))
        for trial in trial_ids(folder):
            path = trial_path(folder, "behavior", trial)
            np.save(path, (np.load(path) * 0 + value * (trial % 3)).astype(np.float32))
        mouse = pack(folder, tmp_path / f"stores {value}", statistics=True)
        if refused:
            with pytest.raises(OptionError, match="none, or infinite; choose normalize=None"):
                load(mouse, normalize={"behavior": DivideByStd()})
            continue
        batches = list(load(mouse, normalize={"behavior": DivideByStd()}, tier="train"))
        np.testing.assert_allclose(np.concatenate([one["behavior"] for one in batches]).std(axis=0), 1, rtol=1e-3)


def test_one_train_trial(tmp_path: Path) -> None:
    """Nothing varies: every variable is named, in one line."""
    folder = write_sample(tmp_path, mouse="P1", trial_ids=[0], neurons=3, image_shape=(2, 3))
    np.save(folder / "meta/trials/tiers.npy", np.array(["train"]))
    mouse = pack(folder, tmp_path / "stores", statistics=True)
    text = r"behavior \(.*\), pupil_center \('x', 'y'\): .*; choose normalize={'images': Standardize\(\)}"
    with pytest.raises(OptionError, match="no normalization of responses, " + text):
        load(mouse, normalize=BY_TRAIN, tier="train")


def test_statistics_that_were_kept_do_not_change(packed: dict[str, Mouse], by_hand: dict[str, ByHand]) -> None:
    """Batches that are changed in place, and mice whose statistics somebody else has open."""
    mouse, one = packed["dynamic"], by_hand["dynamic"]
    before = np.array(mouse.statistics["responses"]["over_trials"].std)
    loader = load(mouse, normalize="field", window=30)
    for _ in range(2):
        for batch in loader:
            one.assert_normalized(batch, field_of(one))
            for name in FIELD.keys() & batch.keys():
                batch[name][...] = -7
    np.testing.assert_array_equal(mouse.statistics["responses"]["over_trials"].std, before)


# What is refused

BAD: dict[str, tuple[str, Any, str]] = {
    "a word": ("dynamic", "zscore", "no normalization is called 'zscore'; give 'field', or a mapping"),
    "no variable": ("dynamic", {"images": Standardize()}, "no variable 'images'"),
    "a number": ("dynamic", {"behavior": 2.0}, "2.0 is no transform of behavior; give 'field', or a mapping"),
    "a function": ("dynamic", {"behavior": abs}, "is no transform of behavior"),
    "a class": ("dynamic", {"behavior": DivideByStd}, "is no transform of behavior"),
    "pixels of videos": (
        "dynamic",
        {"videos": Standardize(over="trials_and_pixels")},
        "videos has no statistics over trials_and_pixels; there are those over trials, trials_and_frames",
    ),
    "frames of images": (
        "static",
        {"images": Standardize(over="trials_and_frames")},
        "images has no statistics over trials_and_frames; there are those over trials, trials_and_pixels",
    ),
    "published over frames": (
        "dynamic",
        {"videos": Standardize(over="trials_and_frames", statistics="source")},
        "videos/all/mean has 3 axes, statistics over trials_and_frames 2; choose another over",
    ),
    "published for each pixel": (
        "static",
        {"images": Standardize(over="trials", statistics="source")},
        "images/all/mean has 0 axes, statistics over trials 3; choose another over",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_normalizations_that_do_not_fit(packed: dict[str, Mouse], case: str) -> None:
    kind, normalize, text = BAD[case]
    with pytest.raises(OptionError, match=text) as raised:
        load(packed[kind], normalize=normalize)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("transform", [Standardize, ScaleByStd, DivideByStd])
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"over": "trial"}, "no over='trial'; choose one of None, 'trials', 'trials_and_frames', 'trials_and_pixels'"),
        ({"statistics": "oracle"}, "no statistics='oracle'; choose one of 'train', 'source'"),
    ],
)
def test_transforms_by_statistics_that_there_never_are(transform: Any, options: dict[str, str], text: str) -> None:
    with pytest.raises(OptionError, match=f"{transform.__name__}: there is {text}"):
        transform(**options)


def test_statistics_that_are_not_there(folders: dict[str, Path], tmp_path: Path) -> None:
    """Of the train trials, in a store that was converted without; and as published, where the source had none."""
    source = write_sample(tmp_path / "source", **SOURCES["dynamic"])
    (source / "meta/statistics/responses/all/std.npy").unlink()
    mouse = pack(source, tmp_path / "stores")
    with pytest.raises(OptionError, match="no train statistics in the store"):
        load(mouse, normalize=BY_TRAIN)
    text = "the source has no statistics/source/responses/all/std; use statistics='train', or another mouse"
    with pytest.raises(OptionError, match=text):
        load(mouse, normalize={"responses": ScaleByStd(statistics="source")})
    assert len(list(load(mouse, normalize={"videos": Standardize(statistics="source")})))


# On a device


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrialLoader]:
    """Make loaders that take the way to a device; the device is the processor."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from trialpack.readers.streaming import tensors

    to_device = tensors.to_device
    monkeypatch.setattr(tensors, "checked_device", lambda device: SimpleNamespace(type="elsewhere"))
    monkeypatch.setattr(tensors, "check_tensors", lambda device, selections: None)
    monkeypatch.setattr(tensors, "has_float64", lambda device: True)
    monkeypatch.setattr(tensors, "to_device", lambda _, selections: to_device(torch.device("cpu"), selections))
    return lambda mice, **options: load(mice, output="torch", **options)


@few_trials
@settings(max_examples=20)
@given(arguments(), st.booleans())
def test_a_device_gives_the_same_batches(
    packed: dict[str, Mouse], by_hand: dict[str, ByHand], chosen: dict[str, Any], field: bool
) -> None:
    """Normalized there, with channels that are made there: bit for bit those of the host, and right."""
    kind = chosen.pop("kind")
    transforms = field_of(by_hand[kind]) if field else chosen["normalize"]
    assume(not by_hand[kind].is_refused(transforms, chosen["neurons"]))
    chosen["normalize"] = "field" if field else chosen["normalize"]
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        host, device = load(packed[kind], **chosen), elsewhere(patch)(packed[kind], **chosen)
        for _ in range(2):
            for one, other in zip(host, device, strict=True):
                assert list(one) == list(other)
                for name, value in one.items():
                    np.testing.assert_array_equal(as_numpy(other[name]), value, name)
                    if chosen["order"] == "neurons" and name in packed[kind].variables:
                        assert other[name].is_contiguous(), name
                by_hand[kind].assert_normalized(other, transforms, **options_of(chosen))


def elsewhere(patch: pytest.MonkeyPatch) -> Callable[..., TrialLoader]:
    return on_device.__wrapped__(patch)  # type: ignore[attr-defined]


def test_a_device_with_several_mice(
    packed: dict[str, Mouse], by_hand: dict[str, ByHand], on_device: Callable[..., TrialLoader]
) -> None:
    hands, came = {one.name: one for one in by_hand.values()}, list[str]()
    mice = [packed["dynamic"], packed["static"]]
    options: dict[str, Any] = {"channels": ["pupil_center"], "normalize": "field", "tier": "train"}
    options["mixed_kinds"] = True
    loader = on_device(mice, **options)
    for batch in loader:
        one = hands[batch.mouse]
        one.assert_normalized(batch, field_of(one), channels=["pupil_center"])
        came.append(batch.mouse)
    assert came == [batch.mouse for batch in load(mice, **options)] and len(came) == len(loader)


def test_a_transform_gets_batches_of_a_device(packed: dict[str, Mouse], on_device: Callable[..., TrialLoader]) -> None:
    """As the device has them, normalized, in the thread that asks for them."""
    threads = set[int]()

    def negative(batch: Mapping[str, Any]) -> Mapping[str, Any]:
        threads.add(threading.get_ident())
        return {**batch, "videos": -batch["videos"]}

    options: dict[str, Any] = {"normalize": "field", "window": 50}
    plain = on_device(packed["dynamic"], **options)
    for one, other in zip(plain, on_device(packed["dynamic"], transform=negative, **options), strict=True):
        np.testing.assert_array_equal(as_numpy(other["videos"]), -as_numpy(one["videos"]))
    assert threads == {threading.get_ident()}


def test_a_device_is_not_sent_channels(
    packed: dict[str, Mouse], by_hand: dict[str, ByHand], on_device: Callable[..., TrialLoader]
) -> None:
    """Slots hold what was recorded: a variable that is a channel only is in no batch, and not repeated on the way."""
    options: dict[str, Any] = {"channels": ["behavior"], "variables": ["videos"], "batch_size": 2, "window": 100}
    batch = next(iter(on_device(packed["dynamic"], **options)))
    assert list(batch)[:1] == ["videos"] and "behavior" not in batch
    assert tuple(batch["videos"].shape) == (2, 3, 100, 4, 6)
    chosen = {"tier": None, "trials": NOT_WITHHELD, "threads": 2, "normalize": None, **options}
    host = least_memory(packed["dynamic"], output="numpy", **chosen)
    device = least_memory(packed["dynamic"], output="torch", device="elsewhere", **chosen)
    assert device < host


def test_batches_of_a_device_stay_valid(
    packed: dict[str, Mouse], by_hand: dict[str, ByHand], on_device: Callable[..., TrialLoader]
) -> None:
    options: dict[str, Any] = {"window": 40, "normalize": "field", "shuffle": True, "cache": "none"}
    chosen = {"tier": "train", "threads": 2, "batch_size": 3}
    least = least_memory(packed["dynamic"], output="torch", device="elsewhere", **chosen, **options)
    loader = on_device(packed["dynamic"], memory=least, **chosen, **options)
    for batch in list(loader) + list(loader):
        by_hand["dynamic"].assert_normalized(batch, field_of(by_hand["dynamic"]))


def test_a_state_of_a_loader_on_a_device(packed: dict[str, Mouse], on_device: Callable[..., TrialLoader]) -> None:
    """Batches that are on their way do not count: those that the consumer got do."""
    options: dict[str, Any] = {"window": 40, "shuffle": True, "batch_size": 1}
    expected = [batch["trial_id"].tolist() for batch in load(packed["dynamic"], **options)]
    loader = on_device(packed["dynamic"], **options)
    iterator = iter(loader)
    came = [next(iterator)["trial_id"].tolist() for _ in range(3)]
    state = loader.state_dict()
    assert state["position"] == 3 and loader.stats.batches == 3
    del iterator
    loader.load_state_dict(state)
    assert came + [batch["trial_id"].tolist() for batch in loader] == expected


# Slots that a device copies from


class FakeEvent:
    """Happens when the test says so, or when it is waited for."""

    def __init__(self) -> None:
        self.happened, self.recorded = False, None

    def record(self, stream: Any) -> None:
        self.recorded = stream

    def query(self) -> bool:
        return self.happened

    def synchronize(self) -> None:
        WORLD.log.append("synchronize")
        self.happened = True


class FakeTensor:
    """A tensor: of the host, with memory; or of a device, without."""

    def __init__(self, memory: Any = None) -> None:
        self.memory, self.streams = memory, list[Any]()

    def to(self, device: Any, non_blocking: bool = False) -> "FakeTensor":
        assert non_blocking and WORLD.inside == "copying"
        return FakeTensor()

    def pin_memory(self) -> "FakeTensor":
        return self

    def record_stream(self, stream: Any) -> None:
        self.streams.append(stream)

    def permute(self, axes: Any) -> "FakeTensor":
        return self


class FakeStream:
    """Of a device."""

    def __init__(self, device: Any = None) -> None:
        self.waited_for = list[FakeEvent]()

    def wait_event(self, event: FakeEvent) -> None:
        self.waited_for.append(event)

    def __enter__(self) -> None:
        WORLD.inside = "copying"

    def __exit__(self, *_: object) -> None:
        WORLD.inside = ""


class World:
    """What the fake device saw, and the slots that came back."""

    def __init__(self) -> None:
        self.log, self.inside, self.events = list[str](), "", list[FakeEvent]()
        self.consumer, self.out, self.most = FakeStream(), 0, 0

    def event(self) -> FakeEvent:
        self.events.append(FakeEvent())
        return self.events[-1]


WORLD = World()


class WatchedRing(BufferPool):
    """Counts slots in use, and when one comes back says whether its copy had happened."""

    def take(self) -> Any:
        WORLD.out += 1
        WORLD.most = max(WORLD.most, WORLD.out)
        slot = super().take()
        weakref.finalize(slot.base, self.came_back)
        return slot

    def came_back(self) -> None:
        WORLD.out -= 1
        WORLD.log.append(f"back {sum(event.happened for event in WORLD.events)}")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module `tensors` with a fake of torch's CUDA."""
    pytest.importorskip("torch", reason="torch is not installed")
    from trialpack.readers.streaming import tensors

    global WORLD
    WORLD = World()
    cuda = SimpleNamespace(
        Stream=FakeStream, Event=WORLD.event, stream=lambda stream: stream, current_stream=lambda _: WORLD.consumer
    )
    monkeypatch.setattr(tensors, "torch", SimpleNamespace(cuda=cuda, from_numpy=FakeTensor))
    yield tensors
    WORLD = World()


CUDA: Any = SimpleNamespace(type="cuda")


def filled_from(ring: BufferPool, number: int = 0) -> Filled:
    plan = BatchPlan(0, np.array([number]), np.array([0]), 3, 1)
    values = ring.take()[:24].view(np.float32).reshape(1, 2, 3)
    stream: Any = SimpleNamespace(
        labels=lambda plan: {"trial_id": plan.rows},
        attributes=lambda plan: {"mouse": "m"},
        mouse=SimpleNamespace(kind="dynamic", recording=SimpleNamespace(stimulus=None)),
        adds_channel_axis=lambda name: False,
        names=("responses",),
        permutation=lambda name: (0, 1, 2),
    )
    return Filled(plan, stream, {"responses": values})


def test_a_slot_is_held_until_its_copy_has_happened(device: Any) -> None:
    ring, copies = WatchedRing(64, 9), device.Copies(CUDA, FakeStream())
    copies.start(filled_from(ring))
    copies.start(filled_from(ring))
    copies.finish()
    assert WORLD.out == 2, "nothing has been copied yet"
    WORLD.events[0].happened = True
    copies.finish()
    assert WORLD.out == 1
    WORLD.events[1].happened = True
    copies.start(filled_from(ring))
    copies.finish()
    assert WORLD.out == 1 and WORLD.log == ["back 1", "back 2"]


def test_the_consumer_waits_on_the_device_for_each_copy(device: Any) -> None:
    """And tells the allocator that its stream uses the memory, too."""
    ring, copies = WatchedRing(64, 9), device.Copies(CUDA, FakeStream())
    for number in range(3):
        copies.start(filled_from(ring, number))
    assert len(copies) == 3
    for number in range(3):
        copy = copies.finish()
        assert copy.plan.rows.tolist() == [number]
        assert WORLD.consumer.waited_for == WORLD.events[: number + 1]
        assert all(tensor.streams == [WORLD.consumer] for tensor in (*copy.tensors.values(), copy.starts))
    assert all(isinstance(event.recorded, FakeStream) for event in WORLD.events)


def test_closing_waits_for_copies_before_it_lets_go_of_slots(device: Any) -> None:
    ring, copies = WatchedRing(64, 9), device.Copies(CUDA, FakeStream())
    for number in range(3):
        copies.start(filled_from(ring, number))
    copies.close()
    assert WORLD.out == 0 and all(event.happened for event in WORLD.events)
    # When a slot came back, its own copy and all before it had happened.
    assert WORLD.log == ["synchronize", "back 1", "synchronize", "back 2", "synchronize", "back 3"]


def selection() -> Any:
    return SimpleNamespace(affines={}, variables=("responses",), channels=(), neurons=None, dtypes={})


def run_through(device: Any, ring: BufferPool, many: int) -> Iterator[Any]:
    def filled() -> Iterator[Filled]:
        for number in range(many):
            yield filled_from(ring, number)

    return device.to_device(CUDA, [selection()])(filled())


def test_few_batches_are_on_their_way(device: Any) -> None:
    """With copies that happen at once: one in the hands of the consumer, and two that were begun."""
    ring = WatchedRing(64, 99)
    for number, (batch, plan) in enumerate(run_through(device, ring, 20)):
        assert plan.rows.tolist() == [number] and batch.mouse == "m"
        for event in WORLD.events:
            event.happened = True
    assert number == 19 and WORLD.out == 0 and WORLD.most <= 4


def test_slow_copies_do_not_take_ever_more_slots(device: Any) -> None:
    """Of a device that is far behind: the bound on memory holds, so somebody has to wait."""
    ring = WatchedRing(64, 99)
    assert sum(1 for _ in run_through(device, ring, 50)) == 50
    assert WORLD.out == 0
    assert WORLD.most <= 6, WORLD.most


@pytest.mark.parametrize("leave", ["close", "drop", "error"])
def test_leaving_early_waits_for_copies(device: Any, leave: str) -> None:
    ring = WatchedRing(64, 99)
    batches: Any = run_through(device, ring, 20)
    next(batches)
    next(batches)
    if leave == "close":
        batches.close()
    elif leave == "error":
        with pytest.raises(ZeroDivisionError):
            batches.throw(ZeroDivisionError)
    del batches
    assert WORLD.out == 0 and all(event.happened for event in WORLD.events)
    backs = [int(one.split()[1]) for one in WORLD.log if one.startswith("back")]
    assert backs == list(range(1, len(backs) + 1)), WORLD.log


class FakeRegistry:
    """CUDA's, of memory that is pinned where it lies."""

    def __init__(self, status: str) -> None:
        self.cudaError, self.status, self.held = SimpleNamespace(success="success"), status, dict[int, int]()

    def cudaHostRegister(self, address: int, nbytes: int, flags: int) -> str:
        if self.status == "success":
            self.held[address] = nbytes
        return self.status

    def cudaHostUnregister(self, address: int) -> None:
        # Of memory that is mapped still, or this ends the process.
        assert ctypes.string_at(address, self.held.pop(address)).startswith(b"slot")


def fake_cuda(monkeypatch: pytest.MonkeyPatch, status: str) -> tuple[Any, FakeRegistry, list[str]]:
    """Return the module `tensors` with memory pinned by a fake, and what was asked of torch instead."""
    pytest.importorskip("torch", reason="torch is not installed")
    from trialpack.readers.streaming import tensors

    registry, asked = FakeRegistry(status), list[str]()

    def ones(*_: Any, device: Any) -> None:
        asked.append(f"forgot on {device}")
        raise RuntimeError("CUDA error: out of memory")

    def empty(nbytes: int, *, pin_memory: bool, **_: Any) -> Any:
        asked.append(f"pinned {nbytes}")
        return SimpleNamespace(numpy=lambda: np.zeros(nbytes * pin_memory, np.uint8))

    cuda = SimpleNamespace(cudart=lambda: registry, device=lambda _: contextlib.nullcontext())
    monkeypatch.setattr(tensors, "torch", SimpleNamespace(cuda=cuda, ones=ones, empty=empty, uint8="uint8"))
    return tensors, registry, asked


def test_no_more_is_pinned_than_a_slot_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the last view of it has died, and not longer."""
    tensors, registry, asked = fake_cuda(monkeypatch, "success")
    slot = tensors.pinned(CUDA, 5 * 4096)
    slot[:4] = list(b"slot")
    view = slot[8:16]
    assert registry.held == {slot.ctypes.data: 5 * 4096} and slot.nbytes == 5 * 4096 and not asked
    del slot
    assert len(registry.held) == 1
    del view
    assert not registry.held


def test_torch_pins_what_cuda_does_not_register(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is nobody else's: it is forgotten first."""
    tensors, registry, asked = fake_cuda(monkeypatch, "out of memory")
    assert tensors.pinned("cuda:1", 5 * 4096).nbytes == 5 * 4096
    assert asked == ["forgot on cuda:1", "pinned 20480"] and not registry.held


def test_slots_of_a_device_are_pinned_once(packed: dict[str, Mouse], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where copies arrive together."""
    pytest.importorskip("torch", reason="torch is not installed")
    from trialpack.readers.streaming import tensors

    made = list[int]()

    def pinned(device: Any, nbytes: int) -> Any:
        made.append(nbytes)
        return np.zeros(nbytes, np.uint8)

    def batches(filled: Any) -> Iterator[Any]:
        copied = list[Filled]()
        for one in filled:
            copied.append(one)
            plan = one.plan
            del one
            if len(copied) == tensors.SLOTS_IN_TRANSFER:
                copied.clear()
            yield {"trial_id": plan.rows}, plan

    monkeypatch.setattr(tensors, "checked_device", lambda device: SimpleNamespace(type="cuda"))
    monkeypatch.setattr(tensors, "check_tensors", lambda device, selections: None)
    monkeypatch.setattr(tensors, "has_float64", lambda device: True)
    monkeypatch.setattr(tensors, "pinned", pinned)
    monkeypatch.setattr(tensors, "to_device", lambda _, selections: batches)
    options: dict[str, Any] = {"output": "torch", "tier": None, "batch_size": 1, "device": "cuda", "cache": "none"}
    options |= {"trials": NOT_WITHHELD, "threads": 1}
    loader = TrialLoader(packed["static"], **options, memory=least_memory(packed["static"], **options))
    for _ in range(3):
        assert sum(1 for _ in loader) == 40
    assert len(made) <= loader._pipeline.budget.ahead + tensors.SLOTS_IN_TRANSFER + 1 < 8

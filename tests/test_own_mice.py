"""A lab's own mice, end to end: from files to a store, to batches, and back, bit for bit."""

import warnings
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.convert import compare_with_source, convert_mouse, export_mouse, plan_mouse
from trialpack.readers import Mouse, Standardize, TrialLoader, open_mouse, train_statistics
from trialpack.store import CorruptStoreError, OptionError, SourceError
from trialpack.store.variables import DTYPES

from .mice import Array, assert_same_bits, assert_same_tree
from .own_mice import file_of, floats, in_file, integers, valid, write_own

FORMATS = ("npy", "zip", "tar", "hdf5")
OPTIONAL = "[variables.eye]\noptional = true\nmissing = 7\n[variables.pose]\noptional = true\n"
LACKING = {("eye", 2), ("pose", 2), ("pose", 5), ("pose", 4)}


KEPT_OR_CAST: tuple[Any, Any] = ("native", "float32")


def length(trial: int) -> int:
    return 34 + 3 * trial


def lab_mouse(place: Path, name: str = "lab7") -> Path:
    """Write a mouse of trials of different lengths, some of which lack a variable."""
    made = {
        "videos": lambda t: integers(3, 6, 8, length(t), seed=t),
        "responses": lambda t: floats(7, length(t), seed=t),
        "treadmill": lambda t: floats(2, length(t), seed=t).astype(">f8"),
        "spikes": lambda t: np.asfortranarray(integers(7, length(t), seed=t, dtype=">i2")),
        "eye": lambda t: integers(4, 5, length(t), seed=t),
        "pose": lambda t: floats(3, 2, length(t), seed=t),
        "lever": lambda t: np.int64(t),
        "depth": lambda t: floats(7, seed=t),
    }
    return write_own(place / name, made, toml=OPTIONAL, lacking=LACKING)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mouse]:
    place = tmp_path_factory.mktemp("lab")
    folder = lab_mouse(place)
    return folder, open_mouse(convert_mouse(folder, place / "stores").store)


def convert(folder: Path, **options: Any) -> Mouse:
    return open_mouse(convert_mouse(folder, folder.parent / "stores", **options).store)


def assert_comes_back(mouse: Mouse, folder: Path, place: Path, formats: Iterable[Any] = FORMATS) -> None:
    """Export in each format: it is the same mouse, and the store of it the same store."""
    for name in formats:
        exported = export_mouse(mouse.path, place / name, format=name).path
        again = open_mouse(convert_mouse(exported, place / name / "again", codec=mouse.index.attributes["codec"]).store)
        assert again.index.manifest.values == mouse.index.manifest.values, name
        assert again.index.manifest.store_id == mouse.index.manifest.store_id, name
        compare_with_source(mouse.path, exported, workers=1)
    assert_same_tree(place / "npy" / folder.name, folder)


def test_a_lab_mouse_comes_back_from_every_format_bit_for_bit(lab: tuple[Path, Mouse], tmp_path: Path):
    folder, mouse = lab
    compare_with_source(mouse.path, folder, workers=2)
    assert_comes_back(mouse, folder, tmp_path)
    exported = tmp_path / "npy" / folder.name
    assert (exported / "trialpack.toml").read_bytes() == (folder / "trialpack.toml").read_bytes()
    assert not file_of(exported, "pose", 5).exists() and np.load(file_of(exported, "eye", 7)).shape == (4, 5, 55)


def test_trials_are_cut_at_their_length_and_missing_ones_are_no_zeros(lab: tuple[Path, Mouse]):
    folder, mouse = lab
    assert mouse.trials["n_frames"].tolist() == [length(t) for t in range(8)]
    for t in range(8):
        trial = mouse.trial(t)
        for name in mouse.variables:
            if (name, t) not in LACKING:
                assert_same_bits(trial[name], in_file(mouse, folder, name, t), f"{name} {t}")
    assert mouse.trial(2)["pose"].shape == (length(2), 3, 2) and np.isnan(mouse.trial(2)["pose"]).all()
    assert (mouse.trial(2)["eye"] == 7).all() and mouse.trial(2)["eye"].dtype == np.uint8
    assert mouse.trials["has_pose"].tolist() == [(("pose", t) not in LACKING) for t in range(8)]
    assert mouse.rows(trials={"has_pose": True, "has_eye": True}).tolist() == [0, 1, 3, 6, 7]


def test_padding_is_nan_of_floats_and_the_missing_value_of_integers(lab: tuple[Path, Mouse]):
    _, mouse = lab
    frames = length(7)
    assert mouse["responses"].shape == (8, 7, frames) and mouse["eye"].shape == (8, frames, 4, 5)
    assert np.isnan(mouse["responses"][0, :, length(0) :]).all()
    assert (mouse["eye"][0, length(0) :] == 7).all() and (mouse["spikes"][0, :, length(0) :] == 0).all()


def test_statistics_leave_out_padding_and_missing_trials(lab: tuple[Path, Mouse]):
    folder, mouse = lab
    train = [t for t in range(8) if t % 4]
    found = train_statistics(mouse)
    for variable in mouse.recording.variables:
        name, axis = variable.name, variable.frame_axis
        given = [valid(mouse, folder, name, t) for t in train if (name, t) not in LACKING]
        if axis is None:
            values, one = np.stack(given), found[name]["over_trials"]
        else:
            joined = np.concatenate([np.moveaxis(each, axis, 0) for each in given])
            values, one = joined, found[name]["over_trials_and_frames"]
        assert one.min.dtype == one.max.dtype == values.dtype, name
        np.testing.assert_array_equal(one.count, np.full(values.shape[1:], len(values)), name)
        np.testing.assert_array_equal(one.min, values.min(0), name)
        np.testing.assert_array_equal(one.max, values.max(0), name)
        np.testing.assert_allclose(one.mean, values.mean(0, dtype=np.float64), 1e-9, 1e-12, err_msg=name)
        np.testing.assert_allclose(one.std, values.std(0, dtype=np.float64), 1e-9, 1e-12, err_msg=name)
        assert_same_bits(one.median, _median(values), name)
        for other in ("min", "median", "std"):
            np.testing.assert_array_equal(
                getattr(mouse.statistics[name]["over_trials"], other), getattr(found[name]["over_trials"], other)
            )


def _median(values: Array) -> Array:
    """Return medians over the first axis: the mean of the middle two, of integers a float64."""
    ordered, n = np.sort(values, 0), len(values)
    low, high = ordered[(n - 1) // 2], ordered[n // 2]
    wide = np.float64 if values.dtype.kind != "f" else values.dtype
    return np.asarray((low.astype(wide) + high.astype(wide)) / 2)


@pytest.mark.parametrize("output", ["numpy", "torch"])
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("cache", ["auto", "none"])
def test_batches_hold_what_the_files_hold(lab: tuple[Path, Mouse], output: Any, window: int | None, cache: Any):
    if output == "torch":
        pytest.importorskip("torch")
    folder, mouse = lab
    channels = ["treadmill"]
    loader = TrialLoader(
        mouse, tier=None, batch_size=3, window=window, output=output, channels=channels, cache=cache, threads=2
    )
    seen = set[int]()
    for batch in loader:
        for place, (trial, start) in enumerate(zip(batch["trial_id"].tolist(), batch["start"].tolist(), strict=True)):
            seen.add(trial)
            stop = start + (window or length(trial))
            for name in mouse.variables:
                expected = _shown(mouse, folder, name, trial, slice(start, stop))
                if name == "videos":
                    speed = _shown(mouse, folder, "treadmill", trial, slice(start, stop))
                    more = np.broadcast_to(speed[..., None, None], (*speed.shape, 6, 8))
                    expected = np.concatenate([expected, more])
                assert_same_bits(np.array(np.asarray(batch[name][place]), order="C"), expected.astype(np.float32), name)
    assert seen == set(range(8))


def _shown(mouse: Mouse, folder: Path, name: str, trial: int, frames: slice) -> Array:
    """Return a sample with the axes of a batch, by hand: pictures channels first, then frames."""
    variable = mouse.recording.variable(name)
    if (name, trial) in LACKING:
        shape = in_file(mouse, folder, name, 7).take(range(frames.stop - frames.start), variable.frame_axis).shape
        values = np.full(shape, {"eye": 7, "pose": np.nan}[name], np.float32)
    else:
        values = in_file(mouse, folder, name, trial)
        if variable.frame_axis is not None:
            values = values.take(range(frames.start, frames.stop), variable.frame_axis)
    order = {"videos": (1, 0, 2, 3), "eye": None, "pose": None}.get(name)
    if order:
        return values.transpose(order)
    return values[None] if name in ("eye", "pose") else values


def test_chosen_neurons_are_chosen_of_every_variable_that_has_them(lab: tuple[Path, Mouse]):
    folder, mouse = lab
    batch = next(iter(TrialLoader(mouse, tier=None, batch_size=1, output="numpy", neurons=[5, 1])))
    for name in ("responses", "spikes", "depth"):
        expected = in_file(mouse, folder, name, 0)[[5, 1]]
        assert_same_bits(np.ascontiguousarray(batch[name][0]), expected.astype(np.float32), name)
        lazy = mouse.dask(name, trials=[0], neurons=[5, 1]).compute()[0]
        assert_same_bits(lazy[..., : length(0)], expected, name)
    labelled = mouse.to_xarray(neurons=[5, 1])
    assert labelled.sizes["neuron"] == 2 and labelled["treadmill"].shape == (8, 2, length(7))
    with pytest.raises(OptionError, match="eye has no neurons"):
        mouse.dask("eye", neurons=[1])


def test_xarray_and_dask_hold_what_the_store_holds(lab: tuple[Path, Mouse]):
    _, mouse = lab
    labelled = mouse.to_xarray()
    for name in mouse.variables:
        stored = np.asarray(mouse[name][:])
        assert_same_bits(labelled[name].values, stored, name)
        assert_same_bits(np.asarray(mouse.dask(name, tier="test").compute()), stored[[0, 4]], name)
    assert labelled["has_eye"].values.tolist() == [t != 2 for t in range(8)]


def any_values(dtype: str, trial: int) -> Array:
    """Return (4, 21) values of any size that a dtype has, in the memory order of even or odd trials."""
    size = 84 * np.dtype(dtype).itemsize
    values = np.frombuffer(np.random.default_rng(trial).bytes(size), "u1" if dtype == "bool" else dtype).reshape(4, 21)
    if dtype == "bool":
        values = values % 2 > 0
    elif np.dtype(dtype).kind == "f":
        values = np.where(np.isfinite(values), values, np.ones(1, dtype))
    return np.asfortranarray(values) if trial % 2 else values


@pytest.mark.filterwarnings("ignore:Numcodecs codecs")
@pytest.mark.parametrize(("codec", "orders"), [("fast", "<>"), ("none", "<"), ("small", ">"), ("pcodec", "<")])
def test_every_dtype_comes_back_bit_for_bit(codec: Any, orders: str, tmp_path: Path):
    names = {"<": "little", ">": "big"}
    made: dict[str, Any] = {
        f"{dtype} {names[order]}": lambda t, dtype=dtype, order=order: any_values(dtype, t).astype(
            np.dtype(dtype).newbyteorder(order)
        )
        for dtype in DTYPES
        for order in orders
    }
    folder = write_own(tmp_path / "lab", made | {"responses": lambda t: floats(5, 21, seed=t)}, range(4))
    mouse = convert(folder, codec=codec)
    compare_with_source(mouse.path, folder, workers=1)
    # What is exported are values, whichever codec kept them.
    assert_comes_back(mouse, folder, tmp_path, FORMATS if codec == "fast" else ["npy"])
    batches = [
        next(iter(TrialLoader(mouse, tier=None, batch_size=4, output="numpy", dtype=dtype))) for dtype in KEPT_OR_CAST
    ]
    for name in made:
        dtype = np.dtype(name.split()[0])
        stored = np.stack([any_values(dtype.name, t) for t in range(4)])
        assert mouse.recording.variable(name).dtype == dtype.name
        assert_same_bits(np.asarray(mouse[name][:]), stored, name)
        assert_same_bits(np.ascontiguousarray(batches[0][name]), stored, name)
        with np.errstate(over="ignore"):
            assert_same_bits(np.ascontiguousarray(batches[1][name]), stored.astype(np.float32), name)


def test_values_that_a_smaller_dtype_cannot_hold_warn_of_nothing(tmp_path: Path):
    made = {"responses": lambda t: floats(2, 9), "x": lambda t: np.full(9, 1e300), "n": lambda t: np.full(9, 2**40)}
    mouse = convert(write_own(tmp_path / "lab", made, range(2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for cache in ("auto", "none"):
            loader = TrialLoader(mouse, tier=None, batch_size=2, output="numpy", cache=cache, dtype="float16")
            batch = next(iter(loader))
            assert np.isposinf(batch["x"]).all() and np.isposinf(batch["n"]).all()


SHAPES: dict[str, tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]] = {
    "only responses": ({"responses": (5, 33)}, {"responses": (5, 33)}),
    "only responses, one value a trial": ({"responses": (5,)}, {"responses": (5,)}),
    "no stimulus": ({"responses": (5, 33), "behavior": (2, 33)}, {"responses": (5, 33), "behavior": (2, 33)}),
    "images and responses in time": (
        {"images": (6, 7), "responses": (5, 33), "lick": (33,)},
        {"images": (1, 6, 7), "responses": (5, 33), "lick": (33,)},
    ),
    "colour images": ({"images": (3, 6, 7), "responses": (5,)}, {"images": (3, 6, 7), "responses": (5,)}),
    "videos and one response a trial": (
        {"videos": (6, 7, 33), "responses": (5,)},
        {"videos": (1, 33, 6, 7), "responses": (5,)},
    ),
    "colour videos": (
        {"videos": (3, 6, 7, 33), "responses": (5, 33)},
        {"videos": (3, 33, 6, 7), "responses": (5, 33)},
    ),
    "pictures beside": (
        {"responses": (5, 33), "face": (6, 7, 33), "map": (6, 7), "scalar": ()},
        {"responses": (5, 33), "face": (1, 33, 6, 7), "map": (1, 6, 7), "scalar": ()},
    ),
}


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("output", ["numpy", "torch"])
def test_shapes_of_batches(case: str, output: Any, tmp_path: Path):
    if output == "torch":
        pytest.importorskip("torch")
    given, shown = SHAPES[case]
    made = {name: lambda t, shape=shape: floats(*shape, seed=t) for name, shape in given.items()}
    folder = write_own(tmp_path / "lab", made)
    mouse = convert(folder)
    compare_with_source(mouse.path, folder, workers=1)
    batch = next(iter(TrialLoader(mouse, tier="train", batch_size=4, output=output)))
    assert {name: tuple(batch[name].shape[1:]) for name in given} == shown
    for name in given:
        values = in_file(mouse, folder, name, int(batch["trial_id"][2]))
        if name == "videos" and values.ndim == 4:  # (frame, channel, height, width) in the store
            values = values.transpose(1, 0, 2, 3)
        assert_same_bits(np.ascontiguousarray(batch[name][2]).reshape(shown[name]), values.reshape(shown[name]), name)


@pytest.mark.parametrize("pictures", [(6, 7), (3, 6, 7)])
@pytest.mark.parametrize("cache", ["auto", "none"])
def test_channels_are_added_to_images(pictures: tuple[int, ...], cache: Any, tmp_path: Path):
    made = {"images": lambda t: floats(*pictures, seed=t), "responses": lambda t: floats(5, seed=t)}
    mouse = convert(write_own(tmp_path / "lab", made | {"behavior": lambda t: floats(2, seed=t)}))
    loader = TrialLoader(mouse, tier=None, batch_size=8, output="numpy", channels="behavior", cache=cache)
    images = next(iter(loader))["images"]
    for t in range(8):
        own = floats(*pictures, seed=t).reshape(-1, 6, 7)
        more = np.broadcast_to(floats(2, seed=t)[:, None, None], (2, 6, 7))
        assert_same_bits(np.ascontiguousarray(images[t]), np.concatenate([own, more]))


def test_mice_of_different_variables_give_batches_of_their_own(lab: tuple[Path, Mouse], tmp_path: Path):
    _, mouse = lab
    made = {"responses": lambda t: floats(3, 40, seed=t), "lick": lambda t: integers(40, seed=t)}
    other = convert(write_own(tmp_path / "lab8", made))
    loader = TrialLoader([mouse, other], tier="train", batch_size=2, output="numpy", window=20)
    names = {batch.mouse: set(batch) & {*mouse.variables, *other.variables} for batch in loader}
    assert names == {"lab7": set(mouse.variables), "lab8": {"responses", "lick"}}
    with pytest.raises(OptionError, match="no variable 'lick'"):
        TrialLoader([mouse, other], tier="train", batch_size=2, variables=["lick"], output="numpy")


def test_dtype_of_a_loader(lab: tuple[Path, Mouse]):
    folder, mouse = lab

    def dtypes(**options: Any) -> dict[str, str]:
        batch = next(iter(TrialLoader(mouse, tier=None, batch_size=1, output="numpy", **options)))
        return {name: batch[name].dtype.name for name in mouse.variables}

    assert set(dtypes().values()) == {"float32"} and set(dtypes(dtype="float64").values()) == {"float64"}
    stored = {variable.name: variable.dtype for variable in mouse.recording.variables}
    assert dtypes(dtype="native") == stored and stored["videos"] == "uint8" and stored["treadmill"] == "float64"
    chosen = dtypes(dtype={"videos": "native", "treadmill": "float16"})
    assert chosen == dict.fromkeys(stored, "float32") | {"videos": "uint8", "treadmill": "float16"}
    batch = next(iter(TrialLoader(mouse, tier=None, batch_size=1, output="numpy", dtype="native")))
    assert_same_bits(np.ascontiguousarray(batch["treadmill"][0]), in_file(mouse, folder, "treadmill", 0))


FIELD = {"videos": Standardize(over="trials_and_frames")}
"""What the field does, but of each pixel over all frames, since six trials are few."""


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"dtype": "int16"},
            "dtype of videos is 'int16'; give one of 'float16', 'bfloat16', 'float32', 'float64', 'native'",
        ),
        ({"dtype": None}, "dtype of videos is None"),
        ({"dtype": {"nose": "float32"}}, "no variable 'nose'"),
        ({"dtype": {"eye": "uint8"}}, "dtype of eye is 'uint8'"),
        ({"dtype": "native", "channels": "treadmill"}, "videos cannot get channels as uint8; choose a float dtype"),
        ({"dtype": "native", "normalize": FIELD}, "videos cannot be normalized as uint8; choose a float dtype"),
    ],
)
def test_a_dtype_that_cannot_be_is_refused(lab: tuple[Path, Mouse], options: dict[str, Any], problem: str):
    _, mouse = lab
    with pytest.raises(OptionError) as raised:
        TrialLoader(mouse, tier=None, batch_size=1, output="numpy", **options)
    assert problem in str(raised.value) and len(str(raised.value).splitlines()) == 1


def test_tensors_have_every_dtype_or_say_so(lab: tuple[Path, Mouse], monkeypatch: pytest.MonkeyPatch):
    torch = pytest.importorskip("torch")
    _, mouse = lab
    batch = next(iter(TrialLoader(mouse, tier=None, batch_size=1, dtype="native")))
    found = {name: str(batch[name].dtype).removeprefix("torch.") for name in mouse.variables}
    assert found == {variable.name: variable.dtype for variable in mouse.recording.variables}

    def lacks(array: Array) -> Any:
        if array.dtype.name == "int16":
            raise TypeError("can't convert np.ndarray of type numpy.int16.\nmore")
        return from_numpy(array)

    from_numpy = torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", lacks)
    with pytest.raises(OptionError, match="tensors on cpu cannot be int16, as spikes would be") as raised:
        TrialLoader(mouse, tier=None, batch_size=1, dtype="native")
    assert len(str(raised.value).splitlines()) == 1


def test_a_file_cut_off_is_named_alone(tmp_path: Path):
    folder = lab_mouse(tmp_path)
    path = file_of(folder, "treadmill", 5)
    np.save(path, np.load(path)[:, :-3])
    with pytest.raises(SourceError) as raised:
        convert(folder)
    assert [problem.member for problem in raised.value.problems] == ["data/treadmill/5.npy"]
    assert "expected shape (2, 49) as in the other trials, found (2, 46)" in str(raised.value)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(SourceError, match=r"data/treadmill/5\.npy: truncated"):
        convert(folder)


def test_verify_sees_other_lengths_and_missing_trials_of_the_source(tmp_path: Path):
    folder = lab_mouse(tmp_path)
    mouse = convert(folder)
    original = {path: path.read_bytes() for path in folder.rglob("4.npy")}
    for name in ("videos", "responses", "treadmill", "spikes", "eye"):
        path = file_of(folder, name, 4)
        np.save(path, np.load(path)[..., :-2])
    with pytest.raises(CorruptStoreError, match="trials/n_file_frames: differs from the source"):
        compare_with_source(mouse.path, folder, workers=1)
    for path, data in original.items():
        path.write_bytes(data)
    compare_with_source(mouse.path, folder, workers=1)
    file_of(folder, "eye", 4).unlink()
    with pytest.raises(CorruptStoreError, match="trials/has_eye: differs from the source"):
        compare_with_source(mouse.path, folder, workers=1)


def test_what_is_nan_beside_the_responses_shortens_no_trial(tmp_path: Path):
    def pupil(trial: int) -> Array:
        values = floats(2, 30, seed=trial)
        values[:, (0 if trial == 1 else 20) :] = np.nan
        return values

    folder = write_own(tmp_path / "lab", {"responses": lambda t: floats(3, 30, seed=t), "pupil": pupil})
    mouse = convert(folder)
    assert mouse.trials["n_frames"].tolist() == [30] * 8
    (warning,) = mouse.index.attributes["warnings"]
    assert warning.startswith("pupil of trial 0 have 20 valid frames, its responses 30 (and 7 more: trial 1, trial 2, ")
    compare_with_source(mouse.path, folder, workers=1)


def test_padding_of_the_source_is_padding_without_a_stimulus_of_floats(tmp_path: Path):
    def padded(trial: int) -> Array:
        values = floats(3, 30, seed=trial)
        values[:, 30 - trial :] = np.nan
        return values

    made = {"responses": padded, "videos": lambda t: integers(4, 5, 30, seed=t), "speed": lambda t: padded(t)[0]}
    mouse = convert(write_own(tmp_path / "lab", made))
    assert mouse.trials["n_frames"].tolist() == [30 - t for t in range(8)]
    for batch in TrialLoader(mouse, tier=None, batch_size=2, window=10, output="numpy"):
        assert not np.isnan(batch["responses"]).any() and not np.isnan(batch["speed"]).any()


def test_a_trial_without_any_frames_is_refused(tmp_path: Path):
    toml = '[variables.eye]\noptional = true\ndimensions = ["side", "frame"]\n'
    made = {"responses": lambda t: floats(3, seed=t), "eye": lambda t: floats(2, 9, seed=t)}
    folder = write_own(tmp_path / "lab", made, toml=toml, lacking={("eye", 3)})
    with pytest.raises(SourceError, match="data/eye: lacks trial 3, as does every variable with frames"):
        convert(folder)


@pytest.mark.parametrize("bound", [0.01, "1%std"])
def test_rounded_values_of_lengths_and_missing_trials(bound: Any, tmp_path: Path):
    folder = lab_mouse(tmp_path)
    mouse = convert(folder, max_error={"pose": bound, "responses": bound, "treadmill": bound})
    compare_with_source(mouse.path, folder, workers=1)
    assert np.isnan(mouse.trial(5)["pose"]).all() and mouse["treadmill"].dtype == np.float32
    train = [t for t in range(8) if t % 4]
    for name in ("responses", "treadmill", "pose"):
        given = {t: in_file(mouse, folder, name, t).astype(np.float64) for t in range(8) if (name, t) not in LACKING}
        axis = mouse.recording.variable(name).frame_axis
        assert axis is not None
        within = np.full(1, 0.01)
        if bound == "1%std":
            values = np.concatenate([given[t] for t in train if t in given], axis)
            # Of pictures over everything, of channels and neurons of each.
            within = 0.01 * values.std(None if name == "pose" else axis, keepdims=True)
        for t, values in given.items():
            assert (np.abs(mouse.trial(t)[name] - values) <= within * (1 + 1e-6)).all(), (name, t)
    exported = export_mouse(mouse.path, tmp_path / "out").path
    compare_with_source(mouse.path, exported, workers=1)


def test_the_precision_float32_narrows_float64_alone(tmp_path: Path):
    folder = lab_mouse(tmp_path)
    mouse = convert(folder, precision="float32")
    found = {variable.name: variable.dtype for variable in mouse.recording.variables}
    assert found["treadmill"] == "float32" and found["spikes"] == "int16" and found["lever"] == "int64"
    expected = np.load(file_of(folder, "treadmill", 3)).astype(np.float32)
    assert_same_bits(mouse.trial(3)["treadmill"], expected)
    compare_with_source(mouse.path, folder, workers=1)


def test_a_published_mouse_that_lacks_something_warns(tmp_path: Path):
    name = "dynamic29156-11-10-Video-8744edeac3b4d1ce16b680916b5267ce"
    made = {"videos": lambda t: floats(4, 5, 30, seed=t), "responses": lambda t: floats(3, 30, seed=t)}
    mouse = convert(write_own(tmp_path / name, made))
    lacking = [f"lacks {one}, which the published mouse has" for one in ("behavior", "pupil_center")]
    assert mouse.letter == "A" and [w for w in mouse.index.attributes["warnings"] if "lacks" in w] == lacking
    assert mouse.recording.variable("videos").frame_rate == 30


def test_hundreds_of_variables_are_no_mistake(tmp_path: Path):
    made = {f"v{n}": (lambda t, n=n: floats(9, seed=n + t)) for n in range(200)}
    folder = write_own(tmp_path / "lab", made | {"responses": lambda t: floats(3, 9, seed=t)}, range(2))
    mouse = convert(folder, statistics=False)
    assert len(mouse.variables) == 201
    assert_same_bits(mouse.trial(1)["v199"], np.load(file_of(folder, "v199", 1)))


def test_lengths_and_missing_trials_are_counted_in_the_memory_of_a_unit(tmp_path: Path):
    def memory(name: str, step: int, toml: str = "", lacking: Collection[tuple[str, int]] = ()) -> int:
        made = {
            "responses": lambda t: floats(50, 300 - step * t, seed=t),
            "eye": lambda t: floats(2, 300 - step * t, seed=t),
        }
        folder = write_own(tmp_path / name, made, range(4), toml=toml, lacking=lacking)
        return plan_mouse(folder, tmp_path / "stores").unit_memory

    equal, trial = memory("equal", 0), 50 * 300 * 4
    assert memory("shorter", 5) == equal + trial
    assert memory("lacking", 0, "[variables.eye]\noptional = true\n", {("eye", 1)}) == equal + trial

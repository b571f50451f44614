"""An opened mouse: every table, array, selection and trial is that of the files that were packed."""

import html
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr
from dask.base import tokenize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import Mouse, open_mice, open_mouse, train_statistics
from trialpack.store import CorruptStoreError, OptionError, StoreFormatError, TrialpackError, UnknownNameError, layout

from .mice import STIMULUS_AXES, Array, assert_same_bits, edit, published_variables, trial_ids, trial_path, trim

KINDS = ("dynamic", "float64", "static")


# Mice with all that may lie beside the trials


def trial_arrays(n: int) -> dict[str, Array]:
    """Arrays of ``meta/trials``, one item a file number, of every dtype that is published or may be."""
    numbers = np.arange(n)
    dates = np.datetime64("2021-06-01T10:00:00.123456789") + 3 * numbers.astype("m8[s]")
    dates[4::5] = "NaT"
    return {
        "when": dates,
        "day": (np.datetime64("2021-06-01") + numbers).astype("M8[D]"),
        "took": (numbers * 7).astype("m8[ms]"),
        "label": np.array([f"é{number:03d}" for number in numbers], "<U5"),
        "code": np.array([b"ab%02d" % number for number in numbers], "S6"),
        "codes": np.array([[b"%d" % number, b"x"] for number in numbers], "S3"),
        "score": np.where(numbers % 4 == 0, np.nan, numbers / 8).astype(np.float32),
        "frame_image_id": numbers % 5 + 3,
        "flag": numbers % 3 == 0,
        "large": np.uint64(2**64 - 1) - numbers.astype(np.uint64),
        "small": (numbers - 9).astype(np.int8),
        "big_endian": (numbers * 1.5).astype(">f8"),
        "xy": np.stack([numbers, -numbers], axis=1) / 3,
        "fortran": np.asfortranarray(np.arange(3 * n).reshape(n, 3)),
        "cube": np.arange(4 * n).reshape(n, 2, 2),
        "words": np.array([[f"a{number}", f"b{number}"] for number in numbers]),
        "deep/inside": numbers * 100,
    }


def neuron_arrays(n: int) -> dict[str, Array]:
    numbers = np.arange(n)
    return {
        "area": np.array(["V1", "LM", "AL"])[numbers % 3],
        "layer": np.array(["L2/3", "L4"])[numbers % 2],
        "unit_ids": (numbers * 3 + 11).astype(np.uint16),
        "depth": 150 + numbers / 2,
        "mask": numbers % 4 == 1,
        "born": (np.datetime64("2020-01-01") + numbers).astype("M8[D]"),
        "tag": np.array([b"n%d" % number for number in numbers]),
        "cell_motor_coordinates": np.stack([numbers, numbers * 2, -numbers], axis=1),
    }


def save_all(folder: Path, arrays: dict[str, Array]) -> None:
    for name, values in arrays.items():
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values)


def enrich(folder: Path) -> Path:
    """Put every kind of array beside the trials, and lists of another length, which are in no table."""
    trim(folder)
    n_numbers = len(np.load(folder / "meta/trials/tiers.npy"))
    n_neurons = len(np.load(trial_path(folder, "responses", 0)))
    save_all(folder / "meta/trials", trial_arrays(n_numbers) | {"of another length": np.arange(n_numbers + 3)})
    save_all(folder / "meta/neurons", neuron_arrays(n_neurons))
    return folder


def pack(folder: Path, to: Path, **options: Any) -> Mouse:
    """Convert a mouse, without statistics in the store, and open it."""
    return open_mouse(convert_mouse(folder, to, statistics=False, verify=False, **options).store)


class Original:
    """The files that a mouse was packed from, loaded with numpy alone."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ids = folder, trial_ids(folder)
        self.variables = sorted(path.name for path in (folder / "data").iterdir())

    def meta(self, name: str) -> Array:
        return np.load(self.folder / f"meta/{name}.npy")

    def trials(self, name: str) -> Array:
        """Return an array of ``meta/trials`` at the numbers that have files."""
        return self.meta(f"trials/{name}")[self.ids]

    def rows(self, variable: str, ids: list[int] | None = None) -> Array:
        """Return (n, …) trials with the axes of the store, padded as published."""
        some = self.ids if ids is None else ids
        values = np.stack([np.load(trial_path(self.folder, variable, trial)) for trial in some])
        axes = STIMULUS_AXES.get(variable)
        return values if axes is None else values.transpose(0, *(axis + 1 for axis in axes))

    def n_frames(self, trial: int) -> int | None:
        """Frames up to the last one of the video that holds a number; None without videos."""
        if "videos" not in self.variables:
            return None
        return int(np.flatnonzero(~np.isnan(self.rows("videos", [trial])[0]).all(axis=(1, 2)))[-1]) + 1

    def is_withheld(self, trial: int) -> bool:
        return not np.nan_to_num(self.rows("responses", [trial])).any()


CUTS = {
    "dynamic": {"SHARD_BYTES": 150_000, "CHUNK_BYTES": 20_000, "JOINT_CHUNKS": 1},
    "float64": {"SHARD_BYTES": 300_000, "CHUNK_BYTES": 1 << 20, "JOINT_CHUNKS": 1},
    "static": {"SHARD_BYTES": 3000, "CHUNK_BYTES": 1200, "JOINT_CHUNKS": 1},
}
"""Several shards of one-trial chunks; several shards of shared chunks; several chunks of several trials to a shard."""


@pytest.fixture(scope="module")
def originals(sample_mice: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Original]:
    place = tmp_path_factory.mktemp("rich")
    folders = {kind: sample_mice[f"{kind}_folder"] for kind in KINDS}
    return {kind: Original(enrich(shutil.copytree(path, place / path.name))) for kind, path in folders.items()}


@pytest.fixture(scope="module")
def packed(originals: dict[str, Original], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mouse]:
    """The mice, opened: not to be written to."""
    place, mice = tmp_path_factory.mktemp("packed"), dict[str, Mouse]()
    for kind, original in originals.items():
        with pytest.MonkeyPatch.context() as patch:
            for name, value in CUTS[kind].items():
                patch.setattr(layout, name, value)
            mice[kind] = pack(original.folder, place)
    return mice


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def opened(kind: str, packed: dict[str, Mouse]) -> Mouse:
    return packed[kind]


@pytest.fixture
def original(kind: str, originals: dict[str, Original]) -> Original:
    return originals[kind]


@pytest.fixture
def dynamic(packed: dict[str, Mouse]) -> Mouse:
    return packed["dynamic"]


@pytest.fixture
def copied(opened: Mouse, tmp_path: Path) -> Path:
    """A copy of the store, to be damaged."""
    return shutil.copytree(opened.path, tmp_path / opened.path.name)


def flip(path: Path, place: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if place is None else place] ^= 0x10
    path.write_bytes(data)


# Opening


def test_what_an_opened_mouse_is(opened: Mouse, original: Original, kind: str) -> None:
    assert opened.name == original.folder.name
    assert opened.letter == {"dynamic": "A", "float64": "F", "static": "S0"}[kind]
    assert opened.kind == ("static" if kind == "static" else "dynamic")
    assert opened.path.name == f"{original.folder.name}.zarr"
    assert sorted(opened.variables) == original.variables
    assert opened.n_neurons == original.rows("responses").shape[1]


def test_the_stores_are_cut_into_several_shards(packed: dict[str, Mouse]) -> None:
    """What the other tests rely on."""
    assert all(array.files > 1 for one in packed.values() for array in one.recording.arrays.values())
    shared = {kind: one.recording.arrays["responses"].chunk[0] for kind, one in packed.items()}
    assert shared["dynamic"] == 1 < min(shared["float64"], shared["static"])


@pytest.mark.parametrize("as_type", [Path, str])
@pytest.mark.parametrize("check", ["quick", "full"])
def test_an_intact_store_opens(opened: Mouse, as_type: Callable[[Path], Any], check: Any) -> None:
    assert open_mouse(as_type(opened.path), check).trials.equals(opened.trials)


def remove(name: str) -> Callable[[Path], object]:
    return lambda store: (store / name).unlink()


def foreign_group(store: Path) -> None:
    shutil.rmtree(store)
    zarr.create_group(store, attributes={"mouse": "me"})


def another_version(store: Path) -> None:
    path = store / "manifest.json"
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps(document | {"trialpack_format": 99}))


def change_metadata(store: Path) -> None:
    path = store / "responses/zarr.json"
    text = path.read_text()
    path.write_text(text.replace('"NaN"', '"NaM"'))
    assert path.read_text() != text


def a_file(store: Path) -> None:
    shutil.rmtree(store)
    store.write_bytes(b"no store")


REFUSED: dict[str, tuple[Callable[[Path], object], type[TrialpackError], str]] = {
    "nothing there": (shutil.rmtree, StoreFormatError, "no such store"),
    "a file": (a_file, StoreFormatError, "not a folder"),
    "an empty folder": (lambda store: (shutil.rmtree(store), store.mkdir()), StoreFormatError, "not a trialpack store"),
    "another Zarr group": (foreign_group, StoreFormatError, "not a trialpack store"),
    "unfinished": (remove("manifest.json"), StoreFormatError, "unfinished"),
    "unknown version": (another_version, StoreFormatError, "format version 99 .*reads 1"),
    "a shard too few": (remove("responses/c.1.0.0"), CorruptStoreError, r"responses/c\.1\.0\.0: missing"),
    "a file too many": (lambda store: (store / "more").touch(), CorruptStoreError, "more: not part of the store"),
    "changed metadata": (change_metadata, CorruptStoreError, "responses/zarr.json: was changed"),
    "changed manifest": (lambda store: flip(store / "manifest.json", -3), CorruptStoreError, "manifest.json"),
    "metadata of the root gone": (remove("zarr.json"), CorruptStoreError, "zarr.json: missing"),
    "tiers gone": (remove("trials/tier/c.0"), CorruptStoreError, r"trials/tier/c\.0: missing"),
}


@pytest.mark.parametrize("kind", ["dynamic"], indirect=True)
@pytest.mark.parametrize("check", ["quick", "full"])
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_an_intact_store_is_refused(copied: Path, case: str, check: Any) -> None:
    change, error, text = REFUSED[case]
    change(copied)
    for attempt in (open_mouse, open_mice):
        with pytest.raises(error, match=text) as raised:
            attempt(copied, check)  # type: ignore[operator]
        assert str(raised.value).startswith(f"{copied}: ")


@pytest.mark.parametrize("kind", ["dynamic", "static"], indirect=True)
def test_only_a_full_check_reads_the_data(copied: Path) -> None:
    for shard in (next(copied.glob("pupil_center/c.0.*")), next(copied.glob("responses/c.1*"))):
        flip(shard)
        open_mouse(copied)
        with pytest.raises(CorruptStoreError, match="checksum differs") as raised:
            open_mouse(copied, check="full")
        assert shard.relative_to(copied).as_posix() in [problem.member for problem in raised.value.problems]


def test_an_unknown_check_is_refused(dynamic: Mouse) -> None:
    with pytest.raises(OptionError, match="check: expected 'quick' or 'full', found 'some'"):
        open_mouse(dynamic.path, check="some")  # type: ignore[arg-type]


def test_a_folder_of_stores(packed: dict[str, Mouse]) -> None:
    """In the order of their names."""
    found = open_mice(packed["dynamic"].path.parent)
    assert [one.path for one in found] == sorted(one.path for one in packed.values())
    assert [one.name for one in open_mice(str(packed["dynamic"].path.parent))] == [one.name for one in found]


def test_a_list_of_stores_keeps_its_order(packed: dict[str, Mouse]) -> None:
    paths = [packed[kind].path for kind in ("static", "dynamic")]
    assert [one.path for one in open_mice(paths)] == paths
    assert [one.path for one in open_mice(tuple(map(str, paths)))] == paths


def test_no_stores_at_all() -> None:
    with pytest.raises(OptionError, match="no stores are given"):
        open_mice([])


def test_a_store_itself(dynamic: Mouse) -> None:
    for path in (dynamic.path, str(dynamic.path), f"{dynamic.path}/"):
        assert [one.name for one in open_mice(path)] == [dynamic.name]


@pytest.mark.parametrize("make", [True, False], ids=["empty", "not there"])
def test_a_folder_without_stores(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "stores"
    if make:
        (folder / "other").mkdir(parents=True)
    with pytest.raises(OptionError, match="no stores|no such folder") as raised:
        open_mice(folder)
    assert str(raised.value).startswith(f"{folder}: ") and "\n" not in str(raised.value)


def test_leftovers_of_conversions_are_no_stores(dynamic: Mouse, tmp_path: Path) -> None:
    shutil.copytree(dynamic.path, tmp_path / dynamic.path.name)
    for name in ("stage", "journal", "lock", "old"):
        (tmp_path / f".{dynamic.path.name}.{name}").mkdir()
    assert [one.name for one in open_mice(tmp_path)] == [dynamic.name]


@pytest.mark.parametrize("check", ["quick", "full"])
def test_all_damaged_stores_are_reported_together(packed: dict[str, Mouse], tmp_path: Path, check: Any) -> None:
    stores = {kind: shutil.copytree(one.path, tmp_path / f"{kind}.zarr") for kind, one in packed.items()}
    (stores["dynamic"] / "responses/c.0.0.0").unlink()
    (stores["static"] / "behavior/c.0.0").write_bytes(b"")
    (stores["static"] / "images/c.0.0.0.0").unlink()
    with pytest.raises(CorruptStoreError) as raised:
        open_mice(tmp_path, check)
    assert {(problem.path, problem.member) for problem in raised.value.problems} == {
        (str(stores["dynamic"]), "responses/c.0.0.0"),
        (str(stores["static"]), "behavior/c.0.0"),
        (str(stores["static"]), "images/c.0.0.0.0"),
    }
    assert len(str(raised.value).splitlines()) == 3


def test_damaged_and_foreign_stores_are_reported_together(dynamic: Mouse, tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    store = shutil.copytree(dynamic.path, tmp_path / "b.zarr")
    (store / "responses/c.0.0.0").unlink()
    with pytest.raises(TrialpackError) as raised:
        open_mice(tmp_path)
    assert [problem.path for problem in raised.value.problems] == [str(tmp_path / "a.zarr"), str(store)]


# Tables


def components(name: str, values: Array) -> dict[str, Array]:
    """Return the columns that an array comes to."""
    if values.ndim == 1:
        return {name: values}
    flat = values.reshape(len(values), -1)
    return {f"{name}_{place}": flat[:, place] for place in range(flat.shape[1])}


def assert_column(found: Any, expected: Array, name: str) -> None:
    """Compare a column of a table with an array of the source: values, and the dtype as far as pandas has it."""
    kind, values = expected.dtype.kind, found.to_numpy()
    if kind in "US":
        assert found.tolist() == expected.tolist(), name
    elif kind in "mM":
        assert values.dtype.kind == kind, name
        np.testing.assert_array_equal(values, expected.astype(values.dtype), name)
        np.testing.assert_array_equal(values.astype(expected.dtype), expected, name)
    else:
        assert values.dtype == expected.dtype.newbyteorder("="), name
        np.testing.assert_array_equal(values, expected, name)


OWN_COLUMNS = {"tier", "n_frames", "withheld", "stimulus_id"}


AS_TEXT = {"frame_trial_ts", "frame_pre_blank_period", "frame_presentation_time"}
"""Published as text; tables have what they stand for: see test_texts.py."""


def test_trials_are_the_arrays_of_the_source(opened: Mouse, original: Original) -> None:
    """Every array with one item a file number, at the numbers that have files."""
    n_numbers = len(original.meta("trials/tiers"))
    paths = sorted((original.folder / "meta/trials").rglob("*.npy"))
    names = [path.relative_to(original.folder / "meta/trials").with_suffix("").as_posix() for path in paths]
    expected = dict[str, Array]()
    for name in names:
        if len(original.meta(f"trials/{name}")) == n_numbers:
            expected |= components(name, original.trials(name))
    assert "of another length" in names and "cube_3" in expected
    assert set(opened.trials.columns) - OWN_COLUMNS == set(expected)
    for name, values in expected.items():
        if opened.kind == "static" and name in AS_TEXT:
            assert opened[f"trials/{name}"][:][original.ids].tolist() == values.tolist()
        else:
            assert_column(opened.trials[name], values, name)


def test_trials_are_what_the_files_are(opened: Mouse, original: Original) -> None:
    table = opened.trials
    assert table.index.name == "trial_id" and table.index.tolist() == original.ids
    assert table["tier"].tolist() == original.trials("tiers").tolist()
    assert table["withheld"].tolist() == [original.is_withheld(trial) for trial in original.ids]
    assert ("n_frames" in table) == ("videos" in original.variables)
    if "n_frames" in table:
        assert table["n_frames"].tolist() == [original.n_frames(trial) for trial in original.ids]


def test_gaps_among_the_numbers(packed: dict[str, Mouse], originals: dict[str, Original]) -> None:
    """What the tests above rely on: the rows of mouse A are not the numbers of its files."""
    ids = originals["dynamic"].ids
    assert ids != list(range(len(ids)))
    by_row = originals["dynamic"].meta("trials/frame_image_id")[: len(ids)]
    assert packed["dynamic"].trials["frame_image_id"].tolist() != by_row.tolist()


def test_neurons_are_the_arrays_of_the_source(opened: Mouse, original: Original) -> None:
    expected = dict[str, Array]()
    for path in sorted((original.folder / "meta/neurons").glob("*.npy")):
        expected |= components(path.stem, np.load(path))
    table = opened.neurons
    assert table.index.name == "position" and table.index.tolist() == list(range(opened.n_neurons))
    assert set(table.columns) == set(expected) and "cell_motor_coordinates_2" in table
    for name, values in expected.items():
        assert_column(table[name], values, name)


def test_a_mouse_without_neuron_metadata(static_folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(static_folder / "meta/neurons")
    found = pack(static_folder, tmp_path / "stores")
    assert found.neurons.index.tolist() == list(range(6)) and found.neurons.columns.tolist() == []
    assert found.positions([5, 2]).tolist() == [5, 2]
    assert found.to_xarray().sizes["neuron"] == 6


def test_a_table_that_was_changed_changes_no_selection(dynamic: Mouse) -> None:
    found, before = open_mouse(dynamic.path), dynamic.rows(tier="train")
    trials, neurons = found.trials, found.neurons
    trials["tier"], neurons["area"] = "nothing", "nowhere"
    assert found.rows(trials={"tier": "train"}).tolist() == before.tolist()
    assert found.positions({"area": "V1"}).size


NAMES = {
    "trial_id": "meta/trials/trial_id.npy",
    "tier": "meta/trials/tier.npy",
    "withheld": "meta/trials/withheld.npy",
    "n_frames": "meta/trials/n_frames.npy",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folder_name", ["dynamic_folder", "static_folder"])
def test_an_array_named_like_a_column_of_trialpack_does_not_replace_it(
    folder_name: str, name: str, fresh: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = fresh(folder_name)
    numbers = len(np.load(folder / "meta/trials/tiers.npy"))
    np.save(folder / NAMES[name], np.arange(numbers) + 1000)
    found, original = pack(folder, tmp_path / "stores"), Original(folder)
    assert found.trials.index.tolist() == original.ids
    assert found.trials["tier"].tolist() == original.trials("tiers").tolist()
    assert found.trials["withheld"].tolist() == [original.is_withheld(trial) for trial in original.ids]
    for trial in original.ids:
        assert found.trial(trial).n_frames == original.n_frames(trial)


@pytest.mark.parametrize("values", [np.arange(6)[::-1] * 10, np.zeros(6)], ids=["numbers", "zeros"])
def test_an_array_of_neurons_named_position_does_not_replace_positions(
    values: Array, static_folder: Path, tmp_path: Path
) -> None:
    np.save(static_folder / "meta/neurons/position.npy", values)
    found = pack(static_folder, tmp_path / "stores")
    assert found.neurons.index.tolist() == list(range(6))
    assert found.positions([0, 4]).tolist() == [0, 4]


def test_arrays_whose_components_have_the_names_of_others(static_folder: Path, tmp_path: Path) -> None:
    """Two arrays, one column of them: nothing may be lost without a word."""
    save_all(static_folder / "meta/neurons", {"xy": np.arange(12).reshape(6, 2), "xy_1": np.arange(6) + 100})
    found = pack(static_folder, tmp_path / "stores").neurons
    columns = [found[name].tolist() for name in found.columns]
    assert [1, 3, 5, 7, 9, 11] in columns and list(range(100, 106)) in columns


# Arrays


def test_arrays_are_those_of_the_source(opened: Mouse, original: Original) -> None:
    for variable in original.variables:
        found = opened[variable]
        assert isinstance(found, zarr.Array)
        assert_same_bits(found[...], original.rows(variable), variable)


def test_small_arrays_of_the_source(opened: Mouse, original: Original) -> None:
    assert opened["trials/trial_id"][...].tolist() == original.ids
    assert opened["trials/label"][...].tolist() == original.meta("trials/label").tolist()
    assert opened["neurons/area"][...].tolist() == original.meta("neurons/area").tolist()
    np.testing.assert_array_equal(opened["trials/xy"][...], original.meta("trials/xy"))


@pytest.mark.parametrize("name", ["nothing", "trials", "", "Responses", "../x", "responses/c.0.0.0"])
def test_an_array_that_is_not_there(dynamic: Mouse, name: str) -> None:
    with pytest.raises(OptionError, match="no array .*there are .*responses") as raised:
        dynamic[name]
    assert str(raised.value).startswith(f"{dynamic.path}: ") and "\n" not in str(raised.value)


def test_names_that_there_are_not_are_refused_alike(dynamic: Mouse) -> None:
    """A mouse, its trials and statistics are mappings, and say which names there are."""
    trial, statistics = dynamic.trial(int(dynamic.trials.index[0])), train_statistics(dynamic)
    for values, label in (
        (dynamic, str(dynamic.path)),
        (trial, f"trial {trial.trial_id}"),
        (statistics, f"statistics of {dynamic.name}"),
    ):
        with pytest.raises(UnknownNameError, match="no (array )?'video'; there are .*responses") as raised:
            values["video"]
        assert str(raised.value).startswith(f"{label}: ") and "\n" not in str(raised.value)
        assert isinstance(raised.value, KeyError) and isinstance(raised.value, OptionError)
        assert "video" not in values and "responses" in values
    assert trial.get("video") is None and statistics.get("video") is None


def test_arrays_cannot_be_written(dynamic: Mouse) -> None:
    with pytest.raises(ValueError, match="read.only"):
        dynamic["responses"][0, 0, 0] = 1


def test_an_array_with_a_flipped_byte_does_not_read(copied: Path) -> None:
    found = open_mouse(copied)
    flip(next(copied.glob("responses/c.1*")))
    with pytest.raises((ValueError, OSError, RuntimeError)):
        found["responses"][...]


@pytest.mark.parametrize("name", ["responses", "trials/trial_id", "trials/withheld"])
def test_a_file_that_went_missing_is_no_numbers(copied: Path, name: str) -> None:
    """zarr-python by itself has NaN there, or zeros."""
    found = open_mouse(copied)
    next(copied.glob(f"{name}/c*")).unlink()
    with pytest.raises(CorruptStoreError, match=f"{name}/c.*missing"):
        found[name][...]


def test_a_mask_from_a_table_in_another_order_is_refused(opened: Mouse) -> None:
    turned = opened.trials.iloc[::-1]
    with pytest.raises(OptionError, match="another order of trial_id"):
        opened.rows(trials=turned.tier == "train")
    assert opened.rows(trials=opened.trials.tier == "train").tolist() == opened.rows(tier="train").tolist()


def test_several_tiers(opened: Mouse) -> None:
    tiers = sorted(set(opened.trials.tier))[:2]
    expected = np.flatnonzero(opened.trials.tier.isin(tiers)).tolist()
    assert opened.rows(tier=tiers).tolist() == expected
    assert opened.rows(trials={"tier": set(tiers)}).tolist() == expected


def test_labels_find_trials_and_channels(dynamic: Mouse) -> None:
    data, trial = dynamic.to_xarray(), int(dynamic.trials.index[-1])
    for found in (data.sel(trial=trial), data.sel(trial_id=trial)):
        np.testing.assert_array_equal(found.responses.to_numpy(), dynamic["responses"][-1])
    speed = data.behavior.sel(behavior_channel="running speed").to_numpy()
    np.testing.assert_array_equal(speed, dynamic["behavior"][:, 1])


# Trials


def test_every_trial_is_that_of_the_source(opened: Mouse, original: Original) -> None:
    """Cut at its valid length, videos with frames first, to the bit."""
    for trial in original.ids:
        found, n_frames = opened.trial(trial), original.n_frames(trial)
        assert (found.trial_id, found.n_frames) == (trial, n_frames)
        assert found.tier == str(original.meta("trials/tiers")[trial])
        assert found.withheld == original.is_withheld(trial)
        assert tuple(found) == opened.variables and len(found) == len(original.variables)
        for variable in original.variables:
            expected = original.rows(variable, [trial])[0]
            if n_frames is not None:
                expected = expected[:n_frames] if variable == "videos" else expected[..., :n_frames]
            assert_same_bits(found[variable], expected, f"{variable} of {trial}")
            assert found[variable].flags.c_contiguous and found[variable].flags.writeable


def test_trials_have_different_lengths(packed: dict[str, Mouse]) -> None:
    """What the test above relies on."""
    for kind in ("dynamic", "float64"):
        lengths = set(packed[kind].trials["n_frames"])
        assert len(lengths) > 1 and min(lengths) < packed[kind]["videos"].shape[1]


@pytest.mark.parametrize("trial", [np.int64(3), np.uint8(3), 3], ids=["int64", "uint8", "int"])
def test_any_integer_is_a_trial_id(dynamic: Mouse, trial: Any) -> None:
    assert dynamic.trial(trial).trial_id == 3 and type(dynamic.trial(trial).trial_id) is int


@pytest.mark.parametrize("trial", [1, -1, 10**6, "3", 3.0, None, [3], True], ids=repr)
def test_a_trial_that_is_not_there(dynamic: Mouse, trial: Any) -> None:
    """Number 1 of mouse A has no files; row 1 has."""
    with pytest.raises(OptionError) as raised:
        dynamic.trial(trial)
    assert str(raised.value).startswith(f"{dynamic.path}: ") and "\n" not in str(raised.value)


@pytest.mark.parametrize("damage", [Path.unlink, flip], ids=["missing", "flipped"])
def test_a_damaged_trial_is_no_trial(copied: Path, original: Original, damage: Callable[[Path], object]) -> None:
    """The trials of other shards can still be read."""
    found = open_mouse(copied)
    array = found.recording.arrays["pupil_center"]
    assert array.shard is not None
    damage(copied / array.shard_path(1))
    hit = [found.recording.trial_ids[row] for row in range(array.shard[0], min(2 * array.shard[0], array.shape[0]))]
    refused = list[int]()
    for trial in original.ids:
        try:
            values = found.trial(trial)["pupil_center"]
        except CorruptStoreError as error:
            assert error.member == array.shard_path(1)
            refused.append(trial)
        else:
            n_frames = original.n_frames(trial)
            assert_same_bits(values, original.rows("pupil_center", [trial])[0][..., :n_frames])
    assert refused and set(refused) <= set(hit)
    assert damage is flip or refused == hit


# Choosing trials


def test_of_a_tier(opened: Mouse, original: Original) -> None:
    tiers = original.trials("tiers")
    for tier in set(tiers.tolist()):
        assert opened.rows(tier=tier).tolist() == np.flatnonzero(tiers == tier).tolist()
        assert opened.rows(trials={"tier": tier}).tolist() == opened.rows(tier=tier).tolist()


def test_everything_is_chosen_by_default(opened: Mouse, original: Original) -> None:
    assert opened.rows().tolist() == list(range(len(original.ids)))
    assert opened.positions().tolist() == list(range(opened.n_neurons))
    assert opened.rows().dtype == opened.positions().dtype == np.int64


Choices = dict[str, tuple[Callable[[Mouse], Any], Callable[[Original], Any]]]

BY_TRIALS: Choices = {
    "a mask": (lambda m: m.trials["flag"].to_numpy(), lambda o: o.trials("flag")),
    "a mask of pandas": (lambda m: m.trials["score"] > 0.3, lambda o: o.trials("score") > 0.3),
    "a list of bool": (lambda m: m.trials["flag"].tolist(), lambda o: o.trials("flag")),
    "a number": (lambda m: {"frame_image_id": 4}, lambda o: o.trials("frame_image_id") == 4),
    "several numbers": (lambda m: {"frame_image_id": [5, 3]}, lambda o: np.isin(o.trials("frame_image_id"), [3, 5])),
    "numbers in an array": (
        lambda m: {"frame_image_id": np.array([5, 3])},
        lambda o: np.isin(o.trials("frame_image_id"), [3, 5]),
    ),
    "text": (lambda m: {"label": "é003"}, lambda o: o.trials("label") == "é003"),
    "texts": (lambda m: {"label": ["é006", "é000"]}, lambda o: np.isin(o.trials("label"), ["é000", "é006"])),
    "bytes": (lambda m: {"code": b"ab03"}, lambda o: o.trials("code") == b"ab03"),
    "bool": (lambda m: {"flag": False}, lambda o: ~o.trials("flag")),
    "a float": (lambda m: {"big_endian": 9.0}, lambda o: o.trials("big_endian") == 9),
    "float32": (lambda m: {"score": [0.375, 0.75]}, lambda o: np.isin(o.ids, [3, 6])),
    "a large number": (lambda m: {"large": 2**64 - 1}, lambda o: np.isin(o.ids, [0])),
    "a negative number": (lambda m: {"small": [-9, -3]}, lambda o: np.isin(o.ids, [0, 6])),
    "a date": (lambda m: {"day": np.datetime64("2021-06-04")}, lambda o: np.isin(o.ids, [3])),
    "dates": (lambda m: {"when": m.trials["when"].iloc[[0, 2]].to_numpy()}, lambda o: np.isin(o.ids, o.ids[:3:2])),
    "a component": (lambda m: {"cube_2": [2, 26]}, lambda o: np.isin(o.ids, [0, 6])),
    "an array in a folder": (lambda m: {"deep/inside": 600}, lambda o: np.isin(o.ids, [6])),
    "trial_id": (lambda m: {"trial_id": [6, 0]}, lambda o: np.isin(o.ids, [0, 6])),
    "withheld": (lambda m: {"withheld": False}, lambda o: [not o.is_withheld(trial) for trial in o.ids]),
    "two columns": (
        lambda m: {"tier": "train", "flag": True},
        lambda o: (o.trials("tiers") == "train") & o.trials("flag"),
    ),
    "no condition": (lambda m: {}, lambda o: np.ones(len(o.ids), bool)),
}


@pytest.mark.parametrize("case", BY_TRIALS)
def test_chosen_trials(opened: Mouse, original: Original, case: str) -> None:
    """By columns and masks: in the order of the store. (Numbers keep their order: `test_selections`.)"""
    choice, expected = BY_TRIALS[case]
    mask = np.asarray(expected(original))
    assert mask.any()
    assert opened.rows(trials=choice(opened)).tolist() == np.flatnonzero(mask).tolist()


def test_chosen_trials_of_a_tier(opened: Mouse, original: Original) -> None:
    expected = (original.trials("tiers") == "train") & original.trials("flag")
    assert opened.rows(tier="train", trials={"flag": True}).tolist() == np.flatnonzero(expected).tolist()


BY_NEURONS: Choices = {
    "a mask": (lambda m: m.neurons["depth"] > 151, lambda o: o.meta("neurons/depth") > 151),
    "an area": (lambda m: {"area": "LM"}, lambda o: o.meta("neurons/area") == "LM"),
    "areas": (lambda m: {"area": ["V1", "AL"]}, lambda o: o.meta("neurons/area") != "LM"),
    "a layer": (lambda m: {"layer": "L2/3"}, lambda o: o.meta("neurons/layer") == "L2/3"),
    "an area and a layer": (
        lambda m: {"area": "V1", "layer": ["L4"]},
        lambda o: (o.meta("neurons/area") == "V1") & (o.meta("neurons/layer") == "L4"),
    ),
    "unit ids": (lambda m: {"unit_ids": [14, 11]}, lambda o: np.isin(o.meta("neurons/unit_ids"), [11, 14])),
    "a tag": (lambda m: {"tag": [b"n3"]}, lambda o: o.meta("neurons/tag") == b"n3"),
    "a coordinate": (
        lambda m: {"cell_motor_coordinates_2": -2},
        lambda o: o.meta("neurons/cell_motor_coordinates")[:, 2] == -2,
    ),
    "position": (lambda m: {"position": [1, 3]}, lambda o: np.isin(o.meta("neurons/unit_ids"), [14, 20])),
    "no condition": (lambda m: {}, lambda o: np.ones(o.rows("responses").shape[1], bool)),
}


@pytest.mark.parametrize("case", BY_NEURONS)
def test_chosen_neurons(opened: Mouse, original: Original, case: str) -> None:
    choice, expected = BY_NEURONS[case]
    mask = np.asarray(expected(original))
    if not mask.any():
        pytest.skip("a mouse of five neurons has none")
    assert opened.positions(choice(opened)).tolist() == np.flatnonzero(mask).tolist()


NOT_TRIALS: dict[str, tuple[dict[str, Any], str]] = {
    "tier": ({"tier": "validate"}, r"no trials of tier 'validate'; there are .*train \("),
    "column": ({"trials": {"colour": 1}}, "no column 'colour'; choose by one of .*frame_image_id"),
    "a whole array": ({"trials": {"xy": 1.0}}, "no column 'xy'"),
    "value": ({"trials": {"frame_image_id": 99}}, "no frame_image_id is 99; there are 3, 4, 5, 6, 7"),
    "one value of two": ({"trials": {"frame_image_id": [3, 99]}}, "no frame_image_id is 99"),
    "text for numbers": ({"trials": {"frame_image_id": "3"}}, "no frame_image_id is .3.; there are 3, 4"),
    "a number for text": ({"trials": {"label": 3}}, "no label is 3"),
    "part of a text": ({"trials": {"label": "é"}}, "no label is .é."),
    "text for dates": ({"trials": {"when": "yesterday"}}, "no when is .yesterday.; there are .2021-06-01"),
    "no value": ({"trials": {"tier": []}}, "nothing is selected"),
    "None": ({"trials": {"tier": None}}, "no tier is None"),
    "NaN": ({"trials": {"score": float("nan")}}, "no score is nan"),
    "values that no trial has at once": ({"trials": {"trial_id": 0, "frame_image_id": 4}}, "nothing is selected"),
    "number": ({"trials": [0, 1]}, "no trial_id 1; there are 12, from 0 to 18"),
    "negative number": ({"trials": [-1]}, "no trial_id -1"),
    "floats": ({"trials": [0.0, 3.0]}, "expected numbers"),
    "text": ({"trials": ["0"]}, "expected numbers"),
    "a bare text": ({"trials": "train"}, "expected numbers"),
    "two axes": ({"trials": [[0, 3]]}, "expected numbers"),
    "nothing": ({"trials": []}, "nothing is selected"),
    "mask of False": ({"trials": np.zeros(12, bool)}, "nothing is selected by the mask"),
    "mask of another length": ({"trials": np.ones(13, bool)}, r"a mask of shape \(13,\) does not fit"),
    "trials of another tier": ({"tier": "oracle", "trials": [0]}, "none of the chosen trials is of tier 'oracle'"),
}


@pytest.mark.parametrize("case", NOT_TRIALS)
def test_refused_choices_of_trials(dynamic: Mouse, case: str) -> None:
    options, text = NOT_TRIALS[case]
    for attempt in (dynamic.rows, dynamic.to_xarray, lambda **options: dynamic.dask("responses", **options)):
        with pytest.raises(OptionError, match=text) as raised:
            attempt(**options)
        assert str(raised.value).startswith(f"{dynamic.path}: ") and "\n" not in str(raised.value)


NOT_NEURONS: dict[str, tuple[Any, str]] = {
    "column": ({"region": "V1"}, "no column 'region'; choose by one of .*area"),
    "value": ({"area": "V7"}, "no area is .V7.; there are .AL., .LM., .V1."),
    "unit": ({"unit_ids": [11, 12]}, "no unit_ids is 12"),
    "a number that the dtype cannot have": ({"unit_ids": 70_000}, "no unit_ids is 70000"),
    "position": ([0, 20], "no position 20; there are 20, from 0 to 19"),
    "from beyond the end": ([-21], "no position -21; there are 20, from 0 to 19"),
    "nothing": ([], "nothing is selected"),
    "mask of False": (np.zeros(20, bool), "nothing is selected"),
    "mask of another length": ([True, False], "a mask of shape"),
}


@pytest.mark.parametrize("case", NOT_NEURONS)
def test_refused_choices_of_neurons(dynamic: Mouse, case: str) -> None:
    choice, text = NOT_NEURONS[case]
    for attempt in (dynamic.positions, lambda neurons: dynamic.dask("responses", neurons=neurons)):
        with pytest.raises(OptionError, match=text) as raised:
            attempt(choice)
        assert str(raised.value).startswith(f"{dynamic.path}: ") and "\n" not in str(raised.value)


def test_what_has_no_neurons_cannot_be_chosen_by_them(dynamic: Mouse) -> None:
    with pytest.raises(OptionError, match="videos has no neurons"):
        dynamic.dask("videos", neurons=[0])
    with pytest.raises(OptionError, match="no variable 'smell'; there are videos, responses"):
        dynamic.dask("smell")


# Dask


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_dask_arrays_are_rows_of_the_source(
    packed: dict[str, Mouse], originals: dict[str, Original], data: st.DataObject
) -> None:
    """Any trials, any neurons, any size of blocks."""
    kind = data.draw(st.sampled_from(KINDS))
    opened, original = packed[kind], originals[kind]
    variable = data.draw(st.sampled_from(original.variables))
    ids = data.draw(st.none() | st.lists(st.sampled_from(original.ids), min_size=1))
    neurons = data.draw(st.none() | st.lists(st.integers(0, opened.n_neurons - 1), min_size=1))
    neurons = neurons if variable == "responses" else None
    with mock.patch("trialpack.readers.rows.BLOCK_BYTES", data.draw(st.sampled_from([1, 3000, 100_000, 1 << 30]))):
        found = opened.dask(variable, trials=ids, neurons=neurons)
    expected = original.rows(variable, ids)
    if neurons is not None:
        expected = expected[:, neurons]
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    assert sum(found.chunks[0]) == len(expected) and found.chunks[1:] == tuple((size,) for size in expected.shape[1:])
    with dask.config.set(scheduler="synchronous"):
        assert_same_bits(found.compute(), expected)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_schedulers_agree(opened: Mouse, original: Original, scheduler: str) -> None:
    with mock.patch("trialpack.readers.rows.BLOCK_BYTES", 1):
        for variable in original.variables:
            found = opened.dask(variable)
            assert found.numblocks[0] > 1
            assert_same_bits(found.compute(scheduler=scheduler), original.rows(variable))


def test_parts_and_sums_of_dask_arrays(opened: Mouse, original: Original) -> None:
    """What dask does with blocks: slices, rechunking, reductions."""
    with mock.patch("trialpack.readers.rows.BLOCK_BYTES", 1):
        found, expected = opened.dask("responses"), original.rows("responses")
    with dask.config.set(scheduler="synchronous"):
        assert_same_bits(found[2:5, ::2].compute(), expected[2:5, ::2])
        assert_same_bits(found.rechunk((3, 2, *expected.shape[2:])).compute(), expected)
        np.testing.assert_allclose(da.nansum(found, axis=0).compute(), np.nansum(expected, axis=0), rtol=1e-4)


@pytest.mark.parametrize("block", [1, 30_000, 100_000])
def test_blocks_are_whole_stored_chunks(opened: Mouse, original: Original, block: int) -> None:
    """No chunk is decoded twice."""
    with mock.patch("trialpack.readers.rows.BLOCK_BYTES", block):
        for variable in original.variables:
            found, array = opened.dask(variable), opened.recording.arrays[variable]
            ends = np.cumsum(found.chunks[0])[:-1]
            assert not (ends % array.chunk[0]).any()
            # The last trials that fit bring those along that share their chunk.
            assert max(found.chunks[0]) * array.trial_nbytes <= block + array.chunk[0] * array.trial_nbytes


def test_blocks_of_chosen_trials_share_no_chunk(packed: dict[str, Mouse]) -> None:
    opened = packed["static"]
    array, rows = opened.recording.arrays["images"], opened.rows(tier="train")
    assert array.chunk[0] == 2
    with mock.patch("trialpack.readers.rows.BLOCK_BYTES", 1):
        found = opened.dask("images", tier="train")
    blocks = np.split(rows // 2, np.cumsum(found.chunks[0])[:-1])
    assert [len(set(block.tolist())) for block in blocks] == [1] * len(blocks)
    assert len(blocks) == len(set((rows // 2).tolist()))


def test_nothing_is_read_before_it_is_asked_for(dynamic: Mouse, tmp_path: Path) -> None:
    """And of what is asked for, only the shards that hold it."""
    opened = open_mouse(shutil.copytree(dynamic.path, tmp_path / "copy.zarr"))
    array = opened.recording.arrays["responses"]
    assert array.shard is not None
    for number in range(1, array.files):
        (opened.path / array.shard_path(number)).unlink()
    with mock.patch("trialpack.readers.rows.BLOCK_BYTES", 1):
        found = opened.dask("responses")
    assert_same_bits(found[: array.shard[0]].compute(), dynamic["responses"][: array.shard[0]])


def test_equal_selections_have_equal_names(dynamic: Mouse) -> None:
    """However they are expressed: dask computes them once."""
    train = dynamic.trials.index[dynamic.trials["tier"] == "train"]
    mask = (dynamic.trials["tier"] == "train").to_numpy()
    again = open_mouse(dynamic.path)
    arrays = [
        dynamic.dask("responses", tier="train"),
        dynamic.dask("responses", trials={"tier": "train"}),
        dynamic.dask("responses", trials=train),
        dynamic.dask("responses", trials=mask),
        again.dask("responses", tier="train"),
    ]
    assert len({array.name for array in arrays}) == 1
    assert len({tokenize(array) for array in arrays}) == 1


def test_different_selections_have_different_names(packed: dict[str, Mouse], tmp_path: Path) -> None:
    opened = packed["dynamic"]
    copy = open_mouse(shutil.copytree(opened.path, tmp_path / "copy.zarr"))
    arrays = [
        *(opened.dask(variable) for variable in opened.variables),
        opened.dask("responses", tier="train"),
        opened.dask("responses", tier="oracle"),
        opened.dask("responses", trials=[0]),
        opened.dask("responses", trials=[3]),
        opened.dask("responses", trials=[3, 0]),
        opened.dask("responses", trials=[3, 0, 3]),
        opened.dask("responses", neurons=[2, 1]),
        opened.dask("responses", neurons=[1, 2]),
        opened.dask("responses", neurons=[0]),
        opened.dask("responses", neurons=[1]),
        opened.dask("responses", trials=[0], neurons=[0]),
        opened.dask("responses", trials=[0, 3], neurons=[0]),
        packed["static"].dask("responses"),
        packed["static"].dask("behavior"),
        copy.dask("responses"),
    ]
    assert len({array.name for array in arrays}) == len(arrays)


def test_another_store_in_the_same_place_has_other_names(static_folder: Path, tmp_path: Path) -> None:
    before = pack(static_folder, tmp_path).dask("responses")
    edit(trial_path(static_folder, "responses", 0), lambda values: values + 1)
    after = pack(static_folder, tmp_path, replace=True).dask("responses")
    assert before.name != after.name


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize("damage", [Path.unlink, flip], ids=["missing", "flipped"])
def test_a_damaged_shard_computes_to_no_numbers(copied: Path, damage: Callable[[Path], object], scheduler: str) -> None:
    opened = open_mouse(copied)
    for variable in opened.variables:
        lazy = opened.dask(variable)
        shard = next(copied.glob(f"{variable}/c.1*"))
        damage(shard)
        with pytest.raises(CorruptStoreError) as raised:
            lazy.compute(scheduler=scheduler)
        assert raised.value.member == shard.relative_to(copied).as_posix()
        assert raised.value.path == str(copied)


# xarray


def test_a_data_set_has_the_values_of_the_source(opened: Mouse, original: Original) -> None:
    found = opened.to_xarray()
    assert set(found.data_vars) == set(original.variables)
    for variable in original.variables:
        assert isinstance(found[variable].data, da.Array)
        assert_same_bits(found[variable].compute(scheduler="synchronous").to_numpy(), original.rows(variable))


def test_a_data_set_is_lazy(opened: Mouse) -> None:
    with mock.patch("trialpack.readers.rows.read_rows", side_effect=AssertionError("read")):
        found = opened.to_xarray(tier="train", neurons=[0, 2])
        assert repr(found) and found.isel(trial=0)["responses"].size
        with pytest.raises(AssertionError, match="read"):
            found["responses"].compute(scheduler="synchronous")


def test_dimensions_units_and_facts(opened: Mouse, kind: str) -> None:
    found = opened.to_xarray()
    expected = {variable.name: variable for variable in published_variables(opened.kind)}
    for name, variable in expected.items():
        assert found[name].dims == ("trial", *variable.dimensions)
        assert found[name].attrs == {"units": variable.units, "long_name": variable.long_name}
    assert found.attrs["mouse"] == opened.name and found.attrs["letter"] == opened.letter
    assert found.attrs["kind"] == opened.kind and found.attrs["precision"] == "source"
    assert found.sizes["trial"] == len(opened.trials) and found.sizes["neuron"] == opened.n_neurons


def test_a_trial_by_its_number(opened: Mouse, original: Original) -> None:
    found = opened.to_xarray()
    for trial in (original.ids[0], original.ids[-1], original.ids[4]):
        one = found.sel(trial_id=trial)
        assert one["tier"].item() == str(original.meta("trials/tiers")[trial])
        values = one["responses"].compute(scheduler="synchronous").to_numpy()
        assert_same_bits(values, original.rows("responses", [trial])[0])
    with pytest.raises(KeyError):
        found.sel(trial_id=10**6)


def test_coordinates_are_the_columns_of_the_tables(opened: Mouse) -> None:
    """None is lost; equal names of trials and of neurons (scan_idx of the published static mice) are told apart."""
    found = opened.to_xarray()
    for dimension, table in (("trial", opened.trials), ("neuron", opened.neurons)):
        along = {name: one.to_numpy() for name, one in found.coords.items() if one.dims == (dimension,)}
        for name in (table.index.name, *table.columns):
            expected = table.reset_index()[name].to_numpy()
            same = [str(one) for one, values in along.items() if name in str(one) and _equal(values, expected)]
            assert same, f"{name} of {dimension}"


def _equal(one: Array, other: Array) -> bool:
    if one.dtype.kind in "fmM":
        return bool(np.array_equal(one.astype(other.dtype), other, equal_nan=True))
    return one.tolist() == other.tolist()


def test_a_selected_data_set(dynamic: Mouse, originals: dict[str, Original]) -> None:
    original = originals["dynamic"]
    found = dynamic.to_xarray(tier="train", trials={"flag": True}, neurons={"area": "V1", "layer": "L4"})
    ids = [trial for trial in dynamic.trials.index[dynamic.rows(tier="train")] if trial % 3 == 0]
    positions = dynamic.positions({"area": "V1", "layer": "L4"})
    assert found["trial_id"].to_numpy().tolist() == ids and set(found["tier"].to_numpy()) == {"train"}
    assert found["position"].to_numpy().tolist() == positions.tolist()
    assert found["unit_ids"].to_numpy().tolist() == original.meta("neurons/unit_ids")[positions].tolist()
    values = found.compute(scheduler="synchronous")
    assert_same_bits(values["responses"].to_numpy(), original.rows("responses", ids)[:, positions])
    assert_same_bits(values["videos"].to_numpy(), original.rows("videos", ids))


@pytest.mark.parametrize("name", ["responses", "neuron", "trial", "behavior_channel", "long_name"])
@pytest.mark.parametrize("group", ["trials", "neurons"])
def test_metadata_may_be_named_like_variables_and_dimensions(
    static_folder: Path, tmp_path: Path, group: str, name: str
) -> None:
    length = 6 if group == "neurons" else len(np.load(static_folder / "meta/trials/tiers.npy"))
    np.save(static_folder / f"meta/{group}/{name}.npy", np.arange(length))
    opened = pack(static_folder, tmp_path / "stores")
    found = opened.to_xarray()
    expected = Original(static_folder).rows("responses")
    assert_same_bits(found["responses"].compute(scheduler="synchronous").to_numpy(), expected)


# What is shown


def test_one_line_says_what_it_is(packed: dict[str, Mouse]) -> None:
    text = repr(packed["dynamic"])
    assert "\n" not in text and text.startswith("<Mouse A: dynamic29156-11-10") and text.endswith(">")
    for fact in ("dynamic", "12 trials", "20 neurons", "6 train", "2 oracle", "3 final_test_bonus"):
        assert fact in text


def test_a_notebook_shows_all_variables(opened: Mouse) -> None:
    text = opened._repr_html_()
    for fact in (opened.name, str(opened.letter), f"{len(opened.trials)} trials", f"{opened.n_neurons} neurons"):
        assert html.escape(fact) in text
    for name, array in opened.recording.arrays.items():
        for fact in (name, array.dtype, " × ".join(map(str, array.shape)), ", ".join(array.dimensions)):
            assert f"<td>{html.escape(fact)}</td>" in text


def test_names_and_tiers_are_text_in_a_notebook(tmp_path: Path) -> None:
    folder = write_sample(tmp_path, mouse="S0", trials=3, neurons=2, image_shape=(2, 3))
    folder = folder.rename(tmp_path / "a<b>&'c\"")
    np.save(folder / "meta/trials/tiers.npy", np.array(["train", "<script>alert(1)</script>", "a&b"]))
    opened = pack(folder, tmp_path / "stores")
    text = opened._repr_html_()
    assert "<script" not in text and "<b>&" not in text
    assert html.escape("<script>alert(1)</script>") in text and "a&amp;b" in text
    assert html.escape("a<b>&'c\"") in text
    assert opened.letter is None and "None" not in text + repr(opened)


# Across processes


def test_a_pickled_mouse_is_the_mouse(opened: Mouse, original: Original) -> None:
    opened.trials  # noqa: B018  (the tables are made when they are asked for, and kept)
    for one in (opened, open_mouse(opened.path)):
        found = pickle.loads(pickle.dumps(one))
        assert repr(found) == repr(opened) and found.trials.equals(opened.trials)
        trial = original.ids[-1]
        assert found.trial(trial)["responses"].tobytes() == opened.trial(trial)["responses"].tobytes()
        assert found.dask("responses").name == opened.dask("responses").name


def test_pickled_trials_arrays_and_data_sets(opened: Mouse, original: Original) -> None:
    trial = pickle.loads(pickle.dumps(opened.trial(original.ids[2])))
    assert trial.trial_id == original.ids[2] and dict(trial).keys() == set(original.variables)
    lazy = pickle.loads(pickle.dumps(opened.dask("responses", neurons=[1, 3])))
    assert_same_bits(lazy.compute(scheduler="synchronous"), original.rows("responses")[:, [1, 3]])
    found: xr.Dataset = pickle.loads(pickle.dumps(opened.to_xarray()))
    values = found.sel(trial_id=original.ids[2])["behavior"].compute(scheduler="synchronous").to_numpy()
    assert_same_bits(values, original.rows("behavior", [original.ids[2]])[0])

"""Stores of rounded variables, from the option to the batch: within the bound everywhere, and checked again."""

import functools
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from trialpack.convert import compare_with_source, conversion, convert_mouse, export_mouse, plan_mouse
from trialpack.convert.bounds import trial_moments
from trialpack.readers import TrialLoader, open_mouse
from trialpack.store import (
    CorruptStoreError,
    OptionError,
    SourceError,
    StoreFormatError,
    check_full,
    check_quick,
    layout,
)
from trialpack.store.folder import StoreFolder
from trialpack.store.manifest import Manifest, read_manifest, values_digest
from trialpack.store.metadata import parse_array, to_json
from trialpack.store.shards import FileRecord, ShardReader, ShardWriter

from .command_line import run
from .mice import (
    Array,
    as_published,
    assert_holds_mouse,
    edit,
    open_store,
    published_variables,
    trial_ids,
    trial_path,
    variables,
    zip_mouse,
)

Convert = Callable[..., Path]
Fresh = Callable[[str], Path]
KINDS = ("dynamic", "float64", "static")
STIMULUS = {"dynamic": "videos", "float64": "videos", "static": "images"}

pytestmark = [
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification"),
]


def source_std(folder: Path, variable: str, *, by_channel: bool) -> Array:
    """Standard deviation of the train trials, as numpy computes it of all of them at once."""
    tiers = np.load(folder / "meta/trials/tiers.npy")
    chosen = [trial for trial in trial_ids(folder) if tiers[trial] == "train"]
    trials = [np.load(trial_path(folder, variable, trial)).astype(np.float64) for trial in chosen]
    if variable == "responses":
        trials = [values for values in trials if np.nan_to_num(values).any()]
    if not by_channel:
        return np.nanstd(np.concatenate([values.ravel() for values in trials]))
    return np.nanstd(np.concatenate([values.reshape(len(values), -1) for values in trials], axis=1), axis=1)


def assert_within(store: Path, folder: Path, bounds: dict[str, Any]) -> None:
    """Compare every value of the store with the source, by means of zarr-python and numpy alone."""
    group = open_store(store)
    for variable in variables(folder):
        for row, trial in zip(group[variable][:], trial_ids(folder), strict=True):
            found, source = as_published(variable, row), np.load(trial_path(folder, variable, trial))
            if variable not in bounds:
                assert found.tobytes() == source.astype(found.dtype.newbyteorder("=")).tobytes()
                continue
            assert found.dtype == np.float32 and np.array_equal(np.isnan(found), np.isnan(source))
            bound = np.asarray(bounds[variable])
            bound = bound.reshape(*bound.shape, *(1,) * (source.ndim - bound.ndim))
            error = np.abs(found.astype(np.float64) - source)
            assert not (error > bound).any(), f"{variable} {trial}: {np.nanmax(error - bound)}"
            zero = source == 0
            assert (found[zero] == 0).all() and np.array_equal(np.signbit(found[zero]), np.signbit(source[zero]))
            large = np.abs(source) > bound
            assert np.array_equal(np.sign(found[large]), np.sign(source[large]))


# --- What a store holds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("container", "codec"),
    [("folder", "fast"), ("folder", "none"), ("folder", "small"), ("folder", "pcodec"), ("zip", "fast")],
)
@pytest.mark.parametrize("kind", KINDS)
def test_values_are_within_their_bounds(
    kind: str, container: str, codec: str, fresh: Fresh, converted: Convert
) -> None:
    if codec == "pcodec":
        pytest.importorskip("pcodec")
    folder = fresh(f"{kind}_folder")
    source = folder if container == "folder" else zip_mouse(folder)
    bounds = {"responses": 0.001, STIMULUS[kind]: 0.5}
    store = converted(source, max_error=bounds, codec=codec)
    assert_within(store, folder, bounds)
    assert json.loads((store / "zarr.json").read_text())["attributes"]["max_error"] == bounds
    assert open_store(store)["responses"].attrs["max_error"] == 0.001
    assert "max_error" not in open_store(store)["behavior"].attrs
    index = compare_with_source(store, source, workers=2)
    assert {name: bound.value for name, bound in index.bounds.items()} == bounds


@pytest.mark.parametrize("container", ["folder", "zip"])
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_bounds_of_the_standard_deviation(kind: str, container: str, fresh: Fresh, converted: Convert) -> None:
    folder = fresh(f"{kind}_folder")
    source = folder if container == "folder" else zip_mouse(folder)
    percents = {"responses": 0.1, STIMULUS[kind]: 1.0, "behavior": 2.0, "pupil_center": 0.5}
    store = converted(source, max_error={name: f"{percent}%std" for name, percent in percents.items()})
    group, expected = open_store(store), dict[str, Array]()
    for variable, percent in percents.items():
        by_channel = variable != STIMULUS[kind]
        expected[variable] = percent / 100 * source_std(folder, variable, by_channel=by_channel)
        found = group[f"max_error/{variable}"]
        assert found.shape == expected[variable].shape and found.dtype == np.float64
        np.testing.assert_allclose(found[...], expected[variable], rtol=1e-9, atol=0)
        assert found.metadata.dimension_names == group[variable].metadata.dimension_names[1 : 1 + found.ndim]
        assert group[variable].attrs["max_error"] == f"{percent}%std"
    # Where nothing varies the sum's own rounding is all there is.
    assert_within(store, folder, {name: bound * (1 + 1e-9) for name, bound in expected.items()})
    compare_with_source(store, source, workers=2)


@pytest.mark.parametrize("workers", [1, 3])
def test_bounds_do_not_depend_on_workers(
    workers: int, dynamic_folder: Path, converted: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "SHARD_BYTES", 300_000)
    store = converted(dynamic_folder, max_error={"responses": "1%std"}, workers=workers)
    assert len(list((store / "responses").glob("c.*"))) > 2
    np.testing.assert_allclose(
        open_store(store)["max_error/responses"][:],
        0.01 * source_std(dynamic_folder, "responses", by_channel=True),
        rtol=1e-9,
        atol=0,
    )
    compare_with_source(store, dynamic_folder, workers=2)


def test_a_neuron_that_only_other_trials_excite(float64_folder: Path, converted: Convert) -> None:
    """Its bound is next to nothing; float32 need only be as close as for a neuron of a hundredth of the mean."""
    tiers = np.load(float64_folder / "meta/trials/tiers.npy")
    for trial in trial_ids(float64_folder):
        path = trial_path(float64_folder, "responses", trial)
        excited = 0.0 if tiers[trial] == "train" else 2.1
        edit(path, lambda values, to=excited: np.concatenate([np.full_like(values[:1], to), values[1:]]))
    store = converted(float64_folder, max_error={"responses": "0.1%std"})
    bounds = open_store(store)["max_error/responses"][:]
    assert bounds[0] == 0 and (bounds[1:] > 0).all()
    assert set(np.unique(open_store(store)["responses"][:, 0])) == {np.float32(0), np.float32(2.1)}
    compare_with_source(store, float64_folder, workers=1)


@pytest.mark.parametrize("constant", [0.1, -127.3, 1e-7])
@pytest.mark.parametrize("name", ["responses", "videos"])
def test_what_does_not_vary_has_a_standard_deviation_of_zero(name: str, constant: float) -> None:
    """Not next to zero: that would depend on the order in which numpy adds, and so on its version."""
    variable = next(one for one in published_variables("dynamic", "float64") if one.name == name)
    values = np.full((3, 300), constant)
    values[1, ::7], values[2, 100:] = np.nan, np.nan
    known = trial_moments(variable, values).merge(trial_moments(variable, np.full((3, 324), constant)))
    assert np.array_equal(known.std, np.zeros(len(known.std)))


def test_an_infinity_in_the_train_trials_leaves_no_standard_deviation(float64_folder: Path, tmp_path: Path) -> None:
    tiers = np.load(float64_folder / "meta/trials/tiers.npy")
    trial = next(trial for trial in trial_ids(float64_folder) if tiers[trial] == "train")
    edit(trial_path(float64_folder, "videos", trial), lambda values: np.where(values == values.flat[0], np.inf, values))
    with pytest.raises(SourceError, match=r"within 0 .*, max_error 1.0%std\) .*; give .*one in its unit, or none"):
        convert_mouse(float64_folder, tmp_path, max_error={"videos": "1%std"})
    store = convert_mouse(float64_folder, tmp_path, max_error={"videos": 0.5}).store
    compare_with_source(store, float64_folder, workers=1)


def test_a_bound_of_more_than_all_numbers_lets_none_become_infinite(float64_folder: Path, converted: Convert) -> None:
    for trial in trial_ids(float64_folder):
        path = trial_path(float64_folder, "responses", trial)
        edit(path, lambda values: np.where(values[:1] > 0, 3.4028236e38, values))
    store = converted(float64_folder, max_error={"responses": "1e300%std"}, statistics=False)
    assert np.isfinite(open_store(store)["max_error/responses"][:]).all()
    assert not np.isinf(open_store(store)["responses"][:]).any()
    compare_with_source(store, float64_folder, workers=1)


def test_stores_without_a_bound_say_nothing_of_bounds(dynamic_folder: Path, tmp_path: Path) -> None:
    one = convert_mouse(dynamic_folder, tmp_path / "one").store
    other = convert_mouse(dynamic_folder, tmp_path / "other", max_error={}).store
    assert (one / "manifest.json").read_bytes() == (other / "manifest.json").read_bytes()
    assert b"max_error" not in b"".join(path.read_bytes() for path in one.rglob("zarr.json"))
    assert not (one / "max_error").exists()
    assert_holds_mouse(one, dynamic_folder)


@pytest.mark.parametrize("precision", ["source", "float32"])
def test_other_variables_keep_the_precision(precision: str, float64_folder: Path, converted: Convert) -> None:
    store = converted(float64_folder, max_error={"videos": 0.25}, precision=precision)
    dtypes = {name: str(open_store(store)[name].dtype) for name in ("videos", "responses", "behavior")}
    wanted = "float64" if precision == "source" else "float32"
    assert dtypes == {"videos": "float32", "responses": wanted, "behavior": wanted}
    compare_with_source(store, float64_folder, workers=2)


def test_withheld_is_what_the_publisher_withheld(float64_folder: Path, converted: Convert) -> None:
    """A trial that rounds to zeros is no placeholder; lengths do not change either."""
    exact = open_store(converted(float64_folder))
    withheld, n_frames = exact["trials/withheld"][:], exact["trials/n_frames"][:]
    assert withheld.any() and not withheld.all()
    group = open_store(converted(float64_folder, max_error={"responses": 1e9, "videos": 1e6}, replace=True))
    responses = group["responses"][:]
    assert (responses[~np.isnan(responses)] == 0).all()
    assert np.array_equal(group["trials/withheld"][:], withheld)
    assert np.array_equal(group["trials/n_frames"][:], n_frames)
    assert not np.signbit(responses[~withheld][~np.isnan(responses[~withheld])]).any()


def test_statistics_are_of_the_stored_values(dynamic_folder: Path, converted: Convert) -> None:
    store = converted(dynamic_folder, statistics=True, max_error={"videos": 20.0})
    mouse = open_mouse(store)
    values = np.concatenate([trial["videos"] for trial in map(mouse.trial, mouse.statistics.trial_ids)])
    found = mouse.statistics["videos"]["over_trials_and_frames"]
    np.testing.assert_array_equal(found.max, values.max(axis=0))
    np.testing.assert_allclose(found.std, values.astype(np.float64).std(axis=0), rtol=1e-6)
    assert set(np.unique(found.max)) <= set(range(0, 257, 32))


@pytest.mark.parametrize("window", [None, 80])
def test_the_loader_gives_the_rounded_values(window: int | None, float64_folder: Path, converted: Convert) -> None:
    bounds = {"responses": 0.001, "videos": 0.5, "behavior": 0.01}
    store = converted(float64_folder, max_error=bounds)
    loader = TrialLoader(open_mouse(store), tier="train", batch_size=2, window=window, output="numpy", cache="none")
    seen = 0
    for batch in loader:
        for place, trial in enumerate(batch["trial_id"]):
            start = 0 if window is None else int(batch["start"][place])
            for name, bound in bounds.items():
                source = np.load(trial_path(float64_folder, name, int(trial)))
                found = np.asarray(batch[name][place])
                found = as_published(name, found[0]) if name == "videos" else found
                part = source[..., start : start + found.shape[-1]]
                assert np.abs(found.astype(np.float64) - part).max() <= bound
                seen += 1
    assert seen


def test_export_writes_what_the_store_holds(float64_folder: Path, converted: Convert, tmp_path: Path) -> None:
    store = converted(float64_folder, max_error={"responses": 0.001})
    folder = export_mouse(store, tmp_path / "exported").path
    for trial in trial_ids(float64_folder):
        source, found = (np.load(trial_path(one, "responses", trial)) for one in (float64_folder, folder))
        assert found.dtype == np.dtype("<f4") and not (np.abs(found.astype(np.float64) - source) > 0.001).any()
        videos = [trial_path(one, "videos", trial).read_bytes() for one in (float64_folder, folder)]
        assert videos[0] == videos[1]
    compare_with_source(store, folder, workers=1)
    again = converted(folder, max_error={"responses": 0.001}, replace=True)
    assert np.array_equal(open_store(again)["responses"][:], open_store(store)["responses"][:], equal_nan=True)


@pytest.mark.parametrize("kind", ["dynamic", "float64"])
@pytest.mark.parametrize("format", ["npy", "hdf5"])
@pytest.mark.parametrize("options", [{"max_error": {"responses": "1%std", "videos": 0.5}}, {"precision": "float32"}])
def test_an_export_is_compared_bit_for_bit(
    kind: str, format: Any, options: Any, fresh: Fresh, converted: Convert, tmp_path: Path
) -> None:
    """What was exported holds what the store holds; its standard deviations are not those of the source."""
    if format == "hdf5":
        pytest.importorskip("h5py")
    source = fresh(f"{kind}_folder")
    store = converted(source, **options)
    path = export_mouse(store, tmp_path / "exported", format=format).path
    compare_with_source(store, path, workers=2)
    if format == "npy":
        changed = trial_path(path, "responses", trial_ids(path)[0])
        edit(changed, lambda values: np.nextafter(values, np.float32(1)))
        with pytest.raises(CorruptStoreError) as caught:
            compare_with_source(store, path, workers=2)
        assert "responses" in str(caught.value)


@pytest.mark.parametrize("form", ["npy", "zip", "hdf5"])
def test_exports_say_that_they_are_rounded(form: str, float64_folder: Path, converted: Convert, tmp_path: Path) -> None:
    """And so does a store that is made of one: its values are those of the export, not of the source."""
    if form == "hdf5":
        pytest.importorskip("h5py")
    bounds = {"responses": "0.1%std", "videos": 0.5}
    store = converted(float64_folder, max_error=bounds)
    done = run("export", store, "--to", tmp_path / "exported", "--as", form)
    assert "Rounded: responses within 0.1%std of the published values" in done.stdout
    made = export_mouse(store, tmp_path / "again", format=form)
    assert made.describe()["max_error"] == bounds
    if form == "npy":
        assert json.loads((made.path / "rounded.json").read_text()) == {"max_error": bounds}
    again = convert_mouse(made.path, tmp_path / "of the export")
    words = ["responses were rounded before, within 0.1%std", "videos were rounded before, within 0.5"]
    expected = words if form == "hdf5" else ["rounded.json is not part of the published layout"]
    assert len(again.warnings) == len(expected) and json.loads(run("info", again.store, "--json").stdout)["warnings"]
    assert all(warning.startswith(start) for warning, start in zip(sorted(again.warnings), expected, strict=True))
    for name in bounds:
        assert np.array_equal(open_store(again.store)[name][:], open_store(store)[name][:], equal_nan=True)


# --- What is refused ---------------------------------------------------------------------------------------------


def test_what_float32_cannot_hold_is_refused_by_name(float64_folder: Path, tmp_path: Path) -> None:
    ids = trial_ids(float64_folder)
    for trial, value in ((ids[1], 1e9 + 30), (ids[3], 1e9 + 20)):
        edit(trial_path(float64_folder, "responses", trial), lambda values, to=value: np.full_like(values, to))
    with pytest.raises(SourceError) as caught:
        convert_mouse(float64_folder, tmp_path / "stores", max_error={"responses": 0.001})
    assert [problem.trial for problem in caught.value.problems] == [ids[1], ids[3]]
    assert [problem.member for problem in caught.value.problems] == [f"data/responses/{ids[n]}.npy" for n in (1, 3)]
    lines = list(map(str, caught.value.problems))
    assert "largest error 30," in lines[0] and "largest error 20," in lines[1]
    assert all("within 0.001" in line and "give a larger max_error for responses" in line for line in lines)
    assert [path.name for path in (tmp_path / "stores").iterdir() if path.suffix != ".lock"] == []


BAD = {
    "negative": ({"responses": -1}, ["max_error={'responses': -1}: -1 is no bound"]),
    "zero": ({"responses": 0.0}, ["is no bound"]),
    "NaN": ({"videos": float("nan")}, ["is no bound"]),
    "infinite": ({"videos": "inf"}, ["is no bound"]),
    "no number": ({"videos": "small"}, ["'small' is not a number"]),
    "a flag": ({"videos": True}, ["no bound"]),
    "nothing": ({"videos": None}, ["not a number"]),
    "zero percent": ({"responses": "0%std"}, ["is no bound"]),
    "no percents": ({"responses": "%std"}, ["not a number"]),
    "unknown": (
        {"pupils": 1, "x": 2},
        [f"max_error of {name!r}: there is no such variable" for name in ("pupils", "x")],
    ),
    "several": ({"behavior": 1, "videos": -1, "responses": "x%std"}, ["-1 is no bound", "not a number"]),
    "of static mice": ({"images": 1, "responses": 1}, ["max_error of 'images': there is no such variable"]),
}


@pytest.mark.parametrize(("given", "expected"), BAD.values(), ids=BAD)
def test_bad_bounds_are_refused_together(given: Any, expected: list[str], dynamic_folder: Path, tmp_path: Path) -> None:
    for call in (plan_mouse, convert_mouse):
        with pytest.raises(OptionError) as caught:
            call(dynamic_folder, tmp_path / "stores", max_error=given)
        lines = str(caught.value).splitlines()
        assert len(lines) == len(expected) == len(caught.value.problems)
        for line, words in zip(lines, expected, strict=True):
            assert words in line and "; " in line
    assert not (tmp_path / "stores").exists()


def test_percents_without_train_trials_are_refused_together(dynamic_folder: Path, tmp_path: Path) -> None:
    edit(dynamic_folder / "meta/trials/tiers.npy", lambda tiers: np.where(tiers == "train", "oracle", tiers))
    bounds = {"responses": "1%std", "videos": "1%std", "behavior": 1}
    with pytest.raises(OptionError) as caught:
        convert_mouse(dynamic_folder, tmp_path / "stores", max_error=bounds)
    assert [("train trials" in line) for line in str(caught.value).splitlines()] == [True, True]
    assert not (tmp_path / "stores").exists()


def test_unreadable_train_trials_are_all_named(dynamic_folder: Path, tmp_path: Path) -> None:
    tiers = np.load(dynamic_folder / "meta/trials/tiers.npy")
    # Not the first ones: of those, reading the headers of a few files finds it.
    chosen = [trial for trial in trial_ids(dynamic_folder)[1::2] if tiers[trial] == "train"][:2]
    for trial in chosen:
        path = trial_path(dynamic_folder, "responses", trial)
        path.write_bytes(b"\x00" * path.stat().st_size)
    with pytest.raises(SourceError) as caught:
        convert_mouse(dynamic_folder, tmp_path / "stores", max_error={"responses": "1%std"})
    assert [problem.trial for problem in caught.value.problems] == chosen
    assert list((tmp_path / "stores").glob("*")) == []


# --- Resuming ----------------------------------------------------------------------------------------------------


class CrashError(BaseException):
    """Stands for the death of the process."""


BEGUN_WITH = {"responses": 0.001}


@pytest.mark.parametrize(
    "wanted", [BEGUN_WITH, {"responses": 0.002}, {"responses": "0.1%std"}, {"videos": 0.001}, {}], ids=str
)
def test_resuming_never_mixes_bounds(
    wanted: dict[str, Any], dynamic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "SHARD_BYTES", 300_000)
    convert = functools.partial(convert_mouse, dynamic_folder, statistics=False)

    def crash(*arguments: object) -> None:
        raise CrashError

    crashed, resumes = tmp_path / "crashed", wanted == BEGUN_WITH
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "remove_leftovers", crash)
        with pytest.raises(CrashError):
            convert(crashed, max_error=BEGUN_WITH)
    begun = {path.name: path.stat().st_mtime_ns for path in crashed.glob(".*.partial/responses/c.*")}
    assert len(begun) > 2
    reference = convert(tmp_path / "reference", max_error=wanted).store
    store = convert(crashed, max_error=wanted).store
    assert (store / "manifest.json").read_bytes() == (reference / "manifest.json").read_bytes()
    kept = [path.stat().st_mtime_ns == begun[path.name] for path in (store / "responses").glob("c.*")]
    assert all(kept) if resumes else not any(kept)
    check_full(store, workers=2)


# --- Checking again ----------------------------------------------------------------------------------------------


def writable(store: Path, to: Path) -> Path:
    shutil.copytree(store, to)
    for path in to.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return to


def reseal(store: Path, values: dict[str, tuple[str, ...]]) -> None:
    """Write a manifest of the files as they are: all but a comparison with the source finds the store intact."""
    manifest, unlisted = read_manifest(store), ("manifest.json", "software.json")
    paths = sorted(path for path in store.rglob("*") if path.is_file() and path.name not in unlisted)
    records = {path.relative_to(store).as_posix(): _record(path.read_bytes()) for path in paths}
    (store / "manifest.json").write_bytes(Manifest(manifest.store_id, records, manifest.values | values).to_bytes())


def _record(data: bytes) -> FileRecord:
    return FileRecord(len(data), hashlib.sha256(data).hexdigest())


def change_row(store: Path, variable: str, row: int, change: Callable[[Array], None]) -> None:
    """Change one trial of a store of one shard, as if it had been written so."""
    index = check_quick(store)
    array = index.arrays[variable]
    with closing(StoreFolder(store).open()) as files, ShardReader(files, array, 0) as shard:
        groups = [rows.copy() for _, rows in shard.groups()]
    values = np.concatenate(groups)
    change(values[row])
    (store / array.shard_path(0)).unlink()
    writer = ShardWriter(store, array, 0)
    for start in range(0, len(values), array.chunk[0]):
        writer.append(np.ascontiguousarray(values[start : start + array.chunk[0]]))
    writer.finish()
    reseal(store, {variable: tuple(values_digest(np.ascontiguousarray(one)) for one in values)})


def put(place: tuple[int, ...], value: float) -> Callable[[Array], None]:
    def change(values: Array) -> None:
        values[place] = value if np.isnan(value) or value == 0 else values[place] + value

    return change


@pytest.mark.parametrize("bound", [0.001, "1%std"])
@pytest.mark.parametrize("value", [2e5, np.nan], ids=["too far", "NaN"])
def test_a_value_beyond_its_bound_is_found(
    bound: Any, value: float, dynamic_folder: Path, converted: Convert, tmp_path: Path
) -> None:
    store = writable(converted(dynamic_folder, max_error={"responses": bound}), tmp_path / "copy.zarr")
    compare_with_source(store, dynamic_folder, workers=2)
    change_row(store, "responses", 3, put((4, 17), value))
    check_full(store, workers=2)
    with pytest.raises(CorruptStoreError) as caught:
        compare_with_source(store, dynamic_folder, workers=2)
    trial = trial_ids(dynamic_folder)[3]
    assert [problem.trial for problem in caught.value.problems] == [trial]
    assert "row 3 " in str(caught.value) and f"trial {trial} of the source" in str(caught.value)
    done = run("verify", store, "--source", dynamic_folder)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and f"trial {trial}" in done.stderr


def test_a_value_within_its_bound_is_not_complained_of(
    dynamic_folder: Path, converted: Convert, tmp_path: Path
) -> None:
    store = writable(converted(dynamic_folder, max_error={"videos": 8.0}), tmp_path / "copy.zarr")
    source = np.load(trial_path(dynamic_folder, "videos", trial_ids(dynamic_folder)[2]))[1, 2, 5]
    change_row(store, "videos", 2, lambda values: values.__setitem__((5, 1, 2), source + 7))
    compare_with_source(store, dynamic_folder, workers=2)
    change_row(store, "videos", 2, lambda values: values.__setitem__((5, 1, 2), source + 9))
    with pytest.raises(CorruptStoreError, match=r"further than 8 \(largest error 9"):
        compare_with_source(store, dynamic_folder, workers=2)


def test_larger_errors_than_the_percents_are_found(dynamic_folder: Path, converted: Convert, tmp_path: Path) -> None:
    store = writable(converted(dynamic_folder, max_error={"responses": "1%std"}), tmp_path / "copy.zarr")
    path = store / "max_error/responses/c.0"
    array = check_quick(store).arrays["max_error/responses"]
    bounds = open_store(store)["max_error/responses"][:]
    bounds[5] *= 1.001
    path.write_bytes(b"".join(array.codec.encode(bounds)))
    reseal(store, {})
    with pytest.raises(CorruptStoreError, match="max_error/responses.*standard deviation") as caught:
        compare_with_source(store, dynamic_folder, workers=2)
    assert len(caught.value.problems) == 1


def test_a_source_that_changed_is_found(dynamic_folder: Path, converted: Convert) -> None:
    store = converted(dynamic_folder, max_error={"responses": 0.001, "videos": 0.5})
    first, second = trial_ids(dynamic_folder)[:2]
    edit(trial_path(dynamic_folder, "videos", first), lambda values: values + 2)
    edit(trial_path(dynamic_folder, "behavior", second), lambda values: values * (1 + 1e-6))
    with pytest.raises(CorruptStoreError) as caught:
        compare_with_source(store, dynamic_folder, workers=2)
    assert [(problem.member, problem.trial) for problem in caught.value.problems] == [
        ("videos", first),
        ("behavior", second),
    ]


CONTRADICTIONS: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "another bound of the variable": ("responses", lambda attributes: attributes.update(max_error=0.002)),
    "no bound of the variable": ("responses", lambda attributes: attributes.pop("max_error")),
    "a bound of another": ("behavior", lambda attributes: attributes.update(max_error=0.002)),
    "another bound of the store": ("", lambda attributes: attributes["max_error"].update(responses=0.1)),
    "a percentage without largest errors": ("", lambda attributes: attributes["max_error"].update(videos="1.0%std")),
    "no bounds": ("", lambda attributes: attributes.pop("max_error")),
    "a bound that is none": ("", lambda attributes: attributes["max_error"].update(videos=-1.0)),
    "bounds that are a list": ("", lambda attributes: attributes.update(max_error=[1])),
    "no bound at all": ("", lambda attributes: attributes.update(max_error={})),
}


@pytest.mark.parametrize(("path", "change"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_metadata_that_contradict_one_another_are_found(
    path: str, change: Callable[[dict[str, Any]], object], dynamic_folder: Path, converted: Convert, tmp_path: Path
) -> None:
    made = converted(dynamic_folder, max_error={"responses": 0.001, "videos": 0.5}, statistics=False)
    store = writable(made, tmp_path / "copy.zarr")
    file = store / path / "zarr.json"
    document = json.loads(file.read_bytes())
    change(document["attributes"])
    file.write_bytes(to_json(document))
    reseal(store, {})
    with pytest.raises((CorruptStoreError, StoreFormatError)):
        check_quick(store)


# --- The command line --------------------------------------------------------------------------------------------


def test_the_command_line_shows_bounds_everywhere(dynamic_folder: Path, tmp_path: Path) -> None:
    options = ["--to", tmp_path / "stores", "--max-error", "responses=0.1%std", "--max-error", "videos=0.5"]
    dry = run("convert", dynamic_folder, *options, "--dry-run")
    assert "responses within 0.1%std, videos within 0.5" in dry.stdout and not (tmp_path / "stores").exists()
    foreseen = json.loads(run("convert", dynamic_folder, *options, "--dry-run", "--json").stdout)["mice"][0]
    made = json.loads(run("convert", dynamic_folder, *options, "--json").stdout)["mice"][0]
    bounds = {"responses": "0.1%std", "videos": 0.5}
    assert foreseen["max_error"] == made["max_error"] == bounds
    assert foreseen["arrays"] == made["arrays"] and foreseen["files_after"] == made["files_after"]
    store = made["store"]
    assert json.loads(run("info", store, "--json").stdout)["max_error"] == bounds
    assert "responses within 0.1%std, videos within 0.5" in run("info", store).stdout
    verified = run("verify", store, "--source", dynamic_folder)
    assert verified.returncode == 0 and "bit for bit, responses within 0.1%std, videos within 0.5" in verified.stdout


def test_the_command_line_reports_all_bad_bounds_at_once(dynamic_folder: Path, tmp_path: Path) -> None:
    given = ["responses=-1", "videos", "behavior=1", "behavior=2", "images=0%std"]
    options = [word for one in given for word in ("--max-error", one)]
    done = run("convert", dynamic_folder, "--to", tmp_path / "stores", *options)
    lines = done.stderr.splitlines()
    assert (
        done.returncode == 1 and len(lines) == 4 and all(line.startswith("trialpack: --max-error ") for line in lines)
    )
    assert "behavior has a bound already" in lines[2]
    assert not (tmp_path / "stores").exists()


def test_progress_of_every_phase_reaches_its_total(dynamic_folder: Path, tmp_path: Path) -> None:
    class Listener:
        def __init__(self) -> None:
            self.phases = list[list[Any]]()

        def start(self, phase: str, nbytes: int, files: int) -> None:
            assert nbytes > 0
            self.phases.append([phase, nbytes, files])

        def advance(self, nbytes: int, files: int) -> None:
            self.phases[-1][1] -= nbytes
            self.phases[-1][2] -= files

    listener = Listener()
    convert_mouse(dynamic_folder, tmp_path, progress=listener, max_error={"responses": "1%std", "videos": "1%std"})
    names = ["measuring", "sampling", "converting", "statistics of", "verifying"]
    assert listener.phases == [[name, 0, 0] for name in names]


# --- Other implementations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_zarrs_reads_rounded_values(kind: str, fresh: Fresh, converted: Convert) -> None:
    if importlib.util.find_spec("zarrs") is None:
        pytest.skip("the package zarrs is not installed")
    store = converted(fresh(f"{kind}_folder"), max_error={"responses": 0.001, STIMULUS[kind]: 0.5, "behavior": 0.1})
    for name in ("responses", STIMULUS[kind], "behavior"):
        expected = open_store(store)[name][...]
        with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
            found = open_store(store)[name][...]
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("codec", ["fast", "small"])
@pytest.mark.parametrize("kind", KINDS)
def test_codecs_are_told_by_the_metadata(kind: str, codec: layout.CodecName, fresh: Fresh, converted: Convert) -> None:
    store = converted(fresh(f"{kind}_folder"), max_error={"responses": 0.001, STIMULUS[kind]: 0.5}, codec=codec)
    index, shuffles = check_quick(store), {"": "shuffle", "plain": "noshuffle", "bits": "bitshuffle"}
    for variable in open_mouse(store).recording.variables:
        document = json.loads((store / variable.name / "zarr.json").read_bytes())
        chain = document["codecs"][0]["configuration"]["codecs"]
        array = index.arrays[variable.name]
        assert parse_array(variable.name, document) == array and array.codec in layout.codec_choices(variable, codec)
        names = ["transpose"] if array.codec.order else []
        compressed = array.codec.compressor != "none"
        assert [one["name"] for one in chain] == [*names, "bytes", *["blosc"] * compressed, "crc32c"]
        if not compressed:
            continue
        cname, _, shuffle = array.codec.compressor.partition(" ")
        assert chain[-2]["configuration"]["cname"] == cname
        assert chain[-2]["configuration"]["shuffle"] == shuffles[shuffle]

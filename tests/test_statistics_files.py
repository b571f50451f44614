"""Statistics in files, on the command line, and beside those that a mouse was published with."""

import json
import pickle

import numpy as np
import pytest
import zarr
from trialpack.readers import open_mouse, summarize, train_statistics
from trialpack.readers.statistics_files import compare_with_published, save_statistics
from trialpack.store import CorruptStoreError, OptionError

from .command_line import run
from .mice import trial_ids, trial_path


@pytest.fixture(scope="session")
def tiny_mice(sample_mice):
    """With all statistics that they come with."""
    return sample_mice


@pytest.fixture
def dynamic(dynamic_folder, converted):
    return open_mouse(converted(dynamic_folder, statistics=True))


@pytest.fixture
def static(static_folder, converted):
    return open_mouse(converted(static_folder, statistics=True))


def public_statistics(folder):
    """What the public pipeline computes, with numpy alone: train trials, cropped, stacked, NaN left out."""
    tiers = np.load(folder / "meta/trials/tiers.npy")
    names = {"videos": "video", "responses": "response", "behavior": "behavior", "pupil_center": "pupil_center"}
    found = {"trial": {}, "time": {}}
    for variable, name in names.items():
        trials = [np.load(trial_path(folder, variable, n)) for n in trial_ids(folder) if tiers[n] == "train"]
        stacked = np.stack(trials, axis=-1).astype(np.float32)
        for key, axes in (("trial", -1), ("time", (-2, -1))):
            functions = {
                "min": np.nanmin,
                "max": np.nanmax,
                "median": np.nanmedian,
                "mean": np.nanmean,
                "std": np.nanstd,
            }
            found[key][name] = {statistic: function(stacked, axis=axes) for statistic, function in functions.items()}
    return found


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:All-NaN", "ignore:Degrees of freedom")
def test_a_pickle_is_what_the_public_pipeline_computes(dynamic, dynamic_folder, tmp_path):
    save_statistics(dynamic.statistics, tmp_path / "statistics.pkl")
    found = pickle.loads((tmp_path / "statistics.pkl").read_bytes())
    expected = public_statistics(dynamic_folder)
    assert found.keys() == expected.keys() and found["trial"].keys() == expected["trial"].keys()
    for key, variables in expected.items():
        for name, statistics in variables.items():
            assert found[key][name].keys() == statistics.keys()
            for statistic, values in statistics.items():
                got = found[key][name][statistic]
                assert got.dtype == np.float32 and got.shape == values.shape
                if statistic in ("min", "max", "median"):
                    np.testing.assert_array_equal(got, values)
                else:
                    np.testing.assert_allclose(got, values, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_an_npz_holds_everything(kind, request, tmp_path):
    statistics = request.getfixturevalue(kind).statistics
    save_statistics(statistics, tmp_path / "statistics.npz")
    with np.load(tmp_path / "statistics.npz") as found:
        np.testing.assert_array_equal(found["trial_id"], statistics.trial_ids)
        assert found["tier"] == "train"
        names = {f"{v}/{r}/{s}" for v, found_v in statistics.items() for r, one in found_v.items() for s in vars(one)}
        assert set(found.files) == names | {"trial_id", "tier"}
        for name in names:
            variable, reduction, statistic = name.split("/")
            values = getattr(statistics[variable][reduction], statistic)
            assert found[name].dtype == values.dtype
            np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize(("kind", "name", "text"), [("static", "a.pkl", "use .npz"), ("dynamic", "a.csv", "no format")])
def test_a_file_that_cannot_be_is_refused(kind, name, text, request, tmp_path):
    with pytest.raises(OptionError, match=text):
        save_statistics(request.getfixturevalue(kind).statistics, tmp_path / name)
    assert not list(tmp_path.glob("a.*"))


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_the_store_has_what_is_computed(kind, request):
    mouse = request.getfixturevalue(kind)
    stored, computed = mouse.statistics, train_statistics(mouse)
    assert stored.tier == "train" and stored.trial_ids.tolist() == computed.trial_ids.tolist()
    assert mouse.trials.loc[stored.trial_ids].tier.eq("train").all()
    for variable, reductions in computed.items():
        assert reductions.keys() == stored[variable].keys()
        for reduction, found in reductions.items():
            for name, values in vars(found).items():
                other = getattr(stored[variable][reduction], name)
                assert other.dtype == values.dtype and other.tobytes() == np.ascontiguousarray(values).tobytes()


def test_zarr_reads_the_stored_statistics_with_names_and_units(dynamic):
    array = zarr.open_array(dynamic.path / "statistics/train/responses/over_trials/std", mode="r")
    assert array.metadata.dimension_names == ("neuron", "frame")
    assert dict(array.attrs) == {"units": "a.u.", "long_name": "std of responses over trials"}
    np.testing.assert_array_equal(array[...], dynamic.statistics["responses"]["over_trials"].std)


def test_without_statistics(dynamic_folder, converted):
    mouse = open_mouse(converted(dynamic_folder, statistics=False))
    assert not [path for path in mouse.index.arrays if path.startswith("statistics/train")]
    with pytest.raises(OptionError, match=r"no train statistics in the store.*train_statistics\(mouse\)"):
        _ = mouse.statistics
    assert run("stats", mouse.path).stdout.startswith("Statistics of")
    assert summarize(mouse.path)["statistics"]["train_trials"] is None


def test_a_mouse_without_train_trials_is_converted_without_statistics(dynamic_folder, converted):
    tiers = np.load(dynamic_folder / "meta/trials/tiers.npy")
    tiers[tiers == "train"] = "oracle"
    np.save(dynamic_folder / "meta/trials/tiers.npy", tiers)
    mouse = open_mouse(converted(dynamic_folder, statistics=True))
    with pytest.raises(OptionError, match="no train statistics in the store"):
        _ = mouse.statistics
    with pytest.raises(OptionError, match="no trials of tier 'train'; there are"):
        train_statistics(mouse)
    done = run("stats", mouse.path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1


def test_a_mouse_without_train_trials_is_noted(dynamic_folder, converted):
    tiers = np.load(dynamic_folder / "meta/trials/tiers.npy")
    np.save(dynamic_folder / "meta/trials/tiers.npy", np.where(tiers == "train", "oracle", tiers))
    store = converted(dynamic_folder, statistics=True)
    assert "there are no train trials, so no train statistics" in summarize(store)["warnings"]


def test_damaged_statistics_are_an_error(dynamic):
    path = dynamic.path / "statistics/train/responses/over_trials/std/c.0.0"
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptStoreError, match=r"statistics/train/responses/over_trials/std/c\.0\.0"):
        _ = open_mouse(dynamic.path).statistics


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_published_statistics_agree_with_those_of_the_trials(kind, request):
    """The samples come with statistics that other code computed, as float32 and with ddof 1."""
    mouse = request.getfixturevalue(kind)
    differences = compare_with_published(mouse.index, mouse.statistics)
    published = [path for path in mouse.index.arrays if path.startswith("statistics/source/")]
    assert len(differences) == len(published) > 10
    for one in differences:
        assert one.reduction is not None and one.relative < 1e-6, one
    remarks = {one.remark for one in differences if one.statistic == "std" and one.largest > 0}
    assert any("n - 1" in remark for remark in remarks)


def test_a_published_statistic_of_something_else_stands_out(dynamic_folder, converted):
    path = dynamic_folder / "meta/statistics/responses/all/mean.npy"
    values = np.load(path)
    values[3, 5] += 1
    np.save(path, values[:, :300])
    np.save(dynamic_folder / "meta/statistics/responses/all/max.npy", np.zeros(7, np.float32))
    mouse = open_mouse(converted(dynamic_folder, statistics=True))
    found = {one.statistic: one for one in compare_with_published(mouse.index, mouse.statistics) if "resp" in one.group}
    assert found["mean"].largest == pytest.approx(1, rel=1e-5)
    assert found["max"].reduction is None and "shape (7,)" in found["max"].remark
    shown = run("stats", mouse.path).stdout
    assert "other shape" in shown and "responses/all" in shown


def test_stats_prints_saves_and_describes(dynamic, tmp_path):
    done = run("stats", dynamic.path, "--tier", "oracle", "-o", tmp_path / "oracle.npz", "--json")
    document = json.loads(done.stdout)
    oracle = train_statistics(dynamic, tier="oracle")
    assert document["trial_ids"] == oracle.trial_ids.tolist() and document["differences"] == []
    ends = document["statistics"]["responses"]["over_trials_and_frames"]["mean"]
    means = oracle["responses"]["over_trials_and_frames"].mean
    assert ends == [pytest.approx(means.min()), pytest.approx(means.max())]
    with np.load(tmp_path / "oracle.npz") as saved:
        np.testing.assert_array_equal(saved["responses/over_trials/mean"], oracle["responses"]["over_trials"].mean)
    shown = run("stats", dynamic.path).stdout
    for text in ("train trials", "over trials and frames", "pupil_center", "median", "responses/all"):
        assert text in shown


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["--tier", "nix"], "no trials of tier 'nix'"), (["-o", "x.csv"], "use .pkl or .npz"), (["--tier", "oracle",
     "--max-memory", "1MB"], "the bound on memory is too low")],
)  # fmt: skip
def test_stats_refuses_in_one_line(dynamic, arguments, text):
    done = run("stats", dynamic.path, *arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and text in done.stderr


def test_info_tells_frames_statistics_and_digest(dynamic):
    document = json.loads(run("info", dynamic.path, "--json").stdout)
    assert sum(document["frames_by_trial"].values()) == len(dynamic.trials)
    assert document["statistics"]["train_trials"] == len(dynamic.statistics.trial_ids)
    assert document["statistics"]["source"] == ["behavior/all", "pupil_center/all", "responses/all", "videos/all"]
    assert (
        document["digests"]["manifest"]
        == json.loads((dynamic.path / "manifest.json").read_text())["sha256_of_manifest"]
    )
    shown = run("info", dynamic.path).stdout
    assert document["digests"]["manifest"][:16] in shown and "valid 300 in" in shown

"""Labels of a data set: channels, frames in seconds, units, of any variables."""

import numpy as np
import pytest
import xarray as xr
from trialpack.convert import convert_mouse
from trialpack.readers import open_mouse

SCHEMA = """
frame_rate = 20
[variables.treadmill]
channels = [{ name = "forward", units = "cm/s" }, { name = "yaw", units = "deg/s" }]
[variables.gaze]
dimensions = ["axis", "frame"]
units = "deg"
channels = [{ name = "x", units = "deg" }, { name = "y", units = "deg" }]
[variables.paw]
dimensions = ["axis", "frame"]
channels = [{ name = "left", units = "mm" }, { name = "right", units = "mm" }]
optional = true
"""


@pytest.fixture
def mouse(tmp_path):
    """Three trials of 30 frames; two variables name the channels of one dimension differently; one is called time."""
    random = np.random.default_rng(7)
    shapes = {"responses": (5, 30), "treadmill": (2, 30), "gaze": (2, 30), "paw": (2, 30), "time": (30,), "lever": ()}
    for name, shape in shapes.items():
        (tmp_path / "lab/data" / name).mkdir(parents=True)
        for trial in range(2 if name == "paw" else 3):
            np.save(tmp_path / "lab/data" / name / f"{trial}.npy", random.normal(size=shape))
    (tmp_path / "lab/meta/trials").mkdir(parents=True)
    np.save(tmp_path / "lab/meta/trials/tiers.npy", np.array(["train"] * 3))
    (tmp_path / "lab/meta/neurons").mkdir()
    np.save(tmp_path / "lab/meta/neurons/unit_ids.npy", np.arange(5) * 3 + 11)
    (tmp_path / "lab/trialpack.toml").write_text(SCHEMA)
    return open_mouse(convert_mouse(tmp_path / "lab", tmp_path / "stores").store)


def test_channels_have_names_and_units(mouse):
    found = mouse.to_xarray()
    assert found["treadmill_channel_units"].sel(treadmill_channel="yaw") == "deg/s"
    yaw = found["treadmill"].sel(trial_id=2, treadmill_channel="yaw").compute(scheduler="synchronous")
    np.testing.assert_array_equal(yaw, mouse.trial(2)["treadmill"][1])
    assert "axis" not in found.coords, "two variables have other names for the same dimension"
    assert found["gaze"].attrs["units"] == "deg"


def test_frames_have_their_time_in_seconds(mouse):
    found = mouse.to_xarray()
    np.testing.assert_allclose(found["frame_time"], np.arange(30) / 20)
    assert found["frame_time"].attrs["units"] == "s" and found["time"].dims == ("trial", "frame")


@pytest.mark.parametrize(
    ("rates", "expected"),
    [("frame_rate = 20", 20.0), ("", None), ("frame_rate = 20\n[variables.gaze]\nframe_rate = 60", None)],
    ids=["one", "none", "two"],
)
def test_the_frame_rate_is_that_of_all_variables(mouse, tmp_path, rates, expected):
    assert mouse.frame_rate == 20
    (tmp_path / "lab/trialpack.toml").write_text(f"{rates}\n[variables.paw]\noptional = true")
    found = open_mouse(convert_mouse(tmp_path / "lab", tmp_path / "others").store)
    assert found.frame_rate == expected
    assert ("frame_time" in found.to_xarray().coords) == (expected is not None)


def test_neurons_are_found_by_their_unit_ids(mouse):
    found = mouse.to_xarray(neurons=[4, 0, 2]).sel(unit_ids=[17, 23])
    assert found["position"].values.tolist() == [2, 4]
    np.testing.assert_array_equal(found["responses"][1].values, mouse["responses"][1][[2, 4]])


def test_data_sets_are_joined(mouse):
    whole = mouse.to_xarray(trials=[2, 0, 1])
    joined = xr.concat([whole.isel(trial=slice(0, 1)), whole.isel(trial=slice(1, 3))], "trial")
    xr.testing.assert_identical(joined.compute(), whole.compute())
    assert joined["trial_id"].values.tolist() == [2, 0, 1]


# Text has no data type in the specification of Zarr v3: zarr-python says so.
@pytest.mark.filterwarnings("ignore:.* does not have a Zarr V3 specification", "ignore:Consolidated metadata")
def test_a_data_set_is_written_as_zarr_and_read_again(mouse, tmp_path):
    whole = mouse.to_xarray()
    whole.to_zarr(tmp_path / "copy.zarr", zarr_format=3, consolidated=False)
    again = xr.open_zarr(tmp_path / "copy.zarr", consolidated=False)
    assert again.sel(trial_id=2)["tier"] == "train" and set(whole.coords) == set(again.coords)
    for name in (*whole.data_vars, "frame_time", "unit_ids", "treadmill_channel_units"):
        np.testing.assert_array_equal(again[name].values, whole[name].values, name)


def test_what_a_notebook_shows(mouse):
    for shown in (mouse.to_xarray(), mouse.to_xarray(trials=[2, 0, 2], neurons=[-1])):
        text = shown._repr_html_()
        assert "unit_ids" in text and "treadmill_channel" in text and repr(shown)
    text = mouse._repr_html_()
    for cell in ("forward (cm/s), yaw (deg/s)", "20 Hz", "2 of 3", "target", "trial, axis, frame"):
        assert f"<td>{cell}</td>" in text
    assert repr(mouse).endswith("5 neurons: responses, gaze, lever, paw, time, treadmill>")

"""Labels of a data set: channels, frames in seconds, units, of any variables."""

import numpy as np
import pytest
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


def test_what_a_notebook_shows(mouse):
    text = mouse._repr_html_()
    for cell in ("forward (cm/s), yaw (deg/s)", "20 Hz", "2 of 3", "target", "trial, axis, frame"):
        assert f"<td>{cell}</td>" in text
    assert repr(mouse).endswith("5 neurons: responses, gaze, lever, paw, time, treadmill>")

"""How a variable is added, as docs/extending.md says; codecs are in test_codecs.py, formats in test_formats.py."""

from pathlib import Path

import numpy as np
import pytest
from trialpack.convert import convert_mouse, export_mouse
from trialpack.readers import TrialLoader, open_mouse
from trialpack.store.variables import KNOWN, Channel, KnownVariable

TREADMILL = KnownVariable(
    "input",
    ("dynamic",),
    {1: ("frame",), 2: ("direction", "frame")},
    "cm/s",
    "speed of the treadmill",
    ((Channel("forward", "cm/s"), Channel("sideways", "cm/s")),),
)


@pytest.fixture
def mouse(tmp_path: Path) -> Path:
    """A mouse with two variables that no published one has, of as many channels."""
    rng = np.random.default_rng(0)
    shapes = {"responses": (5, 40), "eye_position": (2, 40), "treadmill": (2, 40)}
    for name, shape in shapes.items():
        (tmp_path / "lab7/data" / name).mkdir(parents=True)
        for trial in range(4):
            np.save(tmp_path / f"lab7/data/{name}/{trial}.npy", rng.normal(size=shape))
    (tmp_path / "lab7/meta/trials").mkdir(parents=True)
    np.save(tmp_path / "lab7/meta/trials/tiers.npy", np.array(["train"] * 4))
    return tmp_path / "lab7"


def check(store: Path, mouse: Path, to: Path) -> None:
    """Read, stream and export the treadmill of the first trial."""
    expected = np.load(mouse / "data/treadmill/0.npy")
    opened = open_mouse(store, check="full")
    np.testing.assert_array_equal(opened.trial(0)["treadmill"], expected)
    (batch,) = TrialLoader(opened, tier="train", trials=[0], batch_size=1, output="numpy")
    np.testing.assert_array_equal(batch["treadmill"][0], expected.astype(np.float32))
    exported = export_mouse(store, to, format="npy").path
    assert (exported / "data/treadmill/0.npy").read_bytes() == (mouse / "data/treadmill/0.npy").read_bytes()


def test_a_variable_needs_nothing(mouse: Path, tmp_path: Path) -> None:
    store = convert_mouse(mouse, tmp_path / "stores").store
    found = open_mouse(store).recording.variable("treadmill")
    assert (found.role, found.dimensions, found.units) == ("input", ("treadmill_channel", "frame"), "")
    check(store, mouse, tmp_path / "out")


def test_a_known_variable_is_a_row(mouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores that were made before are read as they describe themselves."""
    before = convert_mouse(mouse, tmp_path / "before").store
    monkeypatch.setitem(KNOWN, "treadmill", TREADMILL)  # type: ignore[index]
    after = convert_mouse(mouse, tmp_path / "after").store
    found = open_mouse(after).recording.variable("treadmill")
    assert (found.dimensions, found.units, found.channels) == (("direction", "frame"), "cm/s", TREADMILL.channels[0])
    assert open_mouse(after).variables == ("responses", "treadmill", "eye_position")
    assert open_mouse(before).variables == ("responses", "eye_position", "treadmill")
    for store in (before, after):
        check(store, mouse, tmp_path / "out" / store.parent.name)

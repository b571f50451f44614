"""Windows in seconds: as many frames as each mouse has in that time, or an error."""

from typing import Any

import pytest
from trialpack import Mouse, OptionError, TrialLoader, convert_mouse, open_mouse

from .own_mice import floats, write_own


@pytest.fixture(scope="module")
def mice(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mouse]:
    """Name -> a mouse of 100 frames at such a rate (Hz); of none without frames, or without a rate."""
    place, found = tmp_path_factory.mktemp("rates"), dict[str, Mouse]()
    for name, rate in (("30", 30), ("29.97", 29.97), ("7.5", 7.5), ("unknown", None), ("static", None)):
        shape = (3,) if name == "static" else (3, 100)
        toml = "" if rate is None else f"frame_rate = {rate}"
        source = write_own(
            place / name, {"responses": lambda trial, shape=shape: floats(*shape, seed=trial)}, toml=toml
        )
        found[name] = open_mouse(convert_mouse(source, place / "stores", statistics=False).store)
    return found


def load(mice: Any, window: Any, **options: Any) -> TrialLoader:
    return TrialLoader(mice, tier="train", batch_size=2, window=window, output="numpy", threads=1, **options)


def frames(loader: TrialLoader) -> set[int]:
    return {batch["responses"].shape[-1] for batch in loader}


@pytest.mark.parametrize(
    ("name", "window", "stride", "expected"),
    [
        ("30", "2s", 1, 60),
        ("30", "500ms", 1, 15),
        ("30", "0.5 s", 1, 15),
        ("30", "533ms", 1, 16),
        ("30", "0.533s", 1, 16),
        ("30", "33.3ms", 1, 1),
        ("30", "2s", 2, 30),
        ("30", "400ms", 3, 4),
        ("29.97", "1s", 1, 30),
        ("7.5", "2s", 1, 15),
    ],
)
def test_a_duration_is_so_many_frames(
    mice: dict[str, Mouse], name: str, window: str, stride: int, expected: int
) -> None:
    loader = load(mice[name], window, stride=stride, shuffle=True)
    assert frames(loader) == {expected}
    same = load(mice[name], expected, stride=stride, shuffle=True)
    same.load_state_dict(loader.state_dict())  # which refuses a state of other windows


@pytest.mark.parametrize(
    ("name", "window", "stride", "text"),
    [
        (
            "30",
            "0.55s",
            1,
            r"window='0.55s' is no whole number of frames \(16.5 at 30 Hz\); give window=16 \(0.5333 s\)",
        ),
        ("30", "100ms", 2, r"window='100ms' with stride=2 is no whole number of frames \(1.5 at 30 Hz\)"),
        ("30", "1ms", 1, r"\(0.03 at 30 Hz\); give window=1 \(0.03333 s\)"),
        ("30", "0s", 1, r"\(0 at 30 Hz\); give window=1"),
        ("29.97", "2s", 1, r"\(59.94 at 29.97 Hz\); give window=60 \(2.002 s\)"),
        ("30", "4s", 1, "are shorter than a window of 120 frames"),
        ("unknown", "2s", 1, "window='2s': no one frame rate is known; give a number of frames"),
        ("static", "2s", 1, "window='2s': static trials have no frames; leave window out"),
    ],
)
def test_what_is_no_whole_number_of_frames_is_refused(
    mice: dict[str, Mouse], name: str, window: str, stride: int, text: str
) -> None:
    with pytest.raises(OptionError, match=text) as caught:
        load(mice[name], window, stride=stride)
    assert mice[name].path.name in str(caught.value)


@pytest.mark.parametrize("window", ["2", "s", "-2s", "2 sec", "1e3ms", "nans", "٢s", "2s\n", ""])
def test_other_texts_are_refused(mice: dict[str, Mouse], window: str) -> None:
    expected = "^window: expected a number of frames, or a duration such as '2s' or '500ms', found "
    with pytest.raises(OptionError, match=expected):
        load(mice["30"], window)


def test_each_mouse_has_its_own_frames(mice: dict[str, Mouse]) -> None:
    assert frames(load([mice["30"], mice["7.5"]], "2s")) == {60, 15}
    with pytest.raises(OptionError, match="no one frame rate is known"):
        load([mice["30"], mice["unknown"]], "2s")


def test_a_duration_beside_static_mice_is_refused(mice: dict[str, Mouse]) -> None:
    with pytest.raises(OptionError, match="static trials have no frames"):
        load([mice["30"], mice["static"]], "2s", mixed_kinds=True)

"""Stimuli of train that another tier shows, too: found within a mouse and between mice, and told by the commands."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack import Mouse, OptionError, convert_mouse, open_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import summarize

from .command_line import run
from .mice import Array, trial_path
from .own_mice import floats, integers, write_own

TIERS = ["train", "train", "train", "oracle", "oracle", "test"]


def write(folder: Path, seed: int = 0, frames: int = 12, dtype: Any = np.float32, n_trials: int = 6) -> Path:
    """Write a mouse of which each trial shows another video."""

    def video(trial: int) -> Array:
        return integers(3, 4, frames, seed=100 * seed + trial).astype(dtype)

    made = {"videos": video, "responses": lambda trial: floats(5, frames, seed=trial)}
    return write_own(folder, made, range(n_trials), tiers=TIERS.__getitem__)


def copy_video(source: Path, trial: int, to: Path, other: int) -> None:
    shutil.copy(trial_path(source, "videos", trial), trial_path(to, "videos", other))


def opened(source: Path, **options: Any) -> Mouse:
    return open_mouse(convert_mouse(source, source.parent / "stores", statistics=False, **options).store)


def rows(mouse: Mouse, *others: Mouse, **options: Any) -> list[tuple[Any, ...]]:
    return list(mouse.leaks(list(others), **options).itertuples(index=False, name=None))


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """Trial 4, of oracle, shows the video of trial 1, of train."""
    source = write(tmp_path / "leaky")
    copy_video(source, 1, source, 4)
    return source


def test_a_copy_in_another_tier_is_found(leaky: Path) -> None:
    mouse = opened(leaky)
    assert rows(mouse) == [(0, "leaky", 1, "train"), (0, "leaky", 4, "oracle")]
    assert list(mouse.leaks().columns) == ["stimulus", "mouse", "trial_id", "tier"]
    assert mouse.trials.stimulus_id.tolist() == [0, 1, 2, 3, 1, 5]


def test_repeats_within_train_and_among_the_others_are_no_leaks(tmp_path: Path) -> None:
    source = write(tmp_path / "clean")
    copy_video(source, 0, source, 2)
    copy_video(source, 3, source, 5)
    mouse = opened(source)
    assert rows(mouse) == rows(mouse, max_difference=0) == []
    assert summarize(mouse.path)["leaks"] == []


def test_every_trial_of_a_leaked_stimulus_is_listed(leaky: Path) -> None:
    copy_video(leaky, 1, leaky, 5)
    copy_video(leaky, 1, leaky, 2)
    copy_video(leaky, 0, leaky, 3)
    expected = [(0, 0, "train"), (0, 3, "oracle"), (1, 1, "train"), (1, 2, "train"), (1, 4, "oracle"), (1, 5, "test")]
    assert rows(opened(leaky)) == [(leak, "leaky", trial, tier) for leak, trial, tier in expected]


def test_zeros_and_missing_stimuli_are_no_leaks(tmp_path: Path) -> None:
    source = write(tmp_path / "withheld")
    for trial in (0, 3, 5):
        np.save(trial_path(source, "videos", trial), np.zeros((3, 4, 12), np.float32))
    for trial in (1, 4):
        trial_path(source, "videos", trial).unlink()
    (source / "trialpack.toml").write_text("[variables.videos]\noptional = true")
    mouse = opened(source)
    assert rows(mouse) == rows(mouse, max_difference=0) == rows(mouse, mouse, max_difference=1) == []


def test_values_are_compared_if_asked_for(leaky: Path) -> None:
    path = trial_path(leaky, "videos", 5)
    np.save(path, np.load(trial_path(leaky, "videos", 0)) + np.float32(0.25))
    mouse = opened(leaky)
    near = [(0, "leaky", 0, "train"), (0, "leaky", 5, "test")]
    assert rows(mouse, max_difference=0.3)[:2] == near and len(rows(mouse, max_difference=0.2)) == 2
    with pytest.raises(OptionError, match="^max_difference: expected a number of at least 0"):
        mouse.leaks(max_difference=-0.5)


def test_leaks_between_mice(tmp_path: Path) -> None:
    one, other, third = (write(tmp_path / name, seed) for seed, name in enumerate(("one", "other", "third")))
    copy_video(one, 2, other, 3)  # from train of one to oracle of the other
    copy_video(one, 0, other, 1)  # both of train
    copy_video(other, 0, third, 5)  # does not concern the first
    mice = [opened(source) for source in (one, other, third)]
    assert rows(mice[0]) == rows(mice[1]) == rows(mice[0], mice[2]) == []
    expected = [(0, "one", 2, "train"), (0, "other", 3, "oracle")]
    assert rows(mice[0], mice[1]) == rows(mice[0], mice[1], mice[2]) == expected
    assert rows(mice[1], mice[0]) == [(0, "other", 3, "oracle"), (0, "one", 2, "train")]
    assert {row[1] for row in rows(mice[2], *mice[:2])} == {"other", "third"}
    assert mice[0].leaks(mice[1]).equals(mice[0].leaks([mice[1]]))


@pytest.mark.parametrize("change", [{"frames": 14}, {"dtype": np.float64}, {"dtype": np.uint8}])
def test_mice_of_other_padding_or_dtype_are_compared_by_values(tmp_path: Path, change: dict[str, Any]) -> None:
    """Their digests differ; it says so."""
    one, other = write(tmp_path / "one"), write(tmp_path / "other", 1, **change)
    video = np.load(trial_path(one, "videos", 2)).astype(change.get("dtype", np.float32))
    padding = np.full((3, 4, change.get("frames", 12) - 12), np.nan, video.dtype)
    np.save(trial_path(other, "videos", 3), np.concatenate([video, padding], axis=2))
    mice = opened(one), opened(other)
    with pytest.warns(UserWarning, match="one and other differ in dtype or padding: give max_difference to compare"):
        assert rows(*mice) == []
    assert rows(*mice, max_difference=0) == [(0, "one", 2, "train"), (0, "other", 3, "oracle")]


def test_mice_whose_stimuli_cannot_be_equal_are_no_error(tmp_path: Path, static_folder: Path) -> None:
    """Other sizes of pictures; images beside videos; none at all."""
    one = opened(write(tmp_path / "one"))
    wide = {"videos": lambda trial: integers(3, 5, 12, seed=trial), "responses": lambda _: floats(5, 12)}
    others = [
        opened(write_own(tmp_path / "wide", wide)),
        opened(static_folder),
        opened(write_own(tmp_path / "none", {"responses": lambda _: floats(5, 12)})),
    ]
    assert rows(one, *others) == []
    assert {row[1] for row in rows(one, *others, max_difference=1000)} == {"one"}


def test_images_of_one_number_leak(static_folder: Path) -> None:
    """Between static mice, too; the sample's images are rounded differently."""
    path = static_folder / "meta/trials/frame_image_id.npy"
    numbers, tiers = np.arange(14), np.load(static_folder / "meta/trials/tiers.npy")
    train, test = np.flatnonzero(tiers == "train")[0], np.flatnonzero(tiers == "test")[0]
    numbers[test] = numbers[train]
    np.save(path, numbers)
    found = rows(opened(static_folder))
    assert sorted(row[2:] for row in found) == sorted([(train, "train"), (test, "test")])


@pytest.mark.parametrize("wrong", [5, "other.zarr", [None], {"a": 1}])
def test_only_mice_are_compared(leaky: Path, wrong: Any) -> None:
    with pytest.raises(
        OptionError, match="^other_mice: expected a Mouse, as open_mouse returns it, or several, found "
    ):
        opened(leaky).leaks(wrong)


# What the commands tell

TOLD = "1 stimulus is shown in train and in another tier, too: trial 4 (oracle) shows that of 1"


@pytest.mark.parametrize("verify", [True, False])
def test_a_conversion_says_so(leaky: Path, tmp_path: Path, verify: bool) -> None:
    assert convert_mouse(leaky, tmp_path / "stores", verify=verify).warnings == (TOLD,)
    assert convert_mouse(write(tmp_path / "clean"), tmp_path / "stores", verify=verify).warnings == ()


def test_the_command_line_says_so(leaky: Path, tmp_path: Path) -> None:
    done = run("convert", leaky, "--to", tmp_path / "out")
    assert (done.returncode, f"note: leaky: {TOLD}\n" in done.stderr) == (0, True)
    shown = run("info", tmp_path / "out/leaky.zarr")
    assert shown.returncode == 0 and "leaks" in shown.stdout and "trial 4 (oracle) shows that of 1" in shown.stdout
    document = json.loads(run("info", tmp_path / "out/leaky.zarr", "--json").stdout)
    trials = [{"mouse": "leaky", "trial_id": 1, "tier": "train"}, {"mouse": "leaky", "trial_id": 4, "tier": "oracle"}]
    assert document["leaks"] == [trials]


def test_the_command_line_compares_mice(tmp_path: Path) -> None:
    one, other, third = (write(tmp_path / name, seed) for seed, name in enumerate(("one", "other", "third")))
    copy_video(one, 2, other, 3)
    told = "1 stimulus is shown in train and in another tier, too: trial 3 of other (oracle) shows that of 2 of one"
    out = tmp_path / "out"
    done = run("convert", one, other, third, "--to", out)
    assert done.stderr == f"note: {told}\n"
    again = run("convert", one, other, third, "--to", out, "--skip-existing")
    assert told not in again.stderr, "nothing was converted"
    shutil.rmtree(out / "one.zarr")
    document = json.loads(run("convert", one, other, "--to", out, "--skip-existing", "--json").stdout)
    trials = [{"mouse": "one", "trial_id": 2, "tier": "train"}, {"mouse": "other", "trial_id": 3, "tier": "oracle"}]
    assert document["leaks_between_mice"] == [trials]
    stores = [out / f"{name}.zarr" for name in ("one", "other", "third")]
    assert f"Between mice: {told}\n" in run("info", *stores).stdout
    assert "Between mice" not in run("info", stores[0], stores[2]).stdout
    documents = json.loads(run("info", *stores, "--json").stdout)
    assert [one["leaks"] for one in documents] == [[trials], [trials], []]


def test_many_leaks_are_one_line(tmp_path: Path) -> None:
    source = write_own(
        tmp_path / "many",
        {"images": lambda trial: floats(3, 4, seed=trial // 2), "responses": lambda trial: floats(5, seed=trial)},
        range(20),
        tiers=lambda trial: "test" if trial % 2 else "train",
    )
    (told,) = convert_mouse(source, tmp_path / "stores").warnings
    assert told == (
        "10 stimuli are shown in train and in another tier, too: trial 1 (test) shows that of 0, trial 3 (test) shows "
        "that of 2, trial 5 (test) shows that of 4, trial 7 (test) shows that of 6, …"
    )


def test_the_samples_leak_nothing(tmp_path: Path) -> None:
    """The clips of the published tiers: no clip of train is in another tier."""
    mouse = opened(write_sample(tmp_path, mouse="B", trials=40, neurons=2, image_shape=(4, 6)))
    assert rows(mouse) == rows(mouse, max_difference=1e-3) == []
    assert len(mouse.repeats(max_difference=1e-3)) > 1

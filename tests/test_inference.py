"""The variables of any mouse, from the lengths of its axes."""

import random
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trialpack.convert import plan_mouse
from trialpack.convert.inference import FoundTrials, VariableFinder, count_frames
from trialpack.convert.schema import Schema, parse_schema
from trialpack.store import SourceError
from trialpack.store.variables import Variable

from .own_mice import file_of, floats, write_own

N, OWN = 11, (2, 3, 4, 5)
"""Neurons, and lengths of other axes; frames are 20 to 60, so that no axis can be two things."""


def trials_of(shapes: Mapping[int, tuple[int, ...]], dtype: str = "float32") -> FoundTrials:
    return FoundTrials("data/x", shapes, next(iter(shapes.values())), dtype, shapes.keys())


def finder(found: Mapping[str, FoundTrials], toml: str = "", mouse: str = "lab") -> VariableFinder:
    return VariableFinder("lab", mouse, found, parse_schema("s", toml) if toml else Schema())


def variables(found: Mapping[str, Mapping[int, tuple[int, ...]]], toml: str = "") -> dict[str, tuple[str, ...]]:
    """Return the axes of each variable's files; fail where something is unclear."""
    one = finder({name: trials_of(shapes) for name, shapes in found.items()}, toml)
    result = {variable.name: variable.published_dimensions for variable in one.variables()}
    assert one.problems == []
    return result


def problems(found: Mapping[str, Mapping[int, tuple[int, ...]]], toml: str = "") -> list[str]:
    one = finder({name: trials_of(shapes) for name, shapes in found.items()}, toml)
    one.variables()
    return [problem.what for problem in one.problems]


@st.composite
def mice(draw: Callable[[Any], Any]) -> tuple[dict[str, dict[int, tuple[int, ...]]], dict[str, tuple[str, ...]]]:
    """Make the shapes of a mouse's files, and what their axes are."""
    ids = draw(st.lists(st.integers(0, 99), min_size=1, max_size=6, unique=True))
    frames = {trial: draw(st.integers(20, 60)) for trial in ids}
    in_time = draw(st.booleans())
    shapes = {"responses": {trial: (N, frames[trial]) if in_time else (N,) for trial in ids}}
    expected: dict[str, tuple[str, ...]] = {"responses": ("neuron", "frame") if in_time else ("neuron",)}
    for name in draw(st.lists(st.sampled_from(["a", "b 1", "videos2", "Z"]), max_size=4, unique=True)):
        own = draw(st.lists(st.sampled_from(OWN), max_size=3, unique=True))
        axes: list[Any] = [("own", size) for size in own]
        if draw(st.booleans()):
            axes.insert(draw(st.integers(0, len(axes))), ("neuron", N))
        if in_time and draw(st.booleans()):
            axes.append(("frame", None))
        lacking = draw(st.integers(0, len(ids) - 1))
        shapes[name] = {t: tuple(size or frames[t] for _, size in axes) for t in ids[lacking:]}
        called = {place: f"{name}_channel" if len(own) == 1 else f"{name}_axis_{place}" for place in range(len(axes))}
        expected[name] = tuple(called[place] if kind == "own" else kind for place, (kind, _) in enumerate(axes))
    return shapes, expected


@given(mice(), st.randoms(use_true_random=False))
def test_axes_are_told_apart_by_their_lengths_whatever_the_order_of_trials(
    mouse: tuple[dict[str, dict[int, tuple[int, ...]]], dict[str, tuple[str, ...]]], order: random.Random
):
    shapes, expected = mouse
    assert variables(shapes) == expected
    shuffled = dict[str, dict[int, tuple[int, ...]]]()
    for name in order.sample(list(shapes), len(shapes)):
        shuffled[name] = {trial: shapes[name][trial] for trial in order.sample(list(shapes[name]), len(shapes[name]))}
    assert variables(shuffled) == expected


@given(mice())
def test_what_was_found_is_found_again_when_it_is_declared(
    mouse: tuple[dict[str, dict[int, tuple[int, ...]]], dict[str, tuple[str, ...]]],
):
    shapes, expected = mouse
    toml = "".join(f'[variables."{name}"]\ndimensions = {list(axes)}\n' for name, axes in expected.items())
    assert variables(shapes, toml) == expected


def lengths(*shape: int, trials: int = 4, step: int = 0) -> dict[int, tuple[int, ...]]:
    """Return shapes of which the last axis grows by `step` with each trial."""
    return {t: (*shape[:-1], shape[-1] + step * t) for t in range(trials)}


@pytest.mark.parametrize(
    ("responses", "other", "problem"),
    [
        (lengths(9, 9), lengths(3, 9), "axis 1 of shape (3, 9) could be neuron or frame"),
        (lengths(9, 30), lengths(9, 9, 30), "axis 0 of shape (9, 9, 30) could be neuron or an axis of its own"),
        (lengths(9, 30), lengths(30, 4), "axis 0 of shape (30, 4) could be frame or an axis of its own"),
        (lengths(9, 30), lengths(9, 30, 4), "axis 1 of shape (9, 30, 4) could be frame or an axis of its own"),
    ],
)
def test_an_axis_that_could_be_two_things_is_refused_until_it_is_declared(
    responses: dict[int, tuple[int, ...]], other: dict[int, tuple[int, ...]], problem: str
):
    assert problems({"responses": responses, "x": other}) == [problem]
    axes = ["p", "q", "r"][: len(other[0])]
    assert variables({"responses": responses, "x": other}, f"[variables.x]\ndimensions = {axes}")["x"] == tuple(axes)


def test_lengths_of_several_trials_tell_frames_from_an_axis_of_its_own():
    responses = lengths(9, 30, step=1)
    assert variables({"responses": responses, "x": lengths(4, 30)})["x"] == ("x_axis_0", "x_axis_1")
    assert variables({"responses": responses, "x": lengths(4, 30, step=1)})["x"] == ("x_channel", "frame")
    assert variables({"responses": responses, "x": lengths(30, 30, step=1)})["x"] == ("x_channel", "frame")


def test_known_names_have_their_published_axes_unless_they_are_declared():
    found = {"responses": lengths(9, 30), "videos": lengths(6, 7, 30), "behavior": lengths(3, 30)}
    assert variables(found)["videos"] == ("height", "width", "frame")
    assert variables(found | {"videos": lengths(3, 6, 7, 30)})["videos"][0] == "video_channel"
    toml = '[variables.videos]\ndimensions = ["frame", "height", "width"]\n'
    assert variables(found | {"videos": lengths(30, 6, 7)}, toml)["videos"] == ("frame", "height", "width")
    expected = ["expected the axes (height, width, frame) or (video_channel, height, width, frame), found shape (6, 7)"]
    assert problems(found | {"videos": lengths(6, 7)}) == expected


def test_time_first_mice_are_declared():
    found = {"responses": {t: (30 + t, 9) for t in range(4)}, "x": {t: (30 + t, 9, 2) for t in range(4)}}
    toml = '[variables.responses]\ndimensions = ["frame", "neuron"]\n'
    assert problems(found, toml) == ["axis 0 of shape (30, 9, 2) could be frame or an axis of its own"]
    toml += '[variables.x]\ndimensions = ["frame", "neuron", "k"]\n'
    assert variables(found, toml)["x"] == ("frame", "neuron", "k")


def test_channels_that_are_known_have_their_names_where_their_number_is_right():
    def channels(count: int, toml: str = "") -> list[tuple[str, str]]:
        shapes = {"responses": lengths(9, 30), "behavior": lengths(count, 30)}
        found = finder({name: trials_of(one) for name, one in shapes.items()}, toml).variables()
        return [(one.name, one.units) for one in found[1].channels]

    assert [name for name, _ in channels(2)] == ["pupil dilation", "running speed"]
    assert channels(3)[2] == ("running speed", "cm/s") and channels(4) == []
    assert channels(1, '[variables.behavior]\nchannels = [{ name = "v", units = "m/s" }]') == [("v", "m/s")]


def test_frame_rates_are_declared_or_published():
    def rates(toml: str = "", mouse: str = "lab") -> list[float | None]:
        shapes = {"responses": lengths(9, 30), "x": lengths(2, 30), "y": lengths(2)}
        found = finder({name: trials_of(one) for name, one in shapes.items()}, toml, mouse).variables()
        return [one.frame_rate for one in found]

    assert rates() == [None, None, None]
    assert rates("frame_rate = 25\n[variables.x]\nframe_rate = 100") == [25, 100, None]
    assert rates(mouse="dynamic29156-11-10-Video-8744edeac3b4d1ce16b680916b5267ce") == [30, 30, None]


def test_variables_without_trials_in_common_with_the_frames_are_not_guessed():
    found = {"responses": {t: (9,) for t in range(6)}, "pupil_center": {t: (2, 30) for t in range(3)}}
    assert variables(found | {"x": {t: (4, 30) for t in range(3, 6)}})["x"] == ("x_axis_0", "x_axis_1")


def test_frames_are_counted_trial_by_trial():
    shapes = {"responses": lengths(9, 30, step=2), "x": lengths(2, 30, step=2), "y": lengths(3, 30, step=2)}
    shapes["y"][2] = (3, 33)
    found = {name: trials_of(one) for name, one in shapes.items()}
    reports = list[tuple[str, str, int | None]]()
    counts = count_frames(finder(found).variables(), found, range(4), lambda *one: reports.append(one))
    assert (counts.longest, counts.of_trials) == (36, (30, 32, 34, 36))
    assert reports == [("expected shape (3, 34) as in the other trials, found (3, 33)", "y", 2)]


def planned(folder: Path) -> tuple[tuple[Variable, ...], tuple[int, ...] | None, dict[str, tuple[int, ...]]]:
    survey = plan_mouse(folder, folder.parent / "stores").survey
    return survey.variables, survey.n_file_frames, {name: spec.shape for name, spec in survey.specs.items()}


@given(st.lists(st.sampled_from([20, 21, 35, 50]), min_size=1, max_size=30))
def test_few_headers_tell_the_lengths_of_all_trials(tmp_path_factory: pytest.TempPathFactory, frames: list[int]):
    place = tmp_path_factory.mktemp("lengths")
    made = {"responses": lambda t: np.zeros((N, frames[t]), "f4"), "x": lambda t: np.zeros((2, frames[t]), "f8")}
    found, counts, shapes = planned(write_own(place / "lab", made, range(len(frames))))
    assert [one.published_dimensions for one in found] == [("neuron", "frame"), ("x_channel", "frame")]
    assert shapes == {"responses": (N, max(frames)), "x": (2, max(frames))}
    assert counts == (tuple(frames) if len(set(frames)) > 1 else None)


def test_the_order_of_files_in_an_archive_does_not_matter(tmp_path: Path):
    frames = [20, 30, 20, 30, 30, 20]
    made = {"responses": lambda t: floats(N, frames[t]), "x": lambda t: floats(2, frames[t], 3)}
    toml = '[variables.x]\ndimensions = ["k", "frame", "l"]\n'
    folder = write_own(tmp_path / "lab", made, range(6), toml=toml)
    found = list[Any]()
    for seed in range(4):
        path = tmp_path / f"{seed}" / "lab.zip"
        path.parent.mkdir()
        names = sorted(one for one in folder.rglob("*") if one.is_file())
        random.Random(seed).shuffle(names)
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.write(name, f"lab/{name.relative_to(folder)}")
        found.append(planned(path))
    assert all(one == planned(folder) for one in found)


def test_a_folder_whose_name_cannot_be_is_to_be_renamed(tmp_path: Path):
    made = {"responses": lambda t: floats(N, 20), "tür": lambda t: floats(20), "frame": lambda t: floats(20)}
    with pytest.raises(SourceError) as raised:
        planned(write_own(tmp_path / "lab", made))
    lines = list(map(str, raised.value.problems))
    assert len(lines) == 2 and all(line.endswith("rename it") for line in lines)
    assert "data/frame: a variable cannot be called 'frame'" in lines[0]


def test_an_axis_of_no_size_is_refused_with_each_file_that_was_looked_at(tmp_path: Path):
    made = {"responses": lambda t: floats(N, 20), "x": lambda t: floats(0, 20)}
    folder = write_own(tmp_path / "lab", made, range(2))
    with pytest.raises(SourceError, match=r"data/x/0\.npy: expected values along every axis, found shape \(0, 20\)"):
        planned(folder)


def test_trials_of_other_dtypes_or_axes_are_named(tmp_path: Path):
    folder = write_own(tmp_path / "lab", {"responses": lambda t: floats(N, 20), "x": lambda t: floats(2, 20)})
    np.save(file_of(folder, "x", 3), floats(3, 2, 20))
    np.save(file_of(folder, "x", 5), np.zeros((2, 20), np.int16))
    with pytest.raises(SourceError) as raised:
        planned(folder)
    assert {problem.member for problem in raised.value.problems} == {"data/x/3.npy", "data/x/5.npy"}

"""One trial as a figure, and ``trialpack show``: what is drawn must be what is in the trial."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import open_mouse, panels, repeats_figure, save_movie, trial_figure
from trialpack.readers.figure import picture_formats
from trialpack.store import OptionError

from .command_line import TRIALPACK, run
from .mice import edit, trial_path
from .own_mice import floats, write_own

ALL = ("videos", "responses", "behavior", "pupil_center")


@pytest.fixture
def opened(fresh, converted):
    """Open a tiny mouse after changes to its files: (trial, variables, function) each."""

    def make(name, *changes):
        folder = fresh(name)
        for trial, variables, change in changes:
            for variable in variables:
                edit(trial_path(folder, variable, trial), change)
        return open_mouse(converted(folder, statistics=False, verify=False))

    return make


def cut(n_frames):
    """Leave so many valid frames of a published array."""

    def change(values):
        values = values.copy()
        values[..., n_frames:] = np.nan
        return values

    return change


def rendered(mouse, trial_id):
    """Return the figure of a trial, laid out, so that whatever that warns about fails the test."""
    figure = trial_figure(mouse, trial_id)
    figure.draw_without_rendering()
    return figure


def texts(figure):
    """Return all text in a figure, as drawn."""
    return [one.get_text() for one in figure.findobj(lambda artist: hasattr(artist, "get_text")) if one.get_visible()]


def panel(figure, label):
    """Return the axes whose label starts so."""
    (found,) = [axes for axes in figure.axes if axes.get_ylabel().replace("\n", " ").startswith(label)]
    return found


def curve(axes, line=0):
    return np.asarray(axes.lines[line].get_ydata())


def shaded(axes):
    """Return where the shaded part of axes along time begins and ends; None without one."""
    extents = [patch.get_extents().transformed(axes.transData.inverted()) for patch in axes.patches]
    return (round(extents[0].x0, 6), round(extents[0].x1, 6)) if extents else None


def pictures(axes):
    """Return caption -> pixels of the pictures placed in axes."""
    return {one.get_title(): one.images[0].get_array() for one in axes.child_axes if one.images}


def test_a_dynamic_trial(opened):
    mouse = opened("dynamic_folder")
    figure, trial = trial_figure(mouse, 3), mouse.trial(3)
    assert (trial.n_frames, mouse["videos"].shape[1]) == (300, 324)
    title = figure.get_suptitle()
    for word in ("mouse A", "dynamic29156-11-10", "trial 3", "tier train", "300 of 324 frames", "20 neurons"):
        assert word in title
    assert "withheld" not in title and "zero" not in title
    assert "trial 3, stimulus 3, shown as number 3" in title and "300 of 324 frames (10 s)" in title
    assert len(figure.axes) == 6
    for axes in figure.axes:
        assert axes.get_xlim() == (0, 324)
        assert shaded(axes) == (300, 324)
    assert "padding,\n24 frames" in texts(figure)
    assert figure.axes[-1].get_xlabel() == "frame"
    (seconds,) = [one for one in figure.axes[-1].child_axes if one.get_xlabel()]
    figure.draw_without_rendering()
    assert seconds.get_xlabel() == "seconds (30 Hz)" and seconds.get_xlim() == pytest.approx((0, 324 / 30))


def test_what_is_drawn_is_what_was_recorded(opened):
    mouse = opened("dynamic_folder")
    figure, trial = trial_figure(mouse, 3), mouse.trial(3)
    responses = trial["responses"]
    (image,) = panel(figure, "neurons, most").images
    order = np.argsort(-responses.mean(axis=1, dtype=float), kind="stable")
    np.testing.assert_array_equal(image.get_array(), responses[order])
    assert image.get_extent() == [0, 300, 20, 0]
    strip = panel(figure, "video")
    assert list(pictures(strip)) == [f"frame {frame}" for frame in (18, 56, 93, 131, 168, 206, 243, 281)]
    for caption, pixels in pictures(strip).items():
        np.testing.assert_array_equal(pixels, trial["videos"][int(caption.split()[1])])
    np.testing.assert_array_equal(curve(panel(figure, "pupil dilation (px)")), trial["behavior"][0])
    np.testing.assert_array_equal(curve(panel(figure, "running speed (cm/s)")), trial["behavior"][1])
    for axis in (0, 1):
        np.testing.assert_array_equal(curve(panel(figure, "pupil center (px)"), axis), trial["pupil_center"][axis])


def test_a_picture_stands_above_its_frame(opened):
    figure = rendered(opened("dynamic_folder"), 3)
    strip = panel(figure, "video")
    for one in strip.child_axes:
        box = one.get_window_extent().transformed(strip.transData.inverted())
        assert (box.x0 + box.x1) / 2 == pytest.approx(int(one.get_title().split()[1]) + 0.5, abs=0.6)
        assert 0 <= box.x0 and box.x1 <= 300


def test_traces_are_the_neurons_that_vary_most(opened):
    mouse = opened("dynamic_folder")
    axes, responses = panel(trial_figure(mouse, 3), "neurons of"), mouse.trial(3)["responses"]
    chosen = sorted(np.argsort(-responses.var(axis=1))[:5])
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        str(mouse.neurons.unit_ids[neuron]) for neuron in chosen
    ]
    assert axes.get_ylabel().replace("\n", " ") == "neurons of largest variance, unit id"
    for line, (neuron, offset) in enumerate(zip(chosen, axes.get_yticks(), strict=True)):
        np.testing.assert_allclose((curve(axes, line) - offset) * responses[neuron].max(), responses[neuron], atol=1e-4)
        assert f"peak {responses[neuron].max():.3g} a.u." in [text.get_text() for text in axes.texts]


def test_many_neurons_are_averaged_in_groups(tmp_path, converted):
    folder = write_sample(tmp_path, mouse="A", trials=1, neurons=1001, image_shape=(6, 8))
    mouse = open_mouse(converted(folder))
    axes, responses = panel(trial_figure(mouse, 0), "neurons, most"), mouse.trial(0)["responses"]
    assert "mean of 3" in axes.get_ylabel()
    ordered = responses[np.argsort(-responses.mean(axis=1, dtype=float), kind="stable")]
    shown = axes.images[0].get_array()
    assert shown.shape == (334, 300)
    np.testing.assert_allclose(shown[7], ordered[21:24].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(shown[-1], ordered[999:].mean(axis=0), rtol=1e-5)
    assert axes.get_ylim() == (1001, 0) and axes.images[0].get_extent()[2] == 1002


def test_withheld_responses_are_said_not_drawn(opened):
    mouse = opened("float64_folder")
    trial_id = int(mouse.recording.trial_ids[mouse.recording.withheld][0])
    figure = rendered(mouse, trial_id)
    assert "responses withheld" in figure.get_suptitle()
    assert mouse.trial(trial_id).tier in figure.get_suptitle()
    axes = panel(figure, "responses")
    assert [text.get_text() for text in axes.texts] == ["responses withheld by the publisher (zeros)"]
    assert not axes.images and not figure.findobj(lambda artist: artist.get_label() == "<colorbar>")
    assert len(figure.axes) == 5 and {one.get_xlim() for one in figure.axes} == {(0, 324)}


def test_the_broken_trial_has_no_padding(tmp_path, converted):
    """Trial 668 of mouse D alone is valid to the end, 403 frames; all others are padded."""
    folder = write_sample(tmp_path, mouse="D", trial_ids=[0, 668], neurons=5, image_shape=(6, 8))
    mouse = open_mouse(converted(folder))
    figure = trial_figure(mouse, 668)
    assert "valid length 403 of 403 frames" in figure.get_suptitle()
    assert {shaded(axes) for axes in figure.axes} == {None}
    assert not any("padding" in text for text in texts(figure))
    assert panel(figure, "neurons, most").images[0].get_array().shape == (5, 403)
    assert {shaded(axes) for axes in trial_figure(mouse, 0).axes} == {(300, 403)}


@pytest.mark.parametrize("n_frames", [1, 3])
def test_a_few_valid_frames(opened, n_frames):
    figure = rendered(opened("dynamic_folder", (3, ALL, cut(n_frames))), 3)
    assert f"valid length {n_frames} of 324 frames" in figure.get_suptitle()
    for axes in figure.axes:
        assert axes.get_xlim() == (0, 324) and shaded(axes) == (n_frames, 324)
    (one,) = panel(figure, "video").child_axes
    box = one.get_window_extent()
    assert box.x0 >= panel(figure, "video").get_window_extent().x0 - 1
    dots = panel(figure, "pupil dilation").lines[0].get_markevery()
    assert dots == ([0] if n_frames == 1 else []), "a single value is a dot, or it would not be seen"


def test_nan_among_valid_frames(opened):
    def hole(values):
        values = values.copy()
        values[..., 100:140] = np.nan
        values[..., 120] = 50
        values[0, ...] = np.nan
        return values

    mouse = opened("dynamic_folder", (3, ALL, hole))
    figure, trial = rendered(mouse, 3), mouse.trial(3)
    shown = panel(figure, "neurons, most").images[0].get_array()
    assert shown.mask.sum() == np.isnan(trial["responses"]).sum() == 300 + 19 * 39
    assert shown.mask[-1].all(), "a neuron without any number is the last"
    running = panel(figure, "running speed")
    np.testing.assert_array_equal(curve(running), trial["behavior"][1])
    assert running.lines[0].get_markevery() == [120]
    assert running.get_title(loc="right") == "39 of 300 values are missing (NaN)"
    assert panel(figure, "pupil dilation").get_title(loc="right") == "300 of 300 values are missing (NaN)"


def test_zeros_are_pointed_out(opened):
    def zero(values):
        return np.where(np.isnan(values), values, 0)

    mouse = opened("dynamic_folder", (3, ["behavior", "pupil_center"], zero), (6, ["behavior"], zero))
    assert "behavior and pupil center all zero" in trial_figure(mouse, 3).get_suptitle()
    figure = trial_figure(mouse, 6)
    assert "zero" not in figure.get_suptitle()
    assert panel(figure, "running speed").get_title(loc="right") == "zero throughout"
    assert panel(figure, "pupil center").get_title(loc="right") == ""


@pytest.mark.parametrize(("count", "label"), [(1, "behavior"), (3, "derivative of pupil dilation")])
def test_other_numbers_of_behavior_channels(opened, count, label):
    def change(values):
        return values[[0, 0, 1][:count]]

    mouse = opened(
        "dynamic_folder", *((trial, ["behavior"], change) for trial in (0, 3, 6, 9, 10, 11, 12, 13, 14, 16, 17, 18))
    )
    figure = trial_figure(mouse, 3)
    assert len(figure.axes) == 4 + count
    panel(figure, label)


def test_a_static_trial(tmp_path, converted):
    """Mouse S1, with a second channel of each image."""
    folder = write_sample(tmp_path, mouse="S1", trials=3, neurons=60, image_shape=(9, 16))
    for trial_id in (0, 1, 2):
        edit(trial_path(folder, "images", trial_id), lambda values: np.concatenate([values, 255 - values]))
    mouse = open_mouse(converted(folder))
    trial = mouse.trial(0)
    assert not trial.withheld
    figure = trial_figure(mouse, 0)
    for word in ("mouse S1", "static27204-5-13", "trial 0", f"tier {trial.tier}", "60 neurons"):
        assert word in figure.get_suptitle()
    assert "frames" not in figure.get_suptitle()
    first, second, listed, each, ranked, cortex, _, parts = figure.axes
    for channel, axes in enumerate((first, second)):
        np.testing.assert_array_equal(axes.images[0].get_array(), trial["images"][channel])
        assert axes.images[0].get_clim() == (0, 255) and axes.get_title().startswith(
            f"images {channel}, 9 × 16 px, grey level 0 to 255"
        )
    heights = [segment[1, 1] for segment in each.collections[0].get_segments()]
    np.testing.assert_allclose(heights, trial["responses"])
    np.testing.assert_array_equal(curve(ranked), np.sort(trial["responses"])[::-1])
    assert each.get_ylabel() == "responses\n(a.u.)"
    places = mouse.neurons[["cell_motor_coordinates_0", "cell_motor_coordinates_1"]]
    np.testing.assert_array_equal(cortex.collections[1].get_offsets(), places)
    np.testing.assert_array_equal(cortex.collections[1].get_array(), trial["responses"])
    assert [label.get_text() for label in parts.get_yticklabels()] == ["V1 L2/3 (60)"]
    assert parts.patches[0].get_width() == pytest.approx(trial["responses"].mean())
    words = [text.get_text() for text in listed.texts]
    dilation, _, speed = trial["behavior"]
    for text in ("running speed", f"{dilation:.3g} px", f"{speed:.3g} cm/s", f"{trial['pupil_center'][1]:.3g} px"):
        assert text in words


def test_a_withheld_static_trial(opened):
    mouse = opened("static_folder")
    figure = rendered(mouse, int(mouse.recording.trial_ids[mouse.recording.withheld][0]))
    assert "responses withheld, behavior and pupil center all zero" in figure.get_suptitle()
    assert "responses withheld by the publisher (zeros)" in texts(figure)
    assert len(figure.axes) == 3


@pytest.mark.parametrize(
    "change", [lambda values: np.where(np.arange(6) % 2, values, np.nan), lambda values: values * 0 - 1]
)
def test_odd_static_responses(opened, change):
    mouse = opened("static_folder", (0, ["responses"], change))
    each = panel(rendered(mouse, 0), "response")
    assert bool(each.get_title(loc="right")) == bool(np.isnan(mouse.trial(0)["responses"]).any())


def check_boxes(figure):
    """Check that no panel overlaps another one, or is cut off."""
    page, whole = figure.bbox, figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert page.x0 <= whole.x0 and whole.x1 <= page.x1 and page.y0 <= whole.y0 and whole.y1 <= page.y1
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for place, box in enumerate(boxes):
        for other in boxes[:place]:
            apart = box.x0 >= other.x1 - 1 or other.x0 >= box.x1 - 1 or box.y1 <= other.y0 + 1 or other.y1 <= box.y0 + 1
            assert apart, (box, other)


@pytest.mark.parametrize(("name", "trial_id"), [("dynamic_folder", 3), ("float64_folder", 2), ("static_folder", 0)])
def test_nothing_overlaps_or_is_cut_off(opened, name, trial_id):
    check_boxes(rendered(opened(name), trial_id))


ORDERED = {
    "position": lambda table: np.arange(len(table)),
    "depth": lambda table: np.argsort(table.cell_motor_coordinates_2, kind="stable"),
    "area": lambda table: np.argsort(table.area, kind="stable"),
}


@pytest.fixture(scope="module")
def repeated(sample_mice, tmp_path_factory):
    """Mouse A, in which trials 3, 9 and 11 show the same, 11 for a shorter time; with areas of neurons."""
    folder = shutil.copytree(sample_mice["dynamic_folder"], tmp_path_factory.mktemp("repeated") / "mouse")
    for trial in (9, 11):
        shutil.copy(trial_path(folder, "videos", 3), trial_path(folder, "videos", trial))
    for variable in ALL:
        for trial in (3, 9, 11):
            edit(trial_path(folder, variable, trial), cut(250 if variable == "videos" or trial != 11 else 240))
    edit(trial_path(folder, "videos", 11), cut(250))
    for variable in ALL[1:]:
        edit(
            trial_path(folder, variable, 11),
            lambda values: np.where(np.arange(324) < 250, np.nan_to_num(values), np.nan),
        )
    np.save(folder / "meta/neurons/area.npy", np.array(["V1", "LM", "AL", "V1", "RL"] * 4))
    return open_mouse(convert_mouse(folder, folder.parent / "stores").store)


@pytest.mark.parametrize("sort", list(ORDERED))
def test_rasters_are_sorted_as_asked(repeated, sort):
    order = ORDERED[sort](repeated.neurons)
    axes = panel(trial_figure(repeated, 3, sort=sort), "neurons, by")
    np.testing.assert_array_equal(axes.images[0].get_array(), repeated.trial(3)["responses"][order])
    if sort == "area":
        assert [label.get_text() for label in axes.get_yticklabels()] == ["AL", "LM", "RL", "V1"]
        assert axes.get_yticks().tolist() == [2, 6, 10, 16]


def test_neurons_are_sorted_by_their_reliability(repeated):
    order = np.argsort(-repeated.repeats().reliability()["oracle"].to_numpy(), kind="stable")
    axes = panel(trial_figure(repeated, 3, sort="reliability"), "neurons, most reliable")
    np.testing.assert_array_equal(axes.images[0].get_array(), repeated.trial(3)["responses"][order])


def test_some_neurons_with_their_unit_ids_and_areas(repeated):
    figure = trial_figure(repeated, 3, neurons={"area": ["LM", "AL"]}, sort="position")
    chosen = repeated.positions({"area": ["LM", "AL"]})
    assert "8 of 20 neurons" in figure.get_suptitle()
    np.testing.assert_array_equal(
        panel(figure, "neurons, by").images[0].get_array(), repeated.trial(3)["responses"][chosen]
    )
    labels = [
        label.get_text() for label in panel(figure, "neurons of largest variance, unit id and area").get_yticklabels()
    ]
    table = repeated.neurons.iloc[chosen]
    assert len(labels) == 5
    assert set(labels) <= {f"{unit} {area}" for unit, area in zip(table.unit_ids, table.area, strict=True)}


def test_what_neurons_cannot_be_sorted_by(opened):
    mouse = opened("dynamic_folder")
    for sort, words in {
        "area": "the area of neurons is not known; sort them by activity, position",
        "reliability": "no two of the 12 chosen trials show the same stimulus",
        "size": "sort: expected 'activity' or 'position'",
    }.items():
        with pytest.raises(OptionError, match=words):
            trial_figure(mouse, 3, sort=sort)


def test_behavior_stands_beside_its_usual_range(repeated):
    found = repeated.statistics["behavior"]["over_trials_and_frames"]
    running = panel(trial_figure(repeated, 3), "running speed")
    usual = running.lines[1].get_ydata()
    expected = max(found.mean[1] - found.std[1], found.min[1]), min(found.mean[1] + found.std[1], found.max[1])
    np.testing.assert_allclose(usual, expected)
    assert "usual\n(mean ± std)" in [text.get_text() for text in running.texts]


def test_repeats_are_averaged_with_their_spread(repeated):
    figure = repeats_figure(repeated, 3, sort="position")
    figure.draw_without_rendering()
    title = figure.get_suptitle()
    assert (
        "stimulus 3" in title and "mean of 3 repeats (trials 3, 9, 11)" in title and "tier final_test_bonus, " in title
    )
    values = np.stack([repeated.trial(trial)["responses"][:, :250] for trial in (3, 9, 11)]).astype(float)
    shown = panel(figure, "neurons, by").images[0].get_array()
    np.testing.assert_allclose(shown, values.mean(axis=0), atol=1e-6)
    for caption, pixels in pictures(panel(figure, "video")).items():
        np.testing.assert_array_equal(pixels, repeated.trial(3)["videos"][int(caption.split()[1])])
    running = np.stack([repeated.trial(trial)["behavior"][1, :250] for trial in (3, 9, 11)]).astype(float)
    axes = panel(figure, "running speed")
    np.testing.assert_allclose(curve(axes), running.mean(axis=0), atol=1e-6)
    vertices = axes.collections[0].get_paths()[0].vertices
    assert vertices[:, 1].max() == pytest.approx((running.mean(axis=0) + running.std(axis=0, ddof=1)).max(), rel=1e-5)
    assert "± std over repeats" in panel(figure, "neurons of").get_ylabel().replace("\n", " ")


def test_repeats_that_are_none(repeated):
    with pytest.raises(OptionError, match="no repeats of a stimulus 6; there are 3"):
        repeats_figure(repeated, 6)


def test_figures_show_themselves_in_notebooks(opened):
    picture = trial_figure(opened("static_folder"), 0)._repr_png_()
    assert picture.startswith(b"\x89PNG")


def test_names_are_no_formulas(tmp_path, converted):
    folder = write_own(tmp_path / "a $x_{$ b", {"responses": lambda trial: floats(3, 9, seed=trial)})
    figure = trial_figure(open_mouse(converted(folder)), 0)
    figure.draw_without_rendering()
    assert "$x" in figure.get_suptitle()


def test_a_clip_has_the_pictures_and_the_time_of_the_trial(repeated, tmp_path):
    from PIL import Image

    for name in ("a.gif", "a.webp"):
        save_movie(repeated, 3, tmp_path / name)
        with Image.open(tmp_path / name) as clip:
            assert clip.n_frames == 125
            seconds = 0
            for frame in range(clip.n_frames):
                clip.seek(frame)
                clip.load()
                seconds += clip.info["duration"] / 1000
            assert seconds == pytest.approx(250 / 30, abs=0.05)
            clip.seek(100)
            shown = np.asarray(clip.convert("L"), float)
        expected = repeated.trial(3)["videos"][200]
        assert np.corrcoef(_corners(shown[:240], expected.shape), expected.ravel())[0, 1] > 0.95


def _corners(video, shape):
    """Return the pixels of a picture that was drawn larger, in a page that is white around it."""
    ink = video < 254
    rows, columns = np.flatnonzero(ink.mean(axis=1) > 0.3), np.flatnonzero(ink.mean(axis=0) > 0.5)
    picture = video[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    places = [((np.arange(n) + 0.5) * size / n).astype(int) for n, size in zip(shape, picture.shape, strict=True)]
    return picture[np.ix_(*places)].ravel()


@pytest.mark.parametrize(
    ("name", "kind", "words"), [("a.mp4", "dynamic", "no format of clips"), ("a.gif", "static", "no videos, of which")]
)
def test_what_no_clip_can_be_made_of(opened, tmp_path, name, kind, words):
    with pytest.raises(OptionError, match=words):
        save_movie(opened(f"{kind}_folder"), 3, tmp_path / name)
    assert list(tmp_path.glob("a.*")) == []


def test_only_the_trial_is_read(opened, monkeypatch):
    mouse = opened("dynamic_folder")
    read, original = [], type(mouse).trial
    monkeypatch.setattr(type(mouse), "trial", lambda self, trial_id: read.append(trial_id) or original(self, trial_id))
    monkeypatch.setattr(type(mouse), "__getitem__", None)
    monkeypatch.setattr(type(mouse), "dask", None)
    trial_figure(mouse, 6)
    assert read == [6]


def test_no_window_and_no_settings(opened, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    before = rcParams.copy()
    assert isinstance(trial_figure(opened("dynamic_folder"), 3), Figure)
    assert rcParams.copy() == before


def test_an_unknown_trial(opened):
    with pytest.raises(OptionError, match="no trial_id 1;"):
        trial_figure(opened("dynamic_folder"), 1)


def test_without_matplotlib(opened, monkeypatch):
    mouse = opened("dynamic_folder")
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    for call in (lambda: trial_figure(mouse, 3), picture_formats):
        with pytest.raises(OptionError, match="needs the package matplotlib; pip install matplotlib"):
            call()


@pytest.mark.parametrize("n", [1, 5, 400, 401, 800, 801, 8000])
def test_groups_are_as_small_as_a_picture_allows(n):
    shown, group = panels.binned(np.arange(2.0 * n).reshape(n, 2))
    assert len(shown) <= panels.RASTER_ROWS and group == panels.neurons_in_a_row(n)
    assert group == 1 or -(-n // (group - 1)) > panels.RASTER_ROWS


@pytest.fixture
def store(fresh, converted):
    return converted(fresh("float64_folder"), statistics=False, verify=False)


def test_show_draws_a_train_trial_by_default(store, tmp_path):
    place = tmp_path / "here"
    place.mkdir()
    mouse = open_mouse(store)
    train = mouse.trials[(mouse.trials.tier == "train") & ~mouse.trials.withheld]
    name = f"dynamic29515-10-12-trial-{train.index[0]}.png"
    for _ in ("new", "replaced"):
        done = run("show", store, cwd=place)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}\n", "")
    assert [path.name for path in place.iterdir()] == [name]
    assert (place / name).read_bytes().startswith(b"\x89PNG")


def test_show_falls_back_to_the_first_trial(tmp_path, converted):
    folder = write_sample(tmp_path, mouse="F", trial_ids=[2, 4], neurons=5, image_shape=(6, 8))
    done = run("show", converted(folder), cwd=tmp_path)
    assert done.stdout == "dynamic29515-10-12-trial-2.png\n"


@pytest.mark.parametrize(("name", "start"), [("trial.svg", b"<?xml"), ("TRIAL.PDF", b"%PDF"), ("a.jpg", b"\xff\xd8")])
def test_the_suffix_says_the_format(store, tmp_path, name, start):
    done = run("show", store, "--trial", 2, "-o", tmp_path / name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / name}\n"), done.stderr
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "trial.docx"], ["trial.docx: no picture format (ends in .docx)", "pdf, png", "svg"]),
        (["-o", "trial"], ["has no suffix", "png"]),
        (["-o", "no/trial.png"], ["no: no such folder"]),
        (["--trial", "99"], ["no trial_id 99"]),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_no_file(store, tmp_path, arguments, words):
    place = tmp_path / "here"
    place.mkdir()
    done = run("show", store, *arguments, cwd=place)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1 and all(word in done.stderr for word in words)
    assert list(place.iterdir()) == []


def test_a_folder_is_no_picture(store, tmp_path):
    (tmp_path / "a.png").mkdir()
    assert run("show", store, "-o", "a.png", cwd=tmp_path).returncode == 2


def test_a_full_disk_leaves_no_half_picture(store, tmp_path):
    """The limit on the size of a file stands for a full disk, as in test_cli."""
    limit = "import resource, signal, sys, os; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); os.environ.update(PYTHONDONTWRITEBYTECODE='1'); "
    limit += "os.execv(sys.argv[1], sys.argv[1:])"  # it would leave cut files of bytecode
    place = tmp_path / "here"
    place.mkdir()
    (place / "a.png").write_bytes(b"the old one")
    command = [sys.executable, "-c", limit, str(TRIALPACK), "show", str(store), "-o", "a.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "File too large" in done.stderr
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {"a.png": b"the old one"}


# Mice of other labs


def write_lab(folder, trials, variables, schema="", lacking=()):
    """Write a mouse: variables are functions of a trial's number; `lacking` are pairs of variable and trial."""
    for trial in range(trials):
        for name, make in variables.items():
            if (name, trial) not in lacking:
                (folder / "data" / name).mkdir(parents=True, exist_ok=True)
                np.save(folder / "data" / name / f"{trial}.npy", make(trial))
    (folder / "meta/trials").mkdir(parents=True)
    np.save(folder / "meta/trials/tiers.npy", np.array(["train"] * trials))
    (folder / "trialpack.toml").write_text(schema)
    return folder


def frames(trial):
    return 20 + 5 * trial


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A mouse without stimulus, with every kind of variable, and trials of different lengths."""
    place, random = tmp_path_factory.mktemp("lab"), np.random.default_rng(3)
    variables = {
        "responses": lambda trial: random.normal(size=(9, frames(trial))).astype(np.float32),
        "spikes": lambda trial: random.integers(0, 4, (9, frames(trial))).astype(np.int16),
        "eye_video": lambda trial: random.integers(0, 255, (6, 8, frames(trial))).astype(np.uint8),
        "gaze": lambda trial: random.normal(size=(2, frames(trial))),
        "treadmill": lambda trial: random.normal(size=(3, frames(trial))).astype(np.float16),
        "lfp": lambda trial: random.normal(size=(11, frames(trial))).astype(np.float32),
        "lick": lambda trial: np.arange(frames(trial)) % 2 == 0,
        "face": lambda trial: random.integers(0, 255, (5, 7)).astype(np.uint8),
        "depth": lambda trial: random.normal(size=9),
        "lever": lambda trial: np.array(trial - 7, np.int64),
        "rewarded": lambda trial: np.array(trial == 1),
        "tensor": lambda trial: random.normal(size=(9, 3)),
    }
    schema = """
frame_rate = 25
[variables.eye_video]
optional = true
missing = 0
[variables.gaze]
channels = [{ name = "x", units = "deg" }, { name = "y", units = "deg" }]
[variables.treadmill]
channels = [{ name = "forward", units = "cm/s" }, { name = "body sway", units = "" }, { name = "yaw", units = "deg/s" }]
[variables.lever]
units = "mm"
optional = true
missing = -99
"""
    folder = write_lab(place / "lab7", 3, variables, schema, [("eye_video", 2), ("lever", 2)])
    return open_mouse(convert_mouse(folder, place / "stores").store)


def test_every_variable_is_drawn_by_what_it_is(lab):
    figure, trial = trial_figure(lab, 1), lab.trial(1)
    assert "valid length 25 of 25 frames" in figure.get_suptitle() and "zero" not in figure.get_suptitle()
    strip = panel(figure, "eye video, 6 × 8 px, grey level 0 to 255")
    for caption, pixels in pictures(strip).items():
        np.testing.assert_array_equal(pixels, trial["eye_video"][int(caption.split()[1])])
    order = np.argsort(-trial["spikes"].mean(axis=1), kind="stable")
    np.testing.assert_array_equal(panel(figure, "spikes").images[0].get_array(), trial["spikes"][order])
    np.testing.assert_array_equal(panel(figure, "lfp, 11 channels").images[0].get_array(), trial["lfp"])
    for axis in (0, 1):
        np.testing.assert_array_equal(curve(panel(figure, "gaze (deg)"), axis), trial["gaze"][axis])
    for channel, label in enumerate(["treadmill forward (cm/s)", "body sway", "treadmill yaw (deg/s)"]):
        np.testing.assert_array_equal(curve(panel(figure, label)), trial["treadmill"][channel])
    np.testing.assert_array_equal(curve(panel(figure, "lick")), trial["lick"])
    heights = [segment[1, 1] for segment in panel(figure, "depth").collections[0].get_segments()]
    np.testing.assert_allclose(heights, trial["depth"])
    (face,) = [axes for axes in figure.axes if axes.get_title() == "face, 5 × 7 px, grey level 0 to 255"]
    np.testing.assert_array_equal(face.images[0].get_array(), trial["face"])
    words = texts(figure)
    for word in ("lever", "-6 mm", "rewarded", "True", "seconds (25 Hz)", "not drawn: tensor", "x", "y"):
        assert word in words


def test_a_trial_that_lacks_variables_and_one_that_is_shorter(lab):
    words = texts(rendered(lab, 2))
    assert words.count("not recorded in this trial") == 1 and "not recorded" in words
    figure = rendered(lab, 0)
    assert shaded(panel(figure, "lick")) == (20, 30) and panel(figure, "lick").get_xlim() == (0, 30)
    assert "longest trial:\n30 frames" in texts(figure)


def test_colours_and_other_channels_of_pictures(tmp_path):
    random = np.random.default_rng(4)
    variables = {
        "responses": lambda _: random.normal(size=(4, 30)),
        "movie": lambda _: random.integers(0, 255, (3, 5, 8, 30)).astype(np.uint8),
        "two_bands": lambda _: random.uniform(-2, 2, (2, 5, 8, 30)).astype(np.float32),
    }
    schema = "[variables.movie]\nrole = 'stimulus'\n"
    mouse = open_mouse(convert_mouse(write_lab(tmp_path / "lab", 1, variables, schema), tmp_path / "to").store)
    figure, trial = trial_figure(mouse, 0), mouse.trial(0)
    for caption, pixels in pictures(panel(figure, "movie, 5 × 8 px, colour level 0 to 255")).items():
        frame = trial["movie"][int(caption.split()[1])]
        np.testing.assert_allclose(pixels, frame.transpose(1, 2, 0) / 255, rtol=1e-6)
    for channel in (0, 1):
        strip = panel(figure, f"two bands {channel}")
        for caption, pixels in pictures(strip).items():
            np.testing.assert_array_equal(pixels, trial["two_bands"][int(caption.split()[1]), channel])
        limits = strip.child_axes[0].images[0].get_clim()
        assert limits == pytest.approx((trial["two_bands"].min(), trial["two_bands"].max()))


def test_more_variables_than_fit_are_named(tmp_path):
    random = np.random.default_rng(5)
    traces = {f"trace{number:02}": lambda _: random.normal(size=30) for number in range(60)}
    values = {f"value{number:02}": lambda _: random.normal() * np.ones(()) for number in range(70)}
    variables = {"responses": lambda _: random.normal(size=(2, 30)), **traces, **values}
    mouse = open_mouse(convert_mouse(write_lab(tmp_path / "lab", 1, variables), tmp_path / "to").store)
    figure = trial_figure(mouse, 0)
    assert figure.get_size_inches()[1] < 23
    lines = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel().startswith("trace")]
    left_out = [name for name in sorted(traces) if name not in lines]
    (foot,) = [text for text in texts(figure) if text.startswith("not drawn")]
    assert foot.replace("\n", " ") == f"not drawn: {', '.join(left_out[:40])}" + (
        f" and {len(left_out) - 40} more" if len(left_out) > 40 else ""
    )
    words = texts(figure)
    assert "value58" in words and "value59" not in words and "and 11 more" in words


def test_a_static_mouse_of_a_lab(tmp_path):
    random = np.random.default_rng(6)
    variables = {
        "responses": lambda _: random.normal(size=11),
        "images": lambda _: random.uniform(0, 1, (4, 6)).astype(np.float32),
        "pupil": lambda _: random.integers(0, 255, (5, 5)).astype(np.uint8),
        "weights": lambda _: np.arange(12.0),
    }
    schema = "[variables.pupil]\noptional = true\nmissing = 0\n"
    folder = write_lab(tmp_path / "lab", 2, variables, schema, [("pupil", 1)])
    mouse = open_mouse(convert_mouse(folder, tmp_path / "to").store)
    figure = trial_figure(mouse, 1)
    assert figure.axes[0].get_title() == "images, 4 × 6 px, grey level 0 to 1"
    words = texts(figure)
    for word in ("pupil: not recorded in this trial", "weights, 12 values", "0 to 11"):
        assert word in words
    assert panel(figure, "responses (a.u.)").get_xlabel() == "neuron, by position"


@pytest.mark.parametrize("trial_id", [0, 2])
def test_nothing_overlaps_in_a_figure_of_a_lab(lab, trial_id):
    check_boxes(rendered(lab, trial_id))


def test_show_draws_what_is_chosen(repeated, tmp_path):
    store = repeated.path
    for arguments, name in {
        ("--tier", "oracle", "--sort", "area"): "mouse-trial-9.png",
        (
            "--repeats",
            "3",
            "--neurons",
            "area=V1,LM",
            "--neurons",
            "unit_ids=1,2,3",
        ): "mouse-repeats-3.png",
        ("--trial", "3", "--neurons", "4,2", "--movie", "trial.gif"): "trial.gif",
    }.items():
        done = run("show", store, *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}\n", "")
        assert (tmp_path / name).stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--trial", "3", "--tier", "train"], 2, "give --trial, or --tier or --repeats"),
        (["--repeats", "3", "--movie", "a.gif"], 2, "--movie is of one trial"),
        (["--neurons", "first"], 2, "expected positions such as 3,4,5"),
        (["--neurons", "area=V9"], 1, "no area is 'V9'"),
        (["--tier", "nope"], 1, "no trials of tier 'nope'"),
        (["--movie", "a.mp4"], 1, "a.mp4: no format of clips; let it end in .gif or .webp"),
    ],
)
def test_choices_that_are_none_are_refused(repeated, tmp_path, arguments, status, words):
    done = run("show", repeated.path, *arguments, cwd=tmp_path)
    assert done.returncode == status and words in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_show_opens_what_it_wrote(repeated, tmp_path, monkeypatch):
    launched = []
    monkeypatch.setattr("click.launch", launched.append)
    run("show", repeated.path, "--open", "-o", "a.png", cwd=tmp_path)
    assert launched == [str(tmp_path / "a.png")]

"""Texts of published tables that are numbers, times or truth values; and what a mouse is asked in short."""

import html
import pickle

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import TrialLoader, open_mice
from trialpack.readers.texts import parsed
from trialpack.store import OptionError

SAME = {
    "words": ["V1", "LM"],
    "empty": ["1", ""],
    "names of digits": ["007", "010"],
    "too many digits": ["12345678901234567890", "1"],
    "no such date": ["2021-02-30", "2021-02-28"],
    "half of them": ["1.5", "high"],
    "underscores": ["1_000", "2"],
    "spaces": [" 1", "2"],
    "a zone": ["2021-06-01T10:00:00+02:00"],
    "code": ["__import__('os')", "1"],
    "none at all": [],
}


@pytest.mark.parametrize("texts", SAME.values(), ids=SAME)
def test_texts_that_are_no_numbers_stay_as_they_are(texts):
    for values in (np.array(texts, object), np.array(texts, "U40"), np.array(texts, np.dtypes.StringDType())):
        assert parsed(values) is values


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["1", "-2", "+0"], np.array([1, -2, 0])),
        (["1", "2.5", "1e3", "nan", "-inf", "0."], np.array([1, 2.5, 1000, np.nan, -np.inf, 0])),
        (["Decimal('0.400')", "Decimal('0.5')"], np.array([0.4, 0.5])),
        (["True", "false"], np.array([True, False])),
        (["2021-06-01", "1969-12-31"], np.array(["2021-06-01", "1969-12-31"], "M8[s]")),
        (["Timestamp('2021-06-01 10:00:00.25')"], np.array(["2021-06-01T10:00:00.250000"], "M8[us]")),
        (["0.1", "0.1", "0.3"], np.array([0.1, 0.1, 0.3])),
    ],
)
def test_texts_are_what_all_of_them_are(texts, expected):
    for values in (np.array(texts, object), np.array(texts)):
        found = parsed(values)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_what_is_no_text_stays_as_it_is():
    for values in (np.arange(3), np.array(["1"], "S1"), np.array([["1"]]), np.array([1, "1"], object)):
        assert parsed(values) is values


@pytest.fixture(scope="module")
def mice(tmp_path_factory):
    place = tmp_path_factory.mktemp("texts")
    for letter in ("A", "S0"):
        write_sample(place / "data", mouse=letter, trials=6, neurons=5, image_shape=(4, 6))
    for folder in sorted((place / "data").iterdir()):
        convert_mouse(folder, place / "stores")
    return open_mice(place / "stores")


@pytest.fixture(scope="module")
def dynamic(mice):
    return mice[0]


@pytest.fixture(scope="module")
def static(mice):
    return mice[1]


def test_tables_hold_the_numbers_and_times_of_texts(static):
    table = static.trials
    assert (
        table["frame_pre_blank_period"].tolist() == [0.4] * 6 and table["frame_presentation_time"].dtype == np.float64
    )
    assert table["frame_trial_ts"].dtype == "datetime64[s]" and table["frame_image_class"].tolist() == ["imagenet"] * 6
    text = static["trials/frame_trial_ts"][:][table.index]
    assert text[0] == f"Timestamp('{table['frame_trial_ts'].iloc[0]}')", "the text stays available"
    assert static.to_xarray()["frame_trial_ts"].dtype.kind == "M"


def test_trials_are_chosen_by_numbers_times_and_texts(static):
    row = static.trials.iloc[2]
    for value in (row["frame_trial_ts"].to_datetime64(), f"Timestamp('{row['frame_trial_ts']}')"):
        assert static.rows(trials={"frame_trial_ts": value}).tolist() == [2]
    for value in (0.4, "Decimal('0.400')"):
        assert len(static.rows(trials={"frame_pre_blank_period": value})) == 6
    with pytest.raises(OptionError, match=r"no frame_pre_blank_period is 0\.5; there are 0\.4$"):
        static.rows(trials={"frame_pre_blank_period": 0.5})


def test_counts_and_attributes(dynamic):
    assert len(dynamic) == dynamic.n_trials == len(dynamic.trials) == 6
    assert dynamic.responses.path == "responses" and "responses" in dir(dynamic)
    trial = dynamic.trial(0)
    assert trial.responses is trial["responses"] and "videos" in dir(trial)
    with pytest.raises(AttributeError, match=r"a mouse has no 'response': its variables are videos, responses"):
        dynamic.response  # noqa: B018
    with pytest.raises(AttributeError, match=r"a trial has no 'images': there are videos"):
        trial.images  # noqa: B018
    again = pickle.loads(pickle.dumps((dynamic, trial)))
    assert len(again[0]) == 6 and (again[1].responses == trial.responses).all()


@pytest.mark.parametrize(
    "neurons", [[4, 0], slice(1, None, 2), {"unit_ids": [2, 3]}, [True, False, False, True, False]]
)
def test_neurons_of_one_trial(dynamic, neurons):
    whole, positions = dynamic.trial(3), dynamic.positions(neurons)
    found = dynamic.trial(3, neurons=neurons)
    np.testing.assert_array_equal(found.responses, whole.responses[positions])
    np.testing.assert_array_equal(found.videos, whole.videos)
    scaled = dynamic.trial(3, neurons=neurons, normalize="field")
    np.testing.assert_array_equal(scaled.responses, dynamic.trial(3, normalize="field").responses[positions])


def test_slices_of_neurons_are_positions(dynamic):
    assert dynamic.positions(slice(-2, None)).tolist() == [3, 4]
    assert dynamic.array("responses", neurons=slice(2)).shape[1] == 2
    batch = next(iter(TrialLoader(dynamic, tier=None, trials=[0], neurons=slice(0, 3), batch_size=1, output="numpy")))
    assert batch.responses.shape[1] == 3
    with pytest.raises(OptionError, match="nothing is selected"):
        dynamic.positions(slice(5, 9))
    with pytest.raises(OptionError, match="expected numbers"):
        dynamic.rows(trials=slice(0, 2))


def test_rows_of_a_table_choose(dynamic):
    trials, neurons = dynamic.trials, dynamic.neurons
    train = trials[trials.tier == "train"]
    for choice in (train, train.index):
        assert dynamic.rows(trials=choice).tolist() == dynamic.rows(tier="train").tolist()
    assert dynamic.positions(neurons.iloc[[3, 1]]).tolist() == [3, 1]
    loader = TrialLoader(dynamic, tier=None, trials=train.iloc[:1], output="numpy", batch_size=1)
    assert [batch.trial_id.tolist() for batch in loader] == [[train.index[0]]]
    with pytest.raises(OptionError, match="a table that is indexed by trial_id, not by position"):
        dynamic.positions(train)
    with pytest.raises(OptionError, match="nothing is selected"):
        dynamic.rows(trials=train.iloc[:0])
    with pytest.raises(OptionError, match="indexed by None"):
        dynamic.rows(trials=pd.DataFrame({"trial_id": [0]}))


def test_notebooks_show_tables(mice, dynamic):
    batch = next(iter(loader := TrialLoader(dynamic, tier=None, trials=[0], window=20, batch_size=1, output="numpy")))
    assert "<td>1 × 5 × 20</td>" in batch._repr_html_() and "<td>float32</td>" in batch._repr_html_()
    assert "<td>5 × 300</td>" in dynamic.trial(0)._repr_html_()
    shown = mice._repr_html_()
    assert shown.count("<tr>") == 3 and all(mouse.name in shown for mouse in mice)
    list(loader)
    assert "<td>limited by</td>" in loader.stats._repr_html_()


def test_names_with_markup_are_text(dynamic, tmp_path):
    name = "<script>alert(1)</script>"
    folder = write_sample(tmp_path, mouse="A", trials=3, neurons=1, image_shape=(2, 3))
    tiers = np.load(folder / "meta/trials/tiers.npy")
    np.save(folder / "meta/trials/tiers.npy", np.where(tiers == "none", tiers, name))
    folder = folder.rename(tmp_path / "<i>mouse")
    mice = open_mice([convert_mouse(folder, tmp_path / "stores").store])
    trial = mice[0].trial(0)
    batch = next(iter(TrialLoader(mice[0], tier=None, window=4, batch_size=1, output="numpy")))
    for shown in (mice._repr_html_(), mice[0]._repr_html_(), trial._repr_html_(), batch._repr_html_()):
        assert "<script" not in shown and "<i>" not in shown
    assert html.escape(name) in trial._repr_html_() and html.escape("<i>mouse") in mice._repr_html_()
    assert repr(mice[0]).endswith("1 neuron: videos, responses, behavior, pupil_center>")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", [0, 1])
def test_xarray_opens_stores(mice, number):
    mouse = mice[number]
    found = xr.open_dataset(mouse.path, engine="trialpack")
    assert found.identical(mouse.to_xarray()) and {"trial_id", "tier", "unit_ids"} <= set(found.coords)
    some = xr.open_dataset(mouse.path, engine="trialpack", tier="train", neurons=[1], drop_variables=["behavior"])
    assert some["responses"].shape[:2] == (len(mouse.rows(tier="train")), 1) and "behavior" not in some
    assert (some["responses"].values == mouse.array("responses", tier="train", neurons=[1])).all() or number == 0


def test_xarray_is_told_what_is_no_store(tmp_path):
    with pytest.raises(ValueError, match="no such store"):
        xr.open_dataset(tmp_path / "no.zarr", engine="trialpack")

"""What is asked for is what comes: in that order, as often; and nothing that is handed out changes the mouse."""

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trialpack import TrialLoader, open_mouse, train_statistics
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import Mouse
from trialpack.store import OptionError

from .mice import Array, assert_same_bits, trim
from .streams import Recorded, assert_batch, pack

SOURCES: dict[str, dict[str, Any]] = {
    "dynamic": {"mouse": "A", "trials": 12, "neurons": 20, "image_shape": (4, 6)},
    "static": {"mouse": "P1", "trials": 30, "neurons": 7, "image_shape": (5, 7)},
}
CUT = {"dynamic": "odd chunks", "static": "small shards"}
"""Chunks of one trial, and of several; several shards."""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mouse]:
    place = tmp_path_factory.mktemp("packed")
    folders = {kind: write_sample(place, **arguments) for kind, arguments in SOURCES.items()}
    return {kind: pack(folder, place, CUT[kind], statistics=True) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def recorded(packed: dict[str, Mouse]) -> dict[str, Recorded]:
    return {kind: Recorded(one) for kind, one in packed.items()}


@pytest.fixture
def dynamic(packed: dict[str, Mouse]) -> Mouse:
    return packed["dynamic"]


def load(mice: Any, **options: Any) -> TrialLoader:
    return TrialLoader(mice, **{"tier": None, "batch_size": 2, "output": "numpy", "threads": 2} | options)


def came(loader: TrialLoader) -> list[int]:
    return [trial for batch in loader for trial in batch["trial_id"].tolist()]


# The order asked for


AS: dict[str, Callable[[list[int]], Any]] = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "small integers": lambda numbers: np.array(numbers, np.int8),
    "index": pd.Index,
    "series of another table": lambda numbers: pd.Series(numbers, index=[f"unit {one}" for one in numbers]),
}


@pytest.mark.parametrize("kind", AS)
def test_numbers_keep_their_order_and_repeats(packed: dict[str, Mouse], kind: str) -> None:
    one = packed["dynamic"]
    ids = one.trials.index.tolist()
    for numbers in ([7, 0, 11, 3], [2, 2, 19], [5], [0, 1]):
        assert one.positions(AS[kind](numbers)).tolist() == numbers
    for rows in ([7, 0, 11, 3], [2, 2, 11]):
        assert one.rows(trials=AS[kind]([ids[row] for row in rows])).tolist() == rows


def test_positions_count_from_the_end_as_in_numpy(dynamic: Mouse) -> None:
    assert dynamic.positions([-1, 0, -20, -1]).tolist() == np.arange(20)[[-1, 0, -20, -1]].tolist()
    assert dynamic.positions(np.array([-3], np.int8)).tolist() == [17]
    assert dynamic.positions(-1).tolist() == [19]
    expected = dynamic.dask("responses", neurons=[19, 0]).compute()
    assert_same_bits(dynamic.dask("responses", neurons=[-1, 0]).compute(), expected)
    for wrong in (-21, 20):
        with pytest.raises(OptionError, match=f"no position {wrong}; there are 20, from 0 to 19"):
            dynamic.positions([0, wrong])
    with pytest.raises(OptionError, match="no trial_id -1"):
        dynamic.rows(trials=[0, -1])


def test_masks_and_columns_keep_the_order_of_the_store(dynamic: Mouse) -> None:
    units = dynamic.neurons["unit_ids"].to_numpy()
    assert dynamic.positions({"unit_ids": units[[7, 0, 3, 7]].tolist()}).tolist() == [0, 3, 7]
    assert dynamic.positions(np.isin(np.arange(20), [7, 0, 3])).tolist() == [0, 3, 7]
    assert dynamic.rows(tier=["train", "oracle"]).tolist() == sorted(dynamic.rows(tier=["oracle", "train"]).tolist())


def test_numbers_of_a_tier_keep_their_order(dynamic: Mouse) -> None:
    train = dynamic.rows(tier="train").tolist()
    ids, others = dynamic.trials.index.to_numpy(), dynamic.rows(tier="oracle").tolist()
    asked = [train[3], others[0], train[0], train[3]]
    assert dynamic.rows(tier="train", trials=ids[asked]).tolist() == [train[3], train[0], train[3]]


@settings(max_examples=60)
@given(st.data())
def test_everything_comes_in_the_order_asked_for(
    packed: dict[str, Mouse], recorded: dict[str, Recorded], data: st.DataObject
) -> None:
    """Lazy arrays of blocks of any size, and labelled ones, with repeats: values and labels."""
    kind = data.draw(st.sampled_from(list(SOURCES)))
    one, known = packed[kind], recorded[kind]
    rows = data.draw(st.lists(st.integers(0, len(known.ids) - 1), min_size=1, max_size=12))
    neurons = data.draw(st.lists(st.integers(-one.n_neurons, one.n_neurons - 1), min_size=1, max_size=9))
    trials = [known.ids[row] for row in rows]
    with mock.patch("trialpack.readers.rows.BLOCK_BYTES", data.draw(st.sampled_from([1, 3000, 1 << 30]))):
        found = one.to_xarray(trials=trials, neurons=neurons).compute(scheduler="synchronous")
        assert sum(one.dask("responses", trials=trials).chunks[0]) == len(rows)
    assert found["trial_id"].to_numpy().tolist() == trials
    for name, column in one.neurons.items():
        if name in found:
            assert found[name].to_numpy().tolist() == column.to_numpy()[neurons].tolist()
    for name, values in known.values.items():
        expected = values[rows][:, neurons] if name == "responses" else values[rows]
        assert_same_bits(found[name].to_numpy().astype(np.float32), expected, name)


def test_blocks_stay_small_whatever_is_asked_for(packed: dict[str, Mouse]) -> None:
    """One trial a thousand times, or two in turn, are not one block."""
    for one, name in ((packed["dynamic"], "responses"), (packed["static"], "behavior")):
        array, ids = one.recording.arrays[name], one.trials.index
        bound = 8 * array.chunk[0] * array.trial_nbytes
        with mock.patch("trialpack.readers.rows.BLOCK_BYTES", bound):
            for trials in (ids[[1] * 1000], ids[[1, 0] * 500], ids[::-1]):
                blocks = one.dask(name, trials=trials).chunks[0]
                assert max(blocks) * array.trial_nbytes <= bound + array.chunk[0] * array.trial_nbytes


# The loader


@pytest.mark.parametrize("cache", ["auto", "none"])
@pytest.mark.parametrize("kind", SOURCES)
def test_a_loader_gives_trials_and_neurons_as_asked_for(
    packed: dict[str, Mouse], recorded: dict[str, Recorded], kind: str, cache: Any
) -> None:
    one, known = packed[kind], recorded[kind]
    length = None if known.n_frames is None else 300
    ids = [trial for row, trial in enumerate(known.ids) if known.n_frames is None or known.n_frames[row] == length]
    asked, neurons = [ids[place] for place in (5, 0, 3, 6, 1)], [6, 0, -2, 3]
    loader = load(one, trials=asked, neurons=neurons, cache=cache)
    for _ in range(2):
        assert came(loader) == asked
    for batch in loader:
        assert_batch(batch, known, neurons=[6, 0, one.n_neurons - 2, 3])


@pytest.mark.parametrize("codec", ["fast", "small"])
def test_any_order_of_neurons_is_the_same_numbers(tmp_path: Path, codec: Any) -> None:
    """Frames first and neurons first in a chunk; windows and strides; ascending or not."""
    folder = write_sample(tmp_path, mouse="A", trials=4, neurons=9, image_shape=(2, 3))
    one = pack(folder, tmp_path / "stores", "odd chunks", codec=codec)
    known = Recorded(one)
    for neurons in ([8, 2, 5], [2, 5, 8], [8, 7, 6, 5, 4, 3, 2, 1, 0], [4]):
        for batch in load(one, neurons=neurons, window=20, stride=3, dtype={"responses": "float32"}):
            assert_batch(batch, known, neurons=neurons, stride=3)


def test_windows_one_behind_another_of_trials_as_asked_for(dynamic: Mouse) -> None:
    asked = dynamic.trials.index[[4, 1]].tolist()
    found = came(load(dynamic, trials=asked, window=100))
    assert found == [asked[0]] * found.count(asked[0]) + [asked[1]] * found.count(asked[1]) and len(found) >= 6


def test_a_shuffled_order_does_not_depend_on_the_one_asked_for(dynamic: Mouse) -> None:
    """It depends on the seed and the epoch only, so that a state goes on wherever the same trials are chosen."""
    asked = dynamic.trials.index[[4, 1, 7, 0]].tolist()
    loaders = [load(dynamic, trials=trials, window=10, shuffle=True) for trials in (asked, sorted(asked))]
    assert came(loaders[0]) == came(loaders[1])
    loaders[1].load_state_dict(loaders[0].state_dict())


@pytest.mark.parametrize("shuffle", [True, False])
def test_what_is_asked_for_twice_of_a_loader_is_refused_by_name(dynamic: Mouse, shuffle: bool) -> None:
    ids = dynamic.trials.index.tolist()
    cases: dict[str, dict[str, Any]] = {
        f"trial_id {ids[2]} is chosen more than once": {"trials": [ids[2], ids[2], ids[5]]},
        "position 3 is chosen more than once": {"neurons": [3, 1, 3]},
        "position 19 is chosen more than once": {"neurons": [19, -1]},
        f"trial_id {ids[0]}, {ids[1]} is chosen": {"trials": ids + ids[:2]},
    }
    for text, options in cases.items():
        with pytest.raises(OptionError, match=text) as raised:
            load(dynamic, shuffle=shuffle, **options)
        assert str(raised.value).startswith(f"{dynamic.path}: ") and "\n" not in str(raised.value)


def test_statistics_are_of_a_set_of_trials(dynamic: Mouse) -> None:
    ids = dynamic.trials.index.tolist()
    found, expected = (
        train_statistics(dynamic, tier=None, trials=trials, variables="behavior")
        for trials in (ids[3::-1] + ids[:2], ids[:4])
    )
    assert found.trial_ids.tolist() == ids[:4]
    one, other = (each["behavior"]["over_trials"].mean for each in (found, expected))
    np.testing.assert_array_equal(one, other)


def test_values_of_columns_that_are_no_values(dynamic: Mouse) -> None:
    units = dynamic.neurons["unit_ids"].tolist()
    for wrong in ({units[0]: 1}, [[units[0]], [units[1], units[2]]], [units[:2]], [None], object):
        with pytest.raises(OptionError, match="no unit_ids is .*; there are") as raised:
            dynamic.positions({"unit_ids": wrong})
        assert "\n" not in str(raised.value)
    assert dynamic.positions({"unit_ids": iter(units[1::-1])}).tolist() == [0, 1]


# A choice for each mouse


def test_trials_of_each_mouse(packed: dict[str, Mouse]) -> None:
    mice, both = list(packed.values()), set(packed["dynamic"].trials.index) & set(packed["static"].trials.index)
    first, second = sorted(both)[:2]
    cases: list[tuple[Any, list[list[int]]]] = [
        ([[second, first], [first]], [[second, first], [first]]),
        ([np.array([first]), (second, first)], [[first], [second, first]]),
        ([{"trial_id": first}, [second]], [[first], [second]]),
        ([second, first], [[second, first]] * 2),
        ({"trial_id": [first, second]}, [[first, second]] * 2),
        ([None, [first]], [packed["dynamic"].trials.index.tolist(), [first]]),
    ]
    for trials, expected in cases:
        loader = load(
            mice, trials=trials, variables="behavior", mixing="sequential", batch_size=1, window=None, mixed_kinds=True
        )
        found = {one.name: [b["trial_id"].tolist()[0] for b in loader if b.mouse == one.name] for one in mice}
        assert list(found.values()) == expected


@pytest.mark.parametrize("name", ["trials", "neurons"])
def test_choices_that_are_of_no_mouse(packed: dict[str, Mouse], name: str) -> None:
    """One line, an error of trialpack, whatever is given."""
    mice = list(packed.values())
    for given_, text in (
        ([[0, 3], [0], [1]], f"several mice need one choice of {name} each; give a list of 2 choices"),
        ([[0]], f"several mice need one choice of {name} each"),
        ([[0, 3], 5], "expected numbers|several mice need one choice"),
        ([[[0], [1, 2]], [0]], "expected numbers"),
        ([[[0]], [0]], "expected numbers"),
        ("all", "expected numbers|several mice"),
        (0.5, "expected numbers|several mice"),
    ):
        with pytest.raises(OptionError, match=text) as raised:
            load(mice, **{name: given_, "variables": "responses", "mixed_kinds": True})
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("choice", [[[0, 3], [0]], [[0], 3], [[0]], {1: 2}, "0", [None], 1.5], ids=str)
def test_choices_that_are_no_choice_of_one_mouse(dynamic: Mouse, choice: Any) -> None:
    for attempt in (lambda: dynamic.rows(trials=choice), lambda: dynamic.positions(choice)):
        with pytest.raises(OptionError) as raised:
            attempt()
        assert str(raised.value).startswith(f"{dynamic.path}: ") and "\n" not in str(raised.value)


# Names


def test_mappings_are_no_names(dynamic: Mouse) -> None:
    """Of ``{"behavior": [1]}`` nobody knows what the values are to mean."""
    attempts: dict[str, list[Callable[[Any], object]]] = {
        "variables": [lambda n: load(dynamic, variables=n), lambda n: train_statistics(dynamic, variables=n)],
        "channels": [lambda n: load(dynamic, channels=n)],
        "tier": [
            lambda n: load(dynamic, tier=n),
            lambda n: dynamic.rows(tier=n),
            lambda n: dynamic.dask("behavior", tier=n),
            lambda n: train_statistics(dynamic, tier=n),
        ],
    }
    for argument, calls in attempts.items():
        for call in calls:
            for wrong in ({"behavior": [1]}, {"train": "x"}, {}, 3, [["behavior"]], [1], b"train", 0.5):
                with pytest.raises(
                    OptionError, match=f"^{argument}: expected one name, or a list such as .*, found"
                ) as raised:
                    call(wrong)
                assert "\n" not in str(raised.value)


def test_names_of_any_list(dynamic: Mouse, recorded: dict[str, Recorded]) -> None:
    """The channels of a set have an order that does not change from run to run."""
    for given_ in (["behavior", "pupil_center"], ("behavior", "pupil_center"), {"pupil_center", "behavior"}):
        for names in (given_, np.array(sorted(given_)), pd.Index(sorted(given_)), iter(sorted(given_))):
            batch = next(iter(load(dynamic, variables="videos", channels=names, window=5)))
            options: dict[str, Any] = {"variables": ["videos"], "channels": ["behavior", "pupil_center"]}
            expected = recorded["dynamic"].batch(batch["trial_id"].tolist(), batch["start"].tolist(), 5, **options)
            assert_same_bits(np.ascontiguousarray(batch["videos"]), expected["videos"])


@pytest.mark.parametrize("mice", [5, None, {"A": 1}, "A"], ids=str)
def test_what_is_no_mouse(mice: Any) -> None:
    with pytest.raises(OptionError, match="mice: expected a Mouse, as open_mouse returns it, or several, found"):
        load(mice)


# What is handed out


def test_tables_are_copies(dynamic: Mouse) -> None:
    one = open_mouse(dynamic.path)
    for name in ("trials", "neurons"):
        before, table = getattr(one, name), getattr(one, name)
        first = table.columns[0]
        table[first] = table[first].to_numpy()[0]
        table["more"], table.index.name = 1, "changed"
        del table[table.columns[0]]
        values = getattr(one, name)[table.columns[-2]].to_numpy()
        if values.flags.writeable:
            values[...] = values[0]
        pd.testing.assert_frame_equal(getattr(one, name), before)
        pd.testing.assert_frame_equal(getattr(one, name), getattr(dynamic, name))


def arrays_in(value: Any, seen: set[int] | None = None) -> Iterator[Array]:
    """Yield every array that can be reached from what is handed out."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from arrays_in(one, seen)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from arrays_in(one, seen)
    elif type(value).__module__.startswith("trialpack."):
        yield from arrays_in(vars(value), seen)


@pytest.mark.parametrize("copied", [False, True], ids=["opened", "pickled"])
@pytest.mark.parametrize("kind", SOURCES)
def test_no_array_of_a_mouse_can_be_written_to(packed: dict[str, Mouse], kind: str, copied: bool) -> None:
    one = open_mouse(packed[kind].path)
    assert one.statistics is one.statistics and len(one.trials)
    one = pickle.loads(pickle.dumps(one)) if copied else one
    handed_out = {"statistics": one.statistics, "recording": one.recording, "index": one.index}
    found = {name: list(arrays_in(value)) for name, value in handed_out.items()}
    assert len(found["statistics"]) == 1 + 6 * sum(len(each) for each in one.statistics.values())
    assert len(found["recording"]) >= 3
    for values in (each for several in found.values() for each in several):
        with pytest.raises(ValueError, match="read-only"):
            values[...] = 0


def test_what_is_known_of_a_store_cannot_be_changed(dynamic: Mouse) -> None:
    one = open_mouse(dynamic.path)
    index, recording = one.index, one.recording
    changes: list[Callable[[], object]] = [
        lambda: index.attributes.update({"mouse": "other"}),  # type: ignore[attr-defined]
        lambda: index.attributes["source"].clear(),
        lambda: index.attributes["variables"].pop(),
        lambda: index.attributes["variables"][0].setdefault("name", "x"),
        lambda: index.attributes["warnings"].append("none"),
        lambda: index.arrays.pop("responses"),  # type: ignore[attr-defined]
        lambda: index.arrays["responses"].attributes.__setitem__("units", "V"),  # type: ignore[attr-defined]
        lambda: index.manifest.files.clear(),  # type: ignore[attr-defined]
        lambda: index.manifest.values.__delitem__("responses"),  # type: ignore[attr-defined]
        lambda: index.software.__ior__({"numpy": "1"}),  # type: ignore[attr-defined]
        lambda: recording.arrays.popitem(),  # type: ignore[attr-defined]
        lambda: recording.lacking.update(x=1),  # type: ignore[attr-defined]
        lambda: one.statistics.by_variable["videos"].clear(),  # type: ignore[attr-defined]
        lambda: one.statistics["videos"].popitem(),  # type: ignore[attr-defined]
    ]
    for change in changes:
        with pytest.raises(TypeError, match="change a copy of it"):
            change()
    with pytest.raises(ValueError, match="read.only"):
        one["responses"].attrs["units"] = "V"
    assert copy.deepcopy(index).attributes == index.attributes == pickle.loads(pickle.dumps(index)).attributes
    assert json.loads(json.dumps(index.attributes)) == index.attributes


def test_what_is_computed_and_selected_is_the_callers_own(dynamic: Mouse) -> None:
    """Changed at will, it changes nothing that comes later."""
    one = open_mouse(dynamic.path)

    def everything() -> list[Array]:
        data, trial = one.to_xarray(tier="train"), one.trial(int(one.trials.index[1]))
        batch = next(iter(load(one)))
        coordinates = [data[name].to_numpy() for name in data.coords if name not in data.indexes]
        return [
            one.rows(), one.rows(tier="train"), one.positions(), one.positions([2, 1]), *coordinates,
            data.responses.to_numpy(), one.dask("behavior").compute(), *trial.values(), one["trials/n_frames"][...],
            *(value for value in batch.values() if isinstance(value, np.ndarray)),
        ]  # fmt: skip

    before = [values.copy() for values in everything()]
    for values in everything():
        values[...] = values.reshape(-1)[::-1].reshape(values.shape)
    one.recording.trials_by_tier.clear()
    one.index.recorded.clear()
    for values, expected in zip(everything(), before, strict=True):
        np.testing.assert_array_equal(values, expected)


# Dates and durations


def dates(dtype: str, n: int) -> Array:
    values = (np.arange(n) * 3 - 5).astype("i8").view(dtype)
    values[4::5] = "NaT"
    return values


LARGE = np.array([2**62, -(2**61), 7, 0], np.int64)
UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")
DTYPES = [f"{kind}8[{count}{unit}]" for kind in "Mm" for count in ("", "7", "25") for unit in UNITS]


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mouse, dict[str, Array]]:
    """A mouse with dates and durations of every unit, small and large, beside its neurons and trials."""
    folder = write_sample(tmp_path_factory.mktemp("dated"), mouse="A", trials=5, neurons=4, image_shape=(2, 3))
    trim(folder)
    numbers = len(np.load(folder / "meta/trials/tiers.npy"))
    arrays = dict[str, Array]()
    for number, dtype in enumerate(DTYPES):
        arrays |= {f"trials/small{number}": dates(dtype, numbers), f"neurons/large{number}": LARGE.view(dtype)}
    arrays["trials/big_endian"] = dates("M8[10ps]", numbers).astype(">M8[10ps]")
    arrays["neurons/two_axes"] = np.stack([LARGE, LARGE + 1], axis=1).view("m8[25fs]")
    for name, values in arrays.items():
        np.save(folder / f"meta/{name}.npy", values)
    mouse = open_mouse(convert_mouse(folder, folder.parent / "stores", statistics=False).store)
    return mouse, {name: values[mouse.trials.index] if "trials" in name else values for name, values in arrays.items()}


def as_integers(column: Array, name: str, dtype: np.dtype[Any]) -> Array:
    """Return a column as the integers of its source: by its own unit, or by the one in its name."""
    if column.dtype.kind in "mM":
        return column.astype(dtype).view(np.int64)
    unit, count = np.datetime_data(dtype)
    assert column.dtype == np.int64
    assert name.split("_", 1)[1].startswith(f"{'' if count == 1 else count}{unit}"), name
    assert name.endswith("_since_1970") == (dtype.kind == "M")
    return column


@pytest.mark.parametrize(("group", "size"), [("trials", "small"), ("neurons", "large")])
def test_dates_of_any_unit_are_in_tables_without_loss(
    dated: tuple[Mouse, dict[str, Array]], group: str, size: str
) -> None:
    mouse, arrays = dated
    table, data = getattr(mouse, group), mouse.to_xarray()
    by_name = {str(name).split("_")[0]: str(name) for name in table.columns}
    for number in range(len(DTYPES)):
        column, expected = by_name[f"{size}{number}"], arrays[f"{group}/{size}{number}"]
        for found in (table[column].to_numpy(), data[column].to_numpy()):
            np.testing.assert_array_equal(as_integers(found, column, expected.dtype), expected.view(np.int64), column)
        unit, _ = np.datetime_data(expected.dtype)
        years = expected.dtype.kind == "m" and unit in "YM"
        # What a table can hold is a date in it.
        shown = table[column].dtype.kind in "mM"
        assert shown == (unit not in ("ps", "fs", "as") and not years) or size == "large", column


def test_what_is_shown_of_dates(dated: tuple[Mouse, dict[str, Array]]) -> None:
    mouse, arrays = dated
    big = mouse.trials["big_endian_10ps_since_1970"].to_numpy()
    np.testing.assert_array_equal(big, arrays["trials/big_endian"].astype("M8[10ps]").view(np.int64))
    assert mouse.neurons["two_axes_25fs_1"].tolist() == (LARGE + 1).tolist()
    data = mouse.to_xarray()
    for shown in (mouse, mouse.trials, mouse.neurons, data):
        assert repr(shown) and shown._repr_html_()


def test_dates_are_chosen_by_what_the_table_shows(dated: tuple[Mouse, dict[str, Array]]) -> None:
    mouse, arrays = dated
    by_name = {str(name).split("_")[0]: str(name) for name in mouse.trials.columns}
    for dtype in ("M8[D]", "M8[25s]", "m8[7ms]", "M8[ps]", "m8[M]"):
        name = f"small{DTYPES.index(dtype)}"
        column, values = by_name[name], arrays[f"trials/{name}"]
        wanted = mouse.trials[column].to_numpy()[2]
        assert mouse.rows(trials={column: wanted}).tolist() == np.flatnonzero(values == values[2]).tolist()
        if mouse.trials[column].dtype.kind in "mM":
            assert mouse.rows(trials={column: values[2]}).tolist() == np.flatnonzero(values == values[2]).tolist()

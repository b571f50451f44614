"""What a variable of a recording may be, and how a store's metadata describes it."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trialpack.convert import convert_mouse
from trialpack.readers import open_mouse
from trialpack.store import StoreFormatError, layout
from trialpack.store.variables import (
    DTYPES,
    KNOWN,
    RESERVED,
    Channel,
    Variable,
    VariableProblem,
    channel_dimension,
    in_order,
    is_safe_name,
    parse_variable,
    recording_problems,
    stored_dimensions,
    variable_problems,
)

from .mice import open_store
from .own_mice import floats, write_own

RESPONSES = Variable("responses", "target", ("neuron", "frame"), (0, 1), "float32", "a.u.", "")
EYE = Variable("eye", "input", ("frame", "height", "width"), (2, 0, 1), "uint8", "1", "", (), 25.0, True, 0)

axis_names = st.sampled_from(["frame", "neuron", "height", "width", "x", "y", "c", "eye_axis_0"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def some_variables(draw: Callable[[Any], Any], name: str = "treadmill") -> Variable:
    """Make any variable that a store can have."""
    published = draw(st.lists(axis_names, max_size=4, unique=True))
    dimensions, axes = stored_dimensions(published)
    dtype, optional = draw(st.sampled_from(DTYPES)), draw(st.booleans())
    whole = np.dtype(dtype).kind in "iu"
    optional = optional and dtype != "bool"
    missing = None
    if whole and (optional or draw(st.booleans())):
        limits = np.iinfo(dtype)
        missing = draw(st.integers(int(limits.min), int(limits.max)))
    own = channel_dimension(dimensions) is not None
    channels = draw(st.lists(st.builds(Channel, texts, texts), max_size=3)) if own else []
    rates = st.none() | st.floats(0, exclude_min=True, allow_nan=False, allow_infinity=False)
    rate = draw(rates) if "frame" in dimensions else None
    role = draw(st.sampled_from(["stimulus", "target", "input"]))
    return Variable(
        name, role, dimensions, axes, dtype, draw(texts), draw(texts), tuple(channels), rate, optional, missing
    )


@given(some_variables())
def test_a_variable_comes_back_from_its_document(variable: Variable):
    assert variable_problems(variable) == []
    document = json.loads(json.dumps(variable.document))
    assert parse_variable(document) == variable
    for key in document:
        assert parse_variable({name: value for name, value in document.items() if name != key}) is None
    assert parse_variable(document | {"more": 1}) is None


@given(some_variables())
def test_axes_lead_back_to_the_published_file(variable: Variable):
    shape = tuple(range(2, 2 + len(variable.axes)))
    sizes = dict(zip(variable.published_dimensions, shape, strict=True))
    assert np.empty(shape).transpose(variable.axes).shape == tuple(sizes[name] for name in variable.dimensions)
    assert sorted(variable.batch_dimensions) == sorted(variable.dimensions)
    assert set(variable.separate) <= set(variable.dimensions)
    if len(variable.dimensions) > 2 and variable.frame_axis is not None:
        assert variable.frame_axis == 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": "../x"}, "a variable cannot be called '../x'"),
        ({"name": "trials"}, "a variable cannot be called 'trials'"),
        ({"name": "frame"}, "a variable cannot be called 'frame'"),
        ({"role": "output"}, "expected the role stimulus, target, input, found 'output'"),
        ({"dtype": "complex64"}, "found 'complex64'"),
        ({"dimensions": ("trial", "frame", "y")}, "a dimension cannot be called 'trial'"),
        ({"dimensions": ("train_trial", "frame", "y")}, "a dimension cannot be called 'train_trial'"),
        ({"dimensions": ("x", "frame", "x")}, "a dimension is named more than once in x, frame, x"),
        ({"dimensions": ("a/b", "frame", "x")}, "a dimension cannot be called 'a/b'"),
        ({"axes": (0, 1, 1)}, "expected the axes 0 to 2, found (0, 1, 1)"),
        ({"channels": (Channel("a", "1"),)}, "channels are given, but no dimension is one of channels"),
        ({"frame_rate": 0.0}, "expected a frame rate above 0 Hz, found 0.0"),
        ({"frame_rate": math.inf}, "expected a frame rate above 0 Hz, found inf"),
        ({"dimensions": ("x", "height", "width")}, "a frame rate is given, but there are no frames"),
        ({"missing": None}, "optional uint8 values need a value for missing trials"),
        ({"missing": 256}, "expected a value for missing trials from 0 to 255, found 256"),
        ({"dtype": "float16"}, "a value for missing trials is of integers and bool only, and these are float16"),
        ({"dtype": "bool", "missing": None}, "optional bool values need a value for missing trials"),
        ({"units": 3}, "expected texts as name, units, long_name, dimensions and channels"),
    ],
)
def test_what_is_wrong_with_a_variable(change: dict[str, Any], problem: str):
    assert variable_problems(EYE) == []
    found = variable_problems(dataclasses.replace(EYE, **change))
    assert len(found) == 1 and problem in found[0]
    assert parse_variable(dataclasses.replace(EYE, **change).document) is None


@pytest.mark.parametrize("change", [{"missing": True}, {"optional": 1}, {"frame_rate": 25}, {"source_axes": [False]}])
def test_numbers_in_a_document_are_no_truth_values(change: dict[str, Any]):
    assert parse_variable(EYE.document | change) is None


@pytest.mark.parametrize("document", [None, 3, "x", [], {}, [["name", "x"]]])
def test_what_is_no_document_is_no_variable(document: Any):
    assert parse_variable(document) is None


def test_what_is_wrong_with_variables_taken_together():
    one, other = (dataclasses.replace(EYE, name=name, role="stimulus") for name in ("a", "b"))
    assert recording_problems([RESPONSES, EYE]) == []
    second = VariableProblem("b", "role", "a second stimulus beside a (expected one at most)")
    assert recording_problems([RESPONSES, one, other]) == [second]
    assert recording_problems([RESPONSES, EYE, EYE]) == [VariableProblem(EYE.name, "", "two variables have this name")]
    for wrong, key in ({"name": "spikes"}, ""), ({"dimensions": ("x", "frame")}, ""), ({"optional": True}, "optional"):
        what = "expected responses of all trials, with a dimension 'neuron'"
        expected = VariableProblem("responses", key or "dimensions", what)
        assert recording_problems([dataclasses.replace(RESPONSES, **wrong)]) == [expected]


def test_dimensions_do_not_have_the_names_of_variables():
    def tread(name: str, dimension: str, *channels: str) -> Variable:
        named = tuple(Channel(one, "cm/s") for one in channels)
        return Variable(name, "input", (dimension, "frame"), (0, 1), "float32", "", "", named)

    assert recording_problems([RESPONSES, tread("a", "side", "left", "right"), tread("b", "side")]) == []
    assert recording_problems([RESPONSES, tread("a", "a")]) == [
        VariableProblem("a", "", "a dimension is called 'a', too")
    ]


def test_the_order_of_a_store_does_not_depend_on_the_order_of_folders():
    behavior = dataclasses.replace(RESPONSES, name="behavior", role="input")
    videos = dataclasses.replace(EYE, name="videos", role="stimulus")
    given_order = [EYE, behavior, RESPONSES, dataclasses.replace(EYE, name="Zoo"), videos]
    names = [one.name for one in in_order(given_order)]
    assert names == ["videos", "responses", "behavior", "Zoo", "eye"]
    assert [one.name for one in in_order(given_order[::-1])] == names


def test_what_is_known_by_name_can_be_stored():
    for name, known in KNOWN.items():
        assert is_safe_name(name) and name not in RESERVED
        for form in known.forms.values():
            dimensions, axes = stored_dimensions(form)
            variable = Variable(name, known.role, dimensions, axes, "float32", known.units, known.long_name)
            assert variable_problems(variable) == []


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = write_own(tmp_path / "lab", {"responses": lambda t: floats(3, 9, seed=t)}, range(3))
    return convert_mouse(folder, tmp_path / "stores").store


def test_a_store_of_an_older_version_is_opened(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(layout, "FORMAT_VERSION", layout.FORMAT_VERSION + 1)
    assert open_mouse(store).variables == ("responses",)


def test_a_store_of_a_newer_version_is_refused_with_both_versions(store: Path):
    path = store / layout.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"trialpack_format": 9, "else": []}))
    with pytest.raises(StoreFormatError, match=r"format version 9 is not known here \(this trialpack reads 1 to 1\)"):
        open_mouse(store)


def test_any_zarr_reader_finds_the_variables_in_the_root(store: Path):
    found = open_store(store).attrs["variables"]
    assert found == [RESPONSES.document | {"long_name": KNOWN["responses"].long_name}]

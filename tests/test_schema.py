"""The file trialpack.toml: read with the line of every mistake, written so that it reads back."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trialpack.convert import compare_with_source, convert_mouse, export_mouse, plan_mouse
from trialpack.convert.plan import Plan
from trialpack.convert.schema import (
    MAX_SCHEMA_BYTES,
    Declaration,
    Schema,
    line_of,
    parse_schema,
    read_schema,
    schema_text,
)
from trialpack.readers import open_mouse
from trialpack.store import SourceError
from trialpack.store.variables import Channel, Variable, in_order

from .own_mice import floats, integers, write_own
from .test_variables import some_variables

TREADMILL = """\
frame_rate = 25

# What the animal runs on.
[variables.treadmill]
role = "input"
dimensions = ["side", "frame"]
units = "cm/s"
long_name = "speed of the \\"treadmill\\", Ω"
channels = [{ name = "links", units = "cm/s" }, { name = "rechts", units = "cm/s" }]
optional = true
"""

ODD = """
[variables."a b.c+d=@-"]
dimensions = ["frame", "x y"]
[variables.17]
dimensions = ["c", 'frame', "rows"]
long_name = '''\\ "quoted"
	日本語'''
[variables."1.5"]
units = "\\u007f\\u0000\\\\"
missing = 3
"""


def declaration(variable: Variable) -> Declaration:
    """Return what `schema_text` declares of a variable."""
    return Declaration(
        role=variable.role,
        dimensions=variable.published_dimensions,
        units=variable.units,
        long_name=variable.long_name,
        channels=variable.channels or None,
        frame_rate=variable.frame_rate,
        optional=variable.optional or None,
        missing=variable.missing,
    )


def test_every_key_is_read():
    schema = parse_schema("trialpack.toml", TREADMILL)
    channels = Channel("links", "cm/s"), Channel("rechts", "cm/s")
    expected = Declaration("input", ("side", "frame"), "cm/s", 'speed of the "treadmill", Ω', channels, None, True)
    assert schema == Schema("trialpack.toml", TREADMILL, 25.0, {"treadmill": expected})
    assert parse_schema("x", "").variables == {} and parse_schema("x", "").declared("treadmill") == Declaration()


names = st.from_regex(r"(?!__)[A-Za-z0-9_][A-Za-z0-9_ .+=@-]{0,8}", fullmatch=True)


@given(st.lists(names, unique=True, max_size=3).flatmap(lambda found: st.tuples(*map(some_variables, found))))
def test_what_is_written_reads_back(variables: tuple[Variable, ...]):
    unique = [one for one in variables if one.role != "stimulus"] or list(variables[:1])
    sound = [one for one in unique if one.name not in ("c", "trials", "mouse", "data", "meta", "start", "tier")]
    schema = parse_schema("schema", schema_text(sound))
    assert schema.variables == {one.name: declaration(one) for one in sound}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("frame_rat = 30", ["line 1: frame_rat: unknown key (known: frame_rate, variables)"]),
        ("\nframe_rate = -1", ["line 2: frame_rate: expected a number above 0 (Hz), found -1"]),
        ("frame_rate = true", ["line 1: frame_rate: expected a number above 0 (Hz), found True"]),
        ("frame_rate = nan", ["line 1: frame_rate: expected a number above 0 (Hz), found nan"]),
        ("variables = 3", ["line 1: variables: expected tables such as [variables.treadmill]"]),
        ("[variables]\nx = 3", ["line 2: variables.x: expected a table"]),
        ("a = \n", ["line 1: not TOML (Invalid value)"]),
        ("[variables.x]\n[variables.x]", ["line 2: not TOML (Cannot declare ('variables', 'x') twice)"]),
        ("[variables.x", ["line 1: not TOML"]),
        (
            '[variables.x]\nrol = "input"',
            ["line 2: variables.x.rol: unknown key (known: role, dimensions, units, long_name, channels, frame_rate,"],
        ),
        ('[variables.x]\nrole = "output"', ["line 2: variables.x.role: expected stimulus, target, input, found"]),
        ("[variables.x]\nrole = []", ["line 2: variables.x.role: expected stimulus, target, input, found []"]),
        ('[variables.x]\ndimensions = "frame"', ["line 2: variables.x.dimensions: expected a list of texts"]),
        ("[variables.x]\ndimensions = [1]", ["line 2: variables.x.dimensions: expected a list of texts, found [1]"]),
        (
            '[variables.x]\n\n"dimensions" = ["frame", "trial", "frame"]',
            [
                "line 3: variables.x.dimensions: a dimension cannot be called 'trial'",
                "line 3: variables.x.dimensions: a dimension is named more than once in frame, trial, frame",
            ],
        ),
        ("[variables.x]\nunits = 3", ["line 2: variables.x.units: expected a text, found 3"]),
        ("[variables.x]\nlong_name = []", ["line 2: variables.x.long_name: expected a text, found []"]),
        ("[variables.x]\nchannels = 3", ["line 2: variables.x.channels: expected a list such as [{ name ="]),
        ('[variables.x]\nchannels = [{ name = "a" }]', ["line 2: variables.x.channels: expected a list such as"]),
        ('[variables.x]\nchannels = [{name = 1, units = ""}]', ["line 2: variables.x.channels: expected a list"]),
        ("[variables.x]\nframe_rate = 0", ["line 2: variables.x.frame_rate: expected a number above 0 (Hz), found 0"]),
        ("[variables.x]\noptional = 1", ["line 2: variables.x.optional: expected true or false, found 1"]),
        ("[variables.x]\nmissing = 1.5", ["line 2: variables.x.missing: expected a whole number, found 1.5"]),
        ("[variables.x]\nmissing = true", ["line 2: variables.x.missing: expected a whole number, found True"]),
        ('[variables."../x"]', ['line 1: variables."../x": a variable cannot have this name']),
        ("[variables.'a/b']", ['line 1: variables."a/b": a variable cannot have this name']),
        ("[variables.neurons]", ["line 1: variables.neurons: a variable cannot have this name"]),
        (
            '[variables.a]\nrole = "stimulus"\n[variables.b]\nrole = "stimulus"',
            ["line 4: variables.b.role: a second stimulus beside a (expected one at most)"],
        ),
        (
            "[variables.x]\nunits = 1\n[variables.y]\nunits = 2\nfoo = 3",
            [
                "line 2: variables.x.units: expected a text, found 1",
                "line 5: variables.y.foo: unknown key",
                "line 4: variables.y.units: expected a text, found 2",
            ],
        ),
    ],
)
def test_mistakes_are_named_with_their_lines(text: str, problems: list[str]):
    with pytest.raises(SourceError) as raised:
        parse_schema("my.toml", text)
    lines = str(raised.value).splitlines()
    assert len(lines) == len(problems)
    for line, problem in zip(lines, problems, strict=True):
        assert line.startswith(f"my.toml: {problem}") and line.endswith("; correct the schema")


def test_lines_are_counted_as_editors_do():
    text = "# a\u2028b\x0cc\r\n[variables.x]\r\nunits = 1"
    assert line_of(text, "x", "units") == 3 and line_of(text, "x") == 2 and line_of(text, "y") == 0


def test_files_that_are_no_schema(tmp_path: Path):
    path = tmp_path / "s.toml"
    with pytest.raises(SourceError, match="cannot be read"):
        read_schema(path)
    path.write_bytes(b"\xff")
    with pytest.raises(SourceError, match="not UTF-8 text"):
        read_schema(path)
    path.write_bytes(b"#" * (MAX_SCHEMA_BYTES + 1))
    with pytest.raises(SourceError, match="too large"):
        read_schema(path)
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(SourceError, match="not TOML"):
        read_schema(path)


def odd_mouse(place: Path) -> Path:
    """Write a mouse with odd names and texts."""
    made = {
        "responses": lambda t: floats(5, 20 + t, seed=t),
        "treadmill": lambda t: floats(2, 20 + t, seed=t),
        "a b.c+d=@-": lambda t: floats(20 + t, 3, seed=t),
        "17": lambda t: integers(4, 20 + t, 6, seed=t),
        "1.5": lambda t: integers(seed=t),
        "videos": lambda t: floats(4, 6, 20 + t, seed=t),
    }
    return write_own(place / "lab", made, toml=TREADMILL + ODD, lacking={("treadmill", 3)})


def planned(folder: Path, **options: Any) -> Plan:
    return plan_mouse(folder, folder.parent / "stores", **options)


def test_the_schema_found_gives_the_same_variables_again(tmp_path: Path):
    folder = odd_mouse(tmp_path)
    plan = planned(folder)
    found = {one.name: one for one in plan.variables}
    assert found["treadmill"].long_name == 'speed of the "treadmill", Ω'
    assert found["a b.c+d=@-"].published_dimensions == ("frame", "x y")
    assert found["17"].published_dimensions == ("c", "frame", "rows") and found["17"].dimensions[0] == "frame"
    assert found["1.5"].units == "\x7f\0\\" and {one.frame_rate for one in plan.variables} == {25.0, None}
    (folder / "trialpack.toml").unlink()
    (tmp_path / "found.toml").write_text(schema_text(plan.variables), encoding="utf-8")
    assert planned(folder, schema=tmp_path / "found.toml").variables == plan.variables
    os.rename(tmp_path / "found.toml", folder / "trialpack.toml")
    assert planned(folder).variables == plan.variables == in_order(plan.variables)


@pytest.mark.parametrize("name", ["npy", "zip", "tar", "hdf5"])
def test_a_schema_that_was_given_is_exported_as_the_file_of_the_mouse(name: str, tmp_path: Path):
    folder = odd_mouse(tmp_path)
    text = (folder / "trialpack.toml").read_text("utf-8").replace("\n", "\r\n").replace("cm/s", "m/s")
    (tmp_path / "other.toml").write_bytes(text.encode())
    store = convert_mouse(folder, tmp_path / "stores", schema=tmp_path / "other.toml").store
    mouse = open_mouse(store)
    assert mouse.recording.variable("treadmill").units == "m/s" and mouse.index.attributes["trialpack_toml"] == text
    compare_with_source(store, folder, workers=1)
    exported = export_mouse(store, tmp_path / "out", format=name).path
    if name == "npy":
        assert (exported / "trialpack.toml").read_bytes() == text.encode()
    again = open_mouse(convert_mouse(exported, tmp_path / "again").store)
    assert again.index.attributes["trialpack_toml"] == text
    assert again.recording.variables == mouse.recording.variables
    assert again.index.manifest.store_id == mouse.index.manifest.store_id


def test_what_is_declared_of_no_folder_is_named(tmp_path: Path):
    folder = write_own(tmp_path / "lab", {"responses": lambda t: floats(3, 9)}, toml="\n[variables.nose]\n")
    with pytest.raises(SourceError, match=r"line 2: variables\.nose: there is no such folder under data"):
        planned(folder)


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ('dimensions = ["x"]', "line 2: variables.x.dimensions: 1 dimensions are declared, but trials have shape"),
        (
            'channels = [{ name = "a", units = "" }]',
            "line 2: variables.x.channels: 1 channels are declared, but trials have 2",
        ),
        ('dimensions = ["a", "b"]\nframe_rate = 3', "line 1: variables.x: a frame rate is given, but there are no"),
        (
            "missing = 3",
            "line 1: variables.x: a value for missing trials is of integers and bool only, and these are float32",
        ),
        (
            'dimensions = ["neuron", "frame"]',
            "line 2: variables.x.dimensions: expected 3 along neuron as in responses, found 2",
        ),
    ],
)
def test_what_does_not_fit_the_trials_is_named(declared: str, problem: str, tmp_path: Path):
    made = {"responses": lambda t: floats(3, 9), "x": lambda t: floats(2, 9)}
    folder = write_own(tmp_path / "lab", made, toml=f"[variables.x]\n{declared}\n")
    with pytest.raises(SourceError) as raised:
        planned(folder)
    assert problem in str(raised.value) and len(str(raised.value).splitlines()) == 1

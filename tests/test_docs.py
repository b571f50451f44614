"""What the documents and docstrings show must be so."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import trialpack.cli
import trialpack.convert
import trialpack.readers
import trialpack.store
from click.testing import CliRunner
from trialpack.cli.main import COMMANDS, commands
from trialpack.store import FORMAT_VERSION, layout

ROOT = Path(__file__).resolve().parent.parent
TRIALPACK = Path(sys.executable).with_name("trialpack")
PACKAGES = [trialpack.store, trialpack.readers, trialpack.convert, trialpack.cli]
MODULES = sorted(
    {info.name for package in PACKAGES for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")}
)
OPTIONAL = {"torch": {"trialpack.readers.streaming.tensors"}}
"""Modules that need what not every Python here has."""
HERE = [name for name in MODULES if not any(name in OPTIONAL[need] and not find_spec(need) for need in OPTIONAL)]


@pytest.mark.parametrize("name", HERE)
def test_doctests(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_doctests():
    counts = [doctest.testmod(importlib.import_module(name)).attempted for name in HERE]
    assert sum(counts) >= 8


def python_blocks(name):
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.S)


@pytest.mark.parametrize("name", ["README.md", "docs/format.md", "docs/hdf5.md", "docs/training.md"])
def test_shown_code_runs(name, tmp_path):
    if "import h5py" in (ROOT / name).read_text():
        pytest.importorskip("h5py", reason="h5py is not installed")
    if "import torch" in (ROOT / name).read_text():
        pytest.importorskip("torch", reason="torch is not installed")
    runner = CliRunner()
    arguments = [
        ["sample", f"{tmp_path}/demo/data"],
        ["convert", f"{tmp_path}/demo/data", "--to", f"{tmp_path}/demo/stores"],
    ]
    for one in arguments:
        assert runner.invoke(commands, one, catch_exceptions=False).exit_code == 0
    blocks = python_blocks(name)
    assert blocks
    for block in blocks:
        ran = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    """The folder in which docs/reading.md begins, after the commands that it begins with."""
    place, text = tmp_path_factory.mktemp("reading"), (ROOT / "docs/reading.md").read_text()
    commands_shown = re.search(r"```\n(trialpack sample.*?)```", text, re.S)[1].splitlines()
    assert len(commands_shown) == 3
    for line in commands_shown:
        done = subprocess.run([TRIALPACK, *line.split()[1:]], cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return place


def test_reading_shows_what_is_printed(reading, monkeypatch):
    monkeypatch.chdir(reading)
    monkeypatch.setenv("COLUMNS", "90")
    # Doctest would take the end of a block for output.
    text = re.sub(r"^```.*$", "", (ROOT / "docs/reading.md").read_text(), flags=re.M)
    test = doctest.DocTestParser().get_doctest(text, {}, "reading.md", "docs/reading.md", 0)
    assert len(test.examples) > 20
    failed, _ = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert failed == 0


def test_reading_shows_what_the_command_prints(reading):
    shown = re.findall(r"```\n\$ trialpack (.*?)\n(.*?)```", (ROOT / "docs/reading.md").read_text(), re.S)
    assert shown
    for command, expected in shown:
        done = subprocess.run([TRIALPACK, *command.split()], cwd=reading, capture_output=True, text=True, check=True)
        assert [line.rstrip() for line in done.stdout.rstrip().splitlines()] == expected.rstrip().splitlines()


def test_format_document_matches_the_code():
    text = (ROOT / "docs/format.md").read_text()
    assert f"# Format version {FORMAT_VERSION}" in text
    attributes = [value for name, value in vars(layout).items() if name.startswith("A_")]
    assert len(attributes) > 10
    for name in [*attributes, layout.MANIFEST, *layout.CODECS, "160 MB", "32 KiB", "128 KiB"]:
        assert name in text, name
    assert layout.SHARD_BYTES == 160_000_000
    assert layout.CHUNK_BYTES == 32 * 1024
    assert layout.CHUNK_BYTES * layout.JOINT_CHUNKS == 128 * 1024


def test_readme_names_every_command():
    text = (ROOT / "README.md").read_text()
    for name in COMMANDS:
        assert f"trialpack {name}" in text, name


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_an_example(name):
    shown = CliRunner().invoke(commands, [name, "--help"], catch_exceptions=False).output
    assert "Example" in shown and f"trialpack {name}" in shown


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_list_of_commands_says_what_their_help_says(name):
    command = commands.get_command(click.Context(commands), name)
    assert command is not None and command.help is not None
    assert COMMANDS[name] == command.help.split("\n\n")[0].replace("\n", " ")

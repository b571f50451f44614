"""What the documents and docstrings show must be so."""

import configparser
import doctest
import importlib
import os
import pkgutil
import re
import runpy
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import click
import pytest
import trialpack.cli
import trialpack.convert
import trialpack.readers
import trialpack.store
from click.testing import CliRunner
from trialpack.cli.main import COMMANDS, commands
from trialpack.convert.sample import write_sample
from trialpack.convert.schema import Declaration
from trialpack.store import FORMAT_VERSION, layout, push_store, variables

from .command_line import run
from .s3_proxy import s3_proxy

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


DOCUMENTS = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
NOT_TYPED = re.compile(r"make |python3 -m venv |\. venv/bin/activate|pip install ")
"""Lines that need the network, or take as long as the tests themselves: `make dist` and `.ci/run` do what they do."""


def fences(name):
    """Return language and text of each block of code of a document."""
    return re.findall(r"^```(\S*)\n(.*?)^```", (ROOT / name).read_text(), re.S | re.M)


def python_blocks(name):
    return [block for language, block in fences(name) if language == "python"]


def shell_lines(name):
    return "".join(block for language, block in fences(name) if language == "sh").splitlines()


def missing(name):
    """Return the packages that a document's code imports, and that are not installed."""
    known, text = ("h5py", "torch", "torchdata", "lightning", "accelerate", "jax", "obstore"), (ROOT / name).read_text()
    return [one for one in known if re.search(rf"^(import|from) {one}\b", text, re.M) and not find_spec(one)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_command_hides_from_being_run(name):
    """Blocks without a language are what is printed, those of other languages belong to other programs."""
    for language, block in fences(name):
        assert language in ("", "{toctree}", "ini", "matlab", "python", "sh", "toml"), language
        assert language or not re.search(r"^(trialpack|python3?|pip|make|dask|import|from) ", block, re.M), block


def test_what_is_to_be_installed_is_known():
    """The names of extras, and of the packages that come with them."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    extras = settings["options.extras_require"]
    packages = {re.split(r"[\[><=;]", one)[0] for text in extras.values() for one in text.split()}
    wanted = [one for name in DOCUMENTS for one in re.findall(r"pip install ([^`\n&]+)", (ROOT / name).read_text())]
    assert len(wanted) > 8
    for name in {name.strip("'") for text in wanted for name in text.split()}:
        named = re.fullmatch(r"\.\[(.*)\]", name)
        known = {"-e", ".", "pre-commit", "dask-jobqueue", "--config-settings", "editable_mode=strict"}
        assert set(named[1].split(",")) <= set(extras) if named else name in packages | known, name


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder of somebody who ran `make demo`, and has two zips of mice."""
    place, venv = tmp_path_factory.mktemp("place"), TRIALPACK.parent.parent
    demo = ["make", "-C", ROOT, "demo", "-o", f"{venv}/ready", f"VENV={venv}", f"DEMO={place}/demo", "TRIALS=24"]
    done = subprocess.run(demo, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for mouse in ("A", "S0"):
        write_sample(place / "downloads", mouse=mouse, trials=30, neurons=40, container="zip")
    return place


def follow(name, place, called=None):
    """Make the folder of a reader of a document who typed its commands, in their order."""
    if missing(name):
        pytest.skip(f"not installed: {missing(name)}")
    folder = place / (called or Path(name).stem)
    shutil.copytree(place / "demo/stores", folder / "demo/stores")
    lines = [line for line in shell_lines(name) if not NOT_TYPED.match(line)]
    if not any("sample downloads" in line for line in lines):
        (folder / "downloads").symlink_to(place / "downloads")
    env = {**os.environ, "PATH": f"{TRIALPACK.parent}:{os.environ['PATH']}"}
    command = ["sh", "-euc", "\n".join(lines)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


RUN_TWICE = """
import sys
for block in sys.argv[1:] * 2:
    exec(compile(block, "<shown>", "exec"), {"__name__": "__main__"})
    print("\\0", end="")
"""


def run_code(name, folder):
    """Run the blocks of Python of a document, each of which needs nothing of the others; also a second time."""
    blocks = python_blocks(name)
    command = [sys.executable, "-c", RUN_TWICE, *blocks]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    for block, printed in zip(blocks * 2, ran.stdout.split("\0")[:-1], strict=True):
        losses = [float(one) for one in re.findall(r"^epoch \d+: (\S+) on held-out trials", printed, re.M)]
        assert bool(losses) == ("on held-out trials" in block)
        assert losses == sorted(losses, reverse=True), printed


# These are followed as they say themselves, below.
BY_THEMSELVES = ["docs/cluster.md", "docs/frameworks.md", "docs/own-mice.md", "docs/reading.md", "docs/remote.md"]
RUN = [name for name in DOCUMENTS if name not in BY_THEMSELVES and (python_blocks(name) or shell_lines(name))]


@pytest.mark.once
@pytest.mark.parametrize("name", RUN)
def test_a_document_is_so(name, place):
    run_code(name, follow(name, place))


@pytest.mark.once
def test_the_document_of_frameworks_is_so(place):
    """On the mice of another one; and in two processes."""
    if missing("docs/frameworks.md"):
        pytest.skip(f"not installed: {missing('docs/frameworks.md')}")
    folder = follow("docs/training.md", place, "frameworks")
    run_code("docs/frameworks.md", folder)
    (block,) = [one for one in python_blocks("docs/frameworks.md") if one.startswith("# ddp.py\n")]
    (folder / "ddp.py").write_text(block)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "ddp.py"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    printed = re.findall(r"epoch \d: \d+ batches", ran.stdout)  # two processes may write one line
    assert len(printed) == 4 and len(set(printed)) == 2


@pytest.mark.once
def test_the_document_of_remote_stores_is_so(place, monkeypatch):
    """With a bucket of this machine, which has a store and a zip already."""
    obstore = pytest.importorskip("obstore", reason="obstore is not installed")
    with s3_proxy() as proxy:
        for name, value in proxy.options.items():
            monkeypatch.setenv(f"AWS_{name.replace('endpoint', 'endpoint_url').upper()}", value)
        made = urllib.request.Request(f"{proxy.options['endpoint']}/lab-bucket", method="PUT")
        urllib.request.urlopen(made).close()
        bucket = obstore.store.S3Store("lab-bucket", **proxy.options, client_options={"allow_http": True})
        obstore.put(bucket, "raw/mouse.zip", next((place / "downloads").glob("dynamic*.zip")))
        (store,) = (place / "demo/stores").iterdir()
        shutil.copytree(store, place / "remote/stores/mouse.zarr")
        push_store(store, "s3://lab-bucket/stores/mouse.zarr")
        run_code("docs/remote.md", follow("docs/remote.md", place))


@pytest.mark.once
def test_reading_shows_what_is_printed(place, monkeypatch):
    """By doctest, and by the commands."""
    folder = follow("docs/reading.md", place)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "90")
    # Doctest would take the end of a block for output.
    text = re.sub(r"^```.*$", "", (ROOT / "docs/reading.md").read_text(), flags=re.M)
    test = doctest.DocTestParser().get_doctest(text, {}, "reading.md", "docs/reading.md", 0)
    assert len(test.examples) > 20
    failed, _ = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert failed == 0
    monkeypatch.delenv("COLUMNS")
    shown = [block[2:].split("\n", 1) for _, block in fences("docs/reading.md") if block.startswith("$ trialpack ")]
    assert shown
    for command, expected in shown:
        typed = [TRIALPACK, *command.split()[1:]]
        done = subprocess.run(typed, cwd=folder, capture_output=True, text=True, check=True)
        assert [line.rstrip() for line in done.stdout.rstrip().splitlines()] == expected.rstrip().splitlines()


def shown_schema():
    text = (ROOT / "docs/own-mice.md").read_text()
    (found,) = [block for block in re.findall(r"```toml\n(.*?)```", text, re.S) if "  # " in block]
    return found


def test_own_mice_are_packed_as_shown(tmp_path, monkeypatch):
    """Everything is done in the order of the document: code, commands, and what these print."""
    monkeypatch.chdir(tmp_path)
    printed = ""
    for language, block in fences("docs/own-mice.md"):
        if language == "python":
            Path("shown.py").write_text(block)
            runpy.run_path("shown.py")
        elif block.startswith("$ trialpack "):
            command, _, refused = block.partition("\n")
            done = run(*command.split()[2:])
            assert (done.returncode, done.stdout, done.stderr) == (1, "", refused)
        elif language == "sh":
            done = [run(*command.split()[1:]) for command in block.splitlines()]
            assert [one.returncode for one in done] == [0] * len(done)
            printed = done[0].stdout
        elif block.startswith("# trialpack.toml of lab7"):
            assert printed.rstrip().endswith(block.rstrip())
    Path("lab.toml").write_text(shown_schema())
    for schema in (["--schema", "lab.toml"], []):
        again = run("convert", "demo/own/lab7", "--to", "demo/own/stores", "--dry-run", *schema).stdout
        assert re.sub(r"[\d.]+ \w+ free", "", again) == re.sub(r"[\d.]+ \w+ free", "", printed)
        (tmp_path / "demo/own/lab7/trialpack.toml").write_text(shown_schema())


def test_own_mice_show_every_key_of_a_schema():
    found = re.findall(r"^(\w+) = ", shown_schema(), re.M)
    assert set(found) == {field.name for field in fields(Declaration)}


def test_format_document_matches_the_code():
    text = (ROOT / "docs/format.md").read_text()
    assert f"# Format version {FORMAT_VERSION}" in text
    attributes = [value for name, value in vars(layout).items() if name.startswith("A_")]
    coordinates = [layout.TRIAL_ID, layout.TIER, layout.WITHHELD, layout.N_FRAMES, layout.N_FILE_FRAMES, layout.HAS]
    responses = variables.Variable("responses", "target", ("neuron",), (0,), "int16", "", "")
    assert len(attributes) > 10
    names = [*attributes, *coordinates, layout.MANIFEST, layout.SOFTWARE, *layout.CODECS, *variables.RESERVED]
    names += [*variables.DTYPES, *variables.KNOWN, *responses.document, *get_args(variables.Role)]
    for name in names:
        assert f"`{name}" in text or f"`trials/{name}" in text, name
    for size in ["160 MB", "32 KiB", "128 KiB"]:
        assert size in text, size
    assert layout.SHARD_BYTES == 160_000_000
    assert layout.CHUNK_BYTES == 32 * 1024
    assert layout.CHUNK_BYTES * layout.JOINT_CHUNKS == 128 * 1024


def test_readme_names_every_command():
    text = (ROOT / "README.md").read_text()
    for name in COMMANDS:
        assert f"trialpack {name}" in text, name


def command_named(name):
    return commands.get_command(click.Context(commands), name)


def test_every_option_of_convert_is_named():
    text = (ROOT / "docs/converting.md").read_text()
    for option in command_named("convert").params:
        if isinstance(option, click.Option):
            assert any(name in text for name in option.opts + option.secondary_opts), option.opts


def test_readme_names_the_commands_without_json():
    without = {name for name in COMMANDS if not any("--json" in each.opts for each in command_named(name).params)}
    assert without == {"completion", "sample", "show", "view"}
    assert "all but `sample`, `show`, `view` and `completion` have `--json`" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_has_an_example(name):
    shown = CliRunner().invoke(commands, [name, "--help"], catch_exceptions=False).output
    assert "Example" in shown and f"trialpack {name}" in shown


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_list_of_commands_says_what_their_help_says(name):
    command = command_named(name)
    assert command is not None and command.help is not None
    assert COMMANDS[name] == command.help.split("\n\n")[0].replace("\n", " ")


@pytest.mark.once
def test_cluster_document_runs(tmp_path, monkeypatch):
    """Its commands, on a scheduler of any free port; its code; and that for SLURM, with workers on this machine."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("PATH", f"{TRIALPACK.parent}:{os.environ['PATH']}")
    lines, started = shell_lines("docs/cluster.md"), []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    try:
        for line in lines:
            command = line.replace("8786", port)
            if line.startswith("dask "):
                started.append(subprocess.Popen([sys.executable, "-m", *shlex.split(command)], cwd=tmp_path))
            else:
                done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
                assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        assert len(started) == 2 and len(lines) == 9
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
    assert len(list((tmp_path / "demo/stores").iterdir())) == 2 and list((tmp_path / "demo/published").iterdir())
    (tmp_path / "dask_jobqueue.py").write_text(SLURM_HERE)
    for block in python_blocks("docs/cluster.md"):
        script = tmp_path / "shown.py"
        script.write_text(block)
        subprocess.run([sys.executable, script], cwd=tmp_path, check=True)
    assert distributed and len(list((tmp_path / "demo/slurm").iterdir())) == 2


SLURM_HERE = """
from distributed import LocalCluster

class SLURMCluster(LocalCluster):
    def __init__(self, queue, account, cores, processes, memory, walltime, local_directory):
        options = {"threads_per_worker": cores // processes, "memory_limit": memory, "dashboard_address": None}
        super().__init__(n_workers=0, **options)

    def scale(self, n=0, jobs=0):
        return super().scale(2 if jobs else n)
"""

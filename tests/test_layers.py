"""The layers of CONTRIBUTING.md: who may import whom, and what importing must not pull in."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from trialpack.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["store", "readers", "convert", "cli"]
FOLDERS = [*LAYERS, "api"]
"""What is installed: the layers, and the public names on top."""


def imported_layers(path):
    """Return the layers that a module imports, seen from its own place in the package."""
    parts = path.relative_to(ROOT).parts[:-1]
    package = ["trialpack", *(parts[1:] if parts[0] == "api" else parts)]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            full = [*base, *(node.module.split(".") if node.module else [])]
            names = [full + [alias.name] for alias in node.names]
            found |= {name[1] for name in names if name[0] == "trialpack" and len(name) > 1}
        elif isinstance(node, ast.ImportFrom):
            assert not node.module.startswith("trialpack"), f"{path}: imports of the project are relative"
        elif isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] in ("trialpack", *LAYERS) for alias in node.names), path
    return found & set(LAYERS)


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_down(layer):
    allowed = set(LAYERS[: LAYERS.index(layer) + 1])
    modules = list((ROOT / layer).rglob("*.py"))
    assert modules
    for path in modules:
        assert imported_layers(path) <= allowed, path


def test_the_check_sees_an_import(tmp_path, monkeypatch):
    """The check above fails for a module that imports upwards."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "bad.py").write_text("from ..convert import plan\n")
    assert imported_layers(tmp_path / "store" / "bad.py") == {"convert"}


def test_the_public_names_stand_on_top():
    paths = list((ROOT / "api").rglob("*.py"))
    assert set().union(*map(imported_layers, paths)) == set(LAYERS)


def loaded_by(statement):
    """Return the modules that a statement loads in a Python of its own."""
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("package", ["", ".store", ".readers", ".convert"])
def test_a_package_alone_loads_next_to_nothing(package):
    loaded = loaded_by(f"import trialpack{package}")
    assert not loaded & {"numpy", "zarr", "numcodecs", "dask", "pandas", "xarray", "click", "importlib.metadata"}
    assert len([name for name in loaded if name.startswith("trialpack")]) <= 5


@pytest.mark.parametrize("package", ["trialpack.readers", "trialpack.convert"])
def test_whatever_a_package_offers_is_light(package):
    assert not loaded_by(f"from {package} import *") & {"torch", "matplotlib", "distributed", "pandas", "xarray"}


def test_a_module_loads_only_what_it_needs():
    assert "trialpack.readers.streaming" not in loaded_by("import trialpack.readers.rows")
    assert "trialpack.readers.streaming" not in loaded_by("from trialpack import open_mouse")
    assert "trialpack.convert.conversion" not in loaded_by("import trialpack.convert.npy")


@pytest.mark.parametrize("heavy", ["numpy", "zarr", "dask", "rich"])
def test_the_command_line_begins_light(heavy):
    """Handlers of interrupts are there before what takes half a second to import, and so is the help."""
    code = f"import sys; from trialpack.cli import main; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_unpickles():
    """No module of the package may load pickles; one writes them, for the public pipeline."""
    for layer in FOLDERS:
        for path in (ROOT / layer).rglob("*.py"):
            text = path.read_text()
            assert "import pickle" not in text and "allow_pickle=True" not in text, path
            assert set(re.findall(r"from pickle import (.*)", text)) <= {"dumps"}, path
            assert "np.load(" not in text, f"{path}: read .npy files with convert.npy"


def test_no_module_hides_another():
    """A module named like one of the standard library or of a dependency shadows it in scripts."""
    taken = sys.stdlib_module_names | {"numpy", "zarr", "numcodecs", "dask", "torch", "click", "rich", "deflate"}
    taken |= {"pandas", "xarray", "distributed", "matplotlib"}
    for layer in FOLDERS:
        names = {path.stem for path in (ROOT / layer).rglob("*.py")}
        assert not names & taken, names & taken


def test_one_module_imports_torch():
    """Whoever has no torch can use all but that one."""
    importers = set()
    for layer in FOLDERS:
        for path in (ROOT / layer).rglob("*.py"):
            run = re.sub(r"^if TYPE_CHECKING:\n(?:    .*\n|\n)+", "", path.read_text(), flags=re.M)
            if re.search(r"^\s*(import|from) torch\b", run, flags=re.M):
                importers.add(path.relative_to(ROOT).as_posix())
    assert importers == {"readers/streaming/tensors.py"}


def test_libraries_speak_of_no_option_and_no_command():
    """The command line spells arguments and calls as its own: see `cli.options.spelled`."""
    spoken = re.compile(rf"(?<![\w-])--[a-z]|\btrialpack ({'|'.join(COMMANDS)}) ")
    for layer in ("store", "readers", "convert"):
        for path in (ROOT / layer).rglob("*.py"):
            texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
            assert not [text for text in texts if isinstance(text, str) and spoken.search(text)], path

"""The layers of CONTRIBUTING.md: who may import whom, and what importing must not pull in."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["store", "readers", "convert", "cli"]


def imported_layers(path):
    """Return the layers that a module imports, seen from its own place in the package."""
    package = ["trialpack", *path.relative_to(ROOT).with_suffix("").parts[:-1]]
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


@pytest.mark.parametrize("module", ["trialpack.readers", "trialpack.convert"])
@pytest.mark.parametrize("heavy", ["torch", "matplotlib", "distributed", "pandas", "xarray"])
def test_importing_is_light(module, heavy):
    code = f"import sys, {module}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("heavy", ["numpy", "zarr", "dask", "rich"])
def test_the_command_line_begins_light(heavy):
    """Handlers of interrupts are there before what takes half a second to import, and so is the help."""
    code = f"import sys; from trialpack.cli import main; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_unpickles():
    """No module of the package may load pickles; one writes them, for the public pipeline."""
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            text = path.read_text()
            assert "import pickle" not in text and "allow_pickle=True" not in text, path
            assert set(re.findall(r"from pickle import (.*)", text)) <= {"dumps"}, path
            assert "np.load(" not in text, f"{path}: read .npy files with convert.npy"


def test_no_module_hides_another():
    """A module named like one of the standard library or of a dependency shadows it in scripts."""
    taken = sys.stdlib_module_names | {"numpy", "zarr", "numcodecs", "dask", "torch", "click", "rich", "deflate"}
    taken |= {"pandas", "xarray", "distributed", "matplotlib"}
    for layer in LAYERS:
        names = {path.stem for path in (ROOT / layer).rglob("*.py")}
        assert not names & taken, names & taken


def test_one_module_imports_torch():
    """Whoever has no torch can use all but that one."""
    importers = set()
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            run = re.sub(r"^if TYPE_CHECKING:\n(?:    .*\n|\n)+", "", path.read_text(), flags=re.M)
            if re.search(r"^\s*(import|from) torch\b", run, flags=re.M):
                importers.add(path.relative_to(ROOT).as_posix())
    assert importers == {"readers/streaming/tensors.py"}

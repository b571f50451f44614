"""The package `trialpack`: its public names, and that it imports wherever Python is started."""

import ast
import configparser
import importlib
import json
import multiprocessing
import operator
import os
import pickle
import pkgutil
import re
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import trialpack
import yaml
from trialpack import SourceError, convert_mouse, open_mouse, plan_mouse
from trialpack.convert.sample import write_sample
from trialpack.store import errors
from trialpack.store.distribution import DISTRIBUTION

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = (".py", ".json", ".html", ".js", ".css", ".txt")
LAZY = ["trialpack", "trialpack.store", "trialpack.readers", "trialpack.convert"]
IMPORTS = """
import trialpack, trialpack.store.layout
from trialpack import *
from trialpack import __version__
from trialpack.readers import open_mouse as same
from trialpack.convert import convert_mouse
assert same is open_mouse is trialpack.open_mouse
print(trialpack.__file__, __version__)
"""


def run(*arguments, **settings):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **settings)


@pytest.mark.parametrize("package", LAZY)
def test_a_package_offers_what_it_lists(package):
    """To whoever imports it, to type checkers, and in completion."""
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(set(module.__all__))
    assert all(getattr(module, name) is not None for name in module.__all__)
    assert set(module.__all__) == {name for name in dir(module) if not name.startswith("__")} | {
        name for name in module.__all__ if name.startswith("__")
    }
    tree = ast.parse(Path(module.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    assert {alias.name for node in imports for alias in node.names} - {"lazy_names"} == set(module.__all__)


@pytest.mark.parametrize("package", LAZY)
def test_no_module_is_called_like_a_name_that_its_package_offers(package):
    """Importing the module would put it in the place of the name."""
    module = importlib.import_module(package)
    assert not {info.name for info in pkgutil.iter_modules(module.__path__)} & set(module.__all__)


@pytest.mark.parametrize("package", LAZY)
def test_a_name_that_is_not_there_is_an_attribute_error(package):
    module = importlib.import_module(package)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nonsense'"):
        _ = module.nonsense
    with pytest.raises(ImportError, match="nonsense"):
        exec(f"from {package} import nonsense", {})  # noqa: S102


def test_all_errors_are_public():
    public = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert public | {"ForkedError", "Problem"} <= set(trialpack.__all__)


def test_the_version_is_the_one_of_setup_cfg():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert trialpack.__version__ == settings["metadata"]["version"]


def test_the_name_of_the_distribution_is_never_the_one_that_is_taken():
    """Neither a document, a message nor an extra may ask an index for what is somebody else's."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert settings["metadata"]["name"] == DISTRIBUTION != "trialpack"
    extras = settings["options.extras_require"].values()
    needed = "\n".join([settings["options"]["install_requires"], *extras]).split()
    assert needed and not [one for one in needed if re.match(r"trialpack(?!-neuro)\b", one)]
    folders = ("api", "benchmarks", "cli", "convert", "docs", "readers", "store", "tests")
    paths = [*ROOT.glob("*"), *(path for name in folders for path in (ROOT / name).rglob("*"))]
    written = [path for path in paths if path.is_file() and path.suffix in (".md", ".py", ".sh", ".ipynb", "")]
    wanted = [found for path in written for found in re.findall(r"pip install[^`\n]*", path.read_text())]
    assert wanted and not [text for text in wanted if re.search(r"(?<![\w./-])trialpack(?!-neuro)\b", text)]


def test_python_m_trialpack_is_the_command_line(tmp_path):
    done = run("-m", "trialpack", "--version", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.split()[-1] == trialpack.__version__
    done = run("-m", "trialpack", "info", tmp_path / "none.zarr", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith(f"trialpack: {tmp_path}/none.zarr: no such store")


@pytest.mark.parametrize("place", ["clone", "elsewhere"])
def test_it_imports_from_any_folder(place, tmp_path):
    done = run("-c", IMPORTS, cwd=ROOT if place == "clone" else tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [trialpack.__file__, trialpack.__version__]


def test_it_crosses_processes(tmp_path):
    mouse = open_mouse(convert_mouse(write_sample(tmp_path, trials=2, neurons=2), tmp_path / "stores").store)
    with pytest.raises(SourceError) as caught:
        plan_mouse(tmp_path / "none", tmp_path)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(operator.attrgetter("name"), mouse).result(60) == mouse.name
        assert pool.submit(operator.attrgetter("problems"), caught.value).result(60) == caught.value.problems
    function = pickle.loads(pickle.dumps(trialpack.convert_mouse))
    assert function is trialpack.convert_mouse


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A folder with the content of a wheel; beside it a clone called trialpack, that it was built from."""
    clone = tmp_path_factory.mktemp("wheel") / "trialpack"
    folders = [path.name for path in ROOT.iterdir() if (path / "py.typed").exists()]
    for name in folders:
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", clone.parent, clone)
    done = run(*build, cwd=clone.parent)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(clone.parent.glob("*.whl"))) as archive:
        archive.extractall(clone.parent / "installed")
    return clone.parent / "installed"


def environment(wheel):
    return {**os.environ, "PYTHONPATH": str(wheel)}


def can_build():
    try:
        return int(version("setuptools").split(".")[0]) >= 77
    except PackageNotFoundError:
        return False


needs_setuptools = pytest.mark.skipif(not can_build(), reason="builds a wheel, with setuptools 77 or newer")


@needs_setuptools
def test_a_wheel_imports_from_any_folder_and_holds_every_module(wheel, tmp_path):
    """Also from the parent of a clone that is called trialpack."""
    for place in (tmp_path, wheel.parent, wheel.parent / "trialpack"):
        done = run("-c", IMPORTS, cwd=place, env=environment(wheel))
        assert done.returncode == 0, done.stderr
        assert done.stdout.split()[0] == str(wheel / "trialpack" / "__init__.py")
    for name in (path.name for path in ROOT.iterdir() if (path / "py.typed").exists()):
        here = {path.relative_to(ROOT / name) for path in (ROOT / name).rglob("*") if path.suffix in SUFFIXES}
        there = wheel / "trialpack" / ("" if name == "api" else name)
        assert here and all((there / path).is_file() for path in (*here, Path("py.typed"))), name


@needs_setuptools
def test_type_checkers_follow_the_public_names(wheel, tmp_path):
    checker = Path(sys.executable).with_name("basedpyright")
    if not checker.exists():
        pytest.skip("basedpyright is not installed")
    settings = {"extraPaths": [str(wheel)], "include": ["user.py"], "typeCheckingMode": "standard"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    lines = ["import trialpack", *(f"reveal_type(trialpack.{name})" for name in sorted(trialpack.__all__))]
    (tmp_path / "user.py").write_text("\n".join([*lines, "from trialpack.convert import nonsense", ""]))
    command = [checker, "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors_found = [one["message"] for one in found if one["severity"] == "error"]
    assert len(errors_found) == 1 and "nonsense" in errors_found[0]
    shown = [one["message"] for one in found if one["severity"] == "information"]
    assert len(shown) == len(trialpack.__all__) and not [text for text in shown if re.search(r"\bUnknown\b", text)]
    assert any("-> Verification" in text for text in shown)


def test_the_citation_says_what_setup_cfg_says():
    """What format 1.2.0 of such files asks for, and no address as long as there is none."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= cited.keys() and cited["cff-version"] == "1.2.0"
    assert cited.keys() <= {"cff-version", "message", "title", "type", "authors", "version", "license", "keywords"}
    assert all(type(value) is str for name, value in cited.items() if name not in ("authors", "keywords"))
    assert cited["authors"] == [{"name": settings["metadata"]["author"]}]
    assert (cited["version"], cited["license"]) == (settings["metadata"]["version"], settings["metadata"]["license"])
    assert cited["keywords"] == settings["metadata"]["keywords"].split(", ")

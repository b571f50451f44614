"""Tiny mice, made once a run; each test gets copies of its own."""

import os
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.store import files
from trialpack.store.tasks import available_cores

from .mice import trim, trimmed_zip

FSYNC, SYNC, SYNCFS = os.fsync, os.sync, files._syncfs

# ``pytest --hypothesis-profile=long`` looks further, at other examples every time.
settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=10_000, deadline=None)
settings.load_profile("quick")

# The tests run beside one another: the threads of each process's models would only wait for those of the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts jobs in the background with interrupts ignored, and all that they start would ignore them too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more process than cores: tests wait for threads and processes of their own."""
    return available_cores() + 1


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torture", action="store_true", help="inject faults by the hundred (tests/faults)")


# Numbers 1, 2, 4, 5, 7, 8 and 15 of mouse A have no files. Responses of mouse F and of S0 are withheld in part.
TINY = {
    "dynamic": {"mouse": "A", "trials": 12, "neurons": 20, "image_shape": (6, 8)},
    "float64": {"mouse": "F", "trials": 8, "neurons": 5, "image_shape": (6, 8)},
    "static": {"mouse": "S0", "trials": 14, "neurons": 6, "image_shape": (9, 16)},
}


@pytest.fixture(scope="session")
def sample_mice(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The originals, ``dynamic_folder``, ``dynamic_zip`` and so on: not to be written to."""
    place = tmp_path_factory.mktemp("mice")
    return {
        f"{name}_{container}": write_sample(place, container=container, **arguments)
        for name, arguments in TINY.items()
        for container in ("folder", "zip")
    }


@pytest.fixture(scope="session")
def tiny_mice(sample_mice: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What `fresh` copies: the sample mice with fewer statistics; a module may put other mice in their place."""
    place, mice = tmp_path_factory.mktemp("trimmed"), dict[str, Path]()
    for name, original in sample_mice.items():
        if original.is_dir():
            mice[name] = shutil.copytree(original, place / original.name)
            trim(mice[name])
        else:
            mice[name] = trimmed_zip(original, place / original.name)
    return mice


@pytest.fixture
def fresh(tiny_mice: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copy one of the tiny mice, such as ``fresh("dynamic_folder")``, into a folder of the test."""

    def copy(name: str) -> Path:
        original, place = tiny_mice[name], tmp_path / "source" / name
        place.mkdir(parents=True)
        if original.is_dir():
            return shutil.copytree(original, place / original.name)
        return Path(shutil.copy(original, place))

    return copy


@pytest.fixture(scope="session", autouse=True)
def no_waiting() -> Iterator[None]:
    """Ask the system for nothing that makes it wait for the disk: most tests are of what is written, not of when."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(os, "sync", lambda: None)
        patch.setattr(files, "_syncfs", lambda descriptor: 0)
        yield


@pytest.fixture
def durable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the disk, as conversions of users do."""
    monkeypatch.setattr(os, "fsync", FSYNC)
    monkeypatch.setattr(os, "sync", SYNC)
    monkeypatch.setattr(files, "_syncfs", SYNCFS)


@pytest.fixture
def dynamic_folder(fresh: Callable[[str], Path]) -> Path:
    """Mouse A: float32, 12 trials with gaps among their numbers, 20 neurons, videos of 6 by 8 pixels."""
    return fresh("dynamic_folder")


@pytest.fixture
def dynamic_zip(fresh: Callable[[str], Path]) -> Path:
    """The same as a zip, with what macOS leaves in one."""
    return fresh("dynamic_zip")


@pytest.fixture
def float64_folder(fresh: Callable[[str], Path]) -> Path:
    """Mouse F: float64, 8 trials, some of them withheld."""
    return fresh("float64_folder")


@pytest.fixture
def float64_zip(fresh: Callable[[str], Path]) -> Path:
    """The same as a zip."""
    return fresh("float64_zip")


@pytest.fixture
def static_folder(fresh: Callable[[str], Path]) -> Path:
    """Mouse S0: 14 trials, 6 neurons, images of 9 by 16 pixels; text metadata, withheld trials."""
    return fresh("static_folder")


@pytest.fixture
def static_zip(fresh: Callable[[str], Path]) -> Path:
    """The same as a zip."""
    return fresh("static_zip")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Two worker processes of two threads each, for all tests; on any free port, for others may have a cluster, too."""
    distributed = pytest.importorskip("distributed")
    options = {"threads_per_worker": 2, "dashboard_address": "127.0.0.1:0", "memory_limit": 0}
    with warnings.catch_warnings():
        # distributed warns about its own sockets and event loops.
        warnings.simplefilter("default")
        with distributed.LocalCluster(n_workers=2, **options) as cluster:
            yield cluster


@pytest.fixture
def converted(tmp_path: Path) -> Callable[..., Path]:
    """Convert a mouse into a folder of the test and return the store; options as in `convert_mouse`.

    Without statistics by default, which take most of the time of a tiny mouse.
    """

    def convert(source: Path, *, statistics: bool = False, **options: object) -> Path:
        return convert_mouse(source, tmp_path / "stores", statistics=statistics, **options).store

    return convert

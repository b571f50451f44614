"""Counts of faults: in their quick form with every run of the tests, in their long form with ``--torture``."""

import contextlib
import functools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.store import files, layout

from .conversions import (
    PREFIX,
    SHARD_BYTES,
    Child,
    Digests,
    Faults,
    Scene,
    convert,
    digests,
)
from .damages import KINDS, TinyStores, copy_store
from .promises import Tally, summed, table, versions

_reported = list[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--torture"):
        settings.load_profile("long")


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """Return ``size(quick, long)``: one of both numbers, as this run is short or long."""
    return lambda quick, long: long if request.config.getoption("--torture") else quick


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Count the faults of a test that has the mark ``promise``; one that counted none has tested nothing."""
    mark = request.node.get_closest_marker("promise")
    assert mark is not None, "a test that counts faults says for which promise"
    tally = Tally(*mark.args)
    yield tally
    request.node.user_properties.append(("faults", astuple(tally)))
    assert tally.injected or tally.noticed


@pytest.fixture
def tallies(request: pytest.FixtureRequest) -> Iterator[tuple[Tally, ...]]:
    """Count the faults of a test that has several marks ``promise``: for each of them, by their numbers."""
    tallies = tuple(Tally(number) for number in sorted(mark.args[0] for mark in request.node.iter_markers("promise")))
    yield tallies
    request.node.user_properties.extend(("faults", astuple(tally)) for tally in tallies)
    assert all(tally.injected or tally.noticed for tally in tallies)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "teardown":
        _reported.extend(Tally(*counts) for name, counts in report.user_properties if name == "faults")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    sums = summed(_reported)
    terminalreporter.section("faults")
    terminalreporter.write_line(f"{date.today()}, {versions()}\n")
    for line in table(sums):
        terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A long run in which a promise was not tried, or its test never shown to notice a fault, has failed."""
    on_controller = not hasattr(session.config, "workerinput")
    if on_controller and session.config.getoption("--torture") and session.exitstatus == pytest.ExitCode.OK:
        if any(t.survived < t.injected or not t.injected or not t.noticed for t in summed(_reported)):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mouse of few files, so that all operations of its conversion can be made to fail in turn.

    Without train trials, for their statistics are many files; `with_train` has them.
    """
    mouse = write_sample(tmp_path_factory.mktemp("recording"), mouse="A", trials=12, neurons=3, image_shape=(3, 4))
    shutil.rmtree(mouse / "meta" / "statistics")
    shutil.rmtree(mouse / "meta" / "neurons")
    (mouse / "meta" / "trials" / "trial_idx.npy").unlink()
    tiers = np.load(mouse / "meta" / "trials" / "tiers.npy")
    np.save(mouse / "meta" / "trials" / "tiers.npy", np.where(tiers == "train", "oracle", tiers))
    return mouse


@pytest.fixture
def with_train(recording: Path, tmp_path: Path) -> Path:
    """The same mouse with train trials."""
    mouse = shutil.copytree(recording, tmp_path / "with_train" / recording.name)
    tiers = np.load(mouse / "meta" / "trials" / "tiers.npy")
    np.save(mouse / "meta" / "trials" / "tiers.npy", np.where(tiers == "oracle", "train", tiers))
    return mouse


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three units of four trials in `recording`."""
    monkeypatch.setattr(layout, "SHARD_BYTES", SHARD_BYTES)


@pytest.fixture(scope="module")
def references(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Digests]]:
    """Return the digests of the store that an uninterrupted conversion makes."""

    @functools.cache
    def make(**options: Any) -> Digests:
        summary = convert_mouse(recording, tmp_path_factory.mktemp("reference"), workers=1, **options)
        assert len(summary.plan.units) == 3
        return digests(summary.store)

    yield make


@pytest.fixture
def reference(references: Callable[..., Digests]) -> Digests:
    return references()


@pytest.fixture
def destination(recording: Path, tmp_path: Path) -> Path:
    return tmp_path / "stores" / f"{recording.name}.zarr"


@pytest.fixture
def scenes(
    recording: Path,
    with_train: Path,
    destination: Path,
    references: Callable[..., Digests],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], Scene]:
    """Return a function that makes one of `SCENES`."""

    def make(name: str) -> Scene:
        new = references()
        if name == "statistics":
            final = digests(convert(with_train, tmp_path / "reference" / destination.name))
            return Scene(with_train, destination, {}, None, (None, final), final)
        if not name.startswith("replace"):
            options = {"workers": 2} if name == "two workers" else {}
            return Scene(recording, destination, options, None, (None, new), new)
        old, original = references(codec="none"), tmp_path / "original" / destination.name
        convert(recording, original, codec="none")
        allowed: tuple[Digests | None, ...] = (old, new)
        if name == "replace by two renames":
            monkeypatch.setattr(files, "_renameat2", lambda old, new, flags: False)
            allowed = (None, old, new)
        return Scene(recording, destination, {"replace": True}, original, allowed, new)

    return make


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


@pytest.fixture
def child() -> Iterator[Child]:
    """Return a function that starts a Python process that has `convert_mouse` and small shards."""
    with contextlib.ExitStack() as stack:

        def start(body: str, *arguments: object) -> subprocess.Popen[str]:
            code = PREFIX.format(shard_bytes=SHARD_BYTES) + body
            command, pipe = [sys.executable, "-c", code, *map(str, arguments)], subprocess.PIPE
            # A group of its own, so that it can be killed with all that it started.
            process = stack.enter_context(
                subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
            )
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> TinyStores:
    """Tiny stores with all kinds of files: not to be written to."""
    return TinyStores(tmp_path_factory.mktemp("stores"))


@pytest.fixture(params=list(KINDS))
def store(request: pytest.FixtureRequest, stores: TinyStores, tmp_path: Path) -> Path:
    """A writable copy of a store of each kind."""
    return copy_store(stores(request.param, statistics=request.param == "dynamic"), tmp_path / "copy.zarr")


@pytest.fixture
def static_store(stores: TinyStores, tmp_path: Path) -> Path:
    """A writable copy of a store of a static mouse."""
    return copy_store(stores("static"), tmp_path / "copy.zarr")

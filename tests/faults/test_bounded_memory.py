"""The bound of `--max-memory` holds for the whole process, and does not grow with the number of trials."""

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trialpack.convert import convert_mouse, export_mouse, plan_mouse
from trialpack.convert.sample import write_sample

from .promises import Tally

CONVERT = """
import re, sys
from trialpack.convert import convert_mouse
from trialpack.store import layout
layout.SHARD_BYTES = 10_000_000  # as many units as workers, of few trials too
convert_mouse(sys.argv[1], sys.argv[2], max_memory=int(sys.argv[3]), workers=8)
print(int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024)
"""
LIMIT = 250_000_000


def peak(source: Path, to: Path, code: str = CONVERT) -> int:
    """Convert in a process of its own, which starts no others; return its peak of resident memory in bytes.

    Not from getrusage: its maximum is inherited from the process that forked.
    """
    command = [sys.executable, "-c", code, str(source), str(to), str(LIMIT)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


NAIVE = """
import pathlib, re, sys
import numpy as np
data = pathlib.Path(sys.argv[1]) / "data"
stacked = {folder.name: np.stack([np.load(path) for path in folder.iterdir()]) for folder in data.iterdir()}
print(int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024)
"""
pytestmark = [
    pytest.mark.once,
    pytest.mark.promise(18),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc"),
]


PASS = """
import re, sys
from trialpack.convert import convert_mouse
from trialpack.store.tasks import Silent
from trialpack.store import layout
layout.SHARD_BYTES = 10_000_000  # many pieces of work

def resident(name):
    return int(re.search(name + r":\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024

class Watch(Silent):
    def start(self, phase, nbytes, files):
        if phase == "measuring":
            open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
            self.before = resident("VmRSS")
        elif phase == "converting":
            sys.exit(print(resident("VmHWM") - self.before))

convert_mouse(
    sys.argv[1], sys.argv[2], max_error={"responses": "1%std", "videos": "1%std"}, workers=2, progress=Watch()
)
"""
ALL_AT_ONCE = """
import trialpack.convert.conversion as conversion
from trialpack.convert import bounds as train_std

def measure(work, report=None):
    with work.part.open() as reader:
        kept = {one: [reader.read(one.name, id).values.copy() for id in work.trial_ids] for one, _ in work.files}
    held.append(kept)
    return {one.name: train_std.trial_moments(one, values[0]) for one, values in kept.items()}

held = []
conversion.measure = measure
"""
PASS_LIMIT = 8_000_000
"""Bytes that the pass for ``%std`` adds at most, with two workers and trials of 0.3 MB."""


def assert_bounded(peaks: list[int]) -> None:
    """Of few trials, and of many."""
    assert max(peaks) <= LIMIT * 1.1
    # Workers reach their peaks at the same moment, or do not.
    assert peaks[1] - peaks[0] < 50_000_000, peaks


@pytest.mark.parametrize("container", ["folder", "zip"])
def test_memory_is_bounded_and_does_not_grow_with_trials(
    tmp_path: Path, container: Any, tally: Tally, size: Callable[[int, int], int]
) -> None:
    peaks = list[int]()
    for trials in (48, size(96, 384)):  # two units for each worker, of few trials too
        source = write_sample(tmp_path / f"{trials}", mouse="A", trials=trials, neurons=2000, container=container)
        plan = plan_mouse(source, tmp_path)
        assert plan.unit_memory * 8 > LIMIT - 160_000_000, "eight workers must not fit, or the bound is not tested"
        tally.inject()
        peaks.append(peak(source, tmp_path / f"stores{trials}"))
    assert_bounded(peaks)
    tally.survive(2)


def test_whoever_stacks_all_trials_is_noticed(tmp_path: Path, tally: Tally) -> None:
    peaks = list[int]()
    for trials in (12, 48):
        source = write_sample(tmp_path / f"{trials}", mouse="A", trials=trials, neurons=2000)
        peaks.append(peak(source, tmp_path, NAIVE))
    with pytest.raises(AssertionError):
        assert_bounded(peaks)
    tally.notice()


@pytest.fixture(scope="module")
def small_mice(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Return a function that makes a mouse of 0.3 MB a trial in a container, of which about half are for training."""
    place = tmp_path_factory.mktemp("small")

    @functools.cache
    def make(container: str, trials: int) -> Path:
        to, form = place / f"{container}{trials}", "zip" if container == "zip" else "folder"
        source = write_sample(to, mouse="A", trials=trials, neurons=200, image_shape=(6, 8), container=form)
        if container != "hdf5":
            return source
        pytest.importorskip("h5py")
        store = convert_mouse(source, to, statistics=False).store
        return export_mouse(store, to / "h5", format="hdf5", hdf5_filter="none").path

    return make


def assert_pass_is_bounded(added: list[int]) -> None:
    """Of few trials, and of five times as many."""
    assert max(added) <= PASS_LIMIT, added
    assert added[1] - added[0] < 2_000_000, added


@pytest.mark.parametrize("container", ["folder", "zip", "hdf5"])
def test_the_pass_for_standard_deviations_does_not_grow_with_trials(
    container: str, small_mice: Callable[[str, int], Path], tmp_path: Path, tally: Tally
) -> None:
    tally.inject(2)
    assert_pass_is_bounded([peak(small_mice(container, trials), tmp_path, PASS) for trials in (48, 240)])
    tally.survive(2)


def test_a_pass_that_keeps_all_train_trials_is_noticed(
    small_mice: Callable[[str, int], Path], tmp_path: Path, tally: Tally
) -> None:
    added = [peak(small_mice("folder", trials), tmp_path, ALL_AT_ONCE + PASS) for trials in (48, 240)]
    with pytest.raises(AssertionError):
        assert_pass_is_bounded(added)
    tally.notice()

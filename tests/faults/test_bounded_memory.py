"""The bound of `--max-memory` holds for the whole process, and does not grow with the number of trials."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trialpack.convert import plan_mouse
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
    pytest.mark.slow,
    pytest.mark.promise(18),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc"),
]


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
    for trials in (32, size(64, 192)):
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

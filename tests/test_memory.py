"""The bound of `--max-memory` holds for the whole process, and does not grow with the number of trials."""

import subprocess
import sys
from pathlib import Path

import pytest
from trialpack.convert import plan_mouse
from trialpack.convert.sample import write_sample

CONVERT = """
import re, sys
from trialpack.convert import convert_mouse
convert_mouse(sys.argv[1], sys.argv[2], max_memory=int(sys.argv[3]), workers=8)
print(int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024)
"""
LIMIT = 250_000_000


def peak(source, to):
    """Convert in a process of its own, which starts no others; return its peak of resident memory in bytes.

    Not from getrusage: its maximum is inherited from the process that forked.
    """
    command = [sys.executable, "-c", CONVERT, str(source), str(to), str(LIMIT)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("container", ["folder", "zip"])
def test_memory_is_bounded_and_does_not_grow_with_trials(tmp_path, container):
    peaks = []
    for trials in (12, 48):
        source = write_sample(tmp_path / f"{trials}", mouse="A", trials=trials, neurons=2000, container=container)
        plan = plan_mouse(source, tmp_path)
        assert plan.unit_memory * 8 > LIMIT - 160_000_000, "eight workers must not fit, or the bound is not tested"
        peaks.append(peak(source, tmp_path / f"stores{trials}"))
    assert max(peaks) <= LIMIT * 1.1
    assert peaks[1] - peaks[0] < 25_000_000, peaks

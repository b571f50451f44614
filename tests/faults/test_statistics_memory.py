"""The bound on the memory of statistics holds for the whole process, and does not grow with the number of trials."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import open_mouse
from trialpack.readers.reductions import needed_memory

from ..mice import trial_ids, trial_path
from .promises import Tally

COMPUTE = """
import json, re, sys
from trialpack.readers import open_mouse, train_statistics
store, limit, threads, neurons = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
found = train_statistics(open_mouse(store), tier=None, max_memory=limit, threads=threads)
peak = int(re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
responses = found["responses"]
print(json.dumps({
    "peak": peak,
    "over_trials": responses["over_trials"].median[neurons].tolist(),
    "over_trials_and_frames": responses["over_trials_and_frames"].median[neurons].tolist(),
}))
"""
LIMIT = 275_000_000
NEURONS = [0, 7, 1000, 1999]


def compute(store: Path, limit: int, threads: int = 4) -> dict[str, Any]:
    """Compute in a process of its own, which starts no others; return its peak of resident memory, and medians.

    Not from getrusage: its maximum is inherited from the process that forked.
    """
    command = [sys.executable, "-c", COMPUTE, str(store), str(limit), str(threads), json.dumps(NEURONS)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


pytestmark = [
    pytest.mark.once,
    pytest.mark.promise(18),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory from /proc"),
]


def pack(place: Path, trials: int, neurons: int, mouse: str = "A") -> tuple[Path, Path]:
    """Return a source of a mouse and its store, without statistics."""
    source = write_sample(place / f"{trials}", mouse=mouse, trials=trials, neurons=neurons)
    return source, convert_mouse(source, place / f"stores{trials}", statistics=False, verify=False).store


def test_memory_is_bounded_and_does_not_grow_with_trials(tmp_path: Path, tally: Tally) -> None:
    tally.inject()
    peaks = list[int]()
    for trials in (24, 48):
        source, store = pack(tmp_path, trials, 2000)
        assert_data_exceed_the_bound(store, trials)
        found = compute(store, LIMIT)
        assert_medians(found, source)
        peaks.append(found["peak"])
    assert max(peaks) <= LIMIT, peaks
    assert peaks[1] - peaks[0] < 25_000_000, peaks
    tally.survive()


def test_little_more_than_the_least_memory_is_enough_for_all_neurons(tmp_path: Path, tally: Tally) -> None:
    """Of a whole mouse, the results weigh more than what a task reads. With the least, each neuron is a task."""
    tally.inject()
    source, store = pack(tmp_path, 3, 8000)
    mouse = open_mouse(store)
    limit = needed_memory(mouse.recording, mouse.rows()) + 10_000_000
    found = compute(store, limit)
    assert_medians(found, source)
    assert found["peak"] <= limit, (found["peak"], limit)
    tally.survive()


@pytest.mark.parametrize("threads", [2, 8])
def test_all_threads_share_the_bound(tmp_path: Path, threads: int, tally: Tally) -> None:
    """Of float64, whose chunks are small enough for malloc to keep what each thread gave back."""
    tally.inject()
    _, store = pack(tmp_path, 24, 2000, mouse="F")
    mouse = open_mouse(store)
    limit = needed_memory(mouse.recording, mouse.rows()) + 60_000_000
    peak = compute(store, limit, threads)["peak"]
    assert peak <= limit, (peak, limit)
    tally.survive()


def assert_data_exceed_the_bound(store: Path, trials: int) -> None:
    """Of the bound, the process takes most, and the results: what is left for data is less than the responses alone."""
    mouse = open_mouse(store)
    for_data = LIMIT - needed_memory(mouse.recording, mouse.rows())
    responses = mouse.recording.arrays["responses"]
    assert len(mouse.trials) == trials
    assert 0 < for_data < responses.nbytes, (for_data, responses.nbytes)


def assert_medians(found: dict[str, Any], source: Path) -> None:
    """Compare with numpy's medians of the files."""
    loaded = [np.load(trial_path(source, "responses", trial), mmap_mode="r")[NEURONS] for trial in trial_ids(source)]
    values = np.stack(loaded)
    shown = ~np.isnan(values).all(axis=(0, 1))
    medians = np.array(found["over_trials"], np.float32)
    np.testing.assert_array_equal(medians[:, shown], np.nanmedian(values[..., shown], axis=0))
    assert np.isnan(medians[:, ~shown]).all()
    every = np.array(found["over_trials_and_frames"], np.float32)
    np.testing.assert_array_equal(every, np.nanmedian(values, axis=(0, 2)))

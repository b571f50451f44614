"""The bound on a loader's memory holds for all that it has beside the batches in the consumer's hands."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from trialpack.convert.sample import write_sample
from trialpack.readers import Mouse, TrialLoader
from trialpack.store import OptionError

from ..streams import Recorded, kept_bytes, least_memory, pack
from .promises import Tally

pytestmark = [
    pytest.mark.once,
    pytest.mark.promise(18),
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak of memory from /proc"),
]
TRIALS, NEURONS = 80, 4000
TRIAL_BYTES = 4 * 324 * (NEURONS + 64 + 4)
MB = 1_000_000
ALLOWED = 20
"""MB beyond the bound: what Python and malloc need for the rest."""

STREAM = """
import gc, json, re, sys, time
from collections import deque
from trialpack.readers import TrialLoader, open_mouse

def status(name):
    return int(re.search(name + r":\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024

store, options, holds, drop = sys.argv[1], *map(json.loads, sys.argv[2:])
mouse = open_mouse(store)
gc.collect()
before, samples, beside = status("VmRSS"), 0, []
loader = TrialLoader(mouse, **dict(tier=None, output="numpy") | options)
for epoch, hold in enumerate(holds):
    open("/proc/self/clear_refs", "w").write("5")  # the peak is that of this epoch
    held, largest = deque(maxlen=hold), 0
    for number, batch in enumerate(loader):
        if number == 1 and epoch in (0, len(holds) - 1):
            time.sleep(0.4)  # whatever is read ahead is there then
        if number == drop:
            time.sleep(0.4)
            hold, held = 1, deque(maxlen=1)
            open("/proc/self/clear_refs", "w").write("5")
        held.append(batch)
        samples += len(batch["trial_id"])
        largest = max(largest, sum(value.nbytes for value in batch.values() if hasattr(value, "nbytes")))
    del held, batch
    # While the next batch is waited for, the consumer still has the one before.
    beside.append(status("VmHWM") - before - (hold + 1) * largest)
print(json.dumps({"beside": beside, "samples": samples, "read": loader.stats.tally.bytes_read}))
"""


KEEP_ALL = """
import re, sys
from trialpack.readers import open_mouse
def status(name):
    return int(re.search(name + r":\\s*(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
mouse = open_mouse(sys.argv[1])
before = status("VmRSS")
trials = [dict(mouse.trial(number)) for number in mouse.recording.trial_ids]
print(status("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def mice(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mouse]:
    """More than 400 MB decoded, in stores of two codecs."""
    place = tmp_path_factory.mktemp("large")
    folder = write_sample(place / "source", mouse="A", trials=TRIALS, neurons=NEURONS, image_shape=(8, 8))
    return {codec: pack(folder, place / codec, codec=codec, statistics=codec == "none") for codec in ("fast", "none")}


def stream(mouse: Mouse, options: dict[str, Any], holds: list[int], drop: int | None = None) -> tuple[list[float], int]:
    """Go through epochs in a process of its own.

    Parameters
    ----------
    holds
        For each epoch, how many batches the consumer holds.
    drop
        The batch of an epoch at which the consumer lets go of all but one; the peak is then that from there on.

    Returns
    -------
    list of float, int
        Of each epoch the peak of memory in MB, less what the process had before there was a loader and less the
        batches held; and how many bytes the last epoch read.
    """
    command = [sys.executable, "-c", STREAM, str(mouse.path), *map(json.dumps, (options, holds, drop))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["samples"] >= len(holds) * TRIALS or "tier" in options
    return [nbytes / MB for nbytes in found["beside"]], found["read"]


def test_the_data_exceed_the_bound(mice: dict[str, Mouse], tally: Tally) -> None:
    """A reader that keeps what it reads needs more than the bound, and is noticed."""
    for mouse in mice.values():
        assert sum(array.nbytes for array in mouse.recording.arrays.values()) == TRIALS * TRIAL_BYTES > 400 * MB
    command = [sys.executable, "-c", KEEP_ALL, str(mice["none"].path)]
    kept = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / MB
    assert kept > 200 + ALLOWED, kept
    tally.notice()


CASES: dict[str, tuple[str, dict[str, Any], list[int]]] = {
    "whole trials": ("fast", {"batch_size": 4}, [1] * 10),
    "uncompressed": ("none", {"batch_size": 4}, [1] * 10),
    "windows": ("fast", {"batch_size": 8, "window": 80, "shuffle": True}, [1] * 10),
    "a few neurons": ("fast", {"batch_size": 8, "neurons": list(range(0, NEURONS, 40))}, [1] * 10),
    "neurons first": ("fast", {"batch_size": 4, "order": "neurons"}, [1] * 10),
    "many threads": ("fast", {"batch_size": 4, "threads": 16, "shuffle": True}, [1] * 10),
    "several batches held": ("fast", {"batch_size": 2, "shuffle": True}, [6] * 3),
    "all that is asked for does not fit": ("fast", {"batch_size": 4, "cache": "auto"}, [1] * 10),
}


@pytest.mark.parametrize("case", CASES)
def test_within_the_bound(mice: dict[str, Mouse], case: str, tally: Tally) -> None:
    tally.inject()
    codec, options, holds = CASES[case]
    beside, read = stream(mice[codec], {"memory": 200 * MB, "cache": "none", "threads": 4} | options, holds)
    assert max(beside) <= 200, beside
    assert read > 0
    tally.survive()


def test_batches_that_were_held_and_let_go_of(mice: dict[str, Mouse], tally: Tally) -> None:
    """Their memory is not kept beside that of the batches that are read ahead."""
    tally.inject()
    options = {"memory": 100 * MB, "cache": "none", "threads": 4, "batch_size": 1, "shuffle": True}
    beside, _ = stream(mice["fast"], options, [40, 40], drop=42)
    assert max(beside) <= 100 + ALLOWED, beside
    tally.survive()


def test_what_is_kept_is_within_the_bound(mice: dict[str, Mouse], tally: Tally) -> None:
    """Everything fits: the last epoch reads nothing."""
    tally.inject()
    options = {"memory": 600 * MB, "cache": "auto", "threads": 4, "batch_size": 4}
    beside, read = stream(mice["fast"], options, [1] * 5)
    assert max(beside) <= 600 + ALLOWED and read == 0, beside
    tally.survive()


def test_normalization_is_part_of_the_account(mice: dict[str, Mouse], tally: Tally) -> None:
    """Its statistics are numbers for each value of a trial: they take memory, and something else less."""
    tally.inject()
    options = {"memory": 100 * MB, "cache": "none", "threads": 4, "batch_size": 2, "tier": "train"}
    (plain, _), (field, _) = (stream(mice["none"], options | {"normalize": one}, [1, 1]) for one in (None, "field"))
    assert max(field) <= 100 + ALLOWED and max(field) - max(plain) <= 2 * ALLOWED, (plain, field)
    tally.survive()


@pytest.mark.parametrize("order", ["frames", "neurons"])
@pytest.mark.parametrize("threads", [1, 4])
def test_the_least_memory_is_enough(mice: dict[str, Mouse], threads: int, order: str, tally: Tally) -> None:
    """Of batches of a single trial: nothing is so small that it could be left out of the account."""
    tally.inject()
    options: dict[str, Any] = {"batch_size": 1, "threads": threads, "cache": "none", "order": order}
    least = least_memory(mice["fast"], tier=None, output="numpy", **options)
    beside, _ = stream(mice["fast"], options | {"memory": least}, [1, 1])
    assert max(beside) <= least / MB + ALLOWED, (beside, least)
    tally.survive()


def test_memory_does_not_grow_with_epochs(mice: dict[str, Mouse], tally: Tally) -> None:
    """The allocator fills what the bound leaves within some dozen epochs; a batch kept in each would come to 80 MB."""
    tally.inject()
    options = {"memory": 100 * MB, "cache": "none", "threads": 2, "batch_size": 4, "window": 60, "windows": "random"}
    beside, _ = stream(mice["fast"], options, [1] * 40)
    assert max(beside) <= 100 + ALLOWED and max(beside[-10:]) - max(beside[:20]) < ALLOWED, beside
    tally.survive()


def test_the_account_knows_what_is_kept(mice: dict[str, Mouse], tally: Tally) -> None:
    """Memory for everything and for some batches; and for everything, but no batch."""
    tally.inject()
    options: dict[str, Any] = {"batch_size": 4, "threads": 2, "window": 100}
    least = least_memory(mice["fast"], tier=None, output="numpy", **options)
    kept = kept_bytes(Recorded(mice["fast"]))
    for memory, fits in ((kept + 4 * least, True), (kept, False)):
        beside, read = stream(mice["fast"], options | {"memory": memory, "cache": "auto"}, [1, 1])
        assert (read == 0) == fits
        assert max(beside) <= memory / MB + ALLOWED, beside
    tally.survive()


def test_the_needed_bytes_are_named(mice: dict[str, Mouse], tally: Tally) -> None:
    tally.inject()
    text = r"memory of 5,000,000 bytes does not suffice: .* take [\d,]+; give more memory"
    with pytest.raises(OptionError, match=text) as raised:
        TrialLoader(mice["fast"], tier=None, batch_size=8, output="numpy", memory="5MB")
    needed = int(re.search(r"take ([\d,]+);", str(raised.value))[1].replace(",", ""))  # type: ignore[index]
    assert needed > 2 * 8 * TRIAL_BYTES * 300 / 324
    assert len(TrialLoader(mice["fast"], tier=None, batch_size=8, output="numpy", memory=needed)) == 12
    tally.survive()

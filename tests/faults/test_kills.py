"""Killed conversions leave nothing, or a complete store; the same command goes on."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from trialpack.store.publish import Stage

from .conversions import (
    Child,
    Digests,
    beside,
    convert,
    digests,
    finish_child,
    start_slow,
)

pytestmark = pytest.mark.usefixtures("small_shards")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_conversion_leaves_nothing_or_a_complete_store(
    child: Child, recording: Path, tmp_path: Path, reference: Digests, workers: int
) -> None:
    name, rng, kills = f"{recording.name}.zarr", np.random.default_rng(workers), 6
    process, begun = start_slow(child, recording, tmp_path / "whole" / name, workers), time.perf_counter()
    code, stderr = finish_child(process)
    assert code == 0, stderr
    duration, landed, resumed = time.perf_counter() - begun, 0, 0
    assert digests(tmp_path / "whole" / name) == reference
    for number in range(4 * kills):
        destination = tmp_path / str(number) / name
        process, begun = start_slow(child, recording, destination, workers), time.perf_counter()
        time.sleep(duration * (number % kills + float(rng.random())) / kills)
        process.send_signal(signal.SIGKILL)
        code, stderr = finish_child(process)
        assert code in (0, -signal.SIGKILL), stderr
        if destination.exists():
            assert digests(destination) == reference
            # The machine got faster since the run that was timed: spread the kills over less.
            duration = min(duration, time.perf_counter() - begun)
            continue
        assert code == -signal.SIGKILL
        landed += 1
        journal = Stage(destination).journal
        resumed += journal.exists() and any(journal.iterdir())
        convert(recording, destination)
        assert digests(destination) == reference
        assert beside(destination) == [destination.name]
        if landed == kills:
            break
    assert landed == kills
    assert resumed >= 1


def test_killed_again_and_again(child: Child, recording: Path, destination: Path, reference: Digests) -> None:
    """Each run goes on from where the last one was killed, and is killed a little later."""
    for number in range(4):
        process = start_slow(child, recording, destination, 2)
        time.sleep(0.05 + 0.05 * number)
        process.kill()
        finish_child(process)
        assert not destination.exists() or digests(destination) == reference
    if not destination.exists():
        convert(recording, destination)
    assert digests(destination) == reference

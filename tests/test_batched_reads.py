"""Many reads by one call of the system: the same bytes, or none."""

import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from trialpack.store.batched_reads import MOST, BatchedReads, read_batch

NBYTES, COUNT = 5000, 200


def offered() -> bool:
    try:
        BatchedReads()
    except OSError:
        return False
    return True


needs_it = pytest.mark.skipif(not offered(), reason="the system has no io_submit, or does not allow it")


@pytest.fixture
def chunks(tmp_path: Path) -> NDArray[np.uint8]:
    """(COUNT, NBYTES + 4) of two files: the even ones are in the first."""
    values = np.random.default_rng(0).integers(0, 256, (COUNT, NBYTES + 4), np.uint8)
    for number in range(2):
        (tmp_path / str(number)).write_bytes(values[number::2].tobytes())
    return values


@pytest.fixture
def descriptors(tmp_path: Path, chunks: NDArray[np.uint8]) -> list[int]:
    return [os.open(tmp_path / str(number), os.O_RDONLY) for number in range(2)]


def read(descriptors: list[int], wanted: NDArray[np.int64], out: NDArray[np.uint8]) -> bytes | None:
    return read_batch([descriptors[one % 2] for one in wanted], wanted // 2 * (NBYTES + 4), out.reshape(-1))


@needs_it
def test_what_several_threads_read_at_once(chunks: NDArray[np.uint8], descriptors: list[int]) -> None:
    wrong = list[int]()

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for count in random.integers(1, MOST + 1, 100).tolist():
            wanted, out = random.integers(0, COUNT, count), np.zeros((count, NBYTES), np.uint8)
            checksums = read(descriptors, wanted, out)
            whole = chunks[wanted]
            if checksums != whole[:, NBYTES:].tobytes() or not np.array_equal(out, whole[:, :NBYTES]):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@needs_it
def test_what_cannot_be_read_is_left_to_others(tmp_path: Path, descriptors: list[int]) -> None:
    wanted, out = np.arange(8), np.zeros((8, NBYTES), np.uint8)
    os.truncate(tmp_path / "1", 3 * (NBYTES + 4) + 10)
    assert read(descriptors, wanted, out) is None
    assert read(descriptors, wanted[:6], out[:6]) is not None
    os.close(descriptors[1])
    assert read(descriptors, wanted[:6], out[:6]) is None
    assert read(descriptors, wanted[:6:2], out[:3]) is not None


@needs_it
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
def test_a_fork_reads_by_itself(chunks: NDArray[np.uint8], descriptors: list[int]) -> None:
    wanted, out = np.arange(8), np.zeros((8, NBYTES), np.uint8)
    assert read(descriptors, wanted, out) is not None
    number = os.fork()
    if not number:
        out[:] = 0
        same = read(descriptors, wanted, out) is not None and np.array_equal(out, chunks[:8, :NBYTES])
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0


def test_another_system_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(OSError, match="not implemented"):
        BatchedReads()

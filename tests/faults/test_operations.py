"""Each operation on files fails in turn: nothing unfinished is under the name of a store."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trialpack.store import (
    StoreExistsError,
    check_full,
    layout,
)

from .conversions import (
    OPERATIONS,
    CrashError,
    Digests,
    Faults,
    beside,
    broken_disk,
    close_as_the_system_does,
    convert,
    descriptors,
    digests,
    fails,
    is_,
    no_space,
)

pytestmark = pytest.mark.usefixtures("small_shards")

MODES: dict[str, tuple[Callable[[], BaseException], bool]] = {
    "full disk": (no_space, True),
    "one error": (broken_disk, False),
    "crash": (CrashError, True),
}


def test_all_operations_are_known() -> None:
    """Those of which the text of a conversion speaks; a new one takes part in the tests below by itself."""
    assert set(OPERATIONS) >= {"create", "append", "sync", "close", "write", "write_atomically", "make_folder"}
    assert set(OPERATIONS) >= {"sync_folder", "make_read_only", "rename", "rename_new", "exchange", "remove", "locked"}


@pytest.mark.parametrize("mode", MODES)
def test_a_failure_of_any_operation_publishes_nothing_unfinished(
    recording: Path, destination: Path, reference: Digests, faults: Faults, mode: str
) -> None:
    """For every N: fail at the N-th operation, look, convert again, compare with an uninterrupted conversion."""
    error, for_good = MODES[mode]
    failed_at, number = list[str](), -1
    while True:
        number += 1
        before = descriptors()
        faults.arm(number, error, for_good=for_good)
        failed = fails(faults, lambda: convert(recording, destination))
        faults.disarm()
        leaked = close_as_the_system_does(before)
        if not failed:
            break
        assert mode == "crash" or not leaked or faults.failed == "remove"
        failed_at.append(str(faults.failed))
        published = destination.exists()
        assert published == os.path.lexists(destination)
        if published:
            assert digests(destination) == reference
            with pytest.raises(StoreExistsError):
                convert(recording, destination)
        # After errors what is left is much the same as after a crash: going on from each third will do.
        if mode == "crash" or published or number % 3 == 0:
            convert(recording, destination, replace=published)
            assert digests(destination) == reference
            assert beside(destination) == [destination.name]
        shutil.rmtree(destination.parent, ignore_errors=True)
    assert digests(destination) == reference
    assert number == len(faults.calls) > 150
    assert {"create", "append", "sync", "write", "rename", "rename_new", "sync_folder", "remove"} <= set(failed_at)


def test_a_crash_amid_the_statistics_publishes_nothing_and_the_same_call_goes_on(
    with_train: Path, destination: Path, tmp_path: Path, faults: Faults
) -> None:
    """Every twelfth operation on a file of the statistics; those after them are tried above."""
    reference = digests(convert(with_train, tmp_path / "reference" / destination.name))
    faults.arm(-1, CrashError)
    convert(with_train, tmp_path / "counted" / destination.name)
    amid = [n for n, (_, arguments) in enumerate(faults.calls) if "statistics/train" in str(arguments[0])]
    assert len(amid) > 150
    for number in amid[::12]:
        before = descriptors()
        faults.arm(number, CrashError, for_good=True)
        assert fails(faults, lambda: convert(with_train, destination))
        faults.disarm()
        close_as_the_system_does(before)
        assert not destination.exists()
        convert(with_train, destination)
        assert digests(destination) == reference
        assert beside(destination) == [destination.name]
        shutil.rmtree(destination.parent)


def test_replacing_leaves_a_complete_store_at_every_moment(
    recording: Path, destination: Path, references: Callable[..., Digests], faults: Faults
) -> None:
    """Crash at every operation from the manifest on: the old store or the new one is there, then the new one."""
    old, new = references(codec="none"), references()
    assert old != new
    seen = {"old": 0, "new": 0}

    def convert_again() -> Path:
        return convert(recording, destination, replace=True)

    convert(recording, destination, codec="none")
    original = shutil.copytree(destination, destination.parent.with_name("original"))
    faults.arm(-1, CrashError)
    convert_again()
    total = len(faults.calls)
    manifest = next(n for n, (_, arguments) in enumerate(faults.calls) if is_(arguments, layout.MANIFEST))
    for number in range(manifest, total):
        shutil.rmtree(destination)
        shutil.copytree(original, destination)
        before = descriptors()
        faults.arm(number, CrashError, for_good=True)
        assert fails(faults, convert_again)
        faults.disarm()
        close_as_the_system_does(before)
        found = digests(destination)
        assert found in (old, new)
        seen["old" if found == old else "new"] += 1
        check_full(destination, workers=1)
        convert_again()
        assert digests(destination) == new
        assert beside(destination) == [destination.name]
    assert seen["old"] > 20 and seen["new"] >= 4


def test_a_shard_that_cannot_be_closed_is_closed_once(recording: Path, destination: Path, faults: Faults) -> None:
    """close(2) frees the descriptor even when it fails; another thread may have opened a file under its number."""
    shards = set[int]()

    def is_close_of_a_shard(_: int, name: str, arguments: tuple[Any, ...]) -> bool:
        if name == "append" and len(arguments[1]) == 2:
            shards.add(arguments[0])
        return name == "close" and arguments[0] in shards

    faults.arm(is_close_of_a_shard, broken_disk)
    with pytest.raises(OSError, match="injected"):
        convert(recording, destination)
    assert faults.failed == "close"

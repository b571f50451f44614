"""What is read of a store is of the version that was opened, or an error, whenever another takes its place."""

import functools
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from trialpack.readers import Mouse, Statistics, TrialLoader, open_mouse, train_statistics
from trialpack.store import CorruptStoreError
from trialpack.store.folder import StoreFolder
from trialpack.store.manifest import read_manifest
from trialpack.store.publish import publish, staged

from ..streams import quickly
from .conversions import SHARD_BYTES, VARIABLES, convert
from .promises import Tally

pytestmark = pytest.mark.promise(13)

STEP = 1000
"""Between the values of two versions, which are smaller: each value tells its version."""
OPTIONS: dict[str, Any] = {"tier": None, "batch_size": 2, "output": "numpy", "threads": 2, "window": 40}
Read = Callable[[Mouse], Iterator[NDArray[Any]]]
Versions = tuple[Path, ...]


@pytest.fixture(scope="module")
def made(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Versions]:
    """Return stores of the same mouse with other values of all variables; with statistics or without, for speed."""

    @functools.cache
    def make(statistics: bool) -> Versions:
        return tuple(
            make_version(recording, tmp_path_factory.mktemp("version"), number, statistics=statistics)
            for number in (0, 1)
        )

    return make


@pytest.fixture
def versions(made: Callable[[bool], Versions], request: pytest.FixtureRequest) -> Versions:
    """Stores of the same mouse, with other values of all variables; with statistics if the test is of them."""
    return made("statistics" in request.node.name)


def make_version(recording: Path, folder: Path, number: int, *, statistics: bool) -> Path:
    mouse = shutil.copytree(recording, folder / recording.name)
    for path in (mouse / "data").rglob("*.npy"):
        values = np.load(path)
        np.save(path, (np.mod(values, 100) + STEP * number).astype(values.dtype))
    tiers = np.load(mouse / "meta" / "trials" / "tiers.npy")
    np.save(mouse / "meta" / "trials" / "tiers.npy", np.where(tiers == "oracle", "train", tiers))
    with quickly(SHARD_BYTES=SHARD_BYTES, CHUNK_FRAMES=100, CHUNK_BYTES=1):
        return convert(mouse, folder / "stores" / f"{mouse.name}.zarr", statistics=statistics)


def put(store: Path, destination: Path) -> None:
    """Publish a store as a conversion does, in the place of an existing one."""
    with staged(destination, replace=True) as stage:
        shutil.copytree(store, stage.root, dirs_exist_ok=True)
        publish(stage, replace=True)


def versions_in(values: NDArray[Any]) -> set[int]:
    """Return the versions that values are of."""
    return set(np.unique(values[np.isfinite(values)] // STEP).astype(int).tolist())


def joined(arrays: Any) -> NDArray[Any]:
    return np.concatenate([np.asarray(array, np.float64).ravel() for array in arrays])


# Ways to read: each yields values that have to be of one version


def from_loader(mouse: Mouse, **options: Any) -> Iterator[NDArray[Any]]:
    yield from two_epochs(mouse, TrialLoader(mouse, shuffle=True, **OPTIONS | options))


def from_loader_that_keeps_nothing(mouse: Mouse) -> Iterator[NDArray[Any]]:
    yield from from_loader(mouse, cache="none", threads=3)


def from_loader_that_opens_anew(mouse: Mouse) -> Iterator[NDArray[Any]]:
    """As where more files are needed than may be open."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trialpack.readers.direct.store_files._open", threading.Semaphore(0))
        yield from from_loader(mouse, cache="none")


def two_epochs(mouse: Mouse, loader: TrialLoader) -> Iterator[NDArray[Any]]:
    for _ in range(2):
        for batch in loader:
            yield joined(batch[name] for name in mouse.variables)


def from_dask(mouse: Mouse) -> Iterator[NDArray[Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trialpack.readers.rows.BLOCK_BYTES", 1)
        lazy = [mouse.dask(name) for name in mouse.variables]
    for array in lazy:
        yield joined([array.compute(scheduler="threads", num_workers=2)])
    yield joined(array[row].compute(scheduler="synchronous") for array in lazy for row in range(len(array)))


def from_zarr(mouse: Mouse) -> Iterator[NDArray[Any]]:
    arrays = [mouse[name] for name in mouse.variables]
    for array in arrays:
        yield joined([array[...]])
    yield joined(array[row, ..., :50] for array in arrays for row in range(array.shape[0]))


def from_trials(mouse: Mouse) -> Iterator[NDArray[Any]]:
    for trial in mouse.trials.index:
        yield joined(mouse.trial(int(trial)).values())


def from_statistics(mouse: Mouse) -> Iterator[NDArray[Any]]:
    yield in_statistics(mouse.statistics)
    yield in_statistics(train_statistics(mouse, tier=None, threads=2))


def in_statistics(found: Statistics) -> NDArray[Any]:
    """Return those that tell the version."""
    return joined(
        values
        for by_reduction in found.values()
        for one in by_reduction.values()
        for values in (one.min, one.max, one.mean, one.median)
    )


READS: dict[str, Read] = {
    "loader": from_loader,
    "loader that keeps nothing": from_loader_that_keeps_nothing,
    "loader that opens anew": from_loader_that_opens_anew,
    "dask": from_dask,
    "zarr": from_zarr,
    "trials": from_trials,
    "statistics": from_statistics,
}


KEEPS_FILES = ("loader", "loader that keeps nothing")


class Reading:
    """Opens a store and reads it, again and again, in a thread."""

    def __init__(self, path: Path, read: Read, version_of: dict[str, int]) -> None:
        self._path, self._read, self._version_of = path, read, version_of
        self.complete, self.refused, self.wrong = 0, 0, list[str]()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._loop)

    def __enter__(self) -> "Reading":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def wait_for_more(self) -> None:
        """Return when one more was read to its end, or refused."""
        before = self.complete + self.refused
        while self.complete + self.refused == before and not self.wrong:
            self._done.wait(0.002)

    def _loop(self) -> None:
        while not self._done.is_set() and not self.wrong:
            try:
                self._once()
            except CorruptStoreError:
                self.refused += 1
            except Exception as error:
                self.wrong.append(repr(error))

    def _once(self) -> None:
        mouse = open_mouse(self._path)
        opened = self._version_of[mouse.index.manifest.store_id]
        for values in self._read(mouse):
            if (found := versions_in(values)) != {opened}:
                self.wrong.append(f"of versions {found}, opened as {opened}")
        self.complete += 1


@pytest.mark.parametrize("name", READS)
def test_nothing_is_read_of_two_versions_while_a_store_is_replaced(
    tally: Tally, size: Callable[[int, int], int], versions: Versions, destination: Path, name: str
) -> None:
    version_of = {read_manifest(store).store_id: number for number, store in enumerate(versions)}
    put(versions[0], destination)
    with Reading(destination, READS[name], version_of) as reading:
        for number in range(1, 1 + size(2, 75)):
            tally.inject()
            put(versions[number % 2], destination)
            reading.wait_for_more()
            assert not reading.wrong
            tally.survive()
    assert reading.complete and not reading.wrong


@pytest.mark.parametrize("name", READS)
def test_nothing_is_read_of_two_versions_when_a_store_is_replaced_in_the_middle(
    tally: Tally, size: Callable[[int, int], int], versions: Versions, destination: Path, name: str
) -> None:
    for number in range(size(2, 10)):
        old, new = number % 2, 1 - number % 2
        put(versions[old], destination)
        read = READS[name](open_mouse(destination))
        found = versions_in(next(read))
        tally.inject()
        put(versions[new], destination)
        rest, refused = rest_of(read)
        assert found | rest == {old}
        assert refused == (name not in KEEPS_FILES)
        tally.survive()


@pytest.mark.parametrize("name", READS)
def test_a_store_that_is_there_again_is_the_one_that_was_opened(
    tally: Tally, versions: Versions, destination: Path, name: str
) -> None:
    """Opened, replaced, and replaced by what it was: its content is the same, and so is its name."""
    put(versions[0], destination)
    mouse = open_mouse(destination)
    tally.inject(2)
    put(versions[1], destination)
    put(versions[0], destination)
    assert rest_of(READS[name](mouse)) == ({0}, False)
    tally.survive(2)


def rest_of(read: Iterator[NDArray[Any]]) -> tuple[set[int], bool]:
    """Return the versions of what can still be read, and whether reading ended with an error."""
    found = set[int]()
    try:
        for values in read:
            found |= versions_in(values)
    except CorruptStoreError as error:
        assert len(str(error).splitlines()) == 1
        return found, True
    return found, False


@pytest.mark.parametrize("name", KEEPS_FILES)
def test_epochs_go_on_as_they_were_where_files_are_open(
    tally: Tally, versions: Versions, destination: Path, name: str
) -> None:
    """This epoch and the next are of the store that was opened."""
    put(versions[0], destination)
    read = READS[name](open_mouse(destination))
    came = [next(read)]
    tally.inject()
    put(versions[1], destination)
    came += list(read)
    assert len(came) == 2 * 6
    assert versions_in(joined(came)) == {0}
    tally.survive()


# Controls: the same replacement where nothing protects, seen with the same eyes


def plainly(path: Path, variable: str) -> Iterator[NDArray[Any]]:
    array = zarr.open_array(path / variable, mode="r")
    for row in range(array.shape[0]):
        yield joined([array[row]])


def test_control_plain_zarr_python_mixes_versions(tally: Tally, versions: Versions, destination: Path) -> None:
    for name in VARIABLES:
        put(versions[0], destination)
        read = plainly(destination, name)
        found = versions_in(next(read))
        put(versions[1], destination)
        assert found | rest_of(read)[0] == {0, 1}
        tally.notice()


@pytest.mark.parametrize("name", ["dask", "zarr", "trials", "statistics"])
def test_control_without_the_version_of_the_folder_versions_mix(
    tally: Tally, versions: Versions, destination: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreFolder, "_check_version", lambda folder, descriptor: None)
    put(versions[0], destination)
    mouse = open_mouse(destination)
    put(versions[1], destination)
    assert rest_of(READS[name](mouse)) == ({1}, False)
    tally.notice()

"""`verify_mouse`: a summary of what was compared, or an error with every problem."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack import ClusterError, CorruptStoreError, SourceError, StoreFormatError, convert_mouse, verify_mouse
from trialpack.convert import compare, open_source
from trialpack.convert.sample import write_sample
from trialpack.store import layout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("verified"), mouse="A", trials=6, neurons=10, image_shape=(6, 8))


@pytest.fixture(scope="module")
def store(source: Path) -> Path:
    return convert_mouse(source, source.parent / "stores", max_error={"videos": 0.5}).store


@pytest.fixture
def own(store: Path, tmp_path: Path) -> Path:
    """A copy of the store that may be written to."""
    copy = shutil.copytree(store, tmp_path / store.name)
    for path in copy.rglob("*"):
        path.chmod(0o755)
    return copy


def flip(path: Path, place: int = 100) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


class Phases:
    """Listens to progress, and keeps the bytes of each phase and those that are done."""

    def __init__(self) -> None:
        self.total: dict[str, int] = {}
        self.done: dict[str, list[int]] = {}

    def start(self, phase: str, nbytes: int, files: int) -> None:
        self.total[phase], self.done[phase] = nbytes, []

    def advance(self, nbytes: int, files: int) -> None:
        self.done[list(self.done)[-1]].append(nbytes)


def test_the_summary_says_what_was_compared(store: Path) -> None:
    found = verify_mouse(store, workers=2)
    sizes = [path.stat().st_size for path in store.rglob("*") if path.is_file()]
    assert (found.store, found.files, found.nbytes) == (store, len(sizes), sum(sizes))
    assert found.every_value and found.source is None and found.max_error == {"videos": 0.5}
    assert 0 < found.seconds < 60
    document = json.loads(json.dumps(found.describe()))
    assert document == {
        "store": str(store),
        "intact": True,
        "depth": "full",
        "files": len(sizes),
        "bytes": sum(sizes),
        "source": None,
        "equal_to_source": None,
        "max_error": {"videos": 0.5},
        "seconds": round(found.seconds, 3),
    }


@pytest.mark.parametrize("quick", [False, True])
def test_the_source_is_compared(store: Path, source: Path, quick: bool) -> None:
    for given in (source, str(source), open_source(source)):
        found = verify_mouse(str(store), given, quick)
        assert (found.source, found.every_value) == (str(source), not quick)
        assert found.describe()["equal_to_source"] is True


def test_progress_is_told_of_both_phases(store: Path, source: Path) -> None:
    heard = Phases()
    verify_mouse(store, source, progress=heard)
    assert list(heard.total) == ["verifying", "comparing"]
    assert sum(heard.done["verifying"]) == heard.total["verifying"]
    assert 0.9 * heard.total["comparing"] < sum(heard.done["comparing"]) <= heard.total["comparing"]


def test_a_quick_check_reads_no_values(own: Path) -> None:
    flip(next((own / "responses").glob("c.*")))
    assert not verify_mouse(own, quick=True).every_value
    with pytest.raises(CorruptStoreError, match="responses"):
        verify_mouse(own)


def test_every_problem_is_in_the_error(own: Path) -> None:
    damaged = [next((own / name).glob("c.*")) for name in ("behavior", "responses", "videos")]
    for path in damaged:
        flip(path)
    with pytest.raises(CorruptStoreError) as caught:
        verify_mouse(own)
    assert {problem.member for problem in caught.value.problems} == {str(path.relative_to(own)) for path in damaged}


def test_every_difference_from_the_source_is_in_the_error(store: Path, source: Path, tmp_path: Path) -> None:
    other = shutil.copytree(source, tmp_path / source.name)
    changed = sorted((other / "data" / "responses").iterdir())[:2]
    for path in changed:
        np.save(path, np.load(path) + 1)
    with pytest.raises(CorruptStoreError, match="differs") as caught:
        verify_mouse(store, other)
    assert {problem.trial for problem in caught.value.problems} == {int(path.stem) for path in changed}


def test_what_is_neither_a_store_nor_a_source_is_said(store: Path, source: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreFormatError, match="pack it: convert_mouse"):
        verify_mouse(source)
    with pytest.raises(StoreFormatError, match="no such store"):
        verify_mouse(tmp_path / "none.zarr")
    with pytest.raises(SourceError, match="no mouse here"):
        verify_mouse(store, tmp_path)


@pytest.mark.parametrize("bounds", [{}, {"responses": "0.1%std", "videos": 0.5}], ids=["exact", "rounded"])
def test_a_cluster_compares_with_the_source(
    bounds: dict[str, Any], tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By shards, each on a worker, with the same differences as here; and this process reads none of them."""
    monkeypatch.setattr(layout, "SHARD_BYTES", 50_000)
    source = write_sample(tmp_path, mouse="A", trials=12, neurons=10, image_shape=(6, 8))
    store = convert_mouse(source, tmp_path / "stores", max_error=bounds).store
    address, heard = cluster.scheduler_address, Phases()
    with monkeypatch.context() as patch:
        patch.setattr(compare, "ShardReader", None)
        assert verify_mouse(store, source, quick=True, scheduler=address, progress=heard).source == str(source)
    assert 0.9 * heard.total["comparing"] < sum(heard.done["comparing"]) <= heard.total["comparing"]
    assert len(heard.done["comparing"]) > 12
    changed = sorted((source / "data" / "responses").iterdir())[:2]
    for path in changed:
        np.save(path, np.load(path) + 1)
    np.save(source / "meta" / "neurons" / "unit_ids.npy", np.arange(10) + 5)
    problems = []
    for scheduler in (None, address):
        with pytest.raises(CorruptStoreError) as caught:
            verify_mouse(store, source, quick=True, scheduler=scheduler)
        problems.append(caught.value.problems)
    assert problems[0] == problems[1]
    assert {problem.trial for problem in problems[0]} == {None, *(int(path.stem) for path in changed)}


def test_workers_have_to_see_the_source(
    store: Path, source: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are looked at there before any of them is compared."""
    seen = compare.seen_files
    monkeypatch.setattr(compare, "seen_files", lambda paths: [(path, size + 1) for path, size in seen(paths)])
    with pytest.raises(ClusterError, match=r"worker tcp://.*expected \d+ bytes, found \d+.*; mount there what is read"):
        verify_mouse(store, source, quick=True, scheduler=cluster.scheduler_address)

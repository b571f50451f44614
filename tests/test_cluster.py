"""Clusters of real processes: workers that do not fit are refused by name, and what is lost is an error in time."""

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import open_mouse, train_statistics
from trialpack.store import ClusterError, layout
from trialpack.store import cluster as clusters

from .clusters import Processes, hides, processes, within

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("default")
PATIENCE = 100
"""Seconds after which what should end is taken to hang."""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mouse of many units of work."""
    monkeypatch.setattr(layout, "SHARD_BYTES", 100_000)
    return write_sample(tmp_path / "data", mouse="A", trials=12, neurons=30, image_shape=(12, 16))


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    folder = tmp_path / "stores"
    folder.mkdir()
    return folder


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path / "processes") as made:
        yield made


def digests(store: Path) -> dict[str, str]:
    files = sorted(path for path in store.rglob("*") if path.is_file())
    assert len(files) > 20
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def convert(source: Path, to: Path, there: Processes, **options: Any) -> Path:
    return within(PATIENCE, lambda: convert_mouse(source, to, scheduler=there.address, **options)).store


def refused(source: Path, to: Path, there: Processes) -> list[str]:
    with pytest.raises(ClusterError) as caught:
        convert(source, to, there)
    return str(caught.value).splitlines()


def test_each_worker_that_does_not_fit_is_refused_in_one_line(
    source: Path, stores: Path, there: Processes, tmp_path: Path
) -> None:
    faults = {
        there.worker("without"): r"expected trialpack \S+, found none; install",
        there.worker("version"): r"expected numcodecs \S+, found 0\.0\.1; install",
        there.worker(command=hides(source.parent)): rf"{source}/\S+: expected \d+ bytes, found nothing \(and \d+ more",
        there.worker(command=hides(stores)): rf"{stores}/\S+\.writing: expected a folder, found nothing; mount",
    }
    there.worker()
    with pytest.raises(ClusterError) as caught:
        convert(source, stores, there)
    assert len(caught.value.problems) == len(faults)
    for address, text in faults.items():
        with pytest.raises(ClusterError, match=rf"worker {address}: {text}"):
            raise caught.value
    assert not list(stores.iterdir())
    mouse = open_mouse(convert_mouse(source, stores).store)
    with contextlib.closing(client_of(there)) as client, pytest.raises(ClusterError, match="found none"):
        within(PATIENCE, lambda: train_statistics(mouse, client=client))


def client_of(there: Processes) -> Any:
    from distributed import Client

    return Client(there.address, set_as_default=False)


def test_a_scheduler_without_workers_is_waited_for_and_named(
    source: Path, stores: Path, there: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "WORKER_SECONDS", 1.0)
    assert refused(source, stores, there) == [
        f"scheduler {there.address}: no worker for 1 seconds; start some with: dask worker ADDRESS"
    ]
    assert not list(stores.iterdir())


def test_workers_elsewhere_take_paths_that_are_relative_here(
    source: Path, there: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        there.worker(cwd=tmp_path / name)
    monkeypatch.chdir(tmp_path)
    here = convert_mouse(source.relative_to(tmp_path), "here").store
    made = convert(source.relative_to(tmp_path), Path("there"), there)
    assert digests(made) == digests(here)


def test_lost_workers_end_in_one_line_and_the_same_call_goes_on(
    source: Path, stores: Path, there: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.worker("dying", nanny=True)
    (line,) = refused(source, stores, there)
    assert line.startswith(f"{source}: trial") and "4 workers in turn were lost at it, the last one tcp://" in line
    there.end_workers()
    there.worker()
    assert digests(convert(source, stores, there)) == digests(convert_mouse(source, stores.parent / "here").store)


def test_workers_that_are_all_lost_are_waited_for_and_then_named(
    source: Path, stores: Path, there: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "WORKER_SECONDS", 2.0)
    monkeypatch.setattr(clusters, "_LOOK_SECONDS", 0.5)
    there.worker("dying")
    assert refused(source, stores, there) == [
        f"scheduler {there.address}: no worker for 2 seconds; start some with: dask worker ADDRESS"
    ]


def test_a_killed_scheduler_is_an_error_that_names_it_and_trials(source: Path, stores: Path, there: Processes) -> None:
    there.worker("stalled")
    threading.Timer(6, there.scheduler.kill).start()
    (line,) = refused(source, stores, there)
    assert line.startswith(f"{source}: trial") and f"scheduler {there.address}: the connection was lost" in line


def test_a_worker_that_joins_late_and_does_not_fit_gets_no_unit(source: Path, stores: Path, there: Processes) -> None:
    stalled = there.worker("stalled")

    def exchange() -> None:
        time.sleep(5)
        there.worker("version")
        there.kill(stalled)

    threading.Thread(target=exchange, daemon=True).start()
    (line,) = refused(source, stores, there)
    assert "expected numcodecs" in line and "found 0.0.1" in line

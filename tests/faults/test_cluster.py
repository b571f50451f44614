"""Clusters of real processes: workers that do not fit are refused by name, and what is lost is an error in time."""

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trialpack.convert import conversion, convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import open_mouse, train_statistics
from trialpack.store import ClusterError, CorruptStoreError, ResourceError, files, layout
from trialpack.store import cluster as clusters
from trialpack.store.cluster import Demands
from trialpack.store.publish import Stage

from ..command_line import TRIALPACK, run
from .clusters import Processes, hides, processes, within
from .promises import Tally

pytest.importorskip("distributed")
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.promise(22)]
Refused = Callable[[], list[str]]
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


@pytest.fixture
def refused(source: Path, stores: Path, there: Processes, tally: Tally) -> Callable[[], list[str]]:
    """Convert on a cluster that fails, and return the lines of the error."""

    def convert_in_vain() -> list[str]:
        tally.inject()
        with pytest.raises(ClusterError) as caught:
            convert(source, stores, there)
        tally.survive()
        return str(caught.value).splitlines()

    return convert_in_vain


@pytest.mark.once
def test_each_worker_that_does_not_fit_is_refused_in_one_line(
    source: Path, stores: Path, there: Processes, tally: Tally
) -> None:
    faults = {
        there.worker("without"): r"expected trialpack-neuro \S+, found none; install",
        there.worker("version"): r"expected numcodecs \S+, found 0\.0\.1; install",
        there.worker(command=hides(source.parent)): rf"{source}/\S+: expected \d+ bytes, found nothing \(and \d+ more",
        there.worker(command=hides(stores)): rf"{stores}/\S+\.journal/\w+: expected a folder, found nothing; mount",
    }
    there.worker()
    tally.inject(len(faults) + 1)
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
    tally.survive(len(faults) + 1)


def client_of(there: Processes) -> Any:
    from distributed import Client

    return Client(there.address, set_as_default=False)


@pytest.mark.once
def test_a_scheduler_without_workers_is_waited_for_and_named(
    stores: Path, there: Processes, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setattr(clusters, "WORKER_SECONDS", 1.0)
    assert refused() == [f"scheduler {there.address}: no worker for 1 seconds; start some with: dask worker ADDRESS"]
    assert not list(stores.iterdir())


@pytest.mark.once
def test_workers_elsewhere_take_paths_that_are_relative_here(
    source: Path, there: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        there.worker(cwd=tmp_path / name)
    monkeypatch.chdir(tmp_path)
    tally.inject()
    here = convert_mouse(source.relative_to(tmp_path), "here").store
    made = convert(source.relative_to(tmp_path), Path("there"), there)
    assert digests(made) == digests(here)
    tally.survive()


@pytest.mark.once
def test_lost_workers_end_in_one_line_and_the_same_call_goes_on(
    source: Path, stores: Path, there: Processes, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nanny starts one after another."""
    monkeypatch.setattr(clusters, "WORKER_SECONDS", 10 * PATIENCE)
    there.worker("dying", nanny=True)
    (line,) = refused()
    assert line.startswith(f"{source}: trial") and "4 workers in turn were lost at it, the last one tcp://" in line
    there.end_workers()
    there.worker()
    assert digests(convert(source, stores, there)) == digests(convert_mouse(source, stores.parent / "here").store)


@pytest.mark.once
def test_workers_that_are_all_lost_are_waited_for_and_then_named(
    there: Processes, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.setattr(clusters, "WORKER_SECONDS", 2.0)
    monkeypatch.setattr(clusters, "_LOOK_SECONDS", 0.5)
    there.worker("dying")
    assert refused() == [f"scheduler {there.address}: no worker for 2 seconds; start some with: dask worker ADDRESS"]


@pytest.mark.once
def test_a_killed_scheduler_is_an_error_that_names_it_and_trials(
    source: Path, there: Processes, refused: Refused
) -> None:
    there.worker("stalled")
    threading.Timer(6, there.scheduler.kill).start()
    (line,) = refused()
    assert line.startswith(f"{source}: trial") and f"scheduler {there.address}: the connection was lost" in line


@pytest.mark.once
def test_a_worker_that_joins_late_and_does_not_fit_gets_no_unit(there: Processes, refused: Refused) -> None:
    stalled = there.worker("stalled")

    def exchange() -> None:
        time.sleep(5)
        there.worker("version")
        there.kill(stalled)

    threading.Thread(target=exchange, daemon=True).start()
    (line,) = refused()
    assert "expected numcodecs" in line and "found 0.0.1" in line


def test_a_name_that_another_machine_made_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    path = tmp_path / "c.0"
    tally.inject(2)
    threading.Timer(0.3, path.write_bytes, [b"abc"]).start()
    within(PATIENCE, lambda: files.wait_for(path, 3))
    monkeypatch.setattr(files, "VISIBLE_SECONDS", 0.2)
    with pytest.raises(ResourceError, match=r"c\.0: expected 4 bytes, which a worker wrote, found 3 bytes after 0 s"):
        files.wait_for(path, 4)
    tally.survive(2)


def test_a_unit_that_runs_late_changes_nothing(
    source: Path, stores: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """Of this run, when it is ended; and of one that was given up, with another codec."""
    units = list[Any]()
    run_unit = conversion.run_unit
    monkeypatch.setattr(conversion, "run_unit", lambda unit, progress: units.append(unit) or run_unit(unit, progress))
    made = convert_mouse(source, stores, codec="none").store
    before = digests(made)
    with pytest.raises(FileNotFoundError):
        run_unit(units[0])
    assert digests(made) == before and sorted(stores.iterdir()) == [made]
    given_up = dataclasses.replace(units[0], stage=Stage(made, "0123"))
    expected = digests(convert_mouse(source, stores.parent / "here").store)

    def late(unit: Any, progress: Any) -> Any:
        record = run_unit(unit, progress)
        # It is in the midst of its shard when the next run has begun.
        with contextlib.suppress(FileNotFoundError):
            run_unit(given_up)
        return record

    monkeypatch.setattr(conversion, "run_unit", late)
    tally.inject(2)
    assert digests(convert_mouse(source, stores, replace=True).store) == expected
    tally.survive(2)
    # Without files of its own, it is the one that is left.
    monkeypatch.setattr(files, "temporary", lambda path, folder=None: path)
    with pytest.raises(CorruptStoreError, match="videos/c"):
        convert_mouse(source, stores, replace=True)
    tally.notice()


@pytest.mark.once
def test_workers_that_are_killed_change_no_byte(
    source: Path, stores: Path, there: Processes, size: Callable[[int, int], int], tally: Tally
) -> None:
    """Nannies start others in their place."""
    expected, rng = digests(convert_mouse(source, stores.parent / "here").store), random.Random(0)
    for _ in range(2):
        there.worker("slow", nanny=True)
    with contextlib.closing(client_of(there)) as client:
        for number in range(size(2, 12)):

            def kill_one(seconds: float = rng.uniform(0.5, 3)) -> None:
                time.sleep(seconds)
                os.kill(rng.choice(list(client.run(os.getpid, on_error="ignore").values())), signal.SIGKILL)

            tally.inject()
            killer = threading.Thread(target=kill_one, daemon=True)
            killer.start()
            assert digests(convert(source, stores / str(number), there)) == expected
            killer.join()
            tally.survive()


@pytest.mark.once
def test_a_worker_that_is_not_looked_at_takes_part(
    source: Path, stores: Path, there: Processes, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.worker("version")
    monkeypatch.setattr(clusters.Demands, "arguments", ({}, [], None))
    convert(source, stores, there)
    tally.notice()


def test_tasks_run_apart_from_a_worker(cluster: Any) -> None:
    """As the check of a shard from the worker that wrote it."""
    with clusters.connected(cluster.scheduler_address) as found, found.checked(Demands({})) as checked:
        one, other = checked.nthreads()
        expected = [other, one] * 8
        assert checked.apart([one, other] * 8).run([clusters.this_worker] * 16) == expected
        assert set(checked.apart(["tcp://nobody:1"] * 8).run([clusters.this_worker] * 8)) <= {one, other}


def test_shards_are_verified_by_other_workers_than_wrote_them(
    source: Path, stores: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[tuple[str, ...]]()
    apart = clusters.Cluster.apart
    monkeypatch.setattr(clusters.Cluster, "apart", lambda self, workers: asked.append(workers) or apart(self, workers))
    convert_mouse(source, stores, scheduler=cluster.scheduler_address)
    workers = set(asked[0]) - {""}
    assert len(asked) == 1 and workers <= set(cluster.scheduler.workers) and len(workers) == 2


def json_of(*arguments: object) -> Any:
    done = run(*arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_commands_on_a_cluster_do_what_they_do_here(
    source: Path, tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two mice in one command, which are under way at the same time."""
    write_sample(source.parent, mouse="S0", trials=8, neurons=6, image_shape=(9, 16))
    both, convert_one = threading.Barrier(2, timeout=PATIENCE), convert_mouse

    def convert_together(*arguments: Any, **options: Any) -> Any:
        both.wait()
        return convert_one(*arguments, **options)

    here, on = tmp_path / "here", ("--scheduler", cluster.scheduler_address)
    run("convert", source.parent, "--to", here)
    monkeypatch.setattr("trialpack.cli.convert.convert_mouse", convert_together)
    made = json_of("convert", source.parent, "--to", tmp_path / "there", *on)["mice"]
    stores = [Path(one["store"]) for one in made]
    assert [digests(store) for store in stores] == [digests(here / store.name) for store in stores]
    checked = json_of("verify", *stores, *on)
    assert [(one["store"], one["intact"]) for one in checked] == [(str(store), True) for store in stores]
    damage = stores[1] / "responses" / "c.0.0"
    stats = [json_of("stats", stores[0], "--tier", "oracle", *options) for options in ((), on)]
    assert stats[0] == stats[1]
    for name, options in (("a", ()), ("b", on)):
        json_of("export", stores[0], "--to", tmp_path / name, "--as", "npy", *options)
    assert digests(tmp_path / "b") == digests(tmp_path / "a")
    refused = run("export", stores[0], "--to", tmp_path, "--as", "zip", *on)
    assert refused.returncode == 1 and "--scheduler" in refused.stderr and "is written by one process" in refused.stderr
    damage.chmod(0o644)
    damage.write_bytes(damage.read_bytes()[:-1] + b"!")
    wrong = run("verify", *stores, *on)
    assert wrong.returncode == 1 and str(stores[0]) in wrong.stdout and "responses/c.0.0" in wrong.stderr


@pytest.mark.once
def test_a_command_that_loses_its_cluster_says_so_in_one_line(
    source: Path, tmp_path: Path, there: Processes, tally: Tally
) -> None:
    write_sample(source.parent, mouse="S0", trials=8, neurons=6, image_shape=(9, 16))
    there.worker("stalled")
    command = ["convert", source.parent, "--to", tmp_path / "stores", "--scheduler", there.address]
    started = subprocess.Popen(list(map(str, [TRIALPACK, *command])), stderr=subprocess.PIPE, text=True)
    time.sleep(6)
    tally.inject()
    there.scheduler.kill()
    _, errors = started.communicate(timeout=PATIENCE)
    (line,) = errors.splitlines()
    assert started.returncode == 1 and "the connection was lost" in line
    assert line.endswith("the same command with --skip-existing goes on from here")
    tally.survive()

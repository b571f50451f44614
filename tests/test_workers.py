"""The same store comes out of any number of workers, and of a cluster."""

import hashlib

import pytest
from trialpack.convert import convert_mouse, plan_mouse
from trialpack.convert.sample import write_sample
from trialpack.store import OptionError, SourceError, layout
from trialpack.store import cluster as clusters


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A mouse of many units of work."""
    monkeypatch.setattr(layout, "SHARD_BYTES", 500_000)
    return write_sample(tmp_path, mouse="A", trials=12, neurons=30, image_shape=(12, 16))


def digests(store):
    files = sorted(path for path in store.rglob("*") if path.is_file())
    assert len(files) > 20
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


BOUNDS = {"responses": "0.1%std", "videos": 0.5}


@pytest.mark.parametrize("bounds", [{}, BOUNDS], ids=["exact", "rounded"])
def test_any_number_of_workers_makes_the_same_bytes(source, tmp_path, bounds):
    stores = [convert_mouse(source, tmp_path / f"{n}", workers=n, max_error=bounds) for n in (1, 2, 5)]
    assert len(stores[0].plan.units) >= 5
    first = digests(stores[0].store)
    assert all(digests(one.store) == first for one in stores[1:])


def test_a_cluster_makes_the_same_bytes_and_reports_the_same_problems(source, tmp_path, cluster):
    for name, bounds in (("exact", {}), ("rounded", BOUNDS)):
        here = convert_mouse(source, tmp_path / "here" / name, max_error=bounds)
        there = convert_mouse(source, tmp_path / "there" / name, max_error=bounds, scheduler=cluster.scheduler_address)
        assert digests(there.store) == digests(here.store)
    path = source / "data" / "responses" / "6.npy"
    data = bytearray(path.read_bytes())
    data[0:6] = b"\x93NUMPX"
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"data/responses/6\.npy: not a \.npy file") as caught:
        convert_mouse(source, tmp_path / "bad", scheduler=cluster.scheduler_address)
    assert caught.value.trial == 6
    assert not list((tmp_path / "bad").iterdir())


def test_a_scheduler_that_does_not_answer_is_named(source, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(clusters, "CONNECT_SECONDS", 0.5)
    with pytest.raises(OptionError, match="scheduler='tcp://127.0.0.1:9': no scheduler answers"):
        convert_mouse(source, tmp_path / "stores", scheduler="tcp://127.0.0.1:9")


def test_memory_of_a_worker_with_many_threads_is_checked_before_anything_is_written(
    source, tmp_path, monkeypatch, cluster
):
    """Each thread of a worker takes parts of its own, and they share its memory."""
    plan = plan_mouse(source, tmp_path / "stores")
    bound = plan.statistics_memory(8)
    assert bound > plan.statistics_memory() > 160_000_000

    monkeypatch.setattr(clusters.Cluster, "most_threads", 64)
    with pytest.raises(OptionError, match=r"are too little \(.*; give max_memory='\d+MB', or statistics=False"):
        convert_mouse(source, tmp_path / "stores", scheduler=cluster.scheduler_address, max_memory=bound)
    assert not list((tmp_path / "stores").iterdir())

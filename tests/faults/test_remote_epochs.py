"""Epochs from an object store: whatever one of its answers is, batches are right, or an error says so."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from trialpack.readers import TrialLoader, open_mouse
from trialpack.store import TrialpackError, chunk_codecs, objects

from ..object_server import Fault, ObjectServer
from .damages import TinyStores, copy_store
from .promises import Tally

pytest.importorskip("obstore", reason="obstore is not installed")
pytestmark = pytest.mark.promise(23)

PASSING = ("503", "500", "cut", "short")
LASTING = ("flip", "swap", "zeros", "whole", "404", "403", "expired", "replaced")
OPTIONS: dict[str, Any] = {"tier": None, "batch_size": 2, "output": "numpy", "threads": 2, "withheld": "zeros"}
Batch = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def server(stores: TinyStores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    folder = tmp_path_factory.mktemp("served")
    for kind in ("dynamic", "static"):
        copy_store(stores(kind), folder / f"{kind}.zarr")
    with ObjectServer(folder) as server:
        yield server


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_FIRST_PAUSE", 0.001)


def loader(server: ObjectServer, kind: str, **options: Any) -> TrialLoader:
    mouse = open_mouse(f"s3://mice/{kind}.zarr", storage_options=server.options, **options)
    return TrialLoader(mouse, shuffle=True, cache="none", **OPTIONS)


def taken(batches: TrialLoader) -> Iterator[Batch]:
    batches.set_epoch(0)
    for batch in batches:
        yield {name: np.array(values) for name, values in batch.items()}


def expected(server: ObjectServer, kind: str) -> list[Batch]:
    return list(taken(TrialLoader(open_mouse(server.folder / f"{kind}.zarr"), shuffle=True, cache="none", **OPTIONS)))


def epoch(server: ObjectServer, stream: TrialLoader, fault: Fault) -> tuple[list[Batch], str]:
    """Return the batches that came, and what ended the epoch."""
    server.asked.clear()
    server.fault, found = fault, list[Batch]()
    try:
        found.extend(taken(stream))
    except TrialpackError as error:
        return found, str(error)
    finally:
        server.fault = lambda key, number: None
    return found, ""


def n_answers(server: ObjectServer, kind: str, **options: Any) -> int:
    """Return how many requests an epoch takes."""
    _, error = epoch(server, loader(server, kind, **options), at(set(), ""))
    assert not error
    return len(server.gets())


def are_equal(found: list[Batch], wanted: list[Batch]) -> bool:
    return all(
        one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in other)
        for one, other in zip(found, wanted, strict=False)
    )


def at(places: set[int], kind: str) -> Fault:
    return lambda key, number: kind if number in places else None


@pytest.mark.parametrize("kept", [False, True], ids=["streamed", "kept"])
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_answers_that_are_wrong_for_a_while(
    tally: Tally, server: ObjectServer, kind: str, kept: bool, size: Callable[[int, int], int], tmp_path: Path
) -> None:
    wanted, rng = expected(server, kind), random.Random(kind)
    for number in range(size(3, 60)):
        options = [{"cache_dir": tmp_path / f"cache-{number}-{time}"} if kept else {} for time in range(2)]
        answers, stream = n_answers(server, kind, **options[0]), loader(server, kind, **options[1])
        places = set(rng.sample(range(1, answers + 1), min(answers, 3)))
        tally.inject(len(places))
        found, error = epoch(server, stream, at(places, rng.choice(PASSING)))
        assert not error and len(found) == len(wanted) and are_equal(found, wanted), error
        assert stream.stats.requests.again >= 1
        tally.survive(len(places))


@pytest.mark.parametrize("fault", LASTING)
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_answers_that_are_wrong(
    tally: Tally, server: ObjectServer, kind: str, fault: str, size: Callable[[int, int], int]
) -> None:
    wanted, rng = expected(server, kind), random.Random(f"{kind} {fault}")
    answers = n_answers(server, kind)
    for _ in range(size(2, 35)):
        place, stream = rng.randrange(1, answers), loader(server, kind)
        tally.inject()
        if fault == "replaced":
            found, error = replaced_at(server, stream, kind, place)
        else:
            found, error = epoch(server, stream, at({place}, fault))
        assert are_equal(found, wanted)
        assert f"s3://mice/{kind}.zarr: " in error and len(found) < len(wanted), (fault, place, error)
        tally.survive()


def replaced_at(server: ObjectServer, stream: TrialLoader, kind: str, place: int) -> tuple[list[Batch], str]:
    """Replace all shards, by others of equal size, before an answer."""

    def fault(key: str, number: int) -> str | None:
        if number == place:
            for path in (server.folder / f"{kind}.zarr").rglob("c.*"):
                data = path.read_bytes()
                path.unlink()
                path.write_bytes(data)
        return None

    return epoch(server, stream, fault)


@pytest.mark.parametrize("fault", ["flip", "swap", "zeros"])
def test_control_without_checksums_batches_are_wrong(
    tally: Tally, server: ObjectServer, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, stream = expected(server, "static"), loader(server, "static")
    monkeypatch.setattr(chunk_codecs, "_compare", lambda parts, stored: None)
    found, error = epoch(server, stream, at({1, 2, 3}, fault))
    assert error or not are_equal(found, wanted)
    tally.notice()

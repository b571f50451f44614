"""Stores of every released format version are opened by this one, and hold in all ways of reading what they held."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.readers import Mouse, TrialLoader, open_mouse, summarize
from trialpack.store import StoreFormatError, layout
from trialpack.store.chunk_codecs import seal
from trialpack.store.metadata import to_json

from ..golden import make
from ..mice import Array, open_store
from .damages import full, lines_of, needs_pcodec, reseal, run_trialpack, spans
from .promises import Tally

Size = Callable[[int, int], int]
GOLDEN = Path(make.__file__).parent
STORES = sorted(path.relative_to(GOLDEN).as_posix() for path in GOLDEN.glob("version-*/*.zarr.zip"))
READABLE = [pytest.param(name, marks=needs_pcodec if "pcodec" in name else ()) for name in STORES]
UNCOMPRESSED = [name for name in STORES if "-none." in name]

# numcodecs' classes warn that they are outside of the Zarr specification; docs/format.md says so of `pcodec` too.
pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")


def unpack(name: str, to: Path) -> Path:
    """Unpack a golden store; everybody may write to it."""
    store = to / Path(name).stem
    with zipfile.ZipFile(GOLDEN / name) as archive:
        archive.extractall(store)
    return store


def expected_of(name: str) -> dict[str, Any]:
    """Return what a golden store must hold."""
    document = json.loads((GOLDEN / name).with_name(make.EXPECTED).read_text())
    own = document["stores"][Path(name).name.partition(".")[0]]
    return {**own, **document["sources"][own["source"]]}


def check_trials(store: Path, expected: dict[str, Any]) -> int:
    """Read every trial in all ways, and compare types, shapes and every bit; return how many trials there are."""
    mouse, group = open_mouse(store), open_store(store)
    trials = list(expected["trials"].items())
    assert (mouse.name, mouse.trials.index.tolist()) == (expected["mouse"], [int(trial) for trial, _ in trials])
    lazy = {name: mouse.dask(name).compute(scheduler="synchronous") for name in mouse.variables}
    for row, (trial, known) in enumerate(trials):
        one = mouse.trial(int(trial))
        assert (one.tier, one.withheld, one.n_frames) == (known["tier"], known["withheld"], known["n_frames"])
        for name, digest in known["values"].items():
            whole = np.asarray(group[name][row])  # type: ignore[index]
            assert make.digest(whole) == make.digest(lazy[name][row]) == digest, f"{trial}: {name}"
            valid = cut(mouse, name, whole, known["n_frames"])
            assert make.digest(one[name]) == make.digest(valid), f"{trial}: {name}"
            if name != layout.RESPONSES or not known["withheld"]:
                found = make.digest(stream(mouse, name, int(trial)))
                assert found == make.digest(valid.astype(np.float32)), f"{trial}: {name}"
    return len(trials)


def cut(mouse: Mouse, name: str, values: Array, n_frames: int | None) -> Array:
    """Return the valid frames of a trial."""
    axis = next(one for one in mouse.recording.variables if one.name == name).frame_axis
    return values if axis is None or n_frames is None else values.take(range(n_frames), axis)


def stream(mouse: Mouse, name: str, trial: int) -> Array:
    """Return one variable of a trial as a loader gives it; of a video without the axis of channels."""
    (batch,) = TrialLoader(mouse, tier=None, trials=[trial], variables=[name], batch_size=1, output="numpy", threads=1)
    return np.array(batch[name][0, 0] if name == layout.VIDEOS.name else batch[name][0])


def check_statistics(store: Path, expected: dict[str, Any]) -> int:
    """Compare every stored statistic; return how many there are."""
    mouse, group = open_mouse(store), open_store(store)
    stored = [name for name in mouse if name.startswith(layout.TRAIN_STATISTICS)]
    assert sorted(stored) == sorted(expected["statistics"])
    for path, digest in expected["statistics"].items():
        assert make.digest(np.asarray(group[path][...])) == digest, path  # type: ignore[index]
        if path != layout.STATISTICS_TRIAL_ID:
            variable, reduction, name = path.split("/")[2:]
            assert make.digest(getattr(mouse.statistics[variable][reduction], name)) == digest, path  # type: ignore[index]
    return len(stored)


def test_there_are_golden_stores_of_every_version() -> None:
    """Every kind, and every codec of each version."""
    for version in range(1, layout.FORMAT_VERSION + 1):
        known = [expected_of(name) for name in STORES if name.startswith(f"version-{version}/")]
        assert {one["source"] for one in known} == set(make.SOURCES)
        assert {one["codec"] for one in known} == set(layout.CODECS)
        assert sum(map(len, (one["statistics"] for one in known))) > 60
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 300_000


@pytest.mark.promise(16)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_pcodec if "pcodec" in name else ()) for name in STORES]
)
def test_a_golden_store_is_opened_and_read(name: str, tmp_path: Path, tally: Tally, size: Size) -> None:
    """The bytes are those that were released: a zip that was made again, or changed on its way, is not that store."""
    expected = expected_of(name)
    assert hashlib.sha256((GOLDEN / name).read_bytes()).hexdigest() == expected["sha256"]
    store, things = unpack(name, tmp_path), 1 + len(expected["trials"])
    tally.inject(things)
    open_mouse(store, check="full")
    assert check_trials(store, expected) + 1 == things
    check_statistics(store, expected)
    assert summarize(store)["mouse"] == expected["mouse"]
    if expected["codec"] == "none" or size(0, 1):
        for verb in ("verify", "info"):
            code, lines = run_trialpack(verb, store)
            assert (code, lines) == (0, []), verb
    tally.survive(things)


@pytest.mark.promise(16)
@pytest.mark.parametrize("version", [0, layout.FORMAT_VERSION + 1, 17, None, "1", 1.5, [1]], ids=repr)
@pytest.mark.parametrize("name", UNCOMPRESSED)
def test_an_unknown_version_is_refused_and_names_both(name: str, tmp_path: Path, tally: Tally, version: object) -> None:
    store = unpack(name, tmp_path)
    path = store / layout.MANIFEST
    body = json.loads(path.read_bytes())
    del body["sha256_of_manifest"]
    tally.inject()
    body[layout.A_FORMAT] = version
    path.write_bytes(to_json({**body, "sha256_of_manifest": hashlib.sha256(to_json(body)).hexdigest()}))
    for check in (open_mouse, full):
        with pytest.raises(StoreFormatError) as raised:
            check(store)
        (line,) = lines_of(raised.value, store).values()
        assert f"format version {version!r}" in line and f"reads {layout.FORMAT_VERSION})" in line and "install" in line
    tally.survive()


@pytest.mark.promise(16)
@pytest.mark.parametrize("variable", ["responses", "behavior", "pupil_center"])
@pytest.mark.parametrize("name", UNCOMPRESSED)
def test_one_changed_value_of_a_golden_store_is_noticed(name: str, tmp_path: Path, tally: Tally, variable: str) -> None:
    """Checksums and the digest of the file are made right: what is left is the comparison of the tests above."""
    store, expected = unpack(name, tmp_path), expected_of(name)
    array = open_mouse(store).index.arrays[variable]
    shard = array.shard_path(0)
    data = bytearray((store / shard).read_bytes())
    begin, end = spans(store / shard, array)[0]
    data[begin] ^= 1
    data[begin:end] = seal(bytes(data[begin : end - 4]))
    (store / shard).write_bytes(data)
    reseal(store, shard)
    with pytest.raises(AssertionError, match=variable):
        check_trials(store, expected)
    tally.notice()

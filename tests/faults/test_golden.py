"""Stores of every released format version are opened by this one, and hold in all ways of reading what they held."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.convert import export_mouse
from trialpack.readers import Mouse, TrialLoader, open_mouse, summarize
from trialpack.store import StoreFormatError, layout
from trialpack.store.chunk_codecs import seal
from trialpack.store.manifest import software
from trialpack.store.metadata import to_json

from ..golden import make
from ..mice import Array, open_store
from .damages import all_files, full, lines_of, needs_pcodec, reseal, run_trialpack, spans
from .promises import Tally

Size = Callable[[int, int], int]
GOLDEN = Path(make.__file__).parent
STORES = sorted(path.relative_to(GOLDEN).as_posix() for path in GOLDEN.glob("version-*/*.zarr.zip"))
READABLE = [pytest.param(name, marks=needs_pcodec if "pcodec" in name else ()) for name in STORES]
CURRENT = [one for one in READABLE if str(one.values[0]).startswith(f"version-{layout.FORMAT_VERSION}/")]
UNCOMPRESSED = [name for name in STORES if "-none." in name]

# numcodecs' classes warn that they are outside of the Zarr specification; docs/format.md says so of `pcodec` too.
pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")


def unpack(name: str, to: Path) -> Path:
    """Unpack a golden store; everybody may write to it."""
    store = to / Path(name).stem
    with zipfile.ZipFile(GOLDEN / name) as archive:
        archive.extractall(store)
    return store


def recorded(name: str) -> list[str]:
    """Return the variables of a golden store."""
    return [variable for variable, *_ in make.VARIABLES[expected_of(name)["source"]]]


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
    described = [(one.name, one.role, list(one.dimensions), one.dtype) for one in mouse.recording.variables]
    assert described == make.VARIABLES[expected["source"]]
    assert mouse.index.attributes[layout.A_SCHEMA] == expected["trialpack_toml"]
    lazy = {name: mouse.dask(name).compute(scheduler="synchronous") for name in mouse.variables}
    for row, (trial, known) in enumerate(trials):
        one = mouse.trial(int(trial))
        assert (one.tier, one.withheld, one.n_frames) == (known["tier"], known["withheld"], known["n_frames"])
        assert [name for name, rows in mouse.recording.lacking.items() if rows[row]] == known["lacks"]
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
    axis = mouse.recording.variable(name).frame_axis
    return values if axis is None or n_frames is None else values.take(range(n_frames), axis)


def stream(mouse: Mouse, name: str, trial: int) -> Array:
    """Return one variable of a trial as a loader gives it; of pictures without the axis of one channel."""
    (batch,) = TrialLoader(mouse, tier=None, trials=[trial], variables=[name], batch_size=1, output="numpy", threads=1)
    variable = mouse.recording.variable(name)
    adds_axis = variable.has_pictures and variable.channel_dimension is None
    return np.array(batch[name][0, 0] if adds_axis else batch[name][0])


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
    assert sum(path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()) < 400_000


@pytest.mark.promise(16)
@pytest.mark.parametrize("name", READABLE)
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
@pytest.mark.parametrize("name", CURRENT)
def test_the_mouse_of_a_golden_store_becomes_that_store_again(name: str, tmp_path: Path, tally: Tally) -> None:
    """Its id is that of the store; by equal versions of what compresses, all bytes are but those of `software.json`."""
    golden, plain = unpack(name, tmp_path), Path(name).name.partition(".")[0]
    tally.inject()
    source = export_mouse(golden, tmp_path / "mouse").path
    again = make.convert_golden(source, plain, tmp_path / "again")
    assert open_mouse(again).index.manifest.store_id == open_mouse(golden).index.manifest.store_id
    check_trials(again, expected_of(name))
    if of_equal_codecs(golden):
        assert all_files(again) == all_files(golden)
        assert [path for path in all_files(golden) if differ(golden, again, path)] in ([], [layout.SOFTWARE])
    tally.survive()


def of_equal_codecs(golden: Path) -> bool:
    """Return whether what compressed a store is of the version that is installed."""
    versions, ours = (
        json.loads((golden / layout.SOFTWARE).read_bytes()),
        software("pcodec" if "pcodec" in golden.name else "fast"),
    )
    return all(versions.get(name) == ours[name] for name in ("numcodecs", "pcodec") if name in ours)


def differ(one: Path, other: Path, path: str) -> bool:
    return (one / path).read_bytes() != (other / path).read_bytes()


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
        assert (
            f"format version {version!r}" in line
            and f"reads 1 to {layout.FORMAT_VERSION})" in line
            and "install" in line
        )
    tally.survive()


@pytest.mark.promise(16)
@pytest.mark.parametrize(("name", "variable"), [(name, one) for name in UNCOMPRESSED for one in recorded(name)])
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

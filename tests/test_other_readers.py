"""Stores in the hands of others: implementations of Zarr that know nothing of trialpack read equal numbers.

zarr-python, and zarrs in its place, are in test_zarr_bytes.
"""

import hashlib
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from numpy.typing import NDArray
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.store import check_quick, layout

HERE = Path(__file__).parent
MADE: list[tuple[str, Any]] = [
    ("dynamic", "fast"),
    ("dynamic", "none"),
    ("dynamic", "small"),
    ("float64", "fast"),
    ("static", "fast"),
]
MICE = {
    "dynamic": {"mouse": "A", "trials": 9, "neurons": 7, "image_shape": (5, 8)},
    "float64": {"mouse": "F", "trials": 5, "neurons": 3, "image_shape": (5, 8)},
    "static": {"mouse": "S0", "trials": 30, "neurons": 6, "image_shape": (9, 16)},
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Path]:
    """Stores of several shards and chunks, by kind of mouse and codec: not to be written to."""
    place = tmp_path_factory.mktemp("others")
    sources = {kind: write_sample(place / kind, **sample) for kind, sample in MICE.items()}
    made = dict[Any, Path]()
    with pytest.MonkeyPatch.context() as patch:
        for kind, codec in MADE:
            patch.setattr(layout, "SHARD_BYTES", 5_000 if kind == "static" else 100_000)
            patch.setattr(layout, "CHUNK_BYTES", 500)
            made[kind, codec] = convert_mouse(sources[kind], place / codec, codec=codec, statistics=False).store
    return made


@pytest.fixture(params=MADE, ids="-".join)
def store(request: pytest.FixtureRequest, stores: dict[Any, Path]) -> Path:
    return stores[request.param]


def expected(store: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a store as zarr-python reads them, but for statistics, of which there are many."""
    group = zarr.open_group(store, mode="r", use_consolidated=False)
    names = [path for path in check_quick(store).arrays if not path.startswith(layout.STATISTICS)]
    return {path: np.asarray(group[path][...]) for path in names}  # type: ignore[index]


def test_several_chunks_and_shards_are_read(stores: dict[Any, Path]) -> None:
    for store in stores.values():
        recorded = check_quick(store).recorded
        assert max(array.files for array in recorded) > 1
        assert max(np.prod(array.chunks_per_shard) for array in recorded) > 1


def test_tensorstore(store: Path) -> None:
    """All numbers; it opens no text."""
    tensorstore = pytest.importorskip("tensorstore", reason="tensorstore is not installed")
    arrays, read = check_quick(store).arrays, 0
    for path, values in expected(store).items():
        if arrays[path].dtype != "string":
            spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{store / path}/"}}
            found = tensorstore.open(spec, read=True).result()
            assert found[...].read().result().tobytes() == values.tobytes(), path
            assert tuple(found.domain.labels) == arrays[path].dimensions
            read += 1
    assert read >= 8


@pytest.mark.filterwarnings("ignore::UserWarning")  # zarr's, of the manifest, when it lists a store
def test_xarray(store: Path) -> None:
    """By itself: labelled, lazily, and the groups as a tree."""
    index, values = check_quick(store), expected(store)
    data = xr.open_zarr(store, consolidated=False, decode_times=False, mask_and_scale=False)
    for array in index.recorded:
        assert data[array.path].dims == array.dimensions
        assert data[array.path].attrs[layout.A_UNITS] == array.attributes[layout.A_UNITS]
        assert data[array.path].to_numpy().tobytes() == values[array.path].tobytes()
    trials = xr.open_zarr(store, group="trials", consolidated=False)
    assert trials["tier"].to_numpy().tolist() == values["trials/tier"].tolist()
    assert trials["trial_id"].to_numpy().tolist() == values["trials/trial_id"].tolist()


@pytest.fixture(scope="module")
def zarrita(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Return a function that reads arrays of a store with zarrita, in node."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("node is not installed")
    place = shutil.copytree(HERE / "zarrita", tmp_path_factory.mktemp("node") / "zarrita")
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
    done = subprocess.run(install, cwd=place, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"zarrita cannot be installed ({done.stderr.strip()[-200:]})")

    def read(store: Path, *names: str) -> dict[str, Any]:
        command = [node, str(place / "read.mjs"), str(store), *names]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return read


def test_zarrita(store: Path, zarrita: Callable[..., dict[str, Any]]) -> None:
    """In JavaScript: all numbers but those of 64 bits that are whole, text, attributes."""
    index, values = check_quick(store), expected(store)
    names = [path for path in values if not index.arrays[path].dtype.endswith("int64")]
    assert {"trials/tier", "trials/withheld", *(array.path for array in index.recorded)} <= {*names}
    for name, found in zarrita(store, *names).items():
        assert tuple(found["shape"]) == index.arrays[name].shape
        assert found["attributes"] == index.arrays[name].attributes
        data = values[name].tobytes()
        if index.arrays[name].dtype == "string":
            data = json.dumps(values[name].ravel().tolist(), ensure_ascii=False, separators=(",", ":")).encode()
        assert found["sha256"] == hashlib.sha256(data).hexdigest(), name


def test_what_is_needed_is_named() -> None:
    """The other implementations are there where the tests of every push run: a test that is skipped shows nothing."""
    assert importlib.util.find_spec("tensorstore") and importlib.util.find_spec("zarrs")

"""Recorded variables with codecs that the format does not name: read through zarr-python, with equal results."""

import gzip
import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import Mouse, TrialLoader, open_mouse
from trialpack.store import CorruptStoreError, StoreFormatError, layout
from trialpack.store.chunk_codecs import seal as with_checksum
from trialpack.store.manifest import Manifest, read_manifest
from trialpack.store.metadata import parse_array, to_json
from trialpack.store.shards import FileRecord

VARIABLES = ["videos", "responses", "behavior"]
GZIP = [{"name": "gzip", "configuration": {"level": 1}}]
CHECKSUM = {"name": "crc32c"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("other")
    source = write_sample(place / "data", mouse="A", trials=8, neurons=20, image_shape=(6, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "SHARD_BYTES", 150_000)
        return convert_mouse(source, place / "stores").store


@pytest.fixture
def recoded(store: Path, tmp_path: Path) -> Path:
    """The same store with gzip in three variables."""
    return recode(store, tmp_path / store.name, GZIP, gzip.compress)


def recode(store: Path, to: Path, codecs: list[dict[str, Any]], encode: Callable[[bytes], bytes]) -> Path:
    """Return a copy of a store with other codecs, its shards and manifest as trialpack would write them."""
    shutil.copytree(store, to)
    for name in VARIABLES:
        values = zarr.open_array(store / name, mode="r")[...]
        document = json.loads((store / name / "zarr.json").read_bytes())
        chain = [{"name": "bytes", "configuration": {"endian": "little"}}, *codecs, CHECKSUM]
        document["codecs"][0]["configuration"]["codecs"] = chain
        array = parse_array(name, json.loads((store / name / "zarr.json").read_bytes()))
        assert array is not None
        replace(to / name / "zarr.json", to_json(document))
        for number in range(array.files):
            rows = array.rows_of_shard(number)
            replace(to / array.shard_path(number), shard(array, values[rows.start : rows.stop], encode))
    seal(to)
    return to


def shard(array: layout.ArrayLayout, values: np.ndarray, encode: Callable[[bytes], bytes]) -> bytes:
    data, spans = b"", []
    for first in range(0, len(values), array.chunk[0]):
        for block in array.blocks():
            part = values[first : first + array.chunk[0], *block]
            chunk = np.full(array.chunk, np.nan, values.dtype)
            chunk[tuple(slice(size) for size in part.shape)] = part
            stored = with_checksum(encode(chunk.tobytes()))
            spans.append((len(data), len(stored)))
            data += stored
    index = np.full((int(np.prod(array.chunks_per_shard)), 2), 2**64 - 1, "<u8")
    index[: len(spans)] = spans
    return data + with_checksum(index.tobytes())


def replace(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def seal(store: Path) -> None:
    """Write a manifest of the files as they are."""
    manifest = read_manifest(store)
    (store / "manifest.json").unlink()
    files = sorted(path for path in store.rglob("*") if path.is_file() and path.name != "software.json")
    records = {path.relative_to(store).as_posix(): record(path.read_bytes()) for path in files}
    (store / "manifest.json").write_bytes(Manifest(manifest.store_id, records, manifest.values).to_bytes())


def record(data: bytes) -> FileRecord:
    return FileRecord(len(data), hashlib.sha256(data).hexdigest())


def quietly(store: Path, check: Any = "quick") -> Mouse:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_mouse(store, check)


def samples(loader: TrialLoader) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
    for batch in loader:
        for place, (trial, start) in enumerate(zip(batch["trial_id"], batch["start"], strict=True)):
            yield int(trial), int(start), {name: batch[name][place] for name in ("videos", "responses", "behavior")}


def test_opening_says_so_once(recoded: Path) -> None:
    with pytest.warns(UserWarning, match=r"videos, responses, behavior has codecs that .* zarr-python") as said:
        open_mouse(recoded)
    assert len(said) == 1


def test_every_digest_agrees(recoded: Path) -> None:
    assert quietly(recoded, "full").recording.arrays["responses"].codec.compressor == "other"


@pytest.mark.parametrize("cache", ["auto", "none"])
@pytest.mark.parametrize("window", [None, 45])
def test_batches_are_equal(store: Path, recoded: Path, cache: Any, window: int | None) -> None:
    loaders = [
        TrialLoader(
            mouse, tier=None, batch_size=3, window=window, shuffle=True, neurons=[3, 5], cache=cache, output="numpy"
        )
        for mouse in (open_mouse(store), quietly(recoded))
    ]
    for _ in range(2):
        for one, other in zip(*map(samples, loaders), strict=True):
            assert one[:2] == other[:2]
            for name, values in one[2].items():
                np.testing.assert_array_equal(values, other[2][name])


def test_dask_and_single_trials_are_equal(store: Path, recoded: Path) -> None:
    one, other = open_mouse(store), quietly(recoded)
    np.testing.assert_array_equal(one.dask("responses").compute(), other.dask("responses").compute())
    np.testing.assert_array_equal(one.trial(9)["videos"], other.trial(9)["videos"])


def test_a_flipped_byte_is_found(recoded: Path) -> None:
    path = recoded / "responses" / "c.0.0.0"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    replace(path, bytes(data))
    loader = TrialLoader(quietly(recoded), tier=None, batch_size=1, output="numpy", cache="none")
    with pytest.raises(CorruptStoreError, match=r"responses/c\.0\.0\.0: trial 0: checksum differs"):
        list(loader)


def test_what_zarr_python_cannot_decode_is_named(store: Path, tmp_path: Path) -> None:
    mouse = quietly(recode(store, tmp_path / store.name, GZIP, lambda data: b"no gzip" + data[:50]))
    with pytest.raises(CorruptStoreError, match=r"videos/c\.0\.0\.0\.0: zarr-python cannot decode it"):
        mouse.trial(0)


@pytest.mark.parametrize("codecs", [[{"name": "nobody.knows"}], [{"configuration": {}}]], ids=["unknown", "nameless"])
def test_codecs_that_nobody_knows_are_refused(store: Path, tmp_path: Path, codecs: list[dict[str, Any]]) -> None:
    with pytest.raises(StoreFormatError, match="describes an array that format version 1 does not have"):
        open_mouse(recode(store, tmp_path / store.name, codecs, bytes))


def test_codecs_without_a_checksum_are_refused(recoded: Path) -> None:
    path = recoded / "responses" / "zarr.json"
    document = json.loads(path.read_bytes())
    document["codecs"][0]["configuration"]["codecs"].pop()
    replace(path, to_json(document))
    seal(recoded)
    with pytest.raises(StoreFormatError, match="describes an array that format version 1 does not have"):
        open_mouse(recoded)

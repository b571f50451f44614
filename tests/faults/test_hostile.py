"""Stores that were made to do harm: nothing of them is run, nothing elsewhere is read, written, or made room for.

Hostile mice and zips are in test_bad_input.py.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import pickle
import shutil
import sys
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from trialpack.convert import export_mouse
from trialpack.readers import open_mouse
from trialpack.store import StoreFormatError, TrialpackError, layout, other_codecs
from trialpack.store.manifest import read_manifest
from trialpack.store.metadata import to_json
from trialpack.store.shards import FileRecord

from ..mice import listing
from .damages import copy_store, pack_tiny, reseal, tiny_source
from .promises import Tally

Hostile = Callable[[Path, Path], object]
pytestmark = pytest.mark.promise(19)

RUNS = {"os.exec", "os.posix_spawn", "os.system", "pickle.find_class", "socket.connect", "subprocess.Popen"}
"""Events of Python's audit by which something of a store would be run, or sent somewhere."""
LITTLE = 32 << 20
RESPONSES = "responses/zarr.json"
SHARD = "responses/c.0.0"


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._path),)


# --- What must not happen --------------------------------------------------------------------------------------------

_events: list[str] | None = None
_secret = ""


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _events is not None:
        if event in RUNS:
            _events.append(event)
        if event == "open" and isinstance(arguments[0], str | bytes) and _secret in os.fsdecode(arguments[0]):
            _events.append(f"open {os.fsdecode(arguments[0])}")


sys.addaudithook(_audit)


@contextlib.contextmanager
def harmless(place: Path) -> Iterator[None]:
    """Check that nothing is run, that nothing called ``outside`` is opened, and that no file or folder appears."""
    global _events, _secret
    before, _events, _secret = listing(place), [], str(place / "outside")
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
        happened = list(_events)
    finally:
        _events = None
        tracemalloc.stop()
    assert happened == [], "something was run, or opened elsewhere"
    assert listing(place) == before, "something was written"
    assert peak < LITTLE, f"room was made: {peak} bytes"


# --- Hostile stores --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its store was read once, so that all is imported that reading needs."""
    store = pack_tiny(tiny_source(tmp_path_factory.mktemp("source"), "static"), "static", tmp_path_factory.mktemp("to"))
    use(store)
    return store


@pytest.fixture
def store(intact: Path, tmp_path: Path) -> Path:
    """A copy, with a folder beside it which it has no business in."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    return copy_store(intact, tmp_path / "store.zarr")


def use(store: Path) -> None:
    """Read all of a store."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mouse = open_mouse(store, "full")
    for trial in mouse.recording.trial_ids:
        mouse.trial(trial)
    assert len(mouse.trials) and len(mouse.neurons)


def edited(name: str, change: Callable[[dict[str, Any]], object]) -> Hostile:
    """Change a metadata document, and write a manifest that fits."""

    def edit(store: Path, _: Path) -> None:
        document = json.loads((store / name).read_bytes())
        change(document)
        (store / name).write_bytes(to_json(document))
        reseal(store, name)

    return edit


def with_shape(name: str, *shape: int) -> Hostile:
    return edited(name, lambda document: document.update(shape=list(shape)))


def with_chunks(*chunk: int) -> Hostile:
    """Chunks, and shards, of any size."""

    def change(document: dict[str, Any]) -> None:
        document["chunk_grid"]["configuration"]["chunk_shape"] = list(chunk)
        document["codecs"][0]["configuration"]["chunk_shape"] = list(chunk)
        document["shape"] = list(chunk)

    return edited(RESPONSES, change)


def with_chain(*codecs: dict[str, Any]) -> Hostile:
    """Other codecs of the chunks, which hold a pickle under a right checksum."""

    def change(document: dict[str, Any]) -> None:
        document["codecs"][0]["configuration"]["codecs"] = [*codecs, {"name": "crc32c"}]

    return edited(RESPONSES, change)


def codec(name: str, **configuration: Any) -> dict[str, Any]:
    return {"name": name, "configuration": configuration}


def with_extra_array(store: Path, _: Path) -> None:
    """An array that no trial is in, of more shards than could be counted."""
    document = json.loads((store / RESPONSES).read_bytes())
    document["shape"][0], document["dimension_names"] = 10**15, ["a", "b"]
    add(store, "extra/zarr.json", to_json(document))


def add(store: Path, name: str, data: bytes) -> None:
    (store / name).parent.mkdir(exist_ok=True)
    (store / name).write_bytes(data)
    reseal(store, name)


def of_version_2(store: Path, outside: Path) -> None:
    """In place of responses an array of Zarr v2, of objects that are pickled."""
    record(store, lambda files: {name: one for name, one in files.items() if not name.startswith("responses/")})
    shutil.rmtree(store / "responses")
    array = {
        "zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "|O", "compressor": None, "fill_value": 0,
        "order": "C", "filters": [{"id": "pickle", "protocol": 4}],
    }  # fmt: skip
    add(store, "responses/.zarray", json.dumps(array).encode())
    add(store, "responses/0", pickle.dumps(Canary(outside.parent / "canary")))


def record(store: Path, change: Callable[[dict[str, FileRecord]], dict[str, FileRecord]]) -> None:
    """Write a manifest that lists other files."""
    manifest = read_manifest(store)
    other = dataclasses.replace(manifest, files=change(dict(manifest.files)))
    (store / layout.MANIFEST).write_bytes(other.to_bytes())


def a_whole_store_of_version_2(store: Path, outside: Path) -> None:
    shutil.rmtree(store)
    store.mkdir()
    (store / ".zgroup").write_text('{"zarr_format": 2}')
    (store / "0").write_bytes(pickle.dumps(Canary(outside.parent / "canary")))


def listing_outside(name: str) -> Hostile:
    """A manifest that has a file elsewhere for one of the store's, with the right digest."""

    def write(store: Path, outside: Path) -> None:
        digest = hashlib.sha256(b"secret").hexdigest()
        path = name.format(outside=outside)
        record(store, lambda files: {**files, path: FileRecord(6, digest)})

    return write


def linked(name: str) -> Hostile:
    """A file or folder of the store that lies elsewhere, whole."""

    def link(store: Path, outside: Path) -> None:
        (store / name).rename(outside / "moved")
        (store / name).symlink_to(outside / "moved")

    return link


def with_attribute(document: str, name: str, value: str) -> Hostile:
    return edited(document, lambda found: found["attributes"].update({name: value}))


UPWARDS = ["../outside/made", "/made", "..", "", "a\0b"]
ELSEWHERE = [*UPWARDS, "meta/../../outside/made.npy", "data/responses/0.npy", "meta"]
"""No names of files below the folder that an export makes, or below ``meta`` in it."""
TABLE = "trials/tiers/zarr.json"
PICKLES = [
    "numcodecs.pickle", "pickle", "numcodecs.json2", "numcodecs.msgpack2", "numcodecs.categorize", "os.system",
    "builtins.eval", "__main__.Canary", "../outside/secret", "tests.faults.test_hostile.Canary",
]  # fmt: skip
BYTES = codec("bytes", endian="little")

HOSTILE: dict[str, Hostile] = {
    **{f"codec {name}": with_chain(BYTES, codec(name, protocol=4)) for name in PICKLES},
    **{f"serializer {name}": with_chain(codec(name)) for name in PICKLES},
    "codec within numcodecs": with_chain(BYTES, codec("numcodecs.zlib", id="pickle")),
    "pickled dtype of a filter": with_chain(codec("numcodecs.astype", encode_dtype="O", decode_dtype="<f4"), BYTES),
    "40 TB in the shape": with_shape(RESPONSES, 10**13, 4),
    "40 TB in a table": with_shape("trials/trial_id/zarr.json", 5 * 10**12),
    "2 GB in a table": with_shape("trials/trial_id/zarr.json", 1 << 28),
    "negative shape": with_shape(RESPONSES, -1, -(2**63)),
    "40 TB in a chunk": with_chunks(10, 10**12),
    "2 GB in a chunk": with_chunks(1, 500_000_000),
    "shards without end": with_extra_array,
    "objects": edited(RESPONSES, lambda document: document.update(data_type="object")),
    "texts of 40 TB": edited("trials/tier/zarr.json", lambda document: document.update(data_type="fixed_length_utf32")),
    "version 2": of_version_2,
    "all of version 2": a_whole_store_of_version_2,
    "upwards": listing_outside("../outside/secret"),
    "upwards inside": listing_outside("responses/../../outside/secret"),
    "absolute": listing_outside("{outside}/secret"),
    **{f"source name {name!r}": with_attribute(TABLE, layout.A_SOURCE_NAME, name) for name in ELSEWHERE},
    **{f"mouse {name!r}": with_attribute("zarr.json", layout.A_MOUSE, name) for name in UPWARDS},
    "storage transformer": edited(RESPONSES, lambda document: document["storage_transformers"].append({"name": "x"})),
    "keys elsewhere": edited(
        RESPONSES, lambda document: document["chunk_key_encoding"]["configuration"].update(separator="/../")
    ),
    **{f"link of {name}": linked(name) for name in (SHARD, RESPONSES, "responses", "trials/tier", "zarr.json")},
    "link of the manifest": linked(layout.MANIFEST),
    "link of the versions": linked(layout.SOFTWARE),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_hostile_store(hostile: Hostile, store: Path, tmp_path: Path, tally: Tally) -> None:
    tally.inject()
    hostile(store, tmp_path / "outside")
    with harmless(tmp_path), pytest.raises(TrialpackError) as raised:
        use(store)
    assert all(str(problem).startswith(str(store)) for problem in raised.value.problems)
    tally.survive()


def test_texts_without_end(store: Path, tmp_path: Path, tally: Tally) -> None:
    """A chunk that says it holds four milliard texts, of a right checksum."""
    from trialpack.store.chunk_codecs import seal

    for count in (2**32 - 1, 2**31, 2**24, 11, 9, 0):
        tally.inject()
        path = store / "trials" / "tier" / "c.0"
        path.write_bytes(seal(count.to_bytes(4, "little") + path.read_bytes()[4:-4]))
        reseal(store, "trials/tier/c.0")
        with harmless(tmp_path), pytest.raises(TrialpackError, match=r"trials/tier/c\.0: "):
            use(store)
        tally.survive()


# --- Codecs that are left to zarr-python -----------------------------------------------------------------------------


def codecs_of_zarr() -> list[str]:
    """Return the names of all codecs that zarr-python has registered by itself."""
    other_codecs.is_known([{"name": "numcodecs.zlib"}])
    (known,) = (found for name, found in vars(zarr.registry).items() if name.endswith("_codec_registries"))
    return sorted(known)


@pytest.mark.parametrize("name", [name for name in codecs_of_zarr() if not name.startswith("vlen-")])
def test_no_codec_of_zarr_runs_what_a_chunk_holds(name: str, tmp_path: Path, tally: Tally) -> None:
    """Whatever its configuration: nothing that could be a file, a name to import, or a pickle is one to it."""
    (tmp_path / "outside").mkdir()
    secret = str(tmp_path / "outside" / "secret")
    data = memoryview(pickle.dumps(Canary(tmp_path / "canary")) + bytes(100))
    for configuration in ({}, {"filename": secret, "path": secret, "id": "pickle", "level": 1, "dtype": "O"}):
        for chain in ([{"name": name, "configuration": configuration}], [BYTES, {"name": name, **configuration}]):
            for _ in range(2):  # first, it is imported
                with contextlib.suppress(ValueError, ImportError), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    other_codecs.decode(json.dumps(chain), data, np.empty(8, np.float32))
            tally.inject()
            with harmless(tmp_path), warnings.catch_warnings(), contextlib.suppress(ValueError):
                warnings.simplefilter("ignore")
                other_codecs.decode(json.dumps(chain), data, np.empty(8, np.float32))
            tally.survive()


def test_only_names_are_looked_up(tally: Tally) -> None:
    for name in [*PICKLES, "vlen-utf8", "vlen-bytes", None, 3, ["pickle"], {"id": "pickle"}]:
        tally.inject()
        assert not other_codecs.is_known([{"name": name}])
        tally.survive()


# --- These checks can fail -------------------------------------------------------------------------------------------


def test_what_is_run_is_noticed(tmp_path: Path, tally: Tally) -> None:
    data = pickle.dumps(Canary(tmp_path / "canary"))
    with pytest.raises(AssertionError, match="something was run"), harmless(tmp_path):
        pickle.loads(data)
    assert (tmp_path / "canary").exists()
    tally.notice()
    with pytest.raises(AssertionError, match="something was written"), harmless(tmp_path):
        (tmp_path / "more").touch()
    tally.notice()


def test_what_is_opened_elsewhere_is_noticed(store: Path, tmp_path: Path, tally: Tally) -> None:
    """zarr-python follows links."""
    linked(SHARD)(store, tmp_path / "outside")
    with pytest.raises(AssertionError, match="opened elsewhere"), harmless(tmp_path):
        (store / SHARD).resolve().read_bytes()
    tally.notice()


@pytest.mark.parametrize("form", ["npy", "zip", "tar"])
def test_an_export_to_elsewhere_is_noticed(
    store: Path, tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch, form: Any
) -> None:
    """Were the names in a store not looked at."""
    monkeypatch.setattr("trialpack.store.schema.is_plain_name", lambda text: True)
    (tmp_path / "to" / "below").mkdir(parents=True)
    with_attribute("zarr.json", layout.A_MOUSE, "../made")(store, tmp_path)
    with pytest.raises(AssertionError, match="something was written"), harmless(tmp_path / "to"):
        export_mouse(store, tmp_path / "to" / "below", format=form)
    assert list((tmp_path / "to").glob("made*"))
    tally.notice()


def test_room_that_is_made_is_noticed(store: Path, tmp_path: Path, tally: Tally) -> None:
    with_shape("trials/trial_id/zarr.json", 1 << 28)(store, tmp_path)
    array = zarr.open_array(store / "trials" / "trial_id", mode="r")
    with pytest.raises(AssertionError, match="room was made"), harmless(tmp_path):
        np.empty(array.shape, array.dtype)
    tally.notice()


def test_a_store_without_a_manifest_is_refused(store: Path) -> None:
    (store / layout.MANIFEST).unlink()
    with pytest.raises(StoreFormatError):
        use(store)

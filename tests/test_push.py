"""Stores that are published in an object store, and fetched from there; mice that are converted from there."""

import json
import os
import re
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trialpack
from trialpack import open_mouse, pull_store, push_store, verify_mouse
from trialpack.convert import convert_mouse, open_source
from trialpack.store import (
    AccessError,
    CorruptStoreError,
    OptionError,
    ResourceError,
    SourceError,
    StoreBusyError,
    StoreExistsError,
    StoreFormatError,
    layout,
    objects,
    push,
)
from trialpack.store.manifest import Manifest, claim, read_manifest
from trialpack.store.publish import Stage

from .command_line import TRIALPACK, run
from .faults.damages import TinyStores, copy_store
from .object_server import ObjectServer
from .s3_proxy import BUCKET, CONDITIONS, S3Proxy, s3_proxy

obstore = pytest.importorskip("obstore", reason="obstore is not installed")
MANIFEST = layout.MANIFEST
_numbers = count()


@pytest.fixture(scope="module")
def started() -> Iterator[S3Proxy]:
    with s3_proxy() as proxy:
        yield proxy


@pytest.fixture
def proxy(started: S3Proxy) -> S3Proxy:
    started.forget()
    return started


@pytest.fixture
def url() -> str:
    """An address where nothing is."""
    return f"s3://{BUCKET}/test-{next(_numbers)}/mouse.zarr"


@pytest.fixture(autouse=True)
def quick_and_new_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_FIRST_PAUSE", 0.001)
    # Those of commands know the environment of their first use.
    monkeypatch.setattr(objects, "_clients", {})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyStores:
    return TinyStores(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def store(tiny: TinyStores) -> Path:
    return tiny("static")


@pytest.fixture(scope="module")
def other(tiny: TinyStores) -> Path:
    return tiny("static", seed=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def objects_in(memory: Any) -> dict[str, bytes]:
    names = [meta["path"] for batch in obstore.list(memory) for meta in batch]
    return {name: bytes(obstore.get(memory, name).bytes()) for name in names}


# Pushes


def test_a_push_is_a_copy_with_the_manifest_last(proxy: S3Proxy, store: Path, url: str, tmp_path: Path) -> None:
    pushed = push_store(store, url, storage_options=proxy.options)
    written = [key.partition(".zarr/")[2] for key in proxy.written()]
    assert (written[0], written[-2:]) == (MANIFEST, [layout.METADATA, MANIFEST])
    assert pushed.describe() == {
        **{"address": url, "files": len(contents(store)), "bytes": sum(map(len, contents(store).values()))},
        **{"bytes_sent": pushed.sent, "seconds": round(pushed.seconds, 3)},
    }
    assert verify_mouse(trialpack.open_mouse(url, storage_options=proxy.options).index.place).files == pushed.files
    pulled = pull_store(url, tmp_path, storage_options=proxy.options)
    assert (pulled.store, contents(pulled.store)) == (tmp_path / "mouse.zarr", contents(store))
    assert pulled.received == sum(record.size for record in read_manifest(store).files.values())


def test_each_object_has_its_digest(proxy: S3Proxy, store: Path, url: str) -> None:
    push_store(store, url, storage_options=proxy.options)
    bucket = obstore.store.S3Store(BUCKET, **proxy.options, client_options={"allow_http": True})
    for name in (layout.METADATA, "images/c.0.0.0.0"):
        found = obstore.get(bucket, f"{url.removeprefix(f's3://{BUCKET}/')}/{name}").attributes
        assert found["sha256"] == read_manifest(store).files[name].sha256


def test_what_is_published_already_is_done(proxy: S3Proxy, store: Path, url: str) -> None:
    first = push_store(store, url, storage_options=proxy.options)
    proxy.forget()
    again = push_store(store, url, storage_options=proxy.options)
    assert (first.sent > 0, again.sent, proxy.written()) == (True, 0, [])


def test_no_store_is_replaced(proxy: S3Proxy, store: Path, other: Path, url: str) -> None:
    push_store(store, url, storage_options=proxy.options)
    for options in ({}, {"clean": True}, {"race_check": False}):
        with pytest.raises(StoreExistsError, match="another store is there already, and no published store is repl"):
            push_store(other, url, storage_options=proxy.options, **options)
    assert open_mouse(url, storage_options=proxy.options).index.manifest.digest == read_manifest(store).digest


def test_a_claim_of_another_store_is_left_alone(proxy: S3Proxy, store: Path, other: Path, url: str) -> None:
    proxy.fault = lambda method, key, number: "403" if key.endswith("images/c.0.0.0.0") else None
    with pytest.raises(AccessError, match="access is refused"):
        push_store(store, url, storage_options=proxy.options)
    proxy.forget()
    with pytest.raises(StoreFormatError, match="unfinished: a push of it is under way, or was interrupted"):
        open_mouse(url, storage_options=proxy.options)
    with pytest.raises(StoreBusyError, match=r"claimed by a push of another store .* use clean=True"):
        push_store(other, url, storage_options=proxy.options)
    assert proxy.written() == []
    push_store(other, url, storage_options=proxy.options, clean=True)
    assert open_mouse(url, storage_options=proxy.options).index.manifest.digest == read_manifest(other).digest
    with pytest.raises(StoreExistsError):
        push_store(store, url, storage_options=proxy.options)


def test_an_interrupted_push_goes_on(proxy: S3Proxy, store: Path, url: str) -> None:
    files = len(contents(store))
    refused = set[str]()

    def fault(method: str, key: str, number: int) -> str | None:
        if len(proxy.written()) <= files // 2:
            return None
        refused.add(key)
        return "403"

    proxy.fault = fault
    with pytest.raises(AccessError):
        push_store(store, url, storage_options=proxy.options, in_flight=2)
    done = {key for key in proxy.written() if not key.endswith(MANIFEST)} - refused
    proxy.forget()
    push_store(store, url, storage_options=proxy.options)
    assert len(done) > files // 3 and not done & set(proxy.written())
    assert verify_mouse(open_mouse(url, storage_options=proxy.options).index.place).files == files


@pytest.mark.parametrize("fault", ["503", "drop", "lose"])
def test_every_request_fails_for_a_while(proxy: S3Proxy, store: Path, url: str, fault: str) -> None:
    failed = set[tuple[str, str, int]]()

    def once(method: str, key: str, number: int) -> str | None:
        # The manifest's object is asked for several times, each for another reason.
        this = method, key, len([one for one in proxy.asked if one == (method, key)]) // 2
        return None if this in failed or failed.add(this) else fault

    proxy.fault = once
    pushed = push_store(store, url, storage_options=proxy.options)
    proxy.forget()
    assert len(failed) > pushed.files
    assert verify_mouse(open_mouse(url, storage_options=proxy.options).index.place).files == pushed.files


def test_what_ignores_conditions_is_refused(proxy: S3Proxy, store: Path, url: str) -> None:
    proxy.ignored = CONDITIONS
    with pytest.raises(OptionError, match=r"ignores conditions of writes .* and give race_check=False"):
        push_store(store, url, storage_options=proxy.options)
    assert {key.rpartition("/")[2] for key in proxy.written()} == {MANIFEST}
    with pytest.raises(StoreFormatError, match="not there"):
        open_mouse(url, storage_options=proxy.options)
    push_store(store, url, storage_options=proxy.options, race_check=False)
    assert verify_mouse(open_mouse(url, storage_options=proxy.options).index.place)


@pytest.mark.parametrize("ignored", CONDITIONS)
def test_both_conditions_are_tried(proxy: S3Proxy, store: Path, url: str, ignored: str) -> None:
    proxy.ignored = (ignored,)
    with pytest.raises(OptionError, match="ignores conditions of writes"):
        push_store(store, url, storage_options=proxy.options)


@pytest.mark.parametrize("clean", [False, True])
def test_what_is_of_no_store(store: Path, other: Path, clean: bool) -> None:
    memory = obstore.store.MemoryStore()
    obstore.put(memory, "notes.txt", b"mine")
    obstore.put(memory, "images/c.0.0.0.0", (store / "images/c.0.0.0.0").read_bytes())
    if not clean:
        with pytest.raises(StoreExistsError, match=r"images/c.0.0.0.0: is there already, and is not of this store"):
            push_store(store, memory)
        assert set(objects_in(memory)) == {"notes.txt", "images/c.0.0.0.0"}
        return
    push_store(store, memory, clean=True)
    assert objects_in(memory) == contents(store)
    obstore.put(memory, "notes.txt", b"mine")
    with pytest.raises(CorruptStoreError, match="notes.txt: not part of the store"):
        push_store(store, memory)
    assert push_store(store, memory, clean=True).sent == 0
    assert objects_in(memory) == contents(store)


def test_a_store_that_is_published_while_it_is_opened(proxy: S3Proxy, store: Path, url: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(push._Push, "_publish", lambda *_: None)
        push_store(store, url, storage_options=proxy.options)
    published = threading.Event()

    def fault(method: str, key: str, number: int) -> None:
        if key.endswith(MANIFEST) and not published.is_set():
            published.set()
            push_store(store, url, storage_options=proxy.options)

    proxy.fault = fault
    assert verify_mouse(open_mouse(url, storage_options=proxy.options).index.place) and published.is_set()


@pytest.mark.parametrize("seed", [0, 1])
def test_no_push_publishes_what_was_cleaned(tiny: TinyStores, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim that a push holds is another one after somebody cleaned, be it for an equal store."""
    memory, original, cleaned = obstore.store.MemoryStore(), objects.write, list[bool]()
    first, second = tiny("static"), tiny("static", seed=seed)

    def write(target: Any, name: str, *rest: Any) -> bool:
        if name == layout.METADATA and not cleaned:
            cleaned.append(True)
            push_store(second, memory, clean=True)
        return original(target, name, *rest)

    monkeypatch.setattr(objects, "write", write)
    with pytest.raises((StoreBusyError, StoreExistsError)) if seed else nullcontext():
        push_store(first, memory)
    assert cleaned and objects_in(memory) == contents(second)


def test_an_interrupted_cleaning_is_said(store: Path) -> None:
    memory = obstore.store.MemoryStore()
    obstore.put(memory, MANIFEST, claim(""))
    with pytest.raises(StoreBusyError, match=r"is being cleaned, which is under way or was interrupted; .* clean=True"):
        push_store(store, memory)
    push_store(store, memory, clean=True)
    assert objects_in(memory) == contents(store)


def test_a_damaged_store_is_not_pushed(store: Path, tmp_path: Path) -> None:
    memory, damaged = obstore.store.MemoryStore(), copy_store(store, tmp_path / "mouse.zarr")
    shard = damaged / "images/c.0.0.0.0"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    with pytest.raises(CorruptStoreError, match="images/c.0.0.0.0"):
        push_store(damaged, memory)
    assert objects_in(memory) == {}


def test_what_changes_while_it_is_pushed_is_not_published(store: Path, tmp_path: Path) -> None:
    memory, changed = obstore.store.MemoryStore(), copy_store(store, tmp_path / "mouse.zarr")
    shard, original = changed / "images/c.0.0.0.0", objects.write

    def write(target: Any, name: str, *rest: Any) -> bool:
        if name == MANIFEST:
            shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
        return original(target, name, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "write", write)
        with pytest.raises(CorruptStoreError, match=r"images/c.0.0.0.0: was changed while it was pushed"):
            push_store(changed, memory)
    with pytest.raises(StoreFormatError, match="unfinished"):
        open_mouse(memory)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("s3://lab/stores", r"expected a name that ends in .zarr\); give s3://lab/stores/mouse"),
        ("elsewhere/mouse.zarr", "a folder of this machine, not an address"),
        ("https://example.org/mouse.zarr", "web servers take no stores"),
        ("s3://no-such-bucket/mouse.zarr", r"cannot be read \(404 Not Found\); check address and network"),
        (7, "url: expected a path, an address, or a store of obstore, found 7"),
    ],
)
def test_addresses_that_are_none(proxy: S3Proxy, store: Path, tmp_path: Path, given: Any, text: str) -> None:
    named = copy_store(store, tmp_path / "mouse.zarr")
    with pytest.raises((OptionError, ResourceError), match=text):
        push_store(named, given, storage_options=proxy.options if str(given).startswith("s3") else None)


def test_what_has_no_conditional_writes_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="writes no objects on conditions and with attributes"):
        push_store(store, obstore.store.LocalStore(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_no_message_has_a_secret(proxy: S3Proxy, store: Path, url: str) -> None:
    proxy.fault = lambda method, key, number: "503" if method == "PUT" else None
    with pytest.raises(ResourceError) as raised:
        push_store(store, url, storage_options=proxy.options)
    assert (
        str(raised.value)
        == f"{url}: {MANIFEST}: cannot be written (503 Service Unavailable); check address and network"
    )


# Pulls


@pytest.fixture
def published(store: Path) -> Any:
    memory = obstore.store.MemoryStore()
    push_store(store, memory)
    return memory


def test_a_pull_that_was_interrupted_goes_on(proxy: S3Proxy, store: Path, url: str, tmp_path: Path) -> None:
    push_store(store, url, storage_options=proxy.options)
    proxy.forget()
    size, shards = sum(record.size for record in read_manifest(store).files.values()), count()
    proxy.fault = lambda method, key, number: "403" if "/images/c." in key and next(shards) else None
    with pytest.raises(AccessError):
        pull_store(url, tmp_path, storage_options=proxy.options, in_flight=2)
    stage = Stage(tmp_path / "mouse.zarr")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    assert stage.root.is_dir()
    proxy.forget()
    pulled = pull_store(url, tmp_path, storage_options=proxy.options)
    assert 0 < pulled.received < size
    assert contents(pulled.store) == contents(store)
    assert [path.name for path in tmp_path.iterdir()] == ["mouse.zarr"]


def test_a_pull_replaces_nothing(published: Any, store: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="ends in no name of a store"):
        pull_store(published, tmp_path)
    served = obstore.store.LocalStore(store)
    assert contents(pull_store(served, tmp_path).store) == contents(store)
    with pytest.raises(StoreExistsError, match="exists already"):
        pull_store(served, tmp_path)
    with pytest.raises(OptionError, match="a folder of this machine"):
        pull_store(store, tmp_path)


def test_other_bytes_are_not_published(store: Path, tmp_path: Path) -> None:
    served = copy_store(store, tmp_path / "served" / "mouse.zarr")
    shard = served / "images/c.0.0.0.0"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    with pytest.raises(CorruptStoreError, match="images/c.0.0.0.0: came otherwise .expected SHA-256"):
        pull_store(obstore.store.LocalStore(served), tmp_path / "pulled")
    assert not (tmp_path / "pulled" / "mouse.zarr").exists()
    shutil.copyfile(store / "images/c.0.0.0.0", shard)
    assert contents(pull_store(obstore.store.LocalStore(served), tmp_path / "pulled").store) == contents(store)


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "images/../../escaped"])
def test_no_name_leads_out_of_the_folder(
    store: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a manifest lists, and even if the service had it."""
    served, manifest = copy_store(store, tmp_path / "served" / "mouse.zarr"), read_manifest(store)
    record = manifest.files["images/c.0.0.0.0"]
    changed = Manifest(manifest.store_id, {**manifest.files, name: record}, manifest.values)
    (served / MANIFEST).write_bytes(changed.to_bytes())
    monkeypatch.setattr("trialpack.store.integrity.check_names_and_sizes", lambda place, manifest: [])
    with pytest.raises(CorruptStoreError, match="no name of a file of a store"):
        pull_store(obstore.store.LocalStore(served), tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists() and not (tmp_path / "escaped").exists()


# Commands


def in_environment(proxy: S3Proxy) -> dict[str, str]:
    return {
        **{"AWS_ENDPOINT_URL": proxy.options["endpoint"], "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "known"},
        **{"AWS_SECRET_ACCESS_KEY": "hush"},
    }


def test_commands(proxy: S3Proxy, store: Path, other: Path, url: str, tmp_path: Path) -> None:
    command: Callable[..., Any] = lambda *arguments: run(*arguments, env=in_environment(proxy))  # noqa: E731
    done = command("push", store, url)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"{url}: \d+ files, .* published in .* s \(.*/s\)\nNext: trialpack info {url}\n", done.stdout)
    again = json.loads(command("push", store, url, "--json").stdout)
    assert (again["address"], again["bytes_sent"]) == (url, 0)
    assert "published already" in command("push", store, url, "--no-race-check", "--clean").stdout
    refused = command("push", other, url)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert re.fullmatch(
        rf"trialpack: {url}: another store is there already, .*; choose another address\n", refused.stderr
    )
    pulled = command("pull", url, "--to", tmp_path)
    assert (pulled.returncode, pulled.stderr) == (0, "")
    assert pulled.stdout.startswith(f"{tmp_path / 'mouse.zarr'}: ") and "verified" in pulled.stdout
    assert contents(tmp_path / "mouse.zarr") == contents(store)
    taken = command("pull", url, "--to", tmp_path, "--json")
    assert taken.returncode == 1
    assert json.loads(taken.stdout)["problems"][0].endswith("exists already; move it away, or choose another folder")


def test_commands_in_processes_of_their_own(proxy: S3Proxy, store: Path, url: str, tmp_path: Path) -> None:
    for command in (["push", store, url], ["pull", url, "--to", tmp_path]):
        env = {**os.environ, **in_environment(proxy)}
        done = subprocess.run([TRIALPACK, *map(str, command)], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "") and "Next: trialpack info" in done.stdout
    assert contents(tmp_path / "mouse.zarr") == contents(store)


def test_convert_pushes_what_it_makes(proxy: S3Proxy, url: str, static_folder: Path, tmp_path: Path) -> None:
    prefix, stores = url.removesuffix("/mouse.zarr"), tmp_path / "stores"
    command = ["convert", static_folder, "--to", stores, "--no-statistics", "--push", prefix]
    proxy.fault = lambda method, key, number: "403" if key.endswith("images/c.0.0.0.0") and method == "PUT" else None
    failed = run(*command, env=in_environment(proxy))
    (store,) = stores.iterdir()
    assert failed.returncode == 1 and f"trialpack: {prefix}/{store.name}: images/c.0.0.0.0: access is" in failed.stderr
    proxy.forget()
    done = json.loads(run(*command, "--skip-existing", "--json", env=in_environment(proxy)).stdout)
    assert [one["address"] for one in done["pushed"]] == [f"{prefix}/{store.name}"]
    assert (done["mice"], done["skipped"], done["problems"]) == ([], [str(store)], [])
    assert open_mouse(f"{prefix}/{store.name}", storage_options=proxy.options).kind == "static"
    again = run(*command, "--skip-existing", env=in_environment(proxy))
    assert again.stdout.endswith(", published already\n")


def test_convert_pushes_to_addresses(static_folder: Path, tmp_path: Path) -> None:
    refused = run("convert", static_folder, "--to", tmp_path / "stores", "--push", tmp_path / "elsewhere")
    assert refused.returncode == 2 and "--push: expected an address" in refused.stderr
    assert not (tmp_path / "stores").exists()


def test_help_says_what_publishing_is() -> None:
    for command in ("push", "convert"):
        assert "publishing a converted recording publishes the recording." in " ".join(
            run(command, "--help").stdout.lower().split()
        )


# Sources


@pytest.fixture
def raw(sample_mice: dict[str, Path], tmp_path: Path) -> Iterator[ObjectServer]:
    """Serves the zip of a mouse."""
    (tmp_path / "raw").mkdir()
    shutil.copy(sample_mice["static_zip"], tmp_path / "raw" / "mouse.zip")
    with ObjectServer(tmp_path / "raw") as server:
        yield server


@pytest.mark.parametrize("scheme", ["s3", "https"])
def test_a_zip_is_converted_where_it_is(raw: ObjectServer, scheme: str, tmp_path: Path) -> None:
    """By ranges, one for each read of a member, to the same store as a copy of it."""
    zipped, options = raw.folder / "mouse.zip", raw.options if scheme == "s3" else None
    url = "s3://mice/mouse.zip" if scheme == "s3" else f"{raw.endpoint}/mice/mouse.zip"
    source = open_source(url, options)
    assert source.label == url
    for one, to in ((source, tmp_path / "far"), (zipped, tmp_path / "near")):
        convert_mouse(one, to, workers=1, statistics=False)
    asked = raw.gets()
    assert all(key == "mouse.zip" and part for key, part in asked)
    (far,), (near,) = (list((tmp_path / name).iterdir()) for name in ("far", "near"))
    assert contents(far) == contents(near)
    with zipfile.ZipFile(zipped) as archive:
        members = len([name for name in archive.namelist() if not name.endswith("/")])
    # To look at them, to choose codecs and to convert them.
    assert len(asked) < 3 * members
    assert verify_mouse(far, open_source(url, options)).source == url


def test_a_zip_that_cannot_be_read_where_it_is(raw: ObjectServer, tmp_path: Path) -> None:
    def refused(fault: str) -> str:
        source = open_source("s3://mice/mouse.zip", raw.options)
        source.survey()
        raw.fault = lambda key, number: fault
        with pytest.raises((SourceError, ResourceError)) as raised:
            convert_mouse(source, tmp_path / "stores", workers=1, statistics=False)
        raw.fault = lambda key, number: None
        assert not list((tmp_path / "stores").glob("*.zarr"))
        return str(raised.value).splitlines()[0]

    assert "cannot be read in parts (the server sends the whole file" in refused("whole")
    assert "damaged in the zip" in refused("flip")
    assert "access is refused" in refused("403")
    assert "cannot be read (503 Service Unavailable); check address and network" in refused("503")
    source = open_source("s3://mice/mouse.zip", raw.options)
    source.survey()
    zipped = raw.folder / "mouse.zip"
    zipped.write_bytes(zipped.read_bytes())
    with pytest.raises(SourceError, match="the zip was replaced while it was read"):
        convert_mouse(source, tmp_path / "stores", workers=1, statistics=False)


def test_addresses_without_a_zip(raw: ObjectServer, tmp_path: Path) -> None:
    (raw.folder / "text.zip").write_bytes(b"no zip")
    for name, text in [
        ("nothing.zip", "no such object; check the address"),
        ("text.zip", "not a readable zip"),
        ("mouse.tar", r"not a zip, and no other mice are read where they are .*; download it"),
    ]:
        with pytest.raises(SourceError, match=rf"s3://mice/{name}: {text}"):
            open_source(f"s3://mice/{name}", raw.options).survey()


def test_the_command_converts_an_address(raw: ObjectServer, tmp_path: Path) -> None:
    where = {"AWS_ENDPOINT_URL": raw.endpoint, "AWS_REGION": "us-east-1"}
    where |= {"AWS_ACCESS_KEY_ID": "known", "AWS_SECRET_ACCESS_KEY": "hush"}
    command = ["convert", "s3://mice/mouse.zip", "--to", tmp_path / "stores", "--no-statistics"]
    assert run(*command, "--dry-run", env=where).returncode == 0 and not (tmp_path / "stores").exists()
    done = run(*command, env=where)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    (store,) = (tmp_path / "stores").iterdir()
    verified = run("verify", store, "--source", "s3://mice/mouse.zip", env=where)
    assert "equal to s3://mice/mouse.zip, bit for bit" in verified.stdout

"""Stores in object stores: equal to those on disk, of one version, and without a secret anywhere."""

import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dask.base import tokenize
from trialpack.convert import export_mouse, verify_mouse
from trialpack.readers import Mouse, TrialLoader, open_mice, open_mouse, train_statistics
from trialpack.readers.opening import summarize
from trialpack.store import AccessError, CorruptStoreError, OptionError, ResourceError, StoreFormatError, objects
from trialpack.store.ahead import joined
from trialpack.store.objects import Pin

from .command_line import run
from .mice import assert_same_bits
from .object_server import ObjectServer
from .streams import pack

obstore = pytest.importorskip("obstore", reason="obstore is not installed")

SECRET = "hush"


@pytest.fixture(scope="module")
def made(sample_mice: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("stores")
    kinds = {"dynamic": "shared chunks", "static": "small shards"}
    return {
        kind: Path(pack(sample_mice[f"{kind}_folder"], place, cut, statistics=True).path) for kind, cut in kinds.items()
    }


@pytest.fixture
def server(made: dict[str, Path], tmp_path: Path) -> Iterator[ObjectServer]:
    """Serves copies of the stores, which tests may break."""
    for store in made.values():
        shutil.copytree(store, tmp_path / "served" / store.name, copy_function=_writable_copy)
    with ObjectServer(tmp_path / "served") as server:
        yield server


def _writable_copy(source: str, target: str) -> None:
    shutil.copyfile(source, target)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_FIRST_PAUSE", 0.001)


Reach = Callable[[ObjectServer, str], Mouse]


def by_s3(server: ObjectServer, name: str) -> Mouse:
    return open_mouse(f"s3://mice/{name}", storage_options=server.options)


def by_http(server: ObjectServer, name: str) -> Mouse:
    return open_mouse(f"{server.endpoint}/mice/{name}/")


def by_store(server: ObjectServer, name: str) -> Mouse:
    options = {**server.options, "client_options": {"allow_http": True}}
    return open_mouse(obstore.store.S3Store("mice", prefix=name, **options))


def by_local_store(server: ObjectServer, name: str) -> Mouse:
    return open_mouse(obstore.store.LocalStore(server.folder / name))


REACHES = {function.__name__: function for function in (by_s3, by_http, by_store, by_local_store)}


@pytest.fixture(params=REACHES)
def reach(request: pytest.FixtureRequest) -> Reach:
    return REACHES[request.param]


@pytest.fixture
def mouse(server: ObjectServer, made: dict[str, Path]) -> Mouse:
    return by_s3(server, made["dynamic"].name)


def batches(mouse: Mouse, **options: Any) -> list[dict[str, Any]]:
    chosen = {"tier": None, "batch_size": 4, "output": "numpy", "withheld": "zeros", "threads": 2} | options
    return [{name: np.array(values) for name, values in batch.items()} for batch in TrialLoader(mouse, **chosen)]


def assert_equal_batches(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in other:
            assert_same_bits(one[name], other[name], name)


# All that reads


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_everything_reads_what_is_on_disk(kind: str, reach: Reach, server: ObjectServer, made: dict[str, Path]) -> None:
    local, remote = open_mouse(made[kind]), reach(server, made[kind].name)
    assert repr(remote) == repr(local)
    assert remote.trials.equals(local.trials) and remote.neurons.equals(local.neurons)
    for name in local.variables:
        assert_same_bits(remote.array(name), local.array(name))
        assert_same_bits(remote.dask(name).compute(), local.dask(name).compute())
        assert_same_bits(remote[name][2:5], local[name][2:5])
    for trial in local.trials.index[[0, -1]]:
        for name, values in local.trial(trial).items():
            assert_same_bits(remote.trial(trial)[name], values)
    expected = train_statistics(local)
    for name, by_reduction in train_statistics(remote).items():
        for reduction, summary in by_reduction.items():
            assert_same_bits(summary.median, expected[name][reduction].median)
            assert_same_bits(remote.statistics[name][reduction].std, local.statistics[name][reduction].std)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize("options", [{}, {"cache": "none"}, {"shuffle": True, "batch_size": 3}], ids=str)
def test_batches_are_equal(kind: str, options: Any, server: ObjectServer, made: dict[str, Path]) -> None:
    windows = {"window": 80} if kind == "dynamic" and options else {}
    local, remote = open_mouse(made[kind]), by_s3(server, made[kind].name)
    assert_equal_batches(batches(remote, **options, **windows), batches(local, **options, **windows))


def test_parts_of_uncompressed_chunks(sample_mice: dict[str, Path], tmp_path: Path) -> None:
    """Windows that begin, or end, where a chunk does."""
    local = pack(sample_mice["dynamic_folder"], tmp_path, "odd chunks", codec="none", precision="float32")
    far = open_mouse(obstore.store.LocalStore(Path(local.path)))
    for options in ({"window": 24, "hop": 7, "cache": "none"}, {"window": 10, "cache": "none"}):
        assert_equal_batches(batches(far, **options), batches(local, **options))


def test_stores_are_verified_and_exported(server: ObjectServer, made: dict[str, Path], tmp_path: Path) -> None:
    def place(kind: str) -> Any:
        options = {**server.options, "client_options": {"allow_http": True}}
        return obstore.store.S3Store("mice", prefix=made[kind].name, **options)

    for kind, store in made.items():
        found, expected = verify_mouse(place(kind)), verify_mouse(store)
        assert (found.files, found.nbytes, str(found.store)) == (
            expected.files,
            expected.nbytes,
            f"s3://mice/{store.name}",
        )
        exported = [export_mouse(one, tmp_path / name).path for name, one in (("far", place(kind)), ("near", store))]
        assert_equal_files(*exported)
        assert verify_mouse(place(kind), exported[1]).source == str(exported[1])
    described = [summarize(one) | {"store": ""} for one in (place("static"), made["static"])]
    assert described[0] == described[1]


def assert_equal_files(one: Path, other: Path) -> None:
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    assert all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_all_stores_below_an_address(server: ObjectServer, made: dict[str, Path]) -> None:
    found = open_mice("s3://mice", storage_options=server.options)
    assert [str(mouse.path) for mouse in found] == sorted(f"s3://mice/{store.name}" for store in made.values())
    (alone,) = open_mice(f"s3://mice/{made['static'].name}/", storage_options=server.options)
    assert alone.kind == "static"
    with pytest.raises(OptionError, match="no stores"):
        open_mice(f"s3://mice/{made['static'].name}/trials", storage_options=server.options)
    with pytest.raises(OptionError, match="give the address of each"):
        open_mice(f"{server.endpoint}/mice")
    bucket = obstore.store.S3Store("mice", **server.options, client_options={"allow_http": True})
    assert [mouse.path for mouse in open_mice(bucket)] == [mouse.path for mouse in found]
    assert len(batches(found, window=None, mixing="sequential", mixed_kinds=True)) > 2  # type: ignore[arg-type]


@pytest.fixture
def environment(server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "known")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.mark.usefixtures("environment")
def test_commands_take_addresses(made: dict[str, Path], tmp_path: Path) -> None:
    address = f"s3://mice/{made['static'].name}"
    for command in (["info"], ["verify"], ["stats"], ["verify", "--quick"]):
        done = run(*command, address)
        assert (done.returncode, done.stderr) == (0, "")
    done = run("export", address, "--to", str(tmp_path / "out"), "--as", "npy")
    assert (done.returncode, done.stderr) == (0, "")
    done = run("show", address, "-o", str(tmp_path / "trial.png"))
    assert (done.returncode, done.stderr) == (0, "") and (tmp_path / "trial.png").exists()
    done = run("info", "s3://mice/absent.zarr")
    assert done.returncode == 1
    assert done.stderr.startswith("trialpack: s3://mice/absent.zarr: no manifest.json") and done.stderr.count("\n") == 1


# Requests


def test_opening_asks_at_once(server: ObjectServer, made: dict[str, Path]) -> None:
    server.delay = 0.05
    mouse = by_s3(server, made["dynamic"].name)
    assert server.most > 30
    lists = [one for one in server.asked if not one[1]]
    assert len(lists) == 1
    metadata = [name for name in mouse.index.manifest.files if name.endswith("zarr.json")]
    # One list, two files that no list has, all metadata, and what has to be known of each trial.
    assert len(server.asked) == 3 + len(metadata) + 4


def test_a_sample_is_one_request_of_each_variable(server: ObjectServer, made: dict[str, Path]) -> None:
    mouse = by_s3(server, made["dynamic"].name)
    loader = TrialLoader(
        mouse, tier=None, batch_size=1, output="numpy", cache="none", variables=["videos", "responses"]
    )
    server.asked.clear()
    n = len(list(loader))
    assert loader.stats.requests.made == len(server.gets()) <= 2 * n


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_little_is_read_twice(kind: str, server: ObjectServer, made: dict[str, Path]) -> None:
    mouse = by_s3(server, made[kind].name)
    loader = TrialLoader(mouse, tier=None, batch_size=2, output="numpy", shuffle=True, withheld="zeros")
    server.asked.clear()
    assert list(loader)
    read = dict[str, np.ndarray[Any, Any]]()
    for key, part in server.gets():
        first, last = map(int, part.removeprefix("bytes=").split("-"))
        name = key.partition("/")[2]
        read.setdefault(name, np.zeros(mouse.index.manifest.files[name].size, np.int32))[first : last + 1] += 1
    once = sum(int((one > 0).sum()) for one in read.values())
    assert sum(int(one.sum()) for one in read.values()) == loader.stats.requests.nbytes <= 1.05 * once
    list(loader)
    assert loader.stats.requests.made == 0  # all is in memory by now


def test_no_more_requests_than_said(server: ObjectServer, made: dict[str, Path]) -> None:
    server.delay = 0.01
    mouse = by_s3(server, made["dynamic"].name)
    loader = TrialLoader(mouse, tier=None, batch_size=2, output="numpy", cache="none", in_flight=3)
    server.most = 0
    assert list(loader) and server.most == 3
    assert loader.stats.bottleneck == "store" and "waiting for the store" in str(loader.stats)


def test_bytes_on_their_way_count_as_memory(server: ObjectServer, made: dict[str, Path]) -> None:
    options: Any = {"tier": None, "batch_size": 4, "output": "numpy", "cache": "none", "threads": 1}
    needs = []
    for mouse in (open_mouse(made["dynamic"]), by_s3(server, made["dynamic"].name)):
        with pytest.raises(OptionError, match="does not suffice") as raised:
            TrialLoader(mouse, memory=1, **options)
        needs.append(int(re.search(r"take ([\d,]+)", str(raised.value))[1].replace(",", "")))  # type: ignore[index]
    array = open_mouse(made["dynamic"]).index.recorded
    assert needs[1] - needs[0] >= 4 * sum(one.trial_nbytes for one in array) // 2


def test_ranges_are_joined_where_that_costs_little() -> None:
    assert joined([("a", 0, 100), ("a", 104, 100), ("a", 300, 100)]) == [
        [("a", 0, 100), ("a", 104, 100)],
        [("a", 300, 100)],
    ]
    large = 3 << 20
    assert len(joined([("a", 0, large), ("a", large, large)])) == 2


def test_leaving_early_leaves_no_thread(server: ObjectServer, mouse: Mouse) -> None:
    server.delay = 0.02
    before = {thread for thread in threading.enumerate() if "process_request" not in thread.name}
    loader = TrialLoader(mouse, tier=None, batch_size=1, output="numpy", cache="none")
    for _ in loader:
        break
    after = {thread for thread in threading.enumerate() if "process_request" not in thread.name}
    assert after <= before


# What goes wrong


def once(kind: str, among: str = "") -> Callable[[str, int], str | None]:
    """Return a fault of the first request for each range of objects with such a name."""
    seen = set[tuple[str, int]]()

    def fault(key: str, number: int) -> str | None:
        if among not in key or key in seen:
            return None
        seen.add(key)  # type: ignore[arg-type]
        return kind

    return fault


@pytest.mark.parametrize("kind", ["503", "500", "cut", "short"])
def test_what_passes_is_asked_for_again_and_counted(
    kind: str, server: ObjectServer, mouse: Mouse, made: dict[str, Path]
) -> None:
    server.fault = once(kind, "/c.")
    loader = TrialLoader(mouse, tier=None, batch_size=2, output="numpy", cache="none")
    server.fault = once(kind, "/c.")
    found = [{name: np.array(values) for name, values in batch.items()} for batch in loader]
    assert_equal_batches(found, batches(open_mouse(made["dynamic"]), batch_size=2))
    assert loader.stats.requests.again > 0 and "made again" in str(loader.stats)


@pytest.mark.parametrize("kind", ["flip", "swap", "zeros", "whole", "short"])
def test_wrong_bodies_are_named_with_the_trial(kind: str, server: ObjectServer, mouse: Mouse) -> None:
    loader = TrialLoader(mouse, tier=None, batch_size=2, output="numpy", cache="none")
    server.fault = lambda key, number: kind if "responses/c." in key else None
    with pytest.raises(CorruptStoreError, match=r"^s3://mice/.*zarr: responses/c[.0-9]+: trial \d+: ") as raised:
        list(loader)
    assert raised.value.trial is not None
    with pytest.raises(CorruptStoreError, match="responses/c"):
        mouse.trial(int(mouse.trials.index[0]))


@pytest.mark.parametrize("kind", ["403", "expired"])
def test_refused_access_is_said_at_once(kind: str, server: ObjectServer, mouse: Mouse, made: dict[str, Path]) -> None:
    trial = int(mouse.trials.index[0])
    server.fault = lambda key, number: kind
    server.asked.clear()
    with pytest.raises(AccessError, match="access is refused") as raised:
        mouse.trial(trial)
    assert len(server.asked) == 1 and "known" not in str(raised.value)
    with pytest.raises(AccessError, match="access is refused"):
        by_s3(server, made["dynamic"].name)


def test_a_server_that_is_gone(made: dict[str, Path], tmp_path: Path) -> None:
    with ObjectServer(tmp_path) as server:
        options = server.options
    with pytest.raises(ResourceError, match=r"s3://mice/x\.zarr: cannot be read \(no connection\)") as raised:
        open_mouse("s3://mice/x.zarr", storage_options=options)
    assert not isinstance(raised.value, AccessError) and "\n" not in str(raised.value)


@pytest.mark.parametrize("reach", [by_s3, by_http])
def test_what_is_missing_is_damage(reach: Reach, server: ObjectServer, made: dict[str, Path]) -> None:
    mouse = reach(server, made["dynamic"].name)
    gone = server.folder / made["dynamic"].name / "responses" / "c.0.0.0"
    gone.unlink()
    for read in READS.values():
        with pytest.raises(CorruptStoreError, match=r"responses/c\.0\.0\.0"):
            read(mouse)
    with pytest.raises(CorruptStoreError, match=r"responses/c\.0\.0\.0: missing or of another size"):
        reach(server, made["dynamic"].name)


def test_what_is_not_in_the_manifest_is_damage(server: ObjectServer, made: dict[str, Path]) -> None:
    (server.folder / made["dynamic"].name / "trials" / "more").write_bytes(b"x")
    with pytest.raises(CorruptStoreError, match="trials/more: not part of the store"):
        by_s3(server, made["dynamic"].name)


def test_no_store(server: ObjectServer, made: dict[str, Path]) -> None:
    for reach in (by_s3, by_http):
        with pytest.raises(StoreFormatError, match="no manifest"):
            reach(server, "absent.zarr")


def _stream(mouse: Mouse) -> object:
    return batches(mouse, cache="none", variables=["responses"])


READS: dict[str, Callable[[Mouse], object]] = {
    "loader": _stream,
    "trial": lambda mouse: mouse.trial(int(mouse.trials.index[0])),
    "array": lambda mouse: mouse.array("responses"),
    "dask": lambda mouse: mouse.dask("responses").compute(),
    "zarr": lambda mouse: mouse["responses"][...],
    "statistics": lambda mouse: train_statistics(mouse, variables=["responses"]),
}


@pytest.mark.parametrize("reach", [by_s3, by_store])
@pytest.mark.parametrize("name", READS)
def test_a_replaced_store_is_an_error(name: str, reach: Reach, server: ObjectServer, made: dict[str, Path]) -> None:
    mouse = pickle.loads(pickle.dumps(reach(server, made["dynamic"].name)))
    for path in (server.folder / made["dynamic"].name / "responses").glob("c.*"):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    with pytest.raises(CorruptStoreError, match="replaced since it was opened"):
        READS[name](mouse)


def test_a_server_without_conditions_mixes_nothing(server: ObjectServer, mouse: Mouse) -> None:
    """What comes says which version it is of, also where conditions of requests are not heard."""
    old = Pin(3, '"a"')
    meta = {"size": 3, "e_tag": '"b"', "last_modified": None}
    assert (
        not old.fits(meta) and old.fits({**meta, "e_tag": '"a"'}) and not old.fits({**meta, "e_tag": None, "size": 4})
    )
    assert Pin(3, 'W/"a"').options == {} and Pin(3, "a").options == {"if_match": '"a"'}


# Secrets


def test_secrets_are_nowhere(
    server: ObjectServer, mouse: Mouse, made: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = {"session_token": "whisper", "client_options": {"default_headers": {"x-key": "murmur"}}}
    mouse = open_mouse(mouse.index.root, storage_options={**server.options, **token})
    lazy = mouse.dask("responses")
    loader = TrialLoader(mouse, tier=None, batch_size=2, output="numpy")
    shown = [repr(mouse), repr(mouse.index), repr(mouse.index.place), repr(vars(mouse.index.place)), str(mouse.path)]
    shown += [
        repr(loader),
        repr(loader.state_dict()),
        tokenize(lazy),
        repr(lazy.dask),
        repr(summarize(mouse.index.place)),
    ]
    server.fault = lambda key, number: "403"
    for read in READS.values():
        with pytest.raises(AccessError) as raised:
            read(mouse)
        shown += [str(raised.value), repr(raised.value)]
    pickled = [pickle.dumps(one) for one in (mouse, mouse.index, mouse.recording, raised.value)]
    pickled.append(__import__("cloudpickle").dumps(dict(lazy.dask)))
    for secret in (SECRET, "whisper", "murmur", "known"):
        assert not any(secret in text for text in [*shown, caplog.text])
        assert not any(secret.encode() in data for data in pickled)


def test_a_pickle_keeps_what_is_not_secret(server: ObjectServer, mouse: Mouse, environment: None) -> None:
    code = (
        "import pickle, sys; mouse = pickle.load(sys.stdin.buffer); print(mouse.trial(int(mouse.trials.index[0])).tier)"
    )
    env = {name: value for name, value in os.environ.items() if name not in ("AWS_ENDPOINT_URL", "AWS_REGION")}
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(mouse), capture_output=True, env=env, check=False
    )
    assert done.stdout.decode().strip() == mouse.recording.tiers[0], done.stderr.decode()


@pytest.mark.parametrize(
    "address", ["s3://user:hush@mice/x.zarr", "https://host/x.zarr?X-Amz-Signature=hush", "az://mice/x.zarr?sig=hush"]
)
def test_addresses_with_secrets_are_refused(address: str) -> None:
    with pytest.raises(OptionError, match="which would be shown; give what is secret as storage_options") as raised:
        open_mouse(address)
    assert "hush" not in str(raised.value)


def test_options_are_checked(made: dict[str, Path]) -> None:
    with pytest.raises(OptionError, match="storage_options are for addresses"):
        open_mouse(made["static"], storage_options={"region": "x"})
    with pytest.raises(OptionError, match="storage_options: expected a mapping"):
        open_mouse("s3://mice/x.zarr", storage_options="x")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="s3://mice/x.zarr: storage_options: no 'rogion'") as raised:
        open_mouse("s3://mice/x.zarr", storage_options={"rogion": "hush"})
    assert "hush" not in str(raised.value)
    with pytest.raises(OptionError, match="ftp://mice/x.zarr: an address, not a path on this machine"):
        open_mouse("ftp://mice/x.zarr")
    with pytest.raises(OptionError, match="in_flight: expected a whole number of at least 1, found 0"):
        TrialLoader(open_mouse(made["static"]), tier=None, batch_size=1, in_flight=0)


def test_keys_of_a_profile(
    server: ObjectServer, made: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = a\naws_secret_access_key = hush\n")
    (tmp_path / "config").write_text("[profile lab]\nregion = eu-west-1\n")
    for name, value in {"SHARED_CREDENTIALS_FILE": "credentials", "CONFIG_FILE": "config"}.items():
        monkeypatch.setenv(f"AWS_{name}", str(tmp_path / value))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert objects._profile() == {"access_key_id": "a", "secret_access_key": "hush", "region": "eu-west-1"}
    assert by_s3(server, made["static"].name).kind == "static"


# Processes


def test_a_fork_of_a_process_that_has_read_says_so(mouse: Mouse) -> None:
    number = os.fork()
    if not number:
        try:
            mouse.trial(int(mouse.trials.index[0]))
        except ResourceError as error:
            os._exit(7 if "forked after its parent" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 7


def test_a_fork_before_the_first_use_reads(server: ObjectServer, made: dict[str, Path]) -> None:
    code = f"""
import os, sys
from trialpack import open_mouse
number = os.fork()
mouse = open_mouse("s3://mice/{made["static"].name}", storage_options={server.options!r})
assert mouse.kind == "static"
if number:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_obstore_one_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(OptionError, match="needs the package obstore; pip install obstore"):
        open_mouse("s3://not-asked-for-before/x.zarr")


# A real implementation of S3


@pytest.fixture(scope="module")
def moto() -> Iterator[dict[str, Any]]:
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer(
        "127.0.0.1", 0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    yield {
        **{"endpoint": f"http://{host}:{port}", "region": "us-east-1"},
        **{"access_key_id": "known", "secret_access_key": SECRET},
    }
    server.stop()


def test_s3_of_others(moto: dict[str, Any], made: dict[str, Path]) -> None:
    import urllib.request

    urllib.request.urlopen(urllib.request.Request(f"{moto['endpoint']}/lab", method="PUT")).close()
    bucket = obstore.store.S3Store("lab", **moto, client_options={"allow_http": True})
    store = made["static"]
    for path in store.rglob("*"):
        if path.is_file():
            obstore.put(bucket, f"data/{path.relative_to(store.parent)}", path.read_bytes())
    (mouse,) = open_mice("s3://lab/data/", storage_options=moto)
    assert_equal_batches(batches(mouse, batch_size=2), batches(open_mouse(store), batch_size=2))
    shard = f"data/{store.name}/images/c.0.0.0.0"
    data = bytes(obstore.get(bucket, shard).bytes())
    obstore.put(bucket, shard, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CorruptStoreError, match="images/c.0.0.0.0: the store was replaced since it was opened"):
        batches(mouse, batch_size=2)

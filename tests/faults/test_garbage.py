"""Bytes that nobody wrote on purpose: whatever they stand for is read, or refused with an error of trialpack."""

import contextlib
import copy
import hashlib
import json
import random
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from trialpack.convert import compare_with_source, convert_mouse, npy, open_source
from trialpack.convert.npy import NpyError
from trialpack.convert.sample import write_sample
from trialpack.readers import TrialLoader, open_mouse
from trialpack.store import TrialpackError, check_full, layout
from trialpack.store.errors import one_a_cause
from trialpack.store.manifest import UNLISTED, read_manifest
from trialpack.store.metadata import to_json
from trialpack.store.publish import Stage

from ..mice import listing, open_store, write_npy, zip_mouse
from .conversions import Digests, Faults, digests, interrupt
from .damages import copy_store, pack_tiny, reseal, tiny_source
from .promises import Tally

Size = Callable[[int, int], int]
Json = dict[str, Any] | list[Any]

pytestmark = pytest.mark.filterwarnings("ignore")
parts = pytest.mark.parametrize("part", range(4))
"""Each with other examples, and so that several workers share a long run."""
GROWTH = 64_000_000
PEAK = Path("/proc/self/clear_refs")


def is_read(read: Callable[[], object]) -> bool:
    """Return whether something was read; it may be refused by trialpack in lines that print, or not at all."""
    try:
        read()
    except TrialpackError as error:
        lines = str(error).split("\n")
        assert len(lines) == len(one_a_cause(error.problems)) and all(line.isprintable() for line in lines), lines
        return False
    return True


@contextlib.contextmanager
def little_growth() -> Iterator[None]:
    """Check that the process never needs much more memory than before, where the system tells."""
    if not PEAK.exists():
        yield
        return
    before = resident("VmRSS")
    PEAK.write_text("5")  # the peak is that from now on
    yield
    grown = resident("VmHWM") - before
    assert grown < GROWTH, f"memory grew by {grown} bytes"


def resident(name: str) -> int:
    found = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mouse of some kilobytes."""
    return tiny_source(tmp_path_factory.mktemp("source"), "static")


@pytest.fixture(scope="module")
def intact(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its store, with statistics, which was used once: what that imports takes memory, too, and so do examples."""
    store = pack_tiny(source, "static", tmp_path_factory.mktemp("stores"), statistics=True)
    use(store, source)
    settings(max_examples=20)(given(npy_files(), any_json())(lambda file, document: None))()
    return store


@pytest.fixture(autouse=True)
def little_memory(intact: Path) -> Iterator[None]:
    with little_growth():
        yield


@pytest.fixture
def store(intact: Path, tmp_path: Path) -> Path:
    return copy_store(intact, tmp_path / "store.zarr")


def use(store: Path, source: Path) -> None:
    """Do all that can be done with a store."""
    mouse = open_mouse(store)
    assert len(mouse.trials) and len(mouse.neurons) and repr(mouse) and mouse._repr_html_()
    for trial in mouse.recording.trial_ids[:2]:
        mouse.trial(trial)
    for name in mouse:
        if mouse.index.arrays[name].shard is None:
            mouse.index.small(name)
    mouse.to_xarray().isel(trial=0).compute()
    if "statistics/train/trial_id" in mouse:
        assert mouse.statistics
    for _ in TrialLoader(mouse, tier=None, batch_size=2, threads=1, output="numpy"):
        break
    check_full(store, workers=1)
    compare_with_source(store, source, workers=1)


# --- Arrays ----------------------------------------------------------------------------------------------------------

# Headers that come near to what numpy writes, so that more than the first check is reached.
DESCRS = st.one_of(
    st.sampled_from(["<f4", ">f8", "|u1", "<U3", "|S2", "<M8[ns]", "m8", "<c8"]),
    st.sampled_from(["O", "T", "V0", "U0", "f4,f4", "(2,)f4"]),
    st.text(max_size=12),
    st.from_regex(r"[<>|=]?[a-zA-Z?][0-9]{0,12}(\[[a-z0-9/]{0,6}\])?", fullmatch=True),
)
SIZES = st.one_of(st.integers(0, 5), st.integers(), st.sampled_from([2**31, 2**62, 2**63, 2**64, 10**30, 10**4000]))
SHAPES = st.one_of(st.lists(SIZES, max_size=4), st.lists(st.integers(0, 1), max_size=70)).map(tuple)
HEADERS = st.one_of(
    st.binary(max_size=200),
    st.builds("{{'descr': {!r}, 'fortran_order': {!r}, 'shape': {!r}, }}".format, DESCRS, st.booleans(), SHAPES).map(
        lambda text: text.encode("latin1", "replace")
    ),
)
KNOWN_TO_BE_HARD = [
    (f"(0, {10**30})", b""),
    (f"(0, {2**62}, {2**62})", b""),
    (f"({'1,' * 65})", b"\0" * 4),
    (f"(0x{'f' * 5000},)", b""),
    ("(-1, 0)", b""),
    ("()", b"\0" * 4),
    (f"({10 * 2**40},)", b"\0" * 4),
]


@st.composite
def npy_files(draw: st.DrawFn) -> bytes:
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    return npy_file(draw(HEADERS), draw(st.binary(max_size=24)), draw(st.sampled_from([1, 1, 1, 2, 3, 9])))


def npy_file(header: bytes, values: bytes, version: int = 1) -> bytes:
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + values


def assert_array_or_refused(data: bytes) -> None:
    try:
        array = npy.as_array(memoryview(data), npy.read_header(memoryview(data)))
    except NpyError as error:
        assert "\n" not in error.what and error.what.isprintable()
    else:
        assert array.nbytes <= len(data)
        assert not array.dtype.hasobject


@pytest.mark.promise(8)
@parts
def test_any_bytes_as_an_array(part: int, tally: Tally, size: Size) -> None:
    @seed(part)
    @settings(max_examples=size(60, 2500))
    @given(npy_files())
    def check(data: bytes) -> None:
        tally.inject()
        assert_array_or_refused(data)
        tally.survive()

    check()


@pytest.mark.promise(8)
def test_arrays_known_to_be_hard(tally: Tally) -> None:
    for shape, values in KNOWN_TO_BE_HARD:
        tally.inject()
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"
        assert_array_or_refused(npy_file(header.encode(), values))
        tally.survive()


@pytest.mark.promise(8)
@parts
def test_any_array_as_a_file_of_a_mouse(part: int, source: Path, tmp_path: Path, tally: Tally, size: Size) -> None:
    """Files of a right header whose dtype, shape, order and values are anything: refused, or packed and read."""
    mouse = shutil.copytree(source, tmp_path / "source" / source.name)
    names = [path.relative_to(mouse) for path in mouse.rglob("*.npy")]
    names += [Path("meta/trials/more.npy"), Path("meta/neurons/more.npy"), Path("meta/more/more.npy")]
    packed = 0
    for number in range(size(20, 600)):
        rng = random.Random(f"{part} {number}")
        path = mouse / rng.choice(names)
        before = path.read_bytes() if path.exists() else None
        tally.inject()
        path.parent.mkdir(exist_ok=True)
        write_any_array(path, before, rng)
        stores = tmp_path / f"stores{number}"
        if is_read(lambda to=stores: convert_mouse(mouse, to, workers=1, statistics=number % 4 == 0)):  # noqa: B023
            (found,) = stores.iterdir()
            use(found, mouse)
            packed += 1
        else:
            assert not list(stores.glob("*")), number
        shutil.rmtree(stores, ignore_errors=True)
        path.unlink() if before is None else path.write_bytes(before)
        tally.survive()
    assert packed


def write_any_array(path: Path, before: bytes | None, rng: random.Random) -> None:
    """Write an array that numpy would write too; often one like that which is there."""
    like = np.load(path) if before and path.suffix == ".npy" else np.zeros(4, np.float32)
    descr = rng.choice(
        [like.dtype.str, like.dtype.str, *"<f4 >f4 <f8 >f8 <f2 |b1 |i1 <i8 >u2 <c8 <M8[s] |S3 <U4".split()]
    )
    shape = rng.choice([like.shape, like.shape, like.shape[::-1], (*like.shape, 1), (1, *like.shape), (), (0,), (3,)])
    values = rng.randbytes(int(np.prod(shape)) * np.dtype(descr).itemsize)
    cut = rng.choice([0, 0, 0, 0, 1, 7])
    header = f"{{'descr': {descr!r}, 'fortran_order': {rng.random() < 0.2}, 'shape': {shape!r}, }}"
    write_npy(path, header, values[: len(values) - cut])


@pytest.mark.promise(8)
def test_any_bytes_as_a_config(source: Path, tmp_path: Path, tally: Tally, size: Size) -> None:
    mouse = shutil.copytree(source, tmp_path / source.name)

    @settings(max_examples=size(40, 2000))
    @given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode) | any_json().map(json.dumps).map(str.encode))
    def check(data: bytes) -> None:
        tally.inject()
        (mouse / "config.json").write_bytes(data)
        is_read(open_source(mouse).survey)
        tally.survive()

    check()


# --- Zips ------------------------------------------------------------------------------------------------------------


def read_all(path: Path) -> dict[str, bytes]:
    """Read every file of a mouse as the converter does."""
    source = open_source(path)
    survey = source.survey()
    found = {array.name: source.read_small(array.name).tobytes() for array in survey.small}
    found |= {name: source.read_verbatim(name) for name in survey.verbatim}
    with source.part(survey.trial_ids).open() as reader:
        for name in (variable.name for variable in survey.variables):
            for trial in survey.trial_ids:
                found[f"data/{name}/{trial}.npy"] = reader.read(name, trial).values.tobytes()
    return found | {"config.json": (survey.config or "").encode()}


METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


@pytest.fixture(scope="module", params=METHODS.values(), ids=METHODS)
def small_zip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("small")
    folder = write_sample(place, mouse="P1", trials=3, neurons=3, image_shape=(2, 3))
    shutil.rmtree(folder / "meta/statistics")
    return zip_mouse(folder, method=request.param)


def assert_right_or_refused(path: Path, expected: dict[str, bytes]) -> bool:
    """Read a zip; whatever is read under the name of a file is the content of that file. Return whether it was read."""
    found = dict[str, bytes]()
    if not is_read(lambda: found.update(read_all(path))):
        return False
    wrong = [name for name, data in found.items() if expected.get(name, data) != data]
    assert wrong == [] or wrong == ["config.json"] and found["config.json"] == b"", wrong
    return True


@pytest.mark.promise(8)
def test_flipped_bytes_of_a_zip_are_found_or_harmless(
    small_zip: Path, tmp_path: Path, tally: Tally, size: Size
) -> None:
    whole, expected = small_zip.read_bytes(), read_all(small_zip)
    path, rng, refused = tmp_path / small_zip.name, random.Random(1), 0
    for place in range(0, len(whole), size(97, 5)):
        tally.inject()
        data = bytearray(whole)
        data[place] ^= rng.randrange(1, 256)
        path.write_bytes(data)
        refused += not assert_right_or_refused(path, expected)
        tally.survive()
    assert refused > 20


CUTS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), st.binary(max_size=40)), min_size=1, max_size=4)


@pytest.mark.promise(8)
@pytest.mark.parametrize("part", range(2))
def test_any_change_of_a_zip(part: int, small_zip: Path, tmp_path: Path, tally: Tally, size: Size) -> None:
    whole, expected, path = small_zip.read_bytes(), read_all(small_zip), tmp_path / small_zip.name
    path.touch()
    before = listing(tmp_path).keys()

    @seed(part)
    @settings(max_examples=size(40, 1500))
    @given(CUTS)
    def check(cuts: list[tuple[float, int, bytes]]) -> None:
        tally.inject()
        data = whole
        for place, length, replacement in cuts:
            at = int(place * len(data))
            data = data[:at] + replacement + data[at + length :]
        path.write_bytes(data)
        assert_right_or_refused(path, expected)
        assert listing(tmp_path).keys() == before
        tally.survive()

    check()


RECORDS = {
    b"PK\x01\x02": ((4, 2), (6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (38, 4), (42, 4)),
    b"PK\x03\x04": ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\x05\x06": ((4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
}  # fmt: skip
"""Where numbers stand in the directory, in the header of each member, and at the end, and their bytes."""


@pytest.mark.promise(8)
@pytest.mark.parametrize("part", range(2))
def test_any_number_in_the_records_of_a_zip(
    part: int, small_zip: Path, tmp_path: Path, tally: Tally, size: Size
) -> None:
    whole, expected, path = small_zip.read_bytes(), read_all(small_zip), tmp_path / small_zip.name
    path.touch()
    before = listing(tmp_path).keys()
    for number in range(size(40, 1500)):
        tally.inject()
        path.write_bytes(with_other_numbers(whole, random.Random(f"{part} {number}")))
        assert_right_or_refused(path, expected)
        assert listing(tmp_path).keys() == before
        tally.survive()


def with_other_numbers(whole: bytes, rng: random.Random) -> bytes:
    """Change one to three numbers in records of a zip: to the number of another record, or to any."""
    data = bytearray(whole)
    for _ in range(rng.choice([1, 1, 2, 3])):
        magic = rng.choice(list(RECORDS))
        places = [found.start() for found in re.finditer(re.escape(magic), whole)]
        offset, width = rng.choice(RECORDS[magic])
        place, other = rng.choice(places) + offset, rng.choice(places) + offset
        now, limit = int.from_bytes(whole[place : place + width], "little"), 256**width
        values = [0, 1, now + 1, now - 1, now * 2, 8, limit - 1, limit // 2, rng.randrange(limit)]
        values.append(int.from_bytes(whole[other : other + width], "little"))
        data[place : place + width] = (rng.choice(values) % limit).to_bytes(width, "little")
    return bytes(data)


@pytest.mark.promise(8)
def test_any_bytes_as_a_zip(tmp_path: Path, tally: Tally, size: Size) -> None:
    path = tmp_path / "any.zip"

    @settings(max_examples=size(40, 1000))
    @given(st.binary(max_size=300))
    def check(data: bytes) -> None:
        tally.inject()
        path.write_bytes(data)
        assert not is_read(lambda: read_all(path))
        tally.survive()

    check()


# --- Documents of a store --------------------------------------------------------------------------------------------


def any_json() -> st.SearchStrategy[Any]:
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    return st.recursive(
        plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
    )


@pytest.mark.promise(8)
@pytest.mark.parametrize("name", [*UNLISTED, layout.METADATA, "responses/zarr.json", "trials/tier/zarr.json"])
def test_any_bytes_as_a_document(
    name: str, store: Path, source: Path, tmp_path: Path, tally: Tally, size: Size
) -> None:
    """Under a manifest that was made to fit."""
    before = listing(tmp_path).keys()

    @settings(max_examples=size(25, 1000), suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.binary(max_size=80) | any_json().map(json.dumps).map(str.encode))
    def check(data: bytes) -> None:
        tally.inject()
        with put_back(store / name), put_back(store / layout.MANIFEST):
            (store / name).write_bytes(data)
            if name not in UNLISTED:
                reseal(store, name)
            assert not is_read(lambda: use(store, source))
        tally.survive()

    check()
    assert listing(tmp_path).keys() == before


@contextlib.contextmanager
def put_back(path: Path) -> Iterator[None]:
    data = path.read_bytes()
    yield
    path.write_bytes(data)


ANY: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 0.5, 1e300, 2**31, 2**40, 2**63, 10**30, "", "x", "1", "../x",
    "/etc/hostname", "\ud800", "\x00", "c", "zarr.json", "NaN", "float32", "int64", "string", "static", "trial",
    float("nan"), float("inf"), [], {}, [[]], [0], [1, 2], {"a": 1}, [["<f4", False]], {"name": "gzip"},
]  # fmt: skip


def edit_document(document: Json, rng: random.Random) -> None:
    """Change something in a document: remove, replace, repeat, rename, or move it elsewhere."""
    container, key = place_in(document, rng)
    value = copy.deepcopy(rng.choice(ANY))
    match rng.randrange(8):
        case 0:
            del container[key]
        case 1 | 2 | 3:
            container[key] = value
        case 4:
            other, where = place_in(document, rng)
            container[key] = copy.deepcopy(other[where])
        case 5 if type(container[key]) is int:
            container[key] += rng.choice([-1, 1, 2**33])
        case 6 if isinstance(container, dict):
            container[rng.choice(["x", "name", "shape", "\ud800", "../x", str(value)])] = container.pop(key)
        case _ if isinstance(container, list):
            container.insert(key, value)
        case _:
            container[rng.choice(["x", "name", "attributes", "storage_transformers"])] = value


def place_in(document: Json, rng: random.Random) -> tuple[Any, Any]:
    """Choose a place in a document that is not empty, the deeper the rarer."""
    container: Any = document
    while True:
        key = rng.choice(list(container) if isinstance(container, dict) else range(len(container)))
        if not isinstance(container[key], dict | list) or not container[key] or rng.random() < 0.2:
            return container, key
        container = container[key]


def written(document: Json) -> bytes:
    """Return a document as trialpack writes it, if it can."""
    try:
        return to_json(document)
    except (TypeError, ValueError):
        return (json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n").encode()


def recorded_bytes(store: Path) -> dict[str, bytes]:
    index = open_mouse(store).index
    group = open_store(store)
    return {array.path: group[array.path][:].tobytes() for array in index.recorded}


@pytest.mark.promise(8)
@parts
def test_any_edit_of_metadata(part: int, store: Path, source: Path, tmp_path: Path, tally: Tally, size: Size) -> None:
    """Under a manifest that was made to fit: what is read in the end has every bit of the trials."""
    before, expected, refused = listing(tmp_path).keys(), recorded_bytes(store), 0
    names = [name for name in read_manifest(store).files if name.endswith(layout.METADATA)]
    for number in range(size(50, 1200)):
        rng = random.Random(f"{part} {number}")
        name = rng.choice([rng.choice(names), layout.METADATA])
        document = json.loads((store / name).read_bytes())
        tally.inject()
        for _ in range(rng.choice([1, 1, 2])):
            edit_document(document, rng)
        with put_back(store / name), put_back(store / layout.MANIFEST):
            (store / name).write_bytes(written(document))
            reseal(store, name)
            if is_read(lambda: use(store, source)):
                assert recorded_bytes(store) == expected, (part, number)
            else:
                refused += 1
        tally.survive()
    assert refused and listing(tmp_path).keys() == before


@pytest.mark.promise(8)
@parts
def test_any_edit_of_a_manifest(part: int, store: Path, source: Path, tmp_path: Path, tally: Tally, size: Size) -> None:
    """With the right digest of itself."""
    before, path, refused = listing(tmp_path).keys(), store / layout.MANIFEST, 0
    body = json.loads(path.read_bytes())
    del body["sha256_of_manifest"]
    for number in range(size(50, 1500)):
        rng, document = random.Random(f"{part} {number}"), copy.deepcopy(body)
        tally.inject()
        for _ in range(rng.choice([1, 1, 2])):
            edit_document(document, rng)
        digest = hashlib.sha256(written(document)).hexdigest()
        with put_back(path):
            path.write_bytes(written({**document, "sha256_of_manifest": digest}))
            refused += not is_read(lambda: use(store, source))
        tally.survive()
    assert refused > size(40, 1000) and listing(tmp_path).keys() == before


# --- What an interrupted conversion left -----------------------------------------------------------------------------


@pytest.mark.promise(8)
@pytest.mark.usefixtures("small_shards")
def test_any_edit_of_the_journal(
    recording: Path, destination: Path, reference: Digests, faults: Faults, tally: Tally, size: Size
) -> None:
    """Of two units that are finished; the store is the same to the byte."""
    for number in range(size(8, 300)):
        rng = random.Random(number)
        interrupt(faults, recording, destination)
        for path in Stage(destination).journal.glob("*.json"):
            tally.inject()
            document = json.loads(path.read_bytes())
            edit_document(document, rng)
            path.write_bytes(rng.choice([written(document), written(document), rng.randbytes(20)]))
        done = is_read(lambda: convert_mouse(recording, destination.parent, workers=1))
        assert done and digests(destination) == reference, number
        shutil.rmtree(destination)
        tally.survive(2)


# --- These checks can fail -------------------------------------------------------------------------------------------


@pytest.mark.promise(8)
def test_errors_of_others_are_noticed(tmp_path: Path, tally: Tally) -> None:
    """numpy, zipfile and json raise whatever comes to them."""
    path = tmp_path / "any"
    for data in (b"", b"\x93NUMPY\1\0", b"\x93NUMPY\1\0\x76\0{", npy_file(b"{[]: 1}", b""), b"PK\3\4"):
        path.write_bytes(data)
        with pytest.raises((EOFError, ValueError, TypeError, zipfile.BadZipFile)):
            is_read(lambda: np.load(path))
        tally.notice()
    for data in (b"", b"{", b"\xff"):
        path.write_bytes(data)
        with pytest.raises(ValueError):
            is_read(lambda: json.loads(path.read_bytes()))
        tally.notice()


@pytest.mark.promise(8)
@pytest.mark.skipif(not PEAK.exists(), reason="reads the peak of memory from /proc")
def test_memory_that_a_header_asks_for_is_noticed(tmp_path: Path, tally: Tally) -> None:
    """A reader that fills what a header promises needs that much."""
    path = tmp_path / "any.npy"
    write_npy(path, f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({30_000_000},)}}", b"")

    def read_and_fill() -> None:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            assert version == (1, 0)
            np.zeros(shape, dtype)[...] = 1

    with pytest.raises(AssertionError, match="memory grew"), little_growth():
        read_and_fill()
    PEAK.write_text("5")
    tally.notice()

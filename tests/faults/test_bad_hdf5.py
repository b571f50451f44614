"""Whatever is wrong with an HDF5 file is said by name before anything is published, and no other file is opened."""

import contextlib
import ctypes
import os
import resource
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.convert import convert_mouse, export_mouse, open_source
from trialpack.convert.formats.hdf5.access import _OF_SCALES
from trialpack.convert.formats.hdf5.values import A_ATTRIBUTES_DIGEST, A_DIGEST, A_LAYOUT, attributes_digest, digest
from trialpack.convert.sample import write_sample
from trialpack.store import SourceError

from ..mice import trial_ids, trim
from .promises import Tally

h5py = pytest.importorskip("h5py")
from ..hdf5_files import write_images, write_movies  # noqa: E402

Change = Callable[[Any], object]
_IN_OPEN = 0x20


@dataclass(frozen=True)
class Kind:
    """One way in which a file can be bad.

    Attributes
    ----------
    spoil
        Does it, to the open file.
    words
        What the one line of the message must say.
    mouse
        Of which of the files: ``images``, ``movies`` or ``exported``.
    """

    spoil: Change
    words: tuple[str, ...]
    mouse: str = "images"


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each layout."""
    place = tmp_path_factory.mktemp("hdf5")
    static = write_sample(place, mouse="S0", trials=14, neurons=6, image_shape=(9, 16))
    dynamic = write_sample(place, mouse="A", trials=6, neurons=5, image_shape=(4, 6))
    for folder in (static, dynamic):
        trim(folder)
    store = convert_mouse(dynamic, place / "stores").store
    return {
        "images": write_images(static, place / "images.h5"),
        "movies": write_movies(dynamic, place / "movies.h5", {trial: 300 for trial in trial_ids(dynamic)}),
        "exported": export_mouse(store, place, format="hdf5", hdf5_filter="none").path,
    }


@pytest.fixture
def spoilt(originals: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Kind], Path]:
    """Spoil a copy of a file, beside which is ``canary.h5``, an intact one."""

    def spoil(kind: Kind) -> Path:
        path = Path(shutil.copy(originals[kind.mouse], tmp_path / f"{kind.mouse}.h5"))
        shutil.copy(originals["images"], tmp_path / "canary.h5")
        monkeypatch.chdir(tmp_path)
        with h5py.File(path, "a") as file:
            kind.spoil(file)
        return path

    return spoil


def refusal(path: Path, to: Path) -> str:
    """Convert a file, and return the message with which it is refused; nothing may be left of the conversion."""
    with pytest.raises(SourceError) as caught:
        convert_mouse(path, to, workers=1)
    for problem in caught.value.problems:
        assert problem.path == str(path) and "\n" not in str(problem)
    assert not to.exists() or list(to.iterdir()) == []
    return str(caught.value)


def replace(name: str, make: Callable[[Any], Any], **settings: Any) -> Change:
    """Write a dataset anew, of a function of its values."""

    def change(file: Any) -> None:
        values = make(file[name][...])
        del file[name]
        file.create_dataset(name, data=values, **settings)

    return change


def instead(name: str, make: Callable[[Any, str], object]) -> Change:
    """Remove something and put something else in its place: ``make(file, name)``."""

    def change(file: Any) -> None:
        del file[name]
        make(file, name)

    return change


def link(target: Any) -> Callable[[Any, str], object]:
    return lambda file, name: file.__setitem__(name, target)


def virtual(*, growing: bool) -> Callable[[Any, str], object]:
    """Put a dataset there whose values lie in a file outside."""

    def make(file: Any, name: str) -> None:
        shape, most = (14, 6), (None, 6) if growing else (14, 6)
        rows = slice(0, h5py.h5s.UNLIMITED) if growing else slice(0, 14)
        source = h5py.VirtualSource("canary.h5", "responses", shape, "f4", maxshape=most)
        made = h5py.VirtualLayout(shape, "f4", maxshape=most)
        made[rows] = source[rows]
        file.create_virtual_dataset(name, made)

    return make


def external(file: Any, name: str) -> None:
    file.create_dataset(name, (14, 6), "f4", external=[("canary.h5", 0, 14 * 6 * 4)])


def declared(shape: tuple[int, ...], **settings: Any) -> Callable[[Any, str], object]:
    return lambda file, name: file.create_dataset(name, shape, "f4", **settings)


def of_type(make: Callable[[Any, str], object]) -> Change:
    return instead("responses", make)


def unknown_filter(file: Any, name: str) -> None:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((14, 6))
    settings.set_filter(40_000, h5py.h5z.FLAG_OPTIONAL, ())
    space = h5py.h5s.create_simple((14, 6))
    made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F32LE, space, settings)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones((14, 6), "f4"))


def odd_float(file: Any, name: str) -> None:
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(100)
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple((14, 6)))
    file[name].write_direct(np.ones((14, 6), "f4"))


def loop(file: Any) -> None:
    file["item_info/deeper"] = file["item_info"]


def attribute(path: str, name: str, value: Any) -> Change:
    """Set an attribute, or remove it, and the digest of all, as somebody does who means harm."""

    def change(file: Any) -> None:
        node, ours = file[path], {A_DIGEST, A_LAYOUT, A_ATTRIBUTES_DIGEST, *_OF_SCALES}
        if value is None:
            del node.attrs[name]
        else:
            node.attrs[name] = value
        found = {key: None if isinstance(item, h5py.Empty) else item for key, item in node.attrs.items()}
        plain = {key: item.tolist() if hasattr(item, "tolist") else item for key, item in found.items()}
        node.attrs[A_ATTRIBUTES_DIGEST] = attributes_digest({k: v for k, v in plain.items() if k not in ours})

    return change


def name_that_is_no_text(file: Any) -> None:
    h5py.h5g.create(file.id, b"\xff\xfe")
    h5py.h5g.create(file["neurons"].id, b"caf\xe9")
    file["neurons"][b"\xff"] = h5py.SoftLink("/tiers")


def several_texts(file: Any) -> None:
    file["neurons/odd"] = np.array([b"caf\xe9"] * 6, "S5")


def attribute_name_that_is_no_text(file: Any) -> None:
    h5py.h5a.create(file.id, b"\xff", h5py.h5t.NATIVE_INT32, h5py.h5s.create(h5py.h5s.SCALAR))


def texts(name: str, n_words: int, letters: int) -> Change:
    """Write texts of variable length, one of which is long."""
    return lambda f: [f.pop(name, None), f.create_dataset(name, data=["a"] * (n_words - 1) + ["x" * letters])]


def packed_text(file: Any, name: str, n_words: int, size: int, chunk: int) -> None:
    """Make an array of text in one chunk, which takes a few bytes of the file whatever it unpacks to."""
    made = file.create_dataset(name, (n_words,), f"S{size}", maxshape=(None,), chunks=(chunk,), compression="gzip")
    made.id.write_direct_chunk((0,), b"few")


TRIAL = "responses/9"


def descending(file: Any) -> None:
    """Turn the order of the trials around, with a digest that fits."""
    ids = file["trials/trial_id"]
    ids[...] = ids[...][::-1]
    ids.attrs[A_DIGEST] = digest(ids[...])


KINDS: dict[str, Kind] = {
    # Values that lie elsewhere.
    "external link": Kind(
        instead("responses", link(h5py.ExternalLink("canary.h5", "responses"))), ("responses is a link",)
    ),
    "soft link out of the group": Kind(instead("neurons/area", link(h5py.SoftLink("/tiers"))), ("area is a link",)),
    "soft link to itself": Kind(instead("tiers", link(h5py.SoftLink("/tiers"))), ("tiers is a link",)),
    "linked group": Kind(
        instead("responses", link(h5py.ExternalLink("canary.h5", "/"))), ("responses is a link", "group"), "movies"
    ),
    "linked trial": Kind(instead(TRIAL, link(h5py.SoftLink("/responses/3"))), (f"{TRIAL} is a link",), "movies"),
    "linked table": Kind(instead("neurons", link(h5py.SoftLink("/item_info"))), ("neurons is a link",)),
    "linked array of an export": Kind(
        instead("trials/tiers", link(h5py.ExternalLink("canary.h5", "tiers"))), ("trials/tiers is a link",), "exported"
    ),
    "virtual dataset": Kind(instead("responses", virtual(growing=False)), ("virtual dataset", "not opened")),
    "growing virtual dataset": Kind(instead("responses", virtual(growing=True)), ("virtual dataset", "not opened")),
    "external storage": Kind(instead("responses", external), ("other files, which are not opened",)),
    "virtual export": Kind(instead("responses", virtual(growing=True)), ("virtual dataset",), "exported"),
    # What is declared, but not there.
    "huge and empty": Kind(
        instead("responses", declared((14, 10**9), chunks=(1, 10**6))), ("1000000000", "0 of its 14000 chunks")
    ),
    "huge and contiguous": Kind(instead("responses", declared((14, 10**12))), ("0 of its 56000000000000 bytes",)),
    "huge trial": Kind(instead(TRIAL, declared((10**9, 5), chunks=(10**6, 5))), ("0 of its 1000 chunks",), "movies"),
    "never written": Kind(instead("behavior", declared((14, 3))), ("0 of its 168 bytes were ever written",)),
    "a chunk never written": Kind(
        instead("behavior", lambda f, n: [declared((14, 3), chunks=(7, 3))(f, n), f[n].__setitem__(0, 1)]),
        ("1 of its 2 chunks were ever written",),
    ),
    "huge chunks": Kind(
        instead("behavior", declared((14, 3), chunks=(10**7, 3), maxshape=(None, 3))), ("chunks are too large",)
    ),
    "huge chunks of text": Kind(lambda f: packed_text(f, "neurons/odd", 6, 1000, 1 << 17), ("chunks are too large",)),
    "millions of texts": Kind(lambda f: packed_text(f, "neurons/odd", 1 << 23, 1, 1 << 23), ("too much text",)),
    "text without end": Kind(texts("neurons/odd", 6, 20_000), ("dtype <U20000 is not supported",)),
    "texts that fill memory": Kind(texts("item_info/odd", 20_000, 16_000), ("too large",)),
    "tiers that fill memory": Kind(texts("tiers", 20_000, 16_000), ("tiers: too large",)),
    "huge table": Kind(instead("neurons/area", declared((6, 10**9), chunks=(6, 10**6))), ("were ever written",)),
    "null": Kind(instead("responses", link(h5py.Empty("f4"))), ("holds nothing",)),
    # Types.
    "integers": Kind(replace("responses", lambda v: v.astype("i4")), ("expected float32 or float64, found <i4",)),
    "half floats": Kind(replace("responses", lambda v: v.astype("f2")), ("found <f2",)),
    "bytes as movies": Kind(replace("inputs/9", lambda v: np.zeros(v.shape, "u1")), ("found |u1",), "movies"),
    "text": Kind(of_type(link(np.full((14, 6), b"a"))), ("found text",)),
    "truths": Kind(of_type(link(np.ones((14, 6), bool))), ("found |b1",)),
    "records": Kind(of_type(link(np.zeros(14, "f4,f4"))), ("records with named fields",)),
    "complex": Kind(of_type(link(np.zeros((14, 6), "c8"))), ("(expected numbers or text)",)),
    "references": Kind(of_type(lambda f, n: f.create_dataset(n, (14, 6), h5py.ref_dtype)), ("holds references",)),
    "lists": Kind(
        of_type(lambda f, n: f.create_dataset(n, (14,), h5py.vlen_dtype("f4"))), ("lists of varying lengths",)
    ),
    "arrays": Kind(
        of_type(lambda f, n: f.create_dataset(n, (14,), np.dtype(("f4", (6,))))), ("arrays in place of values",)
    ),
    "enumeration": Kind(
        of_type(lambda f, n: f.create_dataset(n, (14, 6), h5py.enum_dtype({"A": 1}, "i4"))), ("an enumeration",)
    ),
    "opaque": Kind(of_type(lambda f, n: f.create_dataset(n, (14, 6), "V4")), ("opaque bytes",)),
    "float of another kind": Kind(of_type(odd_float), ("that numpy does not have",)),
    "long doubles": Kind(of_type(link(np.zeros((14, 6), np.longdouble))), ("that numpy does not have",)),
    "records in a table": Kind(instead("neurons/area", link(np.zeros(6, "f4,f4"))), ("area: holds records",)),
    "references in a table": Kind(
        instead("neurons/area", lambda f, n: f.create_dataset(n, (6,), h5py.ref_dtype)), ("holds references",)
    ),
    "tiers as numbers": Kind(replace("tiers", lambda v: np.arange(14)), ("tiers: expected one text a trial",)),
    "data type": Kind(instead("responses", link(np.dtype("f4"))), ("without the dataset responses",)),
    "data type in a table": Kind(instead("neurons/area", link(np.dtype("f4"))), ("area is a data type",)),
    "text that is none": Kind(several_texts, ("not UTF-8",)),
    "unknown filter": Kind(instead("responses", unknown_filter), ("filter 40000", "install")),
    # Shapes and numbers of trials.
    "axis too many": Kind(replace("responses", lambda v: v[None]), ("expected the axes (trial, neuron)", "(1, 14, 6)")),
    "no axes": Kind(replace("responses", lambda v: v[0, 0]), ("found shape ()",)),
    "no trials": Kind(replace("responses", lambda v: v[:0]), ("found shape (0, 6)",)),
    "a trial less": Kind(replace("responses", lambda v: v[1:]), ("expected 14 trials as in images, found 13",)),
    "tiers too short": Kind(replace("tiers", lambda v: v[:-1]), ("too short (expected 14 or more",)),
    "tiers of many trials": Kind(
        replace("tiers", lambda v: np.append(v, [b"train"] * 1200)), ("200 more trials are of a tier",)
    ),
    "tier of no trial": Kind(
        replace("tiers", lambda v: np.append(v, b"train")), ("tiers: trial 14 is of tier 'train'",)
    ),
    "a neuron less": Kind(replace("responses", lambda v: v[:, 1:]), ("expected 5 neurons",)),
    "two channels": Kind(replace("inputs/9", lambda v: np.vstack([v, v])), ("expected one channel",), "movies"),
    "time last": Kind(replace(TRIAL, lambda v: v.T), ("of each frame", "(300,)"), "movies"),
    "a frame less": Kind(
        replace("behavior/9", lambda v: v[:-1]),
        ("behavior/9: expected 300 frames as in inputs/9, found 299",),
        "movies",
    ),
    "no frames": Kind(replace("behavior/9", lambda v: v[:0]), ("found shape (0, 2)",), "movies"),
    # Parts.
    "no tiers": Kind(lambda f: f.__delitem__("tiers"), ("known:", "nearest is images, without the dataset tiers")),
    "no responses": Kind(
        lambda f: f.__delitem__("responses"), ("nearest is movies, without the group responses",), "movies"
    ),
    "nothing known": Kind(lambda f: f.clear(), ("no mouse that is known",)),
    "empty group": Kind(lambda f: f["behavior"].clear(), ("behavior: empty",), "movies"),
    "trial missing in one": Kind(
        lambda f: f.__delitem__(TRIAL), (f"{TRIAL}: missing (other variables have trial 9)",), "movies"
    ),
    "trial missing in all": Kind(
        lambda f: [f.__delitem__(f"{g}/9") for g in ("inputs", "responses", "behavior", "eye_position")],
        ("trial 9 is of tier", "no file in any variable"),
        "movies",
    ),
    "name that is no number": Kind(lambda f: f.move(TRIAL, "responses/09"), ("responses/09: not a trial",), "movies"),
    "group as trial": Kind(instead(TRIAL, lambda f, n: f.create_group(n)), (f"{TRIAL} is a group",), "movies"),
    "group in itself": Kind(loop, ("stands in the file more than once",)),
    "name that climbs": Kind(
        lambda f: f["neurons"].__setitem__("..", np.arange(6)), ("a name that a store cannot have",)
    ),
    "name of Zarr": Kind(lambda f: f["neurons"].__setitem__("zarr.json", np.arange(6)), ("cannot have",)),
    "name without end": Kind(lambda f: f.__setitem__(f"neurons{'/long' * 300}", np.arange(6)), ("1000 at most",)),
    "two of one axis": Kind(
        lambda f: [f.__setitem__(f"neurons/{n}", np.ones((6, k))) for n, k in (("a.b", 2), ("a/b", 3))],
        ("meta/neurons/a/b.npy: would have 3 along neurons.a.b.1",),
    ),
    "names that are no text": Kind(name_that_is_no_text, ("is a link",)),
    "two of one name": Kind(
        lambda f: [f.__setitem__(f"statistics/images/{n}/mean", 1.0) for n in ("x.y", "x_y")], ("rename or remove",)
    ),
    # What an exported file says of itself.
    "version of the future": Kind(attribute("/", "trialpack_hdf5", 2), ("version 2", "install"), "exported"),
    "climbing mouse": Kind(attribute("/", "mouse", "../../evil"), ("'../../evil', which no file",), "exported"),
    "hidden mouse": Kind(attribute("/", "mouse", ".."), ("which no file can have",), "exported"),
    "mouse of two lines": Kind(attribute("/", "mouse", "a\nb"), ("'a\\nb', which no file",), "exported"),
    "attribute that is no text": Kind(attribute_name_that_is_no_text, ("cannot be read",), "exported"),
    "mouse of numbers": Kind(attribute("/", "mouse", 7), ("attribute mouse is of another type",), "exported"),
    "other attributes": Kind(
        lambda f: f["trials/tiers"].attrs.__setitem__("source_dtype", "<U99"), ("other attributes",), "exported"
    ),
    "no mouse": Kind(attribute("/", "mouse", None), ("lacks the attribute mouse",), "exported"),
    "no variables": Kind(attribute("/", "variables", "[]"), ("the attribute variables",), "exported"),
    "variables of no JSON": Kind(attribute("/", "variables", "fuzzy"), ("the attribute variables",), "exported"),
    "climbing name": Kind(
        attribute("trials/tiers", "source_name", "meta/../../evil.npy"), ("a name that a store cannot",), "exported"
    ),
    "name outside": Kind(attribute("trials/tiers", "source_name", "/etc/evil.npy"), ("'/etc/evil.npy'",), "exported"),
    "dtype that lies": Kind(attribute("trials/trial_idx", "source_dtype", "<U8"), ("cannot stand for",), "exported"),
    "dtype of objects": Kind(attribute("trials/trial_idx", "source_dtype", "O"), ("source_dtype",), "exported"),
    "no headers": Kind(attribute("responses", "source_headers", "[]"), ("source_headers is damaged",), "exported"),
    "odd headers": Kind(attribute("responses", "source_headers", '[["O",false]]'), ("is damaged",), "exported"),
    "digests of other trials": Kind(
        attribute("responses", "xxh3_128", np.full(6, b"0" * 32)),
        ("holds other values than were exported",),
        "exported",
    ),
    "too few digests": Kind(attribute("responses", "xxh3_128", np.full(5, b"0")), ("expected 6 texts",), "exported"),
    "other values": Kind(
        lambda f: f["responses"].__setitem__((3, 1, 7), 5.0), ("responses[3]: holds other",), "exported"
    ),
    "other tier": Kind(
        lambda f: f["trials/tiers"].__setitem__(0, "oracle"), ("trials/tiers: holds other",), "exported"
    ),
    "unordered trials": Kind(descending, ("expected numbers from 0 to 999999999, ascending",), "exported"),
    "other trial ids": Kind(
        lambda f: f["trials/trial_id"].__setitem__(0, f["trials/trial_id"][0] + 1),
        ("trials/trial_id: holds other values",),
        "exported",
    ),
    "no tiers among the trials": Kind(
        lambda f: f.__delitem__("trials/tiers"), ("meta/trials/tiers.npy: missing",), "exported"
    ),
    "no trial ids": Kind(lambda f: f.__delitem__("trials/trial_id"), ("trials/trial_id: missing",), "exported"),
    "no videos": Kind(lambda f: f.__delitem__("videos"), ("videos: missing",), "exported"),
}


@pytest.mark.promise(7)
@pytest.mark.parametrize("name", KINDS)
def test_bad_files_are_refused_by_name(name: str, spoilt: Callable[[Kind], Path], tmp_path: Path, tally: Tally) -> None:
    path = spoilt(KINDS[name])
    tally.inject()
    tracemalloc.start()
    try:
        with watching(tmp_path / "canary.h5") as opened:
            text = refusal(path, tmp_path / "stores")
            assert not opened()
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
    for word in KINDS[name].words:
        assert word in text, text
    tally.survive()


# --- Other files are not opened ----------------------------------------------------------------------------------


@contextlib.contextmanager
def watching(path: Path) -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether anybody opened a file since, by inotify(7); elsewhere than on Linux, no."""
    system = ctypes.CDLL(None, use_errno=True)
    if not hasattr(system, "inotify_init1"):
        yield lambda: False
        return
    watch = system.inotify_init1(os.O_NONBLOCK)
    try:
        assert system.inotify_add_watch(watch, os.fsencode(path), _IN_OPEN) >= 0

        def opened() -> bool:
            try:
                return bool(os.read(watch, 4096))
            except BlockingIOError:
                return False

        yield opened
    finally:
        os.close(watch)


@pytest.mark.promise(19)
@pytest.mark.skipif(sys.platform != "linux", reason="inotify is of Linux")
@pytest.mark.parametrize("name", ["external link", "virtual dataset", "growing virtual dataset", "external storage"])
def test_the_watch_notices_what_h5py_opens(
    name: str, spoilt: Callable[[Kind], Path], tmp_path: Path, tally: Tally
) -> None:
    """Read plainly, each of these files opens another one: the check above can fail."""
    path = spoilt(KINDS[name])
    with watching(tmp_path / "canary.h5") as opened, h5py.File(path) as file:
        assert file["responses"][...].size
        assert opened()
    tally.notice()


# --- Files as a whole --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("mouse", ["images", "movies", "exported"])
def test_a_truncated_file(mouse: str, share: float, originals: dict[str, Path], tmp_path: Path) -> None:
    data = originals[mouse].read_bytes()
    path = tmp_path / "mouse.h5"
    path.write_bytes(data[: int(len(data) * share)])
    text = refusal(path, tmp_path / "stores")
    assert "truncated" in text or "not an HDF5 file" in text or "cannot be read" in text


def test_one_text_that_stands_for_all(
    originals: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of a few MB could otherwise fill memory."""
    path = Path(shutil.copy(originals["images"], tmp_path / "mouse.h5"))
    with h5py.File(path, "a") as file:
        words = ["x" * 1_000_000] + ["a"] * 999
        made = file.create_dataset("neurons/odd", data=words, dtype=h5py.string_dtype(), chunks=(1000,))
        made.id.write_direct_chunk((0,), made.id.read_direct_chunk((0,))[1][:16] * 1000)
    monkeypatch.setattr("trialpack.convert.formats.hdf5.dataset._MAX_LETTERS", 10_000_000)
    assert "too much text" in refusal(path, tmp_path / "stores")


def test_zeros_among_texts(originals: dict[str, Path], tmp_path: Path) -> None:
    """As a download leaves them: of such texts the C library never returns, nor can it be interrupted."""
    path = Path(shutil.copy(originals["images"], tmp_path / "mouse.h5"))
    with h5py.File(path, "a") as file:
        file["neurons/note"] = ["of variable length"] * 6
    data = bytearray(path.read_bytes())
    heap = data.rindex(b"GCOL")
    data[heap + 16 : heap + 80] = bytes(64)
    path.write_bytes(data)
    command = [Path(sys.executable).with_name("trialpack"), "convert", path, "--to", tmp_path / "stores"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    expected = (
        f"trialpack: {path}: neurons/note: cannot be read (a collection of texts is damaged); copy the file again\n"
    )
    assert (done.returncode, done.stderr) == (1, expected)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"PK\3\4" + bytes(99), b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(9999)]
)
def test_not_hdf5_at_all(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mouse.h5"
    path.write_bytes(content)
    text = refusal(path, tmp_path / "stores")
    assert len(text.splitlines()) == 1
    assert "not an HDF5 file" in text or "cannot be read" in text


def test_a_file_that_may_not_be_read(originals: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(originals["images"], tmp_path / "mouse.h5"))
    source = open_source(path)
    path.unlink()
    with pytest.raises(SourceError, match="No such file"):
        source.survey()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text(originals: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.h5")
    shutil.copy(originals["images"], path)
    assert "not UTF-8; rename it" in refusal(path, tmp_path / "stores")


@pytest.mark.parametrize("how", ["grows", "is touched", "is replaced", "is cut"])
def test_a_file_that_changes_while_it_is_read(how: str, originals: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(originals["images"], tmp_path / "mouse.h5"))
    source = open_source(path)
    part = source.part(source.survey().trial_ids)
    changes: dict[str, Callable[[], object]] = {
        "grows": lambda: os.truncate(path, path.stat().st_size + 1),
        "is touched": lambda: os.utime(path, ns=(1, 1)),
        "is replaced": lambda: os.replace(shutil.copy(originals["movies"], tmp_path / "other"), path),
        "is cut": lambda: os.truncate(path, path.stat().st_size // 2),
    }
    with part.open() as reader:
        reader.read("images", 0)
        changes[how]()
        if how != "is replaced":
            with pytest.raises(SourceError, match="changed while it was read"):
                reader.read("responses", 1)
    with pytest.raises(SourceError, match="changed while it was read"), part.open():
        pass
    with pytest.raises(SourceError, match="changed while it was read"):
        source.read_small("meta/trials/tiers.npy")


@pytest.mark.promise(8)
@pytest.mark.parametrize("mouse", ["images", "movies", "exported"])
def test_flipped_bits_are_read_or_refused(
    mouse: str, originals: dict[str, Path], tmp_path: Path, size: Callable[[int, int], int], tally: Tally
) -> None:
    """In a process of its own, with bounded memory: the C library, too, has to come through.

    Of an exported file, whatever is read is what was exported.
    """
    count = size(60, 5000)
    tally.inject(count)
    done = subprocess.run(
        [sys.executable, "-c", FLIPS, originals[mouse], tmp_path, str(count)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    read, refused = map(int, done.stdout.split())
    assert read + refused == count and refused
    tally.survive(count)


FLIPS = """
import hashlib, sys
from pathlib import Path
import numpy as np
from trialpack.convert import open_source
from trialpack.store import SourceError

original, place, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def content(path):
    source = open_source(path)
    survey, found = source.survey(), hashlib.sha256()
    for array in survey.small:
        values = source.read_small(array.name)
        found.update(repr((array.name, values.dtype.str, values.shape, values.tolist())).encode())
    with source.part(survey.trial_ids).open() as reader:
        for variable in survey.variables:
            for trial in survey.trial_ids:
                found.update(np.ascontiguousarray(reader.read(variable.name, trial).values).tobytes())
    return found.hexdigest()

data, choose, counts = original.read_bytes(), np.random.default_rng(len(original.name)), {"read": 0, "refused": 0}
expected, path = content(original), place / original.name
# Most of a file are its trials, and in an older layout nothing tells that one was changed.
heads = choose.integers(0, 2, count).astype(bool)
for head in heads.tolist():
    changed = bytearray(data)
    changed[int(choose.integers(0, 4096 if head else len(data)))] ^= 1 << int(choose.integers(0, 8))
    path.write_bytes(changed)
    try:
        same = content(path) == expected
        counts["read"] += 1
        assert same or "exported" not in sys.argv[1] and original.name in ("images.h5", "movies.h5"), "other values"
    except SourceError as error:
        assert str(path) in str(error)
        counts["refused"] += 1
print(counts["read"], counts["refused"])
"""

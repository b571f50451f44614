"""Files that other programs wrote, or still write: read as they were meant, or refused with advice that helps."""

import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
from trialpack.convert import compare_with_source, convert_mouse, export_mouse, open_source
from trialpack.convert.npy import read_header
from trialpack.readers import open_mouse
from trialpack.store import SourceError
from trialpack.store.schema import are_array_attributes

from .mice import assert_holds_mouse, assert_same_tree, trial_ids, trial_path, write_npy, zip_mouse

# --- HDF5: the marks and locks of its own library --------------------------------------------------------------

_WRITER = """
import sys
import h5py

source, path, how = sys.argv[1:]
with h5py.File(source) as old, h5py.File(path, "w", libver="latest" if how != "old" else None) as new:
    for name in old:
        old.copy(name, new)
    if how == "swmr":
        new.swmr_mode = True
    new.flush()
    print("written", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def images(static_folder, tmp_path):
    """An HDF5 file of the tiny static mouse."""
    pytest.importorskip("h5py")
    from .hdf5_files import write_images

    return write_images(static_folder, tmp_path / "static.h5")


@pytest.fixture
def writer(images, tmp_path):
    """Start a process that has written such a file, and has it open until its input ends."""
    started = []

    def start(how):
        path = tmp_path / f"{how}.h5"
        command = [sys.executable, "-c", _WRITER, str(images), str(path), how]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "written\n"
        return process, path

    yield start
    for process in started:
        process.kill()
        process.communicate()


def refused(path, tmp_path):
    """Return the one problem for which a file is refused; nothing is left."""
    with pytest.raises(SourceError) as refusal:
        convert_mouse(path, tmp_path / "stores")
    (problem,) = refusal.value.problems
    assert problem.path == str(path) and not list((tmp_path / "stores").glob("*"))
    return problem


@pytest.mark.parametrize("how", ["old", "latest", "swmr"])
def test_a_file_that_is_being_written_is_refused_until_it_is_closed(how, writer, static_folder, tmp_path):
    process, path = writer(how)
    assert "close it" in refused(path, tmp_path).advice
    process.communicate()
    (static_folder / "config.json").unlink(missing_ok=True)
    assert len(open_source(path).survey().trial_ids) == 14


@pytest.mark.parametrize("how", ["latest", "swmr"])
@pytest.mark.parametrize("block", [0, 512, 2048], ids=lambda size: f"behind {size} bytes")
def test_a_file_of_a_killed_writer_is_refused(how, block, writer, tmp_path):
    """No lock is left of it; its mark is, wherever in the file the superblock is."""
    process, path = writer(how)
    process.send_signal(signal.SIGKILL)
    process.wait()
    path.write_bytes(bytes(block) + path.read_bytes())
    problem = refused(path, tmp_path)
    assert "ended before it had closed it" in problem.what and "h5clear --status" in problem.advice


def test_no_writer_begins_while_a_file_is_read(images):
    import h5py

    source = open_source(images)
    with source.part(source.survey().trial_ids).open() as reader:
        with pytest.raises(BlockingIOError):
            h5py.File(images, "a")
        assert reader.read("responses", 3).values.any()
    h5py.File(images, "a").close()


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL])
def test_a_file_that_cannot_be_locked_nor_written_is_read(error, images, tmp_path, monkeypatch):
    """As on read-only media, and where there are no locks."""
    lock, tried = fcntl.flock, []

    def flock(descriptor, operation):
        if operation & fcntl.LOCK_SH:
            tried.append(descriptor)
            raise OSError(error, os.strerror(error))
        lock(descriptor, operation)

    images.chmod(0o444)
    monkeypatch.setattr(fcntl, "flock", flock)
    assert convert_mouse(images, tmp_path / "stores").verified and tried


# --- .npy headers of other writers -----------------------------------------------------------------------------

_SPELT = {
    "<f4": ["f4", "=f4", "float32", "f", "<f", "single", "|f4"],
    ">f4": [">f"],
    "<f8": ["f8", "float64", "d", "<d", "float", "double"],
    "<i8": ["i8", "int64", "q", "int"],
    "|u1": ["u1", "<u1", ">u1", "B", "uint8"],
    "|b1": ["?", "bool", "b1"],
    "<U4": ["U4", "=U4"],
    "|S4": ["S4"],
    "<M8[ms]": ["M8[ms]", "datetime64[ms]"],
}


def respell(path, descr, shape=None):
    """Write a file's header as another program would."""
    values = np.load(path)
    order, shape = bool(values.flags.fnc and not values.flags.c_contiguous), shape or str(values.shape)
    header = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n"
    write_npy(path, header, values.tobytes("F" if order else "C"))


@pytest.mark.parametrize(("canonical", "descr"), [(one, descr) for one, names in _SPELT.items() for descr in names])
def test_a_dtype_is_the_same_however_it_is_spelt(canonical, descr, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 3), canonical))
    respell(tmp_path / "x.npy", descr)
    assert np.load(tmp_path / "x.npy").dtype.str == canonical
    header = read_header(memoryview((tmp_path / "x.npy").read_bytes()))
    assert (header.descr, header.shape) == (canonical, (2, 3))


@pytest.mark.parametrize("container", ["npy", "zip", "tar", "hdf5"])
def test_trials_and_tables_of_other_writers_come_back(container, static_folder, tmp_path):
    """A store and an export are the same as of files that numpy wrote; bounds, too, know the byte order."""
    (static_folder / "config.json").unlink(missing_ok=True)
    expected = convert_mouse(static_folder, tmp_path / "expected")
    names = {"<f4": "f4", "<f8": "d", "<i8": "int64", "<i4": "i", "|b1": "?", "|u1": "u1"}
    for path in static_folder.rglob("*.npy"):
        descr = np.load(path).dtype.str
        respell(path, names.get(descr, descr.lstrip("<|")))
    made = convert_mouse(static_folder, tmp_path / "stores")
    assert_holds_mouse(made.store, static_folder)
    assert read_id(made.store) == read_id(expected.store)
    exported = export_mouse(made.store, tmp_path / "exported", format=container).path
    compare_with_source(made.store, exported, workers=2)
    compare_with_source(expected.store, static_folder, workers=2)


@pytest.mark.parametrize("options", [{"precision": "float32"}, {"max_error": {"responses": 0.01}}], ids=str)
def test_narrowed_trials_of_other_writers_are_exported(options, float64_folder, tmp_path):
    for trial in trial_ids(float64_folder):
        respell(trial_path(float64_folder, "responses", trial), "f8")
    made = convert_mouse(float64_folder, tmp_path / "stores", **options)
    path = export_mouse(made.store, tmp_path / "exported").path
    assert np.load(trial_path(path, "responses", trial)).dtype.str == "<f4"
    compare_with_source(made.store, path, workers=1)


def test_headers_of_python_2(dynamic_folder, tmp_path):
    original = convert_mouse(dynamic_folder, tmp_path / "expected").store
    for path in dynamic_folder.rglob("*.npy"):
        values = np.load(path)
        numbers = [f"{size}L" for size in values.shape]
        respell(path, values.dtype.str, f"({numbers[0]},)" if len(numbers) == 1 else f"({', '.join(numbers)})")
    assert b"L, 8L" in trial_path(dynamic_folder, "videos", 0).read_bytes()[:128]
    store = convert_mouse(zip_mouse(dynamic_folder), tmp_path / "stores").store
    assert read_id(store) == read_id(original)
    assert_same_tree(export_mouse(store, tmp_path / "exported").path, dynamic_folder)


def test_a_store_whose_headers_name_no_dtype_of_trials_is_refused(dynamic_folder, converted):
    array = open_mouse(converted(dynamic_folder)).index.arrays["responses"]
    for descr in ["<f4", "f4", "float32"]:
        assert are_array_attributes({"source_headers": [[descr, False]]}, array)
    for descr in ["nonsense", "ff4", "O", "<U4", "<f16"]:
        assert not are_array_attributes({"source_headers": [[descr, False]]}, array)


def read_id(store):
    """Return the name of a store's content."""
    return open_mouse(store).index.attributes["store_id"]


# --- Zips of other programs ------------------------------------------------------------------------------------


class NamedInBytes(zipfile.ZipInfo):
    """A member whose name is of no encoding that zipfile knows."""

    raw_name = b""

    def _encodeFilenameFlags(self):
        return self.raw_name, self.flag_bits


def zip_as(folder, name_of, *, system=3, unicode_names=None):
    """Zip a mouse: `name_of` a file gives the bytes of its name, `unicode_names` what Info-ZIP's field has for it."""
    path = folder.parent / "foreign.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            inside = file.relative_to(folder).as_posix()
            info = NamedInBytes(f"{len(archive.infolist())}")
            info.create_system, info.raw_name = system, name_of(inside)
            if unicode_names is not None:
                text = struct.pack("<BL", 1, zlib.crc32(info.raw_name)) + unicode_names(inside).encode()
                # Between others, as Info-ZIP writes it.
                info.extra = b"ux\3\0\1\1\0" + struct.pack("<HH", 0x7075, len(text)) + text + b"zz\0\0"
            archive.writestr(info, file.read_bytes())
    return path


@pytest.mark.parametrize("heeded", [False, True], ids=["as before Python 3.12", "as since"])
def test_names_in_unicode_fields(heeded, dynamic_folder, tmp_path, monkeypatch):
    r"""The last byte of the first letter, as Japanese Windows writes it, is that of a backslash."""
    name = "表の mouse"
    path = zip_as(
        dynamic_folder,
        lambda inside: f"{name}/{inside}".encode("cp932"),
        system=0,
        unicode_names=lambda inside: f"{name}/{inside}",
    )
    list_members = zipfile.ZipFile.infolist

    def infolist(archive):
        members = list_members(archive)
        for member in members:
            member.filename = f"{name}/{member.filename.partition('/')[2]}" if heeded else member.orig_filename
        return members

    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    monkeypatch.setattr(zipfile.ZipFile, "infolist", infolist)
    store = convert_mouse(path, tmp_path / "stores").store
    assert store.name == f"{name}.zarr"
    assert_holds_mouse(store, dynamic_folder)


def test_a_unicode_field_of_another_name_is_not_heeded(dynamic_folder, tmp_path):
    """A program that knows nothing of the field renamed the member."""
    path = zip_as(dynamic_folder, lambda inside: f"m/{inside}".encode(), unicode_names=lambda inside: f"n/{inside}")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"m/data/", b"k/data/").replace(b"m/meta/", b"k/meta/").replace(b"m/conf", b"k/conf"))
    assert open_source(path).survey().mouse == "k"


def test_a_unicode_field_cannot_hide_an_unsafe_name(dynamic_folder):
    path = zip_as(
        dynamic_folder,
        lambda inside: f"m/{inside}".encode(),
        unicode_names=lambda inside: f"m/../../{inside}" if "responses/9" in inside else f"m/{inside}",
    )
    with pytest.raises(SourceError, match=r"unsafe name 'm/\.\./\.\./data/responses/9\.npy'"):
        open_source(path).survey()


@pytest.mark.parametrize("system", [0, 3], ids=["Windows", "Unix"])
@pytest.mark.parametrize("top", ["", "mouse\\"], ids=["at the top", "in a folder"])
def test_backslashes_between_folders_are_read(system, top, dynamic_folder, tmp_path):
    path = zip_as(dynamic_folder, lambda inside: (top + inside.replace("/", "\\")).encode(), system=system)
    store = convert_mouse(path, tmp_path / "stores").store
    assert store.name == ("mouse.zarr" if top else "foreign.zarr")
    assert_holds_mouse(store, dynamic_folder)


def test_backslashes_beside_slashes(dynamic_folder, tmp_path):
    """Of a program on Windows they are separators; on other systems a name may have one, which no store can hold."""

    def mixed(inside):
        return inside.replace("/", "\\") if inside.startswith("meta") else inside

    windows = zip_as(dynamic_folder, lambda inside: mixed(inside).encode(), system=0)
    assert_holds_mouse(convert_mouse(windows, tmp_path / "stores").store, dynamic_folder)
    unix = zip_as(dynamic_folder, lambda inside: mixed(inside).encode(), system=3)
    assert "again with / between folders" in refused(unix, tmp_path / "others").advice


def test_backslashes_do_not_lead_upwards(dynamic_folder):
    def upwards(inside):
        return f"m/../../{inside}" if inside.endswith("/9.npy") else f"m/{inside}"

    path = zip_as(dynamic_folder, lambda inside: upwards(inside).replace("/", "\\").encode(), system=0)
    with pytest.raises(SourceError, match="unsafe name"):
        open_source(path).survey()

"""Files that other programs wrote, or still write: read as they were meant, or refused with advice that helps."""

import errno
import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
from trialpack.convert import compare_with_source, convert_mouse, export_mouse, find_sources, open_source
from trialpack.convert.npy import read_header
from trialpack.readers import open_mouse
from trialpack.store import SourceError, TrialpackError
from trialpack.store.errors import one_text_a_cause
from trialpack.store.schema import are_array_attributes

from .command_line import run
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
    assert "ended before it had closed it" in problem.what and "h5clear -s" in problem.advice


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


# --- Files that Git LFS and git-annex have not fetched -----------------------------------------------------------

_LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\nsize 12345\n"
_ANNEX = b"/annex/objects/MD5E-s5243--d41d8cd98f00b204e9800998ecf8427e.npy\n"
_POINTERS = pytest.mark.parametrize(
    ("pointer", "command"), [(_LFS, "git lfs pull"), (_ANNEX, "datalad get")], ids=["LFS", "annex"]
)


def problems_of(path):
    with pytest.raises(TrialpackError) as refusal:
        open_source(path).survey()
    return refusal.value.problems


@_POINTERS
@pytest.mark.parametrize("container", ["folder", "zip"])
@pytest.mark.parametrize(
    "place", ["data/videos", "meta/neurons/cell_motor_coordinates.npy", "meta/note.txt", "config.json"]
)
def test_a_pointer_within_a_mouse(pointer, command, container, place, dynamic_folder):
    paths = list((dynamic_folder / place).glob("*.npy")) or [dynamic_folder / place]
    for path in paths:
        path.write_bytes(pointer)
    problems = problems_of(zip_mouse(dynamic_folder) if container == "zip" else dynamic_folder)
    assert {problem.member for problem in problems} == {path.relative_to(dynamic_folder).as_posix() for path in paths}
    assert all("pointer" in problem.what and command in problem.advice for problem in problems)


@_POINTERS
@pytest.mark.parametrize("name", ["mouse.zip", "mouse.tar", "mouse.h5", "mouse.tar.gz"])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "in a folder of mice"])
def test_a_pointer_in_place_of_a_mouse(pointer, command, name, beside, dynamic_folder, tmp_path):
    path = dynamic_folder.parent / name
    path.write_bytes(pointer)
    found = find_sources(path.parent) if beside else [path]
    (problem,) = next(refusals for one in found if (refusals := problems_of_any(one)))
    assert problem.path == str(path) and "pointer" in problem.what and command in problem.advice


def problems_of_any(source):
    try:
        open_source(source).survey()
    except TrialpackError as error:
        return error.problems
    return ()


def annexed(path, fetched):
    """Put a link in place of a file, as git-annex does."""
    key = path.parent / ".git/annex/objects/xy/MD5E-s3--01/MD5E-s3--01"
    key.parent.mkdir(parents=True, exist_ok=True)
    path.replace(key)
    path.symlink_to(".git/annex/objects/xy/MD5E-s3--01/MD5E-s3--01")
    if not fetched:
        key.unlink()


@pytest.mark.parametrize(("fetched", "command"), [(False, "datalad get and datalad unlock"), (True, "datalad unlock")])
def test_links_of_git_annex(fetched, command, dynamic_folder, dynamic_zip, tmp_path):
    """A file that is given may be a link to one; within a folder, the file itself has to be there."""
    annexed(dynamic_folder / "data/responses/9.npy", fetched)
    (problem,) = (one for one in problems_of(dynamic_folder) if "link" in one.what)
    assert problem.member == "data/responses/9.npy" and command in problem.advice
    annexed(dynamic_zip, fetched)
    if fetched:
        assert convert_mouse(dynamic_zip, tmp_path / "stores").verified
        return
    for path in (dynamic_zip, dynamic_zip.parent):
        (problem,) = problems_of(path)
        assert "git-annex" in problem.what and command in problem.advice


@pytest.mark.parametrize("name", ["manifest.json", "responses/c.0.0.0", "zarr.json"])
def test_a_store_that_was_not_fetched(name, dynamic_folder, converted):
    store = converted(dynamic_folder)
    file = next(path for path in store.rglob("*") if path.relative_to(store).as_posix() == name)
    file.write_bytes(_ANNEX)
    with pytest.raises(TrialpackError, match=r"pointer.*; fetch it with datalad get"):
        open_mouse(store)
    file.unlink()
    file.symlink_to("../.git/annex/objects/x/y/z")
    with pytest.raises(TrialpackError, match=r"link of git-annex.*; fetch it with datalad get and datalad unlock"):
        open_mouse(store)


# --- Advice that can help ----------------------------------------------------------------------------------------


def test_a_static_mouse_has_no_statistics_pkl(static_folder, converted, tmp_path):
    """Whoever exports has no choice of .npz; whoever saves statistics has."""
    store = converted(static_folder)
    done = run("export", store, "--to", tmp_path / "out", "--as", "npy", "--statistics-pkl")
    assert done.returncode == 1 and "npz" not in done.stderr and "export without statistics.pkl" in done.stderr
    assert "use .npz" in run("stats", store, "-o", tmp_path / "x.pkl").stderr


@pytest.mark.parametrize(
    ("spoil", "advice"),
    [
        (lambda folder: shutil.rmtree(folder / "data/responses"), "add responses, of each trial"),
        (lambda folder: trial_path(folder, "pupil_center", 9).unlink(), "add it, or declare the variable optional"),
        (lambda folder: save(trial_path(folder, "behavior", 9), np.int16), "save it as float32"),
        (
            lambda folder: (folder / "meta/trials/tiers.npy").rename(folder / "tiers.npy"),
            "save one text there for each",
        ),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff"), "save it as such"),
    ],
    ids=["no responses", "a missing pupil", "int16", "no tiers", "another encoding"],
)
def test_what_was_never_right_is_not_to_be_copied_again(spoil, advice, dynamic_folder, tmp_path):
    spoil(dynamic_folder)
    with pytest.raises(SourceError) as refusal:
        convert_mouse(dynamic_folder, tmp_path / "stores")
    assert any(advice in problem.advice for problem in refusal.value.problems), str(refusal.value)
    assert not [problem for problem in refusal.value.problems if "copy" in problem.advice]


def save(path, dtype):
    np.save(path, np.nan_to_num(np.load(path)).astype(dtype))


# --- One fault of many files -------------------------------------------------------------------------------------


def lines_and_problems(source, tmp_path):
    """Return what convert prints of a refusal, and what it lists with --json."""
    done = run("convert", source, "--to", tmp_path / "stores", "--json")
    assert done.returncode == 1
    return done.stderr.splitlines(), json.loads(done.stdout)["problems"]


def test_a_zip_packed_by_another_method(dynamic_folder, tmp_path):
    path = zip_mouse(dynamic_folder, method=zipfile.ZIP_BZIP2)
    with zipfile.ZipFile(path) as archive:
        count = len([info for info in archive.infolist() if not info.is_dir()])
    (line,), problems = lines_and_problems(path, tmp_path)
    assert f"method 12 (expected stored or deflated) (and {count - 1} more: " in line and line.endswith("zip -r does")
    assert len(problems) == count


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-9], lambda data: data.replace(b"<f4", b"<i4")], ids=["cut", "i4"]
)
def test_all_trials_with_a_fault_are_named(spoil, dynamic_folder, tmp_path):
    """Though only a few headers are read of trials that are as they should be."""
    for trial in trial_ids(dynamic_folder):
        path = trial_path(dynamic_folder, "responses", trial)
        path.write_bytes(spoil(path.read_bytes()) if trial != 9 else path.read_bytes())
    lines, problems = lines_and_problems(dynamic_folder, tmp_path)
    wrong = [one for one in problems if "data/responses/" in one and "other variables" not in one]
    assert len(lines) == 1 and len(wrong) in (1, 11), problems


def test_the_dtype_of_most_trials_is_the_expected_one(dynamic_folder):
    """Of them only a few headers are read, of trials of another size all: those are not the majority."""
    spoilt = trial_ids(dynamic_folder)[:5]
    for trial in spoilt:
        save(trial_path(dynamic_folder, "behavior", trial), np.int16)
    problems = problems_of(dynamic_folder)
    assert [problem.trial for problem in problems] == spoilt
    assert {problem.advice for problem in problems} == {"save it as float32"}


@pytest.mark.parametrize("variables", [["inputs"], ["inputs", "responses", "behavior", "eye_position"]], ids=len)
def test_a_movie_that_cannot_be_read_is_still_a_trial(variables, dynamic_folder, tmp_path):
    """That its dtype is another one does not mean that it is missing, or should have no tier."""
    h5py = pytest.importorskip("h5py")
    from .hdf5_files import write_movies

    path = write_movies(dynamic_folder, tmp_path / "mouse.h5", dict.fromkeys(trial_ids(dynamic_folder), 300))
    spoilt = trial_ids(dynamic_folder)[2:7]
    with h5py.File(path, "a") as file:
        for place in (f"{group}/{trial}" for group in variables for trial in spoilt):
            values = file[place][...]
            del file[place]
            file[place] = np.nan_to_num(values).astype(np.uint8)
    (line,), problems = lines_and_problems(path, tmp_path)
    assert "found |u1" in line and f"(and {5 * len(variables) - 1} more: " in line and "tier" not in line
    assert len(problems) == 5 * len(variables)


def test_a_warning_of_many_trials_is_kept_as_one(dynamic_folder, tmp_path):
    for trial in trial_ids(dynamic_folder):
        path = trial_path(dynamic_folder, "responses", trial)
        values = np.load(path)
        values[3, 5] = np.nan
        np.save(path, values)
    done = run("convert", dynamic_folder, "--to", tmp_path / "stores", "--json")
    (made,) = json.loads(done.stdout)["mice"]
    assert len([one for one in made["warnings"] if "NaN" in one]) == 12
    (kept,) = (one for one in open_mouse(made["store"]).index.attributes["warnings"] if "NaN" in one)
    assert kept == (
        "responses of trial 0 hold NaN among their valid values (and 11 more: trial 3, trial 6, trial 9, trial 10, …)"
    )
    done = run("convert", dynamic_folder, "--to", tmp_path / "shown")
    assert len([line for line in done.stderr.splitlines() if "NaN" in line]) == 1


# --- config.json -------------------------------------------------------------------------------------------------


def test_files_of_any_name_beside_a_mouse_are_said_to_be_left_out(static_folder):
    names = ["#", "# 3", "#1.txt#", "1.txt", "README", "a.txt", "\u2069'"]
    for name in names:
        (static_folder / name).write_text("")
    survey = open_source(static_folder).survey()
    left_out = [one for one in survey.warnings if "left out" in one]
    assert len(left_out) == len(names)
    lines = one_text_a_cause(survey.warnings)
    assert any(line.startswith("# is not part") and "more" not in line for line in lines), lines


@pytest.mark.parametrize("text", ["", "{'a': 1}", '{"a": 1', "﻿{}", "[" * 100_000])
def test_a_config_that_is_no_json_is_said_and_kept(text, dynamic_folder, tmp_path):
    (dynamic_folder / "config.json").write_bytes(text.encode())
    made = convert_mouse(dynamic_folder, tmp_path / "stores")
    (warning,) = (one for one in made.warnings if "config.json" in one)
    assert warning.startswith("config.json is not JSON (") and warning.isprintable()
    assert made.warnings == open_source(dynamic_folder).survey().warnings
    path = export_mouse(made.store, tmp_path / "exported").path
    assert (path / "config.json").read_bytes() == text.encode()


def test_an_exported_file_has_the_same_warning(static_folder, tmp_path):
    pytest.importorskip("h5py")
    (static_folder / "config.json").write_text("none")
    made = convert_mouse(static_folder, tmp_path / "stores")
    file = export_mouse(made.store, tmp_path / "exported", format="hdf5").path
    assert convert_mouse(file, tmp_path / "again").warnings == made.warnings and "config.json" in made.warnings[-1]


@pytest.mark.parametrize("text", ["null", "[1]", '{"a": "é"}\r\n', "NaN"])
def test_a_config_that_is_json_needs_no_word(text, dynamic_folder):
    (dynamic_folder / "config.json").write_bytes(text.encode())
    assert not open_source(dynamic_folder).survey().warnings

"""Tars of mice: read in place, written again, and refused where they are not what they should be."""

import gzip
import io
import os
import random
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from trialpack.convert import compare_with_source, convert_mouse, export_mouse, find_sources, open_source, plan_mouse
from trialpack.store import SourceError

from .mice import assert_holds_mouse, assert_same_tree

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
RESPONSE = "data/responses/9.npy"
BLOCK = 512
Change = Callable[[Path], object]


def tar_mouse(folder: Path, *, form: int = tarfile.PAX_FORMAT, top: str | None = None, mode: str = "w:") -> Path:
    """Write ``<folder>.tar`` as common programs do: with folders, owners and times."""
    path = folder.with_name(f"{folder.name}.tar")
    with tarfile.open(path, mode, format=form) as archive:
        archive.add(folder, folder.name if top is None else top)
    return path


def append(path: Path, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> Path:
    """Add a member to the end of a tar."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    with tarfile.open(path, "a:") as archive:
        archive.addfile(info, io.BytesIO(data))
    return path


def adding(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"") -> Change:
    return lambda path: append(path, name.format(path.stem), data, kind, link)


def offset_of(path: Path, name: str) -> int:
    """Return where the header of a member is."""
    with tarfile.open(path, "r:") as archive:
        return next(member for member in archive.getmembers() if member.name.endswith(name)).offset


def with_field(path: Path, name: str, place: slice, value: bytes) -> None:
    """Change a field of a member's header, and its checksum with it."""
    data = bytearray(path.read_bytes())
    start = offset_of(path, name)
    header = data[start : start + BLOCK]
    header[place] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[start : start + BLOCK] = header
    path.write_bytes(data)


def changing(name: str, place: slice, value: bytes) -> Change:
    return lambda path: with_field(path, name, place, value)


def cut(size: Callable[[Path], int]) -> Change:
    return lambda path: os.truncate(path, size(path))


def twice(name: str) -> Change:
    return lambda path: append(path, f"{path.stem}/{name}", (path.with_suffix("") / name).read_bytes())


def end_of_members(path: Path) -> int:
    with tarfile.open(path, "r:") as archive:
        archive.getmembers()
        return archive.offset


def flipped(name: str) -> Change:
    """Change one bit of a member's header."""

    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[offset_of(path, name) + 3] ^= 1
        path.write_bytes(data)

    return change


SIZE = slice(124, 136)


def base256(number: int) -> bytes:
    return (b"\x80" if number >= 0 else b"\xff") + number.to_bytes(11, "big", signed=True)


# --- There and back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dynamic", "float64", "static"])
def test_folder_to_tar_to_store_to_tar(kind, fresh, tmp_path):
    folder = fresh(f"{kind}_folder")
    tar = tar_mouse(folder)
    store = convert_mouse(tar, tmp_path / "stores").store
    assert_holds_mouse(store, folder)
    compare_with_source(store, tar, workers=2)
    made = export_mouse(store, tmp_path / "out", format="tar").path
    assert made == tmp_path / "out" / f"{folder.name}.tar"
    compare_with_source(store, made, workers=1)
    with tarfile.open(made, "r:") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
        members = archive.getmembers()
    assert_same_tree(tmp_path / "unpacked" / folder.name, folder)
    assert {(one.mtime, one.uid, one.gid, one.uname, one.gname, one.mode) for one in members} == {
        (0, 0, 0, "", "", 0o644)
    }
    again = convert_mouse(made, tmp_path / "again").store
    assert export_mouse(again, tmp_path / "out again", format="tar").path.read_bytes() == made.read_bytes()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("top", ["mouse", "a/b/mouse", ".", "./mouse"])
def test_tars_of_all_programs(form, top, static_folder, converted):
    """With any folder above the mouse, or none; and one name longer than a header has room for."""
    long = static_folder / "meta" / "neurons" / ("long" * 24) / "area.npy"
    long.parent.mkdir()
    long.write_bytes((static_folder / "meta/neurons/unit_ids.npy").read_bytes())
    tar = tar_mouse(static_folder, form=FORMATS[form], top=top)
    assert open_source(tar).survey().mouse == (static_folder.name if top == "." else "mouse")
    assert_holds_mouse(converted(tar), static_folder)


def test_what_macos_leaves_is_skipped(static_folder, converted):
    tar = tar_mouse(static_folder)
    append(tar, f"{static_folder.name}/data/responses/._9.npy", b"junk")
    append(tar, f"{static_folder.name}/.DS_Store", b"junk")
    assert_holds_mouse(converted(tar), static_folder)


def test_what_is_beside_the_mouse_is_named(static_folder):
    tar = append(tar_mouse(static_folder), "README.md", b"text")
    assert open_source(tar).survey().warnings == ("README.md is not part of the published layout and was left out",)


def test_a_tar_by_another_name_and_others_by_this_one(static_folder, static_zip, tmp_path):
    tar = tar_mouse(static_folder).rename(tmp_path / "mouse.data")
    assert open_source(tar).survey().files == open_source(static_folder).survey().files
    assert open_source(static_zip.rename(tmp_path / "mouse.tar")).survey().mouse == static_folder.name


def test_tars_in_a_folder_are_found(static_folder, dynamic_folder, tmp_path):
    place = tmp_path / "downloads"
    place.mkdir()
    for folder in (static_folder, dynamic_folder):
        tar_mouse(folder).rename(place / f"{folder.name}.tar")
    assert [Path(source.label).name for source in find_sources(place)] == [
        f"{folder.name}.tar" for folder in (dynamic_folder, static_folder)
    ]


def test_a_tar_is_not_extracted(static_folder, tmp_path, converted):
    tar = tar_mouse(static_folder)
    before = set(tar.parent.rglob("*"))
    converted(tar)
    assert set(tar.parent.rglob("*")) == before


# --- Refused, one line each ------------------------------------------------------------------------------------------

HOSTILE: dict[str, tuple[Change, str]] = {
    "upwards": (adding("../evil.npy"), r"\.\./evil\.npy: has an unsafe name"),
    "upwards inside": (adding("{}/data/../../evil.npy"), "has an unsafe name"),
    "absolute": (adding("/tmp/evil.npy"), "has an unsafe name"),
    "backslash": (adding("{}\\data\\x.npy"), "has an unsafe name"),
    "drive": (adding("C:/evil.npy"), "has an unsafe name"),
    "symbolic link": (adding("{}/data/x", tarfile.SYMTYPE, "/etc/passwd"), "data/x: is a link "),
    "hard link": (adding("{}/data/x", tarfile.LNKTYPE, "/etc/passwd"), "data/x: is a link "),
    "link beside the mouse": (adding("x", tarfile.SYMTYPE, "/etc/passwd"), "x: is a link "),
    "device": (adding("{}/x", tarfile.CHRTYPE), "x: is a device "),
    "disk": (adding("{}/x", tarfile.BLKTYPE), "x: is a device "),
    "pipe": (adding("{}/x", tarfile.FIFOTYPE), "x: is a pipe "),
    "unknown type": (adding("{}/x", b"Z"), "x: is of an unknown type b'Z' "),
    "sparse": (changing("config.json", slice(156, 157), tarfile.GNUTYPE_SPARSE), "is a file with holes"),
    "twice": (twice(RESPONSE), f"{RESPONSE}: stands 2 times in the tar"),
    "second mouse": (adding("other/meta/trials/tiers.npy"), "expected one member meta/trials/tiers.npy, found 2"),
    "empty": (cut(lambda path: 0), "not a readable tar"),
    "one block": (cut(lambda path: BLOCK), "not a readable tar"),
    "half": (cut(lambda path: path.stat().st_size // 2), "not a readable tar"),
    "without an end": (cut(lambda path: offset_of(path, RESPONSE)), "not a readable tar"),
    "damaged header": (flipped(RESPONSE), "not a readable tar .no member and no end at byte"),
    "damaged first header": (lambda path: path.write_bytes(b"\1" + path.read_bytes()[1:]), "not a readable tar"),
    "size too large": (changing(RESPONSE, SIZE, b"77777777777\0"), "not a readable tar"),
    "size of an exabyte": (changing(RESPONSE, SIZE, base256(1 << 60)), "not a readable tar"),
    "size below zero": (changing(RESPONSE, SIZE, base256(-1024)), "not a readable tar"),
    "size back to itself": (changing(RESPONSE, SIZE, base256(-512)), "not a readable tar"),
    "no size": (changing(RESPONSE, SIZE, b"not a number"), "not a readable tar"),
    "pax header of a gigabyte": (changing(RESPONSE, slice(124, 157), b"10000000000\0" + b" " * 20 + b"x"), "tar"),
    "long name of a gigabyte": (changing(RESPONSE, slice(124, 157), b"10000000000\0" + b" " * 20 + b"L"), "tar"),
    "text": (lambda path: path.write_text("a text"), "not a readable tar"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_hostile_tars(what, form, static_folder, tmp_path):
    change, words = HOSTILE[what]
    tar = tar_mouse(static_folder, form=FORMATS[form])
    change(tar)
    with pytest.raises(SourceError, match=words) as raised:
        convert_mouse(tar, tmp_path / "stores")
    assert len(str(raised.value).splitlines()) == 1
    assert raised.value.problems[0].advice and raised.value.path == str(tar)
    assert not list((tmp_path / "stores").glob("*.zarr")) and not (tmp_path.parent / "evil.npy").exists()


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ({"size": str(1 << 60)}, "not a readable tar"),
        ({"size": "-512"}, "not a readable tar"),
        ({"path": "../evil.npy"}, "unsafe name"),
        ({"path": "a\0b"}, "unsafe name"),
        ({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"}, "not a readable tar"),
        ({"GNU.sparse.map": "0,5,1", "GNU.sparse.size": "10"}, "a file with holes"),
        ({"GNU.sparse.map": "zero", "GNU.sparse.size": "10"}, "not a readable tar"),
    ],
)
def test_hostile_pax_records(records, words, static_folder):
    tar, info = tar_mouse(static_folder), tarfile.TarInfo(f"{static_folder.name}/data/x")
    info.size, info.pax_headers = 600, records
    header = info.create_pax_header(info.get_info(), "utf-8")
    tar.write_bytes(tar.read_bytes()[: end_of_members(tar)] + header + b"9" * 1024 + bytes(1024))
    with pytest.raises(SourceError, match=words):
        open_source(tar).survey()


def test_headers_of_headers(static_folder):
    """Thousands of extended headers, each of the next."""
    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": "y"}
    header = info.create_pax_header(info.get_info(), "utf-8")[: 2 * BLOCK]
    tar = static_folder.with_suffix(".tar")
    tar.write_bytes(header * 5000 + bytes(1024))
    with pytest.raises(SourceError, match="not a readable tar"):
        open_source(tar).survey()


@pytest.mark.parametrize(("mode", "suffix"), [("w:gz", ".tar.gz"), ("w:gz", ".tgz"), ("w:bz2", ".tar.bz2")])
def test_compressed_tars_are_refused_with_advice(mode, suffix, static_folder):
    tar = tar_mouse(static_folder, mode=mode)
    tar = tar.rename(tar.with_name(f"{static_folder.name}{suffix}"))
    program = {"w:gz": "gzip", "w:bz2": "bzip2"}[mode]
    with pytest.raises(SourceError) as raised:
        plan_mouse(tar, "stores")
    what = f"compressed by {program} (expected an uncompressed tar, which is read in place)"
    assert str(raised.value) == f"{tar}: {what}; unpack it: {program} -d {tar.name}"


@pytest.mark.parametrize(("magic", "program"), [(b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")])
def test_more_compressions(magic, program, tmp_path):
    path = tmp_path / "mouse.tar"
    path.write_bytes(magic + bytes(100))
    with pytest.raises(SourceError, match=f"compressed by {program} "):
        open_source(path).survey()


def test_garbage_is_refused_or_read(static_folder):
    """Any changed byte of the headers, and any block of noise, gives our error or a survey."""
    tar, rng = tar_mouse(static_folder), random.Random(5)
    original = tar.read_bytes()
    with tarfile.open(tar, "r:") as archive:
        headers = [member.offset for member in archive.getmembers()]
    refused = 0
    for _ in range(300):
        data = bytearray(original)
        start = rng.choice(headers) if rng.random() < 0.8 else rng.randrange(len(data) - BLOCK)
        for _ in range(rng.choice([1, 1, 4])):
            data[start + rng.randrange(BLOCK)] = rng.randrange(256)
        if rng.random() < 0.5:
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + BLOCK])
        tar.write_bytes(data)
        try:
            open_source(tar).survey()
        except SourceError:
            refused += 1
    assert refused > 100


# --- Changes while it is read ----------------------------------------------------------------------------------------


def test_a_change_between_survey_and_reading_is_noticed(static_folder):
    tar = tar_mouse(static_folder)
    source = open_source(tar)
    ids = source.survey().trial_ids
    part = source.part(ids)
    before = part.fingerprint
    os.utime(tar, ns=(0, 5_000_000_000))
    with part.open() as reader, pytest.raises(SourceError, match="the tar changed while it was read; convert again"):
        reader.read("responses", ids[0])
    assert open_source(tar).part(ids).fingerprint != before


def test_a_tar_that_gets_shorter_is_noticed(static_folder):
    tar = tar_mouse(static_folder)
    source = open_source(tar)
    ids = source.survey().trial_ids
    part = source.part(ids)
    os.truncate(tar, BLOCK)
    with part.open() as reader, pytest.raises(SourceError, match="the tar changed while it was read"):
        reader.read("images", ids[-1])


def test_the_fingerprint_is_of_the_tar(static_folder):
    tar = tar_mouse(static_folder)
    ids = open_source(tar).survey().trial_ids
    found = open_source(tar).part(ids).fingerprint
    assert found == open_source(tar).part(ids).fingerprint


def test_gzip_of_something_else_is_refused_the_same_way(tmp_path):
    path = tmp_path / "mouse.npy.gz"
    path.write_bytes(gzip.compress(b"text"))
    with pytest.raises(SourceError, match="compressed by gzip"):
        open_source(path).survey()


def test_no_right_to_read_is_an_error_of_the_system(static_folder):
    tar = tar_mouse(static_folder)
    tar.chmod(0)
    if os.access(tar, os.R_OK):
        pytest.skip("this user may read everything")
    assert stat.S_IMODE(tar.stat().st_mode) == 0
    with pytest.raises(OSError, match="Permission denied"):
        open_source(tar).survey()

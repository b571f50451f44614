"""Whatever is wrong with a mouse is said by name before anything is published, and nothing is left behind."""

import contextlib
import ctypes
import gzip
import io
import os
import pickle
import shutil
import stat
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from trialpack.convert import convert_mouse, export_mouse, open_source, plan_mouse
from trialpack.convert.sample import write_sample
from trialpack.convert.schema import SCHEMA_FILE, parse_schema
from trialpack.readers import open_mouse
from trialpack.store import SourceError
from trialpack.store.errors import one_a_cause
from trialpack.store.variables import RESERVED

from ..mice import Array, assert_same_tree, edit, listing, trial_ids, trial_path, trim, variables, write_npy, zip_mouse
from .promises import Tally

Mutation = Callable[[Path], object]
Fresh = Callable[[str], Path]
Lie = Callable[[zipfile.ZipFile], object]
Size = Callable[[int, int], int]

RESPONSE = "data/responses/9.npy"
FIRST = "data/responses/0.npy"
VIDEO = "data/videos/9.npy"
LICK = "data/licks/9.npy"
TIERS = "meta/trials/tiers.npy"
UNITS = "meta/neurons/unit_ids.npy"
BOTH = ("folder", "zip")


@dataclass(frozen=True)
class Kind:
    """One way in which a mouse can be bad.

    Attributes
    ----------
    spoil
        Does it, to the folder of a mouse.
    name
        The file that must be named, by every line of the message unless `others`.
    words
        What the line that names it must say as well.
    mouse
        Which of the tiny mice.
    containers
        Where it can happen: the folder is spoilt, and zipped for ``zip``.
    others
        Whether other files are named too, and rightly so.
    """

    spoil: Mutation
    name: str
    words: tuple[str, ...] = ()
    mouse: str = "dynamic"
    containers: tuple[str, ...] = BOTH
    others: bool = False


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._path),)


def canary_of(folder: Path) -> Path:
    return folder.parent / "canary"


# --- Ways to spoil a file --------------------------------------------------------------------------------------------


def save(name: str, make: Callable[[Array], Array]) -> Mutation:
    """Replace an array by a function of it."""
    return lambda folder: edit(folder / name, make)


def put(name: str, content: bytes) -> Mutation:
    """Write a file, and the folders above it."""

    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return write


def put_array(name: str, array: object) -> Mutation:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=False)
    return put(name, file.getvalue())


def change_bytes(name: str, change: Callable[[bytes], bytes]) -> Mutation:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def header(name: str, text: str | bytes, version: tuple[int, int] = (1, 0)) -> Mutation:
    """Keep a file's values and replace its header; a text is padded to the length of the old one if it is shorter."""

    def write(folder: Path) -> None:
        encoded = text.encode("latin1") if isinstance(text, str) else text
        write_npy(folder / name, encoded.ljust(117) + b"\n", (folder / name).read_bytes()[128:], version)

    return write


def npy_file(shape: str, values: bytes = b"") -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + values


def shape(name: str, text: str) -> Mutation:
    return header(name, f"{{'descr': '<f4', 'fortran_order': False, 'shape': {text}, }}")


def descr(name: str, text: str) -> Mutation:
    return header(name, f"{{'descr': {text}, 'fortran_order': False, 'shape': (20, 324), }}")


def remove(name: str) -> Mutation:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def instead(name: str, make: Callable[[Path, Path], object]) -> Mutation:
    """Move a file out of the mouse and put something in its place: ``make(place, where the file is now)``."""

    def replace(folder: Path) -> None:
        outside = folder.parent / "outside"
        shutil.move(folder / name, outside)
        make(folder / name, outside)

    return replace


def every(variable: str, make: Callable[[Array], Array]) -> Mutation:
    def change(folder: Path) -> None:
        for trial in trial_ids(folder):
            edit(trial_path(folder, variable, trial), make)

    return change


def add_variable(name: str, make: Callable[[], Array]) -> Mutation:
    """Add a variable to all trials."""

    def add(folder: Path) -> None:
        (folder / "data" / name).mkdir()
        for trial in trial_ids(folder):
            np.save(trial_path(folder, name, trial), make())

    return add


def own(make: Callable[[], Array] = lambda: np.ones((2, 324), "f4"), name: str = "licks") -> Mutation:
    """Add a variable of a lab's own to mouse A, of 20 neurons and 324 frames."""
    return add_variable(name, make)


def both(*mutations: Mutation) -> Mutation:
    return lambda folder: [mutation(folder) for mutation in mutations]


def rename(old: str, new: str) -> Mutation:
    return lambda folder: (folder / old).rename(folder / new)


def save_pickled(name: str) -> Mutation:
    def write(folder: Path) -> None:
        with open(folder / name, "wb") as file:
            np.save(file, np.array([Canary(canary_of(folder))], object), allow_pickle=True)

    return write


def plain_pickle(folder: Path) -> None:
    (folder / RESPONSE).write_bytes(pickle.dumps(Canary(canary_of(folder))))


def evil_header(folder: Path) -> None:
    code = f"__import__('os').mkdir({str(canary_of(folder))!r})"
    shape(RESPONSE, f"({code},)")(folder)


def sparse(name: str, size: int) -> Mutation:
    def write(folder: Path) -> None:
        put(name, b"")(folder)
        os.truncate(folder / name, size)

    return write


def no_mouse(folder: Path) -> None:
    shutil.rmtree(folder / "data")
    shutil.rmtree(folder / "meta")


def lose_trial(folder: Path) -> None:
    for variable in ("videos", "responses", "behavior", "pupil_center"):
        trial_path(folder, variable, 9).unlink()


def deep(folder: Path) -> None:
    path = folder / "meta/trials"
    for _ in range(600):
        path = path / "d"
        path.mkdir()
    (path / "x.npy").touch()


def text_with(code: int, name: str) -> Mutation:
    """Put a code point into a text array that no text can have."""

    def poison(array: Array) -> Array:
        array.view(np.uint32)[0] = code
        return array

    return save(name, poison)


def mixed_with_signalling_nan(folder: Path) -> None:
    every("responses", lambda a: a.astype(np.float64))(folder)
    values = np.ones((20, 324), np.float32)
    values.view(np.uint32)[0, 0] = 0x7FA00001
    np.save(folder / RESPONSE, values)


NUMBERS = "expected bool, integers or floats of at most 64 bits"
NO_VALUES = "expected values along every axis, found shape"
TOML = "declare it in trialpack.toml"
SHAPE = "(expected a shape of non-negative integers"
DAMAGED = "the header is damaged"
UNSAFE = "a name that a store cannot have"
OTHER_SHAPE = "expected shape (20, 324) as in the other trials, found"

KINDS: dict[str, Kind] = {
    # One trial's file.
    "empty file": Kind(put(RESPONSE, b""), RESPONSE, ("the file is empty",)),
    "header cut off": Kind(change_bytes(RESPONSE, lambda b: b[:60]), RESPONSE, ("header is cut off", "128", "60")),
    "one value short": Kind(change_bytes(RESPONSE, lambda b: b[:-4]), RESPONSE, ("truncated", "26048", "26044")),
    "one byte short": Kind(change_bytes(RESPONSE, lambda b: b[:-1]), RESPONSE, ("truncated", "26048", "26047")),
    "header only": Kind(change_bytes(RESPONSE, lambda b: b[:128]), RESPONSE, ("truncated", "26048", "128")),
    "half of the first trial": Kind(change_bytes(FIRST, lambda b: b[:13000]), FIRST, ("truncated", "13000")),
    "one byte too many": Kind(change_bytes(RESPONSE, lambda b: b + b"\0"), RESPONSE, ("longer", "26048", "26049")),
    "file twice": Kind(change_bytes(RESPONSE, lambda b: b + b), RESPONSE, ("longer", "26048", "52096")),
    "text": Kind(put(RESPONSE, b"1.0 2.0\n" * 99), RESPONSE, ("not a .npy file", "1.0 2.")),
    "web page": Kind(put(RESPONSE, b"<!DOCTYPE html><html>404"), RESPONSE, ("not a .npy file", "<!DOCT")),
    "zeros": Kind(change_bytes(RESPONSE, lambda b: bytes(len(b))), RESPONSE, ("not a .npy file",)),
    "first trial is text": Kind(put(FIRST, b"text"), FIRST, ("not a .npy file",)),
    "npz": Kind(lambda f: np.savez(f / "n.npz", a=1) or os.replace(f / "n.npz", f / RESPONSE), RESPONSE, ("PK",)),
    "records": Kind(save(RESPONSE, lambda a: np.zeros(3, "f4,f4")), RESPONSE, ("records with named fields",)),
    "records as text": Kind(descr(RESPONSE, "'f4,f4'"), RESPONSE, ("dtype 'f4,f4' is not supported",)),
    "complex": Kind(save(RESPONSE, lambda a: a.astype("c8")), RESPONSE, (NUMBERS, "<c8")),
    "integers": Kind(save(RESPONSE, lambda a: np.nan_to_num(a).astype("i4")), RESPONSE, ("found <i4",)),
    "booleans": Kind(save(RESPONSE, lambda a: a > 0), RESPONSE, ("found |b1",)),
    "long doubles": Kind(save(RESPONSE, lambda a: a.astype(np.longdouble)), RESPONSE, (NUMBERS,)),
    "integers of other widths": Kind(
        both(every("responses", lambda a: np.nan_to_num(a).astype("i4")), save(RESPONSE, lambda a: a.astype("i2"))),
        RESPONSE,
        ("expected int32 as in the other trials", "found <i2"),
    ),
    "words": Kind(save(RESPONSE, lambda a: np.full(a.shape, "a")), RESPONSE, ("found <U1",)),
    "times": Kind(save(RESPONSE, lambda a: np.zeros(a.shape, "M8[s]")), RESPONSE, ("found <M8[s]",)),
    "video of bytes": Kind(save(VIDEO, lambda a: np.zeros(a.shape, "u1")), VIDEO, ("found |u1",)),
    "unknown dtype": Kind(descr(RESPONSE, "'<f5'"), RESPONSE, ("unknown dtype", "'<f5'")),
    "dtype that is no text": Kind(descr(RESPONSE, "4"), RESPONSE, ("named fields",)),
    "dtype with a shape": Kind(descr(RESPONSE, "'(2,)<f4'"), RESPONSE, ("is not supported",)),
    "dtype of no size": Kind(descr(RESPONSE, "'<U0'"), RESPONSE, ("is not supported",)),
    "variable strings": Kind(descr(RESPONSE, "'T'"), RESPONSE),
    # One trial's shape.
    "an axis too many": Kind(save(RESPONSE, lambda a: a[None]), RESPONSE, (OTHER_SHAPE, "(1, 20, 324)")),
    "an axis too few": Kind(save(RESPONSE, lambda a: a.reshape(-1)), RESPONSE, (OTHER_SHAPE, "(6480,)")),
    "no axis": Kind(save(RESPONSE, lambda a: a[0, 0]), RESPONSE, (OTHER_SHAPE, "found ()")),
    "a frame less": Kind(save(RESPONSE, lambda a: a[:, 1:]), RESPONSE, (OTHER_SHAPE, "(20, 323)")),
    "a frame more": Kind(save(VIDEO, lambda a: np.dstack([a, a[..., :1]])), VIDEO, ("(6, 8, 324)", "(6, 8, 325)")),
    "a neuron less": Kind(save(RESPONSE, lambda a: a[1:]), RESPONSE, (OTHER_SHAPE, "(19, 324)")),
    "no neurons": Kind(save(RESPONSE, lambda a: a[:0]), RESPONSE, (NO_VALUES, "(0, 324)")),
    "transposed": Kind(save(RESPONSE, lambda a: a.T.copy()), RESPONSE, (OTHER_SHAPE, "(324, 20)")),
    "transposed video": Kind(save(VIDEO, lambda a: np.moveaxis(a, 2, 0).copy()), VIDEO, ("found (324, 6, 8)",)),
    "transposed first trial": Kind(save(FIRST, lambda a: a.T.copy()), FIRST, ("(324, 20)",)),
    "transposed first image": Kind(
        save("data/images/0.npy", lambda a: a.transpose(0, 2, 1).copy()),
        "data/images/0.npy",
        ("(1, 16, 9)",),
        mouse="static",
    ),
    "image of another size": Kind(
        save("data/images/3.npy", lambda a: a[:, 1:]), "data/images/3.npy", ("(1, 9, 16)", "(1, 8, 16)"), mouse="static"
    ),
    "column of responses": Kind(
        save("data/responses/3.npy", lambda a: a[:, None]), "data/responses/3.npy", ("(6,)", "(6, 1)"), mouse="static"
    ),
    # One trial's header.
    "header too long": Kind(header(RESPONSE, " " * 20_000), RESPONSE, ("too long", "10000", "20001")),
    "header of 4 GB": Kind(
        change_bytes(RESPONSE, lambda b: b[:6] + b"\2\0" + b"\xff" * 4 + b[12:]), RESPONSE, ("too long", "4294967295")
    ),
    "petabytes": Kind(shape(RESPONSE, "(20, 324000000000000)"), RESPONSE, ("(20, 324000000000000)",)),
    "petabytes in the first trial": Kind(shape(FIRST, "(20, 324000000000000)"), FIRST, ("(20, 324000000000000)",)),
    "more than 64 bits": Kind(shape(RESPONSE, "(4294967296, 4294967296, 4294967296)"), RESPONSE, ("4294967296",)),
    "huge axes of nothing": Kind(
        both(shape(RESPONSE, f"(0, {10**30})"), change_bytes(RESPONSE, lambda b: b[:128])), RESPONSE, (str(10**30),)
    ),
    "65 axes": Kind(
        header(RESPONSE, f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'1,' * 63}20, 324)}}"), RESPONSE, ()
    ),
    "an axis of 5000 digits": Kind(shape(RESPONSE, f"(0x{'f' * 5000},)"), RESPONSE),
    "negative axis": Kind(shape(RESPONSE, "(-20, -324)"), RESPONSE, (SHAPE, "(-20, -324)")),
    "axis of -1": Kind(shape(RESPONSE, "(20, -1)"), RESPONSE, (SHAPE, "(20, -1)")),
    "boolean axes": Kind(shape(RESPONSE, "(True, 324)"), RESPONSE, (SHAPE, "(True, 324)")),
    "fractional axes": Kind(shape(RESPONSE, "(20.0, 324.0)"), RESPONSE, (SHAPE, "(20.0, 324.0)")),
    "list of axes": Kind(shape(RESPONSE, "[20, 324]"), RESPONSE, (SHAPE, "[20, 324]")),
    "text as shape": Kind(shape(RESPONSE, "'20, 324'"), RESPONSE, (SHAPE,)),
    "extra key": Kind(shape(RESPONSE, "(20, 324), 'more': 1"), RESPONSE, (DAMAGED, "exactly the keys")),
    "missing key": Kind(header(RESPONSE, "{'descr': '<f4', 'shape': (20, 324)}"), RESPONSE, (DAMAGED, "the keys")),
    "order that is no truth": Kind(
        header(RESPONSE, "{'descr': '<f4', 'fortran_order': 0, 'shape': (20, 324)}"), RESPONSE, ("True or False",)
    ),
    "garbage header": Kind(header(RESPONSE, bytes(range(128, 228))), RESPONSE, (DAMAGED,)),
    "zeros as header": Kind(header(RESPONSE, bytes(110)), RESPONSE, (DAMAGED,)),
    "list as header": Kind(header(RESPONSE, "['<f4', False, (20, 324)]"), RESPONSE, (DAMAGED, "the keys")),
    "nested parentheses": Kind(shape(RESPONSE, "(" * 4000 + ")" * 4000), RESPONSE, (DAMAGED,)),
    "nested signs": Kind(shape(RESPONSE, "-" * 9000 + "1"), RESPONSE, (DAMAGED,)),
    "unhashable header": Kind(header(RESPONSE, "{[]: 1}"), RESPONSE, (DAMAGED,)),
    "version 9.9": Kind(change_bytes(RESPONSE, lambda b: b[:6] + b"\x09\x09" + b[8:]), RESPONSE, ("version", "9.9")),
    "version 1.1": Kind(change_bytes(RESPONSE, lambda b: b[:6] + b"\x01\x01" + b[8:]), RESPONSE, ("version", "1.1")),
    "version 0.0": Kind(change_bytes(RESPONSE, lambda b: b[:6] + b"\0\0" + b[8:]), RESPONSE, ("version", "0.0")),
    "a bit of the magic": Kind(change_bytes(RESPONSE, lambda b: b"\x92" + b[1:]), RESPONSE, ("not a .npy file",)),
    # A variable.
    "frames of a whole variable": Kind(
        every("behavior", lambda a: a[:, :300]), "data/behavior", ("expected 324 frames as in videos", "found 300")
    ),
    "axes of a whole variable": Kind(
        every("videos", lambda a: a[None, None]), "data/videos", ("(video_channel, height, width, frame)", "324)")
    ),
    "images without height": Kind(
        every("images", lambda a: a[0, 0]), "data/images", ("(height, width)", "found shape (16,)"), mouse="static"
    ),
    "a whole variable of no neurons": Kind(
        every("responses", lambda a: a[:0]), "data/responses/", (NO_VALUES, "(0, 324)")
    ),
    "trial missing in one variable": Kind(remove(VIDEO), VIDEO, ("missing",)),
    "trial missing in all": Kind(lose_trial, TIERS, ("trial 9", "'live_test_main'|'oracle'|'train'", "no file")),
    "trial extra in one variable": Kind(
        lambda f: shutil.copy(f / RESPONSE, trial_path(f, "responses", 1)), "1.npy", ("missing",)
    ),
    "trial behind the tiers": Kind(rename(VIDEO, "data/videos/999999999.npy"), TIERS, ("too short",), others=True),
    "responses missing": Kind(remove("data/responses"), "", ("expected responses of all trials", "add responses")),
    "variable of one trial": Kind(put_array("data/licks/9.npy", [1.0]), "data/licks/", ("missing", "optional")),
    "both kinds of stimulus": Kind(
        add_variable("images", lambda: np.ones((6, 8), "f4")),
        "data/images",
        ("second stimulus beside videos", "declare"),
    ),
    "no data": Kind(remove("data"), "", ("expected responses of all trials",)),
    # A variable of a lab's own.
    "own: shape": Kind(both(own(), save(LICK, lambda a: np.vstack([a, a]))), LICK, ("(2, 324)", "(4, 324)")),
    "own: axes": Kind(both(own(), save(LICK, lambda a: a[0])), LICK, ("expected shape (2, 324)", "found (324,)")),
    "own: frames": Kind(both(own(), save(LICK, lambda a: a[:, 1:])), LICK, ("(2, 324) as in the other", "(2, 323)")),
    "own: dtype": Kind(both(own(), save(LICK, lambda a: a.astype("i4"))), LICK, ("expected float32", "found <i4")),
    "own: of no size": Kind(own(lambda: np.ones((0, 324), "u1")), "data/licks/", (NO_VALUES, "(0, 324)")),
    "own: one trial of no size": Kind(both(own(), save(LICK, lambda a: a[:, :0])), LICK, (NO_VALUES, "(2, 0)")),
    "own: neurons twice": Kind(
        own(lambda: np.ones((20, 20), "f4")),
        "data/licks",
        ("axis 0 of shape (20, 20) could be neuron or an axis", TOML),
    ),
    "own: frames first": Kind(
        own(lambda: np.ones((324, 3), "f4")), "data/licks", ("axis 0 of shape (324, 3) could be frame or an axis", TOML)
    ),
    "own: neurons or frames": Kind(
        both(every("responses", lambda a: np.resize(a, (324, 324))), remove("meta/neurons"), own(lambda: np.ones(324))),
        "data/licks",
        ("axis 0 of shape (324,) could be neuron or frame", TOML),
    ),
    **{
        f"called {name}": Kind(own(name=name), f"data/{name}", ("a variable cannot be called", "rename it"))
        for name in (*sorted(RESERVED), "zarr.json", "c", "__x", "ñ", ".x", "n" * 130)
    },
    **{
        f"called {name}": Kind(own(name=name), f"data/{name}", (f"a dimension is called {name!r}, too", "rename it"))
        for name in ("height", "behavior_channel")
    },
    "no mouse": Kind(no_mouse, "", ("no mouse here|expected one member meta/trials/tiers.npy, found 0",)),
    # Names.
    "backup among trials": Kind(put("data/videos/17.npy.bak", b"x"), "data/videos/17.npy.bak", ("not a trial",)),
    "padded number": Kind(rename(RESPONSE, "data/responses/009.npy"), "009.npy", ("not a trial",), others=True),
    "capital suffix": Kind(rename(RESPONSE, "data/responses/9.NPY"), "9.NPY", ("not a trial",), others=True),
    "negative number": Kind(put("data/videos/-1.npy", b"x"), "data/videos/-1.npy", ("not a trial",)),
    "number in other digits": Kind(put("data/videos/٣.npy", b"x"), "data/videos/٣.npy", ("not a trial",)),
    "number of ten digits": Kind(put("data/videos/1000000000.npy", b"x"), "videos/1000000000.npy", ("not a trial",)),
    "folder among trials": Kind(put("data/videos/old/9.npy", b"x"), "data/videos/old/9.npy", ("not a trial",)),
    "file beside variables": Kind(put("data/9.npy", b"x"), "data/9.npy", ("not a trial",)),
    "line break in a name": Kind(put("data/videos/9\n.npy", b"x"), "data/videos/9", ("not a trial",)),
    "escape sequence in a name": Kind(put("data/videos/\x1b[2J.npy", b"x"), "data/videos/", ("not a trial",)),
    # What is not a file.
    "directory": Kind(instead(RESPONSE, lambda p, _: p.mkdir()), RESPONSE, ("missing",)),
    "directory with files": Kind(
        instead(RESPONSE, lambda p, _: (p.mkdir(), (p / "x").touch())), RESPONSE, ("not a trial|missing",)
    ),
    # Tiers.
    "tiers missing": Kind(remove(TIERS), TIERS, ("missing|found 0",)),
    "tiers too short": Kind(save(TIERS, lambda a: a[:-1]), TIERS, ("expected 19 or more, for trial 18; found 18",)),
    "tiers of numbers": Kind(put_array(TIERS, np.arange(19)), TIERS, ("one text a trial", "(19,) <i8")),
    "tiers of bytes": Kind(save(TIERS, lambda a: a.astype("S")), TIERS, ("one text a trial", "|S16")),
    "tiers in a table": Kind(save(TIERS, lambda a: a[None]), TIERS, ("one text a trial", "(1, 19)")),
    "tiers without axis": Kind(put_array(TIERS, "train"), TIERS, ("one text a trial", "()")),
    "tiers empty file": Kind(put(TIERS, b""), TIERS, ("the file is empty",)),
    "tiers truncated": Kind(change_bytes(TIERS, lambda b: b[:-4]), TIERS, ("truncated",)),
    "tier nan": Kind(save(TIERS, lambda a: np.where(np.arange(19) == 9, "nan", a)), TIERS, ("trial 9", "'nan'")),
    "tier NaN": Kind(save(TIERS, lambda a: np.where(np.arange(19) == 9, "NaN", a)), TIERS, ("trial 9", "'NaN'")),
    "tier empty": Kind(save(TIERS, lambda a: np.where(np.arange(19) == 9, "", a)), TIERS, ("trial 9", "no tier")),
    "tier blank": Kind(save(TIERS, lambda a: np.where(np.arange(19) == 9, " \t", a)), TIERS, ("trial 9", "no tier")),
    "tier without files": Kind(
        save(TIERS, lambda a: np.where(np.arange(19) == 5, "train", a)), TIERS, ("trial 5", "'train'", "no file")
    ),
    "tier with half a character": Kind(text_with(0xD800, TIERS), TIERS),
    "tier beyond Unicode": Kind(text_with(0x7FFFFFFF, TIERS), TIERS),
    # Other metadata.
    "too few units": Kind(save(UNITS, lambda a: a[1:]), UNITS, ("expected 20 neurons", "(19,)")),
    "too many coordinates": Kind(
        save("meta/neurons/cell_motor_coordinates.npy", lambda a: np.vstack([a, a])),
        "meta/neurons/cell_motor_coordinates.npy",
        ("expected 20 neurons", "(40, 3)"),
    ),
    "units without axis": Kind(save(UNITS, lambda a: a[0]), UNITS, ("expected 20 neurons", "()")),
    "statistics truncated": Kind(
        change_bytes("meta/statistics/videos/all/std.npy", lambda b: b[:-9]), "videos/all/std.npy", ("truncated",)
    ),
    "metadata of records": Kind(put_array("meta/x.npy", np.zeros(3, "f4,i4")), "meta/x.npy", ("named fields",)),
    "complex metadata": Kind(put_array("meta/x.npy", np.zeros(3, complex)), "meta/x.npy", ("<c16", "not supported")),
    "raw metadata": Kind(put_array("meta/x.npy", np.zeros(3, "V5")), "meta/x.npy", ("V5", "not supported")),
    "metadata of long doubles": Kind(put_array("meta/x.npy", np.zeros(3, np.longdouble)), "meta/x.npy"),
    "words of 64 KiB": Kind(put_array("meta/x.npy", np.zeros(1, "U20000")), "meta/x.npy", ("not supported",)),
    "metadata as text": Kind(put("meta/trials/x.npy", b"1,2"), "meta/trials/x.npy", ("not a .npy file",)),
    "metadata of 1 GiB": Kind(
        sparse("meta/x.bin", (1 << 30) + 1), "meta/x.bin", ("too large", "1073741824"), containers=("folder",)
    ),
    "metadata with half a character": Kind(
        both(put_array("meta/x.npy", ["ab"]), text_with(0xDFFF, "meta/x.npy")), "meta/x.npy"
    ),
    "metadata beyond Unicode": Kind(
        both(put_array("meta/x.npy", ["ab"]), text_with(0x110000, "meta/x.npy")), "meta/x.npy"
    ),
    "metadata with 65 axes": Kind(put("meta/x.npy", npy_file(f"({'1,' * 65})", bytes(4))), "meta/x.npy"),
    "metadata of huge axes of nothing": Kind(put("meta/x.npy", npy_file(f"(0, {10**30})")), "meta/x.npy"),
    "tiers with 65 axes": Kind(put(TIERS, npy_file(f"({'1,' * 65})", bytes(4))), TIERS),
    "zarr.json as array": Kind(put_array("meta/trials/zarr.json.npy", [1]), "zarr.json.npy", (UNSAFE,)),
    "zarr.json as file": Kind(put("meta/zarr.json", b"{}"), "meta/zarr.json", (UNSAFE,)),
    "zarr.json as folder": Kind(put_array("meta/trials/zarr.json/x.npy", [1]), "trials/zarr.json/x.npy", (UNSAFE,)),
    "chunk as array": Kind(put_array("meta/trials/c.npy", [1]), "meta/trials/c.npy", (UNSAFE,)),
    "leading underscores": Kind(put_array("meta/trials/__x.npy", [1]), "meta/trials/__x.npy", (UNSAFE,)),
    "dots as array": Kind(put_array("meta/trials/...npy", [1]), "meta/trials/...npy", (UNSAFE,)),
    "no name": Kind(put_array("meta/trials/.npy", [1]), "meta/trials/.npy", (UNSAFE,)),
    "hidden folder": Kind(put_array("meta/.x/a.npy", [1]), "meta/.x/a.npy", (UNSAFE,)),
    "colon": Kind(put_array("meta/trials/a:b.npy", [1]), "meta/trials/a:b.npy", (UNSAFE,)),
    "other letters": Kind(put_array("meta/trials/ñ.npy", [1]), "meta/trials/ñ.npy", (UNSAFE,)),
    "name too long": Kind(put_array(f"meta/{'n' * 200}.npy", [1]), "n" * 200, (UNSAFE,)),
    "array and folder of one name": Kind(put_array("meta/trials/trial_idx/x.npy", [1]), "meta/trials/trial_idx"),
    "folder named as our own array": Kind(put_array("meta/trials/tier/x.npy", [1]), "meta/trials/tier/x.npy"),
    "folders too deep": Kind(deep, "meta/trials/d/d/d", (), containers=("folder",)),
    "config not UTF-8": Kind(put("config.json", b'{"a": "\xff"}'), "config.json", ("not UTF-8 text",)),
    "config huge": Kind(put("config.json", b" " * ((1 << 20) + 1)), "config.json", ("too large", "1048577")),
    # Values.
    "video of NaN": Kind(save(VIDEO, lambda a: np.full_like(a, np.nan)), VIDEO, ("NaN throughout", "trial 9")),
    "signalling NaN among wider values": Kind(mixed_with_signalling_nan, RESPONSE, ("signalling NaN",)),
}

HOSTILE: dict[str, Kind] = {
    "pickle": Kind(plain_pickle, RESPONSE, ("not a .npy file",)),
    "objects": Kind(save_pickled(RESPONSE), RESPONSE, ("pickled Python objects, which are never loaded",)),
    "code in the header": Kind(evil_header, RESPONSE, (DAMAGED,)),
    "link": Kind(instead(RESPONSE, lambda p, real: p.symlink_to(real)), RESPONSE, ("link", "expected a file")),
    "dangling link": Kind(instead(RESPONSE, lambda p, _: p.symlink_to("no")), RESPONSE, ("link",)),
    "linked variable": Kind(
        instead("data/behavior", lambda p, real: p.symlink_to(real)), "data/behavior", ("link",), others=True
    ),
    "linked meta file": Kind(
        both(put_array("meta/trials/x.npy", [1]), instead("meta/trials/x.npy", lambda p, real: p.symlink_to(real))),
        "meta/trials/x.npy",
        ("link",),
    ),
    "pipe": Kind(instead(RESPONSE, lambda p, _: os.mkfifo(p)), RESPONSE, ("expected a file",)),
    "tiers of objects": Kind(save_pickled(TIERS), TIERS, ("never loaded",)),
    "metadata of objects": Kind(save_pickled("meta/trials/x.npy"), "meta/trials/x.npy", ("never loaded",)),
    "config is a link": Kind(
        instead("config.json", lambda p, real: p.symlink_to(real)), "config.json", ("link", "expected a file")
    ),
}
"""Input made to do harm."""


# --- The table -------------------------------------------------------------------------------------------------------


def cases() -> Iterator[object]:
    for promise, kinds in ((7, KINDS), (19, HOSTILE)):
        for name, kind in kinds.items():
            for container in kind.containers:
                yield pytest.param(kind, container, id=f"{name}-{container}", marks=pytest.mark.promise(promise))


def says(line: str, words: tuple[str, ...]) -> bool:
    """Return whether a line has all the words; a word with bars in it stands for several, of which one is enough."""
    return all(any(option in line for option in word.split("|")) for word in words)


def refused(
    source: Path,
    tmp_path: Path,
    schema: Path | None = None,
    convert: Callable[..., object] = convert_mouse,
    **options: object,
) -> list[str]:
    """Convert; return the lines of the error, after checking that nothing was made anywhere."""
    labels = (str(source), *(() if schema is None else (str(schema),)))
    options |= {} if schema is None else {"schema": schema}
    before = listing(tmp_path)
    with pytest.raises(SourceError) as caught:
        convert(source, tmp_path / "stores", **options)
    after = listing(tmp_path)
    assert set(after) - set(before) <= {"stores"}, "nothing is left, hidden or not, at the destination or elsewhere"
    assert {name: after[name] for name in before} == before, "the source is as it was"
    lines = list(map(str, caught.value.problems))
    assert all(line.startswith(labels) and line.isprintable() for line in lines), lines
    assert str(caught.value).split("\n") == list(map(str, one_a_cause(caught.value.problems))), "one line a cause"
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems
    return lines


@pytest.fixture(scope="session")
def lean_mice(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Mice of few files, since there are hundreds of copies of them."""
    place = tmp_path_factory.mktemp("lean")
    mice = {
        "dynamic": write_sample(place, mouse="A", trial_ids=[0, 3, 9, 18], neurons=20, image_shape=(6, 8)),
        "static": write_sample(place, mouse="S0", trials=4, neurons=6, image_shape=(9, 16)),
    }
    for folder in mice.values():
        trim(folder)
    return mice


@pytest.fixture
def lean(lean_mice: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copy one of the lean mice."""
    return lambda name: shutil.copytree(lean_mice[name], tmp_path / "source" / lean_mice[name].name)


@pytest.mark.parametrize(("kind", "container"), list(cases()))
def test_bad_mouse(kind: Kind, container: str, lean: Fresh, tmp_path: Path, tally: Tally) -> None:
    folder = lean(kind.mouse)
    tally.inject()
    kind.spoil(folder)
    source = zip_mouse(folder) if container == "zip" else folder
    lines = refused(source, tmp_path)
    assert any(says(line.removeprefix(str(source)), (kind.name, *kind.words)) for line in lines), lines
    if not kind.others:
        assert [line for line in lines if kind.name not in line.removeprefix(str(source))] == []
    assert_nothing_ran(folder)
    tally.survive()


def assert_nothing_ran(folder: Path) -> None:
    assert not canary_of(folder).exists(), "nothing of the input was run"


def test_there_are_many_kinds() -> None:
    assert len(KINDS) >= 120 and len(ZIP_KINDS) >= 30
    assert len(HOSTILE) >= 10 and len(HOSTILE_ZIPS) >= 20


# Those of the kinds above that numpy reads without a word.
READ_BY_NUMPY = [
    "one byte too many",
    "file twice",
    "integers",
    "booleans",
    "integers of other widths",
    "complex",
    "frames of a whole variable",
    "trial missing in one variable",
    "trial extra in one variable",
    "own: dtype",
    "own: frames first",
    "called trials",
    "tiers too short",
    "tier nan",
    "too few units",
    "video of NaN",
]


@pytest.mark.promise(7)
@pytest.mark.parametrize("name", READ_BY_NUMPY)
def test_a_loop_over_files_is_noticed(name: str, lean: Fresh, tmp_path: Path, tally: Tally) -> None:
    """The check sees that a converter without checks publishes a bad mouse."""

    def convert(source: Path, to: Path) -> None:
        to.mkdir()
        for variable in variables(source):
            trials = [np.load(path) for path in sorted((source / "data" / variable).iterdir())]
            np.save(to / variable, np.stack(trials))

    kind = KINDS[name]
    folder = lean(kind.mouse)
    kind.spoil(folder)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        refused(folder, tmp_path, convert=convert)
    tally.notice()


@pytest.mark.promise(19)
@pytest.mark.parametrize("name", ["objects", "tiers of objects", "metadata of objects"])
def test_what_runs_when_it_is_unpickled_is_noticed(name: str, lean: Fresh, tally: Tally) -> None:
    folder = lean("dynamic")
    HOSTILE[name].spoil(folder)
    np.load(folder / HOSTILE[name].name, allow_pickle=True)
    with pytest.raises(AssertionError, match="nothing of the input was run"):
        assert_nothing_ran(folder)
    tally.notice()


# --- What was published otherwise, and is right -----------------------------------------------------------------------


@dataclass(frozen=True)
class Good:
    """A mouse that is other than the published ones, and how its store describes what differs."""

    change: Mutation
    variable: str
    described: tuple[object, ...]
    warnings: tuple[str, ...] = ()
    mouse: str = "dynamic"


LACKS = "lacks {}, which the published mouse has"
WIDER = "responses has trials of float16 and of float32; all are kept as float32"
GOOD: dict[str, Good] = {
    "half floats": Good(
        save(RESPONSE, lambda a: a.astype("f2")), "responses", ("float32", "neuron", "frame"), (WIDER,)
    ),
    "big integers": Good(
        every("responses", lambda a: np.nan_to_num(a).astype(">i8")), "responses", ("int64", "neuron", "frame")
    ),
    "videos of bytes": Good(
        every("videos", lambda a: np.nan_to_num(a).astype("u1")), "videos", ("uint8", "frame", "height", "width")
    ),
    "colour videos": Good(
        every("videos", lambda a: np.stack([a, a, a])),
        "videos",
        ("float32", "frame", "video_channel", "height", "width"),
    ),
    "images without channel": Good(
        every("images", lambda a: a[0]), "images", ("float32", "height", "width"), mouse="static"
    ),
    "no behavior": Good(remove("data/behavior"), "behavior", (), (LACKS.format("behavior"),)),
    "no stimulus": Good(remove("data/videos"), "videos", (), (LACKS.format("videos"),)),
    "one of a lab": Good(own(), "licks", ("float32", "licks_channel", "frame")),
    "of one number a trial": Good(own(lambda: np.array(True)), "licks", ("bool",)),
    "of neurons": Good(own(lambda: np.ones(20, "i2")), "licks", ("int16", "neuron")),
    "either byte order": Good(
        both(own(lambda: np.ones(3, "<u2")), save(LICK, lambda a: a.astype(">u2"))),
        "licks",
        ("uint16", "licks_channel"),
    ),
    "with a space": Good(own(name="left eye"), "left eye", ("float32", "left eye_channel", "frame")),
    "called like a column": Good(own(name="unit_ids"), "unit_ids", ("float32", "unit_ids_channel", "frame")),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_mouse_of_another_kind_is_packed_and_comes_back(name: str, lean: Fresh, tmp_path: Path) -> None:
    good = GOOD[name]
    folder = lean(good.mouse)
    good.change(folder)
    summary = convert_mouse(folder, tmp_path / "stores")
    # Whether numbers are padding, only floats can say.
    assert tuple(one for one in summary.warnings if "valid frames" not in one) == good.warnings
    mouse = open_mouse(summary.store, check="full")
    described = {one.name: (one.dtype, *one.dimensions) for one in mouse.recording.variables}
    assert described.get(good.variable, ()) == good.described
    assert set(mouse.to_xarray().data_vars) == set(variables(folder)) == set(described)
    assert_same_tree(export_mouse(summary.store, tmp_path / "back").path, folder)


def test_two_hundred_variables(small_mouse: Path, tmp_path: Path) -> None:
    """From folder to store, to HDF5, and to a store that holds the same."""
    dtypes = ("u1", "<i2", "f4", ">f8", "bool")
    values = {f"v{n:03}": np.full(((), (3,), (2, 2))[n % 3], n % 251).astype(dtypes[n % 5]) for n in range(200)}
    for name, array in values.items():
        add_variable(name, lambda array=array: array)(small_mouse)
    (small_mouse / SCHEMA_FILE).write_text(
        "".join(f'[variables.{name}]\ndimensions = ["y", "x"]\n' for name, one in values.items() if one.ndim == 2)
    )
    mouse = open_mouse(convert_mouse(small_mouse, tmp_path / "stores", statistics=False).store)
    assert mouse.variables[-200:] == tuple(values)
    trial = mouse.trial(mouse.trials.index[-1])
    assert all(
        np.array_equal(trial[name], one) and trial[name].dtype == one.dtype.newbyteorder("=")
        for name, one in values.items()
    )
    exported = export_mouse(mouse.path, tmp_path / "back", format="hdf5").path
    again = open_mouse(convert_mouse(exported, tmp_path / "again", statistics=False).store)
    assert again.index.manifest.store_id == mouse.index.manifest.store_id
    assert again.index.manifest.values == mouse.index.manifest.values


# --- Schemas ----------------------------------------------------------------------------------------------------------

LICKS = "\n[variables.licks]\n"
LONG = "9" * 5000
SCHEMAS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    # What cannot be read.
    "not TOML": ("\n[variables\n", 2, ("not TOML",)),
    "no value": ("\nframe_rate = \n", 2, ("not TOML",)),
    "a key twice": (f'{LICKS}role = "input"\nrole = "input"\n', 4, ("not TOML",)),
    "a table twice": (f"{LICKS}{LICKS}", 4, ("not TOML", "licks")),
    "an open text": (f'{LICKS}role = "inp', 3, ("not TOML",)),
    "a NUL": ('\nrole = "\0"\n', 2, ("not TOML", r"\x00")),
    "5000 digits": (f"{LICKS}missing = {LONG}\n", 0, ("not TOML", "4300 digits")),
    # Keys.
    "unknown key": ("\nframes = 3\n", 2, ("frames: unknown key (known: frame_rate, variables)",)),
    "unknown table": ('\n[variable.licks]\nrole = "input"\n', 2, ("variable: unknown key",)),
    "unknown key of a variable": (f'{LICKS}unit = "x"\n', 3, ("variables.licks.unit: unknown key", "units")),
    "no tables": ("\nvariables = 3\n", 2, ("variables: expected tables",)),
    "no table": ("[variables]\n\nlicks = 3\n", 3, ("variables.licks: expected a table",)),
    "a list of tables": ("\n[[variables.licks]]\n", 2, ("variables.licks: expected a table",)),
    "no such folder": ('\n[variables.lick]\nunits = "x"\n', 2, ("variables.lick: there is no such folder",)),
    # Names.
    **{
        f"called {name}": (f'\n[variables."{name}"]\nrole = "input"\n', 2, ("cannot have this name", name))
        for name in ("", "../x", "a/b", "/etc", "zarr.json", "c", "__x", "ñ", *sorted(RESERVED))
    },
    # Dimensions.
    "dimensions of text": (f'{LICKS}dimensions = "frame"\n', 3, ("licks.dimensions: expected a list of texts",)),
    "dimensions of numbers": (f"{LICKS}dimensions = [1, 2]\n", 3, ("licks.dimensions: expected a list of texts",)),
    "a dimension too few": (f'{LICKS}dimensions = ["frame"]\n', 3, ("1 dimensions are declared", "(2, 324)")),
    "no dimensions": (f"{LICKS}dimensions = []\n", 3, ("0 dimensions are declared", "(2, 324)")),
    "a dimension twice": (f'{LICKS}dimensions = ["frame", "frame"]\n', 3, ("more than once in frame, frame",)),
    **{
        f"dimension {name}": (f'{LICKS}dimensions = ["{name}", "frame"]\n', 3, (f"cannot be called {name!r}",))
        for name in ("", "trial", "file_number", "train_trial", "a/b", "..")
    },
    "dimension of its own name": (f'{LICKS}dimensions = ["licks", "frame"]\n', 2, ("a dimension is called 'licks'",)),
    "swapped": (f'{LICKS}dimensions = ["frame", "side"]\n', 3, ("expected 324 frames as in videos, found 2",)),
    "another size": (f'{LICKS}dimensions = ["neuron", "frame"]\n', 3, ("20 along neuron as in responses", "2")),
    "size of a video": (f'{LICKS}dimensions = ["height", "frame"]\n', 3, ("expected 6 along height as in videos", "2")),
    "responses of no neurons": (
        '\n[variables.responses]\ndimensions = ["cell", "frame"]\n', 3, ("of all trials, with a dimension 'neuron'",)
    ),
    # Roles.
    "unknown role": (f'{LICKS}role = "inputs"\n', 3, ("licks.role: expected stimulus, target, input",)),
    "role in a list": (f'{LICKS}role = ["input"]\n', 3, ("licks.role: expected stimulus, target, input",)),
    "role in one line": ('[variables]\n\nlicks = { role = "x" }\n', 3, ("licks.role: expected stimulus",)),
    "dotted role": ('# licks\nvariables.licks.role = "x"\n', 2, ("licks.role: expected stimulus",)),
    "two stimuli": (
        f'{LICKS}role = "stimulus"\n[variables.behavior]\nrole = "stimulus"\n', 5, ("a second stimulus beside licks",)
    ),
    "stimulus beside the video": (f'{LICKS}role = "stimulus"\n', 3, ("a second stimulus beside videos",)),
    # Channels, units, rates.
    "channels of another count": (
        f'{LICKS}channels = [{{ name = "a", units = "b" }}]\n', 3, ("1 channels are declared, but trials have 2",)
    ),
    "channels of texts": (f'{LICKS}channels = ["a", "b"]\n', 3, ("licks.channels: expected a list such as",)),
    "channels without units": (f'{LICKS}channels = [{{ name = "a" }}]\n', 3, ("licks.channels: expected a list",)),
    "channels of a grey video": (
        '\n[variables.videos]\nchannels = [{ name = "a", units = "b" }]\n', 2, ("no dimension is one of channels",)
    ),
    "units of numbers": (f"{LICKS}units = 3\n", 3, ("licks.units: expected a text, found 3",)),
    "long name of a date": (f"{LICKS}long_name = 1979-05-27\n", 3, ("licks.long_name: expected a text",)),
    "negative rate": ("\nframe_rate = -1\n", 2, ("frame_rate: expected a number above 0 (Hz), found -1",)),
    "rate of nan": ("\nframe_rate = nan\n", 2, ("frame_rate: expected a number above 0 (Hz), found nan",)),
    "infinite rate": (f"{LICKS}frame_rate = inf\n", 3, ("frame_rate: expected a number above 0 (Hz), found inf",)),
    "rate of truth": (f"{LICKS}frame_rate = true\n", 3, ("licks.frame_rate: expected a number above 0 (Hz)",)),
    "rate without frames": (
        f'{LICKS}dimensions = ["a", "b"]\nframe_rate = 3\n', 2, ("a frame rate is given, but there are no frames",)
    ),
    # What may be missing.
    "optional 1": (f"{LICKS}optional = 1\n", 3, ("licks.optional: expected true or false, found 1",)),
    "optional responses": ("\n[variables.responses]\noptional = true\n", 3, ("expected responses of all trials",)),
    "missing text": (f'{LICKS}missing = "nan"\n', 3, ("licks.missing: expected a whole number",)),
    "missing float": (f"{LICKS}missing = 3\n", 2, ("of integers and bool only, and these are float32",)),
}  # fmt: skip
"""Text of the file, line that is at fault (0 where none is named), and what must be said."""


@pytest.mark.promise(7)
@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("place", ["in the mouse", "given"])
def test_bad_schema(name: str, place: str, lean: Fresh, tmp_path: Path, tally: Tally) -> None:
    text, line, words = SCHEMAS[name]
    folder = lean("dynamic")
    own()(folder)
    schema = folder / SCHEMA_FILE if place == "in the mouse" else tmp_path / "mine.toml"
    tally.inject()
    schema.write_text(text)
    given = () if place == "in the mouse" else (schema,)
    (found,) = refused(folder, tmp_path, *given)
    label = f"{folder}: {SCHEMA_FILE}: " if place == "in the mouse" else f"{schema}: "
    assert found.startswith(f"{label}line {line}: " if line else f"{label}not"), found
    assert says(found, words), found
    tally.survive()


@pytest.mark.promise(7)
def test_a_schema_that_is_nested_too_deeply(tally: Tally) -> None:
    tally.inject()
    with pytest.raises(SourceError, match="^mine.toml: not TOML "):
        parse_schema("mine.toml", f"frame_rate = {'[' * 2000}{']' * 2000}")
    tally.survive()


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    ("values", "text", "words"),
    [
        pytest.param("i1", "", ("optional int8 values need a value for missing",), id="no value"),
        pytest.param("i1", "missing = 128\n", ("from -128 to 127, found 128",), id="too large"),
        pytest.param("u1", "missing = -1\n", ("from 0 to 255, found -1",), id="negative"),
        pytest.param("bool", "missing = 2\n", ("from 0 to 1, found 2",), id="truths"),
        pytest.param("bool", "", ("optional bool values need a value for missing",), id="truths without"),
    ],
)
def test_missing_trials_need_a_value(
    values: str, text: str, words: tuple[str, ...], lean: Fresh, tmp_path: Path, tally: Tally
) -> None:
    folder = lean("dynamic")
    both(own(lambda: np.ones((2, 324), values)), remove(LICK))(folder)
    tally.inject()
    (folder / SCHEMA_FILE).write_text(f"{LICKS}optional = true\n{text}")
    (line,) = refused(folder, tmp_path)
    assert says(line, (f"{SCHEMA_FILE}: line 2: variables.licks: ", *words)), line
    tally.survive()


UNREADABLE_SCHEMAS: dict[str, tuple[Mutation, tuple[str, ...]]] = {
    "not UTF-8": (lambda path: path.write_bytes(b"# \xff\n"), ("not UTF-8 text",)),
    "UTF-16": (lambda path: path.write_text("frame_rate = 3\n", "utf-16"), ("not UTF-8 text",)),
    "too large": (lambda path: path.write_bytes(b"#" * ((1 << 20) + 1)), ("too large",)),
    "folder": (lambda path: (path.mkdir(), (path / "x").touch()), ("a folder|Is a directory",)),
}


@pytest.mark.promise(7)
@pytest.mark.parametrize("name", UNREADABLE_SCHEMAS)
@pytest.mark.parametrize("place", ["folder", "zip", "given"])
def test_unreadable_schema(name: str, place: str, lean: Fresh, tmp_path: Path, tally: Tally) -> None:
    spoil, words = UNREADABLE_SCHEMAS[name]
    folder = lean("dynamic")
    schema = tmp_path / "mine.toml" if place == "given" else folder / SCHEMA_FILE
    tally.inject()
    spoil(schema)
    given = (schema,) if place == "given" else ()
    (line,) = refused(zip_mouse(folder) if place == "zip" else folder, tmp_path, *given)
    assert says(line, (str(schema) if place == "given" else f": {SCHEMA_FILE}: ", *words)), line
    tally.survive()


@pytest.mark.promise(7)
def test_no_schema_where_one_is_given(lean: Fresh, tmp_path: Path, tally: Tally) -> None:
    tally.inject()
    (line,) = refused(lean("dynamic"), tmp_path, tmp_path / "nowhere.toml")
    assert line == f"{tmp_path / 'nowhere.toml'}: cannot be read (No such file or directory); check the path"
    tally.survive()


# --- Zips ------------------------------------------------------------------------------------------------------------


def member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    return next(info for info in archive.infolist() if info.filename.endswith(name))


def lie(name: str, **facts: object) -> Lie:
    """Make the zip's directory say something else of a member."""

    def change(archive: zipfile.ZipFile) -> None:
        for key, value in facts.items():
            setattr(member(archive, name), key, value)

    return change


def scale(name: str, field: str, factor: float) -> Lie:
    def change(archive: zipfile.ZipFile) -> None:
        info = member(archive, name)
        setattr(info, field, int(getattr(info, field) * factor))

    return change


def add(name: str, content: bytes = b"x", mode: int = 0) -> Lie:
    def write(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("x")
        info.filename = info.orig_filename = name
        info.create_system, info.external_attr = 3, mode << 16
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that a name is there twice, which is the point
            archive.writestr(info, content)

    return write


def repack(name: str, method: int) -> Lie:
    """Pack a member by another method, beside the one that its name says."""

    def write(archive: zipfile.ZipFile) -> None:
        old = member(archive, name)
        archive.filelist.remove(old)
        archive.NameToInfo.pop(old.filename)
        info = zipfile.ZipInfo(old.filename)
        info.compress_type = method
        archive.writestr(info, np.load(io.BytesIO(_SPARE)).tobytes())

    return write


_SPARE = io.BytesIO()
np.save(_SPARE, np.zeros((20, 324), np.float32))
_SPARE = _SPARE.getvalue()


def bomb(name: str, inflated: int, declared: int) -> Lie:
    """Replace a member by one that inflates to more than it says."""

    def write(archive: zipfile.ZipFile) -> None:
        old = member(archive, name)
        archive.filelist.remove(old)
        archive.NameToInfo.pop(old.filename)
        info = zipfile.ZipInfo(old.filename)
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, bytes(inflated))
        info.file_size, info.CRC = declared, zlib.crc32(bytes(declared))

    return write


def overlap(archive: zipfile.ZipFile) -> None:
    """Let one member begin inside another, as bombs do that count the same bytes many times."""
    other = member(archive, "data/responses/18.npy")
    member(archive, RESPONSE).header_offset = other.header_offset


def quine(archive: zipfile.ZipFile) -> None:
    """Let all members of a variable share one member's bytes, under its name in the local header."""
    first = member(archive, FIRST)
    for info in archive.infolist():
        if "/data/responses/" in info.filename and not info.is_dir():
            info.header_offset, info.compress_size, info.file_size, info.CRC = (
                first.header_offset,
                first.compress_size,
                first.file_size,
                first.CRC,
            )


def last_member_of_a_terabyte(folder: Path) -> Path:
    def write(archive: zipfile.ZipFile) -> None:
        add(f"{folder.name}/meta/zzz.txt")(archive)
        member(archive, "zzz.txt").compress_size = 1 << 40
        member(archive, "zzz.txt").compress_type = zipfile.ZIP_DEFLATED

    return zip_mouse(folder, finish=write)


def encrypt(archive: zipfile.ZipFile) -> None:
    member(archive, RESPONSE).flag_bits |= 1


def spoil_members(change: Callable[[bytearray, int, int], object], method: int) -> Mutation:
    """Change the packed bytes of a member: ``change(zip, where they start, how many there are)``."""

    def spoil(folder: Path) -> Path:
        path = zip_mouse(folder, method=method)
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            info = member(archive, RESPONSE)
        start = info.header_offset + 30 + int.from_bytes(data[info.header_offset + 26 :][:2], "little")
        change(data, start, info.compress_size)
        path.write_bytes(data)
        return path

    return spoil


def flip(place: float) -> Callable[[bytearray, int, int], object]:
    def change(data: bytearray, start: int, size: int) -> None:
        data[start + int(place * (size - 1))] ^= 0x10

    return change


def rename_local(data: bytearray, start: int, size: int) -> None:
    data[start - 5] ^= 0x01


def no_local(data: bytearray, start: int, size: int) -> None:
    at = data.rindex(b"PK\x03\x04", 0, start)
    data[at] ^= 0x01


def zipped(finish: Lie, method: int = zipfile.ZIP_DEFLATED) -> Mutation:
    return lambda folder: zip_mouse(folder, method=method, finish=finish)


def after(change: Callable[[bytes], bytes]) -> Mutation:
    def spoil(folder: Path) -> Path:
        path = zip_mouse(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return spoil


def two_mice(folder: Path) -> Path:
    path = zip_mouse(folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(folder / TIERS, f"second/{TIERS}")
    return path


STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
LINK = stat.S_IFLNK | 0o777
UNREADABLE = ("not a readable zip",)
IN_ZIP, OVERLAPS = "damaged in the zip", "overlaps another member"

ZIP_KINDS: dict[str, tuple[Mutation, tuple[str, ...]]] = {
    # The zip as a whole.
    "empty": (after(lambda b: b""), UNREADABLE),
    "one byte short": (after(lambda b: b[:-1]), UNREADABLE),
    "half": (after(lambda b: b[: len(b) // 2]), UNREADABLE),
    "start cut off": (after(lambda b: b[1000:]), ("damaged in the zip|not a readable zip|cannot be read",)),
    "text": (after(lambda b: b"a text"), UNREADABLE),
    "gzip": (after(gzip.compress), ("compressed by gzip", "unpack it")),
    "array": (after(lambda b: _SPARE), UNREADABLE),
    "directory garbled": (after(lambda b: b.replace(b"PK\x01\x02", b"PK\x01\x03", 1)), UNREADABLE),
    "directory of an odd version": (
        after(lambda b: b.replace(b"PK\x01\x02\x14\x03\x14", b"PK\x01\x02\x14\x03\xff", 1)),
        UNREADABLE,
    ),
    "no members": (lambda folder: _empty_zip(folder), ("expected one member meta/trials/tiers.npy, found 0",)),
    "two mice": (two_mice, ("expected one member meta/trials/tiers.npy, found 2", "one mouse")),
    "bzip2": (zipped(repack(RESPONSE, zipfile.ZIP_BZIP2)), (RESPONSE, "method 12", "stored or deflated")),
    "lzma": (zipped(repack(RESPONSE, zipfile.ZIP_LZMA)), (RESPONSE, "method 14")),
    "unknown method": (zipped(lie(RESPONSE, compress_type=99)), (RESPONSE, "method 99")),
    # Lies of the directory.
    "stored in two sizes": (zipped(scale(RESPONSE, "file_size", 2), STORED), (RESPONSE, "two sizes", "26048", "52096")),
    "size too small": (zipped(scale(RESPONSE, "file_size", 0.5)), (RESPONSE, f"{IN_ZIP}|truncated")),
    "size too large": (zipped(scale(RESPONSE, "file_size", 2)), (RESPONSE, f"{IN_ZIP}|longer")),
    "packed size too small": (zipped(scale(RESPONSE, "compress_size", 0.5)), (RESPONSE, IN_ZIP)),
    "packed size too large": (zipped(scale(RESPONSE, "compress_size", 1.5)), (RESPONSE, f"{OVERLAPS}|{IN_ZIP}")),
    "behind the end": (zipped(lie(RESPONSE, header_offset=1 << 31)), (RESPONSE, "the zip ends early")),
    "wrong CRC, deflated": (zipped(lie(RESPONSE, CRC=0x12345678)), (RESPONSE, IN_ZIP, "expected CRC-32 12345678")),
    "wrong CRC, stored": (zipped(lie(RESPONSE, CRC=0x12345678), STORED), (RESPONSE, "expected CRC-32 12345678")),
    "wrong CRC of tiers": (zipped(lie(TIERS, CRC=1)), (TIERS, IN_ZIP, "CRC-32")),
    "wrong CRC of the config": (zipped(lie("config.json", CRC=1)), ("config.json", IN_ZIP, "CRC-32")),
    "wrong CRC of statistics": (zipped(lie("videos/all/std.npy", CRC=1)), ("videos/all/std.npy", IN_ZIP, "CRC-32")),
    "deflated called stored": (zipped(lie(RESPONSE, compress_type=0)), (RESPONSE, f"two sizes|{IN_ZIP}")),
    "stored called deflated": (zipped(lie(RESPONSE, compress_type=8), STORED), (RESPONSE, f"{IN_ZIP}|not a .npy file")),
    "other name in the local header": (spoil_members(rename_local, STORED), (RESPONSE, IN_ZIP, "is called")),
    "no local header": (spoil_members(no_local, STORED), (RESPONSE, IN_ZIP, "no member where its directory says")),
    # Damage.
    "flipped first byte, stored": (spoil_members(flip(0), STORED), (RESPONSE, f"{IN_ZIP}|not a .npy file")),
    "flipped byte, stored": (spoil_members(flip(0.5), STORED), (RESPONSE, IN_ZIP, "CRC-32")),
    "flipped last byte, stored": (spoil_members(flip(1), STORED), (RESPONSE, IN_ZIP, "CRC-32")),
    "flipped first byte, deflated": (spoil_members(flip(0), DEFLATED), (RESPONSE, IN_ZIP)),
    "flipped byte, deflated": (spoil_members(flip(0.5), DEFLATED), (RESPONSE, IN_ZIP)),
    "flipped last byte, deflated": (spoil_members(flip(1), DEFLATED), (RESPONSE, IN_ZIP)),
}  # fmt: skip

HOSTILE_ZIPS: dict[str, tuple[Mutation, tuple[str, ...]]] = {
    "upwards": (zipped(add("../evil.npy")), ("../evil.npy", "unsafe name")),
    "upwards inside": (zipped(add("m/data/../../evil.npy")), ("m/data/../../evil.npy", "unsafe name")),
    "absolute": (zipped(add("/tmp/evil.npy")), ("/tmp/evil.npy", "unsafe name")),
    "backslash": (zipped(add("data\\responses\\9.npy")), ("data\\responses\\9.npy", "unsafe name")),
    "drive": (zipped(add("C:/evil.npy")), ("C:/evil.npy", "unsafe name")),
    "null byte": (zipped(add("data/evil\0.npy")), ("evil", "unsafe name")),
    "everything upwards": (lambda folder: zip_mouse(folder, top="../"), ("../data/responses/9.npy", "unsafe name")),
    "line break": (zipped(add("../a\nb")), ("unsafe name",)),
    "encrypted": (zipped(encrypt), (RESPONSE, "encrypted", "password")),
    "twice": (lambda folder: zipped(add(f"{folder.name}/{RESPONSE}"))(folder), (RESPONSE, "stands 2 times in the zip")),
    "link": (
        lambda folder: zipped(add(f"{folder.name}/data/x", b"/etc/passwd", LINK))(folder),
        ("data/x", "a link", "expected a file"),
    ),
    "link outside of the mouse": (zipped(add("x", b"/etc/passwd", LINK)), ("x", "a link")),
    "device": (zipped(add("x", b"", stat.S_IFCHR | 0o666)), ("x", "a link or a device")),
    "size of a terabyte": (zipped(lie(RESPONSE, file_size=1 << 40)), (RESPONSE,)),
    "packed size of a terabyte": (zipped(lie(RESPONSE, compress_size=1 << 40)), (RESPONSE,)),
    "both sizes of a terabyte": (zipped(lie(RESPONSE, compress_size=1 << 40, file_size=1 << 40), STORED), (RESPONSE,)),
    "last member of a terabyte": (last_member_of_a_terabyte, ("meta/zzz.txt",)),
    "behind all files": (zipped(lie(RESPONSE, header_offset=(1 << 63) + 5)), (RESPONSE,)),
    "overlapping members": (zipped(overlap), ("data/responses/18.npy|data/responses/9.npy", OVERLAPS)),
    "one member under many names": (zipped(quine), ("data/responses/", OVERLAPS)),
    "inflates to more": (zipped(bomb(RESPONSE, 100 << 20, 26048)), (RESPONSE, f"{IN_ZIP}|not a .npy file")),
    "metadata inflates to more": (
        zipped(bomb("meta/neurons/unit_ids.npy", 100 << 20, 288)), ("meta/neurons/unit_ids.npy", f".npy|{IN_ZIP}")
    ),
    "config inflates to more": (zipped(bomb("config.json", 100 << 20, 13)), ("config.json", IN_ZIP)),
}  # fmt: skip
"""Made to do harm."""


def _empty_zip(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    zipfile.ZipFile(path, "w").close()
    return path


def zip_cases() -> Iterator[object]:
    for promise, kinds in ((7, ZIP_KINDS), (19, HOSTILE_ZIPS)):
        for name, (spoil, words) in kinds.items():
            yield pytest.param(spoil, words, id=name, marks=pytest.mark.promise(promise))


@pytest.mark.parametrize(("spoil", "words"), list(zip_cases()))
def test_bad_zip(spoil: Mutation, words: tuple[str, ...], lean: Fresh, tmp_path: Path, tally: Tally) -> None:
    folder = lean("dynamic")
    tally.inject()
    path = spoil(folder)
    assert isinstance(path, Path)
    with little_memory():
        lines = refused(path, tmp_path)
    assert any(says(line.removeprefix(str(path)), words) for line in lines), lines
    tally.survive()


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Check that nothing is allocated that weighs more than a mouse of tests: whatever a zip says, or inflates to."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < LITTLE, f"nothing is expanded, but {peak} bytes were allocated"


LITTLE = 32 << 20


def write_where_the_zip_says(source: Path, to: Path) -> None:
    """Unpack as naively as can be, then refuse."""
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                path = Path(to, info.filename)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(info))
    raise SourceError("refused too late")


@pytest.mark.promise(19)
@pytest.mark.parametrize("name", ["upwards", "upwards inside", "everything upwards", "backslash"])
def test_what_is_written_elsewhere_is_noticed(name: str, lean: Fresh, tmp_path: Path, tally: Tally) -> None:
    path = HOSTILE_ZIPS[name][0](lean("dynamic"))
    assert isinstance(path, Path)
    with pytest.raises(AssertionError, match="nothing is left"):
        refused(path, tmp_path, convert=write_where_the_zip_says)
    tally.notice()


@pytest.mark.promise(19)
def test_what_is_expanded_is_noticed(lean: Fresh, tally: Tally) -> None:
    path = HOSTILE_ZIPS["inflates to more"][0](lean("dynamic"))
    assert isinstance(path, Path)
    with zipfile.ZipFile(path) as archive:
        bomb = max(archive.infolist(), key=lambda info: info.header_offset)
    packed = path.read_bytes()[bomb.header_offset + 30 + len(bomb.filename) :]
    with pytest.raises(AssertionError, match="nothing is expanded"), little_memory():
        zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed)
    tally.notice()


# --- Many at once ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_mouse(tmp_path: Path) -> Path:
    folder = write_sample(tmp_path / "source", mouse="P1", trials=4, neurons=3, image_shape=(2, 3))
    trim(folder)
    return folder


@pytest.mark.promise(7)
@pytest.mark.parametrize("container", BOTH)
def test_header_cut_off_anywhere(container: str, small_mouse: Path, tmp_path: Path, tally: Tally, size: Size) -> None:
    path = small_mouse / "data/responses/2.npy"
    whole = path.read_bytes()
    for length in range(0, len(whole), size(6, 1)):
        tally.inject()
        path.write_bytes(whole[:length])
        source = zip_mouse(small_mouse) if container == "zip" else small_mouse
        lines = refused(source, tmp_path)
        assert len(lines) == 1 and "data/responses/2.npy: " in lines[0], (length, lines)
        tally.survive()


@pytest.mark.promise(7)
@pytest.mark.parametrize("container", BOTH)
def test_body_cut_off_anywhere(container: str, lean: Fresh, tmp_path: Path, tally: Tally, size: Size) -> None:
    folder = lean("dynamic")
    path = folder / RESPONSE
    whole = path.read_bytes()
    for length in np.linspace(128, len(whole) - 1, size(20, 200)).astype(int):
        tally.inject()
        path.write_bytes(whole[:length])
        source = zip_mouse(folder, method=zipfile.ZIP_STORED) if container == "zip" else folder
        lines = refused(source, tmp_path)
        assert len(lines) == 1 and says(lines[0], (RESPONSE, "truncated", f"found {length}")), lines
        tally.survive()


@pytest.mark.promise(7)
@pytest.mark.parametrize("container", BOTH)
def test_all_that_can_be_seen_in_names_and_headers_is_said_at_once(
    container: str, dynamic_folder: Path, tmp_path: Path, tally: Tally
) -> None:
    seeded = {
        "empty file": "data/responses/9.npy",
        "trial missing": "data/videos/10.npy",
        "padded number": "data/behavior/011.npy",
        "shape": "data/responses/12.npy",
        "dtype": "data/videos/13.npy",
        "tier": "trial 14",
        "units": "unit_ids.npy",
        "config": "config.json",
        "name": "zarr.json.npy",
        "unknown": "data/licks/1.npy",
        "link": "data/pupil_center/16.npy",
    }
    tally.inject(len(seeded))
    put(seeded["empty file"], b"")(dynamic_folder)
    remove(seeded["trial missing"])(dynamic_folder)
    rename("data/behavior/11.npy", seeded["padded number"])(dynamic_folder)
    save(seeded["shape"], lambda a: a[1:])(dynamic_folder)
    save(seeded["dtype"], lambda a: a.astype("c16"))(dynamic_folder)
    save(TIERS, lambda a: np.where(np.arange(19) == 14, "nan", a))(dynamic_folder)
    save(UNITS, lambda a: a[1:])(dynamic_folder)
    put(seeded["config"], b"\xff")(dynamic_folder)
    put_array(f"meta/trials/{seeded['name']}", [1])(dynamic_folder)
    put(seeded["unknown"], b"")(dynamic_folder)
    instead(seeded["link"], lambda place, real: place.symlink_to(real))(dynamic_folder)
    source = zip_mouse(dynamic_folder) if container == "zip" else dynamic_folder
    lines = refused(source, tmp_path)
    for what, words in seeded.items():
        assert any(words in line for line in lines), (what, lines)
    tally.survive(len(seeded))
    with pytest.raises(SourceError) as caught:
        plan_mouse(source, tmp_path / "stores")
    assert list(map(str, caught.value.problems)) == lines, "a dry run says the same"


@pytest.mark.promise(7)
@pytest.mark.parametrize("units", [1, 6])
@pytest.mark.parametrize("container", BOTH)
def test_all_that_is_seen_while_trials_are_read_is_said_at_once(
    container: str, units: int, dynamic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    if units > 1:
        monkeypatch.setattr("trialpack.store.layout.SHARD_BYTES", 60_000)
    seeded = {
        "transposed": "data/responses/9.npy",
        "integers": "data/responses/3.npy",
        "no array": "data/videos/11.npy",
        "version": "data/behavior/12.npy",
        "header": "data/pupil_center/13.npy",
        "big": "data/responses/6.npy",
        "swapped axes": "data/videos/16.npy",
    }
    tally.inject(len(seeded))
    save(seeded["transposed"], lambda a: a.T.copy())(dynamic_folder)
    save(seeded["integers"], lambda a: np.nan_to_num(a).astype("i4"))(dynamic_folder)
    change_bytes(seeded["no array"], lambda b: b"text" + b[4:])(dynamic_folder)
    change_bytes(seeded["version"], lambda b: b[:6] + b"\x09" + b[7:])(dynamic_folder)
    change_bytes(seeded["header"], lambda b: b.replace(b"shape", b"shapo"))(dynamic_folder)
    shape(seeded["big"], "(20, 99999999999)")(dynamic_folder)
    save(seeded["swapped axes"], lambda a: np.moveaxis(a, 2, 0).copy())(dynamic_folder)
    source = zip_mouse(dynamic_folder) if container == "zip" else dynamic_folder
    plan = plan_mouse(source, tmp_path / "stores")
    assert len(plan.units) >= units
    lines = refused(source, tmp_path, workers=2)
    assert len(lines) == len(seeded)
    for what, name in seeded.items():
        assert any(f" {name}: " in line for line in lines), (what, lines)
    tally.survive(len(seeded))


# --- Sources that are none -------------------------------------------------------------------------------------------


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda path: None, "no such file or folder", id="nothing"),
        pytest.param(lambda path: path.mkdir(), "no mouse here", id="empty folder"),
        pytest.param(lambda path: path.write_text("a text"), "not a mouse", id="text"),
        pytest.param(lambda path: path.write_bytes(b""), "not a mouse", id="empty file"),
        pytest.param(lambda path: path.symlink_to("nowhere"), "no such file or folder", id="dangling link"),
        pytest.param(lambda path: os.mkfifo(path), "no such file or folder", id="pipe"),
    ],
)
def test_no_source(make: Mutation, words: str, tmp_path: Path, tally: Tally) -> None:
    path = tmp_path / "mouse"
    tally.inject()
    make(path)
    assert says(refused(path, tmp_path)[0], (words,))
    tally.survive()


def test_two_mice_in_a_folder(fresh: Fresh, tmp_path: Path) -> None:
    source = fresh("dynamic_folder").parent
    shutil.copy(fresh("static_zip"), source)
    (line,) = refused(source, tmp_path)
    assert says(line, ("expected one mouse, found 2", "dynamic29156-11-10", "static26872-17-20"))


def test_folder_and_zip_of_one_mouse(dynamic_folder: Path, tmp_path: Path) -> None:
    zip_mouse(dynamic_folder)
    (line,) = refused(dynamic_folder.parent, tmp_path)
    assert "expected one mouse, found 2" in line


@pytest.fixture
def forbid(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mutation]:
    """Return a function that forbids reading a file or folder of `tmp_path` for a test, to root as well."""
    forbidden = list[tuple[Path, int]]()  # what is restored before `tmp_path` is removed

    def change(path: Path) -> None:
        forbidden.append((path, path.stat().st_mode))
        path.chmod(0)
        if is_readable(path):
            (pytest.fail if request.config.getoption("--torture") else pytest.skip)("this user may read everything")

    with without_privileges():
        yield change
    for path, mode in forbidden:
        path.chmod(mode)


def is_readable(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError:
        return False
    return True


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Take from this thread, and from those it starts, root's right to read what may not be read; Linux only."""
    system = ctypes.CDLL(None)
    head, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if not hasattr(system, "capset") or system.capget(head, sets) != 0:
        yield
        return
    effective = sets[0]
    sets[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    system.capset(head, sets)
    try:
        yield
    finally:
        sets[0] = effective
        system.capset(head, sets)


@pytest.mark.promise(7)
@pytest.mark.parametrize("name", [RESPONSE, FIRST, TIERS, "config.json", "meta/statistics/videos/all/std.npy"])
def test_unreadable_file(name: str, forbid: Mutation, dynamic_folder: Path, tmp_path: Path, tally: Tally) -> None:
    tally.inject()
    forbid(dynamic_folder / name)
    lines = refused(dynamic_folder, tmp_path)
    assert all(says(line, (name, "permission denied")) for line in lines)
    tally.survive()


@pytest.mark.promise(7)
@pytest.mark.parametrize("name", ["data/responses", "meta", "meta/statistics/videos"])
def test_unreadable_folder(name: str, forbid: Mutation, dynamic_folder: Path, tmp_path: Path, tally: Tally) -> None:
    tally.inject()
    forbid(dynamic_folder / name)
    with pytest.raises(SourceError, match=name):
        convert_mouse(dynamic_folder, tmp_path / "stores")
    assert not (tmp_path / "stores").exists()
    tally.survive()


def test_name_of_undecodable_bytes_is_left_out_and_said(dynamic_folder: Path, tmp_path: Path) -> None:
    (dynamic_folder / os.fsdecode(b"notes-\xff\n.txt")).write_text("x")
    summary = convert_mouse(dynamic_folder, tmp_path / "stores")
    (warning,) = summary.warnings
    assert warning == "notes-\\udcff\\n.txt is not part of the published layout and was left out"


@pytest.mark.promise(7)
def test_unreadable_zip(forbid: Mutation, dynamic_zip: Path, tmp_path: Path, tally: Tally) -> None:
    tally.inject()
    forbid(dynamic_zip)
    with pytest.raises((SourceError, PermissionError), match=dynamic_zip.name):
        convert_mouse(dynamic_zip, tmp_path / "stores")
    assert not (tmp_path / "stores").exists()
    tally.survive()


# --- Sources that change ---------------------------------------------------------------------------------------------


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-4]), "changed while it was read", id="shrinks"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes() + b"x"), "changed while it was read", id="grows"),
        pytest.param(lambda path: path.unlink(), "cannot be read (No such file", id="vanishes"),
        pytest.param(lambda path: (path.unlink(), path.symlink_to("0.npy")), "cannot be read (", id="becomes a link"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), "cannot be read (", id="becomes a folder"),
    ],
)
def test_file_that_changes_after_the_survey(
    change: Mutation, words: str, dynamic_folder: Path, tmp_path: Path, tally: Tally
) -> None:
    source = open_source(dynamic_folder)
    source.survey()
    tally.inject()
    change(dynamic_folder / RESPONSE)
    with pytest.raises(SourceError) as caught:
        convert_mouse(source, tmp_path / "stores")
    (problem,) = caught.value.problems
    assert (problem.member, problem.trial) == (RESPONSE, 9)
    assert words in problem.what
    assert list((tmp_path / "stores").iterdir()) == []
    tally.survive()


@pytest.mark.promise(7)
def test_zip_that_shrinks_after_the_survey(dynamic_folder: Path, tmp_path: Path, tally: Tally) -> None:
    path = zip_mouse(dynamic_folder)
    source = open_source(path)
    source.survey()
    tally.inject()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(SourceError, match=r"(?m)data/\w+/\d+\.npy: the zip ends early"):
        convert_mouse(source, tmp_path / "stores")
    assert list((tmp_path / "stores").iterdir()) == []
    tally.survive()

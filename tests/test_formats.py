"""The registry: how a mouse's format is found, and what other packages may add to it."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import h5py
import numpy as np
import pytest
from trialpack.convert import convert_mouse, export_mouse, find_sources, open_source, plan_mouse
from trialpack.convert.formats import Format, Option, formats, registry
from trialpack.convert.formats.published.mouse_tree import MouseTree
from trialpack.convert.formats.published.npy_folder import FolderTree
from trialpack.convert.formats.source import SmallArray
from trialpack.store import OptionError, SourceError

from .mice import zip_mouse
from .test_tar import tar_mouse

TRIALPACK = Path(sys.executable).with_name("trialpack")


def open_listed(path):
    return MouseTree(FolderTree(path / "tree"))


def write_list(mouse, path, settings):
    path.write_text(json.dumps({"mouse": mouse.name, "loud": settings.options["loud"]}))
    settings.progress.start("exporting", 10, 1)
    settings.progress.advance(10, 1)


LOUD = Option("loud", "Write it in capitals.")
LISTED = Format(
    name="listed",
    noun="a folder with a list",
    suffixes=(".list",),
    matches=lambda path: (path / "list").exists(),
    open=open_listed,
    write=write_list,
    options=(LOUD,),
    help="a list",
)
READ_ONLY = dataclasses.replace(LISTED, name="read", suffixes=(".read",), write=None, options=())
NAME_OF_ANOTHER = dataclasses.replace(LISTED, name="zip")
SUFFIX_OF_ANOTHER = dataclasses.replace(LISTED, name="suffix", suffixes=(".h5",))
OPTION_OF_ANOTHER = dataclasses.replace(LISTED, name="option", options=(Option("hdf5_filter", "Else."),))
OPTION_OF_THE_COMMAND = dataclasses.replace(LISTED, name="command", options=(Option("workers", "Else."),))
OTHER_NAME = LISTED
NO_FORMAT = "text"


@pytest.fixture
def plugins(monkeypatch):
    """Return a function that installs entries of other packages: name -> attribute of this module."""

    def install(**entries):
        made = [EntryPoint(name, f"{__name__}:{value}", registry.GROUP) for name, value in entries.items()]
        monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
        monkeypatch.setattr(registry, "entry_points", lambda group: made if group == registry.GROUP else [])
        formats.cache_clear()

    yield install
    monkeypatch.undo()
    formats.cache_clear()


@pytest.fixture(scope="session")
def mouse_store(sample_mice, tmp_path_factory):
    return convert_mouse(sample_mice["static_folder"], tmp_path_factory.mktemp("formats")).store


def test_the_formats():
    assert {name: form.suffixes[:1] for name, form in formats().items()} == {
        "npy": (),
        "zip": (".zip",),
        "tar": (".tar",),
        "hdf5": (".h5",),
    }


# --- What is found ---------------------------------------------------------------------------------------------------


def hdf5_file(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3)
    return path


def test_what_begins_as_a_format_is_of_it_whatever_its_name(static_folder, tmp_path):
    made = {
        "npy": static_folder,
        "zip": zip_mouse(static_folder),
        "tar": tar_mouse(static_folder),
        "hdf5": hdf5_file(tmp_path / "a.h5"),
    }
    for name, path in made.items():
        assert registry.find_format(path).name == name
        for suffix in ("", ".zip", ".tar", ".h5", ".data"):
            renamed = path.rename(tmp_path / f"renamed{suffix}")
            assert registry.find_format(renamed).name == name
            path = renamed
        path.rename(made[name])


@pytest.mark.parametrize(("suffix", "name"), [(".zip", "zip"), (".tar", "tar"), (".hdf5", "hdf5"), (".tgz", "tar")])
def test_what_begins_as_nothing_is_what_it_is_called(suffix, name, tmp_path):
    path = tmp_path / f"mouse{suffix}"
    path.write_bytes(b"damaged")
    assert registry.find_format(path).name == name
    path.rename(tmp_path / "mouse")
    assert registry.find_format(tmp_path / "mouse") is None


def test_a_tar_that_begins_with_an_hdf5_file_is_what_it_is_called(tmp_path):
    """The library of HDF5 takes such a tar for one of its files, with 512 bytes of another program before it."""
    hdf5_file(tmp_path / "a.h5")
    subprocess.run(["tar", "-cf", "mouse.tar", "a.h5"], cwd=tmp_path, check=True)
    assert formats()["hdf5"].matches(tmp_path / "mouse.tar") and formats()["tar"].matches(tmp_path / "mouse.tar")
    assert registry.find_format(tmp_path / "mouse.tar").name == "tar"


def test_in_a_folder_only_what_is_called_as_a_format_is_looked_at(static_folder, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    zip_mouse(static_folder).rename(place / "one.zip")
    shutil.copy(place / "one.zip", place / "two.data")
    (place / "notes.txt").write_text("text")
    (place / "empty").mkdir()
    assert [source.label for source in find_sources(place)] == [str(place / "one.zip")]


def test_what_is_none_is_told_what_may_be(tmp_path):
    expected = "a folder with data and meta, a zip of it, an uncompressed tar of it, or an HDF5 file"
    with pytest.raises(SourceError) as raised:
        find_sources(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}: no mouse here (expected {expected}, or a folder of such); ")
    (tmp_path / "README").write_text("text")
    with pytest.raises(SourceError) as raised:
        find_sources(tmp_path / "README")
    assert str(raised.value) == f"{tmp_path / 'README'}: not a mouse (expected {expected}); give the path of a mouse"


# --- Formats of other packages ---------------------------------------------------------------------------------------


def test_a_format_of_another_package(plugins, static_folder, mouse_store, tmp_path):
    plugins(listed="LISTED", read="READ_ONLY")
    assert list(formats()) == ["npy", "zip", "tar", "hdf5", "listed", "read"]
    assert list(registry.writable()) == ["npy", "zip", "tar", "hdf5", "listed"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "list").touch()
    static_folder.rename(tmp_path / "mine" / "tree")
    assert registry.find_format(tmp_path / "mine") is LISTED
    assert plan_mouse(tmp_path / "mine", tmp_path / "stores").survey.label == str(tmp_path / "mine" / "tree")
    made = export_mouse(mouse_store, tmp_path / "out", format="listed", loud=True)
    assert made.path.suffix == ".list" and (made.files, made.unpacked_nbytes) == (1, 10)
    assert json.loads(made.path.read_text())["loud"] is True
    with pytest.raises(OptionError, match="the format 'read' is only read; choose one of npy, zip, tar, hdf5, listed"):
        export_mouse(mouse_store, tmp_path / "out", format="read")
    with pytest.raises(OptionError, match="loud: is not an option of the format tar .* export as listed"):
        export_mouse(mouse_store, tmp_path / "out", format="tar", loud=True)
    with pytest.raises(SourceError, match="an HDF5 file, a folder with a list, or a folder with a list"):
        find_sources(tmp_path / "mine" / "tree" / "meta")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"listed": "MISSING"}, "its format listed .* cannot be loaded .AttributeError: "),
        ({"listed": "NO_FORMAT"}, "is a str .expected a trialpack.convert.formats.Format"),
        ({"other": "OTHER_NAME"}, "its format other .* calls itself 'listed'"),
        ({"zip": "NAME_OF_ANOTHER"}, "its format zip .* has the name of another format"),
        ({"suffix": "SUFFIX_OF_ANOTHER"}, "has the suffix .h5 of the format hdf5"),
        ({"option": "OPTION_OF_ANOTHER"}, "has the option hdf5_filter, which means something else"),
        ({"command": "OPTION_OF_THE_COMMAND"}, "has the option workers, which means something else"),
    ],
)
def test_a_format_that_cannot_be_had_is_refused_by_name(entries, words, plugins, static_folder, tmp_path):
    plugins(**entries)
    with pytest.raises(OptionError, match=words) as raised:
        plan_mouse(static_folder, tmp_path / "stores")
    assert len(str(raised.value).splitlines()) == 1 and str(raised.value).endswith("; update or uninstall it")


def test_all_formats_that_cannot_be_had_are_named_at_once(plugins, static_folder):
    plugins(listed="MISSING", zip="NAME_OF_ANOTHER")
    with pytest.raises(OptionError) as raised:
        open_source(static_folder)
    assert len(raised.value.problems) == 2


PACKAGE = """
import json
from trialpack.convert.formats import Format, Option

def write(mouse, path, settings):
    path.write_text(json.dumps(settings.options))
    settings.progress.start("exporting", 1, 1)
    settings.progress.advance(1, 1)

mine = Format(
    name="mine", noun="a file of my lab", suffixes=(".mine",), matches=lambda path: False, open=print, write=write,
    options=(Option("mine_level", "How much.", ("low", "high")),), help="one file for my lab",
)
"""


def test_an_installed_package_adds_to_the_command_line(mouse_store, tmp_path):
    info = tmp_path / "packages" / "mylab-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[trialpack.formats]\nmine = mylab:mine\n")
    (tmp_path / "packages" / "mylab.py").write_text(PACKAGE)
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "packages"), "COLUMNS": "200"}

    def run(*arguments):
        return subprocess.run([TRIALPACK, *arguments], env=env, capture_output=True, text=True, check=False)

    shown = run("export", "--help").stdout
    assert "[npy|zip|tar|hdf5|mine]" in shown and "mine: one file for my lab." in shown
    assert "--mine-level [low|high]" in shown and "For --as mine. How much. [default: low]" in shown
    done = run("export", mouse_store, "--to", tmp_path / "out", "--as", "mine", "--mine-level", "high", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(Path(json.loads(done.stdout)["path"]).read_text()) == {"mine_level": "high"}
    (tmp_path / "packages" / "mylab.py").write_text("import nothing_of_this_name")
    done = run("convert", tmp_path, "--to", tmp_path / "stores")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "trialpack: package mylab: its format mine (mylab:mine) cannot be loaded (ModuleNotFoundError" in done.stderr


# --- Sources that are made in Python ---------------------------------------------------------------------------------


class WithoutTiers(MouseTree):
    """A source with arrays of trials, but without their tiers among them."""

    def survey(self, schema=None):
        found = super().survey(schema)
        kept = tuple(array for array in found.small if array.name != "meta/trials/tiers.npy")
        return dataclasses.replace(found, small=kept)


class WithFlatTiers(MouseTree):
    def survey(self, schema=None):
        found = super().survey(schema)
        tiers = SmallArray("meta/trials/tiers.npy", (), "<U5", False, 20)
        kept = (array for array in found.small if array.name != tiers.name)
        return dataclasses.replace(found, small=(*kept, tiers))


@pytest.mark.parametrize(("kind", "found"), [(WithoutTiers, "none"), (WithFlatTiers, r"shape \(\)")])
def test_a_source_without_tiers_is_told_so(kind, found, static_folder, tmp_path):
    assert len(list((static_folder / "meta/trials").glob("*.npy"))) > 1
    with pytest.raises(SourceError, match=f"tiers.npy: expected one text for each file number, found {found}; give"):
        plan_mouse(kind(FolderTree(static_folder)), tmp_path / "stores")

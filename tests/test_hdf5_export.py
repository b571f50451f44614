"""A store as one HDF5 file: what h5py alone reads in it, what comes back of it, and that it is there whole or not."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trialpack.convert import compare_with_source, convert_mouse, export_mouse
from trialpack.convert.formats.hdf5.hdf5_file import HDF5_FILTERS, Hdf5File
from trialpack.readers import open_mouse
from trialpack.store import (
    CorruptStoreError,
    OptionError,
    StoreBusyError,
    StoreExistsError,
    check_quick,
    files,
    locks,
)

from .command_line import TRIALPACK, run
from .made_up import write_made_up
from .mice import assert_same_bits

h5py = pytest.importorskip("h5py")
NAMES_THE_SOURCE = {"source", "store_id"}


@pytest.fixture(scope="module")
def stores(sample_mice, tmp_path_factory):
    """Stores of the sample mice by their kind: not to be written to."""
    place = tmp_path_factory.mktemp("stores")
    return {
        kind: convert_mouse(sample_mice[f"{kind}_folder"], place).store for kind in ("dynamic", "float64", "static")
    }


@pytest.fixture(scope="module")
def exported(stores, tmp_path_factory):
    """Their files, packed as by default: not to be written to."""
    place = tmp_path_factory.mktemp("exported")
    return {kind: export_mouse(store, place, format="hdf5").path for kind, store in stores.items()}


def assert_equal_stores(one, other):
    """Compare all arrays byte by byte, and all attributes but those that name the source."""
    first, second = check_quick(one), check_quick(other)
    assert first.manifest.values == second.manifest.values
    documents = ("zarr.json", "manifest.json")
    assert first.manifest.files.keys() == second.manifest.files.keys()
    for path, record in first.manifest.files.items():
        assert path in documents or record == second.manifest.files[path], path
    one, other = ({**index.attributes, **dict.fromkeys(NAMES_THE_SOURCE)} for index in (first, second))
    assert one == other


# --- There and back ----------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6), packing=st.sampled_from(HDF5_FILTERS))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_store_comes_back_as_it_was(seed, packing, tmp_path_factory):
    place = tmp_path_factory.mktemp("there")
    mouse = write_made_up(place, seed)
    precision = "float32" if seed % 5 == 0 else "source"
    store = convert_mouse(mouse, place / "stores", precision=precision).store
    file = export_mouse(store, place / "files", format="hdf5", hdf5_filter=packing).path
    back = convert_mouse(file, place / "back").store
    assert_equal_stores(back, store)
    compare_with_source(store, file, workers=2)
    compare_with_source(back, mouse, workers=2)


def test_files_of_similar_names_come_back(tmp_path):
    """Each has a dimension of its own, called by its path, in which a slash must not become a dot."""
    mouse = write_made_up(tmp_path, 1)
    for number, name in enumerate(("run.1/log", "run/1.log", "run/1/log")):
        path = mouse / "meta" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * number)
    store = convert_mouse(mouse, tmp_path / "stores").store
    file = export_mouse(store, tmp_path, format="hdf5").path
    assert_equal_stores(convert_mouse(file, tmp_path / "back").store, store)


@pytest.mark.parametrize("kind", ["dynamic", "float64", "static"])
def test_sample_mice_come_back(kind, stores, exported, tmp_path):
    assert_equal_stores(convert_mouse(exported[kind], tmp_path).store, stores[kind])


def test_a_rounded_store_stays_one(sample_mice, tmp_path):
    store = convert_mouse(sample_mice["float64_folder"], tmp_path / "rounded", precision="float32").store
    file = export_mouse(store, tmp_path, format="hdf5").path
    back = convert_mouse(file, tmp_path / "back").store
    assert open_mouse(back).index.attributes["precision"] == "float32"
    assert_equal_stores(back, store)


def test_equal_stores_give_equal_files(stores, exported, tmp_path):
    again = export_mouse(stores["dynamic"], tmp_path, format="hdf5").path
    assert again.read_bytes() == exported["dynamic"].read_bytes()


# --- What h5py alone reads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dynamic", "float64", "static"])
def test_h5py_reads_the_numbers_of_the_store(kind, stores, exported):
    index = open_mouse(stores[kind]).index
    mouse = open_mouse(stores[kind])
    with h5py.File(exported[kind]) as file:
        for array in index.arrays.values():
            dataset = file[array.path]
            if array.dtype == "string":
                assert tuple(h5py.check_string_dtype(dataset.dtype)) == ("utf-8", None)
                assert dataset.asstr()[...].tolist() == index.small(array.path).tolist()
            elif array.shard is None:
                assert_same_bits(np.asarray(dataset[()]), index.small(array.path), array.path)
        for variable in index.recorded:
            assert_same_bits(file[variable.path][...], mouse[variable.path][...], variable.path)
            assert np.isnan(file[variable.path].fillvalue)


def test_structure_and_attributes(stores, exported):
    index = open_mouse(stores["dynamic"]).index
    with h5py.File(exported["dynamic"]) as file:
        assert set(file) == {path.split("/")[0] for path in index.arrays} | {"dimensions"}
        assert file.attrs["mouse"] == index.attributes["mouse"] == exported["dynamic"].stem
        assert file.attrs["config_json"] == index.attributes["config_json"]
        assert "software" not in file.attrs and index.software
        assert json.loads(file.attrs["warnings"]) == index.attributes["warnings"]
        responses = file["responses"]
        assert responses.attrs["units"] == "a.u."
        assert json.loads(responses.attrs["source_headers"]) == [["<f4", False]]
        digests = [word.decode() for word in responses.attrs["xxh3_128"].tolist()]
        assert tuple(digests) == index.manifest.values["responses"]
        layout = index.arrays["responses"]
        assert responses.chunks == tuple(map(min, layout.chunk, layout.shape))
        assert not file["neurons/unit_ids"].attrs["source_fortran_order"]


def test_a_missing_value_is_an_attribute_without_one(tmp_path):
    store = convert_mouse(write_made_up(tmp_path, 3), tmp_path / "stores").store
    with h5py.File(export_mouse(store, tmp_path, format="hdf5").path) as file:
        assert isinstance(file.attrs["letter"], h5py.Empty)
        assert file.attrs["kind"] in ("dynamic", "static")


def test_dimension_scales(stores, exported):
    mouse = open_mouse(stores["dynamic"])
    with h5py.File(exported["dynamic"]) as file:
        for array in mouse.index.arrays.values():
            for dimension, name, size in zip(file[array.path].dims, array.dimensions, array.shape, strict=True):
                assert dimension.label == name
                assert len(dimension) == 1
                assert dimension[0].shape == (size,)
        responses = file["responses"].dims
        assert responses[0]["trial"][:].tolist() == mouse.trials.index.tolist()
        assert responses[1]["neuron"][:].tolist() == mouse.neurons["unit_ids"].tolist()
        assert responses[2]["frame"][:].tolist() == list(range(324))
        assert file["trials/tiers"].dims[0][0] == file["trials/trial_idx"].dims[0][0]


@pytest.mark.parametrize("packing", HDF5_FILTERS)
def test_every_chunk_has_a_checksum_and_is_packed_as_asked(packing, stores, tmp_path):
    path = export_mouse(stores["static"], tmp_path, format="hdf5", hdf5_filter=packing).path
    codes = {"gzip": 1, "lz4": 32004, "zstd": 32015}
    found = set()

    def look(name, node):
        if isinstance(node, h5py.Dataset) and node.chunks:
            settings = node.id.get_create_plist()
            filters = [settings.get_filter(place)[0] for place in range(settings.get_nfilters())]
            assert filters[-1] == h5py.h5z.FILTER_FLETCHER32
            found.add(tuple(filters[:-1]))

    with h5py.File(path) as file:
        file.visititems(look)
    assert found == ({()} if packing == "none" else {(h5py.h5z.FILTER_SHUFFLE, codes[packing])})


def test_old_libraries_can_read_it(exported):
    """Nothing in the file is younger than HDF5 1.8: superblock version 2 at most."""
    head = exported["dynamic"].read_bytes()[:16]
    assert head.startswith(b"\x89HDF") and head[8] <= 2


# --- Complete and verified, or not there -------------------------------------------------------------------------


def flip(path, place):
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))


def places(path):
    """Return places of each kind: a recorded variable, an array beside it, a text."""
    with h5py.File(path) as file:
        chunk = file["responses"].id.get_chunk_info(3)
        small = file["neurons/cell_motor_coordinates"].id.get_chunk_info(0)
    return {
        "recorded": chunk.byte_offset + chunk.size // 2,
        "small": small.byte_offset + small.size // 2,
        # The last of them are of trials/tiers: trials/tier, before it, is computed anew.
        "text": path.read_bytes().rindex(b"oracle"),
    }


@pytest.mark.parametrize("where", ["recorded", "small", "text"])
def test_a_byte_that_flips_before_verification_is_noticed(where, stores, exported, tmp_path, monkeypatch):
    place, check = places(exported["dynamic"])[where], Hdf5File.check

    def flip_first(self, path, progress):
        flip(path, place)
        check(self, path, progress)

    monkeypatch.setattr(Hdf5File, "check", flip_first)
    with pytest.raises(CorruptStoreError, match="written|read back"):
        export_mouse(stores["dynamic"], tmp_path / "to", format="hdf5")
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize("where", ["recorded", "small", "text"])
def test_a_byte_that_flips_later_is_noticed_on_reading(where, exported, tmp_path):
    path = tmp_path / "mouse.h5"
    path.write_bytes(exported["dynamic"].read_bytes())
    flip(path, places(path)[where])
    with pytest.raises(ValueError, match="mouse.h5") as caught:
        convert_mouse(path, tmp_path / "stores")
    assert caught.type.__name__ == "SourceError"
    assert list((tmp_path / "stores").iterdir()) == []


def test_a_damaged_store_is_not_exported(stores, tmp_path):
    shard = next(stores["dynamic"].glob("responses/c.*"))
    data = shard.read_bytes()
    os.chmod(shard, 0o644)
    try:
        flip(shard, len(data) // 2)
        with pytest.raises(CorruptStoreError, match="responses"):
            export_mouse(stores["dynamic"], tmp_path, format="hdf5")
    finally:
        shard.write_bytes(data)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_or_busy_destination(stores, exported, tmp_path):
    taken = tmp_path / exported["static"].name
    taken.write_bytes(b"mine")
    with pytest.raises(StoreExistsError, match="exists already"):
        export_mouse(stores["static"], tmp_path, format="hdf5")
    assert taken.read_bytes() == b"mine"
    taken.unlink()
    with locks.locked(tmp_path / f".{taken.name}.lock"), pytest.raises(StoreBusyError):
        export_mouse(stores["static"], tmp_path, format="hdf5")


@pytest.mark.parametrize("after", [0, 1, 3, 10, 50])
def test_a_failing_write_is_reported_and_leaves_nothing(after, stores, tmp_path, monkeypatch):
    write, calls = files.write_at, []

    def failing(descriptor, data, offset):
        calls.append(offset)
        if len(calls) > after:
            raise OSError(28, "No space left on device")
        write(descriptor, data, offset)

    monkeypatch.setattr(files, "write_at", failing)
    with pytest.raises(OSError, match="No space left on device") as caught:
        export_mouse(stores["static"], tmp_path, format="hdf5")
    assert caught.value.filename.endswith(".h5.partial")
    assert len(calls) == after + 1, "nothing is written after an error"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
def test_a_full_disk_ends_with_one_line_and_status_1(share, stores, exported, tmp_path):
    """The C library of HDF5 crashes at the end of a process in which it could not write."""
    limit = int(exported["dynamic"].stat().st_size * share)

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [TRIALPACK, "export", stores["dynamic"], "--to", tmp_path, "--as", "hdf5"]
    # Files of bytecode would be cut, too.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limited, env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1 and "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


# --- Options and the command line --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "npy", "hdf5_filter": "lz4"}, "hdf5_filter: is not an option of the format npy .*; .* hdf5$"),
        (
            {"format": "hdf5", "hdf5_filter": "zip"},
            "hdf5_filter: expected 'gzip' or .* or 'none', found 'zip'",
        ),
        ({"format": "hdf5", "statistics_pkl": True}, "statistics_pkl: is not an option .* export as npy or zip or tar"),
        ({"format": "npy", "statistics_pkl": "yes"}, "expected True or False, found 'yes'"),
        ({"format": "zip", "unknown": True}, "unknown: is not an option of the format zip .*; leave it out$"),
        ({"format": "mat"}, "no format 'mat'"),
    ],
)
def test_options_that_do_not_go_together(options, words, stores, tmp_path):
    with pytest.raises(OptionError, match=words):
        export_mouse(stores["dynamic"], tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("missing", "packing"), [("h5py", "gzip"), ("hdf5plugin", "zstd")])
def test_a_missing_package_is_named(missing, packing, stores, exported, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(OptionError, match=f"{missing}; pip install"):
        export_mouse(stores["static"], tmp_path, format="hdf5", hdf5_filter=packing)
    if missing == "h5py":
        with pytest.raises(OptionError, match="h5py; pip install"):
            convert_mouse(exported["static"], tmp_path / "stores")


def test_importing_trialpack_does_not_import_h5py():
    code = "import sys, trialpack.convert, trialpack.cli; sys.exit('h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_command_line_goes_there_and_back(stores, tmp_path):
    done = run("export", stores["static"], "--to", tmp_path, "--as", "hdf5", "--hdf5-filter", "none", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["files"] == 1 and Path(document["path"]).suffix == ".h5"
    packed = run("convert", tmp_path, "--to", tmp_path / "stores")
    assert packed.returncode == 0, packed.stderr
    store = next((tmp_path / "stores").glob("*.zarr"))
    checked = run("verify", store, "--source", document["path"])
    assert checked.returncode == 0 and "bit for bit" in checked.stdout
    refused = run("export", stores["static"], "--to", tmp_path, "--as", "zip", "--hdf5-filter", "none")
    assert (
        refused.returncode == 1
        and len(refused.stderr.splitlines()) == 1
        and "hdf5_filter: is not an option of the format zip" in refused.stderr
    )

"""Mice in HDF5 files of the older layouts: every value ends up in the store, under its published name and axes."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trialpack.convert import compare_with_source, convert_mouse, find_sources, open_source, plan_mouse
from trialpack.convert.formats.hdf5 import dataset
from trialpack.convert.formats.hdf5.access import Hdf5Path
from trialpack.convert.formats.source import ReadError
from trialpack.convert.sample import write_sample
from trialpack.readers import open_mouse
from trialpack.store import CorruptStoreError, SourceError

from .mice import assert_holds_mouse, assert_same_bits, open_store, trial_ids, trial_path

h5py = pytest.importorskip("h5py")
from .hdf5_files import write_images, write_movies  # noqa: E402

CHUNKED = [{}, {"chunks": True}, {"chunks": True, "compression": "gzip", "shuffle": True, "fletcher32": True}]


@pytest.fixture(scope="session")
def tiny_mice(sample_mice):
    """With all statistics that they come with."""
    return sample_mice


@pytest.fixture
def images(static_folder, tmp_path):
    """The file of the tiny static mouse."""
    return write_images(static_folder, tmp_path / "static1-2-3.h5")


@pytest.fixture
def movies(dynamic_folder, tmp_path):
    """The file of the tiny dynamic mouse, its trials cut to their own lengths."""
    return write_movies(dynamic_folder, tmp_path / "dynamic1-2-3.h5", lengths(dynamic_folder))


def lengths(folder):
    """Return how many frames each trial has, as the padding of its video says."""
    videos = {trial: np.load(trial_path(folder, "videos", trial)) for trial in trial_ids(folder)}
    return {trial: int((~np.isnan(video[0, 0])).sum()) for trial, video in videos.items()}


# --- Images ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", CHUNKED, ids=["contiguous", "chunked", "packed"])
def test_images_are_as_published(chunked, static_folder, tmp_path):
    """The store holds what that of the published tree does, whose statistics have the names that the layout gives."""
    (static_folder / "config.json").unlink(missing_ok=True)
    for folder in static_folder.glob("meta/statistics/*/stimulus_Frame"):
        folder.rename(folder.with_name("stimulus_frame"))
    path = write_images(static_folder, tmp_path / "mouse.h5", **chunked)
    store = convert_mouse(path, tmp_path / "stores").store
    assert store.name == "mouse.zarr"
    assert_holds_mouse(store, static_folder)
    compare_with_source(store, path, workers=2)
    compare_with_source(store, static_folder, workers=2)
    assert (store / "statistics/source/images/stimulus_frame").is_dir()


def test_statistics_get_the_names_of_a_tree(images, tmp_path):
    with h5py.File(images, "a") as file:
        file["statistics/images/Stimulus.Frame.x/Mean"] = 1.5
    group = open_store(convert_mouse(images, tmp_path).store)
    assert group["statistics/source/images/stimulus_frame_x/mean"][...] == 1.5


def test_big_endian_and_text_of_any_length(images, tmp_path):
    with h5py.File(images, "a") as file:
        values = file["responses"][...]
        del file["responses"], file["tiers"]
        file["responses"] = values.astype(">f4")
        file["tiers"] = ["train"] * 14
        file["item_info/note"] = ["é", "", *["long" * 9] * 12]
    store = convert_mouse(images, tmp_path).store
    group = open_store(store)
    assert_same_bits(group["responses"][...], values)
    assert group["responses"].attrs["source_headers"] == [[">f4", False]]
    assert group["trials/note"][:2].tolist() == ["é", ""]
    assert group["trials/note"].attrs["source_dtype"] == "<U36"


def test_what_has_no_place_is_left_out_and_said(images, tmp_path):
    with h5py.File(images, "a") as file:
        file["extra"] = [1, 2]
        file["somewhere"] = h5py.ExternalLink("/nowhere.h5", "x")
    warnings = convert_mouse(images, tmp_path).warnings
    assert {warning.split()[0] for warning in warnings if "left out" in warning} == {"extra", "somewhere"}


def test_a_user_block_and_any_name(images, tmp_path):
    """MATLAB's files begin with a block of their own; the suffix does not matter."""
    path = tmp_path / "block.mat"
    with h5py.File(path, "w", userblock_size=1024) as new, h5py.File(images) as old:
        for name in old:
            old.copy(name, new)
    path.write_bytes(b"MATLAB 7.3".ljust(1024) + path.read_bytes()[1024:])
    assert len(open_source(path).survey().trial_ids) == 14


# --- Movies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", CHUNKED, ids=["contiguous", "chunked", "packed"])
def test_movies_get_published_names_axes_and_padding(chunked, dynamic_folder, tmp_path):
    path = write_movies(dynamic_folder, tmp_path / "mouse.h5", lengths(dynamic_folder), **chunked)
    store = convert_mouse(path, tmp_path / "stores").store
    compare_with_source(store, path, workers=2)
    group, longest = open_store(store), max(lengths(dynamic_folder).values())
    ids = group["trials/trial_id"][:].tolist()
    assert ids == trial_ids(dynamic_folder)
    assert group["trials/n_frames"][:].tolist() == [lengths(dynamic_folder)[trial] for trial in ids]
    axes = {"videos": (2, 0, 1), "responses": (0, 1), "behavior": (0, 1), "pupil_center": (0, 1)}
    for name, order in axes.items():
        for row, trial in enumerate(ids):
            published = np.load(trial_path(dynamic_folder, name, trial))[..., :longest]
            n_frames = lengths(dynamic_folder)[trial]
            expected = np.full_like(published, np.nan)
            expected[..., :n_frames] = published[..., :n_frames]
            assert_same_bits(group[name][row], expected.transpose(order), f"{name} {trial}")


def test_tables_and_statistics_of_movies(movies, dynamic_folder, tmp_path):
    store = convert_mouse(movies, tmp_path / "stores").store
    group, mouse = open_store(store), open_mouse(store)
    assert group["trials/movie_names"][3] == "clip 3 é"
    assert mouse.trials.loc[3, "movie_names"] == "clip 3 é"
    assert group["statistics/source/videos/stimulus_frame/mean"][...] == 117.5
    assert group["statistics/source/pupil_center/all/mean"][:].tolist() == [1.5, -2.5]
    assert_same_bits(group["neurons/unit_ids"][:], np.load(dynamic_folder / "meta/neurons/unit_ids.npy"))
    assert [n for n, tier in enumerate(group["trials/tiers"][:]) if tier == "none"] == [1, 2, 4, 5, 7, 8, 15]


def test_trials_of_both_widths(movies, tmp_path):
    with h5py.File(movies, "a") as file:
        values = file["responses/9"][...]
        del file["responses/9"]
        file["responses/9"] = values.astype(">f8")
    made = convert_mouse(movies, tmp_path / "stores")
    compare_with_source(made.store, movies, workers=2)
    assert any("kept as float64" in warning for warning in made.warnings)
    headers = open_store(made.store)["responses"].attrs
    assert headers["source_headers"] == [["<f4", False], [">f8", False]]
    assert sum(headers["source_header_of_row"]) == 1


# --- As a source like the others ---------------------------------------------------------------------------------


def test_a_folder_of_mice_holds_files_too(images, movies, dynamic_zip, tmp_path):
    place = tmp_path / "mice"
    place.mkdir()
    shutil.move(images, place / "b.hdf5")
    shutil.move(movies, place / "a.h5")
    shutil.copy(dynamic_zip, place / "c.zip")
    (place / "notes.txt").write_text("no mouse")
    assert [Path(source.label).name for source in find_sources(place)] == ["a.h5", "b.hdf5", "c.zip"]


def test_verify_finds_a_changed_value(images, tmp_path):
    store = convert_mouse(images, tmp_path / "stores").store
    with h5py.File(images, "a") as file:
        file["responses"][3, 2] += 1
    with pytest.raises(CorruptStoreError, match="trial 3") as caught:
        compare_with_source(store, images, workers=2)
    assert len(caught.value.problems) == 1


def test_a_part_is_small_and_picklable(movies):
    source = open_source(movies)
    ids = source.survey().trial_ids
    part = pickle.loads(pickle.dumps(source.part(ids[2:4])))
    assert len(pickle.dumps(part)) < 4000
    assert json.dumps(part.fingerprint) == json.dumps(source.part(ids[2:4]).fingerprint)
    with part.open() as reader:
        assert reader.read("responses", ids[2]).values.shape[0] == 20


def test_the_fingerprint_knows_a_file_by_name_size_and_times(images, tmp_path):
    moved = tmp_path / "elsewhere" / images.name
    moved.parent.mkdir()

    def fingerprint(path):
        source = open_source(path)
        return source.part(source.survey().trial_ids).fingerprint

    before = fingerprint(images)
    assert fingerprint(images) == before
    shutil.copy2(images, moved)
    # It may be another file of equal size and time.
    assert fingerprint(moved) != before
    before = fingerprint(moved)
    moved = moved.parent.rename(tmp_path / "again") / moved.name
    assert fingerprint(moved) == before
    os.utime(moved, ns=(0, 1))
    assert fingerprint(moved) != before


def test_units_run_on_a_cluster(images, tmp_path, cluster):
    """Where a worker is another process, which opens the file itself."""
    store = convert_mouse(images, tmp_path / "stores", scheduler=cluster.scheduler_address).store
    compare_with_source(store, images, workers=1)


def test_the_plan_is_made_without_reading_trials(tmp_path, monkeypatch):
    path = wide_images(tmp_path / "wide.h5", 40)
    monkeypatch.setattr("trialpack.convert.formats.hdf5.values.Rows.read", only_small)
    assert plan_mouse(path, tmp_path).survey.nbytes > 40 * 4 * 36 * 64


def only_small(self, row, out):
    assert row is None and out.nbytes < 10_000


def wide_images(path, n_trials):
    """Write a mouse whose trials are large beside everything else."""
    with h5py.File(path, "w") as file:
        file["images"] = np.ones((n_trials, 1, 36, 64), np.float32)
        file["responses"] = np.ones((n_trials, 20_000), np.float32)
        file["behavior"] = file["pupil_center"] = np.ones((n_trials, 2), np.float32)
        file["tiers"] = np.full(n_trials, "oracle", "S6")
    return path


PEAKS_OF_READING = """
import sys
import tracemalloc
from trialpack.convert.formats.registry import open_source

for path in sys.argv[1:]:
    source = open_source(path)
    ids = source.survey().trial_ids
    part = source.part(ids)
    tracemalloc.start()
    with part.open() as reader:
        for trial in ids:
            reader.read("responses", trial)
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""


def test_reading_takes_the_memory_of_a_trial(tmp_path):
    """Whatever the number of trials: eight times as many take no more. In a process without threads of other tests."""
    paths = [wide_images(tmp_path / f"{n}.h5", n) for n in (40, 40, 320)]
    done = subprocess.run([sys.executable, "-c", PEAKS_OF_READING, *paths], capture_output=True, text=True, check=True)
    _, few, many = map(int, done.stdout.split())  # the first import what is read with
    assert many < 1.5 * few < 1_000_000


def test_each_chunk_of_many_rows_is_unpacked_once(tmp_path):
    """A mouse whose chunks hold 64 trials is read in turn, not 64 times."""
    path = tmp_path / "mouse.h5"
    with h5py.File(path, "w") as file:
        values = np.random.default_rng(0).normal(size=(128, 500)).astype(np.float32)
        file.create_dataset("responses", data=values, chunks=(64, 50), compression="gzip")
        file["images"] = np.ones((128, 1, 3, 4), np.float32)
        file["behavior"] = file["pupil_center"] = np.ones((128, 2), np.float32)
        file["tiers"] = np.full(128, "train", "S6")
    source, reads = open_source(path), []
    part = source.part(source.survey().trial_ids)
    with pytest.MonkeyPatch.context() as patch:
        storage = "trialpack.convert.formats.hdf5.storage._Storage.readinto"
        from trialpack.convert.formats.hdf5.storage import _Storage

        original = _Storage.readinto
        patch.setattr(storage, lambda self, buffer: reads.append(len(buffer)) or original(self, buffer))
        with part.open() as reader:
            for trial in range(128):
                assert_same_bits(np.ascontiguousarray(reader.read("responses", trial).values), values[trial])
    packed = [size for size in reads if size > 5000]
    assert len(packed) == 20


def test_a_sample_as_movies_trains_and_shows_statistics(tmp_path):
    """The store of a file is one like any other."""
    folder = write_sample(tmp_path / "data", mouse="A", trials=6, neurons=5, image_shape=(4, 6))
    path = write_movies(folder, tmp_path / "mouse.h5", lengths(folder))
    mouse = open_mouse(convert_mouse(path, tmp_path / "stores").store)
    assert mouse.statistics["responses"]["over_trials"].mean.shape[0] == 5
    assert mouse.trial(mouse.trials.index[0])["videos"].shape[1:] == (4, 6)


def test_nothing_of_the_file_stays_open(images, tmp_path):
    def opened():
        return sum(os.readlink(link) == str(images) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc")
    convert_mouse(images, tmp_path / "stores")
    with pytest.raises(SourceError), h5py.File(images, "a") as file:
        del file["tiers"]
        file.flush()
        open_source(images).survey()
    assert opened() == 0


@pytest.mark.parametrize(("options", "at_once"), [({}, True), ({"chunks": (2,)}, False)], ids=["plain", "chunked"])
@pytest.mark.parametrize("user_block", [0, 512])
def test_texts_are_read_at_once_where_their_sizes_can_be_seen(options, at_once, user_block, tmp_path, monkeypatch):
    """And those that are too large, or not of the size that their reference says, are refused."""
    path, words = tmp_path / "texts.h5", ["", "μm", "x" * 5000, "train"]
    with h5py.File(path, "w", userblock_size=user_block) as file:
        offset = file.create_dataset("words", data=words, dtype=h5py.string_dtype(), **options).id.get_offset()
    slowly, calls = dataset._read_one_by_one, []
    monkeypatch.setattr(dataset, "_read_one_by_one", lambda *a: (calls.append(a), slowly(*a))[1])
    with Hdf5Path(path).open() as file:
        assert file.values(file.dataset("words")).tolist() == words
    assert len(calls) == (not at_once)
    if at_once:
        for place, error, words in ((0, OSError, "size does not match"), (3, ReadError, "too much text")):
            data = bytearray(path.read_bytes())
            data[offset + 16 + place] += 64
            path.write_bytes(data)
            with Hdf5Path(path).open() as file, pytest.raises(error, match=words):
                file.values(file.dataset("words"))

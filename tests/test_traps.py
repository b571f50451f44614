"""What published mice do that a naive converter gets wrong: each of it ends up in the store, bit for bit."""

import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from trialpack.convert import convert_mouse, find_sources, plan_mouse
from trialpack.convert.sample import write_sample

from .mice import (
    Array,
    as_published,
    assert_holds_mouse,
    assert_same_bits,
    edit,
    open_store,
    sources,
    trial_ids,
    trial_path,
    variables,
    zip_mouse,
)

Convert = Callable[..., Path]
Fresh = Callable[[str], Path]
Pack = Callable[[Path], Path]
KINDS = ("dynamic", "float64", "static")


SIGNALLING, NEGATIVE, PAYLOAD = 0x7FA00001, 0xFFC00000, 0x7FC12345
SIGNALLING_64, NEGATIVE_64 = 0x7FF4000000000001, 0xFFF8000000000000


@pytest.fixture
def converted(converted: Convert) -> Convert:
    """Convert without statistics unless told: what is read back here is what the source holds."""
    return lambda source, **options: converted(source, **{"statistics": False, **options})


@pytest.fixture(params=["folder", "zip"])
def pack(request: pytest.FixtureRequest) -> Pack:
    """Leave a mouse in its folder, or zip it."""
    return zip_mouse if request.param == "zip" else lambda folder: folder


def every_trial(folder: Path, change: Callable[[Array], Array], *names: str) -> None:
    for name in names or variables(folder):
        for trial in trial_ids(folder):
            edit(trial_path(folder, name, trial), change)


def stored(store: Path, variable: str, trial: int) -> Array:
    """Read one trial with the axes of its file."""
    group = open_store(store)
    row = group["trials/trial_id"][:].tolist().index(trial)
    return as_published(variable, group[variable][row])


# --- As published ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [f"{kind}_{container}" for kind in KINDS for container in ("folder", "zip")])
def test_mice_as_published(name: str, converted: Convert, sample_mice: dict[str, Path]) -> None:
    folder = sample_mice[f"{name.split('_')[0]}_folder"]
    assert_holds_mouse(converted(sample_mice[name]), folder)


@pytest.mark.parametrize("codec", ["fast", "none", "small"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_codec_keeps_every_bit(kind: str, codec: str, fresh: Fresh, converted: Convert) -> None:
    folder = fresh(f"{kind}_folder")
    assert_holds_mouse(converted(folder, codec=codec), folder)


# zarr says of every codec of numcodecs that it is not part of the Zarr v3 specification.
@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")
@pytest.mark.parametrize("kind", KINDS)
def test_pcodec_keeps_every_bit(kind: str, fresh: Fresh, converted: Convert) -> None:
    pytest.importorskip("pcodec")
    folder = fresh(f"{kind}_folder")
    assert_holds_mouse(converted(folder, codec="pcodec"), folder)


def test_zip_and_folder_give_the_same_arrays(dynamic_folder: Path, dynamic_zip: Path, tmp_path: Path) -> None:
    one = convert_mouse(dynamic_folder, tmp_path / "one").store
    other = convert_mouse(dynamic_zip, tmp_path / "other").store
    files = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    assert files
    for path in files:
        if path.name not in ("zarr.json", "manifest.json"):
            assert (one / path).read_bytes() == (other / path).read_bytes(), path


# --- Numbers, tiers and order --------------------------------------------------------------------------------------


def test_gaps_in_numbers_have_tier_none(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    group = open_store(converted(pack(dynamic_folder)))
    ids, tiers = group["trials/trial_id"][:].tolist(), group["trials/tiers"][:].tolist()
    assert ids == [0, 3, 6, 9, 10, 11, 12, 13, 14, 16, 17, 18]
    assert [number for number, tier in enumerate(tiers) if tier == "none"] == [1, 2, 4, 5, 7, 8, 15]
    assert group["trials/tier"][:].tolist() == [tiers[trial] for trial in ids]
    assert "none" not in group["trials/tier"][:].tolist()


def test_numbers_behind_the_last_file_are_gaps_too(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    path = dynamic_folder / "meta/trials/tiers.npy"
    edit(path, lambda tiers: np.append(tiers, ["none"] * 5))
    assert_holds_mouse(converted(pack(dynamic_folder)), dynamic_folder)


def test_trials_are_in_the_order_of_their_numbers(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    ids = trial_ids(dynamic_folder)
    assert sorted(ids, key=str) != ids, "the names must sort otherwise than the numbers"
    for trial in ids:
        edit(trial_path(dynamic_folder, "behavior", trial), lambda a, trial=trial: np.full_like(a, trial))
    group = open_store(converted(pack(dynamic_folder)))
    assert group["trials/trial_id"][:].tolist() == ids
    assert group["behavior"][:, 0, 0].tolist() == ids


@pytest.mark.parametrize(("letter", "n_frames"), [("A", 324), ("C", 325), ("H", 326), ("E", 315)])
def test_frames_are_those_of_the_mouse(letter: str, n_frames: int, tmp_path: Path, converted: Convert) -> None:
    folder = write_sample(tmp_path / "source", mouse=letter, trials=2, neurons=3, image_shape=(4, 5))
    store = converted(folder)
    assert open_store(store)["videos"].shape == (2, n_frames, 4, 5)
    assert_holds_mouse(store, folder)


def test_padding_gives_the_valid_frames(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    store = converted(pack(dynamic_folder))
    group = open_store(store)
    expected = [
        int(np.isfinite(np.load(trial_path(dynamic_folder, "videos", trial))[0, 0]).sum())
        for trial in trial_ids(dynamic_folder)
    ]
    assert group["trials/n_frames"][:].tolist() == expected
    assert set(expected) == {300, 315} and group["videos"].shape[1] == 324
    for row, n_frames in enumerate(expected):
        assert not np.isnan(group["responses"][row, :, :n_frames]).any()
        assert np.isnan(group["responses"][row, :, n_frames:]).all()


@pytest.mark.parametrize(("letter", "broken", "frames"), [("D", 668, 403), ("J", 156, 414)])
def test_a_broken_trial_sets_the_length(
    letter: str, broken: int, frames: int, tmp_path: Path, converted: Convert
) -> None:
    folder = write_sample(tmp_path, mouse=letter, trial_ids=[0, 1, broken], neurons=3, image_shape=(4, 5))
    store = converted(folder)
    group = open_store(store)
    assert group["trials/n_frames"][:].tolist() == [300, 300, frames]
    assert not np.isnan(group["videos"][2]).any()
    assert_holds_mouse(store, folder)


def test_a_nan_within_a_trial_is_no_padding(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    def puncture(responses: Array) -> Array:
        responses[0, 100] = np.nan
        return responses

    edit(trial_path(dynamic_folder, "responses", 9), puncture)
    store = converted(pack(dynamic_folder))
    group = open_store(store)
    assert group["trials/n_frames"][:].tolist()[3] == 300
    assert any("responses of trial 9 hold NaN" in warning for warning in group.attrs["warnings"])
    assert_holds_mouse(store, dynamic_folder)


# --- Withheld ------------------------------------------------------------------------------------------------------


def test_withheld_responses_are_flagged_and_kept(float64_folder: Path, converted: Convert, pack: Pack) -> None:
    store = converted(pack(float64_folder))
    group = open_store(store)
    withheld = group["trials/withheld"][:].tolist()
    assert withheld == [False, False, True, False, True, False, False, True]
    assert group["trials/n_frames"][:].tolist() == [300, 300, 324, 300, 300, 300, 300, 300]
    for row in np.flatnonzero(withheld):
        assert group["responses"][row].tobytes() == bytes(5 * 324 * 8), "zeros over the padding too"
    assert_holds_mouse(store, float64_folder)


def test_static_mouse_with_withheld_behavior(static_folder: Path, converted: Convert, pack: Pack) -> None:
    group = open_store(converted(pack(static_folder)))
    tiers, withheld = group["trials/tier"][:].tolist(), group["trials/withheld"][:].tolist()
    assert withheld == [tier in ("test", "final_test") for tier in tiers]
    assert True in withheld and False in withheld
    assert not group["behavior"][:].any() and not group["pupil_center"][:].any()
    assert "n_frames" not in group["trials"]


def test_behavior_of_zeros_is_not_withheld(dynamic_folder: Path, converted: Convert) -> None:
    edit(trial_path(dynamic_folder, "behavior", 9), np.zeros_like)
    group = open_store(converted(dynamic_folder))
    assert not group["trials/withheld"][:].any()


# --- How values are written ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "dtype"), [("dynamic", "float32"), ("float64", "float64"), ("static", "float32")])
def test_dtype_of_the_source(kind: str, dtype: str, fresh: Fresh, converted: Convert, pack: Pack) -> None:
    folder = fresh(f"{kind}_folder")
    group = open_store(converted(pack(folder)))
    assert {str(group[name].dtype) for name in variables(folder)} == {dtype}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_static_mice_of_either_dtype(dtype: str, tmp_path: Path, converted: Convert) -> None:
    folder = write_sample(tmp_path, mouse="P1", trials=5, neurons=4, dtype=dtype, image_shape=(3, 4))
    assert_holds_mouse(converted(folder), folder)


def test_float32_is_what_astype_gives(float64_folder: Path, converted: Convert, pack: Pack) -> None:
    def overshoot(video: Array) -> Array:
        video[:2, 0, 0] = 255.00000000000006, 1e300
        return video

    edit(trial_path(float64_folder, "videos", 1), overshoot)
    store = converted(pack(float64_folder), precision="float32")
    for name in variables(float64_folder):
        for trial in trial_ids(float64_folder):
            with np.errstate(over="ignore"):
                expected = np.load(trial_path(float64_folder, name, trial)).astype(np.float32)
            assert_same_bits(stored(store, name, trial), expected, f"{name} {trial}")


@pytest.mark.parametrize("minority", ["<f4", "<f8"])
def test_two_dtypes_in_one_variable(minority: str, dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    other = "<f8" if minority == "<f4" else "<f4"
    every_trial(dynamic_folder, lambda a: a.astype(other), "responses")
    path = trial_path(dynamic_folder, "responses", 13)
    rng = np.random.default_rng(0)
    np.save(path, (rng.standard_normal((20, 324)) * 1e-30).astype(minority))
    store = converted(pack(dynamic_folder))
    group = open_store(store)
    assert group["responses"].dtype == np.float64
    assert group["behavior"].dtype == np.float32
    assert any("responses" in warning and "float64" in warning for warning in group.attrs["warnings"])
    assert_holds_mouse(store, dynamic_folder)
    rows = group["responses"].attrs["source_header_of_row"]
    headers = [group["responses"].attrs["source_headers"][number][0] for number in rows]
    assert headers == [minority if trial == 13 else other for trial in trial_ids(dynamic_folder)]


@pytest.mark.parametrize("some", [False, True], ids=["all", "one"])
@pytest.mark.parametrize("kind", KINDS)
def test_fortran_order(kind: str, some: bool, fresh: Fresh, converted: Convert, pack: Pack) -> None:
    folder = fresh(f"{kind}_folder")
    if some:
        edit(trial_path(folder, "responses", 3), np.asfortranarray)
        edit(trial_path(folder, variables(folder)[-1], 3), np.asfortranarray)
    else:
        every_trial(folder, np.asfortranarray)
    assert_holds_mouse(converted(pack(folder)), folder)


@pytest.mark.parametrize("kind", KINDS)
def test_big_endian(kind: str, fresh: Fresh, converted: Convert, pack: Pack) -> None:
    folder = fresh(f"{kind}_folder")
    every_trial(folder, lambda a: a.astype(a.dtype.newbyteorder(">")))
    for path in folder.glob("meta/**/*.npy"):
        edit(path, lambda a: a.astype(a.dtype.newbyteorder(">")))
    store = converted(pack(folder))
    assert_holds_mouse(store, folder)
    headers = open_store(store)["responses"].attrs["source_headers"]
    assert [descr for descr, _ in headers] == [np.load(trial_path(folder, "responses", 0)).dtype.str]


def test_big_endian_and_fortran_order_in_one_trial(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    for name in variables(dynamic_folder):
        edit(trial_path(dynamic_folder, name, 12), lambda a: np.asfortranarray(a.astype(">f4")))
    assert_holds_mouse(converted(pack(dynamic_folder)), dynamic_folder)


@pytest.mark.parametrize("version", [(2, 0), (3, 0)])
def test_newer_npy_versions(version: tuple[int, int], dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    for path in [*dynamic_folder.glob("data/*/1?.npy"), dynamic_folder / "meta/trials/tiers.npy"]:
        array = np.load(path)
        with open(path, "wb") as file, warnings.catch_warnings():
            # numpy warns that old readers cannot read what is written here on purpose.
            warnings.simplefilter("ignore", UserWarning)
            np.lib.format.write_array(file, array, version=version)
    assert trial_path(dynamic_folder, "videos", 10).read_bytes()[6:8] == bytes(version)
    assert_holds_mouse(converted(pack(dynamic_folder)), dynamic_folder)


def test_headers_of_any_length(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    for extra, trial in enumerate(trial_ids(dynamic_folder)):
        path = trial_path(dynamic_folder, "behavior", trial)
        array, shape = np.load(path), (2, 324)
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}" + " " * extra**3 + "\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + array.tobytes())
    assert_holds_mouse(converted(pack(dynamic_folder)), dynamic_folder)


@pytest.mark.parametrize("kind", KINDS)
def test_nan_payloads_survive(kind: str, fresh: Fresh, converted: Convert, pack: Pack) -> None:
    folder = fresh(f"{kind}_folder")
    wide = kind == "float64"
    bits = [SIGNALLING_64, NEGATIVE_64] if wide else [SIGNALLING, NEGATIVE, PAYLOAD]

    def poison(array: Array) -> Array:
        view = array.view(f"u{array.itemsize}").reshape(-1)
        view[1 : 1 + len(bits)] = bits
        view[-1] = 1 << (8 * array.itemsize - 1)  # -0.0
        return array

    every_trial(folder, poison, "responses", variables(folder)[-1])
    edit(trial_path(folder, "responses", 3), lambda a: np.asfortranarray(a))
    for path in folder.glob("meta/statistics/*/all/*.npy"):
        array = np.load(path)
        if array.ndim:
            array.view(np.uint32).reshape(-1)[1:4] = SIGNALLING, NEGATIVE, PAYLOAD
            np.save(path, array)
    store = converted(pack(folder))
    view = stored(store, "responses", 0).view(f"u{8 if wide else 4}").reshape(-1)
    assert view[1 : 1 + len(bits)].tolist() == bits
    assert_holds_mouse(store, folder)


def test_nan_payloads_of_big_endian_files_survive(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    array = np.load(trial_path(dynamic_folder, "responses", 9)).astype(">f4")
    array.view(">u4")[0, :3] = SIGNALLING, NEGATIVE, PAYLOAD
    np.save(trial_path(dynamic_folder, "responses", 9), array)
    store = converted(pack(dynamic_folder))
    found = stored(store, "responses", 9).view(np.uint32)[0, :3]
    assert found.tolist() == [SIGNALLING, NEGATIVE, PAYLOAD]


def test_extreme_values_survive(static_folder: Path, converted: Convert, pack: Pack) -> None:
    values = np.array([np.inf, -np.inf, -0.0, 1e-45, np.finfo(np.float32).max, np.finfo(np.float32).min], np.float32)
    np.save(trial_path(static_folder, "responses", 4), values)
    assert_holds_mouse(converted(pack(static_folder)), static_folder)


# --- Containers ----------------------------------------------------------------------------------------------------


def leave_junk(folder: Path) -> None:
    """Put beside every file what macOS and Windows do."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        (path.parent / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
        (path.parent / ".DS_Store").write_bytes(b"Bud1")
    (folder / "Thumbs.db").write_bytes(b"x")
    below = folder / "__MACOSX" / folder.name / "data/responses"
    below.mkdir(parents=True)
    (below / "._0.npy").write_bytes(b"\x00\x05\x16\x07")
    (below / "0.npy").write_bytes(b"not an array")


@pytest.mark.parametrize("kind", KINDS)
def test_leftovers_of_operating_systems_are_ignored(kind: str, fresh: Fresh, converted: Convert, pack: Pack) -> None:
    folder = fresh(f"{kind}_folder")
    leave_junk(folder)
    store = converted(pack(folder))
    assert_holds_mouse(store, folder)
    assert open_store(store).attrs["warnings"] == []


def test_macosx_beside_the_mouse_in_a_zip(dynamic_folder: Path, converted: Convert) -> None:
    def add(archive: zipfile.ZipFile) -> None:
        archive.writestr(f"__MACOSX/{dynamic_folder.name}/meta/trials/tiers.npy", b"no")
        archive.writestr(f"__MACOSX/{dynamic_folder.name}/meta/trials/._tiers.npy", b"no")
        archive.writestr("__MACOSX/._x", b"no")

    assert_holds_mouse(converted(zip_mouse(dynamic_folder, finish=add)), dynamic_folder)


@pytest.mark.parametrize(
    ("top", "mouse"),
    [("", "packed"), ("mouse/", "mouse"), ("a/b/mouse/", "mouse"), ("./", "packed"), ("Überraschung/", "Überraschung")],
)
def test_top_folders_in_a_zip(top: str, mouse: str, dynamic_folder: Path, tmp_path: Path, converted: Convert) -> None:
    store = converted(zip_mouse(dynamic_folder, tmp_path / "packed.zip", top=top))
    assert store.name == f"{mouse}.zarr"
    assert open_store(store).attrs["mouse"] == mouse
    assert_holds_mouse(store, dynamic_folder)


@pytest.mark.parametrize("container", ["folder", "zip"])
def test_the_folder_above_the_mouse(container: str, fresh: Fresh, converted: Convert, pack: Pack) -> None:
    source = fresh(f"dynamic_{container}")
    (source.parent / "README.md").write_text("what came with it")
    (source.parent / ".DS_Store").write_bytes(b"")
    (source.parent / "__MACOSX").mkdir()
    folder = source if container == "folder" else fresh("dynamic_folder")
    assert_holds_mouse(converted(source.parent), folder)


def test_a_folder_of_mice(fresh: Fresh, tmp_path: Path) -> None:
    for name in ("dynamic_folder", "static_zip", "float64_zip"):
        source = fresh(name)
        target = tmp_path / "all" / source.name
        target.parent.mkdir(exist_ok=True)
        shutil.move(source, target)
    found = [source.survey().mouse.split("-")[0] for source in find_sources(tmp_path / "all")]
    assert found == ["dynamic29156", "dynamic29515", "static26872"]


def test_a_link_to_a_mouse(dynamic_folder: Path, tmp_path: Path, converted: Convert) -> None:
    link = tmp_path / "link"
    link.symlink_to(dynamic_folder)
    store = converted(link)
    assert store.name == f"{dynamic_folder.name}.zarr"
    assert_holds_mouse(store, dynamic_folder)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize("kind", KINDS)
def test_members_stored_and_deflated(kind: str, method: int, fresh: Fresh, converted: Convert) -> None:
    folder = fresh(f"{kind}_folder")
    assert_holds_mouse(converted(zip_mouse(folder, method=method)), folder)


def test_zips_written_as_a_stream(dynamic_folder: Path, tmp_path: Path, converted: Convert) -> None:
    path = tmp_path / "stream.zip"
    with open(path, "wb") as file:
        stream = _Unseekable(file)
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
            for one in sorted(dynamic_folder.rglob("*.*")):
                archive.write(one, one.relative_to(dynamic_folder))
    assert path.read_bytes()[6] & 0x08, "sizes stand behind the members"
    assert_holds_mouse(converted(path), dynamic_folder)


class _Unseekable:
    def __init__(self, file: object) -> None:
        self.write, self.flush = file.write, file.flush  # type: ignore[attr-defined]


def test_zip64(dynamic_folder: Path, tmp_path: Path, converted: Convert) -> None:
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in sorted(dynamic_folder.rglob("*.*")):
            with archive.open(str(one.relative_to(dynamic_folder)), "w", force_zip64=True) as member:
                member.write(one.read_bytes())
    assert_holds_mouse(converted(path), dynamic_folder)


def test_something_stands_before_and_behind_the_zip(dynamic_folder: Path, converted: Convert) -> None:
    path = zip_mouse(dynamic_folder, finish=lambda archive: setattr(archive, "comment", b"c" * 1000))
    path.write_bytes(b"#!/bin/sh\n" * 50 + path.read_bytes())
    assert_holds_mouse(converted(path), dynamic_folder)


# --- Metadata ------------------------------------------------------------------------------------------------------


def test_unknown_metadata_keeps_its_names(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    meta = dynamic_folder / "meta"
    (meta / "extra/deep").mkdir(parents=True)
    arrays = {
        "trials/video_ids": np.arange(19, dtype=np.int16),
        "trials/durations": np.linspace(0, 1, 19),
        "neurons/area": np.array(["V1", "LM"] * 10),
        "neurons/unit names": np.array([b"ab", b"c"] * 10),
        "extra/deep/flags": np.array([[True, False]]),
        "extra/deep/scalar": np.float64(3.5),
        "extra/empty": np.zeros((0, 3), np.uint8),
        "extra/times": np.array(["2020-01-01", "NaT"], "M8[ns]"),
        "extra/waits": np.array([1, -5], "m8[us]"),
        "extra/halves": np.array([1, 2, np.nan], np.float16),
        "extra/bytes": np.array([[b"a\0b", b""]], "S4"),
        "top": np.arange(3, dtype=np.uint64),
        "neurons/F order": np.asfortranarray(np.arange(60).reshape(20, 3)),
    }
    for name, array in arrays.items():
        np.save(meta / f"{name}.npy", array)
    (meta / "trials/notes.txt").write_bytes(b"line\r\n\xff\x00")
    (meta / "extra/empty.bin").write_bytes(b"")
    (meta / "change.log").write_text("changed")
    store = converted(pack(dynamic_folder))
    assert_holds_mouse(store, dynamic_folder)
    found = sources(store)
    assert found["meta/trials/video_ids.npy"].path == "trials/video_ids"
    assert found["meta/neurons/area.npy"].path == "neurons/area"
    assert found["meta/extra/deep/flags.npy"].path == "meta/extra/deep/flags"
    assert found["meta/trials/notes.txt"].path == "files/meta/trials/notes.txt"


def test_files_named_as_our_own_arrays(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    for name in ("trial_id", "tier", "n_frames", "withheld"):
        np.save(dynamic_folder / f"meta/trials/{name}.npy", np.arange(19))
    assert_holds_mouse(converted(pack(dynamic_folder)), dynamic_folder)


def test_text_that_was_something_else(static_folder: Path, converted: Convert, pack: Pack) -> None:
    texts = ["Timestamp('2019-02-11 15:38:10')", "NaT", "Decimal('10.000')", "nan", "", "None", "ü – 漢字 🐭"]
    np.save(static_folder / "meta/trials/frame_reprs.npy", np.array((texts * 2)[:14]))
    store = converted(pack(static_folder))
    group = open_store(store)
    assert group["trials/frame_reprs"][:].tolist() == (texts * 2)[:14]
    assert str(group["trials/frame_trial_ts"][0]).startswith("Timestamp('")
    assert str(group["trials/frame_pre_blank_period"][0]) == "Decimal('0.400')"
    assert_holds_mouse(store, static_folder)


def test_hashed_trial_idx(static_folder: Path, converted: Convert, pack: Pack) -> None:
    group = open_store(converted(pack(static_folder)))
    hashes = group["trials/trial_idx"][:].tolist()
    assert len(set(hashes)) == 14 and all(len(text) == 32 for text in hashes)
    assert hashes == np.load(static_folder / "meta/trials/trial_idx.npy").tolist()


@pytest.mark.parametrize(
    "text",
    ['{"links": {"targets": "responses"}}', "", "{ not json\r\n", '{"ü": "\\u00fc 🐭"}\n', " \t\n"],
    ids=["links", "empty", "no json", "unicode", "blank"],
)
def test_config_is_kept_verbatim(text: str, dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    (dynamic_folder / "config.json").write_bytes(text.encode())
    group = open_store(converted(pack(dynamic_folder)))
    assert group.attrs["config_json"] == text


def test_no_config(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    (dynamic_folder / "config.json").unlink()
    assert open_store(converted(pack(dynamic_folder))).attrs["config_json"] is None


def test_files_beside_data_and_meta_are_left_out_aloud(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    (dynamic_folder / "change.log").write_text("changed")
    group = open_store(converted(pack(dynamic_folder)))
    assert [warning for warning in group.attrs["warnings"] if "change.log" in warning]


def test_statistics_of_any_shape_and_spelling(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    statistics = dynamic_folder / "meta/statistics"
    shapes = {
        "videos/stimulus_Frame/mean": (),
        "videos/stimulus_frame/mean": (6, 8, 300),
        "responses/stimulus_Frame/std": (20,),
        "responses/movies/std": (20, 1, 400),
        "behavior/all/range": (3,),
    }
    for name, shape in shapes.items():
        (statistics / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(statistics / f"{name}.npy", np.random.default_rng(1).standard_normal(shape).astype(np.float32))
    edit(statistics / "videos/all/std.npy", lambda a: np.where(np.arange(324) > 200, np.nan, a))
    store = converted(pack(dynamic_folder))
    assert_holds_mouse(store, dynamic_folder)
    assert open_store(store)["statistics/source/videos/stimulus_Frame/mean"].shape == ()
    assert open_store(store)["statistics/source/videos/stimulus_frame/mean"].shape == (6, 8, 300)


def test_statistics_without_dimensions(static_folder: Path, converted: Convert, pack: Pack) -> None:
    store = converted(pack(static_folder))
    mean = open_store(store)["statistics/source/images/all/mean"]
    assert mean.shape == ()
    assert_same_bits(np.asarray(mean[...]), np.load(static_folder / "meta/statistics/images/all/mean.npy"))


def test_no_statistics_and_no_neurons(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    shutil.rmtree(dynamic_folder / "meta/statistics")
    shutil.rmtree(dynamic_folder / "meta/neurons")
    assert_holds_mouse(converted(pack(dynamic_folder)), dynamic_folder)


# --- Shapes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
def test_image_channels(channels: int, static_folder: Path, converted: Convert, pack: Pack) -> None:
    every_trial(static_folder, lambda image: np.concatenate([image, -image])[:channels], "images")
    store = converted(pack(static_folder))
    assert open_store(store)["images"].shape == (14, channels, 9, 16)
    assert_holds_mouse(store, static_folder)


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_behavior_channels(kind: str, channels: int, fresh: Fresh, converted: Convert, pack: Pack) -> None:
    folder = fresh(f"{kind}_folder")
    every_trial(folder, lambda a: np.concatenate([a, a])[:channels], "behavior")
    store = converted(pack(folder))
    assert open_store(store)["behavior"].shape[:2] == (len(trial_ids(folder)), channels)
    assert_holds_mouse(store, folder)


@pytest.mark.parametrize(("trials", "neurons"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("mouse", ["A", "F", "S0"])
def test_the_smallest_mice(mouse: str, trials: int, neurons: int, tmp_path: Path, converted: Convert) -> None:
    folder = write_sample(tmp_path, mouse=mouse, trials=trials, neurons=neurons, image_shape=(1, 2))
    assert_holds_mouse(converted(folder), folder)


def test_many_units(tmp_path: Path, converted: Convert, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_sample(tmp_path, mouse="A", trials=11, neurons=7, image_shape=(3, 4))
    monkeypatch.setattr("trialpack.store.layout.SHARD_BYTES", 40_000)
    assert len(plan_mouse(folder, tmp_path).units) > 3
    for workers in (1, 3):
        assert_holds_mouse(converted(folder, workers=workers, replace=True), folder)


def test_variables_need_not_agree_on_their_valid_length(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    def shorten(array: Array) -> Array:
        array[..., 250:] = np.nan
        return array

    edit(trial_path(dynamic_folder, "responses", 6), shorten)
    store = converted(pack(dynamic_folder))
    group = open_store(store)
    assert group["trials/n_frames"][2] == 300
    assert any("responses of trial 6 have 250 valid frames" in warning for warning in group.attrs["warnings"])
    assert_holds_mouse(store, dynamic_folder)


def test_identical_trials_are_all_kept(dynamic_folder: Path, converted: Convert, pack: Pack) -> None:
    for name in variables(dynamic_folder):
        shutil.copy(trial_path(dynamic_folder, name, 0), trial_path(dynamic_folder, name, 3))
    assert_holds_mouse(converted(pack(dynamic_folder)), dynamic_folder)

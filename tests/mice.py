"""Tiny mice for tests: how to break, pack, list and compare them. Fixtures that hand them out are in conftest.py."""

import importlib.util
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from trialpack.convert import export_mouse
from trialpack.convert.npy import read_header
from trialpack.store.variables import KNOWN, Kind, Variable, stored_dimensions

Array = NDArray[Any]

STIMULUS_AXES = {"videos": (2, 0, 1), "images": (0, 1, 2)}
"""Axis in the file of each axis of a trial in the store; the other variables keep theirs."""
_ZARRS = importlib.util.find_spec("zarrs") is not None
_QUICK = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"} if _ZARRS else {}
_SURPLUS = re.compile(r"/meta/statistics/(?!$|(videos|images)/($|all/($|(\._)?(mean|std)\.npy$)))")
"""Names of all statistics of the published files but two of the stimulus, and of their folders, with a slash."""
_FILE_KINDS = {stat.S_IFLNK: b"target", stat.S_IFIFO: b""}


def published_variables(kind: Kind, dtype: str = "float32") -> tuple[Variable, ...]:
    """Return the variables of a published mouse, in the order of its store."""
    found = list[Variable]()
    for name, known in KNOWN.items():
        if kind in known.kinds:
            published = known.forms[3 if name in STIMULUS_AXES else 1 if kind == "static" else 2]
            dimensions, axes = stored_dimensions(published)
            channels = known.channels[0] if known.channels else ()
            rate = 30.0 if kind == "dynamic" else None
            described = known.units, known.long_name, channels, rate
            found.append(Variable(name, known.role, dimensions, axes, dtype, *described))
    return tuple(found)


def trial_path(folder: Path, variable: str, trial_id: int) -> Path:
    return folder / "data" / variable / f"{trial_id}.npy"


def trial_ids(folder: Path) -> list[int]:
    return sorted(int(path.stem) for path in (folder / "data" / "responses").glob("[0-9]*.npy"))


def variables(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "data").iterdir() if path.is_dir())


def edit(path: Path, change: Callable[[Array], Array]) -> None:
    """Replace the array in a file by a function of it; the result keeps its dtype, byte order and memory order."""
    np.save(path, change(np.load(path)))


def trim(folder: Path) -> None:
    """Remove most of a mouse's statistics: few files make fast tests."""
    for path in sorted((folder / "meta/statistics").rglob("*"), reverse=True):
        if path.is_dir() and _SURPLUS.search(f"{path.as_posix()}/"):
            path.rmdir()
        elif not path.is_dir() and _SURPLUS.search(path.as_posix()):
            path.unlink()


def trimmed_zip(original: Path, to: Path) -> Path:
    """Write a zip as `original` is, without what `trim` removes."""
    with zipfile.ZipFile(original) as source, zipfile.ZipFile(to, "w") as target:
        for member in source.infolist():
            if not _SURPLUS.search(member.filename):
                target.writestr(member, source.read(member), compresslevel=1)
    return to


def write_npy(path: Path, header: str | bytes, values: bytes, version: tuple[int, int] = (1, 0)) -> None:
    """Write a file with a header that numpy would not write."""
    text = header if isinstance(header, bytes) else header.encode("latin1")
    length = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    path.write_bytes(b"\x93NUMPY" + bytes(version) + length + text + values)


def zip_mouse(
    folder: Path,
    to: Path | None = None,
    *,
    method: int = zipfile.ZIP_DEFLATED,
    top: str | None = None,
    finish: Callable[[zipfile.ZipFile], object] = lambda archive: None,
) -> Path:
    """Zip a mouse as it is, with its links, pipes and empty folders; return ``<folder>.zip``, or `to`.

    Parameters
    ----------
    top
        What stands before the names; the folder's name and a slash by default.
    finish
        Called before the zip's directory is written: what it changes in `ZipInfo` objects makes the directory lie.
    """
    to = to or folder.with_name(folder.name + ".zip")
    top = f"{folder.name}/" if top is None else top
    with zipfile.ZipFile(to, "w", method, compresslevel=1) as archive:
        for root, folders, files in os.walk(folder):
            for name in sorted([*folders, *files]):
                path = Path(root, name)
                _pack(archive, path, top + path.relative_to(folder).as_posix())
        finish(archive)
    return to


def _pack(archive: zipfile.ZipFile, path: Path, name: str) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode):
        archive.write(path, name)
    elif stat.S_ISDIR(mode):
        archive.writestr(zipfile.ZipInfo(name + "/"), b"")
    else:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, mode << 16
        archive.writestr(info, _FILE_KINDS[stat.S_IFMT(mode)])


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return all that is below a folder, hidden or not: name -> kind of file, and size of a regular one."""
    found = dict[str, tuple[int, int]]()
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            status = os.lstat(os.path.join(root, name))
            kind = stat.S_IFMT(status.st_mode)
            name = os.path.relpath(os.path.join(root, name), folder)
            found[name] = (kind, status.st_size if kind == stat.S_IFREG else 0)
    return found


def open_store(store: Path) -> zarr.Group:
    return zarr.open_group(store, mode="r", use_consolidated=False)


def as_published(variable: str, row: Array) -> Array:
    """Return a trial of the store with the axes of its file."""
    axes = STIMULUS_AXES.get(variable)
    return row if axes is None else row.transpose(np.argsort(axes))


def assert_same_bits(found: Array, expected: Array, what: str = "") -> None:
    """Compare shape, type and every bit, so that NaN differs from another NaN and 0.0 from -0.0."""
    native = expected.astype(expected.dtype.newbyteorder("="), copy=False)
    assert (found.shape, found.dtype) == (native.shape, native.dtype), what
    assert found.tobytes() == native.tobytes(), what


def assert_holds_mouse(store: Path, folder: Path) -> None:
    """Compare every trial and every other array and file of a store with those of a folder, in both directions.

    Its trials are read with zarrs if that is installed, which takes less time for many chunks, the others with
    zarr-python; then the store is exported.
    """
    group = open_store(store)
    ids = trial_ids(folder)
    assert group["trials/trial_id"][:].tolist() == ids
    tiers = np.load(folder / "meta/trials/tiers.npy")
    assert group["trials/tier"][:].tolist() == [str(tiers[trial]) for trial in ids]
    for variable in variables(folder):
        with zarr.config.set(_QUICK):
            values = group[variable][:]
        assert len(values) == len(ids)
        for row, trial in zip(values, ids, strict=True):
            file = np.load(trial_path(folder, variable, trial))
            assert_same_bits(as_published(variable, row), file.astype(row.dtype, copy=False), f"{variable} {trial}")
    _assert_holds_meta(store, folder)
    config = folder / "config.json"
    assert group.attrs["config_json"] == (config.read_text("utf-8") if config.exists() else None)
    with tempfile.TemporaryDirectory() as place:
        assert_same_tree(export_mouse(store, place).path, folder)


def assert_same_tree(found: Path, expected: Path) -> None:
    """Compare all files of two mice by their content: of arrays, how and what they hold, not how headers are spelt."""
    names = {name for name in published_files(expected) if not is_junk(name)}
    assert published_files(found) == names
    for name in names:
        if name.endswith(".npy"):
            assert content(found / name) == content(expected / name), name
        else:
            assert (found / name).read_bytes() == (expected / name).read_bytes(), name


def published_files(folder: Path) -> set[str]:
    """Return the names of those files of a mouse that belong to it."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if name.split("/")[0] in ("data", "meta", "config.json")}


def content(path: Path) -> tuple[object, ...]:
    """Return dtype with byte order, memory order, shape and bytes of an array's file."""
    data = memoryview(path.read_bytes())
    header = read_header(data)
    return header.descr, header.fortran_order, header.shape, bytes(data[header.offset :])


def _assert_holds_meta(store: Path, folder: Path) -> None:
    arrays = sources(store)
    names = {path.relative_to(folder).as_posix() for path in (folder / "meta").rglob("*") if path.is_file()}
    assert set(arrays) == {name for name in names if not is_junk(name)}
    for name, array in arrays.items():
        if not name.endswith(".npy"):
            assert array[:].tobytes() == (folder / name).read_bytes(), name
            continue
        expected = np.load(folder / name)
        assert array.attrs["source_dtype"] == expected.dtype.str, name
        _assert_same_small(np.asarray(array[...]), expected, name)


def _assert_same_small(found: Array, expected: Array, name: str) -> None:
    kind = expected.dtype.kind
    if kind == "U":
        assert found.tolist() == expected.tolist(), name
    elif kind in "mM":
        assert_same_bits(found, expected.view(expected.dtype.str[0] + "i8"), name)
    elif kind == "S":
        assert found.tobytes() == expected.tobytes(), name
    else:
        assert_same_bits(found, expected, name)


def sources(store: Path) -> Mapping[str, zarr.Array]:
    """Return the arrays beside the trials, by the name of the file that they come from.

    Found by their files: listing the members of the root makes zarr warn about ``manifest.json``.
    """
    group = open_store(store)
    nodes = [group[str(path.parent.relative_to(store))] for path in store.glob("*/**/zarr.json")]
    arrays = [node for node in nodes if isinstance(node, zarr.Array)]
    return {str(array.attrs["source_name"]): array for array in arrays if "source_name" in array.attrs}


def is_junk(name: str) -> bool:
    return any(part.startswith("._") or part in (".DS_Store", "__MACOSX") for part in name.split("/"))

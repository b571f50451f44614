"""Tiny stores, what may happen to their files, and what is complained of then."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from trialpack.convert import convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.store import CorruptStoreError, StoreFormatError, TrialpackError, check_full, layout
from trialpack.store.chunk_codecs import seal
from trialpack.store.chunks import EMPTY
from trialpack.store.errors import one_a_cause
from trialpack.store.layout import ArrayLayout
from trialpack.store.manifest import Manifest, read_manifest
from trialpack.store.shards import FileRecord
from trialpack.store.variables import KNOWN

from ..command_line import run
from ..mice import open_store
from ..streams import quickly

Check = Callable[[Path], object]
Damage = Callable[[Path], None]

KINDS: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "dynamic": (
        {"mouse": "A", "trials": 6, "neurons": 2, "image_shape": (2, 2)},
        {"SHARD_BYTES": 1152, "CHUNK_BYTES": 300, "CHUNK_FRAMES": 12, "JOINT_CHUNKS": 1},
    ),
    "static": (
        {"mouse": "P1", "trials": 10, "neurons": 4, "image_shape": (3, 4)},
        {"SHARD_BYTES": 200, "CHUNK_BYTES": 100, "JOINT_CHUNKS": 1},
    ),
}
"""Sample, and constants of the layout: three shards an array; chunks of a trial's frames, and of several trials."""
FRAMES = 36
"""Of dynamic mice, of which 12 or 27 are valid: some chunks hold padding only."""
needs_pcodec = pytest.mark.skipif(find_spec("pcodec") is None, reason="the package pcodec is not installed")
CODECS = [pytest.param(name, marks=needs_pcodec if name == "pcodec" else ()) for name in sorted(layout.CODECS)]


def tiny_source(place: Path, kind: str, seed: int = 0) -> Path:
    """Write a mouse of some kilobytes, with a file that is no array."""
    source = write_sample(place, **KINDS[kind][0], seed=seed)
    shutil.rmtree(source / "meta" / "statistics")
    (source / "meta" / "notes.txt").write_text("as it is")
    if kind == "dynamic":
        for path in (source / "data").rglob("*.npy"):
            np.save(path, np.load(path)[..., -FRAMES:])
    return source


def pack_tiny(source: Path, kind: str, to: Path, *, codec: Any = "fast", statistics: bool = False) -> Path:
    """Convert it into shards and chunks as `KINDS` says."""
    with quickly(**KINDS[kind][1]):
        return convert_mouse(source, to, codec=codec, statistics=statistics, workers=1).store


class TinyStores:
    """Makes each store once; they are not to be written to."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._source = functools.cache(lambda kind, seed: tiny_source(place / f"{kind}{seed}", kind, seed))
        self._store = functools.cache(self._make)

    def __call__(self, kind: str, codec: str = "fast", *, seed: int = 0, statistics: bool = False) -> Path:
        return self._store(kind, codec, seed, statistics)

    def _make(self, kind: str, codec: str, seed: int, statistics: bool) -> Path:
        to = self._place / f"{kind}-{codec}-{seed}-{statistics}"
        return pack_tiny(self._source(kind, seed), kind, to, codec=codec, statistics=statistics)


def copy_store(store: Path, to: Path) -> Path:
    """Copy a store so that it may be written to."""
    shutil.copytree(store, to)
    for path in to.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return to


def names_of(kind: str) -> list[str]:
    """Return the variables of the tiny mice of a kind."""
    return [name for name, known in KNOWN.items() if kind in known.kinds]


def listed_files(store: Path) -> dict[str, int]:
    """Return all files but the manifest, with their sizes, in the order of the manifest."""
    sizes = {name: record.size for name, record in read_manifest(store).files.items()}
    return {**sizes, layout.SOFTWARE: (store / layout.SOFTWARE).stat().st_size}


def all_files(store: Path) -> list[str]:
    return sorted(path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file())


def plain_copy(store: Path, names: Sequence[str], to: Path) -> Path:
    """Write arrays of a store as zarr-python does by itself: default codecs, no checksums of chunks, no manifest."""
    found, made = open_store(store), zarr.open_group(to, mode="w")
    for name in names:
        values = np.asarray(found[name][...])  # type: ignore[index]
        chunk, shard = (2, *values.shape[1:]), (4, *values.shape[1:])
        made.create_array(name, shape=values.shape, dtype=values.dtype, chunks=chunk, shards=shard)[...] = values
    return to


# What is complained of


def full(store: Path) -> object:
    return check_full(store, workers=2)


def complaints(store: Path, check: Check) -> dict[str, str]:
    """Return what a check complains of: file -> the line about it; one line a problem, each naming its file."""
    try:
        check(store)
    except (CorruptStoreError, StoreFormatError) as error:
        return lines_of(error, store)
    return {}


def verify(store: Path, *options: str) -> tuple[int, list[str]]:
    """Run ``trialpack verify``; return its exit status, and what it says of errors."""
    return run_trialpack("verify", store, *options)


def run_trialpack(*arguments: object) -> tuple[int, list[str]]:
    """Run the command line; return its exit status, and the lines on standard error."""
    done = run(*arguments)
    return done.returncode, done.stderr.splitlines()


def lines_of(error: TrialpackError, store: Path) -> dict[str, str]:
    lines = list(map(str, error.problems))
    assert str(error).splitlines() == list(map(str, one_a_cause(error.problems)))
    for line, problem in zip(lines, error.problems, strict=True):
        assert problem.path == str(store) and problem.advice
        assert problem.member is not None and line.startswith(f"{store}: {problem.member}: ")
    return {str(problem.member): line for problem, line in zip(error.problems, lines, strict=True)}


def is_found(store: Path, check: Check, names: Iterable[str]) -> bool:
    """Return whether a check complains of these files, each by name, and of no other but what is below one of them."""
    found, wanted = complaints(store, check).keys(), set(names)
    above = {name for name in found for one in wanted if name.startswith(f"{one}/")}
    return bool(wanted) and wanted == found - above


def is_silent(store: Path, check: Check, name: str) -> bool:
    """Return whether a check goes well and does not complain of a file that was changed."""
    try:
        return not is_found(store, check, [name])
    except (ValueError, RuntimeError, OSError):
        return False


# What happens to a file


def flip(path: Path, place: int, bits: int) -> None:
    """Change one byte of a file, in place."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        (byte,) = os.pread(descriptor, 1, place)
        os.pwrite(descriptor, bytes([byte ^ bits]), place)
        assert os.pread(descriptor, 1, place) != bytes([byte])
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def flipped(path: Path, place: int, bits: int) -> Iterator[None]:
    """Change one byte of a file for a while."""
    flip(path, place, bits)
    yield
    flip(path, place, bits)


@contextlib.contextmanager
def set_aside(path: Path, place: Path) -> Iterator[None]:
    """Keep a file elsewhere; put it back in place of whatever is under its name then."""
    kept = place / f"kept {path.name}"
    shutil.copy(path, kept)
    yield
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    shutil.copy(kept, path)


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    assert first != second
    one.write_bytes(second)
    other.write_bytes(first)


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def double(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


def append_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def replace_by_full_folder(path: Path) -> None:
    data = path.read_bytes()
    replace_by_folder(path)
    (path / path.name).write_bytes(data)


def replace_by_broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE: dict[str, Damage] = {
    function.__name__: function
    for function in (
        remove,
        empty,
        truncate,
        halve,
        double,
        append_byte,
        replace_by_folder,
        replace_by_full_folder,
        replace_by_broken_link,
        replace_by_pipe,
    )
}
"""All change size or kind of a file."""


# What happens inside of a shard, and a manifest that was made to fit


def index_nbytes(array: ArrayLayout) -> int:
    return 16 * math.prod(array.chunks_per_shard) + 4


def spans(path: Path, array: ArrayLayout) -> list[tuple[int, int]]:
    """Return begin and end of each chunk that the index of a shard lists."""
    index = np.frombuffer(path.read_bytes()[-index_nbytes(array) : -4], "<u8").reshape(-1, 2).tolist()
    return [(offset, offset + size) for offset, size in index if offset != EMPTY]


def mark_empty(path: Path, chunk: int, *, chunks: int) -> None:
    """Let the index of a shard say that one of its chunks was never written; its checksum is right."""
    data, length = path.read_bytes(), 16 * chunks + 4
    index = np.frombuffer(data[-length:-4], "<u8").reshape(-1, 2).copy()
    assert (index[chunk] != EMPTY).all()
    index[chunk] = EMPTY
    path.write_bytes(data[:-length] + seal(index.tobytes()))


def reseal(store: Path, *names: str, **changes: Any) -> Manifest:
    """Write a manifest, its own digest right, in which the digests of some files are those of what they now hold."""
    manifest = read_manifest(store)
    data = {name: (store / name).read_bytes() for name in names}
    records = {name: FileRecord(len(one), hashlib.sha256(one).hexdigest()) for name, one in data.items()}
    manifest = dataclasses.replace(manifest, files={**manifest.files, **records}, **changes)
    (store / layout.MANIFEST).write_bytes(manifest.to_bytes())
    assert read_manifest(store) == manifest
    return manifest

"""Is a store what its manifest says? In two depths: names and sizes, or every byte and every value."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from . import layout
from .chunk_codecs import ChunkError
from .chunks import damaged
from .errors import CorruptStoreError, Problem, explaining_refusals, naming
from .folder import read_file
from .index import StoreIndex, read_index
from .layout import ArrayLayout
from .manifest import Manifest, check_names_and_sizes, read_manifest, read_software, values_digest
from .metadata import read_array
from .shards import READ_AHEAD, ShardReader
from .tasks import Progress, Silent, Threads

_BLOCK = 1 << 20
_ADVICE = "copy or convert the mouse again"


def check_quick(root: Path) -> StoreIndex:
    """Check the names and sizes of all files, and the content of every metadata file.

    Raises
    ------
    StoreFormatError
        Not a trialpack store, an unfinished one, or one of an unknown format version.
    CorruptStoreError
        With every problem found.
    ResourceError
        The system does not let it be read: no permission, or too many open files.
    """
    index, problems = inspect_quick(root)
    _raise_if(problems)
    assert index is not None
    return index


def inspect_quick(root: Path) -> tuple[StoreIndex | None, list[Problem]]:
    """Return what is known of a store, however damaged, and every problem that `check_quick` raises.

    Returns
    -------
    tuple
        None where its metadata is damaged, too.

    Raises
    ------
    StoreFormatError, CorruptStoreError, ResourceError
        As `check_quick`, where nothing can be said of the files.
    """
    with explaining_refusals(root):
        manifest = read_manifest(root)
        problems = check_names_and_sizes(root, manifest)
        absent = {problem.member for problem in problems}
        names = [path for path in manifest.files if path.endswith(layout.METADATA) and path not in absent]
        # Read once: what is checked is what is used, also while the store is replaced.
        documents = {path: read_file(root, path) for path in names}
        digests = {path: hashlib.sha256(data).hexdigest() for path, data in documents.items()}
        changed = [problem for path in names for problem in _compare_digest(root, manifest, path, digests[path])]
        software, wrong = read_software(root)
        problems += changed + wrong
        metadata = [problem for problem in problems if str(problem.member).endswith(layout.METADATA)]
        return None if metadata else read_index(root, manifest, documents, software), problems


def check_full(root: Path, *, workers: int, memory: int | None = None, progress: Progress | None = None) -> StoreIndex:
    """Check every digest, decode every chunk, and compare every trial's values with their digest.

    Parameters
    ----------
    workers
        Number of threads.
    memory
        Bytes that the threads hold at most; fewer work where not all fit, but always one.
    progress
        Listener to the one phase, which advances by the files of the store.

    Raises
    ------
    StoreFormatError, CorruptStoreError
        As `check_quick`; with every problem found.

    Notes
    -----
    Each thread holds one group of trials of one array and one of its chunks, whatever the number of trials.
    """
    index, listener = check_quick(root), progress or Silent()
    owners = {array.shard_path(n): (array, n) for array in index.arrays.values() for n in range(array.files)}
    files = index.manifest.files
    listener.start("verifying", index.manifest.nbytes, len(files))
    checks = [partial(_check_file, index, owners, listener, path) for path in files]
    fitting = workers if memory is None else max(1, min(workers, memory // _thread_memory(index.arrays.values())))
    _raise_if([problem for found in Threads(fitting, "trialpack-verify").run(checks) for problem in found])
    return index


def _thread_memory(arrays: Iterable[ArrayLayout]) -> int:
    """Return the bytes that one thread of `check_full` holds at most."""
    return max(
        2 * (array.trial_nbytes * array.chunk[0] + array.chunk_nbytes) + READ_AHEAD if array.shard else 3 * array.nbytes
        for array in arrays
    )


def intact_rows(index: StoreIndex, array: ArrayLayout, number: int) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the rows of a shard, each after its values were compared with their digest.

    Yields
    ------
    int, ndarray
        The row, and its values; their memory is used again.

    Raises
    ------
    CorruptStoreError
        The shard is damaged, or holds other values than were packed.
    """
    try:
        with index.folder.opened() as folder, ShardReader(index.root, array, number, folder) as shard:
            for row, values, intact in _compared_rows(index, shard):
                if not intact:
                    raise CorruptStoreError(_other_values(index, array.shard_path(number), row))
                yield row, values
    except (ChunkError, FileNotFoundError) as error:
        raise damaged(index.root, array.shard_path(number), error) from None


def _check_file(
    index: StoreIndex, owners: dict[str, tuple[ArrayLayout, int]], progress: Progress, path: str
) -> list[Problem]:
    array, number = owners.get(path, (None, 0))
    if array is not None and array.shard:
        problems = _check_shard(index, array, number)
    else:
        problems = _compare_digest(index.root, index.manifest, path, file_digest(index.root / path))
        if array is not None and not problems:
            problems = _check_small(index, array)
    progress.advance(index.manifest.files[path].size, 1)
    return problems


def _compare_digest(root: Path, manifest: Manifest, path: str, found: str) -> list[Problem]:
    expected = manifest.files[path].sha256
    if found == expected:
        return []
    return [Problem(str(root), f"was changed (expected SHA-256 {expected[:16]}…, found {found[:16]}…)", _ADVICE, path)]


def file_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file, read block by block."""
    digest, block = hashlib.sha256(), bytearray(_BLOCK)
    with explaining_refusals(path), naming(path), open(path, "rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(memoryview(block)[:count])
    return digest.hexdigest()


def _check_shard(index: StoreIndex, array: ArrayLayout, number: int) -> list[Problem]:
    """Check every byte and every value of a shard, which is read once."""
    path, digest = array.shard_path(number), hashlib.sha256()
    try:
        with ShardReader(index.root, array, number, listen=digest.update) as shard:
            wrong = [row for row, _, intact in _compared_rows(index, shard) if not intact]
    except ChunkError as error:
        return list(damaged(index.root, path, error).problems)
    return _compare_digest(index.root, index.manifest, path, digest.hexdigest()) or [
        _other_values(index, path, row) for row in wrong
    ]


def _compared_rows(index: StoreIndex, shard: ShardReader) -> Iterator[tuple[int, NDArray[Any], bool]]:
    """Yield the rows of a shard, their values, and whether those have their digest."""
    expected = index.manifest.values[shard.layout.path]
    for start, rows in shard.groups():
        for row, values in enumerate(rows, start):
            yield row, values, values_digest(values) == expected[row]


def _other_values(index: StoreIndex, path: str, row: int) -> Problem:
    return Problem(str(index.root), f"row {row} holds other values than were packed", _ADVICE, path)


def _check_small(index: StoreIndex, array: ArrayLayout) -> list[Problem]:
    try:
        read_array(index.root, array)
    except CorruptStoreError as error:
        return list(error.problems)
    return []


def _raise_if(problems: list[Problem]) -> None:
    if problems:
        raise CorruptStoreError(problems)

"""Is a store what its manifest says? In two depths: names and sizes, or every byte and every value."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from . import layout
from .chunk_codecs import ChunkError
from .chunks import damaged
from .cluster import Cluster, Demands, seen_files
from .errors import CorruptStoreError, Problem, explaining_refusals, naming
from .folder import StoreFolder, as_place
from .index import StoreIndex, read_index
from .layout import ArrayLayout
from .manifest import check_names_and_sizes, read_manifest, read_software, software, values_digest
from .metadata import read_array
from .place import StorePlace, StoreVersion
from .shards import READ_AHEAD, FileRecord, ShardReader
from .tasks import Progress, Silent, Threads

_BLOCK = 1 << 20
_SMALL_FILES = 24
_ADVICE = "copy or convert the mouse again"


def check_quick(root: Path | StorePlace, digest: str | None = None) -> StoreIndex:
    """Check the names and sizes of all files, and the content of every metadata file.

    Parameters
    ----------
    root
        Folder of the store, or where else it is.
    digest
        Of the manifest (`Manifest.digest`) of the version that it has to be, whose names and sizes were checked before,
        as by another process: those of a folder are not checked again.

    Raises
    ------
    StoreFormatError
        Not a trialpack store, an unfinished one, or one of an unknown format version.
    CorruptStoreError
        With every problem found.
    ResourceError
        The system does not let it be read: no permission, or too many open files.
    """
    index, problems = inspect_quick(root, digest)
    _raise_if(problems)
    assert index is not None
    return index


def inspect_quick(root: Path | StorePlace, digest: str | None = None) -> tuple[StoreIndex | None, list[Problem]]:
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
    place = as_place(root)
    with explaining_refusals(place.root):
        return _inspect_quick(place, digest)


def _inspect_quick(place: StorePlace, digest: str | None) -> tuple[StoreIndex | None, list[Problem]]:
    manifest = read_manifest(place)
    if digest is not None and manifest.digest != digest:
        what = f"is of another version (expected {digest[:16]}…, found {manifest.digest[:16]}…)"
        raise CorruptStoreError(Problem(str(place.root), what, "open the same store everywhere", layout.MANIFEST))
    known = digest is not None and isinstance(place, StoreFolder)
    problems = [] if known else check_names_and_sizes(place, manifest)
    absent = {problem.member for problem in problems}
    names = [path for path in manifest.files if path.endswith(layout.METADATA) and path not in absent]
    # Read once: what is checked is what is used, also while the store is replaced.
    try:
        with closing(place.open()) as files:
            documents = files.read_all(names)
    except FileNotFoundError as error:  # the store was replaced, or its names were not looked at
        raise damaged(place.root, str(error.filename), error) from None
    digests = {path: hashlib.sha256(data).hexdigest() for path, data in documents.items()}
    changed = [
        problem for path in names for problem in _compare_digest(place.root, path, manifest.files[path], digests[path])
    ]
    software, wrong = read_software(place)
    problems += changed + wrong
    metadata = [problem for problem in problems if str(problem.member).endswith(layout.METADATA)]
    return None if metadata else read_index(place, manifest, documents, software), problems


def check_full(
    root: Path | StorePlace,
    *,
    workers: int,
    memory: int | None = None,
    cluster: Cluster | None = None,
    writers: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> StoreIndex:
    """Check every digest, decode every chunk, and compare every trial's values with their digest.

    Parameters
    ----------
    root
        Folder of the store, or where else it is.
    workers
        Number of threads.
    memory
        Bytes that the threads hold at most; fewer work where not all fit, but always one.
    cluster
        Where to do it in place of threads.
    writers
        Path in the store -> address of the worker that wrote it; another one checks it, if there is one.
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
    groups = list(_groups(index))
    listener.start("verifying", index.manifest.nbytes, sum(map(len, groups)))
    fitting = workers if memory is None else max(1, min(workers, memory // _thread_memory(index.arrays.values())))
    place, names = cluster or Threads(fitting, "trialpack-verify"), [f"{index.root}: {one[0].path}" for one in groups]
    if cluster is not None and writers:
        place = cluster.apart([writers.get(one[0].path, "") for one in groups])

    def finished(number: int) -> None:
        listener.advance(sum(one.record.size for one in groups[number]), len(groups[number]))

    found = place.run([partial(_check_group, group) for group in groups], finished, names)
    _raise_if(sorted((problem for some in found for problem in some), key=lambda problem: problem.member or ""))
    return index


def reading(index: StoreIndex) -> Demands:
    """Return what the workers of a cluster must have and see to read a store; any may reach an address."""
    where, names = index.place.where, [name for name in index.manifest.files if not name.endswith(layout.METADATA)]
    return Demands(software("fast"), seen_files(where / name for name in names) if isinstance(where, Path) else ())


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
        with closing(index.place.open()) as files, ShardReader(files, array, number) as shard:
            for row, values, intact in _compared_rows(shard, _row_digests(index, array, number)):
                if not intact:
                    raise CorruptStoreError(_other_values(index.root, array.shard_path(number), row))
                yield row, values
    except (ChunkError, FileNotFoundError) as error:
        raise damaged(index.root, array.shard_path(number), error) from None


@dataclass(frozen=True)
class _Check:
    """The work of checking one file. Small and picklable.

    Attributes
    ----------
    place
        The store.
    array, number
        The array, and which of its files it is; None of any other file.
    values
        Digests of the rows of a shard.
    """

    place: StorePlace
    path: str
    record: FileRecord
    array: ArrayLayout | None
    number: int
    values: tuple[str, ...]

    def find(self, files: StoreVersion) -> list[Problem]:
        """Return what is wrong with the file."""
        if self.array is not None and self.array.shard:
            return self._shard(files, self.array)
        problems = self._compare(hashlib.sha256(files.read(self.path)).hexdigest())
        return problems or ([] if self.array is None else _check_small(files, self.array))

    def _compare(self, found: str) -> list[Problem]:
        return _compare_digest(self.place.root, self.path, self.record, found)

    def _shard(self, files: StoreVersion, array: ArrayLayout) -> list[Problem]:
        """Check every byte and every value of a shard, which is read once."""
        root, digest = self.place.root, hashlib.sha256()
        try:
            with ShardReader(files, array, self.number, listen=digest.update) as shard:
                wrong = [row for row, _, intact in _compared_rows(shard, self.values) if not intact]
        except ChunkError as error:
            return list(damaged(root, self.path, error).problems)
        return self._compare(digest.hexdigest()) or [_other_values(root, self.path, row) for row in wrong]


def _check_group(group: Sequence[_Check]) -> list[Problem]:
    with closing(group[0].place.open()) as files:
        return [problem for one in group for problem in one.find(files)]


def _groups(index: StoreIndex) -> Iterator[list[_Check]]:
    """Yield the checks of all files: of each shard by itself, of small files by the dozen."""
    owners = {array.shard_path(n): (array, n) for array in index.arrays.values() for n in range(array.files)}
    small = list[_Check]()
    for path, record in index.manifest.files.items():
        array, number = owners.get(path, (None, 0))
        if array is not None and array.shard:
            yield [_Check(index.place, path, record, array, number, _row_digests(index, array, number))]
        else:
            small.append(_Check(index.place, path, record, array, number, ()))
    for start in range(0, len(small), _SMALL_FILES):
        yield small[start : start + _SMALL_FILES]


def _row_digests(index: StoreIndex, array: ArrayLayout, number: int) -> tuple[str, ...]:
    rows = array.rows_of_shard(number)
    return index.manifest.values[array.path][rows.start : rows.stop]


def _compare_digest(root: object, path: str, record: FileRecord, found: str) -> list[Problem]:
    expected = record.sha256
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


def _compared_rows(shard: ShardReader, expected: Sequence[str]) -> Iterator[tuple[int, NDArray[Any], bool]]:
    """Yield the rows of a shard, their values, and whether those have their digest."""
    for start, rows in shard.groups():
        for row, values in enumerate(rows, start):
            yield row, values, values_digest(values) == expected[row - shard.rows.start]


def _other_values(root: object, path: str, row: int) -> Problem:
    return Problem(str(root), f"row {row} holds other values than were packed", _ADVICE, path)


def _check_small(files: StoreVersion, array: ArrayLayout) -> list[Problem]:
    try:
        read_array(files, array)
    except CorruptStoreError as error:
        return list(error.problems)
    return []


def _raise_if(problems: list[Problem]) -> None:
    if problems:
        raise CorruptStoreError(problems)

"""A published tree as a folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from ...readers.progress import Progress
from ...store import files
from ...store.errors import naming
from ...store.layout import ArrayLayout
from .published_tree import PublishedFile, PublishedTree


def write_folder(tree: PublishedTree, path: Path, workers: int, progress: Progress) -> None:
    """Write all files of a tree, below a folder that is made for it."""
    for file in tree.small():
        _write(path, file, progress)

    def write_shard(array: ArrayLayout, number: int) -> None:
        for file in tree.trials(array, number):
            _write(path, file, progress)

    with ThreadPoolExecutor(workers, "trialpack-export") as pool:
        for array, _ in tree.shards:
            files.make_folder(path / "data" / array.path)
        futures = [pool.submit(write_shard, array, number) for array, number in tree.shards]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write(root: Path, file: PublishedFile, progress: Progress) -> None:
    path = root / file.name
    if not file.name.startswith("data/"):
        files.make_folder(path.parent)
    with naming(path):
        descriptor = files.create(path)
        try:
            files.append(descriptor, file.parts)
        finally:
            files.close(descriptor)
    progress.advance(file.nbytes, 1)

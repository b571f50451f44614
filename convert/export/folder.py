"""A published tree as a folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ...store import files
from ...store.errors import naming
from ...store.layout import ArrayLayout
from ...store.progress import Progress
from ...store.tasks import Threads
from .published_tree import PublishedFile, PublishedTree


def write_folder(tree: PublishedTree, path: Path, workers: int, progress: Progress) -> None:
    """Write all files of a tree, below a folder that is made for it."""
    for file in tree.small():
        _write(path, file, progress)

    def write_shard(array: ArrayLayout, number: int) -> None:
        for file in tree.trials(array, number):
            _write(path, file, progress)

    for array, _ in tree.shards:
        files.make_folder(path / "data" / array.path)
    tasks = [partial(write_shard, array, number) for array, number in tree.shards]
    Threads(workers, "trialpack-export").run(tasks)


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

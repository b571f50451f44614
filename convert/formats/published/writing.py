"""Write a mouse as the files that it was published as, in any container of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ....readers import Mouse, train_statistics
from ....readers.progress import Progress
from ....readers.statistics_files import check_format, public_pickle
from ....readers.stored_statistics import has_statistics
from ....store import layout
from ....store.metadata import to_json
from ..format import EXPORTING, Option, WriteSettings
from .names import ROUNDED, STATISTICS_PICKLE
from .published_files import PublishedFile, PublishedTree

Container = Callable[[PublishedTree, Path, int, Progress], None]
"""Writes all files of a tree to a path, with so many threads at most."""
STATISTICS_PICKLE_OPTION = Option(
    "statistics_pkl", f"Add {STATISTICS_PICKLE}: the train statistics as the public pipeline reads them."
)


def write_published(container: Container, mouse: Mouse, path: Path, settings: WriteSettings) -> None:
    """Write the published files of a mouse, and those that an export adds; see `Format.write`."""
    extra = list[PublishedFile]()
    if settings.options[STATISTICS_PICKLE_OPTION.name]:
        extra.append(_statistics_file(mouse, settings.progress))
    bounds = {name: bound.document for name, bound in mouse.index.bounds.items()}
    if bounds:
        extra.append(PublishedFile(ROUNDED, (memoryview(to_json({layout.A_MAX_ERROR: bounds})),)))
    tree = PublishedTree(mouse.index, extra)
    settings.progress.start(EXPORTING, *tree.extent)
    container(tree, path, settings.workers, settings.progress)


def check_published(mouse: Mouse, options: Mapping[str, Any]) -> None:
    """Check that the public pipeline has statistics of such a mouse, if they are wanted; see `Format.check`."""
    if options[STATISTICS_PICKLE_OPTION.name]:
        check_format(mouse.kind, Path(STATISTICS_PICKLE))


def _statistics_file(mouse: Mouse, progress: Progress) -> PublishedFile:
    found = mouse.statistics if has_statistics(mouse.index) else train_statistics(mouse, progress=progress)
    return PublishedFile(STATISTICS_PICKLE, (memoryview(public_pickle(found)),))

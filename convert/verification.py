"""Verify a store: that it is what its manifest says, and what its source holds."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..store import StoreFormatError, check_full, check_quick, layout
from ..store.arguments import check_flag, check_progress, check_threads
from ..store.cluster import check_scheduler, connected
from ..store.integrity import reading
from ..store.locate import Given, locate
from ..store.paths import Address
from ..store.tasks import Progress
from .compare import compare_with_source
from .formats.registry import explain_mouse, open_source
from .formats.source import Source

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verification:
    """Counts of what a verification compared and found intact.

    Attributes
    ----------
    store
        Folder of the store, or its address.
    files, nbytes
        Number of its files, and their bytes on disk, manifest and record of software included.
    every_value
        Whether every byte and value was compared with its digest; otherwise names, sizes and metadata only.
    source
        Label of the source whose arrays were compared with the store's; None where none was given.
    max_error
        Variable -> how far its values may be from those of the source, of the variables that were rounded.
    seconds
        Duration of the verification.
    """

    store: Path | Address
    files: int
    nbytes: int
    every_value: bool
    source: str | None
    max_error: Mapping[str, float | str]
    seconds: float

    def describe(self) -> dict[str, Any]:
        """Return the summary as a JSON document."""
        return {
            "store": str(self.store),
            "intact": True,
            "depth": "full" if self.every_value else "quick",
            "files": self.files,
            "bytes": self.nbytes,
            "source": self.source,
            "equal_to_source": None if self.source is None else True,
            layout.A_MAX_ERROR: dict(self.max_error),
            "seconds": round(self.seconds, 3),
        }


def verify_mouse(
    store: Given,
    source: Path | Address | str | Source | None = None,
    quick: bool = False,
    *,
    workers: int | None = None,
    scheduler: Any = None,
    progress: Progress | None = None,
) -> Verification:
    """Check that a store is what its manifest says, and that it holds what its source holds.

    Parameters
    ----------
    store
        As the path of `open_mouse`.
    source
        Folder, zip or HDF5 file of the mouse, or the address of a zip, to compare every array with: bit for bit, or
        within the bounds that the store was made with.
    quick
        Check only the names and sizes of all files and the content of the metadata; otherwise the SHA-256 of every
        file, every chunk, and every trial's values against the digest taken when they were packed. The comparison
        with a source is the same.
    workers
        Number of threads; one a core by default.
    scheduler
        Address of a dask.distributed scheduler, or a `distributed.Client`; files are then checked, and trials compared,
        there.
    progress
        Listener for the phases ``verifying`` and ``comparing``.

    Returns
    -------
    Verification
        Summary of what was compared.

    Raises
    ------
    CorruptStoreError
        The store is damaged, with every problem found; or it is intact and differs from the source, with every
        difference.
    StoreFormatError
        Not a trialpack store, an unfinished one, or one of an unknown format version.
    SourceError
        The source is none, or cannot be read.
    ClusterError
        The cluster has no worker, or workers lack what is needed, or they or their scheduler were lost.

    See Also
    --------
    trialpack.convert.compare_with_source : The comparison with a source alone.
    """
    begun, place, threads = time.perf_counter(), locate(store, name="store"), check_threads("workers", workers)
    quick = check_flag("quick", quick)
    check_scheduler(scheduler)
    check_progress(progress)
    opened = None if source is None else open_source(source)
    try:
        if quick:
            index = check_quick(place)
        elif scheduler is None:
            index = check_full(place, workers=threads, progress=progress)
        else:
            with connected(scheduler) as found, found.checked(reading(check_quick(place))) as cluster:
                index = check_full(place, workers=threads, cluster=cluster, progress=progress)
    except StoreFormatError as error:
        raise StoreFormatError(map(explain_mouse, error.problems)) from None
    if opened is not None:
        compare_with_source(place, opened, workers=threads, scheduler=scheduler, progress=progress)
    _log.info("%s: intact%s", index.root, "" if opened is None else f", equal to {opened.label}")
    return Verification(
        store=index.root,
        files=index.n_files,
        nbytes=index.nbytes,
        every_value=not quick,
        source=None if opened is None else opened.label,
        max_error={name: bound.document for name, bound in index.bounds.items()},
        seconds=time.perf_counter() - begun,
    )

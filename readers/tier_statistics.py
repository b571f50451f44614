"""Compute statistics of a tier's trials, exact and out of core."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from ..store.arguments import check_bytes, check_progress, check_threads, check_type
from ..store.cluster import Cluster
from ..store.integrity import reading
from ..store.layout import TRAIN_TIER
from ..store.tasks import Progress
from .mouse import Mouse
from .reductions import DEFAULT_MAX_MEMORY, reduce_recording
from .selection import Choice, Tier, as_names
from .trial_statistics import Statistics

_log = logging.getLogger(__name__)


def train_statistics(
    mouse: Mouse,
    *,
    tier: Tier = TRAIN_TIER,
    trials: Choice | None = None,
    variables: Sequence[str] | str | None = None,
    max_memory: int | str = DEFAULT_MAX_MEMORY,
    threads: int | None = None,
    client: Any = None,
    progress: Progress | None = None,
) -> Statistics:
    """Compute count, minimum, maximum, mean, median and standard deviation of a tier's trials.

    Parameters
    ----------
    mouse
        Mouse from `open_mouse`.
    tier
        One, or several; None for trials of every tier.
    trials
        Choice among the trials of the tier, as in `Mouse.rows`; a set, of which order and repeats do not matter.
    variables
        Names of recorded variables, or one name; all by default.
    max_memory
        Bytes that a process holds at most, such as ``"1GiB"``; 160 MB of it are taken to be Python and its modules;
        what else the process holds comes on top.
    threads
        Number of threads of this process, which share its memory; one a core by default, fewer where memory does not
        allow as many.
    client
        A `distributed.Client`; tasks then run on its cluster, whose workers see the store under the same path.
    progress
        Listener to how far it is.

    Returns
    -------
    Statistics
        Summaries of each variable over trials, and over trials and frames (images: over trials and pixels).

    Raises
    ------
    OptionError
        There is no such tier, trial or variable, nothing is chosen, or the memory does not suffice.
    CorruptStoreError
        A shard is missing or damaged.
    ClusterError
        The cluster has no worker, or workers lack what is needed, or they or their scheduler were lost.

    Notes
    -----
    Frames beyond a trial's valid length, NaN, and withheld responses are left out. Sums are float64; minima, maxima and
    medians are exact, in the dtype of the data, as in `numpy.nanmedian`; the standard deviation has ddof 0. Results do
    not depend on chunks, threads or memory, to the bit.

    Memory is bounded whatever the number of trials: as many neurons (rows of pixels) are taken through all trials at
    once as fit, by all threads together. Each such part decodes the chunks that hold its neurons anew, so more memory
    is faster where a mouse does not fit. Threads of a cluster have parts of their own, and share `max_memory` a
    process.
    """
    check_type("mouse", mouse, Mouse, "a Mouse, as open_mouse returns it")
    check_progress(progress)
    limit, threads = check_bytes("max_memory", max_memory), check_threads("threads", threads)
    rows = np.unique(mouse.rows(tier=tier, trials=trials))
    variables = None if variables is None else as_names(variables, "variables")
    _log.info("%s: computing statistics of %d trials", mouse.path, len(rows))
    with nullcontext() if client is None else Cluster(client).checked(reading(mouse.index)) as cluster:
        values = reduce_recording(
            mouse.recording, rows, variables=variables, max_memory=limit, threads=threads, cluster=cluster,
            progress=progress,
        )  # fmt: skip
    names = None if tier is None else ", ".join(as_names(tier, "tier"))
    chosen = tuple(variable for variable in mouse.recording.variables if variable.name in values)
    return Statistics(mouse.name, chosen, names, mouse.recording.trial_ids[rows], values)

"""Statistics of a tier's trials, exact and out of core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..store.layout import STATISTIC_NAMES, TRAIN_TIER, Kind, Reduction
from .lookup import lookup
from .notebook import html_table
from .progress import Progress
from .reductions import DEFAULT_MAX_MEMORY, Summary, reduce_recording
from .selection import Choice, Tier

if TYPE_CHECKING:
    from .mouse import Mouse


@dataclass(frozen=True, eq=False)
class Statistics(Mapping[str, Mapping[Reduction, Summary]]):
    """Statistics of some trials: ``statistics["responses"]["over_trials"].std``.

    Attributes
    ----------
    tier
        The tier that the trials are of; None for trials of any tier.
    trial_ids
        (n_trials,) int64, ascending: the trials that the numbers come from. Withheld responses are left out.
    by_variable
        Variable -> reduction -> `Summary`. Axes are those of a trial in the store, without the reduced ones:
        ``over_trials`` responses (n_neurons, n_frames), videos (n_frames, height, width), images (image_channel,
        height, width), behavior (n_channels, n_frames), pupil_center (2, n_frames); the frames not there for static
        mice, and reduced too by ``over_trials_and_frames``. ``over_trials_and_pixels`` of images is a scalar. Units are
        those of the variable, dtypes those of `Summary`.
    """

    mouse: str
    kind: Kind
    tier: str | None
    trial_ids: NDArray[np.int64]
    by_variable: Mapping[str, Mapping[Reduction, Summary]]

    def __getitem__(self, variable: str) -> Mapping[Reduction, Summary]:
        """Return the statistics of a variable.

        Raises
        ------
        UnknownNameError
            There are none of it.
        """
        return lookup(self.by_variable, variable, f"statistics of {self.mouse}")

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the variables."""
        return iter(self.by_variable)

    def __len__(self) -> int:
        """Return the number of variables."""
        return len(self.by_variable)

    __eq__ = object.__eq__

    def __repr__(self) -> str:
        """Return a one-line summary."""
        tier = f"{self.tier} " if self.tier else ""
        return f"<Statistics of {len(self.trial_ids)} {tier}trials of {self.mouse}: {', '.join(self)}>"

    def _repr_html_(self) -> str:
        """Return a table for notebooks: the lowest and the highest value of each array."""
        rows = [
            [variable, reduction, " × ".join(map(str, found.shape)), *map(_range, found.ranges().values())]
            for variable, reductions in self.items()
            for reduction, found in reductions.items()
        ]
        return html_table(repr(self)[1:-1], ["variable", "reduction", "shape", *STATISTIC_NAMES], rows)


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.4g} … {ends[1]:.4g}"


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
        From `open_mouse`.
    tier
        One, or several; None for trials of every tier.
    trials
        Only these of the tier; as of `Mouse.rows`.
    variables
        Names of recorded variables, or one name; all by default.
    max_memory
        Bytes that a process holds at most, such as ``"1GiB"``; 160 MB of it are taken to be Python and its modules;
        what else the process holds comes on top.
    threads
        Of this process, which share its memory; one a core by default, fewer where memory does not allow as many.
    client
        A `distributed.Client`; tasks then run on its cluster, whose workers see the store under the same path.
    progress
        Hears how far it is.

    Returns
    -------
    Statistics
        For each variable over trials, and over trials and frames (images: over trials and pixels).

    Raises
    ------
    OptionError
        There is no such tier, trial or variable, nothing is chosen, or the memory does not suffice.
    CorruptStoreError
        A shard is missing or damaged.

    Notes
    -----
    Frames beyond a trial's valid length, NaN, and withheld responses are left out. Sums are float64; minima, maxima and
    medians are exact, in the dtype of the data, as of `numpy.nanmedian`; the standard deviation has ddof 0. Results do
    not depend on chunks, threads or memory, to the bit.

    Memory is bounded whatever the number of trials: as many neurons (rows of pixels) are taken through all trials at
    once as fit, by all threads together. Each such part decodes the chunks that hold its neurons anew, so more memory
    is faster where a mouse does not fit. Threads of a cluster have parts of their own, and share `max_memory` a
    process.
    """
    rows = mouse.rows(tier=tier, trials=trials)
    variables = [variables] if isinstance(variables, str) else variables
    values = reduce_recording(
        mouse.recording, rows, variables=variables, max_memory=max_memory, threads=threads, client=client,
        progress=progress,
    )  # fmt: skip
    names = tier if tier is None or isinstance(tier, str) else ", ".join(tier)
    return Statistics(mouse.name, mouse.kind, names, mouse.recording.trial_ids[rows], values)

"""Statistics of a recording that does not fit in memory: tasks that read a part each, and what joins their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from dask.utils import parse_bytes
from numpy.typing import NDArray

from ...store import OptionError, Problem
from ...store.layout import OVER_FRAMES, OVER_PIXELS, OVER_TRIALS, RESPONSES, ArrayLayout, Reduction, Variable
from ..progress import Progress, Silent
from ..recording import Recording
from ..tasks import Workers, workers
from .exact_median import count_digits, median_by_bits, n_digits
from .in_memory import reduce_trials
from .parts import Part, cut, least_memory
from .reduced import Reduced, join, move_last_axis, nothing, pool_parts, result_nbytes

PROCESS_BYTES = 160_000_000
"""What Python and its modules take before any data: part of the bound on memory."""
DEFAULT_MAX_MEMORY = "1GiB"


def reduce_recording(
    recording: Recording,
    rows: NDArray[np.int64],
    *,
    variables: Sequence[str] | None = None,
    max_memory: int | str = DEFAULT_MAX_MEMORY,
    threads: int | None = None,
    client: Any = None,
    progress: Progress | None = None,
) -> dict[str, dict[Reduction, Reduced]]:
    """Return the statistics of some rows, at least one; see `train_statistics`."""
    names = {recording.array(name).path for name in variables or recording.arrays}
    jobs = [job for job in _jobs(recording, rows) if job.variable.name in names]
    limit = int(parse_bytes(max_memory)) - _fixed(jobs)
    pool = _fitting(recording.label, workers(client, threads), limit, max(job.least_memory for job in jobs))
    hears = progress or Silent()
    hears.start("statistics of", sum(job.nbytes for job in jobs), 0)
    return {job.variable.name: job.reduce(pool, limit // pool.per_process, hears) for job in jobs}


def needed_memory(recording: Recording, rows: NDArray[np.int64]) -> int:
    """Return the bytes below which the statistics of some rows cannot be computed."""
    jobs = _jobs(recording, rows)
    return _fixed(jobs) + max(job.least_memory for job in jobs)


def _jobs(recording: Recording, rows: NDArray[np.int64]) -> list[_Job]:
    # Zeros that stand in place of responses are no responses.
    given = rows[~recording.withheld[rows]]
    return [_Job(recording, one, given if one.name == RESPONSES else rows) for one in recording.variables]


def _fixed(jobs: Sequence[_Job]) -> int:
    """Return the bytes of Python itself, of all results, and of those that are being put together."""
    results = [job.result_nbytes for job in jobs]
    return PROCESS_BYTES + sum(results) + max(results)


def _fitting(label: str, pool: Workers, limit: int, least: int) -> Workers:
    """Return as many workers as fit the bound on memory.

    Raises
    ------
    OptionError
        Not even one fits.
    """
    fit = limit // least
    if fit < (1 if pool.client is None else pool.per_process):
        what = f"the bound on memory is too low for statistics (at least {(least - limit) / 1e6:.0f} MB are missing)"
        raise OptionError(Problem(label, what, "give more with max_memory"))
    return pool if fit >= pool.per_process else Workers(fit, fit)


@dataclass(frozen=True)
class _Job:
    """The statistics of one variable, over some rows."""

    recording: Recording
    variable: Variable
    rows: NDArray[np.int64]

    @property
    def array(self) -> ArrayLayout:
        return self.recording.arrays[self.variable.name]

    @property
    def nbytes(self) -> int:
        """Bytes to be decoded, in all passes."""
        return self.rows.size * self.array.trial_nbytes * self._passes

    @property
    def _passes(self) -> int:
        return 1 + (n_digits(self.array.numpy_dtype) if OVER_PIXELS in self.variable.reductions else 0)

    @property
    def result_nbytes(self) -> int:
        """Bytes of the results: those over trials, the others being small beside them."""
        return result_nbytes(self.array.shape[1:], self.array.numpy_dtype)

    @property
    def least_memory(self) -> int:
        """Bytes that one task takes at least."""
        return least_memory(self.recording, self.variable, self.rows) if self.rows.size else 1

    def reduce(self, pool: Workers, share: int, progress: Progress) -> dict[Reduction, Reduced]:
        """Compute the statistics with tasks that hold at most `share` bytes each."""
        if not self.rows.size:
            return {name: nothing(self._shape(kept), self.array.numpy_dtype) for name, kept in self._reductions()}
        parts, axis = cut(self.recording, self.variable, self.rows, share=share, threads=pool.threads)

        shares = _shares(self.nbytes, len(parts) * self._passes)

        def run(function: Callable[[Part], Any]) -> list[Any]:
            tasks = [partial(function, part) for part in parts]
            return pool.run(tasks, lambda: progress.advance(next(shares, 0), 0))

        found = run(_reduce_part)
        over_trials = join([part for part, _ in found], axis)
        results: dict[Reduction, Reduced] = {OVER_TRIALS: over_trials}
        frame_axis = self.variable.frame_axis
        if frame_axis is not None:
            # The axis of the parts, in what has no frames any more.
            medians = np.concatenate([median for _, median in found], axis - (frame_axis < axis))
            results[OVER_FRAMES] = pool_parts(over_trials, (frame_axis,), medians)
        if OVER_PIXELS in self.variable.reductions:
            results[OVER_PIXELS] = self._over_pixels(over_trials, run)
        return results

    def _over_pixels(self, over_trials: Reduced, run: Callable[[Callable[[Part], Any]], list[Any]]) -> Reduced:
        def histogram(depth: int, prefix: int) -> NDArray[np.int64]:
            return np.sum(run(partial(_count_part, depth, prefix)), axis=0)

        median = median_by_bits(self.array.numpy_dtype, int(over_trials.count.sum()), histogram)
        return pool_parts(over_trials, tuple(range(over_trials.count.ndim)), np.array(median))

    def _reductions(self) -> Iterable[tuple[Reduction, tuple[str, ...]]]:
        return self.variable.reductions.items()

    def _shape(self, kept: tuple[str, ...]) -> tuple[int, ...]:
        sizes = dict(zip(self.variable.dimensions, self.array.shape[1:], strict=True))
        return tuple(sizes[name] for name in kept)


def _shares(total: int, n: int) -> Iterator[int]:
    """Yield `n` numbers about equal, that sum up to `total`."""
    return (total * (i + 1) // n - total * i // n for i in range(n))


def _reduce_part(part: Part) -> tuple[Reduced, NDArray[Any] | None]:
    """Reduce a part to the results over trials, axes as in the store, and the medians over trials and frames."""
    axis = part.variable.frame_axis
    found, medians = reduce_trials(part.read(), frames=axis is not None)
    if axis is None:
        return found, None
    missing = part.array.shape[axis + 1] - found.count.shape[-1]
    beyond = nothing((*found.count.shape[:-1], missing), part.array.numpy_dtype)
    return move_last_axis(join([found, beyond], -1), axis), medians


def _count_part(depth: int, prefix: int, part: Part) -> NDArray[np.int64]:
    return count_digits(part.read(), depth, prefix)

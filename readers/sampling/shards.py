"""Samples mixed among some shards at a time, and how well any order mixes the samples of shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .windows import permutation, uniform

_SHARDS, _PLACES = 3, 4  # what random numbers are for; others are in `batches`


@dataclass(frozen=True)
class Shards:
    """Shards of a mouse that come in random order, and of which some are mixed at a time.

    Attributes
    ----------
    rows
        Trials in a shard.
    mixed
        How many are mixed.
    """

    rows: int
    mixed: int

    def order(self, rows: NDArray[np.int64], *key: int) -> NDArray[np.int64]:
        """Return the order of a pass through samples.

        Parameters
        ----------
        rows
            (n,) rows of the store.
        *key
            What the order depends on.

        Returns
        -------
        ndarray
            (n,) int64.

        Notes
        -----
        Shard k of S, counted in their random order, has its samples at random places of the steps from k - mixed + 1 to
        k, of the S - mixed + 1 steps that there are: so each step has samples of just `mixed` shards.
        """
        known, shards = np.unique(rows // self.rows, return_inverse=True)
        place = permutation(len(known), _SHARDS, *key)[shards]
        steps = max(1, len(known) - self.mixed + 1)
        first, end = np.maximum(place - self.mixed + 1, 0), np.minimum(place + 1, steps)
        return np.argsort(first + (end - first) * uniform(len(rows), _PLACES, *key), kind="stable")


@dataclass(frozen=True)
class ShuffleQuality:
    """How well an order mixes the samples of shards, which are neighbours in the recording.

    Attributes
    ----------
    spread
        Mean distance, in samples of a mouse, between two samples of one shard, over (n + 1) / 3, which it is in a
        perfect shuffle of n samples; about `mixed` over the number of shards where some are mixed at a time.
    same_shard
        Share of the pairs of samples in a batch that are of one shard; about 1 / `mixed`.
    perfect_same_shard
        The same in a perfect shuffle: the share of all pairs of samples of a mouse.
    """

    spread: float
    same_shard: float
    perfect_same_shard: float

    def __str__(self) -> str:
        """Return it in words."""
        return (
            f"samples of one shard are {self.spread:.2f} times as far apart as in a perfect shuffle; "
            f"{self.same_shard:.0%} of the pairs in a batch are of one shard (there {self.perfect_same_shard:.0%})"
        )


def shuffle_quality(mice: Sequence[Sequence[NDArray[np.int64]]]) -> ShuffleQuality:
    """Return how well an order mixes the samples of shards.

    Parameters
    ----------
    mice
        Of each mouse its batches, in order; of each batch (B,) the shard of every sample.
    """
    apart = far = same = pairs = perfect = 0.0
    for batches in filter(len, mice):
        shards = np.concatenate(batches)
        _, counts = np.unique(shards, return_counts=True)
        # Of the sorted places p of a shard's m samples, the distances of all pairs add up to the sum of (2i + 1 - m) p.
        places, sizes = np.argsort(shards, kind="stable"), np.repeat(counts, counts)
        ranks = np.arange(len(shards)) - np.repeat(np.cumsum(counts) - counts, counts)
        alike, within = _pairs(counts), _pairs(np.array([len(batch) for batch in batches]))
        apart += float(((2 * ranks + 1 - sizes) * places).sum())
        far += alike * (len(shards) + 1) / 3
        same += sum(_pairs(np.unique(batch, return_counts=True)[1]) for batch in batches)
        pairs += within
        perfect += within * alike / max(1.0, _pairs(np.array([len(shards)])))
    return ShuffleQuality(apart / far if far else 1.0, same / max(1.0, pairs), perfect / max(1.0, pairs))


def _pairs(counts: NDArray[np.int64]) -> float:
    """Return how many pairs there are in groups of some sizes."""
    return float((counts * (counts - 1)).sum() / 2)

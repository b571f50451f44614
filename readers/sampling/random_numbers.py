"""Random numbers that stay the same for good: from the raw stream of a bit generator.

numpy promises the raw stream of `PCG64` and the spreading of `SeedSequence` for all versions, but not what
`Generator.permutation` makes of it. An epoch that is resumed elsewhere must not depend on that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def raw(n: int, *key: int) -> NDArray[np.uint64]:
    """Return (n,) uniform 64-bit numbers that depend on the key only."""
    return np.random.PCG64(np.random.SeedSequence(key)).random_raw(n)


def permutation(n: int, *key: int) -> NDArray[np.int64]:
    """Return (n,) the numbers below n in a random order that depends on the key only."""
    return np.argsort(raw(n, *key), kind="stable")


def uniform(n: int, *key: int) -> NDArray[np.float64]:
    """Return (n,) numbers in [0, 1) that depend on the key only."""
    return np.ldexp(raw(n, *key) >> np.uint64(11), -53)


def below(limits: NDArray[np.int64], *key: int) -> NDArray[np.int64]:
    """Return, for each limit, a whole number at least zero and less than it."""
    return (uniform(len(limits), *key) * limits).astype(np.int64)

"""The threads that dask keeps from one computation for the next, in processes that are forked in between."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from multiprocessing.pool import Pool
from typing import Any

from dask import config, threaded

_SETTINGS = ("pool", "scheduler")


@functools.cache
def survive_forks() -> None:
    """Let dask compute in processes that are forked from here on, and in this one, if it was forked before.

    A fork inherits dask's pools without their threads, and waits for them for ever:
    https://github.com/dask/dask/issues/1967
    """
    if any(not thread.is_alive() for pool in _pools() for thread in getattr(pool, "_threads", ())):
        _drop_pools()
    os.register_at_fork(after_in_child=_drop_pools)


def _pools() -> Iterator[Any]:
    yield threaded.default_pool
    for pools in threaded.pools.values():
        yield from pools.values()
    yield from map(config.config.get, _SETTINGS)


def _drop_pools() -> None:
    """Let dask make new pools, also in place of those that a person set."""
    threaded.default_pool = None
    threaded.pools.clear()
    threaded.pools_lock = threading.Lock()  # another thread may have held it at the fork
    for name in _SETTINGS:
        if isinstance(config.config.get(name), Executor | Pool):
            del config.config[name]

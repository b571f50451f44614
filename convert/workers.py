"""Where units of work run: threads of this process, or a dask.distributed cluster.

Both are a `concurrent.futures.Executor`. Threads are enough on one machine: reading, compression, checksums and digests
release the GIL, memory is shared, and nothing has to be started.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

from ..store import Argument, OptionError, Problem

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Pool:
    """Workers.

    Attributes
    ----------
    client
        Of a dask.distributed cluster; None for threads of this process.
    """

    executor: Executor
    client: Any = None


@contextlib.contextmanager
def local(workers: int) -> Generator[Pool]:
    """Run units on threads; when left by an error, units that have not started are dropped."""
    executor = ThreadPoolExecutor(workers, "trialpack-convert")
    try:
        yield Pool(executor)
    finally:
        executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def cluster(address: str) -> Generator[Pool]:
    """Run units on a dask.distributed cluster, whose workers see the same files under the same names.

    Raises
    ------
    OptionError
        distributed is not installed, or there is no scheduler at the address.
    """
    argument = Argument("scheduler", address)
    try:
        from distributed import Client
    except ImportError:
        what = "needs the package distributed"
        raise OptionError(Problem("", what, "pip install distributed", argument=argument)) from None
    try:
        client = cast(Any, Client(address, timeout=CONNECT_SECONDS))
    except (OSError, ValueError, TimeoutError) as error:
        what = f"no scheduler answers ({error or type(error).__name__})"
        raise OptionError(Problem("", what, "start one with: dask scheduler", argument=argument)) from None
    # Closing the client drops what it has asked for and nobody waits for any more.
    with client:
        yield Pool(client.get_executor(pure=False, retries=0), client)

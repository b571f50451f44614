"""A dask.distributed cluster as a place where tasks run: each worker is looked at before, and losses have names."""

from __future__ import annotations

import contextlib
import platform
import secrets
import time
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from . import probe
from .arguments import refuse
from .errors import Argument, ClusterError, OptionError, Problem
from .tasks import Task, Workers

CONNECT_SECONDS = 10.0
WORKER_SECONDS = 60.0
"""How long a cluster may be without workers."""
_LOOK_SECONDS = 5.0
"""How often that is looked at while nothing completes."""
_SEEN_FILES = 64
_LOST_ADVICE = "see its log, and whether it runs"
_T = TypeVar("_T")
Faults = list[tuple[str, str]]


def check_scheduler(value: object) -> None:
    """Check that a value is the address of a scheduler, a `distributed.Client`, or None.

    Raises
    ------
    OptionError
        It is not.
    """
    if not (value is None or isinstance(value, str) or hasattr(value, "get_executor")):
        refuse("scheduler", "an address or a distributed.Client", value)


@dataclass(frozen=True)
class Demands:
    """What workers must have and see.

    Attributes
    ----------
    versions
        Name of a package, or ``python`` -> its version.
    files
        Paths from the root of the file system, each with its bytes.
    folder
        A new folder in which they must be able to write; None where they write nothing.
    """

    versions: Mapping[str, str]
    files: Sequence[tuple[str, int]] = ()
    folder: Path | None = None

    @property
    def arguments(self) -> tuple[dict[str, str], list[tuple[str, int]], str | None]:
        """Arguments of `probe.find_faults`."""
        packages = {name: version for name, version in self.versions.items() if name != "python"}
        return packages, list(self.files), None if self.folder is None else str(self.folder)


def seen_files(paths: Iterable[Path]) -> list[tuple[str, int]]:
    """Return some of the files, spread over all, and their sizes: enough to find out if a worker sees them."""
    found = [path.absolute() for path in paths]
    step = max(1, len(found) // _SEEN_FILES)
    # What is missing here, too, is for those to report who need it.
    return [(str(path), path.stat().st_size) for path in [*found[::step], *found[-1:]] if path.exists()]


@dataclass(frozen=True)
class Cluster(Workers):
    """A dask.distributed cluster, whose workers see the same files under the same names.

    Attributes
    ----------
    client
        A `distributed.Client`.
    gate
        Name of the plugin that looked at each worker; empty if none does.
    since
        Time in seconds: what was begun earlier goes first, whoever waits for it.
    avoided
        Of each task the address of the worker that is to leave it to others, if there are any; see `apart`.
    """

    client: Any
    gate: str = ""
    since: float = field(default_factory=time.time)
    avoided: tuple[str, ...] = ()

    @property
    def most_threads(self) -> int:
        """Largest number of threads of a worker process, which share its memory."""
        return max(self.nthreads().values(), default=1)

    def nthreads(self) -> dict[str, int]:
        """Return the number of threads of each worker, by its address."""
        with self._connected():
            return self.client.nthreads()

    @contextlib.contextmanager
    def checked(self, demands: Demands) -> Generator[Cluster]:
        """Look at all workers, and at those that join while in the block; tasks run only where all is as demanded.

        Raises
        ------
        ClusterError
            There is no worker after a minute; or with one problem for each worker that lacks something.
        """
        import cloudpickle

        # For good: other threads may be looking, too.
        cloudpickle.register_pickle_by_value(probe)
        with self._connected():
            try:
                self.client.wait_for_workers(1, timeout=WORKER_SECONDS)
            except TimeoutError:
                raise ClusterError(self._nobody()) from None
            if problems := self._look(demands):
                raise ClusterError(problems)
            gate = f"trialpack-{secrets.token_hex(8)}"
            plugin = _plugin(gate, demands)
            self.client.register_plugin(plugin, name=gate)
        try:
            yield replace(self, gate=gate)
        finally:
            # Of a scheduler that is lost there is nothing to take away.
            with contextlib.suppress(Exception, CancelledError):
                if self.client.status == "running":
                    self.client.unregister_worker_plugin(gate)

    def _look(self, demands: Demands) -> list[Problem]:
        """Return what is wrong with the workers of the cluster, one problem each."""
        python, found, fit = platform.python_version_tuple()[:2], dict[str, Any](), list[str]()
        # Code that is sent by value runs in the same Python only, so that is looked at first, and by name.
        for address, facts in self.client.get_versions(check=False)["workers"].items():
            there = str(facts["host"]["python"] if isinstance(facts, dict) else "none").split(".")
            if tuple(there[:2]) == python:
                fit.append(address)
            else:
                what = f"expected Python {'.'.join(python)}, found {'.'.join(there[:3])}"
                found[address] = [(what, probe.SAME_VERSIONS)]
        if fit:
            found |= self.client.run(probe.find_faults, *demands.arguments, workers=fit, on_error="return")
        return [_unfit(address, faults) for address, faults in sorted(found.items()) if faults]

    def apart(self, workers: Sequence[str]) -> Cluster:
        """Return the same for tasks of which each is better run by another worker than one, of this address."""
        return replace(self, avoided=tuple(workers))

    def completed(self, tasks: Iterable[Task[_T]], names: Sequence[str] = ()) -> Generator[tuple[int, Task[_T]]]:
        """Yield the place of each task with a function that returns its result; cancelled tasks are not waited for.

        Raises
        ------
        ClusterError
            There was no worker for a minute.
        """
        with self._connected():
            futures = {future: place for place, future in enumerate(self._submitted(tasks))}
        pending, alone = set(futures), None
        try:
            while pending:
                done, pending = wait(pending, _LOOK_SECONDS, FIRST_COMPLETED)
                for future in done:
                    place = futures[future]
                    yield place, partial(self._result, future, names[place] if names else "")
                if done or self.nthreads():
                    alone = None
                else:
                    alone = alone or time.monotonic()
                    if time.monotonic() - alone >= WORKER_SECONDS:
                        raise ClusterError(self._found_unfit() or self._nobody())
        finally:
            for future in futures:
                future.cancel()

    def _submitted(self, tasks: Iterable[Task[_T]]) -> Generator[Future[_T]]:
        executor = self.client.get_executor(pure=False, retries=0)
        workers = set(self.nthreads() if self.avoided else ())
        for place, task in enumerate(tasks):
            options: dict[str, Any] = {"priority": -self.since}
            if self.avoided and (others := workers - {self.avoided[place]}):
                options |= {"workers": sorted(others), "allow_other_workers": True}
            yield executor.submit(_run_admitted, self.gate, task, **options)

    def _result(self, future: Future[_T], name: str) -> _T:
        """Return the result of a task, or raise its error; that it was lost is an error with the name of the task."""
        from distributed.scheduler import KilledWorker

        try:
            with self._connected(name):
                return future.result()
        except KilledWorker as error:
            if unfit := self._found_unfit():
                raise ClusterError(unfit) from None
            count, last = error.allowed_failures + 1, error.last_worker.address
            what = f"{count} workers in turn were lost at it, the last one {last}"
            raise ClusterError(Problem(name, what, "see its log: was it killed, as for its memory?")) from None

    @contextlib.contextmanager
    def _connected(self, name: str = "") -> Generator[None]:
        """Name, in place of what distributed raises in the block, the scheduler to which there is no connection."""
        from distributed.comm.core import CommClosedError

        try:
            yield
        except (CancelledError, CommClosedError, RuntimeError, OSError) as error:
            if isinstance(error, ClusterError) or not (
                isinstance(error, CancelledError | CommClosedError) or self.client.status != "running"
            ):
                raise
            address = getattr(self.client.scheduler, "address", "")
            place = f"{name}: scheduler {address}" if name else f"scheduler {address}"
            raise ClusterError(Problem(place, "the connection was lost", _LOST_ADVICE)) from None

    def _found_unfit(self) -> list[Problem]:
        """Return what is wrong with workers that joined after the work was begun."""
        if not self.gate:
            return []
        events = cast("Iterable[tuple[float, dict[str, Any]]]", self.client.get_events(self.gate))
        return [_unfit(one["worker"], one["faults"]) for _, one in events]

    def _nobody(self) -> Problem:
        what = f"no worker for {WORKER_SECONDS:.0f} seconds"
        return Problem(f"scheduler {self.client.scheduler.address}", what, "start some with: dask worker ADDRESS")


@contextlib.contextmanager
def connected(scheduler: Any) -> Generator[Cluster]:
    """Yield the cluster of a scheduler, to which a connection is made, or of a `distributed.Client`.

    Raises
    ------
    OptionError
        distributed is not installed, or there is no scheduler at the address.
    """
    if not isinstance(scheduler, str):
        yield Cluster(scheduler)
        return
    argument = Argument("scheduler", scheduler)
    try:
        from distributed import Client
    except ImportError:
        what = "needs the package distributed"
        raise OptionError(Problem("", what, "pip install distributed", argument=argument)) from None
    try:
        with warnings.catch_warnings():
            # That versions differ is looked at, and said, worker by worker.
            warnings.simplefilter("ignore")
            client = cast(Any, Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False))
    except (OSError, ValueError, TimeoutError) as error:
        what = f"no scheduler answers ({error or type(error).__name__})"
        raise OptionError(Problem("", what, "start one with: dask scheduler", argument=argument)) from None
    # Closing the client drops what it has asked for and nobody waits for any more.
    try:
        yield Cluster(client)
    finally:
        with contextlib.suppress(Exception, CancelledError):
            client.close()


def this_worker() -> str:
    """Return the address of the worker in which a task runs; empty outside of workers."""
    try:
        from distributed import get_worker

        return get_worker().address
    except (ImportError, ValueError):
        return ""


def _run_admitted(gate: str, task: Task[_T]) -> _T:
    """Run a task, unless the worker was found to lack something when it joined."""
    from distributed import get_worker

    worker = cast(Any, get_worker())
    if faults := getattr(worker.plugins.get(gate), "faults", None):
        raise ClusterError(_unfit(worker.address, faults))
    return task()


def _unfit(address: str, faults: Faults | BaseException) -> Problem:
    """Return in one line what is wrong with a worker."""
    if isinstance(faults, BaseException):
        return Problem(f"worker {address}", f"could not be looked at ({faults or type(faults).__name__})", _LOST_ADVICE)
    return Problem(f"worker {address}", "; ".join(what for what, _ in faults), faults[0][1])


def _plugin(gate: str, demands: Demands) -> Any:
    """Return a plugin that looks at workers, also at those that join; being local, its class is sent by value."""
    from distributed import WorkerPlugin

    find_faults, arguments = probe.find_faults, demands.arguments

    class Gate(WorkerPlugin):
        faults: Faults = []  # noqa: RUF012

        def setup(self, worker: Any) -> None:
            self.faults = find_faults(*arguments)
            if self.faults:
                worker.log_event(gate, {"worker": worker.address, "faults": self.faults})

    return Gate()

"""Convert one mouse: plan, write, manifest, verify, publish."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Protocol, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from ..readers.leaks import find_leaks, leak_text
from ..readers.recording import Recording
from ..readers.reductions import reduce_recording
from ..store import (
    Argument,
    ClusterError,
    OptionError,
    Problem,
    SourceError,
    StoreIndex,
    check_full,
    check_quick,
    files,
    layout,
)
from ..store.arguments import (
    check_bytes,
    check_choice,
    check_flag,
    check_progress,
    check_threads,
    check_type,
)
from ..store.cluster import Cluster, Demands, check_scheduler, connected, seen_files
from ..store.errors import Code
from ..store.layout import CODECS, CodecName, Precision
from ..store.manifest import Manifest, software
from ..store.metadata import write_group
from ..store.paths import read_path
from ..store.publish import Stage, abandon, end_writing, finish, finished_units, publish, remove_leftovers, staged
from ..store.shards import FileRecord
from ..store.tasks import (
    PROCESS_BYTES,
    Progress,
    Silent,
    Threads,
    Workers,
)
from .bounds import Largest, MaxError, largest_errors, limits_of, measure, read_bounds, std_tasks
from .codec_choice import choose_codecs, encode_sample, predict_from, sample_tasks
from .contents import (
    Results,
    merge,
    root_attributes,
    write_described,
    write_groups,
    write_largest_errors,
    write_small,
    write_statistics,
)
from .formats.registry import open_source
from .formats.source import Source
from .plan import Options, Plan, describe, make_plan
from .schema import read_schema
from .unit import Unit, UnitRecord, run_unit

DEFAULT_MAX_MEMORY = 2 << 30
_NAME = "trialpack-convert"
_OF_TRIAL = re.compile(r" of trial (\d+) ")
_FLOAT32 = Argument("precision", "float32")
_log = logging.getLogger(__name__)
_Found = TypeVar("_Found")


class _Work(Protocol):
    """Work on some trials of the source."""

    @property
    def extent(self) -> tuple[int, int]: ...


_W = TypeVar("_W", bound=_Work)


@dataclass(frozen=True)
class ConversionSummary:
    """What a conversion made.

    Attributes
    ----------
    store
        Where the store is, from the root of the file system.
    nbytes, files
        Size and number of files of the store, on disk.
    seconds
        Time from looking at the source to the published store.
    verified
        Whether every byte and value was read back and compared before publishing.
    warnings
        What is unusual in the source; stimuli that are shown both in train and in another tier; what the file system
        did not offer, so that it was made without; and what could not be removed afterwards.
    reused
        Number of trials that a conversion before, which was interrupted, had written already.
    withheld, broken
        Number of trials whose responses were withheld; and of those in which a variable holds NaN among its valid
        values, or has another length than the others.
    """

    plan: Plan
    store: Path
    nbytes: int
    files: int
    seconds: float
    verified: bool
    warnings: tuple[str, ...]
    reused: int = 0
    withheld: int = 0
    broken: int = 0

    def __repr__(self) -> str:
        """Return a one-line summary."""
        state = "verified" if self.verified else "not verified"
        return f"<ConversionSummary of {self.store}: {self.nbytes / 1e6:.1f} MB in {self.files} files, {state}>"

    @property
    def ratio(self) -> float:
        """Bytes of the store over bytes of the source."""
        return self.nbytes / self.plan.survey.nbytes

    def describe(self) -> dict[str, Any]:
        """Return the summary as a JSON document."""
        return {
            **describe(self.plan),
            "bytes_after": self.nbytes,
            "files_after": self.files,
            "ratio": round(self.ratio, 4),
            "seconds": round(self.seconds, 3),
            "verified": self.verified,
            "trials_reused": self.reused,
            "trials_withheld": self.withheld,
            "trials_broken": self.broken,
            "warnings": list(self.warnings),
        }


def plan_mouse(
    source: Path | str | Source,
    to: Path | str,
    *,
    precision: Precision = "source",
    max_error: MaxError | None = None,
    codec: CodecName = "fast",
    statistics: bool = True,
    schema: Path | str | None = None,
) -> Plan:
    """Find out what converting a mouse would make; nothing is written.

    Parameters
    ----------
    source, to, precision, max_error, codec, statistics, schema
        As in `convert_mouse`.

    Raises
    ------
    SourceError
        With every problem that can be seen without reading the trials.
    OptionError
        An option does not fit; of bounds, all that do not.
    """
    to, options = read_path(to, "to"), read_options(precision, max_error, codec, statistics, schema)
    return make_plan(open_source(source).survey(options.schema), to, options)


def predict_sizes(
    source: Path | str | Source,
    plan: Plan,
    *,
    workers: int | None = None,
    max_memory: int | str = DEFAULT_MAX_MEMORY,
    progress: Progress | None = None,
) -> Plan:
    """Find out from a sample of the trials with which codecs a mouse will be stored, and what the store will take.

    Parameters
    ----------
    source
        The source that the plan is of.
    plan
        From `plan_mouse`.
    workers, max_memory, progress
        As in `convert_mouse`.

    Returns
    -------
    trialpack.convert.Plan
        With the codecs that a conversion chooses, and with `Plan.expected`.

    Raises
    ------
    SourceError
        The source is none; or a bound is a part of the standard deviation of train trials that cannot be read.
    OptionError
        An argument does not fit.

    Notes
    -----
    Reads one trial in sixteen, from 4 to 24 of them, spread evenly over those of each tier; and all train trials of
    variables whose bound is a part of the standard deviation. Sampled trials that cannot be read are left out: a
    conversion reports them.
    """
    limit, threads = check_bytes("max_memory", max_memory), check_threads("workers", workers)
    check_type("plan", plan, Plan, "a plan of plan_mouse")
    check_progress(progress)
    opened = open_source(source)
    opened.survey(plan.options.schema)
    return _Conversion(opened, plan, threads, limit, progress or Silent()).predict()


def read_options(
    precision: Precision, max_error: MaxError | None, codec: CodecName, statistics: bool, schema: Path | str | None
) -> Options:
    """Return the checked options of a store; arguments and errors as in `convert_mouse`."""
    check_choice("precision", precision, get_args(Precision))
    check_choice("codec", codec, CODECS)
    _check_codec(codec)
    check_type("max_error", max_error, (Mapping, NoneType), "a mapping from variables to bounds")
    bounds, statistics = read_bounds((max_error or {}).items()), check_flag("statistics", statistics)
    check_type("schema", schema, (str, os.PathLike, NoneType), "a file")
    return Options(precision, bounds, codec, statistics, None if schema is None else read_schema(schema))


def convert_mouse(
    source: Path | str | Source,
    to: Path | str,
    *,
    precision: Precision = "source",
    max_error: MaxError | None = None,
    codec: CodecName = "fast",
    statistics: bool = True,
    schema: Path | str | None = None,
    workers: int | None = None,
    scheduler: Any = None,
    max_memory: int | str = DEFAULT_MAX_MEMORY,
    replace: bool = False,
    verify: bool = True,
    progress: Progress | None = None,
) -> ConversionSummary:
    """Pack a mouse into one Zarr store, which appears complete and verified, or not at all.

    Parameters
    ----------
    source
        Folder or zip of a mouse as published, or an HDF5 file of one; or the address of such a zip, as ``s3://…`` or
        ``https://…``; see `open_source`.
    to
        The folder that is to hold the store ``<mouse>.zarr``; made if it is not there.
    precision
        ``source``: the bits of the source. ``float32``: exactly ``array.astype(float32)``; what was exported of such a
        store becomes one again.
    max_error
        How far values may be from those of the source, for the variables that are to be smaller: in the variable's
        unit, such as ``{"responses": 0.001}``, or as ``"0.1%std"``, a part of the standard deviation of the train
        trials, of each neuron or channel (of videos and images over everything). Such variables are float32 whatever
        the precision; each of their values is rounded, and compared with the source's, before it is written.
    codec
        ``fast``, ``none``, ``small`` or ``pcodec``; see `layout.CODECS`.
    statistics
        Compute and store the statistics of the train trials; see `trialpack.train_statistics`.
    schema
        File that declares the variables, in place of the source's own ``trialpack.toml``; see docs/format.md.
    workers
        Threads; one a core by default.
    scheduler
        Address of a dask.distributed scheduler, or a `distributed.Client`; the units then run there. Several mice that
        are converted at the same time, each in a thread, share its workers: what was begun first goes first.
    max_memory
        Bytes that this process holds at most, such as ``"2GiB"``; workers are left out where they would not fit.
    replace
        Replace a store that has the name.
    verify
        Read everything back and compare before the store gets its name; else names, sizes and metadata only.
    progress
        Listener to how far the conversion is.

    Returns
    -------
    ConversionSummary
        Summary of what was made.

    Raises
    ------
    SourceError
        Something is wrong with the source, every problem of it reported, or float32 does not hold it within
        `max_error`; nothing is left of the conversion.
    StoreExistsError, StoreBusyError
        The destination is taken, or held by another converter.
    OptionError
        An option does not fit; or `to` is an address, or a place where nothing can be made.
    ResourceError
        There is less space than the store takes, as far as that is known before values are compressed; the source may
        not be read, or too many files are open; or what would have to be replaced belongs to another user.
    CorruptStoreError
        What was written does not read back; nothing is published.
    ClusterError
        Workers lack what is needed, or they or their scheduler were lost. What was finished stays, as after an OSError.
    OSError
        From the system, such as a full disk. What was finished stays beside the destination, hidden, and the same
        call goes on from there.

    Notes
    -----
    Memory: `Plan.unit_memory` bytes a worker, whatever the number of trials; no more workers run than `max_memory`
    allows. A conversion that was killed leaves nothing under the store's name; the same call resumes it, and the
    store is the same to the byte as without the interruption.
    """
    begun = time.perf_counter()
    limit, threads = check_bytes("max_memory", max_memory), check_threads("workers", workers)
    replace, verify = check_flag("replace", replace), check_flag("verify", verify)
    check_scheduler(scheduler)
    check_progress(progress)
    to, options = read_path(to, "to"), read_options(precision, max_error, codec, statistics, schema)
    opened = open_source(source)
    plan = make_plan(opened.survey(options.schema), to, options)
    run = _Conversion(opened, plan, threads, limit, progress or Silent())
    _log.info("%s: converting %d trials into %s", plan.survey.label, len(plan.survey.trial_ids), plan.destination)
    if replace or not os.path.lexists(plan.destination):
        plan.space.check(plan.destination)
    with files.Shortfalls() as shortfalls, staged(plan.destination, replace=replace) as stage:
        with _abandoning(stage), run.workers(scheduler, stage) as place:
            unusual = run.make(stage, place)
            index = run.verify(stage, place) if verify else check_quick(stage.root)
        leaks = find_leaks([index])
        publish(stage, replace=replace)
    unusual += [leak_text(leaks)] if leaks else []
    warnings = (*run.plan.warnings, *unusual, *shortfalls.warnings(plan.destination.parent))
    seconds = time.perf_counter() - begun
    _log.info("%s: published, %d bytes in %d files", stage.destination, index.nbytes, index.n_files)
    size, counts = (index.nbytes, index.n_files), (run.reused, run.withheld, run.broken)
    return ConversionSummary(run.plan, stage.destination, *size, seconds, verify, warnings, *counts)


@contextmanager
def _abandoning(stage: Stage) -> Generator[None]:
    """Leave nothing of a conversion that can never be finished; of any other, what a later one goes on from."""
    try:
        yield
    except SourceError:
        abandon(stage)
        raise
    except (OptionError, ClusterError):
        if not finished_units(stage):
            abandon(stage)
        raise


class _Conversion:
    """The steps of one conversion, in the order in which they run."""

    def __init__(self, source: Source, plan: Plan, threads: int, max_memory: int, progress: Progress) -> None:
        self._source, self.plan, self._progress = source, plan, progress
        self._threads, self._max_memory = threads, max_memory
        self._fitting, self._writers = self._fitting_threads(), dict[str, str]()
        self.reused = self.withheld = self.broken = 0

    def predict(self) -> Plan:
        """Return the plan with the codecs and the sizes that follow from a sample of the trials."""
        with self.workers() as workers:
            largest = self._largest_errors(workers)
            plan = self._choose_codecs(workers, largest)
            tasks = sample_tasks(plan, self._source, limits_of(plan, largest), whole=True)
            return predict_from(plan, self._phase("sampling", workers, encode_sample, tasks))

    def make(self, stage: Stage, workers: Workers) -> list[str]:
        """Write the whole store; return what was unusual."""
        manifest, warnings = self.write(stage, workers)
        remove_leftovers(stage, manifest)
        finish(stage, manifest, software(self.plan.options.codec))
        return warnings

    @contextmanager
    def workers(self, scheduler: Any = None, stage: Stage | None = None) -> Generator[Workers]:
        """Yield where the units run: a cluster that fits, or as many threads as fit the bound on memory."""
        if scheduler is None:
            with Threads(self._fitting, _NAME).started() as threads:
                yield threads
            return
        seen = seen_files(self.plan.survey.paths)
        demands = Demands(software(self.plan.options.codec), seen, None if stage is None else stage.run)
        with connected(scheduler) as cluster, cluster.checked(demands) as checked:
            yield checked

    def write(self, stage: Stage, workers: Workers) -> tuple[Manifest, list[str]]:
        """Write everything but the manifest; return it, and what was unusual."""
        plan = self.plan
        self._check_cluster(workers)
        for array in plan.recorded:
            files.make_folder(stage.root / array.path)
        largest = self._largest_errors(workers)
        plan = self._choose_codecs(workers, largest)
        self._progress.start("converting", plan.survey.nbytes, plan.survey.files)
        units = [self._unit(stage, number, rows, largest) for number, rows in enumerate(plan.units)]
        # Not in the main thread: there blosc compresses with threads of its own, and bytes differ from run to run.
        with Threads(1, _NAME).executor() as one_thread:
            small = one_thread.submit(write_small, self._source, stage.root, plan)
            records = self._run_units(stage, workers, units)
            merged = merge(records)
            self.withheld = sum(merged.withheld)
            self.broken = len({trial for text in merged.warnings for trial in _OF_TRIAL.findall(text)})
            record, digests = small.result()
            record |= one_thread.submit(write_described, stage.root, plan, merged).result()
            record |= one_thread.submit(write_largest_errors, stage.root, plan, largest).result()
            self._report_remaining(units)
            if plan.statistics:
                written = plan.recording(stage.root, merged.n_frames, merged.withheld)
                rows = written.rows_of_tier(layout.TRAIN_TIER)
                results = self._statistics(written, rows, workers)
                ids = written.trial_ids[rows]
                record |= one_thread.submit(write_statistics, stage.root, plan, ids, results).result()
        record |= write_groups(stage.root, plan)
        record |= {path: FileRecord(*entry) for path, entry in merged.files.items()}
        values = {name: tuple(digests) for name, digests in merged.values.items()}
        attributes = root_attributes(plan, merged, digests)
        record |= write_group(stage.root, "", attributes)
        return Manifest(attributes[layout.A_STORE_ID], dict(sorted(record.items())), values), merged.warnings

    def verify(self, stage: Stage, workers: Workers) -> StoreIndex:
        """Compare what is on disk with what was read; on a cluster by workers that did not write it, if there are."""
        cluster, memory = workers if isinstance(workers, Cluster) else None, self._max_memory - PROCESS_BYTES
        return check_full(
            stage.root, workers=self._fitting, memory=memory, cluster=cluster, writers=self._writers,
            progress=self._progress,
        )  # fmt: skip

    def _largest_errors(self, workers: Workers) -> Largest:
        """Read the train trials as far as bounds depend on how much they vary."""
        parts = self._phase("measuring", workers, measure, std_tasks(self.plan, self._source))
        return largest_errors(self.plan, parts)

    def _choose_codecs(self, workers: Workers, largest: Largest) -> Plan:
        """Choose the codecs by a sample of the trials; return the plan that has them."""
        tasks = sample_tasks(self.plan, self._source, limits_of(self.plan, largest))
        self.plan = choose_codecs(self.plan, self._phase("sampling", workers, encode_sample, tasks))
        return self.plan

    def _unit(self, stage: Stage, number: int, rows: range, largest: Largest) -> Unit:
        plan = self.plan
        trial_ids = plan.survey.trial_ids[rows.start : rows.stop]
        return Unit(
            stage=stage,
            source=plan.survey.label,
            part=self._source.part(trial_ids),
            variables=plan.variables,
            precision=plan.options.precision,
            limits=limits_of(plan, largest),
            number=number,
            trial_ids=trial_ids,
            missing={
                name: found
                for name, spec in plan.survey.specs.items()
                if (found := spec.missing.intersection(trial_ids))
            },
            recorded=plan.recorded,
            software=software(plan.options.codec),
        )

    def _check_cluster(self, workers: Workers) -> None:
        """Check that the statistics fit the memory of a worker, before hours are spent on the conversion."""
        threads = workers.most_threads if isinstance(workers, Cluster) else 1
        if self.plan.statistics_memory(threads) > self._max_memory:
            raise self._too_little(lambda plan: plan.statistics_memory(threads))

    def _fitting_threads(self) -> int:
        """Return how many threads fit the bound on memory, or raise if not even one does, or the statistics do not."""
        plan, limit = self.plan, self._max_memory
        if limit < _least_memory(plan):
            raise self._too_little(_least_memory)
        fixed = PROCESS_BYTES + plan.small_memory
        return max(1, min(self._threads, (limit - fixed) // plan.unit_memory, len(plan.units)))

    def _too_little(self, least: Callable[[Plan], int]) -> OptionError:
        """Return the error that memory does not suffice, with every other way that would do.

        Parameters
        ----------
        least
            Returns the bytes that a plan takes.
        """
        plan, limit = self.plan, self._max_memory
        need = math.ceil(least(plan) / 1e6)
        text = f"{limit / 1e6:.0f} MB" if limit >= 1e6 else f"{limit} bytes"
        what = f"{text} of memory are too little (expected {need} MB or more)"
        others = {Argument("statistics", False): {"statistics": False}, _FLOAT32: {"precision": "float32"}}
        ways: list[str | Code] = ["give ", Argument("max_memory", f"{need}MB")]
        for way, change in others.items():
            if least(make_plan(plan.survey, plan.destination.parent, replace(plan.options, **change))) <= limit:
                ways += [", or ", way]
        if least(replace(plan, survey=replace(plan.survey, overhead=1))) <= limit:
            ways.append(", or unpack it and give the folder")
        return OptionError(Problem(plan.survey.label, what, tuple(ways)))

    def _report_remaining(self, units: list[Unit]) -> None:
        """Advance the progress by the files beside the trials."""
        survey, done = self.plan.survey, [unit.extent for unit in units]
        self._progress.advance(survey.nbytes - sum(n for n, _ in done), survey.files - sum(n for _, n in done))

    def _statistics(self, written: Recording, rows: NDArray[np.int64], workers: Workers) -> Results:
        """Compute the train statistics from what was written."""
        return reduce_recording(
            written,
            rows,
            max_memory=self._max_memory,
            threads=self._threads,
            cluster=workers if isinstance(workers, Cluster) else None,
            progress=self._progress,
        )

    def _phase(self, name: str, workers: Workers, function: Callable[..., _Found], tasks: Sequence[_W]) -> list[_Found]:
        """Do work that is a phase of its own, if there is any."""
        if tasks:
            self._progress.start(name, *map(sum, zip(*(work.extent for work in tasks), strict=True)))
        return self._run(workers, function, tasks, [f"{self.plan.survey.label}: {name}"] * len(tasks))

    def _run_units(self, stage: Stage, workers: Workers, units: Sequence[Unit]) -> list[UnitRecord]:
        """Write all shards."""
        before = finished_units(stage)
        records = self._run(workers, run_unit, units, [unit.name for unit in units])
        end_writing(stage)
        kept = dict(before.items() & finished_units(stage).items())
        self.reused = sum(len(unit.trial_ids) for unit in units if unit.fingerprint in kept) if kept else 0
        _log.info("%s: all trials are written, %d of them before", self.plan.survey.label, self.reused)
        if isinstance(workers, Cluster):
            for path, (size, _) in (item for record in records for item in record.files.items()):
                files.wait_for(stage.root / path, size)
        self._writers = {path: record.worker for record in records for path in record.files}
        return records

    def _run(
        self, workers: Workers, function: Callable[..., _Found], tasks: Sequence[_W], names: Sequence[str]
    ) -> list[_Found]:
        """Do all work, and report the problems of all of it; any other failure ends the run at once."""
        if not isinstance(workers, Cluster):
            return workers.run_all([partial(function, work, self._progress) for work in tasks], SourceError)
        # Processes elsewhere cannot call back: progress advances by whole pieces of work.
        return workers.run_all(
            [partial(function, work) for work in tasks],
            SourceError,
            lambda place: self._progress.advance(*tasks[place].extent),
            names,
        )


def _least_memory(plan: Plan) -> int:
    """Return the bytes without which not even one thread could convert, or the statistics could not be computed."""
    return max(PROCESS_BYTES + plan.small_memory + plan.unit_memory, plan.statistics_memory())


def _check_codec(codec: CodecName) -> None:
    if codec == "pcodec":
        try:
            import pcodec as _  # noqa: F401
        except ImportError:
            argument = Argument("codec", codec)
            problem = Problem("", "needs the package pcodec", "pip install pcodec", argument=argument)
            raise OptionError(problem) from None

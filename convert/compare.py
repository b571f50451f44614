"""Compare a store with the source that it was made from: bit for bit, or within the bounds that it was made with."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..readers.reductions.moments import Moments
from ..store import CorruptStoreError, Problem, SourceError, StoreIndex, check_quick, layout
from ..store.arguments import check_threads
from ..store.chunk_codecs import ChunkError
from ..store.cluster import Cluster, check_scheduler, connected, seen_files
from ..store.integrity import reading
from ..store.layout import ArrayLayout, Precision, Variable
from ..store.locate import Given, locate
from ..store.place import StorePlace
from ..store.shards import ShardReader
from ..store.tasks import Progress, Silent, Threads, Workers
from .bounds import add_trial, largest_errors, limits_of
from .formats.registry import open_source
from .formats.source import Source, SourcePart, SourceTrial, TrialReader
from .npy import narrowed
from .plan import Options, Plan, make_plan
from .rounding import Excess, Limits, find_excess
from .schema import parse_schema
from .small_arrays import small_values
from .unit import stored_values

_ADVICE = "convert the mouse again, or give the source that the store was made from"
_SUMMING = 1e-9
"""Relative, how far sums of the same numbers may be apart that different versions of numpy take."""


def compare_with_source(
    store: Given,
    source: Path | str | Source,
    *,
    workers: int,
    scheduler: Any = None,
    progress: Progress | None = None,
) -> StoreIndex:
    """Compare every array of a store with its source, bit for bit, NaN payloads included, or within its bound.

    Parameters
    ----------
    store
        As the path of `open_mouse`.
    source
        The mouse, in any format; or an opened source.
    workers
        Number of threads.
    scheduler
        Address of a dask.distributed scheduler, or a `distributed.Client`; trials are then compared there.
    progress
        Listener to the one phase, which advances by bytes and files of the source that were compared.

    Raises
    ------
    SourceError
        The source cannot be read.
    CorruptStoreError
        Something differs; every difference is named.
    ClusterError
        The cluster has no worker, or workers lack what is needed, or they or their scheduler were lost.

    Notes
    -----
    A store of ``float32`` precision is compared with ``array.astype(float32)`` of the source. Variables that were
    rounded are compared value by value: none may be further from the source than the bound, NaN, infinities and signed
    zeros must be such in both; where the bound is a part of the standard deviation of the train trials, that is
    computed again. An export of the store is as good a source, if all is equal bit for bit. Each thread holds one group
    of trials of one variable.
    """
    threads = check_threads("workers", workers)
    check_scheduler(scheduler)
    index, opened = check_quick(locate(store, name="store")), open_source(source)
    settings = index.attributes
    schema = settings[layout.A_SCHEMA]
    options = Options(
        precision=settings[layout.A_PRECISION],
        bounds=index.bounds,
        codec=settings[layout.A_CODEC],
        statistics=False,
        schema=None if schema is None else parse_schema(f"{index.root}: {layout.A_SCHEMA}", schema),
    )
    plan = make_plan(opened.survey(options.schema), Path(), options)
    listener = progress or Silent()
    listener.start("comparing", plan.survey.nbytes, plan.survey.files)
    comparison = _Comparison(index, opened, plan, listener)
    problems = comparison.outline()
    if not problems:
        here = Threads(threads, "trialpack-compare")
        problems = comparison.small(here)
        with comparison.workers(scheduler) if scheduler is not None else nullcontext(here) as place:
            problems += comparison.shards(place)
    if problems:
        raise CorruptStoreError(problems)
    return index


class _Comparison:
    """One store beside one source."""

    def __init__(self, index: StoreIndex, source: Source, plan: Plan, progress: Progress) -> None:
        self._index, self._source, self._plan, self._progress = index, source, plan, progress
        self._stored_largest = {one.path: index.small(one.path) for one in plan.largest_errors if self._has(one)}

    def outline(self) -> list[Problem]:
        """Compare what is known without reading trials: names, shapes, dtypes, trial ids, tiers, config.json."""
        survey, facts = self._plan.survey, self._index.attributes
        expected = {array.path: (array.shape, array.dtype) for array in self._plan.arrays}
        expected |= {one.layout.path: (None, one.layout.dtype) for one in self._plan.small if one.verbatim}
        pairs: list[tuple[str, object, object]] = [
            (layout.A_VARIABLES, [one.document for one in self._plan.variables], facts[layout.A_VARIABLES]),
            (layout.A_SCHEMA, survey.schema, facts[layout.A_SCHEMA]),
            (layout.A_CONFIG, survey.config, facts[layout.A_CONFIG]),
        ]
        for path in sorted(expected.keys() | self._index.arrays.keys()):
            if not path.startswith(f"{layout.STATISTICS}/train"):
                pairs.append((path, expected.get(path), self._stored_outline(path, expected.get(path))))
        problems = [self._differs(name, wanted, found) for name, wanted, found in pairs if wanted != found]
        if problems and survey.mouse != facts[layout.A_MOUSE]:
            return [self._differs("the store", f"mouse {survey.mouse}", f"mouse {facts[layout.A_MOUSE]}")]
        return problems or self._rows()

    @contextmanager
    def workers(self, scheduler: Any) -> Generator[Workers]:
        """Give a cluster that sees the store and the source."""
        demands = reading(self._index)
        demands = replace(demands, files=[*demands.files, *seen_files(self._plan.survey.paths)])
        with connected(scheduler) as cluster, cluster.checked(demands) as checked:
            yield checked

    def small(self, threads: Threads) -> list[Problem]:
        """Compare the arrays beside the trials."""
        found = threads.run([partial(self._small, one) for one in self._plan.small])
        return [problem for some in found for problem in some]

    def shards(self, workers: Workers) -> list[Problem]:
        """Compare the trials, shard by shard of each variable."""
        shards = list(self._shards())
        names = [f"{self._index.root}: {one.array.shard_path(one.number)}" for one in shards]
        if isinstance(workers, Cluster):
            # Processes elsewhere cannot call back: progress advances by whole shards.
            found = workers.run(
                [one.compare for one in shards], lambda n: self._progress.advance(*shards[n].extent), names
            )
        else:
            found = workers.run([partial(one.compare, self._progress) for one in shards])
        return [problem for one in found for problem in one.problems] or self._bounds(found)

    def _shards(self) -> Iterator[_ShardComparison]:
        survey, limits = self._plan.survey, limits_of(self._plan, self._stored_largest)
        parts = list[SourcePart]()
        for variable in self._plan.variables:
            array, missing = self._index.arrays[variable.name], survey.specs[variable.name].missing
            for number in range(array.files):
                rows = array.rows_of_shard(number)
                ids = survey.trial_ids[rows.start : rows.stop]
                if number == len(parts):
                    parts.append(self._source.part(ids))
                train = [survey.tiers[row] == layout.TRAIN_TIER for row in rows]
                of_std = layout.bound_path(variable.name) in self._stored_largest
                yield _ShardComparison(
                    root=str(self._index.root),
                    place=self._index.place,
                    array=array,
                    number=number,
                    variable=variable,
                    part=parts[number],
                    trial_ids=ids,
                    missing=missing.intersection(ids),
                    measured=frozenset(trial for trial, one in zip(ids, train, strict=True) if one and of_std),
                    nbytes=survey.specs[variable.name].nbytes,
                    precision=self._plan.options.precision,
                    limits=limits.get(variable.name),
                )

    def _bounds(self, found: Sequence[_Compared]) -> list[Problem]:
        """Compare the largest errors of channels with those that follow from the trials."""
        rounded = {one.rounded for one in found}
        return [
            self._problem(path, "are not that part of the standard deviation of the source's train trials")
            for path, wanted in largest_errors(self._plan, [one.moments for one in found]).items()
            if path in rounded and not np.allclose(self._stored_largest[path], wanted, rtol=_SUMMING, atol=0)
        ]

    def _has(self, array: ArrayLayout) -> bool:
        found = self._index.arrays.get(array.path)
        return found is not None and (found.shape, found.dtype) == (array.shape, array.dtype)

    def _stored_outline(self, path: str, like: tuple[Any, str] | None) -> object:
        array = self._index.arrays.get(path)
        if array is None:
            return None
        return (array.shape if like is None or like[0] is not None else None, array.dtype)

    def _rows(self) -> list[Problem]:
        survey = self._plan.survey
        wanted: dict[str, list[Any]] = {layout.TRIAL_ID: list(survey.trial_ids), layout.TIER: list(survey.tiers)}
        if survey.n_file_frames is not None:
            wanted[layout.N_FILE_FRAMES] = list(survey.n_file_frames)
        for one in survey.variables:
            if one.optional:
                missing = survey.specs[one.name].missing
                wanted[f"{layout.HAS}{one.name}"] = [trial not in missing for trial in survey.trial_ids]
        found = {name: self._index.small(f"{layout.TRIALS}/{name}").tolist() for name in wanted}
        return [
            self._differs(f"{layout.TRIALS}/{name}", wanted[name], found[name])
            for name in wanted
            if wanted[name] != found[name]
        ]

    def _small(self, one: Any) -> list[Problem]:
        array, wanted = small_values(self._source, one)
        found = self._index.small(array.path)
        self._progress.advance(wanted.nbytes, 1)
        if found.shape == wanted.shape and _same_bits(found, wanted):
            return []
        return [self._problem(array.path, f"differs from {one.source}")]

    def _differs(self, member: str, wanted: object, found: object) -> Problem:
        texts = [text if len(text := str(value)) <= 80 else f"{text[:80]}…" for value in (wanted, found)]
        return self._problem(member, f"differs from the source (expected {texts[0]}, found {texts[1]})")

    def _problem(self, member: str, what: str) -> Problem:
        return Problem(str(self._index.root), what, _ADVICE, member)


@dataclass
class _Compared:
    """What was found out about a shard.

    Attributes
    ----------
    problems
        What differs.
    moments
        Variable -> how much its trials vary, as far as a bound depends on it.
    rounded
        Path of the bound of the variable, where values are not, bit for bit, those of the source.
    """

    problems: list[Problem] = field(default_factory=list[Problem])
    moments: dict[str, Moments] = field(default_factory=dict[str, Moments])
    rounded: str = ""


@dataclass(frozen=True)
class _ShardComparison:
    """The work of comparing the rows of a shard of a variable with their trials. Small and picklable.

    Attributes
    ----------
    root, place
        The store, for messages and for reading.
    trial_ids
        Trials of the rows.
    missing
        Those that the source lacks.
    measured
        Those of which to note how much they vary.
    nbytes
        Bytes of the largest file of a trial.
    """

    root: str
    place: StorePlace
    array: ArrayLayout
    number: int
    variable: Variable
    part: SourcePart
    trial_ids: tuple[int, ...]
    missing: frozenset[int]
    measured: frozenset[int]
    nbytes: int
    precision: Precision
    limits: Limits | None

    @property
    def extent(self) -> tuple[int, int]:
        """Bytes and files of the source to be read."""
        n = len(self.trial_ids) - len(self.missing)
        return n * self.nbytes, n

    def compare(self, progress: Progress | None = None) -> _Compared:
        """Compare the rows with their trials; the listener hears of each trial."""
        found, listener = _Compared(), progress or Silent()
        try:
            with closing(self.place.open()) as files, ShardReader(files, self.array, self.number) as shard:
                with self.part.open() as reader:
                    for start, rows in shard.groups():
                        for row, stored in enumerate(rows, start):
                            self._compare_row(row, stored, reader, found, listener)
        except ChunkError as error:
            found.problems.append(self._problem(str(error), member=self.array.shard_path(self.number)))
        except SourceError as error:
            found.problems += error.problems
        return found

    def _compare_row(
        self, row: int, stored: NDArray[Any], reader: TrialReader, found: _Compared, listener: Progress
    ) -> None:
        variable, trial_id = self.variable, self.trial_ids[row - self.array.rows_of_shard(self.number).start]
        if trial_id in self.missing:
            if not _same_bits(stored, np.full(stored.shape, variable.fill_value, stored.dtype)):
                what = f"row {row} holds values, but the source lacks trial {trial_id}"
                found.problems.append(self._problem(what, trial_id))
            return
        trial = reader.read(variable.name, trial_id)
        listener.advance(trial.nbytes, trial.files)
        if difference := self._difference(row, stored, trial, found):
            found.problems.append(self._problem(f"row {row} {difference} trial {trial_id} of the source", trial_id))
        if trial_id in self.measured:
            add_trial(found.moments, variable, trial.values)

    def _difference(self, row: int, stored: NDArray[Any], trial: SourceTrial, found: _Compared) -> str:
        """Describe how a row is related to the trial that it should be; nothing if it is that trial."""
        attributes = self.array.attributes
        headers, of_row = attributes[layout.A_HEADERS], attributes.get(layout.A_HEADER_OF_ROW)
        descr, fortran_order = headers[of_row[row] if of_row else 0]
        original, exported = (descr, fortran_order), (narrowed(descr, stored.dtype), fortran_order)
        given, limits = (trial.descr, trial.fortran_order), self.limits
        stored = stored[tuple(slice(trial.values.shape[axis]) for axis in self.variable.axes)]
        if given not in (original, exported):
            return "differs from"
        if (limits is None or given == exported) and self._is_same(stored, trial):
            return ""
        if limits is None or given != original:
            return "differs from"
        found.rounded = layout.bound_path(self.variable.name)
        excess = find_excess(trial.values.transpose(self.variable.axes), stored, limits)
        return "" if excess is None else _excess_text(excess)

    def _is_same(self, stored: NDArray[Any], trial: SourceTrial) -> bool:
        if self.precision == "source" and trial.values.dtype.itemsize < stored.dtype.itemsize:
            stored = stored.astype(trial.values.dtype.newbyteorder("="))
        return _same_bits(stored, stored_values(self.variable, trial.values, stored.dtype.name))

    def _problem(self, what: str, trial: int | None = None, member: str | None = None) -> Problem:
        return Problem(self.root, what, _ADVICE, member or self.variable.name, trial)


def _excess_text(excess: Excess) -> str:
    if np.isnan(excess.error):
        return "has other NaN, infinities or zeros than"
    return f"is further than {excess.allowed:.6g} (largest error {excess.error:.6g}) from"


def _same_bits(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Compare values bit by bit: NaNs by sign and payload, zeros by sign. Text by its letters."""
    if one.dtype == object or other.dtype.kind == "U":
        return one.tolist() == other.tolist()
    plain = np.ascontiguousarray(other, dtype=other.dtype.newbyteorder("="))
    if one.dtype != plain.dtype:
        return False
    unsigned = f"u{one.dtype.itemsize}"
    return np.array_equal(np.ascontiguousarray(one).view(unsigned), plain.view(unsigned))

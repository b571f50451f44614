"""Compare a store with the source that it was made from: bit for bit, or within the bounds that it was made with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..readers.reductions.moments import Moments
from ..store import CorruptStoreError, Problem, SourceError, StoreIndex, check_quick, layout
from ..store.arguments import check_threads
from ..store.chunk_codecs import ChunkError
from ..store.layout import ArrayLayout, Variable
from ..store.locate import Given, locate
from ..store.shards import ShardReader
from ..store.tasks import Progress, Silent, Threads
from .bounds import add_trial, largest_errors, limits_of
from .formats.registry import open_source
from .formats.source import Source, SourceTrial
from .npy import narrowed
from .plan import Options, Plan, make_plan
from .rounding import Excess, find_excess
from .schema import parse_schema
from .small_arrays import small_values
from .unit import stored_values

_ADVICE = "convert the mouse again, or give the source that the store was made from"
_SUMMING = 1e-9
"""Relative, how far sums of the same numbers may be apart that different versions of numpy take."""


def compare_with_source(
    store: Given, source: Path | str | Source, *, workers: int, progress: Progress | None = None
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
    progress
        Listener to the one phase, which advances by bytes and files of the source that were compared.

    Raises
    ------
    SourceError
        The source cannot be read.
    CorruptStoreError
        Something differs; every difference is named.

    Notes
    -----
    A store of ``float32`` precision is compared with ``array.astype(float32)`` of the source. Variables that were
    rounded are compared value by value: none may be further from the source than the bound, NaN, infinities and signed
    zeros must be such in both; where the bound is a part of the standard deviation of the train trials, that is
    computed again. An export of the store is as good a source, if all is equal bit for bit. Each thread holds one group
    of trials of one variable.
    """
    threads = check_threads("workers", workers)
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
        found = Threads(threads, "trialpack-compare").run(comparison.tasks())
        problems = [problem for some in found for problem in some] or comparison.bounds()
    if problems:
        raise CorruptStoreError(problems)
    return index


class _Comparison:
    """One store beside one source."""

    def __init__(self, index: StoreIndex, source: Source, plan: Plan, progress: Progress) -> None:
        self._index, self._source, self._plan, self._progress = index, source, plan, progress
        self._stored_largest = {one.path: index.small(one.path) for one in plan.largest_errors if self._has(one)}
        self._limits = limits_of(plan, self._stored_largest)
        self._rounded = set[str]()
        """Paths of the bounds of those variables that are not, bit for bit, what the store holds."""
        self._moments = [dict[str, Moments]() for _ in range(index.recorded[0].files)]

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

    def tasks(self) -> Iterator[Callable[[], list[Problem]]]:
        """Yield the comparisons that read: one a shard of each variable, one a small array."""
        for one in self._plan.small:
            yield lambda one=one: self._small(one)
        for variable in self._plan.variables:
            array = self._index.arrays[variable.name]
            for number in range(array.files):
                yield lambda v=variable, a=array, n=number: self._shard(v, a, n)

    def bounds(self) -> list[Problem]:
        """Compare the largest errors of channels with those that follow from the trials, after all were read."""
        return [
            self._problem(path, "are not that part of the standard deviation of the source's train trials")
            for path, wanted in largest_errors(self._plan, self._moments).items()
            if path in self._rounded and not np.allclose(self._stored_largest[path], wanted, rtol=_SUMMING, atol=0)
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

    def _shard(self, variable: Variable, array: ArrayLayout, number: int) -> list[Problem]:
        """Compare the rows of one shard with their trials."""
        ids, problems = self._plan.survey.trial_ids, list[Problem]()
        try:
            with closing(self._index.place.open()) as files, ShardReader(files, array, number) as shard:
                part = self._source.part(ids[shard.rows.start : shard.rows.stop])
                with part.open() as reader:
                    for start, rows in shard.groups():
                        for row, stored in enumerate(rows, start):
                            if ids[row] in self._plan.survey.specs[variable.name].missing:
                                problems += self._missing(variable, row, stored)
                                continue
                            trial = reader.read(variable.name, ids[row])
                            self._progress.advance(trial.nbytes, trial.files)
                            difference = self._difference(variable, row, stored, trial)
                            if difference:
                                what = f"row {row} {difference} trial {ids[row]} of the source"
                                problems.append(self._problem(variable.name, what, ids[row]))
                            self._measure(variable, number, row, trial)
        except ChunkError as error:
            problems.append(self._problem(array.shard_path(number), str(error)))
        except SourceError as error:
            problems += error.problems
        return problems

    def _missing(self, variable: Variable, row: int, stored: NDArray[Any]) -> list[Problem]:
        """Compare the row of a trial that the source lacks with what stands for it."""
        if _same_bits(stored, np.full(stored.shape, variable.fill_value, stored.dtype)):
            return []
        trial = self._plan.survey.trial_ids[row]
        return [self._problem(variable.name, f"row {row} holds values, but the source lacks trial {trial}", trial)]

    def _measure(self, variable: Variable, number: int, row: int, trial: SourceTrial) -> None:
        """Take note of how much a train trial varies, if a bound depends on it; one thread has all rows of a shard."""
        if layout.bound_path(variable.name) in self._stored_largest:
            if self._plan.survey.tiers[row] == layout.TRAIN_TIER:
                add_trial(self._moments[number], variable, trial.values)

    def _difference(self, variable: Variable, row: int, stored: NDArray[Any], trial: SourceTrial) -> str:
        """Describe how a row is related to the trial that it should be; nothing if it is that trial."""
        attributes = self._index.arrays[variable.name].attributes
        headers, of_row = attributes[layout.A_HEADERS], attributes.get(layout.A_HEADER_OF_ROW)
        descr, fortran_order = headers[of_row[row] if of_row else 0]
        original, exported = (descr, fortran_order), (narrowed(descr, stored.dtype), fortran_order)
        found, limits = (trial.descr, trial.fortran_order), self._limits.get(variable.name)
        stored = stored[tuple(slice(trial.values.shape[axis]) for axis in variable.axes)]
        if found not in (original, exported):
            return "differs from"
        if (limits is None or found == exported) and self._is_same(variable, stored, trial):
            return ""
        if limits is None or found != original:
            return "differs from"
        self._rounded.add(layout.bound_path(variable.name))
        excess = find_excess(trial.values.transpose(variable.axes), stored, limits)
        return "" if excess is None else _excess_text(excess)

    def _is_same(self, variable: Variable, stored: NDArray[Any], trial: SourceTrial) -> bool:
        if self._plan.options.precision == "source" and trial.values.dtype.itemsize < stored.dtype.itemsize:
            stored = stored.astype(trial.values.dtype.newbyteorder("="))
        return _same_bits(stored, stored_values(variable, trial.values, stored.dtype.name))

    def _differs(self, member: str, wanted: object, found: object) -> Problem:
        texts = [text if len(text := str(value)) <= 80 else f"{text[:80]}…" for value in (wanted, found)]
        return self._problem(member, f"differs from the source (expected {texts[0]}, found {texts[1]})")

    def _problem(self, member: str, what: str, trial: int | None = None) -> Problem:
        return Problem(str(self._index.root), what, _ADVICE, member, trial)


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

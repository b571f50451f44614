"""Find out what a published tree holds, and all that is wrong with it, from names, sizes and a few headers."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ....store import SourceError
from ....store.layout import Variable
from ....store.pointers import POINTER_BYTES, pointer_problem
from ... import npy
from ...inference import FoundTrials, FrameCounts, VariableFinder, count_frames
from ...npy import Header
from ...schema import SCHEMA_FILE, Schema, parse_schema
from ..findings import MAX_SMALL_FILE, OF_ANOTHER_SHAPE, REMOVE, SAVE_TIERS, Findings
from ..source import ReadError, SmallArray, Survey, TrialSpec, neuron_count, with_frames
from .names import ANY_TRIAL, CONFIG, DATA, META, NEURONS, NPY, TIERS, TRIAL_FILE, trial_file
from .tree import Entry, Listing, Tree, TreeReader, dtype_problem, named_errors, read_array

_HEADERS_LOOKED_AT = 3


class Surveyor:
    """Collects what is there and all that is wrong with it."""

    def __init__(self, tree: Tree, listing: Listing, trials: dict[str, dict[int, Entry]], reader: TreeReader) -> None:
        self._tree, self._entries, self._trials, self._reader = tree, listing.entries, trials, reader
        self._mouse, self._found = listing.mouse, Findings(tree.label)
        self._found.problems += listing.problems
        # What is there, but cannot be read, is not missing.
        self._refused = listing.refused
        for name in listing.left_out:
            self._found.leave_out(name)

    def survey(self, given: Schema | None) -> Survey:
        """Examine everything, then raise all problems or return the survey; see `Source.survey`."""
        self._check_names()
        schema = given or self._schema()
        headers = {name: self._headers(trials) for name, trials in sorted(self._trials.items())}
        found = {name: one for name, read in headers.items() if (one := self._found_trials(name, read)) is not None}
        variables = self._variables(found, schema)
        there = self._trials_that_are_there()
        ids = sorted({trial for trials in there.values() for trial in trials})
        self._check_complete(there, ids, schema)
        frames = self._count_frames(variables, found, ids, schema)
        tiers = self._tiers(ids)
        specs = {
            one.name: self._spec(one, found[one.name], headers[one.name], ids, frames.longest) for one in variables
        }
        small, verbatim = self._meta()
        self._check_neurons(variables, specs, small)
        config = self._text(CONFIG)
        self._found.check_config(config)
        self._found.raise_any()
        return Survey(
            mouse=self._mouse,
            label=self._tree.label,
            trial_ids=tuple(ids),
            tiers=tuple(tiers[trial] for trial in ids),
            variables=variables,
            specs=specs,
            small=small,
            verbatim=verbatim,
            config=config,
            files=len(self._entries),
            nbytes=sum(entry.size for entry in self._entries.values()),
            overhead=self._tree.overhead,
            warnings=tuple(self._found.warnings),
            schema=schema.text,
            n_file_frames=frames.of_trials,
        )

    def _schema(self) -> Schema:
        """Return what the mouse declares itself."""
        text = self._text(SCHEMA_FILE)
        try:
            return Schema() if text is None else parse_schema(f"{self._tree.label}: {SCHEMA_FILE}", text)
        except SourceError as error:
            self._found.problems += error.problems
            return Schema()

    def _variables(self, found: Mapping[str, FoundTrials], schema: Schema) -> tuple[Variable, ...]:
        refused = {name.split("/")[1] for name in self._refused if name.startswith(DATA)}
        ignore = (self._trials.keys() | refused) - found.keys()
        finder = VariableFinder(self._tree.label, self._mouse, found, schema, ignore)
        variables = finder.variables()
        self._found.problems += finder.problems
        return variables

    def _check_names(self) -> None:
        """Every file has a place in the store, or the person is told: nothing is left behind in silence."""
        folders = {name.partition("/")[0] for name in self._entries if "/" in name}
        for name in sorted(folders & {CONFIG, SCHEMA_FILE}):
            self._found.problem("a folder (expected a file)", REMOVE, name)
        for name in self._entries:
            if name.startswith(DATA):
                if TRIAL_FILE.fullmatch(name) is None:
                    self._found.problem(f"not a trial (expected {ANY_TRIAL})", REMOVE, name)
            elif name.startswith(META):
                self._found.check_name(name, name)
                self._found.check_small(self._entries[name].size, name)
            elif name not in (CONFIG, SCHEMA_FILE):
                self._found.leave_out(name)

    def _trials_that_are_there(self) -> dict[str, set[int]]:
        """Return the numbers of the trials of each variable, of which some may be such as cannot be read."""
        there = {name: set(trials) for name, trials in self._trials.items()}
        for match in filter(None, map(TRIAL_FILE.fullmatch, self._refused)):
            there.setdefault(match[1], set()).add(int(match[2]))
        return there

    def _check_complete(self, there: Mapping[str, set[int]], ids: list[int], schema: Schema) -> None:
        optional = {name for name in there if schema.declared(name).optional}
        names = {name: trial_file(name, "{}") for name in there}
        self._found.check_complete(names, there, ids, optional)

    def _count_frames(
        self, variables: Sequence[Variable], found: Mapping[str, FoundTrials], ids: Sequence[int], schema: Schema
    ) -> FrameCounts:
        files = {name: {trial: entry.name for trial, entry in trials.items()} for name, trials in self._trials.items()}

        def report(what: str, variable: str, trial: int | None) -> None:
            if trial is None:
                folder = found[variable].folder
                self._found.problems.append(schema.problem_of_shape(self._tree.label, what, variable, folder))
            else:
                self._found.problem(what, OF_ANOTHER_SHAPE, files[variable].get(trial, found[variable].folder), trial)

        return count_frames(variables, found, ids, report)

    def _tiers(self, ids: list[int]) -> dict[int, str]:
        values = self._array(TIERS)
        return dict.fromkeys(ids, "") if values is None else self._found.tiers(values, ids, TIERS)

    def _found_trials(self, name: str, headers: Mapping[int, Header]) -> FoundTrials | None:
        """Return what the headers of some trials say of a variable; None if none of them can be a trial."""
        trials, sound = self._trials[name], dict[int, Header]()
        for trial, header in headers.items():
            if problem := _unsound(header):
                self._found.problem(*problem, trials[trial].name, trial)
            else:
                sound[trial] = header
        if not sound:
            return None
        usual = self._usual_shape(name, sound)
        for trial, header in list(sound.items()):
            if len(header.shape) != len(usual):
                what = f"expected shape {usual} as in the other trials, found {header.shape}"
                self._found.problem(what, OF_ANOTHER_SHAPE, trials[trial].name, trial)
                del sound[trial]
        dtype = self._found.widest(name, {header.dtype.name for header in sound.values()})
        if dtype is None:
            dtype = Counter(header.dtype.name for header in self._of_usual_size(name, sound)).most_common(1)[0][0]
            for trial, header in sound.items():
                if header.dtype.name != dtype:
                    what = f"expected {dtype} as in the other trials, found {header.descr}"
                    self._found.problem(what, f"save it as {dtype}", trials[trial].name, trial)
        shapes = {trial: header.shape for trial, header in sound.items()}
        return FoundTrials(f"{DATA}{name}", shapes, usual, dtype, trials.keys())

    def _usual_shape(self, name: str, headers: Mapping[int, Header]) -> tuple[int, ...]:
        """Return the shape of all trials that were not looked at: that of the files of the usual size."""
        return Counter(header.shape for header in self._of_usual_size(name, headers)).most_common(1)[0][0]

    def _of_usual_size(self, name: str, headers: Mapping[int, Header]) -> list[Header]:
        """Return those that speak for the trials that were not looked at, too; all if there are none."""
        size, trials = _usual_size(self._trials[name]), self._trials[name]
        return [header for trial, header in headers.items() if trials[trial].size == size] or list(headers.values())

    def _spec(
        self, variable: Variable, found: FoundTrials, headers: Mapping[int, Header], ids: Sequence[int], frames: int
    ) -> TrialSpec:
        """Return what all trials of a variable have in common; of frames, as many as the longest trial has."""
        trials, place = self._trials[variable.name], None
        if variable.frame_axis is not None:
            place = variable.axes[variable.frame_axis]
        for trial, shape in found.shapes.items():
            # Those with frames were compared when the frames were counted.
            if shape != found.usual and place is None:
                what = f"expected shape {found.usual} as in the other trials, found {shape}"
                self._found.problem(what, OF_ANOTHER_SHAPE, trials[trial].name, trial)
        shape = with_frames(found.usual, place, frames)
        nbytes = max(trials[trial].size for trial in headers)
        return TrialSpec(shape, found.dtype, nbytes, frozenset(ids) - trials.keys())

    def _check_neurons(
        self, variables: Sequence[Variable], specs: Mapping[str, TrialSpec], small: Sequence[SmallArray]
    ) -> None:
        of_neurons = {array.name: array.shape for array in small if array.name.startswith(NEURONS)}
        self._found.check_neurons(neuron_count(variables, specs), of_neurons)

    def _headers(self, trials: dict[int, Entry]) -> dict[int, Header]:
        """Read the headers of a few trials of the usual size, and of all trials of another one.

        Of all of the usual size, too, if one of those few is not as the others, or cannot be read: all are named.
        """
        usual = _usual_size(trials)
        of_usual = sorted(trial for trial, entry in trials.items() if entry.size == usual)
        some = of_usual[:: max(1, len(of_usual) // _HEADERS_LOOKED_AT)]
        found = self._read_headers(trials, some)
        alike = {(header.dtype.name, header.shape) for header in found.values()}
        if len(found) < len(some) or len(alike) != 1 or any(map(_unsound, found.values())):
            found |= self._read_headers(trials, [trial for trial in of_usual if trial not in some])
        others = sorted(trial for trial, entry in trials.items() if entry.size != usual)
        return found | self._read_headers(trials, others)

    def _read_headers(self, trials: Mapping[int, Entry], wanted: Iterable[int]) -> dict[int, Header]:
        found = dict[int, Header]()
        for trial in wanted:
            entry = trials[trial]
            with self._reporting(entry.name, trial):
                header = npy.read_header(self._reader.read_start(entry, npy.LONGEST_START))
                npy.check_size(header, entry.size)
                found[trial] = header
        return found

    def _meta(self) -> tuple[tuple[SmallArray, ...], tuple[str, ...]]:
        names = sorted(name for name in self._entries if name.startswith(META))
        found = [(name, self._header(self._entries[name])) for name in names if name.endswith(NPY)]
        arrays = [self._small(name, header) for name, header in found if header is not None]
        verbatim = tuple(name for name in names if not name.endswith(NPY))
        for name in verbatim:
            with self._reporting(name):
                _check_fetched(self._reader.read_start(self._entries[name], POINTER_BYTES))
        return tuple(array for array in arrays if array is not None), verbatim

    def _small(self, name: str, header: Header) -> SmallArray | None:
        if not self._found.check_dtype(header.descr, name):
            return None
        if header.file_size != self._entries[name].size:
            with self._reporting(name):
                npy.check_size(header, self._entries[name].size)
        return SmallArray(name, header.shape, header.descr, header.fortran_order, self._entries[name].size)

    def _text(self, name: str) -> str | None:
        """Return the text of a file beside the trials; None without."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        with self._reporting(name):
            if entry.size > MAX_SMALL_FILE // 1024:
                raise ReadError(f"too large (found {entry.size} bytes)", REMOVE)
            data = self._reader.read(entry)
            _check_fetched(data)
            return bytes(data).decode("utf-8")
        return None

    def _header(self, entry: Entry, trial: int | None = None) -> Header | None:
        with self._reporting(entry.name, trial):
            return npy.read_header(self._reader.read_start(entry, npy.LONGEST_START))
        return None

    def _array(self, name: str) -> NDArray[Any] | None:
        if name not in self._entries:
            if not any(f"{name}/".startswith(f"{refused}/") for refused in self._refused):
                self._found.problem("missing", SAVE_TIERS, name)
            return None
        try:
            return read_array(self._tree, self._reader, self._entries[name])[0].copy()
        except SourceError as error:
            self._found.problems += error.problems
            return None

    @contextlib.contextmanager
    def _reporting(self, name: str, trial: int | None = None) -> Generator[None]:
        try:
            with named_errors(self._tree, name, trial):
                yield
        except SourceError as error:
            self._found.problems += error.problems


def _check_fetched(start: memoryview) -> None:
    if problem := pointer_problem(bytes(start[:POINTER_BYTES])):
        raise ReadError(*problem)


def _unsound(header: Header) -> tuple[str, str] | None:
    """Return why a file with this header cannot be a trial, and what to do, as far as one can tell from it alone."""
    if 0 in header.shape:
        return f"expected values along every axis, found shape {header.shape}", "save it with its values"
    return dtype_problem(header)


def _usual_size(trials: Mapping[int, Entry]) -> int:
    """Return the size that most files have, of two the larger one."""
    sizes = Counter(entry.size for entry in trials.values())
    return max(sizes, key=lambda size: (sizes[size], size))

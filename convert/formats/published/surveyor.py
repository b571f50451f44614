"""Find out what a published tree holds, and all that is wrong with it, from names, sizes and a few headers."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Generator
from typing import Any

from numpy.typing import NDArray

from ....store import SourceError
from ....store.layout import STIMULUS, VARIABLES, Kind, Variable
from ... import npy
from ...npy import COPY_AGAIN, Header
from ..findings import MAX_SMALL_FILE, REMOVE, Findings
from ..source import ReadError, SmallArray, Survey, TrialSpec
from .names import ANY_TRIAL, CONFIG, DATA, META, NEURONS, NPY, TIERS, TRIAL_FILE, trial_file
from .npy_files import named_errors, read_array, trial_problem
from .tree import Entry, Listing, Tree, TreeReader

_HEADERS_LOOKED_AT = 3


class Surveyor:
    """Collects what is there and all that is wrong with it."""

    def __init__(self, tree: Tree, listing: Listing, trials: dict[str, dict[int, Entry]], reader: TreeReader) -> None:
        self._tree, self._entries, self._trials, self._reader = tree, listing.entries, trials, reader
        self._mouse, self._found = listing.mouse, Findings(tree.label)
        self._found.problems += listing.problems
        for name in listing.left_out:
            self._found.leave_out(name)

    def survey(self) -> Survey:
        """Look at everything, then raise all problems or return what there is; see `Source.survey`."""
        kind = self._kind()
        self._check_names(kind)
        ids = sorted({trial for trials in self._trials.values() for trial in trials})
        self._check_complete(kind, ids)
        tiers = self._tiers(ids)
        specs = {v.name: spec for v in VARIABLES[kind] if (spec := self._spec(v)) is not None}
        self._found.check_frames(kind, specs, {name: f"{DATA}{name}" for name in specs})
        small, verbatim = self._meta()
        of_neurons = {array.name: array.shape for array in small if array.name.startswith(NEURONS)}
        self._found.check_neurons(specs, of_neurons)
        config = self._config()
        self._found.raise_any()
        return Survey(
            mouse=self._mouse,
            label=self._tree.label,
            kind=kind,
            trial_ids=tuple(ids),
            tiers=tuple(tiers[trial] for trial in ids),
            variables=specs,
            small=small,
            verbatim=verbatim,
            config=config,
            files=len(self._entries),
            nbytes=sum(entry.size for entry in self._entries.values()),
            warnings=tuple(self._found.warnings),
        )

    def _kind(self) -> Kind:
        found: list[Kind] = [kind for kind, name in STIMULUS.items() if name in self._trials]
        if len(found) == 1:
            return found[0]
        names = " or ".join(trial_file(name, "<number>") for name in STIMULUS.values())
        what = f"expected either {names}, found {'both' if found else 'neither'}"
        self._found.problem(what, "give one mouse, complete")
        raise SourceError(self._found.problems)

    def _check_names(self, kind: Kind) -> None:
        """Every file has a place in the store, or the person is told: nothing is left behind in silence."""
        known = {variable.name for variable in VARIABLES[kind]}
        for name in self._entries:
            if name.startswith(DATA):
                match = TRIAL_FILE.fullmatch(name)
                if match is None:
                    self._found.problem(f"not a trial (expected {ANY_TRIAL})", REMOVE, name)
                elif match[1] not in known:
                    self._found.problem(f"unknown variable (known: {', '.join(sorted(known))})", REMOVE, name)
            elif name.startswith(META):
                self._found.check_name(name, name)
                self._found.check_small(self._entries[name].size, name)
            elif name != CONFIG:
                self._found.leave_out(name)

    def _check_complete(self, kind: Kind, ids: list[int]) -> None:
        names = {variable.name: f"{DATA}{variable.name}" for variable in VARIABLES[kind]}
        for variable, folder in names.items():
            if not self._trials.get(variable):
                self._found.problem("missing, or empty (expected one file a trial)", COPY_AGAIN, folder)
        trials = {variable: self._trials.get(variable, {}) for variable in names}
        self._found.check_complete({name: trial_file(name, "{}") for name in names}, trials, ids)

    def _tiers(self, ids: list[int]) -> dict[int, str]:
        values = self._array(TIERS)
        return dict.fromkeys(ids, "") if values is None else self._found.tiers(values, ids, TIERS)

    def _spec(self, variable: Variable) -> TrialSpec | None:
        """Find what all trials of a variable have in common: from all sizes, and a few headers of each size."""
        trials = self._trials.get(variable.name)
        if not trials:
            return None
        headers = self._headers(trials)
        shapes = Counter(header.shape for header in headers.values() if _may_be(variable, header))
        if not shapes:
            self._refuse_all(variable, headers)
            return None
        shape = shapes.most_common(1)[0][0]
        fitting = dict[int, Header]()
        for trial, header in headers.items():
            problem = trial_problem(header, shape)
            if problem:
                self._found.problem(*problem, trials[trial].name, trial)
            else:
                fitting[trial] = header
        dtype = self._found.widest(variable.name, (header.dtype.name for header in fitting.values()))
        return TrialSpec(shape, dtype, max(trials[trial].size for trial in fitting))

    def _headers(self, trials: dict[int, Entry]) -> dict[int, Header]:
        """Read the headers of a few trials of the usual size, and of all trials of another one."""
        usual = Counter(entry.size for entry in trials.values()).most_common(1)[0][0]
        of_usual = sorted(trial for trial, entry in trials.items() if entry.size == usual)
        some = of_usual[:: max(1, len(of_usual) // _HEADERS_LOOKED_AT)]
        others = (trial for trial, entry in trials.items() if entry.size != usual)
        found = dict[int, Header]()
        for trial in (*some, *others):
            entry = trials[trial]
            with self._reporting(entry.name, trial):
                header = npy.read_header(self._reader.read_start(entry, npy.LONGEST_START))
                npy.check_size(header, entry.size)
                found[trial] = header
        return found

    def _refuse_all(self, variable: Variable, headers: dict[int, Header]) -> None:
        """Report why no trial of the variable can be one, by the first of them."""
        names = ", ".join(variable.dimensions[variable.axes.index(axis)] for axis in range(len(variable.axes)))
        for trial, header in sorted(headers.items())[:1]:
            axes = f"expected the axes ({names}), found shape {header.shape}", COPY_AGAIN
            problem = trial_problem(header, header.shape) or axes
            self._found.problem(*problem, self._trials[variable.name][trial].name, trial)

    def _meta(self) -> tuple[tuple[SmallArray, ...], tuple[str, ...]]:
        names = sorted(name for name in self._entries if name.startswith(META))
        found = [(name, self._header(self._entries[name])) for name in names if name.endswith(NPY)]
        arrays = [self._small(name, header) for name, header in found if header is not None]
        verbatim = tuple(name for name in names if not name.endswith(NPY))
        return tuple(array for array in arrays if array is not None), verbatim

    def _small(self, name: str, header: Header) -> SmallArray | None:
        if not self._found.check_dtype(header.descr, name):
            return None
        if header.file_size != self._entries[name].size:
            with self._reporting(name):
                npy.check_size(header, self._entries[name].size)
        return SmallArray(name, header.shape, header.descr, header.fortran_order, self._entries[name].size)

    def _config(self) -> str | None:
        entry = self._entries.get(CONFIG)
        if entry is None:
            return None
        with self._reporting(CONFIG):
            if entry.size > MAX_SMALL_FILE // 1024:
                raise ReadError(f"too large (found {entry.size} bytes)", REMOVE)
            return bytes(self._reader.read(entry)).decode("utf-8")
        return None

    def _header(self, entry: Entry, trial: int | None = None) -> Header | None:
        with self._reporting(entry.name, trial):
            return npy.read_header(self._reader.read_start(entry, npy.LONGEST_START))
        return None

    def _array(self, name: str) -> NDArray[Any] | None:
        if name not in self._entries:
            self._found.problem("missing", COPY_AGAIN, name)
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


def _may_be(variable: Variable, header: Header) -> bool:
    """Return whether a file with this header may be a trial of the variable, as far as one can tell from it alone."""
    fits = len(header.shape) == len(variable.dimensions) and 0 not in header.shape
    return fits and trial_problem(header, header.shape) is None

"""Find out what a published tree holds, and all that is wrong with it, from names, sizes and a few headers."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Generator
from typing import Any

from numpy.typing import NDArray

from ...store import Problem, SourceError
from ...store.errors import printable
from ...store.layout import NEURON, RESPONSES, STIMULUS, VARIABLES, Kind, Variable
from .. import npy
from ..npy import COPY_AGAIN, Header
from ..published import NO_TIER
from .npy_files import named_errors, read_array, trial_problem
from .source import SmallArray, Survey, TrialSpec
from .tree import Entry, Listing, ReadError, Tree, TreeReader

TIERS = "meta/trials/tiers.npy"
CONFIG = "config.json"
_DATA, _META = "data/", "meta/"
TRIAL_FILE = re.compile(r"data/([^/]+)/(0|[1-9][0-9]{0,8})\.npy")
# Names become folders of the store: letters that every file system takes, and that mean nothing else to Zarr.
_SAFE_NAME = re.compile(r"(?!__)[A-Za-z0-9_][A-Za-z0-9_ .+=@-]{0,120}")
_ZARRS_OWN = {"zarr.json", "c"}
_HEADERS_LOOKED_AT = 3
MAX_SMALL_FILE = 1 << 30
REMOVE = "remove it from the mouse"


class Surveyor:
    """Collects what is there and all that is wrong with it."""

    def __init__(self, tree: Tree, listing: Listing, trials: dict[str, dict[int, Entry]], reader: TreeReader) -> None:
        self._tree, self._entries, self._trials, self._reader = tree, listing.entries, trials, reader
        self._problems, self._warnings = list(listing.problems), list[str]()
        for name in listing.left_out:
            self._leave_out(name)

    def survey(self) -> Survey:
        """Look at everything, then raise all problems or return what there is; see `Source.survey`."""
        kind = self._kind()
        self._check_names(kind)
        ids = sorted({trial for trials in self._trials.values() for trial in trials})
        self._check_complete(kind, ids)
        tiers = self._tiers(ids)
        specs = {v.name: spec for v in VARIABLES[kind] if (spec := self._spec(v)) is not None}
        self._check_frames(kind, specs)
        small, verbatim = self._meta()
        self._check_neurons(specs, small)
        config = self._config()
        if self._problems:
            raise SourceError(self._problems)
        return Survey(
            mouse=self._tree.mouse,
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
            warnings=tuple(self._warnings),
        )

    def _problem(self, what: str, advice: str, member: str | None = None, trial: int | None = None) -> None:
        self._problems.append(Problem(self._tree.label, what, advice, member, trial))

    def _kind(self) -> Kind:
        found: list[Kind] = [kind for kind, name in STIMULUS.items() if name in self._trials]
        if len(found) == 1:
            return found[0]
        names = " or ".join(f"{_DATA}{name}/<number>.npy" for name in STIMULUS.values())
        what = f"expected either {names}, found {'both' if found else 'neither'}"
        raise SourceError([*self._problems, Problem(self._tree.label, what, "give the folder or zip of one mouse")])

    def _check_names(self, kind: Kind) -> None:
        """Every file has a place in the store, or the person is told: nothing is left behind in silence."""
        known = {variable.name for variable in VARIABLES[kind]}
        for name in self._entries:
            if name.startswith(_DATA):
                match = TRIAL_FILE.fullmatch(name)
                if match is None:
                    self._problem("not a trial (expected data/<variable>/<number>.npy)", REMOVE, name)
                elif match[1] not in known:
                    self._problem(f"unknown variable (known: {', '.join(sorted(known))})", REMOVE, name)
            elif name.startswith(_META):
                self._check_safe(name)
            elif name != CONFIG:
                self._leave_out(name)

    def _leave_out(self, name: str) -> None:
        self._warnings.append(f"{printable(name)} is not part of the published layout and was left out")

    def _check_safe(self, name: str) -> None:
        parts = name.removesuffix(".npy").split("/")
        if not all(_SAFE_NAME.fullmatch(part) for part in parts) or not _ZARRS_OWN.isdisjoint(parts):
            self._problem("a name that a store cannot have (expected letters, digits, _ . + = @ -)", "rename it", name)
        if self._entries[name].size > MAX_SMALL_FILE:
            self._problem(f"too large (expected {MAX_SMALL_FILE} bytes at most)", REMOVE, name)

    def _check_complete(self, kind: Kind, ids: list[int]) -> None:
        for variable in VARIABLES[kind]:
            trials = self._trials.get(variable.name, {})
            if not trials:
                self._problem("missing, or empty (expected one file a trial)", COPY_AGAIN, f"{_DATA}{variable.name}")
            for trial in ids if trials else ():
                if trial not in trials:
                    name = f"{_DATA}{variable.name}/{trial}.npy"
                    self._problem(f"missing (other variables have trial {trial})", COPY_AGAIN, name, trial)

    def _tiers(self, ids: list[int]) -> dict[int, str]:
        """Return the tier of each trial; the file number is the index."""
        values = self._array(TIERS)
        if values is None:
            return dict.fromkeys(ids, "")
        if values.ndim != 1 or values.dtype.kind != "U":
            self._problem(
                f"expected one text a trial, found shape {values.shape} {values.dtype.str}", COPY_AGAIN, TIERS
            )
            return dict.fromkeys(ids, "")
        if ids and ids[-1] >= len(values):
            what = f"too short (expected {ids[-1] + 1} or more, for trial {ids[-1]}; found {len(values)})"
            self._problem(what, COPY_AGAIN, TIERS)
        tiers = {number: str(tier) for number, tier in enumerate(values)}
        self._check_tiers(tiers, set(ids))
        return {trial: tiers.get(trial, "") for trial in ids}

    def _check_tiers(self, tiers: dict[int, str], ids: set[int]) -> None:
        for trial, tier in tiers.items():
            if trial not in ids and tier != NO_TIER:
                what = f"trial {trial} is of tier {tier!r} but has no file in any variable"
                self._problem(what, f"copy the mouse again, or set its tier to {NO_TIER!r}", TIERS, trial)
            elif trial in ids and tier.strip().lower() in ("", "nan"):
                self._problem(f"trial {trial} has no tier (found {tier!r})", COPY_AGAIN, TIERS, trial)
            elif trial in ids and tier == NO_TIER:
                self._warnings.append(f"trial {trial} has files, yet its tier is {NO_TIER!r}")

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
                self._problem(*problem, trials[trial].name, trial)
            else:
                fitting[trial] = header
        dtypes = {header.dtype.newbyteorder("=") for header in fitting.values()}
        if len(dtypes) > 1:
            self._warnings.append(f"{variable.name} has trials of float32 and of float64; all are kept as float64")
        widest = max(dtypes, key=lambda dtype: dtype.itemsize)
        return TrialSpec(shape, widest.name, max(trials[trial].size for trial in fitting))

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
        """Say why no trial of the variable can be one, by the first of them."""
        names = ", ".join(variable.dimensions[variable.axes.index(axis)] for axis in range(len(variable.axes)))
        for trial, header in sorted(headers.items())[:1]:
            axes = f"expected the axes ({names}), found shape {header.shape}", COPY_AGAIN
            problem = trial_problem(header, header.shape) or axes
            self._problem(*problem, self._trials[variable.name][trial].name, trial)

    def _check_frames(self, kind: Kind, specs: dict[str, TrialSpec]) -> None:
        """All variables of a mouse have the same number of frames, whatever the valid lengths of its trials."""
        if STIMULUS[kind] not in specs:
            return
        lengths = {
            variable.name: specs[variable.name].shape[variable.axes[variable.frame_axis]]
            for variable in VARIABLES[kind]
            if variable.name in specs and variable.frame_axis is not None
        }
        expected = lengths.get(STIMULUS[kind])
        for name, found in lengths.items():
            if found != expected:
                what = f"expected {expected} frames as in {STIMULUS[kind]}, found {found}"
                self._problem(what, COPY_AGAIN, f"{_DATA}{name}")

    def _check_neurons(self, specs: dict[str, TrialSpec], small: tuple[SmallArray, ...]) -> None:
        if RESPONSES not in specs:
            return
        expected = specs[RESPONSES].shape[0]
        for array in small:
            if array.name.startswith(f"{_META}{NEURON}s/") and array.shape[:1] != (expected,):
                what = f"expected {expected} neurons as in {RESPONSES}, found shape {array.shape}"
                self._problem(what, COPY_AGAIN, array.name)

    def _meta(self) -> tuple[tuple[SmallArray, ...], tuple[str, ...]]:
        names = sorted(name for name in self._entries if name.startswith(_META))
        found = [(name, self._header(self._entries[name])) for name in names if name.endswith(".npy")]
        arrays = [self._small(name, header) for name, header in found if header is not None]
        verbatim = tuple(name for name in names if not name.endswith(".npy"))
        return tuple(array for array in arrays if array is not None), verbatim

    def _small(self, name: str, header: Header) -> SmallArray | None:
        long_double = header.dtype.kind == "f" and header.dtype.itemsize > 8
        if header.dtype.kind not in "biufUSmM" or header.dtype.itemsize > 1 << 16 or long_double:
            what = f"dtype {header.descr} is not supported (expected numbers or text)"
            self._problem(what, "save it again as such", name)
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
            self._problem("missing", COPY_AGAIN, name)
            return None
        try:
            return read_array(self._tree, self._reader, self._entries[name])[0].copy()
        except SourceError as error:
            self._problems += error.problems
            return None

    @contextlib.contextmanager
    def _reporting(self, name: str, trial: int | None = None) -> Generator[None]:
        try:
            with named_errors(self._tree, name, trial):
                yield
        except SourceError as error:
            self._problems += error.problems


def _may_be(variable: Variable, header: Header) -> bool:
    """Tell whether a file with this header may be a trial of the variable, as far as one can tell from it alone."""
    fits = len(header.shape) == len(variable.dimensions) and 0 not in header.shape
    return fits and trial_problem(header, header.shape) is None

"""The layout of the files that trialpack exports: a store's own arrays, with its attributes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ....store import layout
from ....store.layout import Variable
from ....store.schema import is_plain_name, parse_variables
from ....store.variables import DTYPES
from ...npy import NpyError, narrowed, parse_descr
from ..published.names import META, NPY
from ..source import ReadError, SmallArray
from .access import DIFFERS, EXPORT_AGAIN, Hdf5Reader, named_errors
from .dataset import Dataset
from .hdf5_surveyor import Hdf5Surveyor, place_of_stack, small_array
from .places import Contents, SmallPlace, TrialPlace, VariablePlace
from .values import A_ATTRIBUTES_DIGEST, A_DIGEST, A_LAYOUT, DIMENSIONS, LAYOUT_VERSION, attributes_digest, digest

_TRIAL_ID = f"{layout.TRIALS}/{layout.TRIAL_ID}"
_MADE_ANEW = (
    *(f"{layout.TRIALS}/{name}" for name in (layout.TRIAL_ID, layout.TIER, layout.N_FRAMES, layout.WITHHELD)),
    *(f"{layout.TRIALS}/{name}" for name in (layout.N_FILE_FRAMES, layout.HAS)),
    f"{layout.TRAIN_STATISTICS}/",
    f"{layout.MAX_ERROR}/",
)
"""Prefixes of the arrays that a conversion computes."""
_PRECISIONS = ("source", "float32")
_LAST_TRIAL_ID = 999_999_999


def read_exported(file: Hdf5Reader) -> Contents:
    """Find out what a file of this layout holds; see `read_static`."""
    return _Exported(file).contents()


class _Exported:
    """One file while it is examined."""

    def __init__(self, file: Hdf5Reader) -> None:
        self._file, self._collecting = file, Hdf5Surveyor(file)
        self._found, self._verbatim = self._collecting.found, dict[str, SmallPlace]()

    def contents(self) -> Contents:
        """Examine everything; return the contents, or raise all problems."""
        with named_errors(self._found.label):
            variables, facts = self._facts()
        stacks = {v.name: self._collecting.stack(v.name, v.dimensions, (v.dtype,)) for v in variables}
        found = {name: stack for name, stack in stacks.items() if stack is not None}
        ids = self._ascending_ids()
        if ids:
            self._collecting.check_rows(found, len(ids), _TRIAL_ID)
        self._found.raise_any()
        frames = self._of_trials(layout.N_FILE_FRAMES, "i", len(ids))
        places = {v.name: self._place(v, found[v.name], ids, frames) for v in variables}
        self._beside_trials({variable.name for variable in variables})
        # Warnings come in the order of those of the published files, so that equal mice have equal ones.
        for name, place in sorted(places.items()):
            distinct = {trial.descr for trial in place.trials.values()}
            self._found.widest(name, (np.dtype(descr).name for descr in distinct))
        contents = self._collecting.finish(ids, variables, places)
        self._found.check_config(facts["config"])
        warnings, lengths = tuple(self._found.warnings), None if frames is None else tuple(frames)
        return replace(contents, verbatim=self._verbatim, warnings=warnings, n_file_frames=lengths, **facts)

    def _facts(self) -> tuple[tuple[Variable, ...], dict[str, Any]]:
        """Read the attributes of the root."""
        attributes = self._file.attributes()
        version = attributes.pop(A_LAYOUT)
        if version != LAYOUT_VERSION:
            what = f"version {version} of trialpack's HDF5 files is not known here (this trialpack reads 1)"
            raise ReadError(what, "install the trialpack that wrote it")
        facts = _Attributes(attributes)
        precision = facts.text(layout.A_PRECISION)
        if precision not in _PRECISIONS:
            what = f"the attribute {layout.A_PRECISION} is {precision!r} (expected {' or '.join(_PRECISIONS)})"
            raise ReadError(what, EXPORT_AGAIN)
        variables = _parsed_variables(facts.text(layout.A_VARIABLES))
        mouse, config = facts.text(layout.A_MOUSE), facts.get(layout.A_CONFIG, (str, type(None)))
        if not _may_name_a_mouse(mouse):
            raise ReadError(f"the name of the mouse is {mouse[:80]!r}, which no file can have", EXPORT_AGAIN)
        schema = facts.get(layout.A_SCHEMA, (str, type(None)))
        return variables, {"mouse": mouse, "config": config, "precision": precision, "schema": schema}

    def _ascending_ids(self) -> list[int]:
        with self._collecting.noting(_TRIAL_ID):
            ids = self._required(layout.TRIAL_ID, "i", None)
            if ids is None:
                return []
            if not ids or ids != sorted(set(ids)) or ids[0] < 0 or ids[-1] > _LAST_TRIAL_ID:
                raise ReadError(f"expected numbers from 0 to {_LAST_TRIAL_ID}, ascending", EXPORT_AGAIN)
            return ids
        return []

    def _required(self, name: str, kind: str, n_trials: int | None) -> list[Any] | None:
        """Read what is known of each trial, and cannot be absent; None if it is damaged, which is noted."""
        with self._collecting.noting(f"{layout.TRIALS}/{name}"):
            if name not in self._file.kinds(layout.TRIALS):
                raise ReadError("missing", EXPORT_AGAIN)
            return self._of_trials(name, kind, n_trials)
        return None

    def _of_trials(self, name: str, kind: str, n_trials: int | None) -> list[Any] | None:
        """Read what is known of each trial; None of what the file does not have, or what came with the source."""
        path = f"{layout.TRIALS}/{name}"
        with self._collecting.noting(path):
            if name not in self._file.kinds(layout.TRIALS):
                return None
            attributes = _Attributes(self._file.attributes(path))
            if layout.A_SOURCE_NAME in attributes:
                return None
            values = self._file.values(self._file.dataset(path))
            if values.dtype.kind != kind or values.ndim != 1 or n_trials not in (None, values.size):
                raise ReadError(f"expected one value a trial, found shape {values.shape} {values.dtype}", EXPORT_AGAIN)
            if digest(values) != attributes.text(A_DIGEST):
                raise ReadError(DIFFERS)
            return values.tolist()
        return None

    def _place(
        self, variable: Variable, stack: Dataset, ids: Sequence[int], frames: Sequence[int] | None
    ) -> VariablePlace:
        """Note where the trials of a variable are, and how the source that the store was made of had written them."""
        headers, digests = list[tuple[str, bool]](), list[str]()
        with self._collecting.noting(stack.path):
            attributes = _Attributes(self._file.attributes(stack.path))
            headers, digests = _headers(attributes, stack.shape[0]), attributes.get(A_DIGEST, list)
            if layout.A_MAX_ERROR in attributes:
                # What was rounded within a bound is a source of its own, of the values that it has; and says so.
                bound = attributes.get(layout.A_MAX_ERROR, (str, float))
                self._found.warnings.append(f"{variable.name} were rounded before, within {bound} of their source")
                headers = [(narrowed(descr, stack.dtype), fortran) for descr, fortran in headers]
            if len(digests) != stack.shape[0]:
                what = f"the attribute {A_DIGEST} is damaged (expected {stack.shape[0]} texts, found {len(digests)})"
                raise ReadError(what, EXPORT_AGAIN)
        has = self._required(f"{layout.HAS}{variable.name}", "b", len(ids)) if variable.optional else None
        rows = enumerate(zip(ids, headers, digests, has or [True] * len(ids), strict=False))
        nbytes = stack.row_nbytes
        trials = {
            trial: TrialPlace(stack.path, row, frames[row] if frames else None, descr, fortran, nbytes, digest)
            for row, (trial, (descr, fortran), digest, is_there) in rows
            if is_there
        }
        return place_of_stack(variable.axes, variable.frame_axis, stack, trials)

    def _beside_trials(self, recorded: set[str]) -> None:
        """Examine all arrays beside the recorded variables."""
        for name in self._file.kinds():
            if name in recorded or name == DIMENSIONS:
                continue
            with self._collecting.noting(name):
                for path in self._file.datasets(name):
                    self._add(path)

    def _add(self, path: str) -> None:
        with self._collecting.noting(path):
            attributes = self._file.attributes(path)
            if layout.A_SOURCE_NAME in attributes:
                self._add_of_source(path, _Attributes(attributes))
            elif not path.startswith(_MADE_ANEW):
                self._found.leave_out(path)

    def _add_of_source(self, path: str, attributes: _Attributes) -> None:
        name, dataset = attributes.text(layout.A_SOURCE_NAME), self._file.dataset(path)
        verbatim = path.startswith(f"{layout.FILES}/")
        known = self._verbatim if verbatim else self._collecting.small
        if not name.startswith(META) or name.endswith(NPY) == verbatim:
            raise ReadError(f"the attribute {layout.A_SOURCE_NAME} is {name[:80]!r}", EXPORT_AGAIN)
        if name in known:
            raise ReadError(f"would be {name} as {known[name].dataset} is", "remove one of them")
        if not self._found.check_name(name, path):
            return
        array = _bytes(name, dataset) if verbatim else self._array(name, dataset, attributes)
        if self._found.check_small(array.nbytes, path):
            known[name] = SmallPlace(path, array, attributes.text(A_DIGEST))

    def _array(self, name: str, dataset: Dataset, attributes: _Attributes) -> SmallArray:
        """Return what the file was of which the array comes."""
        fortran, descr = attributes.get(layout.A_SOURCE_FORTRAN, bool), attributes.text(layout.A_SOURCE_DTYPE)
        try:
            shape, kept = _as_stored(dataset, parse_descr(descr))
        except NpyError as error:
            raise ReadError(f"the attribute {layout.A_SOURCE_DTYPE}: {error.what}", EXPORT_AGAIN) from None
        if kept != dataset.dtype:
            raise ReadError(f"is of dtype {dataset.dtype}, which cannot stand for {descr} of the source", EXPORT_AGAIN)
        self._found.check_dtype(descr, dataset.path)
        return small_array(name, shape, descr, fortran_order=fortran)


class _Attributes:
    """The attributes of one node, after they were compared with their digest; each of a type that is asked for."""

    def __init__(self, found: dict[str, Any]) -> None:
        ours = (A_DIGEST, A_ATTRIBUTES_DIGEST)
        self._found = found
        if found.get(A_ATTRIBUTES_DIGEST) != attributes_digest({n: v for n, v in found.items() if n not in ours}):
            raise ReadError("has other attributes than were exported", EXPORT_AGAIN)

    def get(self, name: str, kinds: type | tuple[type, ...]) -> Any:
        if name not in self._found:
            raise ReadError(f"lacks the attribute {name}", EXPORT_AGAIN)
        if not isinstance(self._found[name], kinds):
            raise ReadError(f"the attribute {name} is of another type than was exported", EXPORT_AGAIN)
        return self._found[name]

    def text(self, name: str) -> str:
        return self.get(name, str)

    def __contains__(self, name: str) -> bool:
        return name in self._found


def _headers(attributes: _Attributes, n_rows: int) -> list[tuple[str, bool]]:
    """Return dtype and memory order of the file of each row."""
    distinct = _parsed_headers(attributes.text(layout.A_HEADERS))
    if layout.A_HEADER_OF_ROW not in attributes:
        return [distinct[0]] * n_rows
    numbers = attributes.get(layout.A_HEADER_OF_ROW, list)
    if len(numbers) != n_rows or not set(numbers) <= set(range(len(distinct))):
        raise ReadError(f"the attribute {layout.A_HEADER_OF_ROW} is damaged", EXPORT_AGAIN)
    return [distinct[number] for number in numbers]


def _as_stored(dataset: Dataset, descr: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape in the source, and the dtype in which a store keeps a dtype of the source."""
    dtype = np.dtype(descr)
    if dtype.kind == "S":
        fits = dataset.shape[-1:] == (dtype.itemsize,)
        return dataset.shape[:-1], np.dtype(np.uint8 if fits else np.void)
    kept = {"U": np.dtype(object), "m": np.dtype(np.int64), "M": np.dtype(np.int64)}
    return dataset.shape, kept.get(dtype.kind, dtype.newbyteorder("="))


def _bytes(name: str, dataset: Dataset) -> SmallArray:
    if dataset.dtype != np.uint8 or len(dataset.shape) != 1:
        raise ReadError(f"expected bytes, found shape {dataset.shape} {dataset.dtype}", EXPORT_AGAIN)
    return small_array(name, dataset.shape, dataset.dtype.str, fortran_order=False)


def _parsed_headers(text: str) -> list[tuple[str, bool]]:
    try:
        pairs = [(parse_descr(descr), fortran) for descr, fortran in json.loads(text)]
        if pairs and all(np.dtype(descr).name in DTYPES and type(fortran) is bool for descr, fortran in pairs):
            return pairs
    except (ValueError, TypeError, RecursionError):
        pass
    raise ReadError(f"the attribute {layout.A_HEADERS} is damaged", EXPORT_AGAIN)


def _parsed_variables(text: str) -> tuple[Variable, ...]:
    try:
        variables = parse_variables(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        variables = ()
    if not variables:
        raise ReadError(f"the attribute {layout.A_VARIABLES} is damaged", EXPORT_AGAIN)
    return variables


def _may_name_a_mouse(text: str) -> bool:
    """Return whether a text that comes from a file can be the name of a store, and of nothing else."""
    return is_plain_name(text) and len(text.encode()) <= 200 and text.isprintable() and not text.startswith(".")

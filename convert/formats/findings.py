"""Findings of a survey, and the checks that do not depend on how a source keeps its arrays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store import Problem, SourceError
from ...store.errors import printable
from ...store.variables import RESPONSES, is_safe_name
from ..published_mice import NO_TIER

MAX_SMALL_FILE = 1 << 30
"""Bytes of an array or file beside the trials; a larger one is not believed."""
_MAX_ITEM = 1 << 16
_LONGEST_NAME = 1000
"""Letters of a name with its folders: systems take some thousand, with the folders of the store."""
_NAMED = 1000
"""Trials without files that are named one by one: an array of tiers may be as long as it likes."""
REMOVE = "remove it from the mouse"
_NO_FILES = f"add the trial's files, or set its tier to {NO_TIER!r} if there never were any"
OF_ANOTHER_SHAPE = "save it with that shape, or leave the trial out of all variables"
SAVE_TIERS = "save one text there for each number that a trial could have"
_COMPLETE = "add it, or declare the variable optional in trialpack.toml"


class Findings:
    """Collects all that is wrong with a source, and what is unusual.

    Parameters
    ----------
    label
        The folder or file as the person knows it.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.problems, self.warnings = list[Problem](), list[str]()

    def problem(self, what: str, advice: str, member: str | None = None, trial: int | None = None) -> None:
        """Note a problem."""
        self.problems.append(Problem(self.label, what, advice, member, trial))

    def raise_any(self) -> None:
        """Raise all problems, if there are any."""
        if self.problems:
            raise SourceError(self.problems)

    def check_config(self, text: str | None) -> None:
        """Warn of a ``config.json`` that is no JSON: nothing here reads it, so it is kept, and not refused."""
        try:
            json.loads("null" if text is None else text)
        except (ValueError, RecursionError) as error:
            self.warnings.append(f"config.json is not JSON ({printable(str(error))}), and is kept as it is")

    def leave_out(self, name: str) -> None:
        """Note that something has no place in a store: nothing is left behind in silence."""
        self.warnings.append(f"{printable(name)} is not part of the published layout and was left out")

    def check_name(self, name: str, member: str) -> bool:
        """Check that a name such as ``meta/neurons/area.npy`` can be one of a store; `member` is what it names."""
        parts = name.removesuffix(".npy").split("/")
        safe = len(name) <= _LONGEST_NAME and all(map(is_safe_name, parts))
        if not safe:
            what = f"a name that a store cannot have (expected letters, digits, _ . + = @ -, {_LONGEST_NAME} at most)"
            self.problem(what, "rename it", member)
        return safe

    def check_small(self, nbytes: int, member: str) -> bool:
        """Check that what lies beside the trials is small."""
        if nbytes > MAX_SMALL_FILE:
            self.problem(f"too large (expected {MAX_SMALL_FILE} bytes at most)", REMOVE, member)
        return nbytes <= MAX_SMALL_FILE

    def check_dtype(self, descr: str, member: str) -> bool:
        """Check that a store can hold an array of this dtype."""
        dtype = np.dtype(descr)
        long_double = dtype.kind == "f" and dtype.itemsize > 8
        fits = dtype.kind in "biufUSmM" and dtype.itemsize <= _MAX_ITEM and not long_double
        if not fits:
            self.problem(
                f"dtype {descr} is not supported (expected numbers, or text of {_MAX_ITEM} bytes)",
                "save it again as such",
                member,
            )
        return fits

    def check_complete(
        self,
        names: Mapping[str, str],
        trials: Mapping[str, Iterable[int]],
        ids: Sequence[int],
        optional: Set[str],
        advice: str = _COMPLETE,
    ) -> None:
        """Check that every variable has every trial.

        Parameters
        ----------
        names
            Variable -> what the source calls a trial of it, with ``{}`` for the number.
        trials
            Variable -> the trials that it has; one without any is reported by its caller.
        optional
            Variables that some trials may lack.
        """
        for variable, found in trials.items():
            for trial in ids if found and variable not in optional else ():
                if trial not in found:
                    member = names[variable].format(trial)
                    self.problem(f"missing (other variables have trial {trial})", advice, member, trial)

    def tiers(self, values: NDArray[Any], ids: Sequence[int], member: str) -> dict[int, str]:
        """Return the tier of each trial; the file number is the index."""
        if values.ndim != 1 or values.dtype.kind != "U":
            what = f"expected one text a trial, found shape {values.shape} {values.dtype.str}"
            self.problem(what, SAVE_TIERS, member)
            return dict.fromkeys(ids, "")
        if ids and ids[-1] >= len(values):
            what = f"too short (expected {ids[-1] + 1} or more, for trial {ids[-1]}; found {len(values)})"
            self.problem(what, SAVE_TIERS, member)
        tiers = {number: str(tier) for number, tier in enumerate(values)}
        self._check_tiers(tiers, set(ids), member)
        return {trial: tiers.get(trial, "") for trial in ids}

    def _check_tiers(self, tiers: dict[int, str], ids: set[int], member: str) -> None:
        # Of a mouse without any file, that is said once, elsewhere.
        without = [trial for trial, tier in tiers.items() if ids and trial not in ids and tier != NO_TIER]
        for trial in without[:_NAMED]:
            what = f"trial {trial} is of tier {tiers[trial]!r} but has no file in any variable"
            self.problem(what, _NO_FILES, member, trial)
        if len(without) > _NAMED:
            what = f"{len(without) - _NAMED} more trials are of a tier but have no file in any variable"
            self.problem(what, _NO_FILES, member)
        for trial, tier in tiers.items():
            if trial in ids and tier.strip().lower() in ("", "nan"):
                self.problem(
                    f"trial {trial} has no tier (found {tier!r})",
                    f"give it one, or {NO_TIER!r} and no files",
                    member,
                    trial,
                )
            elif trial in ids and tier == NO_TIER:
                self.warnings.append(f"trial {trial} has files, yet its tier is {NO_TIER!r}")

    def widest(self, variable: str, dtypes: Iterable[str]) -> str | None:
        """Return the dtype that holds trials of all of these, or None; warn if they are not all the same."""
        distinct = sorted(set(dtypes))
        if len(distinct) < 2:
            return distinct[0] if distinct else None
        if {np.dtype(dtype).kind for dtype in distinct} != {"f"}:
            return None
        widest = max(distinct, key=lambda dtype: np.dtype(dtype).itemsize)
        self.warnings.append(f"{variable} has trials of {' and of '.join(distinct)}; all are kept as {widest}")
        return widest

    def check_neurons(self, n_neurons: int | None, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Check that what is said of neurons is said of as many as there are responses of.

        Parameters
        ----------
        n_neurons
            Number of neurons; None where the responses could not be read.
        shapes
            Array -> its shape.
        """
        for member, shape in shapes.items() if n_neurons is not None else ():
            if shape[:1] != (n_neurons,):
                what = f"expected {n_neurons} neurons as in {RESPONSES}, found shape {shape}"
                self.problem(what, "give it one entry a neuron, as the first axis", member)

"""Which trials and which neurons: by number, by mask, or by the values of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..store import OptionError, Problem

Columns = Mapping[str, NDArray[Any]]
Tier = str | Sequence[str] | None
"""One tier, several, or all."""
Choice = Mapping[str, Any] | Sequence[int] | Sequence[bool] | NDArray[Any]
"""Column -> value or values, all of which have to fit; or numbers; or a mask."""


def choose(label: str, columns: Columns, choice: Choice | None, *, by: str) -> NDArray[np.int64]:
    """Return the rows of a table that are chosen, ascending, each once.

    Parameters
    ----------
    label
        The store, for messages.
    columns
        Name -> (n, …) values; all of one length.
    choice
        Column -> value or values, all of which have to fit; or values of the column `by`; or a mask of n; None for
        everything.
    by
        The column that numbers are looked up in.

    Raises
    ------
    OptionError
        There is no such column or value, or nothing is chosen.
    """
    n = len(columns[by])
    if choice is None:
        return np.arange(n)
    if isinstance(choice, Mapping):
        fit = np.ones(n, bool)
        for name, wanted in choice.items():
            fit &= _fits(label, columns, name, wanted)
        return _some(label, np.flatnonzero(fit), choice)
    wanted = np.atleast_1d(np.asarray(choice))
    if wanted.dtype == bool:
        _check_index(label, getattr(choice, "index", None), columns[by], by)
        if wanted.shape != (n,):
            what = f"a mask of shape {wanted.shape} does not fit (expected ({n},))"
            raise OptionError(Problem(label, what, f"give one value for each {by}"))
        return _some(label, np.flatnonzero(wanted), "the mask")
    return _by_number(label, columns[by], wanted, by)


def _check_index(label: str, index: Any, numbers: NDArray[Any], by: str) -> None:
    """Check that a mask from a table, which knows which rows it speaks of, speaks of these in this order."""
    if index is not None and not callable(index) and not np.array_equal(index, numbers):
        what = f"the mask has another order of {by} than the table"
        raise OptionError(Problem(label, what, "make it from the table as it is"))


def _fits(label: str, columns: Columns, name: str, wanted: Any) -> NDArray[np.bool_]:
    if name not in columns or columns[name].ndim != 1:
        known = ", ".join(key for key, values in columns.items() if values.ndim == 1)
        raise OptionError(Problem(label, f"no column {name!r}", f"choose by one of {known}"))
    values = columns[name]
    several = isinstance(wanted, (Sequence, Set)) and not isinstance(wanted, (str, bytes)) or np.ndim(wanted) > 0
    allowed: list[Any] = list(wanted) if several else [wanted]
    if unknown := [one for one in allowed if not np.any(values == one)]:
        distinct = np.unique(values)
        known = _text((distinct.astype(str) if distinct.dtype.kind in "mM" else distinct).tolist())
        raise OptionError(Problem(label, f"no {name} is {_text(unknown)}", f"there are {known}"))
    return np.isin(values, np.array(allowed, values.dtype))


def _by_number(label: str, numbers: NDArray[Any], wanted: NDArray[Any], by: str) -> NDArray[np.int64]:
    if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
        found = _text(wanted.reshape(-1)[:3].tolist())
        what = f"expected numbers ({by}), a mask, or columns with the values wanted, found {found}"
        raise OptionError(Problem(label, what, f"give such as [{numbers[0]}] or {{'column': value}}"))
    if unknown := sorted(set(wanted.tolist()) - set(numbers.tolist())):
        many = f"there are {len(numbers)}, from {numbers.min()} to {numbers.max()}"
        raise OptionError(Problem(label, f"no {by} {_text(unknown)}", many))
    return _some(label, np.flatnonzero(np.isin(numbers, wanted)), wanted)


def _some(label: str, found: NDArray[np.int64], choice: object) -> NDArray[np.int64]:
    if not found.size:
        text = str(choice)
        raise OptionError(Problem(label, f"nothing is selected by {text[:80]}", "choose at least one"))
    return found


def _text(values: Sequence[Any]) -> str:
    """Return values as a person reads them: a few, then dots."""
    return ", ".join(repr(value) for value in values[:8]) + (", …" if len(values) > 8 else "")

"""Which trials and which neurons: by number, by mask, or by the values of columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..store import OptionError, Problem
from ..store.arguments import refuse
from .texts import parsed

POSITION = "position"
"""The column of positions along the neuron axis."""
Columns = Mapping[str, NDArray[Any]]
Tier = str | Sequence[str] | None
"""One tier, several, or all."""
Choice = Mapping[str, Any] | Sequence[int] | Sequence[bool] | NDArray[Any] | slice
"""Column -> value or values that all have to fit; or numbers, a mask, rows of the table, or a slice of positions."""


def as_names(given: Any, argument: str) -> tuple[str, ...]:
    """Return one name or several, as an argument gives them, as a tuple; those of a set in alphabetical order.

    Raises
    ------
    OptionError
        Something else is given. Of a mapping nobody knows what its values are to mean.
    """
    several = is_several(given) and not isinstance(given, Mapping)
    found: tuple[Any, ...] = tuple(cast("Iterable[Any]", given)) if several else (given,)
    if not all(isinstance(one, str) for one in found):
        refuse(argument, "one name, or a list such as ['a', 'b']", given)
    return tuple(sorted(found)) if isinstance(given, Set) else found


def is_several(given: object) -> bool:
    """Return whether a value of an argument is several ones."""
    return np.iterable(given) and not isinstance(given, (str, bytes))


def check_once(label: str, by: str, numbers: NDArray[np.int64]) -> None:
    """Check that no number of the column `by` is chosen more than once.

    Raises
    ------
    OptionError
        One is.
    """
    if twice := [number for number, count in Counter(numbers.tolist()).items() if count > 1]:
        raise OptionError(Problem(label, f"{by} {listed(twice)} is chosen more than once", "choose each of them once"))


def choose(label: str, columns: Columns, choice: Choice | None, *, by: str) -> NDArray[np.int64]:
    """Return the rows of a table that are chosen: by numbers in their order, repeats included, else ascending.

    Parameters
    ----------
    label
        The store, for messages.
    columns
        Name -> (n, …) values; all of one length.
    choice
        Column -> value or values, all of which have to fit; or values of the column `by`; or a mask of n; or a table of
        pandas that is indexed by it; or, of positions, a slice; None for everything.
    by
        The column that numbers are looked up in; negative positions count from the end, as in numpy.

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
    if isinstance(choice, slice) and by == POSITION:
        return _some(label, np.arange(n)[choice], choice)
    if hasattr(choice, "columns"):
        choice = _index_of(label, choice, by)
    wanted = _as_array(label, choice, columns[by], by)
    if wanted.dtype == bool:
        _check_index(label, getattr(choice, "index", None), columns[by], by)
        if wanted.shape != (n,):
            what = f"a mask of shape {wanted.shape} does not fit (expected ({n},))"
            raise OptionError(Problem(label, what, f"give one value for each {by}"))
        return _some(label, np.flatnonzero(wanted), "the mask")
    return _by_number(label, columns[by], wanted, by)


def _index_of(label: str, table: Any, by: str) -> Any:
    """Return what a table of pandas is indexed by, which has to be the column `by`."""
    if table.index.name != by:
        what = f"a table that is indexed by {table.index.name}, not by {by}"
        raise OptionError(Problem(label, what, f"choose rows of the table that has the index {by}"))
    return table.index


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
    typed = parsed(values)
    several = is_several(wanted) and not isinstance(wanted, Mapping)
    allowed: list[Any] = list(wanted) if several else [wanted]
    fit, unknown = np.zeros(len(values), bool), list[Any]()
    for one in allowed:
        # Of old versions of numpy, `isin` does not take the largest integers.
        same = False if is_several(one) else (values == one) | (typed == one)
        fit |= same
        unknown += [] if np.any(same) else [one]
    if unknown:
        distinct = np.unique(typed)
        known = listed((distinct.astype(str) if distinct.dtype.kind in "mM" else distinct).tolist())
        raise OptionError(Problem(label, f"no {name} is {listed(unknown)}", f"there are {known}"))
    return fit


def _as_array(label: str, choice: Any, numbers: NDArray[Any], by: str) -> NDArray[Any]:
    """Return numbers, or a mask, as an array of one axis."""
    try:
        wanted = np.atleast_1d(np.asarray(choice))
    except ValueError:  # lists of different lengths
        wanted = np.empty((0, 0))
    if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iub"):
        what = f"expected numbers ({by}), a mask, or columns with the values wanted, found {str(choice)[:80]}"
        raise OptionError(Problem(label, what, f"give such as [{numbers[0]}] or {{'column': value}}"))
    return wanted


def _by_number(label: str, numbers: NDArray[Any], wanted: NDArray[Any], by: str) -> NDArray[np.int64]:
    rows = {number: row for row, number in enumerate(numbers.tolist())}
    if by == POSITION:
        rows |= {row - len(numbers): row for row in rows.values()}
    if unknown := sorted(set(wanted.tolist()) - rows.keys()):
        many = f"there are {len(numbers)}, from {numbers.min()} to {numbers.max()}"
        raise OptionError(Problem(label, f"no {by} {listed(unknown)}", many))
    return _some(label, np.array([rows[number] for number in wanted.tolist()], np.int64), wanted)


def _some(label: str, found: NDArray[np.int64], choice: object) -> NDArray[np.int64]:
    if not found.size:
        text = str(choice)
        raise OptionError(Problem(label, f"nothing is selected by {text[:80]}", "choose at least one"))
    return found


def listed(values: Sequence[Any]) -> str:
    """Return values as a person reads them: a few, then dots."""
    return ", ".join(repr(value) for value in values[:8]) + (", …" if len(values) > 8 else "")

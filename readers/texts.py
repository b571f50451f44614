"""Texts that stand for numbers, times or truth values, as published recordings have them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WRAPPED = re.compile(r"(?:Decimal|Timestamp)\('(.*)'\)")
"""As Python shows decimals and times, which an exporter took for text."""
_TRUTHS = {"True": True, "true": True, "False": False, "false": False}
_INTEGER = re.compile(r"[+-]?(?:0|[1-9]\d{0,17})")
_FLOAT = re.compile(r"[+-]?(?:(?:0|[1-9]\d{0,14})(?:\.\d*)?(?:[eE][+-]?\d+)?|nan|inf)", re.IGNORECASE)
"""Zeros at the start, and more digits than float64 holds, are parts of names."""
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.(\d{1,6}))?)?)?")


def parsed(values: NDArray[Any]) -> NDArray[Any]:
    """Return texts as the integers, floats, times or truth values that all of them stand for, or else as they are.

    Parameters
    ----------
    values
        (n,) of any dtype; what is no text is returned as it is.

    Returns
    -------
    ndarray
        (n,) bool, int64, float64, datetime64 in seconds or microseconds, or `values`.

    Examples
    --------
    >>> parsed(np.array(["Decimal('0.500')", "1"])), parsed(np.array(["True", "False"])), parsed(np.array(["007", "1"]))
    (array([0.5, 1. ]), array([ True, False]), array(['007', '1'], dtype='<U3'))
    >>> parsed(np.array(["Timestamp('2021-06-01 10:00:00')"]))
    array(['2021-06-01T10:00:00'], dtype='datetime64[s]')
    """
    found: list[Any] = values.tolist() if values.dtype.kind in "UTO" and values.ndim == 1 else []
    if not found or not all(isinstance(one, str) for one in found):
        return values
    # Of many trials, few texts differ.
    texts = {one: match[1] if (match := _WRAPPED.fullmatch(one)) else one for one in set(found)}
    distinct = _parse(list(texts.values()))
    if distinct is None:
        return values
    places = {one: place for place, one in enumerate(texts)}
    return distinct[[places[one] for one in found]]


def _parse(texts: list[str]) -> NDArray[Any] | None:
    if all(text in _TRUTHS for text in texts):
        return np.array([_TRUTHS[text] for text in texts])
    if all(map(_INTEGER.fullmatch, texts)):
        return np.array(list(map(int, texts)), np.int64)
    if all(map(_FLOAT.fullmatch, texts)):
        return np.array(list(map(float, texts)))
    times = [_TIME.fullmatch(text) for text in texts]
    if not all(times):
        return None
    try:
        return np.array(texts, f"datetime64[{'us' if any(one and one[1] for one in times) else 's'}]")
    except ValueError:  # a date that there is not
        return None

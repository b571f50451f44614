"""How far the values of a store may be from those of its source, as people write it and as the format keeps it."""

from __future__ import annotations

import math
from dataclasses import dataclass

_PERCENT = "%std"


@dataclass(frozen=True)
class Bound:
    """The largest error that a variable's values may have.

    Attributes
    ----------
    value
        Size of the bound in the variable's unit; with `of_std`, in percent.
    of_std
        Whether it is a part of the standard deviation of the train trials: of each neuron or channel, or of all values
        of a variable that has neither.
    """

    value: float
    of_std: bool = False

    @property
    def document(self) -> float | str:
        """The bound in JSON: a number, or a text such as ``0.1%std``."""
        return str(self) if self.of_std else self.value

    def __str__(self) -> str:
        """Write it as `parse_bound` reads it."""
        return f"{self.value!r}{_PERCENT if self.of_std else ''}"


def parse_bound(given: object) -> Bound:
    """Read a bound: a number above zero, or percents of the standard deviation.

    Raises
    ------
    ValueError
        The text is not a bound; the message says why.

    Examples
    --------
    >>> parse_bound("0.5"), parse_bound("0.1%std")
    (Bound(value=0.5, of_std=False), Bound(value=0.1, of_std=True))
    """
    of_std = isinstance(given, str) and given.strip().endswith(_PERCENT)
    text = given.strip().removesuffix(_PERCENT) if isinstance(given, str) else given
    try:
        value = math.nan if isinstance(text, bool) else float(text)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{given!r} is not a number") from None
    if not 0 < value < math.inf:
        raise ValueError(f"{given!r} is no bound (expected a finite number above zero)")
    return Bound(value, of_std)

"""Which neurons a figure shows, in which order, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..store import OptionError, Problem
from ..store.arguments import check_choice
from .mouse import Mouse
from .selection import Choice

if TYPE_CHECKING:
    import pandas as pd

NeuronOrder = Literal["activity", "position", "area", "depth", "reliability"]
ORDERS: tuple[NeuronOrder, ...] = get_args(NeuronOrder)
_TEXTS = {
    "activity": "most active\non top",
    "position": "by position",
    "area": "by area",
    "depth": "by depth,\nupper ones\non top",
    "reliability": "most reliable\non top",
}
_DEPTHS = ("cell_motor_coordinates_2", "depth", "z")
_PLACES = (tuple(f"cell_motor_coordinates_{axis}" for axis in range(3)), ("x", "y", "z"), ("x", "y"))


@dataclass(frozen=True, eq=False)
class DrawnNeurons:
    """The neurons that a figure shows.

    Attributes
    ----------
    positions
        (n,) int64 along the neuron axis, the upper ones first.
    by_activity
        Whether a raster sorts them once more, by their activity in it.
    text
        The order, for a label.
    names
        Unit id and area of each, as far as they are known, else its position.
    labelled
        What the names are, for a label.
    groups
        Name of an area -> how many neurons of it stand one below the other; empty without areas as the order.
    places
        As of `places_of`; None where they are not known.
    parts
        Area and layer of each; empty where neither is known.
    """

    positions: NDArray[np.int64]
    by_activity: bool
    text: str
    names: list[str]
    labelled: str
    groups: dict[str, int]
    places: NDArray[np.float64] | None
    parts: list[str]


def draw_neurons(mouse: Mouse, neurons: Choice | None, order: NeuronOrder) -> DrawnNeurons:
    """Return the neurons to be drawn.

    Parameters
    ----------
    neurons
        As in `Mouse.positions`; all by default.
    order
        ``activity`` in what is drawn, ``position`` (or the order in which they were given), ``area``, ``depth``, or
        ``reliability`` of the responses to repeated stimuli, which reads them.

    Raises
    ------
    OptionError
        There is no such neuron or order, or what they are to be sorted by is not known.
    """
    check_choice("sort", order, ORDERS)
    positions = mouse.positions(neurons)
    table, groups = mouse.neurons.iloc[positions], dict[str, int]()
    if order in ("area", "depth", "reliability"):
        place = np.argsort(_keys(mouse, table, order), kind="stable")
        positions, table = positions[place], table.iloc[place]
    if order == "area":
        groups = {str(name): int(count) for name, count in table["area"].value_counts(sort=False).items()}
    known = [name for name in ("unit_ids", "area") if name in table]
    names = _joined(table, known) or list(map(str, positions.tolist()))
    parts = _joined(table, [name for name in ("area", "layer") if name in table])
    places = places_of(mouse)
    labelled = " and ".join({"unit_ids": "unit id", "area": "area"}[name] for name in known) or "position"
    taken = None if places is None else places[positions]
    return DrawnNeurons(positions, order == "activity", _TEXTS[order], names, labelled, groups, taken, parts)


def _joined(table: pd.DataFrame, columns: list[str]) -> list[str]:
    """Return the values of some columns as one text a neuron; nothing without columns."""
    return [" ".join(map(str, parts)) for parts in zip(*(table[name].tolist() for name in columns), strict=True)]


def _keys(mouse: Mouse, table: pd.DataFrame, order: NeuronOrder) -> NDArray[np.float64] | NDArray[np.int64]:
    """Return numbers by which neurons are sorted, the least on top."""
    if order == "reliability":
        scores = -mouse.repeats().reliability(neurons=table.index.to_numpy())["oracle"].to_numpy()
        return np.where(np.isnan(scores), np.inf, scores)
    column = next((name for name in (("area",) if order == "area" else _DEPTHS) if name in table), None)
    if column is None:
        what = f"the {order} of neurons is not known"
        advice = f"sort them by {', '.join(one for one in ORDERS if one != order)}"
        raise OptionError(Problem(mouse.recording.label, what, advice))
    if order == "area":
        return np.unique(table[column].astype(str), return_inverse=True)[1]
    return table[column].to_numpy(np.float64)


def places_of(mouse: Mouse) -> NDArray[np.float64] | None:
    """Return (n_neurons, 2 or 3) where neurons are, in µm: to the side, to the front, and deep; None if unknown."""
    table = mouse.neurons
    for names in _PLACES:
        if all(name in table and table[name].dtype.kind in "iuf" for name in names):
            return table[list(names)].to_numpy(np.float64)
    return None

"""Which neurons a figure shows, in which order, and what they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..store import OptionError, Problem
from ..store.arguments import check_choice
from .mouse import Mouse
from .selection import POSITION, Choice, Columns
from .tables import neuron_columns

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
    positions, columns = mouse.positions(neurons), neuron_columns(mouse.index, mouse.n_neurons)
    if order in ("area", "depth", "reliability"):
        positions = positions[np.argsort(_keys(mouse, columns, order, positions), kind="stable")]
    groups = Counter(columns["area"][positions].tolist()) if order == "area" else {}
    known = [name for name in ("unit_ids", "area") if name in columns]
    labelled = " and ".join({"unit_ids": "unit id", "area": "area"}[name] for name in known) or "position"
    places = places_of(mouse)
    return DrawnNeurons(
        positions=positions,
        by_activity=order == "activity",
        text=_TEXTS[order],
        names=_joined(columns, known or [POSITION], positions),
        labelled=labelled,
        groups={str(name): count for name, count in groups.items()},
        places=None if places is None else places[positions],
        parts=_joined(columns, [name for name in ("area", "layer") if name in columns], positions),
    )


def _joined(columns: Columns, names: Sequence[str], positions: NDArray[np.int64]) -> list[str]:
    """Return the values of some columns as one text a neuron; nothing without columns."""
    return [
        " ".join(map(str, parts)) for parts in zip(*(columns[one][positions].tolist() for one in names), strict=True)
    ]


def _keys(mouse: Mouse, columns: Columns, order: NeuronOrder, positions: NDArray[np.int64]) -> NDArray[Any]:
    """Return numbers by which neurons are sorted, the least on top."""
    if order == "reliability":
        scores = -mouse.repeats().reliability(neurons=positions)["oracle"].to_numpy()
        return np.where(np.isnan(scores), np.inf, scores)
    column = next((name for name in (("area",) if order == "area" else _DEPTHS) if name in columns), None)
    if column is None:
        what = f"the {order} of neurons is not known"
        advice = f"sort them by {', '.join(one for one in ORDERS if one != order)}"
        raise OptionError(Problem(mouse.recording.label, what, advice))
    found = columns[column][positions]
    return np.unique(found.astype(str), return_inverse=True)[1] if order == "area" else found.astype(np.float64)


def places_of(mouse: Mouse) -> NDArray[np.float64] | None:
    """Return (n_neurons, 2 or 3) where neurons are, in µm: to the side, to the front, and deep; None if unknown."""
    columns = neuron_columns(mouse.index, mouse.n_neurons)
    for names in _PLACES:
        if all(name in columns and columns[name].dtype.kind in "iuf" for name in names):
            return np.stack([columns[name].astype(np.float64) for name in names], axis=1)
    return None

"""The names in a published tree: ``data/<variable>/<number>.npy``, ``meta/**``, ``config.json``, and what is added."""

from __future__ import annotations

import re

NPY = ".npy"
CONFIG = "config.json"
DATA, META = "data/", "meta/"
TRIALS, NEURONS, STATISTICS = f"{META}trials/", f"{META}neurons/", f"{META}statistics/"
"""Arrays with a value for each file number; with one for each neuron; and statistics by variable."""
TIERS = f"{TRIALS}tiers{NPY}"
"""The array that every mouse has: where it lies is where the mouse begins."""
TRIAL_FILE = re.compile(rf"{DATA}([^/]+)/(0|[1-9][0-9]{{0,8}})\{NPY}")
"""Variable and number of a trial's file; numbers have no leading zeros."""
ANY_TRIAL = f"{DATA}<variable>/<number>{NPY}"
STATISTICS_PICKLE = "statistics.pkl"
ROUNDED = "rounded.json"
"""Added by an export: which variables are not the published ones, and how far they may be from them."""


def trial_file(variable: str, number: int | str) -> str:
    """Return the name of a trial's file.

    Examples
    --------
    >>> trial_file("responses", 17)
    'data/responses/17.npy'
    """
    return f"{DATA}{variable}/{number}{NPY}"

"""The older layout of static mice: one dataset a variable, trials first; row and trial_id are the same."""

from __future__ import annotations

from ....store.variables import BEHAVIOR, IMAGES, KNOWN, PUPIL_CENTER, RESPONSES
from ..published.names import NEURONS, STATISTICS, TIERS, TRIALS
from .access import Hdf5Reader
from .dataset import Dataset
from .hdf5_surveyor import Hdf5Surveyor, place_of_stack
from .places import Contents, TrialPlace, VariablePlace

_AXES = {IMAGES: 3, RESPONSES: 1, BEHAVIOR: 1, PUPIL_CENTER: 1}
"""Variable -> number of axes of one trial."""
DATASETS = (*_AXES, "tiers")
_GROUPS = {"item_info": TRIALS, "neurons": NEURONS, "statistics": STATISTICS}


def read_static(file: Hdf5Reader) -> Contents:
    """Find out what a file of this layout holds.

    Raises
    ------
    SourceError
        With every problem that can be seen without reading trials.
    """
    collecting = Hdf5Surveyor(file)
    found = {name: collecting.stack(name, KNOWN[name].forms[axes]) for name, axes in _AXES.items()}
    stacks = {name: stack for name, stack in found.items() if stack is not None}
    stimulus = stacks.get(IMAGES)
    if stimulus is not None:
        collecting.check_rows(stacks, stimulus.shape[0], stimulus.path)
    collecting.add_small(TIERS, "tiers")
    for group, prefix in _GROUPS.items():
        collecting.add_group(group, prefix, statistic_name if group == "statistics" else str)
    for name in file.kinds():
        if name not in (*DATASETS, *_GROUPS):
            collecting.found.leave_out(name)
    ids = range(stimulus.shape[0] if stimulus is not None else 0)
    places = {name: _place(stack, ids) for name, stack in stacks.items()}
    return collecting.finish(ids, collecting.known_variables(places), places)


def statistic_name(name: str) -> str:
    """Return what a published tree calls a statistic.

    Examples
    --------
    >>> statistic_name("images/stimulus.Frame/mean")
    'images/stimulus_frame/mean'
    """
    return name.replace(".", "_").lower()


def _place(stack: Dataset, ids: range) -> VariablePlace:
    descr, nbytes = stack.dtype.str, stack.row_nbytes
    trials = {trial: TrialPlace(stack.path, trial, None, descr, False, nbytes) for trial in ids}
    return place_of_stack(range(len(stack.shape) - 1), None, stack, trials)

"""Stimuli that were shown more than once: mean responses to them, and how reliable each neuron is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..store import OptionError, Problem, UnknownNameError, layout
from ..store.arguments import check_count
from .selection import POSITION, Choice, listed
from .tables import as_table

if TYPE_CHECKING:
    import pandas as pd

    from .mouse import Mouse

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Repeats(Mapping[int, NDArray[np.int64]]):
    """Stimuli that some trials show more than once: a mapping from stimulus_id to the trials.

    Attributes
    ----------
    mouse
        The mouse.
    by_stimulus
        stimulus_id, the number of the first trial of the mouse that shows the stimulus -> (n_repeats,) int64,
        trial_ids of those that were chosen, ascending.
    """

    mouse: Mouse
    by_stimulus: Mapping[int, NDArray[np.int64]]

    def __getitem__(self, stimulus_id: int) -> NDArray[np.int64]:
        """Return the trials that show a stimulus.

        Raises
        ------
        UnknownNameError
            It is not shown more than once.
        """
        if stimulus_id not in self.by_stimulus:
            label, advice = self.mouse.recording.label, f"there are {listed(list(self.by_stimulus))}"
            raise UnknownNameError(Problem(label, f"no repeats of a stimulus {stimulus_id!r}", advice))
        return self.by_stimulus[stimulus_id]

    def __iter__(self) -> Iterator[int]:
        """Iterate over the stimuli."""
        return iter(self.by_stimulus)

    def __len__(self) -> int:
        """Return the number of stimuli."""
        return len(self.by_stimulus)

    __eq__ = object.__eq__

    def __repr__(self) -> str:
        """Return a one-line summary."""
        trials = sum(map(len, self.by_stimulus.values()))
        return f"<Repeats of {self.mouse.name}: {len(self)} stimuli in {trials} trials>"

    def mean(self, name: str = layout.RESPONSES, *, neurons: Choice | None = None) -> dict[int, NDArray[np.float64]]:
        """Return the mean over the repeats of each stimulus.

        Parameters
        ----------
        name
            A recorded variable.
        neurons
            As in `Mouse.positions`; of variables with neurons.

        Returns
        -------
        dict
            stimulus_id -> mean, with the axes and unit of a trial in the store: for one, responses (n_neurons,
            n_frames). Frames are those that all repeats have; trials that lack the variable, or whose responses were
            withheld, are left out, and stimuli of only such trials.

        Raises
        ------
        OptionError
            There is no such variable or neuron, or no trial has it.
        """
        return {
            stimulus: values.mean(axis=0, dtype=np.float64) for stimulus, values in self._values(name, neurons, least=1)
        }

    def reliability(
        self, name: str = layout.RESPONSES, *, neurons: Choice | None = None, skip: int = 0
    ) -> pd.DataFrame:
        """Return how much of each neuron's activity the stimulus repeats.

        Parameters
        ----------
        name
            A recorded variable with neurons.
        neurons
            As in `Mouse.positions`.
        skip
            How many frames at the beginning of each trial are left out, such as the 50 that the evaluation of
            Sensorium 2023 leaves out.

        Returns
        -------
        pandas.DataFrame
            One row a neuron, indexed by position, as in ``mouse.neurons``. Float64; NaN of a neuron without variance,
            or with a NaN among its values:

            ``oracle``
                Correlation of each single response with the mean of the other repeats (leave one out), over all
                stimuli, repeats and frames together: the oracle score of Walker et al. 2019 (Nature Neuroscience 22).
            ``explainable_variance``
                (total - noise) / total: variance over all stimuli, repeats and frames, and the mean over stimuli and
                frames of the variance over repeats, both unbiased (Cadena et al. 2019, PLOS Computational Biology 15).
            ``snr``
                Variance over stimuli and frames of the mean response, over the same noise: the signal-to-noise ratio
                of Pospisil and Bair 2021 (PLOS Computational Biology 17), as Sensorium 2022 estimates it, but of the
                values as they are; of noise alone it is 1 / n_repeats.

        Raises
        ------
        OptionError
            There is no such variable or neuron, no stimulus remains that two trials show, or no frame.

        Notes
        -----
        Frames are those that all repeats of a stimulus have; trials are left out as by `mean`, and then stimuli with
        one trial. Holds the responses to one stimulus, and three times one of its trials in float64.
        """
        skip = check_count("skip", skip, 0)
        dimensions = self.mouse.recording.variable(name).dimensions
        if layout.NEURON not in dimensions:
            raise self._error(f"{name} has no neurons, of which each would be reliable", "choose another variable")
        if skip and layout.FRAME not in dimensions:
            raise self._error(f"{name} has no frames", "leave skip out")
        scores = _scores(
            self._conditions(values, dimensions, skip) for _, values in self._values(name, neurons, least=2)
        )
        return as_table({POSITION: self.mouse.positions(neurons), **scores}, POSITION)

    def _values(self, name: str, neurons: Choice | None, least: int) -> Iterator[tuple[int, Array]]:
        """Yield (n_repeats, …) values for each stimulus that so many trials have, cut at the shortest of them."""
        recording, none = self.mouse.recording, True
        axis = recording.variable(name).frame_axis
        for stimulus, trial_ids in self.by_stimulus.items():
            rows = recording.given(name, np.searchsorted(recording.trial_ids, trial_ids))
            if len(rows) < least:
                continue
            none, values = False, self.mouse.array(name, trials=recording.trial_ids[rows], neurons=neurons)
            if axis is not None and recording.n_frames is not None:
                values = values[(slice(None),) * (axis + 1) + (slice(int(recording.n_frames[rows].min())),)]
            yield stimulus, values
        if none:
            what = f"no stimulus has {name} of {'a trial' if least == 1 else 'two trials'}"
            raise self._error(f"{what}: they are withheld, or not recorded", "choose other trials")

    def _conditions(self, values: Array, dimensions: tuple[str, ...], skip: int) -> Array:
        """Return values as (n_repeats, n_neurons, n_conditions), without the first frames."""
        if skip:
            axis = 1 + dimensions.index(layout.FRAME)
            if skip >= values.shape[axis]:
                raise self._error(f"skip={skip} leaves none of {values.shape[axis]} frames", "skip fewer")
            values = values[(slice(None),) * axis + (slice(skip, None),)]
        moved = np.moveaxis(values, 1 + dimensions.index(layout.NEURON), 1)
        return moved.reshape(*moved.shape[:2], -1)

    def _error(self, what: str, advice: str) -> OptionError:
        return OptionError(Problem(self.mouse.recording.label, what, advice))


def repeats_of(mouse: Mouse, rows: NDArray[np.int64], first: NDArray[np.int64]) -> Repeats:
    """Return the stimuli that some trials show more than once.

    Parameters
    ----------
    rows
        The trials.
    first
        For each trial of the mouse, the first one with the same stimulus.

    Raises
    ------
    OptionError
        None is shown more than once.
    """
    ids, found = mouse.recording.trial_ids, dict[int, list[int]]()
    for row in np.unique(rows).tolist():
        found.setdefault(int(ids[first[row]]), []).append(row)
    several = {stimulus: ids[chosen] for stimulus, chosen in sorted(found.items()) if len(chosen) > 1}
    if not several:
        what = f"no two of the {len(rows)} chosen trials show the same stimulus"
        advice = "choose others, or give max_difference: repeats may differ by rounding"
        raise OptionError(Problem(mouse.recording.label, what, advice))
    return Repeats(mouse, several)


def _scores(stimuli: Iterable[Array]) -> dict[str, NDArray[np.float64]]:
    """Return oracle score, explainable variance and signal-to-noise ratio of each neuron.

    Parameters
    ----------
    stimuli
        (n_repeats, n_neurons, n_conditions) for each stimulus, at least two repeats.

    Notes
    -----
    Of R repeats of a condition with the mean m and the sum v of squares around it, the response x_r is correlated with
    y_r = (R m - x_r) / (R - 1). So sum x = sum y = R m, sum x² = R m² + v, sum y² = R m² + v / (R - 1)², and
    sum x y = R m² - v / (R - 1).
    """
    origin: Any = None
    n = conditions = 0
    (within, noise, rest), sums = np.zeros((3, 1)), np.zeros((4, 1))
    for values in stimuli:
        repeats = len(values)
        mean = values.mean(axis=0, dtype=np.float64)
        around = sum(np.square(one - mean).sum(axis=1) for one in values)
        # Sums of squares around anything near the mean lose no digits.
        origin = mean.mean(axis=1, keepdims=True) if origin is None else origin
        mean -= origin
        total, squares = mean.sum(axis=1), np.square(mean).sum(axis=1)
        sums = sums + [repeats * total, repeats * squares, total, squares]
        within, noise, rest = within + around, noise + around / (repeats - 1), rest + around / (repeats - 1) ** 2
        n, conditions = n + repeats * mean.shape[1], conditions + mean.shape[1]
    between = sums[1] - sums[0] ** 2 / n
    variance, unexplained = (between + within) / (n - 1), noise / conditions
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "oracle": (between - noise) / np.sqrt((between + within) * (between + rest)),
            "explainable_variance": (variance - unexplained) / variance,
            "snr": (sums[3] / conditions - (sums[2] / conditions) ** 2) / unexplained,
        }

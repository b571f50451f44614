"""One trial, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from .lookup import lookup


@dataclass(frozen=True, eq=False)
class Trial(Mapping[str, NDArray[Any]]):
    """One trial: a mapping from the names of its variables to arrays, cut at its valid length.

    Attributes
    ----------
    trial_id
        Number of its files in the source.
    tier
        The part of the data set that it belongs to.
    n_frames
        Number of valid frames; None for static mice.
    withheld
        Zeros stand in place of the responses.
    arrays
        Name of each variable of the mouse -> array with the dimensions, dtype and units of its `Variable` in
        ``mouse.recording.variables``, frames cut at `n_frames`: for one, responses (n_neurons, n_frames) and videos
        (n_frames, height, width) of the published dynamic mice, responses (n_neurons,) and images (image_channel,
        height, width) of the static ones. Of an optional variable that the trial lacks, NaN where values are floats,
        else the value that was declared for what is missing.
    """

    trial_id: int
    tier: str
    n_frames: int | None
    withheld: bool
    arrays: Mapping[str, NDArray[Any]]

    def __getitem__(self, variable: str) -> NDArray[Any]:
        """Return the array of a variable.

        Raises
        ------
        UnknownNameError
            There is no such variable.
        """
        return lookup(self.arrays, variable, f"trial {self.trial_id}")

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the variables."""
        return iter(self.arrays)

    def __len__(self) -> int:
        """Return the number of variables."""
        return len(self.arrays)

    __eq__ = object.__eq__

    def __repr__(self) -> str:
        """Return a one-line summary."""
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self.items())
        withheld = ", responses withheld" if self.withheld else ""
        return f"<Trial {self.trial_id}, {self.tier}{withheld}: {shapes}>"

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
        Valid frames; None for static mice.
    withheld
        Zeros stand in place of the responses.
    arrays
        Arrays of the variables, with dtype and dimensions of the store. Of published dynamic mice: videos (n_frames,
        height, width), grey level 0 to 255; responses (n_neurons, n_frames), a.u.; behavior (n_channels, n_frames),
        pupil dilation in px, its derivative where there are three, running speed in cm/s; pupil_center (2, n_frames),
        px. Of static ones: images (image_channel, height, width), and the others without frames.
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

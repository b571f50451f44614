"""One batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...store.errors import lookup


class Batch(Mapping[str, Any]):
    """One batch of one mouse: a mapping from names to arrays.

    ``videos`` (B, 1, F, height, width), grey level 0 to 255; ``responses`` (B, N, F), a.u.; ``behavior`` (B,
    n_channels, F), px and cm/s; ``pupil_center`` (B, 2, F), px. Of static mice ``images`` (B, image_channel, height,
    width) and the others without F. Any other variable has its own name and (B, …) the dimensions that the store says;
    pictures are (B, C, F, height, width). All are float32, unless the loader's `dtype` says otherwise, of what
    `normalize` makes of these units. Padding is never among them; where a trial lacks an optional variable, floats are
    NaN and integers the value that was declared. ``videos`` or ``images`` have more channels where `channels` asks for
    them. Beside them ``trial_id`` (B,) int64, ``start`` (B,) int64, the first frame of each sample, ``tier``, B words,
    and ``mouse``, the name of the recording.

    Notes
    -----
    Arrays may be changed in place, and stay valid for as long as any of them, or anything made of their memory, lives.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        """Return what has this name.

        Raises
        ------
        UnknownNameError
            Nothing has.
        """
        return lookup(self._values, name, "batch")

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of names, not of samples."""
        return len(self._values)

    def __repr__(self) -> str:
        """Return a one-line summary."""
        arrays = {name: tuple(value.shape) for name, value in self.items() if hasattr(value, "shape")}
        shapes = ", ".join(f"{name} {shape}" for name, shape in arrays.items())
        return f"<Batch of {self._values.get('mouse')}: {shapes}>"

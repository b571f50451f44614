"""Decoded trials on a device, for ``python -m benchmarks gpu``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trialpack import Mouse, TrialLoader

from .steps import RESPONSES, Batch, Place, endless


class KeptTrials:
    """Decoded trials that stay on a device, and windows of them; those without room for them are streamed.

    Parameters
    ----------
    nbytes
        What they may take there.
    options
        Of a loader of windows.
    """

    def __init__(self, place: Place, mouse: Mouse, nbytes: int, options: Mapping[str, Any]) -> None:
        self._torch, self._options, self.nbytes = place.torch, options, 0
        self._kept, numbers = list[Batch](), mouse.trials.index[mouse.rows(tier="train")].tolist()
        whole = dict(options) | {"window": None, "windows": None, "batch_size": 1, "shuffle": False}
        for batch in TrialLoader(mouse, **whole):
            own = {name: batch[name] for name in options["variables"]}
            taken = sum(value.nbytes for value in own.values())
            if self.nbytes + taken > nbytes:
                break
            self._kept.append(own)
            self.nbytes += taken
        rest = numbers[len(self._kept) :]
        self._parts = len(self._kept) / len(numbers)
        self._loader = TrialLoader(mouse, **dict(options) | {"trials": rest}) if rest else None

    def batches(self) -> Iterator[Batch]:
        """Yield batches, of trials that are kept and of others, each as often as there are such trials."""
        generator, owed = self._torch.Generator().manual_seed(0), 0.0
        streamed = iter(()) if self._loader is None else endless(self._loader)
        while True:
            owed += self._parts
            if owed >= 1 or self._loader is None:
                owed -= 1
                yield self._cut(generator)
            else:
                yield next(streamed)

    def _cut(self, generator: Any) -> Batch:
        """Return windows of random trials, from anywhere in them; frames are the axis behind channels or neurons."""
        window = self._options["window"]
        chosen = self._torch.randint(len(self._kept), (self._options["batch_size"],), generator=generator).tolist()
        parts = [self._kept[place] for place in chosen]
        frames = [part[RESPONSES].shape[2] for part in parts]
        starts = [int(self._torch.randint(n - window + 1, (), generator=generator)) for n in frames]
        return {
            name: self._torch.cat(
                [part[name].narrow(2, start, window) for part, start in zip(parts, starts, strict=True)]
            )
            for name in self._options["variables"]
        }

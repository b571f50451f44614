"""All batches of an epoch, and the place in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...store import OptionError, Problem
from .batches import BatchPlan, MouseBatches, passes, turns

_LABEL = "TrialLoader"


@dataclass(frozen=True)
class Sampler:
    """The batches of every epoch, for one of several ranks.

    Attributes
    ----------
    mice
        The batches of each mouse.
    mixing
        As in `mixing.parse`.
    rank, world_size
        Which of how many processes this is; they take the batches of an epoch in turn.
    drop_last
        Leave out the batches at the end of an epoch that do not suffice for all ranks; otherwise the last ranks get
        the first batches of the epoch once more. All ranks have as many batches.

    Notes
    -----
    The batches of an epoch, and their order, do not depend on the number of ranks: so an epoch can be resumed on
    another number of them.
    """

    mice: Sequence[MouseBatches]
    mixing: Literal["cycle", "sequential"] | NDArray[np.float64]
    seed: int
    rank: int
    world_size: int
    drop_last: bool

    def check(self) -> None:
        """Check that there is something to do.

        Raises
        ------
        OptionError
            A mouse, or a rank, would get no batch.
        """
        for mouse in self.mice:
            mouse.windows.check(mouse.trials)
            if not len(mouse):
                what = f"no batch of {mouse.batch_size} samples in {len(mouse.trials.rows)} trials"
                raise OptionError(Problem(mouse.trials.label, what, "choose a smaller batch_size, or drop_last=False"))
        if not 0 <= self.rank < self.world_size:
            what = f"rank {self.rank} of world_size {self.world_size} cannot be"
            raise OptionError(Problem(_LABEL, what, "count ranks from 0 to world_size - 1"))
        if not self.steps_after(0):
            what = f"{self.n_batches} batches do not suffice for {self.world_size} ranks"
            raise OptionError(Problem(_LABEL, what, "choose a smaller batch_size, or drop_last=False"))

    @cached_property
    def n_batches(self) -> int:
        """Batches of an epoch, of all ranks together."""
        sizes = self._sizes
        return len(sizes) * max(sizes) if isinstance(self.mixing, str) and self.mixing == "cycle" else sum(sizes)

    def steps_after(self, position: int) -> int:
        """Return how many batches each rank gets, once so many of all were handed out."""
        left = self.n_batches - position
        return left // self.world_size if self.drop_last else -(-left // self.world_size)

    def batches(self, epoch: int, position: int = 0) -> Iterator[BatchPlan]:
        """Yield this rank's batches of an epoch.

        Parameters
        ----------
        epoch
            Its number.
        position
            How many batches, of all ranks together, were handed out before.
        """
        order = list(passes(turns(self.mixing, self._sizes, self.seed, epoch), self._sizes))
        made = dict[tuple[int, int], list[BatchPlan]]()
        for step in range(self.steps_after(position)):
            mouse, number, place = order[(position + step * self.world_size + self.rank) % len(order)]
            if (mouse, number) not in made:
                # A mouse that is gone through again is not gone back to, but for what fills up the last step.
                made = {key: plans for key, plans in made.items() if key[0] != mouse}
                made[mouse, number] = self.mice[mouse].one_pass(self.seed, epoch, number)
            yield made[mouse, number][place]

    def fingerprint(self, names: Sequence[str]) -> str:
        """Return a digest of all that the order of batches depends on, but for the number of ranks.

        Parameters
        ----------
        names
            Names of the stores.
        """
        mixing = self.mixing if isinstance(self.mixing, str) else self.mixing.tolist()
        facts: list[Any] = [self.seed, mixing, *names]
        for mouse in self.mice:
            windows, trials = mouse.windows, mouse.trials
            facts += [mouse.batch_size, mouse.shuffle, mouse.drop_last, windows.frames, windows.stride, windows.choice]
            facts += [windows.skip, windows.most]
            facts += [trials.rows.tolist(), None if trials.n_frames is None else trials.n_frames.tolist()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @cached_property
    def _sizes(self) -> list[int]:
        return [len(mouse) for mouse in self.mice]


@dataclass(frozen=True)
class EpochPosition:
    """Where an epoch stands.

    Attributes
    ----------
    epoch
        Its number.
    position
        How many of its batches, of all ranks together, were handed out.
    """

    epoch: int = 0
    position: int = 0

    def to_state(self, fingerprint: str) -> dict[str, Any]:
        """Return it as a plain dictionary, to be kept beside a model's state."""
        return {"epoch": self.epoch, "position": self.position, "sampling": fingerprint}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], fingerprint: str, n_batches: int) -> EpochPosition:
        """Return the place that `to_state` kept.

        Raises
        ------
        OptionError
            It is not a state, or it is of a loader that samples otherwise.
        """
        if not isinstance(state, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(Problem(_LABEL, f"not a state: {state!r}", "give what state_dict() returned"))
        epoch, position = state.get("epoch"), state.get("position")
        if not (isinstance(epoch, int) and isinstance(position, int) and 0 <= position <= n_batches and epoch >= 0):
            raise OptionError(Problem(_LABEL, f"not a state: {state}", "give what state_dict() returned"))
        if state.get("sampling") != fingerprint:
            what = "the state is of a loader with other mice, trials, windows, batch size, shuffling, mixing or seed"
            raise OptionError(Problem(_LABEL, what, "make the loader as it was; only rank and world_size may differ"))
        return cls(epoch, position)

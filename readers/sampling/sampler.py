"""All batches of an epoch, which of them each process gets, and the place in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ...store import OptionError, Problem
from .batches import BatchPlan, MixingName, MouseBatches, passes, turns

_LABEL = "TrialLoader"
_NO_STATE = "give what state_dict() returned"


class Epochs(Protocol):
    """The batches of every epoch, of all processes together."""

    @property
    def mice(self) -> Sequence[MouseBatches]:
        """What batches of each mouse are made of."""
        ...

    def order(self, epoch: int) -> Sequence[int]:
        """Return which mouse each batch of an epoch is of."""
        ...

    def plans(self, epoch: int, places: Iterable[int]) -> Iterator[BatchPlan]:
        """Yield batches of an epoch by their places in it."""
        ...

    def digest(self, epoch: int | None) -> str:
        """Return a digest of all that the batches of an epoch depend on; None for one that has not begun."""
        ...

    def largest(self, mouse: int) -> tuple[int, int]:
        """Return the most samples that a batch of a mouse may have, and the most frames of a sample."""
        ...


@dataclass(frozen=True)
class MixedMice:
    """Epochs in which each mouse is gone through as `MouseBatches` says, and mice are mixed.

    Attributes
    ----------
    mixing
        As in `batches.parse`.
    """

    mice: Sequence[MouseBatches]
    mixing: MixingName | NDArray[np.float64]
    seed: int

    def order(self, epoch: int) -> Sequence[int]:
        """Return which mouse each batch of an epoch is of."""
        return self._orders(epoch)

    def plans(self, epoch: int, places: Iterable[int]) -> Iterator[BatchPlan]:
        """Yield batches of an epoch by their places in it."""
        order = list(passes(self.order(epoch), self._sizes))
        made = dict[tuple[int, int], list[BatchPlan]]()
        for one in places:
            mouse, number, place = order[one]
            if (mouse, number) not in made:
                # A mouse that is gone through again is not gone back to, but for what fills up the last step.
                made = {key: plans for key, plans in made.items() if key[0] != mouse}
                made[mouse, number] = self.mice[mouse].one_pass(self.seed, epoch, number)
            yield made[mouse, number][place]

    def digest(self, epoch: int | None) -> str:
        """Return a digest of all that the batches depend on: the same for all epochs."""
        return self._digest

    def largest(self, mouse: int) -> tuple[int, int]:
        """Return the most samples of a batch of a mouse, and the most frames of a sample."""
        one = self.mice[mouse]
        lengths = one.windows.lengths(one.trials)
        return one.batch_size if one.groups else min(one.batch_size, len(lengths)), int(lengths.max())

    @cached_property
    def _digest(self) -> str:
        mixing = self.mixing if isinstance(self.mixing, str) else self.mixing.tolist()
        return digest_of([self.seed, mixing, [mouse.facts for mouse in self.mice]])

    @cached_property
    def _orders(self) -> Callable[[int], Sequence[int]]:
        return lru_cache(maxsize=2)(partial(turns, self.mixing, self._sizes, self.seed))

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
    taken
        How many of them of each mouse, where these do not come in the order of the epoch; none at its beginning.
    """

    epoch: int = 0
    position: int = 0
    taken: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sampler:
    """The batches of every epoch, for one of several ranks.

    Attributes
    ----------
    epochs
        The batches, of all ranks together. They, and their order, do not depend on the number of ranks: so an epoch can
        be resumed on another number of them.
    rank, world_size
        Which of how many processes this is; they take the batches of an epoch in turn.
    drop_last
        Leave out the batches at the end of an epoch that do not suffice for all ranks; otherwise the last ranks get
        the first batches of the epoch once more. All ranks have as many batches.
    same_mouse
        All ranks get batches of one mouse at each step: of the mouse whose batch is the first that is left in the
        epoch, that one and the next ones. Batches that do not suffice for all ranks are those of each mouse.
    """

    epochs: Epochs
    rank: int
    world_size: int
    drop_last: bool
    same_mouse: bool = False

    def check(self) -> None:
        """Check that there is something to do.

        Raises
        ------
        OptionError
            A mouse, or a rank, would get no batch.
        """
        for mouse in self.epochs.mice:
            mouse.windows.check(mouse.trials)
            if not len(mouse):
                what = f"no batch of {mouse.batch_size} samples in {len(mouse.trials.rows)} trials"
                raise OptionError(Problem(mouse.trials.label, what, "choose a smaller batch_size, or drop_last=False"))
        if not 0 <= self.rank < self.world_size:
            what = f"rank {self.rank} of world_size {self.world_size} cannot be"
            raise OptionError(Problem(_LABEL, what, "count ranks from 0 to world_size - 1"))
        if not self.steps_after(EpochPosition()):
            what = f"{self.n_batches(0)} batches do not suffice for {self.world_size} ranks"
            raise OptionError(Problem(_LABEL, what, "choose a smaller batch_size, or drop_last=False"))

    def n_batches(self, epoch: int) -> int:
        """Return how many batches an epoch has, of all ranks together."""
        return len(self.epochs.order(epoch))

    def steps_after(self, place: EpochPosition) -> int:
        """Return how many batches each rank gets from a place in an epoch on."""
        if self.same_mouse:
            left = self._counts(place.epoch) - self._taken(place)
        else:
            left = np.array([self.n_batches(place.epoch) - place.position])
        return int((left // self.world_size if self.drop_last else -(-left // self.world_size)).sum())

    def steps(self, place: EpochPosition) -> Iterator[tuple[int, EpochPosition]]:
        """Yield, from a place in an epoch on, which of its batches this rank gets, and where it stands after that."""
        if self.same_mouse:
            yield from self._steps_of_mice(place)
            return
        n_batches = self.n_batches(place.epoch)
        for step in range(self.steps_after(place)):
            first = place.position + step * self.world_size
            stand = EpochPosition(place.epoch, min(n_batches, first + self.world_size))
            yield (first + self.rank) % n_batches, stand

    def _steps_of_mice(self, place: EpochPosition) -> Iterator[tuple[int, EpochPosition]]:
        order = np.array(self.epochs.order(place.epoch))
        own = [np.flatnonzero(order == mouse) for mouse in range(len(self.epochs.mice))]
        taken, position, passed = self._taken(place), place.position, np.zeros(len(own), np.int64)
        for mouse in order.tolist():
            passed[mouse] += 1
            left = min(self.world_size, len(own[mouse]) - int(taken[mouse]))
            if passed[mouse] <= taken[mouse] or (self.drop_last and left < self.world_size):
                continue
            number = own[mouse][(taken[mouse] + self.rank) % len(own[mouse])]
            taken[mouse], position = taken[mouse] + left, position + left
            yield int(number), EpochPosition(place.epoch, position, tuple(taken.tolist()))

    def batches(self, place: EpochPosition) -> Iterator[BatchPlan]:
        """Yield this rank's batches from a place in an epoch on."""
        return self.epochs.plans(place.epoch, (number for number, _ in self.steps(place)))

    def to_state(self, place: EpochPosition, names: Sequence[str]) -> dict[str, Any]:
        """Return a place in an epoch as a plain dictionary, to be kept beside a model's state.

        Parameters
        ----------
        names
            Names of the stores.
        """
        state: dict[str, Any] = {"epoch": place.epoch, "position": place.position}
        if self.same_mouse:
            state["taken"] = self._taken(place).tolist()
        return state | {"sampling": self.fingerprint(place, names)}

    def from_state(self, state: Mapping[str, Any], names: Sequence[str]) -> EpochPosition:
        """Return the place that `to_state` kept.

        Raises
        ------
        OptionError
            It is not a state, or it is of a loader that samples otherwise.
        """
        place = _place(state)
        if place is None:
            raise OptionError(Problem(_LABEL, f"not a state: {state!r}", _NO_STATE))
        if state.get("sampling") != self.fingerprint(place, names):
            what = (
                "the state is of a loader with other mice, trials, windows, batch size, shuffling, mixing, ranks or "
                "seed, or whose sampler gave other plans"
            )
            raise OptionError(Problem(_LABEL, what, "make the loader as it was; only rank and world_size may differ"))
        fits = place.position <= self.n_batches(place.epoch)
        if self.same_mouse:
            fits = place.position == sum(place.taken) and len(place.taken) == len(self.epochs.mice)
            fits = fits and bool((self._taken(place) <= self._counts(place.epoch)).all())
        if not fits:
            raise OptionError(Problem(_LABEL, f"not a state: {state!r}", _NO_STATE))
        return place

    def fingerprint(self, place: EpochPosition, names: Sequence[str]) -> str:
        """Return a digest of all that the order of batches depends on, but for the number of ranks; as `to_state`."""
        return digest_of([self.epochs.digest(place.epoch if place.position else None), self.same_mouse, *names])

    def _counts(self, epoch: int) -> NDArray[np.int64]:
        return np.bincount(np.array(self.epochs.order(epoch)), minlength=len(self.epochs.mice))

    def _taken(self, place: EpochPosition) -> NDArray[np.int64]:
        return np.array(place.taken or (0,) * len(self.epochs.mice), np.int64)


def digest_of(facts: Any) -> str:
    """Return a digest of plain values."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _place(state: Any) -> EpochPosition | None:
    """Return the place that a state names, if it is one."""
    if not isinstance(state, Mapping):
        return None
    found = cast("Mapping[str, Any]", state)
    epoch, position, taken = found.get("epoch"), found.get("position"), found.get("taken", [])
    numbers = [epoch, position, *taken] if isinstance(taken, (list, tuple)) else [None]
    if not all(isinstance(one, int) and one >= 0 for one in numbers):
        return None
    return EpochPosition(cast("int", epoch), cast("int", position), tuple(cast("list[int]", taken)))

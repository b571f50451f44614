"""Memory for batches, used again as soon as no view of it is left."""

from __future__ import annotations

import math
import mmap
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store.memory import allocate

Allocate = Callable[[int], NDArray[np.uint8]]
_ALIGNMENT = 64  # bytes of a cache line


class BufferPool:
    """Slots of one size; the consumer gets them in the order in which they were taken.

    Parameters
    ----------
    nbytes
        Bytes of a slot.
    limit
        How many slots there are beside those in the consumer's hands: being filled, filled, or free. More are given
        back to the system.
    allocate
        Makes the memory of a slot.
    """

    def __init__(self, nbytes: int, limit: int, allocate: Allocate = allocate) -> None:
        self.nbytes, self._limit, self._allocate = nbytes, limit, allocate
        self._lock, self._free = threading.Lock(), deque[_Returning]()
        self._taken, self._handed_out = deque[weakref.ref[_Lease]](), list[weakref.ref[_Lease]]()

    def take(self) -> NDArray[np.uint8]:
        """Return a slot: one that is free, else a fresh one.

        Returns
        -------
        ndarray
            (nbytes,) uint8. It returns to the pool when the last view of it has died, whoever holds it: an array, a
            tensor, or anything else that keeps a reference to the memory that it shows.
        """
        try:
            memory = self._free.popleft().memory
        except IndexError:
            memory = self._allocate(self.nbytes)
        lease = _Lease(memory)
        with self._lock:
            self._taken.append(weakref.ref(lease))
            self._settle()
        return np.asarray(lease)

    def hand_out(self, count: int = 1) -> None:
        """Note that so many of the slots that were taken are in the consumer's hands, or no longer needed."""
        with self._lock:
            self._handed_out += [self._taken.popleft() for _ in range(count)]
            self._settle()

    def _settle(self) -> None:
        """Let those in the consumer's hands return for which there is room, the first first; the others will not.

        The first are likely to be let go of first. One that is kept while later ones go would take the room of all.
        """
        leases = [one() for one in self._handed_out]
        last_dead = max((place for place, lease in enumerate(leases) if lease is None), default=0)
        for lease in leases[:last_dead]:
            if lease is not None:
                lease.kept = True
        alive = [lease for lease in leases if lease is not None]
        alive.sort(key=lambda lease: lease.kept)
        self._handed_out = [weakref.ref(lease) for lease in alive]
        room = self._limit - len(self._taken) - len(self._free)
        for place, lease in enumerate(alive):
            lease.give_back_to(self._free if place < room else None)


class _Returning(weakref.ref["_Lease"]):
    """The memory of a slot, and where it goes when the last view has died.

    In C alone: in a finalizer of ours, which could run in the middle of anything, an interrupt would get lost.
    """

    memory: NDArray[np.uint8]


class _Lease:
    """Owns the memory of a slot while views of it live: numpy makes it the base of the first, and so of all of them.

    Attributes
    ----------
    kept
        Whether the consumer let go of a later one before this.
    """

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        self._memory = memory
        self.kept = False
        self._returning: _Returning | None = None

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return dict(self._memory.__array_interface__)

    def give_back_to(self, free: deque[_Returning] | None) -> None:
        """Have the memory go to these when the last view has died, or back to the system."""
        if free is None:
            self._returning = None
        elif self._returning is None:
            self._returning = _Returning(self, free.append)
            self._returning.memory = self._memory


class Carver:
    """Cuts arrays out of a slot, one behind another.

    Parameters
    ----------
    slot
        Slot from `BufferPool.take`.
    """

    def __init__(self, slot: NDArray[np.uint8]) -> None:
        self._slot, self._end = slot, 0

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the next array, of undefined values."""
        begun, nbytes = self._end, array_nbytes(shape, dtype)
        self._end = begun + padded(nbytes)
        return self._slot[begun : begun + nbytes].view(dtype).reshape(shape)


def mapped(nbytes: int) -> int:
    """Return how many bytes a slot takes of the system, which gives whole pages."""
    return -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE


def array_nbytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return the bytes of an array."""
    return math.prod(shape) * dtype.itemsize


def padded(nbytes: int) -> int:
    """Return how many bytes an array takes in a slot."""
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT

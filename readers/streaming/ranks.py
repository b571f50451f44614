"""Which part of an epoch's batches this process takes, where several train together."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...store import OptionError, Problem
from ...store.arguments import check_count
from .options import LABEL


@dataclass(frozen=True)
class Share:
    """What a process takes; attributes as `rank` and `world_size` of `TrialLoader`."""

    rank: int = 0
    world_size: int = 1


def checked_share(rank: int | None, world_size: int | None) -> Share | None:
    """Return the share that was asked for; None to take it from `torch.distributed`.

    Raises
    ------
    OptionError
        A number does not fit, or only one of both is given.
    """
    rank = None if rank is None else check_count("rank", rank, 0)
    world_size = None if world_size is None else check_count("world_size", world_size, 1)
    if rank is None and world_size is None:
        return None
    if rank is None or world_size is None:
        what = f"rank={rank} and world_size={world_size} do not go together"
        raise OptionError(Problem(LABEL, what, "give both, or none to take them from torch.distributed"))
    return Share(rank, world_size)


def present_share(given: Share | None) -> Share:
    """Return this process's share: the one given, else that of `torch.distributed`, else everything.

    Raises
    ------
    OptionError
        Another process would take the same batches by mistake: the rank is that of another one, or `torchrun` started
        several, and `torch.distributed` does not know yet which this is.
    """
    torch, here = sys.modules.get("torch"), processes()
    if given is None and torch is not None and here == Share():
        _check_alone(torch)
    if given is None or given == Share() or given.world_size != here.world_size or given == here:
        return here if given is None else given
    what = f"rank {given.rank} of {given.world_size} was given to rank {here.rank}, so that two would have its batches"
    raise OptionError(Problem(LABEL, what, "leave out rank and world_size, or give each process its own rank"))


def processes() -> Share:
    """Return which of how many processes this is to `torch.distributed`; the only one if that is not in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return Share()
    return Share(torch.distributed.get_rank(), torch.distributed.get_world_size())


_begun = itertools.count()
"""Epochs that this process began together with others, of all loaders."""


def check_agreement(state: Mapping[str, Any]) -> None:
    """Check that all processes begin the same epoch of alike loaders, as far as they have begun it.

    Parameters
    ----------
    state
        State of the loader, which should be the same in all.

    Raises
    ------
    OptionError
        A process that came before has another one.

    Notes
    -----
    The first process to come leaves its state in the store by which those of `torch.distributed` know each other: so
    nobody waits for a process that does not come.
    """
    store, key = sys.modules["torch"].distributed.distributed_c10d._get_default_store(), f"trialpack/{next(_begun)}"
    if store.add(f"{key}/processes", 1) == 1:
        store.set(key, json.dumps(state))
        return
    found = json.loads(store.get(key))
    if found["sampling"] != state["sampling"]:
        what = "another process has other mice, trials, windows, batch size, shuffling, mixing, ranks, seed or plans"
    elif found != state:
        there, here = (f"epoch {one['epoch']} from batch {one['position']} on" for one in (found, state))
        what = f"this process begins {here}, another one {there}"
    else:
        return
    advice = "make alike loaders, iterated in the same order; rank=0, world_size=1 for one that not all processes have"
    raise OptionError(Problem(LABEL, what, advice))


def _check_alone(torch: Any) -> None:
    """Check that `torchrun` started no more processes than this."""
    distributed = torch.distributed
    if not distributed.is_available() or distributed.is_initialized() or not distributed.is_torchelastic_launched():
        return
    # How many they are, it says in this way only.
    started = os.environ.get("WORLD_SIZE", "1")
    if started != "1":
        what = f"torchrun started {started} processes, and all would have the same batches"
        advice = "call torch.distributed.init_process_group first, or give rank and world_size"
        raise OptionError(Problem(LABEL, what, advice))


def dealt_out() -> int:
    """Return among how many processes accelerate deals out what one of them reads of a `DataLoader`; 1 without it."""
    accelerate = sys.modules.get("accelerate.state")
    return processes().world_size if accelerate is not None and accelerate.is_initialized() else 1


def check_whole(share: Share, mice: int) -> None:
    """Check that what is dealt out are whole epochs, of one mouse.

    Raises
    ------
    OptionError
        The process that reads would leave out the shares of others; or batches of several mice would become one.
    """
    if dealt_out() > 1 and (share != Share() or mice > 1):
        what = "accelerate deals out the batches of a DataLoader among the processes itself"
        advice = "iterate over the loader itself, or make it of one mouse with rank=0, world_size=1"
        raise OptionError(Problem(LABEL, what, advice))

"""Which batches a process takes of an epoch: its share, or all if asked to, and never another's by mistake."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from trialpack.convert.sample import write_sample
from trialpack.readers import Mouse, TrialLoader
from trialpack.store import OptionError

from .streams import pack

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> Mouse:
    place: Path = tmp_path_factory.mktemp("mice")
    return pack(write_sample(place / "source", mouse="A", trials=12, neurons=5, image_shape=(4, 6)), place / "stores")


def load(mouse: Mouse, **options: Any) -> TrialLoader:
    chosen = {"tier": None, "batch_size": 1, "window": 30, "windows": "random", "output": "numpy"} | options
    return TrialLoader(mouse, **chosen)


def trials(loader: TrialLoader) -> list[int]:
    return [int(batch.trial_id[0]) for batch in loader]


def take_part(monkeypatch: pytest.MonkeyPatch, rank: int, world_size: int) -> None:
    """Have `torch.distributed` say that it is initialized, with a store of its own."""
    store = torch.distributed.HashStore()
    monkeypatch.setattr(torch.distributed.distributed_c10d, "_get_default_store", lambda: store)
    for name, value in {"is_initialized": True, "get_rank": rank, "get_world_size": world_size}.items():
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)


def test_ranks_of_torch_distributed(mouse: Mouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it says at each `iter`: an epoch that was begun goes on as it began."""
    options: dict[str, Any] = {"shuffle": True, "seed": 3}
    whole, loader = load(mouse, **options), load(mouse, **options)
    epochs = [trials(whole) for _ in range(4)]
    assert trials(loader) == epochs[0] and len(loader) == 12
    begun = iter(loader)
    first = [int(next(begun).trial_id[0])]
    take_part(monkeypatch, 1, 5)
    assert len(loader) == 3 and [*first, *(int(batch.trial_id[0]) for batch in begun)] == epochs[1]
    assert trials(loader) == [*epochs[2][1::5], epochs[2][11]][:3]
    take_part(monkeypatch, 0, 2)
    assert trials(loader) == epochs[3][::2]


def test_what_is_given_stays(mouse: Mouse, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = trials(load(mouse))
    take_part(monkeypatch, 1, 4)
    assert trials(load(mouse, rank=0, world_size=1)) == everything
    assert trials(load(mouse, rank=1, world_size=4)) == everything[1::4]
    # Pairs of processes that share a model take the same batches.
    assert trials(load(mouse, rank=0, world_size=2)) == everything[::2]


def test_the_rank_of_another_process_is_refused(mouse: Mouse, monkeypatch: pytest.MonkeyPatch) -> None:
    take_part(monkeypatch, 1, 2)
    loader = load(mouse, rank=0, world_size=2)
    for use in (iter, len, TrialLoader.peek):
        with pytest.raises(OptionError, match="rank 0 of 2 was given to rank 1, .*; leave out rank and world_size"):
            use(loader)
    assert "12 batches" in repr(load(mouse))


def test_processes_that_do_not_know_of_each_other_are_refused(mouse: Mouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `torchrun` starts them, before torch.distributed is initialized."""
    loader, everything = load(mouse), trials(load(mouse))
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for use in (iter, len):
        with pytest.raises(OptionError, match="torchrun started 2 processes.*; call .*init_process_group"):
            use(loader)
    assert "batches of 1" in repr(loader)
    assert trials(load(mouse, rank=0, world_size=1)) == everything
    take_part(monkeypatch, 0, 2)
    assert trials(loader) == everything[::2]
    monkeypatch.undo()
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert trials(loader) == everything


def test_ranks_too_many_for_an_epoch_are_refused(mouse: Mouse, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = load(mouse, drop_last=True)
    take_part(monkeypatch, 0, 13)
    for _ in range(2):
        with pytest.raises(OptionError, match="12 batches do not suffice for 13 ranks"):
            iter(loader)


DISAGREE: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 1}, "another process has other mice, trials, .* seed or plans; make alike loaders"),
    "batch size": ({"batch_size": 2}, "another process has other mice, trials"),
    "trials": ({"trials": [0]}, "another process has other mice, trials"),
}


@pytest.mark.parametrize("case", DISAGREE)
def test_ranks_that_disagree_are_refused(mouse: Mouse, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """The second to begin an epoch learns of it, as the processes of one machine come one after the other."""
    options, text = DISAGREE[case]
    take_part(monkeypatch, 0, 2)
    monkeypatch.setattr("trialpack.readers.streaming.ranks._begun", itertools.count())
    assert trials(load(mouse, shuffle=True))
    monkeypatch.setattr("trialpack.readers.streaming.ranks._begun", itertools.count())
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    with pytest.raises(OptionError, match=text):
        trials(load(mouse, **{"shuffle": True} | options))
    # One that was told its rank is none of theirs.
    assert trials(load(mouse, shuffle=True, rank=0, world_size=1, **options))


def test_ranks_in_other_epochs_are_refused(mouse: Mouse, monkeypatch: pytest.MonkeyPatch) -> None:
    take_part(monkeypatch, 0, 2)
    monkeypatch.setattr("trialpack.readers.streaming.ranks._begun", itertools.count())
    for _ in range(2):
        trials(load(mouse, shuffle=True))
    monkeypatch.setattr("trialpack.readers.streaming.ranks._begun", itertools.count())
    loader = load(mouse, shuffle=True)
    trials(loader)
    with pytest.raises(
        OptionError, match="this process begins epoch 1 from batch 0 on, another one epoch 0 from batch 0"
    ):
        trials(loader)


def test_a_seed_that_may_differ_among_ranks_is_refused(mouse: Mouse, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = load(mouse, seed=None, shuffle=True)
    assert len(trials(loader)) == 12
    take_part(monkeypatch, 0, 2)
    with pytest.raises(OptionError, match="seed=None takes the seed of torch, .*; give a number, the same to all"):
        iter(loader)
    assert len(trials(load(mouse, seed=None, rank=0, world_size=1))) == 12

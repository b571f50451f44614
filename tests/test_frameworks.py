"""Frameworks take loaders and batches as they are, and go on in the middle of an epoch; `docs/frameworks.md` shows how.

Each is skipped where it is not installed.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.convert.sample import write_sample
from trialpack.readers import Batch, Mouse, TrialLoader, open_mouse

from .streams import as_numpy, pack

torch = pytest.importorskip("torch", reason="torch is not installed")
EPOCHS = 3


@pytest.fixture(scope="module")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> Mouse:
    place = tmp_path_factory.mktemp("mice")
    return pack(write_sample(place / "source", mouse="A", trials=11, neurons=20, image_shape=(4, 6)), place / "stores")


def load(mouse: Mouse, **options: Any) -> TrialLoader:
    return TrialLoader(mouse, **{"tier": None, "batch_size": 2, "window": 30, "shuffle": True, "threads": 1} | options)


def trials(batches: Any) -> list[list[int]]:
    return [batch.trial_id.tolist() for batch in batches]


@pytest.fixture(scope="module")
def expected(mouse: Mouse) -> list[list[int]]:
    """The batches of some epochs, of six batches each; the last one of an epoch has one trial."""
    loader = load(mouse)
    found = [one for _ in range(EPOCHS) for one in trials(loader)]
    assert len(found) == EPOCHS * 6 and [len(one) for one in found[:6]] == [2, 2, 2, 2, 2, 1]
    return found


STEPS = [0, 1, 4, 6, 7, 11, 12]
"""After how many batches a run is stopped: within epochs, and at their ends."""


def go_on(loader: Any, came: list[list[int]], many: int) -> list[list[int]]:
    """Return what came with all that follows, epoch after epoch."""
    while len(came) < many:
        came += trials(loader)
    return came


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("ended", [False, True], ids=["within the loop", "after the loop"])
def test_torchdata_goes_on(mouse: Mouse, expected: list[list[int]], steps: int, ended: bool) -> None:
    """Also where the state is asked for when an epoch is over."""
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")

    def make() -> Any:
        return stateful.StatefulDataLoader(load(mouse).dataset(), batch_size=None)

    first, came, state = make(), list[list[int]](), None
    while len(came) < steps:
        for batch in first:
            came += trials([batch])
            if len(came) == steps and not ended:
                state = first.state_dict()
                break
    state = first.state_dict() if state is None else state
    again = make()
    again.load_state_dict(state)
    assert go_on(again, came, len(expected)) == expected


@pytest.fixture
def lightning(monkeypatch: pytest.MonkeyPatch) -> Any:
    found = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

    class Model(found.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.came = torch.nn.Linear(1, 1), list[list[int]]()

        def training_step(self, batch: Batch, number: int) -> Any:
            assert isinstance(batch, Batch) and batch.mouse and batch.tier
            self.came += trials([batch])
            return self.layer(batch.responses.mean()[None]).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=1e-6)

    def train(loader: TrialLoader, place: Path, ckpt_path: Path | None = None, **options: Any) -> list[list[int]]:
        model, quiet = Model(), {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        found.Trainer(accelerator="cpu", default_root_dir=place, **quiet, **options).fit(
            model, loader, ckpt_path=ckpt_path
        )
        return model.came

    return train


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("steps", [1, 4, 6, 7, 12])
def test_lightning_goes_on(mouse: Mouse, expected: list[list[int]], lightning: Any, steps: int, tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint

    keep = ModelCheckpoint(tmp_path, filename="kept", every_n_train_steps=steps)
    came = lightning(load(mouse), tmp_path, max_epochs=EPOCHS, max_steps=steps, callbacks=[keep])
    rest = lightning(load(mouse), tmp_path, tmp_path / "kept.ckpt", max_epochs=EPOCHS, enable_checkpointing=False)
    assert came + rest == expected


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("epochs", [1, 2])
def test_lightning_goes_on_after_an_epoch(
    mouse: Mouse, expected: list[list[int]], lightning: Any, epochs: int, tmp_path: Path
) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint

    keep = ModelCheckpoint(tmp_path, filename="kept")
    came = lightning(load(mouse), tmp_path, max_epochs=epochs, callbacks=[keep])
    rest = lightning(load(mouse), tmp_path, tmp_path / "kept.ckpt", max_epochs=EPOCHS, enable_checkpointing=False)
    assert came + rest == expected


ACCELERATED = """
import json, sys
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader
from trialpack.readers import Batch, TrialLoader, open_mouse
how, steps, epochs, options = json.loads(sys.argv[2])
mouse = open_mouse(sys.argv[1])
mice = [mouse] * options.pop("mice", 1)
accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(use_stateful_dataloader=True))
def make():
    loader = TrialLoader(mice, tier=None, batch_size=2, window=30, shuffle=True, threads=1, **options)
    return accelerator.prepare(loader if how == "bare" else DataLoader(loader.dataset(), batch_size=None))
loader, came, state = make(), [], None
for epoch in range(epochs):
    for batch in loader:
        assert isinstance(batch, Batch)
        came.append(batch.trial_id.tolist())
        if len(came) == steps:
            state = loader.state_dict()
            break
    if state:
        loader, state = make(), json.loads(json.dumps(state))
        loader.load_state_dict(state)
        came += [batch.trial_id.tolist() for batch in loader]
        state = None
accelerator.end_training()
print(json.dumps(came))
"""


def run(script: str, mouse: Mouse, processes: int, *what: Any) -> list[subprocess.CompletedProcess[str]]:
    """Train in processes of their own, and return how they ended."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-c", script, str(mouse.path), json.dumps(what)]
    running = list[subprocess.Popen[str]]()
    for rank in range(processes):
        several = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": processes,
            "LOCAL_WORLD_SIZE": processes,
            "NODE_RANK": 0,
        }
        several |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
        env = {**os.environ, **{name: str(value) for name, value in several.items() if processes > 1}}
        running.append(subprocess.Popen(command, env=env, stdout=-1, stderr=-1, text=True))
    ended = list[subprocess.CompletedProcess[str]]()
    for one in running:
        try:
            out, err = one.communicate(timeout=120)
        finally:
            one.kill()
        ended.append(subprocess.CompletedProcess(one.args, one.returncode, out, err))
    return ended


def came(ended: list[subprocess.CompletedProcess[str]]) -> list[list[list[int]]]:
    assert all(one.returncode == 0 for one in ended), [one.stderr[-2000:] for one in ended]
    return [json.loads(one.stdout.splitlines()[-1]) for one in ended]


WHOLE = {"rank": 0, "world_size": 1}


@pytest.mark.once
@pytest.mark.parametrize("how", ["bare", "wrapped"])
@pytest.mark.parametrize("steps", [2, 6, 9])
def test_accelerate_in_one_process(mouse: Mouse, expected: list[list[int]], how: str, steps: int) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    (found,) = came(run(ACCELERATED, mouse, 1, how, steps, EPOCHS, {}))
    assert len(found) >= 12 and found[: len(expected)] == expected[: len(found)]


@pytest.mark.once
@pytest.mark.parametrize("steps", [1, 3])
def test_accelerate_in_two_processes(mouse: Mouse, expected: list[list[int]], steps: int) -> None:
    """Each takes every other batch of a loader."""
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    found = came(run(ACCELERATED, mouse, 2, "bare", steps, 2, {}))
    assert [one for step in zip(*found, strict=True) for one in step] == expected[:12]


@pytest.mark.once
@pytest.mark.parametrize("steps", [1, 2])
def test_accelerate_deals_out_all_batches(mouse: Mouse, expected: list[list[int]], steps: int) -> None:
    """Of two batches each process gets half of the trials; of three at the end, as many and one once more."""
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    found = came(run(ACCELERATED, mouse, 2, "wrapped", steps, 2, WHOLE))
    steps_of = [sum(step, []) for step in zip(*found, strict=True)]
    assert len(steps_of) == 6
    for number, step in enumerate(steps_of):
        wanted = expected[2 * number] + expected[2 * number + 1]
        assert step[: len(wanted)] == wanted and len(step) in (4, len(wanted))


@pytest.mark.once
@pytest.mark.parametrize("options", [{}, {"mice": 2, **WHOLE}], ids=str)
def test_accelerate_does_not_deal_out_parts(mouse: Mouse, options: dict[str, Any]) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    for one in run(ACCELERATED, mouse, 2, "wrapped", 0, 1, options):
        assert one.returncode != 0
        assert "iterate over the loader itself, or make it of one mouse with rank=0, world_size=1" in one.stderr


LIGHTNING = """
import json, logging, sys
import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from trialpack.readers import TrialLoader, open_mouse
place, steps = json.loads(sys.argv[2])
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.came = torch.nn.Linear(1, 1), []
    def training_step(self, batch, number):
        self.came.append(batch.trial_id.tolist())
        return self.layer(batch.responses.mean()[None]).sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-6)
def train(ckpt_path=None, **options):
    loader = TrialLoader(open_mouse(sys.argv[1]), tier=None, batch_size=2, window=30, shuffle=True, threads=1)
    quiet = dict(logger=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=place)
    model = Model()
    trainer = lightning.Trainer(accelerator="cpu", strategy="ddp", devices=2, max_epochs=2, **quiet, **options)
    trainer.fit(model, loader, ckpt_path=ckpt_path)
    return model.came
came = train(max_steps=steps, callbacks=[ModelCheckpoint(place, filename="kept", every_n_train_steps=steps)])
print(json.dumps(came + train(place + "/kept.ckpt", enable_checkpointing=False)))
"""


@pytest.mark.once
@pytest.mark.parametrize("steps", [2])
def test_lightning_in_two_processes(mouse: Mouse, expected: list[list[int]], steps: int, tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="lightning is not installed")
    found = came(run(LIGHTNING, mouse, 2, str(tmp_path), steps))
    assert [one for step in zip(*found, strict=True) for one in step] == expected[:12]


DISTRIBUTED = """
import json, sys
import torch
from torch.nn.parallel import DistributedDataParallel
from trialpack.readers import TrialLoader, open_mouse
other, ranks, options = json.loads(sys.argv[2])
mice = [open_mouse(sys.argv[1]), open_mouse(other)]
torch.distributed.init_process_group("gloo")
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.readouts = torch.nn.ModuleDict({mouse.name: torch.nn.Linear(1, 1, bias=False) for mouse in mice})
    def forward(self, batch):
        return (1 + batch.trial_id.sum()) * self.readouts[batch.mouse].weight.sum()
model, found = DistributedDataParallel(Model(), find_unused_parameters=True), []
options |= {"seed": torch.distributed.get_rank()} if options.pop("unlike", False) else {}
for batch in TrialLoader(mice, tier=None, batch_size=2, window=30, shuffle=True, threads=1, ranks=ranks, **options):
    model.zero_grad()
    model(batch).backward()
    grads = {name: one.weight.grad for name, one in model.module.readouts.items()}
    numbers = {name: None if grad is None else grad.item() for name, grad in grads.items()}
    found.append([batch.mouse, 1 + batch.trial_id.sum().item(), numbers])
print(json.dumps(found))
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Mouse:
    place = tmp_path_factory.mktemp("mice")
    return pack(write_sample(place / "source", mouse="B", trials=9, neurons=7, image_shape=(4, 6)), place / "stores")


@pytest.mark.once
@pytest.mark.parametrize("ranks", ["any", "same"])
def test_readouts_of_several_mice_in_two_processes(mouse: Mouse, other: Mouse, ranks: str) -> None:
    """As the document says: gradients are means over all processes, and None where no process has the mouse."""
    both: Any = came(run(DISTRIBUTED, mouse, 2, str(other.path), ranks, {}))
    assert len(both[0]) == len(both[1]) > 4
    for one, two in zip(*both, strict=True):
        assert (one[0] == two[0]) == (ranks == "same") and one[2] == two[2]
        for name, found in one[2].items():
            own = [value for came_of, value, _ in (one, two) if came_of == name]
            assert found == (sum(own) / 2 if own else None)


@pytest.mark.once
def test_processes_with_other_seeds_are_refused(mouse: Mouse, other: Mouse) -> None:
    ended = run(DISTRIBUTED, mouse, 2, str(other.path), "any", {"unlike": True})
    assert any("another process has other mice, trials" in one.stderr for one in ended)


def test_a_compiled_function_takes_batches(mouse: Mouse) -> None:
    """In one graph, as a mapping, by attributes and as a named tuple; once for all batches of a shape."""
    graphs = list[Any]()

    def count(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    def score(batch: Batch) -> Any:
        return (batch["responses"].mean() - batch.videos.mean()) * len(batch.point("behavior")), batch.mouse

    batches = list(load(mouse, drop_last=True))
    batches[0].point("behavior")
    compiled = torch.compile(score, backend=count, fullgraph=True)
    for batch in batches:
        found, name = compiled(batch)
        assert torch.allclose(found, score(batch)[0]) and name == mouse.name
    assert len(graphs) == 1


@pytest.fixture
def jax() -> Any:
    return pytest.importorskip("jax", reason="jax is not installed")


def test_jax_takes_batches(mouse: Mouse, jax: Any) -> None:
    """Traced once for all batches of a shape, whatever tiers they are of, and with the name of the mouse."""
    traced = list[Any]()

    @jax.jit
    def half(batch: Batch) -> Any:
        traced.append((batch.mouse, batch.tier))
        return batch, batch["responses"].sum() + batch.videos.sum()

    loader = load(mouse, output="numpy", drop_last=True)
    for batch in loader:
        same, total = half(batch)
        assert isinstance(same, Batch) and (same.mouse, same.tier) == (mouse.name, None)
        assert all(np.array_equal(same[name], batch[name]) for name in batch)
        np.testing.assert_allclose(total, batch.responses.sum() + batch.videos.sum(), rtol=1e-4)
    assert traced == [(mouse.name, None)]
    there = jax.device_put(batch)
    assert all(isinstance(value, jax.Array) for value in there.values())
    assert there.point().responses is there.responses


@pytest.mark.parametrize("how", ["device_put", "dlpack", "dlpack of torch"])
def test_what_jax_holds_is_not_overwritten(mouse: Mouse, jax: Any, how: str) -> None:
    """Where it shares the memory of a batch, that is not used again."""
    put = jax.device_put if how == "device_put" else jax.dlpack.from_dlpack
    loader = load(mouse, output="torch" if how == "dlpack of torch" else "numpy", cache="none", memory="40MB")
    held, before = list[Any](), list[Any]()
    for batch in loader:
        before.append(as_numpy(batch.responses).copy())
        held.append(put(batch.responses))
    del batch
    for _ in range(3):
        for batch in loader:
            batch.responses[...] = -1
    for one, values in zip(held, before, strict=True):
        np.testing.assert_array_equal(np.asarray(one), values)
    assert len(held) == len(loader)


def test_jax_that_is_imported_later(mouse: Mouse, jax: Any) -> None:
    """Nothing imports it but who uses it."""
    code = """
import sys
from trialpack.readers import TrialLoader, open_mouse
loader = TrialLoader(open_mouse(sys.argv[1]), tier=None, batch_size=2, window=30, output="numpy")
loader.peek()
assert not {"jax", "torch"} & set(sys.modules)
import jax
assert type(jax.device_put(loader.peek()).responses).__module__ != "numpy"
"""
    command = [sys.executable, "-c", code, str(mouse.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_opening_again_goes_on(mouse: Mouse, expected: list[list[int]]) -> None:
    """The loops of the field's trainers, with what `accelerator.register_for_checkpointing` keeps."""
    loader, again = load(mouse), load(open_mouse(mouse.path))
    iterator = iter(loader)
    found = trials(next(iterator) for _ in range(4))
    again.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    assert found + trials(again) == expected[:6]

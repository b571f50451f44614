"""Some trials at once: what dask gives, from any chunks and dtypes, in any order."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack import CorruptStoreError, Mouse, OptionError, ResourceError, convert_mouse, open_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import arrays
from trialpack.store.tasks import available_memory

from .mice import assert_same_bits
from .own_mice import integers, write_own
from .streams import CUTS, pack

SOURCES: dict[str, dict[str, Any]] = {
    "dynamic": {"mouse": "A", "trials": 12, "neurons": 20, "image_shape": (4, 6)},
    "static": {"mouse": "P1", "trials": 30, "neurons": 7, "image_shape": (5, 7)},
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("sources")
    return {kind: write_sample(place, **arguments) for kind, arguments in SOURCES.items()}


def computed(mouse: Mouse, name: str, **choice: Any) -> Any:
    return mouse.dask(name, **choice).compute(scheduler="synchronous")


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("codec", ["fast", "none"])
def test_it_is_what_dask_gives(sources: dict[str, Path], tmp_path: Path, kind: str, cut: str, codec: str) -> None:
    mouse = pack(sources[kind], tmp_path, cut, codec=codec)
    ids = mouse.trials.index.tolist()
    for name in mouse.variables:
        choices: list[dict[str, Any]] = [{}, {"tier": "train"}, {"trials": [ids[5], ids[0], ids[5], ids[-1]]}]
        if name == "responses":
            choices += [{"neurons": [-1, 3, 3]}, {"tier": "train", "neurons": [5]}]
        for choice in choices:
            assert_same_bits(mouse.array(name, **choice), computed(mouse, name, **choice), f"{name} {choice}")


def test_any_variable(tmp_path: Path) -> None:
    """Integers, one number a trial, a variable that a trial lacks, trials of different lengths."""
    source = write_own(
        tmp_path / "own",
        {
            "responses": lambda trial: integers(5, 30 + trial, dtype=np.int16),
            "lever": lambda trial: np.float64(trial),
            "gaze": lambda trial: integers(2, 30 + trial, seed=trial),
        },
        toml="[variables.gaze]\noptional = true\nmissing = 7\n",
        lacking=[("gaze", 3)],
    )
    mouse = open_mouse(convert_mouse(source, tmp_path / "stores").store)
    for name in mouse.variables:
        assert_same_bits(mouse.array(name), computed(mouse, name))
    assert (mouse.array("gaze", trials=[3]) == 7).all()


def test_a_mouse_of_another_process_reads_it(sources: dict[str, Path], tmp_path: Path) -> None:
    mouse = pack(sources["dynamic"], tmp_path)
    assert_same_bits(pickle.loads(pickle.dumps(mouse)).array("behavior"), mouse.array("behavior"))


def test_what_there_is_not_is_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    mouse = pack(sources["dynamic"], tmp_path)
    for wrong, text in (
        ({"name": "response"}, "no variable 'response'"),
        ({"name": "videos", "neurons": [1]}, "videos has no neurons; choose neurons of responses"),
        ({"name": "responses", "tier": "test"}, "no trials of tier 'test'"),
        ({"name": "responses", "neurons": [20]}, "no position 20"),
    ):
        with pytest.raises(OptionError, match=text):
            mouse.array(**wrong)
    with pytest.raises(OptionError, match="^variable: expected "):
        mouse.array(["responses"])


def test_damage_is_named(sources: dict[str, Path], tmp_path: Path) -> None:
    mouse = pack(sources["dynamic"], tmp_path)
    name = mouse.recording.array("responses").shard_path(0)
    shard = mouse.path / name
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CorruptStoreError, match=f"{name}: trial 0: "):
        mouse.array("responses")
    mouse.array("behavior")


def test_more_than_the_memory_is_refused(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mouse = pack(sources["dynamic"], tmp_path)
    nbytes = mouse.array("responses").nbytes
    monkeypatch.setattr(arrays, "available_memory", lambda: nbytes - 1)
    with pytest.raises(ResourceError, match="responses of 12 trials take 311.0 kB of memory; 311.0 kB are available"):
        mouse.array("responses")
    monkeypatch.setattr(arrays, "available_memory", lambda: nbytes)
    assert mouse.array("responses").nbytes == nbytes


def test_the_memory_that_is_available() -> None:
    found = available_memory()
    assert found is None or found > 1 << 20

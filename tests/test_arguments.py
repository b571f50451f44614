"""Every public function checks its arguments first: one line names argument, what was expected and what was found."""

import json
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trialpack
from trialpack import Mouse, OptionError, TrialLoader
from trialpack.convert import compare_with_source, open_source
from trialpack.readers import save_statistics, summarize, trial_figure
from trialpack.store.arguments import check_bytes, check_count, check_flag

from .command_line import run

Call = Callable[..., Any]
PATHS = (None, 5, b"name", ["name"])
WORDS = ("other", None, 5, True, ["fast"], np.array(["fast", "none"]))
FLAGS = ("no", "", 0, 1, None, np.array([True, False]))
COUNTS = (0, -1, 2.0, "2", True, np.True_, np.float64(2), [2])
BYTES = (None, True, "much", "1e999GB", float("nan"), float("inf"), -1, "-1GB", [1], np.array([1, 2]))
LISTENERS = ("yes", print, 5)
# Function -> argument -> values that it must not have. None is no value for those whose default is not None.
BAD: dict[str, dict[str, tuple[Any, ...]]] = {
    "plan_mouse": {
        "source": PATHS,
        "to": PATHS,
        "precision": (*WORDS, "float16", np.float32),
        "max_error": (0.1, "0.1", ["responses"], np.float64(0.1)),
        "codec": (*WORDS, "zip"),
        "statistics": FLAGS,
        "schema": PATHS[1:],
    },
    "export_mouse": {
        "store": PATHS,
        "to": PATHS,
        "format": (None, 5, ["npy"]),
        "workers": COUNTS,
        "progress": LISTENERS,
        "statistics_pkl": FLAGS,
    },
    "verify_mouse": {
        "store": PATHS,
        "source": PATHS[1:],
        "quick": FLAGS,
        "workers": COUNTS,
        "progress": LISTENERS,
    },
    "train_statistics": {
        "mouse": (*PATHS, "name"),
        "tier": (5, 1.5),
        "max_memory": BYTES,
        "threads": COUNTS,
        "progress": LISTENERS,
    },
    "open_mouse": {"path": PATHS, "check": (*WORDS, "Full")},
    "open_mice": {"paths": (None, 5), "check": WORDS},
    "TrialLoader": {
        "mice": (None, 5),
        "tier": (5, 1.5),
        "batch_size": (*COUNTS, None),
        "window": COUNTS,
        "stride": (*COUNTS, None),
        "windows": [one for one in WORDS if one is not None],
        "hop": COUNTS,
        "samples_per_trial": (*COUNTS, None),
        "repeats": FLAGS,
        "sampler": (5, "trials", iter([])),
        "ranks": WORDS,
        "mixed_kinds": FLAGS,
        "skip_frames": (-1, 2.0, "2", None, True),
        "max_frames": COUNTS,
        "stimulus_size": (36, 0.25, "36x64", (1, 2, 3), {"height": 36}),
        "crop": (36, "middle", np.array([3, 4])),
        "transform": ("flip", 5),
        "shuffle": FLAGS,
        "shuffle_shards": COUNTS,
        "seed": (-1, 2.0, "2", True),
        "output": WORDS,
        "threads": COUNTS,
        "memory": BYTES,
        "cache": WORDS,
        "rank": (-1, 2.0, "2", True),
        "world_size": COUNTS,
        "drop_last": FLAGS,
        "report": ("print", 5),
        "withheld": WORDS,
    },
    "field_loaders": {
        "mice": (None, 5),
        "batch_size": (*COUNTS, None),
        "style": [one for one in WORDS if one is not None],
        "window": COUNTS,
        "threads": COUNTS,
        "memory": BYTES,
        "seed": (-1, 2.0, "2", True),
    },
}
BAD["predict_sizes"] = {
    "source": PATHS,
    "plan": (None, "plan", 5, {}),
    "workers": COUNTS,
    "max_memory": BYTES,
    "progress": LISTENERS,
}
BAD["push_store"] = {
    "store": PATHS,
    "url": (None, 5),
    "clean": FLAGS,
    "race_check": FLAGS,
    "in_flight": COUNTS,
    "max_memory": BYTES,
    "progress": LISTENERS,
}
BAD["pull_store"] = {"url": (None, 5), "to": PATHS, "in_flight": COUNTS, "progress": LISTENERS}
if find_spec("obstore") is None:
    del BAD["push_store"], BAD["pull_store"]
if find_spec("torch") is None:
    del BAD["field_loaders"]  # which gives nothing but tensors
BAD["convert_mouse"] = BAD["plan_mouse"] | {
    "workers": COUNTS,
    "scheduler": (5, ["tcp://127.0.0.1:1"]),
    "max_memory": BYTES,
    "replace": FLAGS,
    "verify": FLAGS,
    "progress": LISTENERS,
}


@pytest.fixture(scope="module")
def store(sample_mice: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trialpack.convert_mouse(sample_mice["static_folder"], tmp_path_factory.mktemp("stores")).store


def object_store(kind: str, *place: Path) -> Any:
    """Make a store of obstore, where that is installed."""
    return getattr(import_module("obstore.store"), kind)(*place) if find_spec("obstore") else None


@pytest.fixture
def arguments(store: Path, sample_mice: dict[str, Path], tmp_path: Path) -> dict[str, dict[str, Any]]:
    """What each function needs beside the argument that is tried."""
    source, mouse = sample_mice["static_folder"], trialpack.open_mouse(store)
    return {
        "plan_mouse": {"source": source, "to": tmp_path / "out"},
        "predict_sizes": {"source": source, "plan": trialpack.plan_mouse(source, tmp_path / "out")},
        "convert_mouse": {"source": source, "to": tmp_path / "out"},
        "export_mouse": {"store": store, "to": tmp_path / "out"},
        "push_store": {"store": store, "url": object_store("MemoryStore")},
        "pull_store": {"url": object_store("LocalStore", store), "to": tmp_path / "out"},
        "verify_mouse": {"store": store},
        "train_statistics": {"mouse": mouse},
        "open_mouse": {"path": store},
        "open_mice": {"paths": [store]},
        "TrialLoader": {"mice": mouse, "tier": "train", "batch_size": 2, "output": "numpy"},
        "field_loaders": {"mice": mouse, "batch_size": 2, "normalize": None},
    }


def call(name: str, given: dict[str, Any]) -> Any:
    """Call a function, with a path or a mouse as its first argument, as people do."""
    first, *_ = given
    return getattr(trialpack, name)(given[first], **{key: value for key, value in given.items() if key != first})


def test_what_is_no_mouse_and_no_statistics_is_refused(store: Path, tmp_path: Path) -> None:
    loader = TrialLoader(trialpack.open_mouse(store), tier="train", batch_size=2, output="numpy")
    for refused, text in (
        (lambda: save_statistics(5, tmp_path / "a.npz"), "statistics: expected statistics of a mouse"),  # pyright: ignore[reportArgumentType]
        (lambda: trial_figure(5, 0), "mouse: expected a Mouse"),  # pyright: ignore[reportArgumentType]
        (lambda: loader.take(5), "places: expected whole numbers, found 5"),  # pyright: ignore[reportArgumentType]
    ):
        with pytest.raises(OptionError, match=text):
            refused()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("function", "argument"), [(name, one) for name, bad in BAD.items() for one in bad])
def test_a_value_that_cannot_be_is_refused_first(
    function: str, argument: str, arguments: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    for value in BAD[function][argument]:
        with pytest.raises(OptionError) as caught:
            call(function, arguments[function] | {argument: value})
        text = str(caught.value)
        assert text.startswith(f"{argument}: expected ") and ", found " in text and "\n" not in text, (value, text)
        assert len(caught.value.problems) == 1 and len(text) < 250
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", BAD)
def test_the_same_call_with_what_may_be_works(function: str, arguments: dict[str, dict[str, Any]]) -> None:
    """Numbers of numpy, too: what comes out of a computation."""
    good: dict[str, Any] = {
        "workers": np.int64(2),
        "threads": np.int32(2),
        "max_memory": np.int64(1 << 30),
        "memory": np.int64(1 << 28),
        "batch_size": np.int16(3),
        "seed": np.uint8(7),
        "shuffle": np.True_,
        "drop_last": np.False_,
        "replace": np.False_,
        "verify": np.True_,
        "quick": np.True_,
        "statistics": np.True_,
        "statistics_pkl": False,
        "max_error": {"responses": np.float32(0.5)},
    }
    given = arguments[function] | {name: good[name] for name in BAD[function] if name in good}
    given = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    found = call(function, given)
    if function == "TrialLoader":
        assert len(list(found)) == len(found) > 0
    elif function in ("convert_mouse", "verify_mouse", "export_mouse"):
        assert json.loads(json.dumps(found.describe()))
    else:
        assert found


def test_methods_of_a_mouse(store: Path) -> None:
    mouse = trialpack.open_mouse(store)
    calls: dict[str, Call] = {
        "tier": lambda: mouse.rows(tier=5),
        "variable": lambda: mouse.dask(["responses"]),
        "name": lambda: mouse[["responses"]],
    }
    for argument, wrong in {**calls, "tier ": lambda: mouse.to_xarray(tier=5)}.items():
        with pytest.raises(OptionError, match=rf"^{argument.strip()}: expected .*, found "):
            wrong()
    assert isinstance(mouse, Mouse)


def test_other_functions(store: Path, sample_mice: dict[str, Path]) -> None:
    with pytest.raises(OptionError, match="^workers: expected a whole number of at least 1, found 0$"):
        compare_with_source(store, sample_mice["static_folder"], workers=0)
    with pytest.raises(OptionError, match="^store: expected a path, an address, or a store of obstore, found None$"):
        summarize(None)
    with pytest.raises(OptionError, match="^source: expected a path, found 5$"):
        open_source(5)
    loader = TrialLoader(trialpack.open_mouse(store), tier="train", batch_size=2, output="numpy")
    with pytest.raises(OptionError, match="^epoch: expected a whole number of at least 0, found '1'$"):
        loader.set_epoch("1")


def test_what_is_checked_is_returned_as_python_has_it() -> None:
    assert (type(check_count("n", np.uint16(3))), type(check_flag("f", np.True_))) == (int, bool)
    sizes = ["2GiB", 2 << 30, np.int64(2 << 30), float(2 << 30), np.float32(2 << 30)]
    assert {check_bytes("b", size) for size in sizes[:4]} == {2 << 30}


@pytest.mark.parametrize("device", ["mps", "xla", "hpu", "gpu", 3.5, None])
def test_a_device_is_refused_without_a_list_of_all(store: Path, device: Any) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("there is such a device here")
    with pytest.raises(OptionError) as caught:
        TrialLoader(trialpack.open_mouse(store), tier="train", batch_size=2, device=device)
    text = str(caught.value)
    assert text.startswith(f"TrialLoader: device {device!r} cannot be used (")
    assert text.endswith("; choose another device, or device='cpu'") and len(text) < 180 and "\n" not in text


def test_the_command_line_has_the_same_choices(store: Path, tmp_path: Path) -> None:
    done = run("convert", tmp_path, "--to", tmp_path / "out", "--max-memory", "1e999GB")
    assert (done.returncode, "'1e999GB' is not a number of bytes such as 2GiB" in done.stderr) == (2, True)
    done = run("convert", tmp_path, "--to", tmp_path / "out", "--precision", "float16")
    assert (done.returncode, "'source', 'float32'" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("command", "place"), [("convert . --to", "--to"), ("info", "STORE"), ("export . --as zip --to", "--to")]
)
def test_an_empty_path_is_refused_by_the_name_of_its_option(command: str, place: str) -> None:
    """As of a variable of the shell that is not set."""
    done = run(*command.split(), "")
    assert done.returncode == 2 and f"Invalid value for '{place}" in done.stderr

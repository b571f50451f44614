"""What code may do with a batch: take it as a mapping, a named tuple or a tree, and move it, with its words."""

import copy
import mmap
import pickle
from collections.abc import Callable, MutableMapping
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from trialpack.convert.sample import write_sample
from trialpack.readers import Batch, Mouse, ScaleByStd, Standardize, TrialLoader
from trialpack.readers.direct import BFLOAT16, assign
from trialpack.store import OptionError, UnknownNameError

from .mice import Array
from .streams import Recorded, assert_batch, least_memory, pack

VARIABLES = ("videos", "responses", "behavior", "pupil_center")


@pytest.fixture(scope="module")
def mouse(tmp_path_factory: pytest.TempPathFactory) -> Mouse:
    place = tmp_path_factory.mktemp("mice")
    folder = write_sample(place / "source", mouse="A", trials=12, neurons=20, image_shape=(4, 6))
    return pack(folder, place / "stores", "shared chunks", statistics=True)


@pytest.fixture(params=["numpy", "torch"])
def output(request: pytest.FixtureRequest) -> str:
    if request.param == "torch":
        pytest.importorskip("torch", reason="torch is not installed")
    return request.param


def load(mouse: Mouse, **options: Any) -> TrialLoader:
    return TrialLoader(mouse, **{"tier": None, "batch_size": 3, "window": 60, "threads": 2} | options)


def test_values_are_attributes(mouse: Mouse, output: Any) -> None:
    batch = load(mouse, output=output).peek()
    assert isinstance(batch, MutableMapping) and tuple(batch) == (*VARIABLES, "trial_id", "start")
    assert all(getattr(batch, name) is value for name, value in batch.items())
    assert batch.mouse == mouse.name and len(batch.tier or ()) == 3
    with pytest.raises(AttributeError, match="a batch has no 'images': there are videos, "):
        _ = batch.images
    with pytest.raises(UnknownNameError, match="no 'tier'"):
        batch["tier"]


def test_a_batch_can_be_changed(mouse: Mouse) -> None:
    batch = load(mouse, output="numpy").peek()
    other = copy.copy(batch)
    other["videos"] = other["videos"] / 255
    other["contrast"] = other.videos.std()
    del other["behavior"]
    assert set(batch) ^ set(other) == {"contrast", "behavior"} and batch.videos.max() > 1 >= other.videos.max()
    assert (other.mouse, other.tier) == (batch.mouse, batch.tier)


def test_named_tuples(mouse: Mouse, output: Any) -> None:
    first, second = list(load(mouse, output=output))[:2]
    point = first.point()
    assert point._fields == VARIABLES == first._fields and type(point) is type(second.point())
    assert all(one is first[name] for name, one in zip(VARIABLES, point, strict=True))
    assert first._asdict() == point._asdict()
    chosen = first.point("responses", "trial_id")
    assert chosen == (first["responses"], first["trial_id"]) and chosen.trial_id is first.trial_id


@pytest.mark.parametrize("again", [lambda point: pickle.loads(pickle.dumps(point)), copy.copy, copy.deepcopy])
def test_named_tuples_come_back_as_what_they_were(mouse: Mouse, again: Callable[[Any], Any]) -> None:
    point = load(mouse, output="numpy").peek().point()
    back = again(point)
    assert type(back) is type(point)
    for one, other in zip(back, point, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("again", [lambda batch: pickle.loads(pickle.dumps(batch)), copy.copy, copy.deepcopy])
def test_batches_come_back_as_what_they_were(mouse: Mouse, output: Any, again: Callable[[Any], Any]) -> None:
    assert_batch(again(load(mouse, output=output).peek()), Recorded(mouse))


def test_names_that_are_no_fields() -> None:
    batch = Batch({"videos": 1, "left eye": 2, "class": 3}, mouse="m", tier=("train",))
    for names in ((), ("videos", "left eye"), ("class",), ("videos", "videos")):
        with pytest.raises(OptionError, match="cannot be fields .*; name the variables that can be") as raised:
            batch.point(*names)
        assert "\n" not in str(raised.value)
    assert batch.point("videos") == (1,) and batch._asdict() == dict(batch)


def test_batches_are_moved_with_their_words(mouse: Mouse) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    batch = load(mouse).peek()
    same, other = batch.to("cpu", non_blocking=True), batch.to("meta")
    assert all(same[name] is batch[name] for name in batch)
    assert all(value.device == torch.device("meta") for value in other.values())
    assert {(one.mouse, one.tier) for one in (batch, same, other)} == {(mouse.name, batch.tier)}
    with pytest.raises(OptionError, match="numpy arrays cannot be moved to cuda; choose output='torch'"):
        load(mouse, output="numpy").peek().to("cuda")


def test_a_pytree_of_torch(mouse: Mouse) -> None:
    """Names and mouse stay; tiers are of the samples, which may be others then."""
    pytest.importorskip("torch", reason="torch is not installed")
    from torch.utils import _pytree

    batch = load(mouse).peek()
    half = _pytree.tree_map(lambda value: value[:1], batch)
    assert isinstance(half, Batch) and (half.mouse, half.tier) == (mouse.name, None)
    assert {name: tuple(value.shape) for name, value in half.items()} == {
        name: (1, *value.shape[1:]) for name, value in batch.items()
    }
    paths, _ = _pytree.tree_flatten_with_path(batch)
    assert [_pytree.keystr(path) for path, _ in paths] == [f"['{name}']" for name in batch]


def test_torch_passes_batches_on(mouse: Mouse) -> None:
    """Its DataLoader converts what it is given."""
    data = pytest.importorskip("torch.utils.data", reason="torch is not installed")
    for output in ("torch", "numpy"):
        (batch, *_) = data.DataLoader(load(mouse, output=output).dataset(), batch_size=None)
        assert isinstance(batch, Batch) and batch.videos.shape == (3, 1, 60, 4, 6)
        assert (batch.mouse, batch.tier) == (mouse.name, load(mouse).peek().tier)


# Half precision


def rounded(values: Array) -> Array:
    out = np.empty(values.shape, BFLOAT16)
    assign(out, values)
    return out


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1))
@example([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0x80000001, 0x7F800000, 0xFF800000, 0x7F800001, 0xFFFFFFFF])
def test_bfloat16_is_that_of_torch(bits: list[int]) -> None:
    """To the bit, halves and numbers that are too large or too small included; NaN stays NaN."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    values = np.array(bits, np.uint32).view(np.float32)
    expected = torch.from_numpy(values.copy()).to(torch.bfloat16)
    found = torch.from_numpy(rounded(values).view(np.int16)).view(torch.bfloat16)
    number = ~torch.from_numpy(np.isnan(values))
    assert torch.equal(found.view(torch.int16)[number], expected.view(torch.int16)[number])
    assert found[~number].isnan().all()
    back = np.empty(values.shape, np.float32)
    assign(back, rounded(values))
    np.testing.assert_array_equal(back, found.float().numpy())


def test_every_bfloat16_comes_back() -> None:
    bits = np.arange(2**16, dtype=np.uint32)
    values = (bits << 16).view(np.float32)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(rounded(values).view(np.uint16)[number], bits[number])


NORMALIZE = {
    "videos": Standardize(over="trials_and_frames"),
    "responses": ScaleByStd(over="trials_and_frames"),
    "pupil_center": Standardize(over="trials_and_frames"),
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("cache", ["auto", "none"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalize": NORMALIZE},
        {"normalize": NORMALIZE, "neurons": [7, 0, 19]},
        {"normalize": NORMALIZE, "channels": ["behavior", "pupil_center"]},
        {"stride": 2, "variables": ["responses", "videos"]},
        {"normalize": NORMALIZE, "order": "neurons", "stimulus_size": (2, 3)},
    ],
    ids=lambda options: "+".join(options) or "as recorded",
)
def test_half_precision_is_rounded_once(mouse: Mouse, dtype: Any, cache: Any, options: dict[str, Any]) -> None:
    """What torch makes of the float32 batch, to the bit: normalized before it is rounded; in every epoch."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    wide, narrow = load(mouse, **options), load(mouse, dtype=dtype, cache=cache, **options)
    for _ in range(2):
        for one, other in zip(wide, narrow, strict=True):
            for name, value in one.items():
                expected = value if name in ("trial_id", "start") else value.to(getattr(torch, dtype))
                assert other[name].dtype == expected.dtype and torch.equal(other[name], expected), name


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_device_rounds_as_the_host_does(mouse: Mouse, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from trialpack.readers.streaming import tensors

    options = {"normalize": NORMALIZE, "channels": ["behavior"], "dtype": {"videos": dtype, "responses": dtype}}
    expected, to_device = list(load(mouse, **options)), tensors.to_device
    monkeypatch.setattr(tensors, "checked_device", lambda device: torch.device("meta"))
    monkeypatch.setattr(tensors, "check_tensors", lambda device, selections: None)
    monkeypatch.setattr(tensors, "to_device", lambda _, selections: to_device(torch.device("cpu"), selections))
    for one, other in zip(expected, load(mouse, **options), strict=True):
        assert {name: value.dtype for name, value in one.items()} == {n: value.dtype for n, value in other.items()}
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_half_precision_takes_half_the_memory(mouse: Mouse) -> None:
    """Of slots; what rounding takes beside them is a part of the account."""
    pytest.importorskip("torch", reason="torch is not installed")
    options: dict[str, Any] = {"tier": None, "batch_size": 12, "threads": 1, "variables": ["videos", "responses"]}
    wide, narrow = (least_memory(mouse, **options, dtype=dtype) for dtype in ("float32", "bfloat16"))
    # Two batches are the least: half of each is saved. Slots have whole pages.
    batch, rounding = 12 * 315 * (4 * 6 + 20) * 4, 3 * 8 * 2**15
    assert abs(wide - narrow - (batch - rounding)) <= 2 * mmap.PAGESIZE


def test_numpy_has_no_bfloat16(mouse: Mouse) -> None:
    for dtype in ("bfloat16", {"responses": "bfloat16"}):
        with pytest.raises(OptionError, match="numpy arrays cannot be bfloat16, as .* would be; choose another dtype"):
            load(mouse, output="numpy", dtype=dtype)


# A look


def test_a_look_uses_nothing_up(mouse: Mouse) -> None:
    loader, other = (load(mouse, output="numpy", shuffle=True, seed=2) for _ in range(2))
    for _ in range(3):
        state, stats = loader.state_dict(), loader.stats
        seen = [loader.peek() for _ in range(2)]
        assert loader.state_dict() == state and loader.stats is stats
        first, *_ = batches = list(loader)
        assert [one.trial_id.tolist() for one in batches] == [one.trial_id.tolist() for one in other]
        for one in seen:
            assert all(np.array_equal(one[name], first[name]) for name in first)


def test_a_look_at_what_was_loaded(mouse: Mouse) -> None:
    """What remains, which `len` counts, or what comes after it."""
    options: dict[str, Any] = {"output": "numpy", "shuffle": True}
    loader, other = load(mouse, **options), load(mouse, **options)
    epochs = [[batch.trial_id.tolist() for batch in other] for _ in range(2)]
    for done, _ in enumerate(loader, 1):
        other.load_state_dict(loader.state_dict())
        assert other.peek().trial_id.tolist() == [*epochs[0], *epochs[1]][done]
        assert len(other) == len(epochs[0]) - done == len(list(other))
        assert len(other) == len(epochs[0])


def test_the_seed_of_torch(mouse: Mouse) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(11)
    state = torch.get_rng_state()
    loader = load(mouse, shuffle=True, seed=None)
    orders = [[batch.trial_id.tolist() for batch in one] for one in (loader, load(mouse, shuffle=True, seed=11))]
    assert orders[0] == orders[1] and torch.equal(torch.get_rng_state(), state)
    loader.load_state_dict(load(mouse, shuffle=True, seed=11).state_dict())
    for seed in (-5, 2**63):
        torch.manual_seed(seed)
        assert len(list(load(mouse, shuffle=True, seed=None))) == len(loader)
    torch.manual_seed(0)

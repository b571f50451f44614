"""The codec of a variable is chosen by a sample of its chunks; sizes are foreseen from the same trials."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.convert import convert_mouse, open_source, plan_mouse, predict_sizes
from trialpack.convert.codec_choice import Encoded, choose_codecs, encode_sample, sample_tasks
from trialpack.convert.sample import write_sample
from trialpack.readers import open_mouse
from trialpack.store import SourceError, layout
from trialpack.store.chunk_codecs import ChunkCodec
from trialpack.store.layout import CodecName

from .command_line import run
from .mice import Array
from .own_mice import write_own

NEURONS, FRAMES = 160, 90
RESPONSES_ONLY = '[variables.responses]\nrole = "target"\ndimensions = ["neuron", "frame"]\n'
Responses = Callable[[int], Array]


def activity(trial: int) -> Array:
    """Sparse events above a tiny floor, interpolated along time as in published mice."""
    rng = np.random.default_rng(trial)
    knots = rng.lognormal(-6, 1, (NEURONS, FRAMES // 5 + 2))
    events = rng.random(knots.shape) < 0.1
    knots[events] += rng.lognormal(1, 1, np.count_nonzero(events))
    scans = np.arange(knots.shape[1])
    frames = np.arange(FRAMES) / 4.76
    return np.stack([np.interp(frames, scans, one) for one in knots]).astype(np.float32)


def spikes(trial: int) -> Array:
    """Exact zeros, and few numbers with all their bits."""
    rng = np.random.default_rng(trial)
    return np.where(rng.random((NEURONS, FRAMES)) < 0.08, rng.lognormal(1, 1, (NEURONS, FRAMES)), 0).astype(np.float32)


def fluorescence(trial: int) -> Array:
    """Dense: noise of some units above a baseline of each neuron, and slow transients."""
    rng = np.random.default_rng(trial)
    slow = np.cumsum(rng.normal(0, 8, (NEURONS, FRAMES)), axis=1)
    baselines = np.random.default_rng(99).uniform(200, 900, (NEURONS, 1))
    return (baselines + slow + rng.normal(0, 20, (NEURONS, FRAMES))).astype(np.float32)


def recording(folder: Path, responses: Responses, trials: int = 12) -> Path:
    return write_own(folder, {"responses": responses}, range(trials), toml=RESPONSES_ONLY)


def chosen(folder: Path, to: Path, **options: Any) -> tuple[ChunkCodec, int]:
    """Return the codec of the responses in a store that is made, and their bytes."""
    made = convert_mouse(folder, to, statistics=False, verify=False, **options)
    index = open_mouse(made.store).index
    assert made.plan.recorded[0].codec == index.arrays["responses"].codec
    return index.arrays["responses"].codec, index.stored_nbytes("responses")


FRAMES_FIRST = (0, 2, 1)
CASES: Mapping[str, tuple[Responses, str | None, str, tuple[int, ...]]] = {
    "activity": (activity, None, "none", FRAMES_FIRST),
    "rounded activity": (activity, "0.1%std", "lz4", ()),
    "spikes": (spikes, None, "lz4 plain", FRAMES_FIRST),
    "rounded fluorescence": (fluorescence, "1%std", "lz4 bits", FRAMES_FIRST),
}


@pytest.mark.parametrize("name", CASES)
def test_the_data_choose(name: str, tmp_path: Path) -> None:
    responses, bound, compressor, order = CASES[name]
    options = {} if bound is None else {"max_error": {"responses": bound}}
    folder = recording(tmp_path / "mouse", responses)
    codec, nbytes = chosen(folder, tmp_path / "to", **options)
    assert codec == ChunkCodec(compressor, order)
    plan = plan_mouse(folder, tmp_path, codec="none")
    assert (nbytes < 0.8 * plan.recorded[0].nbytes) == (compressor != "none")


@pytest.mark.parametrize("codec", ["fast", "small"])
@pytest.mark.parametrize("responses", [fluorescence, activity, spikes], ids=lambda one: one.__name__)
def test_rounded_values_never_take_more(responses: Responses, codec: CodecName, tmp_path: Path) -> None:
    folder = recording(tmp_path / "mouse", responses)
    _, exact = chosen(folder, tmp_path / "exact", codec=codec)
    for number, bound in enumerate((1e-30, "0.001%std", "0.01%std", "0.1%std", "1%std", "10%std")):
        _, rounded = chosen(folder, tmp_path / str(number), codec=codec, max_error={"responses": bound})
        metadata = 40  # bytes of the attribute with the bound
        assert rounded <= exact + metadata, bound


def test_a_codec_with_which_rounded_values_take_more_is_left_out(tmp_path: Path) -> None:
    """Even if it is quicker to read, and by so much that it would be chosen for its speed."""
    plan = plan_mouse(recording(tmp_path / "mouse", spikes, 1), tmp_path, max_error={"responses": 0.1})
    codecs = list(layout.codec_choices(plan.variables[0], "fast"))
    compressors = [(codec.compressor, codec.order != ()) for codec in codecs]
    quick, slow = compressors.index(("lz4", True)), compressors.index(("lz4 bits", False))
    exact, rounded = np.full(len(codecs), 1000), np.full(len(codecs), 900)
    exact[slow] = rounded[slow] = 600
    rounded[quick] = 650
    part = {"responses": Encoded(1, rounded, exact)}
    assert choose_codecs(plan, [part]).recorded[0].codec == codecs[slow]
    rounded[quick] = 590
    assert choose_codecs(plan, [part]).recorded[0].codec == codecs[quick]
    rounded[:] = exact + np.arange(len(codecs)) + 1
    assert choose_codecs(plan, [part]).recorded[0].codec == codecs[slow], "the smallest where none is small enough"


@pytest.mark.parametrize("options", [{}, {"max_error": {"responses": "1%std"}}, {"codec": "small"}], ids=str)
@pytest.mark.parametrize("container", ["folder", "zip"])
def test_sizes_are_foreseen_within_a_tenth(options: dict[str, Any], container: Any, tmp_path: Path) -> None:
    """Responses of the tiers that are withheld are zeros; trials are padded to different lengths."""
    source = write_sample(tmp_path, mouse="A", trials=60, neurons=120, image_shape=(12, 16), container=container)
    plan = plan_mouse(source, tmp_path / "to", **options)
    foreseen = predict_sizes(source, plan, workers=2)
    assert not (tmp_path / "to").exists() and not plan.expected and plan.expected_nbytes is None
    made = convert_mouse(source, tmp_path / "to", verify=False, **options)
    assert foreseen.recorded == made.plan.recorded
    assert foreseen.expected_nbytes == pytest.approx(made.nbytes, rel=0.1)
    for array in foreseen.recorded:
        found = sum(path.stat().st_size for path in (made.store / array.path).glob("c.*"))
        assert foreseen.expected[array.path] == pytest.approx(found, rel=0.1), array.path


def test_a_dry_run_tells_them(tmp_path: Path) -> None:
    folder = recording(tmp_path / "mouse", fluorescence)
    arguments = ("convert", folder, "--to", tmp_path / "to", "--max-error", "responses=1%std", "--dry-run")
    (foreseen,) = json.loads(run(*arguments, "--json").stdout)["mice"]
    made = convert_mouse(folder, tmp_path / "to", max_error={"responses": "1%std"})
    assert foreseen["bytes_expected"] == pytest.approx(made.nbytes, rel=0.1)
    assert "after it, as far as a sample of the trials tells" in run(*arguments).stdout


def test_the_choice_depends_neither_on_workers_nor_on_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recording(tmp_path / "mouse", fluorescence, 40)
    options: dict[str, Any] = {"max_error": {"responses": "1%std"}, "statistics": False}
    stores = [convert_mouse(folder, tmp_path / str(n), workers=n, **options).store for n in (1, 3)]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr("trialpack.convert.conversion.write_described", full)
        convert_mouse(folder, tmp_path / "resumed", **options)
    stores.append(convert_mouse(folder, tmp_path / "resumed", **options).store)
    first, *others = ({path.name: path.read_bytes() for path in one.glob("responses/*")} for one in stores)
    assert others == [first, first]


def test_what_cannot_be_read_is_left_to_the_conversion(tmp_path: Path) -> None:
    folder = recording(tmp_path / "mouse", spikes)
    source = open_source(folder)
    plan = plan_mouse(source, tmp_path)
    tasks = sample_tasks(plan, source, {})
    rows = [task.row for task in tasks]
    assert len(rows) == 4 and sorted({plan.survey.tiers[row] for row in rows}) == ["test", "train"]
    for row in range(12):
        (folder / f"data/responses/{row}.npy").write_bytes(b"")
    assert [encode_sample(task) for task in tasks] == [{}] * len(tasks)
    assert choose_codecs(plan, [{}]).recorded == plan.recorded
    with pytest.raises(SourceError):
        convert_mouse(folder, tmp_path)


ODD: Mapping[str, Callable[[int], Any]] = {
    "zeros": lambda trial: np.zeros((7, 40), np.float64),
    "nothing": lambda trial: np.full((7, 40), np.nan, np.float32),
    "scalar": lambda trial: np.float64(trial),
    "flags": lambda trial: np.arange(40) % 3 == 0,
    "bytes": lambda trial: np.arange(7 * 40, dtype=np.uint8).reshape(7, 40),
    "counts": lambda trial: np.arange(7 * 40, dtype=">i8").reshape(7, 40),
    "halves": lambda trial: np.linspace(0, trial, 40).astype(np.float16),
    "infinite": lambda trial: np.array([np.inf, -np.inf, np.nan, -0.0], np.float32),
}


@pytest.mark.parametrize("codec", layout.CODECS)
@pytest.mark.parametrize("trials", [1, 9])
def test_every_kind_of_variable_has_a_codec(trials: int, codec: CodecName, tmp_path: Path) -> None:
    if codec == "pcodec":
        pytest.importorskip("pcodec", reason="the package pcodec is not installed")
    variables = {"responses": lambda trial: spikes(trial)[:5, :40], **ODD}
    lacking = [("bytes", 4), ("halves", 0)] if trials > 1 else []
    declared = ['dimensions = ["neuron", "frame"]', 'dimensions = ["place", "frame"]']
    toml = f'[variables.responses]\n{declared[0]}\nrole = "target"\n' + "".join(
        f"[variables.{name}]\n{declared[1]}\noptional = true\n"
        + ("missing = 0\n" if name in ("bytes", "counts") else "")
        for name in ("zeros", "nothing", "bytes", "counts")
    )
    toml += '[variables.halves]\noptional = true\ndimensions = ["frame"]\n[variables.flags]\ndimensions = ["frame"]\n'
    folder = write_own(tmp_path / "mouse", variables, range(trials), toml=toml, lacking=lacking)
    plan = plan_mouse(folder, tmp_path / "to", codec=codec)
    foreseen = predict_sizes(folder, plan)
    made = convert_mouse(folder, tmp_path / "to", codec=codec)
    assert foreseen.recorded == made.plan.recorded and foreseen.expected.keys() == variables.keys()
    for variable, array in zip(plan.variables, made.plan.recorded, strict=True):
        assert array.codec in layout.codec_choices(variable, codec)

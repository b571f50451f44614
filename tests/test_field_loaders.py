"""Loaders for public training code: all that each project touches is there, as its own loaders have it."""

import copy
import pickle
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from trialpack import Mouse, OptionError, TrialLoader, field_loaders
from trialpack.convert.sample import write_sample
from trialpack.readers import Standardize
from trialpack.readers.field import FieldLoader, datasets

from .mice import Array
from .streams import open_files, pack, with_channels

torch = pytest.importorskip("torch", reason="torch is not installed")

SOURCES: dict[str, dict[str, Any]] = {
    "A": {"mouse": "A", "trials": 30, "neurons": 12, "image_shape": (4, 6)},
    "F": {"mouse": "F", "trials": 24, "neurons": 9, "image_shape": (4, 6)},
    "S0": {"mouse": "S0", "trials": 60, "neurons": 12, "image_shape": (8, 12)},
    "P1": {"mouse": "P1", "trials": 60, "neurons": 10, "image_shape": (8, 12)},
}
MICE = {"sensorium2022": ("S0", "P1"), "sensorium2023": ("A", "F"), "viv1t": ("A", "F")}
VIDEO_FIELDS = ("videos", "responses", "behavior", "pupil_center")
FIELDS = {"sensorium2022": ("images", "responses"), "sensorium2023": VIDEO_FIELDS}
WITHHELD = {"F": "final_test_bonus", "S0": "test"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("sources")
    return {name: write_sample(place, **arguments) for name, arguments in SOURCES.items()}


@pytest.fixture(scope="module")
def mice(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mouse]:
    place = tmp_path_factory.mktemp("stores")
    return {name: pack(folder, place, statistics=True) for name, folder in folders.items()}


def make(mice: Mapping[str, Mouse], style: Any, **options: Any) -> dict[str, dict[str, Any]]:
    """Return the loaders of two mice, of values as they were recorded unless told otherwise."""
    given: dict[str, Any] = {"batch_size": 3, "normalize": None, "threads": 2, **options}
    return field_loaders([mice[name] for name in MICE[style]], style=style, **given)


def meta(folder: Path, path: str) -> Array:
    return np.load(folder / "meta" / f"{path}.npy")


def numbers(folder: Path, tier: str) -> list[int]:
    return np.flatnonzero(meta(folder, "trials/tiers") == tier).tolist()


def published(folder: Path, trial: int, fields: Any) -> dict[str, Array]:
    """Return one trial of the published files, as public loaders have it before normalization."""
    values = {name: np.load(folder / f"data/{name}/{trial}.npy").astype(np.float32) for name in fields}
    if "videos" in values:
        frames = int(np.isfinite(values["videos"][0, 0]).sum())
        values = {name: one[..., :frames] for name, one in values.items()}
        values["videos"] = values["videos"].transpose(2, 0, 1)
        values["videos"] = with_channels(values["videos"], [values["behavior"]], "dynamic")
    return values


def samples(loader: FieldLoader) -> Iterator[dict[str, Any]]:
    """Yield the samples of namedtuples, one by one."""
    for batch in loader:
        for values in zip(*batch, strict=True):
            yield dict(zip(batch._fields, values, strict=True))


# Names of tiers and mice, and what is in a batch


def test_sensorium2023_has_tiers_as_on_disk_and_folders_as_names(
    mice: dict[str, Mouse], folders: dict[str, Path]
) -> None:
    loaders = make(mice, "sensorium2023")
    assert [*loaders][:2] == ["train", "oracle"]
    assert set(loaders) == {tier for one in ("A", "F") for tier in meta(folders[one], "trials/tiers")} - {"none"}
    for tier, by_mouse in loaders.items():
        assert [*by_mouse] == [folders[one].name for one in ("A", "F") if numbers(folders[one], tier)]


def test_sensorium2022_has_four_tiers_and_the_numbers_of_a_scan(mice: dict[str, Mouse]) -> None:
    assert "final_test" not in mice["P1"].recording.trials_by_tier
    loaders = make(mice, "sensorium2022")
    assert [*loaders] == ["train", "validation", "test", "final_test"]
    assert [*loaders["train"]] == ["26872-17-20", mice["P1"].name.split("-Gray")[0].removeprefix("static")]
    empty = [*loaders["final_test"].values()][1]
    assert len(empty) == 0 and list(empty) == [] and len(empty.dataset) == 60


def test_viv1t_has_short_tiers_and_letters(mice: dict[str, Mouse]) -> None:
    loaders = make(mice, "viv1t")
    assert [*loaders][:2] == ["train", "validation"]
    assert set(loaders) <= {"train", "validation", "live_main", "live_bonus", "final_main", "final_bonus"}
    assert [*loaders["train"]] == ["A", "F"]


@pytest.mark.parametrize("style", ["sensorium2022", "sensorium2023"])
def test_batches_are_namedtuples_of_the_published_values(
    style: str, mice: dict[str, Mouse], folders: dict[str, Path]
) -> None:
    for tier, by_mouse in make(mice, style).items():
        for key, loader in by_mouse.items():
            name = next(one for one in MICE[style] if key in mice[one].name)
            found = sorted(samples(loader), key=_order)
            fields = FIELDS[style]
            expected = sorted(
                (published(folders[name], one, fields) for one in numbers(folders[name], tier)), key=_order
            )
            assert len(found) == len(expected) and all(tuple(one) == fields for one in found)
            for one, other in zip(found, expected, strict=True):
                for field in fields:
                    np.testing.assert_array_equal(one[field], other[field], field)


def _order(sample: Mapping[str, Any]) -> tuple[int, float]:
    """Train trials are shuffled; and of whole trials those of one length come in batches of their own."""
    first = next(iter(sample.values()))
    return first.shape[1], float(np.asarray(first, np.float64).sum())


def test_a_batch_does_what_trainers_do_with_it(mice: dict[str, Mouse]) -> None:
    """`make_video_model`, `standard_trainer`, `get_io_dims` and `model_predictions`, statement by statement."""
    loader = make(mice, "sensorium2023", window=20)["train"][mice["A"].name]
    data = next(iter(loader))
    assert data._fields[:2] == ("videos", "responses") and not isinstance(data, dict)
    arguments, named = list(data), data._asdict()
    assert arguments[0] is named["videos"] is data.videos is data[0] is data[:2][0]
    assert {k: v.to("cpu").shape for k, v in named.items()} == {
        "videos": (3, 3, 20, 4, 6),
        "responses": (3, 12, 20),
        "behavior": (3, 2, 20),
        "pupil_center": (3, 2, 20),
    }
    assert data[1].mean(0).mean(-1).shape == (12,)
    assert arguments[1].transpose(2, 1)[:, -5:, :].shape == (3, 5, 12)
    assert type(data) is type(next(iter(loader)))
    assert torch.equal(pickle.loads(pickle.dumps(data)).responses, data.responses)  # noqa: S301


def test_train_tiers_are_shuffled_anew_each_epoch_as_by_a_loader_of_one_mouse(mice: dict[str, Mouse]) -> None:
    loader = make(mice, "sensorium2023", window=20, seed=3)["train"][mice["F"].name]
    alone = TrialLoader(mice["F"], tier="train", batch_size=3, window=20, shuffle=True, seed=3, channels=["behavior"])
    epochs = [[batch.responses for batch in loader] for _ in range(2)]
    for epoch in epochs:
        for responses, batch in zip(epoch, alone, strict=True):
            assert torch.equal(responses, batch["responses"])
    assert not torch.equal(epochs[0][0], epochs[1][0])
    next(iter(loader))  # a look is an epoch, too
    assert torch.equal(next(iter(loader)).responses, next(alone.take([0], 3))["responses"])


@pytest.mark.parametrize("style", ["sensorium2022", "sensorium2023"])
def test_responses_that_are_withheld_are_zeros(style: str, mice: dict[str, Mouse], folders: dict[str, Path]) -> None:
    name = MICE[style][0] if style == "sensorium2022" else "F"
    loaders = [*make(mice, style)[WITHHELD[name]].values()]
    found = list(samples(loaders[0] if style == "sensorium2022" else loaders[-1]))
    assert len(found) == len(numbers(folders[name], WITHHELD[name])) > 0
    assert not any(one["responses"].any() for one in found)


@pytest.mark.parametrize("style", ["sensorium2023", "viv1t"])
def test_trials_are_cut_where_statistics_end(style: str, mice: dict[str, Mouse]) -> None:
    tier, field = {"sensorium2023": ("final_test_bonus", "videos"), "viv1t": ("final_bonus", "video")}[style]
    for normalize, longest in (({"videos": Standardize()}, 300), (None, 315)):
        loader = next(iter(make(mice, style, normalize=normalize)[tier].values()))
        batches = [batch if style == "viv1t" else batch._asdict() for batch in loader]
        assert max(batch[field].shape[2] for batch in batches) == longest
        of_tier = loader.dataset if style == "viv1t" else map(loader.dataset.__getitem__, loader_numbers(mice, tier))
        assert max((one if style == "viv1t" else one._asdict())[field].shape[1] for one in of_tier) == longest


def loader_numbers(mice: Mapping[str, Mouse], tier: str) -> list[int]:
    return mice["A"].recording.trial_ids[mice["A"].recording.tiers == tier].tolist()


# Data sets


@pytest.mark.parametrize("style", ["sensorium2022", "sensorium2023"])
def test_a_data_set_is_of_all_trials_by_file_number(
    style: str, mice: dict[str, Mouse], folders: dict[str, Path]
) -> None:
    fields, loaders = FIELDS[style], make(mice, style)
    for name, loader in zip(MICE[style], loaders["train"].values(), strict=True):
        dataset, folder = loader.dataset, folders[name]
        others = [by[key] for by in loaders.values() for key in by if key in mice[name].name]
        assert len(others) > 2 and all(other.dataset is dataset for other in others)
        tiers = meta(folder, "trials/tiers")
        assert len(dataset) == (tiers != "none").sum() == len(list((folder / "data" / "responses").iterdir()))
        assert dataset.data_keys == fields and dataset.n_neurons == SOURCES[name]["neurons"]
        for trial in np.flatnonzero(tiers != "none"):
            found, expected = dataset[trial]._asdict(), published(folder, trial, fields)
            assert tuple(found) == fields
            for field in fields:
                np.testing.assert_array_equal(found[field], expected[field], field)


@pytest.mark.parametrize("style", ["sensorium2022", "sensorium2023"])
def test_what_is_known_of_trials_and_neurons_is_every_published_array(
    style: str, mice: dict[str, Mouse], folders: dict[str, Path]
) -> None:
    for name, loader in zip(MICE[style], make(mice, style)["train"].values(), strict=True):
        for group, arrays in (("trials", loader.dataset.trial_info), ("neurons", loader.dataset.neurons)):
            stems = {path.stem for path in (folders[name] / "meta" / group).iterdir()}
            assert set(arrays.keys()) == stems and stems <= set(dir(arrays))
            for stem in stems:
                expected = meta(folders[name], f"{group}/{stem}")
                for values in (getattr(arrays, stem), arrays[stem]):
                    np.testing.assert_array_equal(values, expected)
                    assert values.dtype == expected.dtype
        ids = loader.dataset.neurons.unit_ids
        ids[:] = 0
        assert loader.dataset.neurons.unit_ids.any()
        assert not hasattr(loader.dataset.neurons, "multi_match_id")
        assert loader.dataset.neurons.cell_motor_coordinates[:, :2].shape == (loader.dataset.n_neurons, 2)


def test_all_trials_in_a_row_as_the_2022_scores_take_them(mice: dict[str, Mouse], folders: dict[str, Path]) -> None:
    """`get_data_filetree_loader`, statement by statement."""
    dataset = make(mice, "sensorium2022")["validation"]["26872-17-20"].dataset
    tiers, image_ids, trial_idx = (getattr(dataset.trial_info, n) for n in ("tiers", "frame_image_id", "trial_idx"))
    chosen = [
        (trial_idx[i], image_ids[i], one.responses.cpu().numpy().squeeze())
        for i, one in enumerate(dataset)
        if tiers[i] == "validation"
    ]
    expected = numbers(folders["S0"], "validation")
    assert [trial for trial, _, _ in chosen] == meta(folders["S0"], "trials/trial_idx")[expected].tolist()
    responses = [published(folders["S0"], trial, ["responses"])["responses"] for trial in expected]
    np.testing.assert_array_equal(np.stack([one for *_, one in chosen]), np.stack(responses))


def test_what_counts_files_is_refused_where_numbers_have_gaps(mice: dict[str, Mouse]) -> None:
    dataset = make(mice, "sensorium2023")["oracle"][mice["A"].name].dataset
    for call in (lambda: dataset[1], lambda: next(iter(dataset))):
        with pytest.raises(OptionError, match="no trial 1; take those whose trial_info.tiers is not 'none'"):
            call()


def test_trials_of_a_submission_as_the_2023_writer_takes_them(mice: dict[str, Mouse], folders: dict[str, Path]) -> None:
    """`generate_submission`, statement by statement."""
    tier = WITHHELD["F"]
    dataset = make(mice, "sensorium2023")[tier][mice["F"].name].dataset
    ids = np.asarray(dataset.neurons.unit_ids.tolist()).astype(np.uint32)
    assert ids.tolist() == meta(folders["F"], "neurons/unit_ids").tolist()
    tiers, lengths = dataset.trial_info.tiers, []
    for place in range(len(tiers)):
        if tiers[place] == tier:
            batch = dataset.__getitem__(place)
            named = {name: torch.unsqueeze(value, 0) for name, value in batch._asdict().items()}
            assert named["videos"].shape[:2] == (1, 3)
            lengths.append(batch[0].shape[1])
    assert lengths == mice["F"].recording.n_frames[mice["F"].recording.tiers == tier].tolist()  # type: ignore[index]


def test_windows_of_a_data_set_are_drawn_anew_and_can_be_repeated(mice: dict[str, Mouse]) -> None:
    twice = [make(mice, "sensorium2023", window=20)["train"][mice["F"].name].dataset for _ in range(2)]
    first, second = ([dataset[trial].videos for trial in (0, 0, 0, 2)] for dataset in twice)
    assert all(one.shape == (3, 20, 4, 6) for one in first)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(
    ("style", "name"), [("sensorium2022", "FileTreeDataset"), ("sensorium2023", "MovieFileTreeDataset")]
)
def test_a_data_set_is_an_instance_of_what_writers_of_submissions_ask_for(
    style: str, name: str, mice: dict[str, Mouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = next(iter(make(mice, style)["train"].values())).dataset
    monkeypatch.delitem(sys.modules, "neuralpredictors.data.datasets", raising=False)
    assert not isinstance(dataset, dict) and isinstance(dataset, datasets.MouseDataset)
    asked, other = type(name, (), {}), type("StaticImageSet", (), {})
    library = ModuleType("neuralpredictors.data.datasets")
    library.__dict__.update({name: asked, "StaticImageSet": other})
    monkeypatch.setitem(sys.modules, "neuralpredictors.data.datasets", library)
    assert isinstance(dataset, asked) and not isinstance(dataset, other)
    assert isinstance(dataset, datasets.MouseDataset)


def test_neurons_are_chosen_by_column_or_for_each_mouse(mice: dict[str, Mouse], folders: dict[str, Path]) -> None:
    chosen = make(mice, "sensorium2023", neurons=[[7, 0, 2], None])["oracle"]
    three, all_of_them = (loader.dataset for loader in chosen.values())
    expected = meta(folders["A"], "neurons/unit_ids")[[7, 0, 2]]
    assert three.neurons.unit_ids.tolist() == expected.tolist() and three.n_neurons == 3
    assert next(iter(chosen[mice["A"].name])).responses.shape[1] == 3 and all_of_them.n_neurons == 9
    unit = int(meta(folders["P1"], "neurons/unit_ids")[4])
    one = field_loaders(mice["P1"], batch_size=2, normalize=None, neurons={"unit_ids": unit})
    assert next(iter(next(iter(one["train"].values())))).responses.shape == (2, 1)


# ViV1T


def test_viv1t_reads_dictionaries(mice: dict[str, Mouse], folders: dict[str, Path]) -> None:
    """`micro_batching`, `train_step`, `validation_step`, `estimate_mean_response` and `inference`."""
    loaders = make(mice, "viv1t", window=60)
    batch = next(iter(loaders["train"]["F"]))
    halves = [{k: v[i : i + 2] for k, v in batch.items()} for i in np.arange(0, len(batch["video"]), step=2)]
    assert [half["mouse_id"] for half in halves] == [["F", "F"], ["F"]]
    assert batch["video"].shape == (3, 1, 60, 4, 6) and batch["response"][..., -9:].shape == (3, 9, 9)
    assert batch["tier"] == ["train"] * 3 and batch["mouse_class"].tolist() == [1, 1, 1]
    assert (batch["trial_id"].dtype, batch["mouse_class"].dtype) == (torch.int32, torch.int64)
    dataset = loaders["validation"]["A"].dataset
    expected = numbers(folders["A"], "oracle")
    assert dataset.trial_ids.tolist() == expected and dataset.trial_ids.dtype == torch.int32
    for place, (one, trial) in enumerate(zip(loaders["validation"]["A"], expected, strict=True)):
        sample = dataset.__getitem__(place, to_tensor=True)
        values = published(folders["A"], trial, VIDEO_FIELDS)
        assert (sample["mouse_id"], sample["tier"], int(sample["trial_id"])) == ("A", "validation", trial)
        for name, field in zip(("video", "response", "behavior", "pupil_center"), VIDEO_FIELDS, strict=True):
            value = values[field][:1] if field == "videos" else values[field]
            np.testing.assert_array_equal(sample[name], value)
            np.testing.assert_array_equal(one[name], value[None])


def test_a_data_set_of_viv1t_is_of_its_tier(mice: dict[str, Mouse], folders: dict[str, Path]) -> None:
    """`set_shapes`, `get_model`, `Criterion` and `evaluate`."""
    loaders = make(mice, "viv1t", window=60)
    for tier, by_mouse in loaders.items():
        for key, loader in by_mouse.items():
            dataset = loader.dataset
            label = {"validation": "oracle"}.get(tier, tier.replace("_", "_test_"))
            assert len(dataset) == len(numbers(folders[key], label)) == len(dataset.trial_ids)
            assert len(loader) == (-(-len(dataset) // 3) if tier == "train" else len(dataset))
            assert dataset.tier == ("validation" if tier == "validation" else label)
            assert dataset.crop_frame == (60 if tier == "train" else -1)
            assert (dataset.num_channels, *dataset.video_shape, dataset.max_frame) == (1, 4, 6, 300)
            assert dataset.num_neurons == SOURCES[key]["neurons"]
            coordinates = meta(folders[key], "neurons/cell_motor_coordinates").astype(np.float32)
            assert torch.equal(dataset.neuron_coordinates, torch.from_numpy(coordinates))
            assert dataset.neuron_ids.dtype == torch.int16
            assert dataset.hidden_response == (key == "F" and "_" in tier)
    with pytest.raises(IndexError):
        dataset[len(dataset)]


# What is held


def test_loaders_are_made_when_they_are_used_and_let_go(
    mice: dict[str, Mouse], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[weakref.ref[Any]]()

    class Counted(TrialLoader):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(weakref.ref(self))

    monkeypatch.setattr(datasets, "TrialLoader", Counted)
    folder = next(iter(mice.values())).path.parent
    files, before = open_files(folder), threading.active_count()
    loaders = make(mice, "sensorium2023", window=20)
    assert len(made) == 1
    for loader in loaders["oracle"].values():
        assert len(loader) == 1 and sum(1 for _ in loader) == 1
        assert len(loader) == 1
    assert sum(one() is not None for one in made) == 1 and len(made) == 5
    iterators = [iter(loader) for loader in loaders["train"].values()]
    for iterator in iterators:
        next(iterator)
    kept = open_files(folder)
    del iterators, iterator
    assert sum(one() is not None for one in made) == 2 and len(made) == 6
    assert threading.active_count() == before and open_files(folder) == kept
    del loaders, loader
    assert not any(one() for one in made) and open_files(folder) == files


def test_threads_and_memory_are_shared(mice: dict[str, Mouse], monkeypatch: pytest.MonkeyPatch) -> None:
    given = list[dict[str, Any]]()

    class Noted(TrialLoader):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            given.append(options)

    monkeypatch.setattr(datasets, "TrialLoader", Noted)
    loaders = make(mice, "sensorium2023", window=20, threads=5, memory="1GB")
    for tier in ("train", "oracle"):
        for loader in loaders[tier].values():
            len(loader)
    shares = [(one["tier"], one["threads"], one["memory"], one.get("cache")) for one in given]
    assert shares == [("train", 2, 500_000_000, None)] * 2 + [("oracle", 5, 1_000_000_000, "none")] * 2
    with pytest.raises(OptionError, match="does not suffice"):
        make(mice, "sensorium2023", memory=1000)


# What is refused


@pytest.mark.parametrize(
    ("names", "options", "text"),
    [
        (("A",), {"style": "sensorium2022"}, "a dynamic mouse, where the others, or the style, are static; choose"),
        (("P1",), {"style": "viv1t"}, "a static mouse, where the others, or the style, are dynamic"),
        (("A", "P1"), {}, "a static mouse, where the others, or the style, are dynamic"),
        (("A", "A"), {}, r"two mice are called 'dynamic29156-11-10-\S*': .*\.zarr and .*\.zarr; give one of them"),
        (("A",), {"scale": 0.25}, "field_loaders: no option 'scale'; there are batch_size, window, stride"),
        (("A",), {"tier": "train"}, "no option 'tier'"),
        (("A",), {"shuffle": False}, "no option 'shuffle'"),
        (("A",), {"variables": ["video"]}, "no variable 'video'"),
        (("A",), {"window": 1000}, "shorter than a window of 1000 frames"),
        (("P1",), {"window": 10}, "static trials have no frames"),
        (("A",), {"neurons": [99]}, "no position 99"),
        (("A",), {"dtype": "int3"}, "int3"),
    ],
)
def test_what_does_not_fit_is_said_at_once(
    names: tuple[str, ...], options: dict[str, Any], text: str, mice: dict[str, Mouse]
) -> None:
    with pytest.raises(OptionError, match=text) as caught:
        field_loaders([mice[name] for name in names], **{"batch_size": 2, "normalize": None, **options})
    assert "\n" not in str(caught.value)


def test_arrays_and_loaders_can_be_looked_at(mice: dict[str, Mouse]) -> None:
    loaders = make(mice, "sensorium2022")
    assert repr(loaders["test"]["26872-17-20"]).startswith("<FieldLoader of 26872-17-20, test: ")
    arrays = loaders["test"]["26872-17-20"].dataset.neurons
    assert copy.copy(arrays).unit_ids.tolist() == arrays.unit_ids.tolist()
    assert len(arrays) == len(list(arrays)) == len(arrays.keys())

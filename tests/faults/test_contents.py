"""Random mice: their stores hold every bit of them, and statistics that numpy finds in the files as well."""

import random
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.convert import compare_with_source, convert_mouse
from trialpack.convert.sample import write_sample
from trialpack.readers import open_mouse, train_statistics
from trialpack.store import CorruptStoreError, check_full, layout

from ..mice import Array, assert_holds_mouse, edit, trial_ids, trial_path, trim, variables, zip_mouse
from ..streams import CUTS, quickly
from .damages import copy_store, reseal
from .promises import Tally

Size = Callable[[int, int], int]
parts = pytest.mark.parametrize("part", range(2))
pytestmark = [
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification"),
    pytest.mark.filterwarnings("ignore:All-NaN|Mean of empty|Degrees of freedom|invalid value|overflow:RuntimeWarning"),
]
CODECS = ("fast", "none", "small", *(["pcodec"] if find_spec("pcodec") else []))
LETTERS = ("A", "C", "F", "S0", "P1")
"""Of published mice: dynamic and static, float32 and float64, with gaps, withheld trials and texts."""


def random_mouse(place: Path, rng: random.Random) -> Path:
    """Write a mouse of any size, and bits into it that no program would choose."""
    folder = write_sample(
        place,
        mouse=rng.choice(LETTERS),
        trials=rng.randint(1, 7),
        neurons=rng.randint(1, 9),
        image_shape=(rng.randint(1, 6), rng.randint(1, 8)),
        seed=rng.randrange(2**31),
    )
    trim(folder)
    for variable in variables(folder):
        for trial in trial_ids(folder):
            if rng.random() < 0.4:
                edit(trial_path(folder, variable, trial), lambda values: with_odd_bits(values, rng))
    return folder


def with_odd_bits(values: Array, rng: random.Random) -> Array:
    """Put NaNs of any payload and sign, infinities, zeros of either sign, and subnormal numbers in some places."""
    bits, width = values.reshape(-1).view(f"u{values.itemsize}"), 8 * values.itemsize
    exponent = 8 if width == 32 else 11
    infinite = ((1 << exponent) - 1) << (width - 1 - exponent)
    for _ in range(rng.randint(1, 4)):
        pattern = rng.choice([infinite, infinite | rng.randrange(1, 1 << 20), 0, 1, rng.randrange(1 << 20)])
        bits[rng.randrange(bits.size)] = pattern | rng.getrandbits(1) << (width - 1)
    return values


def random_store(folder: Path, place: Path, rng: random.Random, **options: Any) -> Path:
    source = zip_mouse(folder) if rng.random() < 0.5 else folder
    with quickly(**CUTS[rng.choice(list(CUTS))]):
        return convert_mouse(source, place / "stores", codec=rng.choice(CODECS), **options).store


# --- Every bit -------------------------------------------------------------------------------------------------------


@pytest.mark.promise(14)
@parts
def test_every_bit_is_kept(part: int, tmp_path: Path, tally: Tally, size: Size) -> None:
    """And one bit of the source that is changed afterwards is found, by the trial."""
    for number in range(size(6, 120)):
        rng, place = random.Random(f"{part} {number}"), tmp_path / str(number)
        folder = random_mouse(place, rng)
        files = len(trial_ids(folder)) * len(variables(folder))
        tally.inject(files + 1)
        store = random_store(folder, place, rng, workers=rng.choice([1, 3]))
        assert_holds_mouse(store, folder)
        compare_with_source(store, folder, workers=2)
        tally.survive(files)
        variable, trial = rng.choice(variables(folder)), rng.choice(trial_ids(folder))
        edit(trial_path(folder, variable, trial), lambda values, r=rng: with_one_bit(values, r))
        with pytest.raises(CorruptStoreError) as raised:
            compare_with_source(store, folder, workers=2)
        assert [(one.trial, one.member) for one in raised.value.problems] == [(trial, variable)], (part, number)
        tally.survive()


def with_one_bit(values: Array, rng: random.Random) -> Array:
    bits = values.reshape(-1).view(f"u{values.itemsize}")
    bits[rng.randrange(bits.size)] ^= np.array(1 << rng.randrange(8 * values.itemsize), bits.dtype)
    return values


@pytest.mark.promise(14)
@pytest.mark.parametrize("change", ["bit", "sign of zero", "payload of NaN"])
def test_a_changed_value_under_right_digests_is_noticed(change: str, tmp_path: Path, tally: Tally) -> None:
    """Of chunk and file; that of the trial's values is what remains, and the source itself."""
    folder = write_sample(tmp_path, mouse="P1", trials=3, neurons=4, image_shape=(2, 3))
    trim(folder)
    edit(trial_path(folder, "responses", 1), lambda values: np.array([0.0, np.nan, 1.0, 2.0], values.dtype))
    with quickly():
        store = copy_store(convert_mouse(folder, tmp_path / "stores", codec="none").store, tmp_path / "copy.zarr")
    array, name = open_mouse(store).recording.arrays["responses"], "responses/c.0.0"
    place = {"bit": 2, "sign of zero": 0, "payload of NaN": 1}[change]
    bit = 7 if change == "sign of zero" else 0
    change_number(store / name, array, 4 + place, bit)
    reseal(store, name)
    with pytest.raises(AssertionError, match="responses 1"):
        assert_holds_mouse(store, folder)
    with pytest.raises(CorruptStoreError, match="row 1 differs from trial 1"):
        compare_with_source(store, folder, workers=1)
    with pytest.raises(CorruptStoreError, match="row 1 holds other values than were packed"):
        check_full(store, workers=1)
    tally.notice()


def change_number(shard: Path, array: layout.ArrayLayout, place: int, bit: int) -> None:
    """Flip a bit of a number's first byte, or of its last; give the uncompressed chunk its checksum."""
    data = bytearray(shard.read_bytes())
    stored = np.empty(array.chunk, array.numpy_dtype)
    size = stored.nbytes + 4
    array.codec.decode(memoryview(data)[:size], stored)
    number = stored.reshape(-1)[place : place + 1].view(np.uint8)
    number[-1 if bit else 0] ^= 1 << bit
    data[:size] = b"".join(array.codec.encode(stored))
    shard.write_bytes(data)


# --- Statistics ------------------------------------------------------------------------------------------------------

EXACT = ("count", "min", "max", "median")
Numbers = dict[tuple[str, str, str], Array]


def numbers(found: Mapping[str, Any]) -> Numbers:
    return {
        (variable, reduction, name): np.asarray(getattr(reduced, name))
        for variable, reductions in found.items()
        for reduction, reduced in reductions.items()
        for name in layout.STATISTIC_NAMES
    }


def by_numpy(store: Path, folder: Path, ids: list[int]) -> Numbers:
    """Concatenate the files of some trials and let numpy reduce them, in float64 but for medians."""
    mouse, found = open_mouse(store), Numbers()
    withheld = dict(zip(mouse.recording.trial_ids.tolist(), mouse.recording.withheld.tolist(), strict=True))
    for variable in mouse.recording.variables:
        used = [one for one in ids if variable.name != "responses" or not withheld[one]]
        trials = [np.load(trial_path(folder, variable.name, one)).transpose(variable.axes) for one in used]
        values = np.stack(trials).astype(mouse.recording.arrays[variable.name].dtype)
        for reduction, kept in variable.reductions.items():
            names = (layout.TRIAL, *variable.dimensions)
            axes = tuple(axis for axis, name in enumerate(names) if name not in kept)
            for name, array in reduced(values, axes).items():
                found[variable.name, reduction, name] = np.asarray(array)
    return found


def reduced(values: Array, axes: tuple[int, ...]) -> dict[str, Array]:
    wide = values.astype(np.float64)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return {
            "count": (~np.isnan(values)).sum(axis=axes),
            "min": np.nanmin(values, axis=axes),
            "max": np.nanmax(values, axis=axes),
            "mean": np.nanmean(wide, axis=axes),
            "median": np.nanmedian(values, axis=axes),
            "std": np.nanstd(wide, axis=axes),
        }


def assert_right(found: Numbers, expected: Numbers) -> None:
    """Means and standard deviations to a millionth, of the numbers that there are; everything else to the bit."""
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        scale = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
        tolerance = {"rtol": 0, "atol": 0} if key[2] in EXACT else {"rtol": 1e-6, "atol": 1e-9 * scale}
        np.testing.assert_allclose(found[key], values, **tolerance, err_msg=str(key))


def few_trains(folder: Path, rng: random.Random) -> list[int]:
    """Put some trials, at least one, and no withheld ones alone, into the train tier; return them."""
    path, ids = folder / "meta/trials/tiers.npy", trial_ids(folder)
    chosen = sorted(rng.sample(ids, rng.randint(1, len(ids))))
    tiers = np.load(path).astype("U16")
    tiers[ids] = "oracle"
    tiers[chosen] = "train"
    np.save(path, tiers)
    return chosen


def plain_mouse(place: Path, rng: random.Random) -> tuple[Path, list[int]]:
    folder = write_sample(
        place,
        mouse=rng.choice(("A", "C", "P1", "P2")),
        trials=rng.randint(2, 7),
        neurons=rng.randint(1, 9),
        image_shape=(rng.randint(1, 6), rng.randint(1, 8)),
        seed=rng.randrange(2**31),
    )
    trim(folder)
    return folder, few_trains(folder, rng)


@pytest.mark.promise(15)
@parts
def test_statistics_are_those_of_numpy(part: int, tmp_path: Path, tally: Tally, size: Size) -> None:
    """For any cut into chunks and shards, codec, number of threads, and memory: stored ones, and computed ones."""
    for number in range(size(5, 100)):
        rng, place = random.Random(f"{part} {number}"), tmp_path / str(number)
        folder, train = plain_mouse(place, rng)
        tally.inject()
        store = random_store(folder, place, rng, workers=rng.choice([1, 2]))
        expected, mouse = by_numpy(store, folder, train), open_mouse(store)
        stored = numbers(mouse.statistics)
        assert_right(stored, expected)
        for threads in (1, rng.randint(2, 7)):
            found = numbers(train_statistics(mouse, threads=threads, max_memory=rng.choice(["1GiB", "400MB"])))
            assert [key for key in stored if stored[key].tobytes() != found[key].tobytes()] == [], (part, number)
        tally.survive()


@pytest.mark.promise(15)
def test_a_trial_too_few_is_noticed(tmp_path: Path, tally: Tally, size: Size) -> None:
    for number in range(size(3, 20)):
        rng, place = random.Random(number), tmp_path / str(number)
        folder, train = plain_mouse(place, rng)
        if len(train) > 1:
            store = random_store(folder, place, rng)
            expected = by_numpy(store, folder, train[:-1])
            with pytest.raises(AssertionError):
                assert_right(numbers(open_mouse(store).statistics), expected)
            tally.notice()

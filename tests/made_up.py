"""Small mice with everything that a published tree may have, made up from a seed."""

from pathlib import Path
from typing import Any

import numpy as np

from .mice import Array

_SMALL: dict[str, Array] = {
    "meta/trials/answer.npy": np.array(42, np.uint8),
    "meta/neurons/empty.npy": np.zeros((0, 3), np.float32),
    "meta/other/bytes.npy": np.array([b"a\0b", b"", b"xyz"]),
    "meta/other/dates.npy": np.array(["2021-01-01", "NaT"], "M8[D]"),
    "meta/other/spans.npy": np.array([[1, 2], [3, -4]], ">m8[ms]"),
    "meta/other/truths.npy": np.array([True, False, True]),
    "meta/other/halves.npy": np.array([1.5, np.nan, -0.0], np.float16),
    "meta/other/words.npy": np.array([["ä", ""], ["two\nlines", "NaN"]]),
    "meta/other/swapped.npy": np.array(["x", "yz"], ">U4"),
    "meta/other/with_nul.npy": np.array(["a\0b", "c", "é\0\0d"]),
    "meta/other/fortran.npy": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
    "meta/statistics/responses/all/mean.npy": np.linspace(0, 1, 7),
    "meta/statistics/odd name/x.npy": np.array([], np.int64),
}


def write_made_up(place: Path, seed: int) -> Path:
    """Write a mouse of few trials; return its folder."""
    choose = np.random.default_rng(seed)
    dynamic, n_neurons, n_frames = bool(choose.integers(2)), int(choose.integers(1, 9)), int(choose.integers(2, 70))
    folder = place / f"mouse {seed} é"
    numbers = sorted(choose.choice(20, int(choose.integers(1, 9)), replace=False).tolist())
    tiers = np.full(numbers[-1] + 1 + int(choose.integers(3)), "none", ">U16" if seed % 3 == 0 else "<U16")
    tiers[numbers] = choose.choice(["train", "oracle", "final_test_bonus", "none"], len(numbers))
    kinds = choose.choice(["<f4", ">f4", "<f8", ">f8"], int(choose.integers(1, 3)))
    shapes = _shapes(dynamic, n_neurons, n_frames)
    for variable, shape in shapes.items():
        (folder / "data" / variable).mkdir(parents=True)
        for number in numbers:
            values = _values(choose, shape, str(choose.choice(kinds)), dynamic=dynamic)
            if variable == "responses" and choose.integers(3) == 0:
                values = np.zeros_like(values)
            values = np.asfortranarray(values) if choose.integers(2) else values
            np.save(folder / "data" / variable / f"{number}.npy", values)
    _save(folder / "meta/trials/tiers.npy", tiers)
    _save(folder / "meta/trials/idx.npy", choose.integers(0, 1000, len(tiers)).astype(">u2"))
    ids = np.sort(choose.choice(9000, n_neurons, replace=False))
    _save(folder / "meta/neurons/unit_ids.npy", ids.astype(str) if seed % 4 == 0 else ids)
    chosen = [name for name in _SMALL if choose.integers(2) and not name.startswith("meta/neurons/")]
    for name in chosen:
        _save(folder / name, _SMALL[name])
    if choose.integers(2):
        (folder / "meta/notes.txt").write_bytes(bytes(choose.integers(0, 256, int(choose.integers(0, 5000)), np.uint8)))
    if choose.integers(2):
        (folder / "config.json").write_text('{"links": {"a": "é"}}', "utf-8")
    return folder


def _shapes(dynamic: bool, n_neurons: int, n_frames: int) -> dict[str, tuple[int, ...]]:
    if dynamic:
        return {
            "videos": (3, 4, n_frames),
            "responses": (n_neurons, n_frames),
            "behavior": (2, n_frames),
            "pupil_center": (2, n_frames),
        }
    return {"images": (1, 3, 5), "responses": (n_neurons,), "behavior": (3,), "pupil_center": (2,)}


def _values(choose: Any, shape: tuple[int, ...], descr: str, *, dynamic: bool) -> Array:
    """Return random numbers with some NaN payloads and negative zeros; a part of the trials is padded."""
    values = choose.normal(size=shape).astype(descr[1:])
    unsigned = values.view(f"u{values.dtype.itemsize}").reshape(-1)
    negative_nan = np.array(-np.nan, values.dtype).view(unsigned.dtype)
    unsigned[choose.integers(0, unsigned.size)] = negative_nan | 5
    values.reshape(-1)[choose.integers(0, values.size)] = -0.0
    if dynamic and choose.integers(2) and shape[-1] > 2:
        values[..., -1] = np.nan
    return values.astype(descr)


def _save(path: Path, values: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)

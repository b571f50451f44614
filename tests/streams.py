"""Stores for tests of the training stream, and what a sample of them has to be, read with zarr-python."""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trialpack.convert import convert_mouse
from trialpack.readers import Batch, Mouse, TrialLoader, open_mouse
from trialpack.store import OptionError, layout

from .mice import Array, assert_same_bits, open_store, published_variables

STIMULI = {"dynamic": "videos", "static": "images"}
OTHERS = ("responses", "behavior", "pupil_center")

CUTS: dict[str, dict[str, int]] = {
    "as released": {},
    "odd chunks": {"SHARD_BYTES": 100_000, "CHUNK_FRAMES": 7, "CHUNK_BYTES": 1},
    "shared chunks": {"SHARD_BYTES": 150_000, "CHUNK_BYTES": 12_000, "JOINT_CHUNKS": 1},
    "small shards": {"SHARD_BYTES": 6000, "CHUNK_BYTES": 1200, "JOINT_CHUNKS": 1},
}
"""Constants of the layout: how shards and chunks are cut. Of odd chunks each is of one trial; shared, of several."""
COMPRESSED = {**layout.CODECS, "fast": tuple(one for one in layout.CODECS["fast"] if one.compressor != "none")}
"""Codecs of which `fast` compresses whatever it comes to: else it would leave the noise of tests as it is."""


@contextlib.contextmanager
def quickly(**constants: int) -> Iterator[None]:
    """Convert with other constants of the layout, and compress where `fast` may."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"CODECS": COMPRESSED, **constants}.items():
            patch.setattr(layout, name, value)
        yield


def pack(folder: Path, to: Path, cut: str = "as released", *, statistics: bool = False, **options: Any) -> Mouse:
    """Convert a mouse, and open it."""
    with quickly(**CUTS[cut]):
        return open_mouse(convert_mouse(folder, to, statistics=statistics, verify=False, **options).store)


class Recorded:
    """All that a store holds, by zarr-python, as float32."""

    def __init__(self, mouse: Mouse) -> None:
        group = open_store(mouse.path)
        self.kind, self.name, self.stimulus = mouse.kind, mouse.name, STIMULI[mouse.kind]
        self.values = {name: np.asarray(group[name][:]).astype(np.float32) for name in (self.stimulus, *OTHERS)}
        self.ids = group["trials/trial_id"][:].tolist()
        self.tiers = group["trials/tier"][:].tolist()
        self.withheld = group["trials/withheld"][:].tolist()
        self.n_frames = group["trials/n_frames"][:].tolist() if self.kind == "dynamic" else None

    def sample(self, name: str, row: int, start: int, frames: int, stride: int = 1, neurons: Any = None) -> Array:
        """Return one variable of a sample with the axes of the store."""
        values, axes = self.values[name][row], published_variables(self.kind)
        axis = next(one for one in axes if one.name == name).frame_axis
        if axis is not None:
            values = values.take(np.arange(frames) * stride + start, axis)
        return values[neurons] if name == "responses" and neurons is not None else values

    def batch(
        self,
        trial_ids: Sequence[int],
        starts: Sequence[int],
        frames: int,
        *,
        stride: int = 1,
        neurons: Any = None,
        channels: Sequence[str] = (),
        variables: Sequence[str] | None = None,
        normalized: Mapping[str, Any] | None = None,
    ) -> dict[str, Array]:
        """Return the arrays of a batch, put together by hand.

        Parameters
        ----------
        normalized
            Variable -> function of (values of a sample in the axes of the store, frame numbers) that returns others.
        """
        names = tuple(variables or self.values)
        found = dict[str, list[Array]]()
        for trial, start in zip(trial_ids, starts, strict=True):
            row, numbers = self.ids.index(trial), np.arange(frames) * stride + start
            one = {name: self.sample(name, row, start, frames, stride, neurons) for name in {*names, *channels}}
            for name, change in (normalized or {}).items():
                if name in one:
                    one[name] = change(one[name], numbers)
            if self.stimulus in one:
                one[self.stimulus] = with_channels(one[self.stimulus], [one[name] for name in channels], self.kind)
            for name in names:
                found.setdefault(name, []).append(one[name])
        return {name: np.stack(values) for name, values in found.items()}


def with_channels(stimulus: Array, others: Sequence[Array], kind: str) -> Array:
    """Return a video (1 + …, frame, height, width), or an image (image_channel + …, height, width)."""
    own = stimulus[None] if kind == "dynamic" else stimulus
    repeated = [np.broadcast_to(one[..., None, None], (*one.shape, *own.shape[-2:])) for one in others]
    return np.concatenate([own, *repeated])


def as_numpy(value: Any) -> Array:
    return np.asarray(value)


def assert_batch(batch: Batch, recorded: Recorded, **options: Any) -> None:
    """Compare every bit of a batch, and what it says of its samples, with what the store holds."""
    ids, starts = as_numpy(batch["trial_id"]), as_numpy(batch["start"])
    assert (ids.dtype, starts.dtype, ids.shape) == (np.int64, np.int64, starts.shape)
    rows = [recorded.ids.index(trial) for trial in ids.tolist()]
    assert batch.mouse == recorded.name
    assert list(batch.tier or ()) == [recorded.tiers[row] for row in rows]
    expected = recorded.batch(ids.tolist(), starts.tolist(), frames_of(batch), **options)
    assert set(batch) == {*expected, "trial_id", "start"}
    for name, values in expected.items():
        assert_same_bits(np.ascontiguousarray(as_numpy(batch[name])), values, name)


def frames_of(batch: Mapping[str, Any]) -> int:
    """Return how many frames the samples of a batch have; zero without frames."""
    for name in OTHERS:
        if name in batch:
            return batch[name].shape[-1] if batch[name].ndim == 3 else 0
    return batch["videos"].shape[2] if "videos" in batch else 0


def least_memory(mouse: Any, **options: Any) -> int:
    """Return the bytes that a loader asks for when it is given too little."""
    with pytest.raises(OptionError, match="does not suffice") as raised:
        TrialLoader(mouse, **options, memory=1)
    return int(re.search(r"take ([\d,]+)", str(raised.value))[1].replace(",", ""))  # type: ignore[index]


def kept_bytes(recorded: Recorded) -> int:
    """Return the bytes of all trials, decoded; of dynamic mice up to the last frame that any trial has."""
    total = 0
    for name, values in recorded.values.items():
        axis = next(one for one in published_variables(recorded.kind) if one.name == name).frame_axis
        shape = list(values.shape)
        if axis is not None and recorded.n_frames is not None:
            shape[axis + 1] = max(recorded.n_frames)
        total += int(np.prod(shape)) * 4
    return total


def open_files(folder: Path) -> int:
    """Return how many files in a folder this process has open, the folder and those in it included."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += Path(os.readlink(f"/proc/self/fd/{name}")).is_relative_to(folder)
    return found


def flip(path: Path, place: int, mask: int = 0x10) -> None:
    """Change a byte of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= mask
    path.write_bytes(data)

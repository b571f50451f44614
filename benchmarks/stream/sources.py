"""What the readers of ``python -m benchmarks stream`` read: recordings, stores of them, and files of the peers' own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from trialpack import convert_mouse, open_mouse
from trialpack.store.layout import TRAIN_TIER, CodecName

from .. import data
from ..report import console
from .cache import nbytes
from .entries import BARE, CHUNK_FRAMES, DEFAULT, MEMORY, NPY, Entry
from .workloads import VALID, Sum, Task, Workload, check, published

CODECS: dict[str, CodecName] = {DEFAULT: "fast", BARE: "none"}


@dataclass
class Source:
    """One recording, all of the train tier, and everything made of it so far.

    Attributes
    ----------
    folder
        Where stores are made. What the peers read is kept beside the recording, for the next run.
    known
        Checksums of samples, by workload.
    """

    tree: Path
    folder: Path
    paths: dict[str, Path] = field(default_factory=dict[str, Path])
    known: dict[Workload, dict[tuple[int, int], dict[str, int]]] = field(default_factory=dict[Workload, Any])

    def __post_init__(self) -> None:
        tiers = np.load(self.tree / "meta/trials/tiers.npy")
        self.trial_ids: list[int] = np.flatnonzero(tiers == TRAIN_TIER).tolist()

    def path(self, reads: str) -> Path:
        """Return what an entry that reads this reads; stores are made on first use."""
        if reads in (NPY, MEMORY):
            return self.tree
        if reads in CODECS and reads not in self.paths:
            self.paths[reads] = self._converted(CODECS[reads])
        kept = self.tree.parent.with_name(f"{self.tree.parent.name}-{reads.replace(' ', '-')}")
        return self.paths.get(reads, kept)

    def task(self, entry: Entry, workload: Workload, **options: Any) -> Task:
        """Return what an entry has to do."""
        own = dict[str, Any]()
        if entry.reads in CHUNK_FRAMES:
            own = {"store": str(self.path(DEFAULT)), "frames": CHUNK_FRAMES[entry.reads]}
        return Task(
            workload, str(self.tree), str(self.path(entry.reads)), self.trial_ids, {**entry.options, **own, **options}
        )

    def on_disk(self, entry: Entry) -> int | None:
        """Return the bytes of the files that an entry reads."""
        if entry.reads == MEMORY:
            return None
        return data.npy_bytes(self.tree / "data") if entry.reads == NPY else nbytes(self.path(entry.reads))

    def sample_bytes(self, workload: Workload) -> int:
        """Return the bytes of one sample."""
        return sum(values.nbytes for values in published(self.tree, workload, self.trial_ids[0], 0).values())

    def check(self, found: list[Sum], task: Task) -> None:
        """Compare what a reader delivered with the published files."""
        known = self.known.setdefault(task.workload, {})
        check(found, task, known)
        if not task.workload.whole:
            known.clear()  # windows hardly ever come again

    def _converted(self, codec: CodecName) -> Path:
        console.print(f"converting {self.tree}, --codec {codec}", style="dim", soft_wrap=True)
        store = convert_mouse(self.tree, self.folder / codec, codec=codec, statistics=False, verify=False).store
        recording = open_mouse(store).recording
        n_frames = recording.n_frames
        if recording.trial_ids.tolist() != self.trial_ids or (n_frames is not None and np.any(n_frames != VALID)):
            raise RuntimeError(f"{self.tree}: not all trials are of the train tier and have {VALID} frames")
        return store

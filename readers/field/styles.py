"""What the loaders of public projects are like, as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ...store import layout
from ...store.layout import TRAIN_TIER, Kind
from ...store.variables import BEHAVIOR, IMAGES, PUPIL_CENTER, RESPONSES, VIDEOS
from ..mouse import Mouse
from ..transforms import ViV1TNormalization

StyleName = Literal["sensorium2022", "sensorium2023", "viv1t"]


@dataclass(frozen=True)
class Style:
    """What the loaders of one project are like.

    Attributes
    ----------
    kind
        The kind of mice that it reads.
    key
        What it calls a mouse.
    options
        Arguments of `TrialLoader` that do what it does unless told otherwise.
    tiers
        Tier -> what it calls the loaders of this tier; those of other tiers have the tier's name.
    always
        Tiers of which every mouse has a loader, be it an empty one.
    dataset_class
        Class of neuralpredictors that it asks a data set for; None where a data set is of one tier only, its batches
        are dictionaries, and trials outside of the train tier are whole, each a batch of its own.
    names
        Variable -> what it is called in a batch, where that differs.
    labels
        Tier -> what a batch and a data set call it, where that differs.
    max_frames
        Frames of a trial that are read at most; by default as many as the longest train trial has.
    """

    kind: Kind
    key: Callable[[Mouse], str]
    options: Mapping[str, Any]
    tiers: Mapping[str, str]
    always: tuple[str, ...] = ()
    dataset_class: str | None = None
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    max_frames: int | None = None

    @property
    def by_tier(self) -> bool:
        """Whether a data set is of one tier."""
        return self.dataset_class is None

    def options_for(self, mouse: Mouse) -> dict[str, Any]:
        """Return the options, with those variables that a mouse has."""
        own = {
            name: tuple(one for one in self.options.get(name, ()) if one in mouse.variables)
            for name in ("variables", "channels")
        }
        return {**self.options, **own}

    def frames_of(self, mouse: Mouse) -> int | None:
        """Return how many frames of a trial are read if they are normalized; None without frames, or for all."""
        n_frames, tiers = mouse.recording.n_frames, mouse.recording.tiers
        if n_frames is None or TRAIN_TIER not in tiers:
            return None
        return self.max_frames or int(n_frames[tiers == TRAIN_TIER].max())

    def ordered(self, tiers: Iterable[str]) -> list[str]:
        """Return tiers in the order of the project, others behind them."""
        found = set(tiers)
        return [*(tier for tier in self.tiers if tier in found), *sorted(found - self.tiers.keys())]


def _numbers(mouse: Mouse) -> str:
    """Return animal, session and scan, as `static_loader` cuts them out of a path."""
    return re.sub("^static|preproc|-(Gray|Color)ImageNet.*", "", mouse.name)


_TESTS = ("live_test_main", "live_test_bonus", "final_test_main", "final_test_bonus")
STYLES: Mapping[StyleName, Style] = {
    # sinzlab/sensorium c433fed sensorium/datasets/mouse_loaders.py
    "sensorium2022": Style(
        kind="static",
        key=_numbers,
        options={"variables": (IMAGES, RESPONSES), "normalize": "field"},
        tiers={tier: tier for tier in (TRAIN_TIER, "validation", "test", "final_test")},
        always=(TRAIN_TIER, "validation", "test", "final_test"),
        dataset_class="FileTreeDataset",
    ),
    # ecker-lab/sensorium_2023 49547d9 sensorium/datasets/mouse_video_loaders.py
    "sensorium2023": Style(
        kind="dynamic",
        key=lambda mouse: mouse.name,
        options={
            "variables": (VIDEOS, RESPONSES, BEHAVIOR, PUPIL_CENTER),
            "channels": (BEHAVIOR,),
            "normalize": "field",
        },
        tiers={tier: tier for tier in (TRAIN_TIER, "oracle", *_TESTS)},
        dataset_class="MovieFileTreeDataset",
    ),
    # bryanlimy/ViV1T 765cf77 src/viv1t/data/data.py, with --stat_mode 1 --transform_mode 1
    "viv1t": Style(
        kind="dynamic",
        key=lambda mouse: mouse.letter or layout.short_name(mouse.name),
        options={
            "variables": (VIDEOS, RESPONSES, BEHAVIOR, PUPIL_CENTER),
            "normalize": ViV1TNormalization(1),
        },
        tiers={TRAIN_TIER: TRAIN_TIER, "oracle": "validation"} | {tier: tier.replace("_test", "") for tier in _TESTS},
        names={VIDEOS: "video", RESPONSES: "response"},
        labels={"oracle": "validation"},
        max_frames=300,
    ),
}

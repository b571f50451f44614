"""Contents of the published mice: tiers, gaps, valid lengths and withheld trials."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

NO_TIER = "none"
"""The tier of a file number that has no files."""
_TEST_SHARE = 0.166
_VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class PublishedMouse:
    """One published recording; the tuples are indexed by file number.

    Attributes
    ----------
    name
        Folder name in the published archive.
    letter
        A to J (Sensorium 2023), S0 and S1 (Sensorium 2022), P1 to P5 (its pre-training mice).
    kind
        ``"dynamic"`` for videos, ``"static"`` for images.
    n_neurons
        Number of neurons.
    n_frames
        Frames every array is padded to; 0 for a static mouse.
    dtype
        Floating point type of the published arrays.
    tiers
        Tier of each file number; ``"none"`` where no file exists.
    valid_frames
        Frames before the padding; 0 where no file exists and for static mice.
    withheld
        True where the published responses are zeros.
    stimulus
        Stimulus class; empty where no file exists.
    video_ids
        Number of the clip that was shown; 0 where no file exists and for static mice.
    behavior_withheld
        True where behavior and pupil_center are zeros in every trial.
    """

    name: str
    letter: str
    kind: Literal["dynamic", "static"]
    n_neurons: int
    n_frames: int
    dtype: Literal["float32", "float64"]
    tiers: tuple[str, ...]
    valid_frames: tuple[int, ...]
    withheld: tuple[bool, ...]
    stimulus: tuple[str, ...]
    video_ids: tuple[int, ...]
    behavior_withheld: bool = False

    @property
    def trial_ids(self) -> tuple[int, ...]:
        """File numbers that exist, ascending."""
        return tuple(number for number, tier in enumerate(self.tiers) if tier != NO_TIER)

    @property
    def scan(self) -> tuple[int, int, int]:
        """Animal, session and scan, as spelled in the name."""
        animal, session, scan = self.name.removeprefix(self.kind).split("-")[:3]
        return int(animal), int(session), int(scan)


@lru_cache(maxsize=1)
def published_mice() -> dict[str, PublishedMouse]:
    """Return every published mouse by its letter.

    Returns
    -------
    dict
        A to J, S0, S1 and P1 to P5. Treat it as read-only: it is shared between callers.

    Notes
    -----
    The dynamic mice are as published. Of the static mice only the number of files and neurons is
    public, so their tiers are a fixed pseudo-random assignment, in random order as in the archives:
    about 990 test (100 images shown about ten times), as many final_test for S0 and S1, a tenth of
    the rest validation, the others train.

    Examples
    --------
    >>> mouse = published_mice()["A"]
    >>> mouse.n_neurons, len(mouse.tiers), len(mouse.trial_ids)
    (7440, 740, 720)
    """
    text = (resources.files(__package__ or "trialpack.convert") / "data" / "published_mice.json").read_text("utf-8")
    facts: dict[str, Any] = json.loads(text)
    mice = [_dynamic(entry, facts) for entry in facts["dynamic"]] + [_static(entry) for entry in facts["static"]]
    return {mouse.letter: mouse for mouse in mice}


def find_published(key: str) -> PublishedMouse | None:
    """Find a published mouse by letter, name, or the start of its name.

    Parameters
    ----------
    key
        Such as ``"A"`` or ``"a"``, ``"dynamic29156-11-10"`` or the full folder name.

    Returns
    -------
    PublishedMouse or None
        None if no mouse fits. A shortened name must end where a part of the name ends.

    Examples
    --------
    >>> find_published("static26872-17-20").letter
    'S0'
    >>> find_published("dynamic2") is None
    True
    """
    mice = published_mice()
    named = (mouse for mouse in mice.values() if mouse.name == key or mouse.name.startswith(f"{key}-"))
    return mice.get(key.upper()) or _only(named)


def _only(mice: Iterator[PublishedMouse]) -> PublishedMouse | None:
    found = list(mice)
    return found[0] if len(found) == 1 else None


def _dynamic(entry: dict[str, Any], facts: dict[str, Any]) -> PublishedMouse:
    tiers = tuple(facts["tier_letters"][letter] for letter in entry["tiers"])
    stimulus = tuple(facts["stimulus_letters"][letter] for letter in entry["stimuli"])
    # Natural images are the only class whose length differs between trials.
    varying = iter(entry["natural_images_frames"])
    video_ids = iter(entry["video_ids"])
    fixed: dict[str, int] = {"": 0, **facts["stimulus_frames"]}
    return PublishedMouse(
        name=entry["name"],
        letter=entry["letter"],
        kind="dynamic",
        n_neurons=entry["n_neurons"],
        n_frames=entry["n_frames"],
        dtype=entry["dtype"],
        tiers=tiers,
        valid_frames=tuple(next(varying) if name == "NaturalImages" else fixed[name] for name in stimulus),
        withheld=tuple(tier in entry["withheld_tiers"] for tier in tiers),
        stimulus=stimulus,
        video_ids=tuple(next(video_ids) if name else 0 for name in stimulus),
    )


def _static(entry: dict[str, Any]) -> PublishedMouse:
    tiers = _static_tiers(entry)
    return PublishedMouse(
        name=entry["name"],
        letter=entry["letter"],
        kind="static",
        n_neurons=entry["n_neurons"],
        n_frames=0,
        dtype=entry["dtype"],
        tiers=tiers,
        valid_frames=(0,) * len(tiers),
        withheld=tuple(tier in entry["withheld_tiers"] for tier in tiers),
        stimulus=("ImageNet",) * len(tiers),
        video_ids=(0,) * len(tiers),
        behavior_withheld=entry["behavior_withheld"],
    )


def _static_tiers(entry: dict[str, Any]) -> tuple[str, ...]:
    n_files: int = entry["n_files"]
    # S0 and S1 have about 1000 more files than the others, for a second test tier of the same size.
    has_final = bool(entry["withheld_tiers"])
    n_test = round(_TEST_SHARE * n_files / (1 + _TEST_SHARE)) if has_final else round(_TEST_SHARE * n_files)
    n_final = n_test if has_final else 0
    rest = n_files - n_test - n_final
    n_train: int = entry.get("n_train", rest - round(_VALIDATION_SHARE * rest))
    counts = {"train": n_train, "validation": rest - n_train, "test": n_test, "final_test": n_final}
    ordered: list[str] = [tier for tier, count in counts.items() for _ in range(count)]
    shuffled: NDArray[np.int64] = np.random.default_rng(zlib.crc32(entry["name"].encode())).permutation(n_files)
    return tuple(ordered[int(number)] for number in shuffled)

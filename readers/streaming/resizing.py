"""The size of pictures in a batch."""

from __future__ import annotations

from collections.abc import Sequence

from ...store import OptionError, Problem
from ..direct import Pictures, Size
from ..mouse import Mouse
from .mouse_stream import Selection
from .options import LABEL, Content


def pictures_of(mouse: Mouse, content: Content, read: Sequence[str]) -> Pictures | None:
    """Return how the stimulus is cropped and downscaled; None if it is not.

    Raises
    ------
    OptionError
        There are no pictures, or a size is larger than what it is to be made of.
    """
    if content.stimulus_size is None and content.crop is None:
        return None
    stimulus = mouse.recording.stimulus
    if stimulus is None or not stimulus.has_pictures or stimulus.name not in read:
        advice = "leave stimulus_size and crop out, or read a stimulus of pictures"
        raise OptionError(Problem(str(mouse.path), "no pictures to crop or downscale are read", advice))
    recorded = _recorded(mouse)
    crop = recorded if content.crop is None else content.crop
    size = crop if content.stimulus_size is None else content.stimulus_size
    for name, one, most in (("crop", crop, recorded), ("stimulus_size", size, crop)):
        if one[0] > most[0] or one[1] > most[1]:
            what = f"{name} of {_by(one)} pixels is larger than the {_by(most)} that there are"
            raise OptionError(Problem(str(mouse.path), what, f"choose {name} up to {most}"))
    return Pictures(stimulus.picture_dimensions, recorded, crop, size)


def check_sizes(mice: Sequence[Mouse], selections: Sequence[Selection]) -> None:
    """Check that the pictures of all mice have one size.

    Raises
    ------
    OptionError
        They do not.
    """
    found = dict[str, tuple[str, Size]]()
    for mouse, one in zip(mice, selections, strict=True):
        stimulus = mouse.recording.stimulus
        if stimulus is None or not stimulus.has_pictures or stimulus.name not in one.read:
            continue
        size = _recorded(mouse) if one.pictures is None else one.pictures.size
        other, first = found.setdefault(stimulus.name, (mouse.name, size))
        if size != first:
            what = f"{stimulus.name} of {other} have {_by(first)} pixels, those of {mouse.name} {_by(size)}"
            smallest = (min(first[0], size[0]), min(first[1], size[1]))
            raise OptionError(Problem(LABEL, what, f"choose one size for all, such as stimulus_size={smallest}"))


def _recorded(mouse: Mouse) -> Size:
    stimulus = mouse.recording.stimulus
    assert stimulus is not None
    array = mouse.recording.arrays[stimulus.name]
    height, width = (array.shape[array.dimensions.index(name)] for name in stimulus.picture_dimensions)
    return height, width


def _by(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))

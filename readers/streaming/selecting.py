"""What a loader reads of each mouse, and which of its samples form batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...store import OptionError, Problem, layout
from ...store.arguments import refuse
from ...store.layout import Variable
from ..direct import BFLOAT16
from ..mouse import Mouse
from ..normalization import Used, affines
from ..sampling import MixedMice, MouseBatches, OwnPlans, Sampler, Shards, Trials, Windows, parse
from ..selection import POSITION, Choice, check_once, is_several
from .mouse_stream import Selection
from .options import LABEL, Content, Order, check_dtypes, dtypes_of
from .ranks import Share
from .resizing import check_sizes, pictures_of


def checked_mice(mice: Any) -> list[Mouse]:
    """Return one mouse or several as a list.

    Raises
    ------
    OptionError
        Something else is given, or nothing.
    """
    found: list[Any] = list(mice) if is_several(mice) and not isinstance(mice, Mouse) else [mice]
    if wrong := [one for one in found if not isinstance(one, Mouse)]:
        refuse("mice", "a Mouse, as open_mouse returns it, or several", wrong[0])
    if not found:
        raise OptionError(Problem(LABEL, "no mice are given", "give at least one"))
    return found


def check_kinds(mice: Sequence[Mouse], *, mixed: bool) -> None:
    """Check that all mice are static, or all dynamic, unless they may be mixed.

    Raises
    ------
    OptionError
        They are not.
    """
    if not mixed and (other := [mouse for mouse in mice if mouse.kind != mice[0].kind]):
        what = f"{other[0].kind}, where {mice[0].path} is {mice[0].kind}: their batches have other variables and axes"
        raise OptionError(Problem(str(other[0].path), what, "choose mice of one kind, or mixed_kinds=True"))


def select(mice: Sequence[Mouse], content: Content, windows: Sequence[Windows], memory: int) -> list[Selection]:
    """Return what of each mouse is streamed, given its windows.

    Parameters
    ----------
    memory
        Bytes that normalization may hold.

    Raises
    ------
    OptionError
        A choice does not fit; responses that are chosen are withheld; pictures of two mice differ in size; or the
        memory does not suffice.
    """
    trials = of_each("trials", content.trials, len(mice))
    neurons = of_each("neurons", content.neurons, len(mice))
    each = zip(mice, windows, trials, neurons, strict=True)
    found, nbytes = list[Selection](), 0
    for mouse, frames, rows, positions in each:
        found.append(_select(mouse, content, frames, rows, positions))
        # Before more are read: of hundreds of mice they can take more than there is. Float32 may suffice for float64.
        nbytes += sum(one.nbytes for one in found[-1].affines.values()) // 2
        if nbytes > memory and len(found) < len(mice):
            what = f"memory of {memory:,} bytes does not suffice: normalization of {len(found)} of {len(mice)} mice"
            advice = "give more memory, or normalize by statistics over trials_and_frames"
            raise OptionError(Problem(LABEL, f"{what} takes {nbytes:,}", advice))
    check_sizes(mice, found)
    return found


def make_sampler(mice: Sequence[Mouse], selections: Sequence[Selection], order: Order, share: Share) -> Sampler:
    """Return the batches of an epoch, of all mice, that are this process's share.

    Raises
    ------
    OptionError
        A mouse, or a rank, would get no batch; or a sampler of one's own asks for what is not there.
    """
    turns = order.turns
    each = zip(mice, selections, order.windows, strict=True)
    batches = [_batches(number, mouse, one.rows, windows, order) for number, (mouse, one, windows) in enumerate(each)]
    known = [{mouse.name, layout.short_name(mouse.name)} | {mouse.letter or mouse.name} for mouse in mice]
    epochs = (
        MixedMice(batches, parse(turns.mixing, known), order.seed)
        if order.sampler is None
        else OwnPlans(order.sampler, batches, known)
    )
    # Of one mouse, ranks have the same one anyway.
    found = Sampler(epochs, share.rank, share.world_size, turns.drop_last, turns.same_mouse and len(mice) > 1)
    found.check()
    return found


def _batches(number: int, mouse: Mouse, rows: NDArray[np.int64], windows: Windows, order: Order) -> MouseBatches:
    """Return the batches of a mouse: of any samples, or of all repeats of a stimulus."""
    settings = order.shuffle, order.turns.drop_last and order.sampler is None
    if order.batch_size is not None:
        trials = _trials(mouse, np.sort(rows) if order.shuffle else rows)
        mixed = order.shuffle_shards
        shards = None if mixed is None else Shards(mouse.recording.rows_per_shard, mixed)
        return MouseBatches(number, trials, windows, order.batch_size, *settings, shards=shards)
    groups = _repeated(mouse, rows)
    trials = _trials(mouse, np.array([group[0] for group in groups]))
    trials = replace(trials, rows=np.arange(len(groups)))
    if mouse.recording.n_frames is not None:
        # As by `Repeats`, frames are those that all repeats have.
        shortest = [int(mouse.recording.n_frames[group].min()) for group in groups]
        trials = replace(trials, n_frames=np.array(shortest))
    return MouseBatches(number, trials, windows, max(map(len, groups)), *settings, groups)


def _repeated(mouse: Mouse, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Return, for each stimulus that several trials show, the rows of these."""
    ids = mouse.recording.trial_ids
    try:
        return tuple(np.searchsorted(ids, group) for group in mouse.repeats(trials=ids[rows]).values())
    except OptionError as error:
        advice = (
            "choose others, or a sampler of Plans of mouse.repeats(max_difference=1): repeats may differ by rounding"
        )
        raise OptionError(replace(one, advice=advice) for one in error.problems) from None


def _select(
    mouse: Mouse, content: Content, windows: Windows, trials: Choice | None, neurons: Choice | None
) -> Selection:
    """Return what of a mouse is streamed."""
    rows = mouse.rows(tier=content.tier, trials=trials)
    check_once(str(mouse.path), layout.TRIAL_ID, mouse.recording.trial_ids[rows])
    rows = np.concatenate(_repeated(mouse, rows)) if content.repeats else rows
    variables, channels = content.variables, content.channels
    variables = mouse.variables if variables is None else variables
    if not variables:
        raise OptionError(Problem(LABEL, "no variables are chosen", f"choose of {', '.join(mouse.variables)}"))
    for name in (*variables, *channels):
        mouse.recording.array(name)
    _check_channels(mouse, variables, channels)
    if layout.RESPONSES in variables and not content.hidden:
        _check_responses(mouse, rows)
    positions = None if neurons is None else mouse.positions(neurons)
    if positions is not None:
        check_once(str(mouse.path), POSITION, positions)
    windows.check(_trials(mouse, rows))
    frames = windows.used(0 if mouse.recording.n_frames is None else int(mouse.recording.n_frames[rows].max()))
    read = tuple(dict.fromkeys((*variables, *channels)))
    scales = affines(mouse.index, mouse.recording, content.normalize, read, Used(frames, positions))
    dtypes, pictures = dtypes_of(mouse, read, content.dtype), pictures_of(mouse, content, read)
    resized = [] if pictures is None or mouse.recording.stimulus is None else [mouse.recording.stimulus.name]
    wide = [name for name in read if name not in resized and dtypes[name] != BFLOAT16]
    whole = frozenset(n for n in wide if np.can_cast(mouse.recording.array(n).numpy_dtype, dtypes[n]))
    found = Selection(rows, positions, variables, channels, scales, dtypes, content.order, pictures, frames.stop, whole)
    check_dtypes(mouse, found)
    return found


def _check_channels(mouse: Mouse, variables: tuple[str, ...], channels: tuple[str, ...]) -> None:
    """Check that there are pictures to which the channels can be added, frame by frame."""
    stimulus, recording = mouse.recording.stimulus, mouse.recording
    fit = [] if stimulus is None else [one.name for one in recording.variables if _can_be_channels(one, stimulus)]
    if channels and (stimulus is None or stimulus.name not in variables or not set(channels) <= set(fit)):
        name = "a stimulus of pictures" if stimulus is None else stimulus.name
        advice = f"choose of {', '.join(fit) or 'none'}, with {name} among the variables"
        raise OptionError(Problem(str(mouse.path), f"channels {list(channels)} do not fit", advice))


def _can_be_channels(variable: Variable, stimulus: Variable) -> bool:
    """Return whether a variable has one value a channel, for each frame of the stimulus or for the whole trial."""
    frames = variable.frame_axis is None or stimulus.frame_axis is not None
    own = [name for name in variable.dimensions if name not in (layout.FRAME, layout.NEURON)]
    return stimulus.has_pictures and frames and len(own) == 1 and layout.NEURON not in variable.dimensions


def _check_responses(mouse: Mouse, rows: NDArray[np.int64]) -> None:
    """Check that the responses of some rows are not withheld."""
    withheld = int(mouse.recording.withheld[rows].sum())
    if withheld:
        what = f"responses of {withheld} of {len(rows)} trials are withheld: zeros stand in their place"
        advice = "choose trials={'withheld': False}, variables without responses, or withheld='zeros'"
        raise OptionError(Problem(str(mouse.path), what, advice))


def _trials(mouse: Mouse, rows: NDArray[np.int64]) -> Trials:
    recording = mouse.recording
    n_frames = None if recording.n_frames is None else recording.n_frames[rows].astype(np.int64)
    return Trials(str(mouse.path), rows, recording.trial_ids[rows], n_frames)


def of_each(name: str, given: Any, mice: int) -> list[Choice | None]:
    """Return the choice of trials, or of neurons, of each mouse; what does not fit is an `OptionError`.

    Numbers are of trials of every mouse: they are files in the source. Positions of neurons are of one.
    """
    if given is None or isinstance(given, Mapping):
        return [given] * mice
    choices = list(given) if is_several(given) else [given]
    each = all(one is None or is_several(one) for one in choices)
    if each and len(choices) == mice:
        return choices
    if mice > 1 and (each or name == "neurons"):
        what = f"several mice need one choice of {name} each"
        raise OptionError(Problem(LABEL, what, f"give a list of {mice} choices, or columns with the values wanted"))
    return [given] * mice

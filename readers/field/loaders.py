"""One loader for each tier and mouse, as public training code has them."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from ...store import OptionError, Problem
from ...store.arguments import check_choice, check_count
from ...store.layout import TRAIN_TIER
from ..mouse import Mouse
from ..streaming import TrialLoader
from ..streaming.options import Resources, checked_resources
from ..streaming.selecting import checked_mice, of_each
from .datasets import FieldMouse, MouseDataset, TierDataset
from .styles import STYLES, Style, StyleName

_OWN = {
    "self",
    "mice",
    "tier",
    "trials",
    "repeats",
    "sampler",
    "shuffle",
    "windows",
    "mixing",
    "mixed_kinds",
    "ranks",
    "output",
    "withheld",
    "report",
}
"""Arguments of `TrialLoader` that are not given."""
DEFAULT_MEMORY = "4GiB"


class FieldLoader:
    """Batches of one tier of a mouse, with what public training code asks torch's `DataLoader` for.

    Attributes
    ----------
    dataset
        Trials by number: of the mouse, or of the tier, as the project has it.
    batch_size
        Samples in a batch.

    Notes
    -----
    Each `iter` is the next epoch. The loader of the train tier keeps its memory for the next one; others have some only
    while they are iterated.
    """

    def __init__(self, one: FieldMouse, tier: str, dataset: MouseDataset | TierDataset, **options: Any) -> None:
        self.dataset, self.batch_size = dataset, options["batch_size"]
        self._one, self._tier, self._options, self._epoch = one, tier, options, 0

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        return self._length

    def __iter__(self) -> Iterator[Any]:
        """Return the batches of the next epoch, namedtuples or dictionaries, as the project has them."""
        if not self._one.rows(self._tier).size:
            return iter(())
        loader, epoch = self._loader(), self._epoch
        self._epoch += 1
        loader.set_epoch(epoch)
        return map(self._one.entry, loader)

    def check(self) -> None:
        """Check that there are such batches, before any is read; errors as in `TrialLoader`."""
        len(self)

    def __repr__(self) -> str:
        """Return a one-line summary."""
        trials = len(self._one.rows(self._tier))
        return f"<FieldLoader of {self._one.key}, {self._tier}: {trials} trials in batches of {self.batch_size}>"

    @cached_property
    def _length(self) -> int:
        return len(self._loader()) if self._one.rows(self._tier).size else 0

    def _loader(self) -> TrialLoader:
        return self._kept if self._tier == TRAIN_TIER else self._one.loader(self._tier, **self._options)

    @cached_property
    def _kept(self) -> TrialLoader:
        return self._one.loader(self._tier, **self._options)


def field_loaders(
    mice: Mouse | Sequence[Mouse],
    *,
    batch_size: int,
    style: StyleName | None = None,
    window: int | None = None,
    threads: int | None = None,
    memory: int | str = DEFAULT_MEMORY,
    **options: Any,
) -> dict[str, dict[str, FieldLoader]]:
    """Return loaders for public training code, one for each tier and mouse.

    Parameters
    ----------
    mice
        Mouse from `open_mouse`, or several.
    batch_size
        Samples in a batch.
    style
        Project that the code is of: ``sensorium2022`` (sinzlab/sensorium), ``sensorium2023``
        (ecker-lab/sensorium_2023) or ``viv1t`` (bryanlimy/ViV1T). By default the first for static mice, and the second
        for dynamic ones.
    window
        Frames of a sample, from anywhere in the trial; None for whole trials, or for static mice. Of ``viv1t`` only for
        the train tier; other tiers have batches of one whole trial.
    threads
        Number of threads that read and decode; one a core by default, 16 at most.
    memory
        Bytes that the loaders of the train tier hold together; and as many any other one, while it is iterated.
    **options
        Further arguments of each `TrialLoader`, such as `seed`, `neurons`, `dtype` and `device`; `variables`,
        `channels` and `normalize` in place of those that the project has by default.

    Returns
    -------
    dict
        Tier -> mouse -> `FieldLoader`, both under the names of the project. Shuffled for the train tier. Responses that
        are withheld are zeros.

    Raises
    ------
    OptionError
        An argument does not fit, the mice are not of the kind that the project reads, or two have the same name.

    Notes
    -----
    Loaders are made when they are first used, but for one: an argument that does not fit is found at once.

    Examples
    --------
    >>> from trialpack import field_loaders, open_mice
    >>> loaders = field_loaders(open_mice("stores"), batch_size=16, window=80)  # doctest: +SKIP
    >>> model = make_video_model(loaders, seed=42, **settings)  # doctest: +SKIP
    """
    found, batch_size = checked_mice(mice), check_count("batch_size", batch_size)
    resources = checked_resources(threads, memory, "auto")
    _check_options(options)
    each = _field_mice(found, _chosen_style(found, style), window, options)
    loaders = _all_loaders(each, batch_size, resources)
    next(iter(next(iter(loaders.values())).values())).check()
    return loaders


def _chosen_style(mice: Sequence[Mouse], style: StyleName | None) -> Style:
    """Return the style, which has to be of mice of this kind."""
    kinds = sorted({mouse.kind for mouse in mice})
    if style is not None:
        check_choice("style", style, STYLES)
        found = STYLES[style]
    else:
        found = next(one for one in STYLES.values() if one.kind == kinds[0])
    if wrong := [mouse for mouse in mice if mouse.kind != found.kind]:
        what = f"a {wrong[0].kind} mouse, where the others, or the style, are {found.kind}"
        raise OptionError(Problem(str(wrong[0].path), what, "choose mice of one kind, and a style of that kind"))
    return found


def _check_options(options: Mapping[str, Any]) -> None:
    """Check that there are such arguments of each `TrialLoader`; their values it checks itself."""
    known = [name for name in inspect.signature(TrialLoader).parameters if name not in _OWN]
    if unknown := sorted(options.keys() - known):
        raise OptionError(Problem("field_loaders", f"no option {unknown[0]!r}", f"there are {', '.join(known)}"))


def _field_mice(
    mice: Sequence[Mouse], style: Style, window: int | None, options: Mapping[str, Any]
) -> list[FieldMouse]:
    """Return the mice under the names that the project gives them."""
    neurons = of_each("neurons", options.get("neurons"), len(mice))
    found = [
        FieldMouse(mouse, style, style.key(mouse), number, window, {**_settings(mouse, style, options), "neurons": one})
        for number, (mouse, one) in enumerate(zip(mice, neurons, strict=True))
    ]
    keys = Counter(one.key for one in found)
    if twice := [one for one in found if keys[one.key] > 1]:
        stores = " and ".join(str(one.mouse.path) for one in twice[:2])
        raise OptionError(
            Problem("field_loaders", f"two mice are called {twice[0].key!r}: {stores}", "give one of them")
        )
    return found


def _settings(mouse: Mouse, style: Style, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a mouse's loaders: those that are given, and the project's own."""
    found = {**style.options_for(mouse), **options}
    # Beyond the longest train trial there are no statistics: the public loaders make NaN of it, and cut there.
    return found if found["normalize"] is None else {"max_frames": style.frames_of(mouse), **found}


def _all_loaders(
    each: Sequence[FieldMouse], batch_size: int, resources: Resources
) -> dict[str, dict[str, FieldLoader]]:
    style, threads, memory = each[0].style, resources.threads, resources.memory
    train = {"shuffle": True, "threads": max(1, threads // len(each)), "memory": memory // len(each)}
    other = {"cache": "none", "threads": threads, "memory": memory}
    tiers = {tier for one in each for tier in one.mouse.recording.trials_by_tier} | set(style.always)
    datasets = {one.key: MouseDataset(one) for one in each}
    return {
        style.tiers.get(tier, tier): {
            one.key: FieldLoader(
                one,
                tier,
                TierDataset(one, tier) if style.by_tier else datasets[one.key],
                batch_size=1 if one.is_whole(tier) else batch_size,
                **(train if tier == TRAIN_TIER else other),
            )
            for one in each
            if tier in style.always or one.rows(tier).size
        }
        for tier in style.ordered(tiers)
    }

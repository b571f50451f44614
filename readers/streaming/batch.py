"""One batch."""

from __future__ import annotations

import sys
from collections import namedtuple
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from functools import partial
from typing import Any

from ...store import OptionError, Problem, layout
from ...store.errors import lookup

START = "start"
_PLACES = (layout.TRIAL_ID, START)


class Batch(MutableMapping[str, Any]):
    """One batch of one mouse: a mapping from names to tensors, or to numpy arrays.

    ``videos`` (B, 1, F, height, width), grey level 0 to 255; ``responses`` (B, N, F), a.u.; ``behavior`` (B,
    n_channels, F), px and cm/s; ``pupil_center`` (B, 2, F), px. Of static mice ``images`` (B, image_channel, height,
    width) and the others without F. Any other variable has its own name and (B, …) the dimensions that the store says;
    pictures are (B, C, F, height, width). All are float32, unless the loader's `dtype` says otherwise, of what
    `normalize` makes of these units. Padding is never among them; where a trial lacks an optional variable, floats are
    NaN and integers the value that was declared. ``videos`` or ``images`` have more channels where `channels` asks for
    them. Beside them ``trial_id`` (B,) int64 and ``start`` (B,) int64, the first frame of each sample. What is in the
    mapping is an attribute, too: ``batch.videos`` is ``batch["videos"]``.

    Parameters
    ----------
    values
        What is in the mapping.
    mouse
        Name of the recording.
    tier
        The tier of each sample.
    n_frames
        Valid frames of the trial of each sample.
    frames, stride
        Frames of each sample, and every how many of the recording one is taken.

    Attributes
    ----------
    mouse
        Name of the recording; None in what other libraries made of values alone.
    tier
        (B,) words; None there, and in what a pytree's functions made, which may have changed the samples.
    n_frames
        (B,) numbers; None where `tier` is, and of static mice.
    frames, stride
        Numbers; 0 and 1 where they are not known, and of static mice.

    Notes
    -----
    Arrays may be changed in place, and stay valid for as long as any of them, or anything made of their memory, lives.
    `torch` and JAX know a batch as a pytree, with `mouse` as a static value: a function is traced once for each mouse.
    """

    def __init__(
        self,
        values: Mapping[str, Any] | Iterable[tuple[str, Any]],
        *,
        mouse: str | None = None,
        tier: tuple[str, ...] | None = None,
        n_frames: tuple[int, ...] | None = None,
        frames: int = 0,
        stride: int = 1,
    ) -> None:
        self._values, self.mouse, self.tier, self.n_frames = dict(values), mouse, tier, n_frames
        self.frames, self.stride = frames, stride
        # At each: they may be imported at any time.
        _register_pytree()

    def __getitem__(self, name: str) -> Any:
        """Return what has this name.

        Raises
        ------
        UnknownNameError
            Nothing has.
        """
        return lookup(self._values, name, "batch")

    def __setitem__(self, name: str, value: Any) -> None:
        """Put something in the place of what has this name, or add it."""
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        """Take out what has this name."""
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of names, not of samples."""
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        """Return what has this name in the mapping."""
        if not name.startswith("_") and name in self._values:
            return self._values[name]
        raise AttributeError(f"a batch has no {name!r}: there are {', '.join(self.__dict__.get('_values', ()))}")

    def __copy__(self) -> Batch:
        """Return a batch of the same values; a value set in one of them does not appear in the other."""
        return self.with_values(self._values)

    def with_values(self, values: Mapping[str, Any]) -> Batch:
        """Return a batch of other values of the same samples."""
        known = {name: getattr(self, name) for name in ("mouse", "tier", "n_frames", "frames", "stride")}
        return Batch(values, **known)

    def __repr__(self) -> str:
        """Return a one-line summary."""
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in self.items() if hasattr(value, "shape"))
        return f"<Batch of {self.mouse}: {shapes}>"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        from ..tables import arrays_html

        tiers = f", {', '.join(dict.fromkeys(self.tier))}" if self.tier else ""
        return arrays_html(f"Batch of {self.mouse}{tiers}", self)

    def to(self, device: Any, *, non_blocking: bool = False) -> Batch:
        """Return the batch with all tensors on a device, or of a data type; those that are, are shared.

        Parameters
        ----------
        device
            As in `torch.Tensor.to`.
        non_blocking
            Whether the processor goes on while memory that is pinned is copied.

        Raises
        ------
        OptionError
            It has numpy arrays.
        """
        if not all(hasattr(value, "to") for value in self.values()):
            what = f"numpy arrays cannot be moved to {device}"
            raise OptionError(Problem("batch", what, "choose output='torch', or hand them to what puts arrays there"))
        return self.with_values({name: value.to(device, non_blocking=non_blocking) for name, value in self.items()})

    def point(self, *names: str) -> Any:
        """Return values as a named tuple, as public loaders of the field have them; memory is shared.

        Parameters
        ----------
        *names
            Which, in this order; by default the recorded variables.

        Raises
        ------
        OptionError
            A name cannot be a field: it is no identifier, a word of Python, or given twice.
        UnknownNameError
            Nothing has this name.
        """
        fields = names or self._fields
        return point_class(fields)(*(self[name] for name in fields))

    @property
    def _fields(self) -> tuple[str, ...]:
        """The recorded variables: code that was written for named tuples asks for them."""
        return tuple(name for name in self if name not in _PLACES)

    def _asdict(self) -> dict[str, Any]:
        """Return the recorded variables as a dictionary, as a named tuple does."""
        return {name: self[name] for name in self._fields}


_classes = dict[tuple[str, ...], type[tuple[Any, ...]]]()


def point_class(fields: tuple[str, ...]) -> type[tuple[Any, ...]]:
    """Return the class of the named tuples that have these fields: the same one each time.

    Raises
    ------
    OptionError
        A name cannot be a field.
    """
    if fields not in _classes:
        _classes[fields] = _make_class(fields)
    return _classes[fields]


def _make_class(fields: tuple[str, ...]) -> type[tuple[Any, ...]]:
    try:
        found: Any = namedtuple("ExamplePoint", fields, module=__name__)  # pyright: ignore[reportUntypedNamedTuple]
    except ValueError as error:
        advice = "name the variables that can be, as in batch.point('videos', 'responses')"
        raise OptionError(Problem("batch", f"{', '.join(fields)} cannot be fields ({error})", advice)) from None
    # Nothing has the class by its name: it is made again where one of its points is unpickled.
    found.__reduce__ = _take_apart
    return found


def _take_apart(point: Any) -> tuple[Any, ...]:
    return _make_point, (point._fields, tuple(point))


def _make_point(fields: tuple[str, ...], values: tuple[Any, ...]) -> tuple[Any, ...]:
    return point_class(fields)(*values)


_registered = set[str]()


def _register_pytree() -> None:
    """Have torch and JAX, where they are imported by now, take a batch apart and put it together again."""
    for name, register in (("torch.utils._pytree", _register_with_torch), ("jax.tree_util", _register_with_jax)):
        if name in sys.modules and name not in _registered:
            _registered.add(name)
            register(sys.modules[name])


def _register_with_torch(library: Any) -> None:
    library.register_pytree_node(
        Batch,
        _flatten,
        _unflatten_for_torch,
        serialized_type_name="trialpack.readers.Batch",
        flatten_with_keys_fn=partial(_with_keys, library.MappingKey),
    )


def _register_with_jax(library: Any) -> None:
    library.register_pytree_with_keys(Batch, partial(_with_keys, library.DictKey), _unflatten, _flatten)


Static = tuple[tuple[str, ...], str | None]
"""Names and mouse: what a traced function may depend on."""


def _flatten(batch: Batch) -> tuple[list[Any], Static]:
    return list(batch.values()), (tuple(batch), batch.mouse)


def _with_keys(key: Any, batch: Batch) -> tuple[list[tuple[Any, Any]], Static]:
    values, static = _flatten(batch)
    return [(key(name), value) for name, value in zip(static[0], values, strict=True)], static


def _unflatten(static: Static, values: Iterable[Any]) -> Batch:
    names, mouse = static
    return Batch(zip(names, values, strict=True), mouse=mouse)


def _unflatten_for_torch(values: Iterable[Any], static: Static) -> Batch:
    return _unflatten(static, values)

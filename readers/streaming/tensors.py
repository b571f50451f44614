"""Batches as torch tensors, on the CPU or a device: the only module that imports torch."""

from __future__ import annotations

import contextlib
import mmap
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from ...store import OptionError, Problem, layout
from ..direct import BFLOAT16, Affine
from ..sampling import BatchPlan
from .batch import Batch
from .mouse_stream import MouseStream, Selection
from .pipeline import Filled
from .ranks import dealt_out

Batches = Generator[tuple[Batch, BatchPlan]]
_COPIES = 2
"""Batches that are on their way to a device, or there, before they are asked for."""
_WIDE = 1 << 23
"""Values that a device computes in float64 at once: 64 MiB."""
SLOTS_IN_TRANSFER = _COPIES + 1
"""Slots that a device copies from at most, or is about to."""


class Loader(Protocol):
    """Batches, an epoch for each `iter`, and the place in them, as a `TrialLoader` has them."""

    def __iter__(self) -> Iterator[Batch]: ...

    def state_dict(self) -> dict[str, Any]:
        """Return its place."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on at a place."""
        ...


class LoaderDataset(IterableDataset[Batch]):
    """A `TrialLoader` as an `IterableDataset`, for code that wants one.

    Parameters
    ----------
    check
        Raises where the loader cannot be passed on.
    """

    def __init__(self, loader: Loader, check: Callable[[], None]) -> None:
        self.loader, self._check = loader, check

    def __iter__(self) -> Iterator[Batch]:
        """Return the batches of the next epoch."""
        self._check()
        return iter(self.loader)

    def __len__(self) -> int:
        """Refuse: torch would take it for batches, and code that trains takes it for trials.

        Raises
        ------
        TypeError
            Always, which is how torch is told of a length that is not known.
        """
        advice = "take len(loader) for batches, len(mouse.rows(tier=…)) for trials"
        raise TypeError(str(Problem("TrialLoader", "a dataset of batches has no length", advice)))

    def state_dict(self) -> dict[str, Any]:
        """Return the loader's state."""
        state = self.loader.state_dict()
        # accelerate asks while it reads one batch for each process: it has dealt out none of those.
        return state | {"position": state["position"] - state["position"] % dealt_out()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the loader's state."""
        self.loader.load_state_dict(state)


def initial_seed() -> int:
    """Return the seed of torch's generator: the last one that it was given."""
    return torch.initial_seed()


def to_tensors(filled: Generator[Filled]) -> Batches:
    """Yield batches of tensors on the CPU; they share the memory of the slots."""
    for one in filled:
        values = _tensors(one.stream.views(one.arrays) | one.stream.labels(one.plan))
        plan, batch = one.plan, Batch(values, **one.stream.attributes(one.plan))
        del one, values
        yield batch, plan
        del batch


def checked_device(device: Any) -> torch.device:
    """Return the device, if this machine has it.

    Raises
    ------
    OptionError
        There is no such device.
    """
    try:
        found = torch.device(device)
        # With its number: the current device may be another one by the time that batches are copied.
        found = torch.empty(0, device=found).device
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:
        what = f"device {device!r} cannot be used ({_reason(error)})"
        raise OptionError(Problem("TrialLoader", what, "choose another device, or device='cpu'")) from None
    return found


def _reason(error: Exception) -> str:
    """Return why a device cannot be used, without torch's lists of all devices that there could be."""
    if isinstance(error, TypeError):
        return "expected a name such as 'cuda', or a torch.device"
    if isinstance(error, (NotImplementedError, ImportError)):
        return f"torch {torch.__version__} was built without it"
    text = str(error).splitlines()[0]
    return "torch knows none of this name" if text.startswith("Expected one of") else text


def check_tensors(device: torch.device, selections: Sequence[Selection]) -> None:
    """Check that tensors on a device can have the data types of all variables.

    Raises
    ------
    OptionError
        This version of torch, or the device, lacks one.
    """
    for name, dtype in {(name, dtype) for one in selections for name, dtype in one.dtypes.items()}:
        try:
            as_tensor(np.empty(0, dtype)).to(device)
        except (TypeError, RuntimeError) as error:
            what = f"tensors on {device} cannot be {dtype}, as {name} would be ({str(error).splitlines()[0]})"
            raise OptionError(Problem("TrialLoader", what, "choose another dtype for it, or output='numpy'")) from None


def has_float64(device: torch.device) -> bool:
    """Return whether a device computes in float64; Apple's, for one, do not."""
    try:
        torch.ones(1, dtype=torch.float64, device=device).add_(1)
    except (TypeError, RuntimeError):
        return False
    return True


def widened(x: Tensor, single: bool) -> tuple[Tensor, Callable[[NDArray[Any]], Tensor], Callable[[Tensor], Tensor]]:
    """Return a tensor in the precision to compute in, what makes numbers fit it, and what gives results its dtype."""
    narrow = x.dtype if x.is_floating_point() else torch.float32
    dtype = torch.float32 if single or not has_float64(x.device) else torch.float64
    return x.to(dtype), lambda numbers: torch.from_numpy(numbers).to(x.device, dtype), lambda found: found.to(narrow)


def pinned(device: torch.device, nbytes: int) -> NDArray[np.uint8]:
    """Return fresh memory that a CUDA device copies from while the processor does something else.

    Notes
    -----
    torch takes the next power of two of such memory, up to twice as much (pytorch/pytorch#95823). It is asked only
    where CUDA does not register existing memory.
    """
    cuda: Any = torch.cuda.cudart()
    # Shared: once a process was forked, the system may move private pages that are written to, and the device would go
    # on reading the old ones.
    mapping = mmap.mmap(-1, nbytes)
    memory = np.frombuffer(mapping, np.uint8)
    address = memory.ctypes.data
    with torch.cuda.device(device):
        if cuda.cudaHostRegister(address, nbytes, 0) == cuda.cudaError.success:
            # It holds the mapping, which some versions of numpy would let go of before finalizers of the array run.
            weakref.finalize(memory, _unregister, cuda, address, mapping).atexit = False
            return memory
        # torch would report the error as that of whatever runs next.
        with contextlib.suppress(RuntimeError):
            torch.ones(1, device=device)
    return torch.empty(nbytes, dtype=torch.uint8, device="cpu", pin_memory=True).numpy()


def _unregister(cuda: Any, address: int, _mapping: mmap.mmap) -> None:
    cuda.cudaHostUnregister(address)


def to_device(device: torch.device, selections: Sequence[Selection]) -> Callable[[Generator[Filled]], Batches]:
    """Return what puts batches onto a device, normalizes them there, and adds channels.

    Parameters
    ----------
    selections
        Content of a batch of each mouse. The slots have the same variables as they are recorded.
    """
    finishers = dict[int, Finisher]()
    # One for all epochs: the allocator keeps memory for each stream that it has seen.
    side = torch.cuda.Stream(device) if device.type == "cuda" else None

    def batches(filled: Generator[Filled]) -> Batches:
        with contextlib.closing(Copies(device, side)) as copies:
            for one in filled:
                copies.start(one)
                del one
                while len(copies) == _COPIES:
                    yield finished(copies)
            while len(copies):
                yield finished(copies)

    def finished(copies: Copies) -> tuple[Batch, BatchPlan]:
        copy = copies.finish()
        mouse = copy.plan.mouse
        if mouse not in finishers:
            finishers[mouse] = Finisher(copy.stream, selections[mouse], device)
        values = finishers[mouse].finish(copy) | copy.labels
        return Batch(values, **copy.stream.attributes(copy.plan)), copy.plan

    return batches


@dataclass(frozen=True)
class Copy:
    """A batch on its way to a device.

    Attributes
    ----------
    tensors
        There, axes as they lie in memory.
    starts
        There, (B,) int64: the first frame of each sample.
    arrived
        Event after which they are complete; None where copies are complete at once.
    """

    plan: BatchPlan
    stream: MouseStream
    tensors: dict[str, Tensor]
    starts: Tensor
    labels: dict[str, Tensor]
    arrived: Any


class Copies:
    """Copies from slots to a device, in order.

    Parameters
    ----------
    side
        The stream that copies, where the device has streams.

    Notes
    -----
    A slot is held until what was copied out of it has arrived; only then may it be filled again.
    """

    def __init__(self, device: torch.device, side: torch.cuda.Stream | None) -> None:
        self._device, self._stream, self._waiting = device, side, deque[Copy]()
        self._slots = deque[tuple[Any, Filled]]()

    def __len__(self) -> int:
        """Return how many were started and not finished."""
        return len(self._waiting)

    def start(self, filled: Filled) -> None:
        """Begin to copy a batch."""
        sources = _tensors(filled.arrays)
        starts = torch.from_numpy(filled.plan.starts)
        if self._stream is None:
            tensors, arrived = {name: source.to(self._device) for name, source in sources.items()}, None
            starts = starts.to(self._device)
        else:
            with torch.cuda.stream(self._stream):
                tensors = {name: source.to(self._device, non_blocking=True) for name, source in sources.items()}
                # Out of memory that is not pinned, it would wait for all copies before it.
                starts = starts.pin_memory().to(self._device, non_blocking=True)
                arrived = torch.cuda.Event()
                arrived.record(self._stream)
            self._slots.append((arrived, filled))
            # A device that copies more slowly than threads read must not make ever more slots be taken.
            while len(self._slots) > _COPIES:
                self._arrive()
        labels = _tensors(filled.stream.labels(filled.plan))
        self._waiting.append(Copy(filled.plan, filled.stream, tensors, starts, labels, arrived))

    def finish(self) -> Copy:
        """Return the first batch; whatever the consumer does with it on the device waits until it has arrived."""
        copy = self._waiting.popleft()
        if copy.arrived is not None:
            consumer = torch.cuda.current_stream(self._device)
            consumer.wait_event(copy.arrived)
            for tensor in (*copy.tensors.values(), copy.starts):
                # The allocator must not hand the memory to the copying stream while the consumer's still uses it.
                tensor.record_stream(consumer)
        while self._slots and self._slots[0][0].query():
            self._slots.popleft()
        return copy

    def close(self) -> None:
        """Wait until no slot is copied from any more."""
        while self._slots:
            self._arrive()

    def _arrive(self) -> None:
        """Wait until the first copy has arrived, and only then let go of its slot."""
        self._slots[0][0].synchronize()
        self._slots.popleft()


class Finisher:
    """Makes what a batch shows out of tensors as they were recorded: normalization, channels, axes.

    Parameters
    ----------
    stream
        Stream of the mouse.
    selection
        What a batch has.
    """

    def __init__(self, stream: MouseStream, selection: Selection, device: torch.device) -> None:
        self._stream, self._selection = stream, selection
        self._stimulus = stream.mouse.recording.stimulus
        self._affines = {
            name: _DeviceAffine(affine.arranged(*stream.axes(name), selection.neurons), stream.axes(name)[1], device)
            for name, affine in selection.affines.items()
            if name in stream.names
        }

    def finish(self, copy: Copy) -> dict[str, Tensor]:
        """Return the tensors of a batch, given those of its slot."""
        for name, affine in self._affines.items():
            affine.apply(copy.tensors[name], copy)
        shown = {name: tensor.permute(self._stream.permutation(name)) for name, tensor in copy.tensors.items()}
        shown |= {name: tensor[:, None] for name, tensor in shown.items() if self._stream.adds_channel_axis(name)}
        found = {name: shown[name] for name in self._selection.variables}
        if self._stimulus is not None and self._selection.channels:
            found[self._stimulus.name] = self._with_channels(found[self._stimulus.name], shown)
        return found

    def _with_channels(self, stimulus: Tensor, shown: Mapping[str, Tensor]) -> Tensor:
        """Return the stimulus with other variables repeated over all pixels, as further channels."""
        parts = [stimulus]
        for name in self._selection.channels:
            values = shown[name]
            # Values of a whole trial are those of all its frames.
            values = values.reshape(*values.shape, *(1,) * (stimulus.ndim - values.ndim)).to(stimulus.dtype)
            parts.append(values.expand(-1, -1, *stimulus.shape[2:]))
        return torch.cat(parts, 1)


class _DeviceAffine:
    """An `Affine` on a device, for samples that begin anywhere in their trials."""

    def __init__(self, affine: Affine, axes: Sequence[str], device: torch.device) -> None:
        self._affine, self._axis = affine, axes.index(layout.FRAME) if layout.FRAME in axes else None
        self._shift = None if affine.shift is None else torch.from_numpy(affine.shift).to(device)
        self._divisor = torch.from_numpy(affine.divisor).to(device)

    def apply(self, values: Tensor, copy: Copy) -> None:
        """Change (B, …) values in place."""
        shift = None if self._shift is None else self._part(self._shift, copy)
        divisor = self._part(self._divisor, copy)
        dtype = torch.float32 if self._affine.single and values.dtype != torch.float64 else torch.float64
        if values.dtype == torch.float32 == dtype:
            _apply(values, shift, divisor, self._affine.least)
            return
        # Some samples after another, so that what is computed in another precision takes little memory.
        step = max(1, _WIDE * len(values) // max(1, values.numel()))
        for first in range(0, len(values), step):
            part = slice(first, first + step)
            wide = values[part].to(dtype)
            some = None if shift is None else _some(shift, part)
            _apply(wide, some, _some(divisor, part), self._affine.least)
            values[part] = wide

    def _part(self, numbers: Tensor, copy: Copy) -> Tensor:
        """Return (B or 1, …) the numbers for the frames of each sample."""
        if self._axis is None or numbers.shape[self._axis] == 1:
            return numbers[None]
        frames = copy.starts[:, None] + torch.arange(copy.plan.frames, device=numbers.device) * copy.plan.stride
        chosen = numbers.index_select(self._axis, frames.reshape(-1))
        return chosen.unflatten(self._axis, frames.shape).movedim(self._axis, 0)


def _some(numbers: Tensor, part: slice) -> Tensor:
    return numbers if len(numbers) == 1 else numbers[part]


def _apply(values: Tensor, shift: Tensor | None, divisor: Tensor, least: float | None) -> None:
    """Change values in place, as `Affine.apply` does."""
    if shift is not None:
        values.sub_(shift)
    values.div_(divisor)
    if least is not None:
        values.clamp_(min=least)


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {name: as_tensor(array) for name, array in arrays.items()}


def as_tensor(array: NDArray[Any]) -> Tensor:
    """Return a tensor that shares the memory of an array."""
    if array.dtype == BFLOAT16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)

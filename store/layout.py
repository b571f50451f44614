"""What is on disk: names, units, shapes, chunks, shards. Arithmetic only; nothing here reads or writes.

All names, sizes and attribute keys of format version 1 stand in this module; `docs/format.md` explains them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .bounds import Bound
from .chunk_codecs import ChunkCodec, Compressor
from .compressors import COMPRESSORS
from .variables import FILE_NUMBER as FILE_NUMBER
from .variables import FRAME as FRAME
from .variables import NEURON as NEURON
from .variables import OVER_FRAMES as OVER_FRAMES
from .variables import OVER_PIXELS as OVER_PIXELS
from .variables import OVER_TRIALS as OVER_TRIALS
from .variables import RESPONSES as RESPONSES
from .variables import TRAIN_TRIAL, fill_value
from .variables import TRIAL as TRIAL
from .variables import Kind as Kind
from .variables import Reduction as Reduction
from .variables import Variable as Variable

FORMAT_VERSION = 1
SUFFIX = ".zarr"
METADATA = "zarr.json"
MANIFEST, SOFTWARE = "manifest.json", "software.json"

# Groups and the arrays that trialpack adds.
TRIALS, NEURONS, STATISTICS, META, FILES = "trials", "neurons", "statistics", "meta", "files"
SOURCE_STATISTICS, TRAIN_STATISTICS = f"{STATISTICS}/source", f"{STATISTICS}/train"
MAX_ERROR = "max_error"
TRIAL_ID, TIER, N_FRAMES, WITHHELD = "trial_id", "tier", "n_frames", "withheld"
N_FILE_FRAMES, HAS = "n_file_frames", "has_"

# Root attributes.
A_FORMAT, A_STORE_ID, A_MOUSE, A_LETTER, A_KIND = "trialpack_format", "store_id", "mouse", "letter", "kind"
A_PRECISION, A_CODEC, A_SOURCE, A_CONFIG = "precision", "codec", "source", "config_json"
A_WARNINGS, A_ROWS_PER_SHARD = "warnings", "rows_per_shard"
A_VARIABLES, A_SCHEMA = "variables", "trialpack_toml"
ROOT_ATTRIBUTES = {
    A_FORMAT, A_STORE_ID, A_MOUSE, A_LETTER, A_KIND, A_VARIABLES, A_SCHEMA, A_PRECISION, A_CODEC, A_SOURCE, A_CONFIG,
    A_WARNINGS, A_ROWS_PER_SHARD,
}  # fmt: skip
A_MAX_ERROR = "max_error"
"""Of the root and of arrays: only where values were rounded."""
# Array attributes.
A_UNITS, A_LONG_NAME, A_HEADERS, A_HEADER_OF_ROW = "units", "long_name", "source_headers", "source_header_of_row"
A_SOURCE_NAME, A_SOURCE_DTYPE, A_SOURCE_FORTRAN = "source_name", "source_dtype", "source_fortran_order"

Precision = Literal["source", "float32"]
CodecName = Literal["fast", "none", "small", "pcodec"]

STATISTICS_TRIAL_ID = f"{TRAIN_STATISTICS}/{TRIAL_ID}"
STATISTIC_NAMES = ("count", "min", "max", "mean", "median", "std")
TRAIN_TIER = "train"


@dataclass(frozen=True)
class CodecChoice:
    """One of the codecs that a name of a codec may stand for.

    Attributes
    ----------
    frame_major
        Store the frames of a chunk outermost: decodes straight into a frame-major batch, compresses worse.
    cost
        Time to read what was stored so, over that of the first choice; of `small`, with that to fetch it at 100 MB/s.
    """

    compressor: Compressor
    frame_major: bool
    cost: float = 1.0


CODECS: Mapping[CodecName, tuple[CodecChoice, ...]] = {
    "fast": (
        CodecChoice("lz4", frame_major=True),
        CodecChoice("lz4 plain", frame_major=True),
        CodecChoice("lz4 bits", frame_major=True, cost=1.3),
        CodecChoice("lz4", frame_major=False, cost=1.3),
        CodecChoice("lz4 plain", frame_major=False, cost=1.05),
        CodecChoice("lz4 bits", frame_major=False, cost=1.55),
        CodecChoice("none", frame_major=True, cost=0.6),
    ),
    "none": (CodecChoice("none", frame_major=True),),
    "small": (
        CodecChoice("zstd", frame_major=False),
        CodecChoice("zstd plain", frame_major=False, cost=1.05),
        CodecChoice("zstd bits", frame_major=False, cost=1.15),
    ),
    "pcodec": (CodecChoice("pcodec", frame_major=False),),
}
"""Measured by ``python -m benchmarks codecs``; the tables are in docs/benchmarks.md. Of several, each variable has the
one with the least product of its size squared, of a sample of its chunks, and its cost."""

CHUNK_FRAMES = 15
"""Frames in a chunk of a trial that has chunks of its own: models read windows of 16 to 150 of the usual 300."""
LONG_CHUNKS: Mapping[CodecName, int] = {"small": 2, "pcodec": 2}
"""So many times as many where compression takes the most time: it takes longer for short chunks."""
SHARD_BYTES = 160_000_000
"""Raw bytes that one shard of the largest array aims at: tens of files for a mouse, yet units enough for many cores."""
CHUNK_BYTES = 1 << 15
"""Trials smaller than half of this share a chunk, so that a chunk's checksum, index entry and call weigh little; no
more of them, since trials are read in random order, and reading one decodes all."""
JOINT_CHUNKS = 4
"""All rows of a shard are one chunk if they stay below so many times `CHUNK_BYTES`: readers keep such variables."""


@dataclass(frozen=True)
class ArrayLayout:
    """One array of a store.

    Attributes
    ----------
    path
        Inside the store, such as ``trials/tier``.
    dtype
        Zarr's name of the data type: ``float32``, ``int64``, ``bool``, ``string``, …
    chunk
        What is decoded at once.
    shard
        What is one file, a whole number of chunks along every axis; None where each chunk is a file.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    dimensions: tuple[str, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...] | None
    codec: ChunkCodec
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype of decoded chunks: native order; object for text."""
        return np.dtype(object) if self.dtype == "string" else np.dtype(self.dtype)

    @property
    def fill_value(self) -> Any:
        """What stands where nothing was written: NaN for floats, so that missing never looks like zero."""
        return fill_value(self.dtype)

    @property
    def nbytes(self) -> int:
        """Raw bytes of the array; text counts as eight bytes a word."""
        return math.prod(self.shape) * self.numpy_dtype.itemsize

    @property
    def trial_nbytes(self) -> int:
        """Raw bytes of one trial."""
        return math.prod(self.shape[1:]) * self.numpy_dtype.itemsize

    @property
    def chunk_nbytes(self) -> int:
        """Raw bytes of one chunk."""
        return math.prod(self.chunk) * self.numpy_dtype.itemsize

    @property
    def files(self) -> int:
        """How many files hold chunks."""
        outer = self.shard or self.chunk
        return math.prod(-(-size // step) for size, step in zip(self.shape, outer, strict=True))

    @property
    def chunks_per_shard(self) -> tuple[int, ...]:
        """How many chunks a shard holds along each axis."""
        assert self.shard is not None
        return tuple(s // c for s, c in zip(self.shard, self.chunk, strict=True))

    def blocks(self) -> Iterator[tuple[slice, ...]]:
        """Yield the chunks of one group of rows, in the order of the file, as slices of the axes after the first."""
        steps = [
            [slice(start, min(start + step, size)) for start in range(0, size, step)]
            for size, step in zip(self.shape[1:], self.chunk[1:], strict=True)
        ]
        return itertools.product(*steps)

    def rows_of_shard(self, number: int) -> range:
        """Return the rows that a shard holds."""
        assert self.shard is not None
        return range(number * self.shard[0], min((number + 1) * self.shard[0], self.shape[0]))

    def shard_path(self, number: int) -> str:
        """Return the file of shard (or only chunk) `number`, inside the store."""
        coordinates = [str(number), *["0"] * (len(self.shape) - 1)] if self.shape else []
        return f"{self.path}/{'.'.join(['c', *coordinates])}"


def rows_per_shard(n_trials: int, trial_nbytes: Mapping[str, int]) -> int:
    """Return how many trials go into one shard of every array.

    Parameters
    ----------
    n_trials
        Trials of the mouse.
    trial_nbytes
        Raw bytes of one trial of each variable.

    Notes
    -----
    Shards are of about equal size, and a whole number of the largest shared chunk.

    Examples
    --------
    >>> rows_per_shard(720, {"responses": 9_642_240, "videos": 2_985_984})
    17
    >>> rows_per_shard(6000, {"images": 147_456, "responses": 32_000, "behavior": 12})
    1000
    """
    shards = math.ceil(n_trials * max(trial_nbytes.values()) / SHARD_BYTES)
    rows = math.ceil(n_trials / shards)
    # Rounding up less than doubles the rows: whatever might then exceed a shared chunk takes part.
    group = max((_shared(size) for size in trial_nbytes.values() if not _is_joint(2 * rows, size)), default=1)
    return math.ceil(rows / group) * group


def rows_per_chunk(rows: int, trial_nbytes: int) -> int:
    """Return how many trials share a chunk of a variable, given the trials in a shard.

    Examples
    --------
    >>> rows_per_chunk(17, 9_642_240), rows_per_chunk(17, 2_592), rows_per_chunk(1024, 32_000)
    (1, 17, 1)
    """
    return rows if _is_joint(rows, trial_nbytes) else _shared(trial_nbytes)


def _is_joint(rows: int, trial_nbytes: int) -> bool:
    """Return whether so many trials are one chunk."""
    return rows * trial_nbytes <= JOINT_CHUNKS * CHUNK_BYTES


def _shared(trial_nbytes: int) -> int:
    """Return the largest power of two of trials that stays within `CHUNK_BYTES`, at least one."""
    return 1 << max(0, (CHUNK_BYTES // trial_nbytes).bit_length() - 1)


def variable_layout(
    variable: Variable,
    trial_shape: tuple[int, ...],
    *,
    n_trials: int,
    rows: int,
    codec: CodecName,
    bound: Bound | None = None,
) -> ArrayLayout:
    """Lay out the array of a recorded variable.

    Parameters
    ----------
    trial_shape
        Shape of one trial in the store, in the order of `variable.dimensions`.
    rows
        Trials in a shard, from `rows_per_shard`.
    codec
        Of the codecs that it stands for, the layout has the first; see `codec_choices`.
    bound
        Bound on the error of values that are rounded; None for values as they are.
    """
    shared = rows_per_chunk(rows, math.prod(trial_shape) * np.dtype(variable.dtype).itemsize)
    chunk = [shared, *trial_shape]
    axis = variable.frame_axis
    if axis is not None and shared == 1:
        chunk[axis + 1] = min(CHUNK_FRAMES * LONG_CHUNKS.get(codec, 1), trial_shape[axis])
    shard = [rows, *(math.ceil(size / step) * step for size, step in zip(trial_shape, chunk[1:], strict=True))]
    return ArrayLayout(
        path=variable.name,
        shape=(n_trials, *trial_shape),
        dtype=variable.dtype,
        dimensions=(TRIAL, *variable.dimensions),
        chunk=tuple(chunk),
        shard=tuple(shard),
        codec=next(iter(codec_choices(variable, codec))),
        attributes={A_UNITS: variable.units, A_LONG_NAME: variable.long_name}
        | ({} if bound is None else {A_MAX_ERROR: bound.document}),
    )


def codec_choices(variable: Variable, codec: CodecName) -> Mapping[ChunkCodec, float]:
    """Return the codecs that chunks of a variable may have, with what reading them costs; first the one by default."""
    dtype = np.dtype(variable.dtype)
    # pcodec has no form for values of one byte.
    supported = all(COMPRESSORS[choice.compressor].supports(dtype) for choice in CODECS[codec])
    order, found = _order(variable.frame_axis, 1 + len(variable.dimensions)), dict[str, tuple[ChunkCodec, float]]()
    for choice in CODECS[codec if supported else "small"]:
        one = ChunkCodec(choice.compressor, order if choice.frame_major else ())
        # Some come to the same: without frames, where these come first already, and where values are single bytes.
        found.setdefault(str(one.configuration(dtype.itemsize)), (one, choice.cost))
    return dict(found.values())


def _order(frame_axis: int | None, ndim: int) -> tuple[int, ...]:
    """Return the axes with frames moved to the front of each trial; empty if they lie there already."""
    if frame_axis is None or frame_axis == 0:
        return ()
    others = [axis for axis in range(1, ndim) if axis != frame_axis + 1]
    return (0, frame_axis + 1, *others)


def small_layout(
    path: str, shape: tuple[int, ...], dtype: str, dimensions: tuple[str, ...], attributes: Mapping[str, Any]
) -> ArrayLayout:
    """Lay out an array that is one chunk in one file: tables, statistics, whatever the source has beside trials."""
    compressor: Compressor = "utf8" if dtype == "string" else "lz4" if math.prod(shape) > 1024 else "none"
    chunk = tuple(max(1, size) for size in shape)
    return ArrayLayout(path, shape, dtype, dimensions, chunk, None, ChunkCodec(compressor), attributes)


def coordinate_layouts(variables: Sequence[Variable], n_trials: int, *, unpadded: bool) -> tuple[ArrayLayout, ...]:
    """Lay out what is known of each trial.

    Parameters
    ----------
    variables
        Variables of the recording.
    unpadded
        Whether files of the source have different numbers of frames.

    Returns
    -------
    tuple of ArrayLayout
        trial_id, tier and withheld; n_frames of dynamic mice; n_file_frames of unpadded ones; has_<variable> of
        variables that some trials may lack.
    """
    described = {
        TRIAL_ID: ("int64", "number of the trial's files in the source"),
        TIER: ("string", "the part of the data set that the trial belongs to"),
        WITHHELD: ("bool", "the publisher put zeros in place of the responses"),
    }
    if any(FRAME in variable.dimensions for variable in variables):
        described[N_FRAMES] = ("int32", "valid frames; the frames behind them are padding")
    if unpadded:
        described[N_FILE_FRAMES] = ("int32", "frames of the trial's files in the source")
    described |= {
        f"{HAS}{variable.name}": ("bool", f"whether the trial has {variable.name}")
        for variable in variables
        if variable.optional
    }
    return tuple(
        small_layout(f"{TRIALS}/{name}", (n_trials,), dtype, (TRIAL,), {A_LONG_NAME: long_name})
        for name, (dtype, long_name) in described.items()
    )


def bound_layout(recorded: ArrayLayout, variable: Variable) -> ArrayLayout:
    """Lay out the largest errors of a variable whose bound is a part of the standard deviation: one a channel."""
    sizes = dict(zip(recorded.dimensions, recorded.shape, strict=True))
    shape = tuple(sizes[name] for name in variable.separate)
    attributes = {A_UNITS: variable.units, A_LONG_NAME: f"largest error of {variable.name}"}
    return small_layout(bound_path(variable.name), shape, "float64", variable.separate, attributes)


def bound_path(variable: str) -> str:
    """Return where the store has the largest errors of a variable."""
    return f"{MAX_ERROR}/{variable}"


def statistics_layouts(
    recorded: Sequence[ArrayLayout], variables: Sequence[Variable], n_trials: int
) -> tuple[ArrayLayout, ...]:
    """Lay out the train statistics of the recorded variables, and the list of the trials that they come from.

    Parameters
    ----------
    recorded, variables
        Arrays of the recorded variables, and the variables in the same order.
    n_trials
        Number of train trials.
    """
    long_name = "trials that the statistics come from"
    trials = small_layout(STATISTICS_TRIAL_ID, (n_trials,), "int64", (TRAIN_TRIAL,), {A_LONG_NAME: long_name})
    sizes = {array.path: dict(zip(array.dimensions, array.shape, strict=True)) for array in recorded}
    dtypes = {array.path: array.dtype for array in recorded}
    arrays = (
        small_layout(
            statistic_path(variable.name, reduction, name),
            tuple(sizes[variable.name][dimension] for dimension in kept),
            statistic_dtype(name, dtypes[variable.name]),
            kept,
            {
                A_UNITS: "1" if name == "count" else variable.units,
                A_LONG_NAME: f"{name} of {variable.name} {reduction.replace('_', ' ')}",
            },
        )
        for variable in variables
        for reduction, kept in variable.reductions.items()
        for name in STATISTIC_NAMES
    )
    return (trials, *arrays)


@dataclass(frozen=True)
class StoreLayout:
    """The arrays of a store that do not come from tables of the source.

    Attributes
    ----------
    recorded
        Arrays of the recorded variables, in their order.
    largest_errors
        Largest errors of channels: of bounds that are a part of the standard deviation.
    coordinates
        What is known of each trial; see `coordinate_layouts`.
    statistics
        Train statistics; none without train trials.
    rows_per_shard
        Trials in one shard of every recorded variable.
    """

    recorded: tuple[ArrayLayout, ...]
    largest_errors: tuple[ArrayLayout, ...]
    coordinates: tuple[ArrayLayout, ...]
    statistics: tuple[ArrayLayout, ...]
    rows_per_shard: int


def lay_out_store(
    variables: Sequence[Variable],
    shapes: Sequence[tuple[int, ...]],
    *,
    n_trials: int,
    n_train: int,
    unpadded: bool,
    codec: CodecName,
    bounds: Mapping[str, Bound],
) -> StoreLayout:
    """Lay out the arrays of a store.

    Parameters
    ----------
    variables, shapes
        Recorded variables as the store has them, and the shape of one trial of each.
    n_train
        Trials of the train tier of which there are to be statistics.
    unpadded
        As in `coordinate_layouts`.
    bounds
        Variable -> how far its values may be from the source; of those that are rounded.
    """
    nbytes = [math.prod(shape) * np.dtype(one.dtype).itemsize for one, shape in zip(variables, shapes, strict=True)]
    rows = rows_per_shard(n_trials, {one.name: size for one, size in zip(variables, nbytes, strict=True)})
    recorded = tuple(
        variable_layout(one, shape, n_trials=n_trials, rows=rows, codec=codec, bound=bounds.get(one.name))
        for one, shape in zip(variables, shapes, strict=True)
    )
    of_std = {name for name, bound in bounds.items() if bound.of_std}
    errors = (bound_layout(array, one) for array, one in zip(recorded, variables, strict=True) if one.name in of_std)
    coordinates = coordinate_layouts(variables, n_trials, unpadded=unpadded)
    statistics = statistics_layouts(recorded, variables, n_train) if n_train else ()
    return StoreLayout(recorded, tuple(errors), coordinates, statistics, rows)


def short_name(mouse: str) -> str:
    """Return the part of a mouse's name that people use.

    Examples
    --------
    >>> short_name("dynamic29156-11-10-Video-8744edeac3b4d1ce16b680916b5267ce")
    'dynamic29156-11-10'
    """
    return "-".join(mouse.split("-")[:3])


def statistic_dtype(name: str, dtype: str) -> str:
    """Return the dtype of a statistic of numbers of a dtype; medians of integers and bool may lie between two.

    Examples
    --------
    >>> statistic_dtype("mean", "float32"), statistic_dtype("max", "float32")
    ('float64', 'float32')
    >>> statistic_dtype("median", "uint8"), statistic_dtype("max", "uint8")
    ('float64', 'uint8')
    """
    whole = np.dtype(dtype).kind != "f"
    found = {"count": "int64", "mean": "float64", "std": "float64", "median": "float64" if whole else dtype}
    return found.get(name, dtype)


def statistic_path(variable: str, reduction: Reduction, name: str) -> str:
    """Return where the store has one of the train statistics of a variable."""
    return f"{TRAIN_STATISTICS}/{variable}/{reduction}/{name}"


def n_shards(n_trials: int, rows: int) -> int:
    """Return how many shards each array of trials has."""
    return math.ceil(n_trials / rows)

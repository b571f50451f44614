"""The direct path from shards into memory that the caller owns.

Shard indexes are read once and files stay open. Neighbouring chunks of a trial are read with one positional read, their
checksums are compared, and they are decoded into the batch, or into a thread's scratch and copied from there.
zarr-python's array layer takes no part. All of it may run in threads: the reads, checksums, decoders and copies release
the interpreter's lock. To get it back can take longer than what was done meanwhile: hence few calls, and long ones.
"""

from ...store.chunks import Scratch, Tally
from .affine import Affine
from .cached import CachedVariable, cached_nbytes
from .copying import BFLOAT16, FLOAT32, assign
from .pictures import Pictures, Size
from .store_files import StoreFiles
from .variable import MAX_THREADS, Frames, StreamedVariable, VariableReader

__all__ = [
    "BFLOAT16",
    "FLOAT32",
    "MAX_THREADS",
    "Affine",
    "Frames",
    "CachedVariable",
    "Pictures",
    "Size",
    "Scratch",
    "StoreFiles",
    "StreamedVariable",
    "Tally",
    "VariableReader",
    "assign",
    "cached_nbytes",
]

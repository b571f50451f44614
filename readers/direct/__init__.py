"""The direct path from shards into memory that the caller owns.

Shard indexes are read once and files stay open. A chunk is read with one positional read, its checksum is compared, and
it is decoded into the batch, or into a thread's scratch and copied from there. zarr-python's array layer takes no part.
All of it may run in threads: the reads, checksums, decoders and copies release the interpreter's lock.
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

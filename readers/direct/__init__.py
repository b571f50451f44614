"""The direct path from shards into memory that the caller owns.

Shard indexes are read once and files stay open. A chunk is read with one positional read, its checksum is compared, and
it is decoded into the batch, or into a thread's scratch and copied from there. zarr-python's array layer takes no part.
All of it may run in threads: the reads, checksums, decoders and copies release the interpreter's lock.
"""

from ...store.chunks import Scratch, Tally
from .cached import CachedVariable, cached_nbytes
from .copying import BFLOAT16, Affine, assign, is_narrow
from .store_files import StoreFiles
from .variable import FLOAT32, MAX_THREADS, Frames, StreamedVariable, VariableReader

__all__ = [
    "BFLOAT16",
    "FLOAT32",
    "MAX_THREADS",
    "Affine",
    "Frames",
    "CachedVariable",
    "Scratch",
    "StoreFiles",
    "StreamedVariable",
    "Tally",
    "VariableReader",
    "assign",
    "cached_nbytes",
    "is_narrow",
]

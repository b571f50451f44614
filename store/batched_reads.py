"""Many reads of files by one call of the system, where there is one for that: Linux's io_submit."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 64
"""Reads of one call."""
_SETUP, _SUBMIT, _GET_EVENTS = range(3)
# From the kernel's arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h: libc has no names.
_NUMBERS = {"x86_64": (206, 209, 208), "aarch64": (0, 2, 4)}
_READ_VECTOR = 7
# struct iocb, struct io_event and struct iovec of include/uapi/linux/aio_abi.h and uio.h, little-endian.
_REQUEST = np.dtype(
    [
        ("data", "u8"),
        ("key", "u4"),
        ("rw_flags", "i4"),
        ("opcode", "u2"),
        ("priority", "i2"),
        ("descriptor", "u4"),
        ("vector", "u8"),
        ("length", "u8"),
        ("offset", "i8"),
        ("reserved", "u8"),
        ("flags", "u4"),
        ("event_descriptor", "u4"),
    ]
)
_EVENT = np.dtype([("data", "u8"), ("request", "u8"), ("result", "i8"), ("result2", "i8")])
_PLACE = np.dtype([("address", "u8"), ("nbytes", "u8")])


class BatchedReads:
    """Reads values and the checksums behind them from many places, by one call.

    Raises
    ------
    OSError
        The system has no such call, does not allow it, or has no room for another user of it.

    Notes
    -----
    What goes through the page cache is read one after another before the call returns, as by `preadv`. But the
    interpreter's lock is given back and taken once for all of it: beside other threads that can take longer than to
    read an image. Why a read failed, another one with `preadv` says.
    """

    def __init__(self) -> None:
        if sys.platform != "linux" or platform.machine() not in _NUMBERS or sys.byteorder != "little":
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._numbers = _NUMBERS[platform.machine()]
        self._context = ctypes.c_ulong(0)
        self._call(_SETUP, ctypes.c_long(MOST), ctypes.byref(self._context))
        self._requests, self._events = np.zeros(MOST, _REQUEST), np.zeros(MOST, _EVENT)
        self._places, self._checksums = np.zeros((MOST, 2), _PLACE), np.zeros(MOST, "<u4")
        self._requests["opcode"], self._requests["length"] = _READ_VECTOR, 2
        self._requests["vector"] = _addresses(self._places)
        self._places["address"][:, 1], self._places["nbytes"][:, 1] = _addresses(self._checksums), 4
        self._pointers = _addresses(self._requests)
        self._steps = np.arange(MOST, dtype=np.uint64)

    def read(self, descriptors: Sequence[int], offsets: NDArray[np.int64], out: NDArray[np.uint8]) -> bytes | None:
        """Read chunks.

        Parameters
        ----------
        descriptors, offsets
            (n,) file and place of each; not more than `MOST`.
        out
            Memory for all values, one behind another, the same number of bytes of each.

        Returns
        -------
        bytes or None
            The checksums; None if anything was not read, or not all of it.

        Raises
        ------
        OSError
            The system cannot say what was read.
        """
        count = len(offsets)
        nbytes = out.nbytes // count
        self._requests["descriptor"][:count] = descriptors
        self._requests["offset"][:count] = offsets
        self._places["address"][:count, 0] = out.ctypes.data + nbytes * self._steps[:count]
        self._places["nbytes"][:count, 0] = nbytes
        try:
            submitted = self._call(_SUBMIT, self._context, ctypes.c_long(count), _pointer(self._pointers))
        except OSError:  # of the first one; the system has taken none
            return None
        # Nothing is written to `out` any more once all that were taken have ended.
        ended, complete = 0, submitted == count
        while ended < submitted:
            number = ctypes.c_long(submitted - ended)
            try:
                got = self._call(_GET_EVENTS, self._context, number, number, _pointer(self._events), None)
            except InterruptedError:
                continue
            complete = complete and bool((self._events["result"][:got] == nbytes + 4).all())
            ended += got
        return self._checksums[:count].tobytes() if complete else None

    def _call(self, which: int, *arguments: Any) -> int:
        found: int = _syscall(ctypes.c_long(self._numbers[which]), *arguments)
        if found < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return found


_syscall: Any = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_idle = list[BatchedReads]()
"""Those that no thread uses now. There are as many as threads have read at the same time."""
_refused = False
"""Whether the system gives no more of them."""
os.register_at_fork(after_in_child=_idle.clear)  # They are of the process that made them.


def read_batch(descriptors: Sequence[int], offsets: NDArray[np.int64], out: NDArray[np.uint8]) -> bytes | None:
    """Read as `BatchedReads.read` does; return None, too, where the system does not offer that."""
    global _refused  # noqa: PLW0603
    try:
        reads = _idle.pop()
    except IndexError:
        if _refused:
            return None
        try:
            reads = BatchedReads()
        except OSError:
            _refused = True
            return None
    found = reads.read(descriptors, offsets, out)
    # One that was interrupted is not used again: what it had asked for may still come.
    _idle.append(reads)
    return found


def _addresses(array: NDArray[Any]) -> NDArray[np.uint64]:
    """Return the address of each row of an array."""
    return (array.ctypes.data + array.strides[0] * np.arange(len(array))).astype(np.uint64)


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)

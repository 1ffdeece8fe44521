# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The native CPU runtime (runtime/cpu/Runtime.h) through ctypes, which gives the interpreter away during each call."""

from __future__ import annotations

import ctypes
import functools
import os
import weakref
from collections.abc import Sequence
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from mk.errors import MkError, PackageError

ENDED, TIMEOUT, STALLED, TOKENS = range(4)  # RunState
ELEMENT_TYPES = {"float32": 0, "bfloat16": 1, "float16": 2}
ALIGNMENT = 64  # bytes; of every arena and of every place inside one


class Source(ctypes.Structure):
    """MkSource: `rows` rows of a row-major matrix."""

    _fields_ = (("data", c_void_p), ("rows", c_int64), ("type", c_int64))


class Segment(ctypes.Structure):
    """MkSegment."""

    _fields_ = tuple((name, c_int64) for name in ("base", "limit", "outer", "stride", "half", "partner"))


_SIGNATURES: dict[str, tuple[Any, Sequence[Any]]] = {
    "mk_abi_hash": (c_uint64, []),
    "mk_cores": (c_int32, [POINTER(c_int32), c_int32]),
    "mk_read_bandwidth": (c_double, [c_int64, c_int32, c_double]),
    "mk_read_clocks": (None, [POINTER(c_int64), POINTER(c_int64)]),
    "mk_alloc": (c_void_p, [c_int64]),
    "mk_free": (None, [c_void_p, c_int64]),
    "mk_read_file": (c_int32, [c_char_p, c_int64, c_void_p, c_int64, c_int32]),
    "mk_pack_tiles": (
        c_int32,
        [
            POINTER(Source),
            c_int32,
            c_int64,
            c_int32,
            c_int32,
            POINTER(Segment),
            c_int32,
            c_void_p,
            c_int64,
            c_void_p,
            c_int32,
        ],
    ),
    "mk_convert": (None, [c_void_p, c_int32, c_void_p, c_int32, c_int64, c_int32]),
    "mk_code_load": (c_void_p, [c_void_p, c_int64, c_char_p, c_char_p, c_int64]),
    "mk_code_unload": (None, [c_void_p]),
    "mk_engine_create": (c_void_p, [c_void_p, POINTER(c_uint64), c_int64, c_int32, c_double]),
    "mk_engine_context": (POINTER(c_uint64), [c_void_p]),
    "mk_engine_start": (None, [c_void_p]),
    "mk_engine_wait": (c_int32, [c_void_p, c_double]),
    "mk_engine_wait_tokens": (c_int32, [c_void_p, c_void_p, c_int64, c_double]),
    "mk_engine_waiting": (None, [c_void_p, POINTER(c_int32)]),
    "mk_engine_destroy": (c_int32, [c_void_p]),
}


@functools.cache
def library() -> Any:
    """The loaded library. Raises MkError if it was not built."""
    path = Path(__file__).parent / "_native" / "libmk_runtime.so"
    try:
        loaded = ctypes.CDLL(os.fspath(path))
    except OSError as error:
        raise MkError(
            f"the native runtime cannot be loaded ({error}); run ./dev build, or install mk again"
        ) from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def physical_cores() -> int:
    """Number of physical cores that this process may use, at least 1."""
    return int(library().mk_cores(None, 0))


def read_bandwidth(*, size: int = 1 << 28, threads: int | None = None, seconds: float = 0.3) -> float:
    """Bytes per second that `threads` pinned threads (default: one per core) read now, each `size / threads` bytes."""
    return float(library().mk_read_bandwidth(size, threads or physical_cores(), seconds))


def read_clocks() -> tuple[int, int]:
    """The processor's counter, and the nanoseconds of the monotonic clock at the same moment."""
    counter, nanoseconds = c_int64(), c_int64()
    library().mk_read_clocks(ctypes.byref(counter), ctypes.byref(nanoseconds))
    return counter.value, nanoseconds.value


class Memory:
    """`size` bytes of zeroed memory, 64-byte aligned; `bytes` is its uint8 view. Freed when nothing refers to it.

    Raises MkError if there is not enough.
    """

    def __init__(self, size: int) -> None:
        self.size = max(size, ALIGNMENT)
        address = library().mk_alloc(self.size)
        if not address:
            raise MkError(
                f"not enough memory for {self.size / 2**20:.0f} MiB; compile with a smaller max_length or "
                "max_sequences"
            )
        self.address = int(address)
        # Every view refers to this object, also one that outlives the Memory: the memory goes with the last of them.
        owner = (ctypes.c_uint8 * self.size).from_address(self.address)
        self.bytes: np.ndarray[Any, np.dtype[np.uint8]] = np.frombuffer(memoryview(owner), np.uint8)
        self._finalizer = weakref.finalize(owner, library().mk_free, self.address, self.size)

    def keep(self) -> None:
        """Never free it: threads of a stalled engine still read it."""
        self._finalizer.detach()

    def view(self, offset: int, dtype: str, count: int) -> np.ndarray[Any, Any]:
        """`count` elements of a numpy dtype from byte `offset` on."""
        size = np.dtype(dtype).itemsize * count
        return self.bytes[offset : offset + size].view(dtype)


class Code:
    """Machine code, loaded from the bytes of a shared library. Raises PackageError if it does not load."""

    def __init__(self, code: bytes, entry: str) -> None:
        message = ctypes.create_string_buffer(512)
        self.handle = library().mk_code_load(code, len(code), entry.encode(), message, len(message))
        if not self.handle:
            text = message.value.decode(errors="replace")
            raise PackageError(f"the code of this program cannot be loaded: {text}; compile the model again")
        self._finalizer = weakref.finalize(self, library().mk_code_unload, self.handle)

    def keep(self) -> None:
        """Never unload it."""
        self._finalizer.detach()

    def close(self) -> None:
        """Unloads it; no engine may use it any more."""
        self._finalizer()

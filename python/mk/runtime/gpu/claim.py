# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One process at a time has engines on a GPU."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import threading
import weakref

from mk.errors import MkError
from mk.runtime.gpu.context import Gpu

_lock = threading.Lock()
_held: dict[
    bytes, tuple[socket.socket, int]
] = {}  # by UUID: what keeps others away, and the engines that need it


class Claim:
    """Held for as long as an engine lives; engines of one process share it. Raises MkError if another process has it.

    Two kernels that each fill the GPU would get it by turns of the driver's, and each would see the other's turns as
    steps that take milliseconds. Programs that are not mk's are not kept away: with them an engine is slower, no more.

    The name of a socket in Linux's abstract namespace is the lock: it needs no file that users would have to share,
    and goes with its process however that ends.
    """

    def __init__(self, gpu: Gpu) -> None:
        uuid = gpu.uuid
        with _lock:
            found, engines = _held.get(uuid) or (_bind(gpu.name, uuid), 0)
            _held[uuid] = found, engines + 1
        self.release = weakref.finalize(self, _release, uuid)


def _bind(name: str, uuid: bytes) -> socket.socket:
    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    address = b"\0mk-gpu-" + uuid.hex().encode()
    try:
        own.bind(address)
        own.listen(1)  # so that others can ask whose it is
    except OSError as error:
        own.close()
        if error.errno != errno.EADDRINUSE:
            raise MkError(f"{name}: cannot see whether another process has it ({error.strerror})") from error
        raise MkError(
            f"{name}: {_holder(address)} has an engine on it, and programs of mk run one process at a time on a GPU; "
            "close that engine, or end that process"
        ) from error
    return own


def _holder(address: bytes) -> str:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.setblocking(False)
        other.connect(address)
        pid = struct.unpack("3i", other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        if pid:  # 0 from another PID namespace
            return f"process {pid}"
    return "another process"


def _release(uuid: bytes) -> None:
    with _lock:
        if uuid not in _held:  # the child of a fork
            return
        own, engines = _held[uuid]
        if engines > 1:
            _held[uuid] = own, engines - 1
        else:
            del _held[uuid]
            own.close()


def _leave_to_the_parent() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it
    for own, _ in _held.values():
        own.close()
    _held.clear()


os.register_at_fork(after_in_child=_leave_to_the_parent)

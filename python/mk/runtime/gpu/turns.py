# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One run at a time on a GPU, whatever the number of engines: the GPU itself makes the next one wait."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from mk.runtime.gpu.driver import Driver

_lock = threading.Lock()
_last: dict[int, Any] = {}  # the event that ends the last run of each GPU, by ordinal


@contextlib.contextmanager
def turn(cuda: Driver, ordinal: int, stream: Any, ended: Any) -> Iterator[None]:
    """What is launched inside on `stream` begins after the run before has ended, and ends with the event `ended`.

    Two kernels that each fill the GPU would wait for each other's place. The host does not wait: the run before may
    belong to an iterator that this thread has left half-way.
    """
    with _lock:
        last = _last.get(ordinal)
        if last is not None and last is not ended:
            cuda("cuStreamWaitEvent", stream, last, 0)
        yield
        cuda("cuEventRecord", ended, stream)
        _last[ordinal] = ended


def forget(ordinal: int, ended: Any) -> None:
    """The engine with this event is closed: its last run has ended."""
    with _lock:
        if _last.get(ordinal) is ended:
            del _last[ordinal]

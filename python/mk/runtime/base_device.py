# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What an engine asks of a device, whatever runs the program: memory, one run at a time, and an end."""

from __future__ import annotations

import contextlib
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.errors import DeviceStalled, InputError

if TYPE_CHECKING:
    from mk.program import Program
    from mk.runtime.agenda import Agenda
    from mk.runtime.request import Request
    from mk.runtime.times import Times


class BaseDevice(ABC):
    """A program's code and memory. In order: made, `fill`, `start_workers`, then any number of runs, and `close`.

    `request` holds the arrays that a run is asked with; `logits`, float32 [max_rows, vocabulary], begins with the rows
    of the last `run`; `kv_bytes` is the size of the KV pool.
    """

    request: Request
    logits: np.ndarray[Any, Any]
    kv_bytes: int
    memory: dict[str, Any]  # the blocks by name
    _finalizer: weakref.finalize[..., Any]

    def __init__(self) -> None:
        self._closed = self._stalled = False
        self._busy = threading.Lock()
        self._generations: weakref.WeakSet[Generator[int, None, None]] = weakref.WeakSet()

    @abstractmethod
    def fill(
        self, program: Program, weights: Any, seed: int, progress: Callable[[int, int], None] | None
    ) -> bool:
        """Brings the weights into the memory; True if a cache had them packed. Raises WeightError."""

    @abstractmethod
    def start_workers(self, stall_seconds: float) -> None:
        """Everything is in place: what remains is to ask for runs."""

    @abstractmethod
    def run(self) -> None:
        """One step of what the request says. Raises DeviceStalled if the workers hang."""

    @abstractmethod
    def draw(self, steps: int) -> Generator[int, None, None]:
        """Runs at most `steps` steps of what the request says and yields what appears in the mailbox.

        Closing the iterator ends the run after the step in progress. Raises DeviceStalled if the workers hang.
        """

    @property
    @abstractmethod
    def drawn(self) -> int:
        """Tokens that the last `draw` has put into the mailbox, taken or not."""

    @abstractmethod
    def call(self, inputs: Sequence[Any], agenda: Agenda, stay: bool) -> list[Any]:
        """A call of a program with a function: rows [N, columns] or integers [N] of every input of the program to rows
        of its results; `stay`: as arrays on the device, if that is not the CPU. Raises DeviceStalled if the workers
        hang."""

    def download(self, array: Any) -> np.ndarray[Any, Any]:
        """A copy on the host of an array on the device; on a CPU that is the array."""
        return np.asarray(array)

    def upload(self, array: np.ndarray[Any, Any]) -> Any:
        """And back."""
        return array

    @abstractmethod
    def abandon(self) -> None:
        """The engine cannot be made: gives back at once what is too precious to wait until nobody refers to it."""

    @abstractmethod
    def times(self) -> Times | None:
        """See `Engine.times`; None if the code notes none."""

    def check_usable(self) -> None:
        """Raises DeviceStalled after a stall, InputError once it is closed."""
        if self._stalled:
            raise DeviceStalled("this engine has stalled; make a new one")
        if self._closed:
            raise InputError("this engine is closed")

    def exclusive(self) -> AbstractContextManager[None]:
        """Holds the workers for one call. Raises InputError if another call holds them."""
        self.check_usable()
        return _held(self._busy)

    def owns(self, generation: Generator[int, None, None]) -> None:
        """`generation` ends before the memory goes."""
        self._generations.add(generation)

    def close(self) -> None:
        """Ends a generation under way and the workers, and frees the memory. A second call does nothing."""
        if self._closed:
            return
        for generation in list(self._generations):
            try:
                generation.close()
            except ValueError as error:
                raise InputError(
                    "the engine is busy: a generation is under way in another thread; end it there first"
                ) from error
        with _held(self._busy):
            self._closed = True
        self.logits = self.logits[:0].copy()
        self._finalizer()
        del self.memory, self.request


@contextlib.contextmanager
def _held(lock: threading.Lock) -> Iterator[None]:
    """Two calls at a time are a mistake of the caller, not something to wait for."""
    if not lock.acquire(blocking=False):
        raise InputError("the engine is busy: close the iterator of the generation that is under way first")
    try:
        yield
    finally:
        lock.release()

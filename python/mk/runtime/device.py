# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The workers of a program on the CPU: its memory, its threads, and one run at a time.

A run is one call into the native runtime: one step, or a whole generation, during which Python only reads the
mailbox.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import weakref
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.errors import DeviceStalled, MkError
from mk.runtime import native
from mk.runtime.base_device import BaseDevice
from mk.runtime.native import Code, Memory, library
from mk.runtime.request import Request
from mk.runtime.times import KEPT, Recorder, Times
from mk.runtime.weights import fill_arenas

if TYPE_CHECKING:
    from mk.compiler.manifest import Manifest
    from mk.program import Program
    from mk.runtime.agenda import Agenda

_LOOK = 0.05  # seconds between looks at Ctrl-C during a run


class Device(BaseDevice):
    """A program's code and memory; its workers begin with `start_workers`, once the weights are in place.

    `memory` holds the blocks by name, `request` the arrays that a run is asked with. `pool_pages`: pages of the KV
    pool. `trace_steps`: see `Program.engine`.

    Raises PackageError if the code does not load, MkError if there is not enough memory.
    """

    def __init__(self, program: Program, pool_pages: int, trace_steps: int = KEPT) -> None:
        super().__init__()
        manifest = self._manifest = program.manifest
        arenas, cache = manifest["arenas"], manifest["cache"]
        self._code = Code(program.code, manifest["entry"])
        self.memory = {
            name: Memory(arenas[name]) for name in ("stream", "params", "activations", "request", "events")
        }
        self.memory["scratch"] = Memory(arenas["scratch"] * manifest["target"]["workers"])
        self.kv_bytes = pool_pages * cache["layers"] * cache["heads"] * cache["block"] if cache else 0
        self.memory["kv"] = Memory(self.kv_bytes)
        self.request = Request(self.memory["request"], manifest["abi"]["request"])
        self.logits = self._logits_view(manifest)  # float32 [max_rows, vocabulary] of the last step
        self._table = np.ascontiguousarray(program.arrays["table"], np.int32)
        self._recorder: Recorder | None = None
        if manifest["options"].get("trace"):
            self._recorder = Recorder(self._table, trace_steps)
            self.memory["trace"] = Memory(self._recorder.size)
            self._clocks = native.read_clocks()
        self._pool_pages = pool_pages
        self._handle: int | None = None

    def fill(
        self, program: Program, weights: Any, seed: int, progress: Callable[[int, int], None] | None
    ) -> bool:
        """As `fill_arenas`; there are no random weights here, so nothing needs the seed."""
        return fill_arenas(program, weights, self.memory["stream"], self.memory["params"], progress)

    def start_workers(self, stall_seconds: float) -> None:
        """Starts the threads. Raises MkError if the system has none to give."""
        manifest = self._manifest
        workers = manifest["target"]["workers"]
        self._handle = library().mk_engine_create(
            self._code.handle,
            self._context(manifest),
            len(manifest["events"]),
            workers,
            float(stall_seconds),
        )
        if not self._handle:
            raise MkError(f"cannot start {workers} worker threads")
        self._finalizer = weakref.finalize(
            self,
            _destroy,
            self._handle,
            self._code,
            list(self.memory.values()),
            self._table,
            self._generations,
            self._busy,
        )

    def abandon(self) -> None:
        """Nothing: the memory goes with the last reference to it."""

    def run(self) -> None:
        """One step of what the request says. Raises DeviceStalled if the workers hang."""
        state = native.TIMEOUT
        try:
            self._start(1)
            while state != native.ENDED:
                state = library().mk_engine_wait(self._handle, _LOOK)
                if state == native.STALLED:
                    raise self._stall()
        finally:
            self._finish()

    def call(self, inputs: Sequence[Any], agenda: Agenda, stay: bool) -> list[Any]:
        """As for any device: a run for each step."""
        plan = self._manifest["function"]
        places = [self._rows(one["buffer"]) for one in plan["inputs"]]
        computed = [self._rows(name) for name in plan["results"]]
        results = [np.empty((agenda.total, rows.shape[1]), np.float32) for rows in computed]
        for step, count in enumerate(agenda.counts.tolist()):
            rows = agenda.rows[step, :count]
            for target, given in zip(places, inputs, strict=True):
                target[:count] = given[rows]
            request = self.request
            request.set_tokens(rows, agenda.positions[step, :count], agenda.slots[step, :count])
            request["n_rows"][0] = 0
            self.run()
            for result, made in zip(results, computed, strict=True):
                result[rows] = made[:count]
        return results

    def draw(self, steps: int) -> Generator[int, None, None]:
        """Runs at most `steps` steps of what the request says and yields what appears in the mailbox.

        Closing the iterator ends the run after the step in progress. Raises DeviceStalled if the workers hang.
        """
        mailbox, count, seen = self.request["mailbox"], self.request["mailbox_count"], 0
        state = native.TIMEOUT
        try:
            self._start(steps)
            while state != native.ENDED:
                state = library().mk_engine_wait_tokens(
                    self._handle, self.request.mailbox_count_address, seen, _LOOK
                )
                if state == native.STALLED:
                    raise self._stall()
                for index in range(seen, int(count[0])):
                    seen = index + 1
                    yield int(mailbox[2 * index + 1])
        finally:
            self._finish()

    @property
    def drawn(self) -> int:
        """Tokens that the last `draw` has put into the mailbox, taken or not."""
        return int(self.request["mailbox_count"][0])

    # ------------------------------------------------------------------------------------------------------- one run

    def _start(self, steps: int) -> None:
        self.request.begin(steps)
        if self._recorder is not None:
            self._recorder.begin(self.request, self._ended())
        library().mk_engine_start(self._handle)

    def _finish(self) -> None:
        """Cancels what still runs and waits for it; whatever interrupts that, the run has ended or stalled after it."""
        if self._stalled:
            return
        interrupt = None
        while True:
            try:
                self.request["cancel"][0] = 1
                while (state := library().mk_engine_wait(self._handle, 1.0)) == native.TIMEOUT:
                    pass
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
        if state == native.STALLED:
            raise self._stall()

    def _stall(self) -> DeviceStalled:
        self._stalled = True
        events = (ctypes.c_int32 * self._manifest["target"]["workers"])()
        library().mk_engine_waiting(self._handle, events)
        names = self._manifest["events"]
        waits = ", ".join(
            f"worker {worker} waits for event {event}" + (f" ({names[event]})" if event < len(names) else "")
            for worker, event in enumerate(events)
            if event >= 0
        )
        return DeviceStalled(f"the program made no progress: {waits or 'no worker waits'}; make a new engine")

    # --------------------------------------------------------------------------------------------------------- times

    def times(self) -> Times | None:
        """See `Engine.times`: the counter's ticks, as nanoseconds of the monotonic clock."""
        if self._recorder is None:
            return None
        (ticks, begin), (later, end) = self._clocks, native.read_clocks()

        def clock(stamps: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
            return begin + np.rint((stamps - ticks) * ((end - begin) / (later - ticks))).astype(np.int64)

        block = self.memory["trace"].view(0, "int64", self._recorder.size // 8)
        return self._recorder.times(block.copy(), self._ended(), clock)

    def _ended(self) -> int:
        """Steps that have ended since the workers began."""
        step = next(field["index"] for field in self._manifest["abi"]["context"] if field["name"] == "step")
        return int(library().mk_engine_context(self._handle)[step])

    # -------------------------------------------------------------------------------------------------------- memory

    def _logits_view(self, manifest: Manifest) -> np.ndarray[Any, Any]:
        if "function" in manifest:
            return np.zeros((0, 0), np.float32)
        return self._rows(manifest["logits"])

    def _rows(self, name: str) -> np.ndarray[Any, Any]:
        """A buffer of the activations as the program sees it: [rows, columns], or [rows] of integers."""
        manifest = self._manifest
        buffer = next(b for b in manifest["buffers"] if b["name"] == name)
        count = manifest["sizes"]["max_tokens" if buffer["domain"] == "tokens" else "max_rows"]
        width = buffer["pitch"] // 4
        words = self.memory["activations"].view(buffer["offset"], buffer["dtype"], count * width)
        return words.reshape(count, width)[:, : buffer["shape"][1]] if len(buffer["shape"]) == 2 else words

    def _context(self, manifest: Manifest) -> Any:
        values = {name: memory.address for name, memory in self.memory.items()}
        values.update(
            table=self._table.ctypes.data,
            instructions=self._table.shape[1],
            scratch_bytes=manifest["arenas"]["scratch"],
            pool_pages=self._pool_pages,
        )
        if self._recorder is not None:
            values["trace"] = self._recorder.word(values["trace"])
        context = (ctypes.c_uint64 * manifest["abi"]["context_words"])()
        for field in manifest["abi"]["context"]:
            context[field["index"]] = values.get(field["name"], 0) if field["name"] != "words" else 0
        return context


def _destroy(
    handle: int,
    code: Code,
    memories: list[Memory],
    table: np.ndarray[Any, Any],
    generations: weakref.WeakSet[Generator[int, None, None]],
    busy: threading.Lock,
) -> None:
    # At the interpreter's end a generation may still run: its workers must stop before their memory goes.
    for generation in list(generations):
        with contextlib.suppress(ValueError, MkError):  # it is executing in a thread that will not return
            generation.close()
    if busy.locked() or library().mk_engine_destroy(handle):
        # That thread, or a worker of a stalled engine, may look at all of this until the process is gone.
        code.keep()
        for memory in memories:
            memory.keep()
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(table))
    else:
        code.close()

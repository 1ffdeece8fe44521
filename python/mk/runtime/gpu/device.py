# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A program on a GPU: its memory, and one run at a time.

A run is one launch: one step, or a whole generation, during which Python only reads the mailbox.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.errors import DeviceStalled, MkError
from mk.runtime.base_device import BaseDevice
from mk.runtime.gpu import turns
from mk.runtime.gpu.call import Call
from mk.runtime.gpu.claim import Claim
from mk.runtime.gpu.code import Code, check_fits_gpu
from mk.runtime.gpu.context import Gpu
from mk.runtime.gpu.driver import CudaError, open_driver
from mk.runtime.gpu.given import GpuArray, check_place
from mk.runtime.gpu.launch import Channel, Pause
from mk.runtime.gpu.memory import DeviceMemory, PinnedMemory, check_room
from mk.runtime.gpu.stall import WORDS, stall_text
from mk.runtime.gpu.weights import fill
from mk.runtime.request import Request
from mk.runtime.times import KEPT, Recorder, Times

if TYPE_CHECKING:
    from mk.program import Program
    from mk.runtime.agenda import Agenda


class GpuDevice(BaseDevice):
    """Loads the code and allocates everything, so that a program that does not fit is refused before weights are read.

    `pool_pages`: pages of the KV pool. `trace_steps`: see `Program.engine`. Raises MkError if there is no GPU, if it is
    another process's (see Claim) or has too little memory, PackageError if the program was made for another one.
    """

    def __init__(self, program: Program, pool_pages: int, trace_steps: int = KEPT) -> None:
        super().__init__()
        manifest = self._manifest = program.manifest
        gpu = self._gpu = Gpu(open_driver())
        check_fits_gpu(gpu, manifest)
        claim = Claim(gpu)
        self._code = Code(gpu, program.code, manifest)
        self._table = np.ascontiguousarray(program.arrays["table"], np.int32)
        self._pool_pages = pool_pages
        arenas, cache = manifest["arenas"], manifest["cache"]
        self.kv_bytes = pool_pages * cache["layers"] * cache["heads"] * cache["block"] if cache else 0
        blocks = {name: arenas[name] for name in ("stream", "params", "activations", "request", "events")}
        blocks |= {"kv": self.kv_bytes, "table": self._table.nbytes, "step": 64}
        self._recorder: Recorder | None = None
        if manifest["options"].get("trace"):
            self._recorder = Recorder(self._table, trace_steps)
            blocks["trace"] = self._recorder.size
        check_room(gpu, blocks, pool_pages)
        self._channel = Channel(gpu)
        self.memory = {name: DeviceMemory(gpu, size, self._channel.stream) for name, size in blocks.items()}
        if flagged := 2 * arenas["flagged"]:  # no word of them has been written
            with gpu:
                end = self.memory["activations"].address + arenas["activations"]
                gpu.cuda("cuMemsetD8Async", end - flagged, 0xFF, flagged, self._channel.stream)
        arrays = manifest["abi"]["request"]
        workers = manifest["target"]["workers"]
        logits = [(b["offset"], b["pitch"]) for b in manifest["buffers"] if b["name"] == manifest["logits"]]
        self._logits_offset, self._pitch = logits[0] if logits else (0, 0)  # a function has none
        pinned = self._pinned = {
            "request": PinnedMemory(gpu, arenas["request"]),
            "host": PinnedMemory(
                gpu, arenas["request"]
            ),  # for the mailbox that the kernel writes while it runs
            "stall": PinnedMemory(gpu, 8 * WORDS * workers),
            "logits": PinnedMemory(gpu, manifest["sizes"]["max_rows"] * self._pitch),
        }
        self.request, self._host = Request(pinned["request"], arrays), Request(pinned["host"], arrays)
        self._records = pinned["stall"].view(0, "int64", WORDS * workers).reshape(workers, WORDS)
        words = pinned["logits"].view(0, "float32", manifest["sizes"]["max_rows"] * self._pitch // 4)
        self.logits = words.reshape(manifest["sizes"]["max_rows"], -1)[:, : manifest["vocabulary"]]
        self._offsets = {array["name"]: array["offset"] for array in arrays}
        self._fault: str | None = None
        blocks_on_gpu = list(self.memory.values())
        self._call = (
            Call(gpu, self._channel.stream, manifest, blocks_on_gpu) if "function" in manifest else None
        )
        self._finalizer = weakref.finalize(
            self,
            _destroy,
            gpu,
            self._channel,
            blocks_on_gpu,
            pinned,
            self._code,
            self._generations,
            self._busy,
            claim,
        )

    def fill(
        self, program: Program, weights: Any, seed: int, progress: Callable[[int, int], None] | None
    ) -> bool:
        """Packs on the GPU, which is faster than reading a packed form from a disk: there is no cache."""
        fill(program, weights, seed, progress, self._gpu, self._code, self._channel.stream, self.memory)
        return False

    def start_workers(self, stall_seconds: float) -> None:
        """Writes the table, and the words of the context, which stay; the count of steps goes on from run to run."""
        manifest, memory = self._manifest, self.memory
        memory["table"].write(0, self._table)
        values = {name: block.address for name, block in memory.items()}
        values.update(
            instructions=self._table.shape[1],
            pool_pages=self._pool_pages,
            host=self._pinned["host"].device_address,
            stall=self._pinned["stall"].device_address,
            stall_ns=int(stall_seconds * 1e9),
            flagged=manifest["arenas"]["flagged"],
        )
        if self._recorder is not None:
            values["trace"] = self._recorder.word(values["trace"])
        words = np.zeros(manifest["abi"]["context_words"], np.uint64)
        for field in manifest["abi"]["context"]:
            words[field["index"]] = values.get(field["name"], 0)
        self._context = words

    def times(self) -> Times | None:
        """See `Engine.times`: nanoseconds of the GPU's clock."""
        if self._recorder is None:
            return None
        return self._recorder.times(self.memory["trace"].read(self._recorder.size // 8), self._ended())

    def _ended(self) -> int:
        """Steps that have ended since the counters were zero."""
        return int(self.memory["step"].read(1)[0])

    def abandon(self) -> None:
        """Frees everything at once: another engine may need the memory before the error is forgotten."""
        self._finalizer()

    def check_usable(self) -> None:
        """Raises MkError after a fault of the GPU, else as for any device."""
        if self._fault is not None:
            raise MkError(self._fault)
        super().check_usable()

    def close(self) -> None:
        """As for any device; the views of what the kernel writes go too."""
        super().close()
        for name in ("_host", "_records", "_call"):
            self.__dict__.pop(name, None)

    # ------------------------------------------------------------------------------------------------------- one run

    def run(self) -> None:
        """One step; the logits of its rows are in `logits` afterwards."""
        size = int(self.request["n_rows"][0]) * self._pitch
        source = self.memory["activations"].address + self._logits_offset

        def fetch() -> None:
            if size:
                self._gpu.cuda(
                    "cuMemcpyDtoHAsync", self._pinned["logits"].address, source, size, self._channel.stream
                )

        self._run(1, fetch)

    def call(self, inputs: Sequence[Any], agenda: Agenda, stay: bool) -> list[Any]:
        """As for any device, in one launch."""
        call = self._call
        assert call is not None, "a program without a function"
        if not agenda.total:
            return [self.upload(rows) if stay else rows for rows in call.empty()]
        places = call.reserve(agenda)
        for field in self._manifest["abi"]["context"]:
            if field["name"] in places:
                self._context[field["index"]] = places[field["name"]]
        with self._guarded():
            call.send(inputs, agenda)
        count = int(agenda.counts[0])
        request = self.request
        request.set_tokens(agenda.rows[0, :count], agenda.positions[0, :count], agenda.slots[0, :count])
        request["n_rows"][0] = 0
        left: list[Any] = []

        def fetch() -> None:
            if stay:
                left.extend(call.leave(agenda.total))
            else:
                call.fetch(agenda.total)

        self._run(len(agenda), fetch, int(agenda.counts.max()))
        return left if stay else call.results(agenda.total)

    def download(self, array: GpuArray) -> np.ndarray[Any, Any]:
        """A copy on the host, of what is there once all work on the GPU has ended."""
        import ml_dtypes  # an engine has no need of it

        check_place(array, self._gpu)
        bits = np.empty(array.shape, ml_dtypes.bfloat16 if array.dtype == "bfloat16" else array.dtype)
        if bits.size:
            with self._gpu, self._guarded():
                self._gpu.cuda("cuCtxSynchronize")
                self._gpu.cuda("cuMemcpyDtoH", bits.ctypes.data, array.address, bits.nbytes)
        return bits

    def upload(self, array: np.ndarray[Any, Any]) -> GpuArray:
        """A copy on the GPU."""
        memory = DeviceMemory(self._gpu, array.nbytes, self._channel.stream)
        with self._guarded():
            memory.write(0, array)
        return GpuArray(memory.address, array.shape, array.dtype.name, memory)

    def _run(self, steps: int, fetch: Callable[[], None], tokens: int | None = None) -> None:
        try:
            self._start(steps, tokens, fetch)
            pause = Pause()
            while not self._has_ended():
                pause()
        finally:
            self._finish()

    def draw(self, steps: int) -> Generator[int, None, None]:
        """Tokens come from the mailbox in pinned memory; the kernel does not wait for anybody to take them."""
        mailbox, count, seen = self._host["mailbox"], self._host["mailbox_count"], 0
        try:
            self._start(steps)
            ended, pause = False, Pause()
            while not ended:
                ended = self._has_ended()  # before the count: of a run that has ended, all tokens are there
                posted = int(count[0])
                if posted == seen and not ended:
                    pause()
                    continue
                pause = Pause()
                for index in range(seen, posted):
                    seen = index + 1
                    yield int(mailbox[2 * index + 1])
        finally:
            self._finish()

    @property
    def drawn(self) -> int:
        """As for any device."""
        return int(self._host["mailbox_count"][0])

    def _start(self, steps: int, tokens: int | None = None, fetch: Callable[[], None] | None = None) -> None:
        """Asks for a run whose steps have at most `tokens` tokens (None: as many as the first), then for what `fetch`
        asks for."""
        gpu, stream, memory = self._gpu, self._channel.stream, self.memory
        self.request.begin(steps)
        if self._recorder is not None:
            with self._guarded():
                self._recorder.begin(self.request, self._ended())
        self._host["mailbox_count"][0] = 0
        self._records[:] = 0
        with gpu, self._guarded():
            # The mailbox is the last array, and only the kernel's.
            self._channel.ask(
                memory["request"].address, self.request.memory.address, self._offsets["mailbox"]
            )
            with turns.turn(gpu.cuda, gpu.ordinal, stream, self._channel.ended):
                # No step of a generation has more tokens than its first.
                self._code.main(stream, self._context, tokens or int(self.request["n_tokens"][0]))
                if fetch is not None:
                    fetch()

    def _has_ended(self) -> bool:
        """Whether the run has. Raises DeviceStalled if its workers hung, MkError if the GPU failed."""
        with self._gpu, self._guarded():
            if not self._gpu.cuda.idle(self._channel.stream):
                return False
        text = stall_text(self._records, self._table, self._manifest)
        if text is not None:
            self._stalled = True
            raise DeviceStalled(text)
        return True

    def _finish(self) -> None:
        """Cancels what still runs and waits for it; whatever interrupts that, the run has ended or stalled after it."""
        interrupt = None
        while not self._stalled and self._fault is None:
            try:
                if not self._has_ended():
                    with self._gpu, self._guarded():
                        self._channel.cancel(self.memory["request"].address + self._offsets["cancel"])
                    pause = Pause()
                    while not self._has_ended():
                        pause()
                with self._gpu, self._guarded():
                    self._channel.settle()
                break
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    @contextlib.contextmanager
    def _guarded(self) -> Generator[None, None, None]:
        """A fault in a kernel leaves nothing of the process's context to use."""
        try:
            yield
        except CudaError as error:
            self._fault = f"the GPU failed during a run ({error.code}); only a new process can use it again"
            raise MkError(self._fault) from error


def _destroy(
    gpu: Gpu,
    channel: Channel,
    memories: list[DeviceMemory],
    pinned: dict[str, PinnedMemory],
    code: Code,
    generations: weakref.WeakSet[Generator[int, None, None]],
    busy: threading.Lock,
    claim: Claim,
) -> None:
    # At the interpreter's end a generation may still run: it must stop before its memory goes.
    for generation in list(generations):
        with contextlib.suppress(ValueError, MkError):  # it is executing in a thread that will not return
            generation.close()
    if busy.locked():  # that thread may look at all of this until the process is gone
        gpu.keep()
        channel.keep()
        code.keep()
        for memory in memories:
            memory.keep()
        for block in pinned.values():
            block.keep()
        return
    turns.forget(gpu.ordinal, channel.ended)
    with contextlib.suppress(CudaError), gpu:
        channel.close()  # waits: what follows may be in use until then
        for memory in memories:
            memory.free()
        code.unload()
    pinned.clear()
    claim.release()

# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A program with its weights and its KV cache, ready to run.

A run is one call into the native runtime: one step, or a whole generation, during which Python only reads the
mailbox.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.errors import DeviceStalled, InputError, MkError
from mk.runtime import inputs, native
from mk.runtime.native import Code, Memory, library
from mk.runtime.pages import PageTable
from mk.runtime.request import Request
from mk.runtime.sampling import Sampling
from mk.runtime.weights import fill_arenas

if TYPE_CHECKING:
    from mk.compiler.manifest import Manifest
    from mk.program import Program

_LOOK = 0.05  # seconds between looks at Ctrl-C during a run
_GREEDY = Sampling()


class Engine:
    """Made by `Program.engine`. Use it from one thread at a time; close it, or use it in a `with` block.

    `weights`: see `Program.engine`. `pool_pages`: pages of the KV pool, by default enough for every slot at its full
    length. `stall_seconds`: how long all workers may wait without any progress before the run is given up (0: for
    ever).

    Raises WeightError if the weights do not fit the program, MkError if there is not enough memory.
    """

    def __init__(
        self,
        program: Program,
        weights: Any = None,
        *,
        pool_pages: int | None = None,
        stall_seconds: float = 2.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        manifest = self._manifest = program.manifest
        self.program = program
        sizes, arenas = manifest["sizes"], manifest["arenas"]
        slot_pages = sizes["max_length"] // sizes["page"]
        self.pool_pages = (
            sizes["max_sequences"] * slot_pages
            if pool_pages is None
            else inputs.positive("pool_pages", pool_pages)
        )
        self._code = Code(program.code, manifest["entry"])
        self._memory = {
            name: Memory(arenas[name]) for name in ("stream", "params", "activations", "request", "events")
        }
        self._memory["scratch"] = Memory(arenas["scratch"] * manifest["target"]["workers"])
        self._memory["kv"] = Memory(self.kv_bytes)
        #: Whether the packed weights came from the cache.
        self.warm = fill_arenas(program, weights, self._memory["stream"], self._memory["params"], progress)
        self._table = np.ascontiguousarray(program.arrays["table"], np.int32)
        self._request = Request(self._memory["request"], manifest["abi"]["request"])
        table = self._request["page_table"].reshape(sizes["max_sequences"], slot_pages)
        self._pages = PageTable(table, self.pool_pages, sizes["page"])
        self._lengths = [0] * sizes["max_sequences"]
        self._logits = self._logits_view(manifest)
        self._handle: int | None = library().mk_engine_create(
            self._code.handle,
            self._context(manifest),
            len(manifest["events"]),
            manifest["target"]["workers"],
            float(stall_seconds),
        )
        if not self._handle:
            raise MkError(f"cannot start {manifest['target']['workers']} worker threads")
        self._busy = threading.Lock()
        self._stalled = False
        self._generations: weakref.WeakSet[Generator[int, None, None]] = weakref.WeakSet()
        self._freed: list[bool] = []  # holds something once the threads and the memory are gone
        self._finalizer = weakref.finalize(
            self,
            _destroy,
            self._handle,
            self._code,
            list(self._memory.values()),
            self._table,
            self._generations,
            self._freed,
        )

    @property
    def kv_bytes(self) -> int:
        """Bytes of the KV pool."""
        cache = self._manifest["cache"]
        return self.pool_pages * cache["layers"] * cache["heads"] * cache["block"] if cache else 0

    @property
    def vocabulary(self) -> int:
        """Columns of the logits."""
        return self._manifest["vocabulary"]

    @property
    def max_length(self) -> int:
        """Positions of a slot."""
        return self._manifest["sizes"]["max_length"]

    @property
    def step_bytes(self) -> int:
        """Bytes of packed weights that a step reads, whatever its number of tokens."""
        return self._manifest["arenas"]["stream"]

    def length(self, slot: int) -> int:
        """Tokens that a slot holds."""
        return self._lengths[self._slot(slot)]

    def reset(self, slot: int) -> None:
        """Empties a slot and gives its pages back."""
        slot = self._slot(slot)
        with self._exclusive():
            self._reset(slot)

    def step(
        self, tokens: Any, positions: Any, slots: Any, rows: Any = None
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """One pass through the model: integers [N], [N], [N] and [R], any N and R, to float32 logits [R, vocabulary].

        Token n goes to position `positions[n]` of slot `slots[n]` and sees the positions up to its own. Row r of the
        result belongs to token `rows[r]`; None means a row for every token. All arrays may be sequences of ints,
        numpy arrays or anything with DLPack. Positions may be written again; those behind then count as empty.

        Raises InputError if an argument is not valid (nothing has run then), DeviceStalled if the workers hang.
        """
        sizes = self._manifest["sizes"]
        token_array = inputs.integers("tokens", tokens, self.vocabulary, "the vocabulary")
        position_array = inputs.integers("positions", positions, self.max_length, "max_length")
        slot_array = inputs.integers("slots", slots, sizes["max_sequences"], "max_sequences")
        inputs.same_length(tokens=token_array, positions=position_array, slots=slot_array)
        count = len(token_array)
        row_array = (
            np.arange(count, dtype=np.int32)
            if rows is None
            else inputs.integers("rows", rows, count, "the tokens of this step")
        )
        wanted, place = np.unique(row_array, return_inverse=True)
        result = np.empty((len(wanted), self.vocabulary), np.float32)
        with self._exclusive():
            self._claim(position_array, slot_array)
            try:
                for part, part_rows, first in _parts(
                    position_array, wanted, sizes["max_tokens"], sizes["max_rows"]
                ):
                    self._request.set_tokens(token_array[part], position_array[part], slot_array[part])
                    self._request.set_rows(part_rows, 1, _GREEDY)
                    self._request.set_stops(())
                    self._run(1)
                    if len(part_rows):
                        result[first] = self._logits[: len(part_rows)]
            except BaseException:  # such as Ctrl-C: some of the positions were never written
                for slot in np.unique(slot_array).tolist():
                    self._lengths[slot] = int(position_array[slot_array == slot].min())
                raise
        return result if rows is None or np.array_equal(place, np.arange(len(wanted))) else result[place]

    def generate(
        self,
        prompt_ids: Any,
        *,
        max_new_tokens: int = 64,
        stop_ids: Iterable[int] = (),
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
        slot: int = 0,
    ) -> Iterator[int]:
        """Token ids that follow the prompt, as they are drawn; a stop token ends them and is not among them.

        Empties `slot` and uses it. Sampling: see `Sampling`. The generation is one run: closing the iterator, Ctrl-C
        or losing it ends the run after the token in progress, and the engine stays usable.

        Raises InputError at once if an argument is not valid; the iterator raises DeviceStalled if the workers hang.
        """
        self._check_usable()
        prompt = inputs.integers("prompt_ids", prompt_ids, self.vocabulary, "the vocabulary")
        new = inputs.positive("max_new_tokens", max_new_tokens)
        slot = self._slot(slot)
        sampling = Sampling(temperature, top_k, top_p, min_p, seed)
        stops = inputs.stop_tokens(stop_ids, self.vocabulary, len(self._request["stops"]))
        if not len(prompt):
            raise InputError("prompt_ids is empty; a generation needs at least one token")
        # The last token that is drawn is never fed back.
        room = min(self.max_length - len(prompt) + 1, self._request.mailbox_capacity)
        if new > room:
            raise InputError(
                f"a prompt of {len(prompt)} tokens leaves room for {max(room, 0)} new tokens, but "
                f"max_new_tokens is {new} (max_length is {self.max_length})"
            )
        generation = self._generate(prompt, new, stops, sampling, slot)
        self._generations.add(generation)
        return generation

    def _generate(
        self, prompt: inputs.Ints, new: int, stops: list[int], sampling: Sampling, slot: int
    ) -> Generator[int, None, None]:
        with self._exclusive():
            self._reset(slot)
            self._pages.grow(slot, len(prompt) + new - 1)
            chunk = self._manifest["sizes"]["max_tokens"]
            last = (len(prompt) - 1) // chunk * chunk
            none = np.zeros(0, np.int32)
            for begin in range(0, last, chunk):
                self._prompt_chunk(prompt, begin, begin + chunk, slot)
                self._request.set_rows(none, 0, sampling)
                self._run(1)
            self._prompt_chunk(prompt, last, len(prompt), slot)
            self._request.set_rows(np.asarray([len(prompt) - 1 - last], np.int32), new, sampling)
            self._request.set_stops(stops)
            self._lengths[slot] = len(prompt)
            yield from self._drawn(new, frozenset(stops), slot)

    def _prompt_chunk(self, prompt: inputs.Ints, begin: int, end: int, slot: int) -> None:
        self._request.set_tokens(
            prompt[begin:end], np.arange(begin, end, dtype=np.int32), np.full(end - begin, slot, np.int32)
        )

    def _drawn(self, steps: int, stops: frozenset[int], slot: int) -> Iterator[int]:
        """Runs the steps and yields what appears in the mailbox."""
        mailbox, count, seen = self._request["mailbox"], self._request["mailbox_count"], 0
        start = self._lengths[slot]
        state = native.TIMEOUT
        try:
            self._start(steps)
            while state != native.ENDED:
                state = library().mk_engine_wait_tokens(
                    self._handle, self._request.mailbox_count_address, seen, _LOOK
                )
                if state == native.STALLED:
                    raise self._stall()
                for index in range(seen, int(count[0])):
                    token = int(mailbox[2 * index + 1])
                    seen = index + 1
                    if token not in stops:
                        yield token
        finally:
            if not self._freed:
                self._finish()
                # Every token but the last that was drawn is in the cache, also those that nobody took.
                self._lengths[slot] = start + max(int(count[0]) - 1, 0)

    def close(self) -> None:
        """Ends a generation under way and the threads, and frees the memory. A second call does nothing."""
        if self._handle is None:
            return
        for generation in list(self._generations):
            generation.close()
        with _Exclusive(self._busy):
            self._handle = None
            self._logits = self._logits[:0].copy()
            self._finalizer()
            del self._memory, self._request, self._pages

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------- one run

    def _run(self, steps: int) -> None:
        state = native.TIMEOUT
        try:
            self._start(steps)
            while state != native.ENDED:
                state = library().mk_engine_wait(self._handle, _LOOK)
                if state == native.STALLED:
                    raise self._stall()
        finally:
            self._finish()

    def _start(self, steps: int) -> None:
        self._request.begin(steps)
        library().mk_engine_start(self._handle)

    def _finish(self) -> None:
        """Cancels what still runs and waits for it; whatever interrupts that, the run has ended or stalled after it."""
        if self._stalled:
            return
        interrupt = None
        while True:
            try:
                self._request["cancel"][0] = 1
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

    # ----------------------------------------------------------------------------------------------------- bookkeeping

    def _claim(self, positions: inputs.Ints, slots: inputs.Ints) -> None:
        lengths = inputs.new_lengths(positions, slots, self._lengths)
        for slot, length in lengths.items():
            self._pages.grow(slot, length)
        for slot, length in lengths.items():
            self._lengths[slot] = length

    def _reset(self, slot: int) -> None:
        self._pages.release(slot)
        self._lengths[slot] = 0

    def _slot(self, slot: Any) -> int:
        return int(
            inputs.integers("slot", [slot], self._manifest["sizes"]["max_sequences"], "max_sequences")[0]
        )

    def _check_usable(self) -> None:
        if self._stalled:
            raise DeviceStalled("this engine has stalled; make a new one")
        if self._handle is None:
            raise InputError("this engine is closed")

    def _exclusive(self) -> _Exclusive:
        self._check_usable()
        return _Exclusive(self._busy)

    def _logits_view(self, manifest: Manifest) -> np.ndarray[Any, Any]:
        buffer = next(b for b in manifest["buffers"] if b["name"] == manifest["logits"])
        words = self._memory["activations"].view(
            buffer["offset"], "float32", manifest["sizes"]["max_rows"] * buffer["pitch"] // 4
        )
        return words.reshape(-1, buffer["pitch"] // 4)[:, : manifest["vocabulary"]]

    def _context(self, manifest: Manifest) -> Any:
        values = {name: memory.address for name, memory in self._memory.items()}
        values.update(
            table=self._table.ctypes.data,
            instructions=self._table.shape[1],
            scratch_bytes=manifest["arenas"]["scratch"],
            pool_pages=self.pool_pages,
        )
        context = (ctypes.c_uint64 * manifest["abi"]["context_words"])()
        for field in manifest["abi"]["context"]:
            context[field["index"]] = values.get(field["name"], 0) if field["name"] != "words" else 0
        return context


class _Exclusive:
    """Holds the engine for one call; two at a time is a mistake of the caller, not something to wait for."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise InputError(
                "the engine is busy: close the iterator of the generation that is under way first"
            )

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _parts(
    positions: inputs.Ints, rows: inputs.Ints, max_tokens: int, max_rows: int
) -> Iterator[tuple[Any, inputs.Ints, Any]]:
    """Cuts a step into steps that fit: (tokens of the part, its rows within it, places of those rows in the result).

    `rows` is sorted and without repeats. Lower positions go first, so that a token finds what it attends to.
    """
    count = len(positions)
    if 0 < count <= max_tokens and len(rows) <= max_rows:
        yield slice(None), rows, slice(None)
        return
    order = np.argsort(positions, kind="stable")
    place = np.full(count, -1, np.int64)
    place[rows] = np.arange(len(rows))
    place = place[order]  # of each token's row in the result
    before = np.concatenate([[0], np.cumsum(place >= 0)])  # rows of the tokens before
    begin = 0
    while begin < count:
        end = min(
            begin + max_tokens, int(np.searchsorted(before, before[begin] + max_rows, side="right")) - 1
        )
        inside = place[begin:end]
        yield order[begin:end], np.flatnonzero(inside >= 0).astype(np.int32), inside[inside >= 0]
        begin = end


def _destroy(
    handle: int,
    code: Code,
    memories: list[Memory],
    table: np.ndarray[Any, Any],
    generations: weakref.WeakSet[Generator[int, None, None]],
    freed: list[bool],
) -> None:
    # At the interpreter's end a generation may still run: its workers must stop before their memory goes.
    for generation in list(generations):
        with contextlib.suppress(ValueError, MkError):  # it is executing in a thread that will not return
            generation.close()
    freed.append(True)
    if library().mk_engine_destroy(handle):
        code.keep()
        for memory in memories:
            memory.keep()
        _kept.append(table)
    else:
        code.close()


_kept: list[Any] = []  # what parked threads of stalled engines may still read

# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A program with its weights and its KV cache, ready to run."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mk.errors import InputError
from mk.runtime import inputs
from mk.runtime.generation import Generation
from mk.runtime.host import Host
from mk.runtime.parts import parts
from mk.runtime.sampling import Sampling

if TYPE_CHECKING:
    from mk.program import Program

_GREEDY = Sampling()


class Engine(Host):
    """Made by `Program.engine`. Use it from one thread at a time; close it, or use it in a `with` block.

    `weights`, `seed`, `trace_steps`: see `Program.engine`. `pool_pages`: pages of the KV pool, by default enough for
    every slot at its full length. `stall_seconds`: how long all workers may wait without any progress before the run is
    given up (0: for ever).

    Raises WeightError if the weights do not fit the program, PackageError if this machine lacks instructions that the
    program uses or is another GPU, MkError if there is no GPU for a program that needs one, or not enough memory.
    """

    def __init__(self, program: Program, weights: Any = None, **settings: Any) -> None:
        if program.facts.signature is not None:
            raise InputError(
                "this is the program of a module with inputs of its own; call it with mk.Function(program)"
            )
        super().__init__(program, weights, **settings)

    def __enter__(self) -> Engine:
        return self

    @property
    def vocabulary(self) -> int:
        """Columns of the logits."""
        return self.program.manifest["vocabulary"]

    @property
    def max_length(self) -> int:
        """Tokens that a slot may hold."""
        return self.program.manifest["sizes"]["max_length"]

    def length(self, slot: int) -> int:
        """Tokens that a slot holds."""
        return self._lengths[self._slot(slot)]

    def reset(self, slot: int) -> None:
        """Empties a slot and gives its pages back."""
        slot = self._slot(slot)
        with self._device.exclusive():
            self._pages.release(slot)
            self._lengths[slot] = 0

    def step(
        self, tokens: Any, positions: Any, slots: Any, rows: Any = None
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """One pass through the model: integers [N], [N], [N] and [R], any N and R, to float32 logits [R, vocabulary].

        Token n goes to position `positions[n]` of slot `slots[n]` and sees the positions up to its own. Row r of the
        result belongs to token `rows[r]`; None means a row for every token. All arrays may be sequences of ints,
        numpy arrays or anything with DLPack. Positions may be written again; those behind then count as empty.

        Raises InputError if an argument is not valid or the KV pool has too few pages (nothing has changed then),
        DeviceStalled if the workers hang.
        """
        sizes = self.program.manifest["sizes"]
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
        with self._device.exclusive():
            lengths = inputs.new_lengths(position_array, slot_array, self._lengths)
            self._pages.grow(lengths)
            for slot, length in lengths.items():
                self._lengths[slot] = length
            request = self._device.request
            try:
                for part, part_rows, first in parts(
                    position_array, wanted, sizes["max_tokens"], sizes["max_rows"]
                ):
                    request.set_tokens(token_array[part], position_array[part], slot_array[part])
                    request.set_rows(part_rows, 1, _GREEDY)
                    request.set_stops(())
                    self._device.run()
                    if len(part_rows):
                        result[first] = self._device.logits[: len(part_rows)]
            except BaseException:  # such as Ctrl-C: some of the positions were never written
                for slot in lengths:
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

        Raises InputError at once if an argument is not valid; the iterator raises InputError, and leaves the slot as it
        was, if the KV pool has too few pages, and DeviceStalled if the workers hang.
        """
        self._device.check_usable()
        prompt = inputs.integers("prompt_ids", prompt_ids, self.vocabulary, "the vocabulary")
        new = inputs.positive("max_new_tokens", max_new_tokens)
        slot = self._slot(slot)
        sampling = Sampling(temperature, top_k, top_p, min_p, seed)
        request = self._device.request
        stops = inputs.stop_tokens(stop_ids, self.vocabulary, len(request["stops"]))
        if not len(prompt):
            raise InputError("prompt_ids is empty; a generation needs at least one token")
        # The last token that is drawn is never fed back.
        room = min(self.max_length - len(prompt) + 1, request.mailbox_capacity)
        if new > room:
            raise InputError(
                f"a prompt of {len(prompt)} tokens leaves room for {max(room, 0)} new tokens, but "
                f"max_new_tokens is {new} (max_length is {self.max_length})"
            )
        generation = self._generate(Generation(prompt, new, stops, sampling), slot)
        self._device.owns(generation)
        return generation

    def _generate(self, generation: Generation, slot: int) -> Generator[int, None, None]:
        with self._device.exclusive():
            self._pages.replace(slot, generation.length)
            self._lengths[slot] = 0
            chunk = self.program.manifest["sizes"]["max_tokens"]
            yield from generation.run(self._device, slot, chunk, self._lengths)

    def _slot(self, slot: Any) -> int:
        return int(
            inputs.integers("slot", [slot], self.program.manifest["sizes"]["max_sequences"], "max_sequences")[
                0
            ]
        )

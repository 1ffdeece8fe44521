# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Text in, text out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from mk.errors import InputError
from mk.program import Program, load
from mk.runtime.text import Messages, StopFilter, Tokenizer
from mk.runtime.times import KEPT


def open_program(model: Any, *, progress: Callable[[str], None] | None = None, **options: Any) -> Program:
    """The program of `model`: itself, a package's, or a newly compiled one, see `mk.compile_module`.

    Raises InputError for options beside a program that is compiled already.
    """
    if isinstance(model, Program):
        program = model
    elif isinstance(model, str | os.PathLike) and is_package(Path(model)):
        program = load(model)
    else:
        from mk.build import compile_module

        return compile_module(model, progress=progress, **options)
    if options:
        raise InputError(
            f"{', '.join(options)}: the program is compiled already; options belong to its compilation"
        )
    return program


def is_package(path: Path) -> bool:
    """Whether a path names a program that is compiled already."""
    return path.suffix == ".mkp"


class LLM:
    """A model that answers. Close it, or use it in a `with` block.

    `model` is a Program, a package, or whatever `mk.compile_module` takes, with its options. `weights`, `trace_steps`:
    see `Program.engine`. `progress` is called with the name of each long phase, `packing` with (bytes packed, in all).
    """

    def __init__(
        self,
        model: Any,
        *,
        weights: Any = None,
        trace_steps: int = KEPT,
        progress: Callable[[str], None] | None = None,
        packing: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> None:
        self.program = open_program(model, progress=progress, **options)
        self.tokenizer = Tokenizer(self.program.files)
        if progress is not None:
            progress("load weights")
        began = time.perf_counter()
        self.engine = self.program.engine(weights, trace_steps=trace_steps, progress=packing)
        #: What it cost to come here, by phase.
        self.seconds = {**self.program.seconds, "load": time.perf_counter() - began}

    def generate(self, prompt: str, **options: Any) -> str:
        """The text that follows `prompt`. Options: see `stream`."""
        return "".join(self.stream(prompt, **options))

    def chat(self, messages: Messages, **options: Any) -> str:
        """The model's answer to a conversation of dicts with `role` and `content`. Options: see `stream`."""
        return "".join(self.stream(messages, **options))

    def stream(
        self,
        prompt: str | Messages,
        *,
        max_new_tokens: int = 256,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
    ) -> Iterator[str]:
        """Pieces of text as they are made, each of whole characters; the same for a text and for a conversation.

        Ends at the model's end-of-text token, before the first of the `stop` strings, after `max_new_tokens` tokens,
        or when the program's max_length is reached. Sampling: see `mk.runtime.Sampling`. Closing the iterator ends
        the generation.

        Raises InputError if an argument is not valid or the prompt is longer than the program's max_length.
        """
        StopFilter(stop)  # so that a mistake shows now and not with the first piece
        ids = self.encode(prompt)
        room = self.engine.max_length - len(ids) + 1
        if room < 1:
            raise InputError(
                f"the prompt has {len(ids)} tokens, more than the program's max_length of {self.engine.max_length}; "
                "shorten it, or compile with a larger max_length"
            )
        if isinstance(max_new_tokens, int) and max_new_tokens > room:
            max_new_tokens = room
        tokens = self.engine.generate(
            ids,
            max_new_tokens=max_new_tokens,
            stop_ids=self.stop_ids(),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed,
        )
        return self.tokenizer.pieces(tokens, stop)

    def encode(self, prompt: str | Messages) -> list[int]:
        """Token ids of a text, or of a conversation in the model's chat template."""
        ids = self.tokenizer.encode(prompt) if isinstance(prompt, str) else self.tokenizer.chat(prompt)
        if not ids and self.program.facts.bos_token_id is not None:
            ids = [self.program.facts.bos_token_id]
        return ids

    def stop_ids(self) -> list[int]:
        """Tokens that end a text: those that the model's config names, and the tokenizer's."""
        ids = list(self.program.facts.eos_token_ids)
        named = self.tokenizer.token_id(self.tokenizer.special.get("eos_token"))
        return ids if named is None or named in ids else [*ids, named]

    def close(self) -> None:
        """Frees the engine. A second call does nothing."""
        self.engine.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

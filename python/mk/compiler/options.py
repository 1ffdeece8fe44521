# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a user may choose about a compile."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from mk.compiler.target import GPUS, TARGETS
from mk.errors import CompileError

FUSIONS = (
    "concat",
    "norm",
    "combine",
    "rope",
    "heads",
    "attend",
    "glu",
    "residual",
    "experts",
    "generic",
    "argmax",
    "narrow",
)  # of mk-fuse-pipeline
DTYPES = ("bfloat16", "float32")
MAX_WORKERS = 1024


@dataclass(frozen=True)
class Options:
    """Sizes count tokens unless said otherwise; a wrong value raises CompileError at once.

    * `target`: "auto" is this machine; "x86-64-v3" (AVX2) and "x86-64-v4" (AVX-512) run on any such processor,
      "sm_90a" on an H100 or H200 GPU; programs for "sm_80", "sm_89", "sm_100a" and "sm_120a" are assembled, and no
      more is known of them;
    * `dtype`: what weights and the KV cache are stored as;
    * `max_sequences`: sequences at a time; `max_length`: tokens of one (its memory is in whole pages);
    * `max_tokens`: tokens of one step, None for 512, or on a GPU for 16, which is also its most; `max_rows`: rows of
      logits of one step, None for a sensible number;
    * `page`: positions of a page of the KV cache; `split`: positions that one attention task covers, None for
      256, or 128 on a GPU with a `max_length` of up to 4096 if a model has heads of more than 64 columns;
    * `workers`: threads, None for one per physical core this process may use;
    * `trace`: code that notes the times of every task, for `Engine.times`;
    * `without`: fusions to leave out, some of FUSIONS, to compare strategies or to find a fault.
    """

    target: str = "auto"
    dtype: str = "bfloat16"
    max_sequences: int = 8
    max_length: int = 2048
    max_tokens: int | None = None  # a number once the options are made
    max_rows: int | None = None
    page: int = 64
    split: int | None = None  # a number once the options are made
    workers: int | None = None
    without: Sequence[str] = ()
    trace: bool = False

    def __post_init__(self) -> None:
        _one_of("target", self.target, TARGETS)
        _one_of("dtype", self.dtype, DTYPES)
        gpu = self.on_gpu
        max_tokens = (16 if gpu else 512) if self.max_tokens is None else self.max_tokens
        # Short ranges keep more of a GPU busy; many of them have to be joined.
        short = gpu and isinstance(self.max_length, int) and self.max_length <= 4096
        split = (128 if short else 256) if self.split is None else self.split
        object.__setattr__(self, "max_tokens", max_tokens)
        object.__setattr__(self, "split", split)
        if gpu and self.dtype != "bfloat16":
            raise CompileError(f"option dtype is {self.dtype}; a gpu multiplies bfloat16 only")
        for name in ("max_sequences", "max_length", "max_tokens", "page", "split"):
            _positive(name, getattr(self, name))
        if gpu and max_tokens > 16:
            raise CompileError(f"option max_tokens is {max_tokens}; a step on a gpu has at most 16")
        for name in ("max_rows", "workers"):
            if getattr(self, name) is not None:
                _positive(name, getattr(self, name))
        if self.page % 16 or self.page & (self.page - 1):
            raise CompileError(f"option page is {self.page}; expected a power of two of at least 16")
        if split % self.page:
            raise CompileError(f"option split is {split}; expected a multiple of page, {self.page}")
        if self.max_sequences > max_tokens:
            raise CompileError(
                f"option max_tokens is {max_tokens}, less than the {self.max_sequences} of "
                "max_sequences; a step has a token of each"
            )
        if self.max_rows is not None and not self.max_sequences <= self.max_rows <= max_tokens:
            raise CompileError(
                f"option max_rows is {self.max_rows}; expected max_sequences .. max_tokens, "
                f"{self.max_sequences} .. {max_tokens}"
            )
        if self.workers is not None and self.workers > MAX_WORKERS:
            raise CompileError(f"option workers is {self.workers}; expected at most {MAX_WORKERS}")
        if isinstance(self.without, str):
            raise CompileError(f"option without is the text {self.without!r}; expected a list of names")
        for name in self.without:
            _one_of("without", name, FUSIONS)
        object.__setattr__(self, "without", tuple(self.without))

    @classmethod
    def of(cls, **values: Any) -> Options:
        """Options from keyword arguments; an unknown name raises CompileError with the nearest one that exists."""
        names = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                _unknown("option", name, names)
        return cls(**values)

    @property
    def on_gpu(self) -> bool:
        return self.target in GPUS

    @property
    def length(self) -> int:
        """Positions of the pages that `max_length` tokens need."""
        return -(-self.max_length // self.page) * self.page

    @property
    def rows(self) -> int:
        """`max_rows`, by default a few rows for each sequence: enough to check drafted tokens."""
        assert self.max_tokens is not None
        return self.max_rows or min(self.max_tokens, max(64, self.max_sequences))

    def attribute(self) -> str:
        """The text of `#mk.options`."""
        return (
            f"#mk.options<max_tokens = {self.max_tokens}, max_rows = {self.rows}, "
            f"max_sequences = {self.max_sequences}, max_length = {self.length}, page = {self.page}, "
            f"split = {self.split}>"
        )


def _one_of(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        _unknown(f"option {name}:", value, choices)


def _unknown(what: str, value: object, choices: Sequence[str]) -> NoReturn:
    near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(choices)}"
    raise CompileError(f"unknown {what} {value}; {hint}")


def _positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CompileError(f"option {name} is {value!r}; expected a whole number of at least 1")

# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The request block: what a step is asked to do, shared with the workers (runtime/abi/Abi.def)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mk.runtime.sampling import Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mk.compiler.manifest import RequestArray

DTYPES = {"i32": "int32", "f32": "float32", "i64": "int64"}
REQUIRED = frozenset(
    {
        "n_tokens",
        "n_rows",
        "running",
        "steps",
        "cancel",
        "n_stops",
        "mailbox_count",
        "tokens",
        "positions",
        "slots",
        "rows",
        "remaining",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "seed",
        "stops",
        "page_table",
        "mailbox",
    }
)


class Block(Protocol):
    """Memory that Python sees, wherever it is: its address, and views of its parts."""

    address: int

    def view(self, offset: int, dtype: str, count: int) -> np.ndarray[Any, Any]:
        """`count` elements of a numpy dtype from byte `offset` on."""


class Request:
    """Typed views of the arrays in a block of memory; `request["tokens"]` is an int32 array."""

    def __init__(self, memory: Block, arrays: Sequence[RequestArray]) -> None:
        self.memory = memory
        self._views = {a["name"]: memory.view(a["offset"], DTYPES[a["type"]], a["count"]) for a in arrays}
        self._count_address = memory.address + next(
            a["offset"] for a in arrays if a["name"] == "mailbox_count"
        )

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        return self._views[name]

    @property
    def mailbox_count_address(self) -> int:
        """Where the native runtime looks for new tokens."""
        return self._count_address

    @property
    def mailbox_capacity(self) -> int:
        """Tokens that the mailbox holds; a run must not draw more."""
        return len(self["mailbox"]) // 2

    def set_tokens(
        self, tokens: np.ndarray[Any, Any], positions: np.ndarray[Any, Any], slots: np.ndarray[Any, Any]
    ) -> None:
        """The tokens of the first step: int32 [N], N within the program's max_tokens."""
        count = len(tokens)
        self["n_tokens"][0] = count
        self["tokens"][:count] = tokens
        self["positions"][:count] = positions
        self["slots"][:count] = slots

    def set_rows(self, rows: np.ndarray[Any, Any], remaining: int, sampling: Sampling) -> None:
        """The logit rows of the first step: int32 [R]; each request may still produce `remaining` tokens."""
        count = len(rows)
        self["n_rows"][0] = count
        self["rows"][:count] = rows
        self["remaining"][:count] = remaining
        for name in ("temperature", "top_k", "top_p", "min_p", "seed"):
            self[name][:count] = getattr(sampling, name)

    def set_stops(self, stops: Sequence[int]) -> None:
        """Tokens that end a request; at most as many as the array holds."""
        self["n_stops"][0] = len(stops)
        self["stops"][: len(stops)] = stops

    def begin(self, steps: int) -> None:
        """Arms a run of at most `steps` steps."""
        self["mailbox_count"][0] = 0
        self["cancel"][0] = 0
        self["steps"][0] = steps
        self["running"][0] = 1

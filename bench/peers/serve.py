# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The loop that every peer runs: one request a line on standard input, one answer a line on standard output.

All peers are timed here, by the same code, and block in a read while another has its turn. Standard library only: it
runs in every peer's own environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

#: Token ids that follow a prompt greedily, exactly so many, each as soon as it is known.
Generate = Callable[[list[int], int], Iterator[int]]


def serve(prepare: Callable[[], tuple[Generate, dict[str, Any]]]) -> None:
    """Answers requests until standard input ends. `prepare` makes the generator and facts about the peer.

    The first line of output has the facts. A request is `{"prompt": [ids], "tokens": count}`; its answer has `tokens`,
    `first` (seconds from the request to the first token) and `rest` (seconds from the first to the last).
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not get in between

    def answer(value: dict[str, Any]) -> None:
        print(json.dumps(value), file=out, flush=True)

    generate, facts = prepare()
    answer(facts)
    for line in sys.stdin:
        request = json.loads(line)
        answer(timed(generate, request["prompt"], request["tokens"]))


def timed(generate: Generate, prompt: list[int], count: int) -> dict[str, Any]:
    """One generation of `count` tokens with its times."""
    tokens = []
    began = first = last = time.perf_counter()
    for token in generate(prompt, count):
        last = time.perf_counter()
        if not tokens:
            first = last
        tokens.append(token)
    if len(tokens) != count:
        raise RuntimeError(f"{count} tokens were asked for, {len(tokens)} came")
    return {"tokens": tokens, "first": first - began, "rest": last - first}

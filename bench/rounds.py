# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Speed, interleaved: in every round each peer has a turn, in another order than in the round before.

The read bandwidth of a machine drifts within minutes. So it is measured right before and right after each decode, and
only figures of one round are divided by each other.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mk.runtime.native import read_bandwidth

from bench.peer import Elsewhere, Peer


@dataclass(frozen=True)
class Workload:
    """`short` and `long` are prompts; `after_short` and `after_long` are decode steps after them, each one token."""

    short: list[int]
    long: list[int]
    after_short: int = 128
    after_long: int = 64


def rounds(peers: list[Peer], work: Workload, count: int, threads: int) -> Iterator[dict[str, Any]]:
    """One round after the other, by peer; see `turn`, and `same_tokens`: of the short answer, with the first peer.

    A first turn of each peer is not counted.
    """
    for peer in peers:
        peer.generate(work.short, 16)
        peer.generate(work.long, 2)
    for index in range(count):
        at = index % len(peers)
        turns = {peer.name: turn(peer, work, threads) for peer in peers[at:] + peers[:at]}
        answers = {name: values.pop("tokens") for name, values in turns.items()}
        for name, values in turns.items():
            values["same_tokens"] = leading(answers[name], answers[peers[0].name])
        yield turns


def leading(left: list[int], right: list[int]) -> int:
    """How many tokens two answers begin with in common. Rounding parts them at some point; at once would be suspect."""
    return next((n for n, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]), len(left))


def turn(peer: Peer, work: Workload, threads: int) -> dict[str, Any]:
    """Rates in tokens per second, bandwidths in bytes per second, `elsewhere`: see `bench.peer.Elsewhere`,
    `tokens`: the answer to the short prompt.
    """
    elsewhere = Elsewhere(peer)
    before = read_bandwidth(threads=threads)
    short = peer.generate(work.short, work.after_short + 1)
    between = read_bandwidth(threads=threads)
    long = peer.generate(work.long, work.after_long + 1)
    return {
        "decode_short": work.after_short / short["rest"],
        "bandwidth": statistics.mean((before, between)),
        "prefill": len(work.long) / long["first"],
        "decode_long": work.after_long / long["rest"],
        "bandwidth_long": statistics.mean((between, read_bandwidth(threads=threads))),
        "elsewhere": elsewhere.share(),
        "tokens": short["tokens"],
    }

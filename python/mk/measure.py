# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How fast an engine is, and how near to what the machine can read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mk.report import attended_bytes
from mk.runtime.native import read_bandwidth

if TYPE_CHECKING:
    from mk.compiler.manifest import Manifest
    from mk.runtime.engine import Engine


@dataclass(frozen=True)
class Measurement:
    """`prompt_rate` and `rate` in tokens per second of prompt and generation; `bandwidth` in bytes per second, measured
    right after the generation because it drifts; `share`: of it, what the generation read."""

    prompt_rate: float
    rate: float
    bandwidth: float
    share: float


def measure(engine: Engine, prompt_tokens: int, tokens: int) -> Measurement:
    """Generates `tokens` tokens after a prompt of `prompt_tokens` arbitrary ones."""
    prompt = [index % engine.vocabulary for index in range(prompt_tokens)]
    began = first = time.perf_counter()
    for count, _ in enumerate(engine.generate(prompt, max_new_tokens=tokens), 1):
        if count == 1:
            first = time.perf_counter()
    rate = (tokens - 1) / (time.perf_counter() - first)
    return Measurement(
        prompt_tokens / (first - began), rate, *bandwidth_share(engine, prompt_tokens + tokens / 2, rate)
    )


def read_ceiling(manifest: Manifest) -> float:
    """Bytes per second that the program's workers can read: measured now on a CPU; for a GPU, which has no kernel for
    that yet, what the target's record says."""
    if manifest["target"]["kind"] == "gpu":
        return 1e9 * manifest["target"]["bandwidth"]
    return read_bandwidth(threads=manifest["target"]["workers"])


def bandwidth_share(engine: Engine, length: float, rate: float) -> tuple[float, float]:
    """The read bandwidth of the program's workers now, in bytes per second, and the share of it that decoding one
    sequence of `length` tokens uses at `rate` tokens per second: packed weights and KV cache, each read once a token.
    """
    manifest = engine.program.manifest
    bandwidth = read_ceiling(manifest)
    return bandwidth, rate * (engine.step_bytes + attended_bytes(manifest, length)) / bandwidth

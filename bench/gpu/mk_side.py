# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""python -m bench.gpu.mk_side CASE PACKAGE: an engine with made-up weights, to be timed."""

from __future__ import annotations

import sys
import time
from typing import Any

from bench.gpu.nvml import Nvml
from bench.gpu.shapes import CASES, PROMPT
from bench.gpu.side import Actions, serve

WARM, STEPS = 8, 128  # steps of the short launch, and how many more the long one makes
SECONDS = 0.15  # of decoding before anything is timed, for the clocks


class Decoder:
    """`batch` slots that hold `context` tokens half-way through the steps that are timed.

    A launch draws from the same place each time, so the cache is filled once. A difference of two launches has neither
    the start nor the first step in it, only steps.
    """

    def __init__(self, engine: Any, batch: int, context: int) -> None:
        import numpy as np

        self._engine, self._batch = engine, batch
        sizes = engine.program.manifest["sizes"]
        self._begin = context - WARM - STEPS // 2
        if batch > sizes["max_sequences"] or self._begin + WARM + STEPS > sizes["max_length"]:
            raise ValueError(
                f"the package serves {sizes['max_sequences']} sequences of {sizes['max_length']} tokens, but the case "
                f"needs {batch} of {self._begin + WARM + STEPS}"
            )
        random = np.random.default_rng(0)
        tokens = random.integers(0, engine.vocabulary, (batch, self._begin + 1), np.int32)
        for slot in range(batch):  # real keys and values: zeros would use less power
            positions = np.arange(self._begin, dtype=np.int32)
            engine.step(tokens[slot, :-1], positions, np.full(self._begin, slot, np.int32), rows=[])
        self._tokens = tokens[:, -1].copy()
        # What follows has no public form: an engine generates for one slot, a launch draws for all of them.
        engine._pages.grow(dict.fromkeys(range(batch), self._begin + WARM + STEPS))

    def launch(self, steps: int) -> int:
        """Draws `steps` tokens in every slot, in one launch; the number of all of them."""
        import numpy as np
        from mk.runtime.sampling import Sampling

        device, batch = self._engine._device, self._batch
        slots = np.arange(batch, dtype=np.int32)
        with device.exclusive():
            request = device.request
            request.set_tokens(self._tokens, np.full(batch, self._begin, np.int32), slots)
            request.set_rows(slots, steps, Sampling())
            request.set_stops(())
            drawn = sum(1 for _ in device.draw(steps))
        if drawn != batch * steps:
            raise RuntimeError(f"{batch * steps} tokens were asked for, {drawn} came")
        return drawn

    def turn(self, repeat: int) -> list[dict[str, float]]:
        """Seconds of a short and a long launch, and the milliseconds of a step between them, `repeat` times."""
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            self.launch(WARM)
        found = []
        for _ in range(repeat):
            short, long = (self._seconds(steps) for steps in (WARM, WARM + STEPS))
            found.append({"short": short, "long": long, "ms": (long - short) / STEPS * 1000})
        return found

    def _seconds(self, steps: int) -> float:
        began = time.perf_counter()
        self.launch(steps)
        return time.perf_counter() - began


def prefill(engine: Any, repeat: int) -> list[float]:
    """Milliseconds from a prompt to the logits that follow it; once more to warm up."""
    import numpy as np

    tokens = np.random.default_rng(1).integers(0, engine.vocabulary, PROMPT, np.int32)
    positions, slots, found = np.arange(PROMPT, dtype=np.int32), np.zeros(PROMPT, np.int32), []
    for _ in range(repeat + 1):
        began = time.perf_counter()
        engine.step(tokens, positions, slots, rows=[PROMPT - 1])
        found.append((time.perf_counter() - began) * 1000)
    return found[1:]


def prepare() -> tuple[Actions, dict[str, Any]]:
    case, path = CASES[sys.argv[1]], sys.argv[2]
    nvml = Nvml()
    began = time.perf_counter()
    import mk

    imported = time.perf_counter()
    program = mk.load(path)
    loaded = time.perf_counter()
    engine = program.engine(weights="random")
    ready = time.perf_counter()
    manifest = program.manifest
    facts = {
        "device": nvml.facts(),
        "version": manifest["version"],
        "load": {"import": imported - began, "package": loaded - imported, "engine": ready - loaded},
        "gpu": manifest["gpu"],
        "options": manifest["options"],
        "packed_bytes": engine.step_bytes,
        "prefill": prefill(engine, 5) if case.whole else [],
    }
    decoder = Decoder(engine, case.batch, case.context)
    return {
        "turn": lambda repeat: {"samples": decoder.turn(repeat), "gpu": nvml.now()},
        "energy": lambda seconds: nvml.energy(lambda: decoder.launch(WARM + STEPS), seconds),
    }, facts


if __name__ == "__main__":
    serve(prepare)

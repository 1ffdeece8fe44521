# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Planted faults on a GPU: a signal, words and slots of the ring that never come end in DeviceStalled; the next engine
works."""

from __future__ import annotations

import dataclasses
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "python")]

import mk
import numpy as np
from mk.program import Program

from gpu import suite
from gpu.cases import Array
from gpu.reference import Reference
from gpu.suite import Failed, Figures, Report, require

LIMIT = 1.0  # seconds
KIND, WAITS, EVENT, SIGNAL, HINTS = 0, 4, 5, 14, 31  # words of an instruction
NOTHING = -2  # a kind without a body
# Kernels without an operation of the ring, which prepare.py makes: what is left out of them, and what the loader, which
# has the clock for both sides, waits for.
RINGS = {"unfilled": "ring_fill", "unreleased": "ring_release"}
RING_WAITS = {
    "unfilled": "waiting for the ring: copies that its loader has asked for",
    "unreleased": "waiting for the ring: a slot that its consumers give back",
}


def checks(report: Report, folder: Path) -> None:
    """Each in a generation and in a step."""
    place = sorted((folder / suite.THIRD / "kinds").iterdir())[0]
    program, reference = mk.load(place / "model.mkp"), Reference.load(place / "reference.npz")
    report.attempt("stall: an event never comes", check_event, program, reference)
    report.attempt("stall: words never come", check_words, program, reference)
    for name in RINGS:
        broken = mk.load(place / f"{name}.mkp")
        report.attempt(f"stall: the ring is {name}", check_ring, name, broken, program, reference)


def check_event(program: Program, reference: Reference, limit: float = LIMIT) -> Figures:
    """One task of those that others wait for does not signal."""
    table = program.arrays["table"]
    waited = {
        int(task[EVENT + i])
        for task in table.reshape(-1, table.shape[-1])
        for i in range(max(int(task[WAITS]), 0))
        if not task[HINTS] >> (1 + i) & 1
    }
    worker, number = next(
        (w, n) for w, n in np.argwhere(table[:, :, SIGNAL] >= 0) if int(table[w, n, SIGNAL]) in waited
    )
    event = int(table[worker, number, SIGNAL])

    def silence(table: Array) -> None:
        table[worker, number, SIGNAL] = -1

    waiting = f"waiting for event {event} ({program.manifest['events'][event]}), which has seen "
    return _stalls(_changed(program, silence), program, reference, waiting, limit)


def check_words(program: Program, reference: Reference, limit: float = LIMIT) -> Figures:
    """One task signals without having run."""
    table, kinds = program.arrays["table"], program.manifest["kinds"]
    glu = next(index for index, kind in enumerate(kinds) if "glu" in kind["name"])
    worker, number = np.argwhere(table[:, :, KIND] == glu)[0]

    def skip(table: Array) -> None:
        table[worker, number, KIND] = NOTHING

    waiting = "waiting for words of its input that nobody has written"
    return _stalls(_changed(program, skip), program, reference, waiting, limit)


def check_ring(
    name: str, broken: Program, program: Program, reference: Reference, limit: float = LIMIT
) -> Figures:
    """The loader brings nothing, or the consumers give no slot back: both have their waits in the ring alone. A single
    step of so small a model does without a slot that was used before."""
    return _stalls(broken, program, reference, RING_WAITS[name], limit, steps=name == "unfilled")


def _changed(program: Program, change: Callable[[Array], None]) -> Program:
    table = program.arrays["table"].copy()
    change(table)
    return dataclasses.replace(program, arrays={**program.arrays, "table": table})


def _stalls(
    broken: Program, program: Program, reference: Reference, waiting: str, limit: float, steps: bool = True
) -> Figures:
    weights, tokens = reference.weights(), reference.steps[0][0].tolist()
    took = []
    runs: tuple[Callable[[Any], Any], ...] = (
        lambda engine: engine.step(tokens, range(len(tokens)), [0] * len(tokens)),
        lambda engine: list(engine.generate(tokens, max_new_tokens=20)),
    )
    for run in runs if steps else runs[1:]:
        with broken.engine(weights, stall_seconds=limit) as engine:
            began = time.perf_counter()
            try:
                run(engine)
                raise Failed("ran to its end, with a task that did nothing")
            except mk.DeviceStalled as error:
                took.append(time.perf_counter() - began)
                said = str(error)
    modules = {str(family["module"]) for family in program.manifest["families"] if family["module"]}
    # A loader has twice the limit, and a worker that waits for another that waits gives up a limit later.
    require(max(took) < 4 * limit + 1, f"took {max(took):.1f} s to give up; the limit is {limit} s")
    require(waiting in said, f"expected '{waiting}', found: {said}")
    named = re.findall(r"workers? [\d, -]+ in \S+ \(([^)]*)\): waiting for", said)
    require(any(module in modules for module in named), f"names no worker with its module: {said}")
    with program.engine(weights) as engine:
        found = np.concatenate([engine.step(*step) for step in reference.steps])
    reference.check(found)
    return {"seconds": max(took), "limit": limit, "said": said[:300]}


if __name__ == "__main__":
    suite.main(checks)

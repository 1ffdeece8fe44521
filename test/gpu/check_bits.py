# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A thousand steps of decoding on a GPU have the same bits in every run and in every batch."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "python")]

import mk
import numpy as np

from gpu import suite
from gpu.cases import Array
from gpu.suite import Figures, Report, require

SLOT, STEPS, RUNS = 5, 1000, 3
PROMPT = 37  # tokens; other sequences have up to as many


def checks(report: Report, folder: Path) -> None:
    """In one launch, step by step, and among 1 to 15 others."""
    with mk.load(folder / suite.SECOND / "steps" / "model.mkp").engine("random", seed=7) as engine:
        report.attempt("bits: runs", check_runs, engine)
        report.attempt("bits: batches", check_batches, engine)


def check_runs(engine: Any, steps: int = STEPS) -> Figures:
    """All tokens of each launch, and the logits behind the last of them."""
    found = []
    for _ in range(RUNS):
        prompt = prompts(engine.vocabulary)[SLOT].tolist()
        tokens = list(engine.generate(prompt, max_new_tokens=steps, slot=SLOT))
        logits = engine.step(tokens[-1:], [len(prompt) + steps - 1], [SLOT])
        found.append((tokens, logits.tobytes()))
    for number, (tokens, logits) in enumerate(found):
        require(tokens == found[0][0], f"run {number} differs from run 0 at {_first(tokens, found[0][0])}")
        require(logits == found[0][1], f"the last logits of run {number} differ from those of run 0")
    return {"runs": RUNS, "steps": steps, "distinct tokens": len(set(found[0][0]))}


def check_batches(engine: Any, steps: int = STEPS, batches: range = range(1, 16)) -> Figures:
    """The tokens of one launch, and the bits of all logits of every step."""
    prompt = prompts(engine.vocabulary)[SLOT].tolist()
    launched = list(engine.generate(prompt, max_new_tokens=steps, slot=SLOT))
    alone = decode(engine, [SLOT], steps)
    require(alone[0] == launched, f"step by step differs from one launch at {_first(alone[0], launched)}")
    random = np.random.default_rng(11)
    for others in batches:
        slots = [slot for slot in range(engine.program.manifest["sizes"]["max_sequences"]) if slot != SLOT]
        batch = random.permutation([SLOT, *random.permutation(slots)[:others]]).tolist()
        found = decode(engine, batch, steps)
        require(found[0] == alone[0], f"among {others} others differs at {_first(found[0], alone[0])}")
        require(found[1] == alone[1], f"among {others} others the tokens are the same, but logits differ")
    return {"batches": len(batches), "steps": steps}


def decode(engine: Any, batch: list[int], steps: int) -> tuple[list[int], str]:
    """The tokens of SLOT, and a hash of its logits, with a sequence in each slot of the batch, in its order."""
    texts = prompts(engine.vocabulary)
    last: dict[int, int] = {}
    for slot in range(len(texts)):
        engine.reset(slot)
    for slot in batch:
        text = texts[slot]
        rows = engine.step(text, range(len(text)), [slot] * len(text), rows=[len(text) - 1])
        last[slot] = int(rows[0].argmax())
        if slot == SLOT:
            digest, tokens = hashlib.sha256(rows[0].tobytes()), [last[slot]]
    mine = batch.index(SLOT)
    lengths = np.array([len(texts[slot]) for slot in batch])
    drawn = np.array([last[slot] for slot in batch])
    for n in range(steps - 1):
        rows = engine.step(drawn, lengths + n, batch)
        drawn = rows.argmax(-1)
        digest.update(rows[mine].tobytes())
        tokens.append(int(drawn[mine]))
    return tokens, digest.hexdigest()


def prompts(vocabulary: int) -> list[Array]:
    """Of 16 slots, of different lengths."""
    random = np.random.default_rng(5)
    return [random.integers(0, vocabulary, PROMPT - 2 * abs(slot - SLOT)) for slot in range(16)]


def _first(found: list[int], wanted: list[int]) -> str:
    number = next((n for n, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), None)
    return f"token {number}" if number is not None else f"its length, {len(found)} instead of {len(wanted)}"


if __name__ == "__main__":
    suite.main(checks)

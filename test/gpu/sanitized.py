# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What runs under compute-sanitizer: `python3 test/gpu/sanitized.py FOLDER-OF-A-MODEL`, with one of two layers.

Packs weights, makes steps of one and of two groups of tokens and a generation, and frees everything. No call of the
driver fails on the way, so every error that is reported is one. With `--refused` it makes one call that fails instead.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "python")]

import mk
import numpy as np
from mk.program import Program

from gpu.reference import Reference

STEPS, NEW = 8, 3  # some of the reference's steps, so that no bit of them is left unchecked


def main() -> None:
    """Fails if the steps that it makes are wrong: a tool must not have changed what it looks at."""
    place = Path(sys.argv[1])
    program, reference = mk.load(place / "model.mkp"), Reference.load(place / "reference.npz")
    if sys.argv[2:] == ["--refused"]:
        refused(program)
        return
    steps = reference.steps[:STEPS]
    with program.engine(reference.weights(), stall_seconds=0) as engine:  # a tool makes everything slow
        found = np.concatenate([engine.step(*step) for step in steps])
        tokens = list(engine.generate(steps[0][0], max_new_tokens=NEW, temperature=0.7, top_k=5, seed=1))
    count = len(found)
    Reference(
        reference.shapes, reference.seed, steps, reference.exact[:count], reference.rounding[:count]
    ).check(found)
    print(f"{count} tokens in {STEPS} steps, {len(tokens)} drawn")


def refused(program: Program) -> None:
    """cuModuleLoadData, of what is no code."""
    try:
        dataclasses.replace(program, code=b"not code").engine()
    except mk.PackageError:
        print("refused")


if __name__ == "__main__":
    main()

# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Random models on a GPU against the interpreter and Hugging Face: every kind, ragged steps, each token's bits."""

from __future__ import annotations

import sys
import types
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "python")]

import mk
import numpy as np

from gpu import suite
from gpu.cases import Array
from gpu.reference import Reference
from gpu.suite import Figures, Report, require

PROMPT, NEW = 20, 24  # tokens
RULES: dict[str, dict[str, Any]] = {
    "plain": {"temperature": 1.0, "seed": 1},
    "top_k": {"temperature": 0.8, "top_k": 20, "seed": 2},
    "top_p": {"temperature": 1.2, "top_p": 0.7, "seed": 3},
    "min_p": {"temperature": 1.0, "min_p": 0.1, "top_k": 40, "seed": 4},
}


def checks(report: Report, folder: Path) -> None:
    """For each of the models that were compiled."""
    for place in sorted((folder / suite.THIRD / "kinds").iterdir()):
        reference = Reference.load(place / "reference.npz")
        with report.engine(place.name, partial(open_engine, place, reference)) as engine:
            if engine is not None:
                report.attempt(f"{place.name}: logits", check_logits, engine, reference)
                report.attempt(f"{place.name}: generation", check_generation, engine, reference)
                report.attempt(f"{place.name}: sampling", check_sampling, engine, reference)


def open_engine(place: Path, reference: Reference) -> Any:
    """Of a model, with its weights."""
    return mk.load(place / "model.mkp").engine(reference.weights())


def check_logits(engine: Any, reference: Reference) -> Figures:
    """Ragged steps are as good as the interpreter's; every token alone has the bits that it has in them."""
    found = np.concatenate([engine.step(*step) for step in reference.steps])
    figures = reference.check(found)
    for slot in {int(slot) for _, _, slots in reference.steps for slot in slots}:
        engine.reset(slot)
    tokens, positions, slots = (np.concatenate(part) for part in zip(*reference.steps, strict=True))
    for n in range(len(tokens)):
        alone = engine.step(tokens[n : n + 1], positions[n : n + 1], slots[n : n + 1])[0]
        require(
            np.array_equal(alone, found[n]),
            f"alone, position {positions[n]} of slot {slots[n]} has other bits than in its step",
        )
    return {"tokens": len(tokens), **figures}


def check_generation(engine: Any, reference: Reference) -> Figures:
    """A generation in one launch draws what its logits, step by step, say."""
    prompt = reference.steps[0][0].tolist()
    drawn = list(engine.generate(prompt, max_new_tokens=NEW))
    rows = _logits(engine, prompt, drawn)
    require(
        drawn == rows.argmax(-1).tolist(),
        f"drew {drawn}, but the largest logits are of {rows.argmax(-1).tolist()}",
    )
    return {"tokens": len(drawn)}


def check_sampling(engine: Any, reference: Reference) -> Figures:
    """Every rule draws what the interpreter draws from the same logits."""
    draw, sampling = _interpreter()
    prompt = reference.steps[0][0].tolist()
    for name, rules in RULES.items():
        drawn = list(engine.generate(prompt, max_new_tokens=NEW, **rules))
        rows = _logits(engine, prompt, drawn)
        first = len(prompt) - 1
        wanted = [draw(row, int(row.argmax()), first + n, sampling(**rules)) for n, row in enumerate(rows)]
        require(drawn == wanted, f"{name}: drew {drawn}, the interpreter {wanted}")
    return {"rules": len(RULES), "tokens": NEW * len(RULES)}


def _logits(engine: Any, prompt: list[int], drawn: list[int]) -> Array:
    """float32 [new, vocabulary]: the rows from which `drawn` was drawn, in slot 1."""
    engine.reset(1)
    tokens = [*prompt, *drawn[:-1]]
    rows: Array = engine.step(
        tokens, range(len(tokens)), [1] * len(tokens), rows=range(len(prompt) - 1, len(tokens))
    )
    return rows


def _interpreter() -> tuple[Any, Any]:
    """How the interpreter draws; the rest of it, which its package imports, needs the compiler."""
    if "mk.interpret" not in sys.modules:
        package = types.ModuleType("mk.interpret")
        package.__path__ = [str(Path(mk.__file__).parent / "interpret")]
        sys.modules["mk.interpret"] = package
    from mk.interpret.sampling import Sampling, draw

    return draw, Sampling


if __name__ == "__main__":
    suite.main(checks)

# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""SmolLM2 with its real weights on a GPU: the greedy answers of Hugging Face in float32."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "python")]

import mk

from gpu import checkpoint, suite
from gpu.suite import Figures, Report, require

# Of two logits that are nearer than this either may be drawn; or nearer than those among which Hugging Face itself, in
# bfloat16, chooses the other.
CLOSE = 0.05


def checks(report: Report, folder: Path) -> None:
    """The checkpoint comes from its two parts, its weights from where `prepare` found them."""
    place = folder / suite.SECOND / "smollm2"
    about = json.loads((place / "reference.json").read_text())
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / about["name"]
        parts = [folder / suite.FIRST / "checkpoint", place / "checkpoint"]
        path.write_bytes(checkpoint.joined(parts, about["sha256"]))
        sys.path.append(str(place / "site"))  # the package that dequantises, where it is not installed
        weights = checkpoint.read(path, checkpoint.load_layout(place / "layout.npz"))
        with mk.load(place / "model.mkp").engine(weights) as engine:
            close = max(CLOSE, about["bfloat16"])
            for number, answer in enumerate(about["answers"]):
                report.attempt(f"SmolLM2: prompt {number}", check_answer, engine, answer, close)


def check_answer(engine: Any, answer: dict[str, Any], close: float) -> Figures:
    """The same tokens until two are too close; and, given the reference's tokens, the same choice wherever it is
    clear, to the end."""
    prompt, tokens, gaps = answer["prompt"], answer["answer"], answer["gaps"]
    drawn = list(engine.generate(prompt, max_new_tokens=len(tokens)))
    alike = agreement(tokens, drawn, gaps, close)
    engine.reset(1)
    given = [*prompt, *tokens[:-1]]
    rows = engine.step(given, range(len(given)), [1] * len(given), rows=range(len(prompt) - 1, len(given)))
    chosen = rows.argmax(-1).tolist()
    clear = [n for n, gap in enumerate(gaps) if gap > close]
    other = [n for n, token in enumerate(tokens) if chosen[n] != token]
    wrong = [n for n in clear if n in other]
    require(
        not wrong,
        f"given the reference's tokens, the choices {wrong} differ: gaps {[gaps[n] for n in wrong]}",
    )
    largest = max((gaps[n] for n in other), default=0.0)
    return {
        "tokens": len(tokens),
        "equal": alike,
        "clear choices": len(clear),
        "largest other": largest,
        "limit": close,
    }


def agreement(tokens: list[int], drawn: list[int], gaps: list[float], close: float) -> int:
    """How many tokens are equal. Raises Failed if the first that is not was a clear choice."""
    for number, (wanted, found, gap) in enumerate(zip(tokens, drawn, gaps, strict=True)):
        if gap <= close:
            return number
        require(found == wanted, f"token {number} is {found}; expected {wanted}, {gap:.3f} ahead of the next")
    return len(tokens)


if __name__ == "__main__":
    suite.main(checks)

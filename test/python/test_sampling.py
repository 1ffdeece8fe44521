# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The rules by which the interpreter draws a token, which the program's sampler is compared with."""

from __future__ import annotations

from typing import Any

import mk
import numpy as np
from llama_text import Llama, Shape
from mk.interpret import Sampling
from mk.interpret.sampling import draw, uniform


def test_sampling_rules() -> None:
    logits = np.array([3.0, 2.0, 1.0, 0.0, 2.0], np.float32)

    def drawn(**rules: Any) -> set[int]:
        return {draw(logits, 0, position, Sampling(1.0, seed=5, **rules)) for position in range(500)}

    assert draw(logits, 4, 0, Sampling()) == 4
    assert drawn() == {0, 1, 2, 3, 4}
    assert drawn(top_k=1) == {0}
    assert drawn(top_k=2) == {0, 1, 4}  # both of the tie stay
    assert drawn(top_p=0.5) == {0} and drawn(top_p=0.6) == {0, 1, 4}
    assert drawn(min_p=0.3) == {0, 1, 4} and drawn(min_p=0.1) == {0, 1, 2, 4}
    assert drawn(top_k=4, top_p=0.9) == {0, 1, 4}


def test_draws_follow_the_distribution() -> None:
    logits = np.log(np.array([0.5, 0.25, 0.125, 0.125], np.float32))
    counts = np.bincount(
        [draw(logits, 0, position, Sampling(1.0, seed=9)) for position in range(8000)], minlength=4
    )
    np.testing.assert_allclose(counts / 8000, [0.5, 0.25, 0.125, 0.125], atol=0.02)
    numbers = uniform(1, 2, np.arange(100_000))
    assert numbers.min() > 0 and numbers.max() < 1 and abs(numbers.mean() - 0.5) < 0.005


def test_programs_draw_what_the_interpreter_draws() -> None:
    """From the same logits, with every rule."""
    model = Llama(Shape())
    prompt, new = [3, 5, 7, 11], 32
    rules: list[dict[str, Any]] = [
        {"temperature": 1.0, "seed": 1},
        {"temperature": 0.8, "top_k": 20, "seed": 2},
        {"temperature": 1.2, "top_p": 0.7, "seed": -3},
        {"temperature": 1.0, "min_p": 0.1, "top_k": 40, "seed": 4},
    ]
    program = mk.compile_ir(model.text, dtype="float32", max_length=64)
    with program.engine(model.weights) as engine:
        for rule in rules:
            drawn = list(engine.generate(prompt, max_new_tokens=new, **rule))
            tokens = prompt + drawn[:-1]
            engine.reset(1)
            rows = engine.step(tokens, range(len(tokens)), [1] * len(tokens))[len(prompt) - 1 :]
            places = range(len(prompt) - 1, len(tokens))
            wanted = [
                draw(r, int(r.argmax()), p, Sampling(**rule)) for r, p in zip(rows, places, strict=True)
            ]
            assert drawn == wanted, rule

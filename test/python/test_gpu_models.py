# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models of Hugging Face as programs for a GPU, run on this processor (gpu_machine.py) against the interpreter."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mk
import numpy as np
import pytest
from gpu_machine import GpuMachine
from mk.importer import import_model
from mk.interpret import Interpreter
from mk.ir import Module
from models import tiny
from test_codegen import Step, conversation
from test_gpu_program import LENGTH, SLOTS, driver, errors, options, rounded

Array = np.ndarray[Any, Any]
SIZES = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
MODELS: dict[str, Callable[[], Any]] = {
    # Layer norms, biases, learned positions, transposed weights, GELU written out.
    "gpt2": lambda: tiny("GPT2", num_attention_heads=2),
    # Gains of one plus a weight, a scaled embedding, a gate of GELU, norms that stand alone, windows in one layer of
    # two, capped scores, capped logits.
    "gemma2": lambda: tiny(
        "Gemma2", **SIZES, sliding_window=20, attn_logit_softcapping=1.5, final_logit_softcapping=4.0
    ),
    # Windows in one layer of two, norms of heads, other frequencies in each of them.
    "gemma3": lambda: tiny(
        "Gemma3", **SIZES, sliding_window=20, layer_types=["sliding_attention", "full_attention"]
    ),
    # Routers of softmax and top-k, with norms of heads and without; another expert for all, with a gate of its own.
    "mixtral": lambda: tiny("Mixtral", **SIZES, num_local_experts=5, num_experts_per_tok=2),
    "qwen3 moe": lambda: tiny(
        "Qwen3Moe",
        **SIZES,
        num_experts=40,
        num_experts_per_tok=3,
        moe_intermediate_size=32,
        num_hidden_layers=1,
    ),
    "qwen2 moe": lambda: tiny(
        "Qwen2Moe",
        **SIZES,
        num_experts=8,
        num_experts_per_tok=3,
        moe_intermediate_size=32,
        norm_topk_prob=True,
        shared_expert_intermediate_size=64,
        num_hidden_layers=1,
    ),
    # A router of sigmoids with a correction for the choice alone: its route comes from generated tasks.
    "dots1 moe": lambda: tiny(
        "Dots1",
        **SIZES,
        n_routed_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        n_shared_experts=1,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=0,
        num_hidden_layers=1,
    ),
    # Neighbours of half a head rotated, biases that lie in the order of halves.
    "glm": lambda: tiny("Glm", **SIZES, num_hidden_layers=1),
}


@functools.cache
def imported(name: str) -> tuple[Any, dict[str, Array]]:
    """The model, and its weights with those of matrices rounded to bfloat16."""
    model = MODELS[name]()
    found = import_model(model)
    weights = {name: found.weights[name] for name in found.weights} | dict(found.constants)
    return model, {name: rounded(w) if w.ndim > 1 else w for name, w in weights.items()}


def interpreted(name: str, steps: list[Step], dtype: str, **changed: Array) -> Array:
    model, weights = imported(name)
    module = Module.parse(mk.lower_module(model, to="mk", dtype=dtype).text())
    interpreter = Interpreter(module, weights | changed, SLOTS, LENGTH)
    return np.concatenate([interpreter.step(*step) for step in steps])


@pytest.mark.parametrize("name", MODELS)
def test_steps_are_as_good_as_those_of_the_interpreter(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both against float32, and against a model with one gain changed, which must be noticed."""
    model, weights = imported(name)
    text = mk.lower_module(model, to="mk", dtype="bfloat16").text()
    machine = GpuMachine(text, options(), tmp_path)
    monkeypatch.setattr(driver, "bindings", lambda: machine.cuda)
    steps = conversation(model.config.vocab_size)[:5]
    with machine.program.engine(weights) as engine:
        logits = np.concatenate([engine.step(*step) for step in steps])
    assert not machine.faults
    exact = interpreted(name, steps, "float32")
    expected = errors(interpreted(name, steps, "bfloat16"), exact)
    found = errors(logits, exact)
    if "moe" in name or name == "mixtral":  # what is rounded away may choose another expert, in few rows
        rows = len(found) - len(found) // 8
        found, expected = (np.sort(of)[:rows] for of in (found, expected))
    assert found.mean() < 1.2 * expected.mean() and found.max() < 2 * expected.max()
    prompt = steps[0][0][:12]  # one group of rows and two, and tokens alone: the same bits
    with machine.program.engine(weights) as engine:
        together = engine.step(prompt, range(12), [0] * 12)
        parts = [engine.step(prompt[a:b], range(a, b), [1] * (b - a)) for a, b in ((0, 7), (7, 8), (8, 12))]
    assert np.array_equal(together, np.concatenate(parts))
    gain = next(key for key, value in weights.items() if "norm" in key or "ln_2" in key)
    changed = weights[gain].copy()
    changed[5] += 0.5
    other = interpreted(name, steps, "float32", **{gain: changed})
    assert errors(logits, other).mean() > 1.2 * expected.mean()

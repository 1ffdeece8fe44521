# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Generated tasks in programs for a GPU, run on this processor (gpu_machine.py) against the interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mk
import numpy as np
import pytest
import torch
from gpu_machine import GpuMachine
from mk.interpret import Interpreter
from mk.ir import Module
from models import tiny_llama
from test_codegen import conversation
from test_generic import FUNCTIONS, Odd
from test_gpu_program import LENGTH, SLOTS, driver, errors, options, rounded

Array = np.ndarray[Any, Any]
NAMES = {
    "functions and choices": ("activations", "comparisons", "chosen"),
    "reductions and products": ("softmax", "layer norm of heads", "products of heads"),
    "columns in another order": ("transposed", "turned round", "joined", "stacked"),
}


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_as_good_as_those_of_the_interpreter(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both against float32, and against a model whose rows pass by the functions; and the bits of any batch."""

    def function(x: torch.Tensor) -> torch.Tensor:
        for part in NAMES[name]:
            x = 0.3 * x + 0.1 * FUNCTIONS[part](x)
        return x

    model = tiny_llama(num_attention_heads=2, num_key_value_heads=1, head_dim=32)
    weights = {
        key: rounded(w.detach().numpy()) if w.ndim == 2 else w.detach().numpy()
        for key, w in model.named_parameters()
    }
    weights["model.rotary_emb.inv_freq"] = model.model.rotary_emb.inv_freq.numpy()

    def text(dtype: str) -> str:
        return mk.lower_module(model, to="mk", dtype=dtype).text()

    def interpreted(dtype: str) -> Array:
        interpreter = Interpreter(Module.parse(text(dtype)), weights, SLOTS, LENGTH)
        return np.concatenate([interpreter.step(*step) for step in steps])

    for layer in model.model.layers:
        layer.mlp = Odd(lambda x: x)
    steps = conversation(model.config.vocab_size)[:3]
    without = interpreted("float32")
    for layer in model.model.layers:
        layer.mlp = Odd(function)
    machine = GpuMachine(text("bfloat16"), options(), tmp_path)
    monkeypatch.setattr(driver, "bindings", lambda: machine.cuda)
    with machine.program.engine(weights) as engine:
        logits = np.concatenate([engine.step(*step) for step in steps])
    assert not machine.faults
    exact = interpreted("float32")
    expected, found = errors(interpreted("bfloat16"), exact), errors(logits, exact)
    assert found.mean() < 1.2 * expected.mean() and found.max() < 2 * expected.max()
    assert errors(logits, without).mean() > 2 * expected.mean()
    prompt = steps[0][0][:12]
    with machine.program.engine(weights) as engine:
        together = engine.step(prompt, range(12), [0] * 12)
        parts = [engine.step(prompt[a:b], range(a, b), [1] * (b - a)) for a, b in ((0, 7), (7, 8), (8, 12))]
    assert np.array_equal(together, np.concatenate(parts))


def test_the_assembler_takes_every_function() -> None:
    """A whole program for an sm_90a, from a model with all of them; NVIDIA's assembler reads its code."""
    functions = [FUNCTIONS[name] for name in FUNCTIONS if name not in ("sorted", "taken", "chosen by groups")]
    model = tiny_llama(num_attention_heads=2, num_key_value_heads=1, head_dim=32, num_hidden_layers=1)
    model.model.layers[0].mlp = Odd(lambda x: sum(0.1 * function(x) for function in functions))
    program = mk.compile_module(model, target="sm_90a", max_length=64, max_tokens=8, use_cache=False)
    assert program.manifest["target"]["kind"] == "gpu"

# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Scores that grow with the position, with as many heads, as wide, as large models have them (and one layer)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mk
import pytest
import torch
import transformers
from mk.errors import ImportModelError
from mk.importer import import_model, own_attention
from mk.importer.attention_rule import find_rule
from models import randomize
from test_models import largest_error
from test_numerics import Ragged, texts, totals
from transformers.models.falcon import modeling_falcon
from transformers.models.mpt import modeling_mpt

LONG = [
    [(0, 1), (1, 40)],
    [(0, 300), (2, 3)],
    [(1, 1), (2, 200)],
    [(0, 210), (1, 2)],
    [(0, 1), (1, 1), (2, 1)],
]
# Of a class what its config has in the published model, but for layers, feed-forward units and tokens.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "MPT-7B": (
        "MptForCausalLM",
        {"d_model": 4096, "n_heads": 32, "n_layers": 1, "expansion_ratio": 1, "max_seq_len": 2048},
    ),
    "Falcon-RW-1B": (
        "FalconForCausalLM",
        {
            "hidden_size": 2048,
            "num_attention_heads": 32,
            "num_hidden_layers": 1,
            "ffn_hidden_size": 256,
            "alibi": True,
            "multi_query": False,
            "parallel_attn": False,
            "bias": True,
        },
    ),
    "BLOOM-560m": ("BloomForCausalLM", {"hidden_size": 1024, "n_head": 16, "n_layer": 1}),
}


def made(name: str, **more: Any) -> Any:
    architecture, config = MODELS[name]
    model = getattr(transformers, architecture)
    torch.manual_seed(1)
    return randomize(model(model.config_class(**{"vocab_size": 128, **config, **more})))


def logits_of(model: Any, tokens: dict[int, list[int]]) -> Any:
    program = mk.compile_module(model, dtype="float32", max_length=1024, max_sequences=4, use_cache=False)
    with program.engine() as engine:
        ragged = Ragged(engine, tokens)
        ragged.run(LONG)
    return {slot: ragged.rows(slot) for slot in tokens}


def spread(model: Any) -> None:
    """Queries and keys whose scores are about as large as what is added to them."""
    for key, value in model.named_parameters():
        if "qkv" in key.lower() or "query_key_value" in key:
            value.data.mul_(0.3)


def agrees_but_for(model: Any, change: Callable[[], None]) -> None:
    """Agrees with Hugging Face, and no longer once `change` has changed what that computes."""
    spread(model)
    tokens = texts(128, totals(LONG))
    logits = logits_of(model, tokens)
    assert largest_error(model, tokens, logits) < 2e-4
    change()
    assert largest_error(model, tokens, logits) > 2e-4


def test_mpt_7b(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("MPT-7B")
    agrees_but_for(
        model, lambda: monkeypatch.setattr(type(model.transformer), "build_mpt_alibi_tensor", steeper)
    )


def steeper(
    self: Any, heads: int, length: int, alibi_bias_max: float = 8, device: Any = None
) -> torch.Tensor:
    """The biases of MPT for slopes that are a little others."""
    return modeling_mpt.build_mpt_alibi_tensor(heads, length, 8.1, device)


def unrounded(mask: torch.Tensor, heads: int, dtype: torch.dtype) -> torch.Tensor:
    """The biases of Falcon, not rounded."""
    slopes = torch.tensor([2 ** (-8 * (head + 1) / heads) for head in range(heads)])
    numbers = ((mask.cumsum(-1) - 1) * mask)[:, None, :]
    return (slopes[:, None] * numbers).reshape(len(mask) * heads, 1, -1).to(dtype)


def test_falcon_rw_1b_with_its_rounded_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made("Falcon-RW-1B")
    agrees_but_for(model, lambda: monkeypatch.setattr(modeling_falcon, "build_alibi_tensor", unrounded))


def test_bloom_560m() -> None:
    model = made("BLOOM-560m")
    tokens = texts(128, totals(LONG))
    logits = logits_of(model, tokens)
    assert largest_error(model, tokens, logits) < 2e-4
    with torch.no_grad():
        model.transformer.h[0].self_attention.query_key_value.weight[..., 3] += 0.5
    assert largest_error(model, tokens, logits) > 2e-4


def test_rounded_steps_of_shared_keys_are_refused() -> None:
    model = made(
        "Falcon-RW-1B", hidden_size=96, num_attention_heads=12, multi_query=True, max_position_embeddings=256
    )
    message = r"^transformer\.h\.0\.self_attention: its scores grow with the position in rounded steps"
    with pytest.raises(ImportModelError, match=message):
        import_model(model)


def test_layers_that_do_the_same_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(own_attention, "find_rule", lambda *given: asked.append(given) or find_rule(*given))
    small = {"n_layers": 3, "d_model": 72, "n_heads": 3, "max_seq_len": 256}
    import_model(made("MPT-7B", **small))
    assert len(asked) == 1
    model = made("MPT-7B", **small)
    model.transformer.blocks[1].attn.softmax_scale *= 1.5  # the control: one that does something else
    facts = import_model(model).config.attention
    assert len(asked) == 3 and len({one.scale for one in facts.values()}) == 2

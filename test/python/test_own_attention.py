# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models whose own code writes attention out or numbers tokens: right for every sequence of a step, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mk
import pytest
import torch
from mk.errors import ImportModelError
from mk.importer import import_model
from mk.importer.apart import counts_tokens, keeps_apart
from mk.importer.lengths import token_axes
from models import TINY, randomize
from test_models import largest_error, logits_of
from test_numerics import HISTORY, texts, totals

SIZES: dict[str, Any] = {
    **{name: value for name, value in TINY.items() if name not in ("head_dim", "num_key_value_heads")},
    "pad_token_id": 0,
}
# A class, what its config has besides, a parameter whose change must be noticed, and the windows of its layers.
CASES: dict[str, tuple[str, dict[str, Any], str, list[int]]] = {
    "a window in a buffer": (
        "GPTNeoForCausalLM",
        {"attention_types": [[["global", "local"], 1]], "window_size": 7, "num_layers": 2, "num_heads": 4},
        "h.1.attn.attention.v_proj.weight",
        [0, 7],
    ),
    "torch's own operator, one key head": (
        "FalconForCausalLM",
        {"ffn_hidden_size": 96},
        "h.1.self_attention.query_key_value.weight",
        [0, 0],
    ),
    "heads in the first axis, positions counted": (
        "XGLMForCausalLM",
        {"d_model": 64, "num_layers": 2, "attention_heads": 4, "ffn_dim": 96},
        "layers.1.self_attn.v_proj.weight",
        [0, 0],
    ),
    "large negative numbers in place of a mask": (
        "OpenAIGPTLMHeadModel",
        {"n_positions": 256, "n_embd": 64, "n_layer": 2, "n_head": 4},
        "h.1.attn.c_attn.bias",
        [0, 0],
    ),
    "a mask with padding of the model's own": (
        "BioGptForCausalLM",
        {},
        "layers.1.fc1.weight",
        [0, 0],
    ),
    "scores that grow with the position": (
        "BloomForCausalLM",
        {"n_layer": 2, "n_head": 4},
        "h.1.self_attention.query_key_value.weight",
        [0, 0],
    ),
    "slopes of three heads": (
        "MptForCausalLM",
        {"d_model": 72, "n_layers": 2, "n_heads": 3, "max_seq_len": 256},
        "blocks.1.attn.Wqkv.weight",
        [0, 0],
    ),
    "rotations in a table": (
        "GPTJForCausalLM",
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 8},
        "h.1.attn.q_proj.weight",
        [0, 0],
    ),
    "a part of keys for all heads, values that are narrower": (
        "DeepseekV3ForCausalLM",
        {
            "q_lora_rank": 32,
            "kv_lora_rank": 32,
            "qk_nope_head_dim": 16,
            "qk_rope_head_dim": 8,
            "v_head_dim": 16,
            "num_key_value_heads": 4,
            "first_k_dense_replace": 2,
        },
        "layers.1.self_attn.kv_a_proj_with_mqa.weight",
        [0, 0],
    ),
    "rotations in complex numbers": (
        "DeepseekV2ForCausalLM",
        {
            "q_lora_rank": 32,
            "kv_lora_rank": 32,
            "qk_nope_head_dim": 16,
            "qk_rope_head_dim": 8,
            "v_head_dim": 24,
            "num_key_value_heads": 4,
            "first_k_dense_replace": 2,
        },
        "layers.1.self_attn.kv_b_proj.weight",
        [0, 0],
    ),
    "two attentions in a layer": ("DiffLlamaForCausalLM", {}, "layers.1.self_attn.lambda_q2", [0, 0, 0, 0]),
    "positions from two on": (
        "BartForCausalLM",
        {"d_model": 64, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 96},
        "decoder.embed_positions.weight",
        [0, 0],
    ),
}


def made(name: str, **more: Any) -> Any:
    import transformers

    architecture, config, *_ = CASES[name]
    model = getattr(transformers, architecture)
    return randomize(model(model.config_class(**{**SIZES, **config, **more})))


@pytest.mark.parametrize("name", CASES)
def test_ragged_steps_match_hugging_face(name: str) -> None:
    model, changed = made(name), CASES[name][2]
    program = mk.compile_module(model, dtype="float32", max_length=128, split=64, use_cache=False)
    tokens = texts(model.config.vocab_size, totals(HISTORY))
    logits = logits_of(program, tokens)
    assert largest_error(model, tokens, logits) < 2e-4
    (parameter,) = (value for key, value in model.named_parameters() if key.endswith(changed))
    with torch.no_grad():
        parameter[..., 3] += 0.5
    assert largest_error(model, tokens, logits) > 2e-4


@pytest.mark.parametrize("name", CASES)
def test_what_was_written_out_is_known(name: str) -> None:
    found = import_model(made(name)).config.attention
    assert [facts.window for facts in found.values()] == CASES[name][3]


def test_another_window_is_noticed() -> None:
    """The comparison would see a window that is not that of the mask."""
    model = made("a window in a buffer")
    program = mk.compile_module(model, dtype="float32", max_length=128, split=64, use_cache=False)
    tokens = texts(model.config.vocab_size, totals(HISTORY))
    logits = logits_of(program, tokens)
    assert largest_error(made("a window in a buffer", window_size=8), tokens, logits) > 2e-4


def refused(model: Any, reason: str) -> None:
    with pytest.raises(ImportModelError, match=reason):
        import_model(model)


def test_masks_that_are_not_causal_are_refused() -> None:
    model = made("large negative numbers in place of a mask")
    model.transformer.h[1].attn.bias[..., 40, 41] = 1  # one position that sees the next
    refused(model, r"transformer\.h\.1\.attn: its mask is neither causal nor a sliding window")


def test_biases_that_positions_do_not_explain_are_refused() -> None:
    model = made("large negative numbers in place of a mask")
    attention = model.transformer.h[1].attn
    attention.bias[..., 9, 4] = 0.999  # what is left of -10000 is a bias
    refused(
        model, r"transformer\.h\.1\.attn: it does more to its scores than to scale, mask and normalise them"
    )


def test_another_slope_is_noticed() -> None:
    model = made("scores that grow with the position")
    program = mk.compile_module(model, dtype="float32", max_length=128, split=64, use_cache=False)
    tokens = texts(model.config.vocab_size, totals(HISTORY))
    logits = logits_of(program, tokens)
    from transformers.models.bloom import modeling_bloom

    build = modeling_bloom.build_alibi_tensor
    modeling_bloom.build_alibi_tensor = lambda *args: build(*args) * 1.01
    try:
        assert largest_error(model, tokens, logits) > 2e-4
    finally:
        modeling_bloom.build_alibi_tensor = build


def test_convolutions_over_tokens_are_refused() -> None:
    from transformers import Lfm2Config, Lfm2ForCausalLM

    config = Lfm2Config(**{**TINY, "layer_types": ["conv", "full_attention"]})
    refused(Lfm2ForCausalLM(config), r"model\.layers\.0\.conv: aten\.conv1d\.default mixes tokens")


# What x [1, tokens, 4, 8] may go through, and what it may not.
APART: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "elementwise": lambda x: x * x + 1,
    "of heads": lambda x: x.softmax(-1) + x.mean(2, keepdim=True),
    "heads first": lambda x: x.transpose(1, 2).reshape(4, -1, 8).permute(1, 0, 2),
    "product of heads": lambda x: torch.matmul(x.transpose(1, 2), x.new_ones(4, 8, 5)),
    "by letters": lambda x: torch.einsum("bthd,btgd->bthg", x, x),
    "columns": lambda x: torch.cat([x[..., 4:], x[..., :4].flip(-1)], -1).cumsum(-1),
    "padded columns": lambda x: torch.nn.functional.pad(x, (1, 2)),
    "the largest": lambda x: x.topk(2, -1).values + x.amax(2, keepdim=True)[..., :2],
}
MIXED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": lambda x: x.softmax(1),
    "sum": lambda x: x - x.sum(1, keepdim=True),
    "all": lambda x: x - x.mean(),
    "cumulative sum": lambda x: x.cumsum(1),
    "the token before": lambda x: torch.nn.functional.pad(x, (0, 0, 0, 0, 1, -1)),
    "reversed": lambda x: x.flip(1),
    "rolled": lambda x: x.roll(1, 1),
    "sorted": lambda x: x.sort(1).values,
    "the first": lambda x: x + x[:, :1],
    "another order in memory": lambda x: x.permute(0, 2, 1, 3).contiguous().view(1, x.shape[1], 4, 8),
    "by letters": lambda x: torch.einsum("bthd,bshd->bthd", x, x),
    "convolution": lambda x: torch.conv1d(x[..., 0].transpose(1, 2), x.new_ones(4, 4, 3), padding=1),
    "norm": lambda x: torch.layer_norm(x.transpose(1, 3), [4, x.shape[1]]),
    "counted": lambda x: x / x.shape[1],
    "contracted": lambda x: x.flatten(2)[0] @ (x.flatten(2)[0].T @ x.flatten(2)[0]),
}


class _Module(torch.nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def mixing(function: Callable[[torch.Tensor], torch.Tensor]) -> list[str]:
    """The operators that are not known to keep tokens apart."""
    dim = torch.export.Dim("tokens", min=1, max=100)
    program = torch.export.export(_Module(function), (torch.zeros(1, 6, 4, 8),), dynamic_shapes=({1: dim},))
    (x,) = (node for node in program.graph.nodes if node.op == "placeholder")
    (symbol,) = x.meta["val"].shape[1].node.expr.free_symbols
    return [
        str(node.target)
        for node in program.graph.nodes
        if node.op == "call_function"
        and any(token_axes(one, symbol) for one in node.all_input_nodes)
        and (counts_tokens(node, symbol) or not keeps_apart(node, symbol))
    ]


@pytest.mark.parametrize("name", APART)
def test_operators_of_single_tokens_are_known(name: str) -> None:
    assert mixing(APART[name]) == []


@pytest.mark.parametrize("name", MIXED)
def test_operators_that_mix_tokens_are_not_taken_for_others(name: str) -> None:
    assert mixing(MIXED[name])

# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Architectures of Hugging Face, small and random, against their own eager code in float32; each with a control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mk
import numpy as np
import pytest
import torch
from mk.errors import CompileError, WeightError
from mk.ir import Module
from models import tiny
from test_numerics import HISTORY, Ragged, reference, texts, totals

HALF = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}}
FULL = {"layer_types": ["full_attention"] * 2}
# A class, what its config has besides, and a parameter whose change must be noticed.
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "layer norms, biases, learned positions, transposed weights": ("GPT2", {}, "transformer.wpe.weight"),
    "one key head, one bias": (
        "GPTBigCode",
        {"n_embd": 64, "n_layer": 2, "n_head": 4},
        "h.1.attn.c_attn.bias",
    ),
    "positions from row 2 on, relu": (
        "OPT",
        {"word_embed_proj_dim": 64, "ffn_dim": 96},
        "decoder.embed_positions.weight",
    ),
    "gains of 1 + w, a scaled embedding, gelu gates": (
        "Gemma",
        {"head_dim": 16},
        "layers.1.input_layernorm.weight",
    ),
    "norms after products, softcap of logits": (
        "Gemma2",
        {"head_dim": 16, "attn_logit_softcapping": None, "final_logit_softcapping": 2.0, **FULL},
        "layers.1.post_feedforward_layernorm.weight",
    ),
    "norms of heads with 1 + w": ("Gemma3", {"head_dim": 16, **FULL}, "layers.1.self_attn.q_norm.weight"),
    "multipliers": (
        "Granite",
        {
            "embedding_multiplier": 3.0,
            "logits_scaling": 2.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.3,
        },
        "layers.1.mlp.down_proj.weight",
    ),
    "neighbours rotated, one norm for both branches": ("Cohere", {}, "layers.1.self_attn.k_proj.weight"),
    "neighbours of half a head rotated": ("Glm", {"head_dim": 16}, "layers.1.self_attn.q_proj.weight"),
    "norms around products": ("Glm4", {"head_dim": 16}, "layers.1.post_self_attn_layernorm.weight"),
    "queries, keys and values by heads": ("GPTNeoX", {}, "layers.1.attention.query_key_value.bias"),
    "branches one after the other": (
        "GPTNeoX",
        {"use_parallel_residual": False},
        "layers.1.post_attention_layernorm.bias",
    ),
    "half a head rotated": ("Phi3", HALF, "layers.1.self_attn.qkv_proj.weight"),
    "a bias on the logits": ("Phi", {}, "lm_head.bias"),
    "a quarter of a head rotated": ("StableLm", {}, "model.norm.bias"),
    "gelu of a product with a bias": ("Starcoder2", {}, "layers.1.mlp.c_fc.bias"),
    "norms without gain": ("Olmo", {}, "layers.1.mlp.gate_proj.weight"),
    "layer norms of 1 + w, squared relu": ("Nemotron", {}, "layers.1.input_layernorm.weight"),
}


# What the README calls them.
NAMES = {
    "GPTNeoX": "GPT-NeoX",
    "GPT2": "GPT-2",
    "Phi3": "Phi-3",
    "Olmo": "OLMo",
    "StableLm": "StableLM",
    "Glm4": "GLM 4",
}
ELSEWHERE = {"Gemma2", "Gemma3", "Glm"}  # in part: with full attention; GLM without number


def test_the_readme_names_what_is_tested() -> None:
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    for architecture, *_ in CASES.values():
        assert architecture in ELSEWHERE or NAMES.get(architecture, architecture) in text, architecture


def logits_of(program: mk.Program, tokens: dict[int, list[int]]) -> dict[int, np.ndarray[Any, Any]]:
    with program.engine() as engine:
        ragged = Ragged(engine, tokens)
        ragged.run(HISTORY)
    return {slot: ragged.rows(slot) for slot in tokens}


def largest_error(model: Any, tokens: dict[int, list[int]], logits: dict[int, np.ndarray[Any, Any]]) -> float:
    """Relative to the largest logit of the sequence."""
    model.set_attn_implementation("eager")
    expected = {slot: reference(model, ids) for slot, ids in tokens.items()}
    return max(float(np.abs(logits[s] - expected[s]).max() / np.abs(expected[s]).max()) for s in tokens)


@pytest.mark.parametrize("name", CASES)
def test_ragged_steps_match_hugging_face(name: str) -> None:
    architecture, config, changed = CASES[name]
    model = tiny(architecture, **config)
    program = mk.compile_module(model, dtype="float32", max_length=128, split=64, use_cache=False)
    tokens = texts(model.config.vocab_size, totals(HISTORY))
    logits = logits_of(program, tokens)
    assert largest_error(model, tokens, logits) < 2e-4
    (parameter,) = (value for key, value in model.named_parameters() if key.endswith(changed))
    with torch.no_grad():
        parameter[..., 3] += 0.5  # of a matrix, what one column contributes
    assert largest_error(model, tokens, logits) > 2e-4


@pytest.mark.parametrize("architecture", ["GPT2", "Glm4"])
def test_bits_do_not_depend_on_the_batch_the_workers_or_the_fusions(architecture: str) -> None:
    model = tiny(architecture)
    text = mk.lower_module(model, to="mk", max_length=64, split=64).text()
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    tokens = texts(160, {0: 24})[0]
    found = []
    for chunks, options in (
        ([24], {"workers": 2}),
        ([1] * 24, {"workers": 1}),
        ([7, 1, 16], {"workers": 3, "without": ("norm", "residual", "rope", "glu")}),
    ):
        program = mk.compile_ir(text, mk.compile_module(model, max_length=64, split=64), **options)
        logits, done = [], 0
        with program.engine(weights=weights) as engine:
            for count in chunks:
                places = range(done, done + count)
                logits.append(engine.step(tokens[done : done + count], places, [0] * count))
                done += count
        found.append(np.concatenate(logits))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_frequencies_are_those_of_the_length_that_a_program_is_made_for() -> None:
    """Up to the original length the short factors, for a longer program the long ones from the first token on."""
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 64}
    factors = {"short_factor": np.linspace(1, 1.5, 8).tolist(), "long_factor": np.linspace(1, 8, 8).tolist()}
    model = tiny("Phi3", rope_parameters=rope | factors, original_max_position_embeddings=64)
    short, long = texts(160, {0: 60}), texts(160, {0: 120}, seed=1)
    program = mk.compile_module(model, dtype="float32", max_length=64, split=64, use_cache=False)
    longer = mk.compile_ir(
        mk.lower_module(model, to="mk", dtype="float32").text(), program, max_length=128, split=64
    )
    history = [[(0, 20)]] * 3

    def run(program: mk.Program, tokens: dict[int, list[int]], history: Any) -> dict[int, Any]:
        weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
        with program.engine(weights=weights) as engine:
            ragged = Ragged(engine, tokens)
            ragged.run(history)
        return {slot: ragged.rows(slot) for slot in tokens}

    assert largest_error(model, short, run(program, short, history)) < 2e-4
    assert largest_error(model, long, run(longer, long, history * 2)) < 2e-4
    assert largest_error(model, short, run(longer, short, history)) > 2e-4


def test_neighbours_become_halves_when_weights_are_packed() -> None:
    """A rotation of neighbours costs no exchange of columns: the rows of both weights lie in the order of halves."""
    module = mk.lower_module(tiny("Glm", head_dim=16), to="mk")
    views = [op.attributes["view"].fields for op in module.walk() if "view" in op.attributes]
    assert views[:2] == [
        {"shape": [64, 64], "sizes": [4, 2, 8], "strides": [16, 1, 2]},
        {"shape": [64], "sizes": [4, 2, 8], "strides": [16, 1, 2]},
    ]
    ropes = [op.attributes for op in module.walk() if op.name == "mk.rope"]
    assert [(rope["head_dim"], rope["partner"]) for rope in ropes] == [(16, 8)] * 4


def test_rotations_that_match_no_pattern_are_computed_as_they_are_written() -> None:
    """Keys that are no product cannot be turned by packing weights: neighbours change places one by one."""
    model = tiny("Cohere")
    attention = model.model.layers[1].self_attn
    forward = attention.k_proj.forward
    attention.k_proj.forward = lambda x: forward(x).tanh()
    program = mk.compile_module(model, dtype="float32", max_length=128, split=64, use_cache=False)
    tokens = texts(model.config.vocab_size, totals(HISTORY))
    logits = logits_of(program, tokens)
    assert largest_error(model, tokens, logits) < 2e-4
    attention.k_proj.forward = forward
    assert largest_error(model, tokens, logits) > 2e-4


def test_positions_that_the_table_does_not_have_are_refused() -> None:
    text = mk.lower_module(tiny("GPT2", max_position_embeddings=128), to="mk").text()
    with pytest.raises(CompileError, match="expected max_length of at most 128 in whole pages, found 192"):
        mk.compile_ir(text, max_length=192)
    assert Module.parse(text)


def test_a_weight_seen_through_a_view_must_have_the_shape_of_its_tensor() -> None:
    model = tiny("GPT2")
    program = mk.compile_module(model, dtype="float32", max_length=64, use_cache=False)
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    weights["transformer.h.1.mlp.c_fc.weight"] = weights["transformer.h.1.mlp.c_fc.weight"].T
    with pytest.raises(
        WeightError, match=r"h\.1\.mlp\.c_fc\.weight is \[256, 64\], the program expects \[64, 256\]"
    ):
        program.engine(weights=weights)

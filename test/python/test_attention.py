# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Attention with windows, capped scores and sinks: whole programs against Hugging Face, and bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mk
import numpy as np
import pytest
import torch
from mk.errors import ImportModelError
from mk.importer import import_model
from models import TINY, randomize, tiny, tiny_llama
from test_numerics import Ragged, reference, texts, totals

History = list[list[tuple[int, int]]]
# Prompts that are shorter and longer than the windows below, in chunks that begin and end within pages and ranges,
# and decode far beyond the windows.
HISTORY: History = [
    [(3, 5)],
    [(0, 37), (3, 1)],
    [(5, 2), (0, 1), (3, 90)],
    [(0, 1), (3, 1), (5, 1)],
    [(5, 70), (3, 1)],
    *[[(5, 1), (0, 1), (3, 1)]] * 30,
    [(0, 64), (5, 1)],
]
SIZES: dict[str, Any] = {"dtype": "float32", "max_length": 256, "page": 16, "split": 32}


def eager(model: Any, seed: int = 0) -> Any:
    """The model with random weights, to run without mk as it is written."""
    randomize(model, seed).set_attn_implementation("eager")
    return model


def mistral(window: int | None, **config: Any) -> Any:
    from transformers import MistralConfig, MistralForCausalLM

    return eager(MistralForCausalLM(MistralConfig(**{**TINY, "sliding_window": window, **config})))


def qwen2(first_window: int) -> Any:
    """Three layers; those from `first_window` on have a window."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    fields = {"num_hidden_layers": 3, "sliding_window": 20, "max_window_layers": first_window}
    return eager(Qwen2ForCausalLM(Qwen2Config(**{**TINY, **fields, "use_sliding_window": True})))


def capped(softcap: float | None, scalar: float = 7.0) -> Any:
    """A Llama with the attention of Gemma 2, on which nothing else of Gemma 2 depends."""
    from transformers.models.gemma2.modeling_gemma2 import Gemma2Attention

    kinds = ["full_attention"] * 2
    model = tiny_llama(attn_logit_softcapping=softcap, query_pre_attn_scalar=scalar, layer_types=kinds)
    for index, layer in enumerate(model.model.layers):
        layer.self_attn = Gemma2Attention(model.config, index)
    return eager(model)


def sunken() -> Any:
    """A Llama with the attention of Granite SWA: a sink for each head."""
    from transformers.models.granite_swa.modeling_granite_swa import GraniteSWAAttention

    model = tiny_llama(attention_multiplier=0.3, layer_types=["full_attention"] * 2)
    for index, layer in enumerate(model.model.layers):
        layer.self_attn = GraniteSWAAttention(model.config, index)
    return eager(model)


class DenseExperts(torch.nn.Module):
    """A feed-forward layer with the two results of a mixture of experts."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        from transformers.models.llama.modeling_llama import LlamaMLP

        self.dense = LlamaMLP(config)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.dense(x), None


def gpt_oss(window: int = 20, **config: Any) -> Any:
    """A GPT-OSS without its experts: windows in every second layer, sinks, biases, halves rotated one by one."""
    from transformers import GptOssConfig, GptOssForCausalLM

    fields = {"sliding_window": window, "num_local_experts": 2, "num_experts_per_tok": 1, "mlp_bias": False}
    settings = GptOssConfig(**{**TINY, **fields, **config})
    model = GptOssForCausalLM(settings)
    for layer in model.model.layers:
        layer.mlp = DenseExperts(settings)
    return eager(model)


def olmo3(window: int = 20, global_layer: int = 2) -> Any:
    """Norms of all heads together, and windows in all layers but one."""
    from transformers import Olmo3Config, Olmo3ForCausalLM

    kinds = ["full_attention" if i == global_layer else "sliding_attention" for i in range(3)]
    fields = {"num_hidden_layers": 3, "sliding_window": window, "layer_types": kinds}
    return eager(Olmo3ForCausalLM(Olmo3Config(**{**TINY, **fields})))


KINDS = ["sliding_attention", "full_attention", "sliding_attention"]


def gemma2(**changed: Any) -> Any:
    """Windows in every second layer, capped scores, capped logits, a scale of its own."""
    fields = {"num_hidden_layers": 3, "layer_types": KINDS, "sliding_window": 20, "head_dim": 16}
    numbers = {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0, "query_pre_attn_scalar": 7}
    return eager(tiny("Gemma2", **{**fields, **numbers, **changed}))


def ropes(local: float = 100.0, everywhere: float = 10000.0) -> dict[str, Any]:
    return {
        "sliding_attention": {"rope_type": "default", "rope_theta": local},
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": everywhere},
    }


def gemma3(**changed: Any) -> Any:
    """Windows in every second layer, norms of heads, and other frequencies in layers with a window than without."""
    fields = {"num_hidden_layers": 3, "layer_types": KINDS, "sliding_window": 20, "head_dim": 16}
    numbers = {"query_pre_attn_scalar": 7, "rope_parameters": ropes()}
    return eager(tiny("Gemma3", **{**fields, **numbers, **changed}))


def cohere2(**changed: Any) -> Any:
    """Windows and rotations of neighbours in some layers, neither in the others."""
    fields = {"num_hidden_layers": 3, "layer_types": KINDS, "sliding_window": 20}
    return eager(tiny("Cohere2", **{**fields, **changed}))


def granite_swa(**changed: Any) -> Any:
    """Windows in some layers, and a sink for each head of all."""
    fields = {"num_hidden_layers": 3, "layer_types": KINDS, "sliding_window": 20, "head_dim": 16}
    numbers = {"attention_multiplier": 0.3, "residual_multiplier": 0.5, "logits_scaling": 2.0}
    return eager(tiny("GraniteSWA", **{**fields, **numbers, **changed}))


def starcoder2(**changed: Any) -> Any:
    """Layer norms, biases, and a window in all layers."""
    return eager(tiny("Starcoder2", **{"sliding_window": 20, **changed}))


FULL = {"layer_types": ["full_attention"] * 3}
# A model, and what must be noticed if it is another way.
MODELS: dict[str, tuple[Callable[..., Any], list[dict[str, Any]]]] = {
    "Gemma 2": (
        gemma2,
        [FULL, {"sliding_window": 21}, {"attn_logit_softcapping": None}, {"query_pre_attn_scalar": 8}],
    ),
    "Gemma 3": (
        gemma3,
        [
            FULL,
            {"sliding_window": 21},
            {"rope_parameters": ropes(local=10000.0)},
            {"rope_parameters": ropes(everywhere=100.0)},
        ],
    ),
    "Command R7B": (cohere2, [FULL, {"sliding_window": 21}]),
    "Granite SWA": (granite_swa, [FULL, {"sliding_window": 21}, {"attention_multiplier": 0.31}]),
    "StarCoder2": (starcoder2, [{"sliding_window": None}, {"sliding_window": 21}]),
}


def largest_errors(model: Any, *others: Any, **options: Any) -> list[float]:
    """Of the program of `model`, relative to the largest logit: of `model` itself, then of the others."""
    program = mk.compile_module(model, use_cache=False, **{**SIZES, **options})
    tokens = texts(model.config.vocab_size, totals(HISTORY))
    with program.engine() as engine:
        ragged = Ragged(engine, tokens)
        ragged.run(HISTORY)
    errors = []
    for other in (model, *others):
        expected = {slot: reference(other, ids) for slot, ids in tokens.items()}
        errors.append(max(
            float(np.abs(ragged.rows(slot) - rows).max() / np.abs(rows).max()) for slot, rows in expected.items()
        ))  # fmt: skip
    return errors


# ------------------------------------------------------------------------------------------ against Hugging Face


@pytest.mark.parametrize("window", [1, 2, 16, 17, 33, 64, 100])
def test_windows_match_hugging_face(window: int) -> None:
    """And not a window that is longer or shorter by a position."""
    own, *changed = largest_errors(
        mistral(window), *(mistral(w) for w in {window + 1, max(1, window - 1)} - {window})
    )
    assert own < 2e-4
    assert min(changed) > 2e-4


@pytest.mark.parametrize(
    "sizes", [{"page": 16, "split": 16}, {"page": 32, "split": 96}, {"page": 64, "split": 64}]
)
def test_no_size_of_pages_or_ranges_matters(sizes: dict[str, int]) -> None:
    own, full = largest_errors(mistral(37), mistral(None), **sizes)
    assert own < 2e-4 < full


def test_a_window_that_no_context_outgrows_is_none() -> None:
    texts = [
        mk.lower_module(mistral(window), to="fused", **SIZES).text(locations=False)
        for window in (256, None, 255)
    ]
    assert texts[0] == texts[1] and "window" not in texts[0]
    assert "window = 255" in texts[2]


def test_some_layers_have_windows() -> None:
    own, more, fewer = largest_errors(qwen2(1), qwen2(0), qwen2(2))
    assert own < 2e-4
    assert min(more, fewer) > 2e-4


def test_capped_scores_match_hugging_face() -> None:
    own, uncapped, other_cap, other_scale = largest_errors(
        capped(2.0), capped(None), capped(2.1), capped(2.0, scalar=8.0)
    )
    assert own < 2e-4
    assert min(uncapped, other_cap, other_scale) > 2e-4


def test_sinks_match_hugging_face() -> None:
    drained, other = sunken(), sunken()
    with torch.no_grad():
        drained.model.layers[1].self_attn.sinks.fill_(-100)
        other.model.layers[0].self_attn.sinks[2] += 0.5
    own, *changed = largest_errors(sunken(), drained, other)
    assert own < 2e-4
    assert min(changed) > 2e-4


def test_gpt_oss_but_for_its_experts_matches_hugging_face() -> None:
    drained = gpt_oss()
    with torch.no_grad():
        drained.model.layers[1].self_attn.sinks.fill_(-100)
    default = {"rope_parameters": {"rope_type": "default", "rope_theta": 150000.0}}
    own, *changed = largest_errors(gpt_oss(), drained, gpt_oss(21), gpt_oss(**default))
    assert own < 2e-4
    assert min(changed) > 2e-4


def test_olmo3_matches_hugging_face() -> None:
    own, *changed = largest_errors(olmo3(), olmo3(21), olmo3(global_layer=1))
    assert own < 2e-4
    assert min(changed) > 2e-4


@pytest.mark.parametrize("name", MODELS)
def test_models_match_hugging_face(name: str) -> None:
    make, changes = MODELS[name]
    own, *changed = largest_errors(make(), *(make(**fields) for fields in changes))
    assert own < 2e-4
    assert min(changed) > 2e-4


# --------------------------------------------------------------------------------------------------- bit by bit


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_window_sees_the_same_bits_in_every_batch(dtype: str) -> None:
    """One token at a time, alone, and the ragged history on any number of workers."""
    model = mistral(20)
    tokens = texts(160, totals(HISTORY), seed=2)
    first: dict[int, Any] = {}
    for workers in (1, 2, 3):
        program = mk.compile_module(model, use_cache=False, **{**SIZES, "dtype": dtype, "workers": workers})
        with program.engine() as engine:
            ragged = Ragged(engine, tokens)
            ragged.run(HISTORY)
            for slot in tokens:
                first.setdefault(slot, ragged.rows(slot))
                assert np.array_equal(ragged.rows(slot), first[slot]), f"slot {slot}, {workers} workers"
            if workers == 2:
                engine.reset(3)
                alone = Ragged(engine, {3: tokens[3]})
                alone.run([[(3, 1)]] * len(tokens[3]))
                assert np.array_equal(alone.rows(3), first[3])


# ----------------------------------------------------------------------------------------------------- refusals


def changed_attention(**given: Any) -> Any:
    """A Llama whose second layer gives its attention other arguments."""
    model = tiny_llama()
    attention = model.model.layers[1].self_attn
    forward = type(attention).forward

    class Changed(type(attention)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return forward(self, *args, **{**kwargs, **given})

    attention.__class__ = Changed
    return model


@pytest.mark.parametrize("argument", ["position_bias", "alibi", "head_mask", "attention_chunk_size"])
def test_an_argument_that_is_not_known_is_refused(argument: str) -> None:
    expected = rf"model\.layers\.1\.self_attn: attention argument '{argument}' is not supported"
    with pytest.raises(ImportModelError, match=expected):
        import_model(changed_attention(**{argument: torch.ones(4)}))


def test_an_attention_that_makes_its_own_mask_is_refused() -> None:
    """It hides positions by what it computes of their values."""
    from transformers import DogeConfig, DogeForCausalLM

    with pytest.raises(ImportModelError, match=r"model\.layers\.0\.self_attn: tokens meet in another way"):
        import_model(DogeForCausalLM(DogeConfig(**TINY)))


def test_attention_in_both_directions_is_refused() -> None:
    with pytest.raises(ImportModelError, match=r"model\.layers\.0\.self_attn: .*neither causal"):
        import_model(gemma3(use_bidirectional_attention=True))


def test_a_window_that_is_not_in_the_mask_is_refused() -> None:
    """Hugging Face's eager attention would not see it."""
    with pytest.raises(
        ImportModelError, match=r"model\.layers\.1\.self_attn: the mask has window 0 .* says 20"
    ):
        import_model(changed_attention(sliding_window=20))
    with pytest.raises(ImportModelError, match=r"model\.layers\.1\.self_attn: it is given no mask"):
        import_model(changed_attention(sliding_window=20, attention_mask=None))

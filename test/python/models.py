# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small random models for tests; weights are scaled so that a mistake in any branch changes the logits."""

from __future__ import annotations

from typing import Any

TINY: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "vocab_size": 160,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3_ROPE: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def tiny_llama(*, tied: bool = False, llama3_rope: bool = False, seed: int = 0, **config: Any) -> Any:
    """A LlamaForCausalLM (float32, eval mode): 2 layers, 4 heads and 2 KV heads of 16, hidden 64, vocabulary 160.

    `config` overrides single fields of the LlamaConfig.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    fields: dict[str, Any] = {**TINY, "tie_word_embeddings": tied, **config}
    if llama3_rope:
        fields["rope_parameters"] = dict(LLAMA3_ROPE)
    return randomize(LlamaForCausalLM(LlamaConfig(**fields)), seed)


def tiny_qwen3(*, tied: bool = False, seed: int = 0, **config: Any) -> Any:
    """A Qwen3ForCausalLM of the same sizes: a norm for each head of the queries and keys."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return randomize(Qwen3ForCausalLM(Qwen3Config(**{**TINY, "tie_word_embeddings": tied, **config})), seed)


def tiny_mixtral(*, seed: int = 0, **config: Any) -> Any:
    """A MixtralForCausalLM of the same sizes: 2 of 8 experts, whose weights add up to one."""
    from transformers import MixtralConfig, MixtralForCausalLM

    fields = {**TINY, "num_local_experts": 8, "num_experts_per_tok": 2, **config}
    return with_eager_experts(randomize(MixtralForCausalLM(MixtralConfig(**fields)), seed))


def tiny_qwen3_moe(*, seed: int = 0, **config: Any) -> Any:
    """A Qwen3MoeForCausalLM of the same sizes: 3 of 8 experts of 48, norms of heads."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    experts = {
        "num_experts": 8,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 48,
        "norm_topk_prob": True,
    }
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**{**TINY, **experts, **config}))
    return with_eager_experts(randomize(model, seed))


def tiny_qwen2_moe(*, seed: int = 0, **config: Any) -> Any:
    """A Qwen2MoeForCausalLM of the same sizes: 3 of 8 experts of 48, and a gated one of 40 for all."""
    from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

    experts = {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 48}
    fields = {**TINY, **experts, "shared_expert_intermediate_size": 40, **config}
    return with_eager_experts(randomize(Qwen2MoeForCausalLM(Qwen2MoeConfig(**fields)), seed))


def tiny_olmoe(*, seed: int = 0, **config: Any) -> Any:
    """An OlmoeForCausalLM of the same sizes: norms of queries and keys, 3 of 8 experts with their probabilities."""
    from transformers import OlmoeConfig, OlmoeForCausalLM

    fields = {**TINY, "num_experts": 8, "num_experts_per_tok": 3, **config}
    return with_eager_experts(randomize(OlmoeForCausalLM(OlmoeConfig(**fields)), seed))


def tiny_granite_moe(*, seed: int = 0, **config: Any) -> Any:
    """A GraniteMoeForCausalLM of the same sizes: 3 of 8 experts, and factors on everything."""
    from transformers import GraniteMoeConfig, GraniteMoeForCausalLM

    factors = {
        "embedding_multiplier": 1.5,
        "residual_multiplier": 0.8,
        "attention_multiplier": 0.3,
        "logits_scaling": 2.0,
    }
    fields = {**TINY, "num_local_experts": 8, "num_experts_per_tok": 3, **factors, **config}
    return with_eager_experts(randomize(GraniteMoeForCausalLM(GraniteMoeConfig(**fields)), seed))


def with_eager_experts(model: Any) -> Any:
    """The model with the experts of its own source, one after the other, as a reference."""
    model.set_experts_implementation("eager")
    return model


def tiny(architecture: str, *, seed: int = 0, **config: Any) -> Any:
    """A causal model of any architecture, of the same sizes where its config has their names."""
    import transformers

    fields: dict[str, Any] = {name: value for name, value in TINY.items() if name != "head_dim"}
    made = getattr(transformers, {"Gemma3": "Gemma3Text"}.get(architecture, architecture) + "Config")
    head = "LMHeadModel" if architecture == "GPT2" else "ForCausalLM"
    config = {"pad_token_id": 0, **fields, **config}
    return randomize(getattr(transformers, architecture + head)(made(**config)), seed)


def randomize(model: Any, seed: int = 0) -> Any:
    """Fills the parameters: matrices so that activations keep their size, vectors (norms, biases) in 0.5 .. 1.5."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5, generator=generator)
            else:
                parameter.normal_(0.0, 1.5 * parameter.shape[-1] ** -0.5, generator=generator)
    return model.eval()

# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A small model of any class: sizes by the names that configs have for them, and what single configs need besides."""

from __future__ import annotations

from typing import Any

LAYERS = 2
SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "embedding_size", "word_embed_proj_dim", "dim"), 64),
    **dict.fromkeys(("hidden_dim", "emb_dim", "decoder_hidden_size"), 64),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "decoder_ffn_dim"), 96),
    **dict.fromkeys(("encoder_ffn_dim", "dense_intermediate_size", "intermediate_size_mlp"), 96),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers", "decoder_layers"), LAYERS),
    **dict.fromkeys(("encoder_layers", "num_decoder_layers", "num_encoder_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "num_decoder_attention_heads", "swa_num_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads"), 2),
    **dict.fromkeys(("head_dim", "kv_channels", "swa_head_dim", "d_kv"), 16),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 8),
    **dict.fromkeys(
        ("num_experts_per_tok", "moe_topk", "moe_k", "moe_top_k", "num_experts_per_token", "top_k_experts"), 3
    ),
    **dict.fromkeys(("moe_intermediate_size", "expert_ffn_hidden_size", "expert_intermediate_size"), 48),
    **dict.fromkeys(("shared_expert_intermediate_size", "shared_intermediate_size"), 40),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"), 256),
    **dict.fromkeys(("max_target_positions", "max_source_positions"), 256),
    "vocab_size": 160,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "is_decoder": True,
    "rotary_dim": 8,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "qk_head_dim": 32,
    "v_channels": 16,
    # Every branch matters: windows shorter than the texts, caps that cap, factors that are not one.
    "sliding_window": 7,
    "attention_window": 7,
    "attn_logit_softcapping": 5.0,
    "final_logit_softcapping": 3.0,
    "type_vocab_size": 2,
    # Towers for images and sounds, which a text does not pass through.
    "image_size": 16,
    "patch_size": 8,
}
PER_LAYER = ("layer_types", "mlp_layer_types")

ROPE = {"rope_type": "default", "rope_theta": 10000.0}
# Classes whose keys come from a latent row have as many of them as queries.
LATENT = (
    *(
        "AXK1Config",
        "AXK2Config",
        "BailingHybridConfig",
        "DeepseekV2Config",
        "DeepseekV3Config",
        "DeepseekV32Config",
    ),
    *("Glm4MoeLiteConfig", "GlmMoeDsaConfig", "KimiLinearConfig", "LongcatFlashConfig", "MiniCPM3Config"),
    "YoutuConfig",
)
GEMMA4: dict[str, Any] = {
    "num_hidden_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"],
    "hidden_size_per_layer_input": 0,
    "per_layer_config": {1: {"head_dim": 32}},
}
# By config class: what the class does not build or means nothing without.
OWN: dict[str, dict[str, Any]] = {
    **{name: {"num_key_value_heads": 4} for name in LATENT},
    "CohereCompassTextConfig": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"sliding_attention": ROPE, "full_attention": ROPE},
    },
    "DbrxConfig": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 1.5, "rope_theta": 10000.0},
        "ffn_config": {"hidden_size": 64, "ffn_hidden_size": 48, "moe_num_experts": 8, "moe_top_k": 3},
        "num_key_value_heads": 2,
    },
    "Dots1Config": {"n_routed_experts": 8, "num_experts_per_tok": 3, "n_shared_experts": 1},
    "GPTNeoConfig": {"attention_types": [[["global", "local"], 1]], "window_size": 7, "num_heads": 4},
    "Gemma3nTextConfig": {
        "intermediate_size": [96, 96],
        "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 16,
        "vocab_size_per_layer_input": 160,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.5, 0.0],
        "num_hidden_layers": 2,
    },
    "Gemma4TextConfig": GEMMA4,
    "Gemma4UnifiedTextConfig": GEMMA4,
    "Dots3NoteTextConfig": {"num_key_value_heads": 4},
    "RecurrentGemmaConfig": {"num_hidden_layers": 3},
    "Mamba2Config": {"num_heads": 8, "head_dim": 16},
    "ReformerConfig": {"axial_pos_embds_dim": (32, 32), "axial_pos_shape": (16, 16)},
    "Lfm2Config": {"layer_types": ["conv", "full_attention"]},
    "JambaConfig": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "GraniteMoeHybridConfig": {"layer_types": ["mamba", "attention"]},
    "Ministral3Config": {
        "rope_parameters": {**ROPE, "original_max_position_embeddings": 16, "llama_4_scaling_beta": 0.1}
    },
    "XLMConfig": {"causal": True},
    "XLNetConfig": {"attn_type": "uni"},
    "XmodConfig": {"languages": ["en_XX"], "default_language": "en_XX"},
    "ZayaConfig": {"num_experts_per_tok": 1},
    "BambaConfig": {"attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 16},
}


def small_model(class_name: str, seed: int = 0) -> Any:
    """A model of the class, of about a hundred thousand weights, in float32 and eval mode."""
    import torch
    import transformers

    made = getattr(transformers, class_name)
    torch.manual_seed(seed)
    return fill(made(small_config(made.config_class)).eval(), seed)


def small_config(made: Any) -> Any:
    """A config of the class `made` with the sizes above where it has them, or an exception of the class."""
    return made(**_fields(made))


def _has(config: Any, name: str) -> bool:
    """Whether it is a field, under this or another name, that can be set."""
    name = (getattr(config, "attribute_map", None) or {}).get(name, name)
    try:
        return hasattr(config, name) and not isinstance(getattr(type(config), name, None), property)
    except Exception:  # one that may differ between layers, and does
        return True


def _fields(made: Any) -> dict[str, Any]:
    default = made()
    fields: dict[str, Any] = {}
    for name, value in SMALL.items():
        if _has(default, name):
            fields[name] = value
    lists = {
        name: list(dict.fromkeys(kinds))
        for name in PER_LAYER
        if _has(default, name) and isinstance(kinds := getattr(default, name, None), list | tuple) and kinds
    }
    layers = max([LAYERS, *map(len, lists.values())])
    for name, kinds in lists.items():
        fields[name] = (kinds * layers)[:layers]
    if layers != LAYERS:
        fields.update({k: layers for k in ("num_hidden_layers", "n_layer", "num_layers") if k in fields})
    for name in getattr(made, "sub_configs", None) or {}:
        if getattr(default, name, None) is not None:
            inner = type(getattr(default, name))
            if hasattr(inner, "model_type"):
                fields[name] = _fields(inner)
    fields.update(OWN.get(made.__name__, {}))
    return fields


def fill(model: Any, seed: int = 0) -> Any:
    """Fills the weights: matrices so that activations keep their size, vectors (norms, biases) in 0.5 .. 1.5.

    Buffers of a checkpoint that begin as zeros, such as the biases of routers, get small numbers.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim < 2:
                parameter.uniform_(0.5, 1.5, generator=generator)
            else:
                parameter.normal_(0.0, 1.5 * parameter.shape[-1] ** -0.5, generator=generator)
        for buffer in model.state_dict().values():
            if buffer.is_floating_point() and not buffer.any():
                buffer.uniform_(-0.2, 0.2, generator=generator)
    return model

# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The models that run on a GPU to test it: random ones with their steps, and the prompts of SmolLM2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mk.runtime.gpu import convert

Array = np.ndarray[Any, Any]
Step = tuple[Array, Array, Array]  # tokens, positions and slots, int32 [N], N at most 16

TOKENS = 16  # of a step, at most
# Tokens of each slot; slot 2 goes through three ranges of attention and all pages that a CTA keeps.
LENGTHS = {2: 333, 0: 41, 5: 30, 3: 17}
CHUNKS = (1, 1, 3, 7, TOKENS)


@dataclass(frozen=True)
class Case:
    """A model of Hugging Face by its type and configuration, options of `mk.compile_module`, tokens of each slot.
    `strays`: see `Reference`."""

    fields: Mapping[str, Any]
    type: str = "llama"
    options: Mapping[str, Any] = field(default_factory=dict)
    lengths: Mapping[int, int] = field(default_factory=lambda: LENGTHS)
    strays: float = 0.0

    def config(self) -> dict[str, Any]:
        """The config.json of a Hugging Face folder."""
        other = {"gpt2": "GPT2LMHeadModel", "qwen3_moe": "Qwen3MoeForCausalLM"}
        named = other.get(self.type, f"{self.type.capitalize()}ForCausalLM")
        common = {  # what has other defaults in other versions of transformers
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            "rms_norm_eps": 1e-5,
            "max_position_embeddings": 2048,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "dtype": "bfloat16",
        }
        return {"model_type": self.type, "architectures": [named], **common, **self.fields}


def _case(
    hidden: int, heads: int, kv_heads: int, head: int, inner: int, vocabulary: int, layers: int = 2, *,
    type: str = "llama", options: Mapping[str, Any], lengths: Mapping[int, int] = LENGTHS, strays: float = 0.0,
    **fields: Any,
) -> Case:  # fmt: skip
    sizes = {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "num_hidden_layers": layers,
    }
    return Case({**sizes, **fields}, type, options, lengths, strays)


_SIZES = {"max_sequences": 6, "max_length": 384}
# Compared with the interpreter and with Hugging Face in float32. The first is also the one that others use.
KINDS = {
    "heads of 32, tied": _case(128, 4, 2, 32, 192, 480, tie_word_embeddings=True, options=_SIZES),
    "heads of 64, biases": _case(
        192, 6, 2, 64, 352, 500, attention_bias=True, mlp_bias=True, tie_word_embeddings=False, options=_SIZES
    ),
    "heads of 128, one of KV": _case(256, 8, 1, 128, 320, 333, tie_word_embeddings=False, options=_SIZES),
    "heads of 256": _case(160, 2, 2, 256, 96, 160, tie_word_embeddings=True, options=_SIZES),
    "qwen2": _case(128, 14, 2, 64, 224, 480, type="qwen2", tie_word_embeddings=True, options=_SIZES),
    # 2112 and 5632 columns: every product but the output projection has rows of several chunks.
    "long rows": _case(
        2112, 4, 2, 64, 5632, 320, 1, tie_word_embeddings=False, options=_SIZES, lengths={1: 23, 0: 9, 4: 5}
    ),
}
# Blocks of other architectures: what only they have is in the names.
ARCHITECTURES = {
    "qwen3": _case(128, 4, 2, 64, 192, 480, type="qwen3", tie_word_embeddings=True, options=_SIZES),
    "mistral, a window": _case(128, 4, 2, 32, 192, 480, type="mistral", sliding_window=100, options=_SIZES),
    "gemma2, capped scores": _case(
        128, 4, 2, 64, 192, 480, type="gemma2", sliding_window=100, query_pre_attn_scalar=64,
        attn_logit_softcapping=5.0, final_logit_softcapping=5.0, options=_SIZES,
    ),
    "phi, half rotations and layer norms": _case(128, 2, 2, 64, 192, 480, type="phi", options=_SIZES),
    "cohere, neighbours rotated": _case(128, 4, 2, 32, 192, 480, type="cohere", options=_SIZES),
    "gpt2, learned positions": Case(
        {"n_embd": 128, "n_head": 2, "n_layer": 2, "n_positions": 512, "vocab_size": 480}, "gpt2", _SIZES
    ),
    "apertus, an activation written out": _case(
        128, 4, 2, 32, 192, 480, type="apertus", tie_word_embeddings=False, options=_SIZES
    ),
    "mixtral, 2 of 8 experts": _case(
        128, 4, 2, 32, 192, 480, type="mixtral", num_local_experts=8, num_experts_per_tok=2, options=_SIZES,
        strays=0.125,
    ),
    "qwen3_moe, 5 of 40 experts": _case(
        128, 4, 2, 64, 192, 480, type="qwen3_moe", num_experts=40, num_experts_per_tok=5, moe_intermediate_size=96,
        norm_topk_prob=False, decoder_sparse_step=1, mlp_only_layers=[], options=_SIZES, strays=0.125,
    ),
    # 2112 columns into experts and 4160 within: rows of two and three chunks.
    "mixtral, long rows": _case(
        2112, 4, 2, 64, 4160, 320, 1, type="mixtral", num_local_experts=3, num_experts_per_tok=2,
        options=_SIZES, lengths={1: 23, 0: 9, 4: 5}, strays=0.125,
    ),
}  # fmt: skip
# Wide enough for PyTorch's kernels to be the usual ones.
PRECISION = _case(
    1024, 16, 4, 64, 2816, 8192, 4, tie_word_embeddings=True, options={"max_sequences": 8, "max_length": 256}
)
# 16 sequences of more than a thousand tokens.
STEPS = _case(
    256, 8, 4, 32, 512, 1000, tie_word_embeddings=True, options={"max_sequences": 16, "max_length": 1152}
)
SMOLLM2 = {"max_sequences": 4, "max_length": 256}  # options
PROMPTS = (
    "The capital of France is",
    "Water boils at a temperature of",
    "def fibonacci(n):",
    "Once upon a time, in a small village by the sea,",
    "The three states of matter are",
)
NEW = 64  # tokens after each


def ragged(vocabulary: int, lengths: Mapping[int, int], seed: int = 0) -> Iterator[Step]:
    """Steps in which sequences of these lengths grow by chunks and single tokens, several at a time, in any order."""
    random = np.random.default_rng(seed)
    done = dict.fromkeys(lengths, 0)
    while waiting := [slot for slot, length in lengths.items() if done[slot] < length]:
        pairs: list[tuple[int, int]] = []
        for slot in random.permutation(waiting)[: random.integers(1, len(waiting) + 1)].tolist():
            count = min(int(random.choice(CHUNKS)), lengths[slot] - done[slot], TOKENS - len(pairs))
            pairs += [(slot, done[slot] + i) for i in range(count)]
            done[slot] += count
        slots, positions = np.array(pairs, np.int32).T
        yield random.integers(0, vocabulary, len(pairs), np.int32), positions, slots


def made_up(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Array]:
    """float32 weights that are the same on every machine: matrices of bfloat16 numbers, so scaled that activations
    keep their size, gains of 0.5 to 1.5, biases of -0.5 to 0.5."""
    weights: dict[str, Array] = {}
    for number, (name, shape) in enumerate(shapes.items()):
        raw = np.random.PCG64([seed, number]).random_raw(int(np.prod(shape)))
        values = ((raw >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)).reshape(
            shape
        )
        if len(shape) == 1:
            weights[name] = values if name.endswith("bias") else values + np.float32(1)
        else:
            weights[name] = rounded(values * np.float32(5.2 * shape[-1] ** -0.5))
    return weights


def rounded(values: Array) -> Array:
    """float32 numbers to the nearest that bfloat16 has, in float32."""
    bits = convert.convert(np.ascontiguousarray(values).view(np.uint32), "float32", "bfloat16")
    return convert.convert(bits, "bfloat16", "float32").view(np.float32)

# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is measured on a GPU: models by their shapes alone, the cases, and what each must reach."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@dataclass(frozen=True)
class Shape:
    """A decoder as Llama and Qwen3 build it; all weights are bfloat16.

    With `experts` a token chooses `chosen` of so many feed-forward layers, each of size `ffn`, as in Mixtral and, with
    `qk_norm`, in Qwen3-MoE.
    """

    hidden: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    vocabulary: int
    tied: bool = False
    qk_norm: bool = False
    rope: dict[str, Any] = field(default_factory=dict)
    experts: int = 0
    chosen: int = 0

    def step_bytes(self, tokens: int) -> float:
        """What a step must read of the weights: all matrices, the head included, and the norms; the embedding is one
        row. Of the experts as many as tokens choose that choose at random, each independently of the others."""
        found = self.experts * (1 - (1 - self.chosen / self.experts) ** tokens) if self.experts else 1
        return self._bytes(found)

    def _bytes(self, experts: float) -> float:
        width = self.heads * self.head
        attention = 2 * width + 2 * self.kv_heads * self.head
        matrices = self.hidden * (attention + self.experts + 3 * experts * self.ffn)
        norms = self.layers * (2 * self.hidden + (2 * self.head if self.qk_norm else 0)) + self.hidden
        return 2 * (self.layers * matrices + self.vocabulary * self.hidden + norms)

    @property
    def weight_bytes(self) -> int:
        """What a step of one token must read."""
        return round(self.step_bytes(1))

    @property
    def held_bytes(self) -> int:
        """What a model occupies: with an embedding of its own where it is not tied, and all experts."""
        return int(self._bytes(self.experts or 1)) + (0 if self.tied else 2 * self.vocabulary * self.hidden)

    @property
    def kv_bytes(self) -> int:
        """Keys and values of one position."""
        return 2 * 2 * self.layers * self.kv_heads * self.head

    def config(self) -> dict[str, Any]:
        """The config.json of a Hugging Face folder."""
        kind, name = ("qwen3", "Qwen3") if self.qk_norm else ("llama", "Llama")
        experts: dict[str, Any] = {}
        if self.experts:
            kind, name = ("qwen3_moe", "Qwen3Moe") if self.qk_norm else ("mixtral", "Mixtral")
            count = "num_experts" if self.qk_norm else "num_local_experts"
            experts = {count: self.experts, "num_experts_per_tok": self.chosen}
        if self.experts and self.qk_norm:
            experts |= {"moe_intermediate_size": self.ffn, "norm_topk_prob": True}
        return {
            **experts,
            "architectures": [f"{name}ForCausalLM"],
            "model_type": kind,
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": self.tied,
            "rope_parameters": self.rope,
            "max_position_embeddings": 40960 if self.qk_norm else 131072,
            "rms_norm_eps": 1e-6 if self.qk_norm else 1e-5,
            "hidden_act": "silu",
            "attention_bias": False,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "dtype": "bfloat16",
            "use_cache": True,
        }


_QWEN = {"rope_type": "default", "rope_theta": 1000000.0}
SHAPES = {
    "llama-3.2-1b": Shape(2048, 8192, 16, 32, 8, 64, 128256, tied=True, rope={**_LLAMA3, "factor": 32.0}),
    "llama-3.1-8b": Shape(4096, 14336, 32, 32, 8, 128, 128256, rope={**_LLAMA3, "factor": 8.0}),
    "qwen3-8b": Shape(4096, 12288, 36, 32, 8, 128, 151936, qk_norm=True, rope=_QWEN),
    "qwen3-0.6b": Shape(1024, 3072, 28, 16, 8, 128, 151936, tied=True, qk_norm=True, rope=_QWEN),
    # A third of its layers: what one step reads is what counts, and this leaves room for a second model on the GPU.
    "qwen3-30b-a3b-16": Shape(
        2048, 768, 16, 32, 4, 128, 151936, qk_norm=True, rope=_QWEN, experts=128, chosen=8
    ),
    "mixtral-8x7b-8": Shape(4096, 14336, 8, 32, 8, 128, 32000, rope=_QWEN, experts=8, chosen=2),
    "llama-3.1-70b": Shape(8192, 28672, 80, 64, 8, 128, 128256, rope={**_LLAMA3, "factor": 8.0}),
}


@dataclass(frozen=True)
class Package:
    """A program to compile: the shape, and options of `mk.compile_module`. `measured`: False to compile it only."""

    shape: str
    options: dict[str, Any]
    measured: bool = True


PACKAGES = {
    "llama-3.2-1b": Package("llama-3.2-1b", {"max_sequences": 16, "max_length": 1024}),
    "llama-3.2-1b-long": Package("llama-3.2-1b", {"max_sequences": 1, "max_length": 9216}),
    "llama-3.1-8b": Package("llama-3.1-8b", {"max_sequences": 16, "max_length": 1024}),
    "qwen3-8b": Package("qwen3-8b", {"max_sequences": 16, "max_length": 1024}),
    "qwen3-0.6b": Package("qwen3-0.6b", {"max_sequences": 16, "max_length": 1024}),
    "qwen3-30b-a3b-16": Package("qwen3-30b-a3b-16", {"max_sequences": 16, "max_length": 1024}),
    "mixtral-8x7b-8": Package("mixtral-8x7b-8", {"max_sequences": 16, "max_length": 1024}),
    "llama-3.1-70b": Package("llama-3.1-70b", {"max_sequences": 16, "max_length": 1024}, measured=False),
}


@dataclass(frozen=True)
class Case:
    """`batch` sequences that each hold about `context` tokens. What must be reached on an H100, None for no target:
    `needed` in ms a step, `joules` a token, `prefill` in ms for 512 tokens. `whole`: also the start, a prefill and the
    energy are of interest.
    """

    label: str
    package: str
    batch: int = 1
    context: int = 512
    needed: float | None = None
    joules: float | None = None
    prefill: float | None = None
    whole: bool = False

    @property
    def shape(self) -> Shape:
        return SHAPES[PACKAGES[self.package].shape]

    @property
    def read_bytes(self) -> int:
        """What a step must read: the weights once, and every sequence's keys and values."""
        return round(self.shape.step_bytes(self.batch)) + self.batch * self.context * self.shape.kv_bytes


CASES = {
    "1b": Case("Llama-3.2-1B", "llama-3.2-1b", needed=0.87, joules=0.40, prefill=40, whole=True),
    "1b-ctx8192": Case("Llama-3.2-1B, context 8192", "llama-3.2-1b-long", context=8192, needed=1.0),
    "1b-batch8": Case("Llama-3.2-1B, batch 8", "llama-3.2-1b", batch=8, needed=1.03),
    "1b-batch16": Case("Llama-3.2-1B, batch 16", "llama-3.2-1b", batch=16, needed=1.15),
    "8b": Case("Llama-3.1-8B", "llama-3.1-8b", needed=5.2, joules=2.5, whole=True),
    "qwen3-8b": Case("Qwen3-8B", "qwen3-8b", needed=5.3, whole=True),
    "qwen3-0.6b": Case("Qwen3-0.6B", "qwen3-0.6b", needed=0.58, whole=True),
    "qwen3-30b-a3b-16": Case("Qwen3-30B-A3B, 16 layers", "qwen3-30b-a3b-16"),
    "qwen3-30b-a3b-16-batch8": Case("Qwen3-30B-A3B, 16 layers, batch 8", "qwen3-30b-a3b-16", batch=8),
    "mixtral-8x7b-8": Case("Mixtral-8x7B, 8 layers", "mixtral-8x7b-8"),
}
COMPILE_TARGETS = {"llama-3.1-8b": {"cold": 15.0, "warm": 1.0}}  # seconds
PROMPT = 512  # tokens of the prefill that is timed

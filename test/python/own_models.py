# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A small language model with code of its own: its attention and what it does to rows besides are functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from models import randomize
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

HEADS, SIZE = 4, 16
WIDTH = HEADS * SIZE
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
Rows = Callable[[Tensor], Tensor]


def causal(n: int) -> Tensor:
    """Whether a position sees another: [n, n]."""
    return torch.ones(n, n, dtype=torch.bool).tril()


def masked_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention as many write it: [batch, heads, n, size] each."""
    scores = q @ k.transpose(-2, -1) * SIZE**-0.5
    scores = scores.masked_fill(~causal(q.shape[2]), -torch.inf)
    return scores.softmax(-1) @ v


class OwnConfig(PreTrainedConfig):
    model_type = "own"

    def __init__(self, **fields: Any) -> None:
        fields = {"vocab_size": 160, "max_position_embeddings": 256, "hidden_size": WIDTH, **fields}
        super().__init__(**{"num_hidden_layers": 2, "num_attention_heads": HEADS, **fields})


class OwnLayer(nn.Module):
    def __init__(self, attend: Attend, rows: Rows) -> None:
        super().__init__()
        self.attend, self.rows = attend, rows
        self.norm, self.qkv = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH)
        self.out, self.up, self.down = (
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, 2 * WIDTH),
            nn.Linear(2 * WIDTH, WIDTH),
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (HEADS, SIZE)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1)
        )
        x = x + self.out(self.attend(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.rows(x))))


class OwnModel(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config: OwnConfig, attend: Attend, rows: Rows) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, WIDTH)
        self.places = nn.Embedding(config.max_position_embeddings, WIDTH)
        self.layers = nn.ModuleList(OwnLayer(attend, rows) for _ in range(config.num_hidden_layers))
        self.head = nn.Linear(WIDTH, config.vocab_size)
        self.post_init()

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> CausalLMOutput:
        x = self.embed(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return CausalLMOutput(logits=self.head(x))


def own_model(attend: Attend = masked_softmax, rows: Rows = lambda x: x, **config: Any) -> OwnModel:
    return randomize(OwnModel(OwnConfig(**config), attend, rows))

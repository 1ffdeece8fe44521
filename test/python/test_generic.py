# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Operators that no fused kind covers: models with odd feed-forward modules, against PyTorch in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mk
import numpy as np
import pytest
import torch
from mk.errors import CompileError
from models import tiny, tiny_llama
from test_models import CASES
from test_numerics import HISTORY, Ragged, reference, texts, totals
from torch.nn import functional as F

Function = Callable[[torch.Tensor], torch.Tensor]


class Odd(torch.nn.Module):
    """A module that is one function of rows [1, N, 64]."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def heads(x: torch.Tensor) -> torch.Tensor:
    return x.view(1, -1, 4, 16)


def rows(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(1, -1, 64)


def model_with(function: Function) -> Any:
    model = tiny_llama()
    for layer in model.model.layers:
        layer.mlp = Odd(function)
    return model


def compile_model(model: Any, **options: Any) -> mk.Program:
    return mk.compile_module(
        model, **{"dtype": "float32", "max_length": 128, "split": 64, "use_cache": False, **options}
    )


def logits_of(program: mk.Program, tokens: dict[int, list[int]]) -> dict[int, np.ndarray[Any, Any]]:
    with program.engine() as engine:
        ragged = Ragged(engine, tokens)
        ragged.run(HISTORY)
    return {slot: ragged.rows(slot) for slot in tokens}


def error_of(model: Any, logits: dict[int, np.ndarray[Any, Any]], tokens: dict[int, list[int]]) -> float:
    expected = {slot: reference(model, ids) for slot, ids in tokens.items()}
    return max(float(np.abs(logits[s] - expected[s]).max() / np.abs(expected[s]).max()) for s in tokens)


def topk_mask(x: torch.Tensor) -> torch.Tensor:
    values, places = x.topk(5, -1)
    return torch.zeros_like(x).scatter(-1, places, values.softmax(-1))


def grouped_choice(x: torch.Tensor) -> torch.Tensor:
    """The router of DeepSeek: the best groups by their two best, then the best of these."""
    scores = x.sigmoid()
    groups = heads(scores)
    best = groups.topk(2, -1)[0].sum(-1).topk(2, -1)[1]
    mask = torch.zeros_like(groups[..., 0]).scatter(-1, best, 1.0)
    allowed = rows(mask[..., None].expand(-1, -1, 4, 16))
    kept = scores.masked_fill(~allowed.bool(), 0.0)
    places = kept.topk(3, -1)[1]
    return torch.zeros_like(x).scatter(-1, places, scores.gather(-1, places))


FUNCTIONS: dict[str, Function] = {
    "activations": lambda x: F.mish(x) + F.softplus(x) + F.elu(x) + F.hardswish(x) + F.leaky_relu(x, 0.2),
    "roots and powers": lambda x: x.abs() ** 1.7 + x.abs().pow(x.sigmoid()) + (x.abs() + 1).rsqrt(),
    "logarithms": lambda x: torch.log1p(x.abs()) + torch.expm1(-x.abs()) + (x.abs() + 0.1).log(),
    "angles": lambda x: (9 * x).sin() + torch.cos(5 * x),
    "rounding": lambda x: (4 * x).round() + (3 * x).floor() + (2 * x).ceil() + x.trunc() + x.sign(),
    "comparisons": lambda x: torch.where((x > 0) & (x < 1) | (x == 0), x.exp(), -x.abs().sqrt()),
    "clamps": lambda x: x.clamp(-0.5, 0.7) + x.clamp(min=0.1) + torch.maximum(x, -x) + F.relu6(3 * x),
    "broadcast reductions": lambda x: x * x.mean(-1, keepdim=True) + x.amax(-1, keepdim=True),
    "softmax": lambda x: torch.softmax(3 * x, -1) * 8 + F.log_softmax(x, -1),
    "softmax over heads": lambda x: rows(torch.softmax(heads(x), -2)),
    "deviations": lambda x: (x - x.mean(-1, True)) / x.std(-1, keepdim=True) + x.norm(dim=-1, keepdim=True),
    "sum of exponentials": lambda x: x - x.logsumexp(-1, keepdim=True),
    "layer norm of heads": lambda x: (
        rows(F.layer_norm(heads(x), (16,))) + rows(F.rms_norm(heads(x), (4, 16)))
    ),
    "group norm": lambda x: F.group_norm(x[0], 4)[None],
    "transposed": lambda x: rows(heads(x).transpose(-1, -2)),
    "turned round": lambda x: x.flip(-1) + x.roll(3, -1),
    "repeated": lambda x: x[..., :16].repeat(1, 1, 4) + x[..., :16].repeat_interleave(4, -1),
    "expanded": lambda x: rows(heads(x)[..., :1].expand(-1, -1, 4, 16)) * x,
    "joined": lambda x: torch.cat([x[..., 32:] * 2, x[..., :20].sin(), x[..., 20:32]], -1),
    "stacked": lambda x: rows(torch.stack([x[..., ::2], x[..., 1::2].tanh()], -1)),
    "padded": lambda x: F.pad(x[..., 3:40], (10, 17), value=2.0),
    "products of heads": lambda x: 0.1 * rows(heads(x) @ (heads(x).transpose(-1, -2) @ heads(x))),
    "einsum": lambda x: 0.1 * rows(torch.einsum("bnij,bnkj,bni->bnkj", heads(x), heads(x), heads(x)[..., 0])),
    "chosen": topk_mask,
    "chosen by groups": grouped_choice,
    "sorted": lambda x: 0.05 * x.sort(-1)[0].cumsum(-1),
    "places": lambda x: F.one_hot(x.argmax(-1), 64) + rows(F.one_hot(heads(x).argmin(-1), 16).float()),
    "taken": lambda x: x[..., torch.tensor([5, 3, 3, -1])].repeat(1, 1, 16),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_odd_operators_match_pytorch(name: str) -> None:
    model = model_with(FUNCTIONS[name])
    program = compile_model(model)
    tokens = texts(160, totals(HISTORY))
    logits = logits_of(program, tokens)
    assert error_of(model, logits, tokens) < 2e-4
    model.model.layers[1].mlp = Odd(lambda x: FUNCTIONS[name](x) + 0.05 * x)  # which must be noticed
    assert error_of(model, logits, tokens) > 2e-4


class Weighted(torch.nn.Module):
    """Parameters of many shapes, used in ways that no linear layer has."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.7))
        self.mix = torch.nn.Parameter(torch.randn(4, 16, 16) / 4)
        self.gain = torch.nn.Parameter(torch.rand(1, 1, 4, 1) + 0.5)
        self.decay = torch.nn.Parameter(torch.randn(16))
        self.register_buffer("order", torch.randperm(64))
        self.register_buffer("mask", torch.rand(64) > 0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.einsum("bnhd,hde->bnhe", heads(x), self.mix) * self.gain
        y = y * torch.exp(-self.decay.exp()) + self.scale * heads(x)
        z = rows(y)[..., self.order]
        return torch.where(self.mask, z, -z) + F.linear(heads(x), self.mix[1]).flatten(2)


def test_parameters_of_any_shape() -> None:
    torch.manual_seed(1)
    model = tiny_llama()
    for layer in model.model.layers:
        layer.mlp = Weighted()
    program = compile_model(model)
    tokens = texts(160, totals(HISTORY))
    logits = logits_of(program, tokens)
    assert error_of(model, logits, tokens) < 2e-4
    with torch.no_grad():
        model.model.layers[1].mlp.mix[2, 3] += 0.5
    assert error_of(model, logits, tokens) > 2e-4


def test_bits_do_not_depend_on_the_batch_the_workers_or_the_chunks() -> None:
    model = model_with(lambda x: FUNCTIONS["softmax"](x) + FUNCTIONS["chosen"](x) + FUNCTIONS["stacked"](x))
    tokens = texts(160, {0: 24})[0]
    found = []
    for chunks, workers in (([24], 2), ([1] * 24, 1), ([7, 1, 16], 3)):
        program = compile_model(model, workers=workers)
        with program.engine() as engine:
            done, logits = 0, []
            for count in chunks:
                places = range(done, done + count)
                logits.append(engine.step(tokens[done : done + count], places, [0] * count))
                done += count
        found.append(np.concatenate(logits))
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def refused_with(function: Function, reason: str) -> None:
    with pytest.raises(CompileError, match=rf"layers\.0\.mlp.*{reason}"):
        compile_model(model_with(function))


def test_integers_that_float32_may_not_hold_are_refused() -> None:
    big = torch.arange(64) * 65536
    refused_with(lambda x: x * ((x > 0).long() * 2**24 + 1), "arithmetic of integers")
    refused_with(lambda x: x * (big.to(x.device) + 1), "arithmetic of integers")
    refused_with(lambda x: x + x.long(), "numbers that become integers")
    refused_with(lambda x: x * ((x > 0).long() ^ 3), "")


def test_booleans_are_no_places() -> None:
    everything = torch.ones(64, dtype=torch.bool)
    refused_with(lambda x: x[..., everything] * 2, "index.Tensor")


def test_a_sum_of_booleans_is_a_boolean() -> None:
    def both(x: torch.Tensor) -> torch.Tensor:
        return ((x > 0) + (x < 1)).float() + ((x > 0.5) * (x < 1)).long() + (x > 0).sum(-1, keepdim=True) / 64

    model = model_with(both)
    tokens = texts(160, totals(HISTORY))
    assert error_of(model, logits_of(compile_model(model), tokens), tokens) < 2e-4


MIXING: dict[str, Function] = {
    "a mean over tokens": lambda x: x - x.mean(1, keepdim=True),
    "a maximum over tokens": lambda x: x + x.amax(1, keepdim=True),
    "a softmax over tokens": lambda x: torch.softmax(x, 1),
    "a running sum over tokens": lambda x: x.cumsum(1),
    "tokens turned round": lambda x: x.flip(1),
    "the token before": lambda x: F.pad(x, (0, 0, 1, 0))[:, :-1],
    "tokens rolled": lambda x: x + x.roll(1, 1),
    "a convolution over tokens": lambda x: F.conv1d(
        x.transpose(1, 2), torch.ones(64, 1, 3), padding=1, groups=64
    ).transpose(1, 2),
    "scores of tokens": lambda x: torch.softmax(x @ x.transpose(1, 2), -1) @ x,
    "a norm over tokens": lambda x: F.group_norm(x.transpose(1, 2), 4).transpose(1, 2),
    "products over tokens": lambda x: x @ (x.transpose(1, 2) @ x),
    "the first token": lambda x: x + x[:, :1],
    "tokens sorted": lambda x: x.sort(1)[0],
    "the number of tokens": lambda x: x / x.shape[1],
    "an average of all": lambda x: x - x.mean(),
}


@pytest.mark.parametrize("name", MIXING)
def test_what_mixes_tokens_is_refused(name: str) -> None:
    with pytest.raises((CompileError, mk.ImportModelError), match=r"layers\.0\.mlp"):
        compile_model(model_with(MIXING[name]))


@pytest.mark.parametrize("name", CASES)
def test_supported_architectures_need_no_generic(name: str) -> None:
    architecture, config, _ = CASES[name]
    names = [op.name for op in mk.lower_module(tiny(architecture, **config), to="fused").walk()]
    assert "mk.generic" not in names and "mk.linear" in names

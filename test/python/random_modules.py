# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small modules out of random pieces: such that mk knows, such that it may know, and such that let rows meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 16  # columns between two pieces
Piece = Callable[[], nn.Module]
PIECES: dict[str, Piece] = {}


class Apply(nn.Module):
    """A function of x and the parameters of this piece."""

    def __init__(self, function: Callable[..., Tensor], **shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.values = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(shape)) for name, shape in shapes.items()}
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self.values)


class Attention(nn.Module):
    def __init__(self, heads: int, kv_heads: int, **how: Any) -> None:
        super().__init__()
        self.heads, self.size, self.how = heads, WIDTH // heads, how
        self.qkv = nn.Linear(WIDTH, WIDTH + 2 * kv_heads * self.size)
        self.widths = [WIDTH, kv_heads * self.size, kv_heads * self.size]
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).split(self.widths, -1)
        q, k, v = (p.unflatten(-1, (-1, self.size)).transpose(-3, -2) for p in parts)
        seen = F.scaled_dot_product_attention(q, k, v, **self.how)
        result: Tensor = self.out(seen.transpose(-3, -2).flatten(-2))
        return result


class Values(nn.Module):
    """Attention of two heads of 8 columns, whose values have others."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(WIDTH, 2 * columns) for columns in (8, 8, size))
        self.out = nn.Linear(2 * size, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(-1, (2, -1)).transpose(-3, -2) for part in self.parts)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        result: Tensor = self.out(seen.transpose(-3, -2).flatten(-2))
        return result


class Wrapped(nn.Module):
    def __init__(self, inner: nn.Module, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.function = inner, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.inner, x)


def _add(name: str, function: Callable[..., Tensor], **shapes: tuple[int, ...]) -> None:
    PIECES[name] = lambda: Apply(function, **shapes)


def _norm_with_mean(x: Tensor, w: Tensor) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    return centered * torch.rsqrt(centered.pow(2).mean(-1, keepdim=True) + 1e-5) * w


def _rotated(x: Tensor) -> Tensor:
    """Rotary positions, with frequencies that the code makes of numbers."""
    angles = torch.arange(x.shape[-2])[:, None] * 100 ** (-torch.arange(0, D // 2) / (D // 2))
    first, second = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)


def _own_attention(x: Tensor) -> Tensor:
    return torch.softmax(x @ x.transpose(-2, -1) / WIDTH**0.5, -1) @ x


def _branch(taken: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    result: Tensor = torch.cond(x.abs().amax() > 1.3137, taken, lambda x: torch.tanh(x) * 2, (x,))
    return result


def _heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (4, WIDTH // 4))


D = WIDTH
# What keeps rows apart: mk may take it or not, but must not be wrong.
PIECES |= {
    "linear": lambda: nn.Linear(D, D),
    "linear without bias": lambda: nn.Linear(D, D, bias=False),
    "two linears": lambda: nn.Sequential(nn.Linear(D, 40), nn.GELU(), nn.Linear(40, D)),
    "rms norm": lambda: nn.RMSNorm(D),
    "layer norm": lambda: nn.LayerNorm(D),
    "layer norm without gain": lambda: nn.LayerNorm(D, elementwise_affine=False),
    "dropout": lambda: nn.Dropout(0.3),
    "attention": lambda: Attention(4, 4, is_causal=True),
    "grouped attention": lambda: Attention(4, 2, is_causal=True, enable_gqa=True, scale=0.3),
    "whole attention": lambda: Attention(2, 2),
    "encoder layer": lambda: nn.TransformerEncoderLayer(D, 2, 24, batch_first=True),
    "residual": lambda: Wrapped(nn.Linear(D, D), lambda m, x: x + m(x)),
    "identity": nn.Identity,
    "batch norm": lambda: Wrapped(nn.BatchNorm1d(D), lambda m, x: m(x.transpose(-2, -1)).transpose(-2, -1)),
    "convolution": lambda: Wrapped(
        nn.Conv1d(D, D, 3, padding=1), lambda m, x: m(x.transpose(-2, -1)).transpose(-2, -1)
    ),
    "pointwise convolution": lambda: Wrapped(
        nn.Conv1d(D, D, 1), lambda m, x: m(x.transpose(-2, -1)).transpose(-2, -1)
    ),
    "recurrence": lambda: Wrapped(nn.GRU(D, D, batch_first=True), lambda m, x: m(x)[0]),
    "group norm": lambda: Wrapped(nn.GroupNorm(2, D), lambda m, x: m(x.transpose(-2, -1)).transpose(-2, -1)),
    "positions": lambda: Wrapped(nn.Embedding(64, D), lambda m, x: x + m(torch.arange(x.shape[-2]))),
    "positions from a table": lambda: Apply(lambda x, t: x + t[: x.shape[-2]], t=(64, D)),
    "gated linear": lambda: nn.Sequential(nn.Linear(D, 2 * D), nn.GLU()),
    "one slope": nn.PReLU,
    "rotations": lambda: Apply(_rotated),
    "narrow values": lambda: Values(4),
    "wide values": lambda: Values(24),
    "late positions": lambda: Wrapped(
        nn.Embedding(64, D), lambda m, x: x + m(torch.arange(3, x.shape[-2] + 3))
    ),
}
# What decides for the whole call by its data.
PIECES |= {
    "branch around a linear": lambda: Wrapped(
        nn.Linear(D, D),
        lambda m, x: torch.cond(x.mean(-1).amax() > 0.1234, m, lambda x: x.clone(), (x,)),
    ),
    "branch around attention": lambda: Wrapped(
        Attention(2, 2), lambda m, x: torch.cond(x.amin() < -0.7719, m, lambda x: -x, (x,))
    ),
    "branch of a branch": lambda: Wrapped(nn.Linear(D, D), lambda m, x: _branch(lambda x: _branch(m, x), x)),
    "branch by one row": lambda: Wrapped(
        nn.Linear(D, D), lambda m, x: torch.cond(x[..., 0, 0].sum() > 0.1, m, lambda x: x.clone(), (x,))
    ),
    "branch by a running sum": lambda: Wrapped(
        nn.Linear(D, D), lambda m, x: torch.cond(x.cumsum(-2).amax() > 0.1, m, lambda x: x.clone(), (x,))
    ),
    "branch that mixes rows": lambda: Wrapped(
        nn.Linear(D, D), lambda m, x: torch.cond(x.amax() > 0.1, m, lambda x: x.cumsum(-2), (x,))
    ),
}
for _name, _function in {
    "silu": F.silu,
    "gelu": F.gelu,
    "tanh gelu": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "exp": lambda x: torch.exp(-x * x),
    "square": lambda x: x * x,
    "cube": lambda x: 0.1 * x**3,
    "scale and shift": lambda x: 0.5 * x - 0.25,
    "one minus": lambda x: 1 - x,
    "gate": lambda x: F.silu(x) * x,
    "divide": lambda x: x / (x * x + 1),
    "abs": torch.abs,
    "root": lambda x: torch.sqrt(x * x + 1),
    "sine": torch.sin,
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "softplus": F.softplus,
    "log sigmoid": F.logsigmoid,
    "cosines": lambda x: F.normalize(x, dim=-1) @ torch.eye(D),
    "leaky relu": F.leaky_relu,
    "hard swish": F.hardswish,
    "where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "maximum": lambda x: torch.maximum(x, 0.5 * x),
    "round": torch.round,
    "sign": torch.sign,
    "softmax": lambda x: x.softmax(-1),
    "log softmax": lambda x: x.log_softmax(-1),
    "sum of columns": lambda x: x / (1 + x.abs().sum(-1, keepdim=True)),
    "mean of columns": lambda x: x - x.mean(-1, keepdim=True),
    "largest column": lambda x: x - x.amax(-1, keepdim=True),
    "variance": lambda x: x / (1 + x.var(-1, keepdim=True)),
    "norm of columns": lambda x: F.normalize(x, dim=-1),
    "running sum of columns": lambda x: x.cumsum(-1),
    "columns reversed": lambda x: x.flip(-1),
    "columns rolled": lambda x: x.roll(1, -1),
    "columns sorted": lambda x: x.sort(-1).values,
    "halves swapped": lambda x: torch.cat([x[..., D // 2 :], x[..., : D // 2]], -1),
    "halves multiplied": lambda x: torch.cat([x[..., : D // 2] * x[..., D // 2 :], x[..., : D // 2]], -1),
    "columns spread": lambda x: x[..., : D // 2].repeat_interleave(2, -1),
    "even columns": lambda x: torch.stack([x[..., ::2], x[..., 1::2]], -1).flatten(-2),
    "heads transposed": lambda x: _heads(x).transpose(-2, -1).flatten(-2),
    "softmax of heads": lambda x: _heads(x).softmax(-1).flatten(-2),
    "sum over heads": lambda x: (_heads(x) - _heads(x).mean(-2, keepdim=True)).flatten(-2),
    "product of heads": lambda x: (_heads(x) @ _heads(x).transpose(-2, -1) @ _heads(x)).flatten(-2) * 0.1,
    "topk": lambda x: x * (x >= x.topk(4, -1).values[..., -1:]),
    "cast": lambda x: x.double().float(),
    "to half": lambda x: x.half().float(),
    "batch dims swapped and back": lambda x: torch.tanh(x.transpose(0, 1)).transpose(0, 1),
    "flattened": lambda x: torch.tanh(x.reshape(-1, D)).view(x.shape),
    # What lets rows meet.
    "mean over length": lambda x: x - x.mean(-2, keepdim=True),
    "mean over batch": lambda x: x - x.mean(0, keepdim=True),
    "mean of all": lambda x: x - x.mean(),
    "largest of length": lambda x: x - x.amax(-2, keepdim=True),
    "running sum": lambda x: x.cumsum(-2),
    "softmax over length": lambda x: x.softmax(-2),
    "softmax over batch": lambda x: x.softmax(0),
    "length reversed": lambda x: x.flip(-2),
    "length rolled": lambda x: x.roll(1, -2),
    "length sorted": lambda x: x.sort(-2).values,
    "first row": lambda x: x + x[..., :1, :],
    "last row": lambda x: x + x[..., -1:, :],
    "first entry": lambda x: x + x[:1],
    "shifted": lambda x: torch.cat([x[..., 1:, :], x[..., :1, :]], -2),
    "padded": lambda x: F.pad(x, (0, 0, 1, 0))[..., :-1, :],
    "swapped by a view": lambda x: x.transpose(-3, -2).reshape(x.shape),
    "swapped columns by a view": lambda x: x.transpose(-2, -1).reshape(x.shape),
    "swapped all by a view": lambda x: x.permute(2, 1, 0).reshape(x.shape),
    "own attention": _own_attention,
    "differences": lambda x: (x.unsqueeze(-3) - x.unsqueeze(-2)).sum(-2),
    "gathered": lambda x: x.gather(-2, torch.zeros_like(x, dtype=torch.int64)),
    "index of rows": lambda x: x[..., torch.arange(x.shape[-2]).flip(0), :],
    "divided by the length": lambda x: x / x.shape[-2],
    "times the batch": lambda x: x * x.shape[0],
    "times the position": lambda x: x * torch.arange(x.shape[-2])[:, None],
    "times the entry": lambda x: x * torch.arange(x.shape[0]).view(-1, *[1] * (x.ndim - 1)),
    "a column by the length": lambda x: x * x[..., x.shape[-2] % 4 :][..., :1],
    "filled with the length": lambda x: x + torch.full((1,), x.shape[-2]),
    "rolled by the length": lambda x: x.roll(x.shape[-2], -1),
    "branch on the length": lambda x: x * 2 if x.shape[-2] > 4 else x,
    "branch on one row": lambda x: x * 2 if x.shape[-2] == 1 else x,
    "branch on the batch": lambda x: x * 2 if x.shape[0] == 2 else x,
    "attention over batch": lambda x: F.scaled_dot_product_attention(*[x.transpose(0, 1)[:, None]] * 3)[
        :, 0
    ].transpose(0, 1),
    "masked attention": lambda x: F.scaled_dot_product_attention(
        *[x[:, None]] * 3, attn_mask=torch.ones(x.shape[-2], x.shape[-2]).tril().bool()
    )[:, 0],
    "distances": lambda x: torch.cdist(x, x) @ x * 0.1,
    "of one row squeezed": lambda x: torch.tanh(x.squeeze(-2)) + x,
}.items():
    _add(_name, _function)
_add("vector", lambda x, w: x * w, w=(D,))
_add("bias", lambda x, w: x + w, w=(D,))
_add("vector first", lambda x, w: w - x, w=(D,))
_add("norm written out", lambda x, w: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * w, w=(D,))
_add("layer norm written out", _norm_with_mean, w=(D,))
_add("matrix", lambda x, w: x @ w, w=(D, D))
_add("einsum", lambda x, w: torch.einsum("...d,ed->...e", x, w), w=(D, D))
_add("matrix of heads", lambda x, w: (_heads(x) @ w).flatten(-2), w=(4, 4))
_add("gain of heads", lambda x, w: (_heads(x) * w[:, None]).flatten(-2), w=(4,))
_add("one number", lambda x, w: x * w, w=(1,))


class Steps(nn.Module):
    """The pieces, one after the other; the path of piece i is `steps.i`."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(PIECES[name]() for name in names)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x

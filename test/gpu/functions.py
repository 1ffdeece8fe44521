# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Modules of a user's own for a GPU: their programs, and what PyTorch in float32 and in bfloat16 answers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import mk
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.export import Dim

from gpu.cases import Array, made_up

TARGET = "sm_90a"


class Pair(nn.Module):
    """Two inputs, two results in a dict, one of them read on; 96 columns behind a product."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(64, 96), nn.Linear(96, 10)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        h = self.up(x) + torch.tanh(y)
        return {"hidden": h, "out": self.down(F.gelu(h))}


class Gated(nn.Module):
    """A gated block with a norm and a residual."""

    def __init__(self, columns: int, inner: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(columns, eps=1e-5)
        self.gate, self.up = nn.Linear(columns, inner), nn.Linear(columns, inner)
        self.down = nn.Linear(inner, columns)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(x)
        result: torch.Tensor = x + self.down(F.silu(self.gate(h)) * self.up(h))
        return result


class Odd(nn.Module):
    """Loop nests: a softmax over some of the columns, a transpose within a row, a product of two activations."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        heads = torch.softmax(x.unflatten(-1, (4, 6)), -1)
        return heads.transpose(-1, -2).flatten(-2), heads @ x.unflatten(-1, (6, 4))


class Vision(nn.Module):
    """Blocks of a vision transformer: every patch sees all patches of its image."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(192, 128)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "first": nn.LayerNorm(128),
                    "qkv": nn.Linear(128, 384),
                    "out": nn.Linear(128, 128),
                    "second": nn.LayerNorm(128),
                    "mlp": nn.Sequential(nn.Linear(128, 256), nn.GELU(), nn.Linear(256, 128)),
                }
            )
            for _ in range(layers)
        )

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        x = self.embed(patches)
        for layer in self.layers:
            parts = layer["qkv"](layer["first"](x)).chunk(3, -1)  # type: ignore[index]
            q, k, v = (part.unflatten(-1, (2, 64)).transpose(1, 2) for part in parts)
            x = x + layer["out"](F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))  # type: ignore[index]
            x = x + layer["mlp"](layer["second"](x))  # type: ignore[index]
        result: torch.Tensor = x
        return result


class Decoder(nn.Module):
    """An own transformer: tokens and learned positions, grouped heads; every row sees all, or those before."""

    def __init__(self, causal: bool, layers: int = 2, longest: int = 150) -> None:
        super().__init__()
        self.causal = causal
        self.tokens, self.positions = nn.Embedding(50, 64), nn.Embedding(longest, 64)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"norm": nn.LayerNorm(64), "qkv": nn.Linear(64, 128), "out": nn.Linear(64, 64)})
            for _ in range(layers)
        )
        self.head = nn.Linear(64, 50, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        batch, length = ids.shape
        x = self.tokens(ids) + self.positions(torch.arange(length, device=ids.device))
        for layer in self.layers:
            q, k, v = layer["qkv"](layer["norm"](x)).split([64, 32, 32], -1)  # type: ignore[index]
            heads = [t.view(batch, length, -1, 32).transpose(1, 2) for t in (q, k, v)]
            seen = F.scaled_dot_product_attention(*heads, is_causal=self.causal, enable_gqa=True)
            x = x + layer["out"](seen.transpose(1, 2).reshape(batch, length, 64))  # type: ignore[index]
        result: torch.Tensor = self.head(x)
        return result


class Exits(nn.Module):
    """Leaves early, or goes on through one of two ways; calls are far from where the side changes."""

    def __init__(self, columns: int, inner: int) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(columns, columns), nn.Linear(columns, 10)
        self.thin, self.wide = Gated(columns, 64), nn.ModuleList(Gated(columns, inner) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.gelu(self.first(x))
        early = self.head(h)
        result: torch.Tensor = torch.cond(
            x.mean() > 0,
            lambda x, h, early: early.clone(),
            lambda x, h, early: self.go_on(x, h),
            (x, h, early),
        )
        return result

    def go_on(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        h = torch.cond(
            x.abs().mean() > 1.5, lambda h: self.wide[1](self.wide[0](h)), lambda h: self.thin(h), (h,)
        )
        result: torch.Tensor = self.head(h)
        return result


class Attends(nn.Module):
    """Layers with attention, of which the second runs for some calls only, and another in its place for others."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(128, 4, 192, batch_first=True) for _ in range(2)
        )
        self.other = nn.Linear(128, 128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.layers[0](x)
        result: torch.Tensor = torch.cond(
            x.mean() > 0, lambda h: self.layers[1](h), lambda h: h + self.other(h), (h,)
        )
        return result


def _encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(128, 4, 192, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


@dataclass(frozen=True)
class Case:
    """`make`s a module; `columns` of each input, None: token ids; `shapes` of the rows of each call. `together`: its
    data decides for all rows of a call."""

    make: Callable[[], nn.Module]
    columns: Sequence[int | None]
    shapes: Sequence[tuple[int, ...]]
    together: bool = False


_ENTRIES = ((2, 5), (1, 1), (7, 6), (1, 130), (5, 33), (1, 16))
CASES = {
    "mlp": Case(lambda: Gated(256, 704), [256], [(1,), (8,), (9,), (16,), (17,), (1000,)]),
    "wide-mlp": Case(lambda: Gated(2304, 4608), [2304], [(4,), (40,)]),
    "two-inputs": Case(Pair, [64, 96], [(2, 3), (5, 7)]),
    "generated": Case(Odd, [24], [(1,), (37,)]),
    "causal": Case(lambda: Decoder(True), [None], _ENTRIES),
    "whole": Case(lambda: Decoder(False), [None], _ENTRIES),
    "vision": Case(lambda: Vision(2), [192], [(1, 64), (3, 49)]),
    "encoder": Case(_encoder, [128], _ENTRIES),
    "exits": Case(lambda: Exits(256, 704), [256], [(n,) for n in (1, 16, 3, 8, 9, 16, 2, 7)], together=True),
    "exits-wide": Case(lambda: Exits(2048, 5632), [2048], [(n,) for n in (1, 1, 2, 16)], together=True),
    "attends": Case(Attends, [128], [(2, 6), (1, 16), (5, 3), (1, 1), (8, 2), (2, 8)], together=True),
}


def prepare(name: str, to: Path) -> None:
    """The program of a case, and its answers: model.mkp and reference.npz."""
    to.mkdir(parents=True)
    case = CASES[name]
    module = case.make().eval()
    shapes = {key: tuple(value.shape) for key, value in module.named_parameters()}
    weights = made_up(shapes, seed=0)
    with torch.no_grad():
        for key, value in module.named_parameters():
            value.copy_(torch.from_numpy(weights[key]))
    rank = len(case.shapes[0])
    dims = {0: Dim("batch"), 1: Dim("length", max=150)} if rank > 1 else {0: Dim("batch")}
    example = inputs_of(case, (2, 3)[:rank] if rank > 1 else (2,))
    spec = tuple(dict(dims) for _ in example)
    f = mk.compile_module(module, inputs=example, dynamic=spec, target=TARGET, use_cache=False)
    f.save(to / "model.mkp")
    arrays: dict[str, Array] = {}
    half = copy.deepcopy(module).bfloat16()
    for number, shape in enumerate(case.shapes):
        given = inputs_of(case, shape, seed=number + 1)
        with torch.no_grad(), mock.patch.object(torch, "cond", _directly):
            exact = flat(module(*given))
            near = flat(half(*[x.bfloat16() if x.is_floating_point() else x for x in given]))
        for i, x in enumerate(given):
            arrays[f"{number}/input/{i}"] = x.numpy()
        for i, (a, b) in enumerate(zip(exact, near, strict=True)):
            arrays[f"{number}/exact/{i}"] = a.numpy()
            error = (b.float() - a).abs()
            arrays[f"{number}/error/{i}"] = np.array([error.mean(), error.max()], np.float32)
    about = json.dumps(
        {"calls": len(case.shapes), "inputs": len(case.columns), "shapes": shapes, "together": case.together}
    )
    np.savez_compressed(to / "reference.npz", about=about, **arrays)


def inputs_of(case: Case, shape: tuple[int, ...], seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random ones; where they decide, of all sides in turn, every row alike."""
    random = torch.Generator().manual_seed(seed)
    shift, scale = ((0.5, 1), (-0.5, 3), (0.5, 3), (-0.5, 1))[seed % 4] if case.together else (0, 1)
    return tuple(
        torch.randint(0, 50, shape, generator=random)
        if columns is None
        else (torch.randn(*shape, columns, generator=random) + shift) * scale
        for columns in case.columns
    )


def _directly(predicate: torch.Tensor, taken: Any, other: Any, operands: Any = ()) -> Any:
    """torch.cond, which would compile both branches."""
    return taken(*operands) if predicate else other(*operands)


def flat(value: Any) -> list[Any]:
    """The results of a module in their order."""
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, tuple) else [value]

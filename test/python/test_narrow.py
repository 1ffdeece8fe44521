# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Modules of bfloat16 and float16 decide by their own numbers: thresholds, cuts and counts are PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mk
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_control import ROWS, eager
from test_gpu_function import on_gpu
from torch import Tensor, nn

NARROW = [torch.bfloat16, torch.float16]
Body = Callable[[Any, Tensor], Tensor]


class Narrow(nn.Module):
    """One function of x, with 0.3 in several forms."""

    def __init__(self, dtype: torch.dtype, body: Body) -> None:
        super().__init__()
        self.body = body
        self.linear = nn.Linear(16, 16).to(dtype)
        self.register_buffer("wide", torch.tensor(0.3))
        self.register_buffer("column", torch.full((1,), 0.3))
        self.register_buffer("narrow", torch.tensor(0.3, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


def around(dtype: torch.dtype) -> Tensor:
    """0.3 as the type has it, its neighbours, and others."""
    third = torch.tensor(0.3, dtype=dtype)
    limits = (torch.nextafter(third, torch.tensor(to, dtype=dtype)) for to in (1.0, 0.0))
    return torch.stack([third, *limits, -third, third * 10] * 3 + [third * 0]).repeat(3, 1)


def results(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    with mk.compile_module(module, inputs=(x,), dynamic=ROWS, use_cache=False, workers=2) as f:
        return f(x), eager(module, x)


COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def _cond(predicate: Tensor, x: Tensor) -> Tensor:
    result: Tensor = torch.cond(predicate, lambda x: x * 2, lambda x: -x, (x,))
    return result


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("sign", COMPARISONS)
def test_thresholds_of_elements(sign: str, dtype: torch.dtype) -> None:
    """In one module: with a number, on either side, with buffers of one number, and of numbers made on the way."""
    compare = COMPARISONS[sign]

    def body(m: Any, x: Tensor) -> Tensor:
        pairs = (
            (x, 0.3),
            (0.3, x),
            (x, m.wide),
            (x, m.column),
            (x, m.narrow),
            (x.float(), 0.3),
            ((x * 1.1 + 0.07) * 0.7, x / 1.3 + 0.01),
            (x * 3 + 0.01 - 3 * x, 0.01),
            (x * 1.1, 0.3),
        )
        return torch.cat([torch.where(compare(a, b), x * 2, -x) for a, b in pairs], -1)

    assert torch.equal(*results(Narrow(dtype, body), around(dtype)))


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("sign", COMPARISONS)
def test_thresholds_of_predicates(sign: str, dtype: torch.dtype) -> None:
    """A largest and a mean that are 0.3 as the type has it; beside a float32 of one number, a mean is one, too."""
    compare = COMPARISONS[sign]

    def body(m: Any, x: Tensor) -> Tensor:
        mean = (x * 0 + m.narrow).mean()
        predicates = (
            compare(x.abs().amin(-1).max(), 0.3),
            compare(mean, 0.3),
            compare(mean, m.wide),
            compare(mean, m.column).all(),
        )
        return torch.cat([_cond(predicate, x) for predicate in predicates], -1)

    x = around(dtype)[:, [0, 1, 3, 0] * 4]
    assert torch.equal(*results(Narrow(dtype, body), x))


DECISIONS: dict[str, Body] = {
    "masked_fill": lambda m, x: x.masked_fill(x >= 0.3, 0.7),
    "clamp": lambda m, x: x.clamp(-0.3, 0.3),
    "clamp at": lambda m, x: torch.where(x.clamp(max=0.3) == 0.3, x, -x),
    "floor": lambda m, x: torch.floor(x * 10) + 0.5,
    "floor of a sum": lambda m, x: torch.floor((x + 0.1) * 10) + 0.5,
    "trunc": lambda m, x: torch.trunc(x / 0.1) + 0.5,
    "round": lambda m, x: torch.round(x / 0.2) + 0.5,
    "sign": lambda m, x: torch.sign(x - 0.3) + 0.5,
    "hardshrink": lambda m, x: F.hardshrink(x, 0.3) + 0.5,
    "threshold": lambda m, x: F.threshold(x, 0.3, 7.0),
    "a number that is used, too": lambda m, x: (lambda h: torch.where(h > 0.3, h, -h))(x * 1.1),
    "a choice between": lambda m, x: torch.where(
        torch.where(x * 1.1 > 0.2, x * 1.1, 0.7) * 1.3 > 0.43, x, -x
    ),
    "the count": lambda m, x: x + (x * 1.1 > 0.33).sum(-1, keepdim=True),
}


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("name", DECISIONS)
def test_decisions(name: str, dtype: torch.dtype) -> None:
    assert torch.equal(*results(Narrow(dtype, DECISIONS[name]), around(dtype)))


def test_the_comparison_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 most of the results above are others."""
    monkeypatch.setattr("mk.importer.narrow._Decisions", lambda graph: None)
    wrong = []
    for name, body in DECISIONS.items():
        found, wanted = results(Narrow(torch.bfloat16, body), around(torch.bfloat16))
        if not torch.allclose(found.float(), wanted.float(), rtol=0.02):
            wrong.append(name)
    assert set(wrong) >= {"floor", "hardshrink", "the count"}, wrong


class Products(nn.Module):
    """Which of x * factor are r."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor, r: Tensor) -> Tensor:
        return torch.where(x * self.factor == r, 1.0, 0.0).to(x.dtype)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("factor", [1.37, 1 + 2.0**-8, 1 + 2.0**-11, 2.0**-20, 300.0])
def test_every_number_is_rounded_as_pytorch_does(factor: float, dtype: torch.dtype) -> None:
    """All numbers that the type has: ties, what becomes denormal or infinite, and what is no number."""
    x = torch.from_numpy(np.arange(1 << 16, dtype=np.uint16).view(np.int16)).view(dtype).reshape(-1, 512)
    module = Products(factor)
    size = {0: torch.export.Dim("rows")}
    with mk.compile_module(module, inputs=(x, x), dynamic={"x": size, "r": size}, use_cache=False) as f:
        exact = x * factor
        numbers = ~exact.isnan()
        if dtype is torch.bfloat16:  # denormal numbers of float32 may be flushed
            numbers &= (exact.abs() >= 2.0**-126) | (exact == 0)
        assert f(x, exact)[numbers].all() and numbers.float().mean() > 0.9
        assert not f(x, exact)[exact.isnan()].any()
        beside = torch.nextafter(exact, torch.tensor(torch.inf, dtype=dtype))
        assert not f(x, beside)[numbers & (exact != torch.inf)].any()


def test_what_decides_nothing_is_the_same_program_as_in_float32() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.linear = nn.LayerNorm(64), nn.Linear(64, 64)

        def forward(self, x: Tensor) -> Tensor:
            return x + F.gelu(self.linear(self.norm(x))).clamp(max=2.0)

    def text(dtype: torch.dtype) -> str:
        module, x = Plain().to(dtype), torch.zeros(2, 64, dtype=dtype)
        return str(mk.lower_module(module, to="mk", inputs=(x,), dtype="bfloat16"))

    assert text(torch.bfloat16) == text(torch.float32)
    assert "bitcast" not in text(torch.float32)


def test_a_module_of_another_type_is_refused_where_it_rounds() -> None:
    """Of float16 in a module of bfloat16, and of bfloat16 in one of float32, nothing is known to be lost."""
    module = Narrow(torch.bfloat16, lambda m, x: m.linear(x.half().bfloat16()))
    with pytest.raises(mk.CompileError, match=r"rounds to float16; mk computes in float32"):
        mk.compile_module(module, inputs=(around(torch.bfloat16),), use_cache=False)


class Cuts(nn.Module):
    """Decisions whose columns a GPU can have."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x * 1.1 > 0.33, F.hardshrink(x, 0.3), torch.floor(x * 10) + 0.5)


@pytest.mark.parametrize("dtype", NARROW)
def test_a_gpu_decides_the_same(dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = around(dtype).repeat(1, 4)
    with on_gpu(Cuts(), (x,), ROWS, tmp_path) as (f, _):
        assert torch.equal(f(x), Cuts()(x))
    monkeypatch.setattr("mk.importer.narrow._Decisions", lambda graph: None)  # the control: in float32
    (other := tmp_path / "other").mkdir()
    with on_gpu(Cuts(), (x,), ROWS, other) as (f, _):
        assert not torch.equal(f(x), Cuts()(x))

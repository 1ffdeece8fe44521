# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Operators of torch.library with a meaning in PyTorch, and the tutorial about them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import mk
import numpy as np
import pytest
import torch
from descriptions import ROOT, blocks
from mk.errors import CompileError, ImportModelError
from mk.operators import MEANINGS
from models import randomize, tiny_llama
from torch import nn


@torch.library.custom_op("mktest::swish", mutates_args=())
def swish(x: torch.Tensor, beta: float) -> torch.Tensor:
    return x * torch.sigmoid(beta * x)


@swish.register_fake
def _(x: Any, beta: float) -> Any:
    return torch.empty_like(x)


@torch.library.custom_op("mktest::halves", mutates_args=())
def halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x[..., : x.shape[-1] // 2].clone(), x[..., x.shape[-1] // 2 :].clone()


@halves.register_fake
def _(x: Any) -> Any:
    half = x.new_empty(*x.shape[:-1], x.shape[-1] // 2)
    return half, torch.empty_like(half)


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 48), nn.Linear(24, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = torch.ops.mktest.halves(self.up(x))
        result: torch.Tensor = self.down(torch.ops.mktest.swish(gate, 1.5) * up)
        return result


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Inner() for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


X = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _no_meanings() -> Iterator[None]:
    before = dict(MEANINGS)
    MEANINGS.clear()
    yield
    MEANINGS.clear()
    MEANINGS.update(before)


def register_halves() -> None:
    @mk.operator("mktest::halves")
    def halves(x: torch.Tensor) -> Any:
        return x.chunk(2, -1)


def compiled(module: nn.Module) -> mk.Function:
    f = mk.compile_module(module, inputs=(X,), use_cache=False)
    assert isinstance(f, mk.Function)
    return f


def test_an_operator_without_a_meaning_is_refused_with_the_lines_that_give_it_one() -> None:
    register_halves()
    with pytest.raises(
        ImportModelError, match=r"^blocks\.0: the custom operator mktest::swish has no mean"
    ) as error:
        compiled(randomize(Outer()))
    assert "\n" not in str(error.value)
    (lines,) = error.value.__notes__
    source = lines.replace("return ...", "import torch; return x * torch.sigmoid(beta * x)")
    exec(source, {})  # the lines are ready to paste
    module = randomize(Outer())
    with compiled(module) as f, torch.no_grad():
        assert float((f(X) - module(X)).abs().max() / module(X).abs().max()) < 1e-5


def test_the_meaning_counts_not_the_kernel() -> None:
    register_halves()

    @mk.operator("mktest::swish.default")
    def another(x: torch.Tensor, beta: float) -> torch.Tensor:
        return x * torch.sigmoid(2 * beta * x)

    module = randomize(Outer())
    with compiled(module) as f, torch.no_grad():
        assert float((f(X) - module(X)).abs().max() / module(X).abs().max()) > 1e-3


def test_a_language_model_may_call_it() -> None:
    model, plain = tiny_llama(), tiny_llama()
    for layer in model.model.layers:
        layer.mlp.act_fn = type(
            "Swish", (nn.Module,), {"forward": lambda s, x: torch.ops.mktest.swish(x, 1.0)}
        )()
    options = {"dtype": "float32", "max_length": 64, "use_cache": False}
    with pytest.raises(
        ImportModelError, match=r"model\.layers\.0\.mlp\.act_fn: the custom operator mktest::swish"
    ):
        mk.compile_module(model, **options)
    mk.operator("mktest::swish")(lambda x, beta: x * torch.sigmoid(beta * x))
    results = []
    for one in (model, plain):
        with mk.compile_module(one, **options).engine() as engine:
            results.append(engine.step([3, 4, 5], [0, 1, 2], [0, 0, 0]))
    assert np.abs(results[0] - results[1]).max() < 1e-5 * np.abs(results[1]).max()


def test_meanings_may_use_operators_with_meanings() -> None:
    def parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = x.chunk(2, -1)
        return 2 * torch.ops.mktest.swish(first, 0.0), second  # twice the half of it

    mk.operator("mktest::halves")(parts)
    mk.operator("mktest::swish")(lambda x, beta: x * torch.sigmoid(beta * x))
    module = randomize(Outer())
    with compiled(module) as f, torch.no_grad():
        assert float((f(X) - module(X)).abs().max() / module(X).abs().max()) < 1e-5
    MEANINGS.clear()
    mk.operator("mktest::halves")(parts)
    mk.operator("mktest::swish")(lambda x, beta: torch.ops.mktest.swish(x, beta) * 1)
    with pytest.raises(ImportModelError, match=r"the meaning of mktest::.*swish leads back to itself"):
        compiled(randomize(Outer()))


WRONG = {
    "another shape": (
        lambda x, beta: x[..., :4],
        r"blocks\.0: the meaning of mktest::swish returns .*\[.*, 4\]",
    ),
    "another type": (lambda x, beta: x.double(), "returns .*float64, the operator .*float32"),
    "nothing": (lambda x, beta: None, r"blocks\.0: the meaning of mktest::swish returns NoneType"),
    "an error": (
        lambda x, beta: x @ x,
        r"blocks\.0: the meaning of mktest::swish cannot be applied: RuntimeError",
    ),
    "other arguments": (lambda x: x, r"blocks\.0: the meaning of mktest::swish cannot be applied: TypeError"),
    "rows that meet": (
        lambda x, beta: x - x.cumsum(1),
        r"blocks\.0: aten\.cumsum\.default: it goes over rows",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_meaning_is_refused(name: str) -> None:
    meaning, message = WRONG[name]
    register_halves()
    mk.operator("mktest::swish")(meaning)
    with pytest.raises(ImportModelError, match=message) as error:
        compiled(randomize(Outer()))
    assert "\n" not in str(error.value)


def test_wrong_registrations() -> None:
    for name in ("swish", "a::b::c", "", 3, "a::b c"):
        with pytest.raises(CompileError, match="is no name of an operator; expected one like mylib::swish"):
            mk.operator(name)  # type: ignore[arg-type]
    with pytest.raises(CompileError, match="is a int; expected a function"):
        mk.operator("mktest::swish")(3)  # type: ignore[type-var]
    register_halves()
    register_halves()  # the same place again: a cell that is run twice
    with pytest.raises(CompileError, match=r"mktest::halves has a meaning already, .*register_halves"):
        mk.operator("mktest::halves")(lambda x: x)


def test_the_code_of_the_tutorial_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MK_CACHE", "0")
    page = (ROOT / "docs/operators.md").read_text()
    names: dict[str, Any] = {"__name__": "tutorial"}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        for code in blocks(page, "python"):
            exec(code, names)
    said = " ".join(blocks(page, "text")[0].split())
    printed = " ".join(out.getvalue().split())
    assert printed.startswith(said)  # what the page says of the refusal
    assert names["longer"].shape == (2, 33, 64)
    with torch.no_grad():
        assert float((names["y"] - names["block"](names["x"])).abs().max()) < 1e-5
    text = str(names["module"])
    epilogues = text.split("epilogue")[1:]
    assert "bounded_swish" not in text and any("mk.tanh" in part.split("mk.yield")[0] for part in epilogues)

# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Elementwise operations: their meaning against PyTorch's, and their machine code against double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mk
import numpy as np
import pytest
import torch
from mk.interpret import Interpreter
from mk.ir import Module
from random_modules import Apply
from torch.nn import functional

Array = np.ndarray[Any, Any]
COLUMNS = 40  # no multiple of a vector
NUMBER = 0.625
# By operation: what PyTorch calls it, and the error of the machine code beside the result, in units of 2^-23.
UNARY: dict[str, tuple[Callable[..., torch.Tensor], float]] = {
    "exp": (torch.exp, 4),
    "tanh": (torch.tanh, 8),
    "sigmoid": (torch.sigmoid, 4),
    "relu": (functional.relu, 0),
    "silu": (functional.silu, 4),
    "gelu": (functional.gelu, 16),
    "gelu_tanh": (lambda x: functional.gelu(x, approximate="tanh"), 8),
    "scale": (lambda x: x * NUMBER, 1),
    "shift": (lambda x: x + NUMBER, 1),
}
BINARY: dict[str, tuple[Callable[..., torch.Tensor], float]] = {
    "add": (torch.add, 1),
    "sub": (torch.sub, 1),
    "mul": (torch.mul, 1),
    "div": (torch.div, 1),
}
FUNCTIONS = UNARY | BINARY


def module(name: str) -> str:
    """The rows of a table, through an operation; of a binary one, with a vector as its second operand."""
    row = f"tensor<?x{COLUMNS}xf32>"
    vector = f"%v = mk.weight @v : tensor<{COLUMNS}xf32>" if name in BINARY else ""
    operands = f"%r, %v : ({row}, tensor<{COLUMNS}xf32>)" if name in BINARY else f"%r : ({row})"
    if name in ("scale", "shift"):
        operands = f"%r {{number = {NUMBER} : f64}} : ({row})"
    return f"""func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>,
        %rows: tensor<?xi32>) -> {row} {{
      %table = mk.weight @table : tensor<32x{COLUMNS}xf32>
      {vector}
      %x = mk.embedding %table, %tokens : (tensor<32x{COLUMNS}xf32>, tensor<?xi32>) -> {row}
      %r = mk.select_rows %x, %rows : ({row}, tensor<?xi32>) -> {row}
      %y = mk.{name} {operands} -> {row}
      return %y : {row}
    }}"""


def weights() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((32, COLUMNS)) * np.geomspace(1e-3, 12, 32)[:, None]
    return {"table": table.astype(np.float32), "v": rng.uniform(0.5, 1.5, COLUMNS).astype(np.float32)}


def expected(name: str, dtype: torch.dtype) -> Array:
    given = {key: torch.from_numpy(value).to(dtype) for key, value in weights().items()}
    operands = [given["table"], given["v"]] if name in BINARY else [given["table"]]
    return FUNCTIONS[name][0](*operands).numpy()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_meaning_is_that_of_pytorch(name: str) -> None:
    found = Interpreter(Module.parse(module(name)), weights(), 1, 64).step(range(32), range(32), [0] * 32)
    np.testing.assert_allclose(found, expected(name, torch.float64), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_machine_code_is_precise(name: str) -> None:
    program = mk.compile_ir(module(name), dtype="float32", max_sequences=1, max_length=64, page=64)
    with program.engine(weights=weights()) as engine:
        found = engine.step(range(32), range(32), [0] * 32)
    exact = expected(name, torch.float64)
    error = np.abs(found - exact).max(axis=1) / np.maximum(np.abs(exact).max(axis=1), 1e-30)
    assert error.max() <= FUNCTIONS[name][1] * 2**-23


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu", "silu", "gelu", "gelu_tanh"])
def test_extremes_are_finite(name: str) -> None:
    table = np.zeros((32, COLUMNS), np.float32)
    table[0, :2] = (-200, 200)
    program = mk.compile_ir(module(name), dtype="float32", max_sequences=1, max_length=64, page=64)
    with program.engine(weights={"table": table}) as engine:
        found = engine.step([0], [0], [0])[0, :2]
    wanted = FUNCTIONS[name][0](torch.tensor([-200.0, 200.0]).double()).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-30)


@pytest.mark.parametrize("name", UNARY)
def test_what_is_no_number_stays_so(name: str) -> None:
    """Also what PyTorch has for infinities; gelu of them depends on its vectors, so it is left out."""
    special = [np.nan, 0.5, 1e30, -1e30, *([] if name == "gelu" else [np.inf, -np.inf])]
    table = np.zeros((32, COLUMNS), np.float32)
    table[0, : len(special)] = special
    given = torch.from_numpy(table)
    wanted = FUNCTIONS[name][0](given).numpy()
    with np.errstate(invalid="ignore"):
        meant = Interpreter(Module.parse(module(name)), {"table": table}, 1, 64).step([0], [0], [0])
    np.testing.assert_allclose(meant[0], wanted[0], rtol=1e-5, atol=1e-6)
    with mk.compile_module(Apply(FUNCTIONS[name][0]), inputs=(given,), use_cache=False) as f:
        found = f(table)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert np.isnan(found[0, 0])


@pytest.mark.parametrize("behind", ["a linear", "nothing"])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_of_infinities_is_that_of_one_number(approximate: str, behind: str) -> None:
    """PyTorch has two results for gelu(inf), by whether a vector or a number is computed; mk has the limit."""

    class Gelu(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(1, 64, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.linear(x) if behind == "a linear" else x.expand(-1, 64) * 1.0
            return torch.nn.functional.gelu(h, approximate=approximate)

    given = torch.tensor(
        [[np.inf], [-np.inf], [np.nan], [1e30], [-1e30], [30.0], [-30.0]], dtype=torch.float32
    )
    wanted = torch.cat(
        [torch.nn.functional.gelu(one, approximate=approximate) for one in given[:, 0].split(1)]
    )
    assert wanted[0] == np.inf and wanted[1:3].isnan().all()
    module = Gelu()
    torch.nn.init.ones_(module.linear.weight)
    with mk.compile_module(module, inputs=(given,), use_cache=False) as f:
        found = f(given)
    np.testing.assert_allclose(found, wanted[:, None].expand(-1, 64), rtol=1e-6, atol=1e-30)

# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Refusals of a user's own module name the part of it that they are about."""

from __future__ import annotations

from collections.abc import Callable

import mk
import pytest
import torch
from random_modules import WIDTH, Apply
from torch import Tensor, nn
from torch.export import Dim

HUGE = [1 << 40] * WIDTH
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "a size as a number": (lambda x: x + range(x.shape[1])[-1], "fixes dimension 1 to"),
    "a condition that is no bound": (
        lambda x: x if x.shape[1] % 3 else x * 2,
        "in a way that mk cannot check",
    ),
    "a shape that does not fit": (lambda x: x @ torch.zeros(5, 5), "does not run on the example inputs"),
    "numbers that decide": (
        lambda x: x if x.sum() > 0 else -x,
        "decides by numbers that the module computes",
    ),
    "half precision": (lambda x: x.half().float(), "rounds to float16"),
    "8 bits": (lambda x: (x.bfloat16() * 2).float(), "rounds to bfloat16"),
    "a large integer": (lambda x: x + torch.tensor(HUGE), "holds an integer beyond 2\\^24"),
    "a constant that is infinite": (
        lambda x: x + torch.tensor([-torch.inf] * WIDTH),
        "holds a number that is not finite",
    ),
    "means over rows": (lambda x: x - x.mean(1, keepdim=True), "aten.mean.dim"),
}


class Buffered(nn.Module):
    value: Tensor

    def __init__(self, value: Tensor, writes: bool = False) -> None:
        super().__init__()
        self.register_buffer("value", value)
        self.writes = writes

    def forward(self, x: Tensor) -> Tensor:
        if self.writes:
            self.value.add_(1)
        return x + self.value


def refused(part: nn.Module, pattern: str) -> None:
    x = torch.zeros(2, 5, WIDTH)
    module = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Sequential(part))
    sizes = {"input": {0: Dim("batch"), 1: Dim("length", max=16)}}
    with pytest.raises(mk.CompileError, match=pattern):
        mk.compile_module(module, inputs=(x,), dynamic=sizes, max_length=16, use_cache=False)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_a_part(name: str) -> None:
    function, reason = FUNCTIONS[name]
    refused(Apply(function), rf"^1\.0: .*{reason}")


@pytest.mark.parametrize("value", [-torch.inf, torch.nan, 1 << 25])
def test_buffers_that_float32_does_not_hold(value: float) -> None:
    refused(Buffered(torch.tensor([value] * WIDTH)), r"^1\.0\.value: this buffer holds ")


def test_buffers_that_are_written() -> None:
    refused(Buffered(torch.zeros(WIDTH), writes=True), r"changes 1\.0\.value while it runs")


def test_integers_up_to_there_are_exact() -> None:
    """The control."""
    x = torch.zeros(2, 5, WIDTH)
    module = Buffered(torch.full((WIDTH,), 1 << 24))
    with mk.compile_module(module, inputs=(x,), max_length=16, use_cache=False) as f:
        assert bool((f(x) == module(x)).all())

# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a predicate of torch.cond may ask of all rows, and what may stand on the sides: against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mk
import numpy as np
import pytest
import torch
from mk.errors import ImportModelError
from models import randomize
from test_control import ROWS, Decides, compiled, error, rows
from torch import Tensor, nn
from torch.export import Dim

# Each with a number for the threshold; the test chooses it between two that inputs have.
NUMBERS: dict[str, Callable[[Tensor], Tensor]] = {
    "norm": lambda h: h.norm(),
    "norm of sizes": lambda h: h.norm(p=1),
    "vector_norm": lambda h: torch.linalg.vector_norm(h),
    "largest size": lambda h: torch.linalg.vector_norm(h, ord=float("inf")),
    "smallest size": lambda h: torch.linalg.vector_norm(h, ord=-float("inf")),
    "third norm": lambda h: torch.linalg.vector_norm(h, ord=3),
    "norm that counts": lambda h: torch.linalg.vector_norm(h.relu(), ord=0),
    "linalg.norm": lambda h: torch.linalg.norm(h),
    "norm of rows": lambda h: h.norm(dim=-1).mean(),
    "kept norm": lambda h: h.norm(dim=(0, 1), keepdim=True).sum(),
    "std": lambda h: h.std(),
    "std of all": lambda h: h.std(correction=0),
    "var": lambda h: h.var(),
    "logsumexp": lambda h: h.logsumexp((0, 1)),
    "count_nonzero": lambda h: torch.count_nonzero(h.relu()),
    "sum of booleans": lambda h: (h > 0).sum(),
    "sum of integers": lambda h: (h > 0).int().sum(),
    "sum of counts": lambda h: (h > 0).sum(-1).sum(),
    "largest count": lambda h: (h > 0).sum(-1).max(),
    "share": lambda h: (h > 0).float().mean(),
    "two at once": lambda h: h.norm() + h.amax(),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_all_rows(name: str) -> None:
    """The threshold lies between the numbers that half of the inputs have and those of the others."""
    threshold = torch.tensor(0.0)
    module = randomize(
        Decides(
            lambda m, x, h: NUMBERS[name](h) > m.threshold,
            lambda m, x, h: m.a(h),
            lambda m, x, h: m.b(h) * x,
        )
    )
    module.register_buffer("threshold", threshold)
    inputs = [rows(1 + seed, 16, seed=seed) * (0.2 + 0.3 * seed) for seed in range(8)]
    with torch.no_grad():
        numbers = [float(NUMBERS[name](module.first(x))) for x in inputs]
    middle = sorted(set(numbers))[len(set(numbers)) // 2 - 1 :][:2]
    threshold.fill_(sum(middle) / 2)
    assert {number > float(threshold) for number in numbers} == {True, False}
    with compiled(module, inputs[2], ROWS) as f:
        for x in inputs:
            assert error(f(x), module, x) < 1e-5
        # The control: the other side would have been another result.
        threshold.fill_(max(numbers) + 1)
        assert max(error(f(x), module, x) for x in inputs) > 1e-3


@pytest.mark.parametrize("name", ["isfinite", "isnan", "isinf", "norm", "logsumexp"])
@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number(name: str, value: float) -> None:
    predicates: dict[str, Callable[[Tensor], Tensor]] = {
        "isfinite": lambda x: x.isfinite().all(),
        "isnan": lambda x: x.isnan().any(),
        "isinf": lambda x: x.isinf().any(),
        "norm": lambda x: x.norm() > 0,
        "logsumexp": lambda x: x.logsumexp((0, 1)) > 0,
    }
    module = randomize(
        Decides(
            lambda m, x, h: predicates[name](x),
            lambda m, x, h: m.a.bias * 1.0,
            lambda m, x, h: m.b.bias * 1.0,
        )
    )
    module.taken = lambda m, x, h: torch.ones_like(h)
    module.other = lambda m, x, h: torch.zeros_like(h)
    x = rows(4, 16)
    with compiled(module, x, ROWS) as f:
        for place in range(4):
            given = x.clone()
            given[place, 3 * place] = value
            assert torch.equal(f(given), torch.full((4, 16), float(predicates[name](given))))


def test_batches_of_sequences() -> None:
    module = randomize(
        Decides(
            lambda m, x, h: ((x > 0).sum() > 60) & (h.norm() > 6),
            lambda m, x, h: m.a(h),
            lambda m, x, h: m.b(h),
        )
    )
    dynamic = ({0: Dim("batch", max=4), 1: Dim("length", max=64)},)
    sides = set()
    with compiled(module, rows(2, 6, 16), dynamic) as f:
        for seed, shape in enumerate(((2, 6), (1, 3), (4, 20), (3, 7), (1, 64), (4, 3))):
            x = rows(*shape, 16, seed=seed)
            with torch.no_grad():
                sides.add(bool(module.predicate(module, x, module.first(x))))
            assert error(f(x), module, x) < 1e-5
    assert len(sides) == 2


SIDES: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros_like": lambda x: torch.zeros_like(x),
    "ones_like": lambda x: torch.ones_like(x),
    "full_like": lambda x: torch.full_like(x, 0.3),
    "zeros": lambda x: torch.zeros(x.shape[0], 16),
    "full": lambda x: torch.full((x.shape[0], 16), 2.0),
    "new_zeros": lambda x: x.new_zeros(x.shape),
    "new_full": lambda x: x.new_full(x.shape, 2.0),
    "a row for all": lambda x: torch.arange(16.0).expand(x.shape[0], 16) * 1,
    "the operand": lambda x: x.clone(),
}


@pytest.mark.parametrize("name", SIDES)
def test_a_side_that_is_a_constant(name: str) -> None:
    for turned in (False, True):
        sides: list[Any] = [lambda m, x, h: SIDES[name](x), lambda m, x, h: m.b(h) * x]
        module = randomize(Decides(lambda m, x, h: x.mean() > 0, *(sides[::-1] if turned else sides)))
        with compiled(module, rows(3, 16), ROWS) as f:
            for seed in range(4):
                x = rows(1 + seed, 16, seed=seed)
                for given in (x - x.mean() - 0.1, x - x.mean() + 0.1):
                    assert error(f(given), module, given) < 1e-5 or not f(given).any()


def test_two_constants() -> None:
    module = Decides(
        lambda m, x, h: x.mean() > 0, lambda m, x, h: torch.ones_like(x), lambda m, x, h: torch.zeros_like(x)
    )
    with compiled(module, rows(3, 16), ROWS) as f:
        for shift in (-9.0, 9.0):
            assert torch.equal(f(rows(5, 16) + shift), torch.full((5, 16), float(shift > 0)))


class Counts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = torch.cond((x > 0).sum() == 4096 * 7, lambda x: x * 2, lambda x: x * 3, (x,))
        return result


def test_counts_are_exact_or_refused() -> None:
    """Up to 2^24 by as many rows as there may be; the program knows how many."""
    module = Counts()
    with compiled(module, rows(3, 4096), ROWS, max_tokens=5000) as f:
        assert f.signature.together == 4096
        x = torch.ones(7, 4096)
        assert torch.equal(f(x), x * 2)
        x[3, 3] = -1.0
        assert torch.equal(f(x), x * 3)
        with pytest.raises(mk.InputError, match=r"4097 rows; .* takes at most 4096"):
            f(np.ones((4097, 4096), np.float32))
    with pytest.raises(mk.CompileError, match="has at least 5000; what it sums up is exact for at most 4096"):
        compiled(module, rows(5000, 4096))


REFUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "median": lambda x: x.median() > 0,
    "prod": lambda x: x.prod() > 0,
    "argmax": lambda x: x.argmax() > 0,
    "sum": lambda x: (x > 0).sum(dtype=torch.float32) > 3,
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_there_is(name: str) -> None:
    module = torch.nn.Sequential(
        torch.nn.Linear(16, 16),
        Decides(lambda m, x, h: REFUSED[name](x), lambda m, x, h: m.a(h), lambda m, x, h: m.b(h)),
    )
    message = (
        rf"^1: aten\.{name}\.\w+: the predicate of torch\.cond asks it of all rows, of which mk has max, min"
    )
    with pytest.raises(ImportModelError, match=message):
        mk.compile_module(module, inputs=(rows(3, 16),), dynamic=({0: Dim("n", min=2)},), use_cache=False)

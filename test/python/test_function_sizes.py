# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Modules that look alike in the plan, or look at their sizes: what was once wrong without a word."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import mk
import pytest
import torch
import torch.nn.functional as F
from mk.errors import CompileError, ImportModelError, InputError
from models import randomize
from torch import nn
from torch.export import Dim

SIZES = ({0: Dim("batch"), 1: Dim("length", max=16)},)


class Asked(nn.Module):
    """`body` of this module and its input; `limit` is no parameter."""

    limit: torch.Tensor

    def __init__(self, body: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.body = body
        self.tokens, self.places = nn.Embedding(50, 16), nn.Embedding(50, 16)
        self.register_buffer("limit", torch.tensor(0.7), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(self, x)


def compiled(module: nn.Module, x: torch.Tensor) -> mk.Function:
    return mk.compile_module(
        module, inputs=(x,), dynamic=SIZES, dtype="float32", workers=2, max_length=16, use_cache=False
    )


def largest_error(module: nn.Module, x: torch.Tensor, example: torch.Tensor | None = None) -> float:
    with compiled(module, x if example is None else example) as f, torch.no_grad():
        return float((f(x) - module(x)).abs().max())


def attend(x: torch.Tensor, causal: bool) -> torch.Tensor:
    return F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], is_causal=causal)[:, 0]


@pytest.mark.parametrize("swapped", [False, True])
def test_tables_of_one_shape_for_tokens_and_places(swapped: bool) -> None:
    def body(m: Any, x: torch.Tensor) -> torch.Tensor:
        parts = [m.tokens(x), m.places(torch.arange(x.shape[1]))]
        result: torch.Tensor = parts[swapped] + parts[not swapped]
        return result

    module = randomize(Asked(body))
    assert largest_error(module, torch.randint(0, 50, (3, 7))) < 1e-5


@pytest.mark.parametrize("first", [False, True])
def test_causal_and_whole_attention_of_one_shape(first: bool) -> None:
    module = Asked(lambda m, x: attend(attend(x, first), not first))
    assert largest_error(module, torch.randn(3, 7, 16)) < 1e-5


@pytest.mark.parametrize(
    "asks",
    [
        lambda n: n % 7,
        lambda n: n - 1,
        lambda n: 2 * n > 13,
        lambda n: n > 7.5,
        lambda n: n % 8 > 5,
        lambda n: n * n > 50,
        lambda n: n // 2 > 3,
    ],
)
def test_a_branch_on_a_size_is_taken_or_refused(asks: Callable[[int], Any]) -> None:
    module = Asked(lambda m, x: x * 2 if asks(x.shape[1]) else x)
    try:
        f = compiled(module, torch.randn(2, 5, 16))
    except ImportModelError as error:
        assert "length" in str(error)
        return
    with f:
        for length in range(1, 17):
            x = torch.randn(2, length, 16)
            try:
                assert torch.equal(f(x), module(x)), length
            except InputError as error:
                assert "a length of" in str(error)


def test_a_table_cut_to_the_batch_is_refused() -> None:
    module = Asked(lambda m, x: x + m.tokens.weight[: x.shape[0], None])
    with pytest.raises(ImportModelError, match="rows of a table as there are entries of the batch"):
        compiled(module, torch.randn(2, 5, 16))


def test_exponentials_reach_infinity() -> None:
    x = torch.tensor([90.0, 88.7, -200.0, torch.inf, -torch.inf, 0.0]).repeat(2, 3, 1)
    with compiled(Asked(lambda m, x: torch.exp(x)), x) as f:
        assert torch.allclose(f(x), torch.exp(x), rtol=1e-5)


def test_a_number_among_the_buffers_is_a_factor_or_refused() -> None:
    assert largest_error(Asked(lambda m, x: x * m.limit), torch.randn(2, 5, 16)) < 1e-6
    module = Asked(lambda m, x: torch.maximum(x, m.limit))
    try:
        assert largest_error(module, torch.randn(2, 5, 16)) < 1e-6
    except mk.CompileError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("target", ["auto", "sm_90a"])
@pytest.mark.parametrize("causal", [False, True])
def test_few_tokens_a_step_need_no_word_about_sequences(causal: bool, target: str) -> None:
    """Nobody asked for as many sequences as there are by default; of those asked for the error speaks."""

    def body(m: Any, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (x[:, None] * factor for factor in (4.0, 2.0, 3.0))
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0] if causal else x * 2

    module = Asked(body)
    x, sizes = torch.zeros(2, 8, 64), ({0: Dim("batch"), 1: Dim("length", max=16)},)
    options = {"inputs": (x,), "dynamic": sizes, "target": target, "use_cache": False, "max_tokens": 4}
    made = mk.compile_module(module, **options).program.manifest["sizes"]
    assert (made["max_tokens"], made["max_sequences"]) == (4, 4 if causal else 1)
    with pytest.raises(CompileError, match="max_tokens is 4, less than the 8 of max_sequences"):
        mk.compile_module(module, max_sequences=8, **options)


class Three(nn.Module):
    """Three products of one input, which meet in `body`."""

    def __init__(self, body: Callable[..., Any]) -> None:
        super().__init__()
        self.body = body
        self.a, self.b, self.c = (nn.Linear(16, 32) for _ in range(3))

    def forward(self, x: torch.Tensor) -> Any:
        return self.body(self.a(x), self.b(x), self.c(x))


MEETINGS: dict[str, Callable[..., Any]] = {
    "the second too": lambda a, b, c: (a + b, b),
    "the first too": lambda a, b, c: (a * b, a),
    "a function of the second": lambda a, b, c: (a * b, b.relu()),
    "a gate and the second": lambda a, b, c: F.silu(a) * b + b,
    "in two pairs": lambda a, b, c: a * b + b * c,
    "twice": lambda a, b, c: (a + b, a - b),
    "and a third": lambda a, b, c: (a * b, a * b + c),
}


@pytest.mark.parametrize("name", MEETINGS)
def test_products_that_meet_and_are_needed_alone(name: str) -> None:
    module, x = randomize(Three(MEETINGS[name])), torch.randn(3, 16)
    f = mk.compile_module(module, inputs=(x,), dtype="float32", workers=2, use_cache=False)
    with f, torch.no_grad():
        found, expected = f(x), module(x)
    pairs = zip(found, expected, strict=True) if isinstance(expected, tuple) else [(found, expected)]
    for one, other in pairs:
        assert torch.allclose(one, other, atol=1e-5)


def test_keys_and_values_may_meet_beside_attention() -> None:
    def body(own: Any, x: torch.Tensor) -> torch.Tensor:
        q, k, v = own.a(x), own.b(x), own.c(x)
        heads = (t.unflatten(-1, (4, 8)).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(-2) + k * v

    module = Asked(body)
    module.a, module.b, module.c = (nn.Linear(32, 32) for _ in range(3))
    assert largest_error(randomize(module), torch.randn(2, 5, 32)) < 1e-5


def test_what_cannot_be_copied_is_named() -> None:
    module = nn.Linear(16, 16)
    module.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(
        ImportModelError, match="Linear has an attribute that cannot be copied: cannot pickle"
    ):
        mk.compile_module(module, inputs=(torch.randn(2, 16),))


def test_what_is_no_number_in_float16_is_none_here() -> None:
    class Nan(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.where(torch.isnan(x * 8 - x * 8), 1.0, 2.0)

    x = torch.tensor([[30000.0, 1.0], [-30000.0, 9000.0]]).half()
    with mk.compile_module(Nan().half(), inputs=(x,), workers=2, use_cache=False) as f:
        assert torch.equal(f(x).float(), Nan()(x).float())

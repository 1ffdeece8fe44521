# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A package of a user's module takes the parameters of other weights; their buffers must be those it was made with."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import mk
import pytest
import torch
from models import randomize


class Centred(torch.nn.Module):
    """Takes a mean away; `seen` is in no checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(16, 16)
        self.register_buffer("mean", torch.linspace(-1, 1, 16))
        self.register_buffer("seen", torch.tensor(3), persistent=False)

    def forward(self, x: torch.Tensor) -> Any:
        return self.linear(x - self.mean)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Centred, Path]:
    module, path = randomize(Centred()), tmp_path_factory.mktemp("package") / "centred.mkp"
    mk.compile_module(copy.deepcopy(module), inputs=(torch.zeros(3, 16),)).save(path)
    return module, path


def test_other_parameters_are_used(saved):
    module, path = saved
    other, x = randomize(copy.deepcopy(module)), torch.randn(3, 16)
    with torch.no_grad():
        other.linear.weight.mul_(1.5)
    for weights in (other, other.state_dict(), dict(other.named_parameters())):
        with mk.Function(path, weights=weights) as f:
            torch.testing.assert_close(f(x), other(x).detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("as_arrays", [False, True])
def test_other_buffers_are_refused(saved, as_arrays):
    module, path = saved
    other = copy.deepcopy(module)
    other.mean += 1
    weights = other.state_dict() if as_arrays else other
    refused = pytest.raises(mk.WeightError, match=r"^mean has other values than the buffer")
    with mk.Function(path, weights=weights) as f, refused:
        f(torch.zeros(3, 16))


def test_a_buffer_of_no_checkpoint_may_differ(saved):
    module, path = saved
    other = copy.deepcopy(module)
    other.seen += 1
    with mk.Function(path, weights=other) as f:
        f(torch.zeros(3, 16))

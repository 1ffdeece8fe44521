# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whatever a module is made of, mk refuses it with a module path, or is right.

MK_RANDOM_MODULES says how many modules there are: 100 if it is not set; the nightly run takes 2000.
"""

from __future__ import annotations

import os
import re
from typing import Any
from unittest import mock

import mk
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import randomize
from random_modules import PIECES, WIDTH, Steps
from torch.export import Dim

COUNT = int(os.environ.get("MK_RANDOM_MODULES", "100"))
SIZES = ((2, 5), (1, 1), (3, 2), (1, 9), (6, 1), (2, 16))  # batch and length
OPTIONS = {
    "use_cache": False,
    "workers": 1,
    "max_sequences": 2,
    "max_length": 16,
    "max_tokens": 20,
    "page": 16,
    "split": 16,
}


def call_branch(predicate: torch.Tensor, taken: Any, other: Any, operands: Any = ()) -> Any:
    """What torch.cond means; torch itself would compile both branches."""
    return taken(*operands) if predicate else other(*operands)


def examine(names: list[str], batched: bool = True, dynamic: bool = True) -> str:
    """ "right" or "refused"; fails if it is neither."""
    module = randomize(Steps(names))
    length = Dim("length", max=16)
    sizes = {"x": {0: Dim("batch"), 1: length} if batched else {0: length}} if dynamic else None
    example = torch.zeros(2, 5, WIDTH) if batched else torch.zeros(5, WIDTH)
    try:
        f = mk.compile_module(module, inputs=(example,), dynamic=sizes, **OPTIONS)
    except mk.CompileError as error:
        # What concerns the whole module, such as a size that it fixes, names the module and its input or result.
        assert re.search(r"steps\.\d|^Steps|^the module ", str(error)), f"{names}: no module path in: {error}"
        assert "\n" not in str(error)
        return "refused"
    with f:
        for seed, (batch, rows) in enumerate(SIZES):
            shape = ((batch, rows) if batched else (rows,)) if dynamic else example.shape[:-1]
            x = torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed))
            try:
                found = f(x)
            except mk.InputError as error:  # a size that the module itself treats otherwise
                assert any("branch" in name for name in names), f"{names}: {error}"
                continue
            with torch.no_grad(), mock.patch.object(torch, "cond", call_branch):
                wanted = module(x)
            assert found.shape == wanted.shape, names
            scale = max(float(wanted.abs().max()), 1e-3)
            error = float((found - wanted).abs().max()) / scale
            assert error < 1e-3 or not wanted.isfinite().all(), (
                f"{names}: wrong by {error} for {tuple(shape)}"
            )
    return "right"


@pytest.mark.parametrize("name", PIECES)
def test_every_piece_alone(name: str) -> None:
    examine([name])


@settings(
    max_examples=COUNT,
    deadline=None,
    derandomize=COUNT <= 100,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_random_modules(names: list[str], batched: bool, dynamic: bool) -> None:
    examine(names, batched, dynamic)


def test_what_mk_knows_is_compiled() -> None:
    """The control: refusing everything would pass, too."""
    known = [
        "linear",
        "layer norm",
        "gelu",
        "attention",
        "whole attention",
        "rms norm",
        "gate",
        "residual",
        "vector",
        "gated linear",
        "one slope",
        "rotations",
        "narrow values",
        "wide values",
        "log sigmoid",
        "cosines",
        "branch around a linear",
        "branch around attention",
        "branch of a branch",
    ]
    assert {name: examine([name]) for name in known} == dict.fromkeys(known, "right")
    assert examine(["encoder layer", "two linears", "gelu"]) == "right"
    assert examine(["grouped attention", "layer norm", "two linears"]) == "right"


def test_what_lets_rows_meet_is_refused() -> None:
    meeting = [
        "mean over batch",
        "running sum",
        "shifted",
        "swapped by a view",
        "convolution",
        "first row",
        "padded",
        "branch by one row",
        "branch by a running sum",
        "branch that mixes rows",
    ]
    assert {name: examine(["linear", name]) for name in meeting} == dict.fromkeys(meeting, "refused")

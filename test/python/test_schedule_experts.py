# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Schedules of mixtures of experts: what some order of running can break is refused, what is planned is not."""

from __future__ import annotations

import pytest
from llama_text import Llama, Shape
from mk.compiler.driver import lower_text
from mk.compiler.options import Options
from test_schedule import Table, breaks, change_words, judge


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_mixture_of_experts(workers: int) -> None:
    """Two layers as the compiler plans them, and some of their mutants."""
    shape = Shape(hidden=64, head_dim=16, inner=96, vocabulary=160, experts=4)
    text = Llama(shape, "bf16", zeros=True).text
    options = Options(target="x86-64-v3", workers=workers, max_sequences=2, max_length=32, page=16, split=16)
    planned = str(lower_text(text, options, to="plan"))
    [accepted], [reference] = judge([planned])
    assert accepted
    assert reference
    assert breaks(reference, reference) is None

    mutants = list(change_words(Table.parse(planned)))[:: 8 * workers**2]
    refused = 0
    for (what, _), accepted, program in zip(mutants, *judge([text for _, text in mutants]), strict=True):
        assert not accepted or (program and breaks(program, reference) is None), what
        assert not (accepted and ": stream " in what), what
        refused += not accepted
    assert refused > len(mutants) // 4

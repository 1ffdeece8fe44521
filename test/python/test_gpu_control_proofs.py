# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What the proofs say of programs with conditions for a GPU: of the ring's halves, and of the table."""

from __future__ import annotations

import re

import mk
import pytest
from mk.build_function import import_sized
from mk.compiler.driver import Lowering
from mk.ir import Module
from mk.ir.diagnostics import PassError
from mk.schedule import ShuffledExecutor
from models import randomize
from test_control import ROWS, Deep, rows
from test_gpu_function import SIZES
from test_schedule import Table, judge, without_a_wait
from test_schedule_control import change_bits
from torch import Tensor, nn


def kernels(module: nn.Module, x: Tensor) -> str:
    """The kernels beside their program, with what each half of a CTA says of the ring."""
    imported, made = import_sized(module, (x,), ROWS, SIZES, None)
    lowering = Lowering(imported.text, made, None)
    lowering.to("plan")
    for passes in ("mk-gpu-kinds-pipeline", "mk-build-kernel{keep=true}", "canonicalize", "cse"):
        lowering.module.run(passes)
    return lowering.module.text(locations=False)


# One half of a CTA that does not do as its conditions say: the pattern of a line, and what stands for its result.
ASK = r"^( *)(%\w+) = mk_cta.await_predicate .*{}.*$"
DISAGREE: dict[str, tuple[str, str]] = {
    "the loader brings everything": (ASK.format("patient"), r"\1\2 = arith.constant 1 : i32"),
    "the loader brings nothing": (ASK.format("patient"), r"\1\2 = arith.constant 0 : i32"),
    "the consumers run everything": (
        ASK.format(r"%\w+ : memref"),
        r"\1\2 = arith.constant 1 : i32",
    ),
    "the loader looks at another predicate": (
        r"(await_predicate )%\w+( of .*patient)",
        r"\1%c77\2",
    ),
}


@pytest.mark.parametrize("fault", DISAGREE)
def test_halves_that_do_not_agree_are_refused(fault: str) -> None:
    pattern, to = DISAGREE[fault]
    right = kernels(randomize(Deep(32)), rows(2, 32))
    Module.parse(right).run("mk-verify-ring")
    wrong = re.sub(pattern, to, right, flags=re.MULTILINE)
    wrong = re.sub(r"(func.func @mk_main.*\n)", r"\1    %c77 = arith.constant 77 : index\n", wrong)
    assert wrong != right
    with pytest.raises(PassError, match=r"slots only|take it for|what is not a number"):
        Module.parse(wrong).run("mk-verify-ring")


def test_each_condition_of_several_counts() -> None:
    """A loader that asks for the first of an instruction's predicates alone."""
    right = kernels(randomize(Deep(32)), rows(2, 32))
    places = [m.start() for m in re.finditer(r"mk_cta.await_predicate [^\n]*patient", right)]
    assert len(places) == 8  # in each of two kernels, four of an instruction
    for which in range(1, 4):
        at = right.rindex("\n", 0, places[which]) + 1
        end = right.index("\n", at)
        name = re.match(r" *(%\w+) = ", right[at:end])
        assert name is not None
        wrong = f"{right[:at]}{name[1]} = arith.constant 1 : i32{right[end:]}"
        with pytest.raises(PassError, match=r"slots only|take it for"):
            Module.parse(wrong).run("mk-verify-ring")


@pytest.mark.parametrize("workers", [3, 132])
def test_the_schedule_holds_in_any_order(workers: int) -> None:
    """Of the table for a GPU, where predicates are flagged words; not without a wait, nor with other conditions."""
    planned = mk.lower_module(
        randomize(Deep(32)), inputs=(rows(2, 32),), dynamic=ROWS, to="plan", **{**SIZES, "workers": workers}
    ).text()
    [accepted], [reference] = judge([planned])
    assert accepted and reference is not None
    for seed in range(5):
        ShuffledExecutor(reference).run(seed)
    assert not all(judge(without_a_wait(planned))[0])
    mutants = [text for _, text in change_bits(Table.parse(planned))]
    assert mutants and not any(judge(mutants[:: max(1, len(mutants) // 12)])[0])

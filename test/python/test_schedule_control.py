# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Schedules whose steps take sides: what some order, or some choice of sides, can break is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from test_schedule import FORM, PLAN, Table, breaks, change_words, judge, mk_opt

# Two decisions, one within a side of the other; a side of a few operators, a side that writes the result of the choice
# itself, and one that is also needed always.
NESTED = """
!t = tensor<?x16xf32>
!p = tensor<?x1xf32>
!w = tensor<16x16xf32>
module attributes {
  mk.target = #mk.target<kind = "cpu", features = "", workers = WORKERS, lanes = 4, bandwidth = 30>,
  mk.options = #mk.options<max_tokens = 8, max_rows = 8, max_sequences = 2, max_length = 32, page = 16, split = 16>} {
  func.func @step(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %slots: tensor<?xi32>, %rows: tensor<?xi32>,
      %x: !t {mk.input, mk.name = "x"}, %c: !p {mk.input, mk.name = "c"}) -> (!t, !t) {
    %w = mk.weight @w : !w
    %v = mk.weight @v : !w
    %h = mk.linear %x, [%w] : (!t, !w) -> !t loc("h")
    %p = mk.across_rows %c {how = "max"} : (!p) -> !p loc("p")
    %a = mk.linear %h, [%v] : (!t, !w) -> !t loc("a")
    %q = mk.across_rows %c {how = "mean"} : (!p) -> !p loc("q")
    %b = mk.linear %h, [%w] : (!t, !w) -> !t loc("b")
    %b1 = mk.silu %b : (!t) -> !t loc("b1")
    %b2 = mk.choose %q, %b1, %h : (!p, !t, !t) -> !t loc("b2")
    %b3 = mk.tanh %b2 : (!t) -> !t loc("b3")
    %y = mk.choose %p, %a, %b3 : (!p, !t, !t) -> !t loc("y")
    %z = mk.add %y, %h : (!t, !t) -> !t loc("z")
    mk.finish %z, %y : !t, !t
    return %z, %y : !t, !t
  }
}
"""
CONDITION = re.compile(r"#mk_task\.condition<buffer = @([\w.]+), taken = (\w+)>")
FAMILY = re.compile(r"(mk_task\.family @[\w.]+ kind\(@\w+\) \[[^]]*\] -> \[[^]]*\])(?: if \[([^]]*)\])?")


def change_conditions(text: str) -> Iterator[tuple[str, str]]:
    """Each condition taken away, turned round or given to another family."""
    conditions = sorted(set(CONDITION.findall(text)))
    for family in FAMILY.finditer(text):
        own = CONDITION.findall(family[2] or "")
        others = [[c for c in own if c != one] for one in own]
        others += [
            [*(c for c in own if c != one), (one[0], "false" if one[1] == "true" else "true")] for one in own
        ]
        others += [[*own, one] for one in conditions if one[0] not in {name for name, _ in own}]
        for changed in others:
            listed = ", ".join(
                f"#mk_task.condition<buffer = @{name}, taken = {taken}>" for name, taken in changed
            )
            new = family[1] + (f" if [{listed}]" if changed else "")
            yield f"{family[1]}: {changed}", text[: family.start()] + new + text[family.end() :]


def change_bits(table: Table) -> Iterator[tuple[str, str]]:
    """Each bit of a condition changed in the words, and the word of its buffer."""
    hints, word = 31, Table.OPERAND + 14
    for w, i in table.places():
        for bit in (8, 9):
            mutant = table.copy()
            mutant.words[w][i][hints] ^= 1 << bit
            if bit == 8 or table.words[w][i][hints] & 1 << 8:
                yield f"worker {w} instruction {i}: bit {bit}", mutant.write()
        if table.words[w][i][hints] & 1 << 8:
            mutant = table.copy()
            mutant.words[w][i][word] += 8
            yield f"worker {w} instruction {i}: predicate", mutant.write()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_some_choice_can_break_is_refused(workers: int) -> None:
    formed = mk_opt(NESTED.replace("WORKERS", str(workers)), *FORM)
    planned = mk_opt(formed, *PLAN)
    assert len(CONDITION.findall(planned)) >= 6
    [accepted], [reference] = judge([planned])
    assert accepted
    assert reference
    assert breaks(reference, reference, seeds=100) is None

    mutants = list(change_conditions(formed))
    assert len(mutants) > 20
    broken = kept = 0
    for (what, _), accepted, program in zip(
        mutants, *judge([text for _, text in mutants], *PLAN), strict=True
    ):
        if program is None:
            assert not accepted, what
            continue
        reason = breaks(program, reference, seeds=40)
        assert not (accepted and reason), f"{what}: accepted, but {reason}"
        broken += reason is not None
        kept += accepted
    assert broken > len(mutants) // 4, f"{broken} of {len(mutants)}"
    assert kept  # the control: a condition that nobody relies on may go

    table = Table.parse(planned)
    words = list(change_bits(table))
    assert words and not any(judge([text for _, text in words])[0])
    others = list(change_words(table))[:: 2 * workers]
    for (what, _), accepted, program in zip(others, *judge([text for _, text in others]), strict=True):
        assert not accepted or (program and breaks(program, reference) is None), what

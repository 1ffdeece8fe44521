# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The example in the description of an operation parses."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from descriptions import DIALECTS, HEAD, blocks, declared, free_values, function
from mk.ir import Module


def operations() -> Iterator[tuple[str, str]]:
    """(operation, example) of every example in the dialects."""
    for source in DIALECTS:
        for part in re.split(r"^(?=def |class )", source.read_text(), flags=re.MULTILINE):
            name = re.match(r"def \w+ : \w+<\"(\w+)\"", part)
            if name is not None:
                for i, example in enumerate(blocks(part, "mlir")):
                    yield f"{source.parent.name}.{name[1]}{'' if i == 0 else f'-{i}'}", example


# The types of values that an example of mk_cta uses but whose text does not print them.
CTA_TYPES = {
    "context": "!mk_cta.context",
    "i": "!mk_cta.instruction",
    "n": "i64",
    "parity": "i32",
    "bytes": "i32",
    "quit": "memref<1xi32, 3>",
    "hint": "i1",
    "word": "i32",
    "flag": "memref<1xi32, 3>",
    "place": "index",
    "number": "index",
    "step": "index",
    "full": "memref<12xi64, 3>",
    "begin": "i64",
    "waited": "i64",
    "sum": "memref<1xi32, 3>",
    "overdue": "memref<1xi32, 3>",
    "buffer": "memref<?x64xi32, strided<[64, 1]>, 1>",
    "fours": "memref<?x16xvector<4xi32>, strided<[16, 1]>, 1>",
}
# Names that an example of mk_task uses and does not declare.
TASK_PREAMBLE = """
  mk_task.buffer @h domain(tokens) : tensor<?x96xf32>
  mk_task.buffer @y domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @z domain(tokens) : tensor<?x64xf32>
  mk_task.buffer @confident domain(tokens) : tensor<?x1xf32>
  mk_task.weight @w [@w] layout(tiles) : tensor<64x96xf32>
  mk_task.kind @linear class(tiles) domain(tokens) units(9) segments
      [#mk_task.segment<base = 0, limit = 288, outer = 9, stride = 32, half = 16, partner = 16>] {
  ^bb0(%a: tensor<?x96xf32>, %b: tensor<64x96xf32>):
    %c = mk.linear %a, [%b] : (tensor<?x96xf32>, tensor<64x96xf32>) -> tensor<?x64xf32>
    mk.yield %c : tensor<?x64xf32>
  }
  mk_task.family @down_proj kind(@linear) [@h, @w] -> [@y]
  mk_task.event @gate_up_done arrivals(1)
  mk_task.event @down_done arrivals(1)
"""
EXAMPLES = dict(operations())
# Elementwise ops share descriptions, which spell the name by TableGen.
ELEMENTWISE = {
    f"mk.{name}"
    for _, name in re.findall(
        r"^def \w+ : Mk_(Binary|Scalar|Unary)Op<\"(\w+)\"",
        next(source for source in DIALECTS if source.stem == "MkRowOps").read_text(),
        re.MULTILINE,
    )
}
WITHOUT_EXAMPLE = {
    *ELEMENTWISE,
    "mk_task.table",  # its words would fill a page; the tests of mk-build-table have them
}


def test_every_operation_has_an_example() -> None:
    for source in DIALECTS:
        for name in declared(source):
            full = f"{source.parent.name}.{name}"
            assert full in EXAMPLES or full in WITHOUT_EXAMPLE, full


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_shared_examples_parse(name: str) -> None:
    number = " {number = 5.0e-01 : f64}" if name in ("mk.scale", "mk.shift") else ""
    two = name in ("mk.add", "mk.sub", "mk.mul", "mk.div")
    operands, types = ("%a, %b", "tensor<?x64xf32>, tensor<?x64xf32>") if two else ("%a", "tensor<?x64xf32>")
    example = f"%y = {name} {operands}{number} : ({types}) -> tensor<?x64xf32>\n"
    Module.parse(function(example, free_values(example)))


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_operations_parse(name: str) -> None:
    example = EXAMPLES[name]
    if name.startswith("mk_task."):
        needed = TASK_PREAMBLE if name in ("mk_task.family", "mk_task.task") else ""
        inside = example if name == "mk_task.program" else f"mk_task.program @step {{\n{needed}{example}}}\n"
        Module.parse(f"{HEAD}{inside}}}")
        return
    if name == "mk.yield":
        example = "%s = mk.silu %a : (tensor<?x64xf32>) -> tensor<?x64xf32>\n" + example
        Module.parse(
            f"{HEAD}mk_task.program @p {{ mk_task.kind @k class(columns) domain(tokens) {{\n"
            f"^bb0(%a: tensor<?x64xf32>):\n{example}}} }} }}"
        )
        return
    free = free_values(example)
    if name.startswith("mk_cta."):
        for value in re.findall(r"%(\w+)", example):
            if f"%{value}" in CTA_TYPES or value in CTA_TYPES:
                free[f"%{value}"] = CTA_TYPES[value]
            else:
                free.setdefault(f"%{value}", "index")
        made = [
            value
            for values in re.findall(r"^(%\w+(?:, %\w+)*) = ", example, re.MULTILINE)
            for value in re.findall(r"\w+", values)
        ]
        free = {value: type_ for value, type_ in free.items() if value.strip("%") not in made}
    Module.parse(function(example, free))

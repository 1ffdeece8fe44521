# Part of mk, under the Apache License v2.0 with LLVM Exceptions.
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The meaning of a `mk_task.program`: its families in model order, values kept by the symbol that holds them."""

from __future__ import annotations

from typing import Any

from mk.errors import MkError
from mk.interpret.cache import Cache
from mk.interpret.ops import run_block
from mk.interpret.step import Step
from mk.ir import Operation
from mk.ir.attributes import Attribute


class ProgramMemory:
    """What the buffers, caches and weights of a program hold during one step, by symbol."""

    def __init__(self, program: Operation, step: Step) -> None:
        self._step = step
        self._declared = {
            op.attributes["sym_name"]: op
            for op in program.regions[0].blocks[0]
            if "sym_name" in op.attributes
        }
        self._values: dict[str, Any] = {}

    def read(self, symbol: str) -> Any:
        """Raises MkError if nothing declares the symbol or no family has written the buffer yet."""
        if symbol in self._values:
            return self._values[symbol]
        op = self._declared.get(symbol)
        if op is None:
            raise MkError(f"nothing declares @{symbol}")
        attributes = op.attributes
        if op.name == "mk_task.weight":
            return self._step.weights.get(
                attributes["sources"], attributes["type"], attributes.get("views", [])
            )
        if op.name == "mk_task.cache":
            return self._step.caches.get(attributes["layer"], attributes["type"])
        if op.name == "mk_task.buffer" and (attributes.get("request") or attributes.get("input")):
            return self._step.request(symbol)
        raise MkError(f"@{symbol} is read before any family has written it")

    def holds(self, symbol: str) -> bool:
        """Whether somebody has written the buffer, or need not."""
        op = self._declared[symbol]
        return symbol in self._values or op.name != "mk_task.buffer" or bool(op.attributes.get("input"))

    def write(self, symbol: str, value: Any) -> None:
        """A grown cache stays where every later family, and the next step, finds it."""
        if not isinstance(value, Cache):
            self._values[symbol] = value

    def kind(self, symbol: str) -> Operation:
        return self._declared[symbol]


def _holds(memory: ProgramMemory, condition: Attribute) -> bool:
    """Whether a step takes the side that a family is for."""
    fields = condition.fields
    predicate = memory.read(str(fields["buffer"]).removeprefix("@"))
    return bool(len(predicate) and predicate[0, 0] != 0) == (fields["taken"] == "true")


def run_program(program: Operation, step: Step) -> ProgramMemory:
    """Runs every family; `step` receives the logits and the tokens."""
    memory = ProgramMemory(program, step)
    for op in program.regions[0].blocks[0]:
        if op.name != "mk_task.family":
            continue
        if not all(_holds(memory, condition) for condition in op.attributes.get("conditions", [])):
            continue
        body = memory.kind(op.attributes["kind"]).regions[0].blocks[0]
        # A choice reads the side that it takes; nobody may have written the other.
        chooses = any(inner.name == "mk.choose" for inner in body)
        operands = [
            None if chooses and not memory.holds(symbol) else memory.read(symbol)
            for symbol in op.attributes["operands"]
        ]
        results = run_block(body, operands, step, {})
        for symbol, result in zip(op.attributes["outputs"], results, strict=True):
            memory.write(symbol, result)
    return memory
